"""Solution: predictions, scores and files have the form of the data."""

from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import analyse

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 40, 2))
W = RNG.standard_normal((5, 2, 2))
SPEC = cs.ConvSpec(5, padding="causal")
Y = cs.convolve(X, W, SPEC) + 0.3 * RNG.standard_normal((3, 40, 2))


def test_results_are_arrays_of_numpy_or_jax_as_the_data() -> None:
    fit = cs.solve(cs.Problem(X, Y, spec=SPEC))
    assert isinstance(fit.kernel, np.ndarray)
    assert isinstance(fit.predict(X), np.ndarray)
    single = jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32)
    of_jax = cs.solve(cs.Problem(*single, spec=SPEC))
    for value in (of_jax.kernel, of_jax.bias, of_jax.predict(single[0]), of_jax.residuals()):
        assert isinstance(value, jax.Array)
    assert of_jax.kernel.dtype == jnp.float32
    mixed = cs.solve(cs.Problem(single[0], np.asarray(single[1]), spec=SPEC))
    assert isinstance(mixed.kernel, np.ndarray)
    assert not jax.config.jax_enable_x64
    with jax.enable_x64(True):
        double = cs.solve(cs.Problem(jnp.asarray(X), jnp.asarray(Y), spec=SPEC))
        assert double.kernel.dtype == double.predict().dtype == jnp.float64
    assert np.array_equal(fit.kernel, double.kernel)


