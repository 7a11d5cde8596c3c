"""The options of the command line as a table, and the words that some of them take."""

# As in arguments.py, numpy and what needs it are imported once a command runs.
from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .. import registry

# Solvers that need all of x and y in memory.
WHOLE = ("fft", "adam", "lbfgs")
PADDINGS, EDGES = ("valid", "same", "full", "causal", "circular"), ("drop", "zeros", "circular")
MISSING = ("raise", "drop")
# Kinds of components that --methods names.
KINDS = ("solver", "penalty", "loss")
# The choice of a strength.
CHOICE = {"penalty", "strength", "grid", "select"}


# Options that exclude each other. An option on the command line replaces the others in a file.
_LAYER, _TIMES = {"kernel_size", "stride", "padding", "dilation"}, {"tmin", "tmax"}
RIVALS = (
    (_LAYER, {"lags", "edges"} | _TIMES),
    ({"lags"}, _TIMES),
    ({"ridge"}, CHOICE),
    ({"strength"}, {"grid"}),
)


def _name(kind: str) -> Callable[[str], str]:
    """Return a function that reads the name of a component."""

    def named(text: str) -> str:
        try:
            registry.named(kind, text)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return text.lower().replace("-", "_")

    return named


def _lag(text: str) -> Any:
    """Return a lag, or the text CHANNEL=LAG for the first lag of a channel."""
    channel, equals, lag = text.rpartition("=")
    try:
        number = int(lag)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no lag in samples; give FIRST LAST, or CHANNEL=FIRST,LAST"
        ) from error
    return f"{channel}={number}" if equals else number


def _by_channel(text: str) -> dict[str, float]:
    """Return the numbers of CHANNEL=NUMBER,CHANNEL=NUMBER."""
    parts = [part.rpartition("=") for part in text.split(",")]
    try:
        found = {channel: float(number) for channel, equals, number in parts if equals}
    except ValueError:
        found = {}
    if len(found) < len(parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not CHANNEL=NUMBER,CHANNEL=NUMBER with each channel once"
        )
    return found


def _time(text: str) -> Any:
    """Return a time in seconds, or times by channel."""
    if "=" in text:
        return _by_channel(text)
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time in seconds; give T, or CHANNEL=T,CHANNEL=T"
        ) from error


def _tested(text: str) -> Any:
    """Return the channels of a test, or their weights."""
    return _by_channel(text) if "=" in text else text.split(",")


def _basis(text: str) -> str:
    """Return the name of a basis or of a file, or CHANNEL= and such a name."""
    channel, equals, name = text.rpartition("=")
    return channel + equals + (name if "." in name or "/" in name else _name("basis")(name))


def _bases(prefix: str, **_: Any) -> list[str]:
    """Return completions of a basis, also after CHANNEL=."""
    before = prefix[: prefix.rfind("=") + 1]
    return [before + name for name in _names("basis") if (before + name).startswith(prefix)]


def shell(name: str) -> str:
    """Return a name as it is written on the command line."""
    return name.replace("_", "-")


def flat(value: Any) -> list[Any]:
    """Return the entries of nested lists or tuples, or a list of a single value."""
    several = isinstance(value, (list, tuple))
    return [inner for each in value for inner in flat(each)] if several else [value]


def _names(*kinds: str) -> tuple[str, ...]:
    return tuple(shell(entry.name) for kind in kinds for entry in registry.of_kind(kind))


def _bytes(text: str) -> int:
    """Return a number of bytes, given as a number or with a unit, such as 4GB or 512 MiB."""
    match = re.fullmatch(r"([0-9.e+]+) *(?:([KMGT])(I)?)?B?", text.upper().replace("E", "e"))
    try:
        number, unit, binary = match.groups() if match else ("", "", "")
        power = " KMGT".index(unit) if unit else 0
        return int(float(number) * (1024 if binary else 1000) ** power)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of bytes, such as 4e9 or 4GB"
        ) from error


def _padding(text: str) -> Any:
    """Return a word unchanged, and numbers as (lo, hi) pairs."""
    if text in PADDINGS:
        return text
    try:
        numbers = [int(part) for part in text.split(",")]
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError as error:
        wanted = f"one of {', '.join(PADDINGS)}, or lo,hi for every axis"
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from error


