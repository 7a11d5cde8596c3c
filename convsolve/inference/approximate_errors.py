"""Standard errors of the taps of a stationary x, without a factor of the design matrix."""

from __future__ import annotations

import math

import numpy as np

from ..leastsquares.normal_operator import PROOF_STEPS, Normal
from ..leastsquares.system import System
from ..linalg.conjugate_gradient import Conjugate
from ..linalg.threads import one_blas_thread
from ..operators.toeplitz_inverse import ToeplitzInverse

# The fewest samples for every tap.
LONG_RECORDS = 8
# The errors are compared with exact errors of so many taps, from which they differ by less than
# this factor. Squared norms of columns differ by less, too.
EXACT_TAPS, MOST_OFF = 5, 1.25
# Share of the first residual at which the steps for an exact error end.
RESIDUAL = 1e-4


def approximate_gains(system: System, group: int) -> np.ndarray | None:
    """Return √diag((AᵀA)⁻¹) (P,) of one channel in the columns of the matrix, approximately.

    It is the diagonal of the inverse of the Toeplitz matrix of tapered x, scaled to exact values at
    a few taps. None if full rank is not proved; for bases, masks, weights, confounds, several
    channels and short records; if columns differ in norm; or if the exact values differ in shape.
    """
    sizes = system.design.sizes
    norms = system.matrix.column_norms[group] ** 2
    short = sizes.rows < LONG_RECORDS * len(sizes.shapes) * sizes.columns
    if not system.basis.identity or short or norms.max() > MOST_OFF * norms.min():
        return None
    with one_blas_thread():
        normal = Normal(system, group)
        tapered = normal.tapered
        if tapered is None or tapered.grid.channels > 1 or not normal.full_rank(PROOF_STEPS):
            return None
        inverse = normal.precondition
        if not isinstance(inverse, ToeplitzInverse):
            inverse = ToeplitzInverse(tapered)
        if not inverse.definite:
            return None
        some = np.linspace(0, sizes.columns - 1, EXACT_TAPS).astype(int)
        ratios = _exact(normal, some) / inverse.diagonal[some]
    scale = math.sqrt(ratios.min() * ratios.max())
    if not ratios.max() <= MOST_OFF**2 * scale:
        return None
    gains = np.sqrt(scale * inverse.diagonal) * normal.stretch[:, 0]
    return np.asarray(np.ldexp(gains, -system.scaling.relative[group]))


def _exact(normal: Normal, some: np.ndarray) -> np.ndarray:
    """Return some elements of the diagonal of (AᵀA)⁻¹, or NaN if conjugate gradients are slow."""
    ones = np.zeros((normal.stretch.size, len(some)))
    ones[some, np.arange(len(some))] = 1.0
    run = Conjugate(normal.product, normal.precondition, ones)
    least, active = RESIDUAL**2 * run.squares, np.ones(len(some), bool)
    for _ in range(PROOF_STEPS):
        active &= run.squares > least
        if not active.any():
            return np.asarray(np.einsum("pq,pq->q", ones, run.x))
        run.step(active)
    return np.full(len(some), np.nan)
