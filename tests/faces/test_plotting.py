"""Figures show the values of results; every object with a method ``plot`` draws on given axes."""

import io
import re
import sys
from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure

import convsolve as cs
from convsolve.plotting.figures import plot
from convsolve.plotting.fit_figures import MAX_ROWS
from convsolve.problem.sizes import Tuning
from support.pictures import drawn, image, legend, line, noise, panel, titles

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
Y = np.array([14, 20, 14, 15, 10, 4])
FULL = cs.Problem(X, Y, kernel_size=3)


def test_a_solution_and_the_same_one_loaded_show_the_impulse_response(tmp_path):
    fit = cs.solve(FULL)
    fit.save(tmp_path / "fit.npz")
    for shown, wanted in (
        (fit, ["Impulse response", "Measured and predicted y"]),
        (cs.load(tmp_path / "fit.npz"), ["Impulse response"]),
    ):
        figure = drawn(shown)
        assert (figure.get_suptitle(), titles(figure)) == ("", wanted)
        axes = panel(figure, "Impulse response")
        assert legend(axes) == ["channel 0", "channel 1"]
        for c in range(2):
            curve = line(axes, f"channel {c}")
            np.testing.assert_array_equal(curve.get_xdata(), fit.lags)
            np.testing.assert_array_equal(curve.get_ydata(), fit.impulse_response[:, c])
    assert plot(fit)._repr_png_().startswith(b"\x89PNG")  # as in a notebook


def test_the_kernels_of_groups_are_panels_above_other_pictures():
    fit = cs.solve(cs.Problem(noise(40, 4), noise(39, 4, seed=1), kernel_size=2, groups=2))
    figure = plot(fit)
    for o, c in np.ndindex(4, 4):
        title = f"channel {c} → output {o}"
        if o // 2 == c // 2:  # channels and outputs of one group
            curve = panel(figure, title).get_lines()[1]
            np.testing.assert_array_equal(curve.get_ydata(), fit.kernel[::-1, c % 2, o])
        else:
            assert title not in titles(figure)


def test_prediction_lies_on_the_rows_of_y():
    """It begins at the first row that is used."""
    x, y, mask = noise(900), noise(900, seed=1), np.ones(900, bool)
    mask[:320] = False
    fit = cs.solve(cs.Problem(x, y, lags=(2, 4), mask=mask))
    axes = panel(drawn(fit), "Measured and predicted y")
    rows = np.arange(320, 320 + MAX_ROWS)
    for label, values in (
        ("measured", y[rows]),
        ("predicted", fit.predict()[rows]),
        ("residual", fit.residuals()[rows]),
    ):
        np.testing.assert_array_equal(line(axes, label).get_xdata(), rows)
        np.testing.assert_allclose(line(axes, label).get_ydata(), values, atol=1e-12)


def test_two_dimensions_are_an_image_and_three_its_central_slice():
    x, w, spec = noise(20, 20), noise(3, 5, 1, 1, seed=1), cs.ConvSpec((3, 5), padding="same")
    y = cs.convolve(x, w, spec)
    fit = cs.solve(cs.Problem(x, y, spec=spec))
    figure = drawn(fit)
    kernel = figure.axes[0]
    np.testing.assert_array_equal(image(kernel), fit.impulse_response)
    assert (kernel.get_xlim(), kernel.get_ylim()) == ((-2.5, 2.5), (1.5, -1.5))
    labels = "lag in columns (samples)", "lag in rows (samples)"
    assert (kernel.get_xlabel(), kernel.get_ylabel()) == labels
    scatter = line(panel(figure, "Predicted against measured"), "one row")
    np.testing.assert_array_equal(scatter.get_xdata(), y[..., 0].ravel())
    np.testing.assert_allclose(scatter.get_ydata(), fit.predict()[..., 0].ravel())
    x, w, spec = noise(7, 7, 7), noise(3, 2, 2, 1, 1, seed=1), cs.ConvSpec((3, 2, 2))
    fit = cs.solve(cs.Problem(x, cs.convolve(x, w, spec), spec=spec))
    figure = drawn(fit)
    np.testing.assert_array_equal(image(figure.axes[0]), fit.impulse_response[1])
    assert figure.subfigs[0].get_suptitle() == "Impulse response\nslice at lag -1 of the first axis"


