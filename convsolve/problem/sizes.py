"""How large a problem is, what its matrices would take, and how much is allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..linalg.qr import TREE_ROWS, tree_height
from ..text import in_bytes, shown
from .checks import number
from .records import Stored


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
        row_numbers: design matrices are formed by rows up to this many numbers. For larger ones
            FFTs are used.
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
    if limits is None or isinstance(limits, Tuning):
        return limits or DEFAULT_TUNING
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a Limits, got {shown(limits)}")
    memory, data = (int(min(value, 2**62)) for value in (limits.memory, limits.data))
    chunks = min(DEFAULT_TUNING.chunk_numbers, max(1, data // 32))
    return Tuning(memory, memory // 2, held_numbers=data // 8, chunk_numbers=chunks)


class Sizes:
    """The sizes that decide how a problem is solved.

    Attributes:
        limits: limits of memory.
        groups: number of groups.
        rows: rows n of the design matrix, shared by all groups.
        columns: columns P = taps × channels of a group.
        outputs: outputs Q of a group.
        nuisance: number of nuisance columns.
        shapes: shapes (*W) of the records.
        dimension: dimension of the kernels of an output if they are restricted, or None.
        has_functions: whether they are restricted by functions, and not only by windows.
        confounded: whether there are confounds.
        partialled: whether rows are weighted or confounds are projected out.
        toeplitz: whether AᵀA is Toeplitz, except for the edges of records and the mean.
        numbers: numbers in x and y.
        chunked: whether sums over rows are computed chunk by chunk.
        beyond_memory: whether x and y are stored elsewhere and are too large to be read whole.
        parameters: unknowns of the kernel of an output: P, or the dimension of its basis.
        unknowns: unknowns per output, of the kernel and of the nuisance columns.
        wide: whether unknowns outnumber rows.
        matrix_numbers: numbers in the design matrices and y of all groups.
        small: whether the matrix is so small that a QR is the default.
        by_rows: whether the design matrices are small enough to be formed.
        gram_bytes: memory of AᵀA of all groups.
        gram_fits: whether AᵀA fits into the limits.
        factor_bytes: memory of a QR: three blocks of the tree, R of every group and its basis.
        factor_in_memory: whether a QR fits into the memory limit.
        factor_excess: what a QR needs, and the limit that it exceeds; empty if it exceeds none.
        factor_fits: whether a QR fits into the limits of memory and operations.
    """

    def __init__(self, problem: Any, limits: Tuning) -> None:
        arrays, space, kept = (*problem.x, *(problem.y or ())), problem._space, problem._kept
        self.limits, self.groups, self.rows = limits, problem.spec.groups, problem.n_equations
        self.columns = problem.spec._unknowns(problem.n_channels)
        self.outputs, self.nuisance = problem.n_outputs // self.groups, problem._nuisance.total
        self.shapes, self.dimension = problem._lengths, None if space is None else space.rank
        self.has_functions = space is not None and space.has_functions
        self.confounded = problem._terms.given
        self.partialled = problem._nuisance.confounds is not None
        self.toeplitz = kept.flags is None and not self.partialled
        self.numbers = sum(a.size for a in arrays)
        self.chunked = self.numbers > limits.held_numbers
        self.beyond_memory = self.chunked and any(isinstance(a, Stored) for a in arrays)
        self.parameters = self.columns if self.dimension is None else self.dimension
        self.unknowns = self.parameters + self.nuisance
        self.wide, width = self.rows < self.unknowns, self.columns + self.outputs
        self.matrix_numbers = self.rows * self.groups * width
        self.small = self.matrix_numbers <= limits.small_numbers and not self.chunked
        self.by_rows = self.matrix_numbers <= limits.row_numbers
        self.gram_bytes = 8 * self.groups * self.parameters**2
        self.gram_fits = self.gram_bytes <= limits.gram_bytes
        block = 3 * min(self.rows, tree_height(width, limits.tree_rows)) * width
        factors = 2 * self.groups * min(self.rows, self.parameters) * width
        self.factor_bytes = 8 * (block + factors)
        self.factor_in_memory = self.factor_bytes <= limits.factor_bytes
        work = 0 if self.wide else 2 * self.rows * self.parameters**2
        self.factor_excess = ""
        if not self.factor_in_memory:
            self.factor_excess = f"{in_bytes(self.factor_bytes)}, more than Limits(memory=) allows"
        elif work > limits.most_work:
            self.factor_excess = f"{work:.1g} operations, more than {limits.most_work:.0e}"
        self.factor_fits = not self.factor_excess

    @property
    def whole_reason(self) -> str | None:
        """Why all of x and y cannot be taken at once, or None."""
        words = f"needs all of x and y at once, {in_bytes(8 * self.numbers)} that are not in memory"
        return words if self.beyond_memory else None

    def gram_reason(self, columns: int | None = None) -> str | None:
        """Return None, or why AᵀA is not formed, with the taps or more as ``columns``."""
        needed = 8 * self.groups * (columns or self.parameters) ** 2
        words = f"the Gram matrix needs {in_bytes(needed)}, more than Limits(memory=) allows"
        return words if needed > self.limits.gram_bytes else None
