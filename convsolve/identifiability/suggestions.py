"""Suggestions: concrete changes that would make the kernel determined, tested if this is cheap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..linalg.lapack import singular_values
from ..linalg.rank import EPS
from ..problem.problem import Problem
from ..problem.spec import ConvSpec, Geometry, smallest
from ..text import argument, count, some, span

# Limits up to which changes are tried: unknowns, entries of the design matrix, and groups.
MAX_UNKNOWNS, MAX_ENTRIES, MAX_GROUPS = 1000, 2**20, 16
# Largest number of null vectors that are described one by one.
MAX_VECTORS = 200
# Condition number that a proposed ridge achieves.
RIDGE_CONDITION = 1e3
# The basis that is proposed for kernels of many lags, and the least number of lags.
BASIS, MANY_LAGS = "bsplines8", 16


class Suggestion(NamedTuple):
    """Change that would make the kernel determined, as data and as a sentence.

    Attributes:
        kind: what changes: "rows", "edges", "taps", "basis", "bias", "ridge", "channels" (leave
            some out), "excitation" (another signal), "precision" (of x) or "memory".
        text: the sentence.
        argument: name of an argument of `Problem` or of a solver, or None.
        value: value of the argument. Without an argument, the number of samples that a record
            needs, or the channels to leave out.

    Examples:
        >>> import convsolve as cs
        >>> report = cs.identify(cs.Problem([1, 2, 4, 3], kernel_size=3))
        >>> print(report.suggestions[0])
        1 more row of y is needed: records of 5 samples instead of 4, or more records
        >>> [suggestion.argument for suggestion in report.suggestions]
        [None, 'kernel_size', 'ridge']

    See Also:
        `Identifiability.suggestions`.
    """

    kind: str
    text: str
    argument: str | None = None
    value: Any = None

    def __str__(self) -> str:
        """Return the sentence, after the argument if there is one."""
        if self.argument is None:
            return self.text
        return f"{argument(self.argument, self.value)}: {self.text}"


def advise(report: Any) -> list[Suggestion]:
    """Return concrete changes that would make the kernel determined; empty if it is."""
    if report.unique:
        return []
    found = _rows(report) if report.verdict == "underdetermined" else []
    if report._decided:
        found += _precision(report) + _signal(report) + (_tried(report) if _cheap(report) else [])
        ridge = proposed_ridge(report)
    else:
        excess = report._system.design.sizes.factor_excess
        text = f"a QR of {report._columns} unknowns needs {excess}: use fewer taps or channels"
        found, ridge = [*found, Suggestion("memory", text)], sufficient_ridge(report)
    if ridge == 0.0:  # only the rounding of the data makes the rank doubtful
        return found
    text = "a ridge makes the kernel unique and shrinks it towards zero"
    return [*found, Suggestion("ridge", text, None if ridge is None else "ridge", ridge)]


def proposed_ridge(report: Any) -> float | None:
    """Return the ridge, to three digits, that brings the condition number to 1000; or None."""
    ridge = report._ridge(RIDGE_CONDITION)
    return float(f"{ridge:.3g}") if np.isfinite(ridge) else None


def sufficient_ridge(report: Any) -> float | None:
    """Return a ridge, to three digits, that makes the solution unique by its size alone.

    No factor is needed. The ridge is 40·P²·eps·4ᵉ, where 2ᵉ is the power of two above the largest
    column of A. It is at least 10·P·eps·‖A‖² in columns scaled to norm one, also if the ridge
    raises e by one. None if it leaves float64.
    """
    share = 40 * report._columns**2 * EPS
    ridge = report._system.ridge_of(1.01 * share)
    inside = share < 0.5 and np.finfo(float).tiny < ridge < np.inf
    return float(f"{ridge:.3g}") if inside else None


def proposes_basis(problem: Problem) -> bool:
    """Return whether a basis on the lags would leave few unknowns."""
    return problem._space is None and problem.spec.ndim == 1 and len(problem.lags) >= MANY_LAGS


def _cheap(report: Any) -> bool:
    """Return whether other problems of this size may be tried before a suggestion is made."""
    sizes, few = report._system.design.sizes, report._columns <= MAX_UNKNOWNS
    return bool(few and sizes.matrix_numbers <= MAX_ENTRIES and sizes.groups <= MAX_GROUPS)


def _rows(report: Any) -> list[Suggestion]:
    """Return the number of missing rows, and the record length that would provide them."""
    problem, missing = report.problem, report.n_unknowns - report.n_equations
    text = f"{count(missing, 'more row')} of y {'is' if missing == 1 else 'are'} needed: "
    if problem._kept.flags is not None or problem._nuisance.confounds is not None:
        return [Suggestion("rows", text + "more samples, fewer excluded rows or confounds")]
    if problem.spec.ndim > 1:
        return [Suggestion("rows", text + "larger records, or more of them")]
    samples = _least_samples(problem)
    text += f"records of {samples} samples instead of {max(map(len, problem.x))}, or more records"
    return [Suggestion("rows", text, value=samples)]


def _least_samples(problem: Problem) -> int:
    """Return the length of the shortest records (along each axis) that can determine the kernel."""
    least, records = problem.spec.minimum_samples, len(problem.x)
    return least(problem.n_channels, n_records=records, bias=problem.bias)


def _precision(report: Any) -> list[Suggestion]:
    """Return why the verdict, or only the rank, depends on precision; empty if it does not."""
    if not report._mask_ambiguous:
        return []
    high, low = report._rank_band
    if report.verdict != "ambiguous":
        text = "the singular values decrease without a gap, as for a smooth x: the kernel of "
        text += "minimum norm amplifies noise, so use a ridge"
    elif report.problem._data_eps and high == report.n_unknowns:
        text = "the smallest singular value is below the rounding of the type of x: record x with "
        text += "more digits, or without its offset"
    else:
        text = f"the rank is {high} or {low}, depending on rounding: x is smooth, a near copy of a "
        text += "channel, or a long tone"
    return [Suggestion("precision", text)]


def _signal(report: Any) -> list[Suggestion]:
    """Return which channels of the worst group lack rank, and which are combinations of others.

    White noise instead of x has the largest rank that the geometry allows.
    """
    problem, g, bias = report.problem, report._worst_group, report.problem.bias
    ranks, own = _channel_ranks(report, g), np.bincount(_channel_of(report)).tolist()
    rows = report.n_equations - problem._nuisance.total
    best, whole = [min(n, rows) for n in own], min(sum(own), rows)
    if _cheap(report):
        noise = _on_white_noise(report)
        best, whole = _channel_ranks(noise, g), noise._ranks[g]
    found, every = [], range(len(own))
    if silent := [c for c in every if not ranks[c]]:
        still = "constant" if bias else "zero"
        if problem._nuisance.confounds is not None:
            still = "combinations of the confounds"
        found.append(_without(report, silent, f"{still} in all windows"))
    if few := [c for c in every if 0 < ranks[c] < best[c]]:
        noun = "coefficients" if report._has_basis else "taps"
        excited, of = (span([n[c] for c in few], ".0f") for n in (ranks, own))
        text = f"{_named(report, few)}: only {excited} of {of} {noun} excited; use more frequencies"
        found.append(Suggestion("excitation", f"{text}, as in noise"))
    if sum(ranks) - report._ranks[g] > sum(best) - whole:
        why = f"combined from others (a copy, a filtered copy{', a constant sum' * bias})"
        fine = [c for c in every if c not in (*silent, *few)]
        found.append(_without(report, _spare(report, fine) or [*every], why))
    if not found and report.verdict == "rank-deficient":
        samples = _least_samples(problem)
        text = f"the records are too short, whatever x is: at least {samples} samples are needed"
        found.append(Suggestion("rows", text, value=samples))
    return found


def _on_white_noise(report: Any) -> Any:
    """Return the report on white noise instead of x."""
    problem, rng = report.problem, np.random.default_rng(0)
    noise = tuple(rng.standard_normal(a.shape) for a in problem.x)
    x = problem._input._replace(arrays=noise, largest=None, means=None)
    return type(report)(problem._replace(_input=x, _output=None, _data_eps=EPS))


def _channel_of(report: Any) -> np.ndarray:
    """Return the channel within its group of every unknown of a kernel."""
    system, channels = report._system, report.problem.kernel_shape[-2]
    found: np.ndarray = system.basis.channel_of(system.matrix.columns, channels)
    return found


def _channel_ranks(report: Any, group: int) -> list[int]:
    """Return the rank of each channel's own columns in a group."""
    factor, channel_of = report._factors[group], _channel_of(report)
    of_channels = (factor.r[:, channel_of == c] for c in range(report.problem.kernel_shape[-2]))
    return [int((singular_values(r) > factor.band.tolerance).sum()) for r in of_channels]


