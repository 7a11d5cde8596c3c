"""Hyperparameters by evidence, the roots of priors that have no inverse, and banded ridge."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import convsolve as cs

EPS = float(np.finfo(float).eps)


def recording(
    taps: int, rows: int = 200, noise: float = 0.5, seed: int = 0, outputs: int = 1
) -> tuple[cs.Problem, np.ndarray]:
    """A response that rings and decays, from lag 0 on, and what is measured of it."""
    rng = np.random.default_rng(seed)
    k = np.arange(taps)
    h = np.stack([0.9**k * np.sin((k + 1) / (3 + q)) for q in range(outputs)], axis=1)
    x = rng.standard_normal(rows)
    y = np.stack([np.convolve(x, h[:, q])[:rows] for q in range(outputs)], axis=1)
    y = y + noise * y.std() * rng.standard_normal(y.shape)
    return cs.Problem(x, y, lags=(0, taps - 1)), h


def fit_of(fit: cs.Solution, h: np.ndarray) -> float:
    """Share of the true response, in per cent."""
    g = fit.impulse_response.reshape(h.shape)
    return 100 * (1 - np.linalg.norm(g - h) / np.linalg.norm(h - h.mean()))


@pytest.mark.parametrize("kind", ["tc", "dc"])
def test_a_decaying_prior_is_more_accurate_than_least_squares_and_ridge(kind: str) -> None:
    problem, h = recording(70)
    plain = fit_of(cs.solve(problem), h)
    ridge = fit_of(cs.solve(problem, penalty="ridge"), h)
    fit = cs.solve(problem, penalty=kind)
    assert fit.converged
    assert plain < ridge < 65 < 80 < fit_of(fit, h)
    found = fit.regularization
    assert found.criterion == "evidence"
    assert set(found.hyperparameters) == ({"decay", "correlation"} if kind == "dc" else {"decay"})
    assert f"decay {found.hyperparameters['decay']:.4g}" in found.penalty
    assert 5 < found.effective_dof[0] < 30
    assert not found.at_edge.any()


@pytest.mark.parametrize(
    ("penalty", "select"), [("tc", "aicc"), ("ss", "evidence"), ("squared_exponential", "gcv")]
)
def test_hyperparameters_are_the_best_of_a_fine_grid(penalty: str, select: str) -> None:
    """The score is that of two outputs together, each at its own strength."""
    problem, _ = recording(40, outputs=2)
    found = cs.solve(problem, penalty=penalty, select=select).regularization
    log = np.log if select == "gcv" else np.asarray

    def loss(at: cs.extend.Penalty) -> float:
        strength = cs.solve(problem, penalty=at, select=select).regularization.strength
        # A single strength is not scored.
        grid = strength * np.array([[1.0], [2.0]])
        best = cs.solve(problem, penalty=at, grid=grid, select=select).regularization
        return float(log(best.path.scores[0]).sum())

    def prior(step: float) -> cs.extend.Penalty:
        """The memory -1/log(decay), or the length, times ``step``."""
        if name == "decay":
            return cs.StableSpline(kind=penalty, decay=chosen ** (1 / step))
        return cs.SquaredExponential(length=chosen * step)

    (name, chosen), *_ = found.hyperparameters.items()
    others = [loss(prior(step)) for step in np.geomspace(0.2, 5, 11)]
    assert loss(prior(1.0)) <= min(others) + 1e-3


@pytest.mark.parametrize("kind", ["tc", "dc", "ss"])
def test_roots_are_exact_to_rounding(kind: str) -> None:
    """L Lᵀ against the covariance in 60 digits, at lags on both sides of zero.

    L⁻¹ K L⁻ᵀ shows the accuracy of all directions, also of those with a small variance.
    """
    lags = np.arange(-5, 12)[::-1]
    for alpha in (0.05, 0.9, 0.999, 1 - 1e-8):
        rho = 0.7 if kind == "dc" else None
        prior = cs.StableSpline(kind=kind, decay=alpha, correlation=rho)
        ((root, _),) = prior.bases([lags])
        with mpmath.workdps(60):
            a = mpmath.mpf(alpha)

            def entry(i: int, j: int, a: mpmath.mpf = a) -> mpmath.mpf:
                m, size = abs(i - j), abs(i) + abs(j)
                if kind == "ss":
                    bent = 3 * a ** (mpmath.mpf(m) / 2) - a ** (3 * mpmath.mpf(m) / 2)
                    return a ** (3 * mpmath.mpf(size) / 2) * bent / 2
                near = a ** (mpmath.mpf(m) / 2) if kind == "tc" else mpmath.mpf(0.7) ** m
                return a ** (mpmath.mpf(size) / 2) * near

            exact = mpmath.matrix([[entry(int(i), int(j)) for j in lags] for i in lags])
            wanted = np.array(exact.tolist(), float)
            inverse = mpmath.matrix(root.tolist()) ** -1
            unit = np.array((inverse * exact * inverse.T).tolist(), float)
        # L is rounded, and its columns become small as alpha comes near 1.
        rounding = 20 * EPS / (1 - alpha) ** 1.5
        assert np.abs(unit - np.eye(len(lags))).max() <= rounding
        scale = np.sqrt(np.outer(np.diagonal(wanted), np.diagonal(wanted)))
        assert np.abs(root @ root.T - wanted).max() <= 1e-14
        assert (np.abs(root @ root.T - wanted) / scale).max() <= 1e-12


# --- banded ridge


def bands(rows: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x of a loud, a weak and a silent feature, y of two outputs and the kernel."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 4))
    w = rng.standard_normal((10, 4, 2)) * np.array([1.0, 0.2, 0.2, 0.0])[:, None]
    y = cs.convolve(x, w, cs.ConvSpec(10)) + 2 * rng.standard_normal((rows - 9, 2))
    return x, y, w


def test_bands_shrink_a_silent_channel_and_are_better_than_one_strength() -> None:
    x, y, w = bands()
    problem = cs.Problem(x, y, kernel_size=10, bias=True)
    fit = cs.solve(problem, penalty=cs.Ridge(channel_groups=(0, 1, 1, 2)))
    assert fit.converged
    found = fit.regularization
    assert found.strength.shape == (3, 2)
    assert (found.strength[0] < found.strength[1]).all()
    assert (found.strength[2] > 5 * found.strength[1]).all()
    plain = cs.solve(problem, penalty="ridge")
    assert np.linalg.norm(fit.kernel - w) < 0.9 * np.linalg.norm(plain.kernel - w)
