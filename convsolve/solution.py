"""Solution: a kernel, how far it can be trusted, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from .errors import warn
from .facts import Fact, Reported, plain
from .frames import to_dataframe, to_xarray
from .identifiability.report import Identifiability
from .io import write_new
from .lazy import as_jax, plot
from .leastsquares.certificate import GAP
from .model import Added, Model, Part, without_excluded
from .noise import NoiseModel
from .notation import suggests_attributes
from .operators.layout import ascending, reversed_taps
from .parallel import cached_property
from .parts import join
from .problem.checks import choice, flag, fraction, integer
from .problem.kernel_space import KernelSpace
from .problem.problem import Problem
from .problem.records import Records
from .progress import following
from .scoring import Score
from .solution_facts import solution_facts, solution_values
from .solution_file import read_solution, write_solution
from .solvers.base import SolverResult

if TYPE_CHECKING:
    from .inference.doubts import Whiteness
    from .inference.errors import FTest, NoiseEstimate
    from .inference.regularization import Regularization
    from .inference.resampling import Jackknife, PermutationTest
    from .inference.responses import Delay, FrequencyResponse, Responses, StepResponse

    # Standard errors, kernel-shaped, the noise, and errors of coefficients.
    SavedErrors = tuple[np.ndarray, NoiseEstimate, np.ndarray | None]

_T = TypeVar("_T")
# Largest rows × weights for which a text or a file has errors under dependent noise: one second.
MOST = 2**27


@suggests_attributes
class Solution(Reported):
    """Estimated kernel, its reliability and its predictions, as `solve` returns them.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)``, in the data's precision; NumPy, or jax for jax data.
        bias: ``(Cout,)``; zeros without a bias.
        status: "solved", "approximate", "max steps", "stagnated", "interrupted" or "diverged".
        backward_error: relative backward error as a least-squares solution, largest over outputs.
            Below 30 eps (6.7e-15), the solution is exact. ``stats["certificate_kind"]`` is "value"
            or "upper bound". None for other losses, for a lasso and for early stopping.
        duality_gap: relative duality gap of `HuberLoss`, ``"absolute"`` and `Lasso`, largest over
            outputs: the loss exceeds its minimum by at most this share. None for other solvers.
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
        >>> fit
        <Solution 1 channel to 1 output, 10 lags from 0 to 9 samples; solved>
        >>> low, high = fit.confidence_band()
        >>> fit.predict().shape
        (500,)

    See Also:
        `solve`, `load`, `compare` and `Score`.
    """

    def __init__(
        self,
        model: Model,
        found: SolverResult,
        noise_model: NoiseModel,
        problem: Problem | None = None,
        identifiability: Identifiability | None = None,
        parts: Sequence[Part] = (),
        saved: SavedErrors | None = None,
    ) -> None:
        """After `load`, there are errors that were ``saved``, and no ``parts``."""
        self._describe(model)
        self._noise_model = noise_model
        self.status, self.stats, self.trace = found.status or "", found.stats, found.trace
        bound = found.certificate
        self.duality_gap = bound.value if bound is not None and bound.kind == GAP else None
        self.backward_error = None if bound is None or bound.kind == GAP else bound.value
        self._certificate, self._penalty = found.certificate, found.regularization
        self.problem, self.identifiability = problem, identifiability
        self._parts, self._saved, self._edges_reported = tuple(parts), saved, False

    def _describe(self, model: Model) -> None:
        """Take kernel, bias and geometry from a model with the same lags."""
        self._model, self.kernel, self.bias = model, model.kernel, model.bias
        self._spec, self._space = model.spec, model.space
        self._names, self._axes = model.names, model.axes

    # --- the estimate

    @property
    def converged(self) -> bool:
        """Whether the solver converged; this does not depend on the quality of the data."""
        return self.status == "solved"

    @property
    def _penalized(self) -> bool:
        """Whether the kernel has a penalty; bands then describe its posterior."""
        return self._penalty is not None

    @property
    def _report(self) -> Identifiability | None:
        """The report, except after Ctrl-C: the rank decision can take minutes."""
        return None if self.status == "interrupted" else self.identifiability

    @cached_property
    def regularization(self) -> Regularization | None:
        """Penalty and strength of every output, given or selected, or None without a penalty."""
        if (found := self._penalty) is None:
            return None
        if found.criterion == "given" and self._parts and self._affordable_errors() is not None:
            freedom = self._join(lambda part: part.errors.effective_dof)
            variance = self._errors(checked=False)[1].variance
            found = replace(found, effective_dof=freedom, noise_variance=variance)
        return replace(found, outputs=tuple(self.outputs))

    @property
    def impulse_response(self) -> Any:
        """The kernel in ascending lag order, without channel axes of length one.

        ``plt.plot(fit.lags, fit.impulse_response)`` plots it if x or y has one channel.
        """
        return ascending(self.kernel, self._spec.ndim)

    @property
    def lags(self) -> Any:
        """Ascending lags in samples, in the order of `impulse_response`; one array per axis."""
        ascending = tuple(lags[::-1] for lags in self._model.lags)
        return ascending[0] if len(ascending) == 1 else ascending

    @property
    def times(self) -> np.ndarray:
        """Ascending lags in seconds.

        Raises:
            ValueError: If the problem has no ``fs``.
        """
        if self._names.fs is None:
            raise ValueError("there is no sampling rate: state the problem with fs=")
        return np.asarray(self.lags / self._names.fs)

    @property
    def channels(self) -> list[Any]:
        """Names of the channels of x, or their numbers."""
        return self._names.all("channel", self.kernel.shape[-2] * self._spec.groups)

    @property
    def outputs(self) -> list[Any]:
        """Names of the outputs, or their numbers."""
        return self._names.all("output", self.kernel.shape[-1])

    # --- predictions

    def _training(self) -> Problem:
        if self.problem is None:
            raise ValueError("there are no training data in a file; give x and y, or solve again")
        return self.problem

    def _data(self, x: Any, y: Any = None, edges: str | None = None) -> Problem:
        """Return the training data, or other data."""
        if x is not None:
            return self._model.problem(x, y, edges)
        if y is not None:
            raise ValueError("y was given without x")
        return self._training()

    def _added(self, problem: Problem) -> Added:
        """Return the known coefficients of confounds; there are none for new data."""
        known = self._parts if problem is self.problem else ()
        return {part.outputs: part.found.confound_fit for part in known}

    def predict(self, x: Any = None, *, edges: str | None = None, past: Any = None) -> Any:
        """Return the output of the model for x, in the form of x.

        With lags it is as long as x, over the stride. Rows that are not used are NaN: those that
        are excluded, and with edges="drop" those whose window exceeds the record. There is a
        channel axis if the training y had one. The output contains the kernel and the bias,
        without confounds.

        Args:
            x: input in the form of the training input, of any length. None, the default, is the
                training input.
            edges: "zeros" if x is zero outside the record, as in a simulation from rest. All rows
                are then predicted. "drop" or "circular" as in `Problem`. None, the default, is the
                setting of the problem.
            past: samples of x before the record, in the form of x and of any length. x is zero
                before them, and after the record. Default None: there are none.

        Returns:
            y, in the unit of the training y.

        Raises:
            TypeError: If ``edges`` or ``past`` is given for a kernel that was stated by
                ``kernel_size``.
            ValueError: If x has another number of channels than the kernel. If x is None and the
                solution was loaded from a file, or ``edges`` or ``past`` is given. If ``past`` has
                other records or channels than x, or is given with edges other than "zeros".

        Warns:
            UserWarning: Once, if rows are NaN because their windows exceed the record.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
            >>> fit.predict().shape
            (500,)
            >>> step = fit.predict(np.ones(100), edges="zeros")
            >>> np.allclose(step[:10], np.cumsum(fit.impulse_response))
            True
            >>> more = fit.predict(np.ones(50), past=np.ones(100))
            >>> np.allclose(more, step[-1])
            True

        See Also:
            `residuals` and `score`.
        """
        given = edges is not None or past is not None
        if (given and x is None) or (past is not None and edges not in (None, "zeros")):
            raise ValueError("edges= and past= need x, and past= needs edges='zeros'")
        problem = self._data(x, edges="zeros" if past is not None else edges)
        cut = [*map(problem._geometry.y_shape, problem._lengths)] != [*problem._kept.shapes]
        if cut and not (given or x is None or self._edges_reported):
            self._edges_reported = True
            warn("rows whose windows exceed the record are NaN; use edges='zeros' or past=")
        found = without_excluded(problem, self._model.predictions(problem, past))
        return _packed(problem, found, problem._input, self._model.channel_axis)

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
        problem = self._data(x, y)
        found, output = self._model.residuals(problem, self._added(problem)), problem._output
        assert output is not None
        return _packed(problem, found, output, output.channel_axis)

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
            output             R²  correlation  fit (%)
            0       0.538 ± 0.063        0.759     32.0

        See Also:
            `cross_validate`, which solves for every fold, and `Score.r2_interval`.
        """
        problem, known = self._data(x, y), self.problem
        if x is not None and known is not None and known._terms.confounds:
            warn("confounds are not known for new data, so their effect on y counts as error")
        found = self._model.score(problem, self._added(problem))
        return replace(found, outputs=tuple(self.outputs))

    def _fitted(self) -> tuple[Problem, list[np.ndarray], list[np.ndarray]]:
        """Return the training data, predictions and residuals.

        For data that are read in chunks, they are the first rows.

        Raises:
            ValueError: If there are no training data.
        """
        problem = self._parts[0].beginning(self._training())
        prediction = self._model.predictions(problem)
        return problem, prediction, self._model.residuals(problem, self._added(problem), prediction)

    # --- errors and tests, from the parts

    def _join(self, of: Callable[[Part], _T], progress: bool = False) -> _T:
        """Return the results of a function of every part, joined in the order of outputs."""
        self._training()
        with following(progress):
            each = [of(part) for part in self._parts]
        found: _T = join(each, [part.outputs for part in self._parts])
        return found

    def _errors(self, checked: bool = True) -> tuple[np.ndarray, NoiseEstimate]:
        """Return the standard errors, kernel-shaped, and the noise.

        With ``checked``, warn if the residuals are not white as the errors assume.
        """
        if self._saved is not None:
            return self._saved[:2]
        for part in self._parts if checked else ():
            part.check()
        error, noise = self._join(lambda part: (part.errors.standard_error, part.noise))
        if (by_output := noise.coefficients) is not None:
            noise = replace(noise, coefficients=np.nan_to_num(by_output.T))
        return error, noise

    def _affordable_errors(self) -> tuple[np.ndarray, NoiseEstimate] | None:
        """Return `_errors`, or None if there are none or they take longer than the solution."""
        if self._saved is not None:
            return self._saved[:2]
        if self.problem is None or self._no_errors:
            return None
        few = self._few or any(part.approximate for part in self._parts)
        influences = 0 if self._noise_model.penalties else self.problem.n_equations
        try:
            return self._errors(False) if few and influences * self.kernel.size <= MOST else None
        except ValueError:  # No degrees of freedom are left.
            return None

    @property
    def _few(self) -> bool:
        """Whether the covariance of all taps takes little time."""
        return self._training().n_unknowns <= self._parts[0].limits.spectrum_columns

    @property
    def _correlation(self) -> str:
        """Why errors for white noise may be wrong, or an empty string."""
        known = self._parts if self._affordable_errors() is not None else ()
        return next(filter(None, (part.correlation for part in known)), "")

    @property
    def _no_errors(self) -> str:
        """Why there are no standard errors, or an empty string."""
        return next((part.no_errors for part in self._parts if part.no_errors), "")

    @property
    def standard_error(self) -> np.ndarray:
        """Standard errors of the taps, in the shape, order and unit of `impulse_response`.

        For white noise in y, √(s²·diag (AᵀA)⁻¹) with s² = ‖residual‖²/dof; inf for a tap that the
        data do not determine, and NaN outside the window of a channel. With a basis, they are
        conditional on it. With a penalty, it is the standard deviation of the posterior, which
        holds on average over taps. It is too small for a tap that the penalty shrinks far from the
        truth. Above 1500 unknowns along one axis, a Toeplitz matrix replaces AᵀA for a ridge and
        for a "dc" prior without correlation. The errors are then approximate, to a few per cent for
        a ridge and to about a quarter for the prior. For `HuberLoss` it is Huber's H1, for white
        noise of any distribution.

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
        return np.asarray(ascending(self._errors()[0], self._spec.ndim))

    @property
    def noise(self) -> NoiseEstimate:
        """Noise model: its ``kind``, ``variance`` and degrees of freedom ``dof`` (outputs,).

        For `HuberLoss`, the covariance is the variance times (AᵀA)⁻¹. An autoregression also has
        ``order`` and ``coefficients``.

        Raises:
            ValueError: If there are no standard errors, see `standard_error`.
        """
        return self._errors()[1]

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
        return space.coefficient_names(self._names, self._model.lags[0])

    @property
    def coefficient_error(self) -> np.ndarray:
        """Standard errors (n, outputs) of `coefficients`, see `standard_error`.

        If the functions are dependent, they are errors of the coefficients of least norm.

        Raises:
            ValueError: As `standard_error`, or if the data do not determine the kernel.
        """
        self._in_basis("coefficient_error")
        self._errors()
        if self._saved is not None and self._saved[2] is not None:
            return self._saved[2]
        return np.asarray(self._join(lambda part: part.errors.coefficient_error))

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
        last = self.kernel.shape[-1] - 1
        output = integer(self._names.number("output", output), "output", 0, last)
        self._training()
        part = next(part for part in self._parts if output in part.outputs)
        part.check()
        found = part.errors.covariance(part.outputs.index(output))
        order = reversed_taps(len(found), self.kernel.shape[-2])
        return found[np.ix_(order, order)]

    def confidence_band(
        self, level: float = 0.95, *, simultaneous: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper end of a band, both shaped as `impulse_response`.

        Args:
            level: Probability that the band contains a true tap, between 0 and 1. Default 0.95.
                With a penalty, it holds on average over taps.
            simultaneous: Whether the band contains all taps of an output with that probability.
                Default False: each tap separately. The quantile of the largest ``|t|`` comes from
                4 000 draws of a fixed seed. Under noise="cluster" it is Bonferroni's, since every
                tap then has a variance estimate of its own, with one degree of freedom less than
                records.

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
        from .inference.errors import t_quantile

        level, (error, noise) = fraction(level, "level"), self._errors()
        if flag(simultaneous, "simultaneous"):
            reach = error * self._join(lambda part: part.errors.simultaneous(level))
        else:
            reach = error * t_quantile(noise.dof, (1 + level) / 2)
        kernel = np.asarray(self.kernel, float)
        low, high = (ascending(kernel + r, self._spec.ndim) for r in (-reach, reach))
        return low, high

    def test(
        self,
        channels: Any = None,
        *,
        tmin: float | None = None,
        tmax: float | None = None,
        lags: Any = None,
        contrast: Any = None,
        value: Any = 0.0,
        alternative: str = "two-sided",
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
                A weighted sum, such as ``"tone - word"``, ``"2 tone - word - noise"`` or
                ``{"tone": 1, "word": -1}``, a dict by name or number, tests that this sum of the
                channels is zero at every lag. Its channels must be of one group, and taps outside
                of their windows are zero. Names of coefficients of a basis are accepted instead of
                channels, alone, in a list or in a sum, as in ``"tone[0] - word[0]"``.
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
            alternative: "two-sided" (the default), or for a test of one number "greater" or "less":
                the sum is greater, or less, than the tested value.

        Returns:
            ``statistic``, ``dof``, ``pvalue`` and ``partial_r2``; NaN for an output that has none
            of these channels. For one sum of taps or coefficients, ``estimate``,
            ``standard_error`` and ``t`` are its value, its error and Student's t.

        Raises:
            TypeError: If ``contrast`` is given with ``channels`` or a window, or none of them are
                given. If ``lags`` is given with ``tmin`` or ``tmax``, a window is given without
                ``fs`` or for an image, or values are not numbers.
            ValueError: If there are no standard errors, see `standard_error`; the estimate has a
                penalty, and so a bias; rows of the contrast are not independent; or the covariance
                has too few degrees of freedom for so many rows. If a channel does not exist, or the
                window contains no lag of the kernel. If coefficients are given together with
                channels or with a window, or the basis does not determine a coefficient. If
                ``alternative`` is unknown, or is one-sided for a test of several numbers.

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
            >>> test = fit.test("tone - word", tmin=0, tmax=0.02)
            >>> test.dof[0], bool(test.pvalue[0] > 0.05)
            (3, True)
            >>> bool(fit.test("tone", lags=(0, 2)).pvalue[0] < 1e-9)
            True

            One function of a basis:

            >>> basis = cs.Basis([[1, 0], [1, 1], [0, 1]])
            >>> problem = cs.Problem(x, y, lags=(0, 2), basis=basis, channels=["tone", "word"])
            >>> test = cs.solve(problem).test("tone[0] - word[0]", alternative="greater")
            >>> test.dof[0], bool(abs(test.t[0]) < 3)
            (1, True)

        See Also:
            `confidence_band`, `covariance` and `permutation_test`.
        """
        from .inference.contrasts import Hypothesis

        tested = Hypothesis(self._training())
        contrasts = tested.contrasts(channels, contrast, value, (tmin, tmax, lags))
        size = next(len(given.value) for given in contrasts if given)
        each = self.kernel.shape[-1] // self._spec.groups

        def of(part: Part) -> FTest:
            first = part.outputs[:: len(part.outputs) // part.problem.spec.groups]
            part.check()
            return part.errors.test([contrasts[o // each] for o in first], size)

        found: FTest = self._join(of)
        return replace(found, outputs=tuple(self.outputs)).against(alternative)

    def frequency_response(
        self, frequencies: Any = None, *, level: float = 0.95, simultaneous: bool = False
    ) -> FrequencyResponse:
        """Compute the frequency response of the kernel, with bands of magnitude and phase.

        The band of the magnitude is not linearized in decibels. It contains zero where the
        magnitude may be zero. The band of the phase is Fieller's interval. Where this is a whole
        circle, the phase is NaN. With a penalty, bands hold on average over frequencies. The
        covariance of 8000 taps takes half a minute.

        Args:
            frequencies: ``(F,)`` in Hz, or in cycles per sample without ``fs``. None, the default,
                are 512 frequencies from 0 to half of the sampling rate.
            level: probability that a band contains the true value. Default 0.95.
            simultaneous: whether it does so for magnitude and phase at all frequencies, for all
                channels and outputs at once. Default False: at each frequency. The size of the
                bands comes from 1 000 draws of a fixed seed.

        Returns:
            A `FrequencyResponse`. Its values are those of ``scipy.signal.freqz`` for lags from 0.

        Raises:
            TypeError: If ``level`` is not a number, or ``simultaneous`` is not a bool.
            ValueError: If there are no standard errors, see `standard_error`; if a tap is not
                determined; if the kernel has several axes; if frequencies are not finite or exceed
                half of the sampling rate; or if simultaneous bands are requested with a penalty,
                for which they do not hold.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 2), fs=100))
            >>> print(fit.frequency_response([0, 25]))
            kernel  |H| at 0 Hz  largest |H|  at (Hz)
            0 → 0         1.913        1.913        0

        See Also:
            `step_response`, `delay` and ``plot(kind="bode")``.
        """
        bands = fraction(level, "level"), flag(simultaneous, "simultaneous")
        return self._responses(simultaneous).frequency(frequencies, *bands)

    def step_response(self, *, level: float = 0.95, simultaneous: bool = False) -> StepResponse:
        """Compute the response to a unit step in x, and the static gain.

        Args:
            level: probability that the band contains the true value. Default 0.95.
            simultaneous: whether it does so at all lags at once. Default False: at each lag.

        Returns:
            A `StepResponse`.

        Raises:
            TypeError, ValueError: As for `frequency_response`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 2), fs=100))
            >>> print(fit.step_response())
            kernel   gain  standard error
            0 → 0   1.913         0.07265

        See Also:
            `frequency_response`, and ``plot(kind="step")``.
        """
        bands = fraction(level, "level"), flag(simultaneous, "simultaneous")
        return self._responses(simultaneous).step(*bands)

    def delay(self, level: float = 0.95) -> Delay:
        """Compute the lag of the largest weight, and an upper bound of the delay.

        The range of the lag comes from 400 draws of the kernel with its covariance. In simulations
        it contained the true lag in 99 to 100 %, and the bound held in 99 %, at a level of 95 %.

        Args:
            level: probability of range and bound. Default 0.95.

        Returns:
            A `Delay`.

        Raises:
            TypeError, ValueError: As for `frequency_response`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0, 0, 1.0, 0.3])[:500] + noise
            >>> delay = cs.solve(cs.Problem(x, y, lags=(0, 9))).delay()
            >>> float(delay.peak), float(delay.latest)
            (2.0, 2.0)

        See Also:
            `confidence_band` and `test`.
        """
        return self._responses().delay(fraction(level, "level"), not self._penalized)

    def _responses(self, simultaneous: bool = False, bands: bool = True) -> Responses:
        """Return the responses of all channels and outputs, with their covariance or without."""
        from .inference.responses import Responses

        if self._spec.ndim > 1:
            raise ValueError("a response needs one axis, time")
        if simultaneous and self._penalized:
            raise ValueError("bands of a response with a penalty do not hold simultaneously")
        self._training()
        if bands:
            self._errors()
        return Responses(self, bands)

    def whiteness(self, lags: int | None = None) -> Whiteness:
        """Test that the residuals of every output are white, by the statistic of Ljung and Box.

        With noise="ar", these are residuals of the filtered rows.

        Args:
            lags: number of lags. None, the default, is the length of the kernel, at most 40 and a
                fifth of the rows, plus the order of the autoregression.

        Returns:
            A `Whiteness`.

        Raises:
            TypeError: If ``lags`` is not an integer.
            ValueError: If the kernel has several axes, if there are no standard errors of squares,
                or if lags do not exceed the order of the autoregression.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> print(cs.solve(cs.Problem(x, x + noise, lags=(0, 9))).whiteness())
            Ljung-Box test of residuals
            output  lags      Q  d.o.f.  p-value
            0         10  6.669      10   0.7563

        See Also:
            `noise`, and ``plot(kind="residuals")``.
        """
        given = None if lags is None else integer(lags, "lags")
        found = self._join(lambda part: part.whiteness(given))
        return replace(found, outputs=tuple(self.outputs))

    def permutation_test(
        self,
        kind: str = "circular_shift",
        *,
        draws: int = 999,
        seed: int = 0,
        progress: bool = False,
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
        from .inference.resampling import permutation_test

        return self._join(
            lambda part: permutation_test(part.plain("permutation_test"), kind, draws, seed),
            progress,
        )

    def jackknife(self, *, patterns: str | None = None, progress: bool = False) -> Jackknife:
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
        from .inference.resampling import jackknife

        if patterns is not None:
            self._check_patterns(patterns, "patterns")

        def of(part: Part) -> Jackknife:
            analysis = part.plain("jackknife", penalized=patterns is not None)
            return jackknife(analysis, self._kernel_of(part), part.penalties, patterns)

        found: Any = self._join(of, progress)
        if isinstance(found.dof, list):
            raise ValueError("jackknife needs outputs that have rows in the same records")
        return cast("Jackknife", found)

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
        from .inference.patterns import patterns

        self._check_patterns(of, "of")
        return self._join(
            lambda part: patterns(part.problem, self._kernel_of(part), of, part.limits)
        )

    def _kernel_of(self, part: Part) -> np.ndarray:
        return np.asarray(self.kernel[..., [*part.outputs]], float)

    def _check_patterns(self, of: str, name: str) -> None:
        """Raise a ValueError if there are no patterns."""
        from .inference.patterns import KINDS

        choice(of, name, KINDS)
        each = self.kernel.shape[-1] // self._spec.groups
        if any(part.filter or len(part.outputs) % each for part in self._parts):
            raise ValueError("outputs have rows of their own, by noise='ar' or a mask per output")

    # --- texts, tables and files

    def facts(self, full: bool = True) -> Iterable[Fact]:
        """Return the statements of the text.

        Args:
            full: whether statements are included that need a computation. Default True.

        Returns:
            Named tuples with ``key``, ``label``, ``text`` and ``value``.

        Examples:
            >>> import convsolve as cs
            >>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
            >>> [fact.label for fact in fit.facts(full=False)]
            ['Kernel', 'Status']

        See Also:
            `to_dict`.
        """
        return solution_facts(self, full)

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
        return cast("dict[str, Any]", plain(solution_values(self)))

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
        return to_dataframe(self)

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
        return to_xarray(self)

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
        # The module of pages imports this one, so it is imported by name.
        above = import_module(".page", __package__)
        held_out = None if x is None and y is None else self.score(x, y)
        written: str = above.page(self, held_out, title=title, call=call)
        # A file name may contain characters that cannot be encoded.
        encoded = written.encode(errors="replace")
        write_new(path, lambda file: file.write(encoded), overwrite)


def _packed(problem: Problem, found: list[np.ndarray], form: Records, channel_axis: bool) -> Any:
    """Return values of every row in the form of other records."""
    packed = form.like(problem._as_long_as_y(found), channel_axis)
    return as_jax(packed) if problem._returns_jax else packed


def load(path: str | Path) -> Solution:
    """Read a solution that `Solution.save` wrote.

    The solution has its kernel, lags, stats and standard errors, and can predict and score.
    Training data, and the kernels along a trace, are not saved.

    Args:
        path: name of the file.

    Returns:
        A `Solution`.

    Raises:
        ValueError: If the file is damaged or has no solution. If its noise model is your own and is
            not registered.

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
    model, found, noise_model, saved = read_solution(path)
    return Solution(model, found, noise_model, saved=saved)
