"""Identifiability of the kernel from x alone, in numbers and as facts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from ..facts import Fact, Reported, plain
from ..lazy import plot
from ..leastsquares.analysis import analyse
from ..leastsquares.penalty import Penalty
from ..leastsquares.system import System
from ..linalg.factor import Factor, outside
from ..linalg.factors import Factors
from ..linalg.threads import on_blas_threads
from ..notation import suggests_attributes
from ..operators.layout import reversed_taps, to_columns
from ..problem.checks import number
from ..problem.problem import Problem
from ..problem.sizes import DEFAULT_TUNING, Tuning
from ..progress import LOG
from . import descent, wording
from .suggestions import Suggestion, advise
from .verdict import DETERMINED, SEVERITY, verdicts

# A tap whose √(variance inflation) exceeds this is weakly determined.
MAX_INFLATION = 100.0
# Length of a segment of x in kernels, and its smallest and largest value in taps.
TIMES_KERNEL, LEAST, MOST = 4, 64, 1024
# Only so many numbers of a record are used.
MOST_NUMBERS = 2**23


@suggests_attributes
class Identifiability(Reported):
    """Report on whether the input of a problem determines the kernel, and which part of it.

    Each row of [N A] is an equation and each column an unknown. A is the design matrix, which all
    outputs of a group share. The bias and confounds are the columns of N. ``rank`` is the numerical
    rank of [N A], so it equals ``n_unknowns`` if the data determine all unknowns.

    ``condition_number`` and ``singular_values`` refer to A with N projected out. Its rank is
    determined after each column is scaled by a power of two to norm about one, and ``tolerance``
    refers to the scaled matrix.

    Costly values are computed at the first access. ``repr`` shows the values that are available,
    ``print`` shows the complete report. The verdicts, in the order in which they are
    decided:

    - "underdetermined": fewer equations than unknowns;
    - "rank-deficient": enough equations, but not enough independent ones;
    - "ambiguous": too close to call, or below the rounding of the data's own type;
    - "undecided": a QR is too large to decide, in memory or operations;
    - "exactly determined": as many independent equations as unknowns, none left to check the fit;
    - "overdetermined": one solution, and more equations than unknowns.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> stimulus = np.tile([1, 1, 0, 0], 50)
        >>> report = cs.identify(cs.Problem(stimulus, lags=(0, 9)))
        >>> report.unique, report.rank, report.n_unknowns
        (False, 3, 10)
        >>> report.suggestions[0].kind
        'excitation'

    See Also:
        `identify`, which returns the report, and `Suggestion`.
    """

    def __init__(self, problem: Problem, limits: Tuning = DEFAULT_TUNING) -> None:
        """Report on a problem within limits of memory; nothing is computed yet."""
        #: The problem.
        self.problem = problem
        #: Number of rows of the design matrix.
        self.n_equations = problem.n_equations
        #: Unknowns per output: taps, or independent coefficients of a basis, bias and confounds.
        self.n_unknowns = problem.n_unknowns
        self._limits, self._columns = limits, self.n_unknowns - problem._nuisance.total

    def __reduce__(self) -> Any:
        """Pickle the problem and the limits; values are computed again."""
        return type(self), (self.problem, self._limits)

    def _of(self, problem: Problem) -> Self:
        """Return the report on a variant of the problem."""
        return type(self)(problem, self._limits)

    # --- the engine: a system for all groups, and a factor for each

    @property
    def _blas_columns(self) -> int:
        """The smaller dimension of the design matrix."""
        return min(self.n_equations, self._columns)

    @property
    def _system(self) -> System:
        return analyse(self.problem, self._limits).plain

    @cached_property
    @on_blas_threads
    def _found(self) -> Factors:
        return self._system.factors

    @property
    def _decided(self) -> bool:
        """Whether every group has a factor, and thus a rank and values per tap."""
        return self._found.complete

    @property
    def _factors(self) -> Factors:
        if not self._decided:
            raise ValueError(wording.too_large(self))
        return self._found

    @property
    def _worst_factor(self) -> Factor:
        """The factor of the design matrix of the worst group, with columns scaled to norm one."""
        return self._factors[self._worst_group]

    # --- verdict and rank

    @cached_property
    @on_blas_threads
    def _verdicts(self) -> tuple[tuple[str, ...], bool]:
        begun = time.perf_counter()
        found = verdicts(self._system)
        words = " and ".join(sorted({*found[0]}))
        LOG.info("identify: %s, %.2f s", words, time.perf_counter() - begun)
        return found

    @property
    def _group_verdicts(self) -> tuple[str, ...]:
        return self._verdicts[0]

    @property
    def _proved_iteratively(self) -> bool:
        """Whether conjugate gradients, instead of a factor, decided the verdict."""
        return self._verdicts[1]

    @cached_property
    def _worst_group(self) -> int:
        """Index of the group with the worst verdict, and among these with the least rank."""
        word = max({*self._group_verdicts}, key=SEVERITY.index)
        if word in DETERMINED or len(self._group_verdicts) == 1:
            return self._group_verdicts.index(word)
        worst = (g for g, other in enumerate(self._group_verdicts) if other == word)
        return min(worst, key=self._found.each(lambda f: f.rank).__getitem__)

    @property
    def verdict(self) -> str:
        """One of the six words above."""
        return self._group_verdicts[self._worst_group]

    @property
    def _known_verdict(self) -> str | None:
        """The verdict if counting decides it or it was computed before; else None."""
        if self.n_equations < self.n_unknowns:
            return "underdetermined"
        return self.verdict if "_verdicts" in vars(self) else None

    @property
    def unique(self) -> bool:
        """Whether the data determine every tap, and the bias."""
        return self.verdict in DETERMINED

    @cached_property
    def _ranks(self) -> list[int]:
        """Numerical rank of A in every group."""
        if self.unique:
            return [self._columns] * len(self._group_verdicts)
        found: list[int] = self._factors.each(lambda f: f.rank).tolist()
        return found

    @property
    def rank(self) -> int:
        """Numerical rank of [N A] in the worst group, equal to ``n_unknowns`` for full rank."""
        return self._ranks[self._worst_group] + self.problem._nuisance.total

    @property
    def _rank_band(self) -> tuple[int, int]:
        """Rank at the upper and at the lower end of the band around the tolerance."""
        band, others = self._worst_factor.band, self.problem._nuisance.total
        return band.rank_at_high + others, band.rank_at_low + others

    @property
    def _mask_ambiguous(self) -> bool:
        """Whether the rank depends on the tolerance, as σ_r/σ_{r+1} is below 100."""
        if self.unique or self.verdict == "ambiguous":
            return not self.unique
        deficient = ((f.rank, f.singular_values) for _, f in self._factors.parts if not f.full_rank)
        return any(0 < r < s.size and s[r - 1] < 100 * s[r] for r, s in deficient)

    @on_blas_threads
    def _unique_with(self, strength: float, penalty: Penalty) -> bool:
        """Return whether [A; √strength·K^½] has full rank, for the penalty wᵀK w, or A has."""
        if not number(strength, "ridge", included=True):
            return self.unique
        problem = self.problem
        penalty.check(problem.spec.kernel_size, problem._selection.n_channels)
        system = analyse(problem, self._limits).system(penalty, strength)
        if system.ridge_certifies:
            return True
        return (system.factors.complete and system.factors.full_rank) or self.unique

    # --- spectrum

    @cached_property
    @on_blas_threads
    def singular_values(self) -> tuple[np.ndarray, ...]:
        """Singular values of A itself in descending order, one array per group."""
        pairs = zip(self._factors, self._system.scaling.exponents, strict=True)
        with np.errstate(over="ignore", under="ignore"):
            return tuple(np.ldexp(f.spectrum(p), p.max()) for f, p in pairs)

    @cached_property
    @on_blas_threads
    def _extremes(self) -> list[tuple[float, float]]:
        """First and last singular value of each group, in units of its largest column."""
        return [self._system.extremes(g, f) for g, f in enumerate(self._factors)]

    @property
    def condition_number(self) -> float:
        """2-norm condition number of A itself in the worst group; inf if A is rank-deficient.

        It is accurate to ten digits, or to the digits that its size allows. With more than 1 500
        unknowns decided by a Gram matrix, it is accurate to eps·κ².
        """
        return max([1.0, *(most / least if least else np.inf for most, least in self._extremes)])

    def ridge_for(self, condition_number: float) -> float:
        """Return the smallest ridge for which [A; √ridge·I] has at most this condition number.

        The ridge is (s₁² − C²s_P²)/(C² − 1), where s are the singular values of A itself. It is 0
        if A already meets the bound.

        Args:
            condition_number: bound C of the condition number, above 1.

        Returns:
            The ridge, in the square of the unit of x.

        Raises:
            TypeError, ValueError: If ``condition_number`` is not a number above 1. If x is zero in
                every window, where any ridge suffices. If the ridge leaves float64 (change the unit
                of x).

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x = np.random.default_rng(0).standard_normal(300).cumsum()
            >>> report = cs.identify(cs.Problem(x, lags=(0, 4)))
            >>> ridge = report.ridge_for(10)
            >>> report.condition_number > 10, ridge > 0
            (True, True)
        """
        found = self._ridge(number(condition_number, "condition_number", above=1.0))
        if not np.isfinite(found):
            raise ValueError("no ridge: x is zero in every window, or its square leaves float64")
        return found

    def _ridge(self, bound: float) -> float:
        """Return `ridge_for`; NaN if x is zero, and infinity if the ridge leaves float64."""
        wanted, (most, least) = 1 / bound, np.transpose(self._extremes)
        with np.errstate(all="ignore"):
            # The ratio is in units of s₁ and of the bound, whose squares might overflow.
            share = (wanted - least / most) * (wanted + least / most)
            share = np.maximum(share / ((1 - wanted) * (1 + wanted)), 0.0)
            ridges = np.ldexp(most**2 * share, 2 * self._system.scaling.exponents.max(1))
        return float(np.where((share > 0) & (ridges == 0), np.inf, ridges).max())

    @on_blas_threads
    def descent(
        self,
        optimizer: str = "sgd",
        *,
        learning_rate: float | None = None,
        momentum: float | None = None,
        snr: float = 1.0,
        tol: float = 1e-6,
        solution: Any = None,
    ) -> descent.DescentForecast:
        """Forecast gradient descent on the mean of squares, without running it.

        A step of descent is linear in the error of the kernel, so its course is known exactly. From
        x alone, the course is for a kernel of equal expected size in every direction. The bias and
        confounds are fitted at every step.

        Args:
            optimizer: "sgd", plain descent, the default; "momentum", with a heavy ball; or
                "nesterov". The steps are those of ``optax.sgd``.
            learning_rate: the learning rate. None, the default, is 1/L, where L is the largest
                eigenvalue of the Hessian.
            momentum: momentum of "momentum" and "nesterov", from 0 to below 1. None, the default,
                is 0.9.
            snr: variance of the fitted signal over the variance of the noise, per row. Default 1.
            tol: relative kernel error that the number of steps refers to, between 0 and 1. Default
                1e-6.
            solution: the exact least-squares `Solution` of this problem. The forecast is then for
                its kernel and its noise, and replaces ``snr``. Default None.

        Returns:
            A `DescentForecast`. ``print`` shows the numbers of steps, and ``plot`` the course.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If the optimizer has no exact forecast, a number is outside its range, or
                "sgd" is given a momentum. If x is zero in every window, or the steps leave float64.
                If the solution is of another problem, has a penalty, another loss or filtered rows,
                is not exact, or has no residuals.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x = np.random.default_rng(0).standard_normal(300).cumsum()
            >>> report = cs.identify(cs.Problem(x, lags=(0, 4)))
            >>> forecast = report.descent(tol=1e-3)
            >>> forecast.steps > 1000
            True
            >>> report.descent("nesterov", tol=1e-3).steps < forecast.steps
            True

        See Also:
            `GradientDescent`, which runs it, and `compare`.
        """
        return descent.descent(self, optimizer, learning_rate, momentum, snr, tol, solution)

    # --- taps: (groups, P) in ascending lags, flattened from (*lags, channels)

    @property
    def _order(self) -> np.ndarray:
        """Columns of the design matrix by ascending lags."""
        return reversed_taps(self._system.matrix.columns, self.problem.kernel_shape[-2])

    def _by_group(self, of: Callable[[int, Factor], np.ndarray]) -> np.ndarray:
        """Return values of the columns of each group as values of taps."""
        return np.stack([of(g, f) for g, f in enumerate(self._factors)])[:, self._order]

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        """Return values of taps in the shape of `Solution.impulse_response`."""
        *shape, channels, outputs = self.problem.kernel_shape
        found = np.moveaxis(values.reshape(-1, *shape, channels), 0, -1)
        found = np.repeat(found, outputs // len(values), axis=-1)
        return found.squeeze(tuple(a for a in (-2, -1) if found.shape[a] == 1))

    @property
    def _has_basis(self) -> bool:
        """Whether the unknowns are coefficients of a basis and not taps."""
        return self.problem._space is not None and self.problem._space.has_functions

    @property
    def _modelled(self) -> np.ndarray:
        """Flags (P,) of the taps in the windows of their channels."""
        return self._system.design.modelled[self._order]

    @cached_property
    @on_blas_threads
    def _identifiable(self) -> np.ndarray:
        if self.unique:  # may be proved without a factor
            return np.ones((len(self._group_verdicts), self._order.size), bool)
        return self._by_group(self._system.determined)

    @property
    def identifiable(self) -> np.ndarray:
        """Flags of the taps that are determined, shaped as `Solution.impulse_response`.

        A tap is determined if its row of the orthonormal null space has a norm of at most
        clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3). Taps outside the window of their channel are zero, and
        have True.
        """
        return self._shaped(self._identifiable)

    def _lost_in(self, problem: Problem | None) -> np.ndarray:
        """Return flags of the taps that a variant of the problem does not determine.

        All False if the variant is too large to decide.
        """
        if problem is None:
            return self._identifiable
        other = self if problem is self.problem else self._of(problem)
        lost = self._identifiable & (not other.unique and other._decided)
        return lost & ~other._identifiable if lost.any() else lost

    @cached_property
    @on_blas_threads
    def _padding_dependent(self) -> np.ndarray:
        return self._lost_in(self.problem._of_whole_windows())

    @property
    def padding_dependent(self) -> np.ndarray:
        """Flags of the taps that are determined only because x is assumed zero outside the record.

        They are the taps that the rows with a completely recorded window do not determine. All
        False if the problem of these rows is too large to decide. The shape is that of
        `Solution.impulse_response`.
        """
        return self._shaped(self._padding_dependent)

    @cached_property
    @on_blas_threads
    def _basis_dependent(self) -> np.ndarray:
        """Flags of the taps that are determined only because of the basis.

        All False if the taps without the basis are too many to decide.
        """
        space = self.problem._space
        if space is None or self._order.size > self._limits.spectrum_columns:
            return np.zeros_like(self._identifiable)
        taps = self.problem._replace(_space=space.of_taps)
        return self._lost_in(taps) & self._modelled

    @cached_property
    def _determined_coefficients(self) -> np.ndarray:
        """Flags (groups, R) of the coefficients of a basis that the data determine."""
        space = self.problem._space
        assert space is not None
        found = np.tile(space.determined, (len(self._group_verdicts), 1))
        sizes = np.linalg.norm(space.of_coordinates(np.eye(space.rank)), axis=1)
        for g, f in enumerate(() if self.unique else self._factors):
            parts = np.linalg.norm(space.of_coordinates(f.user_null_space), axis=1)
            found[g] &= parts <= f.null_threshold * sizes
        return found

    @cached_property
    @on_blas_threads
    def _noise_gain(self) -> np.ndarray:
        found = self._by_group(self._system.noise_gains)
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.ldexp(found, -self._exponents))

    @property
    def _exponents(self) -> np.ndarray:
        """Exponents (groups, P) of the units in which the engine has the columns."""
        return self._system.matrix.exponents[:, self._order]

    @property
    def noise_gain(self) -> np.ndarray:
        """Standard error of every tap for white noise of unit standard deviation in y.

        It is √diag((AᵀA)⁻¹), in units of the kernel per unit of y; inf if a tap is not determined,
        and NaN if it is always zero.
        It is accurate to eps·κ² if a Gram matrix decided. Multiplied by the standard deviation of
        the residuals it is the standard error of a fit. This does not hold for errors that are
        correlated in time. The shape is that of `Solution.impulse_response`.
        """
        return self._shaped(self._noise_gain)

    @property
    def _weakly_determined(self) -> np.ndarray:
        gains = np.where(np.isfinite(self._noise_gain), self._noise_gain, 0.0)
        spreads = np.ldexp(self._system.matrix.spreads[:, self._order], self._exponents)
        return gains * spreads > MAX_INFLATION

    @property
    def weakly_determined(self) -> np.ndarray:
        """Flags of the identifiable taps with a variance inflation above 1e4.

        The root of the variance inflation is ‖column minus its mean‖·noise gain: the factor by
        which the standard error exceeds its value for a column that resembles no other column. The
        shape is that of `Solution.impulse_response`.
        """
        return self._shaped(self._weakly_determined)

    @cached_property
    @on_blas_threads
    def bias_identifiable(self) -> bool:
        """Whether the bias is determined: column means vanish on the null space, or no bias."""
        return self.unique or all(self._sees_bias(g, f) for g, f in enumerate(self._factors))

    def _sees_bias(self, group: int, factor: Factor) -> bool:
        off = outside(factor.row_space, self._system.bias_row(group)[:, None])
        return bool(np.linalg.norm(off) <= factor.null_threshold)

    # --- null space

    @cached_property
    @on_blas_threads
    def null_space(self) -> tuple[np.ndarray, ...]:
        """Per group ``(vectors, *lags, Cin/groups)``: kernels with zero output, orthonormal.

        Lags are in ascending order.

        Raises:
            ValueError: If it does not fit in memory. `identifiable` needs less memory.
        """
        shape = self.problem.kernel_shape[:-1]
        if self.unique:
            return tuple(np.zeros((0, *shape)) for _ in self._group_verdicts)
        kernels = (self._system.basis.expand(f.user_null_space[None])[0].T for f in self._factors)
        return tuple(flat[:, self._order].reshape(-1, *shape) for flat in kernels)

    def _scaled_null(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Return null vectors (P, k) of columns multiplied by 2^-exponents, and exponents (P,)."""
        system, null = self._system, self._factors[group].null_space
        exponents = system.scaling.exponents
        if not system.basis.identity:
            null, exponents = system.tap_rows(group) @ null, system.matrix.exponents
        return null[self._order], exponents[group][self._order]

    @property
    def _means(self) -> np.ndarray:
        """Means of the columns in the user's units; zeros without a bias."""
        return np.asarray(np.ldexp(self._system.matrix.offsets[:, self._order], self._exponents))

    def _null_part(self, kernel: np.ndarray) -> np.ndarray:
        """Return the norm (outputs,) of the part of a kernel, in layer order, in the null space."""
        if self.unique:
            return np.zeros(self.problem.n_outputs)
        flat = to_columns(self.problem._as_kernel(kernel, "kernel"), self.problem.spec.groups)
        own = zip(self._factors, self._system.basis.restrict(flat), strict=True)
        return np.concatenate(
            [np.linalg.norm(outside(f.user_row_space, v), axis=0) for f, v in own]
        )

    @cached_property
    @on_blas_threads
    def collinear(self) -> list[str]:
        """Sentences on taps whose effects cannot be separated, and on taps that are determined."""
        return [] if self.unique else [*wording.inseparable(self)]

    # --- suggestions and text

    @cached_property
    @on_blas_threads
    def suggestions(self) -> list[Suggestion]:
        """Changes that would make the kernel determined; empty if it is determined.

        Each suggestion has a ``kind``, the ``argument`` to change and its ``value``, and prints as
        a sentence. With groups, those on channels are for the group that is determined worst.
        """
        return advise(self)

    @on_blas_threads
    def facts(self, full: bool = True) -> list[Fact]:
        """Return the report as facts, from which its text is made.

        Args:
            full: whether to compute values. If False, only known values are returned.

        Returns:
            Facts, each with a key, a label, a text and a value.

        Examples:
            >>> import convsolve as cs
            >>> report = cs.identify(cs.Problem([0, 3, 4, 5], kernel_size=2))
            >>> report.facts()[0].text
            'overdetermined: the data determine one kernel, with rows to spare'
        """
        return wording.facts(self) if full else wording.known_facts(self)

    @on_blas_threads
    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, ready for JSON; None for infinite values.

        Returns:
            A dict, whose values are the attributes of the report.

        Examples:
            >>> import convsolve as cs
            >>> report = cs.identify(cs.Problem([0, 3, 4, 5], kernel_size=2))
            >>> report.to_dict()["verdict"]
            'overdetermined'
        """
        return super().to_dict() | plain(wording.values(self))

    def _verdict_entries(self) -> dict[str, Any]:
        """Return the part of `to_dict` that the results of other functions have too."""
        found = {"data": repr(self.problem), "verdict": self.verdict, "unique": self.unique}
        return found | {"suggestions": [*map(str, self.suggestions)]}

    plot = plot


class Excitation(NamedTuple):
    """Power of x over frequency, relative to white x of the same power, which has 1 everywhere.

    Attributes:
        frequency: frequencies (F,), in Hz if ``fs`` is known, else in cycles per sample. For a
            dilated kernel, up to half the rate at which its taps read x. Higher ones are aliases.
        power: power (F, channels), relative to the mean power of each channel.
    """

    frequency: np.ndarray
    power: np.ndarray


def excitation(problem: Problem) -> Excitation:
    """Estimate the power of x by Welch's method, without the mean of x if there is a bias.

    Raises:
        ValueError: If the kernel has more than one axis.

    Source: P. D. Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70.
    """
    from scipy.signal import welch

    spec = problem.spec
    if spec.ndim > 1:
        raise ValueError("the power spectrum of x is for kernels along one axis")
    taps = 2 * math.ceil(min(max(LEAST, TIMES_KERNEL * spec.kernel_size[0]), MOST) / 2)
    length = taps * spec.dilation[0]
    power, detrend = np.zeros((length, problem.n_channels)), "constant" if problem.bias else False
    for record in problem.x:
        part = np.asarray(record[: MOST_NUMBERS // problem.n_channels], float)
        segment = min(length, len(part))
        given = {"nperseg": segment, "nfft": length, "return_onesided": False}
        power += len(part) * welch(part, **given, detrend=detrend, axis=0)[1]
    # At the taps of a dilated kernel several frequencies are aliases.
    power = power.reshape(spec.dilation[0], taps, -1).mean(0)
    mean = power.mean(0)
    power = power[: taps // 2 + 1] / np.where(mean > 0, mean, 1.0)
    rate = (problem._names.fs or 1.0) / spec.dilation[0]
    return Excitation(np.arange(taps // 2 + 1) / taps * rate, power)
