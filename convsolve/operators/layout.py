"""The order of taps: in kernels, columns of the design matrix, and impulse responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def to_columns(kernel: Any, groups: int) -> Any:
    """Return a kernel (*K, Cin/groups, Cout) as (groups, P, Q), in NumPy or jax."""
    taps, outputs = math.prod(kernel.shape[:-1]), kernel.shape[-1]
    return kernel.reshape(taps, groups, outputs // groups).transpose(1, 0, 2)


def to_kernel(columns: Any, kernel_size: Sequence[int]) -> Any:
    """Return columns (groups, P, Q) as a kernel (*K, Cin/groups, Cout), in NumPy or jax."""
    groups, _, outputs = columns.shape
    return columns.transpose(1, 0, 2).reshape(*kernel_size, -1, groups * outputs)


def ascending(values: Any, axes: int) -> Any:
    """Return values of taps in the order and shape of an impulse response, in NumPy or jax.

    Args:
        values: (*K, Cin/groups, Cout), in the order of the kernel.
        axes: number of axes of the kernel.

    Returns:
        (*lags, Cin/groups, Cout) in ascending lags, without channel and output axes of length 1.
    """
    flipped = values[(slice(None, None, -1),) * axes]
    return flipped.squeeze(axis=tuple(i for i in (axes, axes + 1) if flipped.shape[i] == 1))


def reversed_taps(count: int, channels: int) -> np.ndarray:
    """Return the indices that reverse the taps of flattened kernels (*K, channels).

    Reversal of the C order of taps reverses every axis.
    """
    return np.arange(count).reshape(-1, channels)[::-1].reshape(-1)
