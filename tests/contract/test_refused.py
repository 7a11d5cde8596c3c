"""Combinations that are refused, and why: a clear error of the package, raised before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import convsolve as cs
from contract.cases import Case, statement
from contract.checks import is_documented
from contract.routes import problem
from contract.statement import Statement
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
    """A case, an action, the type of the error, and a part of its message."""

    case: Case
    action: Action
    error: type[Exception]
    message: str


REFUSED = (
    # The intercepts of all records span the constant of a bias.
    Refusal(Case("ragged", "drop", ("bias", "intercept")), problem, ValueError, "bias=True"),
    # A column of ones per record spans the constant of a bias.
    Refusal(Case("ragged", "zeros", ("bias", "motion and ones")), problem, ValueError, "bias=True"),
    # Two labels do not fit three channels.
    Refusal(PLAIN, by(penalty=cs.Lasso(1.0, channel_groups=(0, 1))), ValueError, "labels"),
    # A matrix of five columns does not fit eight taps.
    Refusal(PLAIN, by(penalty=cs.Tikhonov(1.0, matrix=np.eye(5))), ValueError, "columns"),
    # There are two outputs.
    Refusal(PLAIN, by(penalty=cs.Ridge([1.0, [1.0, 2.0, 3.0]], channel_groups=LABELS)), ValueError,
            "3 strengths for 2 outputs"),
    # A lasso is not linear in y.
    Refusal(PLAIN, by(penalty="lasso", select="gcv"), ValueError, "lasso has no"),
    # The degrees of freedom of groups are not a number of taps.
    Refusal(PLAIN, by(penalty=cs.Lasso(channel_groups="channels"), select="bic"), ValueError,
            'a group lasso has no "bic"'),
    *(
        # A lasso is not a quadratic penalty.
        Refusal(PLAIN, by(solver=solver, penalty="lasso"), cs.SolveError, "leave out solver=")
        for solver in ("qr", "adam")
    ),
    *(
        # The exact methods of these losses have rows, not groups of rows.
        Refusal(PLAIN, by(loss=loss, penalty=cs.Lasso(1.0, channel_groups="channels")),
                cs.SolveError, "group lasso cannot be combined with")
        for loss in ("huber", "absolute")
    ),
    *(
        # The criteria that select a strength are defined for squares.
        Refusal(PLAIN, by(loss=loss, penalty=penalty), cs.SolveError, "of no given strength")
        for loss, penalty in (("huber", "smooth"), ("absolute", "lasso"))
    ),
    # The exact method of Huber's loss has penalties, and descent has none.
    Refusal(PLAIN, by(solver="adam", ridge=1.0, loss="huber"), cs.SolveError, "scale 'mad'"),
    *(
        # Only gradient descent and exact methods minimize other losses.
        Refusal(PLAIN, by(solver=solver, loss=loss), cs.SolveError, "does not support the")
        for solver in ("qr", "svd", "normal", "cg", "fft")
        for loss in ("huber", fourth_power)
    ),
    # Only gradient descent minimizes a callable.
    Refusal(PLAIN, by(loss=fourth_power), cs.SolveError, "use solver='adam'"),
    # The scale of the noise changes in the course of the descent.
    Refusal(PLAIN, by(solver="adam", loss="huber"), cs.SolveError, "scale"),
    # Steps through the convolution have no penalty.
    Refusal(PLAIN, by(solver="sgd", loss=fourth_power), cs.SolveError, "needs learning_rate="),
    Refusal(PLAIN, by(solver=cs.GradientDescent(gradient="sums"), loss="absolute"), cs.SolveError,
            "for squares, not for the absolute loss"),
    *(
        # Only a ridge and differences are restricted to the kernels of a basis.
        Refusal(case, by(penalty=penalty), cs.SolveError, "cannot be combined with a basis")
        for case in (Case("one record", "drop", ("splines, cosines",)),
                     Case("ragged", "drop", ("windows", "splines")))
        for penalty in ("tc", cs.StableSpline(1.0, kind="ss", decay=0.8),
                        cs.SquaredExponential(2.0, length=0.8),
                        cs.Tikhonov(2.0, matrix=np.eye(8)))
    ),
    # Conjugate gradients do not converge to the solution of minimum norm.
    Refusal(WIDE, by(solver="cg"), cs.SolveError, "ridge"),
    *(
        # The preconditioner is for kernels along one axis, with one strength for all taps.
        Refusal(case, by(solver="cg", **given), cs.SolveError, "conjugate gradients are for")
        for case, given in (
            (DETRENDED, {}),
            (Case("images", "image"), {}),
            (Case("ragged", "drop", ("splines",)), {}),
            (PLAIN, {"penalty": cs.Smooth(1.0)}),
            (PLAIN, {"penalty": "tc"}),
        )
    ),
    # A stride aliases the spectrum of y.
    Refusal(Case("one record", "stride 3, dilation 2"), by(solver="fft"), cs.SolveError, "stride"),
    # Only a ridge is a ridge on every bin.
    Refusal(Case("one record", "circular"), by(solver="fft", penalty=cs.Smooth(1.0)), cs.SolveError,
            "not a ridge on every bin"),
    *(
        # A spectrum needs all rows, of equal weight and without nuisance columns.
        Refusal(case, by(solver="fft"), cs.SolveError, "FFTDeconvolution cannot solve")
        for case in (MASKED, WEIGHTED, DETRENDED, Case("one record", "circular", ("bias",)),
                     Case("ragged", "circular"))
    ),
    *(
        # Errors of a penalized estimate are posterior errors for white noise. Other noise and
        # covariance are estimated at least squares.
        Refusal(RAGGED, by(noise=noise, **given), ValueError, "has no standard errors for ")
        for noise in ("hac", "cluster", "ar3")
        for given in ({"ridge": 1.0}, {"penalty": "lasso"}, {"loss": "absolute"}, {"loss": "huber"})
        if noise != "ar3" or "loss" in given
    ),
    # No filter makes noise white whose variance changes from row to row.
    Refusal(WEIGHTED, by(noise="ar"), ValueError, "noise"),
    *(
        # The correlation of noise is modelled along one axis.
        Refusal(Case("images", "image"), by(noise=noise), ValueError, "noise")
        for noise in ("hac", "ar")
    ),
    # One record is one cluster, from which no covariance can be estimated.
    Refusal(PLAIN, by(noise="cluster"), ValueError, "records"),
)  # fmt: skip

# Properties of a solution, which are refused after it is computed.
OF_FIT = (
    # No residuals are left from which the noise could be estimated.
    Refusal(WIDE, of_fit(lambda fit: fit.standard_error), ValueError, "degrees of freedom"),
    # A penalized estimate is biased, so that F has no F distribution.
    Refusal(PLAIN, of_fit(lambda fit: fit.test(0), ridge=1.0), ValueError, "penal"),
    # The jackknife repeats the fit of least squares.
    Refusal(RAGGED, of_fit(lambda fit: fit.jackknife(), ridge=1.0), ValueError, "penalty"),
    # Records are left out in turn, and there is one.
    Refusal(PLAIN, of_fit(lambda fit: fit.jackknife()), ValueError, "record"),
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


@pytest.mark.parametrize("solver", ["normal", "qr", "cg"])
def test_a_selected_strength_does_not_depend_on_the_solver(solver: str) -> None:
    given = problem(statement(PLAIN))
    wanted, found = cs.solve(given, penalty="ridge"), cs.solve(given, solver, penalty="ridge")
    assert found.status == "solved"
    assert found.stats["solver"] == type(Method.of(solver).solver).__name__
    np.testing.assert_allclose(found.kernel, wanted.kernel, rtol=1e-9, atol=1e-12)


# A spectrum is that of a whole record, and every step of descent reads all of x and y.
@pytest.mark.parametrize("solver", ["fft", cs.GradientDescent(steps=1)])
def test_chunks_of_dask_are_refused(solver: cs.extend.Solver) -> None:
    made = statement(PLAIN)
    x, y = (DASK["dask, small chunks"](v[0], Path()) for v in (made.x, made.y))
    with pytest.raises(cs.SolveError, match="not in memory"):
        cs.solve(cs.Problem(x, y, lags=[(0, 7)]), solver, limits=SMALL)


def test_same_padding_with_a_stride_needs_records_of_one_length() -> None:
    """The position of the first tap depends on the length of the record."""
    x = [np.zeros((n, 1)) for n in (20, 21)]
    with pytest.raises(ValueError, match="padding='same'"):
        cs.Problem(x, kernel_size=(3,), stride=2, padding="same")
