"""The problem of the arguments, and the data of the files that they name."""

# As in arguments.py, numpy and what needs it are imported once a command runs.
from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..files import kind_of
from .arguments import Refusal, limits_of, reported
from .methods import basis_of, check_used
from .options import WHOLE
from .readers import beside

if TYPE_CHECKING:
    import numpy as np

    from ..inference.errors import FTest
    from ..io import Signal
    from ..problem.names import Names
    from ..problem.problem import Problem
    from ..solution import Solution


def problem(args: argparse.Namespace, needs_y: bool = True) -> Problem:
    """Return the problem of the arguments. Errors end the command."""
    check_used(args)
    x, y = _read(args)
    rate = _rate(x, y)
    if None not in (rate, args.fs) and rate != args.fs:
        raise Refusal(f"{source(args)}: has {rate:g} samples a second, --fs is {args.fs:g}")
    args.fs = rate if args.fs is None else args.fs
    geometry = _geometry(args)
    if y is None and needs_y:
        raise Refusal(f"{source(args)}: there is no y")
    from ..problem.problem import Problem

    others = {"bias": args.bias, "n_outputs": args.n_outputs, **_rows(args)}
    others |= _names(args, x, y)
    others |= _kernels(args, others["channels"] is not None)
    for name, value in geometry.items():
        if isinstance(value, dict):
            geometry[name] = _channels(value, others["channels"] is not None)
    with reported(TypeError, ValueError, source=source(args)):
        return Problem(x.values, None if y is None else y.values, **geometry, **others)


def _rate(*signals: Signal | None) -> float | None:
    """Return the sampling rate that WAV files state, or None."""
    rates = [one.fs for one in signals if one is not None and one.fs is not None]
    if len({*rates}) > 1:
        raise Refusal(f"x and y have two sampling rates ({rates[0]:g} and {rates[1]:g} Hz)")
    return rates[0] if rates else None


def _geometry(args: argparse.Namespace) -> dict[str, Any]:
    """Return the geometry as arguments of `Problem`."""
    given = {name: getattr(args, name) for name in ("padding", "edges", "tmin", "tmax", "groups")}
    given |= {n: _per_axis(getattr(args, n)) for n in ("kernel_size", "stride", "dilation")}
    if args.lags is not None:
        pairs = list(zip(args.lags[::2], args.lags[1::2], strict=False))
        if any(isinstance(lag, str) for lag in args.lags):
            given["lags"] = _windows(pairs, len(args.lags))
        elif len(args.lags) % 2:
            raise Refusal("--lags takes FIRST LAST for every axis")
        else:
            # For a single pair, errors of Problem explain how the axes of x were read.
            given["lags"] = pairs if len(pairs) > 1 else pairs[0]
    return {name: value for name, value in given.items() if value is not None}


def _windows(pairs: list[tuple[Any, Any]], numbers: int) -> dict[str, tuple[int, int]]:
    """Return the first and last lag by channel."""
    if numbers % 2 or any(isinstance(a, int) or isinstance(b, str) for a, b in pairs):
        raise Refusal("--lags takes CHANNEL=FIRST,LAST for every channel of x")
    parts = [(*first.rpartition("=")[::2], last) for first, last in pairs]
    _check_once("--lags", [channel for channel, *_ in parts])
    return {channel: (int(first), last) for channel, first, last in parts}


def _check_once(option: str, channels: list[str]) -> None:
    for channel in channels:
        if channels.count(channel) > 1:
            raise Refusal(f"{option} has two values for the channel {channel}")


def _channels(given: dict[str, Any], named: bool) -> dict[Any, Any]:
    """Return a dict by channels, whose keys are numbers if the channels have no names."""
    return {int(c) if c.isdecimal() and not named else c: value for c, value in given.items()}


def check_test(args: argparse.Namespace, given: Problem, method: dict[str, Any]) -> None:
    """Refuse a --test that no solution of the problem has."""
    if args.test is None:
        return
    from ..inference.contrasts import Hypothesis

    if method.get("penalty") is not None or method.get("ridge"):
        raise Refusal("a penalized estimate is biased, and has no F test")
    with reported(TypeError, ValueError):
        Hypothesis(given).contrasts(_tested(args, given._names), None, 0.0, (None, None, None))


def test_of(args: argparse.Namespace, fit: Solution) -> FTest | None:
    """Return the F test of --test."""
    if args.test is None:
        return None
    with reported(TypeError, ValueError):
        return fit.test(_tested(args, fit._names))


def _tested(args: argparse.Namespace, names: Names) -> Any:
    """Return the channels of --test, or a dict of their weights."""
    weighted = isinstance(args.test, dict)
    given = args.test if weighted else dict.fromkeys(args.test)
    chosen = _channels(given, names.channels is not None)
    return chosen if weighted else [*chosen]


