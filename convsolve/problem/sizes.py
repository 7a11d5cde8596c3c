"""How large a problem is, what its matrices would take, and how much is allowed."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..lazy_jax import PEER_SECONDS
from ..text import shown


@dataclass(frozen=True)
class Limits:
    """What memory and time allow; `identify`, `solve` and `compare` take others as ``limits=``.

    Attributes:
        factor_bytes: the largest QR of the design matrix, in blocks of rows, R of every group
            included.
        gram_bytes: the largest AᵀA of all groups together; scaled, checked and factored it takes
            five times as much.
        small_numbers: a design matrix of at most this many numbers goes straight to a QR, which
            decides everything in a millisecond or two.
        row_numbers: that of one group is formed row by row up to this many numbers, before FFTs are
            set up.
        kept_numbers: blocks of rows are kept between passes up to this many numbers, and made anew
            beyond.
        block_numbers: numbers of one block of rows: 8 MiB, within a core's share of the cache and
            long enough for BLAS to run at full speed.
        spectrum_columns: up to this many columns all singular values are computed; beyond, which
            would take seconds, only the two extreme ones.
        gap_products: a record is cut where the rows of a gap, which are taken off its sums one by
            one, would take more products than this, about a millisecond: what a piece more costs.
        held_numbers: x and y are taken whole up to this many numbers, 256 MiB, and beyond in
            chunks of records.
        chunk_numbers: numbers of one chunk, 64 MiB, or of the Gram if that has more; of arrays in
            memory, of which nothing is read, twice as many, and half of those that dask reads.
        tree_rows: rows of the blocks whose QRs a tree joins: of taller ones the rounding grows, and
            caches hold no more.
        peer_seconds: how long to wait for other processes of jax.distributed that share the data.
    """

    factor_bytes: int = 2**31
    gram_bytes: int = 2**30
    small_numbers: int = 2**16
    row_numbers: int = 2**16
    kept_numbers: int = 2**20
    block_numbers: int = 2**20
    spectrum_columns: int = 1500
    tree_rows: int = 2048
    gap_products: int = 2**25
    held_numbers: int = 2**25
    chunk_numbers: int = 2**23
    peer_seconds: float = PEER_SECONDS

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{field.name} must be a number, got {shown(value)}")
            if not value >= 0:
                raise ValueError(f"{field.name} must not be negative or NaN, got {value}")


DEFAULT_LIMITS = Limits()


def check_limits(limits: object) -> None:
    """Raise a TypeError unless these are `Limits`."""
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a Limits, got {shown(limits)}; leave it out for the usual")


def tree_height(columns: int, rows: int = DEFAULT_LIMITS.tree_rows) -> int:
    """Return the rows of one QR: at least twice the columns, so that joining triangles is cheap."""
    return max(rows, 2 * columns)


@dataclass(frozen=True)
class Sizes:
    """The sizes that decide how a problem is solved.

    Attributes:
        groups: number of groups.
        rows: rows n of the design matrix, shared by all groups.
        columns: columns P = taps × channels of a group.
        outputs: outputs Q of a group.
        given: outputs of a group whose y is known: Q, or 0 if y is None.
        nuisance: number of nuisance columns.
        shapes: shapes (*W) of the records.
        limits: limits of memory and time.
        masked: whether some rows are masked.
        partialled: whether rows are weighted or confounds are projected out.
        numbers: numbers in x and y.
        stored: whether they are stored elsewhere than in memory.
        remote: whether they are on devices and x is larger than AᵀA, which the host always holds.
    """

    groups: int
    rows: int
    columns: int
    outputs: int
    given: int
    nuisance: int
    shapes: tuple[tuple[int, ...], ...]
    limits: Limits = DEFAULT_LIMITS
    masked: bool = False
    partialled: bool = False
    numbers: int = 0
    stored: bool = False
    remote: bool = False

    @property
    def chunked(self) -> bool:
        """Whether sums over rows are computed chunk by chunk."""
        return self.numbers > self.limits.held_numbers and not self.remote

    @property
    def beyond_memory(self) -> bool:
        """Whether x and y are stored elsewhere and are too large to be read whole."""
        return self.stored and self.numbers > self.limits.held_numbers

    @property
    def whole_reason(self) -> str | None:
        """Why all of x and y cannot be taken at once, or None."""
        if not self.beyond_memory:
            return None
        return (
            f"takes all of x and y at once, {self.numbers} numbers that are not in memory: read "
            "them first (in Python, numpy.asarray(x)), or give Limits a larger held_numbers"
        )

    @property
    def toeplitz(self) -> bool:
        """Whether AᵀA is Toeplitz, except for the edges of records and the mean."""
        return not (self.masked or self.partialled)

    @property
    def unknowns(self) -> int:
        """Unknowns per output: P and the nuisance columns."""
        return self.columns + self.nuisance

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
        return 8 * self.groups * self.columns**2

    @property
    def factor_bytes(self) -> int:
        """Memory of a QR: three blocks of the tree, R of every group and its basis."""
        width = self.columns + self.given
        block = 3 * min(self.rows, tree_height(width, self.limits.tree_rows)) * width
        return 8 * (block + 2 * self.groups * min(self.rows, self.columns) * width)

    @property
    def gram_fits(self) -> bool:
        """Whether AᵀA fits into the limits."""
        return self.gram_bytes <= self.limits.gram_bytes

    @property
    def factor_fits(self) -> bool:
        """Whether a QR fits into the limits."""
        return self.factor_bytes <= self.limits.factor_bytes
