"""What the formulas say of a matrix, from NumPy's SVD; and the routes by which identify may go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support.dense import integers
from support.ordering import taps_of

EPS = float(np.finfo(float).eps)

# QR or the Gram first, by the whole or by blocks of a few rows.
ALWAYS, BLOCKS = 2**40, {"kept_numbers": 0, "tree_rows": 1}
ROUTES = {
    "qr": Tuning(small_numbers=ALWAYS),
    "gram": Tuning(small_numbers=0, row_numbers=ALWAYS),
    "tree": Tuning(small_numbers=ALWAYS, **BLOCKS),
    "gram of blocks": Tuning(small_numbers=0, row_numbers=ALWAYS, **BLOCKS),
    "gram of signals": Tuning(small_numbers=0, row_numbers=0),
}


def equilibrated(a: np.ndarray, bias: bool = False) -> np.ndarray:
    """Columns of a by powers of two at norms in [1/2, 1); with a bias, less their exact means.

    Every entry is rounded once, whatever the offset.
    """
    if bias:
        m, rows = integers(a), len(a)
        m = rows * m - m.sum(0)
        bits = [max(map(abs, column)).bit_length() for column in m.T.tolist()]
        a = (m / (rows * np.array([1 << b for b in bits], object))).astype(float)
    for size in (lambda c: np.abs(c).max(0), lambda c: np.linalg.norm(c, axis=0)):
        a = np.ldexp(a, -np.frexp(size(a))[1])
    return a


class Spectrum(NamedTuple):
    """Singular values of an equilibrated matrix (m, P), filled with zeros to P, and the band."""

    values: np.ndarray
    vt: np.ndarray
    tolerance: float
    low: float
    high: float

    @property
    def rank(self) -> int:
        return int((self.values > self.tolerance).sum())

    @property
    def verdict(self) -> str:
        """Of the spectrum alone; `verdict_of` counts rows first."""
        if self.values[-1] > self.high:
            return "overdetermined"
        return "ambiguous" if self.values[-1] > self.low else "rank-deficient"

    @property
    def mask(self) -> np.ndarray:
        """Unknowns whose row of the null space has norm at most clip(10√P·eps·s₁/σ_r, …)."""
        if not self.rank:
            return np.zeros(len(self.values), bool)
        last = self.values[self.rank - 1]
        noise = 10 * np.sqrt(len(self.values)) * EPS * self.values[0] / last
        return np.linalg.norm(self.vt[self.rank :], axis=0) <= np.clip(noise, 1e-12, 1e-3)

    @property
    def gap(self) -> float:
        """σ_r/σ_{r+1}; under 100 no threshold on the mask is right."""
        inside = 0 < self.rank < len(self.values) and self.values[self.rank] > 0
        return self.values[self.rank - 1] / self.values[self.rank] if inside else np.inf

    @property
    def near(self) -> bool:
        """Whether a factor 1.5 could turn the rank, the verdict or the mask.

        A value at the tolerance, the smallest at an edge of the band, or the gap at 100.
        """
        ends = [(v, self.tolerance) for v in self.values]
        ends += [(self.values[-1], self.low), (self.values[-1], self.high), (self.gap, 100)]
        return any(edge / 1.5 < v < edge * 1.5 for v, edge in ends)


def spectrum(a: np.ndarray, bias: bool = False) -> Spectrum:
    """Of a (m, P), by the formulas of the design."""
    m, p = a.shape
    _, found, vt = np.linalg.svd(equilibrated(a, bias), full_matrices=m < p)
    values = np.zeros(p)
    values[: len(found)] = found
    unit = EPS * values[0]
    tolerance, rounding = max(m, p, 10 * np.sqrt(p)) * unit, 10 * np.sqrt(p) * unit
    return Spectrum(values, vt, tolerance, min(tolerance / 2, rounding), 10 * tolerance)


def verdict_of(rows: int, unknowns: int, band: str) -> str:
    """Counting first."""
    if rows < unknowns:
        return "underdetermined"
    return "exactly determined" if band == "overdetermined" and rows == unknowns else band


class Reported(NamedTuple):
    """What a report says, in plain values that compare."""

    verdict: str
    ranks: tuple[int, ...]
    mask: list[bool]
    bias: bool


def reported(problem: cs.Problem, by: str = "qr") -> Reported:
    """The report by that route; the mask (taps, channels, groups), of each group's first output."""
    report = cs.identify(problem, limits=ROUTES[by])
    first = taps_of(report, "identifiable")[..., :: problem.n_outputs // problem.spec.groups]
    return Reported(
        report.verdict,
        tuple(rank + problem.bias for rank in report._ranks),
        first.ravel().tolist(),
        report.bias_identifiable,
    )
