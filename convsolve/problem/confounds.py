"""Columns of every record that are fitted beside the kernel: intercepts, drifts, and any others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..text import shown
from .checks import integer
from .polynomials import fitted, polynomials, without_polynomials
from .records import Records, read
from .rows import Rows, Span
from .spec import ConvSpec
from .weights import Weights

EPS = float(np.finfo(np.float64).eps)
# Of a column the part that others do not span, as a share below which it is rounding.
SPANNED = 1e-10
# Highest degree of a drift: more would follow the response.
MOST_DEGREES = 20


def read_confounds(confounds: Any, spec: ConvSpec) -> int | Records:
    """Confounds as the degree of a polynomial, or as columns (*T, J) of every record.

    Raises:
        TypeError, ValueError: neither "intercept", nor a degree, nor arrays of finite numbers.
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
    # What is stored elsewhere too: of every record a basis of them is held.
    return read(confounds, "confounds", spec, missing=True).each(np.asarray)


def orthonormal(columns: np.ndarray, root: np.ndarray | None = None) -> np.ndarray:
    """A basis (n, q) of what columns (n, J), their rows times a ``root`` (n,), span."""
    # First in units in which squares stay within float64.
    columns = np.ldexp(columns, -np.frexp(np.abs(columns).max(axis=0, initial=0.0))[1])
    columns = columns if root is None else columns * root[:, None]
    norms = np.linalg.norm(columns, axis=0)
    u, values, _ = np.linalg.svd(columns / np.where(norms > 0, norms, 1.0), full_matrices=False)
    return np.asarray(u[:, values > 10 * max(columns.shape) * EPS * values.max(initial=0.0)])


