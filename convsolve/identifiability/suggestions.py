"""Suggestions: concrete changes that would make the kernel determined, tested if this is cheap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from ..linalg.factor import Factor
from ..linalg.lapack import singular_values
from ..problem.geometry import Geometry
from ..problem.problem import Problem
from ..problem.spec import ConvSpec, smallest
from ..text import argument, count
from .diagnosis import Diagnosis

# Limits up to which changes of geometry are tried: unknowns, and entries of the design matrix.
MAX_TRIED_UNKNOWNS, MAX_TRIED_ENTRIES = 1000, 2**20
# Largest number of channels listed if any of them may be dropped.
MAX_NAMED = 4
# Condition number that a proposed ridge achieves.
RIDGE_CONDITION = 1e3
# The basis that is proposed for kernels of many lags, and the least number of lags.
BASIS, MANY_LAGS = "bsplines8", 16


class Suggestion(NamedTuple):
    """Change that would make the kernel determined, as data and as a sentence.

    Attributes:
        kind: what changes: "rows", "taps", "basis", "stride", "bias", "ridge", "channels" (leave
            one out), "excitation" (another signal), "precision" (of x) or "memory".
        text: the sentence, with ``{}`` for the argument.
        argument: name of an argument of `Problem` or of a solver, or None.
        value: value of the argument. Without an argument, the number of samples that a record
            needs, or the channels of which one may be dropped, if the text names them.

    Examples:
        >>> import convsolve as cs
        >>> report = cs.identify(cs.Problem([1, 2, 4, 3], kernel_size=3))
        >>> print(report.suggestions[0])
        1 more row of y is needed: a record of 5 samples instead of 4, or another record
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
        """Return the sentence with the argument."""
        if self.argument is None:
            return self.text
        return self.text.format(argument(self.argument, self.value))


def advise(diagnosis: Diagnosis) -> list[Suggestion]:
    """Return concrete changes that would make the kernel determined; empty if it is."""
    if diagnosis.unique:
        return []
    rows = more_rows(diagnosis) if diagnosis.verdict == "underdetermined" else []
    if not diagnosis.decided:
        return rows + _beyond_memory(diagnosis)
    tried = _tried(diagnosis) if _cheap(diagnosis) else []
    return [*_precision(diagnosis), *_signal(diagnosis), *rows, *tried, _ridge(diagnosis)]


def _beyond_memory(diagnosis: Diagnosis) -> list[Suggestion]:
    ridge = diagnosis.sufficient_ridge
    need = (
        f"a QR of {diagnosis.columns} unknowns needs {diagnosis.sizes.factor_excess}; with fewer "
        "taps or channels the rank can be decided"
    )
    which = "a large enough ridge" if ridge is None else "{}"
    text = f"{which} makes the kernel unique, whatever the rank"
    argument = None if ridge is None else "ridge"
    return [Suggestion("memory", need), Suggestion("ridge", text, argument, ridge)]


def _cheap(diagnosis: Diagnosis) -> bool:
    """Return whether other problems of this size may be tried before a suggestion is proposed."""
    few = diagnosis.columns <= MAX_TRIED_UNKNOWNS
    return few and diagnosis.sizes.matrix_numbers <= MAX_TRIED_ENTRIES


def _ridge(diagnosis: Diagnosis) -> Suggestion:
    text = "a ridge makes the kernel unique and shrinks it towards zero"
    ridge = proposed_ridge(diagnosis)
    if ridge is None:
        return Suggestion("ridge", text)
    text = f"{{}} shrinks the kernel towards zero (condition number {RIDGE_CONDITION:.0f})"
    return Suggestion("ridge", text, "ridge", ridge)


def proposed_ridge(diagnosis: Diagnosis) -> float | None:
    """Return the ridge, to three digits, that brings the condition to 1000; 0 if it is smaller.

    None if x is zero, or in a unit whose square leaves float64.
    """
    try:
        return float(f"{diagnosis.ridge_for(RIDGE_CONDITION):.3g}")
    except np.linalg.LinAlgError:  # a ValueError too
        raise
    except ValueError:
        return None


def proposes_basis(problem: Problem) -> bool:
    """Return whether a basis on the lags would leave few unknowns."""
    return problem._space is None and problem.spec.ndim == 1 and len(problem.lags) >= MANY_LAGS


