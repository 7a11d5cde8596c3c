"""Least squares with a penalty that is selected from the data, or differs among outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import SolveError
from ..inference.banded import choose_bands
from ..inference.folds import CrossValidation
from ..inference.regularization import Regularization, described
from ..inference.select import (
    Scorer,
    Scoring,
    choose_penalty,
    choose_strengths,
    few_rows,
    smooth,
)
from ..inference.sums import Units
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, Certificate, frobenius_bounds, upper_bound
from ..leastsquares.penalty import Penalty, Ridge
from ..leastsquares.regression import NOISE, Regression
from ..leastsquares.scaling import Scaling
from ..parts import join
from ..problem.sizes import Sizes
from ..text import count, in_bytes
from .auto import AutoSolver
from .base import SQUARED, Objective, Solver, SolverResult, Terms, certified

# The name of the factor, and the steps of refinement with it.
ROUTE, STEPS = "eigenvectors of the Gram matrix", 4


# ‖r‖² (G, Q) and AᵀM r (G, R, Q) of a kernel.
Residual = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


# The selection with all scores, None if all strengths were given; penalty without strength and
# strength of every output; kernel, bias and bounds on the backward errors, if there is a solution.
Choice = tuple[Regularization | None, Terms, Any]


def unsupported(penalty: Penalty, select: str | CrossValidation, sizes: Sizes) -> str | None:
    """Return the reason if the Gram matrix or the rows do not fit in memory, else None."""
    if not smooth(select) and sizes.whole_reason:
        return f"a function as score= {sizes.whole_reason}"
    bands = isinstance(penalty, Ridge) and penalty.bands
    if sizes.gram_fits or (few_rows(sizes) and not bands):
        return None
    return (
        f"selecting the strength needs AᵀA of {sizes.parameters} columns, "
        f"{in_bytes(sizes.gram_bytes)}, more than Limits(memory=) allows; give the strength, or "
        "use fewer taps"
    )


def choose(
    analysis: Analysis, penalty: Penalty, grid: Any, select: str | CrossValidation
) -> Choice:
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

    Source: G. H. Golub, M. Heath and G. Wahba, Technometrics 21 (1979) 215 (GCV); T. Chen, H.
    Ohlsson and L. Ljung, Automatica 48 (2012) 1525 (evidence).
    """
    sizes, nuisance = analysis.design.sizes, analysis.design.nuisance.total
    if sizes.rows - nuisance < 2:
        raise SolveError(f"{count(sizes.rows, 'row')} of y: too few to select a strength")
    scoring = Scoring(analysis, select)
    units = scoring.units
    if isinstance(penalty, Ridge) and penalty.bands:
        return *choose_bands(scoring, penalty), None
    given = np.array(grid, float) if grid is not None else None
    if penalty.strength is not None:
        given = np.atleast_2d(np.array(penalty.strength, float))
    form, groups = penalty.form, len(units.outputs)
    grids: list[np.ndarray | None] = [None] * groups
    if given is not None:
        own = np.sort(units.from_user(given.reshape(len(given), -1)), axis=0)
        grids = [own] * groups if own.shape[1] == 1 else [*np.split(own, groups, axis=1)]
    found_form = choose_penalty(scoring, form, grids)
    scorers = scoring.scorers(found_form)
    chosen = [choose_strengths(s, g) for s, g in zip(scorers, grids, strict=True)]
    parts = zip(units.outputs, scorers, chosen, strict=True)
    selected = join([described(units.to_user, e, found_form, s, c) for e, s, c in parts])
    strengths = np.stack([c.strengths for c in chosen])
    begun = Refinement(analysis, found_form, units, scorers, strengths)
    kernel, bias, errors = begun.solution()
    pairs = [(found_form, strength) for strength in selected.strength.tolist()]
    selected = selected._replace(
        hyperparameters={name: getattr(found_form, name) for name in form.open},
        effective_dof=_freedom(analysis, pairs, selected.effective_dof, ~(errors <= EXACT)),
    )
    if len(chosen[0].grid) == 1:
        unknown = np.full(selected.score.shape, np.nan)
        selected = selected._replace(criterion="given", score=unknown, path=None)
    return selected, pairs, (kernel, bias, errors)


def _freedom(
    analysis: Analysis, pairs: Terms, known: np.ndarray, unproven: np.ndarray
) -> np.ndarray:
    """Return the degrees of freedom (outputs,), from factors for outputs that are ``unproven``.

    The Gram matrix has lost the digits of columns that are not penalized and nearly dependent.
    """
    found, each = known.copy(), len(known) // analysis.design.spec.groups
    for output in np.flatnonzero(unproven).tolist():
        system, group = analysis.system(*pairs[output]), output // each
        factor = system.factor(group)
        if factor is not None and factor.full_rank:
            found[output] = system.freedom(group, factor)
    return found


