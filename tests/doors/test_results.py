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
        "GroupSolution": cs.solve_group({"a": PROBLEM, "b": PROBLEM}),
        "Jackknife": fit.jackknife(),
        "LagChoice": cs.choose_lags(PROBLEM),
        "NoiseEstimate": fit.noise,
        "PermutationTest": fit.permutation_test(),
        "Regularization": cs.solve(PROBLEM, penalty="ridge").regularization,
        "Score": fit.score(),
        "Suggestion": report.suggestions[0],
        "Trace": cs.solve(PROBLEM, "cg").trace,
    }


def test_every_class_is_documented_and_that_of_a_returned_object() -> None:
    found = received()
    assert [*found] == results.__all__ == [*RESULTS]
    for name, value in found.items():
        cls = getattr(results, name)
        assert type(value) is cls
        assert cls.__name__ == name
        assert cls.__doc__
        assert name in dir(results)
        assert name not in cs.__all__


def test_unknown_classes_and_submodules_are_refused() -> None:
    with pytest.raises(AttributeError, match=r"'convsolve.results' .* did you mean FTest\?"):
        _ = results.Ftest
    with pytest.raises(AttributeError, match=r"'convsolve.results' has no attribute 'colour'$"):
        _ = results.colour
    with pytest.raises(AttributeError, match=r"did you mean datasets\?"):
        _ = cs.dataset


def test_type_checkers_see_the_same_classes() -> None:
    tree = ast.parse(Path(results.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        module = import_module(f"convsolve.{node.module}")
        for alias in node.names:
            assert getattr(module, alias.name) is getattr(results, alias.name)
    assert sum(len(node.names) for node in block.body) == len(results.__all__)


def test_the_top_level_has_the_names_of_functions_and_arguments() -> None:
    assert len(cs.__all__) == 51
    assert {"LagBasis", "Penalty", "Loss", "NoiseModel", "Solver"} <= {*cs.__all__}


def test_submodules_are_imported_on_first_use() -> None:
    run(
        "import sys, convsolve as cs; dir(cs); cs.__all__\n"
        "assert [n for n in sys.modules if n.startswith('convsolve')] == ['convsolve']\n"
        "r = cs.results; dir(r)\n"
        "assert not {'numpy', 'jax', 'scipy'} & set(sys.modules)\n"
        "r.Score; assert 'convsolve.scoring' in sys.modules\n"
        "assert 'convsolve.inference.permutation' not in sys.modules\n"
        f"for name in {SUBMODULES}:\n"
        "    full = 'convsolve.' + name\n"
        "    assert name in dir(cs) and (full not in sys.modules or name in ('io', 'results'))\n"
        "    assert getattr(cs, name) is sys.modules[full] and sys.modules[full].__doc__\n"
    )


def test_a_missing_scikit_learn_is_named() -> None:
    run(
        "import sys; sys.modules['sklearn'] = None; import convsolve as cs\n"
        "try:\n    cs.sklearn\n"
        "except ImportError as error:\n"
        "    words = \"needs scikit-learn: pip install 'convsolve[sklearn]'\"\n"
        "    assert words in str(error), error\n"
        "else:\n    raise AssertionError"
    )
