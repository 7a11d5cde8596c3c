"""Selection of the strength of every output, and of the hyperparameters of a penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from operator import methodcaller
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import block_diag, cho_factor, cho_solve
from scipy.linalg.lapack import dpotri

from ..leastsquares.analysis import Analysis
from ..leastsquares.design import Design
from ..leastsquares.penalty import RIDGE, Bands, Penalty, Ridge
from ..leastsquares.regression import Regression
from ..linalg.rank import EPS
from ..linalg.threads import one_blas_thread
from ..operators.layout import TapBasis
from ..parallel import cached_property
from ..parts import join
from ..problem.rows import Span
from ..problem.sizes import Sizes
from ..progress import tracked
from .folds import CrossValidation
from .regularization import Regularization, StrengthScores, of_some
from .spectrum import ROUNDING, Spectrum, criterion, in_user_units, lifted, noise_variance
from .sums import FoldSums, HeldOut, Normal, Predicted, Sums, Units, check_scored, fold_sums, part

# Number of strengths of a finer grid, on both sides of the best one.
FINER = 5
# Finer grids of a search, and of one whose loss is only compared with that of other penalties.
FINE, COARSE = 2, 1
# Losses that differ by less than this share are equal: rounding must not choose between them.
LAST_DIGITS = 1e-12
# Tolerance of hyperparameters on the scale of their search, and the first steps from a start.
PLACE_TOLERANCE, FIRST_STEP = 1e-3, 0.3
# Largest change of the logarithm of a strength from its start, in either direction.
REACH = 25.0
# Share of the power of another band below which a second start is used, and its lower limit.
SIMILAR, TINY = 0.1, 1e-30
# Largest number of steps of L-BFGS-B for one output, and the gradient norm at which it stops.
MOST_STEPS, FLAT = 200, 1e-6
# Strengths of the path along the selected ratios, relative to the selected one.
ALONG = 10.0 ** np.arange(-4, 4.5, 0.5)


def few_rows(sizes: Sizes) -> bool:
    """Return whether there are fewer rows than columns, and the rows fit in memory."""
    held = 8 * sizes.groups * sizes.rows * sizes.columns
    return sizes.rows < sizes.parameters and held <= sizes.limits.gram_bytes


def smooth(select: str | CrossValidation) -> bool:
    """Return whether a criterion has a formula, and depends smoothly on the strength."""
    return isinstance(select, str) or not select.own


# --- scores of strengths


@dataclass(frozen=True)
class Scorer:
    """Scores of strengths for the outputs of one group.

    Kernels are a `Spectrum`, or another class with its methods ``kernel`` and ``fit``, and with
    its range of strengths unless a grid is given.

    Attributes:
        select: the criterion.
        whole: the kernels of all rows.
        varies: flags of the outputs that vary. Other outputs select nothing.
        one: whether all outputs have one strength.
        folds: the kernels of the training rows, and the held-out rows, of every fold.
    """

    select: str | CrossValidation
    whole: Any
    varies: np.ndarray
    one: bool = False
    folds: Sequence[tuple[Any, HeldOut]] = ()

    def table(self, strengths: np.ndarray) -> np.ndarray:
        """Return strengths (n, Q or 1), their scores, and those of k folds, as (2 + k, n, Q)."""
        wide = np.broadcast_to(strengths, (len(strengths), len(self.varies)))
        if isinstance(self.select, str):
            return np.stack([wide, criterion(self.select, self.whole.fit(strengths))])
        folds = tracked(self.folds, "folds of the choice", len(self.folds))
        each = [held.scores(self.select.score, path.kernel(strengths)) for path, held in folds]
        return np.stack([wide, np.mean(each, axis=0), *each])

    def losses(self, table: np.ndarray) -> np.ndarray:
        """Return losses (n, Q) to be minimised, comparable between outputs of any size.

        They are infinite where there is no score, and zero for outputs that do not vary. For one
        strength they are the sum over outputs, of logarithms for gcv and mse: in a sum of the
        values, the output with the largest unit would decide.
        """
        scores = table[1]
        if isinstance(self.select, CrossValidation):
            with np.errstate(divide="ignore"):
                scores = np.log(scores) if self.select.score == "mse" else -scores
        found = np.where(self.varies, np.nan_to_num(scores, nan=np.inf, neginf=-np.inf), 0.0)
        return np.broadcast_to(found.sum(1, keepdims=True), found.shape) if self.one else found


class Chosen(NamedTuple):
    """The choice for the outputs of one group, in the units of its `Scorer`.

    ``table`` is that of `Scorer`, sorted by strength, with the choice. ``strengths`` (Q,) are the
    choice and ``losses`` (Q,) the losses there. ``at_edge`` (Q,) is True if the choice is the first
    or last strength that was allowed.
    """

    table: np.ndarray
    strengths: np.ndarray
    losses: np.ndarray
    at_edge: np.ndarray


def choose_strengths(scorer: Scorer, grid: np.ndarray | None, rounds: int = FINE) -> Chosen:
    """Choose the strength of least loss for every output.

    It is one of ``grid`` (n, Q or 1) if a grid is given. Otherwise the best of strengths from the
    resolution of the sums to a vanishing kernel is refined by finer grids, each of which guards
    against several minima, and a parabola. It is not refined if a function scores.
    """
    searched = grid is None
    if grid is None:
        grid = scorer.whole.search_grid()
    table = scorer.table(grid)
    if isinstance(scorer.select, CrossValidation) and len(grid) > 1:
        check_scored(scorer.select, table[2:], scorer.varies)
    losses = scorer.losses(table)
    best = np.where(
        scorer.varies | scorer.one, np.argmin(losses, axis=0), np.argmax(table[0], axis=0)
    )
    edge = ((best == 0) | (best == len(grid) - 1)) & (len(grid) > 1)
    chosen, loss = _at(table[0], best), _at(losses, best)
    if not searched or edge.all() or not smooth(scorer.select):
        return Chosen(table, chosen, loss, edge)
    # The ratios of whole numbers differ, and the largest ratio covers all gaps.
    t, step = np.log(chosen), float(np.log(grid[1:, 0] / grid[:-1, 0]).max())
    for _ in range(rounds):
        places = t + np.linspace(-step, step, 2 * FINER + 1)[:, None]
        values, step = scorer.losses(scorer.table(np.exp(places))), step / FINER
        middle = np.clip(np.argmin(values, axis=0), 1, 2 * FINER - 1)
        before, at, after = (_at(values, middle + i) for i in (-1, 0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            move = np.nan_to_num((before - after) / (before - 2 * at + after) / 2)
        t = _at(places, middle) + step * np.clip(move, -1, 1)
    candidates = scorer.table(scorer.whole.allowed(np.where(edge, chosen, np.exp(t))))
    losses = scorer.losses(candidates)
    best = np.argmin(losses, axis=0)
    row = np.take_along_axis(candidates, best[None, None], axis=1)
    whole = by_strength(np.concatenate([table, row], axis=1))
    return Chosen(whole, row[0, 0], _at(losses, best), edge)


def by_strength(table: np.ndarray) -> np.ndarray:
    """Return a table of `Scorer` in ascending order of the strengths of every output."""
    order = np.argsort(table[0], axis=0, kind="stable")
    return np.take_along_axis(table, np.broadcast_to(order, table.shape), axis=1)


def _at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the values (Q,) at places (Q,) of an array (n, Q)."""
    return np.take_along_axis(values, places[None], axis=0)[0]


