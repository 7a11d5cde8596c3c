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
from .held_rows import Held, HeldOutFold, PredictedFold, check_varying, held_out
from .spectrum import Fit, Spectrum
from .sums import FoldSums, Normal, Sums, Units, fold_sums

# Range of strengths relative to the largest eigenvalue, up to a vanishing kernel: two per decade.
LARGEST, A_DECADE = 1e5, 2
# Number of strengths of a finer grid, on both sides of the best one.
FINER = 5
# Finer grids of a search, and of one whose loss is only compared with that of other penalties.
FINE, COARSE = 2, 1
NEWTON_STEPS = 5
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
    """Kernels of one group for every strength."""

    def kernel(self, strengths: np.ndarray) -> np.ndarray:
        """Return kernels (n, R, Q) at strengths (n, Q) or (n, 1)."""

    def fit(self, strengths: np.ndarray) -> Fit:
        """Return the fits at strengths (n, Q) or (n, 1)."""

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
        each = np.stack([h.scores(score, path.kernel(strengths)) for path, h in self.folds])
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
    best = np.where(scorer.varies, np.argmin(losses, axis=0), len(strengths) - 1)
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
    """Return the logarithms (Q,) of the strengths of least loss.

    The loss is within a ``step`` of t. Each grid is finer than the one before, and guards against
    several minima. The quartic through its best five places depends smoothly on the values, so
    that rounding hardly changes its minimum.
    """
    outputs = np.arange(len(t))
    for _ in range(rounds):
        places = t + np.linspace(-step, step, 2 * FINER + 1)[:, None]
        losses = scorer.loss(np.exp(places))
        best = np.clip(np.argmin(losses, axis=0), 2, 2 * FINER - 2)
        step /= FINER
        at = _quartic_vertex(losses[best + np.arange(-2, 3)[:, None], outputs])
        least = places[np.argmin(losses, axis=0), outputs]
        t = np.where(np.isnan(at), least, places[best, outputs] + step * at)
    return t


def _quartic_vertex(values: np.ndarray) -> np.ndarray:
    """Return the minimum of the quartic through values (5, Q) at the places −2, −1, 0, 1 and 2.

    It is NaN if the quartic has no minimum between these places near 0.
    """
    low2, low1, middle, high1, high2 = values
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d1 = (low2 - 8 * low1 + 8 * high1 - high2) / 12
        d2 = (-low2 + 16 * low1 - 30 * middle + 16 * high1 - high2) / 12
        d3 = (-low2 + 2 * low1 - 2 * high1 + high2) / 2
        d4 = low2 - 4 * low1 + 6 * middle - 4 * high1 + high2
        at = np.zeros(values.shape[1])
        for _ in range(NEWTON_STEPS):
            slope = d1 + at * (d2 + at * (d3 / 2 + at * d4 / 6))
            at = at - slope / (d2 + at * (d3 + at * d4 / 2))
        return np.where((d2 > 0) & (abs(at) <= 2), at, np.nan)


