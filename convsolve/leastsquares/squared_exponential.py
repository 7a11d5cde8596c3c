"""Smooth kernels: a squared-exponential prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np

from .penalty import Penalty, Search, numbers

# Eigenvalues of a squared exponential below this share of the largest are rounding.
KEPT = 1e-14


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
        return [_root(axis, length) for axis, length in zip(lags, lengths, strict=True)]


def _root(lags: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(under="ignore", over="ignore"):
        kernel = np.exp(-0.5 * ((lags[:, None] - lags) / length) ** 2)
    values, vectors = np.linalg.eigh(kernel)
    kept = values > KEPT * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept]), np.zeros((len(lags), 0))
