"""Whether arrays on devices are solved there, or why they are fetched."""

from __future__ import annotations

from ..operators.by_jax import DeviceChunk, moments
from ..operators.chunk import Form
from ..operators.overlap_save import by_fft
from ..operators.spread import Unsupported, stacked
from ..problem.problem import Problem
from ..problem.remote import Remote
from ..problem.sizes import Sizes


def device_chunk(problem: Problem, sizes: Sizes) -> DeviceChunk | str:
    """Return the rows of x and y on their devices, or the reason why the host has to fetch them."""
    reason = _on_the_host(problem, sizes)
    if reason:
        return reason
    x, y, spec = problem.input, problem.output, problem.spec
    try:
        rows = [shape[0] for shape in problem.row_shapes]
        stacks = stacked(x.arrays, None if y is None else y.arrays, rows, spec)
        outputs = 0 if y is None else y.channels
        form = Form(spec.normal, problem.nuisance.constant, sizes.limits)
        made = DeviceChunk(stacks, spec, (x.channels, outputs), form)
    except Unsupported as found:
        return str(found)
    exact = moments(made) is not None
    return made if exact else "columns of a channel differ so much that FFTs lose digits"


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
