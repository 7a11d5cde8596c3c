"""The arguments of the command line: their parser, and the places that they name."""

# Nothing here, nor in cli.py, imports jax or numpy before a command runs: --help answers at once.
from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__
from ..noise import AUTOREGRESSION, NOISES

if TYPE_CHECKING:
    from ..problem.sizes import Limits

DESCENT = (
    "ridge", "loss", "steps", "batch_size", "init", "key", "restarts", "tol", "huber_delta", "via",
)  # fmt: skip
# Those of --penalty, and which penalties take them.
OF_PENALTY = {
    "length": ("smooth",),
    "alpha": ("tc", "dc", "ss"),
    "rho": ("dc",),
    "matrix": ("tikhonov",),
    "penalty_groups": ("ridge",),
    "penalty_weights": ("ridge",),
}
# What each solver is, and the options it takes.
SOLVERS = {
    "auto": ("the exact answer by whichever method is cheapest", ("ridge",)),
    "svd": ("singular values of the design matrix", ("ridge",)),
    "qr": ("QR of the design matrix", ("ridge",)),
    "normal": ("normal equations, refined and certified; for long records", ("ridge",)),
    "cg": ("conjugate gradients, certified; for thousands of taps", ("ridge", "steps", "tol")),
    "fft": ("division of spectra; exact for circular and full records only", ("ridge",)),
    "adam": ("gradient descent by Adam", (*DESCENT, "rate")),
    "lbfgs": ("gradient descent by L-BFGS", DESCENT),
    "huber": (
        "squares of small residuals, absolute values of large ones; for y with outliers",
        ("delta", "scale"),
    ),
    "absolute": ("least absolute residuals; for y with outliers", ()),
    "lasso": (
        "a penalty that leaves few taps, or channels, other than zero",
        ("ridge", "strength", "select", "folds", "score", "penalty_groups"),
    ),
    "regularized": (
        "a penalty whose strength the data choose; what --penalty and its like stand for",
        ("penalty", "strength", "select", "folds", "score", *OF_PENALTY),
    ),
}
# Those that read x and y in blocks where these are too large for memory.
IN_BLOCKS = ("auto", "svd", "qr", "normal", "regularized")
PENALTIES = {
    "ridge": "‖w‖²",
    "differences": "first differences along the lags",
    "curvature": "second differences",
    "smooth": "squared exponential of a length that is chosen",
    "tc": "a response that decays",
    "dc": "the same, its correlation chosen too",
    "ss": "the same, smoother",
    "tikhonov": "that of a matrix",
}
# An HDF5 file, and where a dataset is in it.
HDF5 = re.compile(r"(.+?\.(?:h5|hdf5))(?::(.*))?", re.IGNORECASE | re.DOTALL)
# A MAT file, and a variable of it.
MAT = re.compile(r"(.+?\.mat)(?::(.*))?", re.IGNORECASE | re.DOTALL)
PADDINGS, EDGES = ("valid", "same", "full", "causal", "circular"), ("drop", "zeros", "circular")
CRITERIA = ("gcv", "evidence", "aicc", "bic", "cv")
MISSING = ("raise", "drop")
# Every option that some solvers take.
SETTINGS = tuple(dict.fromkeys(setting for _, takes in SOLVERS.values() for setting in takes))

# Options that exclude each other. An option on the command line replaces the others in a file.
_LAYER, _TIMES = {"kernel_size", "stride", "padding", "dilation"}, {"tmin", "tmax"}
RIVALS = (
    (_LAYER, {"lags", "edges"} | _TIMES),
    ({"lags"}, _TIMES),
    ({"ridge"}, {*SOLVERS["regularized"][1]}),
)
# Options, other than the data, that may name a file to be read.
READ = ("fit", "mask", "weights", "confounds", "truth", "matrix", "init", "config")

