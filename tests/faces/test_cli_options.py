"""Every option of the library's main path is one of the command line, and does the same."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import registry
from convsolve.cli.arguments import parse, parser
from convsolve.cli.main import COMMANDS
from convsolve.cli.methods import basis_of, keywords
from support.command_files import MATRIX

# Functions in a matrix are named by their file.
ENTRIES = [e for e in registry.ENTRIES.values() if e.kind != "select" and e.name != "basis"]


def component(entry: registry.Entry) -> Any:
    """The class of an entry of the registry."""
    module, _, name = entry.target.partition(":")
    return getattr(import_module(module, "convsolve"), name)


# Of each command what it takes from Python, except components; ``x``, ``y`` and the problem are
# its data.
MAIN_PATH = {
    "identify": [cs.Problem, cs.identify],
    "solve": [cs.Problem, cs.CrossValidation, cs.solve, cs.Solution.save, cs.Solution.to_html],
    "compare": [cs.Problem, cs.CrossValidation, cs.compare],
    "cross-validate": [cs.Problem, cs.CrossValidation, cs.cross_validate],
    "choose-lags": [cs.Problem, cs.CrossValidation, cs.choose_lags],
    "show": [cs.Solution.to_html],
    "predict": [cs.Solution.predict, cs.Solution.score],
}
DATA = {"self", "x", "y", "problem"}
# What has another name there, since one name can be only one option.
RENAMED = {
    ("Solution.save", "path"): "--out",
    ("Solution.to_html", "path"): "--html",
    **{
        (name, "limits"): "--memory"  # and --data-memory
        for name in ("identify", "solve", "compare", "cross_validate", "choose_lags")
    },
}
# What is no option, and why.
NONE = {
    ("Solution.to_html", "title"): "what was fitted",
    ("Solution.to_html", "call"): "the command itself",
    ("Problem", "spec"): "its parts are options",
    **{
        (name, "progress"): "bars on a terminal, and --verbose"
        for name in ("identify", "solve", "compare", "cross_validate", "choose_lags")
    },
}
# What is no option of one command, and why.
NONE_OF_COMMAND = {("choose-lags", "random"): "it has no penalty"}
# What is no option of a component, and why.
NONE_OF_COMPONENT = {
    ("GradientDescent", "optimizer"): "--solver adam with --learning-rate, and --solver lbfgs",
    ("StableSpline", "kind"): "--penalty tc, dc and ss",
    ("ARNoise", "order"): "the number in --noise ar3",
    ("HACNoise", "bandwidth"): "the number in --noise hac20",
    **{(name, "n"): "the number in --basis NAME8" for name in ("RaisedCosines", "BSplines")},
    ("Fourier", "n"): "the number in --basis fourier4",
    ("Tents", "knots"): "the number in --basis tents8",
    ("HRF", "kind"): "--basis hrf and glover",
}
# Arguments of a class that the name of a component excludes.
EXCLUDED = {"tc": "correlation", "ss": "correlation"}
# Arguments of all penalties, which are options of the command.
COMMON = {"strength"}


def options() -> dict[str, set[str]]:
    """The long options of every command."""
    (commands,) = (action for action in parser()._actions if hasattr(action.choices, "items"))
    return {
        name: {option for action in own._actions for option in action.option_strings}
        for name, own in commands.choices.items()
    }


def test_every_argument_is_an_option_or_has_a_reason() -> None:
    assert {*COMMANDS} == {*MAIN_PATH, "demo", "doctor"}
    arguments = {
        (command, function.__qualname__, name)
        for command, functions in MAIN_PATH.items()
        for function in functions
        for name in inspect.signature(function).parameters
        if name not in DATA
    }
    assert {*NONE, *RENAMED} <= {(function, name) for _, function, name in arguments}
    known = options()
    for command, function, name in arguments:
        option = RENAMED.get((function, name), f"--{name.replace('_', '-')}")
        wanted = (function, name) not in NONE and (command, name) not in NONE_OF_COMMAND
        assert (option in known[command]) == wanted, f"{function}({name}=)"
    for command in ("solve", "compare", "cross-validate"):
        every = {*registry.options(), *COMMON}
        assert {f"--{name.replace('_', '-')}" for name in every} <= known[command]


# --- components

# The value of an option on the command line, and the argument that it gives.
VALUES: dict[str, tuple[str, Any]] = {
    "steps": ("7", 7),
    "tol": ("0.001", 0.001),
    "batch_size": ("4", 4),
    "init": ("zeros", "zeros"),
    "restarts": ("2", 2),
    "seed": ("3", 3),
    "channel_groups": ("0,1", (0, 1)),
    "ridge": ("0.5", 0.5),
    "order": ("2", 2),
    "length": ("2.5", 2.5),
    "decay": ("0.7", 0.7),
    "correlation": ("0.4", 0.4),
    "matrix": ("matrix.npy", MATRIX),
    "delta": ("2", 2.0),
    "scale": ("0.2", 0.2),
    "spacing": ("even", "even"),
    "stretch": ("9", 9.0),
    "width": ("1.5", 1.5),
    "degree": ("2", 2),
    "derivatives": ("time,dispersion", ("time", "dispersion")),
}


def named(entry: registry.Entry, *more: str) -> Any:
    """The component that a command line makes."""
    words = [f"--{entry.kind}", entry.name.replace("_", "-"), *more]
    if entry.kind == "basis":
        words[1] += "6" * bool(entry.number)
        args = parse(["identify", "x.npy", *words])
        found = basis_of(*args.basis, args)
        return registry.component("basis", found) if isinstance(found, str) else found
    if entry.name == "tikhonov" and "--matrix" not in more:
        words += ["--matrix", "matrix.npy"]
    found = keywords(parse(["solve", "x.npy", *words]), None)[entry.kind]
    return registry.component(entry.kind, found) if isinstance(found, str) else found


@pytest.mark.parametrize("words", ["0 20", "0,20", "-1 20", "-1,20", "=-1,20"])
def test_numbers_may_have_commas_between(words: str) -> None:
    given = ["--lags", *words.split()] if words[0] != "=" else [f"--lags{words}"]
    assert parse(["solve", "x.npy", *given]).lags == [-1 if "-" in words else 0, 20]
    assert parse(["solve", "x.npy", "--grid", "1e-3,1e2", "5"]).grid == [1e-3, 1e2, 5]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_argument_of_a_component_is_an_option_of_it(
    folder: Path, entry: registry.Entry
) -> None:
    """Not only of another component. An argument that the name fixes is no option."""
    cls = component(entry)
    arguments = inspect.signature(cls).parameters
    own = [option for option in entry.options if option.reads != "adam"]
    known = {option.name for option in own}
    reasons = {name for owner, name in NONE_OF_COMPONENT if owner == cls.__qualname__}
    excluded = {*filter(None, [EXCLUDED.get(entry.name)])}
    common = COMMON if entry.kind == "penalty" else set()
    assert known | reasons | common | excluded == arguments.keys()
    assert not known & (reasons | common | excluded)
    assert {*entry.fixed, *filter(None, [entry.number])} == reasons & {*arguments}
    for argument in excluded:
        with pytest.raises(ValueError, match=argument):
            entry.make(**{argument: 0.5})
    for option in own:
        text, value = VALUES[option.name]
        given = named(entry, f"--{option.name.replace('_', '-')}", text)
        assert type(given) is cls
        for name in arguments:
            wanted = value if name == option.name else getattr(named(entry), name)
            np.testing.assert_array_equal(getattr(given, name), wanted)
        # The help has the default of the argument, where it is a number.
        stated = re.search(r"\(default:? ([\d.e-]+)\)", option.help)
        if stated and option.name != "tol":
            assert float(stated[1]) == arguments[option.name].default
    if common:
        assert named(entry).strength is None
        assert named(entry, "--strength", "3", "4").strength == (3.0, 4.0)
    if entry.kind == "basis":
        assert not entry.number or getattr(named(entry), entry.number) == 6
    elif entry.number:
        words = ["solve", "x.npy", "--noise", f"{entry.name}3"]
        made = registry.component("noise", keywords(parse(words), None)["noise"])
        assert getattr(made, entry.number) == 3


def test_the_learning_rate_is_that_of_adam() -> None:
    given = named(registry.ENTRIES["adam"], "--learning-rate", "0.5")
    assert callable(given.optimizer.init)
    for name in ("adam", "lbfgs"):
        assert named(registry.ENTRIES[name]).optimizer == name


def test_help_fits_a_terminal_and_has_a_line_for_every_component(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (commands,) = (action for action in parser()._actions if hasattr(action.choices, "items"))
    texts = {command: str(commands.choices[command].format_help()) for command in COMMANDS}
    assert max(len(line) for text in texts.values() for line in text.splitlines()) <= 80
    for entry in registry.ENTRIES.values():
        begin = f"\n{' ' * 26}{entry.name.replace('_', '-')}: {entry.summary}"
        assert begin[:70] in texts["solve"]
    for name, (_, owners) in registry.options().items():
        words = ", ".join(owner.replace("_", "-") for owner in owners)
        words = ".*--penalty lasso" if name == "ridge" else f"{words}: "
        assert re.search(rf"--{name.replace('_', '-')} .*\s+{words}", texts["solve"])
