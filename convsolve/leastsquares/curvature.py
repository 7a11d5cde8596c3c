"""The sums of a regression in the user's units, and the largest eigenvalue of its Gram matrix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..linalg.lapack import diagonals
from ..operators.prediction import predicted
from .regression import Regression
from .system import System

# Up to this many columns all eigenvalues are computed, which takes less time than Lanczos steps.
FEW_COLUMNS = 128
# Columns above which AᵀA is not formed for its largest eigenvalue alone.
MOST_COLUMNS = 4096
# Relative tolerance of the largest eigenvalue.
TOLERANCE = 1e-12


class NormalSums(NamedTuple):
    """The sums of ‖M(Y − A T z)‖² + Σ ridge·z², for every group, in the user's units.

    Attributes:
        gram: TᵀAᵀMA T (G, R, R), without the ridge.
        cross: TᵀAᵀMY (G, R, Q).
        squares: ‖M Y‖² (G, Q).
        ridge: strength times weights (G, R) of the coordinates z.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray
    ridge: np.ndarray


def normal_sums(regression: Regression) -> NormalSums:
    """Return the sums of a regression in the user's units."""
    system = regression.system
    exponents = system.columns.exponents
    y_exponents = regression.y_exponents
    products = exponents[:, :, None] + exponents[:, None, :]
    return NormalSums(
        gram=np.ldexp(system.columns.gram, products),
        cross=np.ldexp(regression.cross, exponents[:, :, None] + y_exponents[:, None, :]),
        squares=np.ldexp(np.square(regression.y_norms), 2 * y_exponents),
        ridge=system.strength * system.coordinates.weights,
    )


def total_curvature(system: System) -> float:
    """Return the sum of the eigenvalues of TᵀAᵀMA T over all groups, in the user's units."""
    norms = np.ldexp(system.columns.norms, system.columns.exponents)
    return float(np.square(norms).sum())


def largest_row(system: System) -> float:
    """Return a bound on the largest squared norm of a row of M A, in the user's units."""
    design = system.design
    groups = design.spec.groups
    centre: Any = 0.0
    if design.nuisance.total:
        centre = np.mean(
            [np.mean(x, axis=tuple(range(x.ndim - 1))) for x in design.records], axis=0
        )
    squares = [np.square(np.asarray(x, float) - centre) for x in design.records_in_memory]
    channels = squares[0].shape[-1] // groups
    ones = np.ones((*design.spec.kernel_size, channels, groups))
    energies = predicted(squares, ones, np.zeros(groups), design.spec)
    largest = max(float(energy.max(initial=0.0)) for energy in energies)
    confounds = design.nuisance.confounds
    if confounds is None or confounds.weights is None:
        return largest
    return largest * max(float(np.square(root).max()) for root in confounds.weights)


def largest_eigenvalue(system: System) -> float:
    """Return the largest eigenvalue of TᵀAᵀMA T plus the ridge over all groups, in user's units.

    For thousands of columns, the products with A are computed by FFTs instead of from AᵀA.
    """
    return max(_largest(system, group) for group in range(system.matrix.groups))


def _largest(system: System, group: int) -> float:
    from scipy.sparse.linalg import LinearOperator, eigsh

    columns = system.columns
    # In one unit for all columns, so that no product leaves float64.
    unit = int(columns.exponents.max(initial=0))
    powers = columns.exponents[group] - unit
    weights = system.coordinates.weights[group]
    ridge = np.ldexp(system.strength * weights, -2 * unit)

    if columns.count > MOST_COLUMNS:
        scale = np.ldexp(1.0, powers)[:, None]

        def product(z: np.ndarray) -> np.ndarray:
            kernel = columns.expand((scale * z.reshape(-1, 1))[None], slice(group, group + 1))
            rows = system.matrix.forward(group, kernel[0])
            back = columns.t.restrict(system.matrix.adjoint(group, rows)[None])[0]
            return (scale * back)[:, 0] + ridge * z.reshape(-1)

        operator = LinearOperator((columns.count, columns.count), matvec=product, dtype=float)
    else:
        operator = np.ldexp(columns.gram[group], powers[:, None] + powers)
        diagonals(operator[None])[...] += ridge
        if columns.count <= FEW_COLUMNS:
            return float(np.ldexp(np.linalg.eigvalsh(operator)[-1], 2 * unit))

    start = np.random.default_rng(0).standard_normal(columns.count)
    value = eigsh(operator, 1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return float(np.ldexp(value[0], 2 * unit))
