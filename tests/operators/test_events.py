"""Sums by events, compared with explicit rows and with FFTs, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import Analysis
from convsolve.operators import by_events, by_fft, by_rows, chunk_sums
from convsolve.operators.chunk import LoadedChunk
from convsolve.problem.sizes import Tuning

EPS = float(np.finfo(float).eps)
SIGNALS = Tuning(small_numbers=0, row_numbers=0, event_elements=2.0)
ZEROS = {"edges": "zeros"}

# The lengths of records, channels and outputs, and the arguments of a problem.
CASES: dict[str, tuple[tuple[int, ...], int, int, dict[str, Any]]] = {
    "past": ((400,), 3, 2, {"lags": (0, 9)}),
    "future": ((400,), 3, 2, {"lags": (-12, -3)}),
    "both, bias": ((400,), 2, 2, {"lags": (-5, 6), "bias": True}),
    "zeros at the edges": ((300,), 3, 1, {"lags": (-5, 6), **ZEROS}),
    "circular": ((300,), 2, 2, {"lags": (0, 7), "edges": "circular", "bias": True}),
    "records": ((90, 90, 90, 40, 12), 2, 2, {"lags": (-4, 4), **ZEROS, "bias": True}),
    "records shorter than the kernel": ((14,) * 30, 2, 2, {"lags": (-20, 20), **ZEROS}),
    "full": ((200,), 2, 3, {"kernel_size": 9, "padding": "full", "bias": True}),
    "cropped": ((200,), 2, 1, {"kernel_size": 5, "padding": ((-3, 4),)}),
    "dilation": ((200, 170), 2, 2, {"kernel_size": 6, "dilation": 3, "padding": "causal"}),
    "stride": ((300,), 2, 2, {"kernel_size": 7, "stride": 3, "bias": True}),
    "stride and dilation": ((400,), 2, 2, {"kernel_size": 5, "stride": 3, "dilation": 2}),
    "groups": ((200, 150), 6, 3, {"kernel_size": 5, "groups": 3, "bias": True}),
    "many rows": ((30_000,), 2, 64, {"lags": (-3, 4), **ZEROS, "bias": True}),
    "many outputs": ((500,), 2, 4000, {"lags": (0, 4), "bias": True}),
    "few rows of many records": ((70,) * 40, 2, 800, {"lags": (0, 29), **ZEROS}),
}
# Adjustments by the names of cases, all of them for a few.
MASKS = {"mask 2 %": 0.02, "mask 60 %": 0.6}
ADJUSTED = {
    "mask 2 %": ("both, bias", "records", "stride and dilation", "groups", "circular"),
    "mask 60 %": ("past", "records", "dilation"),
    "weights": ("both, bias", "zeros at the edges", "records", "dilation"),
    "weights and mask": ("past", "records", "stride"),
    "weights per record": ("records", "groups"),
    "motion": ("both, bias", "records"),
    "float32": ("both, bias", "zeros at the edges", "stride"),
}
TABLE = [
    *((name, "") for name in CASES),
    *((name, adjustment) for adjustment, names in ADJUSTED.items() for name in names),
]


def sparse(rng: np.random.Generator, shape: tuple[int, ...], share: float = 0.06) -> np.ndarray:
    """Few samples other than zero, some in one channel and some in all of them."""
    x = np.zeros(shape)
    at = rng.choice(len(x), max(1, int(share * len(x))), replace=False)
    x[at] = rng.standard_normal((len(at), shape[1])) * (rng.random((len(at), shape[1])) < 0.7)
    return x


def made(name: str, adjustment: str = "") -> cs.Problem:
    rng = np.random.default_rng(sum(map(ord, name + adjustment)))
    lengths, channels, outputs, given = CASES[name]
    dtype = np.float32 if adjustment == "float32" else float
    x = [sparse(rng, (n, channels)).astype(dtype) for n in lengths]
    plain = cs.Problem(x, n_outputs=outputs, **given)
    y = [rng.standard_normal((n, outputs)) + 3.0 for n in rows_of(plain, lengths, given)]
    more: dict[str, Any] = {}
    if "mask" in adjustment:
        share = MASKS.get(adjustment, 0.1)
        more["mask"] = [rng.random(len(b)) >= share for b in y]
    if adjustment == "weights per record":
        more["weights"] = [*rng.uniform(0.2, 3, len(y))]
    elif "weights" in adjustment:
        more["weights"] = [rng.uniform(0.2, 3, len(b)) for b in y]
    if adjustment == "motion":
        more["confounds"] = [rng.standard_normal((len(b), 2)) for b in y]
    return cs.Problem(x, [b.astype(dtype) for b in y], **given, **more)


def rows_of(problem: cs.Problem, lengths: tuple[int, ...], given: dict[str, Any]) -> list[int]:
    """The rows of y of every record."""
    if "lags" in given:
        return [*lengths]
    return [problem.spec.output_shape((n,))[0] for n in lengths]


def loaded(problem: cs.Problem, limits: Tuning = SIGNALS) -> LoadedChunk:
    """Return the rows in memory of a problem."""
    matrix = Analysis.of(problem, limits).design.matrix
    assert matrix.targets is not None
    return matrix.chunks.loaded(matrix.targets)


class Dense:
    """Rows of A and Y from explicit windows, in extended precision."""

    def __init__(self, chunk: LoadedChunk) -> None:
        blocks = [*by_rows.rows(chunk, by_events.own_units(chunk))]
        self.a = np.concatenate([a for a, _ in blocks], axis=1).astype(np.longdouble)
        y = [y for _, y in blocks if y is not None]
        self.y = np.concatenate(y, axis=1).astype(np.longdouble)
        self.n = self.a.shape[1]
        self.sizes = np.linalg.norm(self.a.astype(float), axis=1)


def close(found: np.ndarray, wanted: np.ndarray, size: np.ndarray | float) -> None:
    """Check that errors are below some rounding errors of a size; zero where the size is zero."""
    assert found.shape == wanted.shape
    assert (np.abs(found - wanted) <= 20 * EPS * size).all()


@pytest.mark.parametrize(("name", "adjustment"), TABLE)
def test_sums_are_those_of_rows(name: str, adjustment: str) -> None:
    chunk = loaded(made(name, adjustment))
    assert chunk_sums.backend(chunk) is by_events
    rows, root = Dense(chunk), chunk.rows**0.5
    a, y, sizes = rows.a, rows.y, rows.sizes
    m, of_y = chunk_sums.totals(chunk, chunk.form, False), np.linalg.norm(y.astype(float), axis=1)
    assert m.by_rows == (False,)
    close(m.gram, a.swapaxes(1, 2) @ a, sizes[:, :, None] * sizes[:, None])
    close(m.rhs, a.swapaxes(1, 2) @ y, sizes[:, :, None] * of_y[:, None])
    close(m.sums, a.sum(1), root * sizes)
    close(m.out_sums, y.sum(1), root * of_y)
    close(m.out_squares, np.square(y).sum(1), np.square(of_y))
    alone = chunk_sums.totals(chunk, chunk.form, True)
    close(alone.sums.reshape(sizes.shape), a.sum(1), root * sizes)
    close(alone.gram.reshape(sizes.shape), np.square(a).sum(1), np.square(sizes))


@pytest.mark.parametrize(("name", "adjustment"), TABLE)
def test_products_are_those_of_rows(name: str, adjustment: str) -> None:
    chunk = loaded(made(name, adjustment))
    assert chunk_sums.backend(chunk) is by_events
    rng, rows, units = np.random.default_rng(0), Dense(chunk), by_events.own_units(chunk)
    w = rng.standard_normal((chunk.groups, chunk.columns, chunk.outputs))
    offset = rng.standard_normal((chunk.groups, chunk.outputs)) * chunk.form.constant
    left = rows.y - rows.a @ w - offset[:, None]
    terms = np.abs(rows.y) + np.abs(rows.a) @ np.abs(w) + np.abs(offset[:, None])
    terms = np.linalg.norm(terms.astype(float), axis=1)
    found = chunk_sums.misfit(chunk, chunk.form, units, w, offset)
    close(found.squares, np.square(left).sum(1), np.square(terms))
    close(found.sums, left.sum(1), terms * chunk.rows**0.5)
    close(found.gradient, rows.a.swapaxes(1, 2) @ left, rows.sizes[..., None] * terms[:, None])
    for g, a in enumerate(rows.a):
        few, r = w[g, :, :3], rng.standard_normal((chunk.rows, 3))
        seen = a @ few
        close(chunk_sums.product(chunk, units, g, few, None), seen, np.abs(a) @ np.abs(few))
        found = chunk_sums.adjoint(chunk, units, g, r)
        close(found, a.T @ r, rows.sizes[g][:, None] * chunk.rows**0.5)


# --- the choice


def scaled_down(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Some elements are so small that their squares underflow."""
    return np.where(rng.random(x.shape) < 0.1, 1e-120 * x, x)


