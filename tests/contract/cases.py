"""The vocabulary of problems: signals, geometries, adjustments and penalties."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import BSpline

import convsolve as cs
from contract.oracle import axis_of, windows_of
from contract.statement import Prior, Statement

Rng = np.random.Generator

# --- signals: record lengths, channels, and values


def coloured(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """White noise in images, an autoregression along time."""
    found = rng.standard_normal(shape)
    for i in range(1, len(found) if len(shape) == 2 else 0):
        found[i] += 0.7 * found[i - 1]
    return found


def events(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Few samples other than zero."""
    found = np.zeros(shape)
    places = rng.choice(found.size, max(2, found.size // 25), replace=False)
    found.flat[places] = np.exp(rng.standard_normal(len(places)))
    return found


def tones(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Two frequencies, the same in all channels."""
    time = np.arange(shape[0])[:, None]
    phase = np.arange(shape[1])
    return np.sin(0.4 * time + phase) + np.sin(0.9 * time + 2 * phase)


# The last record has fewer rows than a drift of degree 2 has columns, or none.
RAGGED = ((140,), (67,), (101,), (67,), (20,), (9,))
SIGNALS: dict[str, tuple[Callable[..., np.ndarray], tuple[tuple[int, ...], ...], int]] = {
    "one record": (coloured, ((300,),), 3),
    "ragged": (coloured, RAGGED, 3),
    "batch": (coloured, ((90,),) * 4, 3),
    "events": (events, ((301,),), 2),
    "events, ragged": (events, RAGGED, 2),
    "events, batch": (events, ((150,),) * 2, 3),
    "images": (coloured, ((20, 17),) * 2, 2),
    "sparse images": (events, ((20, 17),) * 2, 2),
    "wide": (coloured, ((26,),), 3),
    "tones": (tones, ((160,), (90,)), 2),
    "volumes": (coloured, ((9, 7, 8),) * 2, 2),
}

# --- geometries

GEOMETRIES: dict[str, dict[str, Any]] = {
    "drop": {"taps": (8,), "lags": ((0, 7),), "edges": "drop", "padding": None},
    "zeros": {"taps": (8,), "lags": ((-2, 5),), "edges": "zeros", "padding": None},
    "circular": {"taps": (8,), "lags": ((0, 7),), "edges": "circular", "padding": None},
    "drop, slow y": {"taps": (8,), "lags": ((-1, 6),), "stride": (3,), "padding": None},
    "zeros, slow y": {
        "taps": (6,),
        "lags": ((0, 5),),
        "stride": (4,),
        "edges": "zeros",
        "padding": None,
    },
    "valid": {"taps": (6,)},
    "full": {"taps": (6,), "padding": "full"},
    "causal, dilation 3": {"taps": (5,), "padding": "causal", "dilation": (3,)},
    "stride 3, dilation 2": {"taps": (5,), "stride": (3,), "dilation": (2,)},
    "stride beyond the kernel": {"taps": (6,), "stride": (7,)},
    "cropped": {"taps": (5,), "padding": ((-3, 4),)},
    "groups": {"taps": (5,), "groups": 3},
    "groups, same": {"taps": (5,), "groups": 3, "padding": "same"},
    "image": {"taps": (3, 4), "stride": (1, 1), "dilation": (1, 1)},
    "image, strides": {"taps": (2, 3), "stride": (2, 1), "dilation": (1, 2), "padding": "full"},
    "image, gaps": {"taps": (2, 3), "stride": (3, 4), "dilation": (1, 1)},
    "image, cropped": {
        "taps": (3, 2),
        "stride": (1, 1),
        "dilation": (1, 2),
        "padding": ((-1, 3), (2, 1)),
    },
    "future": {"taps": (6,), "lags": ((-7, -2),), "padding": None},
    "late, zeros": {"taps": (5,), "lags": ((3, 7),), "edges": "zeros", "padding": None},
    "late, circular": {"taps": (5,), "lags": ((3, 7),), "edges": "circular", "padding": None},
    "image, drop": {"taps": (3, 2), "stride": (2, 2), "lags": ((0, 2), (-1, 0)), "padding": None},
    "image, circular": {
        "taps": (2, 3),
        "stride": (1, 1),
        "lags": ((-1, 0), (0, 2)),
        "edges": "circular",
        "padding": None,
    },
    "volume": {"taps": (2, 1, 3), "stride": (1, 2, 1), "dilation": (2, 1, 1), "padding": "same"},
}

# --- adjustments: functions of a generator and a statement


def _shapes(made: Statement) -> list[tuple[int, ...]]:
    return [y.shape[:-1] for y in made.y]


def _random_mask(share: float, outputs: bool = False) -> Callable[[Rng, Statement], Statement]:
    def adjusted(rng: Rng, made: Statement) -> Statement:
        more = (made.outputs,) if outputs else ()
        return replace(made, mask=[rng.random((*s, *more)) >= share for s in _shapes(made)])

    return adjusted


def _blocks(rng: Rng, made: Statement) -> Statement:
    flags = [np.ones(shape, bool) for shape in _shapes(made)]
    for f in flags:
        f[len(f) // 4 : len(f) // 2] = False
    return replace(made, mask=flags)


def _artefact(samples: int) -> Callable[[Rng, Statement], Statement]:
    """Samples of 1e8 in x, and a mask of the rows which read them."""

    def adjusted(rng: Rng, made: Statement) -> Statement:
        x = [a.copy() for a in made.x]
        mask = [np.ones(shape, bool) for shape in _shapes(made)]
        x[0][60 : 60 + samples] = 1e8
        mask[0][60 - 2 : 60 + samples + made.taps[0]] = False
        return replace(made, x=x, mask=mask)

    return adjusted


def _end(rng: Rng, made: Statement) -> Statement:
    """A mask of all rows but the last tenth."""
    return replace(made, mask=[np.arange(math.prod(s)) >= 0.9 * s[0] for s in _shapes(made)])


def _gaps(name: str, share: float) -> Callable[[Rng, Statement], Statement]:
    def adjusted(rng: Rng, made: Statement) -> Statement:
        found = [a.copy() for a in getattr(made, name)]
        for a in found:
            a[rng.random(a.shape) < share] = np.nan
        return replace(made, missing="drop", **{name: found})

    return adjusted


def _record_weights(rng: Rng, made: Statement) -> Statement:
    return replace(made, weights=[float(w) for w in 4.0 ** rng.uniform(-1, 1, len(made.y))])


def _row_weights(zeros: float = 0.0) -> Callable[[Rng, Statement], Statement]:
    def adjusted(rng: Rng, made: Statement) -> Statement:
        found = [rng.uniform(0.3, 3, shape) for shape in _shapes(made)]
        return replace(made, weights=[w * (rng.random(w.shape) >= zeros) for w in found])

    return adjusted


def _motion(ones: bool, offset: float = 1.0) -> Callable[[Rng, Statement], Statement]:
    def adjusted(rng: Rng, made: Statement) -> Statement:
        found = [rng.standard_normal((*s, 2)).cumsum(0) * 0.1 + offset for s in _shapes(made)]
        if ones:
            found = [np.concatenate([c, np.ones((*c.shape[:-1], 1))], -1) for c in found]
        return replace(made, confounds=found)

    return adjusted


def _tones(rng: Rng, made: Statement) -> Statement:
    """Confounds that span a tone of every phase."""
    turn = [0.3 * np.arange(s[0]) for s in _shapes(made)]
    return replace(made, confounds=[np.stack([np.cos(t), np.sin(t)], 1) + 1 for t in turn])


def _like_x(size: float) -> Callable[[Rng, Statement], Statement]:
    """Confounds that differ from the first channel of x by noise of a ``size``."""

    def adjusted(rng: Rng, made: Statement) -> Statement:
        found = [a[..., :1] + size * rng.standard_normal((*a.shape[:-1], 1)) for a in made.x]
        found = [np.concatenate([c, np.ones_like(c)], -1) for c in found]
        return replace(made, confounds=found)

    return adjusted


def _offset(of_x: float, of_y: float) -> Callable[[Rng, Statement], Statement]:
    def adjusted(rng: Rng, made: Statement) -> Statement:
        x = [a + of_x * (1 + i) for i, a in enumerate(made.x)]
        return replace(made, x=x, y=[b + of_y for b in made.y])

    return adjusted


def _drifting(size: float) -> Callable[[Rng, Statement], Statement]:
    def adjusted(rng: Rng, made: Statement) -> Statement:
        def line(a: np.ndarray) -> np.ndarray:
            return np.linspace(-1, 1, len(a)).reshape(-1, *(1,) * (a.ndim - 1))

        x = [a + size * (line(a) + 0.7 * line(a) ** 2) for a in made.x]
        return replace(made, x=x, y=[b + size * (line(b) - 0.3 * line(b) ** 2) for b in made.y])

    return adjusted


def _scales(rng: Rng, made: Statement) -> Statement:
    sizes = 10.0 ** np.linspace(-8, 8, made.channels)
    return replace(made, x=[a * sizes for a in made.x], y=[b * 1e-5 for b in made.y])


def _step(rng: Rng, made: Statement) -> Statement:
    x = [a.copy() for a in made.x]
    x[0][len(x[0]) // 2 :] += 1e6
    return replace(made, x=x)


def _transient(rng: Rng, made: Statement) -> Statement:
    x = [a.copy() for a in made.x]
    x[0][0] = 1e8
    return replace(made, x=x)


def _last_channel(value: Callable[[np.ndarray], Any]) -> Callable[[Rng, Statement], Statement]:
    """Another last channel, which y does not respond to."""

    def adjusted(rng: Rng, made: Statement) -> Statement:
        x = [a.copy() for a in made.x]
        for a in x:
            a[..., -1] = value(a)
        return replace(made, x=x)

    return adjusted


def _other_x(value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Rng, Statement], Statement]:
    """The same function of time in all channels."""
    return lambda rng, made: replace(
        made, x=[np.repeat(value(_time(a))[..., None], made.channels, -1) for a in made.x]
    )


def _time(x: np.ndarray) -> np.ndarray:
    return np.indices(x.shape[:-1])[0].astype(float)


def _integers(rng: Rng, made: Statement) -> Statement:
    whole = [[np.round(5 * a).astype(np.int16) for a in several] for several in (made.x, made.y)]
    return replace(made, x=whole[0], y=whole[1])


def _float32(rng: Rng, made: Statement) -> Statement:
    single = [[a.astype(np.float32) for a in several] for several in (made.x, made.y)]
    return replace(made, x=single[0], y=single[1])


# --- bases and windows of lags


def _splines(lags: int) -> np.ndarray:
    """Clamped cubic B-splines."""
    inner = np.linspace(0, lags - 1, max(2, lags // 2 - 1))
    knots = np.concatenate([[0] * 3, inner, [lags - 1] * 3])
    return BSpline.design_matrix(np.arange(lags), knots, 3).toarray()


def _cosines(lags: int) -> np.ndarray:
    """A constant and cosines."""
    return np.cos(np.pi * np.outer(np.arange(lags) + 0.5, range(min(4, lags))) / lags)


def _dependent(lags: int) -> np.ndarray:
    """Three functions of which one is the sum of the others."""
    each = _cosines(lags)[:, [1, 3]]
    return np.column_stack([each, each.sum(1)])


def _basis(*several: Callable[[int], np.ndarray] | None) -> Callable[[Rng, Statement], Statement]:
    """Bases of the channels in turn, on the lags of their windows."""

    def adjusted(rng: Rng, made: Statement) -> Statement:
        counts = made.kept.sum(0)
        each = zip(np.resize(np.array(several, object), made.channels), counts)
        functions = tuple(None if one is None else one(int(count)) for one, count in each)
        return replace(made, functions=functions)

    return adjusted


def _windows(rng: Rng, made: Statement) -> Statement:
    last = math.prod(made.taps) - 1
    windows = ((0, last - 1), (1, last), (1, 4))
    return replace(made, windows=tuple(windows[c % 3] for c in range(made.channels)))


ADJUSTMENTS: dict[str, dict[str, Any] | Callable[[Rng, Statement], Statement]] = {
    "bias": {"bias": True},
    "intercept": {"drift": 0},
    "drift 1": {"drift": 1},
    "drift 2": {"drift": 2},
    "motion": _motion(ones=False),
    "motion and ones": _motion(ones=True),
    "tones": _tones,
    "motion at 1e4": _motion(ones=False, offset=1e4),
    "motion at 1e6 and ones": _motion(ones=True, offset=1e6),
    **{f"confounds like x to {size:.0e}": _like_x(size) for size in (1e-1, 1e-3, 1e-5, 1e-7)},
    "mask 1 %": _random_mask(0.01),
    "mask 30 %": _random_mask(0.3),
    "mask of blocks": _blocks,
    "mask of all but the end": _end,
    "mask per output": _random_mask(0.1, outputs=True),
    "artefact of 1e8": _artefact(9),
    "sample of 1e8": _artefact(1),
    "gaps in x": _gaps("x", 0.01),
    "gaps in y": _gaps("y", 0.05),
    "weights per record": _record_weights,
    "weights per row": _row_weights(),
    "zero weights": _row_weights(0.2),
    "offset 3": _offset(3.0, 0.0),
    "offset 1e6": _offset(1e6, 7.0),
    "offset 1e6 in y": _offset(0.0, 1e6),
    "offset 1e9": _offset(1e9, 7.0),
    "drifting by 10": _drifting(10.0),
    "drifting by 1e4": _drifting(1e4),
    "drifting by 1e6": _drifting(1e6),
    "scales": _scales,
    "step of 1e6": _step,
    "transient of 1e8": _transient,
    "twin channels": _last_channel(lambda x: x[..., 0]),
    "small twin": _last_channel(lambda x: 2.0**-20 * x[..., 0]),
    "lagged twin": _last_channel(lambda x: np.roll(x[..., 0], 2, axis=0)),
    "near twin": _last_channel(lambda x: x[..., 0] + 1e-9 * np.cos(_time(x) ** 2)),
    "constant channel": _last_channel(lambda x: 3.7),
    "zero channel": _last_channel(lambda x: 0.0),
    "quadratic channel": _last_channel(lambda x: 5 + 0.25 * _time(x) + 2.0**-7 * _time(x) ** 2),
    "constant y": lambda rng, made: replace(made, y=[0 * y + 0.1 for y in made.y]),
    "one tone": _other_x(lambda time: np.cos(0.3 * time) + 1),
    "period 4": _other_x(lambda time: np.array([1.0, 0.0, -1.0, 0.0])[time.astype(int) % 4]),
    "splines": _basis(_splines),
    "splines in one channel": _basis(_splines, None, None),
    "splines, cosines": _basis(_splines, _cosines),
    "cosines": _basis(_cosines),
    "cosines of all sizes": _basis(lambda lags: _cosines(lags) * 10.0 ** np.arange(-9, 7, 4)),
    "dependent functions": _basis(_dependent, _cosines),
    "one function": _basis(lambda lags: _splines(lags)[:, 1:2]),
    "windows": _windows,
    "int16": _integers,
    "float32": _float32,
}

# --- penalties

PACKAGE = {
    "ridge": cs.Ridge, "smooth": cs.Smooth, "gaussian": cs.SquaredExponential,
    "tc": cs.StableSpline, "dc": cs.StableSpline, "ss": cs.StableSpline, "tikhonov": cs.Tikhonov,
}  # fmt: skip
PRIORS = {
    "ridge": Prior("ridge", 10.0, {}),
    "banded": Prior("banded", 3.0, {"channel_groups": (0, 1, 1), "weights": (0.5, 20.0)}),
    "first differences": Prior("smooth", 5.0, {"order": 1}),
    "second differences": Prior("smooth", 1e-3, {"order": 2}),
    "squared exponential": Prior("gaussian", 2.0, {"length": 0.8}),
    "tc": Prior("tc", 1.0, {"kind": "tc", "decay": 0.9}),
    "dc": Prior("dc", 30.0, {"kind": "dc", "decay": 0.7, "correlation": -0.4}),
    "ss": Prior("ss", 0.1, {"kind": "ss", "decay": 0.8}),
    "matrix": Prior("tikhonov", 2.0, {}),
}


def prior_of(name: str | None, made: Statement) -> Prior | None:
    """The penalty with a name, with settings that fit the sizes of a statement."""
    if name is None:
        return None
    found = PRIORS[name]
    if name == "banded":
        labels = tuple(int(v) for v in np.resize((0, 1, 1), made.channels))
        return found._replace(settings=found.settings | {"channel_groups": labels})
    if name == "matrix":
        taps = math.prod(made.taps)
        rows = np.random.default_rng(5).standard_normal((max(taps - 2, 1), taps))
        return found._replace(settings={"matrix": rows})
    return found


def penalty_of(prior: Prior, strength: Any) -> cs.extend.Penalty:
    """A penalty as an object of the package, with a strength: a number, or one per output."""
    if prior.kind == "banded":
        strengths = np.multiply.outer(prior.settings["weights"], strength)
        return cs.Ridge(strengths, channel_groups=prior.settings["channel_groups"])
    return PACKAGE[prior.kind](strength, **prior.settings)


# --- the table


class Case(NamedTuple):
    """A signal, a geometry, adjustments in the order in which they are applied, and a penalty.

    ``outputs`` are those of a group.
    """

    signal: str
    geometry: str
    adjustments: tuple[str, ...] = ()
    prior: str | None = None
    outputs: int = 2

    def __str__(self) -> str:
        words = [self.signal, self.geometry, *self.adjustments, *filter(None, [self.prior])]
        return "; ".join(words) + f"; {self.outputs} outputs" * (self.outputs > 2)


def statement(case: Case) -> Statement:
    """The problem of a case: the response of a random kernel to the signal, and noise."""
    rng = np.random.default_rng(sum(map(ord, str(case))))
    values, lengths, channels = SIGNALS[case.signal]
    geometry = GEOMETRIES[case.geometry]
    groups = geometry.get("groups", 1)
    x = [values(rng, (*shape, channels)) for shape in lengths]
    made = Statement(x, [np.zeros((*s, case.outputs * groups)) for s in lengths], **geometry)
    taps, inputs = math.prod(made.taps), channels // groups
    w, y = rng.standard_normal((taps, groups, inputs, case.outputs)), []
    for i, shape in enumerate(lengths):
        rows = [len(axis_of(made, axis, size).samples) for axis, size in enumerate(shape)]
        values_read = windows_of(made, i).values.reshape(-1, taps, groups, inputs)
        clean = np.einsum("nkgi,kgio->ngo", values_read.astype(float), w)
        y.append(clean.reshape(*rows, made.outputs))
        y[i] += 0.5 * rng.standard_normal(y[i].shape)
    made = replace(made, y=y)
    for name in case.adjustments:
        change = ADJUSTMENTS[name]
        made = replace(made, **change) if isinstance(change, dict) else change(rng, made)
    return replace(made, prior=prior_of(case.prior, made))


# --- cases at random

# At most one of each is drawn; names that a problem refuses are not drawn together.
CHOICES = (
    (
        "offset 3", "offset 1e6", "offset 1e9", "offset 1e6 in y", "scales", "drifting by 10",
        "drifting by 1e4", "twin channels", "small twin", "lagged twin", "near twin",
        "constant channel", "zero channel", "quadratic channel", "one tone", "period 4",
    ),
    ("bias", "intercept", "drift 1", "drift 2", "motion", "motion, bias", "motion, drift 1",
     "motion and ones"),
    ("mask 1 %", "mask 30 %", "mask of blocks", "mask per output"),
    ("gaps in x", "gaps in y", "gaps in x, gaps in y"),
    ("weights per record", "weights per row", "zero weights"),
)  # fmt: skip
OF_LAGS = (
    "windows", "splines", "splines in one channel", "splines, cosines", "cosines",
    "dependent functions", "one function",
)  # fmt: skip
IN_A_BASIS = ("ridge", "banded", "first differences", "second differences")


def random_case(seed: int) -> Case:
    """A signal, a geometry that fits it, some adjustments, and a penalty or none."""
    rng = np.random.default_rng(seed)
    geometry = str(rng.choice([*GEOMETRIES]))
    made = GEOMETRIES[geometry]
    groups, axes = made.get("groups", 1), len(made["taps"])
    signals = [
        name
        for name, (_, lengths, channels) in SIGNALS.items()
        if len(lengths[0]) == axes and channels % groups == 0
    ]
    names: list[str] = []
    for several in CHOICES:
        if rng.random() < 0.5:
            names += str(rng.choice(several)).split(", ")
    priors = [*PRIORS]
    # Functions without a mean cancel the digits of x that a large offset leaves.
    large = any(name.startswith("offset 1e") for name in names)
    if "lags" in made and axes == 1 and not large and rng.random() < 0.6:
        names.append(str(rng.choice(OF_LAGS)))
        priors = priors if names[-1] == "windows" else [*IN_A_BASIS]
    prior = str(rng.choice(priors)) if rng.random() < 0.5 else None
    return Case(str(rng.choice(signals)), geometry, tuple(names), prior)
