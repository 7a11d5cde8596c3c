"""Contrasts of the taps that a test compares with given values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..operators.layout import reversed_taps
from ..problem.checks import integer, number
from ..problem.geometry import lags_of_times, read_bounds
from ..problem.kernel_space import KernelSpace
from ..problem.names import Names
from ..text import shown
from .errors import DEPENDENT


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


class Taps(NamedTuple):
    """The taps of one output.

    Attributes:
        shape: shape (*K, Cin/groups, Cout) of a kernel.
        groups: number of groups.
        names: names of the channels.
        lags: ascending lags per axis.
        space: the kernels of the problem, or None for all kernels.
    """

    shape: tuple[int, ...]
    groups: int
    names: Names
    lags: Sequence[np.ndarray]
    space: KernelSpace | None = None

    @property
    def _each(self) -> int:
        return self.shape[-2]

    @property
    def _count(self) -> int:
        return math.prod(self.shape[:-2])

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
        of_channels = channels is not None or windowed
        if of_channels == (contrast is not None):
            raise TypeError("test needs channels= or a window of lags, or contrast= alone")
        tested = self._window(*within) if windowed else None
        rows = self._of_channels(channels, tested) if of_channels else self._of_taps(contrast)
        reverse = reversed_taps(self._count * self._each, self._each)
        found = [None if r is None else r[:, reverse] for r in rows]
        size, against = next(len(r) for r in found if r is not None), _finite(value, "value")
        if against.shape not in ((), (size,)):
            raise ValueError(
                f"value has shape {against.shape}, expected a number or {size} of them"
            )
        against = np.broadcast_to(against, (size,))
        if self.space is None:
            return Hypothesis(found, against)
        return self._independent(found, against, of_channels)

    # --- contrasts (q, taps · channels) of every group, in ascending lags

    def _of_channels(self, channels: Any, tested: np.ndarray | None) -> list[np.ndarray | None]:
        """Return a row for every tested tap or coefficient, or for a weighted sum at every lag."""
        summed = isinstance(channels, Mapping)
        several = summed or isinstance(channels, (list, tuple, range)) or np.ndim(channels)
        every = range(self._each * self.groups) if channels is None else channels
        keys = [*every] if several or channels is None else [channels]
        weights = _weights(channels) if summed else np.ones(len(keys))
        coefficients = self._coefficients(keys)
        if coefficients and tested is not None:
            raise TypeError("a window of lags is for channels, not for coefficients of a basis")
        places = coefficients or [divmod(c, self._each) for c in self._numbers(keys, summed)]
        if summed and len(groups := sorted({g for g, _ in places})) > 1:
            raise ValueError(f"a weighted sum needs channels of one group, got the groups {groups}")
        flags = np.ones(self._count, bool) if tested is None else tested
        rows: list[np.ndarray | None] = []
        for g in range(self.groups):
            own = {i: w for (of, i), w in zip(places, weights, strict=True) if of == g}
            if not own:
                rows.append(None)
            elif coefficients:
                rows.append(self._coefficient_rows(own, summed))
            else:
                rows.append(self._channel_rows(own, summed, flags))
        if len({len(r) for r in rows if r is not None}) > 1:
            raise ValueError("channels must have the same number in every group")
        return rows

    def _channel_rows(self, own: dict[int, float], summed: bool, tested: np.ndarray) -> np.ndarray:
        """Return rows of some channels of a group with weights, at the tested lags (K,)."""
        weights = np.zeros(self._each)
        weights[[*own]] = [*own.values()]
        kept = tested[:, None] & (weights != 0)
        if self.space is not None:
            kept &= self.space.kept[::-1]
        if summed:
            return np.kron(np.eye(self._count)[kept.any(1)], weights)
        return np.eye(kept.size)[kept.reshape(-1)]

    def _coefficient_rows(self, own: dict[int, float], summed: bool) -> np.ndarray:
        """Return rows of some coefficients of a group with weights."""
        assert self.space is not None
        weights = np.zeros((len(own), self.space.count))
        weights[np.arange(len(own)), [*own]] = [*own.values()]
        taps = self.space.sums_of_taps(weights.sum(0, keepdims=True) if summed else weights)
        return taps[:, ::-1].reshape(len(taps), -1)

    def _coefficients(self, keys: Sequence[Any]) -> list[tuple[int, int]]:
        """Return group and number of every coefficient given by name; empty for channels."""
        # A channel may have the name of a coefficient, and is then meant.
        words = [c for c in keys if isinstance(c, str) and c not in (self.names.channels or ())]
        if self.space is None or not words:
            return []
        lags, known = self.lags[0][::-1], dict[str, tuple[int, int]]()
        for g in range(self.groups):
            names = self.space.coefficient_names(self.names, lags, g)
            known |= {name: (g, i) for i, name in enumerate(names)}
        for word in words:
            if word not in known:
                channels = self.names.all("channel", self._each * self.groups)
                raise ValueError(
                    f"there is no channel or coefficient {shown(word)}: the channels are "
                    f"{', '.join(map(str, channels))}"
                )
            if len(words) < len(keys):
                raise ValueError(f"give channels or coefficients, not both, got {shown([*keys])}")
            if not self.space.determined[known[word][1]]:
                raise ValueError(
                    f"the coefficient {shown(word)} is not determined, because the functions of "
                    "the basis are dependent"
                )
        return [known[word] for word in words]

    def _numbers(self, keys: Sequence[Any], once: bool) -> list[int]:
        """Return the numbers of channels given by name or number, each ``once`` in a sum."""
        if not keys:
            raise ValueError("channels is empty")
        size = self._each * self.groups
        found = [integer(self.names.number("channel", c), "channels", 0, size - 1) for c in keys]
        twice = [c for c in found if found.count(c) > 1]
        if once and twice:
            raise ValueError(
                f"channels has {self.names.channel(twice[0])} twice, by name and number"
            )
        return found

    def _of_taps(self, contrast: Any) -> list[np.ndarray | None]:
        """Return the rows of a contrast in the shape of an impulse response."""
        given, own = _finite(contrast, "contrast"), self.shape[:-1]
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
        return [rows] * self.groups

    def _window(self, tmin: Any, tmax: Any, lags: Any) -> np.ndarray:
        """Return flags (lags,) of the taps in a window, in ascending lags."""
        if len(self.lags) > 1:
            raise ValueError("a window of lags needs a kernel with one axis")
        (own,), in_seconds, fs = self.lags, not (tmin is None and tmax is None), self.names.fs
        if in_seconds and lags is not None:
            raise TypeError("give either lags= in samples, or tmin= and tmax= in seconds")
        if in_seconds and fs is None:
            raise ValueError("tmin= and tmax= need a sampling rate: state the problem with fs=")
        if in_seconds:
            # The other end may lie outside of the kernel, and the window is then empty.
            first = min(own[0] / fs, number(tmax, "tmax", -math.inf)) if tmin is None else tmin
            last = max(own[-1] / fs, number(tmin, "tmin", -math.inf)) if tmax is None else tmax
            first, last = lags_of_times(first, last, fs)
        else:
            bounds, _ = read_bounds(lags)
            if len(bounds) > 1:
                raise ValueError(f"lags={shown(lags)} must be (first, last): there is one axis")
            first, last = bounds[0]
        tested = (own >= first) & (own <= last)
        if not tested.any():
            given = f"{tmin=}, {tmax=}" if in_seconds else f"lags={shown(lags)}"
            raise ValueError(
                f"the window {given} contains no lag of the kernel, {self.names.lags(own.tolist())}"
            )
        return np.asarray(tested)

    # --- independent rows

    def _independent(
        self, rows: list[np.ndarray | None], value: np.ndarray, of_channels: bool
    ) -> Hypothesis:
        """Return fewer rows that state the same about the kernels of the space.

        The taps of a kernel in a basis are dependent, and a test needs independent rows. If one row
        is left of several, and the channels have one function each, it is the weighted sum of their
        coefficients, for rows that are sums ``of_channels`` at single lags.
        """
        assert self.space is not None
        found: list[np.ndarray | None] = []
        tested, has_scale = value, True
        for row in rows:
            if row is None:
                found.append(None)
                continue
            kernels = row.reshape(len(row), self._count, self._each)
            if kernels[:, ~self.space.kept].any():
                raise ValueError(
                    "the tested sums have taps outside of the lags of their channel, which are zero"
                )
            size = np.linalg.norm(row, axis=1)
            scaled, target = self.space.restricted(kernels) / size[:, None], value / size
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
        assert self.space is not None
        for c in np.flatnonzero(kernels.any((0, 1))):
            own, weight = self.space.channels[c], kernels[..., c].sum(1)
            if own.matrix is None or own.count > 1:
                return 0.0
            coefficient = float(row.reshape(kernels.shape[1:])[own.kept, c] @ own.matrix[:, 0])
            if abs(coefficient) > DEPENDENT * np.linalg.norm(row) * np.linalg.norm(own.matrix):
                return float(weight[np.abs(weight).argmax()]) / coefficient
        return 0.0


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
