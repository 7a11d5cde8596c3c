"""Forecasts of descent compared with the Hessian written out, and with loops of the updates."""

from __future__ import annotations

import json
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.signal import firwin, lfilter

import convsolve as cs
from convsolve.extend import DescentForecast
from convsolve.looks import look_steps
from support import dense
from support.pictures import drawn, legend

RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal((60, 2))
SMOOTH = np.stack([np.convolve(n, [0.25, 0.5, 0.25], "same") for n in NOISE.T], axis=-1)
TONE = np.cos(np.pi / 3 * np.arange(60))[:, None]
# x (N, *W, Cin), the geometry, outputs, bias
CASES: dict[str, tuple[np.ndarray, dict[str, Any], int, bool]] = {
    "smooth": (SMOOTH[None], {"kernel_size": (4,)}, 1, False),
    "bias": (NOISE[None] + [1, -2], {"kernel_size": (3,), "padding": "causal"}, 2, True),
    "trials": (NOISE.reshape(3, 20, 2), {"kernel_size": (3,), "stride": 2}, 1, True),
    "groups": (NOISE[None] * [1, 3], {"kernel_size": (3,), "groups": 2}, 4, False),
    "groups, bias": (NOISE[None] * [1, 3], {"kernel_size": (3,), "groups": 2}, 2, True),
    "image": (RNG.standard_normal((1, 8, 9, 1)), {"kernel_size": (3, 2)}, 1, False),
    "tone": (np.concatenate([NOISE[:, :1], TONE], 1)[None], {"kernel_size": (4,)}, 1, False),
    "tone, units": (
        np.concatenate([NOISE[:, :1], 1e3 * TONE], 1)[None], {"kernel_size": (4,)}, 2, True,
    ),
}  # fmt: skip


