"""identify on random geometries against NumPy's SVD of the brute-force matrix.

CONVSOLVE_GEOMETRIES sets how many; integers of a small range make deficiency common.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support import oracle
from support.rational import rank_and_mask
from support.routes import ROUTES, Reported, reported, spectrum, verdict_of

GEOMETRIES = int(os.environ.get("CONVSOLVE_GEOMETRIES", 360))
PADDINGS = (*oracle.PADDINGS, "explicit")
EACH = -(-GEOMETRIES // (3 * len(PADDINGS)))


@dataclass(frozen=True)
class Geometry:
    """Records of small integers and the arguments of a problem."""

    x: list[np.ndarray]
    options: dict[str, Any]

    def problem(self, x: list[np.ndarray], outputs: int = 1) -> cs.Problem:
        out_channels = outputs * self.options["groups"]
        return cs.Problem(x if len(x) > 1 else x[0], out_channels=out_channels, **self.options)

    def matrices(self) -> np.ndarray:
        rest = {k: v for k, v in self.options.items() if k not in ("kernel_size", "bias")}
        taps = self.options["kernel_size"]
        return np.concatenate([oracle.design_matrix(x[None], taps, **rest) for x in self.x], 1)


def draw(rng: np.random.Generator, ndim: int, padding: str) -> Geometry:
    """One to three records; redrawn until there is a row, in matrices that QR takes quickly."""
    longest, most = {1: (24, 5), 2: (6, 3), 3: (4, 2)}[ndim]
    while True:
        taps, stride = rng.integers(1, most + 1, ndim), rng.integers(1, 4, ndim)
        dilation, groups = rng.integers(1, 4 if ndim == 1 else 3, ndim), int(rng.integers(1, 4))
        pads: Any = padding
        if padding == "explicit":
            pads = tuple(map(tuple, rng.integers(-3, 6, (ndim, 2)).tolist()))
        sizes = rng.integers(1, longest + 1, (rng.integers(1, 4), ndim))
        # With `same` and a stride, records of several lengths are refused.
        if padding == "same" and stride.max() > 1:
            sizes[:] = sizes[0]
        inputs, reach = groups * int(rng.integers(1, 3)), rng.integers(1, 4)
        full = rng.choice([0.3, 0.6, 1.0])
        shapes = [(*size, inputs) for size in sizes]
        x = [rng.integers(-reach, reach + 1, s) * (rng.random(s) < full) * 1.0 for s in shapes]
        options = {
            "kernel_size": tuple(taps.tolist()),
            "stride": tuple(stride.tolist()),
            "dilation": tuple(dilation.tolist()),
            "padding": pads,
            "groups": groups,
        }
        made = Geometry(x, options | {"bias": bool(rng.integers(2))})
        if made.matrices().size:
            return made


def expected(case: Geometry) -> tuple[Reported, bool]:
    """What the formulas say, and whether a singular value is too near an edge to compare."""
    a, bias = case.matrices(), case.options["bias"]
    rows, columns = a.shape[1:]
    spectra = [spectrum(m, bias) for m in a]
    mask = np.stack([s.mask for s in spectra], -1)
    exact = [rank_and_mask(np.hstack([m, np.ones((rows, int(bias)))])) for m in a]
    bands = [s.verdict for s in spectra]
    worst = max(bands, key=["overdetermined", "ambiguous", "rank-deficient"].index)
    says = Reported(
        verdict_of(rows, columns + bias, worst),
        tuple(s.rank for s in spectra),
        mask.ravel().tolist(),
        all(m[columns:].all() for _, m in exact),
    )
    near = any(s.near for s in spectra)
    if not near:
        assert says.ranks == tuple(rank - bias for rank, _ in exact)
        assert np.array_equal(mask, np.stack([m[:columns] for _, m in exact], -1))
    return says, near


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_verdict_rank_and_mask(ndim: int, padding: str) -> None:
    """By every route, and whatever the units, the order of records and the number of outputs."""
    skipped = 0
    for seed in range(EACH):
        rng = np.random.default_rng([ndim, PADDINGS.index(padding), seed])
        case = draw(rng, ndim, padding)
        says, near = expected(case)
        skipped += near
        if near:
            continue
        power, channel = rng.integers(-300, 301), rng.integers(case.x[0].shape[-1])
        one = power * np.eye(case.x[0].shape[-1], dtype=int)[channel]
        variants = {
            "as it is": case.x,
            "scaled": [np.ldexp(x, power) for x in case.x],
            "one channel scaled": [np.ldexp(x, one) for x in case.x],
            "records reversed": case.x[::-1],
            "three outputs": case.x,
        }
        for i, (name, x) in enumerate(variants.items()):
            # A problem keeps what one route has found, so each gets its own.
            for by in ROUTES if i == 0 else [list(ROUTES)[(seed + i) % len(ROUTES)]]:
                problem = case.problem(x, outputs=3 if name == "three outputs" else 1)
                assert reported(problem, by) == says, (seed, name, by, power, case)
    # Few singular values of small integers come near the band.
    assert skipped <= 0.02 * EACH
