"""How a problem is solved: solver, penalty, loss and noise model, validated in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import registry
from .cached import cached_property
from .lazy_jax import is_tracer
from .leastsquares.analysis import Analysis
from .leastsquares.penalty import Penalty, Ridge, numbers, penalty_of
from .noise import NoiseModel
from .problem.lag_bases import LagBasis
from .problem.problem import Problem, Selection
from .problem.sizes import Sizes
from .problem.spec import ConvSpec
from .solvers.auto import AutoSolver
from .solvers.base import CustomLoss, Loss, Objective, Solver, SolverResult, Terms
from .text import is_plain, shown

if TYPE_CHECKING:
    from .inference.folds import CrossValidation

# The class of every argument that is a component. `CrossValidation` is imported when it is used.
CLASSES: dict[str, type] = {
    "solver": Solver, "penalty": Penalty, "loss": Loss, "noise": NoiseModel, "basis": LagBasis,
}  # fmt: skip
# The kinds of components that are a method of `compare` by themselves.
METHODS = ("solver", "penalty", "loss")
# The penalty of a fit without one, and the defaults of all arguments as code.
NONE = Ridge(0.0)
DEFAULTS = {"'auto'", "cs.Ridge(0.0)", "None", "'squared'", "'white'"}


@dataclass(frozen=True)
class Method:
    """The four choices of a fit, and how a strength is selected.

    Attributes:
        solver: the numerical method.
        penalty: the penalty; a ridge of strength zero for none.
        grid: strengths to choose from, ``(n,)`` or ``(n, outputs)`` in nested tuples, or None.
        select: the criterion, or None for the default of the penalty.
        loss: the loss of the residuals.
        noise: the noise model.
    """

    solver: Solver
    penalty: Penalty
    grid: tuple[Any, ...] | None
    select: str | CrossValidation | None
    loss: Loss
    noise: NoiseModel

    @classmethod
    def of(
        cls,
        solver: Any = None,
        *,
        ridge: Any = None,
        penalty: Any = None,
        grid: Any = None,
        select: Any = None,
        loss: Any = "squared",
        noise: Any = "white",
    ) -> Method:
        """Return the method of some arguments of `solve`.

        Raises:
            TypeError: If an argument is of another kind, or arguments contradict each other.
            ValueError: If a name is unknown or a value is out of range.
        """
        given = penalty_of(ridge, penalty)
        made = cls(
            component("solver", "auto" if solver is None else solver),
            NONE if given is None else component("penalty", given),
            None if grid is None else _checked_grid(grid),
            None if select is None else component("criterion", select),
            component("loss", loss),
            component("noise", noise),
        )
        made._check()
        return made

    def _check(self) -> None:
        """Raise a TypeError or ValueError if the choices do not fit each other."""
        for name in ("grid", "select"):
            if getattr(self, name) is not None and not self.selects(name):
                raise TypeError(f"{name}= needs a penalty whose strength is not given")
        if self.select is not None:
            self.penalty.check_select(self.select)
        if self.grid is not None and getattr(self.penalty, "bands", False):
            raise ValueError("the strengths of groups of channels are searched by a gradient")
        penalized = self.regularizes and not self.noise.penalties
        if penalized or not (self.loss.squared or self.noise.losses):
            raise ValueError(f"noise={self.noise.label!r} has no standard errors for {self.name}")

    def selects(self, name: str) -> bool:
        """Return whether there is something to select by the argument "grid" or "select"."""
        return not self.penalty.given and (name == "select" or self.penalty.strength is None)

    @property
    def regularizes(self) -> bool:
        """Whether there is a penalty of positive strength, or of a strength to select."""
        return not self.penalty.zero

    @property
    def least_squares(self) -> bool:
        """Whether the solution minimizes squares and a quadratic penalty, if any."""
        return self.loss.squared and self.penalty.quadratic

    @property
    def criterion(self) -> str | CrossValidation:
        """The selection criterion of a quadratic penalty."""
        default = self.penalty.default_select or "gcv"
        found: str | CrossValidation = self.select or component("criterion", default)
        return found

    @property
    def _auto(self) -> bool:
        return isinstance(self.solver, AutoSolver)

    @property
    def name(self) -> str:
        """Solver, penalty and loss in tables and messages, without those that are defaults."""
        parts = [self.solver.name] * (not self._auto) + [repr(self.penalty)] * (
            self.penalty != NONE
        )
        parts += [repr(self.loss)] * (not self.loss.squared)
        return ", ".join(part.removesuffix("()") for part in parts) or self.solver.name

    @cached_property
    def call(self) -> str:
        """The call of `solve`, as code."""
        words = ["problem"]
        for name in ("solver", "penalty", "grid", "select", "loss", "noise"):
            value = getattr(self, name)
            text = _written(value)
            if text in DEFAULTS:
                continue
            if isinstance(value, Ridge) and value.strength is not None and not value.labels:
                name, text = "ridge", repr(value.strength)
            words.append(text if name == "solver" else f"{name}={text}")
        return f"cs.solve({', '.join(words)})"

    def check(self, problem: Problem) -> None:
        """Raise an error unless the method fits the taps, channels, outputs and rows."""
        if is_tracer(self.penalty.strength):
            raise TypeError("a traced strength belongs in fit_kernel, not in solve")
        self.check_shape(problem.spec, problem._selection)
        self.noise.check(problem)

    def check_shape(self, spec: ConvSpec, selection: Selection) -> None:
        """Raise a ValueError unless penalty and grid fit the taps, channels and outputs."""
        self.penalty.check(spec.kernel_size, selection.n_channels)
        self.penalty.check_outputs(selection.n_outputs)
        shape, outputs = np.shape(self.grid or ()), selection.n_outputs
        if shape[1:] not in ((), (1,), (outputs,)):
            wanted = f"(n,), or (n, {outputs}) for a grid of every output"
            raise ValueError(f"grid has shape {shape}, expected {wanted}")

    def of_part(self, selection: Selection) -> Method:
        """Return the method for the outputs and records of a part."""
        grid, select = self.grid, self.select
        if np.ndim(grid or ()) > 1:
            grid = _checked_grid(selection.of_outputs(np.array(grid)))
        if not isinstance(select, (str, type(None))):
            select = select.of_records(selection.records)
        solver, penalty = self.solver.of_part(selection), self.penalty.of_part(selection)
        return replace(self, solver=solver, penalty=penalty, grid=grid, select=select)

    def terms(self, outputs: int) -> Terms | None:
        """Return penalty and strength of every output; None if something is selected."""
        given = self.penalty.given and not self._sparse
        return self.penalty.terms(outputs) if given else None

    @property
    def _sparse(self) -> bool:
        """Whether the penalty minimizes squares by an exact method of its own."""
        return self.loss.squared and not self.penalty.quadratic

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return None, or the reason why a problem of these sizes cannot be solved."""
        solver, penalty, loss = self.solver, self.penalty, self.loss
        if not (loss.squared or solver.any_loss):
            return f"{solver.name} supports squared loss only; leave out solver="
        if sizes.has_functions and not penalty.in_basis:
            return penalty.not_in_basis
        combined = self._auto and loss.penalties and penalty.any_loss and penalty.given
        if not (loss.squared or penalty.zero or combined):
            given = "" if penalty.given else " of no given strength"
            return f"{penalty.title}{given} cannot be combined with {type(loss).__name__}"
        if self._sparse:
            other = f"{penalty.title} has an exact method of its own; leave out solver="
            return penalty.supports(sizes) if self._auto else other
        # A strength that is selected from the data is positive.
        terms = self.terms(sizes.outputs * sizes.groups) or [(penalty.form, 1.0)]
        objectives = (Objective(loss, *term) for term in _distinct(terms))
        reasons = (solver.supports(sizes, spec, objective) for objective in objectives)
        reason = next(filter(None, reasons), None)
        if penalty.given or reason:
            return reason
        from .solvers.penalized import unsupported

        return unsupported(penalty, self.criterion, sizes)

    def run(self, analysis: Analysis) -> SolverResult:
        """Solve for all outputs of an analysis."""
        if self._sparse:
            found: SolverResult = self.penalty.exact_solver(analysis, self.grid, self.select)
            return found
        terms = self.terms(analysis.design.kernel_shape[-1])
        if terms is not None and self._auto and not self.loss.squared:
            found = self.loss.exact_solver(analysis, terms)
            return replace(found, stats={"solver": type(self.loss).__name__} | found.stats)
        if terms is not None and len(_distinct(terms)) == 1:
            return self.solver.run(analysis, Objective(self.loss, *terms[0]))
        from .solvers.penalized import solve_each

        return solve_each(analysis, self.solver, self.penalty, terms, self.grid, self.criterion)


