"""The design matrix of every place of the data, compared with the matrix by brute force."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from convsolve.leastsquares.scaling import PenaltyColumns
from convsolve.operators.chunks import Chunks, Plan
from convsolve.operators.design_matrix import DesignMatrix, Targets
from convsolve.operators.moments import Moments
from convsolve.operators.tap_basis import TapBasis
from convsolve.problem.adjustments import Adjustments
from convsolve.problem.kernel_space import ChannelTaps
from convsolve.problem.nuisance import Nuisance
from convsolve.problem.rows import Rows
from convsolve.problem.sizes import Tuning
from support import dense
from support.geometry import NAMED, Geometry

SMALL_BLOCKS = Tuning(kept_numbers=0, block_numbers=64)
# Every gap is worth a cut.
CUT = Tuning(gap_products=0)
# A chunk has a few rows, or as many as a kernel reads.
CHUNKS = Tuning(chunk_numbers=40)


def some_rows(geometry: Geometry) -> Rows:
    """Return three rows in four, with a long gap in long records."""
    rng, whole = np.random.default_rng(5), Rows.of(geometry.spec, geometry.shapes)
    flags = [rng.random(shape) < 3 / 4 for shape in whole.shapes]
    for each in flags:
        if len(each) > 20:
            each[len(each) // 3 : len(each) // 3 + geometry.spec.kernel_size[0] + 2] = False
    return replace(whole, flags=tuple(flags))


class Form(NamedTuple):
    """Where the data are, how sums are formed, and which rows are used."""

    plan: Plan = Plan()
    limits: Tuning = CUT
    rows: str = "all"  # or "some"


def matrix_of(form: Form, geometry: Geometry, x: list, y: list) -> DesignMatrix:
    """Return the matrix of a form. Excluded outputs are loud artefacts."""
    kept, nuisance = Rows.of(geometry.spec, geometry.shapes), Nuisance(constant=geometry.bias)
    if form.rows == "some":
        kept = some_rows(geometry)
        y = [np.where(f[..., None], b, 10**8) for b, f in zip(y, kept.flags or (), strict=True)]
    rows = Adjustments(kept)
    return DesignMatrix(Chunks(x, y, geometry.spec, rows, nuisance, form.limits, form.plan))


ROWS, READ, FIRST = Plan(by_rows=True), Plan(whole=False), Plan(columns_first=True)
ROWS_FIRST, BLOCKS = Plan(by_rows=True, columns_first=True), replace(CUT, block_numbers=64)
FORMS = {
    "rows": Form(ROWS),
    "rows, in small blocks": Form(ROWS, SMALL_BLOCKS),
    "rows, columns first": Form(ROWS_FIRST),
    "rows, in time": Form(Plan(by_rows=True, in_time=True)),
    "ffts": Form(),
    "ffts, columns first": Form(FIRST),
    "some rows": Form(ROWS, BLOCKS, "some"),
    "ffts of some rows": Form(rows="some"),
    "ffts of some rows, columns first": Form(FIRST, rows="some"),
    "chunks": Form(READ, CHUNKS),
    "chunks, in time": Form(Plan(whole=False, in_time=True), CHUNKS),
    "chunks of some rows": Form(READ, CHUNKS, "some"),
}
# One in four of all pairs; different forms start with different geometries.
CASES = [
    pair for i, pair in enumerate(itertools.product(FORMS, NAMED)) if (i + i // len(NAMED)) % 4 == 0
]


class Dense:
    """M A and M y in the units of a matrix."""

    def __init__(self, operator: DesignMatrix, geometry: Geometry, x: list, y: list) -> None:
        a = dense.design_matrix(x, geometry.spec).astype(float)
        self.plain = np.ldexp(a, -operator.exponents[:, None])
        self.y = dense.by_group(y, geometry.spec.groups).astype(float)
        if operator.rows < self.plain.shape[1]:
            flags = some_rows(geometry).flags
            assert flags is not None
            kept = np.concatenate([f.reshape(-1) for f in flags])
            self.plain, self.y = self.plain[:, kept], self.y[:, kept]
        centre = dense.centred if geometry.bias else np.asarray
        self.a, self.centred_y = centre(self.plain), centre(self.y)
        self.means = self.plain.mean(1)


def bases(geometry: Geometry) -> Iterator[tuple[TapBasis, np.ndarray]]:
    """Bases for every axis, and on one axis for every channel; and T as one matrix."""
    sizes, rng = geometry.spec.kernel_size, np.random.default_rng(1)
    matrices = [rng.integers(-2, 3, (k, max(1, k - (i == 0)))) for i, k in enumerate(sizes)]
    whole, units = functools.reduce(np.kron, matrices), np.eye(geometry.inputs)
    by_axis = TapBasis.of_axes(matrices, geometry.inputs)
    yield by_axis, np.hstack([np.kron(whole, unit[:, None]) for unit in units])
    if geometry.spec.ndim > 1:
        return
    rng, (taps,) = np.random.default_rng(3), geometry.spec.kernel_size
    channels = []
    for c in range(geometry.inputs):
        kept = np.flatnonzero((np.arange(taps) + c) % 3 > 0) if taps > 2 else np.arange(taps)
        few = rng.standard_normal((len(kept), min(2, len(kept))))
        channels.append(ChannelTaps(kept, None if c == 1 else few))
    parts = []
    for own, unit in zip(channels, np.eye(geometry.inputs)):
        t = np.eye(taps)[:, own.kept]
        parts.append(np.kron(t if own.matrix is None else t @ own.matrix, unit[:, None]))
    yield TapBasis.of_taps(taps, channels), np.hstack(parts)


def in_units(y: np.ndarray, targets: Targets) -> np.ndarray:
    return np.ldexp(y, -targets.grouped(targets.exponents)[:, None])


@pytest.mark.parametrize(("form", "name"), CASES)
def test_sums_and_rows_are_those_of_the_matrix(form: str, name: str) -> None:
    geometry = NAMED[name]
    x, y = geometry.records()
    matrix = matrix_of(FORMS[form], geometry, x, y)
    assert matrix.targets is not None
    known = Dense(matrix, geometry, x, y)
    y = in_units(known.centred_y, matrix.targets)
    check_norms_and_means(matrix, known, y)
    check_moments(matrix, matrix.targets, known.a, y, 1e-13)
    check_residual(matrix, matrix.targets, known.a, y)
    check_rows(matrix, matrix.targets, known, y)
    sizes = SimpleNamespace(gram_fits="chunks" in form)

    def moments_in(basis: TapBasis, targets: Targets | None) -> Moments:
        return matrix.moments(targets, basis)

    design: Any = SimpleNamespace(
        matrix=matrix, sizes=sizes, targets=matrix.targets, moments_in=moments_in
    )
    for own, whole in bases(geometry):
        columns, a = PenaltyColumns(design, own), known.a @ whole
        norms = np.linalg.norm(a, axis=1)
        np.testing.assert_allclose(columns.norms, norms, rtol=1e-10, atol=1e-13 * norms.max())
        check_norms_of_terms(own, whole, np.linalg.norm(known.a, axis=1))
        check_moments(columns, matrix.targets, a, y, 1e-12)
        check_residual(columns, matrix.targets, a, y)


def check_norms_of_terms(own: TapBasis, whole: np.ndarray, norms: np.ndarray) -> None:
    """The sum of the norms of all terms of a column of A T, and the root of their squares."""
    np.testing.assert_allclose(own.largest_norms(norms), norms @ np.abs(whole), rtol=1e-12)
    squares = norms**2 @ whole**2
    np.testing.assert_allclose(own.orthogonal_norms(norms), np.sqrt(squares), rtol=1e-12)


def check_norms_and_means(matrix: DesignMatrix, known: Dense, y: np.ndarray) -> None:
    assert matrix.targets is not None
    scale = np.linalg.norm(known.a, axis=1)
    close = {"rtol": 1e-12, "atol": 1e-13 * scale.max()}
    np.testing.assert_allclose(matrix.column_norms, scale, **close)
    np.testing.assert_allclose(matrix.means, known.means, **close)
    spreads = np.linalg.norm(dense.centred(known.plain), axis=1)
    np.testing.assert_allclose(matrix.spreads, spreads, rtol=1e-9, atol=1e-7 * scale.max())
    norms = np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(matrix.output_norms(matrix.targets), norms, rtol=1e-12, atol=1e-13)


def check_moments(
    matrix: DesignMatrix | PenaltyColumns,
    targets: Targets,
    a: np.ndarray,
    y: np.ndarray,
    eps: float,
) -> None:
    penalized = isinstance(matrix, PenaltyColumns)
    found = matrix.moments_with(targets) if penalized else matrix.moments(targets)
    assert found.n == len(y[0])
    for g, rows in enumerate(a):
        scale = np.linalg.norm(rows)
        gram, cross = found.inner(g, slice(None)), found.cross[g]
        np.testing.assert_allclose(gram, rows.T @ rows, rtol=0, atol=eps * scale**2 + 1e-300)
        largest = scale * np.linalg.norm(y[g])
        np.testing.assert_allclose(cross, rows.T @ y[g], rtol=0, atol=eps * largest + 1e-300)
        if penalized:
            alone = matrix.moments.inner(g, slice(None))
            np.testing.assert_allclose(alone, gram, rtol=0, atol=eps * scale**2 + 1e-300)


def check_residual(matrix: Any, targets: Targets, a: np.ndarray, y: np.ndarray) -> None:
    w = np.random.default_rng(2).standard_normal((len(a), a.shape[2], y.shape[-1]))
    squares, g = matrix.residual(w, targets)
    r = y - a @ w
    np.testing.assert_allclose(squares, (r**2).sum(1), rtol=1e-12)
    largest = np.abs(a).sum() * np.abs(r).max()
    np.testing.assert_allclose(g, a.swapaxes(1, 2) @ r, rtol=0, atol=1e-12 * largest)


def check_rows(matrix: DesignMatrix, targets: Targets, known: Dense, y: np.ndarray) -> None:
    """Records have any order, which blocks of rows, forward and adjoint products share."""
    blocks = [*matrix.row_blocks(targets)]
    ordered = np.concatenate([a for a, _ in blocks], axis=1)
    own = np.concatenate([y for _, y in blocks if y is not None], axis=1)
    rng = np.random.default_rng(5)
    w, r = (rng.standard_normal((n, 3)) for n in (matrix.columns, matrix.rows))
    for g, a in enumerate(ordered):
        found, wanted = np.hstack([a, own[g]]), np.hstack([known.a[g], y[g]])
        order, right = np.lexsort(found.round(9).T), np.lexsort(wanted.round(9).T)
        np.testing.assert_allclose(found[order], wanted[right], rtol=0, atol=1e-12)
        seen, back, largest = matrix.forward(g, w), matrix.adjoint(g, r), np.abs(a).sum()
        np.testing.assert_allclose(seen, a @ w, rtol=0, atol=1e-13 * largest)
        np.testing.assert_allclose(back, a.T @ r, rtol=0, atol=1e-13 * largest)
        np.testing.assert_allclose((seen * r).sum(0), (w * back).sum(0), rtol=1e-12, atol=1e-11)
        rows = targets.rows(g)
        centred = rows - rows.mean(0) if matrix.nuisance.constant else rows
        np.testing.assert_allclose(centred, own[g], rtol=0, atol=1e-13)
