"""How well a solver predicts rows that were not used for the fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .api import check_problem, solve
from .facts import Fact, Reported, by_output, of_fields
from .inference.folds import CrossValidation, beside
from .inference.resampling import resampled_correlations
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

# The smallest p-value of fewer differences is above 5 %. All signs of at most so many are used, and
# so many draws of others. Statistics that differ by less are equal.
FEWEST_FOLDS, MOST_SIGNED, SIGN_DRAWS, TIE = 5, 12, 1000, 1e-12
POWER = """fit.test(channel) without a penalty has 4 to 6 times the power. It asks whether a channel
matters, and this test whether the channel improves predictions."""


@dataclass(frozen=True, repr=False, eq=False)
class HeldOutTest(Reported):
    """Result of a one-sided test of mean held-out correlations, or of their differences.

    Attributes:
        statistic: (outputs,), mean over folds of the held-out correlation, or of the correlation of
            a model minus the correlation of another model.
        pvalue: (outputs,), share of the statistics at least as large among those of ``statistic``
            and of the null distribution. NaN for an output that is constant in a fold.
        joint_statistic, joint_pvalue: the same for all outputs together: for their maximum, or for
            the mean of differences.
        null_distribution: (draws, outputs), statistics of resampled y, or of other signs.
        outputs: names of the outputs, or their numbers.
        joint: "maximum" or "mean".
        title: description of the statistic.
        note: description of the test.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 8, 100, 1))
        >>> y = np.concatenate([x + 2 * noise, noise[::-1]], axis=2)
        >>> cv = cs.cross_validate(cs.Problem(x, y, lags=(0, 4)), penalty="ridge")
        >>> print(cv.permutation_test(draws=199))
        Mean held-out correlation
        output        correlation  p-value
        maximum of 2        0.487    0.005
        0                   0.487    0.005
        1                   0.023      0.3
        p from 199 refits

    See Also:
        `CrossValidationScores.permutation_test` and `CrossValidationScores.compare`, which return
        it, and `PermutationTest`.
    """

    statistic: np.ndarray
    pvalue: np.ndarray
    joint_statistic: float
    joint_pvalue: float
    null_distribution: np.ndarray
    outputs: tuple[Any, ...]
    joint: str
    title: str
    note: str

    @classmethod
    def of(cls, values: np.ndarray, of_all: Callable[..., Any], *words: Any) -> HeldOutTest:
        """Return the rank of the first of statistics (1 + draws, outputs)."""
        both = np.column_stack([of_all(values, axis=1), values])
        # A refit without a correlation counts as at least as large.
        p = np.where(np.isnan(both[0]), np.nan, np.mean(~(both < both[0] - TIE), axis=0))
        return cls(values[0], p[1:], float(both[0, 0]), float(p[0]), values[1:], *words)

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield a row for every output, after a row for all of several outputs, and all fields."""
        r, p = [self.joint_statistic, *self.statistic], [self.joint_pvalue, *self.pvalue]
        names, first = [f"{self.joint} of {len(p) - 1}", *self.outputs], int(len(p) == 2)
        columns = {"correlation": [f"{v:.3f}" for v in r[first:]]}
        columns["p-value"] = [f"{v:.2g}" for v in p[first:]]
        yield Fact("", self.title, by_output(names[first:], columns, note=self.note))
        yield from of_fields(self)


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
        problem: the problem, with the rows of all folds.
        folds: numbers of the records in every fold. A record that was cut is in several folds.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 300))
        >>> scores = cs.cross_validate(cs.Problem(x, x + noise, lags=(0, 9)), folds=10)
        >>> scores.mse.shape, len(scores.solutions)
        ((10, 1), 10)
        >>> print(scores)
        Held-out scores, mean ± standard error of 10 folds
        output             R²    correlation            mse
        0       0.519 ± 0.032  0.732 ± 0.023  0.933 ± 0.111

    See Also:
        `cross_validate`, which returns it, and `Score`.
    """

    mse: np.ndarray
    r2: np.ndarray
    correlation: np.ndarray
    solutions: tuple[Solution, ...]
    outputs: tuple[Any, ...]
    problem: Problem
    folds: tuple[tuple[int, ...], ...]

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield means over folds and their standard errors, and all scores.

        The first row of several outputs has the means over outputs.
        """
        shown = {"R²": self.r2, "correlation": self.correlation, "mse": self.mse}
        columns, names = dict[str, list[str]](), [*self.outputs]
        many = [f"mean of {len(names)}"] * (len(names) > 1)
        for head, v in shown.items():
            v = np.column_stack([*[known_mean(v, 1)] * len(many), v])
            mean, number = known_mean(v), np.isfinite(v).sum(0)
            with np.errstate(divide="ignore", invalid="ignore"):
                error = np.sqrt(known_mean((v - mean) ** 2) / (number - 1))
            pairs = zip(mean, error, strict=True)
            columns[head] = [pm(*pair, ".3g" if head == "mse" else ".3f") for pair in pairs]
        head = f"Held-out scores, mean ± standard error of {count(len(self.mse), 'fold')}"
        lost = len(self.problem._lengths) - len({i for fold in self.folds for i in fold})
        note = f"{count(lost, 'record')} without rows" * (lost > 0)
        note += "; outputs that do not vary have no correlation" * bool(np.isnan(self.r2).any())
        yield Fact("", head, by_output(many + names, columns, note=note.removeprefix("; ")))
        about = ("status", "backward_error", "duality_gap", "stats")
        fits = [{name: getattr(fit, name) for name in about} for fit in self.solutions]
        yield from of_fields(self, solutions=fits)

    def permutation_test(self, draws: int = 1000, seed: int = 0) -> HeldOutTest:
        """Test whether the mean held-out correlation over folds is above chance.

        The y of the records are exchanged at random, and all kernels are fitted again. The p-value
        is the share of exchanges whose mean held-out correlation is at least as large. The strength
        of the penalty in each fold is the strength of the cross-validation, for all exchanges.
        Records that are longer than the shortest are cut to its length.

        Records must be exchangeable, such as trials of one kind. The y of a single record is
        shifted circularly instead, by any number of rows. Shifts are not valid if x and y have a
        trend or slow drifts.

        Args:
            draws: number of exchanges or shifts, at least 19. Default 1000. All are used if there
                are fewer.
            seed: seed of the random numbers. Default 0.

        Returns:
            Mean correlation and p-value of every output, and of the maximum over outputs.

        Raises:
            ValueError: If there are two or three records, or all have the same x. If the penalty is
                not quadratic, or a fit has another loss, noise="ar" or no exact solution. If there
                is a mask, or weights or confounds.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 8, 100, 1))
            >>> cv = cs.cross_validate(cs.Problem(x, x + noise, lags=(0, 4)), penalty="ridge")
            >>> float(cv.permutation_test().pvalue[0].round(3))
            0.001

        See Also:
            `compare`, and `Solution.test` for fits without a penalty.
        """
        parts = [part for fit in self.solutions for part in fit._parts]
        quadratic = not any(part.no_errors or part.own_covariance for part in parts)
        if not quadratic or any(p.filter or p.found.error_norms is not None for p in parts):
            raise ValueError("permutation_test needs exact least squares, or a quadratic penalty")
        given = [part.penalties for part in parts], draws, seed, parts[0].limits
        values = resampled_correlations(self.problem, self.folds, *given)
        note, lengths = f"p from {len(values) - 1} refits", [n[0] for n in self.problem._lengths]
        if len({*lengths}) > 1:
            note += f"; records of up to {max(lengths)} samples are cut to {min(lengths)}"
        title = "Mean held-out correlation"
        return HeldOutTest.of(values, np.fmax.reduce, self.outputs, "maximum", title, note)

    def compare(self, other: CrossValidationScores, *, seed: int = 0) -> HeldOutTest:
        """Test whether held-out correlations exceed the correlations of another model.

        The signs of the differences per fold are flipped: all patterns of up to 12 folds, or 1000
        random ones. The test is one-sided, because a channel without an effect lowers held-out
        scores. A two-sided test would reject in 20 % at 5 %, in favour of the smaller model.

        Args:
            other: scores of the other model for the same y and folds, such as the scores of
                ``problem.without("word")``.
            seed: seed of the random numbers. Default 0.

        Returns:
            Mean differences and p-values, per output and for the mean over outputs.

        Raises:
            ValueError: If the folds or outputs differ. If there are fewer than five folds, or folds
                are parts of records.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 8, 200, 2))
            >>> y = x.sum(2, keepdims=True) + noise[..., :1]
            >>> problem = cs.Problem(x, y, lags=(0, 4), channels=["envelope", "word"])
            >>> both = cs.cross_validate(problem, penalty="ridge")
            >>> print(both.compare(cs.cross_validate(problem.without("word"), penalty="ridge")))
            Held-out correlation minus the other model's, one-sided
            output  correlation  p-value
            0             0.253   0.0039
            fit.test(channel) without a penalty has 4 to 6 times the power. It asks whether a
            channel matters, and this test whether the channel improves predictions.

        See Also:
            `permutation_test`, `Solution.test`, `Problem.without` and `Problem.only`.
        """
        mine, its = ((cv.folds, cv.problem._lengths, cv.outputs) for cv in (self, other))
        if mine != its:
            raise ValueError("compare needs scores of the same records, folds and outputs")
        folds, records = len(self.folds), [i for fold in self.folds for i in fold]
        if folds < FEWEST_FOLDS or len({*records}) < len(records):
            cure = "split a long record into several"
            raise ValueError(
                f"compare needs {FEWEST_FOLDS} folds or more, of whole records; {cure}"
            )
        draws = np.random.default_rng(seed).integers(0, 2, (SIGN_DRAWS, folds))
        every = [*np.ndindex((2,) * folds)] if folds <= MOST_SIGNED else [0 * draws[0], *draws]
        values = (1 - 2 * np.array(every)) @ (self.correlation - other.correlation) / folds
        words = "mean", "Held-out correlation minus the other model's, one-sided", POWER
        return HeldOutTest.of(values, known_mean, self.outputs, *words)


def known_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return means along an axis without NaN, which are NaN if there is no other value."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis) / known.sum(axis))


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
    one_strength: bool = False,
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
        one_strength: as in `solve`.
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
    given["one_strength"] = one_strength
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
    records = tuple(tuple(i for i, *_ in fold) for fold in spans.folds)
    fields: Any = *found, tuple(solutions), tuple(problem.outputs), problem, records
    return CrossValidationScores(*fields)


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
