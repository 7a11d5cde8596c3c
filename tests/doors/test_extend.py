"""Base classes, classes that users receive and never construct, and submodules of the package."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import extend

RNG = np.random.default_rng(0)
X, NOISE = RNG.standard_normal((2, 6, 100, 1))
PROBLEM = cs.Problem(X, X + 0.1 * NOISE, lags=(0, 2))
BASES = ("LagBasis", "Loss", "NoiseModel", "Penalty", "Solver")
SUBMODULES = ("datasets", "extend", "interop", "io", "sklearn")


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def received() -> dict[str, Any]:
    """An object of every class, from the function that returns it."""
    fit = cs.solve(PROBLEM)
    report = cs.identify(cs.Problem(np.ones((9, 2)), lags=(0, 1)))
    return {
        "Comparison": cs.compare(PROBLEM, ["qr"]),
        "CrossValidationScores": cs.cross_validate(PROBLEM),
        "Delay": fit.delay(),
        "DescentForecast": fit.identifiability.descent(),
        "FTest": fit.test(0),
        "FrequencyResponse": fit.frequency_response(),
        "GroupSolution": cs.solve_group({"a": PROBLEM, "b": PROBLEM}),
        "HeldOutTest": cs.cross_validate(PROBLEM).permutation_test(),
        "Jackknife": fit.jackknife(),
        "LagChoice": cs.choose_lags(PROBLEM),
        "NoiseEstimate": fit.noise,
        "PermutationTest": fit.permutation_test(),
        "Regularization": cs.solve(PROBLEM, penalty="ridge").regularization,
        "Score": fit.score(),
        "StepResponse": fit.step_response(),
        "Suggestion": report.suggestions[0],
        "Trace": cs.solve(PROBLEM, "cg").trace,
        "Whiteness": fit.whiteness(),
    }


def test_every_class_is_documented_and_that_of_a_returned_object() -> None:
    found = received()
    assert sorted([*found, *BASES]) == extend.__all__
    for result in (one for one in found.values() if hasattr(one, "facts")):
        json.dumps(result.to_dict(), allow_nan=False)
        assert repr(result).startswith(f"<{type(result).__name__}")
        assert result._repr_html_().startswith("<")
    for name in extend.__all__:
        cls = getattr(extend, name)
        assert name not in found or type(found[name]) is cls
        assert cls.__name__ == name
        assert cls.__doc__
        assert name not in cs.__all__


def test_unknown_submodules_are_refused() -> None:
    with pytest.raises(AttributeError, match=r"did you mean datasets\?"):
        _ = cs.dataset


def test_submodules_are_imported_on_first_use() -> None:
    run(
        "import sys, convsolve as cs; dir(cs); cs.__all__\n"
        "assert [n for n in sys.modules if n.startswith('convsolve')] == ['convsolve']\n"
        "assert not {'numpy', 'jax', 'scipy'} & set(sys.modules)\n"
        f"for name in {SUBMODULES}:\n"
        "    full = 'convsolve.' + name\n"
        "    assert name in dir(cs) and (full not in sys.modules or name == 'io')\n"
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
