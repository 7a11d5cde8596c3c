"""Signals of known spectrum, and problems made of them."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

import convsolve as cs


def coloured(rng, samples, channels=1, pole=0.9, times=1):
    """White noise through so many recursions x[t] += pole·x[t-1]."""
    x = rng.standard_normal((samples + 1000, channels))
    for _ in range(times):
        x = lfilter([1.0], [1.0, -pole], x, axis=0)
    return x[1000:]


def convolved(rng, x, taps, outputs=1, noise=0.1, edges="zeros"):
    """A problem with a decaying kernel over lags 0 … taps - 1, and that kernel."""
    size = (taps, x.shape[1], outputs)
    w = rng.standard_normal(size) * np.exp(-4 * np.arange(taps) / taps)[:, None, None]
    padding = ((taps - 1, 0),) if edges == "zeros" else "valid"
    y = cs.convolve(x, w, cs.ConvSpec(taps, padding=padding))
    y = y + noise * y.std(0) * rng.standard_normal(y.shape)
    return cs.Problem(x, y, kernel_size=taps, padding=padding), w
