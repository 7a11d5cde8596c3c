"""Power of x at every frequency."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..problem.problem import Problem

# Length of a segment of x in kernels, and its smallest and largest value in taps.
TIMES_KERNEL, LEAST, MOST = 4, 64, 1024
# Only so many numbers of a record are used.
MOST_NUMBERS = 2**23


class Excitation(NamedTuple):
    """Power of x over frequency, relative to white x of the same power, which has 1 everywhere.

    Attributes:
        frequency: frequencies (F,), in Hz if ``fs`` is known, else in cycles per sample. For a
            dilated kernel, up to half the rate at which its taps read x. Higher ones are aliases.
        power: power (F, channels), relative to the mean power of each channel.
    """

    frequency: np.ndarray
    power: np.ndarray


def excitation(problem: Problem) -> Excitation:
    """Estimate the power of x by Welch's method, without the mean of x if there is a bias.

    Raises:
        ValueError: If the kernel has more than one axis.

    Source: P. D. Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70.
    """
    from scipy.signal import welch

    spec = problem.spec
    if spec.ndim > 1:
        raise ValueError("the power spectrum of x is for kernels along one axis")
    taps = 2 * math.ceil(min(max(LEAST, TIMES_KERNEL * spec.kernel_size[0]), MOST) / 2)
    length = taps * spec.dilation[0]
    power, detrend = np.zeros((length, problem.n_channels)), "constant" if problem.bias else False
    for record in problem.x:
        part = np.asarray(record[: MOST_NUMBERS // problem.n_channels], float)
        segment = min(length, len(part))
        given = {"nperseg": segment, "nfft": length, "return_onesided": False}
        power += len(part) * welch(part, **given, detrend=detrend, axis=0)[1]
    # At the taps of a dilated kernel several frequencies are aliases.
    power = power.reshape(spec.dilation[0], taps, -1).mean(0)
    mean = power.mean(0)
    power = power[: taps // 2 + 1] / np.where(mean > 0, mean, 1.0)
    rate = (problem._names.fs or 1.0) / spec.dilation[0]
    return Excitation(np.arange(taps // 2 + 1) / taps * rate, power)