EPILOG = """\
input:
  DATA.npz             members x and y, others are ignored
  DATA.h5, DATA.zarr   the same of an HDF5 file (.h5, .hdf5) or a zarr group
  DATA.mat             the same of a MAT file of any version, by MATLAB or SciPy
  X Y                  .npy, .csv or .wav, FILE.h5:path/in/file, FILE.zarr/path or
                       FILE.mat:variable; identify needs no Y
  DATA.csv             one table, with --x-columns and --y-columns
  Channels come last: (samples, channels), or (records, samples, channels); a row or a column of a
  MAT file is one channel. Sound is in units of full scale, and its rate is --fs unless given.
  x and y of more than 2^25 numbers, in .npy, HDF5 or zarr, are read in blocks, and need not fit
  in memory; --noise ar and solvers other than auto, svd, qr, normal and regularized take them
  whole.

exit status:
  0  fine
  1  the answer is not ok (compare: no method's is)
  2  bad input
  3  the data do not determine the kernel, and no ridge mends it; the answer is still written
  130  interrupted by Ctrl-C; of an iteration the answer so far is still written
  A reader of the output that leaves early, such as head, changes none of these.

examples:
  convsolve solve speech.csv --x-columns envelope --y-columns Fz,Cz --lags 0 39 --out trf.npz
  convsolve predict trf.npz later.csv --x-columns envelope --y-columns Fz,Cz
  eval "$(register-python-argcomplete convsolve)"   # the shell completes commands and options
"""


def named(option: str) -> str:
    """As it is written on the command line."""
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
        text = _in_shell(str(error))
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.filename}: {error.strerror}"
        raise Refusal(f"{source}: {text}" if source else text) from error


def _in_shell(text: str) -> str:
    """Return an error message with arguments such as ``padding='full'`` written as options."""
    for option, words in (
        ("padding", PADDINGS),
        ("edges", EDGES),
        ("missing", MISSING),
        ("via", ("convolution", "moments")),
        ("confounds", ("intercept",)),
    ):
        for word in words:
            text = text.replace(f"{option}={word!r}", f"--{option} {word}")
    text = re.sub(r"noise='(\w+)'", r"--noise \1", text)
    # Shells read brackets.
    return re.sub(r"noise=('ar\(\w+\)')", r"--noise \1", text)


def _noise(text: str) -> str:
    """Return a kind of noise: one of `NOISES`, or "ar(P)"."""
    if text not in NOISES and not AUTOREGRESSION.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is unknown (choose from {', '.join(NOISES)}, 'ar(P)')"
        )
    return text


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, formatter_class=layout, **settings)

    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message}; see {self.prog} --help")


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

    for add in (
        _demo, _doctor, _identify, _solve, _compare, _cross_validate, _choose_lags, _predict,
    ):  # fmt: skip
        add(commands)
    return whole


Commands = Any  # what argparse makes of add_subparsers has no public name


def _demo(commands: Commands) -> None:
    command = commands.add_parser("demo", help="five small problems, solved by several methods")
    _add_output(command)


def _doctor(commands: Commands) -> None:
    command = commands.add_parser(
        "doctor", help="versions, BLAS, devices and precision, and whether a problem is solved"
    )
    command.add_argument("--json", action="store_true", help="one JSON document in place of text")


def _identify(commands: Commands) -> None:
    command = commands.add_parser("identify", help="does x determine the kernel? (y not needed)")
    _add_problem(command)
    _add_output(command)


def _solve(commands: Commands) -> None:
    command = commands.add_parser("solve", help="recover the kernel")
    _add_solver(command)
    noise = command.add_argument(
        "--noise",
        type=_noise,
        default="white",
        metavar="KIND",
        help="how the noise of y is correlated, which the standard errors assume: white, hac, "
        "cluster; ar or 'ar(P)', an autoregression, changes the answer too (default white)",
    )
    _words(noise, tuple(NOISES))
    _add_flag(command, "strict", "no answer unless it is unique")
    command.add_argument("--out", type=Path, metavar="FILE.npz", help="write the solution")
    command.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write all there is to say of the answer as a page that can be sent (matplotlib)",
    )
    command.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="keep what was done of a long record here: after a crash the same command goes on "
        "from it; it is removed at the end",
    )
    _add_problem(command)
    _add_settings(command)
    _add_output(command)


def _compare(commands: Commands) -> None:
    command = commands.add_parser("compare", help="solve by several methods, side by side")
    named = command.add_argument(
        "--solvers", metavar="A,B", help=f"any of {','.join(SOLVERS)} (default: all that apply)"
    )
    named.completer = _listed
    command.add_argument("--truth", metavar="FILE", help="the true kernel, if it is known")
    _add_problem(command)
    _add_settings(command)
    _add_output(command)


