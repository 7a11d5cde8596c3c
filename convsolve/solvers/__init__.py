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
    from .huber import Huber
    from .lasso import Lasso
    from .least_absolute import LeastAbsolute
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
    "Huber",
    "Lasso",
    "LeastAbsolute",
    "LeastSquares",
    "NormalEquations",
    "Raw",
    "Regularized",
    "Solver",
    "Trace",
]


# What these bring along of `inference` takes a tenth of the time of a first solve.
_WHEN_USED = {
    "Huber": "huber",
    "Lasso": "lasso",
    "LeastAbsolute": "least_absolute",
    "Regularized": "regularized",
}


def __getattr__(name: str) -> Any:
    if name not in _WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHEN_USED[name]}", __name__), name)
