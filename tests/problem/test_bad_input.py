"""Arguments that `Problem` refuses, with the message of each."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import pytest

import convsolve as cs
from support.arrays import X, Y, ones


def with_value(value, at, shape=(6, 2), dtype=float):
    a = np.ones(shape, dtype)
    a[at] = value
    return a


BAD_VALUES = [
    (with_value(np.nan, (3, 1)), r"x has NaN at index \(3, 1\)"),
    (with_value(-np.inf, (slice(2, 4), 1)), r"x has Inf at index \(2, 1\)"),
    (with_value(np.nan, 4, (6,), ml_dtypes.bfloat16), r"x has NaN at index \(4,\)"),
    ([np.ones((4, 1)), with_value(np.nan, (5, 0), (6, 1))], r"x\[1\] has NaN at index \(5, 0\)"),
]


@pytest.mark.parametrize(("x", "words"), BAD_VALUES)
def test_values_that_are_not_finite(x, words):
    with pytest.raises(ValueError, match=rf"{words}.*cut the record there"):
        cs.Problem(x, kernel_size=2)


def test_the_advice_for_missing_values_of_new_data_can_be_followed():
    x = with_value(np.nan, 7, (20,))
    fit = cs.solve(cs.Problem(np.arange(9.0) ** 2, np.arange(9.0), lags=(0, 1)))
    with pytest.raises(ValueError, match=r"missing='drop'"):
        fit.predict(x)
    assert [len(part) for part in fit.predict([x[:7], x[8:]], edges="drop")] == [7, 12]
    fit = cs.solve(cs.Problem(np.arange(9.0) ** 2, np.arange(9.0), lags=(0, 1), missing="drop"))
    assert [*np.flatnonzero(np.isnan(fit.predict(x, edges="drop")))] == [0, 7, 8]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array(["1.5"] * 5, "S"), r"ndarray of \|S3"),
        (None, "NoneType of object"),
        ({"a": 1}, "dict of object"),
        (pd.DataFrame({"t": [*"abc"], "x": [1, 2, 3]}), r"a DataFrame with columns \['t'\]"),
        (np.ma.masked_equal(np.arange(5.0), 3), "MaskedArray"),
        (np.ones(5) * 1j, "ndarray of complex128"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_kinds_that_are_not_arrays_of_numbers(value, words):
    words = f"must hold plain real numbers, got {words}"
    with pytest.raises(TypeError, match=f"^x {words}"):
        cs.Problem(value, lags=(0, 0))
    if value is not None:  # y may be left out
        with pytest.raises(TypeError, match=f"^y {words}"):
            cs.Problem(np.ones(5), value, kernel_size=1)
    with pytest.raises(TypeError, match=rf"^x\[1\] {words}"):
        cs.Problem([np.ones(5), value], kernel_size=1)


@pytest.mark.parametrize(
    ("x", "y", "taps", "words"),
    [
        # rank, empty axes, channels and records
        (3.0, None, 2, r"x has shape \(\); a kernel with 1 axis takes \(\*T\) or"),
        ((2, 3, 4, 5), None, 2, r"x .*axis takes .* or \(records, \*T, channels\)$"),
        ([(2, 9, 1)], None, 2, r"x\[0\] has shape \(2, 9, 1\); .*\(\*T, channels\)$"),
        ((9, 0), None, 2, r"x has an empty axis: shape \(9, 0\)"),
        ([(9, 1), (9, 2)], None, 2, "records of x have different numbers of axes or channels"),
        ((3, 9, 1), (2, 8, 1), 2, "x has 3 records, y 2 records"),
        # length
        ((9,), (4,), 2, "y has 4 samples, expected 8; .* as the layer"),
        # axes that look exchanged
        ((9, 2), (3, 8), 2, r"channels come last: transpose y, or .* y\[\.\.\., None\]"),
        ((3, 99), (98,), 2, "expected 2; x was read as 1 record × 3 samples × 99 channels"),
        ((3, 99), (3, 99), 4, "no window fits.* channels come last: transpose x, or add"),
        ((9, 99), (9, 98, 1), 2, "x has 1 record, y 9 records; .* need a channel axis"),
        # no window
        ((3,), None, 4, r"no window fits: lags \[\(-3, 0\)\] take \(4,\) samples .* x has \(3,\)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(x, y, taps, words):
    x = ones(x) if isinstance(x, (list, tuple)) else x
    with pytest.raises(ValueError, match=words):
        cs.Problem(x, None if y is None else ones(y), kernel_size=taps)


def test_a_kernel_longer_than_the_signal_is_fine_where_rows_exist():
    assert cs.Problem(np.ones(3), kernel_size=5, padding="full").n_equations == 7
    assert cs.Problem([np.ones(3), np.ones(6)], kernel_size=5).n_equations == 2


@pytest.mark.parametrize(("trials", "channels"), [(5, 3), (5, 1)])
@pytest.mark.parametrize("given", [{"kernel_size": 3, "padding": "causal"}, {"lags": (0, 2)}])
def test_trials_by_time_needs_a_channel_axis(given, trials, channels):
    x, y = np.ones((trials, 20, channels)), np.ones((trials, 20))
    with pytest.raises(ValueError, match=r"need a channel axis, \[\.\.\., None\]"):
        cs.Problem(x, y, **given)
    assert cs.Problem(x, y[..., None], **given).n_outputs == 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        # the geometry, stated once
        ({}, TypeError, r"give one of lags=\(first, last\) in samples, tmin="),
        ({"lags": (0, 2), "kernel_size": 2}, TypeError, "not lags= and kernel_size="),
        ({"kernel_size": 3, "spec": cs.ConvSpec(3)}, TypeError, "not kernel_size= and spec="),
        ({"spec": cs.ConvSpec(3), "groups": 2}, TypeError, "groups= cannot .* with spec="),
        ({"lags": (0, 2), "padding": "same"}, TypeError, "padding= cannot .* with lags="),
        ({"kernel_size": 2, "edges": "zeros"}, TypeError, "edges= cannot .* with kernel_size="),
        # lags
        ({"lags": (0, 2), "edges": "wrap"}, ValueError, "edges='wrap' is unknown; choose 'dr"),
        ({"lags": 3}, TypeError, r"lags must be \(first, last\) in samples, got 3"),
        ({"lags": (0, 1, 3)}, ValueError, "lags=.* must have one pair of integers per axis"),
        ({"lags": (0, 1.5)}, TypeError, "must be whole, in samples; tmin= "),
        ({"lags": (3, 1)}, ValueError, "the first lag must not exceed the last"),
        ({"tmin": 0.0}, TypeError, "lags in seconds need tmax= and fs="),
        ({"lags": (0, 9)}, ValueError,
         r"no window fits: lags \[\(0, 9\)\] take \(10,\) samples .* fewer lags or edges"),
        ({"tmin": 0, "tmax": np.inf, "fs": 9}, ValueError, "tmax must be finite"),
        ({"tmax": 0.5, "fs": 1 / 50}, ValueError, "less than half a sample at fs=0.02 Hz"),
        ({"tmin": -100, "tmax": 500, "fs": 128}, ValueError, "no window fits: .* are in seconds"),
        # y
        ({"x": [X, X], "y": [np.ones(9), np.ones(8)], "lags": (0, 2)}, ValueError,
         r"y\[1\] has 8 samples, expected 9; with lags=, y is as long as x"),
        ({"y": np.ones(9), "lags": (0, 2), "stride": 4}, ValueError,
         "y has 9 samples, expected 3; with lags=, y is as long as x over stride="),
        # numbers of channels and outputs
        ({"kernel_size": 3, "groups": 4}, ValueError, "groups=4 .* the 2 channels of x"),
        ({"kernel_size": 3, "y": Y, "groups": 2}, ValueError, "groups=2 .* the 3 outputs"),
        ({"kernel_size": 3, "y": Y, "n_outputs": 2}, ValueError, "2, but y has 3 channels"),
    ],
    ids=str,
)  # fmt: skip
def test_arguments_that_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        cs.Problem(**{"x": X, **arguments})


@pytest.mark.parametrize("name", ["x", "y", "weights", "mask", "confounds"])
def test_tracers_are_refused(name):
    def stated(values):
        given = {"x": np.ones(9), "y": np.ones(7), name: values}
        return cs.Problem(**given, kernel_size=3).n_equations * 1.0

    words = rf"^{name}.* is a .*tracer .* use convsolve\.fit_kernel\(x, y, spec, solver\)"
    with pytest.raises(TypeError, match=words):
        jax.jit(stated)(jnp.ones(7))
