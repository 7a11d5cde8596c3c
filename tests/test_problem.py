"""Problem: how data are read, in which precision, by which lags, and what is refused."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convsolve as cs

rng = np.random.default_rng(0)
X = rng.normal(size=(9, 2))
Y = rng.normal(size=(7, 3))  # three taps on X


def ones(shapes):
    """Arrays of ones: one for a shape, a list of them for a list of shapes."""
    return [np.ones(s) for s in shapes] if isinstance(shapes, list) else np.ones(shapes)


# --- the rank rule


@pytest.mark.parametrize(
    ("shape", "taps", "records", "reading"),
    [
        ((8,), 3, [(8, 1)], "1 record × 8 samples × 1 channel"),
        ((8, 2), 3, [(8, 2)], "1 record × 8 samples × 2 channels"),
        ((4, 8, 2), 3, [(8, 2)] * 4, "4 records × 8 samples × 2 channels"),
        ((1, 8, 2), 3, [(8, 2)], "1 record × 8 samples × 2 channels"),
        ([(8,), (5,)], 3, [(8, 1), (5, 1)], "2 records × 5–8 samples × 1 channel"),
        ([(8, 2), (5, 2)], 3, [(8, 2), (5, 2)], "2 records × 5–8 samples × 2 channels"),
        ([(8, 2)], 3, [(8, 2)], "1 record × 8 samples × 2 channels"),
        ((1500,), 3, [(1500, 1)], "1 record × 1500 samples × 1 channel"),
        ((8, 6), (3, 2), [(8, 6, 1)], "1 record × 8 × 6 samples × 1 channel"),
        ((8, 6, 2), (3, 2), [(8, 6, 2)], "1 record × 8 × 6 samples × 2 channels"),
        ((4, 8, 6, 2), (3, 2), [(8, 6, 2)] * 4, "4 records × 8 × 6 samples × 2 channels"),
        ([(8, 6), (5, 6)], (3, 2), [(8, 6, 1), (5, 6, 1)], "2 records × 5×6–8×6 samples"),
        ((8, 6, 5), (3, 2, 2), [(8, 6, 5, 1)], "1 record × 8 × 6 × 5 samples × 1 channel"),
        ((8, 6, 5, 2), (3, 2, 2), [(8, 6, 5, 2)], "1 record × 8 × 6 × 5 samples × 2 channels"),
        ((2, 8, 6, 5, 2), (3, 2, 2), [(8, 6, 5, 2)] * 2, "2 records × 8 × 6 × 5 samples"),
    ],
    ids=str,
)
def test_rank_rule(shape, taps, records, reading):
    problem = cs.Problem(ones(shape), kernel_size=taps)
    assert [x.shape for x in problem.x] == records
    assert problem.in_channels == records[0][-1]
    assert repr(problem).startswith(f"x: {reading}")


@pytest.mark.parametrize(
    ("x", "y", "outputs"),
    [
        ((8,), (6,), 1),
        ((8, 2), (6,), 1),
        ((8,), (6, 3), 3),
        ((8, 2), (1, 6, 3), 3),
        ((1, 8, 2), (6, 3), 3),
        ((4, 8, 1), (4, 6, 3), 3),
        ([(8, 2), (5, 2)], [(6,), (3,)], 1),
        ([(8,), (5,)], [(6, 3), (3, 3)], 3),
        ([(8,), (8,)], (2, 6, 3), 3),
        ((2, 8, 1), [(6, 3), (6, 3)], 3),
    ],
    ids=str,
)
def test_x_and_y_are_read_each_on_its_own(x, y, outputs):
    problem = cs.Problem(ones(x), ones(y), kernel_size=3)
    assert problem.out_channels == outputs
    assert len(problem.y) == len(problem.x)
    assert sum(len(part) for part in problem.y) == problem.n_equations


def test_nested_lists_of_numbers_are_one_array():
    problem = cs.Problem([[1, 2], [3, 4], [5, 6]], [1, 2], kernel_size=2)
    assert [x.shape for x in problem.x] == [(3, 2)]


def test_the_reading_line_tells_the_whole_geometry():
    problem = cs.Problem(
        np.ones((20, 4)), kernel_size=3, stride=2, dilation=3, groups=2, padding="full", bias=True
    )
    assert repr(problem) == (
        "x: 1 record × 20 samples × 4 channels; kernel: 3 taps, padding full, stride 2, "
        "dilation 3, 2 groups, bias; y: 13 rows × 2 outputs, float64"
    )


def test_a_record_too_short_for_a_row_is_counted():
    problem = cs.Problem([np.ones(8), np.ones(2)], kernel_size=3)
    assert problem.n_equations == 6
    assert "(1 record too short to give a row)" in repr(problem)


@pytest.mark.parametrize("bias", [False, True])
def test_equations_and_unknowns(bias):
    problem = cs.Problem(np.ones((5, 9, 4)), kernel_size=3, groups=2, out_channels=6, bias=bias)
    assert (problem.n_equations, problem.n_unknowns) == (5 * 7, 3 * 2 + bias)
    assert problem.kernel_shape == (3, 2, 6)


@pytest.mark.parametrize(
    ("arguments", "outputs"),
    [
        ({}, 1),
        ({"groups": 2}, 2),
        ({"out_channels": 5}, 5),
        ({"groups": 2, "out_channels": 4}, 4),
        ({"y": Y}, 3),
        ({"y": Y, "out_channels": 3}, 3),
    ],
    ids=str,
)
def test_out_channels(arguments, outputs):
    assert cs.Problem(X, kernel_size=3, **arguments).out_channels == outputs


def test_spec_may_stand_for_its_parts():
    spec = cs.ConvSpec(3, 2, "full", 2, 2)
    by_parts = cs.Problem(X, kernel_size=3, stride=2, padding="full", dilation=2, groups=2)
    assert cs.Problem(X, spec=spec).spec == by_parts.spec == spec


# --- more channels than samples


@pytest.mark.parametrize("x", [(3, 8), (2, 3, 8)])
def test_more_channels_than_samples_is_told(x):
    with pytest.warns(UserWarning, match=r"3 samples × 8 channels: more .*transpose x") as caught:
        cs.Problem(ones(x), kernel_size=2)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("x", "taps"),
    [((3, 8), (2,)), ((3, 8), [2]), ((8, 8), 2), ((3, 8), (2, 2)), ((3,), 2)],
    ids=str,
)
def test_a_reading_that_is_meant_is_not_told(x, taps):
    cs.Problem(ones(x), kernel_size=taps)  # warnings are errors


def test_a_reading_that_is_known_is_not_told():
    x = np.ones((3, 8))
    problem = cs.Problem(x, spec=cs.ConvSpec((2,)))  # the way out that the warning names
    assert cs.Problem.again(problem.recipe, x).n_equations == 2


# --- kinds of array

BF16 = ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (np.bool_, np.bool_, np.float64),
        (np.int8, np.int8, np.float64),
        (np.uint64, np.int64, np.float64),
        (np.float16, np.float16, np.float32),
        (BF16, BF16, np.float32),
        (BF16, np.float16, np.float32),
        (np.float16, np.float32, np.float32),
        (np.float32, np.float32, np.float32),
        (np.float64, np.float64, np.float64),
        (np.float32, np.float64, np.float64),
        (np.float64, np.float16, np.float64),
        (np.int32, np.float32, np.float64),
        (np.float32, np.bool_, np.float64),
    ],
)
def test_precision(x, y, expected):
    plain_x, plain_y = np.array([0, 1, 1, 0, 1]), np.array([1, 0, 1, 1])
    problem = cs.Problem(plain_x.astype(x), plain_y.astype(y), kernel_size=2)
    assert problem.dtype == problem.x[0].dtype == problem.y[0].dtype == expected
    assert problem.x[0][:, 0].tolist() == plain_x.tolist()
    assert problem.y[0][:, 0].tolist() == plain_y.tolist()


@pytest.mark.parametrize("dtype", [np.float16, BF16, np.float32])
def test_coarse_data_say_how_coarse_they_are(dtype):
    assert cs.Problem(X.astype(dtype), kernel_size=2).data_eps == float(jnp.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.int16, np.bool_])
def test_integers_are_exact(dtype):
    assert cs.Problem(np.ones(4, dtype), kernel_size=2).data_eps == 0


def test_records_of_two_precisions_take_the_wider():
    problem = cs.Problem([np.ones(4, np.float32), np.ones(5)], kernel_size=2)
    assert [x.dtype for x in problem.x] == [np.float64] * 2


DOORS = {
    "Problem": lambda x: cs.Problem(x, kernel_size=2),
    "from_lags": lambda x: cs.Problem.from_lags(x, lags=(0, 1)),
    "convolve": lambda x: cs.convolve(x, [1.0, 2.0], cs.ConvSpec(2)),
}


@pytest.mark.parametrize("door", DOORS)
def test_longdouble_is_brought_down_with_a_warning(door):
    with pytest.warns(UserWarning, match=r"brought down to float64") as caught:
        found = DOORS[door](np.arange(4, dtype=np.longdouble))
    assert found.dtype == np.float64
    assert caught[0].filename == __file__  # it points at the caller


def strided(a):
    wide = np.full((2 * a.shape[0], 3 * a.shape[1]), np.nan)
    wide[::2, 1::3] = a
    return wide[::2, 1::3]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


VIEWS = {
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": read_only,
    "Fortran": np.asfortranarray,
    "strided": strided,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "unaligned": lambda a: (
        np.frombuffer(b"0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    ),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_gives_the_answer_of_the_plain_array(view, bias):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(18, 3))
    vx, vy = VIEWS[view](x), VIEWS[view](y)
    bytes_before = np.asarray(vx).tobytes(), np.asarray(vy).tobytes()
    plain = cs.solve(cs.Problem(x, y, kernel_size=3, bias=bias))
    found = cs.solve(cs.Problem(vx, vy, kernel_size=3, bias=bias))
    assert found.kernel.dtype == np.float64
    np.testing.assert_array_equal(found.kernel, plain.kernel)
    np.testing.assert_array_equal(found.bias, plain.bias)
    assert (np.asarray(vx).tobytes(), np.asarray(vy).tobytes()) == bytes_before


def test_a_broadcast_view_gives_the_answer_of_its_copy():
    x = np.broadcast_to(X, (4, 9, 2))
    y = np.broadcast_to(Y[:, :1], (4, 7, 3))
    plain = cs.solve(cs.Problem(x.copy(), y.copy(), kernel_size=3))
    found = cs.solve(cs.Problem(x, y, kernel_size=3))
    np.testing.assert_array_equal(found.kernel, plain.kernel)
    assert x.strides[0] == y.strides[0] == y.strides[2] == 0


@pytest.mark.parametrize("edges", ["drop", "zeros", "circular"])
def test_from_lags_leaves_the_arrays_untouched(edges):
    x, y = read_only(X), read_only(X[::-1, :1])
    before = x.tobytes(), y.tobytes()
    fit = cs.solve(cs.Problem.from_lags(x, y, lags=(-1, 1), edges=edges))
    assert np.isfinite(fit.kernel).all()
    assert (x.tobytes(), y.tobytes()) == before


@pytest.mark.parametrize("x64", [False, True])
def test_jax_in_is_jax_out(x64):
    with jax.enable_x64(x64):
        x, y = jnp.array([0.0, 3, 4, 5]), jnp.array([6.0, 11, 14])
        problem = cs.Problem(x, y, kernel_size=2)
        ints = cs.Problem(jnp.array([0, 3, 4, 5]), kernel_size=2)
    assert problem.returns_jax
    assert problem.dtype == ints.dtype == x.dtype == (np.float64 if x64 else np.float32)


@pytest.mark.parametrize(
    ("x", "y", "is_jax"),
    [
        (jnp.ones(4), None, True),
        (jnp.ones(4), np.ones(3), False),
        (np.ones(4), jnp.ones(3), False),
        (np.ones(4), None, False),
        ([jnp.ones(4), jnp.ones(5)], [jnp.ones(3), jnp.ones(4)], True),
        ([jnp.ones(4), np.ones(5)], None, False),
    ],
    ids=repr,
)
def test_both_must_be_jax_for_jax_out(x, y, is_jax):
    assert cs.Problem(x, y, kernel_size=2).returns_jax is is_jax


# --- lags

LAGS = [(0, 2), (1, 3), (2, 2), (-2, 0), (-3, -1), (-1, 2), (-2, 1), (0, 0)]


def check_lags(problem, x, y, h, bounds, edges):
    """The problem's rows say the same as y[t] = sum_l h[l] x[t - l], exactly."""
    first = [a for a, _ in bounds]
    axes = problem.lags
    for (a, b), lags in zip(bounds, axes, strict=True):
        assert sorted(lags.tolist()) == list(range(a, b + 1))
    kernel = h[np.ix_(*(lags - a for lags, a in zip(axes, first, strict=True)))]
    spec = problem.spec
    rows = problem.rows if isinstance(problem.rows, tuple) else (problem.rows,)
    _, whole = oracle.lag_convolve(x, h, first, edges)
    if edges == "drop":
        assert np.array_equal(
            np.argwhere(whole), np.argwhere(np.ones([*map(len, rows)])) + [r[0] for r in rows]
        )
    else:
        assert [r.tolist() for r in rows] == [list(range(n)) for n in y.shape[:-1]]
    np.testing.assert_array_equal(problem.y[0], y[np.ix_(*rows)])
    made = oracle.convolve(problem.x[0][None], kernel, padding=spec.padding, groups=spec.groups)
    np.testing.assert_array_equal(made[0], problem.y[0])


