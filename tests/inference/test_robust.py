"""Huber's estimate and least absolute deviations, against HiGHS, RLM and their definitions."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import convsolve as cs
from convsolve.inference import plq, robust
from convsolve.problem.sizes import Tuning
from support.adjusted import OUTPUTS, ROUTES, Adjusted
from support.geometry import NAMED, Geometry, geometries
from support.ordering import covariance_of, errors_of
from support.robust import dense_outputs, dual_point, huber_loss, least_absolute
from support.slow import some

DATA = Path(__file__).parent / "data" / "statsmodels.json"
KNOWN = json.loads(DATA.read_text(encoding="utf-8"))

BOTH = ["huber", "absolute"]
DETERMINED = [name for name in NAMED if not name.startswith("wide")]
MAD = 0.6744897501960817


def solved(problem: cs.Problem, loss: str | cs.extend.Loss, **options: Any) -> cs.Solution:
    """The solution, whatever x determines of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        return cs.solve(problem, loss=loss, **options)


def noisy(name: str) -> cs.Problem:
    geometry = NAMED[name]
    x, y = geometry.noise()
    return geometry.problem(x, y, geometry.bias)


def outliers(rows: int, share: float) -> tuple[cs.Problem, np.ndarray]:
    """A problem of four taps and two channels with outliers of 30 in some rows, and its kernel."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((rows + 3, 2)), rng.standard_normal((4, 2, 1))
    clean = cs.convolve(x, w, cs.ConvSpec(4))
    bad = rng.random(clean.shape) < share
    return cs.Problem(x, clean + bad * rng.normal(30, 5, clean.shape), kernel_size=4), w


# --- kernels and errors


def check_absolute(problem: cs.Problem, fit: cs.Solution) -> None:
    """The sum is the least one, and the certificate bounds the difference."""
    for a, y, w in dense_outputs(problem, fit):
        least, _, multipliers = least_absolute(a, y)
        found = np.abs(y - a @ w).sum()
        rounding = 1e-12 * np.abs(y).sum()
        assert found <= least * (1 + 1e-9) + rounding
        # The multipliers make a dual bound of their own.
        bound = y @ dual_point(a, multipliers, 1.0)
        assert bound <= found + rounding
        assert found - least <= fit.duality_gap * found + 1e-9 * least + rounding


def check_huber(problem: cs.Problem, fit: cs.Solution) -> None:
    """The gradient of the convex loss vanishes, and so does the gap by its definition."""
    delta = fit.stats["loss"]["delta"]
    for (a, y, w), scale in zip(dense_outputs(problem, fit), fit.stats["scale"]):
        threshold, r = delta * scale, y - a @ w
        pull = np.clip(r, -threshold, threshold)
        rounding = 1e-14 * (np.abs(y) + np.abs(a) @ np.abs(w)).max()
        assert (np.abs(a.T @ pull) <= np.abs(a).T @ (1e-11 * np.abs(pull) + rounding)).all()
        loss = huber_loss(r, threshold)
        if (np.abs(r) > rounding).any():
            d = dual_point(a, pull, threshold).astype(np.longdouble)
            gap = (loss - (y @ d - (d**2).sum() / 2)) / loss
            assert abs(gap) <= 1e-11
            assert fit.duality_gap <= 1e-11


@pytest.mark.parametrize("name", [*DETERMINED[::2], "wide, bias"])
def test_least_absolute_deviations_are_those_of_the_simplex_method(name: str) -> None:
    problem = noisy(name)
    fit = solved(problem, "absolute")
    assert fit.converged
    assert fit.stats["certificate_kind"] == "relative duality gap"
    check_absolute(problem, fit)
    if name in DETERMINED:
        assert fit.duality_gap <= 1e-13
        for a, y, w in dense_outputs(problem, fit):
            np.testing.assert_allclose(w, least_absolute(a, y)[1], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("name", "scale"), [*zip(DETERMINED, cycle(["mad", 0.7]))])
def test_the_gradient_of_hubers_loss_vanishes(name: str, scale: Any) -> None:
    problem = noisy(name)
    fit = solved(problem, cs.HuberLoss(scale=scale))
    assert fit.converged
    check_huber(problem, fit)
    if scale == "mad":
        assert fit.stats["scale_settled"]
        for (a, y, w), found in zip(dense_outputs(problem, fit), fit.stats["scale"]):
            assert found == pytest.approx(np.median(np.abs(y - a @ w)) / MAD, rel=1e-9)


@settings(max_examples=20)
@given(made=geometries(min_rows=1, ragged=True))
def test_any_geometry_with_ties(made: Geometry) -> None:
    """Many rows of integers agree; some problems are fitted exactly, or underdetermined."""
    x, y = ([np.rint(3 * a).astype(int) for a in signal] for signal in made.noise())
    problem = made.problem(x, y, made.bias)
    fits = solved(problem, "absolute"), solved(problem, cs.HuberLoss(scale=0.5))
    for fit, check in zip(fits, (check_absolute, check_huber), strict=True):
        assert fit.converged
        check(problem, fit)


@pytest.mark.parametrize(("bias", "given_scale"), [("bias", False), ("plain", True)])
def test_hubers_estimate_and_its_errors_are_those_of_rlm(bias: str, given_scale: bool) -> None:
    x, y = np.array(KNOWN["x"]), np.array(KNOWN["contaminated"])
    problem = cs.Problem(x, y, kernel_size=5, bias=bias == "bias")
    for q, said in enumerate(KNOWN["robust"][bias]):
        loss = cs.HuberLoss(scale=said["scale"]) if given_scale else "huber"
        fit = cs.solve(problem, loss=loss)
        close = {"rtol": 1e-10, "atol": 1e-11}
        np.testing.assert_allclose(fit.kernel.reshape(10, 2)[:, q], said["kernel"], **close)
        np.testing.assert_allclose(fit.bias[q], said["bias"], **close)
        np.testing.assert_allclose(fit.stats["scale"][q], said["scale"], rtol=1e-10)
        wanted = np.array(said["covariance"])
        errors = np.sqrt(np.diagonal(wanted))
        apart = np.abs(covariance_of(fit, q) - wanted) / np.outer(errors, errors)
        assert apart.max() <= 1e-10
        np.testing.assert_allclose(errors_of(fit).reshape(10, 2)[:, q], errors, rtol=1e-10)
        test = fit.test(1)
        np.testing.assert_allclose(test.statistic[q], said["statistic"], rtol=1e-9)
        assert np.isnan(test.partial_r2).all()
        assert fit.noise.dof[q] == said["dof"]


# --- masks, weights, confounds and chunks

ALL: dict[str, Any] = {"weights": [2.0, 0.3, 1.0], "confounds": True}
CASES: dict[str, dict[str, Any]] = {
    "mask of every output, intercepts": {"mask": "each", "drift": 0},
    "weights, bias": {"weights": [1.0, 3.0, 0.05], "bias": True},
    "weights, mask, motion, drift": ALL | {"mask": 0.1, "drift": 1},
    "motion, bias, mask of every output": {"confounds": True, "bias": True, "mask": "each"},
    "stride 2, zeros, weights, motion": ALL | {"stride": 2, "padding": "causal", "bias": True},
}


def outputs_of(made: Adjusted, fit: cs.Solution) -> Iterator[tuple[Any, ...]]:
    """Yield index, rows, y, residuals and taps of every output; y − r is in the span of the rows.

    The taps and the bias are the coefficients of this fit. Rows are multiplied by the roots.
    """
    for o in range(OUTPUTS):
        parts = [
            (root * a[used], root * y[used], root * left[used, o])
            for (root, used, a, y), left in zip(made.rows(o), fit.residuals(), strict=True)
        ]
        a, y, r = (np.concatenate(several) for several in zip(*parts))
        w = np.asarray(fit.kernel)[..., o].reshape(-1)
        known = a[:, : len(w)] @ w + a[:, -1] * fit.bias[o]
        own = a[:, len(w) : a.shape[1] - made.bias]
        c = np.linalg.lstsq(own, y - r - known, rcond=None)[0]
        np.testing.assert_allclose(y - r, known + own @ c, rtol=0, atol=1e-9)
        yield o, a, y, r, w


ROWS = [*zip(CASES, cycle(["chunks", "memory", "dask"]), cycle(["mad", 0.8]))]
ROWS += [(name, "chunks", 0.8) for name in CASES]


# Without a bias, the offset of y is in the residuals of some cases.
@pytest.mark.filterwarnings("ignore:the residuals of output")
@pytest.mark.parametrize(("name", "route", "scale"), some(ROWS, *ROWS[:4]))
def test_losses_are_minimized_over_the_rows_of_the_fit(name: str, route: str, scale: Any) -> None:
    made = Adjusted(
        CASES[name], lambda rng, n: rng.standard_normal(n) + 40 * (rng.random(n) < 0.05)
    )
    store, limits = ROUTES[route]
    problem = made.problem(store)
    fit = cs.solve(problem, loss=cs.HuberLoss(scale=scale), limits=limits)
    assert fit.duality_gap < 1e-11
    for o, a, _, r, w in outputs_of(made, fit):
        threshold = 1.345 * fit.stats["scale"][o]
        pull = np.clip(r, -threshold, threshold)
        assert (np.abs(a.T @ pull) <= 1e-9 * (np.abs(a).T @ np.abs(pull))).all()
        if scale == "mad":
            mad = np.median(np.abs(r)) / MAD
            np.testing.assert_allclose(fit.stats["scale"][o], mad, rtol=1e-9)
        # Huber's H1, with the rank of the whole matrix.
        rank, inside = np.linalg.matrix_rank(a), np.mean(np.abs(r) <= threshold)
        few = 1 + rank / len(r) * (1 - inside) / inside
        variance = (few / inside) ** 2 * (pull @ pull) / (len(r) - rank)
        inverse = np.diagonal(np.linalg.pinv(a.T @ a))[: len(w)]
        errors = errors_of(fit)[..., o].reshape(-1)
        np.testing.assert_allclose(errors, np.sqrt(variance * inverse), rtol=1e-8)
    fit = cs.solve(problem, loss="absolute", limits=limits)
    assert fit.duality_gap < 1e-11
    for _, a, y, r, w in outputs_of(made, fit):
        least, best, _ = least_absolute(a, y)
        np.testing.assert_allclose(np.abs(r).sum(), least, rtol=1e-9)
        np.testing.assert_allclose(w, best[: len(w)], rtol=1e-6, atol=1e-8)


def test_the_score_has_the_residuals_of_the_loss() -> None:
    """Its confounds are fitted by the loss too."""
    rng, x = np.random.default_rng(3), np.random.default_rng(4).standard_normal((2, 60, 1))
    y, roots = x @ [[1.0, -2.0]] + rng.standard_t(2, (2, 60, 2)) + 4, np.array([2.0, 0.5])
    own = rng.standard_normal((2, 60, 1))
    problem = cs.Problem(x, y, lags=(0, 2), confounds=own, bias=True, weights=roots)
    fit = cs.solve(problem, loss="huber")
    squares = np.einsum("r,rto->o", roots, np.stack(fit.residuals())[:, 2:] ** 2)
    np.testing.assert_allclose(fit.score().mse, squares / roots.sum() / 58, rtol=1e-12)
    assert (fit.score().r2 < cs.solve(problem).score().r2).all()


# --- outliers, exact fits and columns that are nearly dependent


@pytest.mark.parametrize("loss", BOTH)
def test_the_distance_of_an_outlier_changes_no_digit(loss: str) -> None:
    rng = np.random.default_rng(14)
    x, y = rng.standard_normal((200, 2)), rng.standard_normal(196)
    fits = []
    for far in (1e3, 1e6):
        y[[7, 90]] = [far, -far]
        problem = cs.Problem(x, y, kernel_size=5, bias=True)
        fits.append(cs.solve(problem, loss=loss, limits=Tuning(kept_numbers=0)))
    plain, fit = fits
    assert fit.converged
    np.testing.assert_allclose(fit.kernel, plain.kernel, atol=1e-9)
    if loss == "huber":
        np.testing.assert_allclose(fit.standard_error, plain.standard_error, rtol=1e-6)


def test_least_absolute_deviations_are_exact_if_a_third_of_the_rows_is_wrong() -> None:
    """Huber's loss has no scale then, because half of the rows are fitted exactly."""
    problem, w = outliers(300, 0.33)
    fit = cs.solve(problem, loss="absolute")
    np.testing.assert_allclose(fit.kernel, w, atol=1e-13)
    assert fit.duality_gap <= 1e-13
    with pytest.raises(cs.SolveError, match=r"half of the rows .* exactly, so that scale='mad' is"):
        cs.solve(problem, loss="huber")


