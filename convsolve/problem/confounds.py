"""Nuisance columns of every record: intercepts, drifts and other confounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..cached import cached_property
from ..text import shown
from .channels import largest
from .checks import integer
from .polynomials import EPS, Polynomials, used_range
from .records import Records, read, stacked
from .rows import Rows, Span
from .spec import ConvSpec
from .trends import (
    beyond_rounding,
    kept_samples,
    scaled_back,
    sum_of_squares,
    without_trends,
)
from .weights import Weights

# A column is rounding if the part that other columns do not span is below this share of it.
SPANNED = 1e-10
# A fit with at most this share of the squares has a negligible rounding error.
SMALL_FIT = 1e-4
# Inner products of normalized columns with a condition number below this cost no digit.
WELL_CONDITIONED = 10.0
# Above this condition number of the inner products, extended precision loses the digits of a span.
NEARLY_COLLINEAR = 1e5
# Bases of at most so many rows are kept in extended precision. Few rows, of which a drift explains
# nearly all, would otherwise have a rounding error that exceeds the rest of a column.
FEW_ROWS = 256
# Highest degree of a drift. A polynomial of a higher degree would follow the response.
MOST_DEGREES = 20


def read_confounds(confounds: Any, spec: ConvSpec) -> int | Records:
    """Read confounds as the degree of a polynomial, or as columns (*T, J) of every record.

    Raises:
        TypeError, ValueError: If ``confounds`` is not "intercept", a degree, or arrays of finite
            numbers.
    """
    if isinstance(confounds, str):
        if confounds != "intercept":
            raise ValueError(
                f"confounds={shown(confounds)} is unknown; give 'intercept', the degree of a "
                "drift, or arrays"
            )
        return 0
    if not isinstance(confounds, (list, tuple)) and np.ndim(confounds) == 0:
        degree = integer(confounds, "confounds", 0)
        if degree > MOST_DEGREES:
            raise ValueError(f"confounds={degree}: a drift has a degree of {MOST_DEGREES} at most")
        return degree
    # Stored confounds are loaded too, because a basis of them is kept in memory for every record.
    return read(confounds, "confounds", spec, missing=True).each(np.asarray)


def orthonormal(columns: np.ndarray, root: np.ndarray | None = None) -> np.ndarray:
    """Return an orthonormal basis (n, q) of the span of columns (n, J), in extended precision.

    The rows of the columns are first multiplied by the ``root`` (n,), if one is given. In float64,
    the span of nearly collinear columns would have an error of their condition number times the
    rounding error. The same error would be in the part of a constant that they do not span.
    """
    # First scale the columns by powers of two, so that their squares stay within float64.
    columns = np.ldexp(columns, -np.frexp(np.abs(columns).max(axis=0, initial=0.0))[1])
    wide = columns.astype(np.longdouble)
    wide = wide if root is None else wide * root[:, None]
    norms = np.linalg.norm(wide.astype(float), axis=0)
    wide = wide / np.where(norms > 0, norms, 1.0)
    values = np.linalg.svd(wide.astype(float), compute_uv=False)
    rank = int(np.count_nonzero(values > 10 * max(columns.shape) * EPS * values.max(initial=0.0)))
    # Pivoted Gram–Schmidt, applied twice.
    left, found = wide, np.zeros((len(wide), rank), wide.dtype)
    for j in range(rank):
        one = left[:, np.argmax(np.square(left).sum(0))]
        for _ in range(2):
            one = one - found[:, :j] @ (found[:, :j].T @ one)
            one = one / np.sqrt(one @ one)
        found[:, j] = one
        left = left - np.outer(one, one @ left)
    return found


def _basis_of_polynomials(
    flags: np.ndarray, degree: int, root: np.ndarray, few: bool
) -> np.ndarray:
    """Return an orthonormal basis (n, q) of polynomials in the flagged samples (*T).

    The basis is computed in working precision if the polynomials are far from collinear, by two
    rounds of the Cholesky factor of their inner products (Yamamoto et al., ETNA 44 (2015) 306).
    It is always in extended precision for ``few`` rows.
    """
    part = used_range(flags)
    trend = Polynomials.of(flags[part].shape, degree).some(flags[part])
    found = trend.columns * root[:, None]
    norms = np.linalg.norm(found, axis=0)
    found = found / np.where(norms > 0, norms, 1.0)
    condition = np.linalg.cond(found.T @ found)
    if few or condition > WELL_CONDITIONED:
        wide = condition < NEARLY_COLLINEAR
        return orthonormal(trend.wide, root) if wide else trend.orthonormal(root)
    for _ in range(2):
        gram = found.T @ found
        if np.abs(gram - np.eye(len(gram))).max() > EPS:
            found = found @ np.linalg.inv(np.linalg.cholesky(gram).T)
    return found


@dataclass(frozen=True)
class NuisanceBlock:
    """Nuisance columns N in N_p pieces of records that have the same own columns.

    Attributes:
        places: (N_p, k), indices in N of the own columns of each piece.
        basis: (n, k), the own columns in each piece.
        ones: (n,), the last column of N, shared by all records, before it is multiplied by
            ``scales``. None if there is no shared column.
        scales: (N_p,), factor of ``ones`` in each piece.
    """

    places: np.ndarray
    basis: np.ndarray
    ones: np.ndarray | None
    scales: np.ndarray

    @property
    def rows(self) -> int:
        """Number of rows of all pieces."""
        return len(self.places) * len(self.basis)

    def some(self, pieces: slice) -> NuisanceBlock:
        """Return the block of some of the pieces."""
        return NuisanceBlock(self.places[pieces], self.basis, self.ones, self.scales[pieces])

    def some_rows(self, rows: slice) -> NuisanceBlock:
        """Return the block of some rows of each piece."""
        ones = None if self.ones is None else self.ones[rows]
        return NuisanceBlock(self.places, self.basis[rows], ones, self.scales)

    def add_products(self, values: np.ndarray, total: np.ndarray) -> None:
        """Add Nᵀv of values v (N_p, n, Q) to a total (q, Q)."""
        total[self.places] += self.basis.T @ values
        if self.ones is not None:
            total[-1] += self.scales @ (self.ones @ values)

    def fit(self, coefficients: np.ndarray) -> np.ndarray:
        """Return N c (N_p, n, Q) for coefficients c (q, Q), in the precision of the basis."""
        found = self.basis @ coefficients[self.places]
        if self.ones is not None:
            found += self.scales[:, None, None] * np.outer(self.ones, coefficients[-1])
        return np.asarray(found)

    def columns(self, piece: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (k,) of the columns of a piece, shared one as -1, and the columns."""
        if self.ones is None:
            return self.places[piece], self.basis
        columns = np.column_stack([self.basis, self.scales[piece] * self.ones])
        return np.append(self.places[piece], -1), columns


