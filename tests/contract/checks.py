"""Comparison of a solution with the oracle."""

from __future__ import annotations

import dis
import math
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import convsolve as cs
from contract.oracle import EPS, REAL, Oracle, Part, coefficient_rows, norms
from contract.routes import Route
from support.ordering import errors_of

# Errors are not compared where rounding may change them by more.
LOOSE = 1e-3
# Verdicts from worst to best.
SEVERITY = (
    "underdetermined", "rank-deficient", "ambiguous", "exactly determined", "overdetermined",
)  # fmt: skip


# Messages of refusals that depend on the route: conjugate gradients do not converge to the
# solution of minimum norm and support few problems, and some solvers read x and y as a whole.
MAY_REFUSE = ("do not determine", "conjugate gradients are for", "that are not in memory")


def may_refuse(error: Exception) -> bool:
    """Whether a route may refuse a problem with this error."""
    return type(error) is cs.SolveError and any(part in str(error) for part in MAY_REFUSE)


class Fault(NamedTuple):
    """A quantity that differs, its value or error, and the limit."""

    kind: str
    value: Any
    limit: Any


def is_documented(error: BaseException) -> bool:
    """Whether the package itself raised an error of a documented type, by a raise statement."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    known = (TypeError, ValueError, cs.SolveError, cs.IdentifiabilityError)
    return (
        type(error) in known
        and "convsolve" in code.co_filename.split(os.sep)
        and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    )


def faults(oracle: Oracle, route: Route, fit: cs.Solution, most: float) -> list[Fault]:
    """All differences beyond conditioning; ``most`` is the limit of backward errors in eps.

    ``oracle`` is that of the statement. If the route has several strengths, so has another oracle.
    """
    oracle = solved_by(route, oracle)
    found = [*_status(route, fit), *_coefficients(oracle, fit), *_rows(oracle, fit)]
    for outputs, part in oracle.parts.items():
        found += _kernel(oracle, route, part, outputs, fit, most)
    try:
        found += _identifiability(oracle, fit)
        found += _errors(oracle, fit, most)
    except cs.SolveError as error:
        if not may_refuse(error):
            raise
    return found


def solved_by(route: Route, oracle: Oracle) -> Oracle:
    """The oracle of the problem that a route solves."""
    return oracle.with_strengths if route.strengths else oracle


def measured(oracle: Oracle, route: Route, fit: cs.Solution) -> tuple[float, float]:
    """The largest true backward error in eps, and the largest relative error of a kernel."""
    oracle = solved_by(route, oracle)
    pairs = [(oracle.columns(fit.kernel, outputs), p) for outputs, p in oracle.parts.items()]
    true = max(float(part.backward_error(kernel).max()) for kernel, part in pairs)
    return true / EPS, max(float(part.kernel_error(kernel).max()) for kernel, part in pairs)


def _status(route: Route, fit: cs.Solution) -> Iterator[Fault]:
    if not np.isfinite(fit.kernel).all() or not np.isfinite(fit.bias).all():
        yield Fault("not finite", "nan", "finite")
    if fit.status != "solved" and not route.iterative:
        yield Fault("not solved", fit.backward_error / EPS, fit.status)


def _coefficients(oracle: Oracle, fit: cs.Solution) -> Iterator[Fault]:
    """Taps outside of the windows, and the coefficients that belong to the kernel."""
    made = oracle.statement
    if not made.restricted:
        return
    each = made.channels // made.groups
    if np.asarray(fit.kernel)[~made.kept[:, :each]].any():
        yield Fault("taps outside of the windows", "not zero", 0)
    kernel = np.asarray(fit.kernel).reshape(-1, made.outputs).astype(REAL)
    rows = coefficient_rows(made)
    size = np.abs(rows) @ np.abs(kernel)
    off = np.abs(fit.coefficients - rows @ kernel)
    limit = 100 * EPS * _condition(rows)
    if not (off <= limit * size).all():
        yield Fault("coefficients", float((off / size).max()), limit)


def _rows(oracle: Oracle, fit: cs.Solution) -> Iterator[Fault]:
    """Predictions, and residuals without the confounds; both are NaN in rows that are not used."""
    made, taps = oracle.statement, math.prod(oracle.statement.taps)
    predicted, left, y = (
        np.concatenate([np.reshape(one, (-1, made.outputs)) for one in several])
        for several in (fit.predict(), fit.residuals(), made.y)
    )
    values, used, roots = (np.concatenate(several) for several in zip(*oracle.rows))
    values = values.reshape(len(y), taps, made.groups, -1)
    kernel = np.asarray(fit.kernel, REAL).reshape(taps, values.shape[-1], made.groups, -1)
    wanted, size = (
        np.einsum("nkgi,kigo->ngo", v, w).reshape(y.shape) + b
        for v, w, b in ((values, kernel, fit.bias), map(np.abs, (values, kernel, fit.bias)))
    )
    for outputs, part in oracle.parts.items():
        o, rows = list(outputs), used[:, outputs[0]]
        for name, found in (("predictions", predicted[:, o]), ("residuals", left[:, o])):
            if (np.isnan(found) != ~rows[:, None]).any():
                yield Fault(f"rows of {name}", "NaN", "rows that are not used")
        limit = 1e3 * EPS * (size + np.abs(y))[rows][:, o].max(0, initial=0)
        off = np.abs(predicted - wanted)[rows][:, o]
        if not (off <= limit).all():
            yield Fault("predictions", float(off.max()), limit)
        expected = part.residual(oracle.columns(fit.kernel, outputs))
        off = np.abs(left[rows][:, o] * roots[rows, None] - expected)
        if not (off <= limit * part.lost * roots[rows].max(initial=0)).all():
            yield Fault("residuals", float(off.max()), limit * part.lost)


def _condition(rows: np.ndarray) -> float:
    """The condition number of rows with norm one, without directions that they lack."""
    unit = (rows / np.linalg.norm(rows.astype(float), axis=1)[:, None]).astype(float)
    s = np.linalg.svd(unit, compute_uv=False)
    return float(s[0] / s[s > 1e-10 * s[0]][-1])


def _kernel(
    oracle: Oracle,
    route: Route,
    part: Part,
    outputs: tuple[int, ...],
    fit: cs.Solution,
    most: float,
) -> Iterator[Fault]:
    """Backward error, kernel and bias."""
    if fit.status != "solved":
        return
    kernel, bias = oracle.columns(fit.kernel, outputs), np.asarray(fit.bias)[list(outputs)]
    limit = most + part.unavoidable / EPS
    if not part.outside(kernel) <= 100:
        yield Fault("kernel outside of the basis", part.outside(kernel), 100)
    error = part.backward_error(kernel) / EPS
    if not (error <= limit).all():
        yield Fault("backward error", float(error.max()), limit)
    # A certificate must not be much smaller than the truth, which it bounds up to a factor.
    # With a penalty it is that of the coordinates, whose basis is rounded too.
    slack = 100 if part.strength else 30
    honest = 10 * fit.backward_error / EPS + slack + part.unavoidable / EPS
    if not (error <= honest).all():
        yield Fault("certificate", float(error.max()), honest)
    if part.solved_rank.near or (route.iterative and not part.unique):
        return
    bound = forward_bound(part, most)
    off = part.kernel_error(kernel)
    if not (off <= bound).all():
        worst = int(np.argmax(off / bound))
        yield Fault("kernel", float(off[worst]), float(bound[worst]))
    given = oracle.statement.bias
    of_kernel = part.bias(kernel)
    size = np.abs(part.bias_terms(kernel)).astype(float)
    if given and not (np.abs(bias - of_kernel) <= 100 * EPS * size).all():
        yield Fault("bias", float(np.max(np.abs(bias - of_kernel) / size) / EPS), 100)


def forward_bound(part: Part, most: float) -> np.ndarray:
    """The relative error (Q,) of a kernel with a backward error of ``most`` eps."""
    columns = max(1, part.b.shape[1])
    return part.forward_bound((most * EPS + part.unavoidable) * math.sqrt(columns))


def _identifiability(oracle: Oracle, fit: cs.Solution) -> Iterator[Fault]:
    """Rank, nuisance columns included, and verdict of the worst group."""
    parts = list(oracle.parts.values())
    report = fit.identifiability
    if any(part.data_rank.near or part.lost > 100 for part in parts):
        return
    full = [part for part in parts if part.data_rank.value == part.columns.shape[1] <= part.rows]
    if any(1 / 4 < part.weakest < 4 for part in full):
        return
    verdicts = [verdict(part) for part in parts]
    worst = min(verdicts, key=SEVERITY.index)
    if report.verdict != worst:
        yield Fault("verdict", report.verdict, worst)
    # Of outputs with different rows, the report describes those of least rank or of fewest rows.
    deficient = worst in ("rank-deficient", "underdetermined")
    ranks = [part.data_rank.value + part.nuisance for part in parts]
    alike = [i for i, own in enumerate(verdicts) if own == worst]
    rank = ranks[min(alike, key=lambda i: (ranks[i] * deficient, parts[i].rows))]
    if report.rank != rank:
        yield Fault("rank", report.rank, rank)


def verdict(part: Part) -> str:
    """The verdict on the data of one group."""
    columns = part.columns.shape[1]
    unknowns = columns + part.nuisance
    if part.rows < unknowns:
        return "underdetermined"
    if part.data_rank.value < columns:
        return "rank-deficient"
    if part.weakest < 1:  # below the rounding of the type of x
        return "ambiguous"
    return "exactly determined" if part.rows == unknowns else "overdetermined"


def _errors(oracle: Oracle, fit: cs.Solution, most: float) -> Iterator[Fault]:
    """Degrees of freedom, standard errors and residual norms."""
    parts = oracle.parts.items()
    if fit.status != "solved" or any(p.solved_rank.near or not p.unique for _, p in parts):
        return
    bounds = [forward_bound(p, most) for _, p in parts]
    if min(p.dof for _, p in parts) < 0.5 or max(bound.max() for bound in bounds) > LOOSE:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            dof, error, variance = fit.noise.dof, errors_of(fit), fit.noise.variance
            of_coefficients = fit.coefficient_error if oracle.statement.restricted else None
    except ValueError as refused:
        if not may_refuse(refused):
            yield Fault("no standard errors", str(refused), [p.dof for _, p in parts])
        return
    statement = oracle.statement
    rows = coefficient_rows(statement) if statement.restricted else None
    kept = statement.kept[:, : statement.channels // statement.groups].reshape(-1)
    for (outputs, part), bound in zip(parts, bounds):
        own = list(outputs)
        # The diagonal of the inverse of a Gram matrix is known to eps·κ².
        bound = bound + 100 * EPS * part.cancellation * part.condition**2
        if bound.max() <= LOOSE:
            mine = Errors(dof[own], oracle.columns(error, outputs), variance[own], kept)
            if of_coefficients is not None and rows is not None:
                mine = mine._replace(of_coefficients=of_coefficients[:, own], rows=rows)
            yield from _errors_of_part(part, mine, bound)


class Errors(NamedTuple):
    """Degrees of freedom (Q,), standard errors (P, Q) and variances (Q,) of some outputs.

    ``kept`` are flags (P,) of the taps in the windows of their channels. With a basis, also the
    standard errors (n, Q) of coefficients, which are ``rows`` (n, P) times a kernel.
    """

    dof: np.ndarray
    standard_error: np.ndarray
    variance: np.ndarray
    kept: np.ndarray
    of_coefficients: np.ndarray | None = None
    rows: np.ndarray | None = None


def _errors_of_part(part: Part, found: Errors, bound: np.ndarray) -> Iterator[Fault]:
    """Compare the errors of the outputs of one part."""
    if not (np.abs(found.dof - part.dof) <= 1e-9 + bound * part.b.shape[1]).all():
        yield Fault("degrees of freedom", found.dof.tolist(), part.dof)
    left, norm = np.sqrt(found.variance * found.dof), part.residual_norm.astype(float)
    size = norms(part.y).astype(float) + norms(part.a @ part.kernel).astype(float)
    # Residuals that are mostly rounding of y are reported as zero.
    real = norm > 1e4 * EPS * (1 + part.lost) * size
    if not (np.abs(left - norm) <= bound * (norm + size))[real].all():
        yield Fault("residual norm", left.tolist(), norm.tolist())
    if not np.isnan(found.standard_error[~found.kept]).all():
        yield Fault("standard error", "finite", "NaN for taps outside of their window")
    truth = part.standard_error[found.kept][:, real].astype(float)
    off = np.abs(found.standard_error[found.kept][:, real] - truth).astype(float)
    bound = bound + 100 * EPS * size / np.where(real, norm, 1)
    if not (off <= bound[real] * truth).all():
        yield Fault("standard error", float((off / truth).max()), float(bound.max()))
    if found.of_coefficients is None or found.rows is None:
        return
    truth = part.errors_of(found.rows)[:, real].astype(float)
    off = np.abs(found.of_coefficients[:, real] - truth).astype(float)
    bound = bound[real] * _condition(found.rows)
    if not (off <= bound * truth).all():
        yield Fault("error of a coefficient", float((off / truth).max()), float(bound.max()))


# Properties of a solution that are computed on demand.
QUERIES: tuple[Callable[[cs.Solution], Any], ...] = (
    str,
    lambda fit: str(fit.identifiability),
    lambda fit: fit.identifiability.to_dict(),
    cs.Solution.confidence_band,
    cs.Solution.score,
    cs.Solution.residuals,
    cs.Solution.predict,
    cs.Solution.covariance,
    lambda fit: fit.identifiability.noise_gain,
    lambda fit: fit.identifiability.padding_dependent,
    lambda fit: fit.identifiability.null_space,
)
