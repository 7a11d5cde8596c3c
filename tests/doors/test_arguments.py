"""Arguments of the wrong kind, at every door and of every solver: each told by its name."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve import files

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 2)), RNG.normal(size=(18, 1))
PROBLEM = cs.Problem(X, Y, kernel_size=3)
SPEC = cs.ConvSpec(3)
FIT = cs.solve(PROBLEM)
RIDGED = [cs.LeastSquares, cs.NormalEquations, cs.FFTDeconvolution, cs.AutoSolver]

NO_NUMBERS = [
    None, "1", b"1", True, np.bool_(True), 1j, np.complex64(1), [1.0], (), {}, {1.0}, object(),
    np.array("1"), np.array(True), np.datetime64(1, "s"), jax.random.key(0), float, PROBLEM,
]  # fmt: skip
NO_INTEGERS = [None, "1", 1.0, np.float32(1), [1], {}, 1j, np.ones(2, int), jnp.ones(()), np.nan]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize(
    ("solver", "name"),
    [*((s, "ridge") for s in RIDGED), *((cs.GradientDescent, n) for n in ("tol", "huber_delta"))],
)
def test_settings_that_are_no_numbers(solver, name, value):
    with pytest.raises(TypeError, match=rf"^{name} must be a number, got \S"):
        solver(**{name: value})


@pytest.mark.parametrize("value", [-1, -1e-300, np.nan, np.inf, -np.inf, 10**400, np.array(-1.0)])
@pytest.mark.parametrize("solver", RIDGED)
def test_ridges_out_of_range(solver, value):
    with pytest.raises(ValueError, match=r"^ridge must be finite and not negative, got "):
        solver(ridge=value)


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, 10**400, jnp.zeros(())])
@pytest.mark.parametrize("name", ["tol", "huber_delta"])
def test_tolerances_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be positive and finite, got "):
        cs.GradientDescent(**{name: value})


@pytest.mark.parametrize("value", [1, 0.5, np.float16(1), np.int8(1), np.array(1.0), jnp.ones(())])
@pytest.mark.parametrize("solver", RIDGED)
def test_any_real_number_is_a_ridge(solver, value):
    assert type(solver(ridge=value).ridge) is float


@pytest.mark.slow
def test_several_ridges_are_for_vmap():
    ridges = jnp.array([0.1, 1.0])
    many = cs.NormalEquations(ridges)
    with pytest.raises(TypeError, match="ridge must be a number, got Array"):
        cs.solve(PROBLEM, many)

    def kernel(solver):
        return cs.fit_kernel(X, Y, SPEC, solver)[0]

    found = jax.vmap(kernel)(many)
    for ridge, w in zip(ridges, found):
        np.testing.assert_allclose(w, kernel(cs.NormalEquations(float(ridge))), rtol=1e-4)


@pytest.mark.parametrize("value", NO_INTEGERS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("name", ["steps", "batch_size", "restarts", "key"])
def test_counts_that_are_no_integers(name, value):
    if name == "batch_size" and value is None:  # means all rows
        value = "all"
    with pytest.raises(TypeError, match=rf"^{name} must be an integer, got \S"):
        cs.GradientDescent(**{name: value})


SETTINGS = [
    ({"steps": True}, TypeError, "steps must be an integer, got the bool True"),
    ({"steps": -1}, ValueError, "steps must be at least 0, got -1"),
    ({"steps": 2**31}, ValueError, r"steps must be below 2\*\*31, got 2147483648"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ({"restarts": 0}, ValueError, "restarts must be at least 1, got 0"),
    ({"key": 2**63}, ValueError, r"key must be below 2\*\*63"),
    ({"key": -(2**63) - 1}, ValueError, "key must be at least -9223372036854775808"),
    ({"key": np.ones(2)}, TypeError, r"key must be an integer, got array\(\[1\., 1\.\]\)"),
    ({"key": jax.random.split(jax.random.key(0))}, TypeError, "key must be an integer, got "),
    ({"optimizer": "adam"}, TypeError, "optimizer must be an optax transformation, got 'adam'"),
    ({"optimizer": 0.1}, TypeError, r"optimizer must be an optax transformation, got 0\.1$"),
    ({"optimizer": {}}, TypeError, r"optimizer must be an optax transformation, got {}$"),
    ({"optimizer": optax.adam}, TypeError, r"transformation, got <function adam .*; call it, as"),
    ({"optimizer": optax.GradientTransformation}, TypeError, r"; call it, as in optax\.adam\(5e-2"),
    ({"loss": "l2"}, ValueError, "loss='l2' is unknown; choose one of 'mse', 'mae', 'huber', or a"),
    ({"loss": None}, TypeError, "loss must be one of 'mse', .* callable .*, got None of type None"),
    ({"loss": np.ones(2)}, TypeError, "loss must be one of 'mse', .* of type ndarray"),
    ({"init": "ones"}, ValueError, "init='ones' is unknown; choose 'glorot_uniform' or 'zeros'"),
    ({"init": None}, TypeError, "init must hold numbers, got None of type NoneType; give an array"),
    ({"init": {}}, TypeError, "init must hold numbers, got {} of type dict"),
    ({"init": ["a"]}, TypeError, "init must hold numbers, got dtype <U1"),
    ({"init": [np.nan]}, ValueError, "init has 1 value that is not finite"),
    ({"init": jnp.array([1j])}, TypeError, r"init is complex \(complex64\)"),
    ({"init": [[1.0], [2.0, 3.0]]}, ValueError, "init is no regular array"),
]


@pytest.mark.parametrize(("settings", "error", "words"), SETTINGS, ids=range(len(SETTINGS)))
def test_settings_of_descent_that_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        cs.GradientDescent(**settings)


@pytest.mark.parametrize(
    "init", [3, np.zeros(()), np.zeros((2, 2, 1)), [0.0, 1.0], jnp.zeros((3, 2))], ids=np.shape
)
def test_a_start_of_another_shape(init):
    solver = cs.GradientDescent(init=init)
    words = r"init has shape \(.*\), the kernel \(3, 2, 1\)"
    with pytest.raises(cs.SolveError, match=words):
        cs.solve(PROBLEM, solver)
    with pytest.raises(ValueError, match=words):
        cs.fit_kernel(X, Y, SPEC, solver)


@pytest.mark.slow
def test_settings_of_any_integer_and_key():
    solver = cs.GradientDescent(steps=np.int8(3), key=jax.random.PRNGKey(0), restarts=np.array(2))
    assert (solver.steps, solver.restarts) == (3, 2)
    assert cs.solve(PROBLEM, solver).stats["steps"] == 3
    typed = cs.GradientDescent(steps=jnp.array(3), key=jax.random.key(0), restarts=2)
    np.testing.assert_array_equal(cs.solve(PROBLEM, typed).kernel, cs.solve(PROBLEM, solver).kernel)


@pytest.mark.parametrize(
    "solver", [*(s() for s in RIDGED), cs.GradientDescent(), cs.GradientDescent(init=np.ones(3))]
)
def test_a_solver_goes_through_a_pytree_unchecked(solver):
    """jax puts None, objects and whatever a map returns in the place of numbers."""
    leaves, tree = jax.tree.flatten(solver)
    back = jax.tree.unflatten(tree, leaves)
    assert type(back) is type(solver)
    assert repr(back) == repr(solver)
    for placeholder in (None, object(), "a"):
        assert type(jax.tree.unflatten(tree, [placeholder] * len(leaves))) is type(solver)
    assert jax.tree.structure(jax.tree.map(lambda leaf: leaf, solver)) == tree


WRONG = {
    "None": None, "a word": "x.npy", "a number": 3.0, "a list": [X, Y], "a dict": {"x": X},
    "an array": X, "a spec": SPEC, "a report": cs.identify(PROBLEM), "a fit": FIT,
    "a class": cs.Problem,
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("door", [cs.identify, cs.solve, cs.compare])
def test_what_is_no_problem(door, name):
    kind = type(WRONG[name]).__name__
    with pytest.raises(TypeError, match=rf"^expected a Problem, got {kind}; state one first: "):
        door(WRONG[name])


@pytest.mark.parametrize("name", [n for n in WRONG if n != "None"])
def test_what_is_no_solver(name):
    with pytest.raises(TypeError, match=r"^solver must be a solver such as NormalEquations\(\), g"):
        cs.solve(PROBLEM, WRONG[name])
    with pytest.raises(TypeError, match=r"^solver must be a solver such as NormalEquations\(\), g"):
        cs.fit_kernel(X, Y, SPEC, WRONG[name])
    if name != "a dict":
        with pytest.raises(TypeError, match=r"^solvers must "):
            cs.compare(PROBLEM, WRONG[name])


@pytest.mark.parametrize("name", [n for n in WRONG if n != "a report" and n != "a fit"])
def test_what_cannot_be_drawn(name):
    with pytest.raises(
        TypeError, match=r"^plot takes a Problem, what identify, solve, compare or choose_lags ret"
    ):
        cs.plot(WRONG[name])


@pytest.mark.parametrize("name", [n for n in WRONG if n != "a spec"])
def test_what_is_no_geometry(name):
    words = "^spec must be a ConvSpec, got "
    with pytest.raises(TypeError, match=words):
        cs.convolve(X, FIT.kernel, WRONG[name])
    with pytest.raises(TypeError, match=words):
        cs.fit_kernel(X, Y, WRONG[name])
    if name != "None":
        with pytest.raises(TypeError, match=words):
            cs.Problem(X, spec=WRONG[name])


@pytest.mark.parametrize("name", ["a dict", "a spec", "a report", "a fit", "a class"])
def test_what_is_no_array(name):
    words = r"^{} must hold numbers, got .* of type \w+; give an array, or a list of numbers"
    for label, call in {
        "x": lambda v: cs.Problem(v, kernel_size=3),
        "y": lambda v: cs.Problem(X, v, kernel_size=3),
        "kernel": lambda v: cs.convolve(X, v, SPEC),
        "bias": lambda v: cs.convolve(X, FIT.kernel, SPEC, v),
    }.items():
        with pytest.raises(TypeError, match=words.format(label)):
            call(WRONG[name])
    with pytest.raises(TypeError, match=words.format("x")):
        FIT.predict(WRONG[name])
    with pytest.raises(TypeError, match=words.format("y")):
        FIT.score(X, WRONG[name])


@pytest.mark.parametrize("name", [n for n in WRONG if n != "a word"])
def test_what_is_no_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (
        cs.load,
        FIT.save,
        files.read_array,
        files.read_arrays,
        lambda path: files.read_columns(path, [0]),
        lambda path: files.write_bytes(path, b""),
    ):
        with pytest.raises(TypeError, match=r"^path must be the name of a file, got a \w+$"):
            call(WRONG[name])
    assert list(tmp_path.iterdir()) == []


def test_a_geometry_beside_a_spec_is_refused_whatever_its_kind():
    for name, value in (("stride", 2), ("padding", "same"), ("kernel_size", (3,)), ("groups", 2)):
        with pytest.raises(TypeError, match="give either spec= or kernel_size, stride, padding"):
            cs.Problem(X, spec=SPEC, **{name: value})


def test_records_of_any_two_precisions():
    """NumPy has no common type for some of them; every answer is in the wider, integers in 64."""
    types = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int8, np.bool_]
    widest = {np.float16: 4, ml_dtypes.bfloat16: 4, np.float32: 4}
    for first in types:
        for second in types:
            x = [np.array([0, 1, 1, 0], first), np.array([1, 0, 1, 1, 1], second)]
            y = [np.array([0, 1, 1], second), np.array([1, 0, 1, 1], first)]
            problem = cs.Problem(x, y, kernel_size=2)
            wanted = max(widest.get(first, 8), widest.get(second, 8))
            assert problem.dtype == np.dtype(f"f{wanted}")
            fit = cs.solve(problem)
            assert fit.kernel.dtype == problem.dtype
            np.testing.assert_allclose(fit.kernel.ravel(), [1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("types", "unit"),
    [
        ((np.float16, np.float64), np.float16),
        ((np.float32, ml_dtypes.bfloat16), ml_dtypes.bfloat16),
        ((np.int16, np.float32), np.float32),
    ],
)
def test_the_coarsest_record_sets_the_rounding_of_the_data(types, unit):
    problem = cs.Problem([np.ones(5, t) for t in types], kernel_size=2)
    assert problem.data_eps == float(jnp.finfo(unit).eps)


@pytest.mark.parametrize(
    "door", [cs.identify, cs.solve, cs.compare, cs.cross_validate, cs.choose_lags]
)
def test_limits_are_limits(door):
    x, y = np.ones((2, 9, 1)), np.ones((2, 8, 1))
    with pytest.raises(TypeError, match="limits must be a Limits, got 3"):
        door(cs.Problem(x, y, kernel_size=2), limits=3)
