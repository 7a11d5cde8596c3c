"""Polynomials in time that are subtracted from records, which are read some rows at a time.

The polynomials that confounds span are subtracted from x and y first. Otherwise their size would
cost the digits of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from typing import Any, NamedTuple, Self

import numpy as np

from ..cached import cached_property
from ..errors import SolveError
from ..problem.polynomials import EPS, Polynomials, fitted, used_range
from ..problem.rows import Rows, samples_read
from ..problem.spec import ConvSpec
from ..problem.stored import not_finite_any_more
from .totals import Chunk
from .windows import recorded_samples

# Coefficients of polynomials are rounded to a few eps of the size of the polynomials. A remainder
# of this many eps or more is hardly changed.
RELIABLE = 1e4


@dataclass(frozen=True, eq=False)
class AdjustedSlice:
    """Samples (n, *L, C) of a record, adjusted for polynomials, weights and confounds.

    Polynomials in time are subtracted, the result is multiplied by the root of a weight, and the
    fit of the confounds is subtracted. The samples are read on demand.

    Attributes:
        record: the samples.
        start: index of the first sample along the first axis of the range of the polynomials.
        shape: shape (*L) of that range.
        degree: degree of the polynomials.
        coefficients: coefficients (J, C) of polynomials, which are subtracted one after the other.
        root: root of the weight, () or (n, *L).
        flags: rows to which the columns of the confounds belong.
        columns: columns (k, q) of the confounds, or None.
        fit: coefficients (q, C) of the columns that are subtracted, or None.
    """

    record: Any
    start: int
    shape: tuple[int, ...]
    degree: int
    coefficients: Sequence[np.ndarray]
    root: np.ndarray
    flags: np.ndarray | None = None
    columns: np.ndarray | None = None
    fit: np.ndarray | None = None

    def read(self) -> Self:
        """Return the same object with its samples in memory."""
        return replace(self, record=np.asarray(self.record))

    @property
    def selections(self) -> list[Any]:
        """The arrays that are read."""
        return [self.record]

    @property
    def hollow(self) -> Self:
        """The same object without the record."""
        return replace(self, record=None)

    def assembled(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return the samples, given the `selections` as arrays."""
        found = np.asarray(parts[0], float)
        if self.coefficients:
            trend = Polynomials.of(self.shape, self.degree, self.start, self.start + len(found))
            with np.errstate(over="ignore", invalid="ignore"):  # in samples that no row reads
                for each in self.coefficients:
                    found = trend.subtract(found, each)
        found = found * (self.root[..., None] if self.root.ndim else self.root)
        if self.columns is not None and self.fit is not None:
            kept = np.ones(found.shape[:-1], bool) if self.flags is None else self.flags
            found[kept] -= self.columns @ self.fit
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.assembled([np.asarray(self.record)])
        return found if dtype is None else found.astype(dtype, copy=False)


# --- the polynomials that are subtracted


class UsedRows(NamedTuple):
    """The range of rows of a record that are used in the fit, in which polynomials are scaled.

    Attributes:
        first: the first row along the first axis.
        shape: shape (*T) of the range, with all rows along the other axes.
    """

    first: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, kept: Rows, record: int) -> UsedRows:
        """Return the range of one record."""
        rows = used_range(kept.flags_of(record))[0]
        return cls(rows.start, (rows.stop - rows.start, *kept.shapes[record][1:]))


@dataclass(frozen=True)
class Drifts:
    """Products of polynomials V in time with the samples of records.

    Attributes:
        grams, crosses: VᵀV (J, J) and Vᵀx (J, C) by record.
        samples: number of samples.
        remainder: norm (C,) of the samples after a fit of V to every chunk. It is a lower bound of
            the norm after the fit to whole records.
    """

    grams: dict[int, np.ndarray]
    crosses: dict[int, np.ndarray]
    samples: int
    remainder: np.ndarray

    def __add__(self, other: Drifts) -> Drifts:
        return Drifts(
            _added(self.grams, other.grams),
            _added(self.crosses, other.crosses),
            self.samples + other.samples,
            np.hypot(self.remainder, other.remainder),
        )

    def shared(self) -> Drifts:
        """Return the sums for one polynomial that is fitted to all records."""
        grams, crosses = (
            reduce(_added, [{0: of_record} for of_record in several.values()])[0]
            for several in (self.grams, self.crosses)
        )
        of_all = dict.fromkeys(self.grams, grams), dict.fromkeys(self.crosses, crosses)
        return Drifts(*of_all, self.samples, self.remainder)

    @cached_property
    def coefficients(self) -> dict[int, np.ndarray]:
        """Coefficients (J, C) of every record."""
        return {i: fitted(gram, self.crosses[i]) for i, gram in self.grams.items()}

    @property
    def size(self) -> np.ndarray:
        """Root mean square (C,) of everything that is subtracted."""
        return self._size(0)

    @property
    def trend_size(self) -> np.ndarray:
        """Root mean square (C,) of everything that is subtracted except the constants."""
        return self._size(1)

    @property
    def accurate(self) -> bool:
        """Whether the rounding error of the coefficients is small compared with the remainder."""
        rounding = RELIABLE * EPS * self.size * math.sqrt(self.samples)
        return bool((self.remainder >= rounding).all())

    def _size(self, first: int) -> np.ndarray:
        """Return the root mean square (C,) of the polynomials from coefficient ``first`` on."""
        largest = np.max([np.abs(c).max(0, initial=0.0) for c in self.coefficients.values()], 0)
        unit = np.where(largest > 0, largest, 1.0)
        total = np.zeros(unit.shape)
        for i, coefficients in self.coefficients.items():
            scaled = coefficients[first:] / unit
            total += np.einsum("jc,jk,kc->c", scaled, self.grams[i][first:, first:], scaled)
        return unit * np.sqrt(np.maximum(total, 0.0) / max(self.samples, 1))


