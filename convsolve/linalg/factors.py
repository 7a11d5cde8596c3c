"""Factors of all groups. Groups of few columns share arrays, over which LAPACK loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..cached import cached_property
from .factor import Factor, FullRank, Truncated, singular_values_of
from .lapack import choleskys, inverse
from .minimum_norm import CLUSTER
from .rank import band_of, least_certified, least_share, tolerance_of

# Groups of more columns than this are factored separately: their arithmetic takes longer than the
# overhead of Python for each group.
FEW_COLUMNS = 64
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

    @classmethod
    def joined(cls, several: Sequence[Factors]) -> Factors:
        """Return the factors of the groups of all of them, in this order."""
        if len(several) == 1:
            return several[0]
        ends = np.cumsum([len(factors) for factors in several])
        pairs = zip(several, ends, strict=True)
        parts = [
            (index + end - len(factors), f) for factors, end in pairs for index, f in factors.parts
        ]
        return cls(int(ends[-1]), parts)

    def __len__(self) -> int:
        return self._groups

    @cached_property
    def _places(self) -> np.ndarray:
        """Part (G, 2) and place in it of every group; -1 for a group without a factor."""
        found = np.full((self._groups, 2), -1)
        for i, (index, _) in enumerate(self.parts):
            found[index, 0], found[index, 1] = i, np.arange(len(index))
        return found

    def get(self, group: int) -> Factor | None:
        """Return the factor of a group, or None."""
        if self._groups == 1:
            return self.parts[0][1] if self.parts else None
        part, place = self._places[group].tolist()
        if part < 0:
            return None
        factor = self.parts[part][1]
        if not (isinstance(factor, FullRank | Truncated) and factor.stacked):
            return factor
        if group not in self._made:
            self._made[group] = factor[place]
        return self._made[group]

    def __getitem__(self, group: int) -> Factor:
        found = self.get(group)
        assert found is not None
        return found

    def __iter__(self) -> Iterator[Factor]:
        return (self[group] for group in range(len(self)))

    @property
    def complete(self) -> bool:
        """Whether every group has a factor."""
        return sum(len(index) for index, _ in self.parts) == self._groups

    def _values(self, of: Callable[[Factor], object], missing: object) -> np.ndarray:
        """Return a property of the factor of every group (G,)."""
        found = np.full(self._groups, missing)
        for index, factor in self.parts:
            found[index] = of(factor)
        return found

    @property
    def ranks(self) -> np.ndarray:
        """Numerical ranks (G,)."""
        return self._values(lambda f: f.rank, 0)

    @property
    def verdicts(self) -> list[str | None]:
        """`Factor.verdict` of every group; None for a group without a factor."""
        return list(self._values(lambda f: f.verdict, None))

    @property
    def at_least(self) -> np.ndarray:
        """Lower bounds (G,) of the singular values that are known without a spectrum, or 0."""
        return self._values(lambda f: f.at_least, 0.0)

    @property
    def full_rank(self) -> bool:
        """Whether all factors have full rank."""
        return all(f.full_rank for _, f in self.parts)

    def null_share(self, w: np.ndarray, y_norms: np.ndarray) -> float:
        """Return the largest `Factor.null_share` for w (G, P, Q) and norms (G, Q)."""
        pairs = ((f, _of_part(index, f)) for index, f in self.parts)
        return max((f.null_share(w[at], y_norms[at]) for f, at in pairs), default=0.0)

    @property
    def pivots(self) -> tuple[float, float]:
        """The smallest and the largest entry on the diagonals of R."""
        several = [np.abs(np.diagonal(f.r, axis1=-2, axis2=-1)) for _, f in self.parts]
        return float(min(map(np.min, several))), float(max(map(np.max, several)))

    # --- solving, z and g being (G, P, Q)

    def solve(self, z: np.ndarray) -> np.ndarray:
        """Return argmin ‖A w − y‖ (G, P, Q) for z = Qᵀy, of minimum norm in the user's units."""
        return self._of_each(lambda f, z: f.solve(z), z)

    def solve_by_svd(self, z: np.ndarray) -> np.ndarray:
        """Return the same solution, computed from the singular values."""
        return self._of_each(lambda f, z: f.solve_by_svd(z), z)

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return (AᵀA)⁺ g (G, P, Q), the step of a refinement."""
        return self._of_each(lambda f, g: f.solve_normal(g), g)

    def whitened_norms(self, g: np.ndarray) -> np.ndarray:
        """Return ‖R⁻ᵀg‖ (G, Q); inf where R is deficient."""

        def norms(f: Factor, g: np.ndarray) -> np.ndarray:
            if not f.full_rank:
                return np.full(g[..., 0, :].shape, np.inf)
            return np.linalg.norm(f.whiten(g.swapaxes(-1, -2)), axis=-1)

        with np.errstate(over="ignore", invalid="ignore"):
            return self._of_each(norms, g)

    def _of_each(
        self, of: Callable[[Factor, np.ndarray], np.ndarray], values: np.ndarray
    ) -> np.ndarray:
        """Return a function of the factor and the values of every group."""
        several = [(_of_part(index, f), f) for index, f in self.parts]
        if len(self.parts[0][0]) == len(values):  # one part has all groups
            factor = several[0][1]
            return of(factor, values) if factor.stacked else of(factor, values[0])[None]
        results = [of(f, values[at]) for at, f in several]
        one = results[0][0] if several[0][1].stacked else results[0]
        found = np.zeros((len(values), *one.shape))
        for (at, _), result in zip(several, results, strict=True):
            found[at] = result
        return found


def _of_part(index: np.ndarray, factor: Factor) -> np.ndarray | int:
    """Return the index of the values of a part, which has an axis of groups if R has one."""
    return index if factor.stacked else int(index[0])


def _part(groups: np.ndarray, factor: FullRank | Truncated) -> Part:
    """Return a part with a factor of several groups, or with the factor of its only group."""
    return groups, factor if len(groups) > 1 else factor[0]


def cholesky_factors(
    grams: np.ndarray,
    exponents: np.ndarray,
    rows: int,
    certain: bool = False,
    loss: np.ndarray | float = 1.0,
) -> Factors:
    """Return the factors of the equilibrated Gram matrices whose full rank is certain.

    A successful factorization alone does not prove full rank. Full rank is certified if the matrix
    stays positive definite after the subtraction of a margin from its diagonal. The margin is
    10·P·eps·loss·s₁², or the square of the upper end of the `Band` if that is larger, so that the
    singular values of A lead to the same verdict. It can be proved up to κ of about 1e6.

    Args:
        grams: equilibrated Gram matrices (G, P, P). They are overwritten.
        exponents: exponents (G, P) of the columns.
        rows: number of rows of A.
        certain: whether full rank is known, for example because of a ridge.
        loss: rounding error of the Gram matrices (G,), in units of the rounding error of products
            of columns of norm one.
    """
    groups, columns, _ = grams.shape
    full = np.ones(groups, bool)
    if not certain:
        less = grams.copy()
        diagonals(less)[...] -= _margins(grams, rows, loss)[:, None]
        full = choleskys(less)[0]
        del less  # it can have some hundred MB
    if full.any():
        full[full], r = choleskys(grams if full.all() else grams[full])
    proven = np.flatnonzero(full)
    if not proven.size:
        return Factors(groups, [])
    bounds = np.full(len(proven), least_certified(columns))
    return Factors(groups, [_part(proven, FullRank(r, exponents[proven], rows, bounds, "gram"))])


def _margins(grams: np.ndarray, rows: int, loss: np.ndarray | float) -> np.ndarray:
    """Return the margins (G,) of `cholesky_factors`."""
    columns = grams.shape[-1]
    most, ones = np.zeros(len(grams)), np.ones(columns)
    for first in range(0, columns, SUMMED_ROWS):
        part = np.abs(grams[:, first : first + SUMMED_ROWS])
        most = np.maximum(most, (part @ ones).max(1))
    return np.asarray(least_share(rows, columns, loss) * np.minimum(_norms(grams), most))


def triangular_factors(r: np.ndarray, exponents: np.ndarray, rows: int) -> Factors:
    """Return factors of R (G, q, P) from QRs of ``rows`` rows; R is A itself if q < P.

    The singular values are computed only if the norms of R and R⁻¹ do not prove full rank.
    """
    groups, columns = len(r), r.shape[-1]
    bounds = _lower_bounds(r, rows)
    if bounds.all():
        found = FullRank(r, exponents, rows, bounds)
        return Factors(groups, [_part(np.arange(groups), found)])
    full, rest, parts = np.flatnonzero(bounds), np.flatnonzero(bounds == 0), []
    if full.size:
        found = FullRank(r[full], exponents[full], rows, bounds[full])
        parts.append(_part(full, found))
    values = singular_values_of(r if len(rest) == groups else r[rest])
    ranks = band_of(values, rows, columns).rank
    # Deficient groups of few columns whose units differ little are solved together.
    near = (ranks < columns) & (np.ptp(exponents[rest], axis=1) < CLUSTER)
    near &= columns <= FEW_COLUMNS
    alike: dict[tuple[int, int], list[int]] = {}
    for i, (rank, several) in enumerate(zip(ranks.tolist(), near.tolist(), strict=True)):
        alike.setdefault((rank, -1 if several else i), []).append(i)
    for (rank, _), places in alike.items():
        mine = rest[places]
        if rank < columns:
            some = slice(None) if len(mine) == groups else mine  # a view if possible
            parts.append(_part(mine, Truncated(r[some], exponents[some], rows, values[places])))
            continue
        one = FullRank(r[mine[0]], exponents[mine[0]], rows)
        one.singular_values = values[places[0]]
        parts.append((mine, one))
    return Factors(groups, parts)


def _lower_bounds(r: np.ndarray, rows: int) -> np.ndarray:
    """Return half of 1/‖R⁻¹‖ (G,) if all singular values are above the `Band`, else 0."""
    if r.shape[1] != r.shape[2]:
        return np.zeros(len(r))
    regular = np.asarray(diagonals(r).all(1))
    if not regular.all():
        r = np.where(regular[:, None, None], r, np.eye(r.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        norms = _norms(inverse(r))
        # No singular value is more than ‖R‖.
        full = regular & (10 * tolerance_of(rows, r.shape[2]) * _norms(r) * norms < 1)
        return np.where(full, 0.5 / norms, 0.0)


def diagonals(a: np.ndarray) -> np.ndarray:
    """Return a writable view (G, P) of the diagonals of matrices (G, P, P)."""
    return np.einsum("gpp->gp", a)


def _norms(a: np.ndarray) -> np.ndarray:
    """Return the Frobenius norms (G,) of matrices (G, P, Q)."""
    return np.asarray(np.sqrt(np.einsum("gpq,gpq->g", a, a)))
