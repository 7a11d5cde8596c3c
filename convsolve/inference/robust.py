"""Huber's loss: its minimum, a scale estimated from the data, and a bound on the error."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..linalg.lapack import cholesky, solve_triangular
from ..linalg.rank import EPS
from ..progress import tracked
from .orthonormal_rows import OrthonormalRows

# The median absolute deviation of a standard normal distribution.
NORMAL_MAD = 0.6744897501960817
# Largest number of steps for one threshold, and of alternating updates of a scale and its fit.
NEWTON_STEPS, SHORT_TURNS, LONG_TURNS = 200, 100, 300
# Relative change at which a scale and its fit have settled. Below the second number, a change that
# is not smaller than the previous one is rounding.
SETTLED, ROUNDED = 1e-13, 1e-8
# A small threshold is approached in steps of this factor.
FALL = 10.0
# In directions of smaller squared pivots, no row has a quadratic loss. This share of the identity
# is then added to the Hessian, which keeps the step finite.
FLAT = 1e-10
# A full step is good enough if it leaves this share of the slope.
SLOPE_LEFT = 0.1


def share_of(gap: float, loss: float, loss_of_y: float, exact: bool) -> float:
    """Return a duality gap relative to the loss.

    The loss of an ``exact`` fit is rounding. The gap is then relative to the loss of y.
    """
    whole = loss_of_y if exact else loss
    return float(gap / whole) if whole > 0 else 0.0


def feasible(rows: OrthonormalRows, d: np.ndarray, limit: float) -> tuple[np.ndarray, float]:
    """Return a feasible point d (n,) of the dual near a given one, and the rounding error ‖Bᵀd‖.

    Feasible points have Bᵀd = 0, and |d| ≤ limit in the rows of the data. After two projections
    Bᵀd is rounding, even if B is orthonormal to a few digits only. d is then scaled to the limit.
    """
    d = rows.residual(rows.residual(d))
    d = d * min(1.0, limit / float(np.abs(d[: rows.rows]).max(initial=limit)))
    return d, float(np.linalg.norm(rows.adjoint(d)))


# --- Huber


def huber_loss(r: Any, threshold: Any, xp: Any = np) -> Any:
    """Return r²/2 up to the threshold and threshold·(|r| − threshold/2) beyond, elementwise.

    The threshold is a number, or one per residual. The loss is computed by NumPy, or by the module
    ``xp`` of jax.
    """
    size = xp.abs(r)
    inner = xp.minimum(size, threshold)
    return inner * (size - inner / 2)


def huber_gap(rows: OrthonormalRows, y: np.ndarray, z: np.ndarray, threshold: float) -> float:
    """Return an upper bound on the duality gap of z relative to the loss, from the data.

    The dual of Σρ(y − B z) is max yᵀd − ½‖d‖² over Bᵀd = 0 and |d| ≤ threshold. The derivative of
    the loss, made feasible, is a point of it. The gap is a sum of terms ρ(r) + d²/2 − r·d, which
    are not negative. In the rows of a penalty, ρ is quadratic and d is not limited. Rounding leaves
    Bᵀd ≠ 0, which changes the bound by at most Bᵀd·(z − z*). The predictions of z and z* differ by
    at most ‖r‖ + ‖r*‖, and the loss of r* is at most that of r.

    Source: S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge 2004, section 5.2.
    """
    rows, limits = rows.from_data(), rows.limits(threshold)
    r = y - rows.forward(z)
    d, left = feasible(rows, np.clip(r, -limits, limits), threshold)
    inside = np.abs(r) <= limits
    beyond = threshold * (np.abs(r) - threshold / 2) + d**2 / 2 - r * d
    gap = float(np.where(inside, (r - d) ** 2 / 2, np.maximum(beyond, 0.0)).sum())
    loss, loss_of_y = (float(huber_loss(v, limits).sum()) for v in (r, y))
    reach = float(np.linalg.norm(r)) + np.sqrt(2 * loss) + 2 * loss / threshold
    return share_of(gap + left * reach, loss, loss_of_y, rows.is_exact(y, z))


def huber(
    rows: OrthonormalRows, y: np.ndarray, threshold: float, start: np.ndarray
) -> tuple[np.ndarray, int]:
    """Return argmin Σρ(y − B z) (k,) for Huber's loss ρ of a threshold, and the number of steps.

    By Newton's method: the Hessian is a sum over the rows with residuals below the threshold. The
    solution is exact once these rows do not change. If a full step is too long, the exact minimum
    along it is used. A threshold far below the residuals is approached by larger ones, each of
    which starts at the solution of the previous one.

    Source: K. Madsen and H. B. Nielsen, BIT 30 (1990) 682.
    """
    z, steps = start, 0
    spread = float(np.median(np.abs(y - rows.forward(z))[: rows.rows]))
    while spread > FALL * threshold:
        z, taken = _newton(rows, y, spread, z)
        spread, steps = spread / FALL, steps + taken
    z, taken = _newton(rows, y, threshold, z)
    return z, steps + taken


def _newton(
    rows: OrthonormalRows, y: np.ndarray, threshold: float, z: np.ndarray
) -> tuple[np.ndarray, int]:
    r, before, limits = y - rows.forward(z), None, rows.limits(threshold)
    for taken in tracked(range(NEWTON_STEPS), "Newton's steps", NEWTON_STEPS):
        pull = np.clip(r, -limits, limits)
        gradient, inside = rows.adjoint(pull), np.abs(r) <= limits
        same = before is not None and np.array_equal(inside, before)
        if same or np.linalg.norm(gradient) <= EPS * np.linalg.norm(pull):
            return z, taken
        step, exact = _newton_step(rows.gram(inside.astype(float)), gradient)
        move = rows.forward(step)
        slope, after = (move @ np.clip(r - t * move, -limits, limits) for t in (0, 1))
        full = abs(after) <= SLOPE_LEFT * slope
        length = 1.0 if full else along(r, move, limits)
        if length * np.linalg.norm(step) <= EPS * np.linalg.norm(z):
            return z, taken
        z = z + length * step
        r, before = y - rows.forward(z), inside if full and exact else None
    return z, NEWTON_STEPS


def _newton_step(gram: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return Newton's step, and whether nothing was added to the Hessian."""
    factor = cholesky(gram.copy())
    exact = factor is not None and np.diagonal(factor).min() ** 2 >= FLAT
    if not exact:
        gram.flat[:: len(gram) + 1] += FLAT
        factor = cholesky(gram)
    assert factor is not None
    return solve_triangular(factor, solve_triangular(factor, gradient, transposed=True)), exact


