"""Scores of held-out rows, from their sums or by a function of the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from ..linalg.rank import EPS
from ..operators.layout import to_kernel
from ..operators.prediction import predicted
from ..problem.problem import Problem
from ..text import shown
from .folds import CrossValidation
from .sums import Folds, Sums, Units

# A function of y (rows,) and its prediction (rows,), which returns a number.
Score = Callable[[np.ndarray, np.ndarray], Any]


class Part:
    """Rows of one group that are scored together, for kernels fitted to the ``rest`` of the rows.

    Attributes:
        own: sums of these rows.
        off, y_off: (R,) and (Q,), the means that the fitted constant does not take up.
    """

    def __init__(self, own: Sums, rest: Sums, constant: bool) -> None:
        self.own = own
        self.off = own.means - rest.means * constant
        self.y_off = own.out_means - rest.out_means * constant

    def only(self, outputs: np.ndarray) -> Part:
        """Return the rows for some of the outputs."""
        found, own = copy(self), self.own
        found.own = own._replace(cross=own.cross[:, outputs], squares=own.squares[outputs])
        found.y_off = self.y_off[outputs]
        return found

    def scores(self, score: str, v: np.ndarray) -> np.ndarray:
        """Return scores (n, Q) of kernels v (n, R, Q)."""
        spread = np.stack([np.einsum("rq,rq->q", w, self.own.gram @ w) for w in v])
        joint = np.einsum("nrq,rq->nq", v, self.own.cross)
        if score == "correlation":  # NaN for a prediction that is constant to rounding
            plain = np.maximum(spread, 0.0) + self.own.weight * np.square(self.own.means @ v)
            spread = np.where(spread > 10 * v.shape[1] * EPS * plain, spread, np.nan)
            return np.clip(self.scored(score, spread, joint, joint), -1, 1)
        return self.scored(score, spread, joint, self.y_off - self.off @ v)

    def scored(
        self, score: str, spread: np.ndarray, joint: np.ndarray, off: np.ndarray
    ) -> np.ndarray:
        """Return scores of predictions ŷ.

        Args:
            score: the score.
            spread: sums of ŷ² about the means of these rows.
            joint: sums of y·ŷ about the means of these rows.
            off: mean of y − ŷ.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            if score == "correlation":
                return np.asarray(joint / np.sqrt(spread * self.own.squares))
            errors = (
                np.maximum(self.own.squares - 2 * joint + spread, 0.0) + self.own.weight * off**2
            )
            return np.asarray(
                errors / self.own.mass if score == "mse" else 1 - errors / self.own.squares
            )

    def slope(self, score: str, w: np.ndarray) -> np.ndarray:
        """Return the derivative (R,) of the score of a kernel (R,) of a single output."""
        own = self.own
        applied, cross, squares = own.gram @ w, own.cross[:, 0], own.squares[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            if score == "correlation":
                spread, joint = w @ applied, w @ cross
                return np.asarray((cross - joint / spread * applied) / np.sqrt(spread * squares))
            off = self.y_off[0] - self.off @ w
            found = 2 * (applied - cross - own.weight * off * self.off)
            return np.asarray(found / own.mass if score == "mse" else -found / squares)


class HeldOut:
    """Held-out rows of one group, in parts whose scores are averaged."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts

    def only(self, outputs: np.ndarray) -> HeldOut:
        """Return the rows for some of the outputs."""
        return HeldOut([part.only(outputs) for part in self.parts])

    def scores(self, score: str, v: np.ndarray) -> np.ndarray:
        """Return mean scores (n, Q) of kernels v (n, R, Q)."""
        return np.asarray(np.mean([part.scores(score, v) for part in self.parts], axis=0))

    def slope(self, score: str, w: np.ndarray) -> np.ndarray:
        """Return the derivative (R,) of the mean score of a kernel (R,) of a single output."""
        return np.asarray(np.mean([part.slope(score, w) for part in self.parts], axis=0))


class PredictedFold:
    """Held-out rows of one group, which are predicted and scored by a function.

    Args:
        held: the same rows, for the mean of a prediction.
        rows: the rows as a problem.
        taps: function that returns kernels (P, k) for coordinates (R, k).
        units: units of the columns and the outputs.
        group: the group.
    """

    def __init__(
        self,
        held: Part,
        rows: Problem,
        taps: Callable[[np.ndarray], np.ndarray],
        units: Units,
        group: int,
    ) -> None:
        self._held, self._taps, self._column = held, taps, units.column
        self._outputs, groups = units.outputs[group], rows.spec.groups
        self._spec, y = replace(rows.spec, groups=1), rows.y
        assert y is not None
        flags = [rows._kept.flags_of(i) for i in range(len(y))]
        self._x = [np.split(np.asarray(a), groups, axis=-1)[group] for a in rows.x]
        several = [np.split(np.asarray(a, float), groups, axis=-1)[group] for a in y]
        self._flags, self._y = flags, [a[f] for a, f in zip(several, flags, strict=True)]
        for values in self._y:  # the user's function must not change them
            values.flags.writeable = False

    def only(self, outputs: np.ndarray) -> PredictedFold:
        """Return the rows for some of the outputs."""
        found = copy(self)
        found._held, found._outputs = self._held.only(outputs), self._outputs[outputs]
        found._y = [a[:, outputs] for a in self._y]
        return found

    def scores(self, score: Score, v: np.ndarray) -> np.ndarray:
        """Return the mean scores (n, Q) over records of kernels v (n, R, Q)."""
        n, size, outputs = v.shape
        w = self._taps(v.transpose(1, 0, 2).reshape(size, n * outputs))
        with np.errstate(over="ignore", under="ignore"):
            columns = np.ldexp(w, np.tile(self._outputs - self._column, n))
        kernel = to_kernel(columns[None], self._spec.kernel_size)
        several = predicted(self._x, kernel, np.zeros(n * outputs), self._spec)
        pairs = zip(several, self._flags, strict=True)
        fitted = [a[flags].reshape(-1, n, outputs) for a, flags in pairs]
        # The constant follows from the mean residual of these rows, which the sums give.
        left = np.ldexp(self._held.y_off - self._held.off @ v, self._outputs)
        mean, own = (np.concatenate(each).mean(0) for each in (self._y, fitted))
        parts = [
            [[value_of(score, b[:, q], a[:, i, q]) for q in range(outputs)] for i in range(n)]
            for b, a in zip(self._y, (a + (mean - left - own) for a in fitted), strict=True)
        ]
        return np.asarray(np.mean(parts, axis=0))


# The held-out rows of a fold.
Held = HeldOut | PredictedFold


def check_varying(
    sums: Folds, origin: np.ndarray, varies: np.ndarray, select: CrossValidation
) -> None:
    """Raise a ValueError if y does not vary in a part of a fold, so that its score is undefined.

    Means of outputs are about their ``origin`` (G, Q). Outputs that vary nowhere need no score.
    """
    if select.score not in ("r2", "correlation"):
        return
    for i, fold in enumerate(sums.parts):
        for part in fold:
            plain = part.squares + part.weight * (part.out_means + origin) ** 2
            if (varies & ~(part.squares > (8 * EPS) ** 2 * plain)).any():
                where = "a record of fold" if select.average == "records" else "fold"
                raise ValueError(f"{where} {i} has no {select.score}, since its y does not vary")


def check_scored(score: Score, values: np.ndarray) -> None:
    """Raise a ValueError if the scores (n, Q) of all n strengths are NaN for an output."""
    if np.isnan(values).all(0).any():
        name = getattr(score, "__name__", shown(score))
        raise ValueError(
            f"score={name} returned NaN for every strength, so none can be selected; return a "
            "number for the rows of every record of every fold"
        )


def value_of(score: Score, y: np.ndarray, prediction: np.ndarray) -> float:
    """Return the score as a number; NaN for a prediction that is not finite."""
    if not np.isfinite(prediction).all():
        return np.nan
    found = score(y, np.ascontiguousarray(prediction))
    try:
        return float(found)
    except (TypeError, ValueError):
        raise TypeError(f"score must return a number, got {shown(found)}") from None
