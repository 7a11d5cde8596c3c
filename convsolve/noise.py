"""Models of the noise in y: the problems that each suits, and its standard errors."""

from __future__ import annotations

from dataclasses import dataclass

from .inference.errors import ClusterErrors, Errors, Estimate, HacErrors
from .leastsquares.analysis import Analysis
from .problem.checks import integer
from .problem.problem import Problem
from .text import as_call


class NoiseModel:
    """An assumption on the noise in y. By default, rows are independent.

    Attributes:
        name: its name in ``noise=``.
        assumption: a clause that follows a standard error in texts.
        in_time: whether rows have an order, so that the problem has one axis.
        independent: whether rows are independent, which residuals may contradict. Only then there
            are errors of estimates with another loss than squares.
        penalties: whether there are errors of estimates with a penalty. Otherwise errors take
            products of rows × taps² numbers.

    Examples:
        >>> import convsolve as cs
        >>> model = cs.HACNoise(bandwidth=20)
        >>> model.name, model.label, model.assumption
        ('hac', 'hac20', 'for stationary noise')

    See Also:
        ``"white"``, `ARNoise`, `HACNoise` and ``"cluster"``.
    """

    name: str
    assumption: str
    independent = penalties = True
    in_time = False

    def __repr__(self) -> str:
        return as_call(self)

    @property
    def label(self) -> str:
        """The name, with a number if one is given, as ``noise=`` accepts it."""
        return self.name + "".join(str(n) for n in vars(self).values() if isinstance(n, int))

    def check(self, problem: Problem) -> None:
        """Raise a ValueError if the problem has no errors under this noise."""
        if self.in_time and problem.spec.ndim > 1:
            raise ValueError(f"noise={self.name!r} needs one axis, time")

    def errors(self, analysis: Analysis, estimate: Estimate) -> Errors:
        """Return the errors, bands and tests of an estimate, by default from its factor."""
        return Errors(analysis, estimate)


class _InTime(NoiseModel):
    """A noise model along time with one number, which is None by default."""

    in_time = True
    independent = False

    def __post_init__(self) -> None:
        for name, given in vars(self).items():
            if given is not None:
                object.__setattr__(self, name, integer(given, name))


@dataclass(frozen=True, repr=False)
class WhiteNoise(NoiseModel):
    """Independent rows of one variance, or of a variance that weights describe: the default.

    If the noise and x are both correlated in time, the errors of sums of taps are too small. Use
    `ARNoise`, `HACNoise` or ``"cluster"`` then.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, noise="white")  # the default
        >>> fit.noise.kind, fit.noise.dof
        ('white', array([481.]))

    See Also:
        `ARNoise`, `HACNoise` and ``"cluster"``.
    """

    name = "white"
    assumption = "for white noise"


@dataclass(frozen=True, repr=False)
class ARNoise(_InTime):
    """An autoregression per output. Rows are filtered until their noise is white.

    Args:
        order: the order p. None, the default, selects it by AIC, up to 40 and a tenth of the number
            of rows.

    The solution is generalized least squares. The residuals of least squares determine the
    autoregression. Its filter (1, −ρ₁, …, −ρ_p) makes the noise white. Least squares of the
    filtered rows gives residuals for a second autoregression, whose filter gives the solution. A
    record loses its first p rows, and as many after every gap. The coefficients are corrected for
    the confounds of every record of at most 2000 rows. With more than 50 outputs, coefficients of
    order one are rounded to a fifth of their standard error, so that outputs share filters. An
    output that is fitted exactly has no autoregression. The certificate is the backward
    error as least squares of the filtered rows. Predictions, residuals and R² refer to y itself.

    It requires squared loss, one axis and no weights of single rows. `HACNoise` changes only the
    errors of the solution.

    Examples:
        >>> import numpy as np
        >>> from scipy.signal import lfilter
        >>> import convsolve as cs
        >>> x, white = np.random.default_rng(0).standard_normal((2, 1000))
        >>> problem = cs.Problem(x, x + lfilter([1], [1, -0.8], white), lags=(0, 4))
        >>> fit = cs.solve(problem, noise=cs.ARNoise(1))
        >>> fit.noise.coefficients.round(1)
        array([[0.8]])

    See Also:
        `HACNoise` and ``"cluster"``, which do not change the solution.
    """

    order: int | None = None

    name = "ar"
    assumption = "for autoregressive noise"

    def check(self, problem: Problem) -> None:
        """Raise a ValueError for images, or if single rows have weights."""
        super().check(problem)
        if any(root.ndim for root in problem._weights or ()):
            raise ValueError("noise='ar' needs equal weights of all rows of a record")