@pytest.mark.parametrize("edges", ["drop", "zeros", "circular"])
@pytest.mark.parametrize("bounds", LAGS, ids=str)
def test_from_lags(bounds, edges):
    rng = np.random.default_rng(1)
    x = rng.integers(-9, 9, (8, 2))
    h = rng.integers(-9, 9, (bounds[1] - bounds[0] + 1, 2, 3))
    y, _ = oracle.lag_convolve(x, h, bounds[:1], edges)
    problem = cs.Problem.from_lags(x, y, lags=bounds, edges=edges)
    check_lags(problem, x, y, h, [bounds], edges)


@pytest.mark.parametrize("edges", ["drop", "zeros", "circular"])
@pytest.mark.parametrize(
    "bounds", [((0, 2), (-1, 1)), ((-2, -1), (1, 2)), ((-1, 1), (0, 0))], ids=str
)
def test_from_lags_in_two_dimensions(bounds, edges):
    rng = np.random.default_rng(2)
    x = rng.integers(-9, 9, (6, 5, 2))
    h = rng.integers(-9, 9, (*(b - a + 1 for a, b in bounds), 2, 2))
    y, _ = oracle.lag_convolve(x, h, [a for a, _ in bounds], edges)
    problem = cs.Problem.from_lags(x, y, lags=bounds, edges=edges)
    check_lags(problem, x, y, h, bounds, edges)


