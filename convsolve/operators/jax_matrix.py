"""The design matrix of one group under jax: formed, and in the coordinates of a penalty.

As `convsolve.operators.jax_fourier.Operator`, which forms nothing, they are asked for B v, Bᵀ r,
BᵀB and R of a QR; B is A, or Aᵀ where A is wide.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from ..problem.spec import ConvSpec
from .jax_fourier import Operator, matmul
from .tap_basis import TapBasis
from .windows import design_matrix


class Matrix:
    """B as a matrix: A, centred for a bias, or, where it is ``wide``, its transpose.

    A centred wide A does not have full row rank. An additional constant column restores it. The
    column does not change the solution, because centred outputs are orthogonal to it.
    """

    def __init__(self, x: Any, spec: ConvSpec, bias: bool, wide: bool) -> None:
        self.x, self.spec, self.bias, self.wide = x, spec, bias, wide
        self.b, self.means = self._formed(x)
        self.shape = self.b.shape

    def _formed(self, x: Any) -> tuple[Any, Any]:
        """B of x, and the means of its columns (P,)."""
        a = design_matrix(x, self.spec)[0]
        means = a.mean(0)
        if self.bias:
            a = a - means
        if self.bias and self.wide:
            level = lax.stop_gradient(jnp.sqrt(jnp.mean(a**2)))
            a = jnp.concatenate([a, jnp.broadcast_to(level, (len(a), 1))], axis=1)
        return a.T if self.wide else a, means

    def forward(self, v: Any) -> Any:
        """B v (n, Q)."""
        return matmul(self.b, v)

    def adjoint(self, r: Any) -> Any:
        """Bᵀ r (k, Q)."""
        return matmul(self.b.T, r)

    def gram(self) -> Any:
        """BᵀB (k, k), a constant in derivatives."""
        b = lax.stop_gradient(self.b)
        return matmul(b.T, b)

    def triangle(self, x: Any, top: Any) -> Any:
        """R (k, k) of the rows ``top`` (k, k) and B of x."""
        return jnp.linalg.qr(jnp.concatenate([top, self._formed(x)[0]]), mode="r")


class Penalized:
    """A T for kernels w = T z, in which a penalty is ridge·‖z‖² over some of z."""

    def __init__(self, operator: Matrix | Operator, basis: TapBasis) -> None:
        self.operator, self.x = operator, operator.x
        rows, columns = operator.shape
        self.means = operator.means
        self.shape = rows, columns // basis.taps * basis.coordinates
        # In the precision of x, and varying over the same devices as x, see `alike`.
        nothing = jnp.zeros_like(self.x, shape=())
        matrices: Any = [jnp.asarray(m, nothing.dtype) + nothing for m in basis.matrices]
        self.basis = TapBasis(matrices)

    def kernel(self, z: Any) -> Any:
        """w = T z (P, Q)."""
        return self.basis.expand(z[None], matmul)[0]

    def forward(self, z: Any) -> Any:
        """A T z (n, Q)."""
        return self.operator.forward(self.kernel(z))

    def adjoint(self, r: Any) -> Any:
        """Tᵀ Aᵀ r (R, Q)."""
        return self.basis.restrict(self.operator.adjoint(r)[None], matmul)[0]

    def gram(self) -> Any:
        """Tᵀ AᵀA T (R, R), a constant in derivatives."""
        half = self.basis.restrict(self.operator.gram()[None], matmul)
        return self.basis.rows(half, matmul)[0]

    def triangle(self, x: Any, top: Any) -> Any:
        """The triangle (R, R) of the rows ``top`` (R, R) and A T of x."""
        columns = self.operator.shape[1]
        r = self.operator.triangle(x, jnp.zeros_like(top, shape=(columns, columns)))
        r = self.basis.rows(r[None], matmul)[0]
        return jnp.linalg.qr(jnp.concatenate([top, r]), mode="r")
