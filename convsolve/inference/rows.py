"""Rows of the design matrix, the nuisance columns and a penalty, with orthonormal columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import Regression
from ..linalg.rank import EPS
from ..progress import tracked
from .plq import Losses

# A residual of less than this share of y, and of what its fit is made of, is rounding.
ROUNDING = 100 * EPS
# A relative error of a weighted Gram that changes nothing but the length of the way to a solution.
GRAM_ERROR = 1e-9
# Taps of a lasso of less than this share of the largest one are zero.
ZERO = 1e-10
# Rows with a smaller pivot, relative to the largest, depend on the others.
DEPENDENT = 1e-10
# The median absolute deviation of a standard normal distribution.
NORMAL_MAD = 0.6744897501960817


class Term(NamedTuple):
    """The penalties strength·wᵀK w, with K of ``penalty``, and lasso·‖w‖₁ of one output."""

    penalty: Penalty
    strength: float
    lasso: float = 0.0


class OrthonormalRows:
    """B (n, k) = [M A T  N] H of one group, with the nuisance columns N of a bias and of confounds.

    T are the coordinates of a penalty, the identity without one. Rows are multiplied by the roots
    of their weights. N is orthonormal, and M A is A with N projected out. H comes from a factor of
    M A, so BᵀB = I to the accuracy of this factor. If A is deficient, B has as many columns as the
    rank of A, and kernels are those of minimum norm with the same outputs.

    Below the rows of the data are rows √strength·z of a quadratic penalty, which are a part of
    BᵀB = I, and then rows of a lasso, which are not. A lasso determines a deficient A, so that its
    columns remain as they are.

    A large B is never formed. A small one is formed, for speed. Its rounding error times the
    condition number of A amounts to a change of the data, so duality gaps use the data.
    """

    def __init__(self, regression: Regression, group: int, lasso: float) -> None:
        """Store a group of a regression and the strength of a lasso.

        Raises:
            SolveError: If a factor exceeds the memory limit.
        """
        from scipy.linalg import block_diag

        matrix, scaling = regression.matrix, regression.scaling
        factor = regression.system.factor(group)
        if factor is None:
            raise SolveError(
                "neither the Gram matrix nor a QR of the design matrix gives a factor within the "
                "memory allowed"
            )
        self._matrix, self._group, self.rows = matrix, group, matrix.rows
        self.lasso = lasso > 0
        self._nuisance = matrix.nuisance_columns
        columns, q = regression.system.columns, self._nuisance.shape[1]
        half = factor.whitened(np.eye(columns.count)).T
        if half.shape[1] > columns.count:  # a deficient A with a ridge
            half = np.linalg.qr(half.T, mode="r").T
        if lasso and half.shape[1] < columns.count:
            half = np.eye(columns.count)
        # H in columns of A T, in columns of A, and scaled to a norm of about one.
        own = np.ldexp(half, -scaling.relative[group][:, None])
        taps = columns.expand(own[None], slice(group, group + 1))[0]
        self._coordinates, self._h = (block_diag(part, np.eye(q)) for part in (own, taps))
        self._scaled = np.pad(half, ((0, 0), (0, q)))
        self.unknowns = self._h.shape[1]
        roots, self._tau = scaling.root_ridge[group], np.zeros(0)
        self._below = roots[roots > 0, None] * self._scaled[roots > 0]
        self._quadratic = len(self._below)
        if lasso:
            self._below = np.concatenate([self._below, self._scaled])
            self._tau = np.ldexp(lasso / 2, -scaling.exponents[group])
        self._a_norm = float(scaling.a_norm[group, 0])
        condition = self._a_norm * float(np.linalg.norm(half))
        self._well_conditioned = condition**2 * EPS <= GRAM_ERROR
        self._kept: np.ndarray | None = None
        if self.rows * self.unknowns <= regression.system.design.sizes.limits.kept_numbers:
            self._kept = np.concatenate([*self._blocks()])

    def losses(self, kappa: float, tau: float, exponent: int) -> Losses:
        """Return κ and τ (n,) of the data and of the penalties, for y in units of 2**exponent."""
        counts = self.rows, self._quadratic, len(self._tau)
        taus = np.full(self.rows, tau), np.full(self._quadratic, np.inf)
        lasso = np.ldexp(self._tau, -exponent)
        return Losses(np.repeat([kappa, 1.0, 0.0], counts), np.concatenate([*taus, lasso]))

    # --- products

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Return B z (n,) for z (k,)."""
        if self._kept is not None:
            return np.asarray(self._kept @ z)
        kernel, of_nuisance = np.split(self._h @ z[:, None], [self._matrix.columns])
        found = self._matrix.forward(self._group, kernel) + self._nuisance @ of_nuisance
        return np.concatenate([found[:, 0], self._below @ z])

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        """Return Bᵀr (k,) for r (n,)."""
        if self._kept is not None:
            return np.asarray(self._kept.T @ r)
        own, below = r[: self.rows, None], r[self.rows :]
        parts = self._matrix.adjoint(self._group, own), self._nuisance.T @ own
        return np.asarray(self._h.T @ np.concatenate(parts)[:, 0] + self._below.T @ below)

    def least_squares(self, y: np.ndarray) -> np.ndarray:
        """Return argmin ‖y − B z‖ (k,) without the rows of a lasso, refined once."""
        last = self.rows + self._quadratic
        z = self.adjoint(y)
        return z + self.adjoint(np.append((y - self.forward(z))[:last], 0 * self._tau))

    def _formed(self, factors: np.ndarray) -> Iterator[np.ndarray]:
        """Yield blocks of rows of [M A  N] (m, P + q), each row times its factor (n,)."""
        first = 0
        for a, _ in self._matrix.row_blocks():
            some = slice(first, first + a.shape[1])
            rows = a[self._group] * factors[some, None]
            if self._nuisance.shape[1]:
                own = self._nuisance[some].toarray() * factors[some, None]
                rows = np.hstack([rows, own])
            yield rows
            first = some.stop

    def _blocks(self) -> Iterator[np.ndarray]:
        """Yield blocks of rows of B (m, k)."""
        if self._kept is not None:
            yield self._kept
            return
        for rows in self._formed(np.ones(self.rows)):
            yield rows @ self._h
        yield self._below

    def _some(self, which: np.ndarray) -> np.ndarray:
        """Return the rows (m, k) of B with the indices ``which`` (m,), in ascending order."""
        found, first = [np.zeros((0, self.unknowns))], 0
        for rows in self._blocks() if len(which) else ():
            own = which - first
            found.append(rows[own[(own >= 0) & (own < len(rows))]])
            first += len(rows)
        return np.concatenate(found)

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Return Bᵀ diag(weights) B (k, k), for weights (n,) that are not negative."""
        roots = np.sqrt(weights)
        if self._kept is not None:
            rows = self._kept * roots[:, None]
            return np.asarray(rows.T @ rows)
        below = self._below * roots[self.rows :, None]
        if self._well_conditioned:
            # Multiply the sum by H instead of every row, which takes a third of the operations.
            found = self._h.T @ sum(rows.T @ rows for rows in self._formed(roots)) @ self._h
        else:
            several = (rows @ self._h for rows in self._formed(roots))
            found = sum(rows.T @ rows for rows in several)
        return np.asarray(found + below.T @ below)

    def independent(self, held: np.ndarray, room: np.ndarray) -> np.ndarray:
        """Return indices of independent rows among ``held``, those of more ``room`` (n,) first."""
        from scipy.linalg import qr

        if not len(held):
            return held
        r, order = qr((self._some(held) * room[held, None]).T, mode="r", pivoting=True)
        size = np.abs(np.diagonal(r))
        return np.sort(held[order[: np.count_nonzero(size > DEPENDENT * size[0])]])

    def of_pieces(
        self, weights: np.ndarray, held: np.ndarray, right: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return z (k,) and d (m,): Bᵀ diag(weights) B z − Cᵀd = right, and C z = values.

        C are the rows of B that are ``held`` (m,).
        """
        k, c = self.unknowns, self._some(held)
        gram = self.gram(weights) if weights.any() else np.zeros((k, k))
        whole = np.block([[gram, -c.T], [-c, np.zeros((len(c), len(c)))]])
        right = np.concatenate([right, -values])
        try:
            found = np.linalg.solve(whole, right)
        except np.linalg.LinAlgError:  # several minima
            found = np.linalg.lstsq(whole, right)[0]
        return found[:k], found[k:]

    # --- facts about a solution

    def gap(self, b: np.ndarray, z: np.ndarray, d: np.ndarray, losses: Losses) -> float:
        """Return an upper bound on the relative duality gap of z, from the data.

        d is projected on Bᵀd = 0 twice, so that the rest is rounding. Rounding changes the bound by
        at most Bᵀd·(z − z*). The predictions of z and z* differ by at most ‖r‖ + ‖r*‖, and the loss
        of r* is at most that of r. The gap of an exact fit is relative to the loss of b.

        Source: S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge 2004, section 5.2.
        """
        data = copy(self)
        data._kept = None
        r = b - data.forward(z)
        loss, whole = losses.of(r), losses.of(b)
        if not whole:
            return 0.0
        d = np.where(losses.kappa > 0, losses.derivative(r), d)
        weights, inverse = np.ones(len(d)), np.eye(self.unknowns)
        if self.lasso:  # Rows of a large τ have more room for a change.
            most = losses.tau[losses.bounded].max()
            weights = np.square(np.minimum(losses.tau, most) / losses.tau[0])
            inverse = np.linalg.pinv(self.gram(weights), hermitian=True)
        for _ in range(2):
            d = d - weights * data.forward(inverse @ data.adjoint(d))
        off, size = (float(np.linalg.norm(v)) for v in (data.adjoint(d), r))
        gap = losses.gap(r, d) + off * (size + math.sqrt(2 * loss) + 2 * loss / losses.tau[0])
        return gap / (whole if self.is_exact(b, z) or not loss else loss)

    def rounding(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the largest |y − B z| (n,) of a row that is rounding.

        It is relative to y in this row, or in a typical row, since outliers are large by
        themselves.
        """
        terms = self._a_norm * float(np.linalg.norm(self._scaled @ z)) / math.sqrt(self.rows)
        return np.asarray(ROUNDING * (np.maximum(np.abs(y), typical(y)) + terms))

    def is_exact(self, y: np.ndarray, z: np.ndarray) -> bool:
        """Return whether the residual is rounding in every row."""
        return bool((np.abs(y - self.forward(z)) <= self.rounding(y, z)).all())

    def kernel(self, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates (R,) in columns of A T, and the coefficients (q,) of N.

        Coordinates that a lasso sets to zero up to rounding are zero.
        """
        own, of_nuisance = np.split(self._coordinates @ z, [len(self._scaled)])
        if self.lasso:
            size = np.abs(self._scaled @ z)
            rounding = ROUNDING * typical(y) * math.sqrt(self.rows)
            own[size <= max(ZERO * size.max(), rounding)] = 0.0
        return own, of_nuisance


def mad_scale(r: np.ndarray) -> float:
    """Return the median absolute residual divided by its value for the standard normal."""
    return float(np.median(np.abs(r))) / NORMAL_MAD


def typical(y: np.ndarray) -> float:
    """Return the median size of the values that are not zero, or 0."""
    size = np.abs(y[y != 0])
    return float(np.median(size)) if size.size else 0.0


# Fits one output, given its rows, y (n,) with zeros for the rows of penalties, and the power of two
# of its unit: z (k,) and facts.
Fit = Callable[[OrthonormalRows, np.ndarray, int], tuple[np.ndarray, Any]]


def by_output(
    analysis: Analysis, terms: Sequence[tuple[Any, ...]], fit: Fit
) -> tuple[dict[str, Any], list[Any]]:
    """Fit every output with its `Term`.

    With a bias alone, the median of y is subtracted. This removes an offset and, unlike the mean,
    does not depend on outliers.

    Returns:
        Kernel, bias and, with confounds, the coefficients (q, Cout) that are added to those of
        least squares, as in a `SolverResult` and in the user's units; and the facts.

    Raises:
        SolveError: If a factor exceeds the memory limit.
    """
    assert analysis.targets is not None
    plan, outputs = analysis.design.matrix.plan, len(terms)
    alone = plan.centred and plan.confounds is None
    kernel, bias = np.zeros(analysis.design.kernel_shape), np.zeros(outputs)
    extra, facts, known = np.zeros((plan.fitted, outputs)), [], None
    for output in tracked(range(outputs), "outputs", outputs):
        penalty, strength, lasso = Term(*terms[output])
        # A lasso has the taps of a ridge, also within a basis.
        free = lasso and not strength
        system = analysis.unpenalized(penalty) if free else analysis.system(penalty, strength)
        regression = Regression(system, analysis.targets)
        g, q = divmod(output, regression.shape[2])
        if known != (g, terms[output]):
            known, rows = (g, terms[output]), OrthonormalRows(regression, g, lasso)
            ys = regression.matrix.output_rows(regression.targets, g)
        middle = float(np.median(ys[:, q])) if alone else 0.0
        exponent = int(regression.y_exponents[g, q])
        y = np.append(ys[:, q] - middle, np.zeros(len(rows._below)))
        z, fact = fit(rows, y, exponent)
        v, level = np.zeros(regression.shape), np.zeros(regression.y_exponents.shape)
        v[g, :, q], of_nuisance = rows.kernel(z, y)
        if plan.centred:
            level[g, q] = middle + of_nuisance[-1] / plan.norm
        own_kernel, own_bias = regression.from_columns(v, level)
        kernel[..., output], bias[output] = own_kernel[..., output], own_bias[output]
        with np.errstate(over="ignore", under="ignore"):
            extra[:, output] = np.ldexp(of_nuisance, exponent)
        facts.append(fact)
    fitted = plan.confounds is not None and plan.confounds.count
    found = {"kernel": kernel, "bias": bias, "confound_fit": extra if fitted else None}
    return found, facts
