"""Arguments of a fit: names, objects, strengths, and the call that repeats a fit."""

import re
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.components import CLASSES, kind_of
from support import dense

RNG, D = np.random.default_rng(0), np.eye(3)
X, W = [RNG.standard_normal((n, 3)) for n in (60, 50)], RNG.standard_normal((3, 3, 2))
Y = [cs.convolve(x, W, cs.ConvSpec(3)) + RNG.standard_normal((len(x) - 2, 2)) for x in X]
PROBLEM, LABELS = cs.Problem(X, Y, kernel_size=3), (0, 1, 1)
EACH, BANDED = [2.0, 30.0], cs.Ridge(channel_groups=LABELS)
NAMED: dict[str, Any] = {
    "cg": cs.ConjugateGradient(), "lasso": cs.Lasso(),
    "adam": cs.GradientDescent("adam"), "lbfgs": cs.GradientDescent("lbfgs"), "ridge": cs.Ridge(),
    "squared_exponential": cs.SquaredExponential(), "smooth": cs.Smooth(), "tc": cs.StableSpline(),
    "dc": cs.StableSpline(kind="dc"), "ss": cs.StableSpline(kind="ss"), "huber": cs.HuberLoss(),
    "ar": cs.ARNoise(), "ar3": cs.ARNoise(3), "hac": cs.HACNoise(),
    "hac20": cs.HACNoise(bandwidth=20), "cv": cs.CrossValidation(), "cv4": cs.CrossValidation(4),
    "StableSpline(3, kind='dc')": cs.StableSpline(3, kind="dc"), "mae": "absolute",
    "Smooth(2, order=2)": cs.Smooth(2, order=2), "cg(steps=5)": cs.ConjugateGradient(steps=5),
    "mse": "squared",
}  # fmt: skip
# A basis is an argument of a problem, and a matrix has no default.
METHODS = [name for kind, names in CLASSES.items() if kind != "basis" for name in names]
NAMES = [*(name for name in [*METHODS, *NAMED] if name != "tikhonov")]
KINDS = {"solver": "cg", "penalty": "tc", "loss": "huber", "noise": "ar3", "select": "cv"}


def bits(fit: cs.Solution) -> tuple[bytes, str]:
    return np.asarray(fit.kernel).tobytes(), fit.stats["call"]


