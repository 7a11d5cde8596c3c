"""Gradient descent by any optax optimizer, through the convolution."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..interrupts import interruptible
from ..lazy_jax import is_tracer
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..near_misses import checks_arguments
from ..operators.layout import to_kernel
from ..problem.checks import choice, integer, number
from ..problem.problem import Selection
from ..problem.records import numeric
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import stage
from ..text import shown
from .base import (
    CustomLoss,
    Loss,
    Objective,
    Solver,
    SolverResult,
    Trace,
    register_pytrees,
    traceable,
    whole_reason,
)

if TYPE_CHECKING:
    from .descent_kernels import Measured

# Optimizers by name, with the settings that the name stands for.
OPTIMIZERS = {"adam": "adam(0.05)", "lbfgs": "lbfgs()"}
# Number of looks at a run by the host, and the largest number of seconds between two looks. More
# looks would take longer than the steps of a small problem. Every other look stores the kernel.
LOOKS, SECONDS, KEEP = 20, 0.25, 2
# Relative gain in the second half of the looks below which a loss has stopped falling.
STILL_FALLING = 1e-3
# A run has diverged if it ends above this multiple of its first loss and of a zero kernel's.
DIVERGED = 10
# Largest number of simultaneous runs.
MOST_RESTARTS = 10**6


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
        seed: an integer, by default 0, or a jax key. Step i draws from ``fold_in(key, i)``.
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
        if "jax" in sys.modules:
            register_pytrees()
        put = partial(object.__setattr__, self)
        self._check_words()
        if self.batch_size is not None:
            put("batch_size", integer(self.batch_size, "batch_size"))
        put("restarts", integer(self.restarts, "restarts"))
        if self.restarts > MOST_RESTARTS:
            raise ValueError(
                f"restarts must be at most {MOST_RESTARTS}, which run at once, got {self.restarts}"
            )
        if not (is_tracer(self.seed) or _is_key(self.seed)):
            put("seed", _below(63, integer(self.seed, "seed", -(2**63)), "seed"))
        if not is_tracer(self.steps):
            put("steps", _below(31, integer(self.steps, "steps", 0), "steps"))
        if not is_tracer(self.tol):
            put("tol", number(self.tol, "tol"))
        if not (isinstance(self.init, str) or is_tracer(self.init)):
            put("init", numeric(self.init, "init"))

    def _check_words(self) -> None:
        """Check the arguments that are not numbers: optimizer and init."""
        given = self.optimizer
        if isinstance(given, str):
            choice(given, "optimizer", tuple(OPTIMIZERS), ", or an optax transformation")
        parts = (getattr(given, name, None) for name in ("init", "update"))
        if not isinstance(given, (str, type(None))) and not all(map(callable, parts)):
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
        optimizer = self.optimizer or "adam"
        optimizer = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else "custom"
        key = self.seed if isinstance(self.seed, int) else _key_data(self.seed)
        return super().settings | {"optimizer": optimizer, "seed": key}

    def of_part(self, selection: Selection) -> GradientDescent:
        """Return the solver with the part of an array ``init`` for some of the outputs."""
        if isinstance(self.init, str):
            return self
        return replace(self, init=selection.of_outputs(np.asarray(self.init)))

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if loss, penalty, weights, confounds or ``init`` do not fit."""
        if sizes.partialled:
            return "gradient descent supports no weights or confounds"
        if reason := self._unsupported(objective) or whole_reason(sizes):
            return reason
        channels = sizes.columns // math.prod(spec.kernel_size)
        return self._misfit((*spec.kernel_size, channels, sizes.groups * sizes.outputs))

    def _unsupported(self, objective: Objective) -> str | None:
        """Return the reason if the loss or the penalty is not supported."""
        if is_tracer(objective.strength) or objective.strength:
            return "gradient descent supports no penalty"
        if objective.loss.threshold is None:
            return (
                "the scale 'mad' of Huber's loss changes with the kernel; give its scale as a "
                "number, or leave out solver="
            )
        return None

    def _misfit(self, kernel: tuple[int, ...]) -> str | None:
        shape = None if isinstance(self.init, str) else np.shape(self.init)
        return None if shape in (None, kernel) else f"init has shape {shape}, the kernel {kernel}"

    def _static(self, rows: int, spec: ConvSpec, loss: Loss) -> dict[str, Any]:
        """Return the settings that select compiled code."""
        batch = self.batch_size
        return {
            "optimizer": self.optimizer,
            "loss": loss.function if isinstance(loss, CustomLoss) else type(loss),
            "batch": None if batch is None or batch >= rows else batch,
            "spec": spec._normal,
        }

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        import jax

        from .descent_kernels import Measured, Stack, compiled, start

        loss, regression = objective.loss, analysis.regression(RIDGE, 0.0)
        design, system, scaling = analysis.design, regression.system, regression.scaling
        spec, bias, columns = design.spec, design.nuisance.constant, system.columns.count
        if not (system.basis.identity or isinstance(self.init, str)):
            raise SolveError(
                "with a basis, descent runs in its coordinates, and init cannot be a kernel"
            )
        data = Stack.of(regression)
        taps = spec.kernel_size if system.basis.identity else (columns,)
        shape = (*taps, columns // math.prod(taps), data.y.shape[1])
        limit = np.finfo(design.dtype).maxexp - 2
        units = np.ldexp(1.0, np.clip(scaling.exponents, -limit, limit))
        scale = to_kernel(np.repeat(units[:, :, None], design.sizes.outputs, axis=2), taps)
        fixed = data, scale.astype(design.dtype), np.asarray(loss.threshold, design.dtype)
        kinds = ((np.shape(leaf), str(leaf.dtype)) for leaf in jax.tree.leaves(fixed))
        advance = compiled(self.restarts, bias, *kinds, **self._static(len(data.y), spec, loss))
        a_norm = np.repeat(scaling.a_norm, design.sizes.outputs)
        # With the bias projected out, so that no residual is small relative to an offset of y.
        y = data.y.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            centred = y - y.mean(0) if bias else y
            sizes = np.ldexp(regression.y_norms, regression.y_exponents), np.abs(centred).sum(0)
        # Replace inf, because any residual is small relative to it.
        y_norms = [np.nan_to_num(n.reshape(-1), nan=np.inf) for n in sizes]
        # The lowest loss of a callable may be elsewhere than at zero.
        live = np.any(y, axis=0) | isinstance(loss, CustomLoss)
        begun = time.perf_counter()
        with jax.enable_x64(design.dtype == np.float64), interruptible() as ctrl_c:
            state, fixed = start(self, shape, design.dtype, live, bias), jax.device_put(fixed)

            def look(first: int, count: int) -> _Look:
                nonlocal state
                state, found = advance(state, *fixed, first, count)
                return _Look(first + count, state[0], Measured(*np.asarray(found)))

            def solved(now: _Look) -> bool:
                return self.solved(loss, now.measured, a_norm, y_norms)

            looks = [look(0, 0)]  # compiles, and evaluates the start
            compile_seconds = time.perf_counter() - begun
            if not np.isfinite(looks[0].measured.loss).any():
                raise SolveError(f"the loss at the start leaves {design.dtype}")
            status, now = self._descend(look, looks, solved, ctrl_c)
            best = now.measured.best
            w, *b = (p[best] for p in jax.device_get(now.params))
            kept = ((k.step, k.params[0][best]) for k in looks[::KEEP])
            kernels = {step: np.asarray(data.kernel(z, spec)) for step, z in kept}
            kernel = np.asarray(data.kernel(w, spec))
        return SolverResult(
            kernel,
            b[0] if bias else np.zeros(shape[-1], design.dtype),
            status=status or _ended(looks, loss, y),
            stats={
                "steps": now.step,
                "final_loss": float(now.measured.loss[best, 0]),
                "compile_seconds": compile_seconds,
                "run_seconds": time.perf_counter() - begun - compile_seconds,
            },
            trace=Trace(
                np.array([look.step for look in looks]),
                np.array([look.measured.loss[best, 0] for look in looks]),
                kernels,
            ),
        )

    def _descend(
        self,
        look: Callable[[int, int], _Look],
        looks: list[_Look],
        solved: Callable[[_Look], bool],
        ctrl_c: interruptible,
    ) -> tuple[str | None, _Look]:
        """Take steps and append to the looks. Return the status, if it is known, and the end."""
        now, every, pace = looks[0], max(1, math.ceil(self.steps / LOOKS)), math.inf
        with stage("steps of gradient descent", self.steps) as report:
            while True:
                last = now.step >= self.steps
                # The number of steps between two looks depends on the clock, which must not decide.
                if (last or now.step % every == 0) and solved(now):
                    return "solved", now
                if ctrl_c.pressed:
                    return "interrupted", now
                if last:
                    return None, now
                due = min(self.steps, (now.step // every + 1) * every) - now.step
                count = min(due, max(1, int(min(SECONDS / pace, due))))
                tick = time.perf_counter()
                found = look(now.step, count)
                pace = max(time.perf_counter() - tick, 1e-9) / count
                if not np.isfinite(found.measured.loss).any():
                    return "diverged", looks[-1]
                now = found
                if count == due:
                    looks.append(now)
                report(now.step, f"loss {float(np.nanmin(now.measured.loss)):.3g}")

    def solved(self, loss: Loss, found: Measured, a_norm: np.ndarray, y_norms: Any) -> bool:
        """Return whether the criterion for "solved" in the class docstring is met."""
        i, (y_norm, y_sum) = found.best, y_norms
        if loss.smooth:
            flat = found.gradient[i] <= self.tol * a_norm * found.pull[i]
            close = found.residual[i] <= self.tol * (a_norm * found.size[i] + y_norm)
            return bool((flat | close).all())
        return bool((found.absolute[i] <= self.tol * y_sum).all())

    def traced(
        self, x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        """Take ``steps`` steps and return the restart of lowest loss.

        The loop has a variable number of steps, so there is no reverse derivative.
        """
        import jax.numpy as jnp

        from ..operators.jax_operator import padded
        from .descent_kernels import Stack, advance, start

        rows = y.reshape(-1, y.shape[-1])
        shape = (*spec.kernel_size, x.shape[-1] // spec.groups, y.shape[-1])
        weighted = None if weights is None else "gradient descent supports no weights"
        if reason := weighted or self._unsupported(objective) or self._misfit(shape):
            raise ValueError(reason)
        state = start(self, shape, x.dtype, np.ones(shape[-1], bool), bias)
        fixed = Stack(padded(x, spec), rows), jnp.ones(shape, x.dtype)
        delta = jnp.asarray(objective.loss.threshold, x.dtype)
        static = self._static(rows.shape[0], spec, objective.loss)
        state, found = advance(state, *fixed, delta, 0, self.steps, **static)
        best = jnp.nanargmin(found[0, :, 0])
        w, *b = (p[best] for p in state[0])
        return w, b[0] if bias else jnp.zeros(shape[-1], x.dtype)


class _Look(NamedTuple):
    step: int
    params: Any
    measured: Measured


def _ended(looks: list[_Look], loss: Loss, y: np.ndarray) -> str:
    """Return the status of a run that took all steps."""
    losses = np.array([np.nanmin(look.measured.loss) for look in looks])
    zero = math.inf if isinstance(loss, CustomLoss) else float(np.mean(loss.of(y)))
    if losses[-1] > DIVERGED * max(zero, losses[0]):
        return "diverged"
    half = len(losses) // 2
    before, after = losses[:half].min(initial=math.inf), losses[half:].min()
    stalled = half >= 4 and after > before - STILL_FALLING * abs(before)
    return "stagnated" if stalled else "max steps"


def _below(bits: int, value: int, name: str) -> int:
    if value >= 2**bits:
        raise ValueError(f"{name} must be below 2**{bits}, got {value}")
    return value


def _key_data(key: Any) -> list[int]:
    """Return the numbers of a jax key, typed or of the older kind."""
    import jax

    found: list[int] = np.asarray(jax.random.key_data(key)).tolist()
    return found


def _is_key(key: Any) -> bool:
    """Return whether an object is one jax key, typed or of the older kind."""
    kind, axes = str(getattr(key, "dtype", "")), np.ndim(key)
    return (kind.startswith("key<") and not axes) or (kind == "uint32" and axes == 1)
