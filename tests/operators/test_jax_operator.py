"""A, Aᵀ and AᵀA under jax, compared with the design matrix by loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import convsolve as cs
from convsolve.operators import jax_operator
from convsolve.operators.jax_operator import Operator, convolved, gather_rows, padded
from support import dense
from support.geometry import Geometry, over_geometries


@pytest.mark.usefixtures("double")
@over_geometries(2, compiles=True)
def test_products_are_those_of_the_matrix(geometry: Geometry) -> None:
    """Integers, up to the rounding of an FFT; with rows of all groups and products of the first."""
    spec, shapes = geometry.spec, (geometry.x_shape, geometry.w_shape, geometry.y_shape)
    x, w, r = (a.astype(float) for a in geometry.integers(*shapes))
    whole = dense.design_matrix(x, spec)
    a, (w, r) = whole[0], (dense.by_group(v, spec.groups)[0] for v in (w, r))
    some = np.random.default_rng(geometry.seed).integers(0, geometry.rows, 5)  # repeats too
    alone = replace(spec._normal, groups=1)

    @jax.jit
    def parts(x: Any, w: Any, r: Any) -> Any:
        x = padded(x, spec)
        found = Operator(x[..., : geometry.inputs], None, alone, False, None, None)
        r_of_a = found.triangle(jnp.zeros(2 * found.shape[1:]))
        products = found.forward(w), found.adjoint(r), found.gram(), r_of_a.T @ r_of_a
        return gather_rows(x, some, spec), *products

    with pytest.MonkeyPatch.context() as patch:
        force(patch)
        rows, *found = parts(x, w, r)
    np.testing.assert_array_equal(rows, whole[:, some])
    for one, wanted in zip(found, (a @ w, a.T @ r, a.T @ a, a.T @ a), strict=True):
        np.testing.assert_allclose(one, wanted, atol=1e-9)


def force(patch: pytest.MonkeyPatch) -> None:
    """Even short records take FFTs, in several pieces and batches."""
    for name, value in {"LEAST": 8, "FFT_TAPS": 2, "FFT_ROWS": 1, "BATCH_NUMBERS": 200}.items():
        patch.setattr(jax_operator, name, value)


def test_negative_padding_beyond_the_record() -> None:
    x, spec = np.arange(1.0, 4)[None, :, None], cs.ConvSpec(2, padding=((-5, 4),))
    assert padded(x, cs.ConvSpec(2, padding=((-5, 0),))).shape == (1, 0, 1)
    found = convolved(padded(x, spec), np.ones((2, 1, 1), np.float32), spec)
    np.testing.assert_array_equal(found, np.zeros((1, 1, 1)))


def test_contractions_state_their_precision() -> None:
    x, w = np.zeros((1, 5, 1), np.float32), np.zeros((2, 1), np.float32)

    def products(x: Any, w: Any) -> Any:
        found = Operator(x, None, cs.ConvSpec(2), True, None, None)
        return found.adjoint(found.forward(w)), found.gram()

    text = str(jax.make_jaxpr(products)(x, w))
    stated = text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)")
    assert stated == text.count("conv_general_dilated[") + text.count("dot_general[") > 0
