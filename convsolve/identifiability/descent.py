"""Exact forecasts of gradient descent on squares, with and without momentum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..facts import Fact, Reported, of_fields
from ..lazy import plot
from ..leastsquares.analysis import analyse
from ..leastsquares.certificate import EXACT
from ..leastsquares.penalty import RIDGE
from ..linalg.factor import Factor
from ..looks import look_steps
from ..problem.checks import choice, fraction, integer, number

OPTIMIZERS = ("sgd", "momentum", "nesterov")
DEFAULT_MOMENTUM = 0.9
# Shares of the statistical error that the counts of steps refer to. Below the second, the data do
# not show the difference to the exact kernel.
FLOOR = 1.0
HUNDREDTH = 0.01
# Larger numbers of steps are not reported.
MOST_STEPS = 10**12
# Up to this step every step is examined. A curve with momentum can oscillate between two looks.
EXAMINED = 10_000


@dataclass(frozen=True, repr=False, eq=False)
class DescentForecast(Reported):
    """Course of gradient descent on the mean of squares from the zero kernel, without running it.

    Descent minimizes ‖M(y − A w)‖²/(rows·outputs), where M projects out the bias and confounds. The
    Hessian is H = 2/(rows·outputs)·AᵀMA in the orthonormal coordinates of the kernel, which are the
    taps without a basis. Its largest eigenvalue is L, and its smallest except zero is m. Directions
    that change no output are not included.

    A ratio is the excess loss over the loss of the exact kernel, divided by the statistical error.
    The statistical error is the excess loss that the noise is expected to give the exact kernel:
    the sum of variance·rank/rows over the outputs, divided by the number of outputs. At a ratio of
    1, descent is as far from the exact kernel as the exact kernel is from the truth.

    Attributes:
        optimizer: "sgd", "momentum" or "nesterov".
        learning_rate: the learning rate.
        momentum: β, 0 for "sgd".
        snr: variance of the fitted signal over variance of the noise, per row.
        tol: the relative kernel error that ``steps`` refers to.
        steps_to_floor: first step with a ratio of at most 1. Like the next two, it is None above
            1e12 steps.
        steps_to_hundredth: first step with a ratio of at most 0.01.
        steps: first step at which the error along every eigenvector is at most ``tol`` times its
            value at the start.
        largest_step: the learning rate above which descent diverges: 2/L, 2(1 + β)/L or
            2(1 + β)/((1 + 2β)·L).
        best_step: the learning rate of the smallest ``rate``. It is 2/(L + m), 4/(√L + √m)² or
            4/(3L + m). The slowest direction determines it, even if the noise hides this direction.
        best_momentum: the momentum that belongs to ``best_step``. It is 0, ((√κ − 1)/(√κ + 1))², or
            (√(3κ + 1) − 2)/(√(3κ + 1) + 2), where κ = L/m.
        rate: factor of the error per step in the slowest direction, after many steps. It is the
            largest spectral radius of the matrices of a step.
        curvatures: eigenvalues of H for every group, ascending, so the slowest is first.
        ratio_at_start: the part of every eigenvector in the ratio at the start, as ``curvatures``.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x = np.random.default_rng(0).standard_normal(300).cumsum()
        >>> forecast = cs.identify(cs.Problem(x, lags=(0, 4))).descent("nesterov")
        >>> forecast.steps_to_floor < forecast.steps_to_hundredth < forecast.steps
        True
        >>> forecast.curve([0, forecast.steps_to_floor])[1] <= 1
        np.True_

    See Also:
        `Identifiability.descent`, which returns it, and `GradientDescent`.

    Sources: B. T. Polyak, USSR Comput. Math. Math. Phys. 4 (1964) 1; L. Lessard, B. Recht and A.
    Packard, SIAM J. Optim. 26 (2016) 57, for the best settings on quadratics.
    """

    optimizer: str
    learning_rate: float
    momentum: float
    snr: float
    tol: float
    steps_to_floor: int | None
    steps_to_hundredth: int | None
    steps: int | None
    largest_step: float
    best_step: float
    best_momentum: float
    rate: float
    curvatures: tuple[np.ndarray, ...]
    ratio_at_start: tuple[np.ndarray, ...]

    plot = plot

    @property
    def diverges(self) -> bool:
        """Whether the learning rate is above ``largest_step``."""
        return self.learning_rate > self.largest_step

    def curve(self, steps: Any) -> np.ndarray:
        """Return the ratio of excess loss to statistical error after numbers of steps.

        Args:
            steps: integers of at least 0, one or an array of them.

        Returns:
            An array in the shape of ``steps``. A ratio that leaves float64 is inf.

        Raises:
            TypeError, ValueError: If ``steps`` are not integers of at least 0.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x = np.random.default_rng(0).standard_normal(300)
            >>> forecast = cs.identify(cs.Problem(x, lags=(0, 4))).descent(snr=2.0)
            >>> forecast.curve(0).round(1)  # 2.0 times 296 rows over 5 taps
            np.float64(118.4)

        See Also:
            `kernel_error`.
        """
        return _at_steps(self._course.ratio, steps)

    def kernel_error(self, steps: Any) -> np.ndarray:
        """Return the error along the slowest eigenvector, relative to its value at the start.

        Args:
            steps: integers of at least 0, one or an array of them.

        Returns:
            An array in the shape of ``steps``, with the largest factor over all eigenvectors.

        Raises:
            TypeError, ValueError: If ``steps`` are not integers of at least 0.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x = np.random.default_rng(0).standard_normal(300)
            >>> forecast = cs.identify(cs.Problem(x, lags=(0, 4))).descent(tol=1e-3)
            >>> forecast.kernel_error(forecast.steps) <= 1e-3
            np.True_

        See Also:
            `curve`.
        """
        return _at_steps(self._course.kernel_error, steps)

    @property
    def _course(self) -> Course:
        curvatures = np.concatenate(self.curvatures)
        matrices = step_matrices(self.optimizer, self.learning_rate * curvatures, self.momentum)
        return Course(matrices, np.concatenate(self.ratio_at_start))

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield one sentence that describes the forecast, and all fields."""
        yield Fact("", "", self._sentence())
        yield from of_fields(self, diverges=self.diverges)

    def _sentence(self) -> str:
        largest_curvature = max(float(c[-1]) for c in self.curvatures if c.size)
        words = f"{self.optimizer} with rate {self.learning_rate:.4g}"
        if self.learning_rate == 1 / largest_curvature:
            words += " (1/L)"
        if self.optimizer != "sgd":
            words += f" and momentum {self.momentum:g}"
        if self.diverges:
            return f"{words} diverges: the rate is above {self.largest_step:.4g}"
        words += f" reaches the statistical error in {_in_words(self.steps_to_floor)}"
        words += f" at a signal-to-noise ratio of {self.snr:.3g}"
        words += f", and a relative kernel error of {self.tol:g} in {_in_words(self.steps)}"
        return f"{words}; above {self.largest_step:.4g} it diverges"


