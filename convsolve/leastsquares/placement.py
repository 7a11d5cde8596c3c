"""Whether arrays on devices are solved there, or why they are fetched."""

from __future__ import annotations

from collections.abc import Callable

from ..operators.devices import DeviceOperator
from ..operators.overlap_save import by_fft
from ..operators.records import Inputs, Targets
from ..operators.spread import Unsupported, stacked
from ..problem.problem import Problem
from ..problem.remote import Remote
from ..problem.sizes import Sizes


def device_operator(
    problem: Problem, sizes: Sizes, fetch: Callable[[], tuple[Inputs, Targets | None]]
) -> DeviceOperator | str:
    """A of x and y that are on devices, where blocks of their records have all that is asked of
    them; else in words why the host has to ``fetch`` them.
    """
    reason = _on_the_host(problem, sizes)
    if reason:
        return reason
    x, y, spec = problem.input, problem.output, problem.spec
    try:
        rows = [shape[0] for shape in problem.row_shapes]
        stacks = stacked(x.arrays, None if y is None else y.arrays, rows, spec)
        outputs = 0 if y is None else y.channels
        given = spec, x.channels, outputs, problem.nuisance, sizes.limits
        made = DeviceOperator(stacks, *given, fetch)
    except Unsupported as found:
        return str(found)
    return made if made.exact else "columns of a channel differ so much that FFTs lose digits"


def _on_the_host(problem: Problem, sizes: Sizes) -> str:
    """Why this is the host's, as far as sizes and kinds say; empty if they do not."""
    x, y = problem.input, problem.output
    places = {isinstance(a, Remote) for part in (x, y) if part is not None for a in part.arrays}
    reasons = {
        "only one of x and y is on devices": not (x.devices and (y is None or y.devices)),
        "some of the records are on the host, or on one device": len(places) > 1,
        "rows are left out, weighted or confounded": not sizes.toeplitz,
        "samples may be missing": not problem.remote,
        "the kernel has several axes": problem.spec.ndim > 1,
        "the matrix is small": sizes.by_rows,
        "unknowns outnumber rows": sizes.wide,
        "the kernel is short beside its stride": not by_fft(problem.spec),
        "AᵀA is larger than x": not sizes.remote,
        "AᵀA exceeds the memory limit": not sizes.gram_fits,
    }
    return next((words for words, true in reasons.items() if true), "")
