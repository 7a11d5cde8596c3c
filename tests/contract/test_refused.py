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
from contract.checks import QUERIES, is_documented
from contract.problems import penalty_of
from contract.routes import ROUTES, problem, solved
from contract.statement import Statement
from support.stored import DASK, SMALL

Action = Callable[[Statement], Any]


def by(solver: cs.Solver) -> Action:
    """Solve by a solver."""
    return lambda made: cs.solve(problem(made), solver)


def penalized_by(penalty: cs.Penalty) -> Action:
    """Solve with a penalty of a given strength."""
    return lambda made: cs.solve(problem(made), cs.NormalEquations(1.0, penalty))


def with_noise(noise: str, solver: cs.Solver | None = None) -> Action:
    """Solve with a noise model."""
    return lambda made: cs.solve(problem(made), solver, noise=noise)


def of_fit(query: Callable[[cs.Solution], Any], solver: cs.Solver | None = None) -> Action:
    """Solve, and evaluate a property of the solution."""
    return lambda made: query(cs.solve(problem(made), solver))


RIDGED = cs.NormalEquations(1.0)
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
    Refusal(PLAIN, penalized_by(cs.Smooth()), ValueError, "Regularized",
            "Only a search over the data chooses a length."),
    Refusal(PLAIN, penalized_by(cs.Ridge((0, 1, 1))), ValueError, "Regularized",
            "The weights of the channel groups are not given."),
    Refusal(PLAIN, penalized_by(cs.Ridge((0, 1), (1.0, 2.0))), ValueError, "labels",
            "Two labels do not fit three channels."),
    Refusal(PLAIN, penalized_by(cs.Tikhonov(np.eye(5))), ValueError, "columns",
            "A matrix of five columns does not fit eight taps."),
    Refusal(WIDE, by(cs.ConjugateGradient()), cs.SolveError, "ridge",
            "Conjugate gradients do not converge to the solution of minimum norm."),
    Refusal(Case("one record", "stride 3, dilation 2"), by(cs.FFTDeconvolution()), cs.SolveError,
            "stride", "A stride aliases the spectrum of y."),
    *(
        Refusal(case, by(cs.FFTDeconvolution()), cs.SolveError, "FFTDeconvolution cannot solve",
                "A spectrum needs all rows, of equal weight and without nuisance columns.")
        for case in (MASKED, WEIGHTED, DETRENDED, Case("one record", "circular", ("bias",)),
                     Case("ragged", "circular"))
    ),
    Refusal(WIDE, by(cs.Huber()), cs.SolveError, "scale",
            "No residuals are left from which the scale could be estimated."),
    Refusal(PLAIN, with_noise("hac", RIDGED), ValueError, "noise",
            "Errors of a penalized estimate are posterior errors for white noise."),
    Refusal(PLAIN, with_noise("hac", cs.LeastAbsolute()), ValueError, "noise",
            "The covariance is that of least squares."),
    Refusal(WEIGHTED, with_noise("ar"), ValueError, "noise",
            "No filter makes noise white whose variance changes from row to row."),
    Refusal(Case("images", "image"), with_noise("hac"), ValueError, "noise",
            "The correlation of noise is modelled along one axis."),
    Refusal(PLAIN, with_noise("cluster"), ValueError, "records",
            "One record is one cluster, from which no covariance can be estimated."),
    Refusal(WIDE, of_fit(lambda fit: fit.standard_error), ValueError, "degrees of freedom",
            "No residuals are left from which the noise could be estimated."),
    Refusal(PLAIN, of_fit(lambda fit: fit.test(0), RIDGED), ValueError, "penal",
            "A penalized estimate is biased, so that F has no F distribution."),
    Refusal(RAGGED, of_fit(lambda fit: fit.jackknife(), RIDGED), ValueError, "penalty",
            "The jackknife repeats the fit of least squares."),
    Refusal(PLAIN, of_fit(lambda fit: fit.jackknife()), ValueError, "record",
            "Records are left out in turn, and there is one."),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row.case}: {row.message}")
def test_refused_with_a_clear_error(row: Refusal) -> None:
    with pytest.raises(row.error, match=row.message) as caught:
        row.action(statement(row.case))
    assert is_documented(caught.value)


# Solvers that need more than sums over chunks, for dask arrays larger than the limit.
NOT_BY_CHUNKS = (
    (cs.FFTDeconvolution(), "not in memory", "A spectrum is that of a whole record."),
    (cs.GradientDescent(steps=1), "not in memory", "Every step reads x and y."),
)

# Solvers that read the rows of the design matrix chunk by chunk.
BY_ROWS = (
    cs.LeastSquares("qr"), cs.LeastSquares("svd"), cs.Huber(), cs.LeastAbsolute(),
    cs.ConjugateGradient(1e-3),
)  # fmt: skip


