"""Sums over the rows of records that stay on devices of jax. Only the sums leave the devices.

They are sums over blocks by FFTs, or sums over the rows themselves if FFTs would lose digits or if
the rows of a record differ in weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
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
from .spread import Shape, Stack, put, sharding, stacked
from .trends import Trends

# Samples of a block: a power of two, several kernels long, and at least LEAST_SIZE. About
# CUT_NUMBERS numbers are cut at once, which are enough to keep a device busy.
KERNELS, LEAST_SIZE, CUT_NUMBERS = 4, 512, 2**18

# A method of `Stack` that returns blocks (n, 5) of a device.
Choice = Callable[[Stack, int, Shape], np.ndarray]


class DeviceChunk:
    """All rows of records along one axis that stay on their devices.

    Attributes:
        groups, channels, columns, outputs: numbers of groups, and of channels, columns P and
            outputs Q of a group.
        by_rows: whether rows are formed.
        moments: sums over the rows of A and Y, and their products with N.
        fit: coefficients (k, G, Q) of N that are subtracted from y.
        kept: results that are used again.
    """

    structured = True
    # The columns of confounds are on the devices, and the moments have their products.
    blocks, samples = (), ()

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
        import jax

        self._kept, self._nuisance, self._form = kept, nuisance, form
        self.kept: dict[str, Any] = {}
        self.groups, self.channels = spec.groups, x[0].shape[-1] // spec.groups
        self.columns = spec._unknowns(x[0].shape[-1])
        self.outputs = 0 if y is None else y[0].shape[-1] // spec.groups
        self._places = component_columns(spec, self.channels)
        with jax.enable_x64(True):
            self._stacks = stacked(x, y, spec, kept, nuisance)
        # The sharding of arrays whose first axis is spread over the devices.
        self._each = sharding(self._stacks[0].devices, 0)
        confounds = nuisance.confounds
        count = 0 if confounds is None else confounds.count
        self.fit = np.zeros((count, self.groups, self.outputs))
        self.by_rows = False
        self._choose_units()
        weights = None if confounds is None else confounds.weights
        alike = weights is None or weights.by_record
        self.by_rows = not alike or kept.count < kept.dropped or self._short
        self.moments, whole = self._sums()
        if not (self.by_rows or exact(self.moments.squares, whole, self.channels)):
            self.by_rows = True
            self.moments, _ = self._sums()

    def load(self, form: Form) -> DeviceChunk:
        """Return the same rows with the fit of the confounds subtracted from y."""
        if form.fits.y is None:
            return self
        found = copy(self)
        found.fit = np.ldexp(form.fits.y.reshape(self.fit.shape), -self.units.out_exponents)
        return found

    def decided(self, by_rows: bool) -> DeviceChunk:
        """Return the chunk, which has chosen between rows and FFTs."""
        return self

    def in_out_units(self, exponents: np.ndarray) -> DeviceChunk:
        """Return the chunk, whose y has these units."""
        return self

    def shape(self, rows: bool) -> Shape:
        """Return the shape of blocks: of one row each, or for FFTs."""
        spec, groups = self._form.spec, self.groups
        (kernel,), (stride,), (dilation,) = spec.kernel_size, spec.stride, spec.dilation
        (taps,), common = component_taps(spec), math.gcd(stride, dilation)
        size = taps if rows else 1 << (max(LEAST_SIZE, KERNELS * taps) - 1).bit_length()
        width = stride // common * self.channels
        own = max(stack.columns for stack in self._stacks)
        fit = CUT_NUMBERS // (size * width * groups * (1 + own))
        # With many channels or columns, adding sums would cost more than the sums of few blocks.
        many = self.columns if rows else min(width // 4, 8 * fit)
        return Shape(
            kernel, taps, stride // common, dilation // common, dilation, groups,
            groups * self.channels, groups * self.outputs, len(self.fit), size, max(1, fit, many),
        )  # fmt: skip

    # --- units

    def _choose_units(self) -> None:
        """Set the scaling of `jax_blocks.cut` in which the largest samples are about one.

        Only samples that rows read count. If N contains a constant, their means are subtracted.
        """
        import jax.numpy as jnp

        from .jax_blocks import largest, totals

        counts = self.groups * self.channels, self.groups * self.outputs
        self._scaling = [of(count) for count in counts for of in (np.ones, np.zeros)]
        sizes: Any = self._form.x_sizes, self._form.y_sizes
        if any(a is None for a in sizes):
            x, y = self.over_blocks(largest, op=jnp.maximum)
            sizes = self._by_channel(x).max(1), y
        self._scaling[::2] = [np.ldexp(1.0, -exponents_of(a.reshape(-1))) for a in sizes]
        confounds = self._nuisance.confounds
        spanned = confounds is not None and (confounds.degree >= 0 or confounds.shared)
        if not (self._nuisance.constant or spanned):
            return
        x, y = self.over_blocks(totals)
        count = self._kept.count if confounds is None else confounds.scales @ self._kept.sizes
        phases = min(self.shape(rows=False).phases, self._form.spec.kernel_size[0])
        sums = self._by_channel(x).sum(1) / phases, y
        self._scaling[1::2] = [a.reshape(-1) / count for a in sums]

    def _by_channel(self, values: np.ndarray) -> np.ndarray:
        """Return values (G, W) as (G, phases, C)."""
        return values.reshape(self.groups, -1, self.channels)

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
        blocks = (stack.blocks(j, s) for stack in self._stacks for j in range(len(stack.devices)))
        return any(((b[:, 3] == 0) & (b[:, 4] < s.taps)).any() for b in blocks)

    def _sums(self) -> tuple[Moments, np.ndarray]:
        """Return the moments, and the squares (G, P) of the columns with excluded rows."""
        from .jax_blocks import rows

        total = self.over_blocks(rows, False) if self.by_rows else self._sums_by_fft()
        whole, excluded = np.linalg.diagonal(total[0]), None
        if not self.by_rows:
            excluded = self.over_blocks(rows, True, some=Stack.excluded_rows)
        if excluded is not None:
            total = [a - b for a, b in zip(total, excluded, strict=True)]
        products, sums, rhs, crossed, out_sums, out_squares, of_outputs = total
        at, units = self._places, self.units
        found = Moments(
            products[:, at[:, None], at], self.in_order(rhs), self.in_order(sums), out_sums,
            out_squares, self._kept.count, units, self._nuisance.constant,
        )  # fmt: skip
        if len(self.fit):
            spans = [(i, 0, self._kept.shapes[i][0]) for i in self._kept.used]
            columns = orthonormal_columns(self._nuisance, spans, found.n)
            nuisance = NuisanceSums(
                np.arange(columns.count), columns.count,
                self.in_order(np.moveaxis(crossed, 0, -1)).swapaxes(1, 2),
                of_outputs.swapaxes(0, 1), columns.products(np.ones((found.n, 1)))[:, 0],
                units.exponents, units.out_exponents,
            )  # fmt: skip
            found = replace(found, nuisance=(nuisance,))
        return found, whole[:, at]

    def _sums_by_fft(self) -> Sequence[np.ndarray]:
        """Return the sums of `jax_blocks.rows`, also over excluded rows, by FFTs."""
        import jax

        from .jax_blocks import ends, gram_of, sums

        core, inner, *of_y = self.over_blocks(sums)
        before, head, after, tail, *of_first = self.over_blocks(ends, some=Stack.ends)
        with jax.enable_x64(True), jax.set_mesh(self._each.mesh):
            total = np.asarray(gram_of(core, after, before))
        of_y[:2] = [a + b for a, b in zip(of_y[:2], of_first, strict=True)]
        return total, gram.around(inner, head, tail), *of_y

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Return values (taps, G, W, …) of components as (G, P, …)."""
        taps, groups, width, *others = values.shape
        return values.swapaxes(0, 1).reshape(groups, taps * width, *others)[:, self._places]

    def kernel(self, w: np.ndarray) -> np.ndarray:
        """Return a kernel (G, P, Q) in the form in which `jax_blocks` applies it."""
        s = self.shape(self.by_rows)
        width = s.phases * self.channels
        whole = np.zeros((self.groups, s.taps * width, w.shape[2]))
        whole[:, self._places] = w
        by_tap = whole.reshape(self.groups, s.taps, width, -1).swapaxes(0, 1)
        return by_tap if self.by_rows else np.fft.rfft(by_tap, s.size, axis=0).conj()

    # --- passes over blocks

    def over_blocks(
        self,
        of: Callable[..., Any],
        *rest: Any,
        some: Choice = Stack.blocks,
        op: Callable[..., Any] | None = None,
    ) -> Any:
        """Return what a function of `jax_blocks` sums over all blocks, or over ``some`` of them.

        The sums are joined by ``op``, which is addition by default. None if there are no blocks.
        """
        import jax

        from .jax_blocks import cut, programs

        # Excluded rows are subtracted from sums by FFTs one by one.
        shape = self.shape(self.by_rows or some is Stack.excluded_rows)
        total, mesh = None, self._each.mesh
        join: Any = op or jax.numpy.add
        zeros, joined, whole = programs(mesh, of, shape, join)
        if len({device.process_index for device in mesh.devices.flat}) > 1:
            meet(of.__name__, self._form.limits.peer_seconds)
        # Whatever mesh the caller has set.
        with jax.enable_x64(True), jax.set_mesh(mesh):
            for stack in self._stacks:
                specs = jax.tree.map(lambda a: a.sharding.spec, stack.arrays)
                read = cut(mesh, shape, stack.held, specs)
                for items in self._calls(stack, shape, some):
                    found = read(stack.arrays, items, self._scaling)
                    total = zeros(found, rest) if total is None else total
                    total = joined(total, found, rest)
            return None if total is None else jax.tree.map(np.asarray, whole(total))

    def _calls(self, stack: Stack, shape: Shape, some: Choice) -> Iterator[Any]:
        """Yield the blocks of all devices, some at a time. Devices without more read none."""
        each = [some(stack, j, shape) for j in range(len(stack.devices))]
        calls = -(-max(map(len, each)) // shape.blocks)
        whole = np.full((len(each), calls * shape.blocks, 5), -1)
        for mine, found in zip(whole, each, strict=True):
            mine[: len(found)] = found
        for part in whole.reshape(len(each), calls, shape.blocks, 5).swapaxes(0, 1):
            yield put(part.reshape(-1, 5), self._each)


def own_units(chunk: DeviceChunk) -> Units:
    """Return the units of a chunk."""
    return chunk.units


def moments(chunk: DeviceChunk) -> Moments:
    """Return sums over the rows of A and Y in own units."""
    return chunk.moments


# Sums over all columns take no more passes than those of every column on its own.
norms = moments


def misfit(chunk: DeviceChunk, w: np.ndarray, offset: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q), in own units.

    The fit of the chunk is subtracted from y first.
    """
    from .jax_blocks import misfit as task

    given = chunk.kernel(w), offset, chunk.fit
    squares, gradient, sums, products = chunk.over_blocks(task, *given)
    return ResidualSums(squares, chunk.in_order(gradient), sums, products.swapaxes(0, 1))


def product_gram(
    chunk: DeviceChunk, group: int, w: np.ndarray, offset: np.ndarray, fit: np.ndarray | None = None
) -> np.ndarray:
    """Return the products (Q, Q) of A w − offset − N fit of one group, for w (P, Q)."""
    from .jax_blocks import product_gram as task

    fit = np.zeros((len(chunk.fit), w.shape[1])) if fit is None else fit
    w, offset, fit = (_alone(a, group, chunk.groups) for a in (w, offset, fit))
    given = chunk.kernel(w), offset, fit.swapaxes(0, 1)
    found: np.ndarray = chunk.over_blocks(task, *given)[group]
    return found


def _alone(a: np.ndarray, group: int, groups: int) -> np.ndarray:
    """Return values of one group as values (G, …) of all, which are zero for the others."""
    every = np.zeros((groups, *a.shape))
    every[group] = a
    return every
