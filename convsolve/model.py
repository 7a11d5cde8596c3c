"""The model of a solution, which predicts, and its parts, which have errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import warn
from .inference.errors import approximated
from .inference.folds import leading
from .leastsquares.analysis import Analysis, analyse
from .leastsquares.certificate import GAP
from .noise import NoiseModel
from .operators.design_matrix import without_confounds
from .operators.prediction import predicted, predicted_blocks
from .parallel import cached_property
from .parts import join
from .problem.kernel_space import KernelSpace
from .problem.names import Axis, Names
from .problem.nuisance import Confounds
from .problem.problem import Problem
from .problem.records import read
from .problem.sizes import Tuning
from .problem.spec import ConvSpec
from .scoring import Blocks, Score, scored
from .solvers.base import SolverResult

if TYPE_CHECKING:
    from .inference.ar import Autoregression
    from .inference.doubts import Whiteness
    from .inference.errors import Errors, NoiseEstimate

# Coefficients (q, Q) of confounds by outputs, in addition to those of least squares.
Added = Mapping[tuple[int, ...], np.ndarray | None]


@dataclass(frozen=True)
class Model:
    """Kernel and bias, and the geometry by which they read data.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)`` in the order of a layer.
        bias: (Cout,).
        recipe: geometry, names and basis in plain values, see `Problem._again`.
        spec: the rows as outputs of a layer.
        lags: lags of every axis in the order of the kernel.
        space: the kernels of the problem, or None for all kernels.
        channel_axis: whether the training y had an axis of outputs.
    """

    kernel: Any
    bias: Any
    recipe: dict[str, Any]
    spec: ConvSpec
    lags: tuple[np.ndarray, ...]
    space: KernelSpace | None
    channel_axis: bool

    @classmethod
    def of(cls, problem: Problem, kernel: Any, bias: Any) -> Model:
        """Return the model of a problem."""
        axis = problem._output is not None and problem._output.channel_axis
        given = problem._recipe, problem.spec, problem._lags, problem._space
        return cls(kernel, bias, *given, axis)

    @property
    def names(self) -> Names:
        """Names of channels and outputs."""
        return Names.from_dict(self.recipe)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the kernel, for texts and figures: ascending lags, or taps of a layer."""
        return Axis.of_kernel(self.lags, self.recipe.get("fs"), "lags" not in self.recipe)

    def problem(self, x: Any, y: Any, edges: str | None = None) -> Problem:
        """Return other data as a problem with the same lags, or raise a ValueError."""
        recipe = self.recipe if edges is None else self.recipe | {"edges": edges}
        found, wanted = Problem._again(recipe, x, y), self.kernel.shape[-2] * self.spec.groups
        if found.n_channels != wanted:
            raise ValueError(f"x has {found.n_channels} channels, the kernel needs {wanted}")
        if not all(map(np.array_equal, found._lags, self.lags)):
            raise ValueError("padding='same' with stride > 1 has other lags in x of this length")
        return found

    def _cast(self, problem: Problem) -> tuple[np.ndarray, np.ndarray, ConvSpec]:
        """Return kernel and bias in the precision of a prediction, and the rows of a problem."""
        dtype = np.result_type(problem._dtype, self.kernel.dtype)
        return np.asarray(self.kernel, dtype), np.asarray(self.bias, dtype), problem.spec

    # A prediction that exceeds the range of its type is inf.
    @np.errstate(over="ignore", invalid="ignore")
    def predictions(self, problem: Problem, past: Any = None) -> list[np.ndarray]:
        """Return predictions (*T, Cout) of all rows of every record.

        The samples of a ``past`` are before the records, which zeros surround otherwise.
        """
        if past is None:
            return predicted(problem.x, *self._cast(problem))
        before, step = read(past, "past", problem.spec), problem.spec.stride[0]
        if [a.shape[1:] for a in before.arrays] != [a.shape[1:] for a in problem.x]:
            raise ValueError(f"past has {before.describe()} × {before.channels} channels, unlike x")
        reach = -(-max(0, self.lags[0][0]) // step)
        zeros = np.zeros((reach * step, *problem.x[0].shape[1:]))
        pairs = zip(before.arrays, problem.x, strict=True)
        x = [np.concatenate([zeros, a, b])[len(a) :] for a, b in pairs]
        return [y[reach:] for y in predicted(x, *self._cast(problem))]

    @np.errstate(over="ignore", invalid="ignore")
    def residuals(
        self, problem: Problem, added: Added, prediction: Sequence[np.ndarray] = ()
    ) -> list[np.ndarray]:
        """Return y less prediction and confounds, (*T, Cout) of every record; NaN if excluded."""
        pairs = zip(given_y(problem), prediction or self.predictions(problem), strict=True)
        found = [np.asarray(y) - p for y, p in pairs]
        if problem._terms.given:
            found = _without_confounds(problem, found, added)
        return without_excluded(problem, found)

    def weighted(self, problem: Problem, added: Added) -> list[np.ndarray]:
        """Return residuals (n, outputs) of the rows used, in float64 and times roots of weights.

        An output that is excluded from a row is zero there.
        """
        found = []
        for i, e in enumerate(self.residuals(problem, added)):
            root = 1.0 if problem._weights is None else problem._weights[i][..., None]
            own = (np.asarray(e, float) * root)[problem._kept.flags_of(i)]
            found.append(np.nan_to_num(own, nan=0.0))
        return found

    @np.errstate(over="ignore", invalid="ignore")
    def score(self, problem: Problem, added: Added) -> Score:
        """Return the goodness of fit of every output in the rows used."""
        given_y(problem)
        blocks: Blocks = predicted_blocks(problem.x, *self._cast(problem))
        # With several masks, the prediction is computed once and kept.
        blocks = [*blocks] if len(problem._by_mask) > 1 else blocks
        each = (scored(problem, *rows, blocks, added.get(rows[0])) for rows in problem._by_mask)
        found: Score = join([*each], [outputs for outputs, _ in problem._by_mask])
        return found


@dataclass(eq=False)
class Part:
    """Some outputs of a problem: the problem of these outputs alone, its estimate and its errors.

    Attributes:
        outputs: numbers of the outputs in the whole problem.
        problem: their problem. Its rows are filtered for autoregressive noise.
        found: the estimate in float64. Its bias is the bias of the rows of ``problem``.
        noise_model: the model of the noise.
        limits: limits of memory.
        filter: the autoregression of the noise, whose filter the rows have; None without a filter.
        checked: whether the residuals were checked, so that no second warning is issued.
    """

    outputs: tuple[int, ...]
    problem: Problem
    found: SolverResult
    noise_model: NoiseModel
    limits: Tuning
    filter: Autoregression | None = None
    checked: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, without errors, which are computed again after unpickling."""
        return {name: value for name, value in vars(self).items() if name != "errors"}

    @property
    def bias(self) -> np.ndarray:
        """Bias of the outputs, before any filter."""
        own = self.filter
        return self.found.bias if own is None else self.found.bias / (1 - own.coefficients.sum(1))

    @property
    def penalties(self) -> Any:
        """Penalty and strength of every output."""
        return self.found.penalties or ()

    @property
    def approximate(self) -> bool:
        """Whether a Toeplitz matrix replaces AᵀA in the standard errors."""
        analysis = analyse(self.problem, self.limits)
        return any(approximated(analysis, *pair) for pair in self.penalties)

    @property
    def own_covariance(self) -> bool:
        """Whether the penalty defines the standard errors."""
        return any(form.own_covariance for form, _ in self.penalties)

    @property
    def no_errors(self) -> str:
        """Why there are no standard errors, or an empty string."""
        found = self.found
        squares = found.certificate is not None and found.certificate.kind != GAP
        linear = squares or self.own_covariance
        if not linear and found.error_norms is None:
            return "standard errors are of least squares, or of Huber's estimate without a penalty"
        if found.status != "solved":
            return f"the status is {found.status!r}; standard errors need an exact solution"
        return ""

    @cached_property
    def errors(self) -> Errors:
        """Standard errors, bands and tests.

        Raises:
            ValueError: If there are none.
        """
        if why := self.no_errors:
            raise ValueError(why)
        estimate = np.asarray(self.found.kernel, float), self.penalties, self.found.error_norms
        return self.noise_model.errors(analyse(self.problem, self.limits), estimate)

    def check(self) -> None:
        """Warn once if the residuals are not white as the errors assume."""
        if self.errors and not self.checked:
            self.checked = True
            if words := self.correlation:
                warn(words)

    @property
    def noise(self) -> NoiseEstimate:
        """The noise. Outputs are the last axis of the coefficients of an autoregression."""
        found, own = self.errors.noise, self.filter
        if own is None:
            return found
        return replace(found, kind="ar", order=own.order, coefficients=own.coefficients.T)

    @property
    def white(self) -> list[np.ndarray]:
        """Weighted residuals (n, outputs) of the rows used, white if the noise model holds."""
        problem, found = self.beginning(self.problem), self.found
        added = {outputs: found.confound_fit for outputs, _ in problem._by_mask}
        return Model.of(problem, found.kernel, found.bias).weighted(problem, added)

    def beginning(self, problem: Problem) -> Problem:
        """Return a problem, or as many of its rows as may be held if they are read in chunks.

        Confounds of robust fits are known for whole problems only.
        """
        if self.found.confound_fit is not None or not problem._sizes(self.limits).chunked:
            return problem
        return leading(problem, self.limits.held_numbers)

    @cached_property
    def correlation(self) -> str:
        """Why errors for white noise may be wrong, or an empty string.

        It is empty for rows that were filtered to make their noise white, and for images.
        """
        if not self.noise_model.independent or self.problem.spec.ndim > 1:
            return ""
        from .inference.doubts import warning

        squares = self.found.error_norms is None
        variance = self.errors.noise.variance if squares else None
        penalized = any(strength > 0 for _, strength in self.penalties)
        # Gaps of excluded rows are closed, which can only hide a correlation.
        return warning(self.beginning(self.problem), self.white, variance, penalized)

    def whiteness(self, lags: int | None) -> Whiteness:
        """Return the test of Ljung and Box for the residuals of a few lags."""
        from .inference.doubts import usual_lags, whiteness

        if self.problem.spec.ndim > 1:
            raise ValueError("whiteness needs one axis, time")
        order = 0 if self.filter is None else int(self.filter.order[0])
        lags = usual_lags(self.problem) + order if lags is None else lags
        if not order < lags < (rows := self.problem.n_equations):
            raise ValueError(f"lags must be from {order + 1} to {rows - 1}, got {lags}")
        return whiteness(self.white, self.errors.noise.variance, lags, order)

    def plain(self, what: str, penalized: bool = False) -> Analysis:
        """Return the analysis of plain least squares; ``penalized`` allows a quadratic penalty.

        Raises:
            ValueError: If the estimate is another one.
        """
        if why := self.no_errors:
            raise ValueError(why)
        without = all(not strength for _, strength in self.penalties)
        free = without or (penalized and not self.own_covariance)
        if self.filter is not None or self.found.error_norms is not None or not free:
            words = f"{what} needs plain least squares: no penalty, loss or noise='ar'"
            raise ValueError(words + "; see cross_validate(...).permutation_test" * (not free))
        return analyse(self.problem, self.limits)


def given_y(problem: Problem) -> tuple[Any, ...]:
    """Return the records of y, or raise a ValueError."""
    if problem.y is None:
        raise ValueError("y is needed: pass both x and y")
    return problem.y


def without_excluded(problem: Problem, values: list[np.ndarray]) -> list[np.ndarray]:
    """Return values (*T, Cout) of every record, NaN in excluded rows."""
    for outputs, rows in problem._by_mask:
        if rows.flags is not None:
            for a, flags in zip(values, rows.flags, strict=True):
                a[~flags[..., None] & np.isin(np.arange(a.shape[-1]), outputs)] = np.nan
    return values


def _without_confounds(problem: Problem, left: list[np.ndarray], added: Added) -> list[np.ndarray]:
    """Return residuals (*T, Cout) of every record, less the confounds that fit them best."""
    found = [a.copy() for a in left]
    for outputs, rows in problem._by_mask:
        some = [*outputs]
        confounds = Confounds(problem._terms, False, rows, problem._weights)
        own = [a[..., some] for a in left]
        whole = without_confounds(confounds, own, added.get(outputs))
        for i, part in enumerate(np.split(whole, np.cumsum(rows.sizes)[:-1])):
            place = np.ix_(rows.flags_of(i).reshape(-1), np.isin(range(left[i].shape[-1]), some))
            flat = found[i].reshape(-1, left[i].shape[-1])
            flat[place] = part / confounds.root(i)
    return found
