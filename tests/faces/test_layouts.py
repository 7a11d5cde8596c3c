"""Every layout against the formula by which its library defines a convolution."""

import itertools

import numpy as np
import pytest

from convsolve import interop


@pytest.mark.parametrize("taps", [(3,), (2, 3), (2, 3, 2)], ids=str)
def test_layers_and_impulse_responses(taps, rng):
    """torch.nn.ConvNd has weight[o, c, k].

    h of a convolution proper has the lags in reverse order along every axis.
    """
    w = rng.normal(size=(*taps, 2, 6))
    weight, h = interop.to_torch(w), interop.to_impulse_response(w)
    for place in np.ndindex(w.shape):
        *k, c, o = place
        assert weight[(o, c, *k)] == w[place]
        assert h[(*(n - 1 - i for n, i in zip(taps, k)), c, o)] == w[place]
    if len(taps) == 1:
        x = rng.normal(size=20)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, 2), 3)
        np.testing.assert_allclose(np.convolve(x, h[:, 0, 0]), windows @ w[:, 0, 0], rtol=1e-9)
    np.testing.assert_array_equal(interop.from_torch(weight), w)
    np.testing.assert_array_equal(interop.from_impulse_response(h), w)
    for name in ("torch", "impulse_response", "mne", "trf")[: 4 if len(taps) == 1 else 2]:
        there = getattr(interop, f"to_{name}")(w.astype(np.float32))
        back = getattr(interop, f"from_{name}")(there)
        assert there.dtype == back.dtype == np.float32
        assert there.flags.c_contiguous
        assert back.flags.c_contiguous


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
@pytest.mark.parametrize("fs", [None, 1, 64.0])
def test_mne_and_trf(groups, fs, rng):
    """ReceptiveField: y[t, o] = sum over features f and delays d of coef[o, f, d] * x[t - d, f].

    Delays ascend from tmin to tmax. mTRFpy, which has a rate, has w[f, lag, n] and divides by fs.
    """
    x, w = rng.normal(size=(11, 4)), rng.normal(size=(4, 4 // groups, 6))
    if fs is None:
        coef = interop.to_mne(w, groups=groups)
        dense = interop.from_mne(coef)
        np.testing.assert_array_equal(interop.to_mne(dense), coef)
        np.testing.assert_array_equal(interop.from_mne(coef[1]), dense[:, :, 1:2])
    else:
        weights = interop.to_trf(w, fs=fs, groups=groups)
        dense = interop.from_trf(weights, fs=fs)
        coef = weights.transpose(2, 0, 1) / fs
    assert coef.shape == (6, 4, 4)
    y = np.zeros((11, 6))
    for t, o, f, (i, lag) in itertools.product(range(11), range(6), range(4), enumerate(LAGS)):
        if 0 <= t - lag < 11:
            y[t, o] += coef[o, f, i] * x[t - lag, f]
    np.testing.assert_allclose(y, lagged(x, w, groups), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(lagged(x, dense, 1), y, rtol=1e-12, atol=1e-13)
    if groups == 1:
        np.testing.assert_array_equal(dense, w)


OURS = r"\(\*K, Cin/groups, Cout\) with 1 to 3 axes K, got shape"
MISTAKES = [
    ("to_torch", (3, 1), {}, OURS),
    ("from_torch", (3, 1), {}, r"\(Cout, Cin/groups, \*K\) with 1 to 3 axes K, got shape \(3, 1\)"),
    ("to_impulse_response", (3, 1), {}, OURS),
    ("from_impulse_response", (3, 1), {}, OURS),
    ("to_mne", (3, 3, 1, 1), {}, r"\(K, Cin/groups, Cout\), got shape \(3, 3, 1, 1\)"),
    ("from_mne", (3,), {}, r"\(outputs, features, delays\) or \(features, delays\), got shape"),
    ("to_trf", (3, 3, 1, 1), {}, r"\(K, Cin/groups, Cout\), got shape \(3, 3, 1, 1\)"),
    ("from_trf", (3, 1), {}, r"\(features, lags, outputs\), got shape \(3, 1\)"),
    ("to_mne", (2, 1, 3), {"groups": 2}, "groups=2 does not divide the 3 outputs"),
    ("to_trf", (2, 1, 3), {"groups": 0}, "groups=0 does not divide the 3 outputs"),
    ("to_trf", (2, 1, 3), {"fs": -1.0}, "fs must be a positive sampling rate in Hz, got -1.0"),
    ("from_trf", (2, 1, 3), {"fs": float("nan")}, "a positive sampling rate in Hz, got nan"),
]


def test_mistakes_are_named():
    for function, shape, given, words in MISTAKES:
        with pytest.raises(ValueError, match=words):
            getattr(interop, function)(np.zeros(shape), **given)
