"""Gradient descent by any optax optimizer, through the convolution or on the moments."""

from __future__ import annotations

import math
import time
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..interrupts import interruptible
from ..lazy_jax import import_whole, is_jax_array, is_tracer
from ..leastsquares.analysis import Analysis
from ..leastsquares.regression import Regression
from ..leastsquares.system import System
from ..operators.layout import to_columns, to_kernel
from ..operators.windows import normal_form
from ..problem.checks import choice, integer, number
from ..problem.records import numeric
from ..problem.selection import Selection
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import stage
from ..text import argument, in_bytes, keyword, limit, shown
from .base import (
    CustomLoss,
    Loss,
    Objective,
    Solver,
    SolverResult,
    Trace,
    traceable,
    whole_reason,
)

if TYPE_CHECKING:
    from .descent_kernels import Measured, Rows, Stack

# Optimizers by name, with the settings that the name stands for.
OPTIMIZERS = {"adam": "adam(0.05)", "lbfgs": "lbfgs()"}
# Number of looks at a run by the host, the largest number of seconds between two looks, and the
# number of looks after which the kernel is stored. More looks would take longer than the steps of a
# small problem.
LOOKS, SECONDS, KEEP = 20, 0.25, 2
# Relative gain in the second half of the looks below which a loss has stopped falling.
STILL_FALLING = 1e-3
# A run has diverged if it ends above this multiple of its first loss and of a zero kernel's.
DIVERGED = 10
# Largest number of simultaneous runs.
MOST_RESTARTS = 10**6


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
        via: "convolution", the default, or "moments" for squares on all rows. With "moments", AᵀA
            and AᵀY are formed once, in float64, and reduced to P + 2 rows of the same loss. The
            iterates are the same to rounding, unless confounds, or a bias of weighted rows, are
            projected out. A step then costs O(P²·Cout) for data of any length, after O(P³) once. In
            `fit_kernel` the rows come from a QR, for which the design matrix must fit in memory.

    The loss is squared, absolute, Huber's with a given scale, or a callable ``loss=`` of
    (prediction, target), each (rows, Cout), whose value (elementwise or scalar) is averaged.

    A quadratic penalty is available with via="moments" only, and not in `fit_kernel`. The iteration
    runs in coordinates w = T z, in which the penalty is strength·‖z‖². The start and the optimizer
    refer to z. Without a penalty, descent that is stopped early resembles a ridge that decreases
    with the number of steps.

    The status "solved" is checked again with the data, per output and with A equilibrated. The
    criterion for squares and Huber's loss is ‖Aᵀr‖ ≤ tol·‖A‖‖r‖ or ‖r‖ ≤ tol·(‖A‖‖w‖ + ‖y‖), and
    for the absolute loss and callables ‖r‖₁ ≤ tol·‖y‖₁. Otherwise the status is "max steps",
    "stagnated" if the loss has stopped falling, or "interrupted" after Ctrl-C. It is "diverged" if
    the loss is no longer finite; the last finite kernel is then returned. It is also "diverged" if
    the final loss exceeds ten times the first loss and the loss of a zero kernel. The iteration
    uses the precision of the data. With moments, ‖r‖² is accurate to about eps·‖y‖² (eps of
    float64) only, and the trace shows this loss. A result that appears "solved" is confirmed with
    the data.

    With weights, prediction and target of a row are multiplied by the root of its weight before the
    loss is computed. Coefficients of confounds are parameters too, start at zero, and multiply
    orthonormal columns whose mean square is 1. Confounds are first projected out of y.

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
    via: str = "convolution"

    def __post_init__(self) -> None:
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
        """Check the arguments that are not numbers: optimizer, via and init."""
        given = self.optimizer
        if isinstance(given, str):
            choice(given, "optimizer", tuple(OPTIMIZERS), ", or an optax transformation")
        parts = (getattr(given, name, None) for name in ("init", "update"))
        if not isinstance(given, (str, type(None))) and not all(map(callable, parts)):
            hint = "; call it, as in optax.adam(5e-2)" if callable(given) else ""
            raise TypeError(f"optimizer must be an optax transformation, got {shown(given)}{hint}")
        choice(self.via, "via", ("convolution", "moments"))
        if isinstance(self.init, str):
            choice(self.init, "init", ("glorot_uniform", "zeros"), ", or an array")

    @property
    def name(self) -> str:
        named = self.optimizer or "adam"
        words = [named] if isinstance(named, str) else []
        words += ["moments"] if self.via == "moments" else []
        return f"GradientDescent({', '.join(words)})" if words else "GradientDescent"

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
        """Return the reason if loss, penalty, ``init`` or moments do not fit."""
        if reason := self._unsupported(objective):
            return reason
        if self.via == "moments" and not sizes.gram_fits:
            gram = f"the Gram matrix needs {in_bytes(sizes.gram_bytes)}"
            way = f"use {argument('via', 'convolution')}, which needs none"
            return f"{gram}, more than {limit('memory')} allows; {way}"
        if self.via == "convolution" and (reason := whole_reason(sizes)):
            return reason
        channels = sizes.columns // math.prod(spec.kernel_size)
        kernel = (*spec.kernel_size, channels, sizes.groups * sizes.outputs)
        return self._misfit(kernel, sizes.rows)

    def _unsupported(self, objective: Objective) -> str | None:
        """Return the reason if the loss or the penalty is not supported."""
        if self.via == "moments" and not objective.loss.squared:
            way = argument("via", "convolution")
            return f"moments support squares only, not {objective.loss.title}; use {way}"
        if objective.loss.threshold is None:
            return (
                "the scale 'mad' of Huber's loss changes with the kernel; give its scale as a "
                f"number, or leave out {keyword('solver')}"
            )
        if self.via == "convolution" and objective.strength:
            return f"a penalty is supported with moments only; use {argument('via', 'moments')}"
        return None

    def _misfit(self, kernel: tuple[int, ...], rows: int) -> str | None:
        batch = self.batch_size
        if self.via == "moments" and batch is not None and batch < rows:
            way = f"leave batch_size out, or use {argument('via', 'convolution')}"
            return f"moments are of all {rows} rows, not of batch_size={batch}; {way}"
        shape = None if isinstance(self.init, str) else np.shape(self.init)
        return None if shape in (None, kernel) else f"init has shape {shape}, the kernel {kernel}"

    def static(self, rows: int, spec: ConvSpec, bias: bool, loss: Loss) -> dict[str, Any]:
        """Return the settings that select compiled code."""
        batch = self.batch_size
        return {
            "optimizer": self.optimizer,
            "loss": loss.function if isinstance(loss, CustomLoss) else type(loss),
            "batch": None if batch is None or batch >= rows else batch,
            # Rows do not depend on the geometry, so another geometry does not recompile.
            "spec": spec._normal if self.via == "convolution" else None,
            "bias": bias,
        }

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        import_whole("optax")
        import jax

        from .descent_kernels import Rows, Stack

        design, targets = analysis.design, analysis.targets
        assert targets is not None
        loss, penalty, strength = objective
        regression = analysis.regression(penalty, strength)
        if not (regression.system.basis.identity or isinstance(self.init, str)):
            owner = "a basis" if not strength else penalty.title
            raise SolveError(
                f"with {owner}, descent runs in coordinates of the kernel, and init cannot be a "
                "kernel; use init='zeros' or 'glorot_uniform'"
            )
        by_moments = self.via == "moments"
        data = Rows.of(regression, design.dtype) if by_moments else Stack.of(regression)
        run = _Run(self, loss, regression, data)
        beside, certificate, system = None, None, regression.system
        with jax.enable_x64(design.dtype == np.float64), interruptible() as ctrl_c:
            status = run.steps(ctrl_c)
            best = run.look.measured.best
            w, b, c = (p[best] for p in jax.device_get(run.look.params))
            if design.nuisance.confounds is not None:
                b, beside = _beside(loss, regression, data, w, c)
        if ctrl_c.pressed and status != "solved":
            status = "interrupted"
        if not system.basis.identity:
            certificate = regression.certify(regression.from_coordinates(w))
        return SolverResult(
            _kernel(system, w),
            b,
            penalty,
            strength,
            status=status,
            certificate=certificate,
            stats={
                "steps": run.look.step,
                "final_loss": float(run.look.measured.loss[best, 0]),
                "compile_seconds": run.compile_seconds,
                "run_seconds": run.run_seconds,
            },
            trace=_trace(system, run.looks, best),
            confound_fit=beside,
        )

    def solved(self, loss: Loss, found: Measured, a_norm: np.ndarray, y_norms: Any) -> bool:
        """Return whether the criterion for "solved" in the class docstring is met."""
        i, (y_norm, y_sum) = found.best, y_norms
        if loss.smooth:
            flat = found.gradient[i] <= self.tol * a_norm * found.pull[i]
            close = found.residual[i] <= self.tol * (a_norm * found.size[i] + y_norm)
            return bool((flat | close).all())
        return bool((found.absolute[i] <= self.tol * y_sum).all())

    def traced(
        self, x: Any, y: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        """Take ``steps`` steps and return the restart of lowest loss.

        The loop has a variable number of steps, so there is no reverse derivative.
        """
        import_whole("optax")
        import jax.numpy as jnp

        from .descent_kernels import Rows, Stack, advance, start

        if is_tracer(objective.strength) or objective.strength:
            raise TypeError(
                f"{self.name} with a penalty runs on the host only; use solver='normal'"
            )
        if reason := self._unsupported(objective):
            raise ValueError(reason)
        rows = y.reshape(-1, y.shape[-1])
        shape = (*spec.kernel_size, x.shape[-1] // spec.groups, y.shape[-1])
        if misfit := self._misfit(shape, rows.shape[0]):
            raise ValueError(misfit)
        static = self.static(rows.shape[0], spec, bias, objective.loss)
        state = start(self, shape, x.dtype, np.zeros(shape[-1], bool))
        moments = self.via == "moments"
        data = Rows.traced(x, rows, spec) if moments else Stack(normal_form(x, spec), rows)
        scale = jnp.ones(shape, x.dtype)
        delta = jnp.asarray(objective.loss.threshold, x.dtype)
        state, found = advance(state, data, scale, delta, 0, self.steps, **static)
        best = jnp.nanargmin(found[0, :, 0])
        return state[0][0][best], state[0][1][best]


def _beside(
    loss: Loss, regression: Regression, data: Stack | Rows, w: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the bias (Cout,), and coefficients of the confounds in addition to least squares.

    For squares, the best coefficients for this kernel are those of least squares.
    """
    from .descent_kernels import Stack

    v = regression.scaling.divided(regression.from_coordinates(w))
    if loss.squared:
        return regression.from_columns(v)[1], None
    assert isinstance(data, Stack)
    design = regression.system.design
    params = (w, np.zeros(w.shape[-1], w.dtype), c)
    extra = data.beside_least_squares(params, design.spec._normal)
    confounds = design.nuisance.confounds
    level = None
    if confounds is not None and confounds.shared:
        of_y = np.ldexp(extra[-1] / confounds.size, -regression.y_exponents.reshape(-1))
        level = regression.targets.grouped(of_y)
    return regression.from_columns(v, level)[1], extra


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
    if is_jax_array(key):
        import jax

        if jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key):
            return bool(key.ndim == 0)
    elif not isinstance(key, np.ndarray):
        return False
    return bool(key.dtype == np.uint32 and key.ndim == 1)


class _Look(NamedTuple):
    step: int
    params: Any
    measured: Measured


class _Run:
    """One run of a solver for all restarts: the looks of the host, and the reason for the end."""

    def __init__(
        self,
        solver: GradientDescent,
        loss: Loss,
        regression: Regression,
        data: Stack | Rows,
    ) -> None:
        import jax

        from .descent_kernels import compiled

        self._solver, self._loss = solver, loss
        self._regression = regression
        self._y, design = data.y, regression.system.design
        taps = regression.system.coordinate_size
        channels = regression.system.columns.count // math.prod(taps)
        self._shape, self._dtype = (*taps, channels, design.kernel_shape[-1]), design.dtype
        rows, scaling = design.sizes.rows, regression.scaling
        bias = design.nuisance.constant
        # Norms refer to the rows of the data, but moments are represented by fewer rows of the same
        # mean.
        weight = math.sqrt(data.y.shape[0] / rows)
        self._a_norm = np.repeat(scaling.a_norm, design.sizes.outputs)
        self._y_norms = self._sizes_of_y(weight, bias)
        limit = np.finfo(design.dtype).maxexp - 2
        units = np.ldexp(weight, np.clip(scaling.exponents, -limit, limit))
        scale = to_kernel(np.repeat(units[:, :, None], design.sizes.outputs, axis=2), taps)
        delta = np.asarray(loss.threshold, design.dtype)
        self._fixed: Any = (data, scale.astype(design.dtype), delta)
        kinds = ((np.shape(leaf), str(leaf.dtype)) for leaf in jax.tree.leaves(self._fixed))
        static = solver.static(rows, design.spec, bias, loss)
        self._advance = compiled(solver.restarts, *kinds, **static)

    def _sizes_of_y(self, weight: float, bias: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖y‖ and ‖y‖₁ (Cout,) in the user's units, with the bias projected out.

        Otherwise a residual could appear small relative to an offset of y.
        """
        regression, y = self._regression, np.asarray(self._y, np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            y = y - y.mean(0) if bias else y
            norm = np.ldexp(weight * regression.y_norms, regression.y_exponents)
            sizes = norm.reshape(-1), np.abs(y).sum(0)
        # Replace inf, because any residual is small relative to it.
        norm, absolute = (np.nan_to_num(n, nan=np.inf) for n in sizes)
        return norm, absolute

    def steps(self, ctrl_c: interruptible) -> str:
        """Take steps until the run ends, and return the status."""
        import jax

        from .descent_kernels import start

        begun = time.perf_counter()
        zero = np.logical_not(np.any(np.asarray(self._y), axis=0))
        if isinstance(self._loss, CustomLoss):
            zero = np.zeros_like(zero)  # whose lowest loss may be elsewhere
        confounds = self._regression.matrix.nuisance.confounds
        columns = 0 if confounds is None or self._solver.via == "moments" else confounds.count
        self._state = start(self._solver, self._shape, self._dtype, zero, columns)
        # A call with no steps compiles and evaluates the start.
        self.look = _Look(0, *self._advanced(0))
        self.compile_seconds = time.perf_counter() - begun
        if not np.isfinite(self.look.measured.loss).any():
            raise SolveError(
                f"the loss at the start leaves {self._dtype}; change the units of x and y"
            )
        self.looks, self._fixed = [self.look], jax.device_put(self._fixed)
        self._regular, self._every = self.look, max(1, math.ceil(self._solver.steps / LOOKS))
        self._first, self._pace = float(self.look.measured.loss.min()), math.inf
        status = None
        with stage("steps of gradient descent", self._solver.steps) as self._report:
            while status is None:
                status = self._reason_to_end(ctrl_c.pressed) or self._move_on()
        self.run_seconds = time.perf_counter() - begun - self.compile_seconds
        return status

    def _advanced(self, count: int) -> tuple[Any, Measured]:
        """Return the parameters after ``count`` more steps, and measures that decide the status."""
        from .descent_kernels import Measured

        first = 0 if not count else self.look.step
        self._state, found = self._advance(self._state, *self._fixed, first, count)
        return self._state[0], Measured(*np.asarray(found))

    def _reason_to_end(self, interrupted: bool) -> str | None:
        last = self.look.step >= self._solver.steps
        # How many steps are taken between two looks depends on the clock, so it must not decide.
        if (last or self.look.step % self._every == 0) and self._is_solved(last):
            return "solved"
        if interrupted:
            return "interrupted"
        if not last:
            return None
        zero = math.inf
        if not isinstance(self._loss, CustomLoss):
            zero = float(np.mean(self._loss.of(self._y.astype(np.float64))))
        if self.look.measured.loss.min() > DIVERGED * max(zero, self._first):
            return "diverged"
        return "stagnated" if _stalled(self.looks) else "max steps"

    def _move_on(self) -> str | None:
        """Take steps until the next look; keep the last finite kernel if they diverge."""
        solver, step, every = self._solver, self.look.step, self._every
        due = min(solver.steps, (step // every + 1) * every) - step
        count = min(due, max(1, int(min(SECONDS / self._pace, due))))
        tick = time.perf_counter()
        params, measured = self._advanced(count)
        self._pace = max(time.perf_counter() - tick, 1e-9) / count
        if not np.isfinite(measured.loss).any():
            self.look = self._regular
            return "diverged"
        self.look = look = _Look(step + count, params, measured)
        if count == due:
            self._regular = look
            kept = look.step % (KEEP * every) == 0
            self.looks.append(look if kept else look._replace(params=None))
        self._report(look.step, f"loss {float(np.nanmin(measured.loss)):.3g}")
        return None

    def _is_solved(self, last: bool) -> bool:
        measured = self.look.measured
        found = self._solver.solved(self._loss, measured, self._a_norm, self._y_norms)
        if self._solver.via == "convolution" or not (found or last):
            return found
        # A status based on moments must be confirmed by the data, which may be more accurate at the
        # end.
        anew = _measured_anew(self._regression, *(p[measured.best] for p in self.look.params[:2]))
        y_norms = (self._regression.y_norms.reshape(-1), None)
        return self._solver.solved(self._loss, anew, self._a_norm, y_norms)


def _measured_anew(regression: Regression, w: Any, b: Any) -> Measured:
    """Return the measures that decide the status, computed from the data in float64, for squares.

    y is in units of its channels. A bias is projected out, and the difference from the best bias
    for w counts as another column.
    """
    from .descent_kernels import Measured

    matrix = regression.matrix
    with np.errstate(over="ignore", invalid="ignore"):  # a run that has diverged is not solved
        v = regression.from_coordinates(np.asarray(w))
        r, g = regression.residual(v)
        off = np.zeros_like(r)
        if matrix.nuisance.constant:
            off = (np.asarray(b, float) - regression.to_user(v)[1]).reshape(off.shape)
            off = math.sqrt(matrix.rows) * np.ldexp(off, -regression.y_exponents)
    residual = np.hypot(r, off)
    gradient = np.hypot(np.linalg.norm(g, axis=1), off)
    size = np.linalg.norm(v, axis=1)
    unasked = np.zeros_like(r)  # the loss selects among runs, and squares need no absolute values
    parts = (unasked, gradient, residual, residual, size, unasked)
    return Measured(*(part.reshape(1, -1) for part in parts))


def _stalled(looks: list[_Look]) -> bool:
    losses = np.array([np.nanmin(look.measured.loss) for look in looks])
    half = len(losses) // 2
    if half < 4:
        return False
    before, after = losses[:half].min(), losses[half:].min()
    return bool(after > before - STILL_FALLING * abs(before))


def _kernel(system: System, w: Any) -> np.ndarray:
    """Return T z as a kernel, for the parameters found by a descent."""
    w = np.asarray(w)
    if system.basis.identity:
        return w
    columns = system.basis.expand(to_columns(w, system.matrix.groups))
    return to_kernel(columns, system.design.spec.kernel_size)


def _trace(system: System, looks: list[_Look], best: int) -> Trace:
    return Trace(
        np.array([look.step for look in looks]),
        np.array([look.measured.loss[best, 0] for look in looks]),
        {k.step: _kernel(system, k.params[0][best]) for k in looks if k.params is not None},
    )
