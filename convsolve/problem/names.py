"""Names of channels, outputs and lags: numbers, or the names given by the user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..text import count, ranges, shown, some

# Windows that reach beyond these seconds are written in seconds, others in milliseconds.
LONG = 2.0
# Names, or None for numbers.
Given = tuple[str, ...] | None


@dataclass(frozen=True)
class Axis:
    """One axis of a kernel: ascending lags, or the taps of a layer in its order.

    Attributes:
        lags: integers, ascending.
        fs: sampling rate in Hz, or None for lags in samples.
        noun: "lag", "tap" for a problem that was stated by ``kernel_size``, or "time".
    """

    lags: np.ndarray
    fs: float | None = None
    noun: str = "lag"

    @classmethod
    def of_kernel(cls, lags: Sequence[np.ndarray], fs: Any, layer: bool) -> tuple[Axis, ...]:
        """Return the axes of a kernel, given the lags of its taps in the order of a layer."""
        if layer:
            return tuple(cls(np.arange(len(own)), None, "tap") for own in lags)
        return tuple(cls(own[::-1], fs if len(lags) == 1 else None) for own in lags)

    @property
    def unit(self) -> str:
        """Unit of `values`; empty for taps."""
        if self.fs is None:
            return "" if self.noun == "tap" else "samples"
        return "s" if np.abs(self.lags).max() > LONG * self.fs else "ms"

    @property
    def scale(self) -> float:
        """One sample in `unit`."""
        return 1.0 if self.fs is None else {"s": 1.0, "ms": 1e3}[self.unit] / self.fs

    @property
    def values(self) -> np.ndarray:
        """Lags in `unit`."""
        return self.lags if self.fs is None else self.lags * self.scale

    @property
    def label(self) -> str:
        """Label of an axis of a figure or of a column of a table."""
        return f"{self.noun} ({self.unit})" if self.unit else self.noun

    def text(self, lag: int) -> str:
        """Return a lag in `unit`, to a hundredth of a sample or finer."""
        decimals = 0 if self.fs is None else max(0, 2 - math.floor(math.log10(self.scale)))
        return f"{round(float(lag * self.scale), decimals):.15g}"

    def at(self, lags: Sequence[int]) -> str:
        """Return lags in words, such as "lags 3–5" or "20 ms"."""
        words = ranges(lags, self.text)
        return f"{words} {self.unit}" if self.fs else f"{self.noun}{'s' * (len(lags) > 1)} {words}"

    def span(self) -> str:
        """Return the number of lags, the first and the last in words."""
        words = count(len(self.lags), self.noun)
        between = "from" if len(self.lags) > 1 else "at"
        return words if self.noun == "tap" else f"{words} {between} {self.ends()}"

    def ends(self) -> str:
        """Return the first and the last lag with their unit."""
        ends = dict.fromkeys(map(self.text, self.lags[[0, -1]]))
        return f"{' to '.join(ends)} {self.unit}"


@dataclass(frozen=True)
class Names:
    """The names of channels and outputs, and the sampling rate.

    Attributes:
        fs: sampling rate in Hz, or None.
        channels: a name for every input channel, or None if channels are numbered.
        outputs: a name for every output, or None if outputs are numbered.
        which: description of the outputs if they are a part of all outputs, else empty.
    """

    fs: float | None = None
    channels: Given = None
    outputs: Given = None
    which: str = ""

    def some(self, channels: Sequence[int], outputs: Sequence[int]) -> Names:
        """Return the names of some channels and outputs; unnamed ones keep their numbers."""
        of_x = tuple(self.name("channel", c) for c in channels)
        of_y = tuple(self.name("output", o) for o in outputs)
        return Names(self.fs, of_x, of_y, "number " * (self.outputs is None) + some(of_y))

    def name(self, kind: str, index: int) -> str:
        """Return the name of a "channel" or an "output", or its number."""
        given = self.channels if kind == "channel" else self.outputs
        return str(given[index] if given else index)

    def channel(self, index: int) -> str:
        """Return the description of an input channel."""
        return f"channel {self.name('channel', index)}"

    def output(self, index: int) -> str:
        """Return the description of an output."""
        return f"output {self.name('output', index)}"

    def all(self, kind: str, count: int) -> list[Any]:
        """Return the names of every "channel" or "output", or their numbers."""
        return [*((self.channels if kind == "channel" else self.outputs) or range(count))]

    def number(self, kind: str, given: Any) -> Any:
        """Return the number of a "channel" or an "output" given by name, or a list for several.

        Anything but a name is returned unchanged.

        Raises:
            ValueError: If there is no such name.
        """
        if isinstance(given, (list, tuple)):
            return [self.number(kind, one) for one in given]
        names = self.all(kind, 0)
        if isinstance(given, str) and given not in names:
            known = ", ".join(names) or "only numbers from 0"
            raise ValueError(f"there is no {kind} {shown(given)}: there are {known}")
        return names.index(given) if isinstance(given, str) else given

    def check_same(self, channels: Given, outputs: Given = None) -> None:
        """Raise a ValueError if other data have other names of channels or outputs."""
        of_x = "x has channels", channels, self.channels
        for words, given, known in (of_x, ("y has outputs", outputs, self.outputs)):
            if None not in (given, known) and given != known:
                raise ValueError(f"{words} {shown(given)}, the kernel is that of {shown(known)}")

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Names:
        """Return the names of a dictionary made by `to_dict`; missing entries are None."""
        of_x, of_y = (given.get(key) and tuple(given[key]) for key in ("channels", "outputs"))
        return cls(given.get("fs"), of_x, of_y)

    def to_dict(self) -> dict[str, Any]:
        """Return the rate and the names; None for missing entries."""
        of_x, of_y = (names and [*names] for names in (self.channels, self.outputs))
        return {"fs": self.fs, "channels": of_x, "outputs": of_y}


def words_of(given: Any, name: str, count: int, known: Any = None) -> Given:
    """Return the names given, one for each channel, or else those that are ``known``."""
    if given is None:
        return cast("Given", known)
    # A set has no order, so a name could be assigned to the wrong channel.
    words = tuple(given) if isinstance(given, (list, tuple)) or np.ndim(given) == 1 else ()
    if not all(isinstance(w, str) and w.strip() and w.isprintable() for w in words or (None,)):
        raise TypeError(f"{name} must be a list of printable names, got {shown(given)}")
    if len(words) != count or len(set(words)) < count:
        raise ValueError(f"{name} must be {count} different names, got {shown(given)}")
    return tuple(map(str, words))