FORMS: dict[str, tuple[Any, Any]] = {
    "record": (X[0], Y[0]),
    "record of one output": (X[0], Y[0, :, 0]),
    "batch": (X, Y),
    "list": ([X[0], X[1, :20]], [Y[0], Y[1, :20]]),
    "list of one output": ([X[0], X[1, :20]], [Y[0, :, 0], Y[1, :20, 0]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_predictions_and_residuals_have_the_form_of_y(form: str) -> None:
    x, y = FORMS[form]
    fit = cs.solve(cs.Problem(x, y, spec=SPEC))
    predicted, residuals = fit.predict(), fit.residuals()
    assert isinstance(predicted, list) == isinstance(y, list)
    parts = (predicted, residuals, y) if isinstance(y, list) else ([predicted], [residuals], [y])
    for p, r, wanted in zip(*parts, strict=True):
        assert p.shape == wanted.shape
        np.testing.assert_allclose(p + r, wanted, rtol=1e-13)
    assert fit.predict(X[2]).shape == ((40,) if "one" in form else (40, 2))


def test_score_by_its_definitions() -> None:
    fit = cs.solve(cs.Problem(X[:2], Y[:2], spec=SPEC))
    truth, found = Y[2], cs.convolve(X[2], fit.kernel, SPEC)
    score = fit.score(X[2], Y[2])
    for q in range(2):
        t, p = truth[:, q], found[:, q]
        total = ((t - t.mean()) ** 2).sum()
        assert score.r2[q] == pytest.approx(1 - ((t - p) ** 2).sum() / total, rel=1e-12)
        assert score.correlation[q] == pytest.approx(np.corrcoef(t, p)[0, 1], rel=1e-12)
        nrmse = 100 * (1 - np.linalg.norm(t - p) / np.linalg.norm(t - t.mean()))
        assert score.fit_percent[q] == pytest.approx(nrmse, rel=1e-12)
        assert score.mse[q] == pytest.approx(((t - p) ** 2).mean(), rel=1e-12)
    assert score.to_dict()["mse"] == score.mse.tolist()
    for value, bias in ((0.1, False), (0.3, True)):
        flat = cs.solve(cs.Problem(X, np.full((3, 40, 1), value), spec=cs.ConvSpec(1), bias=bias))
        assert np.isnan(flat.score().r2).all()
    constant = cs.solve(cs.Problem(X, np.ones((3, 40, 1)), spec=cs.ConvSpec(1), bias=True))
    assert np.isnan(constant.score().r2).all()


def size_of(prediction: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.abs(prediction - target)


def test_a_fit_and_its_file_record_the_arguments(tmp_path: Path) -> None:
    start = np.zeros((3, 2, 1))
    solver = cs.GradientDescent(optax.adam(5e-2), init=start, seed=jnp.array(7), steps=3)
    noise = np.random.default_rng(1).standard_normal((40, 2))
    problem = cs.Problem(noise, noise[2:, :1] + 0.1 * noise[:-2, 1:], kernel_size=(3,))
    fit = cs.solve(problem, solver, loss=size_of)
    assert fit.stats["settings"] == {
        "optimizer": "custom", "steps": 3, "batch_size": None, "init": "custom",
        "learning_rate": None, "seed": 7, "restarts": 1, "tol": 1e-6, "gradient": "convolution",
        "callback": None,
    }  # fmt: skip
    assert fit.stats["loss"] == {"kind": "CustomLoss", "function": "size_of"}
    assert (fit.stats["penalty"], fit.stats["noise"]) == (None, "white")
    call = "cs.GradientDescent(..., steps=3, init=..., seed=7), loss=size_of"
    assert fit.stats["call"] == f"cs.solve(problem, {call})"
    fit.save(tmp_path / "fit.npz")
    back = cs.load(tmp_path / "fit.npz")
    assert back.stats == fit.stats | {"identifiability": fit.identifiability.to_dict()}
    words = "CustomLoss(function='size_of'), 3 steps, "
    assert all(words in " ".join(str(one).split()) for one in (fit, back))


def test_save_and_load(tmp_path: Path) -> None:
    problem = cs.Problem(X, Y + 2, lags=(-1, 3), bias=True)
    fit = cs.solve(problem, cs.GradientDescent(steps=50))
    path = tmp_path / "fit.npz"
    fit.save(path)
    back = cs.load(path)
    assert np.array_equal(back.kernel, fit.kernel)
    assert np.array_equal(back.lags, fit.lags)
    assert np.array_equal(back.predict(X, edges="drop"), fit.predict(), equal_nan=True)
    assert back.score(X, Y + 2).r2.tolist() == fit.score().r2.tolist()
    for name in ("status", "backward_error", "converged"):
        assert getattr(back, name) == getattr(fit, name)
    assert np.array_equal(back.trace.losses, fit.trace.losses)
    with pytest.raises(ValueError, match=r"there are no training data in a file; give x and y"):
        back.residuals()
    with pytest.raises(FileExistsError, match="overwrite"):
        fit.save(path)
    fit.save(path, overwrite=True)


GIVEN: dict[str, dict[str, Any]] = {
    "ridge": {"ridge": 2.0},
    "outputs": {"ridge": [2.0, 0.5]},
    "bands": {"penalty": cs.Ridge([[1.0, 2.0], [4.0, 0.0]], channel_groups=(0, 1))},
    "zero": {"ridge": [0.0, 1.0]},
    "autoregression": {"penalty": cs.Smooth(1.0), "noise": "ar2"},
    "lasso": {"penalty": cs.Lasso([2.0, 1.0])},
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_given_penalty_is_saved(name: str, tmp_path: Path) -> None:
    """In every other case the outputs have different rows."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((80, 2)), rng.standard_normal((80, 2))
    if [*GIVEN].index(name) % 2:
        y[:20, 1] = np.nan
    fit = cs.solve(cs.Problem(x, y, lags=(0, 2), missing="drop"), **GIVEN[name])
    found = fit.regularization
    assert (found.criterion, found.path) == ("given", None)
    strength = np.array(cs.method.Method.of(**GIVEN[name]).penalty.strength)
    assert (found.strength == strength).all()
    assert not np.isnan(found.effective_dof).any()
    fit.save(tmp_path / "fit.npz")
    back = cs.load(tmp_path / "fit.npz")
    np.testing.assert_equal(back.regularization.to_dict(), found.to_dict())
    assert back.stats["penalty"] == fit.stats["penalty"]


@pytest.mark.parametrize("about", [b"", b'{"version": 99}', b'{"version": 1}'])
def test_files_of_no_solution_are_refused(tmp_path: Path, about: bytes) -> None:
    np.savez(tmp_path / "fit.npz", about=np.frombuffer(about, np.uint8))
    with pytest.raises(ValueError, match=r"fit\.npz: no solution that Solution\.save wrote"):
        cs.load(tmp_path / "fit.npz")


def test_a_fit_can_be_pickled_and_is_freed_without_the_garbage_collector() -> None:
    problem = cs.Problem(X, Y, spec=SPEC, weights=[1.0, 2.0, 0.5])
    fit = cs.solve(problem, "cg")
    twin = pickle.loads(pickle.dumps(fit))
    assert np.array_equal(twin.predict(), fit.predict())
    assert np.array_equal(twin.standard_error, fit.standard_error)
    assert twin.identifiability.verdict == "overdetermined"
    matrices = weakref.ref(analyse(problem).design.matrix)
    gc.disable()
    try:
        del problem, fit, twin
        assert matrices() is None
    finally:
        gc.enable()


def test_predictions_of_other_lengths_compile_nothing(compiled: list[str]) -> None:
    fit = cs.solve(cs.Problem(X, Y, spec=SPEC))
    compiled.clear()
    for n in range(10, 20):
        assert fit.predict(X[0, :n]).shape == (n, 2)
        assert "R²" in str(fit)
    assert compiled == []


def test_same_padding_with_a_stride_keeps_its_lags(rng: np.random.Generator) -> None:
    spec = cs.ConvSpec(3, stride=2, padding="same")
    x = rng.standard_normal(41)
    fit = cs.solve(cs.Problem(x, cs.convolve(x, np.arange(1.0, 4), spec), spec=spec))
    assert fit.predict(x[:39]).shape == (20,)
    with pytest.raises(ValueError, match="has other lags in x of this length"):
        fit.predict(x[:40])
