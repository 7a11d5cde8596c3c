"""Printed texts about a `Problem`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..text import count
from .masks import known_rows
from .records import Records


def described(problem: Any) -> str:
    """Return the description of x, the kernel and y in one line."""
    spec, window, names = problem.spec, problem.window, problem.names
    taps = " × ".join(map(str, spec.kernel_size))
    taps += " tap" if taps == "1" else " taps"
    extras = "".join(
        f", {name} {value if len(set(value)) > 1 else value[0]}"
        for name, value in (("stride", spec.stride), ("dilation", spec.dilation))
        if set(value) != {1}
    )
    extras += f", {spec.groups} groups" * (spec.groups > 1) + ", bias" * problem.bias
    fitted = _fitted(problem)
    extras += f", {fitted}" * bool(fitted)
    ends = f"padding {spec.padding}" + ("" if spec.lo is None else f", lo {_plain(spec.lo)}")
    if window is not None:
        lags = " × ".join(f"{a} to {b}" for a, b in window.bounds)
        ends = f"lags {lags}{names.window(*window.bounds[0])}, edges {window.edges}"
    elif names.fs is not None:
        ends += f", {names.fs:g} Hz"
    short = sum(not all(shape) for shape in problem.row_shapes)
    which = f", {names.which}" * bool(names.which)
    skipped = f" ({count(short, 'record')} too short to give a row)" if short else ""
    return (
        f"x: {problem.input.describe(spec.ndim)}{skipped}; kernel: {taps}, {ends}{extras}; y: "
        f"{count(problem.n_equations, 'row')} × {count(problem.n_outputs, 'output')}"
        f"{which}{_lost(problem)}, {problem.dtype}"
    )


def _plain(values: tuple[int, ...]) -> str:
    return str(values[0] if len(values) == 1 else values)


def adjusted(problem: Any) -> str:
    """Return the description of excluded rows, weights and confounds; empty if there are none."""
    lost, fitted = _lost(problem), _fitted(problem)
    lost = f"{count(problem.n_equations, 'row')}{lost}" if lost else ""
    return ", ".join(filter(None, (lost, fitted)))


def _fitted(problem: Any) -> str:
    """Return the description of the terms fitted to every record, and of weights."""
    words, confounds = [] if problem.weights is None else ["weighted"], problem.confounds
    if isinstance(confounds, Records):
        words.append(f"{count(confounds.channels, 'confound')} a record")
    elif confounds is not None:
        drift = "" if not confounds else f" and a drift of degree {confounds}"
        words.append(f"an intercept{drift} a record")
    return ", ".join(words)


def _lost(problem: Any) -> str:
    """Return the number of excluded rows and the reason; empty if there are none."""
    kept = problem.kept
    if kept.flags is None:
        return ""
    words = f" ({kept.dropped} of {kept.dropped + kept.count} rows left out"
    known = known_rows(problem.input, problem.spec, problem.row_shapes)
    gaps = sum(int(np.count_nonzero(~flags)) for flags in known or ())
    words += f", {gaps} of them for missing samples of x" * bool(gaps)
    return words + ", in the output of fewest" * (len(problem.by_mask) > 1) + ")"
