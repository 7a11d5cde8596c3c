"""The arguments of the command line: their parser, and the places that they name."""

# Nothing here, nor in cli.py, imports jax or numpy before a command runs: --help answers at once.
from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__, registry
from ..errors import ReadError
from ..files import parts_of
from ..near_misses import similar
from .options import KINDS, OPTIONS, RIVALS, Option, flat

if TYPE_CHECKING:
    from ..problem.sizes import Limits

# Options, other than the data, that may name a file to be read.
READ = ("fit", "mask", "weights", "confounds", "truth", "matrix", "init", "config")

EPILOG = """\
input:
  DATA.npz             members x and y; others are ignored
  DATA.h5, DATA.zarr   x and y of an HDF5 file (.h5, .hdf5) or a zarr group
  DATA.mat             x and y of a MAT file of any version
  X Y                  .npy, .csv or .wav, FILE.h5:path/in/file,
                       FILE.zarr/path or FILE.mat:variable; identify does not
                       need Y
  DATA.csv             one table, with --x-columns and --y-columns
  Channels come last: (samples, channels), or (records, samples, channels). A
  row or a column of a MAT file is one channel. WAV samples are in units of full
  scale, and --fs is the rate of the file by default. x and y in .npy, HDF5 or
  zarr that are larger than --data-memory are read in blocks, and may exceed
  memory. The solvers fft, adam and lbfgs read them as a whole.

exit status:
  0    success
  1    the solution is not "solved" (compare: no solution is)
  2    bad input
  3    the data do not determine the kernel, and there is no penalty that does;
       the solution is still written
  130  interrupted by Ctrl-C; the current iterate is still written
  They do not change if the reader of the output closes it early, as head does.

examples:
  convsolve solve speech.csv --x-columns envelope --y-columns Fz,Cz \\
      --lags 0 39 --penalty tc --out trf.npz
  convsolve predict trf.npz later.csv --x-columns envelope --y-columns Fz,Cz
  convsolve compare data.npz --lags 0 39 --methods qr,tc,huber
  eval "$(register-python-argcomplete convsolve)"   # completion in this shell
"""


def named(option: str) -> str:
    """Return an option with dashes."""
    return f"--{option.replace('_', '-')}"


class Refusal(Exception):
    """An error that ends a command with one line on stderr and an exit status."""

    def __init__(self, line: str, status: int = 2) -> None:
        super().__init__(" ".join(line.split()))
        self.status = status


@contextmanager
def reported(*kinds: type[Exception], source: str = "") -> Iterator[None]:
    """Report errors of these kinds, which the user can fix, in one line about ``source``."""
    try:
        yield
    except kinds as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.filename}: {error.strerror}"
        # The errors of files begin with their names.
        begins = isinstance(error, ReadError) or text.startswith(f"{source}: ")
        raise Refusal(text if begins or not source else f"{source}: {text}") from error


class _Layout(argparse.RawDescriptionHelpFormatter):
    """Help with a line for every name of a component."""

    def _expand_help(self, action: argparse.Action) -> str:
        return "\n".join([super()._expand_help(action), *getattr(action, "meanings", ())])

    def _split_lines(self, text: str, width: int) -> list[str]:
        first, *names = text.split("\n")
        lines = super()._split_lines(first, width)
        for name in names:
            lines += textwrap.wrap(name, width, initial_indent="  ", subsequent_indent="    ")
        return lines


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Layout, **settings)
        # Lists such as -1,20 are values and no options.
        self._negative_number_matcher = re.compile(r"-[\d.][\d.,e+-]*$", re.IGNORECASE)

    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message} (see {self.prog} --help)")


