"""The table of exact cases: inputs of exact numbers, whose identifiability is known exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from support.exact_signals import (
    BIAS,
    CONSTANT,
    NOISE,
    RNG,
    SIMPLE,
    TONE,
    Exact,
    N,
    case,
    channels,
    counting,
    impulses,
    simple,
    sparse,
    stack,
    steps,
)

IMAGE = RNG.integers(-9, 10, (9, 8, 2))
VOLUME = RNG.integers(-9, 10, (6, 5, 5))


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
    yield case("circular image", IMAGE[:4, :4], (2, 3), padding="circular")
    rows = np.repeat(NOISE[:4, :1], 6, 1)
    yield case("circular image of constant rows", rows, (2, 2), padding="circular")
    wave = np.array([0, 1, 0, -1])
    yield case(
        "circular image of one wave", np.add.outer(wave, 0 * wave), (3, 3), padding="circular"
    )
    yield case("circular image of two waves", np.add.outer(wave, wave), (3, 3), padding="circular")
    yield case(
        "circular image of a product", np.multiply.outer(wave, wave), (3, 3), padding="circular"
    )


def a_difference(x: np.ndarray) -> np.ndarray:
    """Without its zero frequency."""
    return x - np.roll(x, 1)


def records() -> Iterator[Exact]:
    """Lists of records of different lengths, some too short to give a row."""
    pieces = [NOISE[:9, :2], NOISE[9:11, :2], NOISE[11:25, :2], NOISE[25:28, :2]]
    for name, b in BIAS.items():
        yield case(f"records{name}", pieces, 4, bias=b)
        yield case(
            f"records, as many rows{name}",
            [NOISE[:6, :1], NOISE[:1, :1], NOISE[6 : 10 + b, :1]],
            4,
            bias=b,
        )
        yield case(f"a level of its own in each{name}", [CONSTANT[:5], 2 * CONSTANT[:8]], 3, bias=b)
        yield case(
            f"one window each{name}", [NOISE[i : i + 3, :1] for i in range(0, 30, 4)], 3, bias=b
        )
        yield case(
            f"one level, full{name}", [CONSTANT[:5], CONSTANT[:1]], 3, padding="full", bias=b
        )
    yield case("records, one short", [NOISE[:4, :1], NOISE[:2, :1], NOISE[4:7, :1]], 3)
    yield case("a tone in each", [TONE[4][:9], TONE[4][1:12]], 3)
    yield case("another tone in each", [TONE[4][:9], TONE[3][:12]], 4)
    yield case("records, causal", [NOISE[:2, :1], NOISE[2:3, :1]], 3, padding="causal")
    yield case("records, circular", [TONE[4][:4], TONE[3][:3]], 4, padding="circular")
    yield case("images", [IMAGE[:4, :5, 0], IMAGE[4:6, :2, 0], IMAGE[:2, 1:, 1]], (2, 2))


def grouped() -> Iterator[Exact]:
    a, b, c = NOISE[:, 0], NOISE[:, 1], NOISE[:, 2]
    sets = {
        "healthy": (2, (a, b, c, NOISE[:, 3])),
        "second deficient": (2, (a, b, c, c)),
        "first deficient": (2, (TONE[4], TONE[4], a, b)),
        "both, unequally": (2, (CONSTANT, CONSTANT, a, a)),
        "one zero": (2, (a, b, 0 * a, 0 * a)),
        "alike across": (2, (a, b, a, b)),
        "depthwise": (3, (a, CONSTANT, TONE[4])),
        "depthwise, sum to a constant": (3, (a, b, 7 - a - b)),
    }
    for word, (groups, members) in sets.items():
        for name, bias in BIAS.items():
            yield case(f"groups, {word}{name}", stack(*members), 3, groups=groups, bias=bias)
    yield case("groups, too few rows", stack(a, b, c, c)[:7], 3, groups=2)
    yield case("groups, full", stack(CONSTANT, TONE[4]), 3, groups=2, padding="full")


def lagged() -> Iterator[Exact]:
    """`Problem` by lags, with y as long as x."""
    for lags in ((0, 3), (-2, 1), (-3, -1), (1, 3)):
        for edges in ("drop", "zeros", "circular"):
            for word, x in {"white": NOISE[:12, :2], "constant": CONSTANT[:12]}.items():
                yield case(f"{word}, lags {lags}, {edges}", x, lags=lags, edges=edges)
    for edges in ("drop", "zeros", "circular"):
        yield case(f"tone, lags, {edges}, bias", TONE[3][:12], lags=(-1, 2), edges=edges, bias=True)
        yield case(
            f"first impulse, lags, {edges}", impulses(0, samples=9), lags=(-2, 2), edges=edges
        )
        yield case(
            f"records, lags, {edges}",
            [NOISE[:7, :1], CONSTANT[:3, None]],
            lags=(-1, 2),
            edges=edges,
        )
        yield case(
            f"groups, lags, {edges}",
            NOISE[:9, [0, 1, 1]] * [1, 1, 0],
            lags=(-1, 1),
            edges=edges,
            groups=3,
        )
        yield case(f"image, lags, {edges}", IMAGE[:5, :4, 0], lags=((0, 1), (-1, 1)), edges=edges)


def images() -> Iterator[Exact]:
    bright = np.zeros((7, 7), int)
    bright[3, 3] = 5
    corner = np.zeros((7, 7), int)
    corner[0, 0] = 1
    i, j = np.indices((8, 7))
    pictures = {
        "white": IMAGE[..., 0],
        "constant": np.full((6, 7), 2),
        "constant rows": np.repeat(NOISE[:8, :1], 7, 1),
        "separable": np.multiply.outer(NOISE[:8, 0], NOISE[:7, 1]),
        "one bright pixel": bright,
        "a bright corner": corner,
        "checkerboard": 1 - 2 * ((i + j) % 2),
        "plane": 2 * i - 3 * j,
        "stripes": np.array([2, -1, -1])[(i + j) % 3],
    }
    for word, x in pictures.items():
        for padding in ("valid", "same"):
            yield case(f"image, {word}, {padding}", x, (3, 2), padding=padding)
        yield case(f"image, {word}, full, bias", x, (2, 2), padding="full", bias=True)
    yield case("image, two channels", IMAGE, (2, 3))
    yield case("image, duplicate channel", IMAGE[..., [0, 0]], (2, 2), stride=(2, 1))
    yield case("image, stride over a checkerboard", pictures["checkerboard"], (2, 2), stride=2)
    yield case(
        "image, dilation over a checkerboard", pictures["checkerboard"], (2, 2), dilation=(2, 1)
    )
    yield case("image, too few windows", IMAGE[:3, :3, 0], (2, 3))
    yield case("image, cropped to its dark part", bright, (2, 2), padding=((0, -4), (0, 0)))
    yield case("image, groups", IMAGE * [1, 0], (2, 2), groups=2)
    volumes = {
        "white": VOLUME,
        "constant": np.ones((4, 4, 4), int),
        "constant planes": np.broadcast_to(NOISE[:6, 0, None, None], (6, 4, 4)),
        "one bright voxel": impulses(62, samples=150).reshape(6, 5, 5),
    }
    for word, x in volumes.items():
        for padding in ("valid", "full", "circular"):
            yield case(f"volume, {word}, {padding}", x, (2, 2, 2), padding=padding)
    yield case("volume, strided", VOLUME, (2, 1, 2), stride=(2, 1, 1), dilation=(1, 1, 2))


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


FAMILIES = (
    counting, simple, sparse, channels, steps, padded, circular, records, grouped, lagged, images,
    scaled, typed,
)  # fmt: skip
CASES = [made for family in FAMILIES for made in family()]
BY_NAME = {case.name: case for case in CASES}
