"""What may be added to ‖y − A w‖²: a penalty, which draws the kernel to what is expected of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ..operators.transformed import TapBasis


@dataclass(frozen=True)
class Coordinates:
    """w = T z, in which a penalty is strength·‖z‖² over the ``penalized`` (R,) of z: T = [L N].

    L is a root, K⁻¹ = L Lᵀ for a penalty wᵀK w, and N spans what that leaves alone. Both act on the
    taps of one channel, alike for all; neither K nor an inverse is ever formed, which the kernels
    of common priors would not survive. ``basis`` None stands for T = I.
    """

    basis: TapBasis | None
    penalized: np.ndarray


class Penalty(ABC):
    """A quadratic penalty on a kernel: frozen and hashable, without its strength.

    A new one is a class with `roots`; the closed forms, conjugate gradients, their certificates and
    verdicts follow from it. A certificate is that of z in w = T z, see `Coordinates`: of a strength
    that dwarfs the data it says nothing of the rounding of w itself.
    """

    @property
    def name(self) -> str:
        """As a `Solution` records it."""
        return type(self).__name__.lower()

    @abstractmethod
    def roots(self, taps: int) -> tuple[np.ndarray, np.ndarray] | None:
        """L (taps, r) and N (taps, p) along one axis; None for L = I and no N."""

    def coordinates(self, kernel_size: Sequence[int]) -> Coordinates:
        """T of the taps of one channel, the roots of its axes multiplied.

        Left alone is what no axis penalizes.
        """
        pairs = [self.roots(taps) for taps in kernel_size]
        if None in pairs:
            return Coordinates(None, np.ones(math.prod(kernel_size), bool))
        known = [pair for pair in pairs if pair is not None]
        free = [
            np.r_[np.zeros(root.shape[1], bool), np.ones(n.shape[1], bool)] for root, n in known
        ]
        joint = reduce(lambda a, b: np.logical_and.outer(a, b).reshape(-1), free)
        return Coordinates(TapBasis([np.hstack(pair) for pair in known]), ~joint)


@dataclass(frozen=True)
class Ridge(Penalty):
    """‖w‖²: L = I. As scikit-learn's ``alpha``, summed and not averaged over rows."""

    def roots(self, taps: int) -> None:
        """None: kernels are their own coordinates."""
        return


# What solvers take where nothing else is asked.
RIDGE = Ridge()


@dataclass(frozen=True)
class Smooth(Penalty):
    """‖D w‖², D the first differences along the lags of every channel: smooth kernels.

    L = Dᵀ(D Dᵀ)⁻¹, and N is the constant kernel, which is not penalized. In two and three
    dimensions the axes are multiplied, so that only what is constant along all of them is free.

    Where x has an offset of a hundred times its deviation and more, fit a bias too: differences of
    such columns lose digits without one, and the answer is "approximate".
    """

    def roots(self, taps: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps up at every lag, each of mean zero, and the constant."""
        steps = np.arange(taps)[:, None] > np.arange(taps - 1)
        return steps - steps.mean(0), np.full((taps, 1), 1 / math.sqrt(taps))
