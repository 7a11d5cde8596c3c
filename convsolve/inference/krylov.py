"""Cross-validation of a penalty's strength for thousands of unknowns, without a Gram matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.normal_operator import Normal
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import Regression
from ..leastsquares.system import System
from ..linalg.rank import EPS
from ..linalg.tridiagonal import tridiagonal_solve
from ..operators.prediction import predicted
from ..progress import tracked
from .folds import CrossValidation, beside, cut, no_score, part, scored
from .own_score import check_scored, value_of
from .regularization import Regularization, StrengthScores
from .selection import strength_grids
from .strength_path import FreeCoordinates
from .units import CommonUnits

# A strength has converged when its gradient is at most this share of the first one.
CONVERGED = 1e-7
# Exponents (base 10) of the smallest and largest strength, divided by the square of the largest
# column norm. The grid has two strengths per decade.
LEAST, MOST = -6.0, 4.0
# Largest number of Lanczos steps, and the number of steps between checks of convergence.
MOST_STEPS, A_CHECK = 600, 20


class KrylovPath:
    """Solutions (B + λ I)⁻¹c for every λ, from one Krylov space: B ≈ V T Vᵀ with T tridiagonal.

    Large strengths converge first. The basis is stored and every step is orthogonalized against all
    of it, because otherwise small eigenvalues occur twice.

    Attributes:
        converged: whether each strength has converged, (n,).

    Source: G. H. Golub and G. Meurant, Matrices, Moments and Quadrature, Princeton 2010, chapter 4.
    """

    def __init__(
        self, product: Callable[[np.ndarray], np.ndarray], start: np.ndarray, strengths: np.ndarray
    ) -> None:
        self._length = float(np.linalg.norm(start))
        self._strengths = strengths
        self.converged = np.full(len(strengths), not self._length)
        basis = np.empty((A_CHECK, len(start)))
        basis[0] = start / (self._length or 1.0)
        diagonal: list[float] = []
        beside: list[float] = []
        while not self.converged.all() and len(diagonal) < min(MOST_STEPS, len(start)):
            step = len(diagonal) + 1
            v, known = product(basis[step - 1][:, None])[:, 0], basis[:step]
            diagonal.append(float(v @ known[-1]))
            for _ in range(2):
                v = v - known.T @ (known @ v)
            beside.append(float(np.linalg.norm(v)))
            if beside[-1] <= EPS * max(diagonal) * len(start):
                self.converged[:] = True
                break
            if step % A_CHECK == 0:
                self._check(np.array(diagonal), np.array(beside))
                basis = np.concatenate([basis, np.empty((step, len(start)))])[: 2 * step]
            basis[step] = v / beside[-1]
        self._basis = basis[: len(diagonal)]
        self._diagonal, self._beside = np.array(diagonal), np.array(beside[: len(diagonal) - 1])

    def _check(self, diagonal: np.ndarray, beside: np.ndarray) -> None:
        first = np.eye(len(diagonal), 1)
        for i, strength in enumerate(self._strengths):
            u = tridiagonal_solve(diagonal + strength, beside[:-1], first)
            self.converged[i] = beside[-1] * abs(u[-1, 0]) <= CONVERGED

    @property
    def coordinates(self) -> np.ndarray:
        """Solutions z (r, n)."""
        size = len(self._diagonal)
        if not size:
            return np.zeros((self._basis.shape[1], len(self._strengths)))
        first = self._length * np.eye(size, 1)
        parts = [
            tridiagonal_solve(self._diagonal + s, self._beside, first) for s in self._strengths
        ]
        return self._basis.T @ np.hstack(parts)


class Reduced:
    """The normal equations (B, c) of the penalized coordinates of one group, with equal weights.

    The unknowns are √weights·z. Coordinates that are not penalized are eliminated, as in
    `StrengthPath`: B = G_hh − G_hf G_ff⁺ G_fh for penalized (h) and free (f) coordinates. All
    columns have the unit 2**unit.
    """

    def __init__(self, system: System, group: int, unit: int) -> None:
        self._normal = Normal(system, group)
        weights = system.coordinates.weights[group]
        self._free = weights == 0
        root = np.where(self._free, 1.0, 1 / np.sqrt(np.where(self._free, 1.0, weights)))
        power = system.scaling.exponents[group] - np.frexp(self._normal.stretch[:, 0])[1] + 1
        self._scale = np.ldexp(root, power - unit)[:, None]
        self._to_columns = np.ldexp(root, system.columns.exponents[group] - unit)[:, None]
        free = np.eye(len(weights))[:, self._free]
        rows = (self._gram(free) if free.size else free).T
        given = rows[:, self._free], rows[:, ~self._free]
        self._eliminated = FreeCoordinates(self._free, *given)

    def _gram(self, v: np.ndarray) -> np.ndarray:
        return self._scale * self._normal.product(self._scale * v)

    def product(self, v: np.ndarray) -> np.ndarray:
        """Return B v for v (h, 1)."""
        whole = np.zeros((len(self._free), 1))
        whole[~self._free] = v
        return self._eliminated.eliminated(self._gram(whole))

    def kernels(self, gradient: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates (R, n) at ``strengths`` (n,), given Aᵀy (R,), and which converged.

        Both are in the units of the columns of A T.
        """
        cross = self._to_columns * gradient[:, None]
        path = KrylovPath(self.product, self._eliminated.eliminated(cross)[:, 0], strengths)
        found = self._eliminated.completed(path.coordinates, cross[self._free])
        return self._to_columns * found, path.converged


