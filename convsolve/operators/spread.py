"""Records on devices of jax: where their samples and rows are, and how rows are cut into blocks.

x stays where it is: on one device, or on several devices along its records or its time. y, the
weights and the nuisance columns are put on the same devices. Every device has some whole records,
or a span of the rows of every record. A span is summed as if it were a separate record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..problem.nuisance import Nuisance
from ..problem.remote import Remote, Source
from ..problem.rows import Rows
from ..problem.spec import ConvSpec
from .nuisance_blocks import columns_of
from .overlap_save import component_taps

# The axis of every mesh.
AXIS = "devices"


class Shape(NamedTuple):
    """The shape of blocks of rows, for which programs are compiled.

    Attributes:
        spec: the windows over records in normal form.
        channels, outputs, nuisance: numbers of all channels, outputs and nuisance columns.
        size: samples of a block. A block for FFTs has several kernels, a block of one row has one.
        blocks: blocks per call on every device.
    """

    spec: ConvSpec
    channels: int
    outputs: int
    nuisance: int
    size: int
    blocks: int

    @property
    def taps(self) -> int:
        """Taps of a polyphase component."""
        return component_taps(self.spec)[0]

    @property
    def common(self) -> int:
        """The greatest common divisor of stride and dilation."""
        return math.gcd(self.spec.stride[0], self.spec.dilation[0])

    @property
    def phases(self) -> int:
        """Channels of a component for every channel of x."""
        return self.spec.stride[0] // self.common

    @property
    def dilation(self) -> int:
        """Number of components."""
        return self.spec.dilation[0] // self.common

    @property
    def groups(self) -> int:
        """Number G of groups."""
        return self.spec.groups

    @property
    def width(self) -> int:
        """Channels W of a component in a group."""
        return self.phases * self.channels // self.groups

    @property
    def step(self) -> int:
        """Rows of a block."""
        return self.size - self.taps + 1


class Held(NamedTuple):
    """What a device holds of an array.

    Attributes:
        records, samples, rows: numbers of records, and of samples and rows of each, on a device.
        width: samples of a whole record.
        offset, ahead: samples before the first window, and rows before the first row, of a record.
        circular, split: whether records are circular, and whether time is spread over devices.
        before, after: samples of the neighbouring devices that the rows read.
    """

    records: int
    samples: int
    rows: int
    width: int
    offset: int
    ahead: int
    circular: bool
    split: bool
    before: int = 0
    after: int = 0


class Arrays(NamedTuple):
    """Records on devices.

    Attributes:
        x, y: the samples, and the outputs or None.
        rows: the roots of weights and the nuisance columns (n, t, 1 + q) of the rows, or None.
        records: the root of the weight and the indices of the nuisance columns (n, 1 + q), or None.
    """

    x: Any
    y: Any
    rows: Any = None
    records: Any = None


class Item(NamedTuple):
    """A block of rows.

    Attributes:
        record, component: the record on the device (-1 for no block) and its component.
        place: the first place in the component.
        done, left: rows of the span before the block, and from its first row on.
    """

    record: Any
    component: Any
    place: Any
    done: Any
    left: Any


class Scaling(NamedTuple):
    """x is read as ``scale * x - shift`` (C,), and y in the same way (Cout,)."""

    scale: np.ndarray
    shift: np.ndarray
    y_scale: np.ndarray
    y_shift: np.ndarray


class Unsupported(Exception):
    """A layout on devices that sums over rows do not support. The message is the reason."""


class Spread(NamedTuple):
    """The ``devices`` of an array, in order along its ``axis``, which is None for one device."""

    devices: tuple[Any, ...]
    axis: int | None

    @classmethod
    def of(cls, array: Any) -> Spread:
        """Return the layout of an array of jax.

        If several devices have copies, a device of this process is preferred.
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

    def sharding(self, axis: int | None) -> Any:
        """Return the sharding of arrays that are spread over these devices along ``axis``."""
        from jax.sharding import NamedSharding, PartitionSpec

        axes = [] if axis is None else [None] * axis + [AXIS]
        return NamedSharding(mesh_of(self.devices), PartitionSpec(*axes))

    def named(self, array: Any) -> Any:
        """Return the same array in the sharding of these devices. Nothing is copied."""
        import jax

        parts = {part.device: part.data for part in array.addressable_shards}
        mine = [parts[d] for d in self.devices if d in parts]
        sharding = self.sharding(self.axis)
        return jax.make_array_from_single_device_arrays(array.shape, sharding, mine)


