"""Every solver, penalty, loss, noise model, basis and criterion by name, as plain data.

Names, classes, options and summaries are used by the entry points, the command line and the
documentation. A component is imported when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from .near_misses import similar

_NONE: Mapping[str, Any] = MappingProxyType({})


class Option(NamedTuple):
    """An argument of a component that can be given as an option.

    Attributes:
        name: the name of the argument.
        kind: the type of a value, a list of it for several values, or a tuple of words.
        help: meaning and default.
        metavar: the value in the help, or None.
        reads: "file" for the name of a file with an array, "labels" for numbers with commas
            between, "kernel" for a word or the file of a kernel, "adam" for the learning rate of
            the optimizer; None for the value itself.
    """

    name: str
    kind: Any
    help: str
    metavar: str | None = None
    reads: str | None = None


class Entry(NamedTuple):
    """A component that can be named.

    Attributes:
        kind: "solver", "penalty", "loss", "noise", "basis" or "select".
        name: its name, in Python and on the command line.
        summary: one line of help.
        target: module and class, "module:Class", of this package if it begins with a dot; empty if
            the name is all.
        fixed: arguments that the name stands for.
        options: arguments that can be given as options.
        number: argument that a number after the name gives, as in "ar3"; empty for none.
    """

    kind: str
    name: str
    summary: str
    target: str = ""
    fixed: Mapping[str, Any] = _NONE
    options: tuple[Option, ...] = ()
    number: str = ""

    @property
    def class_name(self) -> str:
        """The name of the class."""
        return self.target.partition(":")[2]

    def make(self, **arguments: Any) -> Any:
        """Return the component with some arguments; the name of a criterion without a class."""
        if not self.target:
            return self.name
        return _imported(self.target)(**{**self.fixed, **arguments})


@cache
def _imported(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module, __package__), name)


_STEPS = Option("steps", int, "largest number of steps (default 1000)", "N")
_DESCENT = (
    _STEPS,
    Option("tol", float, "tolerance (default 1e-6 for descent, 30 eps for cg)", "T"),
    Option("batch_size", int, "rows of each step, drawn at random (default: all)", "N"),
    Option(
        "init", str, "glorot_uniform (default), zeros, or a FILE of a kernel", "KERNEL", "kernel"
    ),
    Option("restarts", int, "random starts, of which the best is kept (default 1)", "N"),
    Option("seed", int, "seed of the random start (default 0)", "SEED"),
)
_DECAY = Option("decay", float, "decay between 0 and 1 (default: selected)", "A")
_GROUPS = Option(
    "channel_groups",
    str,
    "a label for every channel, such as 0,1,1. Each group has its own strength (ridge), or is zero "
    "as a whole (lasso; channels: one group per channel)",
    "A,B",
    "labels",
)

_SPACING = Option("spacing", ("log", "even"), "distances of the functions (default log)")
_DERIVATIVES = Option(
    "derivatives", [str], "time, dispersion or both, as further functions (default: none)", "D"
)

_ALL = (
    # The default comes first.
    Entry("solver", "auto", "exact solution by the cheapest method", ".solvers.auto:AutoSolver"),
    Entry("solver", "qr", "QR of the design matrix", ".solvers.direct:QR"),
    Entry("solver", "svd", "singular values of the design matrix", ".solvers.direct:SVD"),
    Entry(
        "solver",
        "normal",
        "refined normal equations, for long records",
        ".solvers.direct:NormalEquations",
    ),
    Entry(
        "solver",
        "cg",
        "conjugate gradients, for thousands of taps",
        ".solvers.conjugate_gradient:ConjugateGradient",
        options=_DESCENT[:2],
    ),
    Entry(
        "solver",
        "fft",
        "division of spectra, exact for circular and full padding only",
        ".solvers.fft_deconvolution:FFTDeconvolution",
    ),
    Entry(
        "solver",
        "adam",
        "gradient descent by Adam",
        ".solvers.gradient_descent:GradientDescent",
        {"optimizer": "adam"},
        (*_DESCENT, Option("learning_rate", float, "learning rate (default 0.05)", "R", "adam")),
    ),
    Entry(
        "solver",
        "lbfgs",
        "gradient descent by L-BFGS",
        ".solvers.gradient_descent:GradientDescent",
        {"optimizer": "lbfgs"},
        _DESCENT,
    ),
    Entry("penalty", "ridge", "‖w‖²", ".leastsquares.penalty:Ridge", options=(_GROUPS,)),
    Entry(
        "penalty",
        "lasso",
        "sum of absolute taps, which sets taps or channels to zero",
        ".solvers.lasso:Lasso",
        options=(_GROUPS, Option("ridge", float, "strength of an additional ridge", "R")),
    ),
    Entry(
        "penalty",
        "smooth",
        "differences along the lags",
        ".leastsquares.smooth:Smooth",
        options=(Option("order", int, "order of the differences, 1 (default) or 2", "N"),),
    ),
    Entry(
        "penalty",
        "squared_exponential",
        "squared exponential covariance",
        ".leastsquares.squared_exponential:SquaredExponential",
        options=(Option("length", [float], "length in taps (default: selected)", "L"),),
    ),
    Entry(
        "penalty",
        "tc",
        "an exponential decay",
        ".leastsquares.stable_spline:StableSpline",
        {"kind": "tc"},
        (_DECAY,),
    ),
    Entry(
        "penalty",
        "dc",
        "an exponential decay with a correlation",
        ".leastsquares.stable_spline:StableSpline",
        {"kind": "dc"},
        (
            _DECAY,
            Option(
                "correlation", float, "correlation of neighbouring taps (default: selected)", "R"
            ),
        ),
    ),
    Entry(
        "penalty",
        "ss",
        "a smoother exponential decay",
        ".leastsquares.stable_spline:StableSpline",
        {"kind": "ss"},
        (_DECAY,),
    ),
    Entry(
        "penalty",
        "tikhonov",
        "‖D w‖² for a matrix D",
        ".leastsquares.penalty:Tikhonov",
        options=(Option("matrix", str, "D, with a column per lag, ascending", "FILE", "file"),),
    ),
    Entry("loss", "squared", "squared residuals", ".solvers.base:SquaredLoss"),
    Entry(
        "loss",
        "huber",
        "Huber's loss, for y with outliers",
        ".solvers.losses:HuberLoss",
        options=(
            Option("delta", float, "threshold in units of the scale (default 1.345)", "D"),
            Option("scale", float, "scale of the noise in the unit of y (default: estimated)", "S"),
        ),
    ),
    Entry(
        "loss",
        "absolute",
        "absolute residuals, for y with outliers",
        ".solvers.losses:AbsoluteLoss",
    ),
    Entry("noise", "white", "independent rows", ".noise:WhiteNoise"),
    Entry(
        "noise",
        "ar",
        "an autoregression, which also changes the solution; ar3 has order 3",
        ".noise:ARNoise",
        number="order",
    ),
    Entry(
        "noise",
        "hac",
        "rows depend on rows near them in time; hac20 has bandwidth 20",
        ".noise:HACNoise",
        number="bandwidth",
    ),
    Entry("noise", "cluster", "rows of one record depend on each other", ".noise:ClusterNoise"),
    Entry(
        "basis",
        "raised_cosines",
        "raised cosines, narrow at the first lags; raised_cosines8 has 8 functions",
        ".problem.lag_bases:RaisedCosines",
        options=(
            _SPACING,
            Option("stretch", float, "more functions at the first lags (default 50)", "S"),
            Option("width", float, "half width in distances of peaks (default 2)", "W"),
        ),
        number="n",
    ),
    Entry(
        "basis",
        "bsplines",
        "clamped cubic B-splines; bsplines8 has 8 functions",
        ".problem.lag_bases:BSplines",
        options=(Option("degree", int, "degree of the polynomials (default 3)", "D"),),
        number="n",
    ),
    Entry(
        "basis",
        "tents",
        "kernels that are linear between some lags; tents8 has 8 functions",
        ".problem.lag_bases:Tents",
        options=(_SPACING,),
        number="knots",
    ),
    Entry(
        "basis",
        "hrf",
        "the canonical haemodynamic response of fMRI, as in SPM",
        ".problem.lag_bases:HRF",
        {"kind": "spm"},
        (_DERIVATIVES,),
    ),
    Entry(
        "basis",
        "glover",
        "Glover's haemodynamic response",
        ".problem.lag_bases:HRF",
        {"kind": "glover"},
        (_DERIVATIVES,),
    ),
    Entry(
        "basis",
        "fourier",
        "a constant and harmonics of the window; fourier4 has 4 harmonics",
        ".problem.lag_bases:Fourier",
        number="n",
    ),
    Entry("basis", "basis", "functions given as a matrix", ".problem.lag_bases:Basis"),
    Entry("select", "gcv", "generalized cross-validation"),
    Entry("select", "evidence", "marginal likelihood"),
    Entry("select", "aicc", "corrected Akaike information criterion"),
    Entry("select", "bic", "Bayesian information criterion"),
    Entry("select", "cv", "cross-validation", ".inference.folds:CrossValidation"),
)
ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ALL}

# The kinds, which are the arguments that they are given by, as words in texts.
WORDS = {
    "solver": "solver", "penalty": "penalty", "loss": "loss", "noise": "noise model",
    "select": "criterion", "basis": "basis",
}  # fmt: skip


def of_kind(kind: str) -> Iterator[Entry]:
    """Yield the entries of a kind."""
    return (entry for entry in ENTRIES.values() if entry.kind == kind)


def found(name: str) -> tuple[Entry, dict[str, int]] | None:
    """Return the entry of a name, and the argument that a number after it gives; or None.

    Case does not matter, and - is _.
    """
    word = name.lower().replace("-", "_")
    if word in ENTRIES:
        return ENTRIES[word], {}
    parts = re.fullmatch(r"([a-z_]+?)([1-9]\d{0,8})", word)
    entry = ENTRIES.get(parts[1]) if parts else None
    if parts is None or entry is None or not entry.number:
        return None
    return entry, {entry.number: int(parts[2])}


def suggestion(name: str, kinds: Sequence[str]) -> str:
    """Return the name of some kinds that is nearest to an unknown one, or all names, as words."""
    names = [entry.name for kind in kinds for entry in of_kind(kind)]
    near = similar(name, names)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names)}"


def options() -> dict[str, tuple[Option, list[str]]]:
    """Return every option by name, with the names of the components that have it."""
    every: dict[str, tuple[Option, list[str]]] = {}
    for entry in ENTRIES.values():
        for option in entry.options:
            every.setdefault(option.name, (option, []))[1].append(entry.name)
    return every


def named(kind: str, name: str) -> tuple[Entry, Mapping[str, Any]]:
    """Return the entry of a name, and the arguments that the name gives.

    Raises:
        TypeError: If it is the name of another kind.
        ValueError: If there is no such name.
    """
    given = found(name)
    if given is None:
        raise ValueError(f"{kind}={name!r} is unknown; {suggestion(name, (kind,))}")
    entry = given[0]
    if entry.kind != kind:
        word, own = WORDS[entry.kind], WORDS[kind]
        raise TypeError(f"{name!r} is a {word}, not a {own}: use {entry.kind}={name!r}")
    return given


def component(kind: str, name: str) -> Any:
    """Return the component of a kind and a name; errors are those of `named`."""
    entry, arguments = named(kind, name)
    return entry.make(**arguments)
