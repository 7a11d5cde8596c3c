"""Predicted course of plain gradient descent, from the curvatures of its loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..linalg.factor import Factor
from ..linalg.lapack import graded_svd, svd
from ..linalg.minimum_norm import outside
from ..problem.checks import number
from ..problem.names import Names
from ..text import count, line
from .diagnosis import Diagnosis

# Number of the slowest directions that are reported, and of channels that are named for each.
MAX_DIRECTIONS, MAX_CHANNELS = 3, 3
# Beyond this power of two the square of the largest singular value, or its step, leaves float64.
MAX_EXPONENT = 500
OUT_OF_RANGE = (
    "the steps of descent leave the range of float64; bring x, and its channels, to sizes nearer 1"
)


@dataclass(frozen=True, eq=False)
class DescentForecast:
    """Prediction of ``GradientDescent(optax.sgd(step), loss="mse")``, for any y.

    The loss is quadratic. Each step multiplies the error along an eigenvector of the Hessian by
    1 − step·λ. The Hessian is 2/(m·outputs)·AᵀA for m rows and all output channels, in the user's
    units. With a bias, A has a column of ones. λ₁ is the largest eigenvalue over all groups, and
    λ_P the smallest one that is not zero. All outputs of a group have the same eigenvalues.

    Attributes:
        tol: factor by which ``steps`` reduce the error.
        largest_step: 2/λ₁. Descent diverges with larger steps.
        best_step: 2/(λ₁ + λ_P), the step at which the slowest direction is the fastest.
        rate: (λ₁ − λ_P)/(λ₁ + λ_P), factor of the error per step of this size. It is 1 − λ_P/λ₁ for
            a step of 1/λ₁, half the largest one.
        steps: number of steps of the best size that reduce the error of the kernel and the bias by
            ``tol``, from any start. It refers to the identifiable part.
        curvatures: per group (n,), eigenvalues except zero, ascending, so the slowest is first.
        directions: per group ``(n, *K, Cin/groups)``, kernels of the unit eigenvectors.
        biases: per group (n,), entries of the eigenvectors for the bias; zeros without a bias.
        unmoved: per group, number of directions that change no output. Descent does not move along
            them.
        names: names of the channels.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x = np.random.default_rng(0).standard_normal(300).cumsum()
        >>> report = cs.identify(cs.Problem(x, lags=(0, 4)))
        >>> forecast = report.descent()
        >>> forecast.best_step < forecast.largest_step, forecast.slowest[0].shape
        (True, (3, 5, 1))

    See Also:
        `Identifiability.descent`, which returns it, and `GradientDescent`.
    """

    tol: float
    largest_step: float
    best_step: float
    rate: float
    steps: int
    curvatures: tuple[np.ndarray, ...]
    directions: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    unmoved: tuple[int, ...]
    names: Names

    @property
    def slowest(self) -> tuple[np.ndarray, ...]:
        """The slowest ``directions``: up to three kernels per group."""
        return tuple(d[:MAX_DIRECTIONS] for d in self.directions)

    def error(self, steps: Any, step: float | None = None) -> tuple[np.ndarray, ...]:
        """Return the factor (1 − step·λ)^steps of the error along every direction, per group (n,).

        The sign alternates along directions in which the step overshoots.

        Args:
            steps: number of steps. An array adds axes in front of the result.
            step: size of a step; `best_step` by default.
        """
        power = np.asarray(steps)[..., None]
        with np.errstate(over="ignore", under="ignore"):
            return tuple((1 - x) ** power for x in self._shrinkage(step))

    def steps_along(self, step: float | None = None) -> tuple[np.ndarray, ...]:
        """Return the steps that reduce the error by ``tol`` along every direction, per group (n,).

        The number is inf for directions that diverge.

        Args:
            step: size of a step; `best_step` by default.
        """
        found = []
        for x in self._shrinkage(step):
            with np.errstate(divide="ignore"):
                # Without log1p, directions of small curvature would seem not to move.
                decay = -np.where(x < 1, np.log1p(-np.minimum(x, 1)), np.log(np.abs(x - 1)))
                taken = math.log(1 / self.tol) / np.maximum(decay, 0)
            found.append(np.maximum(np.ceil(taken), 1))
        return tuple(found)

    def _shrinkage(self, step: float | None) -> list[np.ndarray]:
        """Return the share of the error that one step removes, per direction."""
        size = self.best_step if step is None else number(step, "step")
        return [size * c for c in self.curvatures]

    def __repr__(self) -> str:
        ranked = sorted(
            (c, g, i) for g, all_c in enumerate(self.curvatures) for i, c in enumerate(all_c)
        )
        taken = self.best_step * ranked[0][0]
        lines = [
            line(
                "descent",
                "plain gradient descent on the mean of squares, with all rows in every step",
            ),
            line("step", f"best {self.best_step:.4g}; above {self.largest_step:.4g} it diverges"),
            line("rate", f"the best step reduces the error by {100 * taken:.2g} %"),
            line("steps", f"{_number(self.steps)} reduce the error to {self.tol:g} of its start"),
        ]
        along = self.steps_along()
        for n, (_, g, i) in enumerate(ranked[:MAX_DIRECTIONS]):
            text = f"{self._name(g, i)}: {_number(along[g][i])} steps"
            lines.append(line("" if n else "last", text))
        if still := sum(self.unmoved):
            text = f"{still} of {count(len(ranked) + still, 'direction')} do not change y: "
            lines.append(line("unmoved", f"{text}descent does not move along them"))
        if not still:
            found = "the same kernel"
        elif any(b.any() for b in self.biases):
            found = "the kernel of minimum norm, which fits as well,"
        else:
            found = "the limit of a descent from zero"
        lines.append(line("instead", f"cs.solve(problem) computes {found} directly"))
        return "\n".join(lines)

    def _name(self, group: int, index: int) -> str:
        """Describe a direction by the bias, or by its strongest frequency and its channels."""
        kernel, bias = self.directions[group][index], self.biases[group][index]
        if bias**2 > 0.5:
            return f"the bias ({bias**2:.0%})"
        *size, channels = kernel.shape
        fine, axes = [8 * k for k in size], range(len(size))
        power = np.square(np.abs(np.fft.fftn(kernel, fine, axes))).sum(-1)
        peak = np.unravel_index(power.argmax(), power.shape)
        cycles = [f"{min(i, n - i) / n:.2f}" for i, n in zip(peak, fine, strict=True)]
        text = f"{' × '.join(cycles)} cycles per tap"
        if channels * len(self.directions) == 1:
            return text
        share = np.square(kernel).reshape(-1, channels).sum(0)
        most = sorted(c for c in np.argsort(-share)[:MAX_CHANNELS] if share[c] > 0.1)
        called = [self.names.channel_name(group * channels + int(c)) for c in most]
        named = ", ".join(f"{name} ({share[c]:.0%})" for name, c in zip(called, most, strict=True))
        return f"{text} in channel{'s' if len(most) > 1 else ''} {named}" if most else text


def _number(steps: float) -> str:
    return f"{int(steps):,}" if steps < 1e9 else f"{steps:.1e}"


def _spectrum(
    factor: Factor, mean: np.ndarray | None, rows: int, most: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return singular values of [A 1] except zero, ascending, right vectors (k, P + 1), and a unit.

    The values are divided by 2^unit. They are computed from the factor of the centred A, because
    [A 1]ᵀ[A 1] is that of [R 0; √m·meanᵀ √m]. ``mean`` is None without a bias, and then there is no
    last column. With up to ``most`` columns, small values are accurate relative to themselves.
    """
    unit = factor.unit
    # Only in the row space: rounding errors of the null space could exceed small values.
    basis = factor.user_row_basis
    if mean is not None:
        row = math.sqrt(rows) * np.append(mean, 1.0)
        unit = max(unit, int(np.frexp(np.abs(row).max())[1]))
    if abs(unit) > MAX_EXPONENT:
        raise ValueError(OUT_OF_RANGE)
    a = np.ldexp(factor.r, factor.exponents - unit)
    if mean is not None:
        a = np.vstack([np.pad(a, ((0, 0), (0, 1))), np.ldexp(row, -unit)])
        if basis is not None:
            last = np.append(outside(basis, mean[:, None]), 1.0)
            basis = np.column_stack([np.pad(basis, ((0, 1), (0, 0))), last / np.linalg.norm(last)])
    columns, a = a.shape[1], a if basis is None else a @ basis
    if not a.shape[1]:
        return np.zeros(0), np.zeros((0, columns)), unit
    if a.shape[1] > most:
        _, values, vt = svd(a)
        v = vt.T
    else:
        # With a large offset or very different units, a plain SVD loses the small values.
        values, v = graded_svd(a)
    v = v if basis is None else basis @ v
    return values[::-1], v[:, ::-1].T, unit


