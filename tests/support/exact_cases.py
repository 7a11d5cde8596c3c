"""The table of exact cases: inputs of exact numbers, whose identifiability is known exactly.

They have one axis. `test_geometries` draws exact inputs of other geometries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import convsolve as cs
from support import dense


@dataclass(frozen=True)
class Exact:
    """A record ``(W, C)`` and the arguments of `Problem`."""

    name: str
    x: np.ndarray
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def bias(self) -> bool:
        return self.options.get("bias", False)

    def problem(self) -> cs.Problem:
        return cs.Problem(self.x, **self.options)

    def matrices(self) -> np.ndarray:
        """The design matrices (groups, rows, P), by brute force."""
        rest = {k: v for k, v in self.options.items() if k != "bias"}
        return dense.design_matrix([self.x.astype(float)], cs.ConvSpec(**rest))


def case(name: str, x: np.ndarray, kernel_size: int, **options: Any) -> Exact:
    """A case of one record; x of one channel may lack its axis."""
    record = x if x.ndim > 1 else x[..., None]
    return Exact(name, record, {"kernel_size": (kernel_size,)} | options)


def with_and_without_bias(name: str, x: np.ndarray, taps: int, **options: Any) -> Iterator[Exact]:
    yield case(name, x, taps, **options)
    yield case(f"{name}, bias", x, taps, bias=True, **options)


N = np.arange(40)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(-9, 10, (40, 4))
CONSTANT, RAMP, ALTERNATING = np.full(40, 3), N - 7, 1 - 2 * (N % 2)
TONE = {q: np.array(v)[N % q] for q, v in {4: [0, 1, 0, -1], 3: [2, -1, -1]}.items()}
TONE[6] = np.array([2, 1, -1, -2, -1, 1])[N % 6]


def impulses(*places: int, samples: int = 40) -> np.ndarray:
    """Ones at those samples, zeros elsewhere."""
    return np.isin(np.arange(samples), places).astype(int)


def stack(*channels: np.ndarray) -> np.ndarray:
    return np.stack(channels, -1)


def simple() -> Iterator[Exact]:
    signals = {
        "constant": CONSTANT,
        "ramp": RAMP,
        "quadratic ramp": (N - 5) ** 2,
        "alternating": ALTERNATING,
        "tone of period 4": TONE[4],
        "alternating ramp": ALTERNATING * RAMP,
        "doubling": 2 ** (N[:12]),
        "Fibonacci": np.array([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]),
        "tones of 3, 4 and 6": TONE[3] + TONE[4] + 2 * TONE[6],
        "tone and constant": TONE[4] + CONSTANT,
        "tone and ramp": TONE[4] + RAMP,
    }
    for word, x in signals.items():
        for taps in (2, 6):
            yield from with_and_without_bias(f"{word}, {taps} taps", x, taps)
    for taps in (4, 5, 6):
        yield case(f"period 5, {taps} taps", NOISE[N % 5, 0], taps)
    yield case("period 5 of two channels", NOISE[N % 5, :2], 3)


def sparse() -> Iterator[Exact]:
    places = {
        "first": (0,), "second": (1,), "last": (39,), "inner": (20,), "both ends": (0, 39),
        "last window": (37,), "near": (5, 7), "every third": range(0, 40, 3),
    }  # fmt: skip
    for word, at in places.items():
        yield from with_and_without_bias(f"impulses, {word}", impulses(*at), 4)
    yield from with_and_without_bias("a step", (N >= 20).astype(int), 4)
    yield case("a step at the second sample", (N >= 1).astype(int), 4)
    yield case("impulses in two channels", stack(impulses(0), impulses(20)), 3)


def channels() -> Iterator[Exact]:
    a, b, c = NOISE[:, 0], NOISE[:, 1], NOISE[:, 2]
    onehot = np.eye(3, dtype=int)[(N * N // 3) % 3]
    sets = {
        "independent": (a, b, c),
        "a zero channel": (a, 0 * a, c),
        "all zero": (0 * a, 0 * a),
        "duplicate": (a, b, a),
        "odd proportion": (3 * a, b, 7 * a),
        "delayed copy": (a[1:], a[:-1]),
        "copy delayed beyond the kernel": (a[4:], a[:-4]),
        "filtered copy": (a[1:], a[1:] + 2 * a[:-1]),
        "sum to a constant": (a, b, 5 - a - b),
        "constant and noise": (a, np.ones_like(a)),
        "ramp and noise": (a, RAMP),
        "one tone in quadrature": (TONE[4], np.roll(TONE[4], 1)),
        "one-hot": tuple(onehot.T),
    }
    for word, members in sets.items():
        yield from with_and_without_bias(f"channels, {word}", stack(*members), 3)
    yield from with_and_without_bias("one-hot, one tap", onehot, 1)


def padded() -> Iterator[Exact]:
    """Taps that only the zeros around a record tell apart."""
    for padding in ("full", "causal", "same", ((2, 0),), ((-3, 2),)):
        yield from with_and_without_bias(f"constant, {padding}", CONSTANT, 4, padding=padding)
        yield case(f"first impulse, padding {padding}", impulses(0), 4, padding=padding)
    yield case("taps that see zeros only", NOISE[:2, 0], 6, padding=((6, 0),))
    yield case("same, stride 3, dilation 2", CONSTANT, 3, padding="same", stride=3, dilation=2)


def circular() -> Iterator[Exact]:
    """Spectra with empty bins, of exact numbers."""
    x = NOISE[:, 0]
    signals = {
        "constant": CONSTANT,
        "tone of period 4": TONE[4],
        "white": x,
        "differences": x[:8] - np.roll(x[:8], 1),
    }
    for word, signal in signals.items():
        yield from with_and_without_bias(f"circular {word}", signal, 5, padding="circular")
    yield case("circular, as many taps as samples", x[:6], 6, padding="circular")
    yield case("circular, more taps than samples", x[:5], 7, padding="circular")
    yield case("circular, dilation 2", x[N[:12] % 3], 4, padding="circular", dilation=2)
    yield case("circular, stride 2", x[N % 4], 4, padding="circular", stride=2)


def scaled() -> Iterator[Exact]:
    """Powers of two, which are exact."""
    sets = {
        "white": NOISE[:, :2],
        "duplicate": NOISE[:, [0, 0, 1]],
        "filtered": stack(NOISE[1:, 0], NOISE[1:, 0] + 2 * NOISE[:-1, 0]),
        "sum to a constant": stack(NOISE[:, 0], 5 - NOISE[:, 0]),
    }
    for word, x in sets.items():
        for power in (-300, 40):
            powers = power * (np.arange(x.shape[1]) - 1)
            name = f"{word}, 2^{power} per channel"
            yield from with_and_without_bias(name, np.ldexp(x, powers), 3)
    for power in (-600, -100):
        for at in (0, 1, 39):
            x = np.ldexp(NOISE[:, 0], power)
            x[at] = 1
            yield from with_and_without_bias(f"all but sample {at} 2^{power} below", x, 3)


def typed() -> Iterator[Exact]:
    """Every type of numbers that are exact in it."""
    bits = NOISE[:, :2] > 0
    for dtype in (np.float32, np.float16, np.int16, np.int8, np.int64):
        name = np.dtype(dtype).name
        yield case(f"{name}, proportional", (NOISE[:, [0, 1, 1]] * [1, 1, -4]).astype(dtype), 3)
        yield case(f"{name}, tone", TONE[6].astype(dtype), 4, bias=True)
    yield case("uint8, full range", (NOISE[:, :1] * 14 + 127).astype(np.uint8), 3, padding="full")
    yield case("bool, complement", stack(bits[:, 0], ~bits[:, 0]), 2, bias=True)
    yield case("int16, extremes", np.where(bits, 32767, -32768).astype(np.int16), 2)
    apart = NOISE[:, :2] * 2.0 ** np.array([-60, 60])
    yield case("float32, scales apart", apart.astype(np.float32), 3)


FAMILIES = (simple, sparse, channels, padded, circular, scaled, typed)
BY_NAME = {case.name: case for family in FAMILIES for case in family()}
