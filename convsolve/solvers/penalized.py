"""Least squares with a penalty that is selected from the data, or differs among outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..inference.bands import choose_bands
from ..inference.folds import CrossValidation
from ..inference.regularization import Regularization, as_given, joined, of_outputs
from ..inference.scorers import Scoring, smooth
from ..inference.selection import choose_penalty, choose_strengths, strength_grids
from ..inference.several_strengths import SeveralStrengths
from ..inference.sums import few_rows
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, Certificate
from ..leastsquares.penalty import Penalty, Ridge
from ..problem.sizes import Sizes
from ..text import count, in_bytes
from .auto import AutoSolver
from .base import SQUARED, Objective, Solver, SolverResult, Terms, certified


class Choice(NamedTuple):
    """The penalty of every output.

    Attributes:
        selected: the selection, with all scores; None if all strengths were given.
        pairs: penalty without strength and strength of every output.
        begun: kernel, bias and bounds on the backward errors (Cout,), if there is a solution.
    """

    selected: Regularization | None
    pairs: Terms
    begun: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None


def unsupported(penalty: Penalty, select: str | CrossValidation, sizes: Sizes) -> str | None:
    """Return the reason if the Gram matrix or the rows do not fit in memory, else None."""
    if not smooth(select) and sizes.whole_reason:
        return f"a function as score= {sizes.whole_reason}"
    if sizes.gram_fits or (few_rows(sizes) and not _bands(penalty)):
        return None
    return (
        f"selecting the strength needs AᵀA of {sizes.parameters} columns, "
        f"{in_bytes(sizes.gram_bytes)}, more than Limits(memory=) allows; give the strength, or "
        "use fewer taps"
    )


def _bands(penalty: Penalty) -> bool:
    return isinstance(penalty, Ridge) and penalty.bands


def choose(
    analysis: Analysis, penalty: Penalty, grid: Any, select: str | CrossValidation
) -> Choice:
    """Select the strength of every output, and open hyperparameters of the penalty.

    One decomposition of the moments serves all strengths, outputs and folds. Problems with fewer
    rows than unknowns are solved within the space spanned by the rows. The time grows as the square
    of the number of rows. Otherwise it grows as the cube of the number of unknowns, once per fold
    of a `CrossValidation`.

    Args:
        analysis: the analysis of the problem.
        penalty: the penalty, with given strengths or without.
        grid: strengths to choose from, ``(n,)`` or ``(n, outputs)``; None for an automatic search.
        select: the criterion.

    Source: G. H. Golub, M. Heath and G. Wahba, Technometrics 21 (1979) 215 (GCV); T. Chen, H.
    Ohlsson and L. Ljung, Automatica 48 (2012) 1525 (evidence).
    """
    design = analysis.design
    if design.sizes.rows - design.nuisance.total < 2:
        raise SolveError(f"{count(design.sizes.rows, 'row')} of y: too few to select a strength")
    strengths = np.array(grid, float) if grid is not None else None
    if penalty.strength is not None:
        strengths = np.atleast_2d(np.array(penalty.strength, float))
    scoring = Scoring(analysis, select)
    if isinstance(penalty, Ridge) and penalty.bands:
        return Choice(*choose_bands(scoring, penalty))
    return _one_form(analysis, scoring, penalty.form, strengths)


def _one_form(
    analysis: Analysis, scoring: Scoring, penalty: Penalty, strengths: np.ndarray | None
) -> Choice:
    """Select one strength per output for a penalty that is common to all outputs."""
    grids, units = strength_grids(strengths, scoring.units), scoring.units
    found = choose_penalty(scoring, penalty, grids)
    scorers = scoring.scorers(found)
    chosen = [choose_strengths(s, grid) for s, grid in zip(scorers, grids, strict=True)]
    parts = zip(units.outputs, scorers, chosen, strict=True)
    selected = joined([of_outputs(units, e, found, s, c) for e, s, c in parts])
    opened = {name: getattr(found, name) for name in penalty.open}
    pairs = zip(scorers, chosen, strict=True)
    begin = np.stack([s.coordinates(c.strengths[None])[0] for s, c in pairs])
    several = SeveralStrengths(analysis, found, selected.strength, units)
    proven = several.proven(scorers)
    begun = several.solve(scorers, begin, proven)
    penalties = [(found, strength) for strength in selected.strength.tolist()]
    # Sums that cannot solve a problem do not have its degrees of freedom either.
    unproven = np.repeat(~proven, units.outputs.shape[1]) | ~(begun[-1] <= EXACT)
    selected = selected._replace(
        hyperparameters=opened,
        effective_dof=_by_factors(analysis, penalties, selected, unproven),
    )
    if len(chosen[0].grid) == 1:
        unknown = np.full(selected.score.shape, np.nan)
        selected = selected._replace(criterion="given", score=unknown, path=None)
    return Choice(selected, penalties, begun)


def solve_each(analysis: Analysis, choice: Choice, solver: Solver) -> SolverResult:
    """Return the result for the penalty and strength of every output.

    Outputs that are not exact are solved by the solver, once per penalty and strength. The kernel
    is unique if every penalty ensures it. The penalty of least strength is recorded.
    """
    selected, penalties, begun = choice
    unknown = np.full(len(penalties), np.nan)
    words = selected or as_given(penalties, unknown, unknown)
    shape, route = analysis.design.kernel_shape, "tridiagonal form of the Gram matrix"
    if begun is None or not isinstance(solver, AutoSolver):
        begun = np.zeros(shape), np.zeros(shape[-1]), np.full(shape[-1], np.inf)
    kernel, bias, errors = begun
    wrong, status = ~(errors <= EXACT), None
    for pair in dict.fromkeys(penalties):
        mine = wrong & np.array([pair == other for other in penalties])
        if mine.any():
            found = solver.run(analysis, Objective(SQUARED, *pair))
            kernel[..., mine], bias[mine] = found.kernel[..., mine], found.bias[mine]
            errors[mine] = certified(analysis, found).value
            route, status = str(found.stats.get("solver", solver.name)), status or found.status
    least = dict(sorted(penalties, key=lambda pair: -pair[1]))
    certain = all(analysis.system(*pair).ridge_certifies for pair in least.items())
    return SolverResult(
        kernel,
        bias,
        *min(penalties, key=lambda pair: pair[1]),
        status=status if status != "solved" else None,
        stats={
            "solver": route,
            "penalty": {"kind": words.penalty, "strength": words.strength.tolist()},
        },
        certificate=Certificate(float(errors.max()), "upper bound"),
        evidence="the penalty" if certain else None,
        regularization=selected,
        penalties=penalties,
    )


def _by_factors(
    analysis: Analysis,
    penalties: Sequence[tuple[Penalty, float]],
    selected: Regularization,
    unproven: np.ndarray,
) -> np.ndarray:
    """Return the degrees of freedom (outputs,), from factors for outputs that are ``unproven``.

    The Gram matrix has lost the digits of columns that are not penalized and nearly dependent.
    """
    found = selected.effective_dof.copy()
    each = len(found) // analysis.design.spec.groups
    for output in np.flatnonzero(unproven).tolist():
        system, group = analysis.system(*penalties[output]), output // each
        factor = system.factor(group)
        if factor is not None and factor.full_rank:
            found[output] = system.freedom(group, factor)
    return found