def _cross_validate(commands: Commands) -> None:
    command = commands.add_parser(
        "cross-validate", help="how well a solver predicts rows that it has not seen"
    )
    _add_solver(command)
    command.add_argument(
        "--folds",
        dest="held_out",
        metavar="K",
        help="records (default), or a number; those of --select cv too",
    )
    _add_problem(command)
    _add_settings(command, folds=False)
    _add_output(command, plot=False)


def _choose_lags(commands: Commands) -> None:
    command = commands.add_parser("choose-lags", help="which of the lags given a response has")
    command.add_argument(
        "--select",
        choices=("bic", "aicc", "cv"),
        default="bic",
        help="cv: cross-validation (default bic)",
    )
    _add_folds(command)
    _add_problem(command)
    _add_output(command)


def _predict(commands: Commands) -> None:
    command = commands.add_parser(
        "predict", help="y of new x by a saved solution, and how well it agrees with y given"
    )
    command.add_argument("fit", type=Path, metavar="FIT.npz", help="what solve --out wrote")
    command.add_argument("--out", type=Path, metavar="Y.npy", help="write the prediction")
    _add_input(command)
    _add_output(command, plot=False)


def _add_problem(command: argparse.ArgumentParser) -> None:
    _add_input(command)
    _add_geometry(command)


