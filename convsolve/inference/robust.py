"""Robust losses and a lasso, output by output: rows of A and penalties, and Huber's scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..leastsquares.regression import ROUNDING, Regression
from ..linalg.rank import EPS
from ..progress import tracked
from .plq import Losses, Rows, minimize

# A relative error of a weighted Gram that changes nothing but the length of the way to a solution.
GRAM_ERROR = 1e-9
# The median absolute deviation of a standard normal distribution.
NORMAL_MAD = 0.6744897501960817
# Turns of a scale and its fit at most, of which the first ones take a step of the fit only.
TURNS, SHORT = 400, 100
# Relative change at which both have settled. Below the second number, a change that is not smaller
# than the previous one is rounding.
SETTLED, ROUNDED = 1e-13, 1e-8


class DataRows(Rows):
    """B (n, k) = [M A T  N] H of one group, with the nuisance columns N of a bias and of confounds.

    T are the coordinates of a penalty, the identity without one. Rows are multiplied by the roots
    of their weights. N is orthonormal, and M A is A with N projected out. H comes from a factor of
    M A, so BᵀB = I to the accuracy of this factor. If A is deficient, B has as many columns as the
    rank of A, and kernels have the minimum norm among kernels with the same outputs. With a lasso,
    H only scales the columns.

    Below the rows of the data are rows √strength·z of a quadratic penalty, which are a part of
    BᵀB = I, and then rows of a lasso, which are not. B is never formed here, so that duality gaps
    are computed from the data.

    Attributes:
        rows, unknowns: number of rows of the data, and k.
        taps: number of unknowns with a row of a lasso.
        below: rows (m, k) of penalties.
        dense: the same rows, formed if they are few.
        to_columns: H in the columns of [M A  N].
    """

    def __init__(self, regression: Regression, group: int, lasso: float) -> None:
        """Store a group of a regression and the strength of a lasso.

        Raises:
            SolveError: If a factor exceeds the memory limit.
        """
        from scipy.linalg import block_diag

        self._matrix, self._group, scaling = regression.matrix, group, regression.scaling
        self.rows = regression.matrix.rows
        self._nuisance, columns = self._matrix.nuisance_columns, regression.system.columns
        half, q = np.eye(columns.count), self._nuisance.shape[1]
        if not lasso:
            factor = regression.system.factor(group)
            if factor is None:
                raise SolveError("memory allows neither the Gram matrix nor a QR of the rows")
            half = np.linalg.qr(factor.whitened(half), mode="r").T
        own = np.ldexp(half, -scaling.relative[group][:, None])
        kernels = columns.expand(own[None], slice(group, group + 1))[0]
        self.to_columns, self.taps = block_diag(kernels, np.eye(q)), columns.count * bool(lasso)
        self.unknowns = self.to_columns.shape[1]
        roots = scaling.root_ridge[group]
        below = np.concatenate(
            [(roots[:, None] * half)[roots > 0], np.eye(self.taps, half.shape[1])]
        )
        self.below = np.pad(below, ((0, 0), (0, q)))
        self._tau = np.ldexp(lasso / 2, -scaling.exponents[group])[: self.taps]
        self._half, self._a_norm = half, float(scaling.a_norm[group, 0])
        condition = self._a_norm * float(np.linalg.norm(half))
        self._well_conditioned = condition**2 * EPS <= GRAM_ERROR
        self.dense: Rows = self
        if self.rows * self.unknowns <= regression.system.design.sizes.limits.kept_numbers:
            formed = [rows @ self.to_columns for _, rows in self._blocks()]
            self.dense = Rows(np.concatenate([*formed, self.below]), self.taps)

    def losses(self, kappa: float, tau: float, unit: float) -> Losses:
        """Return κ and τ (n,) of the data and of the penalties, for y in some unit."""
        counts = self.rows, len(self.below) - self.taps, self.taps
        taus = np.repeat([tau, np.inf], counts[:2])
        return Losses(np.repeat([kappa, 1.0, 0.0], counts), np.append(taus, self._tau / unit))

    # --- products

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Return B z (n,) for z (k,)."""
        kernel, of_nuisance = np.split(self.to_columns @ z, [self._matrix.columns])
        found = self._matrix.forward(self._group, kernel[:, None])[:, 0]
        return np.append(found + self._nuisance @ of_nuisance, self.below @ z)

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        """Return Bᵀr (k,) for r (n,)."""
        own, below = np.split(r, [self.rows])
        of_taps = self._matrix.adjoint(self._group, own[:, None])[:, 0]
        columns = np.append(of_taps, self._nuisance.T @ own)
        return np.asarray(self.to_columns.T @ columns + self.below.T @ below)

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield places and rows of [M A  N] (m, P + q) block by block."""
        first = 0
        for a, _ in self._matrix.row_blocks():
            some = slice(first, first + a.shape[1])
            yield some, np.hstack([a[self._group], self._nuisance[some].toarray()])
            first = some.stop

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Return Bᵀ diag(weights) B (k, k), for weights (n,) that are not negative."""
        roots, h, total = np.sqrt(weights)[:, None], self.to_columns, np.zeros(())
        for some, rows in self._blocks():
            own = roots[some] * (rows if self._well_conditioned else rows @ h)
            total = total + own.T @ own
        # Multiply the sum by H instead of every row, which takes a third of the operations.
        total = h.T @ total @ h if self._well_conditioned else total
        below = self.below * roots[self.rows :]
        return np.asarray(total + below.T @ below)

    def some(self, which: np.ndarray) -> np.ndarray:
        """Return the rows (m, k) of B with the indices ``which`` (m,), in ascending order."""
        found = [np.zeros((0, self.unknowns))]
        for some, rows in self._blocks() if len(which) else ():
            own = which[(which >= some.start) & (which < some.stop)] - some.start
            found.append(rows[own] @ self.to_columns)
        last = which[which >= self.rows] - self.rows
        return np.concatenate([*found, self.below[last]])

    def least_squares(self, y: np.ndarray) -> np.ndarray:
        """Return argmin ‖y − B z‖ (k,), refined once; zeros with a lasso."""
        z = self.dense.adjoint(y)
        return 0 * z if self.taps else z + self.dense.adjoint(y - self.dense.forward(z))

    def rounding(self, y: np.ndarray, z: np.ndarray) -> float:
        """Return the norm up to which y − B z is rounding of its terms."""
        terms = self._a_norm * float(np.linalg.norm(self._half @ z[: self._half.shape[1]]))
        return ROUNDING * (float(np.linalg.norm(y)) + terms)


