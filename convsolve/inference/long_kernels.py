"""Strengths for thousands of taps, from Toeplitz matrices instead of the Gram matrix.

T is the Toeplitz matrix of tapered records, which is close to G = AᵀA. Levinson's recursion has the
trace of (T + λI)⁻¹, its determinant, and the preconditioner of conjugate gradients with G + λI,
which compute the residuals. A few random vectors estimate the difference of the two traces.

Source: M. F. Hutchinson, Communications in Statistics 19 (1990) 433, for random vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import warn
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import nearly_toeplitz
from ..leastsquares.normal_operator import Products
from ..leastsquares.penalty import Penalty, Ridge
from ..leastsquares.priors import StableSpline
from ..leastsquares.regression import Regression
from ..linalg.conjugate_gradient import Conjugate, Map
from ..operators.toeplitz import FrozenInverse, PredictorInverse, levels_of, shifted
from ..parallel import cached_property
from ..parts import join
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .regularization import Regularization
from .select import ALONG, TINY, Chosen, Scorer, Scoring, by_strength, choose_strengths, described
from .spectrum import ROUNDING, Fit, evidence
from .sums import Units

# More unknowns than this, and the steps of CG after which T is not close to G.
FEWEST, MOST_STEPS = 1000, 100
# Decades of the first search, relative to the mean of the diagonal of G, and the order of its
# predictors.
DECADES, ORDER = np.arange(-10.0, 9.0), 2048
# Decades between strengths of the second search, and the largest number of its windows.
FINE, WINDOWS = 0.15, 9
# Random vectors, and their largest standard error as a share of the degrees of freedom.
PROBES, SPREAD = 4, 0.01
# Decays of a prior over the whole kernel that are tried first, with so many steps of a fixed point
# for the strength of each.
DECAYS, ROUNDS = (0.5, 3.0, 9.0, 20.0, 50.0), 4
# Logarithm of the largest precision of a prior over the mean of the diagonal of G, and errors of S,
# in units of S/m, at first and for the last search.
REACH, ROUGH, PRECISE = 23.0, 0.1, 1e-4
# With fewer rows per unknown, the evidence of a prior may be off by several units, and the Gram
# matrix is used for up to so many unknowns.
ROWS_OF_PRIOR, EXACT_PRIOR = 20, 2000
# Least share of products of neighbouring taps in the degrees of freedom of a smooth kernel.
SIMILAR = 0.1
WORDS = (
    'neighbouring taps are similar, but above 1000 unknowns "dc" has no correlation: use '
    "penalty='tc' for at most 2000, or cs.StableSpline(kind='dc', decay=0.99, correlation=0.99)"
)


def without_gram(penalty: Penalty, select: Any, sizes: Sizes, spec: ConvSpec) -> bool:
    """Return whether `choose` selects the strength, and any decay."""
    if isinstance(penalty, StableSpline):
        possible = penalty.kind == "dc" and penalty.correlation in (None, 0.0)
        possible &= select == "evidence"
    else:
        possible = isinstance(penalty, Ridge) and penalty.channel_groups is None
    automatic = isinstance(select, str) and penalty.strength is None
    return possible and automatic and nearly_toeplitz(sizes, spec, FEWEST)


class Slow(Exception):
    """Conjugate gradients do not converge, because T is not close to G."""


class ToeplitzSpectrum:
    """The fits of one group for every strength, as `Spectrum` has them, in units of `Units`.

    Attributes:
        lags: those of T (K, C, C).
        places: columns of the windows that are used.
        cross: Aᵀy (P, Q).
        squares: Σy² (Q,).
        mean: mean of the diagonal of G.
        rows, left: number of rows, and the same less the nuisance columns.
        rss: (Q,), of which the residual sums of squares of solutions need twelve digits.
        probes: random vectors (P, `PROBES`).
    """

    def __init__(self, analysis: Analysis, group: int, units: Units) -> None:
        assert analysis.targets is not None
        design, regression = analysis.design, Regression(analysis.plain, analysis.targets)
        powers = units.column - design.matrix.exponents[group, : design.kernel_shape[-2]]
        found = Products(design, group, powers)
        self._product, self.places = found.product, found.places
        self.lags = found.lags(np.zeros(len(found.squares)))
        self.cross = found.scale * regression.cross[group]
        self.squares = np.square(regression.y_norms[group])
        self.mean = float(found.squares.mean()) or 1.0
        self.rows, self.left = (rows := design.sizes.rows), rows - design.nuisance.total
        self.rss = 100 * self.squares
        self.probes = np.random.default_rng(0).choice([-1.0, 1.0], (len(self.cross), PROBES))
        # Sums by strength, and degrees of freedom of G less those of T by its logarithm.
        self._known, self._differences = dict[float, np.ndarray](), dict[float, float]()

    @cached_property
    def frozen(self) -> tuple[np.ndarray, Sequence[PredictorInverse], np.ndarray]:
        """Logarithms of levels μ, (T + μ)⁻¹ at every second, and a spline of f_i between them.

        f_i is the log determinant of the prediction errors of C channels and order i of T + μ, less
        C log μ.
        """
        from scipy.interpolate import CubicSpline

        levels = levels_of(self.lags)
        first, inverses, logs = shifted(self.lags, np.exp(levels)[:, None], self.places)
        levels = levels[first:]
        f = CubicSpline(levels, logs - self.lags.shape[1] * levels[:, None])
        return levels, inverses[::2], f.c

    def fit(self, strengths: np.ndarray) -> Fit:
        """Return the fits at strengths (n, Q) or (n, 1), the first ones with random vectors."""
        wide = np.broadcast_to(strengths, (len(strengths), len(self.squares)))
        if new := sorted({*wide.ravel().tolist()} - {*self._known}):
            self.add(new, [not self._differences] * len(new))
        sums = np.array([[self._known[s][:, q] for q, s in enumerate(r)] for r in wide.tolist()])
        rss, size, freedom, logdet = np.moveaxis(sums, -1, 0)
        if self._differences:
            at, off = np.array(sorted(self._differences.items())).T
            freedom = freedom + np.interp(np.log(wide), at, off, 0.0, 0.0)
            # Degrees of freedom are minus the derivative of log det. Its constant has no effect.
            area = np.append(0.0, np.cumsum(np.diff(at) * (off[1:] + off[:-1]) / 2))
            logdet = logdet + area[-1] - np.interp(np.log(wide), at, area)
        return self.counted(np.maximum(rss, ROUNDING * self.squares), size, freedom, logdet)

    def counted(self, rss: Any, size: Any, freedom: Any, logdet: Any) -> Fit:
        """Return fits of given sums."""
        spare, counts = self.left - freedom, (self.rows, self.rows - self.left, self.left)
        return Fit(rss, size, freedom, spare, logdet, *counts)

    def add(self, strengths: Sequence[float], probed: Sequence[bool], order: Any = None) -> None:
        """Compute fits at strengths in ascending order, some with random vectors.

        They are NaN if T + λI is not definite, or not near G.
        """
        self._known |= dict.fromkeys(strengths, np.full((4, len(self.squares)), np.nan))
        given = np.array(strengths)[:, None]
        first, inverses, logs = shifted(self.lags, given, self.places, order)
        count, enough = len(self.cross), 1e-12 * self.rss / self.rows
        each = [*zip(strengths[first:], probed[first:], inverses, logs, strict=True)]
        for strength, random, inverse, log in reversed(each):
            freedom = count - strength * inverse.diagonal.sum()
            try:
                run, _ = self.solved(strength, inverse, self.cross, enough)
            except Slow:
                return  # A smaller strength takes more steps.
            try:
                if random:
                    self._compare(inverse, strength, freedom)
            except Slow:
                continue
            fitted, size = (run.x * self.cross).sum(0), strength * np.square(run.x).sum(0)
            logdet = log.sum() + (len(self.lags) - len(log)) * log[-1] - count * math.log(strength)
            sums = self.squares - fitted - size, size, freedom, logdet
            self._known[strength] = np.stack(np.broadcast_arrays(*sums))

    def _compare(self, inverse: PredictorInverse, strength: float, freedom: float) -> None:
        """Estimate the degrees of freedom of G less those of T, by random vectors."""
        least = min(freedom, len(self.cross) - freedom)
        enough = np.full(PROBES, 0.003 * min(1.0, least) / strength)
        _, rest = self.solved(strength, inverse, self.probes, enough)
        if rest.std(ddof=1) * strength > SPREAD * least * math.sqrt(PROBES):
            raise Slow
        self._differences[math.log(strength)] = float(rest.mean()) * strength

    def solved(self, ridge: Any, inverse: Map, g: np.ndarray, enough: Any) -> tuple[Conjugate, Any]:
        """Solve (G + ridge)x = g by CG up to residuals with squares of ``enough`` (Q,).

        Returns:
            CG with the solution x (P, Q), and gᵀM⁻¹g − gᵀx (Q,).

        Raises:
            Slow: If this takes many steps.
        """
        run = Conjugate(partial(self.times, ridge), inverse, g)
        rest = run.squares
        for _ in range(MOST_STEPS):
            if not (active := run.squares > enough).any():
                return run, rest
            rest = rest - run.step(active)
        raise Slow

    def times(self, ridge: Any, v: np.ndarray) -> np.ndarray:
        """Return (G + ridge) v (P, Q) for a ridge that is a number or (P, 1)."""
        return self._product(v) + ridge * v


def search(scorer: Scorer) -> Chosen:
    """Search the strengths of least loss on a coarse and a fine lattice.

    The loss is a polynomial of degree six through seven strengths. A window of them moves until the
    minimum is inside.

    Raises:
        Slow: If conjugate gradients do not converge.
    """
    whole, steps, between = scorer.whole, np.arange(-3, 4), np.linspace(-3, 3, 2001)
    polynomial = np.vander(between, 7) @ np.linalg.inv(np.vander(steps, 7))
    coarse = whole.mean * 10.0**DECADES
    # A short predictor may not be close to G.
    first = len(coarse)
    for order in (ORDER, None):
        whole.add(coarse[:first].tolist(), [False] * first, order)
        losses = scorer.losses(table := scorer.table(coarse[:, None]))
        first = 1 + int(np.flatnonzero(~np.isfinite(losses).all(1)).max(initial=-1))
        best, done = first + np.argmin(losses[first:], 0), set[int]()
        if not first or (best > first + 1).all():
            break
    else:
        raise Slow
    whole.rss = np.maximum(whole.fit(coarse[best][None]).rss[0], ROUNDING * whole.squares)
    # Windows begin and end at multiples of three, which have random vectors.
    lattice = coarse[first] * 10.0 ** (FINE * np.arange(0, (len(coarse) - 1 - first) / FINE))
    centre = np.round((best - first) / (3 * FINE)).astype(int)
    for _ in range(WINDOWS):
        centre = np.clip(centre, 1, (len(lattice) - 4) // 3)
        places = 3 * centre + steps[:, None]
        new = sorted({*places.ravel().tolist()} - done)
        whole.add(lattice[new].tolist(), [at % 3 == 0 for at in new])
        values, done = scorer.losses(scorer.table(lattice[places])), done | {*new}
        off = between[np.argmin(polynomial @ (values - values.min(0)), 0)]
        if not np.isfinite(values).all():
            raise Slow
        if (abs(off) <= 2).all():
            break
        centre = centre + (np.sign(off) * (abs(off) > 2)).astype(int)
    found = lattice[places[3]] * 10 ** (FINE * off)
    row = scorer.table(found[None])
    table = np.concatenate([table[:, first:], scorer.table(lattice[sorted(done), None]), row], 1)
    return Chosen(by_strength(table), found, scorer.losses(row)[0], abs(off) >= 3)


class DecayingPrior:
    """The evidence of independent taps with precisions λ·exp(a·i) of tap i, of one output.

    log det (I + G Λ⁻¹) is Σ f_i(Λ_i), see `ToeplitzSpectrum.frozen`. Its error is nearly constant.

    Args:
        whole: the sums.
        lags: (K,), in taps and in the order of the kernel. λ is the strength at lag 0, and i = 0
            at the first lag.
        output: its number.

    Attributes:
        decay: a.
    """

    def __init__(self, whole: ToeplitzSpectrum, lags: np.ndarray, output: int) -> None:
        self._whole, self._first, self._centre, self.decay = whole, lags.min(), 0.0, 0.0
        self._levels, self._inverses, self._spline = whole.frozen
        self._taps, self._channels = np.round(lags - self._first).astype(int), whole.lags.shape[1]
        self._cross, self._squares = whole.cross[:, [output]], float(whole.squares[output])
        # The solution of the last fit, its S, and the sums by strength.
        self._w, self._s = 0.0 * self._cross, self._squares
        self._known = dict[float, Any]()

    def _logdet(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return f_i of the logarithms of the precisions, and their derivatives."""
        inside = np.minimum(level, self._levels[-1])
        j = np.clip(np.searchsorted(self._levels, inside) - 1, 0, len(self._levels) - 2)
        c, d = self._spline[:, j, self._taps], inside - self._levels[j]
        f = (((c[0] * d + c[1]) * d + c[2]) * d + c[3]) * np.exp(inside - level)
        return f, np.where(level > inside, -f, (3 * c[0] * d + 2 * c[1]) * d + c[2])

    def _sums(self, log_strength: float, share: float) -> tuple[tuple[Any, ...], np.ndarray]:
        """Return the sums of a fit, and derivatives of the evidence with respect to log λ and a.

        CG begins at the last solution and stops when S has an error of ``share``·S/m.
        """
        whole = self._whole
        level = np.minimum(log_strength + self.decay * self._taps, math.log(whole.mean) + REACH)
        of_column, (f, slope) = np.repeat(level, self._channels), self._logdet(level)
        self._precision = precision = np.exp(of_column)[:, None]
        self._inverse = inverse = FrozenInverse(self._levels[::2], self._inverses, of_column)
        left = self._cross - whole.times(precision, self._w)
        run, _ = whole.solved(precision, inverse, left, np.array([share * self._s / whole.left]))
        self._w = self._w + run.x
        self._s = float(self._squares - (self._w * (self._cross + run.r)).sum())
        if not self._s > ROUNDING * self._squares:
            raise Slow
        pull = (precision * self._w**2).reshape(len(level), -1).sum(1)
        each = whole.left / self._s * pull + slope
        sums = self._s - pull.sum(), pull.sum(), -slope.sum(), f.sum()
        return sums, np.array([each.sum(), self._taps @ each])

    def fit(self, strengths: np.ndarray) -> Fit:
        """Return the fits at strengths (n, 1), which are computed once."""
        for s in (some := strengths[:, 0].tolist()):
            at_first = math.log(s) + self.decay * self._first
            self._known[s] = self._known.get(s) or self._sums(at_first, ROUGH)[0]
        return self._whole.counted(*np.array([self._known[s] for s in some]).T[:, :, None])

    def smooth(self, strength: float) -> bool:
        """Return whether the evidence grows with a correlation of neighbouring taps.

        Its derivative is 2 Σ E[z_i z_{i+1}] for the taps z in units of the prior, given y. Their
        covariance is I − B, and two random vectors v have Σ B_{i,i+1}. In simulations, the sum was
        below 0.05 of the degrees of freedom for rough kernels, and above 0.1 for most smooth ones.
        """
        whole, c, v = self._whole, self._channels, self._whole.probes[:, :2]
        root = np.sqrt(self._precision)
        run, _ = whole.solved(self._precision, self._inverse, root * v, np.full(2, 0.01))
        z, b = math.sqrt(whole.left / self._s) * root * self._w, (v - root * run.x) / 2
        freedom = self._known[strength][2]
        score = (z[c:] * z[:-c]).sum() - (v[:-c] * b[c:]).sum()
        return bool(score > max(SIMILAR * freedom, 2 * math.sqrt(freedom)))

    def search(self, decay: float | None) -> tuple[float, bool]:
        """Set a, which a ``decay`` may give, and return λ and whether one is at its bound.

        Several values of a, each with a strength at a fixed point, are improved by L-BFGS-B.
        """
        from scipy.optimize import minimize

        def value(place: np.ndarray, share: float) -> tuple[float, np.ndarray, Any]:
            self.decay, centre = math.exp(place[1]), self._centre
            sums, (first, last) = self._sums(place[0] - self.decay * centre, share)
            gradient = np.array([first, self.decay * (last - centre * first)])
            return float(evidence(fit := self._whole.counted(*sums))), gradient, fit

        ends, taps = self._levels[[0, -1]], len(self._taps)
        bounds = np.array([ends, np.log([0.01 / taps, 300 / taps])])
        starts = np.log(DECAYS) - math.log(taps)
        if decay is not None:
            bounds[1] = starts = np.full(2, math.log(-math.log(decay)))
        place: Any = np.full(2, math.log(1e-4 * self._whole.mean))
        tried: list[Any] = []
        for place[1] in starts:
            for _ in range(ROUNDS):
                loss, _, fit = value(place, ROUGH)
                tried.append((loss, *place))
                power = max(fit.size * fit.left, TINY) / (fit.rss + fit.size)
                before, change = place[0], math.log(max(fit.freedom, 1e-3) / power)
                place[0] = np.clip(before + change, ends[0], ends[1] - 1)
                if abs(place[0] - before) < 0.3:
                    break
        _, *start = min(tried)
        self.decay = math.exp(start[1])
        # Coordinates in which curvatures are about one: the tap of λ is the mean over degrees of
        # freedom, which a does not change there.
        own = -self._logdet(start[0] + self.decay * self._taps)[1]
        self._centre = own @ self._taps / (whole := max(own.sum(), 1.0))
        spread = math.sqrt(max(own @ (self._taps - self._centre) ** 2, 1.0) / whole)
        unit = math.sqrt(whole / 2) * np.array([1.0, self.decay * spread])
        moved = np.array([self.decay * self._centre, 0.0])
        bounds = (bounds + moved[:, None]) * unit[:, None]

        def scaled(t: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient, _ = value(t / unit, PRECISE)
            return loss, gradient / unit

        given: Any = {"method": "L-BFGS-B", "options": {"maxiter": 25, "gtol": 0.05, "ftol": 1e-12}}
        found = minimize(scaled, (start + moved) * unit, jac=True, bounds=bounds, **given).x
        place = found / unit
        self.decay = math.exp(place[1])
        at_first = place[0] - self.decay * self._centre
        strength = math.exp(at_first - self.decay * self._first)
        self._known[strength] = self._sums(at_first, PRECISE)[0]
        near = (np.abs(found[:, None] - bounds) < 1e-4) & (bounds[:, :1] < bounds[:, 1:])
        return strength, bool(near.any())


def choose(
    analysis: Analysis, penalty: Penalty, grid: Any, select: Any, one: bool
) -> tuple[Regularization, list[tuple[Penalty, float]]]:
    """Select the strength of every output, or ``one`` for all, and the decay of a prior.

    Returns:
        The selection, and the penalty and strength of every output.

    Raises:
        Slow: If T is not close to G, so that the Gram matrix is needed.
    """
    scoring, parts, pairs = Scoring(analysis, select, one), list[Regularization](), list[Any]()
    units, design, form = scoring.units, analysis.design, penalty.form

    def add(exponents: np.ndarray, scorer: Scorer, chosen: Chosen) -> None:
        found = described(units.to_user, exponents, form, scorer, chosen)
        parts.append(replace(found, hyperparameters={n: getattr(form, n) for n in penalty.open}))
        pairs.extend((form, strength) for strength in found.strength.tolist())

    several = zip(units.outputs, scoring.varies, scoring.grids(grid), strict=True)
    for group, (exponents, varies, given) in enumerate(several):
        whole: Any = ToeplitzSpectrum(analysis, group, units)
        if not isinstance(penalty, StableSpline):
            scorer = Scorer(select, whole, varies, one)
            chosen = search(scorer) if given is None else choose_strengths(scorer, given)
            add(exponents, scorer, chosen)
            continue
        sizes, lags = design.sizes, design.tap_lags[0]
        few = sizes.rows < ROWS_OF_PRIOR * sizes.unknowns and sizes.unknowns <= EXACT_PRIOR
        other = given is not None or lags.min() < 0 or design.space or (one and len(varies) > 1)
        if few or other or not varies.all():
            raise Slow
        for o in range(len(varies)):
            own = DecayingPrior(whole, lags, o)
            strength, edge = own.search(penalty.decay)
            if penalty.correlation is None and own.smooth(strength):
                warn(WORDS)
            scorer = Scorer(select, own, varies[[o]])
            chosen = choose_strengths(scorer, strength * ALONG[4:13:2, None])
            chosen = chosen._replace(strengths=np.array([strength]), at_edge=np.array([edge]))
            form = replace(penalty, decay=math.exp(-own.decay), correlation=0.0)
            add(exponents[[o]], scorer, chosen)
    return join(parts), pairs