# --- the scorers of any penalty


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
            sums, units = self.fold_sums, self.units
            if self._few:
                a, y = self._rows
                sums = self._of_rows(a[:, :, :0], y)[1]
                units = units._replace(out_origin=design.matrix.output_means(self.targets))
            check_varying(sums, units, self.varies, select)

    def scorers(self, penalty: Penalty) -> list[Scorer]:
        """Return the scorers of every group."""
        coordinates = self.design.coordinates(penalty)
        if self._few:
            return [self._wide(coordinates, g) for g in range(len(self.varies))]
        whole, folds = self.sums(penalty)
        fitted = self.design.bias
        pairs = enumerate(zip(zip(*whole, strict=True), coordinates.weights, strict=True))
        found = (self._scorer(coordinates, g, *each, folds, g, fitted) for g, each in pairs)
        return [*found]

    def sums(self, penalty: Penalty) -> tuple[Normal, FoldSums]:
        """Return the sums of all rows and of folds in the coordinates of a penalty."""
        coordinates = self.design.coordinates(penalty)
        basis, (gram, cross, squares) = coordinates.basis.within(self.design.span), self.whole
        norms = np.sqrt(np.maximum(np.linalg.diagonal(gram), 0.0))
        gram, cross = basis.of_gram(gram), basis.restrict(cross)
        # The rounding error of a square of a sum is relative to the squares of its terms.
        own, share = np.linalg.diagonal(gram), 10 * norms.shape[1] * EPS
        live = own > share * np.square(basis.largest_norms(norms))
        if not live.all():
            gram, cross = gram * live[:, :, None] * live[:, None], cross * live[..., None]
        return (gram, cross, squares), self.fold_sums.each(lambda s: s.in_basis(basis, live))

    def folds(self, penalty: Penalty) -> list[tuple[list[Normal], list[Held]]]:
        """Return, for every fold, the training normal equations and the held-out rows by group."""
        fitted, (_, sums) = self.design.bias, self.sums(penalty)
        coordinates, groups = self.design.coordinates(penalty), range(len(self.varies))
        held = [self._held(coordinates, held_out(sums, g, fitted), g, None) for g in groups]
        rest = ([*zip(*s.normal(fitted), strict=True)] for s in sums.rest)
        return [*zip(rest, map(list, zip(*held, strict=True)), strict=True)]

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
    def fold_sums(self) -> FoldSums:
        """The sums of folds, in the same basis."""
        if self.spans is None:
            return FoldSums([], [], [])
        return fold_sums(self.design, self.targets, self.spans, self.units)

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """All rows (G, n, P) and (G, n, Q), in these units."""
        matrix = self.design.matrix
        a, y = zip(*matrix.row_blocks(self.targets), strict=True)
        scale = np.ldexp(1.0, matrix.exponents - self.units.column)
        return np.concatenate(a, axis=1) * scale[:, None], np.concatenate(y, axis=1)

    def _of_rows(self, a: np.ndarray, y: np.ndarray) -> tuple[Sums, FoldSums]:
        """Return the sums of all rows and of folds, for rows (G, n, R) and (G, n, Q)."""
        total, spans = Sums.of_rows(a, y), self.spans
        if spans is None:
            return total, FoldSums([], [], [])

        def of(some: Sequence[Span]) -> Sums:
            at = self.design.matrix.plan.places(some)
            return Sums.of_rows(a[:, at], y[:, at])

        return total, FoldSums.made(self.design, spans, of, "sums over folds")

    def _wide(self, coordinates: Coordinates, g: int) -> Scorer:
        """Return the scorer of a group with fewer rows than coordinates, in the span of the rows.

        Penalized coordinates are √weights⁻¹·q u. The solution is zero outside of this span.
        """
        weights, free = coordinates.weights[g], coordinates.weights[g] == 0
        rows, y = (a[g : g + 1] for a in self._rows)
        norms, a = np.linalg.norm(rows, axis=1), coordinates.basis.rows(rows)
        share = 10 * np.sqrt(rows.shape[2]) * EPS
        a = (a * (np.linalg.norm(a, axis=1) > share * coordinates.basis.largest_norms(norms)))[0]
        root = 1 / np.sqrt(weights[~free])
        q, r = np.linalg.qr((a[:, ~free] * root).T)
        count = q.shape[1]
        lift = np.zeros((len(weights), count + int(free.sum())))
        lift[~free, :count], lift[free, count:] = root[:, None] * q, np.eye(int(free.sum()))
        fitted = self.design.nuisance.constant
        total, folds = self._of_rows(np.hstack([r.T, a[:, free]])[None], y)
        gram, cross, squares = total.normal(fitted)
        own = (gram[0], cross[0], squares[0]), (np.arange(lift.shape[1]) < count).astype(float)
        return self._scorer(coordinates, g, *own, folds, 0, fitted, lift)

    def _scorer(
        self,
        coordinates: Coordinates,
        g: int,
        whole: Normal,
        weights: np.ndarray,
        sums: FoldSums,
        place: int,
        fitted: bool,
        lift: np.ndarray | None = None,
    ) -> Scorer:
        """Return a scorer, given sums with the group at a place; is a constant ``fitted``?"""
        nuisance, paths = self.design.nuisance.total, []
        for rest in tracked(sums.rest, "decompositions, by fold", len(sums.rest)):
            gram, cross, squares = (a[place] for a in rest.normal(fitted))
            paths.append(Spectrum((gram, cross, squares), weights, rest.rows, nuisance))
        path = Spectrum(whole, weights, self.design.sizes.rows, nuisance)
        held = self._held(coordinates, held_out(sums, place, fitted), g, lift)
        folds = [*zip(paths, held, strict=True)]
        return Scorer(self.select, path, self.varies[g], folds, lift)

    def _held(
        self,
        coordinates: Coordinates,
        held: Sequence[HeldOutFold],
        group: int,
        lift: np.ndarray | None,
    ) -> Sequence[Held]:
        """Return the held-out rows of one group, with predictions if a function scores them."""
        if smooth(self.select):
            return held

        def taps(v: np.ndarray) -> np.ndarray:
            found = coordinates.basis.expand((v if lift is None else lift @ v)[None])
            return np.asarray(found[0])

        pairs = zip(held, self._problems, strict=True)
        return [PredictedFold(h.parts[0], rows, taps, self.units, group) for h, rows in pairs]

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
