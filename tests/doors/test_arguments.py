"""Arguments of the wrong type: the error of every entry point and component names them."""

from __future__ import annotations

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve import registry

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 2)), RNG.normal(size=(18, 1))
PROBLEM = cs.Problem(X, Y, kernel_size=3)
SPEC = cs.ConvSpec(3)
FIT = cs.solve(PROBLEM)
SOLVERS = [registry.component("solver", name) for name in ("qr", "svd", "normal", "fft", "auto")]

NO_NUMBERS = [
    "1", True, np.bool_(True), 1j, [1.0], {}, object(), np.array("1"), np.array(True),
    np.datetime64(1, "s"), float, PROBLEM,
]  # fmt: skip
OUT_OF_RANGE = [-1, -1e-300, np.nan, np.inf, np.array(-1.0)]
NUMBERS = [0.5, np.float16(0.5), np.array(0.5), jnp.ones(()) / 2]

# Constructors by the argument that is a number.
NUMBERED = {
    "ridge of Lasso": (cs.Lasso, "ridge"),
    "tol of descent": (cs.GradientDescent, "tol"),
    "tol of cg": (cs.ConjugateGradient, "tol"),
    "delta": (cs.HuberLoss, "delta"),
    "length": (cs.SquaredExponential, "length"),
    "decay": (cs.StableSpline, "decay"),
}
PENALTIES = {
    "ridge": cs.Ridge,
    "banded ridge": partial(cs.Ridge, channel_groups=(0, 1)),
    "smooth": cs.Smooth,
    "tc": cs.StableSpline,
    "tikhonov": partial(cs.Tikhonov, matrix=np.eye(3)),
    "lasso": cs.Lasso,
}


@pytest.mark.parametrize("which", NUMBERED)
def test_a_setting_is_a_number_in_its_range(which):
    component, name = NUMBERED[which]
    for value in NO_NUMBERS:
        if name == "length" and isinstance(value, list):
            continue
        with pytest.raises(TypeError, match=rf"^{name} must be a number, got \S"):
            component(**{name: value})
    words = "finite and at least 0" if name == "ridge" else "finite and above 0"
    for value in OUT_OF_RANGE if name == "ridge" else [0, *OUT_OF_RANGE]:
        with pytest.raises(ValueError, match=rf"^{name} must be {words}, got "):
            component(**{name: value})
    for value in NUMBERS:
        assert type(getattr(component(**{name: value}), name)) is float


def test_a_scale_is_mad_or_a_number():
    with pytest.raises(ValueError, match="scale='1' is unknown; choose 'mad' or a number"):
        cs.HuberLoss(scale="1")
    with pytest.raises(ValueError, match=r"^scale must be finite and above 0, got 0"):
        cs.HuberLoss(scale=0)
    with pytest.raises(ValueError, match=r"^decay must lie between 0 and 1, got "):
        cs.StableSpline(decay=1)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_strength_is_a_number_in_its_range(name):
    penalty = PENALTIES[name]
    assert penalty(None).strength is None
    for value in NO_NUMBERS:
        text = isinstance(value, str)
        words = "the first argument of" if text else "strength must be a number"
        if not isinstance(value, (list, dict)):
            with pytest.raises(TypeError, match=f"^{words}"):
                penalty(value)
    for value in OUT_OF_RANGE:
        with pytest.raises(ValueError, match=r"^strength must be finite and at least 0, got "):
            penalty(value)
        with pytest.raises(ValueError, match=r"^strength must be finite and at least 0, got "):
            penalty([1.0, value])
    for value in NUMBERS:
        assert type(penalty(value).strength) is float
        assert penalty([value, 2]).strength == (float(value), 2.0)


@pytest.mark.parametrize("name", ["steps", "batch_size", "restarts", "seed"])
def test_a_count_is_an_integer(name):
    for value in ("1", 1.0, True, [1], np.ones(2, int), jnp.ones(()), np.nan):
        with pytest.raises(TypeError, match=rf"^{name} must be an integer, got \S"):
            cs.GradientDescent(**{name: value})