@pytest.mark.parametrize("loss", [*BOTH, cs.HuberLoss(scale=1.0)], ids=str)
def test_exact_fits_and_outputs_of_zeros(loss: Any) -> None:
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((60, 2)), rng.standard_normal((5, 2, 2))
    for factor in (1.0, 0.0):
        y = factor * cs.convolve(x, w, cs.ConvSpec(5), bias=[2.0, -1.0])
        fit = cs.solve(cs.Problem(x, y, kernel_size=5, bias=True), loss=loss)
        np.testing.assert_allclose(fit.kernel, factor * w, atol=1e-13 * factor)
        np.testing.assert_allclose(fit.bias, factor * np.array([2.0, -1.0]), atol=1e-13 * factor)
        assert fit.converged
    assert fit.duality_gap == 0


@pytest.mark.parametrize("loss", ["absolute", cs.HuberLoss(scale=1.0)], ids=str)
def test_without_a_unique_solution_the_norm_is_the_least(loss: Any) -> None:
    x, y = np.tile([1.0, -3.0], 30), np.random.default_rng(5).standard_normal(56)
    problem = cs.Problem(x, y, kernel_size=5, bias=loss == "absolute")
    with pytest.warns(cs.IdentifiabilityWarning, match="minimum norm among those with the same"):
        fit = cs.solve(problem, loss=loss)
    assert fit.converged
    (check_absolute if loss == "absolute" else check_huber)(problem, fit)
    # Every row has the period of x, and a mean of zero with a bias.
    kernel = fit.kernel[:, 0, 0]
    period = np.resize([1, -1] if problem.bias else [1, kernel[1] / kernel[0]], 5)
    np.testing.assert_allclose(kernel, kernel[0] * period, rtol=1e-14)
    with pytest.raises(cs.IdentifiabilityError):
        cs.solve(problem, loss=loss, strict=True)


