"""Scores of every strength under one penalty: by a criterion, or by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import Coordinates, Penalty
from ..operators.fourier import predicted
from ..operators.layout import to_kernel
from ..operators.moments import Moments
from ..operators.records import Targets
from .criteria import CRITERIA
from .folds import (
    CrossValidation,
    HeldOut,
    Span,
    check_varying,
    fold_moments,
    training,
    varying,
    without_constants,
)
from .strength_path import StrengthPath

# AᵀA (R, R), Aᵀy (R, Q) and Σy² (Q,).
Normal = tuple[np.ndarray, np.ndarray, np.ndarray]
# Where a fit leaves less than this share of y, its squares are summed about that fit.
NEARLY_EXACT = 1e-4


class Units:
    """One unit 2**column for all columns, so that a strength means the same to all, and 2**outputs
    (G, Q) for the outputs: so much smaller than the user's are all values.
    """

    def __init__(self, moments: Moments) -> None:
        self.column = int(moments.exponents.max())
        self.outputs = moments.out_exponents

    def common(self, moments: Moments) -> Moments:
        """Moments in these units."""
        columns = np.full(moments.exponents.shape, self.column)
        return moments.rescaled(columns, self.outputs)

    def to_user(self, strengths: np.ndarray) -> np.ndarray:
        """Strengths in the user's units.

        Raises:
            SolveError: they lie outside float64.
        """
        with np.errstate(over="ignore", under="ignore"):
            found = np.ldexp(strengths, 2 * self.column)
        if not (np.isfinite(found).all() and found.all()):
            raise SolveError("strengths lie outside float64, as x² does; change the unit of x")
        return np.asarray(found)

    def from_user(self, strengths: np.ndarray) -> np.ndarray:
        """The inverse of `to_user`, zeros included."""
        with np.errstate(over="ignore", under="ignore"):
            found = np.ldexp(strengths, -2 * self.column)
        if not np.isfinite(found).all() or ((found == 0) != (strengths == 0)).any():
            raise SolveError(
                "a strength lies outside float64 beside x²; change it, or the unit of x"
            )
        return np.asarray(found)


@dataclass(frozen=True)
class Scorer:
    """What strengths are worth for the outputs of one group.

    ``path`` is that of all rows; ``varies`` says which outputs do, since the others choose nothing;
    ``held`` and ``paths`` are the folds and the paths of what is left
    beside each, ``exact`` those of the residuals about the ``origin`` of the paths.
    """

    select: str | CrossValidation
    path: StrengthPath
    varies: np.ndarray
    paths: Sequence[StrengthPath] = ()
    held: Sequence[HeldOut] = ()
    exact: Sequence[HeldOut] | None = None

    def only(self, outputs: np.ndarray) -> Scorer:
        """For some of the outputs."""
        exact = None if self.exact is None else [h.only(outputs) for h in self.exact]
        return Scorer(
            self.select,
            self.path.only(outputs),
            self.varies[outputs],
            [p.only(outputs) for p in self.paths],
            [h.only(outputs) for h in self.held],
            exact,
        )

    def folds(self, strengths: np.ndarray) -> np.ndarray | None:
        """Scores (k, n, Q) of every fold at ``strengths`` (n, Q) or (n, 1)."""
        if isinstance(self.select, str):
            return None
        score = self.select.score
        return np.stack([self._fold(i, strengths, score) for i in range(len(self.paths))])

    def _fold(self, i: int, strengths: np.ndarray, score: str) -> np.ndarray:
        v, held = self.paths[i].coordinates(strengths), self.held[i]
        if score == "correlation":
            return held.correlations(v)
        if self.exact is None:
            errors = held.errors(v)
        else:
            errors = self.exact[i].errors(v - self.path.origin)
        with np.errstate(divide="ignore", invalid="ignore"):
            return errors / held.rows if score == "mse" else 1 - errors / held.squares

    def scores(self, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(n, Q) by the criterion, or averaged over folds, and those of every fold."""
        by_fold = self.folds(strengths)
        if by_fold is None:
            assert isinstance(self.select, str)
            return CRITERIA[self.select](self.path.fits(strengths)), None
        return by_fold.mean(0), by_fold

    def losses(self, scores: np.ndarray) -> np.ndarray:
        """Scores as what is to be made small, alike for outputs of any size; infinite where there
        is none, and zero for outputs that do not vary.
        """
        if isinstance(self.select, CrossValidation):
            with np.errstate(divide="ignore"):
                scores = np.log(scores) if self.select.score == "mse" else -scores
        found = np.nan_to_num(scores, nan=np.inf, neginf=-np.inf)
        return np.where(self.varies, found, 0.0)


