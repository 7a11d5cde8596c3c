"""Sums over the rows of records that stay on devices of jax. Only the sums leave the devices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..cached import cached_property
from ..lazy_jax import meet
from ..problem.spec import ConvSpec
from . import gram
from .by_fft import exact
from .chunk import Form, exponents_of
from .moments import Moments, ResidualSums, Units, per_column
from .overlap_save import Series, component_columns, component_taps
from .spread import FIELDS, Stack, Unsupported, mesh_of

if TYPE_CHECKING:
    from .jax_blocks import Means, Programs, Shape
    from .jax_blocks import Units as JaxUnits

# Samples of a block: a power of two, some kernels long, and at least these. Blocks that make so
# many numbers are cut at once: the fewest that keep a device busy.
KERNELS, LEAST_SIZE, CUT_NUMBERS = 4, 512, 2**18


class Ends(NamedTuple):
    """Samples at both ends of long sequences: the first and the last K - 1, (S, K - 1, G, W), and
    the first K - 1 of y (S, K - 1, G, Q); and all of short ones, by their rows.
    """

    head: np.ndarray
    tail: np.ndarray
    first: np.ndarray
    short: dict[int, tuple[np.ndarray, np.ndarray]]


class DeviceChunk:
    """All rows of records along one axis that stay on their devices.

    Sums over rows are computed there by the block FFTs of `jax_blocks`, in float64. The host gets
    the samples at both ends of records, and joins P × P numbers.

    Attributes:
        form: the settings of the problem.
        groups, channels, columns, outputs: G, channels, P and Q of a group.
        rows: number of rows.
        exponents, out_exponents: powers of two (Cin,) and (Cout,), by which x and y are divided.
    """

    def __init__(
        self, stacks: Sequence[Stack], spec: ConvSpec, sizes: tuple[int, int], form: Form
    ) -> None:
        """``sizes`` are the channels of x, and the outputs of y or 0."""
        self._stacks, self._spec, self.form = stacks, spec, form
        channels, outputs = sizes
        self.groups, self.channels = spec.groups, channels // spec.groups
        self.columns, self.outputs = spec.unknowns(channels), outputs // spec.groups
        self.rows = sum(stack.records * stack.rows for stack in stacks)
        self.taps = component_taps(spec)
        self.places = component_columns(spec, self.channels)
        common = math.gcd(spec.stride[0], spec.dilation[0])
        self._dilation = spec.dilation[0] // common
        self._shape = _shape(spec, channels, outputs, common)
        self._mesh = mesh_of(stacks[0].spread.devices)
        self._programs = _programs(self._mesh, self._shape)
        if any(stack.spread.devices != stacks[0].spread.devices for stack in stacks):
            raise Unsupported("records on different devices")
        for stack in stacks:
            stack.check_ends(self._dilation)
        self.exponents, self.out_exponents = self._highest()

    # --- units

    def _highest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return exponents of the channels of x and y, from the magnitudes that rows read."""
        s, n = self._shape, self._mesh.size
        best = np.zeros((n, s.channels)), np.zeros((n, s.outputs))
        x, y = self._pass("largest", best, self._raw_units)
        return exponents_of(x), exponents_of(y) if s.outputs else np.zeros(0, int)

    @property
    def _raw_units(self) -> JaxUnits:
        from .jax_blocks import Units as JaxUnits

        inputs, outputs = self._shape.channels, self._shape.outputs
        return JaxUnits(np.ones(inputs), np.zeros(inputs), np.ones(outputs), np.zeros(outputs))

    @property
    def _scaled_units(self) -> JaxUnits:
        scales = (np.ldexp(1.0, -e) for e in (self.exponents, self.out_exponents))
        return self._raw_units._replace(**dict(zip(("scale", "y_scale"), scales, strict=True)))

    @property
    def _units(self) -> JaxUnits:
        """Those in which all sums are taken."""
        return self._scaled_units._replace(shift=self.x_shift, y_shift=self._y_shift)

    @cached_property
    def _unshifted(self) -> Means:
        """`Means` over blocks, without a shift."""
        s = self._shape
        nothing = self._programs.nothing(s.outputs // s.groups).means
        found: Means = self._pass("means", nothing, self._scaled_units)
        return found

    @cached_property
    def _y_shift(self) -> np.ndarray:
        """The mean (Cout,) of every output if a constant is subtracted."""
        if not self.form.constant:
            return np.zeros(self._shape.outputs)
        return np.asarray(self._unshifted.y.reshape(-1) / self.rows)

    @cached_property
    def x_shift(self) -> np.ndarray:
        """A constant (Cin,) per channel: the mean of its columns, if a constant is subtracted."""
        if not self.form.constant:
            return np.zeros(self._shape.channels)
        sums = self._totals(self._unshifted.x, self._ends(self._scaled_units)) / self.rows
        return np.asarray(sums.reshape(self.groups, -1, self.channels).mean(1).reshape(-1))

    @cached_property
    def units(self) -> Units:
        """The units of its columns and outputs."""
        exponents, shift, *of_y = (
            a.reshape(self.groups, -1)
            for a in (self.exponents, self.x_shift, self.out_exponents, self._y_shift)
        )
        return Units(exponents, per_column(shift, self.columns), *of_y)

    # --- sums over all devices

    @cached_property
    def moments(self) -> Moments:
        """Sums over the rows of A and Y."""
        s, programs = self._shape, self._programs
        found = self._pass("sums", programs.nothing(s.outputs // s.groups), self._units)
        ends = self._ends(self._units)
        sums = [
            self._group_sums(g, found.core[:, g], found.rhs[:, g], found.means, ends)
            for g in range(self.groups)
        ]
        gram_of, rhs, out_sums, squares = (np.stack(each) for each in zip(*sums, strict=True))
        of_columns = self._totals(found.means.x, ends)
        given = of_columns, out_sums, squares, self.rows, self.units, self.form.constant
        return Moments(gram_of, rhs, *given)

    def _group_sums(
        self, g: int, core: np.ndarray, rhs: np.ndarray, means: Any, ends: Ends
    ) -> gram.Sums:
        """Those of a group, of its sums over blocks (K, W, W) and (K, W, Q), and ends."""
        (taps,) = self.taps
        width, outputs = rhs.shape[1:]
        p = taps * width
        total, cross = np.zeros((p, p)), np.zeros((p, outputs))
        if len(ends.head):
            head, tail = ends.head[:, :, g], ends.tail[:, :, g]
            total += gram.joined(core.transpose(1, 0, 2).copy(), head, tail)
            cross += rhs.reshape(p, outputs)
            cross += gram.lagged_products(ends.first[:, :, g], head, taps).reshape(p, outputs)
        for x, y in ends.short.values():
            part = gram.moments([(_plain(x[:, :, g]), _plain(y[:, :, g]))], self.taps)
            total += part.gram
            cross += part.rhs
        found = gram.Sums(total, cross, np.array(means.y[g]), np.array(means.squares[g]))
        return found.of(self.places)

    def _totals(self, inner: np.ndarray, ends: Ends) -> np.ndarray:
        """Sums (G, P) of the columns, of those of inner places (G, W) and ends."""
        found = []
        for g in range(self.groups):
            total = np.zeros((self.taps[0], inner.shape[1]))
            if len(ends.head):
                sides = ends.head[:, :, g].sum(0), ends.tail[:, :, g].sum(0)
                total += gram.around(inner[g], *sides)
            for x, _ in ends.short.values():
                total += gram.column_sums(_plain(x[:, :, g]), self.taps)
            found.append(total.reshape(-1)[self.places])
        return np.stack(found)

    def misfit(self, w: np.ndarray, offset: np.ndarray) -> ResidualSums:
        """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q)."""
        from .jax_blocks import Misfit

        nothing = self._programs.nothing(w.shape[2])
        total = Misfit(nothing.means.y, nothing.rhs, nothing.means.y)
        found = self._pass("misfit", total, self._units, self._spectrum(w), offset)
        flat = found.gradient.swapaxes(0, 1).reshape(self.groups, -1, w.shape[2])
        return ResidualSums(found.squares, flat[:, self.places], found.sums)

    def product_gram(self, group: int, w: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Return (A w − offset)ᵀ(A w − offset) (Q, Q) of one group, for w (P, Q)."""
        every, offsets = np.zeros((self.groups, *w.shape)), np.zeros((self.groups, w.shape[1]))
        every[group], offsets[group] = w, offset
        total = np.zeros((self._mesh.size, self.groups, w.shape[1], w.shape[1]))
        spectrum = self._spectrum(every)
        found = self._pass("product_gram", total, self._units, spectrum, offsets)
        return np.asarray(found[group])

    def _spectrum(self, w: np.ndarray) -> Any:
        """That of a kernel (G, P, Q), for the device."""
        s = self._shape
        whole = np.zeros((self.groups, s.taps * s.width, w.shape[2]))
        whole[:, self.places] = w
        by_tap = whole.reshape(self.groups, s.taps, s.width, -1).swapaxes(0, 1)
        with self._there():
            return self._programs.kernel(by_tap)

    # --- passes

    @contextmanager
    def _there(self) -> Iterator[None]:
        """In float64, on these devices, whatever mesh the caller has set."""
        import jax

        with jax.enable_x64(True), jax.set_mesh(self._mesh):
            yield

    @property
    def _several_processes(self) -> bool:
        return len({device.process_index for device in self._mesh.devices.flat}) > 1

    def _pass(self, name: str, total: Any, units: JaxUnits, *rest: Any) -> Any:
        """What a program adds up over all blocks, joined over devices, in NumPy."""
        import jax

        add, join = getattr(self._programs, name)
        if self._several_processes:
            meet(name, self.form.limits.peer_seconds)
        with self._there():
            total = jax.tree.map(self._split, total)
            for stack in self._stacks:
                for items in self._calls(stack.blocks(self._dilation, self._shape.step)):
                    total = add(total, *self._cut(stack, items, units), items, *rest)
            return jax.tree.map(np.asarray, join(total))

    def _cut(self, stack: Stack, items: Any, units: JaxUnits) -> tuple[Any, Any]:
        y = items if stack.y is None else stack.y
        specs = stack.x.sharding.spec, y.sharding.spec
        origin = np.array([stack.offset, stack.ahead])
        found: tuple[Any, Any] = self._programs.cut(stack.held, specs)(
            stack.x, y, items, origin, units
        )
        return found

    def _calls(self, by_device: Sequence[np.ndarray]) -> Iterator[Any]:
        """Blocks of all devices, some at a time; devices that have no more read none."""
        many = self._shape.blocks
        calls = -(-max(map(len, by_device)) // many)
        whole = np.full((len(by_device), calls * many, FIELDS), -1)
        whole[..., 3:] = 0
        for mine, blocks in zip(whole, by_device, strict=True):
            mine[: len(blocks)] = blocks
        for i in range(calls):
            yield self._split(whole[:, i * many : (i + 1) * many].reshape(-1, FIELDS))

    def _split(self, a: np.ndarray) -> Any:
        """An array, the same in every process, its first axis spread over the devices."""
        import jax
        from jax.sharding import NamedSharding

        from .jax_blocks import EACH

        sharding = NamedSharding(self._mesh, EACH)
        return jax.make_array_from_callback(a.shape, sharding, lambda where: a[where])

    def _ends(self, units: JaxUnits) -> Ends:
        """The samples at both ends of all records, and all of those shorter than two kernels."""
        s, outputs = self._shape, self._shape.outputs // self.groups
        k = s.taps - 1
        heads, tails, firsts = [], [], []
        short: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        for stack in self._stacks:
            for r, length in enumerate(stack.lengths(self._dilation)):
                if length < s.taps:
                    found = self._read(stack, r, 0, length, length, units)
                    x, y = found[0][:, : length + k], found[1][:, :length]
                    short.setdefault(length, []).append((x, y))
                    continue
                x, y = self._read(stack, r, 0, k, length, units)
                heads.append(x[:, :k])
                firsts.append(y[:, :k])
                tails.append(self._read(stack, r, length, 0, length, units)[0][:, :k])
        none = np.zeros((0, k, self.groups, s.width)), np.zeros((0, k, self.groups, outputs))
        return Ends(
            np.concatenate([none[0], *heads]),
            np.concatenate([none[0], *tails]),
            np.concatenate([none[1], *firsts]),
            {t: _concatenated(pairs) for t, pairs in short.items()},
        )

    def _read(
        self, stack: Stack, component: int, place: int, rows: int, length: int, units: JaxUnits
    ) -> tuple[np.ndarray, np.ndarray]:
        """Two kernels' samples of a component of every record from some place on, and of y ``rows``
        of them: (N, 2K, G, W) and (N, 2K, G, Q).
        """
        row = component + self._dilation * min(place, length - 1)
        owners = [stack.owner(n, row) for n in range(stack.records)]
        by_device: list[list[tuple[int, ...]]] = [[] for _ in range(self._mesh.size)]
        for device, record in owners:
            by_device[device].append((record, component, place, rows, length - place, 0))
        blocks = [np.array(each).reshape(-1, FIELDS) for each in by_device]
        x: list[np.ndarray] = []
        y: list[np.ndarray] = []
        with self._there():
            for items in self._calls(blocks):
                found = self._programs.ends(*self._cut(stack, items, units))
                for several, part in zip((x, y), found, strict=True):
                    each = self._mesh.size, self._shape.blocks, *part.shape[1:]
                    several.append(np.asarray(part).reshape(each))
        joined = [np.concatenate(several, axis=1) for several in (x, y)]
        taken = [itertools.count() for _ in by_device]
        order = [(device, next(taken[device])) for device, _ in owners]
        devices, places = np.array(order).T
        return joined[0][devices, places], joined[1][devices, places]


def own_units(chunk: DeviceChunk) -> Units:
    """Return the units of a chunk, with the mean of every channel as the shift of its columns."""
    return chunk.units


def moments(chunk: DeviceChunk) -> Moments | None:
    """Return sums over the rows of A and Y in units of the chunk; None if FFTs lose digits."""
    found = chunk.moments
    whole = np.einsum("gpp->gp", found.gram)
    return found if exact(found.squares, whole, chunk.channels) else None


def norms(chunk: DeviceChunk) -> Moments | None:
    """Return sums and squares of the columns, as moments of each column on its own."""
    found = moments(chunk)
    if found is None:
        return None
    squares, units = np.einsum("gpp->gp", found.gram), found.units
    given = units.column_exponents, units.shift, found.constant
    return Moments.of_columns(found.sums, squares, found.n, *given)


def misfit(chunk: DeviceChunk, w: np.ndarray, offset: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q), in own units."""
    return chunk.misfit(w, offset)


def product_gram(chunk: DeviceChunk, group: int, w: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return (A w − offset)ᵀ(A w − offset) (Q, Q) of one group, for w (P, Q), in own units."""
    return chunk.product_gram(group, w, offset)


def _concatenated(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


def _plain(samples: np.ndarray) -> Series:
    """Samples (N, L, C) as they are."""
    channels = samples.shape[-1]
    return Series(samples, np.ones(channels), np.zeros(channels))


def _programs(mesh: Any, shape: Shape) -> Programs:
    from .jax_blocks import programs

    return programs(mesh, shape)


def _shape(spec: ConvSpec, channels: int, outputs: int, common: int) -> Shape:
    from .jax_blocks import Shape

    (taps,), phases = component_taps(spec), spec.stride[0] // common
    size = 1 << (max(LEAST_SIZE, KERNELS * taps) - 1).bit_length()
    fit = CUT_NUMBERS // (size * phases * channels)
    # Many channels want many blocks, or adding up products would cost more than the products.
    many = min(phases * channels // spec.groups // 4, 8 * fit)
    return Shape(
        kernel=spec.kernel_size[0],
        taps=taps,
        phases=phases,
        dilation=spec.dilation[0] // common,
        common=common,
        circular=spec.padding == "circular",
        groups=spec.groups,
        channels=channels,
        outputs=outputs,
        size=size,
        blocks=max(1, fit, many),
    )
