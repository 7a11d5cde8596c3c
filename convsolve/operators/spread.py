"""How records are spread over devices of jax, and cut into blocks.

x stays where it is: on one device, or on several along its records or its time. y comes beside it,
copied if it is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..problem.remote import Remote, Source
from ..problem.spec import ConvSpec
from .overlap_save import component_taps

if TYPE_CHECKING:
    from .jax_blocks import Held

# Numbers that a block is told by, see `jax_blocks.Item`.
FIELDS = 6


class Unsupported(Exception):
    """What these devices, or this geometry, are not made for, in words."""


class Spread(NamedTuple):
    """Where an array is: on ``devices`` one after the other along ``axis``; None of one device."""

    devices: tuple[Any, ...]
    axis: int | None

    @classmethod
    def of(cls, array: Any) -> Spread:
        """That of an array of jax; of copies on several devices this process's own, if it has any,
        else the first.
        """
        places: dict[tuple[tuple[int, int], ...], Any] = {}
        here = array.sharding.addressable_devices
        known = array.sharding.devices_indices_map(array.shape)
        for device in sorted(known, key=lambda d: (d not in here, d.id)):
            axes = zip(known[device], array.shape, strict=True)
            places.setdefault(tuple(s.indices(n)[:2] for s, n in axes), device)
        several = [axis for axis in range(array.ndim) if len({p[axis] for p in places}) > 1]
        if len(several) > 1:
            raise Unsupported("spread along several axes")
        ordered = sorted(places.items())
        return cls(tuple(device for _, device in ordered), several[0] if several else None)

    def sharding(self, ndim: int) -> Any:
        """The sharding of an array of so many axes."""
        from jax.sharding import NamedSharding, PartitionSpec

        from .jax_blocks import AXIS

        axes = [AXIS if axis == self.axis else None for axis in range(ndim)]
        return NamedSharding(mesh_of(self.devices), PartitionSpec(*axes))

    def named(self, array: Any) -> Any:
        """The same array, nothing copied, in the sharding of these devices."""
        import jax

        parts = {part.device: part.data for part in array.addressable_shards}
        mine = [parts[d] for d in self.devices if d in parts]
        sharding = self.sharding(array.ndim)
        return jax.make_array_from_single_device_arrays(array.shape, sharding, mine)


def mesh_of(devices: Sequence[Any]) -> Any:
    """These devices in a row."""
    from jax.sharding import Mesh

    from .jax_blocks import AXIS

    return Mesh(np.array(devices), (AXIS,))


class Stack:
    """Records of one array, and y beside it, on the same devices: x (N, W, C), y (N, T, Cout) or
    less an axis; of y the first ``ahead`` samples are no rows.
    """

    def __init__(self, x: Remote, y: Remote | None, rows: int, spec: ConvSpec) -> None:
        """``rows`` T of every record."""
        array = x.source.array
        if x.start:
            raise Unsupported("records of which some samples are left out")
        self.spread = Spread.of(array)
        batch = x.record is not None
        self.by_time = self.spread.axis == int(batch)
        if self.spread.axis is not None and self.spread.axis > int(batch):
            raise Unsupported("spread along channels")
        self.rows, self.ahead = rows, 0 if y is None else y.start
        self.records = array.shape[0] if batch else 1
        self.width = array.shape[int(batch)]
        self.spec, (self.taps,) = spec, component_taps(spec)
        (self.offset,) = spec.offset((self.width,))
        self.x = self.spread.named(array)
        self.y = None if y is None else self._beside(y.source.array, int(batch))
        self.held = self._held(int(batch))

    def _beside(self, y: Any, time: int) -> Any:
        """y on the devices of x, spread along the same axis; in time the last has less of it."""
        import jax

        if Spread.of(y) == self.spread:
            return self.spread.named(y)
        if not (y.is_fully_addressable or y.is_fully_replicated):
            raise Unsupported("x and y are spread in different ways")
        pads = [(0, 0)] * y.ndim
        if self.by_time:
            pads[time] = (0, -y.shape[time] % len(self.spread.devices))
        with jax.enable_x64(True):
            padded = jax.numpy.pad(y, pads) if any(map(any, pads)) else y
            return jax.device_put(padded, self.spread.sharding(y.ndim))

    def _held(self, time: int) -> Held:
        """What each device holds, and how far into its neighbours its rows reach."""
        from .jax_blocks import Held

        count, spec = len(self.spread.devices) if self.by_time else 1, self.spec
        per = len(self.spread.devices) if self.spread.axis is not None and not self.by_time else 1
        samples = self.width // count
        rows = -(-self.rows // count) if self.y is None else self.y.shape[time] // count
        before = after = 0
        if self.by_time:
            for j in range(count):
                first, stop = self._rows_of(j, rows)
                start = first * spec.stride[0] - self.offset
                end = (stop - 1) * spec.stride[0] - self.offset + spec.span[0]
                if spec.padding != "circular":
                    start, end = max(start, 0), min(end, self.width)
                if first < stop:
                    before = max(before, j * samples - start)
                    after = max(after, end - (j + 1) * samples)
        if max(before, after) > samples:
            raise Unsupported("less on a device than a kernel reaches")
        return Held(self.records // per, samples, rows, self.width, self.by_time, before, after)

    def _rows_of(self, device: int, rows: int) -> tuple[int, int]:
        """The first row that a device has y of, and the last but one."""
        first, stop = device * rows - self.ahead, (device + 1) * rows - self.ahead
        return min(max(first, 0), self.rows), min(max(stop, 0), self.rows)

    def lengths(self, dilation: int) -> list[int]:
        """Rows of every polyphase component."""
        return [len(range(r, self.rows, dilation)) for r in range(min(dilation, self.rows))]

    def blocks(self, dilation: int, step: int) -> list[np.ndarray]:
        """For every device its blocks (n, `FIELDS`), an `Item` each."""
        count = len(self.spread.devices)
        return [self._blocks_of(j, dilation, step) for j in range(count)]

    def _blocks_of(self, device: int, dilation: int, step: int) -> np.ndarray:
        first, stop = 0, self.rows
        if self.by_time:
            first, stop = self._rows_of(device, self.held.rows)
        found = [np.zeros((0, FIELDS), int)]
        for r, length in enumerate(self.lengths(dilation)):
            a, b = max(0, -(-(first - r) // dilation)), max(0, -(-(stop - r) // dilation))
            records, place = np.indices((self.held.records, -(-max(0, b - a) // step)))
            place = (a + place * step).reshape(-1)
            # x beyond the rows is zero: beside an offset other samples would be a transient.
            rows, long = np.minimum(step, b - place), length >= self.taps
            each = np.broadcast_arrays(records.reshape(-1), r, place, rows, rows, long)
            found.append(np.stack(each, axis=1).reshape(-1, FIELDS))
        return np.concatenate(found)

    def check_ends(self, dilation: int) -> None:
        """Raise `Unsupported` if the ends of a component are not on one device each."""
        if not self.by_time:
            return
        for r, length in enumerate(self.lengths(dilation)):
            last = r + dilation * (self.taps - 2)
            if length < self.taps or self.owner(0, r)[0] != self.owner(0, max(r, last))[0]:
                raise Unsupported("less on a device than a kernel reaches")

    def owner(self, record: int, row: int) -> tuple[int, int]:
        """Which device has a row of a record, and the number of that record there."""
        if self.by_time:
            return (row + self.ahead) // self.held.rows, record
        return divmod(record, self.held.records)


def stacked(
    x: Sequence[Any], y: Sequence[Any] | None, rows: Sequence[int], spec: ConvSpec
) -> list[Stack]:
    """`Remote` records of some ``rows`` each as the arrays that they came in; those without left
    out.

    Raises:
        Unsupported: they are spread in a way that blocks are not made for.
    """
    arrays: dict[Source, Stack] = {}
    for i, record in enumerate(x):
        if rows[i] and record.source not in arrays:
            arrays[record.source] = Stack(record, None if y is None else y[i], rows[i], spec)
    return [*arrays.values()]
