"""Warnings that a window cuts a response, or that a kernel is mostly noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

import convsolve as cs

RNG = np.random.default_rng(0)
X = RNG.standard_normal(3000)
NOISE = RNG.standard_normal(3000)
SLOW, SHORT = 0.9 ** np.arange(200), 0.9 ** np.arange(200) * (np.arange(200) < 12)
CUT, NOISY = "the weights do not decay at the last lags", "of the squared weights"


def solved(y: np.ndarray, x: np.ndarray = X, method: Any = None, **problem: Any) -> cs.Solution:
    given = {key: value for key, value in ({"lags": (0, 19)} | problem).items() if value}
    return cs.solve(cs.Problem(x, y, **given), **method or {})


@pytest.mark.parametrize(
    "method", [{}, {"ridge": 10.0}, {"penalty": "ridge"}, {"penalty": "tc"}, {"noise": "ar1"}]
)
def test_a_response_that_is_longer_than_the_window_is_reported(method: dict[str, Any]) -> None:
    y = lfilter(SLOW, [1], X) + NOISE
    with pytest.warns(UserWarning, match=rf"{CUT}.*use tmax= beyond 0\.19"):
        fit = solved(y, method=method, fs=100)
    assert CUT in str(fit).replace("\n            ", " ")
    assert not solved(y, method=method, lags=(0, 99)).stats["caution"]
    ended = lfilter(SHORT, [1], X) + NOISE
    assert not solved(ended, method=method).stats["caution"]


def test_negative_lags_have_an_end_too_except_those_of_decoders() -> None:
    y = lfilter(SLOW, [1], X[::-1])[::-1] + NOISE
    with pytest.warns(UserWarning, match=r"at the first lags.*use lags= beyond -19"):
        solved(y, lags=(-19, 5))
    assert not solved(y, lags=(-19, 0)).stats["caution"]
    assert not solved(y[19:], kernel_size=20, lags=None).stats["caution"]


def test_a_kernel_of_noise_is_reported() -> None:
    with pytest.warns(UserWarning, match=rf"standard errors explain 97 % {NOISY}.*ridge"):
        solved(NOISE)
    limited = sosfilt(butter(8, 0.6, output="sos"), X) + 1e-4 * NOISE
    response = lfilter(SHORT, [1], limited)
    with pytest.warns(UserWarning, match=NOISY):
        solved(response + 0.1 * NOISE, limited, lags=(0, 39))
    both = np.stack([NOISE, NOISE[::-1], lfilter(SHORT, [1], X) + NOISE], axis=1)
    with pytest.warns(UserWarning, match=NOISY):
        solved(both)  # most of the outputs
    assert not solved(both[:, [0, 2, 2]]).stats["caution"]


def test_little_signal_alone_is_no_doubt() -> None:
    y = lfilter(SHORT, [1], X)
    assert not solved(y + 6 * y.std() * NOISE).stats["caution"]
    assert not solved(y).stats["caution"]


@pytest.mark.filterwarnings("ignore:the weights do not decay")
@pytest.mark.parametrize("method", [{}, {"penalty": "ridge"}, {"penalty": "dc"}])
def test_kernels_of_many_taps(method: dict[str, Any]) -> None:
    """Conjugate gradients leave no factor."""
    x, noise, h = np.random.default_rng(1).standard_normal((3, 30_000))
    for decades, caution in ((0.6, CUT), (3.0, "")):
        response = h[:4000] * 10.0 ** (-decades * np.arange(4000) / 1100)
        fit = solved(fftconvolve(x, response)[:30_000] + noise, x, method, lags=(0, 1099))
        assert fit.stats["caution"].startswith(caution)
        assert bool(fit.stats["caution"]) == bool(caution)


@pytest.mark.parametrize(
    ("onset", "last", "recorded"), [(30, 49, 0.0), (30, 49, 1e-3), (9, 12, 0.0)]
)
@pytest.mark.parametrize("penalty", ["tc", "ridge"])
def test_a_step_whose_onset_is_excluded(
    penalty: str, onset: int, last: int, recorded: float
) -> None:
    """A prior hides that the rows do not determine the response."""
    step, method = np.repeat([0.0, 1.0], [onset, 1000 - onset]), {"penalty": penalty}
    y = lfilter(SHORT, [1], step) + 0.01 * NOISE[:1000]
    x = step + recorded * NOISE[-1000:]
    with pytest.warns(UserWarning, match="hardly changes later.*edges='zeros'"):
        solved(y, x, method, lags=(0, last))
    assert "hardly" not in solved(y, x, method, lags=(0, last), edges="zeros").stats["caution"]
