"""Problem: input, output and geometry of one convolution, checked before any computation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..cached import cached_property
from ..errors import warn
from ..lazy_plot import plot
from ..near_misses import checks_arguments, suggests_attributes
from ..text import shown
from .adjustments import Adjustments
from .checks import choice
from .confounds import Confounds, Terms
from .description import adjusted, sizes_sentence, summary
from .kernel_space import Given, KernelSpace
from .lags import LagWindow
from .masks import ByMask, check_left
from .names import Names, check_times
from .nuisance import Nuisance
from .reading import (
    check_lags_alone,
    read_data,
    read_outputs,
    read_rows,
    read_spec,
    read_terms,
    read_window,
)
from .records import Records, numeric, precision
from .rows import Rows, whole_rows
from .selection import Selection
from .shapes import check_kernel, doubts
from .sizes import DEFAULT_TUNING, Sizes, Tuning
from .spec import ConvSpec, Ints, Padding
from .stored import Stored
from .time_index import check_time_indexes
from .weights import Weights

# Ways to treat NaN.
MISSING = ("raise", "drop")


@suggests_attributes
@dataclass(frozen=True, init=False, eq=False, repr=False)
class Problem:
    """Input, output and geometry of a convolution ``y = conv(x, w) + b`` with unknown w and b.

    State the geometry in one of two ways. With time lags, ``y[t] = Σ h[l] x[t − l]`` and y is as
    long as x: give ``lags``, or ``tmin`` and ``tmax`` with ``fs``. For a convolution layer, give
    ``kernel_size`` or ``spec``.

    Args:
        x: input, channels last. With d kernel axes, an array of rank d is one record of one
            channel, and an array of rank d+1 is one record ``(*W, Cin)``. An array of rank d+2 is a
            batch ``(N, *W, Cin)``. A list or tuple of arrays is a list of records, which may differ
            in length. No tap reads across the edge of a record.
        y: output, ``(*W, Cout)`` per record with lags, and ``(*T, Cout)`` with a kernel size, where
            ``T = spec.output_shape(W)``. The rule for its rank is the rule for x. None if only the
            identifiability of the kernel is of interest.
        lags: first and last lag in samples, inclusive: ``(0, 39)`` for 40 causal taps. A lag is
            negative if y precedes x. A range or an array of consecutive lags is also accepted. Give
            one pair per axis in two and three dimensions. ``[(0, 39)]`` states that there is one
            axis, whatever the number of channels. A dict has the window of every channel:
            ``{"envelope": (0, 40), "word": (-10, 20)}``. Rows are determined by the union of the
            windows, and the kernel of a channel is zero outside its window.
        tmin, tmax: first and last lag in seconds, instead of ``lags``. They are rounded to whole
            samples. A dict has the time of every channel.
        fs: sampling rate in Hz, along one axis. If it is given, lags are reported as times.
        edges: treatment of rows whose window exceeds the record, with lags. "drop" excludes them,
            "zeros" takes x as zero outside the record, "circular" wraps it.
        kernel_size, stride, padding, dilation: the geometry of a layer, see `ConvSpec`.
        groups: number of groups of channels that are convolved separately, see `ConvSpec`.
        spec: a `ConvSpec` instead of these five arguments.
        bias: whether a constant b per output is fitted too.
        mask: boolean array, shaped as y or as one channel of y. True for rows used in the fit. None
            uses all rows.
        missing: treatment of NaN. "raise": raise an error. "drop": exclude rows whose window of x,
            or whose y, contains a NaN.
        weights: weights of the squared residuals, one number per record or an array shaped as one
            channel of y: one over the variance of the noise, up to a factor. A weight of 0 excludes
            a row.
        drift: degree of a polynomial in time that is fitted to every record separately along with
            the kernel, and not reported. 0 is an intercept per record. In contrast, ``bias`` is one
            constant for all records.
        confounds: nuisance regressors, such as head motion, that are fitted to every record
            separately and not reported: arrays ``(*T, J)`` with the layout of y.
        basis: functions of the lag whose weighted sums are the kernels: an object such as
            ``RaisedCosines(8)``, or its name, "raised_cosines8". The unknowns are then the
            coefficients of the functions, and a ridge or a lasso acts on them. A dict or a list has
            a basis for every channel. With None, the default, every tap is an unknown.
        channels, outputs: names, one per channel or output. By default the column names of data
            frames and xarrays are used, or else numbers.
        n_outputs: number of outputs if y is None. By default the number of names in ``outputs``,
            or else ``groups``.

    A problem is immutable. ``x`` and ``y`` are the records ``(*W, Cin)`` and ``(*T, Cout)`` in the
    precision of the solution. The attributes ``spec``, ``bias``, ``n_channels`` and ``n_outputs``
    describe the geometry.

    Arrays of jax on devices are copied to the host. Other data are copied only if necessary, so
    leave the arrays unchanged while the problem is in use.
    Integers and bool are solved in float64, float16 and bfloat16 in float32, and other types in
    their own precision. If x and y differ, the wider precision is used.

    Raises:
        TypeError: If an array is of an unsupported kind (complex, object, masked, tracers, ...). If
            the geometry is stated twice or not at all.
        ValueError: If the data contain NaN or Inf, if shapes do not fit, or if the geometry gives
            no equation. If time indexes of data frames or xarrays differ, have gaps or contradict
            ``fs``. If a basis has more functions than its channel has lags, or a function that is
            zero at all of them.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> cs.Problem([0, 3, 4, 5], [3, 10, 13, 5], lags=(-1, 0), edges="zeros").n_equations
        4
        >>> cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2).n_equations
        3

        Two channels, each with a window of lags of its own, and one of them with a basis:

        >>> lags, x = {"envelope": (0, 40), "word": (-10, 20)}, np.ones((200, 2))
        >>> problem = cs.Problem(
        ...     x, lags=lags, basis={"envelope": cs.BSplines(7)}, channels=["envelope", "word"]
        ... )
        >>> problem.n_unknowns, problem.coefficient_names[6:8]
        (38, ['envelope[6]', 'word lag -10'])

    See Also:
        `identify` and `solve`, which need a problem, `ConvSpec`, and `RaisedCosines`, a basis.
    """

    spec: ConvSpec
    _window: LagWindow | None
    _lag_shift: tuple[int, ...]
    _input: Records
    _output: Records | None
    n_outputs: int
    bias: bool
    _by_mask: ByMask
    _weights: Weights | None
    _terms: Terms
    _space: KernelSpace | None
    _names: Names
    _selection: Selection
    _missing: str
    _dtype: np.dtype[Any]
    _data_eps: float

    @checks_arguments
    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        lags: Any = None,
        tmin: Any = None,
        tmax: Any = None,
        fs: float | None = None,
        edges: str = "drop",
        kernel_size: Ints | None = None,
        stride: Ints = 1,
        padding: Padding = "valid",
        dilation: Ints = 1,
        groups: int = 1,
        spec: ConvSpec | None = None,
        bias: bool = False,
        mask: Any = None,
        missing: str = "raise",
        weights: Any = None,
        drift: int | None = None,
        confounds: Any = None,
        basis: Any = None,
        channels: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        n_outputs: int | None = None,
    ) -> None:
        # An int for a kernel of one axis may be meant for images. Other values are unambiguous.
        sure = spec is not None or isinstance(kernel_size, (tuple, list))
        window = read_window(lags, tmin, tmax, fs, edges)
        if window is None:
            spec, shift = read_spec(spec, kernel_size, stride, padding, dilation, groups)
        else:
            check_lags_alone(spec, kernel_size, stride, padding, dilation)
            sure, (spec, shift) = window.explicit, window.geometry(groups)
        choice(missing, "missing", MISSING)
        if not isinstance(bias, (bool, np.bool_)):
            raise TypeError(f"bias must be True or False, got {shown(bias)}")
        # Samples that the mask excludes may be missing.
        gaps = missing == "drop" or mask is not None
        input, output, rows = read_data(x, y, spec, window, shift, gaps)
        dtype, data_eps, notes = precision(input, output)
        n_outputs = read_outputs(n_outputs, output, outputs, spec)
        counts = input.channels, n_outputs
        check_kernel((*spec.kernel_size, counts[0] // spec.groups, n_outputs))
        names = Names.of(fs, channels, outputs, input, output, counts)
        space = Given(basis, None if window is None else window.windows).space(
            _lags_of(input, spec, shift), names, input.channels, spec.groups
        )
        by_mask, roots = read_rows(
            input, output, rows, spec, mask, weights, window, missing, n_outputs
        )
        check_left(by_mask, names)
        if spec.ndim == 1:
            given = {"x": x, "y": y, "mask": mask, "weights": weights, "confounds": confounds}
            rates = {"x": names.fs, "y": names.fs if spec.stride == (1,) else None}
            check_time_indexes(given, rates)
        vars(self).update(
            spec=spec,
            _window=window,
            _lag_shift=shift,
            _input=input.converted(dtype),
            _output=None if output is None else output.converted(dtype),
            n_outputs=n_outputs,
            bias=bool(bias),
            _by_mask=by_mask,
            _weights=roots,
            _terms=read_terms(drift, confounds, spec, input, by_mask, window),
            _space=space,
            _names=names,
            _selection=Selection.everything(*counts),
            _missing=missing,
            _dtype=dtype,
            _data_eps=data_eps,
        )
        if fs is not None:
            check_times(self._names.fs, self._lags)
        if self.bias and self._terms.given and not self._nuisance.shared:
            name = "confounds" if drift is None else "drift"
            raise ValueError(f"bias=True cannot be combined with a constant per record of {name}=")
        for note in notes if sure else [*notes, *doubts(spec, input)]:
            warn(note)

    # --- problems derived from this one

    def _replace(self, **changes: Any) -> Problem:
        """Return the problem with other values of some fields, which are not checked."""
        return _Derived({f.name: getattr(self, f.name) for f in fields(self)} | changes)

    @classmethod
    def _again(cls, recipe: dict[str, Any], x: Any, y: Any = None) -> Problem:
        """Return a problem with the geometry of `recipe` and other data.

        A drift of the recipe is fitted to y if y is given.
        """
        names = Names.from_dict(recipe)
        # A prediction needs no coordinates of the kernel.
        unused = {"basis", "windows", *names.to_dict()}
        given = {key: value for key, value in recipe.items() if key not in unused}
        if y is None:
            given.pop("drift", None)
        if "spec" in given:
            given["spec"] = ConvSpec(**given["spec"])
        made = cls(x, y, fs=names.fs, **given)
        names.check_same(made._input.names, None if made._output is None else made._output.names)
        return made._replace(_names=names)

    def _in_basis(self, basis: Any) -> Problem:
        """Return the problem with a basis of all channels."""
        given = self._lags, self._names, self.n_channels, self.spec.groups
        return self._replace(_space=Given(basis).space(*given))

    @property
    def _recipe(self) -> dict[str, Any]:
        """The geometry in plain values, from which `again` reads other data in the same way."""
        common = {"n_outputs": self.n_outputs, "bias": self.bias, "missing": self._missing}
        if self._terms.degree >= 0:
            common["drift"] = self._terms.degree
        named = self._names.to_dict()
        common |= {name: value for name, value in named.items() if value is not None}
        if self._space is not None:
            common |= self._space.to_dict(self._lags[0], self.spec.groups)
        if self._window is not None:
            lags, edges = [*self._window.bounds], self._window.edges
            return {"lags": lags, "edges": edges, "groups": self.spec.groups, **common}
        spec = {field.name: getattr(self.spec, field.name) for field in fields(self.spec)}
        return {"spec": spec, **common}

    @property
    def _parts(self) -> list[tuple[tuple[int, ...], Problem]]:
        """Groups of outputs that use the same rows, each with the problem of these outputs alone.

        Such a problem has the channels of its group.
        """
        # A problem that refers to itself would not be freed after its last use.
        return self._split if len(self._by_mask) > 1 else [(self._by_mask[0][0], self)]

    @cached_property
    def _split(self) -> list[tuple[tuple[int, ...], Problem]]:
        return [(outputs, self._of_outputs(outputs, rows)) for outputs, rows in self._by_mask]

    def _of_outputs(self, outputs: tuple[int, ...], rows: Rows | None = None) -> Problem:
        """Return the problem of outputs of one group, with the channels of this group.

        It has the given ``rows``, by default the rows of all outputs.
        """
        some, channels = [*outputs], range(self.n_channels)
        changes: dict[str, Any] = {}
        if self.spec.groups > 1:
            each = self.n_channels // self.spec.groups
            group = outputs[0] * self.spec.groups // self.n_outputs
            own = slice(group * each, (group + 1) * each)
            channels = channels[own]
            x = self._input.each(lambda a: a[..., own]).converted(self._dtype)
            changes = {"spec": replace(self.spec, groups=1), "_input": x}
        if self._output is not None:
            y = self._output.each(lambda a: a[..., some])
            changes["_output"] = y.converted(self._dtype)
        return self._replace(
            n_outputs=len(some),
            _by_mask=_one_mask(len(some), self._kept if rows is None else rows),
            _names=self._names.some(channels, outputs),
            _selection=self._selection.part(channels, outputs, self.n_outputs),
            **changes,
        )

    def _under(self, spec: ConvSpec, bias: bool | None = None) -> Problem | None:
        """Return the problem of x alone with another geometry (or bias), for `identify`.

        None if no window fits. Also None if rows are excluded, weighted or confounded, because the
        mask, weights and confounds belong to the rows of this geometry.
        """
        if self._space is not None and spec.kernel_size != self.spec.kernel_size:
            return None
        rows = Rows.of(spec, self._lengths)
        placed = len(set(map(spec._offset, self._lengths))) == 1
        if not (rows.count and placed) or self._has_adjustments:
            return None
        return self._replace(
            spec=spec,
            _window=None,
            _lag_shift=(0,) * spec.ndim,
            _output=None,
            bias=self.bias if bias is None else bias,
            _by_mask=_one_mask(self.n_outputs, rows),
        )

    def _of_whole_windows(self) -> Problem | None:
        """Return the problem of x alone, restricted to the rows whose whole window was recorded.

        The problem itself if all rows are such rows, None if there are none.
        """
        spec = self.spec._whole_windows(self._lengths[0])
        if spec == self.spec:
            return self
        if not self._has_adjustments:
            return self._under(spec)
        # Weights and confounds belong to the rows of this problem.
        flags = tuple(
            whole_rows(self.spec, length) & self._kept.flags_of(i)
            for i, length in enumerate(self._lengths)
        )
        rows = self._kept.flagged(flags)
        return self._replace(_by_mask=_one_mask(self.n_outputs, rows)) if rows.count else None

    def _narrowed(self, first: int, last: int) -> Problem:
        """Return the problem with the same rows and taps ``first`` to ``last`` of ascending lags.

        The problem must have one axis.
        """
        window = None if self._window is None else self._window.part(first, last)
        spec = self.spec._narrowed(first, last, self._lengths[0])
        return self._replace(spec=spec, _window=window)

    def _with_lags(self, lags: Sequence[np.ndarray]) -> Problem:
        """Return the problem whose taps have these ``lags``."""
        pairs = zip(lags, self._lags, self._lag_shift, strict=True)
        return self._replace(_lag_shift=tuple(s + round(float(a[0] - b[0])) for a, b, s in pairs))

    def _described_as(
        self,
        other: Problem,
        channels: Sequence[int],
        outputs: Sequence[int],
        records: Sequence[int],
    ) -> Problem:
        """Return the problem with the lags of one with the same taps.

        Its names and selection are those of some ``channels``, ``outputs`` and ``records`` of the
        other problem.
        """
        names = other._names.some(channels, outputs)
        given = channels, tuple(outputs), other.n_outputs, tuple(records)
        selection = other._selection.part(*given)
        return self._with_lags(other._lags)._replace(_names=names, _selection=selection)

    def _shorter(self, size: tuple[int, ...]) -> tuple[ConvSpec, str, Any] | None:
        """Return the geometry with a smaller kernel, and the argument that sets it with its value.

        None for explicit padding.
        """
        if self._space is not None:
            return None
        if self._window is not None:
            window = self._window.shorter(size)
            lags = window.bounds[0] if len(size) == 1 else window.bounds
            return window.geometry(self.spec.groups)[0], "lags", lags
        if not isinstance(self.spec.padding, str):
            return None
        taps = size[0] if len(size) == 1 else size
        return replace(self.spec, kernel_size=size), "kernel_size", taps

    # --- values that the fields imply

    @property
    def x(self) -> tuple[Any, ...]:
        """The records ``(*W, Cin)``."""
        return self._input.arrays

    @property
    def y(self) -> tuple[Any, ...] | None:
        """The records ``(*T, Cout)``."""
        return None if self._output is None else self._output.arrays

    @property
    def _lengths(self) -> list[tuple[int, ...]]:
        """Samples (*W) of every record."""
        return [a.shape[:-1] for a in self._input.arrays]

    @property
    def n_channels(self) -> int:
        """Number of channels of x."""
        return self._input.channels

    @property
    def _returns_jax(self) -> bool:
        """Whether all arrays were jax arrays, so that solutions are."""
        return self._input.is_jax and (self._output is None or self._output.is_jax)

    @cached_property
    def _kept(self) -> Rows:
        """The rows of the design matrix: for several masks, of the outputs that have fewest."""
        return min((rows for _, rows in self._by_mask), key=lambda rows: rows.count)

    @property
    def _has_adjustments(self) -> bool:
        """Whether rows are excluded or weighted, or confounds are fitted."""
        return not (self._kept.flags is None and self._weights is None and not self._terms.given)

    def _as_kernel(self, value: Any, name: str) -> np.ndarray:
        """Return a kernel given as an array of its size, as float64 ``(*K, Cin/groups, Cout)``."""
        array = numeric(value, name).astype(np.float64)
        if array.size != math.prod(self.kernel_shape):
            raise ValueError(f"{name} has shape {array.shape}, the kernel {self.kernel_shape}")
        return array.reshape(self.kernel_shape)

    @property
    def _adjustments(self) -> Adjustments:
        """The rows used in the fit, their weights and the confounds."""
        by_mask = self._by_mask if len(self._by_mask) > 1 else ()
        return Adjustments(self._kept, self._weights, self._terms, by_mask)

    @property
    def _records_left(self) -> list[int]:
        """The records that have more rows than confounds of their own."""
        return self._nuisance.records_left(self._kept)

    @cached_property
    def _nuisance(self) -> Nuisance:
        """The terms fitted along with the kernel: a constant if there is a bias, and confounds."""
        if not self._terms.given and self._weights is None:
            return Nuisance(constant=self.bias)
        found = Confounds.of(self._terms, self.bias, self._kept, self._weights)
        return Nuisance(confounds=found)

    def _sizes(self, limits: Tuning = DEFAULT_TUNING) -> Sizes:
        """Return the sizes that decide how this problem is solved, and their limits."""
        groups = self.spec.groups
        outputs = self.n_outputs // groups
        columns = self.spec._unknowns(self.n_channels)
        arrays = (*self.x, *(self.y or ()))
        return Sizes(
            groups=groups,
            rows=self.n_equations,
            columns=columns,
            basis=None if self._space is None else self._space.rank,
            in_basis=self._space is not None and self._space.has_basis,
            outputs=outputs,
            given=0 if self._output is None else outputs,
            nuisance=self._nuisance.total,
            shapes=tuple(self._lengths),
            limits=limits,
            masked=self._kept.flags is not None,
            partialled=self._nuisance.confounds is not None or self._weights is not None,
            confounded=self._terms.given,
            numbers=sum(a.size for a in arrays),
            stored=any(isinstance(a, Stored) for a in arrays),
        )

    @property
    def _row_shapes(self) -> tuple[tuple[int, ...], ...]:
        """(*T), the shape of the outputs of each record."""
        return self._kept.shapes

    def _as_long_as_y(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Return values (*T, ...) of all rows, as long as y: NaN where edges="drop" excludes."""
        if self._window is None or self._window.edges != "drop":
            return values
        found, starts = [], self._kept.starts
        for a, record in zip(values, self._input.arrays, strict=True):
            whole = np.full((*record.shape[:-1], a.shape[-1]), np.nan, a.dtype)
            whole[tuple(slice(s, s + n) for s, n in zip(starts, a.shape, strict=False))] = a
            found.append(whole)
        return found

    @property
    def n_equations(self) -> int:
        """Number of rows of the design matrix, that is of equations per output channel."""
        return self._kept.count

    @property
    def n_unknowns(self) -> int:
        """Unknowns per output channel: taps × channels of its group, bias and confounds.

        With a basis, it is the number of independent coefficients instead of taps.
        """
        taps = self.spec._unknowns(self.n_channels)
        return (taps if self._space is None else self._space.rank) + self._nuisance.total

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """``(*K, Cin/groups, Cout)``."""
        return (*self.spec.kernel_size, self.n_channels // self.spec.groups, self.n_outputs)

    @property
    def lags(self) -> Any:
        """Ascending lags in samples (lags,); a tuple of arrays in two and three dimensions."""
        found = tuple(axis[::-1] for axis in self._lags)
        return found[0] if len(found) == 1 else found

    @property
    def times(self) -> Any:
        """Ascending lags in seconds, as `lags`.

        Raises:
            ValueError: If the problem was stated without ``fs``.
        """
        if self.fs is None:
            raise ValueError("there is no sampling rate: state the problem with fs=")
        return self.lags / self.fs

    @property
    def fs(self) -> float | None:
        """Sampling rate in Hz, or None."""
        return self._names.fs

    @property
    def channels(self) -> list[Any]:
        """Names of the channels of x, or their numbers."""
        return self._names.all_channels(self.n_channels)

    @property
    def outputs(self) -> list[Any]:
        """Names of the outputs, or their numbers."""
        return self._names.all_outputs(self.n_outputs)

    @property
    def coefficient_names(self) -> list[str]:
        """Names of the coefficients of a basis, such as "envelope[3]", channel by channel."""
        if self._space is None:
            raise ValueError("the problem has no basis whose coefficients could have names")
        return self._space.coefficient_names(self._names, self._lags[0])

    @property
    def _lags(self) -> tuple[np.ndarray, ...]:
        """Lag of every tap along each axis, in kernel order. Positive lags are in the past."""
        return _lags_of(self._input, self.spec, self._lag_shift)

    @property
    def _tap_lags(self) -> tuple[np.ndarray, ...]:
        """Lag of every tap along each axis, counted in taps, so that neighbours are one apart."""
        return self.spec._in_taps(self._lags)

    @cached_property
    def _adjusted(self) -> str:
        """Description of excluded rows, weights and confounds; empty if there are none."""
        return adjusted(self)

    plot = plot

    def __repr__(self) -> str:
        return f"<Problem {sizes_sentence(self)}>"

    def __str__(self) -> str:
        return summary(self)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class _Derived(Problem):
    """A problem whose fields are those of another problem, or parts of them."""

    def __init__(self, checked: dict[str, Any]) -> None:
        vars(self).update(checked)


def _lags_of(x: Records, spec: ConvSpec, shift: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Return the lag of every tap along each axis, in kernel order."""
    lags = spec.lags(x.arrays[0].shape[:-1])
    lags = lags if isinstance(lags, tuple) else (lags,)
    return tuple(lag + s for lag, s in zip(lags, shift, strict=True))


def _one_mask(outputs: int, rows: Rows) -> ByMask:
    """Return the rows of all outputs."""
    return ((tuple(range(outputs)), rows),)
