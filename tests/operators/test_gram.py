"""Moments, sums and residuals from the signals against the brute-force design matrix."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.operators import gram as toeplitz
from convsolve.operators import overlap_save as series
from convsolve.operators import short_kernels
from convsolve.operators.fourier import FourierOperator
from convsolve.operators.records import Inputs, Targets
from convsolve.problem.sizes import Limits
from support import dense
from support.geometry import KINDS, LARGE, PADDINGS, Geometry, random_geometry
from support.slow import few_seeds

# A thousand geometries in all, of six kinds in each of three dimensions.
EACH = 56


def random_case(ndim: int, kind: str, *seed: int) -> Geometry:
    rng = np.random.default_rng([ndim, KINDS.index(kind), *seed])
    padding = PADDINGS[rng.integers(len(PADDINGS))]
    return random_geometry(rng, ndim, padding, kind, sizes=LARGE, ragged=True)


def fourier_of(problem: cs.Problem) -> FourierOperator:
    """In the units of the data, so that integers stay integers."""
    assert problem.y is not None
    inputs = Inputs(problem.x, problem.spec)
    inputs.exponents[:], inputs.scale[:] = 0, 1.0
    targets = Targets(problem.y, inputs, problem.nuisance)
    targets.shift = np.ldexp(targets.shift, targets.exponents)
    targets.exponents[:], targets.scale[:] = 0, 1.0
    return FourierOperator(inputs, problem.nuisance, Limits(), targets)


@pytest.fixture(params=["whole", "blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as sizes have it, and once by blocks just longer than the kernel, a few at a time, and
    with the ends of records shift by shift; there by FFTs however few the taps.
    """
    if request.param == "blocks":
        monkeypatch.setattr(toeplitz, "JOINED_COLUMNS", 0)
        monkeypatch.setattr(toeplitz, "SUMMED_AT_ONCE", 0)
        monkeypatch.setattr(short_kernels, "FEW_TAPS", 0)
        monkeypatch.setattr(series, "fft_size", lambda taps, rows: taps + 4)
        monkeypatch.setattr(series, "CHUNK_NUMBERS", 100)
        monkeypatch.setattr(toeplitz, "CHUNK_NUMBERS", 100)


every_kind = pytest.mark.parametrize(("ndim", "kind"), [(d, k) for d in (1, 2, 3) for k in KINDS])


@pytest.mark.usefixtures("blocks")
@few_seeds(2, EACH)
@every_kind
def test_moments_are_those_of_the_matrix(ndim: int, kind: str, seeds: range) -> None:
    """Integers come out as they are once rounded, and to rounding before."""
    for seed in seeds:
        case = random_case(ndim, kind, seed)
        xs, ys = case.records()
        a, y = dense.design_matrix(xs, case.spec), dense.by_group(ys, case.spec.groups)
        found = fourier_of(case.problem(xs, ys))
        assert found.rows == a.shape[1]
        for g, sums in enumerate(found.sums):
            exact = (a[g].T @ a[g], a[g].T @ y[g], y[g].sum(0), (y[g] ** 2).sum(0))
            for value, wanted in zip(sums, exact, strict=True):
                size = 81 * a.shape[1]
                np.testing.assert_allclose(
                    value, wanted, rtol=0, atol=1e-13 * size, err_msg=str(case)
                )
        squares = np.stack([(b**2).sum(0) for b in a])
        np.testing.assert_allclose(found._column_sums(found.parts, True), squares, rtol=1e-13)
        np.testing.assert_allclose(found.column_totals, a.sum(1), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("records", "shape", "taps", "dilation", "most"),
    [
        (1, (400,), (3,), (2,), 2),
        (1, (400,), (3,), (97,), 2),
        (1, (400,), (3,), (199,), 1),
        (5, (400,), (3,), (97,), 10),
        (90, (40,), (3,), (7,), 14),
        (1, (60, 60), (2, 3), (11, 9), 36),
    ],
)
def test_components_of_one_length_are_records_of_one_part(
    records: int,
    shape: tuple[int, ...],
    taps: tuple[int, ...],
    dilation: tuple[int, ...],
    most: int,
) -> None:
    """Else every part costs a millisecond, and a dilation of thousands takes seconds."""
    rng = np.random.default_rng(0)
    rows = [n - (k - 1) * d for n, k, d in zip(shape, taps, dilation)]
    x = [rng.integers(-9, 10, (*shape, 2)) for _ in range(records)]
    y = [rng.integers(-9, 10, (*rows, 1)) for _ in range(records)]
    spec = cs.ConvSpec(taps, dilation=dilation)
    found, a = fourier_of(cs.Problem(x, y, spec=spec)), dense.design_matrix(x, spec)[0]
    assert len(found.parts) <= most
    for _, part, out, _ in found.parts:
        # Views, so that memory does not grow with the dilation either.
        assert out is not None
        assert np.may_share_memory(part.data, found.inputs.stacks[0])
        assert np.may_share_memory(out.data, found.targets.stacks[0])
    assert np.array_equal(np.rint(found.sums[0].gram), a.T @ a)
    assert np.array_equal(np.rint(found.sums[0].rhs), a.T @ dense.by_group(y, 1)[0])


@pytest.mark.usefixtures("blocks")
@few_seeds(1, EACH // 2)
@every_kind
@pytest.mark.parametrize("bias", [False, True])
def test_residuals_are_those_of_the_matrix(ndim: int, kind: str, bias: bool, seeds: range) -> None:
    """Σr², Aᵀr and the Gram of A w; with a bias the centred ones, beside an offset of 1 000."""
    for seed in seeds:
        case = random_case(ndim, kind, seed, bias)
        xs, ys = case.records()
        xs, ys = [x + bias * 1000 for x in xs], [y - bias * 1000 for y in ys]
        whole = dense.design_matrix(xs, case.spec).astype(float)
        y = dense.by_group(ys, case.spec.groups).astype(float)
        rng = np.random.default_rng(case.seed)
        w = rng.integers(-9, 10, (*whole.shape[::2], y.shape[2])).astype(float)
        size = np.abs(whole).max() * np.abs(w).sum() + np.abs(y).max()
        most = np.abs(whole).sum(1).max()
        a, y = (dense.centred(v) if bias else v for v in (whole, y))
        r = y - a @ w
        found = fourier_of(case.problem(xs, ys, bias=bias))
        squares, g = found.residual(w, found.targets)
        np.testing.assert_allclose(np.sqrt(squares), np.linalg.norm(r, axis=1), atol=1e-12 * size)
        np.testing.assert_allclose(g, a.transpose(0, 2, 1) @ r, rtol=0, atol=1e-13 * size * most)
        for group, rows in enumerate(a):
            v = rng.integers(-9, 10, (a.shape[2], 2)).astype(float)
            seen = rows @ v
            # Every entry is a sum over rows of two products of such a size.
            each = np.abs(rows).max() * np.abs(v).sum(0).max() + np.abs(whole).max()
            np.testing.assert_allclose(
                found.product_gram(group, v),
                seen.T @ seen,
                rtol=0,
                atol=1e-12 * each**2 * len(seen),
            )
