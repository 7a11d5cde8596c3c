"""Columns of every record that are fitted beside the kernel: intercepts, drifts, and any others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from ..text import shown
from .checks import integer
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


def polynomials(
    shape: tuple[int, ...], degree: int, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """Columns (*shape, J): products of Legendre polynomials along each axis, of a ``degree`` in all
    of at most so much; some rows of the first axis.
    """
    places = [2 * np.arange(n) / max(n - 1, 1) - (n > 1) for n in shape]
    places[0] = places[0][start:stop]
    axes = [np.polynomial.legendre.legvander(at, degree) for at in places]
    orders = itertools.product(range(degree + 1), repeat=len(shape))
    columns = [
        reduce(np.multiply.outer, [axis[:, k] for axis, k in zip(axes, order, strict=True)])
        for order in orders
        if sum(order) <= degree
    ]
    return np.stack(columns, axis=-1)


def orthonormal(columns: np.ndarray, root: np.ndarray | None = None) -> np.ndarray:
    """A basis (n, q) of what columns (n, J), their rows times a ``root`` (n,), span."""
    # First in units in which squares stay within float64.
    columns = np.ldexp(columns, -np.frexp(np.abs(columns).max(axis=0, initial=0.0))[1])
    columns = columns if root is None else columns * root[:, None]
    norms = np.linalg.norm(columns, axis=0)
    u, values, _ = np.linalg.svd(columns / np.where(norms > 0, norms, 1.0), full_matrices=False)
    return np.asarray(u[:, values > 10 * max(columns.shape) * EPS * values.max(initial=0.0)])


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

    def without(self, values: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Of values (*T, Q) of every record the rows (n, Q) that count, times the roots of their
        weights, N projected out; and NᵀV (q, Q).
        """
        found = [
            v[self.kept.flags_of(i)].astype(float) * self.root(i) for i, v in enumerate(values)
        ]
        spans = [(i, 0, shape[0]) for i, shape in enumerate(self.kept.shapes)]
        parts = [self.part(span) for span in spans]
        total = np.zeros((self.count, found[0].shape[1]))
        # Once more for what rounding has left.
        for _ in range(2):
            products = np.zeros_like(total)
            for v, (places, columns) in zip(found, parts, strict=True):
                products[places] += columns.T @ v
            found = [
                v - columns @ products[places]
                for v, (places, columns) in zip(found, parts, strict=True)
            ]
            total += products
        return found, total
