"""Patterns of a decoder: least squares of every lagged channel of x on the outputs.

Source: S. Haufe et al., NeuroImage 87 (2014) 96, equation 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..leastsquares.analysis import analyse
from ..leastsquares.design import Design
from ..linalg.rank import EPS
from ..operators.layout import to_columns, to_kernel
from ..problem.problem import Problem
from ..problem.sizes import Tuning
from ..text import some

KINDS = PREDICTED, OUTPUTS = ("predicted", "outputs")
# Rounding error of a sum of products, relative to its terms.
ROUNDING = 100 * EPS
# Relative rounding error of the inverse of a covariance matrix beyond which there are no patterns.
LARGEST = 1e-3
# Share of a unit vector from which on an output is named as a part of it.
NAMED = 0.1


def patterns(problem: Problem, kernel: np.ndarray, kind: str, limits: Tuning) -> np.ndarray:
    """Return the patterns Σx W Σ⁻¹ of a kernel W, kernel-shaped.

    Confounds and a constant are projected out of x and of the outputs, whether or not the fit has a
    bias. The number of rows cancels, so that sums of products take the place of covariances.

    Args:
        problem: the data.
        kernel: ``(*K, Cin/groups, Cout)``.
        kind: Σ is the covariance of the outputs that are "predicted", or of the given "outputs".
        limits: limits of memory.
    """
    if problem._weights is not None:
        raise ValueError("patterns cannot be computed with weights")
    if not np.isfinite(kernel).all():
        raise ValueError("patterns cannot be computed: the kernel is not finite")
    centred = problem._replace(_space=None, bias=True)
    own = (problem.bias or not centred._nuisance.shared) and problem._space is None
    design = analyse(problem, limits).design if own else Design(centred, limits)
    if reason := design.sizes.gram_reason():
        raise ValueError(f"patterns cannot be computed: {reason}")
    matrix, targets = design.matrix, design.targets
    assert targets is not None
    powers = matrix.exponents[:, :, None] - targets.grouped(targets.exponents)[:, None]
    with np.errstate(under="ignore"):
        w = np.ldexp(to_columns(kernel, matrix.groups), powers)
    joint, found = matrix.gram() @ w, []
    for g in range(matrix.groups):
        if kind == OUTPUTS:
            y = matrix.output_rows(targets, g)
            y = y - y.mean(0) * (matrix.plan.confounds is None)
            products = y.T @ y
            terms = np.diagonal(products)
        else:
            products = w[g].T @ joint[g]
            terms = np.square(matrix.column_norms[g] @ np.abs(w[g]))
        names = targets.grouped(np.array(problem.outputs, object))[g]
        found.append(joint[g] @ _inverse(products, ROUNDING * terms, names))
    return np.asarray(to_kernel(np.ldexp(np.stack(found), powers), problem.spec.kernel_size))


def _inverse(products: np.ndarray, error: np.ndarray, names: Sequence[Any]) -> np.ndarray:
    """Return the inverse of a matrix (Q, Q) whose diagonal has an ``error`` (Q,)."""
    squares = np.diagonal(products)
    size = np.sqrt(np.where(squares > error, squares, np.inf))
    values, vectors = np.linalg.eigh(products / (size[:, None] * size))
    share = (error / np.square(size)).sum()
    if not share < values[0] * LARGEST:
        own = [str(name) for name, v in zip(names, vectors[:, 0], strict=True) if abs(v) > NAMED]
        raise ValueError(
            f"there are no patterns of the outputs {some(own)}, which are constant, linearly "
            "dependent, or small differences of large terms; use a ridge, or fewer outputs"
        )
    half = vectors / np.sqrt(values) / size[:, None]
    return np.asarray(half @ half.T)
