"""Sums of piecewise linear-quadratic losses of rows, minimized by one interior point method.

Every row has ρ(u) = max over |d| ≤ τ of u·d − κ·d²/2. Squares have κ = 1 and τ = ∞, Huber's loss
has κ = 1 and its threshold τ, absolute values have κ = 0 and τ = 1. A ridge adds rows √strength·w
of squares, and a lasso adds rows w of absolute values. The dual of Σρ(b − B z) is
max bᵀd − Σκ·d²/2 over Bᵀd = 0 and |d| ≤ τ.

Source: S. Mehrotra, SIAM J. Optim. 2 (1992) 575; A. Aravkin, J. Burke and G. Pillonetto, J. Mach.
Learn. Res. 14 (2013) 2689.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from ..linalg.lapack import cholesky, solve_triangular
from ..linalg.rank import EPS
from ..progress import tracked

# Steps of the interior point method at most, and how far one goes towards the edge.
STEPS, TOWARDS = 80, 0.9995
# Products relative to the loss at which the minimum of the pieces is tried, in turn.
PAUSES = 1e-6, 1e-10, 1e-13
# Updates of the pieces at most, and a gap that is rounding.
TURNS, ROUNDED = 12, 1e-11
# A multiplier beyond τ by less than this share is rounding, and so is a residual of less than this
# share of the largest value.
SLACK = 1e-12
# The two ends of |d| ≤ τ.
SIDES = np.array([[1.0], [-1.0]])


class Losses(NamedTuple):
    """κ (n,) and τ (n,) of every row."""

    kappa: np.ndarray
    tau: np.ndarray

    @property
    def bounded(self) -> np.ndarray:
        """Flags of the rows with a finite τ."""
        return np.isfinite(self.tau)

    def ends(self, r: np.ndarray) -> np.ndarray:
        """Return the sign of r where ρ is linear, else 0."""
        return np.sign(r) * (np.abs(r) > self.kappa * self.tau)

    def derivative(self, r: np.ndarray) -> np.ndarray:
        """Return ρ′ (n,), and 0 at a corner."""
        smooth = self.kappa > 0
        inner = np.clip(r / np.where(smooth, self.kappa, 1.0), -self.tau, self.tau)
        return np.where(smooth, inner, np.sign(r) * np.where(smooth, 0.0, self.tau))

    def of(self, r: np.ndarray) -> float:
        """Return Σρ(r)."""
        d = self.derivative(r)
        return float((r * d - self.kappa * d**2 / 2).sum())

    def gap(self, r: np.ndarray, d: np.ndarray) -> float:
        """Return the duality gap Σρ(r) + κd²/2 − r·d of a multiple of d with |d| ≤ τ.

        It is a sum of terms that are not negative, so that no digits cancel.
        """
        own = self.derivative(r)
        d = d * min(1.0, 1 / np.max(np.abs(d) / self.tau, initial=1.0))
        terms = (own - d) * (r - self.kappa * (own + d) / 2)
        return float(np.maximum(terms, 0.0).sum())


class Rows(Protocol):
    """B (n, k)."""

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Return B z (n,)."""

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        """Return Bᵀr (k,)."""

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Return Bᵀ diag(weights) B (k, k)."""

    def independent(self, held: np.ndarray, room: np.ndarray) -> np.ndarray:
        """Return indices of independent rows among ``held``, those of more ``room`` (n,) first."""

    def of_pieces(
        self, weights: np.ndarray, held: np.ndarray, right: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return z (k,) and d (m,): Bᵀ diag(weights) B z − Cᵀd = right, and C z = values.

        C are the rows of B that are ``held`` (m,).
        """

    def gap(self, b: np.ndarray, z: np.ndarray, d: np.ndarray, losses: Losses) -> float:
        """Return the relative duality gap of z, given d near a feasible point of the dual."""


class Minimum(NamedTuple):
    """A minimum z (k,), and facts about it.

    Attributes:
        z, d: z and the point (n,) of the dual.
        ends: (n,) −1 or 1 where ρ is linear, 0 in the quadratic piece or at a corner.
        gap: relative duality gap.
        steps: number of steps of the interior point method.
    """

    z: np.ndarray
    d: np.ndarray
    ends: np.ndarray
    gap: float
    steps: int = 0


def minimize(rows: Rows, b: np.ndarray, losses: Losses, start: np.ndarray) -> Minimum:
    """Return argmin Σρ(b − B z) (k,).

    If the pieces of ``start`` lead to the pieces of a minimum, the interior point method is not
    used. The minimum of its pieces is exact, otherwise.
    """
    r = b - rows.forward(start)
    at = Minimum(start, losses.derivative(r), losses.ends(r), np.inf)
    if (at.ends == 0).sum() >= len(start):
        at = _settled(rows, b, losses, at)
    point: _Point | None = None
    for pause in PAUSES:
        if at.gap <= ROUNDED:
            break
        point = point or _Point.middle(start, r, losses)
        point, taken = _interior_point(rows, losses, point, pause)
        inside = point.minimum(losses, rows.gap(b, point.z, point.d, losses), at.steps + taken)
        found = _settled(rows, b, losses, inside)
        at = found if found.gap <= ROUNDED else min(at, inside, found, key=lambda one: one.gap)
        at = at._replace(steps=inside.steps)
    return at


# --- the pieces of a minimum