@pytest.mark.parametrize(("solver", "message", "reason"), NOT_BY_CHUNKS)
def test_refused_for_chunks_of_dask(solver: cs.Solver, message: str, reason: str) -> None:
    assert reason
    made = statement(PLAIN)
    x, y = (DASK["dask, small chunks"](v[0], Path()) for v in (made.x, made.y))
    found = cs.Problem(x, y, lags=[(0, 7)])
    with pytest.raises(cs.SolveError, match=message):
        cs.solve(found, solver, limits=SMALL)


@pytest.mark.parametrize(
    ("solver", "twin"),
    [
        (s, twin)
        for s in BY_ROWS
        for twin in (False, True)
        if isinstance(s, cs.LeastSquares) or not twin
    ],
)
def test_rows_of_dask_arrays_are_those_of_arrays(solver: cs.Solver, twin: bool) -> None:
    """Two equal channels have a solution of minimum norm."""
    made = statement(PLAIN)
    x, y = made.x[0], made.y[0]
    if twin:
        x = np.column_stack([x, x])
    arrays = (DASK["dask, small chunks"](v, Path()) for v in (x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        lags = [(0, 7)]
        found = cs.solve(cs.Problem(*arrays, lags=lags), solver, limits=SMALL)
        wanted = cs.solve(cs.Problem(x, y, lags=lags), solver)
    assert found.status == "solved"
    # Robust fits stop at a relative gap of 1e-8 of the loss, which grows slowly about the minimum.
    share = 1e-11 if isinstance(solver, cs.LeastSquares) else 1e-6
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


# --- other properties of a solution

ANSWERED = (
    Case("ragged", "drop", ("bias", "mask per output")),
    Case("batch", "groups", ("bias", "mask per output")),
    Case("batch", "groups, same", ("bias", "gaps in y")),
    Case("one record", "groups", ("bias", "weights per row")),
    Case("ragged", "zeros", ("motion", "weights per row", "gaps in x")),
    Case("events", "stride beyond the kernel", ("bias",)),
    Case("images", "image, strides", ("mask per output", "drift 1")),
    WIDE,
)
ASKED = (None, "ridge", "banded", "first differences", "tc", "matrix")


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("prior", ASKED)
@pytest.mark.parametrize("case", ANSWERED, ids=str)
def test_every_property_is_returned_or_refused_clearly(
    case: Case, prior: str | None, tmp_path: Path
) -> None:
    made = statement(case._replace(prior=prior))
    fit = solved(made, ROUTES["default"], "list", tmp_path)
    for name, query in QUERIES.items():
        try:
            query(made, fit, penalty_of(made))
        except (TypeError, ValueError) as error:
            assert is_documented(error), f"{name}: {error!r}"  # noqa: PT017 -- errors may be right


LABELS = (0, 1, 1)
CHOOSING = (
    cs.Regularized(cs.Ridge()),
    cs.Regularized(cs.Ridge(LABELS)),
    cs.Regularized(cs.Ridge(LABELS, (1.0, 3.0)), select="gcv"),
    cs.Regularized(cs.Smooth(order=1)),
    cs.Lasso(channel_groups=LABELS, strength=0.1),
    cs.Lasso(strength=0.1),
)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("solver", CHOOSING, ids=lambda solver: solver.name)
@pytest.mark.parametrize("case", [ANSWERED[0], ANSWERED[1]], ids=str)
def test_masks_per_output_with_labels_per_channel(case: Case, solver: cs.Solver) -> None:
    """The outputs of one mask are solved as a problem of their own, with the same result."""
    made = statement(case)
    fit = cs.solve(problem(made), solver)
    groups, each = made.groups, made.channels // made.groups
    per_group = made.outputs // groups
    for output in range(made.outputs):
        group = output // per_group
        own = slice(group * each, (group + 1) * each)
        alone = replace(
            made,
            x=[a[..., own] for a in made.x],
            y=[b[..., [output]] for b in made.y],
            mask=[m[..., [output]] for m in made.mask or []],
            groups=1,
        )
        single = cs.solve(problem(alone), with_labels(solver, range(own.start, own.stop)))
        expected = np.asarray(single.kernel)[..., 0]
        np.testing.assert_allclose(fit.kernel[..., output], expected, rtol=1e-6, atol=1e-9)


def with_labels(solver: cs.Solver, channels: range) -> cs.Solver:
    """The same solver with the labels of some channels."""
    if isinstance(solver, cs.Lasso):
        labels = solver.channel_groups and tuple(solver.channel_groups[c] for c in channels)
        return replace(solver, channel_groups=labels)
    penalty = getattr(solver, "penalty", None)
    if not isinstance(penalty, cs.Ridge) or penalty.channel_groups is None:
        return solver
    labels = tuple(penalty.channel_groups[c] for c in channels)
    kept = sorted(set(labels))
    order = sorted(set(penalty.channel_groups))
    weights = penalty.weights and tuple(penalty.weights[order.index(k)] for k in kept)
    return replace(solver, penalty=cs.Ridge(labels, weights))
