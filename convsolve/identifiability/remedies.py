"""What would make the kernel determined: concrete changes, tried where that is cheap."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..linalg.factor import Factor
from ..problem.problem import Problem
from ..problem.spec import smallest
from ..text import count
from .diagnosis import Diagnosis

# Up to so many unknowns, and numbers of the matrix, changes of geometry are tried first.
MAX_TRIED, TRIED_NUMBERS = 1000, 2**20
# The condition that a proposed ridge brings about.
RIDGE_CONDITION = 1e3


def remedies(diagnosis: Diagnosis) -> list[str]:
    """Concrete changes that would make the kernel determined; none where it is."""
    if diagnosis.unique:
        return []
    if not diagnosis.decided:
        need = diagnosis.qr_bytes / 2**30
        rows = _more_rows(diagnosis) if diagnosis.verdict == "underdetermined" else []
        return [
            *rows,
            f"a QR of so many unknowns would take {need:.1f} GiB; fewer taps or fewer channels "
            "decide it",
            "a large enough ridge makes the answer unique, whatever the verdict",
        ]
    found = []
    counted = diagnosis.verdict == "underdetermined"
    if diagnosis.verdict == "ambiguous":
        found.append(_why_ambiguous(diagnosis))
    elif diagnosis.mask_ambiguous:
        found.append(_no_gap(diagnosis))
    twin = _twin(diagnosis) if _cheap(diagnosis) else None
    most = min(diagnosis.n_equations - diagnosis.problem.bias, diagnosis.columns)
    if twin is not None:
        most = twin.group_ranks[diagnosis.worst_group]
    if diagnosis.rank < most:
        found += _excitation(diagnosis, twin)
    elif counted:
        found += _besides(diagnosis)
    else:
        found.append(_too_short(diagnosis))
    if counted:
        found += _more_rows(diagnosis)
    if _cheap(diagnosis):
        found += _tried(diagnosis)
    found.append(_ridge(diagnosis))
    return found


def _cheap(diagnosis: Diagnosis) -> bool:
    """Whether other problems of this size may be tried before something is proposed."""
    return diagnosis.matrix_numbers <= TRIED_NUMBERS and diagnosis.columns <= MAX_TRIED


def _twin(diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis of white noise in the place of x: what the geometry allows at best."""
    problem, rng = diagnosis.problem, np.random.default_rng(0)
    noise = [rng.standard_normal(a.shape) for a in problem.x]
    out_channels, bias = problem.out_channels, problem.bias
    return Diagnosis(Problem(noise, spec=problem.spec, out_channels=out_channels, bias=bias))


def _ridge(diagnosis: Diagnosis) -> str:
    text = "a ridge picks one answer, biased towards zero"
    known = ridge_words(diagnosis)
    return f"{text}: {known}" if known else text


def ridge_words(diagnosis: Diagnosis) -> str:
    """The ridge that brings about a condition of 1000, or "" where none can be named."""
    try:
        ridge = diagnosis.ridge_for(RIDGE_CONDITION)
    except ValueError:  # x is zero, or in a unit whose square leaves float64
        return ""
    return f"ridge={ridge:.3g} brings the condition to {RIDGE_CONDITION:.0f}"


def _why_ambiguous(diagnosis: Diagnosis) -> str:
    high, low = diagnosis.rank_band
    if diagnosis.problem.data_eps and high == diagnosis.columns:
        return (
            "the smallest singular value lies below the rounding of the data's own type: record "
            "or convert the data with more digits, or without the offset, from their source"
        )
    return (
        f"the rank is {high} or {low}, depending on where in the band around the tolerance one "
        "cuts; a smooth input, a near copy of a channel, or a long tone computed in floating "
        "point, does this"
    )


def _no_gap(diagnosis: Diagnosis) -> str:
    """Where the rank ends is then a matter of tolerance, and the answer hangs on it."""
    kept = [
        v[r - 1] for v, r in zip(diagnosis.singular_values, diagnosis.group_ranks, strict=True) if r
    ]
    with np.errstate(divide="ignore"):
        gain = 1 / np.min(kept)
    return (
        "the singular values fall off without a gap, as those of a smooth or band-limited input "
        f"do: the answer of minimum norm multiplies noise in y by up to {gain:.1g}, and is no "
        "estimate of the kernel without the ridge"
    )