def described(
    to_user: Callable[[np.ndarray], np.ndarray],
    exponents: np.ndarray,
    penalty: Penalty,
    scorer: Scorer,
    chosen: Chosen,
) -> Regularization:
    """Convert the choices for outputs in units of 2**exponents (Q,) to the user's units.

    ``to_user`` converts strengths. A single strength was not selected.
    """
    select, strengths = scorer.select, chosen.table[0]
    name = select if isinstance(select, str) else select.criterion
    fit, place = scorer.whole.fit(strengths), np.argmax(strengths == chosen.strengths, axis=0)
    scores, *by_fold = in_user_units(chosen.table[1:], name, fit, exponents)
    variance = in_user_units(noise_variance(fit, name), "mse", fit, exponents)
    freedom, variance, score = (_at(a, place) for a in (fit.freedom, variance, scores))
    title, strength, path = penalty.title, to_user(chosen.strengths), None
    if len(strengths) == 1:
        name, score = "given", np.nan * score
    else:
        several = np.stack(by_fold) if by_fold else None
        path = StrengthScores(to_user(strengths), scores, fit.freedom, several)
    return Regularization(
        penalty=title,
        strength=strength,
        hyperparameters={},
        effective_dof=freedom,
        noise_variance=variance,
        criterion=name,
        score=score,
        path=path,
        at_edge=chosen.at_edge,
        parameter=penalty.parameter,
    )


