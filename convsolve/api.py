"""Entry points: identify, solve, fit_kernel, convolve. They validate, run, certify and pack."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from . import __version__
from .errors import IdentifiabilityError, IdentifiabilityWarning, SolveError, warn
from .identifiability import wording
from .identifiability.report import Identifiability
from .identifiability.verdict import SEVERITY
from .inference.doubts import doubts
from .lazy import as_jax, is_jax_array, is_tracer
from .leastsquares.analysis import analyse
from .leastsquares.penalty import RIDGE, Penalty
from .linalg.threads import blas_threads
from .method import Method
from .model import Model, Part
from .noise import ARNoise, NoiseModel
from .notation import checks_arguments
from .operators.prediction import predicted
from .parts import STATUSES, join, joined_stats
from .problem.checks import flag
from .problem.description import fitted_terms, rows_sentence
from .problem.problem import Problem
from .problem.records import numeric, precision, read
from .problem.sizes import Limits, Tuning, tuning_of
from .problem.spec import ConvSpec
from .progress import LOG, following, tracked
from .solution import Solution
from .solvers.base import Loss, Solver, SolverResult, certified
from .text import recorded

if TYPE_CHECKING:
    import jax

    from .inference.folds import CrossValidation

# Alternating estimates of autoregressive noise and the kernel, after one for white noise.
ROUNDS = 2
REFUSED = "strict=True, so no solution is returned"
# Reports by problem and limits, as weak references. A report refers to its problem, so that no
# other problem has its number while the report exists.
_REPORTS = WeakValueDictionary[tuple[int, Tuning], Identifiability]()


@checks_arguments
def identify(
    problem: Problem,
    *,
    progress: bool = False,
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
    with following(progress):
        report = report_of(problem, tuning_of(limits))
        if progress:
            _ = report.verdict
    return report


def report_of(problem: Problem, tuning: Tuning) -> Identifiability:
    """Return the report of `identify`, which is computed once per problem."""
    if len(problem._by_mask) > 1:
        return max((report_of(part, tuning) for _, part in problem.parts), key=_severity)
    if (report := _REPORTS.get((id(problem), tuning))) is None:
        report = _REPORTS[id(problem), tuning] = Identifiability(problem, tuning)
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
    one_strength: bool = False,
    loss: str | Loss | Callable[[Any, Any], Any] = "squared",
    noise: str | NoiseModel = "white",
    strict: bool = False,
    progress: bool = False,
    limits: Limits | None = None,
) -> Solution:
    """Recover the kernel of ``problem``, with a certificate.

    If Ctrl-C stops an iterative solver, the current kernel is returned with the status
    "interrupted", and the rank is not decided.

    The four choices of solver, penalty, loss and noise model are independent. Each is an object, a
    name in any case and with - or _, or words such as ``"Smooth(order=2)"``.

    Args:
        problem: x, y and the geometry.
        solver: the numerical method: "auto" (the default), "qr", "svd", "normal", "cg", "fft",
            "adam", "adamw", "nadam", "radam", "adamax", "adagrad", "rmsprop", "lion", "sgd" or
            "lbfgs", an optimizer of optax, or an object such as ``GradientDescent(steps=200)``.
        ridge: short for ``penalty=Ridge(ridge)``: add ridge·‖w‖² to the sum of squares. A dict has
            the strength of every channel by name. None, the default, adds nothing.
        penalty: "ridge", "lasso", "smooth", "squared_exponential", "tc", "dc", "ss", "tikhonov" or
            "early_stopping", or an object. None, the default, is no penalty. If the penalty has no
            strength, the strength of every output is selected from the data, see
            ``Solution.regularization``.
        grid: strengths to choose from, ``(n,)``, or ``(n, outputs)`` for a grid of every output.
            Numbers of steps for `EarlyStopping`. None, the default, searches automatically.
        select: criterion that selects the strength: "gcv", "evidence", "aicc", "bic", "cv", or a
            `CrossValidation`. By default "evidence" for priors (`SquaredExponential`,
            `StableSpline`) and a banded ridge, "cv" for `Lasso` and "gcv" for others.
        one_strength: whether all outputs have one strength, so that a map of sensors is shrunk
            evenly. Default False: each output has its own. Losses of outputs are summed, those of
            gcv and mse as logarithms.
        loss: "squared" (the default), "huber" or "absolute", an object, or for gradient descent a
            callable of (prediction, target). "mse" and "mae" are the first and the last.
        noise: the assumed noise of y: "white" (the default), "ar", "hac" or "cluster", or an
            object. A number gives the order or the bandwidth, as in "ar3". "ar" changes the
            solution, the others only its errors, see `ARNoise`, `HACNoise` and ``"cluster"``.
        strict: raise an `IdentifiabilityError` if the data do not determine the kernel and no ridge
            fixes this. With False, the default, one of many solutions is returned, with an
            `IdentifiabilityWarning`. Fewer equations than unknowns are refused before any
            computation, a lack of rank after it.
        progress: True shows a progress bar on stderr for every stage of more than half a second.
            Bars need tqdm. Default False.
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
            out of range. With "ar", also if an order leaves too few rows, or if no output has
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
        output             R²  correlation  fit (%)
        0       0.639 ± 0.027        0.801     39.9

    See Also:
        `compare`, `cross_validate`, `identify`, and `fit_kernel` inside jit.
    """
    check_problem(problem, "solve")
    given = {"ridge": ridge, "penalty": penalty, "grid": grid, "select": select}
    given |= {"one_strength": one_strength, "loss": loss, "noise": noise}
    method, tuning = Method.of(solver, **given), tuning_of(limits)
    method = replace(method, penalty=method.penalty.named(problem.channels))
    method.check(problem)
    if method.solver.factors_rows and not problem._sizes(tuning).factor_fits:
        tuning = replace(tuning, most_work=math.inf)
    parts, strict = list[Part](), flag(strict, "strict")
    with following(progress):
        # Reports are shared while they are referred to.
        reports = [report_of(part, tuning) for _, part in problem.parts]
        for (outputs, part), report in zip(problem.parts, reports, strict=True):
            own = method if part is problem else method.of_part(part._selection)
            found = _with_noise(part, own, strict, tuning)
            for one in found:
                one.outputs = tuple(outputs[o] for o in one.outputs)
            parts += found
            open_parts = [one for one in found if not one.found.stats.get("unique", True)]
            for one in open_parts[:1]:
                # The doubt concerns the data, not filtered rows.
                clause = f"this is {one.found.stats['shown']}"
                warn(_many_fit(IdentifiabilityWarning, report, clause))
        return _joined(problem, parts, method, tuning)


def _with_noise(problem: Problem, method: Method, strict: bool, tuning: Tuning) -> list[Part]:
    """Solve for outputs that use the same rows, with alternating estimates of noise and kernel."""
    # The kernel of a layer need not decay.
    lags = bool(problem._geometry.edges) and problem.spec.ndim == 1
    found = _solved(problem, method, strict, tuning, lags)
    every, model = tuple(range(problem.n_outputs)), method.noise
    parts = [Part(every, problem, found, model, tuning)]
    if not isinstance(model, ARNoise):
        return parts
    from .inference.ar import estimated_noise, filtered_parts

    # A filter can hide a tail of the response, and reduces noise.
    cut = found.stats["cut"]
    earlier = list[SolverResult]()
    for _ in tracked(range(ROUNDS), "rounds of noise and kernel", ROUNDS):
        before, outputs = _worst(parts), [part.outputs for part in parts]
        if before == "interrupted":
            break
        earlier += [part.found for part in parts]
        kernel = join([part.found.kernel for part in parts], outputs)
        noise = estimated_noise(analyse(problem, tuning), kernel, model.order)
        parts = []
        for some, part in filtered_parts(problem, noise, tuning):
            found = _solved(part, method.of_part(part._selection), strict, tuning, lags)
            # The noise was estimated from the residuals of the fit before.
            if before not in ("solved", "approximate"):
                found = replace(found, status=max(before, found.status, key=STATUSES.index))
            found.stats["cut"] = found.stats["cut"] or cut
            parts.append(Part(some, part, found, model, tuning, noise.of_outputs(some)))
    for name in ("compile_seconds", "run_seconds"):
        parts[0].found.stats[name] += sum(one.stats[name] for one in earlier)
    return parts


def _worst(parts: Sequence[Part]) -> str:
    """Return the worst status."""
    return max((part.found.status or "" for part in parts), key=STATUSES.index)


def _solved(
    problem: Problem, method: Method, strict: bool, tuning: Tuning, lags: bool
) -> SolverResult:
    """Solve for outputs that use the same rows, with white noise and in float64.

    ``lags`` is whether the problem was stated by lags. The kernel should then decay.
    """
    LOG.info("solve by %s: %r", method.name, problem)
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
        stats = {"cut": "", "noisy": ""} | _stats(method, seconds) | raw.stats
        # After Ctrl-C, skip the rank decision, which can take minutes.
        if raw.status != "interrupted":
            decided = raw.evidence is not None
            unique = bool(raw.evidence if decided else report._unique_with(least, penalty))
            if strict and not unique:
                raise _many_fit(IdentifiabilityError, report)
            stats |= {"unique": unique, "shown": raw.answer}
            finished = raw.status in (None, "solved", "approximate")
            if lags and unique and finished and method.least_squares:
                stats |= doubts(analysis, raw.kernel, analysis.system(penalty, least))
        certificate = (
            certified(analysis, raw, *penalties[0]) if method.least_squares else raw.certificate
        )
    status = raw.status or ("solved" if certificate and certificate.exact else "approximate")
    found = replace(raw, status=status, stats=stats, certificate=certificate, penalties=penalties)
    proof = "no certificate" if certificate is None else f"certificate {certificate.value:.1e}"
    LOG.info("%s: %s, %s, %.2f s", stats.get("choice", stats["solver"]), status, proof, seconds)
    return found


def _stats(method: Method, seconds: float) -> dict[str, Any]:
    """Return the settings and costs of a solve; JSON supports all of them."""
    return {
        "solver": method.solver.name,
        "settings": recorded(method.solver),
        "loss": {"kind": type(method.loss).__name__, **recorded(method.loss)},
        "noise": method.noise.label,
        "version": __version__,
        "compile_seconds": 0.0,
        "run_seconds": seconds,
    }


def _joined(problem: Problem, parts: Sequence[Part], method: Method, tuning: Tuning) -> Solution:
    """Return the solution of all outputs, in the precision and the kind of array of the data."""
    outputs = [part.outputs for part in parts]
    kernel, bias = join([(part.found.kernel, part.bias) for part in parts], outputs)
    bounds = [part.found.certificate for part in parts if part.found.certificate is not None]
    chosen = join([part.found.regularization for part in parts], outputs)
    terms = {o: t for part in parts for o, t in zip(part.outputs, part.penalties, strict=True)}
    if chosen is None and any(strength for _, strength in terms.values()):
        from .inference.regularization import as_given

        chosen = as_given([terms[o] for o in range(problem.n_outputs)])
    rows = "; ".join(filter(None, [rows_sentence(problem), fitted_terms(problem)]))
    stats = joined_stats(parts) | {"call": method.call, "rows": rows}
    diverged = f"the descent {stats['advice']}" if _worst(parts) == "diverged" else ""
    for words in filter(None, [stats["caution"], diverged]):
        warn(words)
    stats["penalty"] = chosen and {"kind": chosen.penalty, "strength": chosen.strength.tolist()}
    stats |= {"masks": len(problem.parts)} if len(problem.parts) > 1 else {}
    certificate = max(bounds, default=None, key=lambda bound: bound.value)
    stats |= {} if certificate is None else {"certificate_kind": certificate.kind}
    trace = parts[0].found.trace if len(parts) == 1 else None
    model = Model.of(problem, *_as_data(problem, kernel, bias))
    given = {"stats": stats, "trace": trace, "certificate": certificate, "regularization": chosen}
    found = SolverResult(kernel, bias, status=_worst(parts), **given)
    return Solution(model, found, method.noise, problem, report_of(problem, tuning), parts)


def _as_data(problem: Problem, *arrays: np.ndarray) -> Any:
    """Return kernel and bias in the precision and the kind of array of the data."""
    dtype = problem._dtype
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = tuple(a.astype(dtype, copy=False) for a in arrays)
    if not all(np.isfinite(a).all() for a in found):
        raise SolveError(f"the kernel lies outside the range of {dtype}")
    return as_jax(found) if problem._returns_jax else found


def _many_fit(kind: Any, report: Any, clause: str = REFUSED) -> Any:
    """Return an error or a warning that the data do not determine the kernel."""
    return kind(wording.warning(report, clause), report)


def check_problem(problem: Any, name: str = "") -> None:
    """Raise an error unless there is a problem, with y for the function ``name``."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem(x, y, ...), got {type(problem).__name__}")
    if name and problem._output is None:
        raise ValueError(f"{name} needs y")


