"""What every form of the design matrix promises, against the matrix by brute force."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from convsolve.operators.base import DesignOperator
from convsolve.operators.chunked import ChunkedOperator
from convsolve.operators.devices import DeviceOperator
from convsolve.operators.fourier import FourierOperator
from convsolve.operators.records import Inputs, Targets
from convsolve.operators.rows import RowOperator
from convsolve.operators.spread import stacked
from convsolve.operators.transformed import TapBasis, TransformedOperator
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

# As if every gap were long.
CUT = Limits(gap_products=0)
Make = Callable[[Geometry, list, list], DesignOperator]


def basis(geometry: Geometry) -> TapBasis:
    """Any coordinates, fewer than taps along the first axis where there are several."""
    rng = np.random.default_rng(1)
    sizes = geometry.spec.kernel_size
    return TapBasis([rng.integers(-2, 3, (k, max(1, k - (i == 0)))) for i, k in enumerate(sizes)])


def some_rows(geometry: Geometry) -> Rows:
    """Three in four, in no order, and no long gap, at which records are cut, but in long ones."""
    rng, whole = np.random.default_rng(5), Rows.of(geometry.spec, geometry.shapes)
    flags = [rng.random(shape) < 3 / 4 for shape in whole.shapes]
    for each in flags:
        if len(each) > 20:
            each[len(each) // 3 : len(each) // 3 + geometry.spec.kernel_size[0] + 2] = False
    return replace(whole, flags=tuple(flags))


def inputs(
    geometry: Geometry, x: list, y: list, kept: Rows | None = None
) -> tuple[Inputs, Nuisance, Targets]:
    nuisance = Nuisance(constant=geometry.bias)
    adjustments = None if kept is None else Adjustments(kept)
    made = Inputs(x, geometry.spec, adjustments, nuisance, CUT)
    return made, nuisance, Targets(y, made, nuisance)


def by_rows(geometry: Geometry, x: list, y: list) -> DesignOperator:
    read, nuisance, targets = inputs(geometry, x, y)
    return RowOperator(read, nuisance, Limits(), targets)


def by_small_blocks(geometry: Geometry, x: list, y: list) -> DesignOperator:
    read, nuisance, targets = inputs(geometry, x, y)
    return RowOperator(read, nuisance, Limits(kept_numbers=0, block_numbers=64), targets)


def by_fourier(geometry: Geometry, x: list, y: list) -> DesignOperator:
    read, nuisance, targets = inputs(geometry, x, y)
    return FourierOperator(read, nuisance, Limits(), targets)


def some_by_rows(geometry: Geometry, x: list, y: list) -> DesignOperator:
    read, nuisance, targets = inputs(geometry, x, y, some_rows(geometry))
    return RowOperator(read, nuisance, Limits(block_numbers=64), targets)


def some_by_fourier(geometry: Geometry, x: list, y: list) -> DesignOperator:
    """Beside loud artefacts in y where no row counts."""
    kept = some_rows(geometry)
    assert kept.flags is not None
    loud = [np.where(f[..., None], b, 10**8) for b, f in zip(y, kept.flags, strict=True)]
    read, nuisance, targets = inputs(geometry, x, loud, kept)
    return FourierOperator(read, nuisance, Limits(), targets)


def by_chunks(geometry: Geometry, x: list, y: list) -> DesignOperator:
    """Of a few rows each, or of as many as a kernel reads."""
    nuisance, limits = Nuisance(constant=geometry.bias), Limits(chunk_numbers=40)
    kept = Rows.of(geometry.spec, geometry.shapes)
    return ChunkedOperator(x, y, geometry.spec, kept, nuisance, limits)


def some_by_chunks(geometry: Geometry, x: list, y: list) -> DesignOperator:
    nuisance, limits = Nuisance(constant=geometry.bias), Limits(chunk_numbers=40)
    return ChunkedOperator(x, y, geometry.spec, some_rows(geometry), nuisance, limits)


def confounds(geometry: Geometry) -> Confounds:
    """Two columns of every record that no column of A is near to, in rows of unlike weight."""
    rng, kept = np.random.default_rng(6), Rows.of(geometry.spec, geometry.shapes)
    arrays = tuple(rng.standard_normal((*shape, 2)) for shape in kept.shapes)
    columns = Records(arrays, "list", True, False)
    weights = Weights(tuple(np.array(1.0 + i) for i in range(len(arrays))))
    return Confounds.of(columns, geometry.bias, kept, weights)


def confounded(geometry: Geometry, x: list, y: list) -> tuple[Inputs, Nuisance, Targets]:
    nuisance = Nuisance(confounds=confounds(geometry))
    weights = nuisance.confounds.weights if nuisance.confounds else None
    kept = Rows.of(geometry.spec, geometry.shapes)
    made = Inputs(x, geometry.spec, Adjustments(kept, weights), nuisance)
    return made, nuisance, Targets(y, made, nuisance)


def partialled_rows(geometry: Geometry, x: list, y: list) -> DesignOperator:
    read, nuisance, targets = confounded(geometry, x, y)
    return RowOperator(read, nuisance, Limits(block_numbers=64), targets)


def partialled_fourier(geometry: Geometry, x: list, y: list) -> DesignOperator:
    read, nuisance, targets = confounded(geometry, x, y)
    return FourierOperator(read, nuisance, Limits(), targets)


def on_devices(count: int) -> Make:
    """Of records that are whole on each of some devices, the first of which has the blocks."""

    def made(geometry: Geometry, x: list, y: list) -> DesignOperator:
        mesh = jax.make_mesh((count,), ("all",), (AxisType.Auto,))
        with jax.enable_x64(True):
            held = [
                [Remote.of(jax.device_put(a.astype(float), NamedSharding(mesh, P()))) for a in of]
                for of in (x, y)
            ]
        rows = [a.shape[0] for a in y]
        read, nuisance, _ = inputs(geometry, x, y)
        stacks = stacked(*held, rows, geometry.spec)
        sizes = geometry.channels, geometry.outputs, nuisance, Limits()
        return DeviceOperator(
            stacks, geometry.spec, *sizes, lambda: (read, Targets(y, read, nuisance))
        )

    return made


def transformed(make: Make) -> Make:
    def made(geometry: Geometry, x: list, y: list) -> DesignOperator:
        return TransformedOperator(make(geometry, x, y), basis(geometry))

    return made


OPERATORS = {
    "rows": by_rows,
    "rows, in small blocks": by_small_blocks,
    "fourier": by_fourier,
    "rows, transformed": transformed(by_rows),
    "fourier, transformed": transformed(by_fourier),
    "some rows": some_by_rows,
    "fourier of some rows": some_by_fourier,
    "fourier of some rows, transformed": transformed(some_by_fourier),
    "chunks": by_chunks,
    "chunks, transformed": transformed(by_chunks),
    "chunks of some rows": some_by_chunks,
    "rows without confounds": partialled_rows,
    "fourier without confounds": partialled_fourier,
    "fourier without confounds, transformed": transformed(partialled_fourier),
    "on a device": on_devices(1),
    "on devices, transformed": transformed(on_devices(2)),
}


def cases() -> list[Any]:
    """Every operator of every geometry, three in four of these pairs slow; on devices those along
    one axis, one of them not slow.
    """
    found = []
    for i, (form, name) in enumerate(itertools.product(OPERATORS, NAMED)):
        # One operator starts with one geometry, the next with the next.
        if "device" not in form:
            slow = (i + i // len(NAMED)) % 4
            found.append(pytest.param(form, name, marks=pytest.mark.slow if slow else ()))
        elif NAMED[name].spec.ndim == 1:
            one = (form, name) == ("on a device", "both")
            found.append(pytest.param(form, name, marks=[] if one else pytest.mark.slow))
    return found


every_operator = pytest.mark.parametrize("form", OPERATORS)
every_case = pytest.mark.parametrize(("form", "name"), cases())


class Dense:
    """M A, M y and what is made of them, in the units of an operator."""

    def __init__(self, operator: DesignOperator, geometry: Geometry, x: list, y: list) -> None:
        a = dense.design_matrix(x, geometry.spec).astype(float)
        if isinstance(operator, TransformedOperator):
            a = by_axis(a, geometry, operator.basis)
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
        if operator.targets is not None and operator.targets.confounded.size:
            self._without(confounds(geometry), geometry)

    def _without(self, known: Confounds, geometry: Geometry) -> None:
        """The residuals of lstsq on all columns that are fitted, rows times roots of weights."""
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
def case(form: str, name: str) -> tuple[DesignOperator, Dense, Targets]:
    geometry = NAMED[name]
    x, y = geometry.records()
    operator = OPERATORS[form](geometry, x, y)
    assert operator.targets is not None
    return operator, Dense(operator, geometry, x, y), operator.targets


def in_units(y: np.ndarray, targets: Targets) -> np.ndarray:
    return np.ldexp(y, -targets.grouped(targets.exponents)[:, None])


@every_case
def test_norms_and_means(case: tuple[DesignOperator, Dense, Targets]) -> None:
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
    case: tuple[DesignOperator, Dense, Targets],
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
def test_residual_and_gradient(case: tuple[DesignOperator, Dense, Targets]) -> None:
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
def test_the_gradient_is_the_adjoint_of_the_product(
    case: tuple[DesignOperator, Dense, Targets],
) -> None:
    """⟨M(y − A w), M A v⟩ = ⟨AᵀM(y − A w), v⟩, by the operator's own products alone."""
    operator, _, targets = case
    rng = np.random.default_rng(3)
    w, v = rng.standard_normal((2, operator.groups, operator.columns, targets.outputs))
    here, g = operator.residual(w, targets)
    there, _ = operator.residual(w + v, targets)
    for group in range(operator.groups):
        moved = np.diagonal(operator.product_gram(group, v[group]))
        # ‖r − A v‖² = ‖r‖² − 2⟨Aᵀr, v⟩ + ‖A v‖²
        cross = (here[group] + moved - there[group]) / 2
        scale = (here[group] + moved + there[group]).max()
        expected = (g[group] * v[group]).sum(0)
        np.testing.assert_allclose(cross, expected, rtol=0, atol=1e-13 * scale)


