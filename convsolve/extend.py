"""Base classes for methods of your own, and the classes of results for annotations.

A solver, loss, penalty, noise model or basis of your own derives from `Solver`, `Loss`, `Penalty`,
`NoiseModel` or `LagBasis`. You receive objects of the other classes and never construct them.

>>> import convsolve as cs
>>> from convsolve.extend import Score
>>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
>>> isinstance(fit.score(), Score)
True
"""

from .comparison import Comparison as Comparison
from .held_out import CrossValidationScores as CrossValidationScores, HeldOutTest as HeldOutTest
from .identifiability.descent import DescentForecast as DescentForecast
from .identifiability.suggestions import Suggestion as Suggestion
from .inference.doubts import Whiteness as Whiteness
from .inference.errors import FTest as FTest, NoiseEstimate as NoiseEstimate
from .inference.regularization import Regularization as Regularization
from .inference.resampling import Jackknife as Jackknife, PermutationTest as PermutationTest
from .inference.responses import (
    Delay as Delay,
    FrequencyResponse as FrequencyResponse,
    StepResponse as StepResponse,
)
from .lag_choice import LagChoice as LagChoice
from .leastsquares.penalty import Penalty as Penalty
from .noise import NoiseModel as NoiseModel
from .problem.lag_bases import LagBasis as LagBasis
from .scoring import Score as Score
from .solvers.base import Loss as Loss, Solver as Solver, Trace as Trace
from .subjects import GroupSolution as GroupSolution

__all__ = sorted(name for name, value in vars().items() if isinstance(value, type))
