"""Kernels that change in time, as kernels of channels multiplied by polynomials of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

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
        ValueError: If records have several axes or different channels, or names are not as many as
            channels.

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
    degree, several = integer(degree, "degree"), lists_arrays(x)
    records = [numeric(one, "x", missing=True) for one in (x if several else [x])]
    for a in records:
        if a.ndim not in (1, 2) or not a.size or a.shape[1:] != records[0].shape[1:]:
            raise ValueError(f"records of x must be (T,) or (T, channels), got shape {a.shape}")
    records = [a.reshape(len(a), -1) for a in records]
    size, ends = records[0].shape[1], np.cumsum([*map(len, records)])
    names = column_names(x[0] if several else x) if channels is None else channels
    powers = np.polynomial.legendre.legvander(np.linspace(-1, 1, ends[-1]), degree)
    found = [
        (p[:, :, None] * a[:, None]).reshape(len(a), -1)
        for p, a in zip(np.split(powers, ends[:-1]), records, strict=True)
    ]
    times = ["", *(f" × P{j}" for j in range(1, degree + 1))]
    numbered = ["x"] if size == 1 else [f"x{i}" for i in range(size)]
    words = words_of(names, "channels", size) or numbered
    return (found if several else found[0]), [name + time for time in times for name in words]
