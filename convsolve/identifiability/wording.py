"""The sentences of a report: what a verdict means, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from ..linalg.rank import EPS
from ..problem.description import excluded_rows, space_entries
from ..problem.description import unknowns as kernel_unknowns
from ..text import count, span
from .diagnosis import Diagnosis
from .null_space import MAX_VECTORS, sentences
from .suggestions import BASIS, RIDGE_CONDITION, proposed_ridge, proposes_basis
from .verdict import DETERMINED

# Channels, or lags of an image, that are named one by one.
MAX_NAMED = 6

MEANING = {
    "overdetermined": "the data determine one kernel, with rows to spare",
    "exactly determined": "the data determine one kernel, and no row is left to check it",
    "underdetermined": "fewer equations than unknowns, so many kernels fit equally well",
    "rank-deficient": "too few equations are independent, so many kernels fit equally well",
    "ambiguous": "the rank depends on rounding",
    "undecided": "a QR is too large to decide the rank",
}

METHODS = {
    "qr": "singular values, QR of the design matrix",
    "gram": "proved by Cholesky of the Gram matrix",
}


def method(diagnosis: Diagnosis) -> str:
    """Return a description of the method that decided rank and verdict."""
    if diagnosis.proved_iteratively:
        return "proved by conjugate gradients on a random vector"
    if diagnosis.decided:
        return METHODS[diagnosis.factor(diagnosis.worst_group).source]
    return "a QR is too large, and nothing smaller decides the rank"


def _per_group(diagnosis: Diagnosis, values: np.ndarray) -> np.ndarray:
    """Kernel-shaped ``values``, which outputs of a group share, as ``(*K, Cin/groups, groups)``."""
    return values[..., :: values.shape[-1] // diagnosis.problem.spec.groups]


def names(diagnosis: Diagnosis, taps: Sequence[Sequence[int]]) -> str:
    """Taps, each an index (*k, channel), by channel and lag."""
    lags, called = diagnosis.problem._lags, diagnosis.problem._names
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
    """Return the names of the taps of a kernel-shaped mask."""
    per_group = _per_group(diagnosis, mask)
    channels = per_group.shape[-2]
    taps = [(*k, g * channels + c) for *k, c, g in np.argwhere(per_group).tolist()]
    return names(diagnosis, taps)


def taps_sentence(diagnosis: Diagnosis) -> str:
    """How many taps are determined, and which are not, by lag and channel."""
    mask = _of_model(diagnosis, diagnosis._identifiable)
    if mask.all():
        text = f"all {mask.size} identifiable"
    elif not mask.any():
        text = f"none of {mask.size} identifiable"
    else:
        text = f"{int(mask.sum())} of {mask.size} identifiable; not "
        text += _named(diagnosis, ~diagnosis._identifiable & diagnosis._modelled)
    if diagnosis.mask_ambiguous:
        text = f"ambiguous: {text} where the tolerance cuts"
    if diagnosis.problem.bias:
        text += f"; bias {'' if diagnosis.bias_identifiable else 'not '}identifiable"
    return text


def determined_share(diagnosis: Diagnosis, alone: bool = False) -> str:
    """Return how many taps the data determine."""
    subject = "the data alone" if alone else "the data"
    if diagnosis.unique and diagnosis.has_basis:
        return f"{subject} determine {_coefficients(diagnosis)}"
    if diagnosis.unique:
        taps = diagnosis.columns * diagnosis.groups
        return f"{subject} determine " + (f"all {taps} taps" if taps > 1 else "the tap")
    if not diagnosis.decided:
        return f"whether {subject} determine the kernel was not decided"
    if diagnosis.columns > diagnosis.limits.spectrum_columns:
        return f"{subject} do not determine the kernel"
    mask = _of_model(diagnosis, diagnosis._identifiable)
    words = f"{subject} determine {int(mask.sum())} of {mask.size} taps"
    return f"{words} and {_coefficients(diagnosis)}" if diagnosis.has_basis else words


def _coefficients(diagnosis: Diagnosis) -> str:
    """Return how many coefficients the data determine."""
    known = diagnosis.determined_coefficients
    if known.all():
        return f"all {known.size} coefficients" if known.size > 1 else "the coefficient"
    words = f"{int(known.sum())} of {known.size} coefficients"
    return f"the kernel, but only {words}" if diagnosis.unique else words


def _of_model(diagnosis: Diagnosis, values: np.ndarray) -> np.ndarray:
    """Return kernel-shaped ``values``, which outputs of a group share, of the taps in windows."""
    found: np.ndarray = _per_group(diagnosis, values)[_per_group(diagnosis, diagnosis._modelled)]
    return found


def basis_sentences(diagnosis: Diagnosis) -> list[str]:
    """Return the bases and windows, which coefficients and which taps the data determine."""
    problem = diagnosis.problem
    found = [words for _, words in space_entries(problem._space, problem._names, problem._lags[0])]
    if not (diagnosis.has_basis and diagnosis.decided):
        return found
    found.append(f"the data determine {_coefficients(diagnosis)}")
    if (alone := diagnosis._basis_dependent) is None or not alone.any():
        return found
    mask = _of_model(diagnosis, alone)
    which = f"all {mask.size} taps"
    if not mask.all():
        which = f"{int(mask.sum())} of {mask.size} taps ({_named(diagnosis, alone)})"
    return [
        *found,
        f"the basis alone determines {which}: the data do not determine them without it",
    ]


def padding_sentence(diagnosis: Diagnosis) -> str:
    """Which taps rest on the assumption that x is zero outside the record; "" if none does."""
    mask = diagnosis._padding_dependent
    if mask is None:
        which = "which taps rest on the zeros outside the record"
        return f"{which} cannot be decided within the limits"
    if not mask.any():
        return ""
    which = "every tap" if mask.all() else _named(diagnosis, mask)
    return f"{which}: identifiable only because zeros are assumed outside the record"


def noise_sentence(diagnosis: Diagnosis) -> str:
    """Return the standard errors for unit white noise in y, and which taps are weak."""
    of_taps = errors_of_taps(diagnosis._noise_gain)
    finite = np.isfinite(of_taps)
    if not finite.any():
        return ""
    gains = gains_text(of_taps[finite], diagnosis.has_basis)
    which = "" if finite.all() else " for the identifiable taps"
    weak = weak_sentence(diagnosis)
    text = f"noise gain {gains}{which} (standard error per tap for unit white noise in y)"
    return f"{text}; {weak}" if weak else text


def errors_of_taps(errors: np.ndarray) -> np.ndarray:
    """Return errors without taps that are always zero, whose errors are NaN."""
    found: np.ndarray = errors[~np.isnan(errors)]
    return found


def gains_text(values: np.ndarray, basis: bool) -> str:
    """Return the smallest and the largest error of a tap, or the largest alone for a basis.

    Functions that are almost zero at a tap make its error almost zero.
    """
    return f"up to {values.max():.2g}" if basis else span(values.tolist(), ".2g")


def weak_sentence(diagnosis: Diagnosis) -> str:
    """Which taps have a high variance inflation, and a ridge that lowers it; "" if none."""
    weak = _of_model(diagnosis, diagnosis._weakly_determined)
    if not weak.any():
        return ""
    which = "all taps"
    if not weak.all():
        named = _named(diagnosis, diagnosis._weakly_determined)
        which = f"{int(weak.sum())} of {weak.size} taps ({named})"
    text = f"{which} are weakly determined: other taps have nearly the same effect"
    text += " (high variance inflation)"
    if diagnosis.unique and (ridge := proposed_ridge(diagnosis)):
        text += f"; ridge={ridge:.3g} brings the condition number to "
        text += f"{RIDGE_CONDITION:.0f}"
    if proposes_basis(diagnosis.problem):
        text += f"; for a smooth kernel, basis={BASIS!r} has fewer unknowns"
    return text


def precision_sentence(diagnosis: Diagnosis) -> str:
    """Describe the effect of the type of x on the verdict, if it is coarser than the arithmetic."""
    types, unit = diagnosis.problem._input.dtypes, diagnosis.problem._data_eps
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
        if free and diagnosis.has_basis:
            found.append(f"{free} independent changes of the kernel in its basis do not change y")
        elif free > MAX_VECTORS:
            found.append(
                f"{free} independent changes of the kernel do not change y; with fewer taps or "
                "channels they are listed"
            )
        elif free:
            flat = diagnosis._null_echelon[group].reshape(free, -1)
            basis = np.column_stack([flat, diagnosis.bias_along(flat, group)])
            found += sentences(basis, partial(_unknowns, diagnosis, group))
    return found


def _unknowns(diagnosis: Diagnosis, group: int, numbers: Sequence[int]) -> str:
    """Unknowns of a group, given by their numbers, in words; the last is the bias."""
    shape = diagnosis.problem.kernel_shape[:-1]
    columns = np.array([i for i in numbers if i < math.prod(shape)], int)
    taps = np.column_stack(np.unravel_index(columns, shape))
    taps[:, -1] += group * shape[-1]
    parts = [names(diagnosis, taps.tolist())] if len(taps) else []
    beside = "the bias" if diagnosis.problem._nuisance.confounds is None else "the confounds"
    return " and ".join(parts + [beside] * (len(taps) < len(numbers)))


def verdict(diagnosis: Diagnosis) -> str:
    """Return the verdict and its meaning."""
    groups = diagnosis.problem.spec.groups
    which = f" (group {diagnosis.worst_group}, the worst of {groups})" if groups > 1 else ""
    return f"{diagnosis.verdict}{which}: {MEANING[diagnosis.verdict]}"


def equations(diagnosis: Diagnosis) -> str:
    """Return the number of equations and of unknowns, and where counting misleads."""
    problem, m, p = diagnosis.problem, diagnosis.n_equations, diagnosis.n_unknowns
    lags = " × ".join(map(str, problem.spec.kernel_size))
    parts = [f"{lags} lag{'s' * (lags != '1')}"]
    channels = problem.n_channels // problem.spec.groups
    parts[0] += f" × {count(channels, 'channel')}" if channels > 1 else ""
    parts = parts if problem._space is None else [kernel_unknowns(problem._space)]
    parts += ["1 bias"] * problem.bias
    confounds = problem._nuisance.total - problem.bias
    parts += [count(confounds, "confound")] * bool(confounds)
    text = f"{m} per output for {count(p, 'unknown')} ({', '.join(parts)})"
    text += "".join(f"; rows excluded: {words}" for words in excluded_rows(problem))
    if m == p:
        text += "; exactly determined at best"
    if m >= p and diagnosis.verdict == "rank-deficient":
        rank = diagnosis.rank
        text += f"; {f'only {rank}' if rank else 'none'} of them {'are' if rank > 1 else 'is'} "
        text += "independent"
    return text


def rank(diagnosis: Diagnosis) -> str:
    """Return rank, condition number and the method that decided them."""
    if not (diagnosis.decided or diagnosis.proved_iteratively):
        return f"not decided: {method(diagnosis)}"
    text = f"{diagnosis.rank} of {diagnosis.n_unknowns}"
    text += f" ({nuisance(diagnosis)} included)" * bool(diagnosis.problem._nuisance.total)
    if not diagnosis.decided:
        return f"{text}, {method(diagnosis)}"
    if diagnosis.verdict == "ambiguous" and diagnosis.rank_band[0] < diagnosis.rank_band[1]:
        high, low = diagnosis.rank_band
        text += f", between {high} and {low} within the band around the tolerance"
    condition = diagnosis.condition_number
    words = "infinite" if np.isinf(condition) else f"{condition:.3g}"
    return f"{text}; condition number {words} ({method(diagnosis)})"


def nuisance(diagnosis: Diagnosis) -> str:
    """Return the names of the nuisance columns."""
    problem = diagnosis.problem
    words = ["bias"] * problem.bias
    return " and ".join(words + ["confounds"] * (problem._nuisance.total > problem.bias))


def open_groups(diagnosis: Diagnosis) -> str:
    """How many groups are not determined, the first of them, and where to read more."""
    words = diagnosis.group_verdicts
    found = [g for g, word in enumerate(words) if word not in DETERMINED]
    named = ", ".join(map(str, found[:MAX_NAMED]))
    named += f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    where = "identify(problem) or the solution's identifiability"
    return (
        f"{len(found)} of {len(words)} groups {'is' if len(found) == 1 else 'are'} not determined "
        f"(group{'s' * (len(found) > 1)} {named}); the report of {where} has suggestions"
    )


def warning(diagnosis: Diagnosis, answer: str, suggestions: str) -> str:
    """Return the warning of `solve`: rank, unknowns, the returned kernel, the suggestions."""
    if diagnosis.verdict == "ambiguous" and answer.startswith("this is"):
        full = diagnosis.rank == diagnosis.n_unknowns
        answer += ", with nothing truncated" if full else ", truncated at the tolerance"
    known = f"{diagnosis.n_unknowns} unknowns, rank not known"
    if diagnosis.decided:
        known = f"rank {diagnosis.rank} of {diagnosis.n_unknowns} unknowns"
    which = diagnosis.problem._names.which
    begin = f"output {which}: " * bool(which)
    return f"{begin}{diagnosis.verdict}: {known}; {answer}. {suggestions}"
