"""Factors of all groups: of many groups of few columns one array, over which LAPACK loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..cached import cached_property
from .factor import Cholesky, Factor, Triangle, factor_of
from .qr import joined_in_tree
from .rank import EPS, least_certified, tolerance_of

# Groups of more columns than this gain nothing from one another: their arithmetic takes longer than
# what Python spends on each.
FEW_COLUMNS = 64


class Factors:
    """A `Factor` for every group, or for some.

    Those of full rank and few columns stand together in ``r`` (G, P, P), and what is solved with
    them is solved for all groups at once. ``apart`` are the others, by group; for these, and for
    groups without a factor, ``r`` holds the identity.
    """

    def __init__(
        self,
        groups: int,
        apart: Mapping[int, Factor],
        r: np.ndarray | None = None,
        make: Callable[[int], Factor] | None = None,
        at_least: np.ndarray | None = None,
    ) -> None:
        """``make`` gives the factor of a group of ``r`` by itself; ``at_least`` (G,) is what their
        singular values exceed, 0 of groups that are not among them.
        """
        self._groups, self.apart, self.r, self._make = groups, apart, r, make
        self.at_least = np.zeros(groups) if at_least is None else at_least
        self._made: dict[int, Factor] = {}

    @classmethod
    def each(cls, several: Sequence[Factor | None]) -> Factors:
        """Every group by itself."""
        return cls(len(several), {g: f for g, f in enumerate(several) if f is not None})

    def __len__(self) -> int:
        return self._groups

    def get(self, group: int) -> Factor | None:
        """That of a group, if there is one."""
        if self._make is None or not self.at_least[group]:
            return self.apart.get(group)
        if group not in self._made:
            self._made[group] = self._make(group)
        return self._made[group]

    def __getitem__(self, group: int) -> Factor:
        found = self.get(group)
        assert found is not None
        return found

    def __iter__(self) -> Iterator[Factor]:
        return (self[group] for group in range(len(self)))

    @property
    def complete(self) -> bool:
        """Whether every group has one."""
        return len(self.apart) + int(np.count_nonzero(self.at_least)) == len(self)

    def with_apart(self, apart: Mapping[int, Factor]) -> Factors:
        """These, with others in the place of some."""
        at_least = self.at_least.copy()
        at_least[[*apart]] = 0.0
        return Factors(len(self), {**self.apart, **apart}, self.r, self._make, at_least)

    def or_else(self, others: Factors) -> Factors:
        """These, and of groups that have none those of others."""
        missing = (g for g in range(len(self)) if self.get(g) is None)
        return self.with_apart({g: f for g in missing if (f := others.get(g)) is not None})

    @property
    def deficient(self) -> dict[int, Factor]:
        """By group those that are not of full rank."""
        return {g: f for g, f in self.apart.items() if not f.full_rank}

    @property
    def proves(self) -> bool:
        """Whether all are in double precision: steps by others are good, but prove nothing."""
        return all(_proves(f) for f in self.apart.values())

    def proof(self, group: int) -> Factor | None:
        """That of a group, if it proves what it says."""
        return self.get(group) if self.proves else None

    @property
    def pivots(self) -> tuple[float, float]:
        """The smallest and the largest entry on the diagonals of R."""
        several = [np.diagonal(f.r) for f in self.apart.values()]
        if self.r is not None:
            several.append(diagonals(self.r)[self.at_least > 0].reshape(-1))
        sizes = np.abs(np.concatenate(several))
        return float(sizes.min()), float(sizes.max())

    # --- solving, z and g being (G, P, Q)

    def solve(self, z: np.ndarray) -> np.ndarray:
        """argmin ‖A w − y‖ (G, P, Q) for z = Qᵀy, of minimum norm in the user's units."""
        return self._of_each(z, np.linalg.solve, lambda f, z: f.solve(z))

    def solve_by_svd(self, z: np.ndarray) -> np.ndarray:
        """The same by singular values."""
        return self._of_each(z, _solve_by_svd, lambda f, z: f.solve_by_svd(z))

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA)⁺ g (G, P, Q), the step of a refinement."""

        def together(r: np.ndarray, g: np.ndarray) -> np.ndarray:
            return self.inverse @ (self.inverse.swapaxes(1, 2) @ g)

        return self._of_each(g, together, lambda f, g: f.solve_normal(g))

    def whitened_norms(self, g: np.ndarray) -> np.ndarray:
        """‖R⁻ᵀg‖ (G, Q); inf where R is deficient or proves nothing."""

        def together(r: np.ndarray, g: np.ndarray) -> np.ndarray:
            return np.linalg.norm(self.inverse.swapaxes(1, 2) @ g, axis=1)

        def one(f: Factor, g: np.ndarray) -> np.ndarray:
            if not (f.full_rank and _proves(f)):
                return np.full(g.shape[1], np.inf)
            return np.linalg.norm(f.whiten(g.T), axis=1)

        with np.errstate(over="ignore", invalid="ignore"):
            return self._of_each(g, together, one)

    @cached_property
    def inverse(self) -> np.ndarray:
        """R⁻¹ (G, P, P)."""
        assert self.r is not None
        return _inverses(self.r)

    def _of_each(
        self,
        b: np.ndarray,
        together: Callable[[np.ndarray, np.ndarray], np.ndarray],
        one: Callable[[Factor, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        if self.r is None:
            return np.stack([one(f, b[g]) for g, f in enumerate(self)])
        found = together(self.r, b)
        for g, f in self.apart.items():
            found[g] = one(f, b[g])
        return found


def _proves(factor: Factor) -> bool:
    return not (isinstance(factor, Cholesky) and factor.single)


def _inverses(r: np.ndarray) -> np.ndarray:
    """R⁻¹ (G, P, P) of triangles, by halves: a third of the time of LAPACK's, matrix by matrix."""
    columns = r.shape[-1]
    if columns == 1:
        return 1 / r
    half = columns // 2
    found = np.zeros(r.shape)
    upper = found[:, :half, :half] = _inverses(r[:, :half, :half])
    lower = found[:, half:, half:] = _inverses(r[:, half:, half:])
    np.negative(upper @ (r[:, :half, half:] @ lower), out=found[:, :half, half:])
    return found