def _named(report: Any, channels: Sequence[int]) -> str:
    """Return the names of channels of the worst group."""
    problem = report.problem
    first = report._worst_group * problem.kernel_shape[-2]
    names = [problem._names.name("channel", first + c) for c in channels]
    return f"channel{'s' * (len(names) > 1)} {some(names)}"


def _without(report: Any, channels: Sequence[int], why: str) -> Suggestion:
    """Return the suggestion to leave out some channels, unless groups would differ in size."""
    problem, text = report.problem, f"{_named(report, channels)}: {why}"
    if problem.spec.groups > 1 or len(channels) == problem.n_channels:
        return Suggestion("excitation", f"{text}; use another signal")
    # Their numbers in the problem that the user stated, not in a part of it.
    value = tuple(problem._selection.channels[c] for c in channels)
    return Suggestion("channels", f"leave out {text}; or use another signal", value=value)


def _spare(report: Any, channels: Sequence[int]) -> list[int]:
    """Return some of the channels without which the others are separated, late channels first.

    They are separated if no null vector has parts in the other channels alone.
    """
    factor, channel_of = report._worst_factor, _channel_of(report)
    if factor.columns - factor.rank > MAX_VECTORS:
        return []

    def rank(of: Sequence[int]) -> int:
        own = factor.null_space[np.isin(channel_of, of)]
        return int(np.linalg.matrix_rank(own, factor.null_threshold)) if own.size else 0

    found, known, whole = list[int](), 0, rank(channels)
    for c in reversed(channels):
        if known < whole and (more := rank([c, *found])) > known:
            found, known = [c, *found], more
    return found