def _precision(diagnosis: Diagnosis) -> list[Suggestion]:
    """Return why the verdict, or only the rank, depends on precision; empty if it does not."""
    if diagnosis.verdict != "ambiguous":
        return [_no_gap(diagnosis)] if diagnosis.mask_ambiguous else []
    high, low = diagnosis.rank_band
    text = (
        f"the rank is {high} or {low}, depending on the tolerance within its band; the cause may "
        "be a smooth input, a near copy of a channel, or a long tone computed in floating point"
    )
    if diagnosis.problem._data_eps and high == diagnosis.n_unknowns:
        text = (
            "the smallest singular value lies below the rounding of the data's own type: record "
            "or convert the data with more digits, or without the offset, from their source"
        )
    return [Suggestion("precision", text)]


def _no_gap(diagnosis: Diagnosis) -> Suggestion:
    """Return the suggestion if the rank, and therefore the solution, depends on the tolerance."""
    pairs = zip(diagnosis.singular_values, diagnosis.kernel_ranks, strict=True)
    with np.errstate(divide="ignore"):
        gain = 1 / np.min([values[rank - 1] for values, rank in pairs if rank])
    return Suggestion(
        "precision",
        "the singular values decrease without a gap, as for a smooth or band-limited input: the "
        f"kernel of minimum norm multiplies noise in y by up to {gain:.1g}, so a ridge is needed",
    )


def more_rows(diagnosis: Diagnosis) -> list[Suggestion]:
    """Return the number of missing rows, and the record length that would provide them."""
    problem, spec = diagnosis.problem, diagnosis.problem.spec
    missing = diagnosis.n_unknowns - diagnosis.n_equations
    longest = max(problem._lengths, key=lambda shape: math.prod(spec.output_shape(shape)))
    text = f"{count(missing, 'more row')} of y {'is' if missing == 1 else 'are'} needed"
    if problem._kept.flags is not None or problem._nuisance.confounds is not None:
        return [Suggestion("rows", f"{text}: more samples, fewer excluded rows or confounds")]
    if spec.ndim > 1:
        return [Suggestion("rows", f"{text}: larger records, or more of them")]
    samples = _least_samples(problem)
    if len(problem.x) == 1:
        where = f"a record of {samples} samples instead of {longest[0]}, or another record"
    elif spec.padding != "circular" and max(spec._ends(0, longest[0])) <= 0:
        wanted = math.prod(spec.output_shape(longest)) + missing
        samples = smallest(lambda length: spec.output_shape((length,))[0] >= wanted)
        where = f"one of the records of {samples} samples instead of {longest[0]}, or another"
        where += " record"
    else:
        where = f"records of {samples} samples each, or more of them"
    return [Suggestion("rows", f"{text}: {where}", value=samples)]


def _least_samples(problem: Problem) -> int:
    return problem.spec.minimum_samples(
        problem.n_channels, n_records=len(problem.x), bias=problem.bias
    )


def _too_short(diagnosis: Diagnosis) -> Suggestion:
    problem = diagnosis.problem
    samples = _least_samples(problem)
    side = " a side" * (problem.spec.ndim > 1) + " each" * (len(problem.x) > 1)
    return Suggestion(
        "rows",
        "the records are too short for this geometry, whatever x holds: at least "
        f"{samples} samples{side} are needed",
        value=samples,
    )


def _signal(diagnosis: Diagnosis) -> list[Suggestion]:
    """Return suggestions for a signal that is worse than white noise in this geometry."""
    noise = _on_white_noise(diagnosis) if _cheap(diagnosis) else None
    best = min(diagnosis.n_equations - diagnosis.problem._nuisance.total, diagnosis.columns)
    if noise is not None:
        best = noise.kernel_ranks[diagnosis.worst_group]
    if diagnosis.kernel_ranks[diagnosis.worst_group] < best:
        return _excitation(diagnosis, noise)
    if diagnosis.verdict == "underdetermined":
        return _beside_rows(diagnosis)
    return [_too_short(diagnosis)]


def _on_white_noise(diagnosis: Diagnosis) -> Diagnosis:
    """Return the diagnosis of white noise instead of x: the best that the geometry allows."""
    problem, rng = diagnosis.problem, np.random.default_rng(0)
    noise = tuple(rng.standard_normal(a.shape) for a in problem.x)
    x = problem._input._replace(arrays=noise, largest=None, means=None)
    return Diagnosis(problem._replace(_input=x, _output=None, _data_eps=float(np.finfo(float).eps)))


