"""Contrasts of the taps that a test compares with given values.

Every form of a hypothesis becomes weights (q, taps, channels) of each group, in ascending lags. In
a basis, the taps of a kernel are dependent, and fewer sums of taps state the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..problem.checks import integer
from ..problem.names import Axis
from ..problem.problem import Problem
from ..problem.spec import lags_of_times, read_bounds
from ..text import shown, some

# Singular values of a contrast below this share of the largest are rounding.
DEPENDENT = 1e-10
# An end of a window, in seconds, beyond all kernels.
FAR = 1e9


class Contrast(NamedTuple):
    """Sums of the taps of a group, and the values that are tested.

    Attributes:
        rows: (q, P), in the order of the kernel.
        value: (q,).
        scale: 1 for one sum; NaN for several, and for a sum that stands for several, whose scale is
            arbitrary.
    """

    rows: np.ndarray
    value: np.ndarray
    scale: float


class Hypothesis:
    """The sums of taps that a problem has."""

    def __init__(self, problem: Problem) -> None:
        self._names, self._groups = problem._names, problem.spec.groups
        self._space: Any = problem._space
        self._lags = [axis[::-1] for axis in problem._lags]
        self._taps, self._each = math.prod(map(len, self._lags)), problem.kernel_shape[-2]

    def contrasts(
        self, channels: Any, contrast: Any, value: Any, window: tuple[Any, Any, Any]
    ) -> list[Contrast | None]:
        """Return the contrast of every group, None for a group without tested taps.

        Args:
            channels: names or numbers, or a mapping from them to weights, or None. Names may be
                names of coefficients. A text may be a weighted sum of names.
            contrast: weights of all taps, or None.
            value: a number, or one per row of the contrast.
            window: window of lags, as tmin, tmax and lags.

        Raises:
            TypeError: If channels (or a window) and contrast are both given or both missing, or
                values are not numbers.
            ValueError: If a channel, coefficient or lag does not exist, if channels of several
                groups are to be summed, or if shapes do not fit.
        """
        whole = all(end is None for end in window)
        if (channels is None and whole) == (contrast is None):
            raise TypeError("test needs channels= or a window of lags, or contrast= alone")
        every = range(self._each * self._groups)
        if contrast is None:
            rows = self._of_channels(every if channels is None else channels, window)
        else:
            rows = [self._of_taps(contrast)] * self._groups
        against, sizes = _real(value, "value"), {len(r) for r in rows if r is not None}
        if against.shape not in ((), *((size,) for size in sizes)):
            raise ValueError(f"value has shape {against.shape}, expected () or {(*sizes,)}")
        found = [None if r is None else self._reduced(r, against, contrast is None) for r in rows]
        tested = [c.rows for c in found if c is not None]
        if len({*map(len, tested)}) != 1 or not all(len(r) and r.any(1).all() for r in tested):
            raise ValueError("a test needs sums of taps with weights, as many in every group")
        return found

    # --- weights (q, taps, channels) in ascending lags

    def _of_taps(self, contrast: Any) -> np.ndarray:
        """Return weights given in the shape of an impulse response."""
        given, own = _real(contrast, "contrast"), (*map(len, self._lags), self._each)
        # The channel axis may be omitted if there is one channel.
        shapes = [own] if self._each > 1 else [own, own[:-1]]
        if given.shape not in shapes and given.shape[1:] not in shapes:
            raise ValueError(f"contrast has shape {given.shape}, expected {own} or (q, *{own})")
        return given.reshape(-1, self._taps, self._each)

    def _of_channels(self, channels: Any, window: tuple[Any, Any, Any]) -> list[Any]:
        """Return weights of tested taps or coefficients, or of weighted sums at every lag."""
        channels = self._weighted(channels)
        summed = isinstance(channels, Mapping)
        keys = [*channels] if summed or np.ndim(channels) else [channels]
        values = _real([*channels.values()], "weights") if summed else np.ones(len(keys))
        known = self._coefficients() if all(end is None for end in window) else {}
        named = any(isinstance(key, str) and key in known for key in keys)
        given = keys if named else self._names.number("channel", keys)
        last = self._each * self._groups - 1
        numbers = [known.get(k, -1) if named else integer(k, "channels", 0, last) for k in given]
        count = self._space.count if named else self._each
        groups, index = np.divmod(np.array(numbers, int), count)
        if named and not (self._space.determined[index] & (groups >= 0)).all():
            raise ValueError(f"{shown(keys)} are not coefficients that the basis determines")
        if summed and len({*groups}) > 1:
            raise ValueError(f"a weighted sum needs channels of one group, got {shown(keys)}")
        eye, every = np.eye(count), range(self._groups)
        several = (eye[index[groups == g]] * values[groups == g, None] for g in every)
        flags = None if named else self._flags(*window)
        return [self._of_group(w, summed, flags) if len(w) else None for w in several]

    def _weighted(self, given: Any) -> Any:
        """Return the weights by name for words such as "2 A - B - C"; others are unchanged."""
        known = {*self._coefficients(), *self._names.all("channel", 0)}
        if not isinstance(given, str) or given in known:
            return given
        _, *parts = re.split(r"\s([+-])(?=\s)", f" + {given} ")
        found: dict[str, float] = {}
        for sign, term in zip(parts[::2], map(str.strip, parts[1::2]), strict=True):
            number = re.fullmatch(r"(\d*\.?\d+)[\s*]+(.+)", term)
            factor, name = (1, term) if term in known or not number else number.groups()
            if name not in known and (term or found):
                if re.search(r"[-+*/<>]", given) is None:
                    return given
                names = [*self._names.all("channel", 0), *self._coefficients()]
                words = f"{shown(name)} is no channel or coefficient: there are "
                words += some(names) if names else "no names"
                raise ValueError(f"{words}; sums are written with spaces, 'A - B'")
            found[name] = found.get(name, 0.0) + float(f"{sign}{factor}")
        found.pop("", None)  # before a sign at the beginning
        return found

    def _of_group(self, weights: np.ndarray, summed: bool, flags: np.ndarray | None) -> np.ndarray:
        """Return rows of some channels of a group with weights (n, channels), or their sum.

        Without ``flags`` of tested taps, the weights are those of coefficients.
        """
        weights = weights.sum(0, keepdims=True) if summed else weights
        if flags is None:
            rows = self._space.sums_of_taps(weights)[:, ::-1]
        elif summed:
            rows = np.eye(self._taps)[:, :, None] * flags * weights
        else:
            rows = np.eye(flags.size)[(flags & weights.any(0)).reshape(-1)]
        rows = rows.reshape(-1, self._taps, self._each)
        return np.asarray(rows[rows.any((1, 2))])

    def _coefficients(self) -> dict[str, int]:
        """Return the number of every coefficient by name."""
        space, lags = self._space, self._lags[0][::-1]
        groups = range(self._groups if space else 0)
        names = [name for g in groups for name in space.coefficient_names(self._names, lags, g)]
        # A channel may have the name of a coefficient, and is then meant.
        return {name: i for i, name in enumerate(names) if name not in (self._names.channels or ())}

    def _flags(self, tmin: Any, tmax: Any, lags: Any) -> np.ndarray:
        """Return flags (taps, channels) of the taps of each channel in a window."""
        kept = np.ones((self._taps, self._each), bool) if self._space is None else self._space.kept
        windows = [] if lags is None else [*read_bounds(lags)[0]]
        if tmin is not None or tmax is not None:
            ends = -FAR if tmin is None else tmin, FAR if tmax is None else tmax
            windows.append(lags_of_times(*ends, self._names.fs))
        if not windows:
            return kept[::-1]
        if len(windows) > 1 or len(self._lags) > 1:
            raise TypeError("a window needs one axis, and lags= in samples or tmin= and tmax=")
        ((first, last),), (own,) = windows, self._lags
        inside = (own >= first) & (own <= last)
        if not inside.any():
            lags = Axis(own, self._names.fs).at(own.tolist())
            raise ValueError(f"the window has no lag of the kernel, {lags}")
        return kept[::-1] & inside[:, None]

    # --- independent rows

    def _reduced(self, weights: np.ndarray, value: np.ndarray, of_channels: bool) -> Contrast:
        """Return independent rows that state the same about the kernels of the problem.

        If one row is left of several, and the channels have one function each, it is the weighted
        sum of their coefficients, for rows that are sums ``of_channels`` at single lags.
        """
        kernels, value = weights[:, ::-1], np.broadcast_to(value, len(weights))
        rows = kernels.reshape(len(weights), self._taps * self._each)
        scale = 1.0 if len(weights) == 1 else math.nan
        if self._space is None:
            return Contrast(rows, value, scale)
        size = np.linalg.norm(rows, axis=1)
        size[size == 0] = 1.0
        scaled, target = self._space.restricted(kernels) / size[:, None], value / size
        u, s, _ = np.linalg.svd(scaled, full_matrices=False)
        u = u[:, s > DEPENDENT]
        if np.linalg.norm(target - u @ (u.T @ target)) > DEPENDENT * np.linalg.norm(target):
            raise ValueError("no kernel of the basis has these values at the tested taps")
        if u.shape[1] == len(rows):
            return Contrast(rows, value, scale)
        fewer = u.T / size
        if of_channels and len(fewer) == 1:
            scale = self._factor(kernels, (fewer @ rows).reshape(kernels.shape[1:]))
            fewer = fewer * np.nan_to_num(scale, nan=1.0)
        return Contrast(fewer @ rows, fewer @ value, scale / scale)

    def _factor(self, kernels: np.ndarray, row: np.ndarray) -> float:
        """Return the factor that turns a sum of taps into a weighted sum of coefficients.

        Args:
            kernels: weights (q, K, channels) of the channels, at one lag per row.
            row: a sum of taps (K, channels) of the same meaning. Its factor is NaN unless the
                channels have one function each.
        """
        found = {}
        for c in np.flatnonzero(kernels.any((0, 1))):
            own, of_lags = self._space.channels[c], kernels[..., c].sum(1)
            if own.matrix is None or own.count > 1:
                return math.nan
            found[row[own.kept, c] @ own.matrix[:, 0]] = of_lags[np.abs(of_lags).argmax()]
        coefficient = max(found, key=abs)
        return float(found[coefficient] / coefficient)


def _real(value: Any, name: str) -> np.ndarray:
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {shown(value)}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    return found.astype(float)
