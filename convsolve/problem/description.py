"""The texts of a `Problem`: its summary, one line, and the rows that are used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..text import argument, count, line, some
from .kernel_space import KernelSpace
from .names import Names

# Width of the labels.
MARGIN = 12
# Condition number of a basis from which its coefficients are called unstable.
UNSTABLE = 1e4


def summary(problem: Any) -> str:
    """Return the data and the unknowns in a few lines."""
    names, outputs = problem._names, count(problem.n_outputs, "output")
    kernel = f"{_kernel(problem, problem.n_channels // problem.spec.groups)} × {outputs}"
    bias = " and a bias per output" if problem.bias else ", no bias"
    of_x, of_y = ("" if n is None else f": {some(n)}" for n in (names.channels, names.outputs))
    given = "" if problem._output is not None else "not given, "
    channels = count(problem.n_channels, "channel") + of_x
    entries = [
        ("Problem", f"find {kernel}{_part(problem)}{bias}"),
        ("x", f"{_records(problem)}, {problem._dtype}, {channels}"),
        ("y", f"{given}{outputs}{of_y}"),
        ("Lags", _lags(problem)),
        *space_entries(problem._space, names, problem._lags[0]),
        ("Rows", f"{rows_sentence(problem)}. Unknowns: {problem.n_unknowns} per output"),
        ("Adjusted", fitted_terms(problem)),
    ]
    return "\n".join(line(label, words, MARGIN) for label, words in entries if words)


def sizes_sentence(problem: Any) -> str:
    """Return records, kernel and outputs in one line."""
    space, lost = problem._space, problem._kept.dropped
    kernel, outputs = _kernel(problem, problem.n_channels), count(problem.n_outputs, "output")
    words = [f"{_records(problem)}: {kernel} → {outputs}{_part(problem)}"]
    words += ["" if space is None else unknowns(space), "bias" * problem.bias]
    words += [fitted_terms(problem), f"{count(lost, 'row')} excluded" if lost else ""]
    return ", ".join(filter(None, words))


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
        where = "" if space.kept.all() else f" at {names.lags(lags[own.kept][::-1].tolist())}"
        by_words.setdefault(words + where, []).append(names.name("channel", c))
    parts = [f"channel{'s'[: len(c) - 1]} {some(c)}: {words}" for words, c in by_words.items()]
    listed = "; ".join(parts if len(parts) > 1 else by_words)
    found = [("Basis" if space.has_functions else "Windows", f"{listed}. {unknowns(space)}")]
    condition, words = max(own.condition for own in space.channels), ""
    if space.rank < space.count:
        words = "the functions are dependent: the kernel is not affected, but its coefficients are"
    elif condition >= UNSTABLE:
        words = f"condition number {condition:.2g}: coefficients are unstable, the kernel is not"
    return [*found, *[("", words)] * bool(words)]


def rows_sentence(problem: Any) -> str:
    """Return the number of rows that are used, and why others are excluded."""
    rows, geometry = problem.n_equations, problem._geometry
    samples = given = rows + problem._kept.dropped
    if geometry.edges:
        samples = sum(math.prod(geometry.y_shape(n)) for n in problem._lengths)
    parts = [f"{samples - given} at the edges"] * (samples > given) + excluded_rows(problem)
    words = f"{rows} of {samples} {'samples' if geometry.edges else 'rows'}"
    words += f"; excluded: {', '.join(parts)}" if parts else ""
    return words + " (of the output with the fewest rows)" * (len(problem._by_mask) > 1)


def excluded_rows(problem: Any) -> list[str]:
    """Return the number of rows that are excluded inside of records, and the possible causes."""
    causes = ["missing samples"] * (problem._missing == "drop") + ["the mask"]
    causes += ["a weight of 0"] * (problem._weights is not None)
    dropped = problem._kept.dropped
    return [f"{dropped} by {' or '.join(causes)}"] if dropped else []


def fitted_terms(problem: Any) -> str:
    """Return the terms fitted to every record, and weights."""
    words, (degree, columns) = ["weighted"] * (problem._weights is not None), problem._terms
    drift = f" and a drift of degree {degree}" if degree > 0 else ""
    words += [f"an intercept{drift} per record"] * (degree >= 0)
    words += [] if columns is None else [f"{count(columns.channels, 'confound')} per record"]
    return ", ".join(words)


def _records(problem: Any) -> str:
    short = sum(not all(shape) for shape in problem._kept.shapes)
    words = f" ({count(short, 'record')} too short to give a row)" if short else ""
    return f"{problem._input.describe()}{words}"


def _kernel(problem: Any, channels: int) -> str:
    size = " × ".join(map(str, problem.spec.kernel_size))
    return f"{size} lag{'s' * (size != '1')} × {count(channels, 'channel')}"


def _part(problem: Any) -> str:
    """Return which outputs of another problem these are, and the number of groups."""
    which, groups = problem._names.which, problem.spec.groups
    return f" ({which})" * bool(which) + f" in {groups} groups" * (groups > 1)


def _lags(problem: Any) -> str:
    """Return lags and edges, or the geometry of a layer, and stride and dilation unless 1."""
    names, geometry, words = problem._names, problem._geometry, []
    attributes = ["kernel_size", "padding", "lo", "stride", "dilation"]
    if geometry.edges:
        lags = geometry.bounds(problem._lengths[0])
        bounds = " × ".join(f"{a} to {b}" for a, b in lags)
        words = [f"{bounds} samples{names.window(*lags[0])}", argument("edges", geometry.edges)]
        attributes = ["stride"]
    for name in attributes:
        value = getattr(problem.spec, name)
        value = value[0] if isinstance(value, tuple) and len({*value}) == 1 else value
        words += [argument(name, value)] * (value not in (None, 1))
    return ", ".join(words)
