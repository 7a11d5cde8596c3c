"""Penalties, which are added to ‖y − A w‖² and shrink the kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass, replace
from functools import reduce
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..lazy import is_tracer
from ..linalg.rank import EPS
from ..notation import checks_arguments
from ..operators.layout import TapBasis
from ..problem.checks import integer, number
from ..problem.kernel_space import ChannelSpace, ChannelTaps, KernelSpace
from ..problem.problem import Selection
from ..problem.records import numeric
from ..problem.sizes import Sizes
from ..text import as_call, count, shown


@dataclass(frozen=True)
class Coordinates:
    """Coordinates w = T z, in which a penalty is strength·Σ weights·z², with T = [L N].

    L is a root, K⁻¹ = L Lᵀ for a penalty wᵀK w, and N spans the null space of K. Both act on the
    taps of one channel and are the same for all channels. Neither K nor an inverse is ever formed,
    because the kernels of common priors are too ill-conditioned.

    Attributes:
        basis: T.
        weights: (groups, R), weights of z, zero for the coordinates of N. They are in
            the order of z.
    """

    basis: TapBasis
    weights: np.ndarray

    @property
    def free(self) -> np.ndarray:
        """Flags (R,) of the coordinates of z that are not penalized, the same in all groups."""
        return np.asarray(self.weights[0] == 0)

    @property
    def uniform(self) -> bool:
        """Whether all coordinates have the weight 1."""
        return bool((self.weights == 1).all())


class Search(NamedTuple):
    """The search range of the hyperparameters of a penalty that are None.

    Each hyperparameter is mapped to the real line.

    Attributes:
        starts: (n, k), points to try first.
        low: (k,), lower bounds of the search, which starts from the best of ``starts``.
        high: (k,), upper bounds of the search.
        at: function that returns the penalty at a point (k,).
    """

    starts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at: Callable[[np.ndarray], Penalty]


@dataclass(frozen=True, repr=False)
class Penalty:
    """A penalty on a kernel, with its strength: frozen and hashable.

    A quadratic penalty strength·wᵀK w defines `roots`. The closed forms, conjugate gradients, their
    certificates and verdicts need nothing else. The certificate refers to z in w = T z, see
    `Coordinates`. If the strength is much larger than the data, it does not bound the rounding
    error of w itself.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data.

    Attributes:
        quadratic: whether `roots` defines the penalty. Any other penalty defines `exact_solver`.
        default_select: the criterion that selects a strength by default.
        in_basis: whether the penalty can be combined with a basis of the kernel.
        uncorrelated: whether the penalty is a sum of squares of single taps, for any taps.
        parameter: what a strength is in texts, "strength" or "steps".
        own_covariance: whether `unit_covariances` defines the standard errors, for a penalty that
            is not quadratic and whose kernel is a linear function of y.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> penalty = cs.Smooth(10.0, order=2)
        >>> root, free = penalty.roots(np.arange(8))
        >>> root.shape, free.shape
        ((8, 6), (8, 2))

    See Also:
        `Ridge`, `Smooth`, `StableSpline`, `SquaredExponential`, `Tikhonov`, `Lasso` and
        `EarlyStopping`.
    """

    strength: Any = None

    quadratic: ClassVar[bool] = True
    in_basis: ClassVar[bool] = False
    uncorrelated: ClassVar[Any] = False
    default_select: ClassVar[Any] = "gcv"
    parameter: ClassVar[str] = "strength"
    own_covariance: ClassVar[bool] = False

    def __post_init__(self) -> None:
        found = checked_strength(self.strength, type(self).__name__, self.labels)
        object.__setattr__(self, "strength", found)

    def __repr__(self) -> str:
        return as_call(self)

    @property
    def title(self) -> str:
        """Name in texts and in a `Solution`, with the hyperparameters."""
        return type(self).__name__.lower()

    @property
    def labels(self) -> tuple[int, ...]:
        """The distinct labels of groups of channels in ascending order, if there are any."""
        return ()

    @property
    def open(self) -> tuple[str, ...]:
        """Names of the hyperparameters that are None and are selected from the data."""
        return ()

    @property
    def form(self) -> Penalty:
        """The same penalty without a strength."""
        found = copy(self)
        object.__setattr__(found, "strength", None)
        return found

    @property
    def given(self) -> bool:
        """Whether nothing is selected from the data."""
        return self.strength is not None and not self.open

    @property
    def any_loss(self) -> bool:
        """Whether the exact methods of other losses than squares support the penalty."""
        return self.quadratic

    @property
    def zero(self) -> bool:
        """Whether the strength is zero for all outputs."""
        return not (self.strength is None or is_tracer(self.strength) or np.any(self.strength))

    def terms(self, outputs: int) -> list[tuple[Penalty, float]]:
        """Return, for every output, a penalty without strength and its strength, if it is given."""
        strengths = np.full(outputs, self.strength, float)
        form = self.form
        return [(form, strength) for strength in strengths.tolist()]

    def strengths(self, strength: float) -> np.ndarray:
        """Return a strength of this form as the user gives it: a number, or one per group."""
        return np.array(strength)

    @property
    def by_output(self) -> bool:
        """Whether there is a strength for every output, along the last axis of the strengths."""
        return np.ndim(self.strength) > bool(self.labels)

    def of_part(self, selection: Selection) -> Penalty:
        """Return the penalty with the strengths of some outputs."""
        if not self.by_output:
            return self
        return self.with_strength(selection.of_outputs(np.array(self.strength)))

    def with_strength(self, strength: Any) -> Penalty:
        """Return the same penalty with another strength."""
        return replace(self, strength=strength)

    def check_outputs(self, outputs: int) -> None:
        """Raise a ValueError unless there is one strength, or a strength for every output."""
        if self.by_output and (given := np.shape(self.strength)[-1]) != outputs:
            words = f"{given} strengths for {count(outputs, 'output')}"
            raise ValueError(f"{words}; grid= has strengths to select from")

    def supports(self, sizes: Sizes) -> str | None:
        """Return None, or the reason why `exact_solver` cannot solve a problem of these sizes."""
        return None

    def exact_solver(self, analysis: Any, grid: Any, select: Any, one: bool = False) -> Any:
        """Minimize squares and a penalty that is not quadratic, and return a `SolverResult`.

        Args:
            analysis: the analysis of the problem.
            grid: strengths to choose from, or None.
            select: the criterion, or None for the default.
            one: whether all outputs have one strength.
        """
        raise TypeError(f"{type(self).__name__} is a quadratic penalty")

    def unit_covariances(self, analysis: Any) -> Callable[[int, float], Any]:
        """Return a function of a group and a strength, which returns the covariance of the taps.

        The covariance is for white noise of variance one. It has the attributes and methods of a
        ``UnitCovariance``. Only a penalty with ``own_covariance`` has one.

        Args:
            analysis: the analysis of the problem.
        """
        raise TypeError(f"{type(self).__name__} has the covariance of a quadratic penalty")

    def named(self, channels: Sequence[Any]) -> Penalty:
        """Return the penalty for channels of these names or numbers."""
        return self

    def check_select(self, select: Any) -> None:
        """Raise a ValueError if the criterion cannot select the strength."""
        return

    def check_grid(self, grid: Any) -> None:
        """Raise an error if the strengths of a grid are out of range for this penalty."""
        return

    def search(self, lags: Sequence[np.ndarray]) -> Search | None:
        """Return the search range of the open hyperparameters, for kernels with some lags.

        None if there are no hyperparameters to search.
        """
        return None

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless the penalty fits kernels of this size and channel count."""
        return

    @property
    def not_in_basis(self) -> str:
        """Why the penalty cannot be combined with a basis."""
        return f"{type(self).__name__} cannot be combined with a basis; use Ridge or Smooth"

    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return L (taps, r) and N (taps, p) along one axis; None, the default, for L = I and no N.

        Args:
            lags: (taps,), lags of the taps along the axis, counted in taps.
        """
        return None

    def bases(self, lags: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]] | None:
        """Return L and N of every axis, whose products are used; None for the identity."""
        pairs = [self.roots(axis) for axis in lags]
        return [pair for pair in pairs if pair is not None] or None

    def channel_weights(self, channels: int) -> np.ndarray:
        """Return the factors (channels,) of the strength."""
        return np.ones(channels)

    def coordinates(
        self,
        lags: Sequence[np.ndarray],
        channels: int = 1,
        groups: int = 1,
        some: Sequence[int] | None = None,
        space: KernelSpace | None = None,
    ) -> Coordinates:
        """Return T for the taps of a channel, and the weights of its coordinates.

        A coordinate that no axis penalizes has weight zero.

        Args:
            lags: lags of every axis, counted in taps.
            channels: number of channels of x.
            groups: number of groups.
            some: the channels to return; all by default.
            space: the kernels of the problem; all kernels by default.
        """
        weights = self.channel_weights(channels)
        by_channel = (weights if some is None else weights[[*some]]).reshape(groups, -1)
        taps, pairs = math.prod(map(len, lags)), self.bases(lags)
        if space is not None:
            if space.has_functions and not self.in_basis:
                raise ValueError(self.not_in_basis)
            known = {own: self.within(own, lags[0]) for own in set(space.channels)}
            each = [known[own] for own in space.channels]
        elif pairs is None:
            return Coordinates(TapBasis(by_channel[0].size * taps), np.tile(by_channel, taps))
        else:
            each = [channel_taps(np.arange(taps), pairs)] * by_channel.shape[1]
        basis = TapBasis.of_taps(taps, [own for own, _ in each])
        by_coordinate = np.repeat(by_channel, [own.coordinates for own, _ in each], axis=1)
        return Coordinates(basis, by_coordinate * np.concatenate([flags for _, flags in each]))

    def within(self, own: ChannelSpace, lags: np.ndarray) -> tuple[ChannelTaps, np.ndarray]:
        """Return T for the kernels of one channel, and flags of the columns with a penalty.

        A ridge is the sum of the squares of the coefficients.

        Args:
            own: the kernels.
            lags: (taps,), lags of all taps, counted in taps.
        """
        if (pairs := self.bases([lags[own.kept]])) is None:
            return ChannelTaps(own.kept, own.matrix), np.ones(own.count, bool)
        return channel_taps(own.kept, pairs)


@checks_arguments
@dataclass(frozen=True, repr=False)
class Ridge(Penalty):
    """The penalty strength·‖w‖², as scikit-learn's ``alpha``: summed and not averaged over rows.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data. With ``channel_groups``: a number for all groups, a dict by
            label, or ``(groups,)`` or ``(groups, outputs)`` in ascending order of the labels.
        channel_groups: a label for every input channel, a number or a word, such as ``(0, 1, 1,
            2)``; or "channels" for a group per channel, whose labels are the names of the channels.
            The penalty is then a banded ridge, with one strength per label. None for one strength.

    The bias is not penalized. The strengths of a banded ridge are selected by the evidence or by
    cross-validation, separately for every output, by a gradient. They cannot be selected from a
    grid.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty=cs.Ridge(50.0))
        >>> fit.regularization.effective_dof.round(1)
        array([9.1])
        >>> cs.solve(problem, penalty="ridge").regularization.criterion
        'gcv'

    See Also:
        `Smooth`, `StableSpline`, `Tikhonov` and `Lasso`.
    """

    _: KW_ONLY
    channel_groups: Any = None

    in_basis, uncorrelated = True, True

    def __post_init__(self) -> None:
        if self.channel_groups == "channels":
            return  # until the names of the channels are known
        if self.channel_groups is not None:
            object.__setattr__(self, "channel_groups", channel_labels(self.channel_groups))
        super().__post_init__()

    def named(self, channels: Sequence[Any]) -> Ridge:
        """Return the penalty for channels of these names or numbers."""
        groups = tuple(channels) if self.channel_groups == "channels" else self.channel_groups
        return self if groups is self.channel_groups else replace(self, channel_groups=groups)

    @property
    def labels(self) -> tuple[Any, ...]:
        """The distinct labels in ascending order."""
        return tuple(sorted(set(self.channel_groups or ())))

    @property
    def default_select(self) -> str:
        """The evidence for several groups of channels."""
        return "gcv" if self.channel_groups is None else "evidence"

    @property
    def bands(self) -> bool:
        """Whether the strengths of groups of channels are selected from the data."""
        return self.channel_groups is not None and self.strength is None

    def check_select(self, select: Any) -> None:
        """Raise a ValueError if the criterion cannot select the strengths of groups."""
        works = select == "evidence" if isinstance(select, str) else not select.own
        if self.bands and not works:
            ways = "by evidence or cross-validation, with a score that has a gradient"
            raise ValueError(f"the strengths of groups of channels are selected {ways}")

    @property
    def title(self) -> str:
        """Name with the number of groups."""
        if self.channel_groups is None:
            return "ridge"
        return f"banded ridge of {len(self.labels)} groups of channels"

    def terms(self, outputs: int) -> list[tuple[Penalty, float]]:
        """Return, for every output, a penalty without strength and its strength, if it is given."""
        if self.channel_groups is None or isinstance(self, Bands):
            return super().terms(outputs)
        strengths = np.array(self.strength, float).reshape(-1, *np.shape(self.strength)[1:] or (1,))
        each = np.broadcast_to(strengths, (len(self.labels), outputs))
        return [Bands.of(self.channel_groups, column) for column in each.T]

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless there is a label for every channel."""
        check_labels(self.channel_groups, channels, "Ridge")


