"""Bases on the lags compared with their formulas, and the arguments of a problem that take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.stats import gamma

import convsolve as cs
from convsolve.problem.lag_bases import BASES, LagBasis

LAGS = np.arange(-5, 36)
K = len(LAGS)
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((300, 2)), RNG.standard_normal((300, 1))


def raised_cosines(n: int, peaks: np.ndarray, places: np.ndarray, width: float) -> np.ndarray:
    """½(1 + cos) around every peak, as in the documentation of NeMoS."""
    delta = peaks[1] - peaks[0]
    each = [
        0.5 * (1 + np.cos(np.clip((places - p) * np.pi / (delta * width), -np.pi, np.pi)))
        for p in peaks
    ]
    return np.stack(each, 1)


def log_cosines(n: int, stretch: float = 50.0, width: float = 2.0) -> np.ndarray:
    places = np.log(np.linspace(0, 1, K) * stretch + 1) / np.log(stretch + 1)
    last = 1 - width / (n + width - 1)
    return raised_cosines(n, np.linspace(0, last, n), places, width)


def splines(n: int, degree: int, inner: Any) -> np.ndarray:
    """Clamped B-splines, one at a time."""
    knots = np.r_[[LAGS[0]] * (degree + 1), inner, [LAGS[-1]] * (degree + 1)].astype(float)
    each = [BSpline(knots, unit, degree)(LAGS.astype(float)) for unit in np.eye(n)]
    return np.stack(each, 1)


def tents(knots: Any) -> np.ndarray:
    """max(0, 1 − distance / gap) on both sides of every knot."""
    knots = np.asarray(knots, float)
    found = np.zeros((K, len(knots)))
    for i, knot in enumerate(knots):
        for j in (i - 1, i + 1):
            if 0 <= j < len(knots):
                share = (LAGS - knots[j]) / (knot - knots[j])
                found[:, i] = np.where((share > 0) & (share <= 1), share, found[:, i])
        found[knot == LAGS, i] = 1
    return found


def fourier(n: int) -> np.ndarray:
    phase = 2 * np.pi * np.arange(K) / K
    waves = [f(j * phase) for j in range(1, n + 1) for f in (np.cos, np.sin)]
    return np.stack([np.ones(K), *waves], 1)


def hrf(kind: str, delay: float = 0.0, wider: float = 0.0) -> np.ndarray:
    """The difference of two gamma densities at 2 Hz, with a sum of one."""
    peak, under, width, ratio = {"spm": (6, 16, 1, 0.167), "glover": (6, 12, 0.9, 0.48)}[kind]
    own, seconds = width + wider, np.arange(60) / 2 - delay
    found = gamma.pdf(seconds / own, peak / own) / own
    found -= ratio * gamma.pdf(seconds / width, under / width) / width
    return found / found.sum()


def log_knots(n: int) -> np.ndarray:
    return LAGS[0] + (K - 1) * np.expm1(np.linspace(0, 1, n) * np.log(51)) / 50


FORMULAS: dict[str, tuple[LagBasis, np.ndarray]] = {
    "log cosines": (cs.RaisedCosines(5), log_cosines(5)),
    "stretched": (cs.RaisedCosines(7, stretch=9, width=3), log_cosines(7, 9.0, 3.0)),
    "even cosines": (
        cs.RaisedCosines(6, spacing="even"),
        raised_cosines(6, np.linspace(0, 1, 6), np.linspace(0, 1, K), 2.0),
    ),
    "cubic splines": (cs.BSplines(7), splines(7, 3, np.linspace(-5, 35, 5)[1:-1])),
    "quadratic splines": (cs.BSplines(6, degree=2), splines(6, 2, np.linspace(-5, 35, 5)[1:-1])),
    "steps": (cs.BSplines(4, degree=0), splines(4, 0, [5, 15, 25])),
    "tents": (cs.Tents((-5, -2, 0, 4, 7.5, 30)), tents((-5, -2, 0, 4, 7.5, 30))),
    "log tents": (cs.Tents(6), tents(log_knots(6))),
    "even tents": (cs.Tents(5, spacing="even"), tents(np.linspace(-5, 35, 5))),
    "Fourier": (cs.Fourier(3), fourier(3)),
    "matrix": (cs.Basis(fourier(2)[:, 1:].tolist()), fourier(2)[:, 1:]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_functions_are_those_of_the_formula(name: str) -> None:
    basis, expected = FORMULAS[name]
    np.testing.assert_allclose(basis.functions(LAGS), expected, rtol=1e-12, atol=1e-14)
    assert np.array_equal(basis.functions(LAGS) != 0, np.abs(expected) > 1e-14)
    if "spline" in name or name == "steps":
        np.testing.assert_allclose(basis.functions(LAGS).sum(1), 1, rtol=1e-13)


@pytest.mark.parametrize("kind", ["spm", "glover"])
def test_the_haemodynamic_response(kind: str) -> None:
    basis = cs.HRF(kind, derivatives=("time", "dispersion"))
    own = hrf(kind)
    expected = [own, (own - hrf(kind, delay=0.1)) / 0.1, (own - hrf(kind, wider=0.01)) / 0.01]
    found = basis.functions(np.arange(60), 2.0)
    np.testing.assert_allclose(found, np.stack(expected, 1), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(cs.HRF(kind).functions(np.arange(60), 2.0), found[:, :1])
    before = cs.HRF(kind).functions(np.arange(-3, 60), 2.0)
    assert not before[:3].any()
    np.testing.assert_allclose(before[3:], found[:, :1], rtol=1e-14)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_basis_is_restored_from_its_dictionary(name: str) -> None:
    basis, _ = FORMULAS[name]
    problem = cs.Problem(X, Y, lags=(-5, 35), basis=basis)
    fit = cs.solve(problem)
    again = cs.solve(cs.Problem(X, Y, lags=(-5, 35), basis=[basis.to_dict()] * 2))
    assert again.kernel.tobytes() == fit.kernel.tobytes()


def test_names_of_bases() -> None:
    """A name with a number is the basis with this number of functions."""
    for name in BASES:
        if name in ("basis", "hrf", "glover"):
            continue
        other_form = f"{name}4".upper().replace("_", "-")
        one, other = (cs.Problem(X, lags=(0, 20), basis=b) for b in (f"{name}4", other_form))
        assert one.n_unknowns == other.n_unknowns == 2 * (9 if name == "fourier" else 4)
    assert cs.Problem(X, lags=(0, 20), fs=1.0, basis="hrf").n_unknowns == 2
    assert cs.Problem(X, lags=(0, 9), basis="bsplines5").n_unknowns == 10


class Decays(cs.extend.LagBasis):
    """Exponentials with two decays, known in seconds."""

    def functions(self, lags: Any, fs: float | None = None) -> np.ndarray:
        assert fs == 100
        return np.exp(-np.asarray(lags)[:, None] / fs / np.array([0.01, 0.1]))


def test_a_basis_of_ones_own_is_one_class_and_saved_as_its_matrix(tmp_path: Path) -> None:
    fit = cs.solve(cs.Problem(X, Y, lags=(0, 20), fs=100, basis=Decays()))
    assert fit.problem.coefficient_names == ["0[0]", "0[1]", "1[0]", "1[1]"]
    functions = np.exp(-np.arange(21)[:, None] / 100 / np.array([0.01, 0.1]))
    by_matrix = cs.solve(cs.Problem(X, Y, lags=(0, 20), basis=cs.Basis(functions)))
    np.testing.assert_array_equal(fit.kernel, by_matrix.kernel)
    fit.save(tmp_path / "fit.npz")
    again = cs.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(again.coefficients, fit.coefficients)


def test_sizes_and_names_of_a_problem() -> None:
    names = ["envelope", "word"]
    lags = {"word": (-3, 2), "envelope": (0, 11)}
    problem = cs.Problem(X, Y, lags=lags, basis={"envelope": cs.BSplines(5)}, channels=names)
    assert problem.kernel_shape == (15, 2, 1)
    assert problem.lags.tolist() == [*range(-3, 12)]
    assert problem.n_unknowns == 5 + 6
    numbers = {"lags": {1: (-3, 2), "envelope": (0, 11)}, "basis": {0: cs.BSplines(5)}}
    assert cs.Problem(X, Y, channels=names, **numbers).n_unknowns == 11
    # Rows are those of the union of the windows.
    assert problem.n_equations == 300 - 11 - 3
    expected = [f"envelope[{i}]" for i in range(5)] + [f"word lag {lag}" for lag in range(-3, 3)]
    assert problem.coefficient_names == expected


@pytest.mark.parametrize(
    ("tmin", "tmax", "lags"),
    [
        ({"a": 0, "b": -0.1}, {"b": 0.2, "a": 0.31}, {"a": (0, 6), "b": (-2, 4)}),
        (-0.05, {"a": 0.1, "b": 0}, {"a": (-1, 2), "b": (-1, 0)}),
    ],
)
def test_windows_in_seconds_are_windows_in_samples(tmin: Any, tmax: Any, lags: Any) -> None:
    names = {"channels": ["a", "b"], "fs": 20.0}
    problem, expected = (
        cs.Problem(X, Y, **given, **names)
        for given in ({"tmin": tmin, "tmax": tmax}, {"lags": lags})
    )
    assert problem.coefficient_names == expected.coefficient_names
    np.testing.assert_array_equal(cs.solve(problem).kernel, cs.solve(expected).kernel)
    assert not cs.solve(problem).kernel.all()


SPLINES = cs.BSplines(5)
IMAGE = np.ones((1, 20, 20, 1))


def given(**arguments: Any) -> Callable[[], Any]:
    return lambda: cs.Problem(X, Y, **({"lags": (0, 9)} | arguments))


REFUSED: tuple[tuple[Callable[[], Any], type[Exception], str], ...] = (
    (given(basis={"enveloppe": SPLINES}, channels=["envelope", "word"]), ValueError,
     "'enveloppe'"),
    (given(basis={"a": SPLINES, 0: SPLINES}, channels=["a", "b"]), ValueError, "once, are a, b"),
    (given(basis={2: SPLINES}), ValueError, "each once, are 0, 1"),
    (given(lags=None, tmin={0: 0}, tmax=0.2, fs=9.0), ValueError, "value for every channel; 1"),
    (given(basis={0: {"name": "ridge"}}), ValueError, "is unknown; choose from raised_cosines"),
    (given(basis=cs.BSplines(11)), ValueError, "11 functions for 10 lags"),
    (given(basis=cs.Basis(np.ones((9, 1)))), ValueError, "numbers .* for 10 lags"),
    (given(basis=cs.Tents((0, 4, 20, 25))), ValueError, "function 3 is zero at all lags$"),
    (given(lags=(3, 3), basis=SPLINES), ValueError, "two lags or more, got 1 lag"),
    (given(basis="ridge"), ValueError, "basis='ridge' is unknown; choose from raised_cosines"),
    (given(basis="bsplines"), TypeError, "missing 1 required positional argument: 'n'"),
    (given(basis=[SPLINES]), ValueError, "basis has 1 values for 2 channels"),
    (given(lags=(0, 40), basis=cs.HRF()), ValueError, "needs a sampling rate"),
    (given(lags=(0, 19), fs=1.0, basis=cs.HRF()), ValueError, "lags from 0 to 20 s"),
    (lambda: cs.Problem(X, n_outputs=2, lags=(0, 9), groups=2, basis={0: SPLINES}), ValueError,
     "the same bases"),
    (lambda: cs.Problem(X, n_outputs=2, lags={0: (0, 9), 1: (0, 8)}, groups=2), ValueError,
     "the same lags"),
    (lambda: cs.Problem(IMAGE, kernel_size=(3, 3), basis=SPLINES), ValueError, "one axis"),
    (lambda: cs.Basis([[1.0, np.nan]]), ValueError, "matrix has NaN"),
    (lambda: cs.RaisedCosines(1), ValueError, "at least 2"),
    (lambda: cs.BSplines(3), ValueError, "more than degree=3 functions"),
    (lambda: cs.Tents((3, 1)), ValueError, "ascending lags"),
    (lambda: cs.HRF("fir"), ValueError, "kind"),
    (lambda: cs.Problem(X, lags=(0, 9)).coefficient_names, ValueError, "no basis"),
    (lambda: cs.solve(given(basis=SPLINES, edges="circular")(), "fft"), cs.SolveError, "basis"),
    (lambda: cs.choose_lags(given(basis=SPLINES)()), ValueError, "without a basis"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "words"), REFUSED, ids=[words for _, _, words in REFUSED]
)
def test_refusals(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
