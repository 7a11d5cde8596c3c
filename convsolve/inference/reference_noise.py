"""Small-sample corrections of variances under dependent noise, from AR(1) noise as a reference.

Residuals e = M ε, with M = I − Q Qᵀ, have lost a part of slow noise ε to the fit, so a variance
estimated from them is too small. Under AR(1) noise of coefficient ρ, whose covariance Γ has
elements ρ^|s − t|, the expectation of every quadratic form of e is a polynomial in ρ. Its
coefficients are sums over pairs of rows that are k rows apart, which FFTs give for all k at once.

Source: R. M. Bell and D. F. McCaffrey, Survey Methodology 28 (2002) 169 (reference model, degrees
of freedom); E. Lazarus, D. J. Lewis, J. H. Stock and M. W. Watson, J. Bus. Econ. Stat. 36 (2018)
541 (cosines).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..cached import cached_property
from .cosines import COSINES, cosine_columns, long_run_variance
from .orthonormal_rows import OrthonormalRows

# Coefficients of the reference noise, between which expectations are interpolated.
COEFFICIENTS = np.linspace(0.0, 0.98, 50)


class Times:
    """Places in time of the rows of a design matrix.

    Attributes:
        flags: (T,) of each record, True for samples that are rows.
        longest: Number of samples of the longest record.
    """

    def __init__(self, flags: Sequence[np.ndarray]) -> None:
        """Store ``flags`` (T,) of each record, which are True for samples that are rows."""
        self.flags = flags
        self.longest = max(map(len, flags))
        counts = [int(np.count_nonzero(f)) for f in flags]
        self._ends = np.cumsum(counts)[:-1]

    def records(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Yield values (T, k) of each record, zero where there is no row, of rows (n, k)."""
        for flags, part in zip(self.flags, np.split(values, self._ends), strict=True):
            if flags.all():
                yield part
                continue
            whole = np.zeros((len(flags), part.shape[1]))
            whole[flags] = part
            yield whole

    def joined(self, records: Iterator[np.ndarray]) -> np.ndarray:
        """Return the rows (n, k) of values (T, k) of each record."""
        pairs = zip(records, self.flags, strict=True)
        return np.concatenate([values[flags] for values, flags in pairs])

    def lag_sums(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return Σ a_s·b_t (T,) over pairs of rows of one record at distances 0, 1, ….

        The distance of the rows s and t is \\|s − t\\|.
        """
        from scipy.fft import irfft, next_fast_len, rfft

        found = np.zeros(self.longest)
        for one, other in zip(self.records(a), self.records(b), strict=True):
            rows = len(one)
            length = next_fast_len(2 * rows, real=True)
            spectra = rfft(one, length, axis=0).conj() * rfft(other, length, axis=0)
            products = irfft(spectra.sum(1), length)
            found[0] += products[0]
            found[1:rows] += products[1:rows] + products[: length - rows : -1]
        return found

    def neighbours(self, values: np.ndarray) -> np.ndarray:
        """Return S v (n, k) for the mean S of the shifts by one row in either direction."""

        def shifted(record: np.ndarray) -> np.ndarray:
            padded = np.pad(record, ((1, 1), (0, 0)))
            return (padded[2:] + padded[:-2]) / 2

        return self.joined(map(shifted, self.records(values)))

    def windowed(self, values: np.ndarray, window: int) -> np.ndarray:
        """Return W v (n, k) for Bartlett's weights W, 1 − \\|s − t\\|/window."""
        from scipy.signal import oaconvolve

        weights = bartlett(window, window)
        both = np.concatenate([weights[:0:-1], weights])[:, None]

        def smoothed(record: np.ndarray) -> np.ndarray:
            return np.asarray(
                oaconvolve(record, both, axes=0)[window - 1 : window - 1 + len(record)]
            )

        return self.joined(map(smoothed, self.records(values)))


def bartlett(window: int, lags: int) -> np.ndarray:
    """Return Bartlett's weights (lags,) of lags from 0 on."""
    return np.maximum(1 - np.arange(lags) / window, 0.0)


class SumErrors(NamedTuple):
    """Variances of estimated sums of taps, and degrees of freedom, each (outputs,)."""

    variance: np.ndarray
    dof: np.ndarray


class ReferenceNoise:
    """Expectations under AR(1) noise whose residuals are correlated like observed residuals.

    ``columns`` span the design matrix of one group and the nuisance columns, and ``residuals`` (n,
    Q) belong to the outputs of this group.
    """

    def __init__(self, columns: OrthonormalRows, times: Times, residuals: np.ndarray) -> None:
        self._columns, self._times, self._residuals = columns, times, residuals

    @cached_property
    def coefficients(self) -> np.ndarray:
        """ρ (Q,): expected residuals have the lag-one autocorrelation of those given."""
        rows, times = self._columns.rows, self._times
        lags = np.zeros((2, times.longest))
        lags[0, 0] = rows
        pairs = times.neighbours(np.ones((rows, 1))).sum()
        lags[1, 1:2] = pairs
        total = self._expectation(lambda v: v, lags[0])
        joint = self._expectation(times.neighbours, lags[1])
        expected = _at(COEFFICIENTS, joint) / _at(COEFFICIENTS, total)
        e = self._residuals
        squares = np.square(e).sum(0)
        found = (e * times.neighbours(e)).sum(0) / np.where(squares > 0, squares, 1.0)
        return np.interp(found, np.maximum.accumulate(expected), COEFFICIENTS)

    def _expectation(
        self, form: Callable[[np.ndarray], np.ndarray], of_noise: np.ndarray
    ) -> np.ndarray:
        """Coefficients (T,) of tr(T M Γ M) in powers of ρ, from those of tr(T Γ).

        ``form`` maps v (n, k) to T v for a symmetric T.
        """
        found = of_noise.copy()
        for q in self._columns.columns():
            t = form(q)
            inner = self._columns.forward(self._columns.adjoint(t))
            found += self._times.lag_sums(inner - 2 * t, q)
        return found

    def of_sum(self, influence: np.ndarray) -> SumErrors:
        """Variance of Σ u_t·ε_t from cosines, for the ``influence`` u (n,).

        The estimate is multiplied by uᵀΓu/tr H, where H (B, B) is the covariance of the cosine
        transforms under the reference noise, and has (tr H)²/tr H² degrees of freedom.
        """
        u = influence[:, None]
        cosines = cosine_columns(0, len(u), len(u))
        weighted = np.sqrt(2) * cosines * u
        left = self._columns.residual(weighted)
        h = np.empty((COSINES, COSINES, len(self.coefficients)))
        for i in range(COSINES):
            for j in range(i + 1):
                lags = self._times.lag_sums(left[:, [i]], left[:, [j]])
                h[i, j] = h[j, i] = _at(self.coefficients, lags) / COSINES
        trace = np.einsum("iiq->q", h)
        truth = _at(self.coefficients, self._times.lag_sums(u, u))
        estimate = long_run_variance(weighted.T @ self._residuals / np.sqrt(2))
        dof = trace**2 / np.einsum("ijq,ijq->q", h, h)
        return SumErrors(truth / trace * estimate, dof)

    def bartlett_factor(self, influences: np.ndarray, window: int) -> np.ndarray:
        """Return true over expected variance (Q,) of Bartlett's estimate, for u (n, q).

        The ratio is that of traces, which are the same for every basis of sums of taps if the
        columns of u are orthonormal.
        """
        of_noise = self._times.lag_sums(influences, influences)

        def form(v: np.ndarray) -> np.ndarray:
            parts = (u * self._times.windowed(u * v, window) for u in influences.T[:, :, None])
            return np.asarray(sum(parts))

        weights = bartlett(window, len(of_noise))
        expected = self._expectation(form, weights * of_noise)
        return _at(self.coefficients, of_noise) / _at(self.coefficients, expected)


def _at(rho: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Return Σ_k c_k·ρ^k (Q,) for ρ (Q,)."""
    return np.power(rho[:, None], np.arange(len(coefficients))) @ coefficients
