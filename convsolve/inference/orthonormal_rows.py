"""Rows of the design matrix and the bias, in coordinates in which columns are orthonormal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from copy import copy

import numpy as np

from ..errors import SolveError
from ..leastsquares.regression import Regression
from ..linalg.factor import Factor
from ..linalg.rank import EPS
from ..progress import tracked

# A residual of less than this share of y, and of what its fit is made of, is rounding.
ROUNDING = 100 * EPS
# A relative error of a weighted Gram that changes nothing but the length of the way to an answer.
GRAM_ERROR = 1e-9


class OrthonormalRows:
    """B (n, k) = [A 1] H of one group of a convolution, 1 a column for the bias if there is one.

    Beside a bias A is centred: squares can do without the column, other losses cannot. H comes from
    a factor of A, so that BᵀB = I to its accuracy: a projection takes two passes over the data. Of
    a deficient A, B has as many columns as that has rank, and kernels are those of minimum norm
    with their outputs.

    A large B is never formed. A small one is, for speed; but its rounding, times the condition of
    A, is that of other data, so that what is certified goes through `from_data`.
    """

    def __init__(
        self, regression: Regression, group: int, factor: Factor, kept_numbers: int
    ) -> None:
        """B is formed if it has at most ``kept_numbers``."""
        self._operator, self._group = regression.operator, group
        self.rows, self.bias = self._operator.rows, int(self._operator.nuisance.constant)
        half = factor.whiten(np.eye(self._operator.columns))
        if not factor.full_rank:
            # The same outputs with no part in the null space, in the user's units.
            half = factor.solve_normal(factor.r.T @ (factor.r @ half))
        columns, rank = half.shape
        self.unknowns = rank + self.bias
        # H in columns of the operator, and of norm about one.
        self._h = np.zeros((columns + self.bias, self.unknowns))
        self._h[columns:, rank:] = 1 / math.sqrt(self.rows)
        self._scaled = np.pad(half, ((0, 0), (0, self.bias)))
        self._h[:columns, :rank] = np.ldexp(half, -regression.scaling.relative[group][:, None])
        self._a_norm = float(regression.scaling.a_norm[group])
        condition = self._a_norm * float(np.linalg.norm(half))
        self._well_conditioned = condition**2 * EPS <= GRAM_ERROR
        self._kept: np.ndarray | None = None
        if self.rows * self.unknowns <= kept_numbers and self.unknowns:
            self._kept = np.concatenate([*self.blocks()])

    def least_squares(self, y: np.ndarray) -> np.ndarray:
        """argmin ‖y − B z‖ (k,), refined once."""
        z = self.adjoint(y)
        return z + self.adjoint(y - self.forward(z))

    def from_data(self) -> OrthonormalRows:
        """The same by passes over the data alone."""
        found = copy(self)
        found._kept = None
        return found

    def forward(self, z: np.ndarray) -> np.ndarray:
        """B z (n,)."""
        if self._kept is not None:
            return np.asarray(self._kept @ z)
        kernel, level = self.kernel(z)
        return self._operator.forward(self._group, kernel[:, None])[:, 0] + level

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        """Bᵀr (k,)."""
        if self._kept is not None:
            return np.asarray(self._kept.T @ r)
        found = self._operator.adjoint(self._group, r[:, None])[:, 0]
        return np.asarray(self._h.T @ np.append(found, [r.sum()] * self.bias))

    def kernel(self, z: np.ndarray) -> tuple[np.ndarray, float]:
        """Taps (P,) in columns of the operator, and the constant beside the centred A."""
        found = self._h @ z
        return found[: self._operator.columns], float(found[-1]) if self.bias else 0.0

    def rounding(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """What y − B z (n,) may be in a row of which nothing but rounding is left.

        Beside y there, or in a typical row that is not zero: outliers are large by themselves.
        """
        terms = self._a_norm * float(np.linalg.norm(self._scaled @ z)) / math.sqrt(self.rows)
        size = np.abs(y)
        typical = float(np.median(size[size > 0])) if size.any() else 0.0
        return np.asarray(ROUNDING * (np.maximum(size, typical) + terms))

    def is_exact(self, y: np.ndarray, z: np.ndarray) -> bool:
        """Whether nothing but rounding is left of y in any row."""
        return bool((np.abs(y - self.forward(z)) <= self.rounding(y, z)).all())

    def _formed(self, factors: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of [A 1] (m, P + 1), each times its factor (n,), some at a time."""
        first, columns = 0, self._operator.columns
        for a, _ in self._operator.row_blocks():
            last = first + a.shape[1]
            own = factors[first:last, None]
            rows = np.empty((len(own), len(self._h)))
            np.multiply(a[self._group], own, out=rows[:, :columns])
            rows[:, columns:] = own
            yield rows
            first = last

    def blocks(self) -> Iterator[np.ndarray]:
        """Rows of B (m, k), some at a time."""
        if self._kept is not None:
            yield self._kept
            return
        for rows in self._formed(np.ones(self.rows)):
            yield rows @ self._h

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Bᵀ diag(weights) B (k, k), for weights (n,) that are not negative."""
        roots = np.sqrt(weights)
        if self._kept is not None:
            return _gram([self._kept * roots[:, None]], self.unknowns)
        if not self._well_conditioned:
            return _gram((rows @ self._h for rows in self._formed(roots)), self.unknowns)
        # H beside the sum, not beside every row: a third of the operations.
        return np.asarray(self._h.T @ _gram(self._formed(roots), len(self._h)) @ self._h)

    def some(self, which: np.ndarray) -> np.ndarray:
        """The rows (m, k) of B that ``which`` (m,) names."""
        found, first = np.empty((len(which), self.unknowns)), 0
        for b in self.blocks():
            mine = (which >= first) & (which < first + len(b))
            found[mine] = b[which[mine] - first]
            first += len(b)
        return found


def _gram(blocks: Iterable[np.ndarray], columns: int) -> np.ndarray:
    """The sum of rowᵀrow (columns, columns) over rows (m, columns) of all blocks."""
    from scipy.linalg.blas import dsyrk

    total = np.zeros((columns, columns), order="F")
    for rows in blocks:
        # The lower triangle alone, in half the time; rowsᵀ is by columns what rows are by rows.
        total = dsyrk(1.0, rows.T, beta=1.0, c=total, lower=1, overwrite_c=1)
    return total + np.tril(total, -1).T


def by_output(
    regression: Regression, fit: Callable[[OrthonormalRows, np.ndarray, int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias in the user's units, of ``fit`` (rows, y, exponent) → z, output by output.

    y (n,) is that of one output, in units of two to its exponent; less its median where there is a
    bias, which takes an offset off and, unlike the mean, is not moved by outliers.

    Raises:
        SolveError: a factor exceeds the memory limit.
    """
    v = np.zeros(regression.shape)
    level = np.zeros((len(v), v.shape[2]))
    for g in range(len(v)):
        factor = regression.system.factor(g)
        if factor is None:
            raise SolveError(
                "neither the Gram matrix nor a QR of the design matrix gives a factor within the "
                "memory allowed; use fewer taps or channels"
            )
        kept = regression.system.design.sizes.limits.kept_numbers
        rows = OrthonormalRows(regression, g, factor, kept)
        outputs = regression.targets.rows(g).T.copy()
        for q, y in enumerate(tracked(outputs, "outputs", len(outputs))):
            middle = float(np.median(y)) if rows.bias else 0.0
            z = fit(rows, y - middle, int(regression.y_exponents[g, q]))
            v[g, :, q], constant = rows.kernel(z)
            level[g, q] = middle + constant
    return regression.from_operator(v, level)
