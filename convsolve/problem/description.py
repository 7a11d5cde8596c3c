"""The texts of a `Problem`: its summary, one line, and the rows that are used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..text import argument, count, line
from .kernel_space import KernelSpace
from .names import Names
from .rows import known_rows

# Width of the labels, names of channels or outputs that are listed, and letters of lags.
MARGIN, MAX_NAMES, MAX_LETTERS = 12, 6, 40


def summary(problem: Any) -> str:
    """Return the data and the unknowns in a few lines."""
    spec, names = problem.spec, problem._names
    wanted = f"find {taps(problem)} × {count(problem.n_channels // spec.groups, 'channel')} × "
    wanted += count(problem.n_outputs, "output")
    wanted += f" in {spec.groups} groups" if spec.groups > 1 else ""
    wanted += " and a bias per output" if problem.bias else ", no bias"
    of_x = count(problem.n_channels, "channel") + _listed(names.channels)
    of_y = count(problem.n_outputs, "output") + _listed(names.outputs) + _which(names)
    entries = [
        ("Problem", wanted),
        ("x", f"{_records(problem)}, {problem._dtype}, {of_x}"),
        ("y", of_y if problem._output is not None else f"not given ({of_y})"),
        ("Lags", _lags(problem)),
        *space_entries(problem._space, names, problem._lags[0]),
        ("Rows", f"{rows_sentence(problem)}. Unknowns: {problem.n_unknowns} per output"),
    ]
    if fitted := fitted_terms(problem):
        entries.append(("Adjusted", fitted))
    return "\n".join(line(label, words, MARGIN) for label, words in entries)


def data_line(problem: Any) -> str:
    """Return the data and the geometry, as far as the text of a solution does not have them."""
    words = [_records(problem), str(problem._dtype)]
    if problem._names.fs is not None:
        words.append(f"{problem._names.fs:g} Hz")
    words += _geometry(problem._geometry)
    return line("Data", ", ".join(words), MARGIN)


def sizes_sentence(problem: Any) -> str:
    """Return records, kernel and outputs in one line."""
    groups = f" in {problem.spec.groups} groups" if problem.spec.groups > 1 else ""
    space = problem._space
    extras = "" if space is None else f", {unknowns(space)}"
    extras += ", bias" * problem.bias
    extras += f", {fitted}" if (fitted := fitted_terms(problem)) else ""
    excluded = problem._kept.dropped
    extras += f", {count(excluded, 'row')} excluded" if excluded else ""
    return (
        f"{_records(problem)}: {taps(problem)} × {count(problem.n_channels, 'channel')} "
        f"→ {count(problem.n_outputs, 'output')}{_which(problem._names)}{groups}{extras}"
    )


# Condition number of a basis from which its coefficients are called unstable.
UNSTABLE = 1e4


def taps(problem: Any) -> str:
    """Return the number of lags."""
    sizes = " × ".join(map(str, problem.spec.kernel_size))
    return f"{sizes} lag{'s' * (sizes != '1')}"


def unknowns(space: KernelSpace) -> str:
    """Return the number of unknowns of the kernels of an output."""
    if not space.has_basis:
        return count(space.count, "tap")
    words = count(space.count, "coefficient")
    return words if space.rank == space.count else f"{words}, {space.rank} of them independent"


def space_entries(
    space: KernelSpace | None, names: Names, lags: np.ndarray
) -> list[tuple[str, str]]:
    """Return entries on the bases and windows of channels, for lags in kernel order."""
    if space is None:
        return []
    windows = not space.kept.all()
    by_words: dict[str, list[int]] = {}
    for c, own in enumerate(space.channels):
        words = "taps" if own.basis is None else repr(own.basis)
        words += f" at {_window_of(lags[own.kept], names)}" * windows
        by_words.setdefault(words, []).append(c)
    parts = [
        words if len(by_words) == 1 else f"{_channels(some, names)}: {words}"
        for words, some in by_words.items()
    ]
    parts[MAX_NAMES:] = ["…"] * (len(parts) > MAX_NAMES)
    found = [("Basis" if space.has_basis else "Windows", f"{'; '.join(parts)}. {unknowns(space)}")]
    doubts = coefficient_doubts(space, names)
    return [*found, ("", doubts)] if doubts else found


def _window_of(lags: np.ndarray, names: Names) -> str:
    """Return the lags of a channel, given in kernel order."""
    own = lags[::-1].tolist()
    words = names.lags(own)
    first, last = own[0], own[-1]
    return words if len(words) <= MAX_LETTERS else f"{len(own)} lags from {first} to {last}"


def _channels(some: list[int], names: Names) -> str:
    """Return the names of channels."""
    listed = [names.channel_name(c) for c in some[:MAX_NAMES]] + ["…"] * (len(some) > MAX_NAMES)
    return f"channel{'s' * (len(some) > 1)} {', '.join(listed)}"


def coefficient_doubts(space: KernelSpace, names: Names) -> str:
    """Return which coefficients depend on each other or are unstable; empty if none is."""

    def of_channel(c: int) -> str:
        return f" of {names.channel(c)}" * (len(space.channels) > 1)

    if space.rank < space.count:
        left = np.count_nonzero(~space.determined)
        return (
            f"the functions are dependent: the kernel is not affected, but {left} of "
            f"{space.count} coefficients are not determined"
        )
    worst = max(range(len(space.channels)), key=lambda c: space.channels[c].condition)
    condition = space.channels[worst].condition
    if condition < UNSTABLE:
        return ""
    return (
        f"the basis{of_channel(worst)} has condition number {condition:.2g}: its coefficients are "
        "unstable, the kernel is not"
    )


def rows_sentence(problem: Any) -> str:
    """Return the number of rows that are used, and why others are excluded."""
    rows, kept = problem.n_equations, problem._kept
    given = rows + kept.dropped
    parts = []
    if problem._geometry.edges:
        samples = sum(math.prod(problem._geometry.y_shape(n)) for n in problem._lengths)
        words = f"{rows} of {count(samples, 'sample')}"
        parts += [f"{samples - given} at the edges"] if samples > given else []
    else:
        words = count(rows, "row") if rows == given else f"{rows} of {count(given, 'row')}"
    parts += excluded_rows(problem)
    words += f"; excluded: {', '.join(parts)}" if parts else ""
    several = len(problem._by_mask) > 1
    return words + " (of the output with the fewest rows)" * several


def excluded_rows(problem: Any) -> list[str]:
    """Return the numbers of rows that are excluded by missing samples of x, and by the rest."""
    dropped = problem._kept.dropped
    if not dropped:
        return []
    missing = known_rows(problem._input, problem.spec, problem._kept.shapes)
    gaps = min(sum(int(np.count_nonzero(~flags)) for flags in missing or ()), dropped)
    words = [f"{gaps} with missing samples of x"] if gaps else []
    causes = ["missing y"] * (problem._missing == "drop") + ["the mask"]
    causes += ["a weight of 0"] * (problem._weights is not None)
    return words + ([f"{dropped - gaps} by {' or '.join(causes)}"] if dropped > gaps else [])


def adjusted(problem: Any) -> str:
    """Return excluded rows, weights and confounds; empty if there are none."""
    lost = rows_sentence(problem) if problem._kept.dropped else ""
    return ", ".join(filter(None, (lost, fitted_terms(problem))))


def _records(problem: Any) -> str:
    short = sum(not all(shape) for shape in problem._kept.shapes)
    return problem._input.describe() + (
        f" ({count(short, 'record')} too short to give a row)" if short else ""
    )


def _listed(names: tuple[str, ...] | None) -> str:
    """Return names after a colon, if there are any."""
    if names is None:
        return ""
    return ": " + ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")


def _which(names: Any) -> str:
    return f" ({names.which})" if names.which else ""


def _lags(problem: Any) -> str:
    """Return lags and edges, or the geometry of a layer."""
    spec, names = problem.spec, problem._names
    words = _geometry(problem._geometry)
    if problem._geometry.edges:
        lags = problem._geometry.bounds(problem._lengths[0])
        bounds = " × ".join(f"{a} to {b}" for a, b in lags)
        return ", ".join([f"{bounds} samples{names.window(*lags[0])}", *words])
    words = [argument("kernel_size", _plain(spec.kernel_size)), *words]
    return ", ".join([*words, f"{names.fs:g} Hz"] if names.fs is not None else words)


def _geometry(geometry: Any) -> list[str]:
    """Return the edges or the padding, and the stride and dilation if they are not one."""
    spec = geometry.spec
    words = [argument("edges", geometry.edges)]
    if not geometry.edges:
        words = [argument("padding", spec.padding)]
        words += [] if spec.lo is None else [argument("lo", _plain(spec.lo))]
    for name, value in (("stride", spec.stride), ("dilation", spec.dilation)):
        words += [argument(name, _plain(value))] if set(value) != {1} else []
    return words


def _plain(values: tuple[int, ...]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def fitted_terms(problem: Any) -> str:
    """Return the terms fitted to every record, and weights."""
    words, terms = [] if problem._weights is None else ["weighted"], problem._terms
    if terms.degree >= 0:
        drift = f" and a drift of degree {terms.degree}" if terms.degree else ""
        words.append(f"an intercept{drift} per record")
    if terms.columns is not None:
        words.append(f"{count(terms.columns.channels, 'confound')} per record")
    return ", ".join(words)
