"""Statements of problems as users might make them: arrays of every kind, sound or nonsense."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from hypothesis import strategies as st

import convsolve as cs
from support import dense
from support.geometry import geometries

NUMBERS = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", ml_dtypes.bfloat16, "f4")
NUMBERS += ("f8", np.longdouble)
FOREIGN = ("c8", "c16", "O", "U8", "S8", "M8[s]", "m8[s]", "V8")

#: What stands where an integer, a word, a pair or an array should.
JUNK: tuple[Any, ...] = (
    None, True, np.bool_(False), 0, -1, 2.0, math.nan, 10**30, 2**59, 2**61, "a", "same", b"a", 1j,
    (), [], {}, {2}, (2,), [2], (1, 2), (1, 2, 3, 4), ((0, 1),), [[1, 0]], ((0, 1), 2), (0, (1, 2)),
    ("a", "b"), (None, None), np.int8(2), np.array(2), np.array([1, 2]), np.array([[0, 1]]),
    np.array([]), np.array(["a"]), jnp.array(2), jnp.ones(3), object(), int, len, ..., range(3),
    ((0, 2**60),), (-(10**30), 10**30), [[1, 2], [3]], [None], np.ma.masked, cs.ConvSpec(2),
)  # fmt: skip


class Statement(NamedTuple):
    """The arguments of `Problem`."""

    x: Any
    y: Any
    arguments: dict[str, Any]

    def problem(self) -> cs.Problem:
        return cs.Problem(self.x, self.y, **self.arguments)


def _units(rng, shape):
    return rng.standard_normal(shape) * 10.0 ** rng.uniform(-200, 200, shape[-1:])


def _alike(rng, shape):
    """Channels that differ by a few roundings."""
    base = rng.standard_normal((*shape[:-1], 1))
    return base * (1 + rng.integers(-2, 3, shape) * 10.0 ** rng.integers(-16, -6))


def _tone(rng, shape):
    time = np.arange(math.prod(shape[:-1])).reshape(*shape[:-1], 1)
    return np.sin(rng.uniform(0, 3, shape[-1:]) * time + rng.uniform(0, 3, shape[-1:]))


def _spoilt(rng, shape):
    array = rng.standard_normal(shape)
    array[tuple(rng.integers(n) for n in shape)] = rng.choice([np.nan, np.inf, -np.inf])
    return array


CONTENTS = {
    "integers": lambda rng, shape: rng.integers(-3, 4, shape).astype(float),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "zeros": lambda rng, shape: np.zeros(shape),
    "constant": lambda rng, shape: np.tile(rng.standard_normal(shape[-1:]), (*shape[:-1], 1)),
    "ramp": lambda rng, shape: np.arange(float(math.prod(shape))).reshape(shape),
    "tone": _tone,
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.15),
    "alike": _alike,
    "offset": lambda rng, shape: rng.standard_normal(shape) + 10.0 ** rng.integers(3, 12),
    "units": _units,
    "wide": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(-150, 150, shape),
    "huge": lambda rng, shape: rng.standard_normal(shape) * 1e300,
    "tiny": lambda rng, shape: rng.standard_normal(shape) * 1e-300,
    "extreme": lambda rng, shape: rng.choice([1.0, -1.0], shape) * np.finfo(float).max,
    "denormal": lambda rng, shape: rng.integers(-3, 4, shape) * 5e-324,
    "spoilt": _spoilt,
}


@st.composite
def contents(draw, shape):
    """A float64 array of ``shape``, filled in one of many ways."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    name = draw(st.sampled_from([*CONTENTS]))
    return CONTENTS[name](rng, shape) if shape and 0 not in shape else np.zeros(shape)


def _cast(array: np.ndarray, dtype: Any) -> np.ndarray:
    kind = np.dtype(dtype).kind
    with np.errstate(all="ignore"):
        if kind in "iuMm":
            array = np.clip(np.nan_to_num(array), 0 if kind == "u" else -100, 100).astype(int)
        elif jnp.issubdtype(dtype, np.floating) and np.dtype(dtype).itemsize < 8:
            top = float(jnp.finfo(dtype).max)
            array = np.where(np.isfinite(array), np.clip(array, -top, top), array)
        return np.zeros(array.shape, dtype) if kind == "V" else array.astype(dtype)


