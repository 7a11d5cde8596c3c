"""Tests of windows of lags, of channels and of weighted sums of channels, by dense F tests."""

from __future__ import annotations

from functools import cache
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
LENGTHS, WIDTH = (70,) * 6, 30


@cache
def recording(bias: bool, lengths: tuple[int, ...] = LENGTHS) -> cs.Problem:
    rng = np.random.default_rng(4)
    x = [rng.standard_normal((n, CHANNELS)) for n in lengths]
    w = rng.standard_normal((len(LAGS), CHANNELS, 2)) * 0.3
    spec = cs.ConvSpec(len(LAGS))
    y = []
    for a in x:
        response = np.zeros((len(a), 2))
        response[5:-2] = cs.convolve(a, w, spec)
        noise = rng.standard_normal(response.shape)
        noise[1:] += 0.6 * noise[:-1]
        y.append(response + noise)
    return cs.Problem(x, y, tmin=-0.04, tmax=0.1, fs=FS, bias=bias, channels=NAMES)


@cache
def solved(bias: bool, noise: str, lengths: tuple[int, ...] = LENGTHS) -> cs.Solution:
    return cs.solve(recording(bias, lengths), noise=noise)


@cache
def design(problem: cs.Problem) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows of all records, columns by ascending lag, then channel, then the bias; and rows of y."""
    rows = dense.design_matrix([*problem.x], problem.spec)[0]
    taps = rows.reshape(len(rows), len(LAGS), CHANNELS)[:, ::-1].reshape(len(rows), -1)
    whole = np.hstack([taps, np.ones((len(rows), int(problem.bias)))])
    return whole, [np.concatenate([b[:, q] for b in problem.y]) for q in range(problem.n_outputs)]


def covariance(a: np.ndarray, y: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients, and their covariance as statsmodels computes it."""
    n, p = a.shape
    inverse = np.linalg.inv(a.T @ a)
    w = inverse @ a.T @ y
    e = y - a @ w
    if kind == "white":
        return w, inverse * (e @ e) / (n - p)
    scores = a * e[:, None]
    middle = scores.T @ scores
    for lag in range(1, WIDTH + 1):
        product = scores[lag:].T @ scores[:-lag]
        middle += (1 - lag / (WIDTH + 1)) * (product + product.T)
    return w, inverse @ middle @ inverse * n / (n - p)


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
    "window of all": ({"lags": [1, 2]}, [1, 2], [0, 1, 2]),
    "seconds": ({"channels": 1, "tmin": 0.02, "tmax": 0.061}, [1, 2, 3], [1]),
    "from a time": ({"channels": 1, "tmin": 0.04}, [2, 3, 4, 5], [1]),
    "up to a time": ({"channels": 1, "tmax": -0.02}, [-2, -1], [1]),
    "beyond the kernel": ({"channels": 2, "lags": (4, 90)}, [4, 5], [2]),
    "consecutive lags": ({"channels": 2, "lags": range(-2, 1)}, [-2, -1, 0], [2]),
    "one lag": ({"channels": {"tone": 1}, "lags": (3, 3)}, [3], {0: 1}),
    "difference": ({"channels": {"tone": 1, "word": -1}}, LAGS, {0: 1, 1: -1}),
    "difference in a window": (
        {"channels": {"word": -1, "tone": 1}, "tmin": 0, "tmax": 0.04}, [0, 1, 2], {0: 1, 1: -1}
    ),
    "weights by number": (
        {"channels": {0: 0.5, np.int64(1): 0.5, "scene": -1}, "lags": (0, 3)},
        [0, 1, 2, 3], {0: 0.5, 1: 0.5, 2: -1},
    ),
}  # fmt: skip


# Noise models, and the lengths of the records. Long records need no correction of "hac".
NOISE: dict[str, tuple[str, tuple[int, ...]]] = {
    "white": ("white", LENGTHS),
    "hac": (f"hac{WIDTH}", (5_200,)),
}
ROWS = [("white", asked, i % 2 > 0) for i, asked in enumerate(ASKED)]
ROWS += [("hac", "window of channels", False), ("hac", "difference in a window", False)]


