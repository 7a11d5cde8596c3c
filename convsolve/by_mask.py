"""Outputs that differ in the rows that count: their answers, mask by mask, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .inference.regularization import Regularization


# From the best to the worst.
STATUSES = ("solved", "approximate", "max steps", "stagnated", "interrupted", "diverged")


class Part(NamedTuple):
    """Some ``outputs`` of a problem, which are those ``places`` of a `Solution`."""

    outputs: tuple[int, ...]
    places: tuple[int, ...]
    solution: Any


def gathered(parts: Sequence[Part], of: Callable[[Any], Any]) -> Any:
    """What every `Solution` has of its outputs, along the last axis, for all outputs."""
    found: dict[int, Any] = {}
    for part in parts:
        values = np.asarray(of(part.solution))
        found |= {o: values[..., p] for o, p in zip(part.outputs, part.places, strict=True)}
    return np.stack([found[o] for o in range(len(found))], axis=-1)


def at(parts: Sequence[Part], output: int) -> tuple[Any, int]:
    """The `Solution` that has an output, and which of its outputs that is."""
    part = next(part for part in parts if output in part.outputs)
    return part.solution, part.places[part.outputs.index(output)]


def regularization_of(parts: Sequence[Part]) -> Regularization | None:
    """What was chosen for all outputs."""
    from .inference.regularization import joined

    one = [(part, part.solution.regularization) for part in parts]
    chosen = [told.only(part.places) for part, told in one if told is not None]
    if not chosen:
        return None
    order = np.argsort([o for part in parts for o in part.outputs])
    return joined(chosen).only(order)
