"""Sparse kernels: lasso, elastic net and group lasso."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ..errors import SolveError
from ..inference.criteria import criterion, in_user_units, noise_variance
from ..inference.folds import CrossValidation
from ..inference.held_rows import Held
from ..inference.regularization import Regularization, StrengthScores, joined
from ..inference.select import Scoring
from ..inference.sparse import Blocks, duality_gap, lasso
from ..inference.spectrum import ROUNDING, Fit
from ..inference.sums import Normal
from ..lazy_jax import is_tracer
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT_GAP, GAP, Certificate
from ..leastsquares.penalty import RIDGE, Penalty, channel_labels, check_labels
from ..leastsquares.regression import Regression
from ..linalg.threads import one_blas_thread
from ..near_misses import checks_arguments
from ..problem.checks import choice, number
from ..problem.rows import Rows
from ..problem.sizes import Sizes
from ..progress import tracked
from .base import SolverResult

# Duality gap that suffices to score a group lasso along its path, and the largest number of sweeps.
ON_PATH, PATH_SWEEPS = 1e-4, 300
# Number of strengths of a search, and the last one relative to the first, which leaves no tap.
STRENGTHS, LEAST = 50, 1e-3
# Folds of the default cross-validation: parts of a single record, or the largest number of folds
# of records.
PARTS, MOST_FOLDS = 5, 10


@checks_arguments
@dataclass(frozen=True, repr=False)
class Lasso(Penalty):
    """The penalty strength·Σ‖w_k‖·√size_k + ridge·‖w‖²: many taps are exactly zero.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data.
        channel_groups: None, the default, penalizes every tap separately: a lasso, or with a
            ``ridge`` an elastic net. "channels" penalizes all taps of an input channel together: a
            group lasso, which drops whole channels. A label for every input channel, such as
            ``(0, 1, 1, 2)``, defines other groups.
        ridge: strength of an additional ridge, for an elastic net, also with groups. By default 0.

    The strength is selected by ``select=``, a `CrossValidation`, "bic" or "aicc". The degrees of
    freedom of the criteria are the number of nonzero taps. The criteria are not available with
    groups. By default cross-validation over the records, in at most 10 folds, or over five parts of
    a single record.

    ``duality_gap`` is relative and computed from the data: the objective exceeds its minimum by at
    most this share. The status is "solved" up to 1e-8.

    The solution is computed from the moments. Without groups the method is feature-sign search,
    exact to rounding, and each strength starts from the previous one. With groups it is block
    coordinate descent. Kernels are shrunk towards zero. To estimate their size, fit least squares
    with the selected channels and lags. Correlated taps replace each other. For smooth responses
    use `Smooth` or `StableSpline`.

    scikit-learn's ``alpha`` is strength / (2·rows), with ``l1_ratio`` 1. For the objective
    ½‖y − Aw‖² summed over rows, it is half the strength.

    Source: R. Tibshirani, J. R. Stat. Soc. B 58 (1996) 267; M. Yuan and Y. Lin, 68 (2006) 49; H.
    Zou, T. Hastie and R. Tibshirani, Ann. Statist. 35 (2007) 2173 (degrees of freedom).

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty=cs.Lasso(200.0))
        >>> np.flatnonzero(fit.impulse_response)
        array([0, 1, 2])

    See Also:
        `Ridge` and `Smooth`, which set no tap to zero.
    """

    _: KW_ONLY
    channel_groups: Any = None
    ridge: Any = 0.0

    quadratic, in_basis = False, True
    default_select = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.strength is not None and not is_tracer(self.strength)
        if given and not np.all(self.strength):
            raise ValueError("the strength of a lasso must be positive")
        object.__setattr__(self, "ridge", number(self.ridge, "ridge", included=True))
        if isinstance(self.channel_groups, str):
            choice(
                self.channel_groups,
                "channel_groups",
                ("channels",),
                " or a label for every channel",
            )
        elif self.channel_groups is not None:
            object.__setattr__(
                self, "channel_groups", channel_labels(self.channel_groups, "'channels' or ")
            )

    @property
    def title(self) -> str:
        """Name in texts."""
        if self.channel_groups is not None:
            return "group lasso"
        return f"elastic net, ridge {self.ridge:.4g}" if self.ridge else "lasso"

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless there is a label for every channel."""
        if isinstance(self.channel_groups, tuple):
            check_labels(self.channel_groups, channels, "Lasso")

    def check_select(self, select: Any) -> None:
        """Raise a ValueError if the criterion cannot select the strength."""
        if isinstance(select, CrossValidation):
            return
        if select not in ("bic", "aicc"):
            raise ValueError(
                f'a lasso has no "{select}"; select its strength by "cv", "bic" or "aicc"'
            )
        if self.channel_groups is not None:
            raise ValueError(f"select={select!r} counts taps, which groups are not")

    def supports(self, sizes: Sizes) -> str | None:
        """Return the reason if the Gram matrix does not fit in the memory allowed, else None."""
        return sizes.gram_reason()

    def exact_solver(
        self, analysis: Analysis, grid: Any, select: str | CrossValidation | None
    ) -> SolverResult:
        """Select the strength of every output, unless it is given, and minimize the objective."""
        strengths: Any = np.atleast_2d(self.strength) if self.strength is not None else None
        if grid is not None:
            strengths = np.array(grid).reshape(len(grid), -1)
        choosing = strengths is None or len(strengths) > 1
        scoring = Scoring(analysis, _criterion(select, analysis.design.kept) if choosing else "bic")
        assert analysis.targets is not None
        regression = Regression(analysis.unpenalized(RIDGE), analysis.targets)
        columns, sums = regression.system.columns, scoring.groups(RIDGE)
        groups, _, outputs = regression.shape
        selections, kernels = [], np.zeros(regression.shape)
        with one_blas_thread():
            paths = [_Paths(self, strengths, scoring, g, s.whole) for g, s in enumerate(sums)]
            for g, of_group in enumerate(paths):
                for q in tracked(range(outputs), "outputs", outputs):
                    one = np.array([q])
                    of_folds = [(rest, held.only(one)) for rest, _, held in sums[g].folds]
                    kernels[g, :, q], one_selection = of_group.chosen(q, of_folds)
                    selections.append(one_selection)
        power = (columns.exponents - scoring.units.column)[:, :, None]
        v = np.ldexp(kernels, power)
        kernel, bias = regression.from_columns(v)
        squares, gradient = columns.residual(v, regression.targets)
        strengths = np.array([t.strength[0] for t in selections]).reshape(groups, outputs)
        parts = zip(paths, kernels, np.ldexp(gradient, power), squares, strengths, strict=True)
        gap = float(np.max([of_group.gap(*part) for of_group, *part in parts]))
        whole = joined(selections)
        penalty = {"kind": self.title, "strength": whole.strength.tolist()}
        stats = {"solver": "Lasso", "penalty": penalty}
        return SolverResult(
            kernel,
            bias,
            stats=stats,
            certificate=Certificate(gap, GAP),
            evidence="the penalty",
            answer="a sparse kernel of many",
            regularization=whole,
        )


