"""What x excites: its power at every frequency, and that of the weakest mixture of its channels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..problem.problem import Problem

# A stretch of x whose spectrum is taken is so many times as long as the kernel, and has at least so
# many samples. Stretches of so many numbers are taken in all, evenly spread over the records.
TIMES_KERNEL, LEAST, MOST_NUMBERS = 4, 64, 2**23
# Of fewer stretches for every channel the smallest eigenvalue says more of chance than of x.
STRETCHES_A_CHANNEL = 4
# So many of them are transformed at a time.
AT_ONCE = 32


class Excitation(NamedTuple):
    """Power of x over frequency, relative to white x of the same power, which has 1 everywhere.

    Attributes:
        frequency: (F,), in Hz where ``fs`` is known, else in cycles a sample. Of a dilated kernel
            up to half the rate at which its taps read x, onto which all others fold.
        power: (F, channels), each channel relative to its own mean power.
        weakest: (F,), the smallest eigenvalue of the channels' cross-spectra, each channel brought
            to mean power 1; of several groups the smallest of all. Where it is small, some mixture
            of the channels hardly varies at that frequency, and what the kernel does to it is hard
            to tell: its standard error there is about 1/√weakest times that of white x. None where
            x is too short for its number of channels.
    """

    frequency: np.ndarray
    power: np.ndarray
    weakest: np.ndarray | None


def excitation(problem: Problem) -> Excitation:
    """By averages over half-overlapping stretches of x under a Hann window (Welch).

    An estimate, in which rows that are left out and the edges of records do not count: what
    decides is `identify`. With a bias the mean of every channel is taken off first.

    Raises:
        ValueError: a kernel of several axes.

    Source: P. D. Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70.
    """
    spec = problem.spec
    if spec.ndim > 1:
        raise ValueError(
            "the spectrum of x is that of a kernel along one axis; of images see identify, whose "
            "null vectors show what is not excited"
        )
    dilation = spec.dilation[0]
    length = max(LEAST, TIMES_KERNEL * spec.kernel_size[0] * dilation)
    length = dilation * 2 * math.ceil(length / (2 * dilation))
    stretches = _stretches(problem, length)
    total = _spectra(stretches, length)
    # At the taps all these frequencies read alike.
    folded = total.reshape(dilation, length // dilation, *total.shape[1:]).mean(0)
    own = np.einsum("fcc->fc", folded).real
    scale = np.sqrt(own.mean(0))
    scale[scale == 0] = 1.0
    half = len(folded) // 2 + 1
    folded, own = folded[:half] / np.outer(scale, scale), own[:half] / scale**2
    frequency = np.arange(half) / length * (problem.names.fs or 1.0)
    each = problem.in_channels // spec.groups
    if len(stretches) < STRETCHES_A_CHANNEL * each:
        return Excitation(frequency, own, None)
    weakest = [
        np.linalg.eigvalsh(folded[:, c : c + each, c : c + each])[:, 0]
        for c in range(0, problem.in_channels, each)
    ]
    return Excitation(frequency, own, np.maximum(np.min(weakest, axis=0), 0.0))


def _stretches(problem: Problem, length: int) -> list[np.ndarray]:
    """Half-overlapping stretches (length or fewer, channels) of x, every channel between −1 and 1;
    less its mean, where there is a bias.
    """
    places = [
        (record, start)
        for record in problem.x
        for start in range(0, max(len(record) - length // 2, 1), length // 2)
    ]
    channels = problem.in_channels
    most = max(MOST_NUMBERS // (length * channels), STRETCHES_A_CHANNEL * channels)
    some = np.unique(np.linspace(0, len(places) - 1, most).astype(int))
    found = [
        np.asarray(record[start : start + length], float)
        for record, start in (places[i] for i in some)
    ]
    largest = np.max([np.abs(a).max(0) for a in found], axis=0)
    found = [a / np.where(largest > 0, largest, 1.0) for a in found]
    if not problem.bias:
        return found
    mean = sum(a.sum(0) for a in found) / sum(map(len, found))
    return [a - mean for a in found]


def _spectra(stretches: list[np.ndarray], length: int) -> np.ndarray:
    """Sum of the cross-spectra (length, C, C) of stretches under a Hann window."""
    from scipy.fft import rfft
    from scipy.signal.windows import hann

    channels = stretches[0].shape[1]
    half = np.zeros((length // 2 + 1, channels, channels), complex)
    for first in range(0, len(stretches), AT_ONCE):
        some = np.zeros((length, min(AT_ONCE, len(stretches) - first), channels))
        for i, stretch in enumerate(stretches[first : first + AT_ONCE]):
            # A window without zeros at its ends, for the sake of the shortest records.
            some[: len(stretch), i] = hann(len(stretch) + 2)[1:-1, None] * stretch
        found = rfft(some, axis=0)
        half += np.swapaxes(found.conj(), 1, 2) @ found
    return np.concatenate([half, half[-2:0:-1].conj()])
