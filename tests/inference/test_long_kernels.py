"""Strengths for a thousand taps and more, without the Gram matrix, compared with dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import cho_factor, cho_solve, toeplitz
from scipy.optimize import minimize
from scipy.signal import chirp, fftconvolve, lfilter

import convsolve as cs
from convsolve.operators.toeplitz import shifted
from convsolve.problem.sizes import Tuning

TAPS = 1024
# A strength, and others that are near it.
NEAR = np.array([0.8, 1.0, 1.25])
STENCIL = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1)]


def recording(seed, samples, taps=TAPS, outputs=1):
    """Coloured x, and outputs of a decaying response with more noise each."""
    rng = np.random.default_rng(seed)
    x = lfilter([1.0], [1.0, -0.9], rng.standard_normal(samples))
    h = rng.standard_normal((taps, outputs)) * np.exp(-5 * np.arange(taps) / taps)[:, None]
    y = np.stack([fftconvolve(x, one)[:samples] for one in h.T], axis=1)
    return x, y + y.std() * 0.3 ** np.arange(outputs) * rng.standard_normal(y.shape)


def windows(x, taps=TAPS):
    """The rows of whole windows, with ascending lags."""
    return np.ascontiguousarray(sliding_window_view(x, taps)[:, ::-1])


# --- Toeplitz matrices


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_toeplitz_matrices_of_several_strengths(channels):
    x = np.random.default_rng(0).standard_normal((300, channels)).cumsum(0)
    lags, taps = np.array([x[: 300 - j].T @ x[j:] for j in range(40)]), 40
    blocks = [[lags[k - i] if k >= i else lags[i - k].T for k in range(taps)] for i in range(taps)]
    places, strengths = np.arange(taps * channels), np.array([1e-2, 10.0, 1e4])
    first, inverses, logs = shifted(lags, strengths[:, None], places)
    assert first == 0
    for strength, inverse, log in zip(strengths, inverses, logs, strict=True):
        matrix = np.block(blocks) + strength * np.eye(len(places))
        dense = np.linalg.inv(matrix)
        np.testing.assert_allclose(inverse(np.eye(len(places))), dense, atol=1e-9 * dense.max())
        freedom = len(places) - strength * np.trace(dense)
        assert len(places) - strength * inverse.diagonal.sum() == pytest.approx(freedom, rel=1e-7)
        assert log.sum() == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-9)
    # An autoregression that continues the first lags, and strengths at which T is not definite.
    _, (short,), _ = shifted(lags, strengths[1:2, None], places, 10)
    np.testing.assert_allclose(short.diagonal, np.diagonal(short(np.eye(len(places)))), rtol=1e-9)
    assert shifted(lags, np.array([[-1e4], [10.0]]), places)[0] == 1


# --- one strength


class Exact:
    """Criteria from the eigenvalues d and vectors v of the Gram matrix."""

    def __init__(self, a, y, eigen, nuisance=0):
        (self.d, v), self.nuisance = eigen, nuisance
        self.c, self.squares, self.rows = v.T @ (a.T @ y), y @ y, len(y)

    def freedom(self, strength):
        return (self.d / (self.d + strength)).sum()

    def score(self, name, strength):
        z, n = self.c / (self.d + strength), self.rows
        s = self.squares - self.c @ z
        rss, m = s - strength * z @ z, n - self.nuisance
        k = self.freedom(strength) + self.nuisance
        if name == "evidence":
            return m * np.log(2 * np.pi * s / m) + m + np.log1p(self.d / strength).sum()
        if name == "gcv":
            return m * np.log(rss * m / (n - k) ** 2)
        penalty = {"aicc": 2 * n * (k + 1) / (n - k - 2), "bic": (k + 1) * np.log(n)}
        return n * np.log(rss / n) + penalty[name]

    def best(self, name, start):
        def loss(t):
            return self.score(name, np.exp(t[0]))

        found = minimize(loss, [np.log(start)], method="Nelder-Mead", options={"fatol": 1e-6})
        return np.exp(found.x[0]), found.fun


def test_strengths_minimise_their_criteria():
    x, y = recording(1, 12_000, outputs=2)
    problem = cs.Problem(x, y, lags=(0, TAPS - 1))
    rows, out = windows(x), y[TAPS - 1 :]
    eigen = np.linalg.eigh(rows.T @ rows)
    exact = [Exact(rows, out[:, q], eigen) for q in range(2)]
    for name in ("gcv", "evidence", "aicc", "bic"):
        fit = cs.solve(problem, penalty="ridge", select=name)
        found = fit.regularization
        assert fit.stats["solver"] == "ConjugateGradient"
        assert fit.status == "solved"
        assert f", by {name}" in str(found).lower()
        assert (np.diff(found.path.strengths, axis=0) >= 0).all()
        for q, own in enumerate(exact):
            strength, least = own.best(name, found.strength[q])
            assert found.strength[q] == pytest.approx(strength, rel=0.03)
            assert own.score(name, found.strength[q]) - least < 0.01
            freedom = own.freedom(found.strength[q])
            assert found.effective_dof[q] == pytest.approx(freedom, abs=0.3)
            score = found.score[q]
            score = len(out) * np.log(score) if name == "gcv" else score
            # The constant of log det comes from the Toeplitz matrix.
            assert score == pytest.approx(own.score(name, found.strength[q]), abs=5)
        # One strength has the least sum, which is that of logarithms for gcv.
        both = cs.solve(problem, penalty="ridge", select=name, one_strength=True).regularization
        sums = [sum(own.score(name, s) for own in exact) for s in both.strength[0] * NEAR]
        assert both.strength[0] == both.strength[1]
        assert sums[1] - min(sums) < 0.02
    given = cs.solve(problem, penalty="ridge", grid=found.path.strengths[::6, :1].ravel())
    assert np.isin(given.regularization.strength, found.path.strengths[::6, 0]).all()


def test_several_channels_and_records_with_a_bias():
    pairs = [recording(seed, 7000, 550) for seed in range(4)]
    x = [np.stack([pairs[i][0], 20 * pairs[i + 1][0]], axis=1) for i in (0, 2)]
    y = [pairs[i][1] + pairs[i + 1][1] + 7.0 for i in (0, 2)]
    fit = cs.solve(cs.Problem(x, y, lags=(0, 549), bias=True), penalty="ridge")
    rows = np.concatenate([np.hstack([windows(c, 550) for c in a.T]) for a in x])
    out = np.concatenate([b[549:, 0] for b in y])
    rows = rows - rows.mean(0)
    own = Exact(rows, out - out.mean(), np.linalg.eigh(rows.T @ rows), 1)
    found = fit.regularization
    assert fit.stats["solver"] == "ConjugateGradient"
    assert found.effective_dof[0] == pytest.approx(own.freedom(found.strength[0]), abs=0.3)
    assert own.score("gcv", found.strength[0]) - own.best("gcv", found.strength[0])[1] < 0.01


def test_no_response_is_at_the_edge():
    x, y = np.random.default_rng(3).standard_normal((2, 14_000))
    found = cs.solve(cs.Problem(x, y, lags=(0, 1099)), penalty="ridge").regularization
    assert found.at_edge[0] or found.effective_dof[0] < 20


@pytest.mark.parametrize("penalty", ["ridge", "dc"])
def test_a_sweep_needs_silence_at_both_ends(penalty):
    sweep = chirp(np.arange(47_000), 0.001, 47_000, 0.49, method="logarithmic")
    y = sweep + np.random.default_rng(0).standard_normal(47_000)
    with pytest.raises(
        cs.SolveError, match="silence as long as the kernel at both ends, or with edges='zeros'"
    ):
        cs.solve(cs.Problem(sweep, y, lags=(0, 4199)), penalty=penalty)
    with_silence = np.concatenate([sweep, np.zeros(4200)])
    problem = cs.Problem(with_silence, np.resize(y, 51_200), lags=(0, 4199), edges="zeros")
    assert cs.solve(problem, penalty=penalty).stats["solver"] == "ConjugateGradient"
    if penalty == "ridge":
        fit = cs.solve(cs.Problem(sweep, y, lags=(0, 1099)), penalty=penalty)
        assert fit.stats["solver"] == "eigenvectors of the Gram matrix"


# --- a prior that decays


@pytest.mark.parametrize(("first", "channels"), [(0, 1), (5, 1), (0, 2)])
def test_the_decay_of_a_prior(first, channels):
    taps = TAPS // channels
    several = [recording(5 + c, 22_000, taps) for c in range(channels)]
    x, y = np.stack([a for a, _ in several], axis=1), sum(b for _, b in several)
    y = np.concatenate([np.zeros((first, 1)), y])[:22_000]
    problem = cs.Problem(x, y, lags=(first, first + taps - 1))
    fit = cs.solve(problem, penalty="dc", limits=Tuning(spectrum_columns=1000))
    found = fit.regularization
    decay = found.hyperparameters["decay"]
    assert fit.status == "solved"
    assert found.hyperparameters == {"decay": decay, "correlation": 0.0}
    a = np.stack([windows(c, taps) for c in x.T], axis=2).reshape(-1, TAPS)
    a, i = a[: len(a) - first], np.repeat(np.arange(taps), channels)
    out = y[taps - 1 + first :, 0]
    gram, cross, m = a.T @ a, a.T @ out, len(out)

    def solved(t):
        """-2 log evidence at log strength and log of minus log decay, the kernel and its factor."""
        d = np.exp(-0.5 * np.minimum(t[0] + np.exp(t[1]) * (i + first), 500.0))
        factor = cho_factor(np.eye(TAPS) + d[:, None] * gram * d, lower=True)
        w = d * cho_solve(factor, d * cross)
        s = out @ out - cross @ w
        score = m * np.log(2 * np.pi * s / m) + m + 2 * np.log(np.diagonal(factor[0])).sum()
        return score, w, (d, factor, s / m)

    place = np.array([np.log(found.strength[0]), np.log(-np.log(decay))])
    score, kernel, (d, factor, variance) = solved(place)
    error = d * np.sqrt(np.diagonal(cho_solve(factor, np.eye(TAPS))) * variance)
    # The distance to the minimum of a quadratic function of differences.
    step = 0.02
    values = {(j, k): solved(place + step * np.array([j, k]))[0] for j, k in STENCIL}
    slope = np.array([values[1, 0] - values[-1, 0], values[0, 1] - values[0, -1]]) / 2
    cross_term = values[1, 1] - values[1, 0] - values[0, 1] + score
    bend = [values[1, 0] + values[-1, 0] - 2 * score, values[0, 1] + values[0, -1] - 2 * score]
    hessian = np.array([[bend[0], cross_term], [cross_term, bend[1]]])
    assert np.linalg.eigvalsh(hessian)[0] > 0
    assert slope @ np.linalg.solve(hessian, slope) / 2 < 0.15
    assert found.score[0] == pytest.approx(score, abs=20)
    found = fit.impulse_response.ravel()
    np.testing.assert_allclose(found, kernel, atol=1e-9 * np.abs(kernel).max())
    # The errors are approximate.
    assert "approximate posterior" in str(fit)
    ratio = fit.standard_error.ravel() / error
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert (np.abs(np.log(ratio)) < 0.5).all()


def test_every_output_has_a_decay():
    x, y = recording(8, 25_000, outputs=2)
    fit = cs.solve(cs.Problem(x, y, lags=(0, TAPS - 1)), penalty="dc")
    for o in range(2):
        alone = cs.solve(cs.Problem(x, y[:, o], lags=(0, TAPS - 1)), penalty="dc")
        decay = alone.regularization.hyperparameters["decay"]
        assert fit.regularization.hyperparameters["decay"][o] == pytest.approx(decay, rel=1e-6)
        np.testing.assert_allclose(fit.impulse_response[:, o], alone.impulse_response, atol=1e-6)
    assert "DC, decay 0.9901 to 0.9905, correlation 0, strength" in str(fit.regularization)


def test_a_smooth_kernel_is_reported():
    """Taps of "dc" are independent above 1000 unknowns."""
    rng, k = np.random.default_rng(9), np.arange(TAPS)
    x = rng.standard_normal(25_000)
    for h, smooth in (
        (np.sin(k / 30) * np.exp(-k / 100), True),
        (rng.standard_normal(TAPS), False),
    ):
        y = fftconvolve(x, h * np.exp(-k / 300))[:25_000]
        problem = cs.Problem(x, y + y.std() * rng.standard_normal(25_000), lags=(0, TAPS - 1))
        if smooth:
            with pytest.warns(UserWarning, match="neighbouring taps are similar.*use penalty='tc'"):
                cs.solve(problem, penalty="dc")
        else:
            cs.solve(problem, penalty="dc")


@pytest.mark.parametrize("solver", ["auto", "cg", "qr"])
def test_a_given_prior_without_correlation(solver):
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((900, 2)), rng.standard_normal(900)
    prior = cs.StableSpline(3.0, kind="dc", decay=0.7, correlation=0.0)
    fit = cs.solve(cs.Problem(x, y, lags=(-4, 25)), solver, penalty=prior)
    a = np.hstack([toeplitz(c, np.zeros(34))[:, :34] for c in x.T])
    columns = np.concatenate([[*range(30)], 34 + np.arange(30)])
    a = a[29:, columns]
    ridge = 3.0 * 0.7 ** -np.abs(np.arange(-4.0, 26.0))
    wanted = np.linalg.solve(a.T @ a + np.diag(np.tile(ridge, 2)), a.T @ y[25:-4])
    np.testing.assert_allclose(fit.impulse_response.T.ravel(), wanted, atol=1e-12)
    assert fit.status == "solved"


@pytest.mark.parametrize(
    ("penalty", "taps", "channels"), [("tc", 2100, 1), ("ss", 4100, 1), ("dc", 2050, 2)]
)
def test_priors_of_many_unknowns_are_refused(penalty, taps, channels):
    x = np.zeros((taps + 10, channels))
    with pytest.raises(cs.SolveError, match=r'at most [24]000 unknowns.*"dc".*\d rows here'):
        cs.solve(cs.Problem(x, x[:, 0], lags=(0, taps - 1), edges="zeros"), penalty=penalty)
