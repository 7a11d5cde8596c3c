"""Predictions of x that was zero, or known, before the record: compared with `scipy.signal`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter, lfiltic

import convsolve as cs

RNG = np.random.default_rng(0)
X, NEW, PAST = RNG.standard_normal(600), RNG.standard_normal(200), RNG.standard_normal(50)
Y = lfilter(0.8 ** np.arange(12), 1, X) + 0.1 * RNG.standard_normal(600) + 3


@pytest.mark.parametrize("edges", ["drop", "zeros", "circular"])
def test_predictions_from_rest_and_with_a_past_are_those_of_lfilter(edges: str) -> None:
    fit = cs.solve(cs.Problem(X, Y, lags=(0, 11), bias=True, edges=edges))
    h, bias = fit.impulse_response, fit.bias[0]
    rest = fit.predict(NEW, edges="zeros")
    np.testing.assert_allclose(rest, lfilter(h, 1, NEW) + bias, rtol=0, atol=1e-14)
    state = lfiltic(h, [1], y=[], x=PAST[::-1])
    wanted = lfilter(h, 1, NEW, zi=state)[0] + bias
    np.testing.assert_allclose(fit.predict(NEW, past=PAST), wanted, rtol=0, atol=1e-14)
    # A past that is shorter than the kernel begins at rest, and chunks continue each other.
    chunks = [fit.predict(NEW[:7], edges="zeros"), fit.predict(NEW[7:], past=NEW[:7])]
    np.testing.assert_allclose(np.concatenate(chunks), rest, rtol=0, atol=1e-14)


@pytest.mark.parametrize("lags", [(-2, 6), (3, 8), (-8, -3)])
def test_several_channels_records_and_a_stride(lags: tuple[int, int]) -> None:
    x, y = RNG.standard_normal((2, 400, 3)), RNG.standard_normal((2, 100, 2))
    fit = cs.solve(cs.Problem([*x], [*y], lags=lags, stride=4))
    new = [RNG.standard_normal((n, 3)) for n in (40, 3)]
    past = [RNG.standard_normal((n, 3)) for n in (9, 2)]
    for a, before, found in zip(new, past, fit.predict(new, past=past)):
        whole = np.concatenate([np.zeros((20, 3)), before, a, np.zeros((20, 3))])
        rows = [20 + len(before) + 4 * t for t in range(len(found))]
        windows = np.stack([whole[[t - lag for lag in fit.lags]] for t in rows])
        wanted = np.einsum("tlc,lco->to", windows, fit.impulse_response)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


def test_one_warning_of_rows_that_are_nan() -> None:
    fit = cs.solve(cs.Problem(X, Y, lags=(0, 11)))
    with pytest.warns(UserWarning, match="use edges='zeros' or past="):
        fit.predict(NEW)
    assert np.isnan(fit.predict(NEW)).sum() == np.isnan(fit.predict()).sum() == 11
    with pytest.raises(ValueError, match="edges= and past= need x"):
        fit.predict(edges="zeros")
    with pytest.raises(ValueError, match="past= needs edges='zeros'"):
        fit.predict(NEW, past=PAST, edges="circular")
    with pytest.raises(ValueError, match="past has 1 record × 25 samples × 2 channels, unlike x"):
        fit.predict(NEW, past=PAST.reshape(25, 2))


def test_a_step_suggests_zeros_before_the_record() -> None:
    step = np.repeat([0.0, 1.0], [50, 250])
    report = cs.identify(cs.Problem(step, lags=(0, 80)))
    (found,) = (s for s in report.suggestions if s.kind == "edges")
    assert (report.rank, found.argument, found.value) == (51, "edges", "zeros")
    assert "edges='zeros': if x was zero before the record, 81 unknowns" in str(report)
    noise = cs.identify(cs.Problem(X[:100], lags=(0, 80)))
    assert not [s for s in noise.suggestions if s.kind == "edges"]
