"""Entry points: identify, solve, fit_kernel, convolve. They validate, run, certify and pack."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from . import __version__
from .errors import IdentifiabilityError, IdentifiabilityWarning, SolveError, warn
from .identifiability import wording
from .identifiability.report import Identifiability
from .identifiability.verdict import SEVERITY
from .lazy_jax import as_jax, is_jax_array
from .leastsquares.analysis import analyse
from .leastsquares.penalty import RIDGE, Penalty
from .linalg.threads import blas_threads
from .method import Method
from .near_misses import checks_arguments
from .noise import ARNoise, NoiseModel
from .operators.prediction import predicted
from .parts import STATUSES, Part, gathered, stats_of
from .problem.checks import flag
from .problem.description import fitted_terms, rows_sentence
from .problem.problem import Problem
from .problem.records import numeric, precision, read
from .problem.sizes import Limits, Tuning, tuning_of
from .problem.spec import ConvSpec
from .progress import LOG, Listener, announce, tracked
from .progress_bars import following
from .solution import Solution
from .solvers.base import Loss, Solver, SolverResult, certified
from .text import recorded

if TYPE_CHECKING:
    import jax

    from .inference.folds import CrossValidation

# Alternating estimates of autoregressive noise and the kernel, after one for white noise.
ROUNDS = 2
REFUSED = "strict=True, so no solution is returned"
# Reports by problem and limits, as weak references: a report refers to its problem.
_REPORTS: WeakKeyDictionary[Problem, WeakValueDictionary[Tuning, Identifiability]]
_REPORTS = WeakKeyDictionary()


@checks_arguments
def identify(
    problem: Problem,
    *,
    progress: bool | Listener = False,
    limits: Limits | None = None,
) -> Identifiability:
    """Report whether x determines the kernel, and which part of it.

    The report is computed from x alone, before any solving.

    Args:
        problem: x and the geometry. The values of y are not used.
        progress: True shows progress bars, see `solve`. The verdict is then computed in this call.
            Default False.
        limits: limits of memory and time, see `Limits`. None, the default, is ``Limits()``.

    Returns:
        An `Identifiability`. Its numbers are computed at the first access, once per problem. If
        outputs use different rows, the report describes the least well determined output.

    Raises:
        TypeError: If an argument has the wrong type.
        ImportError: If bars are requested and tqdm is not installed.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> stimulus = np.tile([1, 1, 0, 0], 50)
        >>> report = cs.identify(cs.Problem(stimulus, lags=(0, 9)))
        >>> report.verdict, report.rank, report.n_unknowns
        ('rank-deficient', 3, 10)

    See Also:
        `solve`, and `choose_lags` for the lags that the data support.
    """
    check_problem(problem)
    with following(progress, "identify"):
        report = report_of(problem, tuning_of(limits))
        if progress is not False:
            _ = report.verdict
    return report


def report_of(problem: Problem, tuning: Tuning) -> Identifiability:
    """Return the report of `identify`, which is computed once per problem."""
    if len(problem._by_mask) > 1:
        return max((report_of(part, tuning) for _, part in problem.parts), key=_severity)
    known = _REPORTS.setdefault(problem, WeakValueDictionary())
    if (report := known.get(tuning)) is None:
        report = known[tuning] = Identifiability(problem, tuning)
    return report


def _severity(report: Identifiability) -> tuple[int, int, int]:
    """Return a key that orders reports by verdict, by rank if deficient, and by fewest rows."""
    deficient = report.verdict in ("rank-deficient", "underdetermined")
    return SEVERITY.index(report.verdict), -report.rank * deficient, -report.n_equations


@checks_arguments
def solve(
    problem: Problem,
    solver: str | Solver | None = None,
    *,
    ridge: Any = None,
    penalty: str | Penalty | None = None,
    grid: Any = None,
    select: str | CrossValidation | None = None,
    loss: str | Loss | Callable[[Any, Any], Any] = "squared",
    noise: str | NoiseModel = "white",
    strict: bool = False,
    progress: bool | Listener = False,
    limits: Limits | None = None,
) -> Solution:
    """Recover the kernel of ``problem``, with a certificate.

    If Ctrl-C stops an iterative solver, the current kernel is returned with the status
    "interrupted", and the rank is not decided.

    The four choices of solver, penalty, loss and noise model are independent. Each is an object, or
    a name, in any case and with - or _.

    Args:
        problem: x, y and the geometry.
        solver: the numerical method: "auto" (the default), "qr", "svd", "normal", "cg", "fft",
            "adam" or "lbfgs", or an object such as ``GradientDescent(steps=200)``.
        ridge: short for ``penalty=Ridge(ridge)``: add ridge·‖w‖² to the sum of squares. None, the
            default, adds nothing.
        penalty: "ridge", "lasso", "smooth", "squared_exponential", "tc", "dc", "ss" or "tikhonov",
            or an object. None, the default, is no penalty. If the penalty has no strength, the
            strength of every output is selected from the data, see ``Solution.regularization``.
        grid: strengths to choose from, ``(n,)``, or ``(n, outputs)`` for a grid of every output.
            None, the default, searches automatically.
        select: criterion that selects the strength: "gcv", "evidence", "aicc", "bic", "cv", or a
            `CrossValidation`. By default "evidence" for priors (`SquaredExponential`,
            `StableSpline`) and a banded ridge, "cv" for `Lasso` and "gcv" for others.
        loss: "squared" (the default), "huber" or "absolute", an object, or for gradient descent a
            callable of (prediction, target).
        noise: the assumed noise of y: "white" (the default), "ar", "hac" or "cluster", or an
            object. A number gives the order or the bandwidth, as in "ar3". "ar" changes the
            solution, the others only its errors, see `ARNoise`, `HACNoise` and ``"cluster"``.
        strict: raise an `IdentifiabilityError` if the data do not determine the kernel and no ridge
            fixes this. With False, the default, one of many solutions is returned, with an
            `IdentifiabilityWarning`. Fewer equations than unknowns are refused before any
            computation, a lack of rank after it.
        progress: True shows a progress bar on stderr for every stage of more than half a second.
            Bars need tqdm. A callable ``(stage, done, total, note)`` is called instead at every
            stage, pass and step: with the name of the stage, how much of ``total`` is done, and a
            note such as the loss. Default False.
        limits: limits of memory and time, see `Limits`. None, the default, is ``Limits()``.

    Returns:
        A `Solution`.

    Raises:
        TypeError: If ``problem`` is not a `Problem`, an argument is a component of another kind, or
            arguments contradict each other.
        ValueError: If y is missing. If a name is unknown. If the noise is not white and the loss is
            not squares. If the noise is "hac" or "cluster" and there is a penalty. If the noise is
            "ar" or "hac" and the problem has several dimensions. If the noise is "ar" and single
            rows have weights. If the noise is "cluster" and there is a single record.
        SolveError: If the method cannot solve this problem (with the reason), or if the solution is
            out of range. With "ar", also if an order leaves too few rows, or if an output has no
            noise.
        ImportError: If bars are requested and tqdm is not installed.
        IdentifiabilityError: If ``strict`` is True and the data do not determine the kernel.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9), fs=100)
        >>> fit = cs.solve(problem, penalty="ridge")
        >>> fit.status
        'solved'
        >>> print(fit.score())
        output 0: R² 0.6394 ± 0.027, correlation 0.801, fit 39.9 %

    See Also:
        `compare`, `cross_validate`, `identify`, and `fit_kernel` inside jit.
    """
    check_problem(problem, "solve")
    given = {"ridge": ridge, "penalty": penalty, "grid": grid, "select": select}
    method, tuning = Method.of(solver, **given, loss=loss, noise=noise), tuning_of(limits)
    method.check(problem)
    if method.solver.factors_rows and not problem._sizes(tuning).factor_fits:
        tuning = replace(tuning, most_work=math.inf)
    parts, strict = [], flag(strict, "strict")
    with following(progress, "solve"):
        for outputs, part in problem.parts:
            own = method if part is problem else method.of_part(part._selection)
            parts.append(Part(outputs, _with_noise(part, own, strict, tuning)))
        fit = parts[0].solution
        if len(parts) > 1:
            fit = _joined(problem, parts, {"masks": len(parts)}, tuning)
    _round(fit, problem)
    for _, own in parts:
        each = [part.solution for part in own._parts] or [own]
        doubtful = [one for one in each if not one.stats.get("unique", True)]
        for one in doubtful[:1]:  # reported for the data, not for filtered rows
            clause = f"this is {one.stats['shown']}"
            warn(_many_fit(IdentifiabilityWarning, own.identifiability, clause))
    fit.stats["call"] = method.call
    return fit


def _with_noise(problem: Problem, method: Method, strict: bool, tuning: Tuning) -> Solution:
    """Solve for outputs that use the same rows, with alternating estimates of noise and kernel."""
    fit, model = _solved(problem, method, strict, tuning), method.noise
    if not isinstance(model, ARNoise):
        return fit
    from .inference.ar import estimated_noise, filtered_parts

    for _ in tracked(range(ROUNDS), "rounds of noise and kernel", ROUNDS):
        before = fit.status
        if before == "interrupted":
            break
        noise = estimated_noise(analyse(problem, tuning), fit.kernel, model.order)
        parts = []
        for o, part in enumerate(filtered_parts(problem, noise, tuning)):
            own = method.of_part(part._selection)
            parts.append(Part((o,), _solved(part, own, strict, tuning)))
        fit = _joined(problem, parts, {"noise": model.label}, tuning, autoregression=noise)
        fit.bias = fit.bias / (1 - noise.coefficients.sum(1))
        # The noise was estimated from the residuals of the fit before.
        if before not in ("solved", "approximate"):
            fit.status = max(before, fit.status, key=STATUSES.index)
    return fit


def _solved(problem: Problem, method: Method, strict: bool, tuning: Tuning) -> Solution:
    """Solve for outputs that use the same rows, with white noise and in float64."""
    LOG.info("solve by %s: %r", method.name, problem)
    announce(method.name)
    analysis, report = analyse(problem, tuning), report_of(problem, tuning)
    sizes, clock = analysis.design.sizes, analysis.design.clock
    with blas_threads(min(sizes.rows, sizes.columns)):
        if (reason := method.supports(sizes, problem.spec)) is not None:
            raise SolveError(f"{method.name} cannot solve this problem: {reason}")
        if strict and sizes.wide and method.penalty.zero:
            raise _many_fit(IdentifiabilityError, report)
        analysis.design.sum_rows()
        # Work that methods share does not count.
        begun = time.perf_counter() - clock.total
        raw = method.run(analysis)
        seconds = max(time.perf_counter() - clock.total - begun, 0.0)
        penalties = raw.penalties or [(RIDGE, 0.0)] * problem.n_outputs
        penalty, least = min(penalties, key=lambda term: term[1])
        stats = _stats(problem, method, seconds) | raw.stats
        # After Ctrl-C, skip the rank decision, which can take minutes.
        if raw.status != "interrupted":
            unique = bool(raw.evidence or report._diagnosis.unique_with(least, penalty))
            if strict and not unique:
                raise _many_fit(IdentifiabilityError, report)
            stats |= {"unique": unique, "shown": raw.answer}
        certificate = (
            certified(analysis, raw, *penalties[0]) if method.least_squares else raw.certificate
        )
    status = raw.status or ("solved" if certificate and certificate.exact else "approximate")
    found = replace(raw, status=status, stats=stats, certificate=certificate, penalties=penalties)
    fit = _stated(problem, found, tuning, noise_model=method.noise)
    proof = "no certificate" if certificate is None else f"certificate {certificate.value:.1e}"
    why = filter(None, [stats.get("choice"), stats.get("route"), raw.regularization])
    words = "; ".join([f"{status}, {proof}, {seconds:.2f} s", *map(str, why)])
    LOG.info("%s: %s", stats["solver"], words)
    return fit


def _stats(problem: Problem, method: Method, seconds: float) -> dict[str, Any]:
    """Return the settings and costs of a solve; JSON supports all of them."""
    return {
        "solver": method.solver.name,
        "settings": recorded(method.solver),
        "loss": {"kind": type(method.loss).__name__, **recorded(method.loss)},
        "noise": method.noise.label,
        "version": __version__,
        "rows": ", ".join(filter(None, [rows_sentence(problem), fitted_terms(problem)])),
        "compile_seconds": 0.0,
        "run_seconds": seconds,
    }


def _joined(
    problem: Problem, parts: Sequence[Part], stats: dict[str, Any], tuning: Tuning, **more: Any
) -> Solution:
    """Return the solution of all outputs from those of parts, with some more ``stats``."""
    fits = [part.solution for part in parts]
    penalties = {o: t for some, fit in parts for o, t in zip(some, fit._penalties, strict=True)}
    kernel, bias = gathered(parts, lambda fit: (fit.kernel, fit.bias))
    bounds = [fit._certificate for fit in fits if fit._certificate is not None]
    found = SolverResult(
        kernel,
        bias,
        status=max((fit.status for fit in fits), key=STATUSES.index),
        stats=stats_of(parts) | stats,
        certificate=max(bounds, default=None, key=lambda bound: bound.value),
        regularization=gathered(parts, lambda fit: fit._regularization),
        penalties=[penalties[o] for o in range(problem.n_outputs)],
    )
    return _stated(problem, found, tuning, noise_model=fits[0]._noise_model, parts=parts, **more)


def _stated(problem: Problem, found: SolverResult, tuning: Tuning, **more: Any) -> Solution:
    """Return a solution with kernel and bias in float64, and the penalty in ``stats``."""
    fit = Solution(
        found,
        recipe=problem._recipe,
        spec=problem.spec,
        tap_lags=problem._lags,
        y_channel_axis=problem._output is not None and problem._output.channel_axis,
        problem=problem,
        identifiability=report_of(problem, tuning),
        **more,
    )
    fit.stats["penalty"] = None
    if fit._regularization is not None or any(strength for _, strength in fit._penalties):
        from .inference.regularization import as_given

        chosen = fit._regularization or as_given(fit._penalties)
        fit.stats["penalty"] = {"kind": chosen.penalty, "strength": chosen.strength.tolist()}
    return fit


def _round(fit: Solution, problem: Problem) -> None:
    """Convert kernel and bias to the precision and the kind of array of the data."""
    dtype = problem._dtype
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        kernel, bias = (a.astype(dtype, copy=False) for a in (fit.kernel, fit.bias))
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise SolveError(f"the kernel lies outside the range of {dtype}")
    fit.kernel, fit.bias = as_jax((kernel, bias)) if problem._returns_jax else (kernel, bias)


def _many_fit(kind: Any, report: Any, clause: str = REFUSED) -> Any:
    """Return an error or a warning that the data do not determine the kernel."""
    return kind(wording.warning(report._diagnosis, clause, report._brief), report)


def check_problem(problem: Any, name: str = "") -> None:
    """Raise an error unless there is a problem, with y for the function ``name``."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem(x, y, ...), got {type(problem).__name__}")
    if name and problem._output is None:
        raise ValueError(f"{name} needs y")