def spread_over(channels: int, share: float) -> Callable[..., np.ndarray]:
    """Every event is in one of the channels."""

    def change(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        found = np.zeros((len(x), channels))
        at = np.flatnonzero(rng.random(len(x)) < share)
        found[at, rng.integers(channels, size=len(at))] = 1.0
        return found

    return change


# x from events, the arguments of a problem, and whether x is summed by its events.
CHOICES: dict[str, tuple[Callable[..., np.ndarray], dict[str, Any], bool]] = {
    "events": (lambda rng, x: x, {}, True),
    "integers": (lambda rng, x: np.round(9 * x).astype(np.int16), {}, True),
    "zeros alone": (lambda rng, x: 0 * x, {}, True),
    "a drift": (lambda rng, x: x, {"drift": 2}, True),
    "a bias and weights": (lambda rng, x: x, {"bias": True, "weights": np.arange(1, 4001)}, True),
    "noise": (lambda rng, x: rng.standard_normal(x.shape), {}, False),
    "noise after zeros": (lambda rng, x: np.repeat([0, 1], 2000)[:, None] * (x + 1), {}, False),
    "an offset": (lambda rng, x: x + 1, {"bias": True}, False),
    "many channels": (spread_over(30, 0.2), {}, True),
    "many channels and events": (spread_over(30, 0.3), {}, False),
    "many events": (lambda rng, x: x + sparse(rng, x.shape, 0.2), {}, False),
    "squares that underflow": (scaled_down, {}, False),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_choice(name: str) -> None:
    change, given, by_them = CHOICES[name]
    rng = np.random.default_rng(0)
    x, y = change(rng, sparse(rng, (4000, 2))), rng.standard_normal((4000, 2))
    chunk = loaded(cs.Problem(x, y, lags=(0, 7), **given), Tuning())
    assert chunk_sums.backend(chunk) is (by_events if by_them else by_fft)


def test_images_and_single_taps_are_not_summed_by_events() -> None:
    rng = np.random.default_rng(0)
    image = cs.Problem(sparse(rng, (3600, 2)).reshape(60, 60, 2), n_outputs=1, kernel_size=(2, 3))
    single = cs.Problem(sparse(rng, (4000, 2)), n_outputs=1, kernel_size=1)
    for problem, backend in ((image, by_fft), (single, by_rows)):
        (chunk,) = Analysis.of(problem, SIGNALS).design.matrix.sample()
        assert chunk_sums.backend(chunk) is backend


def test_columns_that_are_nearly_constant_are_summed_by_rows() -> None:
    """All rows that are used have an event at the same tap."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((4000, 1)), rng.standard_normal((4000, 1))
    x[::20] = 1 + 1e-7 * rng.standard_normal((200, 1))
    mask = (np.arange(4000) % 20 == 0) | (rng.random(4000) < 1e-3)
    problem = cs.Problem(x, y, lags=(0, 2), edges="zeros", bias=True, mask=mask)
    matrix = Analysis.of(problem, SIGNALS).design.matrix
    assert matrix.moments(matrix.targets).by_rows == (True,)
    a = np.stack([np.roll(x[:, 0], lag) for lag in range(3)], axis=1)[mask]
    norms = np.linalg.norm(a - a.mean(0), axis=0)
    found = np.ldexp(matrix.column_norms[0], matrix.exponents[0])[::-1]
    np.testing.assert_allclose(found, norms, rtol=1e-7)
