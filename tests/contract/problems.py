"""Random members of the product of all choices, each drawn from an integer seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import convsolve as cs
from contract.oracle import windows_of
from contract.statement import Prior, Statement
from support import dense

Rng = np.random.Generator

# --- the axes of the product: names with relative frequencies

PADDINGS = {"valid": 3, "same": 1, "full": 1, "causal": 1, "circular": 1, "explicit": 1}
EDGES = {"drop": 3, "zeros": 2, "circular": 1}
CONTENTS = {
    "white": 6, "coloured": 3, "events": 4, "integers": 1, "tone": 1, "constant channel": 1,
    "zero channel": 1, "twins": 2, "near twins": 1, "ramp channel": 1, "alternating": 1,
    "silent start": 1, "another start": 1,
}  # fmt: skip
OFFSETS = {0.0: 6, 1.0: 2, 1e3: 1, 1e6: 1, 1e9: 1}
SCALES = {"one": 6, "common": 1, "per channel": 2, "extreme": 1}
NOISES = {0.0: 1, 1e-6: 1, 0.1: 3, 1.0: 3, 100.0: 1}
MASKS = {
    "none": 6, "few": 2, "many": 1, "blocks": 2, "per output": 2, "one record": 1,
    "artefacts": 1, "gaps under the mask": 1,
}  # fmt: skip
MISSING = {"none": 5, "x": 1, "y": 1, "both": 1}
WEIGHTS = {"none": 5, "per record": 2, "per row": 2, "zeros": 1}
CONFOUNDS = {"none": 6, "intercept": 2, "drift": 2, "arrays": 1, "arrays and ones": 1}
DRIFTS = {0.0: 2, 10.0: 1, 1e4: 1}
PENALTIES = {
    "none": 8, "ridge": 3, "banded": 2, "smooth": 4, "gaussian": 1, "tc": 2, "dc": 1, "ss": 1,
    "tikhonov": 2,
}  # fmt: skip
LAYOUTS = {"list": 2, "batch": 1}


def chosen(rng: Rng, frequencies: dict[Any, int]) -> Any:
    """One of some names, by their frequencies."""
    names = list(frequencies)
    shares = np.array(list(frequencies.values()), float)
    return names[rng.choice(len(names), p=shares / shares.sum())]


# --- geometry

# Per axis: the most taps with the largest stride and dilation, the most samples, few or many rows.
SIZES = {1: (8, 3), 2: (3, 2), 3: (2, 2)}
MOST_SAMPLES = {1: 700, 2: 26, 3: 9}
ROWS = {1: ((1, 8), (40, 240)), 2: ((1, 4), (5, 11)), 3: ((1, 3), (4, 6))}


def geometry(rng: Rng) -> dict[str, Any]:
    """Taps, stride, dilation, padding or lags, groups, channels and outputs."""
    ndim = int(rng.choice([1, 2, 3], p=[0.82, 0.14, 0.04]))
    most, widest = SIZES[ndim]
    taps = tuple(int(k) for k in rng.integers(1, most + 1, ndim))
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    found: dict[str, Any] = {
        "taps": taps,
        "groups": groups,
        "channels": groups * int(rng.integers(1, 3 + (groups == 1))),
        "outputs": groups * int(rng.integers(1, 3)),
    }
    if rng.random() < 0.45:
        first = [int(v) for v in rng.integers(-3, 3, ndim)]
        lags = tuple((a, a + k - 1) for a, k in zip(first, taps))
        stride = (1,) * ndim
        return found | {
            "lags": lags, "edges": chosen(rng, EDGES), "padding": None, "stride": stride
        }  # fmt: skip
    stride, dilation = (
        tuple(int(v) for v in rng.integers(1, widest + 1, ndim)) if rng.random() < 0.5 else one
        for one in ((1,) * ndim,) * 2
    )
    if rng.random() < 0.15:
        stride = tuple((k - 1) * d + 2 for k, d in zip(taps, dilation))
    padding = chosen(rng, PADDINGS)
    if padding == "explicit":
        padding = tuple((int(rng.integers(-2, 6)), int(rng.integers(-2, 6))) for _ in taps)
    return found | {"stride": stride, "dilation": dilation, "padding": padding}


def shapes(rng: Rng, made: dict[str, Any], one_shape: bool) -> list[tuple[int, ...]]:
    """Shapes of the records: mostly with rows to spare, sometimes with too few."""
    ndim, wide = len(made["taps"]), rng.random() < 0.12
    records = int(rng.integers(1, 5))
    stride, dilation = made.get("stride", (1,) * ndim), made.get("dilation", (1,) * ndim)
    span = [(k - 1) * d + 1 for k, d in zip(made["taps"], dilation)]
    rows = ROWS[ndim][not wide]
    if ndim == 1 and not wide:
        rows = (rows[0] // records + 4, rows[1] // records)

    def shape() -> tuple[int, ...]:
        many = rng.integers(*rows, ndim)
        steps = zip(span, many, stride)
        return tuple(min(s + int(n) * d, MOST_SAMPLES[ndim]) for s, n, d in steps)

    if one_shape or (made["padding"] == "same" and max(stride) > 1):
        return [shape()] * records
    return [shape() for _ in range(records)]


# --- signals


def _coloured(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    found = rng.standard_normal(shape)
    for i in range(1, len(found)):
        found[i] += 0.9 * found[i - 1]
    return found


def _events(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    found = np.zeros(shape)
    count = max(1, int(found.size * rng.uniform(0.01, 0.12)))
    found.flat[rng.choice(found.size, count, replace=False)] = np.exp(rng.standard_normal(count))
    return found


def _tone(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    time = np.indices(shape[:-1]).sum(0)[..., None]
    return np.sin(rng.uniform(0.1, 1, shape[-1]) * time + rng.uniform(0, 3, shape[-1]))


def _whole(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-9, 10, shape).astype(float)


SIGNALS: dict[str, Callable[[Rng, tuple[int, ...]], np.ndarray]] = {
    "coloured": _coloured,
    "events": _events,
    "tone": _tone,
    "integers": _whole,
    "twins": _whole,
    "alternating": lambda rng, shape: np.indices(shape).sum(0) % 2 * 2.0 - 1,
}


def inputs(rng: Rng, kind: str, each: list[tuple[int, ...]], channels: int) -> list[np.ndarray]:
    """Records of one kind of x."""
    signal = SIGNALS.get(kind, lambda rng, shape: rng.standard_normal(shape))
    found = [signal(rng, (*shape, channels)) for shape in each]
    last, level = channels - 1, float(rng.standard_normal())
    for x in found:
        if kind == "constant channel":
            x[..., last] = level
        elif kind == "zero channel":
            x[..., last] = 0
        elif kind == "twins" and channels > 1:
            x[..., last] = np.roll(x[..., 0], int(rng.integers(0, 2)), 0)
        elif kind == "near twins" and channels > 1:
            x[..., last] = x[..., 0] + 1e-6 * rng.standard_normal(x.shape[:-1])
        elif kind == "ramp channel":
            x[..., last] = np.indices(x.shape[:-1])[0]
        elif kind == "silent start":
            x[: len(x) // 3] = 0
        elif kind == "another start":
            x[: len(x) // 3] += 100
    return found


# --- rows


def masks(rng: Rng, kind: str, rows: list[tuple[int, ...]], outputs: int) -> Any:
    """Boolean arrays for all records, or None."""
    if kind == "none":
        return None
    wide = (outputs,) if kind == "per output" else ()
    dropped = {"many": 0.3, "per output": 0.1}.get(kind, 0.03)
    found = [rng.random((*shape, *wide)) >= dropped for shape in rows]
    if kind == "blocks":
        for flags in found:
            if len(flags) > 3:
                first = int(rng.integers(0, len(flags) - 2))
                flags[first : first + max(1, len(flags) // 4)] = False
    elif kind == "one record" and len(found) > 1:
        found[int(rng.integers(len(found)))][...] = False
    return found


def spoilt(rng: Rng, arrays: list[np.ndarray], value: float, share: float) -> list[np.ndarray]:
    """Copies in which a share of the entries has another value."""
    found = [a.copy() for a in arrays]
    for a in found:
        a[rng.random(a.shape) < share] = value
    return found


def weights(rng: Rng, kind: str, rows: list[tuple[int, ...]]) -> Any:
    """Weights of records or rows, or None."""
    if kind == "none":
        return None
    if kind == "per record":
        return [float(w) for w in rng.uniform(0.2, 4, len(rows))]
    found = [rng.uniform(0.2, 4, shape) for shape in rows]
    if kind == "zeros":
        found = [w * (rng.random(w.shape) > 0.1) for w in found]
    return found


def confounds(
    rng: Rng, kind: str, rows: list[tuple[int, ...]]
) -> tuple[int | None, list[np.ndarray] | None]:
    """A degree or None, and arrays or None."""
    if kind == "none":
        return None, None
    if kind in ("intercept", "drift"):
        return (0 if kind == "intercept" else int(rng.integers(1, 4))), None
    found = [rng.standard_normal((*shape, int(rng.integers(1, 3)))) for shape in rows]
    columns = found[0].shape[-1]
    found = [np.resize(c, (*c.shape[:-1], columns)) for c in found]
    if kind == "arrays and ones":
        found = [np.concatenate([c, np.ones((*c.shape[:-1], 1))], -1) for c in found]
    return None, found


def drifting(rng: Rng, records: list[np.ndarray], degree: int, size: float) -> list[np.ndarray]:
    """Records with a polynomial in time of a degree."""
    found = []
    for a in records:
        time = np.linspace(-1, 1, len(a)).reshape(-1, *(1,) * (a.ndim - 1))
        found.append(
            a + size * sum(rng.standard_normal() * time**k for k in range(1, degree + 1)) * a.std()
        )
    return found


# --- penalties


def prior(rng: Rng, kind: str, made: Statement, unit: float) -> Prior | None:
    """A penalty of a random strength, in the square of the unit of a column."""
    if kind == "none":
        return None
    strength = float(unit * 10.0 ** rng.uniform(-5, 3))
    size, settings = math.prod(made.taps), {}
    if kind == "banded":
        labels = tuple(int(v) for v in rng.integers(0, 3, made.channels))
        settings = {
            "channel_groups": labels,
            "weights": tuple(rng.uniform(0.1, 9, len(set(labels)))),
        }
    elif kind == "smooth":
        settings = {"order": int(rng.integers(1, 3))}
    elif kind == "gaussian":
        settings = {"length": float(rng.uniform(0.5, 0.9))}
    elif kind in ("tc", "dc", "ss"):
        settings = {"kind": kind, "decay": float(rng.uniform(0.6, 0.95))}
        settings |= {"correlation": float(rng.uniform(-0.7, 0.9))} if kind == "dc" else {}
    elif kind == "tikhonov":
        settings = {"matrix": rng.standard_normal((int(rng.integers(1, size + 2)), size))}
    return Prior(kind, strength, settings)


PACKAGE = {
    "ridge": cs.Ridge, "smooth": cs.Smooth, "gaussian": cs.SquaredExponential,
    "tc": cs.StableSpline, "dc": cs.StableSpline, "ss": cs.StableSpline, "tikhonov": cs.Tikhonov,
}  # fmt: skip


def penalty_of(prior: Prior, strength: Any) -> cs.extend.Penalty:
    """A penalty as an object of the package, with a strength: a number, or one per output."""
    if prior.kind == "banded":
        strengths = np.multiply.outer(prior.settings["weights"], strength)
        return cs.Ridge(strengths, channel_groups=prior.settings["channel_groups"])
    return PACKAGE[prior.kind](strength, **prior.settings)


# --- the whole


@dataclass(frozen=True)
class Member:
    """A statement, how its records are passed, and a description."""

    seed: int
    statement: Statement
    layout: str
    text: str


def member(seed: int) -> Member:
    """The member of the product with a number."""
    rng = np.random.default_rng(seed)
    made, layout = geometry(rng), chosen(rng, LAYOUTS)
    each = shapes(rng, made, layout == "batch")
    content, offset = chosen(rng, CONTENTS), chosen(rng, OFFSETS)
    channels, outputs = made.pop("channels"), made.pop("outputs")
    x = inputs(rng, content, each, channels)
    kind = chosen(rng, CONFOUNDS)
    drift = chosen(rng, DRIFTS)
    plain = Statement(x, [np.zeros((*s, outputs)) for s in each], **made)
    if made["padding"] is not None:
        counts = [rows_of(plain, i) for i in range(len(x))]
        plain = replace(plain, y=[np.zeros((*n, outputs)) for n in counts])
    rows = [y.shape[:-1] for y in plain.y]
    degree, columns = confounds(rng, kind, rows)
    scale = scales(rng, chosen(rng, SCALES), channels)
    x = [a + offset for a in x]
    if degree and drift:
        x = drifting(rng, x, degree, drift)
    plain = replace(plain, x=[a * scale for a in x])
    noise, y_offset = chosen(rng, NOISES), chosen(rng, OFFSETS)
    y = responses(rng, plain, noise, y_offset)
    if degree and drift:
        y = drifting(rng, y, degree, drift)
    unit = float(np.median([np.square(a).sum() for a in plain.x])) / channels
    names = {
        "mask": chosen(rng, MASKS),
        "missing": chosen(rng, MISSING),
        "weights": chosen(rng, WEIGHTS),
        "penalty": chosen(rng, PENALTIES),
    }
    plain = replace(
        plain,
        y=y,
        bias=bool(rng.random() < 0.5),
        drift=degree,
        confounds=columns,
        weights=weights(rng, names["weights"], rows),
        mask=masks(rng, names["mask"], rows, outputs),
        prior=prior(rng, names["penalty"], plain, unit or 1.0),
    )
    plain = with_gaps(rng, plain, names["mask"], names["missing"])
    names |= {"confounds": f"drift {degree}, {drift:g}" if kind == "drift" else kind}
    text = (
        f"{geometry_text(plain)}; x {content}, offset {offset:g}, scales {scale.tolist()}; y noise "
        f"{noise:g}, offset {y_offset:g}; bias {plain.bias}; {names}; {layout}"
    )
    return Member(seed, plain, layout, text)


IN_A_BASIS = ("ridge", "banded", "smooth")


def in_a_basis(one: Member) -> Member:
    """A member with random functions of the lag and windows of lags."""
    rng, made = np.random.default_rng([one.seed, 2]), one.statement
    taps, channels = made.taps[0], made.channels
    functions, windows = None, None
    if made.groups == 1 and rng.random() < 0.4 and made.lags is not None:
        ends = np.sort(rng.integers(0, taps, (channels, 2)), axis=1)
        ends[0], ends[-1, 1] = (0, ends[0, 1]), taps - 1
        windows = tuple((int(first), int(last)) for first, last in ends)
    made = replace(made, windows=windows)
    # Other penalties are refused in a basis.
    if rng.random() < 0.8 and (made.prior is None or made.prior.kind in IN_A_BASIS):
        counts = made.kept.sum(0)
        functions = tuple(_functions(rng, int(count)) for count in counts)
        functions = functions[:1] * channels if made.groups > 1 else functions
        made = replace(made, functions=functions if any(f is not None for f in functions) else None)
    text = f"{one.text}; functions {made.functions}, windows {windows}"
    return replace(one, statement=made, text=text)


def _functions(rng: Rng, lags: int) -> np.ndarray | None:
    """Cosines, random functions, dependent functions, or None."""
    count, kind = int(rng.integers(1, lags // 2 + 2)), rng.integers(4)
    if kind == 0:
        return None
    if kind == 1:
        return np.cos(np.pi / lags * np.outer(np.arange(lags) + 0.5, range(count)))
    found = rng.standard_normal((lags, count))
    if kind == 3 and count > 2:
        found[:, -1] = found[:, :-1].sum(1)
    return found


def rows_of(made: Statement, record: int) -> tuple[int, ...]:
    """The samples of y of a record along every axis."""
    if made.lags is not None:
        return tuple(-(-w // s) for w, s in zip(made.x[record].shape[:-1], made.stride))
    pads = made.padding if not isinstance(made.padding, str) else [made.padding] * len(made.taps)
    axes = zip(made.x[record].shape[:-1], made.taps, made.stride, made.dilation, pads)
    return tuple(dense.axis_geometry(*axis)[1] for axis in axes)


def scales(rng: Rng, kind: str, channels: int) -> np.ndarray:
    """Factors of the channels."""
    if kind == "one":
        return np.ones(channels)
    if kind == "extreme":
        return np.full(channels, 10.0 ** rng.choice([-100, 100]))
    several = channels if kind == "per channel" else 1
    return np.broadcast_to(10.0 ** rng.uniform(-8, 8, several), channels)


def responses(rng: Rng, made: Statement, noise: float, offset: float) -> list[np.ndarray]:
    """Outputs of a random kernel in the units of x, with noise relative to their size."""
    each, inputs_each = made.outputs // made.groups, made.channels // made.groups
    found = []
    sizes = np.array([np.abs(a).reshape(-1, made.channels).max(0) for a in made.x]).max(0)
    w = rng.standard_normal((math.prod(made.taps), made.channels, each))
    w = w / np.where(sizes > 0, sizes, 1)[:, None]
    for i, y in enumerate(made.y):
        values = windows_of(made, i).values.astype(float)
        parts = [
            np.einsum("nkc,kco->no", values[..., own], w[:, own])
            for own in (slice(g * inputs_each, (g + 1) * inputs_each) for g in range(made.groups))
        ]
        clean = np.concatenate(parts, axis=1).reshape(y.shape)
        found.append(clean + noise * rng.standard_normal(y.shape) + offset)
    return found


def with_gaps(rng: Rng, made: Statement, mask: str, missing: str) -> Statement:
    """Artefacts or NaN under the mask, and missing samples elsewhere."""
    if mask == "artefacts" and made.mask is not None:
        y = [np.where(m[..., None], y, 1e8) for m, y in zip(made.mask, made.y)]
        made = replace(made, y=y)
    elif mask == "gaps under the mask" and made.mask is not None:
        y = [np.where(m[..., None], y, np.nan) for m, y in zip(made.mask, made.y)]
        made = replace(made, y=y)
    if missing != "none":
        made = replace(made, missing="drop")
    if missing in ("x", "both"):
        made = replace(made, x=spoilt(rng, made.x, np.nan, 0.01))
    if missing in ("y", "both"):
        made = replace(made, y=spoilt(rng, made.y, np.nan, 0.03))
    return made


def geometry_text(made: Statement) -> str:
    """The geometry and the sizes in one line."""
    where = f"lags {made.lags}, {made.edges}" if made.lags else f"padding {made.padding}"
    sizes = [a.shape[:-1] for a in made.x]
    return (
        f"taps {made.taps}, stride {made.stride}, dilation {made.dilation}, {where}, "
        f"groups {made.groups}; records {sizes}, {made.channels} to {made.outputs}"
    )
