"""convsolve: recover the kernel of a convolution, and report whether the data determine it.

>>> import convsolve as cs
>>> problem = cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2)
>>> cs.identify(problem).verdict
'overdetermined'
>>> cs.solve(problem).kernel[:, 0, 0].round(12).tolist()
[1.0, 2.0]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import datasets as datasets
    from . import interop as interop
    from . import io as io
    from . import results as results
    from . import sklearn as sklearn
    from .api import convolve, fit_kernel, identify, solve
    from .comparison import compare
    from .errors import IdentifiabilityError, IdentifiabilityWarning, SolveError
    from .held_out import cross_validate
    from .identifiability.report import Identifiability
    from .inference.folds import CrossValidation
    from .lag_choice import choose_lags
    from .leastsquares.penalty import Penalty, Ridge, Tikhonov
    from .leastsquares.smooth import Smooth
    from .leastsquares.squared_exponential import SquaredExponential
    from .leastsquares.stable_spline import StableSpline
    from .noise import ARNoise, ClusterNoise, HACNoise, NoiseModel, WhiteNoise
    from .plotting.figures import plot
    from .problem.lag_bases import (
        HRF,
        Basis,
        BSplines,
        Fourier,
        LagBasis,
        RaisedCosines,
        Tents,
    )
    from .problem.problem import Problem
    from .problem.sizes import Limits
    from .problem.spec import ConvSpec
    from .problem.time_varying import varying
    from .solution import Solution, load
    from .solvers.absolute import AbsoluteLoss
    from .solvers.auto import AutoSolver
    from .solvers.base import Loss, Solver, SquaredLoss
    from .solvers.conjugate_gradient import ConjugateGradient
    from .solvers.fft_deconvolution import FFTDeconvolution
    from .solvers.gradient_descent import GradientDescent
    from .solvers.huber import HuberLoss
    from .solvers.lasso import Lasso
    from .solvers.least_squares import QR, SVD
    from .solvers.normal_equations import NormalEquations
    from .subjects import solve_group

_HOMES = {
    "api": ("convolve", "fit_kernel", "identify", "solve"),
    "comparison": ("compare",),
    "errors": ("IdentifiabilityError", "IdentifiabilityWarning", "SolveError"),
    "held_out": ("cross_validate",),
    "identifiability.report": ("Identifiability",),
    "inference.folds": ("CrossValidation",),
    "lag_choice": ("choose_lags",),
    "leastsquares.penalty": ("Penalty", "Ridge", "Tikhonov"),
    "leastsquares.smooth": ("Smooth",),
    "leastsquares.squared_exponential": ("SquaredExponential",),
    "leastsquares.stable_spline": ("StableSpline",),
    "noise": ("ARNoise", "ClusterNoise", "HACNoise", "NoiseModel", "WhiteNoise"),
    "plotting.figures": ("plot",),
    "problem.lag_bases": (
        "HRF",
        "BSplines",
        "Basis",
        "Fourier",
        "LagBasis",
        "RaisedCosines",
        "Tents",
    ),
    "problem.problem": ("Problem",),
    "problem.sizes": ("Limits",),
    "problem.spec": ("ConvSpec",),
    "problem.time_varying": ("varying",),
    "solution": ("Solution", "load"),
    "solvers.absolute": ("AbsoluteLoss",),
    "solvers.auto": ("AutoSolver",),
    "solvers.base": ("Loss", "Solver", "SquaredLoss"),
    "solvers.conjugate_gradient": ("ConjugateGradient",),
    "solvers.fft_deconvolution": ("FFTDeconvolution",),
    "solvers.gradient_descent": ("GradientDescent",),
    "solvers.huber": ("HuberLoss",),
    "solvers.lasso": ("Lasso",),
    "solvers.least_squares": ("QR", "SVD"),
    "solvers.normal_equations": ("NormalEquations",),
    "subjects": ("solve_group",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

_SUBMODULES = ("datasets", "interop", "io", "results", "sklearn")

__all__ = [
    "HRF",
    "QR",
    "SVD",
    "ARNoise",
    "AbsoluteLoss",
    "AutoSolver",
    "BSplines",
    "Basis",
    "ClusterNoise",
    "ConjugateGradient",
    "ConvSpec",
    "CrossValidation",
    "FFTDeconvolution",
    "Fourier",
    "GradientDescent",
    "HACNoise",
    "HuberLoss",
    "Identifiability",
    "IdentifiabilityError",
    "IdentifiabilityWarning",
    "LagBasis",
    "Lasso",
    "Limits",
    "Loss",
    "NoiseModel",
    "NormalEquations",
    "Penalty",
    "Problem",
    "RaisedCosines",
    "Ridge",
    "Smooth",
    "Solution",
    "SolveError",
    "Solver",
    "SquaredExponential",
    "SquaredLoss",
    "StableSpline",
    "Tents",
    "Tikhonov",
    "WhiteNoise",
    "choose_lags",
    "compare",
    "convolve",
    "cross_validate",
    "fit_kernel",
    "identify",
    "load",
    "plot",
    "solve",
    "solve_group",
    "varying",
]


def __getattr__(name: str) -> Any:
    # Names are imported when first used, so that `import convsolve` imports no jax (PEP 562).
    if name in _SUBMODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        known = (*__all__, *_SUBMODULES)
        words = import_module(".near_misses", __name__).unknown_attribute(__name__, name, known)
        raise AttributeError(words)
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