def number_of_folds(text: str) -> int:
    """Return the number of folds."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of folds; without this option, each record is a fold, or "
            "each of five blocks of a single record"
        ) from error


def _listed(prefix: str, **_: Any) -> list[str]:
    """Return completions of a list of methods."""
    before = prefix[: prefix.rfind(",") + 1]
    return [before + name for name in METHODS if name not in before.split(",")]


class Option(NamedTuple):
    """An option of the command line.

    Attributes:
        name: without the dashes in front.
        kind: type or function that reads a value, a list of it for several values, the allowed
            words as a tuple or dict, or bool for a flag.
        metavar: the value in the help, or None for the words or the name.
        help: the text of the help, or None.
        default: value of the option if it is not given.
        words: what a shell completes if other values are allowed too: words, or a function.
        attribute: attribute of the parsed arguments, or None for the name.
        kind_named: kind of component that the option names, whose names are listed in the help.
    """

    name: str
    kind: Any
    metavar: str | None = None
    help: str | None = None
    default: Any = None
    words: Any = None
    attribute: str | None = None
    kind_named: str | None = None

    @property
    def meanings(self) -> list[str]:
        """Lines of the help, one for every name of a component."""
        entries = registry.of_kind(self.kind_named) if self.kind_named else ()
        return [f"{shell(entry.name)}: {entry.summary}" for entry in entries]

    @property
    def dest(self) -> str:
        """The attribute of the parsed arguments that has the value."""
        return self.attribute or self.name.replace("-", "_")


DATA = (
    Option("x-columns", str, "A,B", "columns of a table that are x, by name or number (from 0)"),
    Option("y-columns", str, "C,D", "columns that are y"),
    Option("data-memory", _bytes, "BYTES", "larger x and y are read in blocks (default 256 MiB)"),
    Option("config", str, "FILE.toml", "options by name, such as lags = [0, 39], for all commands "
           "or in a table of one command, [solve]; the command line takes precedence"),
)  # fmt: skip
MEMORY = Option("memory", _bytes, "BYTES", "memory for factors and Gram matrices, such as 4GB "
                "(default 2 GiB)")  # fmt: skip
RATE_AND_NAMES = (
    Option("fs", float, "HZ", "sampling rate; lags are then shown in seconds"),
    Option("channels", str, "A,B", "names of the channels of x"),
    Option("outputs", str, "C,D", "names of the channels of y"),
)
GEOMETRY = (
    Option("kernel-size", [int], "K", "number of taps, one per axis"),
    Option("stride", [int], "S", "samples between rows, one per axis (default 1)"),
    Option("padding", _padding, None, "valid (default), same, full, causal, circular, or lo,hi "
           "per axis: --padding=2,0", words=PADDINGS),
    Option("dilation", [int], "D", "samples between taps, one per axis (default 1)"),
    Option("lags", [_lag], "L", "first and last lag per axis, for y as long as x; with a window "
           "per channel: --lags envelope=0,40 word=-10,20"),
    Option("tmin", _time, "T", "first lag in seconds, with --fs; with a window per channel: "
           "--tmin envelope=0,word=-0.1"),
    Option("tmax", _time, "T", "last lag in seconds"),
    Option("edges", EDGES, None, "rows at the ends of records (default drop)"),
    Option("groups", int, "G", "groups of channels, each with outputs of its own (default 1)", 1),
    Option("n-outputs", int, "Q", "number of outputs that y will have (identify)"),
    Option("bias", bool, None, "estimate a constant per output"),
)  # fmt: skip
KERNELS = (
    Option("basis", [_basis], "NAME", "functions of the lag whose sums are the kernels (default: "
           "none, every tap is an unknown); a name, CHANNEL=NAME for some channels, or a FILE of "
           "functions, with a row per lag, ascending", words=_bases, kind_named="basis"),
)  # fmt: skip
ROWS = (
    Option("mask", str, "FILE", "1 for rows that are used, 0 for others"),
    Option("missing", MISSING, None, "drop: exclude rows that read a NaN", "raise"),
    Option("weights", str, "FILE", "weights of rows, or of records"),
    Option("drift", int, "N", "degree of a polynomial fitted to every record; 0: an intercept"),
    Option("confounds", str, "FILE", "columns fitted to every record"),
)  # fmt: skip
METHODS = _names(*KINDS)
FOLDS = Option(
    "folds", number_of_folds, "K", "folds of cross-validation (default: the records, or 5 blocks)"
)
SCORES = (
    Option("score", ("mse", "r2", "correlation"), None, "score of the folds (default mse)"),
    Option("average", ("rows", "records"), None, "rows: a score of all rows of a fold (default); "
           "records: the mean of the scores of its records"),
)  # fmt: skip


def _component(name: str, help: str) -> Option:
    """Return the option that names a component."""
    return Option(name, _name(name), "NAME", help, words=_names(name), kind_named=name)


SOLVER = _component("solver", "numerical method (default auto)")
METHOD = (
    Option("ridge", float, "R", "add R·‖w‖², summed over taps, to the sum of squares; with "
           "--penalty lasso, in addition to the lasso"),
    _component("penalty", "penalty that is added to the sum of squares (default: none)"),
    Option("strength", [float], "R", "strength of the penalty: one, or one per output or channel "
           "group (default: selected from the data)"),
    Option("grid", [float], "R", "strengths to choose from (default: an automatic search)"),
    _component("select", "criterion that selects the strength (default: cv for lasso; evidence "
               "for squared-exponential, tc, dc, ss and channel groups; else gcv)"),
    _component("loss", "loss of the residuals (default squared)"),
    _component("noise", "noise of y, which standard errors assume (default white)"),
)  # fmt: skip


def _of_components(basis: bool) -> tuple[Option, ...]:
    """Return the options of bases, or of other components. Their owners are named in the help."""
    return tuple(
        Option(
            shell(name),
            option.kind,
            option.metavar,
            f"{', '.join(map(shell, owners))}: {option.help}",
            words=("glorot_uniform", "zeros") if option.reads == "kernel" else None,
        )
        for name, (option, owners) in registry.options().items()
        if name != "ridge" and (registry.ENTRIES[owners[0]].kind == "basis") == basis
    )


JSON = Option("json", bool, None, "print a JSON document instead of text")
PLOT = Option("plot", Path, "FILE.png", "draw a picture (matplotlib)")
HTML = Option("html", Path, "FILE.html", "write a report in one HTML file (matplotlib)")
OVERWRITE = Option("overwrite", bool, None, "overwrite existing files")
VERBOSE = Option("verbose", bool, None, "write the steps and their times to stderr")

# The options of each command: its own, and those in groups, by title.
Groups = dict[str, tuple[Option, ...]]
_INPUT: Groups = {"data": DATA}
_PROBLEM: Groups = {
    "data": (*DATA, MEMORY),
    "rate and names": RATE_AND_NAMES,
    "geometry, by --kernel-size, --lags or --tmin --tmax": GEOMETRY,
    "kernels": (*KERNELS, *_of_components(True)),
    "rows of y, by files laid out as y": ROWS,
}
_SETTINGS: Groups = {
    "method": (*METHOD, FOLDS, *SCORES),
    "of some methods": _of_components(False),
}
_OUTPUT: Groups = {"output": (JSON, PLOT, OVERWRITE, VERBOSE)}
_NO_PLOT: Groups = {"output": (JSON, OVERWRITE, VERBOSE)}
_OF_SOLVE = (
    SOLVER,
    Option("strict", bool, None, "fail if the kernel is not unique"),
    Option("test", _tested, "A,B", "F test that all taps of these channels are zero, or with "
           "--test A=1,B=-1, that the weighted sum of their kernels is"),
    Option("out", Path, "FILE.npz", "write the solution"),
    HTML,
)  # fmt: skip
_OF_COMPARE = (
    Option("methods", str, "A,B", "solvers, penalties and losses to compare (default: all that "
           f"apply): {', '.join(METHODS)}", words=_listed),
    Option("truth", str, "FILE", "the true impulse response, in ascending lags"),
)  # fmt: skip
_OF_CROSS_VALIDATE = (
    SOLVER,
    Option("folds", number_of_folds, "K", "number of folds (default: the records, or 5 blocks); "
           "also of --select cv", attribute="held_out"),
)  # fmt: skip
_OF_CHOOSE_LAGS = (
    Option("select", ("bic", "aicc", "cv"), None, "cv: cross-validation (default bic)"),
    FOLDS,
    *SCORES,
)
_OF_PREDICT = (Option("out", Path, "Y.npy", "write the prediction"),)
OPTIONS: dict[str, tuple[str, tuple[Option, ...], Groups]] = {
    "demo": ("two small problems and a measured response", (), _OUTPUT),
    "doctor": (
        "print versions, BLAS, devices and precision, and solve a test problem",
        (JSON,),
        {},
    ),
    "identify": ("report whether x determines the kernel; y is not needed", (), _PROBLEM | _OUTPUT),
    "solve": ("recover the kernel", _OF_SOLVE, _PROBLEM | _SETTINGS | _OUTPUT),
    "compare": (
        "solve by several methods and compare them",
        _OF_COMPARE,
        _PROBLEM | _SETTINGS | _OUTPUT,
    ),
    "cross-validate": (
        "scores of predictions on held-out rows",
        _OF_CROSS_VALIDATE,
        _PROBLEM | _SETTINGS | {"method": (*METHOD, *SCORES)} | _NO_PLOT,
    ),
    "choose-lags": ("choose the window of lags", _OF_CHOOSE_LAGS, _PROBLEM | _OUTPUT),
    "show": ("print or draw a saved solution", (HTML,), _OUTPUT),
    "predict": (
        "predict y of new x by a saved solution, and score it if y is given",
        _OF_PREDICT,
        _INPUT | _NO_PLOT,
    ),
}
