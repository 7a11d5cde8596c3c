"""Values of taps, which the library returns in ascending lags, in the order of the kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

import convsolve as cs


def kernel_shaped(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values shaped as an impulse response, as (*K, Cin/groups, Cout)."""
    return np.flip(np.asarray(values).reshape(shape), tuple(range(len(shape) - 2)))


def errors_of(fit: cs.Solution) -> np.ndarray:
    """The standard errors, kernel-shaped."""
    return kernel_shaped(fit.standard_error, fit.kernel.shape)


def band_of(fit: cs.Solution, *args: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """The confidence band, kernel-shaped."""
    low, high = fit.confidence_band(*args, **options)
    return kernel_shaped(low, fit.kernel.shape), kernel_shaped(high, fit.kernel.shape)


def covariance_of(fit: cs.Solution, output: int = 0) -> np.ndarray:
    """The covariance, in the order of ``kernel[..., output].reshape(-1)``."""
    taps = np.arange(fit.kernel[..., 0].size).reshape(fit.kernel.shape[:-1])
    order = np.flip(taps, tuple(range(taps.ndim - 1))).reshape(-1)
    return fit.covariance(output)[np.ix_(order, order)]


def taps_of(report: cs.Identifiability, name: str) -> np.ndarray:
    """A value per tap of a report, kernel-shaped."""
    return kernel_shaped(getattr(report, name), report.problem.kernel_shape)


def null_kernels(report: cs.Identifiability) -> list[np.ndarray]:
    """The null space of every group, (nullity, *K, Cin/groups)."""
    return [np.flip(v, tuple(range(1, v.ndim - 1))) for v in report.null_space]