# --- the scorers of any penalty


class Group(NamedTuple):
    """Sums of one group in coordinates v of a penalty λ·Σ v², to which ``free`` (R,) ones add none.

    Attributes:
        whole: normal equations of all rows.
        free: flags of the free coordinates.
        folds: normal equations of the training rows, and held-out rows, of every fold.
        lift: factors (R,), or a matrix (R', R), that return the coordinates of the `Penalty`.
    """

    whole: Normal
    free: np.ndarray
    folds: list[tuple[Normal, HeldOut]]
    lift: np.ndarray


class Scoring:
    """Scorers of every group for any penalty, from sums over rows and folds formed once."""

    def __init__(
        self, analysis: Analysis, select: str | CrossValidation, one: bool = False
    ) -> None:
        """Read rows; ``one`` is whether all outputs have one strength."""
        assert analysis.targets is not None
        self.one = one
        self._plain, self.targets = analysis.plain, analysis.targets
        self.design, self.select = analysis.design, select
        design, problem = self.design, self.design.problem
        if not smooth(select) and (problem._weights is not None or problem._terms.given):
            words = "cannot be combined with weights=, drift= or confounds="
            raise ValueError(f"a function as score= {words}")
        design_of = partial(part, design, self.targets)
        # The rows of folds are read again if a function scores.
        self._part: Callable[..., Design] = design_of if smooth(select) else cache(design_of)
        outputs = self.targets.grouped(self.targets.exponents)
        self.units = Units(int(design.matrix.exponents.max()), outputs)
        self._spans = select.spans(design.kept) if isinstance(select, CrossValidation) else None
        self._by_rows, confounds = few_rows(design.sizes), design.nuisance.confounds
        if confounds and self._spans:
            # Rows have the confounds of all rows projected out, not those of training rows.
            mixed = confounds.shared or confounds.weights is not None or self._spans.cut
            self._by_rows = self._by_rows and not mixed

    @cached_property
    def varies(self) -> np.ndarray:
        """Flags (G, Q) of the outputs that vary."""
        return self.design.matrix.outputs_of(self.targets).squares > 0

    def grids(self, given: Any) -> Sequence[np.ndarray | None]:
        """Return strengths (n, Q) of every group, sorted, from (n,) or (n, outputs)."""
        if given is None:
            return [None] * len(self.varies)
        wide = np.reshape(given, (len(given), -1)) + np.zeros(self.varies.size)
        return np.split(np.sort(wide, axis=0), len(self.varies), axis=1)

    def scorers(self, penalty: Penalty, kind: type[Spectrum] = Spectrum) -> list[Scorer]:
        """Return the scorers of every group, for the spectral filter of a ``kind``."""
        groups = self.groups(penalty, self._by_rows)
        wholes = self.spectra(groups, kind)

        # By fold, the spectra of the training rows of every group.
        n_folds = len(groups[0].folds)
        trained = []
        for fold in tracked(range(n_folds), "decompositions, by fold", n_folds):
            normals = [group.folds[fold][0] for group in groups]
            trained.append(self._spectra_of(normals, groups, kind))

        scorers = []
        for g, group in enumerate(groups):
            held = [held_out for _, held_out in group.folds]
            folds = [*zip((spectra[g] for spectra in trained), held, strict=True)]
            scorers.append(Scorer(self.select, wholes[g], self.varies[g], self.one, folds))
        return scorers

    def spectra(self, groups: Sequence[Group], kind: type[Spectrum]) -> list[Spectrum]:
        """Return the spectrum of all rows of every group, in the coordinates of the penalty."""
        spectra = self._spectra_of([group.whole for group in groups], groups, kind)
        pairs = zip(spectra, groups, strict=True)
        return [spectrum.lifted(group.lift) for spectrum, group in pairs]

    def _spectra_of(
        self, normals: Sequence[Normal], groups: Sequence[Group], kind: type[Spectrum]
    ) -> list[Any]:
        """Return the spectra of the normal equations of some rows of every group."""
        sizes, nuisance = self.design.sizes, self.design.nuisance.total
        free = [group.free for group in groups]
        return kind.of_groups(normals, free, sizes.rows, nuisance)

    def groups(self, penalty: Penalty, by_rows: bool = False, given: Any = None) -> list[Group]:
        """Return the sums of every group for a penalty, or in the span of the rows.

        Sums of folds are `fold_sums` if none are ``given``, without sums of all rows.
        """
        coordinates, constant = self.design.coordinates(penalty), self.design.bias
        basis, free = coordinates.basis, coordinates.weights == 0
        power = basis.of_channels(self.design.matrix.exponents) - self.units.column
        scale = np.ldexp(1 / np.sqrt(np.where(free, 1.0, coordinates.weights)), power)
        if by_rows:
            several = [self._in_row_space(basis, f, scale[g], g) for g, f in enumerate(free)]
        else:
            inner = basis.within(self.design.span)
            folds = (given or self.fold_sums).each(methodcaller("moved", inner, scale))
            whole = (given.rest[0] if given else self._whole).moved(inner, scale)
            several = [(f, scale[g], *_of_group(whole, folds, g)) for g, f in enumerate(free)]
        found = []
        for g, (flags, lift, total, own) in enumerate(several):
            held = [HeldOut(parts, rest, constant) for parts, rest in zip(*own, strict=True)]
            if self._spans and not smooth(self.select):
                taps = partial(_taps, basis, lift)
                designs = [self._part(tuple(fold)) for fold in self._spans.folds]
                held = [Predicted(a, b, g, taps) for a, b in zip(held, designs, strict=True)]
            pairs = [*zip((rest.normal(constant) for rest in own.rest), held, strict=True)]
            found.append(Group(total.normal(constant), flags, pairs, lift))
        return found

    def _in_row_space(
        self, basis: TapBasis, free: np.ndarray, scale: np.ndarray, group: int
    ) -> tuple[np.ndarray, np.ndarray, Sums, FoldSums]:
        """Return free flags, lift and sums of a group with fewer rows than coordinates.

        The coordinates span the rows. The solution is zero outside of this span.
        """
        rows, y = (a[group : group + 1] for a in self._rows)
        terms, (a,) = basis.largest_norms(np.linalg.norm(rows, axis=1))[0], basis.rows(rows)
        live = np.linalg.norm(a, axis=0) > 10 * np.sqrt(rows.shape[2]) * EPS * terms
        a = a * (live * scale)
        q, r = np.linalg.qr(a[:, ~free].T)
        lift = block_diag(q, np.eye(int(free.sum())))
        lift[np.argsort(free, kind="stable")] = lift.copy()
        a, plan = np.hstack([r.T, a[:, free]])[None], self.design.matrix.plan

        def of(spans: Sequence[Span]) -> Sums:
            at = plan.places(spans)
            return Sums.of_rows(a[:, at], y[:, at])

        sums = _of_group(Sums.of_rows(a, y), fold_sums(self._spans, of), 0)
        return np.arange(lift.shape[1]) >= q.shape[1], scale[:, None] * lift, *sums

    @cached_property
    def _whole(self) -> Sums:
        """The sums of all rows, in the orthonormal basis of the kernels."""
        regression = Regression(self._plain, self.targets)
        gram, squares = self._plain.columns.gram, np.square(regression.y_norms)
        none = 0 * self.units.outputs.astype(float), 0.0, 0.0
        return Sums(gram, regression.cross, squares, 0 * gram[:, 0], *none)

    @cached_property
    def fold_sums(self) -> FoldSums:
        """The sums of folds, in the same basis."""

        def of(spans: Sequence[Span]) -> Sums:
            return Sums.of(self._part(tuple(spans)), self.design.span)

        return fold_sums(self._spans, of, self.design.problem._terms.given)

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """All rows (G, n, P) and (G, n, Q)."""
        a, y = zip(*self.design.matrix.row_blocks(self.targets), strict=True)
        return np.concatenate(a, axis=1), np.concatenate(y, axis=1)