@dataclass(frozen=True, repr=False)
class HACNoise(_InTime):
    """Rows depend on those near them in time (Newey and West).

    Args:
        bandwidth: number of rows before and after a row that it depends on, less than the number
            of rows. None, the default, is about 1.3·√rows.

    The errors change, and the solution does not. It requires squared loss, no penalty and one axis.
    For a single record, the covariance is that of statsmodels with ``maxlags=bandwidth`` and
    ``use_correction=True``. With fewer than 5000 rows, the variance of one sum of several taps
    comes from 4 cosine transforms, without the bandwidth. The influences of all rows on all taps
    must fit into the memory.

    Source: W. K. Newey and K. D. West, Econometrica 55 (1987) 703.

    Examples:
        >>> import numpy as np
        >>> from scipy.signal import lfilter
        >>> import convsolve as cs
        >>> x, white = np.random.default_rng(0).standard_normal((2, 1000))
        >>> problem = cs.Problem(x, x + lfilter([1], [1, -0.8], white), lags=(0, 4))
        >>> fit = cs.solve(problem, noise=cs.HACNoise(bandwidth=20))
        >>> low, high = fit.confidence_band()
        >>> bool(low[0] < 1 < high[0])
        True

    See Also:
        `ARNoise`, ``"cluster"`` and ``"white"``.
    """

    bandwidth: int | None = None

    name = "hac"
    assumption = "for stationary noise"
    penalties = False

    def check(self, problem: Problem) -> None:
        """Raise a ValueError for images, or unless there are more rows than the bandwidth."""
        super().check(problem)
        if self.bandwidth is not None and self.bandwidth >= problem.n_equations:
            rows = f"{self.bandwidth} rows in every output, got {problem.n_equations}"
            raise ValueError(f"noise={self.label!r} needs more than {rows}")

    def errors(self, analysis: Analysis, estimate: Estimate) -> Errors:
        """Return errors from products of rows that are near each other."""
        return HacErrors(analysis, estimate, self.bandwidth)


@dataclass(frozen=True, repr=False)
class ClusterNoise(NoiseModel):
    """The rows of a record depend on each other, and records are independent.

    The errors change, and the solution does not. It requires squared loss, no penalty and several
    records. The degrees of freedom are one less than the number of records.

    Source: K.-Y. Liang and S. L. Zeger, Biometrika 73 (1986) 13.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 12, 200, 1))
        >>> fit = cs.solve(cs.Problem(x, x + noise, lags=(0, 4)), noise="cluster")
        >>> fit.noise.dof
        array([11.])

    See Also:
        `HACNoise` and `ARNoise` for a single record, and `Solution.jackknife`.
    """

    name = "cluster"
    assumption = "for noise that is independent between records"
    penalties = independent = False

    def check(self, problem: Problem) -> None:
        """Raise a ValueError unless there are several records."""
        if any(len(part._nuisance.records_left(part._kept)) < 2 for _, part in problem.parts):
            raise ValueError(f"noise={self.name!r} needs two records or more with free rows")

    def errors(self, analysis: Analysis, estimate: Estimate) -> Errors:
        """Return errors from one sum per record."""
        return ClusterErrors(analysis, estimate)
