"""How far a kernel is from the exact least-squares kernel, in units of the statistical error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import iterative
from ..leastsquares.regression import Regression
from ..operators.layout import to_columns
from .base import Objective
from .direct import AutoSolver


@dataclass(frozen=True)
class Yardstick:
    """The exact solution of squares and a quadratic penalty, with which other kernels are compared.

    The excess loss of a kernel w is (w − w*)ᵀ(G + K)(w − w*)/(n·Q): a sum of squares, so that no
    digits cancel. The statistical error is the expected excess of the true kernel over the exact
    kernel, Σσ²·d/(n·Q), for d degrees of freedom and the noise variance σ² of every output.

    Attributes:
        regression: the regression with its penalty.
        kernel: the exact kernel w* (*K, Cin/groups, Cout).
        unique: whether the data, with the penalty, determine the kernel.
        statistical_error: the statistical error, in the square of the unit of y. None if the noise
            is not known: no row is left, or the fit is exact.
        power: mean square of y over rows and outputs, without what nuisance columns fit.
    """

    regression: Regression
    kernel: np.ndarray
    unique: bool
    statistical_error: float | None
    power: float

    @classmethod
    def of(cls, analysis: Analysis, objective: Objective) -> Yardstick | None:
        """Return the yardstick of squares, or None if there is no exact solution."""
        sizes = analysis.design.sizes
        solver = AutoSolver()
        if solver.supports(sizes, analysis.design.spec, objective) is not None:
            return None
        try:
            found = solver.run(analysis, objective)
        except SolveError:
            return None
        if found.certificate is None or not found.certificate.exact or found.evidence == "":
            return None

        regression = analysis.regression(objective.penalty, objective.strength)
        system = regression.system
        # Conjugate gradients prove full rank without a factor, which would take longer.
        freedom: np.ndarray | None = None
        if not iterative(sizes, analysis.design.spec):
            unique = system.factors.complete and system.factors.full_rank
            freedom = _degrees_of_freedom(regression)
        else:
            unique = True
            if objective.strength == 0:
                freedom = np.full(sizes.groups, float(system.columns.count))
        error = None
        if freedom is not None:
            error = _statistical_error(regression, found.kernel, freedom)
        squares = np.ldexp(np.square(regression.y_norms), 2 * regression.y_exponents)
        return cls(regression, found.kernel, unique, error, float(squares.mean()) / sizes.rows)

    def excess(self, kernel: np.ndarray) -> float:
        """Return the excess loss of a kernel, in the square of the unit of y."""
        regression = self.regression
        difference = np.asarray(kernel, float) - self.kernel
        squares, ridge = _squares(regression, difference)
        per_output = np.ldexp(squares + ridge, 2 * regression.y_exponents)
        return float(per_output.sum()) / (regression.matrix.rows * per_output.size)

    def distance(self, kernel: np.ndarray) -> float:
        """Return ‖w − w*‖/‖w*‖, the largest over outputs."""
        outputs = self.kernel.shape[-1]
        exact = self.kernel.reshape(-1, outputs)
        difference = np.linalg.norm(np.asarray(kernel, float).reshape(-1, outputs) - exact, axis=0)
        size = np.linalg.norm(exact, axis=0)
        relative = np.divide(difference, size, out=np.full(outputs, np.inf), where=size > 0)
        return float(np.where(difference == 0, 0.0, relative).max())


def _coordinates(regression: Regression, kernel: np.ndarray) -> np.ndarray:
    """Return the coordinates (G, R, Q) of the columns of A T, in units of 2**y_exponents."""
    columns = regression.system.columns
    user = columns.t.coordinates(to_columns(kernel, regression.matrix.groups))
    return np.ldexp(user, columns.exponents[:, :, None] - regression.y_exponents[:, None, :])


def _squares(regression: Regression, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ‖M A w‖² and the penalty (G, Q) of a kernel, in units of 2**y_exponents."""
    system = regression.system
    columns, matrix = system.columns, regression.matrix
    z = _coordinates(regression, kernel)
    if matrix.first.gram.ndim == 3:
        squares = np.einsum("grq,grq->gq", z, columns.gram @ z)
    else:
        expanded = columns.expand(z)
        products = [matrix.forward(g, expanded[g]) for g in range(matrix.groups)]
        squares = np.square(products).sum(1)

    weights = system.strength * system.coordinates.weights
    ridge = np.ldexp(weights, -2 * columns.exponents)
    return np.maximum(squares, 0.0), np.einsum("gr,grq->gq", ridge, np.square(z))


def _degrees_of_freedom(regression: Regression) -> np.ndarray | None:
    """Return the degrees of freedom (G,) of the kernels, or None without factors."""
    system = regression.system
    factors = [system.factor(group) for group in range(system.matrix.groups)]
    if any(factor is None for factor in factors):
        return None
    if system.strength == 0:
        return np.array([float(factor.rank) for factor in factors if factor is not None])
    pairs = enumerate(factors)
    return np.array([system.freedom(g, factor) for g, factor in pairs if factor is not None])


def _statistical_error(
    regression: Regression, kernel: np.ndarray, freedom: np.ndarray
) -> float | None:
    """Return Σσ²·d/(n·Q) for degrees of freedom d (G,), or None if the noise is not known."""
    sizes = regression.system.design.sizes
    left = sizes.rows - sizes.nuisance - freedom
    if (left <= 0).any():
        return None
    z = _coordinates(regression, kernel)
    squares, _ = regression.system.columns.residual(z, regression.targets)
    scaled = np.ldexp(z, regression.scaling.relative[:, :, None])
    real = np.sqrt(squares) > regression.rounding(scaled)
    variance = np.where(real, squares, 0.0) / left[:, None]
    per_output = np.ldexp(variance * freedom[:, None], 2 * regression.y_exponents)
    total = float(per_output.sum())
    return total / (sizes.rows * per_output.size) if total > 0 else None
