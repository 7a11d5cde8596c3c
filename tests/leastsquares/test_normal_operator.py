"""The normal equations in kernel space: operator, preconditioner, certificate, proofs of rank."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.certificate import EXACT
from convsolve.leastsquares.normal_operator import PROOF_STEPS, Normal
from convsolve.leastsquares.penalty import RIDGE
from convsolve.operators.toeplitz import Record, Samples, ToeplitzInverse, tapered_lags
from support import dense
from support.cases import EPS
from support.coloured import coloured, convolved

# --- the operator


def test_a_burst_at_an_edge_drowns_the_other_columns():
    """The product then reads the data, so that the rest keeps its digits."""
    rng, taps = np.random.default_rng(0), 30
    x = rng.standard_normal((2000, 1))
    x[0] = 1e9
    problem = cs.Problem(x, kernel_size=taps)
    system = analyse(problem).system(RIDGE, 0.0)
    rows = np.lib.stride_tricks.sliding_window_view(x[:, 0], taps)
    a = np.ldexp(rows, -system.scaling.exponents[0])
    normal, v = Normal(system, 0), rng.standard_normal((taps, 2))
    v[0] = 0.0
    got, wanted = normal.product(v / normal.stretch) / normal.stretch, a.T @ (a @ v)
    assert np.abs(got - wanted).max() <= 1e-13 * np.abs(wanted).max()


# --- the preconditioner


def toeplitz(lags):
    """The matrix of blocks lags[j - k], transposed for negative lags."""
    taps = range(len(lags))
    return np.block([[lags[j - k] if j >= k else lags[k - j].T for j in taps] for k in taps])


def lags_of(records, taps, ridge=0.0):
    """Lags of records (N, L, C), whose channels have a norm of one."""
    channels = records.shape[2]
    given = Record(records, np.ones(channels), np.zeros(channels))
    places, ones = np.arange(taps * channels), np.ones(taps * channels)
    return tapered_lags(Samples([given], taps, places), ones, ridge * ones, centred=False)


def inverse_of(lags):
    return ToeplitzInverse(lags, np.arange(len(lags) * len(lags[0])))


@pytest.mark.parametrize(
    ("pole", "channels", "taps", "order"),
    [(0.0, 1, 20, 20), (0.99, 1, 30, 30), (0.9, 3, 20, 20), (0.9, 1, 130, 8), (0.5, 2, 130, 8)],
)
def test_the_predictor_inverts_the_matrix_that_continues_its_lags(pole, channels, taps, order):
    """The random vector has its covariance, and ``low`` is a sharp bound."""
    lags = lags_of(coloured(np.random.default_rng(4), 4000, channels, pole)[None], taps)
    made = inverse_of(lags)
    assert made.definite
    assert made.order == order
    inverse = made(np.eye(taps * channels))
    assert np.abs(inverse - inverse.T).max() <= 1e-12 * np.abs(inverse).max()
    t, m = toeplitz(lags[:order]), np.linalg.inv(inverse)
    assert np.abs(m[: len(t), : len(t)] - t).max() <= 1e-10 * np.abs(t).max()
    beyond = np.abs(inverse[order * channels :, : -order * channels])
    assert np.tril(beyond, -channels).max(initial=0.0) <= 1e-12 * np.abs(inverse).max()
    assert 0.3 < made.low * np.linalg.eigvalsh(inverse)[-1] <= 1
    square = (made.draw.T @ inverse @ made.draw).item()
    assert abs(square - len(m)) < 4 * np.sqrt(2 * len(m))


@pytest.mark.parametrize(
    ("pole", "times", "channels", "records", "taps"),
    [(-0.9, 1, 1, 1, 24), (0.99, 2, 1, 5, 80), (0.9, 4, 3, 1, 24), (0.9, 1, 2, 2, 130)],
)
@pytest.mark.parametrize("edges", ["drop", "zeros"])
def test_preconditioner_makes_any_spectrum_flat(pole, times, channels, records, taps, edges):
    """All eigenvalues of M⁻¹AᵀA are near 1. A few are larger for ends of a padded record."""
    x = coloured(np.random.default_rng(1), 4000, channels, pole, times)
    problem = cs.Problem(np.split(x, records), lags=(0, taps - 1), edges=edges)
    normal = Normal(analyse(problem).system(RIDGE, 1e-8 * (x**2).sum()), 0)
    inverse, g = normal.inverse(np.eye(taps * channels)), normal.product(np.eye(taps * channels))
    half = np.linalg.cholesky((inverse + inverse.T) / 2)
    values = np.linalg.eigvalsh(half.T @ g @ half)
    assert 0.2 < values[0] < values[-1] < 5
    assert 0.02 < normal.least(PROOF_STEPS, bool) < values[0]


def test_a_steep_spectrum_needs_the_predictor_of_full_order():
    x = coloured(np.random.default_rng(8), 4000, 1, 0.99, 2)
    assert inverse_of(lags_of(x[None], 130)).order == 130


@pytest.mark.parametrize(
    ("ridge", "silent", "definite"),
    [(0.0, False, False), (5e-15, False, False), (4e-13, False, True), (0.0, True, True)],
)
def test_an_indefinite_matrix_is_shifted_and_a_silent_channel_is_apart(ridge, silent, definite):
    """The least eigenvalue of two equal channels is the ridge."""
    twice = np.repeat(np.random.default_rng(6).standard_normal((1, 3000, 1)), 2, axis=2)
    made = inverse_of(lags_of(twice * [not silent, 1.0], 24, ridge))
    assert made.definite == definite
    values = np.linalg.eigvalsh(made(np.eye(48)))
    assert values[0] > 0
    assert made.low <= 1 / values[-1]


def test_the_ends_of_records_are_tapered_and_dead_samples_are_zero():
    dead = np.zeros((1, 1000), bool)
    dead[0, 500:510] = True
    record = Record(np.full((1, 1000, 1), 6), np.array([0.5]), np.ones(1), dead)
    found = record.tapered(160, centred=False).read(slice(None))[0, :, 0]
    assert (found[160:500] == 2.0).all()
    assert not found[500:510].any()
    assert max(abs(found[0]), abs(found[-1])) < 1e-4
    assert not record.tapered(160, centred=True).read(slice(None)).any()


# --- the certificate


def exact_backward_error(a, y, w):
    """η by its definition in 60 digits."""
    with mp.workdps(60):
        m, v = mp.matrix(a.tolist()), mp.matrix(w.tolist())
        r = mp.matrix(y.tolist()) - m * v
        g = m.T * r
        inner = mp.norm(v) ** 2 * (m.T * m) + mp.norm(r) ** 2 * mp.eye(len(v))
        return float(mp.sqrt((g.T * mp.lu_solve(inner, g))[0]) / mp.mnorm(m, "f"))


@pytest.mark.parametrize(
    ("noise", "off", "times"), [(0.0, 1e-3, 1), (1e-9, 1e-8, 3), (1e-4, 1e-12, 1), (0.3, 1e-8, 3)]
)
def test_certificate_without_a_factor_is_a_bound(noise, off, times):
    """It is at least the backward error of a wrong kernel, and of its size."""
    rng = np.random.default_rng(14)
    problem, w = convolved(rng, coloured(rng, 120, 1, 0.9, times), 12, 1, noise)
    regression = analyse(problem).regression(RIDGE, 0.0)
    normal = Normal(regression.system, 0)
    reference = cs.solve(problem, "svd").kernel
    kernel = reference * (1 + off * rng.standard_normal(w.shape))
    v = regression.from_kernel(kernel)
    r_norm, g = regression.residual(v)
    (bound,) = normal.backward_error(v[0], r_norm[0], g[0], EXACT)
    (a,) = dense.design_matrix([*problem.x], problem.spec)
    scale = np.ldexp(1.0, regression.scaling.exponents[0])
    y = np.ldexp(problem.y[0][:, 0], -regression.y_exponents[0])
    eta = exact_backward_error(a / scale, y, v[0, :, 0])
    assert bound >= eta * (1 - 1e-3) - EPS
    assert bound <= 10 * eta or bound <= EXACT


# --- full rank, proved


def proved(problem, ridge=0.0):
    system = analyse(problem).system(RIDGE, ridge)
    return [Normal(system, g).full_rank(200) for g in range(system.matrix.groups)]


def without_y(x, taps, **options):
    return cs.Problem(x, kernel_size=taps, **options)


def test_full_rank_is_proved_up_to_the_condition_of_a_gram():
    rng = np.random.default_rng(17)
    for given, bias in (((3, 0.9, 1), False), ((1, 0.9, 2), True)):
        problem = without_y(coloured(rng, 3000, *given), 40, bias=bias)
        assert proved(problem) == [True]
        assert cs.identify(problem).verdict == "overdetermined"
    a = rng.standard_normal((3000, 1))
    near = without_y(np.hstack([a, a + 1e-9 * rng.standard_normal(a.shape)]), 40)
    assert proved(near) == [False]
    assert cs.identify(near).unique
    b = rng.standard_normal((500, 3))
    assert proved(without_y(np.hstack([b, b[:, 2:]]), 5, groups=2)) == [True, False]
    assert proved(without_y(a[:60], 40)) == [False]


def deficient():
    rng = np.random.default_rng(18)
    a = rng.standard_normal((3000, 1))
    half = np.fft.rfft(a[:, 0])
    half[700:] = 0.0
    return {
        "constant channel": np.hstack([a, np.ones_like(a)]),
        "zero channel": np.hstack([a, 0 * a]),
        "delayed channel": np.hstack([a, np.roll(a, 3, 0)]),
        "band-limited": np.fft.irfft(half, 3000)[:, None],
        "tones": np.sin(np.outer(np.arange(3000), [0.3, 1.1])).sum(1)[:, None],
        "period": np.tile(a[:25], (120, 1)),
    }


@pytest.mark.parametrize(
    ("x", "taps", "options"),
    [
        (np.eye(80, 2), 20, {"padding": "same"}),
        (np.eye(96, 2), 8, {"padding": "same", "stride": 2}),
        (np.full((80, 2), 3.0), 20, {"padding": "full", "stride": 2}),
        (
            np.full((80, 1), 3.0),
            40,
            {"padding": "full", "stride": 2, "mask": np.arange(119) % 5 > 0},
        ),
    ],
)
def test_full_rank_is_not_proved_where_the_preconditioner_is_rounding(x, taps, options):
    mask = options.pop("mask", None)
    spec = cs.ConvSpec(taps, **options)
    rows = spec.output_shape(x.shape[:1])[0]
    problem = cs.Problem(x, spec=spec, mask=None if mask is None else mask[:rows])
    assert proved(problem) == [False]
    assert not cs.identify(problem).unique


@pytest.mark.parametrize("name", deficient())
def test_full_rank_is_not_proved_of_deficient_data(name):
    problem = without_y(deficient()[name], 40)
    assert proved(problem) == [False]
    assert not cs.identify(problem).unique
    assert proved(problem, ridge=1e-3 * (problem.x[0] ** 2).sum()) == [True]


def random_spectrum(rng, samples, decades):
    """Noise with a random smooth spectrum of so many decades, and sometimes a stop band."""
    at = np.linspace(0, 1, samples // 2 + 1)
    log = np.interp(at, np.linspace(0, 1, 9), rng.uniform(-decades, 0, 9))
    gain = 10 ** (log / 2)
    if rng.random() < 0.5:
        gain[at > rng.uniform(0.2, 0.7)] *= rng.choice([0.0, 1e-8, 1e-5])
    return np.fft.irfft(gain * np.fft.rfft(rng.standard_normal(samples)), samples)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_no_proof_of_full_rank_is_wrong(seed):
    """A thousand problems of 1 to 13 decades, of which a QR decides the rank."""
    rng, claims, deficient = np.random.default_rng([30, seed]), 0, 0
    for _ in range(100):
        taps = int(rng.integers(20, 160))
        x = random_spectrum(rng, int(rng.integers(8, 30)) * taps, rng.uniform(1, 13))
        problem = without_y(x, taps, padding=str(rng.choice(["valid", "causal"])))
        verdict, claimed = cs.identify(problem).verdict, proved(problem) == [True]
        claims += claimed
        deficient += verdict != "overdetermined"
        assert not (claimed and verdict != "overdetermined")
    assert claims >= 20
    assert deficient >= 4


def test_the_rounding_of_coarse_data_prevents_a_proof():
    rng = np.random.default_rng(20)
    a = rng.standard_normal((3000, 1))
    problem = without_y(np.hstack([a, a + 1e-3 * rng.standard_normal(a.shape)]), 4)
    assert proved(problem) == [True]
    problem = problem._replace(_data_eps=1e-2)
    assert proved(problem) == [False]
    assert proved(problem, ridge=1e-9) == [True]
