"""A geometry stated by its lags, with y as long as x."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..text import shown
from .checks import MAX_ELEMENTS, choice, integer
from .names import seconds_to_lags
from .spec import ConvSpec

EDGES = ("drop", "zeros", "circular")


class LagWindow(NamedTuple):
    """Lags from first to last along each axis, with y as long as x.

    Attributes:
        bounds: first and last lag of every axis.
        edges: "drop", "zeros" or "circular", see `Problem`.
        explicit: whether the lags were given per axis, so that the number of axes is certain.
        windows: first and last lag by channel, of which the bounds are the union; or None.
    """

    bounds: tuple[tuple[int, ...], ...]
    edges: str
    explicit: bool = True
    windows: Any = None

    @classmethod
    def of(cls, lags: Any, edges: Any) -> LagWindow:
        """Return the window of lags (first, last), or of one such pair per axis.

        Three or more consecutive integers are the lags along one axis.

        Raises:
            TypeError, ValueError: If they are not pairs of integers in ascending order, or the
                edges are unknown.
        """
        if isinstance(lags, Mapping):
            return cls._by_channel(lags, edges)
        choice(edges, "edges", EDGES)
        given = _ends(_listed(lags))
        if not isinstance(given, (tuple, list)) or len(given) == 0:
            hint = f"; use lags=(0, {lags - 1}) for {lags} lags" if _is_count(given) else ""
            raise TypeError(f"lags must be (first, last) in samples, got {shown(lags)}{hint}")
        pairs = [_listed(p) for p in given]
        explicit = isinstance(pairs[0], (tuple, list))
        pairs = pairs if explicit else [pairs]
        if any(not isinstance(p, (tuple, list)) or len(p) != 2 for p in pairs):
            raise ValueError(f"lags={shown(lags)} must be (first, last), or one such pair per axis")
        if any(isinstance(v, (float, np.floating)) for p in pairs for v in p):
            raise TypeError(
                f"lags={shown(lags)} must be whole numbers, in samples; for seconds use tmin= and "
                "tmax= with fs="
            )
        bounds = tuple(tuple(integer(v, "lags", -MAX_ELEMENTS) for v in p) for p in pairs)
        if any(a > b for a, b in bounds):
            raise ValueError(f"lags={shown(lags)}: the first lag must not exceed the last")
        if max(b for _, b in bounds) > MAX_ELEMENTS:
            raise ValueError(
                f"lags={shown(lags)} overflows a 64-bit index; smaller lags are needed"
            )
        return cls(bounds, edges, explicit)

    @classmethod
    def _by_channel(cls, lags: Mapping[Any, Any], edges: Any) -> LagWindow:
        """Return the union of the windows of channels."""
        if not lags:
            raise ValueError("lags has no channels; give (first, last) of every channel")
        choice(edges, "edges", EDGES)
        each = {}
        for channel, window in lags.items():
            with _errors_of(channel):
                each[channel] = cls.of(window, edges).bounds
        if any(len(bounds) > 1 for bounds in each.values()):
            raise ValueError("lags by channel are for kernels with one axis")
        windows = {channel: bounds[0] for channel, bounds in each.items()}
        first, last = zip(*windows.values(), strict=True)
        return cls(((min(first), max(last)),), edges, True, windows)

    def geometry(self, groups: int) -> tuple[ConvSpec, tuple[int, ...]]:
        """Return the geometry, and by how much the lags exceed the lags of `ConvSpec` per axis."""
        return _geometry(self.bounds, self.edges, integer(groups, "groups"))

    def rows(self, values: Any) -> Any:
        """Return values (*W, …) of the rows of a record, for values of all of its samples.

        One value () for the whole record is returned unchanged.
        """
        if self.edges != "drop" or not values.ndim:
            return values
        kept = (
            slice(max(0, hi), max(0, hi, n + min(0, lo)))
            for (lo, hi), n in zip(self.bounds, values.shape, strict=False)
        )
        return values[tuple(kept)]

    def part(self, first: int, last: int) -> LagWindow:
        """Return the window of lags ``first`` to ``last``, counted from its own first lag."""
        ((start, _),) = self.bounds
        return LagWindow(((start + first, start + last),), self.edges)

    def shorter(self, size: Sequence[int]) -> LagWindow:
        """Return the window with ``size`` lags per axis, as near to lag 0 as possible."""
        starts = [
            min(max(-((k - 1) // 2), first), last - k + 1)
            for (first, last), k in zip(self.bounds, size, strict=True)
        ]
        bounds = tuple((a, a + k - 1) for a, k in zip(starts, size, strict=True))
        return LagWindow(bounds, self.edges)


def lags_of_times(tmin: Any, tmax: Any, fs: Any) -> Any:
    """Convert windows in seconds to lags in samples: one window, or a dict of them by channel.

    If one end is a dict, the other may be one number for all channels.

    Raises:
        TypeError, ValueError: As `seconds_to_lags`, and if a channel has only one of the two ends.
    """
    ends = {"tmin": tmin, "tmax": tmax}
    by_channel = [end for end in ends.values() if isinstance(end, Mapping)]
    if not by_channel:
        return seconds_to_lags(tmin, tmax, fs)
    if not any(by_channel):
        raise ValueError("tmin and tmax have no channels; give the times of every channel")
    found = {}
    for channel in dict.fromkeys(channel for end in by_channel for channel in end):
        for name, end in ends.items():
            if isinstance(end, Mapping) and channel not in end:
                raise ValueError(f"{name} has no value for the channel {shown(channel)}")
        first, last = (e[channel] if isinstance(e, Mapping) else e for e in ends.values())
        with _errors_of(channel):
            found[channel] = seconds_to_lags(first, last, fs)
    return found


@contextmanager
def _errors_of(channel: Any) -> Iterator[None]:
    """Name the channel in errors of its window."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"channel {channel}: {error}") from None


def _listed(value: Any) -> Any:
    if isinstance(value, range) and value.step == 1 and value:
        return [value[0], value[-1]]
    return value.tolist() if isinstance(value, (np.ndarray, np.integer)) else value


def _is_count(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given > 0


def _ends(given: Any) -> Any:
    """Return the first and the last of three or more consecutive integers."""
    several = isinstance(given, (tuple, list)) and len(given) > 2
    if (
        several
        and all(type(v) is int for v in given)
        and given == type(given)(range(given[0], given[0] + len(given)))
    ):
        return [given[0], given[-1]]
    return given


@lru_cache
def _geometry(
    bounds: tuple[tuple[int, ...], ...], edges: str, groups: int
) -> tuple[ConvSpec, tuple[int, ...]]:
    size = tuple(b - a + 1 for a, b in bounds)
    if edges == "circular":
        lo = tuple(b for _, b in bounds)
        return ConvSpec(size, padding="circular", groups=groups, lo=lo), (0,) * len(size)
    if edges == "zeros":
        padding = tuple((b, -a) for a, b in bounds)
        return ConvSpec(size, padding=padding, groups=groups), (0,) * len(size)
    padding = tuple((min(0, b), -max(0, a)) for a, b in bounds)
    return ConvSpec(size, padding=padding, groups=groups), tuple(max(0, b) for _, b in bounds)
