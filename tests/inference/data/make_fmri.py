"""Writes fmri.json: least squares by statsmodels on the fMRI recording, drifts of runs beside it.

Run, where statsmodels is installed: python tests/inference/data/make_fmri.py
"""

import json
from pathlib import Path

import numpy as np
import statsmodels.api as sm

from convsolve.datasets import event_related_fmri

RUNS, TAPS, DEGREE = 12, 15, 2


def columns(events: np.ndarray) -> np.ndarray:
    """Events of one run at lags 0 to 14, nothing before it: lags, then types."""
    delayed = [np.vstack([np.zeros((lag, 6)), events[: len(events) - lag]]) for lag in range(TAPS)]
    return np.stack(delayed, axis=1).reshape(len(events), -1)


def main() -> None:
    events, bold = event_related_fmri()
    runs = np.split(events, RUNS)
    time = np.linspace(-1, 1, len(runs[0]))[:, None] ** np.arange(DEGREE + 1)
    design = np.hstack([np.vstack([columns(run) for run in runs]), np.kron(np.eye(RUNS), time)])
    # The second type against the first, at every lag; and the peak of all against none.
    contrast = np.zeros((TAPS + 1, TAPS, 6))
    for lag in range(TAPS):
        contrast[lag, lag, :2] = -1, 1
    contrast[TAPS, 2:4] = 1 / 12
    padded = np.hstack([contrast.reshape(TAPS + 1, -1), np.zeros((TAPS + 1, design.shape[1] - 90))])
    weights = np.repeat(1.0 + np.arange(RUNS), len(runs[0]))
    found: dict[str, object] = {"contrast": contrast.tolist()}
    for name, fit in (
        ("plain", sm.OLS(bold, design).fit()),
        ("weighted", sm.WLS(bold, design, weights).fit()),
    ):
        test = fit.f_test(padded)
        found[name] = {
            "responses": fit.params[:90].reshape(TAPS, 6).tolist(),
            "standard_error": fit.bse[:90].reshape(TAPS, 6).tolist(),
            "dof": float(fit.df_resid),
            "variance": float(fit.scale),
            "statistic": float(test.fvalue),
            "p": float(test.pvalue),
        }
    path = Path(__file__).with_name("fmri.json")
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
