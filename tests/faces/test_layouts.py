"""Every layout against the formula by which its library defines a convolution."""

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


@pytest.mark.parametrize("groups", [1, 2])
def test_mne_and_trf(groups, rng):
    """ReceptiveField: y[t, o] = sum over features f and delays d of coef[o, f, d] * x[t - d, f].

    Delays ascend. mTRFpy, which has a rate, has w[f, lag, n] and divides by fs.
    """
    w = rng.normal(size=(4, 4 // groups, 6))
    coef, weights = interop.to_mne(w, groups=groups), interop.to_trf(w, fs=64, groups=groups)
    for o, f, i in np.ndindex(coef.shape):
        own = f * groups // 4 == o * groups // 6
        assert coef[o, f, i] == (w[3 - i, f % (4 // groups), o] if own else 0)
    np.testing.assert_array_equal(weights, coef.transpose(1, 2, 0) * 64)
    dense = interop.from_mne(coef)
    np.testing.assert_array_equal(interop.to_mne(dense), coef)
    np.testing.assert_array_equal(interop.from_trf(weights, fs=64), dense)
    np.testing.assert_array_equal(interop.from_mne(coef[1]), dense[:, :, 1:2])


OURS = r"\(\*K, Cin/groups, Cout\) with 1 to 3 axes K, got shape"
MISTAKES = [
    ("to_torch", (3, 1), {}, OURS),
    ("from_torch", (3, 1), {}, r"\(Cout, Cin/groups, \*K\) with 1 to 3 axes K, got shape \(3, 1\)"),
    ("from_mne", (3,), {}, r"\(outputs, features, delays\) or \(features, delays\), got shape"),
    ("from_trf", (3, 1), {}, r"\(features, lags, outputs\), got shape \(3, 1\)"),
    ("to_mne", (2, 1, 3), {"groups": 2}, "groups=2 does not divide the 3 outputs"),
    ("to_trf", (2, 1, 3), {"fs": -1.0}, "fs must be finite and above 0, got -1.0"),
]


@pytest.mark.parametrize(("function", "shape", "given", "words"), MISTAKES)
def test_mistakes_are_named(function, shape, given, words):
    with pytest.raises(ValueError, match=words):
        getattr(interop, function)(np.zeros(shape), **given)
