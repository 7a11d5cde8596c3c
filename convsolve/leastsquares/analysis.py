"""What has been computed of a problem, each piece once: what x gives, and what y adds."""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from ..operators.records import Targets
from ..problem.problem import Problem
from ..problem.sizes import DEFAULT_LIMITS, Limits
from .design import Design
from .penalty import Penalty, Ridge
from .regression import Regression
from .system import System


class Systems:
    """The systems of a design: the plain one is kept, others while somebody uses them."""

    def __init__(self, design: Design) -> None:
        self.plain = System(design, Ridge(), 0.0)
        self._penalized: WeakValueDictionary[tuple[Penalty, float], System] = WeakValueDictionary()

    def of(self, penalty: Penalty, strength: float) -> System:
        """That of a penalty of some strength."""
        if not strength:
            return self.plain
        key = penalty, strength
        found = self._penalized.get(key)
        if found is None:
            made = System(self.plain.design, penalty, strength, self.plain)
            if made.basis is not None:
                made.unpenalized = self.unpenalized(penalty)
            found = self._penalized.setdefault(key, made)
        return found

    def unpenalized(self, penalty: Penalty) -> System:
        """That of strength 0 in the coordinates of a penalty."""
        key = penalty, 0.0
        found = self._penalized.get(key)
        if found is None:
            found = self._penalized.setdefault(key, System(self.plain.design, penalty, 0.0))
        return found


class Analysis:
    """A problem's design and its systems, and what its y adds."""

    def __init__(self, design: Design, targets: Targets | None, systems: Systems) -> None:
        self.design, self.targets, self._systems = design, targets, systems

    @classmethod
    def of(cls, problem: Problem, limits: Limits = DEFAULT_LIMITS) -> Analysis:
        """That of a problem, from nothing."""
        design = Design(problem, limits)
        return cls(design, design.targets, Systems(design))

    def with_outputs(self, y: tuple[np.ndarray, ...]) -> Analysis:
        """The same x, and all that it gave, beside records of another y."""
        return Analysis(self.design, self.design.outputs(y), self._systems)

    @property
    def plain(self) -> System:
        """Least squares without a penalty."""
        return self._systems.plain

    def system(self, penalty: Penalty, strength: float) -> System:
        """Least squares under a penalty of some strength."""
        return self._systems.of(penalty, strength)

    def unpenalized(self, penalty: Penalty) -> System:
        """Least squares without a penalty, in the coordinates of one."""
        return self._systems.unpenalized(penalty)

    def regression(self, penalty: Penalty, strength: float) -> Regression:
        """The same with y."""
        assert self.targets is not None
        return Regression(self.system(penalty, strength), self.targets)


_KNOWN: WeakKeyDictionary[Problem, dict[Limits, Analysis]] = WeakKeyDictionary()


def analyse(problem: Problem, limits: Limits = DEFAULT_LIMITS) -> Analysis:
    """The one `Analysis` of a problem under some limits, which all doors share while it lives."""
    by_limits = _KNOWN.setdefault(problem, {})
    found = by_limits.get(limits)
    return by_limits.setdefault(limits, Analysis.of(problem, limits)) if found is None else found