def _settled(rows: Rows, b: np.ndarray, losses: Losses, at: Minimum) -> Minimum:
    """Return the minimum of pieces that contain it, near some pieces; a gap of inf if not found.

    A row leaves an end where its residual changes sign, and a corner where d exceeds τ.
    """
    rounding = SLACK * float(np.abs(b).max(initial=0.0))
    z, d, ends = at.z, at.d, at.ends
    for _ in range(TURNS):
        try:
            z, r, d = _of_pieces(rows, b, losses, ends, z, d)
        except np.linalg.LinAlgError:
            break
        outside = np.abs(d) > losses.tau * (1 + SLACK)
        corner = np.where(ends == 0, np.sign(d) * outside, ends * (r * ends >= -rounding))
        after = np.where(losses.kappa > 0, losses.ends(r), corner)
        if np.array_equal(after, ends):
            return Minimum(z, d, ends, rows.gap(b, z, d, losses), at.steps)
        ends = after
    return at._replace(gap=np.inf)


def _of_pieces(
    rows: Rows, b: np.ndarray, losses: Losses, ends: np.ndarray, z: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z, r and d of the minimum in some pieces, which solves a linear system for a change.

    Rows at a corner have no residual and an unknown d. If more of them meet than there are
    unknowns, d of the others stays. Rows at an end have d = ±τ.
    """
    kappa, tau = losses
    inner, corner = (ends == 0) & (kappa > 0), (ends == 0) & (kappa == 0)
    weights = inner / np.where(kappa > 0, kappa, 1.0)
    known = np.where(corner, np.clip(d, -tau, tau), ends * np.where(losses.bounded, tau, 0.0))
    held = np.flatnonzero(corner)
    held = rows.independent(held, np.maximum(1 - np.abs(d) / tau, EPS))
    known[held] = 0.0
    r = b - rows.forward(z)
    change, own = rows.of_pieces(weights, held, rows.adjoint(weights * r + known), r[held])
    z = z + change
    r = b - rows.forward(z)
    d = np.where(inner, weights * r, known)
    d[held] = own
    return z, r, d


# --- interior point method


class _Point(NamedTuple):
    """An interior point, or a step: r = b − B z, d, and multipliers p (2, n) of d ≤ τ, −d ≤ τ.

    At a solution r = κd + p₀ − p₁, and the products of p with the slack of d are zero.
    """

    z: np.ndarray
    r: np.ndarray
    d: np.ndarray
    p: np.ndarray

    @classmethod
    def middle(cls, z: np.ndarray, r: np.ndarray, losses: Losses) -> _Point:
        """Return the middle of the dual with some z."""
        bounded = losses.bounded
        room = float(np.abs(r[bounded]).mean()) or 1.0
        d = np.where(bounded, 0.0, losses.derivative(r))
        return cls(z, r, d, (np.maximum(SIDES * r, 0.0) + room) * bounded)

    def minimum(self, losses: Losses, gap: float, steps: int) -> Minimum:
        """Return the point with its pieces."""
        # One of them is nearly zero. Both are relative to a typical one, whatever the unit of b.
        active = 1 - SIDES * self.d / losses.tau < self.p / (self.p.max(0).mean() or 1.0)
        return Minimum(self.z, self.d, (SIDES * active).sum(0), gap, steps)


def _interior_point(rows: Rows, losses: Losses, at: _Point, enough: float) -> tuple[_Point, int]:
    """Return a point whose products are ``enough`` relative to the loss, and the steps taken."""
    for taken in tracked(range(STEPS), "steps of the interior point method", STEPS):
        moved = _moved(rows, losses, at, enough)
        if moved is None:
            return at, taken
        at = moved
    return at, STEPS


def _moved(rows: Rows, losses: Losses, at: _Point, enough: float) -> _Point | None:
    """Return the next point; None if the gap is small, or if rounding leaves no step."""
    (kappa, tau), bounded = losses, losses.bounded
    slack = np.where(bounded, np.maximum(tau - SIDES * at.d, EPS * tau), 1.0)
    products, size = at.p * slack, np.where(bounded, at.p, 1.0)
    if products.sum() <= enough * losses.of(at.r):
        return None
    weights = 1 / (kappa + (at.p / slack).sum(0))
    gram = rows.gram(weights)
    gram.flat[:: len(gram) + 1] *= 1 + 4 * EPS * len(gram)
    factor = cholesky(gram)
    if factor is None:
        return None
    off = at.r - kappa * at.d - at.p[0] + at.p[1]

    def step(added: np.ndarray) -> _Point:
        """Return Newton's step that adds these numbers (2, n) to the products."""
        right = off - (SIDES * added / slack).sum(0)
        g = rows.adjoint(weights * right + at.d)
        z = solve_triangular(factor, solve_triangular(factor, g, transposed=True))
        seen = rows.forward(z)
        d = weights * (right - seen)
        return _Point(z, -seen, d, (added + SIDES * at.p * d) / slack * bounded)

    def reach(by: _Point) -> tuple[float, float]:
        """Return how far d, and how far the other numbers can go, a whole step at most."""
        fastest = np.max(SIDES * by.d / slack * bounded), np.max(-by.p / size)
        return 1 / max(1.0, float(fastest[0])), 1 / max(1.0, float(fastest[1]))

    ahead = step(-products)
    dual, primal = reach(ahead)
    left = ((at.p + primal * ahead.p) * (slack - dual * SIDES * ahead.d) * bounded).sum()
    centre = (left / products.sum()) ** 2 * left / (2 * bounded.sum())
    by = step((centre - products + SIDES * ahead.p * ahead.d) * bounded)
    if not all(np.isfinite(part).all() for part in by):
        return None
    dual, primal = (TOWARDS * far for far in reach(by))
    # With quadratic pieces a residual is a part of the dual too, so that both take one step.
    if kappa.any():
        dual = primal = min(dual, primal)
    lengths = primal, primal, dual, primal
    return _Point(*(a + t * b for a, b, t in zip(at, by, lengths, strict=True)))
