"""Factors of all groups. Groups of few columns share arrays, over which LAPACK loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from .factor import Factor, Truncated
from .lapack import choleskys, diagonals, frobenius, inverse
from .rank import least_certified, least_share, tolerance_of

# Rows of a Gram matrix whose absolute values are summed at a time.
SUMMED_ROWS = 256

# The groups of a part, and the factor of one group or of all groups of the part.
Part = tuple[np.ndarray, Factor]


class Factors:
    """A `Factor` per group, which may be missing for some groups.

    Groups of one kind and rank are a part, and systems with them are solved at once.
    """

    def __init__(self, groups: int, parts: Sequence[Part]) -> None:
        self._groups, self.parts = groups, parts
        self._made: dict[int, Factor] = {}

    @cached_property
    def _places(self) -> dict[int, tuple[Factor, int]]:
        """The part of every group, and its place in this part."""
        return {g: (f, i) for some, f in self.parts for i, g in enumerate(some.tolist())}

    def get(self, group: int) -> Factor | None:
        """Return the factor of a group, or None."""
        if group not in self._made and group in self._places:
            factor, place = self._places[group]
            self._made[group] = factor[place]
        return self._made.get(group)

    def __getitem__(self, group: int) -> Factor:
        found = self.get(group)
        assert found is not None
        return found

    def __iter__(self) -> Iterator[Factor]:
        return (self[group] for group in range(self._groups))

    @property
    def complete(self) -> bool:
        """Whether every group has a factor."""
        return sum(len(groups) for groups, _ in self.parts) == self._groups

    def each(self, of: Callable[[Factor], object], missing: object = 0) -> np.ndarray:
        """Return a property of the factor of every group (G,), or ``missing``."""
        found = np.full(self._groups, missing)
        for groups, factor in self.parts:
            found[groups] = of(factor)
        return found

    def joined(self, rest: np.ndarray, others: Factors) -> Factors:
        """Return these and the factors of the ``rest`` of the groups."""
        added = [(rest[groups], factor) for groups, factor in others.parts]
        return Factors(self._groups, [*self.parts, *added])

    @property
    def full_rank(self) -> bool:
        """Whether all factors have full rank."""
        return all(f.full_rank for _, f in self.parts)

    def null_share(self, w: np.ndarray, y_norms: np.ndarray) -> float:
        """Return the largest `Truncated.null_share` for w (G, P, Q) and norms (G, Q)."""
        some = [(g, f) for (g, *_), f in self.parts if isinstance(f, Truncated) and not f.full_rank]
        return max((f.null_share(w[g], y_norms[g]) for g, f in some), default=0.0)

    # --- solving, z and g being (G, P, Q)

    def solve(self, z: np.ndarray, by_svd: bool = False) -> np.ndarray:
        """Return argmin ‖A w − y‖ (G, P, Q) for z = Qᵀy, of minimum norm in the user's units."""
        return self._of_each(lambda f, z: f.solve(z, by_svd), z)

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return (AᵀA)⁺ g (G, P, Q), the step of a refinement."""
        return self._of_each(lambda f, g: f.solve_normal(g), g)

    def whitened_norms(self, g: np.ndarray) -> np.ndarray:
        """Return ‖R⁻ᵀg‖ (G, Q); inf where R is deficient."""

        def norms(f: Factor, g: np.ndarray) -> np.ndarray:
            if not f.full_rank:
                return np.full(g[..., 0, :].shape, np.inf)
            return np.linalg.norm(f.whitened(g), axis=-2)

        with np.errstate(over="ignore", invalid="ignore"):
            return self._of_each(norms, g)

    def _of_each(
        self, of: Callable[[Factor, np.ndarray], np.ndarray], values: np.ndarray
    ) -> np.ndarray:
        """Return a function of the factor and the values of every group."""

        def result(groups: np.ndarray, f: Factor) -> np.ndarray:
            own = values if len(groups) == len(values) else values[groups]
            return of(f, own) if f.stacked else of(f, own[0])[None]

        results = [(groups, result(groups, f)) for groups, f in self.parts]
        first = results[0][1]
        if len(first) == len(values):
            return first
        found = np.zeros((len(values), *first.shape[1:]))
        for groups, part in results:
            found[groups] = part
        return found


def cholesky_factors(
    grams: np.ndarray, rows: int, certain: bool = False, loss: np.ndarray | float = 1.0
) -> Factors:
    """Return the factors of the Gram matrices whose full rank is certain.

    A successful factorization alone does not prove full rank. Full rank is certified if the matrix
    stays positive definite after the subtraction of a margin from its diagonal. The margin is
    10·P·eps·loss·s₁², or the square of the upper end of the `Band` if that is larger, so that the
    singular values of A lead to the same verdict. It can be proved up to κ of about 1e6.

    Args:
        grams: Gram matrices (G, P, P) of columns of norm about one. They are overwritten.
        rows: number of rows of A.
        certain: whether full rank is known, for example because of a ridge.
        loss: rounding error of the Gram matrices (G,), in units of the rounding error of products
            of columns of norm one.
    """
    groups, columns, _ = grams.shape
    full = np.ones(groups, bool)
    if not certain:
        parts = range(0, columns, SUMMED_ROWS)  # the absolute values of all would be a copy
        sums = [np.abs(grams[:, i : i + SUMMED_ROWS]).sum(2).max(1) for i in parts]
        largest = np.minimum(frobenius(grams), np.max(sums, 0))
        less = grams.copy()
        diagonals(less)[...] -= (least_share(rows, columns, loss) * largest)[:, None]
        full = choleskys(less)[0]
        del less  # it can have some hundred MB
    if full.any():
        full[full], r = choleskys(grams if full.all() else grams[full])
    if not full.any():
        return Factors(groups, [])
    bounds = np.full(len(r), least_certified(columns))
    return Factors(groups, [(np.flatnonzero(full), Factor(r, rows, bounds, "gram"))])


def triangular_factors(r: np.ndarray, powers: np.ndarray, rows: int) -> Factors:
    """Return factors of R (G, q, P) from QRs of ``rows`` rows; R is A itself if q < P.

    The singular values are computed only if the norms of R and R⁻¹ do not prove full rank.
    Solutions have minimum norm for columns multiplied by two to the ``powers`` (G, P).
    """
    bounds = _lower_bounds(r, rows)
    full, parts = np.flatnonzero(bounds), list[Part]()
    if full.size:
        some = slice(None) if full.size == len(r) else full  # a view if possible
        parts.append((full, Factor(r[some], rows, bounds[full])))
    for group in np.flatnonzero(bounds == 0).tolist():
        one = Factor(r[group], rows)
        if one.band.rank < one.columns:
            one = Truncated(one.r, rows, one.singular_values, powers[group])
        parts.append((np.array([group]), one))
    return Factors(len(r), parts)


def _lower_bounds(r: np.ndarray, rows: int) -> np.ndarray:
    """Return half of 1/‖R⁻¹‖ (G,) if all singular values are above the `Band`, else 0."""
    if r.shape[1] != r.shape[2]:
        return np.zeros(len(r))
    regular = np.asarray(diagonals(r).all(1))
    if not regular.all():
        r = np.where(regular[:, None, None], r, np.eye(r.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        norms = frobenius(inverse(r))
        # No singular value is more than ‖R‖.
        full = regular & (10 * tolerance_of(rows, r.shape[2]) * frobenius(r) * norms < 1)
        return np.where(full, 0.5 / norms, 0.0)
