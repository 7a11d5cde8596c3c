"""Records on devices of jax: where their samples and rows are, and how rows are cut into blocks.

x stays where it is: on one device, or on several devices along its records or its time. y, the
weights and the nuisance columns are put on the same devices. Every device has some whole records,
or a span of the rows of every record. A span is summed as if it were a separate record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..problem.nuisance import Nuisance
from ..problem.remote import Remote, Source
from ..problem.rows import Rows
from ..problem.spec import ConvSpec
from .nuisance import columns_of

# The axis of every mesh.
AXIS = "devices"


class Shape(NamedTuple):
    """The shape of blocks of rows of a polyphase component, for which programs are compiled.

    Attributes:
        kernel: taps of the kernel.
        taps: taps of a component.
        phases: channels of a component for every channel of x.
        apart: rows of a record between two rows of a component.
        dilation: samples between two taps.
        groups, channels, outputs, nuisance: numbers of groups, and of all channels, outputs and
            nuisance columns.
        size: samples of a block. A block for FFTs has several kernels, a block of one row has one.
        blocks: blocks per call on every device.
    """

    kernel: int
    taps: int
    phases: int
    apart: int
    dilation: int
    groups: int
    channels: int
    outputs: int
    nuisance: int
    size: int
    blocks: int

    @property
    def step(self) -> int:
        """Rows of a block."""
        return self.size - self.taps + 1


class Held(NamedTuple):
    """What a device holds of every record.

    Attributes:
        samples, rows: numbers of samples and rows.
        before, after: samples of the neighbouring devices that the rows read.
        split: whether time is spread over devices.
        circular: whether the first sample follows the last one.
    """

    samples: int
    rows: int
    before: int
    after: int
    split: bool
    circular: bool


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
        record: the record on the device, -1 for no block.
        sample, row: the first sample and the first row, as places in the record on the device.
        done, left: rows of the span before the block, and from its first row on.
    """

    record: Any
    sample: Any
    row: Any
    done: Any
    left: Any


class Unsupported(Exception):
    """A layout on devices that sums over rows do not support. The message is the reason."""


def spread(array: Any) -> tuple[list[Any], int | None]:
    """Return the devices of an array of jax in order along an axis, which is None for one device.

    If several devices have copies, a device of this process is preferred.
    """
    places: dict[tuple[int, ...], Any] = {}
    here = array.sharding.addressable_devices
    known = array.sharding.devices_indices_map(array.shape)
    for device in sorted(known, key=lambda d: (d not in here, d.id)):
        places.setdefault(tuple(part.start or 0 for part in known[device]), device)
    several = [axis for axis, starts in enumerate(zip(*places, strict=True)) if len({*starts}) > 1]
    if len(several) > 1:
        raise Unsupported("spread along several axes")
    return [places[place] for place in sorted(places)], several[0] if several else None


def sharding(devices: Sequence[Any], axis: int | None) -> Any:
    """Return the sharding of arrays that are spread over devices along an axis, or copied."""
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    axes = [] if axis is None else [None] * axis + [AXIS]
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(*axes))


def put(a: np.ndarray, where: Any) -> Any:
    """Return an array that is the same in every process as an array in a sharding."""
    import jax

    return jax.make_array_from_callback(a.shape, where, lambda part: a[part])


def _named(array: Any, devices: Sequence[Any], axis: int | None) -> Any:
    """Return the same array in the sharding of these devices. Nothing is copied."""
    import jax

    parts = {part.device: part.data for part in array.addressable_shards}
    mine = [parts[d] for d in devices if d in parts]
    where = sharding(devices, axis)
    return jax.make_array_from_single_device_arrays(array.shape, where, mine)