def _distinct(terms: Terms) -> set[tuple[Penalty, float]]:
    """Return the terms that differ. Thousands of outputs often have the same one."""
    return {terms[0]} if [*terms].count(terms[0]) == len(terms) else set(terms)


def _class(kind: str) -> type:
    """Return the class of the components of a kind."""
    if kind != "criterion":
        return CLASSES[kind]
    from .inference.folds import CrossValidation

    return CrossValidation


def component(kind: str, value: Any) -> Any:
    """Return a component that is given as an object or by name.

    Raises:
        TypeError: If the value is a class, a component of another kind, or something else.
        ValueError: If the name is unknown.
    """
    if isinstance(value, str):
        return registry.component(kind, value)
    if isinstance(value, _class(kind)):
        return value
    given = value if isinstance(value, type) else type(value)
    other = next((name for name, cls in CLASSES.items() if issubclass(given, cls)), None)
    if kind == "loss" and other is None and callable(value) and given is not value:
        return CustomLoss(value)
    if other is not None and kind in CLASSES:
        use = f"{other}={given.__name__}(...)"
        raise TypeError(f"{given.__name__} is a {registry.WORDS[other]}: use {use}")
    names = ", ".join(entry.name for entry in registry.of_kind(kind))
    wanted = f"{_class(kind).__name__} or one of {names}"
    raise TypeError(f"{registry.ARGUMENTS[kind]} must be a {wanted}, got {shown(value)}")


