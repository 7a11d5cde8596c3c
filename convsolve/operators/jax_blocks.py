"""Sums over blocks of records under jax, on one device or many; blocks are of one shape whatever
the length of a record, so that another length compiles nothing but the cut.

A device holds records (n, l, C), or the samples (n, l, C) of all records from some on, and y
likewise. The host lists blocks as `Item`: which record and polyphase component, and from which
place on. `Programs.cut` reads a number of them on every device, the samples beyond its own from its
neighbours, and the others add up what is in them; sums over devices are taken at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from .jax_fourier import correlated, matmul, spectra

AXIS = "devices"
EACH, ALL = PartitionSpec(AXIS), PartitionSpec()


class Shape(NamedTuple):
    """All that programs are compiled for, but x and y themselves.

    A component has ``taps`` taps and of every channel of x as many channels as ``phases``, which of
    the ``kernel`` taps they hold; the samples of a component are ``common`` and ``dilation`` apart.
    ``blocks`` of ``size`` samples are cut at once, of which ``step`` begin a row.
    """

    kernel: int
    taps: int
    phases: int
    dilation: int
    common: int
    circular: bool
    groups: int
    channels: int
    outputs: int
    size: int
    blocks: int

    @property
    def step(self) -> int:
        """Rows of a block."""
        return self.size - self.taps + 1

    @property
    def width(self) -> int:
        """Channels of a component in a group."""
        return self.phases * self.channels // self.groups

    @property
    def last(self) -> np.ndarray:
        """The taps (phases,) that each phase has."""
        return np.maximum(-(-(self.kernel - np.arange(self.phases)) // self.phases), 0)


class Held(NamedTuple):
    """What a device holds: of ``records`` so many ``samples`` and ``rows`` of y, of all samples
    ``width``; where these are ``split``, the samples it needs ``before`` and ``after`` its own.
    """

    records: int
    samples: int
    rows: int
    width: int
    split: bool
    before: int
    after: int


class Item(NamedTuple):
    """A block: its record on a device (-1: none), component and first place; how many rows of y
    are read; from how many rows' windows x is; and whether the component has a row for every tap.
    """

    record: Any
    component: Any
    place: Any
    rows: Any
    reach: Any
    long: Any


class Units(NamedTuple):
    """x is read as ``scale * x - shift`` (C,), y likewise (Cout,)."""

    scale: Any
    shift: Any
    y_scale: Any
    y_shift: Any


class Sums(NamedTuple):
    """Over blocks: lagged products of x (F, G, W, W), of x and y (F, G, W, Q), as spectra; joined,
    at the lags of the taps (taps, …).
    """

    core: Any
    rhs: Any
    means: Means


class Means(NamedTuple):
    """Over blocks: x of the places that all taps reach (G, W); y and y² (G, Q)."""

    x: Any
    y: Any
    squares: Any


class Misfit(NamedTuple):
    """Over blocks: Σr² (G, Q), Aᵀr (F, G, W, Q) as a spectrum and rᵀ1 (G, Q); joined, Aᵀr is
    (taps, …).
    """

    squares: Any
    gradient: Any
    sums: Any


class Pass(NamedTuple):
    """``add`` (total, x, y, items, *rest) → total adds up blocks on every device, ``join`` is the
    total of all devices.
    """

    add: Callable[..., Any]
    join: Callable[..., Any]


class Programs:
    """Compiled for a mesh of devices and a shape. What a pass adds up has a first axis of devices,
    and of what it has been joined to all devices have a copy.
    """

    def __init__(self, mesh: Mesh, shape: Shape) -> None:
        self.mesh, self.shape = mesh, shape
        self.largest = self._pass(_largest, _highest)
        self.means = self._pass(partial(_means, shape), _joined)
        self.sums = self._pass(partial(_sums, shape), partial(_joined_sums, shape))
        self.misfit = self._pass(partial(_misfit, shape), partial(_joined_misfit, shape), 2)
        self.product_gram = self._pass(partial(_product_gram, shape), _joined, 2)
        self.kernel = jax.jit(partial(_kernel_spectrum, shape))
        self.ends = self._of(partial(_ends, shape), (EACH, EACH), ALL, check_vma=False)
        self._cuts: dict[Any, Callable[..., Any]] = {}

    def _pass(self, add: Any, join: Any, rest: int = 0) -> Pass:
        ins = (*(EACH,) * 4, *(ALL,) * rest)
        return Pass(self._of(add, ins, EACH), self._of(join, (EACH,), ALL))

    def _of(self, body: Any, ins: Any, outs: Any, **how: Any) -> Any:
        return jax.jit(jax.shard_map(body, mesh=self.mesh, in_specs=ins, out_specs=outs, **how))

    def cut(self, held: Held, specs: tuple[Any, Any]) -> Callable[..., Any]:
        """(x, y, items, origin, units) → blocks of x (n, size, phases, C) and of y (n, size, Cout),
        zero where no row reads them, or is none. ``origin`` is what a place is ahead of x and y.
        """
        key = held, specs
        if key not in self._cuts:
            ins = (*specs, EACH, ALL, ALL)
            self._cuts[key] = self._of(partial(_cut, self.shape, held), ins, EACH)
        return self._cuts[key]

    def nothing(self, outputs: int) -> Sums:
        """The sums of no block, in NumPy."""
        s, n = self.shape, self.mesh.size
        f, groups = s.size // 2 + 1, s.groups
        x, y = (n, groups, s.width), (n, groups, outputs)
        means = Means(np.zeros(x), np.zeros(y), np.zeros(y))
        cross = np.zeros((n, f, *x[1:], outputs), complex)
        return Sums(np.zeros((n, f, *x[1:], s.width), complex), cross, means)


@cache
def programs(mesh: Mesh, shape: Shape) -> Programs:
    """Those of a mesh and a shape."""
    return Programs(mesh, shape)


def _cut(
    s: Shape, held: Held, x: Any, y: Any, items: Any, origin: Any, units: Units
) -> tuple[Any, Any]:
    item, t = Item(*items.T[:, :, None]), jnp.arange(s.size)
    first = lax.axis_index(AXIS) if held.split else 0
    u = (item.place + t)[..., None] * s.phases + np.arange(s.phases)
    sample = s.common * (item.component[..., None] * s.phases + s.dilation * u) - origin[0]
    if s.circular and not held.split:
        sample = sample % held.width
    inside = s.circular | ((sample >= 0) & (sample < held.width))
    record, sample = item.record[..., None], sample - first * held.samples
    x = x.reshape(held.records, held.samples, s.channels)
    seen = _at(x, record, jnp.where(inside, sample, -1))
    if held.before + held.after:
        edges, before = _neighbours(x, held), sample + held.before
        after = sample - held.samples + held.before
        place = jnp.where(sample < 0, before, jnp.where(sample >= held.samples, after, -1))
        seen = seen + _at(edges, record, jnp.where(inside, place, -1))
    seen = seen * units.scale - units.shift
    read = (t[:, None] < item.reach[..., None] - 1 + s.last) & (s.last > 0) & (record >= 0)
    x_blocks = jnp.where(read[..., None], seen, 0)
    if not s.outputs:
        return x_blocks, jnp.zeros_like(x_blocks, shape=(s.blocks, s.size, 0))
    row = item.component + s.dilation * (item.place + t) + origin[1] - first * held.rows
    row = jnp.where(t < item.rows, row, -1)
    given = _at(y.reshape(held.records, held.rows, s.outputs), item.record, row)
    given = given * units.y_scale - units.y_shift
    return x_blocks, jnp.where((t < item.rows)[..., None], given, 0)


def _at(a: Any, record: Any, place: Any) -> Any:
    """a (n, l, C) at some places of records, zero where there is none, in float64."""
    n, length, channels = a.shape
    here = (record >= 0) & (place >= 0) & (place < length)
    at = jnp.where(here, record * length + place, n * length)
    found = a.reshape(-1, channels).at[at].get(mode="fill", fill_value=0)
    return found.astype(float)


def _neighbours(x: Any, held: Held) -> Any:
    """(n, before + after, C): the last samples of the device before, and the first of the next."""
    count = lax.axis_size(AXIS)
    onward = [(i, (i + 1) % count) for i in range(count)]
    back = [(j, i) for i, j in onward]
    before = lax.ppermute(x[:, held.samples - held.before :], AXIS, onward)
    after = lax.ppermute(x[:, : held.after], AXIS, back)
    return jnp.concatenate([before, after], axis=1)


def _largest(best: Any, x: Any, y: Any, items: Any) -> Any:
    found = (jnp.abs(x).max((0, 1, 2)), jnp.abs(y).max((0, 1)))
    return jax.tree.map(lambda a, b: jnp.maximum(a, b[None]), best, found)


def _grouped(s: Shape, x: Any) -> Any:
    """x (n, size, phases, C) as (n, size, G, W)."""
    x = x.reshape(*x.shape[:3], s.groups, -1).swapaxes(2, 3)
    return x.reshape(*x.shape[:3], s.width)


def _outputs(s: Shape, y: Any) -> Any:
    """y (n, L, Cout) as (n, L, G, Q)."""
    return y.reshape(*y.shape[:2], s.groups, -1)


def _places(s: Shape, items: Any) -> tuple[Any, Any]:
    """Which places (n, size, 1, 1) of blocks begin a row, and which the last tap reaches; none of
    components that have fewer rows than taps.
    """
    item, t = Item(*items.T[:, :, None, None, None]), jnp.arange(s.size)[:, None, None]
    return t < item.rows, (item.long > 0) & (item.place + t >= s.taps - 1)


def _spectra(blocks: Any) -> Any:
    """(F, G, C, n) of blocks (n, size, G, C)."""
    return spectra(jnp.moveaxis(blocks, 1, -1))


def _add(total: Any, found: Any) -> Any:
    return jax.tree.map(lambda a, b: a + b[None], total, found)


def _means(s: Shape, total: Means, x: Any, y: Any, items: Any) -> Means:
    begins, reached = _places(s, items)
    inner = jnp.where(begins & reached, _grouped(s, x), 0).sum((0, 1))
    y = _outputs(s, y)
    return _add(total, Means(inner, y.sum((0, 1)), (y**2).sum((0, 1))))


def _sums(s: Shape, total: Sums, x: Any, y: Any, items: Any) -> Sums:
    seen = _grouped(s, x)
    left, right = (_spectra(jnp.where(here, seen, 0)) for here in _places(s, items))
    given, means = _spectra(_outputs(s, y)), _means(s, total.means, x, y, items)
    core = total.core + correlated(left, right)[None]
    return Sums(core, total.rhs + correlated(right, given, of_first=True)[None], means)


def _kernel_spectrum(s: Shape, w: Any) -> Any:
    """(F, G, W, Q), conjugate, of w (taps, G, W, Q)."""
    return jnp.fft.rfft(w, s.size, axis=0).conj()


def _product(s: Shape, x: Any, kernel: Any) -> tuple[Any, Any]:
    """Spectra (F, G, W, n) of blocks of x, and A w (n, step, G, Q) there."""
    seen = _spectra(_grouped(s, x))
    found = jnp.moveaxis(matmul(seen.swapaxes(-1, -2), kernel), 0, -1)
    return seen, jnp.fft.irfft(found, s.size).transpose(1, 3, 0, 2)[:, : s.step]


def _misfit(
    s: Shape, total: Misfit, x: Any, y: Any, items: Any, kernel: Any, offset: Any
) -> Misfit:
    seen, found = _product(s, x, kernel)
    r = _outputs(s, y)[:, : s.step] - offset - found
    r = jnp.where(_places(s, items)[0][:, : s.step], r, 0)
    r = jnp.pad(r, [(0, 0), (0, s.size - s.step), (0, 0), (0, 0)])
    gradient = correlated(seen, _spectra(r), of_first=True)
    return _add(total, Misfit((r**2).sum((0, 1)), gradient, r.sum((0, 1))))


def _product_gram(
    s: Shape, total: Any, x: Any, y: Any, items: Any, kernel: Any, offset: Any
) -> Any:
    found = _product(s, x, kernel)[1] - offset
    found = jnp.where(_places(s, items)[0][:, : s.step], found, 0)
    flat = found.transpose(2, 0, 1, 3).reshape(s.groups, -1, found.shape[-1])
    return _add(total, matmul(flat.swapaxes(1, 2), flat))


def _highest(best: Any) -> Any:
    return jax.tree.map(lambda a: lax.pmax(a[0], AXIS), best)


def _joined(total: Any) -> Any:
    return jax.tree.map(lambda a: lax.psum(a[0], AXIS), total)


def _joined_sums(s: Shape, total: Sums) -> Sums:
    core, rhs, means = _joined(total)
    return Sums(_lags(s, core), _lags(s, rhs), means)


def _joined_misfit(s: Shape, total: Misfit) -> Misfit:
    found: Misfit = _joined(total)
    return found._replace(gradient=_lags(s, found.gradient))


def _lags(s: Shape, spectrum: Any) -> Any:
    """What correlated spectra (F, …) are at the lags of the taps, (taps, …)."""
    return jnp.fft.irfft(spectrum, s.size, axis=0)[: s.taps]


def _ends(s: Shape, x: Any, y: Any) -> tuple[Any, Any]:
    """The first samples of the blocks of all devices, two kernels long."""
    found = _grouped(s, x)[:, : 2 * s.taps], _outputs(s, y)[:, : 2 * s.taps]
    x, y = (lax.all_gather(a, AXIS, tiled=True) for a in found)
    return x, y
