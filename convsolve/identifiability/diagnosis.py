"""Diagnosis: the identifiability of the kernel from x alone, in numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from ..cached import cached_property
from ..leastsquares.analysis import Analysis, analyse
from ..leastsquares.penalty import Penalty
from ..leastsquares.system import System
from ..linalg.factor import Factor, outside
from ..linalg.factors import Factors
from ..linalg.rank import EPS
from ..linalg.threads import on_blas_threads
from ..problem.checks import number
from ..problem.problem import Problem
from ..problem.sizes import DEFAULT_TUNING, Sizes, Tuning
from ..problem.spec import ConvSpec
from ..progress import LOG
from .null_space import echelon
from .verdict import DETERMINED, SEVERITY, verdicts

# A tap whose √(variance inflation) exceeds this is weakly determined.
MAX_INFLATION = 100.0


class Diagnosis:
    """The numbers of `Identifiability`, computed at the first access, without sentences.

    ``columns`` is the width of each group's design matrix A, or A V for kernels V v of a basis: the
    number of unknowns except the bias and confounds.
    """

    def __init__(self, problem: Problem, limits: Tuning = DEFAULT_TUNING) -> None:
        self.problem, self.limits = problem, limits
        self.n_equations, self.n_unknowns = problem.n_equations, problem.n_unknowns
        self.columns = problem.n_unknowns - problem._nuisance.total
        self.groups = problem.spec.groups

    @property
    def has_basis(self) -> bool:
        """Whether the unknowns are coefficients of a basis and not taps."""
        return self.problem._space is not None and self.problem._space.has_functions

    @property
    def _blas_columns(self) -> int:
        """The smaller dimension of A."""
        return min(self.n_equations, self.columns)

    @property
    def _analysis(self) -> Analysis:
        return analyse(self.problem, self.limits)

    @property
    def _system(self) -> System:
        return self._analysis.plain

    @cached_property
    @on_blas_threads
    def _found(self) -> Factors:
        return self._system.factors

    def factor(self, group: int) -> Factor:
        """Return the factor R of a group's design matrix with columns scaled to norm about one.

        Raises:
            ValueError: If the factor exceeds the memory limit.
        """
        found = self._found.get(group)
        if found is None:
            raise ValueError(self._beyond_memory())
        return found

    @property
    def _factors(self) -> Factors:
        if not self._found.complete:
            raise ValueError(self._beyond_memory())
        return self._found

    def _beyond_memory(self) -> str:
        if self.unique:
            return (
                "full rank is proved, but condition number and noise gains need a factor of "
                f"{self.sizes.factor_excess}"
            )
        ridge = self.sufficient_ridge
        return (
            f"{self.verdict}: the rank of {self.n_unknowns} unknowns needs a QR of "
            f"{self.sizes.factor_excess}; use fewer taps or channels"
            f"{'' if ridge is None else f', or solve with ridge={ridge:.3g}'}"
        )

    @property
    def sizes(self) -> Sizes:
        """The sizes of the problem, and the memory that its matrices need."""
        return self._analysis.design.sizes

    @property
    def decided(self) -> bool:
        """Whether the rank and dependent values could be computed within the limits."""
        return self._system.factors.complete

    @cached_property
    def group_verdicts(self) -> tuple[str, ...]:
        """The verdict on the design matrix of each group."""
        return self._decided[0]

    @property
    def proved_iteratively(self) -> bool:
        """Whether conjugate gradients, instead of a factor, decided the verdict."""
        return self._decided[1] == "conjugate gradients"

    @cached_property
    @on_blas_threads
    def _decided(self) -> tuple[tuple[str, ...], str]:
        begun = time.perf_counter()
        found = verdicts(self._system)
        words = " and ".join(sorted(set(found[0])))
        LOG.info("identify: %s, %.2f s", words, time.perf_counter() - begun)
        return found

    @cached_property
    def worst_group(self) -> int:
        """Index of the group with the worst verdict, and among these with the least rank."""

        word = max(set(self.group_verdicts), key=SEVERITY.index)
        first = self.group_verdicts.index(word)
        # The rank requires a spectrum, which is not needed for a single group.
        if word in DETERMINED or self.groups == 1:
            return first
        worst = [g for g, other in enumerate(self.group_verdicts) if other == word]
        return min(worst, key=self._found.each(lambda f: f.rank).__getitem__)

    @property
    def verdict(self) -> str:
        """One of the six words in the class documentation."""
        return self.group_verdicts[self.worst_group]

    @property
    def known_verdict(self) -> str | None:
        """The verdict if counting decides it or it was computed before; else None."""
        if self.n_equations < self.n_unknowns:
            return "underdetermined"
        known = vars(self).get("group_verdicts")
        return None if known is None else max(set(known), key=SEVERITY.index)

    @property
    def unique(self) -> bool:
        """Whether the verdict is one of the two determined ones."""
        return self.verdict in DETERMINED

    @cached_property
    def kernel_ranks(self) -> tuple[int, ...]:
        """Numerical rank of each group's A with the nuisance columns N projected out."""
        if self.unique:
            return (self.columns,) * self.groups
        return tuple(self._factors.each(lambda f: f.rank).tolist())

    @property
    def group_ranks(self) -> tuple[int, ...]:
        """Numerical rank of each group's [N A], with the bias and confounds N included."""
        return tuple(rank + self._nuisance_rank for rank in self.kernel_ranks)

    @property
    def rank(self) -> int:
        """Numerical rank of [N A] in the worst group, equal to ``n_unknowns`` for full rank.

        It is the sum of the rank of the bias and confounds N and the rank of A with N projected
        out.
        """
        return self.group_ranks[self.worst_group]

    @property
    def _nuisance_rank(self) -> int:
        # The columns of N are linearly independent, because dependent columns are removed.
        return self.problem._nuisance.total

    @cached_property
    @on_blas_threads
    def singular_values(self) -> tuple[np.ndarray, ...]:
        """Singular values of A itself in descending order, one array per group."""
        with np.errstate(over="ignore", under="ignore"):
            pairs = zip(self._factors, self.powers, strict=True)
            return tuple(np.ldexp(f.spectrum(p), p.max()) for f, p in pairs)

    @cached_property
    def condition_number(self) -> float:
        """2-norm condition number of A itself in the worst group; inf if A is rank-deficient.

        It is accurate to ten digits, or to the digits that its size allows. With more than 1 500
        unknowns decided by a Gram matrix, it is accurate to eps·κ².
        """
        return max([1.0, *(most / least if least else math.inf for most, least in self._extremes)])

    @cached_property
    @on_blas_threads
    def _extremes(self) -> list[tuple[float, float]]:
        """First and last value of the `Factor.spectrum` of each group."""
        return [self._system.extremes(g, f) for g, f in enumerate(self._factors)]

    @property
    def tolerance(self) -> float:
        """Singular values of the column-scaled A above this value count as rank (worst group)."""
        return self.factor(self.worst_group).band.tolerance

    @property
    def rank_band(self) -> tuple[int, int]:
        """Rank at the upper and at the lower end of the band around the tolerance (worst group)."""
        factor = self.factor(self.worst_group)
        if factor.source == "gram":  # certified above the band
            return self.rank, self.rank
        high, low = factor.band.rank_at_high, factor.band.rank_at_low
        return high + self._nuisance_rank, low + self._nuisance_rank

    @cached_property
    def _identifiable(self) -> np.ndarray:
        """Flags of the taps that are determined, kernel-shaped."""
        if self.unique:  # may be proved without a factor
            return np.ones(self.problem.kernel_shape, bool)
        return self._kernel_shaped([self._system.determined(g, f) for g, f in self._each])

    @property
    def _each(self) -> Iterator[tuple[int, Factor]]:
        """The factor of every group, with its index."""
        return enumerate(self._factors)

    def _kernel_shaped(self, per_group: Sequence[np.ndarray]) -> np.ndarray:
        """Return values (P,) of each group as ``(*K, Cin/groups, Cout)``, equal for its outputs."""
        *shape, outputs = self.problem.kernel_shape
        columns = np.stack(per_group, axis=-1).reshape(*shape, self.groups)
        return np.repeat(columns, outputs // self.groups, axis=-1)

    def under(self, spec: ConvSpec, bias: bool | None = None) -> Self | None:
        """Return the report on the same x with another geometry; None if no window fits."""
        problem = self.problem._under(spec, bias)
        return None if problem is None else type(self)(problem, self.limits)

    @property
    def padding_decided(self) -> bool:
        """Whether `padding_dependent` could be decided within the memory limit."""
        return self._padding_dependent is not None

    @cached_property
    @on_blas_threads
    def _padding_dependent(self) -> np.ndarray | None:
        whole = self.problem._of_whole_windows()
        if whole is None:
            return self._identifiable
        if whole is self.problem:
            return np.zeros_like(self._identifiable)
        inner = type(self)(whole, self.limits)
        return self._identifiable & ~inner._identifiable if inner.unique or inner.decided else None

    @property
    def _modelled(self) -> np.ndarray:
        """Flags of the taps in the windows of their channels, kernel-shaped."""
        return self._kernel_shaped([self._system.design.modelled] * self.groups)

    @cached_property
    @on_blas_threads
    def _basis_dependent(self) -> np.ndarray | None:
        """Flags of the taps that are determined only because of the basis, kernel-shaped.

        None if the taps without the basis are too many to decide.
        """
        space = self.problem._space
        if space is None or not self.has_basis:
            return np.zeros_like(self._identifiable)
        inner = type(self)(self.problem._replace(_space=space.of_taps), self.limits)
        few = inner.columns <= self.limits.spectrum_columns
        if not (few and (inner.unique or inner.decided)):
            return None
        return np.asarray(self._identifiable & ~inner._identifiable & self._modelled)

    @cached_property
    @on_blas_threads
    def determined_coefficients(self) -> np.ndarray:
        """Flags (groups, R) of the coefficients that the data determine.

        Raises:
            ValueError: If the problem has no basis and no windows.
        """
        space = self.problem._space
        if space is None:
            raise ValueError("only kernels in a basis or in windows have coefficients")
        found = np.tile(space.determined, (self.groups, 1))
        if self.unique:
            return found
        sizes = np.linalg.norm(space.of_coordinates(np.eye(space.rank)), axis=1)
        for g, f in self._each:
            parts = np.linalg.norm(space.of_coordinates(f.user_null_space), axis=1)
            found[g] &= parts <= f.null_threshold * sizes
        return found

    @cached_property
    @on_blas_threads
    def _noise_gain(self) -> np.ndarray:
        """Standard error of every tap for unit white noise in y, kernel-shaped."""
        with np.errstate(over="ignore", under="ignore"):
            exponents = self._system.matrix.exponents
            gains = [np.ldexp(self._system.noise_gains(g, f), -exponents[g]) for g, f in self._each]
            return self._kernel_shaped(gains)

    @cached_property
    @on_blas_threads
    def _inflation(self) -> np.ndarray:
        """Root of the variance inflation, kernel-shaped; inf for a tap that is not determined."""
        system, found = self._system, []
        for g, f in self._each:
            gains = system.noise_gains(g, f)
            with np.errstate(invalid="ignore"):
                found.append(np.where(np.isinf(gains), np.inf, system.matrix.spreads[g] * gains))
        return self._kernel_shaped(found)

    @property
    def _weakly_determined(self) -> np.ndarray:
        """Flags of the identifiable taps with a √(variance inflation) above 100, kernel-shaped."""
        return np.isfinite(self._inflation) & (self._inflation > MAX_INFLATION)

    def ridge_for(self, condition: float) -> float:
        """Return the smallest ridge for which [A; √ridge·I] has at most this condition number.

        The ridge is (s₁² − C²s_P²)/(C² − 1), where s are the singular values of A itself. It is 0
        if A already meets the bound.

        Args:
            condition: bound C of the condition number, above 1.

        Raises:
            TypeError, ValueError: If ``condition`` is not a number above 1. If x is zero in every
                window, where any ridge suffices. If the ridge leaves float64 (change the unit of
                x).
        """
        bound = number(condition, "condition_number", above=1.0)
        ends = zip(self._extremes, self.powers.max(1).tolist(), strict=True)
        return max(_smallest_ridge(*pair, unit, bound) for pair, unit in ends)

    @property
    def sufficient_ridge(self) -> float | None:
        """A ridge, to three digits, that makes the solution unique by its size alone.

        No factor is needed. The ridge is 40·P²·eps·4ᵉ, where 2ᵉ is the power of two above the
        largest column of A. It is at least 10·P·eps·‖A‖² in columns scaled to norm one, also if the
        ridge raises e by one. None if it leaves float64.
        """
        share = 40 * self.columns**2 * EPS
        ridge = self._system.ridge_of(1.01 * share)
        inside = share < 0.5 and np.finfo(float).tiny < ridge < np.inf
        return float(f"{ridge:.3g}") if inside else None

    @on_blas_threads
    def unique_with(self, ridge: float, penalty: Penalty) -> bool:
        """Return whether data and a penalty without strength determine the kernel.

        They do if [A; √ridge·K^½] has full rank. If the data alone do not
        determine the kernel, a ridge always does if it is above rounding. `Smooth` does unless the
        null space of the data intersects the null space of its differences.

        Args:
            ridge: strength of the penalty.
            penalty: the penalty wᵀK w.
        """
        if not number(ridge, "ridge", included=True):
            return self.unique
        system = self._penalized(ridge, penalty)
        if system.ridge_certifies:
            return True
        factors = system.factors
        return (factors.complete and factors.full_rank) or self.unique

    def _penalized(self, ridge: float, penalty: Penalty) -> System:
        problem = self.problem
        penalty.check(problem.spec.kernel_size, problem._selection.n_channels)
        return self._analysis.system(penalty, ridge)

    @property
    def mask_ambiguous(self) -> bool:
        """Whether the choice of a threshold is arbitrary.

        True if the verdict is ambiguous, or if σ_r/σ_{r+1} is below 100.
        """
        if self.unique or self.verdict == "ambiguous":
            return not self.unique
        deficient = ((f.rank, f.singular_values) for f in self._factors if not f.full_rank)
        return any(0 < r < s.size and s[r - 1] < 100 * s[r] for r, s in deficient)

    @cached_property
    @on_blas_threads
    def bias_identifiable(self) -> bool:
        """Whether the bias is determined: column means vanish on the null space, or no bias."""
        return self.unique or all(self._sees_bias(g, f) for g, f in self._each)

    def _sees_bias(self, group: int, factor: Factor) -> bool:
        off = outside(factor.row_space, self._system.bias_row(group)[:, None])
        return bool(np.linalg.norm(off) <= factor.null_threshold)

    @cached_property
    def _null_kernels(self) -> tuple[np.ndarray, ...]:
        """Per group ``(nullity, *K, Cin/groups)``: kernels with zero output, orthonormal."""
        return self._null(lambda g, f: self._system.basis.expand(f.user_null_space[None])[0].T)

    @cached_property
    def _null_echelon(self) -> tuple[np.ndarray, ...]:
        """Per group ``(nullity, *K, Cin/groups)``: the null space in reduced echelon form.

        Each vector is 1 at its own pivot tap and 0 at the pivot taps of the other vectors.
        """
        system = self._system
        if system.basis.identity:
            return self._null(lambda g, f: echelon(f.null_space, self.powers[g], f.null_threshold))
        exponents = system.matrix.exponents
        return self._null(
            lambda g, f: echelon(system.tap_rows(g) @ f.null_space, exponents[g], f.null_threshold)
        )

    @on_blas_threads
    def _null(self, basis_of: Callable[[int, Factor], np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return a basis per group with null vectors as kernels; empty if there are none."""
        shape = self.problem.kernel_shape[:-1]
        if self.unique:
            return tuple(np.empty((0, *shape)) for _ in range(self.groups))
        return tuple(basis_of(g, f).reshape(-1, *shape) for g, f in self._each)

    def bias_along(self, null: np.ndarray, group: int) -> np.ndarray:
        """Return the bias (k,) of null vectors (k, P) of the centred A of a group.

        The bias compensates the means of the columns. It is 0 if it is rounding.
        """
        if not len(null):
            return np.zeros(0)
        factor = self.factor(group)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            own = self._system.basis.restrict(null.T[None])[0].T
            powers = self.powers[group]
            unit = powers - powers[np.abs(own).argmax(1)][:, None]
            scaled = np.ldexp(own, unit)
            scaled = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
            taken = np.abs(scaled @ self._system.bias_row(group)) > factor.null_threshold
            return np.where(taken, -(null @ self.column_means[group]), 0.0)

    @property
    def powers(self) -> np.ndarray:
        """Powers of two (groups, P) that bring the columns of A to norms of about one."""
        return self._system.scaling.exponents

    @property
    def column_means(self) -> np.ndarray:
        """Means (groups, P) of the columns of A in the user's units; zeros without a bias."""
        matrix = self._system.matrix
        return np.ldexp(matrix.offsets, matrix.exponents)

    def null_part(self, kernel: np.ndarray) -> np.ndarray:
        """Return the norm, per output, of the part of ``kernel`` in the null space of the data.

        Args:
            kernel: an array of the size of the kernel, ``(*K, Cin/groups, Cout)``.
        """
        outputs = self.problem.n_outputs // self.groups
        flat = self.problem._as_kernel(kernel, "kernel").reshape(-1, self.groups, outputs)
        if self.unique:
            return np.zeros(self.problem.n_outputs)
        # Scaling by a power of two prevents overflow of the squares.
        exponent = np.frexp(np.abs(flat).max())[1]
        scaled = self._system.basis.restrict(np.ldexp(flat, -exponent).swapaxes(0, 1))
        parts = [outside(f.user_row_space, scaled[g]) for g, f in self._each]
        with np.errstate(over="ignore"):
            return np.ldexp(np.concatenate([np.linalg.norm(p, axis=0) for p in parts]), exponent)

    def __reduce__(self) -> Any:
        return type(self), (self.problem, self.limits)


def _smallest_ridge(largest: float, smallest: float, unit: int, bound: float) -> float:
    """Return the ridge that brings singular values in this range, times 2^unit, to the bound."""
    if largest == 0.0:
        raise ValueError("x is zero in every window: no ridge is the smallest")
    # The ratio is in units of s₁ and of the bound, whose squares might overflow.
    least, wanted = smallest / largest, 1 / bound
    share = (wanted - least) * (wanted + least) / ((1 - wanted) * (1 + wanted))
    with np.errstate(over="ignore", under="ignore"):
        ridge = float(np.ldexp(largest**2 * max(share, 0.0), 2 * unit))
    if wanted > least and not 0 < ridge < float("inf"):
        raise ValueError("the ridge lies outside the range of float64")
    return ridge
