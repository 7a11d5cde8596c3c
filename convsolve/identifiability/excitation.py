"""Power of x at every frequency, and how well it determines the kernel there."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..linalg.factor import Factor
from ..linalg.threads import on_blas_threads
from ..problem.problem import Problem
from .report import Identifiability

# Length of a segment of x in kernels, and its smallest and largest value in taps. Evenly spaced
# segments with this many numbers in total are used.
TIMES_KERNEL, LEAST, MOST, MOST_NUMBERS = 4, 64, 1024, 2**23
# A frequency with a larger share in the null space is not determined.
UNDETERMINED = 1e-6


class Excitation(NamedTuple):
    """Power of x over frequency, relative to white x of the same power, which has 1 everywhere.

    Attributes:
        frequency: frequencies (F,), in Hz if ``fs`` is known, else in cycles per sample. For a
            dilated kernel, up to half the rate at which its taps read x. Higher ones are aliases.
        power: power (F, channels), relative to the mean power of each channel.
        effective: relative power (F,) of a white x that determines the response of the kernel at
            this frequency equally well. The standard error of the response is 1/√effective times
            that of white x. The mixture of channels and the group that are least determined give
            the value. Masks, weights and confounds are taken into account. None beyond
            1 500 unknowns, and for kernels that have a basis or windows of channels.
    """

    frequency: np.ndarray
    power: np.ndarray
    effective: np.ndarray | None


def excitation(report: Identifiability) -> Excitation:
    """Estimate power by Welch's method, and its effect from a factor of the design matrix.

    Segments of x overlap by half and have a Hann window. If there is a bias, the mean of x is
    subtracted.

    Raises:
        ValueError: If the kernel has more than one axis.

    Source: P. D. Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70.
    """
    problem, spec = report.problem, report.problem.spec
    if spec.ndim > 1:
        raise ValueError(
            "the spectrum of x is that of a kernel along one axis; of images see identify, whose "
            "null vectors show what is not excited"
        )
    taps = 2 * math.ceil(min(max(LEAST, TIMES_KERNEL * spec.kernel_size[0]), MOST) / 2)
    # At the taps of a dilated kernel several frequencies are aliases.
    power = _power(problem, taps * spec.dilation[0])
    power = power.reshape(spec.dilation[0], taps, -1).mean(0)
    mean = power.mean(0)
    power = power[: taps // 2 + 1] / np.where(mean > 0, mean, 1.0)
    cycles = np.arange(taps // 2 + 1) / taps
    effective = None
    few = report.n_unknowns <= report._diagnosis.limits.spectrum_columns
    if few and problem._space is None and report._diagnosis.decided:
        groups = (
            _effective(report._diagnosis.factor(g), problem, cycles) for g in range(spec.groups)
        )
        effective = np.min([*groups], axis=0)
    rate = (problem._names.fs or 1.0) / spec.dilation[0]
    return Excitation(cycles * rate, power, effective)


def _power(problem: Problem, length: int) -> np.ndarray:
    """Return the power (length, C) at all frequencies, in separate units for every channel."""
    from scipy.fft import rfft
    from scipy.signal.windows import hann

    stretches = _stretches(problem, length)
    half = np.zeros((length // 2 + 1, problem.n_channels))
    for stretch in stretches:
        # A window without zeros at its ends, which also suits very short records.
        window = hann(len(stretch) + 2)[1:-1, None]
        half += np.abs(rfft(window * stretch, length, axis=0)) ** 2
    return np.concatenate([half, half[-2:0:-1]])


def _stretches(problem: Problem, length: int) -> list[np.ndarray]:
    """Yield half-overlapping segments of x (length or fewer, channels), between −1 and 1.

    If there is a bias, the mean is subtracted.
    """
    places = [
        (record, start)
        for record in problem.x
        for start in range(0, max(len(record) - length // 2, 1), length // 2)
    ]
    most = max(1, MOST_NUMBERS // (length * problem.n_channels))
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


@on_blas_threads
def _effective(factor: Factor, problem: Problem, cycles: np.ndarray) -> np.ndarray:
    """Return the relative power (F,) of one group at frequencies in cycles per tap.

    The response at a frequency is eᴴw, where e is a complex exponential along the taps of every
    channel. Its covariance is eᴴ(AᵀA)⁻¹e. For white x, this is K / (rows · power).
    """
    taps = problem.spec.kernel_size[0]
    # Undo the scaling of the factor, relative to the largest column of each channel.
    exponents = factor.exponents.reshape(taps, -1)
    scales = np.ldexp(1.0, exponents - exponents.max(0))
    norms = np.linalg.norm(factor.r, axis=0).reshape(taps, -1) * scales
    channels = norms.shape[1]
    sizes = np.sqrt((norms**2).mean(0) / taps)
    if not sizes.all():
        return np.zeros(len(cycles))
    phases = 2 * np.pi * cycles[:, None] * np.arange(taps)
    parts = []
    for wave in (np.cos(phases), np.sin(phases)):
        # (F, channels, taps, channels): every row has the exponential in one channel.
        rows = wave[:, None, :, None] * (np.diag(sizes)[:, None, :] / scales)
        parts.append(rows.reshape(len(cycles) * channels, factor.columns))
    shape = len(cycles), channels, -1
    white = factor.whiten(parts[0]) + 1j * factor.whiten(parts[1])
    white = white.reshape(shape)
    covariance = white @ np.swapaxes(white.conj(), 1, 2)
    found = 1 / np.linalg.eigvalsh(covariance)[:, -1]
    if not factor.full_rank:
        rows = parts[0] + 1j * parts[1]
        lost = np.linalg.norm((rows @ factor.null_basis).reshape(shape), axis=2)
        share = lost / np.linalg.norm(rows.reshape(shape), axis=2)
        found[(share > UNDETERMINED).any(1)] = 0.0
    return found
