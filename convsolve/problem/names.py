"""Names of channels, outputs and lags: numbers, or the names given by the user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..text import ranges, shown, some
from .checks import number
from .records import Records

# Lags are reported in seconds below this sampling rate in Hz, and otherwise in milliseconds.
SLOW = 10.0


@dataclass(frozen=True)
class Names:
    """The names of channels and outputs, and the unit of lags.

    Attributes:
        fs: sampling rate in Hz. Lags are reported as times if it is given, else in samples.
        channels: a name for every input channel, or None if channels are numbered.
        outputs: a name for every output, or None if outputs are numbered.
        which: description of the outputs if they are a part of all outputs, else empty.
    """

    fs: float | None = None
    channels: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    which: str = ""

    @classmethod
    def of(
        cls, fs: Any, channels: Any, outputs: Any, x: Records, y: Records | None, counts: Any
    ) -> Names:
        """Return the given names, or else the names of the columns of x and y.

        Args:
            fs: as given to `Problem`; None if not given.
            channels: as given to `Problem`; None if not given.
            outputs: as given to `Problem`; None if not given.
            x: the records of the input.
            y: the records of the output, or None.
            counts: numbers of channels and of outputs.

        Raises:
            TypeError, ValueError: If the rate is not positive or the data are images. If names are
                not words, are repeated, or are not as many as there are channels.
        """
        if fs is not None:
            fs = number(fs, "fs")
            if x.arrays[0].ndim > 2:
                raise ValueError("fs is the rate of samples in time; images have several axes")
        of_x = x.names if channels is None else words_of(channels, "channels", counts[0])
        of_y = None if y is None else y.names
        return cls(fs, of_x, of_y if outputs is None else words_of(outputs, "outputs", counts[1]))

    def some(self, channels: Sequence[int], outputs: Sequence[int]) -> Names:
        """Return the names of some channels and outputs; unnamed ones keep their numbers."""
        of_x, of_y = map(self.channel_name, channels), tuple(map(self.output_name, outputs))
        which = "number " * (self.outputs is None) + some(of_y)
        return Names(self.fs, tuple(of_x), of_y, which)

    def channel(self, index: int) -> str:
        """Return the description of an input channel."""
        return f"channel {self.channel_name(index)}"

    def channel_name(self, index: int) -> str:
        """Return the name of an input channel, or its number."""
        return str(index) if self.channels is None else self.channels[index]

    def output(self, index: int) -> str:
        """Return the description of an output."""
        return f"output {self.output_name(index)}"

    def output_name(self, index: int) -> str:
        """Return the name of an output, or its number."""
        return str(index) if self.outputs is None else self.outputs[index]

    def all_channels(self, count: int) -> list[Any]:
        """Return the names of all channels, or their numbers."""
        return [*(self.channels or range(count))]

    def all_outputs(self, count: int) -> list[Any]:
        """Return the names of all outputs, or their numbers."""
        return [*(self.outputs or range(count))]

    def channel_number(self, channel: Any) -> Any:
        """Return the number of a channel given by name, or a list of numbers for several.

        Anything but a name is returned unchanged.

        Raises:
            ValueError: If no channel has this name.
        """
        return _number(channel, self.channels or (), "channel")

    def output_number(self, output: Any) -> Any:
        """Return the number of an output given by name; see `channel_number`."""
        return _number(output, self.outputs or (), "output")

    @property
    def unit(self) -> str:
        """Unit of lags."""
        return "samples" if self.fs is None else "s" if self.fs < SLOW else "ms"

    def times(self, lags: Any) -> np.ndarray:
        """Return lags in `unit`."""
        scale = 1.0 if self.unit == "s" else 1000.0
        return np.asarray(lags) if self.fs is None else np.asarray(lags) / self.fs * scale

    def time(self, lag: int) -> str:
        """Return the number of a lag in `unit`, to a hundredth of a sample or finer."""
        decimals = 0 if self.fs is None else max(0, 2 - math.floor(math.log10(self.times(1))))
        return f"{round(float(self.times(lag)), decimals):.15g}"

    def lags(self, lags: Sequence[int]) -> str:
        """Return the description of lags along one axis."""
        if self.fs is None:
            return f"lag{'s' * (len(lags) > 1)} {ranges(lags)}"
        return f"{ranges(lags, self.time)} {self.unit}"

    def window(self, first: int, last: int) -> str:
        """Return the times of the first and the last lag in brackets; empty without a rate."""
        if self.fs is None:
            return ""
        return f" ({self.time(first)} to {self.time(last)} {self.unit} at {self.fs:g} Hz)"

    def check_same(
        self, channels: tuple[str, ...] | None, outputs: tuple[str, ...] | None = None
    ) -> None:
        """Raise a ValueError if other data have other names of channels or outputs."""
        of_x, of_y = (channels, self.channels), (outputs, self.outputs)
        for kind, (given, known) in ("x has channels", of_x), ("y has outputs", of_y):
            if None not in (given, known) and given != known:
                words = f"{kind} {shown(given)}, the kernel is that of {shown(known)}"
                raise ValueError(f"{words}: give the same in the same order")

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Names:
        """Return the names of a dictionary made by `to_dict`; missing entries are None."""
        of_x, of_y = (given.get(key) and tuple(given[key]) for key in ("channels", "outputs"))
        return cls(given.get("fs"), of_x, of_y)

    def to_dict(self) -> dict[str, Any]:
        """Return the rate and the names; None for missing entries."""
        of_x, of_y = (names and [*names] for names in (self.channels, self.outputs))
        return {"fs": self.fs, "channels": of_x, "outputs": of_y}


def _number(given: Any, names: tuple[str, ...], kind: str) -> Any:
    if isinstance(given, (list, tuple)):
        return [_number(one, names, kind) for one in given]
    if isinstance(given, str) and given not in names:
        known = f"there are {', '.join(names) or 'only numbers from 0'}"
        raise ValueError(f"there is no {kind} {shown(given)}: {known}")
    return names.index(given) if isinstance(given, str) else given


def words_of(given: Any, name: str, count: int) -> tuple[str, ...]:
    """Return names given, one for each channel."""
    # A set has no order, so a name could be assigned to the wrong channel.
    words = tuple(given) if isinstance(given, (list, tuple)) or np.ndim(given) == 1 else ()
    if not all(isinstance(w, str) and w.strip() and w.isprintable() for w in words or (None,)):
        raise TypeError(f"{name} must be a list of printable names, got {shown(given)}")
    if len(words) != count or len(set(words)) < count:
        raise ValueError(f"{name} must be {count} different names, got {shown(given)}")
    return tuple(map(str, words))


def seconds_to_lags(tmin: Any, tmax: Any, fs: Any) -> tuple[int, int]:
    """Convert a window in seconds to its first and last lag in samples.

    Each end is rounded to the nearest sample, half to even.

    Raises:
        TypeError: If one of the three is None or is not a number.
        ValueError: If ``fs`` is not positive, or ``tmin`` exceeds ``tmax``.
    """
    if any(given is None for given in (tmin, tmax, fs)):
        raise TypeError("lags in seconds need all of tmin=, tmax= and fs=")
    rate = number(fs, "fs")
    first, last = number(tmin, "tmin", -np.inf) * rate, number(tmax, "tmax", -np.inf) * rate
    if first > last:
        raise ValueError(f"tmin={tmin:.3g} must not exceed tmax={tmax:.3g}")
    return round(first), round(last)
