"""Responses of a system over frequency, to a step, and its delay, with their errors.

H = F h is the frequency response of a kernel h (K,), and S the covariance of (Re H, Im H). Bands of
|H| and of its phase come from S without linearization, since the logarithm of |H| has no useful
standard error where |H| is small. At one frequency, the phase has Fieller's interval. Over all
frequencies at once, the ellipse of S is projected, whose size comes from draws.

Source: E. C. Fieller, J. R. Statist. Soc. B 16 (1954) 175 (ratios).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..facts import NONE, Fact, Reported, Table, of_fields
from ..text import pm
from .errors import bonferroni, simultaneous_t, t_quantile

# Draws of a response and of a kernel, angles of an ellipse, and the number of frequencies.
DRAWS, KERNELS, ANGLES, FREQUENCIES = 1000, 400, 64, 512
# An ellipse whose determinant is below this share of its squared trace is a line.
FLAT = 1e-9

Band = tuple[np.ndarray, np.ndarray]


class Curve(NamedTuple):
    """The kernel (K,) of a channel and an output in ascending lags, and a root of its covariance.

    Attributes:
        taps: the kernel.
        root: m (K, k), whose m mᵀ is the covariance.
        dof: degrees of freedom of t.
        joint: whether draws describe all taps at once.
    """

    taps: np.ndarray
    root: np.ndarray
    dof: float
    joint: bool

    def reach(self, root: np.ndarray, level: float, simultaneous: bool) -> float:
        """Return the half width of a band, in standard errors, of sums with a root (n, k)."""
        if simultaneous:
            return simultaneous_t(root, self.dof, level, self.joint)
        return float(t_quantile(self.dof, (1 + level) / 2))


class Responses:
    """The responses of every channel of a group and output of a solution.

    Without ``bands`` it needs no errors, and bands have no width.
    """

    def __init__(self, fit: Any, bands: bool) -> None:
        kernel, fs = np.asarray(fit.kernel, float), fit._names.fs
        taps, channels, outputs = kernel.shape
        self._times = fit.lags / (fs or 1.0)
        # Channel and output axes of length one are left out.
        self._shape = tuple(n for n in (channels, outputs) if n > 1)
        self._names = fs, tuple(fit.channels[:channels]), tuple(fit.outputs)
        found: dict[tuple[int, int], Curve] = {}
        for part, (local, o) in ((p, pair) for p in fit._parts for pair in enumerate(p.outputs)):
            root = part.errors.root(local) if bands else np.zeros((taps * channels, 0))
            known = (float(part.errors.dof[local]), part.errors.joint) if bands else (1.0, False)
            for c, m in enumerate(root.reshape(taps, channels, -1)[::-1].swapaxes(0, 1)):
                square = m if m.shape[1] <= taps else np.linalg.qr(m.T, mode="r").T
                found[c, o] = Curve(kernel[::-1, c, o], square, *known)
        self._curves = [found[pair] for pair in np.ndindex(channels, outputs)]

    def _of_each(self, of: Callable[..., Any], *given: Any) -> np.ndarray:
        """Return several values of every curve, shaped as values of impulse responses."""
        found = np.stack([of(curve, *given) for curve in self._curves], axis=-1)
        return found.reshape(*found.shape[:-1], *self._shape)

    def frequency(self, frequencies: Any, level: float, simultaneous: bool) -> FrequencyResponse:
        """Return the response at frequencies (F,), by default from zero to half of the rate."""
        fs = self._names[0]
        at = np.linspace(0.0, (fs or 1.0) / 2, FREQUENCIES) if frequencies is None else frequencies
        at = np.atleast_1d(np.asarray(at, float))
        if at.ndim > 1 or not at.size or not np.isfinite(at).all():
            raise ValueError(f"frequencies must be (F,) finite numbers, got shape {at.shape}")
        if np.abs(at).max() > (fs or 1.0) / 2 * (1 + 1e-12):
            raise ValueError(f"frequencies must not exceed half of the rate, {(fs or 1.0) / 2:.4g}")
        waves = np.exp(-2j * np.pi * np.outer(at, self._times))
        least = 1 - (1 - level) / len(self._curves) if simultaneous else level
        value, low, high, less, more = self._of_each(_bands, waves, least, simultaneous)
        phase = _phase(value)
        phases = phase + less.real, phase + more.real
        given: Any = level, at, value, (low.real, high.real), phases, simultaneous
        return FrequencyResponse(*self._names, *given)

    def step(self, level: float, simultaneous: bool) -> StepResponse:
        """Return the response to a step."""
        value, error, reach = self._of_each(_step, level, simultaneous)
        given: Any = self._times, value, error, (value - reach, value + reach), value[-1], error[-1]
        return StepResponse(*self._names, level, *given)

    def delay(self, level: float, bounded: bool) -> Delay:
        """Return the delay, with an upper bound if bands are ``bounded``."""
        found = np.append(self._times, np.nan)[self._of_each(_delay, level, bounded)]
        return Delay(*self._names, level, found[0], (found[1], found[2]), found[3])


@dataclass(frozen=True, repr=False, eq=False)
class _Result(Reported):
    """A result for every channel of a group and output, which have names or numbers."""

    fs: float | None
    channels: tuple[Any, ...]
    outputs: tuple[Any, ...]
    level: float

    def _table(self, heads: list[str], rows: Iterable[Sequence[str]]) -> Table:
        """Return a table with a row for every channel and output."""
        names = (f"{c} → {o}" for c in self.channels for o in self.outputs)
        return Table(
            ["kernel", *heads], [[name, *row] for name, row in zip(names, rows, strict=True)]
        )


# --- the response over frequency


@dataclass(frozen=True, repr=False, eq=False)
class FrequencyResponse(_Result):
    """Frequency response of a kernel, with bands of its magnitude and phase.

    Arrays have the shape of `Solution.impulse_response`, with frequencies instead of lags.

    Attributes:
        frequencies: (F,) in Hz, or in cycles per sample for a problem without ``fs``.
        response: complex, Σ h(lag)·exp(−2πi·frequency·lag).
        magnitude_band: lower and upper end of a band of ``magnitude``.
        phase_band: lower and upper end of a band of ``phase``, one circle apart where the phase is
            not determined.
        level: probability that a band contains the true value.
        simultaneous: whether it holds for all frequencies, channels and outputs at once.
        fs: sampling rate in Hz, or None.
        channels, outputs: names or numbers. Channels of groups are counted within their group.

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
    magnitude_band: Band
    phase_band: Band
    simultaneous: bool

    @property
    def magnitude(self) -> np.ndarray:
        """Absolute value of the response, in the unit of y per unit of x."""
        return np.abs(self.response)

    @property
    def unit(self) -> str:
        """Unit of ``frequencies``."""
        return "Hz" if self.fs else "cycles per sample"

    @property
    def decibels(self) -> np.ndarray:
        """20·log10 of the magnitude."""
        return _decibels(self.magnitude)

    @property
    def decibels_band(self) -> Band:
        """The ends of ``magnitude_band`` in decibels; −inf where it may be zero."""
        low, high = map(_decibels, self.magnitude_band)
        return low, high

    @property
    def phase(self) -> np.ndarray:
        """Phase in radians, without jumps between neighbouring frequencies."""
        return _phase(self.response)

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield the gain at the first frequency and the largest one, and all numbers."""
        sizes, at = self.magnitude.reshape(len(self.magnitude), -1).T, self.frequencies
        rows = ([f"{v[0]:.4g}", f"{v.max():.4g}", f"{at[v.argmax()]:.4g}"] for v in sizes)
        heads = [f"|H| at {at[0]:.4g} {self.unit}", "largest |H|", f"at ({self.unit})"]
        yield Fact("", "", self._table(heads, rows))
        parts = {"real": self.response.real, "imag": self.response.imag}
        yield from of_fields(self, response=parts, magnitude=self.magnitude, phase=self.phase)


def _decibels(size: Any) -> Any:
    with np.errstate(divide="ignore"):
        return 20 * np.log10(size)


def _phase(response: np.ndarray) -> np.ndarray:
    return np.unwrap(np.angle(response), axis=0)


@np.errstate(divide="ignore", invalid="ignore")
def _bands(curve: Curve, waves: np.ndarray, level: float, simultaneous: bool) -> np.ndarray:
    """Return H, the ends of a band of |H|, and the ends of the phase less the phase (5, F)."""
    from scipy.special import fdtri

    value, dof = waves @ curve.taps, curve.dof
    size = np.abs(value)
    # Real parts are along H, imaginary parts across.
    root = waves.real @ curve.root + 1j * (waves.imag @ curve.root)
    turned = root * np.where(size > 0, value.conj() / size, 1.0)[:, None]
    spread = np.stack([(a * b).sum(1) for a, b in _products(turned)])
    along, across, both = spread
    if simultaneous:
        reach = _largest(turned, spread, curve, level)
        low, high = _ellipse(size, spread, reach)
    else:
        reach, error = float(t_quantile(dof, (1 + level) / 2)), np.sqrt(along)
        zero = size < np.sqrt(2 * fdtri(2, dof, level)) * error
        low, high = np.maximum(size - reach * error, 0.0), size + reach * error
        low[zero] = 0.0
    # The tangents of the ellipse from the origin. It has none if it contains the origin.
    c = reach**2
    rest = size**2 - c * along
    root = c**2 * both**2 + rest * c * across
    some = (rest > 0) & (root >= 0) & ((low > 0) | (not simultaneous))
    less, more = (np.arctan((s * np.sqrt(root) - c * both) / rest) for s in (-1, 1))
    return np.stack([value, low, high, np.where(some, less, -np.pi), np.where(some, more, np.pi)])


def _products(a: np.ndarray) -> Iterator[Band]:
    """Yield the factors of squares along and across, and of their products."""
    yield from ((a.real, a.real), (a.imag, a.imag), (a.real, a.imag))


def _largest(turned: np.ndarray, spread: np.ndarray, curve: Curve, level: float) -> float:
    """Return the size of ellipses that contain H at all frequencies at once."""
    if not curve.joint:
        return float(bonferroni(curve.dof, level, 2 * len(turned)))
    rng, (along, across, both) = np.random.default_rng(0), spread
    noise = rng.standard_normal((turned.shape[1], DRAWS))
    z = turned @ (noise / np.sqrt(rng.chisquare(curve.dof, DRAWS) / curve.dof))
    a, b, mixed = (p * q for p, q in _products(z))
    whole, trace = (along * across - both**2)[:, None], (along + across)[:, None]
    squares = (across[:, None] * a + along[:, None] * b - 2 * both[:, None] * mixed) / whole
    squares = np.where(whole < FLAT * trace**2, (a + b) / trace, squares)
    return float(np.sqrt(np.quantile(np.nan_to_num(squares).max(0), level)))


def _ellipse(size: np.ndarray, spread: np.ndarray, reach: float) -> Band:
    """Return the least and the largest magnitude (F,) in ellipses around |H|."""
    angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    u, v = np.cos(angle), np.sin(angle)
    along, across, both = spread[..., None]
    width = reach * np.sqrt(np.maximum(along * u**2 + across * v**2 + 2 * both * u * v, 0.0))
    middle = size[:, None] * u
    return np.maximum((middle - width).max(1), 0.0), (middle + width).max(1)


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
        fs: sampling rate in Hz, or None.
        channels, outputs: names or numbers.

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
        """Yield the gain of every channel and output, and all numbers."""
        gains = zip(self.gain.ravel(), self.gain_error.ravel(), strict=True)
        yield Fact("", "", self._table(["gain"], ([pm(*gain, ".4g")] for gain in gains)))
        yield from of_fields(self)


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
        fs: sampling rate in Hz, or None.
        channels, outputs: names or numbers.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0, 0, 1.0, 0.3])[:500] + noise
        >>> print(cs.solve(cs.Problem(x, y, lags=(0, 9), fs=100)).delay())
        kernel  largest weight at (s)         range  delay at most (s)
        0 → 0                    0.02  0.02 to 0.02               0.02

    See Also:
        `Solution.delay`, which returns it.
    """

    peak: np.ndarray
    peak_range: Band
    latest: np.ndarray

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield a row for every channel and output, and all numbers."""
        unit = "samples" if self.fs is None else "s"
        values = (a.ravel() for a in (self.peak, *self.peak_range, self.latest))
        rows = (
            [f"{peak:.4g}", f"{low:.4g} to {high:.4g}", f"{bound:.4g}".replace("nan", NONE)]
            for peak, low, high, bound in zip(*values, strict=True)
        )
        heads = [f"largest weight at ({unit})", "range", f"delay at most ({unit})"]
        yield Fact("", "", self._table(heads, rows))
        yield from of_fields(self)


def _delay(curve: Curve, level: float, bounded: bool) -> list[int]:
    """Return the places of the peak, of the first and last peak, and of the bound; -1 for none."""
    h, root = curve.taps, curve.root
    draws = root @ np.random.default_rng(0).standard_normal((root.shape[1], KERNELS))
    peaks, ends = np.abs(h[:, None] + draws).argmax(0), [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(peaks, ends, method="nearest")
    sure = np.abs(h) > curve.reach(root, level, True) * np.linalg.norm(root, axis=1)
    bound = int(sure.argmax()) if bounded and sure.any() else -1
    return [int(np.abs(h).argmax()), low, high, bound]
