"""Figures show the values of results; every panel can be drawn on given axes."""

import re
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import convsolve as cs
from convsolve.plotting.figures import plot
from support.pictures import drawn, image, legend, line, noise, titles

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
Y = np.array([14, 20, 14, 15, 10, 4])
FULL = cs.Problem(X, Y, kernel_size=3)


def fitted(n_channels, n_outputs, taps=5, outputs=None, fs=100, **method):
    x = noise(400, n_channels)
    kernel = noise(taps, n_channels, n_outputs, seed=1)
    y = cs.convolve(x, kernel, cs.ConvSpec(taps, padding="causal"))
    y = y + 0.1 * noise(400, n_outputs, seed=2)
    return cs.solve(cs.Problem(x, y, lags=(0, taps - 1), fs=fs, outputs=outputs), **method)


def open_fit():
    x = noise(60)
    with pytest.warns(cs.IdentifiabilityWarning):
        return cs.solve(cs.Problem(np.stack([x, x], axis=1), x + noise(60, seed=3), lags=(0, 3)))


# --- kernels


def test_a_solution_and_the_same_one_loaded_show_the_kernel(tmp_path):
    """The kernel of a layer has taps in the order of the layer."""
    fit = cs.solve(FULL)
    fit.save(tmp_path / "fit.npz")
    for shown, panels in ((fit, 3), (cs.load(tmp_path / "fit.npz"), 1)):
        axes = drawn(shown).axes
        assert (axes[0].get_xlabel(), len(axes)) == ("tap", panels)
        for c in range(2):
            curve = line(axes[0], f"channel {c}")
            np.testing.assert_array_equal(curve.get_xdata(), [0, 1, 2])
            np.testing.assert_array_equal(curve.get_ydata(), fit.kernel[:, c, 0])
    assert plot(fit)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("channels", "outputs", "method", "panels"),
    [(3, 1, {}, 1), (2, 2, {}, 4), (1, 4, {}, 4), (7, 1, {"loss": "absolute"}, 1),
     (2, 9, {}, 2), (9, 9, {}, 1)],
)  # fmt: skip
def test_four_curves_with_bands_are_a_grid_and_many_are_images(channels, outputs, method, panels):
    fit = fitted(channels, outputs, **method)
    axes = [a for a in drawn(fit, kind="kernel").axes if a.get_label() != "<colorbar>"]
    assert len(axes) == panels
    if channels * outputs > 16:  # rows are the outputs of a channel
        rows = np.concatenate([image(a) for a in axes])
        np.testing.assert_array_equal(rows, fit.impulse_response.reshape(5, -1).T)


def test_a_grid_has_names_bands_and_one_scale():
    """A group joins its own channels and outputs only."""
    x, about = noise(40, 4), {"channels": [*"abcd"], "outputs": [*"uvwz"]}
    fit = cs.solve(cs.Problem(x, noise(39, 4, seed=1), kernel_size=2, groups=2, **about))
    figure, ends = plot(fit, kind="grid"), [end[::-1] for end in fit.confidence_band()]
    assert titles(figure) == [f"{c} → {o}" for o in "uvwz" for c in ("ab" if o in "uv" else "cd")]
    for i, axes in enumerate(figure.axes):
        o, c = divmod(i, 2)
        heights = axes.collections[0].get_paths()[0].vertices[:, 1]
        low, high = (end[:, c, o] for end in ends)
        np.testing.assert_allclose((heights.min(), heights.max()), (low.min(), high.max()))
        np.testing.assert_array_equal(axes.get_lines()[1].get_ydata(), fit.kernel[:, c, o])
        assert axes.get_ylim() == figure.axes[0].get_ylim()


def test_channels_and_outputs_are_chosen_by_name_or_number():
    many = fitted(16, 32, outputs=[f"E{i}" for i in range(32)])
    for kind, values in ("kernel", many.impulse_response), ("patterns", many.patterns()):
        axes = plot(many, kind, channels=3, outputs=["E5", 0]).axes[0]
        assert legend(axes) == ["channel 3 → E5", "channel 3 → E0"]
        np.testing.assert_array_equal(line(axes, "channel 3 → E5").get_ydata(), values[:, 3, 5])
    alone = plot(many, "kernel", channels=3, outputs="E5").axes[0].get_title()
    assert alone == "Impulse response, 95 % confidence band\nchannel 3 → E5"


@pytest.mark.parametrize(
    ("fs", "label", "last"), [(None, "lag (samples)", 4), (100, "lag (ms)", 40), (1, "lag (s)", 4)]
)
def test_lags_beyond_two_seconds_are_in_seconds(fs, label, last):
    axes = plot(fitted(1, 1, fs=fs), "kernel").axes[0]
    assert (axes.get_xlabel(), axes.get_lines()[1].get_xdata()[-1]) == (label, last)


@pytest.mark.parametrize("kind", ["lines", "grid", "image"])
def test_nothing_is_drawn_outside_the_window_of_a_channel(kind):
    x = noise(300, 2)
    problem = cs.Problem(x, x[:, 0] + noise(300, seed=1), lags={0: (0, 7), 1: (0, 5)})
    axes = plot(cs.solve(problem), kind=kind).axes
    curves = [c.get_ydata() for a in axes for c in a.get_lines() if len(c.get_xdata()) == 8]
    values = image(axes[0]) if kind == "image" else np.array(curves)
    np.testing.assert_array_equal(np.isnan(values), [[False] * 8, [False] * 6 + [True] * 2])


