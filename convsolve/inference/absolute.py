"""Least absolute deviations: an interior point method, and the vertex that it leads to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..linalg.lapack import cholesky, solve_triangular
from ..linalg.rank import EPS
from ..progress import tracked
from .orthonormal_rows import OrthonormalRows
from .robust import feasible, share_of

# Duality gaps relative to the loss at which the interior point method tries a vertex, in turn, and
# the gap of a vertex that ends the search.
PAUSES, ENOUGH = (1e-6, 1e-10), 1e-12
# Its steps at most between two of them; and how far it goes towards the edge.
MOST_STEPS, TOWARDS = 100, 0.9995
# Candidates for the rows of a vertex, as a multiple of the unknowns, and pivots at most.
CANDIDATES, MOST_PIVOTS = 4, 200
# A multiplier beyond 1 by less than this is rounding.
SLACK = 1e-12


def absolute_gap(
    rows: OrthonormalRows, y: np.ndarray, z: np.ndarray, d: np.ndarray
) -> tuple[float, np.ndarray]:
    """Duality gap of z as a share of the loss, an upper bound, from the data; and the d used.

    The dual of Σ|y − B z| is max yᵀd over Bᵀd = 0, |d| ≤ 1, of which d is made a point. The gap is
    summed term by term, |r| − r·d, none of them negative. Rounding leaves Bᵀd ≠ 0, which moves the
    bound by Bᵀd·(z − z*) at most; the outputs of z and z* differ by no more than ‖r‖ + ‖r*‖, and
    r* has no larger sum than r.
    """
    rows = rows.from_data()
    r = y - rows.forward(z)
    d, left = feasible(rows, d, 1.0)
    loss, loss_of_y = (float(np.abs(v).sum()) for v in (r, y))
    gap = float((np.abs(r) - r * d).sum()) + left * (float(np.linalg.norm(r)) + loss)
    return share_of(gap, loss, loss_of_y, rows.is_exact(y, z)), d


# --- interior point method


class Interior(NamedTuple):
    """An interior point of the primal and of the dual.

    ``z`` (k,) has the residuals r = y − B z = ``above`` − ``below``, both positive. The point of
    the dual is −1 < ``d`` < 1.
    """

    z: np.ndarray
    r: np.ndarray
    d: np.ndarray
    above: np.ndarray
    below: np.ndarray

    @classmethod
    def of(cls, rows: OrthonormalRows, y: np.ndarray, z: np.ndarray) -> Interior:
        """Return the middle of the dual with some z."""
        r = y - rows.forward(z)
        room = float(np.abs(r).mean())
        return cls(z, r, np.zeros(len(y)), np.maximum(r, 0) + room, np.maximum(-r, 0) + room)

    @property
    def slack(self) -> tuple[np.ndarray, np.ndarray]:
        """How far d is below 1, and above −1."""
        return np.maximum(1 - self.d, EPS), np.maximum(1 + self.d, EPS)

    @property
    def products(self) -> tuple[np.ndarray, np.ndarray]:
        """What is zero at the answer, from above and from below."""
        upper, lower = self.slack
        return self.above * upper, self.below * lower

    @property
    def gap(self) -> float:
        """Their sum, as a share of the loss."""
        return float(sum(part.sum() for part in self.products) / np.abs(self.r).sum())

    def moved(self, by: Interior, dual: float, primal: float) -> Interior:
        """Take a step of d, and another step of the other numbers."""
        lengths = (primal, primal, dual, primal, primal)
        return Interior(*(a + t * b for a, b, t in zip(self, by, lengths, strict=True)))

    def reach(self, by: Interior) -> tuple[float, float]:
        """How far d, and how far all else can go that way, a whole step at most."""
        upper, lower = self.slack
        return (
            min(_reach(upper, -by.d), _reach(lower, by.d)),
            min(_reach(self.above, by.above), _reach(self.below, by.below)),
        )


def _reach(size: np.ndarray, step: np.ndarray) -> float:
    """Return the largest part of a step, at most 1, that leaves all sizes positive."""
    fastest = float(np.max(-step / size))
    return 1 / fastest if fastest > 1 else 1.0


def interior_point(rows: OrthonormalRows, at: Interior, gap: float) -> tuple[Interior, int]:
    """From one interior point to another of a smaller ``gap``, and the steps it took.

    The method of Frisch and Newton: Mehrotra's predictor and corrector on the bounded dual. A step
    takes one weighted Gram and four passes over the data; some 15 lead from least squares to
    rounding, whatever the size.

    Source: S. Portnoy and R. Koenker, Stat. Sci. 12 (1997) 279; S. Mehrotra, SIAM J. Optim. 2
    (1992) 575.
    """
    steps = tracked(range(MOST_STEPS), "steps of the interior point method", MOST_STEPS)
    for taken in steps:
        moved = _mehrotra(rows, at) if at.gap > gap else None
        if moved is None:
            return at, taken
        at = moved
    return at, MOST_STEPS


def _mehrotra(rows: OrthonormalRows, at: Interior) -> Interior | None:
    """Return the next interior point, or None if rounding leaves no step."""
    upper, lower = at.slack
    weights = 1 / (at.above / upper + at.below / lower)
    factor = cholesky(rows.gram(weights))
    if factor is None:
        return None
    off = at.r - at.above + at.below

    def direction(from_above: np.ndarray, from_below: np.ndarray) -> Interior:
        """Return the Newton step that adds these numbers to the products."""
        right = off - from_above / upper + from_below / lower
        g = rows.adjoint(weights * right + at.d)
        z = solve_triangular(factor, solve_triangular(factor, g, transposed=True))
        seen = rows.forward(z)
        d = weights * (right - seen)
        above = (from_above + at.above * d) / upper
        below = (from_below - at.below * d) / lower
        return Interior(z, -seen, d, above, below)

    above, below = at.products
    ahead = direction(-above, -below)
    whole, left = (
        float(sum(part.sum() for part in one.products))
        for one in (at, at.moved(ahead, *at.reach(ahead)))
    )
    centre = (left / whole) ** 2 * left / (2 * len(at.d))
    step = direction(centre - above + ahead.above * ahead.d, centre - below - ahead.below * ahead.d)
    if not all(np.isfinite(part).all() for part in step):
        return None
    reach = (min(1.0, TOWARDS * far) for far in at.reach(step))
    return at.moved(step, *reach)


# --- vertex


def vertex(
    rows: OrthonormalRows, y: np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Return the vertex z (k,) of least Σ|y − B z|, its d (n,) and the number of pivots.

    The vertex passes through k rows of y. It is searched from a d ``near`` it; None if it is not
    found. The first rows are those whose d is farthest from ±1. A pivoted QR selects independent
    ones. Their d follow from the d of other rows. While one of them is beyond ±1, the simplex
    method replaces its row by another, which decreases the sum.

    Source: I. Barrodale and F. D. K. Roberts, SIAM J. Numer. Anal. 10 (1973) 839.
    """
    held = _independent(rows, near)
    for pivots in tracked(range(MOST_PIVOTS), "pivots", MOST_PIVOTS):
        try:
            z = np.linalg.solve(held.b, y[held.which])
            r = y - rows.forward(z)
            # A residual of rounding has no sign: there the d of the interior point stays.
            d = np.where(np.abs(r) > rows.rounding(y, z), np.sign(r), near)
            r[held.which] = d[held.which] = 0.0
            own = -np.linalg.solve(held.b.T, rows.adjoint(d))
        except np.linalg.LinAlgError:
            return None
        worst = int(np.argmax(np.abs(own)))
        if not np.isfinite(own).all():
            return None
        if abs(own[worst]) <= 1 + SLACK:
            d[held.which] = own
            return z, d, pivots
        entering = _entering(rows, held, worst, r, own)
        if entering is None:
            return None
        held = _exchanged(rows, held, worst, entering)
    return None


