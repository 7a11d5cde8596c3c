"""Cross-validation from moments. Every fold is summed once for all scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..leastsquares.design import Design
from ..near_misses import checks_arguments
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

    ``by_record`` is True if the records of a fold are scored one by one.
    """

    folds: list[list[Span]]
    rest: list[Span]
    by_record: bool = False

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
            a score for every record of a fold and averages them, as mTRFpy does. The values of a
            function are always averaged over the records.

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
        if self.folds is None:
            return
        if isinstance(self.folds, (list, tuple)):
            parts = tuple(_indices(part) for part in self.folds)
            if len(parts) < 2:
                raise ValueError(f"folds lists {count(len(parts), 'fold')}")
            object.__setattr__(self, "folds", parts)
        elif hasattr(self.folds, "__index__") and not np.ndim(self.folds):
            object.__setattr__(self, "folds", integer(self.folds, "folds", 2))
        else:
            raise TypeError(
                "folds must be None for the records, a number, or a list with the records of every "
                f"fold, got {shown(self.folds)}"
            )

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
            ValueError: If a fold is empty, or leaves nothing for training. If records are cut, but
                their scores are to be averaged.
        """
        lengths = [max(each) for each in zip(*(rows.lengths for rows in kept), strict=True)]
        used = [i for i, n in enumerate(lengths) if n]
        if not isinstance(self.folds, tuple):
            folds = self.folds or (len(used) if len(used) > 1 else BLOCKS)
            if folds > len(used):
                if self.average == "records":
                    raise ValueError(
                        "average='records' needs whole records in every fold, but "
                        f"{count(len(used), 'record')} cannot fill {count(folds, 'fold')}"
                    )
                flags = [_used(kept, i) if n else np.zeros(0, bool) for i, n in enumerate(lengths)]
                if self.folds is None:
                    folds = max(2, min(folds, sum(map(np.count_nonzero, flags))))
                return Spans(_cut(flags, folds), [])
            listed: Sequence[Any] = np.array_split(used, folds)
        else:
            listed = self.folds
            self._check(listed, lengths)
        whole = [[(int(i), 0, lengths[i]) for i in part if lengths[i]] for part in listed]
        if not all(whole):
            raise ValueError("a fold has no rows used in the fit")
        held = {int(i) for part in listed for i in part}
        rest = [(i, 0, lengths[i]) for i in used if i not in held]
        return Spans(whole, rest, self.average == "records" and not self.own)

    @staticmethod
    def _check(parts: Sequence[Sequence[int]], lengths: Sequence[int]) -> None:
        listed = [i for part in parts for i in part]
        if max(listed) >= len(lengths):
            raise ValueError(
                f"folds names record {max(listed)}, there are {count(len(lengths), 'record')}"
            )
        if len(set(listed)) < len(listed):
            raise ValueError("folds names a record twice")


def _indices(part: Any) -> tuple[int, ...]:
    found = np.asarray(part)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu" or (found < 0).any():
        raise ValueError(f"every fold must be a list of indices of records, got {shown(part)}")
    return tuple(found.tolist())


def _used(kept: Sequence[Rows], record: int) -> np.ndarray:
    """Return flags (T,) of the rows of a record that any of the outputs uses."""
    several = [rows.flags_of(record) for rows in kept]
    return np.any([flags.reshape(len(flags), -1).any(1) for flags in several], axis=0)


def _cut(used: Sequence[np.ndarray], folds: int) -> list[list[Span]]:
    """Return all rows in order, cut into ``folds`` parts of about equally many used rows.

    ``used`` are the flags (T,) of every record, True for rows used in the fit.
    """
    ends = np.cumsum([np.count_nonzero(flags) for flags in used])
    if folds > ends[-1]:
        raise ValueError(f"{count(int(ends[-1]), 'row')} cannot be cut into {folds} folds")
    cuts = np.linspace(0, ends[-1], folds + 1).round().astype(int)
    found: list[list[Span]] = [[] for _ in range(folds)]
    for i, (flags, end) in enumerate(zip(used, ends, strict=True)):
        places = np.flatnonzero(flags)
        inner = np.clip(cuts - (end - len(places)), 0, len(places))
        # Excluded rows at the ends of a record are in its first and last part.
        bounds = np.concatenate([[0], places[1:], [len(flags)]])
        for spans, (start, stop) in zip(found, pairwise(inner.tolist()), strict=True):
            if start < stop:
                spans.append((i, int(bounds[start]), int(bounds[stop])))
    return found


def part(
    design: Design, y: Sequence[np.ndarray], spans: Sequence[Span], bias: bool | None = None
) -> Problem:
    """Return some rows of a design and records ``y`` as a separate problem.

    It has a bias as the whole problem, unless one is given.
    """
    whole = design.problem
    assert whole._output is not None
    found = whole._replace(
        _input=whole._input._replace(arrays=tuple(design.records)),
        _output=whole._output._replace(arrays=tuple(y)),
        bias=whole.bias if bias is None else bias,
    )
    return found.of_rows(spans)


def leading(problem: Problem, numbers: int) -> Problem:
    """Return the first rows of a problem, with about ``numbers`` elements of x and y."""
    spans, each = [], max(1, numbers // LEADING_PARTS)
    for span in row_spans(problem.x, problem.n_outputs, problem.spec, each):
        if problem._kept.rows_of(span):
            spans.append(span)
        if len(spans) == LEADING_PARTS:
            break
    return problem.of_rows(spans)


def beside(parts: Sequence[Sequence[Span]], held: int, always: Sequence[Span]) -> list[Span]:
    """Return the rows of all folds except one, and the rows in no fold."""
    return sorted([s for i, fold in enumerate(parts) if i != held for s in fold] + [*always])
