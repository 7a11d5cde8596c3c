"""The normal equations in kernel space: operator, preconditioner, certificate, proofs of rank."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.certificate import EXACT
from convsolve.leastsquares.normal_operator import Normal
from convsolve.leastsquares.penalty import RIDGE
from convsolve.operators.overlap_save import Series
from convsolve.operators.spectral_inverse import SpectralInverse, flat
from convsolve.operators.toeplitz import Gram, Grid
from convsolve.operators.toeplitz_inverse import (
    ToeplitzInverse,
    largest,
    levinson,
    preconditioner,
    stationary,
    tapered,
)
from convsolve.problem.sizes import Tuning
from support import dense
from support.cases import EPS
from support.coloured import coloured, convolved
from support.geometry import over_geometries


def series(*records):
    c = records[0].shape[-1]
    return [Series(x[None], np.ones(c), np.zeros(c)) for x in records]


# --- the operator


@over_geometries(4)
def test_operator_is_the_dense_gram(geometry):
    x = geometry.integers(geometry.x_shape)[0].astype(float)
    whole = dense.design_matrix(x, geometry.spec)
    for bias, ridge in ((False, 0.0), (True, 0.5)):
        problem = geometry.problem(x, bias=bias)
        if problem.spec.ndim > 1:
            return
        system = analyse(problem).system(RIDGE, ridge)
        # In the coordinates of `System`.
        exponents = system.scaling.exponents[:, None]
        scaled = np.ldexp(dense.centred(whole) if bias else whole, -exponents)
        for group, a in enumerate(scaled):
            normal = Normal(system, group)
            p = a.shape[1]
            found = normal.product(np.eye(p) / normal.stretch) / normal.stretch
            wanted = a.T @ a + np.diag(system.scaling.root_ridge[normal.group] ** 2)
            assert np.abs(found - wanted).max() <= 1e-13 * max(1.0, np.abs(wanted).max())
            assert np.abs(found - found.T).max() <= 1e-13 * max(1.0, np.abs(wanted).max())


def test_a_burst_at_an_edge_drowns_the_other_columns():
    """The product then reads the data, so that the rest keeps its digits."""
    rng, taps = np.random.default_rng(0), 30
    x = rng.standard_normal((2000, 1))
    x[0] = 1e9
    problem = cs.Problem(x, kernel_size=taps)
    system = analyse(problem).system(RIDGE, 0.0)
    rows, columns = np.lib.stride_tricks.sliding_window_view(x[:, 0], taps), np.arange(taps)
    assert not Gram(series(x), taps, columns, (rows**2).sum(0)).toeplitz
    assert Gram(series(x[1:]), taps, columns, (rows[1:] ** 2).sum(0)).toeplitz
    a = np.ldexp(rows, -system.scaling.exponents[0])
    normal, v = Normal(system, 0), rng.standard_normal((taps, 2))
    v[0] = 0.0
    got, wanted = normal.product(v / normal.stretch) / normal.stretch, a.T @ (a @ v)
    assert np.abs(got - wanted).max() <= 1e-13 * np.abs(wanted).max()


# --- the preconditioner


def toeplitz(lags):
    """The matrix of blocks lags[k - j], transposed for negative lags."""
    taps = range(len(lags))
    return np.block([[lags[k - j] if k >= j else lags[j - k].T for j in taps] for k in taps])


def autocorrelation(x, taps):
    return np.stack([x[m:].T @ x[: len(x) - m] for m in range(taps)])


@pytest.mark.parametrize(("pole", "channels"), [(0.0, 1), (0.99, 1), (0.9, 3)])
def test_the_recursion_inverts_the_toeplitz_matrix(pole, channels):
    rng, taps = np.random.default_rng(4), 20
    lags = autocorrelation(coloured(rng, 900, channels, pole), taps)
    t = toeplitz(lags)
    forward, backward, root = levinson(lags, np.eye(len(t)))
    inverse = np.linalg.inv(t)
    size = np.abs(inverse).max()
    first, last = (f.reshape(len(t), -1) @ f[i].T for f, i in ((forward, 0), (backward, -1)))
    assert np.abs(first - inverse[:, :channels]).max() <= 1e-12 * size
    assert np.abs(last - inverse[:, -channels:]).max() <= 1e-12 * size
    assert not np.triu(root, 1).any()
    assert np.abs(root @ root.T - t).max() <= 1e-13 * np.abs(t).max()
    with pytest.raises(np.linalg.LinAlgError):
        levinson(lags - 0.9 * lags[0] * (np.arange(taps) == 0)[:, None, None], root)


@pytest.mark.parametrize(
    ("count", "columns", "most"), [(1, 3, 1.1), (2, 3, 1.1), (17, 3, 1.1), (17, 12, 1.5)]
)
def test_the_norm_of_a_polynomial_is_bounded_between_the_points_of_the_grid(count, columns, most):
    """For many columns, it is a bound that takes less time."""
    p = np.random.default_rng(5).standard_normal((count, 2, columns))
    z = np.exp(2j * np.pi * np.outer(np.arange(9973) / 9973, np.arange(count)))
    norm = np.linalg.norm(np.tensordot(z, p, 1), 2, (1, 2)).max()
    assert norm <= largest(p) <= most * norm


@pytest.mark.parametrize(
    ("pole", "times", "channels", "records", "taps"),
    [
        (0.5, 1, 1, 1, 24),
        (-0.9, 1, 1, 1, 24),
        (0.9, 2, 2, 2, 24),
        (0.99, 2, 1, 5, 80),
        (0.9, 4, 3, 1, 24),
        (0.5, 1, 1, 1, 130),
        (0.9, 1, 2, 2, 130),
    ],
)
@pytest.mark.parametrize("padded", [False, True])
def test_preconditioner_makes_any_spectrum_flat(pole, times, channels, records, taps, padded):
    """All eigenvalues of M⁻¹AᵀA near 1, whatever the condition; M within its bounds.

    A spectrum neglects the ends of the kernel, where a few eigenvalues are larger. Ends of records
    are tapered over a kernel, which is about as long as x is correlated or longer.
    """
    rng, exact = np.random.default_rng(1), taps < 128
    x = coloured(rng, 4000, channels, pole, times)
    x /= np.sqrt((x**2).sum(0))
    pad = taps - 1 if padded else 0
    parts = series(*(np.pad(r, [(pad, pad), (0, 0)]) for r in np.split(x, records)))
    columns, ridge = np.arange(taps * channels), np.full(taps * channels, 1e-8)
    ones = np.ones(columns.size)
    gram = Gram(parts, taps, columns, ones, ridge=ridge)
    smooth = flat(gram)
    # The spectrum of x spans ((1 + |pole|)/(1 − |pole|))^(2·times).
    assert (smooth is None) == (((1 + abs(pole)) / (1 - abs(pole))) ** (2 * times) > 1000)
    precondition = preconditioner(stationary(parts, taps, columns, ones, ridge, (pad, pad)))
    assert precondition.definite
    assert isinstance(precondition, ToeplitzInverse if exact else SpectralInverse)
    g = gram(np.eye(columns.size))
    check_preconditioner(precondition, g, 3 if exact else 8)
    if smooth is not None:
        check_preconditioner(smooth, g, 8)


@pytest.mark.parametrize(
    ("pole", "times", "kind"),
    [
        (0.9, 1, SpectralInverse),
        (0.97, 1, SpectralInverse),  # it spans 3.6 decades
        (0.99, 2, ToeplitzInverse),  # it spans 9 decades
        (None, 1, ToeplitzInverse),  # differences, which an autoregression does not whiten
    ],
)
def test_an_autoregression_serves_long_kernels_that_it_whitens(pole, times, kind):
    rng, taps = np.random.default_rng(8), 130
    x = coloured(rng, 4000, 1, 0.0)
    x = np.diff(x, axis=0) if pole is None else coloured(rng, 4000, 1, pole, times)
    columns, ones = np.arange(taps), np.ones(taps)
    assert isinstance(preconditioner(stationary(series(x), taps, columns, ones, 0 * ones)), kind)


@pytest.mark.parametrize(("ridge", "definite"), [(5e-15, False), (4e-13, True), (1e-6, True)])
def test_a_matrix_is_definite_if_its_least_eigenvalue_is_above_rounding(ridge, definite):
    """The least eigenvalue is the ridge. A bound that takes less time does not decide 4e-13."""
    taps = 24
    twice = np.repeat(np.random.default_rng(6).standard_normal((3000, 1)), 2, axis=1)
    columns, ones = np.arange(2 * taps), np.ones(2 * taps)
    made = ToeplitzInverse(stationary(series(twice), taps, columns, ones, ridge * ones))
    assert made.definite == definite


@pytest.mark.parametrize("channels", [1, 2])
def test_the_diagonal_of_the_inverse(channels):
    x = coloured(np.random.default_rng(9), 2000, channels, 0.9)
    columns = np.arange(15 * channels)
    ones = np.ones(columns.size)
    made = ToeplitzInverse(stationary(series(x), 15, columns, ones, 0 * ones))
    inverse = np.diagonal(made(np.eye(columns.size)))
    np.testing.assert_allclose(made.diagonal, inverse, rtol=1e-11)


@pytest.mark.parametrize(
    ("pole", "given", "kind"),
    [
        (0.0, {}, SpectralInverse),
        (0.0, {"ridge": 1e3}, SpectralInverse),
        (0.98, {}, ToeplitzInverse),
        (0.98, {"ridge": 1e9}, SpectralInverse),  # the spectrum of AᵀA + ridge is flat
        (0.0, {"mask": np.arange(4000) % 9 > 0}, ToeplitzInverse),
    ],
)
def test_the_preconditioner_of_a_problem(pole, given, kind):
    x = coloured(np.random.default_rng(2), 4000, 1, pole)
    options, ridge = dict(given), given.get("ridge", 0.0)
    options.pop("ridge", None)
    system = analyse(cs.Problem(x, lags=(0, 23), edges="zeros", **options)).system(RIDGE, ridge)
    assert isinstance(Normal(system, 0).precondition, kind)


def check_preconditioner(precondition, g, most, least=0.2):
    """M⁻¹ is symmetric and within its bounds, and the eigenvalues of M⁻¹AᵀA are near 1."""
    inverse = precondition(np.eye(len(g)))
    assert np.abs(inverse - inverse.T).max() <= 1e-12 * np.abs(inverse).max()
    half = np.linalg.cholesky((inverse + inverse.T) / 2)
    values = np.linalg.eigvalsh(half.T @ g @ half)
    assert values[0] > least, values[0]
    assert values[-1] < most, (values[0], values[-1])
    m = np.linalg.eigvalsh((inverse + inverse.T) / 2)
    assert precondition.low <= 1 / m[-1]
    assert precondition.high >= 1 / m[0]


@pytest.mark.parametrize("channels", [1, 2])
def test_random_vectors_of_a_spectrum_have_its_covariance(channels):
    """Their squared norms in the metric of the covariance are those of white noise."""
    rng, taps, total = np.random.default_rng(7), 9, 0.0
    grid = Grid(taps, channels, np.arange(taps * channels))
    for seed in range(50):
        root = rng.standard_normal((grid.size // 2 + 1, channels, channels, 2)) @ [1.0, 1.0j]
        root[0] = root[0].real
        if grid.size % 2 == 0:
            root[-1] = root[-1].real
        values, vectors = np.linalg.eigh(root @ root.conj().swapaxes(1, 2) + np.eye(channels))
        made = SpectralInverse(grid, 1 / values, vectors)
        covariance = SpectralInverse(grid, values, vectors)(np.eye(taps * channels))
        drawn = made.draw(seed)
        total += (drawn.T @ np.linalg.solve(covariance, drawn)).item()
        values = np.linalg.eigvals(made(covariance)).real
        assert values.min() > 1 - 1e-9
    count = 50 * taps * channels
    assert abs(total - count) < 4 * np.sqrt(2 * count)


def test_an_indefinite_matrix_is_shifted_and_a_silent_channel_is_apart():
    rng, taps = np.random.default_rng(6), 24
    columns, ones = np.arange(2 * taps), np.ones(2 * taps)
    twice = np.repeat(rng.standard_normal((3000, 1)), 2, axis=1)
    for given, definite in ((twice, False), (twice * [0.0, 1.0], True)):
        squares = ones * (given.any(0) * 1.0)[columns % 2]
        made = preconditioner(stationary(series(given), taps, columns, squares, 0 * ones))
        assert made.definite == definite
        values = np.linalg.eigvalsh(made(np.eye(2 * taps)))
        assert values[0] > 0
        assert made.low <= 1 / values[-1]
        assert made.high >= 1 / values[0]


@pytest.mark.parametrize("padding", [0, 2, 9, 20])
def test_records_are_tapered_unless_they_are_padded(padding):
    """Padding is at least an eighth of the kernel; elsewhere x is the same."""
    taps, given = 160, 2.0 + np.zeros((1000, 1))
    given[:padding] = 0.0
    (x,) = series(given)
    found = tapered(x, taps, (padding, 0)).data[0]
    inner = slice(250, 750)
    np.testing.assert_array_equal(found[inner], given[inner])
    assert abs(found[-1, 0]) < 1e-4
    assert (abs(found[padding, 0]) < 0.1) == (padding < taps / 8)
    shifted = tapered(x._replace(shift=np.ones(1)), taps, (padding, 0), centred=True).data[0]
    assert abs(shifted[0, 0]) < 0.01


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
    """It is between the backward error of a wrong kernel and three times this error."""
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
    assert bound <= 3 * eta or bound <= EXACT


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


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        ({}, 10),
        ({"mask": np.arange(900) % 9 > 0}, 10),
        ({"weights": 1.0 + np.arange(900) % 2}, 40),
    ],
)
def test_the_smallest_eigenvalue_that_proves_full_rank(given, columns):
    """It is 10 eps for each column of a Gram matrix, and FFTs have the errors of ten columns."""
    x = np.random.default_rng(21).standard_normal((900, 1))
    problem = cs.Problem(x, lags=(0, 39), edges="zeros", **given)
    by_fft = Tuning(small_numbers=0, row_numbers=0)
    normal = Normal(analyse(problem, by_fft).system(RIDGE, 1.0), 0)
    least = 10 * columns * EPS * normal.largest / normal.precondition.low
    assert normal._full_rank_above(1.01 * least)
    assert not normal._full_rank_above(0.99 * least)


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
    normal = Normal(analyse(problem).system(RIDGE, 0.0), 0)
    normal.product = None  # no step is made
    assert normal.definite or not normal.full_rank(200)
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
