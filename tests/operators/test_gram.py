"""Sums over rows by FFTs, compared with the design matrix by brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import convsolve as cs
from convsolve.operators import by_fft
from convsolve.operators import gram as toeplitz
from convsolve.operators import overlap_save as series
from convsolve.operators.chunk import Form, LoadedChunk, chunks_of
from convsolve.problem.rows import Rows
from convsolve.problem.sizes import Tuning
from support import dense
from support.geometry import KINDS, LARGE, PADDINGS, Geometry, random_geometry
from support.slow import few_seeds


def random_case(ndim: int, kind: str, *seed: int) -> Geometry:
    rng = np.random.default_rng([ndim, KINDS.index(kind), *seed])
    padding = PADDINGS[rng.integers(len(PADDINGS))]
    return random_geometry(rng, ndim, padding, kind, sizes=LARGE, ragged=True)


def chunk_of(problem: cs.Problem) -> LoadedChunk:
    """Return all rows in the units of the data, so that integers stay integers."""
    rows = Rows.of(problem.spec, [a.shape[:-1] for a in problem.x])
    (chunk,) = chunks_of([rows.pieces(0)], problem.x, problem.y, problem.spec, rows)
    found = chunk.load(Form(problem.spec._normal, problem.bias, Tuning()))
    shift = np.ldexp(found.out_shift, found.out_exponents)
    units = {"exponents": 0 * found.exponents, "out_exponents": 0 * found.out_exponents}
    return replace(found, **units, out_shift=shift)


@pytest.fixture(params=["whole", "blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run once with the usual sizes, and once with a few short blocks at a time.

    Short blocks are just longer than the kernel. The ends of records are then summed shift by
    shift, and FFTs are used for any number of taps.
    """
    if request.param == "blocks":
        monkeypatch.setattr(toeplitz, "JOINED_COLUMNS", 0)
        monkeypatch.setattr(toeplitz, "SUMMED_AT_ONCE", 0)
        monkeypatch.setattr(series, "fft_size", lambda taps, rows: taps + 4)
        monkeypatch.setattr(series, "CHUNK_NUMBERS", 100)
        monkeypatch.setattr(toeplitz, "CHUNK_NUMBERS", 100)


every_kind = pytest.mark.parametrize(("ndim", "kind"), [(d, k) for d in (1, 2, 3) for k in KINDS])


@pytest.mark.usefixtures("blocks")
@few_seeds(1, 12)
@every_kind
def test_moments_are_those_of_the_matrix(ndim: int, kind: str, seeds: range) -> None:
    """Sums of integers are exact after rounding, and correct to rounding before."""
    for seed in seeds:
        case = random_case(ndim, kind, seed)
        xs, ys = case.records()
        a, y = dense.design_matrix(xs, case.spec), dense.by_group(ys, case.spec.groups)
        chunk = chunk_of(case.problem(xs, ys))
        found = by_fft.moments(chunk, certain=True)
        assert found is not None
        assert found.n == a.shape[1]
        for g in range(len(a)):
            sums = found.gram[g], found.rhs[g], found.out_sums[g], found.out_squares[g]
            exact = (a[g].T @ a[g], a[g].T @ y[g], y[g].sum(0), (y[g] ** 2).sum(0))
            for value, wanted in zip(sums, exact, strict=True):
                size = 81 * a.shape[1]
                np.testing.assert_allclose(
                    value, wanted, rtol=0, atol=1e-13 * size, err_msg=str(case)
                )
        squares = np.stack([(b**2).sum(0) for b in a])
        alone = by_fft.norms(chunk, certain=True)
        assert alone is not None
        np.testing.assert_allclose(alone.gram.reshape(squares.shape), squares, rtol=1e-13)
        np.testing.assert_allclose(found.sums, a.sum(1), rtol=0, atol=1e-10)
        np.testing.assert_array_equal(by_fft.column_sums(chunk), found.sums)


@pytest.mark.parametrize(
    ("records", "shape", "dilation", "most"),
    [(1, (400,), (199,), 1), (90, (40,), (7,), 14), (1, (60, 60), (11, 9), 36)],
)
def test_a_large_dilation_gives_few_parts(
    records: int, shape: tuple, dilation: tuple, most: int
) -> None:
    """Each part takes a millisecond."""
    taps = (2, 3)[-len(shape) :]
    rng = np.random.default_rng(0)
    rows = [n - (k - 1) * d for n, k, d in zip(shape, taps, dilation)]
    x = [rng.integers(-9, 10, (*shape, 2)) for _ in range(records)]
    y = [rng.integers(-9, 10, (*rows, 1)) for _ in range(records)]
    spec = cs.ConvSpec(taps, dilation=dilation)
    chunk, a = chunk_of(cs.Problem(x, y, spec=spec)), dense.design_matrix(x, spec)[0]
    assert len(by_fft.parts(chunk)) <= most
    found = by_fft.moments(chunk, certain=True)
    assert found is not None
    assert np.array_equal(np.rint(found.gram[0]), a.T @ a)
    assert np.array_equal(np.rint(found.rhs[0]), a.T @ dense.by_group(y, 1)[0])
