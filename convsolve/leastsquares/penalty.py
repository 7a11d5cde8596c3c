"""What may be added to ‖y − A w‖²: a penalty, which draws the kernel to what is expected of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..operators.transformed import TapBasis
from ..problem.checks import integer, number
from ..text import shown


@dataclass(frozen=True)
class Coordinates:
    """w = T z, in which a penalty is strength·Σ weights·z²: T = [L N].

    L is a root, K⁻¹ = L Lᵀ for a penalty wᵀK w, and N spans what that leaves alone. Both act on the
    taps of one channel, alike for all; neither K nor an inverse is ever formed, which the kernels
    of common priors would not survive. ``basis`` None stands for T = I.

    ``weights`` (groups, R) are those of z, zero where N stands: of every coordinate of a channel,
    channels inner.
    """

    basis: TapBasis | None
    weights: np.ndarray

    @property
    def free(self) -> np.ndarray:
        """Which of z (R,) are not penalized, in any group alike."""
        return np.asarray(self.weights[0] == 0)

    @property
    def uniform(self) -> bool:
        """Whether all of z are penalized alike."""
        return bool((self.weights == 1).all())


class Search(NamedTuple):
    """Where the hyperparameters of a penalty that are None may lie, each on the whole real line.

    ``starts`` (n, k) are to be tried, ``low`` and ``high`` (k,) bound what is searched from the
    best of them; ``at`` gives the penalty at a place (k,).
    """

    starts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at: Callable[[np.ndarray], Penalty]


class Penalty(ABC):
    """A quadratic penalty on a kernel: frozen and hashable, without its strength.

    A new one is a class with `roots`; the closed forms, conjugate gradients, their certificates and
    verdicts follow from it. A certificate is that of z in w = T z, see `Coordinates`: of a strength
    that dwarfs the data it says nothing of the rounding of w itself.
    """

    @property
    def title(self) -> str:
        """As texts and a `Solution` name it, with its hyperparameters."""
        return type(self).__name__.lower()

    @property
    def open(self) -> tuple[str, ...]:
        """The names of hyperparameters that are None, for the data to choose."""
        return ()

    def search(self, lags: Sequence[np.ndarray]) -> Search | None:
        """Where those may lie, for kernels of some lags; None where there are none to search."""
        return None

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless it fits kernels of this size over so many input channels."""
        return

    @abstractmethod
    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """L (taps, r) and N (taps, p) along one axis, whose taps have these ``lags`` (taps,), in
        taps; None for L = I and no N.
        """

    def bases(self, lags: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]] | None:
        """L and N of every axis, which are multiplied; None for the identity."""
        pairs = [self.roots(axis) for axis in lags]
        return [pair for pair in pairs if pair is not None] or None

    def channel_weights(self, channels: int) -> np.ndarray:
        """Factors (channels,) of the strength."""
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
            lags: of every axis, in taps.
            channels: number of channels of x.
            groups: number of groups.
            some: the channels to return; all by default.
        """
        pairs = self.bases(lags)
        basis = None if pairs is None else TapBasis([np.hstack(pair) for pair in pairs])
        if pairs is None:
            penalized = np.ones(math.prod(map(len, lags)), bool)
        else:
            free = [np.repeat([False, True], [root.shape[1], n.shape[1]]) for root, n in pairs]
            penalized = ~reduce(lambda a, b: np.logical_and.outer(a, b).reshape(-1), free)
        by_channel = self.channel_weights(channels)
        by_channel = (by_channel if some is None else by_channel[[*some]]).reshape(groups, 1, -1)
        return Coordinates(basis, (by_channel * penalized[:, None]).reshape(groups, -1))


@dataclass(frozen=True)
class Ridge(Penalty):
    """‖w‖²: L = I. As scikit-learn's ``alpha``, summed and not averaged over rows.

    Args:
        groups: a label for every input channel, such as ``(0, 1, 1, 2)``: banded ridge, whose
            strength is that of each label. None for one strength.
        weights: factors of the strength, one for each label in ascending order; None for
            `Regularized` to choose.
    """

    groups: tuple[int, ...] | None = None
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.groups is None:
            if self.weights is not None:
                raise ValueError("Ridge(weights=...) needs groups=, a label for every channel")
            return
        object.__setattr__(self, "groups", _labels(self.groups))
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
        """The labels that there are, ascending."""
        return tuple(sorted(set(self.groups or ())))

    @property
    def title(self) -> str:
        """With its weights."""
        if self.groups is None:
            return "ridge"
        given = "" if self.weights is None else f", weights {listed(self.weights)}"
        return f"banded ridge of {len(self.labels)} groups of channels{given}"

    @property
    def open(self) -> tuple[str, ...]:
        """The weights of several groups."""
        return ("weights",) if self.groups is not None and self.weights is None else ()

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """There must be a label for every channel."""
        if self.groups is not None and len(self.groups) != channels:
            raise ValueError(
                f"Ridge(groups=...) has {len(self.groups)} labels, x has {channels} channels"
            )

    def roots(self, lags: np.ndarray) -> None:
        """None: kernels are their own coordinates."""
        return

    def channel_weights(self, channels: int) -> np.ndarray:
        """That of the label of each channel."""
        if self.groups is None or self.weights is None:
            return np.ones(channels)
        return np.array(self.weights)[np.searchsorted(self.labels, self.groups)]


def _labels(groups: Any) -> tuple[int, ...]:
    if not isinstance(groups, (tuple, list, np.ndarray)):
        raise TypeError(f"groups must be a label for every input channel, got {shown(groups)}")
    return tuple(integer(label, "groups", 0) for label in groups)


def listed(values: Sequence[float]) -> str:
    """Numbers as a title names them."""
    return ", ".join(f"{value:.4g}" for value in values)


# What solvers take where nothing else is asked.
RIDGE = Ridge()


# Up to here, and from its inverse on, squares stay well within float64.
SQUARABLE = 1e120


class Tikhonov(Penalty):
    """‖D w‖² for a matrix D of your own, on the taps of every channel alike.

    Args:
        matrix: D (q, taps), its columns in ascending lags as those of `Solution.impulse_response`;
            in two and three dimensions the taps in C order. What it maps to zero is not penalized.

    L = D⁺ by a singular value decomposition, of which values below rounding are taken as zero.
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
        """With the shape of D."""
        return "Tikhonov, a matrix of {} × {}".format(*self.matrix.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tikhonov) and np.array_equal(self.matrix, other.matrix)

    def __hash__(self) -> int:
        return hash((self.matrix.shape, self.matrix.tobytes()))

    def __repr__(self) -> str:
        return f"Tikhonov(array of shape {self.matrix.shape})"

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """It must have a column for every tap."""
        taps = int(np.prod(kernel_size))
        if self.matrix.shape[1] != taps:
            raise ValueError(
                f"Tikhonov(matrix) has {self.matrix.shape[1]} columns, a channel {taps} taps"
            )

    def roots(self, lags: np.ndarray) -> None:
        """None: D acts on all axes at once."""
        return

    def bases(self, lags: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """D⁺ and the null space of D, over all taps of a channel."""
        _, s, vt = np.linalg.svd(self.matrix[:, ::-1])
        rank = int((s > max(self.matrix.shape) * np.finfo(float).eps * s.max(initial=0.0)).sum())
        return [(vt[:rank].T / s[:rank], vt[rank:].T)]
