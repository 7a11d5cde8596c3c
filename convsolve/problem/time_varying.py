"""Kernels that change in time, as kernels of channels multiplied by polynomials of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..text import count
from .checks import integer
from .names import words_of
from .records import column_names, lists_arrays, numeric


def varying(
    x: Any, degree: int = 2, *, channels: Sequence[str] | None = None
) -> tuple[Any, list[str]]:
    """Return channels x(t)·P_j(t), whose kernels describe a kernel that changes in time.

    P_0 = 1 to P_degree are Legendre polynomials. Time runs from −1 at the first sample of the first
    record to 1 at the last sample of the last one, as if records followed each other without gaps.
    If h_j is the kernel of the channel x·P_j, the response to x at time t is Σ_j P_j(t)·h_j. The
    response is constant if all h_j of j ≥ 1 are zero, which `Solution.test` tests.

    Args:
        x: a record ``(T,)`` or ``(T, channels)``, or a list of records. NaN stay NaN.
        degree: the largest degree, 2 by default. A response that changes in steps or more often
            needs a larger one.
        channels: names of the channels of x. By default the columns of a data frame, or "x" for a
            single channel, otherwise "x0", "x1" and so on.

    Returns:
        The channels ``(T, channels·(degree + 1))`` in float64, of every record if x is a list, and
        their names. The first channels are those of x. Channels of one j are neighbours and have
        names such as "x × P1".

    Raises:
        TypeError: If x does not hold real numbers, or the degree is not an integer.
        ValueError: If a record is so short that the polynomials are linearly dependent on it. If
            records have several axes or different channels, or names are not as many as channels.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> rng = np.random.default_rng(0)
        >>> x, time = rng.standard_normal(2000), np.linspace(-1, 1, 2000)
        >>> y = (1 + time) * x + rng.standard_normal(2000)
        >>> channels, names = cs.varying(x, 1)
        >>> names
        ['x', 'x × P1']
        >>> fit = cs.solve(cs.Problem(channels, y, lags=(0, 4), channels=names))
        >>> bool(fit.test("x × P1").pvalue[0] < 1e-9)
        True
        >>> at_end = np.polynomial.legendre.legval(1.0, fit.impulse_response.T)
        >>> at_end.shape
        (5,)

    See Also:
        `Problem`, and `Ridge`, whose ``channel_groups`` give every j a strength of its own.
    """
    degree = integer(degree, "degree")
    several = lists_arrays(x)
    labels = [f"x[{i}]" for i in range(len(x))] if several else ["x"]
    records = [
        numeric(one, label, missing=True)
        for one, label in zip(x if several else [x], labels, strict=True)
    ]
    for i, (record, label) in enumerate(zip(records, labels, strict=True)):
        if record.ndim not in (1, 2) or not record.size:
            raise ValueError(
                f"{label} must be (T,) or (T, channels), got shape {record.shape}"
                + ", which is empty" * (not record.size)
            )
        records[i] = record.reshape(len(record), -1)
    counts = {record.shape[1] for record in records}
    if len(counts) > 1:
        raise ValueError(f"records of x have different numbers of channels: {sorted(counts)}")
    given = column_names(x[0] if several else x) if channels is None else channels
    names = _names(given, counts.pop())
    lengths = [len(record) for record in records]
    time = np.linspace(-1, 1, sum(lengths))
    parts = np.split(np.polynomial.legendre.legvander(time, degree), np.cumsum(lengths)[:-1])
    for part, label in zip(parts, labels, strict=True):
        if np.linalg.matrix_rank(part) <= degree:
            raise ValueError(
                f"{label} has {count(len(part), 'sample')} of {len(time)}, on which polynomials of "
                f"time up to degree {degree} are linearly dependent"
            )
    found = [
        (part[:, :, None] * record[:, None]).reshape(len(record), -1)
        for part, record in zip(parts, records, strict=True)
    ]
    times = ["", *(f" × P{j}" for j in range(1, degree + 1))]
    return (found if several else found[0]), [name + time for time in times for name in names]


def _names(given: Any, channels: int) -> list[str]:
    """Return the names of the channels of x."""
    if given is None:
        return ["x"] if channels == 1 else [f"x{i}" for i in range(channels)]
    return [*words_of(given, "channels", channels)]
