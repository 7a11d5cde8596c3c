"""Solutions of outputs that use different rows, joined into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .inference.regularization import Regularization
    from .inference.uncertainty import Noise


# From the best to the worst.
STATUSES = ("solved", "approximate", "max steps", "stagnated", "interrupted", "diverged")


class Part(NamedTuple):
    """Some ``outputs`` of a problem, and the `Solution` of these alone."""

    outputs: tuple[int, ...]
    solution: Any


def together(parts: Sequence[Part], values: Sequence[Any]) -> Any:
    """What each part has of its outputs, along the last axis, for all outputs in their order."""
    order = np.argsort([o for part in parts for o in part.outputs])
    return np.concatenate([np.asarray(v) for v in values], axis=-1)[..., order]


def gathered(parts: Sequence[Part], of: Callable[[Any], Any]) -> Any:
    """The same of a function of each `Solution`."""
    return together(parts, [of(part.solution) for part in parts])


def at(parts: Sequence[Part], output: int) -> tuple[Any, int]:
    """The `Solution` that has an output, and which of its outputs that is."""
    part = next(part for part in parts if output in part.outputs)
    return part.solution, part.outputs.index(output)


def regularization_of(parts: Sequence[Part]) -> Regularization | None:
    """What was chosen for all outputs."""
    from .inference.regularization import joined

    chosen = [part.solution.regularization for part in parts]
    if None in chosen:
        return None
    return joined(chosen).only(np.argsort([o for part in parts for o in part.outputs]))


def noise_of(parts: Sequence[Part]) -> Noise:
    """Return the noise of all outputs, with the variance of the first part."""
    from .inference.autoregression import Autoregression

    several = [part.solution.noise for part in parts]
    first: Noise = several[0]
    if first.order is None:
        return first
    models = [c[:p] for n in several for c, p in zip(n.coefficients, n.order, strict=True)]
    places = np.argsort([o for part in parts for o in part.outputs])
    joined = Autoregression.of([models[i].tolist() for i in places])
    return first._replace(order=joined.order, coefficients=joined.coefficients)


def stats_of(parts: Sequence[Part], worst: Any) -> dict[str, Any]:
    """What the ``worst`` answer says, seconds of all, and lists of one number for each output."""
    several = [part.solution.stats for part in parts]
    found = dict(worst.stats)
    for name in ("compile_seconds", "run_seconds", "newton_steps", "interior_steps", "pivots"):
        if name in found:
            found[name] = sum(stats[name] for stats in several)
    for name, value in worst.stats.items():
        if isinstance(value, list):
            found[name] = together(parts, [stats[name] for stats in several]).tolist()
    return found
