"""Everything that is computed for a problem, once: from x, and from y."""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakValueDictionary

from ..problem.problem import Problem
from ..problem.sizes import DEFAULT_TUNING, Tuning
from .design import Design
from .penalty import NoPenalty, Penalty
from .regression import Regression
from .system import System


class Analysis:
    """The design, the systems and the targets of a problem.

    The system without a penalty is kept, others while they are used.
    """

    def __init__(self, problem: Problem, limits: Tuning = DEFAULT_TUNING) -> None:
        self.design = Design(problem, limits)
        #: The y given with x, or None.
        self.targets = self.design.targets
        #: The regression without a penalty.
        self.plain = System(self.design, NoPenalty(), 0.0)
        self._systems: WeakValueDictionary[tuple[Penalty, float], System] = WeakValueDictionary()

    def system(self, penalty: Penalty, strength: float) -> System:
        """Return the regression with a penalty of this strength."""
        return self._kept(penalty, strength) if strength else self.plain

    def unpenalized(self, penalty: Penalty) -> System:
        """Return the regression of strength 0 in the coordinates of a penalty."""
        return self._kept(penalty, 0.0)

    def _kept(self, penalty: Penalty, strength: float) -> System:
        if (found := self._systems.get((penalty, strength))) is None:
            self._systems[penalty, strength] = found = System(self.design, penalty, strength)
            if strength:
                plain = found.basis.orthonormal
                found.unpenalized = self.plain if plain else self.unpenalized(penalty)
        return found

    def regression(self, penalty: Penalty, strength: float) -> Regression:
        """Return the regression of y with a penalty of this strength."""
        assert self.targets is not None
        return Regression(self.system(penalty, strength), self.targets)


_KNOWN: WeakKeyDictionary[Problem, dict[Tuning, Analysis]] = WeakKeyDictionary()


def analyse(problem: Problem, limits: Tuning = DEFAULT_TUNING) -> Analysis:
    """Return the `Analysis` of a problem and limits. All functions share it while it is in use."""
    by_limits = _KNOWN.setdefault(problem, {})
    found = by_limits.get(limits)
    return by_limits.setdefault(limits, Analysis(problem, limits)) if found is None else found


def forget(problem: Problem) -> None:
    """Discard the analyses of a problem, which hold its records in memory."""
    _KNOWN.pop(problem, None)
