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
    (with_value(np.nan, (3, 1)), r"x has 1 value that is not finite, .*\(NaN\) at index \(3, 1\)"),
    (with_value(np.inf, (0, 0)), r"x has 1 value .*\(Inf\) at index \(0, 0\)"),
    (with_value(-np.inf, (slice(2, 4), 1)), r"x has 2 values that are not finite.*index \(2, 1\)"),
    (with_value(np.nan, 4, (6,), ml_dtypes.bfloat16), r"x has 1 value"),
    ([np.ones((4, 1)), with_value(np.nan, (5, 0), (6, 1))], r"x\[1\] has 1 value .*index \(5, 0\)"),
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
    assert [len(part) for part in fit.predict([x[:7], x[8:]])] == [7, 12]
    fit = cs.solve(cs.Problem(np.arange(9.0) ** 2, np.arange(9.0), lags=(0, 1), missing="drop"))
    assert [*np.flatnonzero(np.isnan(fit.predict(x)))] == [0, 7, 8]


@pytest.mark.parametrize(("dtype", "tiny"), [(np.float64, 1e-310), (np.float32, 1e-40)])
def test_a_channel_of_denormals(dtype, tiny):
    x = np.ones((6, 2), dtype)
    x[:, 1] = [tiny, 0, -tiny, 0, 0, tiny]
    with pytest.raises(ValueError, match=r"x channel 1 has"):
        cs.Problem(x, kernel_size=2)
    x[0, 1] = 1  # stray ones beside a normal value are fine, and so is a channel of zeros
    assert cs.Problem(x, kernel_size=2).x[0][2, 1] == dtype(-tiny)
    assert cs.Problem(x * [1, 0], kernel_size=2).n_channels == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array(["1.5"] * 5, "S"), r"must hold numbers, got dtype \|S3"),
        (np.arange(5).astype("datetime64[D]"), r"must hold numbers, got dtype datetime64\[D\]"),
        (None, "must hold numbers, got None"),
        ({"a": 1}, "must be an array of numbers .* got <class 'dict'>"),
        (np.array([X, X[1:]], object), "must hold numbers, got dtype object"),
        (np.zeros(5, "f8, f8"), r"must hold numbers, got dtype \["),
        (pd.DataFrame({"t": [*"abc"], "x": [1, 2, 3]}), "must hold numbers, got dtype object"),
        (
            pd.DataFrame({"t": pd.array([1], "Int64"), "x": [1.0]}),
            "must hold numbers, got dtype object",
        ),
        ("sound.wav", "must hold numbers, got 'sound.wav'"),
        (cs.Problem(X, kernel_size=3), "must hold numbers, got <Problem .*>"),
        (np.ma.masked_equal(np.arange(5.0), 3), "must be an array of numbers .*MaskedArray"),
        (np.ones(5) * 1j, "is complex"),
        (jnp.ones(5) * 1j, r"is complex \(complex64\)"),
        (jax.random.key(0), "must be an array of numbers, .*PRNGKey"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_kinds_that_are_not_arrays_of_numbers(value, words):
    with pytest.raises(TypeError, match=f"^x {words}"):
        cs.Problem(value, kernel_size=1)
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
        # rank
        (3.0, None, 2, r"x has shape \(\); a kernel with 1 axis takes \(\*T\) or"),
        ((2, 3, 4, 5), None, 2, r"x .*axis takes .* or \(records, \*T, channels\)$"),
        ((9,), None, (2, 2), r"x has shape \(9,\); a kernel with 2 axes takes"),
        ([(2, 9, 1)], None, 2, r"x\[0\] has shape \(2, 9, 1\); .*\(\*T, channels\)$"),
        ([(9,), (9, 1)], None, 2, "records of x have different numbers of axes or channels"),
        # empty
        ((9, 0), None, 2, r"x has an empty axis: shape \(9, 0\)"),
        # channels and records
        ([(9, 1), (9, 2)], None, 2, "records of x have different numbers of axes or channels"),
        ((3, 9, 1), (2, 8, 1), 2, "x has 3 records, y 2 records"),
        # length
        ((9,), (9,), 2, r"y has 9 samples, expected 8: padding='valid' with 9 samples of x"),
        ((9,), (4,), 2, r"expected 8: .*; if y is as long as x, use lags= instead of kernel_size="),
        ((9, 2), (3, 8), 2, r"y has 3 samples, expected 8: .*channels come last: transpose y"),
        ((9, 7), (9, 7), (2, 2), "y has 9 × 7 samples, expected 8 × 6: "),
        # axes that look exchanged
        ((3, 99), (98,), 2, r"y has 98 samples, expected 2: .*; channels come last: transpose x$"),
        ((3, 99), (1, 98), 2, r"x was read as 1 record × 3 samples × 99 channels"),
        ((3, 99), (3, 99), 4, "no window fits.* transpose x and y if they are first, or add"),
        ((9, 99), (9, 98), 2, r"expected 8: .* add a channel axis, x\[\.\.\., None\]"),
        ((9, 99), (9, 98, 1), 2, "x has 1 record, y 9 records; .* need a channel axis"),
        # no output at all
        ((3,), None, 4, r"no window fits: kernel_size=\(4,\) .*padding='valid'$"),
        ((9, 2), None, (3, 3), r"no window fits: .* spans \(3, 3\) samples, x has \(9, 2\)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(x, y, taps, words):
    x = ones(x) if isinstance(x, (list, tuple)) and x != [] else x
    with pytest.raises(ValueError, match=words):
        cs.Problem(x, None if y is None else ones(y), kernel_size=taps)


def test_ragged_lists_of_numbers():
    with pytest.raises(
        ValueError, match="x must be an array of numbers, or a list of them: setting"
    ):
        cs.Problem([[1, 2, 3], [4, 5]], kernel_size=2)


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
        ({"kernel_size": None}, TypeError, r"needs one of lags=\(first, last\) in samples, tmin="),
        ({"groups": 4}, ValueError, "groups=4 does not divide the 2 input channels of x"),
        ({"groups": 2}, ValueError, "groups=2 does not divide the 3 output channels"),
        ({"n_outputs": 2}, ValueError, "n_outputs=2, but y has 3 channels"),
        ({"y": None, "n_outputs": 0}, ValueError, "n_outputs must be at least 1"),
        ({"spec": cs.ConvSpec(3)}, TypeError, "give either spec= or kernel_size, stride"),
        ({"kernel_size": None, "spec": 3}, TypeError, "spec must be a ConvSpec, got int"),
        ({"bias": "no"}, TypeError, "bias must be True or False, got 'no'"),
    ],
    ids=str,
)
def test_parameters_that_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        cs.Problem(**{"x": X, "y": Y, "kernel_size": 3, **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 2**40, "padding": "full"},
        {"kernel_size": 2, "padding": "causal", "dilation": 2**39},
        {"kernel_size": 2, "n_outputs": 2**40},
    ],
    ids=str,
)
def test_sizes_that_no_memory_holds(arguments):
    words = "kernel would have .* use fewer|windows would read .* too far outside it"
    with pytest.raises(ValueError, match=words):
        cs.Problem(np.ones(8), **arguments)
    with pytest.raises(ValueError, match=words):
        cs.Problem(np.ones(8), lags=(0, 2**40), edges="zeros")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"edges": "wrap"}, ValueError, "edges='wrap' is unknown; choose one of 'drop', 'zeros'"),
        ({"lags": 3}, TypeError, r"got 3; use lags=\(0, 2\) for 3 lags"),
        ({"lags": ()}, TypeError, r"lags must be \(first, last\)"),
        ({"lags": (0, 1, 3)}, ValueError, r"lags=.* must be \(first, last\), or one such pair"),
        ({"lags": (0, 1.5)}, TypeError, "must be whole numbers, in samples"),
        ({"lags": (False, 2)}, TypeError, "lags must be an integer, got the bool False"),
        ({"lags": (3, 1)}, ValueError, "the first lag must not exceed the last"),
        ({"lags": (0, 2**60)}, ValueError, "overflows a 64-bit index"),
        ({"lags": (-(2**61), 0)}, ValueError, "lags must be at least -1152921504606846976"),
        ({"tmin": 0.0, "tmax": 0.1}, TypeError, "give either lags= in samples, or tmin="),
        ({"lags": None, "tmin": 0.0}, TypeError, "need all of tmin=, tmax= and fs="),
        ({"lags": None, "tmin": 0, "tmax": 1, "fs": np.ones(2)}, TypeError, "^fs must be a number"),
        ({"kernel_size": 2}, TypeError, "give one of lags=.*, not two of them"),
        ({"stride": 2}, TypeError, "stride= is an argument for kernel_size; with lags= use edges="),
        ({"lags": None, "kernel_size": 2, "edges": "zeros"}, TypeError, "use padding="),
        ({"edges": None}, TypeError, "edges must be one of 'drop', .*got None of type NoneType"),
        ({"lags": (0, 9)}, ValueError,
         r"no window fits: lags \[\(0, 9\)\] take \(10,\) samples .* fewer lags.*edges='zeros'"),
        ({"x": [X, X], "y": [np.ones(9), np.ones(8)]}, ValueError,
         r"y\[1\] has 8 samples but x\[1\] has 9. With lags=, y must have the same length as x"),
        ({"x": np.ones((3, 99)), "y": np.ones((2, 99))}, ValueError, "transpose x and y if they"),
        ({"x": np.ones((3, 99)), "y": np.ones((3, 99, 1))}, ValueError, "a channel axis"),
        ({"bias": "no"}, TypeError, "bias must be True or False, got 'no'"),
    ],
    ids=str,
)  # fmt: skip
def test_lags_that_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        cs.Problem(**{"x": X, "lags": (0, 2), **arguments})


@pytest.mark.parametrize("name", ["x", "y", "weights", "mask", "confounds"])
def test_tracers_are_refused(name):
    def stated(values):
        given = {"x": np.ones(9), "y": np.ones(7), name: values}
        return cs.Problem(**given, kernel_size=3).n_equations * 1.0

    words = rf"^{name} is a .*tracer .* use convsolve\.fit_kernel\(x, y, spec, solver\)"
    with pytest.raises(TypeError, match=words):
        jax.jit(stated)(jnp.ones(7))