def method_of(argument: str, value: Any) -> cs.method.Method:
    beside = {"penalty": "ridge"} if argument == "select" else {}
    return cs.method.Method.of(**beside, **{argument: value})


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_form_and_an_object_are_the_same_method(name: str) -> None:
    kind, upper = kind_of(name), name if "(" in name else name.upper().replace("_", "-")
    one, *others = (name, upper, NAMED.get(name, name))
    assert all(method_of(kind, other) == method_of(kind, one) for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_components_of_another_kind_and_classes_are_refused(kind: str) -> None:
    for other, name in KINDS.items():
        words = rf"^\w+ is a .*: use {other}=\w+\(|^{kind} must be a \w+ or one of"
        given = {type(NAMED[name]): words}
        if kind != other:
            given |= {name: f"^'{name}' is no {kind}: use {other}='{name}'", NAMED[name]: words}
        for value, expected in given.items():
            with pytest.raises(TypeError, match=expected):
                method_of(kind, value)


REFUSED: dict[str, list[Any]] = {
    "V solver='qrr' is unknown; did you mean 'qr'?": [{"solver": "qrr"}],
    "V is unknown; did you mean 'ridge'?": [{"penalty": "Rigde"}, {"penalty": "ridge2"}],
    "V loss='hubr' is unknown; did you mean 'huber'?": [{"loss": "hubr"}],
    "V is unknown; did you mean 'cluster'?": [{"noise": "clustr"}, {"noise": "cluster2"}],
    "V 'evidenz' is unknown; did you mean 'evidence'?": [{"penalty": "tc", "select": "evidenz"}],
    "T give ridge= or penalty=, not both": [{"ridge": 1, "penalty": "tc"}],
    "T needs a penalty with one strength that is not given": [
        {"penalty": BANDED, "grid": [1]}, *(
            ridge | given
            for ridge in ({}, {"ridge": 1}) for given in ({"grid": [1]}, {"select": "cv"})
        ),
    ],
    "V of groups of": [{"penalty": BANDED, "select": "gcv"}],
    "V has 2 labels, x has 3 channels": [{"penalty": cs.Ridge(1.0, channel_groups=(0, 1))}],
    "V 3 strengths for 2 outputs": [{"ridge": [1, 2, 3]}, {"penalty": cs.Lasso([1, 2, 3])}],
    "T ridge must be a number": [{"ridge": r} for r in ("x", [[1, 2]], True, D, ["1"])],
    "V ridge must be finite and at": [{"ridge": r} for r in (-1, [1, -1], np.inf, np.nan)],
    "T grid must be ": [{"penalty": "tc", "grid": g} for g in (1, ["1"], [True], [[2, 3], [1]])],
    "V grid must be finite and above 0": [{"penalty": "tc", "grid": [g]} for g in (0, -1, np.nan)],
    "V grid has shape (1, 3), expected (n,), or (n, 2)": [{"penalty": "tc", "grid": [[1, 2, 3]]}],
    "T solver must be a Solver or one of auto, qr,": [{"solver": s} for s in (3, True, ["qr"])],
    "T penalty must be a Penalty or one of ridge,": [{"penalty": p} for p in (1.0, True, D)],
    "T select must be a CrossValidation or": [{"penalty": "tc", "select": s} for s in (5, [[0]])],
    "T the first argument of StableSpline is its strength": [lambda: cs.StableSpline("tc")],
    "T a matrix: Tikhonov(strength, matrix=D)": [{"penalty": "Tikhonov"}, lambda: cs.Tikhonov(D)],
    "T argument of Ridge is its strength, a number; got 'x'": [lambda: cs.Ridge("x")],
    "V strength has the labels 0, channel_": [lambda: cs.Ridge({0: 1}, channel_groups=LABELS)],
    "V 1 number for 2 labels": [lambda: cs.Ridge([1], channel_groups=LABELS)],
    "V strength has 1, 2 outputs": [lambda: cs.Ridge([[1, 2], [3]], channel_groups=LABELS)],
    "T strength must be a number, got None": [lambda: cs.Ridge([1, None], channel_groups=LABELS)],
    "V has no numbers": [{"ridge": []}, lambda: cs.Smooth(()), {"penalty": "tc", "grid": []}],
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_arguments_that_are_refused(words: str) -> None:
    for given in REFUSED[words]:
        with pytest.raises({"V": ValueError, "T": TypeError}[words[0]], match=re.escape(words[2:])):
            given() if callable(given) else cs.solve(PROBLEM, **given)


FORMS: dict[str, tuple[Any, Any]] = {  # strengths, and what they are for every label and output
    "number": (2.0, [[2, 2], [2, 2]]), "dict": ({1: 30.0, 0: 2.0}, [[2, 2], [30, 30]]),
    "groups": (EACH, [[2, 2], [30, 30]]), "outputs": ([[2, 3], [30, 0.5]], [[2, 3], [30, 0.5]]),
    "mixed": ({0: 2.0, 1: [30, 0.5]}, [[2, 2], [30, 0.5]]), "zero": ([0, 1], [[0, 0], [1, 1]]),
}  # fmt: skip


@pytest.mark.parametrize("solver", ["qr", "normal", "cg", "auto"])
def test_strengths_of_outputs_and_of_groups_of_channels(solver: str) -> None:
    every = (cs.Ridge, cs.Smooth, lambda s: cs.StableSpline(s, decay=0.7))
    for make in every[: 1 if solver == "cg" else 3]:
        fit = cs.solve(PROBLEM, solver, penalty=make(EACH))
        for q in (0, 1):
            one = cs.Problem(X, [y[:, [q]] for y in Y], kernel_size=3)
            alone = cs.solve(one, solver, penalty=make(EACH[q]))
            np.testing.assert_allclose(fit.kernel[..., [q]], alone.kernel, rtol=1e-11, atol=1e-13)
    a, y = dense.design_matrix(X, cs.ConvSpec(3))[0], np.concatenate(Y)
    for strength, each in FORMS.values():
        fit = cs.solve(PROBLEM, solver, penalty=cs.Ridge(strength, channel_groups=LABELS))
        for q in (0, 1):
            gram = a.T @ a + np.diag(np.tile(np.array(each, float)[[*LABELS], q], 3))
            wanted = np.linalg.solve(gram, a.T @ y[:, q])
            np.testing.assert_allclose(fit.kernel[..., q].ravel(), wanted, rtol=1e-11, atol=1e-13)


SETTINGS: list[dict[str, Any]] = [
    {"solver": cs.ConjugateGradient(tol=1e-9, steps=99)}, {"ridge": EACH}, {"ridge": 1e-3},
    {"solver": cs.GradientDescent(steps=3, seed=2)}, {"penalty": cs.Smooth(1, order=2)},
    {"penalty": cs.SquaredExponential(EACH, length=(1.5,)), "noise": cs.ARNoise(2)},
    {"penalty": cs.StableSpline(kind="dc", correlation=0.5), "grid": [[1, 2], [3, 4]]},
    {"penalty": cs.Ridge({0: 1, 1: [2, 3]}, channel_groups=LABELS)}, {"penalty": BANDED},
    {"penalty": cs.Lasso(channel_groups="channels", ridge=0.1), "select": "cv"},
    {"penalty": "ridge", "select": cs.CrossValidation([[0], [1]], score="r2")},
    {"penalty": BANDED, "select": cs.CrossValidation(average="records")},
    {"loss": cs.HuberLoss(2, scale=0.5)}, {"noise": "hac5"}, {"solver": "svd", "noise": "cluster"},
]  # fmt: skip


@pytest.mark.parametrize("method", SETTINGS, ids=range(len(SETTINGS)))
def test_the_call_of_a_fit_and_the_repr_of_a_component_are_code(method: dict[str, Any]) -> None:
    fit = cs.solve(PROBLEM, **method)
    again = eval(fit.stats["call"], {"cs": cs, "problem": PROBLEM})
    assert bits(again) == bits(fit)
    for value in [v for v in method.values() if repr(v)[0].isupper()] + [*NAMED.values()]:
        assert eval(repr(value), vars(cs)) == value


def test_an_entry_of_compare_overrides_what_all_have_in_common() -> None:
    methods = [{"ridge": 3.0, "noise": "white"}, "svd", {"penalty": None}, {"grid": None}]
    table = cs.compare(PROBLEM, methods, penalty="smooth", grid=[1, 2], noise="ar2")
    calls = [
        "penalty=cs.Ridge(3.0)", "'svd', penalty='smooth', grid=(1.0, 2.0), noise='ar2'",
        "noise='ar2'", "penalty='smooth', noise='ar2'",
    ]  # fmt: skip
    wanted = [f"cs.solve(problem, {call})" for call in calls]
    assert [fit.stats["call"] for fit in table.solutions.values()] == wanted
