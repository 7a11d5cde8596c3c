"""Units in which the strength of a penalty means the same to all columns."""

from __future__ import annotations

import numpy as np

from ..errors import SolveError
from .moments import Moments


class CommonUnits:
    """Units 2**column, common to all columns, and 2**outputs (G, Q) of the outputs.

    With one unit, a strength has the same meaning for all columns. A value in these units is the
    value in the user's units divided by the unit.
    """

    def __init__(self, exponents: np.ndarray, outputs: np.ndarray) -> None:
        """From the powers of two of columns (G, P) and of outputs (G, Q)."""
        self.column, self.outputs = int(exponents.max()), outputs

    def common(self, moments: Moments) -> Moments:
        """Moments in these units."""
        columns = np.full(moments.units.exponents.shape, self.column)
        return moments.rescaled(columns, self.outputs)

    def to_user(self, strengths: np.ndarray) -> np.ndarray:
        """Strengths in the user's units.

        Raises:
            SolveError: they lie outside float64.
        """
        with np.errstate(over="ignore", under="ignore"):
            found = np.ldexp(strengths, 2 * self.column)
        if not (np.isfinite(found).all() and found.all()):
            raise SolveError("strengths lie outside float64, as x² does")
        return np.asarray(found)

    def from_user(self, strengths: np.ndarray) -> np.ndarray:
        """Return the inverse of `to_user`, zeros included."""
        with np.errstate(over="ignore", under="ignore"):
            found = np.ldexp(strengths, -2 * self.column)
        if not np.isfinite(found).all() or ((found == 0) != (strengths == 0)).any():
            raise SolveError("a strength lies outside float64 relative to x²")
        return np.asarray(found)
