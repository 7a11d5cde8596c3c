"""Moments of a regression: sums over rows that suffice for least squares and can be added."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

# Products of two powers of two up to this exponent stay within float64, also times a Gram of
# numbers of about one.
FAR = 200
# Largest number of elements of rows that are read more than once (512 KiB).
CACHED_NUMBERS = 2**16


@dataclass(frozen=True)
class Moments:
    """Second moments of rows (a, y), one set per group. ``+`` joins batches, chunks, files, hosts.

    Columns are ordered by tap, then by channel. Column j of channel c enters as
    ``2**-exponents[c] * a[j] - shift[j]``, output q as ``2**-out_exponents[q] * y[q] -
    out_shift[q]``. The powers of two prevent overflow. The shift prevents cancellation when x or y
    has a large offset. ``+`` aligns the exponents and shifts of both operands.

    All taps of a channel share one exponent, so that a basis along the taps can be applied to the
    scaled moments. ``exponents`` may have as many channels as there are columns, for one tap.

    Shapes, for G groups, C channels, P columns and Q outputs per group: ``gram`` (G, P, P), ``rhs``
    (G, P, Q), ``sums`` and ``shift`` (G, P), ``exponents`` (G, C); ``out_sums``, ``out_squares``,
    ``out_exponents`` and ``out_shift`` (G, Q); ``n`` is the number of rows.
    """

    gram: np.ndarray
    rhs: np.ndarray
    sums: np.ndarray
    out_sums: np.ndarray
    out_squares: np.ndarray
    n: int
    exponents: np.ndarray
    shift: np.ndarray
    out_exponents: np.ndarray
    out_shift: np.ndarray

    @classmethod
    def from_rows(
        cls,
        a: np.ndarray,
        y: np.ndarray,
        exponents: np.ndarray | int = 0,
        shift: np.ndarray | float = 0.0,
        out_exponents: np.ndarray | int = 0,
        out_shift: np.ndarray | float = 0.0,
    ) -> Moments:
        """Return the moments of rows a (G, n, P) and y (G, n, Q), already scaled and shifted."""
        groups, n, columns = a.shape
        wide, tall = (groups, columns), (groups, y.shape[-1])
        channels = np.shape(exponents)[-1] if np.ndim(exponents) else columns
        gram, rhs, sums = np.empty((*wide, columns)), np.empty((*wide, y.shape[-1])), np.empty(wide)
        for some in groups_at_once(a):
            at = a[some].transpose(0, 2, 1)
            # The product of one array with itself takes half the time in BLAS.
            np.matmul(at, a[some], out=gram[some])
            np.matmul(at, y[some], out=rhs[some])
            # Same as a.sum(1), but four times as fast for few columns.
            np.einsum("gnp->gp", a[some], out=sums[some])
        return cls(
            gram,
            rhs,
            sums,
            y.sum(1),
            np.einsum("gnq,gnq->gq", y, y),
            n,
            np.broadcast_to(np.asarray(exponents, int), (groups, channels)),
            np.broadcast_to(np.asarray(shift, float), wide),
            np.broadcast_to(np.asarray(out_exponents, int), tall),
            np.broadcast_to(np.asarray(out_shift, float), tall),
        )

    @classmethod
    def empty(cls, groups: int, columns: int, outputs: int) -> Moments:
        """Return the moments of no rows, the neutral element of ``+``."""
        return cls.from_rows(np.zeros((groups, 0, columns)), np.zeros((groups, 0, outputs)))

    def __add__(self, other: Moments) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        if (self.gram.shape, self.rhs.shape) != (other.gram.shape, other.rhs.shape):
            raise ValueError(
                f"moments of (groups, columns, outputs) {self.rhs.shape} and {other.rhs.shape} "
                "do not add up"
            )
        if not self.n or not other.n:
            return other if not self.n else self
        mine, others = self._zero, other._zero
        exponents = _larger(self.exponents, mine[0], other.exponents, others[0])
        out_exponents = _larger(self.out_exponents, mine[1], other.out_exponents, others[1])
        a = self.rescaled(exponents, out_exponents)
        b = other.rescaled(exponents, out_exponents).shifted(a.shift, a.out_shift)
        return Moments(
            a.gram + b.gram,
            a.rhs + b.rhs,
            a.sums + b.sums,
            a.out_sums + b.out_sums,
            a.out_squares + b.out_squares,
            a.n + b.n,
            exponents,
            a.shift,
            out_exponents,
            a.out_shift,
        )

    @property
    def column_exponents(self) -> np.ndarray:
        """Exponents (G, P) of the columns."""
        return per_column(self.exponents, self.gram.shape[1])

    @property
    def _zero(self) -> tuple[np.ndarray, np.ndarray]:
        """Flags of the channels (G, C) and outputs (G, Q) that are zero in all rows.

        Zeros fit any exponent.
        """
        squares = np.einsum("gpp->gp", self.gram), self.out_squares
        pairs = zip(squares, (self.sums, self.out_sums), (self.shift, self.out_shift), strict=True)
        columns, outputs = ((s == 0) & (t == 0) & (shift == 0) for s, t, shift in pairs)
        groups, channels = self.exponents.shape
        taps = columns.shape[1] // max(1, channels)
        return columns.reshape(groups, taps, channels).all(1), outputs

    def of_group(self, group: int) -> Moments:
        """Return the moments of one group."""
        one = slice(group, group + 1)
        arrays = {f.name: getattr(self, f.name)[one] for f in fields(self) if f.name != "n"}
        return Moments(n=self.n, **arrays)

    def with_zero_columns(self, live: np.ndarray) -> Moments:
        """Return the moments with columns set to zero where ``live`` (G, P) is False."""
        if live.all():
            return self
        return replace(
            self,
            gram=self.gram * live[:, :, None] * live[:, None],
            rhs=self.rhs * live[:, :, None],
            sums=self.sums * live,
        )

    def rescaled(self, exponents: np.ndarray, out_exponents: np.ndarray) -> Moments:
        """Return the moments of the same rows with other exponents, which is exact."""
        e, f = self.exponents - exponents, self.out_exponents - out_exponents
        e = per_column(e, self.gram.shape[1])
        if not e.any() and not f.any():
            return self
        return Moments(
            _scaled_twice(self.gram, e),
            np.ldexp(self.rhs, e[:, :, None] + f[:, None, :]),
            np.ldexp(self.sums, e),
            np.ldexp(self.out_sums, f),
            np.ldexp(self.out_squares, 2 * f),
            self.n,
            exponents,
            np.ldexp(self.shift, e),
            out_exponents,
            np.ldexp(self.out_shift, f),
        )

    def shifted(self, shift: np.ndarray, out_shift: np.ndarray) -> Moments:
        """Return the moments of the same rows with another shift.

        With Δ the change, G becomes G + sΔᵀ + Δsᵀ + nΔΔᵀ.
        """
        if np.array_equal(shift, self.shift) and np.array_equal(out_shift, self.out_shift):
            return self
        delta, eps = self.shift - shift, self.out_shift - out_shift
        s, t, n = self.sums, self.out_sums, self.n
        cross = np.einsum("gp,gq->gpq", s, delta)
        return Moments(
            self.gram
            + cross
            + cross.transpose(0, 2, 1)
            + n * np.einsum("gp,gq->gpq", delta, delta),
            self.rhs
            + np.einsum("gp,gq->gpq", s, eps)
            + np.einsum("gp,gq->gpq", delta, t)
            + n * np.einsum("gp,gq->gpq", delta, eps),
            s + n * delta,
            t + n * eps,
            self.out_squares + 2 * t * eps + n * eps**2,
            n,
            self.exponents,
            shift,
            self.out_exponents,
            out_shift,
        )

    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        """Return Gram and right-hand side with the mean subtracted, in scaled units."""
        gram = self.gram - self.sums[:, :, None] * self.sums[:, None] / self.n
        return gram, self.rhs - np.einsum("gp,gq->gpq", self.sums, self.out_sums) / self.n

    @property
    def centred_squares(self) -> np.ndarray:
        """Sums of squares (G, Q) of the outputs about their means, in scaled units."""
        return np.maximum(self.out_squares - self.out_sums**2 / self.n, 0.0)


def per_column(per_channel: np.ndarray, columns: int) -> np.ndarray:
    """Repeat values (G, C) of channels for every tap, giving values (G, P) of columns."""
    return np.tile(per_channel, (1, columns // max(1, per_channel.shape[1])))


def _larger(a: np.ndarray, no_a: np.ndarray, b: np.ndarray, no_b: np.ndarray) -> np.ndarray:
    """Return the larger of two exponents, ignoring one that belongs to zeros."""
    return np.asarray(np.where(no_a & ~no_b, b, np.where(no_b & ~no_a, a, np.maximum(a, b))))


def groups_at_once(a: np.ndarray) -> list[slice]:
    """Return slices of the groups of rows (G, n, P) that fit in the cache of a core."""
    step = max(1, CACHED_NUMBERS // max(1, a[0].size))
    return [slice(first, first + step) for first in range(0, len(a), step)]


def _scaled_twice(gram: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Scale the rows and columns of a Gram matrix (G, P, P) by two to the exponents (G, P)."""
    if np.abs(exponents).max(initial=0) > FAR:
        return np.ldexp(gram, exponents[:, :, None] + exponents[:, None, :])
    # This is also exact as long as no product leaves the range of float64, and ten times as fast.
    scale = np.ldexp(1.0, exponents)
    found = gram * scale[:, :, None]
    found *= scale[:, None, :]
    return found