def _spread(array: np.ndarray) -> np.ndarray:
    """A view of every second element of a larger array."""
    wide = np.zeros([2 * n for n in array.shape], array.dtype)
    view = wide[(slice(1, None, 2),) * array.ndim]
    view[...] = array
    return view


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _unaligned(array: np.ndarray) -> np.ndarray:
    return (
        np.frombuffer(b"0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    )


LAYOUTS = {
    "plain": lambda a: a,
    "Fortran": np.asfortranarray,
    "spread": _spread,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "read-only": _read_only,
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "nested": lambda a: a.tolist(),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": _unaligned,
    "jax": jnp.asarray,
}
NATIVE = ("big-endian", "unaligned", "jax")  # for numbers of the machine alone


@st.composite
def dressed(draw, array: np.ndarray, nested: bool = True):
    """The array in some type and layout; now and then of a type that has no place here."""
    foreign = draw(st.integers(0, 9)) == 0
    array = _cast(array, draw(st.sampled_from(FOREIGN if foreign else NUMBERS)))
    if foreign and draw(st.booleans()):
        return np.ma.masked_array(array, mask=draw(st.booleans()))
    native = array.dtype.kind in "iuf" and array.dtype.itemsize <= 8
    names = [n for n in LAYOUTS if (native or n not in NATIVE) and (nested or n != "nested")]
    layout = draw(st.sampled_from(names))
    if not array.ndim or not array.size:
        return array
    x64 = layout == "jax" and draw(st.booleans())
    with jax.enable_x64(x64), np.errstate(over="ignore", under="ignore"):
        return LAYOUTS[layout](array)


def _records(draw, geometry, lags):
    """Float64 records (x, y) of a geometry; half of the y a true convolution of x."""
    w = np.random.default_rng(geometry.seed).integers(-3, 4, geometry.w_shape).astype(float)
    for shape, counts in zip(geometry.shapes, geometry.counts):
        x = draw(contents((*shape, geometry.channels)))
        if lags or draw(st.booleans()):
            y = draw(contents((*(shape if lags else counts), geometry.outputs)))
        else:
            with np.errstate(all="ignore"):
                y = dense.convolve(x[None], w, geometry.spec)[0]
        yield x, y


MANGLED = (
    lambda a: a[:-1], lambda a: a[..., None], lambda a: a.T, lambda a: a[None], lambda a: a.ravel(),
    lambda a: a[..., :0], lambda a: [a], lambda a: [a, a], lambda a: np.concatenate([a, a], -1),
)  # fmt: skip


@st.composite
def statements(draw):
    """Problems, of which some should be refused."""
    form = draw(st.sampled_from(["record", "batch", "list", "flat"]))
    geometry = draw(geometries(min_rows=0, ragged=form == "list"))
    if form in ("record", "flat"):
        geometry = replace(geometry, shapes=geometry.shapes[:1])
    if form == "flat":
        geometry = replace(geometry, spec=replace(geometry.spec, groups=1), channels=1, outputs=1)
    spec, lags = geometry.spec, draw(st.booleans())
    arguments: dict[str, Any] = {"bias": geometry.bias, "groups": spec.groups}
    if lags:
        edges = draw(st.sampled_from(["drop", "zeros", "circular"]))
        first = [draw(st.integers(-3, 3)) for _ in spec.kernel_size]
        pairs = tuple((a, a + k - 1) for a, k in zip(first, spec.kernel_size))
        arguments |= {"lags": pairs, "edges": edges}
    else:
        single = spec.ndim == 1 and draw(st.booleans())
        arguments |= {"kernel_size": spec.kernel_size[0] if single else spec.kernel_size}
        arguments |= {"stride": spec.stride, "dilation": spec.dilation, "padding": spec.padding}
    given = []
    for parts in zip(*_records(draw, geometry, lags)):
        if form == "list":
            given.append([draw(dressed(p, nested=i > 0)) for i, p in enumerate(parts)])
        else:
            whole = np.stack(parts) if form == "batch" else parts[0]
            whole = whole[..., 0] if form == "flat" else whole
            given.append(draw(dressed(whole)))
    x, y = given
    if draw(st.integers(0, 5)) == 0:
        arguments["n_outputs"] = geometry.outputs
        y = None
    statement = Statement(x, y, arguments)
    return statement if draw(st.booleans()) else draw(_mistaken(statement))


@st.composite
def _mistaken(draw, statement):
    """The statement with one argument exchanged for something else."""
    x, y, arguments = statement
    name = draw(st.sampled_from(["x", "y", "x", "y", "n_outputs", *arguments]))
    value = draw(st.one_of(st.sampled_from(JUNK), st.integers(-2, 4)))
    if name not in ("x", "y"):
        return Statement(x, y, arguments | {name: value})
    old = x if name == "x" else y
    how = draw(st.sampled_from(["junk", "among", "shape", "mangled"]))
    if how == "among":
        value = [*old, value] if isinstance(old, list) else [value]
    elif how == "shape":
        value = draw(dressed(draw(contents(draw(st.lists(st.integers(0, 5), max_size=5))))))
    elif how == "mangled" and isinstance(old, np.ndarray) and old.ndim:
        value = draw(st.sampled_from(MANGLED))(old)
    return Statement(value, y, arguments) if name == "x" else Statement(x, value, arguments)