def fit_kernel(
    x: Any,
    y: Any,
    spec: ConvSpec | None = None,
    solver: str | Solver | None = None,
    *,
    ridge: Any = None,
    penalty: str | Penalty | None = None,
    bias: bool = False,
    weights: Any = None,
    **layer: Any,
) -> tuple[jax.Array, jax.Array]:
    """Compute kernel and bias as a pure function, for `jax.jit`, `jax.vmap` and `jax.grad`.

    Args:
        x: one array, ``(*W,)``, ``(*W, Cin)`` or ``(N, *W, Cin)``, by the rank rule of `Problem`.
        y: ``(*T,)``, ``(*T, Cout)`` or ``(N, *T, Cout)``.
        spec: the geometry, a `ConvSpec`. None, the default, takes it from ``layer``.
        solver: "auto" (the default), "qr", "svd" or "normal", or an object.
        ridge: short for ``penalty=Ridge(ridge)``. It may be traced. By default None.
        penalty: a quadratic penalty with one given strength, which may be traced, or None.
        bias: whether a constant per output is fitted too. By default False.
        weights: weights of the squared residuals, not negative. ``(N,)`` for records, or
            ``(N, *T)`` for rows. By default None. They may be traced.
        **layer: ``kernel_size`` and other arguments of `ConvSpec`, instead of ``spec``.

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
    if spec is not None and layer:
        raise TypeError(f"give either spec= or {'= and '.join(layer)}=, not both")
    spec = _check_spec(ConvSpec(**layer) if layer else spec)
    method = Method.of(solver, ridge=ridge, penalty=penalty)
    from .traced import fit

    return fit(x, y, spec, method, flag(bias, "bias"), weights)


def convolve(x: Any, kernel: Any, spec: ConvSpec | None = None, bias: Any = None) -> Any:
    """Compute the forward model ``y = conv(x, kernel) + bias``: cross-correlation, channels last.

    Args:
        x: array or list of records, ``(*W, Cin)``, by the rank rule of `Problem`.
        kernel: ``(*K, Cin/groups, Cout)``, or ``(*K,)`` for one channel and one output.
        spec: the geometry; ``spec.kernel_size`` must be the size of the kernel. None, the default,
            is ``ConvSpec`` of this size.
        bias: ``(Cout,)`` or a number. None, the default, for no bias.

    Returns:
        y in the form of x; without a channel axis if the kernel has none. NumPy, or jax for jax
        input, in the wider precision of x and kernel.

    It works inside `jax.jit`, `jax.vmap` and `jax.grad` for arrays, where values are not checked.
    For long kernels in float64, ``scipy.signal.fftconvolve`` is faster.

    Raises:
        TypeError, ValueError: If an array is of an unsupported kind, if values are not finite, or
            if shapes do not fit.

    Examples:
        >>> import convsolve as cs
        >>> cs.convolve([0.0, 3.0, 4.0, 5.0], [1.0, 2.0])
        array([ 6., 11., 14.])

    See Also:
        `Solution.predict`.
    """
    spec = ConvSpec(np.shape(kernel)[:-2] or np.shape(kernel)) if spec is None else spec
    _check_spec(spec)
    is_traced = any(map(is_tracer, (x, kernel, bias)))
    if is_traced:
        channels = 1 if np.ndim(x) == spec.ndim else x.shape[-1]
    else:
        records, taps = read(x, "x", spec), read(kernel, "kernel", spec)
        channels, bias = records.channels, np.zeros(()) if bias is None else numeric(bias, "bias")
    spec._check_channels(channels)
    flat, given = np.ndim(kernel) == spec.ndim, np.shape(kernel)
    shape = (*given, 1, 1) if flat else given
    expected = (*spec.kernel_size, channels // spec.groups)
    if shape[:-1] != expected or shape[-1] % spec.groups or np.shape(bias) not in ((), shape[-1:]):
        raise ValueError(
            f"kernel has shape {given} and bias {np.shape(bias)}; {channels} channels and {spec} "
            f"need {(*expected, 'Cout')} and (Cout,) with Cout a multiple of groups"
        )
    if is_traced:
        from .traced import convolve as traced

        y = traced(x, kernel.reshape(shape), spec, bias)
        return y[..., 0] if flat else y
    dtype, _ = precision(records, taps)
    full = np.asarray(kernel).reshape(shape).astype(dtype)
    # By rows, for any number of samples: rounding is then relative to the size of each output.
    found = predicted(records.converted(dtype).arrays, full, bias.astype(dtype), spec, by_rows=True)
    packed = records.like(found, not flat)
    return as_jax(packed) if records.is_jax and is_jax_array(kernel) else packed


def _check_spec(spec: Any) -> ConvSpec:
    if not isinstance(spec, ConvSpec):
        raise TypeError(f"spec must be a ConvSpec, got {type(spec).__name__}")
    return spec
