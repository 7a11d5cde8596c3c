"""The vocabulary of named problems: signals, geometries, adjustments and penalties."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import BSpline

from contract.problems import Rng, responses, rows_of
from contract.statement import Prior, Statement

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


RAGGED = ((140,), (67,), (101,), (67,), (20,))
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
    "motion at 1e4": _motion(ones=False, offset=1e4),
    "motion at 1e6 and ones": _motion(ones=True, offset=1e6),
    **{f"confounds like x to {size:.0e}": _like_x(size) for size in (1e-1, 1e-3, 1e-5, 1e-7)},
    "mask 1 %": _random_mask(0.01),
    "mask 30 %": _random_mask(0.3),
    "mask of blocks": _blocks,
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
    outputs = case.outputs * groups
    made = Statement(x, [np.zeros((*s, outputs)) for s in lengths], **geometry)
    rows = [rows_of(made, i) for i in range(len(x))]
    made = replace(made, y=[np.zeros((*shape, outputs)) for shape in rows])
    made = replace(made, y=responses(rng, made, 0.5, 0.0))
    for name in case.adjustments:
        change = ADJUSTMENTS[name]
        made = replace(made, **change) if isinstance(change, dict) else change(rng, made)
    return replace(made, prior=prior_of(case.prior, made))
