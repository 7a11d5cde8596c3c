"""Smooth kernels: small differences along the lags."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..linalg.rank import EPS
from ..problem.checks import integer
from ..problem.kernel_space import ChannelSpace, ChannelTaps
from .penalty import Penalty, channel_taps, inverse


@dataclass(frozen=True, repr=False)
class Smooth(Penalty):
    """The penalty strength·‖D w‖² on differences D along the lags of every channel.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data.
        order: order of the differences, 1 (the default) or 2. Kernels that are constant (for 2,
            linear) along the lags are not penalized. In two and three dimensions the axes are
            multiplied. A kernel is then free only if no axis penalizes it.

    L is a right inverse of D. If x has an offset of a hundred times its standard deviation or more,
    fit a bias. Without a bias, differences of such columns lose digits and the status is
    "approximate". For a smooth kernel of a given length scale use `SquaredExponential`, for
    responses that decay `StableSpline`.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty=cs.Smooth(5.0, order=2))
        >>> fit.regularization.penalty
        'second differences'

    See Also:
        `Ridge`, `SquaredExponential`, `StableSpline` and `Tikhonov`.
    """

    _: KW_ONLY
    order: int = 1

    in_basis = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "order", integer(self.order, "order"))
        if self.order > 2:
            raise ValueError(f"order must be 1 or 2, got {self.order}")

    @property
    def title(self) -> str:
        """Name with the order."""
        return f"{('first', 'second')[self.order - 1]} differences"

    def roots(self, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return steps (for order 2, ramps) at every lag, and the constant (and linear) kernels."""
        order, taps = self.order, len(lags)
        n = np.linalg.qr(np.vander(np.linspace(-1, 1, taps), min(order, taps), increasing=True))[0]
        steps = np.tri(taps, max(taps - order, 0), -order)
        for _ in range(order - 1):
            steps = np.cumsum(steps, axis=0)
        # Projected twice, because the first projection leaves the rounding of large ramps.
        for _ in range(2):
            steps = steps - n @ (n.T @ steps)
        return steps, n

    def within(self, own: ChannelSpace, lags: np.ndarray) -> tuple[ChannelTaps, np.ndarray]:
        """Return T for the kernels V v of one channel, and flags of the columns with a penalty.

        D V is much smaller than D if the kernels are smooth, and has the rounding errors of its
        terms.
        """
        v = own.orthonormal.matrix
        if v is None:
            return super().within(own, lags)
        d = np.diff(np.eye(len(v)), self.order, axis=0)
        rounding = max(10.0, math.sqrt(len(v))) * EPS * float(np.linalg.norm(np.abs(d) @ np.abs(v)))
        root, free = inverse(d @ v, rounding)
        return channel_taps(own.kept, [(v @ root, v @ free)])
