"""Huber's loss: its least value, a scale for it from the data, and a bound on what is left."""

from __future__ import annotations

import numpy as np

from ..linalg.lapack import cholesky, solve_triangular
from ..linalg.rank import EPS
from ..progress import tracked
from .orthonormal_rows import OrthonormalRows

# The median absolute deviation of a standard normal distribution.
NORMAL_MAD = 0.6744897501960817
# Steps at most for one threshold, and turns of a scale and its fit.
NEWTON_STEPS, SHORT_TURNS, LONG_TURNS = 200, 100, 300
# Relative changes of a scale, and of its fit, that has settled; and those below which a change that
# is no smaller than the one before is rounding.
SETTLED, ROUNDED = 1e-13, 1e-8
# The threshold falls by this factor on its way to a small one.
FALL = 10.0
# Squared pivots below this belong to a direction in which no row has a quadratic loss; the same
# share of the identity then keeps the step finite.
FLAT = 1e-10
# A full step is good enough if it leaves this share of the slope.
SLOPE_LEFT = 0.1


def share_of(gap: float, loss: float, loss_of_y: float, exact: bool) -> float:
    """A duality gap as a share of the loss; of an ``exact`` fit, where that is rounding, of the
    loss of y.
    """
    whole = loss_of_y if exact else loss
    return float(gap / whole) if whole > 0 else 0.0


def feasible(rows: OrthonormalRows, d: np.ndarray, limit: float) -> tuple[np.ndarray, float]:
    """A point d (n,) of the dual near a given one, and the ‖Bᵀd‖ that rounding leaves of it.

    The dual asks for Bᵀd = 0 and |d| ≤ limit: what is left after two projections is rounding, also
    where B is orthonormal to some digits only, and d is then shrunk to the limit.
    """
    d = rows.residual(rows.residual(d))
    d = d * min(1.0, limit / float(np.abs(d).max(initial=limit)))
    return d, float(np.linalg.norm(rows.adjoint(d)))


# --- Huber


def huber_loss(r: np.ndarray, threshold: float) -> np.ndarray:
    """r²/2 up to the threshold, threshold·(|r| − threshold/2) beyond, elementwise."""
    size = np.abs(r)
    inner = np.minimum(size, threshold)
    return inner * (size - inner / 2)


def huber_gap(rows: OrthonormalRows, y: np.ndarray, z: np.ndarray, threshold: float) -> float:
    """Duality gap of z as a share of the loss, an upper bound, from the data.

    The dual of Σρ(y − B z) is max yᵀd − ½‖d‖² over Bᵀd = 0, |d| ≤ threshold, and the derivative of
    the loss, made feasible, a point of it. The gap is summed term by term, ρ(r) + d²/2 − r·d, none
    of them negative. Rounding leaves Bᵀd ≠ 0, which moves the bound by Bᵀd·(z − z*) at most; the
    outputs of z and z* differ by no more than ‖r‖ + ‖r*‖, and r* has no larger loss than r.

    Source: S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge 2004, section 5.2.
    """
    rows = rows.from_data()
    r = y - rows.forward(z)
    d, left = feasible(rows, np.clip(r, -threshold, threshold), threshold)
    inside = np.abs(r) <= threshold
    beyond = threshold * (np.abs(r) - threshold / 2) + d**2 / 2 - r * d
    gap = float(np.where(inside, (r - d) ** 2 / 2, np.maximum(beyond, 0.0)).sum())
    loss, loss_of_y = (float(huber_loss(v, threshold).sum()) for v in (r, y))
    reach = float(np.linalg.norm(r)) + np.sqrt(2 * loss) + 2 * loss / threshold
    return share_of(gap + left * reach, loss, loss_of_y, rows.is_exact(y, z))


def huber(
    rows: OrthonormalRows, y: np.ndarray, threshold: float, start: np.ndarray
) -> tuple[np.ndarray, int]:
    """argmin Σρ(y − B z) (k,) for Huber's loss ρ of some threshold, and the steps it took.

    Newton's method: rows with a residual below the threshold make the Hessian, and once they stay
    the same the answer is exact. Where a full step goes too far, the exact minimum along it. A
    threshold far below the residuals is approached by larger ones, each from the answer of the one
    before.

    Source: K. Madsen and H. B. Nielsen, BIT 30 (1990) 682.
    """
    z, steps = start, 0
    spread = float(np.median(np.abs(y - rows.forward(z))))
    while spread > FALL * threshold:
        z, taken = _newton(rows, y, spread, z)
        spread, steps = spread / FALL, steps + taken
    z, taken = _newton(rows, y, threshold, z)
    return z, steps + taken


