"""How well a kernel is determined: noise gains, weak taps, and ridges."""

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
        weak = norms * np.where(np.isfinite(gain), gain, 0) > 100
        for values, expected in ((report.noise_gain, gain), (report.weakly_determined, weak)):
            found = kernel_shaped(values, shape)[..., g * per_group : (g + 1) * per_group]
            np.testing.assert_allclose(found.reshape(-1, per_group).T, [expected] * per_group, 1e-7)


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


def test_impossible_ridges_are_refused() -> None:
    for x in (np.zeros(9), np.ldexp(N, 600), np.ldexp(N, -600)):
        report = cs.identify(cs.Problem(x, kernel_size=3))
        with pytest.raises(ValueError, match="no ridge: x is zero in every window, or its square"):
            report.ridge_for(1.5)


def test_a_band_limited_recording_is_reported_and_a_ridge_bounds_the_kernel() -> None:
    """White noise without anything above 0.3 of Nyquist; 40 taps; noise of 0.1 in y."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(1000))
    spectrum[151:] = 0
    x, kernel = np.fft.irfft(spectrum), rng.standard_normal(40)
    y = np.correlate(x, kernel) + 0.1 * rng.standard_normal(961)
    problem = cs.Problem(x, y, kernel_size=40)
    report = cs.identify(problem)
    assert report.verdict in ("rank-deficient", "ambiguous")
    assert report.suggestions[0].kind == "precision"
    assert report.suggestions[-1].value == pytest.approx(report.ridge_for(1e3), rel=5e-3)
    fit = cs.solve(problem, ridge=report.suggestions[-1].value, strict=True)
    assert fit.converged
    assert np.abs(fit.kernel).max() < 10
    with pytest.warns(cs.IdentifiabilityWarning, match="decrease without a gap"):
        cs.solve(problem)


def test_the_ridge_and_the_basis_of_weak_taps_help() -> None:
    """Both are proposed for smooth noise, whose taps are determined but weak."""
    x = np.random.default_rng(0).standard_normal(3000)
    for _ in range(3):
        x = np.convolve(x, np.hanning(12), "same")
    report = cs.identify(cs.Problem(x, lags=(0, 29)))
    assert report.unique
    assert report.weakly_determined.all()
    ridge = float(f"{report.ridge_for(1000):.3g}")
    assert f"ridge={ridge:.3g} brings the condition number to 1000" in " ".join(str(report).split())
    assert "basis='bsplines8' has fewer unknowns" in " ".join(str(report).split())
    smaller = cs.identify(cs.Problem(x, lags=(0, 29), basis="bsplines8"))
    assert smaller.noise_gain.max() < report.noise_gain.max() / 10