@pytest.mark.parametrize(
    ("sums", "condition", "most", "kept"), [(3, 1e6, 1e-8, 0), (4, 1e8, 1e-6, 2**20)]
)
def test_ill_conditioned_columns(sums: int, condition: float, most: float, kept: int) -> None:
    """The Gram matrix has lost the small columns. The gap grows with the condition number."""
    rng, x = np.random.default_rng(6), np.random.default_rng(7).standard_normal(400)
    for _ in range(sums):
        x = np.cumsum(x)
    problem = cs.Problem(x / np.abs(x).max(), rng.standard_normal(395), kernel_size=6, bias=True)
    assert cs.identify(problem).condition_number > condition
    for loss in BOTH:
        fit = cs.solve(problem, loss=loss, limits=Tuning(kept_numbers=kept))
        assert fit.duality_gap <= most
        assert fit.converged == (fit.duality_gap <= 1e-8)
    for a, y, w in dense_outputs(problem, fit):
        # The simplex method loses no digits in orthonormal coordinates.
        share = 1 - least_absolute(np.linalg.qr(a)[0], y)[0] / np.abs(y - a @ w).sum()
        assert share <= fit.duality_gap + 1e-12


# --- certificates and refused problems


@pytest.mark.parametrize("loss", ["absolute", cs.HuberLoss(scale=0.1)], ids=str)
def test_an_unfinished_run_reports_its_gap(monkeypatch: pytest.MonkeyPatch, loss: Any) -> None:
    """The gap is no less than the share of the loss above the least one."""
    problem = noisy("bias")

    def total(fit: cs.Solution) -> np.ndarray:
        r = fit.residuals()
        return (np.abs(r) if loss == "absolute" else loss.of(r)).sum((0, 1))

    best = total(cs.solve(problem, loss=loss))
    monkeypatch.setattr(plq, "ENOUGH", 1e-2)
    monkeypatch.setattr(plq, "TURNS", 0)
    fit = cs.solve(problem, loss=loss)
    assert 1e-8 < (1 - best / total(fit)).max() <= fit.duality_gap < 1
    assert fit.status == "approximate"
    with pytest.raises(ValueError, match=r"standard errors"):
        _ = fit.standard_error


