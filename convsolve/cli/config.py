"""Options from a TOML file: by their long names, for all commands or in a table of one."""

from __future__ import annotations

import argparse
import os
import stat
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

# No file of options is longer; one of gigabytes would be read whole.
MOST_BYTES = 2**20
# What makes no sense in such a file.
NOT_HERE = ("help", "version", "config")

Options = dict[str, argparse.Action]


def options_of(
    path: str, command: str, commands: Mapping[str, argparse.ArgumentParser]
) -> dict[str, Any]:
    """The values of one command's options, by the names under which arguments are parsed.

    Raises:
        ValueError: the file is damaged, or has a key or a value that no option has.
        OSError: it is missing or cannot be read.
    """
    options = {name: _options(parser) for name, parser in commands.items()}
    of_all = _read(path)
    found: dict[str, Any] = {}
    tables = {name: of_all.pop(name) for name in options if isinstance(of_all.get(name), dict)}
    _check_keys(path, of_all, tables, options)
    # Of another command's options this one needs to know nothing.
    for where, given in ((path, of_all), (f"{path}: [{command}]", tables.get(command, {}))):
        mine: dict[str, Any] = {}
        for key, value in given.items():
            action = options[command].get(_plain(key))
            if action is None:
                continue
            if action.dest in mine:
                raise ValueError(
                    f"{where}: {key!r} is given twice, with a dash and with an underscore"
                )
            mine[action.dest] = _converted(action, value, f"{where}: {key!r}")
        found |= mine
    return found


def _check_keys(
    path: str,
    of_all: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Options],
) -> None:
    """Refuse keys that no option has, of all commands and in the table of one."""
    known = {key for own in options.values() for key in own}
    for key in of_all:
        if key in options:
            raise ValueError(f"{path}: {key!r} is a command: its options go in a table, [{key}]")
        if _plain(key) not in known:
            raise ValueError(f"{path}: {_unknown(key, known | {*options})}")
    for name, table in tables.items():
        for key in table:
            if _plain(key) not in options[name]:
                where = f"{path}: [{name}]"
                raise ValueError(f"{where}: {_unknown(key, set(options[name]))}")


def _read(path: str) -> dict[str, Any]:
    """What a file says, of keys and tables."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path}: is not a regular file; give a file of options")
    if (size := os.path.getsize(path)) > MOST_BYTES:
        raise ValueError(f"{path}: holds {size} bytes; a file of options has {MOST_BYTES} at most")
    content = Path(path).read_bytes()
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # the former of TOML and of UTF-8 alike
        raise ValueError(f"{path}: is no TOML file: {error}") from error


def _options(parser: argparse.ArgumentParser) -> Options:
    """Those of a command by their long names, with underscores."""
    found: Options = {}
    for action in parser._actions:
        for option in action.option_strings:
            name = _plain(option.removeprefix("--"))
            if option.startswith("--") and not option.startswith("--no-") and name not in NOT_HERE:
                found[name] = action
    return found


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _unknown(key: str, known: set[str]) -> str:
    close = get_close_matches(_plain(key), sorted(known), 1)
    hint = f"; did you mean {close[0]!r}?" if close else "; the keys are the long options"
    return f"{key!r} is unknown{hint}"


def _converted(action: argparse.Action, value: Any, where: str) -> Any:
    """A value as the option has it; ``where`` begins an error."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{where} must be true or false, got {value!r}")
        return value
    if action.nargs == "+":
        if isinstance(value, dict):  # NAME=N, of limits
            value = [f"{name}={number}" for name, number in value.items()]
        several = value if isinstance(value, list) else [value]
        if not several:
            raise ValueError(f"{where} is an empty list; leave it out")
        return [_one(action, each, where) for each in several]
    if isinstance(value, list) and action.type not in (int, float, Path) and not action.choices:
        # What has commas between on the command line: names, columns, pairs.
        words = [_text(each, where) for each in _flat(value)]
        if any("," in word for word in words):
            raise ValueError(f"{where} must be words without commas, got {value!r}")
        value = ",".join(words)
    return _one(action, value, where)


def _flat(values: list[Any]) -> list[Any]:
    return [inner for value in values for inner in (value if isinstance(value, list) else [value])]


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{where} must be text, got {value!r}")
    return str(value)


def _one(action: argparse.Action, value: Any, where: str) -> Any:
    """One value, of the type that the option takes."""
    kind: Any = action.type
    if kind in (int, float):
        fits = isinstance(value, int if kind is int else (int, float))
        if isinstance(value, bool) or not fits:
            wanted = "a whole number" if kind is int else "a number"
            raise ValueError(f"{where} must be {wanted}, got {value!r}")
        try:
            return kind(value)
        except OverflowError as error:
            raise ValueError(
                f"{where} is too large for a number: {len(str(value))} digits"
            ) from error
    text = _text(value, where)
    if action.choices is not None and text not in action.choices:
        raise ValueError(f"{where} is {text!r}; choose from {', '.join(action.choices)}")
    try:
        return text if kind is None else kind(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{where}: {error}") from error
