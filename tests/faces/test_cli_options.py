"""Every option of the library's main path is one of the command line, and does the same."""

from __future__ import annotations

import inspect

import pytest

import convsolve as cs
from convsolve.cli.arguments import parser
from convsolve.cli.main import COMMANDS
from convsolve.cli.options import SOLVERS
from convsolve.comparison import ALL

# Of each command what it takes from Python; ``x``, ``y`` and the problem are its data.
STATED = [cs.Problem]
PENALTIES = [cs.Ridge, cs.Smooth, cs.StableSpline, cs.Tikhonov, cs.CrossValidation]
METHODS = [type(method) for method in ALL]
METHODS += [cs.AutoSolver, cs.Huber, cs.LeastAbsolute, cs.Lasso, cs.Regularized]
MAIN_PATH = {
    "identify": [*STATED, cs.identify],
    "solve": [*STATED, *PENALTIES, *METHODS, cs.solve, cs.Solution.save, cs.Solution.to_html],
    "compare": [*STATED, *PENALTIES, *METHODS, cs.compare],
    "cross-validate": [*STATED, *PENALTIES, *METHODS, cs.cross_validate],
    "choose-lags": [*STATED, cs.CrossValidation, cs.choose_lags],
    "predict": [cs.Solution.predict, cs.Solution.score],
}
DATA = {"self", "x", "y", "problem"}
# What has another name there, since one name can be only one option.
RENAMED = {
    ("Ridge", "weights"): "--penalty-weights",
    ("Solution.save", "path"): "--out",
    ("Solution.to_html", "path"): "--html",
}
# What is no option, and why.
NONE = {
    ("Solution.to_html", "title"): "what was fitted",
    ("Solution.to_html", "call"): "the command itself",
    ("Problem", "spec"): "its parts are options",
    ("solve", "progress"): "bars on a terminal, and --verbose",
    ("LeastSquares", "method"): "--solver svd and --solver qr",
    ("GradientDescent", "optimizer"): "--solver adam with --learning-rate, and --solver lbfgs",
    ("Smooth", "order"): "--penalty differences and --penalty curvature",
    ("StableSpline", "kind"): "--penalty tc, dc and ss",
}
ARGUMENTS = [
    (command, function.__qualname__, name)
    for command, functions in MAIN_PATH.items()
    for function in functions
    for name in inspect.signature(function).parameters
    if name not in DATA
]


def options() -> dict[str, set[str]]:
    """The long options of every command."""
    (commands,) = (action for action in parser()._actions if hasattr(action.choices, "items"))
    return {
        name: {option for action in own._actions for option in action.option_strings}
        for name, own in commands.choices.items()
    }


@pytest.mark.parametrize("command", MAIN_PATH)
def test_every_argument_is_an_option_or_has_a_reason(command: str) -> None:
    known = options()[command]
    for _, function, name in (row for row in ARGUMENTS if row[0] == command):
        option = RENAMED.get((function, name), f"--{name.replace('_', '-')}")
        wanted = (function, name) not in NONE
        assert (option in known) == wanted, f"{function}({name}=)"


def test_reasons_and_names_are_of_arguments_that_there_are() -> None:
    known = {(function, name) for _, function, name in ARGUMENTS}
    assert {*NONE, *RENAMED} <= known


def test_every_command_and_every_solver_is_covered() -> None:
    assert {*COMMANDS} == {*MAIN_PATH, "demo", "doctor"}
    settings = {setting for _, takes in SOLVERS.values() for setting in takes}
    assert {f"--{setting.replace('_', '-')}" for setting in settings} <= options()["solve"]
