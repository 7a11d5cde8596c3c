"""Unknown arguments and attributes: the error suggests a name that exists."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.inference.permutation import PermutationTest
from convsolve.inference.uncertainty import FTest
from convsolve.near_misses import ARGUMENTS, ATTRIBUTES, unknown_argument
from convsolve.sklearn import ConvRegressor

X = np.random.default_rng(0).standard_normal(60)
PROBLEM = cs.Problem(X, X, lags=(0, 2))
FIT = cs.solve(PROBLEM)
REPORT = cs.identify(PROBLEM)
CLASSES: dict[str, Any] = {
    "Solution": cs.Solution,
    "Identifiability": cs.Identifiability,
    "Problem": cs.Problem,
    "Score": cs.Score,
    "FTest": FTest,
    "PermutationTest": PermutationTest,
    "Regularization": cs.Regularization,
    "convsolve": cs,
}
CALLABLES = [getattr(cs, name) for name in cs.__all__ if not name.startswith(("Solve", "Ident"))]
CALLABLES += [ConvRegressor, cs.Solution.save]
CALLABLES += [cs.Solution.permutation_test, cs.ConvSpec.minimum_samples]

Row = tuple[Callable[[], Any], type[Exception], str]
ROWS: list[Row] = [
    (lambda: cs.Problem(X, X, lags=(0, 2), sfreq=9), TypeError, "no argument 'sfreq'; use fs="),
    (lambda: cs.Problem(X, X, n_lags=3), TypeError, r"'n_lags'; use lags=\(first, last\)"),
    (lambda: cs.Problem(X, X, lag=3), TypeError, "no argument 'lag'; did you mean lags?"),
    (lambda: cs.Problem(X, out_channels=3), TypeError, "'out_channels'; use n_outputs="),
    (lambda: cs.Problem.from_lags(X), AttributeError, r"'from_lags'; use Problem\(x, y, lags="),
    (lambda: PROBLEM.in_channels, AttributeError, "'in_channels'; use n_channels"),
    (lambda: cs.solve(PROBLEM, nois="ar"), TypeError, "no argument 'nois'; did you mean noise?"),
    (lambda: cs.solve(PROBLEM, depth=3), TypeError, "'depth'; its arguments are problem, solver,"),
    (lambda: cs.NormalEquations(alpha=2.0), TypeError, "no argument 'alpha'; use ridge="),
    (lambda: cs.Regularized(alpha=2.0), TypeError, "no argument 'alpha'; use strength="),
    (lambda: cs.GradientDescent(lr=2.0), TypeError, r"'lr'; use optimizer=optax.adam\(...\)"),
    (lambda: cs.Ridge(groups=(0, 1)), TypeError, "no argument 'groups'; use channel_groups="),
    (lambda: ConvRegressor(bias=True), TypeError, "no argument 'bias'; use fit_intercept="),
    (lambda: FIT.save("f.npz", force=True), TypeError, "no argument 'force'; use overwrite="),
    (lambda: FIT.coef_, AttributeError, r"'coef_'; use impulse_response \(ascending lags\) or"),
    (lambda: FIT.standard_eror, AttributeError, "did you mean standard_error?"),
    (lambda: FIT.report("fit.html"), AttributeError, r"'report'; use to_html\(\)"),
    (lambda: FIT.colour, AttributeError, "Solution has no attribute 'colour'$"),
    (lambda: FIT.score().nrmse_fit, AttributeError, "'nrmse_fit'; use fit_percent"),
    (lambda: FIT.test(0).p, AttributeError, "'p'; use pvalue"),
    (lambda: REPORT.remedies, AttributeError, "'remedies'; use suggestions"),
    (lambda: cs.RidgeCV, AttributeError, "module 'convsolve' has no attribute 'RidgeCV'; use Regu"),
    (lambda: cs.indentify, AttributeError, "did you mean identify?"),
]


@pytest.mark.parametrize(("call", "error", "words"), ROWS, ids=[words for _, _, words in ROWS])
def test_an_unknown_name_is_answered_by_one_that_exists(
    call: Callable[[], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("owner", ATTRIBUTES)
def test_suggested_attributes_exist_and_typed_ones_do_not(owner: str) -> None:
    cls, names = CLASSES[owner], {*dir(CLASSES[owner]), *getattr(CLASSES[owner], "_fields", ())}
    names |= {*getattr(cls, "__annotations__", ())} | (
        {*vars(FIT)} if owner == "Solution" else set()
    )
    for typed, suggestion in ATTRIBUTES[owner].items():
        assert not names & {*typed.split()}
        first = re.match(r"(?:cs\.|print\()?(\w+)", suggestion)[1]
        assert first in names | {*dir(cs)} | {"fit", "report"}


def test_suggested_arguments_are_accepted_by_a_public_callable() -> None:
    accepted = {name for call in CALLABLES for name in inspect.signature(call).parameters}
    for typed, suggestion in ARGUMENTS.items():
        wanted = [word.partition("=")[0] for word in suggestion.split() if "=" in word]
        assert {*wanted} <= accepted | {"ax"}, typed
        for name in typed.split():
            assert f"use {wanted[0]}=" in unknown_argument("f", name, wanted[:1])


def test_objects_can_be_copied_pickled_and_inspected() -> None:
    for value in (PROBLEM, FIT, REPORT, FIT.score(), FIT.test(0)):
        assert not hasattr(value, "coef_")
        for twin in (copy.copy(value), pickle.loads(pickle.dumps(value))):
            assert type(twin) is type(value)
            assert not hasattr(twin, "coef_")
    assert [*inspect.signature(cs.solve).parameters][:2] == ["problem", "solver"]


def test_an_error_inside_a_property_keeps_its_message() -> None:
    loaded = copy.copy(FIT)
    del loaded.kernel
    with pytest.raises(AttributeError, match="no attribute 'kernel'"):
        _ = loaded.impulse_response
