"""How a problem is solved: solver, penalty, loss and noise model, validated in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from . import components
from .inference.folds import CrossValidation
from .lazy import is_tracer
from .leastsquares.analysis import Analysis
from .leastsquares.penalty import Penalty, Ridge, numbers, penalty_of
from .noise import ARNoise, NoiseModel
from .notation import nearest
from .problem.checks import flag
from .problem.problem import Problem, Selection
from .problem.sizes import Sizes
from .problem.spec import ConvSpec
from .solvers.base import CustomLoss, Loss, Objective, Solver, SolverResult, Terms
from .solvers.direct import AutoSolver
from .solvers.gradient_descent import GradientDescent
from .text import shown

# The penalty of a fit without one.
NONE = Ridge(0.0)
# The arguments of `solve` that are a method: the class of a component, and the default.
ARGUMENTS: dict[str, tuple[type, Any]] = {
    "solver": (Solver, "auto"),
    "penalty": (Penalty, NONE),
    "grid": (type(None), None),
    "select": (CrossValidation, None),
    "one_strength": (bool, False),
    "loss": (Loss, "squared"),
    "noise": (NoiseModel, "white"),
}
# Those that are for penalties whose strength is selected.
SELECTION = ("grid", "select", "one_strength")
# The kinds of components that are a method of `compare` by themselves.
METHODS = ("solver", "penalty", "loss")


@dataclass(frozen=True)
class Method:
    """The four choices of a fit, and how a strength is selected.

    Attributes:
        solver: the numerical method.
        penalty: the penalty; a ridge of strength zero for none.
        grid: strengths to choose from, ``(n,)`` or ``(n, outputs)`` in nested tuples, or None.
        select: the criterion, or None for the default of the penalty.
        one_strength: whether all outputs have one strength.
        loss: the loss of the residuals.
        noise: the noise model.
    """

    solver: Solver
    penalty: Penalty
    grid: tuple[Any, ...] | None
    select: str | CrossValidation | None
    one_strength: bool
    loss: Loss
    noise: NoiseModel

    @classmethod
    def of(cls, solver: Any = None, *, ridge: Any = None, **given: Any) -> Method:
        """Return the method of some arguments of `solve`; None is the default of an argument.

        Raises:
            TypeError: If an argument is of another kind, or arguments contradict each other.
            ValueError: If a name is unknown or a value is out of range.
        """
        given |= {"solver": solver, "penalty": penalty_of(ridge, given.get("penalty"))}
        return cls(**given | {name: component(name, given.get(name)) for name in ARGUMENTS})

    def __post_init__(self) -> None:
        """Raise a TypeError or ValueError if the choices do not fit each other."""
        for name in SELECTION:
            if getattr(self, name) not in (None, False) and not self.selects(name):
                raise TypeError(f"{name}= needs a penalty with one strength that is not given")
        if self.select is not None:
            self.penalty.check_select(self.select)
        if self.grid is not None:
            self.penalty.check_grid(self.grid)
        penalized = not (self.penalty.zero or self.noise.penalties)
        if penalized or not (self.loss.squared or self.noise.independent):
            raise ValueError(f"noise={self.noise.label!r} has no standard errors for {self.name}")

    def selects(self, name: str) -> bool:
        """Return whether there is something to select by an argument of `SELECTION`."""
        if name != "grid":
            return not self.penalty.given
        # The strengths of groups of channels are searched by a gradient.
        return self.penalty.strength is None and not getattr(self.penalty, "bands", False)

    @property
    def least_squares(self) -> bool:
        """Whether the solution minimizes squares and a quadratic penalty, if any."""
        return self.loss.squared and self.penalty.quadratic

    @property
    def name(self) -> str:
        """Solver, penalty and loss in tables and messages, without those that are defaults."""
        parts = [] if isinstance(self.solver, AutoSolver) else [self.solver.name]
        parts += [repr(self.penalty)] * (self.penalty != NONE)
        parts += [repr(self.loss)] * (not self.loss.squared)
        return ", ".join(part.removesuffix("()") for part in parts) or self.solver.name

    @property
    def call(self) -> str:
        """The call of `solve`, as code."""
        words = ["problem"]
        for name, (_, default) in ARGUMENTS.items():
            value, usual = getattr(self, name), component(name, default)
            text = "" if value is usual else _written(name, value)
            if text and text != _written(name, usual):
                words += [text if name == "solver" else f"{name}={text}"]
        return f"cs.solve({', '.join(words)})"

    def check(self, problem: Problem) -> None:
        """Raise an error unless the method fits the taps, channels, outputs and rows."""
        if is_tracer(self.penalty.strength):
            raise TypeError("a traced strength belongs in fit_kernel, not in solve")
        self.check_shape(problem.spec, problem._selection)
        self.noise.check(problem)
        apart = len(problem.parts) * problem.spec.groups > 1 or isinstance(self.noise, ARNoise)
        if self.one_strength and apart and problem.n_outputs > 1:
            words = "one_strength=True is not for groups, noise='ar' or rows that differ by output"
            raise ValueError(f"{words}; mask= excludes a row from all outputs")

    def check_shape(self, spec: ConvSpec, selection: Selection) -> None:
        """Raise a ValueError unless penalty and grid fit the taps, channels and outputs."""
        self.penalty.check(spec.kernel_size, selection.n_channels)
        self.penalty.check_outputs(selection.n_outputs)
        shape, outputs = np.shape(self.grid or ()), selection.n_outputs
        if shape[1:] not in ((), (1,), (outputs,)):
            wanted = f"(n,), or (n, {outputs}) for a grid of every output"
            raise ValueError(f"grid has shape {shape}, expected {wanted}")

    def of_part(self, selection: Selection) -> Method:
        """Return the method for the outputs of a part."""
        grid = self.grid
        if np.ndim(grid or ()) > 1:
            grid = component("grid", selection.of_outputs(np.array(grid)))
        return replace(self, penalty=self.penalty.of_part(selection), grid=grid)

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return None, or the reason why a problem of these sizes cannot be solved."""
        solver, penalty, loss = self.solver, self.penalty, self.loss
        auto, sparse = isinstance(solver, AutoSolver), loss.squared and not penalty.quadratic
        if not auto and (sparse or not (loss.squared or solver.any_loss)):
            what = penalty.title if sparse else f"the {loss.name} loss"
            return f"{solver.name} does not support {what}; leave out solver="
        if sizes.has_functions and not penalty.in_basis:
            return penalty.not_in_basis
        combined = auto and loss.penalties and penalty.any_loss and penalty.given
        if isinstance(solver, GradientDescent) and penalty.quadratic and penalty.given:
            if penalty.by_output and not loss.squared:
                return f"{solver.name} takes one strength for all outputs with {loss.name} loss"
            combined = True
        if not (loss.squared or penalty.zero or combined):
            given = "" if penalty.given else " of no given strength"
            return f"{penalty.title}{given} cannot be combined with {type(loss).__name__}"
        if sparse:
            return penalty.supports(sizes)
        long, select = False, self.select or penalty.default_select
        if not penalty.given:
            from .inference.long_kernels import without_gram

            if (long := without_gram(penalty, select, sizes, spec)) and auto:
                return None
        # A strength that is selected from the data is positive.
        outputs = sizes.outputs * sizes.groups
        terms = penalty.terms(outputs) if penalty.given else [(penalty.form, 1.0)]
        objectives = (Objective(loss, *term) for term in _distinct(terms))
        reasons = (solver.supports(sizes, spec, objective) for objective in objectives)
        reason = next(filter(None, reasons), None)
        if penalty.given or reason or long:
            return reason
        from .solvers.penalized import unsupported

        return unsupported(penalty, select, sizes)

    def run(self, analysis: Analysis) -> SolverResult:
        """Solve for all outputs of an analysis."""
        if self.loss.squared and not self.least_squares:
            found: SolverResult = self.penalty.exact_solver(
                analysis, self.grid, self.select, self.one_strength
            )
            return found
        outputs, given = analysis.design.kernel_shape[-1], self.penalty.given
        terms = self.penalty.terms(outputs) if given else None
        if terms is not None and isinstance(self.solver, AutoSolver) and not self.loss.squared:
            found = self.loss.exact_solver(analysis, terms)
            return replace(found, stats={"solver": type(self.loss).__name__} | found.stats)
        if terms is not None and len(_distinct(terms)) == 1:
            found = self.solver.run(analysis, Objective(self.loss, *terms[0]))
            return replace(found, penalties=found.penalties or terms)
        select = self.select or self.penalty.default_select
        from .solvers.penalized import solve_each

        one = self.one_strength
        return solve_each(analysis, self.solver, self.penalty, terms, self.grid, select, one)