def _in_words(steps: int | None) -> str:
    if steps is None:
        return f"more than {MOST_STEPS:.0e} steps".replace("e+", "e")
    return "1 step" if steps == 1 else f"{steps:,} steps"


def _at_steps(value: Callable[[int], float], steps: Any) -> np.ndarray:
    """Return a value after every number of steps, in the shape of ``steps``."""
    given = np.asarray(steps)
    values = [value(integer(step, "steps", 0)) for step in given.ravel().tolist()]
    return np.array(values, float).reshape(given.shape)[()]


# --- the forecast of a problem


def descent(
    report: Any,
    optimizer: str,
    learning_rate: float | None,
    momentum: float | None,
    snr: float,
    tol: float,
    solution: Any,
) -> DescentForecast:
    """Return the forecast of a problem, see `Identifiability.descent`."""
    _check_optimizer(optimizer)
    momentum = _checked_momentum(optimizer, momentum)
    snr = number(snr, "snr")
    tol = fraction(tol, "tol")
    if learning_rate is not None:
        learning_rate = number(learning_rate, "learning_rate")
    if solution is not None:
        _check_solution(report, solution)

    curvatures = _curvatures(report)
    known = np.concatenate(curvatures)
    largest = float(known.max())
    smallest = float(known.min())
    if learning_rate is None:
        learning_rate = 1 / largest
    if solution is None:
        start = _white_start(report, curvatures, snr)
    else:
        start = _solved_start(report, solution)

    matrices = step_matrices(optimizer, learning_rate * known, momentum)
    course = Course(matrices, np.concatenate(start.ratio))
    walk = course.walk(tol)
    best = best_setting(optimizer, largest, smallest)
    return DescentForecast(
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        snr=start.snr,
        tol=tol,
        steps_to_floor=first_step(course.ratio, FLOOR, walk.ratios),
        steps_to_hundredth=first_step(course.ratio, HUNDREDTH, walk.ratios),
        steps=first_step(course.kernel_error, tol, walk.kernel_errors),
        largest_step=largest_step(optimizer, largest, momentum),
        best_step=best.learning_rate,
        best_momentum=best.momentum,
        rate=float(spectral_radii(matrices).max()),
        curvatures=curvatures,
        ratio_at_start=start.ratio,
    )


