"""Priors of kernels: small differences, smooth random functions, and responses that decay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np

from ..linalg.rank import EPS
from ..problem.checks import choice, integer, number
from ..problem.kernel_space import ChannelSpace, ChannelTaps
from .penalty import RIDGE, Coordinates, Penalty, Search, channel_taps, inverse, numbers

# Eigenvalues of a squared exponential below this share of the largest are rounding.
KEPT = 1e-14
# The search variable of a decay is the memory −1/log(decay), from a third of a tap to this many
# kernels.
SHORTEST, LONGEST = 0.3, 20.0
# Largest |atanh(correlation)| of the search. It corresponds to a correlation of 0.999.
MOST_CORRELATED = 3.8
# Largest logarithm of the ratio of the variances of two taps without correlations.
MOST_GROWN = 69.0
# Values of atanh(correlation) that are tried first.
CORRELATIONS = np.arctanh([0.0, 0.5, 0.9, 0.99])


@dataclass(frozen=True, repr=False)
class Smooth(Penalty):
    """The penalty strength·‖D w‖² on differences D along the lags of every channel.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data.
        order: order of the differences, 1 (the default) or 2. Kernels that are constant (for 2,
            linear) along the lags are not penalized. In two and three dimensions the axes are
            multiplied. A kernel is then free only if no axis penalizes it.

    L is a right inverse of D. If x has an offset of a hundred times its standard deviation or more,
    fit a bias. Without a bias, differences of such columns lose digits and the status is
    "approximate". For a smooth kernel of a given length scale use `SquaredExponential`, for
    responses that decay `StableSpline`.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty=cs.Smooth(5.0, order=2))
        >>> fit.regularization.penalty
        'second differences'

    See Also:
        `Ridge`, `SquaredExponential`, `StableSpline` and `Tikhonov`.
    """

    _: KW_ONLY
    order: int = 1

    in_basis = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "order", integer(self.order, "order"))
        if self.order > 2:
            raise ValueError(f"order must be 1 or 2, got {self.order}")

    @property
    def title(self) -> str:
        """Name with the order."""
        return f"{('first', 'second')[self.order - 1]} differences"

    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return steps (for order 2, ramps) at every lag, and the constant (and linear) kernels."""
        order, taps = self.order, len(lags)
        n = np.linalg.qr(np.vander(np.linspace(-1, 1, taps), min(order, taps), increasing=True))[0]
        steps = np.tri(taps, max(taps - order, 0), -order)
        for _ in range(order - 1):
            steps = np.cumsum(steps, axis=0)
        # Projected twice, because the first projection leaves the rounding of large ramps.
        for _ in range(2):
            steps = steps - n @ (n.T @ steps)
        return steps, n

    def within(self, own: ChannelSpace, lags: np.ndarray) -> tuple[ChannelTaps, np.ndarray]:
        """Return T for the kernels V v of one channel, and flags of the columns with a penalty.

        D V is much smaller than D if the kernels are smooth, and has the rounding errors of its
        terms.
        """
        v = own.orthonormal.matrix
        if v is None:
            return super().within(own, lags)
        d = np.diff(np.eye(len(v)), self.order, axis=0)
        rounding = max(10.0, math.sqrt(len(v))) * EPS * float(np.linalg.norm(np.abs(d) @ np.abs(v)))
        root, free = inverse(d @ v, rounding)
        return channel_taps(own.kept, [(v @ root, v @ free)])