SETTINGS = [
    ({"steps": -1}, ValueError, "steps must be at least 0, got -1"),
    ({"steps": 2**31}, ValueError, "steps must be at most 2000000000, got 2147483648"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ({"restarts": 10**20}, ValueError, "restarts must be at most 1000000"),
    ({"seed": 2**63}, ValueError, "seed must be at most 9223372036854775807"),
    ({"optimizer": "sgd"}, ValueError, "optimizer='sgd' is unknown; choose 'adam' or 'lbfgs', or"),
    ({"optimizer": 1e-3}, TypeError, "optimizer must be an optax transformation, got 0.001"),
    ({"optimizer": optax.adam}, TypeError, r"transformation, got <function adam .*"),
    ({"init": "ones"}, ValueError, "init='ones' is unknown; choose 'glorot_uniform' or 'zeros'"),
    ({"init": None}, TypeError, "init must hold plain real numbers, got None"),
    ({"init": [np.nan]}, ValueError, "init has NaN at index"),
    ({"init": jnp.array([1j])}, TypeError, "got ArrayImpl of complex64"),
]


@pytest.mark.parametrize(("settings", "error", "words"), SETTINGS, ids=range(len(SETTINGS)))
def test_settings_of_descent_that_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        cs.GradientDescent(**settings)


@pytest.mark.parametrize("init", [3, np.zeros((2, 2, 1)), jnp.zeros((3, 2))], ids=np.shape)
def test_an_initial_kernel_of_another_shape_is_refused(init):
    solver = cs.GradientDescent(init=init)
    words = r"init has shape \(.*\), the kernel \(3, 2, 1\)"
    with pytest.raises(cs.SolveError, match=words):
        cs.solve(PROBLEM, solver)
    with pytest.raises(ValueError, match=words):
        cs.fit_kernel(X, Y, SPEC, solver)


@pytest.mark.parametrize("solver", [cs.GradientDescent(), cs.GradientDescent(init=np.ones(3))])
def test_the_pytree_of_a_solver_accepts_any_leaves(solver):
    """JAX replaces numbers by None, by objects, and by the values of a map."""
    leaves, tree = jax.tree.flatten(solver)
    back = jax.tree.unflatten(tree, leaves)
    assert type(back) is type(solver)
    assert repr(back) == repr(solver)
    for placeholder in (None, object(), "a"):
        assert type(jax.tree.unflatten(tree, [placeholder] * len(leaves))) is type(solver)
    assert jax.tree.structure(jax.tree.map(lambda leaf: leaf, solver)) == tree


WRONG = [None, "x.npy", [X, Y], FIT, cs.Problem]
NO_ARRAY = "^{} must hold plain real numbers, got "


CALLS = {
    **{
        call.__name__: (call, r"^expected a Problem, got [\w ]+(; state one first: |$)")
        for call in (cs.identify, cs.solve, cs.compare, cs.choose_lags, cs.cross_validate)
    },
    "spec": (lambda v: cs.convolve(X, FIT.kernel, v), "^spec must be a ConvSpec, got "),
    "spec of fit_kernel": (lambda v: cs.fit_kernel(X, Y, v), "^spec must be a ConvSpec, got "),
    "spec of a problem": (
        lambda v: cs.Problem(X, spec=0 if v is None else v),
        "^spec must be a ConvSpec",
    ),
    "limits": (lambda v: cs.solve(PROBLEM, limits=v), "limits must be a Limits, got "),
}
ARRAYS = {
    "x": lambda v: cs.Problem(v, kernel_size=3),
    "y": lambda v: cs.Problem(X, v, kernel_size=3),
    "kernel": lambda v: cs.convolve(X, v, SPEC),
    "bias": lambda v: cs.convolve(X, FIT.kernel, SPEC, v),
    "predict": FIT.predict,
    "score": lambda v: FIT.score(X, v),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_object_of_another_class_is_refused(name):
    call, words = CALLS[name]
    for value in WRONG[name == "limits" :]:  # None are the usual limits
        with pytest.raises((TypeError, ValueError), match=words):
            call(value)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_object_that_is_no_array_is_refused(name):
    words = NO_ARRAY.format({"predict": "x", "score": "y"}.get(name, name))
    for value in ({"x": X}, SPEC, FIT, cs.Problem):
        with pytest.raises(TypeError, match=words):
            ARRAYS[name](value)


@pytest.mark.parametrize("call", [cs.load, FIT.save])
def test_a_path_is_the_name_of_a_file(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in (None, 3.0, [X, Y], X, FIT, cs.Problem):
        with pytest.raises(TypeError, match="PathLike"):
            call(value)
    assert list(tmp_path.iterdir()) == []


def test_records_of_two_precisions_have_the_wider_one():
    """NumPy has no common type for some of them. Integers count as float64."""
    types = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.bool_]
    for first, second in product(types, types):
        x = [np.array([0, 1, 1, 0], first), np.array([1, 0, 1, 1, 1], second)]
        y = [np.array([0, 1, 1], second), np.array([1, 0, 1, 1], first)]
        problem = cs.Problem(x, y, kernel_size=2)
        double = {first, second} & {np.float64, np.bool_}
        assert problem._dtype == (np.float64 if double else np.float32)
        kernel = cs.solve(problem).kernel
        assert kernel.dtype == problem._dtype
        np.testing.assert_allclose(kernel.ravel(), [1, 0], atol=1e-6)
        eps = [0 if t is np.bool_ else float(jnp.finfo(t).eps) for t in (first, second)]
        assert problem._data_eps == max(eps)


@pytest.mark.parametrize("memory", [np.inf, np.int64(2**31), np.float32(1e9)], ids=str)
def test_any_number_limits_memory(memory):
    limits = cs.Limits(memory=memory, data=memory)
    np.testing.assert_array_equal(cs.solve(PROBLEM, limits=limits).kernel, FIT.kernel)