# Fits one output, given its rows, y (n,) with zeros for the rows of penalties, and its unit: z (k,)
# and facts.
Fit = Callable[[DataRows, np.ndarray, float], tuple[np.ndarray, Any]]


def by_output(analysis: Analysis, terms: Any, fit: Fit) -> tuple[dict[str, Any], list[Any]]:
    """Fit every output with its penalty, which may be a lasso, and strength.

    With a bias alone, the median of y is subtracted. This removes an offset and, unlike the mean,
    does not depend on outliers.

    Returns:
        Kernel, bias and, with confounds, the coefficients (q, Cout) that are added to those of
        least squares, as in a `SolverResult` and in the user's units; and the facts.

    Raises:
        SolveError: If a factor exceeds the memory limit.
    """
    assert analysis.targets is not None
    plain, plan = Regression(analysis.plain, analysis.targets), analysis.design.matrix.plan
    matrix, each, extra, facts, known = plain.matrix, plain.shape[2], [], [], None
    w, level = np.zeros((matrix.groups, matrix.columns, each)), np.zeros(plain.y_exponents.shape)
    for output in tracked(range(len(terms)), "outputs", len(terms)):
        (penalty, strength), (g, q) = terms[output], divmod(output, each)
        if known != (known := (g, penalty, strength)):
            squares = penalty.quadratic
            form, ridge = (penalty, strength) if squares else (RIDGE, penalty.ridge)
            # A lasso has the taps of a ridge, also within a basis.
            free = not (squares or ridge)
            system = analysis.unpenalized(form) if free else analysis.system(form, ridge)
            lasso = 0.0 if squares else strength
            rows = DataRows(Regression(system, analysis.targets), g, lasso)
            ys = matrix.output_rows(analysis.targets, g)
        middle = float(np.median(ys[:, q])) if plan.centred and plan.confounds is None else 0.0
        y = np.append(ys[:, q] - middle, np.zeros(len(rows.below)))
        unit = float(np.ldexp(1.0, plain.y_exponents[g, q]))
        z, fact = fit(rows, y, unit)
        w[g, :, q], of_nuisance = np.split(rows.to_columns @ z, [matrix.columns])
        if plan.centred:
            level[g, q] = middle + of_nuisance[-1] / plan.norm
        extra.append(of_nuisance * unit)
        facts.append(fact)
    kernel, bias = plain.from_columns(plain.system.columns.restrict(w), level)
    fitted = plan.confounds is not None and plan.confounds.count
    confound_fit = np.stack(extra, axis=-1) if fitted else None
    return {"kernel": kernel, "bias": bias, "confound_fit": confound_fit}, facts


def mad_scale(r: np.ndarray) -> float:
    """Return the median absolute residual divided by its value for the standard normal."""
    return float(np.median(np.abs(r))) / NORMAL_MAD


def scaled_fit(
    rows: DataRows, y: np.ndarray, z: np.ndarray, delta: float, unit: float
) -> tuple[np.ndarray, float, bool]:
    """Return Huber's fit z (k,) and its scale by MAD, and whether they have settled.

    The two are updated in turns. The update of z is the step Bᵀρ′(r), which is Newton's if all
    rows are within the threshold. As BᵀB = I, it takes two passes over the data and no Gram
    matrix. If these steps do not settle soon, or with a lasso, it is a complete fit.
    """
    dense, before = rows.dense, np.inf
    r = y - dense.forward(z)
    scale = mad_scale(r[: rows.rows])
    for turn in tracked(range(TURNS), "scale and fit in turn", TURNS):
        if scale <= rows.rounding(y, z) / math.sqrt(rows.rows):
            break
        losses = rows.losses(1.0, delta * scale, unit)
        pull = losses.derivative(r)
        whole = rows.taps or turn >= SHORT
        step = minimize(dense, y, losses, z).z - z if whole else dense.adjoint(pull)
        z = z + step
        r = y - dense.forward(z)
        last, scale = scale, mad_scale(r[: rows.rows])
        change = max(float(np.linalg.norm(step) / np.linalg.norm(pull)), abs(scale / last - 1))
        if change <= SETTLED or before <= change <= ROUNDED:
            return z, scale, True
        before = change
    return z, scale, False


def error_norm(d: np.ndarray, share: float, unknowns: int) -> float:
    """Return the number that replaces ‖r‖ in the standard errors of Huber's estimate.

    Its square, divided by the degrees of freedom, times (AᵀA)⁻¹ is the covariance called H1 by
    Huber. It is K/m·‖d‖, where d (n,) is ρ′(r), m is the ``share`` of rows within the threshold and
    K = 1 + (unknowns/n)·(1 − m)/m a correction for few rows. It is infinite if no row is within.

    Source: P. J. Huber, Robust Statistics, Wiley 1981, section 7.6.
    """
    if not share:
        return np.inf
    return (1 + unknowns / len(d) * (1 - share) / share) / share * float(np.linalg.norm(d))