def test_comparison_has_a_bar_for_every_number():
    short = cs.Problem(X[:7], Y[:5], kernel_size=3)
    methods = {
        "shortest": "svd",
        "spectra": "fft",
        "descent": {"solver": cs.GradientDescent(steps=20)},
    }
    table = cs.compare(short, methods, truth=np.array([[2, 0], [0, 1], [1, 0]]))
    figure = drawn(table)
    labels = panel(figure, "Excess loss").get_yticklabels()
    assert [tick.get_text() for tick in labels] == [*methods]
    for title, key in (
        ("Excess loss", "excess_loss"),
        ("Kernel error", "kernel_error"),
        ("Undetermined component", "null_component"),
    ):
        axes = panel(figure, title)
        numbers = [row[key] for row in table.rows]
        ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
        shown = [value for value in numbers if value > max(numbers) * 1e-18]
        np.testing.assert_allclose(ends, shown, rtol=1e-9)
    times = panel(figure, "Run time")
    seconds = [row["run_seconds"] for row in table.rows]
    np.testing.assert_array_equal(line(times, "run").get_xdata(), seconds)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'convsolve\[plot\]'"):
        plot(cs.identify(FULL))


# --- all objects that have a method ``plot``


@cache
def stated(bias=False):
    """A response of one channel to three outputs, as a problem."""
    x = noise(400, 1)
    y = np.stack([x[:, 0], np.roll(x[:, 0], 1), -x[:, 0]], axis=1) + noise(400, 3, seed=1)
    names = ["Fz", "Cz", "a sensor with a very long name"]
    return cs.Problem(x, y, lags=(-1, 4), fs=64, outputs=names, bias=bias)


def open_problem():
    x = noise(60)
    return cs.Problem(np.stack([x, x], axis=1), x, lags=(0, 3))


@cache
def open_fit():
    with pytest.warns(cs.IdentifiabilityWarning):
        return cs.solve(open_problem())


@cache
def images():
    spec, x = cs.ConvSpec((2, 3), padding="same"), noise(12, 12, 2)
    return cs.solve(cs.Problem(x, cs.convolve(x, noise(2, 3, 2, 2, seed=1), spec), spec=spec))


@cache
def open_images():
    x = noise(12, 12, 3)
    x[..., 1] = x[..., 0]
    with pytest.warns(cs.IdentifiabilityWarning):
        return cs.solve(cs.Problem(x, noise(11, 10, seed=1), kernel_size=(2, 3)))


def wide():
    return cs.Problem(noise(90, 9), noise(90, 9, seed=1), lags=(0, 2))


@cache
def fitted(**method):
    return cs.solve(stated(bias=True), **method)


def descent():
    return cs.solve(stated(bias=True), cs.GradientDescent(steps=3))


