"""Responses of a system over frequency, to a step, and its delay, with their errors.

H = F h is the frequency response of a kernel h (K,), and S the covariance of (Re H, Im H). Bands of
|H| and of its phase come from S without linearization, since the logarithm of |H| has no useful
standard error where |H| is small. At one frequency, the phase has Fieller's interval. Over all
frequencies at once, the ellipse of S is projected, whose size comes from draws.

Source: E. C. Fieller, J. R. Statist. Soc. B 16 (1954) 175 (ratios).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..facts import NONE, Fact, Reported, Table, of_fields
from .errors import bonferroni, largest_of, largest_quantile, t_quantile

# Draws of a response and of a kernel, and the number of frequencies.
DRAWS, KERNELS, FREQUENCIES = 1000, 400, 512
# An eigenvalue of S below this share of the largest is rounding.
FLAT = 1e-9
# Directions (2, 64) in which an ellipse is projected.
DIRECTIONS = np.stack([f(np.linspace(0, 2 * np.pi, 64, endpoint=False)) for f in (np.cos, np.sin)])

Band = tuple[np.ndarray, np.ndarray]


class Curve(NamedTuple):
    """The kernel (K,) of a channel and an output in ascending lags, and a root of its covariance.

    Attributes:
        name: names or numbers of the channel and the output.
        taps: the kernel.
        root: m (K, k), whose m mᵀ is the covariance.
        dof: degrees of freedom of t.
        joint: whether draws describe all taps at once.
    """

    name: str
    taps: np.ndarray
    root: np.ndarray
    dof: float
    joint: bool

    def reach(self, root: np.ndarray, level: float, simultaneous: bool) -> Any:
        """Return the half width of a band of sums with a root (n, k), in standard errors."""
        if not simultaneous:
            return t_quantile(self.dof, (1 + level) / 2)
        found = bonferroni(self.dof, level, len(root))
        drawn = largest_quantile(largest_of(root), self.dof, level) if self.joint else found
        return min(found, drawn)


class Responses:
    """The responses of every channel of a group and output of a solution.

    Without ``bands`` it needs no errors, and bands have no width.
    """

    def __init__(self, fit: Any, bands: bool = True) -> None:
        kernel, self._fs = np.asarray(fit.kernel, float)[::-1], fit._names.fs
        (taps, channels, outputs), groups = kernel.shape, fit._spec.groups
        self._times = fit.lags / (self._fs or 1.0)
        self._units = ("s", "Hz") if self._fs else ("samples", "cycles per sample")
        found: dict[tuple[int, int], Curve] = {}
        for part, (local, o) in ((p, pair) for p in fit._parts for pair in enumerate(p.outputs)):
            root = part.errors.root(local) if bands else np.zeros((taps * channels, 0))
            known = (float(part.errors.dof[local]), part.errors.joint) if bands else (1.0, False)
            for c, m in enumerate(root.reshape(taps, channels, -1)[::-1].swapaxes(0, 1)):
                square = m if m.shape[1] <= taps else np.linalg.qr(m.T, mode="r").T
                name = f"{fit.channels[o * groups // outputs * channels + c]} → {fit.outputs[o]}"
                found[c, o] = Curve(name, kernel[:, c, o], square, *known)
        self._curves = [found[pair] for pair in np.ndindex(channels, outputs)]
        self._names = tuple(curve.name for curve in self._curves)
        # Channel and output axes of length one are left out.
        self._shape = tuple(n for n in (channels, outputs) if n > 1)

    def _of_each(self, of: Callable[..., Any], *given: Any) -> np.ndarray:
        """Return several values of every curve, shaped as values of impulse responses."""
        found = np.stack([of(curve, *given) for curve in self._curves], axis=-1)
        return found.reshape(*found.shape[:-1], *self._shape)

    def frequency(self, at: Any, level: float, simultaneous: bool) -> FrequencyResponse:
        """Return the response at frequencies (F,), or from zero to half of the rate."""
        half = (self._fs or 1.0) / 2
        at = np.linspace(0.0, half, FREQUENCIES) if at is None else np.atleast_1d(at)
        known = at.ndim == 1 and at.size and at.dtype.kind in "iuf"
        if not known or not (np.abs(at) <= half * (1 + 1e-12)).all():
            raise ValueError(f"frequencies must be (F,) numbers up to half the rate, {half:.4g}")
        waves = np.exp(-2j * np.pi * np.outer(at, self._times))
        least = 1 - (1 - level) / len(self._curves) if simultaneous else level
        h, *others = self._of_each(_bands, waves, least, simultaneous)
        size, *sizes, decibels, low, high, phase, first, last = np.real(others)
        bands: Any = size, tuple(sizes), decibels, (low, high), phase, (first, last), simultaneous
        return FrequencyResponse(self._names, self._units[1], level, 1.0 * at, h, *bands)

    def step(self, level: float = 0.95, simultaneous: bool = False) -> StepResponse:
        """Return the response to a step."""
        value, error, reach = self._of_each(_step, level, simultaneous)
        given: Any = self._times, value, error, (value - reach, value + reach), value[-1], error[-1]
        return StepResponse(self._names, self._units[0], level, *given)

    def delay(self, level: float, bounded: bool) -> Delay:
        """Return the delay, with an upper bound if bands are ``bounded``."""
        peak, *ends, latest = np.append(self._times, np.nan)[self._of_each(_delay, level, bounded)]
        given: Any = peak, tuple(ends), latest
        return Delay(self._names, self._units[0], level, *given)


@dataclass(frozen=True, repr=False, eq=False)
class _Result(Reported):
    """A result for the kernel of every channel of a group and output."""

    kernels: tuple[str, ...]
    unit: str
    level: float

    def _facts(self, numbers: dict[str, Any]) -> Iterator[Fact]:
        """Yield a table of numbers of every channel and output, by their heads, and all fields."""
        columns = [[f"{v:.4g}".replace("nan", NONE) for v in np.ravel(a)] for a in numbers.values()]
        yield Fact("", "", Table(["kernel", *numbers], [*zip(self.kernels, *columns, strict=True)]))
        yield from of_fields(self)


# --- the response over frequency


@dataclass(frozen=True, repr=False, eq=False)
class FrequencyResponse(_Result):
    """Frequency response of a kernel, with bands of its magnitude and phase.

    Arrays have the shape of `Solution.impulse_response`, with frequencies instead of lags. Bands
    are pairs of the lower and the upper end.

    Attributes:
        frequencies: (F,) in Hz, or in cycles per sample for a problem without ``fs``.
        response: complex, Σ h(lag)·exp(−2πi·frequency·lag). In `to_dict`, pairs of real and
            imaginary part.
        magnitude: its absolute value, in the unit of y per unit of x.
        magnitude_band: the band of ``magnitude``.
        decibels: 20·log10 of the magnitude.
        decibels_band: the band of ``decibels``; from −inf where the magnitude may be zero.
        phase: in radians, without jumps between neighbouring frequencies; NaN where the data do not
            determine it.
        phase_band: the band of ``phase``.
        simultaneous: whether bands hold for all frequencies, channels and outputs at once.
        level: probability that a band contains the true value.
        unit: of ``frequencies``.
        kernels: names or numbers of channel and output of every kernel, in the order of arrays.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> response = cs.solve(cs.Problem(x, y, lags=(0, 9), fs=100)).frequency_response()
        >>> response.frequencies[[0, -1]], response.magnitude.shape
        (array([ 0., 50.]), (512,))
        >>> low, high = response.decibels_band
        >>> bool(low[0] < 20 * np.log10(1.8) < high[0])
        True

    See Also:
        `Solution.frequency_response`, which returns it, and `StepResponse`.
    """

    frequencies: np.ndarray
    response: np.ndarray
    magnitude: np.ndarray
    magnitude_band: Band
    decibels: np.ndarray
    decibels_band: Band
    phase: np.ndarray
    phase_band: Band
    simultaneous: bool

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield the gain at the first frequency and the largest one, and all fields."""
        size, at = self.magnitude, self.frequencies
        peak = {"largest |H|": size.max(0), f"at ({self.unit})": at[size.argmax(0)]}
        yield from self._facts({f"|H| at {at[0]:.4g} {self.unit}": size[0]} | peak)