def test_a_scale_that_does_not_settle_is_approximate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robust, "TURNS", 2)
    fit = cs.solve(noisy("bias"), loss="huber")
    assert (fit.status, fit.stats["scale_settled"]) == ("approximate", False)
    assert fit.duality_gap <= 1e-12  # at the scale that was reached


@pytest.mark.parametrize("loss", BOTH)
def test_refused_problems(loss: str) -> None:
    ramp = cs.Problem(np.arange(500.0), np.ones(491), kernel_size=10)
    for limits in (Tuning(gram_bytes=100), Tuning(factor_bytes=1000)):
        with pytest.raises(cs.SolveError, match="Gram matrix"):
            cs.solve(ramp, loss=loss, limits=limits)


def test_an_exact_fit_needs_no_scale_and_a_given_one_exceeds_the_rounding() -> None:
    rng = np.random.default_rng(12)
    few = cs.Problem(rng.standard_normal(9), rng.standard_normal(5), kernel_size=5)
    for loss in ("huber", cs.HuberLoss(scale=1.0)):
        fit = cs.solve(few, loss=loss)
        assert fit.converged
        np.testing.assert_allclose(fit.kernel, cs.solve(few).kernel, rtol=1e-9)
    with pytest.raises(cs.SolveError, match="below the rounding of y"):
        cs.solve(noisy("bias"), loss=cs.HuberLoss(scale=1e-20))


