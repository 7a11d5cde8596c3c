"""Factors of all groups. Many groups of few columns share one array, over which LAPACK loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy

import numpy as np

from ..cached import cached_property
from .factor import Cholesky, Factor, Triangle, Truncated, factor_of
from .inverses import inverses
from .lapack import cholesky
from .minimum_norm import CLUSTER
from .qr import joined_in_tree
from .rank import EPS, Bands, least_certified, tolerance_of
from .row_spaces import RowSpaces

# Groups of more columns than this are factored separately: their arithmetic takes longer than the
# overhead of Python for each group.
FEW_COLUMNS = 64
# Up to this number of columns, a Cholesky factorization of all groups row by row is faster than
# LAPACK, which is called for each group.
ROW_BY_ROW = 16


class Factors:
    """A `Factor` per group, which may be missing for some groups.

    Factors of full rank with few columns are stacked in ``r`` (G, P, P), and systems with them are
    solved for all groups at once. Deficient factors with few columns are stacked by rank in
    ``spaces``. ``alone`` holds the other factors by group. ``r`` is the identity for groups that
    are not stacked in it.
    """

    def __init__(
        self,
        groups: int,
        alone: Mapping[int, Factor],
        r: np.ndarray | None = None,
        make: Callable[[int], Factor] | None = None,
        at_least: np.ndarray | None = None,
        spaces: Sequence[RowSpaces] = (),
    ) -> None:
        """Store the factors.

        Args:
            groups: number of groups G.
            alone: factors that are not stacked, by group.
            r: stacked factors (G, P, P).
            make: returns the `Factor` of a group in ``r`` or ``spaces``.
            at_least: lower bounds (G,) of the singular values of groups in ``r``, 0 for others.
            spaces: deficient groups, by rank.
        """
        self._groups, self.r, self._make = groups, r, make
        self._alone, self._spaces = alone, spaces
        self.at_least = np.zeros(groups) if at_least is None else at_least
        self._within = [int(g) for space in spaces for g in space.groups]
        self._made: dict[int, Factor] = {}

    @classmethod
    def each(cls, several: Sequence[Factor | None]) -> Factors:
        """Store a list of factors without stacking them."""
        return cls(len(several), {g: f for g, f in enumerate(several) if f is not None})

    def __len__(self) -> int:
        return self._groups

    def get(self, group: int) -> Factor | None:
        """Return the factor of a group, or None."""
        if self._make is None or not self.has[group] or group in self._alone:
            return self._alone.get(group)
        if group not in self._made:
            self._made[group] = self._make(group)
        return self._made[group]

    def __getitem__(self, group: int) -> Factor:
        found = self.get(group)
        assert found is not None
        return found

    def __iter__(self) -> Iterator[Factor]:
        return (self[group] for group in range(len(self)))

    @cached_property
    def has(self) -> np.ndarray:
        """Flags (G,) of the groups that have a factor."""
        found = np.asarray(self.at_least > 0)
        found[[*self._alone, *self._within]] = True
        return found

    @property
    def complete(self) -> bool:
        """Whether every group has a factor."""
        return bool(self.has.all())

    @property
    def apart(self) -> dict[int, Factor]:
        """Factors that are not stacked in ``r``, by group."""
        return {g: self[g] for g in sorted([*self._alone, *self._within])}

    def with_alone(self, alone: Mapping[int, Factor]) -> Factors:
        """Return these factors with some of them replaced."""
        at_least = self.at_least.copy()
        at_least[[*alone]] = 0.0
        return Factors(len(self), {**self.apart, **alone}, self.r, self._make, at_least)

    def or_else(self, others: Factors, groups: np.ndarray) -> Factors:
        """Return these factors, with the factors (n,) of others for ``groups`` (n,) without one."""
        at_least = self.at_least.copy()
        at_least[groups] = others.at_least
        places = {int(g): i for i, g in enumerate(groups)}
        alone = {**self._alone, **{int(groups[i]): f for i, f in others._alone.items()}}
        spaces = [copy(space) for space in others._spaces]
        for space in spaces:
            space.groups = groups[space.groups]

        def make(group: int) -> Factor:
            return others[places[group]] if group in places else self[group]

        found = Factors(len(self), alone, self.r, make, at_least, [*self._spaces, *spaces])
        if self.r is not None and others.r is not None:
            found.r, found.inverse = self.r.copy(), self.inverse.copy()
            found.r[groups], found.inverse[groups] = others.r, others.inverse
        elif self.r is not None:
            found.inverse = self.inverse
        return found

    @cached_property
    def ranks(self) -> np.ndarray:
        """Numerical ranks (G,)."""
        found = np.zeros(len(self), int)
        if self.r is not None:
            found[self.at_least > 0] = self.r.shape[-1]
        for g, f in self._alone.items():
            found[g] = f.rank
        for space in self._spaces:
            found[space.groups] = space.rank
        return found

    @property
    def verdicts(self) -> list[str | None]:
        """`Factor.verdict` of every group; None for a group without a factor."""
        found: list[str | None] = ["full" if least else None for least in self.at_least]
        for space in self._spaces:
            for g, word in zip(space.groups.tolist(), space.verdicts, strict=True):
                found[g] = word
        for g, f in self._alone.items():
            found[g] = f.verdict
        return found

    @property
    def full_rank(self) -> bool:
        """Whether all factors have full rank."""
        return not self._spaces and all(f.full_rank for f in self._alone.values())

    @property
    def deficient(self) -> dict[int, Factor]:
        """Factors that do not have full rank, by group."""
        return {g: f for g, f in self.apart.items() if not f.full_rank}

    def null_share(self, w: np.ndarray, y_norms: np.ndarray) -> float:
        """`Factor.null_share`, the largest over groups, for w (G, P, Q) and norms (G, Q)."""
        shares = [f.null_share(w[g], y_norms[g]) for g, f in self._alone.items()]
        for space in self._spaces:
            mine = space.groups
            shares.append(float(space.null_shares(w[mine], y_norms[mine]).max()))
        return max(shares, default=0.0)

    @property
    def proves(self) -> bool:
        """Whether all are in double precision. Others refine solutions but prove nothing."""
        return all(_proves(f) for f in self._alone.values())

    def proof(self, group: int) -> Factor | None:
        """Return the factor of a group if all factors are in double precision, else None."""
        return self.get(group) if self.proves else None

    @property
    def pivots(self) -> tuple[float, float]:
        """The smallest and the largest entry on the diagonals of R."""
        several = [np.diagonal(f.r) for f in self._alone.values()]
        if self.r is not None:
            several.append(diagonals(self.r)[self.at_least > 0].reshape(-1))
        sizes = np.abs(np.concatenate(several))
        return float(sizes.min()), float(sizes.max())

    # --- solving, z and g being (G, P, Q)

    def solve(self, z: np.ndarray) -> np.ndarray:
        """argmin ‖A w − y‖ (G, P, Q) for z = Qᵀy, of minimum norm in the user's units."""
        within = RowSpaces.solve
        return self._of_each(z, np.linalg.solve, within, lambda f, z: f.solve(z))

    def solve_by_svd(self, z: np.ndarray) -> np.ndarray:
        """Return the same solution, computed from the singular values."""
        within = RowSpaces.solve
        return self._of_each(z, _solve_by_svd, within, lambda f, z: f.solve_by_svd(z))

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA)⁺ g (G, P, Q), the step of a refinement."""

        def together(r: np.ndarray, g: np.ndarray) -> np.ndarray:
            return self.inverse @ (self.inverse.swapaxes(1, 2) @ g)

        within = RowSpaces.solve_normal
        return self._of_each(g, together, within, lambda f, g: f.solve_normal(g))

    def whitened_norms(self, g: np.ndarray) -> np.ndarray:
        """‖R⁻ᵀg‖ (G, Q); inf where R is deficient or proves nothing."""

        def together(r: np.ndarray, g: np.ndarray) -> np.ndarray:
            return np.linalg.norm(self.inverse.swapaxes(1, 2) @ g, axis=1)

        def one(f: Factor, g: np.ndarray) -> np.ndarray:
            if not (f.full_rank and _proves(f)):
                return np.full(g.shape[1], np.inf)
            return np.linalg.norm(f.whiten(g.T), axis=1)

        with np.errstate(over="ignore", invalid="ignore"):
            return self._of_each(g, together, lambda _, g: np.full(g[:, 0].shape, np.inf), one)

    @cached_property
    def inverse(self) -> np.ndarray:
        """R⁻¹ (G, P, P)."""
        assert self.r is not None
        return inverses(self.r)

    def _of_each(
        self,
        b: np.ndarray,
        together: Callable[[np.ndarray, np.ndarray], np.ndarray],
        within: Callable[[RowSpaces, np.ndarray], np.ndarray],
        one: Callable[[Factor, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        if self.r is None and not self._spaces:
            return np.stack([one(f, b[g]) for g, f in enumerate(self)])
        found: np.ndarray | None = None if self.r is None else together(self.r, b)
        several = [(space.groups, within(space, b[space.groups])) for space in self._spaces]
        several += [(np.array([g]), one(f, b[g])[None]) for g, f in self._alone.items()]
        for groups, part in several:
            found = np.zeros((len(b), *part.shape[1:])) if found is None else found
            found[groups] = part
        assert found is not None
        return found


def _proves(factor: Factor) -> bool:
    return not (isinstance(factor, Cholesky) and factor.single)


def _solve_by_svd(r: np.ndarray, z: np.ndarray) -> np.ndarray:
    u, s, vt = np.linalg.svd(r)
    return np.asarray(vt.swapaxes(1, 2) @ (u.swapaxes(1, 2) @ z / s[:, :, None]))


def cholesky_factors(
    grams: np.ndarray,
    exponents: np.ndarray,
    rows: int,
    certain: bool = False,
    loss: np.ndarray | float = 1.0,
) -> Factors:
    """Return the factors of the equilibrated Gram matrices (G, P, P) whose full rank is certain.

    The arguments are those of `cholesky_factor`, with one ``loss`` (G,) per group.
    """
    groups, columns, _ = grams.shape
    r = _choleskys(grams)
    full = np.isfinite(r[:, -1, -1])
    if not certain:
        share = np.maximum(10 * columns * EPS * loss, (10 * tolerance_of(rows, columns)) ** 2)
        most = (np.abs(grams) @ np.ones(columns)).max(1)
        margin = share * np.minimum(_norms(grams), most)
        # If half of 1/‖R⁻¹‖² is more than the margin, the difference is positive definite.
        with np.errstate(over="ignore", invalid="ignore"):
            inverse = inverses(_or_identity(r, full))
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
    """Return R (G, P, P) of every RᵀR. R is NaN if RᵀR is not positive definite."""
    if grams.shape[-1] <= ROW_BY_ROW:
        return _row_by_row(grams)
    try:
        return np.linalg.cholesky(grams).swapaxes(1, 2)
    except np.linalg.LinAlgError:  # NumPy refuses all if one fails
        found = [cholesky(gram.copy()) for gram in grams]
        nothing = np.full(grams.shape[1:], np.nan)
        return np.stack([nothing if r is None else r for r in found])


def _row_by_row(grams: np.ndarray) -> np.ndarray:
    """Return the same, computed one row of all R at a time."""
    r = np.array(grams.transpose(1, 2, 0), order="C")
    for i in range(len(r)):
        pivot = np.where(r[i, i] > 0, r[i, i], np.nan)
        r[i, i:] /= np.sqrt(pivot)
        r[i, :i] = 0.0
        for below in range(i + 1, len(r)):
            r[below, below:] -= r[i, below] * r[i, below:]
    return np.ascontiguousarray(r.transpose(2, 0, 1))


def triangular_factors(r: np.ndarray, exponents: np.ndarray, rows: int) -> Factors:
    """Return factors of R (G, q, P) from QRs of ``rows`` rows; R is A itself if q < P.

    The singular values are computed only if the norms of R and R⁻¹ do not prove full rank.
    """
    groups, q, columns = r.shape
    full, at_least = np.zeros(groups, bool), np.zeros(groups)
    if q == columns:
        regular = np.asarray(diagonals(r).all(1))
        with np.errstate(over="ignore", invalid="ignore"):
            inverse = inverses(_or_identity(r, regular))
            norms = _norms(inverse)
            # No singular value is more than ‖R‖.
            full = regular & (10 * tolerance_of(rows, columns) * _norms(r) * norms < 1)
        at_least[full] = 0.5 / norms[full]
    spaces = _row_spaces(np.flatnonzero(~full), r, exponents, rows)
    within = {g: (space, i) for space in spaces for i, g in enumerate(space.groups.tolist())}
    rest = (g for g in np.flatnonzero(~full).tolist() if g not in within)
    alone = {g: factor_of(r[g], exponents[g], rows) for g in rest}

    def factor(group: int) -> Factor:
        if group in within:
            space, place = within[group]
            return Truncated(r[group], exponents[group], rows, space.values[place])
        return Triangle(r[group], exponents[group], rows, float(at_least[group]))

    if not full.any():
        return Factors(groups, alone, None, factor, at_least, spaces)
    found = Factors(groups, alone, _or_identity(r, full), factor, at_least, spaces)
    found.inverse = _or_identity(inverse, full)
    return found


def _row_spaces(
    groups: np.ndarray, r: np.ndarray, exponents: np.ndarray, rows: int
) -> list[RowSpaces]:
    """Return the deficient groups whose units differ little, by rank."""
    groups = groups[np.ptp(exponents[groups], axis=1) < CLUSTER]
    # By the routine of `factor_of`, so that a group and the same by itself agree to the last digit.
    values = np.linalg.svd(r[groups], compute_uv=False)
    bands = Bands(values, rows, r.shape[-1])
    found = []
    for rank in np.unique(bands.rank[bands.rank < r.shape[-1]]).tolist():
        i = np.flatnonzero(bands.rank == rank)
        vt = np.linalg.svd(r[groups[i]], full_matrices=False)[2][:, :rank]
        given = r[groups[i]], exponents[groups[i]], vt
        words = [bands.of(place).verdict for place in i.tolist()]
        found.append(RowSpaces(groups[i], *given, values[i], words))
    return found


def diagonals(a: np.ndarray) -> np.ndarray:
    """Return a writable view (G, P) of the diagonals of matrices (G, P, P)."""
    return np.einsum("gpp->gp", a)


def _norms(a: np.ndarray) -> np.ndarray:
    """Frobenius norms (G,) of matrices (G, P, P)."""
    return np.asarray(np.sqrt(np.einsum("gpq,gpq->g", a, a)))


def _or_identity(r: np.ndarray, which: np.ndarray) -> np.ndarray:
    if which.all():
        return r
    found = r.copy()
    found[~which] = np.eye(r.shape[-1])
    return found


def stacked_qr(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return R (G, min(m, c), c) of the rows of all ``blocks`` (G, n, c), see `tree_qr`."""

    def triangle(*parts: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.qr(np.concatenate(parts, axis=1), mode="r"))

    return joined_in_tree(map(triangle, blocks), triangle)
