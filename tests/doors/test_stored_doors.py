"""Results for records that are not in memory are those for arrays."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import matplotlib
import numpy as np
import pytest
from distributed import Client, LocalCluster

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
    return cs.solve(problem, limits=limits(stored)).permutation_test().null_distribution


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
    found = cs.cross_validate(stated(stored), *args, **options, limits=limits(stored))
    return [found.mse, found.r2, found.correlation]


def groups_with_masks(stored: bool) -> list:
    flags = [np.stack([np.arange(len(a)) % 7 > 0, np.arange(len(a)) % 5 > 0], 1) for a in X]
    x = given(stored, [np.hstack([a, a**2]) for a in X])
    problem = cs.Problem(x, given(stored, Y), lags=(0, 4), groups=2, mask=flags)
    fit = cs.solve(problem, limits=limits(stored))
    return [fit.kernel, fit.standard_error]


def errors(stored: bool, noise: str) -> list:
    fit = fitted(stored, {"noise": noise})
    return [fit.standard_error, fit.covariance(1)]


CALLS: Calls = {
    "residuals of other data": lambda s: fitted(s).residuals(given(s, X[:2]), given(s, Y[:2])),
    "held-out score": lambda s: [*vars(fitted(s).score(given(s, X[:2]), given(s, Y[:2]))).values()],
    "cross_validate": held_out,
    "cross_validate in time": lambda s: held_out(s, folds=7),
    "test": lambda s: [*vars(fitted(s).test(channels=1)).values()],
    "choose_lags, folds": lambda s: chosen(s, cs.CrossValidation()),
    "compare": compared,
    "permutation_test": permuted,
    "jackknife": lambda s: fitted(s).jackknife().kernels,
    "patterns": lambda s: [fitted(s).patterns(of) for of in ("predicted", "outputs")],
    "plot of a solution": lambda s: drawn(fitted(s)),
    "groups with masks of outputs": groups_with_masks,
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
    "early stopping": {"penalty": "early_stopping"},
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
    assert str(one) == str(other)
    one.save(tmp_path / "fit.npz")
    loaded = cs.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(loaded.kernel, one.kernel)
    assert_close(loaded.standard_error, other.standard_error)
    assert_close(loaded.score(given(True, X), given(True, Y)).r2, other.score().r2)


@pytest.mark.slow
def test_workers_of_dask() -> None:
    x, y = ([dask.array.from_array(a, chunks=(100, 2)) for a in several] for several in (X, Y))
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster, timeout=300):
        fit = cs.solve(cs.Problem(x, y, lags=(0, 4), bias=True), limits=SMALL)
        assert_close(fit.standard_error, fitted(False).standard_error)
    np.testing.assert_allclose(fit.kernel, fitted(False).kernel, rtol=1e-12, atol=1e-13)
