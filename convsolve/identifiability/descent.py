"""Predicted course of plain gradient descent."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..linalg.factor import Factor
from ..linalg.lapack import graded_singular_values
from ..problem.checks import number


class DescentForecast(NamedTuple):
    """Prediction of ``GradientDescent(optax.sgd(step), loss="mse")``, for any y and any start.

    Each step multiplies the error along an eigenvector of the Hessian 2/(rows·outputs)·[A 1]ᵀ[A 1]
    by 1 − step·λ. Directions that change no output are left out.

    Attributes:
        steps: number of steps of the best size that reduce the error by the factor ``tol``.
        best_step: 2/(λ₁ + λ_P), where λ₁ is the largest and λ_P the smallest eigenvalue.
        largest_step: 2/λ₁. Descent diverges with larger steps.
        rate: (λ₁ − λ_P)/(λ₁ + λ_P), factor of the error per step of the best size.
        curvatures: eigenvalues of every group, ascending, so the slowest is first.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x = np.random.default_rng(0).standard_normal(300).cumsum()
        >>> forecast = cs.identify(cs.Problem(x, lags=(0, 4))).descent()
        >>> forecast.best_step < forecast.largest_step, forecast.curvatures[0].shape
        (True, (5,))

    See Also:
        `Identifiability.descent`, which returns it, and `GradientDescent`.
    """

    steps: int
    best_step: float
    largest_step: float
    rate: float
    curvatures: tuple[np.ndarray, ...]

    def __str__(self) -> str:
        return (
            f"plain gradient descent needs {self.steps:,} steps of {self.best_step:.4g} (above "
            f"{self.largest_step:.4g} it diverges)"
        )


def descent(report: Any, tol: float) -> DescentForecast:
    """Return the prediction for a problem, from the factors of its groups."""
    problem, rows, tol = report.problem, report.n_equations, number(tol, "tol")
    if tol >= 1:
        raise ValueError(f"tol must be below 1, got {tol!r}")
    if problem._nuisance.confounds is not None or problem._space is not None:
        raise ValueError("descent() does not support weights, confounds, bases and windows")
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        values = [_values(report, g, f) for g, f in enumerate(report._factors)]
        curvatures = tuple(2 / (rows * problem.n_outputs) * np.square(s[::-1]) for s in values)
        known = np.concatenate(curvatures)
        if not known.size:
            raise ValueError("x is zero in every window, so descent does not change the kernel")
        largest, least = float(known.max()), float(known.min())
        if not (least > 0 and largest / least < np.inf and 0 < 2 / largest < np.inf):
            raise ValueError("the steps leave float64; bring x and its channels to sizes nearer 1")
    gained = 2 / (largest / least + 1)  # 1 − rate, which may be below one rounding of 1
    steps = max(1, math.ceil(math.log(tol) / math.log1p(-gained))) if gained < 1 else 1
    return DescentForecast(steps, 2 / (largest + least), 2 / largest, 1 - gained, curvatures)


def _values(report: Any, group: int, factor: Factor) -> np.ndarray:
    """Return the singular values of [A 1] except zero, or of A without a bias, descending."""
    if not report.problem.bias:
        return np.asarray(report.singular_values[group][: factor.rank])
    mean = report._means[group][report._order]  # in the order of the columns
    basis = factor.user_row_space  # rounding errors of the null space could exceed small values
    along = mean @ basis
    scaled = np.ldexp(factor.r, report._system.scaling.exponents[group])
    joined = np.pad(scaled @ basis, ((0, 1), (0, 1)))
    beyond = np.hypot(1.0, np.linalg.norm(mean - basis @ along))
    joined[-1] = math.sqrt(report.n_equations) * np.append(along, beyond)
    # A large offset would hide the small values from a plain SVD.
    return graded_singular_values(joined, rows=True)
