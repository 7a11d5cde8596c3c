"""The warning of errors for white noise if the residuals are not white."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

import convsolve as cs
from convsolve.inference.doubts import whiteness
from support.coverage import red


def made(x_pole: float, noise_pole: float, outliers: float = 0, **options: Any) -> cs.Problem:
    """Of 600 rows, 10 taps and one output, with outliers in some of its rows."""
    rng = np.random.default_rng(0)
    x = red(rng, 609, 1, x_pole)
    y = cs.convolve(x, np.ones((10, 1, 1)), cs.ConvSpec(10)) + red(rng, 600, 1, noise_pole)
    return cs.Problem(x, y + outliers * (rng.random(y.shape) < 0.05), kernel_size=10, **options)


ASKING: list[Callable[[cs.Solution], Any]] = [
    lambda fit: fit.standard_error,
    lambda fit: fit.noise.dof,
    lambda fit: fit.covariance(),
    lambda fit: fit.confidence_band(),
    lambda fit: fit.test(0),
]


@pytest.mark.parametrize("asked", ASKING)
def test_the_first_request_for_errors_warns(asked: Callable[[cs.Solution], Any]) -> None:
    """Texts, predictions and scores do not warn."""
    fit = cs.solve(made(0.9, 0.9))
    str(fit)
    fit.predict()
    fit.score()
    message = r"residuals of output 0 .* over lags 1 to 10, p at most 1e-99.* use noise='ar'"
    with pytest.warns(UserWarning, match=message) as caught:
        asked(fit)
    assert [warning.filename for warning in caught] == [__file__]
    for ask in ASKING:  # and not again: warnings are errors here
        ask(fit)


@pytest.mark.parametrize(
    ("x_pole", "noise_pole", "outliers", "method"),
    [
        (0.9, 0.0, 0, {}),
        (0.0, 0.9, 0, {}),
        (0.9, 0.9, 0, {"noise": "ar"}),
        (0.9, 0.9, 0, {"noise": "hac"}),
        (0.9, 0.0, 0, {"penalty": "ridge"}),
        (0.9, 0.9, 0, {"penalty": "ridge", "noise": "ar"}),
        (0.9, 0.0, 100, {"loss": "huber"}),
    ],
)
def test_errors_that_are_right_do_not_warn(
    x_pole: float, noise_pole: float, outliers: float, method: dict[str, Any]
) -> None:
    fit = cs.solve(made(x_pole, noise_pole, outliers), **method)
    assert fit.standard_error.all()


@pytest.mark.parametrize(
    ("noise_pole", "method", "weights", "way"),
    [
        (0.9, {"penalty": "ridge"}, None, "use noise='ar', or noise='hac' and no penalty, or a"),
        (0.9, {"penalty": "tc"}, np.arange(1.0, 601), "use noise='hac' and no penalty, or a weak"),
        (0.0, {"ridge": 1e5}, None, "a weaker penalty, which leaves less of the response in the"),
        (0.9, {"loss": "huber"}, None, "use least squares with noise='ar', or noise='hac'"),
    ],
)
def test_the_warning_names_a_way(
    noise_pole: float, method: dict[str, Any], weights: Any, way: str
) -> None:
    """Outliers do not hide a correlation from a robust estimate."""
    outliers = 100 if "loss" in method else 0
    fit = cs.solve(made(0.9, noise_pole, outliers, weights=weights), **method)
    with pytest.warns(UserWarning, match=way):
        fit.confidence_band()


@pytest.mark.parametrize(
    ("rows", "taps", "channels", "pole", "ridge"),
    [(2000, 40, 1, 0.9, 0), (60, 10, 2, 0.0, 0), (100, 40, 1, 0.95, 10)],
)
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
        found.append(whiteness([fit.residuals()], variance, min(taps, rows // 5)).pvalue)
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
    np.testing.assert_allclose(whiteness([e], np.square(e).mean(0), lags).pvalue, expected)
    np.testing.assert_array_equal(whiteness([e], np.zeros(3), lags).pvalue, 1)
    # Four rows have no lags.
    assert cs.solve(cs.Problem(e[:4, 0], e[:4, 1], kernel_size=1)).standard_error.all()
