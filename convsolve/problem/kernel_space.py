"""The kernels that a problem considers: windows of lags and bases on the lags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from ..linalg.rank import EPS, null_threshold
from ..notation import made
from ..text import count, shown
from .lag_bases import BASES, Basis, LagBasis
from .names import Names


class ChannelTaps(NamedTuple):
    """Coordinates of the kernel of one channel, w = T z, in kernel order.

    Attributes:
        kept: (k,), indices of the taps that may differ from zero.
        matrix: T (k, r), or None for the identity.
    """

    kept: np.ndarray
    matrix: np.ndarray | None = None

    @property
    def coordinates(self) -> int:
        """Number r of coordinates."""
        return len(self.kept) if self.matrix is None else int(self.matrix.shape[1])


class ChannelSpace:
    """The kernels w = B z of one channel, also written as V v with orthonormal columns V.

    The kernel does not depend on the basis, only on its span. A basis with a large condition number
    therefore affects the coefficients alone.

    Attributes:
        kept: (k,), indices of the taps in its window, in kernel order. Other taps are zero.
        matrix: B (k, count), or None if every tap is a coefficient.
        functions: the basis that B belongs to, or None.
        orthonormal: coordinates v, with V (k, rank).
        coefficients: the matrix (count, rank) that gives z for v, of the least norm if columns of B
            are dependent; None if every tap is a coefficient.
        condition: condition number of B with columns of norm one, without directions that it lacks.
        determined: flags (count,) of the coefficients that the kernel determines.
    """

    def __init__(
        self, kept: np.ndarray, matrix: np.ndarray | None = None, functions: LagBasis | None = None
    ) -> None:
        self.kept, self.matrix, self.functions = kept, matrix, functions
        self.orthonormal, self.condition = ChannelTaps(kept), 1.0
        self.coefficients: np.ndarray | None = None
        self.count = self.rank = len(kept) if matrix is None else matrix.shape[1]
        self.determined = np.ones(self.count, bool)
        if matrix is None:
            return
        # In ascending lags: functions that are narrow at the first lags lose digits in the other.
        b = matrix[::-1]
        norms = np.linalg.norm(b, axis=0)
        q, r = np.linalg.qr(b / norms)
        u, s, vt = np.linalg.svd(r)
        self.rank = rank = int((s > max(b.shape) * EPS * s[0]).sum())
        self.condition = float(s[0] / s[rank - 1])
        if rank < self.count:
            q = q @ u[:, :rank]
            self.coefficients = np.linalg.pinv(q.T @ b)
            limit = null_threshold(s, rank, self.count)
            self.determined = np.asarray(np.linalg.norm(vt[rank:], axis=0) <= limit)
        else:
            self.coefficients = np.linalg.solve(r, np.eye(rank)) / norms[:, None]
        # Rounding errors at lags where all functions are zero would be taken for kernels.
        self.orthonormal = ChannelTaps(kept, (q * b.any(1, keepdims=True))[::-1])

    def to_dict(self) -> dict[str, Any] | None:
        """Return the basis as JSON supports it; its matrix if its class has no name."""
        if self.functions is None or self.matrix is None:
            return None
        found = self.functions.to_dict()
        return found if found["name"] else Basis(self.matrix[::-1]).to_dict()


class KernelSpace:
    """The kernels of all channels of a group, along one axis. All groups have the same kernels.

    Attributes:
        taps: number K of taps of a kernel.
        channels: the kernels of every channel.
        has_functions: whether any channel has a basis. Otherwise channels have windows.
        count: number R of coefficients of one output.
        rank: dimension of the kernels of one output.
        determined: flags (R,) of the coefficients that the kernel determines.
        kept: flags (K, channels) of the taps that may differ from zero, in kernel order.
    """

    def __init__(self, taps: int, channels: Sequence[ChannelSpace]) -> None:
        self.taps, self.channels = taps, tuple(channels)
        self.has_functions = any(own.matrix is not None for own in channels)
        self.count, self.rank = sum(o.count for o in channels), sum(o.rank for o in channels)
        self.determined = np.concatenate([own.determined for own in channels])
        self.kept = np.zeros((taps, len(channels)), bool)
        for c, own in enumerate(channels):
            self.kept[own.kept, c] = True

    @property
    def of_taps(self) -> KernelSpace:
        """The kernels with the same taps, of which every one is a coefficient."""
        return KernelSpace(self.taps, [ChannelSpace(own.kept) for own in self.channels])

    def coefficients(self, kernel: np.ndarray) -> np.ndarray:
        """Return the coefficients (R, Q) of kernels (K, channels, Q) of the space.

        Without a basis, they are the taps in ascending lags.
        """
        return self.of_coordinates(self.restricted(kernel.transpose(2, 0, 1)).T)

    def of_coordinates(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the coefficients (R, n) of orthonormal coordinates (rank, n)."""
        parts = np.split(coordinates, np.cumsum([own.rank for own in self.channels])[:-1])
        pairs = zip(self.channels, parts, strict=True)
        each = (p[::-1] if (m := own.coefficients) is None else m @ p for own, p in pairs)
        return np.concatenate([*each])

    def restricted(self, rows: np.ndarray) -> np.ndarray:
        """Return sums of taps (q, K, channels) as sums of orthonormal coordinates (q, rank)."""
        pairs = ((rows[:, own.kept, c], own.orthonormal) for c, own in enumerate(self.channels))
        each = (taps if v.matrix is None else taps @ v.matrix for taps, v in pairs)
        return np.concatenate([*each], axis=1)

    def sums_of_taps(self, weights: np.ndarray) -> np.ndarray:
        """Return sums of coefficients (q, R) as sums of taps (q, K, channels)."""
        found = np.zeros((len(weights), self.taps, len(self.channels)))
        parts = np.split(weights, np.cumsum([own.count for own in self.channels])[:-1], axis=1)
        for c, (own, part) in enumerate(zip(self.channels, parts, strict=True)):
            z, v = own.coefficients, own.orthonormal.matrix
            found[:, own.kept, c] = part[:, ::-1] if z is None or v is None else part @ z @ v.T
        return found

    def coefficient_names(self, names: Names, lags: np.ndarray, group: int = 0) -> list[str]:
        """Return the names of the coefficients, channel by channel, for lags in kernel order."""
        found = []
        for c, own in enumerate(self.channels, group * len(self.channels)):
            taps = (f" lag {lag}" for lag in lags[own.kept][::-1])
            labels = taps if own.matrix is None else (f"[{i}]" for i in range(own.count))
            found += [names.name("channel", c) + label for label in labels]
        return found

    def to_dict(self, lags: np.ndarray, groups: int) -> dict[str, Any]:
        """Return windows and bases of all groups in plain values, for lags in kernel order."""
        found: dict[str, Any] = {}
        if not self.kept.all():
            found["windows"] = [lags[own.kept[[-1, 0]]].tolist() for own in self.channels] * groups
        if self.has_functions:
            found["basis"] = [own.to_dict() for own in self.channels] * groups
        return found


