"""Moments, sums and residuals from the signals against the brute-force design matrix."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import Prepared
from convsolve.operators import gram as toeplitz
from convsolve.operators import overlap_save as series
from convsolve.operators.fourier import Signals
from support import oracle

# A thousand geometries in all, with six kinds in each of three dimensions.
EACH = 56
KINDS = ("any", "one row", "short", "gaps", "cropped", "wide")


class Geometry(NamedTuple):
    """Records of integers and how they are read."""

    x: list[np.ndarray]
    y: list[np.ndarray]
    taps: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    groups: int

    @property
    def spec(self) -> cs.ConvSpec:
        return cs.ConvSpec(self.taps, self.stride, self.padding, self.dilation, self.groups)

    def matrix(self) -> np.ndarray:
        """A (groups, rows, P), records below one another."""
        args = (self.taps, self.stride, self.dilation, self.padding, self.groups)
        return np.concatenate([oracle.design_matrix(x[None], *args) for x in self.x], axis=1)

    def outputs(self) -> np.ndarray:
        """y (groups, rows, Q)."""
        flat = np.concatenate([y.reshape(-1, y.shape[-1]) for y in self.y])
        return flat.reshape(len(flat), self.groups, -1).transpose(1, 0, 2)


def draw(rng: np.random.Generator, ndim: int, kind: str) -> Geometry:
    """A random geometry of that kind, which gives at least one row."""
    while True:
        most = {1: 12, 2: 4, 3: 3}[ndim]
        longest = {1: 60, 2: 12, 3: 7}[ndim]
        taps = tuple(map(int, rng.integers(1, most + 1, ndim)))
        dilation = tuple(map(int, rng.integers(1, 4, ndim)))
        stride = tuple(map(int, rng.integers(1, 4, ndim)))
        if kind == "gaps":
            stride = tuple(k * d + int(rng.integers(1, 3)) for k, d in zip(taps, dilation))
        names = [p for p in oracle.PADDINGS if p != "same" or max(stride) == 1]
        padding = names[rng.integers(len(names))]
        if kind == "cropped" or rng.random() < 0.2:
            low = -4 if kind == "cropped" else -1
            padding = tuple((int(rng.integers(low, 0)), int(rng.integers(-2, 5))) for _ in taps)
        records = 1 if kind in ("one row", "wide") else int(rng.integers(1, 4))
        reach = [(k - 1) * d + 1 for k, d in zip(taps, dilation)]
        shapes = [tuple(map(int, rng.integers(1, longest, ndim))) for _ in range(records)]
        if kind == "one row":
            padding, shapes = "valid", [tuple(reach)]
        if kind == "short":
            extra = [int(rng.integers(0, max(1, k - 1))) for k in taps]
            padding = "valid"
            stride = (1,) * ndim
            shapes = [tuple(r + e for r, e in zip(reach, extra))] * records
        groups, inputs, outputs = (int(rng.integers(1, n)) for n in (3, 4, 3))
        if kind == "wide":
            inputs = 5
        rows = []
        for shape in shapes:
            axes = oracle.geometry(shape, taps, stride, dilation, padding)
            rows.append(tuple(n for _, n in axes))
        count = sum(map(math.prod, rows))
        if not count or (kind == "wide" and count >= math.prod(taps) * inputs):
            continue
        x = [rng.integers(-9, 10, (*s, groups * inputs)) for s in shapes]
        y = [rng.integers(-9, 10, (*r, groups * outputs)) for r in rows]
        return Geometry(x, y, taps, stride, dilation, padding, groups)


def signals_of(case: Geometry, bias: bool = False) -> Signals:
    problem = cs.Problem(case.x, case.y, spec=case.spec, bias=bias)
    stacks, channels = Prepared(problem).stacks, problem.in_channels
    return Signals(stacks, case.spec, np.ones(channels), np.ones(problem.out_channels), bias)


@pytest.fixture(params=["whole", "blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as sizes have it, and once by blocks just longer than the kernel, a few at a time, and
    with the ends of records shift by shift.
    """
    if request.param == "blocks":
        monkeypatch.setattr(toeplitz, "JOINED_COLUMNS", 0)
        monkeypatch.setattr(series, "fft_size", lambda taps, rows: taps + 4)
        monkeypatch.setattr(series, "CHUNK_NUMBERS", 100)
        monkeypatch.setattr(toeplitz, "CHUNK_NUMBERS", 100)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_moments_are_those_of_the_matrix(ndim: int, kind: str) -> None:
    """Integers come out as they are once rounded, and to rounding before."""
    for seed in range(EACH):
        case = draw(np.random.default_rng([ndim, KINDS.index(kind), seed]), ndim, kind)
        a, y = case.matrix(), case.outputs()
        found = signals_of(case)
        assert found.n == a.shape[1]
        for g, sums in enumerate(found.sums):
            exact = (a[g].T @ a[g], a[g].T @ y[g], y[g].sum(0), (y[g] ** 2).sum(0))
            for value, wanted in zip(sums, exact, strict=True):
                size = 81 * a.shape[1]
                np.testing.assert_allclose(
                    value, wanted, rtol=0, atol=1e-13 * size, err_msg=str(case)
                )
        squares = np.stack([(b**2).sum(0) for b in a])
        np.testing.assert_allclose(found._column_sums(True), squares, rtol=1e-13)
        np.testing.assert_allclose(found._column_sums(False), a.sum(1), rtol=0, atol=1e-10)


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
    case = Geometry(x, y, taps, (1,) * len(taps), dilation, "valid", 1)
    (stack,) = Prepared(cs.Problem(x, y, spec=case.spec)).stacks
    found, a = Signals([stack], case.spec, np.ones(2), np.ones(1), False), case.matrix()[0]
    assert len(found.parts) <= most
    for _, part, out in found.parts:
        # Views, so that memory does not grow with the dilation either.
        assert out is not None
        assert np.may_share_memory(part.data, stack[0])
        assert np.may_share_memory(out.data, stack[1])
    assert np.array_equal(np.rint(found.sums[0].gram), a.T @ a)
    assert np.array_equal(np.rint(found.sums[0].rhs), a.T @ case.outputs()[0])


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_residuals_are_those_of_the_matrix(ndim: int, kind: str, bias: bool) -> None:
    """Σr², Aᵀr and the Gram of A w; with a bias the centred ones, beside an offset of 1 000."""
    for seed in range(EACH // 2):
        rng = np.random.default_rng([ndim, KINDS.index(kind), seed, bias])
        case = draw(rng, ndim, kind)
        if bias:
            case = case._replace(x=[x + 1000 for x in case.x], y=[y - 1000 for y in case.y])
        a, y = case.matrix().astype(float), case.outputs().astype(float)
        w = rng.integers(-9, 10, (case.groups, a.shape[2], y.shape[2])).astype(float)
        size = np.abs(a).max() * np.abs(w).sum() + np.abs(y).max()
        most = np.abs(a).sum(1).max()
        if bias:
            a, y = a - a.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        r = y - a @ w
        found = signals_of(case, bias)
        squares, g = found.misfit(w)
        np.testing.assert_allclose(np.sqrt(squares), np.linalg.norm(r, axis=1), atol=1e-12 * size)
        np.testing.assert_allclose(g, a.transpose(0, 2, 1) @ r, rtol=0, atol=1e-13 * size * most)
        for group in range(case.groups):
            v = rng.integers(-9, 10, (a.shape[2], 2)).astype(float)
            seen = a[group] @ v
            # Every entry is a sum over rows of two products of such a size.
            each = np.abs(a[group]).max() * np.abs(v).sum(0).max() + np.abs(case.matrix()).max()
            np.testing.assert_allclose(
                found.gram_of_products(group, v),
                seen.T @ seen,
                rtol=0,
                atol=1e-12 * each**2 * len(seen),
            )