def _check_optimizer(optimizer: str) -> None:
    if isinstance(optimizer, str) and optimizer not in OPTIMIZERS:
        import optax

        if callable(getattr(optax, optimizer, None)):
            raise ValueError(
                f"{optimizer.capitalize()} has no exact forecast: its steps depend on the "
                "gradients of all earlier steps; run it with compare"
            )
    choice(optimizer, "optimizer", OPTIMIZERS)


def _checked_momentum(optimizer: str, momentum: float | None) -> float:
    if optimizer == "sgd":
        if momentum is not None:
            raise ValueError('optimizer="sgd" has no momentum; use "momentum" or "nesterov"')
        return 0.0
    if momentum is None:
        return DEFAULT_MOMENTUM
    momentum = number(momentum, "momentum", included=True)
    if momentum >= 1:
        raise ValueError(f"momentum must be below 1, got {momentum:g}")
    return momentum


def _check_solution(report: Any, solution: Any) -> None:
    """Refuse solutions to which descent on this problem does not converge."""
    if not hasattr(solution, "backward_error"):
        raise TypeError(f"solution must be a Solution, got {type(solution).__name__}")
    if solution.problem is not report.problem:
        raise ValueError("solution must be a solution of the problem of this report")
    if solution.stats["penalty"] is not None:
        raise ValueError("descent() describes least squares, but the solution has a penalty")
    if solution.stats["noise"].startswith("ar"):
        raise ValueError("descent() describes least squares, but the solution is of filtered rows")
    error = solution.backward_error
    if error is None:
        raise ValueError("descent() describes least squares, but the solution has another loss")
    if error > EXACT:
        raise ValueError(f"solution must be exact, but its backward error is {error:.2g}")


def _curvatures(report: Any) -> tuple[np.ndarray, ...]:
    """Return the eigenvalues of the Hessian for every group, ascending, without zeros."""
    scale = 2 / (report.n_equations * report.problem.n_outputs)
    pairs = zip(report.singular_values, report._factors, strict=True)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        curvatures = tuple(scale * np.square(s[: factor.rank][::-1]) for s, factor in pairs)
        known = np.concatenate(curvatures)
        if not known.size:
            raise ValueError("x is zero in every window, so descent does not change the kernel")
        largest = known.max()
        smallest = known.min()
        steps_are_finite = 0 < 2 / largest < np.inf
        if not (smallest > 0 and largest / smallest < np.inf and steps_are_finite):
            raise ValueError("the steps leave float64; bring x and its channels to sizes nearer 1")
    return curvatures


# --- the error at the start


@dataclass(frozen=True)
class Start:
    """Error of the zero kernel along every eigenvector.

    Attributes:
        ratio: for every group, the part of every eigenvector in the excess loss over the
            statistical error, by ascending eigenvalues.
        snr: variance of the fitted signal over variance of the noise, per row.
    """

    ratio: tuple[np.ndarray, ...]
    snr: float


