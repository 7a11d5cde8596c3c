"""A geometry stated by its lags, with y as long as x."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..text import shown
from .checks import MAX_ELEMENTS, integer
from .records import Records
from .spec import ConvSpec

EDGES = ("drop", "zeros", "circular")


def lag_bounds(lags: Any) -> list[tuple[int, ...]]:
    """First and last lag of every axis."""
    given = _listed(lags)
    if not isinstance(given, (tuple, list)) or len(given) == 0:
        raise TypeError(f"lags must be (first, last) in samples, got {shown(lags)}")
    pairs = [_listed(p) for p in given]
    pairs = pairs if isinstance(pairs[0], (tuple, list)) else [pairs]
    if any(not isinstance(p, (tuple, list)) or len(p) != 2 for p in pairs):
        raise ValueError(f"lags={shown(lags)} must be (first, last), or one such pair per axis")
    bounds = [tuple(integer(v, "lags", -MAX_ELEMENTS) for v in p) for p in pairs]
    if any(a > b for a, b in bounds):
        raise ValueError(f"lags={shown(lags)}: the first lag must not exceed the last")
    if max(b for _, b in bounds) > MAX_ELEMENTS:
        raise ValueError(f"lags={shown(lags)} overflows a 64-bit index; smaller lags are needed")
    return bounds


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def lag_geometry(
    bounds: Sequence[tuple[int, ...]], edges: str, groups: int
) -> tuple[ConvSpec, tuple[int, ...]]:
    """The geometry of lags from first to last along each axis, y being as long as x.

    And the shift of every axis, by which the lags asked for exceed those of `ConvSpec.lags`.
    """
    return _geometry(tuple(bounds), edges, integer(groups, "groups"))


@lru_cache
def _geometry(
    bounds: tuple[tuple[int, ...], ...], edges: str, groups: int
) -> tuple[ConvSpec, tuple[int, ...]]:
    size = tuple(b - a + 1 for a, b in bounds)
    if edges == "circular":
        shift = tuple(b - (k - 1) // 2 for (_, b), k in zip(bounds, size, strict=True))
        return ConvSpec(size, padding="circular", groups=groups), shift
    if edges == "zeros":
        padding = tuple((b, -a) for a, b in bounds)
        return ConvSpec(size, padding=padding, groups=groups), (0,) * len(size)
    padding = tuple((min(0, b), -max(0, a)) for a, b in bounds)
    return ConvSpec(size, padding=padding, groups=groups), tuple(max(0, b) for _, b in bounds)


def crop(x: np.ndarray, lags: Sequence[int], chosen: Sequence[int]) -> np.ndarray:
    """x (W, C) such that the ``chosen`` of the ``lags`` have the rows that all of them had, where
    edges are dropped.
    """
    start = max(0, lags[1]) - max(0, chosen[1])
    stop = len(x) + min(0, lags[0]) - min(0, chosen[0])
    return x[start:stop]


def around_zero(first: int, last: int, taps: int) -> tuple[int, int]:
    """So many of the lags from first to last, as near to lag 0 as may be."""
    start = min(max(-((taps - 1) // 2), first), last - taps + 1)
    return start, start + taps - 1


def trim(x: Records, y: Records, bounds: list[tuple[int, ...]], edges: str) -> Records:
    """y, as long as x, less the rows whose window of lags leaves the record, unless edges keep."""
    if len(x.arrays) == len(y.arrays):
        for i, (a, b) in enumerate(zip(x.arrays, y.arrays, strict=True)):
            if a.shape[:-1] != b.shape[:-1]:
                which = f" of record {i}" if len(x.arrays) > 1 else ""
                if a.shape[-1] == b.shape[0] and a.ndim == 2:
                    raise ValueError(
                        f"x{which} has {a.shape[0]} samples of {a.shape[1]} channels, "
                        f"y {b.shape[0]} samples; channels come last: transpose x"
                    )
                raise ValueError(
                    f"lags take y as long as x: x{which} has {a.shape[:-1]} samples, y "
                    f"{b.shape[:-1]}; kernel_size (--kernel-size) in place of lags takes y as long "
                    "as the output"
                )
    if edges != "drop":
        return y
    return y.each(lambda record: whole_windows(record, bounds))


def whole_windows(y: np.ndarray, bounds: list[tuple[int, ...]]) -> np.ndarray:
    """y (*W, …) where all lags lie within the record."""
    kept = (
        slice(max(0, hi), max(0, hi, n + min(0, lo)))
        for (lo, hi), n in zip(bounds, y.shape, strict=False)
    )
    return y[tuple(kept)]
