"""Quadratic penalties, which are added to ‖y − A w‖² and shrink the kernel."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..near_misses import checks_arguments
from ..operators.tap_basis import TapBasis
from ..problem.checks import integer, number
from ..text import shown


@dataclass(frozen=True)
class Coordinates:
    """Coordinates w = T z, in which a penalty is strength·Σ weights·z², with T = [L N].

    L is a root, K⁻¹ = L Lᵀ for a penalty wᵀK w, and N spans the null space of K. Both act on the
    taps of one channel and are the same for all channels. Neither K nor an inverse is ever formed,
    because the kernels of common priors are too ill-conditioned.

    Attributes:
        basis: T.
        weights: (groups, R), weights of z, zero for the coordinates of N. They are ordered by
            coordinate, then by channel.
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


class Penalty(ABC):
    """A quadratic penalty on a kernel: frozen and hashable, without its strength.

    A subclass defines `roots`. The closed forms, conjugate gradients, their certificates and
    verdicts need nothing else. The certificate refers to z in w = T z, see `Coordinates`. If the
    strength is much larger than the data, it does not bound the rounding error of w itself.
    """

    @property
    def title(self) -> str:
        """Name in texts and in a `Solution`, with the hyperparameters."""
        return type(self).__name__.lower()

    @property
    def open(self) -> tuple[str, ...]:
        """Names of the hyperparameters that are None and are selected from the data."""
        return ()

    def search(self, lags: Sequence[np.ndarray]) -> Search | None:
        """Return the search range of the open hyperparameters, for kernels with some lags.

        None if there are no hyperparameters to search.
        """
        return None

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless the penalty fits kernels of this size and channel count."""
        return

    @abstractmethod
    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return L (taps, r) and N (taps, p) along one axis; None for L = I and no N.

        Args:
            lags: (taps,), lags of the taps along the axis, counted in taps.
        """

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
    ) -> Coordinates:
        """Return T for the taps of a channel, and the weights of its coordinates.

        A coordinate that no axis penalizes has weight zero.

        Args:
            lags: lags of every axis, counted in taps.
            channels: number of channels of x.
            groups: number of groups.
            some: the channels to return; all by default.
        """
        pairs = self.bases(lags)
        basis = TapBasis([np.hstack(pair) for pair in pairs or ()])
        if pairs is None:
            penalized = np.ones(math.prod(map(len, lags)), bool)
        else:
            free = [np.repeat([False, True], [root.shape[1], n.shape[1]]) for root, n in pairs]
            penalized = ~reduce(lambda a, b: np.logical_and.outer(a, b).reshape(-1), free)
        by_channel = self.channel_weights(channels)
        by_channel = (by_channel if some is None else by_channel[[*some]]).reshape(groups, 1, -1)
        return Coordinates(basis, (by_channel * penalized[:, None]).reshape(groups, -1))


