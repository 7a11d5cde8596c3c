"""The design matrix by FFTs, with the confounds of every record projected out of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..cached import cached_property
from ..problem.nuisance import Nuisance
from .base import Block, DesignOperator
from .fourier import KEPT_SHARE, FourierOperator
from .moments import Moments
from .projection import Confounded
from .records import Targets

# A difference of sums is used if it cancels at most this share of them.
MOST_CANCELLED = 0.5


class PartialledOperator(DesignOperator):
    """M A of a `FourierOperator`, with M = I − NNᵀ for the orthonormal columns N of `Confounds`.

    The projection needs only the sums D = AᵀN over rows: AᵀMA = AᵀA − DDᵀ. It is not `exact` if
    this difference cancels, because x resembles the confounds. Confounds are already projected out
    of the outputs.

    Source: R. Frisch and F. V. Waugh, Econometrica 1 (1933) 387.
    """

    def __init__(self, operator: FourierOperator) -> None:
        self.operator = operator
        self.groups, self.rows, self.columns = operator.groups, operator.rows, operator.columns
        self.exponents, self.targets = operator.exponents, operator.targets
        self.nuisance = Nuisance()

    @cached_property
    def confounded(self) -> Confounded:
        """The columns N in the row order of A."""
        operator = self.operator
        assert operator.nuisance.confounds is not None
        return Confounded(operator.nuisance.confounds, operator.inputs, operator.adjoint)

    @property
    def shift(self) -> np.ndarray:
        """Zeros (G, P): the trends that N spans are subtracted from x before any sum."""
        return self.operator.shift

    @cached_property
    def _squares(self) -> np.ndarray:
        """Squared norms (G, P) of the columns of M A."""
        return self.operator.column_norms**2 - np.square(self.confounded.crossed).sum(-1)

    @property
    def exact(self) -> bool:
        """Whether enough of every column remains after the projection, or the column is zero."""
        whole = self.operator.column_norms**2
        kept = (self._squares > KEPT_SHARE * whole) & self.confounded.live(whole, self._squares)
        return bool((kept | (whole == 0)).all())

    @property
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""
        return np.sqrt(self._squares)

    @property
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns minus their means."""
        return np.sqrt(self._squares - self.rows * self.means**2)

    @cached_property
    def means(self) -> np.ndarray:
        """Column means (G, P) of M A."""
        return self._sums / self.rows

    @cached_property
    def _sums(self) -> np.ndarray:
        if self.confounded.spans_ones:
            return np.zeros((self.groups, self.columns))
        ones = self.confounded.projected(np.ones((self.rows, 1)))
        return np.stack([self.operator.adjoint(g, ones)[:, 0] for g in range(self.groups)])

    @property
    def offsets(self) -> np.ndarray:
        """Size (G, P) of everything subtracted from a column, to which rounding is relative."""
        return self.confounded.offsets

    @property
    def products(self) -> np.ndarray:
        """Products NᵀA (G, 0, P): N is already projected out."""
        return np.zeros((self.groups, 0, self.columns))

    def moments(self, targets: Targets | None) -> Moments:
        """Return sums over the rows of M A and Y."""
        found, crossed = self.operator.moments(targets), self.confounded.crossed
        inner = np.stack([d @ d.T for d in crossed])
        return replace(found, gram=found.gram - inner, sums=self._sums)

    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w).

        Nᵀy = 0, so that the sums over the rows of y − A w need only a correction by NᵀA w. Rows are
        projected if the correction would cancel the sums.
        """
        squares, g = np.zeros((len(w), w.shape[2])), np.zeros_like(w)
        crossed, found = self.confounded.crossed, self.operator.misfit(w, targets, squares)
        spanned = crossed.transpose(0, 2, 1) @ w
        fit = np.square(spanned).sum(1)
        if (fit <= MOST_CANCELLED * found.squares).all():
            return found.squares - fit, found.gradient + crossed @ spanned
        for i in range(self.groups):
            r = self.confounded.projected(targets.rows(i) - self.operator.forward(i, w[i]))
            squares[i], g[i] = np.einsum("nq,nq->q", r, r), self.operator.adjoint(i, r)
        return squares, g

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A w (n, Q) of one group, for w (P, Q)."""
        return self.confounded.projected(self.operator.forward(group, w))

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return AᵀM r (P, Q) of one group, for rows r (n, Q)."""
        return self.operator.adjoint(group, self.confounded.projected(r))

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        seen = self.forward(group, w)
        return seen.T @ seen

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Return blocks of rows of M A (G, k, P) and of M y (G, k, Q)."""
        return self.operator.row_blocks(targets)

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with w; None if there is no bias."""
        return self.confounded.constant_beside(targets, w)
