"""The sentences of a report: what a verdict means, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..leastsquares.analysis import prepare
from ..leastsquares.system import MAX_GRAM_BYTES, System
from ..linalg.factor import Factor
from ..linalg.rank import EPS
from ..text import count, line, ranges
from .null_space import MAX_VECTORS, sentences
from .remedies import ridge_words

if TYPE_CHECKING:
    from .report import Identifiability

# Channels, or lags of an image, that are named one by one.
MAX_NAMED = 6

MEANING = {
    "overdetermined": "one kernel fits best, with equations to spare",
    "exactly determined": "one kernel fits, and no equation is left over to check it",
    "underdetermined": "fewer equations than unknowns: many kernels fit equally well",
    "rank-deficient": "too few of the equations are independent: many kernels fit equally well",
    "ambiguous": "too close to call at this precision",
    "undecided": "too large to decide in the memory allowed",
}

METHODS = {
    "qr": "singular values of R, from a QR of the design matrix",
    "gram": "Cholesky of the Gram matrix, its full rank certified",
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
            f"Counting misleads here: {f'only {report.rank}' if report.rank else 'none'} of these "
            f"equations {'are' if report.rank > 1 else 'is'} independent"
        )
    if m < p:
        notes.append(
            "The kernels that fit form a flat valley of equally good answers, no local optima"
        )
    return ". ".join([text, *notes])


def method(report: Identifiability, factor: Factor | None) -> str:
    """How rank and verdict were found; None for a factor that memory forbids."""
    if factor is not None:
        return METHODS[factor.source]
    if report.unique:
        proof = "conjugate gradients on a random vector prove full rank"
        return f"{proof}; a QR does not fit in the memory allowed"
    return "a QR does not fit in the memory allowed, and nothing smaller decides the rank"


def beyond_memory(report: Identifiability) -> str:
    """Why nothing can be said that takes the factor of every group."""
    if report.unique:
        need = f"a factor of {_factor_bytes(report) / 2**30:.1f} GiB"
        return (
            f"full rank is proved, but condition, noise gains and the like take {need}, more than "
            "the memory allowed"
        )
    text = "undecided: the unknowns are too many for the memory allowed; "
    return text + "; ".join(report.remedies)


def no_resolution(report: Identifiability, ridge: float) -> str:
    """Why there is no resolution under a ridge: memory, or that the ridge proves no full rank."""
    size = _factor_bytes(report)
    if size > MAX_GRAM_BYTES and not prepare(report.problem).fits:
        need = f"a factor of {size / 2**30:.1f} GiB"
        return f"a resolution takes {need}, more than the memory allowed, whatever the ridge"
    return f"ridge={ridge!r} is too small to decide anything; give more"


def _factor_bytes(report: Identifiability) -> int:
    """Memory of the smallest factor of all groups, a Cholesky."""
    prepared = prepare(report.problem)
    return prepared.groups * prepared.columns**2 * 8


def _per_group(report: Identifiability, values: np.ndarray) -> np.ndarray:
    """Kernel-shaped ``values``, which outputs of a group share, as ``(*K, Cin/groups, groups)``."""
    return values[..., :: values.shape[-1] // report.problem.spec.groups]


def names(report: Identifiability, taps: Sequence[tuple[int, ...]]) -> str:
    """Taps, each an index (*k, channel), by channel and lag."""
    lags = report.problem.lags
    by_channel: dict[int, list[tuple[int, ...]]] = {}
    for *k, c in taps:
        lag = tuple(int(axis[i]) for axis, i in zip(lags, k, strict=True))
        by_channel.setdefault(c, []).append(lag)
    several = report.problem.in_channels > 1
    parts = []
    for c, found in by_channel.items():
        plural = "s" if len(found) > 1 else ""
        if len(lags) == 1:
            where = ranges([lag[0] for lag in found])
        else:
            where = ", ".join(map(str, found[:MAX_NAMED]))
            where += f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        parts.append((f"channel {c} " if several else "") + f"lag{plural} {where}")
    if len(parts) > MAX_NAMED:
        parts[MAX_NAMED:] = [f"{count(len(parts) - MAX_NAMED, 'more channel')}"]
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _named(report: Identifiability, mask: np.ndarray) -> str:
    """The taps of a kernel-shaped mask."""
    per_group = _per_group(report, mask)
    channels = per_group.shape[-2]
    taps = [(*k, g * channels + c) for *k, c, g in np.argwhere(per_group).tolist()]
    return names(report, sorted(taps, key=lambda tap: (tap[-1], tap)))


def taps_sentence(report: Identifiability) -> str:
    """How many taps are determined, and which are not, by lag and channel."""
    mask = _per_group(report, report.identifiable)
    if mask.all():
        text = f"all {mask.size} identifiable"
    elif not mask.any():
        text = f"none of {mask.size} identifiable"
    else:
        text = f"{int(mask.sum())} of {mask.size} identifiable; not "
        text += _named(report, ~report.identifiable)
    if report.mask_ambiguous:
        text = f"ambiguous: {text} where the tolerance cuts"
    if report.problem.bias:
        text += f"; bias {'' if report.bias_identifiable else 'not '}identifiable"
    return text


def padding_sentence(report: Identifiability) -> str:
    """Which taps rest on the assumption that x is zero outside the record; "" if none does."""
    if not report.padding_decided:
        return "which taps rest on the zeros outside the record is too large to decide"
    if not report.padding_only.any():
        return ""
    which = "every tap" if report.padding_only.all() else _named(report, report.padding_only)
    return f"{which}: identifiable only because zeros are assumed outside the record"


def noise_sentence(report: Identifiability) -> str:
    """How much noise in y moves the taps, and which of them are weakly determined."""
    gains = report.noise_gain[np.isfinite(report.noise_gain)]
    if not gains.size:
        return ""
    low, high = f"{gains.min():.2g}", f"{gains.max():.2g}"
    much = low if low == high else f"{low} to {high}"
    text = f"a unit of white noise in y moves an identifiable tap by {much}"
    weak = weak_sentence(report)
    return f"{text}; {weak}" if weak else text


def weak_sentence(report: Identifiability) -> str:
    """How many taps others can stand in for, and the ridge that mends it; "" if none."""
    weak = _per_group(report, report.weakly_determined)
    if not weak.any():
        return ""
    which = "all taps"
    if not weak.all():
        which = (
            f"{int(weak.sum())} of {weak.size} taps ({_named(report, report.weakly_determined)})"
        )
    text = f"{which} are weakly determined, other taps can stand in for them"
    if report.unique and (known := ridge_words(report)):
        text += f"; {known}"
    return text


def precision_sentence(report: Identifiability) -> str:
    """What the data's own type, where it is coarser than the arithmetic, means for the verdict."""
    types = {a.dtype.newbyteorder("=") for a in report.problem.input.arrays}
    dtype, unit = max(types, key=lambda t: (t.kind == "f", -t.itemsize)), report.problem.data_eps
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


