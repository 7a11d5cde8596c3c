"""Every layout against the formula by which its library defines a convolution, in loops."""

import itertools

import numpy as np
import pytest
import scipy.signal

from convsolve import interop

GEOMETRIES = [
    # samples, kernel size, channels, outputs, groups, stride, dilation
    ((9,), (3,), 2, 3, 1, (1,), (1,)),
    ((12,), (3,), 4, 6, 2, (2,), (2,)),
    ((6, 7), (2, 3), 2, 2, 1, (1, 2), (2, 1)),
    ((5, 6), (3, 2), 3, 6, 3, (1, 1), (1, 1)),
    ((4, 5, 3), (2, 3, 2), 2, 4, 2, (1, 2, 1), (1, 1, 2)),
]
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)


def problem(geometry):
    rng = np.random.default_rng(0)
    samples, taps, channels, outputs, groups, *_ = geometry
    x = rng.normal(size=(2, *samples, channels))
    return x, rng.normal(size=(*taps, channels // groups, outputs))


def positions(samples, taps, stride, dilation):
    """(t, k, t*stride + k*dilation) for every output t and tap k of a valid convolution."""
    counts = [(w - (k - 1) * d - 1) // s + 1 for w, k, s, d in zip(samples, taps, stride, dilation)]
    for t in itertools.product(*map(range, counts)):
        for k in itertools.product(*map(range, taps)):
            yield t, k, tuple(a * s + b * d for a, b, s, d in zip(t, k, stride, dilation))


def defining(x, w, geometry):
    """y[n, t, o] = sum_{k, c} x[n, t*stride + k*dilation, g(o)*Cg + c] * w[k, c, o]."""
    samples, taps, channels, outputs, groups, stride, dilation = geometry
    per_group = channels // groups
    y = {}
    for t, k, at in positions(samples, taps, stride, dilation):
        for n, o, c in itertools.product(range(len(x)), range(outputs), range(per_group)):
            g = o * groups // outputs
            term = x[(n, *at, g * per_group + c)] * w[(*k, c, o)]
            y[n, t, o] = y.get((n, t, o), 0.0) + term
    return y


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-12, abs=1e-12)


@each_geometry
def test_keras(geometry):
    # Keras defines ConvND by the formula of `defining`, kernel (*K, Cin/groups, filters).
    _, w = problem(geometry)
    assert interop.to_keras(w) is w
    assert interop.from_keras(w) is w


@each_geometry
def test_torch(geometry):
    # torch.nn.ConvNd: out[n, o] = sum_c weight[o, c] cross-correlated with input[n, c], where o
    # reads the channels of its group only; channels first.
    x, w = problem(geometry)
    samples, taps, channels, outputs, groups, stride, dilation = geometry
    first = np.moveaxis(x, -1, 1)
    weight = interop.to_torch(w)
    assert weight.shape == (outputs, channels // groups, *taps)
    y = {}
    outputs_per_group, per_group = outputs // groups, channels // groups
    for t, k, at in positions(samples, taps, stride, dilation):
        for n, g in itertools.product(range(len(x)), range(groups)):
            for o, c in itertools.product(range(outputs_per_group), range(per_group)):
                out, channel = g * outputs_per_group + o, g * per_group + c
                term = first[(n, channel, *at)] * weight[(out, c, *k)]
                y[n, t, out] = y.get((n, t, out), 0.0) + term
    assert_same(y, defining(x, w, geometry))
    np.testing.assert_array_equal(interop.from_torch(weight), w)


@each_geometry
def test_impulse_response(geometry):
    # Convolution proper: h[j] meets the sample that lies j steps of the dilation before the newest
    # one that the output reads.
    x, w = problem(geometry)
    samples, taps, channels, outputs, groups, stride, dilation = geometry
    h = interop.to_impulse_response(w)
    y = {}
    for t, j, _ in positions(samples, taps, stride, dilation):
        newest = [a * s + (k - 1) * d for a, s, k, d in zip(t, stride, taps, dilation)]
        at = tuple(p - lag * d for p, lag, d in zip(newest, j, dilation))
        for n, o, c in itertools.product(range(len(x)), range(outputs), range(channels // groups)):
            channel = o * groups // outputs * (channels // groups) + c
            y[n, t, o] = y.get((n, t, o), 0.0) + x[(n, *at, channel)] * h[(*j, c, o)]
    assert_same(y, defining(x, w, geometry))
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
