"""Identifiability: what x alone says about the kernel, before anything is solved."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from . import wording
from .factor import Factor
from .prepared import prepare
from .problem import Problem
from .system import System

DETERMINED = ("exactly determined", "overdetermined")

# From best to worst: with groups, the worst speaks.
_SEVERITY = (*reversed(DETERMINED), "undecided", "ambiguous", "rank-deficient", "underdetermined")


class Identifiability:
    """Whether, and which part of, the kernel is determined by the input of a problem.

    One equation per row of the design matrix A, one unknown per column, shared by all outputs of a
    group. Rank and tolerance are those of A with every column scaled by a power of two to norm
    about one; ``condition`` and ``singular_values`` are those of A itself. With a bias, all are
    those of A with the column of ones projected out, and the bias counts as one more unknown.

    What is costly is computed when first asked for. Verdicts, in the order in which they are
    decided:

    - "underdetermined": fewer equations than unknowns;
    - "rank-deficient": enough equations, but not enough independent ones;
    - "ambiguous": too close to call in floating point, or below the rounding of the data's own
    type;
    - "undecided": too large to decide with the memory allowed;
    - "exactly determined": as many independent equations as unknowns, none left over to check the
    fit;
    - "overdetermined": one answer, and equations to spare.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._prepared = prepare(problem)
        self.n_equations = self.problem.n_equations
        self.n_unknowns = self.problem.n_unknowns

    @cached_property
    def _factors(self) -> list[Factor | None]:
        system = System(self._prepared)
        return [system.factor(g) for g in range(self._prepared.groups)]

    def _known(self) -> list[Factor]:
        factors = [f for f in self._factors if f is not None]
        if len(factors) < len(self._factors):
            raise ValueError(
                "undecided: the design matrix is too large for the memory allowed; "
                + " ".join(self.remedies)
            )
        return factors

    def _rounding(self, group: int) -> float:
        """Singular values below this can come from the rounding of the data's own type."""
        prepared, system = self._prepared, System(self._prepared)
        mean, rest, _, _ = prepared.centre
        whole = np.hypot(prepared.column_norms, np.sqrt(prepared.n) * (mean + rest))
        scaled = np.ldexp(whole[group], -system.turn[group])
        return float(self.problem.data_eps * scaled.max())

    @cached_property
    def group_verdicts(self) -> tuple[str, ...]:
        """The verdict on each group's own design matrix."""
        if self.n_equations < self.n_unknowns:
            return ("underdetermined",) * self._prepared.groups
        verdicts = []
        for group, factor in enumerate(self._factors):
            if factor is None:
                verdicts.append("undecided")
                continue
            band = "full" if factor.source == "gram" else factor.band.verdict
            if band == "full" and self.problem.data_eps:
                smallest = factor.singular_values[-1]
                band = "ambiguous" if smallest < self._rounding(group) else band
            exact = self.n_equations == self.n_unknowns
            names = {"deficient": "rank-deficient", "full": DETERMINED[0 if exact else 1]}
            verdicts.append(names.get(band, band))
        return tuple(verdicts)

    @cached_property
    def worst_group(self) -> int:
        """Index of the group that speaks for all."""
        return max(
            range(self._prepared.groups), key=lambda g: _SEVERITY.index(self.group_verdicts[g])
        )

    @property
    def verdict(self) -> str:
        """One of the six words above."""
        return self.group_verdicts[self.worst_group]

    @property
    def unique(self) -> bool:
        """True for the two determined verdicts only."""
        return self.verdict in DETERMINED

    @cached_property
    def group_ranks(self) -> tuple[int, ...]:
        """Numerical rank of each group's design matrix."""
        return tuple(f.rank for f in self._known())

    @property
    def rank(self) -> int:
        """Rank of the worst group; a bias, projected out, is not part of it."""
        return min(self.group_ranks)

    @property
    def nullity(self) -> int:
        """Dimension of the set of kernels (of one output) that fit equally well."""
        return self._prepared.columns - self.rank

    @cached_property
    def singular_values(self) -> tuple[np.ndarray, ...]:
        """Of A itself, descending, one array per group."""
        return tuple(f.user_singular_values for f in self._known())

    @cached_property
    def condition(self) -> float:
        """2-norm condition number of A itself, the worst group's; inf where it is deficient."""
        worst = 1.0
        for factor, values in zip(self._known(), self.singular_values, strict=True):
            if not factor.full_rank or values[-1] == 0.0:
                return float("inf")
            worst = max(worst, float(values[0] / values[-1]))
        return worst

    @property
    def tolerance(self) -> float:
        """Singular values of the column-scaled A above this count as rank (worst group)."""
        return self._known()[self.worst_group].band.tolerance

    @property
    def rank_band(self) -> tuple[int, int]:
        """Rank at the upper and at the lower end of the band around the tolerance (worst group)."""
        band = self._known()[self.worst_group].band
        return band.rank_at_high, band.rank_at_low

    @property
    def method(self) -> str:
        """How rank and verdict were found."""
        factor = self._factors[self.worst_group]
        if factor is None:
            return "none: the design matrix does not fit in the memory allowed"
        return {
            "qr": "singular values of R, from a QR of the design matrix",
            "gram": "Cholesky of the Gram matrix, its full rank certified",
        }[factor.source]

    @cached_property
    def identifiable(self) -> np.ndarray:
        """Which taps are determined, bool, kernel-shaped ``(*K, Cin/groups, Cout)``.

        A tap is, if its row of the orthonormal null space has norm at most
        clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3).
        """
        shape = self.problem.kernel_shape
        per_output = [
            np.repeat(f.determined.reshape(*shape[:-1], 1), self._prepared.outputs, axis=-1)
            for f in self._known()
        ]
        return np.concatenate(per_output, axis=-1)

    @property
    def mask_ambiguous(self) -> bool:
        """Whether no threshold is right: the verdict is ambiguous, or σ_r/σ_{r+1} under 100."""
        if self.verdict == "ambiguous":
            return True
        for factor in self._known():
            values, rank = factor.singular_values, factor.rank
            if 0 < rank < values.size and values[rank - 1] < 100 * values[rank]:
                return True
        return False

    @cached_property
    def bias_identifiable(self) -> bool:
        """Whether the bias is determined: column means vanish on the null space, or no bias."""
        mean, rest, _, _ = self._prepared.centre
        turn = System(self._prepared).turn
        for group, factor in enumerate(self._known()):
            scaled = np.ldexp((mean + rest)[group], -turn[group])
            scaled /= max(float(np.linalg.norm(scaled)), 1.0)
            null = np.linalg.norm(scaled @ factor.null_basis) if not factor.full_rank else 0.0
            if null > factor.null_threshold:
                return False
        return True

    @cached_property
    def null_space(self) -> tuple[np.ndarray, ...]:
        """Per group ``(nullity, *K, Cin/groups)``: kernels that change no output, orthonormal."""
        shape = self.problem.kernel_shape[:-1]
        return tuple(f.user_null_basis.T.reshape(-1, *shape) for f in self._known())

    def null_part(self, kernel: np.ndarray) -> np.ndarray:
        """Norm, per output, of the part of ``kernel`` that the data say nothing about."""
        groups, outputs = self._prepared.groups, self._prepared.outputs
        flat = np.asarray(kernel, float).reshape(-1, groups, outputs)
        parts = [
            np.linalg.norm(f.user_null_basis.T @ flat[:, g], axis=0)
            for g, f in enumerate(self._known())
        ]
        return np.concatenate(parts)

    @cached_property
    def counting(self) -> str:
        """The counting argument, equations against unknowns, and where it misleads."""
        return wording.counting(self)

    @cached_property
    def remedies(self) -> list[str]:
        """What would make the kernel determined, in plain sentences; empty where it is."""
        return wording.remedies(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; an infinite condition is None."""
        decided = self.verdict != "undecided"
        out: dict[str, Any] = {
            "data": repr(self.problem),
            "verdict": self.verdict,
            "unique": self.unique,
            "n_equations": self.n_equations,
            "n_unknowns": self.n_unknowns,
            "method": self.method,
            "counting": self.counting,
            "remedies": self.remedies,
        }
        if decided:
            finite = np.isfinite(self.condition)
            out |= {
                "rank": self.rank,
                "group_ranks": list(self.group_ranks),
                "nullity": self.nullity,
                "condition": float(self.condition) if finite else None,
                "tolerance": float(self.tolerance),
                "singular_values": [v.tolist() for v in self.singular_values],
                "identifiable": self.identifiable.tolist(),
                "bias_identifiable": self.bias_identifiable,
            }
        return out

    def __reduce__(self) -> Any:
        return Identifiability, (self.problem,)

    def __repr__(self) -> str:
        return wording.report(self)
