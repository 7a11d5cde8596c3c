"""Gradient descent by any optax optimizer, through the convolution."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..leastsquares.regression import Regression
from ..notation import checks_arguments
from ..operators.layout import to_columns, to_kernel
from ..operators.windows import normal_form
from ..problem.checks import choice, integer, number
from ..problem.records import numeric
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import interruptible, stage
from ..text import shown
from .base import Loss, Objective, Solver, SolverResult, Trace

# Looks at a run, and the most steps between two.
LOOKS, MOST_BETWEEN = 10, 1000
# Relative gain in the second half of the looks below which a loss has stopped falling, and the
# multiple of the first loss above which a run has diverged.
STILL_FALLING, DIVERGED = 1e-3, 10
# Largest number of steps, which are counted by int32, and of a seed.
MOST = 2 * 10**9


class _Data(NamedTuple):
    """The data of a descent, of G groups with R coordinates and Q outputs each.

    Attributes:
        x: (N, *E, Cin), records in normal form, filled to one shape.
        y: (rows, Cout).
        rows: indices of the windows that are used in the fit; None if all are used.
        basis: T (P, R) of kernels w = T z; None for the identity.
        bias: 1 if there is a bias, else 0.
    """

    x: Any
    y: Any
    rows: Any
    basis: Any
    bias: Any


class _Look(NamedTuple):
    """The restart of the lowest loss: z (G, R, Q), the bias (G, Q), and derivatives of its loss.

    ``norms`` (2, Cout) are the norms of its residuals, and of the derivative in the prediction
    times the numbers in y.
    """

    loss: Any
    now: tuple[Any, Any]
    slopes: tuple[Any, Any]
    norms: Any


@checks_arguments
@dataclass(frozen=True, repr=False)
class GradientDescent(Solver):
    """Minimize the mean loss over rows and outputs by an optax optimizer.

    Args:
        optimizer: the name of an optimizer of optax, such as "adam" (the default), "sgd" or
            "lbfgs", or any ``optax.GradientTransformation``. Reuse one object: two objects with the
            same settings are unequal and compile twice.
        learning_rate: learning rate of an optimizer given by name, by default 0.05. "lbfgs" has a
            line search instead.
        steps: largest number of steps, by default 1000. The loss is computed, and Ctrl-C and the
            criterion of "solved" are checked, 10 times in a run and at least every 1000 steps.
        batch_size: number of rows (output windows) drawn with replacement per step. None, the
            default, or a number of at least the number of rows, uses all rows.
        init: "glorot_uniform", the default (limit √(6/(fan_in + fan_out)), as in Keras), "zeros",
            or an array of the kernel's shape. With a basis, the start is its projection on the
            functions. The bias starts at zero.
        seed: an integer of at least 0, the default, of the starts and the batches.
        restarts: number of simultaneous runs from different starts, by vmap; by default 1. The run
            with the lowest loss is returned.
        tol: tolerance of the status "solved", by default 1e-6, see below.

    The loss is squared, absolute, Huber's with a given scale, or a callable ``loss=`` of
    (prediction, target), each (rows, Cout), whose value (elementwise or scalar) is averaged.

    `solve` supports no penalty, weights or confounds with it. Descent that is stopped early
    resembles a ridge that decreases with the number of steps.

    The status "solved" is decided per output, with A equilibrated. The criterion is
    ‖r‖ ≤ tol·(‖A‖‖w‖ + ‖y‖), and for squares and Huber's loss also ‖Aᵀr‖ ≤ tol·‖A‖‖r‖. Otherwise
    the status is "max steps", "stagnated" if the loss has stopped falling, or "interrupted" after
    Ctrl-C. It is "diverged" if the loss is no longer finite; the last finite kernel is then
    returned. It is also "diverged" if the final loss exceeds ten times the first loss. The
    iteration uses the precision of the data. It runs on the default device of jax, but not in
    `fit_kernel`.

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

    any_loss = True

    optimizer: Any = "adam"
    _: KW_ONLY
    learning_rate: float = 0.05
    steps: int = 1000
    batch_size: int | None = None
    init: Any = "glorot_uniform"
    seed: int = 0
    restarts: int = 1
    tol: float = 1e-6

    def __post_init__(self) -> None:
        if isinstance(self.optimizer, str):
            import optax

            if not callable(getattr(optax, self.optimizer, None)):
                raise ValueError(f"optimizer={self.optimizer!r} is no optimizer of optax")
        elif not callable(getattr(self.optimizer, "init", None)):
            given = shown(self.optimizer)
            raise TypeError(f"optimizer must be an optax transformation, got {given}")
        if isinstance(self.init, str):
            choice(self.init, "init", ("glorot_uniform", "zeros"), ", or an array")
        else:
            object.__setattr__(self, "init", numeric(self.init, "init"))
        for name, least in {"steps": 0, "batch_size": 1, "seed": 0, "restarts": 1}.items():
            if (value := getattr(self, name)) is not None or name != "batch_size":
                object.__setattr__(self, name, integer(value, name, least, MOST))
        for name in ("tol", "learning_rate"):
            object.__setattr__(self, name, number(getattr(self, name), name))

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if loss, penalty, weights, confounds or ``init`` do not fit."""
        loss, channels = objective.loss, sizes.columns // math.prod(spec.kernel_size)
        kernel = (*spec.kernel_size, channels, sizes.groups * sizes.outputs)
        given = kernel if isinstance(self.init, str) else np.shape(self.init)
        mad = loss.smooth and loss.threshold is None
        reasons = {
            "gradient descent supports no weights or confounds": sizes.partialled,
            "gradient descent supports no penalty": objective.strength,
            "the scale 'mad' of Huber's loss changes with the kernel; give it as a number": mad,
            f"init has shape {given}, the kernel {kernel}": given != kernel,
            f"it {sizes.whole_reason}": sizes.whole_reason,
        }
        return next((reason for reason, true in reasons.items() if true), None)

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        import jax

        design, loss, times = analysis.design, objective.loss, [time.perf_counter()]
        regression, looks = analysis.regression(RIDGE, 0.0), dict[int, _Look]()
        data, double = _data(regression), design.dtype == np.float64
        ignored, steps = np.errstate(all="ignore"), stage("steps of gradient descent", self.steps)
        with ignored, jax.enable_x64(double), interruptible() as pressed, steps as report:
            for step, look in self._looks(regression, data, loss):
                looks[step] = look
                solved = np.isfinite(look.loss) and self._solved(regression, loss, look)
                times.append(time.perf_counter())
                report(step, f"loss {look.loss:.3g}")
                if solved or pressed() or not np.isfinite(look.loss):
                    break
        losses = np.array([look.loss for look in looks.values()])
        kernels = {
            step: to_kernel(w if data.basis is None else data.basis @ w, design.spec.kernel_size)
            for step, (loss_of, (w, _), *_) in looks.items()
            if np.isfinite(loss_of)
        }
        if not kernels:
            raise SolveError(f"the loss at the start leaves {design.dtype}")
        step = max(kernels)
        status = "solved" if solved else "interrupted" if pressed() else _ended(losses)
        return SolverResult(
            kernels[step],
            data.bias * looks[step].now[1].reshape(-1),
            status=status,
            stats={
                "steps": step,
                # The look at the start compiles the steps.
                "compile_seconds": times[1] - times[0],
                "run_seconds": times[-1] - times[1],
            },
            trace=Trace(np.array([*kernels]), losses[: len(kernels)], kernels),
            answer="one kernel of many, fixed by the start and the optimizer",
        )

    def _looks(self, regression: Regression, data: _Data, loss: Loss) -> Iterator[Any]:
        """Yield the number of steps and a look, before the first step and after some steps each."""
        import jax

        z, rows = self._start(regression, data), len(data.y)
        params = z, np.zeros((*z.shape[:2], z.shape[3]), z.dtype)
        batch = self.batch_size if (self.batch_size or rows) < rows else None
        spec = regression.system.design.spec._normal
        begin, advance = _compiled(self.optimizer, self.learning_rate, loss, batch, spec)
        seeds = np.uint32(self.seed) + np.arange(len(z), dtype=np.uint32)
        run, fixed = begin(params, (data, seeds))
        half = max(1, min(-(-self.steps // (2 * LOOKS)), MOST_BETWEEN // 2))
        for step, until in pairwise(chain([0, 0], range(half, self.steps, 2 * half), [self.steps])):
            run, look = advance(*fixed, run, step, until)
            yield until, jax.device_get(look)

    def _start(self, regression: Regression, data: _Data) -> np.ndarray:
        """Return coordinates (restarts, G, R, Q)."""
        shape, spec = (self.restarts, *regression.shape), regression.system.design.spec
        if not isinstance(self.init, str):
            w = to_columns(self.init.astype(data.y.dtype), spec.groups)
            return np.broadcast_to(w if data.basis is None else data.basis.T @ w, shape)
        fan = regression.shape[1] + math.prod(spec.kernel_size) * data.y.shape[1]
        limit = math.sqrt(6 / fan) * (self.init == "glorot_uniform")
        return np.random.default_rng(self.seed).uniform(-limit, limit, shape).astype(data.y.dtype)

    def _solved(self, regression: Regression, loss: Loss, look: _Look) -> bool:
        """Return whether the criterion in the docstring of the class is met."""
        scaling, exponents = regression.scaling, regression.y_exponents
        unit = np.ldexp(1.0, scaling.exponents)[:, :, None]
        error, pull = look.norms.reshape(2, *exponents.shape)
        slope = np.linalg.norm(look.slopes[0] / unit, axis=1)
        slope = np.hypot(slope, look.slopes[1] / math.sqrt(regression.matrix.rows))
        size = scaling.a_norm * np.linalg.norm(look.now[0] * unit, axis=1)
        near = error <= self.tol * (size + np.ldexp(regression.y_norms, exponents))
        flat = slope * regression.matrix.rows * pull.size <= self.tol * scaling.a_norm * pull
        return bool((near | (loss.smooth & flat)).all())


def _data(regression: Regression) -> _Data:
    """Return the records of a design and its targets."""
    design, basis = regression.system.design, regression.system.basis
    kept, dtype, records = design.kept, design.dtype, design.records_in_memory
    flags = [kept.flags_of(i) for i in kept.used]
    x = _filled([normal_form(records[i][None], design.spec)[0] for i in kept.used])
    y = [regression.targets.in_memory[i][f] for i, f in zip(kept.used, flags, strict=True)]
    used, eye = _filled(flags), np.eye(basis.count(0))[None]
    rows = None if used.all() else np.flatnonzero(used)
    matrix = None if basis.identity else basis.expand(eye)[0].astype(dtype)
    bias = np.array(design.nuisance.constant, dtype)
    return _Data(x.astype(dtype), np.concatenate(y).astype(dtype), rows, matrix, bias)


def _filled(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return arrays as one, filled with zeros to the largest shape."""
    shape: Any = np.max([a.shape for a in arrays], axis=0)
    return np.stack([np.pad(a, [(0, n) for n in shape - a.shape]) for a in arrays])


