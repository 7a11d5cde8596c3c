"""A new solver, penalty, loss, noise model and source of data need no other change.

Each component is passed as an object first. An entry in `components.CLASSES` then gives it a name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve.components import CLASSES
from convsolve.inference.errors import Errors
from convsolve.inference.robust import DataRows, by_output
from convsolve.leastsquares.analysis import Analysis
from convsolve.leastsquares.certificate import GAP, Certificate
from convsolve.problem.sizes import Tuning
from convsolve.solvers.base import Objective, SolverResult, Terms
from support import dense

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 2))
Y = RNG.standard_normal((117, 3))
A = dense.design_matrix([X], cs.ConvSpec(4))[0]
PROBLEM = cs.Problem(X, Y, kernel_size=4)
CHUNKS = Tuning(held_numbers=0, chunk_numbers=64)

Register = Callable[[str, type], str]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Give a component of this file a name, which is unknown before."""

    def registered(kind: str, cls: type) -> str:
        name = cls.__name__.lower()
        with pytest.raises(ValueError, match=f"{kind}='{name}' is unknown"):
            cs.solve(PROBLEM, **{kind: name})
        monkeypatch.setitem(CLASSES[kind], name, cls)
        with pytest.raises(ValueError, match=f"{kind}='{name}s' is unknown; did you mean '{name}'"):
            cs.solve(PROBLEM, **{kind: f"{name}s"})
        others = CLASSES.keys() - {kind, "select", "basis"}
        for other in others:
            with pytest.raises(TypeError, match=f"use {kind}='{name}'"):
                cs.solve(PROBLEM, **{other: name})
        return name

    return registered


# --- a noise model


class _DoubledErrors(Errors):
    kind = "doubled"

    @property
    def deviation(self) -> np.ndarray:
        return 2 * super().deviation


class Doubled(cs.extend.NoiseModel):
    name = "doubled"
    assumption = "if the noise is twice what it looks like"

    def check(self, problem: cs.Problem) -> None:
        if problem.spec.ndim > 1:
            raise ValueError("noise='doubled' is for one axis")

    def errors(self, analysis: Any, estimate: Any) -> Errors:
        return _DoubledErrors(analysis, estimate)


def test_a_noise_model(register: Register, tmp_path: Path) -> None:
    plain, found = cs.solve(PROBLEM), cs.solve(PROBLEM, noise=Doubled())
    _check_doubled(plain, found)
    assert found.stats["call"] == "cs.solve(problem, noise='doubled')"
    found.save(tmp_path / "fit.npz")
    with pytest.raises(ValueError, match="noise='doubled' is unknown"):
        cs.load(tmp_path / "fit.npz")
    image = cs.Problem(RNG.random((6, 6, 1)), RNG.random((5, 5, 1)), kernel_size=(2, 2))
    with pytest.raises(ValueError, match="is for one axis"):
        cs.solve(image, noise=Doubled())
    name = register("noise", Doubled)
    loaded = cs.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(loaded.standard_error, found.standard_error)
    assert "if the noise is twice what it looks like" in " ".join(str(loaded).split())
    _check_doubled(plain, cs.solve(PROBLEM, noise=name))
    table = cs.compare(PROBLEM, ["qr", "ridge"], noise=name)
    assert [fit.stats["noise"] for fit in table.solutions.values()] == [name, name]


def _check_doubled(plain: cs.Solution, found: cs.Solution) -> None:
    np.testing.assert_allclose(found.standard_error, 2 * plain.standard_error)
    np.testing.assert_allclose(found.noise.variance, 4 * plain.noise.variance)
    for low, high in zip(found.confidence_band(), plain.confidence_band(), strict=True):
        off = low - found.impulse_response, high - plain.impulse_response
        np.testing.assert_allclose(off[0], 2 * off[1])
    np.testing.assert_allclose(found.test(0).statistic, plain.test(0).statistic / 4)
    assert "if the noise is twice what it looks like" in " ".join(str(found).split())


# --- a penalty


@dataclass(frozen=True, repr=False)
class Last(cs.extend.Penalty):
    """The penalty 9 w² on the largest lag, and w² on all others."""

    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = np.where(lags == lags.max(), 1 / 3, 1.0)
        return np.diag(root), np.zeros((len(lags), 0))