def _added(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    found = dict(a)
    for i, value in b.items():
        _add(found, i, value)
    return found


def _add(total: dict[int, np.ndarray], record: int, value: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        total[record] = total[record] + value if record in total else value
    if not np.isfinite(total[record]).all():
        raise sums_beyond_float64()


def drifts(
    chunk: Chunk,
    degree: int,
    spec: ConvSpec,
    used: Sequence[UsedRows],
    lengths: Sequence[Any] | None,
    turn: tuple[int, ...],
    before: Sequence[np.ndarray] = (),
) -> Drifts:
    """Sum the products of polynomials with the recorded samples that the rows of a chunk read.

    ``used`` are the rows of every record. ``lengths`` are the lengths (*W) of x, or None to use the
    samples of y. Polynomials with the coefficients ``before`` of every record are subtracted first.
    """
    grams: dict[int, np.ndarray] = {}
    crosses: dict[int, np.ndarray] = {}
    samples, remainder = 0, np.zeros((chunk.x or chunk.y or ())[0].shape[-1])
    known = cache(Polynomials.of)  # equal records have the same polynomials
    for j, (i, start, stop) in enumerate(chunk.spans):
        flags = np.ones((stop - start, *used[i].shape[1:]), bool)
        flags = flags if chunk.flags is None else chunk.flags[j]
        if lengths is None:
            assert chunk.y is not None
            values, shape = np.asarray(chunk.y[j], float), used[i].shape
            first = start - used[i].first
        else:
            values, flags = np.asarray(chunk.x[j], float), samples_read(flags, spec)
            flags &= recorded_samples(lengths[i], spec, turn, start, stop)
            first = (start - used[i].first) * spec.stride[0]
            shape = extent(spec, used[i].shape)
        trend = known(shape, degree, first, first + len(values))
        v = trend.columns[flags]
        _add(grams, i, v.T @ v)
        with np.errstate(over="ignore", invalid="ignore"):
            values = trend.subtract(values, before[i]) if before else values
            cross = v.T @ values[flags]
        if not np.isfinite(cross).all():
            raise no_sums([values])
        _add(crosses, i, cross)
        samples += len(v)
        remainder = np.hypot(
            remainder, _norms(_less_fit(values, flags, known(flags.shape, degree)))
        )
    return Drifts(grams, crosses, samples, remainder)


def _less_fit(values: np.ndarray, flags: np.ndarray, trend: Polynomials) -> np.ndarray:
    """Return the flagged values (n, C) minus the fit of polynomials of their own range."""
    v = trend.columns[flags]
    left = values[flags] - values[flags].mean(0, keepdims=True) if len(v) else values[flags]
    return np.asarray(left - v @ fitted(v.T @ v, v.T @ left))


def _norms(values: np.ndarray) -> np.ndarray:
    """Return norms (C,) of the columns of values (n, C), of any size."""
    largest = np.abs(values).max(0, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    return np.asarray(unit * np.linalg.norm(values / unit, axis=0))


def extent(spec: ConvSpec, rows: Sequence[int]) -> tuple[int, ...]:
    """Return the shape (*E) of a record in normal form that has ``rows`` (*T)."""
    axes = zip(rows, spec.stride, spec.span, strict=True)
    return tuple((t - 1) * s + n for t, s, n in axes)


def no_sums(records: Iterable[Any]) -> Exception:
    """Return the exception for records whose sums are not finite."""
    finite = all(np.isfinite(np.asarray(a)).all() for a in records)
    return sums_beyond_float64() if finite else not_finite_any_more()


def sums_beyond_float64() -> SolveError:
    """Return the exception for finite numbers whose sums are not finite."""
    return SolveError(
        "sums of x or y leave the range of float64; give them in units that make them smaller"
    )
