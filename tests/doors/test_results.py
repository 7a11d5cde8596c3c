"""Classes that users receive and never construct, and the submodules of the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import results
from convsolve.near_misses import RESULTS

RNG = np.random.default_rng(0)
X, NOISE = RNG.standard_normal((2, 6, 100, 1))
PROBLEM = cs.Problem(X, X + 0.1 * NOISE, lags=(0, 2))
SUBMODULES = ("datasets", "interop", "io", "results", "sklearn")


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def received() -> dict[str, Any]:
    """An object of every class, from the function that returns it."""
    fit = cs.solve(PROBLEM)
    report = cs.identify(cs.Problem(np.ones((9, 2)), lags=(0, 1)))
    return {
        "Comparison": cs.compare(PROBLEM, ["qr"]),
        "CrossValidationScores": cs.cross_validate(PROBLEM),
        "DescentForecast": fit.identifiability.descent(),
        "FTest": fit.test(0),
        "Jackknife": fit.jackknife(),
        "LagChoice": cs.choose_lags(PROBLEM),
        "NoiseEstimate": fit.noise,
        "PermutationTest": fit.permutation_test(),
        "Regularization": cs.solve(PROBLEM, penalty="ridge").regularization,
        "Score": fit.score(),
        "Suggestion": report.suggestions[0],
        "Trace": cs.solve(PROBLEM, "cg").trace,
    }


def test_every_class_is_that_of_an_object_that_users_receive() -> None:
    found = received()
    assert [*found] == results.__all__ == [*RESULTS]
    for name, value in found.items():
        assert type(value) is getattr(results, name), name


@pytest.mark.parametrize("name", results.__all__)
def test_classes_are_documented_and_no_longer_at_the_top(name: str) -> None:
    cls = getattr(results, name)
    assert cls.__name__ == name
    assert cls.__doc__
    assert name in dir(results)
    assert name not in cs.__all__
    with pytest.raises(AttributeError, match=f"{name!r}; use convsolve.results.{name}$"):
        getattr(cs, name)


def test_unknown_classes_are_refused_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"'convsolve.results' .* did you mean FTest\?"):
        _ = results.Ftest
    with pytest.raises(AttributeError, match=r"'convsolve.results' has no attribute 'colour'$"):
        _ = results.colour


def test_type_checkers_see_the_same_classes() -> None:
    tree = ast.parse(Path(results.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        module = import_module(f"convsolve.{node.module}")
        for alias in node.names:
            assert getattr(module, alias.name) is getattr(results, alias.name)
    assert sum(len(node.names) for node in block.body) == len(results.__all__)


def test_results_import_what_is_used() -> None:
    run(
        "import sys, convsolve.results as r; dir(r); "
        "assert not {'numpy', 'jax', 'scipy'} & set(sys.modules); "
        "r.Score; assert 'convsolve.scoring' in sys.modules; "
        "assert 'convsolve.inference.permutation' not in sys.modules"
    )


def test_the_top_level_has_the_names_of_functions_and_arguments() -> None:
    assert len(cs.__all__) == 42
    assert {"Penalty", "Loss", "NoiseModel", "Solver"} <= {*cs.__all__}


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodules_are_imported_when_used(name: str) -> None:
    run(
        f"import sys, convsolve as cs; assert {name!r} in dir(cs); "
        f"assert 'convsolve.{name}' not in sys.modules; "
        f"assert cs.{name} is sys.modules['convsolve.{name}']; assert cs.{name}.__doc__"
    )


def test_import_convsolve_imports_no_submodule() -> None:
    run(
        "import sys, convsolve as cs; dir(cs); cs.__all__; "
        "assert [n for n in sys.modules if n.startswith('convsolve')] == ['convsolve']"
    )


def test_unknown_submodules_are_refused_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"did you mean datasets\?"):
        _ = cs.dataset


def test_a_missing_scikit_learn_is_named() -> None:
    run(
        "import sys; sys.modules['sklearn'] = None; import convsolve as cs\n"
        "try:\n    cs.sklearn\n"
        "except ImportError as error:\n"
        "    words = \"needs scikit-learn: pip install 'convsolve[sklearn]'\"\n"
        "    assert words in str(error), error\n"
        "else:\n    raise AssertionError"
    )
