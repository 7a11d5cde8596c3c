"""Patterns of a decoder compared with `ReceptiveField` of MNE, whose joint ones are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.interop import to_mne

mne = pytest.importorskip("mne")

from mne.decoding import ReceptiveField, TimeDelayingRidge  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402

pytestmark = pytest.mark.slow

RATE, RIDGE, LAGS = 10.0, 20.0, (-4, 3)
RNG = np.random.default_rng(0)
# Zeros at both ends, and a mean of zero: then every lag has a mean of zero, as MNE assumes.
X = np.zeros((600, 3))
X[10:-10] = RNG.standard_normal((580, 3)) @ RNG.standard_normal((3, 3))
X[10:-10] -= X[10:-10].mean(0)
Y = np.stack([np.roll(X[:, c], 2) for c in (0, 1)], 1) + RNG.standard_normal((600, 2)) + 1
DELAYING = {"tmin": LAGS[0] / RATE, "tmax": LAGS[1] / RATE, "sfreq": RATE}
ESTIMATORS: dict[str, Any] = {
    "TimeDelayingRidge": TimeDelayingRidge(**DELAYING, alpha=RIDGE, fit_intercept=False),
    "scikit-learn": Ridge(RIDGE, fit_intercept=False),
}


def by_mne(name: str, y: np.ndarray) -> Any:
    given = {"estimator": ESTIMATORS[name], "fit_intercept": False, "patterns": True}
    with mne.use_log_level("error"):
        return ReceptiveField(**DELAYING, **given).fit(X, y)


def by_convsolve(y: np.ndarray) -> cs.Solution:
    return cs.solve(cs.Problem(X, y, lags=LAGS, edges="zeros"), ridge=RIDGE)


def same(found: Any, wanted: Any) -> None:
    assert np.shape(found) == np.shape(wanted)
    assert np.abs(found - wanted).max() < 1e-12 * np.abs(wanted).max()


def patterns(fit: cs.Solution) -> np.ndarray:
    """The patterns by the covariance of the outputs, in MNE's layout."""
    return to_mne(fit._patterns("outputs"))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_patterns_of_one_output(name: str) -> None:
    """MNE divides by n − 1, not by the variance of y."""
    y = Y[:, 0]
    factor = np.var(y, ddof=1) / (len(y) - 1)
    same(by_mne(name, y).patterns_, patterns(by_convsolve(y))[0] * factor)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_joint_patterns_of_mne_mix_the_taps_of_several_outputs(name: str) -> None:
    """It reads weights (outputs, features, lags) as if they were (features · lags, outputs)."""
    field, found = by_mne(name, Y), patterns(by_convsolve(Y))
    taps = LAGS[1] - LAGS[0] + 1
    padded = np.pad(X, ((taps, taps), (0, 0)))
    shifted = [padded[taps - lag : len(padded) - taps - lag] for lag in range(LAGS[0], LAGS[1] + 1)]
    lagged = np.stack(shifted, axis=2).reshape(len(X), 3 * taps)
    inverse = np.linalg.inv(np.cov(Y.T))
    misread = field.coef_.reshape(3 * taps, 2)
    same(field.patterns_, (np.cov(lagged.T) @ misread @ inverse).reshape(2, 3, taps))
    transposed = field.coef_.reshape(2, 3 * taps).T
    same(found, (np.cov(lagged.T) @ transposed @ inverse).T.reshape(2, 3, taps))
    # Outputs are nearly uncorrelated, so that joint patterns resemble those of single outputs.
    for q in range(2):
        alone = by_mne(name, Y[:, q]).patterns_.ravel()
        of_mne, of_us = (np.corrcoef(p[q].ravel(), alone)[0, 1] for p in (field.patterns_, found))
        assert of_us > 0.95
        assert of_mne < 0.8
