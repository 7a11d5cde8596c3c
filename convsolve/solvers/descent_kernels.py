"""Gradient descent on either form of the data: start, steps, and the measures of a run.

`Stack` predicts by the convolution, `Rows` by a few rows that have the moments of all; the jitted
kernels ask no more of the data than that.
"""

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

from ..leastsquares.design import Design
from ..leastsquares.regression import Regression
from ..linalg.rank import EPS
from ..operators.design_matrix import Targets
from ..operators.jax_convolution import forward, gather_rows
from ..operators.layout import to_columns
from ..operators.windows import design_matrix, normal_form
from ..problem.spec import ConvSpec

# The optimizer where none is given.
ADAM = optax.adam(5e-2)

# Shapes of data for which compiled steps are kept, some 5 MB each; JAX would keep thousands.
KEPT_SHAPES = 32

Loss = str | Callable[[Any, Any], Any]


def _products(a: Any, w: Any) -> Any:
    """Rows a (groups, m, P) times a kernel, (m, Cout)."""
    y = jnp.matmul(a, to_columns(w, len(a)), precision=lax.Precision.HIGHEST)
    return y.transpose(1, 0, 2).reshape(-1, w.shape[-1])


def _rows(y: np.ndarray, flags: np.ndarray | None) -> np.ndarray:
    """The outputs (n, Cout) of a record that count."""
    return y.reshape(-1, y.shape[-1]) if flags is None else y[flags]


class Stack(NamedTuple):
    """x ``(N, *E, Cin)`` in normal form, y (rows, Cout), and the windows that count; None: all."""

    x: Any
    y: Any
    rows: Any = None

    @classmethod
    def of(cls, design: Design, targets: Targets) -> Stack:
        """Records in normal form, filled to one shape."""
        spec, rows, dtype = design.spec, design.adjustments.kept, design.dtype
        used, records = rows.used, design.records_in_memory
        parts = [normal_form(records[i][None], spec)[0] for i in used]
        extent = tuple(max(axis) for axis in zip(*(p.shape for p in parts), strict=True))
        x = np.zeros((len(parts), *extent), dtype)
        counts = spec.normal.output_shape(extent[:-1])
        kept = np.zeros((len(parts), *counts), bool)
        flags: dict[int, np.ndarray | None] = {}
        for n, (i, part) in enumerate(zip(used, parts, strict=True)):
            x[n][tuple(map(slice, part.shape))] = part
            shape = rows.shapes[i]
            flags[i] = rows.of_span((i, 0, shape[0]))
            kept[n][tuple(map(slice, shape))] = True if flags[i] is None else flags[i]
        y = np.concatenate([_rows(targets.records[i], flags[i]) for i in used])
        return cls(x, y, None if kept.all() else np.flatnonzero(kept))

    def predict(self, params: Any, spec: ConvSpec) -> Any:
        """A w + b, (rows, Cout)."""
        w, b = params
        y = forward(self.x, w, spec).reshape(-1, w.shape[-1])
        return (y if self.rows is None else y[self.rows]) + b

    def predict_some(self, params: Any, picked: Any, spec: ConvSpec) -> Any:
        """Chosen rows of `predict`."""
        w, b = params
        where = picked if self.rows is None else self.rows[picked]
        return _products(gather_rows(self.x, where, spec), w) + b


class Rows(NamedTuple):
    """m = P + 2 rows a (groups, m, P), y (m, Cout) and ones (m,) with the loss of all rows.

    For all w and b, the mean of ``(a w + ones·b - y)²`` equals the mean over the n rows of A and Y.

    With the column of ones projected out, AᵀA = VΛVᵀ, column means s and t, and r = Aᵀy,

        ‖A w + b - y‖² = ‖S w - c‖² + (‖y‖² - ‖c‖²) + n(s·w + b - t)²,
        S = Λ^½ Vᵀ, c = Λ^-½ Vᵀ r.

    Not wᵀAᵀA w - 2wᵀr + ‖y‖², which cancels where the residual is small, and whose Gram rounded to
    float32 loses all singular values below 3e-4 of the largest. Rows keep the conditioning of A;
    the one difference left, ‖y‖² - ‖c‖² in float64, is a constant.
    """

    a: Any
    y: Any
    ones: Any

    @classmethod
    def of(cls, regression: Regression, dtype: Any) -> Rows:
        """From the moments of a problem, in the user's units and the data's precision."""
        operator, scaling, moments = regression.operator, regression.scaling, regression.moments
        n, constant = moments.n, operator.nuisance.constant
        scaled = np.stack([regression.system.gram(g) for g in range(operator.groups)])
        values, vectors = np.linalg.eigh(scaled)
        # Below that they are rounding. Never zero, so that Sᵀc is r in every direction.
        floor = np.maximum(EPS * values[:, -1:], np.finfo(float).tiny)
        root = np.sqrt(np.maximum(values, floor))[:, :, None]
        at = vectors.transpose(0, 2, 1)
        c = at @ scaling.gradient(regression.cross) / root
        squares = regression.y_norms**2 - np.einsum("gpq,gpq->gq", c, c)
        rest = np.sqrt(np.maximum(squares, 0))[:, None]
        count = math.sqrt(n) if constant else 0.0
        s = scaling.gradient(count * operator.means[:, :, None])[:, None, :, 0]
        t = count * moments.about_means.out_shift[:, None]
        a = np.concatenate([root * at, np.zeros_like(s), s], axis=1)
        y = np.concatenate([c, rest, t], axis=1)
        ones = np.append(np.zeros(a.shape[1] - 1), count)
        # As a mean over m rows, not n.
        weight = math.sqrt(a.shape[1] / n)
        with np.errstate(over="ignore"):
            a = np.ldexp(weight * a, scaling.exponents[:, None])
            y = np.ldexp(weight * y, regression.y_exponents[:, None])
            y = y.transpose(1, 0, 2).reshape(len(ones), -1)
            return cls(*(v.astype(dtype) for v in (a, y, weight * ones)))

    @classmethod
    def traced(cls, x: Any, y: Any, spec: ConvSpec) -> Rows:
        """The same of arrays under jit, where R of [1 A Y] = QR serves: no digits are squared."""
        a = design_matrix(x, spec)
        groups, n, columns = a.shape
        out = y.reshape(n, groups, -1).transpose(1, 0, 2)
        ones = jnp.ones((groups, n, 1), a.dtype)
        r = jnp.linalg.qr(jnp.concatenate([ones, a, out], axis=-1), mode="r")
        r = r * math.sqrt(r.shape[1] / n)
        y = r[:, :, columns + 1 :].transpose(1, 0, 2).reshape(r.shape[1], -1)
        return cls(r[:, :, 1 : columns + 1], y, r[0, :, 0])

    def predict(self, params: Any, spec: ConvSpec | None) -> Any:
        """a w + ones·b, (m, Cout)."""
        w, b = params
        return _products(self.a, w) + self.ones[:, None] * b


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


