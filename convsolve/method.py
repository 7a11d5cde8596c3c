"""How a problem is solved: solver, penalty, loss and noise model, validated in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import registry
from .cached import cached_property
from .lazy_jax import is_tracer
from .leastsquares.analysis import Analysis
from .leastsquares.penalty import Penalty, Ridge, penalty_of
from .noise import NoiseModel
from .problem.checks import number
from .problem.lag_bases import LagBasis
from .problem.problem import Problem, Selection
from .problem.sizes import Sizes
from .problem.spec import ConvSpec
from .solvers.auto import AutoSolver
from .solvers.base import CustomLoss, Loss, Objective, Solver, SolverResult, Terms, penalized
from .text import is_plain, shown

if TYPE_CHECKING:
    from .inference.folds import CrossValidation

# The classes of components, and what an error calls them.
CLASSES: dict[str, tuple[type, str]] = {
    "solver": (Solver, "solver"),
    "penalty": (Penalty, "penalty"),
    "loss": (Loss, "loss"),
    "noise": (NoiseModel, "noise model"),
    "basis": (LagBasis, "basis"),
}
# The kinds of components that are a method of `compare` by themselves.
METHODS = ("solver", "penalty", "loss")


@dataclass(frozen=True)
class Method:
    """The four choices of a fit, and how a strength is selected.

    Attributes:
        solver: the numerical method.
        penalty: the penalty, or None.
        grid: strengths to choose from, ``(n,)`` or ``(n, outputs)`` in nested tuples, or None.
        select: the criterion, or None for the default of the penalty.
        loss: the loss of the residuals.
        noise: the noise model.
    """

    solver: Solver
    penalty: Penalty | None
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
            None if given is None else component("penalty", given),
            None if grid is None else _checked_grid(grid),
            None if select is None else _criterion(select),
            CustomLoss(loss) if _is_function(loss) else component("loss", loss),
            component("noise", noise),
        )
        made._check_choice()
        made._check_components()
        return made

    def _check_choice(self) -> None:
        """Raise a TypeError or ValueError if ``grid`` or ``select`` has nothing to select."""
        for name, value in (("grid", self.grid), ("select", self.select)):
            if value is None:
                continue
            if self.penalty is None:
                raise TypeError(f"{name}= needs a penalty whose strength it selects")
            if not self.selects(name):
                raise TypeError(
                    f"{name}= selects the strength of a penalty, but the strength is given"
                )
        if self.penalty is None:
            return
        if self.select is not None:
            self.penalty.check_select(self.select)
        if self.grid is not None and getattr(self.penalty, "bands", False):
            raise ValueError("the strengths of groups of channels are searched by a gradient")

    def _check_components(self) -> None:
        """Raise an error if solver, penalty, loss and noise do not fit each other."""
        if self.regularizes and not self.noise.penalties:
            raise ValueError(
                f"noise={self.noise.label!r} is for estimates without a penalty, whose "
                "errors are no posterior"
            )
        if not self.loss.squared and not self.noise.losses:
            raise ValueError(
                f"noise={self.noise.label!r} is for least squares; other losses have no "
                "errors but those of white noise, if any"
            )

    def selects(self, name: str) -> bool:
        """Return whether there is something to select by the argument "grid" or "select"."""
        if self.penalty is None or self.penalty.given:
            return False
        return name == "select" or self.penalty.strength is None

    @property
    def regularizes(self) -> bool:
        """Whether there is a penalty of positive strength, or of a strength to select."""
        return self.penalty is not None and not self.penalty.zero

    @property
    def least_squares(self) -> bool:
        """Whether the solution minimizes squares and a quadratic penalty, if any."""
        return self.loss.squared and (self.penalty is None or self.penalty.quadratic)

    @property
    def criterion(self) -> str | CrossValidation | None:
        """The selection criterion."""
        if self.select is not None or self.penalty is None:
            return self.select
        return self.penalty.default_select

    @property
    def name(self) -> str:
        """Solver, penalty and loss in tables and messages, without those that are defaults."""
        parts = [] if self._auto else [self.solver.name]
        parts += [repr(self.penalty)] if self.penalty is not None else []
        parts += [] if self.loss.squared else [repr(self.loss)]
        return ", ".join(part.removesuffix("()") for part in parts) or self.solver.name

    @property
    def settings(self) -> dict[str, Any]:
        """The choices as numbers and words, as recorded in a `Solution`."""
        return {
            "call": self.call,
            "settings": self.solver.settings,
            "loss": self.loss.settings,
            "noise": self.noise.label,
        }

    @cached_property
    def call(self) -> str:
        """The call of `solve`, as code."""
        words = ["problem"]
        if not isinstance(self.solver, AutoSolver):
            words.append(_written(self.solver))
        if isinstance(self.penalty, Ridge) and self.penalty.channel_groups is None:
            strength = self.penalty.strength
            words.append("penalty='ridge'" if strength is None else f"ridge={strength!r}")
        elif self.penalty is not None:
            words.append(f"penalty={_written(self.penalty)}")
        for name, value in (("grid", self.grid), ("select", self.select)):
            if value is not None:
                words.append(f"{name}={_written(value)}")
        if isinstance(self.loss, CustomLoss):
            title = self.loss.title
            words.append(f"loss={title if title.isidentifier() else '...'}")
        elif not self.loss.squared:
            words.append(f"loss={_written(self.loss)}")
        if self.noise.label != "white":
            words.append(f"noise={self.noise.label!r}")
        return f"cs.solve({', '.join(words)})"

    def check(self, problem: Problem) -> None:
        """Raise an error unless the method fits the taps, channels, outputs and rows."""
        if self.penalty is not None and is_tracer(self.penalty.strength):
            raise TypeError("a traced strength belongs in fit_kernel, not in solve")
        selection = problem._selection
        self.check_shape(problem.spec, selection)
        self.noise.check(problem)
        for _, part in problem.parts:
            left = self.noise.records_left(part)
            if left is not None and len(left) < len(part._kept.used):
                # Raises an error if the noise takes all records of a fold.
                self.of_part(part._selection._replace(records=left))

    def check_shape(self, spec: ConvSpec, selection: Selection) -> None:
        """Raise a ValueError unless penalty and grid fit the taps, channels and outputs."""
        if self.penalty is not None:
            self.penalty.check(spec.kernel_size, selection.n_channels)
            self.penalty.check_outputs(selection.n_outputs)
        shape = () if self.grid is None else np.shape(self.grid)
        if shape[1:] not in ((), (1,), (selection.n_outputs,)):
            raise ValueError(
                f"grid has shape {shape}, expected (n,), or (n, "
                f"{selection.n_outputs}) for a grid of every output"
            )

    def of_part(self, selection: Selection) -> Method:
        """Return the method for the outputs and records of a part."""
        grid, select = self.grid, self.select
        if grid is not None and np.ndim(grid) > 1:
            grid = _nested(selection.of_outputs(np.array(grid)))
        if not isinstance(select, (str, type(None))):
            select = select.of_records(selection.records)
        return replace(
            self,
            solver=self.solver.of_part(selection),
            penalty=None if self.penalty is None else self.penalty.of_part(selection),
            grid=grid,
            select=select,
        )

    def terms(self, outputs: int) -> list[tuple[Penalty, float]] | None:
        """Return penalty and strength of every output; None if something is selected."""
        penalty = self.penalty
        if penalty is None:
            return [Objective()[1:]] * outputs
        known = penalty.given and (penalty.quadratic or not self.loss.squared)
        return penalty.terms(outputs) if known else None

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return None, or the reason why a problem of these sizes cannot be solved."""
        solver, penalty = self.solver, self.penalty
        if not self.loss.squared and not solver.any_loss:
            return f"{solver.name} supports squared loss only; leave out solver="
        if penalty is not None and sizes.has_functions and not penalty.in_basis:
            return penalty.not_in_basis
        if self.regularizes and not self.loss.squared and (unfit := self._no_penalty()):
            return unfit
        if penalty is not None and not penalty.quadratic and self.loss.squared:
            if self._auto:
                return penalty.supports(sizes)
            way = "leave out solver="
            return f"{penalty.title} has an exact method of its own; {way}"
        terms = self.terms(sizes.outputs * sizes.groups)
        if terms is None:
            assert penalty is not None
            from .solvers.penalized import unsupported

            # A strength that is selected from the data is positive.
            objective = Objective(self.loss, penalty.form, 1.0)
            reason = solver.supports(sizes, spec, objective)
            return reason or unsupported(penalty, self._selection(), sizes)
        reasons = (solver.supports(sizes, spec, Objective(self.loss, *t)) for t in _distinct(terms))
        return next(filter(None, reasons), None)

    def _no_penalty(self) -> str:
        """Return why the penalty cannot be combined with a loss other than squares, or ""."""
        penalty, loss = self.penalty, type(self.loss).__name__
        assert penalty is not None
        if not (self._auto and self.loss.penalties and penalty.any_loss):
            return f"{penalty.title} cannot be combined with {loss}; use the squared loss"
        if not penalty.given:
            return f"strengths are selected for the squared loss only; give one for {loss}"
        return ""

    @property
    def _auto(self) -> bool:
        return isinstance(self.solver, AutoSolver)

    def _selection(self) -> str | CrossValidation:
        return _criterion(self.criterion or "gcv")

    def run(self, analysis: Analysis) -> SolverResult:
        """Solve for all outputs of an analysis."""
        assert analysis.targets is not None
        penalty, outputs = self.penalty, analysis.design.kernel_shape[-1]
        if penalty is not None and not penalty.quadratic and self.loss.squared:
            found: SolverResult = penalty.exact_solver(analysis, self.grid, self.select)
            return found
        terms = self.terms(outputs)
        if not self.loss.squared and self._auto:
            assert terms is not None
            return self._exact(analysis, terms)
        if terms is not None and len(_distinct(terms)) == 1:
            return self.solver.run(analysis, Objective(self.loss, *terms[0]))
        assert penalty is not None
        from .solvers.penalized import Choice, choose, solve_each

        if terms is None or (self._auto and self._share_factor(terms, analysis.design.sizes)):
            choice = choose(analysis, penalty, self.grid, self._selection())
        else:
            choice = Choice(None, terms)
        return solve_each(analysis, choice, self.solver)

    def _exact(self, analysis: Analysis, terms: Terms) -> SolverResult:
        """Return the result of the exact method of a loss other than squares."""
        found = self.loss.exact_solver(analysis, terms)
        stats: dict[str, Any] = {"solver": type(self.loss).__name__}
        if penalized(terms):
            from .inference.regularization import as_given

            unknown = np.full(len(terms), np.nan)
            words = as_given(terms, unknown, unknown)
            stats["penalty"] = {"kind": words.penalty, "strength": words.strength.tolist()}
            if not terms[0][0].quadratic:
                return replace(found, regularization=words, stats=stats | found.stats)
        penalty, strength = min(terms, key=lambda pair: pair[1])
        return replace(
            found,
            penalty=penalty,
            strength=strength,
            penalties=[*terms],
            stats=stats | found.stats,
        )

    def _share_factor(self, terms: list[tuple[Penalty, float]], sizes: Sizes) -> bool:
        """Return whether one decomposition serves the given strengths of all outputs."""
        from .solvers.penalized import unsupported

        # A banded ridge with given strengths has another form than in a search.
        form = None if self.penalty is None else self.penalty.form
        same = all(other == form and strength for other, strength in terms)
        enough = sizes.rows - sizes.nuisance >= 2
        return same and enough and not unsupported(terms[0][0], "gcv", sizes)


