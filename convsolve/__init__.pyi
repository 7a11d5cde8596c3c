"""The public names: type checkers read them here, and `__init__.py` imports them when used."""

from . import (
    datasets as datasets,
    extend as extend,
    interop as interop,
    io as io,
    sklearn as sklearn,
)
from .api import (
    convolve as convolve,
    fit_kernel as fit_kernel,
    identify as identify,
    solve as solve,
)
from .comparison import compare as compare
from .errors import (
    IdentifiabilityError as IdentifiabilityError,
    IdentifiabilityWarning as IdentifiabilityWarning,
    SolveError as SolveError,
)
from .held_out import cross_validate as cross_validate
from .identifiability.report import Identifiability as Identifiability
from .inference.folds import CrossValidation as CrossValidation
from .lag_choice import choose_lags as choose_lags
from .leastsquares.penalty import Ridge as Ridge, Tikhonov as Tikhonov
from .leastsquares.priors import (
    Smooth as Smooth,
    SquaredExponential as SquaredExponential,
    StableSpline as StableSpline,
)
from .noise import ARNoise as ARNoise, HACNoise as HACNoise
from .plotting.figures import plot as plot
from .problem.lag_bases import (
    HRF as HRF,
    Basis as Basis,
    BSplines as BSplines,
    Fourier as Fourier,
    RaisedCosines as RaisedCosines,
    Tents as Tents,
)
from .problem.nuisance import Cosines as Cosines
from .problem.problem import Problem as Problem
from .problem.sizes import Limits as Limits
from .problem.spec import ConvSpec as ConvSpec
from .problem.time_varying import varying as varying
from .solution import Solution as Solution, load as load
from .solvers.conjugate_gradient import ConjugateGradient as ConjugateGradient
from .solvers.early_stopping import EarlyStopping as EarlyStopping
from .solvers.gradient_descent import GradientDescent as GradientDescent
from .solvers.lasso import Lasso as Lasso
from .solvers.losses import HuberLoss as HuberLoss
from .subjects import solve_group as solve_group

__version__: str