class _Held(NamedTuple):
    """The rows through which a vertex passes: which, and those of B (k, k)."""

    which: np.ndarray
    b: np.ndarray


def _independent(rows: OrthonormalRows, d: np.ndarray) -> _Held:
    from scipy.linalg import qr

    free = 1 - np.abs(d)
    count = min(len(d), CANDIDATES * rows.unknowns)
    near = np.argpartition(-free, count - 1)[:count]
    b = rows.some(near)
    order = qr((b * free[near, None]).T, mode="r", pivoting=True)[1][: rows.unknowns]
    return _Held(near[order], b[order])


def _entering(
    rows: OrthonormalRows, held: _Held, leaving: int, r: np.ndarray, own: np.ndarray
) -> int | None:
    """Return the row at which Σ|r| is least if the ``leaving`` row moves to the side of its d."""
    unit = np.zeros(len(own))
    unit[leaving] = -np.sign(own[leaving])
    move = rows.forward(np.linalg.solve(held.b, unit))
    move[held.which] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = r / move
    ahead = np.flatnonzero(np.isfinite(reached) & (reached > 0))
    ahead = ahead[np.argsort(reached[ahead])]
    slope = 1 - abs(own[leaving]) + 2 * np.cumsum(np.abs(move[ahead]))
    place = int(np.searchsorted(slope, 0.0))
    return int(ahead[place]) if place < len(ahead) else None


def _exchanged(rows: OrthonormalRows, held: _Held, leaving: int, entering: int) -> _Held:
    which, b = held.which.copy(), held.b.copy()
    unit = np.zeros(rows.rows)
    unit[entering] = 1.0
    which[leaving], b[leaving] = entering, rows.adjoint(unit)
    return _Held(which, b)


# --- both


def least_absolute(
    rows: OrthonormalRows, y: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, float, dict[str, int]]:
    """Return argmin Σ|y − B z| (k,), its duality gap relative to the loss, and numbers of steps.

    A vertex is returned if its gap is smaller than the gap of the interior point. If several rows
    tie, the data may certify no vertex, but they certify the interior point.
    """
    at, z, counts = Interior.of(rows, y, start), start, {"interior_steps": 0, "pivots": 0}
    gap, _ = absolute_gap(rows, y, start, np.sign(at.r))
    if not rows.unknowns or rows.is_exact(y, start):
        return start, gap, counts
    for pause in PAUSES:
        at, taken = interior_point(rows, at, pause)
        counts["interior_steps"] += taken
        of_interior, d = absolute_gap(rows, y, at.z, at.d)
        if of_interior < gap:
            z, gap = at.z, of_interior
        found = vertex(rows, y, d)
        if found is not None:
            of_vertex, _ = absolute_gap(rows, y, *found[:2])
            if of_vertex < gap:
                z, gap, counts["pivots"] = found[0], of_vertex, counts["pivots"] + found[2]
        if gap <= ENOUGH:
            break
    return z, gap, counts
