"""The exact solution with which the methods of a comparison are measured."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .api import solve
from .errors import SolveError
from .leastsquares.analysis import analyse
from .leastsquares.design import Clock
from .leastsquares.penalty import RIDGE
from .model import Part
from .problem.problem import Problem
from .problem.sizes import tuning_of
from .solution import Solution
from .solvers.base import Loss, Objective
from .solvers.yardstick import Yardstick

# Ratios of which the first steps and seconds are reported.
ERROR, HUNDREDTH = 1.0, 0.01
# Labels of the work that every exact solution uses.
SHARED = ("moments", "scaling", "Cholesky")
# Names of the ratios: of squares, of squares without noise, and of other losses.
STATISTICAL, OF_POWER, RELATIVE = "excess / error", "excess / power", "excess / exact"


class DescentCurve(NamedTuple):
    """The course of a descent.

    Attributes:
        steps: (n,), numbers of the steps.
        seconds: (n,), time since the first step, without compilation.
        ratios: (n,), excess loss over the statistical error, or over the exact loss.
        diverged: whether the run diverged after the last step.
    """

    steps: np.ndarray
    seconds: np.ndarray
    ratios: np.ndarray
    diverged: bool

    def first_below(self, ratio: float) -> tuple[int, float] | None:
        """Return step and seconds of the first look with at most a ratio, or None."""
        below = np.flatnonzero(self.ratios <= ratio)
        if not below.size:
            return None
        first = below[0]
        return int(self.steps[first]), float(self.seconds[first])


@dataclass(frozen=True)
class Reference:
    """The exact solution of the arguments that all methods share.

    Attributes:
        seconds: time of the exact solution with its sums over rows; None if there is none.
        loss: the loss that is compared.
        exact_loss: its mean at the exact solution; None if there is none.
        yardsticks: outputs and yardstick of every part of a problem with squares; empty otherwise.
        title: what the excess is divided by, in tables and figures.
    """

    seconds: float | None
    loss: Loss
    exact_loss: float | None = None
    yardsticks: Sequence[tuple[Sequence[int], Yardstick]] = ()
    title: str = RELATIVE

    @classmethod
    def of(
        cls, problem: Problem, arguments: Mapping[str, Any], loss: Loss, limits: Any
    ) -> Reference:
        """Solve a problem exactly by the arguments of `solve` that all methods share."""
        tuning = tuning_of(limits)
        clocks = [analyse(part, tuning).design.clock for _, part in problem.parts]
        # An earlier solution has done a part of the work.
        others = sum(clock.total - _shared(clock) for clock in clocks)
        with warnings.catch_warnings():
            # Methods of the comparison issue the same warnings.
            warnings.simplefilter("ignore", UserWarning)
            try:
                fit = solve(problem, **arguments, limits=limits)
            except SolveError:
                return cls(None, loss)
        seconds = fit.stats["run_seconds"] + sum(clock.total for clock in clocks) - others

        if not loss.squared:
            exact_loss = None
            if fit.status == "solved" and not fit._penalized:
                exact_loss = mean_loss(fit, loss)
            return cls(seconds, loss, exact_loss)

        yardsticks = []
        for part in fit._parts:
            yardstick = _yardstick(part)
            if yardstick is None:
                return cls(seconds, loss)
            yardsticks.append((part.outputs, yardstick))
        noise_known = all(one.statistical_error is not None for _, one in yardsticks)
        title = STATISTICAL if noise_known else OF_POWER
        return cls(seconds, loss, None, yardsticks, title)

    def excess(self, kernel: Any, loss: float) -> float | None:
        """Return the excess loss over the exact solution, or None if it is not known."""
        if not self.loss.squared:
            return None if self.exact_loss is None else loss - self.exact_loss
        if not self.yardsticks:
            return None
        total = 0.0
        for outputs, yardstick in self.yardsticks:
            own = np.asarray(kernel, float)[..., [*outputs]]
            total += _numbers(outputs, yardstick) * yardstick.excess(own)
        return total / sum(_numbers(*pair) for pair in self.yardsticks)

    @property
    def unit(self) -> float | None:
        """What the excess is divided by: the mean of the quantity of the title, or None."""
        if not self.loss.squared:
            return self.exact_loss
        if not self.yardsticks:
            return None
        total = 0.0
        for outputs, yardstick in self.yardsticks:
            numbers = _numbers(outputs, yardstick)
            if self.title == STATISTICAL:
                total += numbers * float(yardstick.statistical_error or 0.0)
            else:
                total += numbers * yardstick.power
        return total / sum(_numbers(*pair) for pair in self.yardsticks)

    def ratio(self, kernel: Any, loss: float) -> float | None:
        """Return the excess loss over the quantity of the title, or None if it is not known."""
        excess = self.excess(kernel, loss)
        unit = self.unit
        if excess is None or not unit:
            return None
        return excess / unit

    def curve(self, fit: Solution) -> DescentCurve | None:
        """Return the course of a descent, or None for another method or without a ratio."""
        trace = fit.trace
        if trace is None or trace.seconds is None:
            return None
        pairs = zip(trace.kernels.values(), trace.losses, strict=True)
        ratios = [self.ratio(kernel, float(loss)) for kernel, loss in pairs]
        if any(ratio is None for ratio in ratios):
            return None
        return DescentCurve(trace.steps, trace.seconds, np.array(ratios, float), trace.diverged)


def _numbers(outputs: Sequence[int], yardstick: Yardstick) -> int:
    """Return the number of residuals of some outputs, over which a mean is taken."""
    return yardstick.regression.matrix.rows * len(outputs)


def _shared(clock: Clock) -> float:
    """Return the seconds of the work that every exact solution uses."""
    return sum(clock.seconds.get(label, 0.0) for label in SHARED)


def _yardstick(part: Part) -> Yardstick | None:
    """Return the yardstick of some outputs: with their penalty, if they have one strength."""
    terms = part.penalties
    objective = Objective()
    if terms and all(term == terms[0] for term in terms) and terms[0][0].quadratic:
        objective = Objective(penalty=terms[0][0], strength=terms[0][1])
    if objective.strength == 0:
        objective = Objective(penalty=RIDGE)
    return Yardstick.of(analyse(part.problem, part.limits), objective)


def mean_loss(fit: Solution, loss: Loss) -> float:
    """Return the mean of a loss over the rows used in the fit, by their weights."""
    problem = fit._training()
    residuals = fit._model.weighted(problem, fit._added(problem))
    total = sum(float(loss.of(r).sum()) for r in residuals)
    return total / sum(r.size for r in residuals)
