"""Tests of windows of lags, of channels and of weighted sums of channels, by dense F tests."""

from __future__ import annotations

from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import convsolve as cs
from support import dense

NAMES = ["tone", "word", "scene"]
# The kernel has lags -2 to 5, and its taps are those of three channels.
LAGS, CHANNELS, FS = np.arange(-2, 6), 3, 50.0
LENGTHS = (70,) * 6


@cache
def recording(bias: bool) -> cs.Problem:
    rng = np.random.default_rng(4)
    x = [rng.standard_normal((n, CHANNELS)) for n in LENGTHS]
    w = rng.standard_normal((len(LAGS), CHANNELS, 2)) * 0.3
    y = [np.pad(cs.convolve(a, w, cs.ConvSpec(len(LAGS))), ((5, 2), (0, 0))) for a in x]
    y = [b + rng.standard_normal(b.shape) for b in y]
    return cs.Problem(x, y, tmin=-0.04, tmax=0.1, fs=FS, bias=bias, channels=NAMES)


@cache
def solved(bias: bool) -> cs.Solution:
    return cs.solve(recording(bias))


def rows_of(lags: Any, channels: Any) -> np.ndarray:
    """The hypothesis (q, taps): channels one by one, or their sum with weights."""
    kept = np.isin(LAGS, lags)
    if isinstance(channels, dict):
        weights = np.zeros(CHANNELS)
        weights[[*channels]] = [*channels.values()]
        return np.kron(np.eye(len(LAGS))[kept], weights)
    flags = kept[:, None] & np.isin(np.arange(CHANNELS), channels)
    return np.eye(flags.size)[flags.reshape(-1)]


EARLY = {"lags": (0, 2)}
# Arguments of `test`, and the lags and channels that they mean.
ASKED: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "channel": ({"channels": "tone"}, LAGS, [0]),
    "window of a channel": ({"channels": "word", **EARLY}, [0, 1, 2], [1]),
    "window of channels": ({"channels": ["scene", 0], **EARLY}, [0, 1, 2], [0, 2]),
    "seconds": ({"channels": 1, "tmin": 0.02, "tmax": 0.061}, [1, 2, 3], [1]),
    "from a time": ({"channels": 1, "tmin": 0.04}, [2, 3, 4, 5], [1]),
    "beyond the kernel": ({"lags": (4, 90)}, [4, 5], [0, 1, 2]),
    "one lag": ({"channels": {"tone": 1}, "lags": (3, 3)}, [3], {0: 1}),
    "difference in a window": (
        {"channels": {"word": -1, "tone": 1}, "tmin": 0, "tmax": 0.04}, [0, 1, 2], {0: 1, 1: -1}
    ),
    "weights by number": (
        {"channels": {0: 0.5, np.int64(1): 0.5, "scene": -1}, "lags": (0, 3)},
        [0, 1, 2, 3], {0: 0.5, 1: 0.5, 2: -1},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "bias"), [*zip(ASKED, cycle([False, True]))])
def test_tests_are_dense_f_tests(asked: str, bias: bool) -> None:
    """F of residual sums of squares without and with the hypothesis."""
    problem, (arguments, lags, channels) = recording(bias), ASKED[asked]
    a = dense.design_matrix([*problem.x], problem.spec)[0]
    a = a.reshape(len(a), len(LAGS), CHANNELS)[:, ::-1].reshape(len(a), -1)
    rows, a = rows_of(lags, channels), np.hstack([a, np.ones((len(a), int(bias)))])
    (n, p), q, y = a.shape, len(rows), np.concatenate(problem.y)
    rows = np.pad(rows, ((0, 0), (0, int(bias))))
    free = np.square(y - a @ np.linalg.lstsq(a, y)[0]).sum(0)
    for value in (0.0, np.linspace(-0.2, 0.2, q)):
        found = solved(bias).test(**arguments, value=value)
        # Solve again with the hypothesis: w = start + null z.
        null = scipy.linalg.null_space(rows)
        left = y - a @ np.linalg.lstsq(rows, np.full(q, value))[0][:, None]
        tied = np.square(left - a @ null @ np.linalg.lstsq(a @ null, left)[0]).sum(0)
        statistic = (tied - free) / q / free * (n - p)
        assert found.dof[0] == q
        np.testing.assert_allclose(found.dof[1], n - p)
        np.testing.assert_allclose(found.statistic, statistic, rtol=1e-8)
        p_value = scipy.stats.f.sf(statistic, q, n - p)
        np.testing.assert_allclose(found.pvalue, p_value, rtol=1e-6, atol=1e-290)
        np.testing.assert_allclose(found.partial_r2, (tied - free) / tied, rtol=1e-8)


