"""ConvSpec, compared with windows that are counted one by one, and arguments it refuses."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

from convsolve.problem.spec import ConvSpec
from support import dense
from support.geometry import over_geometries


@over_geometries(10)
def test_a_tap_reads_the_sample_at_its_lag(geometry):
    spec, samples = geometry.spec, geometry.shapes[0]
    assert spec.output_shape(samples) == geometry.counts[0]
    lags = spec.lags(samples)
    lags = lags if isinstance(lags, tuple) else (lags,)
    for t, k, at in dense.reads(samples, spec):
        found = [a * s - lag[b] for a, s, lag, b in zip(t, spec.stride, lags, k, strict=True)]
        if spec.padding == "circular":
            found = [i % w for i, w in zip(found, samples, strict=True)]
        inside = all(0 <= i < w for i, w in zip(found, samples, strict=True))
        assert (tuple(found) if inside else None) == at


@pytest.mark.parametrize("padding", ["same", "valid"])
@given(
    sizes=st.lists(st.tuples(*(st.integers(1, n) for n in (30, 6, 4, 4))), min_size=1, max_size=3)
)
def test_padding_is_that_of_lax(padding, sizes):
    samples, taps, stride, dilation = zip(*sizes, strict=True)
    spec = ConvSpec(taps, stride, padding, dilation)
    windows = tuple((k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True))
    pads = jax.lax.padtype_to_pads(samples, windows, stride, padding.upper())
    explicit = ConvSpec(taps, stride, pads, dilation)
    assert spec.output_shape(samples) == explicit.output_shape(samples)
    found, wanted = (np.hstack([*s.lags(samples)]) for s in (spec, explicit))
    np.testing.assert_array_equal(found, wanted)


def determined(geometry, side):
    """Whether white noise of ``side`` samples an axis determines every tap, and the bias."""
    shape = (len(geometry.shapes), *(side,) * geometry.spec.ndim, geometry.inputs)
    x = np.random.default_rng(geometry.seed).standard_normal(shape)
    a = dense.design_matrix(x, replace(geometry.spec, groups=1))[0]
    a = np.concatenate([a, np.ones((len(a), int(geometry.bias)))], axis=1)
    return len(a) >= a.shape[1] and np.linalg.matrix_rank(a) == a.shape[1]


@over_geometries(8, min_rows=0)
def test_minimum_samples_is_necessary_and_sufficient(geometry):
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
        (ConvSpec(40), {"n_channels": 2, "bias": True}, 120),
        (ConvSpec(10**9), {}, 2 * 10**9 - 1),
        # Rows enough long before the last lag is reached.
        (ConvSpec(40, padding="causal"), {"n_records": 100}, 40),
        (ConvSpec(2, padding="causal", dilation=2**40), {}, 2**40 + 1),
        # Rows that read zeros alone do not count.
        (ConvSpec(3, padding=((100, 100),)), {"n_channels": 2}, 4),
        # In a circle of two samples two steps lead back to the first.
        (ConvSpec(2, padding="circular", dilation=2), {}, 3),
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


def test_circular_windows_start_at_lo():
    spec = ConvSpec(3, padding="circular", lo=-4)
    assert spec.lo == (-4,)
    assert spec.lags().tolist() == [-4, -5, -6]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"stride": 0}, ValueError, "^stride must be at least 1, got 0"),
        ({"groups": True}, TypeError, "^groups must be an integer, got True"),
        ({"kernel_size": (3, 3), "dilation": (1, 2.0)}, TypeError, "^dilation must be an int"),
        ({"kernel_size": ()}, ValueError, r"kernel_size=\(\) has 0 axes, not 1 to 3"),
        ({"stride": (1, 2)}, ValueError, r"stride=\(1, 2\) must have one entry per kernel axis, 1"),
        ({"padding": "reflect"}, ValueError, "'reflect' is unknown; choose 'valid' or 'same'"),
        ({"kernel_size": (3, 3), "padding": (1, 2)}, ValueError, "one pair of integers per axis"),
        ({"lo": 0}, ValueError, "lo=0 requires padding='circular'"),
        ({"padding": "circular", "lo": (1, 2)}, ValueError, "lo=.* one entry per kernel axis"),
    ],
    ids=str,
)
def test_geometry_that_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        ConvSpec(**{"kernel_size": 3, **arguments})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s.output_shape((5,)), ValueError, r"shape=\(5,\) must have 2 axes"),
        (lambda s: s.lags(), ValueError, "padding='same' places the kernel by the record's shape"),
        (lambda s: s.minimum_samples(4, n_records=0), ValueError, "n_records must be at least 1"),
        (lambda s: s.minimum_samples(0), ValueError, "n_channels must be at least 1, got 0"),
    ],
)
def test_questions_that_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(ConvSpec((3, 3), padding="same", groups=2))
