"""Selection of the strength of every output, and of the hyperparameters of a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from ..cached import cached_property
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import Coordinates, Penalty
from ..leastsquares.regression import Regression
from ..linalg.rank import EPS
from ..problem.problem import Problem
from ..problem.rows import Span
from ..problem.sizes import Sizes
from ..progress import stage, tracked
from .criteria import criterion
from .folds import CrossValidation, part
from .held_rows import Held, HeldOut, Part, PredictedFold, check_varying
from .spectrum import Fit, Spectrum
from .sums import Folds, Normal, Sums, Units, fold_sums, folds_of

# If a fit leaves less than this share of y, its residuals are computed from the data.
NEARLY_EXACT = 1e-4
# Range of strengths relative to the largest eigenvalue, up to a vanishing kernel: two per decade.
LARGEST, A_DECADE = 1e5, 2
# Number of strengths of a finer grid, on both sides of the best one.
FINER = 5
# Finer grids of a search, and of one whose loss is only compared with that of other penalties.
FINE, COARSE = 2, 1
# Losses that differ by less than this share are equal: rounding must not choose between them.
LAST_DIGITS = 1e-12
# Tolerance of hyperparameters on the scale of their search, and largest number of points tried.
PLACE_TOLERANCE, MOST_PLACES = 1e-3, 200


def few_rows(sizes: Sizes) -> bool:
    """Return whether there are fewer rows than columns, and the rows fit in memory."""
    held = 8 * sizes.groups * sizes.rows * sizes.columns
    return sizes.rows < sizes.parameters and held <= sizes.limits.gram_bytes


def smooth(select: str | CrossValidation) -> bool:
    """Return whether a criterion has a formula, and depends smoothly on the strength."""
    return isinstance(select, str) or not select.own


# --- scores of strengths


class Path(Protocol):
    """Kernels of one group for every strength; of a lasso, too, if a grid is given."""

    def kernel(self, strengths: np.ndarray) -> np.ndarray:
        """Return kernels (n, R, Q) at strengths (n, Q) or (n, 1)."""

    def fit(self, strengths: np.ndarray) -> Fit:
        """Return the fits at strengths (n, Q) or (n, 1)."""

    def freedom(self, strengths: np.ndarray) -> np.ndarray:
        """Return the degrees of freedom of the kernels, in the shape of ``strengths``."""

    def only(self, outputs: np.ndarray) -> Self:
        """Return the same path for some of the outputs."""


@dataclass(frozen=True)
class Scorer:
    """Scores of strengths for the outputs of one group.

    Attributes:
        select: the criterion.
        whole: the kernels of all rows.
        varies: flags of the outputs that vary. Other outputs select nothing.
        folds: the kernels of the training rows, and the held-out rows, of every fold.
        lift: matrix that returns coordinates of the penalty, or None for the identity.
    """

    select: str | CrossValidation
    whole: Any
    varies: np.ndarray
    folds: Sequence[tuple[Path, Held]] = ()
    lift: np.ndarray | None = None

    def only(self, outputs: np.ndarray) -> Scorer:
        """Return the scorer of some of the outputs."""
        folds = [(path.only(outputs), held.only(outputs)) for path, held in self.folds]
        own = self.whole.only(outputs), self.varies[outputs]
        return Scorer(self.select, *own, folds, self.lift)

    def coordinates(self, strengths: np.ndarray) -> np.ndarray:
        """Return the penalty's coordinates (n, R, Q) of solutions at ``strengths`` (n, Q or 1)."""
        v = self.whole.kernel(strengths)
        return v if self.lift is None else self.lift @ v

    def correction(self, strengths: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return (AᵀA + λ·weights)⁻¹ gradient (R, Q), for λ (Q,)."""
        if self.lift is None:
            return np.asarray(self.whole.solve(gradient, strengths))
        return np.asarray(self.lift @ self.whole.solve(self.lift.T @ gradient, strengths))

    def scores(self, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return scores (n, Q) at strengths (n, Q) or (n, 1), and those of folds (k, n, Q)."""
        if isinstance(self.select, str):
            return criterion(self.select, self.whole.fit(strengths)), None
        score = self.select.score
        folds = tracked(self.folds, "folds of the choice", len(self.folds))
        each = np.stack([h.scores(score, path.kernel(strengths)) for path, h in folds])
        return each.mean(0), each

    def losses(self, scores: np.ndarray) -> np.ndarray:
        """Return losses to be minimised, comparable between outputs of any size.

        They are infinite where there is no score, and zero for outputs that do not vary.
        """
        if isinstance(self.select, CrossValidation):
            with np.errstate(divide="ignore"):
                scores = np.log(scores) if self.select.score == "mse" else -scores
        found = np.nan_to_num(scores, nan=np.inf, neginf=-np.inf)
        return np.where(self.varies, found, 0.0)

    def loss(self, strengths: np.ndarray) -> np.ndarray:
        """Return the losses (n, Q) of strengths."""
        return self.losses(self.scores(strengths)[0])


class Chosen(NamedTuple):
    """The choice for the outputs of one group, in the units of its `Scorer`.

    ``grid`` (n, Q) are the strengths of the grid, ``scores`` (n, Q) and ``by_fold`` (k, n, Q) their
    scores. ``strengths`` (Q,) are the choice and ``losses`` (Q,) the losses there. ``at_edge`` (Q,)
    is True if the choice is the first or last strength that was allowed.
    """

    grid: np.ndarray
    scores: np.ndarray
    by_fold: np.ndarray | None
    strengths: np.ndarray
    losses: np.ndarray
    at_edge: np.ndarray


def automatic_grid(path: Spectrum) -> np.ndarray:
    """Return strengths (n, 1), from the resolution of the sums to a vanishing kernel."""
    least = path.least
    low, high = np.log10([least, max(LARGEST * (path.largest or 1.0), 1e3 * least)])
    return np.logspace(low, high, int(A_DECADE * (high - low)) + 2)[:, None]


def choose_strengths(scorer: Scorer, grid: np.ndarray | None, rounds: int = FINE) -> Chosen:
    """Choose the strength of least loss for every output.

    It is one of ``grid`` (n, Q or 1) if a grid is given. Otherwise the best strength of
    `automatic_grid` is refined by finer grids. It is not refined if a function scores.
    """
    strengths = automatic_grid(scorer.whole) if grid is None else grid
    scores, by_fold = scorer.scores(strengths)
    losses = scorer.losses(scores)
    wide, outputs = np.broadcast_to(strengths, losses.shape), np.arange(losses.shape[1])
    best = np.where(scorer.varies, np.argmin(losses, axis=0), np.argmax(strengths, axis=0))
    chosen, least = wide[best, outputs], losses[best, outputs]
    edge = ((best == 0) | (best == len(strengths) - 1)) & (len(strengths) > 1)
    inner = outputs[~edge]
    if grid is None and len(inner) and smooth(scorer.select):
        step = float(np.log(strengths[1, 0] / strengths[0, 0]))
        found = _refined(scorer.only(inner), np.log(chosen[inner]), step, rounds)
        value = scorer.only(inner).loss(np.exp(found)[None])[0]
        better = value <= least[inner] + LAST_DIGITS * np.abs(least[inner])
        chosen[inner[better]], least[inner[better]] = np.exp(found[better]), value[better]
    return Chosen(wide, scores, by_fold, chosen, least, edge)


def _refined(scorer: Scorer, t: np.ndarray, step: float, rounds: int) -> np.ndarray:
    """Return the logarithms (Q,) of the strengths of least loss, which is within a step of t.

    Each grid is finer than the one before, and guards against several minima. The polynomial
    through its best five places depends smoothly on the values, so that rounding hardly changes its
    minimum.
    """
    for _ in range(rounds):
        places = t + np.linspace(-step, step, 2 * FINER + 1)[:, None]
        losses = scorer.loss(np.exp(places))
        best = np.argmin(losses, axis=0)[None]
        centre = np.clip(best, 2, 2 * FINER - 2)
        low2, low, middle, high, high2 = np.take_along_axis(
            losses, centre + np.arange(-2, 3)[:, None], axis=0
        )
        step /= FINER
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (low2 - 8 * low + 8 * high - high2) / 12
            bend = (16 * (low + high) - low2 - high2 - 30 * middle) / 12
            at = -slope / bend
            at = at - (high2 - 2 * high + 2 * low - low2) / (4 * bend) * at**2
            found = np.take_along_axis(places, centre, axis=0)[0] + step * at
            inside = (bend > 0) & (np.abs(at) <= 2)
        t = np.where(inside, found, np.take_along_axis(places, best, axis=0)[0])
    return t


# --- the scorers of any penalty


class Group(NamedTuple):
    """Sums of one group in the coordinates of a penalty, whose ``weights`` (R,) it has.

    ``folds`` are the normal equations and the number of the training rows of every fold, and its
    held-out rows. ``lift`` is that of `Scorer`.
    """

    whole: Normal
    weights: np.ndarray
    folds: list[tuple[Normal, int, Held]]
    lift: np.ndarray | None


class Scoring:
    """Scorers of every group for any penalty, from sums over rows and folds formed once."""

    def __init__(self, analysis: Analysis, select: str | CrossValidation) -> None:
        assert analysis.targets is not None
        self._analysis, self.targets = analysis, analysis.targets
        self.design, self.select, self.spans = analysis.design, select, None
        design, problem = self.design, self.design.problem
        if not smooth(select) and (problem._weights is not None or problem._terms.given):
            raise ValueError(
                "a function as score= compares y with its prediction, so it cannot be combined "
                "with weights=, drift= or confounds="
            )
        self.units = Units.of(design, self.targets, common=True)
        self.varies = design.matrix.outputs_of(self.targets).squares > 0
        # Rows have the confounds of all rows projected out, not those of the training rows.
        confounds = design.nuisance.confounds
        self._few = few_rows(design.sizes) and not (confounds is not None and confounds.shared)
        if isinstance(select, CrossValidation):
            self.spans = select.spans(design.kept)
            origin = self.units.out_origin
            if self._few:
                a, y = self._rows
                sums = self._of_rows(a[:, :, :0], y)[1]
                origin = design.matrix.output_means(self.targets)
            check_varying(sums if self._few else self.fold_sums, origin, self.varies, select)

    def scorers(self, penalty: Penalty) -> list[Scorer]:
        """Return the scorers of every group."""
        found, nuisance = [], self.design.nuisance.total
        for own, varies in zip(self.groups(penalty, self._few), self.varies, strict=True):
            several = tracked(own.folds, "decompositions, by fold", len(own.folds))
            folds = [(Spectrum(n, own.weights, rows, nuisance), h) for n, rows, h in several]
            path = Spectrum(own.whole, own.weights, self.design.sizes.rows, nuisance)
            found.append(Scorer(self.select, path, varies, folds, own.lift))
        exact = any((s.whole.rest < NEARLY_EXACT * s.whole.squares).any() for s in found)
        if exact and not self._few and all(s.whole.unique for s in found):
            self._sharpen(found, penalty)
        return found

    def _sharpen(self, scorers: Sequence[Scorer], penalty: Penalty) -> None:
        """Take the residuals of the least strengths from the data, after a step of refinement."""
        system = self._analysis.unpenalized(penalty)
        power = (system.columns.exponents - self.units.column)[:, :, None]
        least = np.array([s.whole.least for s in scorers])[:, None]
        pull = least[..., None] * system.coordinates.weights[:, :, None]
        v = np.stack([s.coordinates(at[None])[0] for s, at in zip(scorers, least, strict=True)])
        for _ in range(2):
            squares, gradient = system.columns.residual(np.ldexp(v, power), self.targets)
            parts = zip(scorers, least, np.ldexp(gradient, power) - pull * v, strict=True)
            v = v + np.stack([s.correction(at, g) for s, at, g in parts])
        for scorer, rest in zip(scorers, squares, strict=True):
            scorer.whole.rest = rest

    def groups(self, penalty: Penalty, by_rows: bool = False) -> list[Group]:
        """Return the sums of every group in the coordinates of a penalty, or in the row space."""
        coordinates, groups = self.design.coordinates(penalty), range(len(self.varies))
        if by_rows:
            return [self._wide(coordinates, g) for g in groups]
        basis, (gram, cross, squares) = coordinates.basis.within(self.design.span), self.whole
        norms = np.sqrt(np.maximum(np.linalg.diagonal(gram), 0.0))
        gram, cross = basis.of_gram(gram), basis.restrict(cross)
        # The rounding error of a square of a sum is relative to the squares of its terms.
        own, share = np.linalg.diagonal(gram), 10 * norms.shape[1] * EPS
        live = own > share * np.square(basis.largest_norms(norms))
        if not live.all():
            gram, cross = gram * live[:, :, None] * live[:, None], cross * live[..., None]
        sums = self.fold_sums.each(lambda s: s.in_basis(basis, live))
        return [
            self._group(coordinates, g, (gram[g], cross[g], squares[g]), sums, self.design.bias)
            for g in groups
        ]

    def _group(
        self,
        coordinates: Coordinates,
        g: int,
        whole: Normal,
        sums: Folds,
        constant: bool,
        lift: np.ndarray | None = None,
    ) -> Group:
        """Return the sums of a group, whose held-out rows are predicted if a function scores."""
        weights, folds = coordinates.weights[g], []
        if lift is not None:
            free = weights == 0
            weights = np.repeat([1.0, 0.0], [lift.shape[1] - free.sum(), free.sum()])

        def taps(v: np.ndarray) -> np.ndarray:
            found = coordinates.basis.expand((v if lift is None else lift @ v)[None])
            return np.asarray(found[0])

        place = g if lift is None else 0
        for i, (parts, rest) in enumerate(zip(*sums, strict=True)):
            own = rest.of_group(place)
            several = [Part(one.of_group(place), own, constant) for one in parts]
            held: Held = HeldOut(several)
            if not smooth(self.select):
                held = PredictedFold(several[0], self._problems[i], taps, self.units, g)
            folds.append((own.normal(constant), rest.rows, held))
        return Group(whole, weights, folds, lift)

    @cached_property
    def whole(self) -> Normal:
        """The normal equations of all rows, in the orthonormal basis of the kernels."""
        columns = self._analysis.plain.columns
        scale = np.ldexp(1.0, columns.exponents - self.units.column)
        regression = Regression(self._analysis.plain, self.targets)
        gram, cross = columns.gram, regression.cross * scale[..., None]
        gram = gram if (scale == 1).all() else gram * scale[:, :, None] * scale[:, None]
        return gram, cross, np.square(regression.y_norms)

    @cached_property
    def fold_sums(self) -> Folds:
        """The sums of folds, in the same basis."""
        return fold_sums(self.design, self.targets, self.spans, self.units)

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """All rows (G, n, P) and (G, n, Q), in these units."""
        matrix = self.design.matrix
        a, y = zip(*matrix.row_blocks(self.targets), strict=True)
        scale = np.ldexp(1.0, matrix.exponents - self.units.column)
        return np.concatenate(a, axis=1) * scale[:, None], np.concatenate(y, axis=1)

    def _of_rows(self, a: np.ndarray, y: np.ndarray) -> tuple[Sums, Folds]:
        """Return the sums of all rows and of folds, for rows (G, n, R) and (G, n, Q)."""
        total, plan = Sums.of_rows(a, y), self.design.matrix.plan

        def of(some: Sequence[Span]) -> Sums:
            at = plan.places(some)
            return Sums.of_rows(a[:, at], y[:, at])

        return total, folds_of(self.design, self.spans, of)

    def _wide(self, coordinates: Coordinates, g: int) -> Group:
        """Return the sums of a group with fewer rows than coordinates, in the span of the rows.

        Penalized coordinates are √weights⁻¹·q u. The solution is zero outside of this span.
        """
        weights, free = coordinates.weights[g], coordinates.weights[g] == 0
        rows, y = (a[g : g + 1] for a in self._rows)
        norms, a = np.linalg.norm(rows, axis=1), coordinates.basis.rows(rows)
        share = 10 * np.sqrt(rows.shape[2]) * EPS
        a = (a * (np.linalg.norm(a, axis=1) > share * coordinates.basis.largest_norms(norms)))[0]
        root = 1 / np.sqrt(weights[~free])
        q, r = np.linalg.qr((a[:, ~free] * root).T)
        count, constant = q.shape[1], self.design.nuisance.constant
        lift = np.zeros((len(weights), count + int(free.sum())))
        lift[~free, :count], lift[free, count:] = root[:, None] * q, np.eye(int(free.sum()))
        total, folds = self._of_rows(np.hstack([r.T, a[:, free]])[None], y)
        return self._group(
            coordinates, g, total.of_group(0).normal(constant), folds, constant, lift
        )

    @cached_property
    def _problems(self) -> list[Problem]:
        """The rows of every fold as a problem, all of which are in memory."""
        assert self.spans is not None
        _, y = self.design.records_in_memory, self.targets.in_memory
        return [part(self.design, y, fold) for fold in self.spans.folds]


# --- hyperparameters


def choose_penalty(
    scoring: Scoring, penalty: Penalty, grids: Sequence[np.ndarray | None]
) -> Penalty:
    """Return the penalty with its open hyperparameters selected, in common for all outputs.

    The loss is summed over outputs, each at its own best strength. The best of a set of safe starts
    is improved by Brent's method, or by the method of Nelder and Mead.
    """
    search = penalty.search(scoring.design.tap_lags) if penalty.open else None
    if search is None:
        return penalty
    from scipy.optimize import minimize, minimize_scalar

    known: dict[tuple[float, ...], float] = {}

    def loss(place: np.ndarray) -> float:
        key = tuple(np.atleast_1d(place).tolist())
        if key not in known:
            pairs = zip(scoring.scorers(search.at(np.array(key))), grids, strict=True)
            parts = [choose_strengths(s, grid, COARSE).losses.sum() for s, grid in pairs]
            known[key] = float(np.sum(parts))
            report(len(known))
        return known[key]

    with stage("hyperparameters tried", len(search.starts) + MOST_PLACES) as report:
        start = search.starts[_first_best([loss(place) for place in search.starts])]
        if len(search.low) == 1:
            ordered = np.unique([*search.low, *search.starts[:, 0], *search.high])
            i = int(np.searchsorted(ordered, start[0]))
            ends = ordered[max(i - 1, 0)], ordered[min(i + 1, len(ordered) - 1)]
            options: dict[str, float] = {"xatol": PLACE_TOLERANCE}
            minimize_scalar(loss, bounds=ends, method="bounded", options=options)
        else:
            options = {"xatol": PLACE_TOLERANCE, "fatol": 1e-4, "maxfev": MOST_PLACES}
            bounds = [*zip(search.low, search.high, strict=True)]
            minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=options)
    return search.at(np.array([*known][_first_best([*known.values()])]))


def _first_best(losses: Sequence[float]) -> int:
    """Return the index of the first loss that is the smallest one to rounding."""
    values = np.array(losses)
    least = values.min()
    return int(np.argmax(values <= least + LAST_DIGITS * abs(least)))
