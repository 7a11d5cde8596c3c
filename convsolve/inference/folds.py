"""The rows that a cross-validation holds out together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..notation import checks_arguments
from ..operators.prediction import row_spans
from ..problem.checks import choice, integer
from ..problem.problem import Problem
from ..problem.rows import Rows, Span
from ..text import as_call, count, shown

# Number of parts in which the first rows of long recordings are read.
LEADING_PARTS = 64
SCORES = ("mse", "r2", "correlation")
AVERAGES = ("rows", "records")
# Number of folds of a single record.
BLOCKS = 5


class Spans(NamedTuple):
    """The rows of every fold, and the rows in no fold.

    ``by_record`` is True if the records of a fold are scored one by one, and ``cut`` if folds are
    parts of records.
    """

    folds: list[list[Span]]
    rest: list[Span]
    by_record: bool = False
    cut: bool = False

    @property
    def parts(self) -> list[list[list[Span]]]:
        """The rows of every fold that are scored together."""
        return [[[span] for span in fold] if self.by_record else [fold] for fold in self.folds]


@checks_arguments
@dataclass(frozen=True, repr=False)
class CrossValidation:
    """The rows that are held out together, and the score of their prediction.

    Args:
        folds: None, the default, uses each record as a fold, or five blocks in time of a single
            record. A number of folds distributes the records in order; if there are fewer records
            than folds, all rows are cut in time. Blocks have equally many rows that are used in the
            fit. A list of arrays gives the indices of the records of each fold. Records in no fold
            are always used for training.
        score: "mse" (the default), "r2" or "correlation", averaged over folds. Correlation does not
            depend on scale, so it selects strengths that shrink too much. R² is computed about the
            mean of the rows that are scored together. A function ``score(y, prediction)`` is called
            for every output and every record of a fold, with two arrays ``(rows,)``. It returns a
            number, and a larger number is better. Strengths for which it returns NaN are not
            selected.
        average: "rows" (the default) computes one score from all rows of a fold. "records" computes
            a score for every record of a fold, or part of a record, and averages them, as mTRFpy
            does. The values of a function are always averaged over the records.

    Rows cut in time share the samples of a kernel at every cut, and autocorrelated noise leaks
    across it. Folds of whole records are safer. Confounds of a record that is cut are fitted to its
    training rows, and separately to its held-out rows.

    A function has no gradient and needs the predicted rows. It scores the strengths of a grid, each
    with a prediction of every fold. It does not support weights or confounds.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> select = cs.CrossValidation(10, score="r2")
        >>> fit = cs.solve(problem, penalty="ridge", select=select)
        >>> fit.regularization.criterion
        'r2'

    See Also:
        `cross_validate`, which scores a method.
    """

    folds: Any = None
    _: KW_ONLY
    score: Any = "mse"
    average: str = "rows"

    def __repr__(self) -> str:
        return as_call(self)

    def __post_init__(self) -> None:
        if not self.own:
            choice(self.score, "score", SCORES, " or a function of y and its prediction")
        choice(self.average, "average", AVERAGES)
        if isinstance(self.folds, (list, tuple)):
            parts = tuple(_indices(part) for part in self.folds)
            if len(parts) < 2 or len({*chain(*parts)}) < sum(map(len, parts)):
                raise ValueError(f"folds must be several lists of different records, got {parts}")
            object.__setattr__(self, "folds", parts)
        elif self.folds is not None:
            object.__setattr__(self, "folds", integer(self.folds, "folds", 2))

    @property
    def own(self) -> bool:
        """Whether the score is a function of y and its prediction."""
        return callable(self.score)

    @property
    def criterion(self) -> str:
        """The name of the score, with brackets for a function."""
        if not self.own:
            return str(self.score)
        name = getattr(self.score, "__name__", "")
        return f"{name if name.isidentifier() else 'score'}()"

    def spans(self, *kept: Rows) -> Spans:
        """Return the rows of every fold, and the rows in no fold.

        Args:
            kept: the rows used in the fit, of one or several sets of outputs.

        Raises:
            ValueError: If a fold is empty, or leaves nothing for training.
        """
        lengths = [max(each) for each in zip(*(rows.lengths for rows in kept), strict=True)]
        used, by_record = [i for i, n in enumerate(lengths) if n], self.average == "records"
        by_record = by_record and not self.own
        listed: Any = self.folds
        if not isinstance(listed, tuple):
            folds = listed or (len(used) if len(used) > 1 else BLOCKS)
            if folds > len(used):
                return Spans(self._cut(kept, used, folds), [], by_record, cut=True)
            listed = np.array_split(used, folds)
        elif (last := max(map(max, listed))) >= len(lengths):
            given = count(len(lengths), "record")
            raise ValueError(f"folds names record {last}, there are {given}")
        whole = [[(int(i), 0, lengths[i]) for i in fold if lengths[i]] for fold in listed]
        if not all(whole):
            raise ValueError("a fold has no rows used in the fit")
        held = {i for fold in whole for i, _, _ in fold}
        rest = [(i, 0, lengths[i]) for i in used if i not in held]
        return Spans(whole, rest, by_record)

    def _cut(self, kept: Sequence[Rows], used: Sequence[int], folds: int) -> list[list[Span]]:
        """Return all rows in order, cut into folds of about equally many rows that are used."""
        several = (np.any([rows.flags_of(i) for rows in kept], axis=0) for i in used)
        flags = {i: f.reshape(len(f), -1).any(1) for i, f in zip(used, several, strict=True)}
        total = sum(map(np.count_nonzero, flags.values()))
        folds = max(2, min(folds, total)) if self.folds is None else folds
        if folds > total:
            raise ValueError(f"{count(total, 'row')} cannot be cut into {folds} folds")
        cuts = np.linspace(0, total, folds + 1).round()[1:-1]
        found: list[list[Span]] = [[] for _ in range(folds)]
        before = 0
        for i, own in flags.items():
            # Excluded rows belong to the fold of the row before.
            numbers = before + np.maximum(np.cumsum(own) - 1, 0)
            before += int(np.count_nonzero(own))
            fold = np.searchsorted(cuts, numbers, side="right")
            bounds = [0, *(np.flatnonzero(np.diff(fold)) + 1).tolist(), len(own)]
            for start, stop in pairwise(bounds):
                found[fold[start]].append((i, start, stop))
        return found


def _indices(fold: Any) -> tuple[int, ...]:
    found = np.asarray(fold)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu" or (found < 0).any():
        raise ValueError(f"every fold must be a list of indices of records, got {shown(fold)}")
    return tuple(found.tolist())


def leading(problem: Problem, numbers: int) -> Problem:
    """Return the first rows of a problem, with about ``numbers`` elements of x and y."""
    each = max(1, numbers // LEADING_PARTS)
    spans = row_spans(problem.x, problem.n_outputs, problem.spec, each)
    return problem.of_rows([*islice(filter(problem._kept.rows_of, spans), LEADING_PARTS)])


def beside(parts: Sequence[Sequence[Span]], held: int, always: Sequence[Span]) -> list[Span]:
    """Return the rows of all folds except one, and the rows in no fold."""
    return sorted([s for i, fold in enumerate(parts) if i != held for s in fold] + [*always])
