"""Figures of a report: what is drawn is what the report says."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import convsolve as cs
from support.pictures import drawn, image, legend, line, noise, panel

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
NOT, WEAK, ASSUMED, SURE = range(4)


def low_pass(samples, order):
    """Noise smoothed by a binomial filter: every tap resembles its neighbours."""
    weights = np.poly1d([0.5, 0.5]) ** order
    return np.convolve(noise(samples + order, seed=1), weights.coef, "valid")


def test_spectrum_is_that_of_the_scaled_matrix_beside_tolerance_and_band():
    report = cs.identify(cs.Problem(X, kernel_size=3))
    figure = drawn(report)
    axes = panel(figure, "Singular values, rank 6 of 6")
    windows = sliding_window_view(X, 3, axis=0).swapaxes(1, 2).reshape(6, 6)
    # Columns are scaled by powers of two to norms of about one.
    scaled = windows / 2.0 ** np.frexp(np.linalg.norm(windows, axis=0))[1]
    expected = np.linalg.svd(scaled, compute_uv=False)
    values = axes.get_lines()[0]
    np.testing.assert_array_equal(values.get_xdata(), range(1, 7))
    np.testing.assert_allclose(values.get_ydata(), expected, rtol=1e-12)
    (strip,) = axes.patches
    limits = strip.get_y(), line(axes, "tolerance").get_ydata()[0], strip.get_bbox().y1
    unit = 6**0.5 * np.finfo(float).eps * expected[0]
    # max(m, P, 10√P) is 10√6 here, so that the band begins at half the tolerance.
    np.testing.assert_allclose(limits, np.array([5, 10, 100]) * unit, rtol=1e-12)
    gains = panel(figure, "Standard error for unit noise")
    curve = line(gains, "channel 1")
    np.testing.assert_array_equal(curve.get_xdata(), [0, 1, 2])  # taps in the order of the layer
    np.testing.assert_array_equal(curve.get_ydata(), report.noise_gain[::-1, 1])


def test_a_missing_equation_is_a_singular_value_below_the_tolerance():
    report = cs.identify(cs.Problem(X[:7], kernel_size=3))
    figure = drawn(report)
    axes = panel(figure, "Singular values, rank 5 of 6")
    values, tolerance = axes.get_lines()[0].get_ydata(), line(axes, "tolerance").get_ydata()[0]
    assert (values > tolerance).sum() == report.rank == 5
    hidden = line(panel(figure, "Share of a tap that y does not show"), "channel 1").get_ydata()
    np.testing.assert_allclose(hidden, report.null_space[0][0, ::-1, 1] ** 2, atol=1e-15)


def test_taps_have_four_states_by_lag_and_channel():
    x = np.zeros((200, 4))
    x[:, 0] = noise(200)
    x[-3:, 1] = 1, 2, 3  # seen whole at three lags only
    x[:, 2] = low_pass(200, order=24) * np.hanning(200)
    axes = panel(drawn(cs.identify(cs.Problem(x, kernel_size=6, padding="full"))), "Taps that")
    states = [[SURE] * 6, [ASSUMED] * 3 + [SURE] * 3, [SURE, *[WEAK] * 4, SURE], [NOT] * 6]
    np.testing.assert_array_equal(image(axes), states)
    assert {"not determined: 6", "determined by zeros outside: 3"} < {*legend(axes)}


def test_lags_outside_the_window_of_a_channel_have_no_state():
    x = noise(200).reshape(100, 2)
    figure = drawn(cs.identify(cs.Problem(x, lags={0: (0, 3), 1: (1, 2)}, fs=10)))
    axes, outside = panel(figure, "Taps that"), [[False] * 4, [True, False, False, True]]
    np.testing.assert_array_equal(np.isnan(image(axes)), outside)
    assert (axes.get_xlabel(), axes.get_xlim()) == ("lag (ms)", (-50, 350))
    gain = line(panel(figure, "Standard error"), "channel 1")
    np.testing.assert_array_equal(np.isnan(gain.get_ydata()), outside[1])


def test_all_groups_are_shown():
    x = noise(50, 4)
    x[:, 2] = 1
    report = cs.identify(cs.Problem(x, kernel_size=5, groups=2))
    figure = drawn(report)
    expected = [[SURE] * 5, [SURE] * 5, [NOT] * 5, [SURE] * 5]
    np.testing.assert_array_equal(image(panel(figure, "Taps that")), expected)
    hidden = panel(figure, "Share of a tap")
    # Four of five dimensions of a constant channel are hidden, alike for all of its taps.
    np.testing.assert_allclose(line(hidden, "channel 2").get_ydata(), 0.8)
    np.testing.assert_allclose(line(hidden, "channel 0").get_ydata(), 0, atol=1e-15)
