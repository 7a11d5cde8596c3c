"""Write nitime's own FIR estimate of the fMRI recording to ``convsolve/datasets/nitime_fir.csv``.

convsolve does not depend on nitime; the result is committed as a reference. To make it again, in an
environment of its own:

    pip install nitime==0.12.1
    python benchmarks/nitime_fir.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nitime.algorithms.event_related import fir

DATA = Path(__file__).resolve().parents[1] / "convsolve" / "data"
LAGS = 15
TYPES = 6


def design_matrix(events: np.ndarray) -> np.ndarray:
    """The matrix that ``fir`` asks for, (scans, TYPES * LAGS), types outermost, lags ascending.

    Entry [t, type*LAGS + lag] is 1 where an event of that type happened at scan t - lag. What
    happened before the first scan counts as no event, so that every scan keeps its row.
    """
    design = np.zeros((len(events), TYPES * LAGS))
    for event_type in range(TYPES):
        for onset in np.flatnonzero(events == event_type + 1):
            for lag in range(min(LAGS, len(events) - onset)):
                design[onset + lag, event_type * LAGS + lag] = 1.0
    return design


def main() -> None:
    bold, events = np.loadtxt(DATA / "event_related_fmri.csv", delimiter=",", skiprows=1).T
    design = design_matrix(events)
    responses = fir(bold, design).reshape(TYPES, LAGS).T

    residual = bold - design @ responses.T.ravel()
    r2 = 1 - residual @ residual / np.sum((bold - bold.mean()) ** 2)
    print(f"condition number {np.linalg.cond(design):.3f}, R2 {r2:.6f}")

    lines = [",".join(f"event_{i + 1}" for i in range(TYPES))]
    lines += [",".join(repr(float(value)) for value in row) for row in responses]
    (DATA / "nitime_fir.csv").write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
