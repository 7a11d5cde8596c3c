"""A kernel as text, in ascending lags: a table of taps, or a summary if it is large."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .problem.names import Names
from .text import WIDTH, aligned, count, line

# A kernel with more numbers, or with tables of more lines, is summarised.
MAX_NUMBERS, MAX_LINES = 100, 24
# Number of taps that a summary names.
LARGEST = 5


class _Table(NamedTuple):
    """A table of some taps.

    Attributes:
        title: title of the table.
        corner: label of the rows, in the upper left corner.
        rows, columns: labels of rows and columns.
        values: (rows, columns), the taps.
    """

    title: str
    corner: str
    rows: list[str]
    columns: list[str]
    values: np.ndarray


def kernel_lines(
    kernel: np.ndarray,
    tap_lags: tuple[np.ndarray, ...],
    groups: int,
    called: Names,
    margin: int,
) -> list[str]:
    """Return lines with shape, lags and taps of a kernel (*K, Cin/groups, Cout), after a margin."""
    reverse = (slice(None, None, -1),) * len(tap_lags)
    taps, names = kernel[reverse], _TapNames(kernel.shape, tap_lags, groups, called)
    shown = None
    if taps.size <= MAX_NUMBERS:
        shown = _shown(_tables(taps, names), _number_form(taps), WIDTH - margin)
    spans = " × ".join(f"{axis[0]} … {axis[-1]}" for axis in names.lags)
    times = called.window(names.lags[0][0], names.lags[0][-1])
    order = ", the last two axes down and across" if shown and len(names.lags) > 1 else ""
    lines = [
        line("kernel", f"{_shape_text(kernel, groups)}, {kernel.dtype}", margin),
        line("lags", f"{spans} samples{times}{order}", margin),
    ]
    if shown is None:
        return lines + [line(label, words, margin) for label, words in _summary(taps, names)]
    return lines + [" " * margin + text for text in shown]


def _shape_text(kernel: np.ndarray, groups: int) -> str:
    *sizes, channels, outputs = kernel.shape
    length = " × ".join(map(str, sizes))
    text = f"{length} tap{'s' * (length != '1')} × {count(channels, 'channel')}"
    text += " a group" if groups > 1 else ""
    text += f" × {count(outputs, 'output')}"
    return text + (f", {groups} groups" if groups > 1 else "")


class _TapNames:
    """What a tap is called: by its lag, and by channel and output where there are several.

    Channels are numbered as in x, also where a group of outputs sees only some of them.
    """

    def __init__(
        self, shape: tuple[int, ...], tap_lags: tuple[np.ndarray, ...], groups: int, called: Names
    ) -> None:
        *_, self._channels, self._outputs = shape
        self._groups, self.called = groups, called
        self.lags = [axis[::-1] for axis in tap_lags]

    def channel(self, c: int, output: int) -> str:
        """Channel ``c`` of those that an output sees."""
        first = output // (self._outputs // self._groups) * self._channels
        return self.called.channel(first + c) if self._channels * self._groups > 1 else ""

    def output(self, output: int) -> str:
        return self.called.output(output) if self._outputs > 1 else ""

    def tap(self, *index: int) -> str:
        """The tap at an index (*k, channel, output) of the kernel in ascending lags."""
        *k, c, output = index
        lag = [int(axis[i]) for axis, i in zip(self.lags, k, strict=True)]
        where = self.called.lags(lag) if len(lag) == 1 else f"lag {tuple(lag)}"
        return _joined(where, self.channel(c, output), self.output(output))


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _tables(taps: np.ndarray, names: _TapNames) -> Iterator[_Table]:
    """Along one axis, lags or times go down, channels or outputs across; else the last two axes
    do.
    """
    *sizes, channels, outputs = taps.shape
    down = [names.called.time(lag) for lag in names.lags[max(len(sizes) - 2, 0)]]
    corner = "lag" if names.called.fs is None else names.called.unit
    if len(sizes) > 1:
        across = [str(lag) for lag in names.lags[-1]]
        for *k, c, o in np.ndindex(*sizes[:-2], channels, outputs):
            first = f"first lag {names.lags[0][k[0]]}" if k else ""
            title = _joined(first, names.channel(c, o), names.output(o))
            yield _Table(title, "lag", down, across, taps[(*k, slice(None), slice(None), c, o)])
    elif channels == 1 and not names.channel(0, 0):
        across = [names.output(o) or "tap" for o in range(outputs)]
        yield _Table("", corner, down, across, taps[:, 0])
    else:
        for o in range(outputs):
            across = [names.channel(c, o) for c in range(channels)]
            yield _Table(names.output(o), corner, down, across, taps[:, :, o])


def _shown(tables: Iterator[_Table], form: str, width: int) -> list[str] | None:
    """The tables as lines; None if these are too many or too long."""
    lines: list[str] = []
    for title, corner, rows, columns, values in tables:
        cells = [[corner, *columns]]
        for head, row in zip(rows, values, strict=True):
            cells.append([head, *(format(float(v), form) for v in row)])
        lines += [f"{title}:"] if title else []
        lines += aligned(cells)
        if len(lines) > MAX_LINES or max(map(len, lines)) > width:
            return None
    return lines


def _number_form(taps: np.ndarray) -> str:
    """Six digits of the largest tap, and as many decimals for all of them."""
    largest = float(np.abs(taps).max())
    exponent = math.floor(math.log10(largest)) if 0 < largest < math.inf else 0
    return f"z.{5 - exponent}f" if -4 <= exponent <= 5 else "z.5e"


def _summary(taps: np.ndarray, names: _TapNames) -> list[tuple[str, str]]:
    """Range and largest taps: entries of a text."""
    sizes = np.abs(taps).ravel()
    few = np.argpartition(-sizes, min(LARGEST, sizes.size) - 1)[:LARGEST]
    few = few[np.argsort(-sizes[few], kind="stable")]
    labels = ["minimum", "maximum", "by magnitude", *[""] * (len(few) - 1)]
    found = [np.unravel_index(i, taps.shape) for i in (taps.argmin(), taps.argmax(), *few)]
    values = [f"{float(taps[index]):.6g}" for index in found]
    width = max(map(len, values))
    return [
        (label, f"{value.rjust(width)} at {names.tap(*map(int, index))}")
        for label, value, index in zip(labels, values, found, strict=True)
    ]