def test_two_dimensions_are_an_image_and_three_its_central_slice():
    x = noise(20, 20)
    fit = cs.solve(cs.Problem(x, noise(20, 20, seed=2), lags=[(-1, 1), (-2, 2)]))
    axes = drawn(fit).axes[0]
    np.testing.assert_array_equal(image(axes), fit.impulse_response)
    assert (axes.get_xlim(), axes.get_ylim()) == ((-2.5, 2.5), (1.5, -1.5))
    fit = cs.solve(cs.Problem(noise(7, 7, 7), noise(5, 6, 6, seed=1), kernel_size=(3, 2, 2)))
    axes = drawn(fit).axes[0]
    np.testing.assert_array_equal(image(axes), fit.kernel[1, ..., 0, 0])
    assert axes.get_title() == "tap 1"


def open_images():
    x = noise(12, 12, 3)
    x[..., 1] = x[..., 0]
    with pytest.warns(cs.IdentifiabilityWarning):
        return cs.solve(cs.Problem(x, noise(11, 10, seed=1), kernel_size=(2, 3)))


@pytest.mark.parametrize(
    ("make", "kind", "unknown"),
    [(open_fit, "lines", 8), (open_fit, "image", 8), (open_images, "image", 12),
     (lambda: fitted(1, 2), "lines", 0)],
)  # fmt: skip
def test_taps_that_the_data_do_not_determine_are_marked(make, kind, unknown, tmp_path):
    fit = make()
    fit.save(tmp_path / "fit.npz")
    for shown in fit, cs.load(tmp_path / "fit.npz"):
        figure = drawn(shown, kind=kind)
        assert sum(map(marked, figure.axes)) == unknown
        words = " ".join([figure.get_suptitle(), *titles(figure)])
        assert ("other kernels fit as well" in words) == (unknown > 0)


def marked(axes):
    """The number of hollow markers, or of hatched cells."""
    hollow = [c for c in axes.get_lines() if c.get_markerfacecolor() == axes.get_facecolor()]
    hatched = [mesh.get_array().count() for mesh in axes.collections if mesh.get_hatch()]
    return sum(len(c.get_xdata()) for c in hollow) + sum(hatched)


# --- all objects and panels


SUBJECTS = {i: cs.Problem(noise(99, seed=i), noise(99, seed=i + 5), lags=(0, 4)) for i in range(4)}
CURVES = "kernel lines image patterns prediction residual against scores quantiles autocorrelation"


def descent():
    return cs.solve(FULL, cs.GradientDescent(steps=3))


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (lambda: FULL, ["spectrum"]),
        (lambda: cs.identify(FULL), ["taps", "singular values", "noise gain"]),
        (lambda: open_images().identifiability, ["taps", "hidden"]),
        (lambda: cs.identify(FULL).descent(), ["descent"]),
        (lambda: fitted(1, 2), [*CURVES.split(), "cross correlation"]),
        (descent, ["kernel", "trace"]),
        (lambda: fitted(1, 2, penalty="ridge").regularization, ["scores", "freedom"]),
        (lambda: cs.choose_lags(SUBJECTS[0]), ["lag windows"]),
        (lambda: cs.compare(FULL, ["qr"]), ["excess loss", "run seconds", "kernels", "kernels 1"]),
        (lambda: cs.compare(FULL, ["qr", "sgd"]), ["descent by steps", "descent by seconds"]),
        (lambda: cs.solve_group(SUBJECTS), ["subjects"]),
    ],
)
def test_every_panel_can_be_drawn_on_given_axes(make, kinds):
    thing = make()
    for kind in kinds:
        figure = Figure()
        axes = figure.subfigures(1, 2)[1].subplots()
        assert thing.plot(kind=kind, ax=axes) is figure
        own = drawn(thing, kind=kind).axes[0]
        assert own.get_title() in axes.get_title()
        for curve, wanted in zip(axes.get_lines(), own.get_lines(), strict=True):
            np.testing.assert_array_equal(curve.get_xydata(), wanted.get_xydata())


def test_only_descents_show_their_losses_and_their_status():
    figure = plot(descent())
    assert {"Impulse response, status: max steps", "Descent by steps"} < {*titles(figure)}
    assert "Descent by steps" not in titles(plot(cs.solve(FULL, cs.ConjugateGradient())))


def test_what_cannot_be_drawn():
    axes, some = Figure().subplots(), fitted(1, 2)
    groups = cs.solve(cs.Problem(noise(40, 2), noise(39, 2, seed=1), kernel_size=2, groups=2))
    for thing, options, error, words in (
        (some, {"kind": "stripes"}, ValueError, "kind='stripes' has no panel here; there are"),
        (some, {"ax": "left"}, TypeError, "ax must be axes of matplotlib, got str"),
        (some, {"kind": "residuals", "ax": axes}, ValueError, "one ax takes one panel"),
        (fitted(8, 1), {"kind": "lines"}, ValueError, "8 curves are too many for one panel"),
        (open_images(), {"kind": "grid"}, ValueError, "kind='grid' draws one axis; use 'image'"),
        (groups, {"channels": 0, "outputs": 1}, ValueError, "their groups differ"),
        (FULL, {"channels": 0}, TypeError, "of a solution, not of a Problem"),
        (X, {}, TypeError, "fit.regularization, got ndarray"),
    ):
        with pytest.raises(error, match=re.escape(words)):
            cs.plot(thing, **options)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'convsolve\[plot\]'"):
        plot(cs.identify(FULL))
