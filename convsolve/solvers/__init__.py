"""The solvers, one method a file. A new one is a file, and a line in ``ALL``."""

from .auto import AutoSolver
from .base import Raw, Solver, Trace
from .conjugate_gradient import ConjugateGradient
from .fft_deconvolution import FFTDeconvolution
from .gradient_descent import GradientDescent
from .least_squares import LeastSquares
from .normal_equations import NormalEquations
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
    "LeastSquares",
    "NormalEquations",
    "Raw",
    "Regularized",
    "Solver",
    "Trace",
]