def problem_of(name: str, noise: float = 0.1) -> cs.Problem:
    x, geometry, outputs, bias = CASES[name]
    spec = cs.ConvSpec(**geometry)
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((*spec.kernel_size, x.shape[-1] // spec.groups, outputs))
    y = cs.convolve(x, truth, spec) + 0.5 * bias
    return cs.Problem(x, y + noise * rng.standard_normal(y.shape), spec=spec, bias=bias)


def matrices(name: str) -> list[np.ndarray]:
    """A of every group, with a bias projected out."""
    x, geometry, _, bias = CASES[name]
    found = dense.design_matrix(x, cs.ConvSpec(**geometry))
    return [dense.centred(a) if bias else a for a in found]


def hessian_of(a: np.ndarray, outputs: int) -> np.ndarray:
    return 2 / (len(a) * outputs) * a.T @ a


def iterated(
    optimizer: str, hessian: np.ndarray, error: np.ndarray, steps: int, rate: float, beta: float
) -> list[np.ndarray]:
    """The errors of all steps of optax's updates, for kernels (P, n)."""
    velocity = np.zeros_like(error)
    errors = [error]
    for _ in range(steps):
        gradient = hessian @ error
        if optimizer == "sgd":
            error = error - rate * gradient
        else:
            velocity = beta * velocity + gradient
            ahead = gradient + beta * velocity
            error = error - rate * (ahead if optimizer == "nesterov" else velocity)
        errors.append(error)
    return errors


# --- eigenvalues


@pytest.mark.parametrize("name", CASES)
def test_the_spectrum_of_the_hessian(name: str) -> None:
    outputs = CASES[name][2]
    found = cs.identify(problem_of(name)).descent()
    known = []
    for g, a in enumerate(matrices(name)):
        values = np.linalg.eigvalsh(hessian_of(a, outputs))
        null = a.shape[1] - np.linalg.matrix_rank(a)
        np.testing.assert_allclose(found.curvatures[g], values[null:], rtol=1e-9)
        known += values[null:].tolist()
    largest = max(known)
    least = min(known)
    assert found.learning_rate == pytest.approx(1 / largest, rel=1e-9)
    assert found.largest_step == pytest.approx(2 / largest, rel=1e-9)
    assert found.best_step == pytest.approx(2 / (largest + least), rel=1e-9)
    assert found.rate == pytest.approx(1 - least / largest, rel=1e-9)


def test_weights_confounds_and_bases() -> None:
    rng = np.random.default_rng(4)
    x = lfilter([1.0], [1.0, -0.8], rng.standard_normal(200))
    weights = rng.uniform(0.2, 2.0, 200)
    confounds = rng.standard_normal((200, 2))
    basis = cs.BSplines(5)
    problem = cs.Problem(
        x, lags=(0, 11), bias=True, basis=basis, weights=weights, confounds=confounds
    )
    found = cs.identify(problem).descent()

    rows = slice(11, None)
    root = np.sqrt(weights[rows])[:, None]
    functions = np.linalg.qr(basis.functions(range(12)))[0]
    lagged = np.stack([np.roll(x, lag) for lag in range(12)], axis=1)[rows]
    a = root * lagged @ functions
    nuisance = root * np.column_stack([np.ones(len(a)), confounds[rows]])
    a = a - nuisance @ np.linalg.lstsq(nuisance, a, rcond=None)[0]
    values = np.linalg.eigvalsh(hessian_of(a, 1))
    assert len(values) == 5
    np.testing.assert_allclose(found.curvatures[0], values, rtol=1e-9)


@pytest.mark.parametrize(("unit", "offset", "bias"), [(1e6, 0.0, False), (1e6, 1e3, True)])
def test_offsets_and_units_keep_their_digits(unit: float, offset: float, bias: bool) -> None:
    """Curvatures 1e-12 of the largest, against a Hessian of 60 digits."""
    x = np.round(NOISE[:20] * 2**20) / 2**20 * [1, unit] + offset
    found = cs.identify(cs.Problem(x, kernel_size=(2,), bias=bias)).descent()
    a = np.concatenate([x[:-1], x[1:]], axis=1)
    with mpmath.workdps(60):
        exact = mpmath.matrix(a.tolist())
        if bias:
            exact -= mpmath.ones(19, 19) * exact / 19
        values = mpmath.eigsy(exact.T * exact * 2 / 19, eigvals_only=True)
        expected = [float(v) for v in values]
    np.testing.assert_allclose(found.curvatures[0], sorted(expected), rtol=1e-9)


# --- curves

TAPS = 8
WHITE = np.random.default_rng(5).standard_normal(400)
INPUTS = {
    "white": WHITE,
    "AR(0.9)": lfilter([1.0], [1.0, -0.9], WHITE),
    "band-limited": lfilter(firwin(21, 0.5), 1.0, WHITE),
}
# Learning rates in units of 1/L.
SETTINGS = [
    ("sgd", 1.0, None), ("sgd", 1.9, None), ("momentum", 1.0, 0.9), ("momentum", 2.5, 0.6),
    ("nesterov", 1.0, 0.9), ("nesterov", 0.3, 0.98),
]  # fmt: skip
STEPS = 10_000
LEAST = 1e-20


def one_input(name: str) -> tuple[cs.Problem, np.ndarray]:
    """A problem with two outputs and a bias, and its A with the bias projected out."""
    x = INPUTS[name]
    rng = np.random.default_rng(6)
    a = np.stack([x[TAPS - 1 - lag : len(x) - lag] for lag in range(TAPS)], axis=1)
    truth = rng.standard_normal((TAPS, 2)) * [1.0, 30.0]
    y = np.full((len(x), 2), np.nan)
    y[TAPS - 1 :] = a @ truth + 3.0 + rng.standard_normal((len(a), 2)) * [0.5, 4.0]
    y[: TAPS - 1] = 0.0
    return cs.Problem(x, y, lags=(0, TAPS - 1), bias=True), dense.centred(a)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize(("optimizer", "share", "beta"), SETTINGS)
def test_curves_equal_loops(name: str, optimizer: str, share: float, beta: float | None) -> None:
    problem, a = one_input(name)
    report = cs.identify(problem)
    rate = share * report.descent().learning_rate
    found = report.descent(optimizer, learning_rate=rate, momentum=beta, snr=0.7)

    # The expected excess loss of white kernels is a sum over one kernel per direction.
    arguments = optimizer, hessian_of(a, 2)
    errors = iterated(*arguments, np.eye(TAPS), STEPS, rate, beta or 0.0)
    excess = np.array([np.square(a @ error).sum() for error in errors])
    expected = excess / excess[0] * 0.7 * len(a) / TAPS
    steps = np.flatnonzero(excess > LEAST * excess[0])
    looks = steps[np.isin(steps, look_steps(STEPS))]
    np.testing.assert_allclose(found.curve(looks), expected[looks], rtol=1e-10)
    assert found.steps_to_floor == first(expected <= 1)
    assert found.steps_to_hundredth == first(expected <= 0.01)

    vectors = np.linalg.eigh(arguments[1])[1]
    largest = [np.abs(np.diag(vectors.T @ error @ vectors)).max() for error in errors]
    np.testing.assert_allclose(
        found.kernel_error(looks[:30]), np.array(largest)[looks[:30]], rtol=1e-6
    )
    if min(largest) < 1e-6:
        assert found.steps == first(np.array(largest) <= 1e-6)


def first(flags: np.ndarray) -> int | None:
    """The index of the first True; None if there is none."""
    return int(np.argmax(flags)) if flags.any() else None


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize(("optimizer", "share", "beta"), SETTINGS)
def test_curves_of_a_solution(name: str, optimizer: str, share: float, beta: float | None) -> None:
    problem, a = one_input(name)
    fit = cs.solve(problem)
    report = cs.identify(problem)
    rate = share * report.descent().learning_rate
    found = report.descent(optimizer, learning_rate=rate, momentum=beta, solution=fit)

    y = problem.y[0][-len(a) :]
    exact = np.linalg.lstsq(a, dense.centred(y), rcond=None)[0]
    variance = np.square(dense.centred(y) - a @ exact).sum(0) / (len(a) - 1 - TAPS)
    errors = iterated(optimizer, hessian_of(a, 2), exact, STEPS, rate, beta or 0.0)
    excess = np.array([np.square(a @ error).sum() for error in errors])
    expected = excess / (variance.sum() * TAPS)
    looks = [step for step in look_steps(STEPS) if excess[step] > LEAST * excess[0]]
    np.testing.assert_allclose(found.curve(looks), expected[looks], rtol=1e-8)
    assert found.snr == pytest.approx(excess[0] / len(a) / variance.sum(), rel=1e-9)
    assert found.steps_to_floor == first(expected <= 1)


@pytest.mark.filterwarnings("ignore:rank-deficient")
@pytest.mark.parametrize("name", ["groups, bias", "trials", "tone", "tone, units"])
def test_the_curve_of_a_solution_in_other_geometries(name: str) -> None:
    """Groups, records and directions that change no output."""
    problem = problem_of(name)
    fit = cs.solve(problem)
    found = cs.identify(problem).descent("nesterov", solution=fit)
    spec = problem.spec
    _, _, outputs, bias = CASES[name]
    y = dense.by_group(np.concatenate([v.reshape(-1, outputs) for v in problem.y]), spec.groups)
    excess = np.zeros(41)
    statistical = 0.0
    for a, target in zip(matrices(name), y, strict=True):
        target = dense.centred(target) if bias else target
        exact, _, rank, _ = np.linalg.lstsq(a, target, rcond=1e-12)
        variance = np.square(target - a @ exact).sum(0) / (len(a) - bias - rank)
        statistical += rank * variance.sum()
        hessian = hessian_of(a, outputs)
        errors = iterated("nesterov", hessian, exact, 40, found.learning_rate, 0.9)
        excess += [np.square(a @ error).sum() for error in errors]
    np.testing.assert_allclose(found.curve(range(41)), excess / statistical, rtol=1e-8)


def test_the_forecast_of_groups() -> None:
    """The signal and the noise are averages over all outputs."""
    found = cs.identify(problem_of("groups")).descent(snr=2.0)
    assert found.curve(0) == pytest.approx(2.0 * 58 / 3, rel=1e-12)
    shares = [part.sum() for part in found.ratio_at_start]
    power = [np.square(a).sum() for a in matrices("groups")]
    assert shares[1] / shares[0] == pytest.approx(power[1] / power[0], rel=1e-9)


def test_a_run_has_the_course_of_its_forecast() -> None:
    problem, _ = one_input("AR(0.9)")
    found = cs.identify(problem).descent("momentum", solution=cs.solve(problem))
    trace = cs.solve(problem, cs.GradientDescent("momentum", steps=100, tol=1e-300)).trace
    assert trace is not None
    assert trace.ratios is not None
    np.testing.assert_allclose(trace.ratios, found.curve(trace.steps), rtol=1e-6)


# --- best and largest steps


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov"])
def test_the_best_step_has_the_smallest_rate(optimizer: str) -> None:
    report = cs.identify(one_input("AR(0.9)")[0])
    first = report.descent(optimizer)
    momentum = None if optimizer == "sgd" else first.best_momentum
    best = report.descent(optimizer, learning_rate=first.best_step, momentum=momentum)
    ratio = first.curvatures[0][-1] / first.curvatures[0][0]
    rates = {
        "sgd": (ratio - 1) / (ratio + 1),
        "momentum": (np.sqrt(ratio) - 1) / (np.sqrt(ratio) + 1),
        "nesterov": 1 - 2 / np.sqrt(3 * ratio + 1),
    }
    assert best.rate == pytest.approx(rates[optimizer], rel=1e-6)
    for share in (0.9, 1.1):
        rate = share * first.best_step
        assert report.descent(optimizer, learning_rate=rate, momentum=momentum).rate > best.rate
    # The rate is the asymptotic factor per step.
    slow = first.kernel_error(2000) / first.kernel_error(1000)
    assert slow ** (1 / 1000) == pytest.approx(first.rate, abs=5e-3)


@pytest.mark.parametrize(
    ("optimizer", "beta"), [("sgd", None), ("momentum", 0.5), ("nesterov", 0.9)]
)
def test_above_the_largest_step_it_diverges(optimizer: str, beta: float | None) -> None:
    report = cs.identify(one_input("white")[0])
    limit = report.descent(optimizer, momentum=beta).largest_step
    below = report.descent(optimizer, learning_rate=0.999 * limit, momentum=beta)
    above = report.descent(optimizer, learning_rate=1.001 * limit, momentum=beta)
    assert below.rate < 1 < above.rate
    assert not below.diverges
    assert above.diverges
    assert below.steps is not None
    assert above.steps is None
    assert f"diverges: the rate is above {limit:.4g}" in " ".join(str(above).split())
    far = report.descent(optimizer, learning_rate=1e3 * limit, momentum=beta)
    assert far.curve(10**9) == np.inf
    json.dumps(far.to_dict(), allow_nan=False)


def test_numbers_of_steps_beyond_the_walk_are_crossings() -> None:
    x = lfilter(firwin(31, 0.5), 1.0, np.random.default_rng(7).standard_normal(500))
    report = cs.identify(cs.Problem(x, lags=(0, 19)))
    found = report.descent(tol=1e-3)
    assert found.steps is not None
    assert found.steps > 10_000
    before, at = found.kernel_error([found.steps - 1, found.steps])
    assert before > 1e-3 >= at
    slow = report.descent(learning_rate=1e-9 * found.learning_rate)
    assert slow.steps is None
    assert slow.to_dict()["steps"] is None
    assert "in more than 1e12 steps" in " ".join(str(slow).split())


# --- text, refusals and figures


def test_the_text_and_a_silent_group() -> None:
    x = np.stack([np.zeros(60), NOISE[:, 0]], axis=-1)
    report = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2, bias=True))
    found = report.descent("nesterov", snr=2.0)
    assert [len(c) for c in found.curvatures] == [0, 3]
    assert found.curve(0) == pytest.approx(2.0 * 58 / 1.5)
    assert " ".join(str(found).split()) == (
        f"nesterov with rate {found.learning_rate:.4g} (1/L) and momentum 0.9 reaches the "
        f"statistical error in {found.steps_to_floor} steps at a signal-to-noise ratio of 2, and a "
        f"relative kernel error of 1e-06 in {found.steps} steps; above {found.largest_step:.4g} it "
        "diverges"
    )
    other = report.descent(learning_rate=found.best_step)
    assert f"sgd with rate {found.best_step:.4g} reaches" in str(other)
    assert isinstance(found, DescentForecast)


