"""Which lags a response has: every length and every window of them, scored from one factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .api import check_problem
from .inference.folds import CrossValidation
from .inference.lag_windows import window_scores
from .lazy_plot import plot
from .leastsquares.analysis import analyse
from .near_misses import checks_arguments
from .problem.checks import choice
from .problem.problem import Problem
from .problem.sizes import Limits, tuning_of
from .progress import LOG, Listener
from .progress_bars import following

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LagChoice(NamedTuple):
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

    def plot(self, **options: Any) -> Figure:
        """Draw the score of every lag window, and mark the chosen window.

        Args:
            options: ``ax``, matplotlib axes to draw on, see `convsolve.plot`.

        Returns:
            A figure of matplotlib, which needs no display.

        Raises:
            TypeError, ValueError, ImportError: As for `convsolve.plot`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 200))
            >>> choice = cs.choose_lags(cs.Problem(x, x + noise, lags=(-2, 5)))
            >>> choice.plot().axes[0].get_title()
            'BIC of every lag window'
        """
        return plot(self, **options)

    def __str__(self) -> str:
        """Return the chosen lags and the criterion as one line."""
        ends, times = self.candidates[[0, -1]], self.problem._names.window(*self.lags)
        by = {"bic": "BIC", "aicc": "AICc", "r2": "held-out R²", "mse": "held-out mean square"}
        criterion = by.get(self.criterion, f"held-out {self.criterion}")
        return "lags {} … {}{} of {} … {}, by {}".format(*self.lags, times, *ends, criterion)


@checks_arguments
def choose_lags(
    problem: Problem,
    select: str | CrossValidation = "bic",
    *,
    progress: bool | Listener = False,
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
    select = CrossValidation() if select == "cv" else select
    _check(problem, select)
    tuning, lags = tuning_of(limits), problem._lags[0][::-1]
    with following(progress, "choose_lags"):
        several = [window_scores(analyse(part, tuning), select) for _, part in problem.parts]
    scores = np.concatenate(several, axis=-1)
    held, criterion = (False, select) if isinstance(select, str) else (True, select.score)
    scores = scores.mean(-1) if held else scores.sum(-1)
    losses = -scores if criterion in ("r2", "correlation") else scores
    i, j = divmod(int(np.nanargmin(losses)), len(lags))
    chosen = int(lags[i]), int(lags[j])
    found = LagChoice(chosen, problem._narrowed(i, j), criterion, lags, scores)
    LOG.info("choose_lags: %s", found)
    return found


def _check(problem: Any, select: Any) -> None:
    check_problem(problem, "choose_lags")
    if problem._space is not None or problem.spec.ndim > 1:
        raise ValueError(
            "choose_lags compares windows of all lags along one axis, without a basis or lags= by "
            "channel"
        )
    if not isinstance(select, CrossValidation):
        choice(select, "select", ("bic", "aicc", "cv"), " or a CrossValidation")
    elif select.own:
        raise ValueError("choose_lags scores windows of lags from sums, without predictions")