@dataclass(frozen=True, repr=False)
class SquaredExponential(Penalty):
    """The penalty strength·wᵀK w with K⁻¹ = exp(−(i − j)²/(2·length²)) for lags i and j in taps.

    Taps much closer than ``length`` are similar. Kernels need not decay.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data.
        length: length in taps, a number or one number per axis. None, the default, selects it from
            the data, in common for all outputs.

    L is Q√e for the eigenvectors Q and eigenvalues e of K⁻¹. Eigenvalues below 1e-14 of the largest
    are excluded. An inverse or a Cholesky factor would be rounding only. For responses that decay,
    `StableSpline` is better. `Smooth` penalizes differences instead.

    Source: M. Sahani and J. F. Linden, NIPS 15 (2003) 317 (automatic smoothness determination).

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty=cs.SquaredExponential(length=2.0))
        >>> fit.regularization.criterion
        'evidence'

    See Also:
        `Smooth`, `StableSpline` and `Ridge`.
    """

    _: KW_ONLY
    length: Any = None

    default_select = "evidence"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length is not None:
            object.__setattr__(self, "length", numbers(self.length, "length", 1))

    @property
    def title(self) -> str:
        """Name with the length if it is given."""
        if self.length is None:
            return "squared exponential"
        lengths = ", ".join(f"{length:.4g}" for length in np.ravel(self.length))
        return f"squared exponential, length {lengths} taps"

    @property
    def open(self) -> tuple[str, ...]:
        """The length, if it is not given."""
        return ("length",) if self.length is None else ()

    def search(self, lags: Sequence[np.ndarray]) -> Search:
        """Return the search over the logarithm of the length of every axis, in taps."""
        taps = np.array([len(axis) for axis in lags], float)
        starts = np.linspace(np.log(0.7), np.log(np.maximum(taps, 2.0)), 7)
        return Search(starts, np.full(len(lags), np.log(0.3)), np.log(4 * taps), self._at)

    def _at(self, place: np.ndarray) -> SquaredExponential:
        """Return the penalty with the lengths at a place of the search."""
        lengths = tuple(np.exp(place).tolist())
        return replace(self, length=lengths if len(lengths) > 1 else lengths[0])

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless there is a length for every axis."""
        if isinstance(self.length, tuple) and len(self.length) != len(kernel_size):
            raise ValueError(
                f"SquaredExponential(length=...) has {len(self.length)} lengths, the kernel "
                f"{len(kernel_size)} axes"
            )

    def bases(self, lags: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return L and no N of every axis."""
        lengths = np.broadcast_to(self.length, len(lags))
        return [_smooth_root(axis, length) for axis, length in zip(lags, lengths, strict=True)]


def _smooth_root(lags: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(under="ignore", over="ignore"):
        kernel = np.exp(-0.5 * ((lags[:, None] - lags) / length) ** 2)
    values, vectors = np.linalg.eigh(kernel)
    kept = values > KEPT * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept]), np.zeros((len(lags), 0))


