"""Arrays of jax that stay on their devices until the host asks for them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ..cached import cached_property
from ..lazy_jax import is_jax_array, meet

# Kinds of devices that compute FFTs in float64.
DOUBLE = ("cpu", "gpu", "cuda", "rocm")


def stays(value: Any) -> bool:
    """Whether ``value`` is an array of jax that is processed on its devices.

    Such an array has real floating-point numbers, and is on another kind of device than a CPU, or
    spread over several devices.
    """
    if not is_jax_array(value) or value.is_deleted():
        return False
    floats = sys.modules["jax"].numpy.floating
    if not sys.modules["jax"].numpy.issubdtype(value.dtype, floats):
        return False
    devices = value.sharding.device_set
    kinds = {device.platform for device in devices}
    return kinds <= {*DOUBLE} and (len(devices) > 1 or kinds != {"cpu"})


def fetched(array: Any) -> np.ndarray:
    """Return an array of jax as one of NumPy, gathered if several processes hold parts of it."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental.multihost_utils import process_allgather

    meet("fetching data")
    return np.asarray(process_allgather(array, tiled=True))


@dataclass(frozen=True, eq=False)
class Source:
    """An array of jax as the user gave it."""

    array: Any

    @cached_property
    def host(self) -> np.ndarray:
        """The same in NumPy."""
        return fetched(self.array)

    @property
    def parts(self) -> Iterator[tuple[np.ndarray, str]]:
        """What this process holds of it in NumPy, and where that stands if it is not all."""
        if self.array.is_fully_addressable:
            yield self.host, ""
            return
        for part in self.array.addressable_shards:
            first = [s.indices(n)[0] for s, n in zip(part.index, self.array.shape, strict=True)]
            yield np.asarray(part.data), f", from {tuple(first)} on,"

    @property
    def devices(self) -> str:
        """Description of the devices."""
        held = self.array.sharding.device_set
        kinds = sorted({device.device_kind for device in held})
        return f"{len(held)} × {', '.join(kinds)}"


@cache
def _largest_bits() -> Callable[[Any, int], Any]:
    """Return a function that computes the largest magnitudes (C,), as bits.

    The bits have the same order as the magnitudes, and denormal numbers are not flushed to zero.
    An array without an axis of channels has one magnitude.
    """
    import jax

    def of(x: Any, channels: int) -> Any:
        width = 8 * x.dtype.itemsize
        bits = jax.lax.bitcast_convert_type(x, f"uint{width}")
        # Axes that are spread over devices in sight of the program cannot be joined to one.
        axes = range(x.ndim - (x.shape[-1] == channels))
        return (bits & np.array(2 ** (width - 1) - 1, bits.dtype)).max(tuple(axes))

    return jax.jit(of, static_argnums=1)


@dataclass(frozen=True, eq=False)
class Remote:
    """A view of an array on devices: all of it, or samples ``start`` to ``stop`` of one record.

    What else is asked of it than shape and type brings it to the host, once.
    """

    source: Source
    shape: tuple[int, ...]
    record: int | None = None
    start: int = 0
    channels: tuple[int, ...] | None = None

    @classmethod
    def of(cls, array: Any) -> Remote:
        """All of an array."""
        return cls(Source(array), tuple(array.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of its numbers."""
        return np.dtype(self.source.array.dtype)

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Remote]:
        """Return the records of a batch."""
        return (replace(self, shape=self.shape[1:], record=i) for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        """With a channel axis more, or some samples, where it is; else NumPy's."""
        if key == (..., None):
            return replace(self, shape=(*self.shape, 1))
        if isinstance(key, tuple) and len(key) == 2 and key[0] is ...:
            chosen = tuple(np.arange(self.shape[-1])[key[1]].tolist())
            before = chosen if self.channels is None else tuple(self.channels[i] for i in chosen)
            return replace(self, shape=(*self.shape[:-1], len(chosen)), channels=before)
        (samples,) = key if isinstance(key, tuple) and len(key) == 1 else (key,)
        if not isinstance(samples, slice) or samples.step is not None:
            return np.asarray(self)[key]
        start, stop, _ = samples.indices(len(self))
        length = max(0, stop - start)
        return replace(self, shape=(length, *self.shape[1:]), start=self.start + start)

    @property
    def incomplete(self) -> bool:
        """Whether values are NaN, or may be NaN in another process."""
        return self.shared or bool(np.isnan(self.largest()).any())

    @property
    def shared(self) -> bool:
        """Whether other processes have parts of the array."""
        return not self.source.array.is_fully_addressable

    @property
    def selected(self) -> Any:
        """The array on its devices, with these channels only."""
        array = self.source.array
        if self.channels is None or array.ndim == self.ndim - (self.record is None):
            return array
        import jax

        some, sharding = np.array(self.channels), array.sharding
        # Some channels of an array that is spread along its channels may not divide evenly.
        whole = sharding.shard_shape(array.shape)[-1] == array.shape[-1]
        return jax.jit(lambda a: a[..., some], out_shardings=sharding if whole else None)(array)

    def largest(self) -> np.ndarray:
        """Return the largest magnitude (C,) of every channel, the last axis.

        If processes share the array, it is the largest magnitude in the part of this process. NaN
        is larger than any number.
        """
        import jax

        channels, array = self.shape[-1], self.source.array
        here = array.is_fully_addressable
        parts = [array] if here else [part.data for part in array.addressable_shards]
        if array.ndim > 1 and any(part.shape[-1] != array.shape[-1] for part in parts):
            return np.abs(self.source.host).reshape(-1, channels).max(0)
        with jax.enable_x64(True):
            bits = np.stack([np.atleast_1d(_largest_bits()(part, channels)) for part in parts])
        return np.asarray(bits.max(0).view(self.dtype))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self.source.host
        whole = whole if self.record is None else whole[self.record]
        whole = whole[self.start : self.start + len(self)]
        if self.channels is not None:
            whole = whole.reshape(len(self), -1)[:, list(self.channels)]
        found = whole.reshape(self.shape)
        return np.array(found, dtype, copy=copy)
