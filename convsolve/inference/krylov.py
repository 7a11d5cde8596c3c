"""Cross-validation of a strength for thousands of unknowns, where no Gram is formed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import Design
from ..leastsquares.normal_operator import normal_equations
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import Regression
from ..linalg.rank import EPS
from ..linalg.tridiagonal import tridiagonal_solve
from ..operators.fourier import predicted
from .folds import CrossValidation, beside, cut, no_score, part
from .regularization import Regularization, StrengthScores

# Of a strength the gradient that is left over, as a share of the first, that ends its search.
CONVERGED = 1e-7
# The grid of strengths over the square of the largest column, in powers of ten, two a decade.
LEAST, MOST = -6.0, 4.0
# Steps of Lanczos at most, and after how many it is asked which strengths are done.
MOST_STEPS, A_CHECK = 600, 20


class KrylovPath:
    """(B + λ I)⁻¹c for every λ, from one Krylov space of B and c: B ≈ V T Vᵀ, T tridiagonal.

    Large strengths are found first; ``converged`` (n,) says which are. The basis is kept and made
    orthogonal anew at every step, or small eigenvalues would be found twice.

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
        """z (r, n)."""
        size = len(self._diagonal)
        if not size:
            return np.zeros((self._basis.shape[1], len(self._strengths)))
        first = self._length * np.eye(size, 1)
        parts = [
            tridiagonal_solve(self._diagonal + s, self._beside, first) for s in self._strengths
        ]
        return self._basis.T @ np.hstack(parts)


def choose_by_krylov(
    analysis: Analysis, penalty: Penalty, strength: np.ndarray | None, select: CrossValidation
) -> tuple[Regularization, list[tuple[Penalty, float]]]:
    """The strengths of best held-out score, of a grid for all outputs; what takes the spectrum,
    degrees of freedom and noise variance, is NaN.

    Raises:
        SolveError: no strength of the grid is found in `MOST_STEPS` steps, or the penalty leaves
            part of the kernel free.
        ValueError: strengths output by output.
    """
    system = analysis.unpenalized(penalty)
    if not system.coordinates.uniform or system.operator.groups > 1:
        raise SolveError(
            f"a strength for {system.operator.columns} unknowns is chosen for one group and a "
            "penalty that leaves nothing free; give a strength"
        )
    outputs = analysis.design.kernel_shape[-1]
    if strength is None:
        largest = float(np.ldexp(system.operator.column_norms, system.operator.exponents).max())
        grid = (largest or 1.0) ** 2 * np.logspace(LEAST, MOST, int(2 * (MOST - LEAST)) + 1)
    elif strength.ndim == 2 and strength.shape[1] > 1:
        raise ValueError(f"strength has shape {strength.shape}; of so many unknowns give one grid")
    elif strength.ndim == 1 and len(strength) == outputs > 1:
        raise ValueError(
            f"strength has {outputs} numbers, as many as there are outputs: shape ({outputs}, 1) "
            "says that all choose from them"
        )
    else:
        grid = np.sort(strength.reshape(-1))
    check_varying_rows(analysis, select)
    by_fold = held_out_scores(analysis, penalty, grid, select)
    scores = by_fold.mean(0)
    losses = np.nan_to_num(scores if select.score == "mse" else -scores, nan=np.inf)
    if np.isinf(losses).all(0).any():
        raise SolveError(f"no strength was found in {MOST_STEPS} steps; give larger ones")
    best = losses.argmin(0)
    at_edge = np.isinf(np.pad(losses, ((1, 1), (0, 0)), constant_values=np.inf))
    edge = at_edge[best, np.arange(len(best))] | at_edge[best + 2, np.arange(len(best))]
    unknown = np.full(scores.shape, np.nan)
    told = Regularization(
        penalty.title,
        grid[best],
        {},
        unknown[0],
        unknown[0],
        select.score if len(grid) > 1 else "given",
        StrengthScores(np.tile(grid[:, None], len(best)), scores, unknown, by_fold),
        edge & (len(grid) > 1),
    )
    return told, [(penalty, value) for value in grid[best].tolist()]


