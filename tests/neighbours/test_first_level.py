"""A first-level analysis of fMRI compared with nilearn: events between scans, drift, motion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.signal import lfilter
from scipy.stats import gamma

import convsolve as cs
from convsolve.interop.events import impulses

pytestmark = pytest.mark.slow

SCANS, TR, RHO = 200, 2.0, 0.4
TIMES, FINE = np.arange(SCANS) * TR, np.arange(0, 32, 0.01)
TASK = ["A", "A_derivative", "B", "B_derivative"]
RESPONSE = gamma.pdf(FINE, 6) - 0.167 * gamma.pdf(FINE, 16)


def run(rng: np.random.Generator) -> tuple[dict, np.ndarray, np.ndarray]:
    """Events, BOLD and motion of a run, with a drift of 300 s."""
    onsets, kinds = np.cumsum(rng.uniform(5, 12, 32)), rng.permutation(["A", "B"] * 16)
    durations, motion = rng.choice([1.0, 3.0], 32), rng.standard_normal((SCANS, 6)).cumsum(0)
    x = np.zeros(SCANS * 200)  # at 100 Hz
    for first, last, kind in zip(onsets, onsets + durations, kinds):
        x[int(100 * first) : int(100 * last)] += 40 if kind == "A" else 24
    bold = np.convolve(x, RESPONSE / RESPONSE.sum())[: len(x) : 200]
    bold += 100 + 3 * np.sin(2 * np.pi * TIMES / 300) + motion @ rng.standard_normal(6) / 20
    bold += lfilter([1], [1, -RHO], rng.standard_normal(SCANS))
    return {"onset": onsets, "duration": durations, "trial_type": kinds}, bold, motion


def test_estimate_and_t_are_those_of_nilearn() -> None:
    """nilearn's AR(1) coefficient is not corrected for the columns of the design, and too small."""
    pytest.importorskip("nilearn")
    from nilearn.glm import ARModel, compute_contrast
    from nilearn.glm.first_level import make_first_level_design_matrix as make, run_glm
    from pandas import DataFrame

    rng = np.random.default_rng(0)
    tables, bold, motion = map(list, zip(*(run(rng) for _ in range(3))))
    drift, basis = cs.Cosines(128.0), cs.HRF("spm + derivative")

    x, names = impulses(tables, fs=5.0, samples=2000, shape="boxcar")
    given = {"edges": "zeros", "drift": drift, "confounds": motion, "basis": basis}
    problem = cs.Problem(x, bold, fs=5.0, fs_y=0.5, tmin=0, tmax=32, channels=names, **given)
    fit = cs.solve(problem, noise="ar1")
    test, rho = fit.test("A[0] - B[0]"), fit.noise.coefficients.item()

    model = {"hrf_model": "spm + derivative", "drift_model": "cosine", "high_pass": 1 / 128}
    pairs = zip(map(DataFrame, tables), motion)
    designs = [make(TIMES, events, add_regs=m, **model) for events, m in pairs]
    others = block_diag(*[design.drop(columns=TASK) for design in designs])
    whole = np.hstack([np.concatenate([design[TASK] for design in designs]), others])
    contrast, y = np.eye(whole.shape[1])[0] - np.eye(whole.shape[1])[2], np.concatenate(bold)
    theirs = ARModel(whole, rho).fit(y).Tcontrast(contrast)
    np.testing.assert_allclose(test.estimate, np.ravel(theirs.effect), rtol=0.02)
    np.testing.assert_allclose(test.t, np.ravel(theirs.t), rtol=0.02)
    labels, results = run_glm(y[:, None], whole, noise_model="ar1")
    found = compute_contrast(labels, results, contrast, stat_type="t")
    np.testing.assert_allclose(test.estimate, found.effect_size(), rtol=0.02)
    assert float(labels[0]) < rho - 0.05 < RHO


def test_cosines_are_those_of_nilearn() -> None:
    signal = pytest.importorskip("nilearn.signal")
    for scans, repetition in ((200, 2.0), (381, 0.72), (20, 2.0)):
        theirs = signal.create_cosine_drift(1 / 128, np.arange(scans) * repetition)
        ours = cs.Cosines(128.0).columns(scans, 1 / repetition)
        np.testing.assert_allclose(ours, theirs[:, :-1] * np.sqrt(scans / 2), atol=1e-12)
