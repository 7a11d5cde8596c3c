"""The texts of a `Problem`: its summary, one line, and the rows that are used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..text import argument, count, line, some
from .kernel_space import KernelSpace
from .names import Names
from .rows import known_rows

# Width of the labels.
MARGIN = 12
# Condition number of a basis from which its coefficients are called unstable.
UNSTABLE = 1e4


def summary(problem: Any) -> str:
    """Return the data and the unknowns in a few lines."""
    names, outputs = problem._names, count(problem.n_outputs, "output")
    kernel = _kernel(problem, problem.n_channels // problem.spec.groups)
    bias = " and a bias per output" if problem.bias else ", no bias"
    of_x, of_y = ("" if n is None else f": {some(n)}" for n in (names.channels, names.outputs))
    of_y = f"{outputs}{of_y}{_which(problem)}"
    channels = count(problem.n_channels, "channel")
    entries = [
        ("Problem", f"find {kernel} × {outputs}{_groups(problem)}{bias}"),
        ("x", f"{_records(problem)}, {problem._dtype}, {channels}{of_x}"),
        ("y", of_y if problem._output is not None else f"not given ({of_y})"),
        ("Lags", _lags(problem)),
        *space_entries(problem._space, names, problem._lags[0]),
        ("Rows", f"{rows_sentence(problem)}. Unknowns: {problem.n_unknowns} per output"),
        ("Adjusted", fitted_terms(problem)),
    ]
    return "\n".join(line(label, words, MARGIN) for label, words in entries if words)


def sizes_sentence(problem: Any) -> str:
    """Return records, kernel and outputs in one line."""
    space, lost = problem._space, problem._kept.dropped
    more = ["" if space is None else unknowns(space), "bias" * problem.bias, fitted_terms(problem)]
    more.append(f"{count(lost, 'row')} excluded" if lost else "")
    outputs = f"{count(problem.n_outputs, 'output')}{_which(problem)}{_groups(problem)}"
    words = f"{_records(problem)}: {_kernel(problem, problem.n_channels)} → {outputs}"
    return ", ".join([words, *filter(None, more)])


def unknowns(space: KernelSpace) -> str:
    """Return the number of unknowns of the kernels of an output."""
    words = count(space.count, "coefficient" if space.has_functions else "tap")
    return words if space.rank == space.count else f"{words}, {space.rank} of them independent"


def space_entries(
    space: KernelSpace | None, names: Names, lags: np.ndarray
) -> list[tuple[str, str]]:
    """Return entries on the bases and windows of channels, for lags in kernel order."""
    if space is None:
        return []
    by_words: dict[str, list[str]] = {}
    for c, own in enumerate(space.channels):
        words = "taps" if own.functions is None else repr(own.functions)
        if not space.kept.all():
            words += f" at {names.lags(lags[own.kept][::-1].tolist())}"
        by_words.setdefault(words, []).append(names.channel_name(c))
    parts = [f"channel{'s'[: len(c) - 1]} {some(c)}: {words}" for words, c in by_words.items()]
    parts = [*by_words] if len(parts) == 1 else parts
    words = f"{'; '.join(parts)}. {unknowns(space)}"
    found = [("Basis" if space.has_functions else "Windows", words)]
    condition = max(own.condition for own in space.channels)
    if space.rank < space.count:
        left = f"{np.count_nonzero(~space.determined)} of {space.count} coefficients are not"
        words = f"the functions are dependent: the kernel is not affected, but {left} determined"
        return [*found, ("", words)]
    words = f"the basis has condition number {condition:.2g}: its coefficients are unstable, the"
    return [*found, ("", f"{words} kernel is not")] if condition >= UNSTABLE else found


def rows_sentence(problem: Any) -> str:
    """Return the number of rows that are used, and why others are excluded."""
    rows, geometry = problem.n_equations, problem._geometry
    given, noun = rows + problem._kept.dropped, "row"
    samples = given
    if geometry.edges:
        samples, noun = sum(math.prod(geometry.y_shape(n)) for n in problem._lengths), "sample"
    parts = [f"{samples - given} at the edges"] * (samples > given) + excluded_rows(problem)
    plain = noun == "row" and rows == given
    words = count(rows, "row") if plain else f"{rows} of {count(samples, noun)}"
    words += f"; excluded: {', '.join(parts)}" if parts else ""
    return words + " (of the output with the fewest rows)" * (len(problem._by_mask) > 1)


def excluded_rows(problem: Any) -> list[str]:
    """Return the numbers of rows that are excluded by missing samples of x, and by the rest."""
    dropped = problem._kept.dropped
    missing = known_rows(problem._input, problem.spec, problem._kept.shapes) if dropped else None
    gaps = min(sum(int(np.count_nonzero(~flags)) for flags in missing or ()), dropped)
    causes = ["missing y"] * (problem._missing == "drop") + ["the mask"]
    causes += ["a weight of 0"] * (problem._weights is not None)
    rest = f"{dropped - gaps} by {' or '.join(causes)}"
    return [f"{gaps} with missing samples of x"] * (gaps > 0) + [rest] * (dropped > gaps)


def adjusted(problem: Any) -> str:
    """Return excluded rows, weights and confounds; empty if there are none."""
    lost = rows_sentence(problem) if problem._kept.dropped else ""
    return ", ".join(filter(None, (lost, fitted_terms(problem))))


def fitted_terms(problem: Any) -> str:
    """Return the terms fitted to every record, and weights."""
    words, (degree, columns) = ["weighted"] * (problem._weights is not None), problem._terms
    drift = f" and a drift of degree {degree}" if degree > 0 else ""
    words += [f"an intercept{drift} per record"] * (degree >= 0)
    if columns is not None:
        words.append(f"{count(columns.channels, 'confound')} per record")
    return ", ".join(words)


def _records(problem: Any) -> str:
    short = sum(not all(shape) for shape in problem._kept.shapes)
    words = f" ({count(short, 'record')} too short to give a row)" if short else ""
    return f"{problem._input.describe()}{words}"


def _kernel(problem: Any, channels: int) -> str:
    size = " × ".join(map(str, problem.spec.kernel_size))
    return f"{size} lag{'s' * (size != '1')} × {count(channels, 'channel')}"


def _groups(problem: Any) -> str:
    return f" in {problem.spec.groups} groups" if problem.spec.groups > 1 else ""


def _which(problem: Any) -> str:
    return f" ({problem._names.which})" if problem._names.which else ""


def _lags(problem: Any) -> str:
    """Return lags and edges, or the geometry of a layer, and stride and dilation unless 1."""
    names, geometry, words = problem._names, problem._geometry, []
    given: dict[str, Any] = {"edges": geometry.edges}
    if geometry.edges:
        lags = geometry.bounds(problem._lengths[0])
        bounds = " × ".join(f"{a} to {b}" for a, b in lags)
        words.append(f"{bounds} samples{names.window(*lags[0])}")
    else:
        given = {name: getattr(problem.spec, name) for name in ("kernel_size", "padding", "lo")}
    given |= {name: getattr(problem.spec, name) for name in ("stride", "dilation")}
    usual = {"lo": None, "stride": 1, "dilation": 1}
    for name, value in given.items():
        value = value[0] if isinstance(value, tuple) and len({*value}) == 1 else value
        words += [argument(name, value)] * (value != usual.get(name, ...))
    words += [f"{names.fs:g} Hz"] if names.fs is not None and not geometry.edges else []
    return ", ".join(words)
