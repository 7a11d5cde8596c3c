"""Least squares with a penalty that is selected from the data, or differs among outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import SolveError
from ..inference.folds import CrossValidation
from ..inference.regularization import Regularization
from ..inference.select import Scoring, choose, choose_bands, few_rows, smooth
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, Certificate, frobenius_bounds, upper_bound
from ..leastsquares.penalty import Penalty, Ridge
from ..leastsquares.regression import NOISE, Regression
from ..leastsquares.scaling import exponents_of
from ..problem.sizes import Sizes
from ..text import count
from .auto import AutoSolver
from .base import SQUARED, Objective, Solver, SolverResult, Terms, certified

# The name of the factor, and the steps of refinement with it.
ROUTE, STEPS = "eigenvectors of the Gram matrix", 4

# ‖r‖² (G, Q) and AᵀM r (G, R, Q) of a kernel.
Residual = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
# Kernel, bias and bounds on the backward errors of the outputs.
Solved = tuple[np.ndarray, np.ndarray, np.ndarray]


def unsupported(penalty: Penalty, select: str | CrossValidation, sizes: Sizes) -> str | None:
    """Return the reason if the Gram matrix or the rows do not fit in memory, else None."""
    if not smooth(select) and sizes.whole_reason:
        return f"a function as score= {sizes.whole_reason}"
    by_rows = few_rows(sizes) and not (isinstance(penalty, Ridge) and penalty.bands)
    return None if by_rows else sizes.gram_reason()


def selected(
    analysis: Analysis, penalty: Penalty, grid: Any, select: str | CrossValidation
) -> tuple[Regularization, Terms, Solved | None]:
    """Select the strength of every output, and open hyperparameters of the penalty.

    One eigendecomposition serves all strengths and outputs. Problems with fewer rows than unknowns
    are solved within the space spanned by the rows. The time grows as the square of the number of
    rows. Otherwise it grows as the cube of the number of unknowns, once per fold of a
    `CrossValidation`.

    Args:
        analysis: the analysis of the problem.
        penalty: the penalty, with given strengths or without.
        grid: strengths to choose from, ``(n,)`` or ``(n, outputs)``; None for an automatic search.
        select: the criterion.

    Returns:
        The selection, penalty and strength of every output, and the solution if there is one.

    Source: G. H. Golub, M. Heath and G. Wahba, Technometrics 21 (1979) 215 (GCV); T. Chen, H.
    Ohlsson and L. Ljung, Automatica 48 (2012) 1525 (evidence).
    """
    sizes, nuisance = analysis.design.sizes, analysis.design.nuisance.total
    if sizes.rows - nuisance < 2:
        raise SolveError(f"{count(sizes.rows, 'row')} of y: too few to select a strength")
    scoring = Scoring(analysis, select)
    if isinstance(penalty, Ridge) and penalty.bands:
        return *choose_bands(scoring, penalty), None
    given = [penalty.strength] if penalty.strength is not None else grid
    chosen, form, spectra, inner = choose(scoring, penalty, given)
    regression = Regression(analysis.unpenalized(form), scoring.targets)
    user = scoring.units.to_user(inner)
    solved = Refinement(regression, spectra, inner, user).solution()
    return chosen, [(form, strength) for strength in chosen.strength.tolist()], solved


class Refinement:
    """Kernels z (G, R, Q) of all outputs at their own strengths, refined with their spectra.

    They are in the coordinates of the penalty and the units of the columns of A T. ``inner`` (G, Q)
    are the strengths in the units of the spectra, and ``user`` (G, Q) are in the user's units.
    """

    def __init__(self, regression: Regression, spectra: list[Any], inner: Any, user: Any) -> None:
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


def solve_each(
    analysis: Analysis,
    solver: Solver,
    penalty: Penalty,
    terms: Terms | None,
    grid: Any,
    select: str | CrossValidation,
) -> SolverResult:
    """Return the result for the penalty and strength of every output.

    They are selected unless ``terms`` are given. Outputs that are not exact are solved by the
    solver, once per penalty and strength. The kernel is unique if every penalty ensures it.
    """
    sizes, shape = analysis.design.sizes, analysis.design.kernel_shape
    auto, solved, chosen = isinstance(solver, AutoSolver), None, None
    # One decomposition serves the positive strengths of all outputs. A banded ridge with given
    # strengths has another form than in a search.
    enough = auto and sizes.rows - sizes.nuisance >= 2 and not unsupported(penalty, "gcv", sizes)
    if terms is None or (enough and all(form == penalty.form and s for form, s in terms)):
        chosen, terms, solved = selected(analysis, penalty, grid, select)
    if solved is None or not auto:
        solved = np.zeros(shape), np.zeros(shape[-1]), np.full(shape[-1], np.inf)
    kernel, bias, errors = solved
    wrong, status, route = ~(errors <= EXACT), None, ROUTE
    for pair in dict.fromkeys(terms):
        mine = wrong & np.array([pair == other for other in terms])
        if mine.any():
            found = solver.run(analysis, Objective(SQUARED, *pair))
            kernel[..., mine], bias[mine] = found.kernel[..., mine], found.bias[mine]
            errors[mine] = certified(analysis, found, *pair).value
            route, status = str(found.stats.get("solver", solver.name)), status or found.status
    least = dict(sorted(terms, key=lambda pair: -pair[1]))
    certain = all(analysis.system(*pair).ridge_certifies for pair in least.items())
    result = SolverResult(kernel, bias, stats={"solver": route}, penalties=terms)
    certificate = Certificate(float(errors.max()), "upper bound")
    found = replace(result, certificate=certificate, evidence="the penalty" if certain else None)
    return replace(found, status=status if status != "solved" else None, regularization=chosen)