def _of_group(whole: Sums, folds: FoldSums, group: int) -> tuple[Sums, FoldSums]:
    return whole.of_group(group), folds.each(methodcaller("of_group", group))


def _taps(basis: TapBasis, lift: np.ndarray, v: np.ndarray) -> np.ndarray:
    return basis.expand(lifted(lift, v)[None])[0]


# --- hyperparameters


def choose_penalty(
    scoring: Scoring, penalty: Penalty, grids: Sequence[np.ndarray | None]
) -> Penalty:
    """Return the penalty with its open hyperparameters selected, in common for all outputs.

    The loss is summed over outputs, each at its own best strength. The best of a set of safe starts
    is improved by Brent's method, or by the quadratic models of COBYQA.
    """
    search = penalty.search(scoring.design.tap_lags) if penalty.open else None
    if search is None:
        return penalty

    from scipy.optimize import minimize, minimize_scalar

    def loss(place: np.ndarray) -> float:
        pairs = zip(scoring.scorers(search.at(np.atleast_1d(place))), grids, strict=True)
        return float(sum(choose_strengths(*pair, COARSE).losses.sum() for pair in pairs))

    starts = tracked(search.starts, "hyperparameters tried", len(search.starts))
    losses = np.array([loss(place) for place in starts])
    start = search.starts[np.isclose(losses, losses.min(), LAST_DIGITS, 0.0).argmax()]
    if len(start) == 1:
        ordered = np.unique([*search.low, *search.starts[:, 0], *search.high])
        i = int(np.searchsorted(ordered, start[0]))
        ends = ordered[max(i - 1, 0)], ordered[min(i + 1, len(ordered) - 1)]
        options = {"xatol": PLACE_TOLERANCE}
        found = minimize_scalar(loss, bounds=ends, method="bounded", options=options)
    else:
        options = {"initial_tr_radius": FIRST_STEP, "final_tr_radius": PLACE_TOLERANCE}
        bounds = [*zip(search.low, search.high, strict=True)]
        found = minimize(loss, start, method="COBYQA", bounds=bounds, options=options)
    return search.at(np.atleast_1d(found.x) if found.fun < losses.min() else start)


