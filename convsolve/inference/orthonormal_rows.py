"""Rows of the design matrix, the nuisance columns and a penalty, with orthonormal columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import Regression
from ..linalg.factor import Factor
from ..linalg.rank import EPS
from ..progress import tracked

# A residual of less than this share of y, and of what its fit is made of, is rounding.
ROUNDING = 100 * EPS
# A relative error of a weighted Gram that changes nothing but the length of the way to an answer.
GRAM_ERROR = 1e-9


class OrthonormalRows:
    """B (n, k) = [M A T  N] H of one group, with the nuisance columns N of a bias and of confounds.

    T are the coordinates of a penalty, the identity without one. The penalty adds rows √strength·z
    below the rows of the data, with targets of zero.

    Rows are multiplied by the roots of their weights. N is orthonormal, and M A is A with N
    projected out. For squares M A is enough, but other losses also need N. H comes from a factor of
    M A, so BᵀB = I to the accuracy of this factor, and a projection takes two passes over the data.
    If A is rank-deficient, B has as many columns as the rank of A, and kernels are those of minimum
    norm with the same outputs.

    A large B is never formed. A small one is formed, for speed. Its rounding error times the
    condition number of A amounts to a change of the data, so certificates use `from_data`.
    """

    def __init__(
        self, regression: Regression, group: int, factor: Factor, kept_numbers: int
    ) -> None:
        """Store a group of a regression, with the factor of its rows.

        Args:
            regression: the regression.
            group: the group.
            factor: the factor of M A T and of the rows of the penalty.
            kept_numbers: the largest number of elements for which B is formed.
        """
        matrix = regression.matrix
        self._matrix, self._group, self.rows = matrix, group, matrix.rows
        self._nuisance = matrix.nuisance_columns
        # The norm of the constant that the last column is a multiple of, or 0.
        self._constant_norm = matrix.plan.norm if matrix.plan.centred else 0.0
        columns, scaling = regression.system.columns, regression.scaling
        half = factor.whitened(np.eye(columns.count)).T
        self.unknowns = half.shape[1] + self._nuisance.shape[1]
        # H in columns of A T, in columns of A, and scaled to a norm of about one.
        own = np.ldexp(half, -scaling.relative[group][:, None])
        self._coordinates = self._with_nuisance(own)
        self._h = self._coordinates
        if not columns.t.identity:
            self._h = self._with_nuisance(columns.expand(own[None], slice(group, group + 1))[0])
        self._scaled = np.pad(half, ((0, 0), (0, self._nuisance.shape[1])))
        roots = scaling.root_ridge[group]
        self._penalty = roots[roots > 0, None] * self._scaled[roots > 0]
        self.length = self.rows + len(self._penalty)
        self._a_norm = float(regression.scaling.a_norm[group, 0])
        condition = self._a_norm * float(np.linalg.norm(half))
        self._well_conditioned = condition**2 * EPS <= GRAM_ERROR
        self._kept: np.ndarray | None = None
        if self.rows * self.unknowns <= kept_numbers and self.unknowns:
            self._kept = np.concatenate([*self.blocks()])

    def _with_nuisance(self, kernels: np.ndarray) -> np.ndarray:
        """Return kernels (m, k) with rows and columns of the identity for N."""
        (rows, columns), count = kernels.shape, self._nuisance.shape[1]
        found = np.zeros((rows + count, columns + count))
        found[:rows, :columns], found[rows:, columns:] = kernels, np.eye(count)
        return found

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Return y (rows,) of the data with the zeros of the penalty, (n,)."""
        return np.concatenate([y, np.zeros(len(self._penalty))])

    def limits(self, threshold: float) -> float | np.ndarray:
        """Return the largest residual of a quadratic loss in every row: inf for the penalty."""
        if not len(self._penalty):
            return threshold
        return np.repeat([threshold, np.inf], [self.rows, len(self._penalty)])

    def least_squares(self, y: np.ndarray) -> np.ndarray:
        """Return argmin ‖y − B z‖ (k,), refined once."""
        return self.adjoint(y) + self.adjoint(self.residual(y))

    def from_data(self) -> OrthonormalRows:
        """Return the same rows, whose products are computed from the data."""
        found = copy(self)
        found._kept = None
        return found

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Return B z (n,) or (n, m), for z (k,) or (k, m)."""
        if self._kept is not None:
            return np.asarray(self._kept @ z)
        wide = z.reshape(len(z), math.prod(z.shape[1:]))
        kernel, of_nuisance = np.split(self._h @ wide, [self._matrix.columns])
        found = self._matrix.forward(self._group, kernel)
        if self._nuisance.shape[1]:
            found = found + self._nuisance @ of_nuisance
        found = np.concatenate([found, self._penalty @ wide]) if len(self._penalty) else found
        return np.asarray(found, float).reshape(self.length, *z.shape[1:])

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        """Return Bᵀr (k,) or (k, m), for r (n,) or (n, m)."""
        if self._kept is not None:
            return np.asarray(self._kept.T @ r)
        wide, below = np.split(r.reshape(len(r), math.prod(r.shape[1:])), [self.rows])
        parts = self._matrix.adjoint(self._group, wide), self._nuisance.T @ wide
        found = self._h.T @ np.concatenate(parts)
        found = found + self._penalty.T @ below if len(self._penalty) else found
        return np.asarray(found).reshape(self.unknowns, *r.shape[1:])

    def residual(self, r: np.ndarray) -> np.ndarray:
        """Return r − B Bᵀr, of the shape of r."""
        return r - self.forward(self.adjoint(r))

    def kernel(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates (R,) in columns of A T, and the coefficients (q,) of N."""
        found = self._coordinates @ z
        last = len(found) - self._nuisance.shape[1]
        return found[:last], found[last:]

    def constant(self, of_nuisance: np.ndarray) -> float:
        """Return the bias for coefficients (q,) of N, or 0 if there is none."""
        return float(of_nuisance[-1]) / self._constant_norm if self._constant_norm else 0.0

    def rounding(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the largest |y − B z| (n,) of a row that is rounding.

        It is relative to y in this row, or in a typical row that is not zero, since outliers are
        large by themselves.
        """
        terms = self._a_norm * float(np.linalg.norm(self._scaled @ z)) / math.sqrt(self.rows)
        size = np.abs(y)
        typical = float(np.median(size[size > 0])) if size.any() else 0.0
        return np.asarray(ROUNDING * (np.maximum(size, typical) + terms))

    def is_exact(self, y: np.ndarray, z: np.ndarray) -> bool:
        """Return whether the residual is rounding in every row."""
        return bool((np.abs(y - self.forward(z)) <= self.rounding(y, z)).all())

    def _formed(self, factors: np.ndarray) -> Iterator[np.ndarray]:
        """Yield blocks of rows of [M A  N] (m, P + q), each row times its factor (n,)."""
        first, columns, q = 0, self._matrix.columns, self._nuisance.shape[1]
        for a, _ in self._matrix.row_blocks():
            last = first + a.shape[1]
            own = factors[first:last, None]
            rows = np.empty((len(own), len(self._h)))
            np.multiply(a[self._group], own, out=rows[:, :columns])
            if q:
                rows[:, columns:] = own * self._nuisance[first:last].toarray()
            yield rows
            first = last

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield blocks of rows of B (m, k)."""
        if self._kept is not None:
            yield self._kept
            return
        for rows in self._formed(np.ones(self.rows)):
            yield rows @ self._h
        if len(self._penalty):
            yield self._penalty

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Return Bᵀ diag(weights) B (k, k), for weights (n,) that are not negative."""
        roots = np.sqrt(weights)
        if self._kept is not None:
            return _gram([self._kept * roots[:, None]], self.unknowns)
        below = self._penalty * roots[self.rows :, None]
        if not self._well_conditioned:
            rows = (rows @ self._h for rows in self._formed(roots))
            return _gram(chain(rows, [below] if len(below) else []), self.unknowns)
        # Multiply the sum by H instead of every row, which takes a third of the operations.
        found = self._h.T @ _gram(self._formed(roots), len(self._h)) @ self._h
        return np.asarray(found + below.T @ below if len(below) else found)

    def some(self, which: np.ndarray) -> np.ndarray:
        """Return the rows (m, k) of B with the indices ``which`` (m,)."""
        found, first = np.empty((len(which), self.unknowns)), 0
        for b in self.blocks():
            mine = (which >= first) & (which < first + len(b))
            found[mine] = b[which[mine] - first]
            first += len(b)
        return found


def _gram(blocks: Iterable[np.ndarray], columns: int) -> np.ndarray:
    """Return the sum of rowᵀrow (columns, columns) over rows (m, columns) of all blocks."""
    from scipy.linalg.blas import dsyrk

    total = np.zeros((columns, columns), order="F")
    for rows in blocks:
        # The lower triangle takes half the time. rowsᵀ is in column order as rows is in row order.
        total = dsyrk(1.0, rows.T, beta=1.0, c=total, lower=1, overwrite_c=1)
    return total + np.tril(total, -1).T


class ByOutput(NamedTuple):
    """Kernel, bias and confounds of a fit for every output, in the user's units.

    Attributes:
        kernel: (*K, Cin/groups, Cout).
        bias: (Cout,).
        confound_fit: (q, Cout), coefficients of the nuisance columns that are added to those of
            least squares; None without confounds.
    """

    kernel: np.ndarray
    bias: np.ndarray
    confound_fit: np.ndarray | None


def by_output(
    analysis: Analysis,
    terms: Sequence[tuple[Penalty, float]],
    fit: Callable[[OrthonormalRows, np.ndarray, int], tuple[np.ndarray, Any]],
) -> tuple[ByOutput, list[Any]]:
    """Fit every output with ``fit`` (rows, y, exponent) → (z, facts), and return the result.

    y (n,) is one output, in units of two to the power of its exponent. With a bias alone, its
    median is subtracted. This removes an offset and, unlike the mean, does not depend on outliers.

    Args:
        analysis: the analysis of the problem.
        terms: penalty without strength and strength of every output.
        fit: the method.

    Returns:
        The solution, and the facts of every output.

    Raises:
        SolveError: If a factor exceeds the memory limit.
    """
    parts: list[ByOutput] = []
    facts: dict[int, Any] = {}
    for pair in dict.fromkeys(terms):
        wanted = np.array([pair == other for other in terms])
        part, found = _of_pair(analysis.regression(*pair), fit, wanted)
        parts.append(part)
        facts.update(zip(np.flatnonzero(wanted).tolist(), found, strict=True))
    extra = [part.confound_fit for part in parts if part.confound_fit is not None]
    joined = ByOutput(
        np.sum([part.kernel for part in parts], axis=0),
        np.sum([part.bias for part in parts], axis=0),
        np.sum(extra, axis=0) if extra else None,
    )
    return joined, [facts[output] for output in range(len(terms))]


def _of_pair(
    regression: Regression,
    fit: Callable[[OrthonormalRows, np.ndarray, int], tuple[np.ndarray, Any]],
    wanted: np.ndarray,
) -> tuple[ByOutput, list[Any]]:
    """Return the solution of the ``wanted`` (Cout,) outputs, zeros for others, and their facts."""
    plan, facts = regression.matrix.plan, []
    v, confounds = np.zeros(regression.shape), plan.confounds
    level = np.zeros((len(v), v.shape[2]))
    extra = np.zeros((plan.fitted, *level.shape))
    kept = regression.system.design.sizes.limits.kept_numbers
    for g, mine in enumerate(wanted.reshape(level.shape)):
        if not mine.any():
            continue
        factor = regression.system.factor(g)
        if factor is None:
            raise SolveError(
                "neither the Gram matrix nor a QR of the design matrix gives a factor within the "
                "memory allowed"
            )
        rows = OrthonormalRows(regression, g, factor, kept)
        outputs = regression.matrix.output_rows(regression.targets, g).T.copy()
        some = np.flatnonzero(mine).tolist()
        for q in tracked(some, "outputs", len(some)):
            alone = plan.centred and confounds is None
            middle = float(np.median(outputs[q])) if alone else 0.0
            y = rows.targets(outputs[q] - middle)
            z, fact = fit(rows, y, int(regression.y_exponents[g, q]))
            v[g, :, q], extra[:, g, q] = rows.kernel(z)
            level[g, q] = middle + rows.constant(extra[:, g, q])
            facts.append(fact)
    kernel, bias = regression.from_columns(v, level)
    # Outputs of other penalties have no level of their own here.
    bias = np.where(wanted, bias, 0.0)
    if confounds is None or not confounds.count:
        return ByOutput(kernel, bias, None), facts
    with np.errstate(over="ignore", under="ignore"):
        extra = np.ldexp(extra, regression.y_exponents).reshape(len(extra), -1)
    return ByOutput(kernel, bias, extra), facts
