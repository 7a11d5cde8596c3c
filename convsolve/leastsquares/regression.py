"""Least squares of y in one system: residuals from the data, refinement, certificate, units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..linalg.factor import Factor
from ..linalg.factors import Factors
from ..linalg.rank import EPS
from ..operators.design_matrix import Targets
from ..operators.layout import to_columns, to_kernel
from ..operators.sums import blocks, combined
from ..parallel import cached_property
from .certificate import (
    COMBINATIONS,
    EXACT,
    FEWEST_OUTPUTS,
    RESOLVED,
    Certificate,
    backward_error,
    frobenius_bounds,
    upper_bound,
)
from .scaling import Scaling, in_units
from .system import System

# Below this a backward error is noise, and another pass over the data changes nothing.
NOISE = 4 * EPS
# Largest number of refinement steps with R, which is less accurate from a Gram than from a QR. One
# or two are enough, except with a large ridge or very different units.
GRAM_STEPS, QR_STEPS = 4, 5
# Addition to a route if R is deficient.
TRUNCATED = ", truncated SVD of R"
# A norm of residuals of less than this share of y, and of the terms of its fit, is rounding.
ROUNDING = 100 * EPS
# Largest number of refinement steps with the sums.
MOMENT_STEPS = 3
# If the smallest pivot of a Cholesky factor is at least this share of the largest, the condition
# number is seldom above a hundred, and the first solution is accurate.
ALIKE_PIVOTS = 0.1

# A solution w, and its ‖r‖ and Aᵀr, which a function of w computes.
_Found = tuple[np.ndarray, np.ndarray, np.ndarray]
_Residual = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Regression:
    """A `System` and its outputs y.

    Kernels w are (G, P, Q), in the units of the scaled columns and the coordinates of the penalty.
    """

    def __init__(self, system: System, targets: Targets) -> None:
        self.system, self.targets, self.matrix = system, targets, system.matrix
        self.shape = self.matrix.groups, system.columns.count, targets.outputs
        self.y_exponents = targets.grouped(targets.exponents)

    @property
    def scaling(self) -> Scaling:
        """The units of the columns."""
        return self.system.scaling

    @cached_property
    def y_norms(self) -> np.ndarray:
        """Norms (G, Q) of M y."""
        return self.matrix.output_norms(self.targets)

    def rounding(self, w: np.ndarray) -> np.ndarray:
        """Return norms (G, Q) up to which residuals at w are rounding of their terms."""
        return ROUNDING * self._terms(w)

    def _terms(self, w: np.ndarray) -> np.ndarray:
        return self.y_norms + self.scaling.a_norm * np.linalg.norm(w, axis=1)

    # --- first answers

    @cached_property
    def cross(self) -> np.ndarray:
        """AᵀM y (G, P, Q) of the columns of A T, not scaled."""
        with self.system.clock.timing("moments"):
            return self.system.columns.restrict(self.matrix.rhs(self.targets))

    def first(self, factors: Factors, by_svd: bool = False) -> np.ndarray:
        """Return the solution (G, P, Q) by factors of one source, or by their singular values."""
        if factors.parts[0][1].source == "gram":
            return factors.solve_normal(self.scaling.divided(self.cross))
        return factors.solve(self.system.rotated(self.targets), by_svd)

    # --- residuals and refinement

    def residual(
        self, w: np.ndarray, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖ (G, Q) and Aᵀr (G, P, Q) at w from the data, with the rows of the ridge.

        If ``weights`` (G, Q, s) are given, they are those of combinations of the outputs, whose
        kernels w are.
        """
        squares, g = self.system.columns.residual(self.scaling.divided(w), self.targets, weights)
        root = self.scaling.root_ridge[:, :, None]
        pull = root * w
        squares = squares + np.einsum("gpq,gpq->gq", pull, pull)
        return np.sqrt(squares), self.scaling.divided(g) - root * pull

    def by_moments(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and Aᵀr (G, P, Q) at w from the sums, with the rows of the ridge.

        The error of ‖r‖² is the rounding error of its terms, so that it may be negative.
        """
        left = self.cross - self.system.columns.gram @ self.scaling.divided(w)
        g = self.scaling.divided(left) - self.scaling.root_ridge[:, :, None] ** 2 * w
        fitted = np.einsum("gpq,gpq->gq", w, self.scaling.divided(self.cross) + g)
        return np.square(self.y_norms) - fitted, g

    def _resolved(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖ and Aᵀr from the sums, and for ‖r‖ at least its rounding error."""
        squares, g = self.by_moments(w)
        return np.sqrt(np.maximum(squares, EPS * self._terms(w) ** 2)), g

    def _improved(
        self, w: np.ndarray, factors: Factors, steps: int, residual: _Residual, fewest: int = 0
    ) -> tuple[float, _Found]:
        """Refine w in semi-normal steps, and return the least bound, and its w, ‖r‖ and Aᵀr."""
        lowest, best = np.inf, (w, self.y_norms, w)
        for step in range(steps + 1):
            r_norm, g = residual(w)
            bound = upper_bound(w, r_norm, g, self.scaling.a_norm, factors.whitened_norms(g))
            found = float(bound.max())
            # Bounds below one rounding are equal, and the later solution is better.
            if step == 0 or found <= max(lowest, EPS):
                lowest, best = min(lowest, found), (w, r_norm, g)
            if step == steps or (lowest <= NOISE and step >= fewest):
                break
            w = w + factors.solve_normal(g)
        return lowest, best

    def refine(self, w: np.ndarray, factors: Factors, steps: int) -> tuple[np.ndarray, Certificate]:
        """Refine w with residuals of the data in at most ``steps`` semi-normal steps.

        Returns:
            The best w, and its certificate.
        """
        # Under a large ridge the first answer of a QR lacks digits that no backward error shows.
        fewest = int(self.system.strength > 0 and factors[0].source == "qr")
        lowest, best = self._improved(w, factors, steps, self.residual, fewest)
        certificate = Certificate(lowest, "upper bound")
        if not certificate.exact:
            certificate = self._certify(*best, factors.get)
        # A part in the null space fits nothing, but makes any relative residual small.
        if not factors.full_rank:
            null = Certificate(factors.null_share(best[0], self.y_norms), "value")
            certificate = max(certificate, null, key=lambda c: c.value)
        return best[0], certificate

    # --- the solution by the cheapest factor that makes it exact

    def solve(self) -> tuple[np.ndarray, Certificate, str] | None:
        """Return the refined solution, its certificate, and the factors that were used.

        A QR replaces the Gram matrix of groups for which it does not prove full rank, or of all if
        the solution is not exact. None if memory allows neither.
        """
        system, found, route = self.system, None, "Cholesky of the Gram matrix"
        by_gram = system.by_gram
        if by_gram.complete:
            w = self.first(by_gram)
            pivots = [np.abs(np.diagonal(f.r, 0, -2, -1)) for _, f in by_gram.parts]
            if min(map(np.min, pivots)) < ALIKE_PIVOTS * max(map(np.max, pivots)):
                w = self._improved(w, by_gram, MOMENT_STEPS, self._resolved)[1][0]
            if self.combines and (bound := self.from_combinations(w, by_gram)) is not None:
                combinations = COMBINATIONS * len(blocks(self.shape[2]))
                return w, bound, f"{route}; {combinations} combinations of the outputs"
            found = self.refine(w, by_gram, GRAM_STEPS)
            if found[1].exact:
                return *found, route
        elif by_gram.parts and system.qr_fits:
            rest, others, z = system.unproven(self.targets)
            w = self.first(by_gram)
            w[rest] = others.solve(z)
            found = self.refine(w, by_gram.joined(rest, others), QR_STEPS)
            if found[1].exact:
                route += f"; QR of {len(rest)} groups" + TRUNCATED * (not others.full_rank)
                return *found, route
        if (by_qr := system.qr_factors()) is not None:
            route = "QR of the design matrix" + TRUNCATED * (not by_qr.full_rank)
            found = self.refine(self.first(by_qr), by_qr, QR_STEPS)
        return None if found is None else (*found, route)

    # --- certificates

    def certify(self, w: np.ndarray) -> Certificate:
        """Return the backward error of w, the largest over groups and outputs."""
        return self._certify(w, *self.residual(w), self.system.factor)

    def _certify(
        self,
        w: np.ndarray,
        r_norm: np.ndarray,
        g: np.ndarray,
        factor_of: Callable[[int], Factor | None],
    ) -> Certificate:
        bounds = upper_bound(w, r_norm, g, self.scaling.a_norm).max(1)
        exact = bounds <= EXACT
        worst = Certificate(float(bounds.max(where=exact, initial=0.0)), "upper bound")
        for i in np.flatnonzero(~exact).tolist():
            norm = float(self.scaling.a_norm[i, 0])
            found = backward_error(w[i], r_norm[i], g[i], norm, factor_of(i))
            worst = max(found, worst, key=lambda c: c.value)
        return worst

    @property
    def combines(self) -> bool:
        """Whether a pass over combinations of the outputs takes less time than one over all."""
        return self.shape[2] >= FEWEST_OUTPUTS

    def combined_error(
        self, w: np.ndarray, squares: np.ndarray, g: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the error of the gradients ``g`` from the sums, in combinations of the outputs.

        The gradients of a few random combinations are also computed from the data. Combinations
        have weights z/S, where z is standard normal and S is the size of the terms of an output.

        Returns:
            The error (G, P, B·s) of the combinations of B blocks of outputs, and S (G, Q). None if
            the ``squares`` of the residuals have no digits.
        """
        terms = self._terms(w)
        if not ((squares > RESOLVED * terms**2) | (terms == 0)).all():
            return None
        normal = np.random.default_rng(0).standard_normal((*terms.shape, COMBINATIONS))
        weights = normal / np.where(terms > 0, terms, 1.0)[:, :, None]
        from_data = self.residual(combined(w, weights), weights)[1]
        return combined(g, weights) - from_data, terms

    def from_combinations(self, w: np.ndarray, factors: Factors) -> Certificate | None:
        """Return a bound on the backward error of w from random combinations of the outputs.

        It holds with a probability of 1 − 1e-6. None if it exceeds 30 eps, or if the sums do not
        have the digits of a residual.
        """
        squares, g = self.by_moments(w)
        if (found := self.combined_error(w, squares, g)) is None:
            return None
        off, terms = found
        error = frobenius_bounds(off, self.shape[2]) * terms
        with np.errstate(invalid="ignore"):  # 0·inf of an output of zeros
            rest = frobenius_bounds(factors.whitened_norms(off), self.shape[2]) * terms
        whitened, r_norm = factors.whitened_norms(g) + rest, np.sqrt(np.maximum(squares, 0.0))
        bounds = upper_bound(w, r_norm, g, self.scaling.a_norm, whitened, error)
        largest = float(bounds.max())
        return Certificate(largest, "upper bound") if largest <= EXACT else None

    def bias_error(self, w: np.ndarray, bias: np.ndarray) -> float:
        """Return the error of a bias given w, relative to the terms that it is a sum of."""
        kernel = self.system.columns.expand(self.scaling.divided(w))
        matrix, best = self.matrix, self._bias(kernel)
        means = np.abs(matrix.offsets)[:, None] @ np.abs(kernel)
        size = np.abs(matrix.output_means(self.targets)) + means[:, 0]
        size = np.ldexp(size + self.y_norms / np.sqrt(matrix.rows), self.y_exponents).reshape(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(bias == best, 0.0, np.abs(bias - best) / size).max())

    # --- units

    def to_user(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel (*K, Cin/groups, Cout) and bias (Cout,) in the user's units.

        Raises:
            SolveError: If a tap is too small for float64.
        """
        return self.from_columns(self.scaling.divided(w))

    def from_columns(
        self, z: np.ndarray, level: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the same for z (G, R, Q) in the units of the columns of A T.

        ``level`` (G, Q) is the constant in addition to M A T z, for y without a shift. By default,
        it is the least-squares solution.
        """
        columns = self.system.columns.expand(z)
        kernel = in_units(columns, self.y_exponents[:, None] - self.matrix.exponents[:, :, None])
        return to_kernel(kernel, self.system.design.spec.kernel_size), self._bias(columns, level)

    def _bias(self, kernel: np.ndarray, level: np.ndarray | None = None) -> np.ndarray:
        """Return the bias (Cout,) for kernels (G, P, Q) and ``level``; zeros if there is none."""
        found = self.matrix.constant_beside(self.targets, kernel, level)
        if found is None:
            return np.zeros(kernel[:, 0].size)
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(found, self.y_exponents).reshape(-1)

    def from_kernel(self, kernel: np.ndarray) -> np.ndarray:
        """Return the inverse of `to_user` without a penalty, in orthonormal coordinates."""
        columns = self.system.columns.t.restrict(to_columns(kernel.astype(float), self.shape[0]))
        return np.ldexp(columns, self.scaling.exponents[:, :, None] - self.y_exponents[:, None, :])
