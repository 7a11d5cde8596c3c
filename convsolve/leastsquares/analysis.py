"""Prepared: what is known of a problem (scaling, rows, moments, factors), lazily and once."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from ..linalg.qr import tree_rows
from ..operators.fourier import Signals
from ..operators.moments import Moments
from ..operators.overlap_save import columns_of_combs
from ..operators.windows import normal_form, row_blocks, silenced
from ..problem.channels import by_channel
from ..problem.problem import Problem

# What a factorisation may take, whatever the length of the data.
MAX_FACTOR_BYTES = 2**31
# Row blocks are kept between passes up to this many numbers (8 MiB), and made anew beyond.
KEPT_NUMBERS = 2**20
# Up to so many numbers of its matrix a group is done by rows, before FFTs are set up; and its QR,
# which decides everything, takes no more than a millisecond or two.
SMALL_NUMBERS = 2**16

_T = TypeVar("_T")
Block = tuple[np.ndarray, np.ndarray | None]


def channel_exponents(arrays: Any) -> np.ndarray:
    """Power of two per channel that brings the largest magnitude into [1/2, 1).

    A silent channel has none of its own: it takes the smallest of the others.
    """
    over = [by_channel(np.maximum, a, np.abs) for a in arrays if a.size]
    largest = np.max(over, axis=0)
    # Stray denormals alone would ask for a power beyond float64.
    exponents = np.maximum(np.frexp(largest.astype(float))[1], -1020)
    least = exponents.min(where=largest > 0, initial=exponents.max())
    return np.where(largest > 0, exponents, least)


def _stacked(records: Sequence[np.ndarray], members: Sequence[int]) -> np.ndarray:
    """(N, …) of some records; a view where there is but one."""
    if len(members) == 1:
        return records[members[0]][None]
    return np.stack([records[i] for i in members])


class Prepared:
    """A problem in float64, every channel scaled by a power of two, in the geometry's normal form.

    ``stacks`` holds records of one shape together: x ``(N, *E, Cin)`` and y ``(N, *T, Cout)``,
    which are scaled when they are read; ``members`` says which.
    Everything else is computed when first asked for. ``seconds`` says how long the shared pieces
    took.
    """

    def __init__(self, problem: Problem) -> None:
        # Weak, so that a problem that goes takes its matrices with it at once.
        self._problem = weakref.ref(problem)
        spec = problem.spec
        self.groups = spec.groups
        self.columns = spec.unknowns(problem.in_channels)
        self.outputs = problem.out_channels // spec.groups
        self.n = problem.n_equations
        # Whether a solver has proved full rank without a factor.
        self.proved = False
        self.seconds: dict[str, float] = {}
        self._kept: dict[Any, Any] = {}
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, x in enumerate(problem.x):
            if math.prod(problem.row_shapes[i]):
                by_shape.setdefault(x.shape, []).append(i)
        # In normal form first: a sample that no window reads must not set the scale.
        self.members = list(by_shape.values())
        xs = [silenced(normal_form(_stacked(problem.x, m), spec), spec) for m in self.members]
        x_exponents = channel_exponents(xs)
        ys: list[np.ndarray | None] = [None] * len(xs)
        y_exponents = np.zeros(problem.out_channels, int)
        if problem.y is not None:
            ys = [_stacked(problem.y, m) for m in self.members]
            y_exponents = channel_exponents(ys)
        taps = math.prod(spec.kernel_size)
        per_channel = x_exponents.reshape(self.groups, 1, -1)
        self.x_exponents = np.tile(per_channel, (1, taps, 1)).reshape(self.groups, -1)
        self.y_exponents = y_exponents.reshape(self.groups, -1)
        self.x_scale, self.y_scale = np.ldexp(1.0, -x_exponents), np.ldexp(1.0, -y_exponents)
        self.stacks = list(zip(xs, ys, strict=True))

    @property
    def problem(self) -> Problem:
        """The problem that this was made of, which its caller keeps alive."""
        problem = self._problem()
        assert problem is not None
        return problem

    def once(self, key: Any, label: str, make: Callable[[], _T]) -> _T:
        """``make()`` at the first call for ``key``, the same object afterwards, and its time."""
        found = self._kept.get(key, self)
        if found is self:
            before = sum(self.seconds.values())
            start = time.perf_counter()
            made = self._kept[key] = make()
            nested = sum(self.seconds.values()) - before
            taken = time.perf_counter() - start - nested
            self.seconds[label] = self.seconds.get(label, 0.0) + taken
            return made
        return cast(_T, found)

    def has(self, key: Any) -> bool:
        """Whether `once` has made something for ``key``."""
        return key in self._kept

    def forget(self, which: Callable[[Any], bool]) -> None:
        """Let go of what was kept under the keys that ``which`` names."""
        for key in [k for k in list(self._kept) if which(k)]:
            self._kept.pop(key, None)

    @property
    def matrix_numbers(self) -> int:
        """Numbers in the design matrix of all groups, y beside it."""
        return self.n * self.groups * (self.columns + self.outputs)

    @property
    def factor_bytes(self) -> int:
        """Memory that a QR takes: three blocks of the tree, R of every group and its basis."""
        width = self.columns + (self.outputs if self.problem.y is not None else 0)
        block = 3 * min(self.n, tree_rows(width)) * width
        return 8 * (block + 2 * self.groups * min(self.n, self.columns) * width)

    @property
    def fits(self) -> bool:
        """Whether a QR may be made."""
        return self.factor_bytes <= MAX_FACTOR_BYTES

    def _raw_rows(self) -> Iterator[Block]:
        """Row blocks (groups, n, P) and (groups, n, Q) in channel-scaled units."""
        scale = np.ldexp(1.0, -self.x_exponents)[:, None]
        for x, y in self.stacks:
            for part, a in row_blocks(x, self.problem.spec):
                if y is None:
                    yield a * scale, None
                else:
                    out = (y[part] * self.y_scale).reshape(-1, self.groups, self.outputs)
                    yield a * scale, out.transpose(1, 0, 2)

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """What was computed row by row (groups, n) as ``(*T, groups)`` of each record."""
        shapes = self.problem.row_shapes
        found = [np.empty((*shape, self.groups)) for shape in shapes]
        start = 0
        for i in (i for members in self.members for i in members):
            stop = start + math.prod(shapes[i])
            found[i][...] = values[:, start:stop].T.reshape(found[i].shape)
            start = stop
        return found

    @property
    def signals(self) -> Signals | None:
        """The records as block FFTs take them, where that is faster than rows and as exact.

        Not for a small matrix, nor for a single tap; nor where a burst at the edge of
        a record makes the columns of a channel so uneven that its rounding drowns the others.
        """

        def make() -> Signals | None:
            problem = self.problem
            several = math.prod(problem.spec.kernel_size) > 1
            if not several or self.matrix_numbers <= SMALL_NUMBERS * self.groups:
                return None
            # Phases of a stride that no tap reads are columns too.
            if columns_of_combs(problem.spec) > 4 * math.prod(problem.spec.kernel_size):
                return None
            found = Signals(self.stacks, problem.spec, self.x_scale, self.y_scale, problem.bias)
            return found if found.even else None

        return self.once("signals", "moments", make)

    @property
    def centre(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Column means of A and of y, each as a rounded mean and what that mean leaves over.

        Beside an offset of 1e9 a mean is known to 1e-7 only; taking it off first, exactly, and then
        the mean of the rest loses nothing. Zeros where the problem has no bias.
        """
        return self.once("centre", "scaling", self._centre)

    def _centre(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        zeros = np.zeros((self.groups, self.columns)), np.zeros((self.groups, self.outputs))
        if not self.problem.bias:
            return zeros[0], zeros[0], zeros[1], zeros[1]
        if self.signals is not None:
            return self.signals.centre

        def means(a_shift: np.ndarray, y_shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            a_sum, y_sum = np.zeros_like(a_shift), np.zeros_like(y_shift)
            for a, y in self._raw_rows():
                a_sum += (a - a_shift[:, None]).sum(1)
                if y is not None:
                    y_sum += (y - y_shift[:, None]).sum(1)
            return a_sum / self.n, y_sum / self.n

        a_mean, y_mean = means(*zeros)
        a_rest, y_rest = means(a_mean, y_mean)
        return a_mean, a_rest, y_mean, y_rest

    def rows(self) -> Iterator[Block]:
        """Row blocks A (groups, n, P) and y (groups, n, Q), centred if there is a bias."""
        if self.matrix_numbers <= KEPT_NUMBERS:
            yield from self.once("rows", "rows", lambda: list(self._centred_rows()))
        else:
            yield from self._centred_rows()

    def _centred_rows(self) -> Iterator[Block]:
        if not self.problem.bias:
            yield from self._raw_rows()
            return
        a_mean, a_rest, y_mean, y_rest = (c[:, None] for c in self.centre)
        for a, y in self._raw_rows():
            yield (a - a_mean) - a_rest, None if y is None else (y - y_mean) - y_rest

    @property
    def column_norms(self) -> np.ndarray:
        """Norms (groups, P) of the centred columns of A in channel-scaled units."""
        if self.signals is not None:
            return self.signals.column_norms
        return self.once("norms", "scaling", lambda: self._norms(np.zeros((1, 1))))

    def _norms(self, mean: np.ndarray) -> np.ndarray:
        """Norms (groups, P) of the columns of `rows` less ``mean``."""

        def columns() -> Iterator[np.ndarray]:
            return (a - mean[:, None] if mean.any() else a for a, _ in self.rows())

        squares = sum(np.einsum("gnp,gnp->gp", a, a) for a in columns())
        if squares.min() > 1e-200:
            return np.sqrt(squares)
        # A column far below its channel's largest sample: its squares may have underflowed.
        largest = np.max([np.abs(a).max(1) for a in columns()], axis=0)
        turn = np.where(largest > 0, np.frexp(largest)[1], 0)
        scaled = (np.ldexp(a, -turn[:, None]) for a in columns())
        squares = sum(np.einsum("gnp,gnp->gp", a, a) for a in scaled)
        return np.ldexp(np.sqrt(squares), turn)

    @property
    def spreads(self) -> np.ndarray:
        """Norms (groups, P) of the columns less their means, with or without a bias."""

        if self.problem.bias:
            return self.column_norms

        def norms() -> np.ndarray:
            if self.signals is not None and (found := self.signals.spreads()) is not None:
                return found
            total = np.zeros((self.groups, self.columns))
            for a, _ in self.rows():
                total += a.sum(1)
            return self._norms(total / self.n)

        return self.once("spreads", "scaling", norms)

    @property
    def y_norms(self) -> np.ndarray:
        """Norms (groups, Q) of the centred outputs in channel-scaled units."""

        if self.signals is not None:
            return self.signals.output_norms

        def norms() -> np.ndarray:
            squares = sum(np.einsum("gnq,gnq->gq", y, y) for _, y in self.rows() if y is not None)
            return np.sqrt(squares)

        return self.once("y norms", "scaling", norms)

    @property
    def moments(self) -> Moments:
        """Moments of the centred rows in channel-scaled units."""

        def gather() -> Moments:
            if self.signals is not None:
                return self.signals.moments(self.x_exponents, self.y_exponents)
            total = Moments.empty(self.groups, self.columns, self.outputs)
            a_mean, a_rest, y_mean, y_rest = self.centre
            for a, y in self.rows():
                y = np.zeros((*a.shape[:2], self.outputs)) if y is None else y
                total += Moments.from_rows(
                    a, y, self.x_exponents, a_mean + a_rest, self.y_exponents, y_mean + y_rest
                )
            return total

        return self.once("moments", "moments", gather)


def prepare(problem: Problem) -> Prepared:
    """The one `Prepared` of a problem, so that identify, solve and compare share their work."""
    if problem.prepared is None:
        problem.prepared = Prepared(problem)
    return problem.prepared
