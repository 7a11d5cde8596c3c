"""The kernels that a problem considers: windows of lags and bases on the lags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import registry
from ..cached import cached_property
from ..linalg.rank import EPS, null_threshold
from ..text import count, shown
from .lag_bases import Basis, LagBasis
from .names import Names

# Condition number of a basis from which its coefficients are called unstable.
UNSTABLE = 1e4


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


class Span(NamedTuple):
    """An orthonormal basis of the kernels of one channel.

    Attributes:
        vectors: V (k, rank), or None for the identity.
        coefficients: the matrix (r, rank) that gives the coefficients z of V v. If the functions
            of the basis are dependent, z has the least norm.
    """

    vectors: np.ndarray | None
    coefficients: np.ndarray


@dataclass(frozen=True, eq=False)
class ChannelSpace:
    """The kernels w = B z of one channel.

    Attributes:
        kept: (k,), indices of the taps in its window, in kernel order. Other taps are zero.
        matrix: B (k, r), or None if every tap is a coefficient.
        basis: the basis that B belongs to, or None.
    """

    kept: np.ndarray
    matrix: np.ndarray | None = None
    basis: LagBasis | None = None

    @property
    def count(self) -> int:
        """Number r of coefficients."""
        return self.own.coordinates

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The norms of the columns of B, and Q and R of B with columns of norm one."""
        assert self.matrix is not None
        # In ascending lags: functions that are narrow at the first lags lose digits in the other.
        b = self.matrix[::-1]
        largest = np.abs(b).max(0)
        norms = largest * np.linalg.norm(b / largest, axis=0)
        q, r = np.linalg.qr(b / norms)
        return norms, q[::-1], r

    @cached_property
    def _singular(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Singular vectors and values of R, and its rank."""
        u, s, vt = np.linalg.svd(self._factors[2])
        return u, s, vt, self._rank_of(s)

    def _rank_of(self, values: np.ndarray) -> int:
        """Return the number of singular values that are not rounding."""
        assert self.matrix is not None
        return int((values > max(self.matrix.shape) * EPS * values[0]).sum())

    @property
    def condition(self) -> float:
        """Condition number of B with columns of norm one, without directions that it lacks."""
        if self.matrix is None:
            return 1.0
        _, s, _, rank = self._singular
        return float(s[0] / s[rank - 1])

    @property
    def determined(self) -> np.ndarray:
        """Flags (r,) of the coefficients that the kernel determines."""
        if self.rank == self.count:
            return np.ones(self.count, bool)
        _, s, vt, rank = self._singular
        found = np.linalg.norm(vt[rank:], axis=0) <= null_threshold(s, rank, self.count)
        return np.asarray(found)

    @cached_property
    def span(self) -> Span:
        """An orthonormal basis of B, whose columns are first scaled to norm one.

        The kernel does not depend on the basis, only on its span. A basis with a large condition
        number therefore affects the coefficients alone.
        """
        b = self.matrix
        if b is None:
            return Span(None, np.eye(len(self.kept)))
        norms, v, t = self._factors
        u, _, _, rank = self._singular
        if rank < self.count:
            v = v @ u[:, :rank]
            coefficients = np.linalg.pinv(v.T @ b)
        else:
            coefficients = np.linalg.solve(t, np.eye(rank)) / norms[:, None]
        # Rounding errors at lags where all functions are zero would be taken for kernels.
        return Span(v * b.any(1, keepdims=True), coefficients)

    @property
    def settings(self) -> dict[str, Any] | None:
        """The basis as JSON supports it; its matrix if its class has no name."""
        if self.basis is None or self.matrix is None:
            return None
        entry = registry.ENTRIES.get(self.basis.name)
        named = entry is not None and entry.class_name == type(self.basis).__name__
        return (self.basis if named else Basis(self.matrix[::-1])).to_dict()

    @property
    def rank(self) -> int:
        """Number of independent coefficients."""
        return int(self.span.coefficients.shape[1])

    @property
    def orthonormal(self) -> ChannelTaps:
        """Coordinates in the orthonormal basis."""
        return ChannelTaps(self.kept, self.span.vectors)

    @property
    def own(self) -> ChannelTaps:
        """Coordinates in the basis itself."""
        return ChannelTaps(self.kept, self.matrix)


@dataclass(frozen=True, eq=False)
class KernelSpace:
    """The kernels of all channels of a group, along one axis. All groups have the same kernels.

    Attributes:
        taps: number K of taps of a kernel.
        channels: the kernels of every channel.
    """

    taps: int
    channels: tuple[ChannelSpace, ...]

    @property
    def has_basis(self) -> bool:
        """Whether any channel has a basis. Otherwise channels have windows."""
        return any(own.matrix is not None for own in self.channels)

    @property
    def count(self) -> int:
        """Number of coefficients of one output."""
        return sum(own.count for own in self.channels)

    @cached_property
    def rank(self) -> int:
        """Dimension of the kernels of one output."""
        return sum(own.rank for own in self.channels)

    @cached_property
    def kept(self) -> np.ndarray:
        """Flags (K, channels) of the taps that may differ from zero, in kernel order."""
        found = np.zeros((self.taps, len(self.channels)), bool)
        for c, own in enumerate(self.channels):
            found[own.kept, c] = True
        return found

    def coefficients(self, kernel: np.ndarray) -> np.ndarray:
        """Return the coefficients (R, Q) of kernels (K, channels, Q) of the space.

        Without a basis, they are the taps in ascending lags.
        """
        return self.of_coordinates(self.restricted(kernel.transpose(2, 0, 1)).T)

    def of_coordinates(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the coefficients (R, n) of orthonormal coordinates (rank, n)."""
        parts = np.split(coordinates, np.cumsum([own.rank for own in self.channels])[:-1])
        return np.concatenate(
            [
                part[::-1] if own.matrix is None else own.span.coefficients @ part
                for own, part in zip(self.channels, parts, strict=True)
            ]
        )

    def sums_of_taps(self, weights: np.ndarray) -> np.ndarray:
        """Return sums of coefficients (q, R) as sums of taps (q, K, channels)."""
        found = np.zeros((len(weights), self.taps, len(self.channels)))
        parts = np.split(weights, np.cumsum([own.count for own in self.channels])[:-1], axis=1)
        for c, (own, part) in enumerate(zip(self.channels, parts, strict=True)):
            vectors, coefficients = own.span
            found[:, own.kept, c] = (
                part[:, ::-1] if vectors is None else part @ coefficients @ vectors.T
            )
        return found

    @property
    def determined(self) -> np.ndarray:
        """Flags (R,) of the coefficients that the kernel determines."""
        return np.concatenate([own.determined for own in self.channels])

    def taps_of(self, shape: Sequence[int]) -> np.ndarray:
        """Return flags of the taps in the windows of their channels, kernel-shaped."""
        return np.broadcast_to(self.kept[..., None], shape)

    def coefficient_names(self, names: Names, lags: np.ndarray, group: int = 0) -> list[str]:
        """Return the names of the coefficients, channel by channel, for lags in kernel order."""
        found = []
        for c, own in enumerate(self.channels, group * len(self.channels)):
            name = names.channel_name(c)
            if own.matrix is None:
                found += [f"{name} lag {lag}" for lag in lags[own.kept][::-1].tolist()]
            else:
                found += [f"{name}[{i}]" for i in range(own.count)]
        return found

    @property
    def without_basis(self) -> KernelSpace:
        """The kernels with the same taps, of which every one is a coefficient."""
        return KernelSpace(self.taps, tuple(ChannelSpace(own.kept) for own in self.channels))

    def restricted(self, rows: np.ndarray) -> np.ndarray:
        """Return sums of taps (q, K, channels) as sums of orthonormal coordinates (q, rank)."""
        found = []
        for c, own in enumerate(self.channels):
            taps, v = rows[:, own.kept, c], own.span.vectors
            found.append(taps if v is None else taps @ v)
        return np.concatenate(found, axis=1)

    def to_dict(self, lags: np.ndarray, groups: int) -> dict[str, Any]:
        """Return windows and bases of all groups in plain values, for lags in kernel order."""
        found: dict[str, Any] = {}
        if not self.kept.all():
            ends = ([int(lags[own.kept[-1]]), int(lags[own.kept[0]])] for own in self.channels)
            found["windows"] = [*ends] * groups
        if self.has_basis:
            found["basis"] = [own.settings for own in self.channels] * groups
        return found


# --- reading of the arguments of a problem


class Given(NamedTuple):
    """The arguments of a problem that restrict its kernels.

    Attributes:
        basis: a `LagBasis` or its name, a dict of them by channel, or None.
        windows: first and last lag by channel, or None.
    """

    basis: Any = None
    windows: Any = None

    def space(
        self, lags: Sequence[np.ndarray], names: Names, channels: int, groups: int
    ) -> KernelSpace | None:
        """Return the kernels of the channels of a group; None for all kernels.

        Args:
            lags: lags of every axis in samples, in kernel order.
            names: names of the channels, and the sampling rate.
            channels: number of channels.
            groups: number of groups.

        Raises:
            TypeError, ValueError: If the arguments are not valid or do not fit each other.
        """
        if all(given is None for given in self):
            return None
        if len(lags) > 1:
            raise ValueError("basis= and lags= by channel need a kernel with one axis")
        own, whole = lags[0], (int(lags[0][-1]), int(lags[0][0]))
        windows = _by_channel(
            whole if self.windows is None else self.windows, "lags", names, channels, ...
        )
        bases = _by_channel(self.basis, "basis", names, channels, None)
        each = channels // groups
        if bases != bases[:each] * groups or windows != windows[:each] * groups:
            raise ValueError(
                "with groups=, all groups have the same bases and the same lags, channel by channel"
            )
        made = {id(given): None if given is None else _basis(given) for given in bases}
        if set(windows) == {whole} and not any(made.values()):
            return None
        known: dict[Any, ChannelSpace] = {}
        found = []
        for c, (given, window) in enumerate(zip(bases[:each], windows, strict=False)):
            key = id(given), window
            if key not in known:
                known[key] = _channel_space(made[id(given)], window, own, names, c)
            found.append(known[key])
        return KernelSpace(len(own), tuple(found))


def _by_channel(given: Any, name: str, names: Names, channels: int, missing: Any) -> list[Any]:
    """Return a value for every channel, from one value, a list, or a dict by channel.

    Channels that are not in a dict have the value ``missing``. It is an error if this is `...`.
    """
    if isinstance(given, list) and not _is_matrix(given):
        if len(given) != channels:
            raise ValueError(f"{name} has {len(given)} values for {count(channels, 'channel')}")
        return given
    if not isinstance(given, Mapping):
        return [given] * channels
    known, found = names.all_channels(channels), {}
    for key, value in given.items():
        channel = known[int(key)] if key in range(channels) else key  # a number, or a name
        if channel not in known:
            raise ValueError(
                f"{name} has the channel {shown(key)}, the channels of x are "
                f"{', '.join(map(str, known))}"
            )
        if channel in found:
            raise ValueError(f"{name} has two values for the channel {shown(channel)}")
        found[channel] = value
    lacking = [channel for channel in known if channel not in found]
    if lacking and missing is ...:
        raise ValueError(f"{name} needs a value for every channel; {lacking[0]!r} has none")
    return [found.get(channel, missing) for channel in known]


def _array(given: Any) -> np.ndarray:
    """Return an array of any type; of objects if lists have different lengths."""
    try:
        return np.asarray(given)
    except ValueError:
        return np.array(None)


def _is_matrix(given: Any) -> bool:
    """Return whether a value is an array, or lists of numbers."""
    rows = (list, tuple, np.ndarray)
    listed = isinstance(given, list) and all(isinstance(row, rows) for row in given)
    return listed or isinstance(given, np.ndarray)


def _basis(given: Any) -> LagBasis:
    """Return a basis that is given as an object, by name, or as in `LagBasis.to_dict`."""
    found: LagBasis
    if isinstance(given, LagBasis):
        return given
    if isinstance(given, str):
        entry, arguments = registry.named("basis", given)
        if entry.name == "basis" or (entry.number and not arguments):
            raise TypeError(f"basis={given!r} needs a number of functions, or a matrix")
        found = entry.make(**arguments)
        return found
    if isinstance(given, Mapping):
        settings = dict(given)
        known = registry.ENTRIES.get(settings.pop("name", ""))
        if known is not None and known.kind == "basis":
            found = known.make(**settings)
            return found
    raise TypeError(f"basis must be a basis such as BSplines(8), or its name, got {shown(given)}")


def _channel_space(
    basis: LagBasis | None,
    window: tuple[int, int],
    lags: np.ndarray,
    names: Names,
    channel: int,
) -> ChannelSpace:
    """Return the kernels of one channel, for its first and last lag."""
    places = np.flatnonzero((lags >= window[0]) & (lags <= window[1]))
    if basis is None:
        return ChannelSpace(places)
    matrix = _functions(basis, lags[places][::-1].astype(int), names, channel)
    return ChannelSpace(places, matrix[::-1], basis)


def _functions(basis: LagBasis, lags: np.ndarray, names: Names, channel: int) -> np.ndarray:
    """Return the functions (k, r) of a basis at ascending lags, after checks."""
    found = _array(basis.functions(lags, names.fs))
    where = f"{basis!r} for {names.channel(channel)}"
    shaped = found.ndim == 2 and len(found) == len(lags) and found.size
    if not (shaped and found.dtype.kind in "biuf" and np.isfinite(found).all()):
        raise ValueError(f"{where}: functions() must return finite numbers (lags, n)")
    found = found.astype(float)
    if found.shape[1] > len(lags):
        raise ValueError(
            f"{where} has {count(found.shape[1], 'function')} for {count(len(lags), 'lag')}"
        )
    # As in x, subnormal numbers are zero: the coefficients would overflow.
    zero = np.flatnonzero(np.abs(found).max(0) < np.finfo(float).tiny)
    if zero.size:
        raise ValueError(f"{where}: function {zero[0]} is zero at all lags")
    return found
