"""The warning of errors for white noise if the residuals are not white."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

import convsolve as cs
from convsolve.datasets import event_related_fmri
from convsolve.inference.whiteness import lags_of, whiteness
from support.coverage import red


def made(x_pole: float, noise_pole: float, **options: Any) -> cs.Problem:
    """Of 600 rows, 10 taps and one output."""
    rng = np.random.default_rng(0)
    x = red(rng, 609, 1, x_pole)
    y = cs.convolve(x, np.ones((10, 1, 1)), cs.ConvSpec(10)) + red(rng, 600, 1, noise_pole)
    return cs.Problem(x, y, kernel_size=10, **options)


ASKING: dict[str, Callable[[cs.Solution], Any]] = {
    "standard_error": lambda fit: fit.standard_error,
    "dof": lambda fit: fit.noise.dof,
    "covariance": lambda fit: fit.covariance(),
    "band": lambda fit: fit.confidence_band(),
    "test": lambda fit: fit.test(0),
}


def test_texts_predictions_and_scores_do_not_warn() -> None:
    fit = cs.solve(made(0.9, 0.9))
    words = " ".join(str(fit).split())
    assert "residuals are correlated in time, so use noise='ar' or 'hac'" in words
    assert "correlated in time" not in str(cs.solve(made(0.9, 0.9), noise="ar"))
    fit.predict()
    fit.score()
    with pytest.warns(UserWarning, match="use noise='ar'"):
        _ = fit.standard_error


def test_the_fmri_recording_has_correlated_residuals() -> None:
    x, y = (np.split(a, 12) for a in event_related_fmri())
    fit = cs.solve(cs.Problem(x, y, lags=(0, 14), edges="zeros", drift=2))
    with pytest.warns(UserWarning, match="are correlated in time, and so is x.*use noise='ar'"):
        assert fit.standard_error.all()


@pytest.mark.parametrize("asked", ASKING)
def test_the_first_request_for_errors_warns(asked: str) -> None:
    fit = cs.solve(made(0.9, 0.9))
    message = r"residuals of output 0 .*Ljung-Box over lags 1 to 10, p < 1e-99.* use noise='ar'"
    with pytest.warns(UserWarning, match=message) as caught:
        ASKING[asked](fit)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for ask in ASKING.values():  # and not again: warnings are errors here
        ask(fit)


@pytest.mark.parametrize(
    ("x_pole", "noise_pole", "method"),
    [
        (0.9, 0.0, {}),
        (0.0, 0.9, {}),
        (0.9, 0.9, {"noise": "ar"}),
        (0.9, 0.9, {"noise": "hac"}),
        (0.9, 0.0, {"penalty": "ridge"}),
        (0.9, 0.0, {"penalty": "tc"}),
        (0.9, 0.9, {"penalty": "ridge", "noise": "ar"}),
    ],
)
def test_errors_that_are_right_do_not_warn(
    x_pole: float, noise_pole: float, method: dict[str, Any]
) -> None:
    fit = cs.solve(made(x_pole, noise_pole), **method)
    assert fit.standard_error.all()
    str(fit)


@pytest.mark.parametrize(
    ("noise_pole", "method", "weights", "way"),
    [
        (0.9, {"penalty": "ridge"}, None, "use noise='ar', or a weaker penalty"),
        (0.9, {"penalty": "tc"}, np.arange(1.0, 601), "use a weaker penalty, or noise='hac' and"),
        (
            0.0,
            {"ridge": 1e5},
            None,
            "a strong penalty leaves some of the response in",
        ),
    ],
)
def test_errors_of_penalized_fits_warn(
    noise_pole: float, method: dict[str, Any], weights: Any, way: str
) -> None:
    fit = cs.solve(made(0.9, noise_pole, weights=weights), **method)
    assert "so use noise='ar' or a weaker penalty" in " ".join(str(fit).split())
    with pytest.warns(UserWarning, match=way):
        fit.confidence_band()


def test_outliers_do_not_hide_a_correlation_and_do_not_look_like_one() -> None:
    rng = np.random.default_rng(1)
    fits = []
    for pole in (0.0, 0.9):
        problem = made(0.9, pole)
        y = problem.y[0] + 100 * (rng.random(problem.y[0].shape) < 0.05)
        fits.append(cs.solve(cs.Problem(problem.x[0], y, kernel_size=10), loss="huber"))
    assert fits[0].standard_error.all()
    with pytest.warns(UserWarning, match="use least squares with noise='ar', or 'hac'"):
        assert fits[1].standard_error.all()


@pytest.mark.parametrize(
    ("rows", "taps", "channels", "pole", "ridge"),
    [
        (2000, 40, 1, 0.9, 0), (100, 40, 1, 0.95, 0), (60, 10, 2, 0.0, 0),
        (2000, 40, 1, 0.9, 100), (100, 40, 1, 0.95, 10),
    ],
)  # fmt: skip
def test_white_noise_is_rejected_at_the_level(
    rows: int, taps: int, channels: int, pole: float, ridge: float
) -> None:
    """For any x, any number of taps, and kernels of the prior of a penalty."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(3):
        x, y = red(rng, rows + taps - 1, channels, pole), rng.standard_normal((rows, 400))
        if ridge:
            w = rng.standard_normal((taps, channels, 400)) / ridge**0.5
            y += cs.convolve(x, w, cs.ConvSpec(taps))
        fit = cs.solve(cs.Problem(x, y, kernel_size=taps, bias=True), ridge=ridge)
        chosen = fit.regularization
        freedom = taps * channels if chosen is None else chosen.effective_dof
        variance = np.square(fit.residuals()).sum(0) / (rows - freedom - 1)
        found.append(whiteness([fit.residuals()], variance, lags_of(taps, rows)))
    rate = (np.concatenate(found) < 0.05).mean()
    assert rate <= 0.05 + 2 * (0.05 * 0.95 / 1200) ** 0.5
    assert rate > 0.01 or taps > rows / 20


def test_without_a_fit_p_is_that_of_ljung_and_box() -> None:
    e = np.random.default_rng(0).standard_normal((50, 3))
    lags, q = 4, np.zeros(3)
    for lag in range(1, lags + 1):
        r = (e[lag:] * e[:-lag]).sum(0) / np.square(e).sum(0)
        q += 50 * 50 / (50 - lag) * r**2
    expected = scipy.stats.chi2.sf(q, lags)
    np.testing.assert_allclose(whiteness([e], np.square(e).mean(0), lags), expected)
    np.testing.assert_array_equal(whiteness([e], np.zeros(3), lags), 1)


def test_a_few_rows_have_no_lags() -> None:
    rng = np.random.default_rng(0)
    x, y = red(rng, 4, 1), rng.standard_normal((4, 1))
    assert cs.solve(cs.Problem(x, y, kernel_size=1)).standard_error.all()
