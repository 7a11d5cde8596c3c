"""Least absolute deviations: an interior point method, and the vertex that it leads to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..linalg.lapack import cholesky, solve_triangular
from .orthonormal_rows import OrthonormalRows
from .robust import feasible, share_of

# The interior point method ends at this duality gap, as a share of the loss, or after so many
# steps; it goes this far towards the edge.
INTERIOR, MOST_STEPS, TOWARDS = 1e-10, 100, 0.9995
# Candidates for the rows of a vertex, as a multiple of the unknowns, and pivots at most.
CANDIDATES, MOST_PIVOTS = 4, 200
# A multiplier beyond 1 by less than this is rounding.
SLACK = 1e-12


class Interior(NamedTuple):
    """Coordinates ``z`` (k,), a point ``d`` (n,) of the dual, and the steps taken."""

    z: np.ndarray
    d: np.ndarray
    steps: int


def absolute_gap(
    rows: OrthonormalRows, y: np.ndarray, z: np.ndarray, d: np.ndarray
) -> tuple[float, np.ndarray]:
    """Duality gap of z as a share of the loss, an upper bound, from the data; and the d used.

    The dual of Σ|y − B z| is max yᵀd over Bᵀd = 0, |d| ≤ 1, of which d is made a point. The gap is
    summed term by term, |r| − r·d, none of them negative. Rounding leaves Bᵀd ≠ 0, which moves the
    bound by Bᵀd·(z − z*) at most; the outputs of z and z* differ by no more than ‖r‖ + ‖r*‖, and
    r* has no larger sum than r.
    """
    r = y - rows.forward(z)
    d, left = feasible(rows, d, 1.0)
    loss, loss_of_y = (float(np.abs(v).sum()) for v in (r, y))
    gap = float((np.abs(r) - r * d).sum()) + left * (float(np.linalg.norm(r)) + loss)
    return share_of(gap, loss, loss_of_y, np.abs(r).max() <= rows.rounding(y, z)), d


# --- interior point method


class _State(NamedTuple):
    """An interior point: r = y − B z = above − below, and −1 < d < 1."""

    z: np.ndarray
    d: np.ndarray
    above: np.ndarray
    below: np.ndarray

    @property
    def products(self) -> tuple[np.ndarray, np.ndarray]:
        """What is zero at the answer, from above and from below."""
        return self.above * (1 - self.d), self.below * (1 + self.d)

    def moved(self, by: _State, dual: float, primal: float) -> _State:
        return _State(
            self.z + primal * by.z,
            self.d + dual * by.d,
            self.above + primal * by.above,
            self.below + primal * by.below,
        )

    def reach(self, by: _State) -> tuple[float, float]:
        """How far d, and how far all else can go that way, a whole step at most."""
        return (
            min(_reach(1 - self.d, -by.d), _reach(1 + self.d, by.d)),
            min(_reach(self.above, by.above), _reach(self.below, by.below)),
        )


def _reach(size: np.ndarray, step: np.ndarray) -> float:
    falls = step < 0
    return float(np.min(-size[falls] / step[falls], initial=1.0))


def interior_point(rows: OrthonormalRows, y: np.ndarray, start: np.ndarray) -> Interior:
    """Near the least Σ|y − B z|, from a start z (k,), by the method of Frisch and Newton.

    Mehrotra's predictor and corrector on the bounded dual; each step takes one weighted Gram and a
    few passes over the data. From least squares, some 15 steps whatever the size.

    Source: S. Portnoy and R. Koenker, Stat. Sci. 12 (1997) 279; S. Mehrotra, SIAM J. Optim. 2
    (1992) 575.
    """
    r = y - rows.forward(start)
    loss = float(np.abs(r).sum())
    room = loss / len(y)
    at = _State(start, np.zeros(len(y)), np.maximum(r, 0) + room, np.maximum(-r, 0) + room)
    for taken in range(MOST_STEPS):
        gap = float(sum(part.sum() for part in at.products))
        if gap <= INTERIOR * loss:
            return Interior(at.z, at.d, taken)
        moved = _mehrotra(rows, y, at, gap)
        if moved is None:
            return Interior(at.z, at.d, taken)
        at = moved
        loss = float(np.abs(y - rows.forward(at.z)).sum())
    return Interior(at.z, at.d, MOST_STEPS)


def _mehrotra(rows: OrthonormalRows, y: np.ndarray, at: _State, gap: float) -> _State | None:
    """The next interior point, or None where rounding leaves no step."""
    upper, lower = 1 - at.d, 1 + at.d
    weights = 1 / (at.above / upper + at.below / lower)
    factor = cholesky(rows.gram(weights))
    if factor is None:
        return None
    off = y - rows.forward(at.z) - at.above + at.below

    def direction(from_above: np.ndarray, from_below: np.ndarray) -> _State:
        """The step of Newton that adds so much to the products."""
        right = off - from_above / upper + from_below / lower
        g = rows.adjoint(weights * right + at.d)
        z = solve_triangular(factor, solve_triangular(factor, g, transposed=True))
        d = weights * (right - rows.forward(z))
        above = (from_above + at.above * d) / upper
        below = (from_below - at.below * d) / lower
        return _State(z, d, above, below)

    above, below = at.products
    ahead = direction(-above, -below)
    left = sum(part.sum() for part in at.moved(ahead, *at.reach(ahead)).products)
    centre = (left / gap) ** 2 * left / (2 * len(y))
    step = direction(centre - above + ahead.above * ahead.d, centre - below - ahead.below * ahead.d)
    if not all(np.isfinite(part).all() for part in step):
        return None
    reach = (min(1.0, TOWARDS * far) for far in at.reach(step))
    return at.moved(step, *reach)


# --- vertex


def vertex(rows: OrthonormalRows, y: np.ndarray, near: Interior) -> Interior | None:
    """The vertex near an interior point: a z (k,) that passes through k rows of y, where Σ|y − B z|
    is least, and its d; None where no vertex is found.

    The rows through which it passes are those whose d is farthest from ±1, independent ones picked
    by a pivoted QR. Their d follow from those of the others; while one of them is beyond ±1,
    leaving its row makes the sum fall, up to another row, which takes its place: the simplex
    method.

    Source: I. Barrodale and F. D. K. Roberts, SIAM J. Numer. Anal. 10 (1973) 839.
    """
    held = _independent(rows, near.d)
    d = near.d
    for pivots in range(MOST_PIVOTS):
        try:
            z = np.linalg.solve(held.b, y[held.which])
            r = y - rows.forward(z)
            # A residual of rounding has no sign: there the d of the interior point stays.
            clear = np.abs(r) > rows.rounding(y, z)
            d = np.where(clear, np.sign(r), near.d)
            r[held.which] = d[held.which] = 0.0
            own = -np.linalg.solve(held.b.T, rows.adjoint(d))
        except np.linalg.LinAlgError:
            return None
        worst = int(np.argmax(np.abs(own)))
        if not np.isfinite(own).all() or abs(own[worst]) <= 1 + SLACK:
            d[held.which] = own
            return Interior(z, d, pivots) if np.isfinite(own).all() else None
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
    """The row at which Σ|r| is least as the ``leaving`` one moves off to the side of its d."""
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
    """argmin Σ|y − B z| (k,), its duality gap as a share of the loss, and how many steps it took.

    The vertex is taken if its gap is the smaller: where several rows tie for it there may be none
    that the data certify, but the interior point is certified then too.
    """
    if np.abs(y - rows.forward(start)).max() <= rows.rounding(y, start):
        gap, _ = absolute_gap(rows, y, start, np.zeros(len(y)))
        return start, gap, {"interior_steps": 0, "pivots": 0}
    near = interior_point(rows, y, start)
    gap, d = absolute_gap(rows, y, near.z, near.d)
    z, pivots = near.z, 0
    found = vertex(rows, y, near._replace(d=d))
    if found is not None:
        of_vertex, _ = absolute_gap(rows, y, found.z, found.d)
        if of_vertex < gap:
            z, gap, pivots = found.z, of_vertex, found.steps
    return z, gap, {"interior_steps": near.steps, "pivots": pivots}
