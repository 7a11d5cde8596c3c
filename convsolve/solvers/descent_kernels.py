"""The jitted part of gradient descent: start, steps, and the measures of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ..leastsquares.regression import Regression
from ..operators.jax_operator import convolved, gather_rows, matmul
from ..operators.layout import to_columns
from ..operators.windows import normal_form
from ..problem.spec import ConvSpec

# The optimizers that have a name.
NAMED = {"adam": optax.adam(5e-2), "lbfgs": optax.lbfgs()}
# Shapes of data for which compiled steps are kept, some 5 MB each; JAX would keep thousands.
KEPT_SHAPES = 32


class Stack(NamedTuple):
    """The data of a descent.

    Attributes:
        x: (N, *E, Cin), records in normal form, filled to one shape.
        y: (rows, Cout).
        rows: indices of the windows that are used in the fit; None if all are used.
        basis: T (P, R) of kernels w = T z in coordinates z of one axis; None if z are the taps.
    """

    x: Any
    y: Any
    rows: Any = None
    basis: Any = None

    @classmethod
    def of(cls, regression: Regression) -> Stack:
        """Return the records of a design and its targets."""
        design, basis = regression.system.design, regression.system.basis
        spec, kept, dtype = design.spec, design.kept, design.dtype
        records, outputs = design.records_in_memory, regression.targets.in_memory
        parts = [normal_form(records[i][None], spec)[0] for i in kept.used]
        extent = tuple(max(axis) for axis in zip(*(p.shape for p in parts), strict=True))
        x = np.zeros((len(parts), *extent), dtype)
        flags = np.zeros((len(parts), *spec._normal.output_shape(extent[:-1])), bool)
        for n, (i, part) in enumerate(zip(kept.used, parts, strict=True)):
            x[n][tuple(map(slice, part.shape))] = part
            flags[n][tuple(map(slice, kept.shapes[i]))] = kept.flags_of(i)
        y = np.concatenate([outputs[i][kept.flags_of(i)] for i in kept.used])
        eye = np.eye(basis.count(0))[None]
        dense = None if basis.identity else basis.expand(eye)[0].astype(dtype)
        return cls(x, y, None if flags.all() else np.flatnonzero(flags), dense)

    def kernel(self, z: Any, spec: ConvSpec) -> Any:
        """Return the kernel (*K, Cin/groups, Cout) of its coordinates."""
        if self.basis is None:
            return z
        taps = matmul(self.basis, z.reshape(-1, z.shape[-1]))
        return taps.reshape(*spec.kernel_size, -1, z.shape[-1])

    def predict(self, params: Any, spec: ConvSpec, picked: Any = None) -> Any:
        """Return A w + b, (rows, Cout), or chosen rows of it."""
        w = self.kernel(params[0], spec)
        if picked is None:
            y = convolved(self.x, w, spec).reshape(-1, w.shape[-1])
            y = y if self.rows is None else y[self.rows]
        else:
            a = gather_rows(self.x, picked if self.rows is None else self.rows[picked], spec)
            y = matmul(a, to_columns(w, len(a)))
            y = y.transpose(1, 0, 2).reshape(-1, w.shape[-1])
        return y + params[1] if len(params) > 1 else y


def elementwise(loss: Any, prediction: Any, target: Any, delta: Any) -> Any:
    """Return the loss of every row and output, or the value of a callable."""
    if isinstance(loss, type):
        return loss.value(prediction - target, delta, jnp)  # type: ignore[attr-defined]
    found = loss(prediction, target)
    if not hasattr(found, "dtype"):
        raise TypeError(
            f"the loss returned {type(found).__name__}, not an array or a number of jax"
        )
    return found


def _chosen(optimizer: Any) -> Any:
    """Return the optimizer, by default Adam, with the extra arguments that L-BFGS requires."""
    named = NAMED.get(optimizer or "adam") if isinstance(optimizer, (str, type(None))) else None
    return optax.with_extra_args_support(optimizer if named is None else named)


@partial(jax.jit, static_argnames=("init", "shape", "restarts", "bias", "optimizer"))
def _begin(
    key: Any, given: Any, live: Any, *,
    init: str | None, shape: Any, restarts: int, bias: bool, optimizer: Any,
) -> Any:  # fmt: skip
    keys = jax.random.split(key, restarts)
    if init == "glorot_uniform":
        limit = math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
        w = jax.vmap(lambda k: jax.random.uniform(k, shape, given.dtype, -limit, limit))(keys)
    else:
        w = jnp.broadcast_to(given, (restarts, *shape))
    params = (w * live, jnp.zeros((restarts, shape[-1]), w.dtype))[: 1 + bias]
    state = jax.vmap(_chosen(optimizer).init)(params)
    # Weak types would turn strong after the first step, and the new signature compile again.
    return params, jax.tree.map(lambda a: lax.convert_element_type(a, a.dtype), state), keys


def start(solver: Any, shape: tuple[int, ...], dtype: Any, live: Any, bias: bool) -> Any:
    """Return parameters, state of the optimizer and key of every restart.

    Args:
        solver: a `GradientDescent`, which has the start, the optimizer, the seed and the number
            of restarts.
        shape: the shape of the kernel.
        dtype: the type of the parameters.
        live: (Cout,), False for outputs that are zero throughout. They start at their solution,
            unless the caller chose the start.
        bias: whether the bias is a parameter.
    """
    key, named = solver.seed, solver.init if isinstance(solver.init, str) else None
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        key = jax.random.key(key) if np.ndim(key) == 0 else jax.random.wrap_key_data(key)
    given = jnp.asarray(0 if named else solver.init, dtype)
    static = {"shape": shape, "restarts": solver.restarts, "optimizer": solver.optimizer}
    return _begin(key, given, live if named else True, init=named, bias=bias, **static)


def _norm(columns: Any) -> Any:
    """Norm of each column, without overflow or underflow of the squares."""
    largest = jnp.abs(columns).max(0)
    unit = jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.sum((columns / unit) ** 2, axis=0))


def advance(
    run: Any, data: Stack, scale: Any, delta: Any, first: Any, count: Any, *,
    optimizer: Any, loss: Any, batch: int | None, spec: ConvSpec,
) -> Any:  # fmt: skip
    """``count`` steps of every restart, then what the host decides by, on all rows."""
    optimizer, rows = _chosen(optimizer), data.y.shape[0]

    def step(params: Any, state: Any, number: Any, key: Any) -> Any:
        picked, target = None, data.y
        if batch is not None:
            picked = jax.random.randint(jax.random.fold_in(key, number), (batch,), 0, rows)
            target = data.y[picked]

        def objective(p: Any) -> Any:
            return jnp.mean(elementwise(loss, data.predict(p, spec, picked), target, delta))

        value, grad = jax.value_and_grad(objective)(params)
        updates, state = optimizer.update(
            grad, state, params, value=value, grad=grad, value_fn=objective
        )
        return optax.apply_updates(params, updates), state

    def body(i: Any, carry: Any) -> Any:
        params, state, keys = carry
        params, state = jax.vmap(step, in_axes=(0, 0, None, 0))(params, state, first + i, keys)
        return params, state, keys

    def measure(params: Any) -> Any:
        prediction = data.predict(params, spec)
        error = prediction - data.y
        value = jnp.mean(elementwise(loss, prediction, data.y, delta))
        pull = loss.influence(error, delta, jnp) if isinstance(loss, type) else error  # type: ignore[attr-defined]
        g, *b = jax.grad(lambda p: jnp.sum(pull * data.predict(p, spec)))(params)
        flat = [(g / scale).reshape(-1, g.shape[-1]), *(v[None] / math.sqrt(rows) for v in b)]
        size = _norm((params[0] * scale).reshape(-1, g.shape[-1]))
        value = jnp.broadcast_to(value, size.shape)
        parts = value, _norm(jnp.concatenate(flat)), _norm(pull), _norm(error), size
        # One array: its transfer is most of what a look costs.
        return jnp.stack([*parts, jnp.abs(error).sum(0)])

    run = lax.fori_loop(0, count, body, run)
    return run, jax.vmap(measure, out_axes=1)(run[0])


@lru_cache(maxsize=KEPT_SHAPES)
def compiled(*shapes: Any, **static: Any) -> Callable[..., Any]:
    """Return `advance` with these settings, compiled. Only the last few are kept.

    Every compiled program has a separate function, because JAX keeps it as long as the function.
    """
    return jax.jit(partial(advance, **static))


class Measured(NamedTuple):
    """What decides the status, each (restarts, Cout) with A equilibrated; the loss is over all."""

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