def _solve_by_svd(r: np.ndarray, z: np.ndarray) -> np.ndarray:
    u, s, vt = np.linalg.svd(r)
    return np.asarray(vt.swapaxes(1, 2) @ (u.swapaxes(1, 2) @ z / s[:, :, None]))


def cholesky_factors(
    grams: np.ndarray, exponents: np.ndarray, rows: int, certain: bool = False
) -> Factors:
    """Of equilibrated Grams (G, P, P) those whose full rank is certain, as by `cholesky_factor`."""
    groups, columns, _ = grams.shape
    r = _choleskys(grams).swapaxes(1, 2)
    full = np.isfinite(r[:, -1, -1])
    if not certain:
        share = max(10 * columns * EPS, (10 * tolerance_of(rows, columns)) ** 2)
        most = (np.abs(grams) @ np.ones(columns)).max(1)
        margin = share * np.minimum(_norms(grams), most)
        inverse = _inverses(_or_identity(r, full))
        # Where half of 1/‖R⁻¹‖² is more, taking the margin off leaves it positive definite.
        with np.errstate(over="ignore"):
            open_groups = np.flatnonzero(full & ~(2 * margin * _norms(inverse) ** 2 < 1))
        less = grams[open_groups]
        diagonals(less)[...] -= margin[open_groups, None]
        full[open_groups] = np.isfinite(_choleskys(less)[:, -1, -1])
    at_least = np.where(full, least_certified(columns), 0.0)
    r = _or_identity(r, full)
    found = Factors(groups, {}, r, lambda g: Cholesky(r[g], exponents[g], rows), at_least)
    if not certain:
        found.inverse = _or_identity(inverse, full)
    return found


def _choleskys(grams: np.ndarray) -> np.ndarray:
    """L (G, P, P) of every L Lᵀ; NaN of those that are not positive definite.

    NumPy refuses all of them where one is not: then each half by itself.
    """
    try:
        return np.linalg.cholesky(grams)
    except np.linalg.LinAlgError:
        if len(grams) == 1:
            return np.full(grams.shape, np.nan)
        return np.concatenate([_choleskys(half) for half in np.array_split(grams, 2)])


def triangular_factors(r: np.ndarray, exponents: np.ndarray, rows: int) -> Factors:
    """From QRs of ``rows`` rows: R (G, q, P), of A itself where q is less than P.

    What norms of R and R⁻¹ do not show to be of full rank is looked into group by group.
    """
    groups, q, columns = r.shape
    full, at_least = np.zeros(groups, bool), np.zeros(groups)
    if q == columns:
        regular = np.asarray(diagonals(r).all(1))
        with np.errstate(over="ignore", invalid="ignore"):
            inverse = _inverses(_or_identity(r, regular))
            inverses = _norms(inverse)
            # No singular value is more than ‖R‖.
            full = regular & (10 * tolerance_of(rows, columns) * _norms(r) * inverses < 1)
        at_least[full] = 0.5 / inverses[full]
    apart = {int(g): factor_of(r[g], exponents[g], rows) for g in np.flatnonzero(~full)}
    if len(apart) == groups:
        return Factors(groups, apart)
    r = _or_identity(r, full)

    def triangle(group: int) -> Factor:
        return Triangle(r[group], exponents[group], rows, float(at_least[group]))

    found = Factors(groups, apart, r, triangle, at_least)
    found.inverse = _or_identity(inverse, full)
    return found


def diagonals(a: np.ndarray) -> np.ndarray:
    """A view (G, P) of the diagonals of matrices (G, P, P), to be written to."""
    return np.einsum("gpp->gp", a)


def _norms(a: np.ndarray) -> np.ndarray:
    """Frobenius norms (G,) of matrices (G, P, P)."""
    return np.asarray(np.sqrt(np.einsum("gpq,gpq->g", a, a)))


def _or_identity(r: np.ndarray, which: np.ndarray) -> np.ndarray:
    return r if which.all() else np.where(which[:, None, None], r, np.eye(r.shape[-1]))


def stacked_qr(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """R (G, min(m, c), c) of all the rows of ``blocks`` (G, n, c), in a tree as `tree_qr`."""

    def triangle(*parts: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.qr(np.concatenate(parts, axis=1), mode="r"))

    return joined_in_tree(map(triangle, blocks), triangle)
