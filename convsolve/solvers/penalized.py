"""Least squares with a penalty that is selected from the data, or differs among outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import SolveError
from ..inference import long_kernels
from ..inference.folds import CrossValidation
from ..inference.refinement import Refinement, Solved
from ..inference.regularization import Regularization
from ..inference.select import Scoring, choose, choose_bands, few_rows, smooth
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, Certificate
from ..leastsquares.penalty import Penalty, Ridge
from ..leastsquares.priors import StableSpline
from ..leastsquares.regression import Regression
from ..parts import STATUSES
from ..problem.sizes import Sizes
from ..text import count
from .base import SQUARED, Objective, Solver, SolverResult, Terms, certified
from .direct import AutoSolver
from .gradient_descent import GradientDescent

# The name of the factor.
ROUTE = "eigenvectors of the Gram matrix"
# Most unknowns of a penalty whose hyperparameters are selected from the Gram matrix, or that is
# selected where a Toeplitz matrix does not do.
MOST_UNKNOWNS, MOST_TC = 4000, 2000


def unsupported(penalty: Penalty, select: str | CrossValidation, sizes: Sizes) -> str | None:
    """Return the reason if the Gram matrix takes too much time or memory, else None."""
    most = MOST_TC if getattr(penalty, "kind", "") == "tc" else MOST_UNKNOWNS
    if penalty.open and sizes.unknowns > most:
        words = f"{penalty.title} is selected for at most {most} unknowns, not {sizes.unknowns}"
        needs = f"lags from 0, whole records and 10 rows per unknown ({sizes.rows} rows here)"
        return f'{words}; penalty="dc" has no such limit, and needs {needs}'
    if not smooth(select) and sizes.whole_reason:
        return f"a function as score= {sizes.whole_reason}"
    by_rows = few_rows(sizes) and not (isinstance(penalty, Ridge) and penalty.bands)
    return None if by_rows else sizes.gram_reason()


def selected(
    analysis: Analysis, penalty: Penalty, grid: Any, select: str | CrossValidation, one: bool
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
        one: whether all outputs have one strength.

    Returns:
        The selection, penalty and strength of every output, and the solution if there is one.

    Source: G. H. Golub, M. Heath and G. Wahba, Technometrics 21 (1979) 215 (GCV); T. Chen, H.
    Ohlsson and L. Ljung, Automatica 48 (2012) 1525 (evidence).
    """
    sizes, nuisance = analysis.design.sizes, analysis.design.nuisance.total
    if sizes.rows - nuisance < 2:
        raise SolveError(f"{count(sizes.rows, 'row')} of y: too few to select a strength")
    if long_kernels.without_gram(penalty, select, sizes, analysis.design.spec):
        try:
            return *long_kernels.choose(analysis, penalty, grid, select, one), None
        except long_kernels.Slow:
            if sizes.unknowns > MOST_UNKNOWNS:
                words = "no strength is found: x needs silence as long as the kernel at both ends"
                raise SolveError(f"{words}, or with edges='zeros' at its end") from None
            if isinstance(penalty, StableSpline):
                penalty = replace(penalty, correlation=0.0)
    scoring = Scoring(analysis, select, one)
    if isinstance(penalty, Ridge) and penalty.bands:
        return *choose_bands(scoring, penalty), None
    given = [penalty.strength] if penalty.strength is not None else grid
    chosen, form, spectra, inner = choose(scoring, penalty, given)
    regression = Regression(analysis.unpenalized(form), scoring.targets)
    user = scoring.units.to_user(inner)
    solved = Refinement(regression, spectra, inner, user).solution()
    return chosen, [(form, strength) for strength in chosen.strength.tolist()], solved


def solve_each(
    analysis: Analysis,
    solver: Solver,
    penalty: Penalty,
    terms: Terms | None,
    grid: Any,
    select: str | CrossValidation,
    one: bool = False,
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
        chosen, terms, solved = selected(analysis, penalty, grid, select, one)
    if solved is None or not auto:
        solved = np.zeros(shape), np.zeros(shape[-1]), np.full(shape[-1], np.inf)
    kernel, bias, errors = solved
    wrong, status, route = ~(errors <= EXACT), None, ROUTE
    certain = bool(wrong.all())
    descents = list[SolverResult]()
    for pair in dict.fromkeys(terms):
        mine = wrong & np.array([pair == other for other in terms])
        if mine.any():
            found = solver.run(analysis, Objective(SQUARED, *pair))
            kernel[..., mine], bias[mine] = found.kernel[..., mine], found.bias[mine]
            errors[mine] = certified(analysis, found, *pair).value
            certain &= bool(found.evidence)
            if isinstance(solver, GradientDescent):
                descents.append(found)
            route, status = str(found.stats.get("solver", solver.name)), status or found.status
    least = dict(sorted(terms, key=lambda pair: -pair[1]))
    certain = certain or all(analysis.system(*pair).ridge_certifies for pair in least.items())
    stats: dict[str, Any] = {"solver": route}
    if descents:
        # A descent ends with a status of its own, whatever the certificate is.
        worst = max(descents, key=lambda one: STATUSES.index(one.status or ""))
        return replace(
            worst,
            kernel=kernel,
            bias=bias,
            stats=stats | worst.stats,
            penalties=terms,
            certificate=Certificate(float(errors.max()), "upper bound"),
            evidence="the penalty" if certain else None,
            regularization=chosen,
            trace=None,
        )
    result = SolverResult(kernel, bias, stats=stats, penalties=terms)
    certificate = Certificate(float(errors.max()), "upper bound")
    found = replace(result, certificate=certificate, evidence="the penalty" if certain else None)
    return replace(found, status=status if status != "solved" else None, regularization=chosen)
