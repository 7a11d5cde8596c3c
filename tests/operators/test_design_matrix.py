"""The design matrix of every place of the data, compared with the matrix by brute force."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from convsolve.leastsquares.scaling import PenaltyColumns
from convsolve.operators.by_jax import DeviceChunk
from convsolve.operators.chunk import Form
from convsolve.operators.chunks import Chunks, Plan
from convsolve.operators.design_matrix import DesignMatrix, Targets
from convsolve.operators.tap_basis import TapBasis
from convsolve.problem.adjustments import Adjustments
from convsolve.problem.confounds import Confounds
from convsolve.problem.nuisance import Nuisance
from convsolve.problem.records import Records
from convsolve.problem.remote import Remote
from convsolve.problem.rows import Rows
from convsolve.problem.sizes import Limits
from convsolve.problem.weights import Weights
from support import dense
from support.geometry import NAMED, Geometry
from support.slow import some

Make = Callable[[Geometry, list, list], DesignMatrix]
SMALL_BLOCKS = Limits(kept_numbers=0, block_numbers=64)
# Every gap is worth a cut.
CUT = Limits(gap_products=0)
# A chunk has a few rows, or as many as a kernel reads.
CHUNKS = Limits(chunk_numbers=40)


def basis(geometry: Geometry) -> TapBasis:
    """Return some coordinates, fewer than taps along the first axis if there are several taps."""
    rng = np.random.default_rng(1)
    sizes = geometry.spec.kernel_size
    return TapBasis([rng.integers(-2, 3, (k, max(1, k - (i == 0)))) for i, k in enumerate(sizes)])


def some_rows(geometry: Geometry) -> Rows:
    """Return three rows in four, with a long gap in long records."""
    rng, whole = np.random.default_rng(5), Rows.of(geometry.spec, geometry.shapes)
    flags = [rng.random(shape) < 3 / 4 for shape in whole.shapes]
    for each in flags:
        if len(each) > 20:
            each[len(each) // 3 : len(each) // 3 + geometry.spec.kernel_size[0] + 2] = False
    return replace(whole, flags=tuple(flags))


def design(
    geometry: Geometry,
    x: list,
    y: list,
    rows: Adjustments,
    nuisance: Nuisance,
    limits: Limits,
    plan: Plan,
    devices: int = 0,
) -> DesignMatrix:
    """Return a design matrix of records in memory, or of records that are whole on each device."""
    device = None
    if devices:
        mesh = jax.make_mesh((devices,), ("all",), (AxisType.Auto,))
        with jax.enable_x64(True):
            x, y = (
                [Remote.of(jax.device_put(a.astype(float), NamedSharding(mesh, P()))) for a in of]
                for of in (x, y)
            )
        form = Form(geometry.spec._normal, nuisance.constant, limits)
        device = DeviceChunk(x, y, geometry.spec, rows.kept, nuisance, form)
    return DesignMatrix(Chunks(x, y, geometry.spec, rows, nuisance, limits, plan, device))


def made(plan: Plan, limits: Limits = CUT, devices: int = 0) -> Make:
    """Return a maker of design matrices of all rows."""

    def make(geometry: Geometry, x: list, y: list) -> DesignMatrix:
        rows = Adjustments(Rows.of(geometry.spec, geometry.shapes))
        nuisance = Nuisance(constant=geometry.bias)
        return design(geometry, x, y, rows, nuisance, limits, plan, devices)

    return make


def made_of_some(plan: Plan, limits: Limits = CUT, devices: int = 0) -> Make:
    """Return a maker of design matrices of some rows. Excluded outputs are loud artefacts."""

    def make(geometry: Geometry, x: list, y: list) -> DesignMatrix:
        kept = some_rows(geometry)
        assert kept.flags is not None
        loud = [np.where(f[..., None], b, 10**8) for b, f in zip(y, kept.flags, strict=True)]
        nuisance = Nuisance(constant=geometry.bias)
        return design(geometry, x, loud, Adjustments(kept), nuisance, limits, plan, devices)

    return make


def confounds(geometry: Geometry) -> Confounds:
    """Return two columns of every record that no column of A resembles, in rows of weights."""
    rng, kept = np.random.default_rng(6), Rows.of(geometry.spec, geometry.shapes)
    arrays = tuple(rng.standard_normal((*shape, 2)) for shape in kept.shapes)
    columns = Records(arrays, "list", True, False)
    weights = Weights(tuple(np.array(1.0 + i) for i in range(len(arrays))))
    return Confounds.of(columns, geometry.bias, kept, weights)


def confounded(plan: Plan, limits: Limits = CUT, devices: int = 0) -> Make:
    """Return a maker of design matrices with confounds and weights."""

    def make(geometry: Geometry, x: list, y: list) -> DesignMatrix:
        nuisance = Nuisance(confounds=confounds(geometry))
        weights = nuisance.confounds.weights if nuisance.confounds else None
        rows = Adjustments(Rows.of(geometry.spec, geometry.shapes), weights)
        return design(geometry, x, y, rows, nuisance, limits, plan, devices)

    return make


ROWS, FFT, READ = Plan(by_rows=True), Plan(), Plan(whole=False)
MATRICES = {
    "rows": made(ROWS),
    "rows, in small blocks": made(ROWS, SMALL_BLOCKS),
    "rows, columns first": made(Plan(by_rows=True, columns_first=True)),
    "rows, in time": made(Plan(by_rows=True, in_time=True)),
    "ffts": made(FFT),
    "ffts, columns first": made(Plan(columns_first=True)),
    "some rows": made_of_some(ROWS, replace(CUT, block_numbers=64)),
    "ffts of some rows": made_of_some(FFT),
    "ffts of some rows, columns first": made_of_some(Plan(columns_first=True)),
    "chunks": made(READ, CHUNKS),
    "chunks, in time": made(Plan(whole=False, in_time=True), CHUNKS),
    "chunks of some rows": made_of_some(READ, CHUNKS),
    "rows with confounds": confounded(ROWS, replace(CUT, block_numbers=64)),
    "rows with confounds, columns first": confounded(Plan(by_rows=True, columns_first=True)),
    "ffts with confounds": confounded(FFT),
    "ffts with confounds, columns first": confounded(Plan(columns_first=True)),
    "chunks with confounds": confounded(READ, CHUNKS),
    "on a device": made(Plan(), devices=1),
    "on devices": made(Plan(), devices=2),
    "some rows on a device": made_of_some(Plan(), devices=1),
    "on a device with confounds": confounded(Plan(), devices=1),
}


def cases() -> list[Any]:
    """Return matrices with geometries: one in four of all pairs, and as many slow ones.

    On devices only geometries of one axis are used, and one of them is not slow.
    """
    found = []
    for i, (form, name) in enumerate(itertools.product(MATRICES, NAMED)):
        # Different matrices start with different geometries.
        turn, one = (i + i // len(NAMED)) % 4, (form, name) == ("on a device", "both")
        if "device" not in form and turn < 2:
            found.append(pytest.param(form, name, marks=pytest.mark.slow if turn else ()))
        elif "device" in form and NAMED[name].spec.ndim == 1 and (one or turn == 0):
            found.append(pytest.param(form, name, marks=() if one else pytest.mark.slow))
    return found


# Every form on devices compiles programs of its own.
every_matrix = pytest.mark.parametrize(
    "form", some(MATRICES, *(form for form in MATRICES if "device" not in form))
)
every_case = pytest.mark.parametrize(("form", "name"), cases())


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
        if operator.nuisance.confounds is not None:
            self._without(confounds(geometry), geometry)

    def _without(self, known: Confounds, geometry: Geometry) -> None:
        """Replace A and y by the residuals of least squares on all nuisance columns."""
        counts = [int(np.prod(shape)) for shape in known.kept.shapes]
        ends = np.cumsum([0, *counts])
        roots = np.concatenate([known.root(i) for i in range(len(counts))])
        n = np.zeros((ends[-1], 2 * len(counts)))
        rng = np.random.default_rng(6)
        for i, shape in enumerate(known.kept.shapes):
            n[ends[i] : ends[i + 1], 2 * i : 2 * i + 2] = rng.standard_normal((*shape, 2)).reshape(
                -1, 2
            )
        n = np.hstack([n, np.ones((len(n), int(geometry.bias)))]) * roots

        def left(rows: np.ndarray) -> np.ndarray:
            return np.stack([r - n @ np.linalg.lstsq(n, r, rcond=None)[0] for r in rows * roots])

        self.a, self.centred_y = left(self.plain), left(self.y)
        self.plain, self.means = self.a, self.a.mean(1)


def by_axis(a: np.ndarray, geometry: Geometry, basis: TapBasis) -> np.ndarray:
    """A T by one product with the whole of T."""
    whole = np.ones((1, 1))
    for matrix in basis.matrices:
        whole = np.kron(whole, matrix)
    return a @ np.kron(whole, np.eye(geometry.inputs))


@pytest.fixture
def case(form: str, name: str) -> tuple[DesignMatrix, Dense, Targets]:
    geometry = NAMED[name]
    x, y = geometry.records()
    operator = MATRICES[form](geometry, x, y)
    assert operator.targets is not None
    return operator, Dense(operator, geometry, x, y), operator.targets


def in_units(y: np.ndarray, targets: Targets) -> np.ndarray:
    return np.ldexp(y, -targets.grouped(targets.exponents)[:, None])


@every_case
def test_norms_and_means(case: tuple[DesignMatrix, Dense, Targets]) -> None:
    operator, known, targets = case
    scale = np.linalg.norm(known.a, axis=1)
    close = {"rtol": 1e-12, "atol": 1e-13 * scale.max()}
    np.testing.assert_allclose(operator.column_norms, scale, **close)
    np.testing.assert_allclose(operator.means, known.means, **close)
    spreads = np.linalg.norm(dense.centred(known.plain), axis=1)
    np.testing.assert_allclose(operator.spreads, spreads, rtol=1e-9, atol=1e-7 * scale.max())
    norms = np.linalg.norm(in_units(known.centred_y, targets), axis=1)
    np.testing.assert_allclose(operator.output_norms(targets), norms, rtol=1e-12, atol=1e-13)


@every_case
def test_moments_with_the_nuisance_columns_projected_out(
    case: tuple[DesignMatrix, Dense, Targets],
) -> None:
    operator, known, targets = case
    found = operator.moments(targets)
    y = in_units(known.centred_y, targets)
    for g, a in enumerate(known.a):
        scale = np.linalg.norm(a) ** 2 + 1e-300
        gram = found.inner(g, slice(None))
        np.testing.assert_allclose(gram, a.T @ a, rtol=0, atol=1e-13 * scale)
        cross = found.cross[g]
        largest = np.linalg.norm(a) * np.linalg.norm(y[g])
        np.testing.assert_allclose(cross, a.T @ y[g], rtol=0, atol=1e-13 * largest)
    assert found.n == len(known.y[0])


@every_case
def test_residual_and_gradient(case: tuple[DesignMatrix, Dense, Targets]) -> None:
    operator, known, targets = case
    rng = np.random.default_rng(2)
    y = in_units(known.centred_y, targets)
    w = rng.standard_normal((operator.groups, operator.columns, y.shape[-1]))
    squares, g = operator.residual(w, targets)
    r = y - known.a @ w
    np.testing.assert_allclose(squares, (r**2).sum(1), rtol=1e-12)
    largest = np.abs(known.a).sum() * np.abs(r).max()
    np.testing.assert_allclose(g, known.a.swapaxes(1, 2) @ r, rtol=0, atol=1e-13 * largest)


@every_case
def test_forward_and_adjoint(case: tuple[DesignMatrix, Dense, Targets]) -> None:
    """The rows have the order of the blocks of rows, and so have the rows of y."""
    operator, known, targets = case
    blocks = [*operator.row_blocks(targets)]
    ordered = np.concatenate([a for a, _ in blocks], axis=1)
    rng = np.random.default_rng(5)
    w = rng.standard_normal((operator.columns, 3))
    r = rng.standard_normal((operator.rows, 3))
    for g, a in enumerate(ordered):
        np.testing.assert_allclose(
            np.linalg.norm(a, axis=0), np.linalg.norm(known.a[g], axis=0), rtol=1e-12, atol=1e-13
        )
        seen, back = operator.forward(g, w), operator.adjoint(g, r)
        largest = np.abs(a).sum()
        np.testing.assert_allclose(seen, a @ w, rtol=0, atol=1e-13 * largest)
        np.testing.assert_allclose(back, a.T @ r, rtol=0, atol=1e-13 * largest)
        np.testing.assert_allclose((seen * r).sum(0), (w * back).sum(0), rtol=1e-12, atol=1e-11)
        y = targets.rows(g)
        centred = y - y.mean(0) if operator.nuisance.constant else y
        wanted = np.concatenate([b[g] for _, b in blocks if b is not None])
        np.testing.assert_allclose(centred, wanted, rtol=0, atol=1e-13)


@every_case
def test_products(case: tuple[DesignMatrix, Dense, Targets]) -> None:
    operator, known, _ = case
    w = np.random.default_rng(4).standard_normal((operator.columns, 3))
    for g, a in enumerate(known.a):
        seen = a @ w
        found = operator.product_gram(g, w)
        np.testing.assert_allclose(found, seen.T @ seen, rtol=1e-12, atol=1e-12 * (seen**2).sum())


@every_case
def test_blocks_of_rows(case: tuple[DesignMatrix, Dense, Targets]) -> None:
    """The order of the records is arbitrary, and the same for A and y."""
    operator, known, targets = case
    blocks = [*operator.row_blocks(targets)]
    a = np.concatenate([a for a, _ in blocks], axis=1)
    y = np.concatenate([y for _, y in blocks if y is not None], axis=1)
    both = np.concatenate([a, y], axis=2)
    expected = np.concatenate([known.a, in_units(known.centred_y, targets)], axis=2)
    for found, wanted in zip(both, expected, strict=True):
        assert found.shape == wanted.shape
        order, right = np.lexsort(found.round(9).T), np.lexsort(wanted.round(9).T)
        np.testing.assert_allclose(found[order], wanted[right], rtol=0, atol=1e-12)


@every_case
@pytest.mark.parametrize("gram_fits", [True, False], ids=["by moments", "by data"])
def test_columns_in_the_coordinates_of_a_penalty(form: str, name: str, gram_fits: bool) -> None:
    geometry = NAMED[name]
    x, y = geometry.records()
    matrix = MATRICES[form](geometry, x, y)
    targets = matrix.targets
    assert targets is not None
    design: Any = SimpleNamespace(
        matrix=matrix, sizes=SimpleNamespace(gram_fits=gram_fits), moments=matrix.moments(targets)
    )
    columns = PenaltyColumns(design, basis(geometry))
    known = Dense(matrix, geometry, x, y)
    a = by_axis(known.a, geometry, columns.basis)
    norms = np.linalg.norm(a, axis=1)
    np.testing.assert_allclose(columns.norms, norms, rtol=1e-10, atol=1e-13 * norms.max())
    shape = matrix.groups, columns.count, targets.outputs
    z = np.random.default_rng(2).standard_normal(shape)
    r = in_units(known.centred_y, targets) - a @ z
    squares, g = columns.residual(z, targets)
    np.testing.assert_allclose(squares, (r**2).sum(1), rtol=1e-12)
    largest = np.abs(a).sum() * np.abs(r).max()
    np.testing.assert_allclose(g, a.swapaxes(1, 2) @ r, rtol=0, atol=1e-12 * largest)
    for found in (columns.moments, columns.moments_with(targets)):
        for group, rows in enumerate(a):
            gram, scale = found.inner(group, slice(None)), np.linalg.norm(rows) ** 2 + 1e-300
            np.testing.assert_allclose(gram, rows.T @ rows, rtol=0, atol=1e-12 * scale)


@every_matrix
def test_other_outputs_for_the_same_x(form: str) -> None:
    """The results are those of a matrix that was made with the other outputs."""
    geometry = NAMED["ragged"]
    x, y = geometry.records()
    other = [np.cos(np.arange(a.size)).reshape(a.shape) for a in y]
    first, fresh = (MATRICES[form](geometry, x, each) for each in (y, other))
    first.moments(first.targets)
    if "some" in form:
        flags = some_rows(geometry).flags
        assert flags is not None
        other = [np.where(f[..., None], b, 10**8) for b, f in zip(other, flags, strict=True)]
    targets = first.with_outputs(other)
    assert fresh.targets is not None
    w = np.ones((1, first.columns, 2))
    here = (*first.residual(w, targets), first.moments(targets).cross)
    there = (*fresh.residual(w, fresh.targets), fresh.moments(fresh.targets).cross)
    for one, two in zip(here, there, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(targets.rows(0), fresh.targets.rows(0), rtol=0, atol=1e-13)