def _distinct(terms: Terms) -> set[tuple[Penalty, float]]:
    """Return the terms that differ. Thousands of outputs often have the same one."""
    return {terms[0]} if [*terms].count(terms[0]) == len(terms) else set(terms)


def component(name: str, value: Any) -> Any:
    """Return the value of an argument of `solve`, given as an object, by name or as None.

    Raises:
        TypeError: If the value is a class, a component of another kind, or something else.
        ValueError: If the name is unknown.
    """
    cls, default = ARGUMENTS[name]
    value = default if value is None else value
    if value is None:
        return None
    if name == "grid":
        found = numbers(value, name, 2)
        if not isinstance(found, tuple) or len(set(map(np.shape, found))) > 1:
            raise TypeError(f"grid must be strengths, (n,) or (n, outputs), got {shown(value)}")
        return found
    if isinstance(value, str):
        return _default(name) if value == default else components.parse(name, value)
    if isinstance(value, cls):
        return value
    if name == "one_strength":
        return flag(value, name)
    if name == "loss" and callable(value) and not isinstance(value, type):
        return CustomLoss(value)
    if name == "solver" and hasattr(value, "init") and hasattr(value, "update"):
        return GradientDescent(value)  # an optimizer of optax
    names = ", ".join(components.CLASSES[name])
    hint = next((f"; use {k}=" for k, (own, _) in ARGUMENTS.items() if isinstance(value, own)), "")
    raise TypeError(f"{name} must be a {cls.__name__} or one of {names}, got {shown(value)}{hint}")


@cache
def _default(name: str) -> Any:
    """Return the default of an argument of `solve`, made once."""
    return components.parse(name, ARGUMENTS[name][1])


def argument_of(name: str) -> str:
    """Return the argument of `solve` that the name of a component belongs to."""
    kind = components.kind_of(name, METHODS)
    if kind is None:
        known = [one for kind in METHODS for one in components.CLASSES[kind]]
        raise ValueError(f"{name!r} is no solver, penalty or loss; {nearest(name, known)}")
    return kind


def _written(kind: str, value: Any) -> str:
    """Return a value as code; a component by its name, or as a call if it has settings."""
    if isinstance(value, NoiseModel):
        return repr(value.label)
    if isinstance(value, CustomLoss):
        return repr(value) if repr(value).isidentifier() else "..."
    text = repr(value)
    if (name := components.name_of(kind, value)) is not None:
        return repr(name)
    return f"cs.{text}" if type(value).__module__.startswith(f"{__package__}.") else text
