"""The sentences and facts of a report: what the data determine, and what would change it.

Taps that the data cannot separate are described too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..facts import PAGE, Fact
from ..linalg.rank import EPS
from ..problem.description import excluded_rows, space_entries
from ..text import count, some, span
from .suggestions import BASIS, MAX_VECTORS, RIDGE_CONDITION, proposed_ridge, proposes_basis
from .verdict import DETERMINED, MEANING

# Sets of collinear taps that are printed.
MAX_SETS = 3
# Largest number of terms in a combination.
MAX_TERMS = 4


def method(report: Any) -> str:
    """Return a description of the method that decided rank and verdict."""
    if report._proved_iteratively:
        return "proved by conjugate gradients on a random vector"
    if not report._decided:
        return "a QR is too large, and nothing smaller decides the rank"
    if report._worst_factor.source == "gram":
        return "proved by Cholesky of the Gram matrix"
    return "singular values, QR of the design matrix"


def too_large(report: Any) -> str:
    """Return why there is no rank, or why there are no values that need a factor."""
    excess = report._system.design.sizes.factor_excess
    proved = f"full rank is proved, but other values need a factor of {excess}"
    return proved if report.unique else "; ".join([report.verdict, *map(str, report.suggestions)])


def taps(report: Any, flags: np.ndarray) -> str:
    """Return the names of the taps with a flag (groups, P), by channel and lag."""
    problem, axes = report.problem, report.problem._axes
    *shape, channels = problem.kernel_shape[:-1]
    by_channel = flags.reshape(len(flags), -1, channels).swapaxes(1, 2).reshape(-1, *shape)
    along = tuple(range(1, by_channel.ndim))
    if axes[0].noun == "tap":  # in the order of the layer
        by_channel = np.flip(by_channel, along)
    parts = []
    for c in np.flatnonzero(by_channel.any(along)).tolist():
        at = np.nonzero(by_channel[c])
        lags = [axis.lags[i].tolist() for axis, i in zip(axes, at, strict=True)]
        where = axes[0].at(lags[0])
        if len(axes) > 1:
            several = [*map(str, zip(*lags, strict=True))]
            where = f"{axes[0].noun}{'s' * (len(several) > 1)} {some(several)}"
        parts.append(f"{problem._names.channel(c)} " * (problem.n_channels > 1) + where)
    return some(parts)


def unknowns(report: Any, group: int, numbers: Iterable[int]) -> str:
    """Return the names of unknowns of a group; the number after the taps is the bias."""
    flags = np.zeros((report.problem.spec.groups, report._modelled.size + 1), bool)
    flags[group, [*numbers]] = True
    parts = [taps(report, flags[:, :-1])] if flags[:, :-1].any() else []
    beside = "the bias" if report.problem._nuisance.confounds is None else "the confounds"
    return " and ".join(parts + [beside] * bool(flags[group, -1]))


def share(report: Any, flags: np.ndarray) -> str:
    """Return how many taps have a flag (groups, P), and which if not all have it."""
    own = flags[:, report._modelled]
    if own.all():
        return _all(own.size, "tap")
    return f"{own.sum()} of {own.size} taps ({taps(report, flags)})"


def _all(number: int, noun: str) -> str:
    return f"all {number} {noun}s" if number > 1 else f"the {noun}"


def determined_share(report: Any, alone: bool = False) -> str:
    """Return how many coefficients or taps the data determine."""
    begin = f"the data{' alone' * alone}"
    if not (report.unique or report._decided):
        return f"whether {begin} determine the kernel was not decided"
    if not report.unique and report._columns > report._limits.spectrum_columns:
        return f"{begin} do not determine the kernel"
    noun, known = "tap", report._identifiable[:, report._modelled]
    if report._has_basis:
        noun, known = "coefficient", report._determined_coefficients
    if known.all():
        return f"{begin} determine {_all(known.size, noun)}"
    return f"{begin} determine {known.sum()} of {count(known.size, noun)}"


def taps_sentence(report: Any) -> str:
    """Return how many taps are determined, or which are not."""
    known = report._identifiable
    text = f"all {known[:, report._modelled].size} identifiable"
    if not known.all():
        text = f"not identifiable: {share(report, ~known)}"
    text += "; which ones depends on the tolerance" * report._mask_ambiguous
    if report.problem.bias:
        text += f"; bias {'' if report.bias_identifiable else 'not '}identifiable"
    return text


def noise_sentence(report: Any) -> str:
    """Return the standard errors for unit white noise in y, and which taps are weak."""
    gains = report._noise_gain[np.isfinite(report._noise_gain)]
    if not gains.size:
        return ""
    # Functions that are almost zero at a tap make its error almost zero.
    sizes = f"up to {gains.max():.2g}" if report._has_basis else span(gains.tolist(), ".2g")
    text = f"noise gain {sizes} (standard error per tap for unit white noise in y)"
    weak = weak_sentence(report)
    return f"{text}; {weak}" if weak else text


def weak_sentence(report: Any) -> str:
    """Return which taps have a high variance inflation, and what lowers it; empty if none."""
    if not report._weakly_determined.any():
        return ""
    text = f"{share(report, report._weakly_determined)} weakly determined: other taps have nearly "
    text += "the same effect"
    if report.unique and (ridge := proposed_ridge(report)):
        text += f"; ridge={ridge:.3g} brings the condition number to {RIDGE_CONDITION:.0f}"
    smooth = f"; for a smooth kernel, basis={BASIS!r} has fewer unknowns"
    return text + smooth * proposes_basis(report.problem)


def precision_sentence(report: Any) -> str:
    """Return the effect of the type of x, if it is coarser than the arithmetic; else empty."""
    types, unit = report.problem._input.dtypes, report.problem._data_eps
    dtype = max(types, key=lambda t: (t.kind == "f", -t.itemsize))
    if unit > EPS:
        return f"x is {dtype}: its rounding, {unit:.1g} of its size, is part of the data"
    return ""


def verdict(report: Any) -> str:
    """Return the verdict and its meaning."""
    words, g = report._group_verdicts, report._worst_group
    bad = sum(word not in DETERMINED for word in words)
    which = f" (group {g}, the worst of {len(words)}; {bad} not determined)" * (len(words) > 1)
    return f"{report.verdict}{which}: {MEANING[report.verdict]}"


def equations(report: Any) -> str:
    """Return the number of equations and of unknowns."""
    problem, axes = report.problem, report.problem._axes
    lags, each = " × ".join(str(len(a.lags)) for a in axes), problem.kernel_shape[-2]
    parts = [f"{lags} {axes[0].noun}{'s' * (lags != '1')}"]
    parts[0] += f" × {count(each, 'channel')}" * (each > 1)
    if problem._space is not None:
        parts = [count(report._columns, "coefficient" if report._has_basis else "tap")]
    others = problem._nuisance.total - problem.bias
    parts += ["1 bias"] * problem.bias + [count(others, "confound")] * bool(others)
    text = f"{report.n_equations} per output for {count(report.n_unknowns, 'unknown')}"
    text += f" ({', '.join(parts)})"
    return text + "".join(f"; rows excluded: {words}" for words in excluded_rows(problem))


def rank(report: Any) -> str:
    """Return rank, condition number and the method that decided them."""
    if not (report._decided or report.unique):
        return f"not decided: {method(report)}"
    others = nuisance(report)
    text = f"{report.rank} of {report.n_unknowns}" + f" ({others} included)" * bool(others)
    if not report._decided:
        return f"{text}, {method(report)}"
    condition = report.condition_number
    words = f"{condition:.3g}" if np.isfinite(condition) else "infinite"
    return f"{text}; condition number {words} ({method(report)})"


def nuisance(report: Any) -> str:
    """Return the names of the nuisance columns."""
    problem = report.problem
    words = ["bias"] * problem.bias
    return " and ".join(words + ["confounds"] * (problem._nuisance.total > problem.bias))


def warning(report: Any, answer: str) -> str:
    """Return the warning of `solve`: rank, unknowns, the returned kernel, the suggestions."""
    known = f"{report.n_unknowns} unknowns, rank not known"
    if report._decided:
        known = f"rank {report.rank} of {report.n_unknowns} unknowns"
    which = report.problem._names.which
    begin = f"output {which}: " * bool(which) + verdict(report).partition(":")[0]
    return f"{begin}: {known}; {answer}. {'; '.join(map(str, report.suggestions))}"


def known_facts(report: Any) -> list[Fact]:
    """Return the facts that need no computation."""
    known = Fact("", "Verdict", report._known_verdict or "not computed yet")
    return [known, Fact("", "Data", repr(report.problem), shown=PAGE)]


def facts(report: Any) -> list[Fact]:
    """Return the report as facts, most important first."""
    advice = [*map(str, report.suggestions)]
    numbered = [f"{i}. {text}" for i, text in enumerate(advice, 1)]
    found = [Fact("", "Verdict", verdict(report))]
    if report._decided:
        found += _facts_of_taps(report)
    found.append(Fact("", "Suggestions", numbered if len(advice) > 1 else advice))
    found.append(Fact("equations", "Equations", equations(report)))
    if report._decided:
        found.append(Fact("noise", "Precision", noise_sentence(report)))
    return [*found, Fact("", "Data", precision_sentence(report)), Fact("", "Rank", rank(report))]


def _facts_of_taps(report: Any) -> list[Fact]:
    problem, sets = report.problem, report.collinear
    given = problem._space, problem._names, problem._lags[0]
    of_space = [words for _, words in space_entries(*given)]
    if report._has_basis:
        of_space.append(determined_share(report))
        if (alone := report._basis_dependent).any():
            of_space[-1] += f"; the basis alone determines {share(report, alone)}"
    found = [Fact("", "Taps", taps_sentence(report))]
    found.append(Fact("", "Basis" if report._has_basis else "Windows", of_space))
    if (padded := report._padding_dependent).any():
        text = "identifiable only because x is taken as zero outside the record"
        found.append(Fact("", "Padding", f"{text}: {share(report, padded)}"))
    more = [f"and {len(sets) - MAX_SETS} more sets of taps"] * (len(sets) > MAX_SETS)
    return [*found, Fact("collinear", "Collinear", [*sets[:MAX_SETS], *more], sets)]


def values(report: Any) -> dict[str, Any]:
    """Return the values of `to_dict`, which texts do not need."""
    problem, names = report.problem, "n_equations n_unknowns"
    found = report._verdict_entries()
    found |= {"method": method(report), "worst_group": report._worst_group}
    found |= {"lags": [axis[::-1] for axis in problem._lags], **problem._names.to_dict()}
    if report._has_basis:
        found["coefficient_names"] = problem.coefficient_names
        found["basis_rank"] = problem._space.rank
    if report._decided:
        names += " rank"
        found["group_ranks"] = [rank + problem._nuisance.total for rank in report._ranks]
        if report._has_basis:
            found["identifiable_coefficients"] = report._determined_coefficients
        # More unknowns take a spectrum, which takes much longer than the solution.
        if report.n_unknowns <= report._limits.spectrum_columns:
            names += " condition_number singular_values identifiable bias_identifiable noise_gain"
            names += " padding_dependent weakly_determined"
            found |= {"rank_band": report._rank_band, "mask_ambiguous": report._mask_ambiguous}
            found["tolerance"] = report._worst_factor.band.tolerance
    return found | {name: getattr(report, name) for name in names.split()}


def echelon(report: Any, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a reduced echelon basis (k, P) of the null space of a group, and its biases (k,).

    Each vector is 1 at its own pivot tap, and 0 at the pivots of the others. A QR with column
    pivoting selects the pivots, so that no other entry is large. The bias of a vector compensates
    the means of the columns.
    """
    from scipy.linalg import qr

    # The null vectors of columns scaled to norm one, for which rounding is known.
    null, exponents = report._scaled_null(group)
    rounding = report._factors[group].null_threshold
    pivots = np.sort(qr(null.T, mode="r", pivoting=True)[1][: null.shape[1]])
    basis = np.linalg.solve(null[pivots].T, null.T)
    basis[np.abs(basis) <= rounding] = 0.0
    basis[:, pivots] = np.eye(len(pivots))
    mean = np.ldexp(report._means[group], -exponents)
    shift = -basis @ mean
    size = np.linalg.norm(basis, axis=1) * max(1.0, np.linalg.norm(mean))
    shift[np.abs(shift) <= rounding * size] = 0.0
    unit = exponents[pivots]
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(basis, unit[:, None] - exponents), np.ldexp(shift, unit)


