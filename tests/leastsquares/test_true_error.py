"""Certificates and true backward errors: few rows, scales, zero columns and a ridge."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.penalty import RIDGE
from support import dense
from support.geometry import geometries
from support.slow import some
from support.true_error import backward_error

EPS = float(np.finfo(float).eps)
SOLVERS = ("svd", "qr", "normal", "auto")


class Uneven(NamedTuple):
    """x, y and the other arguments of a problem, a ridge, and the matrices A (groups, m, P)."""

    x: np.ndarray
    y: np.ndarray
    arguments: dict[str, Any]
    ridge: float
    matrices: np.ndarray


@st.composite
def uneven(draw: st.DrawFn, ndim: int) -> Uneven:
    """Channels of sizes 1e-8 to 1e8, some silent; a ridge among their squares, or none; few rows,
    mostly fewer than unknowns, and padding that some taps see nothing but.
    """
    case = draw(geometries(ndim=ndim, padding=draw(st.sampled_from(["explicit", None]))))
    assume(case.rows < case.unknowns or (case.rows < 12 and case.seed % 4 == 0))
    rng = np.random.default_rng(case.seed)
    sizes = 10.0 ** rng.uniform(-8, 8, case.channels) * (rng.random(case.channels) < 0.9)
    x, y = rng.standard_normal(case.x_shape) * sizes, rng.standard_normal(case.y_shape)
    ridge = (sizes.max() * 10.0 ** rng.uniform(-12, 1)) ** 2 if rng.random() < 0.8 else 0.0
    arguments = {"spec": case.spec, "bias": draw(st.booleans())}
    return Uneven(x, y, arguments, ridge, dense.design_matrix(x, case.spec))


@pytest.mark.parametrize(
    ("ndim", "solver"),
    some([(1, "auto"), (1, "svd"), (2, "qr"), (2, "normal")], (1, "auto")),
)
@given(data=st.data())
def test_a_certificate_is_no_less_than_the_truth(
    ndim: int, solver: str, data: st.DataObject
) -> None:
    x, y, arguments, ridge, matrices = data.draw(uneven(ndim))
    bias = arguments["bias"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        fit = cs.solve(cs.Problem(x, y, **arguments), solver, ridge=ridge)
    assert fit.converged
    shape = (-1, len(matrices), y.shape[-1] // len(matrices))
    outputs, kernels = (v.reshape(shape).transpose(1, 0, 2) for v in (y, fit.kernel))
    for a, b, w in zip(matrices, outputs, kernels):
        true = backward_error(a, b, w, ridge, bias)
        assert true <= 30 * EPS
        # Below a few roundings a certificate is noise itself.
        assert true <= fit.backward_error + 4 * EPS
        # What no row reads stays zero; singular vectors leave a rounding of a rounding there.
        assert solver == "svd" or not w[~a.any(0)].any()


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


def test_the_certificate_of_a_kernel_that_is_wrong_at_a_tap_of_padding() -> None:
    x, y, arguments = loud_and_quiet()
    a = dense.design_matrix(x[None], cs.ConvSpec(**arguments))[0]
    problem = cs.Problem(x, y, **arguments)
    wrong = np.array(cs.solve(problem, "svd", ridge=0.1).kernel)
    wrong[2, 0] += 1e-9
    regression = analyse(problem).regression(RIDGE, 0.1)
    certificate = regression.certify(regression.from_user(wrong))
    assert certificate.value >= backward_error(a, y, wrong.reshape(6, 1), 0.1) > 1e5 * EPS


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**900])
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
