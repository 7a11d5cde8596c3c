"""Solutions of outputs that use different rows, joined into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .inference.errors import NoiseEstimate
    from .inference.regularization import Regularization


# From the best to the worst.
STATUSES = ("solved", "approximate", "max steps", "stagnated", "interrupted", "diverged")


class Part(NamedTuple):
    """Some ``outputs`` of a problem, and the `Solution` of these alone."""

    outputs: tuple[int, ...]
    solution: Any


def together(parts: Sequence[Part], values: Sequence[Any]) -> Any:
    """Join values of all parts, in the order of outputs, which are the last axis of arrays.

    Tuples are joined entry by entry. Arrays with fewer rows are extended by NaN. For numbers
    and texts, the first is returned.
    """
    first = values[0]
    if isinstance(first, tuple):
        joined = [together(parts, column) for column in zip(*values, strict=True)]
        return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)
    if isinstance(first, (int, str)):
        return first
    arrays = [np.asarray(v) for v in values]
    if arrays[0].ndim == 2:
        most = max(map(len, arrays))
        arrays = [np.pad(a, ((0, most - len(a)), (0, 0)), constant_values=np.nan) for a in arrays]
    order = np.argsort([o for part in parts for o in part.outputs])
    return np.concatenate(arrays, axis=-1)[..., order]


def gathered(parts: Sequence[Part], of: Callable[[Any], Any]) -> Any:
    """Join the results of a function of each `Solution`."""
    return together(parts, [of(part.solution) for part in parts])


def at(parts: Sequence[Part], output: int) -> tuple[Any, int]:
    """Return the `Solution` with an output, and the index of the output in it."""
    part = next(part for part in parts if output in part.outputs)
    return part.solution, part.outputs.index(output)


def regularization_of(
    parts: Sequence[Part], of: Callable[[Any], Regularization | None]
) -> Regularization | None:
    """Join the penalties of all parts; None if a part has none."""
    from .inference.regularization import joined, of_some

    several = [found for part in parts if (found := of(part.solution)) is not None]
    if len(several) < len(parts):
        return None
    return of_some(joined(several), np.argsort([o for part in parts for o in part.outputs]))


def noise_of(parts: Sequence[Part]) -> NoiseEstimate:
    """Return the noise of all outputs."""
    from .inference.ar import Autoregression

    several = [part.solution.noise for part in parts]
    variance = together(parts, [noise.variance for noise in several])
    dof = together(parts, [noise.dof for noise in several])
    first: NoiseEstimate = several[0]._replace(variance=variance, dof=dof)
    if first.order is None:
        return first
    models = [c[:p] for n in several for c, p in zip(n.coefficients, n.order, strict=True)]
    places = np.argsort([o for part in parts for o in part.outputs])
    joined = Autoregression.of([models[i].tolist() for i in places])
    return first._replace(order=joined.order, coefficients=joined.coefficients)


def stats_of(parts: Sequence[Part], worst: Any) -> dict[str, Any]:
    """Return the statistics of the ``worst`` part, with seconds of all parts and joined lists."""
    several = [part.solution.stats for part in parts]
    found = dict(worst.stats)
    for name in ("compile_seconds", "run_seconds", "newton_steps", "interior_steps", "pivots"):
        if name in found:
            found[name] = sum(stats[name] for stats in several)
    found["unique"] = all(stats.get("unique", False) for stats in several)
    for name, value in worst.stats.items():
        if isinstance(value, list):
            found[name] = together(parts, [stats[name] for stats in several]).tolist()
    return found
