"""How large a problem is, what its matrices would take, and how much is allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..cached import cached_property
from ..linalg.qr import TREE_ROWS, tree_height
from ..text import in_bytes, shown
from .checks import number


@dataclass(frozen=True)
class Tuning:
    """Thresholds on the size of a problem. Users give two of them as `Limits`.

    Attributes:
        factor_bytes: largest memory of a QR of the design matrix: blocks of rows, and R of every
            group.
        gram_bytes: largest memory of AᵀA of all groups. Scaling, checking and factorizing it takes
            five times as much.
        small_numbers: a design matrix with at most this many numbers is factorized by a QR at once,
            which takes a millisecond or two.
        row_numbers: the design matrix of a group is formed by rows up to this many numbers. For
            larger ones FFTs are used.
        kept_numbers: blocks of rows are kept between passes up to this many numbers. Larger ones
            are formed again in every pass.
        spectrum_columns: up to this many columns all singular values are computed. For more columns
            only the smallest and the largest one are.
        gap_products: a record is cut at a gap if subtracting the rows of the gap takes more
            products than this (about a millisecond, the cost of another piece).
        held_numbers: x and y are read whole up to this many numbers. Larger ones are read in
            chunks.
        chunk_numbers: numbers in a chunk, or the size of the Gram matrix if it is larger. Four
            times as many for arrays in memory, and half as many for dask.
        tree_rows: rows of the blocks in a QR by a tree. Larger blocks have a larger rounding error
            and do not fit into the cache.
        event_elements: an x that is mostly zero is summed by its events, if the rows of the design
            matrix have on average at most this many times C + 2 elements other than zero for C
            channels of a group. For more, FFTs take less time. 0 for never.
        most_work: largest number of operations of a QR of all rows of a group, which takes some
            minutes, unless the solver is one that computes it.
    """

    factor_bytes: int = 2**31
    gram_bytes: int = 2**30
    small_numbers: int = 2**16
    row_numbers: int = 2**16
    kept_numbers: int = 2**20
    spectrum_columns: int = 1500
    tree_rows: int = TREE_ROWS
    gap_products: int = 2**25
    held_numbers: int = 2**25
    chunk_numbers: int = 2**23
    event_elements: float = 1.0
    most_work: float = 1e12


DEFAULT_TUNING = Tuning()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of memory, for the argument ``limits`` of `identify`, `solve` and others.

    Args:
        memory: largest memory of the factors of a QR, in bytes, by default 2 GiB. Gram matrices
            take up to half of it.
        data: largest size of x and y, as float64, that are read whole, in bytes, by default
            256 MiB. Larger ones are read in chunks of a quarter of this size, at most 64 MiB.

    Raises:
        TypeError: If a limit is not a number.
        ValueError: If a limit is negative or NaN.

    A limit of infinity is no limit.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> limits = cs.Limits(data=2**21)  # read x and y in chunks beyond 2 MiB
        >>> x = np.random.default_rng(0).standard_normal(2**18)
        >>> cs.solve(cs.Problem(x, x, lags=(0, 3)), limits=limits).status
        'solved'
    """

    memory: float = DEFAULT_TUNING.factor_bytes
    data: float = 8 * DEFAULT_TUNING.held_numbers

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value != math.inf:
                number(value, name, included=True)


