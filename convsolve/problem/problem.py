"""Problem: input, output and geometry of one convolution, checked before any computation."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ..cached import cached_property
from ..text import count, shown
from .adjustments import Adjustments
from .checks import choice, integer
from .confounds import Confounds, read_confounds
from .lags import EDGES, around_zero, crop, lag_bounds, lag_geometry, trim, whole_windows
from .missing import read_mask, rows_left
from .names import Names, check_times, seconds_to_lags
from .nuisance import Nuisance
from .records import Records, check_trials, numeric, precision, read
from .rows import Rows, rows_reading, whole_rows
from .selection import Selection
from .sizes import DEFAULT_LIMITS, Limits, Sizes
from .spec import ConvSpec, Ints, Padding
from .stored import Stored, turned
from .weights import Weights, read_weights

# Flags (*T) of every record, True for outputs used in the fit.
Flags = tuple[np.ndarray, ...]
# Groups of outputs that use the same rows, each with its rows.
ByMask = tuple[tuple[tuple[int, ...], Rows], ...]
# Largest number of outputs that a description lists.
MOST_NAMED = 6
# Ways to treat NaN.
MISSING = ("raise", "drop")
# More zeros around the data, or more numbers in a kernel (2 GiB), are assumed to be a mistake.
MAX_ADDED, MAX_KERNEL = 2**28, 2**28


class Problem:
    """Find w (and b) in ``y = conv(x, w) + b`` from x and y.

    Args:
        x: input, channels last. With d kernel axes, an array of rank d is one record of one
            channel, and an array of rank d+1 is one record ``(*W, Cin)``. An array of rank d+2 is a
            batch ``(N, *W, Cin)``. A list or tuple of arrays is a list of records, which may differ
            in length. No tap reads across the edge of a record.
        y: output, ``(*T, Cout)`` per record with ``T = spec.output_shape(W)``. The rule for its
            rank is the rule for x. None if only the identifiability of the kernel is of interest.
        kernel_size, stride, padding, dilation, groups: the geometry, see `ConvSpec`.
        spec: a `ConvSpec` instead of these five arguments.
        out_channels: number of outputs if y is None. By default the number of names in ``outputs``,
            or else ``groups``.
        bias: whether a constant b per output channel is fitted too.
        mask: boolean array, shaped as y or as one channel of y. True for rows used in the fit. None
            uses all rows.
        missing: treatment of NaN. "raise": raise an error. "drop": exclude rows whose window of x,
            or whose y, contains a NaN.
        weights: weights of the squared residuals, one number per record or an array shaped as one
            channel of y: one over the variance of the noise, up to a factor. A weight of 0 excludes
            a row.
        confounds: nuisance regressors, fitted to every record separately along with the kernel and
            not reported. "intercept" is a constant. An integer is the degree of a polynomial in
            time, for a slow drift. Arrays ``(*T, J)``, such as head motion, have the layout of y.
            In contrast, ``bias`` is one constant for all records.
        fs: sampling rate in Hz, along one axis. If it is given, lags are reported as times.
        channels, outputs: names, one per channel or output. By default the column names of data
            frames and xarrays are used, or else numbers.

    The attributes ``spec``, ``bias``, ``in_channels`` and ``out_channels`` describe the geometry.
    ``x`` and ``y`` are the records ``(*W, Cin)`` and ``(*T, Cout)`` in ``dtype``, the precision of
    the solution. ``kept`` contains the rows of the design matrix, and ``row_shapes`` the shape of
    the outputs of each record. ``by_mask`` lists groups of outputs that use the same rows, with
    their rows, of which ``kept`` is the smallest set. ``names`` contains the names of channels,
    outputs and lags.

    Floating-point jax arrays on an accelerator, or spread over several devices, stay there if both
    x and y are such arrays. Reading ``x`` or ``y`` of the problem copies them to the host.

    Data are copied only if necessary, so leave the arrays unchanged while the problem is in use.
    Integers and bool are solved in float64, float16 and bfloat16 in float32, and other types in
    their own precision. If x and y differ, the wider precision is used. `from_lags` states the same
    problem in terms of time lags.

    Raises:
        TypeError: If an array is of an unsupported kind (complex, object, masked, tracers, ...).
        ValueError: If the data contain NaN or Inf, if shapes do not fit, or if the geometry gives
            no equation.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        kernel_size: Ints | None = None,
        stride: Ints = 1,
        padding: Padding = "valid",
        dilation: Ints = 1,
        groups: int = 1,
        spec: ConvSpec | None = None,
        out_channels: int | None = None,
        bias: bool = False,
        mask: Any = None,
        missing: str = "raise",
        weights: Any = None,
        confounds: Any = None,
        fs: float | None = None,
        channels: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        # An int for a kernel of one axis may be meant for images. Other values are unambiguous.
        sure = spec is not None or isinstance(kernel_size, (tuple, list))
        if spec is None:
            if kernel_size is None:
                raise TypeError("Problem needs kernel_size=..., or a ConvSpec as spec=...")
            spec = ConvSpec(kernel_size, stride, padding, dilation, groups)  # type: ignore[arg-type]
        elif not isinstance(spec, ConvSpec):
            raise TypeError(f"spec must be a ConvSpec, got {type(spec).__name__}")
        elif any(
            not isinstance(given, (int, str, type(None))) or given != default
            for given, default in zip(
                (kernel_size, stride, padding, dilation, groups),
                (None, 1, "valid", 1, 1),
                strict=True,
            )
        ):
            raise TypeError(
                "give either spec= or kernel_size, stride, padding, dilation and groups"
            )
        self._lags: tuple[list[tuple[int, ...]], str] | None = None
        self._missing = missing
        self.lag_shift: tuple[int, ...] = (0,) * spec.ndim
        # Samples that the mask excludes may be missing.
        drops = _drops(missing) or mask is not None
        read_x = read(x, "x", spec, drops)
        read_y = None if y is None else read(y, "y", spec, drops)
        self._set(spec, read_x, read_y, _counted(out_channels, y, outputs), bias)
        self._name(fs, channels, outputs)
        self._adjust(mask, weights, confounds)
        for note in self._notes if sure else [*self._notes, *self._doubts()]:
            warnings.warn(note, UserWarning, stacklevel=2)

    def _set(
        self,
        spec: ConvSpec,
        x: Records,
        y: Records | None,
        out_channels: int | None,
        bias: Any,
    ) -> None:
        if not isinstance(bias, (bool, np.bool_)):
            raise TypeError(f"bias must be True or False, got {shown(bias)}")
        if out_channels is not None:
            out_channels = integer(out_channels, "out_channels")
        self.spec, self.bias = spec, bool(bias)
        self.weights: Weights | None = None
        self.confounds: int | Records | None = None
        spec.check_channels(x.channels)
        self.input, self.output = x, y
        self.in_channels = x.channels
        self.dtype, self.data_eps, self._notes = precision(x, y)
        self.returns_jax = x.is_jax and (y is None or y.is_jax)
        drops, turns = (
            self._lags is not None and self._lags[1] == edges for edges in ("drop", "circular")
        )
        lengths, shift = [a.shape[:-1] for a in x.arrays], self.lag_shift
        self.kept = Rows.of(spec, lengths, shift if drops else (), shift if turns else ())
        self._check_geometry()
        if y is None:
            self.out_channels = spec.groups if out_channels is None else out_channels
        else:
            self._check_output(y)
            self.out_channels = y.channels
            if out_channels not in (None, y.channels):
                raise ValueError(f"out_channels={out_channels}, but y has {y.channels} channels")
        if self.out_channels % spec.groups:
            raise ValueError(
                f"groups={spec.groups} does not divide the {self.out_channels} output channels"
            )
        if math.prod(self.kernel_shape) > MAX_KERNEL:
            raise ValueError(
                f"the kernel would have {' × '.join(map(str, self.kernel_shape))} numbers (taps × "
                "channels × outputs), more than memory holds; use fewer"
            )
        self.selection = Selection.everything(self.in_channels, self.out_channels)
        # A description of the outputs, if they are a part of all outputs.
        self.which, self.names = "", Names()
        self.by_mask: ByMask = ((self.selection.outputs, self.kept),)
        if not x.remote:
            self.x = x.cast(self.dtype)
        if y is None or not y.remote:
            self.y = None if y is None else y.cast(self.dtype)

    def _name(self, fs: Any, channels: Any, outputs: Any) -> None:
        """Set the given names, or else the names of the records."""
        counts = self.in_channels, self.out_channels
        self.names = Names.of(fs, channels, outputs, self.input, self.output, counts)
        check_times(self.names.fs, self.lags)

    @cached_property
    def x(self) -> tuple[np.ndarray, ...]:
        """The records ``(*W, Cin)`` on the host, copied from devices at the first access."""
        return self.input.cast(self.dtype)

    @cached_property
    def y(self) -> tuple[np.ndarray, ...] | None:
        """The records ``(*T, Cout)`` on the host, copied from devices at the first access."""
        return None if self.output is None else self.output.cast(self.dtype)

    def _check_geometry(self) -> None:
        x, spec = self.input, self.spec
        if self.n_equations == 0:
            longest = max((a.shape[:-1] for a in x.arrays), key=math.prod)
            turned = spec.ndim == 1 and x.channels >= spec.span[0]
            hint = "; if its channels come first, transpose x: channels come last" if turned else ""
            if self._lags is not None:
                reach = tuple(max(0, b) - min(0, a) + 1 for a, b in self._lags[0])
                raise ValueError(
                    f"no window fits: lags {self._lags[0]} take {reach} samples for a row, x has "
                    f"{longest}; use fewer lags, longer records or edges='zeros'{hint}"
                )
            raise ValueError(
                f"no window fits: kernel_size={spec.kernel_size} with dilation={spec.dilation} "
                f"spans {spec.span} samples, x has {longest} and padding={spec.padding!r}; "
                f"use fewer taps, longer records or padding='full'{hint}"
            )
        own = sum(a.size for a in x.arrays)
        shapes = Counter(a.shape[:-1] for a in x.arrays)
        each = (n * math.prod(spec.extent(shape)) for shape, n in shapes.items())
        windows = sum(each) * x.channels
        if windows > 2 * own + MAX_ADDED:
            raise ValueError(
                f"the windows would read {windows} numbers, x has {own}: kernel_size="
                f"{spec.kernel_size}, dilation={spec.dilation} and padding={spec.padding!r} reach "
                "too far outside it"
            )
        if spec.padding == "same" and len(set(map(spec.offset, shapes))) > 1:
            raise ValueError(
                "padding='same' with stride > 1 places the kernel differently in records of "
                "different length, so that taps mean different lags; "
                "use 'causal' or explicit padding"
            )

    def _doubts(self) -> list[str]:
        """Describe how x was read, if its axes look exchanged."""
        x = self.input
        if self.spec.ndim > 1 or any(a.shape[1] <= a.shape[0] for a in x.arrays):
            return []
        return [
            f"x was read as {x.describe(1)}: more channels than samples. Channels come last; "
            "transpose x if they are first, add a channel axis (x[..., None]) if they are trials, "
            "or give kernel_size one entry per axis for images (in Python, kernel_size=(K,) or "
            "lags=[(a, b)] says that this reading is meant)"
        ]

    def _check_output(self, y: Records) -> None:
        x, spec = self.input, self.spec
        check_trials(x, y, self.row_shapes[0])
        if len(y.arrays) != len(x.arrays):
            raise ValueError(
                f"x has {count(len(x.arrays), 'record')}, y {count(len(y.arrays), 'record')}"
            )
        for i, (a, b, rows) in enumerate(zip(x.arrays, y.arrays, self.row_shapes, strict=True)):
            got, shape = b.shape[:-1], a.shape[:-1]
            if got == rows:
                continue
            name = f"y[{i}]" if len(x.arrays) > 1 else "y"
            fits = [
                repr(p)
                for p in ("valid", "same", "full", "causal")
                if ConvSpec(spec.kernel_size, spec.stride, p, spec.dilation).output_shape(shape)
                == got
            ]
            if fits:
                hint = f"padding={' or '.join(fits)} would fit"
            elif spec.ndim > 1 and x.form == y.form == "record" and a.shape[0] == b.shape[0]:
                hint = "if the first axis counts images, both need a channel axis, x[..., None]"
            elif y.form == x.form and y.channels == rows[0] and spec.ndim == 1:
                hint = "channels come last: transpose y"
            else:
                hint = "if y is as long as x, give lags in place of kernel_size (from_lags, --lags)"
            raise ValueError(
                f"{name} has {' × '.join(map(str, got))} samples, expected "
                f"{' × '.join(map(str, rows))}: padding={spec.padding!r} with "
                f"{' × '.join(map(str, shape))} samples of x and kernel_size={spec.kernel_size}; "
                f"{hint}"
            )

    @classmethod
    def from_lags(
        cls,
        x: Any,
        y: Any = None,
        *,
        lags: Sequence[int] | Sequence[Sequence[int]] | None = None,
        edges: str = "drop",
        groups: int = 1,
        out_channels: int | None = None,
        bias: bool = False,
        mask: Any = None,
        missing: str = "raise",
        weights: Any = None,
        confounds: Any = None,
        fs: float | None = None,
        tmin: float | None = None,
        tmax: float | None = None,
        channels: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> Problem:
        """State the problem ``y[t] = sum_l h[l] x[t - l]`` with y as long as x, for given lags.

        Args:
            x, y: as for `Problem`, but every record of y has as many samples as the record of x.
                The same holds for mask, weights and confounds.
            lags: first and last lag, inclusive, in samples: ``(0, 39)`` for 40 causal taps. A lag
                is negative where y precedes x. Give one pair per axis in two and three dimensions.
                ``[(0, 39)]`` states that there is one axis, whatever the number of channels.
            tmin, tmax: first and last lag in seconds, instead of lags. They require ``fs``, the
                sampling rate in Hz, and are rounded to whole samples as in MNE. The description of
                the problem shows the resulting lags.
            edges: "drop" keeps the rows whose whole window was recorded, "zeros" takes x as zero
                outside the record, "circular" wraps it.
            groups, out_channels, bias, mask, missing, weights, confounds, fs, channels, outputs: as
                for `Problem`.

        The method computes a geometry and trims y. `Solution.lags` and `Solution.rows` hold the
        resulting lags and rows.
        """
        masked = mask is not None
        if lags is None:
            lags = seconds_to_lags(tmin, tmax, fs)
        elif not (tmin is None and tmax is None):
            raise TypeError("give either lags= in samples, or tmin= and tmax= in seconds")
        out_channels = _counted(out_channels, y, outputs)
        self = cls._from_lags(x, y, lags, edges, groups, out_channels, bias, missing, masked)
        self._name(fs, channels, outputs)
        self._adjust(mask, weights, confounds)
        for note in self._notes if np.ndim(lags) == 2 else [*self._notes, *self._doubts()]:
            warnings.warn(note, UserWarning, stacklevel=2)
        return self

    @classmethod
    def _from_lags(
        cls,
        x: Any,
        y: Any,
        lags: Any,
        edges: str,
        groups: int,
        out_channels: Any,
        bias: Any,
        missing: str = "raise",
        masked: bool = False,
    ) -> Problem:
        choice(edges, "edges", EDGES)
        bounds = lag_bounds(lags)
        spec, shift = lag_geometry(bounds, edges, groups)
        drops = _drops(missing) or masked
        inputs = read(x, "x", spec, drops)
        outputs = None if y is None else read(y, "y", spec, drops)
        if outputs is not None:
            check_trials(inputs, outputs, inputs.arrays[0].shape[:-1])
            outputs = trim(inputs, outputs, bounds, edges)
        if edges == "circular":
            inputs = inputs.each(lambda a: turned(a, shift))
        self = cls.__new__(cls)
        self.lag_shift, self._lags, self._missing = shift, (bounds, edges), missing
        self._set(spec, inputs, outputs, out_channels, bias)
        return self

    def _adjust(self, mask: Any, weights: Any, confounds: Any) -> None:
        """Apply the mask, weights and confounds.

        Rows that the mask excludes, that have zero weight or that read missing samples are
        excluded. The other rows are weighted, and confounds are fitted to them.
        """
        shapes, outputs = self._y_shapes, self.out_channels
        flags: Sequence[np.ndarray] | None = None
        if mask is not None:
            flags = self._in_rows(read_mask(mask, shapes, outputs))
        if weights is not None:
            given = self._in_rows(read_weights(weights, shapes))
            if not all((w == 1).all() for w in given):
                self.weights = Weights.of_squares(given)
            pairs = zip(given, self.row_shapes, strict=True)
            flags = _and([np.broadcast_to(w > 0, shape)[..., None] for w, shape in pairs], flags)
        if confounds is not None:
            self.confounds = self._read_confounds(confounds, shapes)
        left = rows_left(self.spec, self.input, self.output, flags, self.row_shapes)
        if left is not None:
            if self._missing == "raise" and flags is not None and _loses(flags, left):
                raise ValueError(
                    "x or y has NaN in rows that the mask keeps: mask them too, or leave them out "
                    "by missing='drop'"
                )
            self._keep(_by_flags(left, self.out_channels))
        if isinstance(self.confounds, Records) and self.confounds.missing is not None:
            self._check_gaps(self.confounds.missing)
        if confounds is not None and self.bias and not self.nuisance.shared:
            raise ValueError(
                "bias=True cannot be combined with these confounds: they contain a constant in "
                "every record; use bias=False"
            )

    @property
    def _y_shapes(self) -> list[tuple[int, ...]]:
        """(*W) or (*T) of every record of y, as given by the user."""
        if self._lags is None:
            return [*self.row_shapes]
        return [a.shape[:-1] for a in self.input.arrays]

    def _in_rows(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Return values at the rows, for values at the samples of the user's y.

        Values of whole records, of shape (), are returned unchanged.
        """
        if self._lags is None or self._lags[1] != "drop":
            return values
        bounds = self._lags[0]
        return [whole_windows(v, bounds) if v.ndim else v for v in values]

    def _read_confounds(self, confounds: Any, shapes: Sequence[tuple[int, ...]]) -> int | Records:
        found = read_confounds(confounds, self.spec)
        if not isinstance(found, Records):
            return found
        got = [a.shape[:-1] for a in found.arrays]
        if got != [*shapes]:
            raise ValueError(
                f"confounds has records of {', '.join(map(str, got))} samples, y of "
                f"{', '.join(map(str, shapes))}; they are laid out as y, (*T, J) each"
            )
        return found.each(lambda a: self._in_rows([a])[0])

    def _check_gaps(self, missing: Sequence[np.ndarray]) -> None:
        """Raise a ValueError if confounds are missing in rows used in the fit."""
        for _, rows in self.by_mask:
            for i, gaps in enumerate(missing):
                if gaps[rows.flags_of(i)].any():
                    raise ValueError(
                        "confounds has NaN in rows that count; fill them, or leave these rows out "
                        "by mask="
                    )

    def _keep(self, by_outputs: Sequence[tuple[Sequence[int], Flags | None]]) -> None:
        """Set the rows used in the fit, as flags for each group of outputs."""
        found = []
        for outputs, flags in by_outputs:
            all_count = flags is None or all(f.all() for f in flags)
            rows = replace(self.kept, flags=None if all_count else flags)
            found.append((tuple(outputs), rows))
        for outputs, rows in found:
            if not rows.count:
                which = "" if len(found) == 1 else f" of {self.names.output(outputs[0])}"
                raise ValueError(
                    f"no row{which} is left: all {count(rows.dropped, 'row')} are masked, or read "
                    "a missing sample of x, each of which takes the rows of a whole kernel, or are "
                    "missing in y; fill short gaps of x, or use fewer taps"
                )
        if len(found) > 1 and self.spec.groups > 1:
            found = [each for one in found for each in self._of_groups(*one)]
        self.by_mask = tuple(found)
        self.kept = min((rows for _, rows in found), key=lambda rows: rows.count)

    def _of_groups(
        self, outputs: tuple[int, ...], rows: Rows
    ) -> Iterator[tuple[tuple[int, ...], Rows]]:
        """Yield the outputs of each group of channels separately, with their rows."""
        each = self.out_channels // self.spec.groups
        for group in sorted({o // each for o in outputs}):
            yield tuple(o for o in outputs if o // each == group), rows

    @property
    def parts(self) -> list[tuple[tuple[int, ...], Problem]]:
        """Groups of outputs that use the same rows, each with the problem of these outputs alone.

        Such a problem has the channels of its group.
        """
        # A problem that refers to itself would not be freed after its last use.
        return self._parts if len(self.by_mask) > 1 else [(self.by_mask[0][0], self)]

    @cached_property
    def _parts(self) -> list[tuple[tuple[int, ...], Problem]]:
        return [(outputs, self._part(outputs, rows)) for outputs, rows in self.by_mask]

    def _part(self, outputs: tuple[int, ...], rows: Rows) -> Problem:
        made, some = copy(self), [*outputs]
        known = map(self.names.output_name, outputs[:MOST_NAMED])
        named = ", ".join(known) + ", …" * (len(outputs) > MOST_NAMED)
        named = f"number {named}" if self.names.outputs is None else named
        made.which, made.out_channels = named, len(outputs)
        channels = range(self.in_channels)
        if self.output is not None:
            made.output = self.output.each(lambda a: a[..., some])
            made.y = made.output.cast(self.dtype)
        if self.spec.groups > 1:
            made.in_channels = each = self.in_channels // self.spec.groups
            group = outputs[0] * self.spec.groups // self.out_channels
            own = slice(group * each, (group + 1) * each)
            made.spec = replace(self.spec, groups=1)
            made.input = self.input.each(lambda a: a[..., own])
            made.x = made.input.cast(self.dtype)
            channels = channels[own]
        made.names = self.names.some(channels, outputs)
        made.selection = self.selection._replace(channels=tuple(channels), outputs=outputs)
        made._count(rows)
        return made

    def of_output(self, output: int) -> Problem:
        """Return the problem of one output, with the channels of its group."""
        return self._part((output,), self.kept)

    def described_as(self, other: Problem) -> Problem:
        """Return the problem with the lags, names and selection of one with the same taps."""
        self.names, self.selection, self.which = other.names, other.selection, other.which
        pairs = zip(other.lags, self.lags, strict=True)
        self.lag_shift = tuple(round(float(a[0] - b[0])) for a, b in pairs)
        return self

    def _count(self, rows: Rows) -> None:
        """Set the rows used in the fit, for all outputs."""
        self.kept, self.by_mask = rows, ((tuple(range(self.out_channels)), rows),)
        for known in ("nuisance", "_parts", "_lost_to_x"):
            vars(self).pop(known, None)

    @property
    def recipe(self) -> dict[str, Any]:
        """The geometry in plain values, from which `again` reads other data in the same way."""
        common = {"out_channels": self.out_channels, "bias": self.bias, "missing": self._missing}
        if isinstance(self.confounds, int):
            common["confounds"] = self.confounds
        named = self.names.to_dict()
        common |= {name: value for name, value in named.items() if value is not None}
        if self._lags is not None:
            lags, edges = self._lags
            return {"lags": lags, "edges": edges, "groups": self.spec.groups, **common}
        spec = {field.name: getattr(self.spec, field.name) for field in fields(self.spec)}
        return {"spec": spec, **common}

    @classmethod
    def again(cls, recipe: dict[str, Any], x: Any, y: Any = None) -> Problem:
        """Return a problem with the geometry of `recipe` and other data.

        A drift of the recipe is fitted to y if y is given.
        """
        given = dict(recipe)
        drift = given.pop("confounds", None)
        names = Names.from_dict(given)
        given = {key: value for key, value in given.items() if key not in names.to_dict()}
        confounds = None if y is None else drift
        if "lags" in given:
            made = cls._from_lags(x, y, **given)
            made._adjust(None, None, confounds)
        else:
            given["spec"] = ConvSpec(**given["spec"])
            made = cls(x, y, confounds=confounds, **given)
        names.check_same(made.input.names, None if made.output is None else made.output.names)
        made.names = names
        return made

    def under(self, spec: ConvSpec, bias: bool | None = None) -> Problem | None:
        """Return the problem of x alone with another geometry (or bias), for `identify`.

        None if no window fits. Also None if rows are excluded, weighted or confounded, because the
        mask, weights and confounds belong to the rows of this geometry.
        """
        shapes = [a.shape[:-1] for a in self.input.arrays]
        if not any(map(spec.rows, shapes)) or len(set(map(spec.offset, shapes))) > 1:
            return None
        if self.kept.flags is not None or self.weights is not None or self.confounds is not None:
            return None
        made = type(self).__new__(type(self))
        made._lags, made.lag_shift, made._missing = None, (0,) * spec.ndim, self._missing
        made._set(spec, self.input, None, self.out_channels, self.bias if bias is None else bias)
        made.names = self.names
        return made

    def of_whole_windows(self) -> Problem | None:
        """Return the problem of x alone, restricted to the rows whose whole window was recorded.

        The problem itself if all rows are such rows, None if there are none.
        """
        lengths = [a.shape[:-1] for a in self.input.arrays]
        spec = self.spec.whole_windows(lengths[0])
        if spec == self.spec:
            return self
        if self.kept.flags is None and self.weights is None and self.confounds is None:
            return self.under(spec)
        # Weights and confounds belong to the rows of this problem.
        flags = tuple(
            whole_rows(self.spec, length) & self.kept.flags_of(i)
            for i, length in enumerate(lengths)
        )
        if not any(f.any() for f in flags):
            return None
        made = copy(self)
        made._count(replace(self.kept, flags=flags))
        return made

    def narrowed(self, first: int, last: int) -> Problem:
        """Return the problem with the same rows and taps ``first`` to ``last`` of ascending lags.

        The problem must have one axis. Records that are too short for all of the lags are excluded.
        """
        made = type(self).__new__(type(self))
        assert self.output is not None
        x, y, by_mask = self.input, self.output, self.by_mask
        made._missing, (_, weights, confounds, _) = self._missing, self.adjustments
        used = [*range(len(self.row_shapes))]
        if self._lags is None:
            spec = self.spec.narrowed(first, last, x.arrays[0].shape[:-1])
            made.lag_shift, made._lags = self.lag_shift, None
        else:
            (bounds,), edges = self._lags
            chosen = bounds[0] + first, bounds[0] + last
            spec, made.lag_shift = lag_geometry([chosen], edges, self.spec.groups)
            made._lags = [chosen], edges
            if edges == "circular":
                turn = made.lag_shift[0] - self.lag_shift[0]
                x = x.each(lambda a: turned(a, (turn,)))
            elif edges == "drop":
                used = [i for i, n in enumerate(self.row_shapes) if all(n)]
                x = x.some(used).each(lambda a: crop(a, bounds, chosen))
                y = y.some(used)
                weights = None if weights is None else weights.some(used)
                confounds = confounds.some(used) if isinstance(confounds, Records) else confounds
        made._set(spec, x, y, self.out_channels, self.bias)
        made.names = self.names
        made.weights, made.confounds = weights, confounds
        flags = [(outputs, rows.flags) for outputs, rows in by_mask]
        made._keep([(o, f and tuple(f[i] for i in used)) for o, f in flags])
        return made

    def shorter(self, size: tuple[int, ...]) -> tuple[ConvSpec, str, Any] | None:
        """Return the geometry with a smaller kernel, and the argument that sets it with its value.

        None for explicit padding.
        """
        if self._lags is not None:
            edges = self._lags[1]
            bounds = [around_zero(e[0], e[1], k) for e, k in zip(self._lags[0], size, strict=True)]
            lags = bounds[0] if len(bounds) == 1 else tuple(bounds)
            return lag_geometry(bounds, edges, self.spec.groups)[0], "lags", lags
        if not isinstance(self.spec.padding, str):
            return None
        taps = size[0] if len(size) == 1 else size
        return replace(self.spec, kernel_size=size), "kernel_size", taps

    def as_kernel(self, value: Any, name: str) -> np.ndarray:
        """Return a kernel given as an array of its size, as float64 ``(*K, Cin/groups, Cout)``."""
        array = numeric(value, name).astype(np.float64)
        if array.size != math.prod(self.kernel_shape):
            raise ValueError(f"{name} has shape {array.shape}, the kernel {self.kernel_shape}")
        return array.reshape(self.kernel_shape)

    @property
    def adjustments(self) -> Adjustments:
        """The rows used in the fit, their weights and the confounds."""
        by_mask = self.by_mask if len(self.by_mask) > 1 else ()
        return Adjustments(self.kept, self.weights, self.confounds, by_mask)

    @property
    def records_left(self) -> list[int]:
        """The records that have more rows than confounds of their own."""
        return self.nuisance.records_left(self.kept)

    @cached_property
    def nuisance(self) -> Nuisance:
        """The terms fitted along with the kernel: a constant if there is a bias, and confounds."""
        if self.confounds is None and self.weights is None:
            return Nuisance(constant=self.bias)
        found = Confounds.of(self.confounds, self.bias, self.kept, self.weights)
        return Nuisance(confounds=found)

    def sizes(self, limits: Limits = DEFAULT_LIMITS) -> Sizes:
        """Return the sizes that decide how this problem is solved, and their limits."""
        groups = self.spec.groups
        outputs = self.out_channels // groups
        columns = self.spec.unknowns(self.in_channels)
        arrays = (*self.input.arrays, *(() if self.output is None else self.output.arrays))
        large = sum(a.size for a in self.input.arrays) > groups * columns**2
        return Sizes(
            groups=groups,
            rows=self.n_equations,
            columns=columns,
            outputs=outputs,
            given=0 if self.output is None else outputs,
            nuisance=self.nuisance.total,
            shapes=tuple(a.shape[:-1] for a in self.input.arrays),
            limits=limits,
            masked=self.kept.flags is not None,
            partialled=self.nuisance.confounds is not None or self.weights is not None,
            numbers=sum(a.size for a in arrays),
            stored=any(isinstance(a, Stored) for a in arrays),
            remote=self.remote and large,
        )

    @property
    def remote(self) -> bool:
        """Whether x and y are on devices, and stay there unless they are read on the host."""
        return self.input.remote and (self.output is None or self.output.remote)

    @property
    def row_shapes(self) -> tuple[tuple[int, ...], ...]:
        """(*T), the shape of the outputs of each record."""
        return self.kept.shapes

    @property
    def n_equations(self) -> int:
        """Number of rows of the design matrix, that is of equations per output channel."""
        return self.kept.count

    @property
    def n_unknowns(self) -> int:
        """Unknowns per output channel: taps × channels of its group, bias and confounds."""
        return self.spec.unknowns(self.in_channels) + self.nuisance.total

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """``(*K, Cin/groups, Cout)``."""
        return (
            *self.spec.kernel_size,
            self.in_channels // self.spec.groups,
            self.out_channels,
        )

    @property
    def lags(self) -> tuple[np.ndarray, ...]:
        """Lag of every tap along each axis, in kernel order. Positive lags are in the past."""
        lags = self.spec.lags(self.input.arrays[0].shape[:-1])
        lags = lags if isinstance(lags, tuple) else (lags,)
        return tuple(lag + s for lag, s in zip(lags, self.lag_shift, strict=True))

    @property
    def tap_lags(self) -> tuple[np.ndarray, ...]:
        """Lag of every tap along each axis, counted in taps, so that neighbours are one apart."""
        return self.spec.in_taps(self.lags)

    @property
    def rows(self) -> Any:
        """Index in the user's y of every row along the time axis: ``arange`` unless lags trimmed y.

        A tuple of arrays, one per axis, in two and three dimensions. For a list of records, a list
        with one such entry per record.
        """
        found: list[Any] = self.kept.in_y
        if self.spec.ndim == 1:
            found = [rows[0] for rows in found]
        return found if self.input.form == "list" else found[0]

    def __repr__(self) -> str:
        spec = self.spec
        taps = " × ".join(map(str, spec.kernel_size))
        taps += " tap" if taps == "1" else " taps"
        extras = "".join(
            f", {name} {value if len(set(value)) > 1 else value[0]}"
            for name, value in (("stride", spec.stride), ("dilation", spec.dilation))
            if set(value) != {1}
        )
        extras += f", {spec.groups} groups" if spec.groups > 1 else ""
        extras += ", bias" if self.bias else ""
        extras += f", {self._fitted}" * bool(self._fitted)
        ends = f"padding {spec.padding}"
        if self._lags is not None:
            lags = " × ".join(f"{a} to {b}" for a, b in self._lags[0])
            ends = f"lags {lags}{self._window}, edges {self._lags[1]}"
        elif self.names.fs is not None:
            ends += f", {self.names.fs:g} Hz"
        short = sum(not all(shape) for shape in self.row_shapes)
        which = f", {self.which}" * bool(self.which)
        skipped = f" ({count(short, 'record')} too short to give a row)" if short else ""
        return (
            f"x: {self.input.describe(spec.ndim)}{skipped}; kernel: {taps}, {ends}{extras}; y: "
            f"{count(self.n_equations, 'row')} × {count(self.out_channels, 'output')}"
            f"{which}{self._lost}, {self.dtype}"
        )

    @property
    def _window(self) -> str:
        """The lags as times, if the sampling rate is known."""
        assert self._lags is not None
        return self.names.window(*self._lags[0][0])

    @property
    def _fitted(self) -> str:
        """Description of the terms fitted to every record, and of weights."""
        words = [] if self.weights is None else ["weighted"]
        if isinstance(self.confounds, Records):
            words.append(f"{count(self.confounds.channels, 'confound')} a record")
        elif self.confounds is not None:
            drift = "" if not self.confounds else f" and a drift of degree {self.confounds}"
            words.append(f"an intercept{drift} a record")
        return ", ".join(words)

    @property
    def adjusted(self) -> str:
        """Description of excluded rows, weights and confounds; empty if there are none."""
        lost = f"{count(self.n_equations, 'row')}{self._lost}" if self._lost else ""
        return ", ".join(words for words in (lost, self._fitted) if words)

    @property
    def _lost(self) -> str:
        """Description of the number of excluded rows and the reason."""
        if self.kept.flags is None:
            return ""
        words = f" ({self.kept.dropped} of {self.kept.dropped + self.n_equations} rows left out"
        gaps = self._lost_to_x
        words += f", {gaps} of them for missing samples of x" * bool(gaps)
        if len(self.by_mask) > 1:
            words += ", in the output of fewest"
        return words + ")"

    @cached_property
    def _lost_to_x(self) -> int:
        """Number of rows that read a missing sample of x."""
        if self.input.missing is None:
            return 0
        pairs = zip(self.input.missing, self.row_shapes, strict=True)
        bad = [np.asarray(m.any(-1)) for m, shape in pairs if all(shape)]
        return sum(int(np.count_nonzero(rows_reading(m, self.spec))) for m in bad)


def _counted(out_channels: int | None, y: Any, outputs: Any) -> int | None:
    """Return the number of outputs, given directly or, without y, as a list of names."""
    named = y is None and out_channels is None and isinstance(outputs, (list, tuple))
    return len(outputs) if named else out_channels


def _drops(missing: Any) -> bool:
    choice(missing, "missing", MISSING)
    return bool(missing == "drop")


def _and(
    flags: list[np.ndarray], others: Sequence[np.ndarray] | None
) -> Sequence[np.ndarray] | None:
    """Return the logical and of flags (*T, 1 or Cout) of every record; None if all are True."""
    if all(f.all() for f in flags):
        return others
    return flags if others is None else [f & o for f, o in zip(flags, others, strict=True)]


def _loses(flags: Sequence[np.ndarray], left: Flags) -> bool:
    """Return whether any of the rows flagged in ``flags`` (*T, 1 or Cout) is not in ``left``."""
    return any(bool((f & ~rest).any()) for f, rest in zip(flags, left, strict=True))


def _by_flags(left: Flags, outputs: int) -> list[tuple[Sequence[int], Flags]]:
    """Return groups of outputs with equal flags (*T, 1 or Cout), and their flags (*T)."""
    if left[0].shape[-1] == 1:
        return [(range(outputs), tuple(f[..., 0] for f in left))]
    found: dict[bytes, list[int]] = {}
    for q in range(outputs):
        found.setdefault(b"".join(f[..., q].tobytes() for f in left), []).append(q)
    return [(qs, tuple(f[..., qs[0]] for f in left)) for qs in found.values()]
