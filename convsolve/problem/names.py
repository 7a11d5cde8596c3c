"""Names of channels, outputs and lags: numbers, or the names given by the user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..text import count, ranges, shown, some

# Lags are reported in seconds below this sampling rate in Hz, and otherwise in milliseconds.
SLOW = 10.0
# Windows that reach beyond these seconds are written in seconds, others in milliseconds.
LONG = 2.0


@dataclass(frozen=True)
class Axis:
    """One axis of a kernel: ascending lags, or the taps of a layer in its order.

    Attributes:
        lags: integers, ascending.
        fs: sampling rate in Hz, or None for lags in samples.
        noun: "lag", or "tap" for a problem that was stated by ``kernel_size``.
    """

    lags: np.ndarray
    fs: float | None = None
    noun: str = "lag"

    @property
    def unit(self) -> str:
        """Unit of `values`; empty for taps."""
        if self.fs is None:
            return "samples" if self.noun == "lag" else ""
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
        if self.noun == "tap":
            return words
        first, last = self.text(self.lags[0]), self.text(self.lags[-1])
        ends = f"at {first}" if first == last else f"from {first} to {last}"
        return f"{words} {ends} {self.unit}"


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

    def some(self, channels: Sequence[int], outputs: Sequence[int]) -> Names:
        """Return the names of some channels and outputs; unnamed ones keep their numbers."""
        of_x = tuple(self.name("channel", c) for c in channels)
        of_y = tuple(self.name("output", o) for o in outputs)
        return Names(self.fs, of_x, of_y, "number " * (self.outputs is None) + some(of_y))

    def _of(self, kind: str) -> tuple[str, ...]:
        return (self.channels if kind == "channel" else self.outputs) or ()

    def name(self, kind: str, index: int) -> str:
        """Return the name of a "channel" or an "output", or its number."""
        return self._of(kind)[index] if self._of(kind) else str(index)

    def channel(self, index: int) -> str:
        """Return the description of an input channel."""
        return f"channel {self.name('channel', index)}"

    def output(self, index: int) -> str:
        """Return the description of an output."""
        return f"output {self.name('output', index)}"

    def all(self, kind: str, count: int) -> list[Any]:
        """Return the names of every "channel" or "output", or their numbers."""
        return [*(self._of(kind) or range(count))]

    def number(self, kind: str, given: Any) -> Any:
        """Return the number of a "channel" or an "output" given by name, or a list for several.

        Anything but a name is returned unchanged.

        Raises:
            ValueError: If there is no such name.
        """
        names = self._of(kind)
        if isinstance(given, (list, tuple)):
            return [self.number(kind, one) for one in given]
        if isinstance(given, str) and given not in names:
            known = f"there are {', '.join(names) or 'only numbers from 0'}"
            raise ValueError(f"there is no {kind} {shown(given)}: {known}")
        return names.index(given) if isinstance(given, str) else given

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


def words_of(given: Any, name: str, count: int, known: Any = None) -> tuple[str, ...] | None:
    """Return the names given, one for each channel, or else those that are ``known``."""
    if given is None:
        return cast("tuple[str, ...] | None", known)
    # A set has no order, so a name could be assigned to the wrong channel.
    words = tuple(given) if isinstance(given, (list, tuple)) or np.ndim(given) == 1 else ()
    if not all(isinstance(w, str) and w.strip() and w.isprintable() for w in words or (None,)):
        raise TypeError(f"{name} must be a list of printable names, got {shown(given)}")
    if len(words) != count or len(set(words)) < count:
        raise ValueError(f"{name} must be {count} different names, got {shown(given)}")
    return tuple(map(str, words))
