"""The options of commands: the arguments of functions, with their docstrings as help.

There is one notation for values, on the command line and in files of options. ``0,39`` is a tuple,
``Smooth(order=2)`` a component, ``mask.npy`` the array of a file, and
``envelope=0,40,word=-10,20`` a value for every channel. Lists in brackets are as in Python, and
other texts are words.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .. import __version__, components
from ..io import kind_of, read
from ..notation import made, nearest
from ..problem.sizes import Limits

# Options that are lists of words, and names of files that the commands themselves read or write.
WORDS = ("channels", "outputs", "x_columns", "y_columns", "methods")
PATHS = ("out", "plot", "html", "config", "fit", "data", "command")
EPILOG = """\
data: DATA.npz, .h5, .zarr or .mat with x and y; X and Y in .npy, .csv or .wav, FILE.h5:path,
FILE.zarr/path or FILE.mat:variable; or TABLE.csv with --x-columns and --y-columns
values: 0,39   mask.npy   tc   Smooth(order=2)   envelope=0,40,word=-10,20
exit status: 0 success, 1 not converged, 2 bad input, 3 kernel not determined, 130 interrupted
example: convsolve solve eeg.csv --x-columns envelope --y-columns Fz --lags 0,39 --out fit.npz
"""
# Options that --help shows; --help-all shows all.
USED = (
    "lags", "tmin", "tmax", "fs", "kernel_size", "bias", "basis", "x_columns", "y_columns",
    "penalty", "ridge", "noise", "out", "plot", "json",
)  # fmt: skip
# Arguments of functions that are no options.
OWN = ("self", "problem", "x", "y", "spec", "progress")
# Options that are no arguments of functions, and their help.
HELP = {
    "x_columns": "columns of a table that are x, by name or number (from 0)",
    "y_columns": "columns of a table that are y",
    "config": "options by name, for all commands or in a table of one, such as [solve]",
    "test": "F test of channels, A,B, or of a weighted sum of their kernels, A=1,B=-1",
    "out": "write the solution, FILE.npz, or the kernel or the prediction, FILE.npy or FILE.wav",
    "html": "write a report in one HTML file",
    "plot": "draw the result: FILE.png, .pdf or .svg",
    "json": "print a JSON document instead of text",
    "overwrite": "overwrite existing files",
    "verbose": "write the steps and their times to stderr",
}
SWITCHES = ("json", "overwrite", "verbose")


class Command(NamedTuple):
    """A command.

    Attributes:
        run: takes the arguments. The first line of its docstring is the help of the command.
        own: its options that are in `HELP`, after positional arguments.
        functions: functions whose arguments are options too.
    """

    run: Callable[[argparse.Namespace], Any]
    own: str
    functions: Sequence[Callable[..., Any]] = ()


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names of the arguments that are options, and their defaults."""
    given = inspect.signature(function).parameters
    return {name: one.default for name, one in given.items() if name not in OWN}


