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
from convsolve import registry, results
from convsolve.near_misses import ARGUMENTS, ATTRIBUTES, COMPONENTS, unknown_argument
from convsolve.sklearn import ConvRegressor

X = np.random.default_rng(0).standard_normal(60)
PROBLEM = cs.Problem(X, X, lags=(0, 2))
FIT = cs.solve(PROBLEM)
REPORT = cs.identify(PROBLEM)
DESCENT = cs.solve(PROBLEM, cs.GradientDescent(steps=1))
TABLE = cs.compare(PROBLEM, ["qr"])
CLASSES: dict[str, Any] = {
    "Solution": cs.Solution,
    "Identifiability": cs.Identifiability,
    "Problem": cs.Problem,
    "ConvSpec": cs.ConvSpec,
    "Score": results.Score,
    "FTest": results.FTest,
    "PermutationTest": results.PermutationTest,
    "Regularization": results.Regularization,
    "Comparison": results.Comparison,
    "convsolve": cs,
}
# Attributes that are set in a constructor.
OBJECTS = {"Solution": FIT, "Comparison": TABLE}
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
    (lambda: cs.Problem(X, ridge=1.0), TypeError, "no argument 'ridge'; give ridge= to solve"),
    (lambda: cs.solve(PROBLEM, bias=True), TypeError, "no argument 'bias'; give bias= to Problem"),
    (lambda: cs.solve(X, X, lags=(0, 2)), TypeError, "'lags'; give lags= to Problem"),
    (lambda: cs.solve(PROBLEM, sfreq=9), TypeError, "'sfreq'; give fs= to Problem"),
    (lambda: cs.identify(PROBLEM, alpha=1.0), TypeError, "'alpha'; give ridge= to solve"),
    (lambda: cs.solve(PROBLEM, alpha=1.0), TypeError, "no argument 'alpha'; use ridge="),
    (lambda: cs.solve(PROBLEM, cv=5), TypeError, r"use select='cv' or select=CrossValidation\(5"),
    (lambda: cs.solve(PROBLEM, folds=5), TypeError, r"use select='cv' or select=CrossValidation\("),
    (lambda: cs.cross_validate(PROBLEM, cv=5), TypeError, "no argument 'cv'; use folds="),
    (lambda: cs.solve(PROBLEM, method="qr"), TypeError, "no argument 'method'; use solver="),
    (lambda: cs.solve(PROBLEM, cov_type="HAC"), TypeError, "no argument 'cov_type'; use noise="),
    (lambda: cs.solve(PROBLEM, prior="tc"), TypeError, "no argument 'prior'; use penalty="),
    (lambda: cs.solve(PROBLEM, alphas=[1]), TypeError, "no argument 'alphas'; use grid="),
    (lambda: cs.solve(PROBLEM, strength=1), TypeError, r"as in penalty=Smooth\(1.0\)"),
    (lambda: cs.solve(PROBLEM, l1_ratio=1), TypeError, r"'l1_ratio'; use penalty=Lasso\(...\)"),
    (lambda: cs.solve(PROBLEM, scoring="bic"), TypeError, "no argument 'scoring'; use select="),
    (lambda: cs.solve(PROBLEM, huber_delta=1), TypeError, r"use loss=HuberLoss\(...\)"),
    (lambda: cs.solve(PROBLEM, bands=[0]), TypeError, r"penalty=Ridge\(channel_groups=...\)"),
    (lambda: cs.solve(PROBLEM, optimizer="adam"), TypeError, r"use solver=GradientDescent\(...\)"),
    (lambda: cs.compare(PROBLEM, solvers=["qr"]), TypeError, "'solvers'; use methods="),
    (lambda: cs.compare(PROBLEM, method="qr"), TypeError, "no argument 'method'; use methods="),
    (lambda: cs.choose_lags(PROBLEM, method="bic"), TypeError, "no argument 'method'; use select="),
    (lambda: cs.NormalEquations(alpha=2.0), TypeError, "'alpha'; give ridge= to solve"),
    (lambda: cs.QR(ridge=2.0), TypeError, "no argument 'ridge'; give ridge= to solve"),
    (lambda: cs.QR(steps=2), TypeError, "no argument 'steps'; it has none"),
    (lambda: cs.GradientDescent(loss="mae"), TypeError, "'loss'; give loss= to solve"),
    (lambda: cs.GradientDescent(huber_delta=2), TypeError, r"HuberLoss\(1.0, scale=...\)"),
    (lambda: cs.GradientDescent(lr=2.0), TypeError, r"'lr'; use optimizer=optax.adam\(...\)"),
    (lambda: cs.GradientDescent(epochs=2), TypeError, "no argument 'epochs'; use steps="),
    (lambda: cs.Smooth(lam=2.0), TypeError, "no argument 'lam'; use strength="),
    (lambda: cs.Smooth(select="gcv"), TypeError, "no argument 'select'; give select= to solve"),
    (lambda: cs.Smooth(alphas=[1]), TypeError, "no argument 'alphas'; give grid= to solve"),
    (lambda: cs.Smooth(length=2.0), TypeError, r"'length'; use SquaredExponential\(length=...\)"),
    (lambda: cs.StableSpline(alpha=0.9), TypeError, "no argument 'alpha'; use decay="),
    (lambda: cs.Lasso(alpha=0.9), TypeError, "no argument 'alpha'; use strength="),
    (lambda: cs.Ridge(groups=(0, 1)), TypeError, "no argument 'groups'; use channel_groups="),
    (lambda: cs.Ridge(weights=(0, 1)), TypeError, "no argument 'weights'; use strength=, with one"),
    (lambda: cs.CrossValidation(scoring="r2"), TypeError, "no argument 'scoring'; use score="),
    (lambda: ConvRegressor(alpha=1.0), TypeError, "no argument 'alpha'; use ridge="),
    (lambda: ConvRegressor(cv=5), TypeError, r"use select='cv' or select=CrossValidation\(5\)"),
    (lambda: cs.Ridge((0, 1), 1.0), TypeError, "takes strength by position; .* channel_groups="),
    (lambda: cs.Smooth(1.0, 2), TypeError, r"Smooth\(\) takes strength by position; .*: order="),
    (lambda: cs.HACNoise(20), TypeError, "takes no argument by position; .* name: bandwidth="),
    (lambda: cs.QR(1.0), TypeError, r"QR\(\) takes no argument by position$"),
    (
        lambda: cs.solve(PROBLEM, "qr", 1.0),
        TypeError,
        "takes problem, solver by position; .* ridge=",
    ),
    (lambda: ConvRegressor(bias=True), TypeError, "no argument 'bias'; use fit_intercept="),
    (lambda: FIT.save("f.npz", force=True), TypeError, "no argument 'force'; use overwrite="),
    (lambda: FIT.coef_, AttributeError, r"'coef_'; use impulse_response \(ascending lags\) or"),
    (lambda: FIT.standard_eror, AttributeError, "did you mean standard_error?"),
    (lambda: FIT.bse, AttributeError, "'bse'; use standard_error$"),
    (lambda: FIT.conf_int, AttributeError, r"'conf_int'; use confidence_band\(\)"),
    (lambda: FIT.fittedvalues, AttributeError, r"'fittedvalues'; use predict\(\)"),
    (lambda: FIT.report("fit.html"), AttributeError, r"'report'; use to_html\(\)"),
    (lambda: FIT.dof, AttributeError, "'dof'; use noise.dof"),
    (lambda: FIT.names, AttributeError, "'names'; use channels and outputs"),
    (lambda: FIT.text(), AttributeError, r"'text'; use print\(fit\)"),
    (lambda: FIT.weighted_residuals, AttributeError, r"use residuals\(\)"),
    (lambda: PROBLEM.kept, AttributeError, "'kept'; use n_equations"),
    (lambda: PROBLEM.names, AttributeError, "'names'; use channels and outputs"),
    (lambda: PROBLEM.sfreq, AttributeError, "'sfreq'; use fs"),
    (lambda: PROBLEM.spec.offset, AttributeError, r"'offset'; use lags\(\)"),
    (lambda: REPORT.text(), AttributeError, r"'text'; use print\(report\)"),
    (lambda: REPORT.counting, AttributeError, r"'counting'; use print\(report\)"),
    (lambda: REPORT.brief, AttributeError, "'brief'; use suggestions"),
    (lambda: REPORT.unique_with(1.0), AttributeError, r"'unique_with'; use resolution\(\)"),
    (lambda: cs.Score, AttributeError, "'Score'; use convsolve.results.Score"),
    (lambda: FIT.colour, AttributeError, "Solution has no attribute 'colour'$"),
    (lambda: FIT.score().nrmse_fit, AttributeError, "'nrmse_fit'; use fit_percent"),
    (lambda: FIT.test(0).p, AttributeError, "'p'; use pvalue"),
    (lambda: REPORT.remedies, AttributeError, "'remedies'; use suggestions"),
    (lambda: FIT.objective, AttributeError, r"'objective'; use stats\[\"loss\"\]"),
    (lambda: TABLE.gap, AttributeError, "'gap'; use rows.*excess_loss"),
    (lambda: TABLE.objective, AttributeError, r"use compare\(problem, loss=...\)"),
    (lambda: cs.RidgeCV, AttributeError, r"'RidgeCV'; use solve\(problem, penalty='ridge'\)"),
    (lambda: cs.Regularized, AttributeError, r"use solve\(problem, penalty='ridge'\)"),
    (lambda: cs.LeastSquares, AttributeError, "no attribute 'LeastSquares'; use QR or SVD"),
    (lambda: cs.LeastAbsolute, AttributeError, "use AbsoluteLoss, as in .*loss='absolute'"),
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
    names |= {*getattr(cls, "__annotations__", ())}
    names |= {*vars(OBJECTS[owner])} if owner in OBJECTS else set()
    for typed, suggestion in ATTRIBUTES[owner].items():
        assert not names & {*typed.split()}
        first = re.match(r"(?:cs\.|print\()?(\w+)", suggestion)[1]
        assert first in names | {*dir(cs)} | {"fit", "report", "table", "problem", "convsolve"}
        if suggestion.startswith("convsolve.results."):
            assert suggestion.rpartition(".")[2] in results.__all__
        check_calls(suggestion)
        if item := re.fullmatch(r'rows\[0\]\["(\w+)"\]', suggestion):
            assert item[1] in TABLE.rows[0]
        if item := re.fullmatch(r'stats\["(\w+)"\]', suggestion):
            assert item[1] in DESCENT.stats


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
def test_names_of_one_call_are_unknown_to_it_and_their_suggestions_exist(
    name: str, suggestion: str
) -> None:
    owner, _, argument = name.partition(".")
    call = getattr(cs, owner)
    accepted = inspect.signature(call).parameters
    assert argument not in accepted
    with pytest.raises(TypeError, match=re.escape(f"{argument!r}; use {suggestion}")):
        call(**{argument: 1})
    check_calls(suggestion)
    first = re.match(r"(\w+)", suggestion)[1]
    assert first in accepted if suggestion.startswith(f"{first}=") else hasattr(cs, first)