# --- losses with a penalty

LAGS, EYE = 4, np.eye(4)
DIFFERENCES = np.diff(EYE, axis=0)
DECAY = 0.7 ** np.maximum.outer(np.arange(LAGS), np.arange(LAGS))
ONES = np.eye(2)
# A penalty, its matrices K for two outputs, with lags and then two channels, and its lasso.
PENALTIES: dict[str, tuple[Any, list[np.ndarray], float]] = {
    "ridge": (cs.Ridge(3.0), 2 * [np.kron(3 * EYE, ONES)], 0.0),
    "per output": (cs.Ridge([3.0, 90.0]), [np.kron(s * EYE, ONES) for s in (3, 90)], 0.0),
    "groups": (
        cs.Ridge([2.0, 30.0], channel_groups=(0, 1)), 2 * [np.kron(EYE, np.diag([2, 30]))], 0.0
    ),
    "smooth": (cs.Smooth(5.0), 2 * [np.kron(5 * DIFFERENCES.T @ DIFFERENCES, ONES)], 0.0),
    "tc": (
        cs.StableSpline(2.0, kind="tc", decay=0.7), 2 * [np.kron(2 * np.linalg.inv(DECAY), ONES)],
        0.0,
    ),
    "lasso": (cs.Lasso(8.0), 2 * [np.zeros((8, 8))], 8.0),
    "elastic net": (cs.Lasso(8.0, ridge=3.0), 2 * [np.kron(3 * EYE, ONES)], 8.0),
}  # fmt: skip
STATEMENTS: list[dict[str, Any]] = [
    {"bias": True, "weights": np.linspace(0.5, 2, 90)},
    {"drift": 0, "mask": np.arange(90) % 7 > 0},
    {},
]
TUNINGS = [Tuning(), Tuning(held_numbers=0, chunk_numbers=50), Tuning(kept_numbers=0)]
LOSSES: list[Any] = [cs.HuberLoss(2.0, scale=0.05), "huber", "absolute"]


