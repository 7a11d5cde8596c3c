"""Every exact solver on random geometries, with and without a bias, against NumPy's lstsq."""

from __future__ import annotations

import warnings

import numpy as np

import convsolve as cs
from support import dense
from support.cases import CLOSED, TABLE
from support.geometry import Geometry, over_geometries


@over_geometries(6)
def test_the_answer_is_that_of_lstsq(geometry: Geometry) -> None:
    """The minimum norm where A is deficient."""
    spec, bias = geometry.spec, geometry.bias
    x, y = (a.astype(float) for a in geometry.integers(geometry.x_shape, geometry.y_shape))
    problem = geometry.problem(x, y, bias=bias)
    a, b = dense.design_matrix(x, spec), dense.by_group(y, spec.groups)
    w, intercept = dense.least_squares(a, b, bias=bias)
    centred = dense.centred(a) if bias else a
    rank = min(np.linalg.matrix_rank(centred, rtol=1e-12))
    assert cs.identify(problem).rank == rank + bias
    for name in CLOSED:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
            fit = cs.solve(problem, TABLE[name].solver)
        kernel = dense.as_kernel(w, spec.kernel_size)
        np.testing.assert_allclose(fit.kernel, kernel, rtol=1e-9, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(fit.bias, intercept, rtol=1e-9, atol=1e-9, err_msg=name)
        assert fit.ok, name