def without_trends(
    values: Sequence[np.ndarray], places: Sequence[np.ndarray], degree: int, shared: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    """Subtract exactly the polynomials in time, or the constant, that nuisance columns span.

    Projection on a computed basis alone would leave the rounding error of an offset in the data.

    Args:
        values: (n, C) of every record.
        places: which samples (*L) of the record these are.
        degree: that of the polynomials of every record; -1 for none.
        shared: whether one constant of all records is subtracted instead.

    Returns:
        The values that are left, and the shared constant (C,), zero if there is none.
    """
    if not shared:
        pairs = zip(values, places, strict=True)
        left = [_without_trend(v, at, degree) if degree >= 0 else v for v, at in pairs]
        return left, np.zeros(values[0].shape[1])
    constant = np.sum([v.sum(0) for v in values], axis=0) / sum(map(len, values))
    return [v - constant for v in values], constant


def _without_trend(values: np.ndarray, places: np.ndarray, degree: int) -> np.ndarray:
    """Subtract the polynomials that fit best from the values (n, C) of a record."""
    if not len(values):
        return values
    columns, mean = polynomials(places.shape, degree)[places], values.mean(0)
    coefficients = fitted(columns.T @ columns, columns.T @ (values - mean), mean)
    return without_polynomials(values, coefficients, places.shape, degree, places)


class Projected(NamedTuple):
    """What is left of values when nuisance columns N are projected out.

    Attributes:
        rows: (n, Q) of every record, times the roots of the weights.
        products: Nᵀv (q, Q) of the values v less ``constant``.
        constant: (Q,), subtracted from all records before; zero without a shared constant.
        squares: Σv² (Q,) of the values themselves, times the weights.
    """

    rows: list[np.ndarray]
    products: np.ndarray
    constant: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class Confounds:
    """N as orthonormal columns over the rows that count, each times the root of its weight.

    Attributes:
        bases: (n, q) of every record, its own.
        shared: (n,) of every record, one column over all of them: what their own columns leave of
            a bias. None without one.
        size: the norm of that before it was made one.
        degree: that of the polynomials in time which every record spans; -1 for none.
        weights: of rows, None where all are 1.
        kept: which rows count.
    """

    bases: tuple[np.ndarray, ...]
    shared: tuple[np.ndarray, ...] | None
    size: float
    degree: int
    weights: Weights | None
    kept: Rows

    @classmethod
    def of(
        cls, given: int | Records | None, bias: bool, kept: Rows, weights: Weights | None
    ) -> Confounds:
        """Those that were ``given``, and a ``bias`` of all records."""
        bases, ones, spanned = [], [], True
        for i, shape in enumerate(kept.shapes):
            flags = kept.flags_of(i)
            root = np.ones(int(flags.sum())) if weights is None else weights.of_rows(i, flags)
            if given is None or not root.size:
                basis = np.zeros((root.size, 0))
            else:
                columns = polynomials(shape, given) if isinstance(given, int) else given.arrays[i]
                basis = orthonormal(columns[flags].astype(float), root)
            left = root
            for _ in range(2):
                left = left - basis @ (basis.T @ left)
            spanned &= bool(np.linalg.norm(left) <= SPANNED * np.linalg.norm(root))
            bases.append(basis)
            ones.append(left)
        size = math.sqrt(sum(float(one @ one) for one in ones))
        if bias and spanned:
            raise ValueError(
                "bias=True is no more to be had: the confounds of every record hold a constant; "
                "leave it out"
            )
        shared = tuple(one / size for one in ones) if bias else None
        degree = given if isinstance(given, int) else 0 if spanned and given is not None else -1
        return cls(tuple(bases), shared, size, degree, weights, kept)

    @classmethod
    def with_constant(
        cls, given: int | Records | None, kept: Rows, weights: Weights | None
    ) -> Confounds:
        """Those, and a constant of all records unless each has one."""
        found = cls.of(given, False, kept, weights)
        return found if found.degree >= 0 else cls.of(given, True, kept, weights)

    @property
    def count(self) -> int:
        """Columns q of all records."""
        return sum(basis.shape[1] for basis in self.bases) + (self.shared is not None)

    @property
    def first(self) -> list[int]:
        """Which column is the first of every record; those shared come last."""
        return [0, *itertools.accumulate(basis.shape[1] for basis in self.bases)][:-1]

    def part(self, span: Span) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows of a record which columns they have, (k,), and these (n, k)."""
        i, start, stop = span
        before, after = (self._counted(i, end) for end in (start, stop))
        basis, at = self.bases[i][before:after], self.first[i]
        places = np.arange(at, at + basis.shape[1])
        if self.shared is None:
            return places, basis
        one = self.shared[i][before:after, None]
        return np.append(places, self.count - 1), np.hstack([basis, one])

    def _counted(self, record: int, end: int) -> int:
        """How many rows of a record count up to one along the first axis."""
        if self.kept.flags is None:  # of a long record nothing as long is looked at for each part
            return end * math.prod(self.kept.shapes[record][1:])
        return int(np.count_nonzero(self.kept.flags[record][:end]))

    def root(self, record: int) -> np.ndarray:
        """Roots (n, 1) of the weights of the rows of a record that count."""
        flags = self.kept.flags_of(record)
        if self.weights is None:
            return np.ones((int(flags.sum()), 1))
        return self.weights.of_rows(record, flags)[:, None]

    def without(self, values: Sequence[np.ndarray]) -> Projected:
        """Project N out of the values (*T, Q) of every record, in the rows used in the fit."""
        flags = [self.kept.flags_of(i) for i in range(len(values))]
        roots = [self.root(i) for i in range(len(values))]
        kept = [v[f].astype(float) for v, f in zip(values, flags, strict=True)]
        squares = np.sum([np.square(v * r).sum(0) for v, r in zip(kept, roots, strict=True)], 0)
        left, constant = without_trends(kept, flags, self.degree, self.shared is not None)
        found = [v * r for v, r in zip(left, roots, strict=True)]
        spans = [(i, 0, shape[0]) for i, shape in enumerate(self.kept.shapes)]
        parts = [self.part(span) for span in spans]
        total = np.zeros((self.count, found[0].shape[1]))
        # The second round removes the rounding error of the first.
        for _ in range(2):
            products = np.zeros_like(total)
            for v, (places, columns) in zip(found, parts, strict=True):
                products[places] += columns.T @ v
            found = [
                v - columns @ products[places]
                for v, (places, columns) in zip(found, parts, strict=True)
            ]
            total += products
        return Projected(found, total, constant, squares)
