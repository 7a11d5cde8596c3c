"""Kernels of outputs with a strength of their own, refined with the spectra of the search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..leastsquares.certificate import EXACT, frobenius_bounds, upper_bound
from ..leastsquares.regression import NOISE, Regression
from ..leastsquares.scaling import exponents_of
from .select import few_rows
from .spectrum import Spectrum

# Steps of refinement.
STEPS = 4

# ‖r‖² (G, Q) and AᵀM r (G, R, Q) of a kernel.
Residual = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
# Kernel, bias and bounds on the backward errors of the outputs.
Solved = tuple[np.ndarray, np.ndarray, np.ndarray]


class Refinement:
    """Kernels z (G, R, Q) of all outputs at their own strengths, refined with their spectra.

    They are in the coordinates of the penalty and the units of the columns of A T. ``inner`` (G, Q)
    are the strengths in the units of the spectra, and ``user`` (G, Q) are in the user's units.
    """

    def __init__(
        self, regression: Regression, spectra: list[Spectrum], inner: Any, user: Any
    ) -> None:
        self._regression, self._columns = regression, regression.system.columns
        self._spectra, self._inner = spectra, inner
        power = -2 * self._columns.exponents[..., None]
        weights = regression.system.coordinates.weights[..., None]
        self._ridge = np.ldexp(user[:, None] * weights, power)
        # Columns of [A; √ridge] are divided by powers of two that bring their norms to about one.
        sizes = np.hypot(self._columns.norms[..., None], np.sqrt(self._ridge))
        self._unit = np.ldexp(1.0, exponents_of(sizes))
        self._a_norm = np.linalg.norm(sizes / self._unit, axis=1)

    def solution(self) -> Solved:
        """Return kernel (*K, Cin/groups, Cout), bias (Cout,) and bounds on the backward errors.

        A bound is infinite if the kernel may not be unique, because refinement does not find the
        solution of minimum norm.
        """
        regression, bounds = self._regression, None
        pairs = zip(self._spectra, self._inner, strict=True)
        z = np.stack([spectrum.kernel(at[None])[0] for spectrum, at in pairs])
        if regression.combines and not few_rows(regression.system.design.sizes):
            z, _ = self._refined(z, self._by_sums)
            bounds = self._by_combinations(z)
        if bounds is None or bounds.max() > EXACT:
            z, bounds = self._refined(z, lambda z: self._columns.residual(z, regression.targets))
        for group, spectrum in enumerate(self._spectra):
            free = regression.system.coordinates.weights[group] == 0
            independent = not free.any() or regression.system.independent(group, free)
            if not (spectrum.unique and independent):
                bounds[group] = np.inf
        return *regression.from_columns(z), bounds.reshape(-1)

    def _refined(self, z: np.ndarray, residual: Residual) -> tuple[np.ndarray, np.ndarray]:
        """Return the best kernels and their bounds (G, Q), given ‖r‖² and AᵀM r of a kernel."""
        best, lowest = z, np.full(self._inner.shape, np.inf)
        for step in range(STEPS + 1):
            squares, gradient = residual(z)
            gradient = gradient - self._ridge * z
            bounds = self._bounds(z, squares, gradient)
            better = bounds <= lowest
            best, lowest = np.where(better[:, None], z, best), np.where(better, bounds, lowest)
            if step == STEPS or lowest.max() <= NOISE or not better.any():
                break
            several = zip(self._spectra, gradient, self._inner, strict=True)
            z = z + np.stack([spectrum.solve(g, at) for spectrum, g, at in several])
        return best, lowest

    def _by_sums(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cross, y_norms = self._regression.cross, self._regression.y_norms
        gradient = cross - self._columns.gram @ z
        return y_norms**2 - np.einsum("gpq,gpq->gq", z, cross + gradient), gradient

    def _by_combinations(self, z: np.ndarray) -> np.ndarray | None:
        """Return bounds by the sums and random combinations of the outputs.

        None if the sums do not have the digits of a residual.
        """
        relative = self._regression.scaling.relative[:, :, None]
        squares, gradient = self._by_sums(z)
        scaled = np.ldexp(z, relative), squares, np.ldexp(gradient, -relative)
        if (found := self._regression.combined_error(*scaled)) is None:
            return None
        off, terms = found
        # A penalty makes the scaled columns shorter, and the error smaller.
        error = frobenius_bounds(off, terms.shape[1]) * terms
        return self._bounds(z, squares, gradient - self._ridge * z, error)

    def _bounds(
        self, z: np.ndarray, squares: np.ndarray, gradient: np.ndarray, error: Any = 0.0
    ) -> np.ndarray:
        """Return bounds (G, Q), given an ``error`` of the gradient of the scaled columns."""
        r_norm = np.sqrt(np.maximum(squares, 0.0) + (self._ridge * z**2).sum(1))
        scaled = z * self._unit, r_norm, gradient / self._unit
        return upper_bound(*scaled, self._a_norm, None, error)