@dataclass(frozen=True, repr=False)
class Bands(Ridge):
    """The form of a banded ridge of given strengths: Σ weight·‖w_channel‖².

    Args:
        channel_groups: a label for every input channel.
        weights: factors of the strength, one per label in ascending order.
    """

    weights: tuple[float, ...] = ()

    # Nothing is selected from the data.
    default_select, bands = "gcv", False

    @classmethod
    def of(cls, channel_groups: tuple[Any, ...], strengths: np.ndarray) -> tuple[Bands, float]:
        """Return the form and its strength, a power of two, so that products are not rounded."""
        largest = float(np.max(strengths))
        unit = math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 0.0
        weights = strengths / unit if unit else np.ones(len(strengths))
        return cls(channel_groups=channel_groups, weights=tuple(weights.tolist())), unit

    def strengths(self, strength: float) -> np.ndarray:
        """Return the strengths (groups,)."""
        return np.array(self.weights) * strength

    def channel_weights(self, channels: int) -> np.ndarray:
        """Return the weight (channels,) of the label of each channel."""
        return np.array(self.weights)[np.searchsorted(self.labels, self.channel_groups or ())]


def checked_strength(strength: Any, owner: str, labels: Sequence[int] = ()) -> Any:
    """Return a strength as a float, as a tuple of one per output, or None.

    With labels, the tuple has an element per label: a number, or a tuple of one per output. A
    traced strength is returned unchanged.
    """
    if strength is None or is_tracer(strength):
        return strength
    if isinstance(strength, (str, Penalty)):
        raise TypeError(
            f"the first argument of {owner} is its strength, a number; got {shown(strength)}"
        )
    if isinstance(strength, dict) and labels:
        if set(strength) != set(labels):
            given, known = (", ".join(map(str, each)) for each in (strength, labels))
            raise ValueError(f"strength has the labels {given}, channel_groups {known}")
        strength = [strength[label] for label in labels]
    found = numbers(strength, "strength", 1 + bool(labels), included=True)
    if not labels or isinstance(found, float):
        return found
    if len(found) != len(labels):
        given = count(len(found), "number")
        raise ValueError(f"strength has {given} for {count(len(labels), 'label')}")
    sizes = sorted({len(row) for row in found if isinstance(row, tuple)})
    if len(sizes) > 1:
        several = ", ".join(map(str, sizes))
        raise ValueError(f"strength has {several} outputs for different labels")
    # A number is the strength for all outputs, also if other labels have one per output.
    return tuple((r,) * sizes[0] if sizes and isinstance(r, float) else r for r in found)


