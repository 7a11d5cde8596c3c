"""The jitted kernels of gradient descent: start, steps, and the measures a run is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ..convolution import forward, gather_rows
from ..spec import ConvSpec

Loss = str | Callable[[Any, Any], Any]


def elementwise(loss: Loss, prediction: Any, target: Any, delta: Any) -> Any:
    """The loss of every row and output, or whatever a callable makes of all of them."""
    error = prediction - target
    if loss == "mse":
        return error**2
    if loss == "mae":
        return jnp.abs(error)
    if loss == "huber":
        size = jnp.abs(error)
        return jnp.where(size <= delta, error**2 / 2, delta * (size - delta / 2))
    found = loss(prediction, target)  # type: ignore[operator]
    if not hasattr(found, "dtype"):
        raise TypeError(
            f"the loss returned {type(found).__name__}, not an array or a number of jax"
        )
    return found


def _predict(params: Any, x: Any, rows: Any, spec: ConvSpec) -> Any:
    w, b = params
    y = forward(x, w, spec).reshape(-1, w.shape[-1])
    return (y if rows is None else y[rows]) + b


def _predict_some(params: Any, x: Any, rows: Any, spec: ConvSpec) -> Any:
    w, b = params
    a = gather_rows(x, rows, spec)
    out = w.shape[-1] // spec.groups
    kernel = w.reshape(-1, spec.groups, out).transpose(1, 0, 2)
    y = jnp.matmul(a, kernel, precision=lax.Precision.HIGHEST)
    return y.transpose(1, 0, 2).reshape(-1, w.shape[-1]) + b


def _step(
    optimizer: Any, loss: Loss, batch: int | None, spec: ConvSpec, bias: bool, data: Any, delta: Any
) -> Any:
    """One step of one run, as a function of (parameters, optimizer state, step number, key)."""
    x, y, rows = data

    def step(params: Any, state: Any, number: Any, key: Any) -> Any:
        if batch is None:
            target, predict = y, lambda p: _predict(p, x, rows, spec)
        else:
            picked = jax.random.randint(jax.random.fold_in(key, number), (batch,), 0, y.shape[0])
            where = picked if rows is None else rows[picked]
            target, predict = y[picked], lambda p: _predict_some(p, x, where, spec)

        def objective(p: Any) -> Any:
            p = p if bias else (p[0], lax.stop_gradient(p[1]))
            return jnp.mean(elementwise(loss, predict(p), target, delta))

        value, grad = jax.value_and_grad(objective)(params)
        updates, state = optimizer.update(
            grad, state, params, value=value, grad=grad, value_fn=objective
        )
        return optax.apply_updates(params, updates), state

    return step


@partial(jax.jit, static_argnames=("init", "shape", "restarts"))
def draw(key: Any, given: Any, zeros: Any, *, init: Any, shape: Any, restarts: int) -> Any:
    """Parameters and key of every restart."""
    keys = jax.random.split(key, restarts)
    if init == "glorot_uniform":
        taps = math.prod(shape[:-2])
        limit = math.sqrt(6 / (taps * (shape[-2] + shape[-1])))
        w = jax.vmap(lambda k: jax.random.uniform(k, shape, zeros.dtype, -limit, limit))(keys)
    else:
        w = jnp.broadcast_to(given, (restarts, *shape)).astype(zeros.dtype)
    return (w, jnp.broadcast_to(zeros, (restarts, *zeros.shape))), keys


@partial(jax.jit, static_argnames="optimizer")
def begin(params: Any, *, optimizer: Any) -> Any:
    """State of the optimizer for every restart."""
    state = jax.vmap(optimizer.init)(params)
    # Weak types would turn strong after the first step, and the new signature compile again.
    return jax.tree.map(lambda a: lax.convert_element_type(a, a.dtype), state)


def _norm(columns: Any) -> Any:
    """Norm of each column, without overflow or underflow of the squares."""
    largest = jnp.abs(columns).max(0)
    unit = jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.sum((columns / unit) ** 2, axis=0))


@partial(jax.jit, static_argnames=("optimizer", "loss", "batch", "spec", "bias"))
def advance(
    run: Any, data: Any, scale: Any, delta: Any, first: Any, count: Any, *,
    optimizer: Any, loss: Loss, batch: int | None, spec: ConvSpec, bias: bool,
) -> Any:  # fmt: skip
    """``count`` steps of every restart, then what the host judges by, on all rows."""
    step = _step(optimizer, loss, batch, spec, bias, data, delta)

    def body(i: Any, carry: Any) -> Any:
        params, state, keys = carry
        params, state = jax.vmap(step, in_axes=(0, 0, None, 0))(params, state, first + i, keys)
        return params, state, keys

    run = lax.fori_loop(0, count, body, run)
    x, y, rows = data

    def judge(params: Any) -> Any:
        w, _ = params
        prediction = _predict(params, x, rows, spec)
        error = prediction - y
        value = jnp.mean(elementwise(loss, prediction, y, delta))
        pull = jnp.clip(error, -delta, delta) if loss == "huber" else error

        def against(p: Any) -> Any:
            return jnp.sum(pull * _predict(p, x, rows, spec))

        g_w, g_b = jax.grad(against)(params)
        g = (g_w / scale).reshape(-1, w.shape[-1])
        if bias:
            g = jnp.concatenate([g, g_b[None] / math.sqrt(y.shape[0])])
        size = _norm((w * scale).reshape(-1, w.shape[-1]))
        found = Measured(
            jnp.broadcast_to(value, size.shape),
            _norm(g),
            _norm(pull),
            _norm(error),
            size,
            jnp.abs(error).sum(0),
        )
        # One array: its transfer is most of what a look costs.
        return jnp.stack(found)

    return run, jax.vmap(judge, out_axes=1)(run[0])


class Measured(NamedTuple):
    """What a run is judged by, each (restarts, Cout) with A equilibrated; the loss is over all."""

    loss: Any
    gradient: Any
    pull: Any
    residual: Any
    size: Any
    absolute: Any

    @property
    def best(self) -> int:
        """The restart of lowest loss."""
        losses = self.loss[:, 0]
        return int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
