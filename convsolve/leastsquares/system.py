"""System: least squares of one problem and one ridge, its columns brought to norm about one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from ..errors import SolveError
from ..linalg.factor import Factor
from ..linalg.lapack import MAX_SPECTRUM, graded_singular_values, least_square
from ..linalg.minimum_norm import exponents_of
from ..linalg.rank import EPS
from ..linalg.ridge_dual import Dual
from .analysis import SMALL_NUMBERS, Prepared
from .certificate import EXACT, Certificate, backward_error, upper_bound

# A Gram matrix is formed up to this size; scaled, checked and factored it takes five times as much.
MAX_GRAM_BYTES = 2**30
# Below this a backward error is noise, and another pass over the data changes nothing.
NOISE = 4 * EPS
# Steps of refinement on R: one or two, unless a ridge or wide units leave more to mend.
QR_STEPS = 5
# Steps of refinement from the moments, until one changes this share of w: the next does nothing.
MOMENT_STEPS, SETTLED = 8, 1e-9
# Pivots of a Cholesky within this share of each other: the condition is seldom above a hundred.
GENTLE = 0.1
# A share of σ_P² whose loss is not felt in noise gains.
LITTLE = 1e-6
# A Gram gives condition numbers to ten digits up to this; beyond, the data correct them.
SURE = 500.0
# So many of the last singular vectors of a Gram are corrected from the data.
RITZ = 32


def in_units(w: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """w (..., P, Q), of columns of norm about one, times powers of two; no tap that matters may
    vanish below float64.
    """
    with np.errstate(over="ignore", under="ignore"):
        kernel = np.ldexp(w, exponents)
    size = np.abs(w)
    if ((kernel == 0) & (size > EPS * size.max(-2, keepdims=True))).any():
        raise SolveError(
            "the kernel is too small for float64; change the unit of x or of y so that their sizes "
            "are closer"
        )
    return kernel


def smallest_ridge(largest: float, smallest: float, unit: int, bound: float) -> float:
    """The ridge that brings singular values of these ends, times 2^unit, to the condition bound."""
    if largest == 0.0:
        raise ValueError("x is zero in every window: no ridge is the smallest")
    # In units of s₁ and of the bound, whose squares might overflow.
    least, wanted = smallest / largest, 1 / bound
    share = (wanted - least) * (wanted + least) / ((1 - wanted) * (1 + wanted))
    with np.errstate(over="ignore", under="ignore"):
        ridge = float(np.ldexp(largest**2 * max(share, 0.0), 2 * unit))
    if wanted > least and not 0 < ridge < float("inf"):
        raise ValueError("the ridge lies outside the range of float64; change the unit of x")
    return ridge


class System:
    """min ‖Y − A W‖² + Σ ridge·‖w‖² in equilibrated coordinates, group by group.

    A user's kernel is ``w = 2**(y_exponent - exponents) * W``; the ridge, which is meant in the
    user's units, is then ``ridge * 4**-exponents`` on the diagonal. Arrays are (groups, P, Q)
    throughout.
    """

    def __init__(self, prepared: Prepared, ridge: float = 0.0) -> None:
        self.prepared, self.ridge = prepared, ridge
        if ridge:
            # Of all ridges only the last is kept: a search over many would fill the memory.
            prepared.forget(lambda kept: isinstance(kept, tuple) and kept[1] not in (0, ridge))
        made = prepared.once(("scaling", ridge), "scaling", self._scaling)
        self.turn, self.root_ridge, self.a_norm = made
        self.exponents = prepared.x_exponents + self.turn

    def _scaling(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Exponents that bring the columns to norm one, √ridge there, and ‖A‖ (groups,)."""
        norms, base = self.prepared.column_norms, self.prepared.x_exponents
        # √ridge in the columns' units may leave float64 where it dwarfs them, so exponents first.
        root, power = np.frexp(np.sqrt(self.ridge))
        high = exponents_of(norms)
        if self.ridge:
            high = np.where(norms > 0, np.maximum(high, power - base), power - base)
        joint = np.hypot(np.ldexp(norms, -high), np.ldexp(root, power - base - high))
        extra = exponents_of(joint)
        turn = high + extra
        root_ridge = np.ldexp(root, power - base - turn)
        return turn, root_ridge, np.linalg.norm(np.ldexp(joint, -extra), axis=1)

    def _once(self, key: object, label: str, make: Callable[[], Factor | None]) -> Factor | None:
        return self.prepared.once((key, self.ridge), label, make)

    @property
    def roughly(self) -> bool:
        """Whether a factor in float32 is worth a try: many unknowns, and a ridge above rounding."""
        return self.own_certificate and self.prepared.columns > MAX_SPECTRUM

    def gram_factor(self, group: int, rough: bool = False) -> Factor | None:
        """Cholesky of the moments if their full rank can be certified, else None.

        A ``rough`` one is in float32 where unknowns are many and the ridge vouches for the rank: in
        half the time and memory, for steps of refinement to make up for.
        """
        p = self.prepared
        # Fewer rows than columns make a singular Gram, and with a ridge the dual is cheaper where
        # they are a quarter or less; P² numbers have to fit as well.
        tall = p.n >= p.columns or (self.ridge > 0 and (4 * p.n > p.columns or not p.fits))
        if not tall or p.groups * p.columns**2 * 8 > MAX_GRAM_BYTES:
            return None
        sure, rough = self.own_certificate, rough and self.roughly

        def made(sure: bool) -> Factor | None:
            moments = p.moments
            scale = np.ldexp(1.0, -self.turn[group])
            sums = moments.sums[group] * scale * p.problem.bias
            out_sums = moments.out_sums[group] / moments.n
            gram = np.empty((p.columns, p.columns), np.float32 if rough else np.float64)
            # Some rows at a time: whatever is made of all of them would be one Gram more.
            for rows in np.array_split(np.arange(p.columns), 1 + p.columns // 256):
                part = moments.gram[group, rows] * scale * scale[rows, None]
                gram[rows] = part - np.outer(sums[rows], sums / moments.n)
            if self.ridge:
                gram.flat[:: p.columns + 1] += self.root_ridge[group] ** 2
            right = moments.rhs[group] * scale[:, None] - np.outer(sums, out_sums)
            return Factor.from_gram(gram, right, self.exponents[group], p.n, sure)

        def make() -> Factor | None:
            factor = made(sure)
            if (
                factor is not None
                and factor.shift
                and factor.shift > LITTLE * least_square(factor.r)
            ):
                # What the proof took off the diagonal would be felt.
                factor = made(True)
            return factor

        return self._once(("rough" if rough else "gram", group), "Cholesky", make)

    def qr_factor(self, group: int) -> Factor | None:
        """QR of the design matrix by row blocks, or None where R would take too much memory."""
        p = self.prepared
        if not p.fits:
            return None

        def make() -> Factor | None:
            if self.ridge:
                plain = System(p).qr_factor(group)
                assert plain is not None
                # A ridge below the rounding of a deficient A would be drowned by it.
                drowned = not self.own_certificate and not plain.full_rank and plain.cliff
                join = partial(Dual.of, plain) if plain.wide or drowned else plain.with_ridge
                return join(self.root_ridge[group], self.exponents[group])
            return Factor.from_rows(self._joined_rows(group), p.columns, self.exponents[group], p.n)

        return self._once(("qr", group), "QR", make)

    def _joined_rows(self, group: int) -> Iterator[np.ndarray]:
        """Row blocks of the equilibrated [A Y]."""
        for a, y in self.prepared.rows():
            scaled = np.ldexp(a[group], -self.turn[group])
            yield scaled if y is None else np.concatenate([scaled, y[group]], axis=1)

    def factor(self, group: int) -> Factor | None:
        """The factor by the cheapest route that decides the rank; None if memory allows none."""
        large = self.prepared.matrix_numbers > SMALL_NUMBERS or not self.prepared.fits
        if large and not self.prepared.has((("qr", group), self.ridge)):
            factor = self.gram_factor(group)
            if factor is not None:
                return factor
        return self.qr_factor(group)

    def bias_row(self, group: int) -> np.ndarray:
        """The column means (P,) of the equilibrated A, of norm one at most: what the bias takes of
        a unit null vector is its product with them.
        """
        mean, rest, _, _ = self.prepared.centre
        scaled = np.ldexp((mean + rest)[group], -self.turn[group])
        return scaled / max(float(np.linalg.norm(scaled)), 1.0)

    def leverages(self, factors: Sequence[Factor]) -> Iterator[np.ndarray]:
        """Squared norms (groups, n) of the rows of A R⁻¹, block by block."""
        for a, _ in self.prepared.rows():
            scaled = np.ldexp(a, -self.turn[:, None])
            whitened = [f.whiten(rows) for f, rows in zip(factors, scaled, strict=True)]
            yield np.stack([np.einsum("np,np->n", rows, rows) for rows in whitened])

    def extremes(self, group: int, factor: Factor) -> tuple[float, float]:
        """Ends of the spectrum of A itself, times ``2**-unit``, a Gram's as good as a QR's.

        A Gram knows σ_P to eps·κ² only. Its last right singular vectors V are wrong by as much, but
        the least singular value of A V, computed from the data, by the square of that. Where units
        differ much, or V would take minutes, a QR or nothing is better.
        """
        largest, smallest = factor.extremes
        if factor.source == "qr" or factor.large:
            return largest, smallest
        values = factor.singular_values
        if values[0] <= SURE * values[-1]:
            return largest, smallest
        if factor.graded:
            exact = self.qr_factor(group)
            return factor.extremes if exact is None else exact.extremes
        scale = np.ldexp(1.0, factor.exponents - factor.unit)
        last = scale[:, None] * np.linalg.svd(factor.r * scale)[2][-RITZ:].T
        last = np.ldexp(last, -self.turn[group][:, None])
        if self.prepared.signals is not None:
            gram = self.prepared.signals.gram_of_products(group, last)
        else:
            pieces = (a[group] @ last for a, _ in self.prepared.rows())
            gram = np.sum([seen.T @ seen for seen in pieces], axis=0)
        # Nearly orthogonal columns: brought to norm one, their Gram loses no digits.
        norms = np.sqrt(np.diagonal(gram))
        r = np.linalg.cholesky(gram / np.outer(norms, norms)).T * norms
        return largest, float(graded_singular_values(r)[-1])

    @property
    def own_certificate(self) -> bool:
        """Whether the ridge alone makes [A; √ridge I] of full numerical rank."""
        margin = 10 * self.turn.shape[1] * EPS * self.a_norm[:, None] ** 2
        return self.ridge > 0 and bool((self.root_ridge**2 >= margin).all())

    def apply(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """‖r‖ (groups, Q) and Aᵀr (groups, P, Q) at w, from the data; the ridge's rows included."""
        user = np.ldexp(w, -self.turn[:, :, None])
        signals = self.prepared.signals
        if signals is not None:
            squares, g = signals.misfit(user)
        else:
            squares, g = np.zeros((w.shape[0], w.shape[2])), np.zeros_like(w)
            for a, y in self.prepared.rows():
                r = y - a @ user
                squares += np.einsum("gnq,gnq->gq", r, r)
                g += a.transpose(0, 2, 1) @ r
        g = np.ldexp(g, -self.turn[:, :, None])
        if self.ridge:
            pull = self.root_ridge[:, :, None] * w
            squares += np.einsum("gpq,gpq->gq", pull, pull)
            g -= self.root_ridge[:, :, None] * pull
        return np.sqrt(squares), g

    def certify(self, w: np.ndarray) -> Certificate:
        """Backward error of w, the largest over groups and outputs."""
        return self._certify(w, *self.apply(w), self.factor)

    def _certify(
        self,
        w: np.ndarray,
        r_norm: np.ndarray,
        g: np.ndarray,
        factor_of: Callable[[int], Factor | None],
    ) -> Certificate:
        parts = [
            backward_error(w[i], r_norm[i], g[i], float(self.a_norm[i]), partial(factor_of, i))
            for i in range(w.shape[0])
        ]
        return max(parts, key=lambda c: c.value)

    def _moment_gradient(self, w: np.ndarray) -> np.ndarray:
        """Aᵀr (groups, P, Q) at w from the moments, without a pass over the data."""
        moments = self.prepared.moments
        user = np.ldexp(w, -self.turn[:, :, None])
        g = moments.rhs - moments.gram @ user
        if self.prepared.problem.bias:
            mean = moments.out_sums - np.einsum("gp,gpq->gq", moments.sums, user)
            g -= moments.sums[:, :, None] * (mean / moments.n)[:, None]
        g = np.ldexp(g, -self.turn[:, :, None])
        return g - self.root_ridge[:, :, None] ** 2 * w if self.ridge else g

    def refine_by_moments(self, w: np.ndarray, factors: Sequence[Factor]) -> np.ndarray:
        """w refined by factors of the Gram until a step is nothing beside it, or falls no more.

        Not at all where pivots are alike: the data will judge the first answer, and find it good.
        """
        pivots = np.abs([np.diagonal(f.r) for f in factors])
        if factors[0].r.dtype == np.float64 and pivots.min() > GENTLE * pivots.max():
            return w
        before = np.inf
        for _ in range(MOMENT_STEPS):
            g = self._moment_gradient(w)
            step = np.stack([f.solve_gram(g[i]) for i, f in enumerate(factors)])
            size = float(np.linalg.norm(step)) / (float(np.linalg.norm(w)) or 1.0)
            if not size < before:
                break
            w, before = w + step, size
            if size < SETTLED:
                break
        return w

    def refine(
        self, w: np.ndarray, factors: Sequence[Factor], steps: int
    ) -> tuple[np.ndarray, Certificate]:
        """Up to ``steps`` semi-normal refinements through the data; the best w, certified."""
        # Under a large ridge the first answer of a QR lacks digits that no backward error shows.
        least = self.ridge > 0 and factors[0].source == "qr"
        lowest, best = np.inf, None
        # A factor in float32 makes good steps, and proves nothing.
        proofs = [None if f.r.dtype == np.float32 else f for f in factors]
        enough = EXACT if None in proofs else NOISE
        for step in range(steps + 1):
            r_norm, g = self.apply(w)
            found = max(
                upper_bound(w[i], r_norm[i], g[i], self.a_norm[i], f).max()
                for i, f in enumerate(proofs)
            )
            # Below one rounding all are alike, and the later is the better.
            if best is None or found <= max(lowest, EPS):
                lowest, best = min(lowest, found), (w, r_norm, g)
            if step == steps or (lowest <= enough and step >= least):
                break
            w = w + np.stack([f.solve_gram(g[i]) for i, f in enumerate(factors)])
        assert best is not None
        certificate = Certificate(float(lowest), "upper bound")
        if not certificate.exact:
            certificate = self._certify(*best, proofs.__getitem__)
        # A null part fits nothing: it would make any residual small beside it.
        y_norms = self.prepared.y_norms
        null = max(f.null_share(best[0][i], y_norms[i]) for i, f in enumerate(factors))
        return best[0], max(certificate, Certificate(null, "value"), key=lambda c: c.value)

    def to_user(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (*K, Cg, Cout) and bias (Cout,) in the user's units from w (groups, P, Q)."""
        p = self.prepared
        with np.errstate(over="ignore", under="ignore"):
            shift = p.y_exponents[:, None, :] - self.exponents[:, :, None]
            kernel = in_units(w, shift)
            bias = np.zeros((p.groups, p.outputs))
            if p.problem.bias:
                a_mean, a_rest, y_mean, y_rest = p.centre
                plain = np.ldexp(w, -self.turn[:, :, None])
                bias = (y_mean - np.einsum("gp,gpq->gq", a_mean, plain)) + (
                    y_rest - np.einsum("gp,gpq->gq", a_rest, plain)
                )
                bias = np.ldexp(bias, p.y_exponents)
        shape = p.problem.kernel_shape
        stacked = kernel.reshape(p.groups, *shape[:-1], p.outputs)
        return np.moveaxis(stacked, 0, -2).reshape(shape), bias.reshape(-1)

    def bias_error(self, w: np.ndarray, bias: np.ndarray) -> float:
        """How far a bias is from the best beside w, as a share of what that is made of."""
        p = self.prepared
        _, best = self.to_user(w)
        a_mean, a_rest, y_mean, y_rest = p.centre
        user = np.abs(np.ldexp(w, -self.turn[:, :, None]))
        size = np.abs(y_mean + y_rest) + np.einsum("gp,gpq->gq", np.abs(a_mean + a_rest), user)
        size = np.ldexp(size + p.y_norms / np.sqrt(p.n), p.y_exponents).reshape(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(bias == best, 0.0, np.abs(bias - best) / size).max())

    def from_user(self, kernel: np.ndarray) -> np.ndarray:
        """The inverse of `to_user` for a kernel."""
        p = self.prepared
        parts = kernel.astype(np.float64).reshape(-1, p.groups, p.outputs).transpose(1, 0, 2)
        return np.ldexp(parts, self.exponents[:, :, None] - p.y_exponents[:, None, :])
