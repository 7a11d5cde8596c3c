"""Standard errors by the jackknife over records, which assume no model of the noise.

Source: B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.design import Design
from ..leastsquares.penalty import RIDGE, NoPenalty, Penalty
from ..leastsquares.scaling import GRAM_SHARE, exponents_of
from ..linalg.factors import cholesky_factors
from ..linalg.threads import blas_threads
from ..operators.layout import ascending, to_kernel
from ..problem.checks import fraction
from ..problem.rows import Span
from ..progress import tracked
from ..text import count, line, span
from .errors import t_quantile
from .folds import Spans, beside, part
from .moments import Moments
from .patterns import Decoder
from .sums import fold_sums

# Pivots of a Gram matrix beyond this ratio cost four digits, which refinement by residuals of the
# data restores.
MOST_PIVOTS = 1e2


class Jackknife(NamedTuple):
    """Kernels without each record in turn, and the standard errors that they imply.

    With ``jackknife(patterns=...)``, patterns take the place of kernels.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)``, the kernel of all records.
        dof: R − 1, the degrees of freedom of the errors, for R records.
        kernels: ``(R, *K, Cin/groups, Cout)``, the kernel without each record that has rows.
        modelled: flags ``(*K, Cin/groups, Cout)`` of the taps that may differ from zero. The others
            are outside the window of their channel, and their errors are NaN.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 12, 100, 1))
        >>> jackknife = cs.solve(cs.Problem(x, x + noise, lags=(0, 4))).jackknife()
        >>> jackknife.standard_error.shape
        (5,)

    See Also:
        `Solution.jackknife`, which returns it.
    """

    kernel: np.ndarray
    dof: int
    kernels: np.ndarray
    modelled: np.ndarray

    @property
    def standard_error(self) -> np.ndarray:
        """√((R − 1)/R · Σ_r (w_r − mean w)²), shaped as `Solution.impulse_response`."""
        return np.asarray(ascending(self._errors, self.kernel.ndim - 2))

    @property
    def _errors(self) -> np.ndarray:
        """Standard errors of the taps, kernel-shaped."""
        # In units in which squares stay within float64, output by output and tap by tap.
        unit = np.frexp(np.abs(self.kernels).max(0))[1]
        with np.errstate(under="ignore"):
            scaled = np.ldexp(self.kernels, -unit)
        squares = np.square(scaled - scaled.mean(0)).sum(0)
        found = np.ldexp(np.sqrt(squares * self.dof / (self.dof + 1)), unit)
        return np.where(self.modelled, found, np.nan)

    def confidence_band(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper end of a band, both shaped as `Solution.impulse_response`.

        Args:
            level: probability that the band contains a true tap, for each tap. Default 0.95.

        Returns:
            Lower and upper end, in the kernel's unit.

        Raises:
            TypeError: If ``level`` is not a number.
            ValueError: If ``level`` is not between 0 and 1.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 12, 100, 1))
            >>> fit = cs.solve(cs.Problem(x, x + noise, lags=(0, 4)))
            >>> low, high = fit.jackknife().confidence_band(0.99)
            >>> bool(low[0] < 1 < high[0])
            True
        """
        reach = t_quantile(self.dof, (1 + fraction(level, "level")) / 2) * self._errors
        low, high = (ascending(self.kernel + r, self.kernel.ndim - 2) for r in (-reach, reach))
        return low, high

    def __str__(self) -> str:
        """Return the number of records, the range of the errors, and how to get bands."""
        entries = [
            ("Jackknife", f"{count(self.dof + 1, 'record')}, each left out in turn"),
            ("Errors", f"standard error {span(self._errors.ravel())} per tap, with "
             f"{count(self.dof, 'degree')} of freedom"),
            ("Bands", "confidence_band(level), per tap"),
        ]  # fmt: skip
        return "\n".join(line(label, words) for label, words in entries)


