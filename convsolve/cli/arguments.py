"""The arguments of the command line: their parser, and the solver they state."""

# Nothing here, nor in cli.py, imports jax or numpy before a command runs: --help answers at once.
from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__

if TYPE_CHECKING:
    from ..problem.problem import Problem
    from ..solvers import Solver

# What each solver is, and the options it takes.
SOLVERS = {
    "auto": ("the exact answer by whichever method is cheapest", ("ridge",)),
    "svd": ("singular values of the design matrix", ("ridge",)),
    "qr": ("QR of the design matrix", ("ridge",)),
    "normal": ("normal equations, refined and certified; for long records", ("ridge",)),
    "cg": ("conjugate gradients, certified; for thousands of taps", ("ridge", "steps")),
    "fft": ("division of spectra; exact for circular and full records only", ("ridge",)),
    "adam": ("gradient descent by Adam", ("loss", "steps", "key", "rate", "via")),
    "lbfgs": ("gradient descent by L-BFGS", ("loss", "steps", "key", "via")),
    "huber": (
        "squares of small residuals, absolute values of large ones; for y with outliers",
        ("delta", "scale"),
    ),
    "absolute": ("least absolute residuals; for y with outliers", ()),
    "regularized": (
        "a penalty whose strength the data choose; what --penalty and its like stand for",
        ("penalty", "strength", "select", "folds", "score"),
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
}
# An HDF5 file, and where a dataset is in it.
HDF5 = re.compile(r"(.+?\.(?:h5|hdf5))(?::(.*))?", re.IGNORECASE | re.DOTALL)
# A MAT file, and a variable of it.
MAT = re.compile(r"(.+?\.mat)(?::(.*))?", re.IGNORECASE | re.DOTALL)
PADDINGS, EDGES = ("valid", "same", "full", "causal", "circular"), ("drop", "zeros", "circular")
CRITERIA = ("gcv", "evidence", "aicc", "bic", "cv")
NOISES = ("white", "ar", "hac", "cluster")
MISSING = ("raise", "drop")
SETTINGS = (
    "ridge", "loss", "steps", "key", "rate", "via",
    "penalty", "strength", "select", "folds", "score", "delta", "scale",
)  # fmt: skip

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
  130  interrupted by Ctrl-C; the answer so far is still written
  A reader of the output that leaves early, such as head, changes none of these.

example:
  convsolve solve speech.csv --x-columns envelope --y-columns Fz,Cz --lags 0 39 --out trf.npz
"""


class Refusal(Exception):
    """What ends a command with one line on stderr: the line, and the exit status."""

    def __init__(self, line: str, status: int = 2) -> None:
        super().__init__(" ".join(line.split()))
        self.status = status


@contextmanager
def reported(*kinds: type[Exception], source: str = "") -> Iterator[None]:
    """Errors of these kinds are the user's to mend: one line, about ``source``."""
    try:
        yield
    except kinds as error:
        text = _in_shell(str(error))
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.filename}: {error.strerror}"
        raise Refusal(f"{source}: {text}" if source else text) from error


def _in_shell(text: str) -> str:
    """An error of the library, ``padding='full'`` and the like written as options."""
    for option, words in (
        ("padding", PADDINGS),
        ("edges", EDGES),
        ("missing", MISSING),
        ("confounds", ("intercept",)),
    ):
        for word in words:
            text = text.replace(f"{option}={word!r}", f"--{option} {word}")
    text = re.sub(r"noise='(\w+)'", r"--noise \1", text)
    # Shells read brackets.
    return re.sub(r"noise=('ar\(\w+\)')", r"--noise \1", text)


