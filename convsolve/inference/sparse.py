"""Sparse kernels from moments: exact lasso and elastic net, and group lasso by blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..linalg.rank import EPS
from ..progress import tracked

# A tap is added only if its gradient exceeds the threshold by more than this share.
SLACK = 1e-12
# The part of the right side that dependent columns do not span is rounding up to this share.
DEPENDENT = 1e-7
# Largest number of changes of the support for one strength, as a multiple of the taps.
MOST_CHANGES = 20
# Largest number of sweeps over all groups, and of sweeps between checks of the duality gap.
MOST_SWEEPS, A_CHECK = 5000, 5
# Largest number of Newton steps for the norm of one group.
NEWTON_STEPS = 50


def lasso(
    gram: np.ndarray, cross: np.ndarray, strength: float, start: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Minimize ½wᵀG w − rᵀw + strength·‖w‖₁ by feature-sign search.

    For known signs of the nonzero taps, the minimum solves a linear system. A line search over the
    places where a sign changes makes the objective decrease, and then the tap with the largest
    gradient is added, until no gradient exceeds the threshold. The search is finite, and exact to
    the rounding error of the last solve.

    Args:
        gram: G (P, P).
        cross: r (P,).
        strength: strength of the penalty.
        start: (P,), a kernel near the solution, such as the solution for a larger strength.

    Returns:
        The kernel (P,), and whether it is the minimum.

    Source: H. Lee, A. Battle, R. Raina and A. Y. Ng, NIPS 19 (2007) 801.
    """
    w = start.copy()
    signs, active = np.sign(w), w != 0
    for _ in range(MOST_CHANGES * len(w)):
        if active.any():
            w, signs, active, settled = _within(gram, cross, strength, w, signs, active)
            if not settled:
                continue
        gradient = cross - gram @ w
        excess = np.where(active, 0.0, np.abs(gradient) - strength)
        j = int(np.argmax(excess))
        if excess[j] <= SLACK * strength:
            return w, True
        active[j], signs[j] = True, np.sign(gradient[j])
    return w, False