def choose(
    scoring: Scoring, penalty: Penalty, given: Any
) -> tuple[Regularization, Penalty, list[Any], np.ndarray]:
    """Select hyperparameters and strengths, of those ``given`` (n,) or (n, outputs) if not None.

    Returns:
        The selection, the penalty without strength, the `Spectrum` of every group, and strengths
        (G, Q) in its units.
    """
    units, form = scoring.units, penalty.form
    grids = [at if at is None else units.from_user(at) for at in scoring.grids(given)]
    found = choose_penalty(scoring, form, grids)
    scorers = scoring.scorers(found)
    chosen = [choose_strengths(*pair) for pair in zip(scorers, grids, strict=True)]
    several = zip(units.outputs, scorers, chosen, strict=True)
    selected = join([described(units.to_user, e, found, s, c) for e, s, c in several])
    hyperparameters = {name: getattr(found, name) for name in form.open}
    spectra, strengths = [s.whole for s in scorers], np.stack([c.strengths for c in chosen])
    return replace(selected, hyperparameters=hyperparameters), found, spectra, strengths


# --- a strength for every group of channels

# The loss of strengths λ and its derivative, at t = −log λ.
Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]


def choose_bands(
    scoring: Scoring, ridge: Ridge
) -> tuple[Regularization, list[tuple[Penalty, float]]]:
    """Select the bands of largest evidence or best held-out score, for each output or for all.

    The search starts from one strength for all bands, the best of a plain ridge. A start with bands
    switched off would not work, because the derivative vanishes there.

    Returns:
        The selection, with a path along the ratios of each output, and the penalty and strength of
        every output.
    """
    design, units, select = scoring.design, scoring.units, scoring.select
    labels = np.array(ridge.channel_groups)[[*design.selection.channels]]
    bands = np.searchsorted(ridge.labels, labels).reshape(len(scoring.varies), -1)
    channel = design.coordinates(RIDGE).basis.channel_of(design.sizes.columns, bands.shape[1])
    starts = [choose_strengths(s, None, COARSE).strengths for s in scoring.scorers(RIDGE)]
    groups, parts = scoring.groups(RIDGE), list[Regularization]()
    pairs: list[tuple[Penalty, float]] = []
    every, rows = np.arange(scoring.varies.shape[1]), design.sizes.rows - design.nuisance.total
    sets = [every] if scoring.one else [*every[:, None]]
    for g, some in tracked(product(range(len(groups)), sets), "outputs", len(groups) * len(sets)):
        names, band = np.unique(bands[g][channel], return_inverse=True)
        start, edge = float(starts[g][some[0]]), True
        strengths, varying = np.full(len(ridge.labels), start), some[scoring.varies[g, some]]
        if len(varying):
            gram, cross, squares = groups[g].whole
            if isinstance(select, CrossValidation):
                losses = [_by_folds(groups[g].folds, band, select.score, q) for q in varying]
            else:
                sums = ((gram, cross[:, q], squares[q]) for q in varying)
                losses = [_by_evidence(own, band, rows) for own in sums]
            power = np.bincount(band, np.diagonal(gram)) / np.bincount(band)
            flat = FLAT * (1 if isinstance(select, CrossValidation) else rows)
            strengths[names], edge = _best(_total(losses), start, power, flat)
        mean = float(np.exp(np.log(strengths).mean()))
        ratios = tuple((strengths / mean).tolist())
        form, outputs = Bands(channel_groups=ridge.channel_groups, weights=ratios), len(starts[g])
        scorer = scoring.scorers(form)[g]
        along = choose_strengths(scorer, mean * ALONG[:, None])
        along = along._replace(strengths=np.full(outputs, mean), at_edge=np.full(outputs, edge))
        found = described(units.to_user, units.outputs[g], form, scorer, along)
        own = np.repeat(units.to_user(strengths[:, None]), len(some), axis=1)
        parts.append(replace(of_some(found, some), strength=own))
        pairs += [(form, float(units.to_user(np.array(mean))))] * len(some)
    return replace(join(parts), penalty=ridge.title), pairs