def _penalized(strength: float) -> np.ndarray:
    """The kernel for a strength; its first tap has the largest lag."""
    weights = strength * np.repeat([9.0, 1.0, 1.0, 1.0], 2)
    return np.linalg.solve(A.T @ A + np.diag(weights), A.T @ Y).reshape(4, 2, 3)


@pytest.mark.parametrize("limits", [Tuning(), CHUNKS], ids=["memory", "chunks"])
def test_a_penalty(limits: Tuning, register: Register) -> None:
    for solver in ("auto", "normal", "qr"):
        fit = cs.solve(PROBLEM, solver, penalty=Last(5.0), limits=limits)
        assert fit.converged
        np.testing.assert_allclose(fit.kernel, _penalized(5.0), rtol=1e-9)
    several = [5.0, 1.0, 25.0]
    wanted = np.stack([_penalized(s)[..., o] for o, s in enumerate(several)], axis=-1)
    for solver in ("auto", "qr"):
        fit = cs.solve(PROBLEM, solver, penalty=Last(several), limits=limits)
        assert fit.converged
        np.testing.assert_allclose(fit.kernel, wanted, rtol=1e-9)
    chosen = cs.solve(PROBLEM, penalty=Last(), limits=limits)
    assert chosen.converged
    assert chosen.regularization.strength.shape == (3,)
    name = register("penalty", Last)
    named = cs.solve(PROBLEM, penalty=name, limits=limits)
    np.testing.assert_array_equal(named.kernel, chosen.kernel)
    assert named.stats["call"] == "cs.solve(problem, penalty='last')"
    given = cs.solve(PROBLEM, "qr", penalty=Last(5.0), limits=limits)
    assert given.stats["call"] == "cs.solve(problem, 'qr', penalty=Last(5.0))"
    table = cs.compare(
        PROBLEM, [name, {"penalty": Last(5.0)}, {"penalty": name, "select": "bic"}], limits=limits
    )
    assert list(table.solutions) == ["last", "penalty=Last(5.0)", "penalty='last', select='bic'"]
    np.testing.assert_allclose(
        table.solutions["penalty=Last(5.0)"].kernel, _penalized(5.0), rtol=1e-9
    )
    assert table.solutions["penalty='last', select='bic'"].regularization.criterion == "bic"
    with pytest.raises(ValueError, match="'lastt' is no solver, penalty or loss; did you mean"):
        cs.compare(PROBLEM, ["lastt"])


# --- a loss


def _quartic(prediction: Any, target: Any) -> Any:
    return ((prediction - target) ** 4).mean()


@dataclass(frozen=True, repr=False)
class Quartic(cs.extend.Loss):
    """The sum of fourth powers, by Newton's method."""

    name = "quartic"
    smooth = True

    @staticmethod
    def value(residuals: Any, threshold: Any, xp: Any) -> Any:
        return residuals**4

    def exact_solver(self, analysis: Analysis, terms: Terms) -> SolverResult:
        def fit(rows: DataRows, y: np.ndarray, unit: float) -> tuple[np.ndarray, float]:
            z = rows.least_squares(y)
            for _ in range(30):
                r = y - rows.forward(z)
                z = z + np.linalg.solve(3 * rows.gram(r**2), rows.adjoint(r**3))
            # The decrement of a further step bounds the excess to second order.
            r = y - rows.forward(z)
            gradient = rows.adjoint(r**3)
            decrement = gradient @ np.linalg.solve(3 * rows.gram(r**2), gradient)
            return z, 2 * decrement / (r**4).sum()

        found, gaps = by_output(analysis, terms, fit)
        return SolverResult(**found, certificate=Certificate(max(gaps), GAP))


def _check_quartic(fit: cs.Solution, tolerance: float, y: np.ndarray = Y) -> None:
    """The gradient vanishes."""
    r = y - A @ np.asarray(fit.kernel, float).reshape(len(A.T), -1)
    gradient = np.abs(A.T @ r**3) / (np.abs(A).T @ np.abs(r) ** 3)
    assert gradient.max() < tolerance


@pytest.mark.slow
def test_a_loss_as_a_callable() -> None:
    problem = cs.Problem(X, Y[:, :1], kernel_size=4)
    fit = cs.solve(problem, cs.GradientDescent(optax.adam(0.02), steps=4000), loss=_quartic)
    _check_quartic(fit, 1e-3, Y[:, :1])
    assert fit.stats["call"].endswith("loss=_quartic)")


