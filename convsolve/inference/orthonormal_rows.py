"""Rows of the design matrix and the bias, in coordinates in which columns are orthonormal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import copy

import numpy as np

from ..errors import SolveError
from ..leastsquares.regression import Regression
from ..linalg.factor import Factor
from ..linalg.rank import EPS

# A residual of less than this share of y, and of what its fit is made of, is rounding.
ROUNDING = 100 * EPS


class OrthonormalRows:
    """B (n, k) = [A H, 1/√n] of one group of a convolution, and y (n,) one output at a time.

    Where there is a bias, A is centred, and a constant column stands beside it: squares can do
    without that column, other losses cannot. H comes from a factor of A, so that BᵀB = I to its
    accuracy: a projection takes two passes over the data. Of a deficient A it has as many columns
    as A has rank, and the taps H z are those of minimum norm with these outputs.

    A large B is never formed. A small one is, for speed; but its rounding, times the condition of
    A, is that of other data, so that what is certified goes through `from_data`.
    """

    def __init__(
        self, regression: Regression, group: int, factor: Factor, kept_numbers: int
    ) -> None:
        """B is formed if it has at most ``kept_numbers``."""
        self._operator, self._group = regression.operator, group
        half = factor.whiten(np.eye(regression.operator.columns))
        if not factor.full_rank:
            # The same outputs with no part in the null space, in the user's units.
            half = factor.solve_normal(factor.r.T @ (factor.r @ half))
        relative = regression.scaling.relative[group][:, None]
        self._half, self._scaled_half = np.ldexp(half, -relative), half
        self._a_norm = float(regression.scaling.a_norm[group])
        self.bias = regression.operator.nuisance.constant
        self.rows = regression.operator.rows
        self.unknowns = half.shape[1] + self.bias
        self._constant = 1 / math.sqrt(self.rows)
        self._kept: np.ndarray | None = None
        if self.rows * self.unknowns <= kept_numbers and self.unknowns:
            self._kept = np.concatenate([b for _, b in self.blocks()])

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
        seen = self._operator.forward(self._group, self.taps(z)[:, None])[:, 0]
        return seen + self._constant * z[-1] if self.bias else seen

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        """Bᵀr (k,)."""
        if self._kept is not None:
            return np.asarray(self._kept.T @ r)
        found = self._half.T @ self._operator.adjoint(self._group, r[:, None])[:, 0]
        return np.append(found, self._constant * r.sum()) if self.bias else found

    def taps(self, z: np.ndarray) -> np.ndarray:
        """The kernel (P,), in columns of the operator."""
        return self._half @ z[: self._half.shape[1]]

    def rounding(self, y: np.ndarray, z: np.ndarray) -> float:
        """What an element of y − B z may be, if nothing but rounding is left of y."""
        scaled = self._scaled_half @ z[: self._half.shape[1]]
        terms = self._a_norm * self._constant * float(np.linalg.norm(scaled))
        return ROUNDING * (float(np.abs(y).max()) + terms)

    def level(self, z: np.ndarray) -> float:
        """The constant beside the centred A."""
        return float(self._constant * z[-1]) if self.bias else 0.0

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Which rows, and those of B (m, k), some at a time."""
        if self._kept is not None:
            yield slice(0, self.rows), self._kept
            return
        first, columns = 0, self._half.shape[1]
        for a, _ in self._operator.row_blocks():
            b = np.empty((a.shape[1], self.unknowns))
            np.matmul(a[self._group], self._half, out=b[:, :columns])
            b[:, columns:] = self._constant
            yield slice(first, first + len(b)), b
            first += len(b)

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Bᵀ diag(weights) B (k, k), for weights (n,) that are not negative."""
        from scipy.linalg.blas import dsyrk

        total = np.zeros((self.unknowns, self.unknowns), order="F")
        roots = np.sqrt(weights)
        for which, b in self.blocks():
            # The lower triangle alone, in half the time; bᵀ is by columns what b is by rows.
            weighted = (b * roots[which, None]).T
            total = dsyrk(1.0, weighted, beta=1.0, c=total, lower=1, overwrite_c=1)
        return total + np.tril(total, -1).T

    def some(self, which: np.ndarray) -> np.ndarray:
        """The rows (m, k) of B that ``which`` (m,) names."""
        found = np.empty((len(which), self.unknowns))
        for part, b in self.blocks():
            mine = (which >= part.start) & (which < part.stop)
            found[mine] = b[which[mine] - part.start]
        return found


def by_output(
    regression: Regression, fit: Callable[[OrthonormalRows, np.ndarray, int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias in the user's units, of ``fit`` (rows, y, exponent) → z, output by output.

    y (n,) is that of one output, in units of two to its exponent.

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
        for q, y in enumerate(regression.targets.rows(g).T.copy()):
            z = fit(rows, y, int(regression.y_exponents[g, q]))
            v[g, :, q], level[g, q] = rows.taps(z), rows.level(z)
    return regression.from_operator(v, level)
