"""identify where floats round: scales, offsets, near copies, short tones, float32, exact data."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import convsolve as cs
from support import dense
from support.ordering import taps_of
from support.routes import EPS, ROUTES, Spectrum, reported, spectrum, verdict_of
from support.slow import some

every_route = pytest.mark.parametrize("by", ROUTES)
WHOLE = np.random.default_rng(0).integers(-3, 4, (200, 2)) * 1.0


def formulas(x: np.ndarray, taps: int, options: dict[str, Any]) -> tuple[int, Spectrum]:
    """Rows and spectrum of the brute-force matrix."""
    spec = cs.ConvSpec(taps, **{k: v for k, v in options.items() if k != "bias"})
    (a,) = dense.design_matrix([np.asarray(x, float)], spec)
    return len(a), spectrum(a, options.get("bias", False))


def check(x: np.ndarray, taps: int, **options: Any) -> str:
    """By every route the report is what the formulas say; returns the verdict.

    Without a gap under the rank no threshold on the mask is right, and the report must say so.
    """
    rows, says = formulas(x, taps, options)
    assert not says.near
    verdict = verdict_of(rows, len(says.values) + options.get("bias", False), says.verdict)
    for by in ROUTES:
        report = cs.identify(cs.Problem(x, kernel_size=(taps,), **options), limits=ROUTES[by])
        rank = says.rank + options.get("bias", False)
        assert (report.verdict, report.rank) == (verdict, rank), by
        doubt = verdict == "ambiguous" or says.gap < 100
        assert report._mask_ambiguous == doubt
        assert doubt or np.array_equal(taps_of(report, "identifiable").ravel(), says.mask)
    return verdict


@every_route
@pytest.mark.parametrize("offset", [1e3, 1e14])
def test_an_offset_costs_no_digits_if_a_bias_is_fitted(offset: float, by: str) -> None:
    """Singular values are those of the data without the offset."""
    plain = cs.identify(cs.Problem(WHOLE, kernel_size=(4,), bias=True), limits=ROUTES[by])
    report = cs.identify(cs.Problem(WHOLE + offset, kernel_size=(4,), bias=True), limits=ROUTES[by])
    assert report.verdict == plain.verdict == "overdetermined"
    values = [r.singular_values[0] for r in (plain, report)]
    np.testing.assert_allclose(*values, rtol=100 * EPS)


@pytest.mark.parametrize("bias", some([False, True], True))
def test_near_duplicates(bias: bool) -> None:
    a, b = np.random.default_rng(2).standard_normal((2, 400))
    seen = {}
    for size in (1e-3, 1e-8, 1e-11, 5e-14, 1e-16, 0.0):
        x = np.stack([a, a + size * b], -1) + 7 * bias
        seen[check(x, 3, bias=bias)] = size
    assert list(seen.items()) == [
        ("overdetermined", 1e-11), ("ambiguous", 5e-14), ("rank-deficient", 0.0),
    ]  # fmt: skip


def tone(frequency: float, samples: int, phase: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(samples) + phase)


@every_route
@pytest.mark.parametrize("tones", [1, 3])
def test_short_computed_tones(tones: int, by: str) -> None:
    """They determine two taps per tone: their phases are accurate to a few roundings."""
    rng = np.random.default_rng(tones)
    for _ in range(5):
        start, phase = rng.uniform(0.03, 0.06), rng.uniform(0, 6)
        x = sum(tone(start + 0.15 * k, 60, phase) for k in range(tones))
        report = cs.identify(cs.Problem(x, kernel_size=2 * tones + 3), limits=ROUTES[by])
        assert (report.verdict, report.rank) == ("rank-deficient", 2 * tones)
        assert not report.identifiable.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(("changed", "verdict"), [(70, "ambiguous"), (105, "overdetermined")])
def test_data_are_ambiguous_below_the_rounding_of_their_type(
    dtype: Any, changed: int, verdict: str
) -> None:
    """The limit of the smallest singular value is eps·√m·rms(x)."""
    eps = float(ml_dtypes.finfo(dtype).eps)
    a = np.random.default_rng(0).integers(-int(0.5 / eps), int(0.5 / eps), 500)
    x = np.stack([a, a + (np.arange(500) < changed)], -1).astype(dtype)
    wide = x.astype(float)
    share = np.linalg.svd(wide, compute_uv=False)[-1] / np.sqrt(500 * np.square(wide).mean())
    assert 0.85 < share / eps < 1.15
    assert cs.identify(cs.Problem(x, kernel_size=(1,))).verdict == verdict


@every_route
def test_integers_are_exact(by: str) -> None:
    """A copy that differs by one count in one sample: exact in int32, rounding in float32."""
    rng = np.random.default_rng(6)
    a = rng.integers(-(2**23), 2**23, 500)
    b = a.copy()
    b[250] += 1
    for dtype, verdict in ((np.int32, "overdetermined"), (np.float32, "ambiguous")):
        x = np.stack([a, b], -1).astype(dtype)
        report = reported(cs.Problem(x, kernel_size=(1,)), by)
        assert (report.verdict, report.ranks) == (verdict, (2,))