def _chosen(optimizer: Any) -> Any:
    """The optimizer, or Adam; each takes what L-BFGS asks for, the loss among other things."""
    return optax.with_extra_args_support(ADAM if optimizer is None else optimizer)


def _step(
    optimizer: Any,
    loss: Loss,
    batch: int | None,
    spec: ConvSpec | None,
    bias: bool,
    data: Any,
    delta: Any,
) -> Any:
    """One step of one run, as a function of (parameters, optimizer state, step number, key)."""
    optimizer = _chosen(optimizer)

    def step(params: Any, state: Any, number: Any, key: Any) -> Any:
        if batch is None:
            target, predict = data.y, lambda p: data.predict(p, spec)
        else:
            key, count = jax.random.fold_in(key, number), data.y.shape[0]
            picked = jax.random.randint(key, (batch,), 0, count)
            target, predict = data.y[picked], lambda p: data.predict_some(p, picked, spec)

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
def draw(
    key: Any, given: Any, zeros: Any, live: Any, *, init: Any, shape: Any, restarts: int
) -> Any:
    """Parameters and key of every restart; the kernels of outputs that are not ``live`` zero."""
    keys = jax.random.split(key, restarts)
    if init == "glorot_uniform":
        taps = math.prod(shape[:-2])
        limit = math.sqrt(6 / (taps * (shape[-2] + shape[-1])))
        w = jax.vmap(lambda k: jax.random.uniform(k, shape, zeros.dtype, -limit, limit))(keys)
    else:
        w = jnp.broadcast_to(given, (restarts, *shape)).astype(zeros.dtype)
    return (w * live, jnp.broadcast_to(zeros, (restarts, *zeros.shape))), keys


@partial(jax.jit, static_argnames="optimizer")
def begin(params: Any, *, optimizer: Any) -> Any:
    """State of the optimizer for every restart."""
    state = jax.vmap(_chosen(optimizer).init)(params)
    # Weak types would turn strong after the first step, and the new signature compile again.
    return jax.tree.map(lambda a: lax.convert_element_type(a, a.dtype), state)


def start(
    live: Any,
    shape: tuple[int, ...],
    dtype: Any,
    key: Any,
    init: Any,
    optimizer: Any,
    restarts: int,
) -> Any:
    """Parameters, state of the optimizer and key of every restart, for a kernel of ``shape``."""
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        key = jax.random.key(key) if np.ndim(key) == 0 else jax.random.wrap_key_data(key)
    named = init if isinstance(init, str) else None
    given = np.zeros((), dtype) if named else init
    zeros = np.zeros(shape[-1], dtype)
    params, keys = draw(key, given, zeros, live, init=named, shape=shape, restarts=restarts)
    return params, begin(params, optimizer=optimizer), keys


def _norm(columns: Any) -> Any:
    """Norm of each column, without overflow or underflow of the squares."""
    largest = jnp.abs(columns).max(0)
    unit = jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.sum((columns / unit) ** 2, axis=0))


def advance(
    run: Any, data: Any, scale: Any, delta: Any, first: Any, count: Any, *,
    optimizer: Any, loss: Loss, batch: int | None, spec: ConvSpec | None, bias: bool,
) -> Any:  # fmt: skip
    """``count`` steps of every restart, then what the host decides by, on all rows."""
    step = _step(optimizer, loss, batch, spec, bias, data, delta)

    def body(i: Any, carry: Any) -> Any:
        params, state, keys = carry
        params, state = jax.vmap(step, in_axes=(0, 0, None, 0))(params, state, first + i, keys)
        return params, state, keys

    run = lax.fori_loop(0, count, body, run)

    def measure(params: Any) -> Any:
        w, _ = params
        prediction = data.predict(params, spec)
        error = prediction - data.y
        value = jnp.mean(elementwise(loss, prediction, data.y, delta))
        pull = jnp.clip(error, -delta, delta) if loss == "huber" else error

        def against(p: Any) -> Any:
            return jnp.sum(pull * data.predict(p, spec))

        g_w, g_b = jax.grad(against)(params)
        g = (g_w / scale).reshape(-1, w.shape[-1])
        if bias:
            g = jnp.concatenate([g, g_b[None] / math.sqrt(data.y.shape[0])])
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
