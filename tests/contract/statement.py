"""A least-squares problem as plain data, which the oracle and the package both read."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np


class Prior(NamedTuple):
    """A quadratic penalty: its kind, its strength and its settings.

    ``kind`` is "ridge", "banded", "smooth", "gaussian", "tc", "dc", "ss" or "tikhonov".
    ``strength`` is a number, or one number per output. ``settings`` are the arguments of the
    corresponding class of the package; those of "banded" are a label for every channel, and a
    factor of the strength for every label.
    """

    kind: str
    strength: float | tuple[float, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """Records, geometry, rows and penalty of one problem.

    Attributes:
        x: input records ``(*samples, channels)``.
        y: output records ``(*rows, outputs)``. With ``lags``, a sample for every stride of x.
        taps, stride, dilation: one number per axis.
        padding: a name or (before, after) pairs per axis. None with ``lags``.
        lags: (first, last) per axis, or None.
        edges: "drop", "zeros" or "circular", with ``lags``.
        groups: convolution groups.
        bias: whether a constant per output is fitted.
        mask: per record ``(*rows,)`` or ``(*rows, outputs)``, or None.
        missing: "raise" or "drop".
        weights: one number per record, arrays ``(*rows,)``, or None.
        drift: the degree of a polynomial per record, or None.
        confounds: arrays ``(*rows, columns)``, or None.
        prior: the penalty, or None.
        functions: the basis of every channel ``(lags, n)``, in ascending lags of its window; None
            for a channel without a basis. None without any basis.
        windows: (first, last) of the taps of every channel in ascending lags, or None.
    """

    x: list[np.ndarray]
    y: list[np.ndarray]
    taps: tuple[int, ...]
    stride: tuple[int, ...] = (1,)
    dilation: tuple[int, ...] = (1,)
    padding: Any = "valid"
    lags: tuple[tuple[int, int], ...] | None = None
    edges: str = "drop"
    groups: int = 1
    bias: bool = False
    mask: list[np.ndarray] | None = None
    missing: str = "raise"
    weights: list[Any] | None = None
    drift: int | None = None
    confounds: list[np.ndarray] | None = None
    prior: Prior | None = None
    functions: tuple[np.ndarray | None, ...] | None = None
    windows: tuple[tuple[int, int], ...] | None = None

    @property
    def kept(self) -> np.ndarray:
        """The taps that may differ from zero, ``(taps, channels)`` in the order of the kernel."""
        places = np.arange(math.prod(self.taps))[:, None]
        found = np.ones((len(places), self.channels), bool)
        if self.windows is not None:
            first, last = np.array(self.windows).T
            found = (places >= first) & (places <= last)
        return found[::-1]

    @property
    def restricted(self) -> bool:
        """Whether some kernels are excluded by a basis or a window."""
        functions = self.functions or ()
        return any(one is not None for one in functions) or not bool(self.kept.all())

    def basis_of(self, channel: int) -> np.ndarray:
        """The functions of a channel ``(taps, n)`` in the order of the kernel."""
        kept = self.kept[:, channel]
        own = None if self.functions is None else self.functions[channel]
        found = np.zeros((len(kept), int(kept.sum()) if own is None else own.shape[1]))
        found[kept] = np.eye(int(kept.sum())) if own is None else own[::-1]
        return found

    @property
    def channels(self) -> int:
        """Channels of x."""
        return self.x[0].shape[-1]

    @property
    def outputs(self) -> int:
        """Channels of y."""
        return self.y[0].shape[-1]

    def with_strengths(self) -> Statement:
        """The same problem with a strength of its own for every output.

        Without a penalty, or with a single output, it is the same statement.
        """
        if self.prior is None or self.outputs == 1:
            return self
        # Exact factors: a banded ridge then has one form with several strengths.
        strengths = tuple(self.prior.strength * 4.0 ** (o % 3) for o in range(self.outputs))
        return replace(self, prior=self.prior._replace(strength=strengths))
