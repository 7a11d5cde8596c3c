"""Arguments of the wrong type: the error of every entry point and component names them."""

from __future__ import annotations

from functools import partial
from itertools import product

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import convsolve as cs

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 2)), RNG.normal(size=(18, 1))
PROBLEM, SPEC = cs.Problem(X, Y, kernel_size=3), cs.ConvSpec(3)
FIT = cs.solve(PROBLEM)

NO_NUMBERS = [
    "1", True, np.bool_(True), 1j, [1j], {"a"}, object(), np.array("1"), np.array(True),
    np.datetime64(1, "s"), float, PROBLEM,
]  # fmt: skip
ABOVE, LEAST = "finite and above 0", "finite and at least 0"
NUMBERED = [  # components with a number, and its range
    (cs.Lasso, "ridge", LEAST), (cs.GradientDescent, "tol", ABOVE), (cs.HuberLoss, "delta", ABOVE),
    (cs.ConjugateGradient, "tol", ABOVE), (cs.SquaredExponential, "length", ABOVE),
    (cs.StableSpline, "decay", ABOVE), (cs.Ridge, "strength", LEAST),
    (partial(cs.Ridge, channel_groups=(0, 1)), "strength", LEAST), (cs.Lasso, "strength", LEAST),
    (partial(cs.Tikhonov, matrix=np.eye(3)), "strength", LEAST),
]  # fmt: skip


@pytest.mark.parametrize(("component", "name", "words"), NUMBERED, ids=range(len(NUMBERED)))
def test_a_setting_is_a_number_in_its_range(component, name, words):
    for value in NO_NUMBERS:
        with pytest.raises(TypeError, match=rf"^({name} must be a number, got \S|the first arg)"):
            component(**{name: value})
    for value in [-1, -1e-300, np.nan, np.inf, np.array(-1.0)] + [0] * (words == ABOVE):
        with pytest.raises(ValueError, match=rf"^{name} must be {words}, got "):
            component(**{name: value})
    for value in (0.5, np.float16(0.5), np.array(0.5), jnp.ones(()) / 2):
        assert type(getattr(component(**{name: value}), name)) is float


def test_a_count_is_an_integer():
    wrong = "1", 1.0, True, [1], np.ones(2, int), jnp.ones(()), np.nan
    for name, value in product(["steps", "batch_size", "restarts", "seed"], wrong):
        with pytest.raises(TypeError, match=rf"^{name} must be an integer, got \S"):
            cs.GradientDescent(**{name: value})


@pytest.mark.parametrize("init", [3, np.zeros((2, 2, 1)), jnp.zeros((3, 2))], ids=np.shape)
def test_an_initial_kernel_of_another_shape_is_refused(init):
    solver = cs.GradientDescent(init=init)
    words = r"init has shape \(.*\), the kernel \(3, 2, 1\)"
    with pytest.raises(cs.SolveError, match=words):
        cs.solve(PROBLEM, solver)


NO_PROBLEM = r"^problem must be a Problem\(x, y, ...\), got \w+$"
NO_ARRAY = "must hold plain real numbers, got "
OBJECTS, NO_ARRAYS = ["x.npy", [X, Y], FIT, cs.Problem], [{"x": X}, SPEC, FIT, cs.Problem]
CALLS = [
    *((call, NO_PROBLEM, [None, *OBJECTS])
      for call in (cs.identify, cs.solve, cs.compare, cs.choose_lags, cs.cross_validate)),
    (lambda v: cs.convolve(X, FIT.kernel, v), "^spec must be a ConvSpec, got ", OBJECTS),
    (lambda v: cs.fit_kernel(X, Y, v), "^spec must be a ConvSpec, got ", [None, *OBJECTS]),
    (lambda v: cs.Problem(X, spec=v), "^spec must be a ConvSpec", OBJECTS),
    (lambda v: cs.solve(PROBLEM, limits=v), "limits must be a Limits, got ", OBJECTS),
    (lambda v: cs.Problem(v, kernel_size=3), f"^x {NO_ARRAY}", NO_ARRAYS),
    (lambda v: cs.Problem(X, v, kernel_size=3), f"^y {NO_ARRAY}", NO_ARRAYS),
    (lambda v: cs.convolve(X, v, SPEC), f"^kernel {NO_ARRAY}", NO_ARRAYS),
    (lambda v: cs.convolve(X, FIT.kernel, SPEC, v), f"^bias {NO_ARRAY}", NO_ARRAYS),
    (FIT.predict, f"^x {NO_ARRAY}", NO_ARRAYS),
    (lambda v: FIT.score(X, v), f"^y {NO_ARRAY}", NO_ARRAYS),
    (cs.load, "PathLike", [None, 3.0, X, FIT]), (FIT.save, "PathLike", [None, 3.0, X, FIT]),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words", "values"), CALLS, ids=range(len(CALLS)))
def test_an_object_of_another_class_is_refused(call, words, values):
    for value in values:
        with pytest.raises(TypeError, match=words):
            call(value)


def test_records_of_two_precisions_have_the_wider_one():
    """NumPy has no common type for some of them. Integers count as float64."""
    types = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.bool_]
    for first, second in product(types, types):
        x = [np.array([0, 1, 1, 0], first), np.array([1, 0, 1, 1, 1], second)]
        y = [np.array([0, 1, 1], second), np.array([1, 0, 1, 1], first)]
        kernel = cs.solve(cs.Problem(x, y, kernel_size=2)).kernel
        double = {first, second} & {np.float64, np.bool_}
        assert kernel.dtype == (np.float64 if double else np.float32)
        np.testing.assert_allclose(kernel.ravel(), [1, 0], atol=1e-6)


def test_any_number_limits_memory():
    for memory in (np.inf, np.int64(2**31), np.float32(1e9)):
        limits = cs.Limits(memory=memory, data=memory)
        np.testing.assert_array_equal(cs.solve(PROBLEM, limits=limits).kernel, FIT.kernel)
