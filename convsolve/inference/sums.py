"""Sums over the rows of folds, and scores of held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from operator import add
from typing import Any, NamedTuple

import numpy as np

from ..leastsquares.design import Design
from ..linalg.lapack import diagonals
from ..linalg.rank import EPS
from ..operators.design_matrix import Targets
from ..operators.layout import TapBasis
from ..problem.rows import Span
from ..progress import tracked
from .folds import CrossValidation, Spans, beside

# AᵀA (R, R), Aᵀy (R, Q) and Σy² (Q,) of one group.
Normal = tuple[np.ndarray, np.ndarray, np.ndarray]


class Units(NamedTuple):
    """Strengths belong to columns in units of 2**column, and outputs (G, Q) are in 2**outputs."""

    column: int
    outputs: np.ndarray

    def to_user(self, strengths: np.ndarray, power: int | None = None) -> np.ndarray:
        """Return strengths in the user's units, given in 2**power, by default the units of x²."""
        return np.ldexp(strengths, 2 * self.column if power is None else power)

    def from_user(self, strengths: np.ndarray, power: int | None = None) -> np.ndarray:
        """Return the inverse of `to_user`."""
        return np.ldexp(strengths, -2 * self.column if power is None else -power)


class Sums(NamedTuple):
    """Sums over rows (a, y) of every group about their means; ``+`` joins rows.

    Confounds are projected out of the columns, of the outputs and of the constant. The arrays of a
    single group have no axis of groups.

    Attributes:
        gram: AᵀA (G, R, R).
        cross: AᵀY (G, R, Q).
        squares: Σy² (G, Q).
        means: means (G, R) of the columns.
        out_means: means (G, Q) of the outputs.
        weight: the square of the norm of the constant, the number of rows without weights.
        mass: sum of the weights of the rows.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray
    means: np.ndarray
    out_means: np.ndarray
    weight: float
    mass: float

    @classmethod
    def of(cls, design: Design, basis: TapBasis) -> Sums:
        """Return the sums of all rows of a design with a bias, for the columns A T of a basis."""
        matrix, plan, y = design.matrix, design.matrix.plan, design.matrix.given
        known, norm, confounds = matrix.outputs_of(y), plan.norm or 1.0, plan.confounds
        means = matrix.shift + matrix.constant_fit + matrix.nuisance_products[:, -1] / norm
        means = basis.restrict(means[..., None])[..., 0] * plan.constant
        out_means = y.grouped(y.signal.unit.shift) + known.of_n[:, -1] * known.live / norm
        sums = basis.of_gram(matrix.gram()), basis.restrict(known.rhs), known.squares
        mass = plan.rows if confounds is None else confounds.total_weight
        return cls(*sums, means, out_means * plan.constant, norm**2 * plan.constant, mass)

    @classmethod
    def of_rows(cls, a: np.ndarray, y: np.ndarray) -> Sums:
        """Return the sums of rows a (G, n, R) and y (G, n, Q)."""
        means, out_means, n = a.mean(1), y.mean(1), a.shape[1]
        a, y = a - means[:, None], y - out_means[:, None]
        at = a.swapaxes(1, 2)
        return cls(at @ a, at @ y, np.square(y).sum(1), means, out_means, n, n)

    def __add__(self, other: Sums) -> Sums:  # type: ignore[override]
        d, e = other.means - self.means, other.out_means - self.out_means
        weight = self.weight + other.weight
        share = other.weight / weight if weight else 0.0
        down = share * self.weight * d[:, :, None]
        gram = self.gram + other.gram + down * d[:, None]
        cross = self.cross + other.cross + down * e[:, None]
        squares = self.squares + other.squares + share * self.weight * e**2
        means = self.means + share * d, self.out_means + share * e
        return Sums(gram, cross, squares, *means, weight, self.mass + other.mass)

    def moved(self, basis: TapBasis, scale: np.ndarray) -> Sums:
        """Return the sums of the columns A T, times ``scale`` (G, R), without those of rounding."""
        norms, gram = np.sqrt(np.maximum(diagonals(self.gram), 0.0)), basis.of_gram(self.gram)
        # The rounding error of a square of a sum is relative to the squares of its terms.
        rounding = 10 * norms.shape[1] * EPS * np.square(basis.largest_norms(norms))
        live = scale * (diagonals(gram) >= rounding)
        return self._replace(
            gram=gram * live[:, :, None] * live[:, None],
            cross=basis.restrict(self.cross) * live[..., None],
            means=basis.restrict(self.means[..., None])[..., 0] * scale,
        )

    def of_group(self, group: int) -> Sums:
        """Return the sums of one group."""
        return Sums._make([*(a[group] for a in self[:5]), *self[5:]])

    def of_outputs(self, some: np.ndarray) -> Sums:
        """Return the sums of some outputs of every group, which may be repeated."""
        cross, squares, means = (a[..., some] for a in (self.cross, self.squares, self.out_means))
        return self._replace(cross=cross, squares=squares, out_means=means)

    def normal(self, constant: bool) -> Normal:
        """Return the normal equations, with or without a constant that is fitted."""
        weight, y = self.weight * (not constant), self.out_means
        down = weight * self.means[..., :, None]
        gram = self.gram + down * self.means[..., None, :]
        return gram, self.cross + down * y[..., None, :], self.squares + weight * y**2


class FoldSums(NamedTuple):
    """Sums of the ``parts`` of every fold that are scored together, and of its training rows."""

    parts: list[list[Sums]]
    rest: list[Sums]

    def each(self, of: Callable[[Sums], Sums]) -> FoldSums:
        """Apply a function to all sums."""
        return FoldSums([[*map(of, own)] for own in self.parts], [*map(of, self.rest)])


def part(design: Design, targets: Targets, spans: Sequence[Span]) -> Design:
    """Return the design of some rows with a bias, in the units of the whole design."""
    whole, x = design.problem, design.matrix.data.x
    assert whole._output is not None
    largest, y_largest = (np.ldexp(1.0, e) for e in (x.unit.exponents, targets.exponents))
    y = whole._output._replace(arrays=tuple(targets.records), largest=y_largest)
    found = whole._replace(
        _input=whole._input._replace(arrays=tuple(design.records), largest=largest),
        _output=y,
        bias=True,
    )
    return Design(found.of_rows(spans), design.sizes.limits)


def fold_sums(spans: Spans | None, of: Callable[..., Sums], confounded: bool = False) -> FoldSums:
    """Return the sums of folds, given a function of a list of spans. There may be no folds.

    Training rows are sums of other folds, by prefix and suffix sums. The total minus a large fold
    would have lost the digits of the other folds.
    """
    if spans is None:
        return FoldSums([], [])
    parts = [[*map(of, own)] for own in tracked(spans.parts, "sums over folds", len(spans.folds))]
    if spans.cut and confounded:
        # All training rows of a record have the same confounds, which sums of folds would not have.
        return FoldSums(parts, [of(beside(spans.folds, i, [])) for i in range(len(parts))])
    every = [reduce(add, own) for own in parts] + ([of(spans.rest)] if spans.rest else [])
    ahead, behind = [*accumulate(every)], [*accumulate(every[::-1])][::-1]
    both = (ahead[max(i - 1, 0) : i] + behind[i + 1 : i + 2] for i in range(len(parts)))
    return FoldSums(parts, [reduce(add, own) for own in both])


# --- scores of held-out rows


class HeldOut:
    """Held-out rows of one group, in parts whose scores are averaged.

    Attributes:
        parts: sums of the rows of every part, about the constant that was fitted to other rows.
    """

    def __init__(self, parts: Sequence[Sums], rest: Sums, constant: bool) -> None:
        """Store sums, less the means of the ``rest`` of the rows if a constant is fitted."""
        off, y_off = rest.means * constant, rest.out_means * constant
        self.parts = [
            own._replace(means=own.means - off, out_means=own.out_means - y_off) for own in parts
        ]

    def scores(self, score: Any, v: np.ndarray) -> np.ndarray:
        """Return mean scores (n, Q) of kernels v (n, R, Q)."""
        return np.asarray(np.mean([_scores(own, score, v) for own in self.parts], axis=0))

    def valued(self, score: str, w: np.ndarray, output: int) -> tuple[float, np.ndarray]:
        """Return the mean score of a kernel (R,) of an output, and its derivative (R,)."""
        several = [_valued(own, score, w, output) for own in self.parts]
        values, slopes = zip(*several, strict=True)
        return float(np.mean(values)), np.mean(slopes, axis=0)


def _scores(own: Sums, score: str, v: np.ndarray) -> np.ndarray:
    spread = np.stack([np.einsum("rq,rq->q", w, own.gram @ w) for w in v])
    joint, off = np.einsum("nrq,rq->nq", v, own.cross), own.means @ v
    if score == "correlation":  # NaN for a prediction that is constant to rounding
        plain = np.maximum(spread, 0.0) + own.weight * np.square(off)
        spread = np.where(spread > 10 * v.shape[1] * EPS * plain, spread, np.nan)
    return scored(own, score, spread, joint, own.out_means - off)


@np.errstate(divide="ignore", invalid="ignore")
def scored(
    own: Sums, score: str, spread: np.ndarray, joint: np.ndarray, off: np.ndarray
) -> np.ndarray:
    """Return scores of predictions ŷ of rows, NaN for R² and correlation if y does not vary.

    Args:
        own: sums of the rows.
        score: the score.
        spread: sums of ŷ² about the means of the rows.
        joint: sums of y·ŷ about the means of the rows.
        off: mean of y − ŷ.
    """
    plain = own.squares + own.weight * own.out_means**2
    squares = np.where(own.squares > (8 * EPS) ** 2 * plain, own.squares, np.nan)
    if score == "correlation":
        return np.clip(joint / np.sqrt(spread * squares), -1, 1)
    errors = np.maximum(own.squares - 2 * joint + spread, 0.0) + own.weight * off**2
    return errors / own.mass if score == "mse" else 1 - errors / squares


def _valued(own: Sums, score: str, w: np.ndarray, output: int) -> tuple[float, np.ndarray]:
    applied, cross, squares = own.gram @ w, own.cross[:, output], own.squares[output]
    spread, joint, off = w @ applied, w @ cross, own.out_means[output] - own.means @ w
    if score == "correlation":
        size = np.sqrt(spread * squares)
        return joint / size, (cross - joint / spread * applied) / size
    errors = squares - 2 * joint + spread + own.weight * off**2
    slope = 2 * (applied - cross - own.weight * off * own.means)
    if score == "mse":
        return errors / own.mass, slope / own.mass
    return 1 - errors / squares, -slope / squares


class Predicted(HeldOut):
    """Held-out rows of one group, which are predicted and scored by a function.

    Args:
        held: the same rows, for the mean of a prediction.
        design: the design of these rows.
        group: the group.
        taps: function that returns kernels (P, k) for coordinates (R, k).
    """

    def __init__(self, held: HeldOut, design: Design, group: int, taps: Any) -> None:
        self.parts, self._matrix, self._group, self._taps = held.parts, design.matrix, group, taps
        targets, order = design.matrix.given, design.matrix.plan.in_time
        self._order, self._ends = order, np.cumsum(design.kept.sizes)[:-1]
        self._exponents = targets.grouped(targets.exponents)[group]
        self._y = np.ldexp(design.matrix.output_rows(targets, group)[order], self._exponents)
        self._y.flags.writeable = False  # the user's function must not change them

    def scores(self, score: Any, v: np.ndarray) -> np.ndarray:
        """Return the mean scores (n, Q) over records of kernels v (n, R, Q)."""
        n, size, outputs = v.shape
        (own,) = self.parts
        w = self._taps(v.transpose(1, 0, 2).reshape(size, n * outputs))
        fitted = self._matrix.forward(self._group, w)[self._order].reshape(-1, n, outputs)
        # The mean residual follows from the sums, in which rows are about their means.
        level = self._y.mean(0) - np.ldexp(own.out_means - own.means @ v, self._exponents)
        fitted = np.ldexp(fitted, self._exponents) + level
        records = zip(*(np.split(a, self._ends) for a in (self._y, fitted)), strict=True)
        values = [
            [[float(score(y[:, q], p[:, i, q].copy())) for q in range(outputs)] for i in range(n)]
            for y, p in records
            if len(y)
        ]
        return np.asarray(np.mean(values, axis=0))


def check_scored(select: CrossValidation, by_fold: np.ndarray, varies: np.ndarray) -> None:
    """Raise a ValueError if an output that varies has no mean score of (folds, n, Q)."""
    if (np.isnan(by_fold.mean(0)).all(0) & varies).any():
        fold = int(np.isnan(by_fold[..., varies]).sum((1, 2)).argmax())
        why = "the function returned NaN" if select.own else "y does not vary in its rows"
        raise ValueError(f"fold {fold} has no {select.criterion}, because {why}")