def _add_settings(command: argparse.ArgumentParser, folds: bool = True) -> None:
    """Add the options of every solver."""
    _add_penalty(command, folds)
    _add_descent(command)
    _add_robust(command)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of one command, including a file of options; ``command`` is its name."""
    whole = parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next
        with suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(whole)
    args, strange = whole.parse_known_args(argv)
    (commands,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    own = commands.choices[args.command]
    if strange:
        own.error(f"unrecognized arguments: {' '.join(strange)}")
    if getattr(args, "config", None) is None:
        return args
    from .config import options_of

    with reported(ValueError, OSError):
        found = options_of(args.config, args.command, commands.choices)
    given = {name for name, value in vars(args).items() if value is not None}
    for rivals in RIVALS:
        for one, other in (rivals, rivals[::-1]):
            if one & given and not other & given:
                found = {name: value for name, value in found.items() if name not in other}
    own.set_defaults(**found)
    return whole.parse_args(argv)


def _listed(prefix: str, **_: Any) -> list[str]:
    """How a list of solvers with commas between could go on."""
    before = prefix[: prefix.rfind(",") + 1]
    return [before + name for name in SOLVERS if name not in before.split(",")]


def _words(action: argparse.Action, words: Sequence[str]) -> None:
    """A shell completes the words of an option that takes others too."""
    action.completer = lambda prefix, **_: [w for w in words if w.startswith(prefix)]  # type: ignore[attr-defined]


def _add_solver(command: argparse.ArgumentParser) -> None:
    words = "; ".join(f"{name}: {about}" for name, (about, _) in SOLVERS.items())
    command.add_argument(
        "--solver", choices=SOLVERS, default="auto", help=f"{words} (default auto)"
    )


def _add_input(command: argparse.ArgumentParser) -> None:
    command.epilog = EPILOG
    data = command.add_argument_group("data")
    data.add_argument(
        "data", nargs="+", metavar="DATA", help="DATA.npz, .h5, .zarr or .mat, X [Y] or TABLE.csv"
    )
    data.add_argument("--x-columns", metavar="A,B", help="names or numbers (from 0) in a table")
    data.add_argument("--y-columns", metavar="C", help="the same for y")
    data.add_argument(
        "--max-bytes",
        type=int,
        metavar="N",
        help="the most that is read into memory of one input (default 4 GiB); what is read in "
        "blocks may be larger",
    )
    data.add_argument(
        "--limits",
        type=_limit,
        nargs="+",
        metavar="NAME=N",
        help="what memory and time allow, such as gram_bytes=4e9; see convsolve.Limits",
    )
    data.add_argument(
        "--config",
        metavar="FILE.toml",
        help="options by their names, such as lags = [0, 39], for all commands or in a table of "
        "one, [solve]; the command line wins",
    )


def _add_geometry(command: argparse.ArgumentParser) -> None:
    names = command.add_argument_group("rate and names")
    names.add_argument("--fs", type=float, metavar="HZ", help="samples a second: lags become times")
    names.add_argument("--channels", metavar="A,B", help="names of the channels of x")
    names.add_argument("--outputs", metavar="C,D", help="names of the channels of y")
    shape = command.add_argument_group("geometry, by --kernel-size, --lags or --tmin --tmax")
    shape.add_argument("--kernel-size", type=int, nargs="+", metavar="K", help="one per axis")
    shape.add_argument("--stride", type=int, nargs="+", metavar="S")
    padding = shape.add_argument(
        "--padding",
        type=_padding,
        help="valid (default), same, full, causal, circular, or lo,hi per axis: --padding=2,0",
    )
    _words(padding, PADDINGS)
    shape.add_argument("--dilation", type=int, nargs="+", metavar="D")
    shape.add_argument(
        "--lags", type=int, nargs="+", metavar="L", help="FIRST LAST per axis, for y as long as x"
    )
    shape.add_argument(
        "--tmin", type=float, metavar="T", help="the first lag in seconds, with --fs"
    )
    shape.add_argument("--tmax", type=float, metavar="T", help="the last")
    shape.add_argument("--edges", choices=EDGES, help="default drop")
    shape.add_argument("--groups", type=int, default=1, metavar="G")
    shape.add_argument(
        "--out-channels", type=int, metavar="Q", help="how many outputs y will have (identify)"
    )
    _add_flag(shape, "bias", "a constant per output is unknown too")
    rows = command.add_argument_group("rows of y, by files laid out as y")
    rows.add_argument("--mask", metavar="FILE", help="1 where a row counts, 0 where it does not")
    rows.add_argument(
        "--missing", choices=MISSING, default="raise", help="drop: leave out rows that read a NaN"
    )
    rows.add_argument("--weights", metavar="FILE", help="of every row, or of every record")
    rows.add_argument(
        "--confounds",
        metavar="C",
        help="fitted to every record by itself: intercept, the degree of a drift, or a FILE",
    )


def _limit(text: str) -> tuple[str, float]:
    """One of the limits."""
    name, _, number = text.partition("=")
    try:
        whole = int(float(number))  # raises an error for inf and NaN
        return name, whole if whole == float(number) else float(number)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=N, such as gram_bytes=4e9"
        ) from error


def limits_of(args: argparse.Namespace) -> Limits:
    """What memory and time allow."""
    from dataclasses import asdict, replace

    from ..problem.sizes import DEFAULT_LIMITS

    given = dict(args.limits or ())
    known = asdict(DEFAULT_LIMITS)
    for name, number in given.items():
        if name not in known:
            raise Refusal(f"--limits: {name!r} is unknown; choose from {', '.join(known)}")
        if number < 0:
            raise Refusal(f"--limits: {name} must not be negative, got {number}")
    return replace(DEFAULT_LIMITS, **given) if given else DEFAULT_LIMITS


def _add_penalty(command: argparse.ArgumentParser, folds: bool) -> None:
    command.add_argument_group("least squares and descent").add_argument(
        "--ridge", type=float, metavar="R", help="penalty R·‖w‖², summed over taps"
    )
    group = command.add_argument_group("a penalty chosen by the data (regularized, lasso)")
    words = "; ".join(f"{name}: {about}" for name, about in PENALTIES.items())
    group.add_argument("--penalty", choices=PENALTIES, help=f"{words} (default ridge)")
    group.add_argument(
        "--strength", type=float, nargs="+", metavar="R", help="one, or a grid to choose from"
    )
    group.add_argument(
        "--select",
        choices=CRITERIA,
        help="cv: cross-validation (default evidence for smooth, tc, dc and ss, else gcv)",
    )
    group.add_argument(
        "--length", type=float, nargs="+", metavar="L", help="of smooth, in taps (default: chosen)"
    )
    group.add_argument(
        "--alpha", type=float, metavar="A", help="of tc, dc and ss, the decay (default: chosen)"
    )
    group.add_argument(
        "--rho", type=float, metavar="R", help="of dc, the correlation (default: chosen)"
    )
    group.add_argument("--matrix", metavar="FILE", help="of tikhonov")
    group.add_argument(
        "--penalty-groups",
        metavar="A,B",
        help="a label for every channel, such as 0,1,1: each has a strength of its own (ridge), or "
        "is left out together (lasso; channels: each by itself)",
    )
    group.add_argument(
        "--penalty-weights",
        metavar="A,B",
        help="of ridge, factors of the strength of each label (default: chosen)",
    )
    _add_folds(group, folds)


def _add_descent(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("gradient descent (adam, lbfgs)")
    group.add_argument("--loss", choices=("mse", "mae", "huber"), help="default mse")
    group.add_argument(
        "--huber-delta", type=float, metavar="D", help="threshold of its loss, in the unit of y (1)"
    )
    group.add_argument("--steps", type=int, metavar="N", help="at most (default 1000); for cg too")
    group.add_argument(
        "--tol", type=float, metavar="T", help="when it is solved (default 1e-6); for cg too"
    )
    group.add_argument(
        "--batch-size", type=int, metavar="N", help="rows drawn each step (default: all)"
    )
    group.add_argument(
        "--init", metavar="KERNEL", help="glorot_uniform (default), zeros, or a FILE of a kernel"
    )
    group.add_argument("--restarts", type=int, metavar="N", help="runs, the best of which counts")
    group.add_argument("--key", type=int, metavar="SEED", help="of the random start (default 0)")
    group.add_argument(
        "--rate", type=float, metavar="R", help="Adam's learning rate (default 0.05)"
    )
    group.add_argument(
        "--via",
        choices=("convolution", "moments"),
        help="moments: for mse, steps that cost the same at any length (default convolution)",
    )


def _add_robust(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("solver huber")
    group.add_argument(
        "--delta", type=float, metavar="D", help="the threshold, in units of the scale (1.345)"
    )
    group.add_argument(
        "--scale", type=float, metavar="S", help="of the noise, in the unit of y (default: found)"
    )


def _add_folds(group: argparse._ActionsContainer, folds: bool = True) -> None:
    if folds:
        group.add_argument("--folds", metavar="K", help="records (default), or a number, for cv")
    group.add_argument("--score", choices=("mse", "r2", "correlation"), help="for cv, default mse")


def _add_output(command: argparse.ArgumentParser, plot: bool = True) -> None:
    group = command.add_argument_group("output")
    _add_flag(group, "json", "one JSON document in place of text")
    if plot:
        group.add_argument(
            "--plot", type=Path, metavar="FILE.png", help="draw a picture (matplotlib)"
        )
    _add_flag(group, "force", "overwrite files that exist")
    _add_flag(group, "verbose", "say on stderr what is done, and how long it takes")


def _add_flag(group: argparse._ActionsContainer, name: str, words: str) -> None:
    """--NAME, and --no-NAME for where a file of options has it."""
    group.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=words)
    group.set_defaults(**{name: False})


def _padding(text: str) -> Any:
    """A word as it is; numbers as (lo, hi) pairs."""
    if text in PADDINGS:
        return text
    try:
        numbers = [int(part) for part in text.split(",")]
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError as error:
        wanted = f"one of {', '.join(PADDINGS)}, or lo,hi for every axis"
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from error


def check_targets(args: argparse.Namespace) -> None:
    """Refuse a place that cannot be written before anything long begins."""
    options = ("out", "checkpoint", "plot", "report")
    targets = {o: path for o in options if (path := getattr(args, o, None)) is not None}
    for option, path in targets.items():
        with reported(OSError):
            reason = _fault(option, path, args)
        if reason:
            raise Refusal(f"--{option} {path}: {reason}")
        first = next(o for o in targets if targets[o] == path)
        if first != option:
            raise Refusal(f"--{option} {path}: is the place of --{first}; give another name")
    for option in targets.keys() & {"plot", "report"}:
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
        # A checkpoint that exists is gone on from.
        "exists; --force overwrites it": path.exists()
        and not (args.force or option == "checkpoint"),
        "its directory is not there, or not writable": not (
            path.parent.is_dir() and os.access(path.parent, os.W_OK | os.X_OK)
        ),
        "must end in .png, .pdf or .svg": option == "plot"
        and path.suffix not in (".png", ".pdf", ".svg"),
        "must end in .html": option == "report" and path.suffix not in (".html", ".htm"),
    }
    return next((reason for reason, holds in faults.items() if holds), None)


def _inputs(args: argparse.Namespace) -> list[str]:
    """All that is read."""
    beside = [str(name) for option in READ if (name := getattr(args, option, None)) is not None]
    return [*getattr(args, "data", []), *beside]


def _is_part(path: Path, data: str) -> bool:
    """Whether a path is the file of an input, or in its directory."""
    found = HDF5.fullmatch(data) or MAT.fullmatch(data)
    file = Path(found[1] if found else data)
    if file.is_dir():
        return path.resolve().is_relative_to(file.resolve())
    return path.exists() and file.exists() and path.samefile(file)