def refused_solutions() -> dict[str, Any]:
    """Solutions that are not exact least squares of the first problem, by part of the error."""
    problem, _ = one_input("white")
    return {
        "has a penalty": cs.solve(problem, ridge=1.0),
        "has another loss": cs.solve(problem, loss="huber"),
        "is of filtered rows": cs.solve(problem, noise="ar1"),
        "of the problem of this report": cs.solve(one_input("white")[0]),
        "must be exact, but its backward": cs.solve(problem, cs.ConjugateGradient(tol=1e-3)),
    }


def test_other_solutions_are_refused() -> None:
    refused = refused_solutions()
    report = cs.identify(next(iter(refused.values())).problem)
    for words, fit in refused.items():
        with pytest.raises(ValueError, match=words):
            report.descent(solution=fit)
    with pytest.raises(TypeError, match="solution must be a Solution, got ndarray"):
        report.descent(solution=NOISE)
    exact = cs.Problem(NOISE[:, 0], 2 * NOISE[:, 0], lags=(0, 2))
    with pytest.raises(ValueError, match="residuals of the solution are zero"):
        cs.identify(exact).descent(solution=cs.solve(exact))
    square = cs.Problem(NOISE[:5, 0], NOISE[:5, 1], lags=(0, 2))
    with pytest.raises(ValueError, match=r"residuals of the solution are zero|no rows are left"):
        cs.identify(square).descent(solution=cs.solve(square))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"optimizer": "adam"}, ValueError, "Adam has no exact forecast: its steps depend on"),
        ({"optimizer": "lbfgs"}, ValueError, "Lbfgs has no exact forecast"),
        ({"optimizer": "newton"}, ValueError, "optimizer='newton' is unknown; choose 'sgd' or"),
        ({"optimizer": 1e-6}, TypeError, "optimizer must be 'sgd' or 'momentum' or 'nesterov'"),
        ({"momentum": 0.9}, ValueError, 'optimizer="sgd" has no momentum'),
        ({"optimizer": "momentum", "momentum": 1.0}, ValueError, "momentum must be below 1, got 1"),
        ({"optimizer": "momentum", "momentum": -0.1}, ValueError, "momentum must be finite and at"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be finite and above 0, got 0.0"),
        ({"snr": 0}, ValueError, "snr must be finite and above 0, got 0"),
        ({"tol": 1.0}, ValueError, "tol must lie between 0 and 1, got 1"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], error: type, words: str) -> None:
    report = cs.identify(cs.Problem(NOISE, lags=(0, 2)))
    with pytest.raises(error, match=words):
        report.descent(**options)


