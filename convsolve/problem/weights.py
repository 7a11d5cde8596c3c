"""Weights of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..text import count, shown
from .records import by_rows


@dataclass(frozen=True)
class Weights:
    """Square roots of the weights of all records.

    Attributes:
        roots: the root of the weight of every record, (), or the roots of the weights of its rows,
            (*T).
    """

    roots: tuple[np.ndarray, ...]

    @classmethod
    def of_squares(cls, weights: Sequence[np.ndarray]) -> Weights:
        """Return the roots of weights, () or (*T) per record. Equal weights of rows become one."""
        alike = (w.ravel()[0] if w.size and (w == w.ravel()[0]).all() else w for w in weights)
        return cls(tuple(np.sqrt(w) for w in alike))

    def some(self, which: Sequence[int]) -> Weights:
        """Return the weights of some of the records."""
        return Weights(tuple(self.roots[i] for i in which))

    @property
    def by_record(self) -> bool:
        """Whether all rows of a record have the same weight."""
        return all(root.ndim == 0 for root in self.roots)

    def of_rows(self, record: int, flags: np.ndarray) -> np.ndarray:
        """Return the roots (n,) of the rows of a record that are used in the fit."""
        return np.asarray(np.broadcast_to(self.roots[record], flags.shape)[flags])


# Smallest and largest weight. Beyond them, products with samples could leave float64.
LEAST, LARGEST = 1e-100, 1e100


def read_weights(weights: Any, like: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Return weights as arrays, () per record or (*T), for records of y of shapes ``like``.

    Raises:
        TypeError: If the weights are not real numbers.
        ValueError: If a weight is negative, not finite, or too small or too large. If the shapes
            are neither those of records nor those of rows.
    """
    alone = not isinstance(weights, (list, tuple)) and np.ndim(weights) == 0
    several = [weights] if alone else weights
    each = isinstance(several, (list, tuple, np.ndarray)) and len(several) == len(like)
    # One for each record, unless a single record has as many samples.
    if each and all(np.ndim(w) == 0 for w in several) and like != [(1,)]:
        return [_numbers(w, "weights") for w in several]
    if each and isinstance(several, (list, tuple)) and any(np.ndim(w) == 0 for w in several):
        pairs = zip(several, like, strict=True)
        several = [np.broadcast_to(w, shape) if np.ndim(w) == 0 else w for w, shape in pairs]
    found = []
    for name, one, shape in by_rows(several, "weights", like):
        values = _numbers(one, name)
        values = values[..., 0] if values.shape == (*shape, 1) else values
        if values.shape != shape:
            raise ValueError(
                f"{name} has shape {values.shape}, expected that of one channel of y, {shape}, or "
                f"a number for each of {count(len(like), 'record')}"
            )
        found.append(values)
    return found


def _numbers(value: Any, name: str) -> np.ndarray:
    """Return weights as an array."""
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be real numbers, got {shown(value)}")
    found = found.astype(float)
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative")
    beyond = found[(found > 0) & ~((found >= LEAST) & (found <= LARGEST))]
    if beyond.size:
        raise ValueError(
            f"{name} must be 0, or between {LEAST:g} and {LARGEST:g}, got {beyond[0]:g}"
        )
    return found
