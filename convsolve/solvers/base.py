"""The interface of solvers, their results, and the checks of a ridge and a penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from ..lazy_jax import is_jax_array, is_tracer, when_imported
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import Certificate
from ..leastsquares.penalty import RIDGE, Penalty
from ..leastsquares.regression import Regression
from ..near_misses import checks_arguments
from ..problem.checks import number
from ..problem.selection import Selection
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import shown

if TYPE_CHECKING:
    from ..inference.regularization import Regularization

# For a setting with more values, only their number is recorded.
MOST_RECORDED = 32

Progress = Callable[[int, int, float], None]
_S = TypeVar("_S", bound="Solver")


@dataclass(frozen=True)
class Trace:
    """The course of an iteration: the loss at some steps, and the kernel at some of these.

    The text has one line per stored kernel: step, kernel, loss.

    Attributes:
        steps: (n,), numbers of the steps.
        losses: (n,), loss at ``steps``.
        kernels: maps a step to the kernel at this step.
    """

    steps: np.ndarray
    losses: np.ndarray
    kernels: dict[int, np.ndarray]

    def __repr__(self) -> str:
        losses = dict(zip(self.steps.tolist(), self.losses.tolist(), strict=True))
        return "\n".join(
            f"{step:4d} {np.array2string(np.squeeze(kernel))}   loss {losses[step]:.8g}"
            for step, kernel in self.kernels.items()
        )


class Objective(NamedTuple):
    """A loss: its name "mse", "mae" or "huber", and Huber's threshold in units of y."""

    loss: str
    threshold: float = 0.0

    @property
    def words(self) -> str:
        """Description of the mean of the loss over residuals."""
        if self.loss == "huber":
            return f"mean of Huber's loss, linear for residuals above {self.threshold:g}"
        return f"mean {'squared' if self.loss == 'mse' else 'absolute'} residual"

    def of(self, residuals: Any, xp: Any = np) -> Any:
        """Return the loss of every residual, by NumPy or by the module ``xp`` of jax."""
        if self.loss == "huber":
            from ..inference.robust import huber_loss

            return huber_loss(residuals, self.threshold, xp)
        return residuals**2 if self.loss == "mse" else xp.abs(residuals)


SQUARES = Objective("mse")