class Refinement:
    """Kernels of all outputs at their own strengths, refined and certified with few passes.

    Kernels z are (G, R, Q), in the coordinates of the penalty and the units of the columns of A T.
    ``strengths`` (G, Q) are those of the scorers, whose spectra are used as factors.
    """

    def __init__(
        self,
        analysis: Analysis,
        penalty: Penalty,
        units: Units,
        scorers: Sequence[Scorer],
        strengths: np.ndarray,
    ) -> None:
        assert analysis.targets is not None
        self._regression = Regression(analysis.unpenalized(penalty), analysis.targets)
        self._scorers, self._strengths = scorers, strengths
        self._columns = self._regression.system.columns
        self._weights = self._regression.system.coordinates.weights
        # The units of the columns times this power of two are the units of the scorers.
        self._power = (self._columns.exponents - units.column)[:, :, None]
        ridges = units.to_user(strengths).T[:, :, None] * self._weights
        scaling = Scaling.of(self._columns, ridges)
        #: Powers of two (G, R, Q) by which the columns are divided, and their norm (G, Q) then.
        self._relative, self._a_norm = (
            np.moveaxis(scaling.relative, 0, -1),
            scaling.a_norm[..., 0].T,
        )
        self._ridge = np.moveaxis(np.ldexp(ridges, -2 * self._columns.exponents), 0, -1)

    def solution(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return kernel (*K, Cin/groups, Cout), bias (Cout,) and bounds on the backward errors.

        A bound is infinite if the kernel may not be unique, because refinement does not find the
        solution of minimum norm.
        """
        regression, bounds = self._regression, None
        pairs = zip(self._scorers, self._strengths, strict=True)
        z = np.ldexp(np.stack([s.coordinates(at[None])[0] for s, at in pairs]), self._power)
        if regression.combines and not few_rows(regression.system.design.sizes):
            z, bounds = self._refined(z, self._by_sums)
            bounds = self._by_combinations(z)
        if bounds is None or bounds.max() > EXACT:
            targets = regression.targets
            z, bounds = self._refined(z, lambda z: self._columns.residual(z, targets))
        for group, scorer in enumerate(self._scorers):
            free = self._weights[group] == 0
            independent = not free.any() or regression.system.independent(group, free)
            if not (scorer.whole.unique and independent):
                bounds[group] = np.inf
        return *regression.from_columns(z), bounds.reshape(-1)

    def _refined(self, z: np.ndarray, residual: Residual) -> tuple[np.ndarray, np.ndarray]:
        """Return the best kernels and their bounds (G, Q), given ‖r‖² and AᵀM r of a kernel."""
        best, lowest = z, np.full(self._strengths.shape, np.inf)
        for step in range(STEPS + 1):
            squares, gradient = residual(z)
            gradient = gradient - self._ridge * z
            bounds = self._bounds(z, squares, gradient)
            better = bounds <= lowest
            best, lowest = np.where(better[:, None], z, best), np.where(better, bounds, lowest)
            if step == STEPS or lowest.max() <= NOISE or not better.any():
                break
            parts = zip(
                self._scorers, self._strengths, np.ldexp(gradient, self._power), strict=True
            )
            z = z + np.ldexp(np.stack([s.correction(at, g) for s, at, g in parts]), self._power)
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
        error = frobenius_bounds(off, terms.shape[1]) * terms
        return self._bounds(z, squares, gradient - self._ridge * z, error)

    def _bounds(
        self, z: np.ndarray, squares: np.ndarray, gradient: np.ndarray, error: Any = 0.0
    ) -> np.ndarray:
        """Return bounds (G, Q), given an ``error`` of the gradient of the scaled columns.

        A penalty makes the scaled columns shorter, and the error smaller.
        """
        r_norm = np.sqrt(np.maximum(squares, 0.0) + (self._ridge * z**2).sum(1))
        scaled = np.ldexp(z, self._relative), r_norm, np.ldexp(gradient, -self._relative)
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
    auto, sizes, begun, selected = isinstance(solver, AutoSolver), analysis.design.sizes, None, None
    # One decomposition serves the positive strengths of all outputs. A banded ridge with given
    # strengths has another form than in a search.
    enough = auto and sizes.rows - sizes.nuisance >= 2 and not unsupported(penalty, "gcv", sizes)
    if terms is None or (enough and all(form == penalty.form and s for form, s in terms)):
        selected, terms, begun = choose(analysis, penalty, grid, select)
    if begun is None or not auto:
        shape = analysis.design.kernel_shape
        begun = np.zeros(shape), np.zeros(shape[-1]), np.full(shape[-1], np.inf)
    kernel, bias, errors = begun
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
    return SolverResult(
        kernel,
        bias,
        status=status if status != "solved" else None,
        stats={"solver": route},
        certificate=Certificate(float(errors.max()), "upper bound"),
        evidence="the penalty" if certain else None,
        regularization=selected,
        penalties=terms,
    )
