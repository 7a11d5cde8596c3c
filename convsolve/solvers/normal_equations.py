"""Least squares from moments, its answer certified and, where that fails, escalated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Prepared
from ..leastsquares.system import MAX_GRAM_BYTES, QR_STEPS, System
from ..problem.spec import ConvSpec
from .base import Progress, Raw, Solver, host_ridge, judge_ridge, traceable

# Steps of refinement on a Cholesky factor: the backward error falls by κ²·eps a step.
GRAM_STEPS = 4


@traceable("ridge")
@dataclass(frozen=True)
class NormalEquations(Solver):
    """min ‖y − Aw‖² + ridge·‖w‖² from the moments AᵀA and Aᵀy, as accurate as a QR and certified.

    The moments come from the signals by block FFTs, exact at the edges, and the matrix is never
    formed; a small one, or one whose columns a burst makes uneven, is taken by blocks of rows.

    1. Where the Gram itself proves full rank (κ to about 1e6), or the ridge does: equilibrated
       Cholesky, refinement from the moments, then up to 4 steps with residuals from the data, the
       best kept. With a ridge that dwarfs the rounding of float32 and more than 1 500 unknowns the
       factor is in float32. With far fewer rows than unknowns and a ridge: the dual.
    2. Where it does not, or the certificate exceeds 30 eps after that: R from a QR of row blocks of
       the design matrix, joined in a tree, and up to 5 semi-normal steps.
    3. Where R is deficient: its truncated SVD, minimum norm in the user's units.

    ``stats["route"]`` says how far it went. Should R and its blocks not fit in the memory
    allowed, the answer of the Gram is returned as "approximate", or a SolveError asks for a ridge.

    Certificate at most 30 eps, kernel error as for `LeastSquares`. ``ridge`` is summed, as
    scikit-learn's ``alpha``. Under `fit_kernel` step 1 alone is taken, from FFTs of the signals
    (for a wide A its dual), and derivatives cost a few FFTs: the condition must be below about 1e7
    in float64; there and for few rows `LeastSquares` is the safer choice. For thousands of taps
    `ConjugateGradient` is faster.

    Source: Å. Björck, Numerical Methods for Least Squares Problems, SIAM 1996, sections 2.3 and
    2.9.
    """

    ridge: Any = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ridge", judge_ridge(self.ridge))

    def run(self, prepared: Prepared, progress: Progress | None = None) -> Raw:
        system = System(prepared, host_ridge(self))
        groups = range(prepared.groups)
        route, found = "Cholesky of the Gram matrix", None
        # In float32 where a ridge allows it; if that is too rough, in float64.
        for rough in (True, False):
            kept = [system.gram_factor(g, rough) for g in groups]
            factors = [f for f in kept if f is not None]
            if len(factors) == len(groups):
                w = system.refine_by_moments(np.stack([f.solve() for f in factors]), factors)
                found = system.refine(w, factors, GRAM_STEPS)
            if not system.roughly or (found is not None and found[1].exact):
                break
        if found is None or not found[1].exact:
            factors = [f for g in groups if (f := system.qr_factor(g)) is not None]
            if len(factors) == len(groups):
                deficient = any(not f.full_rank for f in factors)
                route = "QR of the design matrix" + (", truncated SVD of R" if deficient else "")
                w = np.stack([f.solve() for f in factors])
                found = system.refine(w, factors, QR_STEPS)
        if found is None:
            size = prepared.groups * prepared.columns**2 * 8
            gram, way = "cannot decide the rank", "give a ridge, or fewer taps"
            if size > MAX_GRAM_BYTES:
                gram, way = f"would take {size / 2**30:.1f} GiB", "use fewer taps or channels"
            elif system.ridge:
                way = "give a larger ridge, or fewer taps"
            qr = prepared.factor_bytes / 2**30
            raise SolveError(f"the Gram matrix {gram} and a QR would take {qr:.1f} GiB; {way}")
        w, certificate = found
        kernel, bias = system.to_user(w)
        return Raw(kernel, bias, stats={"route": route}, certificate=certificate)

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        import jax.numpy as jnp

        from . import linear, spectral

        counts, ridge = y.shape[1:-1], jnp.asarray(self.ridge, x.dtype)
        rows, columns = y.shape[0] * math.prod(counts), spec.unknowns(x.shape[-1])
        small = rows * columns * spec.groups <= spectral.SMALL_NUMBERS
        if rows < columns + bias or (small and not spectral.few_lags(spec, counts)):
            tall, wide = linear.tall_by_gram, linear.wide_by_gram
            return linear.fit(x, y, spec, bias, ridge, tall, wide)
        return spectral.fit(x, y, spec, bias, ridge, small)