def _beside_rows(diagnosis: Diagnosis) -> list[Suggestion]:
    """Return suggestions for faults that more rows do not fix, by a kernel that fits the rows."""
    axes = tuple(range(diagnosis.problem.spec.ndim))
    found = _largest_kernel(diagnosis, axes, lambda d: d.n_equations >= d.n_unknowns)
    if found is None or not _cheap(found.diagnosis) or found.diagnosis.unique:
        return []
    fewer = found.diagnosis
    return [
        Suggestion("excitation", "even with {}, " + suggestion.text, found.argument, found.value)
        for suggestion in _excitation(fewer, _on_white_noise(fewer))
    ]


def _excitation(diagnosis: Diagnosis, noise: Diagnosis | None) -> list[Suggestion]:
    """Return suggestions for groups of lower rank than with ``noise``, or than full rank."""
    best = [diagnosis.columns] * diagnosis.groups if noise is None else noise.kernel_ranks
    short = [g for g, rank in enumerate(diagnosis.kernel_ranks) if rank < best[g]]
    return [suggestion for g in short for suggestion in _excitation_of(diagnosis, noise, g)]


def _excitation_of(diagnosis: Diagnosis, noise: Diagnosis | None, group: int) -> list[Suggestion]:
    """Return which channels of a group lack rank, and whether the remaining deficit is shared."""
    ranks = _channel_ranks(diagnosis, group)
    counts = np.bincount(_channel_of(diagnosis)).tolist()
    best = counts if noise is None else _channel_ranks(noise, group)
    first = group * len(ranks)
    found = [
        _channel(diagnosis, first + c, rank, counts[c])
        for c, rank in enumerate(ranks)
        if rank < max(best[c], 1)
    ]
    shared = sum(ranks) - diagnosis.kernel_ranks[group]
    shared -= 0 if noise is None else sum(best) - noise.kernel_ranks[group]
    if shared > 0 and len(ranks) > 1:
        found.append(_shared(diagnosis, group, shared))
    return found


def _channel_ranks(diagnosis: Diagnosis, group: int) -> list[int]:
    """Return the rank of each channel's own columns: the number of taps that it excites."""
    factor, channels = diagnosis.factor(group), diagnosis.problem.kernel_shape[-2]
    if channels == 1:
        return [factor.rank]
    channel_of = _channel_of(diagnosis)

    def rank(columns: np.ndarray) -> int:
        values = singular_values(columns)
        return int((values > factor.band.tolerance).sum())

    return [rank(factor.r[:, channel_of == c]) for c in range(channels)]


def _channel_of(diagnosis: Diagnosis) -> np.ndarray:
    """Return the channel within its group of every unknown of a kernel."""
    system = diagnosis._system
    return system.basis.channel_of(system.matrix.columns, diagnosis.problem.kernel_shape[-2])


def _channel(diagnosis: Diagnosis, channel: int, rank: int, unknowns: int) -> Suggestion:
    """Return the suggestion for a channel that excites only ``rank`` of its unknowns."""
    problem, name = diagnosis.problem, diagnosis.problem._names.channel(channel)
    if rank:
        same = "more of the same signal does not help: use"
        if _transient(problem, channel):
            same = "record the silence around it too, or use"
        noun = "coefficients" if diagnosis.has_basis else "taps"
        return Suggestion(
            "excitation",
            f"{name} excites only {rank} of its {unknowns} {noun} (its order of excitation); "
            f"{same} a signal with more frequencies, such as noise, or fewer {noun}",
        )
    still = f"{'constant' if problem.bias else 'zero'} in all windows"
    if problem._nuisance.confounds is not None:
        still = "a combination of the confounds in all windows"
    if problem.n_channels == 1:
        beside = " beside a bias" * problem.bias
        return Suggestion("excitation", f"x is {still}, so it determines no tap{beside}")
    if problem.spec.groups > 1:
        # Dropping a channel would leave groups of unequal size.
        return Suggestion("excitation", f"{name} is {still}: use another channel")
    return Suggestion("channels", f"{name} is {still}: drop it", value=(channel,))


def _shared(diagnosis: Diagnosis, group: int, shared: int) -> Suggestion:
    """Return the suggestion for channels that are combinations of each other."""
    problem = diagnosis.problem
    text = (
        f"{count(shared, 'combination')} of channels cannot be distinguished (a copy, a delayed or "
        f"filtered copy of another{', a constant sum' * problem.bias}): "
        f"{'drop one of them, or ' * (problem.spec.groups == 1)}vary them independently"
    )
    if problem.spec.groups > 1:
        return Suggestion("excitation", f"in group {group}, {text}")
    factor, channels = diagnosis.factor(group), problem.n_channels
    channel_of = _channel_of(diagnosis)
    spare = [c for c in range(channels) if _spare(factor, channel_of == c)][:MAX_NAMED]
    if not spare:
        return Suggestion("excitation", text)
    which = " or ".join(problem._names.name("channel", c) for c in spare)
    text += f"; without channel {which} the others are determined"
    return Suggestion("channels", text, value=tuple(spare))


