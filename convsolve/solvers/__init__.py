"""The solvers, one method a file. A new one is a file, and a line in ``ALL``."""

from .auto import AutoSolver
from .base import Raw, Solver, Trace
from .direct import LeastSquares
from .fourier import FFTDeconvolution
from .gradient import GradientDescent
from .iterative import ConjugateGradient
from .structured import NormalEquations

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
    "LeastSquares",
    "NormalEquations",
    "Raw",
    "Solver",
    "Trace",
]