@pytest.mark.parametrize("edges", ["drop", "zeros", "circular"])
@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 9),
    first=st.integers(-6, 6),
    taps=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_from_lags_anywhere(edges, samples, first, taps, seed):
    rng = np.random.default_rng(seed)
    x, h = rng.integers(-9, 9, (samples, 1)), rng.integers(-9, 9, (taps, 1, 1))
    y, whole = oracle.lag_convolve(x, h, (first,), edges)
    bounds = (first, first + taps - 1)
    if edges == "drop" and not whole.any():
        with pytest.raises(ValueError, match=r"no window fits"):
            cs.Problem.from_lags(x, y, lags=bounds, edges=edges)
    else:
        problem = cs.Problem.from_lags(x, y, lags=bounds, edges=edges)
        check_lags(problem, x, y, h, [bounds], edges)


def test_from_lags_reads_records_each_on_its_own():
    rng = np.random.default_rng(3)
    xs = [rng.integers(-9, 9, (n, 1)) for n in (7, 5)]
    h = rng.integers(-9, 9, (3, 1, 1))
    ys = [oracle.lag_convolve(x, h, (-1,), "drop")[0] for x in xs]
    problem = cs.Problem.from_lags(xs, ys, lags=(-1, 1))
    assert [r.tolist() for r in problem.rows] == [[1, 2, 3, 4, 5], [1, 2, 3]]
    for y, kept, rows in zip(ys, problem.y, problem.rows, strict=True):
        np.testing.assert_array_equal(kept, y[rows])


