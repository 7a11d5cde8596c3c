"""Every solver, penalty, loss, noise model, criterion and basis by name.

A new component is one class, and one name here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from .inference.folds import CrossValidation
from .leastsquares.penalty import Ridge, Tikhonov
from .leastsquares.priors import Smooth, SquaredExponential, StableSpline
from .noise import ARNoise, ClusterNoise, HACNoise, WhiteNoise
from .notation import class_of, made
from .problem.lag_bases import BASES
from .solvers.base import SquaredLoss
from .solvers.conjugate_gradient import ConjugateGradient
from .solvers.direct import QR, SVD, AutoSolver, NormalEquations
from .solvers.early_stopping import EarlyStopping
from .solvers.fft_deconvolution import FFTDeconvolution
from .solvers.gradient_descent import OPTIMIZERS, GradientDescent
from .solvers.lasso import Lasso
from .solvers.losses import AbsoluteLoss, HuberLoss

# Classes by kind, which is the argument that a component is given by, and by name.
CLASSES: dict[str, dict[str, Callable[..., Any]]] = {
    "solver": {
        "auto": AutoSolver, "qr": QR, "svd": SVD, "normal": NormalEquations,
        "cg": ConjugateGradient, "fft": FFTDeconvolution, "adam": GradientDescent,
        **{name: partial(GradientDescent, name) for name in OPTIMIZERS},
    },
    "penalty": {
        "ridge": Ridge, "lasso": Lasso, "smooth": Smooth,
        "squared_exponential": SquaredExponential, "tc": StableSpline,
        "dc": partial(StableSpline, kind="dc"), "ss": partial(StableSpline, kind="ss"),
        "tikhonov": Tikhonov, "early_stopping": EarlyStopping,
    },
    "loss": {
        "squared": SquaredLoss, "huber": HuberLoss, "absolute": AbsoluteLoss,
        "mse": SquaredLoss, "mae": AbsoluteLoss,
    },
    "noise": {"white": WhiteNoise, "ar": ARNoise, "hac": HACNoise, "cluster": ClusterNoise},
    "select": {name: partial(str, name) for name in ("gcv", "evidence", "aicc", "bic")}
    | {"cv": CrossValidation},
    "basis": BASES,
}  # fmt: skip


def parse(kind: str, given: Any, value: Callable[[Any], Any] | None = None) -> Any:
    """Return the component that words describe; an object is returned unchanged.

    Args:
        kind: the argument that the component is given by.
        given: a name in any case, "ar3", "BSplines(8)", or an object.
        value: converts the arguments of a call.

    Raises:
        TypeError: If it is the name of another kind, or has arguments that are not accepted.
        ValueError: If there is no such name.
    """
    if not isinstance(given, str):
        return given
    other = kind_of(given, [kind, *CLASSES])
    if other not in (None, kind):
        raise TypeError(f"{given!r} is no {kind}: use {other}={given!r}")
    return made(kind, given, CLASSES[kind], value)


def kind_of(words: str, kinds: Iterable[str] = CLASSES) -> str | None:
    """Return the first of some kinds that has the name in words, or None."""
    return next((kind for kind in kinds if class_of(words, CLASSES[kind])), None)


def name_of(kind: str, component: Any) -> str | None:
    """Return the name of a component that has no settings, or None."""
    text = repr(component)
    pairs = ((name, getattr(one, "__name__", "")) for name, one in CLASSES.get(kind, {}).items())
    return next((name for name, cls in pairs if text == f"{cls}()"), None)
