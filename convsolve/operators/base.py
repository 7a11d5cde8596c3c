"""The design matrix of a problem, as all that stands above sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from ..cached import cached_property
from ..problem.nuisance import Nuisance
from .moments import Moments, Projection
from .records import Targets

Block = tuple[np.ndarray, np.ndarray | None]


class DesignOperator(ABC):
    """A of every group, its nuisance columns N partialled out, in the units of its columns.

    Column j stands for ``2**-exponents[j]`` times that of the user's x, less ``shift[j]``, a
    constant that N spans: of an A beside a large offset only the rest is ever summed. Arrays are
    (groups, P) over columns, (groups, Q) over outputs and (groups, P, Q) for kernels; Y are
    `Targets`. Below, M A is A with N projected out.

    Attributes:
        groups, rows, columns: G, n and P.
        nuisance: what N is.
        exponents: (G, P) integers.
        targets: the outputs whose sums are formed in the same pass as those of A; others take a
            pass of their own.
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
        """(G, P), zeros unless N holds a constant."""

    @property
    @abstractmethod
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""

    @property
    @abstractmethod
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns less their means, whatever N is."""

    @property
    @abstractmethod
    def means(self) -> np.ndarray:
        """Column means (G, P), whatever N is."""

    @property
    @abstractmethod
    def products(self) -> np.ndarray:
        """NᵀA (G, q, P)."""

    @abstractmethod
    def moments(self, targets: Targets | None) -> Moments:
        """Sums over the rows of A and Y, each less its shift, N still in them."""

    @abstractmethod
    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """‖r‖² (G, Q) and AᵀM r (G, P, Q) of r = M(y − A w), in one pass over the data."""

    @abstractmethod
    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """M A w (n, Q) of one group, for w (P, Q); rows are in the order of `row_blocks`."""

    @abstractmethod
    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """AᵀM r (P, Q) of one group, for rows r (n, Q) in the order of `row_blocks`."""

    @abstractmethod
    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """(M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""

    @abstractmethod
    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Blocks of rows of M A (G, k, P) and of M y (G, k, Q), by default of the targets given."""

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
        """N, partialled out of sums over rows."""
        return Projection(self.products, float(self.rows) if self.nuisance.constant else 1.0)

    @property
    def offsets(self) -> np.ndarray:
        """Column means (G, P), as far as N takes them off; zeros where it holds no constant."""
        return self.means if self.nuisance.constant else np.zeros((self.groups, self.columns))

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """NᵀY (G, q, Q) and Σy² (G, Q), Y less its shift."""
        return targets.sums[:, None][:, : self.nuisance.count], targets.squares

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """The constant (G, Q) beside A w, of y in the units of the targets, that is ``level``
        beside M A w, or fits best; None where there is no bias.
        """
        if not self.nuisance.constant:
            return None
        if level is None:
            rest = self.projection.coefficients(self.output_sums(targets)[0], w)
            level = targets.grouped(targets.shift)
        else:
            rest = -self.projection.means @ w
        return np.asarray(level - np.einsum("gp,gpq->gq", self.shift, w) + rest[:, 0])

    def output_norms(self, targets: Targets) -> np.ndarray:
        """Norms (G, Q) of M y."""
        sums, squares = self.output_sums(targets)
        return np.sqrt(self.projection.output_squares(squares, sums))