def descent(diagnosis: Diagnosis, tol: float) -> DescentForecast:
    """Return the prediction for a problem, from the factors of its groups."""
    tol = number(tol, "tol")
    if tol >= 1:
        raise ValueError(f"tol must be below 1, got {tol!r}")
    if diagnosis.problem._nuisance.confounds is not None:
        raise ValueError("descent() does not support weights or confounds")
    problem, columns, rows = diagnosis.problem, diagnosis.columns, diagnosis.n_equations
    factors = [diagnosis.factor(g) for g in range(diagnosis.groups)]
    most = diagnosis.limits.spectrum_columns
    means = diagnosis.column_means if problem.bias else [None] * diagnosis.groups
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        spectra = [_spectrum(f, m, rows, most) for f, m in zip(factors, means, strict=True)]
        scale = 2 / (rows * problem.n_outputs)
        curvatures = tuple(np.ldexp(scale * s**2, 2 * unit) for s, _, unit in spectra)
        known = np.concatenate(curvatures)
        if not known.size:
            raise ValueError("x is zero in every window: descent moves nothing")
        largest, least = float(known.max()), float(known.min())
        apart = math.isinf(largest / least) if least else True
        if apart or least < np.finfo(float).tiny or not 0 < 2 / largest < math.inf:
            raise ValueError(OUT_OF_RANGE)
        # The share of the error that the best step removes, 1 - rate, may be below one rounding.
        taken = 2 / (largest / least + 1)
        steps = max(1, math.ceil(math.log(1 / tol) / -np.log1p(-taken)))
    shape = problem.kernel_shape[:-1]
    return DescentForecast(
        tol=tol,
        largest_step=2 / largest,
        best_step=2 / (largest + least),
        rate=1 - taken,
        steps=steps,
        curvatures=curvatures,
        directions=tuple(v[:, :columns].reshape(-1, *shape) for _, v, _ in spectra),
        biases=tuple(v[:, columns:].sum(1) for _, v, _ in spectra),
        unmoved=tuple(columns + problem.bias - len(v) for _, v, _ in spectra),
        names=problem._names,
    )