def test_from_lags_with_groups_and_bias():
    problem = cs.Problem.from_lags(X, lags=(0, 2), groups=2, out_channels=4, bias=True)
    assert problem.kernel_shape == (3, 1, 4)
    assert problem.n_unknowns == 4


@pytest.mark.parametrize(
    "state",
    [
        lambda: cs.Problem(X, Y, kernel_size=3, bias=True),
        lambda: cs.Problem(X, kernel_size=2, stride=2, padding=((1, -1),), dilation=2, groups=2),
        lambda: cs.Problem(np.ones((6, 5)), kernel_size=(2, 3), padding="circular", out_channels=2),
        lambda: cs.Problem.from_lags(X, lags=(-1, 2), edges="zeros", bias=True),
        lambda: cs.Problem.from_lags(X, lags=np.array([1, 3]), edges="circular", groups=2),
        lambda: cs.Problem.from_lags(np.ones((6, 5)), lags=((0, 2), (-1, 1))),
    ],
    ids=range(6),
)
def test_a_recipe_reads_other_data_alike(state):
    problem = state()
    x = np.concatenate([problem.x[0], problem.x[0]])
    again = cs.Problem.again(json.loads(json.dumps(problem.recipe)), x)
    assert again.spec == problem.spec
    assert (again.bias, again.out_channels) == (problem.bias, problem.out_channels)
    assert again.recipe == problem.recipe
    assert [a.tolist() for a in again.lags] == [a.tolist() for a in problem.lags]
    same = cs.Problem.again(problem.recipe, problem.input.arrays[0])
    assert repr(same) == repr(problem)
    assert list(map(np.ndarray.tolist, same.lags)) == list(map(np.ndarray.tolist, problem.lags))


