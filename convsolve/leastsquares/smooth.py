"""Smooth kernels: differences along the lags, and a squared-exponential prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..near_misses import checks_arguments
from ..problem.checks import integer, number
from .penalty import Penalty, Search, listed

# Eigenvalues of a squared exponential below this share of the largest are rounding.
KEPT = 1e-14


@checks_arguments
@dataclass(frozen=True)
class Smooth(Penalty):
    """Kernels that are smooth along the lags of every channel.

    Args:
        order: 1 or 2, for ‖D w‖² with the differences D of this order. L is a right inverse of D.
            Kernels that are constant (for 2, linear) along the lags are not penalized. In two and
            three dimensions the axes are multiplied. A kernel is then free only if no axis
            penalizes it.
        length: length in taps, a number or one number per axis, for wᵀK w with the squared
            exponential K⁻¹ = exp(−(i − j)²/(2·length²)). Taps much closer than ``length`` are
            similar. Kernels need not decay. If ``order`` is None too, `Regularized` selects it.

    L of the squared exponential is Q√e for its eigenvectors Q and eigenvalues e. Eigenvalues below
    1e-14 of the largest are excluded. An inverse or a Cholesky factor would be rounding only.

    If x has an offset of a hundred times its standard deviation or more, fit a bias with ``order``.
    Without a bias, differences of such columns lose digits and the status is "approximate". For
    responses that decay, `StableSpline` is better.

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
        """Name with the given hyperparameters."""
        if self.order is not None:
            return f"{('first', 'second')[self.order - 1]} differences"
        if self.length is None:
            return "squared exponential"
        return f"squared exponential, length {listed(self._lengths(1))} taps"

    def _lengths(self, axes: int) -> tuple[float, ...]:
        return self.length if isinstance(self.length, tuple) else (self.length,) * axes

    @property
    def open(self) -> tuple[str, ...]:
        """The length, if neither order nor length is given."""
        return ("length",) if self.order is None and self.length is None else ()

    def search(self, lags: Sequence[np.ndarray]) -> Search:
        """Return the search over the logarithm of the length of every axis, in taps."""
        taps = np.array([len(axis) for axis in lags], float)
        starts = np.linspace(np.log(0.7), np.log(np.maximum(taps, 2.0)), 7)
        return Search(starts, np.full(len(lags), np.log(0.3)), np.log(4 * taps), self._at)

    def _at(self, place: np.ndarray) -> Smooth:
        """Return the penalty with the lengths at a place of the search."""
        lengths = tuple(np.exp(place).tolist())
        return replace(self, length=lengths if len(lengths) > 1 else lengths[0])

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless there is a length for every axis."""
        if isinstance(self.length, tuple) and len(self.length) != len(kernel_size):
            raise ValueError(
                f"Smooth(length=...) has {len(self.length)} lengths, the kernel "
                f"{len(kernel_size)} axes"
            )

    def bases(self, lags: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return L and N of every axis."""
        if self.order is not None:
            return [self.roots(axis) for axis in lags]
        lengths = self._lengths(len(lags))
        return [_squared_exponential(a, length) for a, length in zip(lags, lengths, strict=True)]

    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return steps (for order 2, ramps) at every lag, and the constant (and linear) kernels."""
        order, taps = self.order or 1, len(lags)
        n = np.linalg.qr(np.vander(np.linspace(-1, 1, taps), min(order, taps), increasing=True))[0]
        steps = np.tri(taps, max(taps - order, 0), -order)
        for _ in range(order - 1):
            steps = np.cumsum(steps, axis=0)
        # Projected twice, because the first projection leaves the rounding of large ramps.
        for _ in range(2):
            steps = steps - n @ (n.T @ steps)
        return steps, n


def _squared_exponential(lags: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(under="ignore", over="ignore"):
        kernel = np.exp(-0.5 * ((lags[:, None] - lags) / length) ** 2)
    values, vectors = np.linalg.eigh(kernel)
    kept = values > KEPT * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept]), np.zeros((len(lags), 0))
