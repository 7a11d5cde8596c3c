"""Whether arrays on devices are solved there, or why they are fetched."""

from __future__ import annotations

import numpy as np

from ..operators.by_jax import DeviceChunk
from ..operators.chunk import Form
from ..operators.first_pass import cancels
from ..operators.overlap_save import by_fft
from ..operators.spread import Unsupported
from ..problem.problem import Problem
from ..problem.remote import Remote
from ..problem.sizes import Sizes


def device_chunk(problem: Problem, sizes: Sizes) -> DeviceChunk | str:
    """Return the rows of x and y on their devices, or the reason why the host has to fetch them."""
    reason = _on_the_host(problem, sizes)
    if reason:
        return reason
    x, y, spec = problem._input, problem._output, problem.spec
    arrays = x.arrays, None if y is None else y.arrays
    form = Form(spec._normal, problem._nuisance.constant, sizes.limits)
    # The magnitudes of samples that no row reads, or in this process only, are not of use.
    alone = not any(a.shared for part in arrays if part is not None for a in part)
    if alone and sizes.toeplitz and all(map(spec._reads_all, sizes.shapes)):
        y_sizes = np.zeros(0) if y is None else y.largest
        form = form._replace(x_sizes=x.largest, y_sizes=y_sizes)
    try:
        made = DeviceChunk(*arrays, spec, problem._kept, problem._nuisance, form)
    except Unsupported as found:
        return str(found)
    m = made.moments
    if problem._nuisance.confounds is None:
        return made
    whole = m.gram.diagonal(axis1=1, axis2=2)
    if cancels(m.squares, whole) or cancels(m.out_squares_left, m.out_squares):
        return "confounds explain nearly all of x or y"
    return made


def _on_the_host(problem: Problem, sizes: Sizes) -> str:
    """Why this is the host's, as far as sizes and kinds say; empty if they do not."""
    x, y = problem._input, problem._output
    parts = [part for part in (x, y) if part is not None]
    places = {isinstance(a, Remote) for part in parts for a in part.arrays}
    missing = any(part.missing is not None for part in parts)
    reasons = {
        "only one of x and y is on devices": not (x.devices and (y is None or y.devices)),
        "samples may be missing": missing or places == {False},
        "some of the records are on the host, or on one device": len(places) > 1,
        "the kernel has several axes": problem.spec.ndim > 1,
        "the matrix is small": sizes.by_rows,
        "unknowns outnumber rows": sizes.wide,
        "the kernel is short beside its stride": not by_fft(problem.spec),
        "AᵀA is larger than x": not sizes.remote,
        "AᵀA exceeds the memory limit": not sizes.gram_fits,
    }
    return next((words for words, true in reasons.items() if true), "")
