"""The backward error of a least-squares solution from any source."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..linalg.factor import Factor
from ..linalg.rank import EPS
from ..operators.sums import TOGETHER, blocks

# A solution with a backward error of at most this is "exact".
EXACT = 30 * EPS
# The kind of a certificate that bounds the error of an objective, and its largest "exact" value.
GAP, EXACT_GAP = "relative duality gap", 1e-8


# Number of random combinations of the outputs that are combined with each other, and the fewest
# outputs that combinations replace. With fewer, a pass over the combinations does not take less
# time.
COMBINATIONS, FEWEST_OUTPUTS = 16, 32
# A Frobenius norm exceeds this many times its estimate from the combinations with a probability of
# 5e-7. A certificate uses two estimates.
FACTOR = 3.62
# Squares of residuals above this share of the squares of their terms have digits in the moments.
RESOLVED = 1e-8


class Certificate(NamedTuple):
    """The largest error over outputs, and its kind.

    Attributes:
        value: backward error, or duality gap relative to the objective.
        kind: "value" or "upper bound" of the backward error, or "relative duality gap".
    """

    value: float
    kind: str

    @property
    def exact(self) -> bool:
        """At most 30 eps, or 1e-8 for a duality gap."""
        return self.value <= (EXACT_GAP if self.kind == GAP else EXACT)


def upper_bound(
    w: np.ndarray,
    r_norm: np.ndarray,
    g: np.ndarray,
    a_norm: float | np.ndarray,
    whitened: np.ndarray | None = None,
    error: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return the bound min(‖g‖/‖r‖, ‖R⁻ᵀg‖/‖w‖, ‖r‖/‖w‖)/‖A‖ on `backward_error`, (..., Q).

    It costs no pass over the data. w and g are (..., P, Q), and ``whitened`` is ‖R⁻ᵀg‖ or None.
    The norm of g has an ``error`` (..., Q) of at most this.
    """
    # An answer so far off that its squares leave float64 has no bound: inf, not a number short.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        w_norm, g_norm = np.linalg.norm(w, axis=-2), np.linalg.norm(g, axis=-2) + error
        bound = np.minimum(g_norm / r_norm, r_norm / w_norm)
        bound = np.where(np.isnan(bound), np.inf, bound)
        if whitened is not None:
            bound = np.fmin(bound, whitened / w_norm)
        return np.where((g_norm == 0) | (r_norm == 0), 0.0, bound / a_norm)


def frobenius_bounds(products: np.ndarray, outputs: int) -> np.ndarray:
    """Return bounds (Q,) on ‖D‖_F for D (..., Q), of the outputs that are combined with each other.

    All hold with a probability of 1 − 5e-7. ‖D Z‖²_F is a sum of χ² variables with s degrees of
    freedom, times the squares of the singular values of D. Its lower tail is largest for a D of
    rank one, and is at most (q/2)^(s/2) / Γ(s/2 + 1) at q. The factor of B blocks of outputs is
    therefore B^(1/s) times the factor of one block.

    Args:
        products: `combined` D with Gaussian weights (..., B·s), or the norms of its columns.
        outputs: number Q of outputs.

    Source: P. Diaconis and M. D. Perlman, in Topics in Statistical Dependence, IMS 1990, 147.
    """
    by_block = products.reshape(-1, len(blocks(outputs)), COMBINATIONS)
    norms = np.sqrt(np.einsum("nbs,nbs->b", by_block, by_block) / COMBINATIONS)
    factor = FACTOR * len(norms) ** (1 / COMBINATIONS)
    return np.repeat(factor * norms, TOGETHER)[:outputs]


def backward_error(
    w: np.ndarray,
    r_norm: np.ndarray,
    g: np.ndarray,
    a_norm: float,
    factor: Factor | None,
) -> Certificate:
    """Return the smallest relative change of A for which a column of w is a least-squares solution.

    It is the largest value over the columns, each of which belongs to one output.

    It is the Karlson–Waldén estimate η = ‖(‖w‖²AᵀA + ‖r‖²I)^(−1/2) g‖ / ‖A‖_F, with w (P, Q),
    r_norm (Q,) the norm of r = y − Aw, and g = Aᵀr (P, Q) recomputed from the data. It is between
    0.76 and 1 of the true optimum. If an `upper_bound` shows 30 eps, or there is no factor of A,
    the bound is returned instead.

    Source: R. Karlson and B. Waldén, BIT 37 (1997) 862; Gratton, Jiránek and Titley-Peloquin, SIAM
    J. Matrix Anal. Appl. 33 (2012) 822.
    """
    full = factor is not None and factor.full_rank
    whitened = np.linalg.norm(factor.whitened(g), axis=0) if factor and full else None
    bound = upper_bound(w, r_norm, g, a_norm, whitened)
    if factor is None or bound.max() <= EXACT:
        return Certificate(float(bound.max()), "upper bound")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # 0/0 of a bound of 0
        found = factor.damped(g, np.linalg.norm(w, axis=0), r_norm)
    bound = np.fmin(bound, found / a_norm)
    return Certificate(float(bound.max()), "value")