def lag_matrix(x: np.ndarray) -> np.ndarray:
    """The rows x[t − l, c] (n, lags · channels), with zeros before the record."""
    padded = np.vstack([np.zeros((LAGS - 1, 2)), x])
    return np.hstack([padded[LAGS - 1 - lag : len(padded) - lag] for lag in range(LAGS)])


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("name", PENALTIES)
def test_losses_and_a_penalty_are_minimized(name: str, loss: Any, turn: int) -> None:
    """Aᵀρ′(r) is in the subdifferential of the penalty, and taps are exactly zero."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 90, 2)) * [[[3.0, 0.2]], [[10.0, 0.1]]]
    y[::6] *= 40
    (penalty, matrices, lasso), stated = PENALTIES[name], STATEMENTS[turn]
    problem = cs.Problem(x, y, lags=(0, LAGS - 1), edges="zeros", **stated)
    fit = cs.solve(problem, penalty=penalty, loss=loss, limits=TUNINGS[(turn + len(name)) % 3])
    assert fit.converged
    assert fit.duality_gap < 1e-12
    roots = np.sqrt(stated.get("weights", 1.0) * stated.get("mask", np.ones(90)))
    whole = np.hstack([lag_matrix(x), np.ones((90, 1))]) * roots[:, None]
    whole = whole if stated else whole[:, :-1]
    for q, k in enumerate(matrices):
        w, r = (
            fit.impulse_response[..., q].reshape(-1),
            roots * np.nan_to_num(fit.residuals()[:, q]),
        )
        if loss == "absolute":
            held, pull = np.abs(r) <= 1e-11 * np.abs(y[:, q]).max(), np.sign(r)
        else:
            most = 0.1 if loss != "huber" else 1.345 * fit.stats["scale"][q]
            held, pull = np.zeros(90, bool), 2 * np.clip(r, -most, most)
        # The multipliers of rows at a corner, and of taps at zero, complete the gradient.
        zero, gradient = w == 0, whole[~held].T @ pull[~held]
        gradient[: len(w)] -= lasso * np.sign(w) + 2 * k @ w
        assert zero.any() == bool(lasso) or (lasso and loss == "huber")
        corners = np.vstack([whole[held], -lasso * np.eye(whole.shape[1])[: len(w)][zero]])
        d = np.linalg.lstsq(corners.T, -gradient, rcond=None)[0]
        size = np.abs(whole).T @ np.abs(pull) + 1e-3
        assert (np.abs(corners.T @ d + gradient) <= 1e-11 * size).all()
        assert np.abs(d).max(initial=0.0) <= 1 + 1e-9
    with pytest.raises(ValueError, match="or of Huber's estimate without a penalty"):
        _ = fit.standard_error
    linear = cs.solve(problem, penalty=penalty, loss=cs.HuberLoss(1e9, scale=1.0))
    np.testing.assert_allclose(
        linear.kernel, cs.solve(problem, penalty=penalty).kernel, rtol=1e-9, atol=0
    )


def test_the_scale_of_a_penalized_fit_is_that_of_its_residuals() -> None:
    fit = cs.solve(outliers(200, 0.1)[0], ridge=50.0, loss="huber")
    assert fit.stats["scale_settled"]
    deviation = np.median(np.abs(fit.residuals())) / MAD
    assert fit.stats["scale"] == pytest.approx([deviation], rel=1e-9)
    assert fit.to_dict()["standard_error"] is None
