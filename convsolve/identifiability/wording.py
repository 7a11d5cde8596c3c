"""The sentences of a report: what a verdict means, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..linalg.rank import EPS
from ..text import count
from .diagnosis import Diagnosis
from .null_space import MAX_VECTORS, sentences
from .suggestions import RIDGE_CONDITION, proposed_ridge
from .verdict import DETERMINED

# Channels, or lags of an image, that are named one by one.
MAX_NAMED = 6

MEANING = {
    "overdetermined": "one kernel fits best, with equations to spare",
    "exactly determined": "one kernel fits, and no equation is left over to check it",
    "underdetermined": "fewer equations than unknowns: many kernels fit equally well",
    "rank-deficient": "too few of the equations are independent: many kernels fit equally well",
    "ambiguous": "too close to call at this precision",
    "undecided": "the rank cannot be decided within the memory limit",
}

METHODS = {
    "qr": "singular values of R, from a QR of the design matrix",
    "gram": "Cholesky of the Gram matrix, its full rank certified",
}


def counting(diagnosis: Diagnosis) -> str:
    """Compare the number of equations with that of unknowns, and report if this misleads."""
    m, p = diagnosis.n_equations, diagnosis.n_unknowns
    relation = "fewer than" if m < p else "as many as" if m == p else "more than"
    text = f"{count(m, 'equation')} for {count(p, 'unknown')} per output channel: {relation} needed"
    if m == p:
        text += ", so exactly determined at best, not overdetermined"
    notes = []
    outputs = diagnosis.problem.n_outputs // diagnosis.problem.spec.groups
    if outputs > 1:
        notes.append(
            f"Every output channel has its own kernel and its own {count(m, 'equation')}, so "
            f"{outputs} outputs never make a kernel less determined than one"
        )
    if m >= p and diagnosis.verdict == "rank-deficient":
        rank = diagnosis.rank
        notes.append(
            f"Counting misleads here: {f'only {rank}' if rank else 'none'} of these equations "
            f"{'are' if rank > 1 else 'is'} independent"
        )
    if m < p:
        notes.append(
            "The kernels that fit form a flat valley of equally good answers, no local optima"
        )
    return ". ".join([text, *notes])


def method(diagnosis: Diagnosis) -> str:
    """Return a description of the method that decided rank and verdict."""
    if diagnosis.proved_iteratively:
        return "conjugate gradients on a random vector prove full rank"
    if diagnosis.decided:
        return METHODS[diagnosis.factor(diagnosis.worst_group).source]
    return "a QR exceeds the memory limit, and nothing smaller decides the rank"


def _per_group(diagnosis: Diagnosis, values: np.ndarray) -> np.ndarray:
    """Kernel-shaped ``values``, which outputs of a group share, as ``(*K, Cin/groups, groups)``."""
    return values[..., :: values.shape[-1] // diagnosis.problem.spec.groups]


def names(diagnosis: Diagnosis, taps: Sequence[Sequence[int]]) -> str:
    """Taps, each an index (*k, channel), by channel and lag."""
    lags, called = diagnosis.problem.lags, diagnosis.problem.names
    by_channel: dict[int, list[tuple[int, ...]]] = {}
    for *k, c in sorted(taps, key=lambda tap: (tap[-1], tap)):
        lag = tuple(int(axis[i]) for axis, i in zip(lags, k, strict=True))
        by_channel.setdefault(c, []).append(lag)
    several = diagnosis.problem.n_channels > 1
    parts = []
    for c, found in by_channel.items():
        if len(lags) == 1:
            where = called.lags([lag[0] for lag in found])
        else:
            where = f"lag{'s' * (len(found) > 1)} " + ", ".join(map(str, found[:MAX_NAMED]))
            where += f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        parts.append((f"{called.channel(c)} " if several else "") + where)
    if len(parts) > MAX_NAMED:
        parts[MAX_NAMED:] = [count(len(parts) - MAX_NAMED, "more channel")]
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _named(diagnosis: Diagnosis, mask: np.ndarray) -> str:
    """The taps of a kernel-shaped mask."""
    per_group = _per_group(diagnosis, mask)
    channels = per_group.shape[-2]
    taps = [(*k, g * channels + c) for *k, c, g in np.argwhere(per_group).tolist()]
    return names(diagnosis, taps)


def taps_sentence(diagnosis: Diagnosis) -> str:
    """How many taps are determined, and which are not, by lag and channel."""
    mask = _per_group(diagnosis, diagnosis._identifiable)
    if mask.all():
        text = f"all {mask.size} identifiable"
    elif not mask.any():
        text = f"none of {mask.size} identifiable"
    else:
        text = f"{int(mask.sum())} of {mask.size} identifiable; not "
        text += _named(diagnosis, ~diagnosis._identifiable)
    if diagnosis.mask_ambiguous:
        text = f"ambiguous: {text} where the tolerance cuts"
    if diagnosis.problem.bias:
        text += f"; bias {'' if diagnosis.bias_identifiable else 'not '}identifiable"
    return text


def padding_sentence(diagnosis: Diagnosis) -> str:
    """Which taps rest on the assumption that x is zero outside the record; "" if none does."""
    mask = diagnosis._padding_dependent
    if mask is None:
        which = "which taps rest on the zeros outside the record"
        return f"{which} cannot be decided within the memory limit"
    if not mask.any():
        return ""
    which = "every tap" if mask.all() else _named(diagnosis, mask)
    return f"{which}: identifiable only because zeros are assumed outside the record"


def noise_sentence(diagnosis: Diagnosis) -> str:
    """The standard errors that noise in y makes, and which taps are weakly determined."""
    finite = np.isfinite(diagnosis._noise_gain)
    if not finite.any():
        return ""
    gains = diagnosis._noise_gain[finite]
    low, high = f"{gains.min():.2g}", f"{gains.max():.2g}"
    which = "a tap" if finite.all() else "an identifiable tap"
    text = f"standard error of {which} per unit white noise in y (noise gain): {low}"
    text += f" to {high}" * (low != high)
    weak = weak_sentence(diagnosis)
    return f"{text}; {weak}" if weak else text


def weak_sentence(diagnosis: Diagnosis) -> str:
    """Which taps have a high variance inflation, and a ridge that lowers it; "" if none."""
    weak = _per_group(diagnosis, diagnosis._weakly_determined)
    if not weak.any():
        return ""
    which = "all taps"
    if not weak.all():
        named = _named(diagnosis, diagnosis._weakly_determined)
        which = f"{int(weak.sum())} of {weak.size} taps ({named})"
    text = f"{which} are weakly determined: other taps can stand in for them"
    text += " (high variance inflation)"
    if diagnosis.unique and (ridge := proposed_ridge(diagnosis)):
        text += f"; a ridge of {ridge:.3g} brings the condition to {RIDGE_CONDITION:.0f}"
    return text


def precision_sentence(diagnosis: Diagnosis) -> str:
    """What the data's own type, where it is coarser than the arithmetic, means for the verdict."""
    types, unit = diagnosis.problem.input.dtypes, diagnosis.problem.data_eps
    dtype = max(types, key=lambda t: (t.kind == "f", -t.itemsize))
    if unit > EPS:
        return (
            f"x is {dtype}: its own rounding, {unit:.1g} of its size, is part of the data; the "
            "arithmetic is float64"
        )
    if dtype.kind in "iu" and dtype.itemsize < 8:
        return (
            f"x is {dtype}, taken as exact: in readings of an instrument, what is finer than one "
            "count is rounding"
        )
    return ""


