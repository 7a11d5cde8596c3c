"""Autoregressive models of the noise of every output, estimated from least-squares residuals.

e[t] = Σ_i ρ_i·e[t − i] + u[t] with white u. The filter (1, −ρ₁, …, −ρ_p) whitens e.

Source: N. Levinson, J. Math. Phys. 25 (1947) 261 (recursion over orders); H. Akaike, IEEE
Trans. Autom. Control 19 (1974) 716 (choice of the order).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import SolveError
from ..operators.filtered import autocovariances
from ..text import argument, count

# Largest order that is chosen from the data, also as a share of the rows. At least this share of
# the rows must be left, as the filter removes the first rows of every record.
MOST_ORDER, MOST_SHARE, ROWS_LEFT = 40, 0.1, 0.5


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
    def estimated(
        cls, residuals: Sequence[np.ndarray], order: int | None, most: int
    ) -> Autoregression:
        """Estimate the models from residuals (T, outputs) of every record.

        The order is ``order``, or by default the one of at most ``most`` with the smallest AIC. The
        autocovariances are sums over all records, divided by the number of all rows, so that the
        models are stationary.
        """
        most = most if order is None else order
        by_order, variances = levinson(autocovariances(residuals, most))
        rows = sum(map(len, residuals))
        if order is not None:
            chosen = np.full(variances.shape[1], order)
        else:
            aic = rows * np.log(variances) + 2 * np.arange(most + 1)[:, None]
            chosen = np.argmin(aic, axis=0)
        return cls.of([by_order[p, :p, q].tolist() for q, p in enumerate(chosen)])


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
            f"{argument('noise', f'ar{order}')} excludes {count(order, 'row')} of every record and "
            f"gap, which leaves {count(left, 'row')} for {count(unknowns, 'unknown')}; use a "
            "smaller order, longer records or fewer taps"
        )
    return order


def levinson(covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the models of every order from autocovariances (lags, outputs).

    Returns:
        Coefficients (order, i, outputs), and the variances (order, outputs) of the white noise.
    """
    most, outputs = len(covariances) - 1, covariances.shape[1]
    coefficients, variances = np.zeros((most + 1, most, outputs)), np.empty((most + 1, outputs))
    variances[0] = covariances[0]
    for p in range(1, most + 1):
        before = coefficients[p - 1, : p - 1]
        missing = covariances[p] - (before * covariances[p - 1 : 0 : -1]).sum(0)
        reflection = missing / variances[p - 1]
        coefficients[p, : p - 1] = before - reflection * before[::-1]
        coefficients[p, p - 1] = reflection
        variances[p] = variances[p - 1] * (1 - reflection**2)
    return coefficients, variances
