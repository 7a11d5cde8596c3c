"""How well a determined kernel is determined: gains, leverage, resolution, ridge, remedies."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from support import dense
from support.geometry import Geometry, over_geometries
from support.ordering import kernel_shaped

RNG = np.random.default_rng(0)
N = RNG.integers(-9, 10, (60, 2)).astype(float)


@over_geometries(5)
def test_gains_against_the_dense_matrix(geometry: Geometry) -> None:
    """With the pseudo-inverse of A, whatever its rank; of white noise."""
    spec, bias = geometry.spec, geometry.bias
    x, _ = geometry.noise()
    report = cs.identify(geometry.problem(x, bias=bias))
    per_group, shape = geometry.outputs // spec.groups, report.problem.kernel_shape
    for g, a in enumerate(dense.design_matrix(x, spec)):
        a = dense.centred(a) if bias else a
        inverse = np.linalg.pinv(a, rcond=1e-10)
        kept = np.diag(inverse @ a)
        gain = np.sqrt(np.diag(inverse @ inverse.T))
        gain[np.abs(kept - 1) >= 1e-8] = np.inf
        norms = np.linalg.norm(dense.centred(a), axis=0)
        factors = norms * np.where(np.isfinite(gain), gain, 0)
        weak = factors > 100
        for o in range(g * per_group, (g + 1) * per_group):

            def of(values: np.ndarray, o: int = o) -> np.ndarray:
                return kernel_shaped(values, shape)[..., o].reshape(-1)

            np.testing.assert_allclose(of(report.noise_gain), gain, rtol=1e-7)
            assert np.array_equal(of(report.weakly_determined), weak)


# --- the ridge


@pytest.mark.parametrize(
    ("condition", "bias"), [(1.5, True), (1e3, False), (1e3, True), (1e8, True)]
)
def test_ridge_for_meets_its_bound_and_no_more(condition: float, bias: bool) -> None:
    x = np.cumsum(np.cumsum(N, axis=0), axis=0)
    report = cs.identify(cs.Problem(x, kernel_size=4, bias=bias))
    (a,) = dense.design_matrix([x], cs.ConvSpec(4))
    a = dense.centred(a) if bias else a
    ridge = report.ridge_for(condition)
    values = np.linalg.svd(np.vstack([a, np.sqrt(ridge) * np.eye(8)]), compute_uv=False)
    if values[0] / values[-1] < condition * (1 - 1e-9):
        assert ridge == 0
        assert report.condition_number <= condition
    else:
        assert values[0] / values[-1] == pytest.approx(condition, rel=1e-9)


def test_ridge_for_of_deficient_data_and_of_the_worst_group() -> None:
    ones = cs.identify(cs.Problem(np.ones(20), kernel_size=3))
    assert ones.ridge_for(1e3) == pytest.approx(3 * 18 / (1e6 - 1), rel=1e-12)
    both = cs.identify(cs.Problem(np.stack([np.ones(20), N[:20, 0]], 1), kernel_size=3, groups=2))
    alone = cs.identify(cs.Problem(N[:20, 0], kernel_size=3))
    assert both.ridge_for(2.0) == max(ones.ridge_for(2.0), alone.ridge_for(2.0))


def test_impossible_ridges_are_refused() -> None:
    with pytest.raises(ValueError, match="x is zero in every window: no ridge is the smallest"):
        cs.identify(cs.Problem(np.zeros(9), kernel_size=2)).ridge_for(10)
    for power in (600, -600):
        report = cs.identify(cs.Problem(np.ldexp(N, power), kernel_size=3))
        with pytest.raises(ValueError, match=r"the ridge lies outside .*"):
            report.ridge_for(1.5)


# --- smooth inputs


def band_limited(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """White noise without anything above 0.3 of Nyquist; 40 taps; noise of 0.1 in y."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(1000))
    spectrum[151:] = 0
    x, kernel = np.fft.irfft(spectrum), rng.standard_normal(40)
    y = np.correlate(x, kernel) + 0.1 * rng.standard_normal(961)
    return x, y, kernel


def test_a_band_limited_recording_is_reported_and_a_ridge_bounds_the_kernel() -> None:
    x, y, kernel = band_limited(0)
    a = np.lib.stride_tricks.sliding_window_view(x, 40)
    assert np.abs(np.linalg.lstsq(a, y, rcond=None)[0]).max() > 1e8
    problem = cs.Problem(x, y, kernel_size=40)
    report = cs.identify(problem)
    assert not report.unique
    assert report.verdict in ("rank-deficient", "ambiguous")
    assert "decrease without a gap" in str(report.suggestions[0])
    ridge = report.ridge_for(1e3)
    assert report.suggestions[-1].argument == "ridge"
    assert report.suggestions[-1].value == pytest.approx(ridge, rel=5e-3)
    fit = cs.solve(problem, ridge=ridge, strict=True)
    assert fit.converged
    assert np.abs(fit.kernel).max() < 10
    assert np.abs(kernel).max() < 4
    with pytest.warns(cs.IdentifiabilityWarning, match="decrease without a gap"):
        cs.solve(problem)
