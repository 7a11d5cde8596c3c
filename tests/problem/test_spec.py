"""ConvSpec against windows counted one by one, and what it refuses."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsolve.problem.spec import ConvSpec
from support import dense
from support.geometry import over_geometries

BIG = 2**61


@over_geometries(30, min_rows=0)
def test_shapes(geometry):
    spec, samples = geometry.spec, geometry.shapes[0]
    axes = dense.geometry(samples, spec)
    assert spec.ndim == len(samples)
    assert spec.output_shape(samples) == tuple(outputs for _, outputs in axes)
    assert spec._offset(samples) == tuple(lo for lo, _ in axes)
    assert spec._rows(samples) * len(geometry.shapes) == geometry.rows


@over_geometries(30, min_rows=0)
def test_extent_is_what_windows_read(geometry):
    spec = geometry.spec
    axes = zip(geometry.counts[0], spec.kernel_size, spec.stride, spec.dilation, strict=True)
    read = [
        [t * s + k * d for t in range(n) for k in range(taps)] for n, taps, s, d in axes
    ]  # positions in the padded record
    assert spec._extent(geometry.shapes[0]) == tuple(1 + max(r, default=-1) for r in read)
    steps = zip(spec.kernel_size, spec.dilation, strict=True)
    assert spec._span == tuple(1 + max(k * d for k in range(taps)) for taps, d in steps)


@over_geometries(30)
def test_normal_form_has_the_same_rows(geometry):
    spec, samples = geometry.spec, geometry.shapes[0]
    assert spec._normal.padding == "valid"
    assert spec._normal.output_shape(spec._extent(samples)) == geometry.counts[0]


@over_geometries(10)
def test_lags_say_which_sample_a_tap_reads(geometry):
    spec, samples = geometry.spec, geometry.shapes[0]
    lags = spec.lags(samples)
    lags = lags if isinstance(lags, tuple) else (lags,)
    for t, k, at in dense.reads(samples, spec):
        found = [a * s - lag[b] for a, s, lag, b in zip(t, spec.stride, lags, k, strict=True)]
        if spec.padding == "circular":
            found = [i % w for i, w in zip(found, samples, strict=True)]
        inside = all(0 <= i < w for i, w in zip(found, samples, strict=True))
        assert (tuple(found) if inside else None) == at


@over_geometries(5)
def test_unknowns_are_the_columns_of_a_group(geometry):
    (x,) = geometry.integers(geometry.x_shape)
    columns = dense.design_matrix(x, geometry.spec).shape[-1]
    assert geometry.spec._unknowns(geometry.channels) == geometry.unknowns == columns


@pytest.mark.parametrize("padding", ["same", "valid"])
@given(
    sizes=st.lists(st.tuples(*(st.integers(1, n) for n in (30, 6, 4, 4))), min_size=1, max_size=3)
)
def test_padding_is_that_of_lax(padding, sizes):
    samples, taps, stride, dilation = zip(*sizes, strict=True)
    spec = ConvSpec(taps, stride, padding, dilation)
    windows = tuple((k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True))
    pads = jax.lax.padtype_to_pads(samples, windows, stride, padding.upper())
    assert spec._offset(samples) == tuple(lo for lo, _ in pads)
    explicit = ConvSpec(taps, stride, pads, dilation)
    assert spec.output_shape(samples) == explicit.output_shape(samples)


@pytest.mark.parametrize(
    ("padding", "lags"),
    [
        ("valid", [0, -2, -4, -6]),
        ("full", [6, 4, 2, 0]),
        ("causal", [6, 4, 2, 0]),
        ("circular", [3, 1, -1, -3]),
        (((1, 5),), [1, -1, -3, -5]),
        (((-1, 0),), [-1, -3, -5, -7]),
    ],
)
def test_lags_known(padding, lags):
    assert ConvSpec(4, padding=padding, dilation=2).lags().tolist() == lags


def determined(geometry, side):
    """Whether white noise of ``side`` samples an axis determines every tap, and the bias."""
    shape = (len(geometry.shapes), *(side,) * geometry.spec.ndim, geometry.inputs)
    x = np.random.default_rng(geometry.seed).standard_normal(shape)
    a = dense.design_matrix(x, replace(geometry.spec, groups=1))[0]
    a = np.concatenate([a, np.ones((len(a), int(geometry.bias)))], axis=1)
    return len(a) >= a.shape[1] and np.linalg.matrix_rank(a) == a.shape[1]


@over_geometries(15, min_rows=0)
def test_minimum_samples_is_what_it_takes(geometry):
    spec, records = geometry.spec, len(geometry.shapes)
    found = spec.minimum_samples(geometry.channels, n_records=records, bias=geometry.bias)
    assert not any(determined(geometry, side) for side in range(1, found))
    # Images may be too small, as it says.
    small = spec.ndim > 1 and records < geometry.inputs
    assert small or determined(geometry, found)


@pytest.mark.parametrize(
    ("spec", "arguments", "samples"),
    [
        (ConvSpec(3), {"n_channels": 2}, 8),  # the notebook: 6 unknowns, 6 equations
        (ConvSpec(40), {"n_channels": 2}, 119),
        (ConvSpec(40), {"n_channels": 2, "bias": True}, 120),
        (ConvSpec(10**9), {}, 2 * 10**9 - 1),
        (ConvSpec((5, 5)), {}, 9),
        # Rows enough long before the last lag is reached.
        (ConvSpec(40, padding="causal"), {"n_records": 100}, 40),
        (ConvSpec(2, padding="causal", dilation=2**40), {}, 2**40 + 1),
        # Rows that read zeros alone do not count.
        (ConvSpec(3, padding=((100, 100),)), {"n_channels": 2}, 4),
        # In a circle of two samples two steps lead back to the first.
        (ConvSpec(2, padding="circular", dilation=2), {}, 3),
        (ConvSpec(2, padding="circular", dilation=3), {}, 2),
        # A run of two taps is read by fewer rows than it has columns, one tap and all are not.
        (ConvSpec(3, 2, "full"), {"n_channels": 2, "n_records": 3}, 3),
    ],
    ids=str,
)
def test_minimum_samples_known(spec, arguments, samples):
    assert spec.minimum_samples(**arguments) == samples


def test_sizes_become_tuples_of_plain_integers():
    spec = ConvSpec([np.int32(3), 2], np.int64(2), [[1, np.int8(-1)], (0, 2)], [1, 3], np.uint8(2))
    assert spec == ConvSpec((3, 2), (2, 2), ((1, -1), (0, 2)), (1, 3), 2)
    values = [*spec.kernel_size, *spec.stride, *spec.dilation, spec.groups, *sum(spec.padding, ())]
    assert {type(v) for v in values} == {int}


@pytest.mark.parametrize(
    "changed",
    [
        {"kernel_size": 4},
        {"kernel_size": (3, 1)},
        {"stride": 2},
        {"padding": "same"},
        {"padding": ((0, 0),)},
        {"dilation": 2},
        {"groups": 2},
        {"padding": "circular", "lo": 0},
    ],
    ids=str,
)
def test_every_field_tells_specs_apart(changed):
    assert ConvSpec(**{"kernel_size": 3, **changed}) != ConvSpec(3)


def test_circular_windows_start_at_lo():
    spec = ConvSpec(3, padding="circular", lo=-4)
    assert spec.lo == (-4,)
    assert spec.lags().tolist() == [-4, -5, -6]
    with pytest.raises(ValueError, match=r"lo=0 requires padding='circular'"):
        ConvSpec(3, lo=0)
    with pytest.raises(ValueError, match=r"lo=.* has 2 entries"):
        ConvSpec(3, padding="circular", lo=(1, 2))


def test_spec_is_frozen():
    with pytest.raises(FrozenInstanceError):
        ConvSpec(3).stride = (2,)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "dilation", "groups"])
@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0, ValueError, "must be at least 1, got 0"),
        (-2, ValueError, "must be at least 1, got -2"),
        (True, TypeError, "must be an integer, got the bool True"),
        (np.False_, TypeError, "must be an integer, got the bool"),
        (2.0, TypeError, "must be an integer, got 2.0 of type float"),
        (np.float64(2), TypeError, "must be an integer, .* of type float64"),
        ("2", TypeError, "must be an integer, got '2' of type str"),
        (None, TypeError, "must be an integer, got None"),
    ],
)
def test_sizes_are_positive_integers(name, value, error, words):
    with pytest.raises(error, match=f"^{name} {words}"):
        ConvSpec(**{"kernel_size": 3, name: value})
    if name != "groups":  # one per axis
        with pytest.raises(error, match=f"^{name} {words}"):
            ConvSpec(**{"kernel_size": (3, 3), name: (1, value)})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"kernel_size": ()}, ValueError, r"kernel_size=\(\) has 0 axes; 1 to 3"),
        ({"kernel_size": (2, 2, 2, 2)}, ValueError, "has 4 axes; 1 to 3 are supported"),
        ({"stride": (1, 2)}, ValueError, r"stride=\(1, 2\) has 2 entries.*1 axis; .*one per axis"),
        (
            {"kernel_size": (3, 3), "dilation": (1, 2, 1)},
            ValueError,
            r"dilation=\(1, 2, 1\) has 3 entries.*2 axes",
        ),
        ({"groups": (1,)}, TypeError, "groups must be an integer"),
        ({"padding": "reflect"}, ValueError, "'reflect' is unknown; choose one of 'valid', 'same'"),
        ({"padding": "SAME"}, ValueError, r"'SAME' is unknown; .*'same'.* or \(\(lo, hi\)"),
        ({"padding": 1}, TypeError, r"padding must be .*\(\(lo, hi\), ...\), got 1 of type int"),
        ({"padding": None}, TypeError, "padding must be one of 'valid'.*got None"),
        ({"padding": (1, 2)}, ValueError, r"one \(lo, hi\) pair .* such as \(\(0, 0\),\)"),
        ({"padding": ((1, 2, 3),)}, ValueError, r"one \(lo, hi\) pair"),
        ({"kernel_size": (3, 3), "padding": ((1, 2),)}, ValueError, "each of the 2 kernel axes"),
        ({"padding": ((0.5, 0),)}, TypeError, "padding must be an integer, got 0.5"),
        ({"padding": ((0, True),)}, TypeError, "padding must be an integer, got the bool"),
        ({"kernel_size": BIG}, ValueError, "overflows a 64-bit index; smaller"),
        ({"kernel_size": (2**40, 2**40)}, ValueError, "overflows a 64-bit index; smaller"),
        ({"stride": BIG}, ValueError, "stride=.* overflows a 64-bit index; smaller"),
        ({"dilation": BIG}, ValueError, "dilation=.* overflows a 64-bit index; smaller"),
        ({"kernel_size": 2**31, "dilation": 2**31}, ValueError, "overflows a 64-bit index"),
        ({"padding": ((0, BIG),)}, ValueError, "padding=.* overflows a 64-bit index"),
        ({"padding": ((-BIG, 0),)}, ValueError, "padding"),
    ],
    ids=str,
)
def test_geometry_that_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        ConvSpec(**{"kernel_size": 3, **arguments})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.output_shape((5,)), r"shape=\(5,\) must have 2 axes"),
        (lambda s: s.lags((5, 5, 5)), "must have 2 axes"),
        (lambda s: s.lags(), "padding='same' places the kernel by the record's shape; give it"),
        (lambda s: s._unknowns(3), "groups=2 does not divide the 3 input channels"),
        (lambda s: s.minimum_samples(4, n_records=0), "n_records must be at least 1"),
        (lambda s: s.minimum_samples(0), "n_channels must be at least 1, got 0"),
        (lambda s: s.minimum_samples(3), "groups=2 does not divide the 3 input channels"),
    ],
)
def test_questions_that_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(ConvSpec((3, 3), padding="same", groups=2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_channels": 2.0}, "n_channels must be an integer, got 2.0"),
        ({"n_records": True}, "n_records must be an integer, got the bool True"),
        ({"bias": 1}, "bias must be True or False, got 1"),
    ],
    ids=str,
)
def test_minimum_samples_of_the_wrong_kind(arguments, words):
    with pytest.raises(TypeError, match=words):
        ConvSpec(3).minimum_samples(**arguments)


@over_geometries(30, min_rows=0)
def test_whether_windows_read_all_is_seen(geometry):
    """Never said where a sample is left out; without strides and dilations always where none is."""
    spec = geometry.spec
    for shape in geometry.shapes:
        x = np.arange(1.0, 1 + np.prod(shape)).reshape(1, *shape, 1)
        a = dense.design_matrix(x, replace(spec, groups=1))
        all_read = {*x.reshape(-1)} <= {*a.reshape(-1)}
        if spec._reads_all(shape):
            assert all_read
        elif {*spec.stride, *spec.dilation} == {1} and spec.padding != "circular":
            assert not all_read


def test_spec_imports_no_jax():
    code = (
        "import sys, convsolve.problem.spec; "
        "assert 'numpy' in sys.modules; assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_offset_beyond_an_index_is_refused() -> None:
    for lo in (2**63, -(10**19)):
        with pytest.raises(ValueError, match="lo"):
            ConvSpec(4, padding="circular", lo=lo)