def _total(losses: Sequence[Loss]) -> Loss:
    """Return the sum of losses and of their derivatives."""

    def loss(t: np.ndarray) -> tuple[float, np.ndarray]:
        values, slopes = zip(*(own(t) for own in losses), strict=True)
        return sum(values), np.sum(slopes, axis=0)

    return loss


def _best(loss: Loss, start: float, power: np.ndarray, flat: float) -> tuple[np.ndarray, bool]:
    """Return the strengths (bands,) of least loss, and whether one is at its bound.

    Starts are equal strengths, and strengths proportional to the ``power`` of the bands.
    """
    from scipy.optimize import minimize

    share, even = power / (power.max() or 1.0), np.full(len(power), -np.log(start))
    starts = [even, even - np.log(np.maximum(share, TINY))][: 2 if share.min() < SIMILAR else 1]
    # The loss may be a mean over rows, so that a good step changes it by little.
    options = {"maxiter": MOST_STEPS, "gtol": flat, "ftol": 0.0}
    given: Any = {"jac": True, "method": "L-BFGS-B", "options": options}
    reach = np.array([-REACH, REACH])
    with one_blas_thread():
        runs = [(minimize(loss, t, bounds=t[:, None] + reach, **given), t) for t in starts]
        found, begin = min(runs, key=lambda run: float(run[0].fun))
        least, t, bounds = found.fun, found.x, begin[:, None] + reach
        # The loss is flat where a band is switched off, and the search stops before the bound.
        for band, bound in np.ndindex(bounds.shape):
            moved = t.copy()
            moved[band] = bounds[band, bound]
            if (value := loss(moved)[0]) < least:
                least, t = value, moved
    return np.exp(-t), bool((np.abs(t[:, None] - bounds) < 1e-6 * REACH).any())