@pytest.mark.parametrize(("kind", "asked", "bias"), ROWS)
def test_tests_are_dense_f_tests(kind: str, asked: str, bias: bool) -> None:
    """With correlated noise, F of Hotelling's T², whose covariance is that of statsmodels."""
    noise, lengths = NOISE[kind]
    problem, fit = recording(bias, lengths), solved(bias, noise, lengths)
    arguments, lags, channels = ASKED[asked]
    rows, (a, ys) = rows_of(lags, channels), design(problem)
    (n, p), q, taps = a.shape, len(rows), rows.shape[1]
    dof = n - p if kind == "white" else 1.5 * n / WIDTH
    left = dof if kind == "white" else dof - q + 1
    for value in (0.0, np.linspace(-0.2, 0.2, q)):
        found = fit.test(**arguments, value=value)
        assert found.dof[0] == q
        np.testing.assert_allclose(found.dof[1], left)
        for o, y in enumerate(ys):
            w, of_w = covariance(a, y, kind)
            off = rows @ w[:taps] - value
            f = off @ np.linalg.solve(rows @ of_w[:taps, :taps] @ rows.T, off) / q * left / dof
            np.testing.assert_allclose(found.statistic[o], f, rtol=1e-8)
            p_value = scipy.stats.f.sf(f, q, left)
            np.testing.assert_allclose(found.pvalue[o], p_value, rtol=1e-6, atol=1e-290)
            # Solve again with the hypothesis: w = start + null z.
            whole = np.pad(rows, ((0, 0), (0, int(bias))))
            null = scipy.linalg.null_space(whole)
            start = np.linalg.lstsq(whole, np.full(q, value), rcond=None)[0]
            z = np.linalg.lstsq(a @ null, y - a @ start, rcond=None)[0]
            less = np.square(y - a @ (start + null @ z)).sum()
            share = (less - np.square(y - a @ w).sum()) / less
            np.testing.assert_allclose(found.partial_r2[o], share, rtol=1e-8)


@pytest.mark.filterwarnings("ignore:the test of . sums")
@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ({"noise": "hac"}, "one lag"),
        ({"noise": "ar"}, "window of channels"),
        ({"loss": "huber"}, "difference in a window"),
        ({}, "window of channels"),
    ],
    ids=["hac", "ar", "huber", "mask"],
)
def test_windows_and_channels_are_contrasts(method: dict[str, Any], asked: str) -> None:
    """For any noise and loss in short records, and with rows that differ between outputs."""
    arguments, lags, channels = ASKED[asked]
    problem = recording(True)
    if not method:
        flags = [np.ones((70, 2), bool) for _ in LENGTHS]
        flags[1][:20, 0] = False
        y = [np.pad(b, ((5, 2), (0, 0))) for b in problem.y]
        problem = cs.Problem([*problem.x], y, lags=(-2, 5), mask=flags, channels=NAMES, fs=FS)
    fit = cs.solve(problem, **method)
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
    with pytest.raises(ValueError, match=r"needs channels of one group, got .* groups"):
        fit.test({"b": 1, "c": -1})


def test_windows_with_a_dilation_and_sums_of_channels_in_images() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((2, 80))
    fit = cs.solve(cs.Problem(x, y[:68], kernel_size=4, dilation=4))
    assert [*fit.lags] == [-12, -8, -4, 0]
    found, rows = fit.test(lags=(-9, -1)), np.eye(4)[1:3]
    np.testing.assert_array_equal(found.statistic, fit.test(contrast=rows).statistic)
    with pytest.raises(ValueError, match=r"lags=\(-3, -1\) contains no lag of the kernel"):
        fit.test(lags=(-3, -1))
    # Sums of channels are tested at every tap of an image.
    image = rng.standard_normal((12, 12, 2))
    fit = cs.solve(cs.Problem(image, rng.standard_normal((11, 10, 1)), kernel_size=(2, 3)))
    found = fit.test({0: 1, 1: -1})
    rows = np.kron(np.eye(6), [1, -1]).reshape(6, 2, 3, 2)
    np.testing.assert_array_equal(found.statistic, fit.test(contrast=rows).statistic)
    with pytest.raises(ValueError, match="a window of lags needs a kernel with one axis"):
        fit.test(0, lags=(0, 1))


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"channels": "tree"}, ValueError, "there is no channel 'tree': there are tone, word, scene"),
    ({"channels": {"tone": 1, 0: -1}}, ValueError, "channels has channel tone twice"),
    ({"channels": {"tone": 0}}, ValueError, "must be numbers, not all zero"),
    ({"channels": []}, ValueError, "channels is empty"),
    ({"lags": (6, 9)}, ValueError, r"lags=\(6, 9\) contains no lag of the .* -40 to 100 ms"),
    ({"tmin": "0", "tmax": 0.1}, TypeError, "tmin must be a number, got '0'"),
    ({"tmin": 0, **EARLY}, TypeError, "give either lags= in samples, or tmin= and tmax="),
    ({"lags": (3, 1)}, ValueError, "the first lag must not exceed the last"),
    ({"contrast": np.ones((8, 3)), **EARLY}, TypeError, "a window of lags"),
    ({"contrast": np.ones((8, 3)), "channels": {0: 1}}, TypeError, "or contrast= alone"),
    ({}, TypeError, "test needs channels= or a window"),
    ({"channels": {0: 1}, **EARLY, "value": [1, 2]}, ValueError, r"value has shape \(2,\), .* 3"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), REFUSED, ids=lambda v: str(v)[:50])
def test_refused_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        solved(True, "white").test(**arguments)


def test_seconds_need_a_sampling_rate() -> None:
    x, y = np.random.default_rng(8).standard_normal((2, 60))
    with pytest.raises(ValueError, match="tmin= and tmax= need a sampling rate"):
        cs.solve(cs.Problem(x, y, lags=(0, 3))).test(tmin=0, tmax=0.1)
