"""Identifiability: what x alone says about the kernel, before anything is solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..leastsquares.analysis import prepare
from ..leastsquares.system import System, smallest_ridge
from ..linalg.factor import Factor
from ..linalg.threads import blas_threads
from ..problem.checks import number
from ..problem.problem import Problem
from ..problem.spec import ConvSpec
from . import descent_forecast as forecast
from . import remedies, wording
from .null_space import echelon
from .verdict import DETERMINED, SEVERITY, verdicts

# A tap whose √(variance inflation) exceeds this is told as weakly determined.
WEAK = 100.0


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
    - "ambiguous": too close to call, or below the rounding of the data's own type;
    - "undecided": too large to decide with the memory allowed;
    - "exactly determined": as many independent equations as unknowns, none left to check the fit;
    - "overdetermined": one answer, and equations to spare.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._prepared = prepare(problem)
        self._system = System(self._prepared)
        self.n_equations, self.n_unknowns = problem.n_equations, problem.n_unknowns

    @cached_property
    def _factors(self) -> list[Factor | None]:
        with blas_threads(min(self._prepared.n, self._prepared.columns)):
            return [self._system.factor(g) for g in range(self._prepared.groups)]

    @property
    def decided(self) -> bool:
        """Whether rank and what follows from it could be computed in the memory allowed."""
        return None not in self._factors

    def _known(self) -> list[Factor]:
        factors = [f for f in self._factors if f is not None]
        if len(factors) < len(self._factors):
            raise ValueError(wording.beyond_memory(self))
        return factors

    @cached_property
    def group_verdicts(self) -> tuple[str, ...]:
        """The verdict on each group's own design matrix."""
        return verdicts(self._system, lambda: self._factors)

    @cached_property
    def worst_group(self) -> int:
        """Index of the group that speaks for all: of the worst verdict, and then of least rank."""

        def badness(group: int) -> tuple[int, int]:
            word, rank = self.group_verdicts[group], self._prepared.columns
            # A rank takes a spectrum, which a single group need not spend.
            if word not in DETERMINED and self._prepared.groups > 1:
                factor = self._factors[group]
                rank = 0 if factor is None else factor.rank
            return SEVERITY.index(word), -rank

        return max(range(self._prepared.groups), key=badness)

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
        if self.unique:
            return (self._prepared.columns,) * self._prepared.groups
        return tuple(f.rank for f in self._known())

    @property
    def rank(self) -> int:
        """Rank of the worst group; a bias, projected out, is not part of it."""
        return self.group_ranks[self.worst_group]

    @property
    def nullity(self) -> int:
        """Dimension of the set of kernels (of one output) that fit equally well."""
        return self._prepared.columns - self.rank

    @cached_property
    def singular_values(self) -> tuple[np.ndarray, ...]:
        """Of A itself, descending, one array per group."""
        with np.errstate(over="ignore", under="ignore"):
            return tuple(np.ldexp(f.user_singular_values, f.unit) for f in self._known())

    @cached_property
    def condition(self) -> float:
        """2-norm condition number of A itself, the worst group's; inf where it is deficient.

        To ten digits, or as many as its size leaves; to eps·κ² where more than 1 500 unknowns were
        decided by a Gram.
        """
        worst = 1.0
        for largest, smallest in self._extremes:
            if smallest == 0.0:
                return float("inf")
            worst = max(worst, largest / smallest)
        return worst

    @cached_property
    def _extremes(self) -> list[tuple[float, float]]:
        """First and last singular value of each group's A itself, times ``2**-unit``."""
        return [self._system.extremes(g, f) for g, f in enumerate(self._known())]

    @property
    def tolerance(self) -> float:
        """Singular values of the column-scaled A above this count as rank (worst group)."""
        return self._known()[self.worst_group].band.tolerance

    @property
    def rank_band(self) -> tuple[int, int]:
        """Rank at the upper and at the lower end of the band around the tolerance (worst group)."""
        factor = self._known()[self.worst_group]
        if factor.source == "gram":  # certified above the band
            return factor.rank, factor.rank
        return factor.band.rank_at_high, factor.band.rank_at_low

    @property
    def method(self) -> str:
        """How rank and verdict were found."""
        return wording.method(self, self._factors[self.worst_group])

    @cached_property
    def identifiable(self) -> np.ndarray:
        """Which taps are determined, bool, kernel-shaped ``(*K, Cin/groups, Cout)``.

        A tap is, if its row of the orthonormal null space has norm at most
        clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3).
        """
        if self.unique:  # proved at times without a factor
            return np.ones(self.problem.kernel_shape, bool)
        return self._kernel_shaped([f.determined for f in self._known()])

    def _kernel_shaped(self, per_group: Sequence[np.ndarray]) -> np.ndarray:
        """Values (P,) of each group as ``(*K, Cin/groups, Cout)``, alike for its outputs."""
        shape = self.problem.kernel_shape
        per_output = [
            np.repeat(v.reshape(*shape[:-1], 1), self._prepared.outputs, axis=-1) for v in per_group
        ]
        return np.concatenate(per_output, axis=-1)

    def under(self, spec: ConvSpec, bias: bool | None = None) -> Identifiability | None:
        """The report on the same x under another geometry; None where no window fits."""
        problem = self.problem.under(spec, bias)
        return None if problem is None else Identifiability(problem)

    @cached_property
    def padding_only(self) -> np.ndarray:
        """Which taps are identifiable only because zeros are assumed outside the record.

        Bool, kernel-shaped: those that the rows whose whole window was recorded leave open. No tap,
        where these rows are too large a problem to decide: see `padding_decided`.
        """
        mask = self._padding_only
        return np.zeros_like(self.identifiable) if mask is None else mask

    @property
    def padding_decided(self) -> bool:
        """Whether `padding_only` could be told in the memory allowed."""
        return self._padding_only is not None

    @cached_property
    def _padding_only(self) -> np.ndarray | None:
        spec = self.problem.spec.whole_windows(self.problem.input.arrays[0].shape[:-1])
        if spec == self.problem.spec:
            return np.zeros_like(self.identifiable)
        inner = self.under(spec)
        if inner is None:
            return self.identifiable
        return self.identifiable & ~inner.identifiable if inner.unique or inner.decided else None

    @cached_property
    def noise_gain(self) -> np.ndarray:
        """Standard error of every tap for white noise of unit deviation in y, kernel-shaped.

        √diag((AᵀA)⁻¹), in units of the kernel per unit of y; inf where a tap is not determined. To
        eps·κ² where a Gram decided. Times the deviation of the residuals it is the standard error
        of a fit; errors that are correlated in time need more than this.
        """
        with np.errstate(over="ignore", under="ignore"):
            return self._kernel_shaped(
                [np.ldexp(f.noise_gain, -f.exponents) for f in self._known()]
            )

    @cached_property
    def weakly_determined(self) -> np.ndarray:
        """Which identifiable taps have a √(variance inflation) above 100, bool, kernel-shaped.

        That is ‖column less its mean‖·noise gain: how many times its standard error exceeds what it
        would be if no other column resembled its own.
        """
        known = self._known()
        spreads = np.ldexp(self._prepared.spreads, -self._system.turn)
        inflation = [
            s * np.where(f.determined, f.noise_gain, 0.0)
            for s, f in zip(spreads, known, strict=True)
        ]
        return self._kernel_shaped(inflation) > WEAK

    def ridge_for(self, condition: float) -> float:
        """The smallest ridge under which [A; √ridge·I] has at most this condition number.

        (s₁² − C²s_P²)/(C² − 1), s the singular values of A itself; 0 where A already meets it.

        Raises:
            TypeError, ValueError: ``condition`` is not a number above 1; x is zero in every window,
                where any ridge will do; the ridge leaves float64 (change the unit of x).
        """
        bound = number(condition, "condition", above=1.0)
        ends = zip(self._known(), self._extremes, strict=True)
        return max(smallest_ridge(*pair, f.unit, bound) for f, pair in ends)

    def descent(self, tol: float = 1e-6) -> forecast.Descent:
        """What plain gradient descent on the mean of squares will do, and what comes last."""
        return forecast.descent(self._prepared, self._known(), tol)

    def resolution(self, ridge: float = 0.0) -> np.ndarray:
        """Diagonal of the resolution matrix (AᵀA + ridge·I)⁻¹AᵀA, kernel-shaped.

        The share of a tap that its estimate keeps, of a kernel whose other taps are zero: 1 where
        it comes out whole, 0 where the estimate does not depend on it. Without a ridge the
        minimum-norm answer is meant.

        Raises:
            TypeError, ValueError: ``ridge`` is not a finite number, or negative.
        """
        if not (ridge := number(ridge, "ridge", included=True)):
            if self.unique:
                return np.ones(self.problem.kernel_shape)
            return self._kernel_shaped([f.resolution for f in self._known()])
        system, kept = System(self._prepared, ridge), []
        for group in range(self._prepared.groups):
            factor = system.factor(group)
            if factor is None or not factor.full_rank:
                raise ValueError(wording.no_resolution(self, ridge))
            kept.append(1 - (system.root_ridge[group] * factor.noise_gain) ** 2)
        return np.clip(self._kernel_shaped(kept), 0.0, 1.0)

    def leverage(self) -> Any:
        """Leverage of every row, diag(A(AᵀA)⁻Aᵀ), the bias included: between 0 and 1.

        In the form of x, ``(*T,)`` a record, with an axis of groups at the end if there are
        several. A row of leverage 1 alone decides some direction of the kernel, and the fit goes
        through it whatever was measured; the sum is the rank (and 1 for a bias).

        Source: D. C. Hoaglin and R. E. Welsch, The American Statistician 32 (1978) 17.
        """
        rows = np.concatenate([*self._system.leverages(self._known())], axis=1)
        rows = np.clip(rows + self.problem.bias / self.n_equations, 0.0, 1.0)
        found = self._prepared.by_record(rows)
        return self.problem.input.like(found, channel_axis=self._prepared.groups > 1)

    @property
    def mask_ambiguous(self) -> bool:
        """Whether no threshold is right: the verdict is ambiguous, or σ_r/σ_{r+1} under 100."""
        if self.unique or self.verdict == "ambiguous":
            return not self.unique
        deficient = ((f.rank, f.singular_values) for f in self._known() if not f.full_rank)
        return any(0 < r < s.size and s[r - 1] < 100 * s[r] for r, s in deficient)

    @cached_property
    def bias_identifiable(self) -> bool:
        """Whether the bias is determined: column means vanish on the null space, or no bias."""
        if self.unique:
            return True
        return all(f.sees(self._system.bias_row(g)) for g, f in enumerate(self._known()))

    @cached_property
    def null_space(self) -> tuple[np.ndarray, ...]:
        """Per group ``(nullity, *K, Cin/groups)``: kernels that change no output, orthonormal.

        Raises:
            ValueError: too large for memory; `identifiable`, `resolution`, `null_part` are not.
        """
        return self._null(lambda f: f.user_null_basis.T)

    @cached_property
    def null_echelon(self) -> tuple[np.ndarray, ...]:
        """Per group ``(nullity, *K, Cin/groups)``: the null space in reduced echelon form.

        Each vector is 1 at a pivot tap of its own and 0 at those of the others.
        """
        return self._null(lambda f: echelon(f.null_basis, f.exponents, f.null_threshold))

    def _null(self, basis_of: Callable[[Factor], np.ndarray]) -> tuple[np.ndarray, ...]:
        """Per group a basis, a null vector a row, as kernels; an empty one where none is null."""
        shape = self.problem.kernel_shape[:-1]
        if self.unique:
            return tuple(np.empty((0, *shape)) for _ in range(self._prepared.groups))
        return tuple(basis_of(f).reshape(-1, *shape) for f in self._known())

    @cached_property
    def confounded(self) -> list[str]:
        """Which taps the data cannot tell apart, and what of them they determine, in sentences."""
        return wording.confounded(self)

    def null_part(self, kernel: np.ndarray) -> np.ndarray:
        """Norm, per output, of the part of ``kernel`` that the data say nothing about."""
        groups, outputs = self._prepared.groups, self._prepared.outputs
        flat = self.problem.as_kernel(kernel, "kernel").reshape(-1, groups, outputs)
        if self.unique:
            return np.zeros(groups * outputs)
        # A power of two against overflow of the squares.
        turn = np.frexp(np.abs(flat).max())[1]
        scaled = np.ldexp(flat, -turn)
        parts = [f.null_part(scaled[:, g]) for g, f in enumerate(self._known())]
        with np.errstate(over="ignore"):
            return np.ldexp(np.concatenate([np.linalg.norm(p, axis=0) for p in parts]), turn)

    @cached_property
    def counting(self) -> str:
        """The counting argument, equations against unknowns, and where it misleads."""
        return wording.counting(self)

    @cached_property
    def remedies(self) -> list[str]:
        """What would make the kernel determined, in plain sentences; empty where it is."""
        with blas_threads(self._prepared.columns):
            return remedies.remedies(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; None for what is infinite."""
        out: dict[str, Any] = {
            "data": repr(self.problem),
            "verdict": self.verdict,
            "unique": self.unique,
            "n_equations": self.n_equations,
            "n_unknowns": self.n_unknowns,
            "method": self.method,
            "group_verdicts": list(self.group_verdicts),
            "worst_group": self.worst_group,
            "lags": [axis.tolist() for axis in self.problem.lags],
            "counting": self.counting,
            "remedies": self.remedies,
        }
        if self.decided:
            finite = np.isfinite(self.condition)
            out |= {
                "rank": self.rank,
                "group_ranks": list(self.group_ranks),
                "nullity": self.nullity,
                "condition": float(self.condition) if finite else None,
                "tolerance": float(self.tolerance),
                "rank_band": list(self.rank_band),
                "singular_values": _finite([v.tolist() for v in self.singular_values]),
                "identifiable": self.identifiable.tolist(),
                "bias_identifiable": self.bias_identifiable,
                "padding_only": self.padding_only.tolist(),
                "noise_gain": _finite(self.noise_gain.tolist()),
                "weakly_determined": self.weakly_determined.tolist(),
                "mask_ambiguous": self.mask_ambiguous,
                "confounded": self.confounded,
                "noise": wording.noise_sentence(self),
            }
        return out

    def __reduce__(self) -> Any:
        return Identifiability, (self.problem,)

    def __repr__(self) -> str:
        return wording.report(self)


def _finite(value: Any) -> Any:
    """Nested lists of numbers, None for what is not finite."""
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value if np.isfinite(value) else None