def _kernels(args: argparse.Namespace, named: bool) -> dict[str, Any]:
    """Return the basis as an argument of `Problem`, for channels with or without names."""
    if args.basis is None:
        return {}
    words = [word.rpartition("=")[::2] for word in args.basis]
    if len(words) > 1 and "" in dict(words):
        raise Refusal("--basis takes one NAME, or CHANNEL=NAME for some channels")
    _check_once("--basis", [channel for channel, _ in words])
    with reported(TypeError, ValueError):
        made = {channel: basis_of(name, args) for channel, name in words}
    return {"basis": made[""] if "" in made else _channels(made, named)}


def _flags(args: argparse.Namespace, name: str) -> np.ndarray:
    """Return the flags of a file."""
    import numpy as np

    found = beside(args, name)
    if found.dtype != bool:
        if not np.isin(found, (0, 1)).all():
            raise Refusal(
                f"{name}: the numbers of a mask are 1 where a row is used and 0 elsewhere"
            )
        found = found.astype(bool)
    return found


def new_data(args: argparse.Namespace, fit: Solution) -> tuple[Any, Any]:
    """Return x and y, or None, for a solution. Columns with other names are refused."""
    x, y = _read(args)
    rate, fs = _rate(x, y), fit._names.fs
    if None not in (rate, fs) and rate != fs:
        raise Refusal(
            f"{source(args)}: has {rate:g} samples a second, the kernel takes {fs:g}; resample it"
        )
    with reported(ValueError, source=source(args)):
        fit._names.check_same(x.names, None if y is None else y.names)
    return x.values, None if y is None else y.values


def _names(args: argparse.Namespace, x: Signal, y: Signal | None) -> dict[str, Any]:
    """Return the sampling rate, and names from options or header lines."""
    given = [None if words is None else words.split(",") for words in (args.channels, args.outputs)]
    found = [None if signal is None else signal.names for signal in (x, y)]
    channels, outputs = (own or named for own, named in zip(given, found, strict=True))
    return {"fs": args.fs, "channels": channels, "outputs": outputs}


def _rows(args: argparse.Namespace) -> dict[str, Any]:
    """Return mask, weights and confounds as arguments of `Problem`."""
    mask = None
    if args.mask is not None:
        mask = _flags(args, args.mask)
    given = {"weights": args.weights, "confounds": args.confounds}
    read = {name: path and beside(args, path) for name, path in given.items()}
    return {"mask": mask, "missing": args.missing, "drift": args.drift, **read}


def source(args: argparse.Namespace) -> str:
    """Return the names of the data files, with which errors begin."""
    return " and ".join(args.data)


def _per_axis(numbers: list[int] | None) -> Any:
    return numbers if numbers is None or len(numbers) > 1 else numbers[0]


def _read(args: argparse.Namespace) -> tuple[Signal, Signal | None]:
    """Return x and y, or None. They are in memory, or stored arrays that are read in blocks."""
    from ..io import read, read_members

    path, *others = args.data
    archive = "npz" in map(kind_of, args.data)
    columns = [[] if c is None else c.split(",") for c in (args.x_columns, args.y_columns)]
    if len(others) > 1 or ((archive or any(columns)) and others):
        raise Refusal(f"give X and Y, or one file with columns or members, not {source(args)}")
    if any(columns) and kind_of(path) not in ("table", ""):
        raise Refusal(f"{path}: columns are for tables, such as .csv")
    if columns[1] and not columns[0]:
        raise Refusal("--y-columns needs --x-columns")
    with reported(ValueError, OSError, ImportError):
        if columns[0]:
            x, *rest = (read(path, columns=own) for own in columns if own)
        elif others:
            x, *rest = _held(args, [read(name) for name in args.data])
        else:
            x, *rest = _held(args, read_members(path, ("x", "y")))
    return x, rest[0] if rest else None


def _held(args: argparse.Namespace, found: list[Signal]) -> list[Signal]:
    """Return arrays in memory if they fit, else for reading in blocks if the command can do so."""
    import numpy as np

    from ..io import Sliced

    whole = 8 * sum(one.values.size for one in found) <= limits_of(args).data or _takes_all(args)

    def held(values: Any) -> Any:
        if whole:
            return np.array(values)
        return Sliced(values, "x or y") if isinstance(values, np.memmap) else values

    return [replace(one, values=held(one.values)) for one in found]


def _takes_all(args: argparse.Namespace) -> bool:
    """Return whether the command needs all of x and y at once."""
    from .methods import entries

    return any(entry.name in WHOLE for entry in entries(args))
