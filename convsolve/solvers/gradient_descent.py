"""Gradient descent by any optax optimizer, through the convolution or through sums over rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.curvature import largest_eigenvalue, largest_row, total_curvature
from ..leastsquares.regression import Regression
from ..looks import look_steps
from ..notation import checks_arguments
from ..operators.layout import to_columns
from ..problem.checks import choice, integer, number
from ..problem.records import numeric
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import interruptible, stage
from ..text import in_bytes, shown
from .base import CustomLoss, Loss, Objective, Solver, SolverResult, Trace
from .descent_data import MOMENTUM, StepUnits, records_of, sums_of
from .yardstick import Yardstick

# Names of optimizers whose default rate is 1/L; all others but L-BFGS have the rate of Adam.
PLAIN = tuple(MOMENTUM)
# Optimizers that are solvers by name, in addition to Adam. They need no import of optax to check.
OPTIMIZERS = (
    *PLAIN, "lbfgs", "adamw", "nadam", "radam", "adamax", "adagrad", "rmsprop", "lion",
)  # fmt: skip
# Default rate of Adam and its relatives, in units of the size of a kernel. A step of Lion changes
# every tap by the rate.
RATE, RATE_OF_LION = 0.05, 0.01
# Most steps between two looks.
MOST_BETWEEN = 1000
# Multiple of the first loss above which a run has diverged.
DIVERGED = 10.0
# Relative gain in the second half of the steps below which a loss has stopped falling, and the
# fewest looks in which it must not have fallen.
STILL_FALLING, FEWEST = 1e-3, 4
# Relative increase of a loss that is rounding.
ROUNDING = 1e-6
# Largest number of steps, which are counted by int32, and of a seed.
MOST = 2 * 10**9
GRADIENTS = ("convolution", "sums")


@checks_arguments
@dataclass(frozen=True, repr=False)
class GradientDescent(Solver):
    """Minimize the mean loss over rows and outputs, and a penalty, by an optax optimizer.

    Args:
        optimizer: the name of an optimizer: "adam" (the default), "sgd", "momentum", "nesterov",
            "lbfgs" or another optimizer of optax; or any ``optax.GradientTransformation``. Reuse
            one object: two objects with the same settings are unequal and compile twice.
        learning_rate: learning rate of an optimizer given by name: a number, which is used as it
            is, or a schedule of optax. None, the default, chooses it from the data, see below.
        steps: largest number of steps, by default 1000. The loss is computed, and Ctrl-C, the
            callback and the criterion of "solved" are checked, at the steps 0 to 8, 10, 13, 18, 24,
            32, …: eight times per decade, and at least every 1000 steps.
        batch_size: number of rows (output windows) drawn with replacement per step. None, the
            default, or a number of at least the number of rows, uses all rows.
        gradient: "convolution", the default, computes the gradient of every step through
            ``jax.lax.conv_general_dilated``, for every loss. "sums" computes it from AᵀA and Aᵀy,
            for squares: the same iterates to rounding, and P² numbers per step instead of a pass
            over the data.
        init: "zeros", the default; "glorot_uniform" (limit √(6/(fan_in + fan_out)), as in Keras);
            or an array of the kernel's shape. In a basis, the start is its projection on the
            functions.
        seed: an integer of at least 0, the default, of the starts and the batches.
        restarts: number of simultaneous runs from different starts, by vmap; by default 1. The run
            with the lowest loss is returned.
        tol: tolerance of the status "solved", by default 1e-6, see below.
        callback: a function of (step, kernel, loss), which is called at the steps named above. If
            it returns True, the run stops with the status "stopped". None, the default, for none.

    The loss is squared, absolute, Huber's with a given scale, or a callable ``loss=`` of
    (prediction, target), each (rows, Cout), whose value (elementwise or scalar) is averaged. A
    quadratic penalty is added, so that the limit is the kernel of the exact method. With a penalty,
    steps are taken in the coordinates in which it is a sum of squares: the taps for `Ridge`. Rows
    are multiplied by the roots of their weights. The bias and confounds are fitted exactly at every
    step for squares, and are unknowns of the descent for other losses.

    Without ``learning_rate``, no optimizer given by name depends on the units of x and y. "sgd",
    "momentum" and "nesterov" (momentum 0.9) have the rate 1/L, where L is the largest second
    derivative of the mean loss. It is reduced to zero by a cosine schedule for batches and for the
    absolute loss. "lbfgs" has a line search. All others have the rate 0.05 in units of the size of
    a kernel for white x, √(‖y‖²/‖x‖²/P), and a cosine schedule over ``steps``.

    The status "solved" is decided per output. For squares, if the kernel is unique, it differs from
    the exact kernel by at most tol·‖w‖. With A equilibrated, ‖r‖ ≤ tol·(‖A‖‖w‖ + ‖y‖), or for
    squares and Huber's loss ‖Aᵀr‖ ≤ tol·‖A‖‖r‖. Otherwise the status is "max steps", "stagnated" if
    the loss has stopped falling, "stopped" by the callback, or "interrupted" after Ctrl-C. It is
    "diverged" if the loss is no longer finite or exceeds ten times the first loss. The last finite
    kernel is then returned. ``stats["advice"]`` compares the result with the statistical error. The
    iteration uses the precision of the data, or float64 for "sums". It runs on the default device
    of jax, but not in `fit_kernel`.

    If many kernels fit, plain descent, momentum and L-BFGS from "zeros" converge to the
    minimum-norm solution. Adam does not, and neither does a start outside the row space. Without a
    special optimizer, leave out ``solver=``: ``"auto"`` computes the exact solution for every loss
    but callables, in a fraction of the time.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, cs.GradientDescent(steps=500))
        >>> np.allclose(fit.kernel, cs.solve(problem).kernel, atol=0.01)
        True

    See Also:
        ``"auto"`` for the exact solution, `compare`, `EarlyStopping` for a descent that is stopped,
        and `Identifiability.descent` for the number of steps.
    """

    any_loss = True

    optimizer: Any = "adam"
    _: KW_ONLY
    learning_rate: float | Callable[[Any], Any] | None = None
    steps: int = 1000
    batch_size: int | None = None
    gradient: str = "convolution"
    init: Any = "zeros"
    seed: int = 0
    restarts: int = 1
    tol: float = 1e-6
    callback: Callable[[int, np.ndarray, float], Any] | None = None

    def __post_init__(self) -> None:
        self._check_optimizer()
        choice(self.gradient, "gradient", GRADIENTS)
        if self.gradient == "sums" and self.batch_size is not None:
            raise ValueError("gradient='sums' uses all rows, so it has no batch_size=")
        if isinstance(self.init, str):
            choice(self.init, "init", ("zeros", "glorot_uniform"), ", or an array")
        else:
            object.__setattr__(self, "init", numeric(self.init, "init"))
        if not (self.callback is None or callable(self.callback)):
            raise TypeError(f"callback must be a function, got {shown(self.callback)}")

        for name, least in {"steps": 0, "seed": 0, "restarts": 1}.items():
            object.__setattr__(self, name, integer(getattr(self, name), name, least, MOST))
        if self.batch_size is not None:
            batch_size = integer(self.batch_size, "batch_size", 1, MOST)
            object.__setattr__(self, "batch_size", batch_size)
        object.__setattr__(self, "tol", number(self.tol, "tol"))
        if self.learning_rate is not None and not callable(self.learning_rate):
            rate = number(self.learning_rate, "learning_rate")
            object.__setattr__(self, "learning_rate", rate)

        same = not isinstance(self.init, str) or self.init == "zeros"
        if self.restarts > 1 and same and self.batch_size is None:
            raise ValueError("restarts from one start are equal; use init='glorot_uniform'")

    def _check_optimizer(self) -> None:
        """Raise an error unless the optimizer is a name or a transformation of optax."""
        if isinstance(self.optimizer, str):
            # As words of `solve`: in any case, "L-BFGS" too.
            optimizer = self.optimizer.lower().replace("-", "")
            object.__setattr__(self, "optimizer", optimizer)
            if optimizer in ("adam", *OPTIMIZERS):
                return
            import optax

            if not callable(getattr(optax, optimizer, None)):
                raise ValueError(f"optimizer={self.optimizer!r} is no optimizer of optax")
            return
        if not callable(getattr(self.optimizer, "init", None)):
            got = shown(self.optimizer)
            raise TypeError(f"optimizer must be an optax transformation, got {got}")
        if self.learning_rate is not None:
            raise TypeError("learning_rate= is for an optimizer given by name")

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if loss, memory, ``gradient`` or ``init`` do not fit the problem."""
        loss = objective.loss
        custom = isinstance(loss, CustomLoss)
        if loss.smooth and loss.threshold is None and not custom:
            return "the scale 'mad' of Huber's loss changes with the kernel; give it as a number"
        if custom and self._by_default and self.optimizer in PLAIN:
            return f"{self.optimizer!r} needs learning_rate= for a loss that is a function"
        if not isinstance(self.init, str):
            channels = sizes.columns // math.prod(spec.kernel_size)
            kernel = (*spec.kernel_size, channels, sizes.groups * sizes.outputs)
            if self.init.shape != kernel:
                return f"init has shape {self.init.shape}, the kernel {kernel}"
        if self.gradient == "sums":
            if not loss.squared:
                return f"gradient='sums' is for squares, not for the {loss.name} loss"
            return sizes.gram_reason()
        if sizes.whole_reason is not None:
            return f"it {sizes.whole_reason}"
        nuisance_bytes = 8 * sizes.rows * sizes.nuisance
        if nuisance_bytes > sizes.limits.gram_bytes:
            needed = in_bytes(nuisance_bytes)
            return f"{sizes.nuisance} nuisance columns need {needed}; use gradient='sums'"
        return None

    @property
    def _by_default(self) -> bool:
        """Whether the rate is chosen for an optimizer given by name."""
        return isinstance(self.optimizer, str) and self.learning_rate is None

    def _batch(self, rows: int) -> int | None:
        """Return the number of rows per step, or None for all rows."""
        if self.batch_size is None or self.batch_size >= rows:
            return None
        return self.batch_size

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        begun = time.perf_counter() - analysis.design.clock.total
        import jax

        regression = analysis.regression(objective.penalty, objective.strength)
        yardstick = None
        if objective.loss.squared:
            yardstick = Yardstick.of(analysis, objective)
        x64 = self.gradient == "sums" or analysis.design.dtype == np.float64
        with np.errstate(all="ignore"), jax.enable_x64(x64):
            descent = _Descent(self, regression, objective.loss, yardstick)
            descent.begin()
            preparation = time.perf_counter() - analysis.design.clock.total - begun
            descent.run()
        return descent.result(preparation)

    def _start(self, regression: Regression, columns: int) -> np.ndarray:
        """Return coordinates (restarts, G, R, Q) at which the runs start."""
        groups, count, outputs = regression.shape
        shape = (self.restarts, groups, count, outputs)
        if not isinstance(self.init, str):
            kernel = to_columns(self.init.astype(float), groups)
            z = regression.system.columns.t.coordinates(kernel)
            return np.broadcast_to(z, shape)
        if self.init == "zeros":
            return np.zeros(shape)
        taps = math.prod(regression.system.design.spec.kernel_size)
        limit = math.sqrt(6 / (columns + taps * groups * outputs))
        return np.random.default_rng(self.seed).uniform(-limit, limit, shape)


