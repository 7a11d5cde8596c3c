"""The data of a gradient descent as arrays: the records, or the sums over their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..leastsquares.curvature import NormalSums, normal_sums
from ..leastsquares.regression import Regression
from ..operators.windows import normal_form
from .base import Loss

# Momentum of plain descent by its names.
MOMENTUM = {"sgd": 0.0, "momentum": 0.9, "nesterov": 0.9}


class StepUnits(NamedTuple):
    """The units of a descent, of which the defaults of its step do not depend.

    Attributes:
        kernel: unit of the coordinates z.
        output: unit of the part of y that nuisance columns fit.
        loss: unit of the loss.
        rate: learning rate in these units, of an optimizer given by name.
        last: step at which a cosine schedule has reduced the rate to zero; 0 for a constant rate.
    """

    kernel: Any
    output: Any
    loss: Any
    rate: Any
    last: Any


class RecordArrays(NamedTuple):
    """The data of descent through the convolution: G groups of R coordinates and Q outputs.

    Rows are multiplied by the roots of their weights. N are orthonormal nuisance columns, which are
    projected out of A and y.

    Attributes:
        x: (N, *E, Cin), records in normal form, filled to one shape.
        y: (rows, Cout), without the part that N spans.
        rows: indices of the windows that are used in the fit; None if all are used.
        root: (rows, 1), roots of the weights; None for equal weights.
        basis: T (P, R) of kernels w = T z; None for the identity.
        ridge: (G, R, 1), factors of z² in the mean loss; None without a penalty.
        nuisance: N (rows, q); None without nuisance columns.
        products: NᵀA T (G, q, R), which the first look computes.
        units: the units of the descent.
    """

    x: Any
    y: Any
    rows: Any
    root: Any
    basis: Any
    ridge: Any
    nuisance: Any
    products: Any
    units: StepUnits


class SumArrays(NamedTuple):
    """The data of descent through the sums over rows.

    Attributes:
        gram: TᵀAᵀMA T (G, R, R).
        cross: TᵀAᵀMY (G, R, Q).
        squares: ‖M Y‖² (G, Q).
        ridge: (G, R, 1), factors of z² in the mean loss; None without a penalty.
        numbers: number of rows times outputs.
        units: the units of the descent.
    """

    gram: Any
    cross: Any
    squares: Any
    ridge: Any
    numbers: Any
    units: StepUnits


def sums_of(regression: Regression, units: StepUnits) -> SumArrays:
    """Return the sums of a regression for a descent on squares."""
    sums: NormalSums = normal_sums(regression)
    numbers = float(regression.matrix.rows * sums.squares.size)
    ridge = mean_ridge(regression, 1.0)
    return SumArrays(sums.gram, sums.cross, sums.squares, ridge, numbers, units)


def records_of(regression: Regression, loss: Loss, units: StepUnits) -> RecordArrays:
    """Return the records of a regression in the precision of the data."""
    design = regression.system.design
    kept = design.kept
    records = design.records_in_memory
    dtype = design.dtype

    samples = [normal_form(records[i][None], design.spec)[0] for i in kept.used]
    flags = [kept.flags_of(i) for i in kept.used]
    outputs = regression.targets.in_memory
    y = np.concatenate([outputs[i][f] for i, f in zip(kept.used, flags, strict=True)])
    y = y.astype(float)
    used = _filled(flags)
    rows = None if used.all() else np.flatnonzero(used)

    root = None
    confounds = design.nuisance.confounds
    if confounds is not None and confounds.weights is not None:
        root = np.concatenate([confounds.root(i) for i in kept.used])
        y = y * root
        root = root.astype(dtype)

    nuisance = nuisance_columns(regression)
    if nuisance is not None:
        # A second projection removes the rounding error of a large offset.
        for _ in range(2):
            y = y - nuisance @ (nuisance.T @ y)
        nuisance = nuisance.astype(dtype)

    basis = None
    t = regression.system.columns.t
    if not t.identity:
        basis = t.expand(np.eye(regression.system.columns.count)[None])[0].astype(dtype)
    ridge = mean_ridge(regression, loss.penalty_share)
    if ridge is not None:
        ridge = ridge.astype(dtype)
    x = _filled(samples).astype(dtype)
    return RecordArrays(x, y.astype(dtype), rows, root, basis, ridge, nuisance, None, units)


def nuisance_columns(regression: Regression) -> np.ndarray | None:
    """Return the orthonormal nuisance columns N (rows, q) in the order of time, or None."""
    matrix = regression.matrix
    if not matrix.plan.fitted:
        return None
    columns: np.ndarray = matrix.nuisance_columns.toarray()[matrix.plan.in_time]
    return columns


def mean_ridge(regression: Regression, share: float) -> np.ndarray | None:
    """Return the factors (G, R, 1) of z² that a penalty adds to the mean loss, or None.

    The exact methods minimize the sum of the loss, divided by ``share``, plus the penalty.
    """
    system = regression.system
    if system.strength == 0:
        return None
    numbers = regression.matrix.rows * regression.y_exponents.size
    ridge = share * system.strength / numbers * system.coordinates.weights
    return np.asarray(ridge[:, :, None])


def _filled(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return arrays as one, filled with zeros to the largest shape."""
    shape: Any = np.max([a.shape for a in arrays], axis=0)
    return np.stack([np.pad(a, [(0, n) for n in shape - a.shape]) for a in arrays])