def test_steps_of_a_curve_are_integers() -> None:
    found = cs.identify(cs.Problem(NOISE, lags=(0, 2))).descent()
    assert found.curve(np.array([[0, 1], [2, 3]])).shape == (2, 2)
    for steps, error in ((-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="steps must be"):
            found.curve(steps)


def test_input_that_determines_nothing() -> None:
    with pytest.raises(ValueError, match="x is zero in every window, so descent does not change"):
        cs.identify(cs.Problem(np.zeros(9), lags=(0, 2))).descent()
    with pytest.raises(ValueError, match="the steps leave float64"):
        cs.identify(cs.Problem(1e-170 * NOISE, lags=(0, 2))).descent()


def test_a_figure_shows_the_crossings() -> None:
    report = cs.identify(one_input("AR(0.9)")[0])
    found = report.descent("nesterov")
    (axes,) = drawn(found).axes
    assert axes.get_title().startswith("Descent by nesterov")
    assert legend(axes) == [
        "statistical error",
        f"statistical error: {found.steps_to_floor} steps",
        f"kernel error 1e-06: {found.steps} steps",
    ]
    curve = axes.get_lines()[0]
    np.testing.assert_array_equal(found.curve(curve.get_xdata().astype(int)), curve.get_ydata())
    (axes,) = drawn(report.descent(learning_rate=3 * found.learning_rate), kind="descent").axes
    assert "diverges" in legend(axes)


def test_looks_are_dense_at_the_start() -> None:
    assert look_steps(0) == [0]
    assert look_steps(3) == [0, 1, 2, 3]
    steps = look_steps(10**12)
    assert steps[:18] == [*range(9), 10, 13, 18, 24, 32, 42, 56, 75, 100]
    assert steps[-1] == 10**12
    close = look_steps(9_999, most_between=500)
    assert max(np.diff(close)) == 500
    assert {*look_steps(9_999)} <= {*close}
