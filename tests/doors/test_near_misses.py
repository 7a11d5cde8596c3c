"""Unknown arguments and attributes: the error suggests a name that exists."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import extend, registry
from convsolve.interop import events
from convsolve.near_misses import ARGUMENTS, ATTRIBUTES, COMPONENTS, unknown_argument
from convsolve.sklearn import ConvRegressor

X = np.random.default_rng(0).standard_normal(100)
PROBLEM = cs.Problem(X, X + X[::-1], lags=(0, 2))
FIT = cs.solve(PROBLEM)
REPORT = cs.identify(PROBLEM)
DESCENT = cs.solve(PROBLEM, cs.GradientDescent(steps=1))
TABLE = cs.compare(PROBLEM, ["qr"])
OBJECTS: dict[str, Any] = {
    "Solution": FIT,
    "Identifiability": REPORT,
    "Problem": PROBLEM,
    "ConvSpec": PROBLEM.spec,
    "Score": FIT.score(),
    "FTest": FIT.test(0),
    "PermutationTest": FIT.permutation_test(draws=19),
    "Regularization": cs.solve(PROBLEM, ridge=1.0).regularization,
    "Comparison": TABLE,
    "LagChoice": cs.choose_lags(PROBLEM),
    "convsolve": cs,
}
CALLABLES = [getattr(cs, name) for name in cs.__all__ if not name.startswith(("Solve", "Ident"))]
CALLABLES += [ConvRegressor, cs.Solution.save]
CALLABLES += [cs.Solution.permutation_test, cs.ConvSpec.minimum_samples]
CALLABLES += [cs.extend.GroupSolution.confidence_band]


def kernels(**given: Any) -> cs.Problem:
    """A problem whose kernels are restricted."""
    return cs.Problem(X, X, lags=(0, 2), **given)


Row = tuple[Callable[[], Any], type[Exception], str]
ROWS: list[Row] = [
    (lambda: cs.Problem(X, X, lags=(0, 2), sfreq=9), TypeError, "no argument 'sfreq'; use fs="),
    (lambda: cs.Problem(X, X, lag=3), TypeError, "no argument 'lag'; did you mean lags?"),
    (lambda: cs.Problem.from_lags(X), AttributeError, r"'from_lags'; use Problem\(x, y, lags="),
    (lambda: cs.solve(PROBLEM, nois="ar"), TypeError, "no argument 'nois'; did you mean noise?"),
    (lambda: cs.solve(PROBLEM, depth=3), TypeError, "'depth'; its arguments are problem, solver,"),
    (lambda: cs.Problem(X, ridge=1.0), TypeError, "no argument 'ridge'; give ridge= to solve"),
    (lambda: cs.solve(X, X, lags=(0, 2)), TypeError, "'lags'; give lags= to Problem"),
    (lambda: cs.solve(PROBLEM, alpha=1.0), TypeError, "no argument 'alpha'; use ridge="),
    (lambda: cs.solve(PROBLEM, cv=5), TypeError, r"use select='cv' or select=CrossValidation\(5"),
    (lambda: cs.solve(PROBLEM, strength=1), TypeError, r"as in penalty=Smooth\(1.0\)"),
    (lambda: cs.Smooth(lam=2.0), TypeError, "no argument 'lam'; use strength="),
    (lambda: cs.Ridge((0, 1), 1.0), TypeError, "takes strength by position; .* channel_groups="),
    (lambda: cs.solve(PROBLEM, "qr", 1.0), TypeError, "takes problem, solver by pos.* ridge="),
    (lambda: cs.Problem(X, n_basis_funcs=8), TypeError, r"use basis=RaisedCosines\(n\) or basis=B"),
    (lambda: cs.Problem(X, hrf_model="spm"), TypeError, r"use basis=HRF\(kind, deriv"),
    (lambda: cs.solve(PROBLEM, basis="hrf"), TypeError, "'basis'; give basis= to Problem"),
    (lambda: cs.solve(PROBLEM, penalty=cs.Tents(3)), TypeError, "not a penalty: use basis=Tents"),
    (lambda: kernels(basis=cs.Fourier), TypeError, r"did you mean Fourier\(\.\.\.\)"),
    (lambda: kernels(basis=2), TypeError, r"did you mean BSplines\(2\) or RaisedC"),
    (lambda: kernels(basis=np.eye(3)), TypeError, r"got <ndarray>; use Basis\(matrix\)"),
    (lambda: kernels(basis=[[1.0, 2.0, 3.0]]), TypeError, r"use Basis\(matrix\)"),
    (lambda: kernels(basis=cs.Ridge(1.0)), TypeError, r"must be a basis .* got Ridge\(1\.0\)"),
    (lambda: kernels(basis="tents"), TypeError, "needs a number .* as in basis='tents8'"),
    (lambda: kernels(basis="bspline3"), ValueError, "did you mean 'bsplines3'?"),
    (lambda: kernels(basis="basis"), TypeError, r"needs functions: use Basis\(matrix\)"),
    (lambda: FIT.coefficients, AttributeError, "no coefficients, because the problem has no basis"),
    (lambda: ConvRegressor(bias=True), TypeError, "no argument 'bias'; use fit_intercept="),
    (lambda: FIT.standard_eror, AttributeError, "did you mean standard_error?"),
    (lambda: FIT.patterns_, AttributeError, r"'patterns_'; use patterns\(\)"),
    (lambda: FIT.colour, AttributeError, "Solution has no attribute 'colour'$"),
    (lambda: cs.indentify, AttributeError, "did you mean identify?"),
    (lambda: cs.Problem(X, TR=2.0), TypeError, "no argument 'TR'; use fs=1/tr"),
    (lambda: cs.Problem(X, Lag=(0, 2)), TypeError, "no argument 'Lag'; did you mean lags?"),
    (lambda: cs.Problem(X, _=0), TypeError, "no argument '_'; its arguments are"),
    (lambda: cs.Problem(X, stim=X), TypeError, "no argument 'stim'; use x="),
    (lambda: cs.Problem(X, drift_model="cosine"), TypeError, "use confounds="),
    (lambda: cs.Problem(X, direction=-1), TypeError, r"use Problem\(response, stimulus, lags="),
    (lambda: cs.solve(PROBLEM, max_iter=9), TypeError, r"use solver=GradientDescent\(steps="),
    (lambda: FIT.confidence_band(alpha=0.1), TypeError, "use level=1 - alpha"),
    (
        lambda: cs.cross_validate(PROBLEM, scoring="r2"),
        TypeError,
        r"use cross_validate\(problem\)\.r2",
    ),
    (lambda: FIT.R2, AttributeError, r"'R2'; use score\(\)"),
]


@pytest.mark.parametrize(("call", "error", "words"), ROWS, ids=[words for _, _, words in ROWS])
def test_an_unknown_name_is_refused_with_a_suggestion(
    call: Callable[[], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("owner", ATTRIBUTES)
def test_an_unknown_attribute_is_refused_with_one_that_exists(owner: str) -> None:
    value = OBJECTS[owner]
    names = {*dir(value), *dir(cs), "__version__", "fit", "report", "table", "problem", "convsolve"}
    for typed, suggestion in ATTRIBUTES[owner].items():
        for name in typed.split():
            words = f"has no attribute {name!r}; use {suggestion}"
            with pytest.raises(AttributeError, match=re.escape(words)):
                getattr(value, name)
        assert re.match(r"(?:cs\.|print\()?(\w+)", suggestion)[1] in names
        if suggestion.startswith("convsolve.extend."):
            assert suggestion.rpartition(".")[2] in extend.__all__
        check_calls(suggestion)
        if item := re.fullmatch(r'(rows\[0\]|stats)\["(\w+)"\]', suggestion):
            assert item[2] in (DESCENT.stats if item[1] == "stats" else TABLE.rows[0])


def test_suggested_arguments_are_accepted_by_a_public_callable() -> None:
    accepted = {name for call in CALLABLES for name in inspect.signature(call).parameters}
    for typed, suggestion in ARGUMENTS.items():
        if "." in typed:
            continue
        check_calls(suggestion)
        wanted = [word.partition("=")[0] for word in plain(suggestion).split() if "=" in word]
        assert {*wanted} <= accepted | {"ax"}, typed
        for name in typed.split():
            assert f"use {wanted[0]}=" in unknown_argument("f", name, wanted[:1])


def plain(suggestion: str) -> str:
    """A suggestion without the arguments of calls within it."""
    return re.sub(r"\(.*?\)", "", suggestion)


def check_calls(suggestion: str) -> None:
    """Check that the calls in a suggestion, of public names, have the arguments they show."""
    while call := re.search(r"(\w+)\(([^()]*)\)", suggestion):
        if hasattr(cs, call[1]):
            accepted = inspect.signature(getattr(cs, call[1])).parameters
            assert {*re.findall(r"(\w+)=", call[2])} <= {*accepted}
        suggestion = suggestion.replace(call[0], "")


OWN = [(name, words) for typed, words in ARGUMENTS.items() for name in typed.split() if "." in name]


@pytest.mark.parametrize(("name", "suggestion"), OWN, ids=[name for name, _ in OWN])
def test_names_for_one_call_are_not_its_arguments_and_their_suggestions_exist(
    name: str, suggestion: str
) -> None:
    owner, _, argument = name.partition(".")
    call = next(getattr(o, owner) for o in (cs, events, cs.Solution) if hasattr(o, owner))
    accepted = inspect.signature(call).parameters
    assert argument not in accepted
    with pytest.raises(TypeError, match=re.escape(f"{argument!r}; use {suggestion}")):
        call(**{argument: 1})
    check_calls(suggestion)
    first = re.match(r"(\w+)", suggestion)[1]
    assert first in accepted if suggestion.startswith(f"{first}=") else hasattr(cs, first)


SOLVE = partial(cs.solve, PROBLEM)
WORDS = [
    (word, name, options) for typed, (name, options) in COMPONENTS.items() for word in typed.split()
]


@pytest.mark.parametrize(("word", "name", "options"), WORDS, ids=[f"{w}-{n}" for w, n, _ in WORDS])
def test_a_component_is_suggested_for_a_name_of_another_library(
    word: str, name: str, options: dict[str, int]
) -> None:
    assert registry.found(word) is None
    entry = registry.ENTRIES[name]
    meant = registry.nearest(word.upper().replace("_", "-"), (entry.kind,))
    assert meant == (entry.kind, name, options)
    if entry.target:
        entry.make(**options)
    keywords = {registry.ARGUMENTS[entry.kind]: word}
    state = partial(cs.Problem, X, lags=(0, 2)) if entry.kind == "basis" else SOLVE
    if entry.kind == "criterion":
        keywords["penalty"] = "ridge"
    with pytest.raises(
        ValueError, match=re.escape(f"={word!r} is unknown; did you mean {meant.code}?")
    ):
        state(**keywords)


UNKNOWN = {
    "solver='ridge_regression' is unknown; use penalty='ridge'": {"solver": "ridge_regression"},
    "solver='lad' is unknown; use loss='absolute'": {"solver": "lad"},
    "noise='AR(3)' is unknown; did you mean 'ar3'?": {"noise": "AR(3)"},
    "noise='ar()' is unknown; did you mean 'ar'?": {"noise": "ar()"},
    "choose from auto, qr, svd, normal, cg, fft, adam, lbfgs": {"solver": "magic"},
}


@pytest.mark.parametrize("words", UNKNOWN)
def test_an_unknown_name_of_a_component(words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        cs.solve(PROBLEM, **UNKNOWN[words])


def test_objects_can_be_copied_and_pickled() -> None:
    for value in (PROBLEM, FIT, REPORT, FIT.score(), FIT.test(0)):
        assert not hasattr(value, "coef_")
        for twin in (copy.copy(value), pickle.loads(pickle.dumps(value))):
            assert type(twin) is type(value)
            assert not hasattr(twin, "coef_")
    assert [*inspect.signature(cs.solve).parameters][:2] == ["problem", "solver"]
