"""Sums of shifted samples of many groups, compared with extended precision."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import Analysis
from convsolve.operators import by_rows, by_sums, chunk_sums
from convsolve.operators.chunk import LoadedChunk

GROUPS, EPS = 130, float(np.finfo(float).eps)


def loaded(problem: cs.Problem) -> LoadedChunk:
    matrix = Analysis.of(problem).design.matrix
    return matrix.chunks.loaded(matrix.targets)


def made(taps: int, samples: int, padding: str = "valid") -> cs.Problem:
    """Groups of noise in different units, of zeros, and with samples of 1e6 at either end."""
    rng = np.random.default_rng(taps)
    x = rng.standard_normal((samples, GROUPS)) * np.geomspace(1e-100, 1e100, GROUPS)
    x[:, 0] = 0.0
    x[0, 1::7] *= 1e6
    x[-1, 2::7] *= 1e6
    spec = cs.ConvSpec(taps, padding=padding, groups=GROUPS)
    return cs.Problem(x, rng.standard_normal((*spec.output_shape((samples,)), GROUPS)), spec=spec)


@pytest.mark.parametrize(
    ("taps", "samples", "padding"),
    [(1, 40, "valid"), (2, 3, "valid"), (5, 9, "valid"), (8, 64, "valid"), (6, 30, "full")],
)
def test_sums_are_those_of_the_matrix(
    taps: int, samples: int, padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sum is exact relative to the sum of its absolute terms."""
    chunk = loaded(made(taps, samples, padding))
    assert chunk_sums.backend(chunk) is by_sums
    # The last lot of groups is smaller than the others.
    monkeypatch.setattr(by_sums, "AT_ONCE", 50)
    ((a, y),) = (
        (a.astype(np.longdouble), y)
        for a, y in by_rows.rows(chunk, chunk.units(np.zeros((GROUPS, taps))))
    )
    rng = np.random.default_rng(0)
    w, offset = rng.standard_normal((GROUPS, taps, 1)), rng.standard_normal((GROUPS, 1))
    r = y - a @ w - offset[:, None]
    size = np.abs(y) + np.abs(a) @ np.abs(w) + np.abs(offset)[:, None]
    m, s = by_sums.moments(chunk), by_sums.misfit(chunk, w, offset)
    at, absolute = a.swapaxes(1, 2), np.abs(a.swapaxes(1, 2))
    for found, wanted, terms in (
        (m.gram, at @ a, absolute @ np.abs(a)),
        (m.rhs, at @ y, absolute @ np.abs(y)),
        (m.sums, a.sum(1), np.abs(a).sum(1)),
        (m.out_sums, y.sum(1), np.abs(y).sum(1)),
        (m.out_squares, (y**2).sum(1), (y**2).sum(1)),
        (s.squares, (r**2).sum(1), (size**2).sum(1)),
        (s.gradient, at @ r, absolute @ size),
        (s.sums, r.sum(1), size.sum(1)),
    ):
        assert (np.abs(found - wanted) <= 2 * (chunk.rows + taps) * EPS * terms).all()
    assert m.n == chunk.rows


def test_other_problems_are_summed_by_rows() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, GROUPS)), rng.standard_normal((26, GROUPS))
    plain = {"kernel_size": (5,), "groups": GROUPS}
    mask = np.arange(26)[:, None] % 9 > 0
    problems = {
        "bias": cs.Problem(x, y, **plain, bias=True),
        "mask": cs.Problem(x, y, **plain, mask=mask[:, 0]),
        "few groups": cs.Problem(x[:, :9], y[:, :9], kernel_size=(5,), groups=9),
        "two records": cs.Problem([x, x], [y, y], **plain),
        "stride": cs.Problem(x, y[:13], **plain, stride=2),
    }
    for name, problem in problems.items():
        assert chunk_sums.backend(loaded(problem).decided(True)) is by_rows, name
