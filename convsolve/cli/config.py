"""Options from a TOML file: by their long names, for all commands or in a table of one."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..near_misses import similar
from .options import OPTIONS, Option, flat, number_of_folds

# Options whose value may be a table with a value per channel.
BY_CHANNEL = ("lags", "tmin", "tmax", "basis", "test")


def options_of(path: str, command: str) -> dict[str, Any]:
    """Return the values of one command's options, by the names under which arguments are parsed.

    Raises:
        ValueError: If the file is damaged, or has a key or a value that no option has.
        OSError: If the file is missing or cannot be read.
    """
    options = {
        name: {_plain(o.name): o for some in (own, *groups.values()) for o in some}
        for name, (_, own, groups) in OPTIONS.items()
    }
    for of_command in options.values():
        of_command.pop("config", None)
    of_all = _read(path)
    tables = {name: of_all.pop(name) for name in options if isinstance(of_all.get(name), dict)}
    every = {key for own in options.values() for key in own}
    _check_keys(path, of_all, every, options)
    for name, table in tables.items():
        _check_keys(f"{path}: [{name}]", table, {*options[name]}, ())
    found: dict[str, Any] = {}
    # Options of other commands are ignored.
    for where, given in ((path, of_all), (f"{path}: [{command}]", tables.get(command, {}))):
        mine: dict[str, Any] = {}
        for key, value in given.items():
            option = options[command].get(_plain(key))
            if option is not None:
                mine[option.dest] = _converted(option, value, f"{where}: {key!r}")
        found |= mine
    return found


def _check_keys(where: str, keys: Iterable[str], known: set[str], tables: Iterable[str]) -> None:
    """Raise a ValueError about a key that no option has."""
    for key in keys:
        if _plain(key) not in known:
            close = similar(_plain(key), [*known, *({*tables} - {key})])
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{where}: {key!r} is unknown{hint}")


def _read(path: str) -> dict[str, Any]:
    """Return the keys and tables of a file."""
    content = Path(path).read_bytes()
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # damaged UTF-8 is a ValueError too
        raise ValueError(f"{path}: is no TOML file: {error}") from error


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _converted(option: Option, value: Any, where: str) -> Any:
    """Return a value in the type of the option; errors begin with ``where``."""
    kind = option.kind
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{where} must be true or false, got {value!r}")
        return value
    if isinstance(value, dict) and option.name in BY_CHANNEL:
        # The first value of every channel has its name: envelope=0, 40.
        value = [
            f"{channel}={one}" if i == 0 else one
            for channel, given in value.items()
            for i, one in enumerate(flat(given))
        ]
    if isinstance(kind, list):
        several = value if isinstance(value, list) else [value]
        if not several:
            raise ValueError(f"{where} is an empty list")
        return [_one(kind[0], each, where) for each in several]
    if isinstance(value, list) and kind not in (int, float, Path) and callable(kind):
        # On the command line, names, columns and pairs are separated by commas.
        words = [_text(each, where) for each in flat(value)]
        if any("," in word for word in words):
            raise ValueError(f"{where} must be words without commas, got {value!r}")
        value = ",".join(words)
    return _one(kind, value, where)


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{where} must be text, got {value!r}")
    return str(value)


def _one(kind: Any, value: Any, where: str) -> Any:
    """Return one value, of the type or among the words that the option takes."""
    if kind is number_of_folds and not isinstance(value, str):
        kind = int
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, (int, kind)):
            wanted = "a whole number" if kind is int else "a number"
            raise ValueError(f"{where} must be {wanted}, got {value!r}")
        return kind(value)
    text = _text(value, where)
    if isinstance(kind, (tuple, dict)):
        if text not in kind:
            raise ValueError(f"{where} is {text!r}; choose from {', '.join(kind)}")
        return text
    try:
        return kind(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{where}: {error}") from error
