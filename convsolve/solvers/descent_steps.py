"""The steps of a gradient descent under jax, compiled for every shape of the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ..operators.jax_operator import convolved, gather_rows, matmul
from ..operators.layout import to_kernel
from ..problem.spec import ConvSpec
from .base import Loss
from .descent_data import MOMENTUM, RecordArrays, StepUnits, SumArrays


class Params(NamedTuple):
    """The unknowns of a descent, in its units.

    Attributes:
        z: coordinates (G, R, Q) of the kernels.
        level: coefficients (q, Cout) of √rows·N, in addition to their least-squares fit to y. None
            without N, and for squares, of which N is projected out.
    """

    z: Any
    level: Any


class Look(NamedTuple):
    """A look at the restart of the lowest loss, in the user's units.

    Attributes:
        loss: the mean loss with its penalty.
        z: coordinates (G, R, Q).
        level: coefficients (q, Cout) of N, in addition to their least-squares fit to y, or None.
        gradient: derivative (G, R, Q) of the loss with respect to z.
        level_gradient: derivative (q, Cout) with respect to ``level``.
        error_norms: (Cout,), norms of the residuals.
        slope_norms: (Cout,), norms of the derivative of the mean loss with respect to the
            predictions, times their number.
    """

    loss: Any
    z: Any
    level: Any
    gradient: Any
    level_gradient: Any
    error_norms: Any
    slope_norms: Any


class Evaluation(NamedTuple):
    """The loss in the units of the descent, its gradient, and the norms of a `Look`."""

    loss: Any
    gradient: Params
    error_norms: Any
    slope_norms: Any


class Run(NamedTuple):
    """The state of a descent: the unknowns, and the state of the optimizer."""

    params: Params
    state: Any


def transformation(optimizer: Any, rate: Any) -> Any:
    """Return the transformation of optax for a name and a learning rate, or the given object."""
    if not isinstance(optimizer, str):
        return optimizer
    if optimizer == "lbfgs":
        return optax.lbfgs()
    if optimizer in ("momentum", "nesterov"):
        return optax.sgd(rate, momentum=MOMENTUM[optimizer], nesterov=optimizer == "nesterov")
    return getattr(optax, optimizer)(rate)


def scheduled(units: StepUnits, step: Any) -> Any:
    """Return the learning rate of a step."""
    share = jnp.minimum(step / jnp.maximum(units.last, 1), 1.0)
    cosine = (1 + jnp.cos(jnp.pi * share)) / 2
    return units.rate * jnp.where(units.last > 0, cosine, 1.0)


# --- the loss and its gradient


def evaluate_sums(params: Params, data: SumArrays, rows: Any = None) -> Evaluation:
    """Return the mean square and its gradient from the sums over rows."""
    z = params.z * data.units.kernel
    product = matmul(data.gram, z)
    residual_squares = data.squares + jnp.sum(z * (product - 2 * data.cross), axis=1)
    loss = residual_squares.sum() / data.numbers
    gradient = 2 / data.numbers * (product - data.cross)
    if data.ridge is not None:
        loss = loss + jnp.sum(data.ridge * z**2)
        gradient = gradient + 2 * data.ridge * z

    norms = jnp.sqrt(jnp.maximum(residual_squares, 0.0)).reshape(-1)
    scale = data.units.kernel / data.units.loss
    in_units = Params(scale * gradient, None)
    return Evaluation(loss / data.units.loss, in_units, norms, 2 * norms)


def evaluate_records(
    params: Params, data: RecordArrays, rows: Any, loss: Loss, spec: ConvSpec
) -> Evaluation:
    """Return the mean loss and its gradient from the convolution, for some rows or for all."""
    target = data.y if rows is None else data.y[rows]

    def objective(params: Params) -> tuple[Any, Any]:
        prediction = _predicted(params, data, rows, spec)
        value = loss.mean(prediction, target, jnp)
        if data.ridge is not None:
            value = value + jnp.sum(data.ridge * (data.units.kernel * params.z) ** 2)
        return value / data.units.loss, prediction

    (value, prediction), gradient = jax.value_and_grad(objective, has_aux=True)(params)
    slope = jax.grad(lambda p: loss.mean(p, target, jnp))(prediction)
    error_norms = jnp.linalg.norm(prediction - target, axis=0)
    # The derivative of a mean is so small that its square could underflow.
    slope_norms = jnp.linalg.norm(slope * slope.size, axis=0)
    return Evaluation(value, gradient, error_norms, slope_norms)


def _predicted(params: Params, data: RecordArrays, rows: Any, spec: ConvSpec) -> Any:
    """Return the predictions (rows, Cout) M A T z, and what N adds to them."""
    z = params.z * data.units.kernel
    w = z if data.basis is None else matmul(data.basis, z)
    if rows is None:
        found = _convolved(w, data, spec)
    else:
        windows = rows if data.rows is None else data.rows[rows]
        by_group = matmul(gather_rows(data.x, windows, spec), w)
        found = by_group.transpose(1, 0, 2).reshape(len(rows), -1)
    if data.root is not None:
        found = found * (data.root if rows is None else data.root[rows])

    if data.nuisance is not None:
        columns = data.nuisance if rows is None else data.nuisance[rows]
        # Coefficients (q, Cout) of N: M A subtracts its fit to A.
        fit = -matmul(data.products, z).transpose(1, 0, 2).reshape(columns.shape[1], -1)
        if params.level is not None:
            fit = fit + data.units.output * math.sqrt(len(data.y)) * params.level
        found = found + matmul(columns, fit)
    return found


def _convolved(w: Any, data: RecordArrays, spec: ConvSpec) -> Any:
    """Return A w (rows, Cout) for kernels w (G, P, Q), without weights."""
    y = convolved(data.x, to_kernel(w, spec.kernel_size), spec)
    y = y.reshape(-1, y.shape[-1])
    return y if data.rows is None else y[data.rows]


def with_products(data: RecordArrays, spec: ConvSpec, shape: tuple[int, ...]) -> RecordArrays:
    """Return the data with NᵀA T (G, q, R), for kernels of a shape (G, P, Q)."""
    if data.nuisance is None:
        return data
    groups, _, outputs = shape
    like = jnp.zeros(shape, data.y.dtype)
    adjoint = jax.linear_transpose(lambda w: _convolved(w, data, spec), like)
    columns = data.nuisance if data.root is None else data.nuisance * data.root

    def product(column: Any) -> Any:
        every = jnp.broadcast_to(column[:, None], (len(column), groups * outputs))
        return adjoint(every)[0][:, :, 0]

    of_taps = lax.map(product, columns.T).transpose(1, 0, 2)
    basis = data.basis
    return data._replace(products=of_taps if basis is None else matmul(of_taps, basis))


# --- the steps


# JAX keeps compiled programs as long as their functions.
@lru_cache(maxsize=32)
def compiled(
    optimizer: Any, schedule: Any, loss: Loss, batch: int | None, spec: ConvSpec, by_sums: bool
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the functions that begin a run and that take steps.

    Args:
        optimizer: a name, or a transformation of optax.
        schedule: the learning rate of a name as a function of the step, or None.
        loss: the loss; squares for the sums.
        batch: number of rows drawn per step; None for all rows.
        spec: geometry of the windows.
        by_sums: whether the data are `SumArrays` instead of `RecordArrays`.
    """

    def evaluate(params: Params, data: Any, rows: Any = None) -> Evaluation:
        if by_sums:
            return evaluate_sums(params, data, rows)
        return evaluate_records(params, data, rows, loss, spec)

    def optimizer_at(units: StepUnits, step: Any) -> Any:
        rate = scheduled(units, step) if schedule is None else schedule
        return optax.with_extra_args_support(transformation(optimizer, rate))

    def begin(params: Params, data: Any, seeds: Any) -> Any:
        """Return the run and the data as arrays on the device, of fixed types."""
        if not by_sums:
            groups, _, outputs = params.z.shape[1:]
            taps = math.prod(spec.kernel_size) * (data.x.shape[-1] // spec.groups)
            data = with_products(data, spec, (groups, taps, outputs))
        state = jax.vmap(optimizer_at(data.units, jnp.int32(0)).init)(params)
        # A weak type would change after the first steps, and compile them again.
        fixed = jax.tree.map(lambda a: lax.convert_element_type(a, a.dtype), state)
        return Run(params, fixed), data, seeds

    def step(number: Any, data: Any, seed: Any, run: Run) -> Run:
        rows = None
        if batch is not None:
            draw = jax.random.fold_in(jax.random.key(seed), number)
            rows = jax.random.randint(draw, (batch,), 0, len(data.y))
        found = evaluate(run.params, data, rows)
        updates, state = optimizer_at(data.units, number).update(
            found.gradient,
            run.state,
            run.params,
            value=found.loss,
            grad=found.gradient,
            value_fn=lambda params: evaluate(params, data, rows).loss,
        )
        return Run(optax.apply_updates(run.params, updates), state)

    def advance(run: Run, data: Any, seeds: Any, first: Any, until: Any) -> tuple[Run, Look]:
        """Take steps of every restart, and look at all rows."""
        steps = jax.vmap(step, in_axes=(None, None, 0, 0))
        run = lax.fori_loop(first, until, lambda i, run: steps(i, data, seeds, run), run)
        found = jax.vmap(evaluate, in_axes=(0, None))(run.params, data)
        best = jnp.argmin(jnp.where(jnp.isfinite(found.loss), found.loss, jnp.inf))
        params, one = jax.tree.map(lambda a: a[best], (run.params, found))
        return run, _look(params, one, data)

    return jax.jit(begin), jax.jit(advance)


def _look(params: Params, found: Evaluation, data: Any) -> Look:
    """Return an evaluation in the user's units."""
    units = data.units
    level = None
    level_gradient = None
    if params.level is not None:
        level_unit = units.output * math.sqrt(len(data.y))
        level = params.level * level_unit
        level_gradient = found.gradient.level * (units.loss / level_unit)
    return Look(
        loss=found.loss * units.loss,
        z=params.z * units.kernel,
        level=level,
        gradient=found.gradient.z * (units.loss / units.kernel),
        level_gradient=level_gradient,
        error_norms=found.error_norms,
        slope_norms=found.slope_norms,
    )