WORDS = [
    (word, name, options) for typed, (name, options) in COMPONENTS.items() for word in typed.split()
]


@pytest.mark.parametrize(("word", "name", "options"), WORDS, ids=[f"{w}-{n}" for w, n, _ in WORDS])
def test_a_name_of_another_library_is_answered_by_a_component(
    word: str, name: str, options: dict[str, int]
) -> None:
    assert registry.found(word) is None
    entry = registry.ENTRIES[name]
    meant = registry.nearest(word.upper().replace("_", "-"), (entry.kind,))
    assert meant == (entry.kind, name, options)
    if entry.target:
        entry.make(**options)
    keywords = {registry.ARGUMENTS[entry.kind]: word}
    if entry.kind == "criterion":
        keywords["penalty"] = "ridge"
    with pytest.raises(
        ValueError, match=re.escape(f"={word!r} is unknown; did you mean {meant.code}?")
    ):
        cs.solve(PROBLEM, **keywords)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        (
            {"solver": "ridge_regression"},
            "solver='ridge_regression' is unknown; use penalty='ridge'",
        ),
        ({"solver": "lad"}, "solver='lad' is unknown; use loss='absolute'"),
        ({"noise": "AR(3)"}, "noise='AR(3)' is unknown; did you mean 'ar3'?"),
        ({"noise": "ar()"}, "noise='ar()' is unknown; did you mean 'ar'?"),
        ({"solver": "magic"}, "choose from auto, qr, svd, normal, cg, fft, adam, lbfgs"),
    ],
    ids=str,
)
def test_an_unknown_name_of_a_component(keywords: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        cs.solve(PROBLEM, **keywords)


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