def numbers(value: Any, name: str, axes: int, *, included: bool = False) -> Any:
    """Return a number as a float, or numbers along so many axes at most in tuples.

    They are above zero, or also zero if it is ``included``.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if not axes or not isinstance(value, (list, tuple)):
        return number(value, name, included=included)
    if not value:
        raise ValueError(f"{name} has no numbers")
    return tuple(numbers(one, name, axes - 1, included=included) for one in value)


def penalty_of(ridge: Any, penalty: Penalty | None) -> Penalty | None:
    """Return the penalty of the arguments ``ridge`` and ``penalty``; None for neither."""
    if ridge is None:
        return penalty
    if penalty is not None:
        raise TypeError(f"give ridge= or penalty=, not both; ridge= is short for Ridge({ridge!r})")
    if isinstance(ridge, dict):
        return Ridge(ridge, channel_groups="channels")
    return Ridge(ridge if is_tracer(ridge) else numbers(ridge, "ridge", 1, included=True))


def check_labels(labels: tuple[Any, ...] | None, channels: int, owner: str) -> None:
    """Raise a ValueError unless there is a label for every channel."""
    if labels is not None and len(labels) != channels:
        given = count(len(labels), "label")
        raise ValueError(f"{owner}(channel_groups=...) has {given}, x has {channels} channels")


def channel_labels(groups: Any, otherwise: str = "'channels' or ") -> tuple[Any, ...]:
    """Return a checked label for every input channel; an error begins with the alternatives."""
    if not isinstance(groups, (tuple, list, np.ndarray)):
        wanted = f"{otherwise}a label for every input channel"
        raise TypeError(f"channel_groups must be {wanted}, got {shown(groups)}")
    if all(isinstance(label, str) for label in groups):
        return tuple(map(str, groups))
    return tuple(integer(label, "channel_groups", 0) for label in groups)


# The form of a ridge.
RIDGE = Ridge()


@dataclass(frozen=True, repr=False)
class NoPenalty(Ridge):
    """The form of least squares without a penalty, in orthonormal coordinates of the kernels."""

    def within(self, own: ChannelSpace, lags: np.ndarray) -> tuple[ChannelTaps, np.ndarray]:
        """Return the orthonormal basis of the kernels of one channel."""
        return own.orthonormal, np.ones(own.rank, bool)


@dataclass(frozen=True, eq=False, repr=False)
class Tikhonov(Penalty):
    """The penalty strength·‖D w‖² for a given matrix D, on the taps of every channel.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data.
        matrix: D (q, taps), with columns in ascending lags as in `Solution.impulse_response`. In
            two and three dimensions the taps are in C order. The null space of D is not penalized.

    L = D⁺ is computed by a singular value decomposition. Singular values below rounding are taken
    as zero.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> D = np.diff(np.eye(10), axis=0)
        >>> fit = cs.solve(problem, penalty=cs.Tikhonov(5.0, matrix=D))
        >>> np.allclose(fit.kernel, cs.solve(problem, penalty=cs.Smooth(5.0)).kernel)
        True

    See Also:
        `Ridge`, for which D is the identity, and `Smooth`.
    """

    _: KW_ONLY
    matrix: Any = None

    def __post_init__(self) -> None:
        if self.matrix is None:
            raise TypeError("Tikhonov needs a matrix: Tikhonov(strength, matrix=D)")
        super().__post_init__()
        matrix = numeric(self.matrix, "matrix").astype(float)
        if matrix.ndim != 2 or not matrix.size:
            raise ValueError(f"matrix must be (q, taps), got shape {matrix.shape}")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @property
    def title(self) -> str:
        """Name with the shape of D."""
        return "Tikhonov, a matrix of {} × {}".format(*self.matrix.shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tikhonov) or self.strength != other.strength:
            return False
        return np.array_equal(self.matrix, other.matrix)

    def __hash__(self) -> int:
        return hash((self.strength, self.matrix.shape, self.matrix.tobytes()))

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless D has a column for every tap."""
        taps = int(np.prod(kernel_size))
        if self.matrix.shape[1] != taps:
            given = self.matrix.shape[1]
            raise ValueError(f"Tikhonov(matrix) has {given} columns, a channel {taps} taps")

    def bases(self, lags: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return D⁺ and the null space of D, over all taps of a channel."""
        return [inverse(self.matrix[:, ::-1])]

    def within(self, own: ChannelSpace, lags: np.ndarray) -> tuple[ChannelTaps, np.ndarray]:
        """Return T for some taps."""
        return channel_taps(own.kept, [inverse(self.matrix[:, ::-1][:, own.kept])])


def inverse(d: np.ndarray, rounding: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return D⁺ and the null space of D (q, k), whose entries have an error of this norm."""
    _, s, vt = np.linalg.svd(d, full_matrices=d.shape[0] < d.shape[1])
    rank = int((s > max(max(d.shape) * EPS * s.max(initial=0.0), rounding)).sum())
    return vt[:rank].T / s[:rank], vt[rank:].T


def channel_taps(
    kept: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[ChannelTaps, np.ndarray]:
    """Return T for some taps of a channel, and flags of its columns with a penalty.

    T is the product of [L N] of all axes. A column is free if it is so along every axis.
    """
    free = [np.repeat([False, True], [root.shape[1], n.shape[1]]) for root, n in pairs]
    matrix = reduce(np.kron, [np.hstack(pair) for pair in pairs])
    return ChannelTaps(kept, matrix), ~reduce(np.kron, free)
