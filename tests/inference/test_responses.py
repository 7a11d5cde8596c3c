"""Frequency and step response, delay and whiteness."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import scipy.stats
from scipy.signal import freqz, lfilter

import convsolve as cs

FS, TAPS = 100.0, 16
RNG = np.random.default_rng(0)
KERNEL = np.stack([np.r_[0, 0, 0, 0.8 ** np.arange(13)], np.r_[0, 1, np.zeros(14)]], axis=1)
X = RNG.standard_normal((1200, 2))
CLEAN = sum(lfilter(KERNEL[:, c], [1], X[:, c]) for c in (0, 1))
Y = np.stack([CLEAN, -2 * CLEAN], axis=1) + RNG.standard_normal((1200, 2))


def solved(noise: str = "white", **options: Any) -> cs.Solution:
    problem = cs.Problem(X, Y, **{"lags": (0, TAPS - 1), "fs": FS} | options)
    return cs.solve(problem, noise=noise)


@pytest.mark.parametrize("noise", ["white", "ar1", "hac"])
def test_the_frequency_response_is_that_of_freqz_with_errors_of_the_covariance(noise: str) -> None:
    fit = solved(noise)
    response = fit.frequency_response(level=0.9)
    for c, o in np.ndindex(2, 2):
        at, wanted = freqz(fit.impulse_response[:, c, o], worN=response.frequencies, fs=FS)
        np.testing.assert_allclose(response.response[:, c, o], wanted, rtol=0, atol=1e-12)
        waves = np.exp(-2j * np.pi * np.outer(at, fit.times))
        turn = (waves * (wanted.conj() / np.abs(wanted))[:, None]).real
        error = np.sqrt(np.diagonal(turn @ fit.covariance(o)[c::2, c::2] @ turn.T))
        reach = scipy.stats.t.ppf(0.95, fit.noise.dof[o]) * error
        low, high = (end[:, c, o] for end in response.magnitude_band)
        np.testing.assert_allclose(high, np.abs(wanted) + reach, rtol=1e-8)
        np.testing.assert_allclose(low[low > 0], (np.abs(wanted) - reach)[low > 0], rtol=1e-8)
    json.dumps(response.to_dict())


def test_the_phase_has_fiellers_interval() -> None:
    """Tangents of the ellipse contain the angles of its points, and touch it."""
    fit = solved()
    response = fit.frequency_response([7.0, 21.0], level=0.95)
    waves = np.exp(-2j * np.pi * np.outer(response.frequencies, fit.times))
    parts = np.concatenate([waves.real, waves.imag])
    spread = (parts @ fit.covariance(0)[::2, ::2] @ parts.T).reshape(2, 2, 2, 2)
    angle = np.linspace(0, 2 * np.pi, 20_001)
    circle = scipy.stats.t.ppf(0.975, fit.noise.dof[0]) * np.stack([np.cos(angle), np.sin(angle)])
    for i in range(2):
        ring = np.linalg.cholesky(spread[:, i, :, i]) @ circle
        off = np.angle(
            (response.response[i, 0, 0] + ring[0] + 1j * ring[1]) / response.response[i, 0, 0]
        )
        ends = [end[i, 0, 0] - response.phase[i, 0, 0] for end in response.phase_band]
        np.testing.assert_allclose(ends, [off.min(), off.max()], rtol=1e-5)


def test_simultaneous_bands_contain_those_at_each_frequency() -> None:
    fit = solved()
    each, every = (fit.frequency_response(simultaneous=flag) for flag in (False, True))
    for name in ("magnitude_band", "phase_band", "decibels_band"):
        (low, high), (lower, higher) = getattr(each, name), getattr(every, name)
        assert ((lower <= low) & (high <= higher)).all()


def test_a_magnitude_that_may_be_zero_has_no_lower_end() -> None:
    rng = np.random.default_rng(1)
    x, noise = rng.standard_normal((2, 500))
    response = cs.solve(cs.Problem(x, noise, lags=(0, 9))).frequency_response()
    assert np.isneginf(response.decibels_band[0]).mean() > 0.5
    low, high = response.phase_band
    assert np.isnan(response.phase).mean() > 0.5
    np.testing.assert_array_equal(np.isnan(response.phase), np.isnan(high - low))


@pytest.mark.parametrize("noise", ["white", "ar1"])
def test_the_step_response_has_the_errors_of_tests_of_sums(noise: str) -> None:
    fit = solved(noise)
    step = fit.step_response()
    for last, c, o in [(3, 0, 0), (TAPS - 1, 1, 1)]:
        weights = np.zeros((TAPS, 2))
        weights[: last + 1, c] = 1
        test = fit.test(contrast=weights)
        np.testing.assert_allclose(step.response[last, c, o], test.estimate[o], rtol=1e-10)
        np.testing.assert_allclose(
            step.standard_error[last, c, o], test.standard_error[o], rtol=1e-8
        )
    np.testing.assert_array_equal(step.gain, step.response[-1])
    wide = fit.step_response(simultaneous=True)
    assert (wide.band[1] > step.band[1]).all()
    json.dumps(step.to_dict())


def test_the_delay_is_bounded_by_the_first_certain_lag() -> None:
    delay = solved().delay()
    np.testing.assert_allclose(delay.peak[:, 0], [0.03, 0.01])
    np.testing.assert_allclose(delay.latest[:, 0], [0.03, 0.01])
    low, high = delay.peak_range
    assert ((low <= delay.peak) & (delay.peak <= high)).all()
    noise = np.random.default_rng(2).standard_normal((2, 300))
    assert np.isnan(cs.solve(cs.Problem(*noise, lags=(0, 9))).delay().latest)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"lags": (-2, 7), "channels": ["valve", "heater"]}, (2, 2)),
        ({"lags": None, "kernel_size": 5, "fs": None}, (2, 2)),
        ({"lags": None, "kernel_size": 5, "groups": 2, "fs": None}, (2,)),
    ],
)
def test_responses_have_the_shape_of_the_impulse_response(
    options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    given = {key: value for key, value in options.items() if value is not None}
    fit = cs.solve(cs.Problem(X, Y[len(Y) - 1200 + 4 :] if "kernel_size" in given else Y, **given))
    response = fit.frequency_response([0.0, 0.25])
    assert response.response.shape == (2, *shape)
    np.testing.assert_allclose(response.response[0], fit.impulse_response.sum(0), rtol=1e-10)
    assert fit.step_response().gain.shape == fit.delay().peak.shape == shape


def test_kernels_are_called_by_the_channel_of_their_group() -> None:
    names = {"channels": ["valve", "heater"], "outputs": ["temp", "flow"]}
    for groups, wanted in (
        (1, "valve → temp, valve → flow, heater → temp, heater → flow"),
        (2, "valve → temp, heater → flow"),
    ):
        fit = cs.solve(cs.Problem(X, Y, lags=(0, TAPS - 1), groups=groups, **names))
        assert ", ".join(fit.step_response().kernels) == wanted
        assert len(str(fit.delay()).splitlines()) == 1 + 4 // groups


def test_records_that_differ_give_wider_simultaneous_bands() -> None:
    x, noise = np.random.default_rng(3).standard_normal((2, 12, 200, 1))
    fit = cs.solve(cs.Problem(x, x + noise, lags=(0, 4)), noise="cluster")
    each, every = (fit.frequency_response([0.1], simultaneous=flag) for flag in (False, True))
    assert every.magnitude_band[1] > each.magnitude_band[1]


def test_whiteness_is_the_test_of_ljung_and_box() -> None:
    fit = solved()
    found = fit.whiteness(20)
    for o in range(2):
        e = fit.residuals()[:, o]
        e = e[np.isfinite(e)]
        n, r = len(e), np.array([e[k:] @ e[:-k] for k in range(1, 21)]) / (e @ e)
        wanted = n * (n + 2) * (r**2 / (n - np.arange(1, 21))).sum()
        np.testing.assert_allclose(found.statistic[o], wanted, rtol=0.1)
        np.testing.assert_allclose(found.pvalue[o], scipy.stats.chi2.sf(wanted, 20), atol=0.1)
    assert solved("ar2").whiteness().dof.tolist() == [TAPS, TAPS]


def test_figures_draw_both_responses() -> None:
    pytest.importorskip("matplotlib")
    fit = solved()
    magnitude, phase = fit.plot(kind="bode", channels=0, outputs=1).axes
    at, decibels = magnitude.lines[0].get_data()
    np.testing.assert_allclose(decibels, fit.frequency_response(at).decibels[:, 0, 1])
    assert phase.get_ylabel() == "phase (degrees)"
    degrees = np.rad2deg(fit.frequency_response(at).phase[:, 0, 1])
    np.testing.assert_allclose(phase.lines[0].get_ydata(), degrees)
    (step,) = fit.plot(kind="step", channels=0, outputs=1).axes
    np.testing.assert_allclose(step.lines[-1].get_ydata(), fit.step_response().response[:, 0, 1])


def test_figures_of_fits_without_errors_have_no_bands() -> None:
    pytest.importorskip("matplotlib")
    x, noise = np.random.default_rng(2).standard_normal((2, 300))
    fit = cs.solve(cs.Problem(x, x + noise, lags=(0, 9)), cs.GradientDescent(steps=3))
    assert fit.plot(kind="bode").get_suptitle() == "Frequency response"
    assert fit.plot(kind="step").axes[0].get_title() == "Step response"
    assert solved().plot(kind="bode").get_suptitle() == "Frequency response, 95 % band"
    with pytest.raises(ValueError, match="the status is 'max steps'"):
        fit.frequency_response()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda fit: fit.frequency_response(simultaneous=True), "do not hold simultaneously"),
        (lambda fit: fit.frequency_response([np.nan]), "frequencies must be"),
        (lambda fit: fit.frequency_response("all"), "frequencies must be"),
        (lambda fit: fit.frequency_response([1 + 2j]), "frequencies must be"),
        (lambda fit: fit.frequency_response([]), "frequencies must be"),
        (lambda fit: fit.whiteness(0), "lags must be"),
        (lambda fit: fit.whiteness(1200), "lags must be from 1 to 1184, got 1200"),
    ],
)
def test_responses_are_refused_in_a_sentence(asked: Any, words: str) -> None:
    fit = cs.solve(cs.Problem(X, Y, lags=(0, TAPS - 1)), ridge=1.0)
    with pytest.raises(ValueError, match=words):
        asked(fit)
    assert np.isnan(fit.delay().latest).all()