def along(r: np.ndarray, move: np.ndarray, limits: float | np.ndarray) -> float:
    """Return the t > 0 that minimises Σρ(r − t·move), which decreases at t = 0.

    The derivative is piecewise linear and increasing, and t is its root. The piece is found by
    bisection. Cumulative sums over pieces would consist of rounding if moves differ much in size.
    """
    live = np.flatnonzero(move)
    r, move, limits = r[live], move[live], np.broadcast_to(limits, np.shape(r))[live]

    def slope(t: float) -> float:
        return -float(move @ np.clip(r - t * move, -limits, limits))

    # Where the residual of a row crosses its limit, and a point beyond the minimum.
    ends = np.concatenate([r - limits, r + limits]) / np.tile(move, 2)
    ends = ends[(ends > 0) & np.isfinite(ends)]
    beyond = float(ends.max(initial=1.0))
    while slope(beyond) < 0:
        beyond *= 2
    ends = np.sort(np.concatenate([[0.0], ends, [beyond]]))
    low, high = 0, len(ends) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if slope(ends[middle]) < 0 else (low, middle)
    before, after = slope(ends[low]), slope(ends[high])
    share = -before / (after - before) if after > before else 0.0
    return float(ends[low] + min(max(share, 0.0), 1.0) * (ends[high] - ends[low]))


def mad_scale(r: np.ndarray) -> float:
    """Return the median absolute residual divided by its value for the standard normal."""
    return float(np.median(np.abs(r))) / NORMAL_MAD


def with_mad_scale(
    rows: OrthonormalRows, y: np.ndarray, delta: float, start: np.ndarray
) -> tuple[np.ndarray, float, bool]:
    """Return a fit z (k,) and its scale, and whether they have settled.

    z is the best fit for the threshold delta·scale, and the scale is `mad_scale` of its residuals.
    The two are updated alternately. At first the update of z is the step Bᵀρ′(r), which is Newton's
    if all rows are within the threshold. As BᵀB = I, it takes two passes over the data and no Gram
    matrix. If these steps do not settle soon, the update is a complete fit at the current scale. A
    scale that is rounding ends the updates.
    """
    z, before = start, np.inf
    r = y - rows.forward(z)
    scale = mad_scale(r[: rows.rows])
    turns = SHORT_TURNS + LONG_TURNS
    for turn in tracked(range(turns), "scale and fit in turn", turns):
        if scale <= np.median(rows.rounding(y, z)[: rows.rows]):
            break
        limits = rows.limits(delta * scale)
        pull = np.clip(r, -limits, limits)
        short = turn < SHORT_TURNS
        step = rows.adjoint(pull) if short else huber(rows, y, delta * scale, z)[0] - z
        z = z + step
        r = y - rows.forward(z)
        last, scale = scale, mad_scale(r[: rows.rows])
        change = max(float(np.linalg.norm(step) / np.linalg.norm(pull)), abs(scale / last - 1))
        if change <= SETTLED or before <= change <= ROUNDED:
            return z, scale, True
        before = change
    return z, scale, False


def error_norm(r: np.ndarray, threshold: float, unknowns: int) -> float:
    """Return the number that replaces ‖r‖ in the standard errors of Huber's estimate.

    Its square, divided by the degrees of freedom, times (AᵀA)⁻¹ is the covariance called H1 by
    Huber. It is K/m·‖ρ′(r)‖, where m is the share of rows within the threshold and
    K = 1 + (unknowns/n)·(1 − m)/m a correction for few rows. It is infinite if no row is within.

    Source: P. J. Huber, Robust Statistics, Wiley 1981, section 7.6.
    """
    share = float(np.mean(np.abs(r) <= threshold))
    if not share:
        return float("inf")
    few = 1 + unknowns / len(r) * (1 - share) / share
    return few / share * float(np.linalg.norm(np.clip(r, -threshold, threshold)))