@np.errstate(divide="ignore", invalid="ignore")
def _bands(curve: Curve, waves: np.ndarray, level: float, simultaneous: bool) -> np.ndarray:
    """Return H; |H| and its band; these in decibels; and the phase and its band: (10, F)."""
    value = waves @ curve.taps
    size = np.abs(value)
    # The first axis of an ellipse is along H, the second across.
    turn = np.where(size > 0, value.conj() / size, 1.0)[:, None]
    root = (turn * (waves.real @ curve.root + 1j * (waves.imag @ curve.root)))[:, None]
    root = np.concatenate([root.real, root.imag], axis=1)
    spread = root @ root.mT
    (along, both), (_, across) = spread.T
    if simultaneous:
        reach = _largest(curve, root, spread, level)
        width = reach * np.sqrt(np.abs(np.einsum("id,fij,jd->fd", DIRECTIONS, spread, DIRECTIONS)))
        middle = size[:, None] * DIRECTIONS[0]
        low, high = np.maximum((middle - width).max(1), 0.0), (middle + width).max(1)
    else:
        from scipy.special import fdtri

        reach = curve.reach(root, level, False)
        low, high = size - reach * np.sqrt(along), size + reach * np.sqrt(along)
        low[size**2 < 2 * fdtri(2, curve.dof, level) * along] = 0.0
    # The tangents of the ellipse from the origin. It has none if it contains the origin.
    rest = size**2 - reach**2 * along
    tangents = reach * np.sqrt(reach**2 * both**2 + rest * across)
    less, more = (np.arctan((s * tangents - reach**2 * both) / rest) for s in (-1, 1))
    known, phase = (rest > 0) & (tangents >= 0), np.full(size.shape, np.nan)
    phase[known] = np.unwrap(np.angle(value[known]))
    sizes, phases = np.stack([size, low, high]), (phase, phase + less, phase + more)
    return np.stack([value, *sizes, *20 * np.log10(sizes), *phases])


