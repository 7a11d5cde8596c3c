"""The solvers, one method a file. A new one is a file, and a line in ``ALL``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .auto import AutoSolver
from .base import Raw, Solver, Trace
from .conjugate_gradient import ConjugateGradient
from .fft_deconvolution import FFTDeconvolution
from .gradient_descent import GradientDescent
from .least_squares import LeastSquares
from .normal_equations import NormalEquations

if TYPE_CHECKING:
    from .lasso import Lasso
    from .regularized import Regularized

ALL: tuple[Solver, ...] = (
    LeastSquares("svd"),
    LeastSquares("qr"),
    NormalEquations(),
    ConjugateGradient(),
    FFTDeconvolution(),
    GradientDescent(),
)

__all__ = [
    "ALL",
    "AutoSolver",
    "ConjugateGradient",
    "FFTDeconvolution",
    "GradientDescent",
    "Lasso",
    "LeastSquares",
    "NormalEquations",
    "Raw",
    "Regularized",
    "Solver",
    "Trace",
]


def __getattr__(name: str) -> Any:
    # What chooses a penalty brings all of `inference` along, a tenth of the time of a first solve.
    if name not in ("Lasso", "Regularized"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{name.lower()}", __name__), name)
