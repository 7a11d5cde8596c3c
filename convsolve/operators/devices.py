"""The design matrix of records that stay on devices of jax: only sums over rows leave them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..cached import cached_property
from ..lazy_jax import meet
from ..problem.nuisance import Nuisance
from ..problem.sizes import Limits
from ..problem.spec import ConvSpec
from . import gram
from .base import Block
from .fourier import FourierOperator
from .moments import ResidualSums
from .overlap_save import Series, component_columns, component_taps
from .records import Inputs, Targets, exponents_of
from .rows import RowOperator
from .spread import FIELDS, Stack, Unsupported, mesh_of

if TYPE_CHECKING:
    from .jax_blocks import Means, Programs, Shape, Units

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


class DeviceTargets(Targets):
    """Outputs on devices: their units are known, and the host has the rest when asked for it."""

    def __init__(
        self, exponents: np.ndarray, shift: np.ndarray, groups: int, host: Callable[[], Targets]
    ) -> None:
        self.groups, self.exponents, self.shift = groups, exponents, shift
        self.scale = np.ldexp(1.0, -exponents)
        self.confounded = np.zeros((0, exponents.size))
        self._host = host

    @cached_property
    def stacks(self) -> list[np.ndarray]:
        """The outputs on the host."""
        return self._host().stacks

    @cached_property
    def flags(self) -> list[np.ndarray | None]:
        """None: all rows count."""
        return [None] * len(self.stacks)

    @cached_property
    def records(self) -> Sequence[np.ndarray]:
        """The records on the host."""
        return self._host().records


class DeviceOperator(FourierOperator):
    """A of records along one axis that stay on their devices, by the block FFTs of `jax_blocks`.

    What takes sums over rows alone is computed there, in float64: moments, residuals, products. The
    host gets the samples at both ends of records, and joins P × P numbers. Whatever takes the rows
    themselves (a QR, leverages, other outputs than the ``targets``) fetches the records, and is the
    host's `FourierOperator` in the same units.
    """

    def __init__(
        self,
        stacks: Sequence[Stack],
        spec: ConvSpec,
        channels: int,
        outputs: int,
        nuisance: Nuisance,
        limits: Limits,
        fetch: Callable[[], tuple[Inputs, Targets | None]],
    ) -> None:
        self._stacks, self._spec, self._fetch = stacks, spec, fetch
        self.nuisance, self.limits, self.masked = nuisance, limits, False
        self.groups, self.channels = spec.groups, channels // spec.groups
        self.columns = spec.unknowns(channels)
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
        self._x_exponents, self._y_exponents = self._highest()
        self.exponents = self._by_column(self._x_exponents)
        self.targets = None
        if outputs:
            given = self._y_exponents, self._y_shift
            self.targets = DeviceTargets(*given, self.groups, self._host_targets)

    # --- on the host, when rows are asked for

    @cached_property
    def _host(self) -> FourierOperator:
        """The same by NumPy, of records that are fetched."""
        inputs, _ = self._fetch()
        made = FourierOperator(inputs, self.nuisance, self.limits, self.targets)
        vars(made)["x_shift"] = self.x_shift
        return made

    def _host_targets(self) -> Targets:
        _, targets = self._fetch()
        assert targets is not None
        return targets

    @property
    def _rows(self) -> RowOperator:  # type: ignore[override]
        return self._host._rows

    @property
    def inputs(self) -> Inputs:  # type: ignore[override]
        """The records, fetched."""
        return self._host.inputs

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Blocks of rows of M A (G, k, P) and of M y (G, k, Q), formed on the host."""
        return self._host.row_blocks(targets)

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """M A w (n, Q) of one group, for w (P, Q), on the host."""
        return self._host.forward(group, w)

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """AᵀM r (P, Q) of one group, for rows r (n, Q), on the host."""
        return self._host.adjoint(group, r)

    # --- units

    def _highest(self) -> tuple[np.ndarray, np.ndarray]:
        """Exponents of the channels of x and y, from the largest magnitudes that rows read."""
        s, n = self._shape, self._mesh.size
        best = np.zeros((n, s.channels)), np.zeros((n, s.outputs))
        x, y = self._pass("largest", best, self._raw_units)
        return exponents_of(x), exponents_of(y) if s.outputs else np.zeros(0, int)

    def _by_column(self, values: np.ndarray) -> np.ndarray:
        """Values of the channels (Cin,) for the columns (G, P)."""
        taps = self.columns // self.channels
        return np.tile(values.reshape(self.groups, 1, -1), (1, taps, 1)).reshape(self.groups, -1)

    @property
    def _raw_units(self) -> Units:
        from .jax_blocks import Units

        inputs, outputs = self._shape.channels, self._shape.outputs
        return Units(np.ones(inputs), np.zeros(inputs), np.ones(outputs), np.zeros(outputs))

    @property
    def _scaled_units(self) -> Units:
        scales = (np.ldexp(1.0, -e) for e in (self._x_exponents, self._y_exponents))
        return self._raw_units._replace(**dict(zip(("scale", "y_scale"), scales, strict=True)))

    @property
    def _units(self) -> Units:
        """Those in which all sums are taken."""
        return self._scaled_units._replace(shift=self.x_shift, y_shift=self._y_shift)

    @cached_property
    def _unshifted(self) -> Means:
        """`Means` over blocks of which nothing is taken off."""
        s = self._shape
        nothing = self._programs.nothing(s.outputs // s.groups).means
        found: Means = self._pass("means", nothing, self._scaled_units)
        return found

    @cached_property
    def _y_shift(self) -> np.ndarray:
        """The mean (Cout,) of every output."""
        if not self.nuisance.constant:
            return np.zeros(self._shape.outputs)
        return np.asarray(self._unshifted.y.reshape(-1) / self.rows)

    @cached_property
    def x_shift(self) -> np.ndarray:
        """A constant (Cin,) for each channel: the mean of what its columns hold."""
        if not self.nuisance.constant:
            return np.zeros(self._shape.channels)
        sums = self._totals(self._unshifted.x, self._ends(self._scaled_units)) / self.rows
        return np.asarray(sums.reshape(self.groups, -1, self.channels).mean(1).reshape(-1))

    @cached_property
    def shift(self) -> np.ndarray:
        """(G, P), that of every channel at all its taps."""
        return self._by_column(self.x_shift)

    # --- sums over all devices

    @cached_property
    def sums(self) -> list[gram.Sums]:
        """`gram.Sums` of each group, with the targets given."""
        return self._moments[0]

    @cached_property
    def column_totals(self) -> np.ndarray:
        """Sums (G, P) of the columns less their shift."""
        return self._moments[1]

    @cached_property
    def _column_squares(self) -> np.ndarray:
        return np.stack([np.diagonal(s.gram) for s in self.sums])

    @cached_property
    def _moments(self) -> tuple[list[gram.Sums], np.ndarray]:
        s, programs = self._shape, self._programs
        found = self._pass("sums", programs.nothing(s.outputs // s.groups), self._units)
        ends = self._ends(self._units)
        sums = [
            self._group_sums(g, found.core[:, g], found.rhs[:, g], found.means, ends)
            for g in range(self.groups)
        ]
        return sums, self._totals(found.means.x, ends)

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

    def _gathered(self, parts: Any) -> list[gram.Sums]:
        return self._host._gathered(parts)

    def parts_with(self, targets: Targets | None) -> Any:
        """On the host, of any targets."""
        return self._host.parts_with(targets)

    @property
    def parts(self) -> Any:
        """On the host."""
        return self._host.parts

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """NᵀY (G, q, Q) and Σy² (G, Q), Y less its shift."""
        if targets is not self.targets:
            return self._host.output_sums(targets)
        sums, squares = (np.stack([s[i] for s in self.sums]) for i in (2, 3))
        return sums[:, None][:, : self.nuisance.count], squares

    def misfit(self, w: np.ndarray, targets: Targets, offset: np.ndarray) -> ResidualSums:
        """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q)."""
        if targets is not self.targets:
            return self._host.misfit(w, targets, offset)
        from .jax_blocks import Misfit

        nothing = self._programs.nothing(w.shape[2])
        total = Misfit(nothing.means.y, nothing.rhs, nothing.means.y)
        found = self._pass("misfit", total, self._units, self._spectrum(w), offset)
        flat = found.gradient.swapaxes(0, 1).reshape(self.groups, -1, w.shape[2])
        return ResidualSums(found.squares, flat[:, self.places], found.sums)

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """(M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        every = np.zeros((self.groups, *w.shape))
        every[group] = w
        offset = np.zeros((self.groups, w.shape[1]))
        if self.nuisance.constant:
            offset[group] = self.projection.means[group, 0] @ w
        total = np.zeros((self._mesh.size, self.groups, w.shape[1], w.shape[1]))
        spectrum = self._spectrum(every)
        found = self._pass("product_gram", total, self._units, spectrum, offset)
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

    def _pass(self, name: str, total: Any, units: Units, *rest: Any) -> Any:
        """What a program adds up over all blocks, joined over devices, in NumPy."""
        import jax

        add, join = getattr(self._programs, name)
        if self._several_processes:
            meet(name, self.limits.peer_seconds)
        with self._there():
            total = jax.tree.map(self._split, total)
            for stack in self._stacks:
                for items in self._calls(stack.blocks(self._dilation, self._shape.step)):
                    total = add(total, *self._cut(stack, items, units), items, *rest)
            return jax.tree.map(np.asarray, join(total))

    def _cut(self, stack: Stack, items: Any, units: Units) -> tuple[Any, Any]:
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

    def _ends(self, units: Units) -> Ends:
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
        self, stack: Stack, component: int, place: int, rows: int, length: int, units: Units
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
