"""A noise model, a penalty, a loss and a source of data of one's own, without other changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve import noise
from convsolve.inference.uncertainty import Uncertainty
from convsolve.leastsquares.penalty import Penalty
from support import dense

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 2))
Y = RNG.standard_normal((117, 3))
A = dense.design_matrix([X], cs.ConvSpec(4))[0]


class _DoubledErrors(Uncertainty):
    kind = "doubled"

    @property
    def deviation(self) -> np.ndarray:
        return 2 * super().deviation


class _Doubled(noise.NoiseModel):
    name = "doubled"
    assumption = "if the noise is twice what it looks like"

    def check(self, problem: cs.Problem) -> None:
        if problem.spec.ndim > 1:
            raise ValueError("noise='doubled' is for one axis")

    def uncertainty(self, analysis: Any, estimate: Any) -> Uncertainty:
        return _DoubledErrors(analysis, estimate)


def test_a_noise_model(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = cs.Problem(X, Y, kernel_size=4)
    with pytest.raises(ValueError, match="'doubled' is unknown"):
        cs.solve(problem, noise="doubled")
    monkeypatch.setitem(noise.NOISES, "doubled", _Doubled())
    plain, found = cs.solve(problem), cs.solve(problem, noise="doubled")
    np.testing.assert_allclose(found.standard_error, 2 * plain.standard_error)
    np.testing.assert_allclose(found.noise.variance, 4 * plain.noise.variance)
    for low, high in zip(found.confidence_band(), plain.confidence_band(), strict=True):
        off = low - found.impulse_response, high - plain.impulse_response
        np.testing.assert_allclose(off[0], 2 * off[1])
    np.testing.assert_allclose(found.test(0).statistic, plain.test(0).statistic / 4)
    assert "if the noise is twice what it looks like" in str(found)
    image = cs.Problem(RNG.random((6, 6, 1)), RNG.random((5, 5, 1)), kernel_size=(2, 2))
    with pytest.raises(ValueError, match="is for one axis"):
        cs.solve(image, noise="doubled")


@dataclass(frozen=True)
class _Last(Penalty):
    """The penalty 9 w² on the largest lag, and w² on all others."""

    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = np.where(lags == lags.max(), 1 / 3, 1.0)
        return np.diag(root), np.zeros((len(lags), 0))


@pytest.mark.parametrize(
    "limits", [cs.Limits(), cs.Limits(held_numbers=0, chunk_numbers=64)], ids=["memory", "chunks"]
)
def test_a_penalty(limits: cs.Limits) -> None:
    problem = cs.Problem(X, Y, kernel_size=4)
    # The first tap of the kernel has the largest lag.
    weights = 5.0 * np.repeat([9.0, 1.0, 1.0, 1.0], 2)
    wanted = np.linalg.solve(A.T @ A + np.diag(weights), A.T @ Y).reshape(4, 2, 3)
    for solver in (
        cs.NormalEquations(5.0, _Last()),
        cs.LeastSquares("qr", 5.0, _Last()),
        cs.ConjugateGradient(5.0, penalty=_Last()),
    ):
        fit = cs.solve(problem, solver, limits=limits)
        assert fit.converged
        np.testing.assert_allclose(fit.kernel, wanted, rtol=1e-9)
    chosen = cs.solve(problem, cs.Regularized(_Last()), limits=limits)
    assert chosen.converged
    assert chosen.regularization.strength.shape == (3,)


def _quartic(prediction: Any, target: Any) -> Any:
    return ((prediction - target) ** 4).mean()


def test_a_loss() -> None:
    problem = cs.Problem(X, Y[:, :1], kernel_size=4)
    solver = cs.GradientDescent(optax.adam(0.02), loss=_quartic, steps=4000)
    fit = cs.solve(problem, solver)
    r = Y[:, 0] - A @ np.asarray(fit.kernel, float).reshape(-1)
    gradient = np.abs(A.T @ r**3) / (np.abs(A).T @ np.abs(r) ** 3)
    assert gradient.max() < 1e-3


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
    limits, source = cs.Limits(held_numbers=0, chunk_numbers=64), _Squared(X)
    fit = cs.solve(cs.Problem(source, Y, kernel_size=4), limits=limits)
    wanted = cs.solve(cs.Problem(X**2, Y, kernel_size=4))
    np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-12)