def collinear(diagnosis: Diagnosis) -> list[str]:
    """Return sentences on indistinguishable taps, and on the combinations that are determined."""
    found = []
    for group, rank in enumerate(diagnosis.kernel_ranks):
        free = diagnosis.columns - rank
        if free > MAX_VECTORS:
            found.append(
                f"{free} independent changes of the kernel leave y as it is; fewer taps or "
                "channels make them few enough to name"
            )
        elif free:
            flat = diagnosis._null_echelon[group].reshape(free, diagnosis.columns)
            basis = np.column_stack([flat, diagnosis.bias_along(flat, group)])
            found += sentences(basis, partial(_unknowns, diagnosis, group))
    return found


def _unknowns(diagnosis: Diagnosis, group: int, numbers: Sequence[int]) -> str:
    """Unknowns of a group, given by their numbers, in words; the last is the bias."""
    shape = diagnosis.problem.kernel_shape[:-1]
    columns = np.array([i for i in numbers if i < diagnosis.columns], int)
    taps = np.column_stack(np.unravel_index(columns, shape))
    taps[:, -1] += group * shape[-1]
    parts = [names(diagnosis, taps.tolist())] if len(taps) else []
    beside = "the bias" if diagnosis.problem.nuisance.confounds is None else "the confounds"
    return " and ".join(parts + [beside] * (len(taps) < len(numbers)))


