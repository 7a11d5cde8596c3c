"""Kernels as columns of the design matrix, and back: the one place that knows their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def to_columns(kernel: Any, groups: int) -> Any:
    """A kernel (*K, Cin/groups, Cout) as (groups, P, Q), in NumPy or jax."""
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).transpose(1, 0, 2)


def to_kernel(columns: Any, kernel_size: Sequence[int]) -> Any:
    """Columns (groups, P, Q) as a kernel (*K, Cin/groups, Cout), in NumPy or jax."""
    groups, _, outputs = columns.shape
    return columns.transpose(1, 0, 2).reshape(*kernel_size, -1, groups * outputs)
