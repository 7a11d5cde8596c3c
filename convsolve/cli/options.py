"""The options of the command line as a table, and the words that some of them take."""

# As in arguments.py, numpy and what needs it are imported once a command runs.
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from ..noise import AUTOREGRESSION, NOISES

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
    """One of the limits."""
    name, _, number = text.partition("=")
    try:
        whole = int(float(number))  # raises an error for inf and NaN
        return name, whole if whole == float(number) else float(number)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=N, such as gram_bytes=4e9"
        ) from error


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


def _listed(prefix: str, **_: Any) -> list[str]:
    """How a list of solvers with commas between could go on."""
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
    Option("x-columns", str, "A,B", "names or numbers (from 0) in a table"),
    Option("y-columns", str, "C", "the same for y"),
    Option("max-bytes", int, "N", "the most that is read into memory of one input (default 4 "
           "GiB); what is read in blocks may be larger"),
    Option("limits", [_limit], "NAME=N", "what memory and time allow, such as gram_bytes=4e9; see "
           "convsolve.Limits"),
    Option("config", str, "FILE.toml", "options by their names, such as lags = [0, 39], for all "
           "commands or in a table of one, [solve]; the command line wins"),
)  # fmt: skip
RATE_AND_NAMES = (
    Option("fs", float, "HZ", "samples a second: lags become times"),
    Option("channels", str, "A,B", "names of the channels of x"),
    Option("outputs", str, "C,D", "names of the channels of y"),
)
GEOMETRY = (
    Option("kernel-size", [int], "K", "one per axis"),
    Option("stride", [int], "S"),
    Option("padding", _padding, None, "valid (default), same, full, causal, circular, or lo,hi "
           "per axis: --padding=2,0", words=PADDINGS),
    Option("dilation", [int], "D"),
    Option("lags", [int], "L", "FIRST LAST per axis, for y as long as x"),
    Option("tmin", float, "T", "the first lag in seconds, with --fs"),
    Option("tmax", float, "T", "the last"),
    Option("edges", EDGES, None, "default drop"),
    Option("groups", int, "G", default=1),
    Option("out-channels", int, "Q", "how many outputs y will have (identify)"),
    Option("bias", bool, None, "a constant per output is unknown too"),
)  # fmt: skip
ROWS = (
    Option("mask", str, "FILE", "1 where a row counts, 0 where it does not"),
    Option("missing", MISSING, None, "drop: leave out rows that read a NaN", "raise"),
    Option("weights", str, "FILE", "of every row, or of every record"),
    Option("confounds", str, "C", "fitted to every record by itself: intercept, the degree of a "
           "drift, or a FILE"),
)  # fmt: skip
FOLDS = Option("folds", str, "K", "records (default), or a number, for cv")
SCORE = Option("score", ("mse", "r2", "correlation"), None, "for cv, default mse")
PENALTY = (
    Option("penalty", PENALTIES, None, f"{PENALTIES_DESCRIBED} (default ridge)"),
    Option("strength", [float], "R", "one, or a grid to choose from"),
    Option("select", CRITERIA, None, "cv: cross-validation (default evidence for smooth, tc, dc "
           "and ss, else gcv)"),
    Option("length", [float], "L", "of smooth, in taps (default: chosen)"),
    Option("alpha", float, "A", "of tc, dc and ss, the decay (default: chosen)"),
    Option("rho", float, "R", "of dc, the correlation (default: chosen)"),
    Option("matrix", str, "FILE", "of tikhonov"),
    Option("penalty-groups", str, "A,B", "a label for every channel, such as 0,1,1: each has a "
           "strength of its own (ridge), or is left out together (lasso; channels: each by "
           "itself)"),
    Option("penalty-weights", str, "A,B", "of ridge, factors of the strength of each label "
           "(default: chosen)"),
)  # fmt: skip
GRADIENT_DESCENT = (
    Option("loss", ("mse", "mae", "huber"), None, "default mse"),
    Option("huber-delta", float, "D", "threshold of its loss, in the unit of y (1)"),
    Option("steps", int, "N", "at most (default 1000); for cg too"),
    Option("tol", float, "T", "when it is solved (default 1e-6); for cg too"),
    Option("batch-size", int, "N", "rows drawn each step (default: all)"),
    Option("init", str, "KERNEL", "glorot_uniform (default), zeros, or a FILE of a kernel"),
    Option("restarts", int, "N", "runs, the best of which counts"),
    Option("key", int, "SEED", "of the random start (default 0)"),
    Option("rate", float, "R", "Adam's learning rate (default 0.05)"),
    Option("via", ("convolution", "moments"), None, "moments: for mse, steps that cost the same "
           "at any length (default convolution)"),
)  # fmt: skip
HUBER = (
    Option("delta", float, "D", "the threshold, in units of the scale (1.345)"),
    Option("scale", float, "S", "of the noise, in the unit of y (default: found)"),
)
SOLVER = Option("solver", SOLVERS, None, f"{SOLVERS_DESCRIBED} (default auto)", "auto")
NOISE = Option("noise", _noise, "KIND", "how the noise of y is correlated, which the standard "
               "errors assume: white, hac, cluster; ar or 'ar(P)', an autoregression, changes the "
               "answer too (default white)", "white", tuple(NOISES))  # fmt: skip
