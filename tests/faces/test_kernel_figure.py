"""Pictures of kernels, many or chosen ones, and of a fit beside its data."""

import numpy as np
import pytest
import scipy.signal
import scipy.stats

import convsolve as cs
from convsolve.plotting.figures import plot
from support.pictures import legend, line, noise, panel, titles


def fitted(n_channels, n_outputs, taps=5, outputs=None, bias=False, **method):
    x = noise(400, n_channels)
    kernel = noise(taps, n_channels, n_outputs, seed=1)
    y = cs.convolve(x, kernel, cs.ConvSpec(taps, padding="causal"))
    y = y + 0.1 * noise(400, n_outputs, seed=2)
    about = {"fs": 100, "outputs": outputs, "bias": bias}
    return cs.solve(cs.Problem(x, y, lags=(0, taps - 1), **about), **method)


@pytest.fixture(scope="module")
def some():
    return fitted(2, 3, outputs=["Fz", "Cz", "Pz"], bias=True)


def test_channels_and_outputs_are_chosen_by_name_or_number():
    many = fitted(16, 32, outputs=[f"E{i}" for i in range(32)])
    figure = plot(many, channels=3, outputs=["E5", 0])
    assert titles(figure)[0] == "Impulse response, 95 % confidence band"
    assert legend(figure.axes[0]) == ["channel 3 → output E5", "channel 3 → output E0"]
    curve = line(figure.axes[0], "channel 3 → output E5")
    np.testing.assert_array_equal(curve.get_ydata(), many.kernel[::-1, 3, 5])
    np.testing.assert_allclose(curve.get_xdata(), 10 * np.arange(5))
    panel(figure, "Measured and predicted y: E5")


def test_a_grid_has_a_row_for_every_output_and_bands(some):
    figure = plot(some, kind="grid")
    assert titles(figure) == [
        f"channel {c} → output {o}" for o in ("Fz", "Cz", "Pz") for c in range(2)
    ]
    lower, upper = some.confidence_band()
    for i, axes in enumerate(figure.axes):
        o, c = divmod(i, 2)
        (band,) = axes.collections
        heights = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose(heights.min(), lower[:, c, o].min())
        np.testing.assert_allclose(heights.max(), upper[:, c, o].max())
        np.testing.assert_array_equal(axes.get_lines()[1].get_ydata(), some.kernel[::-1, c, o])
    assert figure.get_suptitle() == "Impulse response, 95 % confidence band"


def test_nothing_is_drawn_outside_the_window_of_a_channel():
    taps = np.ones((8, 2), bool)
    taps[6:, 1] = False
    x = noise(300, 2)
    problem = cs.Problem(x, x[:, 0] + noise(300, seed=1), lags={0: (0, 7), 1: (0, 5)})
    for kind in ("lines", "grid", "image"):
        axes = plot(cs.solve(problem), kind=kind).axes
        if kind == "image":
            drawn = axes[0].collections[0].get_array()
            (cells,) = axes[0].patches  # grey, because white is a weight of zero
            assert cells.get_label() == "not in the model"
            assert cells.get_path().get_extents().bounds == (5.5, 0.5, 2.0, 1.0)
        else:
            drawn = [
                one.get_lines()[1 if kind == "grid" else 1 + i].get_ydata()
                for i, one in enumerate(axes[:2] if kind == "grid" else [axes[0]] * 2)
            ]
            assert np.isfinite([one.get_ylim() for one in axes[:1]]).all()
        np.testing.assert_array_equal(np.isnan(np.asarray(drawn, float)), ~taps.T)


def test_confounds_are_subtracted_from_y():
    x, drift = noise(200), np.linspace(0, 50, 200)
    fit = cs.solve(cs.Problem(x, x + drift + noise(200, seed=1), lags=(0, 2), drift=1))
    curve = line(panel(plot(fit), "Measured and predicted y"), "measured")
    assert np.abs(curve.get_ydata()).max() < 9