def _white_start(report: Any, curvatures: tuple[np.ndarray, ...], snr: float) -> Start:
    """Return the start for a kernel of equal expected size in every direction.

    All outputs have noise of one variance. The signal of a row is averaged over the outputs, so
    groups with more power in x have more signal. The sum of all parts is then snr·rows over the
    mean rank of the groups.
    """
    mean_rank = np.mean([c.size for c in curvatures])
    total = snr * report.n_equations / mean_rank
    largest = max(c[-1] for c in curvatures if c.size)
    sum_of_all = sum((c / largest).sum() for c in curvatures)
    return Start(tuple(total * (c / largest) / sum_of_all for c in curvatures), snr)


def _solved_start(report: Any, solution: Any) -> Start:
    """Return the start for the kernel of a solution, and its estimate of the noise.

    With R the factor of the design matrix and R = U S Vᵀ, the excess loss along an eigenvector is
    the square of its entry in UᵀR w. It needs no product of large and small numbers.
    """
    problem = report.problem
    regression = analyse(problem, report._limits).regression(RIDGE, 0.0)
    kernel = regression.from_kernel(np.asarray(solution.kernel))
    residual_norms, _ = regression.residual(kernel)
    if (residual_norms <= regression.rounding(kernel)).all():
        raise ValueError("the residuals of the solution are zero, so there is no statistical error")

    exponents = regression.y_exponents
    y_units = np.ldexp(1.0, exponents - exponents.max())
    excess = []
    statistical_error = 0.0
    noise = 0.0
    for group, factor in enumerate(report._factors):
        free_rows = report.n_equations - problem._nuisance.total - factor.rank
        if free_rows <= 0:
            raise ValueError("no rows are left to estimate the noise of the solution")
        left_vectors = _left_vectors(factor, regression.scaling.exponents[group])
        images = factor.r @ kernel[group]
        coefficients = left_vectors.T @ images
        excess.append(np.square(coefficients * y_units[group]).sum(1)[::-1])
        variances = np.square(residual_norms[group] * y_units[group]) / free_rows
        noise += float(variances.sum())
        statistical_error += float(variances.sum()) * factor.rank
    signal = float(np.concatenate(excess).sum()) / report.n_equations
    return Start(tuple(e / statistical_error for e in excess), signal / noise)


def _left_vectors(factor: Factor, exponents: np.ndarray) -> np.ndarray:
    """Return U (q, rank) of the factor in the user's units, for descending singular values."""
    sizes = 2.0 ** (exponents - exponents.max()).astype(float)
    visible = (factor.r * sizes) @ factor.user_row_space
    u, _, _ = np.linalg.svd(visible, full_matrices=False)
    return np.asarray(u[:, : factor.rank])


# --- the iteration


@dataclass(frozen=True)
class Walk:
    """Values after 0, 1, 2, … steps: ratios to the statistical error, and kernel errors."""

    ratios: np.ndarray
    kernel_errors: np.ndarray


@dataclass(frozen=True)
class Course:
    """Errors along k eigenvectors after any number of steps.

    Attributes:
        matrices: (k, 2, 2), see `step_matrices`.
        ratio_at_start: (k,), the parts of the ratio at the start.
    """

    matrices: np.ndarray
    ratio_at_start: np.ndarray

    def factors(self, step: int) -> np.ndarray:
        """Return the errors (k,) after some steps, relative to those at the start."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            factors = np.linalg.matrix_power(self.matrices, step)[:, 0, 0]
        # A difference of infinite numbers.
        return np.where(np.isnan(factors), np.inf, factors)

    def ratio(self, step: int) -> float:
        """Return the excess loss over the statistical error after some steps."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return self._ratio_of(self.factors(step))

    def _ratio_of(self, factors: np.ndarray) -> float:
        return float(self.ratio_at_start @ np.square(factors))

    def kernel_error(self, step: int) -> float:
        """Return the largest relative error of any eigenvector after some steps."""
        return float(np.abs(self.factors(step)).max())

    def walk(self, tol: float) -> Walk:
        """Return values of all steps until both are small, or of the first `EXAMINED` steps."""
        state = np.zeros((len(self.matrices), 2, 1))
        state[:, 0] = 1.0
        ratios = [self._ratio_of(state[:, 0, 0])]
        kernel_errors = [1.0]
        fitted = ratios[0] <= HUNDREDTH
        converged = False
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            while not (fitted and converged) and len(ratios) <= EXAMINED:
                state = self.matrices @ state
                ratios.append(self._ratio_of(state[:, 0, 0]))
                kernel_errors.append(float(np.abs(state[:, 0, 0]).max()))
                fitted = fitted or ratios[-1] <= HUNDREDTH
                converged = converged or kernel_errors[-1] <= tol
        return Walk(np.array(ratios), np.array(kernel_errors))