def sizes(diagnosis: Diagnosis) -> list[tuple[str, list[str]]]:
    """The first entries of a report, label and sentences: data, verdict, equations and unknowns."""
    problem, verdict = diagnosis.problem, diagnosis.verdict
    taps = " × ".join(map(str, problem.spec.kernel_size))
    channels = count(problem.n_channels // problem.spec.groups, "channel")
    unknowns = f"{taps} tap{'s' * (taps != '1')} × {channels}{', 1 bias' * problem.bias}"
    confounds = problem.nuisance.total - problem.bias
    unknowns += f", {count(confounds, 'confound')}" * bool(confounds)
    which = ""
    if problem.spec.groups > 1:
        which = f" (group {diagnosis.worst_group}, the worst of {problem.spec.groups})"
    return [
        ("data", [repr(problem)]),
        ("verdict", [f"{verdict}{which}: {MEANING[verdict]}"]),
        ("equations", [f"{diagnosis.n_equations} per output channel"]),
        ("unknowns", [f"{diagnosis.n_unknowns} per output channel ({unknowns})"]),
    ]


def _nuisance(diagnosis: Diagnosis) -> str:
    """Return the names of the nuisance columns."""
    problem = diagnosis.problem
    words = ["bias"] * problem.bias
    return " and ".join(words + ["confounds"] * (problem.nuisance.total > problem.bias))


def ranks(diagnosis: Diagnosis) -> list[tuple[str, list[str]]]:
    """The entries of a report that take a factor: rank, condition, and the taps determined."""
    rank = f"{diagnosis.rank} of {diagnosis.n_unknowns}, nullity {diagnosis.nullity}"
    if diagnosis.verdict == "ambiguous" and diagnosis.rank_band[0] < diagnosis.rank_band[1]:
        high, low = diagnosis.rank_band
        rank += f"; between {high} and {low} within the band around the tolerance"
    rank += f" ({_nuisance(diagnosis)} included)" * bool(diagnosis.problem.nuisance.total)
    infinite = np.isinf(diagnosis.condition_number)
    return [
        ("rank", [rank]),
        ("condition", ["infinite" if infinite else f"{diagnosis.condition_number:.3g}"]),
        ("taps", [taps_sentence(diagnosis)]),
        ("padding", [padding_sentence(diagnosis)]),
    ]


def open_groups(diagnosis: Diagnosis) -> str:
    """How many groups are not determined, the first of them, and where to read more."""
    words = diagnosis.group_verdicts
    found = [g for g, word in enumerate(words) if word not in DETERMINED]
    named = ", ".join(map(str, found[:MAX_NAMED]))
    named += f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return (
        f"{len(found)} of {len(words)} groups {'is' if len(found) == 1 else 'are'} not determined "
        f"(group{'s' * (len(found) > 1)} {named}); the report, identify(problem) or the "
        "solution's identifiability, has suggestions"
    )


def warning(diagnosis: Diagnosis, answer: str, suggestions: str) -> str:
    """What `solve` warns: rank, unknowns, which of the many answers this is, the suggestions."""
    if diagnosis.verdict == "ambiguous":
        full = diagnosis.rank == diagnosis.n_unknowns
        answer += ", with nothing truncated" if full else ", truncated at the tolerance"
    known = f"{diagnosis.n_unknowns} unknowns, rank not known"
    if diagnosis.decided:
        known = f"rank {diagnosis.rank} of {diagnosis.n_unknowns} unknowns"
    which = diagnosis.problem.names.which
    begin = f"output {which}: " * bool(which)
    return f"{begin}{diagnosis.verdict}: {known}; this is {answer}. {suggestions}"
