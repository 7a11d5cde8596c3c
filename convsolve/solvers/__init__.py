"""The solvers, one method a file. A new one is a file, and a line in ``ALL``."""

from ..leastsquares.stable_spline import StableSpline
from .auto import AutoSolver
from .base import Raw, Solver, Trace
from .conjugate_gradient import ConjugateGradient
from .fft_deconvolution import FFTDeconvolution
from .gradient_descent import GradientDescent
from .lasso import Lasso
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
# What `compare` lays beside them: penalties that the data choose.
CHOSEN: tuple[Solver, ...] = (Regularized(), Regularized(StableSpline()))

__all__ = [
    "ALL",
    "CHOSEN",
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
