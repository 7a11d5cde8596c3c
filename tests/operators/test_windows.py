"""The convolution and its design matrix, compared with loops over integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

import convsolve as cs
from convsolve.operators.windows import (
    design_matrix,
    forward_records,
    normal_form,
    row_blocks,
)
from support import dense
from support.geometry import over_geometries

FLOATS = (np.float32, np.float64)


@over_geometries(8)
def test_design_matrix(geometry):
    (x,) = geometry.integers(geometry.x_shape)
    dtype = FLOATS[geometry.seed % 2]
    a = design_matrix(x.astype(dtype), geometry.spec)
    assert type(a) is np.ndarray
    assert a.dtype == dtype
    np.testing.assert_array_equal(a, dense.design_matrix(x, geometry.spec))


@over_geometries(5)
def test_row_blocks_of_any_size(geometry):
    (x,) = geometry.integers(geometry.x_shape)
    spec, counts = geometry.spec, geometry.counts[0]
    expected = dense.design_matrix(x, spec)
    slab = int(np.prod([*counts[1:], *spec.kernel_size, x.shape[-1]]))  # one step of the first axis
    numbers = [1, 30, 200, 2**20][geometry.seed % 4]
    seen = np.zeros((len(x), *counts), int)
    found = np.zeros((*seen.shape, spec.groups, expected.shape[-1]), int)
    blocks = list(row_blocks(normal_form(x, spec), spec, numbers))
    for part, block in blocks:
        assert block.size <= max(numbers, slab)
        seen[part] += 1
        found[part] = block.transpose(1, 0, 2).reshape(found[part].shape)
    assert (seen == 1).all()
    flat = found.reshape(geometry.rows, spec.groups, -1).transpose(1, 0, 2)
    np.testing.assert_array_equal(flat, expected)


@pytest.mark.parametrize(("dtype", "padding"), [*zip(FLOATS, ("valid", "causal"))])
def test_forward_records(dtype, padding):
    # Unequal lengths, two of one shape, one too short for any window of "valid".
    rng = np.random.default_rng(1)
    records = [rng.integers(-9, 9, (n, 2)).astype(dtype) for n in (9, 5, 1, 5)]
    w, bias = rng.integers(-9, 9, (3, 2, 2)).astype(dtype), np.array([1, -2], dtype)
    spec = cs.ConvSpec(3, padding=padding)
    found = forward_records(records, w, bias, spec)
    for x, y in zip(records, found, strict=True):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, dense.convolve(x[None], w, spec)[0] + bias)


# --- convolve


@over_geometries(2)
def test_convolve(geometry):
    x, w, bias = geometry.integers(geometry.x_shape, geometry.w_shape, (geometry.outputs,))
    y = cs.convolve(x, w, geometry.spec, bias)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, dense.convolve(x, w, geometry.spec) + bias)


@pytest.mark.parametrize(
    ("padding", "taps"), [("valid", (7,)), ("full", (3, 5)), ("same", (3, 1, 5))]
)
def test_convolve_is_correlate_of_scipy(padding, taps):
    """Sizes are odd, so that "same" is centred in the same way."""
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(8, 7, 6)[: len(taps)]), rng.normal(size=taps)
    found = cs.convolve(x, w, cs.ConvSpec(taps, padding=padding))
    expected = scipy.signal.correlate(x, w, padding)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("x", "taps", "channels", "y"),
    [
        ((8,), (3,), (), (6,)),
        ((8,), (3,), (1, 2), (6, 2)),
        ((8, 2), (3,), (2, 1), (6, 1)),
        ((4, 8, 2), (3,), (2, 3), (4, 6, 3)),
        ((4, 8, 6, 1), (3, 2), (), (4, 6, 5)),
        ((2, 8, 6, 5, 2), (3, 2, 2), (2, 1), (2, 6, 5, 4, 1)),
    ],
    ids=str,
)
def test_y_has_the_form_of_x(x, taps, channels, y):
    found = cs.convolve(np.ones(x), np.ones(taps + channels), cs.ConvSpec(taps))
    assert type(found) is np.ndarray
    assert found.shape == y


@pytest.mark.parametrize("container", [list, tuple])
@pytest.mark.parametrize(("channels", "y"), [((), [(6,), (3,)]), ((1, 2), [(6, 2), (3, 2)])])
def test_a_list_of_records_gives_a_list(container, channels, y):
    records = container(map(np.ones, [(8,), (5,)]))
    found = cs.convolve(records, np.ones((3, *channels)), cs.ConvSpec(3))
    assert type(found) is list
    assert [part.shape for part in found] == y


@pytest.mark.parametrize("bias", [2, np.float32(2), [2]], ids=repr)
def test_a_bias_may_be_a_number(bias):
    assert cs.convolve([0, 3, 4, 5], [1, 2], cs.ConvSpec(2), bias).tolist() == [8, 13, 16]
    both = cs.convolve([0, 3], [[[1, 1]], [[2, 0]]], cs.ConvSpec(2), bias)
    assert both.tolist() == [[8, 2]]


@pytest.mark.parametrize(
    ("x", "kernel", "expected"),
    [
        (np.float32, np.float32, np.float32),
        (np.float32, np.float64, np.float64),
        (np.float16, np.float16, np.float32),
        (np.int8, np.int8, np.float64),
        (np.int64, np.float32, np.float64),
    ],
)
def test_the_result_has_the_wider_type(x, kernel, expected):
    y = cs.convolve(np.ones(3, x), np.ones(2, kernel), cs.ConvSpec(2))
    assert y.dtype == expected
    assert y.tolist() == [2, 2]


@pytest.mark.parametrize("x64", [False, True])
def test_jax_in_is_jax_out_in_its_own_precision(x64):
    with jax.enable_x64(x64):
        x, w = jnp.array([0.0, 3.0, 4.0, 5.0]), jnp.array([1.0, 2.0])
        y = cs.convolve(x, w, cs.ConvSpec(2))
        pieces = cs.convolve([x, x[:2]], w, cs.ConvSpec(2))
    assert isinstance(y, jax.Array)
    assert y.dtype == x.dtype
    assert y.tolist() == [6, 11, 14]
    assert all(isinstance(p, jax.Array) for p in pieces)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"spec": 2}, TypeError, "spec must be a ConvSpec, got int"),
        ({"kernel": [1, 2, 3]}, ValueError, r"kernel has shape \(3,\); 1 chan.*\(2, 1, 'Cout'"),
        ({"kernel": [[1], [2]]}, ValueError, r"kernel has shape \(2, 1\)"),
        ({"x": np.ones((4, 2)), "spec": cs.ConvSpec(2, groups=2), "kernel": np.ones((2, 1, 3))},
         ValueError, "Cout a multiple of groups"),
        ({"spec": cs.ConvSpec(2, groups=2)}, ValueError, "groups=2 does not divide the 1 channel"),
        ({"kernel": [np.inf, 1]}, ValueError, "kernel has Inf at index"),
        ({"bias": np.nan}, ValueError, "bias has NaN at index"),
        ({"bias": [1, 2, 3]}, ValueError, r"bias has shape \(3,\), expected \(1,\) or a number"),
        ({"bias": "1"}, TypeError, "bias must hold plain"),
        ({"kernel": [1j, 2]}, TypeError, "kernel must hold plain real"),
        ({"x": np.ones((2, 3, 4, 5))}, ValueError, "x has shape .*"),
    ],
    ids=str,
)  # fmt: skip
def test_convolve_refuses(arguments, error, words):
    with pytest.raises(error, match=words):
        cs.convolve(**{"x": [0, 3, 4, 5], "kernel": [1, 2], "spec": cs.ConvSpec(2), **arguments})


@pytest.mark.parametrize("traced", ["x", "kernel", "bias"])
def test_convolve_refuses_tracers(traced):
    data = {"x": jnp.ones(4), "kernel": jnp.ones(2), "bias": jnp.ones(1)}

    def inside(value):
        return cs.convolve(**{**data, traced: value}, spec=cs.ConvSpec(2))

    with pytest.raises(TypeError, match=r"tracer .*fit_kernel"):
        jax.jit(inside)(data[traced])
