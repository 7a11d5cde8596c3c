"""Every exact solver on random geometries, with and without a bias, against NumPy's lstsq."""

from __future__ import annotations

import warnings

import numpy as np

import convsolve as cs
from support import oracle
from support.cases import CLOSED, TABLE


@oracle.over_geometries(6)
def test_the_answer_is_that_of_lstsq(case: oracle.Case) -> None:
    """The minimum norm where A is deficient: the bias is free, so A and y are centred."""
    bias = bool(case.seed % 2)
    x, y = (a.astype(float) for a in case.integers(case.x_shape, case.y_shape))
    spec = cs.ConvSpec(case.taps, case.stride, case.padding, case.dilation, case.groups)
    problem = cs.Problem(x, y, spec=spec, bias=bias)
    a = oracle.design_matrix(x, case.taps, *case.args)
    b = y.reshape(-1, case.groups, case.outputs).transpose(1, 0, 2)
    a_mean, b_mean = a.mean(1, keepdims=True) * bias, b.mean(1, keepdims=True) * bias
    truth = [np.linalg.lstsq(*pair, rcond=1e-12) for pair in zip(a - a_mean, b - b_mean)]
    w = np.stack([t[0] for t in truth])
    kernel = w.transpose(1, 0, 2).reshape(case.w_shape)
    intercept = (b_mean - a_mean @ w).reshape(-1)
    rank = min(t[2] for t in truth)
    assert cs.identify(problem).rank == rank
    for name in CLOSED:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
            fit = cs.solve(problem, TABLE[name].solver)
        np.testing.assert_allclose(fit.kernel, kernel, rtol=1e-9, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(fit.bias, intercept, rtol=1e-9, atol=1e-9, err_msg=name)
        assert fit.ok, name
