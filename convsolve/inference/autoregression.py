"""Autoregressive models of the noise of every output, estimated from least-squares residuals.

e[t] = Σ_i ρ_i·e[t − i] + u[t] with white u. The filter (1, −ρ₁, …, −ρ_p) whitens e.

Residuals have lost the part of the noise that an intercept or a drift of their record spans. Their
expected sums of products for a model are known, so the model with the observed sums is found by
iteration.

Source: N. Levinson, J. Math. Phys. 25 (1947) 261 (recursion over orders); H. Akaike, IEEE
Trans. Autom. Control 19 (1974) 716 (choice of the order); K. J. Worsley et al., NeuroImage 15
(2002) 1 (bias of residuals).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import SolveError
from ..operators.filtered import lag_sums
from ..text import count

# Largest order that is chosen from the data, also as a share of the rows. At least this share of
# the rows must be left, as the filter removes the first rows of every record.
MOST_ORDER, MOST_SHARE, ROWS_LEFT = 40, 0.1, 0.5
# Largest absolute reflection coefficient, so that models are stationary.
MOST_REFLECTION = 0.999
# Columns of a record with more rows take a negligible share of its noise.
LONG_RECORD = 2_000
# Number of steps of the correction for nuisance columns, and the change of ρ that ends them. Slow
# steps change ρ by less than ``SLOW`` at the end, and steps without a limit by more than one.
STEPS, SETTLED, SLOW = 100, 1e-6, 0.05
# Number of times that orders are selected, each time with the correction for those before.
TURNS = 5


class Autoregression(NamedTuple):
    """Autoregressive models of all outputs.

    Attributes:
        order: order of each model, (outputs,).
        coefficients: ρ (outputs, largest order), zero beyond the order.
    """

    order: np.ndarray
    coefficients: np.ndarray

    @property
    def filters(self) -> np.ndarray:
        """Whitening filters 1, −ρ₁, −ρ₂, …, (outputs, 1 + largest order)."""
        ones = np.ones((len(self.order), 1))
        return np.concatenate([ones, -self.coefficients], axis=1)

    @classmethod
    def of(cls, coefficients: Sequence[Sequence[float]]) -> Autoregression:
        """Return the models with given coefficients of every output."""
        order = np.array([len(c) for c in coefficients])
        found = np.zeros((len(order), int(order.max(initial=0))))
        for row, c in zip(found, coefficients, strict=True):
            row[: len(c)] = c
        return cls(order, found)

    @classmethod
    def estimated(cls, sums: NoiseSums, order: int | None) -> Autoregression:
        """Estimate the models from sums over rows.

        The order is ``order``, or by default the one of at most the largest lag with the smallest
        AIC.
        """
        orders = sums.orders if order is None else np.full(sums.means.shape[1], order)
        models, _ = levinson(sums.covariances(orders))
        return cls.of([models[p, :p, q].tolist() for q, p in enumerate(orders)])


def rows_left(lengths: Sequence[int], order: int) -> int:
    """Return how many rows of records of these ``lengths`` have ``order`` rows before them."""
    return sum(max(n - order, 0) for n in lengths)


def most_order(lengths: Sequence[int], unknowns: int) -> int:
    """Return the largest order that is considered for records of these lengths."""
    rows = sum(lengths)
    least = max(ROWS_LEFT * rows, unknowns + 1)
    tried = range(min(MOST_ORDER, int(MOST_SHARE * rows)) + 1)
    return max((p for p in tried if rows_left(lengths, p) >= least), default=0)


def largest_order(lengths: Sequence[int], unknowns: int, order: int | None) -> int:
    """Return the largest order that is considered, or the given ``order``.

    Raises:
        SolveError: If the given order leaves too few rows.
    """
    if order is None:
        return most_order(lengths, unknowns)
    left = rows_left(lengths, order)
    if left <= unknowns:
        raise SolveError(
            f"noise='ar{order}' excludes {count(order, 'row')} of every record and "
            f"gap, which leaves {count(left, 'row')} for {count(unknowns, 'unknown')}"
        )
    return order


class NoiseSums(NamedTuple):
    """Means of products of the residuals of all records, at lags 0 to the largest order.

    Attributes:
        means: of e[t]·e[t + l] (lags, outputs) over pairs of used rows of a record.
        pairs: number of these pairs (lags,).
        taper: factors of autocovariances (lags,), the share of pairs in records without gaps.
        expected: B (lags, T): the expectation of ``means`` is B γ for autocovariances γ. None if it
            is that of noise itself.
    """

    means: np.ndarray
    pairs: np.ndarray
    taper: np.ndarray
    expected: np.ndarray | None

    @classmethod
    def over(
        cls,
        records: Sequence[np.ndarray],
        flags: Sequence[np.ndarray],
        columns: Sequence[np.ndarray],
        most: int,
    ) -> NoiseSums:
        """Return the sums at lags 0 to ``most``.

        Args:
            records: residuals (T, outputs) of every record, zero in rows that are not used.
            flags: (T,) of every record, True for rows that are used.
            columns: orthonormal columns (n, k) in the used rows of every record, which are
                projected out of its residuals.
            most: the largest lag.
        """
        kinds: dict[tuple[bytes, int], list[int]] = {}
        for i, (some, own) in enumerate(zip(flags, columns, strict=True)):
            projected = own.shape[1] > 0 and len(some) <= LONG_RECORD
            kinds.setdefault((some.tobytes(), id(own) if projected else 0), []).append(i)
        longest = max((len(flags[i]) for (_, own), (i, *_) in kinds.items() if own), default=0)
        pairs, lost = np.zeros((most + 1, 1)), np.zeros((most + 1, max(longest, most + 1)))
        for (_, projected), (i, *others) in kinds.items():
            pairs += (1 + len(others)) * lag_sums([flags[i][:, None].astype(float)], most)
            if projected:
                own = lost_sums(flags[i], columns[i].astype(float), most)
                lost[:, : len(flags[i])] += (1 + len(others)) * own
        expected = np.eye(*lost.shape) - lost / pairs if longest else None
        spans = np.array([np.ptp(np.flatnonzero(some)) + 1 for some in flags])
        taper = np.maximum(spans - np.arange(most + 1)[:, None], 0).sum(1) / spans.sum()
        return cls(lag_sums(records, most) / pairs, pairs[:, 0], taper, expected)

    @property
    def orders(self) -> np.ndarray:
        """Order (outputs,) of each model by AIC.

        The sum at lag p differs from its expectation for a model of order p − 1. Let r be the share
        of this difference in the sum of squares that such a model leaves in the residuals. A
        further order changes AIC by rows·log(1 − r²) + 2.
        Autocovariances without the taper would have no model of a large order if noise oscillates.
        """
        most = len(self.pairs) - 1
        squares, lags = levinson(self.means * self.pairs[:, None])[1], np.arange(1, most + 1)
        found = np.full(self.means.shape[1], min(1, most))
        for _ in range(TURNS):
            before = found
            models, variances = levinson(self.covariances(found) * self.taper[:, None])
            off = models[lags, lags - 1] * variances[:-1] * self.pairs[1:, None]
            r = np.clip(off / squares[:-1], -MOST_REFLECTION, MOST_REFLECTION)
            aic = self.pairs[0] * np.log(1 - r**2).cumsum(0) + 2 * lags[:, None]
            found = np.concatenate([np.zeros((1, len(found))), aic]).argmin(0)
            if (found == before).all():
                break
        return found

    def covariances(self, orders: np.ndarray) -> np.ndarray:
        """Return autocovariances (lags, outputs) of the noise, by a model of an order per output.

        A model and the scale of its noise give the expected difference between the sums and those
        of noise without nuisance columns. If that leads to no stationary model of this order, the
        sums over all rows are returned, which always are autocovariances.
        """
        found, wrong = self.means.copy(), np.zeros(len(orders), bool)
        for p in np.unique(orders[orders > 0]) if self.expected is not None else ():
            own = np.flatnonzero(orders == p)
            found[:, own], unsettled = self._corrected(int(p), self.means[:, own])
            wrong[own[unsettled]] = True
        models, lags = levinson(found)[0], np.arange(1, len(found))
        limits = np.abs(models[lags, lags - 1]) >= MOST_REFLECTION
        wrong |= (limits & (lags[:, None] <= orders)).any(0)
        return np.where(wrong, self.means * (self.pairs / self.pairs[0])[:, None], found)

    def _corrected(self, order: int, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return autocovariances (lags, outputs) for the ``means`` of some outputs.

        The other array has the places of the outputs whose models did not settle.
        """
        found, before = means[: order + 1].copy(), np.full((order, means.shape[1]), np.inf)
        moving = np.arange(means.shape[1])
        for _ in range(STEPS):
            models, _ = levinson(found[:, moving])
            change = np.abs(models[order] - before[:, moving]).max(0)
            left = change > SETTLED
            moving = moving[left]
            if not moving.size:
                break
            before[:, moving] = models[order][:, left]
            found[:, moving] = self._of_noise(models[..., left], means[: order + 1, moving])
        return self._of_noise(levinson(found)[0], means), moving[change[left] > SLOW]

    def _of_noise(self, models: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return ``means`` plus the part of the noise that they lack, by models of the noise."""
        assert self.expected is not None
        model = autocorrelations(models, self.expected.shape[1])
        expected = self.expected[: len(means)] @ model
        return np.asarray(means + means[0] / expected[0] * (model[: len(means)] - expected))


def lost_sums(flags: np.ndarray, columns: np.ndarray, most: int) -> np.ndarray:
    """Return what the projection of columns out of a record takes of its expected sums.

    With R = F − Q Qᵀ for the flags F, the expected sum of residuals at lag l is half the trace of
    T_l R Γ R, where T_l is one at the distance l and zero elsewhere. It is linear in the
    autocovariances, whose factors are the sums of R T_l R along its diagonals.

    Args:
        flags: (T,), True for rows that are used.
        columns: Q (n, k), orthonormal in these rows.
        most: the largest lag.

    Returns:
        Factors (1 + most, T) of the autocovariances.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    samples, size = len(flags), next_fast_len(2 * len(flags), real=True)
    q = np.zeros((samples, columns.shape[1]))
    q[flags] = columns
    of_lags = np.zeros((most + 1, *q.shape))
    for lag in range(min(most, samples - 1) + 1):
        of_lags[lag, lag:] += q[: samples - lag]
        of_lags[lag, : samples - lag] += q[lag:]
    of_lags[0] /= 2
    of_lags *= flags[:, None]
    of_lags -= q @ (q.T @ of_lags) / 2
    spectra = (rfft(q, size, axis=0).conj() * rfft(of_lags, size, axis=1)).real.sum(2)
    found = 2 * irfft(spectra, size, axis=1)[:, :samples]
    # A distance above zero occurs on both sides of the diagonal.
    found[:, 1:] *= 2
    found[1:] /= 2
    return found


def levinson(covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the models of every order from autocovariances (lags, outputs).

    Autocovariances beyond a reflection coefficient at its limit are not used.

    Returns:
        Coefficients (order, i, outputs), and the variances (order, outputs) of the white noise.
    """
    most, outputs = len(covariances) - 1, covariances.shape[1]
    coefficients, variances = np.zeros((most + 1, most, outputs)), np.empty((most + 1, outputs))
    variances[0], going = covariances[0], np.ones(outputs, bool)
    for p in range(1, most + 1):
        before = coefficients[p - 1, : p - 1]
        missing = covariances[p] - (before * covariances[p - 1 : 0 : -1]).sum(0)
        reflection = np.where(going, missing / variances[p - 1], 0.0)
        reflection = reflection.clip(-MOST_REFLECTION, MOST_REFLECTION)
        going &= np.abs(reflection) < MOST_REFLECTION
        coefficients[p, : p - 1] = before - reflection * before[::-1]
        coefficients[p, p - 1] = reflection
        variances[p] = variances[p - 1] * (1 - reflection**2)
    return coefficients, variances


def autocorrelations(models: np.ndarray, count: int) -> np.ndarray:
    """Return autocorrelations (count, outputs) of the largest of models (order, i, outputs)."""
    from scipy.signal import lfilter

    most, outputs = models.shape[1:]
    found, left = np.zeros((count, outputs)), np.ones(outputs)
    found[0] = 1.0
    for p in range(1, most + 1):
        reflection = models[p, p - 1]
        found[p] = (models[p - 1, : p - 1] * found[p - 1 : 0 : -1]).sum(0) + reflection * left
        left = left * (1 - reflection**2)
    for q in range(outputs):
        whitening, pulse = np.concatenate([[1.0], -models[most, :, q]]), np.zeros(count)
        pulse[: most + 1] = np.convolve(whitening, found[: most + 1, q])[: most + 1]
        found[:, q] = lfilter([1.0], whitening, pulse)
    return found
