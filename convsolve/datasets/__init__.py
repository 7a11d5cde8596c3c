"""The fMRI recording that travels inside the package; where it is from stands in ``ORIGIN.md``."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

EVENT_TYPES = 6


def _table(name: str) -> np.ndarray:
    with (files(__name__) / name).open(encoding="ascii") as lines:
        return np.loadtxt(lines, delimiter=",", skiprows=1)


def event_related_fmri() -> tuple[np.ndarray, np.ndarray]:
    """Return an event-related fMRI experiment: six types of event, and one BOLD signal.

    The haemodynamic response of each type is the kernel from its column to ``bold``. Scans are 2 s
    apart. Use `convsolve.io` for your own data. Source: nitime 0.12.1 (BSD-3-Clause).

    Returns:
        ``events`` (3360, 6), 1 where an event of a type begins and 0 elsewhere, with a column per
        type; and ``bold`` (3360,), the signal in arbitrary units. Both are float64.

    Examples:
        >>> import convsolve as cs
        >>> events, bold = cs.datasets.event_related_fmri()
        >>> problem = cs.Problem(events, bold, lags=(0, 14), edges="zeros", fs=0.5)
        >>> cs.solve(problem).impulse_response.shape
        (15, 6)

    See Also:
        `nitime_fir`, the responses that nitime computes.
    """
    bold, code = _table("event_related_fmri.csv").T
    events = (code[:, None] == np.arange(1, EVENT_TYPES + 1)).astype(np.float64)
    return events, bold


def nitime_fir() -> np.ndarray:
    """Return the haemodynamic responses that ``fir`` of nitime finds in `event_related_fmri`.

    They use all 3360 rows, with zeros before the first scan, and were computed by
    ``benchmarks/nitime_fir.py``.

    Returns:
        A float64 array (15, 6). Rows are lags from 0 to 14 scans (0 to 28 s), columns event types,
        as in `Solution.impulse_response`.

    Examples:
        >>> import convsolve as cs
        >>> cs.datasets.nitime_fir().shape
        (15, 6)

    See Also:
        `event_related_fmri`.
    """
    return _table("nitime_fir.csv")
