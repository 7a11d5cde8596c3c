"""Least squares under jax.jit, vmap and grad: one differentiable saddle-point solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..operators.windows import design_matrix
from ..problem.spec import ConvSpec

HIGHEST = lax.Precision.HIGHEST
Solve = Callable[[Any, Any, Any], Any]


def matmul(a: Any, b: Any) -> Any:
    """a @ b in full precision: TF32 would cost 1e-2 on a GPU."""
    return jnp.matmul(a, b, precision=HIGHEST)


def fit(x: Any, y: Any, spec: ConvSpec, bias: bool, ridge: Any, tall: Solve, wide: Solve) -> Any:
    """Kernel and bias by ``tall(A, y, ridge)`` or ``wide(A, y, ridge)``, both for one group.

    A is centred for a bias. Then a wide A has no full row rank; a constant column beside it
    restores that and takes no part in the answer, since centred outputs are orthogonal to it.
    """
    a = design_matrix(x, spec)
    groups, rows, columns = a.shape
    out = y.shape[-1]
    b = y.reshape(-1, groups, out // groups).transpose(1, 0, 2)
    a_mean, b_mean = a.mean(1, keepdims=True), b.mean(1, keepdims=True)
    if bias:
        a, b = a - a_mean, b - b_mean
    if rows >= columns + bias:
        w = jax.vmap(tall, in_axes=(0, 0, None))(a, b, ridge)
    else:
        if bias:
            level = lax.stop_gradient(jnp.sqrt(jnp.mean(a**2)))
            a = jnp.concatenate([a, jnp.full((groups, rows, 1), level)], axis=-1)
        w = jax.vmap(wide, in_axes=(0, 0, None))(a, b, ridge)[:, :columns]
    b0 = (b_mean - matmul(a_mean, w)).reshape(-1) if bias else jnp.zeros(out, w.dtype)
    kernel = w.reshape(groups, *spec.kernel_size, -1, out // groups)
    return jnp.moveaxis(kernel, 0, -2).reshape(*kernel.shape[1:-1], out), b0


def solve_gram(
    gram: Any, right: Any, ridge: Any, product: Callable[[Any], Any] | None = None
) -> Any:
    """(gram + ridge I)⁻¹ right for gram (..., P, P), its equilibrated Cholesky factor a constant
    inside the solve.

    ``product``, that same matrix times a vector, straight from the data and differentiable, takes
    the place of the Gram in derivatives and in a step of refinement.
    """

    def dense(v: Any) -> Any:
        return matmul(gram, v) + ridge * v

    unit = jnp.eye(gram.shape[-1], dtype=gram.dtype)
    fixed = lax.stop_gradient(gram + ridge * unit)
    diagonal = jnp.sum(fixed * unit, axis=-1)
    scale = jnp.where(diagonal > 0, lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)), 1)[..., None]
    scaled = scale * fixed * scale.swapaxes(-2, -1)
    factor = lax.linalg.cholesky(scaled, symmetrize_input=False)

    def once(b: Any) -> Any:
        half = lax.linalg.triangular_solve(factor, scale * b, left_side=True, lower=True)
        return scale * lax.linalg.triangular_solve(
            factor, half, left_side=True, lower=True, transpose_a=True
        )

    def solve(times: Any, b: Any) -> Any:
        first = once(b)
        return first if product is None else first + once(b - times(first))

    return lax.custom_linear_solve(product or dense, right, solve, symmetric=True)


def saddle(b: Any, f: Any, h: Any, ridge: Any, svd: bool) -> tuple[Any, Any]:
    """(r, v) with r + B v = f and Bᵀ r − ridge·v = h, for a tall B; differentiable to any order.

    Least squares is f = y, h = 0 (v is the kernel); the minimum norm of a wide A is B = Aᵀ, f = 0,
    h = y (r is the kernel). The factor of [B; √ridge I] is a constant inside the solve, so that no
    derivative goes through a QR or an SVD, which fail at repeated singular values.
    """
    n, k = b.shape
    stacked = jnp.concatenate([b, jnp.sqrt(ridge) * jnp.eye(k, dtype=b.dtype)])
    stacked = lax.stop_gradient(stacked)
    if svd:
        u, s, vt = jnp.linalg.svd(stacked, full_matrices=False)
        cut = max(n, k, 10 * np.sqrt(k)) * jnp.finfo(b.dtype).eps * s[0]
        kept = s > cut
        inverse = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0)[:, None]

        def backward(c: Any) -> Any:
            return matmul(vt.T, inverse * c)

        def forward(c: Any) -> Any:
            return inverse * matmul(vt, c)

        q = u
    else:
        q, r = jnp.linalg.qr(stacked)
        # R waits for Q: on a CPU, XLA starts thousands of solves and factors together otherwise, as
        # under vmap, and each waits for the threads that the others hold.
        r = r + 0 * q[:1, :1]

        def backward(c: Any) -> Any:
            return jax.scipy.linalg.solve_triangular(r, c)

        def forward(c: Any) -> Any:
            return jax.scipy.linalg.solve_triangular(r, c, trans=1)

    # One array, not a pair: the transpose of custom_linear_solve wants every part to be perturbed.
    def solve(_: Any, right: Any) -> Any:
        top, bottom = right[:n], right[n:]
        half = matmul(q[:n].T, top) - forward(bottom)
        return jnp.concatenate([top - matmul(q[:n], half), backward(half)])

    def product(pair: Any) -> Any:
        r, v = pair[:n], pair[n:]
        return jnp.concatenate([r + matmul(b, v), matmul(b.T, r) - ridge * v])

    joint = lax.custom_linear_solve(product, jnp.concatenate([f, h]), solve, symmetric=True)
    return joint[:n], joint[n:]


def tall_by_gram(a: Any, y: Any, ridge: Any) -> Any:
    """The kernel of a tall A from AᵀA."""
    return solve_gram(matmul(a.T, a), matmul(a.T, y), ridge)


def wide_by_gram(a: Any, y: Any, ridge: Any) -> Any:
    """The kernel of a wide A from AAᵀ."""
    return matmul(a.T, solve_gram(matmul(a, a.T), y, ridge))


def tall_by_factor(a: Any, y: Any, ridge: Any, svd: bool) -> Any:
    """The kernel of a tall A from a QR of it, or its singular values."""
    zeros = jnp.zeros((a.shape[1], y.shape[1]), y.dtype)
    return saddle(a, y, zeros, ridge, svd)[1]


def wide_by_factor(a: Any, y: Any, ridge: Any, svd: bool) -> Any:
    """The kernel of a wide A from a QR of Aᵀ, or its singular values."""
    zeros = jnp.zeros((a.shape[1], y.shape[1]), y.dtype)
    return saddle(a.T, zeros, y, ridge, svd)[0]