def choose_by_krylov(
    analysis: Analysis, penalty: Penalty, strength: np.ndarray | None, select: CrossValidation
) -> tuple[Regularization, list[tuple[Penalty, float]]]:
    """Choose the strengths of a grid with the best held-out score.

    Degrees of freedom and noise variances are NaN, because they require the spectrum.

    Raises:
        SolveError: If no strength of the grid converges in `MOST_STEPS` steps.
    """
    assert analysis.targets is not None
    exponents = analysis.targets.grouped(analysis.targets.exponents)
    units = CommonUnits(analysis.design.matrix.exponents, exponents)
    if strength is None:
        grids = _automatic_grids(analysis.unpenalized(penalty), units)
    else:
        grids = np.stack([g for g in strength_grids(strength, units) if g is not None])
    # One grid for every output, in the order of the groups.
    wide = np.broadcast_to(grids, (*grids.shape[:2], exponents.shape[1]))
    grid = wide.transpose(1, 0, 2).reshape(-1, exponents.size)
    by_fold = held_out_scores(analysis, penalty, grid, units, select)
    scores = by_fold.mean(0)
    losses = np.nan_to_num(scores if select.score == "mse" else -scores, nan=np.inf)
    if np.isinf(losses).all(0).any():
        raise SolveError(f"no strength was found in {MOST_STEPS} steps; give larger ones")
    best, outputs = losses.argmin(0), np.arange(exponents.size)
    at_edge = np.isinf(np.pad(losses, ((1, 1), (0, 0)), constant_values=np.inf))
    edge = at_edge[best, outputs] | at_edge[best + 2, outputs]
    grid, unknown = units.to_user(grid), np.full(scores.shape, np.nan)
    found = Regularization(
        penalty.title,
        grid[best, outputs],
        {},
        unknown[0],
        unknown[0],
        select.criterion if len(grid) > 1 else "given",
        scores[best, outputs] if len(grid) > 1 else unknown[0],
        StrengthScores(grid, scores, unknown, by_fold) if len(grid) > 1 else None,
        edge & (len(grid) > 1),
    )
    return found, [(penalty, value) for value in found.strength.tolist()]


def _automatic_grids(system: System, units: CommonUnits) -> np.ndarray:
    """Return strengths (G, n, 1) relative to the square of the largest column of each group."""
    columns, weights = system.columns, system.coordinates.weights
    norms = np.ldexp(columns.norms, columns.exponents - units.column)
    squares = np.where(weights > 0, norms**2 / np.where(weights > 0, weights, 1.0), 0.0)
    largest = squares.max(1)[:, None, None]
    steps = np.logspace(LEAST, MOST, int(2 * (MOST - LEAST)) + 1)[:, None]
    return np.where(largest > 0, largest, 1.0) * steps


