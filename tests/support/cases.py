"""Known-answer problems, and the table of which solver must claim which of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

import convsolve as cs
from support import dense
from support.dense import exact_least_squares

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Case:
    """A problem whose design matrix is ``matrix`` (m, P), with outputs y (m, Q)."""

    name: str
    problem: cs.Problem
    matrix: np.ndarray
    y: np.ndarray
    truth: np.ndarray  # (P, Q), the exact least-squares answer, of minimum norm
    condition: float
    full_rank: bool

    def kernel(self, fit: cs.Solution) -> np.ndarray:
        """The kernel of a solution as (P, Q)."""
        return np.asarray(fit.kernel, float).reshape(self.truth.shape)

    def error_bound(self) -> float:
        """100·eps·(κ + κ²ρ), ρ = ‖r‖/(‖A‖‖w‖), κ that of the equilibrated matrix."""
        scaled = self.matrix / np.maximum(np.linalg.norm(self.matrix, axis=0), 1e-300)
        values = np.linalg.svd(scaled, compute_uv=False)
        kappa = values[0] / values[np.linalg.matrix_rank(scaled) - 1]
        r = self.y - self.matrix @ self.truth
        rho = np.linalg.norm(r) / (np.linalg.norm(self.matrix) * np.linalg.norm(self.truth))
        return 100 * EPS * (kappa + kappa**2 * rho)


def from_svd(m: int, p: int, condition: float, rng: np.random.Generator) -> np.ndarray:
    """A matrix of the given condition, its singular values spaced evenly in the logarithm."""
    q = min(m, p)
    u = np.linalg.qr(rng.standard_normal((m, q)))[0]
    v = np.linalg.qr(rng.standard_normal((p, q)))[0]
    return (u * np.logspace(0, -np.log10(condition), q)) @ v.T


def as_strided(a: np.ndarray, y: np.ndarray, **options: object) -> cs.Problem:
    """A as one record read with a stride of one kernel: row i is x[iK : (i+1)K]."""
    k = a.shape[1]
    return cs.Problem(a.reshape(-1), y, kernel_size=k, stride=k, **options)


def as_records(a: np.ndarray, y: np.ndarray, **options: object) -> cs.Problem:
    """A as one record per row, each a single window of two channels."""
    k = a.shape[1] // 2
    return cs.Problem(a.reshape(-1, k, 2), y[:, None, :], kernel_size=k, **options)


def as_channels(a: np.ndarray, y: np.ndarray, **options: object) -> cs.Problem:
    """A as one record whose channels are its columns, with a single tap."""
    return cs.Problem(a, y, kernel_size=(1,), **options)


LAYOUTS: dict[str, Callable[..., cs.Problem]] = {
    "strided": as_strided,
    "records": as_records,
    "channels": as_channels,
}


def svd_case(
    m: int, p: int, outputs: int, condition: float, layout: str, noise: float, seed: int
) -> Case:
    """Known singular values; noise makes y leave the range of A."""
    rng = np.random.default_rng(seed)
    a = from_svd(m, p, condition, rng)
    y = a @ rng.standard_normal((p, outputs)) + noise * rng.standard_normal((m, outputs))
    shape = "tall" if m > p else "square" if m == p else "wide"
    return Case(
        f"{shape}-{layout}-{condition:.0e}{'-noisy' if noise else ''}",
        LAYOUTS[layout](a, y),
        a,
        y,
        exact_least_squares(a, y),
        condition,
        m >= p,
    )


def deficient_case(m: int, p: int, rank: int, layout: str, seed: int) -> Case:
    """A = B C in integers: the rank is exact, and so is the answer Cᵀ(CCᵀ)⁻¹(BᵀB)⁻¹Bᵀy."""
    rng = np.random.default_rng(seed)
    b = rng.integers(-5, 6, (m, rank)).astype(float)
    c = rng.integers(-5, 6, (rank, p)).astype(float)
    y = rng.integers(-9, 10, (m, 2)).astype(float)
    inner = exact_least_squares(b, y)
    truth = exact_least_squares(c, inner)
    a = b @ c
    values = np.linalg.svd(a, compute_uv=False)
    condition = values[0] / values[rank - 1]
    return Case(f"deficient-{layout}", LAYOUTS[layout](a, y), a, y, truth, condition, False)


def convolution_case(padding: str, noise: float, seed: int) -> Case:
    """A true convolution of white noise, 2 channels in 3 records, circular or full."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, 24, 2))
    w = rng.standard_normal((5, 2, 2))
    spec = cs.ConvSpec(5, padding=padding)
    y = cs.convolve(x, w, spec)
    y = y + noise * rng.standard_normal(y.shape)
    (a,) = dense.design_matrix(x, spec)
    flat = y.reshape(-1, 2)
    values = np.linalg.svd(a, compute_uv=False)
    return Case(
        f"convolution-{padding}{'-noisy' if noise else ''}",
        cs.Problem(x, y, spec=spec),
        a,
        flat,
        exact_least_squares(a, flat),
        values[0] / values[-1],
        True,
    )


