"""Problem: input, output and geometry of one convolution, checked before any computation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from ..errors import warn
from ..facts import Fact, Reported
from ..lazy import plot
from ..notation import checks_arguments, suggests_attributes
from ..parallel import cached_property
from ..text import count
from .checks import choice, flag, integer, number
from .description import problem_facts
from .kernel_space import KernelSpace, kernel_space
from .names import Axis, Names, words_of
from .nuisance import Confounds, Nuisance, Terms
from .records import Records, check_time_indexes, column_names, numeric, precision, read, time_rate
from .rows import ByOutputs, Rows, Span, rows_reading, used_rows
from .sizes import DEFAULT_TUNING, Sizes, Tuning
from .spec import ConvSpec, Geometry, Ints, Padding, Shape, stride_of_rates

# Lengths that differ by a smaller share were probably meant to be equal.
ALMOST = 0.01
LENGTH_OF_Y = (
    "with lags=, y is as long as x over stride= or fs/fs_y; with kernel_size=, as the layer"
)


class Selection(NamedTuple):
    """Channels and outputs of a part, by their numbers in the whole problem.

    Penalties are given for the channels of the whole problem. Settings of outputs are given for the
    problem that the part was taken from. A part takes its share of them.

    Attributes:
        channels: input channels of the part, in the whole problem.
        outputs: outputs of the part, in the problem that it was taken from.
        n_channels: number of input channels of the whole problem.
        n_outputs: number of outputs of the problem that the part was taken from.
    """

    channels: Sequence[int]
    outputs: Sequence[int]
    n_channels: int
    n_outputs: int

    def of_outputs(self, values: np.ndarray) -> np.ndarray:
        """Return values (..., Cout) of the outputs of the part; other shapes are returned whole."""
        each = values.ndim > 0 and values.shape[-1] == self.n_outputs
        return values[..., [*self.outputs]] if each else values


@suggests_attributes
class Problem(Reported):
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
        tmin: first lag in seconds, instead of ``lags``, 0 by default. Times are rounded to whole
            samples. A dict has the time of every channel.
        tmax: last lag in seconds.
        fs: sampling rate in Hz, along one axis. By default it is the rate of a time index of
            pandas or xarray. If it is known, lags are reported as times.
        fs_y: sampling rate of y in Hz if x is sampled faster, by a whole factor s = fs / fs_y.
            It states ``stride=s``: ``y[t] = Σ h[l] x[s·t − l]``. x has s times as many samples as
            y. Up to s − 1 further samples are not used. Lags and times are those of x. Masks,
            weights and confounds have the rows of y. Default None: the rate of x.
        edges: treatment of rows whose window exceeds the record, with lags. "drop" excludes them,
            "zeros" takes x as zero outside the record, "circular" wraps it.
        kernel_size, stride, padding, dilation: the geometry of a layer, see `ConvSpec`. ``stride``
            is also an argument for lags, if y is sampled more slowly than x: ``y[t] = Σ h[l]
            x[stride·t − l]``, and y has a sample for every ``stride`` samples of x.
        groups: number of groups of channels that are convolved separately, see `ConvSpec`.
        spec: a `ConvSpec` instead of these five arguments.
        bias: whether a constant b per output is fitted too.
        mask: boolean array, shaped as y or as one channel of y. True for rows used in the fit. None
            uses all rows.
        missing: treatment of NaN. "raise": raise an error. "drop": exclude rows whose window of x,
            or whose y or confounds, contain a NaN.
        weights: weights of the squared residuals, one number per record or an array shaped as one
            channel of y: one over the variance of the noise, up to a factor. A weight of 0 excludes
            a row.
        drift: a slow change that is fitted to every record separately along with the kernel, and
            not reported: the degree of a polynomial in time, or `Cosines` such as "cosine128". 0 is
            an intercept per record. In contrast, ``bias`` is one constant for all records.
        confounds: nuisance regressors, such as head motion, that are fitted to every record
            separately and not reported: arrays ``(*T, J)`` with the layout of y. They can be
            combined with ``drift``.
        basis: functions of the lag whose weighted sums are the kernels: an object such as
            ``RaisedCosines(8)``, its name, "raised_cosines8", or a matrix (lags, functions). The
            unknowns are then the coefficients of the functions, and a ridge or a lasso acts on
            them. A dict or a list has a basis for every channel. With None, the default, every tap
            is an unknown.
        channels, outputs: names, one per channel or output. By default the column names of data
            frames and xarrays, or the name of a series, are used, or else numbers.
        n_outputs: number of outputs if y is None. By default the number of names in ``outputs``,
            or else ``groups``.

    Attributes:
        x, y: the records ``(*W, Cin)`` and ``(*T, Cout)``, in the precision of the solution.
        spec: the rows of the problem as outputs of a convolution layer.
        fs: sampling rate in Hz, or None.
        bias: whether a constant per output is fitted too.
        n_channels, n_outputs: numbers of channels of x and y.
        channels, outputs: lists of their names, or of their numbers.
        n_equations: number of rows of the design matrix, that is of equations per output channel.
        kernel_shape: ``(*K, Cin/groups, Cout)``.

    A problem is immutable.

    Data are copied only if necessary, so leave the arrays unchanged while the problem is in use.
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
        fs_y: float | None = None,
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
        drift: Any = None,
        confounds: Any = None,
        basis: Any = None,
        channels: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        n_outputs: int | None = None,
    ) -> None:
        alike = stride == 1 and fs_y is None
        rate = fs if fs is not None else time_rate(x) or time_rate(y if alike else None)
        stride = stride_of_rates(rate, fs_y, stride)
        layer = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        geometry = Geometry.stated(lags, tmin, tmax, rate, edges, kernel_size, spec, layer)
        spec = geometry.spec
        choice(missing, "missing", ("raise", "drop"))
        # Samples that the mask excludes may be missing.
        gaps = missing == "drop" or mask is not None
        input, output = read(x, "x", spec, gaps), None if y is None else read(y, "y", spec, gaps)
        if output is not None and geometry.edges:
            input = _without_rest(input, output, spec.stride[0])
        spec._check_channels(input.channels)
        dtype, data_eps = precision(input, output)
        lengths = [a.shape[:-1] for a in input.arrays]
        of_y = {shape: geometry.y_shape(shape) for shape in {*lengths}}
        like, rows = [of_y[shape] for shape in lengths], Rows.of(spec, lengths)
        cut = partial(geometry.in_rows, shapes=rows.shapes)
        _check_windows(geometry, input, rows)
        if output is not None:
            hint = _exchanged(input, "x") or _exchanged(output, "y")
            hint = hint or _almost(like, output) or LENGTH_OF_Y
            output = _as_rows(output, "y", like, cut, hint)
        rate = None if rate is None or spec.ndim > 1 else number(rate, "fs")
        if fs is not None and spec.ndim > 1:
            raise ValueError("fs is the rate of samples in time; images have several axes")
        size = _count_outputs(n_outputs, output, outputs, spec.groups)
        of_x = words_of(channels, "channels", input.channels, input.names)
        names = Names(rate, of_x, words_of(outputs, "outputs", size, output and output.names))
        if spec.ndim == 1:
            timed = {"x": x, "y": y, "mask": mask, "weights": weights, "confounds": confounds}
            check_time_indexes(timed, fs and rate, spec.stride[0], every=bool(geometry.edges))
        terms = _read_terms(drift, confounds, spec, like, cut)
        data = input, output, terms.columns
        by_mask, roots = used_rows(rows, like, cut, data, spec, (mask, weights), missing, size)
        _check_left(by_mask, names, column_names(mask), terms.columns)
        terms = terms.with_cosines(like, rate and rate / spec.stride[0], cut)
        self._geometry, self._input = geometry, input.converted(dtype)
        self._output = output and output.converted(dtype)
        self.n_outputs, self.bias = size, flag(bias, "bias")
        self._by_mask, self._weights, self._terms, self._names = by_mask, roots, terms, names
        self._selection = Selection(range(input.channels), range(size), input.channels, size)
        self._missing, self._dtype, self._data_eps = missing, dtype, data_eps
        given = geometry.lags(lengths[0]), names, input.channels, spec.groups
        self._space = kernel_space(basis, geometry.windows, *given)
        self._derive()
        if self.bias and terms.given and not self._nuisance.shared:
            name = "confounds" if drift is None else "drift"
            raise ValueError(f"bias=True cannot be combined with a constant per record of {name}=")
        if not geometry.is_sure and (hint := _exchanged(input, "x")):
            warn(hint)

    def _derive(self) -> None:
        """Set the attributes that follow from others, after which none can be set."""
        arrays, output = self._input.arrays, self._output
        self.spec, self.fs = self._geometry.spec, self._names.fs
        self.x, self.y = arrays, output and output.arrays
        # Samples (*W) of every record.
        self._lengths = [a.shape[:-1] for a in arrays]
        # Lag of every tap along each axis, in kernel order. Positive lags are in the past.
        self._lags = self._geometry.lags(self._lengths[0])
        self._returns_jax = self._input.is_jax and (output is None or output.is_jax)
        # The rows of the design matrix: for several masks, of the outputs that have fewest.
        self._kept = min((rows for _, rows in self._by_mask), key=lambda rows: rows.count)
        self.n_equations, self.n_channels = self._kept.count, self._input.channels
        self.channels = self._names.all("channel", self.n_channels)
        self.outputs = self._names.all("output", self.n_outputs)
        each = self.n_channels // self.spec.groups
        self.kernel_shape = (*self.spec.kernel_size, each, self.n_outputs)
        self._complete = True

    def __setattr__(self, name: str, value: Any) -> None:
        if "_complete" in vars(self):
            raise AttributeError(f"a Problem is immutable: {name} cannot be set")
        vars(self)[name] = value

    # --- problems derived from this one

    def _replace(self, **changes: Any) -> Problem:
        """Return the problem with other values of some fields, which are not checked."""
        made = object.__new__(Problem)
        # Properties that were computed belong to the class, too.
        own = {name: value for name, value in vars(self).items() if not hasattr(Problem, name)}
        del own["_complete"]
        vars(made).update(own | changes)
        made._derive()
        return made

    @classmethod
    def _again(cls, recipe: dict[str, Any], x: Any, y: Any = None) -> Problem:
        """Return a problem with the geometry of `recipe` and other data.

        A drift of the recipe is fitted to y if y is given.
        """
        names = Names.from_dict(recipe)
        # A prediction needs no coordinates of the kernel.
        unused = {"basis", "windows", *names.to_dict(), "drift" * (y is None)}
        given = {key: value for key, value in recipe.items() if key not in unused}
        if "spec" in given:
            given["spec"] = ConvSpec(**given["spec"])
        made = cls(x, y, fs=names.fs, **given)
        # The name of a single signal may differ, as that of another recording.
        own = made._input, made._output
        names.check_same(*(r.names if r and r.channel_axis else None for r in own))
        return made._replace(_names=names)

    def _in_basis(self, basis: Any, windows: Any = None) -> Problem:
        """Return the problem with a basis, and first and last lags, of all channels."""
        given = self._lags, self._names, self.n_channels, self.spec.groups
        return self._replace(_space=kernel_space(basis, windows, *given))

    @property
    def _recipe(self) -> dict[str, Any]:
        """The geometry in plain values, from which `again` reads other data in the same way."""
        spec, edges = self.spec, self._geometry.edges
        found: dict[str, Any] = {"spec": asdict(spec)}
        if edges:
            found = {"lags": self._geometry.bounds(self._lengths[0]), "edges": edges}
            stride = spec.stride if max(spec.stride) > 1 else None
            found |= {"groups": spec.groups, "stride": stride}
        found |= {"n_outputs": self.n_outputs, "bias": self.bias, "missing": self._missing}
        found |= {"drift": self._terms.plain, **self._names.to_dict()}
        if self._space is not None:
            found |= self._space.to_dict(self._lags[0], spec.groups)
        return {name: value for name, value in found.items() if value is not None}

    def of_rows(self, spans: Sequence[Span]) -> Problem:
        """Return the problem of some rows, with the same lags, weights and confounds.

        All rows of a record are in one record of the new problem.

        Args:
            spans: the rows, as (record, first, end) along the first axis. With ``edges="drop"``,
                row 0 is the first row whose window lies inside the record.

        Returns:
            The problem, with one record for every record of the spans.

        Raises:
            ValueError: If no row of an output is left.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> problem = cs.Problem(np.arange(9.0), np.arange(9.0), lags=(0, 2))
            >>> problem.of_rows([(0, 0, 2), (0, 5, 7)]).n_equations
            4
        """
        by_record: dict[int, list[tuple[int, int]]] = {}
        for i, start, stop in spans:
            by_record.setdefault(i, []).append((start, stop))
        of_x, of_y, inside, shapes = [], [], [], []
        for i, some in by_record.items():
            w, first, last = self._lengths[i], min(some)[0], max(stop for _, stop in some)
            samples, begin = self._geometry.around(first, last, w)
            shape = self.spec.output_shape((samples.stop - samples.start, *w[1:]))
            # Flags of a whole record may not fit into memory.
            whole = some == [(0, shape[0])]
            flags = np.broadcast_to(True, shape) if whole else np.zeros(shape, bool)
            for start, stop in () if whole else some:
                flags[start - begin : stop - begin] = True
            of_x.append((i, samples))
            of_y.append((i, slice(begin, begin + shape[0])))
            inside.append(flags)
            shapes.append(shape)
        made, by_mask = Rows(tuple(shapes)), []
        for outputs, used in self._by_mask:
            own = (used.flags_of(i)[key] for i, key in of_y)
            by_mask.append((outputs, made.flagged([*map(np.logical_and, inside, own)])))
        _check_left(by_mask, self._names)
        columns, roots = self._terms.columns, self._weights
        return self._replace(
            _input=self._input.some(of_x),
            _output=self._output and self._output.some(of_y),
            _by_mask=tuple(by_mask),
            _weights=roots
            and tuple(roots[i][key] if roots[i].ndim else roots[i] for i, key in of_y),
            _terms=self._terms._replace(columns=columns and columns.some(of_y)),
        )

    def only(self, channels: Any) -> Problem:
        """Return the problem with some channels of x, and with the same rows and lags.

        Names, windows of lags and bases of these channels are kept. Rows that another channel
        excludes, by its window or its missing samples, remain excluded. Held-out scores of the two
        problems are therefore comparable.

        Args:
            channels: name or number of a channel, or a list of several.

        Returns:
            The problem with these channels, in the order of this problem.

        Raises:
            TypeError: If a channel is neither a name nor an integer.
            ValueError: If there is no such channel, or the problem has several groups.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> problem = cs.Problem(np.eye(9, 2), lags=(0, 2), channels=["envelope", "word"])
            >>> problem.only("envelope").channels
            ['envelope']

        See Also:
            `without`, and `CrossValidationScores.compare`, which compares two problems.
        """
        return self._of_channels(channels, True)

    def without(self, channels: Any) -> Problem:
        """Return the problem without some channels of x, and with the same rows and lags.

        Args:
            channels: name or number of a channel, or a list of several.

        Returns:
            The problem with the other channels, see `only`.

        Raises:
            TypeError: If a channel is neither a name nor an integer.
            ValueError: If there is no such channel, no channel is left, or the problem has several
                groups.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> problem = cs.Problem(np.eye(9, 3), lags=(0, 2), channels=["a", "b", "c"])
            >>> problem.without(["a", 2]).channels
            ['b']

        See Also:
            `only`.
        """
        return self._of_channels(channels, False)

    def _of_channels(self, channels: Any, listed: bool) -> Problem:
        """Return the problem of the channels that are listed, or of the others."""
        names, space, size = self._names, self._space, self.n_channels
        given = names.number("channel", [*channels] if np.ndim(channels) else [channels])
        which = {integer(one, "channels", 0, size - 1) for one in given}
        some = [c for c in range(size) if (c in which) == listed]
        if not some:
            raise ValueError("no channel is left")
        if self.spec.groups > 1:
            raise ValueError("channels of several groups cannot be selected")
        known = names.channels and tuple(names.channels[c] for c in some)
        return self._replace(
            _input=self._input.of_channels(some),
            _names=replace(names, channels=known),
            _selection=self._selection._replace(channels=range(len(some)), n_channels=len(some)),
            _space=space and KernelSpace(space.taps, [space.channels[c] for c in some]),
        )

    @property
    def parts(self) -> list[tuple[tuple[int, ...], Problem]]:
        """Groups of outputs that use the same rows, each with the problem of these outputs alone.

        If the outputs of a convolution in groups use different rows, each group has its own parts.
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
        groups, x, of = self.spec.groups, self._input, self._selection
        each, group = self.n_channels // groups, outputs[0] * groups // self.n_outputs
        channels = range(group * each, (group + 1) * each)
        chosen = [of.channels[c] for c in channels]
        return self._replace(
            _geometry=replace(self._geometry, spec=replace(self.spec, groups=1)),
            _input=x if groups == 1 else x.of_channels(channels),
            _output=self._output and self._output.of_channels(outputs),
            n_outputs=len(outputs),
            _by_mask=one_mask(len(outputs), self._kept if rows is None else rows),
            _names=self._names.some(channels, outputs),
            _selection=Selection(chosen, outputs, of.n_channels, self.n_outputs),
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
        adjusted = self._kept.flags is not None or self._weights is not None or self._terms.given
        if adjusted or not (rows.count and placed):
            return None
        return self._replace(
            _geometry=Geometry(spec, (0,) * spec.ndim),
            _output=None,
            bias=self.bias if bias is None else bias,
            _by_mask=one_mask(self.n_outputs, rows),
        )

    def _of_whole_windows(self) -> Problem | None:
        """Return the problem of x alone, restricted to the rows whose whole window was recorded.

        The problem itself if all rows are such rows, None if there are none.
        """
        flags = [
            self._kept.flags_of(i) & ~rows_reading(np.zeros(shape, bool), self.spec, padding=True)
            for i, shape in enumerate(self._lengths)
        ]
        rows = self._kept.flagged(flags)
        if rows.count == self._kept.count:
            return self
        return self._replace(_by_mask=one_mask(self.n_outputs, rows)) if rows.count else None

    def _narrowed(self, first: int, last: int) -> Problem:
        """Return the problem with the same rows and taps ``first`` to ``last`` of ascending lags.

        The problem must have one axis.
        """
        return self._replace(_geometry=self._geometry.narrowed(first, last, self._lengths[0]))

    # --- values that the fields imply

    def _as_kernel(self, value: Any, name: str) -> np.ndarray:
        """Return a kernel given as an array of its size, as float64 ``(*K, Cin/groups, Cout)``."""
        array = numeric(value, name).astype(np.float64)
        if array.size != math.prod(self.kernel_shape):
            raise ValueError(f"{name} has shape {array.shape}, the kernel {self.kernel_shape}")
        return array.reshape(self.kernel_shape)

    @cached_property
    def _nuisance(self) -> Nuisance:
        """The terms fitted along with the kernel: a constant if there is a bias, and confounds."""
        if not self._terms.given and self._weights is None:
            return Nuisance(constant=self.bias)
        given = self._terms, self.bias, self._kept, self._weights
        return Nuisance(confounds=Confounds(*given))

    def _sizes(self, limits: Tuning = DEFAULT_TUNING) -> Sizes:
        """Return the sizes that decide how this problem is solved, and their limits."""
        return Sizes(self, limits)

    def _as_long_as_y(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Return values (*T, ...) of all rows, as long as y: NaN where edges="drop" excludes."""
        found = []
        for a, length in zip(values, self._lengths, strict=True):
            whole = np.full((*self._geometry.y_shape(length), a.shape[-1]), np.nan, a.dtype)
            self._geometry.in_rows([whole], [a.shape[:-1]])[0][...] = a
            found.append(whole)
        return found

    @property
    def n_unknowns(self) -> int:
        """Unknowns per output channel: taps × channels of its group, bias and confounds.

        With a basis, it is the number of independent coefficients instead of taps.
        """
        taps = self.spec._unknowns(self.n_channels)
        return (taps if self._space is None else self._space.rank) + self._nuisance.total

    @property
    def _axes(self) -> tuple[Axis, ...]:
        """The axes of the kernel, for texts and figures."""
        return Axis.of_kernel(self._lags, self.fs, not self._geometry.edges)

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
    def coefficient_names(self) -> list[str]:
        """Names of the coefficients of a basis, such as "envelope[3]", channel by channel."""
        if self._space is None:
            raise ValueError("the problem has no basis whose coefficients could have names")
        return self._space.coefficient_names(self._names, self._lags[0])

    plot = plot

    def facts(self, full: bool = True) -> Iterable[Fact]:
        """Return the data and the unknowns; the sizes alone unless ``full``."""
        return problem_facts(self, full)


def one_mask(outputs: int, rows: Rows) -> ByOutputs:
    """Return the rows of all outputs."""
    return ((tuple(range(outputs)), rows),)


def _as_rows(
    records: Records, name: str, like: Sequence[Shape], cut: Callable[[Any], Any], hint: str
) -> Records:
    """Return the rows of records that are laid out as y, or a ValueError with a hint."""
    given = [a.shape[:-1] for a in records.arrays]
    if len(given) != len(like):
        words = f"x has {count(len(like), 'record')}, {name} {count(len(given), 'record')}"
        cure = "a list has an entry per record, and arrays (trials, time) need a channel axis"
        raise ValueError(f"{words}; {cure}, [..., None]")
    for i, (got, wanted) in enumerate(zip(given, like, strict=True) if given != like else ()):
        if got != wanted:
            which = f"{name}[{i}]" if len(like) > 1 else name
            samples, expected = (" × ".join(map(str, shape)) for shape in (got, wanted))
            raise ValueError(f"{which} has {samples} samples, expected {expected}; {hint}")
    arrays = tuple(cut(records.arrays))
    if all(map(is_, arrays, records.arrays)):
        return records
    missing = records.missing and tuple(cut(records.missing))
    return records._replace(arrays=arrays, missing=missing, means=None)


def _without_rest(x: Records, y: Records, stride: int) -> Records:
    """Return x without the samples after those of y, which are fewer than a stride."""
    rows, samples = ([*map(len, records.arrays)] for records in (y, x))
    pairs = zip(rows, samples, strict=False)
    ends = [n * stride if m // stride == n else m for n, m in pairs]
    if ends == samples or len(rows) != len(samples):
        return x
    return x.some([(i, slice(end)) for i, end in enumerate(ends)])._replace(form=x.form)


def _count_outputs(given: Any, y: Records | None, names: Any, groups: int) -> int:
    """Return the number of outputs, as given, of y, of a list of names, or one per group."""
    named = len(names) if isinstance(names, (list, tuple)) else groups
    found = named if given is None else integer(given, "n_outputs")
    found = found if y is None else y.channels
    if given not in (None, found):
        raise ValueError(f"n_outputs={given!r}, but y has {found} channels")
    if found % groups:
        raise ValueError(f"groups={groups} does not divide the {found} outputs")
    return found


def _read_terms(drift: Any, confounds: Any, spec: ConvSpec, like: Any, cut: Any) -> Terms:
    """Return the drift and the rows of the confounds."""
    terms = Terms.read(drift, confounds, spec)
    if terms.columns is None:
        return terms
    columns = _as_rows(terms.columns, "confounds", like, cut, "they are laid out as y")
    return terms._replace(columns=columns)


def _check_left(
    by_mask: Sequence[Any], names: Names, columns: Any = None, confounds: Records | None = None
) -> None:
    """Raise a ValueError if no row of an output is left, or a row that is left has no confounds.

    Also if the mask has the columns of y in another order.
    """
    if columns and columns != names.outputs and {*columns} == {*(names.outputs or ())}:
        raise ValueError(f"mask has the columns {columns}: give them in the order of y")
    for outputs, rows in by_mask:
        if not rows.count:
            which = f" of {names.output(outputs[0])}" if len(by_mask) > 1 else ""
            words = f"no row{which} is left by the mask, weights and missing values"
            raise ValueError(words + "; leave it out of y" * bool(which))
    for i, gaps in enumerate((confounds and confounds.missing) or ()):
        if any(gaps[rows.flags_of(i)].any() for _, rows in by_mask):
            words = "NaN in rows used in the fit; missing='drop' excludes them"
            raise ValueError(f"confounds has {words}")


def _check_windows(geometry: Geometry, x: Records, rows: Rows) -> None:
    """Raise a ValueError unless windows fit into x, at the same lags in all records."""
    spec, shapes = geometry.spec, [a.shape[:-1] for a in x.arrays]
    if geometry.edges and any(len(a) == 1 < x.channels for a in x.arrays):
        raise ValueError(f"x is one sample of {x.channels} channels; transpose x and y")
    if rows.count == 0:
        longest = max(shapes, key=math.prod)
        bounds = geometry.bounds(longest)
        reach = tuple(max(0, b) - min(0, a) + 1 for a, b in bounds)
        hint = "use fewer lags or edges='zeros'" if geometry.edges else "use fewer taps"
        if geometry.edges and reach[0] > 10 * longest[0]:
            hint = "tmin= and tmax= are in seconds"  # as if they were given in milliseconds
        text = f"no window fits: lags {bounds} take {reach} samples for a row, x has {longest}"
        raise ValueError(f"{text}; {_exchanged(x, 'x') or hint}")
    if len(set(map(spec._offset, shapes))) > 1:
        raise ValueError("padding='same' with stride > 1 requires records of equal length")


def _almost(like: Sequence[Shape], output: Records) -> str:
    """Return how to cut records whose lengths almost agree, or nothing."""
    for wanted, a in zip(like, output.arrays, strict=False):
        n, given = wanted[0], a.shape[0]
        if 0 < abs(n - given) <= ALMOST * n:
            return f"if x and y begin together, cut both: x[:{min(n, given)}], y[:{min(n, given)}]"
    return ""


def _exchanged(records: Records, name: str) -> str:
    """Return how to exchange axes if records have more channels than samples, or nothing."""
    if any(a.ndim > 2 or a.shape[1] <= a.shape[0] for a in records.arrays):
        return ""
    text = f"{name} was read as {records.describe()} × {records.channels} channels; channels come"
    return f"{text} last: transpose {name}, or add a channel axis, {name}[..., None]"