class _Descent:
    """One run of gradient descent, with its looks.

    Attributes:
        solver: the settings.
        regression: the regression with its penalty.
        loss: the loss.
        yardstick: the exact solution of squares, or None.
        steps: numbers of the steps at which there were looks.
        looks: the looks.
        kernels: the kernel at every look.
        seconds: time since the first step at every look.
        status: the status, after the last look.
    """

    def __init__(
        self,
        solver: GradientDescent,
        regression: Regression,
        loss: Loss,
        yardstick: Yardstick | None,
    ) -> None:
        self.solver = solver
        self.regression = regression
        self.loss = loss
        self.yardstick = yardstick
        self.batch = solver._batch(regression.matrix.rows)
        self.steps: list[int] = []
        self.looks: list[Any] = []
        self.kernels: list[np.ndarray] = []
        self.seconds: list[float] = []
        self.status = "max steps"

    # --- the steps

    def begin(self) -> None:
        """Prepare the data, compile the steps, and look at the start."""
        from .descent_steps import Params, compiled

        solver = self.solver
        regression = self.regression
        design = regression.system.design
        units = self._units()
        by_sums = solver.gradient == "sums"
        data: Any
        if by_sums:
            data = sums_of(regression, units)
            dtype = np.dtype(float)
        else:
            data = records_of(regression, self.loss, units)
            dtype = data.y.dtype
        data = data._replace(units=StepUnits(*(dtype.type(value) for value in units)))

        start = solver._start(regression, regression.matrix.columns) / units.kernel
        level = None
        if not self.loss.squared and regression.matrix.plan.fitted:
            level = np.zeros((solver.restarts, regression.matrix.plan.fitted, self._outputs), dtype)
        params = Params(start.astype(dtype), level)

        schedule = solver.learning_rate if callable(solver.learning_rate) else None
        first, self._advance = compiled(
            solver.optimizer, schedule, self.loss, self.batch, design.spec._normal, by_sums
        )
        seeds = np.uint32(solver.seed) + np.arange(solver.restarts, dtype=np.uint32)
        self._run, self._data, self._seeds = first(params, data, seeds)
        self._look(0)
        if not np.isfinite(self.looks[0].loss):
            raise SolveError(f"the loss at the start leaves {design.dtype}")

    def run(self) -> None:
        """Take all steps, unless the run ends earlier."""
        total = self.solver.steps
        self._begun = time.perf_counter()
        if self._ends(0, None):
            return
        with interruptible() as pressed, stage("steps of gradient descent", total) as report:
            for step in look_steps(total, MOST_BETWEEN)[1:]:
                self._look(step)
                report(step, f"loss {self.looks[-1].loss:.3g}")
                if self._ends(step, pressed):
                    return
        if self._has_stalled():
            self.status = "stagnated"

    def _look(self, step: int) -> None:
        """Take the steps up to a step, and store the look."""
        import jax

        before = self.steps[-1] if self.steps else 0
        self._run, look = self._advance(
            self._run, self._data, self._seeds, np.int32(before), np.int32(step)
        )
        look = jax.device_get(look)
        self.steps.append(step)
        self.looks.append(look)
        self.seconds.append(time.perf_counter() - self._begun if step else 0.0)
        if np.isfinite(look.loss) and np.isfinite(look.z).all():
            self.kernels.append(self._in_user_units(look)[0])

    def _ends(self, step: int, pressed: Callable[[], bool] | None) -> bool:
        """Return whether the run ends at the last look, and store its status."""
        if self._line_search_failed():
            self.status = "stagnated"
            return True
        look = self.looks[-1]
        has_kernel = len(self.kernels) == len(self.looks)
        if not has_kernel or look.loss > self._highest_loss():
            self.status = "diverged"
        elif self._is_solved():
            self.status = "solved"
        elif pressed is not None and pressed():
            self.status = "interrupted"
        elif self.solver.callback is not None and self.solver.callback(
            step, self.kernels[-1].copy(), float(look.loss)
        ):
            self.status = "stopped"
        return self.status != "max steps"

    def _highest_loss(self) -> float:
        """Return the loss above which a run has diverged.

        It is a multiple of the first loss. A start may be near the exact kernel, so it is at least
        a multiple of the loss of the zero kernel.
        """
        first = float(self.looks[0].loss)
        size = abs(first)
        if not isinstance(self.loss, CustomLoss):
            size = max(size, float(self.loss.of(np.array(self._root_mean_square()))))
        return first + (DIVERGED - 1) * size

    @property
    def _outputs(self) -> int:
        """Number of outputs of all groups."""
        return self.regression.y_exponents.size

    def _root_mean_square(self) -> float:
        """Return the root of the mean square of y, without what nuisance columns fit."""
        regression = self.regression
        norms = np.ldexp(regression.y_norms, regression.y_exponents)
        return math.sqrt(np.square(norms).mean() / regression.matrix.rows)

    def _line_search_failed(self) -> bool:
        """Return whether L-BFGS found no lower loss, and discard the look if so.

        This happens where the loss has no derivative, or at the rounding of the loss.
        """
        if self.solver.optimizer != "lbfgs" or self.batch is not None or len(self.looks) < 2:
            return False
        before, loss = (float(look.loss) for look in self.looks[-2:])
        if loss <= before + ROUNDING * abs(before):
            return False
        if len(self.kernels) == len(self.looks):
            self.kernels.pop()
        self.looks.pop()
        self.steps.pop()
        self.seconds.pop()
        return True

    def _is_solved(self) -> bool:
        """Return whether the criterion in the docstring of `GradientDescent` is met."""
        solver = self.solver
        regression = self.regression
        look = self.looks[-1]
        if self._distance() > solver.tol:
            return False

        scaling = regression.scaling
        exponents = regression.y_exponents
        numbers = regression.matrix.rows * exponents.size
        error = look.error_norms.reshape(exponents.shape)
        slope = look.slope_norms.reshape(exponents.shape)
        # Derivatives and coordinates of columns of norm about one.
        unit = np.ldexp(1.0, scaling.exponents)[:, :, None]
        pull = np.linalg.norm(look.gradient / unit, axis=1) * numbers
        if look.level is not None:
            level = np.linalg.norm(look.level_gradient, axis=0) * numbers
            pull = np.hypot(pull, level.reshape(exponents.shape))
        size = scaling.a_norm * np.linalg.norm(look.z * unit, axis=1)
        near = error <= solver.tol * (size + np.ldexp(regression.y_norms, exponents))
        flat = pull <= solver.tol * scaling.a_norm * slope
        return bool((near | (self.loss.smooth & flat)).all())

    def _distance(self) -> float:
        """Return the relative distance to the exact kernel; 0 if it is not unique or not known."""
        if self.yardstick is None or not self.yardstick.unique:
            return 0.0
        return self.yardstick.distance(self.kernels[-1])

    def _has_stalled(self) -> bool:
        """Return whether the loss has not fallen in the second half of the steps."""
        steps = np.array(self.steps)
        losses = np.array([float(look.loss) for look in self.looks])
        if self.yardstick is not None:
            losses = self._excess()
        late = steps > steps[-1] // 2
        if late.sum() < FEWEST // 2 or (~late).sum() < FEWEST:
            return False
        before = losses[~late].min()
        after = losses[late].min()
        return bool(after > before - STILL_FALLING * abs(before))

    # --- the default rate

    def _units(self) -> StepUnits:
        """Return the units and the rate of the descent."""
        solver = self.solver
        if not solver._by_default:
            rate = solver.learning_rate
            return StepUnits(1.0, 1.0, 1.0, rate if isinstance(rate, float) else 0.0, 0)
        regression = self.regression
        matrix = regression.matrix
        output = self._root_mean_square() or 1.0
        # The size of a kernel of least squares on white x.
        trace = total_curvature(regression.system) / matrix.groups
        kernel = output * math.sqrt(matrix.rows / trace) if trace > 0 else 1.0
        loss = 1.0
        if not isinstance(self.loss, CustomLoss):
            loss = float(self.loss.of(np.array(output)))

        if solver.optimizer not in PLAIN:
            rate = RATE_OF_LION if solver.optimizer == "lion" else RATE
            return StepUnits(kernel, output, loss, rate, solver.steps)
        curvature = self._curvature(output) * kernel**2 / loss
        smooth = self.loss.curvature is not None
        if not self.loss.squared and matrix.plan.fitted:
            of_levels = (self.loss.curvature or 1 / output) / self._outputs * output**2 / loss
            curvature = max(curvature, of_levels)
        rate = 1 / curvature if curvature > 0 else 0.0
        constant = smooth and self.batch is None
        return StepUnits(kernel, output, loss, rate, 0 if constant else solver.steps)

    def _curvature(self, residual: float) -> float:
        """Return L, a bound on the second derivative of the mean loss in any direction.

        A loss without such a bound has that of squares with the same slope at a ``residual``. The
        gradient of a batch differs from the mean, so its bound is larger.
        """
        regression = self.regression
        matrix = regression.matrix
        second = self.loss.curvature or 1 / residual
        unit = second / (matrix.rows * self._outputs)
        curvature = unit * largest_eigenvalue(regression.system)
        if self.batch is not None:
            of_row = second / self._outputs * largest_row(regression.system)
            remembered = 1 - MOMENTUM[self.solver.optimizer]
            curvature += (curvature + of_row) / (self.batch * remembered)
        return curvature

    # --- the result

    def _in_user_units(self, look: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel and bias of a look."""
        regression = self.regression
        exponents = regression.system.columns.exponents[:, :, None]
        y_exponents = regression.y_exponents
        z = np.ldexp(np.asarray(look.z, float), exponents - y_exponents[:, None, :])
        level = None
        plan = regression.matrix.plan
        if look.level is not None and plan.centred:
            constant = np.asarray(look.level[-1], float) / plan.norm
            level = np.ldexp(constant.reshape(y_exponents.shape), -y_exponents)
            if plan.confounds is None:
                level = level + regression.matrix.output_means(regression.targets)
        return regression.from_columns(z, level)

    def _excess(self) -> np.ndarray:
        """Return the excess loss of every kernel."""
        assert self.yardstick is not None
        return np.array([self.yardstick.excess(kernel) for kernel in self.kernels])

    def result(self, preparation: float) -> SolverResult:
        """Return the last kernel that is finite, with all looks."""
        known = len(self.kernels)
        look = self.looks[known - 1]
        kernel, bias = self._in_user_units(look)
        losses = np.array([float(look.loss) for look in self.looks])
        excess = None
        error = None
        if self.yardstick is not None:
            excess = self._excess()
            error = self.yardstick.statistical_error
        trace = Trace(
            steps=np.array(self.steps[:known]),
            losses=losses[:known],
            kernels=dict(zip(self.steps, self.kernels, strict=False)),
            seconds=np.array(self.seconds[:known]),
            excess=excess,
            statistical_error=error,
            diverged=self.status == "diverged",
        )
        confound_fit = None
        if look.level is not None and self.regression.matrix.plan.confounds is not None:
            confound_fit = np.asarray(look.level, float)
        return SolverResult(
            kernel,
            bias,
            status=self.status,
            stats={
                "steps": self.steps[known - 1],
                "compile_seconds": preparation,
                "run_seconds": self.seconds[-1],
                "advice": self._advice(trace),
            },
            trace=trace,
            answer="one kernel of many, fixed by the start and the optimizer",
            confound_fit=confound_fit,
        )

    def _advice(self, trace: Trace) -> str:
        """Return what the result is worth, and what to change."""
        if self.status == "diverged":
            return f"diverged: {self._stable_rate()}"
        if self.status in ("solved", "interrupted", "stopped"):
            return ""
        longer = "increase steps=, use solver='lbfgs', or leave out solver="
        if trace.ratios is None:
            return "" if self.status == "stagnated" else f"the loss may still fall: {longer}"
        ratio = float(trace.ratios[-1])
        words = f"the excess loss is {ratio:.2g} times the statistical error"
        if ratio > 1:
            return f"{words}: {longer}"
        if ratio > 0.01:
            return f"{words}, below the distance of the exact kernel from the true one"
        return f"{words}: the data cannot distinguish the kernel from the exact one"

    def _stable_rate(self) -> str:
        """Return which rates do not diverge."""
        solver = self.solver
        if self.loss.curvature is None or self.batch is not None:
            return "use a smaller learning_rate="
        limit = 2 / self._curvature(1.0)
        rate = solver.learning_rate
        if isinstance(rate, float) and solver.optimizer == "sgd" and rate > limit:
            return f"the rate {rate:.3g} is above 2/L = {limit:.3g}"
        return f"use a smaller learning_rate= (plain descent needs less than 2/L = {limit:.3g})"
