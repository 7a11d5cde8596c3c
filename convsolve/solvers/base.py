"""The interface of solvers, of the losses that they minimize, and their results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import Certificate
from ..leastsquares.penalty import RIDGE, Penalty
from ..leastsquares.regression import Regression
from ..notation import suggests_attributes
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import as_call

if TYPE_CHECKING:
    from ..inference.regularization import Regularization


@suggests_attributes
@dataclass(frozen=True)
class Trace:
    """The course of an iteration: the loss at some steps, and the kernel at these steps.

    The text has one line per stored kernel: step, kernel, loss. A kernel of more than eight weights
    is shortened to its first and last weights.

    Attributes:
        steps: (n,), numbers of the steps.
        losses: (n,), loss at ``steps``, with the penalty if there is one.
        kernels: maps a step to the kernel at this step. Empty if only losses are recorded.
        seconds: (n,), time from the first step to ``steps``, without compilation; None if it is not
            recorded.
        excess: (n,), loss minus the loss of the exact kernel, for squares; None if it is not known.
        statistical_error: expected excess of the true kernel over the exact one, Σσ²·d/(n·Q) for d
            degrees of freedom; None if it is not known.
        diverged: whether the run diverged after the last step.

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
    seconds: np.ndarray | None = None
    excess: np.ndarray | None = None
    statistical_error: float | None = None
    diverged: bool = False

    @property
    def ratios(self) -> np.ndarray | None:
        """Excess loss over the statistical error (n,), or None if one is not known.

        At 1, a kernel is as far from the exact kernel as the exact kernel is from the true one.
        """
        if self.excess is None or self.statistical_error is None:
            return None
        return self.excess / self.statistical_error

    def __repr__(self) -> str:
        return "\n".join(
            f"{step:4d} {np.array2string(np.ravel(kernel), threshold=8)}   loss {loss:.8g}"
            for (step, kernel), loss in zip(self.kernels.items(), self.losses, strict=False)
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
        threshold: residual, in units of y, above which the loss is linear; 0 if there is none, and
            None if the loss of a residual is not fixed.
        curvature: largest second derivative of the loss of a residual; None if there is no bound.
        penalty_share: factor of the sum of the loss in the sum that the exact methods minimize with
            a penalty of strength 1, inverted.

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
    curvature: ClassVar[float | None] = None
    penalty_share: ClassVar[float] = 1.0
    threshold: float | None = 0.0

    def __repr__(self) -> str:
        return as_call(self)

    @property
    def title(self) -> str:
        """Description of the mean of the loss over residuals."""
        return f"mean {self.name} residual"

    @property
    def measured(self) -> Loss:
        """The loss by which solutions are compared; squares if this one is not fixed."""
        return SQUARED if self.threshold is None else self

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
    curvature = 2.0

    @staticmethod
    def value(residuals: Any, threshold: Any, xp: Any) -> Any:
        """Return the square of every residual."""
        return residuals**2


@dataclass(frozen=True, repr=False)
class CustomLoss(Loss):
    """A callable of (prediction, target), each (rows, Cout), for gradient descent."""

    function: Callable[[Any, Any], Any]

    name = "custom"
    smooth = True
    threshold = None

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", "callable")

    def mean(self, prediction: Any, target: Any, xp: Any) -> Any:
        """Return the mean of the function's values."""
        import jax

        try:
            value = self.function(prediction, target)
        except jax.errors.TracerArrayConversionError as error:
            raise TypeError(f"loss={self!r} must compute by jax.numpy instead of numpy") from error
        if np.shape(value)[:1] not in ((), np.shape(prediction)[:1]):
            words = f"{np.shape(value)}; it must return a number, or values of every row"
            raise ValueError(f"loss={self!r} returns the shape {words}")
        return xp.mean(value)

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the solver that minimizes a callable."""
        return "a callable is minimized by gradient descent only; use solver='adam'"


SQUARED = SquaredLoss()


class Objective(NamedTuple):
    """The minimized sum over rows: a loss, and strength·wᵀK w of a penalty without strength."""

    loss: Loss = SQUARED
    penalty: Penalty = RIDGE
    strength: Any = 0.0


@dataclass(frozen=True)
class SolverResult:
    """The result of a solver in plain numbers, in the user's units.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)``.
        bias: (Cout,).
        status: the status; None if the certificate decides it.
        stats: further facts for ``Solution.stats``.
        trace: the course of an iteration, if there was one.
        certificate: the certificate; None if it is computed later.
        evidence: the reason why the kernel is unique; empty if it has
            another penalty than the given one, and None if the report decides.
        answer: which kernel is returned if many fit equally well.
        regularization: the selected penalty and the scores of the search, if there was one.
        error_norms: (Cout,), in units of y, used instead of ‖y − Aw − b‖ in standard errors. Only
            for losses other than squares that have standard errors.
        confound_fit: (q, Cout), coefficients of the confounds that are added to those of least
            squares. None if the loss is squares.
        penalties: penalty and strength of every output; None if there are none.
    """

    kernel: np.ndarray
    bias: np.ndarray
    status: str | None = None
    stats: dict[str, Any] = field(default_factory=dict)
    trace: Trace | None = None
    certificate: Certificate | None = None
    evidence: str | None = None
    answer: str = "the kernel of minimum norm"
    regularization: Regularization | None = None
    error_norms: np.ndarray | None = None
    confound_fit: np.ndarray | None = None
    penalties: Sequence[tuple[Penalty, float]] | None = None


class Solver(ABC):
    """The interface of a solver: ``supports``, ``run`` and, if it can be traced, ``traced``.

    Solvers are frozen dataclasses with numerical settings only. They do not pack results, warn or
    print. The functions in ``api`` do.

    Attributes:
        any_loss: whether other losses than squares are supported.
        factors_rows: whether a QR is computed for any number of operations.

    Examples:
        >>> import convsolve as cs
        >>> cs.ConjugateGradient(steps=50).name
        'ConjugateGradient'

    See Also:
        ``"auto"``, ``"qr"`` and the other solvers.
    """

    any_loss: ClassVar[bool] = False
    factors_rows: ClassVar[bool] = False

    def __repr__(self) -> str:
        return as_call(self)

    @property
    def name(self) -> str:
        """The solver and its main settings, as shown in tables."""
        return type(self).__name__

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return None, or the reason why the solver cannot minimize this objective."""
        return None

    @abstractmethod
    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        """Solve on the host. The method may call jitted kernels and may use another route."""

    def attempt(self, analysis: Analysis, objective: Objective) -> SolverResult | None:
        """Return the result, or None if it proves no full rank in short time."""
        return self.run(analysis, objective)

    def traced(
        self, x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        """Return kernel and bias from x ``(N, *W, Cin)`` and y ``(N, *T, Cout)``, under jit.

        ``weights`` ``(N, *T)`` may be None. The settings of the solver must be hashable.
        """
        raise TypeError(f"{self.name} runs on the host only; inside jit use solver='normal'")


def packed(
    regression: Regression, w: np.ndarray, certificate: Certificate, **more: Any
) -> SolverResult:
    """Return the result for w in scaled columns. A large enough ridge is evidence."""
    if regression.system.ridge_certifies:
        more["evidence"] = "the ridge alone"
    return SolverResult(*regression.to_user(w), certificate=certificate, **more)


def certified(
    analysis: Analysis, found: SolverResult, penalty: Penalty, strength: float
) -> Certificate:
    """Return the certificate of a least-squares result, which is computed if it has none."""
    if found.certificate is not None:
        return found.certificate
    regression = analysis.regression(penalty, strength)
    w = regression.from_kernel(found.kernel)
    certificate = regression.certify(w)
    # The column of ones is projected out, so the bias is checked separately, relative to its terms.
    off = regression.bias_error(w, found.bias) if analysis.design.nuisance.constant else 0.0
    return max(certificate, Certificate(off, "value"), key=lambda c: c.value)