class Scoring:
    """Scorers of every group under any penalty, from moments of rows and folds summed once."""

    def __init__(self, analysis: Analysis, select: str | CrossValidation) -> None:
        assert analysis.targets is not None
        self._analysis, self.design, self.select = analysis, analysis.design, select
        self._spans = None
        if isinstance(select, CrossValidation):
            self._spans = select.spans(self.design.inputs.kept.lengths)
        self._sums = self._summed(self.design.moments, analysis.targets)
        self.varies = varying(self._sums.total, self.design.nuisance.constant)
        self._check_folds()
        self.units = Units(self._sums.total)

    def _summed(self, total: Moments, targets: Targets) -> _Sums:
        def live(moments: Moments) -> Moments:
            bias = self.design.nuisance.constant
            return without_constants(moments, total) if bias else moments

        def summed(spans: Sequence[Span]) -> Moments:
            return live(fold_moments(self.design, targets.records, spans, total))

        if self._spans is None:
            return _Sums(live(total), [], None)
        folds, rest = self._spans
        return _Sums(live(total), [*map(summed, folds)], summed(rest) if rest else None)

    def _check_folds(self) -> None:
        """Raise a ValueError where a score has no meaning."""
        if isinstance(self.select, CrossValidation):
            check_varying(self._sums.folds, self.varies, self.select.score)

    def scorers(self, penalty: Penalty) -> list[Scorer]:
        """Those of every group, y taken off a fit first where that is nearly exact."""
        design = self.design
        coordinates = penalty.coordinates(
            design.tap_lags, design.inputs.exponents.size, design.spec.groups
        )
        plain = self._made(coordinates, self._sums)
        least = [np.array([[s.path.least]]) for s in plain]
        fits = [s.path.fits(at) for s, at in zip(plain, least, strict=True)]
        exact = any(
            (fit.squares < NEARLY_EXACT * s.path.squares).any()
            for s, fit in zip(plain, fits, strict=True)
        )
        if not exact:
            return plain
        origin = np.stack([s.path.coordinates(at)[0] for s, at in zip(plain, least, strict=True)])
        targets = design.outputs(self._residuals(coordinates, origin))
        sums = self._summed(design.operator.moments(targets), targets)
        about = [(start, s.path.floor) for start, s in zip(origin, plain, strict=True)]
        return [
            replace(scorer, held=before.held, exact=scorer.held)
            for scorer, before in zip(self._made(coordinates, sums, about), plain, strict=True)
        ]

    def _made(
        self,
        coordinates: Coordinates,
        sums: _Sums,
        about: Sequence[tuple[np.ndarray | None, np.ndarray | None]] | None = None,
    ) -> list[Scorer]:
        """With the origin of each group, and what is rounding of the residuals about it."""
        basis, weights, nuisance = coordinates.basis, coordinates.weights, self.design.nuisance

        def seen(moments: Moments) -> Moments:
            return self.units.common(moments if basis is None else basis.of_moments(moments))

        def paths(moments: Moments) -> list[StrengthPath]:
            given = [(None, None)] * len(weights) if about is None else about
            return [
                StrengthPath(*normal, w, moments.n, nuisance.count, *at)
                for normal, w, at in zip(self._normal(moments), weights, given, strict=True)
            ]

        made, varies = paths(seen(sums.total)), self.varies
        if not sums.folds:
            return [Scorer(self.select, path, v) for path, v in zip(made, varies, strict=True)]
        folds = [seen(fold) for fold in sums.folds]
        rests = training(folds, None if sums.always is None else seen(sums.always))
        beside = [paths(rest) for rest in rests]
        held = [
            [HeldOut(fold, rest, g, nuisance.constant) for g in range(len(made))]
            for fold, rest in zip(folds, rests, strict=True)
        ]
        return [
            Scorer(self.select, path, varies[g], [p[g] for p in beside], [h[g] for h in held])
            for g, path in enumerate(made)
        ]

    def normal_equations(self) -> list[Normal]:
        """Those of all rows, of the taps themselves."""
        return self._normal(self.units.common(self._sums.total))

    def folds(self) -> list[tuple[list[Normal], list[HeldOut]]]:
        """For every fold the normal equations of the other rows, and its own rows, by group."""
        common, constant = self.units.common, self.design.nuisance.constant
        parts = [common(fold) for fold in self._sums.folds]
        if not parts:
            return []
        rests = training(parts, None if self._sums.always is None else common(self._sums.always))
        groups = range(len(parts[0].gram))
        return [
            (self._normal(rest), [HeldOut(part, rest, g, constant) for g in groups])
            for part, rest in zip(parts, rests, strict=True)
        ]

    def _normal(self, moments: Moments) -> list[Normal]:
        """Of every group, the nuisance columns projected out."""
        if self.design.nuisance.constant:
            (gram, cross), squares = moments.centred(), moments.centred_squares
        else:
            gram, cross, squares = moments.gram, moments.rhs, moments.out_squares
        return list(zip(gram, cross, squares, strict=True))

    def kernel(self, coordinates: Coordinates, v: np.ndarray) -> np.ndarray:
        """v (G, R, Q) as a kernel (*K, Cin/groups, Cout) in the user's units."""
        w = v if coordinates.basis is None else coordinates.basis.expand(v)
        with np.errstate(over="ignore", under="ignore"):
            columns = np.ldexp(w, self.units.outputs[:, None] - self.units.column)
        return to_kernel(columns, self.design.spec.kernel_size)

    def _residuals(self, coordinates: Coordinates, v: np.ndarray) -> tuple[np.ndarray, ...]:
        """y less the prediction of v, record by record."""
        assert self._analysis.targets is not None
        kernel, y = self.kernel(coordinates, v), self._analysis.targets.records
        x = [record.astype(float) for record in self.design.inputs.records]
        fitted = predicted(x, kernel, np.zeros(kernel.shape[-1]), self.design.spec)
        return tuple(a - b for a, b in zip(y, fitted, strict=True))


@dataclass(frozen=True)
class _Sums:
    """Moments of all rows, of every fold, and of the rows in none."""

    total: Moments
    folds: list[Moments]
    always: Moments | None