def projected(
    blocks: Sequence[NuisanceBlock], values: Sequence[np.ndarray], count: int
) -> list[np.ndarray]:
    """Project ``count`` orthonormal columns N out of values (N_p, n, Q) of every block."""
    left = [*values]
    for _ in range(2):
        products = np.zeros((count, values[0].shape[-1]))
        for block, rows in zip(blocks, left, strict=True):
            block.add_products(rows, products)
        left = [v - block.fit(products) for block, v in zip(blocks, left, strict=True)]
        # A second round removes the rounding error of a large fit.
        norms = np.sum([sum_of_squares(v) for v in left], axis=0)
        if (np.square(products).sum(0) <= SMALL_FIT * norms).all():
            break
    return [v.astype(float, copy=False) for v in left]


class Layout(NamedTuple):
    """The own nuisance columns of some records, in the rows used in the fit.

    Attributes:
        basis: (n, k), orthonormal, times the roots of weights if these differ among the rows. It is
            in extended precision if the problem has few rows.
        ones: (n,), the part of a constant that the basis does not span.
        spanned: whether the basis spans a constant.
    """

    basis: np.ndarray
    ones: np.ndarray
    spanned: bool

    @classmethod
    def of(cls, given: int | Records | None, record: int, kept: Rows, root: np.ndarray) -> Layout:
        """Return the layout of one record, for the roots of its weights, () or (*T)."""
        flags, shape = kept.flags_of(record), kept.shapes[record]
        root = np.broadcast_to(root, shape)[flags]
        if given is None or not root.size:
            found = cls._of_columns(np.zeros((root.size, 0)), root)
            return found._replace(basis=_in_precision(found.basis, kept))
        if isinstance(given, int):
            basis = _basis_of_polynomials(flags, given, root, kept.count <= FEW_ROWS)
            return cls(_in_precision(basis, kept), np.zeros(len(root)), True)
        columns = given.arrays[record][flags].astype(float)
        found = cls._of_columns(columns, root)
        if found.spanned:
            # The same span, without the rounding errors of offsets that the columns have.
            centred = np.column_stack([np.ones(len(root)), columns - columns.mean(0)])
            found = cls._of_columns(centred, root)
        return found._replace(basis=_in_precision(found.basis, kept))

    @classmethod
    def _of_columns(cls, columns: np.ndarray, root: np.ndarray) -> Layout:
        """Return the layout for columns (n, J) and the roots (n,) of the weights."""
        found, left = orthonormal(columns, root), root.astype(np.longdouble)
        for _ in range(2):
            left = left - found @ (found.T @ left)
        rest = left.astype(float)
        spanned = bool(np.linalg.norm(rest) <= SPANNED * np.linalg.norm(root))
        return cls(found, rest, spanned)