# --- what is refused

STRUCTURED = np.zeros(5, [("a", float), ("b", float)])


def with_value(value, at, shape=(6, 2), dtype=float):
    a = np.ones(shape, dtype)
    a[at] = value
    return a


BAD_VALUES = [
    (with_value(np.nan, (3, 1)), r"x has 1 value that is not finite, .*\(NaN\) at index \(3, 1\)"),
    (with_value(np.inf, (0, 0)), r"x has 1 value .*\(Inf\) at index \(0, 0\)"),
    (with_value(-np.inf, (slice(2, 4), 1)), r"x has 2 values that are not finite.*index \(2, 1\)"),
    (with_value(np.nan, (1, 2, 0), (3, 6, 1)), r"x has 1 value .*index \(1, 2, 0\)"),
    (with_value(np.nan, 4, (6,)), r"x has 1 value .*index \(4,\)"),
    (with_value(np.nan, 4, (6,), np.float16), r"x has 1 value"),
    (with_value(np.nan, 4, (6,), BF16), r"x has 1 value"),
    ([np.ones((4, 1)), with_value(np.nan, (5, 0), (6, 1))], r"x\[1\] has 1 value .*index \(5, 0\)"),
    ([0.0, 1.0, float("nan")], r"x has 1 value"),
]


@pytest.mark.parametrize(("x", "words"), BAD_VALUES)
def test_values_that_are_not_finite(x, words):
    with pytest.raises(ValueError, match=rf"{words}.*cut the record there .* list of records"):
        cs.Problem(x, kernel_size=2)


def test_values_of_y_that_are_not_finite():
    with pytest.raises(ValueError, match=r"y has 1 value that is not finite.*index \(2, 0\)"):
        cs.Problem(np.ones(6), with_value(np.nan, (2, 0), (5, 1)), kernel_size=2)