def _distinct(terms: Terms) -> set[tuple[Penalty, float]]:
    """Return the terms that differ. Thousands of outputs often have the same one."""
    first = terms[0]
    return {first} if terms.count(first) == len(terms) else set(terms)


def component(kind: str, value: Any) -> Any:
    """Return a component that is given as an object or by name.

    Raises:
        TypeError: If the value is a class, a component of another kind, or something else.
        ValueError: If the name is unknown.
    """
    cls, word = CLASSES[kind]
    if isinstance(value, cls):
        return value
    if isinstance(value, str):
        entry, arguments = registry.named(kind, value)
        return entry.make(**arguments)
    given = value if isinstance(value, type) else type(value)
    for other, (another, its_word) in CLASSES.items():
        if not issubclass(given, another):
            continue
        name = given.__name__
        if other == kind:
            raise TypeError(f"{kind} must be an object; did you mean {name}()?")
        raise TypeError(f"{name} is a {its_word}, not a {word}: use {other}={name}(...)")
    names = ", ".join(entry.name for entry in registry.of_kind(kind))
    raise TypeError(f"{kind} must be a {word} or one of {names}, got {shown(value)}")


def argument_of(value: Any) -> str:
    """Return the argument of `solve` that a component, or the name of one, belongs to."""
    if isinstance(value, str):
        given = registry.found(value)
        if given is None:
            hint = registry.suggestion(value, METHODS)
            raise ValueError(f"{value!r} is no solver, penalty or loss; {hint}")
        kind: str | None = given[0].kind
    else:
        kind = next((kind for kind, (cls, _) in CLASSES.items() if isinstance(value, cls)), None)
    if kind not in METHODS:
        raise TypeError(
            f"a method must be a solver, a penalty, a loss or a dict, got {shown(value)}"
        )
    return kind