def _tried(report: Any) -> list[Suggestion]:
    """Return changes of the problem that help, each tested by a report."""
    problem, found = report.problem, []

    def helps(changed: Problem | None) -> Any:
        """Return the report on a problem if it determines all taps well, or None."""
        other = None if changed is None else report._of(changed)
        good = other is not None and other.unique and not other._weakly_determined.any()
        return other if good else None

    def determined(other: Any) -> str:
        return f"{count(other.n_unknowns, 'unknown')}, all determined"

    if (rest := helps(_from_rest(problem))) is not None:
        text = f"if x was zero before the record, {determined(rest)}"
        found.append(Suggestion("edges", text, "edges", "zeros"))
    if problem.bias and (bare := helps(problem._under(problem.spec, bias=False))) is not None:
        found.append(Suggestion("bias", determined(bare), "bias", False))
    if (kernel := _largest_kernel(problem, helps)) is not None:
        name, value, other = kernel
        axis, text = problem._axes[0], determined(other)
        if axis.fs is not None:
            text = f"{axis.at(range(value[0], value[1] + 1))}, {text}"
        found.append(Suggestion("taps", text, name, value))
    if proposes_basis(problem) and (smooth := helps(problem._in_basis(BASIS))) is not None:
        found.append(Suggestion("basis", f"smooth kernels, {determined(smooth)}", "basis", BASIS))
    return found


def _from_rest(problem: Problem) -> Problem | None:
    """Return the problem with zeros outside the records, if x does not change at first."""
    geometry, spec = problem._geometry, problem.spec
    if geometry.edges != "drop" or any(np.ptp(np.asarray(a[:2]), 0).any() for a in problem.x):
        return None
    lags = geometry.bounds(problem._lengths[0])
    return problem._under(Geometry.of_lags(lags, "zeros", spec.stride, spec.groups).spec)


def _largest_kernel(problem: Problem, helps: Callable[[Problem | None], Any]) -> Any:
    """Return argument, value and report of the largest kernel that helps, or None.

    Kernels are cut along their longest axes.
    """
    size = problem.spec.kernel_size

    @cache
    def cut(by: int) -> tuple[str, Any, Any] | None:
        shorter = tuple(min(k, max(size) - by) for k in size)
        if not all(shorter):
            return None
        spec, name, value = _shorter(problem, shorter)
        other = helps(problem._under(spec))
        return None if other is None else (name, value, other)

    return cut(smallest(lambda by: by >= max(size) or cut(by) is not None))


def _shorter(problem: Problem, size: tuple[int, ...]) -> tuple[ConvSpec, str, Any]:
    """Return a geometry with fewer taps, and the argument that states it with its value.

    Lags are as near to lag 0 as possible.
    """
    geometry, spec = problem._geometry, problem.spec
    if not geometry.edges:
        return replace(spec, kernel_size=size), "kernel_size", size[0] if len(size) == 1 else size
    pairs = zip(geometry.bounds(problem._lengths[0]), size, strict=True)
    starts = [min(max(-((k - 1) // 2), a), b - k + 1) for (a, b), k in pairs]
    lags = tuple((a, a + k - 1) for a, k in zip(starts, size, strict=True))
    made = Geometry.of_lags(lags, geometry.edges, spec.stride, spec.groups)
    return made.spec, "lags", lags[0] if len(lags) == 1 else lags
