"""Sparse kernels: lasso, elastic net and group lasso."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import SolveError
from ..inference.criteria import CRITERIA, in_user_units, noise_variance
from ..inference.folds import CrossValidation, HeldOut
from ..inference.regularization import Regularization, StrengthScores, joined
from ..inference.scorers import Normal, Scoring
from ..inference.sparse import Blocks, duality_gap, lasso
from ..inference.strength_path import ROUNDING, Fits
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT_GAP, GAP, Certificate
from ..leastsquares.penalty import RIDGE, channel_labels
from ..linalg.threads import one_blas_thread
from ..problem.checks import choice, number
from ..problem.rows import Rows
from ..problem.selection import Selection
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import tracked
from ..text import count
from .base import Progress, Raw, Solver, gram_reason, positive, traceable

# Duality gap that suffices to score a group lasso along its path, and the largest number of sweeps.
ON_PATH, PATH_SWEEPS = 1e-4, 300
# Number of strengths of a search, and the last one relative to the first, which leaves no tap.
STRENGTHS, LEAST = 50, 1e-3
# Folds of the default cross-validation: parts of a single record, or the largest number of folds
# of records.
PARTS, MOST_FOLDS = 5, 10


@traceable()
@dataclass(frozen=True)
class Lasso(Solver):
    """min ‖y − Aw‖² + strength·Σ‖w_k‖·√size_k + ridge·‖w‖²: many taps are exactly zero.

    Args:
        channel_groups: None penalizes every tap separately: a lasso, or with a ``ridge`` an elastic
            net. "channels" penalizes all taps of an input channel together: a group lasso, which
            drops whole channels. A label for every input channel, such as ``(0, 1, 1, 2)``, defines
            other groups.
        strength: a number, or a grid to choose from. None searches automatically.
        ridge: strength of an additional ridge, for an elastic net, also with groups.
        select: a `CrossValidation`, "bic" or "aicc". The degrees of freedom of the criteria are the
            number of nonzero taps. The criteria are not available with groups. By default
            cross-validation over the records, in at most 10 folds, or over five parts of a single
            record.

    ``certificate`` is the relative duality gap, computed from the data: the objective exceeds its
    minimum by at most this share. The status is "solved" up to 1e-8.

    The solution is computed from the moments. Without groups the method is feature-sign search,
    exact to rounding, and each strength starts from the previous one. With groups it is block
    coordinate descent. Kernels are shrunk towards zero. To estimate their size, fit least squares
    with the selected channels and lags. Correlated taps replace each other. For smooth responses
    use `Regularized`.

    scikit-learn's ``alpha`` is strength / (2·rows), with ``l1_ratio`` 1. For the objective
    ½‖y − Aw‖² summed over rows, it is half the strength.

    Source: R. Tibshirani, J. R. Stat. Soc. B 58 (1996) 267; M. Yuan and Y. Lin, 68 (2006) 49; H.
    Zou, T. Hastie and R. Tibshirani, Ann. Statist. 35 (2007) 2173 (degrees of freedom).
    """

    channel_groups: Any = None
    strength: Any = None
    ridge: Any = 0.0
    select: Any = None

    answer = "a sparse answer of many"
    regularizes = True

    def __post_init__(self) -> None:
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
        if not isinstance(self.select, (CrossValidation, type(None))):
            choice(self.select, "select", ("bic", "aicc"), " or a CrossValidation")
            if self.channel_groups is not None:
                raise ValueError(
                    f"select={self.select!r} counts taps, which groups are not; use CrossValidation"
                )
        if self.strength is not None:
            given = np.sort(np.atleast_1d(positive(self.strength, "strength", 1)))[::-1]
            object.__setattr__(self, "strength", tuple(given.tolist()))

    @property
    def title(self) -> str:
        """Name in texts."""
        if self.channel_groups is not None:
            return "group lasso"
        return f"elastic net, ridge {self.ridge:.4g}" if self.ridge else "lasso"

    @property
    def name(self) -> str:
        return f"Lasso({self.title})" if self.title != "lasso" else "Lasso"

    def check(self, kernel_size: Sequence[int], selection: Selection) -> None:
        """Raise a ValueError unless there is a label for every channel."""
        channels = selection.n_channels
        if isinstance(self.channel_groups, tuple) and len(self.channel_groups) != channels:
            labels = count(len(self.channel_groups), "label")
            raise ValueError(f"Lasso(channel_groups=...) has {labels}, x has {channels} channels")

    def of_part(self, selection: Selection) -> Lasso:
        """Return the solver with the folds of some of the records."""
        if not isinstance(self.select, CrossValidation):
            return self
        return replace(self, select=self.select.of_records(selection.records))

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if the Gram matrix does not fit in the memory allowed, else None."""
        return gram_reason(sizes)

    def _criterion(self, kept: Rows) -> str | CrossValidation:
        if self.strength is not None and len(self.strength) == 1:
            return "bic"  # a single strength needs no selection, and no fold is summed
        if self.select is None:
            records = len(kept.used)
            folds = min(records, MOST_FOLDS) if records > 1 else min(PARTS, kept.count)
            return CrossValidation(max(2, folds))
        found: str | CrossValidation = self.select
        return found

    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        scoring = Scoring(analysis, self._criterion(analysis.design.adjustments.kept))
        regression, folds = analysis.regression(RIDGE, 0.0), scoring.folds()
        groups, _, outputs = regression.shape
        told, kernels = [], np.zeros(regression.shape)
        with one_blas_thread():
            paths = [_Paths(self, scoring, g, n) for g, n in enumerate(scoring.normal_equations())]
            for g, of_group in enumerate(paths):
                for q in tracked(range(outputs), "outputs", outputs):
                    of_folds = [(rest[g], held[g].only(np.array([q]))) for rest, held in folds]
                    kernels[g, :, q], one_told = of_group.chosen(q, of_folds)
                    told.append(one_told)
        power = (regression.matrix.exponents - scoring.units.column)[:, :, None]
        v = np.ldexp(kernels, power)
        kernel, bias = regression.from_columns(v)
        squares, gradient = regression.matrix.residual(v, regression.targets)
        strengths = np.array([t.strength[0] for t in told]).reshape(groups, outputs)
        parts = zip(paths, kernels, np.ldexp(gradient, power), squares, strengths, strict=True)
        gap = float(np.max([of_group.gap(*part) for of_group, *part in parts]))
        whole = joined(told)
        stats = {"penalty": {"kind": self.title, "strength": whole.strength.tolist()}}
        return Raw(
            kernel,
            bias,
            stats=stats,
            certificate=Certificate(gap, GAP),
            evidence="the penalty",
            regularization=whole,
        )