@pytest.mark.filterwarnings("ignore:the test of . sums")
@pytest.mark.parametrize(
    ("method", "asked"),
    [({"noise": "ar"}, "window of channels"), ({"loss": "huber"}, "difference in a window")],
)
def test_windows_and_channels_are_contrasts(method: dict[str, Any], asked: str) -> None:
    """For other noise and losses, and with rows that differ between outputs."""
    arguments, lags, channels = ASKED[asked]
    flags = [np.ones((70, 2), bool) for _ in LENGTHS]
    flags[1][:20, 0] = False
    y = [np.pad(b, ((5, 2), (0, 0))) for b in recording(True).y]
    given: dict[str, Any] = {"lags": (-2, 5), "mask": flags, "channels": NAMES, "fs": FS}
    fit = cs.solve(cs.Problem([*recording(True).x], y, **given), **method)
    rows = rows_of(lags, channels).reshape(-1, len(LAGS), CHANNELS)
    found, wanted = fit.test(**arguments, value=0.1), fit.test(contrast=rows, value=0.1)
    for name in ("statistic", "pvalue", "partial_r2"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_array_equal(found.dof[1], wanted.dof[1])


def test_channels_of_a_group_are_tested_in_its_outputs() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((90, 4)), rng.standard_normal((90, 6))
    fit = cs.solve(cs.Problem(x, y, lags=(0, 5), groups=2, channels=[*"abcd"]))
    alone = cs.solve(cs.Problem(x[:, 2:], y[:, 3:], lags=(0, 5), channels=[*"cd"]))
    found = fit.test({"c": 1, 3: -2.5}, lags=(0, 2)).statistic
    wanted = alone.test({"c": 1, "d": -2.5}, lags=(0, 2)).statistic
    np.testing.assert_allclose(found, np.r_[np.full(3, np.nan), wanted], rtol=1e-10)
    with pytest.raises(ValueError, match=r"needs channels of one group, got \['b', 'c'\]"):
        fit.test({"b": 1, "c": -1})
    with pytest.raises(ValueError, match="as many in every group"):
        fit.test(["a", "b", "c"])


def test_windows_with_a_dilation_and_sums_of_channels_in_images() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((2, 80))
    fit = cs.solve(cs.Problem(x, y[:68], kernel_size=4, dilation=4))
    assert [*fit.lags] == [-12, -8, -4, 0]
    found, rows = fit.test(lags=(-9, -1)), np.eye(4)[1:3]
    np.testing.assert_array_equal(found.statistic, fit.test(contrast=rows).statistic)
    with pytest.raises(ValueError, match="no lag of the kernel, lags -12, -8, -4, 0"):
        fit.test(lags=(-3, -1))
    with pytest.raises(TypeError, match=r"lags in seconds need all of tmin=, tmax= and fs="):
        fit.test(tmin=0, tmax=0.1)
    # Sums of channels are tested at every tap of an image.
    image = rng.standard_normal((12, 12, 2))
    fit = cs.solve(cs.Problem(image, rng.standard_normal((11, 10, 1)), kernel_size=(2, 3)))
    found = fit.test({0: 1, 1: -1})
    rows = np.kron(np.eye(6), [1, -1]).reshape(6, 2, 3, 2)
    np.testing.assert_array_equal(found.statistic, fit.test(contrast=rows).statistic)
    with pytest.raises(TypeError, match="a window needs one axis"):
        fit.test(0, lags=(0, 1))


NONE = "sums of taps with weights"
REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"channels": "tree"}, ValueError, "there is no channel 'tree': there are tone, word, scene"),
    ({"channels": {"tone": 1, 0: -1}}, ValueError, NONE),
    ({"channels": []}, ValueError, NONE),
    ({"lags": (6, 9)}, ValueError, "the window has no lag of the kernel, -40 to 100 ms"),
    ({"tmin": "0", "tmax": 0.1}, TypeError, "tmin must be a number, got '0'"),
    ({"tmin": 0, **EARLY}, TypeError, "lags= in samples or tmin= and tmax="),
    ({"lags": (3, 1)}, ValueError, "the first lag must not exceed the last"),
    ({"contrast": np.ones((8, 3)), **EARLY}, TypeError, "or contrast= alone"),
    ({}, TypeError, "test needs channels= or a window"),
    (
        {"channels": {0: 1}, **EARLY, "value": [1, 2]},
        ValueError,
        r"value has shape \(2,\), .*\(3,\)",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "words"), REFUSED, ids=lambda v: str(v)[:50])
def test_refused_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        solved(True).test(**arguments)
