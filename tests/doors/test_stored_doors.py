"""Results for records that are not in memory are those for arrays."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support.stored import SMALL, Slices

matplotlib.use("agg")
LENGTHS = (90, 120, 100, 110)
Calls = dict[str, Callable[[bool], Any]]


def records(lengths: tuple[int, ...] = LENGTHS) -> tuple[list, list]:
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((n, 2)) for n in lengths]
    w = rng.standard_normal((5, 2, 2))
    y = [cs.convolve(np.pad(a, ((4, 0), (0, 0))), w, cs.ConvSpec(5)) for a in x]
    return x, [b + 0.3 * rng.standard_normal(b.shape) for b in y]


X, Y = records()


def given(stored: bool, values: list) -> list:
    return [Slices(a) for a in values] if stored else values


def limits(stored: bool) -> Tuning:
    return SMALL if stored else Tuning()


def stated(stored: bool, **options: Any) -> cs.Problem:
    options = {"lags": (0, 4), "bias": True, **options}
    return cs.Problem(given(stored, X), given(stored, Y), **options)


def fitted(stored: bool, method: dict[str, Any] | None = None, **options: Any) -> cs.Solution:
    return cs.solve(stated(stored, **options), **(method or {}), limits=limits(stored))


def permuted(stored: bool) -> Any:
    x, y = records((90, 90, 90))
    problem = cs.Problem(given(stored, x), given(stored, y), lags=(0, 4))
    return [*cs.solve(problem, limits=limits(stored)).permutation_test()]


def drawn(thing: Any) -> list:
    figure = cs.plot(thing)
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    return [line.get_ydata() for axes in figure.axes for line in axes.get_lines()]


def compared(stored: bool) -> list:
    found = cs.compare(stated(stored), ["qr", "normal", "ridge"], limits=limits(stored))
    return [row["loss"] for row in found.rows]


def chosen(stored: bool, *select: Any, **options: Any) -> Any:
    found = cs.choose_lags(stated(stored, lags=(-3, 8), **options), *select, limits=limits(stored))
    return found.scores, cs.solve(found.problem, limits=limits(stored)).kernel


def held_out(stored: bool, *args: Any, **options: Any) -> list:
    return [*cs.cross_validate(stated(stored), *args, **options, limits=limits(stored))[:3]]


def masked(stored: bool) -> list:
    flags = [np.stack([np.arange(len(a)) % 7 > 0, np.arange(len(a)) % 5 > 0], 1) for a in X]
    fit = fitted(stored, mask=flags)
    return [fit.kernel, fit.standard_error]


def errors(stored: bool, noise: str) -> list:
    fit = fitted(stored, {"noise": noise})
    return [fit.standard_error, fit.covariance(1)]


CALLS: Calls = {
    "residuals": lambda s: fitted(s).residuals(),
    "residuals of other data": lambda s: fitted(s).residuals(given(s, X[:2]), given(s, Y[:2])),
    "held-out score": lambda s: [*fitted(s).score(given(s, X[:2]), given(s, Y[:2]))],
    "cross_validate": held_out,
    "cross_validate in time": lambda s: held_out(s, folds=7),
    "covariance": lambda s: fitted(s).covariance(1),
    "test": lambda s: [*fitted(s).test(channels=1)[::2]],
    "choose_lags, folds": lambda s: chosen(s, cs.CrossValidation()),
    "compare": compared,
    "permutation_test": permuted,
    "jackknife": lambda s: fitted(s).jackknife().kernels,
    "patterns": lambda s: [fitted(s).patterns(of) for of in ("predicted", "outputs")],
    "plot of a solution": lambda s: drawn(fitted(s)),
    "masks of outputs": masked,
    "cluster": lambda s: errors(s, "cluster"),
}


@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_arrays(name: str) -> None:
    assert_close(CALLS[name](True), CALLS[name](False))


def assert_close(found: Any, wanted: Any) -> None:
    if isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted):
            assert_close(one, other)
        return
    scale = np.nanmax(np.abs(np.asarray(wanted, float)), initial=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10 * scale)


METHODS: dict[str, dict[str, Any]] = {
    "gcv": {"penalty": "ridge"},
    "evidence": {"penalty": "tc", "select": "evidence"},
    "folds": {"penalty": "tc", "select": cs.CrossValidation(5, score="correlation")},
    "records": {
        "penalty": cs.Ridge(channel_groups=(0, 1)),
        "select": cs.CrossValidation(2, average="records"),
    },
    "lasso": {"penalty": "lasso"},
    "huber": {"loss": "huber"},
    "absolute": {"loss": "absolute"},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_solution_of_arrays(name: str) -> None:
    """Searches for a strength, and robust losses, end within their tolerance."""
    one, other = (fitted(stored, METHODS[name]) for stored in (True, False))
    assert one.status == other.status
    np.testing.assert_allclose(one.kernel, other.kernel, rtol=1e-6, atol=1e-7)


WHOLE: list[dict[str, Any]] = [
    {"solver": cs.GradientDescent(steps=3)},
    {"solver": "fft"},
    {"penalty": "ridge", "select": cs.CrossValidation(score=np.vdot)},
]


@pytest.mark.parametrize("method", WHOLE, ids=str)
def test_methods_of_whole_arrays_are_refused_before_reading(method: dict[str, Any]) -> None:
    x, y = Slices(X[0]), Slices(Y[0])
    problem = cs.Problem(x, y, lags=(0, 4))
    with pytest.raises(cs.SolveError, match=r"(it|score=) needs all of x and y"):
        cs.solve(problem, **method, limits=SMALL)
    assert (x.times == 1).all()  # the values were checked


def test_hac_is_refused_for_data_beyond_the_memory() -> None:
    fit = fitted(True, {"noise": "hac"})
    np.testing.assert_allclose(fit.kernel, fitted(False).kernel, rtol=1e-9)
    for call in (lambda: fit.standard_error, lambda: fit.test(0)):
        with pytest.raises(
            ValueError, match=r"noise='hac' needs the influence of \d+ rows on 10 t"
        ):
            call()


def test_text_and_files(tmp_path: Path) -> None:
    one, other = (fitted(stored, {"solver": "normal"}) for stored in (True, False))
    one_text, other_text = (re.sub(r", \S+ s, ", ", ", str(fit)) for fit in (one, other))
    assert one_text == other_text
    assert "\nComputed    normal equations, convsolve " in one_text
    one.save(tmp_path / "fit.npz")
    loaded = cs.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(loaded.kernel, one.kernel)
    assert_close(loaded.standard_error, other.standard_error)
    assert_close([*loaded.score(given(True, X), given(True, Y))], [*other.score()])
