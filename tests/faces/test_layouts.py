"""Every layout against the formula by which its library defines a convolution."""

import itertools

import numpy as np
import pytest
import scipy.signal

from convsolve import interop


@pytest.mark.parametrize("taps", [(3,), (2, 3), (2, 3, 2)], ids=str)
def test_layers_and_impulse_responses(taps, rng):
    """Keras has the layout of the package; torch.nn.ConvNd has weight[o, c, k].

    h of a convolution proper has the lags in reverse order along every axis.
    """
    w = rng.normal(size=(*taps, 2, 6))
    assert interop.to_keras(w) is interop.from_keras(w) is w
    weight, h = interop.to_torch(w), interop.to_impulse_response(w)
    for place in np.ndindex(w.shape):
        *k, c, o = place
        assert weight[(o, c, *k)] == w[place]
        assert h[(*(n - 1 - i for n, i in zip(taps, k)), c, o)] == w[place]
    np.testing.assert_array_equal(interop.from_torch(weight), w)
    np.testing.assert_array_equal(interop.from_impulse_response(h), w)


def test_impulse_response_in_scipy_and_numpy(rng):
    x, w = rng.normal(size=20), rng.normal(size=(4, 1, 1))
    h = interop.to_impulse_response(w)[:, 0, 0]
    padded = np.concatenate([np.zeros(3), x, np.zeros(3)])
    y = [sum(padded[t + k] * w[k, 0, 0] for k in range(4)) for t in range(23)]
    np.testing.assert_allclose(np.convolve(x, h), y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(scipy.signal.lfilter(h, 1, x), y[:20], rtol=1e-12, atol=1e-13)

    image, w = rng.normal(size=(6, 5)), rng.normal(size=(3, 2, 1, 1))
    h = interop.to_impulse_response(w)[..., 0, 0]
    y = np.zeros((4, 4))
    for i, j in itertools.product(range(4), range(4)):
        y[i, j] = np.sum(image[i : i + 3, j : j + 2] * w[..., 0, 0])
    found = scipy.signal.convolve(image, h, mode="valid")
    np.testing.assert_allclose(found, y, rtol=1e-12, atol=1e-13)


LAGS = range(-1, 3)


def lagged(x, w, groups):
    """y[t, o] from x[t - lag] at lags -1..2, zero outside the record: lo = 2, so k = 2 - lag."""
    taps, per_group, outputs = w.shape
    y = np.zeros((len(x), outputs))
    for t, k, o, c in itertools.product(
        range(len(x)), range(taps), range(outputs), range(per_group)
    ):
        at = t + k - 2
        if 0 <= at < len(x):
            y[t, o] += x[at, o * groups // outputs * per_group + c] * w[k, c, o]
    return y


@pytest.mark.parametrize("groups", [1, 2])
def test_mne(groups, rng):
    # ReceptiveField: y[t, o] = sum over features f and delays d of coef[o, f, d] * x[t - d, f],
    # with delays ascending from tmin to tmax.
    x, w = rng.normal(size=(11, 4)), rng.normal(size=(4, 4 // groups, 6))
    coef = interop.to_mne(w, groups=groups)
    assert coef.shape == (6, 4, 4)
    y = np.zeros((11, 6))
    for t, o, f, (i, lag) in itertools.product(range(11), range(6), range(4), enumerate(LAGS)):
        if 0 <= t - lag < 11:
            y[t, o] += coef[o, f, i] * x[t - lag, f]
    np.testing.assert_allclose(y, lagged(x, w, groups), rtol=1e-12, atol=1e-13)
    dense = interop.from_mne(coef)
    np.testing.assert_allclose(lagged(x, dense, 1), y, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(interop.to_mne(dense), coef)
    np.testing.assert_array_equal(interop.from_mne(coef[1]), dense[:, :, 1:2])
    if groups == 1:
        np.testing.assert_array_equal(dense, w)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("fs", [1, 64.0])
def test_trf(groups, fs, rng):
    # mTRFpy: r[t, n] = (1 / fs) * sum over inputs f and lags of w[f, lag, n] * s[t - lag, f].
    x, w = rng.normal(size=(11, 4)), rng.normal(size=(4, 4 // groups, 6))
    weights = interop.to_trf(w, fs=fs, groups=groups)
    assert weights.shape == (4, 4, 6)
    y = np.zeros((11, 6))
    for t, o, f, (i, lag) in itertools.product(range(11), range(6), range(4), enumerate(LAGS)):
        if 0 <= t - lag < 11:
            y[t, o] += weights[f, i, o] * x[t - lag, f] / fs
    np.testing.assert_allclose(y, lagged(x, w, groups), rtol=1e-12, atol=1e-13)
    dense = interop.from_trf(weights, fs=fs)
    np.testing.assert_allclose(lagged(x, dense, 1), y, rtol=1e-12, atol=1e-13)
    if groups == 1:
        np.testing.assert_array_equal(dense, w)


def test_precision_is_kept(rng):
    w = rng.normal(size=(3, 2, 2)).astype(np.float32)
    for name in ("torch", "impulse_response", "mne", "trf"):
        there = getattr(interop, f"to_{name}")(w)
        back = getattr(interop, f"from_{name}")(there)
        assert there.dtype == back.dtype == np.float32
        assert not np.shares_memory(there, w)
        assert there.flags.c_contiguous
        assert back.flags.c_contiguous
    assert interop.to_trf(np.ones((1, 1, 1), int), fs=0.5) == 0.5


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        ("to_keras", (3,), r"\(\*K, Cin/groups, Cout\) with 1 to 3 axes K, got shape \(3,\)"),
        ("from_keras", (1,) * 6, r"\(\*K, Cin/groups, Cout\) with 1 to 3 axes K, got shape"),
        ("to_torch", (3, 1), r"\(\*K, Cin/groups, Cout\) with 1 to 3 axes K, got shape \(3, 1\)"),
        ("from_torch", (3, 1), r"\(Cout, Cin/groups, \*K\) with 1 to 3 axes K, got shape \(3, 1\)"),
        ("to_impulse_response", (3, 1), r"\(\*K, Cin/groups, Cout\)"),
        ("from_impulse_response", (3, 1), r"\(\*K, Cin/groups, Cout\)"),
        ("to_mne", (3, 3, 1, 1), r"\(K, Cin/groups, Cout\), got shape \(3, 3, 1, 1\)"),
        ("from_mne", (3,), r"\(outputs, features, delays\) or \(features, delays\), got shape"),
        ("to_trf", (3, 3, 1, 1), r"\(K, Cin/groups, Cout\), got shape \(3, 3, 1, 1\)"),
        ("from_trf", (3, 1), r"\(features, lags, outputs\), got shape \(3, 1\)"),
    ],
)
def test_another_rank_is_refused(function, shape, message):
    with pytest.raises(ValueError, match=rf"the array must be {message}"):
        getattr(interop, function)(np.zeros(shape))


@pytest.mark.parametrize("function", [interop.to_mne, interop.to_trf])
@pytest.mark.parametrize("groups", [0, 2])
def test_groups_that_do_not_divide_are_refused(function, groups):
    with pytest.raises(ValueError, match=rf"groups={groups} does not divide the 3 outputs"):
        function(np.zeros((2, 1, 3)), groups=groups)


@pytest.mark.parametrize("function", [interop.to_trf, interop.from_trf])
@pytest.mark.parametrize("fs", [0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(function, fs):
    with pytest.raises(ValueError, match=f"fs must be a positive sampling rate in Hz, got {fs}"):
        function(np.zeros((2, 1, 3)), fs=fs)
