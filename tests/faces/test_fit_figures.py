"""Figures of a fit: the rows, times and limits that they show."""

import numpy as np
import pytest
import scipy.signal
import scipy.stats

import convsolve as cs
from convsolve.plotting.figures import plot
from support.pictures import drawn, line, noise, panel, titles


@pytest.fixture(scope="module")
def some():
    """The response of three outputs to two channels, with little noise in the second."""
    x, names = noise(400, 2), ["Fz", "Cz", "Pz"]
    y = cs.convolve(x, noise(5, 2, 3, seed=1), cs.ConvSpec(5, padding="causal"))
    y += [1.0, 0.1, 1.0] * noise(400, 3, seed=2)
    return cs.solve(cs.Problem(x, y, lags=(0, 4), fs=100, outputs=names, bias=True))


def known(values):
    """Those that are not NaN, as in the rows that were used."""
    return values[np.isfinite(values)]


def test_prediction_and_residual_lie_on_the_rows_of_y():
    """They begin at the first row that is used, and show a readable stretch."""
    x, y, mask = noise(900), noise(900, seed=1), np.arange(900) >= 320
    drift = np.linspace(0, 50, 900)  # confounds are subtracted
    fit = cs.solve(cs.Problem(x, y + drift, lags=(2, 4), mask=mask, drift=1))
    y = fit.predict() + fit.residuals()
    assert np.nanmax(np.abs(y)) < 9
    _, upper, lower = drawn(fit).axes
    shown = {"measured": y, "predicted": fit.predict(), "residual": fit.residuals()}
    for label, values in shown.items():
        curve = line(lower if label == "residual" else upper, label)
        np.testing.assert_array_equal(curve.get_xdata(), np.arange(320, 520))
        np.testing.assert_allclose(curve.get_ydata(), values[320:520], atol=1e-12)


@pytest.mark.parametrize(
    ("about", "first", "step"),
    [({"lags": (3, 9)}, 9, 1), ({"lags": (-4, 2)}, 2, 1), ({"kernel_size": 5}, 0, 1),
     ({"lags": (3, 9), "edges": "zeros"}, 0, 1), ({"kernel_size": 5, "stride": 3}, 0, 3)],
)  # fmt: skip
def test_times_are_those_of_the_samples_of_x(about, first, step):
    rows = 300 if "lags" in about else cs.Problem(noise(300), **about).n_equations
    for fs, unit, size in ((500, "ms", 1e3), (5, "s", 1)):  # up to 2 s, and more
        fit = cs.solve(cs.Problem(noise(300), noise(rows, seed=1), fs=fs, **about))
        axes = plot(fit, "residual").axes[0]
        assert axes.get_xlabel() == f"time ({unit})"
        times = line(axes, "residual").get_xdata()
        np.testing.assert_allclose(times[:3] * fs / size, first + step * np.arange(3))


def test_the_output_of_largest_r2_is_shown(some):
    title = panel(plot(some), "Measured").get_title()
    assert title == f"Measured (grey) and predicted (blue), Cz, R² {some.score().r2[1]:.3f}"
    assert "Pz" in panel(plot(some, outputs=["Pz"]), "Residual").get_title()
    y, prediction = plot(some, "against").axes[0].get_lines()[1].get_data()
    np.testing.assert_allclose(prediction, known(some.predict()[:, 1]))
    np.testing.assert_allclose(y - prediction, known(some.residuals()[:, 1]), atol=1e-14)
    scores = plot(some, "scores").axes[0]
    np.testing.assert_array_equal(scores.get_lines()[0].get_ydata(), np.sort(some.score().r2)[::-1])