@every_case
def test_forward_and_adjoint(case: tuple[DesignOperator, Dense, Targets]) -> None:
    """Of any rows, in the order of the blocks of rows, as those of y are."""
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
def test_products(case: tuple[DesignOperator, Dense, Targets]) -> None:
    operator, known, _ = case
    w = np.random.default_rng(4).standard_normal((operator.columns, 3))
    for g, a in enumerate(known.a):
        seen = a @ w
        found = operator.product_gram(g, w)
        np.testing.assert_allclose(found, seen.T @ seen, rtol=1e-12, atol=1e-12 * (seen**2).sum())


@every_case
def test_blocks_of_rows(case: tuple[DesignOperator, Dense, Targets]) -> None:
    """In some order of the records, the same for A and y."""
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


@pytest.mark.slow
@every_operator
def test_other_outputs_beside_the_same_x(form: str) -> None:
    """As an operator that was made with them; what x gives is not computed again."""
    geometry = NAMED["ragged"]
    x, y = geometry.records()
    other = [np.cos(np.arange(a.size)).reshape(a.shape) for a in y]
    first, fresh = (OPERATORS[form](geometry, x, each) for each in (y, other))
    first.moments(first.targets)
    kept = some_rows(geometry) if "some" in form else None
    targets = inputs(geometry, x, other, kept)[2]
    if "chunks" in form:
        chunked = getattr(first, "operator", first)
        assert isinstance(chunked, ChunkedOperator)
        targets = chunked.outputs(other)
    if "confounds" in form:
        targets = confounded(geometry, x, other)[2]
    assert fresh.targets is not None
    for one, two in zip(
        (*first.residual(w := np.ones((1, first.columns, 2)), targets), first.moments(targets).rhs),
        (*fresh.residual(w, fresh.targets), fresh.moments(fresh.targets).rhs),
        strict=True,
    ):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)