def help_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return the first sentence on every argument in the docstring of a function."""
    text = (inspect.getdoc(function) or "").partition("Args:")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for names, words in re.findall(r"^ {4}([\w, ]+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
        sentence = re.split(r"(?<=\.) ", " ".join(words.split()))[0]
        plain = sentence.replace("`", "").replace("%", "%%")
        found |= dict.fromkeys(names.split(", "), plain)
    return found


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, formatter_class=form, **settings)
        # Values such as -10,20 are no options.
        self._negative_number_matcher = re.compile(r"-[\d.].*$")

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def parser(commands: Mapping[str, Command], every: bool = False) -> argparse.ArgumentParser:
    """Return the parser of all commands; ``every`` shows all options in the help."""
    about = "Recover the kernel of a convolution, and report whether the data determine it."
    whole = _Parser(prog="convsolve", description=about, epilog=EPILOG)
    whole.add_argument("--version", action="version", version=f"convsolve {__version__}")
    added = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in commands.items():
        about = inspect.getdoc(command.run) or ""
        one = added.add_parser(name, help=about, description=about, epilog=EPILOG)
        one.add_argument("--help-all", action="help", help="show all options")
        for function in command.functions:
            group, words = one.add_argument_group(function.__name__), help_of(function)
            for option, default in options_of(function).items():
                _add(group, option, words[option], isinstance(default, bool), every)
        group = one.add_argument_group("files and output")
        for option in command.own.split():
            if option in ("fit", "data"):
                one.add_argument(option, nargs="+" if option == "data" else None)
            else:
                _add(group, option, HELP[option], option in SWITCHES, every)
    return whole


def _add(group: Any, name: str, words: str, switch: bool, every: bool) -> None:
    """Add an option to a group, hidden from a help that does not show every option."""
    about: dict[str, Any] = {"help": words if every or name in USED else argparse.SUPPRESS}
    kind = {"metavar": "FILE" if name in PATHS else "VALUE"}
    about |= {"action": argparse.BooleanOptionalAction} if switch else kind
    action = group.add_argument(f"--{name.replace('_', '-')}", **about)
    if name in components.CLASSES:
        names = [one.replace("_", "-") for one in components.CLASSES[name]]
        action.completer = lambda prefix, **_: [one for one in names if one.startswith(prefix)]


def parse(argv: Sequence[str], commands: Mapping[str, Command]) -> argparse.Namespace:
    """Return the arguments of a command, with the options of its file where none are given.

    Raises:
        TypeError, ValueError, OSError: As for `value`, or if an option is unknown.
    """
    completing = "_ARGCOMPLETE" in os.environ
    whole = parser(commands, completing or "--help-all" in argv)
    if completing:
        import argcomplete

        argcomplete.autocomplete(whole)
    args = whole.parse_args(argv)
    file = _of_file(args.config, args.command, commands) if getattr(args, "config", "") else {}
    for name, given in vars(args).items():
        setattr(args, name, value(name, file.get(name) if given is None else given))
    return args


def _of_file(path: str, command: str, commands: Mapping[str, Command]) -> dict[str, Any]:
    """Return the options of a TOML file for one command, and for all commands."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: is no TOML file: {error}") from error
    tables = {name: content.pop(name, {}) for name in commands}
    functions = {f for one in commands.values() for f in one.functions}
    known = {*HELP, *(name for f in functions for name in options_of(f))}
    for name in [*content, *(name for table in tables.values() for name in table)]:
        if name.replace("-", "_") not in known:
            raise ValueError(f"{path}: {name!r} is unknown; {nearest(name, [*known, *commands])}")
    return {name.replace("-", "_"): given for name, given in (content | tables[command]).items()}


def value(name: str, given: Any) -> Any:
    """Return the value of an option from a text, or from lists and tables of TOML.

    Raises:
        TypeError, ValueError: If a component does not exist or does not accept its settings, or a
            channel has two values or none.
        OSError: If a file is missing.
    """
    if isinstance(given, dict):
        return {key: value(name, one) for key, one in given.items()}
    if isinstance(given, list) and name not in (*WORDS, *PATHS):
        return tuple(value(name, one) for one in given)
    if not isinstance(given, str) or name in PATHS:
        return given
    parts = _split(given)
    if name in WORDS:
        return parts
    found: dict[Any, list[Any]] = {}
    channel: Any = None
    for part in parts:
        if named := re.fullmatch(r"([^=(]+)=(.*)", part, re.DOTALL):
            channel, part = int(named[1]) if named[1].isdecimal() else named[1], named[2]
        if (None in found and channel is not None) or (named and channel in found):
            raise ValueError(f"{name} takes CHANNEL=VALUE for each channel once, not {given!r}")
        found.setdefault(channel, []).append(_one(name, part))
    several = {key: tuple(some) if len(some) > 1 else some[0] for key, some in found.items()}
    return several.get(None, several)


def _split(text: str) -> list[str]:
    """Return the parts of a text between commas outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _one(name: str, text: str) -> Any:
    """Return the component, the array or the number of a text, or the text."""
    if name in components.CLASSES and not kind_of(text):
        return components.parse(name, text, partial(_array, name))
    if name == "limits":
        return made(name, text, {"limits": Limits})
    try:
        return _array(name, ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return _array(name, text)


def _array(name: str, given: Any) -> Any:
    """Return the array of a file if a value is the name of one."""
    if not (isinstance(given, str) and kind_of(given)):
        return given
    found = np.asarray(read(given).values)
    # Files have 0 and 1.
    return found.astype(bool) if name == "mask" else found