def parser() -> _Parser:
    """Return the parser of all commands."""
    whole = _Parser(
        prog="convsolve",
        description="Recover the kernel of a convolution from its input x and its output y, "
        "and know whether they determine it.",
        epilog=EPILOG,
    )
    whole.add_argument("--version", action="version", version=f"convsolve {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (about, own, groups) in OPTIONS.items():
        reads = "data" in groups
        command = commands.add_parser(name, help=about, epilog=EPILOG if reads else None)
        if name in ("show", "predict"):
            about = "a solution written by solve --out"
            command.add_argument("fit", type=Path, metavar="FIT.npz", help=about)
        command.set_defaults(parser=command)
        _add(command, own)
        for title, options in groups.items():
            group = command.add_argument_group(title)
            if title == "data":
                about = "DATA.npz, .h5, .zarr or .mat, X [Y] or TABLE.csv"
                group.add_argument("data", nargs="+", metavar="DATA", help=about)
            _add(group, options)
    return whole


def _add(group: argparse._ActionsContainer, options: Iterable[Option]) -> None:
    """Add options to a command or to a group of it."""
    for option in options:
        flag, kind = f"--{option.name}", option.kind
        if kind is bool:  # --NAME, and --no-NAME where a file of options has it
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=option.help)
            group.set_defaults(**{option.dest: False})
            continue
        reads: dict[str, Any] = {"type": kind}
        if isinstance(kind, (tuple, dict)):
            reads = {"choices": kind}
        elif isinstance(kind, list):
            reads = {"type": _list_of(kind[0]), "nargs": "+", "action": _Joined}
        action = group.add_argument(
            flag,
            **reads,
            metavar=option.metavar,
            default=option.default,
            help=option.help,
            dest=option.dest,
        )
        action.meanings = option.meanings  # type: ignore[attr-defined]
        if words := option.words:
            choose = words if callable(words) else partial(_beginning, words)
            action.completer = choose  # type: ignore[attr-defined]


def _list_of(kind: type) -> Any:
    """Return a function that reads numbers with commas between."""

    def read(text: str) -> list[Any]:
        return [kind(part) for part in text.split(",")]

    read.__name__ = kind.__name__  # for argparse's errors
    return read


class _Joined(argparse.Action):
    """Store the numbers of all words in one list."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, flat(values))


def _beginning(words: Sequence[str], prefix: str, **_: Any) -> list[str]:
    """Return the words that a shell may complete."""
    return [word for word in words if word.startswith(prefix)]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of one command, including a file of options; ``command`` is its name."""
    whole = parser()
    # A shell asks what could come next.
    if "_ARGCOMPLETE" in os.environ and find_spec("argcomplete") is not None:
        import argcomplete

        argcomplete.autocomplete(whole)
    words = sys.argv[1:] if argv is None else [*argv]
    if words and words[0].startswith("-") and words[0] not in whole._option_string_actions:
        whole.error(f"unrecognized arguments: {words[0]}{_hint(whole, words[:1])}")
    args, strange = whole.parse_known_args(words)
    if strange:
        hint = _hint(args.parser, strange)
        args.parser.error(f"unrecognized arguments: {' '.join(strange)}{hint}")
    if getattr(args, "config", None) is None:
        return args
    from .config import options_of

    with reported(ValueError, OSError):
        found = options_of(args.config, args.command)
    given = {name for name, value in vars(args).items() if value is not None}
    in_file = found
    penalties = getattr(args, "penalty", None), in_file.get("penalty")
    for rivals in RIVALS:
        if "ridge" in rivals[0] and _has_ridge(*penalties):
            continue
        for one, other in (rivals, rivals[::-1]):
            if one & given and not other & given:
                found = {name: value for name, value in found.items() if name not in other}
    replaced_penalty = "penalty" in in_file.keys() - found.keys()  # by --ridge
    if replaced_penalty or given.intersection([*KINDS, "methods", "basis"]):
        unused = _options_of_others(vars(args), found)
        found = {name: value for name, value in found.items() if name not in unused}
    args.parser.set_defaults(**found)
    return whole.parse_args(words)


