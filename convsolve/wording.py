"""The sentences of a report: what a verdict means, and what would change it."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .prepared import Prepared, prepare
from .records import count
from .spec import smallest
from .system import System

if TYPE_CHECKING:
    from .identifiability import Identifiability

WIDTH = 88

MEANING = {
    "overdetermined": "one kernel fits best, with equations to spare",
    "exactly determined": "one kernel fits, and no equation is left over to check it",
    "underdetermined": "fewer equations than unknowns: many kernels fit equally well",
    "rank-deficient": "too few of the equations are independent: many kernels fit equally well",
    "ambiguous": "too close to call at this precision",
    "undecided": "too large to decide in the memory allowed",
}


def counting(report: Identifiability) -> str:
    """The counting argument as such, then why it misleads here, if it does."""
    m, p = report.n_equations, report.n_unknowns
    relation = "fewer than" if m < p else "as many as" if m == p else "more than"
    text = f"{count(m, 'equation')} for {count(p, 'unknown')} per output channel: {relation} needed"
    if m == p:
        text += ", so exactly determined at best, not overdetermined"
    notes = []
    outputs = report.problem.out_channels // report.problem.spec.groups
    if outputs > 1:
        notes.append(
            f"Every output channel has its own kernel and its own {count(m, 'equation')}, so "
            f"{outputs} outputs never make a kernel less determined than one"
        )
    if m >= p and report.verdict == "rank-deficient":
        notes.append(
            f"Counting misleads here: only {report.rank} of these equations are independent"
        )
    if m < p:
        notes.append(
            "The kernels that fit form a flat valley of equally good answers, no local optima"
        )
    return ". ".join([text, *notes])


def remedies(report: Identifiability) -> list[str]:
    """Concrete changes that would make the kernel determined."""
    prepared = prepare(report.problem)
    if report.unique:
        return []
    if report.verdict == "undecided":
        need = prepared.matrix_numbers * 8 / 2**30
        return [
            f"The design matrix would take {need:.1f} GiB; fewer taps, or a part of the records, "
            "decide it",
            "a ridge makes the answer unique whatever the verdict",
        ]
    found = []
    if report.verdict == "underdetermined":
        found += _more_rows(report)
    if report.verdict == "ambiguous":
        high, low = report.rank_band
        if report.problem.data_eps and high == prepared.columns:
            found.append(
                "the smallest singular value lies below the rounding of the data's own type; "
                "record or convert the data in double precision from their source"
            )
        else:
            found.append(
                f"the rank is {high} or {low}, depending on where in the band around the tolerance "
                "one cuts; a smooth input, or a long tone computed in floating point, does this"
            )
    limited_by_counting = report.verdict == "underdetermined" and report.rank == min(
        report.n_equations - report.problem.bias, prepared.columns
    )
    if not limited_by_counting:
        found += _excitation(report, prepared)
    found.append("a ridge picks one answer, biased towards zero")
    return found


def _more_rows(report: Identifiability) -> list[str]:
    problem, spec = report.problem, report.problem.spec
    missing = report.n_unknowns - report.n_equations
    longest = max((a.shape[:-1] for a in problem.x), key=spec.rows)
    sentence = f"{count(missing, 'more row')} of y {'is' if missing == 1 else 'are'} needed"
    records = len(problem.x)
    if spec.ndim == 1:
        wanted = spec.rows(longest) + missing
        length = smallest(lambda w: spec.rows((w,)) >= wanted)
        where = "a record" if records == 1 else "one of the records"
        sentence += f": {where} of {length} samples instead of {longest[0]}, or another record"
    else:
        sentence += ": larger records, or more of them"
    found = [sentence]
    if isinstance(spec.padding, str):
        longest_side = max(spec.kernel_size)

        def shorter(by: int) -> tuple[tuple[int, ...], int, int]:
            side = max(longest_side - by, 1)
            size = tuple(min(k, side) for k in spec.kernel_size)
            less = replace(spec, kernel_size=size)
            rows = sum(less.rows(a.shape[:-1]) for a in problem.x)
            return size, rows, less.unknowns(problem.in_channels) + problem.bias

        def enough(by: int) -> bool:
            _, rows, unknowns = shorter(by)
            return rows >= unknowns

        if enough(longest_side - 1):
            size, rows, unknowns = shorter(smallest(enough))
            name = size[0] if spec.ndim == 1 else size
            found.append(
                f"or fewer taps: kernel_size={name} has {count(rows, 'equation')} "
                f"for {count(unknowns, 'unknown')}"
            )
    return found


def _excitation(report: Identifiability, prepared: Prepared) -> list[str]:
    """Which channels fall short on their own, and whether the rest is shared between channels."""
    group = report.worst_group
    factor = System(prepared).factor(group)
    if factor is None:
        return []
    taps = int(np.prod(report.problem.spec.kernel_size))
    channels = prepared.columns // taps
    found, lost = [], 0
    for c in range(channels):
        columns = factor.r[:, c::channels]
        values = np.linalg.svd(columns, compute_uv=False)
        own = int((values > factor.band.tolerance).sum())
        if own == taps:
            continue
        lost += taps - own
        label = group * channels + c
        if own == 0:
            found.append(
                f"channel {label} {'does not vary' if report.problem.bias else 'is zero'} in every "
                "window: drop it"
            )
        else:
            found.append(
                f"channel {label} excites only {own} of its {taps} taps; more of the same signal "
                f"will not help: use at most {count(own, 'tap')}, or a richer signal (noise-like)"
            )
    shared = prepared.columns - factor.rank - lost
    if shared > 0 and channels > 1:
        found.append(
            f"{count(shared, 'combination')} of channels cannot be told apart (a copy, a delayed "
            "or filtered copy of another): drop one of them, or vary them independently"
        )
    return found


def _line(label: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"{label:<11}", subsequent_indent=" " * 11,
        break_on_hyphens=False,
    )  # fmt: skip


def taps_sentence(report: Identifiability) -> str:
    """How many taps are determined, and which are not, by lag and channel."""
    mask = report.identifiable
    per_group = mask[..., :: max(1, mask.shape[-1] // report.problem.spec.groups)]
    if per_group.all():
        text = f"all {per_group.size} identifiable"
    elif not per_group.any():
        text = f"none of {per_group.size} identifiable"
    else:
        text = f"{int(per_group.sum())} of {per_group.size} identifiable"
        lags = report.problem.lags
        missing = []
        channels = per_group.shape[-2]
        for *k, c, g in np.argwhere(~per_group):
            lag = tuple(int(axis[i]) for axis, i in zip(lags, k, strict=True))
            where = str(lag[0]) if len(lag) == 1 else str(lag)
            missing.append(f"lag {where} of channel {g * channels + c}")
        shown = ", ".join(missing[:6]) + (
            f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        )
        text += f"; not {shown}"
    if report.mask_ambiguous:
        text = f"ambiguous: {text} where the tolerance cuts"
    if report.problem.bias:
        text += f"; bias {'' if report.bias_identifiable else 'not '}identifiable"
    return text


def report(report: Identifiability) -> str:
    """The whole report, as a terminal shows it."""
    problem = report.problem
    taps = " × ".join(map(str, problem.spec.kernel_size))
    per_group = problem.in_channels // problem.spec.groups
    unknowns = (
        f"{report.n_unknowns} per output channel ({taps} taps × {count(per_group, 'channel')}"
    )
    unknowns += ", 1 bias)" if problem.bias else ")"
    verdict = report.verdict
    if problem.spec.groups > 1:
        verdict += f" (group {report.worst_group}, the worst of {problem.spec.groups})"
    lines = [
        _line("data", repr(problem)),
        _line("verdict", f"{verdict}: {MEANING[report.verdict]}"),
        _line("equations", f"{report.n_equations} per output channel"),
        _line("unknowns", unknowns),
        _line("counting", report.counting),
    ]
    if report.verdict != "undecided":
        rank = f"{report.rank} of {report.n_unknowns - problem.bias}, nullity {report.nullity}"
        rank += " (bias projected out)" if problem.bias else ""
        condition = "infinite" if np.isinf(report.condition) else f"{report.condition:.3g}"
        lines += [
            _line("rank", rank),
            _line("condition", condition),
            _line("taps", taps_sentence(report)),
        ]
    lines.append(_line("method", report.method))
    lines += [_line("remedies" if i == 0 else "", text) for i, text in enumerate(report.remedies)]
    return "\n".join(lines)


def warning(report: Identifiability, answer: str) -> str:
    """What a solve warns: rank, unknowns, which of the many answers this is, a way out."""
    if report.verdict == "ambiguous":
        full = report.rank == report.n_unknowns - report.problem.bias
        cut = "with nothing truncated" if full else "truncated at the tolerance"
        answer = f"{answer}, {cut}"
    text = f"{report.verdict}: "
    if report.verdict != "undecided":
        text += f"rank {report.rank} of {report.n_unknowns - report.problem.bias} unknowns"
        text += " (bias aside)" if report.problem.bias else ""
    else:
        text += f"{report.n_unknowns} unknowns, rank not known"
    return f"{text}; this is {answer}. " + "; ".join(report.remedies)
