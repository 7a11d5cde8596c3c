"""Least squares by gradient descent that is stopped early, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import SolveError
from ..inference.errors import largest_of
from ..inference.folds import CrossValidation
from ..inference.select import Scoring, choose_strengths, described, smooth
from ..inference.spectrum import StoppedDescent
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import NoPenalty, Penalty, numbers
from ..leastsquares.regression import Regression
from ..notation import checks_arguments
from ..parallel import cached_property
from ..parts import join
from ..problem.sizes import Sizes
from ..text import count, shown
from .base import SolverResult


@checks_arguments
@dataclass(frozen=True, repr=False)
class EarlyStopping(Penalty):
    """Stop gradient descent on the sum of squares after some steps, in closed form.

    Args:
        steps: number of steps, a positive integer, or one per output. None, the default, selects
            the number of steps of every output from the data.

    The descent starts from zero. With G = AᵀA of the columns without their nuisance columns and its
    largest eigenvalue d_max, a step is w ← w + (Aᵀy − G w)/d_max. This is plain gradient descent
    with the rate 1/L, where L is the largest curvature of the loss. After t steps, the solution is
    Σ v·(vᵀAᵀy)·φ/d over the eigenvalues d and eigenvectors v of G, with φ = 1 − (1 − d/d_max)ᵗ. It
    is computed from the eigenvectors, so that the time does not depend on the number of steps. All
    groups of a convolution have the same rate. In a basis, descent is in orthonormal coordinates of
    the kernels. The bias, a drift and confounds are fitted completely.

    The effective degrees of freedom are Σφ, which GCV, AICc and BIC use. The posterior of a prior
    with the precisions d·(1/φ − 1) has the same mean. Its covariance σ²·Σ v vᵀ·φ/d defines the
    standard errors, and its evidence is the criterion ``select="evidence"``. The prior of the
    direction of d_max is flat.

    If both shrink the directions of small eigenvalues equally, a ridge shrinks the directions of
    large eigenvalues more. On inputs that are correlated in time, early stopping often predicts
    better than a ridge. On white inputs, use a ridge. ``fit.regularization.strength`` is the number
    of steps.

    Source: Y. Yao, L. Rosasco and A. Caponnetto, Constr. Approx. 26 (2007) 289. For stopped
    boosting of responses of neurons: S. V. David, N. Mesgarani and S. A. Shamma, Network 18 (2007)
    191.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty="early_stopping")
        >>> print(fit.regularization)
        early stopping, 3 steps, by GCV; 9.9 effective degrees of freedom
        >>> cs.solve(problem, penalty=cs.EarlyStopping(5)).kernel.shape
        (10, 1, 1)

    See Also:
        `Ridge`, whose filter is d/(d + strength), and `GradientDescent`, for other losses.
    """

    #: The number of steps, under the name that all penalties have.
    strength: Any = field(default=None, init=False)
    steps: Any = None

    quadratic, in_basis, own_covariance = False, True, True
    parameter = "steps"

    def __post_init__(self) -> None:
        steps = None if self.steps is None else whole_steps(self.steps, "steps", 1)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "strength", steps)

    @property
    def title(self) -> str:
        """Name in texts."""
        return "early stopping"

    @property
    def form(self) -> EarlyStopping:
        """The same penalty without a number of steps."""
        return EarlyStopping()

    def with_strength(self, strength: Any) -> EarlyStopping:
        """Return early stopping after other numbers of steps."""
        return replace(self, steps=strength)

    def check_outputs(self, outputs: int) -> None:
        """Raise a ValueError unless there is one number of steps, or one for every output."""
        if self.by_output and len(self.steps) != outputs:
            given = count(len(self.steps), "number")
            words = f"EarlyStopping has {given} of steps for {count(outputs, 'output')}"
            raise ValueError(f"{words}; grid= has numbers of steps to select from")

    def check_grid(self, grid: Any) -> None:
        """Raise a TypeError or ValueError unless the grid has numbers of steps."""
        whole_steps(grid, "grid", 2)

    def supports(self, sizes: Sizes) -> str | None:
        """Return the reason if the Gram matrix does not fit in the memory allowed, else None."""
        return sizes.gram_reason()

    def exact_solver(
        self, analysis: Analysis, grid: Any, select: str | CrossValidation | None, one: bool = False
    ) -> SolverResult:
        """Select the number of steps of every output, unless it is given, and stop there.

        Raises:
            SolveError: If there are too few rows to select the number of steps, or if a function
                scores and the data do not fit in memory.
        """
        assert analysis.targets is not None
        select = select or self.default_select
        given = grid if self.steps is None else [self.steps]
        sizes = analysis.design.sizes
        if self.steps is None and sizes.rows - analysis.design.nuisance.total < 2:
            words = f"{count(sizes.rows, 'row')} of y: too few to select the number of steps"
            raise SolveError(words)
        if not smooth(select) and sizes.whole_reason:
            raise SolveError(f"a function as score= {sizes.whole_reason}")

        scoring = Scoring(analysis, select, one)
        scorers = scoring.scorers(NoPenalty(), StoppedDescent)
        grids = scoring.grids(given)
        chosen = [choose_strengths(*pair) for pair in zip(scorers, grids, strict=True)]

        several = zip(scoring.units.outputs, scorers, chosen, strict=True)
        selection = join([described(np.asarray, e, self, s, c) for e, s, c in several])

        pairs = zip(scorers, chosen, strict=True)
        kernels = [scorer.whole.kernel(choice.strengths[None])[0] for scorer, choice in pairs]
        regression = Regression(analysis.plain, analysis.targets)
        return SolverResult(
            *regression.from_columns(np.stack(kernels)),
            status="solved",
            stats={"solver": "EarlyStopping"},
            evidence="the number of steps",
            regularization=selection,
            penalties=[(self.form, steps) for steps in selection.strength.tolist()],
        )

    def unit_covariances(self, analysis: Analysis) -> Callable[[int, float], StoppedCovariance]:
        """Return a function of a group and a number of steps, which returns the covariance.

        One eigendecomposition per group serves all numbers of steps.

        Raises:
            ValueError: If the Gram matrix does not fit in the memory allowed.
        """
        design, columns = analysis.design, analysis.plain.columns
        if reason := design.sizes.gram_reason():
            raise ValueError(reason)

        # Directions outside of the span of the rows have a variance too.
        scoring = Scoring(analysis, "gcv")
        spectra = scoring.spectra(scoring.groups(NoPenalty()), StoppedDescent)
        directions = []
        for group, spectrum in enumerate(spectra):
            in_columns = columns.expand(spectrum.directions()[None], slice(group, group + 1))[0]
            exponents = design.matrix.exponents[group][:, None]
            directions.append(np.ldexp(in_columns, -exponents))

        def covariance(group: int, steps: float) -> StoppedCovariance:
            spectrum = spectra[group]
            freedom = float(spectrum.fit(np.array([[steps]])).freedom[0, 0])
            variances = spectrum.gain(steps)
            return StoppedCovariance(directions[group], variances, freedom, design.modelled)

        return covariance


class StoppedCovariance:
    """The covariance V diag(φ/d) Vᵀ of the taps of a group, for white noise of variance one.

    Args:
        directions: V (P, r), the eigenvectors in the user's taps.
        variances: φ/d (r,).
        freedom: degrees of freedom of the kernel.
        modelled: flags (P,) of the taps in the window of their channel.

    Attributes:
        freedom: degrees of freedom of the kernel.
        errors: standard errors (P,), NaN outside of the window of a channel.
    """

    def __init__(
        self, directions: np.ndarray, variances: np.ndarray, freedom: float, modelled: np.ndarray
    ) -> None:
        self._directions, self._variances = directions, variances
        self.freedom = freedom
        squares = np.einsum("pr,pr,r->p", directions, directions, variances)
        self.errors = np.where(modelled, np.sqrt(squares), np.nan)

    @cached_property
    def root(self) -> np.ndarray:
        """H (P, r) with H Hᵀ the covariance."""
        return self.root_of(None)

    def root_of(self, contrast: np.ndarray | None) -> np.ndarray:
        """Return a root (q, r) of the covariance of sums of taps (q, P), by default of all taps."""
        sums = self._directions if contrast is None else contrast @ self._directions
        return np.asarray(sums * np.sqrt(self._variances))

    @cached_property
    def largest(self) -> np.ndarray:
        """Draws of the largest |t| over the taps, for a known variance."""
        return largest_of(self.root)


def whole_steps(given: Any, name: str, axes: int) -> Any:
    """Return a number of steps as an int, or numbers along so many axes at most in tuples.

    Whole floats are accepted, because `Regularization.strength` has floats.

    Raises:
        TypeError: If a value is not a number.
        ValueError: If a number is not whole and positive.
    """
    if isinstance(given, (str, Penalty)):
        raise TypeError(f"{name} must be a number of steps, got {shown(given)}")
    return _as_integers(numbers(given, name, axes), name)


def _as_integers(given: Any, name: str) -> Any:
    if isinstance(given, tuple):
        return tuple(_as_integers(one, name) for one in given)
    if given != int(given):
        raise ValueError(f"{name} must be whole numbers of steps, got {given:g}")
    return int(given)