GRAM = Tuning(small_numbers=0, spectrum_columns=9)
# An object, options, and the labels of the first axes.
THINGS = {
    "problem": (stated, {}, "frequency (Hz): power relative to white noise (dB)"),
    "many channels": (wide, {}, ""),
    "regularization": (lambda: fitted(penalty="ridge").regularization, {}, ""),
    "report": (
        lambda: fitted().identifiability, {}, "index: singular value; lag (ms): channel"
    ),
    "report of null vectors": (lambda: open_fit().identifiability, {}, ""),
    "report of images": (lambda: images().identifiability, {}, ""),
    "report of a Gram matrix": (lambda: cs.identify(wide(), limits=GRAM), {}, "index: singular"),
    "lines": (fitted, {"kind": "lines"}, "lag (ms): weight"),
    "grid": (fitted, {"kind": "grid"}, ""),
    "image": (fitted, {"kind": "image"}, "lag (ms): output"),
    "images": (images, {"kind": "image"}, ""),
    "many lines": (lambda: cs.solve(wide()), {"kind": "lines"}, ""),
    "open lines": (open_fit, {"kind": "lines"}, "lag (samples): weight"),
    "open image": (open_fit, {"kind": "image"}, ""),
    "open images": (open_images, {"kind": "image"}, ""),
    "panels": (lambda: cs.solve(wide()), {"kind": "image"}, ""),
    "prediction": (
        fitted, {"kind": "prediction", "outputs": 2}, "time (s): y; measured y: predicted y"
    ),
    "residuals": (
        fitted, {"kind": "residuals"},
        "time (s): residual; lag (ms): correlation; normal quantile: residual",
    ),
    "filtered residuals": (
        lambda: fitted(noise="ar"), {"kind": "residuals"},
        "time (s): residual; lag (ms): correlation; normal quantile: filtered residual",
    ),
    "trace": (descent, {"kind": "trace"}, "step: loss"),
    "penalty": (
        lambda: fitted(penalty="ridge"), {"kind": "penalty"},
        "strength: GCV score; strength: degrees of freedom",
    ),
    "comparison": (lambda: cs.compare(stated(), ["qr", "svd"]), {}, ""),
    "comparison of open": (lambda: cs.compare(open_problem(), ["qr", "svd"]), {}, ""),
    "choice": (lambda: cs.choose_lags(stated()), {}, "last lag (ms): first lag (ms)"),
}  # fmt: skip
HEADLINES = {
    "report of null vectors": "Not unique: rank 4 of 8",
    "comparison of open": "Not unique: rank 4 of 8",
    "open lines": "Not unique: rank 4 of 8",
    "open image": "Not unique: rank 4 of 8",
    "many lines": "Impulse response, too many curves for bands",
}


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


def legends(figure):
    """All legends of a figure, of its parts and of its panels."""

    def of(part):
        return [*part.legends, *(found for inner in part.subfigs for found in of(inner))]

    return [*of(figure), *filter(None, (axes.get_legend() for axes in figure.axes))]


@pytest.mark.parametrize("name", THINGS)
def test_a_figure_has_short_titles_and_can_be_drawn_on_given_axes(name):
    """Another number of axes is an error before anything is drawn."""
    make, options, labels = THINGS[name]
    thing = make()
    own_figure = drawn(thing, **options)
    found = headlines(own_figure)
    assert found
    assert [title for title in found if len(title) > 45] == []
    assert own_figure.get_suptitle().startswith(HEADLINES.get(name, ""))
    own = panels(own_figure)
    boxes = [each.get_window_extent() for each in legends(own_figure)]
    assert not any(box.overlaps(axes.bbox) for box in boxes for axes in own)
    named = "; ".join(f"{axes.get_xlabel()}: {axes.get_ylabel()}" for axes in own)
    assert named.startswith(labels)
    figure = Figure(figsize=(4 * len(own), 4))
    grid = figure.subplots(1, len(own), squeeze=False)
    assert thing.plot(**options, ax=grid) is figure
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert figure.get_suptitle() == ""
    for axes, other in zip(grid[0], own, strict=True):
        title = axes.get_title().removeprefix(f"{own_figure.get_suptitle()}\n")
        assert title in (other.get_title(), "Impulse response") or len(own) > 1
        assert axes.get_xlabel()
        assert len(axes.collections) == len(other.collections)
        for curve, wanted in zip(axes.get_lines(), other.get_lines(), strict=True):
            np.testing.assert_array_equal(curve.get_xydata(), wanted.get_xydata())
    n, more = len(own), Figure().subplots(1, len(own) + 1)
    words = f"this figure has {n} panel{'s' * (n > 1)}.*, but ax has {n + 1}"
    with pytest.raises(ValueError, match=words):
        thing.plot(**options, ax=more)
    assert not any(axes.has_data() or axes.get_title() for axes in more)


OPEN_TAPS = {
    "lines": (open_fit, {"kind": "lines"}),
    "grid": (open_fit, {"kind": "grid"}),
    "image": (open_fit, {"kind": "image"}),
    "images": (open_images, {}),
    "loaded": (open_fit, {"kind": "lines"}),
    "other rows": (lambda: open_in_one_output(), {"kind": "grid"}),
    "determined": (fitted, {}),
    "penalty": (lambda: cs.solve(open_problem(), ridge=1.0), {}),
}


