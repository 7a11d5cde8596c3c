"""Columns that are fitted in addition to the kernel, and are not part of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..linalg.orthonormal import orthonormal, polynomial_basis
from ..notation import made
from ..text import as_call, shown
from .checks import integer, number
from .records import Records, read
from .rows import Roots, Rows, root_of_rows
from .spec import ConvSpec, Shape

# A column is rounding if the part that other columns do not span is below this share of it.
SPANNED = 1e-10
# Bases of at most so many rows are kept in extended precision. Few rows, of which a drift explains
# nearly all, would otherwise have a rounding error that exceeds the rest of a column.
FEW_ROWS = 256


@dataclass(frozen=True, repr=False)
class Cosines:
    """A constant and slow cosines, as a drift of every record: the high-pass filter of SPM.

    For n samples of y, they are cos(πk(t + ½)/n) with k from 1 to ⌊2n/(fs·seconds)⌋, where fs is
    the rate of y. nilearn has the same columns for ``drift_model="cosine"`` and ``high_pass =
    1/seconds``.

    Args:
        seconds: shortest period of the cosines, by default 128 s. Responses that are slower are
            attributed to the drift.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> scans = np.random.default_rng(0).standard_normal(200)
        >>> cs.Problem(scans, lags=(0, 9), fs=0.5, drift=cs.Cosines(128.0)).n_unknowns
        17
        >>> cs.Cosines(128.0).columns(200, 0.5).shape
        (200, 6)

    See Also:
        `Problem`, which also takes the degree of a polynomial.
    """

    seconds: float = 128.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", number(self.seconds, "seconds"))

    def __repr__(self) -> str:
        return as_call(self)

    def columns(self, samples: int, rate: float) -> np.ndarray:
        """Return the cosines (samples, K), without the constant, for a rate of y in Hz."""
        orders = np.arange(1, 1 + min(int(2 * samples / (self.seconds * rate)), samples - 1))
        return np.cos(np.pi / samples * np.outer(np.arange(samples) + 0.5, orders))


class Terms(NamedTuple):
    """Columns that are fitted to every record separately along with the kernel.

    Attributes:
        drift: degree of a polynomial in time, `Cosines`, or None.
        columns: further columns (*T, J) of every record, or None. The cosines are the last ones.
        confounds: number of columns of every record that are not of the drift.
    """

    drift: Any = None
    columns: Records | None = None
    confounds: int = 0

    @property
    def degree(self) -> int:
        """Degree of a polynomial in time that every record has; -1 for none."""
        return -1 if self.drift is None else 0 if isinstance(self.drift, Cosines) else self.drift

    @property
    def given(self) -> bool:
        """Whether there are any columns."""
        return self.drift is not None or self.columns is not None

    @property
    def plain(self) -> Any:
        """The drift in plain values."""
        own = isinstance(self.drift, Cosines)
        return {"name": "cosine", "seconds": self.drift.seconds} if own else self.drift

    @classmethod
    def read(cls, drift: Any, confounds: Any, spec: ConvSpec) -> Terms:
        """Return the terms for these arguments of a `Problem`, without cosines.

        Raises:
            TypeError, ValueError: If ``drift`` is no degree and no cosines, or ``confounds`` are
                not arrays of numbers.
        """
        if isinstance(drift, (str, Mapping)):
            drift = made("drift", drift, {"cosine": Cosines})
        if not (drift is None or isinstance(drift, Cosines)):
            drift = integer(drift, "drift", 0)
        if confounds is None:
            return cls(drift)
        if isinstance(confounds, (str, int)):
            got = f"confounds must be arrays, got {shown(confounds)}"
            raise TypeError(f"{got}; drift= takes a degree or 'cosine128'")
        # Stored confounds are loaded, because a basis of them is kept in memory for every record.
        columns = read(confounds, "confounds", spec, missing=True).each(np.asarray)
        return cls(drift, columns, columns.channels)

    def with_cosines(self, shapes: Sequence[Shape], rate: float | None, cut: Any) -> Terms:
        """Return the terms with the cosines of records of y; ``cut`` returns their rows.

        Raises:
            ValueError: If there is no sampling rate in Hz.
        """
        if not isinstance(self.drift, Cosines):
            return self
        if rate is None:
            raise ValueError(f"drift={self.drift!r} needs fs=, and data along one axis")
        by_length = {n: self.drift.columns(n, rate) for (n,) in {*shapes}}
        if any(2 * a.shape[1] > n for n, a in by_length.items()):
            raise ValueError(f"drift={self.drift!r} has too many cosines; it takes seconds")
        found = cut([by_length[n] for (n,) in shapes])
        if (own := self.columns) is None:
            own = Records(tuple(found), "list", channel_axis=True, is_jax=False)
        else:
            joined = map(np.column_stack, zip(own.arrays, found, strict=True))
            own = own._replace(arrays=tuple(joined), missing=None, means=None)
        return self._replace(columns=own)


class Layout(NamedTuple):
    """The own nuisance columns of some records, in the rows used in the fit.

    Attributes:
        columns: (n, k), orthonormal, times the roots of weights if these differ among the rows, in
            extended precision if the problem has few rows.
        ones: (n,), the part of a constant that the columns do not span.
        spanned: whether the columns span a constant.
    """

    columns: np.ndarray
    ones: np.ndarray
    spanned: bool

    @classmethod
    def of(cls, terms: Terms, record: int, kept: Rows, root: np.ndarray) -> Layout:
        """Return the layout of one record, for the roots of its weights, () or (*T)."""
        flags, few = kept.flags_of(record), kept.count <= FEW_ROWS
        root = root_of_rows(root, flags)
        degree, columns = terms.degree, np.zeros((len(root), 0))
        if terms.columns is not None:
            columns = terms.columns.arrays[record][flags].astype(float)
        found, rest = np.zeros((len(root), 0)), root.astype(float)
        if degree < 0:
            found = orthonormal(columns, root)
            rest = _without(found, rest.astype(np.longdouble)[:, None])[:, 0].astype(float)
            spanned = np.linalg.norm(rest) <= SPANNED * np.linalg.norm(root)
            # A record without rows used in the fit spans anything.
            degree = 0 if spanned and (columns.size or not root.size) else -1
        if degree >= 0 and root.size:
            polynomials = polynomial_basis(flags, degree, root, few)
            found, rest = _beside(polynomials, columns, root), np.zeros(len(root))
        # Few rows keep the extended precision.
        return cls(found.astype(np.longdouble if few else float, copy=False), rest, degree >= 0)


def _without(first: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return columns (n, J) less the part that orthonormal columns span."""
    for _ in range(2):
        columns = columns - first @ (first.T @ columns)
    return columns


