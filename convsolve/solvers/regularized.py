"""Regularized least squares with a penalty strength selected from the data."""

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
from ..leastsquares.penalty import RIDGE, Penalty, Ridge
from ..leastsquares.smooth import Smooth
from ..leastsquares.stable_spline import StableSpline
from ..problem.checks import choice
from ..problem.selection import Selection
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import count
from .auto import AutoSolver
from .base import Progress, Raw, Solver, positive, traceable


@traceable()
@dataclass(frozen=True)
class Regularized(Solver):
    """min ‖y − Aw‖² + strength·wᵀK w, with the strength of every output selected from the data.

    One decomposition of the moments serves all strengths, outputs and folds. The selected strengths
    are then solved and certified as for any other penalty.

    Args:
        penalty: `Ridge`, `Smooth`, `StableSpline` or `Tikhonov`. Hyperparameters that are None are
            selected too, by the same criterion and in common for all outputs. The weights of a
            banded ridge are selected by evidence, separately for every output.
        strength: a number, one number per output, or a grid to choose from. None searches
            automatically. If a list could mean either, use the shape (1, outputs) for one strength
            per output and (n, 1) for a grid.
        select: "gcv", "evidence", "aicc", "bic" or a `CrossValidation`. By default "evidence" for
            `StableSpline`, ``Smooth(length=)`` and a banded ridge, which are priors, and "gcv" for
            the others. For a plain ridge the evidence relies on a wrong prior.

    ``fit.regularization`` contains the selected strength and the scores of all candidates. Its
    ``at_edge`` is True if a strength is at the end of the search range.

    Problems with fewer rows than unknowns are solved within the space spanned by the rows. The time
    grows as the square of the number of rows. Otherwise, beyond 1 500 unknowns, a `CrossValidation`
    forms no Gram matrix. All strengths of a grid are computed from one Krylov space per fold, and
    the degrees of freedom are unknown. The other criteria need the spectrum, in a time that grows
    as the cube of the number of unknowns.

    Source: G. H. Golub, M. Heath and G. Wahba, Technometrics 21 (1979) 215 (GCV); T. Chen, H.
    Ohlsson and L. Ljung, Automatica 48 (2012) 1525 (evidence).
    """

    penalty: Penalty = RIDGE
    strength: Any = None
    select: Any = None

    regularizes = True

    def __post_init__(self) -> None:
        if not isinstance(self.penalty, Penalty):
            raise TypeError(f"penalty must be a Penalty such as Ridge(), got {self.penalty!r}")
        if not isinstance(self.select, (CrossValidation, type(None))):
            choice(self.select, "select", tuple(CRITERIA), " or a CrossValidation")
        if self._banded and self.criterion != "evidence":
            raise ValueError(
                "a banded ridge chooses its strengths by evidence; leave select out, or give "
                "Ridge(channel_groups=..., weights=...) what they are to each other"
            )
        if self._banded and self.strength is not None:
            raise ValueError(
                "strength belongs to a penalty without bands; give Ridge(channel_groups=..., "
                "weights=...) with it"
            )
        if self.strength is not None:
            object.__setattr__(self, "strength", _checked(self.strength))

    @property
    def _banded(self) -> bool:
        return isinstance(self.penalty, Ridge) and bool(self.penalty.open)

    @property
    def chooses_jointly(self) -> bool:
        """Whether the penalty has hyperparameters to choose. Bands are chosen for every output."""
        return bool(self.penalty.open) and not self._banded

    @property
    def _given(self) -> np.ndarray | None:
        return None if self.strength is None else np.array(self.strength)

    @property
    def criterion(self) -> str | CrossValidation:
        """The selection criterion."""
        if self.select is not None:
            found: str | CrossValidation = self.select
            return found
        prior = isinstance(self.penalty, StableSpline) or (
            isinstance(self.penalty, Smooth) and self.penalty.order is None
        )
        return "evidence" if prior or self._banded else "gcv"

    def check(self, kernel_size: Sequence[int], selection: Selection) -> None:
        """Raise a ValueError unless the penalty fits the kernel, and strengths fit the outputs."""
        super().check(kernel_size, selection)
        if self._given is not None:
            check_strengths(self._given, selection.n_outputs)

    def of_part(self, selection: Selection) -> Regularized:
        """Return the solver with the strengths of some outputs, and the folds of some records."""
        given, select = self._given, self.select
        if given is not None and given.ndim > 1:
            given = selection.of_outputs(given)
        if isinstance(select, CrossValidation):
            select = select.of_records(selection.records)
        return replace(self, strength=given, select=select)

    def _by_krylov(self, sizes: Sizes) -> bool:
        """Return whether products are faster than a tridiagonal form of every fold."""
        crossed = isinstance(self.criterion, CrossValidation) and not self.penalty.open
        many = sizes.columns > sizes.limits.spectrum_columns and sizes.toeplitz
        return crossed and many and not few_rows(sizes)

    @property
    def name(self) -> str:
        select = self.criterion
        by = select if isinstance(select, str) else f"cross-validated {select.score}"
        return f"Regularized({self.penalty.title}, {by})"

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if the Gram matrix does not fit in the memory allowed, else None."""
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
        select, begun = self.criterion, None
        if self._by_krylov(design.sizes) and isinstance(select, CrossValidation):
            told, penalties = choose_by_krylov(analysis, self.penalty, self._given, select)
        elif isinstance(self.penalty, Ridge) and self.penalty.open:
            told, penalties = choose_bands(Scoring(analysis, select), self.penalty)
        else:
            told, penalties, begun = self._one_penalty(analysis, Scoring(analysis, select))
        return _solved(analysis, penalties, told, begun)

    def _one_penalty(
        self, analysis: Analysis, scoring: Scoring
    ) -> tuple[Regularization, list[tuple[Penalty, float]], Any]:
        """Select one strength per output for a penalty that is common to all outputs.

        The last result is a solution, see `_solved`.
        """
        grids, units = strength_grids(self._given, scoring.units), scoring.units
        penalty, at_bound = choose_penalty(scoring, self.penalty, grids)
        scorers = scoring.scorers(penalty)
        chosen = [choose_strengths(s, grid) for s, grid in zip(scorers, grids, strict=True)]
        parts = zip(units.outputs, scorers, chosen, strict=True)
        told = joined([of_outputs(units, e, penalty, s, c) for e, s, c in parts])
        opened = {name: getattr(penalty, name) for name in self.penalty.open}
        pairs = zip(scorers, chosen, strict=True)
        begin = np.stack([s.coordinates(c.strengths[None])[0] for s, c in pairs])
        several = SeveralStrengths(analysis, penalty, told.strength, units)
        proven = several.proven(scorers)
        begun = several.solve(scorers, begin, proven)
        penalties = [(penalty, strength) for strength in told.strength.tolist()]
        unproven = np.repeat(~proven, units.outputs.shape[1])
        told = told._replace(
            hyperparameters=opened,
            at_bound=at_bound,
            effective_dof=_by_factors(analysis, penalties, told, unproven),
        )
        return told, penalties, begun


def _solved(
    analysis: Analysis,
    penalties: Sequence[tuple[Penalty, float]],
    told: Regularization,
    begun: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
) -> Raw:
    """Return the result for the selected penalty and strength of every output.

    ``begun`` are kernel, bias and bounds on the backward errors (Cout,), if there is a solution.
    Outputs that are not exact are solved by the default solver, once per penalty. The kernel is
    unique if every penalty ensures it. The penalty of least strength is recorded.
    """
    shape, route = analysis.design.kernel_shape, "tridiagonal form of the Gram matrix"
    nothing = np.zeros(shape), np.zeros(shape[-1]), np.full(shape[-1], np.inf)
    kernel, bias, errors = begun or nothing
    wrong = ~(errors <= EXACT)
    for pair in dict.fromkeys(penalties):
        mine = wrong & np.array([pair == other for other in penalties])
        if mine.any():
            raw = AutoSolver(pair[1], pair[0]).run(analysis)
            kernel[..., mine], bias[mine] = raw.kernel[..., mine], raw.bias[mine]
            errors[mine] = np.inf if raw.certificate is None else raw.certificate.value
            route = str(raw.stats["solver"])
    least = dict(sorted(penalties, key=lambda pair: -pair[1]))
    certain = all(analysis.system(*pair).ridge_certifies for pair in least.items())
    return Raw(
        kernel,
        bias,
        *min(penalties, key=lambda pair: pair[1]),
        stats={
            "route": route,
            "penalty": {"kind": told.penalty, "strength": told.strength.tolist()},
        },
        certificate=Certificate(float(errors.max()), "upper bound"),
        evidence="the penalty" if certain else None,
        regularization=told,
        penalties=penalties,
    )


def _by_factors(
    analysis: Analysis,
    penalties: Sequence[tuple[Penalty, float]],
    told: Regularization,
    unproven: np.ndarray,
) -> np.ndarray:
    """Return the degrees of freedom (outputs,), from factors for outputs that are ``unproven``.

    The Gram matrix has lost the digits of columns that are not penalized and nearly dependent.
    """
    found = told.effective_dof.copy()
    each = len(found) // analysis.design.spec.groups
    for output in np.flatnonzero(unproven).tolist():
        system, group = analysis.system(*penalties[output]), output // each
        factor = system.factor(group)
        if factor is not None and factor.full_rank:
            found[output] = system.freedom(group, factor)
    return found


def _checked(strength: Any) -> tuple[Any, ...]:
    """Return strengths as nested tuples of the shape (1, 1), (n,) or (n, k)."""
    found = positive(strength, "strength", 2)
    if found.ndim == 1:
        return tuple(found.tolist())
    return tuple(map(tuple, np.atleast_2d(found).tolist()))