def check_varying_rows(analysis: Analysis, select: CrossValidation) -> None:
    """Raise a ValueError where y of a fold does not vary, and the score takes that it does."""
    assert analysis.targets is not None
    if select.score == "mse":
        return
    y = analysis.targets.records
    parts, _ = select.spans(analysis.design.inputs.kept.lengths)
    for i, spans in enumerate(parts):
        rows = np.concatenate([y[j][a:b].reshape(-1, y[j].shape[-1]) for j, a, b in spans])
        if (np.ptp(rows, axis=0) == 0).any():
            raise ValueError(no_score(i, select.score))


def held_out_scores(
    analysis: Analysis, penalty: Penalty, strengths: np.ndarray, select: CrossValidation
) -> np.ndarray:
    """Scores (folds, n, Q) at ``strengths`` (n,) in the user's units, of one group; NaN where steps
    were too few for so small a strength.
    """
    design = analysis.design
    assert analysis.targets is not None
    y = analysis.targets.records
    parts, always = select.spans(design.inputs.kept.lengths)
    scores = np.empty((len(parts), len(strengths), y[0].shape[-1]))
    for i, held in enumerate(parts):
        records, rest = (design.inputs.records, y), beside(parts, i, always)
        others = part(design.spec, records, rest, design.nuisance.constant, design.lags)
        trained = Analysis.of(others, design.sizes.limits)
        x_held, y_held = cut(design.spec, design.inputs.records, y, held)
        truth = np.concatenate([b.reshape(-1, b.shape[-1]) for b in y_held]).astype(float)
        for q, (kernels, biases, good) in enumerate(_kernels(trained, penalty, strengths, design)):
            found = predicted(
                [a.astype(float) for a in x_held], kernels, biases, design.spec.normal
            )
            rows = np.concatenate([p.reshape(-1, len(strengths)) for p in found])
            scores[i, :, q] = np.where(good, _scored(truth[:, q], rows, select.score), np.nan)
    return scores


def _kernels(
    analysis: Analysis, penalty: Penalty, strengths: np.ndarray, like: Design
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For every output kernels (*K, C, n) and biases (n,) at all strengths, and which are right."""
    system = analysis.unpenalized(penalty)
    (normal,) = normal_equations(system)
    assert analysis.targets is not None
    # The columns of the normal equations times this are alike in unit, as a strength takes them.
    power = system.scaling.exponents[0] - np.frexp(normal.stretch[:, 0])[1] + 1
    unit = int(power.max())
    scale = np.ldexp(1.0, power - unit)[:, None]
    seen = np.ldexp(strengths, -2 * unit)
    found = []
    for q in range(like.kernel_shape[-1]):
        one = analysis.with_outputs(tuple(b[..., q : q + 1] for b in analysis.targets.records))
        assert one.targets is not None
        regression = Regression(system, one.targets)
        operator = regression.operator
        _, gradient = operator.residual(np.zeros((1, operator.columns, 1)), one.targets)
        to_operator = operator.exponents[0][:, None] - unit
        start = np.ldexp(gradient[0], to_operator)[:, 0]
        path = KrylovPath(lambda v: scale * normal.product(scale * v), start, seen)
        v = np.ldexp(path.coordinates, to_operator)
        found.append((*regression.from_operator(v[None]), path.converged))
    return found


def _scored(y: np.ndarray, found: np.ndarray, score: str) -> np.ndarray:
    """Of predictions (rows, n) of y (rows,)."""
    errors, centred = ((y[:, None] - found) ** 2).sum(0), y - y.mean()
    if score == "mse":
        return np.asarray(errors / len(y))
    squares = centred @ centred
    with np.errstate(divide="ignore", invalid="ignore"):
        if score == "r2":
            return np.asarray(1 - errors / squares)
        about = found - found.mean(0)
        return np.asarray(centred @ about / np.sqrt(squares * (about**2).sum(0)))
