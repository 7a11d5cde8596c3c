"""Penalized least squares for every strength of a penalty, from moments in tridiagonal form."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np

from ..cached import cached_property
from ..linalg.rank import EPS
from ..linalg.tridiagonal import Tridiagonal

# Indices of outputs.
Outputs = slice | np.ndarray
# A residual sum of squares of less than this share of Σy² is rounding.
ROUNDING = (100 * EPS) ** 2
# The smallest strength of a search, as a share of the largest eigenvalue.
SMALLEST = 1e-16


@dataclass(frozen=True)
class Fits:
    """Quantities that selection criteria use, for n strengths and Q outputs, (n, Q).

    Attributes:
        strengths: strengths λ.
        freedom: Σ d/(d + λ) over the eigenvalues d of the penalized problem.
        spare: degrees of freedom of the residuals. It is not computed as a difference, which would
            cancel if the kernel fits all rows.
        squares: residual sums of squares.
        size: Σ z².
        log_determinant: Σ log(1 + d/λ).
        rows: number of rows of the problem.
        nuisance: number of nuisance columns.
        free: number of coordinates that are not penalized.
    """

    strengths: np.ndarray
    freedom: np.ndarray
    spare: np.ndarray
    squares: np.ndarray
    size: np.ndarray
    log_determinant: np.ndarray
    rows: int
    nuisance: int
    free: int

    @property
    def left(self) -> int:
        """Number of rows minus the number of unknowns without a penalty."""
        return self.rows - self.nuisance - self.free

    @property
    def penalized_squares(self) -> np.ndarray:
        """‖y − Aw‖² + λ·Σ z²."""
        with np.errstate(over="ignore"):
            return self.squares + self.strengths * self.size


class FreeCoordinates:
    """Coordinates N without a penalty, eliminated from the normal equations of the others, L.

    They are eliminated as nuisance columns: LᵀGL − LᵀGN (NᵀGN)⁺ NᵀGL. Roots of (NᵀGN)⁺ are used,
    because the inverse cancels all digits if free columns are similar.

    Args:
        free: flags (R,) of the coordinates.
        square: NᵀGN.
        crossed: NᵀGL.
    """

    def __init__(self, free: np.ndarray, square: np.ndarray, crossed: np.ndarray) -> None:
        self.flags, self._crossed = free, crossed
        self._half = inverse_root(square)
        self.rank = self._half.shape[1]
        #: Its products with itself are subtracted from LᵀGL.
        self.root = self._half.T @ crossed

    def squares(self, right: np.ndarray) -> np.ndarray:
        """Return the squares (Q,) that N explains of y, given Nᵀy."""
        root = self._half.T @ right
        return np.asarray(np.einsum("pq,pq->q", root, root))

    def eliminated(self, right: np.ndarray) -> np.ndarray:
        """Return a right-hand side (R, Q) for the coordinates of L alone."""
        return np.asarray(right[~self.flags] - self.root.T @ (self._half.T @ right[self.flags]))

    def completed(self, z: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return all coordinates (R, k), given those of L and the right-hand side of N."""
        whole = np.empty((len(self.flags), z.shape[1]), order="F")
        whole[~self.flags] = z
        whole[self.flags] = self._half @ (self._half.T @ (right - self._crossed @ z))
        return whole


