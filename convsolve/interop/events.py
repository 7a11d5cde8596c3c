"""Events, as BIDS and nilearn list them, as impulses at the rate of a recording.

With ``Problem(x, bold, lags=(0, 9), edges="zeros", bias=True)``, the kernel is the response to each
kind of event. It equals the finite impulse responses of nilearn's ``hrf_model="fir"`` with
``fir_delays=range(10)``, for events that last one repetition time. With ``basis="hrf"``, it is the
canonical response, see `convsolve.HRF`.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..files import MAX_BYTES, check_size, opened
from ..problem.checks import choice, integer, number
from ..text import shown

SHAPES = ("impulse", "boxcar")


def impulses(
    events: Any,
    *,
    fs: float,
    samples: int,
    names: Sequence[str] | None = None,
    column: str | None = "trial_type",
    shape: str = "impulse",
) -> tuple[np.ndarray, list[str]]:
    """Return a signal for every kind of event of one run, and the names of the kinds.

    Args:
        events: path of a BIDS ``_events.tsv``, or a table such as a data frame. Its columns are
            found by name: ``onset`` and ``duration`` in seconds from the first sample, and
            ``modulation``, the height of an event, which is 1 without this column.
        fs: sampling rate of the recording in Hz. For fMRI it is 1 / repetition time.
        samples: number of samples of the recording.
        names: kinds of events, in this order. Other kinds are excluded. A kind without events in
            this run has zeros. Give names if there are several runs. None, the default, is all
            kinds, sorted.
        column: name of the column with the kind of an event, by default "trial_type". None if all
            events are of one kind, which is then named "event".
        shape: "impulse", the default, is one sample at the onset. "boxcar" lasts until onset +
            duration, for at least one sample, and not beyond the end. The kernel is then the
            response to one sample of the event.

    Returns:
        x (samples, kinds), the sum of the heights of the events at a sample, and the names.

    Times are rounded to the nearest sample, halves to the even one, as `Problem` rounds
    lags. If half a sample matters, resample the recording to a higher rate first. nilearn's "fir"
    design equals "boxcar" if onsets and durations are whole samples. It spreads an event that falls
    between samples over both. It scales an event that is shorter than a sample by the duration in
    samples, and an event of duration 0 by 1 / ``oversampling``.

    Raises:
        TypeError: If ``events`` is not a table, or another argument has the wrong type.
        ValueError: If a column or a number is missing, an onset is before the first sample or after
            the last one, or a duration is negative.
        OSError: If the file is missing or cannot be read.

    Examples:
        >>> from convsolve.interop.events import impulses
        >>> events = {"onset": [2.0, 6.0], "duration": [2.0, 2.0], "trial_type": ["face", "house"]}
        >>> x, names = impulses(events, fs=0.5, samples=5)
        >>> names
        ['face', 'house']
        >>> x[:, 0]
        array([0., 1., 0., 0., 0.])

    See Also:
        `convsolve.datasets.event_related_fmri`.
    """
    rate, length = number(fs, "fs"), integer(samples, "samples")
    choice(shape, "shape", SHAPES)
    table = _table(events)
    kinds = ["event"] * len(table.places) if column is None else table.words(column)
    found = sorted(set(kinds)) if names is None else _checked(names)
    table = table.some([i for i, kind in enumerate(kinds) if kind in found])
    onsets = table.numbers("onset")
    first = np.rint(onsets * rate)
    table.check(
        (first >= 0) & (first < length), onsets,
        f"has an onset of {{:g}} s, which is nearest to no sample: the last of {length} at "
        f"{rate:g} Hz is at {(length - 1) / rate:g} s; leave it out, or correct fs and samples",
    )  # fmt: skip
    last = first + 1
    if shape == "boxcar":
        durations = table.numbers("duration")
        table.check(durations >= 0, durations, "has a duration of {:g} s; give 0 or more")
        last = np.maximum(last, np.rint((onsets + durations) * rate))
    heights = table.numbers("modulation") if "modulation" in table.columns else np.ones(len(first))
    x = np.zeros((length, len(found)))
    places = [found.index(kind) for kind in kinds if kind in found]
    spans = zip(first.astype(int), np.minimum(last, length).astype(int), strict=True)
    for place, (start, stop), height in zip(places, spans, heights, strict=True):
        x[start:stop, place] += height
    return x, found


class _Table(NamedTuple):
    """Columns by name, and where every row is found, for errors."""

    columns: dict[str, list[Any]]
    places: list[str]

    def column(self, name: str) -> list[Any]:
        if name not in self.columns:
            there = ", ".join(map(repr, self.columns)) or "none"
            hint = (
                "; name the column with the kinds of events as column="
                if name == "trial_type"
                else ""
            )
            raise ValueError(f"events have no column {name!r}; there are {there}{hint}")
        return self.columns[name]

    def words(self, name: str) -> list[str]:
        found = self.column(name)
        missing = np.array([_is_missing(word) for word in found], bool)
        self.check(~missing, found, f"has no {name}; add it, or leave the event out")
        return [str(word) for word in found]

    def numbers(self, name: str) -> np.ndarray:
        found, values = self.column(name), []
        for value, place in zip(found, self.places, strict=True):
            try:
                # Python reads 1_000, which no table means by it.
                values.append(float(str(value).replace("_", "?")))
            except (TypeError, ValueError):
                raise ValueError(f"{place} has {shown(value)} for {name}, not a number") from None
        numbers = np.array(values)
        self.check(np.isfinite(numbers), found, f"has {{!r}} for {name}, not a finite number")
        return numbers

    def some(self, rows: list[int]) -> _Table:
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        return _Table(columns, [self.places[i] for i in rows])

    def check(self, fine: np.ndarray, values: Any, words: str) -> None:
        """Raise a ValueError about the first row that is not fine."""
        if not np.all(fine):
            wrong = int(np.argmin(fine))
            raise ValueError(f"{self.places[wrong]} {words.format(values[wrong])}")


def _table(events: Any) -> _Table:
    if isinstance(events, (str, os.PathLike)):
        return _read(events)
    if not (isinstance(events, Mapping) or hasattr(events, "columns")):
        raise TypeError(
            "events must be a table with columns onset, duration and trial_type, or the path of "
            f"one, got {shown(events)}"
        )
    columns = {str(name): list(events[name]) for name in events}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"events have columns of {sorted(lengths)} rows; give one row an event")
    return _Table(columns, [f"row {i} of events" for i in range(max(lengths, default=0))])


def _read(path: str | os.PathLike[str]) -> _Table:
    """Return a table of values that are separated by tabs, below a line of names."""
    with (
        opened(path) as (stream, size),
        io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
    ):
        check_size(size, MAX_BYTES)
        reader = csv.reader(text, delimiter="\t")
        try:
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise ValueError(f"is no table ({error}); separate columns by tabs") from error
        for number_, row in rows:
            if len(row) != len(header):
                raise ValueError(
                    f"has {len(row)} columns in line {number_}, {len(header)} names above; "
                    "separate columns by tabs, and write n/a for missing values"
                )
    names = [name.strip() for name in header]
    columns = {name: [row[i].strip() for _, row in rows] for i, name in enumerate(names)}
    return _Table(columns, [f"{os.fspath(path)}: line {line}" for line, _ in rows])


def _is_missing(value: Any) -> bool:
    """Whether nothing is said: n/a in BIDS; None, NA and NaN, which is not itself, in pandas."""
    return value is None or str(value) in ("", "n/a", "<NA>") or value != value


def _checked(names: Any) -> list[str]:
    several = isinstance(names, (list, tuple)) or np.ndim(names) == 1
    if not several or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be a list of kinds of events, got {shown(names)}")
    found = [*names]
    if len(set(found)) < len(found) or not found:
        raise ValueError(f"names must be one or more, each once, got {shown(names)}")
    return found
