"""Sparse kernels: lasso, elastic net and group lasso."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ..inference.folds import CrossValidation
from ..inference.regularization import Regularization
from ..inference.select import Group, Scorer, Scoring, choose_strengths, described
from ..inference.sparse import Blocks, Path, Taps, duality_gap
from ..inference.sums import Normal
from ..lazy import is_tracer
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import GAP, Certificate
from ..leastsquares.penalty import RIDGE, Penalty, channel_labels, check_labels
from ..leastsquares.regression import Regression
from ..linalg.threads import one_blas_thread
from ..notation import checks_arguments
from ..parts import join
from ..problem.checks import choice, number
from ..problem.sizes import Sizes
from .base import SolverResult

# Number of strengths of a search, and the last one relative to the first, which leaves no tap.
STRENGTHS, LEAST = 50, 1e-3
# Largest number of folds of the default cross-validation.
MOST_FOLDS = 10


@checks_arguments
@dataclass(frozen=True, repr=False)
class Lasso(Penalty):
    """The penalty strength·Σ‖w_k‖·√size_k + ridge·‖w‖²: many taps are exactly zero.

    Args:
        strength: a number, or one number per output. None, the default, selects the strength of
            every output from the data.
        channel_groups: None, the default, penalizes every tap separately: a lasso, or with a
            ``ridge`` an elastic net. "channels" penalizes all taps of an input channel together: a
            group lasso, which drops whole channels. A label for every input channel, such as
            ``(0, 1, 1, 2)``, defines other groups.
        ridge: strength of an additional ridge, for an elastic net, also with groups. By default 0.

    The strength is selected by ``select=``, a `CrossValidation`, "bic" or "aicc". The degrees of
    freedom of the criteria are the number of nonzero taps. The criteria are not available with
    groups. By default cross-validation over the records, in at most 10 folds, or over five parts of
    a single record.

    ``duality_gap`` is relative and computed from the data: the objective exceeds its minimum by at
    most this share. The status is "solved" up to 1e-8.

    The solution is computed from the moments. Without groups it is exact to rounding, by an
    interior point method. With groups the method is block coordinate descent. Kernels are shrunk
    towards zero. To estimate their size, fit least squares with the selected channels and lags.
    Correlated taps replace each other. For smooth responses use `Smooth` or `StableSpline`.

    Without groups, a lasso of a given strength can be combined with ``loss="absolute"`` and with
    `HuberLoss`.

    scikit-learn's ``alpha`` is strength / (2·rows), with ``l1_ratio`` 1. For the objective
    ½‖y − Aw‖² summed over rows, it is half the strength.

    Source: R. Tibshirani, J. R. Stat. Soc. B 58 (1996) 267; M. Yuan and Y. Lin, 68 (2006) 49; H.
    Zou, T. Hastie and R. Tibshirani, Ann. Statist. 35 (2007) 2173 (degrees of freedom).

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty=cs.Lasso(200.0))
        >>> np.flatnonzero(fit.impulse_response)
        array([0, 1, 2])

    See Also:
        `Ridge` and `Smooth`, which set no tap to zero.
    """

    _: KW_ONLY
    channel_groups: Any = None
    ridge: Any = 0.0

    quadratic, in_basis = False, True
    default_select = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.strength is not None and not is_tracer(self.strength)
        if given and not np.all(self.strength):
            raise ValueError("the strength of a lasso must be positive")
        object.__setattr__(self, "ridge", number(self.ridge, "ridge", included=True))
        groups = self.channel_groups
        if isinstance(groups, str):
            choice(groups, "channel_groups", ("channels",), " or a label for every channel")
        elif groups is not None:
            groups = channel_labels(groups)
            object.__setattr__(self, "channel_groups", groups)

    @property
    def any_loss(self) -> bool:
        """True without groups."""
        return self.channel_groups is None

    @property
    def title(self) -> str:
        """Name in texts."""
        if self.channel_groups is not None:
            return "group lasso"
        return f"elastic net, ridge {self.ridge:.4g}" if self.ridge else "lasso"

    def check(self, kernel_size: Sequence[int], channels: int) -> None:
        """Raise a ValueError unless there is a label for every channel."""
        if isinstance(self.channel_groups, tuple):
            check_labels(self.channel_groups, channels, "Lasso")

    def check_select(self, select: Any) -> None:
        """Raise a ValueError if the criterion cannot select the strength."""
        counted = ("bic", "aicc") if self.channel_groups is None else ()
        if not isinstance(select, CrossValidation) and select not in counted:
            ways = "".join(f' or "{name}"' for name in counted)
            raise ValueError(f'a {self.title} has no "{select}"; select its strength by "cv"{ways}')

    def supports(self, sizes: Sizes) -> str | None:
        """Return the reason if the Gram matrix does not fit in the memory allowed, else None."""
        return sizes.gram_reason()

    def channel_weights(self, channels: int) -> np.ndarray:
        """Return the group (channels,) of each channel, from one, if there are groups."""
        labels: Any = (
            self.channel_groups if isinstance(self.channel_groups, tuple) else range(channels)
        )
        return 1.0 + np.unique(labels, return_inverse=True)[1]

    def exact_solver(
        self, analysis: Analysis, grid: Any, select: str | CrossValidation | None, one: bool = False
    ) -> SolverResult:
        """Select the strength of every output, unless it is given, and minimize the objective."""
        assert analysis.targets is not None
        given = grid if self.strength is None else [self.strength]
        if given is not None and len(given) == 1:
            select = "bic"  # of which nothing is used
        elif select is None:
            several = len(analysis.design.kept.used) > MOST_FOLDS
            select = CrossValidation(MOST_FOLDS if several else None)
        regression = Regression(analysis.unpenalized(RIDGE), analysis.targets)
        scoring, columns = Scoring(analysis, select, one), regression.system.columns
        ridge = float(scoring.units.from_user(np.array(self.ridge)))
        with one_blas_thread():
            groups = zip(scoring.groups(RIDGE), scoring.grids(given), strict=True)
            found = [self._selected(scoring, g, *own, ridge) for g, own in enumerate(groups)]
        kernels, power = np.stack([one[0] for one in found]), columns.exponents[:, :, None]
        power = power - scoring.units.column
        v = np.ldexp(kernels, power)
        squares, gradient = columns.residual(v, analysis.targets)
        pull = np.ldexp(gradient, power) - ridge * kernels
        each = zip(found, pull, squares + ridge * (kernels**2).sum(1), strict=True)
        gaps = [duality_gap(w, g, s, at, labels).max() for (w, at, labels, _), g, s in each]
        return SolverResult(
            *regression.from_columns(v),
            stats={"solver": "Lasso"},
            certificate=Certificate(float(max(gaps)), GAP),
            evidence="the penalty",
            answer="a sparse kernel of many",
            regularization=join([one[3] for one in found]),
        )

    def _selected(
        self, scoring: Scoring, g: int, sums: Group, given: np.ndarray | None, ridge: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Regularization]:
        """Return kernels (P, Q) of a group, strengths (Q,) in these units, labels (P,) and scores.

        Strengths are chosen from those ``given`` (n, Q), if there are any.
        """
        design, units, y_units = scoring.design, scoring.units, scoring.units.outputs[g]
        power: Any = units.column + y_units
        labels = np.arange(len(sums.free))
        if self.channel_groups is not None:
            labels = np.unique(design.coordinates(self).weights[g], return_inverse=True)[1]
        if given is None:
            squares = np.array([np.bincount(labels, c**2) for c in sums.whole[1].T])
            first = np.sqrt((squares / np.bincount(labels)).max(1))  # leaves no tap
            if scoring.one:
                first = units.from_user(units.to_user(first, power).max(), power)
            grid = np.where(first > 0, first, 1.0) * np.geomspace(LEAST, 1, STRENGTHS)[:, None]
        else:
            # The gradient of half the squares is compared with half the strength.
            grid = units.from_user(given, power) / 2

        def path(normal: Normal, rows: int) -> Path:
            gram = normal[0] + ridge * np.eye(len(labels))
            solver = Taps(gram) if self.channel_groups is None else Blocks(gram, labels)
            return Path(normal, rows, design.nuisance.total, grid, solver)

        rows = design.sizes.rows
        whole = path(sums.whole, rows)
        folds: Any = [(path(rest, rows), held) for rest, held in sums.folds]
        scorer = Scorer(scoring.select, whole, scoring.varies[g], scoring.one, folds)
        chosen = choose_strengths(scorer, grid)
        found = described(lambda s: units.to_user(2 * s, power), y_units, self, scorer, chosen)
        return whole.exact(chosen.strengths), chosen.strengths, labels, found
