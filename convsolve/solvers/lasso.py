"""Sparse kernels: lasso, elastic net and group lasso."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ..inference.folds import CrossValidation
from ..inference.groups import Blocks, duality_gap
from ..inference.plq import ROUNDED, SLACK, TURNS, Losses, minimize
from ..inference.regularization import Regularization, described
from ..inference.rows import ZERO
from ..inference.select import Group, Scorer, Scoring, choose_strengths
from ..inference.spectrum import ROUNDING, Fit
from ..inference.sums import Normal, Units
from ..lazy_jax import is_tracer
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT_GAP, GAP, Certificate
from ..leastsquares.design import Design
from ..leastsquares.penalty import RIDGE, Penalty, channel_labels, check_labels
from ..leastsquares.regression import Regression
from ..linalg.rank import EPS
from ..linalg.threads import one_blas_thread
from ..near_misses import checks_arguments
from ..parts import join
from ..problem.checks import choice, number
from ..problem.sizes import Sizes
from ..progress import tracked
from .base import SolverResult

# Duality gap that suffices to score a group lasso along its path.
ON_PATH = 1e-4
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

    The solution is computed from the moments. Without groups it is exact to rounding: the signs of
    the taps are found from the previous strength, or by an interior point method. With groups the
    method is block coordinate descent. Kernels are shrunk towards zero. To estimate their size, fit
    least squares with the selected channels and lags. Correlated taps replace each other. For
    smooth responses use `Smooth` or `StableSpline`.

    Without groups, a lasso of a given strength can be combined with ``loss="absolute"`` and with
    `HuberLoss`.

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
    def any_loss(self) -> bool:
        """True without groups."""
        return self.channel_groups is None

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
        assert analysis.targets is not None
        given = self.strength if grid is None else np.array(grid)
        several = given is None or (grid is not None and len(given) > 1)
        scoring = Scoring(analysis, self._criterion(select, analysis.design) if several else "bic")
        regression = Regression(analysis.unpenalized(RIDGE), analysis.targets)
        (groups, _, outputs), columns = regression.shape, regression.system.columns
        units, sums = scoring.units, scoring.groups(RIDGE)
        if given is not None:
            given = np.reshape(given, (1 if grid is None else len(given), -1))
            given = np.broadcast_to(given, (len(given), groups * outputs))
        kernels, labels = np.zeros(regression.shape), []
        found: list[Any] = []
        with one_blas_thread():
            for g, of_group in enumerate(sums):
                labels.append(self._labels(analysis.design, g))
                scorer = self._scorer(scoring, g, of_group, labels[g])
                for q in tracked(range(outputs), "outputs", outputs):
                    own = given if given is None else given[:, g * outputs + q]
                    one = scorer.only(np.array([q]))
                    kernels[g, :, q], *more = self._selected(one, own, units, (g, q))
                    found.append(more)
        power = (columns.exponents - units.column)[:, :, None]
        v, ridge = np.ldexp(kernels, power), float(units.from_user(np.array(self.ridge)))
        squares, gradient = columns.residual(v, regression.targets)
        pull = np.ldexp(gradient, power) - ridge * kernels
        smooth, gap = squares + ridge * (kernels**2).sum(1), 0.0
        for i, (strength, _) in enumerate(found):
            g, q = divmod(i, outputs)
            at = kernels[g, :, q], pull[g, :, q], float(smooth[g, q]), strength, labels[g]
            gap = max(gap, duality_gap(*at))
        selection = join([one for _, one in found])
        return SolverResult(
            *regression.from_columns(v),
            stats={"solver": "Lasso"},
            certificate=Certificate(gap, GAP),
            evidence="the penalty",
            answer="a sparse kernel of many",
            regularization=selection,
        )

    @staticmethod
    def _criterion(select: str | CrossValidation | None, design: Design) -> str | CrossValidation:
        """Return the criterion, by default folds of records or parts of a single record."""
        records, count = len(design.kept.used), design.kept.count
        folds = min(records, MOST_FOLDS) if records > 1 else min(PARTS, count)
        return CrossValidation(max(2, folds)) if select is None else select

    def _scorer(self, scoring: Scoring, g: int, sums: Group, labels: np.ndarray) -> Scorer:
        """Return the scorer of a group."""
        rows, nuisance = scoring.design.sizes.rows, scoring.design.nuisance.total
        ridge = float(scoring.units.from_user(np.array(self.ridge)))
        folds = [(_Path(rest, ridge, labels, n, nuisance), held) for rest, n, held in sums.folds]
        whole = _Path(sums.whole, ridge, labels, rows, nuisance)
        return Scorer(scoring.select, whole, scoring.varies[g], folds)

    def _selected(
        self, scorer: Scorer, strengths: np.ndarray | None, units: Units, output: tuple[int, int]
    ) -> tuple[np.ndarray, float, Regularization]:
        """Return the kernel (P,) of an output, the strength in units of the moments, and scores.

        ``strengths`` (n,) are those to choose from, or None.
        """
        exponent = units.outputs[output]
        path, power = scorer.whole, int(units.column + exponent)
        grid = path.first * np.geomspace(1, LEAST, STRENGTHS)
        if strengths is not None:
            # The gradient of half the squares is compared with half the strength.
            grid = units.from_user(np.sort(strengths)[::-1], power) / 2
        chosen = choose_strengths(scorer, grid[:, None])

        def user(inner: np.ndarray) -> np.ndarray:
            return units.to_user(2 * inner, power)

        found = described(user, np.array([exponent]), self, scorer, chosen)
        if len(grid) == 1:
            found = found._replace(criterion="given", score=np.full(1, np.nan), path=None)
        strength = float(chosen.strengths[0])
        return path.exact(strength), strength, found

    def _labels(self, design: Design, group: int) -> np.ndarray:
        """Return the group (P,) of every column, from zero. A lasso has one group per column."""
        basis, columns = design.coordinates(RIDGE).basis, design.matrix.columns
        count = basis.count(columns)
        if self.channel_groups is None:
            return np.arange(count)
        channels = np.array(design.selection.channels)
        given = self.channel_groups
        every = channels if given == "channels" else np.array(given)[channels]
        own = every.reshape(design.spec.groups, -1)[group]
        labels = own[basis.channel_of(columns, len(own))]
        return np.asarray(np.unique(labels, return_inverse=True)[1])


class _Taps:
    """Rows [R; I] of squares and of a lasso, for a root R of a Gram matrix G = RᵀR (P, P)."""

    def __init__(self, gram: np.ndarray) -> None:
        norms = np.sqrt(np.diagonal(gram))
        scale = 1 / np.where(norms > 0, norms, 1.0)
        values, vectors = np.linalg.eigh(gram * scale * scale[:, None])
        kept = values > 10 * len(gram) * EPS * values[-1]
        sizes, vectors = np.sqrt(values[kept]), vectors[:, kept]
        self._gram, self.rank = gram, len(sizes)
        self._root, self._inverse = (vectors * sizes).T * norms, (vectors / sizes).T * scale

    def solve(
        self, cross: np.ndarray, squares: float, strength: float, w: np.ndarray, enough: float
    ) -> np.ndarray:
        """Minimize ½wᵀG w − crossᵀw + strength·‖w‖₁ from a kernel ``w`` (P,)."""
        found = self._of_signs(cross, strength, np.sign(w))
        if found is None:
            counts = self.rank, len(cross)
            losses = Losses(np.repeat([1.0, 0.0], counts), np.repeat([np.inf, strength], counts))
            b = np.concatenate([self._inverse @ cross, 0 * cross])
            found = minimize(self, b, losses, w).z
        size = np.abs(found)
        return np.where(size > ZERO * size.max(), found, 0.0)

    def _of_signs(self, cross: np.ndarray, strength: float, signs: np.ndarray) -> np.ndarray | None:
        """Return the minimum if the signs of its taps are found near ``signs`` (P,), else None.

        These are the pieces of the interior point method, without its rows.
        """
        for _ in range(TURNS):
            on, z = np.flatnonzero(signs), np.zeros(len(cross))
            try:
                z[on] = np.linalg.solve(
                    self._gram[on[:, None], on], cross[on] - strength * signs[on]
                )
            except np.linalg.LinAlgError:
                return None
            pull = cross - self._gram @ z
            enters = np.sign(pull) * (np.abs(pull) > strength * (1 + SLACK))
            after = np.where(signs == 0, enters, signs * (z * signs > 0))
            if np.array_equal(after, signs):
                off = np.abs(pull[on] - strength * signs[on]).max(initial=0.0)
                return z if off <= ROUNDED * strength else None
            signs = after
        return None

    def forward(self, z: np.ndarray) -> np.ndarray:
        return np.concatenate([self._root @ z, z])

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        return np.asarray(self._root.T @ r[: self.rank] + r[self.rank :])

    def gram(self, weights: np.ndarray) -> np.ndarray:
        return np.asarray(self._gram + np.diag(weights[self.rank :]))

    def independent(self, held: np.ndarray, room: np.ndarray) -> np.ndarray:
        return held

    def of_pieces(
        self, weights: np.ndarray, held: np.ndarray, right: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        z, zero = np.zeros(len(right)), held - self.rank
        free = np.delete(np.arange(len(z)), zero)
        z[zero] = values
        rest = (right - self._gram @ z)[free]
        z[free] = np.linalg.solve(self._gram[np.ix_(free, free)], rest)
        return z, (self._gram @ z - right)[zero]

    def gap(self, b: np.ndarray, z: np.ndarray, d: np.ndarray, losses: Losses) -> float:
        r = b - self.forward(z)
        d = np.concatenate([r[: self.rank], -self._root.T @ r[: self.rank]])
        whole = losses.of(r)
        return losses.gap(r, d) / whole if whole else 0.0


class _Path:
    """The kernels of one group for every strength, from its moments.

    Every strength starts from the kernel of the next larger one. Kernels are kept.
    """

    def __init__(
        self, normal: Normal, ridge: float, labels: np.ndarray, rows: int, nuisance: int
    ) -> None:
        self._gram, self._cross, self._squares = normal
        self._labels, self._rows, self._nuisance = labels, rows, nuisance
        self._grouped = len(np.unique(labels)) < len(labels)
        gram = self._gram + ridge * np.eye(len(labels))
        self._solver: Blocks | _Taps = Blocks(gram, labels) if self._grouped else _Taps(gram)
        self._known: dict[tuple[int, float], np.ndarray] = {}

    def only(self, outputs: np.ndarray) -> _Path:
        """Return the path of some of the outputs."""
        found = copy(self)
        found._cross, found._squares = self._cross[:, outputs], self._squares[outputs]
        found._known = {}
        return found

    @property
    def first(self) -> float:
        """The smallest strength that leaves no tap of the first output."""
        squares = np.bincount(self._labels, self._cross[:, 0] ** 2)
        return float(np.sqrt((squares / np.bincount(self._labels)).max())) or 1.0

    def exact(self, strength: float) -> np.ndarray:
        """Return the kernel (P,) of the first output."""
        found = self._along(0, np.array([strength]))[0]
        return self._solved(0, strength, found, EXACT_GAP / 100) if self._grouped else found

    def kernel(self, strengths: np.ndarray) -> np.ndarray:
        """Return kernels (n, P, Q) at strengths (n, Q) or (n, 1)."""
        outputs = self._cross.shape[1]
        wide = np.broadcast_to(strengths, (len(strengths), outputs))
        return np.stack([self._along(q, wide[:, q]) for q in range(outputs)], axis=-1)

    def fit(self, strengths: np.ndarray) -> Fit:
        """Return the fits at strengths (n, Q) or (n, 1), whose freedom is the number of taps."""
        v = self.kernel(strengths)
        rss = self._squares + np.einsum("npq,npq->nq", v, self._gram @ v - 2 * self._cross)
        left, freedom = self._rows - self._nuisance, self.freedom(strengths)
        sums = np.maximum(rss, ROUNDING * self._squares), 0 * rss, freedom
        return Fit(
            *sums, np.maximum(left - freedom, 0.0), 0 * rss, self._rows, self._nuisance, left
        )

    def freedom(self, strengths: np.ndarray) -> np.ndarray:
        """Return the number of taps (n, Q) of the kernels; NaN with groups, which it is not of."""
        count = (self.kernel(strengths) != 0).sum(1).astype(float)
        return count + np.nan if self._grouped else count

    def _along(self, q: int, strengths: np.ndarray) -> np.ndarray:
        """Return the kernels (n, P) of an output."""
        w, values = np.zeros(len(self._cross)), strengths.tolist()
        for strength in tracked(sorted(values, reverse=True), "strengths", len(values)):
            if (q, strength) not in self._known:
                self._known[q, strength] = self._solved(q, strength, w, ON_PATH)
            w = self._known[q, strength]
        return np.stack([self._known[q, strength] for strength in values])

    def _solved(self, q: int, strength: float, start: np.ndarray, enough: float) -> np.ndarray:
        """Return the kernel (P,) of an output, up to a duality gap of ``enough`` with groups."""
        squares = float(self._squares[q])
        return self._solver.solve(self._cross[:, q], squares, strength, start, enough)
