"""Smooth kernels: differences along the lags, and a squared-exponential prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..problem.checks import integer, number
from .penalty import Penalty, Search, listed

# Eigenvalues of a squared exponential below this share of the largest are rounding.
KEPT = 1e-14


@dataclass(frozen=True)
class Smooth(Penalty):
    """Kernels that are smooth along the lags of every channel.

    Args:
        order: 1 or 2, ‖D w‖² for the differences D of that order: L is a right inverse of D, and
            what is constant (for 2, linear) along the lags is not penalized. In two and three
            dimensions the axes are multiplied, so that only what no axis penalizes is free.
        length: in taps, a number or one an axis: wᵀK w with K⁻¹ = exp(−(i − j)²/(2·length²)), a
            squared exponential: taps much closer than ``length`` are alike, and kernels die out
            nowhere. None, with no ``order``, for `Regularized` to choose.

    L of the squared exponential is Q√e of its eigenvectors and eigenvalues, those below 1e-14 of
    the largest left out: an inverse, or a Cholesky, of this matrix would be rounding alone.

    With ``order``, where x has an offset of a hundred times its deviation and more, fit a bias too:
    differences of such columns lose digits without one, and the answer is "approximate". A response
    that decays is met better by `StableSpline`.

    Source: M. Sahani and J. F. Linden, NIPS 15 (2003) 317 (automatic smoothness determination).
    """

    order: int | None = None
    length: Any = None

    def __post_init__(self) -> None:
        if self.order is not None and self.length is not None:
            raise ValueError("Smooth takes order= or length=, not both")
        if self.order is not None:
            object.__setattr__(self, "order", integer(self.order, "order"))
            if self.order > 2:
                raise ValueError(f"order must be 1 or 2, got {self.order}")
        if self.length is not None:
            several = isinstance(self.length, (tuple, list, np.ndarray))
            given = tuple(self.length) if several else (self.length,)
            lengths = tuple(number(one, "length") for one in given)
            object.__setattr__(self, "length", lengths if several else lengths[0])

    @property
    def title(self) -> str:
        """As a text names it."""
        if self.order is not None:
            return f"{('first', 'second')[self.order - 1]} differences"
        if self.length is None:
            return "squared exponential"
        return f"squared exponential, length {listed(self._lengths(1))} taps"

    def _lengths(self, axes: int) -> tuple[float, ...]:
        return self.length if isinstance(self.length, tuple) else (self.length,) * axes

    @property
    def open(self) -> tuple[str, ...]:
        """The length, where differences are not asked for either."""
        return ("length",) if self.order is None and self.length is None else ()

    def search(self, lags: Sequence[np.ndarray]) -> Search:
        """Logarithms of the length of every axis, from a third of a tap to four kernels."""
        taps = np.array([len(axis) for axis in lags], float)
        starts = np.linspace(np.log(0.7), np.log(np.maximum(taps, 2.0)), 7)
        return Search(starts, np.full(len(lags), np.log(0.3)), np.log(4 * taps), self._at)

    def _at(self, place: np.ndarray) -> Smooth:
        """With those lengths."""
        lengths = tuple(np.exp(place).tolist())
        return replace(self, length=lengths if len(lengths) > 1 else lengths[0])

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """There must be a length for every axis."""
        if isinstance(self.length, tuple) and len(self.length) != len(kernel_size):
            raise ValueError(
                f"Smooth(length=...) has {len(self.length)} lengths, the kernel "
                f"{len(kernel_size)} axes"
            )

    def bases(self, lags: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Those of every axis."""
        if self.order is not None:
            return [self.roots(axis) for axis in lags]
        lengths = self._lengths(len(lags))
        return [_squared_exponential(a, length) for a, length in zip(lags, lengths, strict=True)]

    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Steps up (of order 2, ramps) at every lag, orthogonal to what is free."""
        order, taps = self.order or 1, len(lags)
        n = np.linalg.qr(np.vander(np.linspace(-1, 1, taps), min(order, taps), increasing=True))[0]
        steps = np.tri(taps, max(taps - order, 0), -order)
        for _ in range(order - 1):
            steps = np.cumsum(steps, axis=0)
        # Twice, since once leaves the rounding of large ramps.
        for _ in range(2):
            steps = steps - n @ (n.T @ steps)
        return steps, n


def _squared_exponential(lags: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(under="ignore", over="ignore"):
        kernel = np.exp(-0.5 * ((lags[:, None] - lags) / length) ** 2)
    values, vectors = np.linalg.eigh(kernel)
    kept = values > KEPT * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept]), np.zeros((len(lags), 0))
