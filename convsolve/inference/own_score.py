"""Held-out scores by a function of y and its prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..leastsquares.design import Design
from ..operators.layout import to_kernel
from ..operators.prediction import predicted
from ..operators.windows import formed, slices
from ..problem.rows import Span
from ..problem.spec import ConvSpec
from ..text import shown
from .folds import HeldOut

# A function of y (rows,) and its prediction (rows,), which returns a number.
Score = Callable[[np.ndarray, np.ndarray], Any]


class FoldRows(NamedTuple):
    """The rows of the records of a fold.

    Attributes:
        x: the records ``(*W, Cin)``, in the normal form of ``spec``.
        y: the outputs (rows, Cout) that are used in the fit.
        flags: the flags ``(*T)`` of these rows; None for all rows.
        spec: the geometry.
    """

    x: list[np.ndarray]
    y: list[np.ndarray]
    flags: list[np.ndarray]
    spec: ConvSpec

    @classmethod
    def of(cls, design: Design, y: Sequence[np.ndarray], fold: Sequence[Span]) -> FoldRows:
        """Return the rows of a fold of a design and records ``y``, all of which are in memory."""
        spec, records = design.spec, design.records_in_memory
        x = [_samples(records[i], spec, a, b) for i, a, b in fold]
        flags = [*map(design.kept.of_span, fold)]
        pairs = zip(fold, flags, strict=True)
        rows = [_used(np.asarray(y[i][a:b], float), f) for (i, a, b), f in pairs]
        for values in rows:  # of the user, whose function must not change them
            values.flags.writeable = False
        return cls(x, rows, flags, design.spec._normal)

    def of_group(self, group: int) -> FoldRows:
        """Return the channels and outputs of one group."""
        groups = self.spec.groups
        x = [np.split(a, groups, axis=-1)[group] for a in self.x]
        y = [np.split(a, groups, axis=-1)[group] for a in self.y]
        return FoldRows(x, y, self.flags, replace(self.spec, groups=1))

    def predicted(self, kernel: np.ndarray) -> list[np.ndarray]:
        """Return the predictions (rows, Cout) of every record, without a constant."""
        several = predicted(self.x, kernel, np.zeros(kernel.shape[-1]), self.spec)
        return [_used(a, f) for a, f in zip(several, self.flags, strict=True)]


def _samples(record: np.ndarray, spec: ConvSpec, first: int, last: int) -> np.ndarray:
    """Return the samples, in normal form, that some rows of a record read."""
    lengths = record.shape[:-1]
    read = np.concatenate([record[part] for part in slices(lengths, spec, first, last)])
    return formed(read[None], lengths, spec, first, last)[0]


def _used(values: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return the rows (rows, Cout) that are used of values (*T, Cout)."""
    return values[flags]


class PredictedRows:
    """Held-out rows of one group, which are predicted and scored by a function.

    Args:
        held: the same rows, for the mean of a prediction.
        rows: the rows.
        taps: function that returns kernels (P, k) for coordinates (R, k).
        column, outputs: powers of two, the units of the columns and of the outputs (Q,).
    """

    def __init__(
        self,
        held: HeldOut,
        rows: FoldRows,
        taps: Callable[[np.ndarray], np.ndarray],
        column: int,
        outputs: np.ndarray,
    ) -> None:
        self._held, self._rows, self._taps = held, rows, taps
        self._column, self._outputs = column, outputs

    def only(self, outputs: np.ndarray) -> PredictedRows:
        """Return the rows for some of the outputs."""
        found = copy(self)
        found._held = self._held.only(outputs)
        found._rows = self._rows._replace(y=[a[:, outputs] for a in self._rows.y])
        found._outputs = self._outputs[outputs]
        return found

    def scores(self, score: Score, v: np.ndarray, about: Any = None) -> np.ndarray:
        """Return the mean scores (n, Q) over records of kernels v (n, R, Q)."""
        n, size, outputs = v.shape
        w = self._taps(v.transpose(1, 0, 2).reshape(size, n * outputs))
        with np.errstate(over="ignore", under="ignore"):
            columns = np.ldexp(w, np.tile(self._outputs - self._column, n))
        fitted = self._rows.predicted(to_kernel(columns[None], self._rows.spec.kernel_size))
        fitted = [a.reshape(len(a), n, outputs) for a in fitted]
        # The constant follows from the mean residual of these rows, which the moments give.
        left = np.ldexp(self._held.y_off - self._held.off @ v, self._outputs)
        means = (np.concatenate(each).mean(0) for each in (self._rows.y, fitted))
        constant = next(means) - left - next(means)
        parts = [
            [[value_of(score, b[:, q], a[:, i, q]) for q in range(outputs)] for i in range(n)]
            for b, a in zip(self._rows.y, (a + constant for a in fitted), strict=True)
        ]
        return np.asarray(np.mean(parts, axis=0))


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
