"""Gradient descent on either form of the data: start, steps, and the measures of a run.

`Stack` predicts by the convolution, `Rows` by a few rows that have the moments of all; the jitted
kernels ask no more of the data than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ..leastsquares.regression import Regression
from ..linalg.rank import EPS
from ..operators.design_matrix import without_confounds
from ..operators.jax_convolution import forward, gather_rows
from ..operators.layout import to_columns
from ..operators.nuisance import columns_of
from ..operators.tap_basis import BlockBasis
from ..operators.windows import design_matrix, normal_form
from ..problem.confounds import Confounds
from ..problem.spec import ConvSpec
from .base import Loss

# The optimizers that have a name.
NAMED = {"adam": optax.adam(5e-2), "lbfgs": optax.lbfgs()}

# Shapes of data for which compiled steps are kept, some 5 MB each; JAX would keep thousands.
KEPT_SHAPES = 32

# The class of a loss, or a callable of (prediction, target).
StaticLoss = type[Loss] | Callable[[Any, Any], Any]
HIGHEST = lax.Precision.HIGHEST


def _products(a: Any, w: Any) -> Any:
    """Rows a (groups, m, P) times a kernel, (m, Cout)."""
    y = jnp.matmul(a, to_columns(w, len(a)), precision=HIGHEST)
    return y.transpose(1, 0, 2).reshape(-1, w.shape[-1])


class Confounded(NamedTuple):
    """Weights of the rows, and the confounds N of every record.

    N is orthonormal over all rows, and multiplied by the root of their number here, so that a
    coefficient is about as large as a bias would be.

    Attributes:
        roots: (rows, 1), roots of the weights.
        columns: (rows, k), the columns of N that are not zero in the record of a row.
        places: (rows, k), their indices in N.
    """

    roots: Any
    columns: Any
    places: Any

    @classmethod
    def of(cls, confounds: Confounds, used: Sequence[int], dtype: Any) -> Confounded:
        """Return the weights and confounds of the rows of some records, in order."""
        spans = [(i, 0, confounds.kept.shapes[i][0]) for i in used]
        parts = [columns_of(confounds, span) for span in spans] if confounds.count else []
        roots = [np.broadcast_to(confounds.root(i), (confounds.kept.sizes[i], 1)) for i in used]
        most = max((len(places) for places, _ in parts), default=0)
        rows = confounds.kept.count
        columns, at, first = np.zeros((rows, most)), np.zeros((rows, most), np.int32), 0
        for places, values in parts:
            mine = slice(first, first + len(values)), slice(len(places))
            columns[mine], at[mine] = values, places
            first += len(values)
        columns *= math.sqrt(rows)
        return cls(np.concatenate(roots).astype(dtype), columns.astype(dtype), at)

    def some(self, picked: Any) -> Confounded:
        """Return the weights and confounds of chosen rows."""
        return Confounded(self.roots[picked], self.columns[picked], self.places[picked])

    def added(self, y: Any, c: Any) -> Any:
        """Return rows y (rows, Cout) times the roots of their weights, plus N c."""
        fit = jnp.einsum("nk,nkq->nq", self.columns, c[self.places], precision=HIGHEST)
        return self.roots * y + fit


class Stack(NamedTuple):
    """The data of a descent through the convolution.

    Attributes:
        x: (N, *E, Cin), records in normal form, filled to one shape.
        y: (rows, Cout). With confounds, these are projected out, and rows are multiplied by the
            roots of their weights.
        rows: indices of the windows that are used in the fit; None if all are used.
        confounded: the weights and confounds; None if there are none.
        basis: T (P, R) of kernels w = T z in coordinates z of one axis; None if z are the taps.
    """

    x: Any
    y: Any
    rows: Any = None
    confounded: Confounded | None = None
    basis: Any = None

    @classmethod
    def of(cls, regression: Regression) -> Stack:
        """Return the records of a design and its targets, without a penalty."""
        design, targets = regression.system.design, regression.targets
        of, basis = regression.system.basis, None
        if isinstance(of, BlockBasis):
            basis = of.dense.astype(design.dtype)
        spec, rows, dtype = design.spec, design.adjustments.kept, design.dtype
        used, records = rows.used, design.records_in_memory
        parts = [normal_form(records[i][None], spec)[0] for i in used]
        extent = tuple(max(axis) for axis in zip(*(p.shape for p in parts), strict=True))
        x = np.zeros((len(parts), *extent), dtype)
        counts = spec._normal.output_shape(extent[:-1])
        kept = np.zeros((len(parts), *counts), bool)
        for n, (i, part) in enumerate(zip(used, parts, strict=True)):
            x[n][tuple(map(slice, part.shape))] = part
            kept[n][tuple(map(slice, rows.shapes[i]))] = rows.flags_of(i)
        where = None if kept.all() else np.flatnonzero(kept)
        confounds, outputs = design.nuisance.confounds, targets.in_memory
        if confounds is None:
            y = np.concatenate([outputs[i][rows.flags_of(i)] for i in used])
            return cls(x, y, where, None, basis)
        y = without_confounds(confounds, outputs).astype(dtype)
        return cls(x, y, where, Confounded.of(confounds, used, dtype), basis)

    def kernel(self, z: Any, spec: ConvSpec) -> Any:
        """Return the kernel (*K, Cin/groups, Cout) of its coordinates."""
        if self.basis is None:
            return z
        taps = jnp.matmul(self.basis, z.reshape(-1, z.shape[-1]), precision=HIGHEST)
        return taps.reshape(*spec.kernel_size, -1, z.shape[-1])

    def predict(self, params: Any, spec: ConvSpec) -> Any:
        """Return A w + b + N c, (rows, Cout)."""
        w, b, c = params
        w = self.kernel(w, spec)
        y = forward(self.x, w, spec).reshape(-1, w.shape[-1])
        y = (y if self.rows is None else y[self.rows]) + b
        return y if self.confounded is None else self.confounded.added(y, c)

    def predict_some(self, params: Any, picked: Any, spec: ConvSpec) -> Any:
        """Return chosen rows of `predict`."""
        w, b, c = params
        w = self.kernel(w, spec)
        where = picked if self.rows is None else self.rows[picked]
        y = _products(gather_rows(self.x, where, spec), w) + b
        return y if self.confounded is None else self.confounded.some(picked).added(y, c)

    def beside_least_squares(self, params: Any, spec: ConvSpec) -> np.ndarray:
        """Return coefficients (q, Cout) of orthonormal N in addition to those of least squares.

        Confounds are projected out of y, so the rows y − A w have the fit −NᵀA w. The difference
        between it and the coefficients c is NᵀA w + c, the product of N with the predicted rows.
        """
        assert self.confounded is not None
        columns, places = self.confounded.columns, self.confounded.places
        rows = np.asarray(self.predict(params, spec), float)
        found = np.zeros(params[2].shape)
        np.add.at(found, places, columns[:, :, None] * rows[:, None] / math.sqrt(len(rows)))
        return found


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
        matrix, scaling, moments = regression.matrix, regression.scaling, regression.moments
        n, constant = moments.n, matrix.nuisance.constant
        scaled = np.stack([regression.system.gram(g) for g in range(matrix.groups)])
        values, vectors = np.linalg.eigh(scaled)
        # Below that they are rounding. Never zero, so that Sᵀc is r in every direction.
        floor = np.maximum(EPS * values[:, -1:], np.finfo(float).tiny)
        root = np.sqrt(np.maximum(values, floor))[:, :, None]
        at = vectors.transpose(0, 2, 1)
        c = at @ scaling.divided(regression.cross) / root
        squares = regression.y_norms**2 - np.einsum("gpq,gpq->gq", c, c)
        rest = np.sqrt(np.maximum(squares, 0))[:, None]
        count = math.sqrt(n) if constant else 0.0
        means = regression.system.basis.restrict(count * matrix.means[:, :, None])
        s = scaling.divided(means)[:, None, :, 0]
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
        """Return the rows R of [1 A Y] = QR for arrays under jit, which square no digits."""
        a = design_matrix(x, spec)
        groups, n, columns = a.shape
        out = y.reshape(n, groups, -1).transpose(1, 0, 2)
        ones = jnp.ones((groups, n, 1), a.dtype)
        r = jnp.linalg.qr(jnp.concatenate([ones, a, out], axis=-1), mode="r")
        r = r * math.sqrt(r.shape[1] / n)
        y = r[:, :, columns + 1 :].transpose(1, 0, 2).reshape(r.shape[1], -1)
        return cls(r[:, :, 1 : columns + 1], y, r[0, :, 0])

    def predict(self, params: Any, spec: ConvSpec | None) -> Any:
        """Return a w + ones·b, (m, Cout)."""
        w, b, _ = params
        return _products(self.a, w) + self.ones[:, None] * b


def _is_class(loss: StaticLoss) -> TypeGuard[type[Loss]]:
    return isinstance(loss, type)


def elementwise(loss: StaticLoss, prediction: Any, target: Any, delta: Any) -> Any:
    """Return the loss of every row and output, or the value of a callable."""
    if _is_class(loss):
        return loss.value(prediction - target, delta, jnp)
    custom: Any = loss
    found = custom(prediction, target)
    if not hasattr(found, "dtype"):
        raise TypeError(
            f"the loss returned {type(found).__name__}, not an array or a number of jax"
        )
    return found


def _chosen(optimizer: Any) -> Any:
    """Return the optimizer, by default Adam, with the extra arguments that L-BFGS requires."""
    named = NAMED.get(optimizer or "adam") if isinstance(optimizer, (str, type(None))) else None
    return optax.with_extra_args_support(optimizer if named is None else named)


def _step(
    optimizer: Any,
    loss: StaticLoss,
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
            p = p if bias else (p[0], lax.stop_gradient(p[1]), p[2])
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
    """Return parameters and key of every restart. Kernels of outputs not in ``live`` are zero.

    ``zeros`` are bias (Cout,) and coefficients (q, Cout) of confounds.
    """
    keys = jax.random.split(key, restarts)
    if init == "glorot_uniform":
        taps = math.prod(shape[:-2])
        limit = math.sqrt(6 / (taps * (shape[-2] + shape[-1])))
        dtype = zeros[0].dtype
        w = jax.vmap(lambda k: jax.random.uniform(k, shape, dtype, -limit, limit))(keys)
    else:
        w = jnp.broadcast_to(given, (restarts, *shape)).astype(zeros[0].dtype)
    return (w * live, *(jnp.broadcast_to(z, (restarts, *z.shape)) for z in zeros)), keys


@partial(jax.jit, static_argnames="optimizer")
def begin(params: Any, *, optimizer: Any) -> Any:
    """State of the optimizer for every restart."""
    state = jax.vmap(_chosen(optimizer).init)(params)
    # Weak types would turn strong after the first step, and the new signature compile again.
    return jax.tree.map(lambda a: lax.convert_element_type(a, a.dtype), state)


def start(solver: Any, shape: tuple[int, ...], dtype: Any, zero: Any, confounds: int = 0) -> Any:
    """Return parameters, state of the optimizer and key of every restart.

    Args:
        solver: a `GradientDescent`, which has the start, the optimizer, the seed and the number
            of restarts.
        shape: the shape of the kernel.
        dtype: the type of the parameters.
        zero: (Cout,), flags of the outputs that are zero throughout. They start at their solution,
            unless the caller chose the start.
        confounds: the number of columns whose coefficients are parameters.
    """
    key, named = solver.seed, solver.init if isinstance(solver.init, str) else None
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        key = jax.random.key(key) if np.ndim(key) == 0 else jax.random.wrap_key_data(key)
    live = np.logical_or(not named, np.logical_not(zero))
    given = np.zeros((), dtype) if named else solver.init
    zeros = np.zeros(shape[-1], dtype), np.zeros((confounds, shape[-1]), dtype)
    params, keys = draw(key, given, zeros, live, init=named, shape=shape, restarts=solver.restarts)
    return params, begin(params, optimizer=solver.optimizer), keys


def _norm(columns: Any) -> Any:
    """Norm of each column, without overflow or underflow of the squares."""
    largest = jnp.abs(columns).max(0)
    unit = jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.sum((columns / unit) ** 2, axis=0))


def advance(
    run: Any, data: Any, scale: Any, delta: Any, first: Any, count: Any, *,
    optimizer: Any, loss: StaticLoss, batch: int | None, spec: ConvSpec | None, bias: bool,
) -> Any:  # fmt: skip
    """``count`` steps of every restart, then what the host decides by, on all rows."""
    step = _step(optimizer, loss, batch, spec, bias, data, delta)

    def body(i: Any, carry: Any) -> Any:
        params, state, keys = carry
        params, state = jax.vmap(step, in_axes=(0, 0, None, 0))(params, state, first + i, keys)
        return params, state, keys

    run = lax.fori_loop(0, count, body, run)

    def measure(params: Any) -> Any:
        w = params[0]
        prediction = data.predict(params, spec)
        error = prediction - data.y
        value = jnp.mean(elementwise(loss, prediction, data.y, delta))
        pull = loss.influence(error, delta, jnp) if _is_class(loss) else error

        def against(p: Any) -> Any:
            return jnp.sum(pull * data.predict(p, spec))

        g_w, g_b, g_c = jax.grad(against)(params)
        g_b = g_b[None] if bias else g_b[None][:0]
        count = math.sqrt(data.y.shape[0])
        g = jnp.concatenate([(g_w / scale).reshape(-1, w.shape[-1]), g_b / count, g_c / count])
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
