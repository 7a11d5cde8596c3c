"""When `solve` decides whether the kernel is unique, and by which evidence."""

from __future__ import annotations

import signal
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.identifiability.report import Identifiability
from convsolve.solvers.base import Objective, SolverResult

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 2))
COPIED = np.repeat(X[:, :1], 2, axis=1)
Y = RNG.standard_normal((58, 1))
FULL = cs.Problem(X, Y, kernel_size=(3,))
DEFICIENT = cs.Problem(COPIED, Y, kernel_size=(3,))
FEW = cs.Problem(X[:7], Y[:5], kernel_size=(3,))


@dataclass(frozen=True)
class Stub(cs.extend.Solver):
    """Zeros, with evidence of rank or without; counts its runs."""

    runs: list[int]
    evidence: str | None = None

    def run(self, analysis: Any, objective: Objective) -> SolverResult:
        self.runs.append(1)
        shape = analysis.design.kernel_shape
        zeros = np.zeros(shape), np.zeros(shape[-1])
        return SolverResult(*zeros, status="max steps", evidence=self.evidence)


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank decision fails the test."""
    refused = property(lambda report: pytest.fail("the rank was decided"))
    monkeypatch.setattr(Identifiability, "unique", refused)


def test_too_few_equations_are_refused_before_the_solver_runs() -> None:
    stub = Stub([])
    with pytest.raises(cs.IdentifiabilityError, match="underdetermined: rank 5 of 6"):
        cs.solve(FEW, stub, strict=True)
    assert stub.runs == []
    with pytest.warns(cs.IdentifiabilityWarning):
        cs.solve(FEW, stub)
    assert stub.runs == [1]
    # With a ridge the kernel may be unique with fewer equations than unknowns.
    assert cs.solve(FEW, Stub([]), ridge=1.0, strict=True).status == "max steps"


def test_a_lack_of_rank_is_refused_after_the_solver_runs() -> None:
    stub = Stub([])
    with pytest.raises(cs.IdentifiabilityError, match="rank-deficient: rank 3 of 6"):
        cs.solve(DEFICIENT, stub, strict=True)
    assert stub.runs == [1]
    with pytest.warns(cs.IdentifiabilityWarning, match="rank 3 of 6"):
        cs.solve(DEFICIENT, stub)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cs.solve(FULL, stub, strict=True)


@pytest.mark.usefixtures("unasked")
def test_the_evidence_of_a_solver_is_used() -> None:
    cs.solve(DEFICIENT, Stub([], evidence="a proof"), strict=True)
    with pytest.raises(pytest.fail.Exception, match="the rank was decided"):
        cs.solve(FULL, Stub([]))


@pytest.mark.usefixtures("unasked", "ctrl_c")
@pytest.mark.parametrize(
    "solver",
    [cs.GradientDescent(steps=10_000, tol=1e-300), cs.ConjugateGradient(tol=1e-15)],
    ids=["descent", "cg"],
)
def test_iterative_solvers_do_not_decide_the_rank_after_ctrl_c(
    solver: cs.extend.Solver, at_every_step: Any
) -> None:
    def press(stage: str, step: int, note: str) -> None:
        if stage.startswith("steps of") and step < 2:
            signal.raise_signal(signal.SIGINT)

    problem = cs.Problem(COPIED, Y, kernel_size=(3,))
    at_every_step(press)
    assert cs.solve(problem, solver, progress=True).status == "interrupted"