def test_residuals_are_drawn_with_their_autocorrelation_and_quantiles(some):
    figure = plot(some, kind="residuals", outputs="Pz")
    left = known(some.residuals()[:, 2])
    np.testing.assert_allclose(figure.axes[0].get_lines()[1].get_ydata(), left[:200])
    axes = panel(figure, "Autocorrelation of residuals")
    lags, found = np.array([s[1] for s in axes.collections[0].get_segments()]).T
    np.testing.assert_allclose(lags, np.arange(1, 41) * 10)
    own = np.correlate(left, left, "full")[len(left) - 1 :]
    np.testing.assert_allclose(found, own[1:41] / own[0], atol=1e-12)
    np.testing.assert_allclose(limit_of(axes), 1.96 / np.sqrt(len(left)))
    quantiles, values = panel(figure, "Quantiles").get_lines()[1].get_data()
    np.testing.assert_array_equal(values, np.sort(left))
    wanted = scipy.stats.norm.ppf((np.arange(len(left)) + 0.5) / len(left))
    np.testing.assert_allclose(quantiles, wanted, atol=1e-12)


def limit_of(axes):
    """The upper end of the grey strip of limits."""
    return axes.patches[0].get_y() + axes.patches[0].get_height()


def test_filtered_residuals_are_drawn_for_autoregressive_noise():
    """The filter of an output uses rows with as many rows before them as its order."""
    x, y = noise(600), scipy.signal.lfilter([1], [1, -0.9, 0.3], noise(600, 2, seed=1), axis=0)
    y[200:230, 1] = np.nan
    y += x[:, None] + 10
    fit = cs.solve(cs.Problem(x, y, lags=(0, 3), missing="drop", bias=True), noise="ar2")
    figure, e = plot(fit, kind="residuals", outputs=1), fit.residuals()[:, 1]
    one, two = fit.noise.coefficients[1]
    wanted = known(e[2:] - one * e[1:-1] - two * e[:-2])
    values = panel(figure, "Quantiles of filtered residuals").get_lines()[1].get_ydata()
    np.testing.assert_allclose(values, np.sort(wanted), rtol=1e-9, atol=1e-12)
    assert "Autocorrelation of filtered residuals" in titles(figure)


@pytest.mark.parametrize(
    ("about", "ends"),
    [({"lags": (-5, 12)}, (-5, 12)), ({"lags": (-5, 12), "edges": "zeros"}, (-5, 12)),
     ({"lags": (3, 12)}, (3, 12)), ({"kernel_size": 5}, (-4, 0)),
     ({"kernel_size": 5, "padding": "causal"}, (0, 4))],
)  # fmt: skip
def test_residuals_are_uncorrelated_with_x_inside_the_window(about, ends):
    """Least squares makes them orthogonal to x at the lags of the kernel, and at no other."""
    x = noise(3000, 2)
    x -= x.mean(0)
    rows = 2996 if about.get("padding", "valid") == "valid" and "lags" not in about else 3000
    fit = cs.solve(cs.Problem(x, noise(rows, seed=1), **about))
    axes = plot(fit, "cross correlation").axes[0]
    for c in range(2):
        shifts, values = line(axes, f"channel {c}").get_data()
        inside = (shifts >= ends[0]) & (shifts <= ends[1])
        assert np.abs(values[inside]).max() < 1e-3 < np.abs(values[~inside]).max()
    window = axes.patches[1]
    assert (window.get_x(), window.get_x() + window.get_width()) == ends


def test_residuals_of_records_with_a_bias_are_unrelated_to_x():
    x = [noise(300, seed=i) + i for i in range(3)]
    y = [noise(300, seed=3 + i) - i for i in range(3)]
    fit = cs.solve(cs.Problem(x, y, lags=(0, 9), bias=True))
    shifts, values = plot(fit, "cross correlation").axes[0].get_lines()[0].get_data()
    assert np.abs(values[(shifts >= 0) & (shifts <= 9)]).max() < 1e-10


def test_limits_of_correlated_series_are_those_of_bartlett():
    x, y = scipy.signal.lfilter([1], [1, -0.9], noise(2, 20000), axis=1)
    axes = plot(cs.solve(cs.Problem(x, y, lags=(0, 0))), "cross correlation").axes[0]
    # The variance is (1 + 0.81)/(1 - 0.81) times that of white series.
    np.testing.assert_allclose(limit_of(axes), 1.96 * (1.81 / 0.19 / 20000) ** 0.5, rtol=0.15)
