"""The normal equations of a problem without their matrix: products, backward errors, full rank."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..linalg.conjugate_gradient import VANISHED, Conjugate, Evidence, inverse_form
from ..linalg.rank import EPS, tolerance_of
from ..operators.fourier import Signals
from ..operators.toeplitz import Gram
from ..operators.whitening import Preconditioner
from .certificate import upper_bound
from .system import System

# Steps of a quadrature for a certificate.
QUADRATURE_STEPS = 200


def normal_equations(system: System) -> Iterator[Normal]:
    """Those of every group, one after the other."""
    p = system.prepared
    signals = p.signals
    if signals is None:
        signals = Signals(p.stacks, p.problem.spec, p.x_scale, p.y_scale, p.problem.bias)
    return (Normal(system, signals, g) for g in range(p.groups))


class Normal:
    """The normal equations of one group: ``product`` is AᵀA + ridge, ``precondition`` M⁻¹.

    Coordinates u in which all taps of a channel have one unit, or nothing would be Toeplitz:
    ``w = stretch * u`` for w in the coordinates of `System`, whose columns have norms about one.
    """

    def __init__(self, system: System, signals: Signals, group: int) -> None:
        prepared = system.prepared
        self.system, self.group = system, group
        self.a_norm = float(system.a_norm[group])
        turn = system.turn[group]
        channels = prepared.problem.in_channels // prepared.groups
        by_channel = turn.reshape(-1, channels).max(0)
        unit = np.tile(by_channel, turn.size // channels)
        self.stretch = np.ldexp(1.0, turn - unit)[:, None]
        # A column of zeros has no gradient but rounding, which the preconditioner would blow up.
        self.live = np.where(prepared.column_norms[group] > 0, self.stretch[:, 0], 0.0)[:, None]
        parts = []
        for g, x, _ in signals.parts:
            if g == group:
                each = np.tile(by_channel, x.scale.size // channels)
                scale, shift = np.ldexp(x.scale, -each), np.ldexp(x.shift, -each)
                parts.append(x._replace(scale=scale, shift=shift))
        norms = np.ldexp(prepared.column_norms[group], -unit)
        sums = None
        if prepared.problem.bias:
            sums = np.ldexp(np.sqrt(prepared.n) * signals.centre[1][group], -unit)
        self.ridge = (system.root_ridge[group] * self.stretch[:, 0]) ** 2
        self.product = Gram(parts, signals.taps, signals.columns, norms**2, sums, self.ridge)
        self.precondition = Preconditioner(self.product, parts)
        # In System's coordinates at most the trace, and what the symbol allows.
        rows = np.abs(self.product.symbol).sum(-1).max() + self.ridge.max()
        least = self.stretch.min() ** 2
        self.largest = float(min(self.a_norm**2, rows / least))

    def backward_error(
        self, w: np.ndarray, r_norm: np.ndarray, g: np.ndarray, enough: float
    ) -> np.ndarray:
        """An upper bound (Q,) on the backward error of w (P, Q), without a factor.

        gᵀ(AᵀA + φ²I)⁻¹g, φ = ‖r‖/‖w‖, by Gauss–Radau quadrature with its node at the φ² that no
        eigenvalue can be below; preconditioned by M, at (φ² + ridge)/‖M‖.
        """
        bound = upper_bound(w, r_norm, g, self.a_norm)
        some = np.flatnonzero((bound > enough) & np.isfinite(bound) & w.any(0))
        if not some.size:
            return bound
        w_norm = np.linalg.norm(w[:, some], axis=0)
        shift = (r_norm[some] / w_norm * self.stretch) ** 2
        node = (shift + self.ridge[:, None]).min(0) / self.precondition.high
        form = inverse_form(
            lambda v: self.product(v) + shift * v,
            self.precondition,
            self.live * g[:, some],
            node,
            (enough * self.a_norm * w_norm) ** 2,
            QUADRATURE_STEPS,
        )
        bound[some] = np.fmin(bound[some], np.sqrt(form) / (self.a_norm * w_norm))
        return bound

    def full_rank(self, steps: int) -> bool:
        """Whether so many steps of CG on a random vector prove full numerical rank; see `Evidence`.

        No proof is no proof of the contrary. A wrong one comes with a probability of 2e-7.
        """
        run = Conjugate(
            self.product, self.precondition, self.precondition.draw(np.random.default_rng(0))
        )
        evidence, one = Evidence(), np.ones(1, bool)
        # Beyond this slope the rounding of all steps could hide a share that had not vanished.
        steepest = VANISHED / (10 * EPS * math.sqrt(self.stretch.size))
        for _ in range(steps):
            if not self._full_rank_above(evidence.least) or evidence.slope > steepest:
                return False
            if run.squares[0] <= VANISHED**2:
                return True
            length, ratio = run.step(one)
            if not length[0] > 0:
                return False
            evidence.add(float(length[0]), float(ratio[0]))
        return False

    def _full_rank_above(self, least: float) -> bool:
        """Whether an eigenvalue of M⁻¹(AᵀA + ridge) of at least ``least`` means full rank.

        By the measure of `Factor.from_gram`; and where x is coarser than float64, and no ridge
        decides, what is left must stand above its rounding, too.
        """
        prepared, p = self.system.prepared, self.stretch.size
        # In System's coordinates the least eigenvalue is no less: its columns are no shorter.
        least *= self.precondition.low
        share = max(10 * p * EPS, (10 * tolerance_of(prepared.n, p)) ** 2)
        if not least > share * self.largest:  # nor where it is no number
            return False
        if self.system.ridge:
            return True
        problem = prepared.problem
        if problem.n_equations < problem.n_unknowns:
            return False
        mean, rest, _, _ = prepared.centre
        whole = np.hypot(prepared.column_norms, np.sqrt(prepared.n) * (mean + rest))[self.group]
        rounding = problem.data_eps * np.ldexp(whole, -self.system.turn[self.group]).max()
        return bool(least > rounding**2)