class Stack:
    """Records of one array x (N, W, C), and the outputs of their rows, on the same devices.

    Attributes:
        devices: the devices.
        held: what a device holds.
        columns: the largest number of nuisance columns of a record.
        arrays: the arrays on the devices.
    """

    def __init__(
        self, x: Sequence[Remote], y: Sequence[Remote] | None, rows: int, spec: ConvSpec
    ) -> None:
        """Place the records ``x`` of one array and their outputs. Every record has T ``rows``."""
        array, time = x[0].selected, int(x[0].record is not None)
        if x[0].start or (time and len(x) < array.shape[0]):
            raise Unsupported("records of which some samples are excluded")
        self.devices, axis = spread(array)
        if axis not in (None, 0, time):
            raise Unsupported("spread along channels")
        split = axis == time
        # Parts of the time of a record, and records of a part.
        self._parts = parts = len(self.devices) if split else 1
        self._records = len(x) * parts // len(self.devices)
        self._split, self._axis = split, None if axis is None else int(split)
        out = None if y is None else self._beside(y[0].selected, axis, time)
        on_device = -(-rows // parts) if out is None else out.shape[time] // parts
        self._ahead, width = 0 if y is None else y[0].start, array.shape[time]
        self._bounds = np.clip(np.arange(parts + 1) * on_device - self._ahead, 0, rows)
        self._stride, self._offset = spec.stride[0], spec._offset((width,))[0]
        circular = spec.padding == "circular"
        before, after = self._neighbours(width, spec._span[0], circular) if split else (0, 0)
        self.held = Held(width // parts, on_device, before, after, split, circular)
        self.arrays = Arrays(_named(array, self.devices, axis), out)
        self.columns = 0
        self._excluded: np.ndarray | None = None

    def adjust(self, records: Sequence[int], kept: Rows, nuisance: Nuisance) -> None:
        """Place the flags, weights and nuisance columns of ``records`` of the problem."""
        if kept.flags is None and nuisance.confounds is None:
            return
        found = [_values(i, kept, nuisance) for i in records]
        count, width = len(found), max(rows.shape[1] for rows, _ in found)
        of_rows = np.zeros((count, self._parts * self.held.rows, width))
        of_records = np.zeros((count, width))
        for i, (rows, values) in enumerate(found):
            of_rows[i, self._ahead :][: len(rows), : rows.shape[1]] = rows
            of_records[i, : values.size] = values
        self.columns, self._excluded = width - 1, of_rows[..., 0] == 0
        axes = self._axis, None if self._split else self._axis
        several = zip((of_rows, of_records), axes, strict=True)
        placed = [put(a, sharding(self.devices, axis)) for a, axis in several]
        self.arrays = Arrays(*self.arrays[:2], *placed)

    def _beside(self, y: Any, axis: int | None, time: int) -> Any:
        """Return y on the devices of x and along the same axis, padded at the end of time."""
        import jax

        if spread(y) == (self.devices, axis):
            return _named(y, self.devices, axis)
        if not (y.is_fully_addressable or y.is_fully_replicated):
            raise Unsupported("x and y are spread in different ways")
        pads = [(0, 0)] * y.ndim
        pads[time] = (0, -y.shape[time] % self._parts)
        padded = jax.numpy.pad(y, pads) if any(map(any, pads)) else y
        return jax.device_put(padded, sharding(self.devices, axis))

    def _neighbours(self, width: int, span: int, circular: bool) -> tuple[int, int]:
        """Return how many samples of the devices before and after it the rows of a device read."""
        samples = width // self._parts
        start = self._bounds[:-1] * self._stride - self._offset
        stop = (self._bounds[1:] - 1) * self._stride - self._offset + span
        if not circular:
            start, stop = np.maximum(start, 0), np.minimum(stop, width)
        own = np.arange(self._parts) * samples
        far = np.stack([own - start, stop - own - samples])[:, np.diff(self._bounds) > 0]
        before, after = far.max(1, initial=0).tolist()
        if max(before, after) > samples:
            raise Unsupported("less on a device than a kernel reaches")
        return before, after

    def blocks(self, device: int, shape: Shape) -> np.ndarray:
        """Return the rows of a device as blocks (n, 5), see `Item`.

        The rows of each polyphase component of a record are a span.
        """
        part, apart, step = device % self._parts, shape.apart, shape.step
        component = np.arange(min(apart, int(self._bounds[-1])))
        bounds = self._bounds[part : part + 2, None]
        start, end = np.maximum(0, -(-(bounds - component) // apart))
        counts = np.tile(-(-(end - start) // step), self._records)
        spans = np.arange(counts.size)
        record, r = np.repeat(np.divmod(spans, component.size), counts, axis=1)
        done = (np.arange(r.size) - np.repeat(np.cumsum(counts) - counts, counts)) * step
        row = component[r] + apart * (start[r] + done)
        sample = row * self._stride - self._offset + self.held.before - part * self.held.samples
        row += self._ahead - part * self.held.rows
        return np.stack([record, sample, row, done, end[r] - start[r] - done], axis=1)

    def ends(self, device: int, shape: Shape) -> np.ndarray:
        """Return two blocks of every span, which begin with its first and with its last row."""
        blocks = self.blocks(device, shape)
        first = blocks[blocks[:, 3] == 0]
        onward = [0, shape.apart * self._stride, shape.apart, 1, -1]
        return np.concatenate([first, first + np.outer(first[:, 4] - 1, onward)])

    def excluded_rows(self, device: int, shape: Shape) -> np.ndarray:
        """Return the excluded rows of a device as blocks (n, 5) of one row."""
        if self._excluded is None:
            return np.zeros((0, 5), int)
        blocks = self.blocks(device, shape)
        record, _, row, *_ = blocks.T
        whole, part = divmod(device, self._parts)
        return blocks[self._excluded[record + whole * self._records, row + part * self.held.rows]]


def _values(record: int, kept: Rows, nuisance: Nuisance) -> tuple[np.ndarray, np.ndarray]:
    """Return values of the rows of a record, and of the record.

    Returns:
        The roots of the weights and the nuisance columns (T, 1 + q) of the rows, zero in excluded
        rows, and the root of the weight and the indices (1 + q,) of these columns.
    """
    flags, confounds = kept.flags_of(record), nuisance.confounds
    root, places, columns = np.ones(()), np.zeros(0, int), np.zeros((int(flags.sum()), 0))
    if confounds is not None:
        places, columns = columns_of(confounds, (record, 0, len(flags)))
        if confounds.weights is not None:
            root = confounds.weights.roots[record]
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
    if any(stack.devices != found[0].devices for stack in found):
        raise Unsupported("records on different devices")
    return found
