"""The interface of solvers, of the losses that they minimize, and their results."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import Certificate
from ..leastsquares.penalty import RIDGE, Penalty
from ..leastsquares.regression import Regression
from ..problem.problem import Selection
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import as_call

if TYPE_CHECKING:
    from ..inference.regularization import Regularization

# The kernel that a loss without a unique kernel returns.
SAME_OUTPUTS = "the kernel of minimum norm among those with the same outputs"
# For a setting with more values, only their number is recorded.
MOST_RECORDED = 32

_S = TypeVar("_S", bound="Solver")


@dataclass(frozen=True)
class Trace:
    """The course of an iteration: the loss at some steps, and the kernel at some of these.

    The text has one line per stored kernel: step, kernel, loss.

    Attributes:
        steps: (n,), numbers of the steps.
        losses: (n,), loss at ``steps``.
        kernels: maps a step to the kernel at this step.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> trace = cs.solve(problem, cs.GradientDescent(steps=500)).trace
        >>> bool(trace.losses[-1] < trace.losses[0])
        True

    See Also:
        `GradientDescent` and `ConjugateGradient`, which record it.
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


# Penalty without strength, and strength, of every output.
Terms = Sequence[tuple[Penalty, float]]


class Loss:
    """A loss of the residuals y − Aw − b, summed over rows: frozen and hashable.

    Attributes:
        name: its name in ``loss=``.
        squared: whether it is the sum of squares.
        smooth: whether the gradient vanishes at the minimum, so that its norm measures convergence.
        penalties: whether `exact_solver` supports quadratic penalties and a lasso.
        threshold: residual, in units of y, above which the loss is linear; 0 if there is none.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> cs.HuberLoss(1.0, scale=1.0).of(np.array([-1.0, 2.0]))
        array([0.5, 1.5])

    See Also:
        ``"squared"``, `HuberLoss` and ``"absolute"``.
    """

    name: ClassVar[str]
    squared: ClassVar[bool] = False
    smooth: ClassVar[bool] = False
    penalties: ClassVar[bool] = False
    threshold: float | None = 0.0

    def __repr__(self) -> str:
        return as_call(self)

    @property
    def title(self) -> str:
        """Description of the mean of the loss over residuals."""
        return f"mean {self.name} residual"

    @property
    def settings(self) -> dict[str, Any]:
        """The class and its fields as numbers and words, as recorded in a `Solution`."""
        return {"kind": type(self).__name__, **recorded_fields(self)}

    @property
    def measured(self) -> Loss:
        """The loss by which solutions are compared; squares if this one is not fixed."""
        return self

    @staticmethod
    def value(residuals: Any, threshold: Any, xp: Any) -> Any:
        """Return the loss of every residual, by NumPy or the module ``xp`` of jax."""
        raise NotImplementedError

    def mean(self, prediction: Any, target: Any, xp: Any) -> Any:
        """Return the mean over rows and outputs, which gradient descent minimizes."""
        return xp.mean(self.value(prediction - target, self.threshold, xp))

    def of(self, residuals: np.ndarray) -> np.ndarray:
        """Return the loss of every residual."""
        return np.asarray(self.value(residuals, self.threshold, np))

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return None, or the reason why `exact_solver` cannot solve a problem of these sizes."""
        return None

    def exact_solver(self, analysis: Analysis, terms: Terms) -> SolverResult:
        """Minimize the loss and a penalty, if the loss supports one.

        Args:
            analysis: the analysis of the problem.
            terms: penalty without strength and strength of every output; strength 0 is no penalty.
        """
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class SquaredLoss(Loss):
    """The sum of squared residuals, the default: least squares.

    All solvers, penalties and noise models support it. For y with outliers use `HuberLoss` or
    ``"absolute"``.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, loss="squared")  # the default
        >>> fit.stats["loss"]
        {'kind': 'SquaredLoss'}

    See Also:
        `HuberLoss` and ``"absolute"``.
    """

    name = "squared"
    squared = smooth = True

    @staticmethod
    def value(residuals: Any, threshold: Any, xp: Any) -> Any:
        """Return the square of every residual."""
        return residuals**2


@dataclass(frozen=True, repr=False)
class CustomLoss(Loss):
    """A callable of (prediction, target), each (rows, Cout), for gradient descent."""

    function: Callable[[Any, Any], Any]

    name = "custom"

    def __repr__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        """Name of the function."""
        return getattr(self.function, "__name__", "callable")

    @property
    def settings(self) -> dict[str, Any]:
        """Name of the function."""
        return {"kind": self.title}

    @property
    def measured(self) -> Loss:
        """Squares, since a callable has no value per residual."""
        return SQUARED

    def mean(self, prediction: Any, target: Any, xp: Any) -> Any:
        """Return the mean of the function's values."""
        return xp.mean(self.function(prediction, target))

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the solver that minimizes a callable."""
        return "a callable is minimized by gradient descent only; use solver='adam'"


SQUARED = SquaredLoss()


def penalized(terms: Terms) -> bool:
    """Return whether any output has a penalty."""
    return any(strength for _, strength in terms)


class Objective(NamedTuple):
    """The minimized sum over rows: a loss, and strength·wᵀK w of a penalty without strength."""

    loss: Loss = SQUARED
    penalty: Penalty = RIDGE
    strength: Any = 0.0


@dataclass(frozen=True)
class SolverResult:
    """The result of a solver in plain numbers, in the user's units.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)``, the solution for ``penalty`` with ``strength``, or for
            the ``penalties`` of the outputs.
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
        penalties: penalty and strength of every output, if they may differ.
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

    Solvers are frozen dataclasses and pytrees with numerical settings only. Two runs of one solver
    compile once. Solvers do not pack results, warn or print. The functions in ``api`` do.

    Attributes:
        answer: description of the kernel that is returned if many fit equally well.
        any_loss: whether other losses than squares are supported.
        factors_rows: whether a QR is computed for any number of operations.
        reads_rows: whether the solver begins with the sums over all rows.

    Examples:
        >>> import convsolve as cs
        >>> solver = cs.ConjugateGradient(steps=50)
        >>> solver.name, solver.settings
        ('ConjugateGradient', {'steps': 50, 'tol': None})

    See Also:
        ``"auto"``, ``"qr"`` and the other solvers.
    """

    answer: ClassVar[str] = "the kernel of minimum norm"
    reads_rows: ClassVar[bool] = True
    any_loss: ClassVar[bool] = False
    factors_rows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if "jax" in sys.modules:
            register_pytrees()

    def __repr__(self) -> str:
        return as_call(self)

    @property
    def name(self) -> str:
        """The solver and its main settings, as shown in tables."""
        return type(self).__name__

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of this solver as numbers and words, as recorded in a `Solution`."""
        return recorded_fields(self)

    def of_part(self, selection: Selection) -> Solver:
        """Return the solver with its settings for the outputs and records of a part."""
        return self

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return None, or the reason why the solver cannot minimize this objective."""
        return None

    @abstractmethod
    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        """Solve on the host. The method may call jitted kernels and may use another route."""

    @staticmethod
    def whole_reason(sizes: Sizes) -> str | None:
        """Return why a solver that reads all of x and y at once cannot be used, or None."""
        reason = sizes.whole_reason
        return reason and f"it {reason}; solver='normal' reads them chunk by chunk"

    def attempt(self, analysis: Analysis, objective: Objective) -> tuple[SolverResult | None, str]:
        """Return the result, or None and the reason, if it proves no full rank in short time."""
        return self.run(analysis, objective), ""

    def traced(
        self, x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        """Return kernel and bias from x ``(N, *W, Cin)`` and y ``(N, *T, Cout)``, under jit.

        ``weights`` ``(N, *T)`` may be None.
        """
        raise TypeError(f"{self.name} runs on the host only; inside jit use solver='normal'")


def packed(
    regression: Regression,
    w: np.ndarray,
    certificate: Certificate,
    evidence: str | None = None,
    **more: Any,
) -> SolverResult:
    """Return the result for w in scaled columns. A large enough ridge is evidence too."""
    kernel, bias = regression.to_user(w)
    system = regression.system
    return SolverResult(
        kernel,
        bias,
        system.penalty,
        system.strength,
        certificate=certificate,
        evidence="the ridge alone" if system.ridge_certifies else evidence,
        **more,
    )


def certified(analysis: Analysis, found: SolverResult) -> Certificate:
    """Return the certificate of a least-squares result, which is computed if it has none."""
    if found.certificate is not None:
        return found.certificate
    regression = analysis.regression(found.penalty, found.strength)
    w = regression.from_kernel(found.kernel)
    certificate = regression.certify(w)
    if not analysis.design.nuisance.constant:
        return certificate
    # The column of ones is projected out, so the bias is checked separately, relative to its terms.
    off = regression.bias_error(w, found.bias)
    return max(certificate, Certificate(off, "value"), key=lambda c: c.value)


def recorded_fields(component: Any) -> dict[str, Any]:
    """Return the fields of a component in a form that JSON supports."""
    every = fields(component) if is_dataclass(component) else ()
    return {f.name: _recorded(getattr(component, f.name)) for f in every}


def _recorded(value: Any) -> Any:
    """Return a setting in a form that JSON supports: an array by shape, a function by name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
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


_unregistered: list[Any] = []


def register_pytrees() -> None:
    """Register the classes that are `traceable` with jax."""
    import jax

    while _unregistered:
        jax.tree_util.register_pytree_node(*_unregistered.pop())


def traceable(*leaves: str) -> Callable[[type[_S]], type[_S]]:
    """Return a decorator that makes a solver a pytree.

    The fields ``leaves`` may be traced, unless they contain a word. Other fields are static. The
    class is registered by `register_pytrees`.
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

        _unregistered.append((cls, flatten, unflatten))
        return cls

    return decorate
