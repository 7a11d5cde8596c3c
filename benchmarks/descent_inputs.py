"""Inputs, kernels and responses of the benchmark of gradient descent, with fixed seeds.

Kernels are white numbers that decay with the lag. White noise in y has the variance of the
response. Inputs have a variance of about one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.signal import butter, chirp, firwin, lfilter, sosfilt

import convsolve as cs

# Initial samples of a recursion that are dropped.
START = 500


class Input(NamedTuple):
    """One kind of x.

    Attributes:
        signal: a function of the shape (*samples, channels) and a random generator.
        taps: size of the kernel.
        channels: number of channels of x.
        outputs: number of outputs.
        bias: whether a bias is fitted.
    """

    signal: Callable[[tuple[int, ...], np.random.Generator], np.ndarray]
    taps: tuple[int, ...] = (60,)
    channels: int = 1
    outputs: int = 1
    bias: bool = False


class Data(NamedTuple):
    """x (*samples, channels) and y (*samples, outputs) of one workload, with its kernel size."""

    kind: Input
    x: np.ndarray
    y: np.ndarray

    def problem(self) -> cs.Problem:
        """A new problem, of which nothing is computed yet."""
        lags = [(0, taps - 1) for taps in self.kind.taps]
        return cs.Problem(self.x, self.y, lags=lags, bias=self.kind.bias)

    @property
    def adam_rate(self) -> float:
        """The default learning rate of Adam, as a number in the units of the kernel."""
        problem = self.problem()
        rows = lagged(self.x, self.kind.taps)
        y = kept(self.y, self.kind.taps)
        if problem.bias:
            rows = rows - rows.mean(0)
            y = y - y.mean(0)
        mean_square = np.square(y).sum(0).mean()
        return float(0.05 * np.sqrt(mean_square / np.square(rows).sum()))


def lagged(x: np.ndarray, taps: tuple[int, ...]) -> np.ndarray:
    """The lag matrix (rows, taps · channels) of whole windows, lags ascending."""
    axes = tuple(range(len(taps)))
    windows = np.lib.stride_tricks.sliding_window_view(x, taps, axes)
    # (*rows, channels, *taps) becomes (*rows, *taps, channels).
    windows = np.moveaxis(windows, len(taps), -1)
    windows = np.flip(windows, tuple(range(len(taps), 2 * len(taps))))
    return windows.reshape(-1, int(np.prod(taps)) * x.shape[-1])


def kept(y: np.ndarray, taps: tuple[int, ...]) -> np.ndarray:
    """The rows (rows, outputs) of y that have a whole window of x."""
    inside = tuple(slice(n - 1, None) for n in taps)
    return y[inside].reshape(-1, y.shape[-1])


# --- signals


def white(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(shape)


def autoregressive(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """White noise through a recursion with a pole at 0.9 along every axis of time or space."""
    x = rng.standard_normal((*(n + START for n in shape[:-1]), shape[-1]))
    for axis in range(len(shape) - 1):
        x = lfilter([(1 - 0.9**2) ** 0.5], [1, -0.9], x, axis=axis)
    return x[(slice(START, None),) * (len(shape) - 1)]


def band_limited(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise up to half of the Nyquist frequency, with a white floor of -60 dB."""
    samples, channels = shape
    filtered = lfilter(firwin(101, 0.5), [1.0], white((samples + START, channels), rng), axis=0)
    filtered = filtered[START:] / filtered[START:].std()
    return filtered + 1e-3 * white(shape, rng)


def sweep(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A sine of which the frequency grows linearly to 0.9 of the Nyquist frequency."""
    time = np.arange(shape[0])
    wave = np.sqrt(2) * chirp(time, 0.0, shape[0], 0.45)
    return np.broadcast_to(wave[:, None], shape).copy()


def envelope(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """The low-passed magnitude of noise whose strength changes slowly, as in speech."""
    slow = butter(2, 0.02, output="sos")
    fast = butter(2, 0.2, output="sos")
    samples, channels = shape
    strength = np.abs(sosfilt(slow, white((samples + START, channels), rng), axis=0))
    carrier = white((samples + START, channels), rng)
    x = sosfilt(fast, np.abs(strength * carrier), axis=0)[START:]
    return x / x.std()


def events(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Zeros and, in 2 % of the samples, ones."""
    return (rng.random(shape) < 0.02).astype(float)


INPUTS = {
    "white": Input(white),
    "AR(0.9)": Input(autoregressive),
    "band-limited": Input(band_limited),
    "sine sweep": Input(sweep),
    "speech envelope": Input(envelope, bias=True),
    "sparse events": Input(events, bias=True),
    "image": Input(autoregressive, taps=(5, 5)),
    "16 → 32 channels": Input(autoregressive, taps=(40,), channels=16, outputs=32),
}


def made(kind: Input, samples: tuple[int, ...], seed: int = 0) -> Data:
    """The data of one workload."""
    rng = np.random.default_rng(seed)
    x = kind.signal((*samples, kind.channels), rng)
    shape = (*kind.taps, kind.channels, kind.outputs)
    distance = np.sqrt(sum(np.square(k) for k in np.indices(kind.taps)))
    decay = np.exp(-4 * distance / max(kind.taps))[..., None, None]
    kernel = decay * rng.standard_normal(shape)

    clean = cs.convolve(x, np.flip(kernel, tuple(range(len(kind.taps)))), cs.ConvSpec(kind.taps))
    noise = clean.std(tuple(range(len(kind.taps)))) * rng.standard_normal(clean.shape)
    # Rows of y without a whole window of x are not used.
    y = np.pad(clean + noise, [(n - 1, 0) for n in kind.taps] + [(0, 0)])
    return Data(kind, x, y)


def example() -> cs.Problem:
    """The problem of the README: AR(0.95) noise, 20 000 samples and 60 taps."""
    white, noise = np.random.default_rng(0).standard_normal((2, 20_000))
    x = lfilter([1], [1, -0.95], white)
    y = np.convolve(x, 0.9 ** np.arange(60))[:20_000] + 20 * noise
    return cs.Problem(x, y, lags=(0, 59))
