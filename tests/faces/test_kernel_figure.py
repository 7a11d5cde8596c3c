"""Pictures of kernels, many or chosen ones, and of a fit beside its data."""

import numpy as np
import pytest
import scipy.stats

import convsolve as cs
from support.pictures import drawn, image, legend, line, noise, panel, titles

NAMES = [f"E{i}" for i in range(32)]
# A kernel of channel c and output o in ascending lags.
LAGS = np.arange(5)


def fitted(n_channels, n_outputs, *, rows=400, off=0.1, **about):
    x = noise(rows, n_channels)
    kernel = noise(len(LAGS), n_channels, n_outputs, seed=1)
    y = cs.convolve(x, kernel[::-1], cs.ConvSpec(len(LAGS), padding="causal"))
    y = y + off * noise(rows, n_outputs, seed=2)
    return cs.solve(cs.Problem(x, y, lags=(0, len(LAGS) - 1), **about))


@pytest.fixture(scope="module")
def many():
    return fitted(16, 32, fs=100, outputs=NAMES)


@pytest.fixture(scope="module")
def some():
    return fitted(2, 3, outputs=["Fz", "Cz", "Pz"], fs=100, bias=True)


def test_channels_and_outputs_are_chosen_by_name_or_number(many):
    figure = drawn(many, channels=3, outputs=["E5", 0])
    assert titles(figure)[0] == "Impulse response, 95 % confidence band"
    assert legend(figure.axes[0]) == ["channel 3 → output E5", "channel 3 → output E0"]
    curve = line(figure.axes[0], "channel 3 → output E5")
    np.testing.assert_array_equal(curve.get_ydata(), many.kernel[::-1, 3, 5])
    np.testing.assert_allclose(curve.get_xdata(), LAGS * 10)
    panel(figure, "Measured and predicted y: E5")


def test_fewer_outputs_than_channels_have_the_panels():
    fit = fitted(12, 2)
    assert titles(drawn(fit, kind="image"))[:2] == ["output 0", "output 1"]
    np.testing.assert_array_equal(image(drawn(fit, kind="image").axes[1]), fit.kernel[::-1, :, 1].T)


def test_a_grid_has_a_row_for_every_output_and_bands(some):
    figure = drawn(some, kind="grid")
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


def test_channels_of_other_groups_have_no_kernel():
    fit = cs.solve(cs.Problem(noise(40, 2), noise(39, 2, seed=1), kernel_size=2, groups=2))
    with pytest.raises(ValueError, match="belong to different groups: no kernel joins them"):
        cs.plot(fit, channels=0, outputs=1)


def test_images_are_no_lines():
    fit = cs.solve(cs.Problem(noise(9, 9), noise(8, 8, seed=1), kernel_size=(2, 2)))
    with pytest.raises(ValueError, match="kind='grid' draws one axis; of kernels of several use"):
        cs.plot(fit, kind="grid")
    assert titles(drawn(fit, kind="image"))[0] == ""


def known(values):
    """Those that are not NaN, as in the rows that were used."""
    return values[np.isfinite(values)]


def test_prediction_is_drawn_over_time_and_against_y(some):
    figure = drawn(some, kind="prediction", outputs=["Cz", "Pz"])
    assert titles(figure) == [
        "Measured and predicted y: Cz", "Predicted against measured: Cz", "R² on the training data",
    ]  # fmt: skip
    points = line(figure.axes[1], "one row")
    y, prediction = points.get_data()
    np.testing.assert_allclose(prediction, known(some.predict()[:, 1]))
    np.testing.assert_allclose(y - prediction, known(some.residuals()[:, 1]), atol=1e-14)
    np.testing.assert_array_equal(figure.axes[2].get_lines()[0].get_ydata(), some.score().r2[1:])


def test_residuals_are_drawn_with_their_autocorrelation_and_quantiles(some):
    figure = drawn(some, kind="residuals", outputs="Pz")
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


def test_confounds_are_taken_off_what_is_shown():
    x, drift = noise(200), np.linspace(0, 50, 200)
    y = x + drift + 0.1 * noise(200, seed=1)
    fit = cs.solve(cs.Problem(x, y, lags=(0, 2), confounds=1))
    assert (
        np.abs(line(panel(drawn(fit), "Measured and predicted y"), "measured").get_ydata()).max()
        < 5
    )


def test_a_choice_of_penalty_is_drawn_with_names():
    x, y = noise(200, 1), noise(200, 2, seed=1)
    problem = cs.Problem(x, y, lags=(0, 3), outputs=["left", "right"])
    fit = cs.solve(problem, penalty="ridge")
    figure = drawn(fit, kind="penalty", outputs="right")
    assert legend(figure.axes[0])[0] == "output right"
    at = line(figure.axes[0], "output right").get_xdata()
    np.testing.assert_array_equal(at, fit.regularization.path.strengths[:, 1])


def test_images_of_groups_name_what_each_of_them_has():
    fit = cs.solve(cs.Problem(noise(80, 8), noise(79, 8, seed=1), kernel_size=2, groups=4))
    figure = drawn(fit, kind="image")
    for c in range(8):
        axes = panel(figure, f"channel {c}")
        assert axes.get_ylabel() == ("" if c % 4 else "output")
        names = [t.get_text() for t in axes.get_yticklabels()]
        # Beside another panel of the same outputs they are not repeated.
        assert names == (["", ""] if c % 2 else [f"{c}", f"{c + 1}"])


def test_one_tap_has_an_error_bar():
    axes = drawn(fitted_taps(1), kind="lines").axes[0]
    (bar,) = axes.containers
    _, _, (segments,) = bar.lines
    low, high = np.sort(segments.get_segments()[0][:, 1])
    lower, upper = fitted_taps(1).confidence_band()
    np.testing.assert_allclose([low, high], [lower.item(), upper.item()])


def fitted_taps(taps):
    x = noise(200)
    return cs.solve(cs.Problem(x, x + noise(200, seed=1), lags=(0, taps - 1)))


@pytest.mark.parametrize(
    "method", [{"ridge": 10.0}, {"penalty": "ridge"}], ids=["given", "selected"]
)
def test_bands_under_a_penalty_are_those_of_a_posterior(method):
    x = noise(200)
    fit = cs.solve(cs.Problem(x, x + noise(200, seed=1), lags=(0, 4)), **method)
    title = drawn(fit, kind="lines").axes[0].get_title()
    assert title == "Impulse response, 95 % posterior band"


def test_prediction_begins_where_rows_count():
    x, y, mask = noise(900), noise(900, seed=1), np.ones(900, bool)
    mask[:320] = False
    fit = cs.solve(cs.Problem(x, y, lags=(0, 2), mask=mask))
    curve = line(panel(drawn(fit), "Measured and predicted y"), "measured")
    np.testing.assert_array_equal(curve.get_xdata(), np.arange(320, 620))
    np.testing.assert_array_equal(curve.get_ydata(), y[320:620])


def test_residuals_of_an_output_are_those_of_its_own_rows():
    x, y = noise(400), noise(400, 3, seed=1)
    y[:200, 0] = y[200:, 1] = np.nan
    fit = cs.solve(cs.Problem(x, y, lags=(0, 2), missing="drop"))
    shown = line(drawn(fit, kind="residuals", outputs=2).axes[2], "residuals").get_ydata()
    np.testing.assert_array_equal(shown, np.sort(known(fit.residuals()[:, 2])))
    shown = line(drawn(fit, kind="residuals", outputs=1).axes[2], "residuals").get_ydata()
    np.testing.assert_array_equal(shown, np.sort(known(fit.residuals()[:, 1])))
