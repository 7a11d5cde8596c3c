"""What would make the kernel determined: concrete changes, tried where that is cheap."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .prepared import Prepared, prepare
from .records import count
from .spec import smallest
from .system import SMALL_NUMBERS, System

if TYPE_CHECKING:
    from .identifiability import Identifiability

# Up to so many unknowns a change of geometry is tried before it is proposed.
MAX_TRIED = 1000
# The condition that a proposed ridge brings about.
RIDGE_CONDITION = 1e3


def remedies(report: Identifiability) -> list[str]:
    """Concrete changes that would make the kernel determined; none where it is."""
    prepared = prepare(report.problem)
    if report.unique:
        return []
    if not report.decided:
        need = prepared.factor_bytes / 2**30
        rows = _more_rows(report) if report.verdict == "underdetermined" else []
        return [
            *rows,
            f"a QR of so many unknowns would take {need:.1f} GiB; fewer taps or fewer channels "
            "decide it",
            "a ridge makes the answer unique whatever the verdict",
        ]
    found = []
    counted = report.verdict == "underdetermined"
    if counted:
        found += _more_rows(report)
    if report.verdict == "ambiguous":
        found.append(_why_ambiguous(report, prepared))
    elif report.mask_ambiguous:
        found.append(_no_gap(report))
    limited_by_counting = counted and report.rank == min(
        report.n_equations - report.problem.bias, prepared.columns
    )
    if not limited_by_counting:
        found += _excitation(report, prepared)
    found += _tried(report, prepared)
    found.append(_ridge(report))
    return found


def _ridge(report: Identifiability) -> str:
    text = "a ridge picks one answer, biased towards zero"
    known = ridge_words(report)
    return f"{text}: {known}" if known else text


def ridge_words(report: Identifiability) -> str:
    """The ridge that brings about a condition of 1000, or "" where none can be named."""
    try:
        ridge = report.ridge_for(RIDGE_CONDITION)
    except ValueError:  # x is zero, or in a unit whose square leaves float64
        return ""
    return f"ridge={ridge:.3g} brings the condition to {RIDGE_CONDITION:.0f}"


def _why_ambiguous(report: Identifiability, prepared: Prepared) -> str:
    high, low = report.rank_band
    if report.problem.data_eps and high == prepared.columns:
        return (
            "the smallest singular value lies below the rounding of the data's own type: record "
            "or convert the data with more digits, or without the offset, from their source"
        )
    return (
        f"the rank is {high} or {low}, depending on where in the band around the tolerance one "
        "cuts; a smooth input, or a long tone computed in floating point, does this"
    )


def _no_gap(report: Identifiability) -> str:
    """Where the rank ends is then a matter of tolerance, and the answer hangs on it."""
    kept = [v[r - 1] for v, r in zip(report.singular_values, report.group_ranks, strict=True) if r]
    with np.errstate(divide="ignore"):
        gain = 1 / np.min(kept)
    return (
        "the singular values fall off without a gap, as those of a smooth or band-limited input "
        f"do: the answer of minimum norm multiplies noise in y by up to {gain:.1g}, and is no "
        "estimate of the kernel without the ridge"
    )


def _more_rows(report: Identifiability) -> list[str]:
    problem, spec = report.problem, report.problem.spec
    missing = report.n_unknowns - report.n_equations
    longest = max((a.shape[:-1] for a in problem.x), key=spec.rows)
    sentence = f"{count(missing, 'more row')} of y {'is' if missing == 1 else 'are'} needed"
    if spec.ndim > 1:
        return [sentence + ": larger records, or more of them"]
    wanted = spec.rows(longest) + missing
    length = smallest(lambda w: spec.rows((w,)) >= wanted)
    where = "a record" if len(problem.x) == 1 else "one of the records"
    return [f"{sentence}: {where} of {length} samples instead of {longest[0]}, or another record"]


def _tried(report: Identifiability, prepared: Prepared) -> list[str]:
    """Changes of the geometry that have been seen to help, each found by `identify` itself."""
    if prepared.matrix_numbers > SMALL_NUMBERS or prepared.columns > MAX_TRIED:
        return []
    found = []
    spec = report.problem.spec
    if report.problem.bias:
        bare = report.under(spec, bias=False)
        if bare is not None and bare.unique:
            found.append("without the bias every tap is determined (bias=False)")
    if max(spec.stride) > 1:
        dense = report.under(replace(spec, stride=(1,) * spec.ndim))
        if dense is not None and dense.unique:
            found.append("stride=1 determines every tap")
    tried = (_fewer_taps(report, axes) for axes in _sides(spec.ndim))
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


def _fewer_taps(
    report: Identifiability, axes: tuple[int, ...]
) -> tuple[str, Identifiability] | None:
    """The largest kernel, cut along ``axes``, that is determined; the argument that asks for it."""
    taps = report.problem.spec.kernel_size
    longest = max(taps[a] for a in axes)

    def cut(by: int) -> tuple[str, Identifiability] | None:
        size = tuple(min(k, longest - by) if a in axes else k for a, k in enumerate(taps))
        changed = report.problem.shorter(size)
        fewer = None if changed is None else report.under(changed[0])
        if changed is None or fewer is None or not fewer.unique or fewer.weakly_determined.any():
            return None
        return changed[1], fewer

    by = smallest(lambda by: by >= longest or cut(by) is not None)
    return cut(by) if by < longest else None


def _excitation(report: Identifiability, prepared: Prepared) -> list[str]:
    """Which channels fall short on their own, and whether the rest is shared between channels."""
    group = report.worst_group
    factor = System(prepared).factor(group)
    assert factor is not None
    taps = int(np.prod(report.problem.spec.kernel_size))
    channels = prepared.columns // taps

    def rank(columns: np.ndarray) -> int:
        values = np.linalg.svd(factor.r[:, columns], compute_uv=False)
        return int((values > factor.band.tolerance).sum())

    own = np.arange(prepared.columns) % channels
    orders = [rank(own == c) for c in range(channels)]
    found = []
    for c, order in enumerate(orders):
        label = f"channel {group * channels + c}"
        if order == 0:
            still = "constant" if report.problem.bias else "zero"
            if report.problem.in_channels == 1:
                beside = " beside a bias" * report.problem.bias
                found.append(f"x is {still} in all windows: nothing is learned from it{beside}")
            else:
                found.append(f"{label} is {still} in all windows: drop it")
        elif order < taps:
            found.append(
                f"{label} excites only {order} of its {taps} taps (its order of excitation); more "
                "of the same signal will not help: it takes a richer one, noise-like, or fewer taps"
            )
    shared = sum(orders) - factor.rank
    if shared > 0 and channels > 1:
        text = (
            f"{count(shared, 'combination')} of channels cannot be told apart (a copy, a delayed "
            f"or filtered copy of another{', a constant sum' * report.problem.bias}): drop one of "
            "them, or vary them independently"
        )
        # What is left is determined if no null vector lies in it alone.
        null = factor.null_basis
        spare = [
            c for c in range(channels) if np.linalg.matrix_rank(null[own == c]) == null.shape[1]
        ]
        if spare:
            names = " or ".join(str(group * channels + c) for c in spare[:4])
            text += f"; without channel {names} the others are determined"
        found.append(text)
    return found
