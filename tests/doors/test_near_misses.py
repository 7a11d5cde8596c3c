"""Unknown arguments and attributes: the error suggests a name that exists."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.notation import ARGUMENTS, ATTRIBUTES
from convsolve.sklearn import ConvRegressor

X = np.random.default_rng(0).standard_normal(100)
PROBLEM = cs.Problem(X, X + X[::-1], lags=(0, 2))
FIT = cs.solve(PROBLEM)
REPORT = cs.identify(PROBLEM)
CALLS = (cs.Problem, cs.solve, cs.cross_validate, cs.compare, ConvRegressor)


def names(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, use) for several, use in table.items() for name in several.split()]


def refused(call: Any, name: str) -> str:
    accepted = inspect.signature(call).parameters
    begin = f"{call.__name__}() has no argument {name!r}"
    with pytest.raises(TypeError, match=re.escape(begin)) as caught:
        call(**dict.fromkeys(accepted, PROBLEM), **{name: 1})
    return str(caught.value).removeprefix(begin)


@pytest.mark.parametrize(("name", "use"), names(ARGUMENTS))
def test_an_argument_of_another_library(name: str, use: str) -> None:
    callables = [call for call in CALLS if name not in inspect.signature(call).parameters]
    assert callables
    assert {refused(call, name) for call in callables} == {f"; use {use}"}


@pytest.mark.parametrize(("name", "use"), names(ATTRIBUTES))
def test_an_attribute_of_another_library(name: str, use: str) -> None:
    for value in (FIT, PROBLEM, REPORT, cs):
        if value is not PROBLEM or name != "weights":
            with pytest.raises(AttributeError, match=re.escape(f"attribute {name!r}; use {use}")):
                getattr(value, name)


def test_suggestions_exist() -> None:
    accepted = {name for call in CALLS for name in inspect.signature(call).parameters}
    accepted |= {*inspect.signature(cs.GradientDescent).parameters, "strength", "seed"}
    for _, use in names(ARGUMENTS):
        assert {*re.findall(r"(\w+)=", use)} <= accepted
    for _, use in names(ATTRIBUTES):
        first = re.match(r"\w+", use)[0]  # type: ignore[index]
        assert first in {*dir(FIT), *dir(cs)} or first == "print"


NEAREST = [
    (lambda: cs.solve(PROBLEM, nois="ar"), TypeError, "'nois'; did you mean noise?"),
    (lambda: cs.Problem(X, X, Lag=3), TypeError, "'Lag'; did you mean lags?"),
    (lambda: cs.Problem(X, X, depth=3), TypeError, "Problem() has no argument 'depth'"),
    (lambda: cs.CrossValidation(n_splits=3), TypeError, "use select=CrossValidation(folds)"),
    (lambda: cs.GradientDescent(epochs=9), TypeError, "use steps= of GradientDescent"),
    (lambda: cs.GradientDescent(lr=0.1), TypeError, "use GradientDescent"),
    (lambda: cs.ConjugateGradient(step=9), TypeError, "'step'; did you mean steps?"),
    (lambda: FIT.standard_eror, AttributeError, "did you mean standard_error?"),
    (lambda: FIT.colour, AttributeError, "Solution has no attribute 'colour'"),
    (lambda: cs.indentify, AttributeError, "did you mean identify?"),
    (lambda: FIT.coefficients, AttributeError, "no coefficients, because the problem has no basis"),
    (lambda: cs.solve(PROBLEM, "qrr"), ValueError, "'qrr' is unknown; did you mean 'qr'?"),
    (lambda: cs.solve(PROBLEM, "ridge"), TypeError, "use penalty='ridge'"),
    (lambda: cs.solve(PROBLEM, "magic"), ValueError, "choose from auto, qr, svd, normal, cg"),
]


@pytest.mark.parametrize(("call", "error", "words"), NEAREST)
def test_the_nearest_existing_name(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        call()


def test_objects_can_be_copied_and_pickled() -> None:
    for value in (PROBLEM, FIT, REPORT, FIT.score(), FIT.test(0)):
        assert not hasattr(value, "coef_")
        for twin in (copy.copy(value), pickle.loads(pickle.dumps(value))):
            assert type(twin) is type(value)
            assert not hasattr(twin, "coef_")
