"""Least squares under jax.jit, vmap and grad: one solve for every form of the design matrix.

B (n, k) is tall: the A (n, P) of one group where its rows are no fewer than its columns, else Aᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from ..operators.jax_operator import Operator, by_group, matmul, padded
from ..operators.layout import to_kernel
from ..problem.spec import ConvSpec
from .base import Objective

# A matrix of at most this many numbers is formed, since convolutions take longer.
FORMED_NUMBERS = 2**16
# Steps of refinement, at most.
STEPS = 4
# No step of refinement is taken once the error is below this many times condition · eps.
NEAR = 32
# Under vmap, problems whose matrices have so many numbers are solved at once.
BATCH_NUMBERS = 2**17


def fit(
    x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective, by_gram: bool
) -> tuple[Any, Any]:
    """Kernel and bias from x (N, *W, Cin) and y (N, *T, Cout), group after group.

    The factor comes from the Gram matrix if it proves full rank and ``by_gram`` is True. Otherwise
    it comes from the singular values of A. A is formed unless it is tall with more than
    `FORMED_NUMBERS`, and ``by_gram`` is True. It is then a convolution. ``weights`` (N, *T) may be
    None.
    """
    # Inside `jax.shard_map`, ``custom_linear_solve`` requires arrays that vary over the same axes
    # of a mesh. If x is split over devices and the ridge is not, derivatives have other types.
    arrays = x, y, weights, jnp.asarray(objective.strength, x.dtype)
    nothing = sum(jnp.zeros_like(a, shape=()) for a in jax.tree.leaves(arrays))
    x, y, weights, strength = jax.tree.map(lambda a: a + nothing, arrays)
    lags = spec.lags(x.shape[1:-1])
    coordinates = objective.penalty.coordinates(
        spec._in_taps(lags if isinstance(lags, tuple) else (lags,)), x.shape[-1], spec.groups
    )
    x, groups = padded(x, spec), spec.groups
    columns, rows = spec._unknowns(x.shape[-1]), math.prod(y.shape[:-1])
    # A dual form has one ridge for all taps. Other penalties add rows, which make A tall.
    dual = coordinates.basis.identity and coordinates.uniform
    wide = dual and rows < columns + bias
    formed = wide or not by_gram or rows * columns * groups <= FORMED_NUMBERS
    ridges = strength * coordinates.weights[:, :, None]
    k = ridges.shape[1]
    basis = None if coordinates.basis.identity else coordinates.basis.expand(np.eye(k)[None])[0]
    root = None if weights is None else jnp.sqrt(weights).reshape(-1, 1)
    form = ("wide" if wide else "tall") if formed else None
    how = replace(spec._normal, groups=1), bias, basis, form

    def of_group(signals: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        x, y, ridge = signals
        # A constant in a channel is a constant in its columns, which the bias takes up.
        shift: Any = lax.stop_gradient(x.mean(tuple(range(x.ndim - 1)))) if bias else 0
        operator, y = Operator(x - shift, root, *how), y.reshape(rows, -1)
        level = (operator.share * y).sum(0) if bias else jnp.zeros_like(y[0])
        y = y - level
        y = y if root is None else root * y
        n, k = operator.shape
        right = jnp.pad(y, ((n, 0) if wide else (0, k), (0, 0)))
        joint = saddle(operator, right, ridge, by_gram)
        w = operator.kernel((joint[:n] if wide else joint[n:])[:columns])
        if bias:
            level = level - matmul(operator.means + jnp.tile(shift, columns // len(shift)), w)
        return w, level

    ridges = jnp.broadcast_to(strength, (groups, 1, 1)) if dual else ridges
    kernels, biases = lax.map(of_group, (by_group(x, groups), by_group(y, groups), ridges))
    return to_kernel(kernels, spec.kernel_size), biases.reshape(-1)


def saddle(operator: Operator, right: Any, ridge: Any, by_gram: bool) -> Any:
    """Return [r; v] (n + k, Q) with r + B v = f and Bᵀ r − ridge·v = h, for ``right`` = [f; h].

    It is differentiable to any order. The factor of B is a constant inside the solve, so that no
    derivative goes through an SVD, which fails at repeated singular values. The first solve is
    refined with residuals of the data, which makes R as good as a QR with its Q.
    """
    n, constant = operator.shape[0], lax.stop_gradient(ridge)
    factors = (cholesky, singular) if by_gram else (singular,)
    found = by_batches(operator, *factors)(constant)

    def product(joint: Any) -> Any:
        r, v = joint[:n], joint[n:]
        return jnp.concatenate([r + operator.forward(v), operator.adjoint(r) - ridge * v])

    def refined(operator: Operator, ridge: Any, root: Any, rate: Any, right: Any) -> Any:
        f, h = right[:n], right[n:]

        def step(_: Any, state: Any) -> Any:
            r, v = state
            v = v + matmul(root, matmul(root.T, operator.adjoint(r) - ridge * v - h))
            return f - operator.forward(v), v

        count = 1 + jnp.minimum(steps(rate), STEPS).astype(int)
        return jnp.concatenate(lax.fori_loop(0, count, step, (f, jnp.zeros_like(h))))

    solve = partial(by_batches(operator, refined), constant, *found)
    return lax.custom_linear_solve(product, right, lambda _, b: solve(b), symmetric=True)


def cholesky(operator: Operator, ridge: Any) -> tuple[Any, Any]:
    """Return W (k, k) with W Wᵀ = (BᵀB + ridge·I)⁻¹, and the factor of one refinement step.

    The factor is the error after the step divided by the error before. W comes from an equilibrated
    Cholesky factor, with an error of κ²·eps. If norms do not show that this is small, the factor is
    infinite.
    """
    gram = operator.gram()
    unit = jnp.eye(len(gram), dtype=gram.dtype)
    gram = gram + ridge * unit
    squares = jnp.sum(gram * unit, axis=1)
    scale = lax.rsqrt(jnp.where(squares > 0, squares, 1))
    scaled = scale[:, None] * gram * scale
    lower = lax.linalg.cholesky(scaled, symmetrize_input=False)
    inverse = lax.linalg.triangular_solve(lower, unit, left_side=True, lower=True)
    rate = norm_bound(scaled) * norm_bound(inverse) ** 2 * jnp.finfo(gram.dtype).eps
    return scale[:, None] * inverse.T, jnp.where(steps(rate) <= STEPS, rate, jnp.inf)


def steps(rate: Any) -> Any:
    """Return the number of steps that reduce an error of κ·``rate`` to a small multiple of κ·eps.

    Each step multiplies the error by ``rate``. The number is infinite if ``rate`` is at least 1.
    """
    near = NEAR * jnp.finfo(rate.dtype).eps
    below = jnp.clip(rate, near, 1 - near)
    return jnp.where(rate < 1, jnp.ceil(jnp.log(below / near) / -jnp.log(below)), jnp.inf)


def singular(operator: Operator, ridge: Any) -> tuple[Any, Any]:
    """Return W (k, k) with W Wᵀ = (RᵀR)⁺ for R of [√ridge·I; B], and the factor of one step.

    The rank is decided for columns of norm one. The minimum norm refers to the columns themselves.
    The rounding error of the arithmetic does not grow with n. The rounding error of a signal that
    was computed in float64, such as a tone, does.
    """
    (n, k), eps = operator.shape, float(jnp.finfo(ridge.dtype).eps)
    r = operator.triangle(jnp.sqrt(ridge) * jnp.eye(k, dtype=ridge.dtype))
    sizes = jnp.linalg.norm(r, axis=0)
    sizes = jnp.where(sizes > 0, sizes, 1)
    values = jnp.linalg.svd(r / sizes, compute_uv=False)
    tolerance = max(10 * math.sqrt(k) * eps, max(n, k) * float(np.finfo(float).eps))
    rank = jnp.sum(values > tolerance * values[0])
    full = rank == k
    _, s, vt = jnp.linalg.svd(jnp.where(full, r / sizes, r))
    kept = (jnp.arange(k) < rank) & (s > 0)
    inverse = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0)
    root = vt.T * inverse / jnp.where(full, sizes, 1)[:, None]
    return root, s[0] * inverse.max() * eps


def by_batches(
    operator: Operator, of: Callable[..., Any], slow: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Return the function ``of(operator, *given)`` of arrays, without derivatives.

    Under vmap, also nested, it runs for a few problems at a time, whose matrices stay in the cache.
    Where its second result is not finite, ``slow`` is called instead, problem by problem. Under
    vmap, `lax.cond` alone would call it for all problems.
    """
    size = max(1, BATCH_NUMBERS // math.prod(operator.shape))

    def called(of: Any, given: Any) -> Any:
        return of(operator.of(*given[0]), *given[1:])

    def repaired(pair: Any) -> Any:
        given, found = pair
        return lax.cond(found[1] < jnp.inf, lambda: found, lambda: called(slow, given))

    @custom_vmap
    def of_all(given: Any) -> Any:
        found = lax.map(partial(called, of), given, batch_size=size)
        if slow is None:
            return found
        some = (found[1] == jnp.inf).any()
        return lax.cond(some, lambda: lax.map(repaired, (given, found)), lambda: found)

    @of_all.def_vmap
    def merged(count: int, batched: Any, given: Any) -> tuple[Any, Any]:
        def joined(a: Any, batched: bool) -> Any:
            a = a if batched else jnp.broadcast_to(a, (count, *a.shape))
            return a.reshape(-1, *a.shape[2:])

        found = of_all(jax.tree.map(joined, given, *batched))
        apart = jax.tree.map(lambda a: a.reshape(count, -1, *a.shape[1:]), found)
        return apart, jax.tree.map(lambda _: True, apart)

    def of_one(*given: Any) -> Any:
        one = lax.stop_gradient(operator.data), *given
        return jax.tree.map(lambda a: a[0], of_all(jax.tree.map(lambda a: a[None], one)))

    return of_one


def norm_bound(a: Any) -> Any:
    """Return a bound on the 2-norm of a matrix: √(‖a‖₁·‖a‖∞)."""
    a = jnp.abs(a)
    return jnp.sqrt(jnp.max(a.sum(0)) * jnp.max(a.sum(1)))