def _in_precision(basis: np.ndarray, kept: Rows) -> np.ndarray:
    """Return a basis in extended precision for few rows, else in working precision."""
    return basis.astype(np.longdouble if kept.count <= FEW_ROWS else float, copy=False)


@dataclass(frozen=True)
class Confounds:
    """Nuisance columns N, orthonormal over the rows used in the fit, times the roots of weights.

    Attributes:
        layouts: the distinct layouts.
        which: index of the layout of every record.
        scales: root of the weight of every record; 1 if its rows differ in weight.
        size: norm of the shared column before normalization. The shared column is the part of a
            bias that the own columns do not span. 0 if there is no constant of all records.
        degree: degree of the polynomials in time that every record spans; -1 for none.
        weights: weights of the rows; None if all are 1.
        kept: rows used in the fit.
    """

    layouts: tuple[Layout, ...]
    which: np.ndarray
    scales: np.ndarray
    size: float
    degree: int
    weights: Weights | None
    kept: Rows

    @classmethod
    def of(
        cls, given: int | Records | None, bias: bool, kept: Rows, weights: Weights | None
    ) -> Confounds:
        """Return the columns for the confounds ``given``, and a ``bias`` shared by all records.

        There is no column for a bias if the own columns of all records span a constant.
        """
        known: dict[Any, int] = {}
        layouts: list[Layout] = []
        which, one = [], np.ones(())
        roots = [one] * len(kept.shapes) if weights is None else weights.roots
        for i, (shape, root) in enumerate(zip(kept.shapes, roots, strict=True)):
            flags = b"" if kept.flags is None else kept.flags[i].tobytes()
            # Confounds that are given as arrays differ from record to record.
            key = shape, flags, root.ndim and root.tobytes(), isinstance(given, Records) and i
            if key not in known:
                known[key] = len(layouts)
                layouts.append(Layout.of(given, i, kept, root if root.ndim else one))
            which.append(known[key])
        scales = np.array([1.0 if root.ndim else float(root) for root in roots])
        spanned = all(layout.spanned for layout in layouts)
        size = 0.0
        if bias and not spanned:
            squares = np.array([layout.ones @ layout.ones for layout in layouts])
            size = math.sqrt(np.square(scales) @ squares[which])
        degree = given if isinstance(given, int) else 0 if spanned and given is not None else -1
        return cls(tuple(layouts), np.array(which), scales, size, degree, weights, kept)

    @classmethod
    def with_constant(
        cls, given: int | Records | None, kept: Rows, weights: Weights | None
    ) -> Confounds:
        """Return the columns for ``given``, and a shared constant unless each record has one."""
        found = cls.of(given, False, kept, weights)
        return found if found.degree >= 0 else cls.of(given, True, kept, weights)

    @property
    def shared(self) -> bool:
        """Whether the last column is a constant shared by all records."""
        return self.size > 0

    def own(self, record: int) -> int:
        """Return the number of columns of a record alone."""
        return int(self.layouts[self.which[record]].basis.shape[1])

    @cached_property
    def _ends(self) -> np.ndarray:
        """Index in N after the last own column of every record."""
        return np.cumsum([self.own(i) for i in range(len(self.which))])

    @property
    def count(self) -> int:
        """Number q of columns of all records."""
        return int(self._ends[-1]) + self.shared

    @cached_property
    def total_weight(self) -> float:
        """Sum of the weights of all rows used in the fit."""
        if self.weights is None:
            return float(self.kept.count)
        squares = (np.square(self.root(i)) for i in self.kept.used)
        return float(sum(s.sum() for s in squares))

    @cached_property
    def alike(self) -> list[np.ndarray]:
        """The records of each layout that have rows."""
        found = [np.flatnonzero(self.which == i) for i in range(len(self.layouts))]
        return [records for records in found if len(self.layouts[self.which[records[0]]].ones)]

    def block(self, spans: Sequence[Span]) -> NuisanceBlock:
        """Return N in some rows of records that have the same layout and the same rows."""
        i, start, stop = spans[0]
        layout = self.layouts[self.which[i]]
        some = slice(*(self._counted(i, end) for end in (start, stop)))
        basis, records = layout.basis[some], np.array([record for record, _, _ in spans])
        places = self._ends[records][:, None] - np.arange(basis.shape[1], 0, -1)
        ones = layout.ones[some] / self.size if self.shared else None
        return NuisanceBlock(places, basis, ones, self.scales[records])

    def blocks(self, spans: Sequence[Span]) -> list[NuisanceBlock]:
        """Return N in some rows of records, with one block per run of records of equal layout."""
        keys = [(self.which[i], start, stop) for i, start, stop in spans]
        several = itertools.groupby(range(len(spans)), keys.__getitem__)
        return [self.block([spans[j] for j in group]) for _, group in several]

    def places(self, record: int) -> np.ndarray:
        """Return the indices (k,) of the columns of a record."""
        found = self._ends[record] - np.arange(self.own(record), 0, -1)
        return np.append(found, self.count - 1) if self.shared else found

    def part(self, span: Span) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (k,) and the values (n, k) of the columns of some rows of a record."""
        places, columns = self.block([span]).columns(0)
        return places % self.count if self.count else places, columns.astype(float, copy=False)

    def _counted(self, record: int, end: int) -> int:
        """Return how many rows of a record are used before index ``end`` of the first axis."""
        if self.kept.flags is None:  # no array as long as a long record is read for each part
            return end * math.prod(self.kept.shapes[record][1:])
        return int(np.count_nonzero(self.kept.flags[record][:end]))

    def root(self, record: int) -> np.ndarray:
        """Return the roots (n, 1) of the weights of the rows of a record that are used."""
        if self.weights is None:
            return np.ones((1, 1))
        return self.weights.of_rows(record, self.kept.flags_of(record))[:, None]

    def without(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Project N out of the values (*T, Q) of every record, in the rows used in the fit.

        Returns:
            Rows (n, Q) of every record, times the roots of the weights. An output is zero if only
            rounding is left of it.
        """
        flags = [self.kept.flags_of(int(records[0])) for records in self.alike]
        kept = [
            kept_samples(stacked([values[i] for i in records]), f)
            for f, records in zip(flags, self.alike, strict=True)
        ]
        exponents = np.frexp(np.max([largest(v) for v in kept], axis=0))[1]
        scale = np.ldexp(1.0, -exponents)
        trends = without_trends(kept, flags, scale, self.degree, self.shared)
        roots = [self._roots(records) for records in self.alike]
        blocks = [
            self.block([(int(i), 0, self.kept.shapes[i][0]) for i in records])
            for records in self.alike
        ]
        weighted = trends.values
        if self.weights is not None:
            weighted = [v * r for v, r in zip(trends.values, roots, strict=True)]
        left = projected(blocks, weighted, self.count)
        # The weights change sums of squares by at most the largest weight.
        most = max(float(r.max()) for r in roots) ** 2
        squares = np.sum([sum_of_squares(v) for v in left], axis=0)
        rows, whole = self.kept.count, most * trends.left
        real = beyond_rounding(whole, squares, trends.subtracted, rows, most * rows)
        found = [np.zeros((0, len(real)))] * len(values)
        for records, v in zip(self.alike, left, strict=True):
            for i, rows in zip(records, scaled_back(v, real, exponents), strict=True):
                found[i] = rows
        return found

    def less(self, rows: Sequence[np.ndarray], coefficients: np.ndarray) -> list[np.ndarray]:
        """Return rows (n, Q) of every record minus N c, for coefficients c (q, Q) of its columns.

        Further coefficients, of a shared constant, are not used.
        """
        found = []
        for i, part in enumerate(rows):
            places, columns = self.part((i, 0, self.kept.shapes[i][0]))
            found.append(part - columns @ coefficients[places])
        return found

    def _roots(self, records: np.ndarray) -> np.ndarray:
        """Return the roots (N, n or 1, 1) of the weights of records of one layout."""
        if self.weights is None or self.weights.roots[records[0]].ndim == 0:
            return self.scales[records][:, None, None]
        return self.root(int(records[0]))[None]