def fit_kernel(
    x: Any,
    y: Any,
    spec: ConvSpec,
    solver: str | Solver | None = None,
    *,
    ridge: Any = None,
    penalty: str | Penalty | None = None,
    bias: bool = False,
    weights: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """Compute kernel and bias as a pure function, for `jax.jit`, `jax.vmap` and `jax.grad`.

    Args:
        x: one array, ``(*W,)``, ``(*W, Cin)`` or ``(N, *W, Cin)``, by the rank rule of `Problem`.
        y: ``(*T,)``, ``(*T, Cout)`` or ``(N, *T, Cout)``.
        spec: the geometry, a `ConvSpec`.
        solver: "auto" (the default), "qr", "svd" or "normal", or an object.
        ridge: short for ``penalty=Ridge(ridge)``. It may be traced. By default None.
        penalty: a quadratic penalty with one given strength, which may be traced, or None.
        bias: whether a constant per output is fitted too. By default False.
        weights: weights of the squared residuals, not negative. ``(N,)`` for records, or
            ``(N, *T)`` for rows. By default None. They may be traced.

    Returns:
        The kernel ``(*K, Cin/groups, Cout)`` and the bias ``(Cout,)``, which is zero without
        ``bias``.

    The function runs in the ambient precision. It does not check values and provides no report and
    no certificate. If the identifiability of the data is not known, use `solve`. The closed forms
    are differentiable to any order in x, y and ridge through ``jax.lax.custom_linear_solve``. If
    many kernels fit, they return the kernel of minimum norm (in the coordinates of the penalty, if
    it has any). Their derivatives in x do not account for changes of the null space with x.

    Raises:
        TypeError, ValueError: If shapes do not fit the spec. They are checked while tracing. If the
            strength of the penalty is not given. If the solver runs on the host only.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import convsolve as cs
        >>> x = jnp.sin(jnp.arange(200.0) ** 2)
        >>> y = jnp.convolve(x, jnp.array([1.0, 0.5]), mode="valid")
        >>> fit = jax.jit(cs.fit_kernel, static_argnames="spec")
        >>> kernel, bias = fit(x, y, spec=cs.ConvSpec(2))
        >>> [round(float(tap), 3) for tap in kernel[:, 0, 0]]
        [0.5, 1.0]

    See Also:
        `solve`, which checks the data and reports on the solution.
    """
    _check_spec(spec)
    method = Method.of(solver, ridge=ridge, penalty=penalty)
    from .traced import fit

    return fit(x, y, spec, method, flag(bias, "bias"), weights)


def convolve(x: Any, kernel: Any, spec: ConvSpec, bias: Any = None) -> Any:
    """Compute the forward model ``y = conv(x, kernel) + bias``: cross-correlation, channels last.

    Args:
        x: array or list of records, ``(*W, Cin)``, by the rank rule of `Problem`.
        kernel: ``(*K, Cin/groups, Cout)``, or ``(*K,)`` for one channel and one output.
        spec: the geometry; ``spec.kernel_size`` must be the size of the kernel.
        bias: ``(Cout,)`` or a number. None, the default, for no bias.

    Returns:
        y in the form of x; without a channel axis if the kernel has none. NumPy, or jax for jax
        input, in the wider precision of x and kernel.

    Inside jit use ``jax.lax.conv_general_dilated``. For long kernels in float64
    ``scipy.signal.fftconvolve`` is faster.

    Raises:
        TypeError, ValueError: If an array is of an unsupported kind, if values are not finite, or
            if shapes do not fit.

    Examples:
        >>> import convsolve as cs
        >>> cs.convolve([0.0, 3.0, 4.0, 5.0], [1.0, 2.0], cs.ConvSpec(2))
        array([ 6., 11., 14.])

    See Also:
        `Solution.predict`.
    """
    _check_spec(spec)
    records = read(x, "x", spec)
    spec._check_channels(records.channels)
    taps, array = read(kernel, "kernel", spec), np.asarray(kernel)
    flat = array.ndim == spec.ndim
    full = array[..., None, None] if flat else array
    expected = (*spec.kernel_size, records.channels // spec.groups)
    offset = np.zeros(()) if bias is None else numeric(bias, "bias")
    outputs = full.shape[-1]
    if full.shape[:-1] != expected or outputs % spec.groups or offset.shape not in ((), (outputs,)):
        raise ValueError(
            f"kernel has shape {array.shape} and bias {offset.shape}; {records.channels} channels "
            f"and {spec} need {(*expected, 'Cout')} and (Cout,) with Cout a multiple of groups"
        )
    dtype, _ = precision(records, taps)
    # By rows, for any number of samples: rounding is then relative to the size of each output.
    given = records.converted(dtype).arrays, full.astype(dtype), offset.astype(dtype), spec
    packed = records.like(predicted(*given, by_rows=True), not flat)
    return as_jax(packed) if records.is_jax and is_jax_array(kernel) else packed


def _check_spec(spec: Any) -> None:
    if not isinstance(spec, ConvSpec):
        raise TypeError(f"spec must be a ConvSpec, got {type(spec).__name__}")
