"""Standard errors by the jackknife over records, which assume no model of the noise.

Source: B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import Regression
from ..linalg.lapack import choleskys, diagonals
from ..operators.layout import ascending
from ..problem.checks import fraction
from ..progress import tracked
from ..text import count, line, span
from .errors import t_quantile
from .folds import CrossValidation
from .patterns import patterns
from .select import Scoring

# Smallest pivot of columns of norm one for which a Gram matrix gives a kernel to eight digits.
LEAST_PIVOT = 1e-3


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
        squares = np.square(self.kernels - self.kernels.mean(0)).sum(0)
        found = np.sqrt(squares * self.dof / (self.dof + 1))
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
    penalties: Sequence[tuple[Penalty, float]],
    kind: str | None = None,
) -> Jackknife:
    """Solve without each record in turn, from sums over the other records if they have the digits.

    Args:
        analysis: the analysis of all records.
        kernel: the kernel of all records.
        penalties: quadratic penalty and strength of every output.
        kind: which patterns take the place of kernels, or None.

    Raises:
        ValueError: a single record; records without one of which a tap is not determined.
    """
    design = analysis.design
    problem, limits, used = design.problem, design.sizes.limits, design.kept.used
    if len(used) < 2:
        raise ValueError("jackknife needs two records or more that have rows")
    if reason := design.sizes.gram_reason():
        raise ValueError(f"jackknife cannot be computed: {reason}")
    shape = *kernel.shape[:-1], 1
    whole, modelled = kernel, np.broadcast_to(design.modelled.reshape(shape), kernel.shape)
    if kind is not None:  # patterns also exist outside of the windows of lags
        whole, modelled = patterns(problem, kernel, kind, limits), np.ones(kernel.shape, bool)
    found: list[Any] = _from_sums(analysis) if kind is None else [None] * len(used)
    for i, record in enumerate(tracked(used, "records left out", len(used))):
        if found[i] is None:
            rest = problem.of_rows([(j, 0, design.kept.lengths[j]) for j in used if j != record])
            alone = _solved(Analysis(rest, limits), penalties, record)
            found[i] = alone if kind is None else patterns(rest, alone, kind, limits)
    return Jackknife(whole, len(used) - 1, np.stack(found), modelled)


def _from_sums(analysis: Analysis) -> list[Any]:
    """Return kernels of least squares without each record, None if the sums lack the digits."""
    assert analysis.targets is not None
    records = CrossValidation([[i] for i in analysis.design.kept.used])
    regression, found = Regression(analysis.plain, analysis.targets), []
    for sums in Scoring(analysis, records).fold_sums.rest:
        gram, cross, _ = sums.normal(analysis.design.bias)
        norms = np.sqrt(diagonals(gram))[..., None]
        scale = 1 / np.where(norms > 0, norms, np.inf)
        gram = gram * scale * scale.mT
        full, u = choleskys(gram.copy())
        sure = full.all() and diagonals(u).min() >= LEAST_PIVOT
        z = scale * np.linalg.solve(gram, cross * scale) if sure else None
        found.append(None if z is None else regression.from_columns(z)[0])
    return found


def _solved(
    analysis: Analysis, penalties: Sequence[tuple[Penalty, float]], held: int
) -> np.ndarray:
    """Return the kernel of the records other than ``held``."""
    found = np.empty(analysis.design.problem.kernel_shape)
    for term in dict.fromkeys(penalties):
        regression = analysis.regression(*term)
        solved, factors = regression.solve(), regression.system.factors
        if solved is None or not (factors.complete and factors.full_rank):
            raise ValueError(
                f"without record {held} the data do not determine every tap, so there is no "
                "jackknife"
            )
        some = [q for q, other in enumerate(penalties) if other == term]
        found[..., some] = regression.to_user(solved[0])[0][..., some]
    return found