@cache
def open_in_one_output():
    """x varies only in the first rows, which are not used for one output."""
    x, y = noise(80), noise(80, 2, seed=1)
    x[40:] = 1
    y[:45, 1] = np.nan
    with pytest.warns(cs.IdentifiabilityWarning):
        return cs.solve(cs.Problem(x, y, lags=(0, 2), missing="drop"))


def marked(axes):
    """The number of hollow markers, or of hatched cells with whole numbers as centres."""
    hollow = [c for c in axes.get_lines() if c.get_markerfacecolor() == axes.get_facecolor()]
    cells = np.mgrid[-9:20, -9:20].reshape(2, -1).T
    hatched = (patch.get_path().contains_points(cells).sum() for patch in axes.patches)
    return sum(len(c.get_xdata()) for c in hollow) + sum(hatched)


@pytest.mark.parametrize("name", OPEN_TAPS)
def test_taps_that_the_data_do_not_determine_are_marked(name, tmp_path):
    make, options = OPEN_TAPS[name]
    fit, unknown = make(), 0
    if fit.stats["unique"] is False:
        gains = [one.identifiability.noise_gain for one in fit._by_mask]
        unknown = sum(np.isinf(gain).sum() for gain in gains)
        assert unknown > 0
    if name == "loaded":
        fit.save(tmp_path / "fit.npz")
        fit = cs.load(tmp_path / "fit.npz")
    figure = drawn(fit, **options)
    assert sum(map(marked, panels(figure))) == unknown
    words = [text.get_text() for each in legends(figure) for text in each.get_texts()]
    assert words.count("not determined by the data") == (unknown > 0)


def test_a_descent_that_did_not_converge_has_a_title_and_its_losses():
    figure = plot(descent())
    assert figure.get_suptitle() == "Not converged: max steps"
    assert "loss" in [axes.get_ylabel() for axes in figure.axes]


def test_one_axes_is_enough_for_the_kernel():
    """Also without a kind, and on a subfigure."""
    figure = Figure()
    axes = figure.subfigures(1, 2)[1].subplots()
    assert fitted().plot(ax=axes) is figure
    assert axes.get_title() == "Impulse response, 95 % confidence band"
    axes = Figure().subplots()
    open_fit().plot(ax=axes)
    # A caller writes the headline of the figure, so the doubt is in the title of the panel.
    assert axes.get_title().startswith("Not unique: rank 4 of 8\nImpulse response")


def test_axes_that_cannot_be_drawn_on():
    fit, axes = fitted(), Figure().subplots()
    for options, error, words in (
        ({"ax": "left"}, TypeError, "ax must be matplotlib axes or an array of axes, got str"),
        ({"ax": Figure()}, TypeError, "an array of axes, got Figure"),
        ({"kind": "residuals", "ax": axes}, ValueError, "this figure has 3 panels, but ax has 1"),
        ({"outputs": 0, "ax": [axes, axes]}, ValueError, "ax contains the same axes twice"),
        ({"outputs": 0, "ax": [axes, Figure().subplots()]}, ValueError, "to several figures"),
    ):
        with pytest.raises(error, match=re.escape(words)):
            fit.plot(**({"kind": "prediction"} | options))
    # There is too little memory for the decision of any rank.
    limits = Tuning(factor_bytes=8)
    report = cs.identify(cs.Problem(np.ones(40), kernel_size=3), limits=limits)
    figure = drawn(report)
    assert (figure.axes, figure.get_suptitle()) == ([], "Undecided rank of 3 unknowns")
    verdict, *suggestions = figure.texts[-1].get_text().split("\n")
    assert verdict.startswith("a QR is too large to decide the rank")
    assert suggestions == [*map(str, report.suggestions)]
    with pytest.raises(ValueError, match="this figure has 0 panels, but ax has 1"):
        report.plot(ax=axes)