def _noise(text: str) -> str:
    """A kind of noise, one of `NOISES` or "ar(P)"."""
    if text not in NOISES and not re.fullmatch(r"ar\([1-9]\d{0,8}\)", text):
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


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of one command; ``command`` names it."""
    parser = _Parser(
        prog="convsolve",
        description="Recover the kernel of a convolution from its input x and its output y, "
        "and know whether they determine it.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"convsolve {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="five small problems, solved by every method")
    _add_output(demo)

    doctor = commands.add_parser(
        "doctor", help="versions, BLAS, devices and precision, and whether a problem is solved"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON document in place of text")

    identify = commands.add_parser("identify", help="does x determine the kernel? (y not needed)")

    solve = commands.add_parser("solve", help="recover the kernel")
    words = "; ".join(f"{name}: {about}" for name, (about, _) in SOLVERS.items())
    solve.add_argument("--solver", choices=SOLVERS, default="auto", help=f"{words} (default auto)")
    solve.add_argument("--ridge", type=float, metavar="R", help="penalty R·‖w‖², summed over taps")
    solve.add_argument(
        "--noise",
        type=_noise,
        default="white",
        metavar="KIND",
        help="how the noise of y is correlated, which the standard errors assume: white, hac, "
        "cluster; ar or 'ar(P)', an autoregression, changes the answer too (default white)",
    )
    solve.add_argument("--strict", action="store_true", help="no answer unless it is unique")
    solve.add_argument("--out", type=Path, metavar="FILE.npz", help="write the solution")
    solve.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="keep what was done of a long record here: after a crash the same command goes on "
        "from it; it is removed at the end",
    )

    compare = commands.add_parser("compare", help="solve by every method, side by side")
    compare.set_defaults(ridge=None)
    compare.add_argument("--solvers", metavar="A,B", help=f"any of {','.join(SOLVERS)}")

    for command in (identify, solve, compare):
        _add_input(command)
        _add_output(command)
        if command is not identify:
            _add_penalty(command)
            _add_descent(command)
            _add_robust(command)
    args, strange = parser.parse_known_args(argv)
    if strange:
        commands.choices[args.command].error(f"unrecognized arguments: {' '.join(strange)}")
    return args


def _add_input(command: argparse.ArgumentParser) -> None:
    command.epilog = EPILOG
    data = command.add_argument_group("data")
    data.add_argument(
        "data", nargs="+", metavar="DATA", help="DATA.npz, .h5, .zarr or .mat, X [Y] or TABLE.csv"
    )
    data.add_argument("--x-columns", metavar="A,B", help="names or numbers (from 0) in a table")
    data.add_argument("--y-columns", metavar="C", help="the same for y")
    data.add_argument("--fs", type=float, metavar="HZ", help="samples a second: lags become times")
    data.add_argument("--channels", metavar="A,B", help="names of the channels of x")
    data.add_argument("--outputs", metavar="C,D", help="names of the channels of y")
    data.add_argument(
        "--max-bytes",
        type=int,
        metavar="N",
        help="the most that is read into memory of one input (default 4 GiB); what is read in "
        "blocks may be larger",
    )
    shape = command.add_argument_group("geometry, by --kernel-size, --lags or --tmin --tmax")
    shape.add_argument("--kernel-size", type=int, nargs="+", metavar="K", help="one per axis")
    shape.add_argument("--stride", type=int, nargs="+", metavar="S")
    shape.add_argument(
        "--padding",
        type=_padding,
        help="valid (default), same, full, causal, circular, or lo,hi per axis: --padding=2,0",
    )
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
    shape.add_argument("--bias", action="store_true", help="a constant per output is unknown too")
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


def _add_penalty(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("a penalty chosen by the data (solver regularized)")
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
    group.add_argument("--folds", metavar="K", help="records (default), or a number, for cv")
    group.add_argument("--score", choices=("mse", "r2", "correlation"), help="for cv, default mse")


def _add_descent(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("gradient descent")
    group.add_argument("--loss", choices=("mse", "mae", "huber"), help="default mse")
    group.add_argument("--steps", type=int, metavar="N", help="at most (default 1000); for cg too")
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


def _add_output(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON document in place of text")
    group.add_argument("--plot", type=Path, metavar="FILE.png", help="draw a picture (matplotlib)")
    group.add_argument("--force", action="store_true", help="overwrite files that exist")


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


def name_of_solver(args: argparse.Namespace) -> str:
    """That of --solver; a penalty to choose says it too."""
    takes = SOLVERS["regularized"][1]
    asked = any(getattr(args, setting) is not None for setting in takes)
    return "regularized" if asked and args.solver == "auto" else str(args.solver)


def _regularized(args: argparse.Namespace, given: Problem) -> Solver:
    from .. import solvers
    from ..inference.folds import CrossValidation
    from ..leastsquares.penalty import RIDGE, Penalty
    from ..leastsquares.smooth import Smooth
    from ..leastsquares.stable_spline import StableSpline

    if args.select != "cv" and (args.folds is not None or args.score is not None):
        raise ValueError("--folds and --score go with --select cv")
    select: Any = args.select
    if select == "cv":
        folds = args.folds or "records"
        folds = int(folds) if folds.isdecimal() else folds
        select = CrossValidation(folds, args.score or "mse")
        select.spans(given.kept.lengths)
    plain: dict[str, Penalty] = {
        "ridge": RIDGE,
        "differences": Smooth(order=1),
        "curvature": Smooth(order=2),
        "smooth": Smooth(),
    }
    penalty = plain.get(args.penalty or "ridge") or StableSpline(args.penalty)
    grid = None if args.strength is None else [[value] for value in args.strength]
    return solvers.Regularized(penalty, grid, select)


def solver(name: str, args: argparse.Namespace, given: Problem) -> Solver:
    """The solver of that name with its settings, once it has said that it can solve ``given``."""
    from .. import solvers

    with reported(TypeError, ValueError):
        if name == "regularized":
            made: Solver = _regularized(args, given)
        elif name == "huber":
            given_settings = {k: getattr(args, k) for k in ("delta", "scale")}
            made = solvers.Huber(**{k: v for k, v in given_settings.items() if v is not None})
        elif name == "absolute":
            made = solvers.LeastAbsolute()
        elif "loss" in SOLVERS[name][1]:
            check_device()
            import optax

            named = {k: getattr(args, k) for k in ("loss", "steps", "key", "via")}
            named = {k: v for k, v in named.items() if v is not None}
            optimizer = None if args.rate is None else optax.adam(args.rate)
            optimizer = optax.lbfgs() if name == "lbfgs" else optimizer
            made = solvers.GradientDescent(optimizer, **named)
        else:
            ridge = args.ridge or 0.0
            limit = {"steps": args.steps} if name == "cg" and args.steps is not None else {}
            made = {
                "auto": solvers.AutoSolver(ridge),
                "svd": solvers.LeastSquares("svd", ridge),
                "qr": solvers.LeastSquares("qr", ridge),
                "normal": solvers.NormalEquations(ridge),
                "cg": solvers.ConjugateGradient(ridge, **limit),
                "fft": solvers.FFTDeconvolution(ridge),
            }[name]
    reason = made.supports(given.sizes(), given.spec)
    if reason is not None:
        raise Refusal(f"solver {name}: {reason}")
    return made


def check_settings(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse solvers that are not there, and settings that none of the chosen takes."""
    for name in names:
        if name not in SOLVERS:
            raise Refusal(f"solver {name!r} is unknown; choose from {', '.join(SOLVERS)}")
    for setting in SETTINGS:
        takers = [name for name, (_, takes) in SOLVERS.items() if setting in takes]
        if getattr(args, setting) is not None and not set(takers) & set(names):
            raise Refusal(f"--{setting} is for the solvers {', '.join(takers)}; name one of them")
    if args.rate is not None and not (math.isfinite(args.rate) and args.rate > 0):
        raise Refusal(f"--rate must be positive and finite, got {args.rate}")


