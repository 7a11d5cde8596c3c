"""Penalties by name, and their matrices by formula, built without their roots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import convsolve as cs
from contract import oracle
from contract.statement import Prior
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
    """K⁻¹ of one axis by its formula."""
    prior = Prior(getattr(penalty, "kind", "gaussian"), 1.0, vars(penalty))
    return oracle.covariance(prior, np.asarray(lags)).astype(float)


def matrix(penalty: Penalty, problem: cs.Problem) -> np.ndarray:
    """Rows D with ‖D w‖² the penalty of a kernel w (taps × channels), built without `roots`."""
    spec, channels = problem.spec, problem.n_channels // problem.spec.groups
    eye, taps = np.eye(channels), int(np.prod(spec.kernel_size))
    if isinstance(penalty, (Ridge, Bands)):
        weights = np.array(penalty.weights) if isinstance(penalty, Bands) else np.ones(channels)
        return np.kron(np.eye(taps), np.diag(np.sqrt(np.resize(weights, channels))))
    if isinstance(penalty, Tikhonov):
        return np.kron(penalty.matrix[:, ::-1], eye)
    whole, free = np.ones((1, 1)), np.ones(1, bool)
    for size, lags, dilation in zip(spec.kernel_size, problem._lags, spec.dilation, strict=True):
        if isinstance(penalty, Smooth):
            # The null space of the differences of every axis, which is free in the whole.
            root, rows = oracle.differences(size, penalty.order)
        else:
            root = np.linalg.inv(np.linalg.cholesky(covariance(penalty, lags / dilation)))
            rows = size
        whole, free = np.kron(whole, root), np.kron(free, np.arange(len(root)) >= rows)
    return np.kron(whole[~free].astype(float), eye)


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
