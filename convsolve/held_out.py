"""How well a solver predicts rows that were not used for the fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .api import check_problem, solve
from .facts import Fact, Reported, by_output, of_fields
from .inference.folds import CrossValidation, beside
from .leastsquares.penalty import Penalty
from .model import Model
from .notation import checks_arguments
from .operators.prediction import predicted_blocks
from .problem.problem import Problem
from .problem.rows import Span
from .problem.sizes import Limits
from .progress import following, tracked
from .scoring import scored
from .solution import Solution
from .solvers.base import Solver
from .text import count, pm


@dataclass(frozen=True, repr=False, eq=False)
class CrossValidationScores(Reported):
    """Scores of held-out rows, each (folds, outputs).

    Attributes:
        mse: mean square of the residual, in the square of y's unit. Rows are weighted by their
            weights.
        r2: R² about the mean of the fold.
        correlation: Pearson's correlation. It and R² are NaN if an output does not vary in a fold.
        solutions: the solution without each fold.
        outputs: names of the outputs, or their numbers.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 300))
        >>> scores = cs.cross_validate(cs.Problem(x, x + noise, lags=(0, 9)), folds=10)
        >>> scores.mse.shape, len(scores.solutions)
        ((10, 1), 10)
        >>> print(scores)
        Held-out scores, mean ± standard deviation of 10 folds
        output             R²    correlation            mse
        0       0.519 ± 0.103  0.732 ± 0.074  0.933 ± 0.351

    See Also:
        `cross_validate`, which returns it, and `Score`.
    """

    mse: np.ndarray
    r2: np.ndarray
    correlation: np.ndarray
    solutions: tuple[Solution, ...]
    outputs: tuple[Any, ...]

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield means over folds and standard deviations between folds, and all scores."""
        shown = {"R²": self.r2, "correlation": self.correlation, "mse": self.mse}
        columns, means = dict[str, list[str]](), {head: v.mean(0) for head, v in shown.items()}
        for head, values in shown.items():
            several = zip(means[head], values.std(0, ddof=1), strict=True)
            columns[head] = [pm(*pair, ".3g" if head == "mse" else ".3f") for pair in several]
        head = f"Held-out scores, mean ± standard deviation of {count(len(self.mse), 'fold')}"
        yield Fact("", head, by_output(self.outputs, columns, means))
        about = ("status", "backward_error", "duality_gap", "stats")
        fits = [{name: getattr(fit, name) for name in about} for fit in self.solutions]
        yield from of_fields(self, solutions=fits)


@checks_arguments
def cross_validate(
    problem: Problem,
    solver: str | Solver | None = None,
    *,
    folds: Any = None,
    ridge: Any = None,
    penalty: str | Penalty | None = None,
    grid: Any = None,
    select: Any = None,
    loss: Any = "squared",
    noise: Any = "white",
    progress: bool = False,
    limits: Limits | None = None,
) -> CrossValidationScores:
    """Solve without each fold in turn, and score the prediction of its rows.

    A strength that is selected from the data is selected for every fold, from the other rows alone.
    The scores are therefore not biased by the selection.

    Args:
        problem: x, y and the geometry.
        folds: as in `CrossValidation`: None (the default) for the records, or five blocks of a
            single record; a number; or a list of indices of records.
        solver: as in `solve`.
        ridge: as in `solve`.
        penalty: as in `solve`.
        grid: as in `solve`.
        select: as in `solve`.
        loss: as in `solve`.
        noise: as in `solve`.
        progress: True shows progress bars, see `solve`. Default False.
        limits: limits of memory and time, see `Limits`. None, the default, is ``Limits()``.

    Returns:
        The scores of every fold and output, and the solutions.

    Raises:
        TypeError, ValueError: As for `CrossValidation` and `solve`.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 8, 300, 1))
        >>> scores = cs.cross_validate(cs.Problem(x, x + noise, lags=(0, 9)), ridge=10.0)
        >>> scores.r2.shape
        (8, 1)
        >>> bool(scores.r2.mean() > 0.4)
        True

    See Also:
        `solve`, `compare`, `CrossValidation` and `Solution.score`.
    """
    check_problem(problem, "cross_validate")
    if isinstance(solver, int):
        raise TypeError(f"the second argument is the solver; use folds={solver} for {solver} folds")
    given = {"ridge": ridge, "penalty": penalty, "grid": grid, "select": select, "loss": loss}
    solutions = []
    # A record belongs to a fold if any output has rows in it.
    spans = CrossValidation(folds).spans(*(rows for _, rows in problem._by_mask))
    found = np.empty((3, len(spans.folds), problem.n_outputs))
    with following(progress):
        for i, held in enumerate(tracked(spans.folds, "folds", len(spans.folds))):
            rest = problem.of_rows(beside(spans.folds, i, spans.rest))
            fit = solve(rest, solver, **given, noise=noise, limits=limits)
            solutions.append(fit)
            fit._describe(Model.of(problem, fit.kernel, fit.bias))
            found[:, i] = _scores(fit, problem, held)
    mse, r2, correlation = found
    return CrossValidationScores(mse, r2, correlation, tuple(solutions), tuple(problem.outputs))


def _scores(fit: Solution, problem: Problem, spans: Sequence[Span]) -> np.ndarray:
    """Return mse, R² and correlation (3, outputs) of some rows, NaN for outputs without them."""
    kernel, bias = np.asarray(fit.kernel, float), np.asarray(fit.bias, float)
    found = np.full((3, problem.n_outputs), np.nan)
    for outputs, own in problem.parts:
        some, every = [span for span in spans if own._kept.rows_of(span)], [*outputs]
        if some:
            held = own.of_rows(some)
            blocks = predicted_blocks(held.x, kernel[..., every], bias[every], held.spec)
            score = scored(held, range(len(every)), held._kept, blocks)
            found[:, every] = score.mse, score.r2, score.correlation
    return found
