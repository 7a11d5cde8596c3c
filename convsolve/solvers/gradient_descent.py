"""Gradient descent by any optax optimizer, through the convolution."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..interrupts import interruptible
from ..lazy_jax import is_tracer
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..leastsquares.regression import Regression
from ..near_misses import checks_arguments
from ..operators.layout import to_columns, to_kernel
from ..operators.windows import normal_form
from ..problem.checks import choice, integer, number
from ..problem.problem import Selection
from ..problem.records import numeric
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import stage
from ..text import shown
from .base import CustomLoss, Loss, Objective, Solver, SolverResult, Trace, traceable

# Optimizers by name, with the settings that the name stands for.
OPTIMIZERS = {"adam": "adam(0.05)", "lbfgs": "lbfgs()"}
# Number of looks at a run, and the largest number of seconds between two reports to the host. Every
# other look has its kernel in the trace.
LOOKS, SECONDS, KEEP = 20, 0.25, 2
# Relative gain in the second half of the looks below which a loss has stopped falling.
STILL_FALLING = 1e-3
# A run has diverged if it ends above this multiple of its first loss and of a zero kernel's.
DIVERGED = 10
# Largest number of simultaneous runs, and of steps, which are counted by int32.
MOST_RESTARTS, MOST_STEPS = 10**6, 2 * 10**9
# Shapes of data for which compiled steps are kept, some 5 MB each; JAX would keep thousands.
KEPT_SHAPES = 32


class _Data(NamedTuple):
    """The data of a descent, of G groups with R coordinates and Q outputs each.

    Attributes:
        x: (N, *E, Cin), records in normal form, filled to one shape.
        y: (rows, Cout).
        rows: indices of the windows that are used in the fit; None if all are used.
        basis: T (P, R) of kernels w = T z; None for the identity.
        units: (G, R, 1), powers of two, which bring columns of A to norm about one.
        a_tol: (G, 1), ``tol`` times the Frobenius norm of A in these units.
        y_tol: (G, Q), ``tol`` times the norm of y.
        steps: largest number of steps.
    """

    x: Any
    y: Any
    rows: Any
    basis: Any
    units: Any
    a_tol: Any
    y_tol: Any
    steps: Any


class _Run(NamedTuple):
    """The state of a descent.

    Attributes:
        step: number of steps, −1 before the first look.
        ended: whether the criterion of "solved" is met, or the loss is not finite.
        now: coordinates z (G, R, Q), the bias (G, Q) if there is one, and the state of the
            optimizer, of every restart.
        losses: (LOOKS + 1,), lowest loss of the restarts at every look.
        looks: z and the bias of the restart with this loss.
    """

    step: Any
    ended: Any
    now: tuple[Any, Any]
    losses: Any
    looks: tuple[Any, ...]


@checks_arguments
@traceable("steps", "init", "seed", "tol")
@dataclass(frozen=True, repr=False)
class GradientDescent(Solver):
    """Minimize the mean loss over rows and outputs by an optax optimizer.

    Args:
        optimizer: any ``optax.GradientTransformation``, "adam" or "lbfgs". The default is "adam",
            Adam at 5e-2. Reuse one object: two objects with the same settings are unequal and
            compile twice. Compiled code is kept for the last 32 shapes of data.
        steps: largest number of steps, by default 1000. Changing it does not recompile.
        batch_size: number of rows (output windows) drawn with replacement per step. None, the
            default, or a number of at least the number of rows, uses all rows.
        init: "glorot_uniform", the default (limit √(6/(fan_in + fan_out)), as in Keras), "zeros",
            or an array of the kernel's shape. The bias starts at zero.
        seed: an integer, by default 0, of the starts and the batches. `fit_kernel` draws other
            starts than `solve`, since the seed may then be a tracer.
        restarts: number of simultaneous runs from different starts, by vmap; by default 1. The run
            with the lowest loss is returned.
        tol: tolerance of the status "solved", by default 1e-6, see below.

    The loss is squared, absolute, Huber's with a given scale, or a callable ``loss=`` of
    (prediction, target), each (rows, Cout), whose value (elementwise or scalar) is averaged.

    `solve` supports no penalty, weights or confounds with it. Descent that is stopped early
    resembles a ridge that decreases with the number of steps.

    The status "solved" is decided per output, with A equilibrated. The
    criterion for squares and Huber's loss is ‖Aᵀr‖ ≤ tol·‖A‖‖r‖ or ‖r‖ ≤ tol·(‖A‖‖w‖ + ‖y‖), and
    for the absolute loss and callables ‖r‖₁ ≤ tol·‖y‖₁. Otherwise the status is "max steps",
    "stagnated" if the loss has stopped falling, or "interrupted" after Ctrl-C. It is "diverged" if
    the loss is no longer finite; the last finite kernel is then returned. It is also "diverged" if
    the final loss exceeds ten times the first loss and the loss of a zero kernel. The iteration
    uses the precision of the data.

    The kernel of an output whose y is zero is zero. A descent from another start approaches it but
    never reaches it: relative to its own size, each iterate is as wrong as the first. A start given
    by name therefore has zeros for such an output, which no step changes, and the output is
    "solved". The descent runs as usual from a start given as an array, and for a constant y with a
    bias. It also does for a callable, whose lowest loss may be elsewhere.

    If many kernels fit, plain and momentum descent and L-BFGS from "zeros" converge to the
    minimum-norm solution. Adam does not, and neither does a start outside the row space. Without a
    special optimizer, leave out ``solver=``: ``"auto"`` computes the exact solution for every
    loss but callables, in a fraction of the time.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, cs.GradientDescent(steps=500, seed=1))
        >>> np.allclose(fit.kernel, cs.solve(problem).kernel, atol=0.01)
        True

    See Also:
        ``"auto"`` for the exact solution, and `Identifiability.descent` for the number of steps.
    """

    answer = "one kernel of many, fixed by the start and the optimizer"
    any_loss = True

    optimizer: Any = None
    _: KW_ONLY
    steps: Any = 1000
    batch_size: int | None = None
    init: Any = "glorot_uniform"
    seed: Any = 0
    restarts: int = 1
    tol: Any = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_words()
        checks: dict[str, Callable[[Any, str], Any]] = {
            "steps": lambda value, name: integer(value, name, 0, MOST_STEPS),
            "batch_size": integer,
            "init": numeric,
            "seed": lambda value, name: integer(value, name, -(2**63), 2**63 - 1),
            "restarts": lambda value, name: integer(value, name, 1, MOST_RESTARTS),
            "tol": number,
        }
        for name, check in checks.items():
            value = getattr(self, name)
            named = name == "init" and isinstance(value, str)
            if not (named or is_tracer(value) or (name == "batch_size" and value is None)):
                object.__setattr__(self, name, check(value, name))

    def _check_words(self) -> None:
        """Check the optimizer and a start by name."""
        given, parts = self.optimizer, ("init", "update")
        if isinstance(given, str):
            choice(given, "optimizer", tuple(OPTIMIZERS), ", or an optax transformation")
        elif given is not None and not all(callable(getattr(given, part, None)) for part in parts):
            raise TypeError(f"optimizer must be an optax transformation, got {shown(given)}")
        if isinstance(self.init, str):
            choice(self.init, "init", ("glorot_uniform", "zeros"), ", or an array")

    @property
    def name(self) -> str:
        named = self.optimizer or "adam"
        return f"GradientDescent({named})" if isinstance(named, str) else "GradientDescent"

    @property
    def settings(self) -> dict[str, Any]:
        # An optax transformation consists of two functions, without a record of its parameters.
        named = self.optimizer or "adam"
        words = OPTIMIZERS[named] if isinstance(named, str) else "custom"
        return super().settings | {"optimizer": words}

    def of_part(self, selection: Selection) -> GradientDescent:
        """Return the solver with the part of an array ``init`` for some of the outputs."""
        if isinstance(self.init, str):
            return self
        return replace(self, init=selection.of_outputs(np.asarray(self.init)))

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if loss, penalty, weights, confounds or ``init`` do not fit."""
        if sizes.partialled:
            return "gradient descent supports no weights or confounds"
        channels = sizes.columns // math.prod(spec.kernel_size)
        shape = (*spec.kernel_size, channels, sizes.groups * sizes.outputs)
        return self._unsupported(objective, shape) or self.whole_reason(sizes)

    def _unsupported(self, objective: Objective, kernel: tuple[int, ...]) -> str | None:
        """Return the reason if the loss, the penalty or the start is not supported."""
        if is_tracer(objective.strength) or objective.strength:
            return "gradient descent supports no penalty"
        if objective.loss.threshold is None:
            return (
                "the scale 'mad' of Huber's loss changes with the kernel; give its scale as a "
                "number, or leave out solver="
            )
        shape = kernel if isinstance(self.init, str) else np.shape(self.init)
        return None if shape == kernel else f"init has shape {shape}, the kernel {kernel}"

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        import jax

        regression, loss = analysis.regression(RIDGE, 0.0), objective.loss
        basis, design = regression.system.basis, analysis.design
        if not (basis.identity or isinstance(self.init, str)):
            raise SolveError(
                "with a basis, descent runs in its coordinates, and init cannot be a kernel"
            )
        data, spec, bias = self._data(regression, loss), design.spec, design.nuisance.constant
        begun = time.perf_counter()
        with jax.enable_x64(design.dtype == np.float64), interruptible() as ctrl_c:
            # A descent approaches a kernel of zeros, but never in relative terms. Zeros are
            # therefore the start, unless the lowest loss of a callable may be elsewhere.
            live = np.any(data.y, axis=0).reshape(spec.groups, 1, -1)
            live = live | isinstance(loss, CustomLoss) | (not isinstance(self.init, str))
            z = self._start(spec, data.units.shape[1], data.y) * live
            run, advance = self._begun(z, data, spec, bias, loss)
            run = advance(run, 0)  # compiles, and evaluates the start
            compile_seconds = time.perf_counter() - begun
            run = self._descend(run, advance, ctrl_c)
            end, ended, losses, looks = jax.device_get((*run[:2], *run[3:]))
        every = _every(self.steps)
        losses = losses[: -(-end // every) + 1]
        # A loss that is not finite ends the run.
        n = np.count_nonzero(np.isfinite(losses))
        if not n:
            raise SolveError(f"the loss at the start leaves {design.dtype}")
        steps = [min(i * every, int(end)) for i in range(n)]
        taps = looks[0][:n] if data.basis is None else data.basis @ looks[0][:n]
        kernels = [to_kernel(w, spec.kernel_size) for w in taps]
        status = "solved" if ended and n == len(losses) else _ended(losses, loss, data.y)
        return SolverResult(
            kernels[-1],
            looks[1][n - 1].reshape(-1) if bias else np.zeros_like(data.y[0]),
            status="interrupted" if ctrl_c.pressed and status != "solved" else status,
            stats={
                "steps": steps[-1],
                "final_loss": float(losses[n - 1]),
                "compile_seconds": compile_seconds,
                "run_seconds": time.perf_counter() - begun - compile_seconds,
            },
            trace=Trace(
                np.array(steps), losses[:n], dict([*zip(steps, kernels, strict=True)][::KEEP])
            ),
        )

    def _data(self, regression: Regression, loss: Loss) -> _Data:
        """Return the records of a design, its targets, and what decides when they are fitted."""
        design, basis = regression.system.design, regression.system.basis
        spec, kept, dtype = design.spec, design.kept, design.dtype
        parts = [normal_form(design.records_in_memory[i][None], spec)[0] for i in kept.used]
        extent = tuple(max(axis) for axis in zip(*(p.shape for p in parts), strict=True))
        x = np.zeros((len(parts), *extent), dtype)
        flags = np.zeros((len(parts), *spec._normal.output_shape(extent[:-1])), bool)
        for n, (i, part) in enumerate(zip(kept.used, parts, strict=True)):
            x[n][tuple(map(slice, part.shape))] = part
            flags[n][tuple(map(slice, kept.shapes[i]))] = kept.flags_of(i)
        y = np.concatenate([regression.targets.in_memory[i][kept.flags_of(i)] for i in kept.used])
        eye, limit = np.eye(basis.count(0))[None], np.finfo(dtype).maxexp - 2
        units = np.ldexp(1.0, np.clip(regression.scaling.exponents, -limit, limit))[:, :, None]
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = np.ldexp(regression.y_norms, regression.y_exponents)
            if not loss.smooth:  # without the bias, relative to which any residual may be small
                centred = y - design.nuisance.constant * y.mean(0, dtype=float)
                sizes = np.abs(centred).sum(0).reshape(sizes.shape)
            decisive = units, self.tol * regression.scaling.a_norm, self.tol * sizes
            units, a_tol, y_tol = (a.astype(dtype) for a in decisive)
        matrix = None if basis.identity else basis.expand(eye)[0].astype(dtype)
        rows = None if flags.all() else np.flatnonzero(flags)
        return _Data(x, y, rows, matrix, units, a_tol, y_tol, self.steps)

    def _start(self, spec: ConvSpec, count: int, y: Any) -> Any:
        """Return coordinates (restarts, G, R, Q) in the precision of y."""
        import jax
        import jax.numpy as jnp

        every, dtype = (self.restarts, spec.groups, count, y.shape[1] // spec.groups), y.dtype
        if not isinstance(self.init, str):
            return jnp.broadcast_to(to_columns(jnp.asarray(self.init, dtype), spec.groups), every)
        if self.init == "zeros":
            return np.zeros(every, dtype)
        limit = math.sqrt(6 / (count + math.prod(spec.kernel_size) * y.shape[1]))
        if is_tracer(self.seed):
            return jax.random.uniform(jax.random.key(self.seed), every, dtype, -limit, limit)
        # The draws of jax take as long to compile as the descent.
        return np.random.default_rng(self.seed % 2**64).uniform(-limit, limit, every).astype(dtype)

    def _begun(
        self, z: Any, data: _Data, spec: ConvSpec, bias: bool, loss: Loss
    ) -> tuple[_Run, Callable[[_Run, Any], _Run]]:
        """Return the state before the first look, and the function that takes steps from it."""
        import jax

        batch = self.batch_size
        if batch is not None and batch >= len(data.y):
            batch = None
        keys = None if batch is None else jax.random.split(jax.random.key(self.seed), len(z))
        shapes = ((np.shape(leaf), str(leaf.dtype)) for leaf in jax.tree.leaves((z, data[:-1])))
        initial, advance = _compiled(self.optimizer, loss, batch, spec._normal, bias, *shapes)
        params = (z, np.zeros((*z.shape[:2], z.shape[3]), z.dtype))[: 1 + bias]
        looks = tuple(np.zeros((LOOKS + 1, *p.shape[1:]), z.dtype) for p in params)
        losses = np.full(LOOKS + 1, np.inf, z.dtype)
        run = _Run(np.int32(-1), np.False_, (params, initial(params)), losses, looks)
        return run, lambda run, until: advance(run, data, keys, until)

    def _descend(
        self, run: _Run, advance: Callable[[_Run, Any], _Run], ctrl_c: interruptible
    ) -> _Run:
        """Take steps until the end. A call is as long as the times of steps before it allow."""
        step, count = 0, _every(self.steps)
        with stage("steps of gradient descent", self.steps) as report:
            while step < self.steps and not (run.ended or ctrl_c.pressed):
                tick, before = time.perf_counter(), step
                run = advance(run, min(step + count, self.steps))
                step = int(run.step)
                pace = max(time.perf_counter() - tick, 1e-9) / (step - before)
                count = max(1, int(min(SECONDS / pace, self.steps)))
                report(step, f"loss {np.asarray(run.losses)[-(-step // _every(self.steps))]:.3g}")
        return run

    def traced(
        self, x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        """Take ``steps`` steps and return the restart of lowest loss.

        The loop has a variable number of steps, so there is no reverse derivative.
        """
        import jax.numpy as jnp

        from ..operators.jax_operator import padded

        y = y.reshape(-1, y.shape[-1])
        weighted = None if weights is None else "gradient descent supports no weights"
        shape = (*spec.kernel_size, x.shape[-1] // spec.groups, y.shape[-1])
        if reason := weighted or self._unsupported(objective, shape):
            raise ValueError(reason)
        steps, q = jnp.asarray(self.steps, np.int32), shape[-1] // spec.groups
        never = -np.ones((spec.groups, q), x.dtype)
        x, units = padded(x, spec), np.ones((1, 1, 1), x.dtype)
        data = _Data(x, y, None, None, units, never, never, steps)
        z = self._start(spec, math.prod(shape[:-1]), y)
        run, advance = self._begun(z, data, spec, bias, objective.loss)
        run = advance(run, steps)
        z, *b = (look[-(-run.step // _every(steps))] for look in run.looks)
        return to_kernel(z, spec.kernel_size), b[0].reshape(-1) if b else jnp.zeros_like(y[0])


def _ended(losses: np.ndarray, loss: Loss, y: np.ndarray) -> str:
    """Return the status of a run that has not met the criterion of "solved"."""
    zero = math.inf if isinstance(loss, CustomLoss) else float(np.mean(loss.of(y)))
    if not losses[-1] <= DIVERGED * max(zero, losses[0]):
        return "diverged"
    half = len(losses) // 2
    before, after = losses[:half].min(initial=math.inf), losses[half:].min()
    stalled = half >= 4 and after > before - STILL_FALLING * abs(before)
    return "stagnated" if stalled else "max steps"


def _every(steps: Any) -> Any:
    """Return the number of steps between two looks."""
    return -(-steps // LOOKS) + (steps == 0)


# Every compiled program has a separate function, because JAX keeps it as long as the function.
@lru_cache(maxsize=KEPT_SHAPES)
def _compiled(
    given: Any, loss: Loss, batch: int | None, spec: ConvSpec, *shapes: Any
) -> tuple[Callable[..., Any], Callable[..., _Run]]:
    """Return the initial state of an optimizer, and the steps, compiled for one shape of data."""
    import jax
    import jax.numpy as jnp
    import optax
    from jax import lax

    from ..operators.jax_operator import convolved, gather_rows, matmul

    if isinstance(given, (str, type(None))):
        given = optax.lbfgs() if given == "lbfgs" else optax.adam(5e-2)
    optimizer = optax.with_extra_args_support(given)

    def evaluate(params: Any, data: _Data, picked: Any = None) -> Any:
        """Return the loss of rows, its gradients in parameters and prediction, and residuals."""
        target = data.y if picked is None else data.y[picked]

        def predict(params: Any) -> Any:
            w = params[0] if data.basis is None else matmul(data.basis, params[0])
            if picked is None:
                y = convolved(data.x, to_kernel(w, spec.kernel_size), spec)
                y = y.reshape(-1, y.shape[-1])
                y = y if data.rows is None else y[data.rows]
            else:
                rows = picked if data.rows is None else data.rows[picked]
                y = matmul(gather_rows(data.x, rows, spec), w).transpose(1, 0, 2)
            return sum((b.reshape(-1) for b in params[1:]), y.reshape(target.shape))

        prediction, adjoint = jax.vjp(predict, params)
        value, pull = jax.value_and_grad(lambda p: loss.mean(p, target, jnp))(prediction)
        return value, adjoint(pull)[0], pull, prediction - target

    def step(number: Any, data: _Data, now: Any, key: Any) -> Any:
        (params, state), picked = now, None
        if batch is not None:
            draw = jax.random.fold_in(key, number)
            picked = jax.random.randint(draw, (batch,), 0, len(data.y))
        value, grad, *_ = evaluate(params, data, picked)
        more = {"value": value, "grad": grad, "value_fn": lambda p: evaluate(p, data, picked)[0]}
        updates, state = optimizer.update(grad, state, params, **more)
        return optax.apply_updates(params, updates), state

    def look(run: _Run, data: _Data, keys: Any, until: Any) -> _Run:
        every = _every(data.steps)
        due = jnp.where(run.step < 0, 0, jnp.minimum(until, (run.step // every + 1) * every))
        steps = jax.vmap(step, in_axes=(None, None, 0, 0))
        now = lax.fori_loop(
            jnp.maximum(run.step, 0), due, lambda i, now: steps(i, data, now, keys), run.now
        )
        found = jax.vmap(evaluate, in_axes=(0, None))(now[0], data)
        best = jnp.argmin(jnp.where(jnp.isfinite(found[0]), found[0], jnp.inf))
        params, (value, *parts) = jax.tree.map(lambda a: a[best], (now[0], found))
        # The clock decides where a call ends, but not where a run does.
        planned, at = (due % every == 0) | (due == data.steps), -(-due // every)
        ended = (planned & _solved(data, loss.smooth, params, *parts)) | ~jnp.isfinite(value)
        looks = jax.tree.map(lambda all, one: all.at[at].set(one), run.looks, params)
        return _Run(due.astype(np.int32), ended, now, run.losses.at[at].set(value), looks)

    def advance(run: _Run, data: _Data, keys: Any, until: Any) -> _Run:
        """Take steps of every restart, with a look at all rows every few steps."""
        return lax.while_loop(
            lambda run: (run.step < until) & ~run.ended,
            lambda run: look(run, data, keys, until),
            run,
        )

    return jax.jit(jax.vmap(optimizer.init)), jax.jit(advance)


def _solved(data: _Data, smooth: bool, params: Any, grad: Any, pull: Any, error: Any) -> Any:
    """Return whether the criterion in the docstring of `GradientDescent` is met."""
    import jax.numpy as jnp

    def norm(a: Any, axis: int) -> Any:
        """Norms of vectors, without overflow or underflow of the squares."""
        unit = jnp.abs(a).max(axis, keepdims=True)
        unit = jnp.where(unit > 0, unit, 1)
        return unit.squeeze(axis) * jnp.linalg.norm(a / unit, axis=axis)

    pull, error = (a.reshape(len(a), *data.y_tol.shape) for a in (pull, error))
    if not smooth:
        return (jnp.abs(error).sum(0) <= data.y_tol).all()
    g = [grad[0] / data.units, *(b[:, None] / math.sqrt(len(error)) for b in grad[1:])]
    flat = norm(jnp.concatenate(g, 1), 1) <= data.a_tol * norm(pull, 0)
    size = data.a_tol * norm(params[0] * data.units, 1) + data.y_tol
    return (flat | (norm(error, 0) <= size)).all()
