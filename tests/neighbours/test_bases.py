"""Bases on the lags compared with nilearn's response functions."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import convsolve as cs
from convsolve.interop.events import impulses

pytestmark = pytest.mark.slow

SCANS, REPETITION = 240, 1.5
RNG = np.random.default_rng(3)
EVENTS = pd.DataFrame(
    {
        "onset": np.sort(RNG.choice(np.arange(SCANS - 20), 60, replace=False)) * REPETITION,
        "duration": 0.0,
        "trial_type": RNG.choice(["face", "house", "word"], 60),
    }
)


@pytest.mark.parametrize("model", ["spm", "glover", "spm + derivative + dispersion"])
def test_a_matrix_of_nilearn_gives_the_regression_of_nilearn(model: str) -> None:
    """Derivatives are orthogonalized there, which changes their coefficients but not their span."""
    glm = pytest.importorskip("nilearn.glm")
    first_level = pytest.importorskip("nilearn.glm.first_level")
    from nilearn.glm.first_level import hemodynamic_models as models

    times = np.arange(SCANS) * REPETITION
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of events that do not last
        design = first_level.make_first_level_design_matrix(
            times, EVENTS, hrf_model=model, drift_model=None, oversampling=1,
            min_onset=-8 * REPETITION,
        )  # fmt: skip
    functions = [getattr(models, f"{model[:6].split()[0]}_hrf")(REPETITION, 1)]
    if "derivative" in model:
        functions += [
            models.spm_time_derivative(REPETITION, 1),
            models.spm_dispersion_derivative(REPETITION, 1),
        ]
    matrix = np.stack(functions, axis=1)
    x, names = impulses(EVENTS, fs=1 / REPETITION, samples=SCANS, shape="impulse")
    y = np.array(design) @ RNG.standard_normal(design.shape[1]) + RNG.standard_normal(SCANS)
    problem = cs.Problem(
        x, y, lags=(0, len(matrix) - 1), edges="zeros", bias=True, basis=cs.Basis(matrix),
        channels=names, fs=1 / REPETITION,
    )  # fmt: skip
    fit = cs.solve(problem)
    theirs = glm.OLSModel(np.array(design)).fit(y[:, None])
    np.testing.assert_allclose(fit.predict(x), np.asarray(theirs.predicted).ravel(), atol=1e-10)
    assert fit.noise.dof[0] == theirs.df_residuals == SCANS - len(functions) * 3 - 1
    np.testing.assert_allclose(fit.noise.variance, theirs.dispersion, rtol=1e-10)
    for i, name in enumerate(names):
        own = [list(design.columns).index(name) + j for j in range(len(functions))]
        contrast = np.eye(design.shape[1])[own]
        test, expected = fit.test(name), theirs.Fcontrast(contrast)
        assert test.dof[0] == len(functions)
        np.testing.assert_allclose(test.statistic, np.ravel(expected.F), rtol=1e-10)
        if len(functions) == 1:
            coefficient, error = fit.coefficients[i], fit.coefficient_error[i]
            np.testing.assert_allclose(coefficient, theirs.theta[own[0]], rtol=1e-10)
            t = theirs.Tcontrast(contrast[0])
            np.testing.assert_allclose(error, np.ravel(t.sd), rtol=1e-10)
            kernel = fit.impulse_response[:, i]
            np.testing.assert_allclose(kernel, matrix[:, 0] * theirs.theta[own[0]], atol=1e-12)
