"""Certificates and true backward errors: few rows, scales, zero columns and a ridge."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support import dense
from support.true_error import backward_error

EPS = float(np.finfo(float).eps)
SOLVERS = ("svd", "qr", "normal", "auto")


def loud_and_quiet() -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Three rows of six unknowns; what the last tap reads is padding, in both channels."""
    rng = np.random.default_rng(1605)
    x = rng.standard_normal((4, 2)) * [1e5, 1.0]
    return x, rng.standard_normal((3, 1)), {"kernel_size": (3,), "dilation": 2, "padding": [(0, 3)]}


@pytest.mark.parametrize(("solver", "ridge"), [*zip(SOLVERS, (0.0, 1e-6, 0.1, 1e3))])
def test_a_loud_tap_that_reads_only_padding(solver: str, ridge: float) -> None:
    x, y, arguments = loud_and_quiet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        fit = cs.solve(cs.Problem(x, y, **arguments), solver, ridge=ridge)
    a = dense.design_matrix(x[None], cs.ConvSpec(**arguments))[0]
    assert backward_error(a, y, np.asarray(fit.kernel).reshape(6, 1), ridge) <= 4 * EPS
    assert not fit.kernel[2].any()


@pytest.mark.parametrize("unit", [2.0**-300, 2.0**300])
def test_a_silent_channel_changes_nothing(unit: float) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((9, 3)) * [0.0, 1.0, 2.0**30], rng.standard_normal((4, 1))
    kernels = []
    for channels in (x * unit, x, x[:, 1:]):
        with pytest.warns(cs.IdentifiabilityWarning):
            kernels.append(np.asarray(cs.solve(cs.Problem(channels, y, kernel_size=(6,))).kernel))
    np.testing.assert_array_equal(unit * kernels[0], kernels[1])
    assert not kernels[1][:, 0].any()
    np.testing.assert_allclose(kernels[1][:, 1:], kernels[2], rtol=1e-13)
