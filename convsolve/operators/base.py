"""The interface of a design matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from ..cached import cached_property
from ..problem.nuisance import Nuisance
from .moments import Moments, Projection
from .projection import Confounded
from .records import Targets

Block = tuple[np.ndarray, np.ndarray | None]


class DesignOperator(ABC):
    """The design matrix A of every group, with nuisance columns N projected out.

    Column j is ``2**-exponents[j]`` times the column of the user's x, minus ``shift[j]``. The shift
    is a constant that N spans, so a large offset of A is never summed. Arrays have the shape (G, P)
    for columns, (G, Q) for outputs and (G, P, Q) for kernels. Outputs Y are `Targets`. M A is A
    with N projected out.

    Attributes:
        groups, rows, columns: G, n and P.
        nuisance: the nuisance columns N.
        exponents: (G, P) integers.
        targets: the outputs that are summed in the same pass as A. Other outputs take a separate
            pass.
    """

    groups: int
    rows: int
    columns: int
    nuisance: Nuisance
    exponents: np.ndarray
    targets: Targets | None

    @property
    @abstractmethod
    def shift(self) -> np.ndarray:
        """Shift (G, P) of the columns, zeros unless N contains a constant."""

    @property
    @abstractmethod
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""

    @property
    @abstractmethod
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A about their means."""

    @property
    @abstractmethod
    def means(self) -> np.ndarray:
        """Column means (G, P) of A, or of M A if there are confounds."""

    @property
    @abstractmethod
    def products(self) -> np.ndarray:
        """Products NᵀA (G, q, P)."""

    @abstractmethod
    def moments(self, targets: Targets | None) -> Moments:
        """Return sums over the rows of A and Y, each minus its shift."""

    @abstractmethod
    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w), in one data pass."""

    @abstractmethod
    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A w (n, Q) of one group, for w (P, Q), in the row order of `row_blocks`."""

    @abstractmethod
    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return AᵀM r (P, Q) of one group, for r (n, Q) in the row order of `row_blocks`."""

    @abstractmethod
    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""

    @abstractmethod
    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Return blocks of rows of M A (G, k, P) and M y (G, k, Q), by default of ``targets``."""

    @property
    def terms(self) -> np.ndarray:
        """Sums (G, P) of the norms of the terms that a column of M A is made of."""
        return self.column_norms

    @property
    def cancels(self) -> bool:
        """Whether the terms of a column cancel so much that its Gram matrix would lose digits."""
        return False

    @cached_property
    def projection(self) -> Projection:
        """The projection of N, applied to sums over rows."""
        return Projection(self.products, float(self.rows) if self.nuisance.constant else 1.0)

    @property
    def confounded(self) -> Confounded | None:
        """The confounds in the row order of A, if there are any."""
        return None

    @property
    def offsets(self) -> np.ndarray:
        """Column means (G, P) that N subtracts; with confounds, the size of all subtracted."""
        if self.confounded is not None:
            return self.confounded.offsets
        return self.means if self.nuisance.constant else np.zeros((self.groups, self.columns))

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return NᵀY (G, q, Q) and Σy² (G, Q), where Y is shifted."""
        return targets.sums[:, None][:, : self.nuisance.count], targets.squares

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with A w, in the units of the targets.

        It corresponds to a constant ``level`` in addition to M A w; by default it is the
        least-squares solution. None if there is no bias.
        """
        if self.confounded is not None:
            return self.confounded.constant_beside(targets, w)
        if not self.nuisance.constant:
            return None
        if level is None:
            rest = self.projection.coefficients(self.output_sums(targets)[0], w)
            level = targets.grouped(targets.shift)
        else:
            rest = -self.projection.means @ w
        return np.asarray(level - np.einsum("gp,gpq->gq", self.shift, w) + rest[:, 0])

    def output_norms(self, targets: Targets) -> np.ndarray:
        """Return the norms (G, Q) of M y."""
        sums, squares = self.output_sums(targets)
        return np.sqrt(self.projection.output_squares(squares, sums))
