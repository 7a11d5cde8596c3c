"""Everything that is computed for a problem, once: from x, and from y."""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from ..cached import cached_property
from ..operators.design_matrix import Targets
from ..problem.problem import Problem
from ..problem.sizes import DEFAULT_LIMITS, Limits
from .design import Design
from .penalty import Penalty, Ridge
from .regression import Regression
from .system import System


class Systems:
    """The systems of a design. The one without a penalty is kept, others while they are used."""

    def __init__(self, design: Design) -> None:
        self.plain = System(design, Ridge(), 0.0)
        self._penalized: WeakValueDictionary[tuple[Penalty, float], System] = WeakValueDictionary()

    def of(self, penalty: Penalty, strength: float) -> System:
        """Return the system of a penalty with this strength."""
        if not strength:
            return self.plain
        key = penalty, strength
        found = self._penalized.get(key)
        if found is None:
            made = System(self.plain.design, penalty, strength, self.plain)
            if not made.basis.identity:
                made.unpenalized = self.unpenalized(penalty)
            found = self._penalized.setdefault(key, made)
        return found

    def unpenalized(self, penalty: Penalty) -> System:
        """Return the system of strength 0 in the coordinates of a penalty."""
        key = penalty, 0.0
        found = self._penalized.get(key)
        if found is None:
            found = self._penalized.setdefault(key, System(self.plain.design, penalty, 0.0))
        return found


class Analysis:
    """The design, the systems and the targets of a problem."""

    def __init__(self, design: Design, targets: Targets | None, systems: Systems) -> None:
        self.design, self.targets, self._systems = design, targets, systems

    @classmethod
    def of(cls, problem: Problem, limits: Limits = DEFAULT_LIMITS) -> Analysis:
        """Return a new analysis of a problem."""
        design = Design(problem, limits)
        return cls(design, design.targets, Systems(design))

    def with_outputs(self, y: tuple[np.ndarray, ...]) -> Analysis:
        """Return an analysis with the same x and other outputs y, which reuses all results of x."""
        return Analysis(self.design, self.design.outputs(y), self._systems)

    @cached_property
    def in_time(self) -> Analysis:
        """The analysis with its rows in the order of records and time."""
        design = self.design.in_time
        if design is self.design:
            return self
        targets = self.targets
        if targets is not None:
            given = design.targets if targets is self.design.targets else None
            targets = given or design.outputs(tuple(targets.records))
        return Analysis(design, targets, Systems(design))

    @property
    def plain(self) -> System:
        """The regression without a penalty."""
        return self._systems.plain

    def system(self, penalty: Penalty, strength: float) -> System:
        """Return the regression with a penalty of this strength."""
        return self._systems.of(penalty, strength)

    def unpenalized(self, penalty: Penalty) -> System:
        """Return the regression of strength 0 in the coordinates of a penalty."""
        return self._systems.unpenalized(penalty)

    def regression(self, penalty: Penalty, strength: float) -> Regression:
        """Return the regression of y with a penalty of this strength."""
        assert self.targets is not None
        return Regression(self.system(penalty, strength), self.targets)


_KNOWN: WeakKeyDictionary[Problem, dict[Limits, Analysis]] = WeakKeyDictionary()


def analyse(problem: Problem, limits: Limits = DEFAULT_LIMITS) -> Analysis:
    """Return the `Analysis` of a problem and limits. All functions share it while it is in use."""
    by_limits = _KNOWN.setdefault(problem, {})
    found = by_limits.get(limits)
    return by_limits.setdefault(limits, Analysis.of(problem, limits)) if found is None else found


def forget(problem: Problem) -> None:
    """Discard the analyses of a problem, which hold its records in memory."""
    _KNOWN.pop(problem, None)
