"""The penalty selected from the data, with the scores of all strengths of the search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..facts import Fact, Reported, of_fields
from ..lazy import plot
from ..leastsquares.penalty import Penalty
from ..text import count, either, span

# Fields with a value per output, along the last axis.
PER_OUTPUT = ("strength", "effective_dof", "noise_variance", "score", "at_edge")
# Strengths of outputs that differ by more are not comparable.
FAR = 100.0
# Names of criteria in a sentence.
CRITERIA = {
    "gcv": "by GCV", "evidence": "by evidence", "aicc": "by AICc", "bic": "by BIC",
    "given": "as given", "mse": "by held-out mean square", "r2": "by held-out R²",
}  # fmt: skip


class StrengthScores(NamedTuple):
    """Scores of the strengths of a search, with the chosen strength among them.

    ``strengths``, ``scores`` and ``effective_dof`` are (n, outputs). ``scores_by_fold`` is (folds,
    n, outputs), or None without folds. ``criterion`` of the selection names the score. The smallest
    score is the best for gcv, evidence (−2 log marginal likelihood), aicc, bic and mse, the largest
    for r2 and correlation. Strengths are sorted, and an output can have the same strength twice. If
    another output has more of them, or more folds, the arrays end in NaN.
    """

    strengths: np.ndarray
    scores: np.ndarray
    effective_dof: np.ndarray
    scores_by_fold: np.ndarray | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Regularization(Reported):
    """Penalty and strength of a solution, given or selected from the data.

    Attributes:
        penalty: name of the penalty with its hyperparameters.
        strength: (outputs,), in ‖y − Aw‖² + strength·wᵀK w; (bands, outputs) for a banded ridge.
            For `EarlyStopping`, the number of steps.
        hyperparameters: the selected hyperparameters by name, in common for all outputs that use
            the same rows. A tuple if there are several axes. A list by output above 1000 unknowns.
        effective_dof: (outputs,), effective degrees of freedom of the kernel, the trace of its
            spectral filter: Σ d/(d + λ) plus the number of coordinates that are not penalized. A
            bias is not included.
        noise_variance: (outputs,), variance of y about the model, in y's units squared.
        criterion: "gcv", "evidence", "aicc", "bic", or "mse", "r2" or "correlation" of held-out
            rows, or the name of a function with brackets; "given" if nothing was selected.
        score: (outputs,), the score of the selected strength. NaN if nothing was selected.
        path: the strengths of the search and the selected one, sorted, with their scores. None if
            nothing was selected. For a banded ridge, all strengths of the path have the selected
            ratios, and ``path.strengths`` are their geometric means.
        at_edge: (outputs,), whether the selected strength is the first or last strength that was
            allowed, so that a better one may lie outside the search range.
        outputs: names of the outputs, or their numbers.
        parameter: what ``strength`` is: "strength" of a penalty, or "steps" of `EarlyStopping`.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, penalty="smooth")
        >>> chosen = fit.regularization
        >>> chosen.criterion, chosen.strength.shape, bool(chosen.at_edge[0])
        ('gcv', (1,), False)

    See Also:
        `Solution.regularization`, and `solve`.
    """

    penalty: str
    strength: np.ndarray
    hyperparameters: dict[str, Any]
    effective_dof: np.ndarray
    noise_variance: np.ndarray
    criterion: str
    score: np.ndarray
    path: StrengthScores | None
    at_edge: np.ndarray
    outputs: tuple[Any, ...] = ()
    parameter: str = "strength"

    plot = plot

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield one sentence that describes the selection, and all fields."""
        by = CRITERIA.get(self.criterion, f"by held-out {self.criterion}")
        words = f"{self.penalty}, {self._chosen}, {by}"
        if not np.isnan(self.effective_dof).any():
            words += f"; {span(self.effective_dof.ravel(), '.1f')} effective degrees of freedom"
        apart = self.criterion == "mse" and self.strength.max() > FAR * self.strength.min()
        if apart and self.strength.ndim == 1:
            differing = "numbers of steps" if self.parameter == "steps" else "strengths"
            words += f"; {differing} differ by more than 100 times: one_strength=True chooses one"
        if edge := int(self.at_edge.sum()):
            where = "" if self.at_edge.size == 1 else f" of {count(edge, 'output')}"
            what = "the number of steps" if self.parameter == "steps" else "the strength"
            words += f"; {what}{where} is at the edge of the search"
        yield Fact("", "", words)
        yield from of_fields(self)

    @property
    def _chosen(self) -> str:
        """The strength or the number of steps, in words."""
        values = self.strength.T.reshape(-1)
        if self.parameter == "steps":
            one = bool((values == 1).all())
            return f"{span(values, '.0f')} {'step' if one else 'steps'}"
        return f"strength {span(values)}"

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Regularization:
        """Return the object for a dictionary made by `to_dict`."""
        # JSON has null for NaN, and lists but no tuples.
        own: dict[str, Any] = {
            name: np.array(found[name], bool if name == "at_edge" else float) for name in PER_OUTPUT
        }
        if found["path"]:
            arrays = {k: v and np.array(v, float) for k, v in found["path"].items()}
            own["path"] = StrengthScores(**arrays)
        chosen = found["hyperparameters"].items()
        own["hyperparameters"] = {k: tuple(v) if isinstance(v, list) else v for k, v in chosen}
        return cls(**found | own | {"outputs": tuple(found["outputs"])})


def of_some(chosen: Regularization, outputs: Sequence[int] | np.ndarray) -> Regularization:
    """Return the selection for some of the outputs."""
    some, path = [*outputs], chosen.path
    own: dict[str, Any] = {name: getattr(chosen, name)[..., some] for name in PER_OUTPUT}
    if path is not None:
        own["path"] = StrengthScores(*(v if v is None else v[..., some] for v in path))  # type: ignore[arg-type]
    names = tuple(chosen.outputs[o] for o in some) if chosen.outputs else ()
    return replace(chosen, outputs=names, **own)


def as_given(
    terms: Sequence[tuple[Penalty, float]], known: tuple[np.ndarray, np.ndarray] | None = None
) -> Regularization:
    """Return penalty and strength of every output as they were given.

    The degrees of freedom and the variance of the noise are ``known``, or NaN.
    """
    strength = np.stack([form.strengths(strength) for form, strength in terms], axis=-1)
    edge, unknown = np.zeros(len(terms), bool), np.full(len(terms), np.nan)
    freedom, variance = known or (unknown, unknown)
    title = either([form.title for form, _ in terms])
    return Regularization(
        penalty=title,
        strength=strength,
        hyperparameters={},
        effective_dof=freedom,
        noise_variance=variance,
        criterion="given",
        score=unknown,
        path=None,
        at_edge=edge,
        parameter=terms[0][0].parameter,
    )