def _by_evidence(normal: Normal, band: np.ndarray, rows: int) -> Loss:
    """Return rows·log S + log det B and its derivative Σ_b(1 − (B⁻¹)_jj) − rows/S·Σ_b z².

    Here D = diag(exp(t/2)), B = I + D G D, z = B⁻¹ D r and S = y² − rᵀ D z.
    """
    gram, r, squares = normal

    def loss(t: np.ndarray) -> tuple[float, np.ndarray]:
        d = np.exp(t / 2)[band]
        factor = _factor(gram, d)
        z = cho_solve(factor, d * r, check_finite=False)
        s = np.maximum(squares - (d * r) @ z, ROUNDING * squares)
        inverse = np.diagonal(dpotri(factor[0], lower=1)[0])
        value = rows * np.log(s) + 2 * np.log(np.diagonal(factor[0])).sum()
        return float(value), np.bincount(band, 1 - inverse - rows / s * z**2, len(t))

    return loss


def _by_folds(
    folds: Sequence[tuple[Normal, HeldOut]], band: np.ndarray, score: str, output: int
) -> Loss:
    """Return the log of the mean held-out square, or minus the mean score, and its derivative.

    In every fold, z = B⁻¹ D r of the training rows, and the kernel is w = D z. With the derivative
    f of the score with respect to w, the derivative of the score is Σ_b z·(B⁻¹ D f).

    Args:
        folds: normal equations of the training rows, and the held-out rows, of every fold.
        band: the band of every column.
        score: "mse", "r2" or "correlation".
        output: index of the output.
    """

    def loss(t: np.ndarray) -> tuple[float, np.ndarray]:
        d, mean, slope = np.exp(t / 2)[band], 0.0, np.zeros(len(t))
        for (gram, cross, _), held in folds:
            factor = _factor(gram, d)
            z = cho_solve(factor, d * cross[:, output], check_finite=False)
            value, f = held.valued(score, d * z, output)
            back = cho_solve(factor, d * f, check_finite=False)
            mean += value / len(folds)
            slope += np.bincount(band, z * back, len(t)) / len(folds)
        return (float(np.log(mean)), slope / mean) if score == "mse" else (-mean, -slope)

    return loss


def _factor(gram: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the Cholesky factor of B = I + D G D, and of no less than the rounding of D G D."""
    b = gram * np.outer(d, d)
    b.flat[:: len(b) + 1] += 1.0 + 10 * len(b) * EPS * b.max(initial=0.0)
    return cho_factor(b, lower=True, overwrite_a=True, check_finite=False)
