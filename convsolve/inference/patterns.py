"""Patterns of a decoder: least squares of every lagged channel of x on the outputs.

Source: S. Haufe et al., NeuroImage 87 (2014) 96, equation 6.
"""

from __future__ import annotations

import numpy as np

from ..leastsquares.analysis import analyse
from ..leastsquares.design import Design
from ..linalg.rank import EPS
from ..operators.layout import to_columns, to_kernel
from ..problem.geometry import Geometry
from ..problem.problem import Problem
from ..problem.sizes import Tuning
from ..problem.spec import ConvSpec
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
    design = _centred(problem, limits)
    if reason := design.sizes.gram_reason():
        raise ValueError(f"patterns cannot be computed: {reason}")
    matrix, targets = design.matrix, design.targets
    assert targets is not None
    of_y = targets.grouped(targets.exponents)
    powers = matrix.exponents[:, :, None] - of_y[:, None]
    with np.errstate(under="ignore"):
        w = np.ldexp(to_columns(kernel, matrix.groups), powers)
        joint = matrix.gram() @ w
        if kind == OUTPUTS:
            outputs = Design(_of_outputs(problem), limits).matrix
            units = outputs.exponents - of_y
            products = np.ldexp(outputs.gram(), units[:, :, None] + units[:, None])
            terms = np.linalg.diagonal(products)
        else:
            products = w.swapaxes(1, 2) @ joint
            terms = np.einsum("gp,gpq->gq", matrix.column_norms, np.abs(w)) ** 2
        inverse, doubt, direction = _inverse(products, ROUNDING * terms)
        if doubt.max() > LARGEST:
            raise ValueError(_refusal(problem, int(doubt.argmax()), direction, kind))
        return np.asarray(to_kernel(np.ldexp(joint @ inverse, powers), problem.spec.kernel_size))


def _refusal(problem: Problem, group: int, direction: np.ndarray, kind: str) -> str:
    """Return why a group has no patterns, given the direction (G, Q) of smallest variance."""
    places = np.flatnonzero(np.abs(direction[group]) > NAMED) + group * direction.shape[1]
    names = [str(problem.outputs[q]) for q in places]
    word = "outputs" if kind == OUTPUTS else "predicted outputs"
    return (
        f"there are no patterns of the {word} {some(names)}, which are constant, linearly "
        "dependent, or small differences of large terms; use a ridge, or fewer outputs"
    )


def _inverse(products: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the inverses of matrices (G, Q, Q) whose diagonals have an ``error`` (G, Q).

    Returns:
        The inverses, their relative errors (G,), inf for a singular matrix, and the direction
        (G, Q) of smallest variance.
    """
    squares = np.linalg.diagonal(products)
    size = np.sqrt(np.where(squares > error, squares, np.inf))
    values, vectors = np.linalg.eigh(products / (size[:, :, None] * size[:, None]))
    share = (error / np.square(size)).sum(1)
    regular = values[:, 0] > share
    doubt = np.where(regular, share / np.where(regular, values[:, 0], 1.0), np.inf)
    half = vectors / np.sqrt(np.where(regular[:, None], values, 1.0))[:, None] / size[:, :, None]
    return half @ half.swapaxes(1, 2), doubt, vectors[:, :, 0]


def _centred(problem: Problem, limits: Tuning) -> Design:
    """Return the design of all kernels with a bias, whose sums are about the means."""
    centred = problem._replace(_space=None, bias=True)
    own = problem.bias or not centred._nuisance.shared
    return (
        analyse(problem, limits).design
        if own and problem._space is None
        else Design(centred, limits)
    )


def _of_outputs(problem: Problem) -> Problem:
    """Return the problem whose x are the outputs, with one tap."""
    axes = problem.spec.ndim
    return problem._replace(
        _geometry=Geometry(ConvSpec((1,) * axes, groups=problem.spec.groups), (0,) * axes),
        _input=problem._output,
        _space=None,
        bias=True,
    )
