"""identify on random geometries against NumPy's SVD of the brute-force matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from support import dense
from support.dense import rank_and_mask
from support.geometry import PADDINGS, Geometry, random_geometry
from support.routes import (
    ROUTES,
    Reported,
    reported,
    spectrum,
    verdict_of,
)
from support.slow import few_seeds

EACH = 20  # of each dimension and padding


def sparse_records(geometry: Geometry, rng: np.random.Generator) -> list[np.ndarray]:
    """Small integers, many of them zero, with a special last channel in two of three draws."""
    reach, full = rng.integers(1, 4), rng.choice([0.3, 0.6, 1.0])
    shapes = [(*shape, geometry.channels) for shape in geometry.shapes]
    x = [rng.integers(-reach, reach + 1, s) * (rng.random(s) < full) * 1.0 for s in shapes]
    kind = rng.integers(9)
    for a in x:
        time = np.indices(a.shape[:-1]).sum(0)
        specials = (
            5.0,  # a constant
            0.0,
            time - 3.0,
            (-1.0) ** time,
            np.array([0.0, 1.0, 0.0, -1.0])[time % 4],
            time == time.max(),  # an impulse at the last sample
            3 * np.roll(a[..., 0], 1, axis=0),
            5 - a[..., 0],
        )
        if kind < len(specials) and rng.random() < 0.8:
            a[..., -1] = specials[kind]
    return x


def expected(x: list[np.ndarray], geometry: Geometry) -> tuple[Reported, bool]:
    """What the formulas say, and whether a singular value is too near an edge to compare."""
    a, bias = dense.design_matrix(x, geometry.spec), geometry.bias
    rows, columns = a.shape[1:]
    spectra = [spectrum(m, bias) for m in a]
    mask = np.stack([s.mask for s in spectra], -1)
    exact = [rank_and_mask(np.hstack([m, np.ones((rows, int(bias)))])) for m in a]
    bands = [s.verdict for s in spectra]
    worst = max(bands, key=["overdetermined", "ambiguous", "rank-deficient"].index)
    says = Reported(
        verdict_of(rows, columns + bias, worst),
        tuple(s.rank + bias for s in spectra),
        mask.ravel().tolist(),
        all(m[columns:].all() for _, m in exact),
    )
    near = any(s.near for s in spectra)
    if not near:
        assert says.ranks == tuple(rank for rank, _ in exact)
        assert np.array_equal(mask, np.stack([m[:columns] for _, m in exact], -1))
    return says, near


@few_seeds(2, EACH)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_verdict_rank_and_mask(ndim: int, padding: str, seeds: range) -> None:
    """By every route, and whatever the units, the order of records and the number of outputs."""
    skipped = 0
    for seed in seeds:
        rng = np.random.default_rng([ndim, PADDINGS.index(padding), seed])
        geometry = random_geometry(rng, ndim, padding, ragged=True)
        plain = sparse_records(geometry, rng)
        says, near = expected(plain, geometry)
        skipped += near
        if near:
            continue
        power, channel = rng.integers(-300, 301), rng.integers(geometry.channels)
        one = power * np.eye(geometry.channels, dtype=int)[channel]
        variants = {
            "as it is": plain,
            "scaled": [np.ldexp(x, power) for x in plain],
            "one channel scaled": [np.ldexp(x, one) for x in plain],
            "records reversed": plain[::-1],
            "three outputs": plain,
        }
        for i, (name, x) in enumerate(variants.items()):
            outputs = geometry.spec.groups * (3 if name == "three outputs" else 1)
            # A problem keeps what one route has found, so each gets its own.
            for by in ROUTES if i == 0 else [list(ROUTES)[(seed + i) % len(ROUTES)]]:
                problem = replace(geometry, outputs=outputs).problem(x, bias=geometry.bias)
                assert reported(problem, by) == says, (seed, name, by, power, geometry)
    # Few singular values of small integers come near the band.
    assert skipped <= 0.02 * EACH