def _within(
    gram: np.ndarray,
    cross: np.ndarray,
    strength: float,
    w: np.ndarray,
    signs: np.ndarray,
    active: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Take one step of the active taps.

    Returns:
        The kernel, its signs, flags of its nonzero taps, and whether no sign has changed.
    """
    at = np.flatnonzero(active)
    own, right = gram[np.ix_(at, at)], cross[at] - strength * signs[at]
    old = w[at]
    step, ends = _step(own, right, old)
    # Places along the step where a tap is zero, and the end of the step, if it has one.
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -old / step
    within = (crossing > 0) & ((crossing < 1) | (not ends)) & np.isfinite(crossing)
    places = np.r_[np.sort(crossing[within]), [1.0] * (ends or not within.any())]
    along = old[:, None] + places * step[:, None]
    along[np.abs(along) <= 4 * EPS * np.abs(old)[:, None]] = 0.0
    losses = 0.5 * (along * (own @ along)).sum(0) - cross[at] @ along
    best = int(np.argmin(losses + strength * np.abs(along).sum(0)))
    found = np.zeros_like(w)
    found[at] = along[:, best]
    kept = best == len(places) - 1 and np.array_equal(np.sign(found[at]), signs[at])
    return found, np.sign(found), found != 0, kept and ends


def _step(own: np.ndarray, right: np.ndarray, old: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the step from ``old`` to the minimum of ½wᵀG w − rightᵀw, and True.

    If columns are dependent and there is no minimum, return a direction in which the function
    decreases without bound, and False.
    """
    from scipy.linalg.lapack import dpotrf, dpotrs

    factor, failed = dpotrf(own, lower=1)
    pivots = np.diagonal(factor)
    if not failed and pivots.min() ** 2 > 10 * len(own) * EPS * pivots.max() ** 2:
        found: np.ndarray = dpotrs(factor, right, lower=1)[0]
        return found - old, True
    values, vectors = np.linalg.eigh(own)
    kept = values > 10 * len(own) * EPS * values[-1]
    along = vectors.T @ right
    beyond = vectors[:, ~kept] @ along[~kept]
    if np.linalg.norm(beyond) > DEPENDENT * np.linalg.norm(right):
        return beyond, False
    inside = vectors[:, kept]
    return inside @ (along[kept] / values[kept] - inside.T @ old), True


class Blocks:
    """A Gram matrix in blocks of groups, with the eigenvectors of every block."""

    def __init__(self, gram: np.ndarray, groups: Sequence[np.ndarray]) -> None:
        self.gram, self.groups = gram, groups
        self._spectra = [np.linalg.eigh(gram[np.ix_(k, k)]) for k in groups]

    def solve(
        self,
        cross: np.ndarray,
        squares: float,
        strength: float,
        start: np.ndarray,
        enough: float,
        sweeps: int = MOST_SWEEPS,
    ) -> np.ndarray:
        """Minimize ½wᵀG w − rᵀw + strength·Σ‖w_k‖·√size by block coordinate descent.

        Every block is minimized exactly. With G_kk = V D Vᵀ and h = ‖w_k‖, Vᵀw_k is
        c/(d + strength/h), where h is the root of Σ c²/(d h + strength)² = 1.

        Args:
            cross: r (P,).
            squares: Σy².
            strength: strength of the penalty.
            start: (P,), where the descent starts.
            enough: relative duality gap at which the descent ends.
            sweeps: largest number of sweeps over all groups.

        Returns:
            The kernel (P,).

        Source: Z. Qin, K. Scheinberg and D. Goldfarb, Math. Prog. Comp. 5 (2013) 143.
        """
        w = start.copy()
        gradient = cross - self.gram @ w
        for sweep in tracked(range(sweeps), "sweeps over the groups", sweeps):
            if sweep % A_CHECK == 0:
                left = np.array([max(squares - float(w @ (cross + gradient)), 0.0)])
                of_w = w[:, None], gradient[:, None], left, np.array([strength])
                if duality_gap(*of_w, 0.0, self.groups)[0] <= enough:
                    break
            for k, (d, v) in zip(self.groups, self._spectra, strict=True):
                old = w[k]
                c = v.T @ gradient[k] + d * (v.T @ old)
                w[k] = v @ _shrunk(c, np.maximum(d, 0.0), strength * len(k) ** 0.5)
                gradient -= self.gram[:, k] @ (w[k] - old)
        return w


def _shrunk(c: np.ndarray, d: np.ndarray, strength: float) -> np.ndarray:
    """Return argmin ½zᵀD z − cᵀz + strength·‖z‖ (P,)."""
    if np.linalg.norm(c) <= strength:
        return np.zeros_like(c)
    # With p = c/(d h + strength), 1/‖p‖ is concave in h and nearly linear, so that Newton's steps
    # from below end at the root of ‖p‖ = 1 after a few.
    h = 0.0
    for _ in range(NEWTON_STEPS):
        below = d * h + strength
        p = c / below
        size = float(np.linalg.norm(p))
        slope = float((p * p * d / below).sum())
        if not slope > 0 or size <= 1 + 4 * EPS:
            break
        h += (size - 1) * size**2 / slope
    return c * h / (d * h + strength)


def duality_gap(
    w: np.ndarray,
    gradient: np.ndarray,
    squares: np.ndarray,
    strength: np.ndarray,
    ridge: float,
    groups: Sequence[np.ndarray] | None,
) -> np.ndarray:
    """Return relative duality gaps (Q,) for ½‖y − Aw‖² + strength·Σ‖w_k‖·√size + ½ridge·‖w‖².

    The residual, multiplied by a factor that makes it feasible, is a point of the dual. The
    difference of the two objectives is a sum of positive terms, so that no digits cancel, however
    well the data are fitted.

    Args:
        w: kernels (P, Q).
        gradient: Aᵀr (P, Q), computed from the data.
        squares: ‖r‖² (Q,), computed from the data.
        strength: strengths (Q,).
        ridge: strength of the additional ridge.
        groups: the columns of every group; None for a lasso.
    """
    pull = gradient - ridge * w
    if groups is None:
        sizes, pulls = np.abs(w), np.abs(pull)
        inner, limits = w * pull, np.broadcast_to(strength, w.shape)
    else:
        limits = strength * np.sqrt([[len(k)] for k in groups])
        sizes, pulls = (np.stack([np.linalg.norm(v[k], axis=0) for k in groups]) for v in (w, pull))
        inner = np.stack([(w[k] * pull[k]).sum(0) for k in groups])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shrink = np.minimum(1.0, np.nan_to_num(limits / pulls, nan=1.0, posinf=1.0).min(0))
    smooth = squares + ridge * (w**2).sum(0)
    gap = 0.5 * (1 - shrink) ** 2 * smooth + np.maximum(limits * sizes - shrink * inner, 0.0).sum(0)
    primal = 0.5 * smooth + (limits * sizes).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(primal > 0, gap / primal, 0.0))