def test_kernels_that_cannot_be_drawn():
    fit = cs.solve(cs.Problem(noise(9, 9), noise(8, 8, seed=1), kernel_size=(2, 2)))
    with pytest.raises(ValueError, match="kind='grid' draws one axis; of kernels of several use"):
        cs.plot(fit, kind="grid")
    fit = cs.solve(cs.Problem(noise(40, 2), noise(39, 2, seed=1), kernel_size=2, groups=2))
    with pytest.raises(ValueError, match="belong to different groups"):
        cs.plot(fit, channels=0, outputs=1)


def known(values):
    """Those that are not NaN, as in the rows that were used."""
    return values[np.isfinite(values)]


def test_prediction_is_drawn_over_time_and_against_y(some):
    figure = plot(some, kind="prediction", outputs=["Cz", "Pz"])
    assert titles(figure) == [
        "Measured and predicted y: Cz", "Predicted against measured: Cz", "R² on the training data",
    ]  # fmt: skip
    points = line(figure.axes[1], "one row")
    y, prediction = points.get_data()
    np.testing.assert_allclose(prediction, known(some.predict()[:, 1]))
    np.testing.assert_allclose(y - prediction, known(some.residuals()[:, 1]), atol=1e-14)
    np.testing.assert_array_equal(figure.axes[2].get_lines()[0].get_ydata(), some.score().r2[1:])


def test_residuals_are_drawn_with_their_autocorrelation_and_quantiles(some):
    figure = plot(some, kind="residuals", outputs="Pz")
    assert titles(figure) == [
        "Residuals: Pz", "Autocorrelation of the residuals", "Normal Q–Q plot: Pz",
    ]  # fmt: skip
    left = known(some.residuals()[:, 2])
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), left)
    curve = line(figure.axes[1], "residuals")
    lags, found = curve.get_data()
    np.testing.assert_allclose(lags, np.arange(1, 41) * 10)
    own = np.correlate(left, left, "full")[len(left) - 1 :]
    np.testing.assert_allclose(found, own[1:41] / own[0], atol=1e-12)
    quantiles, values = line(figure.axes[2], "residuals").get_data()
    np.testing.assert_array_equal(values, np.sort(left))
    wanted = scipy.stats.norm.ppf((np.arange(len(left)) + 0.5) / len(left))
    np.testing.assert_allclose(quantiles, wanted, atol=1e-12)


def test_filtered_residuals_are_drawn_for_autoregressive_noise():
    """The filter of an output uses rows with as many rows before them as its order."""
    x, y = noise(600), scipy.signal.lfilter([1], [1, -0.9, 0.3], noise(600, 2, seed=1), axis=0)
    y[200:230, 1] = np.nan
    y += x[:, None] + 10
    fit = cs.solve(cs.Problem(x, y, lags=(0, 3), missing="drop", bias=True), noise="ar2")
    for output in (0, 1):
        figure = plot(fit, kind="residuals", outputs=output)
        assert titles(figure)[1] == "Autocorrelation of the filtered residuals"
        rho = fit.noise.coefficients[output]
        e = fit.residuals()[:, output]
        wanted = known(e[2:] - rho[0] * e[1:-1] - rho[1] * e[:-2])
        _, values = line(figure.axes[2], "filtered residuals").get_data()
        np.testing.assert_allclose(values, np.sort(wanted), rtol=1e-9, atol=1e-12)
        first = line(figure.axes[1], "filtered residuals").get_ydata()[0]
        np.testing.assert_allclose(first, wanted[1:] @ wanted[:-1] / (wanted @ wanted), atol=1e-12)


def test_patterns_are_drawn_as_a_kernel_without_bands(some):
    axes = plot(some, kind="patterns", outputs="Cz").axes[0]
    curve = line(axes, "channel 1 → output Cz")
    np.testing.assert_array_equal(curve.get_ydata(), some.patterns()[:, 1, 1])
    assert not axes.collections