def _largest(curve: Curve, root: np.ndarray, spread: np.ndarray, level: float) -> Any:
    """Return the size of ellipses that contain H at all frequencies at once."""
    if not curve.joint:
        return bonferroni(curve.dof, level, 2 * len(root))
    z = np.tensordot(root, np.random.default_rng(0).standard_normal((root.shape[2], DRAWS)), 1)
    squares = (z * (np.linalg.pinv(spread, FLAT, hermitian=True) @ z)).sum(1)
    return largest_quantile(np.sqrt(squares.max(0)), curve.dof, level)


# --- the response to a step, and the delay


@dataclass(frozen=True, repr=False, eq=False)
class StepResponse(_Result):
    """Response to a unit step in x, with its errors and a band.

    ``response``, ``standard_error`` and the ends of ``band`` have the shape of
    `Solution.impulse_response`, and ``gain`` and ``gain_error`` that of one lag.

    Attributes:
        times: (K,) after the step, in seconds, or in samples for a problem without ``fs``.
        response: sum of the kernel up to each lag.
        standard_error: its standard errors.
        band: lower and upper end of a band.
        gain: the response to a constant: the sum of the kernel.
        gain_error: its standard error.
        level: probability that the band contains the true value.
        unit: of times.
        kernels: names or numbers of channel and output of every kernel, in the order of arrays.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> step = cs.solve(cs.Problem(x, y, lags=(0, 3), fs=100)).step_response()
        >>> step.response.round(1), step.gain_error.round(2)
        (array([0.5, 1.6, 1.9, 1.9]), np.float64(0.09))

    See Also:
        `Solution.step_response`, which returns it, and `FrequencyResponse`.
    """

    times: np.ndarray
    response: np.ndarray
    standard_error: np.ndarray
    band: Band
    gain: np.ndarray
    gain_error: np.ndarray

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield the gain of every channel and output, and all fields."""
        yield from self._facts({"gain": self.gain, "standard error": self.gain_error})


def _step(curve: Curve, level: float, simultaneous: bool) -> np.ndarray:
    """Return response, standard errors and half widths of a band, (3, K)."""
    root = curve.root.cumsum(0)
    error = np.linalg.norm(root, axis=1)
    return np.stack([curve.taps.cumsum(), error, curve.reach(root, level, simultaneous) * error])


@dataclass(frozen=True, repr=False, eq=False)
class Delay(_Result):
    """Lag of the largest weight, and an upper bound of the delay.

    Arrays have the shape of one lag of `Solution.impulse_response`, in seconds, or in samples for a
    problem without ``fs``.

    Attributes:
        peak: lag of the largest weight.
        peak_range: first and last lag of a range that contains the lag of the largest true weight.
        latest: first lag at which a simultaneous band excludes zero. The response begins there at
            the latest. A slow rise has no lower bound without a model. NaN if there is no such lag,
            or with a penalty.
        level: probability of range and bound.
        unit: of times.
        kernels: names or numbers of channel and output of every kernel, in the order of arrays.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0, 0, 1.0, 0.3])[:500] + noise
        >>> print(cs.solve(cs.Problem(x, y, lags=(0, 9), fs=100)).delay())
        kernel  largest weight at (s)  from    to  delay at most (s)
        0 → 0                    0.02  0.02  0.02               0.02

    See Also:
        `Solution.delay`, which returns it.
    """

    peak: np.ndarray
    peak_range: Band
    latest: np.ndarray

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield the lags of every channel and output, and all fields."""
        range_ = dict(zip(("from", "to"), self.peak_range, strict=True))
        bound = {f"delay at most ({self.unit})": self.latest}
        yield from self._facts({f"largest weight at ({self.unit})": self.peak} | range_ | bound)


def _delay(curve: Curve, level: float, bounded: bool) -> list[int]:
    """Return the places of the peak, of the first and last peak, and of the bound; -1 for none."""
    h, root = curve.taps, curve.root
    draws = root @ np.random.default_rng(0).standard_normal((root.shape[1], KERNELS))
    peaks, ends = np.abs(h[:, None] + draws).argmax(0), [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(peaks, ends, method="nearest")
    sure = np.abs(h) > curve.reach(root, level, bounded) * np.linalg.norm(root, axis=1)
    bound = int(sure.argmax()) if bounded and sure.any() else -1
    return [int(np.abs(h).argmax()), low, high, bound]
