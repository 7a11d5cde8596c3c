"""Models of the noise in y: the problems that each suits, and its standard errors."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .text import argument

if TYPE_CHECKING:
    import numpy as np

    from .inference.autoregression import Autoregression
    from .inference.filtered_problem import FilteredPart
    from .inference.uncertainty import Estimate, Uncertainty
    from .leastsquares.analysis import Analysis
    from .problem.problem import Problem

# "ar", or "ar(p)" for a given order p.
AUTOREGRESSION = re.compile(r"ar(?:\(([1-9]\d{0,8})\))?")


class NoiseModel(ABC):
    """An assumption on the noise in y. It becomes a value of ``noise=`` as an entry of `NOISES`.

    Attributes:
        name: its name in ``noise=``.
        assumption: a clause that follows a standard error in texts.
        penalties: whether there are errors of estimates with a penalty.
        losses: whether there are errors of estimates with another loss than squares.
        independent: whether rows are independent, which residuals may contradict.
        by_record: whether errors come from one sum per record, so that few records are few draws.
        rows_squared: whether errors take products of rows × taps² numbers.
        rounds: number of alternating estimates of noise and kernel, after one for white noise.
    """

    name: str
    assumption: str
    penalties = losses = independent = True
    by_record = rows_squared = False
    rounds = 0

    def check(self, problem: Problem) -> None:
        """Raise a ValueError if the problem has no errors under this noise."""
        return

    def records_left(self, problem: Problem) -> tuple[int, ...] | None:
        """Return the records that have prepared rows; None if it is not known before the rounds."""
        return None

    def prepared(
        self,
        problem: Problem,
        analysis: Analysis,
        kernel: np.ndarray,
        bias: np.ndarray,
        alone: bool,
    ) -> tuple[Autoregression, Iterator[FilteredPart]]:
        """Estimate the noise, and prepare rows whose noise is white.

        Args:
            problem: the problem, of outputs that use the same rows.
            analysis: its analysis.
            kernel: (*K, Cin/groups, Cout), whose residuals are the noise.
            bias: (Cout,), zeros without a bias.
            alone: whether every output needs a problem of its own.

        Returns:
            The noise, and problems with the prepared rows of all outputs.
        """
        raise TypeError(f"noise={self.name!r} uses the rows as they are")

    @abstractmethod
    def uncertainty(self, analysis: Analysis, estimate: Estimate) -> Uncertainty:
        """Return the errors, bands and tests of an estimate."""


class WhiteNoise(NoiseModel):
    """Independent rows of one variance, or of a variance that weights describe."""

    name = "white"
    assumption = "if the noise is white"

    def uncertainty(self, analysis: Analysis, estimate: Estimate) -> Uncertainty:
        """Return errors from the factor of the fit."""
        from .inference.uncertainty import Uncertainty

        return Uncertainty(analysis, estimate)


@dataclass(frozen=True)
class AutoregressiveNoise(WhiteNoise):
    """An autoregression per output. Rows are filtered until their noise is white.

    Attributes:
        order: the order, or None to select it by AIC.
    """

    order: int | None = None

    name = "ar"
    assumption = "if the noise is an autoregression"
    losses = independent = False
    rounds = 2

    def check(self, problem: Problem) -> None:
        """Raise a ValueError for images, or if single rows have weights."""
        _check_time(problem, self.name)
        if problem.weights is not None and not problem.weights.by_record:
            raise ValueError(
                f"{argument('noise', self.name)} filters rows of equal weight: weights of single "
                "rows change the variance in time, so that no filter makes the noise white; use "
                f"{argument('noise', 'hac')}, or a weight for every record"
            )

    def records_left(self, problem: Problem) -> tuple[int, ...] | None:
        """Return the records that have rows after those that a given order takes."""
        from .inference.filtered_problem import records_left

        return None if self.order is None else tuple(records_left(problem.kept, self.order))

    def prepared(
        self,
        problem: Problem,
        analysis: Analysis,
        kernel: np.ndarray,
        bias: np.ndarray,
        alone: bool,
    ) -> tuple[Autoregression, Iterator[FilteredPart]]:
        """Return an autoregression per output, and problems with filtered rows."""
        from .inference.filtered_problem import estimated_noise, filtered_parts

        noise = estimated_noise(analysis, kernel, bias, self.order)
        return noise, filtered_parts(problem, noise, analysis.design.sizes.limits, alone)


class HacNoise(NoiseModel):
    """Rows depend on those near them in time (Newey and West)."""

    name = "hac"
    assumption = "if the noise is stationary"
    penalties = losses = independent = False
    rows_squared = True

    def check(self, problem: Problem) -> None:
        """Raise a ValueError for images."""
        _check_time(problem, self.name)

    def uncertainty(self, analysis: Analysis, estimate: Estimate) -> Uncertainty:
        """Return errors from products of rows that are near each other."""
        from .inference.dependent_errors import HacUncertainty

        return HacUncertainty(analysis, estimate)


class ClusterNoise(NoiseModel):
    """The rows of a record depend on each other, and records are independent."""

    name = "cluster"
    assumption = "if the noise of one record says nothing of another"
    penalties = losses = independent = False
    by_record = rows_squared = True

    def check(self, problem: Problem) -> None:
        """Raise a ValueError unless there are several records."""
        if any(len(part.records_left) < 2 for _, part in problem.parts):
            raise ValueError(
                f"{argument('noise', self.name)} needs two records or more that have rows, and "
                "more rows than confounds of their own, in every output; use "
                + argument("noise", "hac" if problem.spec.ndim == 1 else "white")
            )

    def uncertainty(self, analysis: Analysis, estimate: Estimate) -> Uncertainty:
        """Return errors from one sum per record."""
        from .inference.dependent_errors import ClusterUncertainty

        return ClusterUncertainty(analysis, estimate)


# All models by name.
NOISES: dict[str, NoiseModel] = {
    model.name: model for model in (WhiteNoise(), AutoregressiveNoise(), HacNoise(), ClusterNoise())
}


def noise_model(noise: str) -> NoiseModel:
    """Return the model of a name; "ar(p)" is "ar" of a given order."""
    found = AUTOREGRESSION.fullmatch(noise)
    return AutoregressiveNoise(int(found[1])) if found and found[1] else NOISES[noise]


def _check_time(problem: Problem, name: str) -> None:
    if problem.spec.ndim > 1:
        raise ValueError(
            f"{argument('noise', name)} follows one axis, time; of images use "
            f"{argument('noise', 'cluster')}"
        )
