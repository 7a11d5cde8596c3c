"""identify where floats round: scales, offsets, near copies, short tones, float32, exact data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support import dense
from support.ordering import null_kernels, taps_of
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
        assert report._diagnosis.mask_ambiguous == doubt
        assert doubt or np.array_equal(taps_of(report, "identifiable").ravel(), says.mask)
    return verdict


@every_route
@pytest.mark.parametrize("offset", [1e3, 1e14])
def test_an_offset_costs_no_digits_if_a_bias_is_fitted(offset: float, by: str) -> None:
    """Singular values and dependencies are those of the data without the offset."""
    a, b = WHOLE.T
    plain = cs.identify(cs.Problem(WHOLE, kernel_size=(4,), bias=True), limits=ROUTES[by])
    report = cs.identify(cs.Problem(WHOLE + offset, kernel_size=(4,), bias=True), limits=ROUTES[by])
    assert report.verdict == plain.verdict == "overdetermined"
    values = [r.singular_values[0] for r in (plain, report)]
    np.testing.assert_allclose(*values, rtol=100 * EPS)
    copies = (a, a + offset, False), (a + offset, offset - a, False), (a + offset, a + offset, True)
    for first, second, bias in copies:
        x = np.stack([first, second, b], -1)
        report = cs.identify(cs.Problem(x, kernel_size=(2,), bias=True), limits=ROUTES[by])
        assert (report.verdict, report.rank) == ("rank-deficient", 5)
        assert taps_of(report, "identifiable")[..., 0].tolist() == [[False, False, True]] * 2
        assert report.bias_identifiable == bias


OFFSETS = [("full", True), ("valid", True), ("same", False), ("causal", False)]


@pytest.mark.parametrize(("padding", "bias"), some(OFFSETS, ("full", True)))
def test_offsets_of_channels(padding: str, bias: bool) -> None:
    """In zero-padded rows the offset is part of the matrix."""
    rng = np.random.default_rng(1)
    for offset in ([1e3, 1e3], [1e9, -2e9], [1e9, 0.0]):
        for x in (WHOLE + offset, rng.standard_normal((200, 2)) + offset):
            assert check(x, 4, bias=bias, padding=padding) == "overdetermined"


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


@every_route
def test_small_parts_of_a_null_vector_are_kept(by: str) -> None:
    """The third channel is exactly the first and 2^-17 of the second. The condition is 1e10."""
    rng = np.random.default_rng(8)
    first, second, near, other = rng.integers(-9, 10, (4, 100)) * 1.0
    x = np.stack([first, second, first + 2**-17 * second, near, near + 1e-10 * other], -1)
    report = cs.identify(cs.Problem(x, kernel_size=(1,)), limits=ROUTES[by])
    assert (report.verdict, report.rank) == ("rank-deficient", 4)
    null = null_kernels(report)[0].ravel()
    assert np.linalg.norm(x @ null) <= 10 * 5**0.5 * EPS * np.linalg.norm(x)
    np.testing.assert_allclose(null[:3] / null[0], [1, 2**-17, -1], atol=20 * EPS)


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


def test_a_computed_constant_and_a_bias_are_ambiguous() -> None:
    """Its tap differs from the bias by the rounding of float64 only."""
    angle = 0.01 * np.arange(300)
    x = np.stack([np.sin(angle) ** 2 + np.cos(angle) ** 2, np.cos(angle * angle)], -1)
    assert np.ptp(x[:, 0]) > 0
    for by in ROUTES:
        assert reported(cs.Problem(x, kernel_size=(1,), bias=True), by).verdict == "ambiguous"


@pytest.mark.parametrize(("changed", "verdict"), [(70, "ambiguous"), (105, "overdetermined")])
def test_float32_is_ambiguous_below_its_rounding(changed: int, verdict: str) -> None:
    """The limit of the smallest singular value is eps32·√m·rms(x)."""
    a = np.random.default_rng(0).integers(-(2**22), 2**22, 500)
    x = np.stack([a, a + (np.arange(500) < changed)], -1).astype(np.float32)
    wide = x.astype(float)
    smallest = np.linalg.svd(wide, compute_uv=False)[-1]
    share = smallest / np.sqrt(500 * np.square(wide).mean())
    assert 0.85 < share / 2**-23 < 1.15
    assert cs.identify(cs.Problem(x, kernel_size=(1,))).verdict == verdict
