"""Facts of a `Problem`: its data, its unknowns and the rows that are used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..facts import Fact, in_data
from ..text import argument, count, some
from .kernel_space import KernelSpace
from .names import Axis, Names
from .nuisance import Cosines

# Condition number of a basis from which its coefficients are called unstable.
UNSTABLE = 1e4


def problem_facts(problem: Any, full: bool) -> Iterator[Fact]:
    """Yield the facts of a problem; the sizes alone unless ``full``."""
    yield Fact("data", "Problem", sizes_sentence(problem))
    if not full:
        return
    names = problem._names
    of_x, of_y = ("" if n is None else f": {some(n)}" for n in (names.channels, names.outputs))
    yield Fact("x", "x", f"{problem._dtype}, {count(problem.n_channels, 'channel')}{of_x}")
    given = "" if problem.y is not None else "not given, "
    yield Fact("y", "y", f"{given}{count(problem.n_outputs, 'output')}{of_y}")
    yield Fact("geometry", "Lags", _lags(problem))
    for label, words in space_entries(problem._space, names, problem._lags[0]):
        yield Fact("basis" * bool(label), label, words)
    rows = f"{rows_sentence(problem)}. Unknowns: {problem.n_unknowns} per output"
    yield Fact("rows", "Rows", rows)
    numbers = ("n_equations", "n_unknowns", "lags", "fs", "channels", "outputs")
    yield from in_data({name: getattr(problem, name) for name in numbers})


def sizes_sentence(problem: Any) -> str:
    """Return records, kernel and outputs in one line."""
    space, spec, names, lost = problem._space, problem.spec, problem._names, problem._kept.dropped
    size = " × ".join(map(str, spec.kernel_size))
    ends = [count(problem.n_channels, "channel"), count(problem.n_outputs, "output")]
    words = [f"{_records(problem)}: {size} lag{'s' * (size != '1')} × {' → '.join(ends)}"]
    which, groups = f" ({names.which})" * bool(names.which), spec.groups
    words[0] += which + f" in {groups} groups" * (groups > 1)
    words += ["" if space is None else unknowns(space), "bias" * problem.bias]
    words += [fitted_terms(problem), f"{count(lost, 'row')} excluded" * bool(lost)]
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
    by_words, axis = dict[str, list[str]](), Axis(lags[::-1], names.fs)
    for c, own in enumerate(space.channels):
        words = "taps" if own.functions is None else repr(own.functions)
        where = "" if space.kept.all() else f" at {axis.at(lags[own.kept][::-1].tolist())}"
        by_words.setdefault(words + where, []).append(names.name("channel", c))
    parts = [f"channel{'s'[: len(c) - 1]} {some(c)}: {words}" for words, c in by_words.items()]
    listed = "; ".join(parts if len(parts) > 1 else by_words)
    found = [("Basis" if space.has_functions else "Windows", f"{listed}. {unknowns(space)}")]
    few, condition = space.rank < space.count, max(own.condition for own in space.channels)
    doubt = "dependent" if few else f"nearly dependent (condition number {condition:.2g})"
    words = f"the functions are {doubt}: the kernel is not affected, but its coefficients are"
    return [*found, *[("", words)] * (few or condition >= UNSTABLE)]


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
    words, terms = ["weighted"] * (problem._weights is not None), problem._terms
    drift = f" and a drift of degree {terms.degree}" if terms.degree > 0 else ""
    if isinstance(terms.drift, Cosines):
        drift = f" and cosines of {terms.drift.seconds:g} s and longer"
    words += [f"an intercept{drift} per record"] * (terms.degree >= 0)
    words += [f"{count(terms.confounds, 'confound')} per record"] * (terms.confounds > 0)
    return ", ".join(words)


def _records(problem: Any) -> str:
    short = sum(not all(shape) for shape in problem._kept.shapes)
    words = f" ({count(short, 'record')} too short to give a row)" if short else ""
    return f"{problem._input.describe()}{words}"


def _lags(problem: Any) -> str:
    """Return lags and edges, or the geometry of a layer, and stride and dilation unless 1."""
    geometry, spec, axis = problem._geometry, problem.spec, problem._axes[0]
    given = {name: getattr(spec, name) for name in ("kernel_size", "padding", "lo")}
    words = []
    if geometry.edges:
        lags = geometry.bounds(problem._lengths[0])
        times = f" ({axis.ends()} at {axis.fs:g} Hz)" if axis.fs else ""
        words = [" × ".join(f"{a} to {b}" for a, b in lags) + f" samples{times}"]
        given = {"edges": geometry.edges}
    for name, value in (given | {"stride": spec.stride, "dilation": spec.dilation}).items():
        value = value[0] if isinstance(value, tuple) and len({*value}) == 1 else value
        words += [argument(name, value)] * (value not in (None, 1))
    return ", ".join(words)