def _spare(factor: Factor, own: np.ndarray) -> bool:
    """Return whether the other channels are determined without a channel of these unknowns.

    This is the case if no null vector lies in the other channels alone.
    """
    nullity = factor.r.shape[1] - factor.rank
    if nullity > np.count_nonzero(own):
        return False
    own = factor.null_space[own]
    return bool(np.linalg.matrix_rank(own, factor.null_threshold) == nullity)


def _transient(problem: Problem, channel: int) -> bool:
    """Return whether a channel of one axis is zero for a kernel's length at an end of a record."""
    reach = problem.spec._span[0] - 1
    if problem.spec.ndim > 1 or not reach:
        return False
    ends = (np.asarray(e)[:, channel] for a in problem.x for e in (a[:reach], a[-reach:]))
    return any(len(e) == reach and not e.any() for e in ends)


class _Kernel(NamedTuple):
    """A smaller kernel: the argument that sets it, its value, and its diagnosis."""

    argument: str
    value: Any
    diagnosis: Diagnosis


def _tried(diagnosis: Diagnosis) -> list[Suggestion]:
    """Return changes of the geometry that help, each tested by a diagnosis."""
    found = []
    spec = diagnosis.problem.spec
    if diagnosis.problem.bias:
        bare = diagnosis.under(spec, bias=False)
        if bare is not None and bare.unique:
            text = "without the bias every tap is determined ({})"
            found.append(Suggestion("bias", text, "bias", False))
    if max(spec.stride) > 1:
        dense = diagnosis.under(replace(spec, stride=(1,) * spec.ndim))
        if dense is not None and dense.unique:
            found.append(Suggestion("stride", "{} determines every tap", "stride", 1))
    kernels = [
        _largest_kernel(diagnosis, axes, lambda d: d.unique and not d._weakly_determined.any())
        for axes in _sides(spec.ndim)
    ]
    if helpful := [kernel for kernel in kernels if kernel is not None]:
        name, value, fewer = max(helpful, key=lambda kernel: kernel.diagnosis.n_unknowns)
        in_time = name == "lags" and spec.ndim == 1
        times = diagnosis.problem._names.window(*value) if in_time else ""
        text = (
            f"fewer taps: {{}}{times} has {count(fewer.n_equations, 'equation')} for "
            f"{count(fewer.n_unknowns, 'unknown')}, and determines them"
        )
        found.append(Suggestion("taps", text, name, value))
    if proposes_basis(diagnosis.problem):
        smooth = Diagnosis(diagnosis.problem._in_basis(BASIS), diagnosis.limits)
        if smooth.unique and not smooth._weakly_determined.any():
            text = f"smooth kernels: {{}} has {count(smooth.n_unknowns, 'unknown')}, and determines"
            found.append(Suggestion("basis", f"{text} them", "basis", BASIS))
    return found


def _sides(ndim: int) -> list[tuple[int, ...]]:
    """Return the axes along which a kernel may be cut: all at once, or one alone."""
    return [tuple(range(ndim)), *([(a,) for a in range(ndim)] if ndim > 1 else [])]


def _largest_kernel(
    diagnosis: Diagnosis, axes: tuple[int, ...], helps: Callable[[Diagnosis], bool]
) -> _Kernel | None:
    """Return the largest kernel, cut along ``axes``, that helps; None if there is none."""
    cut = cache(partial(_cut, diagnosis, axes))
    longest = max(diagnosis.problem.spec.kernel_size[a] for a in axes)

    def enough(by: int) -> bool:
        kernel = cut(by) if by < longest else None
        return by >= longest or (kernel is not None and helps(kernel.diagnosis))

    by = smallest(enough)
    return cut(by) if by < longest else None


def _cut(diagnosis: Diagnosis, axes: tuple[int, ...], by: int) -> _Kernel | None:
    """Return the kernel ``by`` taps shorter than the longest of ``axes``; None if not possible."""
    taps = diagnosis.problem.spec.kernel_size
    longest = max(taps[a] for a in axes)
    size = tuple(min(k, longest - by) if a in axes else k for a, k in enumerate(taps))
    spec, argument, value = _shorter(diagnosis.problem, size)
    fewer = diagnosis.under(spec)
    return None if fewer is None else _Kernel(argument, value, fewer)


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