def held_out_scores(
    analysis: Analysis,
    penalty: Penalty,
    strengths: np.ndarray,
    units: CommonUnits,
    select: CrossValidation,
) -> np.ndarray:
    """Return scores (folds, n, Cout) at ``strengths`` (n, Cout), which are in ``units``.

    Scores are NaN for strengths that did not converge.

    Raises:
        ValueError: If y is constant in a fold and the score requires that it varies.
    """
    design = analysis.design
    assert analysis.targets is not None
    y, groups = analysis.targets.records, design.spec.groups
    spans, joined = select.spans(design.adjustments.kept), select.joined
    scores = np.empty((len(spans.folds), *strengths.shape))
    rows_of = [
        joined([y[j][a:b].reshape(-1, y[j].shape[-1]) for j, a, b in held]) for held in spans.folds
    ]
    if select.score in ("r2", "correlation"):
        for i, truths in enumerate(rows_of):
            if any((np.ptp(truth, axis=0) == 0).any() for truth in truths):
                raise ValueError(no_score(i, select))
    for i, truths in enumerate(tracked(rows_of, "held-out rows, by fold", len(rows_of))):
        records, rest = (design.records, y), beside(spans.folds, i, spans.rest)
        x_held, _ = cut(design.spec, *records, spans.folds[i])
        trained = Analysis.of(part(design, records, rest), design.sizes.limits)
        for some, kernels, biases, good in _kernels(trained, penalty, strengths, units):
            found = predicted(x_held, kernels, biases, design.spec._normal)
            parts = joined([p.reshape(-1, groups, len(strengths)) for p in found])
            for g, q in enumerate(some):
                pairs = zip(truths, parts, strict=True)
                several = [_scored(b[:, q].astype(float), p[:, g], select.score) for b, p in pairs]
                means = np.mean(several, axis=0)
                if select.own and good[g].any():
                    check_scored(select.score, means[good[g], None])
                scores[i, :, q] = np.where(good[g], means, np.nan)
    return scores


def _kernels(
    analysis: Analysis, penalty: Penalty, strengths: np.ndarray, units: CommonUnits
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the solutions at all strengths, for one output of every group at a time.

    Each item is the outputs (G,), their kernels (*K, Cg, G·n) and biases (G·n,), and which of the
    strengths converged, (G, n).
    """
    system = analysis.unpenalized(penalty)
    columns, targets = system.columns, analysis.targets
    assert targets is not None
    reduced = [Reduced(system, g, units.column) for g in range(targets.groups)]
    places = np.arange(targets.exponents.size).reshape(targets.groups, -1).T
    for some in tracked(places, "outputs", len(places)):
        one = analysis.with_outputs(tuple(b[..., some] for b in targets.records)).targets
        assert one is not None
        zero = np.zeros((targets.groups, columns.count, 1))
        gradient = columns.residual(zero, one)[1][:, :, 0]
        each = [
            equations.kernels(g, strengths[:, q])
            for equations, g, q in zip(reduced, gradient, some, strict=True)
        ]
        v = np.stack([v for v, _ in each])
        kernels, biases = Regression(system, one).from_columns(v)
        yield some, kernels, biases, np.stack([good for _, good in each])


def _scored(y: np.ndarray, found: np.ndarray, score: Any) -> np.ndarray:
    """Return scores (n,) of predictions (rows, n) of y (rows,)."""
    if callable(score):
        return np.array([value_of(score, y, prediction) for prediction in found.T])
    centred = y - y.mean()
    if score != "correlation":
        errors = ((y[:, None] - found) ** 2).sum(0)
        return scored(score, errors, len(y), centred @ centred)
    about = found - found.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(centred @ about / np.sqrt(centred @ centred * (about**2).sum(0)))
