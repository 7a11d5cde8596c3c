"""The weights of a kernel as text, in ascending lags: all of a small kernel, else the largest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .problem.names import Names
from .text import WIDTH, aligned, count

# Lags and columns of a kernel that is shown as a whole.
MAX_LAGS, MAX_COLUMNS = 5, 6
# Number of weights that a summary names, most letters of a list of names, and of one name.
LARGEST, MAX_LIST, MAX_NAME = 3, 32, 16
# Digits of the largest weight.
DIGITS = 4
# Signs of a weight that the data do not determine, and of a lag outside the window of a channel.
OPEN, ABSENT = "*", "–"


def shape_sentence(shape: tuple[int, ...], groups: int) -> str:
    """Return the shape of a kernel (*K, Cin/groups, Cout) in words."""
    *sizes, channels, outputs = shape
    lags = " × ".join(map(str, sizes)) + (" lag" if sizes == [1] else " lags")
    words = f"{lags} × {count(channels, 'channel')} × {count(outputs, 'output')}"
    return words + (f" in {groups} groups" if groups > 1 else "")


class Weights:
    """The weights of a solution by lag, channel and output.

    Channels are numbered as in x, also if a group of outputs uses some of them only.
    """

    def __init__(
        self,
        kernel: np.ndarray,
        lags: tuple[np.ndarray, ...],
        groups: int,
        names: Names,
        modelled: np.ndarray | None = None,
    ) -> None:
        """``modelled`` has flags of the taps that may differ from zero, all by default."""
        axes = tuple(range(len(lags)))
        self.taps = np.flip(np.asarray(kernel, float), axes)
        self._absent = None if modelled is None else np.flip(~modelled, axes)
        self._lags, self._groups, self.names = [axis[::-1] for axis in lags], groups, names
        *_, self._channels, self._outputs = kernel.shape

    @classmethod
    def of(cls, fit: Any) -> Weights:
        """Return the weights of a `Solution`."""
        kernel, space = fit.kernel, fit._space
        modelled = None if space is None else np.broadcast_to(space.kept[..., None], kernel.shape)
        return cls(kernel, fit._tap_lags, fit._spec.groups, fit._names, modelled)

    @property
    def unit(self) -> str:
        """The unit of lags."""
        return self.names.unit if len(self._lags) == 1 else "samples"

    def sentence(self) -> str:
        """Return channels, outputs and lags in words."""
        inputs, outputs = self._channels * self._groups, self._outputs
        words = f"{_named(inputs, 'channel', self.names.channels)} to "
        words += _named(outputs, "output", self.names.outputs)
        words += f" in {self._groups} groups" if self._groups > 1 else ""
        spans = " × ".join(map(self._span, self._lags))
        return f"{words}, {spans} {self.unit}"

    def _span(self, axis: np.ndarray) -> str:
        """Return the number of lags along an axis, the first and the last."""
        times = len(self._lags) == 1
        first, last = (self.names.time(int(lag)) if times else str(lag) for lag in axis[[0, -1]])
        words = count(len(axis), "lag")
        return f"{words} at {first}" if len(axis) == 1 else f"{words} from {first} to {last}"

    def table(self, error: np.ndarray | None, most: int) -> list[str] | None:
        """Return a table of all weights with their standard errors; None if it is too large."""
        *sizes, _, _ = self.taps.shape
        columns = self._columns()
        if len(sizes) > 1 or sizes[0] > min(MAX_LAGS, most - 1) or len(columns) > MAX_COLUMNS:
            return None
        corner = "lag" if self.names.fs is None else self.unit
        rows = [[corner, *(label for label, _, _ in columns)]]
        starred = False
        for k, lag in enumerate(self._lags[0]):
            cells = [self._cell((k, c, o), error) for _, c, o in columns]
            starred |= any(OPEN in cell for cell in cells)
            rows.append([self.names.time(int(lag)), *cells])
        lines = aligned(rows)
        lines[-1] += f"   ({OPEN} not determined)" * starred
        return None if max(map(len, lines)) > WIDTH else lines

    def _columns(self) -> list[tuple[str, int, int]]:
        """Return label, channel in its group, and output of every column."""
        labels = []
        for o in range(self._outputs):
            for c in range(self._channels):
                name, parts = self.channel(c, o), []
                if self._several:
                    parts.append(name if self.names.channels is not None else f"channel {name}")
                if self._outputs > 1:
                    parts.append(self.output(o, "output "))
                labels.append((", ".join(parts) or "weight", c, o))
        return labels

    @property
    def _several(self) -> bool:
        """Whether x has several channels."""
        return self._channels * self._groups > 1

    def output(self, output: int, noun: str = "") -> str:
        """Return the name of an output, shortened, or a noun and its number."""
        name = self.names.name("output", output)
        return noun + name if self.names.outputs is None else shortened(name)

    def channel(self, c: int, output: int) -> str:
        """Return the name of a channel of a group, shortened, or its number in x."""
        first = output // (self._outputs // self._groups) * self._channels
        return shortened(self.names.name("channel", first + c))

    def _cell(self, index: tuple[int, ...], error: np.ndarray | None) -> str:
        """Return a weight and its standard error."""
        if self._absent is not None and self._absent[index]:
            return ABSENT
        decimals = self._decimals()
        form = f"z.{decimals}f" if decimals is not None else f".{DIGITS - 1}e"
        text = format(float(self.taps[index]), form)
        if error is None:
            return text
        own = float(error[index])
        if math.isnan(own):  # all functions of a basis are zero there
            return text
        if math.isinf(own):
            return text + OPEN
        size = format(own, form)
        # An error that rounds to zero is shown in its own digits.
        return f"{text} ± {size if float(size) else format(own, '.0e')}" if own else text

    def _decimals(self) -> int | None:
        """Return the decimals of all weights; None for an exponent."""
        largest = float(np.abs(self.taps).max())
        exponent = math.floor(math.log10(largest)) if 0 < largest < math.inf else 0
        return max(DIGITS - 1 - exponent, 0) if -4 <= exponent <= 5 else None

    def largest(self, error: np.ndarray | None) -> list[str]:
        """Return the largest weights, with their lags, channels and outputs."""
        sizes = np.abs(self.taps).ravel()
        order = np.argsort(-sizes, kind="stable")[:LARGEST]
        found = []
        for flat in order:
            index = tuple(map(int, np.unravel_index(flat, self.taps.shape)))
            found.append(f"{self._cell(index, error)} at {self._place(index)}")
        return found

    def _place(self, index: tuple[int, ...]) -> str:
        *k, c, o = index
        lag = tuple(int(axis[i]) for axis, i in zip(self._lags, k, strict=True))
        where = self.names.lags(lag) if len(lag) == 1 else f"lag {lag}"
        if self._several:
            where += f" of channel {self.channel(c, o)}"
        if self._outputs > 1:
            where += (", " if self._several else " of ") + f"output {self.output(o)}"
        return where

    def peak(self, output: int, error: np.ndarray | None) -> tuple[str, str]:
        """Return the largest weight of an output, and its place."""
        own = np.abs(self.taps[..., output])
        index = (*map(int, np.unravel_index(int(own.argmax()), own.shape)), output)
        *k, c, _ = index
        lag = tuple(int(axis[i]) for axis, i in zip(self._lags, k, strict=True))
        where = self.names.time(lag[0]) if len(lag) == 1 else str(lag)
        if self._several:
            where += f", {self.channel(c, output)}"
        return self._cell(index, error), where


def _named(number: int, noun: str, names: tuple[str, ...] | None) -> str:
    """Return a number of channels or outputs, with as many of their names as are short."""
    words = count(number, noun)
    if names is None:
        return words
    few = [shortened(names[0])]
    for name in map(shortened, names[1:]):
        if len(", ".join([*few, name])) > MAX_LIST:
            break
        few.append(name)
    return f"{words} ({', '.join(few + ['…'] * (len(few) < number))})"


def shortened(name: str, most: int = MAX_NAME) -> str:
    """Return the beginning and the end of a name of more letters than ``most``."""
    if len(name) <= most:
        return name
    half = most // 2
    return f"{name[:half]}…{name[1 - half :]}"
