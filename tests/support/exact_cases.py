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


N = np.arange(40)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(-9, 10, (40, 4))
CONSTANT, RAMP, ALTERNATING = np.full(40, 3), N - 7, 1 - 2 * (N % 2)
TONE = {q: np.array(v)[N % q] for q, v in {4: [0, 1, 0, -1], 3: [2, -1, -1]}.items()}
TONE[6] = np.array([2, 1, -1, -2, -1, 1])[N % 6]
SIMPLE = {
    "constant": CONSTANT,
    "ramp": RAMP,
    "quadratic ramp": (N - 5) ** 2,
    "alternating": ALTERNATING,
    "tone of period 4": TONE[4],
    "tone of period 3": TONE[3],
    "tone of period 6": TONE[6],
    "alternating ramp": ALTERNATING * RAMP,
    "doubling": 2 ** (N[:12]),
    "Fibonacci": np.array([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]),
    "white": NOISE[:, 0],
}
BIAS = {"": False, ", bias": True}


def impulses(*places: int, samples: int = 40) -> np.ndarray:
    """Ones at those samples, zeros elsewhere."""
    return np.isin(np.arange(samples), places).astype(int)


def stack(*channels: np.ndarray) -> np.ndarray:
    return np.stack(channels, -1)


def counting() -> Iterator[Exact]:
    """Too few rows, exactly as many, and one to spare."""
    words = {-2: "two rows short", -1: "one short", 0: "as many", 1: "one to spare"}
    for name, b in BIAS.items():
        for taps, inputs in ((3, 2), (2, 3), (4, 1)):
            for extra, word in words.items():
                rows, x = taps * inputs + b + extra, NOISE[:, :inputs]
                label = f"{word}, {taps} taps of {inputs}"
                yield case(f"{label}{name}", x[: rows + taps - 1], taps, bias=b)
                strided = x[: 2 * rows + taps - 2]
                yield case(f"{label}, stride 2{name}", strided, taps, stride=2, bias=b)
        yield case(f"one row, three taps{name}", NOISE[:3, :1], 3, bias=b)
    yield case("one unknown", NOISE[:1, :1], 1)
    yield case("one row, one unknown, bias", NOISE[:1, :1], 1, bias=True)
    yield case("two rows, one unknown, bias", NOISE[:2, :1], 1, bias=True)
    yield case("few rows of a constant", CONSTANT[:5], 4)
    yield case("few rows and a zero channel", NOISE[:7] * [1, 0, 1, 1], 3)
    yield case("as many rows of a constant", CONSTANT[:7], 4)


def simple() -> Iterator[Exact]:
    for word, x in SIMPLE.items():
        for name, b in BIAS.items():
            for taps in (1, 2, 4):
                yield case(f"{word}, {taps} taps{name}", x, taps, bias=b)
    sums = {
        "tones of 3 and 4": TONE[3] + TONE[4],
        "tones of 3 and 6": TONE[3] + TONE[6],
        "tones of 3, 4 and 6": TONE[3] + TONE[4] + 2 * TONE[6],
        "tone and constant": TONE[4] + CONSTANT,
        "tone and alternating": TONE[6] + ALTERNATING,
        "tone and ramp": TONE[4] + RAMP,
    }
    for word, x in sums.items():
        for name, b in BIAS.items():
            yield case(f"{word}{name}", x, 6, bias=b)
    for q in (2, 5, 7):
        for taps in (q - 1, q, q + 1):
            yield case(f"period {q}, {taps} taps", NOISE[N % q, 0], taps)
    yield case("period 5 of two channels", NOISE[N % 5, :2], 3)


def sparse() -> Iterator[Exact]:
    places = {
        "first": (0,), "second": (1,), "last": (39,), "last but one": (38,), "inner": (20,),
        "both ends": (0, 39), "last window": (37,), "apart": (5, 18, 31), "near": (5, 7),
        "every third": range(0, 40, 3), "every sixth": range(1, 40, 6),
    }  # fmt: skip
    for word, at in places.items():
        for name, b in BIAS.items():
            yield case(f"impulses, {word}{name}", impulses(*at), 4, bias=b)
    yield case("a step", (N >= 20).astype(int), 4)
    yield case("a step, bias", (N >= 20).astype(int), 4, bias=True)
    yield case("a step at the second sample", (N >= 1).astype(int), 4)
    yield case("a pulse at the end", (N >= 38).astype(int), 4)
    yield case("impulses in two channels", stack(impulses(0), impulses(20)), 3)