def _more_rows(diagnosis: Diagnosis) -> list[str]:
    problem, spec = diagnosis.problem, diagnosis.problem.spec
    missing = diagnosis.n_unknowns - diagnosis.n_equations
    longest = max((a.shape[:-1] for a in problem.x), key=spec.rows)
    sentence = f"{count(missing, 'more row')} of y {'is' if missing == 1 else 'are'} needed"
    if spec.ndim > 1:
        return [sentence + ": larger records, or more of them"]
    whole = spec.padding != "circular" and spec == spec.whole_windows(longest)
    if len(problem.x) > 1 and whole:
        wanted = spec.rows(longest) + missing
        length = smallest(lambda w: spec.rows((w,)) >= wanted)
        where = f"one of the records of {length} samples instead of {longest[0]}"
    elif len(problem.x) > 1:
        return [f"{sentence}: records of {_least(diagnosis)} samples each, or more of them"]
    else:
        where = f"a record of {_least(diagnosis)} samples instead of {longest[0]}"
    return [f"{sentence}: {where}, or another record"]


def _least(diagnosis: Diagnosis) -> int:
    problem = diagnosis.problem
    return problem.spec.minimum_samples(
        problem.in_channels, records=len(problem.x), bias=problem.bias
    )


def _too_short(diagnosis: Diagnosis) -> str:
    each = " each" if len(diagnosis.problem.x) > 1 else ""
    side = "samples" if diagnosis.problem.spec.ndim == 1 else "samples a side"
    return (
        "the records are too short for this geometry, whatever x holds: at least "
        f"{_least(diagnosis)} {side}{each} are needed"
    )


def _besides(diagnosis: Diagnosis) -> list[str]:
    """What more rows would not mend, seen with no more taps than these rows can carry."""
    taps = diagnosis.problem.spec.kernel_size
    longest = max(taps)

    def carried(by: int) -> tuple[str, Diagnosis] | None:
        changed = diagnosis.problem.shorter(tuple(min(k, longest - by) for k in taps))
        fewer = None if changed is None or by >= longest else diagnosis.under(changed[0])
        return None if changed is None or fewer is None else (changed[1], fewer)

    def enough(by: int) -> bool:
        found = carried(by) if by < longest else None
        return by >= longest or (found is not None and found[1].n_equations >= found[1].n_unknowns)

    by = smallest(enough)
    found = carried(by) if by < longest else None
    if found is None or not _cheap(found[1]) or found[1].unique:
        return []
    asked, fewer = found
    return [f"even with {asked}, {text}" for text in _excitation(fewer, _twin(fewer))]


def _tried(diagnosis: Diagnosis) -> list[str]:
    """Changes of the geometry that have been seen to help, each found by `identify` itself."""
    found = []
    spec = diagnosis.problem.spec
    if diagnosis.problem.bias:
        bare = diagnosis.under(spec, bias=False)
        if bare is not None and bare.unique:
            found.append("without the bias every tap is determined (bias=False)")
    if max(spec.stride) > 1:
        dense = diagnosis.under(replace(spec, stride=(1,) * spec.ndim))
        if dense is not None and dense.unique:
            found.append("stride=1 determines every tap")
    tried = (_fewer_taps(diagnosis, axes) for axes in _sides(spec.ndim))
    helpful = [t for t in tried if t is not None]
    if helpful:
        asked, fewer = max(helpful, key=lambda pair: pair[1].n_unknowns)
        found.append(
            f"fewer taps: {asked} has {count(fewer.n_equations, 'equation')} for "
            f"{count(fewer.n_unknowns, 'unknown')}, and determines them"
        )
    return found


def _sides(ndim: int) -> list[tuple[int, ...]]:
    """Axes along which a kernel may be cut: all at once, or one alone."""
    return [tuple(range(ndim)), *([(a,) for a in range(ndim)] if ndim > 1 else [])]