def step_matrices(optimizer: str, products: np.ndarray, momentum: float) -> np.ndarray:
    """Return the matrices (k, 2, 2) by which a step multiplies the error and the velocity.

    The step has the form of optax: v ← βv + g, and then w ← w − ηv or, for "nesterov",
    w ← w − η(g + βv). Along an eigenvector with the error e, g is λe. The state is (e, ηv).

    Args:
        optimizer: "sgd", "momentum" or "nesterov".
        products: ηλ (k,), learning rate times eigenvalues.
        momentum: β, 0 for "sgd".
    """
    matrices = np.empty((len(products), 2, 2))
    matrices[:, 1, 0] = products
    matrices[:, 1, 1] = momentum
    if optimizer == "nesterov":
        matrices[:, 0, 0] = 1 - (1 + momentum) * products
        matrices[:, 0, 1] = -(momentum**2)
    else:
        matrices[:, 0, 0] = 1 - products
        matrices[:, 0, 1] = -momentum
    return matrices


def spectral_radii(matrices: np.ndarray) -> np.ndarray:
    """Return the largest magnitudes (k,) of the eigenvalues of matrices (k, 2, 2)."""
    half_trace = np.abs(np.trace(matrices, axis1=1, axis2=2)) / 2
    determinant = matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]
    discriminant = half_trace**2 - determinant
    real = half_trace + np.sqrt(np.maximum(discriminant, 0.0))
    return np.where(discriminant > 0, real, np.sqrt(np.maximum(determinant, 0.0)))


def largest_step(optimizer: str, largest: float, momentum: float) -> float:
    """Return the learning rate above which descent diverges, for the largest eigenvalue."""
    if optimizer == "nesterov":
        return 2 * (1 + momentum) / (1 + 2 * momentum) / largest
    return 2 * (1 + momentum) / largest


@dataclass(frozen=True)
class Setting:
    """A learning rate and a momentum."""

    learning_rate: float
    momentum: float


def best_setting(optimizer: str, largest: float, smallest: float) -> Setting:
    """Return the setting of the smallest `rate`, for the largest and the smallest eigenvalue."""
    share = smallest / largest
    if optimizer == "sgd":
        return Setting(2 / (1 + share) / largest, 0.0)
    if optimizer == "momentum":
        root = math.sqrt(share)
        return Setting(4 / (1 + root) ** 2 / largest, ((1 - root) / (1 + root)) ** 2)
    root = math.sqrt(3 + share)
    double = 2 * math.sqrt(share)
    return Setting(4 / (3 + share) / largest, (root - double) / (root + double))


def first_step(value: Callable[[int], float], level: float, walked: np.ndarray) -> int | None:
    """Return the first step with a value of at most ``level``, or None above `MOST_STEPS`.

    ``walked`` are the values of the first steps. After these, steps are examined at eight per
    decade. Bisection then finds the crossing between two of them.
    """
    small = np.flatnonzero(walked <= level)
    if small.size:
        return int(small[0])
    above = len(walked) - 1
    for look in look_steps(MOST_STEPS):
        if look > above and value(look) <= level:
            return _bisect(value, level, above, look)
        above = max(above, look)
    return None


def _bisect(value: Callable[[int], float], level: float, above: int, below: int) -> int:
    """Return a step with a value of at most ``level`` whose predecessor has a larger one."""
    while below - above > 1:
        middle = (above + below) // 2
        if value(middle) <= level:
            below = middle
        else:
            above = middle
    return below