def _newton(
    rows: OrthonormalRows, y: np.ndarray, threshold: float, z: np.ndarray
) -> tuple[np.ndarray, int]:
    r, before = y - rows.forward(z), None
    for taken in tracked(range(NEWTON_STEPS), "Newton's steps", NEWTON_STEPS):
        pull = np.clip(r, -threshold, threshold)
        gradient, inside = rows.adjoint(pull), np.abs(r) <= threshold
        same = before is not None and np.array_equal(inside, before)
        if same or np.linalg.norm(gradient) <= EPS * np.linalg.norm(pull):
            return z, taken
        step, exact = _newton_step(rows.gram(inside.astype(float)), gradient)
        move = rows.forward(step)
        slope, after = (move @ np.clip(r - t * move, -threshold, threshold) for t in (0, 1))
        full = abs(after) <= SLOPE_LEFT * slope
        length = 1.0 if full else along(r, move, threshold)
        if length * np.linalg.norm(step) <= EPS * np.linalg.norm(z):
            return z, taken
        z = z + length * step
        r, before = y - rows.forward(z), inside if full and exact else None
    return z, NEWTON_STEPS


def _newton_step(gram: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, bool]:
    """And whether nothing had to be added to the Hessian."""
    factor = cholesky(gram.copy())
    exact = factor is not None and np.diagonal(factor).min() ** 2 >= FLAT
    if not exact:
        gram.flat[:: len(gram) + 1] += FLAT
        factor = cholesky(gram)
    assert factor is not None
    return solve_triangular(factor, solve_triangular(factor, gradient, transposed=True)), exact


def along(r: np.ndarray, move: np.ndarray, threshold: float) -> float:
    """The t that makes Σρ(r − t·move) least: the root of a slope that rises, piecewise linear.

    The piece is found by bisection, and not from sums over those before it: moves of very different
    size would leave nothing but rounding of these.
    """
    live = np.flatnonzero(move)
    r, move = r[live], move[live]

    def slope(t: float) -> float:
        return -float(move @ np.clip(r - t * move, -threshold, threshold))

    # Where a row comes within the threshold, or leaves it.
    ends = np.sort(np.concatenate([r - threshold, r + threshold]) / np.tile(move, 2))
    low, high = 0, len(ends) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if slope(ends[middle]) < 0 else (low, middle)
    before, after = slope(ends[low]), slope(ends[high])
    share = -before / (after - before) if after > before else 0.0
    return float(ends[low] + min(max(share, 0.0), 1.0) * (ends[high] - ends[low]))


def mad_scale(r: np.ndarray) -> float:
    """The median absolute residual over that of a standard normal deviate."""
    return float(np.median(np.abs(r))) / NORMAL_MAD


def with_mad_scale(
    rows: OrthonormalRows, y: np.ndarray, delta: float, start: np.ndarray
) -> tuple[np.ndarray, float, bool]:
    """z (k,) and the scale at which both stay: z fits best with delta·scale as the threshold, and
    the scale is `mad_scale` of its residuals; and whether they have settled.

    They take turns. At first a turn of z is the step Bᵀρ′(r), that of Newton if all rows were
    within the threshold, which with BᵀB = I takes two passes over the data and no Gram. Where these
    do not lead to the end soon, a turn is the whole fit at the scale. A scale of rounding is
    returned as it is.
    """
    z, before = start, np.inf
    r = y - rows.forward(z)
    scale = mad_scale(r)
    turns = SHORT_TURNS + LONG_TURNS
    for turn in tracked(range(turns), "scale and fit in turn", turns):
        if scale <= np.median(rows.rounding(y, z)):
            break
        pull = np.clip(r, -delta * scale, delta * scale)
        short = turn < SHORT_TURNS
        step = rows.adjoint(pull) if short else huber(rows, y, delta * scale, z)[0] - z
        z = z + step
        r = y - rows.forward(z)
        last, scale = scale, mad_scale(r)
        change = max(float(np.linalg.norm(step) / np.linalg.norm(pull)), abs(scale / last - 1))
        if change <= SETTLED or before <= change <= ROUNDED:
            return z, scale, True
        before = change
    return z, scale, False


def error_norm(r: np.ndarray, threshold: float, unknowns: int) -> float:
    """What stands for ‖r‖ in the standard errors of Huber's estimate: its square, over the degrees
    of freedom, times (AᵀA)⁻¹, is the covariance that Huber calls H1.

    It is K/m·‖ρ′(r)‖, m the share of rows within the threshold and K = 1 + (unknowns/n)·(1 − m)/m
    for few rows; infinite where no row is within.

    Source: P. J. Huber, Robust Statistics, Wiley 1981, section 7.6.
    """
    share = float(np.mean(np.abs(r) <= threshold))
    if not share:
        return float("inf")
    few = 1 + unknowns / len(r) * (1 - share) / share
    return few / share * float(np.linalg.norm(np.clip(r, -threshold, threshold)))
