"""The options of the command line as a table, and the words that some of them take."""

# As in arguments.py, numpy and what needs it are imported once a command runs.
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from ..noise import AUTOREGRESSION, NOISES

DESCENT = (
    "ridge", "loss", "steps", "batch_size", "init", "seed", "restarts", "tol", "huber_delta", "via",
)  # fmt: skip
# Options of --penalty, and the penalties that take them.
OF_PENALTY = {
    "length": ("smooth",),
    "decay": ("tc", "dc", "ss"),
    "correlation": ("dc",),
    "matrix": ("tikhonov",),
    "channel_groups": ("ridge",),
    "penalty_weights": ("ridge",),
}
# A description of each solver, and the options that it takes.
SOLVERS = {
    "auto": ("exact least squares by the cheapest method", ("ridge",)),
    "svd": ("singular values of the design matrix", ("ridge",)),
    "qr": ("QR of the design matrix", ("ridge",)),
    "normal": ("refined normal equations, for long records", ("ridge",)),
    "cg": ("conjugate gradients, for thousands of taps", ("ridge", "steps", "tol")),
    "fft": ("division of spectra, exact for circular and full padding only", ("ridge",)),
    "adam": ("gradient descent by Adam", (*DESCENT, "learning_rate")),
    "lbfgs": ("gradient descent by L-BFGS", DESCENT),
    "huber": (
        "Huber's loss, for y with outliers",
        ("delta", "scale"),
    ),
    "absolute": ("least absolute residuals, for y with outliers", ()),
    "lasso": (
        "sum of absolute taps as the penalty, which sets taps or channels to zero",
        ("ridge", "strength", "select", "folds", "score", "channel_groups"),
    ),
    "regularized": (
        "a penalty with a strength chosen by the data, used with --penalty",
        ("penalty", "strength", "select", "folds", "score", *OF_PENALTY),
    ),
}
# Solvers that need all of x and y in memory. With --via moments, descent does not.
WHOLE = ("fft", "adam", "lbfgs")
PENALTIES = {
    "ridge": "‖w‖²",
    "differences": "first differences along the lags",
    "curvature": "second differences",
    "smooth": "squared exponential covariance, with a length that is chosen",
    "tc": "an exponential decay",
    "dc": "an exponential decay with a correlation",
    "ss": "a smoother exponential decay",
    "tikhonov": "‖D w‖² for a matrix D",
}
PADDINGS, EDGES = ("valid", "same", "full", "causal", "circular"), ("drop", "zeros", "circular")
CRITERIA = ("gcv", "evidence", "aicc", "bic", "cv")
MISSING = ("raise", "drop")
SOLVERS_DESCRIBED = "; ".join(f"{name}: {about}" for name, (about, _) in SOLVERS.items())
PENALTIES_DESCRIBED = "; ".join(f"{name}: {about}" for name, about in PENALTIES.items())
# Every option that some solvers take.
SETTINGS = tuple(dict.fromkeys(setting for _, takes in SOLVERS.values() for setting in takes))

# Options that exclude each other. An option on the command line replaces the others in a file.
_LAYER, _TIMES = {"kernel_size", "stride", "padding", "dilation"}, {"tmin", "tmax"}
RIVALS = (
    (_LAYER, {"lags", "edges"} | _TIMES),
    ({"lags"}, _TIMES),
    ({"ridge"}, {*SOLVERS["regularized"][1]}),
)


def _noise(text: str) -> str:
    """Return a kind of noise: one of `NOISES`, or "ar(P)"."""
    if text not in NOISES and not AUTOREGRESSION.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is unknown (choose from {', '.join(NOISES)}, 'ar(P)')"
        )
    return text


def _limit(text: str) -> tuple[str, float]:
    """Return name and number of a limit."""
    name, _, number = text.partition("=")
    try:
        whole = int(float(number))  # raises an error for inf and NaN
        return name, whole if whole == float(number) else float(number)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=N, such as gram_bytes=4e9"
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