def tuning_of(limits: Limits | Tuning | None) -> Tuning:
    """Return the thresholds for an argument ``limits``; thresholds themselves are returned."""
    if limits is None:
        return DEFAULT_TUNING
    if isinstance(limits, Tuning):
        return limits
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a Limits, got {shown(limits)}")
    memory, data = (int(min(value, 2**62)) for value in (limits.memory, limits.data))
    return Tuning(
        factor_bytes=memory,
        gram_bytes=memory // 2,
        held_numbers=data // 8,
        chunk_numbers=min(DEFAULT_TUNING.chunk_numbers, max(1, data // 32)),
    )


@dataclass(frozen=True)
class Sizes:
    """The sizes that decide how a problem is solved.

    Attributes:
        groups: number of groups.
        rows: rows n of the design matrix, shared by all groups.
        columns: columns P = taps × channels of a group.
        outputs: outputs Q of a group.
        nuisance: number of nuisance columns.
        shapes: shapes (*W) of the records.
        limits: limits of memory.
        masked: whether some rows are masked.
        partialled: whether rows are weighted or confounds are projected out.
        confounded: whether there are confounds.
        numbers: numbers in x and y.
        stored: whether they are stored elsewhere than in memory.
        dimension: dimension of the kernels of an output if they are restricted, or None.
        has_functions: whether they are restricted by functions, and not only by windows.
    """

    groups: int
    rows: int
    columns: int
    outputs: int
    nuisance: int
    shapes: tuple[tuple[int, ...], ...]
    limits: Tuning = DEFAULT_TUNING
    masked: bool = False
    partialled: bool = False
    confounded: bool = False
    numbers: int = 0
    stored: bool = False
    dimension: int | None = None
    has_functions: bool = False

    @property
    def parameters(self) -> int:
        """Unknowns of the kernel of an output: P, or the dimension of its basis."""
        return self.columns if self.dimension is None else self.dimension

    @property
    def chunked(self) -> bool:
        """Whether sums over rows are computed chunk by chunk."""
        return self.numbers > self.limits.held_numbers

    @property
    def beyond_memory(self) -> bool:
        """Whether x and y are stored elsewhere and are too large to be read whole."""
        return self.stored and self.chunked

    @property
    def whole_reason(self) -> str | None:
        """Why all of x and y cannot be taken at once, or None."""
        if not self.beyond_memory:
            return None
        needed = in_bytes(8 * self.numbers)
        return f"needs all of x and y at once, {needed} that are not in memory"

    @property
    def toeplitz(self) -> bool:
        """Whether AᵀA is Toeplitz, except for the edges of records and the mean."""
        return not (self.masked or self.partialled)

    @property
    def unknowns(self) -> int:
        """Unknowns per output, of the kernel and of the nuisance columns."""
        return self.parameters + self.nuisance

    @property
    def wide(self) -> bool:
        """Whether unknowns outnumber rows."""
        return self.rows < self.unknowns

    @property
    def matrix_numbers(self) -> int:
        """Numbers in the design matrices and y of all groups."""
        return self.rows * self.groups * (self.columns + self.outputs)

    @property
    def small(self) -> bool:
        """Whether the matrix is so small that a QR is the default."""
        return self.matrix_numbers <= self.limits.small_numbers and not self.chunked

    @property
    def by_rows(self) -> bool:
        """Whether the design matrix of each group is small enough to be formed."""
        return self.matrix_numbers <= self.limits.row_numbers * self.groups

    @property
    def gram_bytes(self) -> int:
        """Memory of AᵀA of all groups."""
        return 8 * self.groups * self.parameters**2

    @property
    def factor_bytes(self) -> int:
        """Memory of a QR: three blocks of the tree, R of every group and its basis."""
        width = self.columns + self.outputs
        block = 3 * min(self.rows, tree_height(width, self.limits.tree_rows)) * width
        return 8 * (block + 2 * self.groups * min(self.rows, self.parameters) * width)

    @property
    def gram_fits(self) -> bool:
        """Whether AᵀA fits into the limits."""
        return self.gram_bytes <= self.limits.gram_bytes

    def gram_reason(self, columns: int | None = None) -> str | None:
        """Return None, or why AᵀA is not formed, with the taps or more as ``columns``."""
        needed = 8 * self.groups * (columns or self.parameters) ** 2
        words = f"the Gram matrix needs {in_bytes(needed)}, more than Limits(memory=) allows"
        return words if needed > self.limits.gram_bytes else None

    @cached_property
    def factor_fits(self) -> bool:
        """Whether a QR fits into the limits of memory and operations."""
        return not self.factor_excess

    @property
    def factor_in_memory(self) -> bool:
        """Whether a QR fits into the memory limit."""
        return self.factor_bytes <= self.limits.factor_bytes

    @property
    def factor_excess(self) -> str:
        """What a QR needs, and the limit that it exceeds; empty if it exceeds none."""
        if not self.factor_in_memory:
            return f"{in_bytes(self.factor_bytes)}, more than Limits(memory=) allows"
        work = 0 if self.wide else 2 * self.rows * self.parameters**2
        words = f"{work:.1g} operations, more than {self.limits.most_work:.0e}"
        return words if work > self.limits.most_work else ""