def _options_of_others(given: dict[str, Any], in_file: dict[str, Any]) -> set[str]:
    """Return the options of the components that neither the command line nor the file names."""
    names: list[str] = []
    for option in (*KINDS, "methods"):
        value = given.get(option) or in_file.get(option)
        names += value.split(",") if value else []
    names += [*map(_basis_name, given.get("basis") or in_file.get("basis") or ())]
    used = [entry for name in names if (entry := registry.found(name)) is not None]
    own = {option.name for entry, _ in used for option in entry.options}
    return registry.options().keys() - own - {"ridge"}


def _has_ridge(given: str | None, in_file: str | None) -> bool:
    """Return whether the penalty of a file, which is not replaced, has a ridge of its own."""
    entry = registry.ENTRIES.get(in_file or "")
    own = entry is not None and any(option.name == "ridge" for option in entry.options)
    return own and given in (None, in_file)


def _hint(parser: _Parser, strange: Sequence[str]) -> str:
    """Return a suggestion for the first option that a command does not have."""
    unknown = next((word for word in strange if word.startswith("--")), "")
    name = unknown[2:].partition("=")[0]
    options = [flag[2:] for flag in parser._option_string_actions if flag.startswith("--")]
    near = similar(name, options)
    return f"; did you mean --{near[0]}?" if near else ""


def basis_names(args: argparse.Namespace) -> list[str]:
    """Return the names of bases, and of files of functions, without channels."""
    return [*map(_basis_name, getattr(args, "basis", None) or ())]


def _basis_name(word: str) -> str:
    """Return NAME of CHANNEL=NAME."""
    return word.rpartition("=")[2]


def limits_of(args: argparse.Namespace) -> Limits:
    """Return the limits of memory that the options give."""
    from ..problem.sizes import Limits

    given = {"memory": getattr(args, "memory", None), "data": args.data_memory}
    return Limits(**{name: value for name, value in given.items() if value is not None})


def check_targets(args: argparse.Namespace) -> None:
    """Refuse a place that cannot be written before anything long begins."""
    options = ("out", "plot", "html")
    targets = {o: path for o in options if (path := getattr(args, o, None)) is not None}
    for option, path in targets.items():
        with reported(OSError):
            reason = _fault(option, path, args)
        if reason:
            raise Refusal(f"--{option} {path}: {reason}")
    for option in targets.keys() & {"plot", "html"}:
        if find_spec("matplotlib") is None:
            raise Refusal(f"--{option} needs matplotlib: pip install 'convsolve[plot]'")


def _fault(option: str, path: Path, args: argparse.Namespace) -> str | None:
    """Why ``path`` cannot be written, or None."""
    faults = {
        "is a symbolic link; give the file that it points to": path.is_symlink(),
        "is a directory; give a file in it": path.is_dir(),
        "is not a regular file; give another name": path.exists() and not path.is_file(),
        "is one of the inputs; give another name": any(
            _is_part(path, name) for name in _inputs(args)
        ),
        "exists; --overwrite overwrites it": path.exists() and not args.overwrite,
        "its directory is not there, or not writable": not (
            path.parent.is_dir() and os.access(path.parent, os.W_OK | os.X_OK)
        ),
        "must end in .png, .pdf or .svg": option == "plot"
        and path.suffix not in (".png", ".pdf", ".svg"),
        "must end in .html": option == "html" and path.suffix not in (".html", ".htm"),
        "must end in .npz": option == "out" and args.command == "solve" and path.suffix != ".npz",
        "must end in .npy": option == "out" and args.command == "predict" and path.suffix != ".npy",
    }
    return next((reason for reason, holds in faults.items() if holds), None)


def _inputs(args: argparse.Namespace) -> list[str]:
    """All that is read."""
    beside = [str(name) for option in READ if (name := getattr(args, option, None)) is not None]
    beside += basis_names(args)
    return [*getattr(args, "data", []), *beside]


def _is_part(path: Path, data: str) -> bool:
    """Whether a path is the file of an input, or in its directory."""
    file = Path(parts_of(data)[0])
    if file.is_dir():
        return path.resolve().is_relative_to(file.resolve())
    return path.exists() and file.exists() and path.samefile(file)