def confounded(report: Identifiability) -> list[str]:
    """Sentences about the taps that the data cannot tell apart."""
    found = []
    for g, rank in enumerate(report.group_ranks):
        free = int(np.prod(report.problem.kernel_shape[:-1])) - rank
        if free > MAX_VECTORS:
            found.append(
                f"{free} independent changes of the kernel leave y as it is; fewer taps or "
                "channels make them few enough to name"
            )
            continue
        basis = report.null_echelon[g]
        shift = g * basis.shape[-1]
        at = [(*k, c + shift) for *k, c in np.ndindex(basis.shape[1:])]

        def several(numbers: Sequence[int], at: Sequence[tuple[int, ...]] = at) -> str:
            # One number more than there are taps is the bias.
            taps = sorted((at[i] for i in numbers if i < len(at)), key=lambda tap: (tap[-1], tap))
            parts = [names(report, taps)] if taps else []
            return " and ".join(parts + ["the bias"] * (len(at) in numbers))

        flat = basis.reshape(len(basis), len(at))
        found += sentences(np.column_stack([flat, _biases(report, flat, g)]), several)
    return found


def _biases(report: Identifiability, null: np.ndarray, group: int) -> np.ndarray:
    """What the bias does along null vectors (k, P) of the centred A: it takes their mean back."""
    system = System(prepare(report.problem))
    factor = system.factor(group)
    if factor is None or not len(null):
        return np.zeros(len(null))
    mean, rest, _, _ = system.prepared.centre
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        unit = np.ldexp(null, factor.exponents - factor.exponents[np.abs(null).argmax(1)][:, None])
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        taken = np.abs(unit @ system.bias_row(group)) > factor.null_threshold
        total = null @ np.ldexp(mean + rest, system.prepared.x_exponents)[group]
    return np.where(taken, -total, 0.0)


def report(report: Identifiability) -> str:
    """The whole report, as a terminal shows it."""
    problem = report.problem
    taps = " × ".join(map(str, problem.spec.kernel_size))
    per_group = problem.in_channels // problem.spec.groups
    unknowns = (
        f"{report.n_unknowns} per output channel ({taps} tap{'s' * (taps != '1')} × "
        f"{count(per_group, 'channel')}"
    )
    unknowns += ", 1 bias)" if problem.bias else ")"
    verdict = report.verdict
    if problem.spec.groups > 1:
        verdict += f" (group {report.worst_group}, the worst of {problem.spec.groups})"
    lines = [
        line("data", repr(problem)),
        line("verdict", f"{verdict}: {MEANING[report.verdict]}"),
        line("equations", f"{report.n_equations} per output channel"),
        line("unknowns", unknowns),
        line("counting", report.counting),
    ]
    if report.decided:
        rank = f"{report.rank} of {report.n_unknowns - problem.bias}, nullity {report.nullity}"
        if report.verdict == "ambiguous" and report.rank_band[0] < report.rank_band[1]:
            high, low = report.rank_band
            rank += f"; between {high} and {low} within the band around the tolerance"
        rank += " (bias projected out)" if problem.bias else ""
        condition = "infinite" if np.isinf(report.condition) else f"{report.condition:.3g}"
        lines += [
            line("rank", rank),
            line("condition", condition),
            line("taps", taps_sentence(report)),
        ]
        lines += [line("padding", text) for text in [padding_sentence(report)] if text]
        told = report.confounded
        lines += [line("confounded" if i == 0 else "", text) for i, text in enumerate(told)]
        lines += [line("noise", text) for text in [noise_sentence(report)] if text]
    lines += [line("precision", text) for text in [precision_sentence(report)] if text]
    lines.append(line("method", report.method))
    lines += [line("remedies" if i == 0 else "", text) for i, text in enumerate(report.remedies)]
    return "\n".join(lines)


def warning(report: Identifiability, answer: str) -> str:
    """What a solve warns: rank, unknowns, which of the many answers this is, a way out."""
    if report.verdict == "ambiguous":
        full = report.rank == report.n_unknowns - report.problem.bias
        cut = "with nothing truncated" if full else "truncated at the tolerance"
        answer = f"{answer}, {cut}"
    text = f"{report.verdict}: "
    if report.decided:
        text += f"rank {report.rank} of {report.n_unknowns - report.problem.bias} unknowns"
        text += " (bias aside)" if report.problem.bias else ""
    else:
        text += f"{report.n_unknowns} unknowns, rank not known"
    return f"{text}; this is {answer}. " + "; ".join(report.remedies)