def _criterion(select: Any, kept: Rows) -> str | CrossValidation:
    """Return the criterion, by default cross-validation in at most 10 folds of records."""
    if select is not None:
        found: str | CrossValidation = select
        return found
    records = len(kept.used)
    folds = min(records, MOST_FOLDS) if records > 1 else min(PARTS, kept.count)
    return CrossValidation(max(2, folds))


class _Paths:
    """The paths of one group of a convolution, one output at a time.

    ``strengths`` (n, 1 or outputs) are the strengths to choose from, or None.
    """

    def __init__(
        self, penalty: Lasso, strengths: Any, scoring: Scoring, g: int, normal: Normal
    ) -> None:
        self._title, self._strengths = penalty.title, strengths
        self._scoring, self._g, self._normal = scoring, g, normal
        self._ridge = float(scoring.units.from_user(np.array(penalty.ridge)))
        self._powers = scoring.units.column + scoring.units.outputs[g]
        # The columns of each group of channels.
        self._members: list[np.ndarray] | None = None
        if penalty.channel_groups is not None:
            channels = np.array(scoring.design.selection.channels)
            labels = (
                channels
                if penalty.channel_groups == "channels"
                else np.array(penalty.channel_groups)[channels]
            )
            labels = labels.reshape(scoring.design.spec.groups, -1)[g]
            basis = scoring.design.coordinates(RIDGE).basis
            own = labels[basis.channel_of(scoring.design.matrix.columns, len(labels))]
            self._members = [np.flatnonzero(own == label) for label in np.unique(own)]

    def gap(
        self, w: np.ndarray, gradient: np.ndarray, squares: np.ndarray, strengths: np.ndarray
    ) -> float:
        """Return the largest duality gap of all outputs, in the units of the moments.

        ``strengths`` (Q,) are in the user's units. They are linear in w.
        """
        with np.errstate(over="ignore", under="ignore"):
            inner = 0.5 * np.ldexp(strengths, -self._powers)
        return float(np.max(duality_gap(w, gradient, squares, inner, self._ridge, self._members)))

    def chosen(
        self, q: int, folds: Sequence[tuple[Normal, Held]]
    ) -> tuple[np.ndarray, Regularization]:
        """Return the kernel (P,) of one output, and the selected strength with all scores."""
        gram, cross, squares = self._normal
        r, power = cross[:, q], int(self._powers[q])
        if self._strengths is None:
            grid = self._first(r) * np.geomspace(1, LEAST, STRENGTHS)
        else:
            own = self._g * cross.shape[1] + q if self._strengths.shape[1] > 1 else 0
            grid = np.ldexp(np.sort(self._strengths[:, own])[::-1], -power) / 2
        along = self._path(gram, r, float(squares[q]), grid)
        left = squares[q] - 2 * along @ r + np.einsum("np,pr,nr->n", along, gram, along)
        fits = self._fits(along, np.maximum(left, ROUNDING * squares[q]), grid)
        by_fold, score, losses, scores = None, "given", np.zeros(len(grid)), np.zeros(len(grid))
        if folds:
            select = self._scoring.select
            assert isinstance(select, CrossValidation)
            several = tracked(folds, "folds of the choice", len(folds))
            each = [self._held_out(rest, held, q, grid, select.score) for rest, held in several]
            score = select.criterion
            by_fold = np.stack(each)[:, :, None]
            scores = by_fold[:, :, 0].mean(0)
            losses = scores if score == "mse" else -scores
        elif len(grid) > 1:
            score = str(self._scoring.select)
            losses = scores = criterion(score, fits)[:, 0]
        best = int(np.argmin(np.nan_to_num(losses, nan=np.inf)))
        best = best if self._scoring.varies[self._g, q] else 0
        selected = self._selection_of(q, fits, (grid, scores, by_fold), best, score, power)
        w = np.nan_to_num(along[best])
        if self._members is not None:
            inner = Blocks(gram + self._ridge * np.eye(len(gram)), self._members)
            w = inner.solve(r, float(squares[q]), float(grid[best]), w, EXACT_GAP / 100)
        return w, selected

    def _first(self, r: np.ndarray) -> float:
        """Return the smallest strength that leaves no tap."""
        if self._members is None:
            return float(np.abs(r).max()) or 1.0
        return max(float(np.linalg.norm(r[k]) / np.sqrt(len(k))) for k in self._members) or 1.0

    def _path(self, gram: np.ndarray, r: np.ndarray, squares: float, grid: np.ndarray) -> Any:
        """Return kernels (n, P). Each strength starts from the kernel of the previous one."""
        gram = gram + self._ridge * np.eye(len(gram))
        found, w = [], np.zeros(len(r))
        blocks = None if self._members is None else Blocks(gram, self._members)
        for strength in tracked(grid.tolist(), "strengths", len(grid)):
            if blocks is None:
                w, done = lasso(gram, r, strength, w)
            else:
                w, done = blocks.solve(r, squares, strength, w, ON_PATH, PATH_SWEEPS), True
            # A strength without a converged kernel gets the worst score.
            found.append(w if done else np.full_like(w, np.nan))
            w = w if done else np.zeros_like(w)
        return np.stack(found)

    def _held_out(
        self, rest: Normal, held: Held, q: int, grid: np.ndarray, score: Any
    ) -> np.ndarray:
        v = self._path(rest[0], rest[1][:, q], float(rest[2][q]), grid)[:, :, None]
        return held.scores(score, v)[:, 0]

    def _fits(self, along: np.ndarray, left: np.ndarray, grid: np.ndarray) -> Fit:
        sizes, nuisance = self._scoring.design.sizes, self._scoring.design.nuisance
        count = (along != 0).sum(1)[:, None].astype(float)
        none = np.zeros((len(grid), 1))
        spare = np.maximum(sizes.rows - nuisance.total - count, 0.0)
        left, rows = left[:, None], sizes.rows - nuisance.total
        return Fit(left, none, count, spare, none, sizes.rows, nuisance.total, rows)

    def _selection_of(
        self, q: int, fits: Fit, path: tuple[Any, Any, Any], best: int, score: str, power: int
    ) -> Regularization:
        grid, scores, by_fold = path
        exponents = self._scoring.units.outputs[self._g, [q]]
        with np.errstate(over="ignore", under="ignore"):
            strengths = np.ldexp(2 * grid, power)[:, None]
        if not (np.isfinite(strengths).all() and strengths.all()):
            raise SolveError("strengths lie outside float64")
        freedom = fits.freedom if self._members is None else np.full(fits.freedom.shape, np.nan)
        noise = in_user_units(noise_variance(fits, score)[best], "mse", fits, exponents)

        def user(values: np.ndarray) -> np.ndarray:
            return in_user_units(values, score, fits, exponents)

        return Regularization(
            self._title,
            strengths[best],
            {},
            freedom[best],
            noise if self._members is None else np.full(1, np.nan),
            score,
            user(scores[None, [best]])[0] if len(grid) > 1 else np.full(1, np.nan),
            None
            if len(grid) == 1
            else StrengthScores(
                strengths,
                user(scores[:, None]),
                freedom,
                None if by_fold is None else user(by_fold),
            ),
            np.array([len(grid) > 1 and best in (0, len(grid) - 1)]),
        )
