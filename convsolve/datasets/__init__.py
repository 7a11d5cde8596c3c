"""The fMRI recording that travels inside the package; where it is from stands in ``ORIGIN.md``."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

EVENT_TYPES = 6


def _table(name: str) -> np.ndarray:
    with (files(__name__) / name).open(encoding="ascii") as lines:
        return np.loadtxt(lines, delimiter=",", skiprows=1)


def event_related_fmri() -> tuple[np.ndarray, np.ndarray]:
    """An event-related fMRI experiment: six types of event, and one BOLD signal.

    Returns ``(events, bold)``, float64. ``events`` (3360, 6) is 1 where an event of a type begins
    and 0 elsewhere, one column a type; ``bold`` (3360,) is the signal in arbitrary units. Scans are
    2 s apart. The haemodynamic response of each type is the kernel from its column to ``bold``::

        x, y = event_related_fmri()
        problem = Problem(x, y, kernel_size=15, padding="causal")

    Source: nitime 0.12.1 (BSD-3-Clause). These are data for examples and tests; `convsolve.files`
    reads your own.
    """
    bold, code = _table("event_related_fmri.csv").T
    events = (code[:, None] == np.arange(1, EVENT_TYPES + 1)).astype(np.float64)
    return events, bold


def nitime_fir() -> np.ndarray:
    """The haemodynamic responses that nitime's own ``fir`` finds in `event_related_fmri`.

    Returns (15, 6) float64: lags 0 to 14 scans (0 to 28 s) down, event types across, from all 3360
    rows with nothing before the first scan. It is aligned with ``Solution.impulse_response``; a
    kernel has its lags in the opposite order. ``benchmarks/nitime_fir.py`` made it.
    """
    return _table("nitime_fir.csv")
