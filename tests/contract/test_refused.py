"""Combinations that are refused, and why: a clear error of the package, raised before any work."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import convsolve as cs
from contract.cases import Case, statement
from contract.checks import is_documented
from contract.routes import problem
from contract.statement import Statement
from convsolve.leastsquares.penalty import Bands
from convsolve.method import Method
from support.stored import DASK, SMALL

Action = Callable[[Statement], Any]


def by(**method: Any) -> Action:
    """Solve by a method."""
    return lambda made: cs.solve(problem(made), **method)


def of_fit(query: Callable[[cs.Solution], Any], **method: Any) -> Action:
    """Solve, and evaluate a property of the solution."""
    return lambda made: query(cs.solve(problem(made), **method))


def fourth_power(prediction: Any, target: Any) -> Any:
    """A loss as a callable."""
    return (prediction - target) ** 4


LABELS = (0, 1, 1)
PLAIN, RAGGED = Case("one record", "drop"), Case("ragged", "drop")
MASKED = Case("one record", "zeros", ("mask 1 %",))
WEIGHTED = Case("one record", "drop", ("weights per row",))
DETRENDED = Case("ragged", "drop", ("drift 1",))
WIDE = Case("wide", "drop")


class Refusal(NamedTuple):
    """A case, an action, the type of the error, a part of its message, and the reason."""

    case: Case
    action: Action
    error: type[Exception]
    message: str
    reason: str


REFUSED = (
    Refusal(Case("ragged", "drop", ("bias", "intercept")), problem, ValueError, "bias=True",
            "The intercepts of all records span the constant of a bias."),
    Refusal(Case("ragged", "zeros", ("bias", "motion and ones")), problem, ValueError, "bias=True",
            "A column of ones per record spans the constant of a bias."),
    Refusal(PLAIN, by(penalty=cs.Lasso(1.0, channel_groups=(0, 1))), ValueError, "labels",
            "Two labels do not fit three channels."),
    Refusal(PLAIN, by(penalty=cs.Tikhonov(1.0, matrix=np.eye(5))), ValueError, "columns",
            "A matrix of five columns does not fit eight taps."),
    Refusal(PLAIN, by(penalty=cs.Ridge([1.0, [1.0, 2.0, 3.0]], channel_groups=LABELS)), ValueError,
            "3 strengths for 2 outputs", "There are two outputs."),
    Refusal(PLAIN, by(penalty="lasso", select="gcv"), ValueError, "lasso has no",
            "A lasso is not linear in y."),
    Refusal(PLAIN, by(penalty=cs.Lasso(channel_groups="channels"), select="bic"), ValueError,
            "use select='cv'", "The degrees of freedom of groups are not a number of taps."),
    Refusal(PLAIN, by(solver="qr", penalty="lasso"), cs.SolveError, "leave out solver=",
            "A lasso is not a quadratic penalty."),
    Refusal(PLAIN, by(solver="adam", penalty=cs.Lasso(1.0)), cs.SolveError, "leave out solver=",
            "A lasso is not a quadratic penalty."),
    *(
        Refusal(PLAIN, by(loss=loss, **penalty), cs.SolveError, "penalty needs squared loss",
                "Penalties are added to sums of squares.")
        for loss in ("huber", "absolute")
        for penalty in ({"ridge": 1.0}, {"penalty": "smooth"}, {"penalty": "lasso"})
    ),
    Refusal(PLAIN, by(solver=cs.GradientDescent(via="moments"), ridge=1.0, loss="absolute"),
            cs.SolveError, "penalty needs squared loss", "Penalties are added to sums of squares."),
    *(
        Refusal(PLAIN, by(solver=solver, loss=loss), cs.SolveError, "supports squared loss only",
                "Only gradient descent and exact methods minimize other losses.")
        for solver in ("qr", "svd", "normal", "cg", "fft")
        for loss in ("huber", "absolute")
    ),
    Refusal(PLAIN, by(solver="qr", loss=fourth_power), cs.SolveError, "supports squared loss only",
            "Only gradient descent minimizes a callable."),
    Refusal(PLAIN, by(loss=fourth_power), cs.SolveError, "use solver='adam'",
            "Only gradient descent minimizes a callable."),
    Refusal(PLAIN, by(solver="adam", loss="huber"), cs.SolveError, "scale",
            "The scale of the noise changes in the course of the descent."),
    Refusal(PLAIN, by(solver=cs.GradientDescent(via="moments"), loss="absolute"), cs.SolveError,
            "via='convolution'", "Moments determine squares only."),
    Refusal(PLAIN, by(solver="adam", ridge=1.0), cs.SolveError, "via='moments'",
            "Steps through the convolution know no penalty."),
    Refusal(WIDE, by(solver="cg"), cs.SolveError, "ridge",
            "Conjugate gradients do not converge to the solution of minimum norm."),
    Refusal(Case("one record", "stride 3, dilation 2"), by(solver="fft"), cs.SolveError,
            "stride", "A stride aliases the spectrum of y."),
    Refusal(Case("one record", "circular"), by(solver="fft", penalty=cs.Smooth(1.0)), cs.SolveError,
            "not a ridge on every bin", "Only a ridge is a ridge on every bin."),
    *(
        Refusal(case, by(solver="fft"), cs.SolveError, "FFTDeconvolution cannot solve",
                "A spectrum needs all rows, of equal weight and without nuisance columns.")
        for case in (MASKED, WEIGHTED, DETRENDED, Case("one record", "circular", ("bias",)),
                     Case("ragged", "circular"))
    ),
    Refusal(WIDE, by(loss="huber"), cs.SolveError, "scale",
            "No residuals are left from which the scale could be estimated."),
    *(
        Refusal(RAGGED, by(noise=noise, **penalty), ValueError, "without a penalty",
                "Errors of a penalized estimate are posterior errors for white noise.")
        for noise in ("hac", "cluster", cs.HACNoise(bandwidth=3))
        for penalty in ({"solver": "normal", "ridge": 1.0}, {"penalty": "tc"}, {"penalty": "lasso"})
    ),
    *(
        Refusal(RAGGED, by(noise=noise, loss=loss), ValueError, "least squares",
                "Noise and covariance are estimated at least squares.")
        for noise in ("hac", "cluster", "ar", "ar3")
        for loss in ("absolute", "huber")
    ),
    Refusal(WEIGHTED, by(noise="ar"), ValueError, "noise",
            "No filter makes noise white whose variance changes from row to row."),
    *(
        Refusal(Case("images", "image"), by(noise=noise), ValueError, "noise",
                "The correlation of noise is modelled along one axis.")
        for noise in ("hac", "ar")
    ),
    Refusal(PLAIN, by(noise="cluster"), ValueError, "records",
            "One record is one cluster, from which no covariance can be estimated."),
)  # fmt: skip

# Properties of a solution, which are refused after it is computed.
OF_FIT = (
    Refusal(WIDE, of_fit(lambda fit: fit.standard_error), ValueError, "degrees of freedom",
            "No residuals are left from which the noise could be estimated."),
    Refusal(PLAIN, of_fit(lambda fit: fit.test(0), ridge=1.0), ValueError, "penal",
            "A penalized estimate is biased, so that F has no F distribution."),
    Refusal(RAGGED, of_fit(lambda fit: fit.jackknife(), ridge=1.0), ValueError, "penalty",
            "The jackknife repeats the fit of least squares."),
    Refusal(PLAIN, of_fit(lambda fit: fit.jackknife()), ValueError, "record",
            "Records are left out in turn, and there is one."),
)  # fmt: skip


def check(row: Refusal) -> None:
    """The action is refused with the documented error."""
    with pytest.raises(row.error, match=row.message) as caught:
        row.action(statement(row.case))
    assert is_documented(caught.value)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row.case}: {row.message}")
def test_refused_before_any_computation(row: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Method, "run", None)
    check(row)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("row", OF_FIT, ids=lambda row: f"{row.case}: {row.message}")
def test_properties_of_solutions_that_do_not_exist(row: Refusal) -> None:
    check(row)


OPEN = {
    "length": cs.SquaredExponential(),
    "length, strength given": cs.SquaredExponential(10.0),
    "decay, strengths given": cs.StableSpline([1.0, 5.0]),
    "strengths of groups": cs.Ridge(channel_groups=LABELS),
    "strength": cs.Smooth(order=2),
}


@pytest.mark.parametrize(
    ("penalty", "solver"),
    [*zip(OPEN.values(), ("normal", "qr", "cg", "qr", "normal"))],
    ids=[*OPEN],
)
def test_a_selected_penalty_is_solved_by_any_solver(penalty: cs.Penalty, solver: str) -> None:
    """The choice does not depend on the solver, which solves for the chosen penalty."""
    given = problem(statement(PLAIN))
    wanted, found = cs.solve(given, penalty=penalty), cs.solve(given, solver, penalty=penalty)
    assert found.status == "solved"
    assert found.stats["solver"] == type(Method.of(solver).solver).__name__
    assert str(found.regularization) == str(wanted.regularization)
    scale = np.abs(wanted.kernel).max()
    np.testing.assert_allclose(found.kernel, wanted.kernel, rtol=0, atol=1e-11 * scale)


# Solvers that need more than sums over chunks, for dask arrays larger than the limit.
NOT_BY_CHUNKS = (
    (cs.FFTDeconvolution(), "not in memory", "A spectrum is that of a whole record."),
    (cs.GradientDescent(steps=1), "not in memory", "Every step reads x and y."),
)

# Methods that read the rows of the design matrix chunk by chunk.
BY_ROWS: dict[str, dict[str, Any]] = {
    "qr": {"solver": "qr"},
    "svd": {"solver": "svd"},
    "huber": {"loss": "huber"},
    "absolute": {"loss": "absolute"},
    "cg": {"solver": "cg", "ridge": 1e-3},
}
FACTORS = ("qr", "svd")


@pytest.mark.parametrize(("solver", "message", "reason"), NOT_BY_CHUNKS)
def test_refused_for_chunks_of_dask(solver: cs.Solver, message: str, reason: str) -> None:
    assert reason
    made = statement(PLAIN)
    x, y = (DASK["dask, small chunks"](v[0], Path()) for v in (made.x, made.y))
    found = cs.Problem(x, y, lags=[(0, 7)])
    with pytest.raises(cs.SolveError, match=message):
        cs.solve(found, solver, limits=SMALL)


@pytest.mark.parametrize(
    ("name", "twin"),
    [(name, twin) for name in BY_ROWS for twin in (False, True) if name in FACTORS or not twin],
)
def test_rows_of_dask_arrays_are_those_of_arrays(name: str, twin: bool) -> None:
    """Two equal channels have a solution of minimum norm."""
    made = statement(PLAIN)
    x, y = made.x[0], made.y[0]
    if twin:
        x = np.column_stack([x, x])
    arrays = (DASK["dask, small chunks"](v, Path()) for v in (x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        lags, method = [(0, 7)], BY_ROWS[name]
        found = cs.solve(cs.Problem(*arrays, lags=lags), **method, limits=SMALL)
        wanted = cs.solve(cs.Problem(x, y, lags=lags), **method)
    assert found.status == "solved"
    # Robust fits stop at a relative gap of 1e-8 of the loss, which grows slowly about the minimum.
    share = 1e-11 if name in FACTORS else 1e-6
    np.testing.assert_allclose(
        found.kernel, wanted.kernel, rtol=0, atol=share * np.abs(wanted.kernel).max()
    )


def test_gaps_need_an_instruction() -> None:
    """NaN in x or y is an error unless missing="drop", or a mask excludes the rows."""
    made = replace(statement(Case("ragged", "zeros", ("gaps in x",))), missing="raise")
    with pytest.raises(ValueError, match="NaN"):
        problem(made)
    masked = replace(made, mask=[np.ones(y.shape[:-1], bool) for y in made.y])
    with pytest.raises(ValueError, match="NaN"):
        problem(masked)


def test_same_padding_with_a_stride_needs_records_of_one_length() -> None:
    """The position of the first tap depends on the length of the record."""
    x = [np.zeros((n, 1)) for n in (20, 21)]
    with pytest.raises(ValueError, match="padding='same'"):
        cs.Problem(x, kernel_size=(3,), stride=2, padding="same")


CHOOSING = {
    "ridge": cs.Ridge(),
    "banded": cs.Ridge(channel_groups=LABELS),
    "banded, one strength": Bands(None, LABELS, (1.0, 3.0)),
    "differences": cs.Smooth(),
    "lasso": cs.Lasso(0.1, channel_groups=LABELS),
}


@pytest.mark.parametrize("penalty", CHOOSING.values(), ids=CHOOSING)
def test_outputs_with_masks_of_their_own_are_solved_separately(penalty: cs.Penalty) -> None:
    made = statement(Case("ragged", "drop", ("bias", "mask per output")))
    fit = cs.solve(problem(made), penalty=penalty)
    for o in range(made.outputs):
        y, mask = ([a[..., [o]] for a in of] for of in (made.y, made.mask or []))
        single = cs.solve(problem(replace(made, y=y, mask=mask)), penalty=penalty)
        expected = single.kernel[..., 0]
        np.testing.assert_allclose(fit.kernel[..., o], expected, rtol=1e-6, atol=1e-9)
