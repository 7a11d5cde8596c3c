"""The design matrix of a problem, with nuisance columns projected out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial, reduce
from operator import iadd
from typing import Any, NamedTuple

import numpy as np

from ..linalg.rank import EPS
from ..parallel import cached_property
from ..problem.nuisance import Confounds, Nuisance
from ..problem.spec import ConvSpec
from .data import Data, Plan, Series, Signal, Stack, nuisance_rows, stacked
from .events import Events
from .fourier import lanes
from .rows import RowBlock, each, products, row_residuals, row_sums, rows
from .sums import Residuals, Sums, combined

# Sums lose too many digits if a projection keeps less of a square, or if the norms of the columns
# of a channel differ by a larger factor.
KEPT, EVEN = 0.01, 4.0
# Outputs from which confounds are projected out at a time, and channels of groups that are summed
# at a time.
AT_ONCE, WIDTH = 16, 256
# Whether rows are formed, and what N fits of them, or None.
Form = tuple[bool, np.ndarray | None]


class Targets(NamedTuple):
    """Outputs y for the rows of a design matrix, read in one unit."""

    signal: Signal
    groups: int

    @property
    def records(self) -> Sequence[Any]:
        """The outputs of every record."""
        return self.signal.records

    @property
    def in_memory(self) -> list[np.ndarray]:
        """The outputs of every record as arrays."""
        return [*map(np.asarray, self.records)]

    @property
    def exponents(self) -> np.ndarray:
        """Exponents (Cout,): the largest magnitude is one in their units, within 2^17."""
        return self.signal.unit.exponents

    @property
    def outputs(self) -> int:
        """Number Q of outputs of each group."""
        return self.signal.channels // self.groups

    def grouped(self, values: np.ndarray) -> np.ndarray:
        """Return values (Cout,) by group (G, Q)."""
        return values.reshape(self.groups, -1)


class OutputSums(NamedTuple):
    """Sums over the rows of outputs: AᵀMY (G, P, Q), NᵀY (G, q, Q), and squares (G, Q) of M Y.

    Outputs that are only rounding of what N fits are not ``live`` (G, Q), and zero.
    """

    rhs: np.ndarray
    of_n: np.ndarray
    squares: np.ndarray
    live: np.ndarray


class Columns(NamedTuple):
    """The columns of M A, and how they are summed.

    Attributes:
        gram: AᵀMA (G, P, P), or its diagonal (G, P).
        norms: (G, P), zero for columns of which only rounding is left.
        of_n: NᵀA (G, q, P), without ``fit``.
        fit: coefficients (G, q, P) of N that are subtracted from rows first, or None.
        by_rows: whether rows are formed.
        outputs: sums of the outputs that were given with x.
    """

    gram: np.ndarray
    norms: np.ndarray
    of_n: np.ndarray
    fit: np.ndarray | None
    by_rows: bool
    outputs: OutputSums

    @property
    def whole_fit(self) -> np.ndarray:
        """NᵀA (G, q, P)."""
        return self.of_n if self.fit is None else self.of_n + self.fit


class DesignMatrix:
    """The design matrix A of every group, with nuisance columns N projected out: M A.

    Arrays have the shape (G, P) for columns, (G, Q) for outputs and (G, P, Q) for kernels. Column j
    is ``2**-exponents[j]`` times the column of the user's x, less a constant that N spans.

    Attributes:
        data: the rows.
        groups, rows, columns: G, n and P.
        targets: the outputs that are summed in the same pass as A, or None.
    """

    def __init__(
        self, data: Data, y: Signal | None, by_rows: bool = False, with_gram: bool = True
    ) -> None:
        """Store the data, whether rows are formed, and whether AᵀA is summed in the first pass."""
        self.data, self.plan, self._with_gram = data, data.plan, with_gram
        self.groups, self.rows, self.columns = data.groups, data.rows, data.columns
        self.targets = None if y is None else Targets(y, data.groups)
        #: The targets, or some without outputs.
        self.given = self.targets or self.with_outputs(self._empty)
        rooted = any(root.ndim for root in self.plan.weights or ())
        few = data.rows < self.plan.kept.dropped
        unsupported = rooted or few or not data.windows.by_fft
        self._form_rows = by_rows or (unsupported and not data.x.sparse)

    def with_outputs(self, y: Sequence[Any]) -> Targets:
        """Return targets for other outputs of the same x."""
        return Targets(Signal(self.plan, y, of_x=False), self.groups)

    # --- the first pass

    @cached_property
    def first(self) -> Columns:
        """The pass over x and the given outputs, by rows if FFTs or a projection lose digits."""
        by_rows, fit, fitted = self._form_rows, None, self.plan.fitted
        sums = self._sum(self.given, by_rows, None, self._with_gram)
        if not by_rows and (self._is_uneven(sums) or not _kept(sums, fitted)):
            by_rows = True
            if self.data.x.sparse:
                self.data = Data(self.plan, self.data.x.subtracted())
                del self._bare
            sums = self._sum(self.given, by_rows, None, self._with_gram)
        whole, of_y = sums.whole, sums.of_y
        if not _kept(sums, fitted):
            by_rows, fit = True, sums.of_x.copy()
            fit[:, fitted:] = 0.0
            sums = self._sum(self.given, by_rows, fit, self._with_gram)
        gram, rhs, squares = sums.projected(fitted)
        left = gram if gram.ndim == 2 else gram.diagonal(0, 1, 2)
        live = self._live(left, whole, self.data.x)
        norms = np.sqrt(np.maximum(left, 0.0)) * live
        if not live.all() and gram.ndim == 3:
            gram *= live[:, :, None] & live[:, None]
        outputs = self._outputs(rhs * live[..., None], of_y, squares, sums.squares, self.given)
        return Columns(gram, norms, sums.of_x, fit, by_rows, outputs)

    def _is_uneven(self, sums: Sums) -> bool:
        """Return whether the columns of a channel differ too much in norm for FFTs."""
        taps = sums.whole.reshape(self.groups, -1, self.data.channels)
        uneven = sums.diagonal.reshape(taps.shape).max(1) > EVEN**2 * taps.min(1)
        return bool(uneven.any()) and not self.data.x.sparse

    def _outputs(
        self, rhs: np.ndarray, of_n: np.ndarray, left: np.ndarray, whole: np.ndarray, y: Targets
    ) -> OutputSums:
        live = self._live(left, whole, y.signal)
        return OutputSums(rhs * live[:, None], of_n, left * live, live)

    def _live(self, left: np.ndarray, whole: np.ndarray, signal: Signal) -> np.ndarray:
        """Return flags of columns that are more than rounding of all that was subtracted."""
        plan, n, unit = self.plan, self.rows, signal.unit
        if not plan.fitted:
            return np.ones(left.shape, bool)
        weight = n if plan.confounds is None or not plan.weights else plan.confounds.total_weight
        trend, size = (self.by_column(a, left.shape[1]) for a in (unit.trend, unit.size))
        least = np.square(EPS * size) * weight * (1.0 if plan.degree > 0 else 1e-4 / n)
        rounding = (max(32, n) * EPS) ** 2 * (whole + weight * trend**2)
        return np.asarray((left > rounding + least) | ((left > 0) & (rounding + least == 0)))

    def by_column(self, values: np.ndarray, columns: int) -> np.ndarray:
        """Return values (C,) of channels for every one of the columns (G, P), or outputs (G, Q)."""
        by_group = values.reshape(self.groups, -1)
        return by_group[:, np.arange(columns) % max(1, by_group.shape[1])]

    def _sum(self, y: Targets, by_rows: bool, fit: np.ndarray | None, with_gram: bool) -> Sums:
        known: Sums | None = self._on_device("sums", y, by_rows)
        if known is not None:
            return known if with_gram else known._replace(gram=known.whole)
        task = partial(_sums_of, self._bare, form=(by_rows, fit), with_gram=with_gram)
        with np.errstate(invalid="ignore", over="ignore"):
            found: Sums = self.data.sum(task, y.signal)
        if not all(np.isfinite(a).all() for a in found):
            raise ValueError("x or y is not finite: the source changed after its check")
        return found

    def _on_device(self, what: str, y: Targets, by_rows: bool, *more: Any) -> Any:
        """Return sums from the device that has x and y, or None if the host computes them."""
        if by_rows or not (self.data.x.on_device and y.signal.on_device):
            return None
        from . import device

        return getattr(device, what)(self.data.x, y.signal, *more)

    @cached_property
    def _bare(self) -> Data:
        """The data without samples, which tasks of another process need."""
        return self.data if self.data.whole else Data(self.plan, self.data.x.hollow)

    @property
    def by_fft(self) -> bool:
        """Whether FFTs lose no digits."""
        return not self.first.by_rows

    # --- the columns

    @cached_property
    def exponents(self) -> np.ndarray:
        """Exponents (G, P), integers."""
        return self.by_column(self.data.x.unit.exponents, self.columns)

    @property
    def shift(self) -> np.ndarray:
        """Constants (G, P) that were subtracted, which N spans."""
        return self.by_column(self.data.x.unit.shift, self.columns)

    @property
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""
        return self.first.norms

    @property
    def nuisance_products(self) -> np.ndarray:
        """NᵀA (G, q, P), without `constant_fit`."""
        return self.first.of_n

    @property
    def constant_fit(self) -> np.ndarray:
        """The constant (G, P) that was subtracted from rows, in addition to the shift."""
        fit = self.first.fit
        if fit is None or not self.plan.centred:
            return np.zeros(self.exponents.shape)
        return fit[:, -1] / self.plan.norm

    @property
    def offsets(self) -> np.ndarray:
        """Column means (G, P) that N subtracts; with confounds, the size of all subtracted."""
        plan, fit = self.plan, self.first.whole_fit
        if plan.confounds is None:
            return (self.shift + fit[:, -1] / plan.norm) * plan.fitted
        size = self.by_column(self.data.x.unit.size, self.columns)
        found = np.hypot(np.sqrt(np.square(fit[:, : plan.fitted]).sum(1) / self.rows), size)
        return np.asarray(found)

    @cached_property
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A about their means."""
        plan, first = self.plan, self.first
        if plan.centred or plan.degree >= 0:
            return first.norms
        if plan.constant:
            means = first.of_n[:, -1]
        else:
            ones = np.ones((self.rows, 1))
            means = np.stack([self.adjoint(g, ones)[:, 0] for g in range(self.groups)])
            means = means / np.sqrt(self.rows)
        squares = np.square(first.norms) - np.square(means)
        if plan.confounds is None and not (squares > KEPT * np.square(first.norms)).all():
            centred = copy(plan)
            centred.fitted = plan.count
            data = Data(centred, Signal(centred, self.data.x.records, of_x=True))
            found = DesignMatrix(data, None, first.by_rows, with_gram=False)
            return np.ldexp(found.column_norms, found.exponents - self.exponents)
        return np.sqrt(np.maximum(squares, 0.0))

    # --- outputs

    def outputs_of(self, y: Targets) -> OutputSums:
        """Return sums over the rows of outputs."""
        if y.signal is self.given.signal:
            return self.first.outputs
        first = self.first
        sums = self._sum(y, first.by_rows, first.fit, with_gram=False)
        _, rhs, squares = sums.projected(self.plan.fitted)
        return self._outputs(rhs * self._live_columns, sums.of_y, squares, sums.squares, y)

    @property
    def _live_columns(self) -> np.ndarray:
        return (self.first.norms > 0)[..., None]

    def output_norms(self, targets: Targets) -> np.ndarray:
        """Return the norms (G, Q) of M y."""
        return np.sqrt(self.outputs_of(targets).squares)

    def output_means(self, targets: Targets) -> np.ndarray:
        """Return the means (G, Q) that N subtracts from y; zeros without a bias."""
        if not self.plan.centred:
            return np.zeros(self.outputs_of(targets).squares.shape)
        mean = self.outputs_of(targets).of_n[:, -1] / self.plan.norm
        return targets.grouped(targets.signal.unit.shift) + mean

    def output_rows(self, targets: Targets, group: int) -> np.ndarray:
        """Return y (n, Q) of a group; confounds are projected out, but not a bias alone."""
        known, plan, outputs = self.outputs_of(targets), self.plan, targets.outputs
        some, found = slice(group * outputs, (group + 1) * outputs), []
        for stack in self.data.each(targets.signal):
            y = stack.y.of_channels(some)
            # Without the shift, so that an outlier costs no digits of other rows.
            y = y._replace(shift=None) if plan.confounds is None else y
            found.append(y.some(np.nonzero(stack.wanted)))
        rows = np.concatenate(found)
        if plan.confounds is None:
            return rows
        if plan.fitted:
            rows -= self.nuisance_columns @ known.of_n[group, : plan.fitted]
        rows *= known.live[group]
        return rows

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with A w, in the units of the targets.

        It corresponds to a constant ``level`` in addition to M A w for the `output_rows`; by
        default it is the least-squares solution. None if there is no bias.
        """
        plan = self.plan
        if not plan.centred:
            return None
        shift = targets.grouped(targets.signal.unit.shift)
        rest = -np.einsum("gp,gpq->gq", self.first.whole_fit[:, -1], w)
        if level is None or plan.confounds is not None:
            rest = rest + self.outputs_of(targets).of_n[:, -1]
        found = rest / plan.norm - np.einsum("gp,gpq->gq", self.shift, w)
        found = found if level is None else found + level
        return np.asarray(found if level is not None and plan.confounds is None else found + shift)

    # --- sums and products

    def gram(self) -> np.ndarray:
        """Return AᵀMA (G, P, P)."""
        if self.first.gram.ndim == 2:
            first = self.first
            sums = self._sum(self._nothing, first.by_rows, first.fit, True)
            live = first.norms > 0
            gram = sums.projected(self.plan.fitted)[0] * (live[:, :, None] & live[:, None])
            vars(self)["first"] = first._replace(gram=gram)
        return self.first.gram

    @property
    def _empty(self) -> list[np.ndarray]:
        return [np.empty((*shape, 0)) for shape in self.plan.kept.shapes]

    def rhs(self, targets: Targets) -> np.ndarray:
        """Return AᵀMY (G, P, Q)."""
        return self.outputs_of(targets).rhs

    def residual(
        self, w: np.ndarray, targets: Targets, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w), from the data.

        If ``weights`` (G, Q, s) are given, y are combinations of the outputs, with kernels w.
        """
        first, of_y = self.first, self.outputs_of(targets)
        w, of_n = w * self._live_columns, of_y.of_n
        if weights is not None:
            weights = weights * of_y.live[..., None]
            of_n = combined(of_n, weights)
        c = of_n - first.of_n @ w
        c[:, self.plan.fitted :] = 0.0
        form = first.by_rows, first.fit
        task = partial(_residuals_of, self._bare, w=w, c=c, weights=weights, form=form)
        found: Residuals = self._on_device(
            "residuals", targets, first.by_rows, w, c, weights
        ) or self.data.sum(task, targets.signal)
        back = first.of_n[:, : self.plan.fitted].swapaxes(1, 2)
        gradient = found.gradient - back @ found.of_n[:, : self.plan.fitted]
        live = np.ones(w.shape[::2], bool) if weights is not None else of_y.live
        return found.squares * live, gradient * self._live_columns * live[:, None]

    def _group(self, group: int, stack: Stack) -> tuple[Data, Stack]:
        """Return the data and the input of one group."""
        one = slice(group, group + 1)
        return (self._bare, stack) if self.groups == 1 else _of_groups(self._bare, stack, one)

    def _own_fit(self, group: int) -> np.ndarray | None:
        fit = self.first.fit
        return None if fit is None else fit[group : group + 1]

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A w (n, Q) of one group, for w (P, Q), in the order of the rows."""
        return np.concatenate([*self.products_with(group, w)])

    def products_with(self, group: int, w: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the rows of `forward` stack by stack."""
        first, fitted, count = self.first, self.plan.fitted, self.plan.count
        w = w * self._live_columns[group]
        c = first.of_n[group, :fitted] @ w
        for stack in self.data.each(self._nothing.signal):
            data, own = self._group(group, stack)
            used = np.nonzero(stack.wanted)
            n = nuisance_rows(stack, used, count)[:, :fitted]
            if _formed(self._bare, stack, first.by_rows):
                blocks = _rows_of(data, own, self._own_fit(group))
                found = np.concatenate([r.a[0] @ w for r in blocks])
            elif self.data.x.sparse:
                found = Events(self._bare, stack).product(group, w)[used]
            else:
                every = np.empty((*stack.wanted.shape, w.shape[1]))
                for lane, some in lanes(data, own):
                    every[some] = lane.product(w[None])
                found = every[used]
            yield found - n @ c if fitted else found

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return AᵀM r (P, Q) of one group, for r (n, Q) in the order of the rows."""
        first, fitted, start = self.first, self.plan.fitted, 0
        if fitted:
            r = r - self.nuisance_columns @ (self.nuisance_columns.T @ r)
        total = np.zeros((self.columns, r.shape[1]))
        for stack in self.data.each(self._nothing.signal):
            wanted = stack.wanted
            own_r = r[start : start + int(wanted.sum())]
            start += len(own_r)
            every = np.zeros((*wanted.shape, r.shape[1]))
            every[wanted] = own_r
            data, own = self._group(group, stack)
            own = own._replace(y=Series(every))
            if _formed(self._bare, stack, first.by_rows):
                for block in _rows_of(data, own, self._own_fit(group)):
                    total += block.a[0].T @ block.y[0]
            elif self.data.x.sparse:
                total += Events(self._bare, stack).adjoint(group, every)
            else:
                total += sum(lane.adjoint()[0] for lane, _ in lanes(data, own))
        if fitted and first.fit is None:
            total -= first.of_n[group, :fitted].T @ (self.nuisance_columns.T @ r)
        return total * self._live_columns[group]

    def sample(self, group: int, most: int = 8) -> list[Series]:
        """Return x of a group without strides and dilations: all of it, or some chunks."""
        found = []
        for stack in self.data.sample(most):
            data, stack = self._group(group, stack)
            found += [lane.x for lane, _ in lanes(data, stack)]
        return found

    @cached_property
    def _nothing(self) -> Targets:
        return self.with_outputs(self._empty)

    @cached_property
    def nuisance_columns(self) -> Any:
        """The columns of N (n, q) that are projected out, in the order of the rows."""
        from scipy.sparse import csr_array, vstack

        plan, several = self.plan, []
        for lot in plan.lots:
            shape = len(lot.records), lot.last - lot.first, *plan.kept.shapes[lot.records[0]][1:]
            stack = stacked(plan, lot, Series(np.empty((*shape, 0))))
            rows = nuisance_rows(stack, np.nonzero(stack.wanted), plan.count)
            several.append(csr_array(rows))
        return csr_array(vstack(several))[:, : plan.fitted]

    def _blocks(self, targets: Targets) -> Iterator[RowBlock]:
        """Yield rows of A, less any fit that was subtracted first, and of Y."""
        for stack in self.data.each(targets.signal):
            yield from _rows_of(self._bare, stack, self.first.fit)

    def projected_blocks(self, targets: Targets) -> Iterator[RowBlock]:
        """Yield rows of M A and of M Y."""
        first, of_y, fitted = self.first, self.outputs_of(targets), self.plan.fitted
        live = first.norms > 0
        for r in self._blocks(targets):
            if fitted:
                n = r.n[:, :fitted]
                a = (r.a - each(n, first.of_n[:, :fitted])) * live[:, None]
                y = (r.y - each(n, of_y.of_n[:, :fitted])) * of_y.live[:, None]
                r = r._replace(a=a, y=y)
            yield r

    def row_blocks(self, targets: Targets | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield blocks of rows of M A (G, k, P) and of M y (G, k, Q), by default of ``targets``."""
        for r in self.projected_blocks(self.given if targets is None else targets):
            yield r.a, r.y

    def by_record(
        self, group: int, w: np.ndarray, targets: Targets, outputs: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Yield AᵀM r (P, q) over the rows of each record that has rows.

        Args:
            group: index of the group.
            w: kernels (P, q) of some of its outputs.
            targets: y of all outputs.
            outputs: indices (q,) of these outputs in the group.
        """
        left, sums = [*self.plan.kept.sizes], dict[int, np.ndarray]()
        for block in self.projected_blocks(targets):
            a = block.a[group]
            r = block.y[group][:, outputs] - a @ w
            ends = np.flatnonzero(np.diff(block.records)) + 1
            for some in np.split(np.arange(len(r)), ends):
                i = int(block.records[some[0]])
                part = slice(some[0], some[-1] + 1)
                sums[i] = sums.get(i, 0.0) + a[part].T @ r[part]
                left[i] -= len(some)
                if not left[i]:
                    yield sums.pop(i)


def _kept(sums: Sums, fitted: int) -> bool:
    """Return whether a projection keeps enough digits of all columns."""
    left = sums.diagonal - np.square(sums.of_x[:, :fitted]).sum(1)
    return bool(((left > KEPT * sums.whole) | (sums.whole == 0)).all())


def _of_groups(data: Data, stack: Stack, groups: slice) -> tuple[Data, Stack]:
    """Return the data and a stack of some groups."""
    found = copy(data)
    found.groups, found.kept = groups.stop - groups.start, {}
    each = data.channels, stack.y.data.shape[-1] // data.groups
    x, y = (
        a.of_channels(slice(groups.start * n, groups.stop * n))
        for a, n in zip((stack.x, stack.y), each, strict=True)
    )
    return found, stack._replace(x=x, y=y)


def _slices(data: Data) -> list[slice]:
    """Return slices of the groups. Blocks of many channels do not fit into the cache."""
    step = max(1, WIDTH // data.channels)
    return [slice(i, min(i + step, data.groups)) for i in range(0, data.groups, step)]


def _formed(data: Data, stack: Stack, by_rows: bool) -> bool:
    """Return whether rows of a stack are formed, also if it is too short for FFTs."""
    short = not data.x.sparse and stack.own.data.shape[1] < 2 * data.windows.sizes[0][0]
    return by_rows or short


def _rows_of(data: Data, stack: Stack, fit: np.ndarray | None) -> Iterator[RowBlock]:
    """Yield rows, less what N fits of them if that is nearly all."""
    for r in rows(data, stack):
        yield r if fit is None else r._replace(a=r.a - each(r.n, fit))


def _sums_of(data: Data, stack: Stack, form: Form, with_gram: bool) -> Sums:
    """Return the sums of a stack."""
    by_rows, fit = form
    if data.x.sparse and not by_rows:
        return Events(data, stack).sums()
    if _formed(data, stack, by_rows):
        return reduce(iadd, (row_sums(r, with_gram) for r in _rows_of(data, stack, fit)))
    if len(some := _slices(data)) > 1:
        each = (_sums_of(*_of_groups(data, stack, s), form, with_gram) for s in some)
        return Sums(*map(np.concatenate, zip(*each, strict=True)))
    found: Any = None
    for lane, _ in lanes(data, stack):
        part = lane.sums(with_gram)
        found = part if found is None else iadd(found, part)
    for out in rows(data, stack, excluded=True) if stack.used is not None else ():
        found.gram[...] -= products(out.a, with_gram)
    return found


def _residuals_of(
    data: Data, stack: Stack, w: np.ndarray, c: np.ndarray, weights: Any, form: Form
) -> Residuals:
    """Return the sums of the residuals of a stack."""
    if weights is not None:
        stack = stack.with_combinations(weights)
    several: Iterator[Residuals]
    if _formed(data, stack, form[0]):
        several = (row_residuals(r, w, c) for r in _rows_of(data, stack, form[1]))
    elif data.x.sparse:
        several = iter([Events(data, stack).residuals(w, c)])
    elif len(some := _slices(data)) > 1:
        own = ((*_of_groups(data, stack, s), w[s], c[s]) for s in some)
        each = (_residuals_of(*part, None, form) for part in own)
        return Residuals(*map(np.concatenate, zip(*each, strict=True)))
    else:
        several = (lane.residuals(w, c) for lane, _ in lanes(data, stack))
    return reduce(iadd, several)


def without_confounds(
    confounds: Confounds, values: Sequence[np.ndarray], fit: np.ndarray | None = None
) -> np.ndarray:
    """Project N out of the values (*T, Q) of every record, in the rows used in the fit.

    Args:
        confounds: the columns N.
        values: values of every record.
        fit: further coefficients (q, Q), whose N c is subtracted afterwards. Coefficients beyond
            the columns of N, of a shared constant, are not used.

    Returns:
        Rows (n, Q) in the order of the records, times the roots of the weights. An output is zero
        if only rounding is left of it.
    """
    kept, spec = confounds.kept, ConvSpec((1,) * len(confounds.kept.shapes[0]))
    plan = Plan(kept.shapes, spec, kept, Nuisance(confounds=confounds))
    zeros = [np.broadcast_to(0.0, (*shape, 1)) for shape in kept.shapes]
    x = Signal(plan, zeros, of_x=True).as_given()
    matrix = DesignMatrix(Data(plan, x), None, by_rows=True)
    order, outputs = plan.in_time, values[0].shape[-1]
    found = np.empty((len(order), outputs))
    columns = matrix.nuisance_columns[order]
    for first in range(0, outputs, AT_ONCE):  # few copies of long records
        some = slice(first, min(first + AT_ONCE, outputs))
        targets = matrix.with_outputs([a[..., some] for a in values])
        part = np.ldexp(matrix.output_rows(targets, 0)[order], targets.exponents)
        if fit is not None:
            part -= columns @ fit[: columns.shape[1], some]
        found[:, some] = part
    return found