def _fewer_taps(diagnosis: Diagnosis, axes: tuple[int, ...]) -> tuple[str, Diagnosis] | None:
    """The largest kernel, cut along ``axes``, that is determined; the argument that asks for it."""
    taps = diagnosis.problem.spec.kernel_size
    longest = max(taps[a] for a in axes)

    def cut(by: int) -> tuple[str, Diagnosis] | None:
        size = tuple(min(k, longest - by) if a in axes else k for a, k in enumerate(taps))
        changed = diagnosis.problem.shorter(size)
        fewer = None if changed is None else diagnosis.under(changed[0])
        if changed is None or fewer is None or not fewer.unique or fewer.weakly_determined.any():
            return None
        return changed[1], fewer

    found: dict[int, tuple[str, Diagnosis] | None] = {}

    def helps(by: int) -> bool:
        found[by] = cut(by) if by < longest else None
        return by >= longest or found[by] is not None

    return found[smallest(helps)]


def _orders(diagnosis: Diagnosis, group: int) -> list[int]:
    """How many taps each channel of a group excites on its own."""
    factor = diagnosis.factor(group)
    channels = diagnosis.problem.kernel_shape[-2]

    def rank(columns: np.ndarray) -> int:
        values = np.linalg.svd(columns, compute_uv=False)
        return int((values > factor.band.tolerance).sum())

    return [rank(factor.r[:, c::channels]) for c in range(channels)]


def _excitation(diagnosis: Diagnosis, twin: Diagnosis | None) -> list[str]:
    """Which channels fall short of noise on their own, and whether the rest is shared."""
    most = [diagnosis.columns] * diagnosis.problem.spec.groups
    most = most if twin is None else list(twin.group_ranks)
    short = [g for g, rank in enumerate(diagnosis.group_ranks) if rank < most[g]]
    return [text for g in short for text in _excitation_of(diagnosis, twin, g)]


def _excitation_of(diagnosis: Diagnosis, twin: Diagnosis | None, group: int) -> list[str]:
    problem = diagnosis.problem
    orders = _orders(diagnosis, group)
    channels, taps = len(orders), math.prod(problem.spec.kernel_size)
    best = [taps] * channels if twin is None else _orders(twin, group)
    # A channel less would leave groups of unequal size.
    drop = "drop it" if problem.spec.groups == 1 else "put another in its place"
    found = []
    for c, order in enumerate(orders):
        number = group * channels + c
        if order == 0:
            still = "constant" if problem.bias else "zero"
            if problem.in_channels == 1:
                beside = " beside a bias" * problem.bias
                found.append(f"x is {still} in all windows: nothing is learned from it{beside}")
            else:
                found.append(f"channel {number} is {still} in all windows: {drop}")
        elif order < best[c]:
            same = "more of the same signal will not help: it takes"
            if _transient(problem, number):
                same = "record the silence around it too, or it takes"
            found.append(
                f"channel {number} excites only {order} of its {taps} taps (its order of "
                f"excitation); {same} a richer signal, noise-like, or fewer taps"
            )
    shared = sum(orders) - diagnosis.group_ranks[group]
    shared -= 0 if twin is None else sum(best) - twin.group_ranks[group]
    if shared > 0 and channels > 1:
        factor = diagnosis.factor(group)
        spare = [str(group * channels + c) for c in range(channels) if _spare(factor, c, channels)]
        text = (
            f"{count(shared, 'combination')} of channels cannot be told apart (a copy, a delayed "
            f"or filtered copy of another{', a constant sum' * problem.bias}): "
            f"{'drop one of them, or ' * (problem.spec.groups == 1)}vary them independently"
        )
        if problem.spec.groups > 1:
            text = f"in group {group}, {text}"
        elif spare:
            text += f"; without channel {' or '.join(spare[:4])} the others are determined"
        found.append(text)
    return found


def _spare(factor: Factor, channel: int, channels: int) -> bool:
    """Whether without a channel the others are determined: no null vector lies in them alone."""
    nullity = factor.r.shape[1] - factor.rank
    if nullity > factor.r.shape[1] // channels:
        return False
    own = factor.null_basis[channel::channels]
    return bool(np.linalg.matrix_rank(own, factor.null_threshold) == nullity)


def _transient(problem: Problem, channel: int) -> bool:
    """Whether a channel of one axis is silent for a kernel's length at one end of a record."""
    if problem.spec.ndim > 1:
        return False
    reach = problem.spec.span[0] - 1
    ends = [e for a in problem.x for e in (a[:reach, channel], a[-reach:, channel])]
    return reach > 0 and any(len(e) == reach and not e.any() for e in ends)
