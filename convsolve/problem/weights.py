"""How much every row counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..text import count, shown


@dataclass(frozen=True)
class Weights:
    """Of every record the square root of its weight, a number, or of those of its rows, (*T)."""

    roots: tuple[np.ndarray, ...]

    @classmethod
    def of_squares(cls, weights: Sequence[np.ndarray]) -> Weights:
        """From the weights, () or (*T) each; those of rows that are all alike are the record's."""
        alike = (w.ravel()[0] if w.size and (w == w.ravel()[0]).all() else w for w in weights)
        return cls(tuple(np.sqrt(w) for w in alike))

    def some(self, which: Sequence[int]) -> Weights:
        """Those of some of the records."""
        return Weights(tuple(self.roots[i] for i in which))

    @property
    def by_record(self) -> bool:
        """Whether all rows of a record weigh the same."""
        return all(root.ndim == 0 for root in self.roots)

    def of_rows(self, record: int, flags: np.ndarray) -> np.ndarray:
        """Roots (n,) of the rows of a record that count."""
        return np.asarray(np.broadcast_to(self.roots[record], flags.shape)[flags])


def read_weights(weights: Any, like: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Weights as arrays, () of a record or (*T) of its rows, for records of y of shapes ``like``.

    Raises:
        TypeError, ValueError: they are no numbers, negative or not finite; or shaped neither as
            records nor as rows.
    """
    whole, records = _numbers(weights), len(like)
    if whole is not None and records > 1 and whole.shape == (records,):
        return [np.array(w) for w in whole]
    if isinstance(weights, (list, tuple)) and any(np.ndim(w) for w in weights):
        several = [*weights]
    elif whole is not None and whole.shape == (records, *like[0]):
        several = [*whole]
    else:
        several = [weights]
    if len(several) != records:
        raise ValueError(
            f"weights must be a number for each of {count(records, 'record')}, or shaped as one "
            f"channel of y; got {shown(weights)}"
        )
    found = []
    for i, (one, shape) in enumerate(zip(several, like, strict=True)):
        values, name = _numbers(one), f"weights[{i}]" if len(like) > 1 else "weights"
        if values is None or values.shape != shape:
            got = shown(one) if values is None else f"shape {values.shape}"
            raise ValueError(
                f"{name} must be numbers shaped as one channel of y, {shape}, got {got}"
            )
        found.append(values)
    return found


def _numbers(value: Any) -> np.ndarray | None:
    """An array of weights, or None of what is none."""
    try:
        found = np.asarray(value)
    except ValueError:  # records of unequal length
        return None
    if found.dtype == object:
        return None
    if found.dtype.kind not in "biuf":
        raise TypeError(f"weights must be real numbers, got {shown(value)}")
    found = found.astype(float)
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError("weights must be finite and not negative; 0 leaves a row out")
    return found