@pytest.mark.parametrize("limits", [Tuning(), CHUNKS], ids=["memory", "chunks"])
def test_a_loss(limits: Tuning, register: Register) -> None:
    exact = cs.solve(PROBLEM, loss=Quartic(), limits=limits)
    assert (exact.status, exact.stats["solver"]) == ("solved", "Quartic")
    assert exact.duality_gap < 1e-12
    assert exact.backward_error is None
    _check_quartic(exact, 1e-12)
    with pytest.raises(cs.SolveError, match="QR does not support the quartic loss"):
        cs.solve(PROBLEM, "qr", loss=Quartic())
    with pytest.raises(cs.SolveError, match="ridge cannot be combined with Quartic"):
        cs.solve(PROBLEM, ridge=1.0, loss=Quartic())
    name = register("loss", Quartic)
    named = cs.solve(PROBLEM, loss=name, limits=limits)
    np.testing.assert_array_equal(named.kernel, exact.kernel)
    assert named.stats["call"] == "cs.solve(problem, loss='quartic')"


def test_gradient_descent_minimizes_a_loss(register: Register) -> None:
    descended = cs.solve(PROBLEM, "lbfgs", loss=Quartic())
    assert descended.status == "solved"
    _check_quartic(descended, 1e-4)
    name = register("loss", Quartic)
    table = cs.compare(PROBLEM, ["quartic", "absolute", {"loss": "squared"}], loss=name)
    excess = {row["method"]: row["excess_loss"] for row in table.rows}
    assert excess["quartic"] == 0
    assert min(excess["absolute"], excess["loss='squared'"]) > 1e-3
    assert "Loss        mean quartic residual" in str(table)


# --- a solver


@dataclass(frozen=True, repr=False)
class Inverse(cs.extend.Solver):
    """Normal equations by an inverse matrix, for small problems that are well conditioned."""

    def supports(self, sizes: Any, spec: cs.ConvSpec, objective: Objective) -> str | None:
        return "it is for one axis" if spec.ndim > 1 else None

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        regression = analysis.regression(objective.penalty, objective.strength)
        right = regression.scaling.divided(regression.cross)
        gram = regression.system.gram(slice(None))
        kernel, bias = regression.to_user(np.linalg.inv(gram) @ right)
        return SolverResult(kernel, bias)


def test_a_solver(register: Register) -> None:
    for method in ({}, {"ridge": 3.0}, {"ridge": [1.0, 2.0, 3.0]}, {"penalty": "ridge"}):
        wanted, given = cs.solve(PROBLEM, **method), cs.solve(PROBLEM, Inverse(), **method)
        np.testing.assert_allclose(given.kernel, wanted.kernel, rtol=1e-11, atol=1e-14)
        assert (given.status, given.stats["solver"]) == ("solved", "Inverse")
    given = cs.solve(PROBLEM, Inverse(), ridge=3.0)
    with pytest.raises(cs.SolveError, match="Inverse does not support the huber loss"):
        cs.solve(PROBLEM, Inverse(), loss="huber")
    image = cs.Problem(RNG.random((6, 6, 1)), RNG.random((5, 5, 1)), kernel_size=(2, 2))
    with pytest.raises(cs.SolveError, match="Inverse cannot solve this problem: it is for one"):
        cs.solve(image, Inverse())
    name = register("solver", Inverse)
    named = cs.solve(PROBLEM, name, ridge=3.0)
    np.testing.assert_array_equal(named.kernel, given.kernel)
    assert named.stats["call"] == "cs.solve(problem, 'inverse', penalty=cs.Ridge(3.0))"
    table = cs.compare(PROBLEM, ["qr", name, {"solver": Inverse()}])
    assert list(table.solutions) == ["qr", "inverse", "solver=Inverse()"]


# --- a source of data


class _Squared:
    """A source with a shape, a type and slices, whose samples are computed when they are read."""

    def __init__(self, source: np.ndarray) -> None:
        self._source, self.shape, self.dtype = source, source.shape, source.dtype
        self.ndim = source.ndim

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, key: Any) -> np.ndarray:
        return np.square(self._source[key])


def test_a_source_of_data() -> None:
    source = _Squared(X)
    fit = cs.solve(cs.Problem(source, Y, kernel_size=4), limits=CHUNKS)
    wanted = cs.solve(cs.Problem(X**2, Y, kernel_size=4))
    np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-12)
