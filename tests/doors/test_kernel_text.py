"""The text of a kernel: ascending lags, every tap beside its own, a summary of a large one."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.kernel_text import kernel_lines
from convsolve.problem.names import Names

MARGIN = 16


def shown(kernel: np.ndarray, lags: list[list[int]], groups: int = 1) -> list[str]:
    """The lines below shape and lags, the margin cut off."""
    lines = kernel_lines(np.asarray(kernel), tuple(map(np.array, lags)), groups, Names(), MARGIN)
    return [text[MARGIN:] for text in lines[2:]]


def test_shape_and_lags_stand_first() -> None:
    lines = kernel_lines(np.ones((2, 3, 4)), (np.array([1, 0]),), 1, Names(), MARGIN)
    assert lines[:2] == [
        "kernel          2 taps × 3 channels × 4 outputs, float64",
        "lags            0 … 1 samples",
    ]
    grouped = kernel_lines(np.ones((1, 3, 4), np.float32), (np.array([-5]),), 2, Names(), MARGIN)
    assert grouped[:2] == [
        "kernel          1 tap × 3 channels a group × 4 outputs, 2 groups, float32",
        "lags            -5 … -5 samples",
    ]


def test_one_channel_and_output_in_ascending_lags() -> None:
    """In kernel order lags descend."""
    kernel = np.array([3.0, -12.5, 0.0]).reshape(3, 1, 1)
    assert shown(kernel, [[1, 0, -1]]) == [
        "lag       tap",
        " -1    0.0000",
        "  0  -12.5000",
        "  1    3.0000",
    ]


def test_outputs_stand_side_by_side() -> None:
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 1, 2)
    assert shown(kernel, [[10, 9]]) == [
        "lag  output 0  output 1",
        "  9   3.00000   4.00000",
        " 10   1.00000   2.00000",
    ]


def test_channels_stand_side_by_side_and_are_those_of_x() -> None:
    kernel = np.arange(4.0).reshape(1, 2, 2)
    whole = ["output 0:", "lag  channel 0  channel 1", "  0    0.00000    2.00000"]
    assert shown(kernel, [[0]])[:3] == whole
    assert shown(kernel, [[0]], groups=2) == [
        *whole,
        "output 1:",
        "lag  channel 2  channel 3",
        "  0    1.00000    3.00000",
    ]
    one = np.array([5.0, 6.0]).reshape(1, 1, 2)
    assert shown(one, [[0]], groups=2) == [
        "output 0:", "lag  channel 0", "  0    5.00000",
        "output 1:", "lag  channel 1", "  0    6.00000",
    ]  # fmt: skip


def test_an_image_has_its_last_axes_down_and_across() -> None:
    kernel = np.arange(6.0).reshape(2, 3, 1, 1)
    lines = kernel_lines(kernel, (np.array([1, 0]), np.array([1, 0, -1])), 1, Names(), MARGIN)
    assert [text[MARGIN:] for text in lines[1:]] == [
        "0 … 1 × -1 … 1 samples, the last two axes down and across",
        "lag       -1        0        1",
        "  0  5.00000  4.00000  3.00000",
        "  1  2.00000  1.00000  0.00000",
    ]
    solid = np.arange(4.0).reshape(2, 2, 1, 1, 1)
    assert shown(solid, [[1, 0], [4, 3], [0]]) == [
        "first lag 0:", "lag        0", "  3  3.00000", "  4  2.00000",
        "first lag 1:", "lag        0", "  3  1.00000", "  4  0.00000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((123456.0, 0.5), ("123456", "0")),  # as many decimals for all
        ((1234567.0, -0.5), ("1.23457e+06", "-5.00000e-01")),
        ((1.5e-4, 0.0), ("0.000150000", "0.000000000")),
        ((1.5e-5, 0.0), ("1.50000e-05", "0.00000e+00")),
        ((1.0, -1e-9), ("1.00000", "0.00000")),  # no sign for what shows as zero
        ((5e-324, 0.0), ("4.94066e-324", "0.00000e+00")),
        ((0.0, 0.0), ("0.00000", "0.00000")),
        ((np.nan, 1.0), ("nan", "1.00000")),
        ((-np.inf, 1.0), ("-inf", "1.00000")),
    ],
)
def test_numbers_have_six_digits_of_the_largest(
    values: tuple[float, float], texts: tuple[str, str]
) -> None:
    lines = shown(np.array(values).reshape(2, 1, 1), [[0, -1]])
    assert [text.split()[1] for text in lines[1:]] == [texts[1], texts[0]]


def test_a_large_kernel_is_summarised() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.uniform(-1, 1, (40, 16, 32))
    # In kernel order the lag of tap k is 29 − k.
    kernel[0, 1, 2], kernel[39, 3, 4], kernel[20, 5, 6] = 7.25, -9.0, -3.0
    kernel[10, 15, 31], kernel[9, 0, 0] = 2.0, -1.5
    assert shown(kernel, [list(range(29, -11, -1))]) == [
        "  -9 at lag -10, channel 3, output 4",
        "7.25 at lag 29, channel 1, output 2",
        "  -9 at lag -10, channel 3, output 4",
        "7.25 at lag 29, channel 1, output 2",
        "  -3 at lag 9, channel 5, output 6",
        "   2 at lag 19, channel 15, output 31",
        "-1.5 at lag 20, channel 0, output 0",
    ]
    labels = [
        text[:12].strip() for text in kernel_lines(kernel, (np.arange(40),), 1, Names(), MARGIN)[2:]
    ]
    assert labels == ["minimum", "maximum", "by magnitude", "", "", "", ""]
    # Group 1 holds outputs 16 to 31 and channels 16 to 31.
    grouped = shown(kernel, [list(range(29, -11, -1))], groups=2)
    assert "   2 at lag 19, channel 31, output 31" in grouped
    assert "-1.5 at lag 20, channel 0, output 0" in grouped


@pytest.mark.parametrize(
    ("shape", "summarised"),
    [((23, 1, 1), False), ((24, 1, 1), True), ((5, 6, 1), False), ((5, 7, 1), True)],
)
def test_what_fits_a_screen_is_shown_whole(shape: tuple[int, ...], summarised: bool) -> None:
    """24 lines, or 72 signs right of the margin."""
    lines = kernel_lines(np.ones(shape), (np.arange(shape[0]),), 1, Names(), MARGIN)
    assert any(text.startswith("minimum") for text in lines) == summarised
    assert len(lines) <= 26
    assert max(map(len, lines)) <= 88


def test_it_is_that_of_a_solution() -> None:
    x = np.random.default_rng(1).standard_normal(50)
    y = 2 * x + 3 * np.r_[0, x[:-1]] - np.r_[x[1:], 0]
    fit = cs.solve(cs.Problem(x, y, lags=(-1, 1)))
    text = str(fit)
    pairs = zip(fit.lags, fit.impulse_response, strict=True)
    rows = [f"{lag:>19}  {value:8.5f}" for lag, value in pairs]
    assert "\n".join(rows) in text
    assert [row.split() for row in rows] == [["-1", "-1.00000"], ["0", "2.00000"], ["1", "3.00000"]]
