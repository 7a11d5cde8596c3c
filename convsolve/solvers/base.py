"""What every solver is: the contract, what it hands back, and the check of a ridge."""

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
from ..problem.checks import number
from ..problem.selection import Selection
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import shown

if TYPE_CHECKING:
    from ..inference.regularization import Regularization

# A relative duality gap of at most this much is "solved".
SOLVED = 1e-8
# Of a setting with more values their number is recorded.
MOST_RECORDED = 32

Progress = Callable[[int, int, float], None]
_S = TypeVar("_S", bound="Solver")


@dataclass(frozen=True)
class Trace:
    """The course of an iteration: loss at ``steps``, and the kernel at some of them.

    ``losses`` is (n,) at ``steps`` (n,); ``kernels`` maps a step to the kernel there. Its text
    has one line per kernel kept: step, kernel, loss.
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
    """A loss by its name, "mse", "mae" or "huber", the latter with its threshold in units of y."""

    loss: str
    threshold: float = 0.0

    @property
    def words(self) -> str:
        """What its mean over residuals is called."""
        if self.loss == "huber":
            return f"mean of Huber's loss, linear for residuals above {self.threshold:g}"
        return f"mean {'squared' if self.loss == 'mse' else 'absolute'} residual"

    def of(self, residuals: np.ndarray) -> np.ndarray:
        """The loss of every residual."""
        size = np.abs(residuals)
        if self.loss == "mae":
            return size
        inner = np.minimum(size, self.threshold)
        return size**2 if self.loss == "mse" else inner * (size - inner / 2)


SQUARES = Objective("mse")


@dataclass(frozen=True)
class Raw:
    """What a solver hands to the door: plain numbers, in the user's units.

    ``kernel`` is ``(*K, Cin/groups, Cout)``, the answer under ``penalty`` of some ``strength``;
    ``status`` None leaves the word to the certificate.
    ``evidence`` says what proves that the kernel is the only one, None leaves that to the report;
    ``answer`` which of many this is, where it is not what the solver's own `Solver.answer` says;
    ``penalties`` the penalty and strength of every output, where they are not all alike;
    ``error_norms`` (Cout,) what stands for ‖y − Aw − b‖ in standard errors, in the unit of y, of a
    loss that is not squares and has them.
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
    penalties: Sequence[tuple[Penalty, float]] | None = None


class Solver(ABC):
    """The contract of a solver: ``supports``, ``run`` and, where it can, ``traced``.

    Solvers are frozen dataclasses and pytrees, so that a ridge can be traced and two runs of one
    solver compile once. They never pack, warn or print: the doors do.
    """

    #: What the answer is where many fit equally well.
    answer: ClassVar[str] = "the answer of minimum norm"
    #: The strength of its penalty, by default that of a ridge.
    ridge: Any = 0.0
    penalty: Penalty = RIDGE

    @property
    def name(self) -> str:
        """The solver and its settings, as a table shows it."""
        return type(self).__name__

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of this solver as numbers and words, which a `Solution` records."""
        return {f.name: _recorded(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @property
    def regularizes(self) -> bool:
        """Whether a penalty of positive strength comes with it."""
        return host_ridge(self) > 0

    @property
    def objective(self) -> Objective | None:
        """What is minimised, a penalty aside; None for what has no name or depends on y."""
        return SQUARES

    @property
    def least_squares(self) -> bool:
        """Whether the answer minimises squares, so that it can be certified as such."""
        return self.objective == SQUARES

    def check(self, kernel_size: Sequence[int], selection: Selection) -> None:
        """Raise a ValueError unless the settings fit the taps, channels and outputs."""
        self.penalty.check(kernel_size, selection.in_channels)

    def of_part(self, selection: Selection) -> Solver:
        """Return the solver with its settings for some of the outputs."""
        return self

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """None, or why this solver cannot solve a problem of these sizes and this geometry."""
        return None

    @abstractmethod
    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        """Solve on the host; may call jitted kernels and may escalate."""

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        """Kernel and bias from x ``(N, *W, Cin)`` and y ``(N, *T, Cout)``, under jit."""
        raise TypeError(f"{self.name} runs on the host only; inside jit use NormalEquations")


def whole_reason(sizes: Sizes) -> str | None:
    """Why a solver that takes all of x and y at once cannot, or None."""
    reason = sizes.whole_reason
    return reason and f"it {reason}; NormalEquations and Regularized read them chunk by chunk"


def _recorded(value: Any) -> Any:
    """A setting as JSON takes it: an array by its shape, a function by its name."""
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
    """Make a solver a pytree: its fields ``leaves`` may be traced, unless they hold a word, and the
    rest is static. It is one as soon as jax is there, whichever was imported first.
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
        return cls

    return decorate


def as_numbers(value: Any, name: str) -> np.ndarray:
    """An array of what may be a number or nested lists of them, of whatever kind it holds."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{name} must be a number or an array, got {shown(value)}") from error


def check_penalty(penalty: Any) -> None:
    """Refuse what is no `Penalty`, or leaves something to be chosen."""
    if not isinstance(penalty, Penalty):
        hint = f"; did you mean {penalty.__name__}()?" if isinstance(penalty, type) else ""
        raise TypeError(f"penalty must be a Penalty such as Ridge(), got {shown(penalty)}{hint}")
    if penalty.open:
        raise ValueError(
            f"{' and '.join(penalty.open)} of the penalty {penalty.title} is None, which only "
            "Regularized chooses; give a number"
        )


def check_ridge(ridge: Any) -> Any:
    """Check a ridge and return it as a float; if it is traced, or an array for `jax.vmap`, as it
    is.
    """
    several = (isinstance(ridge, np.ndarray) or is_jax_array(ridge)) and ridge.ndim
    return ridge if is_tracer(ridge) or several else number(ridge, "ridge", included=True)


def host_ridge(solver: Solver) -> float:
    """The ridge of a solver as the float that host code needs."""
    if is_tracer(solver.ridge):
        raise TypeError("a traced ridge belongs in fit_kernel, not in solve")
    return number(solver.ridge, "ridge", included=True)


def gap_status(gap: float) -> str:
    """The word for an answer that is certified by a relative duality gap."""
    return "solved" if gap <= SOLVED else "approximate"


# Why other losses refuse what squares can do without.
FOR_SQUARES = "weights and confounds are for least squares; use NormalEquations"


def gram_reason(sizes: Sizes) -> str | None:
    """None, or that the Gram matrix, which a solver takes, exceeds the memory limit."""
    if sizes.gram_fits:
        return None
    gib = sizes.gram_bytes / 2**30
    return f"the Gram matrix of {sizes.columns} columns takes {gib:.1f} GiB; use fewer taps"
