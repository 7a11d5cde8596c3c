"""Sums over the rows of records that stay on devices of jax. Only the sums leave the devices.

They are sums over blocks by FFTs, or sums over the rows themselves if FFTs would lose digits or if
the rows of a record differ in weight.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np

from ..cached import cached_property
from ..lazy_jax import meet
from ..problem.nuisance import Nuisance
from ..problem.remote import Remote
from ..problem.rows import Rows
from ..problem.spec import ConvSpec
from . import gram
from .by_fft import exact
from .chunk import Form, exponents_of
from .moments import Moments, NuisanceSums, ResidualSums, Units, per_column
from .nuisance import orthonormal_columns
from .overlap_save import component_columns, component_taps
from .spread import Scaling, Shape, Stack, mesh_of, put, stacked
from .trends import Trends

# Samples of a block: a power of two, several kernels long, and at least LEAST_SIZE. About
# CUT_NUMBERS numbers are cut at once, which are enough to keep a device busy.
KERNELS, LEAST_SIZE, CUT_NUMBERS = 4, 512, 2**18

# Blocks (n, 5) of a stack on a device.
Choice = Callable[[Stack, int], np.ndarray]


class DeviceChunk:
    """All rows of records along one axis that stay on their devices.

    Attributes:
        groups, channels, columns, outputs: numbers of groups, and of channels, columns P and
            outputs Q of a group.
        by_rows: whether rows are formed.
        moments: sums over the rows of A and Y, and their products with N.
        fit: coefficients (k, G, Q) of N that are subtracted from y.
    """

    def __init__(
        self,
        x: Sequence[Remote],
        y: Sequence[Remote] | None,
        spec: ConvSpec,
        kept: Rows,
        nuisance: Nuisance,
        form: Form,
    ) -> None:
        """Place the data and sum over the rows.

        Raises:
            Unsupported: If the layout of the data is not supported.
        """
        self._kept, self._nuisance, self._form = kept, nuisance, form
        self.groups, self.channels = spec.groups, x[0].shape[-1] // spec.groups
        self.columns = spec.unknowns(x[0].shape[-1])
        self.outputs = 0 if y is None else y[0].shape[-1] // spec.groups
        self._places = component_columns(spec, self.channels)
        with _in_float64():
            self._stacks = stacked(x, y, spec, kept, nuisance)
        self._mesh = mesh_of(self._stacks[0].spread.devices)
        confounds = nuisance.confounds
        count = 0 if confounds is None else confounds.count
        self.fit = np.zeros((count, self.groups, self.outputs))
        self.by_rows = False
        self._scaling = self._in_units()
        weights = None if confounds is None else confounds.weights
        alike = weights is None or weights.by_record
        self.by_rows = not alike or kept.count < kept.dropped or self._short
        self.moments, whole = self._sums()
        if not (self.by_rows or exact(self.moments.squares, whole, self.channels)):
            self.by_rows = True
            self.moments, _ = self._sums()

    def with_fit(self, fit: np.ndarray | None) -> DeviceChunk:
        """Return the same rows with N times ``fit`` (k, Cout), in the user's units, subtracted."""
        found = copy(self)
        if fit is not None:
            exponents = self.units.out_exponents
            found.fit = np.ldexp(fit.reshape(self.fit.shape), -exponents)
        return found

    def shape(self, rows: bool) -> Shape:
        """Return the shape of blocks: of one row each, or for FFTs."""
        spec, channels = self._form.spec, self.groups * self.channels
        (taps,) = component_taps(spec)
        size = taps if rows else 1 << (max(LEAST_SIZE, KERNELS * taps) - 1).bit_length()
        shape = Shape(spec, channels, self.groups * self.outputs, len(self.fit), size, 1)
        own = max(stack.columns for stack in self._stacks)
        fit = CUT_NUMBERS // (size * shape.width * self.groups * (1 + own))
        # With many channels or columns, adding sums would cost more than the sums of few blocks.
        many = self.columns if rows else min(shape.width // 4, 8 * fit)
        return shape._replace(blocks=max(1, fit, many))

    # --- units

    def _in_units(self) -> Scaling:
        """Return units in which the largest samples that rows read are about one.

        If N contains a constant, the means of these samples are subtracted.
        """
        import jax.numpy as jnp

        from .jax_blocks import largest, totals

        inputs, outputs = self.groups * self.channels, self.groups * self.outputs
        raw = Scaling(np.ones(inputs), np.zeros(inputs), np.ones(outputs), np.zeros(outputs))
        sizes: Any = self._form.x_sizes, self._form.y_sizes
        if sizes[0] is None or (sizes[1] is None and outputs):
            x, y = self.over_blocks(largest, scaling=raw, op=jnp.maximum)
            sizes = self._by_channel(x, np.max), y.reshape(-1)
        exponents = [exponents_of(a) for a in (sizes[0], sizes[1] if outputs else np.zeros(0))]
        scales = (np.ldexp(1.0, -e) for e in exponents)
        scaled = raw._replace(**dict(zip(("scale", "y_scale"), scales, strict=True)))
        confounds = self._nuisance.confounds
        spanned = confounds is not None and (confounds.degree >= 0 or confounds.shared)
        if not (self._nuisance.constant or spanned):
            return scaled
        x, y = self.over_blocks(totals, scaling=scaled)
        count = self._kept.count if confounds is None else confounds.scales @ self._kept.sizes
        phases = min(self.shape(rows=False).phases, self._form.spec.kernel_size[0])
        shift = self._by_channel(x, np.sum) / (count * phases)
        return scaled._replace(shift=shift, y_shift=y.reshape(-1) / count)

    def _by_channel(self, values: np.ndarray, of: Any) -> np.ndarray:
        """Return a function of values (G, W) over the phases of each channel (Cin,)."""
        phases = values.reshape(self.groups, -1, self.channels)
        return np.asarray(of(phases, axis=1)).reshape(-1)

    @cached_property
    def units(self) -> Units:
        """The units of its columns and outputs, with the constants that are not in `trends`."""
        scale, shift, y_scale, y_shift = (a.reshape(self.groups, -1) for a in self._scaling)
        exponents, out_exponents = (1 - np.frexp(a)[1] for a in (scale, y_scale))
        constant = float(self._nuisance.constant)
        shift = per_column(shift, self.columns) * constant
        return Units(exponents, shift, out_exponents, y_shift * constant)

    def trends(self, degree: int, of_y: bool = False) -> Trends:
        """Return the constants that are subtracted from x, or from y, as polynomials in time."""
        scale, shift = self._scaling[2 * of_y : 2 * of_y + 2]
        records, terms = np.array(self._kept.used), degree + 1
        crosses = np.zeros((len(records), terms, shift.size))
        crosses[:, 0] = shift / scale
        grams = np.broadcast_to(np.eye(terms), (len(records), terms, terms))
        return Trends(records, grams, crosses, len(records), np.zeros(shift.size))

    # --- sums over all devices

    @property
    def _short(self) -> bool:
        """Whether a span has fewer rows than a component has taps."""
        s = self.shape(rows=False)
        each = itertools.product(self._stacks, range(self._mesh.size))
        blocks = (stack.blocks(device, s) for stack, device in each)
        return any(((b[:, 3] == 0) & (b[:, 4] < s.taps)).any() for b in blocks)

    def _sums(self) -> tuple[Moments, np.ndarray]:
        """Return the moments, and the squares (G, P) of the columns with excluded rows."""
        from .jax_blocks import rows

        total = self.over_blocks(rows, False, rows=True) if self.by_rows else self._sums_by_fft()
        whole = np.einsum("gpp->gp", total[0])
        if not self.by_rows:
            excluded = self.over_blocks(rows, True, rows=True, some=self._excluded)
            if excluded is not None:
                total = [a - b for a, b in zip(total, excluded, strict=True)]
        products, sums, rhs, crossed, out_sums, out_squares, of_outputs = total
        at = self._places
        nuisance: tuple[NuisanceSums, ...] = ()
        if len(self.fit):
            of_columns = np.stack([self.in_order(a[..., None])[..., 0] for a in crossed], axis=1)
            nuisance = self._nuisance_sums(of_columns, of_outputs.swapaxes(0, 1))
        rhs, sums = self.in_order(rhs), self.in_order(sums[..., None])[..., 0]
        found = Moments(
            products[:, at[:, None], at], rhs, sums, out_sums, out_squares, self._kept.count,
            self.units, self._nuisance.constant, nuisance,
        )  # fmt: skip
        return found, whole[:, at]

    def _sums_by_fft(self) -> Sequence[np.ndarray]:
        """Return the sums of `jax_blocks.rows`, also over excluded rows, by FFTs."""
        from .jax_blocks import ends, gram_of, sums

        core, inner, rhs, crossed, *of_y = self.over_blocks(sums)
        before, head, after, tail, *more = self.over_blocks(ends, some=self._ends)
        with self._there():
            total = np.asarray(gram_of(self.at_taps(core), after, before))
        rhs, crossed = self.at_taps(rhs + more[0]), crossed + more[1]
        return total, gram.around(inner, head, tail), rhs, crossed, *of_y

    def _nuisance_sums(
        self, of_columns: np.ndarray, of_outputs: np.ndarray
    ) -> tuple[NuisanceSums, ...]:
        spans = [(i, 0, self._kept.shapes[i][0]) for i in self._kept.used]
        columns = orthonormal_columns(self._nuisance, spans, self._kept.count)
        of_ones = columns.products(np.ones((self._kept.count, 1)))[:, 0]
        count, units = len(of_ones), self.units
        found = NuisanceSums(
            np.arange(count), count, of_columns, of_outputs, of_ones, units.exponents,
            units.out_exponents,
        )  # fmt: skip
        return (found,)

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Return values (taps, G, W, Q) of components as (G, P, Q)."""
        flat = values.swapaxes(0, 1).reshape(self.groups, -1, values.shape[-1])
        return flat[:, self._places]

    def at_taps(self, spectrum: np.ndarray) -> np.ndarray:
        """Return products by FFTs at the lags of the taps."""
        s = self.shape(rows=False)
        return np.fft.irfft(spectrum, s.size, axis=0)[: s.taps]

    def kernel(self, w: np.ndarray) -> np.ndarray:
        """Return a kernel (G, P, Q) in the form in which `jax_blocks` applies it."""
        s = self.shape(self.by_rows)
        whole = np.zeros((self.groups, s.taps * s.width, w.shape[2]))
        whole[:, self._places] = w
        by_tap = whole.reshape(self.groups, s.taps, s.width, -1).swapaxes(0, 1)
        return by_tap if self.by_rows else np.fft.rfft(by_tap, s.size, axis=0).conj()

    # --- passes over blocks

    def over_blocks(
        self,
        of: Callable[..., Any],
        *rest: Any,
        rows: bool = False,
        some: Choice | None = None,
        scaling: Scaling | None = None,
        op: Callable[..., Any] | None = None,
    ) -> Any:
        """Return what a function of `jax_blocks` sums over all blocks, or over ``some`` of them.

        The sums are joined by ``op``, which is addition by default. None if there are no blocks.
        """
        import jax

        from .jax_blocks import cut, programs

        shape, total = self.shape(rows), None
        join: Any = op or jax.numpy.add
        own, joined, whole = programs(self._mesh, of, shape, join)
        if len({device.process_index for device in self._mesh.devices.flat}) > 1:
            meet(of.__name__, self._form.limits.peer_seconds)
        with self._there():
            for stack in self._stacks:
                specs = jax.tree.map(lambda a: a.sharding.spec, stack.arrays)
                read = cut(self._mesh, shape, stack.held, specs)
                for items in self._calls(stack, shape, some):
                    found = read(stack.arrays, items, scaling or self._scaling)
                    if total is None:
                        like = jax.eval_shape(own, found, rest)
                        total = jax.tree.map(lambda a: self._put(np.zeros(a.shape, a.dtype)), like)
                    total = joined(total, found, rest)
            return None if total is None else jax.tree.map(np.asarray, whole(total))

    def _calls(self, stack: Stack, shape: Shape, some: Choice | None) -> Iterator[Any]:
        """Yield the blocks of all devices, some at a time. Devices without more read none."""
        devices = range(self._mesh.size)
        each = [some(stack, j) if some else stack.blocks(j, shape) for j in devices]
        calls = -(-max(map(len, each)) // shape.blocks)
        whole = np.full((len(each), calls * shape.blocks, 5), -1)
        for mine, found in zip(whole, each, strict=True):
            mine[: len(found)] = found
        for i in range(calls):
            part = whole[:, i * shape.blocks : (i + 1) * shape.blocks]
            yield self._put(part.reshape(-1, 5))

    def _ends(self, stack: Stack, device: int) -> np.ndarray:
        """Return two blocks of every span, which begin with its first and with its last row."""
        blocks = stack.blocks(device, self.shape(rows=False))
        first = blocks[blocks[:, 3] == 0]
        return np.concatenate([first, first + np.outer(first[:, 4] - 1, [0, 0, 1, 1, -1])])

    def _excluded(self, stack: Stack, device: int) -> np.ndarray:
        return stack.excluded_rows(device, self.shape(rows=True))

    def _put(self, a: np.ndarray) -> Any:
        """Return an array with its first axis spread over the devices."""
        from jax.sharding import NamedSharding

        from .jax_blocks import EACH

        return put(a, NamedSharding(self._mesh, EACH))

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Compute in float64 on these devices, whatever mesh the caller has set."""
        import jax

        with jax.enable_x64(True), jax.set_mesh(self._mesh):
            yield


@contextmanager
def _in_float64() -> Iterator[None]:
    import jax

    with jax.enable_x64(True):
        yield


def own_units(chunk: DeviceChunk) -> Units:
    """Return the units of a chunk."""
    return chunk.units


def moments(chunk: DeviceChunk) -> Moments:
    """Return sums over the rows of A and Y, and their products with N."""
    return chunk.moments


def norms(chunk: DeviceChunk) -> Moments:
    """Return sums and squares of the columns, as moments of each column on its own."""
    m, units = chunk.moments, chunk.units
    squares = np.einsum("gpp->gp", m.gram)
    return Moments.of_columns(m.sums, squares, m.n, units.column_exponents, units.shift, m.constant)


def misfit(chunk: DeviceChunk, w: np.ndarray, offset: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q), in own units.

    The fit of the chunk is subtracted from y first.
    """
    from .jax_blocks import misfit as task

    squares, gradient, sums, products = chunk.over_blocks(
        task, chunk.kernel(w), offset, chunk.fit, rows=chunk.by_rows
    )
    gradient = gradient if chunk.by_rows else chunk.at_taps(gradient)
    return ResidualSums(squares, chunk.in_order(gradient), sums, products.swapaxes(0, 1))


def product_gram(
    chunk: DeviceChunk, group: int, w: np.ndarray, offset: np.ndarray, fit: np.ndarray | None = None
) -> np.ndarray:
    """Return the products (Q, Q) of A w − offset − N fit of one group, for w (P, Q)."""
    from .jax_blocks import product_gram as task

    every, offsets = np.zeros((chunk.groups, *w.shape)), np.zeros((chunk.groups, w.shape[1]))
    fits = np.zeros((len(chunk.fit), *offsets.shape))
    every[group], offsets[group] = w, offset
    if fit is not None:
        fits[:, group] = fit
    given = chunk.kernel(every), offsets, fits
    found: np.ndarray = chunk.over_blocks(task, *given, rows=chunk.by_rows)[group]
    return found