def _ended(losses: np.ndarray) -> str:
    """Return the status of a run that has not met the criterion of "solved"."""
    if not losses[-1] <= DIVERGED * losses[0]:
        return "diverged"
    half = len(losses) // 2
    before, after = losses[:half].min(initial=math.inf), losses[half:].min()
    stalled = half >= 4 and after > before - STILL_FALLING * abs(before)
    return "stagnated" if stalled else "max steps"


# JAX keeps compiled programs as long as their functions.
@lru_cache(maxsize=32)
def _compiled(given: Any, rate: float, loss: Loss, batch: int | None, spec: ConvSpec) -> Any:
    """Return the functions that begin a run and take steps, compiled for every shape of data."""
    import jax
    import jax.numpy as jnp
    import optax
    from jax import lax

    from ..operators.jax_operator import convolved, gather_rows, matmul

    if isinstance(given, str):
        given = optax.lbfgs() if given == "lbfgs" else getattr(optax, given)(rate)
    optimizer = optax.with_extra_args_support(given)

    def evaluate(params: Any, data: _Data, picked: Any = None) -> tuple[Any, ...]:
        """Return the loss of rows, its derivatives in parameters and prediction, and residuals."""
        target = data.y if picked is None else data.y[picked]

        def predict(params: Any) -> Any:
            w = params[0] if data.basis is None else matmul(data.basis, params[0])
            if picked is None:
                y = convolved(data.x, to_kernel(w, spec.kernel_size), spec)
                y = y.reshape(-1, target.shape[1])[... if data.rows is None else data.rows]
            else:
                rows = picked if data.rows is None else data.rows[picked]
                y = matmul(gather_rows(data.x, rows, spec), w).transpose(1, 0, 2)
            return y.reshape(target.shape) + data.bias * params[1].reshape(-1)

        prediction, adjoint = jax.vjp(predict, params)
        value, pull = jax.value_and_grad(lambda p: loss.mean(p, target, jnp))(prediction)
        return value, params, adjoint(pull)[0], pull, prediction - target

    def step(number: Any, data: _Data, seed: Any, run: Any) -> Any:
        (params, state), picked = run, None
        if batch is not None:
            draw = jax.random.fold_in(jax.random.key(seed), number)
            picked = jax.random.randint(draw, (batch,), 0, len(data.y))
        value, _, grad, *_ = evaluate(params, data, picked)
        more = {"value": value, "grad": grad, "value_fn": lambda p: evaluate(p, data, picked)[0]}
        updates, state = optimizer.update(grad, state, params, **more)
        return optax.apply_updates(params, updates), state

    def advance(data: _Data, seeds: Any, run: Any, first: Any, until: Any) -> Any:
        """Take steps of every restart, and look at all rows."""
        steps = jax.vmap(step, in_axes=(None, None, 0, 0))
        run = lax.fori_loop(first, until, lambda i, run: steps(i, data, seeds, run), run)
        found = jax.vmap(evaluate, in_axes=(0, None))(run[0], data)
        best = jnp.argmin(jnp.where(jnp.isfinite(found[0]), found[0], jnp.inf))
        *found, pull, error = jax.tree.map(lambda a: a[best], found)
        # The derivative of a mean is so small that its square could underflow.
        norms = jnp.linalg.norm(jnp.stack([error, pull * pull.size]), axis=1)
        return run, _Look._make([*found, norms])

    # The data are returned as arrays on the device.
    begin = jax.jit(lambda params, fixed: ((params, jax.vmap(optimizer.init)(params)), fixed))
    return begin, jax.jit(advance)