def mesh_of(devices: Sequence[Any]) -> Any:
    """Return a mesh of devices along one axis."""
    from jax.sharding import Mesh

    return Mesh(np.array(devices), (AXIS,))


def put(a: np.ndarray, sharding: Any) -> Any:
    """Return an array that is the same in every process as an array on devices."""
    import jax

    return jax.make_array_from_callback(a.shape, sharding, lambda where: a[where])


class Stack:
    """Records of one array x (N, W, C), and the outputs of their rows, on the same devices.

    Attributes:
        spread: the devices.
        held: what a device holds.
        columns: the largest number of nuisance columns of a record.
        excluded: flags (N, T) of the rows that are not used in the fit, or None.
        arrays: the arrays on the devices.
    """

    def __init__(
        self, x: Sequence[Remote], y: Sequence[Remote] | None, rows: int, spec: ConvSpec
    ) -> None:
        """Place the records ``x`` of one array and their outputs. Every record has T ``rows``."""
        array, batch = x[0].selected, x[0].record is not None
        if x[0].start or (batch and len(x) < array.shape[0]):
            raise Unsupported("records of which some samples are excluded")
        self.spread, time = Spread.of(array), int(batch)
        if self.spread.axis is not None and self.spread.axis > time:
            raise Unsupported("spread along channels")
        self.columns, self._rows = 0, rows
        self.excluded: np.ndarray | None = None
        # The axis along which arrays (N, T, …) are spread.
        self._axis = None if self.spread.axis is None else int(self.spread.axis == time)
        out = None if y is None else self._beside(y[0].selected, time)
        self.arrays = Arrays(self.spread.named(array), out)
        parts = [1, 1]
        if self._axis is not None:
            parts[self._axis] = len(self.spread.devices)
        on_device = -(-rows // parts[1]) if out is None else out.shape[time] // parts[1]
        width = array.shape[time]
        self.held = Held(
            len(x) // parts[0], width // parts[1], on_device, width, spec.offset((width,))[0],
            0 if y is None else y[0].start, spec.padding == "circular", self._axis == 1,
        )  # fmt: skip
        self.held = self._with_neighbours(spec.stride[0], spec.span[0])

    def adjust(self, records: Sequence[int], kept: Rows, nuisance: Nuisance) -> None:
        """Place the flags, weights and nuisance columns of ``records`` of the problem."""
        if kept.flags is None and nuisance.confounds is None:
            return
        flags = np.stack([kept.flags_of(i) for i in records])
        self.excluded = None if flags.all() else ~flags
        found = [_values(i, kept, nuisance) for i in records]
        count, width = len(found), max(rows.shape[1] for rows, _ in found)
        self.columns = width - 1
        all_rows = self.held.rows * (len(self.spread.devices) if self.held.split else 1)
        whole, of_records = np.zeros((count, all_rows, width)), np.zeros((count, width))
        part = slice(self.held.ahead, self.held.ahead + self._rows)
        for i, (rows, values) in enumerate(found):
            whole[i, part, : rows.shape[1]] = rows
            of_records[i, : values.size] = values
        axes = self._axis, None if self._axis else self._axis
        of_rows, each = map(self.spread.sharding, axes)
        self.arrays = self.arrays._replace(rows=put(whole, of_rows), records=put(of_records, each))

    def _beside(self, y: Any, time: int) -> Any:
        """Return y on the devices of x and along the same axis, padded at the end of time."""
        import jax

        if Spread.of(y) == self.spread:
            return self.spread.named(y)
        if not (y.is_fully_addressable or y.is_fully_replicated):
            raise Unsupported("x and y are spread in different ways")
        pads = [(0, 0)] * y.ndim
        if self._axis == 1:
            pads[time] = (0, -y.shape[time] % len(self.spread.devices))
        padded = jax.numpy.pad(y, pads) if any(map(any, pads)) else y
        return jax.device_put(padded, self.spread.sharding(self.spread.axis))

    def _with_neighbours(self, stride: int, span: int) -> Held:
        """Return what a device holds, with the samples of its neighbours that its rows read."""
        held, before, after = self.held, 0, 0
        for j in range(len(self.spread.devices) if held.split else 0):
            first, stop = self._rows_of(j)
            start, end = first * stride - held.offset, (stop - 1) * stride - held.offset + span
            if not held.circular:
                start, end = max(start, 0), min(end, held.width)
            if first < stop:
                before = max(before, j * held.samples - start)
                after = max(after, end - (j + 1) * held.samples)
        if max(before, after) > held.samples:
            raise Unsupported("less on a device than a kernel reaches")
        return held._replace(before=before, after=after)

    def _rows_of(self, device: int) -> tuple[int, int]:
        """Return the first row of a device, and the end of its rows."""
        if not self.held.split:
            return 0, self._rows
        first = device * self.held.rows - self.held.ahead
        return min(max(first, 0), self._rows), min(max(first + self.held.rows, 0), self._rows)

    def blocks(self, device: int, shape: Shape) -> np.ndarray:
        """Return the rows of a device as blocks (n, 5), see `Item`.

        The rows of each polyphase component of a record are a span.
        """
        (first, stop), dilation, step = self._rows_of(device), shape.dilation, shape.step
        component = np.arange(min(dilation, self._rows))
        start, end = (np.maximum(0, -(-(at - component) // dilation)) for at in (first, stop))
        counts = np.tile(-(-(end - start) // step), self.held.records)
        spans = np.arange(counts.size)
        record, r = np.repeat(np.divmod(spans, component.size), counts, axis=1)
        done = (np.arange(r.size) - np.repeat(np.cumsum(counts) - counts, counts)) * step
        place = start[r] + done
        return np.stack([record, component[r], place, done, end[r] - place], axis=1)

    def excluded_rows(self, device: int, shape: Shape) -> np.ndarray:
        """Return the excluded rows of a device as blocks (n, 5) of one row."""
        if self.excluded is None:
            return np.zeros((0, 5), int)
        blocks = self.blocks(device, shape)
        record, component, place, *_ = blocks.T
        record = record + device * self.held.records * (self._axis == 0)
        return blocks[self.excluded[record, component + shape.dilation * place]]


def _values(record: int, kept: Rows, nuisance: Nuisance) -> tuple[np.ndarray, np.ndarray]:
    """Return values of the rows of a record, and of the record.

    Returns:
        The roots of the weights and the nuisance columns (T, 1 + q) of the rows, zero in excluded
        rows, and the root of the weight and the indices (1 + q,) of these columns.
    """
    flags, root = kept.flags_of(record), np.ones(())
    places, columns = np.zeros(0, int), np.zeros((int(flags.sum()), 0))
    if nuisance.confounds is not None:
        places, columns = columns_of(nuisance.confounds, (record, 0, len(flags)))
        if nuisance.confounds.weights is not None:
            root = nuisance.confounds.weights.roots[record]
    rows = np.zeros((len(flags), 1 + len(places)))
    rows[flags, 0] = root[flags] if root.ndim else 1.0
    rows[flags, 1:] = columns
    return rows, np.array([1.0 if root.ndim else float(root), *places])


def stacked(
    x: Sequence[Remote],
    y: Sequence[Remote] | None,
    spec: ConvSpec,
    kept: Rows,
    nuisance: Nuisance,
) -> list[Stack]:
    """Return records as the arrays that contain them. Records without rows are excluded.

    Raises:
        Unsupported: If the layout is not supported.
    """
    by_source: dict[Source, list[int]] = {}
    for i, record in enumerate(x):
        if kept.shapes[i][0]:
            by_source.setdefault(record.source, []).append(i)
    found = []
    for some in by_source.values():
        of_y = None if y is None else [y[i] for i in some]
        stack = Stack([x[i] for i in some], of_y, kept.shapes[some[0]][0], spec)
        stack.adjust(some, kept, nuisance)
        found.append(stack)
    if any(stack.spread.devices != found[0].spread.devices for stack in found):
        raise Unsupported("records on different devices")
    return found