def kernel_space(
    basis: Any, windows: Any, lags: Sequence[np.ndarray], names: Names, channels: int, groups: int
) -> KernelSpace | None:
    """Return the kernels of the channels of a group; None for all kernels.

    Args:
        basis: a `LagBasis` or its name, a dict or a list of them by channel, or None.
        windows: first and last lag by channel, or None.
        lags: lags of every axis in samples, in kernel order.
        names: names of the channels, and the sampling rate.
        channels: number of channels.
        groups: number of groups.

    Raises:
        TypeError, ValueError: If the arguments are not valid or do not fit each other.
    """
    if basis is None and windows is None:
        return None
    if len(lags) > 1:
        raise ValueError("basis= and lags= by channel need a kernel with one axis")
    whole, each = (int(lags[0][-1]), int(lags[0][0])), channels // groups
    ends = _by_channel(whole if windows is None else windows, "lags", names, channels, ...)
    bases = _by_channel(basis, "basis", names, channels, None)
    if bases != bases[:each] * groups or ends != ends[:each] * groups:
        raise ValueError("with groups=, all groups need the same bases and the same lags")
    if {*ends} == {whole} and all(given is None for given in bases):
        return None
    known: dict[Any, ChannelSpace] = {}
    keys = [(id(given), end) for given, end in zip(bases[:each], ends, strict=False)]
    for c, key in enumerate(keys):
        if key not in known:
            known[key] = _channel_space(bases[c], ends[c], lags[0], names, c)
    return KernelSpace(len(lags[0]), [known[key] for key in keys])


def _by_channel(given: Any, name: str, names: Names, channels: int, missing: Any) -> list[Any]:
    """Return a value for every channel, from one value, a list, or a dict by channel.

    Channels that are not in a dict have the value ``missing``. It is an error if this is `...`.
    """
    if isinstance(given, list) and len(given) != channels:
        raise ValueError(f"{name} has {len(given)} values for {count(channels, 'channel')}")
    if not isinstance(given, Mapping):
        return given if isinstance(given, list) else [given] * channels
    known, found = names.all("channel", channels), {}
    for key, value in given.items():
        channel = known[int(key)] if key in range(channels) else key  # a number, or a name
        if channel not in known or channel in found:
            listed = ", ".join(map(str, known))
            raise ValueError(f"{name}: {shown(key)}, but the channels, each once, are {listed}")
        found[channel] = value
    lacking = [channel for channel in known if channel not in found]
    if lacking and missing is ...:
        raise ValueError(f"{name} needs a value for every channel; {lacking[0]!r} has none")
    return [found.get(channel, missing) for channel in known]


def _of_given(given: Any) -> LagBasis | None:
    """Return a basis that is given as an object, by name, or as in `LagBasis.to_dict`."""
    if given is None or isinstance(given, LagBasis):
        return given
    if isinstance(given, np.ndarray):
        return Basis(given)
    if not isinstance(given, (str, Mapping)):
        raise TypeError(f"basis must be a basis such as BSplines(8), got {shown(given)}")
    return cast("LagBasis", made("basis", given, BASES))


def _channel_space(
    given: Any, window: tuple[int, int], lags: np.ndarray, names: Names, channel: int
) -> ChannelSpace:
    """Return the kernels of one channel, for its first and last lag, after checks of a basis."""
    kept = np.flatnonzero((lags >= window[0]) & (lags <= window[1]))
    if (basis := _of_given(given)) is None:
        return ChannelSpace(kept)
    found = np.asarray(basis.functions(lags[kept][::-1].astype(int), names.fs))
    where = f"{basis!r} for {names.channel(channel)}"
    shaped = found.ndim == 2 and len(found) == len(kept) and found.size
    if not (shaped and found.dtype.kind in "biuf" and np.isfinite(found).all()):
        raise ValueError(f"{where} must have finite numbers (lags, n) for {len(kept)} lags")
    if found.shape[1] > len(kept):
        raise ValueError(f"{where} has {found.shape[1]} functions for {count(len(kept), 'lag')}")
    # As in x, subnormal numbers are zero: the coefficients would overflow.
    small = np.abs(found).max(0) < np.finfo(float).tiny
    if small.any():
        raise ValueError(f"{where}: function {small.argmax()} is zero at all lags")
    return ChannelSpace(kept, found[::-1].astype(float), basis)