def _listed(prefix: str, **_: Any) -> list[str]:
    """Return completions of a list of solvers."""
    before = prefix[: prefix.rfind(",") + 1]
    return [before + name for name in SOLVERS if name not in before.split(",")]


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
    """

    name: str
    kind: Any
    metavar: str | None = None
    help: str | None = None
    default: Any = None
    words: Any = None
    attribute: str | None = None

    @property
    def dest(self) -> str:
        """The attribute of the parsed arguments that has the value."""
        return self.attribute or self.name.replace("-", "_")


DATA = (
    Option("x-columns", str, "A,B", "columns of a table that are x, by name or number (from 0)"),
    Option("y-columns", str, "C", "columns that are y"),
    Option("max-bytes", int, "N", "largest input that is read into memory (default 4 GiB); "
           "inputs that are read in blocks may be larger"),
    Option("limits", [_limit], "NAME=N", "a limit of memory or time, such as gram_bytes=4e9; see "
           "convsolve.Limits"),
    Option("config", str, "FILE.toml", "options by name, such as lags = [0, 39], for all commands "
           "or in a table of one command, [solve]; the command line takes precedence"),
)  # fmt: skip
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
    Option("lags", [int], "L", "first and last lag per axis, for y as long as x"),
    Option("tmin", float, "T", "first lag in seconds, with --fs"),
    Option("tmax", float, "T", "last lag in seconds"),
    Option("edges", EDGES, None, "rows at the ends of records (default drop)"),
    Option("groups", int, "G", "groups of channels, each with outputs of its own (default 1)", 1),
    Option("n-outputs", int, "Q", "number of outputs that y will have (identify)"),
    Option("bias", bool, None, "estimate a constant per output"),
)  # fmt: skip
ROWS = (
    Option("mask", str, "FILE", "1 for rows that are used, 0 for others"),
    Option("missing", MISSING, None, "drop: exclude rows that read a NaN", "raise"),
    Option("weights", str, "FILE", "weights of rows, or of records"),
    Option("confounds", str, "C", "fitted to every record: intercept, the degree of a "
           "polynomial, or a FILE of columns"),
)  # fmt: skip
FOLDS = Option("folds", str, "K", "records (default), or a number, for cv")
SCORE = Option("score", ("mse", "r2", "correlation"), None, "for cv, default mse")
PENALTY = (
    Option("penalty", PENALTIES, None, f"{PENALTIES_DESCRIBED} (default ridge)"),
    Option("strength", [float], "R", "one strength, or several to choose from"),
    Option("select", CRITERIA, None, "cv: cross-validation (default evidence for smooth, tc, dc "
           "and ss, else gcv)"),
    Option("length", [float], "L", "of smooth, in taps (default: chosen)"),
    Option("decay", float, "A", "of tc, dc and ss, the decay (default: chosen)"),
    Option("correlation", float, "R", "of dc, the correlation (default: chosen)"),
    Option("matrix", str, "FILE", "of tikhonov"),
    Option("channel-groups", str, "A,B", "a label for every channel, such as 0,1,1. Each group has "
           "its own strength (ridge), or is zero as a whole (lasso). channels: one group per "
           "channel"),
    Option("penalty-weights", str, "A,B", "of ridge, factors of the strength of each label "
           "(default: chosen)"),
)  # fmt: skip
GRADIENT_DESCENT = (
    Option("loss", ("mse", "mae", "huber"), None, "default mse"),
    Option("huber-delta", float, "D", "threshold of its loss, in the unit of y (1)"),
    Option("steps", int, "N", "largest number of steps (default 1000); also for cg"),
    Option("tol", float, "T", "tolerance (default 1e-6); also for cg"),
    Option("batch-size", int, "N", "rows of each step, drawn at random (default: all)"),
    Option("init", str, "KERNEL", "glorot_uniform (default), zeros, or a FILE of a kernel"),
    Option("restarts", int, "N", "number of random starts, of which the best is kept"),
    Option("seed", int, "SEED", "seed of the random start (default 0)"),
    Option("learning-rate", float, "R", "Adam's learning rate (default 0.05)"),
    Option("via", ("convolution", "moments"), None, "moments: for mse, steps whose cost does not "
           "depend on the length of x (default convolution)"),
)  # fmt: skip
HUBER = (
    Option("delta", float, "D", "the threshold, in units of the scale (1.345)"),
    Option("scale", float, "S", "scale of the noise, in the unit of y (default: estimated)"),
)
SOLVER = Option("solver", SOLVERS, None, f"{SOLVERS_DESCRIBED} (default auto)", "auto")
NOISE = Option("noise", _noise, "KIND", "model of the noise in y, for standard errors: white, hac "
               "or cluster; ar or 'ar(P)', an autoregression, also changes the solution "
               "(default white)", "white", tuple(NOISES))  # fmt: skip
JSON = Option("json", bool, None, "print a JSON document instead of text")
PLOT = Option("plot", Path, "FILE.png", "draw a picture (matplotlib)")
OVERWRITE = Option("overwrite", bool, None, "overwrite existing files")
VERBOSE = Option("verbose", bool, None, "write the steps and their times to stderr")

# The options of each command: its own, and those in groups, by title.
Groups = dict[str, tuple[Option, ...]]
_INPUT: Groups = {"data": DATA}
_PROBLEM: Groups = _INPUT | {
    "rate and names": RATE_AND_NAMES,
    "geometry, by --kernel-size, --lags or --tmin --tmax": GEOMETRY,
    "rows of y, by files laid out as y": ROWS,
}
_PENALTIES = "penalty chosen by the data (regularized, lasso)"
_SETTINGS: Groups = {
    "least squares and descent": (Option("ridge", float, "R", "penalty R·‖w‖², summed over taps"),),
    _PENALTIES: (*PENALTY, FOLDS, SCORE),
    "gradient descent (adam, lbfgs)": GRADIENT_DESCENT,
    "solver huber": HUBER,
}
_OUTPUT: Groups = {"output": (JSON, PLOT, OVERWRITE, VERBOSE)}
_NO_PLOT: Groups = {"output": (JSON, OVERWRITE, VERBOSE)}
_OF_SOLVE = (
    SOLVER,
    NOISE,
    Option("strict", bool, None, "fail if the kernel is not unique"),
    Option("out", Path, "FILE.npz", "write the solution"),
    Option("html", Path, "FILE.html", "write a report in one HTML file (matplotlib)"),
    Option("checkpoint", Path, "FILE", "file for the sums of a long computation: after a crash, "
           "the same command continues from it. It is removed at the end"),
)  # fmt: skip
_OF_COMPARE = (
    Option("solvers", str, "A,B", f"any of {','.join(SOLVERS)} (default: all that apply)",
           words=_listed),
    Option("truth", str, "FILE", "the true impulse response, in ascending lags"),
)  # fmt: skip
_OF_CROSS_VALIDATE = (
    SOLVER,
    Option("folds", str, "K", "records (default), or a number; also used for --select cv",
           attribute="held_out"),
)  # fmt: skip
_OF_CHOOSE_LAGS = (
    Option("select", ("bic", "aicc", "cv"), None, "cv: cross-validation (default bic)", "bic"),
    FOLDS,
    SCORE,
)
_OF_PREDICT = (Option("out", Path, "Y.npy", "write the prediction"),)
OPTIONS: dict[str, tuple[str, tuple[Option, ...], Groups]] = {
    "demo": ("five small problems, solved by several methods", (), _OUTPUT),
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
        _PROBLEM | _SETTINGS | {_PENALTIES: (*PENALTY, SCORE)} | _NO_PLOT,
    ),
    "choose-lags": ("choose the window of lags", _OF_CHOOSE_LAGS, _PROBLEM | _OUTPUT),
    "predict": (
        "predict y of new x by a saved solution, and score it if y is given",
        _OF_PREDICT,
        _INPUT | _NO_PLOT,
    ),
}