def _beside(first: np.ndarray, columns: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Return orthonormal columns for polynomials (n, p) and columns (n, J) times ``root``.

    The polynomials have a constant, so the rounding errors of offsets are no part of the span.
    """
    if not columns.size:
        return first
    centred = (columns - columns.mean(0)).astype(np.longdouble) * root[:, None]
    left = _without(first, centred)
    left = left[:, np.abs(left).max(0) > SPANNED * np.abs(centred).max(0)]
    return np.column_stack([first, orthonormal(left, np.ones(len(root)))])


class Confounds:
    """Nuisance columns N, orthonormal over the rows used in the fit, times the roots of weights.

    They are the columns of the ``terms``, and of a ``bias`` shared by all records. There is no
    column for a bias if the own columns of all records span a constant.

    Attributes:
        weights: roots of the weights; None if all are 1.
        kept: rows used in the fit.
        layouts: the distinct layouts.
        which: index of the layout of every record.
        scales: root of the weight of every record; 1 if its rows differ in weight.
        size: norm of the shared column before normalization. The shared column is the part of a
            bias that the own columns do not span. 0 if there is no constant of all records.
        shared: whether the last column is a constant shared by all records.
        degree: degree of the polynomials in time that every record spans; -1 for none.
        count: number q of columns of all records.
    """

    def __init__(self, terms: Terms, bias: bool, kept: Rows, weights: Roots | None) -> None:
        known: dict[Any, int] = {}
        self.weights, self.kept, which, one = weights, kept, [], np.ones(())
        self.layouts: list[Layout] = []
        roots = [one] * len(kept.shapes) if weights is None else weights
        for i, (shape, root) in enumerate(zip(kept.shapes, roots, strict=True)):
            flags = b"" if kept.flags is None else kept.flags[i].tobytes()
            # Confounds that are given as arrays differ from record to record.
            key = shape, flags, root.ndim and root.tobytes(), terms.columns is not None and i
            which.append(known.setdefault(key, len(self.layouts)))
            if which[-1] == len(self.layouts):
                self.layouts.append(Layout.of(terms, i, kept, root if root.ndim else one))
        self.which, self.size = np.array(which), 0.0
        self.scales = np.array([1.0 if root.ndim else float(root) for root in roots])
        spanned = all(layout.spanned for layout in self.layouts)
        if bias and not spanned:
            squares = np.array([layout.ones @ layout.ones for layout in self.layouts])[which]
            self.size = math.sqrt(np.square(self.scales) @ squares)
        self.shared = self.size > 0
        self.degree = max(terms.degree, 0 if spanned and terms.given else -1)
        self._ends = np.cumsum([self.own(i) for i in range(len(which))])
        self.count = int(self._ends[-1]) + self.shared

    def own(self, record: int) -> int:
        """Return the number of columns of a record alone."""
        return int(self.layouts[self.which[record]].columns.shape[1])

    @property
    def total_weight(self) -> float:
        """Sum of the weights of all rows used in the fit."""
        return sum(map(self.weight, self.kept.used))

    def weight(self, record: int) -> float:
        """Return the sum of the weights of the rows of a record that are used."""
        return float(np.square(self.root(record)).sum())

    def places(self, records: np.ndarray) -> np.ndarray:
        """Return the indices (R, k) in N of the own columns of records with the same layout."""
        return np.asarray(self._ends[records][:, None] - np.arange(self.own(records[0]), 0, -1))

    def root(self, record: int) -> np.ndarray:
        """Return the roots (n, 1) of the weights of the rows of a record that are used."""
        root = np.ones(()) if self.weights is None else self.weights[record]
        return root_of_rows(root, self.kept.flags_of(record))[:, None]


class Nuisance:
    """The nuisance columns N (n, q) of a problem, which are projected out of A and y.

    Attributes:
        constant: whether N is one column of ones over all records, for a bias.
        confounds: other columns, which also contain a constant if there is a bias.
        shared: whether a constant of all records is among the columns.
        total: number q of all columns, which the degrees of freedom are reduced by.
    """

    def __init__(self, constant: bool = False, confounds: Confounds | None = None) -> None:
        self.constant, self.confounds = constant, confounds
        self.shared = constant if confounds is None else confounds.shared
        self.total = int(constant) if confounds is None else confounds.count

    def records_left(self, kept: Rows) -> list[int]:
        """Return the records that have more rows than confounds of their own."""
        own = self.confounds
        return [i for i in kept.used if own is None or kept.sizes[i] > own.own(i)]
