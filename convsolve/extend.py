"""Base classes for methods of your own, and the classes of results for annotations.

A solver, loss, penalty, noise model or basis of your own derives from `Solver`, `Loss`, `Penalty`,
`NoiseModel` or `LagBasis`. You receive objects of the other classes and never construct them.

>>> import convsolve as cs
>>> from convsolve.extend import Score
>>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
>>> isinstance(fit.score(), Score)
True
"""

from .comparison import Comparison
from .held_out import CrossValidationScores
from .identifiability.descent import DescentForecast
from .identifiability.suggestions import Suggestion
from .inference.errors import FTest, NoiseEstimate
from .inference.permutation import PermutationTest
from .inference.regularization import Regularization
from .inference.resampling import Jackknife
from .lag_choice import LagChoice
from .leastsquares.penalty import Penalty
from .noise import NoiseModel
from .problem.lag_bases import LagBasis
from .scoring import Score
from .solvers.base import Loss, Solver, Trace
from .subjects import GroupSolution

__all__ = [
    "Comparison",
    "CrossValidationScores",
    "DescentForecast",
    "FTest",
    "GroupSolution",
    "Jackknife",
    "LagBasis",
    "LagChoice",
    "Loss",
    "NoiseEstimate",
    "NoiseModel",
    "Penalty",
    "PermutationTest",
    "Regularization",
    "Score",
    "Solver",
    "Suggestion",
    "Trace",
]
