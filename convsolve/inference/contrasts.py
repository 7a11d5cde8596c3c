"""Contrasts of the taps that a test compares with given values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..operators.layout import reversed_taps
from ..problem.checks import index, number
from ..problem.geometry import lags_of_times, read_bounds
from ..problem.kernel_space import KernelSpace
from ..problem.names import Names
from ..text import shown
from .uncertainty import DEPENDENT


class Hypothesis(NamedTuple):
    """Sums of taps, and the values that are tested.

    Attributes:
        rows: the contrast (q, P) of every group, or None for a group without tested taps.
        value: (q,).
        has_scale: whether the sums have a scale; not if they stand for more sums of taps.
    """

    rows: list[np.ndarray | None]
    value: np.ndarray
    has_scale: bool = True


class Taps:
    """The taps of one output: their lags, channels and groups."""

    def __init__(
        self,
        shape: tuple[int, ...],
        groups: int,
        names: Names,
        lags: Sequence[np.ndarray],
        space: KernelSpace | None = None,
    ) -> None:
        """Store the shape (*K, Cin/groups, Cout) of a kernel, and the ascending lags per axis.

        ``space`` are the kernels of the problem, by default all kernels.
        """
        self._space = space
        self._own, self._groups, self._names, self._lags = shape[:-1], groups, names, lags
        self._each, self._count = shape[-2], math.prod(shape[:-2])

    def hypothesis(
        self, channels: Any, contrast: Any, value: Any, within: tuple[Any, Any, Any]
    ) -> Hypothesis:
        """Return the tested sums of taps and their values.

        Args:
            channels: names or numbers, or a mapping from them to weights, or None. Names may be
                names of coefficients.
            contrast: weights of all taps, or None.
            value: a number, or one per row of the contrast.
            within: window of lags, as tmin, tmax and lags.

        Raises:
            TypeError: If channels (or a window) and contrast are both given or both missing, or
                values are not numbers.
            ValueError: If a channel, coefficient or lag does not exist, if channels of several
                groups are to be summed, or if shapes do not fit.
        """
        windowed = any(bound is not None for bound in within)
        if (channels is None and not windowed) == (contrast is None) or (
            contrast is not None and windowed
        ):
            raise TypeError("test needs channels= or a window of lags, or contrast= alone")
        tested = self._window(*within) if windowed else np.ones(self._count, bool)
        rows: Sequence[np.ndarray | None]
        if contrast is not None:
            rows = [self._given(contrast)] * self._groups
        elif coefficients := self._coefficients(channels):
            if windowed:
                raise TypeError("a window of lags is for channels, not for coefficients of a basis")
            rows = self._sums_of_coefficients(coefficients, channels)
        elif isinstance(channels, Mapping):
            rows = self._weighted(channels, tested)
        else:
            rows = self._whole(channels, tested)
        reverse = reversed_taps(self._count * self._each, self._each)
        found = [None if r is None else r[:, reverse] for r in rows]
        size = next(len(r) for r in found if r is not None)
        against = _finite(value, "value")
        if against.shape not in ((), (size,)):
            raise ValueError(
                f"value has shape {against.shape}, expected a number or {size} of them"
            )
        against = np.broadcast_to(against, (size,))
        if self._space is None:
            return Hypothesis(found, against)
        return self._independent(found, against, contrast is None)

    def _independent(
        self, rows: list[np.ndarray | None], value: np.ndarray, of_channels: bool
    ) -> Hypothesis:
        """Return fewer rows that state the same about the kernels of the space.

        The taps of a kernel in a basis are dependent, and a test needs independent rows. If one row
        is left of several, and the channels have one function each, it is the weighted sum of their
        coefficients, for rows that are sums ``of_channels`` at single lags.
        """
        assert self._space is not None
        found: list[np.ndarray | None] = []
        tested, has_scale = value, True
        for row in rows:
            if row is None:
                found.append(None)
                continue
            kernels = row.reshape(len(row), self._count, self._each)
            if kernels[:, ~self._space.kept].any():
                raise ValueError(
                    "the tested sums have taps outside of the lags of their channel, which are zero"
                )
            # Squares of very large or small weights leave the range of float64.
            largest = np.abs(row).max(1)
            largest = np.where(largest > 0, largest, 1.0)
            size = largest * np.maximum(np.linalg.norm(row / largest[:, None], axis=1), 1.0)
            scaled, target = self._space.restricted(kernels) / size[:, None], value / size
            u, s, _ = np.linalg.svd(scaled, full_matrices=False)
            u = u[:, s > DEPENDENT]
            if not u.shape[1]:
                raise ValueError("the tested sums of taps are zero for all kernels of the problem")
            if np.linalg.norm(target - u @ (u.T @ target)) > DEPENDENT * np.linalg.norm(target):
                raise ValueError("no kernel of the basis has these values at the tested taps")
            own = np.eye(len(row))
            if u.shape[1] < len(row):
                own = u.T / size
                scale = self._scale(kernels, own @ row) if of_channels and len(own) == 1 else 0.0
                own, has_scale = own * (scale or 1.0), scale != 0
            tested = own @ value
            found.append(own @ row)
        return Hypothesis(found, tested, has_scale)

    def _scale(self, kernels: np.ndarray, row: np.ndarray) -> float:
        """Return the factor that turns a sum of taps into a weighted sum of coefficients.

        Args:
            kernels: weights (q, K, channels) of the channels, at one lag per row.
            row: a sum of taps (1, P) of the same meaning. Its factor is 0 unless the channels have
                one function each.
        """
        assert self._space is not None
        for c in np.flatnonzero(kernels.any((0, 1))):
            own, weight = self._space.channels[c], kernels[..., c].sum(1)
            if own.matrix is None or own.count > 1:
                return 0.0
            coefficient = float(row.reshape(kernels.shape[1:])[own.kept, c] @ own.matrix[:, 0])
            if abs(coefficient) > DEPENDENT * np.linalg.norm(row) * np.linalg.norm(own.matrix):
                return float(weight[np.abs(weight).argmax()]) / coefficient
        return 0.0

    # --- contrasts (q, taps · channels) of every group, in ascending lags

    def _whole(self, channels: Any, tested: np.ndarray) -> list[np.ndarray | None]:
        """Return a row for every tested tap of some channels; None are all channels."""
        if channels is None:
            channels = range(self._each * self._groups)
        several = isinstance(channels, (list, tuple, range)) or np.ndim(channels)
        chosen = sorted(set(self._numbers([*channels] if several else [channels])))
        rows: list[np.ndarray | None] = []
        for g in range(self._groups):
            mine = [c - g * self._each for c in chosen if c // self._each == g]
            kept = tested[:, None] & np.isin(np.arange(self._each), mine)
            if self._space is not None:
                kept = kept & self._space.kept[::-1]
            rows.append(np.eye(kept.size)[kept.reshape(-1)] if mine else None)
        return _of_one_size(rows)

    def _weighted(self, channels: Mapping[Any, Any], tested: np.ndarray) -> list[np.ndarray | None]:
        """Return a row for every tested lag, which is a weighted sum of channels."""
        numbers = self._numbers([*channels])
        values = _weights(channels)
        if len(set(numbers)) < len(numbers):
            twice = next(c for c in numbers if numbers.count(c) > 1)
            raise ValueError(f"channels has {self._names.channel(twice)} twice, by name and number")
        group = _one_group([c // self._each for c in numbers])
        weights = np.zeros(self._each)
        weights[[c % self._each for c in numbers]] = values
        if self._space is not None:
            tested = tested & self._space.kept[::-1, weights != 0].any(1)
        rows: list[np.ndarray | None] = [None] * self._groups
        rows[group] = np.kron(np.eye(self._count)[tested], weights)
        return rows

    def _coefficients(self, channels: Any) -> list[tuple[int, int]]:
        """Return group and number of every coefficient given by name; empty for channels."""
        if self._space is None:
            return []
        several = isinstance(channels, (list, tuple, range, Mapping)) or np.ndim(channels)
        given = [*channels] if several else [channels]
        # A channel may have the name of a coefficient, and is then meant.
        words = [c for c in given if isinstance(c, str) and c not in (self._names.channels or ())]
        if not words:
            return []
        known = self._known_coefficients
        for word in words:
            if word not in known:
                channels = self._names.all("channel", self._each * self._groups)
                raise ValueError(
                    f"there is no channel or coefficient {shown(word)}: the channels are "
                    f"{', '.join(map(str, channels))}"
                )
        if len(words) < len(given):
            raise ValueError(f"give channels or coefficients, not both, got {shown(given)}")
        found = [known[word] for word in words]
        for word, (_, i) in zip(words, found, strict=True):
            if not self._space.determined[i]:
                raise ValueError(
                    f"the coefficient {shown(word)} is not determined, because the functions of "
                    "the basis are dependent"
                )
        return found

    @property
    def _known_coefficients(self) -> dict[str, tuple[int, int]]:
        """Group and number of every coefficient, by name."""
        if self._space is None:
            return {}
        lags = self._lags[0][::-1]
        return {
            name: (g, i)
            for g in range(self._groups)
            for i, name in enumerate(self._space.coefficient_names(self._names, lags, g))
        }

    def _sums_of_coefficients(
        self, coefficients: Sequence[tuple[int, int]], channels: Any
    ) -> list[np.ndarray | None]:
        """Return a row for every coefficient, or for the weighted sum that a mapping states."""
        assert self._space is not None
        summed = isinstance(channels, Mapping)
        values = _weights(channels) if summed else np.ones(len(coefficients))
        if summed:
            _one_group([g for g, _ in coefficients])
        rows: list[np.ndarray | None] = []
        for g in range(self._groups):
            # Every coefficient once, in the given order.
            pairs = zip(coefficients, values, strict=True)
            mine = {i: value for (own, i), value in pairs if own == g}
            weights = np.zeros((len(mine), self._space.count))
            weights[np.arange(len(mine)), [*mine]] = [*mine.values()]
            weights = weights.sum(0, keepdims=True) if summed else weights
            taps = self._space.sums_of_taps(weights)[:, ::-1]
            rows.append(taps.reshape(len(weights), -1) if mine else None)
        return _of_one_size(rows)

    def _given(self, contrast: Any) -> np.ndarray:
        """Return the rows of a contrast in the shape of an impulse response."""
        given, own = _finite(contrast, "contrast"), self._own
        # The channel axis may be omitted if there is one channel.
        shapes = [own] if self._each > 1 else [own, own[:-1]]
        if not (given.shape in shapes or (given.shape[1:] in shapes and given.size)):
            raise ValueError(
                f"contrast has shape {given.shape}, expected (lags, channels) = {own}, or "
                f"(q, {', '.join(map(str, own))}) for several"
            )
        rows = given.reshape(-1, self._count * self._each)
        if not rows.any(1).all():
            raise ValueError(f"row {int(np.argmin(rows.any(1)))} of the contrast is zero")
        return rows

    def _numbers(self, channels: Sequence[Any]) -> list[int]:
        """Return the numbers of channels given by name or number."""
        if not channels:
            raise ValueError("channels is empty")
        size = self._each * self._groups
        return [index(self._names.number("channel", c), "channels", size) for c in channels]

    def _window(self, tmin: Any, tmax: Any, lags: Any) -> np.ndarray:
        """Return flags (lags,) of the taps in a window, in ascending lags."""
        if len(self._lags) > 1:
            raise ValueError("a window of lags needs a kernel with one axis")
        (own,), in_seconds = self._lags, not (tmin is None and tmax is None)
        if in_seconds and lags is not None:
            raise TypeError("give either lags= in samples, or tmin= and tmax= in seconds")
        if in_seconds:
            first, last = self._in_samples(tmin, tmax, own)
        else:
            bounds, _ = read_bounds(lags)
            if len(bounds) > 1:
                raise ValueError(f"lags={shown(lags)} must be (first, last): there is one axis")
            first, last = bounds[0]
        tested = (own >= first) & (own <= last)
        if not tested.any():
            given = f"{tmin=}, {tmax=}" if in_seconds else f"lags={shown(lags)}"
            raise ValueError(
                f"the window {given} contains no lag of the kernel, "
                f"{self._names.lags(own.tolist())}"
            )
        return np.asarray(tested)

    def _in_samples(self, tmin: Any, tmax: Any, own: np.ndarray) -> tuple[int, int]:
        """Return a window in samples; an end that is None is the end of the kernel."""
        fs = self._names.fs
        if fs is None:
            raise ValueError("tmin= and tmax= need a sampling rate: state the problem with fs=")
        # The other end may lie outside of the kernel, and the window is then empty.
        if tmin is None:
            tmin = min(own[0] / fs, number(tmax, "tmax", -math.inf))
        elif tmax is None:
            tmax = max(own[-1] / fs, number(tmin, "tmin", -math.inf))
        return lags_of_times(tmin, tmax, fs)


def _of_one_size(rows: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """Return the rows of all groups, or raise a ValueError if groups differ in their number."""
    if len({len(r) for r in rows if r is not None}) > 1:
        raise ValueError("channels must have the same number in every group")
    return rows


def _one_group(groups: Sequence[int]) -> int:
    """Return the group of all channels of a sum, or raise a ValueError."""
    several = sorted(set(groups))
    if len(several) > 1:
        raise ValueError(f"a weighted sum needs channels of one group, got the groups {several}")
    return several[0]


def _weights(channels: Mapping[Any, Any]) -> np.ndarray:
    """Return the weights of a sum of channels or coefficients."""
    found = _finite([*channels.values()], "the weights of channels")
    if found.shape != (len(channels),) or not found.any():
        raise ValueError(
            f"the weights of channels must be numbers, not all zero, got {shown(channels)}"
        )
    return found


def _finite(value: Any, name: str) -> np.ndarray:
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.array(None)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {shown(value)}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    return found.astype(float)
