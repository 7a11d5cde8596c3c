"""Drifts of runs, weights and a contrast on the fMRI recording, against statsmodels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import convsolve as cs
from convsolve.datasets import event_related_fmri

KNOWN = json.loads((Path(__file__).parent / "data" / "fmri.json").read_text(encoding="utf-8"))
RUNS = 12


@pytest.mark.parametrize("kind", ["plain", "weighted"])
def test_runs_with_drifts_are_those_of_statsmodels(kind: str) -> None:
    """Reference values of `data/make_fmri.py`, statsmodels 0.15.0."""
    events, bold = event_related_fmri()
    x, y = np.split(events, RUNS), np.split(bold, RUNS)
    weights = None if kind == "plain" else 1.0 + np.arange(RUNS)
    problem = cs.Problem(x, y, lags=(0, 14), edges="zeros", confounds=2, weights=weights)
    fit, known = cs.solve(problem), KNOWN[kind]
    assert fit.status == "solved"
    np.testing.assert_allclose(fit.impulse_response, known["responses"], rtol=1e-10, atol=1e-12)
    with pytest.warns(UserWarning, match="are correlated in time, and so is x.*use noise='ar'"):
        errors = fit.standard_error
    np.testing.assert_allclose(errors, known["standard_error"], rtol=1e-10)
    np.testing.assert_allclose(fit.noise.dof, known["dof"])
    np.testing.assert_allclose(fit.noise.variance, known["variance"], rtol=1e-10)
    contrast = np.array(KNOWN["contrast"])
    test = fit.test(contrast=contrast)
    np.testing.assert_allclose(test.statistic, known["statistic"], rtol=1e-10)
    np.testing.assert_allclose(test.pvalue, known["p"], rtol=1e-8)
