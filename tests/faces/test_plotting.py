"""The pictures: what is drawn is what the solution and the comparison say; the door itself."""

import sys

import numpy as np
import pytest

import convsolve as cs
from convsolve.plotting.drawing import GOOD
from convsolve.plotting.figures import plot
from convsolve.plotting.fit_figures import MAX_ROWS
from support.pictures import drawn, image, legend, line, noise, panel, titles

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
Y = np.array([14, 20, 14, 15, 10, 4])
KERNEL = np.array([[1, 0], [0, 1], [2, 0]])


@pytest.fixture(scope="module")
def full():
    return cs.Problem(X, Y, kernel_size=3)


@pytest.fixture(scope="module")
def short():
    return cs.Problem(X[:7], Y[:5], kernel_size=3)


@pytest.fixture(scope="module")
def table(short):
    methods = {
        "shortest": "svd",
        "spectra": "fft",
        "descent": cs.GradientDescent(steps=20),
    }
    return cs.compare(short, methods, truth=KERNEL[::-1])


def test_solution_shows_the_impulse_response_channel_by_channel(full):
    fit = cs.solve(full)
    figure = drawn(fit)
    assert figure.get_suptitle() == f"{fit.stats['solver']}: solved; the data: exactly determined"
    assert titles(figure) == ["Impulse response", "Prediction and y"]
    axes = panel(figure, "Impulse response")
    assert legend(axes) == ["channel 0", "channel 1"]
    for c in range(2):
        curve = line(axes, f"channel {c}")
        np.testing.assert_array_equal(curve.get_xdata(), fit.lags)
        np.testing.assert_array_equal(curve.get_ydata(), fit.impulse_response[:, c])


def test_solution_labels_the_outputs_of_groups():
    fit = cs.solve(cs.Problem(noise(40, 4), noise(39, 4, seed=1), kernel_size=2, groups=2))
    figure = drawn(fit)
    # Outputs 2 and 3 belong to group 1, whose channels are 2 and 3.
    for o, c in enumerate((0, 1, 2, 3)):
        first = c // 2 * 2
        for within, channel in enumerate((first, first + 1)):
            curve = panel(figure, f"channel {channel} → output {o}").get_lines()[1]
            np.testing.assert_array_equal(curve.get_ydata(), fit.kernel[::-1, within, o])


def test_prediction_lies_on_the_rows_of_y():
    x, y = noise(500), noise(500, seed=1)
    fit = cs.solve(cs.Problem(x, y, lags=(2, 4)))
    axes = panel(drawn(fit), "Prediction and y")
    rows = np.arange(4, 4 + MAX_ROWS)
    for label, values in (
        ("y", y[rows]),
        ("prediction", fit.predict()[rows]),
        ("residual", fit.residuals()[rows]),
    ):
        np.testing.assert_array_equal(line(axes, label).get_xdata(), rows)
        np.testing.assert_allclose(line(axes, label).get_ydata(), values, atol=1e-12)


def test_a_loaded_solution_has_no_prediction_to_show(full, tmp_path):
    fit = cs.solve(full)
    fit.save(tmp_path / "fit.npz")
    figure = drawn(cs.load(tmp_path / "fit.npz"))
    assert titles(figure) == ["Impulse response"]
    np.testing.assert_array_equal(
        line(figure.axes[0], "channel 0").get_ydata(), fit.impulse_response[:, 0]
    )


def test_two_dimensions_are_an_image():
    x, w = noise(20, 20), noise(3, 5, 1, 1, seed=1)
    spec = cs.ConvSpec((3, 5), padding="same")
    y = cs.convolve(x, w, spec)
    problem = cs.Problem(x, y, spec=spec)
    fit = cs.solve(problem)
    figure = drawn(fit)
    kernel = figure.axes[0]
    np.testing.assert_array_equal(image(kernel), fit.impulse_response)
    assert kernel.get_xlim() == (-2.5, 2.5)
    assert kernel.get_ylim() == (1.5, -1.5)
    scatter = line(panel(figure, "Prediction against y"), "a row")
    np.testing.assert_array_equal(scatter.get_xdata(), y[..., 0].ravel())
    np.testing.assert_allclose(scatter.get_ydata(), fit.predict()[..., 0].ravel())
    assert (kernel.get_xlabel(), kernel.get_ylabel()) == ("lag, second axis", "lag, first axis")


def test_three_dimensions_show_the_central_slice():
    x, w = noise(7, 7, 7), noise(3, 2, 2, 1, 1, seed=1)
    spec = cs.ConvSpec((3, 2, 2))
    fit = cs.solve(cs.Problem(x, cs.convolve(x, w, spec), spec=spec))
    figure = drawn(fit)
    np.testing.assert_array_equal(image(figure.axes[0]), fit.impulse_response[1])
    assert figure.subfigs[0].get_suptitle() == "Kernel\nslice at lag -1 of the first axis"


def test_comparison_has_a_bar_for_every_number(table):
    figure = drawn(table)
    methods = [row["method"] for row in table.rows]
    axes = panel(figure, "Excess loss")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == methods
    assert axes.yaxis_inverted()
    for title, key in (
        ("Excess loss", "excess_loss"),
        ("Kernel error", "kernel_error"),
        ("Part the data say nothing about", "null_component"),
    ):
        axes = panel(figure, title)
        assert axes.get_xscale() == "log"
        numbers = [row[key] for row in table.rows]
        ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
        shown = [value for value in numbers if value > max(numbers) * 1e-18]
        np.testing.assert_allclose(ends, shown, rtol=1e-9)
        assert {bar.get_facecolor()[:3] for bar in axes.patches} == {
            tuple(int(GOOD[i : i + 2], 16) / 255 for i in (1, 3, 5))
        }
        assert [text.get_text() for text in axes.texts] == [
            f"{value:.1e}" if value else "0" for value in numbers
        ]
    times = panel(figure, "Time")
    np.testing.assert_array_equal(
        line(times, "run").get_xdata(), [row["run_seconds"] for row in table.rows]
    )
    np.testing.assert_array_equal(line(times, "compile").get_ydata(), [2])


def test_a_notebook_shows_the_figure(full):
    assert plot(cs.solve(full))._repr_png_().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(full, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'convsolve\[plot\]'"):
        plot(cs.identify(full))
