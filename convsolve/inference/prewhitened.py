"""Generalized least squares for autoregressive noise: least squares of filtered rows.

Rows a[t] and y[t], filtered by φ = (1, −ρ₁, …, −ρ_p) within their record, have white noise. The
taps are unchanged, every record loses p rows, and a bias is multiplied by φ(1). Outputs have
different φ, so there is one design matrix Ã = φ∗A per output, that of `filtered_problem`. For many
outputs, neither Ã nor the filtered x needs to be formed. The windows of K + p samples that the
filtered rows read are the rows of A⁺, the design matrix of K + p taps. Then Ã = A⁺F for a banded F,
so one Gram A⁺ᵀA⁺ yields ÃᵀÃ = Fᵀ A⁺ᵀA⁺ F for all outputs. Residuals and gradients are computed from
the data: Ãᵀr̃ = Aᵀ(φ∗ᵀr̃), one pass for all outputs.

Source: D. Cochrane and G. H. Orcutt, J. Am. Stat. Assoc. 44 (1949) 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..cached import cached_property
from ..errors import LostDigits
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import Certificate, backward_error
from ..leastsquares.design import Design
from ..leastsquares.penalty import RIDGE
from ..leastsquares.regression import NOISE, Regression
from ..linalg.factor import Factor
from ..linalg.factors import cholesky_factors
from ..linalg.minimum_norm import exponents_of
from ..linalg.threads import on_blas_threads
from ..operators.moments import Moments
from ..operators.tap_basis import TapBasis
from ..operators.windows import normal_form
from ..problem.problem import Problem
from ..problem.spec import ConvSpec
from ..progress import tracked
from .autoregression import (
    ROUNDS,
    Autoregression,
    filtered,
    filtered_back,
    largest_order,
    no_noise,
    rows_left,
)
from .uncertainty import ROUNDING

# Squares of filtered columns below this share of their terms have lost four digits.
KEPT_SHARE = 1e-4
# Largest number of refinement steps with the data.
STEPS = 5


class Grams:
    """Moments of the windows of K + p samples, for every order p up to ``most``.

    The moments of K + most taps are summed once. The few rows at the head of every record that have
    p but fewer than ``most`` rows before them are added.
    """

    def __init__(self, design: Design, most: int) -> None:
        self._design, self._most = design, most
        spec = design.spec
        self._taps, self._groups = spec.kernel_size[0], spec.groups
        self._records = [
            normal_form(design.records_in_memory[i][None], spec)[0].astype(float)
            for i in design.adjustments.kept.used
        ]

    def _summed(self, records: Sequence[np.ndarray], order: int) -> Moments | None:
        """Return the moments of all windows of K + order samples of some records."""
        taps = self._taps + order
        long = [a for a in records if len(a) >= taps]
        if not long:
            return None
        spec = ConvSpec((taps,), groups=self._groups)
        problem = Problem(long, spec=spec, bias=self._design.nuisance.constant)
        found = Design(problem, self._design.sizes.limits).moments
        return found.rescaled(self._design.moments.units.exponents, found.units.out_exponents)

    @cached_property
    def _longest(self) -> Moments | None:
        return self._summed(self._records, self._most)

    def of(self, order: int) -> Moments:
        """Return the moments for order p."""
        missing = self._most - order
        heads = [a[: self._most + self._taps - 1] for a in self._records]
        head = self._summed(heads, order) if missing else None
        if self._longest is None:
            assert head is not None
            return head
        last = self._longest.from_column(missing * self._design.channels // self._groups)
        return last if head is None else last + head


@dataclass(frozen=True)
class FilteredDesign:
    """A factor of the Ã of one output.

    Attributes:
        factor: the factor of Ã with column j divided by ``2**relative[j]``.
        relative: the exponents of the columns.
        a_norm: the norm of the scaled Ã.
    """

    factor: Factor
    relative: np.ndarray
    a_norm: float


@dataclass(frozen=True)
class State:
    """Filtered residuals minus the part that a bias takes up, in units of the operator.

    Attributes:
        whitened: (T, outputs) of every record, zero at its head.
        constants: (outputs,), the part taken up by a bias.
    """

    whitened: list[np.ndarray]
    constants: np.ndarray

    @property
    def norms(self) -> np.ndarray:
        """Norms (outputs,) of the whitened residuals."""
        return np.sqrt(np.sum([np.square(u).sum(0) for u in self.whitened], axis=0))


@dataclass(frozen=True)
class Answer:
    """The solution of generalized least squares.

    Attributes:
        kernel: (*K, Cin/groups, Cout), in the user's units.
        bias: (Cout,), in the user's units.
        certificate: the largest backward error as least squares of filtered rows.
        noise: the autoregression by which the rows were filtered.
    """

    kernel: np.ndarray
    bias: np.ndarray
    certificate: Certificate
    noise: Autoregression


class Prewhitened:
    """Least squares of every output, with rows filtered by the filter of its noise.

    Kernels w are (G, P, Q) in units of the operator's columns and of y.
    """

    def __init__(self, analysis: Analysis, noise: Autoregression, grams: Grams) -> None:
        self._analysis, self.noise, self._grams = analysis, noise, grams
        design = analysis.design
        self._design, self._operator = design, design.matrix
        assert analysis.targets is not None
        self._targets, self._constant = analysis.targets, design.nuisance.constant
        self._shape = design.spec.groups, design.sizes.columns, analysis.targets.outputs
        self._known: dict[int, FilteredDesign] = {}
        # The Gram of the windows for one order, shared by the outputs of this order.
        self._last: tuple[int, np.ndarray] | None = None

    @cached_property
    def rows(self) -> np.ndarray:
        """Number of filtered rows (outputs,)."""
        lengths = self._design.adjustments.kept.lengths
        return np.array([rows_left(lengths, int(p)) for p in self.noise.order])

    @property
    def blas_columns(self) -> int:
        """The smaller dimension of the design matrix."""
        return self._design.blas_columns

    # --- the filtered matrices

    @on_blas_threads
    def design_of(self, output: int) -> FilteredDesign:
        """Return the filtered design of one output; stored if all outputs fit in memory.

        Raises:
            LostDigits: If the Gram matrix of the windows does not prove full rank.
        """
        if output in self._known:
            return self._known[output]
        found = self._by_gram(output)
        if found is None:
            raise LostDigits
        groups, columns, outputs = self._shape
        if 8 * groups * outputs * columns**2 <= self._design.sizes.limits.gram_bytes:
            self._known[output] = found
        return found

    def _gram(self, order: int) -> np.ndarray:
        """Return the Gram (G, P⁺, P⁺) of windows of K + order samples, centred for a bias."""
        if self._last is None or self._last[0] != order:
            self._last = order, self._grams.of(order).eliminated().gram
        return self._last[1]

    def _by_gram(self, output: int) -> FilteredDesign | None:
        """Return the design by the Gram of windows of K + p samples, unless it loses digits."""
        order, group = int(self.noise.order[output]), output // self._shape[2]
        whole, basis = self._gram(order)[group], self._basis(output, order)
        gram = basis.restrict(basis.restrict(whole[None]).swapaxes(1, 2))[0]
        squares = np.diagonal(gram)
        if not (squares > KEPT_SHARE * np.diagonal(whole)[-len(gram) :]).all():
            return None
        relative = exponents_of(np.sqrt(squares))
        scale = np.ldexp(1.0, -relative)
        scaled = gram * scale * scale[:, None]
        a_norm = float(np.sqrt(np.trace(scaled)))
        exponents = self._operator.exponents[group] + relative
        factor = cholesky_factors(scaled[None], exponents[None], int(self.rows[output])).get(0)
        return None if factor is None else FilteredDesign(factor, relative, a_norm)

    def _basis(self, output: int, order: int) -> TapBasis:
        """Return F (K + p, K), which maps windows of K + p samples to filtered windows."""
        taps = self._design.spec.kernel_size[0]
        matrix = np.zeros((taps + order, taps))
        for i, value in enumerate(self.noise.filters[output, : order + 1]):
            matrix[np.arange(taps) + order - i, np.arange(taps)] = value
        return TapBasis([matrix])

    @property
    def unknowns(self) -> int:
        """Number of unknowns of an output: its taps and the bias."""
        return self._shape[1] + int(self._constant)

    # --- solutions

    def residuals(self, w: np.ndarray) -> list[np.ndarray]:
        """Return y − A w (T, outputs) of every record, not filtered. It takes one data pass."""
        blocks = self._operator.row_blocks(self._targets)
        left = np.concatenate([y - a @ w for a, y in blocks if y is not None], axis=1)
        return self._design.by_record(left.swapaxes(1, 2).reshape(-1, left.shape[1]))

    def state(self, residuals: Sequence[np.ndarray]) -> State:
        """Return the filtered residuals."""
        filters, white = self.noise.filters, []
        for e in residuals:
            u = filtered(e, filters)
            u[np.arange(len(u))[:, None] < self.noise.order] = 0.0
            white.append(u)
        means = np.zeros(len(self.noise.order))
        if self._constant:
            means = np.sum([u.sum(0) for u in white], axis=0) / self.rows
            for u in white:
                u -= np.where(np.arange(len(u))[:, None] < self.noise.order, 0.0, means)
        return State(white, means / filters.sum(1))

    def gradient(self, state: State) -> np.ndarray:
        """Return products (G, P, Q) of the filtered columns and the whitened residuals."""
        back = tuple(filtered_back(u, self.noise.filters) for u in state.whitened)
        targets = self._design.outputs(back)
        _, g = self._operator.residual(np.zeros(self._shape), targets)
        return np.ldexp(g, targets.grouped(targets.exponents)[:, None])

    def stepped(self, w: np.ndarray, gradient: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
        """Return w with the ``chosen`` outputs moved to the point where their gradient vanishes."""
        w, each = w.copy(), self._shape[2]
        for o in sorted(chosen, key=lambda o: int(self.noise.order[o])):
            of, (g, q) = self.design_of(o), divmod(o, each)
            right = np.ldexp(gradient[g, :, [q]].T, -of.relative[:, None])
            w[g, :, q] += np.ldexp(of.factor.solve_normal(right)[:, 0], -of.relative)
        return w

    def _certificate(
        self, output: int, w: np.ndarray, norms: np.ndarray, gradient: np.ndarray
    ) -> Certificate:
        """Return the backward error of one output as least squares of its filtered rows."""
        of, (g, q) = self.design_of(output), divmod(output, self._shape[2])
        scale = of.relative[:, None]
        column = np.ldexp(w[g, :, [q]].T, scale)
        scaled = np.ldexp(gradient[g, :, [q]].T, -scale)
        return backward_error(column, norms[[output]], scaled, of.a_norm, lambda: of.factor)

    def solved(self, w: np.ndarray, residuals: Sequence[np.ndarray]) -> Answer:
        """Return the solution for all filtered rows, starting from w and its residuals."""
        for step in range(STEPS + 1):
            state = self.state(residuals)
            norms, gradient = state.norms, self.gradient(state)
            found = [self._certificate(o, w, norms, gradient) for o in range(len(norms))]
            if step == STEPS or all(c.exact for c in found):
                break
            w = self.stepped(w, gradient, [o for o, c in enumerate(found) if c.value > NOISE])
            residuals = self.residuals(w)
        if not all(c.exact for c in found):
            raise LostDigits
        kernel, bias = self._analysis.regression(RIDGE, 0.0).from_columns(w)
        with np.errstate(over="ignore", under="ignore"):
            bias = bias + np.ldexp(state.constants, self._targets.exponents)
        return Answer(kernel, bias, max(found, key=lambda c: c.value), self.noise)


def refit(analysis: Analysis, kernel: np.ndarray, order: int | None) -> Answer:
    """Compute generalized least squares, starting from a least-squares kernel.

    Noise and kernel are estimated alternately.

    Raises:
        LostDigits: If the Gram matrix of the windows does not suffice.
        SolveError: If there are too few rows for the order, or if an output has no noise.
    """
    design, plain = analysis.design, analysis.regression(RIDGE, 0.0)
    lengths = design.adjustments.kept.lengths
    most = largest_order(lengths, design.sizes.unknowns, order)
    longer = (
        design.sizes.columns // design.spec.kernel_size[0] * (design.spec.kernel_size[0] + most)
    )
    if 8 * design.sizes.groups * longer**2 > design.sizes.limits.gram_bytes:
        raise LostDigits
    w = plain.scaling.unscaled(_least_squares(plain, plain.from_user(kernel)))
    white = Autoregression.of([[]] * (w.shape[0] * w.shape[2]))
    grams = Grams(design, most)
    fit = Prewhitened(analysis, white, grams)
    residuals = fit.residuals(w)
    _check_noise(analysis, w, fit.state(residuals))
    for _ in tracked(range(ROUNDS), "rounds of noise and kernel", ROUNDS):
        constants = fit.state(residuals).constants
        left = [e - constants for e in residuals]
        fit = Prewhitened(analysis, Autoregression.estimated(left, order, most), grams)
        w = fit.stepped(w, fit.gradient(fit.state(residuals)), range(len(white.order)))
        residuals = fit.residuals(w)
    return fit.solved(w, residuals)


def _least_squares(plain: Regression, w: np.ndarray) -> np.ndarray:
    """Return w if it is the exact least-squares solution, else compute this solution."""
    if plain.certify(w).exact:
        return w
    found = plain.by_best_factor()
    return w if found is None else found[0]


def _check_noise(analysis: Analysis, w: np.ndarray, state: State) -> None:
    """Raise a SolveError if only rounding of an output remains in the residuals."""
    plain = analysis.regression(RIDGE, 0.0)
    scaled = np.ldexp(w, plain.scaling.relative[:, :, None])
    size = plain.y_norms + plain.scaling.a_norm[:, None] * np.linalg.norm(scaled, axis=1)
    exact = np.flatnonzero(state.norms <= ROUNDING * size.reshape(-1))
    if exact.size:
        raise no_noise(analysis.design.names.output(int(exact[0])))