@pytest.mark.parametrize(("dtype", "tiny"), [(np.float64, 1e-310), (np.float32, 1e-40)])
def test_a_channel_of_denormals(dtype, tiny):
    x = np.ones((6, 2), dtype)
    x[:, 1] = [tiny, 0, -tiny, 0, 0, tiny]
    with pytest.raises(ValueError, match=r"x channel 1 has no value above .* change its unit"):
        cs.Problem(x, kernel_size=2)
    x[0, 1] = 1  # stray ones beside a normal value are fine, and so is a channel of zeros
    assert cs.Problem(x, kernel_size=2).x[0][2, 1] == dtype(-tiny)
    assert cs.Problem(x * [1, 0], kernel_size=2).in_channels == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([1, None, 3, 4, 5]), "must hold numbers, got dtype object"),
        (["a", "b", "c", "d", "e"], "must hold numbers, got dtype <U1"),
        (np.array(["1.5"] * 5, "S"), r"must hold numbers, got dtype \|S3; convert it .*astype"),
        (np.arange(5).astype("datetime64[D]"), r"must hold numbers, got dtype datetime64\[D\]"),
        (np.arange(5).astype("timedelta64[s]"), "must hold numbers, got dtype timedelta64"),
        (STRUCTURED, r"must hold numbers, got dtype \[\('a'"),
        (None, "must hold numbers, got None"),
        ({"a": 1}, "must hold numbers, got dtype object"),
        (np.ma.masked_equal(np.arange(5.0), 3), r"is a masked array; cut .*list.*\.filled\(0\)"),
        (np.ones(5) * 1j, "is complex .*real and imaginary parts as two channels"),
        ([1j, 2, 3, 4, 5], "is complex .*real and imaginary parts as two channels"),
        (jnp.ones(5) * 1j, r"is complex \(complex64\); pass real and imaginary parts"),
        (jax.random.key(0), "must hold numbers, got dtype key"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_kinds_that_have_no_place(value, words):
    with pytest.raises(TypeError, match=f"^x {words}"):
        cs.Problem(value, kernel_size=1)
    if value is not None:  # no y is a question for identify
        with pytest.raises(TypeError, match=f"^y {words}"):
            cs.Problem(np.ones(5), value, kernel_size=1)
    with pytest.raises(TypeError, match=rf"^x\[1\] {words}"):
        cs.Problem([np.ones(5), value], kernel_size=1)


@pytest.mark.parametrize(
    ("x", "y", "taps", "words"),
    [
        # rank
        (3.0, None, 2, r"x has shape \(\), rank 0; a kernel of 1 axis takes \(time\) or"),
        ((2, 3, 4, 5), None, 2, r"x .*rank 4; .*\(batch, time, channels\); give kernel_size one"),
        ((9,), None, (2, 2), r"x has shape \(9,\), rank 1; a kernel of 2 axes takes \(height, wi"),
        ((9,) * 6, None, (2, 2, 2), r"rank 6; a kernel of 3 axes takes \(height, width, depth\)"),
        ((9,), (2, 2, 4, 1), 2, r"y has shape \(2, 2, 4, 1\), rank 4"),
        ([(2, 9, 1)], None, 2, r"x\[0\] has shape .*split a batch into its records, \[\*batch\]"),
        ([(9,), (9, 1)], None, 2, r"records of x have different ranks \[1, 2\]; .*channel axis"),
        # empty
        ((0,), None, 2, r"x has an empty axis: shape \(0,\)"),
        ((9, 0), None, 2, r"x has an empty axis: shape \(9, 0\)"),
        ((0, 9, 1), None, 2, r"x has an empty axis: shape \(0, 9, 1\)"),
        ([(9, 1), (0, 1)], None, 2, r"x\[1\] has an empty axis: shape \(0, 1\)"),
        ([], None, 2, r"x has an empty axis: shape \(0,\)"),
        ((9,), (0,), 2, r"y has an empty axis"),
        # channels and records
        ([(9, 1), (9, 2)], None, 2, r"records of x have different numbers of channels: \[1, 2\]"),
        ((3, 9, 1), (2, 8, 1), 2, "x has 3 records, y 2 records"),
        ([(9,), (9,)], (8,), 2, "x has 2 records, y 1 record"),
        # length
        ((9,), (9,), 2, r"y has 9 samples, expected 8: padding='valid' with 9 samples of x"),
        ((9,), (9,), 2, r"expected 8: .*; padding='same' or 'causal' would fit"),
        ((9,), (10,), 2, r"expected 8: .*; padding='full' would fit"),
        ((9,), (4,), 2, r"expected 8: .*; if y is as long as x, Problem.from_lags trims"),
        ((9, 2), (3, 8), 2, r"y has 3 samples, expected 8: .*channels come last: transpose y"),
        ([(9,), (6,)], [(8,), (6,)], 2, r"y\[1\] has 6 samples, expected 5: .*padding='same' or"),
        ((9, 7), (9, 7), (2, 2), r"y has 9 × 7 samples, expected 8 × 6: .*padding='same' or"),
        # no output at all
        ((3,), None, 4, r"no window fits: kernel_size=\(4,\) .*fewer taps, .*padding='full'"),
        ([(3,), (2,)], None, 4, r"no window fits"),
        ((9, 2), None, (3, 3), r"no window fits: .* spans \(3, 3\) samples, x has \(9, 2\)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(x, y, taps, words):
    x = ones(x) if isinstance(x, (list, tuple)) and x != [] else x
    with pytest.raises(ValueError, match=words):
        cs.Problem(x, None if y is None else ones(y), kernel_size=taps)


def test_ragged_lists_of_numbers():
    with pytest.raises(ValueError, match=r"x is no regular array.*go in a list of arrays"):
        cs.Problem([[1, 2, 3], [4, 5]], kernel_size=2)


def test_a_kernel_longer_than_the_signal_is_fine_where_rows_exist():
    assert cs.Problem(np.ones(3), kernel_size=5, padding="full").n_equations == 7
    assert cs.Problem([np.ones(3), np.ones(6)], kernel_size=5).n_equations == 2


@pytest.mark.parametrize(("trials", "channels"), [(5, 3), (1, 3), (5, 1)])
@pytest.mark.parametrize(
    "state",
    [
        lambda x, y: cs.Problem(x, y, kernel_size=3, padding="causal"),
        lambda x, y: cs.Problem.from_lags(x, y, lags=(0, 2)),
        lambda x, y: cs.Problem.from_lags(x, y, lags=(0, 2), edges="zeros"),
    ],
    ids=["Problem", "drop", "zeros"],
)
def test_trials_by_time_needs_a_channel_axis(state, trials, channels):
    x, y = np.ones((trials, 20, channels)), np.ones((trials, 20))
    with pytest.raises(ValueError, match=r"y\[\.\.\., None\]"):
        state(x, y)
    assert state(x, y[..., None]).out_channels == 1


def test_trials_of_images_need_a_channel_axis():
    x, y = np.ones((5, 8, 7, 2)), np.ones((5, 7, 6))
    with pytest.raises(ValueError, match=r"y\[\.\.\., None\]"):
        cs.Problem(x, y, kernel_size=(2, 2))


def test_same_with_stride_and_unequal_records():
    records = [np.ones(8), np.ones(9)]
    with pytest.raises(ValueError, match=r"padding='same' with stride > 1 .* use 'causal' or"):
        cs.Problem(records, kernel_size=3, stride=2, padding="same")
    assert cs.Problem(records, kernel_size=3, padding="same").n_equations == 17


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"kernel_size": None}, TypeError, r"needs kernel_size=\.\.\., or a ConvSpec as spec="),
        ({"kernel_size": 2.5}, TypeError, "kernel_size must be an integer, got 2.5"),
        ({"stride": 0}, ValueError, "stride must be at least 1"),
        ({"dilation": True}, TypeError, "dilation must be an integer, got the bool"),
        ({"groups": -1}, ValueError, "groups must be at least 1"),
        ({"padding": "reflect"}, ValueError, "padding='reflect' is unknown; choose one of"),
        ({"kernel_size": 2**61}, ValueError, "overflows a 64-bit index"),
        ({"groups": 4}, ValueError, "groups=4 does not divide the 2 input channels of x"),
        ({"groups": 2}, ValueError, "groups=2 does not divide the 3 output channels"),
        ({"out_channels": 2}, ValueError, "out_channels=2, but y has 3 channels"),
        ({"y": None, "out_channels": 0}, ValueError, "out_channels must be at least 1"),
        ({"y": None, "out_channels": 1.0}, TypeError, "out_channels must be an integer"),
        ({"y": None, "groups": 2, "out_channels": 3}, ValueError, "not divide the 3 output"),
        ({"spec": cs.ConvSpec(3)}, TypeError, "give either spec= or kernel_size, stride"),
        ({"kernel_size": None, "spec": 3}, TypeError, "spec must be a ConvSpec, got int"),
        ({"bias": "no"}, TypeError, "bias must be True or False, got 'no'"),
        ({"bias": 1}, TypeError, "bias must be True or False, got 1"),
    ],
    ids=str,
)
def test_parameters_that_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        cs.Problem(**{"x": X, "y": Y, "kernel_size": 3, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"edges": "wrap"}, ValueError, "edges='wrap' is unknown; choose one of 'drop', 'zeros'"),
        ({"lags": 3}, TypeError, r"lags must be \(first, last\) in samples, got 3"),
        ({"lags": "0:3"}, TypeError, r"lags must be \(first, last\)"),
        ({"lags": ()}, TypeError, r"lags must be \(first, last\)"),
        ({"lags": (0, 1, 2)}, ValueError, r"lags=.* must be \(first, last\), or one such pair"),
        ({"lags": ((0, 1, 2),)}, ValueError, r"must be \(first, last\), or one such pair"),
        ({"lags": ((0, 1), 2)}, ValueError, r"must be \(first, last\), or one such pair"),
        ({"lags": (0, 1.5)}, TypeError, "lags must be an integer, got 1.5"),
        ({"lags": (False, 2)}, TypeError, "lags must be an integer, got the bool False"),
        ({"lags": (3, 1)}, ValueError, "the first lag must not exceed the last"),
        ({"lags": (0, 2**61)}, ValueError, "overflows a 64-bit index"),
        ({"lags": (0, 9)}, ValueError, "no window fits"),
        (
            {"y": Y},
            ValueError,
            r"y as long as x: x has \(9,\) samples, y \(7,\); .*Problem\(x, y, k",
        ),
        (
            {"x": [X, X], "y": [np.ones(9), np.ones(8)]},
            ValueError,
            r"x of record 1 has \(9,\) samples, y \(8,\)",
        ),
        ({"groups": 4}, ValueError, "groups=4 does not divide the 2 input channels"),
        ({"bias": "no"}, TypeError, "bias must be True or False, got 'no'"),
        ({"x": with_value(np.nan, (3, 1))}, ValueError, "x has 1 value that is not finite"),
    ],
    ids=str,
)
def test_lags_that_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        cs.Problem.from_lags(**{"x": X, "lags": (0, 2), **arguments})


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: jax.jit(f)(x),
        lambda f, x: jax.vmap(f)(x[None]),
        lambda f, x: jax.grad(f)(x),
    ],
    ids=["jit", "vmap", "grad"],
)
@pytest.mark.parametrize(
    "state",
    [
        lambda x: cs.Problem(x, kernel_size=2),
        lambda x: cs.Problem(np.ones(5), x, kernel_size=2),
        lambda x: cs.Problem([np.ones(4), x], kernel_size=2),
        lambda x: cs.Problem.from_lags(x, lags=(0, 1)),
    ],
    ids=["x", "y", "list", "from_lags"],
)
def test_tracers_are_sent_to_fit_kernel(state, transform):
    def inside(x):
        return state(x).n_equations * 1.0

    with pytest.raises(
        TypeError, match=r"tracer .* use convsolve\.fit_kernel\(x, y, spec, solver\)"
    ):
        transform(inside, jnp.ones(4))
