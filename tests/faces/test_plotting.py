"""The pictures: what is drawn is what the solution and the comparison say; the door itself."""

import io
import re
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import convsolve as cs
from convsolve.plotting.drawing import GOOD
from convsolve.plotting.figures import plot
from convsolve.plotting.fit_figures import MAX_ROWS
from convsolve.problem.sizes import Limits
from support.pictures import drawn, image, legend, line, noise, panel, titles

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
Y = np.array([14, 20, 14, 15, 10, 4])
KERNEL = np.array([[1, 0], [0, 1], [2, 0]])
# Too little memory for the decision of any rank.
UNDECIDED = Limits(factor_bytes=8)


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
    assert figure.get_suptitle() == ""
    assert titles(figure) == ["Impulse response", "Measured and predicted y"]
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
    axes = panel(drawn(fit), "Measured and predicted y")
    rows = np.arange(4, 4 + MAX_ROWS)
    for label, values in (
        ("measured", y[rows]),
        ("predicted", fit.predict()[rows]),
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
    scatter = line(panel(figure, "Predicted against measured"), "one row")
    np.testing.assert_array_equal(scatter.get_xdata(), y[..., 0].ravel())
    np.testing.assert_allclose(scatter.get_ydata(), fit.predict()[..., 0].ravel())
    assert (kernel.get_xlabel(), kernel.get_ylabel()) == ("lag, second axis", "lag, first axis")


def test_three_dimensions_show_the_central_slice():
    x, w = noise(7, 7, 7), noise(3, 2, 2, 1, 1, seed=1)
    spec = cs.ConvSpec((3, 2, 2))
    fit = cs.solve(cs.Problem(x, cs.convolve(x, w, spec), spec=spec))
    figure = drawn(fit)
    np.testing.assert_array_equal(image(figure.axes[0]), fit.impulse_response[1])
    assert figure.subfigs[0].get_suptitle() == "Impulse response\nslice at lag -1 of the first axis"


def test_comparison_has_a_bar_for_every_number(table):
    figure = drawn(table)
    methods = [row["method"] for row in table.rows]
    axes = panel(figure, "Excess loss")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == methods
    assert axes.yaxis_inverted()
    for title, key in (
        ("Excess loss", "excess_loss"),
        ("Kernel error", "kernel_error"),
        ("Undetermined component", "null_component"),
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
    times = panel(figure, "Run time")
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


# --- titles


def stated(**about):
    """A response of one channel to three outputs, as a problem."""
    x = noise(400, 1)
    y = np.stack([x[:, 0], np.roll(x[:, 0], 1), -x[:, 0]], axis=1) + noise(400, 3, seed=1)
    names = ["Fz", "Cz", "a sensor with a very long name"]
    return cs.Problem(x, y, lags=(-1, 4), fs=64, outputs=names, **about)


def open_problem():
    x = noise(60)
    return cs.Problem(np.stack([x, x], axis=1), x, lags=(0, 3))


def images():
    spec = cs.ConvSpec((2, 3), padding="same")
    x = noise(12, 12, 2)
    return cs.Problem(x, cs.convolve(x, noise(2, 3, 2, 2, seed=1), spec), spec=spec)


@pytest.fixture(scope="module")
def things():
    """All objects that have a method ``plot``, with options."""
    problem = stated(bias=True)
    fit, ridge = cs.solve(problem), cs.solve(problem, penalty="ridge")
    with pytest.warns(cs.IdentifiabilityWarning):
        open_fit = cs.solve(open_problem())
    descent = cs.solve(problem, cs.GradientDescent(steps=3))
    image_fit = cs.solve(images())
    wide = cs.Problem(noise(90, 9), noise(90, 9, seed=1), lags=(0, 2))
    return {
        "problem": (problem, {}),
        "many channels": (wide, {}),
        "report": (fit.identifiability, {}),
        "report of null vectors": (open_fit.identifiability, {}),
        "report of images": (image_fit.identifiability, {}),
        "lines": (fit, {"kind": "lines"}),
        "grid": (fit, {"kind": "grid"}),
        "image": (fit, {"kind": "image"}),
        "images": (image_fit, {"kind": "image"}),
        "panels": (cs.solve(wide), {"kind": "image"}),
        "prediction": (fit, {"kind": "prediction"}),
        "prediction of one": (fit, {"kind": "prediction", "outputs": 2}),
        "residuals": (fit, {"kind": "residuals"}),
        "trace": (descent, {"kind": "trace"}),
        "penalty": (ridge, {"kind": "penalty"}),
        "regularization": (ridge.regularization, {}),
        "comparison": (cs.compare(problem, ["qr", "svd"]), {}),
        "comparison of open": (cs.compare(open_problem(), ["qr", "svd"]), {}),
        "choice": (cs.choose_lags(stated()), {}),
    }


NAMES = [
    "problem", "many channels", "report", "report of null vectors", "report of images", "lines",
    "grid", "image", "images", "panels", "prediction", "prediction of one", "residuals", "trace",
    "penalty", "regularization", "comparison", "comparison of open", "choice",
]  # fmt: skip


def panels(figure):
    """The axes of a figure that are no colour bars."""
    visible = (axes for axes in figure.axes if axes.get_visible())
    return [axes for axes in visible if axes.get_label() != "<colorbar>"]


def headlines(figure):
    """The titles of a figure, of its parts and of its panels, line by line."""

    def of(part):
        return [part.get_suptitle(), *(words for inner in part.subfigs for words in of(inner))]

    words = [*of(figure), *titles(figure)]
    return [line for title in words for line in title.split("\n") if line]


@pytest.mark.parametrize("name", NAMES)
def test_titles_are_short(things, name):
    thing, options = things[name]
    found = headlines(drawn(thing, **options))
    assert found
    assert [title for title in found if len(title) > 45] == []


def test_a_figure_has_a_title_if_a_fit_is_in_doubt(things):
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(open_problem())
    for figure in (drawn(fit), drawn(fit, kind="lines"), drawn(fit.identifiability)):
        assert figure.get_suptitle() == "Not unique: rank 4 of 8"
    assert drawn(things["comparison of open"][0]).get_suptitle() == "Not unique: rank 4 of 8"
    descent = things["trace"][0]
    assert drawn(descent).get_suptitle() == "Not converged: max steps"
    assert drawn(things["lines"][0]).get_suptitle() == ""
    assert drawn(cs.solve(open_problem(), ridge=1.0)).get_suptitle() == ""


def test_axes_are_named(things):
    def named(name):
        return [(axes.get_xlabel(), axes.get_ylabel()) for axes in panels(drawn(*things[name][:1],
                **things[name][1]))]  # fmt: skip

    assert named("lines") == [("lag (ms)", "weight")]
    assert named("image") == [("lag (ms)", "output")]
    assert named("prediction of one") == [("time (s)", "y"), ("measured y", "predicted y")]
    assert named("residuals") == [
        ("time (s)", "residual"), ("lag (ms)", "correlation"), ("normal quantile", "residual")
    ]  # fmt: skip
    assert named("trace") == [("step", "loss")]
    assert named("penalty") == [("strength", "GCV score"), ("strength", "degrees of freedom")]
    assert named("problem") == [("frequency (Hz)", "power relative to white noise (dB)")]
    assert named("report")[:2] == [("index", "singular value"), ("lag (ms)", "channel")]
    assert named("choice")[0] == ("last lag (ms)", "first lag (ms)")


# --- axes of a caller


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_drawn_on_given_axes(things, name):
    thing, options = things[name]
    own = panels(drawn(thing, **options))
    figure = Figure(figsize=(4 * len(own), 4))
    grid = figure.subplots(1, len(own), squeeze=False)
    assert thing.plot(**options, ax=grid) is figure
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert figure.get_suptitle() == ""
    for axes, other in zip(grid[0], own, strict=True):
        assert axes.get_title() in (other.get_title(), "Impulse response") or len(own) > 1
        assert axes.get_xlabel()
        assert len(axes.get_lines()) == len(other.get_lines())
        assert len(axes.collections) == len(other.collections)
        for curve, wanted in zip(axes.get_lines(), other.get_lines(), strict=True):
            np.testing.assert_array_equal(curve.get_xydata(), wanted.get_xydata())


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_axes_is_refused_before_drawing(things, name):
    thing, options = things[name]
    n = len(panels(drawn(thing, **options)))
    grid = Figure().subplots(1, n + 1)
    words = f"this figure has {n} panel{'s' * (n > 1)}"
    with pytest.raises(ValueError, match=f"{words}.*, but ax has {n + 1} axes"):
        thing.plot(**options, ax=grid)
    assert not any(axes.has_data() or axes.get_title() for axes in grid)


def test_the_panels_are_named_where_axes_are_too_few(things):
    wanted = (
        "this figure has 3 panels (Residuals: Fz; Autocorrelation of the residuals; "
        "Normal Q–Q plot: Fz), but ax has 1 axes"
    )
    with pytest.raises(ValueError, match=re.escape(wanted)):
        things["lines"][0].plot(kind="residuals", ax=Figure().subplots())


def test_one_axes_is_enough_for_the_kernel(things):
    """Also without a kind, and on a subfigure."""
    fit, figure = things["lines"][0], Figure()
    axes = figure.subfigures(1, 2)[1].subplots()
    assert fit.plot(ax=axes) is figure
    assert axes.get_title() == "Impulse response, 95 % confidence band"
    axes = Figure().subplots()
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(open_problem())
    fit.plot(ax=axes)
    # A caller writes the headline of the figure, so the doubt is in the title of the panel.
    assert axes.get_title().startswith("Not unique: rank 4 of 8\nImpulse response")


def test_axes_that_cannot_be_drawn_on(things):
    fit = things["lines"][0]
    with pytest.raises(TypeError, match="ax must be matplotlib axes or an array of axes, got str"):
        fit.plot(ax="left")
    with pytest.raises(TypeError, match=r"ax must be matplotlib axes .*, got Figure"):
        fit.plot(ax=Figure())
    axes = Figure().subplots()
    with pytest.raises(ValueError, match="ax contains the same axes twice"):
        fit.plot(kind="prediction", outputs=0, ax=[axes, axes])
    with pytest.raises(ValueError, match="belong to several figures"):
        fit.plot(kind="prediction", outputs=0, ax=[axes, Figure().subplots()])
    report = cs.identify(cs.Problem(np.ones(40), kernel_size=3), limits=UNDECIDED)
    with pytest.raises(ValueError, match="only text and no panels; leave out ax="):
        report.plot(ax=axes)
