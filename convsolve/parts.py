"""Results of some outputs each, joined into results of all outputs.

Outputs have results of their own if they use different rows, if their rows are filtered, or if they
belong to different groups of a convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .text import either

# From the best to the worst.
STATUSES = (
    "solved", "approximate", "max steps", "stagnated", "stopped", "interrupted", "diverged",
)  # fmt: skip
# Entries of ``stats`` that are added.
ADDED = ("compile_seconds", "run_seconds", "interior_steps")


def join(values: Sequence[Any], outputs: Sequence[Sequence[int]] = ()) -> Any:
    """Join values of some ``outputs`` each, by default in order.

    The last axis of arrays are outputs, and other axes are extended by NaN. Results, tuples and
    dictionaries are joined entry by entry, texts by `either`. Other values that differ are listed.
    """
    first, kind = values[0], type(values[0])
    if len(values) == 1:
        return first
    if hasattr(first, "__dataclass_fields__"):
        return replace(first, **join([vars(value) for value in values], outputs))
    if isinstance(first, tuple):
        joined = [join(column, outputs) for column in zip(*values, strict=True)]
        return kind(*joined) if hasattr(first, "_fields") else tuple(joined)
    if isinstance(first, dict):
        return {name: join([value[name] for value in values], outputs) for name in first}
    if isinstance(first, str):
        return either(values)
    if np.ndim(first) == 0:
        return first if all(value == first for value in values) else [*values]
    arrays = [np.asarray(value) for value in values]
    most = np.max([a.shape[:-1] for a in arrays], axis=0)
    for i, a in enumerate(arrays):
        if (missing := most - a.shape[:-1]).any():
            arrays[i] = np.pad(a, [*((0, n) for n in missing), (0, 0)], constant_values=np.nan)
    found = np.concatenate(arrays, axis=-1)
    return found[..., np.argsort(np.concatenate(outputs))] if len(outputs) else found


def joined_stats(parts: Sequence[Any]) -> dict[str, Any]:
    """Return the statistics of the worst part, with sums over all parts and joined lists."""
    several = [part.found.stats for part in parts]
    worst = max((part.found for part in parts), key=lambda found: STATUSES.index(found.status))
    found = dict(worst.stats)
    if len(several) > 1:
        found["unique"] = all(stats.get("unique", False) for stats in several)
    del found["cut"], found["noisy"]
    cut, noisy = ([*filter(None, (stats[n] for stats in several))] for n in ("cut", "noisy"))
    # Some outputs of many may have no response at all.
    found["caution"] = next(iter(noisy * (2 * len(noisy) > len(several)) + cut), "")
    found |= {name: sum(stats[name] for stats in several) for name in ADDED if name in found}
    outputs = [part.outputs for part in parts]
    for name in (name for name, value in found.items() if isinstance(value, list)):
        found[name] = join([np.array(stats[name]) for stats in several], outputs).tolist()
    return found