def channels() -> Iterator[Exact]:
    a, b, c = NOISE[:, 0], NOISE[:, 1], NOISE[:, 2]
    onehot = np.eye(3, dtype=int)[(N * N // 3) % 3]
    one_constant, zeros = np.ones_like(a), np.zeros_like(a)
    sets = {
        "independent": (a, b, c),
        "a zero channel": (a, zeros, c),
        "all zero": (zeros, zeros),
        "duplicate": (a, b, a),
        "negative": (a, -a),
        "proportional": (a, b, -4 * b),
        "odd proportion": (3 * a, b, 7 * a),
        "delayed copy": (a[1:], a[:-1]),
        "copy delayed by two": (a[2:], b[2:], a[:-2]),
        "copy delayed beyond the kernel": (a[4:], a[:-4]),
        "filtered copy": (a[1:], a[1:] + 2 * a[:-1]),
        "difference": (a[1:], b[1:], a[1:] - a[:-1]),
        "sum of two": (a, b, a + b),
        "sum to a constant": (a, b, 5 - a - b),
        "two that sum to a constant": (a, 12 - a, c),
        "constant beside noise": (a, one_constant),
        "ramp beside noise": (a, RAMP),
        "tones": (TONE[4], TONE[3]),
        "one tone in quadrature": (TONE[4], np.roll(TONE[4], 1)),
        "one-hot": tuple(onehot.T),
        "one-hot, one class dropped": tuple(onehot.T[:2]),
    }
    for word, members in sets.items():
        for name, bias in BIAS.items():
            yield case(f"channels, {word}{name}", stack(*members), 3, bias=bias)
    yield case("one-hot, one tap", onehot, 1)
    yield case("one-hot, one tap, bias", onehot, 1, bias=True)


def steps() -> Iterator[Exact]:
    """Strides that skip phases, dilations that split a signal into polyphase components."""
    for s in (2, 3):
        yield case(f"stride {s}, white", NOISE[:, :1], 3, stride=s)
        yield case(f"stride {s}, period {s}", NOISE[N % s, 0], 2, stride=s)
        yield case(f"stride {s}, period {2 * s}", NOISE[N % (2 * s), 0], 4, stride=s)
        yield case(f"stride {s}, only phase 0", NOISE[:, 0] * (N % s == 0), 4, stride=s)
        yield case(
            f"stride {s}, only phase 1, bias", NOISE[:, 0] * (N % s == 1), 4, stride=s, bias=True
        )
        yield case(f"stride {s}, period {s}, bias", NOISE[N % s, 0], 2, stride=s, bias=True)
        yield case(f"dilation {s}, white", NOISE[:, :1], 3, dilation=s)
        yield case(f"dilation {s}, period {s}", NOISE[N % s, 0], 3, dilation=s)
        yield case(f"dilation {s}, only component 0", NOISE[:, 0] * (N % s == 0), 3, dilation=s)
        yield case(f"dilation {s}, constant in every component", NOISE[N % s, 1], 2, dilation=s)
        yield case(
            f"stride and dilation {s}, period {s}", NOISE[N % s, :2], 2, stride=s, dilation=s
        )
    yield case(
        "stride 4, dilation 2, odd samples only", NOISE[:, 0] * (N % 2), 3, stride=4, dilation=2
    )
    yield case("stride 4, dilation 2, alternating", ALTERNATING, 3, stride=4, dilation=2)
    yield case("stride beyond the kernel", NOISE[:, :1], 2, stride=5)
    yield case("stride beyond the kernel, unread", impulses(2, 3, 8, 13, 14), 2, stride=5)


def padded() -> Iterator[Exact]:
    """Taps that only the zeros around a record tell apart."""
    paddings = {"full": "full", "causal": "causal", "same": "same", "(2, 0)": ((2, 0),),
                "(0, 1)": ((0, 1),), "(-3, 2)": ((-3, 2),), "(-2, -2)": ((-2, -2),)}  # fmt: skip
    for word, padding in paddings.items():
        for x in ("constant", "ramp", "tone of period 4"):
            yield case(f"{x}, padding {word}", SIMPLE[x], 4, padding=padding)
        yield case(f"constant, padding {word}, bias", CONSTANT, 4, padding=padding, bias=True)
        yield case(f"first impulse, padding {word}", impulses(0), 4, padding=padding)
    yield case("two samples, full", NOISE[:2, 0], 5, padding="full")
    yield case("one sample, causal", NOISE[:1, 0], 3, padding="causal")
    yield case("three samples, causal", NOISE[:3, 0], 3, padding="causal")
    yield case("a zero first, causal", np.array([0, 3, 1]), 3, padding="causal")
    yield case("more zeros than signal", NOISE[:2, 0], 3, padding=((6, 6),))
    yield case("taps that see zeros only", NOISE[:2, 0], 6, padding=((6, 0),))
    yield case("full, stride 2", NOISE[:2, 0], 3, padding="full", stride=2)
    yield case("same, stride 3, dilation 2", CONSTANT, 3, padding="same", stride=3, dilation=2)
    yield case("crop beyond the impulse", impulses(1), 3, padding=((-2, 0),))


def circular() -> Iterator[Exact]:
    """Spectra with empty bins, of exact numbers."""
    for name, b in BIAS.items():
        for x in ("constant", "alternating", "tone of period 4", "white"):
            yield case(f"circular {x}{name}", SIMPLE[x], 5, padding="circular", bias=b)
        yield case(
            f"circular differences{name}", a_difference(NOISE[:8, 0]), 8, padding="circular", bias=b
        )
    yield case("circular, as many taps as samples", NOISE[:6, 0], 6, padding="circular")
    yield case("circular, more taps than samples", NOISE[:5, 0], 7, padding="circular")
    yield case(
        "circular, dilation 2 of period 3", NOISE[N[:12] % 3, 0], 4, padding="circular", dilation=2
    )
    yield case("circular, stride 2 of period 4", NOISE[N % 4, 0], 4, padding="circular", stride=2)


def a_difference(x: np.ndarray) -> np.ndarray:
    """Without its zero frequency."""
    return x - np.roll(x, 1)


def scaled() -> Iterator[Exact]:
    """Powers of two, which are exact."""
    sets = {
        "white": NOISE[:, :2],
        "duplicate": NOISE[:, [0, 0, 1]],
        "filtered": stack(NOISE[1:, 0], NOISE[1:, 0] + 2 * NOISE[:-1, 0]),
        "tones": stack(TONE[4], TONE[3], NOISE[:, 0]),
        "sum to a constant": stack(NOISE[:, 0], 5 - NOISE[:, 0]),
    }
    for word, x in sets.items():
        for power in (-300, -40, 40, 300):
            first, places = np.eye(x.shape[1], dtype=int)[0], np.arange(x.shape[1])
            yield case(f"{word}, 2^{power} apart", np.ldexp(x, power * first), 3)
            for name, b in BIAS.items():
                powers = power * (places - 1)
                yield case(f"{word}, 2^{power} a channel{name}", np.ldexp(x, powers), 3, bias=b)
    for power in (-600, -300, -100):
        for at in (0, 1, 39):
            x = np.ldexp(NOISE[:, 0], power)
            x[at] = 1
            for name, b in BIAS.items():
                yield case(f"all but sample {at} 2^{power} below{name}", x, 3, bias=b)


def typed() -> Iterator[Exact]:
    """Every type of numbers that are exact in it."""
    bits = NOISE[:, :2] > 0
    for dtype in (np.float32, np.float16, np.int16, np.int8, np.int64):
        name = np.dtype(dtype).name
        yield case(f"{name}, white", NOISE.astype(dtype), 3)
        yield case(f"{name}, proportional", (NOISE[:, [0, 1, 1]] * [1, 1, -4]).astype(dtype), 3)
        yield case(f"{name}, tone", TONE[6].astype(dtype), 4, bias=True)
    yield case("uint8, white", (NOISE[:, :2] + 128).astype(np.uint8), 3)
    yield case("uint8, white, bias", (NOISE[:, :2] + 128).astype(np.uint8), 3, bias=True)
    yield case("uint8, full range", (NOISE[:, :1] * 14 + 127).astype(np.uint8), 3, padding="full")
    yield case("bool, white", bits, 3)
    yield case("bool, complement", stack(bits[:, 0], ~bits[:, 0]), 2, bias=True)
    yield case("int16, extremes", np.where(bits, 32767, -32768).astype(np.int16), 2)
    yield case(
        "float32, scales apart", (NOISE[:, :2] * 2.0 ** np.array([-60, 60])).astype(np.float32), 3
    )


FAMILIES = (counting, simple, sparse, channels, steps, padded, circular, scaled, typed)
CASES = [made for family in FAMILIES for made in family()]
BY_NAME = {case.name: case for case in CASES}
