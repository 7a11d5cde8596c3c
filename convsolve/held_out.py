"""How well a solver predicts rows that were not used for the fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .api import check_problem, solve
from .inference.folds import CrossValidation, beside
from .leastsquares.penalty import Penalty
from .near_misses import checks_arguments
from .operators.prediction import predicted_blocks
from .problem.problem import Problem
from .problem.rows import Span
from .problem.sizes import Limits
from .progress import Listener, tracked
from .progress_bars import following
from .scoring import scored
from .solution import Solution
from .solvers.base import Solver
from .text import aligned


class CrossValidationScores(NamedTuple):
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

    See Also:
        `cross_validate`, which returns it, and `Score`.
    """

    mse: np.ndarray
    r2: np.ndarray
    correlation: np.ndarray
    solutions: tuple[Solution, ...]
    outputs: tuple[Any, ...]

    def __str__(self) -> str:
        """Return a table of means over folds and standard deviations, with a line per output."""
        rows = [["output", "R²", "correlation", "mse"]]
        for o, name in enumerate(self.outputs):
            columns = (values[:, o] for values in (self.r2, self.correlation, self.mse))
            rows.append([str(name), *(f"{v.mean():.4g} ± {v.std(ddof=1):.2g}" for v in columns)])
        head = f"Held-out scores of {len(self.mse)} folds: mean ± standard deviation between folds"
        return "\n".join([head, *aligned(rows, 1)])


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
    progress: bool | Listener = False,
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
    with following(progress, "cross_validate"):
        for i, held in enumerate(tracked(spans.folds, "folds", len(spans.folds))):
            rest = problem.of_rows(beside(spans.folds, i, spans.rest))
            fit = solve(rest, solver, **given, noise=noise, limits=limits)
            solutions.append(fit)
            fit._state_as(problem)
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