class _Paths:
    """The paths of one group of a convolution, one output at a time."""

    def __init__(self, solver: Lasso, scoring: Scoring, g: int, normal: Normal) -> None:
        self._solver, self._scoring, self._g, self._normal = solver, scoring, g, normal
        self._ridge = float(scoring.units.from_user(np.array(solver.ridge)))
        self._powers = scoring.units.column + scoring.units.outputs[g]
        # The columns of each group of channels.
        self._members: list[np.ndarray] | None = None
        if solver.channel_groups is not None:
            channels = np.array(scoring.design.selection.channels)
            labels = (
                channels
                if solver.channel_groups == "channels"
                else np.array(solver.channel_groups)[channels]
            )
            labels = labels.reshape(scoring.design.spec.groups, -1)[g]
            own = np.tile(labels, len(normal[0]) // len(labels))
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
        self, q: int, folds: Sequence[tuple[Normal, HeldOut]]
    ) -> tuple[np.ndarray, Regularization]:
        """Return the kernel (P,) of one output, and the selected strength with all scores."""
        gram, cross, squares = self._normal
        r, power = cross[:, q], int(self._powers[q])
        if self._solver.strength is None:
            grid = self._first(r) * np.geomspace(1, LEAST, STRENGTHS)
        else:
            grid = np.ldexp(np.array(self._solver.strength), -power) / 2
        along = self._path(gram, r, float(squares[q]), grid)
        left = squares[q] - 2 * along @ r + np.einsum("np,pr,nr->n", along, gram, along)
        fits = self._fits(along, np.maximum(left, ROUNDING * squares[q]), grid)
        by_fold, score, losses, scores = None, "given", np.zeros(len(grid)), np.zeros(len(grid))
        if folds:
            score = self._scoring.select.score  # type: ignore[union-attr]
            several = tracked(folds, "folds of the choice", len(folds))
            each = [self._held_out(rest, held, q, grid, score) for rest, held in several]
            by_fold = np.stack(each)[:, :, None]
            scores = by_fold[:, :, 0].mean(0)
            losses = scores if score == "mse" else -scores
        elif len(grid) > 1:
            score = str(self._scoring.select)
            losses = scores = CRITERIA[score](fits)[:, 0]
        best = int(np.argmin(np.nan_to_num(losses, nan=np.inf)))
        best = best if self._scoring.varies[self._g, q] else 0
        told = self._told(q, fits, (grid, scores, by_fold), best, score, power)
        w = np.nan_to_num(along[best])
        if self._members is not None:
            inner = Blocks(gram + self._ridge * np.eye(len(gram)), self._members)
            w = inner.solve(r, float(squares[q]), float(grid[best]), w, EXACT_GAP / 100)
        return w, told

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
        self, rest: Normal, held: HeldOut, q: int, grid: np.ndarray, score: str
    ) -> np.ndarray:
        v = self._path(rest[0], rest[1][:, q], float(rest[2][q]), grid)[:, :, None]
        return held.scores(score, v)[:, 0]

    def _fits(self, along: np.ndarray, left: np.ndarray, grid: np.ndarray) -> Fits:
        sizes, nuisance = self._scoring.design.sizes, self._scoring.design.nuisance
        count = (along != 0).sum(1)[:, None].astype(float)
        none = np.zeros((len(grid), 1))
        spare = np.maximum(sizes.rows - nuisance.total - count, 0.0)
        parts = grid[:, None], count, spare, left[:, None], none, none
        return Fits(*parts, sizes.rows, nuisance.total, 0)

    def _told(
        self, q: int, fits: Fits, path: tuple[Any, Any, Any], best: int, score: str, power: int
    ) -> Regularization:
        grid, scores, by_fold = path
        exponents = self._scoring.units.outputs[self._g, [q]]
        with np.errstate(over="ignore", under="ignore"):
            strengths = np.ldexp(2 * grid, power)[:, None]
        if not (np.isfinite(strengths).all() and strengths.all()):
            raise SolveError("strengths lie outside float64; change the units of x and y")
        freedom = fits.freedom if self._members is None else np.full(fits.freedom.shape, np.nan)
        noise = in_user_units(noise_variance(fits, score)[best], "mse", fits, exponents)

        def user(values: np.ndarray) -> np.ndarray:
            return in_user_units(values, score, fits, exponents)

        return Regularization(
            self._solver.title,
            strengths[best],
            {},
            freedom[best],
            noise if self._members is None else np.full(1, np.nan),
            score,
            StrengthScores(
                strengths,
                user(scores[:, None]),
                freedom,
                None if by_fold is None else user(by_fold),
            ),
            np.array([len(grid) > 1 and best in (0, len(grid) - 1)]),
        )