CONDITIONS = (1e1, 1e4, 1e8, 1e12)

CASES: dict[str, Case] = {
    case.name: case
    for case in [
        *(
            svd_case(40, 8, 2, condition, layout, noise, seed)
            for seed, (condition, layout, noise) in enumerate(
                (c, layout, noise) for c in CONDITIONS for layout in LAYOUTS for noise in (0.0, 0.1)
            )
        ),
        *(svd_case(8, 8, 1, c, "strided", 0.1, 100 + i) for i, c in enumerate(CONDITIONS)),
        *(svd_case(400, 6, 3, c, "channels", 0.1, 200 + i) for i, c in enumerate((1e2, 1e12))),
        *(svd_case(5, 8, 2, 1e2, layout, 0.1, 300 + i) for i, layout in enumerate(LAYOUTS)),
        *(deficient_case(40, 8, 5, layout, 400 + i) for i, layout in enumerate(LAYOUTS)),
        *(
            convolution_case(padding, noise, 500)
            for padding in ("circular", "full")
            for noise in (0.0, 0.1)
        ),
    ]
}


@dataclass(frozen=True)
class Row:
    """Keywords of `solve`, and the cases that they must solve to their promise."""

    method: dict[str, Any]
    claims: Callable[[Case], bool]
    exact: bool  # whether it promises a certificate of at most 30 eps


def _gentle(case: Case) -> bool:
    return case.condition <= 20


def _round(case: Case) -> bool:
    return _gentle(case) and case.name.startswith(("tall-channels", "convolution"))


def _consistent(case: Case) -> bool:
    """Whether y is fitted exactly, so that all losses have the same answer."""
    left = np.linalg.norm(case.y - case.matrix @ case.truth)
    return _gentle(case) and bool(left <= 1e-12 * np.linalg.norm(case.y))


MOMENTUM = optax.sgd(0.3, momentum=0.95, nesterov=True)

TABLE: dict[str, Row] = {
    "svd": Row({"solver": "svd"}, lambda case: True, True),
    "qr": Row({"solver": "qr"}, lambda case: True, True),
    "normal": Row({"solver": "normal"}, lambda case: True, True),
    "auto": Row({}, lambda case: True, True),
    "cg": Row({"solver": "cg"}, lambda case: case.full_rank and case.condition <= 1e4, True),
    "fft": Row(
        {"solver": "fft"},
        lambda case: case.name in ("convolution-circular", "convolution-full"),
        True,
    ),
    "huber": Row({"loss": cs.HuberLoss(scale=1.0)}, _consistent, True),
    "absolute": Row({"loss": "absolute"}, _consistent, True),
    "momentum": Row({"solver": cs.GradientDescent(MOMENTUM, steps=30_000)}, _round, False),
    "lbfgs": Row({"solver": cs.GradientDescent(optax.lbfgs(), steps=500)}, _gentle, False),
}

CLAIMED = [(s, c) for s, row in TABLE.items() for c, case in CASES.items() if row.claims(case)]
# The solvers that hold their promise on every problem, whatever its condition or rank.
CLOSED = ["svd", "qr", "normal", "auto"]
