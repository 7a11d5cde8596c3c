"""Regularized least squares whose penalty the data choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import SolveError
from ..inference.bands import choose_bands
from ..inference.criteria import CRITERIA
from ..inference.folds import CrossValidation
from ..inference.krylov import choose_by_krylov
from ..inference.regularization import Regularization, joined, of_outputs
from ..inference.scorers import Scoring
from ..inference.selection import (
    check_strengths,
    choose_penalty,
    choose_strengths,
    strength_grids,
)
from ..inference.several_strengths import SeveralStrengths
from ..inference.sums import few_rows
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, Certificate
from ..leastsquares.design import Design
from ..leastsquares.penalty import RIDGE, Penalty, Ridge
from ..leastsquares.smooth import Smooth
from ..leastsquares.stable_spline import StableSpline
from ..problem.checks import choice
from ..problem.selection import Selection
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import count, shown
from .auto import AutoSolver
from .base import Progress, Raw, Solver, as_numbers, traceable


@traceable()
@dataclass(frozen=True)
class Regularized(Solver):
    """min ‖y − Aw‖² + strength·wᵀK w, the strength of every output chosen by the data.

    One decomposition of the moments serves all strengths, outputs and folds; what is chosen is
    solved and certified as any other penalty.

    Args:
        penalty: `Ridge`, `Smooth`, `StableSpline` or `Tikhonov`. Hyperparameters that are None are
            chosen too, one for all outputs, by the same criterion; the weights of a banded ridge by
            evidence, output by output.
        strength: None to search; a number, or one for every output; or a grid to choose from. Where
            a list could be either, (1, outputs) or (n, 1) says which.
        select: "gcv", "evidence", "aicc", "bic" or a `CrossValidation`. By default "evidence" for
            `StableSpline`, ``Smooth(length=)`` and a banded ridge, which are priors, and "gcv" for
            the others: under a plain ridge the evidence believes a prior that is wrong.

    ``fit.regularization`` tells what was chosen, and what else was in the choice. A strength that
    ends at the edge of its search is said to.

    Fewer rows than unknowns are solved within the space that they span, in a time that grows as the
    square of the rows. Otherwise, beyond 1 500 unknowns, a `CrossValidation` forms no Gram: all
    strengths of a fold, of a grid, come from one Krylov space, and degrees of freedom stay unknown;
    the other criteria take the spectrum, in a time that grows as the cube of the unknowns.

    Source: G. H. Golub, M. Heath and G. Wahba, Technometrics 21 (1979) 215 (GCV); T. Chen, H.
    Ohlsson and L. Ljung, Automatica 48 (2012) 1525 (evidence).
    """

    penalty: Penalty = RIDGE
    strength: Any = None
    select: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.penalty, Penalty):
            raise TypeError(f"penalty must be a Penalty such as Ridge(), got {self.penalty!r}")
        if not isinstance(self.select, (CrossValidation, type(None))):
            choice(self.select, "select", tuple(CRITERIA), " or a CrossValidation")
        if self._banded and self.criterion != "evidence":
            raise ValueError(
                "a banded ridge chooses its strengths by evidence; leave select out, or give "
                "Ridge(groups=..., weights=...) what they are to each other"
            )
        if self._banded and self.strength is not None:
            raise ValueError(
                "strength belongs to a penalty without bands; give Ridge(groups=..., weights=...) "
                "with it"
            )
        if self.strength is not None:
            object.__setattr__(self, "strength", _checked(self.strength))

    @property
    def _banded(self) -> bool:
        return isinstance(self.penalty, Ridge) and bool(self.penalty.open)

    @property
    def _given(self) -> np.ndarray | None:
        return None if self.strength is None else np.array(self.strength)

    @property
    def criterion(self) -> str | CrossValidation:
        """What chooses."""
        if self.select is not None:
            found: str | CrossValidation = self.select
            return found
        prior = isinstance(self.penalty, StableSpline) or (
            isinstance(self.penalty, Smooth) and self.penalty.order is None
        )
        return "evidence" if prior or self._banded else "gcv"

    def check(self, kernel_size: Sequence[int], selection: Selection) -> None:
        """A penalty must fit the kernel, and an array of strengths the outputs."""
        super().check(kernel_size, selection)
        if self._given is not None:
            check_strengths(self._given, selection.out_channels)

    def of_part(self, selection: Selection) -> Regularized:
        """Return the solver with the strengths of some of the outputs."""
        given = self._given
        if given is None or given.ndim < 2:
            return self
        return replace(self, strength=selection.of_outputs(given))

    def _by_krylov(self, sizes: Sizes) -> bool:
        """Whether a tridiagonal form of every fold would take longer than steps of products."""
        crossed = isinstance(self.criterion, CrossValidation) and not self.penalty.open
        many = sizes.columns > sizes.limits.spectrum_columns and sizes.toeplitz
        return crossed and many and not few_rows(sizes)

    @property
    def regularizes(self) -> bool:
        """Always."""
        return True

    @property
    def name(self) -> str:
        select = self.criterion
        by = select if isinstance(select, str) else f"cross-validated {select.score}"
        return f"Regularized({self.penalty.title}, {by})"

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """The Gram must fit in the memory allowed."""
        if sizes.gram_fits or self._by_krylov(sizes) or (few_rows(sizes) and not self._banded):
            return None
        gib = sizes.gram_bytes / 2**30
        return (
            f"a choice of the strength takes AᵀA of {sizes.columns} columns, {gib:.1f} GiB, more "
            "than allowed; choose it by CrossValidation, which needs none, or use fewer taps"
        )

    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        design = analysis.design
        if design.sizes.rows - design.nuisance.total < 2:
            raise SolveError(f"{count(design.sizes.rows, 'row')} of y: too few to choose by")
        select, answer = self.criterion, _Answer.none(design)
        if self._by_krylov(design.sizes) and isinstance(select, CrossValidation):
            told, penalties = choose_by_krylov(analysis, self.penalty, self._given, select)
        elif isinstance(self.penalty, Ridge) and self.penalty.open:
            told, penalties = choose_bands(Scoring(analysis, select), self.penalty)
        else:
            told, penalties, answer = self._one_penalty(analysis, Scoring(analysis, select))
        answer.complete(analysis, penalties)
        return answer.packed(analysis, penalties, told)

    def _one_penalty(
        self, analysis: Analysis, scoring: Scoring
    ) -> tuple[Regularization, list[tuple[Penalty, float]], _Answer]:
        """Of all outputs, at a strength for each."""
        grids, units = strength_grids(self._given, scoring.units), scoring.units
        penalty, bounded = choose_penalty(scoring, self.penalty, grids)
        scorers = scoring.scorers(penalty)
        chosen = [choose_strengths(s, grid) for s, grid in zip(scorers, grids, strict=True)]
        parts = zip(units.outputs, scorers, chosen, strict=True)
        told = joined([of_outputs(units, e, penalty, s, c) for e, s, c in parts])
        opened = {name: getattr(penalty, name) for name in self.penalty.open}
        pairs = zip(scorers, chosen, strict=True)
        begin = np.stack([s.coordinates(c.strengths[None])[0] for s, c in pairs])
        several = SeveralStrengths(analysis, penalty, told.strength, units)
        answer = _Answer(*several.solve(scorers, begin))
        penalties = [(penalty, strength) for strength in told.strength.tolist()]
        told = told._replace(hyperparameters=opened, bounded=bounded)
        return told, penalties, answer


class _Answer:
    """Kernels and biases of all outputs, and bounds on their backward errors."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray, errors: np.ndarray) -> None:
        self.kernel, self.bias, self.errors = kernel, bias, errors
        self.route = "tridiagonal form of the Gram matrix"

    @classmethod
    def none(cls, design: Design) -> _Answer:
        """Before anything is solved."""
        outputs = design.kernel_shape[-1]
        return cls(np.zeros(design.kernel_shape), np.zeros(outputs), np.full(outputs, np.inf))

    def complete(self, analysis: Analysis, penalties: Sequence[tuple[Penalty, float]]) -> None:
        """Solve what is not exact by the default solver, each penalty once."""
        wrong = {pair for pair, e in zip(penalties, self.errors, strict=True) if not e <= EXACT}
        for pair in sorted(wrong, key=penalties.index):
            mine = np.array([pair == other for other in penalties]) & ~(self.errors <= EXACT)
            penalty, strength = pair
            raw = AutoSolver(strength, penalty).run(analysis)
            self.kernel[..., mine], self.bias[mine] = raw.kernel[..., mine], raw.bias[mine]
            self.errors[mine] = np.inf if raw.certificate is None else raw.certificate.value
            self.route = str(raw.stats["solver"])

    def packed(
        self,
        analysis: Analysis,
        penalties: Sequence[tuple[Penalty, float]],
        told: Regularization,
    ) -> Raw:
        """For the door: unique if every penalty makes it so, or that of least strength."""
        least: dict[Penalty, float] = {}
        for penalty, strength in penalties:
            least[penalty] = min(strength, least.get(penalty, np.inf))
        certain = all(analysis.system(*pair).ridge_certifies for pair in least.items())
        penalty, strength = min(penalties, key=lambda pair: pair[1])
        return Raw(
            self.kernel,
            self.bias,
            penalty,
            strength,
            stats={
                "route": self.route,
                "penalty": {"kind": told.penalty, "strength": told.strength.tolist()},
            },
            certificate=Certificate(float(self.errors.max()), "upper bound"),
            evidence="the penalty" if certain else None,
            regularization=told,
            penalties=penalties,
        )


def _checked(strength: Any) -> tuple[Any, ...]:
    """Strengths as nested tuples of the shape (1, 1), (n,) or (n, k)."""
    found = as_numbers(strength, "strength")
    if found.dtype.kind not in "iuf" or found.ndim > 2 or not found.size:
        raise TypeError(f"strength must be a number or an array of them, got {shown(strength)}")
    found = found.astype(float)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise ValueError(
            f"strength must be positive and finite, got {shown(strength)}; for no penalty use "
            "LeastSquares"
        )
    if found.ndim == 1:
        return tuple(found.tolist())
    return tuple(map(tuple, np.atleast_2d(found).tolist()))
