"""Nuisance columns N partialled out of A and y: the one place where anything is centred."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..cached import cached_property
from ..problem.confounds import Confounds
from .records import Inputs, Targets


@dataclass(frozen=True)
class Projection:
    """M = I − N(NᵀN)⁻¹Nᵀ, applied to what sums over rows have made of A (n, P), y (n, Q) and N.

    Least squares of y on [A N] has the kernel of M y on M A (Frisch and Waugh, Econometrica 1
    (1933) 387; Lovell, J. Am. Stat. Assoc. 58 (1963) 993). All it takes of the rows is AᵀN, NᵀY
    and NᵀN, of A and y less any constants that N spans.

    ``gram`` (q, q) is NᵀN and ``products`` (G, P, q) is AᵀN of every group.
    """

    gram: np.ndarray
    products: np.ndarray

    @property
    def trivial(self) -> bool:
        """Whether there is no nuisance column."""
        return not self.gram.size

    def solved(self, right: np.ndarray) -> np.ndarray:
        """(NᵀN)⁻¹ right, for right (..., q, k)."""
        if len(self.gram) == 1:  # a bias: as exact as a division
            return right / self.gram
        return np.linalg.solve(self.gram, right)

    @property
    def means(self) -> np.ndarray:
        """(NᵀN)⁻¹NᵀA (G, q, P): for a bias the column means."""
        return self.solved(self.products.swapaxes(1, 2))

    def squares(self, of_columns: np.ndarray) -> np.ndarray:
        """Squared norms (G, P) of the columns of M A, from those of A."""
        if self.trivial:
            return of_columns
        return of_columns - np.einsum("gpq,gqp->gp", self.products, self.means)

    def inner(self, gram: np.ndarray, group: int | slice, rows: np.ndarray | slice) -> np.ndarray:
        """Some rows (k, P) of AᵀMA of one group, or of several, from those of AᵀA."""
        if self.trivial:
            return gram
        return gram - self.products[group, rows] @ self.means[group]

    def cross(self, right: np.ndarray, of_outputs: np.ndarray) -> np.ndarray:
        """AᵀM y (G, P, Q), from Aᵀy and NᵀY (G, q, Q)."""
        return right if self.trivial else right - self.products @ self.solved(of_outputs)

    def output_squares(self, of_outputs: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Squared norms (G, Q) of M y, from those of y and NᵀY (G, q, Q)."""
        if self.trivial:
            return of_outputs
        return np.maximum(of_outputs - np.einsum("gkq,gkq->gq", sums, self.solved(sums)), 0.0)

    def coefficients(self, of_outputs: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Those of N (G, q, Q) that fit best beside w (G, P, Q)."""
        return self.solved(of_outputs) - self.means @ w

    def gradient(self, g: np.ndarray, of_residuals: np.ndarray) -> np.ndarray:
        """AᵀM r (G, P, Q), from Aᵀr and Nᵀr (G, q, Q)."""
        return self.cross(g, of_residuals)


class Confounded:
    """The orthonormal columns N of `Confounds` beside the rows of a design matrix, in their order.

    ``crossed_by_piece`` makes AᵀV (G, P, k) of columns V (n, k) beside every piece of a record.
    """

    def __init__(
        self,
        confounds: Confounds,
        inputs: Inputs,
        crossed_by_piece: Callable[[Sequence[np.ndarray]], Iterable[np.ndarray]],
    ) -> None:
        self._confounds, self._inputs, self._by_piece = confounds, inputs, crossed_by_piece
        #: Of every piece which columns N has there, and these (n, k).
        self._parts = [confounds.part(span) for span in inputs.in_order]
        self._ends = np.cumsum([len(columns) for _, columns in self._parts])

    @cached_property
    def crossed(self) -> np.ndarray:
        """D = AᵀN (G, P, q)."""
        groups, columns = self._inputs.column_exponents.shape
        found = np.zeros((groups, columns, self._confounds.count))
        several = self._by_piece([columns for _, columns in self._parts])
        for (places, _), product in zip(self._parts, several, strict=True):
            found[:, :, places] += product
        return found

    def projected(self, rows: np.ndarray) -> np.ndarray:
        """M of rows (n, Q)."""
        found, starts = rows.copy(), self._ends - np.diff(self._ends, prepend=0)
        # Once more for what rounding has left.
        for _ in range(2):
            products = np.zeros((self._confounds.count, rows.shape[1]))
            for (places, columns), a, b in zip(self._parts, starts, self._ends, strict=True):
                products[places] += columns.T @ found[a:b]
            for (places, columns), a, b in zip(self._parts, starts, self._ends, strict=True):
                found[a:b] -= columns @ products[places]
        return found

    def block(self, a: np.ndarray, first: int) -> np.ndarray:
        """Rows (G, k, P) of M A, from those of A, of which these are ``first`` and following."""
        found, last = a.copy(), first + a.shape[1]
        for i in range(int(np.searchsorted(self._ends, first, "right")), len(self._ends)):
            places, columns = self._parts[i]
            start = int(self._ends[i]) - len(columns)
            if start >= last:
                break
            begin, end = max(first, start), min(last, int(self._ends[i]))
            part = columns[begin - start : end - start]
            crossed = self.crossed[:, :, places].swapaxes(1, 2)
            found[:, begin - first : end - first] -= part @ crossed
        return found

    @cached_property
    def offsets(self) -> np.ndarray:
        """The size (G, P) of all that was taken off a column, per row."""
        squares = np.square(self.crossed).sum(-1) / self._inputs.rows
        return np.hypot(np.sqrt(squares), self._by_column(self._inputs.size_off))

    def _by_column(self, by_channel: np.ndarray) -> np.ndarray:
        groups, columns = self._inputs.column_exponents.shape
        per_group = np.ldexp(by_channel, -self._inputs.exponents).reshape(groups, -1)
        return np.tile(per_group, (1, columns // per_group.shape[1]))

    def constant_beside(self, targets: Targets, w: np.ndarray) -> np.ndarray | None:
        """The constant (G, Q) that fits best beside w (G, P, Q), in the units of A and the targets;
        None where there is no bias.
        """
        if self._confounds.shared is None:
            return None
        both = np.ldexp([targets.confounded[-1], targets.constant_off], -targets.exponents)
        of_y, of_x = targets.grouped(both[0]), np.einsum("gp,gpq->gq", self.crossed[:, :, -1], w)
        off = np.einsum("gp,gpq->gq", self._by_column(self._inputs.constant_off), w)
        return np.asarray((of_y - of_x) / self._confounds.size - off + targets.grouped(both[1]))
