"""Sums of piecewise linear-quadratic losses of rows, minimized by one interior point method.

Every row has ρ(u) = max over |d| ≤ τ of u·d − κ·d²/2. Squares have κ = 1 and τ = ∞, Huber's loss
has κ = 1 and its threshold τ, absolute values have κ = 0 and any τ. A ridge adds rows √strength·w
of squares, and a lasso adds rows w of absolute values. The dual of Σρ(b − B z) is
max bᵀd − Σκ·d²/2 over Bᵀd = 0 and |d| ≤ τ.

Source: S. Mehrotra, SIAM J. Optim. 2 (1992) 575; A. Aravkin, J. Burke and G. Pillonetto, J. Mach.
Learn. Res. 14 (2013) 2689.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from ..linalg.lapack import cholesky, solve_triangular
from ..linalg.rank import EPS
from ..progress import tracked

# Steps of the interior point method at most, and how far one goes towards the edge.
STEPS, TOWARDS = 80, 0.9995
# Products relative to the loss that are small enough.
ENOUGH = 1e-10
# Updates of the pieces at most, and a gap that is rounding.
TURNS, ROUNDED = 12, 1e-11
# A multiplier beyond τ by less than this share is rounding, and so is a residual of less than this
# share of the largest value.
SLACK = 1e-12
# The two ends of |d| ≤ τ.
SIDES = np.array([[1.0], [-1.0]])


class Losses(NamedTuple):
    """κ (n,), zero or one, and τ (n,) of every row."""

    kappa: np.ndarray
    tau: np.ndarray

    def ends(self, r: np.ndarray) -> np.ndarray:
        """Return the sign of r where ρ is linear, else 0."""
        return np.sign(r) * (np.abs(r) > self.kappa * self.tau)

    def derivative(self, r: np.ndarray) -> np.ndarray:
        """Return ρ′ (n,), or one of its values at a corner."""
        inner = np.clip(r, -self.tau, self.tau)
        return np.where(self.kappa > 0, inner, np.copysign(self.tau, r))

    def of(self, r: np.ndarray) -> float:
        """Return Σρ(r)."""
        d = self.derivative(r)
        return float((r * d - self.kappa * d**2 / 2).sum())


class Rows:
    """Rows B (n, k). The last ones are rows of an identity, one for each of the ``taps``.

    The taps of a lasso are the first unknowns. Without them BᵀB = I. With them, the columns of the
    rows above have norms of about one.
    """

    def __init__(self, b: np.ndarray, taps: int = 0) -> None:
        self._b, self.taps = b, taps

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Return B z (n,)."""
        return np.asarray(self._b @ z)

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        """Return Bᵀr (k,)."""
        return np.asarray(self._b.T @ r)

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Return Bᵀ diag(weights) B (k, k), for weights (n,) that are not negative."""
        rows = self._b * np.sqrt(weights)[:, None]
        return np.asarray(rows.T @ rows)

    def some(self, which: np.ndarray) -> np.ndarray:
        """Return the rows (m, k) with the indices ``which`` (m,), in ascending order."""
        return self._b[which]


def relative_gap(rows: Rows, b: np.ndarray, z: np.ndarray, d: np.ndarray, losses: Losses) -> float:
    """Return an upper bound on the relative duality gap of z, given d near a point of the dual.

    The gap of d is Σρ(r) + κd²/2 − r·d, a sum of terms that are not negative, so that no digits
    cancel. d is projected on Bᵀd = 0 twice, and then multiplied by a number that makes |d| ≤ τ.
    Rounding changes the bound by at most Bᵀd·(z − z*). B has no singular value below one, the
    predictions of z and z* differ by at most ‖r‖ + ‖r*‖, and the loss of r* is at most that of r.

    Source: S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge 2004, section 5.2.
    """
    r = b - rows.forward(z)
    if not (loss := losses.of(r)):
        return 0.0
    own = losses.derivative(r)
    d = np.where(losses.kappa > 0, own, d)
    for _ in range(0 if rows.taps else 2):
        d = d - rows.forward(rows.adjoint(d))
    farthest = np.linalg.norm(r) + math.sqrt(2 * loss) + 2 * loss / losses.tau.min()
    rounding = np.linalg.norm(rows.adjoint(d)) * farthest
    d = d / np.max(np.abs(d) / losses.tau, initial=1.0)
    terms = np.maximum((own - d) * (r - losses.kappa * (own + d) / 2), 0.0)
    return float(terms.sum() + rounding) / loss


class Minimum(NamedTuple):
    """A minimum z (k,), its d (n,), and the ``steps`` of the interior point method.

    ``ends`` (n,) are −1 or 1 where ρ is linear, 0 in the quadratic piece or at a corner.
    """

    z: np.ndarray
    d: np.ndarray
    ends: np.ndarray
    steps: int = 0


def minimize(rows: Rows, b: np.ndarray, losses: Losses, start: np.ndarray) -> Minimum:
    """Return argmin Σρ(b − B z).

    If the losses above those of taps are smooth, and the pieces of ``start`` lead to the pieces of
    a minimum, the interior point method is not used. Otherwise it leads to them. The minimum of
    these pieces is exact.
    """

    def gap(at: Minimum) -> float:
        return relative_gap(rows, b, at.z, at.d, losses)

    r, kappa, steps = b - rows.forward(start), losses.kappa, 0
    at = Minimum(start, losses.derivative(r), losses.ends(r))
    early = _settled(rows, b, losses, at) if kappa[0] else None
    if early and gap(early) <= ROUNDED:
        return early
    # No residual of the squares exceeds this, so that all rows have two ends.
    tau = np.where(np.isfinite(losses.tau), losses.tau, 4 * math.sqrt(2 * losses.of(b)))
    d = kappa * np.clip(r, -tau / 2, tau / 2)
    room = (float(np.abs(r).mean()) or 1.0) * tau.min() / tau
    point = _Point(start, r, d, np.maximum(SIDES * (r - d), 0.0) + room)
    for _ in tracked(range(STEPS), "steps of the interior point method", STEPS):
        if (moved := _moved(rows, Losses(kappa, tau), point)) is None:
            break
        point, steps = moved, steps + 1
    # Either a multiplier or its slack is nearly zero. Typical ones are about one here.
    active = 1 - SIDES * point.d / tau < point.p / point.p.max(0).mean()
    at = Minimum(point.z, point.d, (SIDES * active).sum(0), steps)
    return min(filter(None, [_settled(rows, b, losses, at), early, at]), key=gap)


# --- the pieces of a minimum


def _settled(rows: Rows, b: np.ndarray, losses: Losses, at: Minimum) -> Minimum | None:
    """Return the minimum of pieces that contain it, near some pieces; None if not found."""
    with suppress(np.linalg.LinAlgError):
        for _ in range(TURNS):
            before, at = at.ends, _of_pieces(rows, b, losses, at)
            if np.array_equal(at.ends, before):
                return at
    return None


def _of_pieces(rows: Rows, b: np.ndarray, losses: Losses, at: Minimum) -> Minimum:
    """Return the minimum in some pieces, which solves a linear system, and the pieces to try next.

    Rows at a corner have no residual and an unknown d. If more of them meet than there are
    unknowns, d of the others stays. Rows at an end have d = ±τ. Taps at a corner are zero. A row
    leaves an end where its residual changes sign, and a corner where d exceeds τ.
    """
    (kappa, tau), n, free = losses, len(b) - rows.taps, np.ones(len(at.z), bool)
    inner, corner = ((at.ends == 0) & (kappa == k) for k in (1, 0))
    free[: rows.taps] = ~corner[n:]
    z, held, k = at.z * free, np.flatnonzero(corner[:n]), int(free.sum())
    held = np.sort(held[np.argsort(np.abs(at.d[held] / tau[held]))[:k]])  # the farthest from an end
    d = np.where(at.ends == 0, np.clip(at.d, -tau, tau) * corner, np.copysign(tau, at.ends))
    d[held] = 0.0
    r = b - rows.forward(z)
    gram = 4 * EPS * np.eye(k)  # for several minima
    if inner.any():
        gram += rows.gram(1.0 * inner)[free][:, free]
    if len(held):
        c = rows.some(held)[:, free]
        gram = np.block([[gram, -c.T], [-c, np.zeros(2 * held.shape)]])
    right = np.append(rows.adjoint(inner * r + d)[free], -r[held])
    change, own = np.split(np.linalg.solve(gram, right), [k])
    z[free] += change
    r = b - rows.forward(z)
    d = np.where(inner, r, d)
    d[held] = own
    d[n:] -= (rows.adjoint(d) * ~free)[: rows.taps]
    outside = np.sign(d) * (np.abs(d) > tau * (1 + SLACK))
    stays = r * at.ends >= -SLACK * np.abs(b).max(initial=0.0)
    corner = np.where(at.ends == 0, outside, at.ends * stays)
    return Minimum(z, d, np.where(kappa > 0, losses.ends(r), corner), at.steps)


# --- interior point method


class _Point(NamedTuple):
    """An interior point, or a step: r = b − B z, d, and multipliers p (2, n) of d ≤ τ, −d ≤ τ.

    At a solution r = κd + p₀ − p₁, and the products of p with the slack of d are zero.
    """

    z: np.ndarray
    r: np.ndarray
    d: np.ndarray
    p: np.ndarray


def _moved(rows: Rows, losses: Losses, at: _Point) -> _Point | None:
    """Return the next point; None if the gap is small, or if rounding leaves no step."""
    kappa, tau = losses
    slack = np.maximum(tau - SIDES * at.d, EPS * tau)
    products = at.p * slack
    if products.sum() <= ENOUGH * losses.of(at.r):
        return None
    weights = 1 / (kappa + (at.p / slack).sum(0))
    gram = rows.gram(weights)
    gram.flat[:: len(gram) + 1] *= 1 + 4 * EPS * len(gram)
    if (factor := cholesky(gram)) is None:
        return None

    def step(added: np.ndarray) -> _Point:
        """Return Newton's step that adds these numbers (2, n) to the products."""
        right = at.r - kappa * at.d - (SIDES * (at.p + added / slack)).sum(0)
        g = rows.adjoint(weights * right + at.d)
        z = solve_triangular(factor, solve_triangular(factor, g, transposed=True))
        seen = rows.forward(z)
        d = weights * (right - seen)
        return _Point(z, -seen, d, (added + SIDES * at.p * d) / slack)

    def reach(by: _Point) -> np.ndarray:
        """Return how far the rest and d can go, a whole step at most."""
        fastest = [(-by.p / at.p).max(), (SIDES * by.d / slack).max()]
        # With quadratic pieces a residual is a part of the dual too, so that both take one step.
        return 1 / np.maximum(1.0, [max(fastest)] * 2 if kappa.any() else fastest)

    ahead = step(-products)
    t, s = reach(ahead)
    left = ((at.p + t * ahead.p) * (slack - s * SIDES * ahead.d)).sum()
    centre = (left / products.sum()) ** 2 * left / products.size
    by = step(centre - products + SIDES * ahead.p * ahead.d)
    t, s = TOWARDS * reach(by)
    found = _Point(*(a + x * b for a, b, x in zip(at, by, (t, t, s, t), strict=True)))
    return found if np.isfinite(found.d).all() else None