def check_device() -> None:
    """Refuse to begin a descent where jax finds no device, such as the one that was asked for."""
    from ..lazy_jax import import_whole

    import_whole("optax")
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where CUDA sees no card
        reason = str(error) or f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
        raise Refusal(
            f"jax has no device to descend on ({reason}); try JAX_PLATFORMS=cpu"
        ) from error


def check_targets(args: argparse.Namespace) -> None:
    """Refuse a place that cannot be written before anything long begins."""
    options = ("out", "checkpoint", "plot")
    targets = {o: path for o in options if (path := getattr(args, o, None)) is not None}
    for option, path in targets.items():
        with reported(OSError):
            reason = _fault(option, path, args)
        if reason:
            raise Refusal(f"--{option} {path}: {reason}")
        first = next(o for o in targets if targets[o] == path)
        if first != option:
            raise Refusal(f"--{option} {path}: is the place of --{first}; give another name")
    if args.plot is not None and find_spec("matplotlib") is None:
        raise Refusal("--plot needs matplotlib: pip install 'convsolve[plot]'")


def _fault(option: str, path: Path, args: argparse.Namespace) -> str | None:
    """Why ``path`` cannot be written, or None."""
    faults = {
        "is a symbolic link; give the file that it points to": path.is_symlink(),
        "is a directory; give a file in it": path.is_dir(),
        "is not a regular file; give another name": path.exists() and not path.is_file(),
        "is one of the inputs; give another name": any(
            _is_part(path, data) for data in getattr(args, "data", [])
        ),
        # A checkpoint that exists is gone on from.
        "exists; --force overwrites it": path.exists()
        and not (args.force or option == "checkpoint"),
        "its directory is not there, or not writable": not (
            path.parent.is_dir() and os.access(path.parent, os.W_OK | os.X_OK)
        ),
        "must end in .png, .pdf or .svg": option == "plot"
        and path.suffix not in (".png", ".pdf", ".svg"),
    }
    return next((reason for reason, holds in faults.items() if holds), None)


def _is_part(path: Path, data: str) -> bool:
    """Whether a path is the file of an input, or in its directory."""
    found = HDF5.fullmatch(data) or MAT.fullmatch(data)
    file = Path(found[1] if found else data)
    if file.is_dir():
        return path.resolve().is_relative_to(file.resolve())
    return path.exists() and file.exists() and path.samefile(file)