class StrengthPath:
    """Minimize ‖y − A v‖² + λ·Σ weights·v² of one group for every λ.

    Args:
        gram: AᵀA (R, R), with nuisance columns projected out.
        cross: Aᵀy (R, Q), with nuisance columns projected out.
        squares: Σy² (Q,), with nuisance columns projected out.
        weights: weights (R,) of the coordinates in the penalty, 0 where they are free.
        rows: number of rows n.
        nuisance: number of nuisance columns.
        origin: coordinates (R, Q) whose fit has been subtracted from y. Solutions are
            v = origin + D. If they fit y almost exactly, D keeps the digits that Σy² − … cancels.
        floor: residual sums of squares (Q,) below which they are rounding. By default, a share of
            ``squares``.
    """

    def __init__(
        self,
        gram: np.ndarray,
        cross: np.ndarray,
        squares: np.ndarray,
        weights: np.ndarray,
        rows: int,
        nuisance: int,
        origin: np.ndarray | None = None,
        floor: np.ndarray | None = None,
    ) -> None:
        self.free, self.rows, self.nuisance = weights == 0, rows, nuisance
        self.origin = np.zeros(cross.shape) if origin is None else origin
        free, held = self.free, ~self.free
        # The unknowns are √weights·z, so that all weights are equal.
        self._root = np.where(free, 1.0, 1 / np.sqrt(np.where(free, 1.0, weights)))[:, None]
        if (self._root != 1).any():
            gram, cross = gram * self._root * self._root[:, 0], cross * self._root
        self._eliminated = FreeCoordinates(free, gram[np.ix_(free, free)], gram[np.ix_(free, held)])
        self.rank = self._eliminated.rank
        self._right = cross[free]
        scale = 0.0
        if free.any():
            gram = gram[np.ix_(held, held)]
            scale = float(np.diagonal(gram).max(initial=0.0))
            gram = gram - self._eliminated.root.T @ self._eliminated.root
        self.tridiagonal = Tridiagonal(gram, scale)
        rotated = self.tridiagonal.rotate(self._eliminated.eliminated(cross))
        self._cross = np.asfortranarray(rotated)  # as LAPACK reads it at every strength
        self._begin = self.tridiagonal.rotate((self.origin / self._root)[held])
        self._begun = origin is not None
        self.squares = np.maximum(squares - self._eliminated.squares(self._right), 0.0)
        self.floor = ROUNDING * squares if floor is None else floor

    @property
    def outputs(self) -> int:
        """Q."""
        return self._cross.shape[1]

    @property
    def unique(self) -> bool:
        """Whether the moments prove that the coordinates without a penalty are determined."""
        return self.rank == int(self.free.sum())

    @property
    def least(self) -> float:
        """The smallest strength whose fit is larger than the rounding of the moments.

        If the kernel can fit all rows, residuals are proportional to the square of the strength,
        and this limit is larger.
        """
        largest, values = self.tridiagonal.largest, self._eigenvalues
        found = max(SMALLEST * largest, self.tridiagonal.resolution)
        if len(values) == self.rows - self.nuisance - self.rank:
            found = max(found, float(np.sqrt(100 * EPS * largest * values.min(initial=largest))))
        return found or 1.0

    def only(self, outputs: np.ndarray) -> StrengthPath:
        """Return the same path for some of the outputs."""
        found = copy(self)
        found.squares, found.floor = self.squares[outputs], self.floor[outputs]
        for name in ("origin", "_right", "_cross", "_begin"):
            setattr(found, name, getattr(self, name)[:, outputs])
        return found

    def fits(self, strengths: np.ndarray) -> Fits:
        """Return the fits at ``strengths``, (n, Q), or (n, 1) if all outputs have the same."""
        tall = len(strengths), self.outputs
        squares, size = np.empty(tall), np.empty(tall)
        for some, outputs, strength in _distinct(strengths):
            step = self._step(strength, outputs)
            u, cross = step, self._cross[:, outputs]
            if self._begun:
                u = self._begin[:, outputs] + step
                bent = self.tridiagonal.product(step)
            else:  # faster, but λu would cancel with an origin
                bent = cross - self._resolved(strength) * step
            inner = np.einsum("pq,pq->q", step, bent - 2 * cross)
            squares[some, outputs] = self.squares[outputs] + inner
            size[some, outputs] = np.einsum("pq,pq->q", u, u)
        with np.errstate(over="ignore"):
            logarithms = self._summed(strengths, lambda d, strength: np.log1p(d / strength))
        return Fits(
            np.broadcast_to(strengths, tall),
            np.broadcast_to(self.freedom(strengths), tall),
            np.broadcast_to(self._spare(strengths), tall),
            np.maximum(squares, self.floor),
            size,
            np.broadcast_to(logarithms, tall),
            self.rows,
            self.nuisance,
            self.rank,
        )

    @cached_property
    def _eigenvalues(self) -> np.ndarray:
        """Eigenvalues above rounding. There are not more of them than rows."""
        values = self.tridiagonal.eigenvalues
        most = max(self.rows - self.nuisance - self.rank, 0)
        return values[np.searchsorted(values, 0.0, side="right") :][-most:] if most else values[:0]

    def freedom(self, strengths: np.ndarray) -> np.ndarray:
        """Return Σ d/(d + λ) at ``strengths`` (n, Q), without a fit."""
        return self._summed(strengths, lambda d, strength: d / (d + strength))

    def _spare(self, strengths: np.ndarray) -> np.ndarray:
        beyond = self.rows - self.nuisance - self.rank - len(self._eigenvalues)
        return beyond + self._summed(strengths, lambda d, strength: strength / (d + strength))

    def _summed(
        self, strengths: np.ndarray, of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return sums over eigenvalues d of ``of(d, strength)``, in the shape of ``strengths``."""
        distinct, place = np.unique(strengths, return_inverse=True)
        found = of(self._eigenvalues, distinct[:, None]).sum(-1)
        return np.asarray(found[place.reshape(strengths.shape)])

    def coordinates(self, strengths: np.ndarray) -> np.ndarray:
        """Return v (n, R, Q) at ``strengths``, (n, Q) or (n, 1)."""
        n, size = len(strengths), self.tridiagonal.size
        # In column-major order for LAPACK.
        steps = np.empty((n, self.outputs, size)).transpose(2, 0, 1)
        for some, outputs, strength in _distinct(strengths):
            steps[:, some, outputs] = self._step(strength, outputs)
        z = self.tridiagonal.rotate(steps.reshape(size, n * self.outputs), back=True)
        whole = self._eliminated.completed(z, np.tile(self._right, n))
        whole *= self._root
        return self.origin + whole.reshape(len(whole), n, self.outputs).transpose(1, 0, 2)

    def correction(self, strengths: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return (AᵀA + λ·weights)⁻¹ gradient (R, Q), for λ (Q,)."""
        gradient = gradient * self._root
        turned = self.tridiagonal.rotate(self._eliminated.eliminated(gradient))
        for _, outputs, strength in _distinct(strengths[None]):
            turned[:, outputs] = self.tridiagonal.solve(strength, turned[:, outputs])
        z = self.tridiagonal.rotate(turned, back=True)
        return self._eliminated.completed(z, gradient[self.free]) * self._root

    def _step(self, strength: float, outputs: Outputs) -> np.ndarray:
        """Return Qᵀ z (r, k), from the origin to the solution."""
        strength = self._resolved(strength)
        right = self._cross[:, outputs]
        if self._begun:
            right = right - strength * self._begin[:, outputs]
        return self.tridiagonal.solve(strength, right)

    def _resolved(self, strength: float) -> float:
        """Return the strength, or the smallest one that is not rounding."""
        return max(strength, self.tridiagonal.resolution)


def _distinct(strengths: np.ndarray) -> list[tuple[int, Outputs, float]]:
    """Return (row, outputs, strength) for equal values in rows of ``strengths`` (n, Q or 1)."""
    if strengths.shape[1] == 1:
        return [(i, slice(None), float(value)) for i, value in enumerate(strengths[:, 0])]
    return [
        (i, np.flatnonzero(row == value), float(value))
        for i, row in enumerate(strengths)
        for value in np.unique(row)
    ]


def inverse_root(gram: np.ndarray) -> np.ndarray:
    """Return H (R, r) with G⁺ = H Hᵀ for a small G of rank r.

    Columns may be zero or equal. The rank is that of columns scaled to norm one.
    """
    if not gram.size:
        return gram
    norms = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    scale = 1 / np.where(norms > 0, norms, 1.0)
    values, vectors = np.linalg.eigh(gram * scale * scale[:, None])
    # Smaller eigenvalues may be rounding of the sums in G.
    kept = values > 10 * len(gram) * EPS * max(values[-1], 0.0)
    return np.asarray(vectors[:, kept] * scale[:, None] / np.sqrt(values[kept]))
