"""Standard errors and intervals of R², against the formulas row by row, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support.coverage import red


def effective_rows(series: np.ndarray) -> float:
    """n/(1 + 2·Σρ²) up to the first autocorrelation below 2/√n, lag by lag."""
    n, a = len(series), series - series.mean()
    total = 0.0
    for lag in range(1, n):
        rho = a[lag:] @ a[:-lag] / (a @ a)
        if rho < 2 / np.sqrt(n):
            break
        total += rho**2
    return n / (1 + 2 * total)


def oracle(y: np.ndarray, p: np.ndarray, level: float) -> tuple[float, float, float, float]:
    """Standard error of R², effective rows, and the ends of the interval, of joined rows."""
    n, e, c = len(y), y - p, y - y.mean()
    share, t = e @ e / (c @ c), np.arange(1, n + 1)
    psi = e**2 / (e @ e) - c**2 / (c @ c)
    d = [psi @ np.cos(np.pi * j * (t - 0.5) / n) for j in (1, 2, 3, 4)]
    error = np.sqrt(0.5 * np.square(d).sum())
    rows = min(effective_rows(v) for v in (y, p, e))
    reach = scipy.stats.t.ppf((1 + level) / 2, 4) * (1 + 8 / rows) * error
    return share * error, rows, 1 - share * np.exp(reach), 1 - share * np.exp(-reach)


def made(lengths: tuple[int, ...], seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((n + 2, 1)) for n in lengths]
    w = rng.standard_normal((3, 1, 2))
    return x, [cs.convolve(a, w, cs.ConvSpec(3)) + red(rng, len(a) - 2, 2) + 7 for a in x]


@pytest.mark.parametrize(
    ("lengths", "masked", "chunked"),
    [((400,), True, False), ((150, 90, 160), False, True), ((150, 90, 160), True, True)],
)
def test_the_interval_is_that_of_the_formulas(
    lengths: tuple[int, ...], masked: bool, chunked: bool
) -> None:
    """Every output has its own rows."""
    x, y = made(lengths)
    flags = [np.ones((n, 2), bool) for n in lengths]
    flags[0][10:30, 0] = flags[0][50:90, 1] = not masked
    limits = Tuning(held_numbers=1, chunk_numbers=50) if chunked else Tuning()
    fit = cs.solve(cs.Problem(x, y, kernel_size=3, bias=True, mask=flags), limits=limits)
    score = fit.score()
    low, high = score.r2_interval(0.9)
    for q in range(2):
        rows = [
            np.concatenate([a[f[:, q], q] for a, f in zip(v, flags)]) for v in (y, fit.predict())
        ]
        found = score.r2_standard_error[q], score.effective_rows[q], low[q], high[q]
        np.testing.assert_allclose(found, oracle(*rows, 0.9), rtol=1e-8)


def test_confounds_are_projected_out() -> None:
    """Intercepts are subtracted as the means of the records."""
    x, y = made((200, 180))
    fit = cs.solve(cs.Problem(x, y, kernel_size=3, drift=0))
    score = fit.score()
    left, fitted = (
        np.concatenate([a[:, 0] - a[:, 0].mean() for a in values]) for values in (y, fit.predict())
    )
    wanted = oracle(left, fitted, 0.95)
    found = score.r2_standard_error[0], score.effective_rows[0]
    np.testing.assert_allclose(found, wanted[:2], rtol=1e-8)


def test_long_series_are_summed_in_bins() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 9001))
    fit = cs.solve(cs.Problem(x, x + y + 3, lags=(0, 1), bias=True))
    p, measured = fit.predict()[1:], (x + y + 3)[1:]
    wanted = oracle(measured, p, 0.95)
    # Cosines are evaluated at the middle of bins of a few rows.
    np.testing.assert_allclose(fit.score().r2_standard_error[0], wanted[0], rtol=1e-3)


def test_few_effective_rows_have_no_interval_or_an_approximate_one() -> None:
    x, y = made((60,))
    score = cs.solve(cs.Problem(x, y, kernel_size=3, bias=True)).score()
    assert 5 < score.effective_rows.min() < 15
    words = "rows of output . are worth .*: an interval of R² needs 5, and is inaccurate below 15"
    with pytest.warns(UserWarning, match=words):
        low, high = score.r2_interval()
    assert (low < score.r2).all()
    assert (high > score.r2).all()
    x, y = np.random.default_rng(0).standard_normal((2, 300))
    y = y + 20 * np.cumsum(red(np.random.default_rng(1), 300, 1))
    score = cs.solve(cs.Problem(x, y, lags=(0, 1), bias=True)).score()
    with pytest.warns(UserWarning, match=words):
        assert np.isnan(score.r2_interval()).all()
    assert np.isfinite(score.r2_standard_error).all()


def test_an_exact_fit_and_a_constant_output() -> None:
    x = np.random.default_rng(0).standard_normal(100)
    y = np.stack([2 * x, np.full(100, 3.0)], axis=1)
    score = cs.solve(cs.Problem(x, y, kernel_size=1)).score()
    low, high = score.r2_interval()
    assert (low[0], high[0]) == (1, 1)
    assert np.isnan([low[1], high[1], score.effective_rows[1]]).all()


def test_the_interval_contains_the_r2_of_the_population() -> None:
    """Nominal 95 %, with AR(0.9) x and noise and a known kernel."""
    rng, w, n = np.random.default_rng(0), 0.8 ** np.arange(8)[:, None, None], 1500
    spec = cs.ConvSpec(8)
    x = red(rng, 100, 1)
    fit = cs.solve(cs.Problem(x, cs.convolve(x, w, spec), spec=spec))
    signal = np.square(np.convolve(w[:, 0, 0], 0.9 ** np.arange(200))).sum()
    truth = signal / (signal + 4 / (1 - 0.81))
    held = []
    for _ in range(120):
        x = red(rng, n + 7, 1)
        low, high = fit.score(x, cs.convolve(x, w, spec) + 2 * red(rng, n, 1)).r2_interval()
        held.append(low[0] <= truth <= high[0])
    assert 0.9 <= np.mean(held) <= 0.995
