"""The picture of a report: what is drawn is what the report says, of its worst group."""

import numpy as np

import convsolve as cs
from convsolve.plotting.report_figure import STATES
from support.pictures import drawn, image, legend, line, noise, panel, titles

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
NOT, ASSUMED, WEAK, SURE = range(4)
SPECTRUM = "Singular values (columns scaled)"
GAIN = "Standard error per unit noise"


def scaled_spectrum(a):
    """Singular values of a matrix whose columns are scaled by powers of two to about one."""
    return np.linalg.svd(a / 2.0 ** np.frexp(np.linalg.norm(a, axis=0))[1], compute_uv=False)


def windows(x, taps):
    return np.stack([x[t : t + taps].ravel() for t in range(len(x) - taps + 1)])


def low_pass(samples, order):
    """Noise smoothed by a binomial filter: every tap resembles its neighbours."""
    weights = np.poly1d([0.5, 0.5]) ** order
    return np.convolve(noise(samples + order, seed=1), weights.coef, "valid")


# --- the spectrum


def test_spectrum_is_that_of_the_scaled_matrix_beside_tolerance_and_band():
    report = cs.identify(cs.Problem(X, kernel_size=3))
    figure = drawn(report)
    assert figure.get_suptitle() == ""
    assert titles(figure) == [SPECTRUM, "Identifiable taps: 6 of 6", GAIN]
    axes = panel(figure, SPECTRUM)
    expected = scaled_spectrum(windows(X, 3))
    kept = line(axes, "counts towards the rank")
    np.testing.assert_array_equal(kept.get_xdata(), range(1, 7))
    np.testing.assert_allclose(kept.get_ydata(), expected, rtol=1e-12)
    assert axes.get_yscale() == "log"
    assert set(line(axes, "rank tolerance").get_ydata()) == {report._diagnosis.tolerance}
    (strip,) = axes.patches
    low, high = strip.get_y(), strip.get_y() + strip.get_height()
    np.testing.assert_array_equal(
        panel(figure, GAIN).get_lines()[0].get_ydata(), report.noise_gain[:, 0]
    )
    unit = np.finfo(float).eps * expected[0]
    # max(m, P, 10√P) is 10√6 here, so that the band begins at half the tolerance.
    np.testing.assert_allclose((low, high), (5 * 6**0.5 * unit, 100 * 6**0.5 * unit), rtol=1e-12)
    assert legend(axes) == ["counts towards the rank", "ambiguous range", "rank tolerance"]


# --- the mask


def test_the_mask_has_four_states_by_lag_and_channel():
    x = np.zeros((200, 4))
    x[:, 0] = noise(200)
    x[-3:, 1] = 1, 2, 3  # seen whole at three lags only
    x[:, 2] = low_pass(200, order=24) * np.hanning(200)
    figure = drawn(cs.identify(cs.Problem(x, kernel_size=6, padding="full")))
    axes = panel(figure, "Identifiable taps: 18 of 24")
    states = image(axes)
    np.testing.assert_array_equal(states[0], SURE)
    np.testing.assert_array_equal(states[1], [SURE] * 3 + [ASSUMED] * 3)
    np.testing.assert_array_equal(states[2], [SURE, *[WEAK] * 4, SURE])
    np.testing.assert_array_equal(states[3], NOT)
    place = figure.subfigs[0].subfigs[1]
    assert legend(place) == [name for name, _, _ in STATES]
    # Every hatch covers its cells and no other.
    centres = [(x, y) for y in range(4) for x in range(6)]
    for state, patch in enumerate(axes.patches):
        covered = patch.get_path().contains_points(centres).reshape(states.shape)
        np.testing.assert_array_equal(covered, states == state)


def test_lags_outside_the_window_of_a_channel_have_no_state():
    x = noise(200).reshape(100, 2)
    figure = drawn(cs.identify(cs.Problem(x, lags={0: (0, 3), 1: (1, 2)})))
    axes = panel(figure, "Identifiable taps: 6 of 6")
    np.testing.assert_array_equal(np.isnan(image(axes)), [[False] * 4, [True, False, False, True]])
    assert legend(figure.subfigs[0].subfigs[1]) == ["identifiable", "not in the model"]
    x[:, 0] = np.sin(np.arange(100))  # determines two of its four taps
    report = cs.identify(cs.Problem(x, lags={0: (0, 3), 1: (1, 6)}))
    vector = panel(drawn(report), "Null vector 1 of 2").get_lines()[1].get_ydata()
    np.testing.assert_allclose(vector[:4], report._diagnosis._null_echelon[0][0][:2:-1, 0])
    assert np.isnan(vector[4:]).all()


def test_the_worst_group_is_shown_and_named():
    x = noise(50, 4)
    x[:, 2] = 1
    report = cs.identify(cs.Problem(x, kernel_size=5, groups=2))
    figure = drawn(report)
    assert figure.get_suptitle() == "Not unique: rank 6 of 10, group 1"
    assert titles(figure)[1:] == [
        "Identifiable taps: 5 of 10",
        *(f"Null vector {i} of 4" for i in (1, 2, 3)),
    ]
    mask = panel(figure, "Identifiable taps: 5 of 10")
    np.testing.assert_array_equal(image(mask), [[NOT] * 5, [SURE] * 5])
    assert mask.get_ylim() == (3.5, 1.5)
    values = np.concatenate(
        [curve.get_ydata() for curve in panel(figure, SPECTRUM).get_lines()[:2]]
    )
    np.testing.assert_allclose(values[:6], scaled_spectrum(windows(x[:, 2:], 5))[:6], rtol=1e-12)


# --- null vectors


def test_null_vectors_are_those_in_echelon_form():
    """A missing equation is a singular value that counts as zero."""
    report = cs.identify(cs.Problem(X[:7], kernel_size=3))
    figure = drawn(report)
    axes = panel(figure, SPECTRUM)
    assert len(line(axes, "counts towards the rank").get_xdata()) == report.rank == 5
    zero = line(axes, "counts as zero")
    np.testing.assert_array_equal(zero.get_xdata(), [6])
    assert 0 < zero.get_ydata()[0] < report._diagnosis.tolerance / 100
    assert zero.get_marker() != line(axes, "counts towards the rank").get_marker()
    assert figure.get_suptitle() == "Not unique: rank 5 of 6"
    assert figure.subfigs[1].get_suptitle() == "Null vector in reduced echelon form"
    axes = panel(figure, "Null vector 1 of 1")
    for c in range(2):
        curve = line(axes, f"channel {c}")
        np.testing.assert_array_equal(curve.get_xdata(), [-2, -1, 0])
        np.testing.assert_array_equal(
            curve.get_ydata(), report._diagnosis._null_echelon[0][0, ::-1, c]
        )
    assert 1.0 in np.stack([curve.get_ydata() for curve in axes.get_lines()[1:]])
