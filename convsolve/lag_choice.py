"""Which lags a response has: every length and every window of them, scored from one factor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .api import check_problem
from .components import parse
from .facts import Fact, Reported, of_fields
from .inference.folds import CrossValidation
from .inference.lag_windows import window_scores
from .inference.regularization import CRITERIA
from .lazy import plot
from .leastsquares.analysis import analyse
from .notation import checks_arguments
from .problem.checks import choice
from .problem.names import Axis
from .problem.problem import Problem
from .problem.sizes import Limits, tuning_of
from .progress import following


@dataclass(frozen=True, repr=False, eq=False)
class LagChoice(Reported):
    """The lags that the data support, and the scores of all windows of lags.

    Attributes:
        lags: first and last lag in samples, inclusive.
        problem: a `Problem` with the same rows and these lags only.
        criterion: "bic", "aicc", or "mse", "r2" or "correlation" of held-out rows.
        candidates: (taps,), the lags to choose from, ascending.
        scores: (taps, taps), score of the window from the i-th to the j-th lag, NaN where j < i.
            "bic" and "aicc" are summed over the outputs that vary. Scores of held-out rows are
            averaged over these outputs and over folds.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> choice = cs.choose_lags(cs.Problem(x, np.roll(x, 3) + noise, lags=(0, 9)))
        >>> print(choice)
        lags 3 … 3 of 0 … 9, by BIC
        >>> cs.solve(choice.problem).lags
        array([3])

    See Also:
        `choose_lags`, which returns it.
    """

    lags: tuple[int, int]
    problem: Problem
    criterion: str
    candidates: np.ndarray
    scores: np.ndarray

    plot = plot

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield the chosen lags and the criterion in one sentence, and all fields."""
        axis = Axis(np.array(self.lags), self.problem.fs)
        chosen, given = ("{} … {}".format(*ends) for ends in (self.lags, self.candidates[[0, -1]]))
        times = f" ({axis.ends()})" * bool(axis.fs)
        by = CRITERIA.get(self.criterion, f"by held-out {self.criterion}")
        yield Fact("", "", f"lags {chosen}{times} of {given}, {by}")
        yield from of_fields(self, problem=repr(self.problem))


@checks_arguments
def choose_lags(
    problem: Problem,
    select: str | CrossValidation = "bic",
    *,
    progress: bool = False,
    limits: Limits | None = None,
) -> LagChoice:
    """Choose the first and last lag with the best score, for the delay and length of a response.

    State a wide range of lags in ``problem``. All windows are compared on the same rows. A new
    problem with the chosen lags can use the additional rows of a shorter kernel.

    Args:
        problem: problem with one axis and with y, whose data determine all of its lags.
        select: "bic" (the default), for the lags of a response that ends; "aicc", "cv" or a
            `CrossValidation`, for the lags that predict best, which are often more.
        progress: True shows progress bars, see `solve`. Default False.
        limits: limits of memory and time, see `Limits`. None, the default, is ``Limits()``.

    Returns:
        The chosen lags and the scores of all windows.

    No criterion finds the end of a decaying response below the noise. For such responses use a wide
    range of lags and a prior that decays, such as `StableSpline`.

    Raises:
        TypeError: If ``problem`` is not a `Problem`, or an option has the wrong type.
        ValueError: If y is missing, the problem has more than one axis, or the criterion is
            unknown.
        SolveError: If the data do not determine all of the lags.

    Source: G. Schwarz, Ann. Statist. 6 (1978) 461; C. M. Hurvich and C.-L. Tsai, Biometrika 76
    (1989) 297.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0, 0, 1.0, 0.7])[:500] + noise
        >>> choice = cs.choose_lags(cs.Problem(x, y, lags=(-5, 20)))
        >>> choice.lags
        (2, 3)

    See Also:
        `identify`, and `StableSpline` for responses that decay.
    """
    select = parse("select", select)
    check_problem(problem, "choose_lags")
    if problem._space is not None or problem.spec.ndim > 1:
        raise ValueError("choose_lags needs one axis, without a basis or lags= by channel")
    if not isinstance(select, CrossValidation):
        choice(select, "select", ("bic", "aicc", "cv"), " or a CrossValidation")
    elif select.own:
        raise ValueError("choose_lags scores windows of lags from sums, without predictions")
    tuning, lags = tuning_of(limits), problem._lags[0][::-1]
    with following(progress):
        several = [window_scores(analyse(part, tuning), select) for _, part in problem.parts]
    scores = np.concatenate(several, axis=-1)
    held, criterion = (False, select) if isinstance(select, str) else (True, select.score)
    scores = scores.mean(-1) if held else scores.sum(-1)
    losses = -scores if criterion in ("r2", "correlation") else scores
    i, j = divmod(int(np.nanargmin(losses)), len(lags))
    chosen = int(lags[i]), int(lags[j])
    return LagChoice(chosen, problem._narrowed(i, j), criterion, lags, scores)
