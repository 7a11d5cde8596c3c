"""Events, as BIDS, nilearn and Unfold list them, as channels at the rate of a recording.

With ``Problem(x, bold, lags=(0, 9), edges="zeros", bias=True)``, the kernel is the response to each
kind of event. It equals the finite impulse responses of nilearn's ``hrf_model="fir"`` with
``fir_delays=range(10)``, for events that last one repetition time. With ``basis="hrf"``, it is the
canonical response, see `convsolve.HRF`. For events between samples of the recording, take a higher
rate for x, and ``Problem(fs_y=)``.

The module needs pandas: ``pip install 'convsolve[frames]'``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import warn
from ..problem.checks import choice, integer, number
from ..text import count, shown

# Onsets may be rounded by at most so many seconds, or by this share of the least time between two
# onsets. Times of files are exact to a nanosecond.
ROUNDED, SHARE, TINY = 0.1, 0.1, 1e-9


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
        fs: sampling rate of x in Hz. For fMRI it is a multiple of 1 / repetition time, such as 10
            times, and `Problem` takes ``fs_y=``, the rate of the scans.
        samples: number of samples at this rate; for a list of tables also one number each.
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

    Times are rounded to the nearest sample, halves to the even one, as `Problem` rounds lags.
    nilearn's "fir" design is about "boxcar" if onsets and durations are whole samples. It spreads
    an event that falls between samples over both. It scales an event that is shorter than a sample
    by the duration in samples, and an event of duration 0 by 1 / ``oversampling``.

    Raises:
        TypeError: If ``events`` is not a table, or another argument has the wrong type.
        ValueError: If a column or a number is missing, a kind of ``modulators`` is unknown, an
            onset is before the recording, or a duration is negative.
        OSError: If the file is missing or cannot be read.

    Warns:
        UserWarning: If an onset is rounded by more than 0.1 s, or by more than a tenth of the
            shortest time between two onsets. If events are after the last sample; they are dropped.

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
    choice(shape, "shape", ("impulse", "boxcar"))
    tables = [_table(one, column) for one in (events if several else [events])]
    listed: Any = samples if np.ndim(samples) else [samples] * len(tables)
    if len(listed) != len(tables) or not tables:
        raise ValueError(f"samples has {len(listed)} numbers for {len(tables)} tables of events")
    lengths = np.array([integer(one, "samples") for one in listed])
    # The index has the numbers of the record and of the row.
    table = pd.concat(tables, keys=range(len(tables)), join="inner")
    kinds, words = _kinds(table, column, names)
    terms = _terms(modulators, kinds)
    table, words = (found[words.isin(kinds)] for found in (table, words))
    ends = lengths[table.index.get_level_values(0)]
    inside = np.rint(_numbers(table, "onset") * rate) < ends
    if len(inside) and not inside.any():
        raise ValueError("all events are after the last sample; onset is in seconds")
    if not inside.all():
        warn(f"{count(int((~inside).sum()), 'event')} after the last sample dropped")
    table, words = table[inside], words[inside]
    records = table.index.get_level_values(0)
    _check_rounding(table["onset"].groupby(level=0), rate)
    spans = _spans(table, lengths[records], rate, shape)
    heights: dict[str, pd.Series] = {}
    for kind in kinds:
        own, each = table[words == kind], terms.get(kind, [])
        scaled = "modulation" in {*table} - {*each}
        heights[kind] = _numbers(own, "modulation") if scaled else pd.Series(1.0, own.index)
        for term in each:
            values = _numbers(own, term)
            name = term if column is None else f"{kind} × {term}"
            heights[name] = heights[kind] * (values - values.mean() if centre else values)
    x = [np.zeros((length, len(heights))) for length in lengths]
    added = pd.DataFrame(heights, table.index).fillna(0.0).to_numpy(float)
    for record, (start, stop), height in zip(records, spans, added, strict=True):
        x[record][start:stop] += height
    return (x if several else x[0]), [*heights]


def _table(events: Any, column: str | None) -> pd.DataFrame:
    """Return a table of events, given as such or by its path."""
    if isinstance(events, (str, os.PathLike)):
        how = {"sep": "\t", "dtype": {str(column): str}, "encoding": "utf-8-sig"}
        return pd.read_csv(events, index_col=False, **how)
    if not (isinstance(events, Mapping) or hasattr(events, "columns")):
        wanted = "a table with columns onset, duration and trial_type, or the path of one"
        raise TypeError(f"events must be {wanted}, got {shown(events)}")
    return pd.DataFrame(events).reset_index(drop=True)


def _kinds(table: pd.DataFrame, column: str | None, names: Any) -> tuple[list[str], pd.Series]:
    """Return the kinds of events that are channels, and the kind of every event."""
    words = pd.Series("event", table.index) if column is None else _column(table, column)
    _refuse(words, words.isna(), "no kind")
    words = words.astype(str)
    kinds = sorted({*words}) if names is None else [*names]
    if isinstance(names, str) or not all(isinstance(kind, str) for kind in kinds):
        raise TypeError(f"names must be a list of kinds of events, got {shown(names)}")
    return kinds, words


def _terms(given: Any, kinds: list[str]) -> dict[str, list[str]]:
    """Return the modulators of every kind."""
    by_kind = given if isinstance(given, Mapping) else dict.fromkeys(kinds, given or ())
    if unknown := [kind for kind in by_kind if kind not in kinds]:
        raise ValueError(f"modulators has the kind {unknown[0]!r}; the kinds are {kinds}")
    return {k: [each] if isinstance(each, str) else [*each] for k, each in by_kind.items()}


def _spans(table: pd.DataFrame, lengths: np.ndarray, rate: float, shape: str) -> np.ndarray:
    """Return the first sample and the end (events, 2) of every event."""
    onsets = _numbers(table, "onset")
    first = np.rint(onsets * rate)
    _refuse(onsets, first < 0, "before the recording: drop this row")
    last = first + 1
    if shape == "boxcar":
        durations = _numbers(table, "duration")
        _refuse(durations, durations < 0, "a negative number")
        last = np.maximum(last, np.rint((onsets + durations) * rate))
    return np.stack([first, np.minimum(last, lengths)], 1).astype(int)


def _check_rounding(onsets: Any, rate: float) -> None:
    """Warn if the onsets of records are rounded by too much."""
    times = [np.unique(own.astype(float).round(9)) for _, own in onsets]
    off = max((np.abs(t - np.rint(t * rate) / rate).max() for t in times), default=0.0)
    least = min((np.diff(t).min() for t in times if len(t) > 1), default=np.inf)
    if off > min(ROUNDED, SHARE * least) + TINY:
        rates = "use a higher fs= and fs_y= for the rate of y"
        warn(f"onsets are rounded by up to {off:.2g} s; {rates}")


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        there = ", ".join(map(repr, table)) or "none"
        raise ValueError(f"events have no column {name!r}; there are {there}")
    return table[name]


def _numbers(table: pd.DataFrame, name: str) -> pd.Series:
    column = _column(table, name)
    values = pd.to_numeric(column, errors="coerce").astype(float)
    _refuse(column, ~np.isfinite(values), "no number")
    return values


def _refuse(column: pd.Series, rows: pd.Series, words: str) -> None:
    """Raise a ValueError for the first of some rows."""
    for (_, row), value in column[rows].items():
        raise ValueError(f"row {row} of the events has {value} for {column.name}, {words}")
