"""The design matrix of one group under jax: formed, and in the coordinates of a penalty.

The classes have the methods of `convsolve.operators.jax_fourier.Operator`, which forms no matrix:
B v, BᵀB and R of a QR. B is A, or Aᵀ if A is wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from ..problem.spec import ConvSpec
from .jax_fourier import Operator, matmul
from .tap_basis import TapBasis
from .windows import design_matrix, gram_rows


class Matrix:
    """B as a matrix: A, centred for a bias, or its transpose if A is ``wide``.

    A centred wide A does not have full row rank. An additional constant column restores it. The
    column does not change the solution, because centred outputs are orthogonal to it.
    """

    def __init__(self, x: Any, spec: ConvSpec, bias: bool, wide: bool) -> None:
        self.x, self.spec, self.bias, self.wide = x, spec, bias, wide
        self.b, self.means = self._formed(x)
        self.shape = self.b.shape

    def of(self, x: Any) -> Self:
        """Return the matrix of other samples."""
        return type(self)(x, self.spec, self.bias, self.wide)

    def _formed(self, x: Any) -> tuple[Any, Any]:
        """Return B of x, and the means (P,) of the columns of A."""
        a = design_matrix(x, self.spec)[0]
        means = a.mean(0)
        if self.bias:
            a = a - means
        if self.bias and self.wide:
            level = lax.stop_gradient(jnp.sqrt(jnp.mean(a**2)))
            a = jnp.concatenate([a, jnp.broadcast_to(level, (len(a), 1))], axis=1)
        return a.T if self.wide else a, means

    def forward(self, v: Any) -> Any:
        """Return B v (n, Q)."""
        return matmul(self.b, v)

    def adjoint(self, r: Any) -> Any:
        """Return Bᵀ r (k, Q)."""
        return matmul(self.b.T, r)

    def gram(self) -> Any:
        """Return BᵀB (k, k), a constant in derivatives."""
        b = lax.stop_gradient(self.b)
        return matmul(b.T, b)

    def triangle(self, top: Any) -> Any:
        """Return R (k, k) of the rows ``top`` (k, k) and B, a constant in derivatives."""
        return jnp.linalg.qr(jnp.concatenate([top, lax.stop_gradient(self.b)]), mode="r")


class Sums(Matrix):
    """A of one record and channel, without derivatives: sums of shifted samples under vmap.

    The sums are written out, which XLA fuses into loops over a batch. This is about twice as fast
    as products of small matrices, which are gathered first, but it takes longer to compile.
    """

    def forward(self, v: Any) -> Any:
        """Return A v (n, Q)."""
        rows, taps = self.shape

        def shifted(x: Any, v: Any) -> Any:
            return sum(x[k : k + rows, None] * v[k] for k in range(taps))

        return self._under_vmap(shifted, matmul, v)

    def adjoint(self, r: Any) -> Any:
        """Return Aᵀ r (k, Q)."""
        rows, taps = self.shape

        def shifted(x: Any, r: Any) -> Any:
            return sum(x[t : t + taps, None] * r[t] for t in range(rows))

        return self._under_vmap(shifted, lambda b, r: matmul(b.T, r), r)

    def gram(self) -> Any:
        """Return AᵀA (k, k)."""
        rows, taps = self.shape

        def shifted(x: Any) -> Any:
            common = sum(x[t] * x[t : t + taps] for t in range(taps - 1, rows))
            upper = jnp.stack([jnp.pad(a, (k, 0)) for k, a in enumerate(gram_rows(x, common))])
            # Without the barrier, XLA computes the sums again for each of their uses.
            return lax.optimization_barrier(upper + jnp.triu(upper, 1).T)

        return self._under_vmap(shifted, lambda b: matmul(b.T, b))

    def _under_vmap(self, shifted: Callable[..., Any], product: Callable[..., Any], *v: Any) -> Any:
        """Return the product of B with v, under vmap by ``shifted`` from the samples."""
        of = custom_vmap(lambda b, x, *v: product(b, *v))

        @of.def_vmap
        def of_batch(_: int, batched: Any, b: Any, *given: Any) -> tuple[Any, bool]:
            return jax.vmap(shifted, [0 if own else None for own in batched[1:]])(*given), True

        return of(*lax.stop_gradient((self.b, self.x.reshape(-1))), *v)


class Penalized:
    """A T for kernels w = T z. A penalty is a ridge on some coordinates z."""

    def __init__(self, operator: Matrix | Operator, basis: TapBasis) -> None:
        self.operator, self.x, self.means = operator, operator.x, operator.means
        rows, columns = operator.shape
        self.shape = rows, columns // basis.taps * basis.coordinates
        # In the precision of x, and varying over the same devices as x, see `alike`.
        nothing = jnp.zeros_like(self.means, shape=())
        matrices: Any = [jnp.asarray(m, nothing.dtype) + nothing for m in basis.matrices]
        self.basis, self.matrices = TapBasis(matrices), basis

    def of(self, x: Any) -> Penalized:
        """Return the matrix of other samples."""
        return Penalized(self.operator.of(x), self.matrices)

    def kernel(self, z: Any) -> Any:
        """Return w = T z (P, Q)."""
        return self.basis.expand(z[None], matmul)[0]

    def forward(self, z: Any) -> Any:
        """Return A T z (n, Q)."""
        return self.operator.forward(self.kernel(z))

    def adjoint(self, r: Any) -> Any:
        """Return Tᵀ Aᵀ r (R, Q)."""
        return self.basis.restrict(self.operator.adjoint(r)[None], matmul)[0]

    def gram(self) -> Any:
        """Return Tᵀ AᵀA T (R, R), a constant in derivatives."""
        half = self.basis.restrict(self.operator.gram()[None], matmul)
        return self.basis.rows(half, matmul)[0]

    def triangle(self, top: Any) -> Any:
        """Return R (R, R) of the rows ``top`` (R, R) and A T, a constant in derivatives."""
        columns = self.operator.shape[1]
        r = self.operator.triangle(jnp.zeros_like(top, shape=(columns, columns)))
        r = self.basis.rows(r[None], matmul)[0]
        return jnp.linalg.qr(jnp.concatenate([top, r]), mode="r")