@checks_arguments
@dataclass(frozen=True)
class Ridge(Penalty):
    """The penalty ‖w‖²: L = I. As scikit-learn's ``alpha``, summed and not averaged over rows.

    Args:
        channel_groups: a label for every input channel, such as ``(0, 1, 1, 2)``. The penalty is
            then a banded ridge, with one strength per label. None for one strength.
        weights: factors of the strength, one per label in ascending order. None lets
            `Regularized` select them.
    """

    channel_groups: tuple[int, ...] | None = None
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.channel_groups is None:
            if self.weights is not None:
                raise ValueError(
                    "Ridge(weights=...) needs channel_groups=, a label for every channel"
                )
            return
        object.__setattr__(self, "channel_groups", channel_labels(self.channel_groups))
        if self.weights is None:
            return
        if not isinstance(self.weights, (tuple, list, np.ndarray)):
            raise TypeError(f"weights must be a number for each label, got {shown(self.weights)}")
        weights = tuple(number(w, "weights", included=True) for w in self.weights)
        if len(weights) != len(self.labels):
            raise ValueError(f"weights has {len(weights)} numbers for {len(self.labels)} labels")
        object.__setattr__(self, "weights", weights)

    @property
    def labels(self) -> tuple[int, ...]:
        """The distinct labels in ascending order."""
        return tuple(sorted(set(self.channel_groups or ())))

    @property
    def title(self) -> str:
        """Name with the weights."""
        if self.channel_groups is None:
            return "ridge"
        given = "" if self.weights is None else f", weights {listed(self.weights)}"
        return f"banded ridge of {len(self.labels)} groups of channels{given}"

    @property
    def open(self) -> tuple[str, ...]:
        """The weights, if there are groups without weights."""
        return ("weights",) if self.channel_groups is not None and self.weights is None else ()

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless there is a label for every channel."""
        if self.channel_groups is not None and len(self.channel_groups) != channels:
            raise ValueError(
                f"Ridge(channel_groups=...) has {len(self.channel_groups)} labels, x has "
                f"{channels} channels"
            )

    def roots(self, lags: np.ndarray) -> None:
        """Return None: kernels are their own coordinates."""
        return

    def channel_weights(self, channels: int) -> np.ndarray:
        """Return the weight (channels,) of the label of each channel."""
        if self.channel_groups is None or self.weights is None:
            return np.ones(channels)
        return np.array(self.weights)[np.searchsorted(self.labels, self.channel_groups)]


def channel_labels(groups: Any, otherwise: str = "") -> tuple[int, ...]:
    """Return a checked label for every input channel; an error begins with the alternatives."""
    if not isinstance(groups, (tuple, list, np.ndarray)):
        raise TypeError(
            f"channel_groups must be {otherwise}a label for every input channel, got "
            f"{shown(groups)}"
        )
    return tuple(integer(label, "channel_groups", 0) for label in groups)


def listed(values: Sequence[float]) -> str:
    """Return numbers as formatted in a title."""
    return ", ".join(f"{value:.4g}" for value in values)


# Default penalty of solvers.
RIDGE = Ridge()


# Squares of numbers between the inverse of this bound and the bound stay well within float64.
SQUARABLE = 1e120


@checks_arguments
class Tikhonov(Penalty):
    """The penalty ‖D w‖² for a given matrix D, on the taps of every channel.

    Args:
        matrix: D (q, taps), with columns in ascending lags as in `Solution.impulse_response`. In
            two and three dimensions the taps are in C order. The null space of D is not penalized.

    L = D⁺ is computed by a singular value decomposition. Singular values below rounding are taken
    as zero.
    """

    def __init__(self, matrix: Any) -> None:
        try:
            given = np.asarray(matrix)
        except ValueError:
            raise TypeError(f"matrix must be (q, taps), got {shown(matrix)}") from None
        if given.dtype.kind not in "biuf":
            raise TypeError(f"matrix must hold real numbers, got {shown(matrix)}")
        self.matrix = given.astype(float)
        if self.matrix.ndim != 2 or not self.matrix.size:
            raise ValueError(f"matrix must be (q, taps), got shape {self.matrix.shape}")
        if not np.isfinite(self.matrix).all():
            raise ValueError("matrix must be finite")
        largest = float(np.abs(self.matrix).max())
        if largest and not 1 / SQUARABLE < largest < SQUARABLE:
            raise ValueError(
                f"matrix has a largest entry of {largest:.1e}, whose square leaves float64; "
                "multiply it by a number, and divide the strength by the square of that"
            )
        self.matrix.setflags(write=False)

    @property
    def title(self) -> str:
        """Name with the shape of D."""
        return "Tikhonov, a matrix of {} × {}".format(*self.matrix.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tikhonov) and np.array_equal(self.matrix, other.matrix)

    def __hash__(self) -> int:
        return hash((self.matrix.shape, self.matrix.tobytes()))

    def __repr__(self) -> str:
        return f"Tikhonov(array of shape {self.matrix.shape})"

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless D has a column for every tap."""
        taps = int(np.prod(kernel_size))
        if self.matrix.shape[1] != taps:
            raise ValueError(
                f"Tikhonov(matrix) has {self.matrix.shape[1]} columns, a channel {taps} taps"
            )

    def roots(self, lags: np.ndarray) -> None:
        """Return None: D acts on all axes at once."""
        return

    def bases(self, lags: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return D⁺ and the null space of D, over all taps of a channel."""
        _, s, vt = np.linalg.svd(self.matrix[:, ::-1])
        rank = int((s > max(self.matrix.shape) * np.finfo(float).eps * s.max(initial=0.0)).sum())
        return [(vt[:rank].T / s[:rank], vt[rank:].T)]
