"""Results of some outputs each, joined into results of all outputs.

Outputs have results of their own if they use different rows, if their rows are filtered, or if they
belong to different groups of a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

# From the best to the worst.
STATUSES = ("solved", "approximate", "max steps", "stagnated", "interrupted", "diverged")
# Entries of ``stats`` that are added.
ADDED = ("compile_seconds", "run_seconds", "interior_steps")


class Part(NamedTuple):
    """Some ``outputs`` of a problem, and the `Solution` of these alone."""

    outputs: tuple[int, ...]
    solution: Any


def join(values: Sequence[Any], outputs: Sequence[Sequence[int]] = ()) -> Any:
    """Join values of some ``outputs`` each, by default in order.

    The last axis of arrays are outputs, and other axes are extended by NaN. Tuples and dictionaries
    are joined entry by entry, and texts by "or". Other values that differ are listed.
    """
    first = values[0]
    if isinstance(first, tuple):
        joined = [join(column, outputs) for column in zip(*values, strict=True)]
        return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)
    if isinstance(first, dict):
        return {name: join([value[name] for value in values], outputs) for name in first}
    if isinstance(first, str):
        return " or ".join(dict.fromkeys(values))
    if np.ndim(first) == 0:
        return first if all(value == first for value in values) else [*values]
    arrays = [np.asarray(value) for value in values]
    most = np.max([a.shape[:-1] for a in arrays], axis=0)
    for i, a in enumerate(arrays):
        if (missing := most - a.shape[:-1]).any():
            arrays[i] = np.pad(a, [*((0, n) for n in missing), (0, 0)], constant_values=np.nan)
    found = np.concatenate(arrays, axis=-1)
    return found[..., np.argsort(np.concatenate(outputs))] if len(outputs) else found


def gathered(parts: Sequence[Part], of: Callable[[Any], Any]) -> Any:
    """Join the results of a function of each `Solution`."""
    return join([of(part.solution) for part in parts], [part.outputs for part in parts])


def at(parts: Sequence[Part], output: int) -> tuple[Any, int]:
    """Return the `Solution` with an output, and the index of the output in it."""
    part = next(part for part in parts if output in part.outputs)
    return part.solution, part.outputs.index(output)


def stats_of(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the statistics of the worst part, with sums over all parts and joined lists."""
    worst = max((part.solution for part in parts), key=lambda fit: STATUSES.index(fit.status))
    several = [part.solution.stats for part in parts]
    found = worst.stats | {"unique": all(stats.get("unique", False) for stats in several)}
    found |= {name: sum(stats[name] for stats in several) for name in ADDED if name in found}
    outputs = [part.outputs for part in parts]
    for name in (name for name, value in found.items() if isinstance(value, list)):
        found[name] = join([np.array(stats[name]) for stats in several], outputs).tolist()
    return found
