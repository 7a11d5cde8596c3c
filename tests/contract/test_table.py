"""Problems, named and at random, each solved by several routes and in extended precision.

A case combines a signal, a geometry, adjustments and a penalty. Every route must return the same
kernel up to conditioning, with a true backward error of at most 30 eps, and the same bias, rank,
verdict, degrees of freedom, predictions, residuals and standard errors as the oracle. Where
polynomials or other confounds are much larger than the rest of the data, half a unit in the last
place of the data is a larger change than that: the limit grows as `Part.unavoidable` states.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings

import convsolve as cs
from contract.cases import PRIORS, Case, random_case, statement
from contract.checks import QUERIES, faults, is_documented, may_refuse, measured, verdict
from contract.oracle import EPS, Oracle
from contract.routes import ROUTES, problem, solved
from contract.statement import Statement
from convsolve.leastsquares.analysis import Analysis

ROWS = (
    Case("one record", "drop"),
    Case("one record", "zeros", ("bias", "offset 3")),
    Case("one record", "circular", ("bias",)),
    Case("one record", "full", ("int16", "bias")),
    Case("batch", "valid", ("bias",)),
    Case("ragged", "drop", ("bias",)),
    Case("one record", "drop", ("bias", "mask 1 %")),
    Case("one record", "drop", ("bias", "mask 30 %")),
    Case("ragged", "zeros", ("bias", "mask 30 %")),
    Case("one record", "zeros", ("bias", "artefact of 1e8")),
    Case("ragged", "drop", ("bias", "mask of blocks")),
    Case("ragged", "drop", ("bias", "mask per output")),
    Case("ragged", "zeros", ("gaps in x", "gaps in y")),
    Case("batch", "full", ("bias", "gaps in y", "mask 1 %")),
    Case("ragged", "drop", ("offset 3", "weights per record", "bias")),
    Case("ragged", "drop", ("offset 3", "weights per row", "bias")),
    Case("batch", "circular", ("zero weights", "mask 1 %")),
    Case("ragged", "drop", ("offset 3", "intercept")),
    Case("batch", "zeros", ("intercept", "weights per row")),
    Case("ragged", "drop", ("drifting by 10", "drift 2")),
    Case("ragged", "drop", ("drifting by 10", "motion at 1e4", "drift 1", "mask per output")),
    Case("one record", "full", ("drifting by 10", "drift 1")),
    Case("ragged", "drop", ("motion", "bias")),
    Case("ragged", "drop", ("motion", "weights per row", "bias", "mask 1 %")),
    Case("ragged", "zeros", ("motion and ones",)),
    Case("one record", "causal, dilation 3", ("bias",)),
    Case("one record", "stride 3, dilation 2", ("bias",)),
    Case("batch", "stride beyond the kernel", ("bias",)),
    Case("ragged", "drop, slow y", ("offset 3", "weights per row", "bias")),
    Case("batch", "zeros, slow y", ("mask per output", "intercept")),
    Case("one record", "cropped", ("bias",)),
    Case("one record", "groups", ("bias",)),
    Case("batch", "groups, same", ("bias", "weights per record")),
    Case("batch", "groups", ("mask per output", "intercept")),
    Case("images", "image", ("bias",)),
    Case("images", "image", ("bias", "mask 30 %")),
    Case("images", "image, strides", ("weights per row", "drift 1")),
    Case("images", "image, drop", ("bias", "mask per output")),
    Case("images", "image, circular", ("motion", "weights per record")),
    Case("images", "image, cropped", ("gaps in x", "bias")),
    Case("volumes", "volume", ("bias", "weights per row")),
    Case("ragged", "future", ("bias", "mask 1 %")),
    Case("ragged", "late, zeros", ("drifting by 10", "drift 1")),
    Case("batch", "late, circular", ("mask per output",)),
    Case("events", "drop", ("bias",)),
    Case("events, ragged", "zeros", ("intercept",)),
    Case("one record", "drop", ("drift 2", "mask of all but the end")),
    Case("ragged", "drop", ("drift 2", "constant y")),
)  # fmt: skip

DANGER = (
    *(
        Case("one record", geometry, (offset, "bias"))
        for offset in ("offset 1e6", "offset 1e9") for geometry in ("drop", "zeros", "circular")
    ),
    Case("images", "image", ("offset 1e6", "bias")),
    Case("images", "image, strides", ("offset 1e6", "bias")),
    Case("one record", "stride 3, dilation 2", ("offset 1e9", "bias")),
    Case("ragged", "drop", ("offset 1e6", "intercept")),
    Case("ragged", "drop", ("offset 1e6 in y", "intercept")),
    Case("ragged", "drop", ("offset 1e6 in y", "bias", "weights per row")),
    Case("ragged", "drop", ("offset 1e6 in y", "bias", "motion")),
    Case("ragged", "drop", ("motion at 1e6 and ones",)),
    Case("one record", "drop", ("motion at 1e4", "bias")),
    Case("one record", "zeros", ("motion at 1e6 and ones", "weights per row", "mask 1 %")),
    Case("ragged", "drop", ("drifting by 1e4", "drift 2")),
    Case("ragged", "drop", ("drifting by 1e4", "offset 1e6", "drift 2")),
    Case("ragged", "drop", ("drifting by 1e6", "offset 1e9", "drift 2")),
    Case("ragged", "zeros", ("offset 1e6", "drift 2", "weights per record")),
    Case("ragged", "drop", ("scales", "bias")),
    Case("ragged", "drop", ("offset 1e6", "scales", "bias")),
    Case("images", "image", ("scales", "bias")),
    Case("one record", "drop", ("artefact of 1e8", "bias")),
    Case("one record", "drop", ("sample of 1e8", "bias")),
    Case("one record", "drop", ("artefact of 1e8", "offset 1e6", "bias")),
    Case("ragged", "drop", ("step of 1e6", "drift 2")),
    Case("one record", "drop", ("transient of 1e8", "bias")),
    Case("one record", "full", ("offset 1e9", "drift 1")),
    Case("one record", "circular", ("drifting by 1e4", "drift 2")),
    *(
        Case("ragged", "drop", (f"confounds like x to {size:.0e}",))
        for size in (1e-1, 1e-3, 1e-5, 1e-7)
    ),
)  # fmt: skip

PENALIZED = (
    *(Case("one record", "drop", ("bias",), prior) for prior in PRIORS),
    *(Case("events", "stride beyond the kernel", (), prior) for prior in PRIORS),
    Case("ragged", "drop", ("drifting by 10", "drift 2"), "second differences"),
    Case("ragged", "drop", ("offset 1e6", "intercept"), "first differences"),
    Case("ragged", "drop", ("offset 1e9", "bias"), "tc"),
    Case("ragged", "drop, slow y", ("offset 1e6", "bias"), "first differences"),
    Case("ragged", "zeros", ("motion", "weights per row", "gaps in x"), "first differences"),
    Case("batch", "groups", ("mask per output", "bias"), "banded"),
    Case("batch", "groups", ("mask per output", "bias"), "first differences"),
)  # fmt: skip

# Every penalty with more geometries. The default suite runs every fifth of these.
MORE_PENALIZED = (
    *(Case("events, ragged", "zeros", ("bias", "mask of blocks"), prior) for prior in PRIORS),
    *(Case("events, batch", "groups, same", ("bias",), prior) for prior in PRIORS),
    *(Case("sparse images", "image, gaps", ("bias",), prior) for prior in PRIORS),
    *(Case("wide", "valid", ("bias",), prior) for prior in PRIORS),
    *(Case("images", "image, strides", ("scales",), prior) for prior in ("ridge", "banded", "tc")),
)  # fmt: skip

# Routes of the default suite: these for every row, and in turn one of the others.
ALWAYS = ("default", "by FFT", "chunks")
BY_EVENTS = ("events", "events, in chunks")
OTHERS = tuple(name for name in ROUTES if name not in ALWAYS)


def some(rows: Sequence[Any], every: int = 1) -> list[Any]:
    """Rows with some routes, one of ``every`` few; and, as slow tests, one in three with all."""
    few = [
        pytest.param(row, (*ALWAYS, OTHERS[i % len(OTHERS)]), id=str(row))
        for i, row in enumerate(rows[::every])
    ]
    slow = pytest.mark.slow
    whole = [
        pytest.param(row, tuple(ROUTES), marks=slow, id=f"{row} (all routes)") for row in rows[1::3]
    ]
    return [*few, *whole]


def compare(made: Statement, names: Sequence[str], folder: Path, most: float = 30) -> Oracle:
    """Solve a statement by some routes; every difference from the oracle fails the test."""
    oracle, found = Oracle(made), []
    for name in names:
        try:
            fit = solved(made, ROUTES[name], folder)
        except cs.SolveError as error:
            if not (ROUTES[name].iterative and may_refuse(error)):
                raise
            continue
        found += [(name, *fault) for fault in faults(oracle, ROUTES[name], fit, most)]
    assert not found, "\n".join(f"{r}: {k}: {v} (limit {limit})" for r, k, v, limit in found)
    return oracle


@pytest.mark.parametrize(("case", "routes"), some(ROWS))
def test_routes_agree_with_the_oracle(case: Case, routes: Sequence[str], tmp_path: Path) -> None:
    compare(statement(case), routes, tmp_path)


@pytest.mark.parametrize(("case", "routes"), some(DANGER))
def test_offsets_drifts_and_scales(case: Case, routes: Sequence[str], tmp_path: Path) -> None:
    compare(statement(case), routes, tmp_path)


# Kernels in a basis on the lags, and in windows of lags by channel.
BASES = (
    Case("one record", "drop", ("bias", "splines")),
    Case("ragged", "zeros", ("bias", "mask 30 %", "splines in one channel")),
    Case("ragged", "drop", ("offset 3", "weights per row", "bias", "splines, cosines")),
    Case("ragged", "drop", ("offset 3", "weights per record", "intercept", "windows")),
    Case("ragged", "drop", ("motion", "weights per row", "bias", "mask 1 %", "cosines")),
    Case("one record", "circular", ("bias", "windows", "splines in one channel")),
    Case("batch", "zeros", ("bias", "gaps in y", "windows")),
    Case("ragged", "drop", ("drifting by 10", "drift 2", "windows", "cosines")),
    Case("ragged", "drop", ("bias", "mask per output", "splines")),
    Case("batch", "groups", ("bias", "splines")),
    Case("events, ragged", "zeros", ("intercept", "mask of blocks", "splines, cosines")),
    Case("one record", "stride 3, dilation 2", ("bias", "splines")),
    Case("one record", "causal, dilation 3", ("bias", "cosines")),
    Case("one record", "drop", ("scales", "bias", "cosines of all sizes")),
    Case("one record", "zeros", ("offset 1e6", "bias", "splines, cosines")),
    Case("one record", "drop", ("artefact of 1e8", "bias", "windows", "splines")),
    Case("one record", "zeros", ("zero weights", "one function")),
    Case("ragged", "drop", ("gaps in x", "bias", "dependent functions")),
    Case("wide", "drop", ("bias", "splines in one channel")),
    Case("one record", "drop", ("int16", "bias", "windows")),
)

# Differences are those of the kernel in its basis; a ridge is one of the coefficients.
PENALIZED_BASES = (
    *(
        Case("one record", "drop", ("bias", "splines, cosines"), prior)
        for prior in ("ridge", "banded", "first differences", "second differences")
    ),
    *(Case("ragged", "zeros", ("mask 30 %", "windows"), prior) for prior in PRIORS),
    Case("ragged", "drop", ("intercept", "windows", "splines"), "second differences"),
    Case("batch", "groups", ("mask per output", "bias", "splines"), "first differences"),
    Case("ragged", "drop", ("bias", "dependent functions"), "ridge"),
    Case("wide", "drop", ("bias", "windows"), "second differences"),
)  # fmt: skip


@pytest.mark.parametrize(("case", "routes"), some(BASES) + some(PENALIZED_BASES))
def test_bases_and_windows(case: Case, routes: Sequence[str], tmp_path: Path) -> None:
    compare(statement(case), routes, tmp_path)


@pytest.mark.parametrize(("case", "routes"), some(PENALIZED) + some(MORE_PENALIZED, every=5))
def test_penalties(case: Case, routes: Sequence[str], tmp_path: Path) -> None:
    compare(statement(case), routes, tmp_path)


# x is mostly zero.
EVENTS = (
    Case("events", "drop", ("bias",)),
    Case("events", "zeros", ("bias", "weights per row")),
    Case("events", "circular", ("bias", "mask 30 %")),
    Case("events, ragged", "zeros", ("intercept", "mask of blocks")),
    Case("events, ragged", "drop", ("drift 2", "offset 1e6 in y")),
    Case("events, ragged", "full", ("motion", "bias", "mask 1 %")),
    Case("events, batch", "zeros", ("zero weights", "motion and ones")),
    Case("events, batch", "groups, same", ("bias", "weights per record")),
    Case("events, batch", "groups", ("mask per output", "intercept")),
    Case("events", "valid", ("bias", "gaps in x", "gaps in y")),
    Case("events, ragged", "causal, dilation 3", ("bias", "scales")),
    Case("events", "cropped", ("bias", "transient of 1e8")),
    Case("events, ragged", "zeros", ("bias", "weights per row"), "second differences"),
    Case("events, batch", "drop", ("intercept",), "banded"),
    Case("events, ragged", "zeros", ("bias",), None, 34),
    Case("events, ragged", "zeros", ("intercept", "mask of blocks", "splines, cosines")),
    Case("events", "drop", ("bias", "windows")),
)


@pytest.mark.parametrize("case", EVENTS, ids=str)
def test_events(case: Case, tmp_path: Path) -> None:
    made = statement(case)
    for name in BY_EVENTS:
        assert Analysis(problem(made), ROUTES[name].limits).design.matrix.data.x.sparse
    compare(made, (*BY_EVENTS, "strengths per output", "default"), tmp_path)


# Routes that form moments. The certificate of many outputs is from combinations of them.
BY_MOMENTS = ("by FFT", "long chunks by FFT", "dask, whole channels")
MANY = (
    Case("one record", "drop", ("offset 1e9", "bias"), None, 34),
    Case("ragged", "zeros", ("bias", "mask 30 %"), None, 34),
    Case("ragged", "drop", ("motion", "weights per row", "bias", "mask 1 %"), None, 34),
    Case("ragged", "drop", ("drifting by 10", "drift 2"), None, 34),
    Case("one record", "full", ("int16", "bias"), None, 34),
    Case("images", "image", ("bias",), None, 34),
    Case("ragged", "drop", ("scales", "bias"), None, 34),
    Case("one record", "groups", (), None, 34),
    Case("one record", "drop", ("bias",), "ridge", 34),
    Case("ragged", "drop", ("bias",), "second differences", 34),
    Case("ragged", "zeros", ("bias", "mask 30 %", "splines"), None, 34),
    Case("one record", "drop", ("bias", "windows"), "second differences", 34),
)  # fmt: skip


@pytest.mark.parametrize("case", MANY, ids=str)
def test_many_outputs(case: Case, tmp_path: Path) -> None:
    oracle, served = Oracle(statement(case)), []
    for name in BY_MOMENTS:
        fit = solved(oracle.statement, ROUTES[name], tmp_path)
        served.append("combinations of the outputs" in fit.stats["route"])
        assert not [*faults(oracle, ROUTES[name], fit, 30)], name
        true, _ = measured(oracle, ROUTES[name], fit)
        assert not served[-1] or true <= fit.backward_error / EPS <= 30, name
    # The gradients of groups that are fitted as well have errors near the limit.
    assert any(served) or oracle.statement.groups > 1


BY_OUTPUT = ("strengths per output", "strengths per output, by QR")


@pytest.mark.parametrize("prior", PRIORS)
def test_strengths_per_output(prior: str, tmp_path: Path) -> None:
    made = statement(Case("ragged", "drop", ("bias",), prior))
    compare(made, BY_OUTPUT, tmp_path)
    by_default, by_qr = (solved(made, ROUTES[name], tmp_path) for name in BY_OUTPUT)
    # The strengths of a banded ridge have no common form in general, so that QR solves each.
    spectrum = "eigenvectors of the Gram matrix"
    assert by_default.stats["solver"] == ("QR" if prior == "banded" else spectrum)
    assert by_qr.stats["solver"] == "QR"
    for fit in (by_default, by_qr):
        strength = fit.regularization.strength
        weights = PRIORS[prior].settings.get("weights", 1)
        expected = np.multiply.outer(weights, PRIORS[prior].strength * np.array([1, 4]))
        np.testing.assert_array_equal(strength, expected)
        assert fit.regularization.criterion == "given"


SINGLE = (
    Case("one record", "zeros", ("bias", "float32")),
    Case("ragged", "drop", ("intercept", "mask 1 %", "float32")),
    Case("events", "zeros", ("bias", "float32")),
    Case("images", "image", ("bias", "float32")),
    Case("one record", "drop", ("bias", "float32"), "tc"),
    Case("one record", "drop", ("bias", "float32"), None, 34),
    Case("ragged", "zeros", ("bias", "mask 1 %", "splines, cosines", "float32")),
    Case("one record", "drop", ("bias", "windows", "float32"), "tc"),
)


@pytest.mark.parametrize("case", SINGLE, ids=str)
def test_single_precision_is_the_solution_in_double_precision_rounded(
    case: Case, tmp_path: Path
) -> None:
    made = statement(case)
    oracle = Oracle(made)
    for name in ("default", "by FFT", "events", "chunks", "HDF5"):
        fit = solved(made, ROUTES[name], tmp_path)
        assert fit.kernel.dtype == np.float32
        for outputs, part in oracle.parts.items():
            off = part.kernel_error(oracle.columns(fit.kernel, outputs))
            assert (off <= 1.01 * 2.0**-24).all(), name  # rounded once


# --- deficient data


class Deficient(NamedTuple):
    """A case, the rank of its kernels, and the verdict."""

    case: Case
    rank: int
    verdict: str = "rank-deficient"

    def __str__(self) -> str:
        return str(self.case)


WIDE = "underdetermined"
# Eight taps of three channels, or of two for tones.
DEFICIENT = (
    Deficient(Case("tones", "drop"), 4),
    Deficient(Case("ragged", "drop", ("bias", "twin channels")), 16),
    Deficient(Case("ragged", "zeros", ("weights per row", "small twin")), 16),
    Deficient(Case("ragged", "drop", ("intercept", "small twin")), 16),
    Deficient(Case("one record", "drop", ("bias", "lagged twin")), 18),
    Deficient(Case("ragged", "drop", ("weights per record", "near twin")), 24, "overdetermined"),
    Deficient(Case("ragged", "drop", ("bias", "constant channel")), 16),
    Deficient(Case("ragged", "drop", ("bias", "weights per row", "constant channel")), 16),
    Deficient(Case("ragged", "drop", ("mask 30 %", "intercept", "constant channel")), 16),
    Deficient(Case("one record", "circular", ("bias", "constant channel")), 16),
    Deficient(Case("ragged", "drop", ("motion", "bias", "mask 1 %", "zero channel")), 16),
    Deficient(Case("ragged", "drop", ("drift 2", "quadratic channel")), 16),
    Deficient(Case("ragged", "drop", ("bias", "one tone")), 2),
    Deficient(Case("one record", "drop", ("intercept", "one tone")), 2),
    Deficient(Case("one record", "drop", ("drift 1", "tones", "one tone")), 0),
    Deficient(Case("one record", "zeros", ("scales", "twin channels")), 16),
    Deficient(Case("one record", "valid", ("period 4",)), 2),
    Deficient(Case("wide", "drop"), 19, WIDE),
    Deficient(Case("wide", "drop", ("bias",)), 18, WIDE),
    Deficient(Case("wide", "drop", ("intercept",), "first differences"), 18, WIDE),
    Deficient(Case("wide", "valid", ("weights per row", "zero channel"), "matrix"), 12),
    Deficient(Case("images", "image", ("bias", "constant channel")), 12),
    Deficient(Case("tones", "drop", ("splines",)), 4),
    Deficient(Case("ragged", "drop", ("bias", "splines", "twin channels")), 10),
    Deficient(Case("ragged", "drop", ("bias", "windows", "twin channels")), 14),
    Deficient(Case("ragged", "drop", ("bias", "splines, cosines", "constant channel")), 9),
    Deficient(Case("one record", "valid", ("cosines", "period 4")), 2),
    Deficient(Case("wide", "drop", ("splines in one channel",)), 19, WIDE),
)  # fmt: skip


@pytest.mark.parametrize(("row", "routes"), some(DEFICIENT))
def test_deficient_data(row: Deficient, routes: Sequence[str], tmp_path: Path) -> None:
    (part,) = compare(statement(row.case), routes, tmp_path).parts.values()
    assert (part.data_rank.value, part.data_rank.near) == (row.rank, False)
    assert verdict(part) == row.verdict


# --- cases at random

FEW, MANY = 16, 2 * settings.default.max_examples


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "seed", [pytest.param(i, marks=[pytest.mark.slow] * (i >= FEW)) for i in range(FEW + MANY)]
)
def test_random_cases(seed: int, tmp_path: Path) -> None:
    """The default route and two others, and all other properties of the solution."""
    made = statement(random_case(seed))
    others = np.random.default_rng([seed, 1]).choice(OTHERS, 2, replace=False)
    compare(made, ("default", *others), tmp_path, most=300)
    fit = solved(made, ROUTES["default"], tmp_path)
    for query in QUERIES:
        try:
            query(fit)
        except ValueError as error:
            if not is_documented(error):
                raise