JSON = Option("json", bool, None, "one JSON document in place of text")
PLOT = Option("plot", Path, "FILE.png", "draw a picture (matplotlib)")
FORCE = Option("force", bool, None, "overwrite files that exist")
VERBOSE = Option("verbose", bool, None, "say on stderr what is done, and how long it takes")

# The options of each command: its own, and those in groups, by title.
Groups = dict[str, tuple[Option, ...]]
_INPUT: Groups = {"data": DATA}
_PROBLEM: Groups = _INPUT | {
    "rate and names": RATE_AND_NAMES,
    "geometry, by --kernel-size, --lags or --tmin --tmax": GEOMETRY,
    "rows of y, by files laid out as y": ROWS,
}
_PENALTIES = "a penalty chosen by the data (regularized, lasso)"
_SETTINGS: Groups = {
    "least squares and descent": (Option("ridge", float, "R", "penalty R·‖w‖², summed over taps"),),
    _PENALTIES: (*PENALTY, FOLDS, SCORE),
    "gradient descent (adam, lbfgs)": GRADIENT_DESCENT,
    "solver huber": HUBER,
}
_OUTPUT: Groups = {"output": (JSON, PLOT, FORCE, VERBOSE)}
_NO_PLOT: Groups = {"output": (JSON, FORCE, VERBOSE)}
_OF_SOLVE = (
    SOLVER,
    NOISE,
    Option("strict", bool, None, "no answer unless it is unique"),
    Option("out", Path, "FILE.npz", "write the solution"),
    Option("report", Path, "FILE.html", "write all there is to say of the answer as a page that "
           "can be sent (matplotlib)"),
    Option("checkpoint", Path, "FILE", "keep what was done of a long record here: after a crash "
           "the same command goes on from it; it is removed at the end"),
)  # fmt: skip
_OF_COMPARE = (
    Option("solvers", str, "A,B", f"any of {','.join(SOLVERS)} (default: all that apply)",
           words=_listed),
    Option("truth", str, "FILE", "the true kernel, if it is known"),
)  # fmt: skip
_OF_CROSS_VALIDATE = (
    SOLVER,
    Option("folds", str, "K", "records (default), or a number; those of --select cv too",
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
        "versions, BLAS, devices and precision, and whether a problem is solved",
        (JSON,),
        {},
    ),
    "identify": ("does x determine the kernel? (y not needed)", (), _PROBLEM | _OUTPUT),
    "solve": ("recover the kernel", _OF_SOLVE, _PROBLEM | _SETTINGS | _OUTPUT),
    "compare": (
        "solve by several methods, side by side",
        _OF_COMPARE,
        _PROBLEM | _SETTINGS | _OUTPUT,
    ),
    "cross-validate": (
        "how well a solver predicts rows that it has not seen",
        _OF_CROSS_VALIDATE,
        _PROBLEM | _SETTINGS | {_PENALTIES: (*PENALTY, SCORE)} | _NO_PLOT,
    ),
    "choose-lags": ("which of the lags given a response has", _OF_CHOOSE_LAGS, _PROBLEM | _OUTPUT),
    "predict": (
        "y of new x by a saved solution, and how well it agrees with y given",
        _OF_PREDICT,
        _INPUT | _NO_PLOT,
    ),
}
