"""Events, as BIDS, nilearn and Unfold list them, as channels at the rate of a recording.

With ``Problem(x, bold, lags=(0, 9), edges="zeros", bias=True)``, the kernel is the response to each
kind of event. It equals the finite impulse responses of nilearn's ``hrf_model="fir"`` with
``fir_delays=range(10)``, for events that last one repetition time. With ``basis="hrf"``, it is the
canonical response, see `convsolve.HRF`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..problem.checks import choice, integer, number
from ..text import count, shown

SHAPES = ("impulse", "boxcar")
MISSING = ("", "n/a", "<NA>", "nan", "None")


def impulses(
    events: Any,
    *,
    fs: float,
    samples: int | Sequence[int],
    names: Sequence[str] | None = None,
    column: str | None = "trial_type",
    shape: str = "impulse",
    modulators: Any = (),
    centre: bool = True,
) -> tuple[Any, list[str]]:
    """Return a channel for every kind of event and every modulator, and their names.

    Args:
        events: path of a BIDS ``_events.tsv``, or a table such as a data frame; or a list of them,
            one per record. Columns are found by name: ``onset`` and ``duration`` in seconds from
            the first sample, and ``modulation``, the height of an event, which is 1 without this
            column.
        fs: sampling rate of the recording in Hz. For fMRI it is 1 / repetition time.
        samples: number of samples of the recording; for a list of tables also one number each.
        names: kinds of events, in this order. Other kinds are excluded. A kind without events has
            zeros. None, the default, is all kinds of all tables, sorted.
        column: name of the column with the kind of an event, by default "trial_type". None if all
            events are of one kind, which is then named "event".
        shape: "impulse", the default, is one sample at the onset. "boxcar" lasts until onset +
            duration, for at least one sample, and not beyond the end. The kernel is then the
            response to one sample of the event.
        modulators: columns whose values modulate the height of an event: a name, or a list of
            names. A dict by kind, such as ``{"fixation": ["amplitude"]}``, for the events of some
            kinds only. None by default.
        centre: whether modulators have the mean zero over all events of a kind. With True, the
            default, the channel of the kind is the response to an average event. With False, it is
            the response to an event whose modulators are zero.

    Returns:
        x (samples, channels), and the names. For a list of tables, x is a list of arrays. A channel
        is the sum of the heights of its events at a sample, so events may overlap.

    The modulators of a kind "word" are named "word × amplitude", and "amplitude" with
    ``column=None``. `Solution.test` takes these names. ``modulation`` multiplies all channels of an
    event, unless it is itself a modulator. For an effect that is not linear, add columns to the
    table, such as powers or splines of a column.

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
        >>> events = {
        ...     "onset": [2.0, 6.0, 8.0],
        ...     "trial_type": ["tone", "word", "tone"],
        ...     "contrast": [0.25, 0.5, 0.75],
        ... }
        >>> x, names = impulses(events, fs=0.5, samples=5, modulators={"tone": "contrast"})
        >>> names
        ['tone', 'tone × contrast', 'word']
        >>> x[:, :2].T
        array([[ 0.  ,  1.  ,  0.  ,  0.  ,  1.  ],
               [ 0.  , -0.25,  0.  ,  0.  ,  0.25]])

    See Also:
        `convsolve.datasets.event_related_fmri`.
    """
    rate, several = number(fs, "fs"), isinstance(events, (list, tuple))
    choice(shape, "shape", SHAPES)
    tables = [_table(one) for one in (events if several else [events])]
    if not tables:
        raise ValueError("events has no tables")
    given: Any = samples if np.ndim(samples) else [samples] * len(tables)
    if len(given) != len(tables):
        raise ValueError(
            f"samples has {count(len(given), 'number')} for {count(len(tables), 'table')} of events"
        )
    lengths = np.array([integer(one, "samples") for one in given])
    records = np.repeat(np.arange(len(tables)), [len(_column(t, "onset")) for t in tables])
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    table = {name: [value for one in tables for value in one[name]] for name in shared}
    words = ["event"] * len(records) if column is None else _words(table, column)
    kinds = sorted(set(words)) if names is None else _checked(names)
    if not kinds:
        raise ValueError("events have no rows, and so no kinds")
    spans = _spans(table, lengths[records], rate, shape, np.isin(words, kinds))
    terms = _terms(modulators, kinds)
    x = [np.zeros((length, 0)) for length in lengths]
    channels: list[str] = []
    for kind in kinds:
        rows = np.flatnonzero([word == kind for word in words])
        heights = _heights(table, rows, terms.get(kind, []), centre)
        added = [np.zeros((length, heights.shape[1])) for length in lengths]
        for row, height in zip(rows, heights, strict=True):
            added[records[row]][slice(*spans[row])] += height
        x = [np.hstack(pair) for pair in zip(x, added, strict=True)]
        each = terms.get(kind, [])
        channels += [kind, *(each if column is None else [f"{kind} × {one}" for one in each])]
    return (x if several else x[0]), channels


def _terms(given: Any, kinds: Sequence[str]) -> dict[str, list[str]]:
    """Return the modulators of every kind."""
    given = () if given is None else given
    by_kind = given if isinstance(given, Mapping) else dict.fromkeys(kinds, given)
    found = {}
    for kind, terms in by_kind.items():
        if kind not in kinds:
            raise ValueError(
                f"modulators has the kind {shown(kind)}; the kinds of events are "
                f"{', '.join(map(repr, kinds))}"
            )
        found[kind] = [*terms] if isinstance(terms, (list, tuple)) else [terms]
        if not all(isinstance(term, str) for term in found[kind]):
            raise TypeError(
                "modulators must be names of columns, a list of them, or a dict by kind, got "
                f"{shown(terms)}"
            )
        if len({*found[kind]}) < len(found[kind]):
            raise ValueError(f"modulators has a column twice, got {shown(terms)}")
    return found


def _spans(
    table: dict[str, list[Any]], lengths: np.ndarray, rate: float, shape: str, used: np.ndarray
) -> np.ndarray:
    """Return the first sample and the end (events, 2) of every event that is used."""
    rows, spans = np.flatnonzero(used), np.zeros((len(used), 2), int)
    onsets, lengths = _numbers(table, "onset", rows), lengths[rows]
    first = np.rint(onsets * rate)
    for row, onset, at, length in zip(rows, onsets, first, lengths, strict=True):
        if not 0 <= at < length:
            raise ValueError(
                f"row {row} of the events has an onset of {onset:g} s, outside the record of "
                f"{count(length, 'sample')} at {rate:g} Hz"
            )
    last = first + 1
    if shape == "boxcar":
        durations = _numbers(table, "duration", rows)
        if (durations < 0).any():
            row = rows[np.argmax(durations < 0)]
            raise ValueError(f"row {row} of the events has a negative duration")
        last = np.maximum(last, np.rint((onsets + durations) * rate))
    spans[rows] = np.stack([first, np.minimum(last, lengths)], axis=1)
    return spans


def _heights(
    table: dict[str, list[Any]], rows: np.ndarray, terms: Sequence[str], centre: bool
) -> np.ndarray:
    """Return the heights (events, channels) of the events of a kind."""
    heights = np.ones((len(rows), 1 + len(terms)))
    for i, term in enumerate(terms, 1):
        values = _numbers(table, term, rows)
        heights[:, i] = values - values.mean() if centre and len(rows) else values
    if "modulation" in table and "modulation" not in terms:
        heights *= _numbers(table, "modulation", rows)[:, None]
    return heights


def _column(table: Mapping[str, list[Any]], name: str) -> list[Any]:
    if name not in table:
        there = ", ".join(map(repr, table)) or "none"
        raise ValueError(f"events have no column {name!r}; there are {there}")
    return table[name]


def _words(table: dict[str, list[Any]], name: str) -> list[str]:
    found = [*map(str, _column(table, name))]
    for row, word in enumerate(found):
        if word in MISSING:
            raise ValueError(f"row {row} of the events has no {name}")
    return found


def _numbers(table: dict[str, list[Any]], name: str, rows: np.ndarray) -> np.ndarray:
    found, values = _column(table, name), []
    for row in rows:
        try:
            values.append(float(found[row]))
        except (TypeError, ValueError):
            values.append(np.nan)
        if not np.isfinite(values[-1]):
            raise ValueError(f"row {row} of the events has {found[row]!r} for {name}, no number")
    return np.array(values)


def _table(events: Any) -> dict[str, list[Any]]:
    """Return the columns of a table by name."""
    if isinstance(events, (str, os.PathLike)):
        with open(events, encoding="utf-8-sig", newline="") as text:
            header, *lines = [row for row in csv.reader(text, delimiter="\t") if row] or [[]]
        if any(len(line) != len(header) for line in lines):
            raise ValueError(
                f"{os.fspath(events)}: has lines with more or fewer columns than names"
            )
        return {name.strip(): [line[i] for line in lines] for i, name in enumerate(header)}
    if not (isinstance(events, Mapping) or hasattr(events, "columns")):
        raise TypeError(
            "events must be a table with columns onset, duration and trial_type, or the path of "
            f"one, got {shown(events)}"
        )
    columns = {str(name): list(events[name]) for name in events}
    if len({*map(len, columns.values())}) > 1:
        raise ValueError("events have columns of different length")
    return columns


def _checked(names: Any) -> list[str]:
    listed = isinstance(names, (list, tuple)) or np.ndim(names) == 1
    if not listed or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be a list of kinds of events, got {shown(names)}")
    if len(set(names)) < len(names) or not len(names):
        raise ValueError(f"names must be one or more, each once, got {shown(names)}")
    return [*names]