@dataclass(frozen=True, repr=False)
class StableSpline(Penalty):
    """The penalty strength·wᵀK w, where K⁻¹ is the covariance of a response that decays.

    The covariance of the lags i and j in taps, with ``m = |i − j|``, α = decay and
    ρ = correlation, is::

        "tc"  α^((|i| + |j| + m)/2)                          tuned, correlated
        "dc"  α^((|i| + |j|)/2) · ρ^m                        diagonal, correlated
        "ss"  α^(3(|i| + |j|)/2) · (3·α^(m/2) − α^(3m/2))/2  cubic stable spline

    The decay starts at lag 0, in both directions if there are negative lags. The lags must
    therefore be right: use ``Problem(lags=...)``, or padding "causal". If the lags begin at k > 0,
    only the strength changes. The covariances of several axes are multiplied. All channels have the
    same prior.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data.
        kind: "tc" (the default), "dc" or "ss".
        decay: in (0, 1), ratio of the variances of a tap and the tap before (cubed for "ss"). None,
            the default, selects it from the data, in common for all outputs.
        correlation: in (−1, 1), correlation of neighbouring taps, for "dc" only. None, the default,
            selects it from the data, in common for all outputs. Above 1000 unknowns with ten rows
            per unknown and no masks or weights, None is 0, and each output has a decay of its own.

    The penalty is computed from L = D C, where D is the diagonal decay and C a triangular root of
    the correlations. They are well conditioned even if K⁻¹ has a condition number of 1e90 (decay
    0.5, 300 taps). K is never formed.

    Source: T. Chen, H. Ohlsson and L. Ljung, Automatica 48 (2012) 1525; G. Pillonetto and G. De
    Nicolao, Automatica 46 (2010) 81.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty=cs.StableSpline(kind="tc"))
        >>> 0 < fit.regularization.hyperparameters["decay"] < 1
        True

    See Also:
        `Smooth`, `SquaredExponential` and `Ridge`.
    """

    _: KW_ONLY
    kind: str = "tc"
    decay: float | None = None
    correlation: float | None = None

    default_select = "evidence"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.kind, "kind", ("tc", "dc", "ss"))
        if self.correlation is not None and self.kind != "dc":
            raise ValueError(f'correlation belongs to kind "dc", not to "{self.kind}"')
        for name, low in (("decay", 0.0), ("correlation", -1.0)):
            if (value := getattr(self, name)) is not None:
                if (found := number(value, name, above=low)) >= 1:
                    raise ValueError(f"{name} must lie between {low:g} and 1, got {value!r}")
                object.__setattr__(self, name, found)

    @property
    def title(self) -> str:
        """Name with the given hyperparameters."""
        pairs = (("decay", self.decay), ("correlation", self.correlation))
        given = [f"{name} {value:.4g}" for name, value in pairs if value is not None]
        return ", ".join([self.kind.upper(), *given])

    @property
    def open(self) -> tuple[str, ...]:
        """Names of the hyperparameters that are to be selected."""
        names = ("decay", "correlation") if self.kind == "dc" else ("decay",)
        return tuple(name for name in names if getattr(self, name) is None)

    def search(self, lags: Sequence[np.ndarray]) -> Search:
        """Return the search over the logarithm of the memory in taps, and atanh(correlation)."""
        reach = float(max(np.abs(axis).max() for axis in lags)) + 1.0
        memories = np.log(np.geomspace(1.5, max(3 * reach, 3.0), 7))
        ranges = {
            "decay": (memories, math.log(SHORTEST), math.log(LONGEST * reach)),
            "correlation": (CORRELATIONS, -MOST_CORRELATED, MOST_CORRELATED),
        }
        starts, low, high = zip(*(ranges[name] for name in self.open), strict=True)
        places = np.stack(np.meshgrid(*starts), -1).reshape(-1, len(starts))
        return Search(np.clip(places, low, high), np.array(low), np.array(high), self._at)

    def _at(self, place: np.ndarray) -> StableSpline:
        """Return the penalty with the hyperparameters at a place of the search."""
        of = {"decay": lambda v: math.exp(-math.exp(-v)), "correlation": math.tanh}
        found: dict[str, Any] = {n: of[n](v) for n, v in zip(self.open, place, strict=True)}
        return replace(self, **found)

    @property
    def uncorrelated(self) -> bool:
        """Whether no taps are correlated."""
        return self.correlation == 0.0

    def coordinates(self, lags: Sequence[np.ndarray], *given: Any, **named: Any) -> Coordinates:
        """Return T and the weights; without correlations, T is the identity along one axis."""
        if not self.uncorrelated or len(lags) > 1 or named.get("space") is not None:
            return super().coordinates(lags, *given, **named)
        assert self.decay is not None
        same = RIDGE.coordinates(lags, *given)
        grown = np.exp(np.minimum(-math.log(self.decay) * np.abs(lags[0]), MOST_GROWN))
        by_tap = np.repeat(grown, same.weights.shape[1] // len(grown))
        return Coordinates(same.basis, same.weights * by_tap)

    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return D C of one axis, and no free coordinates."""
        assert self.decay is not None
        power = 1.5 if self.kind == "ss" else 0.5
        with np.errstate(under="ignore"):
            d = self.decay ** (power * np.abs(lags))
            if self.kind == "ss":
                root = _spline_root(self.decay, len(lags))
            else:
                rho = math.sqrt(self.decay) if self.kind == "tc" else self.correlation
                assert rho is not None
                rest = 1 - self.decay if self.kind == "tc" else (1 - rho) * (1 + rho)
                root = _autoregressive_root(rho, rest, len(lags))
            return d[:, None] * root, np.zeros((len(lags), 0))


def _autoregressive_root(rho: float, rest: float, taps: int) -> np.ndarray:
    """Return the Cholesky factor of the correlations rho^|i − j|, for ``rest`` = 1 − rho²."""
    i = np.arange(taps)
    root = np.tril(np.float_power(rho, np.maximum(i[:, None] - i, 0)))
    root[:, 1:] *= math.sqrt(rest)
    return root


def _spline_root(alpha: float, taps: int) -> np.ndarray:
    """Return an upper triangular root C of the correlations of "ss", C Cᵀ, accurate to rounding.

    The response at lag i is, times a decay, the integral of a Wiener process at the time alpha^i.
    In ascending time, the slope at a known value has one variance p, so the innovations of the
    values and their effect on later values have closed forms, in which nothing is subtracted.
    """
    log = math.log(alpha)
    levels, slopes = np.zeros((2, taps))
    step, p = 1.0, 0.0
    for j in range(taps - 1, -1, -1):  # in units of the time of lag j, in which a step is constant
        spread = p + step / 3
        levels[j], slopes[j] = step * math.sqrt(spread), (p + step / 2) / math.sqrt(spread)
        p = alpha * step * (p / 3 + step / 12) / spread
        step = -math.expm1(log)
    i = np.arange(taps)
    later = np.maximum(i - i[:, None], 0)
    with np.errstate(under="ignore"):
        share = np.exp(0.5 * log * later)
        found = share**3 * levels - np.expm1(log * later) * share * slopes
    return np.triu(math.sqrt(3) * found)