@dataclass(frozen=True)
class Raw:
    """The result of a solver in plain numbers, in the user's units.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)``, the solution for ``penalty`` with ``strength``.
        bias: (Cout,).
        penalty, strength: the penalty that was used and its strength.
        status: the status; None if the certificate decides it.
        stats: further facts for ``Solution.stats``.
        trace: the course of an iteration, if there was one.
        certificate: the certificate; None if it is computed later.
        evidence: the reason why the kernel is unique; None if the report decides it.
        answer: which of many equally good kernels this is, if it differs from `Solver.answer`.
        regularization: the selected penalty and the scores of the search, if there was one.
        error_norms: (Cout,), in units of y, used instead of ‖y − Aw − b‖ in standard errors. Only
            for losses other than squares that have standard errors.
        confound_fit: (q, Cout), coefficients of the confounds that are added to those of least
            squares. None if the loss is squares.
        penalties: penalty and strength of every output, if these differ.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: Penalty = RIDGE
    strength: float = 0.0
    status: str | None = None
    stats: dict[str, Any] = field(default_factory=dict)
    trace: Trace | None = None
    certificate: Certificate | None = None
    evidence: str | None = None
    answer: str | None = None
    regularization: Regularization | None = None
    error_norms: np.ndarray | None = None
    confound_fit: np.ndarray | None = None
    penalties: Sequence[tuple[Penalty, float]] | None = None


class Solver(ABC):
    """The interface of a solver: ``supports``, ``run`` and, if it can be traced, ``traced``.

    Solvers are frozen dataclasses and pytrees. A ridge can therefore be traced, and two runs of one
    solver compile once. Solvers do not pack results, warn or print. The functions in ``api`` do.
    """

    #: Description of the kernel that is returned if many fit equally well.
    answer: ClassVar[str] = "the answer of minimum norm"
    #: Strength of the penalty, by default of a ridge.
    ridge: Any = 0.0
    penalty: Penalty = RIDGE

    @property
    def name(self) -> str:
        """The solver and its settings, as shown in tables."""
        return type(self).__name__

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of this solver as numbers and words, as recorded in a `Solution`."""
        return {f.name: _recorded(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @property
    def regularizes(self) -> bool:
        """Whether the solver uses a penalty of positive strength."""
        return host_ridge(self) > 0

    @property
    def objective(self) -> Objective | None:
        """The minimised loss, without the penalty; None if it has no name or depends on y."""
        return SQUARES

    @property
    def least_squares(self) -> bool:
        """Whether the solution minimises squares, so that it can be certified as least squares."""
        return self.objective == SQUARES

    @property
    def chooses_jointly(self) -> bool:
        """Whether one choice is made for all outputs that are solved together."""
        return False

    def check(self, kernel_size: Sequence[int], selection: Selection) -> None:
        """Raise a ValueError unless the settings fit the taps, channels and outputs."""
        self.penalty.check(kernel_size, selection.n_channels)

    def of_part(self, selection: Selection) -> Solver:
        """Return the solver with its settings for the outputs and records of a part."""
        return self

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return None, or the reason why the solver cannot solve a problem of these sizes."""
        return None

    @abstractmethod
    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        """Solve on the host. The method may call jitted kernels and may use another route."""

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        """Return kernel and bias from x ``(N, *W, Cin)`` and y ``(N, *T, Cout)``, under jit."""
        raise TypeError(f"{self.name} runs on the host only; inside jit use NormalEquations")


class QuadraticSolver(Solver):
    """A solver of min ‖y − Aw‖² + ridge·wᵀK w, with K of the penalty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ridge", check_ridge(self.ridge))
        check_penalty(self.penalty)

    def _regression(self, analysis: Analysis) -> Regression:
        return analysis.regression(self.penalty, host_ridge(self))

    def _packed(
        self,
        regression: Regression,
        w: np.ndarray,
        certificate: Certificate,
        evidence: str | None = None,
        **more: Any,
    ) -> Raw:
        """Return the result for w in scaled columns. A large enough ridge is evidence too."""
        kernel, bias = regression.to_user(w)
        return Raw(
            kernel,
            bias,
            self.penalty,
            regression.system.strength,
            certificate=certificate,
            evidence="the ridge alone" if regression.system.ridge_certifies else evidence,
            **more,
        )


def whole_reason(sizes: Sizes) -> str | None:
    """Return why a solver that reads all of x and y at once cannot be used, or None."""
    reason = sizes.whole_reason
    return reason and f"it {reason}; NormalEquations and Regularized read them chunk by chunk"


def _recorded(value: Any) -> Any:
    """Return a setting in a form that JSON supports: an array by shape, a function by name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Penalty):
        return value.title
    if is_dataclass(value):
        return repr(value)
    if isinstance(value, tuple):
        found = [_recorded(one) for one in value[:MOST_RECORDED]]
        if len(value) > MOST_RECORDED:
            return f"{len(value)} values"
        return found[0] if len(found) == 1 else found
    if hasattr(value, "shape"):
        return f"array of shape {value.shape}"
    return getattr(value, "__name__", "custom")


def traceable(*leaves: str) -> Callable[[type[_S]], type[_S]]:
    """Return a decorator that makes a solver a pytree.

    The fields ``leaves`` may be traced, unless they contain a word. Other fields are static. The
    class is registered as soon as jax is imported, in any order of imports.
    """

    def decorate(cls: type[_S]) -> type[_S]:
        names: tuple[str, ...] = tuple(f.name for f in fields(cls))  # type: ignore[arg-type]

        def flatten(solver: _S) -> tuple[Any, Any]:
            static = {name: getattr(solver, name) for name in names}
            traced = {n: static.pop(n) for n in leaves if not isinstance(static[n], str)}
            return tuple(traced.values()), (tuple(traced), tuple(static.items()))

        def unflatten(aux: Any, values: Any) -> _S:
            traced, static = aux
            solver = object.__new__(cls)  # unchecked: jax unflattens around placeholders too
            for name, value in (*zip(traced, values, strict=True), *static):
                object.__setattr__(solver, name, value)
            return solver

        def register() -> None:
            import jax

            jax.tree_util.register_pytree_node(cls, flatten, unflatten)

        when_imported(register)
        return checks_arguments(cls)

    return decorate


def positive(value: Any, name: str, dimensions: int) -> np.ndarray:
    """Return a positive number or nested lists of them, at most ``dimensions`` deep, as an array.

    Raises:
        TypeError: If ``value`` has another form.
        ValueError: If an entry is not positive and finite.
    """
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{name} must be a number or an array, got {shown(value)}") from error
    if found.dtype.kind not in "iuf" or found.ndim > dimensions or not found.size:
        raise TypeError(f"{name} must be a number or an array of them, got {shown(value)}")
    found = found.astype(float)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise ValueError(
            f"{name} must be positive and finite, got {shown(value)}; for no penalty use "
            "LeastSquares"
        )
    return found


def check_penalty(penalty: Any) -> None:
    """Raise an error unless ``penalty`` is a `Penalty` without open hyperparameters."""
    if not isinstance(penalty, Penalty):
        hint = f"; did you mean {penalty.__name__}()?" if isinstance(penalty, type) else ""
        raise TypeError(f"penalty must be a Penalty such as Ridge(), got {shown(penalty)}{hint}")
    if penalty.open:
        raise ValueError(
            f"{' and '.join(penalty.open)} of the penalty {penalty.title} is None, which only "
            "Regularized chooses; give a number"
        )


def check_ridge(ridge: Any) -> Any:
    """Check a ridge and return it as a float.

    A traced ridge, or an array for `jax.vmap`, is returned unchanged.
    """
    several = (isinstance(ridge, np.ndarray) or is_jax_array(ridge)) and ridge.ndim
    return ridge if is_tracer(ridge) or several else number(ridge, "ridge", included=True)


def host_ridge(solver: Solver) -> float:
    """Return the ridge of a solver as a float for code on the host."""
    if is_tracer(solver.ridge):
        raise TypeError("a traced ridge belongs in fit_kernel, not in solve")
    return number(solver.ridge, "ridge", included=True)


def gram_reason(sizes: Sizes, columns: int | None = None) -> str | None:
    """Return None, or the message that the Gram matrix exceeds the memory limit.

    It has the taps as columns, or another number of ``columns``.
    """
    columns = sizes.columns if columns is None else columns
    needed = 8 * sizes.groups * columns**2
    if needed <= sizes.limits.gram_bytes:
        return None
    return f"the Gram matrix of {columns} columns takes {needed / 2**30:.1f} GiB; use fewer taps"