def inseparable(report: Any) -> Iterator[str]:
    """Yield which taps cannot be separated, and what of them is determined."""
    for g, rank in enumerate(report._ranks):
        free = report._columns - rank
        if free and (report._has_basis or free > MAX_VECTORS):
            yield f"{count(free, 'independent change')} of the kernel without effect on y"
        elif free:
            # The squares of larger entries would leave float64.
            basis = np.clip(np.column_stack(echelon(report, g)), -1e150, 1e150)
            parts = _components(basis)
            if unseen := [int(taps[0]) for _, taps in parts if len(taps) == 1]:
                yield f"y does not depend on {unknowns(report, g, unseen)}"
            yield from (_collinear(report, g, *pair) for pair in parts if len(pair[1]) > 1)


def _components(basis: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the parts of a basis that share no tap, each with its taps, by their first taps."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    support = csr_array(basis != 0, dtype=float)
    parts, label = connected_components(support @ support.T, directed=False)
    rows = [basis[label == part] for part in range(parts)]
    found = [(part[:, part.any(0)], np.flatnonzero(part.any(0))) for part in rows]
    return sorted(found, key=lambda pair: int(pair[1][0]))


def _collinear(report: Any, group: int, part: np.ndarray, taps: np.ndarray) -> str:
    """Return what the data determine of the taps of one part."""
    (free, size), named = part.shape, unknowns(report, group, taps.tolist())
    if size - free > 1:
        text = f"only {size - free} combinations of these {size} are determined"
        short = next((v for v in part if np.count_nonzero(v) <= MAX_TERMS), None)
        if short is not None:
            change = _combination(report, group, short, taps.tolist())
            text += f"; a multiple of {change} changes nothing"
        return f"{named} are collinear: {text}"
    # The one combination that the data determine is orthogonal to every null vector.
    seen = np.linalg.svd(part / np.linalg.norm(part, axis=1, keepdims=True))[2][-1]
    # Not half of the largest, which for a doubled channel would leave the choice to rounding.
    seen = seen / seen[np.argmax(np.abs(seen) > 0.51 * np.abs(seen).max())]
    if np.allclose(seen, 1.0, rtol=1e-6):
        what = "their sum"
    elif size == 2 and np.isclose(seen[1], -1.0, rtol=1e-6):
        what = "their difference"
    elif size > MAX_TERMS or np.abs(seen).min() < 1e-3 * np.abs(seen).max():
        what = "one combination of them"
    else:
        what = _combination(report, group, seen, taps.tolist())
    return f"{named} are collinear: only {what} is determined"


def _combination(report: Any, group: int, weights: np.ndarray, taps: Sequence[int]) -> str:
    """Return a linear combination as a text, for example ``2·(lag 0) − (lag 1)``."""
    text = ""
    for weight, tap in zip(weights, taps, strict=True):
        if weight:
            sign = "−" if weight < 0 else "+"
            size = "" if np.isclose(abs(weight), 1.0, rtol=1e-6) else f"{abs(weight):.3g}·"
            begin = f" {sign} " if text else sign.strip("+")
            text += f"{begin}{size}({unknowns(report, group, [tap])})"
    return text