def argument_of(value: Any) -> str:
    """Return the argument of `solve` that a component, or the name of one, belongs to."""
    given = registry.found(value) if isinstance(value, str) else None
    kinds = (kind for kind, cls in CLASSES.items() if isinstance(value, cls))
    kind = next(kinds, "") if given is None else given[0].kind
    if kind not in METHODS:
        hint = registry.suggestion(value if isinstance(value, str) else "", METHODS)
        raise ValueError(f"{shown(value)} is no solver, penalty or loss; {hint}")
    return kind


def _written(value: Any) -> str:
    """Return a value as code; a component by its name, or as a call if it has settings."""
    if isinstance(value, NoiseModel):
        return repr(value.label)
    if isinstance(value, CustomLoss):
        return value.title if value.title.isidentifier() else "..."
    if is_plain(value):
        return repr(value)
    for entry in registry.ENTRIES.values():
        # Tikhonov needs a matrix.
        named = entry.class_name == type(value).__name__ and entry.name != "tikhonov"
        if named and repr(value) == repr(entry.make()):
            return repr(entry.name)
    ours = type(value).__module__.startswith(f"{__package__}.")
    return f"cs.{value!r}" if ours else repr(value)


def _checked_grid(grid: Any) -> tuple[Any, ...]:
    """Return strengths as nested tuples, (n,) or (n, outputs)."""
    found = numbers(grid, "grid", 2)
    if not isinstance(found, tuple) or len(set(map(np.shape, found))) > 1:
        raise TypeError(f"grid must be strengths, (n,) or (n, outputs), got {shown(grid)}")
    return found
