"""Penalties by name, and their matrices by formula, built without their roots."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.linalg

import convsolve as cs
from convsolve import Ridge, Smooth, SquaredExponential, StableSpline, Tikhonov
from convsolve.extend import Penalty
from convsolve.leastsquares.penalty import Bands

# Forms without a strength; `with_strength` gives one.
PENALTIES: dict[str, Any] = {
    "ridge": Ridge(),
    "first differences": Smooth(order=1),
    "second differences": Smooth(order=2),
    "squared exponential": SquaredExponential(length=0.8),
    "tc": StableSpline(kind="tc", decay=0.7),
    "dc": StableSpline(kind="dc", decay=0.6, correlation=-0.4),
    "ss": StableSpline(kind="ss", decay=0.8),
    # Those of `penalty_for`.
    "banded": None,
    "matrix": None,
}


def covariance(penalty: Penalty, lags: np.ndarray) -> np.ndarray:
    """K⁻¹ of one axis by its formula, entry by entry."""
    if isinstance(penalty, StableSpline):
        alpha = penalty.decay
        assert alpha is not None

        def entry(i: float, j: float) -> float:
            m, size = abs(i - j), abs(i) + abs(j)
            if penalty.kind == "ss":
                return alpha ** (1.5 * size) * (1.5 * alpha ** (m / 2) - 0.5 * alpha ** (1.5 * m))
            rho = alpha**0.5 if penalty.kind == "tc" else penalty.correlation
            assert rho is not None
            return alpha ** (size / 2) * rho**m
    else:
        assert isinstance(penalty, SquaredExponential)
        length = penalty.length

        def entry(i: float, j: float) -> float:
            return math.exp(-((i - j) ** 2) / (2 * length**2))

    return np.array([[entry(i, j) for j in lags] for i in lags])


def matrix(penalty: Penalty, problem: cs.Problem) -> np.ndarray:
    """Rows D with ‖D w‖² the penalty of a kernel w (taps × channels), built without `roots`."""
    spec, channels = problem.spec, problem.n_channels // problem.spec.groups
    eye, taps = np.eye(channels), int(np.prod(spec.kernel_size))
    if isinstance(penalty, (Ridge, Bands)):
        weights = np.array(penalty.weights) if isinstance(penalty, Bands) else np.ones(channels)
        return np.kron(np.eye(taps), np.diag(np.sqrt(np.resize(weights, channels))))
    if isinstance(penalty, Tikhonov):
        return np.kron(penalty.matrix[:, ::-1], eye)
    whole = np.ones((1, 1))
    order = penalty.order if isinstance(penalty, Smooth) else None
    if order is None:
        for lags, dilation in zip(problem._lags, spec.dilation, strict=True):
            root = np.linalg.cholesky(covariance(penalty, lags / dilation))
            whole = np.kron(whole, np.linalg.inv(root))
        return np.kron(whole, eye)
    free = np.ones(1, bool)
    for size in spec.kernel_size:
        # What each axis leaves free is kept beside its differences, and taken out of the whole.
        d = np.diff(np.eye(size), order, axis=0)
        null = scipy.linalg.null_space(d) if len(d) else np.eye(size)
        whole = np.kron(whole, np.concatenate([d, null.T]))
        free = np.kron(free, np.repeat([False, True], [len(d), null.shape[1]]))
    return np.kron(whole[~free], eye)


def penalty_for(name: str, problem: cs.Problem) -> Penalty:
    """The penalty of this name that fits a problem's channels and taps."""
    if name == "banded":
        channels = problem.n_channels
        labels = np.arange(channels) % (channels // problem.spec.groups)
        weights = tuple(np.geomspace(0.3, 30, len(set(labels))))
        return Bands(channel_groups=tuple(labels), weights=weights)
    if name == "matrix":
        taps = int(np.prod(problem.spec.kernel_size))
        rows = np.random.default_rng(5).standard_normal((max(taps - 1, 1), taps))
        return Tikhonov(matrix=rows)
    return PENALTIES[name]


def with_strength(penalty: Penalty, strength: Any) -> Penalty:
    """The same penalty with a strength."""
    return replace(penalty, strength=strength)
