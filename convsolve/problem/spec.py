"""The geometry of a convolution layer in plain integers: no arrays of data, no jax."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from ..cached import cached_property
from ..text import shown
from .checks import choice, flag, integer, pairs, per_axis

PADDINGS = ("valid", "same", "full", "causal", "circular")

Ints = int | Sequence[int]
Padding = str | Sequence[tuple[int, int]]
Shape = tuple[int, ...]


def smallest(enough: Callable[[int], bool]) -> int:
    """Return the smallest positive integer for which ``enough`` is True, and stays True."""
    high = 1
    while not enough(high):
        high *= 2
    return bisect_left(range(high), True, high // 2 + 1, key=enough)


@dataclass(frozen=True)
class ConvSpec:
    """Geometry of a convolution in one to three dimensions.

    The convolution is a *cross-correlation*, as in every deep-learning framework, channels last::

        y[n, t, o] = b[o] + sum_{k, c} x[n, t*stride + k*dilation - lo, g(o)*Cg + c] * w[k, c, o]

    Along an axis of W samples with K taps, stride s and dilation d, ``padding`` determines ``lo``
    and the number of outputs:

    ========== ======================================== ===================================
    padding    lo                                       outputs
    ========== ======================================== ===================================
    valid      0                                        max(0, floor((W-(K-1)d-1)/s) + 1)
    full       (K-1)d                                   floor((W+(K-1)d-1)/s) + 1
    causal     (K-1)d                                   T = ceil(W/s)
    same       floor(max((T-1)s+(K-1)d+1-W, 0)/2)       T = ceil(W/s)
    circular   floor((K-1)d/2), wraps                   T = ceil(W/s)
    ========== ======================================== ===================================

    Args:
        kernel_size: number of taps, an integer for one axis, or one per axis.
        stride: samples between outputs, an integer or one per axis. Default 1.
        padding: a name from the table, "valid" by default. ``((lo, hi), ...)``, one pair per axis,
            is the number of zeros added before and after the record. Negative numbers crop it.
        dilation: samples between taps, an integer or one per axis. Default 1.
        groups: number of groups of channels that are convolved separately. Default 1.
        lo: for padding "circular" only, ``lo`` of every axis. None, the default, is ``lo`` of the
            table.

    Raises:
        TypeError: If a size is not an integer (bool is not one).
        ValueError: If a size is below 1, if the padding is unknown, or if a number of entries is
            not the number of axes.

    Examples:
        >>> import convsolve as cs
        >>> spec = cs.ConvSpec(kernel_size=3, padding="causal", dilation=2)
        >>> spec.lags((100,)), spec.output_shape((100,))
        (array([4, 2, 0]), (100,))

    See Also:
        `Problem`, which also takes lags instead.
    """

    kernel_size: Shape
    stride: Shape = 1  # type: ignore[assignment]  # an int is read as one per axis
    padding: str | tuple[tuple[int, int], ...] = "valid"
    dilation: Shape = 1  # type: ignore[assignment]
    groups: int = 1
    lo: Shape | None = None

    def __post_init__(self) -> None:
        given: Any = self.kernel_size
        size = given if isinstance(given, (tuple, list)) else (given,)
        if not 1 <= len(size) <= 3:
            raise ValueError(f"kernel_size={shown(size)} has {len(size)} axes, not 1 to 3")
        padding: Any = self.padding
        if isinstance(padding, (tuple, list)):
            padding = pairs(padding, "padding", len(size))
        else:
            choice(padding, "padding", PADDINGS, " or ((lo, hi), ...)")
        if self.lo is not None and padding != "circular":
            raise ValueError(f"lo={shown(self.lo)} requires padding='circular'")
        lo = None if self.lo is None else per_axis(self.lo, "lo", len(size), -math.inf)
        vars(self).update(
            kernel_size=per_axis(size, "kernel_size", len(size)),
            stride=per_axis(self.stride, "stride", len(size)),
            padding=padding,
            dilation=per_axis(self.dilation, "dilation", len(size)),
            groups=integer(self.groups, "groups"),
            lo=lo,
        )

    @property
    def ndim(self) -> int:
        """Number of kernel axes."""
        return len(self.kernel_size)

    @cached_property
    def _long_axis(self) -> int:
        """The axis of most taps, which comes first in sums and in rows."""
        return self.kernel_size.index(max(self.kernel_size))

    @cached_property
    def _span(self) -> Shape:
        """Samples that one window covers along each axis, (K-1)·dilation + 1."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))

    def output_shape(self, shape: Sequence[int]) -> Shape:
        """Return outputs along each axis for a record of ``shape`` samples; 0 if no window fits."""
        return _layout(self, tuple(shape))[0]

    def _offset(self, shape: Sequence[int]) -> Shape:
        """``lo`` of each axis: the zeros (or wrapped samples) in front of a record."""
        return _layout(self, tuple(shape))[1]

    def _extent(self, shape: Sequence[int]) -> Shape:
        """Return samples of each axis that windows read with padding: (T-1)·stride + span, or 0."""
        return _layout(self, tuple(shape))[2]

    def _ends(self, axis: int, samples: int) -> tuple[int, int]:
        """Return the zeros before and after a record along an axis; samples if it is circular."""
        reach, s = self._span[axis] - 1, self.stride[axis]
        if isinstance(self.padding, tuple):
            return self.padding[axis]
        if self.padding in ("valid", "full"):
            return (reach, reach) if self.padding == "full" else (0, 0)
        lo = reach
        if self.padding == "same":
            lo = max((-(-samples // s) - 1) * s + reach + 1 - samples, 0) // 2
        elif self.padding == "circular":
            lo = reach // 2 if self.lo is None else self.lo[axis]
        return lo, reach - lo

    @cached_property
    def _normal(self) -> ConvSpec:
        """The same windows over records already padded: padding "valid"."""
        return self if self.padding == "valid" else replace(self, padding="valid", lo=None)

    def _reads_all(self, shape: Sequence[int]) -> bool:
        """Return whether windows read every sample of a record.

        With a stride or a dilation, it is not examined and False is returned.
        """
        if {*self.stride, *self.dilation} != {1}:
            return False
        axes = zip(shape, self._offset(shape), self._extent(shape), strict=True)
        return all(0 <= lo <= lo + w <= e for w, lo, e in axes)

    def _unknowns(self, n_channels: int = 1) -> int:
        """Columns of the design matrix of one group: taps × input channels per group."""
        self._check_channels(n_channels)
        return math.prod(self.kernel_size) * (n_channels // self.groups)

    def _check_channels(self, n_channels: int) -> None:
        """Raise a ValueError unless ``groups`` divides the number of input channels."""
        if n_channels % self.groups:
            raise ValueError(f"groups={self.groups} does not divide the {n_channels} channels of x")

    def lags(self, shape: Sequence[int] | None = None) -> np.ndarray | tuple[np.ndarray, ...]:
        """Lag of every tap in kernel order, ``lo - k*dilation``; positive is the past.

        One integer array in one dimension, a tuple of them, one an axis, beyond. The record's
        ``shape`` is needed by ``padding="same"`` alone, where ``lo`` depends on it.
        """
        if shape is None and self.padding == "same":
            raise ValueError("padding='same' places the kernel by the record's shape; give it")
        lags = self._lags(self._span if shape is None else shape)
        return lags[0] if self.ndim == 1 else lags

    def _lags(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Return the lag of every tap along each axis, in kernel order."""
        axes = zip(self._offset(shape), self.dilation, self.kernel_size, strict=True)
        return tuple(np.arange(lo, lo - d * k, -d) for lo, d, k in axes)

    def _in_taps(self, lags: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return lags of every axis in units of the distance of two taps, given in samples."""
        return tuple(axis / d for axis, d in zip(lags, self.dilation, strict=True))

    def minimum_samples(
        self, n_channels: int = 1, *, n_records: int = 1, bias: bool = False
    ) -> int:
        """Return the length of the shortest record from which every tap can be determined.

        In two and three dimensions, it is the side of the smallest square or cube. No shorter x
        determines the kernel. White noise of this length does, unless there are fewer images than
        channels and they are not larger than the kernel. `identify` examines a given x.

        Args:
            n_channels: number of input channels.
            n_records: number of records of this length.
            bias: whether a bias is estimated too.

        Raises:
            TypeError, ValueError: If a count is not a positive integer, or ``bias`` is not a bool.
        """
        n_channels, n_records = integer(n_channels, "n_channels"), integer(n_records, "n_records")
        wanted = self._unknowns(n_channels) + flag(bias, "bias")
        share = Fraction(n_channels // self.groups, n_records)

        def counted(side: int) -> bool:
            return n_records * math.prod(self.output_shape((side,) * self.ndim)) >= wanted

        if self.padding == "circular":
            sizes = list(zip(self.kernel_size, self.dilation, strict=True))
            sides = itertools.count(smallest(counted))
            # Taps a whole turn apart read the same sample.
            return next(n for n in sides if all(n // math.gcd(n, d) >= k for k, d in sizes))
        if self.padding == "valid":
            return smallest(counted)
        return smallest(lambda side: counted(side) and self._rows_per_tap(side) >= share)

    def _rows_per_tap(self, side: int) -> Fraction:
        """Return the smallest number of rows per tap in which a box of taps reads the record.

        If it is smaller than the number of channels, these taps are not unique (Hall's theorem),
        even if there are enough rows in total, because in other rows these taps read zeros.
        """
        poorest = Fraction(1)
        outputs_and_lo = zip(*_layout(self, (side,) * self.ndim)[:2], strict=True)
        for axis, (outputs, lo) in enumerate(outputs_and_lo):
            k, s = self.kernel_size[axis], self.stride[axis]
            reads = np.arange(k) * self.dilation[axis] - lo
            first = np.maximum(-(reads // s), 0)
            last = np.minimum((side - 1 - reads) // s, outputs - 1)
            # Without a stride the fewest rows are linear in the taps.
            lengths = {1, k} if s == 1 else range(1, k + 1)
            rows = {n: int((last[: k - n + 1] - first[n - 1 :]).min()) + 1 for n in lengths}
            poorest *= max(min(Fraction(r, n) for n, r in rows.items()), Fraction(0))
        return poorest


@lru_cache(maxsize=1024)
def _layout(spec: ConvSpec, shape: Shape) -> tuple[Shape, ...]:
    """Return outputs, ``lo`` and extents of all axes, for records of ``shape`` samples."""
    if len(shape) != spec.ndim:
        raise ValueError(f"shape={shape} must have {spec.ndim} axes, as the kernel has")
    axes = []
    for axis, (w, s, span) in enumerate(zip(shape, spec.stride, spec._span, strict=True)):
        # Results are shared by equal shapes, so they are ints even if NumPy counted the samples.
        w = int(w)
        lo, hi = spec._ends(axis, w)
        outputs = max((w + lo + hi - span) // s + 1, 0)
        axes.append((outputs, lo, (outputs - 1) * s + span if outputs else 0))
    return tuple(zip(*axes, strict=True))
