"""Scores of every strength for one penalty, by a criterion or by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import methodcaller

import numpy as np

from ..cached import cached_property
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import Design
from ..leastsquares.penalty import Coordinates, Penalty
from ..operators.layout import to_kernel
from ..operators.prediction import predicted
from ..progress import tracked
from .criteria import CRITERIA
from .folds import CrossValidation, HeldOutFold, check_varying, varying
from .moments import Moments
from .own_score import FoldRows, PredictedRows
from .strength_path import StrengthPath
from .sums import FromMoments, FromRows, GroupSums, RowSpace, few_rows
from .units import CommonUnits

# AᵀA (R, R), Aᵀy (R, Q) and Σy² (Q,).
Normal = tuple[np.ndarray, np.ndarray, np.ndarray]
# The held-out rows of a fold.
Held = HeldOutFold | PredictedRows
# If a fit leaves less than this share of y, squares are summed about the fit.
NEARLY_EXACT = 1e-4


@dataclass(frozen=True)
class Scorer:
    """Scores of strengths for the outputs of one group.

    All paths are within the row space ``space``, if there is one.

    Attributes:
        select: the criterion.
        path: the path of all rows.
        varies: flags of the outputs that vary. Other outputs select nothing.
        paths: the paths of the training rows of each fold.
        held: the held-out rows of each fold.
        exact: the held-out residuals of each fold about the ``origin`` of the paths; or None.
        space: the row space, or None.
    """

    select: str | CrossValidation
    path: StrengthPath
    varies: np.ndarray
    paths: Sequence[StrengthPath] = ()
    held: Sequence[Held] = ()
    exact: Sequence[Held] | None = None
    space: RowSpace | None = None

    def coordinates(self, strengths: np.ndarray) -> np.ndarray:
        """Return the penalty's coordinates (n, R, Q) of solutions at ``strengths`` (n, Q or 1)."""
        return self._whole(self.path.coordinates(strengths))

    def correction(self, strengths: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return (AᵀA + λ·weights)⁻¹ gradient (R, Q), for λ (Q,)."""
        within = gradient if self.space is None else self.space.restrict(gradient)
        return self._whole(self.path.correction(strengths, within))

    def _whole(self, v: np.ndarray) -> np.ndarray:
        return v if self.space is None else self.space.expand(v)

    def only(self, outputs: np.ndarray) -> Scorer:
        """Return the scorer of some of the outputs."""
        exact = None if self.exact is None else [h.only(outputs) for h in self.exact]
        return Scorer(
            self.select,
            self.path.only(outputs),
            self.varies[outputs],
            [p.only(outputs) for p in self.paths],
            [h.only(outputs) for h in self.held],
            exact,
            self.space,
        )

    def folds(self, strengths: np.ndarray) -> np.ndarray | None:
        """Return the scores (k, n, Q) of every fold at ``strengths`` (n, Q) or (n, 1)."""
        if isinstance(self.select, str):
            return None
        found = []
        for i, (path, held) in enumerate(zip(self.paths, self.held, strict=True)):
            v = path.coordinates(strengths)
            about = None if self.exact is None else (self.exact[i], v - self.path.origin)
            found.append(held.scores(self.select.score, v, about))
        return np.stack(found)

    def scores(self, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return scores (n, Q) by the criterion or averaged over folds, and the scores by fold."""
        by_fold = self.folds(strengths)
        if by_fold is None:
            assert isinstance(self.select, str)
            return CRITERIA[self.select](self.path.fits(strengths)), None
        return by_fold.mean(0), by_fold

    def losses(self, scores: np.ndarray) -> np.ndarray:
        """Return losses to be minimised, comparable between outputs of any size.

        They are infinite where there is no score, and zero for outputs that do not vary.
        """
        if isinstance(self.select, CrossValidation):
            with np.errstate(divide="ignore"):
                scores = np.log(scores) if self.select.score == "mse" else -scores
        found = np.nan_to_num(scores, nan=np.inf, neginf=-np.inf)
        return np.where(self.varies, found, 0.0)


class Scoring:
    """Scorers of every group for any penalty, from sums over rows and folds formed once."""

    def __init__(self, analysis: Analysis, select: str | CrossValidation) -> None:
        assert analysis.targets is not None
        self._targets, self.design, self.select = analysis.targets, analysis.design, select
        self._spans = None
        if isinstance(select, CrossValidation):
            _check_own(select, self.design)
            self._spans = select.spans(self.design.kept)
        sums = self._source.sums
        self.varies = varying(sums.total)
        if isinstance(select, CrossValidation):
            check_varying(sums.folds, self.varies, select)
        exponents = self._targets.grouped(self._targets.exponents)
        self.units = CommonUnits(self.design.matrix.exponents, exponents)

    @cached_property
    def _source(self) -> FromMoments | FromRows:
        confounds = self.design.nuisance.confounds
        shared = confounds is not None and confounds.shared
        # The bias of all rows is projected out of rows, not the bias of the training rows.
        if few_rows(self.design.sizes) and not shared:
            return FromRows(self.design, self._targets, self._spans)
        return self._by_taps

    @cached_property
    def _by_taps(self) -> FromMoments:
        return FromMoments(self.design, self._targets, self._spans)

    def scorers(self, penalty: Penalty) -> list[Scorer]:
        """Return the scorers of every group. Sums are about a fit if the fit is nearly exact."""
        design = self.design
        coordinates = design.coordinates(penalty)
        plain = self._made(coordinates, self._source)
        least = [np.array([[s.path.least]]) for s in plain]
        fits = [s.path.fits(at) for s, at in zip(plain, least, strict=True)]
        exact = any(
            (fit.squares < NEARLY_EXACT * s.path.squares).any()
            for s, fit in zip(plain, fits, strict=True)
        )
        # If all rows determine an origin but the training rows do not, it would reveal the held-out
        # fold.
        if not exact or not all(p.unique for s in plain for p in (s.path, *s.paths)):
            return plain
        origin = np.stack([s.coordinates(at)[0] for s, at in zip(plain, least, strict=True)])
        source = self._source.about(self._residuals(coordinates, origin))
        starts = [s.path.coordinates(at)[0] for s, at in zip(plain, least, strict=True)]
        about = [(start, s.path.floor) for start, s in zip(starts, plain, strict=True)]
        made = self._made(coordinates, source, about)
        return [
            replace(scorer, held=before.held, exact=scorer.held)
            for scorer, before in zip(made, plain, strict=True)
        ]

    def _made(
        self,
        coordinates: Coordinates,
        source: FromMoments | FromRows,
        about: Sequence[tuple[np.ndarray | None, np.ndarray | None]] | None = None,
    ) -> list[Scorer]:
        """Return scorers, given the origin of each group and the rounding of residuals about it."""
        given = source.within(coordinates, self.units)
        about = [(None, None)] * len(given) if about is None else about
        several = enumerate(zip(given, about, strict=True))
        return [self._scorer(coordinates, g, *each) for g, each in several]

    def _scorer(
        self,
        coordinates: Coordinates,
        group: int,
        given: GroupSums,
        about: tuple[np.ndarray | None, np.ndarray | None],
    ) -> Scorer:
        nuisance, sums = self.design.nuisance, given.sums

        def path(moments: Moments) -> StrengthPath:
            (normal,) = self._normal(moments)
            return StrengthPath(*normal, given.weights, moments.n, nuisance.total, *about)

        several = tracked(sums.beside, "decompositions, by fold", len(sums.beside))
        paths, varies = [path(rest) for rest in several], self.varies[group]

        def taps(v: np.ndarray) -> np.ndarray:
            whole = v if given.space is None else given.space.expand(v)
            found: np.ndarray = coordinates.basis.expand(whole[None])[0]
            return found

        held = self._held(sums.held_out(0), group, taps)
        return Scorer(self.select, path(sums.total), varies, paths, held, space=given.space)

    def _held(
        self,
        held: Sequence[HeldOutFold],
        group: int,
        taps: Callable[[np.ndarray], np.ndarray],
    ) -> Sequence[Held]:
        """Return the held-out rows of one group, with predictions if a function scores them."""
        if smooth(self.select):
            return held
        units, found = (self.units.column, self.units.outputs[group]), []
        for one, rows in zip(held, self._rows, strict=True):
            (whole,) = one.parts
            found.append(PredictedRows(whole, rows.of_group(group), taps, *units))
        return found

    @cached_property
    def _rows(self) -> list[FoldRows]:
        """The rows of every fold."""
        assert self._spans is not None
        y = self._targets.in_memory
        return [FoldRows.of(self.design, y, fold) for fold in self._spans.folds]

    def normal_equations(self, coordinates: Coordinates) -> list[Normal]:
        """Return the normal equations of all rows, in some coordinates of the taps."""
        moments = self.units.common(self._by_taps.sums.total)
        return self._normal(moments.in_basis(coordinates.basis.within(self.design.span)))

    def folds(self, coordinates: Coordinates) -> list[tuple[list[Normal], list[Held]]]:
        """Return, for every fold, the training normal equations and the held-out rows by group."""
        basis = coordinates.basis.within(self.design.span)
        sums = self._by_taps.sums.each(self.units.common).each(methodcaller("in_basis", basis))

        def taps(v: np.ndarray) -> np.ndarray:
            return np.asarray(coordinates.basis.expand(v[None])[0])

        groups = range(len(sums.total.gram))
        by_group = [self._held(sums.held_out(g), g, taps) for g in groups]
        held = map(list, zip(*by_group, strict=True))
        return [*zip(map(self._normal, sums.beside), held, strict=True)]

    def _normal(self, moments: Moments) -> list[Normal]:
        """Return the normal equations of every group, with the nuisance columns projected out."""
        return list(zip(*moments.eliminated(), strict=True))

    def kernel(self, coordinates: Coordinates, v: np.ndarray) -> np.ndarray:
        """Return v (G, R, Q) as a kernel (*K, Cin/groups, Cout) in the user's units."""
        w = coordinates.basis.expand(v)
        with np.errstate(over="ignore", under="ignore"):
            columns = np.ldexp(w, self.units.outputs[:, None] - self.units.column)
        return to_kernel(columns, self.design.spec.kernel_size)

    def _residuals(self, coordinates: Coordinates, v: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return y minus the prediction of v, for every record."""
        kernel, y = self.kernel(coordinates, v), self._targets.records
        fitted = predicted(
            self.design.records, kernel, np.zeros(kernel.shape[-1]), self.design.spec
        )
        return tuple(np.asarray(a) - b for a, b in zip(y, fitted, strict=True))


def smooth(select: str | CrossValidation) -> bool:
    """Return whether a criterion has a formula, and depends smoothly on the strength."""
    return isinstance(select, str) or not select.own


def _check_own(select: CrossValidation, design: Design) -> None:
    """Raise a ValueError if a function cannot score the held-out rows of a design."""
    problem = design.problem
    if select.own and (problem._weights is not None or problem._terms.given):
        raise ValueError(
            "a function as score= compares y with its prediction, so it cannot be combined with "
            "weights=, drift= or confounds="
        )
