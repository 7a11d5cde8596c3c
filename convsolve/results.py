"""Classes of the objects that functions of convsolve return, for annotations and for reference.

You receive these objects and never construct them.

>>> import convsolve as cs
>>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
>>> isinstance(fit.score(), cs.results.Score)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import Comparison
    from .held_out import CrossValidationScores
    from .identifiability.descent_forecast import DescentForecast
    from .identifiability.suggestions import Suggestion
    from .inference.permutation import PermutationTest
    from .inference.regularization import Regularization
    from .inference.resampling import Jackknife
    from .inference.uncertainty import FTest, NoiseEstimate
    from .lag_choice import LagChoice
    from .scoring import Score
    from .solvers.base import Trace
    from .subjects import GroupSolution

_HOMES = {
    "Comparison": "comparison",
    "CrossValidationScores": "held_out",
    "DescentForecast": "identifiability.descent_forecast",
    "FTest": "inference.uncertainty",
    "GroupSolution": "subjects",
    "Jackknife": "inference.resampling",
    "LagChoice": "lag_choice",
    "NoiseEstimate": "inference.uncertainty",
    "PermutationTest": "inference.permutation",
    "Regularization": "inference.regularization",
    "Score": "scoring",
    "Suggestion": "identifiability.suggestions",
    "Trace": "solvers.base",
}

__all__ = [
    "Comparison",
    "CrossValidationScores",
    "DescentForecast",
    "FTest",
    "GroupSolution",
    "Jackknife",
    "LagChoice",
    "NoiseEstimate",
    "PermutationTest",
    "Regularization",
    "Score",
    "Suggestion",
    "Trace",
]


def __getattr__(name: str) -> Any:
    # Classes are imported when first used, so that an annotation costs no import (PEP 562).
    if name not in _HOMES:
        from .near_misses import unknown_attribute

        raise AttributeError(unknown_attribute(__name__, name, __all__))
    value = getattr(import_module(f".{_HOMES[name]}", __package__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