def jackknife(
    analysis: Analysis,
    kernel: np.ndarray,
    penalties: Sequence[tuple[Penalty, float]] = (),
    decoder: Decoder | None = None,
) -> Jackknife:
    """Least squares without each record, from sums over records.

    Args:
        analysis: the analysis of all records.
        kernel: the kernel of all records.
        penalties: quadratic penalty and strength of every output. By default none.
        decoder: sums that give patterns, of which the errors are computed instead.

    Raises:
        ValueError: a single record; records without one of which a tap is not determined.
    """
    design, targets = analysis.design, analysis.targets
    assert targets is not None
    lengths = design.kept.lengths
    folds: list[list[Span]] = [[(i, 0, lengths[i])] for i in design.kept.used]
    if len(folds) < 2:
        raise ValueError("jackknife needs two records or more that have rows")
    if reason := design.sizes.gram_reason():
        raise ValueError(f"jackknife cannot be computed: {reason}")
    whole, modelled = kernel, design.modelled.reshape(*kernel.shape[:-1], 1)
    if decoder is not None:  # patterns also exist outside of the windows of lags
        whole, modelled = decoder.patterns(kernel), np.ones_like(modelled)
    sums, found = fold_sums(design, targets, Spans(folds, []), "sums over records"), []
    of_decoder = [] if decoder is None else decoder.sums_without(folds, design, sums)
    with blas_threads(design._blas_columns):
        for held, rest in enumerate(tracked(sums.beside, "records left out", len(folds))):
            alone = _without(analysis, folds, held, rest, penalties, kernel.shape)
            if decoder is not None:
                alone = decoder.patterns(alone, of_decoder[held])
            found.append(alone)
    flags = np.broadcast_to(modelled, kernel.shape)
    return Jackknife(whole, len(folds) - 1, np.stack(found), flags)


def _without(
    analysis: Analysis,
    folds: list[list[Span]],
    held: int,
    rest: Moments,
    penalties: Sequence[tuple[Penalty, float]],
    shape: tuple[int, ...],
) -> np.ndarray:
    """Return the kernel without one fold, given the moments of the ``rest``."""
    terms = [*penalties] or [(RIDGE, 0.0)] * shape[-1]
    found = np.empty(shape)
    for term in dict.fromkeys(terms):
        some = [q for q, other in enumerate(terms) if other == term]
        columns = _by_gram(rest, analysis.design, *term)
        if columns is None:
            found[..., some] = _from_data(analysis, folds, held, *term)[..., some]
            continue
        power = rest.units.out_exponents[:, None] - rest.units.column_exponents[:, :, None]
        with np.errstate(over="ignore", under="ignore"):
            columns = analysis.design.span.expand(np.ldexp(columns, power))
        kernel = to_kernel(columns, analysis.design.spec.kernel_size)
        found[..., some] = kernel[..., some]
    return found


def _by_gram(
    moments: Moments, design: Design, penalty: Penalty, strength: float
) -> np.ndarray | None:
    """Return penalized least squares in the coordinates and units of the moments.

    None unless the moments prove full rank and few digits are lost.
    """
    coordinates = design.coordinates(penalty if strength else NoPenalty())
    basis = coordinates.basis.within(design.span)
    own = moments.in_basis(basis)
    if not basis.identity:
        norms, each = (np.sqrt(np.maximum(m.squares, 0.0)) for m in (moments, own))
        if (each <= GRAM_SHARE * basis.largest_norms(norms)).any():
            return None
    gram, cross, _ = own.eliminated()
    with np.errstate(over="ignore", under="ignore"):
        ridges = np.ldexp(strength * coordinates.weights, -2 * own.units.column_exponents)
    found = []
    for g, c, ridge in zip(gram, cross, ridges, strict=True):
        exponents = exponents_of(np.sqrt(np.maximum(np.diagonal(g) + ridge, 0.0)))
        scale = np.ldexp(1.0, -exponents)
        scaled = g * scale * scale[:, None]
        np.einsum("pp->p", scaled)[...] += ridge * scale**2
        factors = cholesky_factors(scaled[None], moments.n)
        if not factors.complete:
            return None
        pivots = np.abs(np.diagonal(factors[0].r))
        if pivots.max() > MOST_PIVOTS * pivots.min():
            return None
        found.append(scale[:, None] * factors[0].solve_normal(scale[:, None] * c))
    return np.asarray(basis.expand(np.stack(found)))


def _from_data(
    analysis: Analysis, folds: list[list[Span]], held: int, penalty: Penalty, strength: float
) -> np.ndarray:
    """Return the kernel without one fold, by a QR of the data and refinement."""
    design, targets = analysis.design, analysis.targets
    assert targets is not None
    alone = part(design, targets.in_memory, beside(folds, held, []))
    regression = Analysis(alone, design.sizes.limits).regression(penalty, strength)
    factors, solved = regression.system.factors, regression.solve()
    if solved is None or not (factors.complete and factors.full_rank):
        raise ValueError(
            f"without record {folds[held][0][0]} the data do not determine every tap, so there "
            "is no jackknife"
        )
    return regression.to_user(solved[0])[0]