def _criterion(select: Any) -> str | CrossValidation:
    """Return a criterion that is given by name, or a `CrossValidation`."""
    from .inference.folds import CrossValidation

    if isinstance(select, CrossValidation):
        return select
    if not isinstance(select, str):
        names = ", ".join(entry.name for entry in registry.of_kind("criterion"))
        raise TypeError(f"select must be one of {names}, or a CrossValidation, got {shown(select)}")
    name = registry.named("criterion", select)[0].name
    return CrossValidation() if name == "cv" else name


def _written(value: Any) -> str:
    """Return a value as code; a component by its name, or as a call if it has settings."""
    if is_plain(value):
        return repr(value)
    text = repr(value)
    for entry in registry.ENTRIES.values():
        if entry.class_name == type(value).__name__ and text == _by_default(entry):
            return repr(entry.name)
    ours = type(value).__module__.startswith(f"{__package__}.")
    return f"cs.{text}" if ours else text


def _by_default(entry: registry.Entry) -> str:
    """Return the text of the component that a name alone makes; empty if it needs arguments."""
    try:
        made = entry.make()
    except TypeError:  # A Tikhonov penalty needs a matrix.
        return ""
    return repr(made)


def _is_function(loss: Any) -> bool:
    return callable(loss) and not isinstance(loss, (type, Loss, Solver, Penalty))


def _checked_grid(grid: Any) -> tuple[Any, ...]:
    """Return strengths as nested tuples, (n,) or (n, outputs)."""
    try:
        found = np.asarray(grid)
    except ValueError as error:
        raise TypeError(f"grid must be an array of strengths, got {shown(grid)}") from error
    if found.dtype.kind not in "iuf" or found.ndim not in (1, 2) or not found.size:
        raise TypeError(f"grid must be strengths, (n,) or (n, outputs), got {shown(grid)}")
    for one in found.ravel().tolist():
        number(one, "grid")
    return _nested(found)


def _nested(array: np.ndarray) -> tuple[Any, ...]:
    return tuple(map(tuple, array.tolist())) if array.ndim > 1 else tuple(array.tolist())
