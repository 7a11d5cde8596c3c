"""Events, as BIDS, nilearn and Unfold list them, as channels at the rate of a recording.

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
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import numpy as np

from ..files import MAX_BYTES, check_size, opened
from ..problem.checks import choice, integer, number
from ..problem.splines import breakpoints, bsplines
from ..text import as_call, count, shown

SHAPES = ("impulse", "boxcar")


@dataclass(frozen=True, repr=False)
class Spline:
    """B-splines of a column of a table of events, for effects that are not linear.

    Args:
        column: name of the column.
        n: number of functions, 5 by default. `impulses` returns a channel for each except the
            first.
        degree: degree of the polynomials between knots, 3 (cubic) by default.
        knots: "quantile" (the default), so that there are equally many events between neighbouring
            knots; "even", at equal distances; or all ``n - degree + 1`` knots in ascending order,
            with both ends.

    The functions equal those of patsy's ``bs(column, df=n, degree=degree, include_intercept=True)``
    with "quantile", up to rounding.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there are not more functions than the degree, or if knots are unknown, do not
            ascend, or have another number.

    Examples:
        >>> from convsolve.interop.events import Spline
        >>> spline = Spline("amplitude", 4, knots=[0, 10])
        >>> spline.functions([1, 2, 4, 8], at=[0, 5, 10]).round(3)
        array([[1.   , 0.   , 0.   , 0.   ],
               [0.125, 0.375, 0.375, 0.125],
               [0.   , 0.   , 0.   , 1.   ]])

    See Also:
        `impulses`, which takes it in ``modulators``.
    """

    column: str
    n: int = 5
    _: KW_ONLY
    degree: int = 3
    knots: Any = "quantile"

    def __post_init__(self) -> None:
        if not isinstance(self.column, str):
            raise TypeError(f"column must be the name of a column, got {shown(self.column)}")
        degree = integer(self.degree, "degree", 0)
        n = integer(self.n, "n", degree + 1)
        object.__setattr__(self, "degree", degree)
        object.__setattr__(self, "n", n)
        if isinstance(self.knots, str):
            choice(self.knots, "knots", ("quantile", "even"), ", or numbers")
            return
        given = [number(one, "knots", -np.inf) for one in np.atleast_1d(self.knots).tolist()]
        if len(given) != n - degree + 1 or not (np.diff(given) > 0).all():
            raise ValueError(
                f"knots must be {n - degree + 1} ascending numbers for {count(n, 'function')} of "
                f"degree {degree}, got {shown(self.knots)}"
            )
        object.__setattr__(self, "knots", tuple(given))

    def __repr__(self) -> str:
        return as_call(self)

    def functions(self, values: Any, at: Any = None) -> np.ndarray:
        """Return all ``n`` functions at some values.

        Args:
            values: the column, (events,), whose range and quantiles define the knots.
            at: where the functions are evaluated, (values,). None, the default, is at ``values``.

        Returns:
            (values, n). The sum of every row is one.

        Raises:
            ValueError: If a value is outside the knots, or if the values are too few or too similar
                for so many functions.

        Examples:
            >>> from convsolve.interop.events import Spline
            >>> Spline("amplitude", 2, degree=1).functions([2.0, 4.0, 6.0], at=[3.0])
            array([[0.75, 0.25]])
        """
        known = self._numbers(values)
        if isinstance(self.knots, str):
            knots = breakpoints(known, self.n, self.degree, self.knots == "quantile")
        else:
            knots = np.array(self.knots)
        wanted = known if at is None else self._numbers(at)
        for each in (known, wanted):
            if each.min() < knots[0] or each.max() > knots[-1]:
                raise ValueError(
                    f"{self.column} has values from {each.min():g} to {each.max():g}, outside the "
                    f"knots from {knots[0]:g} to {knots[-1]:g}"
                )
        rank = 0
        if (np.diff(knots) > 0).all():
            rank = int(np.linalg.matrix_rank(bsplines(known, knots, self.degree)))
        if rank < self.n:
            raise ValueError(
                f"{self.column} has {count(len(np.unique(known)), 'different value')}, which do "
                f"not determine {count(self.n, 'function')} of degree {self.degree} with knots at "
                f"{', '.join(f'{one:.4g}' for one in knots)}; use fewer functions, a lower degree, "
                "or other knots"
            )
        return bsplines(wanted, knots, self.degree)

    def _numbers(self, values: Any) -> np.ndarray:
        found = [number(one, self.column, -np.inf) for one in np.atleast_1d(values).tolist()]
        if not found:
            raise ValueError(f"{self.column} has no values")
        return np.array(found)


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
        modulators: columns whose values modulate the height of an event: a name for a linear
            effect, a `Spline` for any smooth effect, or a list of both. A dict by kind, such as
            ``{"fixation": ["amplitude"]}``, for the events of some kinds only. None by default.
        centre: whether modulators have the mean zero over all events of a kind. With True, the
            default, the channel of the kind is the response to an average event. With False, it is
            the response to an event whose modulators are zero.

    Returns:
        x (samples, channels), and the names. For a list of tables, x is a list of arrays. A channel
        is the sum of the heights of its events at a sample, so events may overlap.

    The modulators of a kind "word" are named "word × amplitude", and for a spline "word ×
    amplitude[1]" to "word × amplitude[n - 1]". With ``column=None`` they are "amplitude" and
    "amplitude[1]". `Solution.test` takes these names. The first function of a spline is excluded,
    because the sum of all functions is the channel of the kind. ``modulation`` multiplies all
    channels of an event, unless it is itself a modulator.

    Times are rounded to the nearest sample, halves to the even one, as `Problem` rounds
    lags. If half a sample matters, resample the recording to a higher rate first. nilearn's "fir"
    design equals "boxcar" if onsets and durations are whole samples. It spreads an event that falls
    between samples over both. It scales an event that is shorter than a sample by the duration in
    samples, and an event of duration 0 by 1 / ``oversampling``.

    Raises:
        TypeError: If ``events`` is not a table, or another argument has the wrong type.
        ValueError: If a column or a number is missing, an onset is before the first sample or after
            the last one, or a duration is negative. If a modulator has too few values.
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
    if not isinstance(centre, (bool, np.bool_)):
        raise TypeError(f"centre must be True or False, got {shown(centre)}")
    listed = (
        {f"events[{i}]": one for i, one in enumerate(events)} if several else {"events": events}
    )
    tables = [_table(one, where) for where, one in listed.items()]
    lengths = _lengths(samples, len(tables), several)
    table, records = _joined(tables)
    kinds = ["event"] * len(table.places) if column is None else table.words(column)
    found = sorted(set(kinds)) if names is None else _checked(names)
    if not found:
        raise ValueError("events have no rows, and so no kinds; give the kinds as names=")
    terms = _terms(modulators, found)
    channels: list[str] = []
    placed: list[tuple[int, int, int, int, np.ndarray]] = []
    for kind in found:
        mine = [i for i, each in enumerate(kinds) if each == kind]
        own, where = table.some(mine), records[mine]
        spans = _spans(own, lengths[where], rate, shape)
        heights, named = _heights(own, terms.get(kind, []), centre)
        rows = zip(where.tolist(), *spans.T.tolist(), heights, strict=True)
        placed += [(record, start, stop, len(channels), row) for record, start, stop, row in rows]
        channels += [kind, *(named if column is None else [f"{kind} × {each}" for each in named])]
    x = [np.zeros((length, len(channels))) for length in lengths.tolist()]
    for record, start, stop, first, row in placed:
        x[record][start:stop, first : first + len(row)] += row
    return (x if several else x[0]), channels


def _lengths(samples: Any, tables: int, several: bool) -> np.ndarray:
    """Return the number of samples of every record."""
    if not several or np.ndim(samples) == 0:
        return np.repeat(integer(samples, "samples"), tables)
    if len(samples) != tables:
        raise ValueError(
            f"samples has {count(len(samples), 'number')} for {count(tables, 'table')} of events"
        )
    return np.array([integer(each, "samples") for each in samples])


def _terms(given: Any, kinds: Sequence[str]) -> dict[str, list[str | Spline]]:
    """Return the modulators of every kind."""
    given = () if given is None else given
    by_kind = given if isinstance(given, Mapping) else dict.fromkeys(kinds, given)
    for kind in by_kind:
        if kind not in kinds:
            raise ValueError(
                f"modulators has the kind {shown(kind)}; the kinds of events are "
                f"{', '.join(map(repr, kinds)) or 'none'}"
            )
    found = {}
    for kind, terms in by_kind.items():
        listed = [*terms] if isinstance(terms, (list, tuple)) else [terms]
        for term in listed:
            if not isinstance(term, (str, Spline)):
                raise TypeError(
                    "modulators must be names of columns, Splines, a list of them, or a dict by "
                    f"kind, got {shown(term)}"
                )
        channels = [(type(term), _column_of(term)) for term in listed]
        for channel in channels:
            if channels.count(channel) > 1:
                raise ValueError(f"modulators has the column {channel[1]!r} twice; give it once")
        found[kind] = listed
    return found


def _spans(own: _Table, lengths: np.ndarray, rate: float, shape: str) -> np.ndarray:
    """Return the first sample and the end (events, 2) of every event."""
    onsets = own.numbers("onset")
    first = np.rint(onsets * rate)
    ends = zip(onsets, lengths, (lengths - 1) / rate, strict=True)
    own.check(
        (first >= 0) & (first < lengths), [*ends],
        "has an onset of {0[0]:g} s, which is nearest to no sample: the last of {0[1]} at "
        f"{rate:g} Hz is at {{0[2]:g}} s; leave it out, or correct fs and samples",
    )  # fmt: skip
    last = first + 1
    if shape == "boxcar":
        durations = own.numbers("duration")
        own.check(durations >= 0, durations, "has a duration of {:g} s; give 0 or more")
        last = np.maximum(last, np.rint((onsets + durations) * rate))
    return np.stack([first, np.minimum(last, lengths)], axis=1).astype(int)


def _heights(
    own: _Table, terms: Sequence[str | Spline], centre: bool
) -> tuple[np.ndarray, list[str]]:
    """Return the heights (events, channels) of events of a kind, and the names of modulators."""
    events, columns, names = len(own.places), [np.ones((len(own.places), 1))], []
    for term in terms:
        named = _column_of(term)
        values, several = own.numbers(named), [named]
        block = values[:, None]
        if isinstance(term, Spline):
            several = [f"{named}[{i}]" for i in range(1, term.n)]
            block = term.functions(values)[:, 1:] if events else np.zeros((0, term.n - 1))
        columns.append(block - block.mean(0) if centre and events else block)
        names += several
    heights = np.concatenate(columns, axis=1)
    if "modulation" in own.columns and "modulation" not in map(_column_of, terms):
        heights = heights * own.numbers("modulation")[:, None]
    return heights, names


def _column_of(term: str | Spline) -> str:
    return term if isinstance(term, str) else term.column


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
                # Python would convert 1_000, which is no number in a table.
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


def _table(events: Any, where: str) -> _Table:
    if isinstance(events, (str, os.PathLike)):
        return _read(events)
    if not (isinstance(events, Mapping) or hasattr(events, "columns")):
        raise TypeError(
            f"{where} must be a table with columns onset, duration and trial_type, or the path of "
            f"one, got {shown(events)}"
        )
    for name in events:
        if isinstance(events[name], str) or not np.iterable(events[name]):
            raise TypeError(
                f"{where} must have lists as columns, got {name}={shown(events[name])}; a list of "
                "tables is for several records"
            )
    columns = {str(name): list(events[name]) for name in events}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"{where} have columns of {sorted(lengths)} rows; give one row an event")
    return _Table(columns, [f"row {i} of {where}" for i in range(max(lengths, default=0))])


def _joined(tables: Sequence[_Table]) -> tuple[_Table, np.ndarray]:
    """Return the rows of all tables, with the columns that all tables have, and their records."""
    if not tables:
        raise ValueError("events has no tables; give one per record")
    shared = [name for name in tables[0].columns if all(name in t.columns for t in tables)]
    columns = {name: [value for t in tables for value in t.columns[name]] for name in shared}
    places = [place for t in tables for place in t.places]
    return _Table(columns, places), np.repeat(
        np.arange(len(tables)), [len(t.places) for t in tables]
    )


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
    """Return whether a value is missing: n/a in BIDS; None, NA and NaN in pandas."""
    return value is None or str(value) in ("", "n/a", "<NA>") or value != value


def _checked(names: Any) -> list[str]:
    several = isinstance(names, (list, tuple)) or np.ndim(names) == 1
    if not several or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be a list of kinds of events, got {shown(names)}")
    found = [*names]
    if len(set(found)) < len(found) or not found:
        raise ValueError(f"names must be one or more, each once, got {shown(names)}")
    return found
