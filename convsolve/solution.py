"""Solution: a kernel, how far it can be trusted, and what can be done with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import registry
from .cached import cached_property
from .errors import warn
from .files import replacing
from .frames import to_dataframe, to_xarray
from .html import facts
from .identifiability.report import Identifiability
from .lazy_jax import as_jax
from .lazy_plot import plot
from .leastsquares.analysis import Analysis, analyse
from .leastsquares.certificate import GAP
from .near_misses import suggests_attributes
from .operators.design_matrix import without_confounds
from .operators.layout import ascending, reversed_taps
from .operators.prediction import predicted, predicted_blocks
from .parts import Part, at, gathered, join
from .problem.checks import choice, fraction, integer
from .problem.kernel_space import KernelSpace, kernel_space
from .problem.names import Names
from .problem.nuisance import Confounds
from .problem.problem import Problem
from .problem.spec import ConvSpec
from .progress import Listener
from .progress_bars import following
from .scoring import Blocks, Score, scored
from .solution_file import read_solution, write_solution
from .solution_text import brief, entries, known, text
from .solvers.base import SolverResult
from .text import plain

if TYPE_CHECKING:
    from .inference.ar import Autoregression
    from .inference.contrasts import Contrast
    from .inference.errors import Errors, FTest, NoiseEstimate
    from .inference.permutation import PermutationTest
    from .inference.regularization import Regularization
    from .inference.resampling import Jackknife
    from .noise import NoiseModel

# Largest rows times taps for which a text or a file includes errors under dependent noise: one
# second.
MAX_INFLUENCES = 2**27
# Before these sums, rows times taps² products are formed. This many take the time of one sum.
PRODUCTS_A_SUM = 64
# With fewer records of about equal size, a simultaneous band from sums over records warns that it
# is very wide.
FEW_RECORDS = 3.5


class Fitted(NamedTuple):
    """Fitted data: arrays (*T, outputs) in the order of records.

    Confounds are subtracted from ``y``. ``residual`` is ``y`` less the ``prediction``, and
    ``weighted`` is the residual in float64, times the roots of the weights. All three are NaN in
    excluded rows.
    """

    y: list[np.ndarray]
    prediction: list[np.ndarray]
    residual: list[np.ndarray]
    weighted: list[np.ndarray]


@suggests_attributes
class Solution:
    """Estimated kernel, its reliability and its predictions, as `solve` returns them.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)``, in the data's precision; NumPy, or jax for jax data.
        bias: ``(Cout,)``; zeros without a bias.
        status: "solved", "approximate", "max steps", "stagnated", "interrupted" or "diverged".
        backward_error, duality_gap: bounds on the error of the solution. One of them is None. Both
            are None for a descent on a loss that is not squares.
        stats: dict of the request and of the computation. The request: "call", the call of `solve`
            as code, "settings", the fields of the solver ("choice" has the solver that ``"auto"``
            chose), "penalty", a dict or None, whose "strength" has a value per output, "loss", a
            dict, "noise", and "version", of convsolve.
            The computation: "solver", "certificate_kind", "compile_seconds", "run_seconds" and
            entries of the solver.
        trace: the course of an iterative solver, or None.
        identifiability: the `Identifiability` of the data; None after `load`, which stores it in
            ``stats``.
        problem: the `Problem`; None after `load`.
        standard_error, noise: uncertainty of the taps, see `standard_error`.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
        >>> print(repr(fit), fit.status, fit.lags.max())
        <Solution solved: 10 lags × 1 channel × 1 output> solved 9
        >>> low, high = fit.confidence_band()
        >>> fit.predict().shape
        (500,)

    See Also:
        `solve`, `load`, `compare` and `Score`.
    """

    def __init__(
        self,
        estimate: SolverResult,
        *,
        recipe: dict[str, Any],
        spec: ConvSpec,
        tap_lags: tuple[np.ndarray, ...],
        y_channel_axis: bool,
        problem: Problem | None = None,
        identifiability: Identifiability | None = None,
        noise_model: NoiseModel | None = None,
        autoregression: Autoregression | None = None,
        saved_errors: tuple[np.ndarray, NoiseEstimate] | None = None,
        saved_coefficient_error: np.ndarray | None = None,
        parts: Sequence[Part] = (),
    ) -> None:
        """``parts`` are solutions of some outputs each, if outputs use different rows."""
        self.kernel: Any = estimate.kernel
        self.bias: Any = estimate.bias
        self.status: str = estimate.status or ""
        self.stats, self.trace = estimate.stats, estimate.trace
        self._certificate, self._regularization = estimate.certificate, estimate.regularization
        self._penalties = estimate.penalties or ()
        self._error_norms, self._confound_fit = estimate.error_norms, estimate.confound_fit
        if self._certificate is not None:
            self.stats["certificate_kind"] = self._certificate.kind
        self._recipe, self._spec = recipe, spec
        self._tap_lags, self._channel_axis = tap_lags, y_channel_axis
        self.problem, self.identifiability = problem, identifiability
        self._autoregression, self._saved_errors = autoregression, saved_errors
        self._saved_coefficient_error, self._parts = saved_coefficient_error, parts
        self._noise_model: NoiseModel = noise_model or registry.component(
            "noise", self.stats.get("noise", "white")
        )
        self._whiteness_checked = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, without those that are computed again after unpickling."""
        return {name: value for name, value in vars(self).items() if name != "_made_errors"}

    @property
    def backward_error(self) -> float | None:
        """Relative backward error as a least-squares solution, largest over outputs.

        Below 30 eps (6.7e-15), the solution is exact. ``stats["certificate_kind"]`` is "value" or
        "upper bound". None for other losses and for a lasso.
        """
        return None if self._has_gap else self._bound

    @property
    def duality_gap(self) -> float | None:
        """Relative duality gap of `HuberLoss`, ``"absolute"`` and `Lasso`, largest over outputs.

        The loss exceeds its minimum by at most this share. None for other solvers.
        """
        return self._bound if self._has_gap else None

    @property
    def _bound(self) -> float | None:
        return None if self._certificate is None else self._certificate.value

    @property
    def _has_gap(self) -> bool:
        return self._certificate is not None and self._certificate.kind == GAP

    @property
    def converged(self) -> bool:
        """Whether the solver converged; this does not depend on the quality of the data."""
        return self.status == "solved"

    @property
    def _penalized(self) -> bool:
        """Whether the kernel has a penalty; bands then describe its posterior."""
        return self._regularization is not None or self.stats.get("penalty") is not None

    @property
    def regularization(self) -> Regularization | None:
        """Penalty and strength of every output, given or selected, or None without a penalty."""
        if self._regularization is None and any(strength for _, strength in self._penalties):
            self._regularization = self._given()
        chosen = self._regularization
        return None if chosen is None else chosen._replace(outputs=tuple(self.outputs))

    def _given(self) -> Regularization:
        """Return penalty and strength of every output as they were given."""
        from .inference.regularization import as_given

        if self._parts:
            found: Regularization = gathered(self._parts, lambda fit: fit._given())
            return found
        if self._affordable_errors() is None:
            return as_given(self._penalties)
        errors = self._made_errors
        return as_given(self._penalties, (errors.effective_dof, errors.noise.variance))

    @property
    def impulse_response(self) -> Any:
        """The kernel in ascending lag order, without channel axes of length one.

        ``plt.plot(fit.lags, fit.impulse_response)`` plots it if x or y has one channel.
        """
        return ascending(self.kernel, self._spec.ndim)

    @property
    def lags(self) -> Any:
        """Ascending lags in samples, in the order of `impulse_response`; one array per axis."""
        ascending = tuple(lags[::-1] for lags in self._tap_lags)
        return ascending[0] if len(ascending) == 1 else ascending

    @property
    def times(self) -> np.ndarray:
        """Ascending lags in seconds.

        Raises:
            ValueError: If the problem has no ``fs``.
        """
        if self._names.fs is None:
            raise ValueError(
                "times are known where the problem was stated with fs=, samples a second"
            )
        return np.asarray(self.lags / self._names.fs)

    @property
    def channels(self) -> list[Any]:
        """Names of the channels of x, or their numbers."""
        return self._names.all("channel", self.kernel.shape[-2] * self._spec.groups)

    @property
    def outputs(self) -> list[Any]:
        """Names of the outputs, or their numbers."""
        return self._names.all("output", self.kernel.shape[-1])

    @property
    def _names(self) -> Names:
        """Names of channels, outputs and lags."""
        return Names.from_dict(self._recipe)

    def _training(self) -> Problem:
        if self.problem is None:
            raise ValueError(
                "a loaded solution has no training data; give x and y to methods that have these "
                "arguments, or solve again"
            )
        return self.problem

    def _state_as(self, problem: Problem) -> None:
        """Describe the kernel by a problem with the same taps, and read other data as it does."""
        self._recipe, self._spec = problem._recipe, problem.spec
        if problem._output is not None:
            self._channel_axis = problem._output.channel_axis

    def _read(self, x: Any, y: Any = None) -> Problem:
        if x is None:
            if y is not None:
                raise ValueError("y was given without x")
            return self._training()
        problem = Problem._again(self._recipe, x, y)
        wanted = self.kernel.shape[-2] * self._spec.groups
        if problem.n_channels != wanted:
            raise ValueError(f"x has {problem.n_channels} channels, the kernel needs {wanted}")
        if any(
            not np.array_equal(a, b) for a, b in zip(problem._lags, self._tap_lags, strict=True)
        ):
            raise ValueError(
                "padding='same' with stride > 1 places the kernel by the record's "
                "length: in x of this length its taps have other lags"
            )
        return problem

    def _model(self, problem: Problem) -> tuple[np.ndarray, np.ndarray, ConvSpec]:
        """Kernel and bias in the precision of a prediction, and the geometry."""
        dtype = np.result_type(problem._dtype, self.kernel.dtype)
        return np.asarray(self.kernel, dtype), np.asarray(self.bias, dtype), problem.spec

    def _outputs(self, problem: Problem) -> list[np.ndarray]:
        # A prediction that exceeds the range of its type is inf.
        with np.errstate(over="ignore", invalid="ignore"):
            return predicted(problem.x, *self._model(problem))

    def predict(self, x: Any = None) -> Any:
        """Return the output of the model for x, in the form of x.

        With lags it is as long as x. Rows that are not used are NaN: those that are excluded, and
        with edges="drop" those whose window exceeds the record. There is a channel axis if the
        training y had one. The output contains the kernel and the bias, without confounds.

        Args:
            x: input in the form of the training input, of any length. None, the default, is the
                training input.

        Returns:
            y, in the unit of the training y.

        Raises:
            ValueError: If x has another number of channels than the kernel. If x is None and the
                solution was loaded from a file.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
            >>> fit.predict().shape
            (500,)
            >>> fit.predict(np.ones(100)).shape
            (100,)

        See Also:
            `residuals` and `score`.
        """
        problem = self._read(x)
        found = problem._as_long_as_y(_without_dropped(problem, self._outputs(problem)))
        packed = problem._input.like(found, self._channel_axis)
        return as_jax(packed) if problem._returns_jax else packed

    def residuals(self, x: Any = None, y: Any = None) -> Any:
        """Return y minus the prediction, in the form of y.

        Rows that are not used are NaN, see `predict`. Confounds of the training data are
        subtracted. For new data, a drift is fitted again and subtracted; other confounds are not.

        Args:
            x: input, see `predict`. None, the default, is the training input.
            y: output that belongs to x. None, the default, is the training output.

        Returns:
            Residuals in the unit of y.

        Raises:
            ValueError: If x and y do not fit each other or the kernel. If there are no training
                data, see `load`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
            >>> bool(np.nanstd(fit.residuals()) < 1.1)
            True

        See Also:
            `predict` and `score`.
        """
        problem = self._read(x, y)
        parts, output = problem._as_long_as_y(self._left(problem)), problem._output
        assert output is not None
        packed = output.like(parts, output.channel_axis)
        return as_jax(packed) if problem._returns_jax else packed

    def _left(
        self, problem: Problem, prediction: list[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Return y less the prediction and the confounds, (*T, Cout) of every record."""
        prediction = self._outputs(problem) if prediction is None else prediction
        with np.errstate(over="ignore", invalid="ignore"):
            pairs = zip(_given(problem), prediction, strict=True)
            found = [np.asarray(b) - p for b, p in pairs]
            if problem._terms.given:
                found = _without_confounds(problem, found, self._added_confounds(problem))
        return _without_dropped(problem, found)

    def _added_confounds(self, problem: Problem) -> list[np.ndarray | None]:
        """Return coefficients (q, Q) of confounds for the outputs of each mask of a problem.

        They are added to those of least squares. None for least squares, and for new data.
        """
        if problem is not self.problem:
            return [None] * len(problem._by_mask)
        known = {part.outputs: part.solution._confound_fit for part in self._parts}
        return [known.get(outputs, self._confound_fit) for outputs, _ in problem._by_mask]

    def _weighted_residuals(self) -> list[np.ndarray]:
        """Return residuals of the training data in float64, an array (n, outputs) per record.

        They have the rows used in the fit, times the roots of their weights. An output that is
        excluded from a row is zero there.
        """
        return self._weighted(self._training())

    def _fitted(self) -> Fitted:
        """Return training data and prediction; for data that are read in chunks, the first rows.

        Raises:
            ValueError: If there are no training data.
        """
        problem = self._beginning()
        prediction = self._outputs(problem)
        residual = self._left(problem, prediction)
        y = [np.asarray(b) for b in _given(problem)]
        if problem._terms.given:
            y = [p + e for p, e in zip(prediction, residual, strict=True)]
        y = _without_dropped(problem, [b.copy() for b in y])
        return Fitted(y, prediction, residual, _times_roots(problem, residual))

    def _beginning(self) -> Problem:
        """Return the training data, or as many rows of data read in chunks as may be held.

        Robust fits hold all of y. Their confounds are known for all rows only.
        """
        from .inference.folds import leading

        problem, report = self._training(), self.identifiability
        assert report is not None
        whole = any(fit._confound_fit is not None for fit in self._by_mask)
        if problem._sizes(report._diagnosis.limits).chunked and not whole:
            return leading(problem, report._diagnosis.limits.held_numbers)
        return problem

    def _weighted(self, problem: Problem) -> list[np.ndarray]:
        weighted = _times_roots(problem, self._left(problem))
        flags = map(problem._kept.flags_of, range(len(weighted)))
        return [np.nan_to_num(e[f], nan=0.0) for e, f in zip(weighted, flags, strict=True)]

    def score(self, x: Any = None, y: Any = None) -> Score:
        """Return R², correlation and NRMSE fit per output.

        Args:
            x: new input, see `predict`. None, the default, is the training input.
            y: new output. None, the default, is the training output.

        Returns:
            A `Score`.

        Raises:
            ValueError: If x and y do not fit each other or the kernel. If there are no training
                data, see `load`.

        Warns:
            UserWarning: If the fit has ``confounds`` and x is given. The effect of the
                confounds on y, which is not known for new data, counts as error.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x[:250], y[:250], lags=(0, 9)))
            >>> print(fit.score(x[250:], y[250:]))
            output 0: R² 0.538 ± 0.063, correlation 0.7593, fit 32 %

        See Also:
            `cross_validate`, which solves for every fold, and `Score.r2_interval`.
        """
        problem = self._read(x, y)
        _given(problem)
        known = self.problem
        if x is not None and known is not None and known._terms.columns is not None:
            warn(
                "the fit has confounds, which are not known for new data: their effect on y counts "
                "as error; subtract it from y first"
            )
        scores: dict[int, np.ndarray] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            blocks: Blocks = predicted_blocks(problem.x, *self._model(problem))
            # With several masks, the prediction is computed once and kept.
            blocks = [*blocks] if len(problem._by_mask) > 1 else blocks
            added = self._added_confounds(problem)
            for (outputs, rows), more in zip(problem._by_mask, added, strict=True):
                score = scored(problem, outputs, rows, blocks, more)
                scores |= dict(zip(outputs, np.array(score[:-1]).T, strict=True))
        found = np.array([scores[q] for q in sorted(scores)]).T
        return Score(*found)._replace(outputs=tuple(self.outputs))

    @property
    def standard_error(self) -> np.ndarray:
        """Standard errors of the taps, in the shape, order and unit of `impulse_response`.

        For white noise in y, √(s²·diag (AᵀA)⁻¹) with s² = ‖residual‖²/dof; inf for a tap that the
        data do not determine, and NaN outside the window of a channel. With a basis, they are
        conditional on it. With a penalty, it is the standard deviation of the posterior, which
        holds on average over taps. It is too small for a tap that the penalty shrinks far from the
        truth. For `HuberLoss` it is Huber's H1, for white noise of any distribution.

        White noise is an assumption. If both the noise and x are correlated in time, the error of
        a sum over taps may be several times as large. ``solve(..., noise="ar")`` models the
        correlation, "hac" allows for it, and "cluster" allows for any dependence within a record.
        A `UserWarning` is issued once if residuals along one axis are correlated over the lags of
        the kernel: more than in one of a thousand data sets of white noise, with an autocorrelation
        of x above 0.1 and 5/√samples. At most 40 lags, 32 outputs and the first 256 MiB of long
        recordings are checked. With a penalty, residuals are also correlated if it is too strong
        and leaves some of the response in them.

        Raises:
            ValueError: If the estimate is neither least squares nor Huber's, or is not solved; no
                degrees of freedom are left; a factor exceeds the memory limit; or there are no
                training data, and the errors were not saved.
        """
        self._warn_of_errors()
        return np.asarray(ascending(self._errors[0], self._spec.ndim))

    @cached_property
    def _space(self) -> KernelSpace | None:
        """The kernels of the problem, or None for all kernels."""
        if self.problem is not None:
            return self.problem._space
        windows, groups = self._recipe.get("windows"), self._spec.groups
        given = self._recipe.get("basis"), windows and dict(enumerate(map(tuple, windows)))
        channels = self.kernel.shape[-2] * groups
        return kernel_space(*given, self._tap_lags, self._names, channels, groups)

    def _in_basis(self, name: str) -> KernelSpace:
        """Return the kernels of the problem, or raise an AttributeError if they have no basis."""
        if self._space is None:
            raise AttributeError(f"this Solution has no {name}, because the problem has no basis")
        return self._space

    @property
    def coefficients(self) -> np.ndarray:
        """Coefficients (n, outputs) of the functions of ``Problem(basis=)``, channel by channel.

        `coefficient_names` names them. Channels without a basis have their taps, in ascending lags.
        If the functions are dependent, the coefficients have the least norm, also with a lasso, and
        `print` of the problem names the functions to leave out.
        """
        space = self._in_basis("coefficients")
        kernel = np.asarray(self.kernel, float)
        return space.coefficients(kernel.reshape(space.taps, -1, kernel.shape[-1]))

    @property
    def coefficient_names(self) -> list[str]:
        """Names of the `coefficients`, as ``problem.coefficient_names``."""
        space = self._in_basis("coefficient_names")
        return space.coefficient_names(self._names, self._tap_lags[0])

    @property
    def coefficient_error(self) -> np.ndarray:
        """Standard errors (n, outputs) of `coefficients`, see `standard_error`.

        If the functions are dependent, they are errors of the coefficients of least norm.

        Raises:
            ValueError: As `standard_error`, or if the data do not determine the kernel.
        """
        self._in_basis("coefficient_error")
        if self._saved_coefficient_error is not None:
            return self._saved_coefficient_error
        if self._parts:
            return np.asarray(gathered(self._parts, lambda fit: fit.coefficient_error))
        self._warn_of_errors()
        return self._checked_errors.coefficient_error

    @property
    def noise(self) -> NoiseEstimate:
        """Noise model: its ``kind``, ``variance`` and degrees of freedom ``dof`` (outputs,).

        For `HuberLoss`, the covariance is the variance times (AᵀA)⁻¹. An autoregression also has
        ``order`` and ``coefficients``.

        Raises:
            ValueError: If there are no standard errors, see `standard_error`.
        """
        self._warn_of_errors()
        return self._errors[1]

    def covariance(self, output: int | str = 0) -> np.ndarray:
        """Return the covariance (P, P) of the taps of one output, for the assumed `noise`.

        Rows are in the order of ``impulse_response[..., output].ravel()``.

        Args:
            output: number or name of the output. Default 0.

        Returns:
            An array (P, P), in the square of the kernel's unit.

        Raises:
            TypeError: If ``output`` is neither a number nor a name.
            ValueError: If there are no standard errors, see `standard_error`; the output does not
                exist; or a tap is not determined.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
            >>> covariance = fit.covariance()
            >>> np.allclose(np.sqrt(np.diag(covariance)), fit.standard_error)
            True

        See Also:
            `confidence_band` and `test`.
        """
        output = self._names.number("output", output)
        output = integer(output, "output", 0, self.kernel.shape[-1] - 1)
        if self._parts:
            fit, place = at(self._parts, output)
            return fit.covariance(place)
        found = self._checked_errors.covariance(output)
        order = reversed_taps(len(found), self.kernel.shape[-2])
        return found[np.ix_(order, order)]

    def confidence_band(
        self, level: float = 0.95, *, simultaneous: bool = False, method: str = "max-t"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper end of a band, both shaped as `impulse_response`.

        Args:
            level: Probability that the band contains a true tap, between 0 and 1. Default 0.95.
                With a penalty, it holds on average over taps.
            simultaneous: Whether the band contains all taps of an output with that probability.
                Default False: each tap separately.
            method: Method of a simultaneous band. "max-t", the default, takes the quantile of the
                largest ``|t|`` from 4 000 draws of a fixed seed. "bonferroni" is wider if taps are
                correlated. Under noise="cluster" both are Bonferroni, since every tap then has a
                variance estimate of its own, with one degree of freedom less than records.

        Returns:
            Lower and upper end, in the kernel's unit.

        Raises:
            TypeError: If ``level`` is not a number, or ``simultaneous`` is not a bool.
            ValueError: If ``level`` is not between 0 and 1, or there are no standard errors; see
                `standard_error`.

        Warns:
            UserWarning: If a simultaneous band under noise="cluster" has 2 or 3 records. It is then
                dozens of standard errors wide.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 200))
            >>> fit = cs.solve(cs.Problem(x, 2 * x + noise, lags=(0, 3)))
            >>> low, high = fit.confidence_band(simultaneous=True)
            >>> bool(low[0] < 2 < high[0])
            True

        See Also:
            `standard_error`, `test` and `jackknife`.
        """
        level = fraction(level, "level")
        if not isinstance(simultaneous, (bool, np.bool_)):
            raise TypeError(f"simultaneous must be True or False, got {simultaneous!r}")
        choice(method, "method", ("max-t", "bonferroni"))
        reach = self._reach(level, bool(simultaneous), method)
        kernel = np.asarray(self.kernel, float)
        low, high = (ascending(kernel + r, self._spec.ndim) for r in (-reach, reach))
        return low, high

    def _reach(self, level: float, simultaneous: bool = False, method: str = "max-t") -> np.ndarray:
        """Return the half width of a band, kernel-shaped."""
        from .inference.errors import t_quantile

        self._warn_of_errors()
        error, noise = self._errors
        if simultaneous:
            return error * self._simultaneous_quantile(level, method)
        return error * t_quantile(noise.dof, (1 + level) / 2)

    def _simultaneous_quantile(self, level: float, method: str) -> np.ndarray:
        """Return the half width (outputs,) of a simultaneous band in standard errors."""
        from .inference.errors import t_quantile

        if self._parts:
            found: np.ndarray = gathered(
                self._parts, lambda fit: fit._simultaneous_quantile(level, method)
            )
            return found
        dof = self._errors[1].dof
        if self._noise_model.by_record and dof.min() < FEW_RECORDS - 1:
            warn(
                f"a simultaneous band from {dof.min() + 1:.3g} records of equal size, or from "
                "unequal records with as many degrees of freedom, is very wide, since their sums "
                "alone estimate the variance; use more records"
                + (", or noise='ar' or 'hac'" if self._spec.ndim == 1 else "")
            )
        space = self._space
        taps = math.prod(self.kernel.shape[:-1]) if space is None else int(space.kept.sum())
        bonferroni = t_quantile(dof, 1 - (1 - level) / (2 * taps))
        if method == "bonferroni" or self._noise_model.by_record:
            return bonferroni
        return np.minimum(bonferroni, self._checked_errors.max_t(level))

    def test(
        self,
        channels: Any = None,
        *,
        tmin: float | None = None,
        tmax: float | None = None,
        lags: Any = None,
        contrast: Any = None,
        value: Any = 0.0,
    ) -> FTest:
        """Test that all taps of some channels, or some sums of taps, are zero, by an F test.

        A window of lags restricts the test to these taps, along one axis. With a window alone, the
        taps of all channels are tested. All rows of a hypothesis are tested at once.

        With a basis, a coefficient can be tested by its name in `coefficient_names`, such as
        ``"tone[0]"``, the canonical function of an `HRF`. A name of a channel means all of its
        coefficients.

        Under noise="hac" and with fewer than 5000 rows, the variance of one sum of taps or
        coefficients comes from 4 cosine transforms, with 4 degrees of freedom. A single tap or
        coefficient is tested by its standard error.

        Args:
            channels: An input channel, or several, all of whose taps are tested; numbers or names.
                A dict of weights by name or number, such as ``{"tone": 1, "word": -1}``, tests
                that the weighted sum of the channels is zero at every lag. Its channels must be of
                one group, and taps outside of their windows are zero. Names of coefficients of a
                basis are accepted instead of channels, alone, in a list or in a dict, as in
                ``{"tone[0]": 1, "word[0]": -1}``.
            tmin: First lag in seconds, if the problem has ``fs``. It is rounded to whole samples.
                Default None: the first lag of the kernel.
            tmax: Last lag in seconds. Default None: the last lag of the kernel.
            lags: First and last lag in samples, inclusive, instead of tmin and tmax. A window may
                exceed the kernel. Default None: all lags.
            contrast: Weights of the taps instead of channels, ``(*lags, Cin/groups)`` in ascending
                lags, or several of them, ``(q, *lags, Cin/groups)``. The channel axis may be
                omitted if there is one channel.
            value: Tested value, one number or one per row. A row is a row of the contrast, or a
                tested tap in ascending lags, and for each lag in the order of channels, or a
                coefficient in the given order. Default 0.

        Returns:
            ``statistic``, ``dof``, ``pvalue`` and ``partial_r2``; NaN for an output that has none
            of these channels. For one sum of taps or coefficients, ``estimate`` and
            ``standard_error`` are its value and error.

        Raises:
            TypeError: If ``contrast`` is given with ``channels`` or a window, or none of them are
                given. If ``lags`` is given with ``tmin`` or ``tmax``, a window is given without
                ``fs`` or for an image, or values are not numbers.
            ValueError: If there are no standard errors, see `standard_error`; the estimate has a
                penalty, and so a bias; rows of the contrast are not independent; or the covariance
                has too few degrees of freedom for so many rows. If a channel does not exist, or the
                window contains no lag of the kernel. If coefficients are given together with
                channels or with a window, or the basis does not determine a coefficient.

        Warns:
            UserWarning: If one sum is tested under noise="hac" with fewer than 600 rows, or several
                sums with fewer than 2000 rows. If records differ in size under noise="cluster".

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 700))
            >>> fit = cs.solve(cs.Problem(x, 2 * x + noise, lags=(0, 3)), noise="hac")
            >>> test = fit.test(contrast=np.ones(4), value=2.0)
            >>> bool(test.pvalue[0] > 0.05)
            True

            Two channels of the same effect up to a lag of 20 ms:

            >>> x = np.random.default_rng(1).standard_normal((700, 2))
            >>> y = x.sum(1) + noise
            >>> problem = cs.Problem(x, y, lags=(0, 4), fs=100, channels=["tone", "word"])
            >>> fit = cs.solve(problem)
            >>> test = fit.test({"tone": 1, "word": -1}, tmin=0, tmax=0.02)
            >>> test.dof[0], bool(test.pvalue[0] > 0.05)
            (3, True)
            >>> bool(fit.test("tone", lags=(0, 2)).pvalue[0] < 1e-9)
            True

            One function of a basis:

            >>> basis = cs.Basis([[1, 0], [1, 1], [0, 1]])
            >>> problem = cs.Problem(x, y, lags=(0, 2), basis=basis, channels=["tone", "word"])
            >>> test = cs.solve(problem).test({"tone[0]": 1, "word[0]": -1})
            >>> test.dof[0], bool(abs(test.estimate[0]) < 3 * test.standard_error[0])
            (1, True)

        See Also:
            `confidence_band`, `covariance` and `permutation_test`.
        """
        from .inference.contrasts import Hypothesis

        tested = Hypothesis(self._training())
        contrasts = tested.contrasts(channels, contrast, value, (tmin, tmax, lags))
        return self._tested(contrasts)._replace(outputs=tuple(self.outputs))

    def _tested(self, contrasts: Sequence[Contrast | None]) -> FTest:
        """Test sums of the taps of every group."""
        from .inference.errors import FTest

        found: FTest
        if not self._parts:
            return self._checked_errors.test(contrasts)
        outputs, groups = self.kernel.shape[-1], self._spec.groups
        size, tests = next(len(given.value) for given in contrasts if given), []
        for some, fit in self._parts:
            every = some[:: len(some) // fit._spec.groups]
            mine = [contrasts[o * groups // outputs] for o in every]
            none = np.full(len(some), np.nan)
            nothing = FTest(none, (size, fit.noise.dof), none, none, (), none, none)
            tests.append(fit._tested(mine) if any(mine) else nothing)
        found = self._by_output(tests)
        return found

    def permutation_test(
        self,
        kind: str = "circular_shift",
        *,
        draws: int = 999,
        seed: int = 0,
        progress: bool | Listener = False,
    ) -> PermutationTest:
        """Test that y has nothing to do with x, by comparing its R² with that of resampled y.

        Resampled y keep their autocorrelation in time, which permutations of single rows destroy.
        Gaps of excluded rows are closed first.
        At a level of 5 %, simulated tests of correlated noise reject in 4 to 7 %. `test` under
        noise="ar" has more power, and tests single channels too.

        Args:
            kind: Method of resampling.

                - "circular_shift", the default: each record of y is shifted in a circle by a number
                  of rows of its own, drawn at random from all of them.
                - "records": whole records of y are permuted. This is exact if the records are
                  exchangeable. They must have one length, and there must be 4 or more; 4 records
                  have a smallest p of 1/24.
            draws: Number of resampled y, at least 19. Default 999. If there are at most
                ``draws`` + 1 shifts or permutations, all of them are taken instead.
            seed: Seed of the draws, a non-negative integer. Default 0.
            progress: True shows progress bars, see `solve`. Default False.

        Returns:
            ``statistic``, the R² of each output, ``pvalue``, and ``null_distribution``, the R² of
            every resampled y. If outputs use different rows, ``null_distribution`` may end in NaN
            for some of them. ``pvalue`` is NaN for an output of a single record that is shorter
            than 20 correlation times.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If ``kind`` is unknown; the estimate has a penalty, noise="ar" or another
                loss; x has several axes; there are weights or confounds; the records are too short,
                too few or of several lengths for this kind; or the data do not determine a tap.

        Warns:
            UserWarning: If "circular_shift" is used with a single record shorter than 20
                correlation times, or with 2 to 5 records shorter than 10.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 4, 100, 1))
            >>> fit = cs.solve(cs.Problem(x, x + noise, lags=(0, 2)))
            >>> print(fit.permutation_test().pvalue)
            [0.001]

        See Also:
            `test`, which tests single channels and lags.
        """
        choice(kind, "kind", ("circular_shift", "records"))
        draws, seed = integer(draws, "draws", 19), integer(seed, "seed", 0)
        if self._spec.ndim > 1:
            raise ValueError("permutation_test needs one axis, time; images have several")
        from .inference.permutation import permutation_test

        with following(progress, "permutation_test"):
            several = [
                permutation_test(fit._resampled("permutation_test"), kind, draws, seed)
                for fit in self._by_mask
            ]
        found: PermutationTest = self._by_output(several)
        return found

    def _by_output(self, several: Sequence[Any]) -> Any:
        """Join results of the parts; a single result has all outputs."""
        return join(several, [part.outputs for part in self._parts] * (len(several) > 1))

    @property
    def _by_mask(self) -> list[Solution]:
        """The solutions of outputs that share their rows, in most problems of all outputs."""
        if not self._parts or self._autoregression is not None:
            return [self]
        return [part.solution for part in self._parts]

    def jackknife(
        self, *, patterns: str | None = None, progress: bool | Listener = False
    ) -> Jackknife:
        """Compute errors by leaving out each record in turn, for any noise within a record.

        Records of any length are treated as independent draws. With fewer than about ten records,
        t has few degrees of freedom, and bands are wide.

        Args:
            patterns: "predicted" or "outputs" for errors of `patterns`. The decoder may then have a
                quadratic penalty. Its strength is not selected again, and the errors do not contain
                the bias that it causes. Default None, for errors of the kernel.
            progress: True shows progress bars, see `solve`. Default False.

        Returns:
            ``standard_error``, shaped as `impulse_response`, ``dof``, one less than records, the
            ``kernels`` without each record, and ``confidence_band(level)``.

        Raises:
            ValueError: If the estimate has noise="ar" or another loss, or a penalty unless patterns
                are requested; there is a single record; or a tap is not determined without one of
                the records. If there are no `patterns`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 12, 100, 1))
            >>> jackknife = cs.solve(cs.Problem(x, x + noise, lags=(0, 4))).jackknife()
            >>> jackknife.dof, jackknife.kernels.shape
            (11, (12, 5, 1, 1))

        See Also:
            `confidence_band`, and ``"cluster"``.
        """
        if patterns is not None:
            self._check_patterns(patterns, "patterns")
        with following(progress, "jackknife"):
            several = [fit._jackknife(patterns) for fit in self._by_mask]
        if len({one.dof for one in several}) > 1:
            raise ValueError("jackknife needs outputs that have rows in the same records")
        found: Jackknife = self._by_output(several)
        return found

    def _jackknife(self, patterns: str | None) -> Jackknife:
        from .inference.resampling import jackknife

        analysis = self._resampled("jackknife", penalized=patterns is not None)
        return jackknife(analysis, np.asarray(self.kernel, float), self._penalties, patterns)

    def patterns(self, of: str = "predicted") -> np.ndarray:
        """Return the patterns of a decoder, shaped as `impulse_response`.

        The weights of a decoder are filters: a channel may have a large weight to cancel noise. The
        pattern is the effect of an output on each lagged channel (Haufe et al., NeuroImage 87
        (2014) 96). It is Σx W Σ⁻¹, where Σx is the covariance of the lagged channels and W the
        kernel. Several outputs have joint patterns: each is the effect of one output while the
        others are constant.

        Means and confounds are subtracted, whether or not the fit has a bias. Covariances come from
        sums over rows. The data are read again if the fit has no bias, or for "outputs".

        Args:
            of: "predicted", the default, for the covariance Σ of the predicted outputs, as by
                Haufe et al. "outputs" for the covariance of y, as in MNE. For one output, the two
                differ by the factor var(ŷ)/var(y) only. For several, they differ in shape as well.

        Returns:
            Patterns in ascending lags, in the unit of x per unit of y.

        Raises:
            ValueError: If ``of`` is unknown; outputs are linearly dependent, or one is constant; or
                the Gram matrix exceeds the memory limit. If the covariance of x is open: with
                weights, under noise="ar", or if outputs of a group use different rows. If there are
                no training data, see `load`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> signal, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> eeg = np.stack([signal + noise, noise], axis=1)
            >>> fit = cs.solve(cs.Problem(eeg, signal, lags=(0, 0)))
            >>> fit.impulse_response.round(1)
            array([[ 1., -1.]])
            >>> fit.patterns()[0, 0].round(1), bool(abs(fit.patterns()[0, 1]) < 0.1)
            (np.float64(1.0), True)

        See Also:
            `jackknife`, for standard errors.
        """
        return np.asarray(ascending(self._patterns(of), self._spec.ndim))

    def _patterns(self, of: str = "predicted") -> np.ndarray:
        """Return the patterns, kernel-shaped."""
        self._check_patterns(of, "of")
        if self._parts:
            found: np.ndarray = gathered(self._parts, lambda fit: fit._patterns(of))
            return found
        from .inference.patterns import patterns

        problem, report = self._training(), self.identifiability
        assert report is not None
        return patterns(problem, np.asarray(self.kernel, float), of, report._diagnosis.limits)

    def _check_patterns(self, of: str, name: str) -> None:
        """Raise a ValueError if there are no patterns."""
        from .inference.patterns import KINDS

        choice(of, name, KINDS)
        outputs, groups = self.kernel.shape[-1], self._spec.groups
        if self._training()._weights is not None:
            why = "x has a covariance with weights and one without; solve without weights"
        elif self._autoregression is not None:
            why = (
                "noise='ar' filters the rows, so x has a covariance before and one after; solve "
                "with another noise model"
            )
        elif any(len(some) % (outputs // groups) for some, _ in self._parts):
            why = (
                "outputs that use different rows have no joint covariance; give all outputs one "
                "mask, or solve for each output"
            )
        elif not np.isfinite(np.asarray(self.kernel)).all():
            why = "the kernel is not finite"
        else:
            return
        raise ValueError(f"patterns cannot be computed: {why}")

    def _resampled(self, what: str, penalized: bool = False) -> Analysis:
        """Return the analysis of the training data, if the estimate is plain least squares.

        With ``penalized``, it may have a quadratic penalty.
        """
        why = self._no_errors()
        plain = self._autoregression is None and self._error_norms is None
        free = penalized or all(not strength for _, strength in self._penalties)
        if not why and not (plain and free):
            why = (
                f"{what} needs plain least squares: no penalty, the squared loss, and noise other "
                "than 'ar'; see test and standard_error"
            )
        if why:
            raise ValueError(why)
        problem, report = self._training(), self.identifiability
        assert report is not None
        return analyse(problem, report._diagnosis.limits)

    @property
    def _errors(self) -> tuple[np.ndarray, NoiseEstimate]:
        if self._saved_errors is not None:
            return self._saved_errors
        if self._parts:
            error = gathered(self._parts, lambda fit: fit._errors[0])
            noise = _transposed(gathered(self._parts, lambda fit: _transposed(fit._errors[1])))
            if self._autoregression is not None:
                noise = noise._replace(kind="ar", **self._autoregression._asdict())
            return error, noise
        found = self._made_errors
        return found.standard_error, found.noise

    @property
    def _checked_errors(self) -> Errors:
        self._warn_of_errors()
        return self._made_errors

    def _warn_of_errors(self) -> None:
        """Warn once if the residuals are not white as the errors assume."""
        if self._parts:
            for part in self._parts:
                part.solution._warn_of_errors()
        elif not (self._whiteness_checked or self._saved_errors is not None):
            self._whiteness_checked = True
            if words := self._correlated(self._made_errors):
                warn(words)

    def _correlation_warning(self) -> str:
        """Return why `standard_error` for white noise may be wrong, or an empty string.

        It is empty too if the check would cost more than the solution did.
        """
        if self._affordable_errors() is None or self._saved_errors is not None:
            return ""
        fits = self._by_mask
        found = (fit._correlated(fit._made_errors) for fit in fits)
        return next(filter(None, found), "")

    def _correlated(self, errors: Errors) -> str:
        """Return a warning if errors for white noise are used and residuals are not white.

        There is none for rows that were filtered to make their noise white, nor for images.
        """
        if not self._noise_model.independent or self._spec.ndim > 1:
            return ""
        from .inference.whiteness import warning

        problem = self._beginning()
        penalized = any(strength > 0 for _, strength in self._penalties)
        variance = errors.noise.variance if self._error_norms is None else None
        # Gaps of excluded rows are closed, which can only hide a correlation.
        return warning(problem, self._weighted(problem), variance, penalized)

    @cached_property
    def _made_errors(self) -> Errors:
        why = self._no_errors()
        if why:
            raise ValueError(why)
        problem, report = self._training(), self.identifiability
        assert report is not None
        estimate = np.asarray(self.kernel, float), self._penalties, self._error_norms
        return self._noise_model.errors(analyse(problem, report._diagnosis.limits), estimate)

    def _no_errors(self) -> str:
        """Return why there are no standard errors, or an empty string."""
        squares = self._certificate is not None and not self._has_gap
        if not squares and self._error_norms is None:
            return (
                "only least squares, plain or with a quadratic penalty, and Huber's estimate "
                "without a penalty have standard errors"
            )
        if not self.converged:
            return f"the status is {self.status!r}; standard errors need an exact solution"
        return ""

    def _affordable_errors(self) -> tuple[np.ndarray, NoiseEstimate] | None:
        """Return the standard errors in layer order, and `noise`.

        None if there are none, or if they would take longer than the solution did.
        """
        report = self.identifiability
        if self._saved_errors is not None:
            return self._saved_errors
        few = report is not None and report.n_unknowns <= report._diagnosis.limits.spectrum_columns
        if not few or self.problem is None or self._no_errors():
            return None
        taps, outputs = math.prod(self.kernel.shape[:-1]), self.kernel.shape[-1]
        sums = outputs + self._spec.groups * taps / PRODUCTS_A_SUM
        influences = self.problem.n_equations * taps * sums
        if not self._noise_model.penalties and influences > MAX_INFLUENCES:
            return None
        try:
            return self._errors
        except ValueError:  # No degrees of freedom are left.
            return None

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain numbers, strings and lists, ready for JSON.

        Numbers that are not finite are None. Standard errors are included if they take no longer
        than the solution did.

        Returns:
            A dict with the attributes of the solution, its score and the verdict.

        Examples:
            >>> import convsolve as cs
            >>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
            >>> fit.to_dict()["verdict"]
            'overdetermined'
        """
        report, chosen = self.identifiability, self.regularization
        errors = self._affordable_errors()
        found = {} if report is None else report._verdict_entries()
        return plain(
            found
            | self._coefficient_entries()
            | {
                "status": self.status,
                "converged": self.converged,
                "backward_error": self.backward_error,
                "duality_gap": self.duality_gap,
                "kernel": np.asarray(self.kernel),
                "bias": np.asarray(self.bias),
                "lags": self.lags,
                "times": None if self._names.fs is None else self.times,
                **self._names.to_dict(),
                "impulse_response": np.asarray(self.impulse_response),
                "score": None if self.problem is None else self.score()._asdict(),
                "stats": self.stats,
                "regularization": None if chosen is None else chosen.to_dict(),
                "standard_error": None if errors is None else self.standard_error,
                "noise": None if errors is None else errors[1]._asdict(),
            }
        )

    def _coefficient_entries(self) -> dict[str, Any]:
        """Return names, values and errors of the coefficients, if the problem has a basis."""
        space = self._space
        if space is None or not space.has_functions:
            return {}
        found: dict[str, Any] = {
            "coefficient_names": self.coefficient_names,
            "coefficients": self.coefficients,
        }
        known = self.problem is not None and self._affordable_errors() is not None
        known &= self.stats.get("unique") is not False
        if known or self._saved_coefficient_error is not None:
            found["coefficient_error"] = self.coefficient_error
        return found

    def to_dataframe(self) -> Any:
        """Return a table of pandas with a row per tap.

        Columns are ``output``, ``channel``, ``lag`` in samples (``lag0``, ``lag1``, … for images),
        ``time`` in seconds if the problem has ``fs``, ``weight``, and ``standard_error`` unless it
        would take longer than the solution did. Lags outside the window of a channel have no row.

        Returns:
            A `pandas.DataFrame`.

        Raises:
            ImportError: If pandas is not installed (``pip install 'convsolve[frames]'``).

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9), fs=100))
            >>> table = fit.to_dataframe()
            >>> list(table.columns), len(table)
            (['output', 'channel', 'lag', 'time', 'weight', 'standard_error'], 10)

        See Also:
            `to_xarray`.
        """
        space, kernel = self._space, np.asarray(self.kernel)
        found = to_dataframe(
            kernel, self._tap_lags, self._spec.groups, self._names, self._beside,
            None if space is None else np.broadcast_to(space.kept[..., None], kernel.shape),
        )  # fmt: skip
        return found

    def to_xarray(self) -> Any:
        """Return a dataset of xarray with the kernel in ascending lags, and the bias.

        Variables are ``weight`` and ``standard_error`` (lag, channel, output), and ``bias``
        (output). Standard errors are omitted if they would take longer than the solution did. Lags
        are in samples. The coordinate ``time`` has them in seconds if the problem has ``fs``. With
        several groups, ``channel`` is counted within a group, and ``first_channel`` is the first
        channel of x in the group. With a basis, there are also ``coefficients`` and
        ``coefficient_error`` (coefficient, output).

        Returns:
            An `xarray.Dataset`.

        Raises:
            ImportError: If xarray is not installed (``pip install 'convsolve[frames]'``).

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
            >>> dataset = fit.to_xarray()
            >>> dict(dataset.sizes)
            {'lag': 10, 'channel': 1, 'output': 1}

        See Also:
            `to_dataframe`.
        """
        kernel, bias = np.asarray(self.kernel), np.asarray(self.bias)
        found = to_xarray(
            kernel, bias, self._tap_lags, self._spec.groups, self._names, self._beside
        )
        if coefficients := self._coefficient_entries():
            names = coefficients.pop("coefficient_names")
            dims = "coefficient", "output"
            found = found.assign({name: (dims, value) for name, value in coefficients.items()})
            found = found.assign_coords(coefficient=names)
        return found

    @property
    def _beside(self) -> dict[str, np.ndarray]:
        """Further values per tap, kernel-shaped."""
        errors = self._affordable_errors()
        return {} if errors is None else {"standard_error": errors[0]}

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write kernel, bias, geometry and stats to a .npz file, without pickle.

        Args:
            path: name of the file.
            overwrite: whether an existing file is replaced. Default False.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
            >>> from tempfile import TemporaryDirectory
            >>> with TemporaryDirectory() as folder:
            ...     fit.save(f"{folder}/fit.npz")
            ...     loaded = cs.load(f"{folder}/fit.npz")
            >>> np.array_equal(loaded.kernel, fit.kernel)
            True

        See Also:
            `load`, `to_html` and `to_dataframe`.
        """
        write_solution(self, path, overwrite)

    def _entries(self) -> list[tuple[str, str]]:
        """Return labels and texts of `text` without the kernel; a continued line has no label."""
        return entries(self)

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        """Return a short description; nothing is computed."""
        return brief(self)

    def _repr_html_(self) -> str:
        """Return the text as HTML for a notebook."""
        return facts(known(self))

    plot = plot

    def to_html(
        self,
        path: str | Path,
        x: Any = None,
        y: Any = None,
        *,
        title: str = "",
        call: str = "",
        overwrite: bool = False,
    ) -> None:
        """Write a report as one page of HTML.

        It contains the data, their identifiability, the kernel with its bands, the choice of a
        penalty, scores and residuals. For a loaded solution, the report has the parts that need no
        training data.

        Args:
            path: name of the file, such as ``fit.html``. The page needs no other file and no
                network.
            x: input that was not used in the fit, for a score. None, the default, for a score on
                the training data only.
            y: output that belongs to x. Default None.
            title: headline. By default empty.
            call: command that computed the solution, if it was not a call in Python. By default
                empty.
            overwrite: whether an existing file is replaced. Default False.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
            ImportError: If matplotlib is not installed (``pip install 'convsolve[plot]'``).
            TypeError, ValueError: If x and y do not fit, as for `score`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
            >>> from pathlib import Path
            >>> from tempfile import TemporaryDirectory
            >>> with TemporaryDirectory() as folder:
            ...     fit.to_html(f"{folder}/fit.html", title="Room response")
            ...     page = Path(f"{folder}/fit.html").read_text(encoding="utf-8")
            >>> "Room response" in page
            True

        See Also:
            `plot` and `save`.
        """
        # The module of reports imports this one, so it is imported by name.
        above = import_module(".html_report", __package__)
        held_out = None if x is None and y is None else self.score(x, y)
        written: str = above.html_report(self, held_out, title=title, call=call)
        # A file name may contain characters that cannot be encoded.
        with replacing(path, overwrite) as file:
            file.write(written.encode(errors="replace"))


def _transposed(noise: NoiseEstimate) -> NoiseEstimate:
    """Return the noise with outputs along the other axis of the coefficients, if there are any."""
    c = noise.coefficients
    return noise if c is None else noise._replace(coefficients=np.nan_to_num(c.T))


def _times_roots(problem: Problem, residual: list[np.ndarray]) -> list[np.ndarray]:
    """Return residuals (*T, Cout) of every record in float64, times the roots of the weights."""
    found = [np.asarray(e, float) for e in residual]
    if problem._weights is None:
        return found
    return [e * root[..., None] for e, root in zip(found, problem._weights, strict=True)]


def _without_dropped(problem: Problem, values: list[np.ndarray]) -> list[np.ndarray]:
    """Return values (*T, Cout) of every record, NaN in excluded rows."""
    for outputs, rows in problem._by_mask:
        if rows.flags is not None:
            for a, flags in zip(values, rows.flags, strict=True):
                a[~flags[..., None] & np.isin(np.arange(a.shape[-1]), outputs)] = np.nan
    return values


def _without_confounds(
    problem: Problem, left: list[np.ndarray], added: Sequence[np.ndarray | None]
) -> list[np.ndarray]:
    """Return residuals (*T, Cout) of every record, less the confounds that fit them best.

    ``added`` are coefficients (q, Q) for the outputs of each mask, in addition to least squares.
    """
    found = [a.copy() for a in left]
    for (outputs, rows), more in zip(problem._by_mask, added, strict=True):
        some = [*outputs]
        confounds = Confounds(problem._terms, False, rows, problem._weights)
        whole = without_confounds(confounds, [a[..., some] for a in left], more)
        for i, part in enumerate(np.split(whole, np.cumsum(rows.sizes)[:-1])):
            place = np.ix_(rows.flags_of(i).reshape(-1), np.isin(range(left[i].shape[-1]), some))
            flat = found[i].reshape(-1, left[i].shape[-1])
            flat[place] = part / confounds.root(i)
    return found


def load(path: str | Path) -> Solution:
    """Read a solution that `Solution.save` wrote.

    The solution has its kernel, lags, stats and standard errors, and can predict and score.
    Training data, and the kernels along a trace, are not saved.

    Args:
        path: name of the file.

    Returns:
        A `Solution`.

    Raises:
        ValueError: If the file is damaged, has no solution, or has an unknown version. If its noise
            model is your own and is not registered.

    Examples:
        >>> import convsolve as cs
        >>> from tempfile import TemporaryDirectory
        >>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
        >>> with TemporaryDirectory() as folder:
        ...     fit.save(f"{folder}/fit.npz")
        ...     loaded = cs.load(f"{folder}/fit.npz")
        >>> loaded.predict([0, 3, 4, 5]).round(6)
        array([ 6., 11., 14.])

    See Also:
        `Solution.save`.
    """
    return Solution(**read_solution(path))


def _given(problem: Problem) -> tuple[np.ndarray, ...]:
    if problem.y is None:
        raise ValueError("y is needed: pass both x and y")
    return problem.y
