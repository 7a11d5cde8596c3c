"""Entry points: identify, solve, fit_kernel, convolve. They validate, run, certify and pack."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np

from . import __version__
from .errors import IdentifiabilityError, IdentifiabilityWarning, SolveError, warn
from .identifiability import wording
from .identifiability.report import Identifiability
from .identifiability.verdict import SEVERITY
from .lazy_jax import as_jax, is_jax_array
from .leastsquares.analysis import analyse
from .leastsquares.penalty import Penalty
from .linalg.threads import blas_threads
from .method import Method
from .near_misses import checks_arguments
from .noise import ARNoise, NoiseModel
from .operators.prediction import predicted
from .parts import STATUSES, Part, join, stats_of
from .problem.checks import flag
from .problem.description import fitted_terms, rows_sentence
from .problem.problem import Problem
from .problem.records import numeric, precision, read
from .problem.sizes import DEFAULT_TUNING, Limits, Tuning, tuning_of
from .problem.spec import ConvSpec
from .progress import LOG, Listener, announce, tracked
from .progress_bars import check_progress, following
from .solution import Solution
from .solvers.auto import AutoSolver
from .solvers.base import Loss, Solver, certified

if TYPE_CHECKING:
    import jax

    from .inference.ar import Autoregression
    from .inference.folds import CrossValidation
    from .inference.regularization import Regularization

# Alternating estimates of autoregressive noise and the kernel, after one for white noise.
ROUNDS = 2
# Reports by problem and limits, as weak references: a report refers to its problem.
_REPORTS: WeakKeyDictionary[Problem, dict[Tuning, ref[Identifiability]]] = WeakKeyDictionary()


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
    tuning = tuning_of(limits)
    check_progress(progress)
    if progress is False:
        return report_of(problem, tuning)
    with following(progress, "identify"):
        report = report_of(problem, tuning)
        _ = report.verdict
    return report


def report_of(problem: Problem, tuning: Tuning) -> Identifiability:
    """Return the report of `identify`, which is computed once per problem."""
    if len(problem._by_mask) > 1:
        reports = [report_of(part, tuning) for _, part in problem.parts]
        return max(reports, key=_severity)
    known = _REPORTS.setdefault(problem, {})
    report = known[tuning]() if tuning in known else None
    if report is None:
        report = Identifiability(problem, tuning)
        known[tuning] = ref(report)
    return report


def _severity(report: Identifiability) -> tuple[int, int, int]:
    """Return a key that orders reports by verdict, by rank if deficient, and by fewest rows."""
    of_verdict = SEVERITY.index(report.verdict)
    deficient = report.verdict in ("rank-deficient", "underdetermined")
    return of_verdict, -report.rank if deficient else 0, -report.n_equations


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

    If a solver without a penalty does not converge and the noise is "ar", the default solver is
    used instead, because the noise is estimated at least squares.

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
    method = Method.of(solver, **given, loss=loss, noise=noise)
    with following(progress, "solve"):
        return solve_by(problem, method, Options(flag(strict, "strict"), tuning_of(limits)))


def solve_by(problem: Problem, method: Method, options: Options) -> Solution:
    """Solve a checked problem by a method, see `solve`."""
    method.check(problem)
    if method.solver.factors_rows and not problem._sizes(options.tuning).factor_fits:
        options = options._replace(tuning=replace(options.tuning, most_work=math.inf))
    # Outputs that share their rows, in most problems all.
    found = []
    for outputs, part in problem.parts:
        own = method if part is problem else method.of_part(part._selection)
        found.append((outputs, _with_noise(part, own, options)))
    result = found[0][1]
    if len(found) > 1:
        result = _joined(problem, found, options.tuning, {"masks": len(found)})
    for doubt in result.doubts:
        warn(doubt)
    # The call of all outputs, not of those that share their rows.
    result.solution.stats["call"] = method.call
    return result.solution


class Options(NamedTuple):
    """Arguments of `solve` that are the same for all outputs."""

    strict: bool = False
    tuning: Tuning = DEFAULT_TUNING


class _Solved(NamedTuple):
    """A solution, and warnings if the data do not determine the kernel.

    ``kernel`` and ``bias`` are the solution in float64, before it is rounded to its precision.
    """

    solution: Solution
    doubts: list[IdentifiabilityWarning]
    kernel: np.ndarray
    bias: np.ndarray


def _with_noise(problem: Problem, method: Method, options: Options) -> _Solved:
    """Solve for outputs that use the same rows, with alternating estimates of noise and kernel."""
    found, model = _solved(problem, method, options), method.noise
    if not isinstance(model, ARNoise):
        return found
    if found.solution.status not in ("solved", "interrupted") and not method.regularizes:
        # The noise is estimated at the least-squares solution.
        method = replace(method, solver=AutoSolver())
        found = _solved(problem, method, options)
    from .inference.ar import estimated_noise, filtered_parts

    statuses = [found.solution.status]
    for _ in tracked(range(ROUNDS), "rounds of noise and kernel", ROUNDS):
        if statuses[-1] == "interrupted":
            break
        analysis, doubts, parts = analyse(problem, options.tuning), found.doubts, []
        filters = estimated_noise(analysis, found.kernel, found.bias, model.order)
        for part in filtered_parts(problem, filters, options.tuning):
            one = _solved(part.problem, method.of_part(part.problem._selection), options)
            bias = part.bias(one.kernel, one.bias)
            parts.append(((part.output,), one._replace(bias=bias)))
        stats = {"noise": model.label}
        found = _joined(problem, parts, options.tuning, stats, autoregression=filters)
        found = found._replace(doubts=[*doubts, *found.doubts][:1])
        statuses.append(found.solution.status)
    worst = max(statuses, key=STATUSES.index)
    # The noise was estimated from the residuals of every fit before.
    if worst != "approximate":
        found.solution.status = worst
    return found


def _solved(problem: Problem, method: Method, options: Options) -> _Solved:
    """Solve for outputs that use the same rows, with white noise."""
    strict, tuning = options
    LOG.info("solve by %s: %r", method.name, problem)
    announce(method.name)
    analysis, report = analyse(problem, tuning), report_of(problem, tuning)
    sizes, clock = analysis.design.sizes, analysis.design.clock
    with blas_threads(min(sizes.rows, sizes.columns)):
        if (reason := method.supports(sizes, problem.spec)) is not None:
            raise SolveError(f"{method.name} cannot solve this problem: {reason}")
        if strict and sizes.wide and not method.regularizes:
            raise _refusal(report)
        if method.solver.reads_rows:
            analysis.design.sum_rows()
        # Work that methods share does not count.
        begun = time.perf_counter() - clock.total
        raw = method.run(analysis)
        seconds = max(time.perf_counter() - clock.total - begun, 0.0)
        penalties = raw.penalties or [(raw.penalty, raw.strength)] * problem.n_outputs
        penalty, least = min(penalties, key=lambda term: term[1])
        # After Ctrl-C, skip the rank decision, which can take minutes.
        many_fit = raw.status != "interrupted" and not (
            raw.evidence or report._diagnosis.unique_with(least, penalty)
        )
        if many_fit and strict:
            raise _refusal(report)
        certificate = certified(analysis, raw) if method.least_squares else raw.certificate
    doubts, answer = [], raw.answer or method.solver.answer
    if many_fit:
        message = wording.warning(report._diagnosis, f"this is {answer}", report._brief)
        doubts = [IdentifiabilityWarning(message, report)]
    stats = _stats(problem, method, seconds) | raw.stats
    stats["penalty"] = _penalty_entry(raw.regularization, penalties)
    if certificate is not None:
        stats["certificate_kind"] = certificate.kind
    if raw.status != "interrupted":
        stats |= {"unique": not many_fit} | ({"shown": answer} if many_fit else {})
    exact = certificate is not None and certificate.exact
    solution = _packed(
        problem,
        (raw.kernel, raw.bias),
        tuning,
        status=raw.status or ("solved" if exact else "approximate"),
        stats=stats,
        certificate=None if certificate is None else certificate.value,
        trace=raw.trace,
        regularization=raw.regularization,
        error_norms=raw.error_norms,
        confound_fit=raw.confound_fit,
        penalties=penalties,
        noise_model=method.noise,
    )
    if LOG.isEnabledFor(logging.INFO):
        _log(solution)
    return _Solved(solution, doubts, raw.kernel, raw.bias)


def _log(fit: Solution) -> None:
    """Log the status of a solve, its certificate and duration, and the method with the reason."""
    stats, value = fit.stats, fit._certificate
    proof = "no certificate" if value is None else f"certificate {value:.1e}"
    why = [stats.get("choice"), stats.get("route"), fit._regularization]
    words = [f"{fit.status}, {proof}, {stats['run_seconds']:.2f} s", *filter(None, why)]
    LOG.info("%s: %s", stats["solver"], "; ".join(map(str, words)))


def _stats(problem: Problem, method: Method, seconds: float) -> dict[str, Any]:
    """Return the settings and costs of a solve; JSON supports all of them."""
    words = [rows_sentence(problem)] * bool(problem._kept.dropped) + [fitted_terms(problem)]
    rows = ", ".join(filter(None, words))
    return {
        "solver": method.solver.name,
        "settings": method.solver.settings,
        "loss": method.loss.settings,
        "noise": method.noise.label,
        "version": __version__,
        "compile_seconds": 0.0,
        "run_seconds": seconds,
    } | ({"rows": rows} if rows else {})


def _joined(
    problem: Problem,
    found: Sequence[tuple[tuple[int, ...], _Solved]],
    tuning: Tuning,
    stats: dict[str, Any],
    autoregression: Autoregression | None = None,
) -> _Solved:
    """Return the solution of all outputs from those of parts, with some more ``stats``."""
    parts = [Part(outputs, one.solution) for outputs, one in found]
    fits, places = [part.solution for part in parts], [part.outputs for part in parts]
    kernel, bias = join([(one.kernel, one.bias) for _, one in found], places)
    order = np.argsort(np.concatenate(places))
    penalties = [pair for fit in fits for pair in fit._penalties]
    penalties = [penalties[i] for i in order]
    chosen = [fit._regularization for fit in fits]
    regularization = None if None in chosen else join(chosen, places)
    certificates = [fit._certificate for fit in fits if fit._certificate is not None]
    fit = _packed(
        problem,
        (kernel, bias),
        tuning,
        status=max((fit.status for fit in fits), key=STATUSES.index),
        stats=stats_of(parts) | {"penalty": _penalty_entry(regularization, penalties)} | stats,
        certificate=max(certificates, default=None),
        regularization=regularization,
        penalties=penalties,
        noise_model=fits[0]._noise_model,
        autoregression=autoregression,
        parts=parts,
    )
    return _Solved(fit, [doubt for _, one in found for doubt in one.doubts], kernel, bias)


def _packed(
    problem: Problem, exact: tuple[np.ndarray, np.ndarray], tuning: Tuning, **found: Any
) -> Solution:
    """Return a solution whose kernel and bias have the precision and kind of array of the data."""
    dtype = problem._dtype
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        kernel, bias = (a.astype(dtype) for a in exact)
    largest = np.abs(exact[0]).max(axis=tuple(range(kernel.ndim - 1)))
    faint = ((largest > 0) & (largest < np.finfo(dtype).tiny)).any()
    if faint or not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise SolveError(f"the kernel lies outside the range of {dtype}")
    return Solution(
        *(as_jax((kernel, bias)) if problem._returns_jax else (kernel, bias)),
        recipe=problem._recipe,
        spec=problem.spec,
        tap_lags=problem._lags,
        y_channel_axis=problem._output is not None and problem._output.channel_axis,
        problem=problem,
        identifiability=report_of(problem, tuning),
        **found,
    )


def _penalty_entry(
    chosen: Regularization | None, penalties: Sequence[tuple[Penalty, float]]
) -> dict[str, Any] | None:
    """Return the penalty as recorded in ``stats``, with the strength of every output."""
    if chosen is None and not any(strength for _, strength in penalties):
        return None
    from .inference.regularization import as_given

    chosen = chosen or as_given(penalties)
    return {"kind": chosen.penalty, "strength": chosen.strength.tolist()}


def check_problem(problem: Any, name: str = "") -> None:
    """Raise an error unless there is a problem, with y for the function ``name``."""
    if not isinstance(problem, Problem):
        raise TypeError(f"expected a Problem, got {type(problem).__name__}")
    if name and problem._output is None:
        raise ValueError(f"{name} needs y")


def _refusal(report: Identifiability) -> IdentifiabilityError:
    clause = "strict=True, so no solution is returned"
    return IdentifiabilityError(wording.warning(report._diagnosis, clause, report._brief), report)


def fit_kernel(
    x: Any,
    y: Any,
    spec: ConvSpec,
    solver: str | Solver | None = None,
    *,
    ridge: Any = None,
    penalty: str | Penalty | None = None,
    loss: str | Loss | Callable[[Any, Any], Any] = "squared",
    bias: bool = False,
    weights: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """Compute kernel and bias as a pure function, for `jax.jit`, `jax.vmap` and `jax.grad`.

    Args:
        x: one array, ``(*W,)``, ``(*W, Cin)`` or ``(N, *W, Cin)``, by the rank rule of `Problem`.
        y: ``(*T,)``, ``(*T, Cout)`` or ``(N, *T, Cout)``.
        spec: the geometry, a `ConvSpec`.
        solver: "auto" (the default), "qr", "svd", "normal", "adam" or "lbfgs", or an object.
        ridge: short for ``penalty=Ridge(ridge)``. It may be traced. By default None.
        penalty: a quadratic penalty with one given strength, which may be traced, or None.
        loss: as in `solve`. Other losses than squares need gradient descent.
        bias: whether a constant per output is fitted too. By default False.
        weights: weights of the squared residuals, not negative. ``(N,)`` for records, or
            ``(N, *T)`` for rows. By default None. They may be traced. Descent does not
            support them.

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
            strength of the penalty is not given. If the loss is not squares, and the solver is not
            gradient descent.

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
    method = Method.of(solver, ridge=ridge, penalty=penalty, loss=loss)
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
