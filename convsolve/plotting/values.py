"""What figures show: kernels, rows of data and taps of a report, in the order of their axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..facts import shortened
from ..identifiability.report import Identifiability
from ..linalg.factor import Factor
from ..operators.prediction import predicted
from ..problem.checks import integer
from ..problem.kernel_space import ChannelSpace, KernelSpace
from ..problem.names import Axis, Names
from ..problem.problem import Problem
from ..solution import Solution
from ..subjects import GroupSolution
from ..text import count

# Letters of a name in a figure.
LETTERS = 16
# Largest number of rows, and of columns, of a design that is drawn.
ROWS = 2000

Pair = tuple[int, int]


def called(names: Names, kind: str, index: int) -> str:
    """Return the name of a "channel" or an "output", or the noun and its number."""
    known = names.channels if kind == "channel" else names.outputs
    name = f"{kind} {index}" if known is None else shortened(known[index], LETTERS)
    return name.replace("$", r"\$")


def as_names(given: Sequence[Any]) -> tuple[str, ...] | None:
    """Return names, or None for numbers."""
    return tuple(given) if given and isinstance(given[0], str) else None


@dataclass(frozen=True)
class Kernel:
    """A kernel to draw. Arrays are (*K, Cin/groups, Cout) in the order of the axes.

    Attributes:
        axes: lags or taps.
        names: names of channels and outputs.
        groups: number of groups of channels and outputs.
        values: weights; NaN outside the window of a channel.
        unknown: flags of the taps that the data do not determine.
        reach: half widths of 95 % bands, or None.
        title, band, unit: description of the values and the bands.
    """

    axes: tuple[Axis, ...]
    names: Names
    groups: int
    values: np.ndarray
    unknown: np.ndarray
    reach: np.ndarray | None = None
    title: str = "Impulse response"
    band: str = ""
    unit: str = "weight"

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of channels and outputs."""
        return self.values.shape[-2] * self.groups, self.values.shape[-1]

    def ordered(self, values: Any) -> np.ndarray:
        """Return values that are shaped as an impulse response, in the order of the axes."""
        return _ordered(self.axes, values, self.values.shape)

    def channel_of(self, pair: Pair) -> int:
        """Return the number in x of the channel of a pair, which is counted within its group."""
        channels, outputs = self.counts
        return pair[1] // (outputs // self.groups) * (channels // self.groups) + pair[0]

    def pairs(self, channels: Any = None, outputs: Any = None) -> list[Pair]:
        """Return pairs of a channel of a group and an output, given by number or name.

        Raises:
            TypeError, ValueError: If a channel or output does not exist, or if no pair is of one
                group.
        """
        some = _numbers(self.names, "channel", channels, self.counts[0])
        several = _numbers(self.names, "output", outputs, self.counts[1])
        each = range(self.values.shape[-2])
        pairs = [(c, o) for o in several for c in each if self.channel_of((c, o)) in some]
        if not pairs:
            raise ValueError("no kernel joins these channels and outputs: their groups differ")
        return pairs

    def label(self, pair: Pair) -> list[str]:
        """Return the names of channel and output of a pair, if there are several."""
        numbers = self.channel_of(pair), pair[1]
        several = zip(("channel", "output"), numbers, self.counts, strict=True)
        return [called(self.names, kind, number) for kind, number, n in several if n > 1]


def _numbers(names: Names, kind: str, given: Any, size: int) -> list[int]:
    given = range(size) if given is None else given
    listed = [given] if np.ndim(given) == 0 else [*given]
    found = (integer(names.number(kind, one), f"{kind}s", 0, size - 1) for one in listed)
    return [*dict.fromkeys(found)]


def kernel_of(fit: Solution) -> Kernel:
    """Return the kernel of a fit without bands, which takes no computation."""
    axes, shape = fit._axes, fit.kernel.shape
    weights = _ordered(axes, np.asarray(fit.impulse_response, float), shape)
    values = np.where(_modelled(axes, fit._space, shape), weights, np.nan)
    return Kernel(axes, fit._names, fit._spec.groups, values, np.zeros(shape, bool))


def with_bands(fit: Solution) -> Kernel:
    """Return the kernel of a fit with its bands and the taps that the data do not determine.

    There are no bands if standard errors take longer than the solution did.
    """
    kernel, errors, report = kernel_of(fit), fit._affordable_errors(), fit.identifiability
    found: dict[str, Any] = {"title": f"Impulse response{_doubt(fit)}"}
    if errors is not None and np.nan_to_num(errors[0]).any():
        low, high = fit.confidence_band()
        found["unknown"] = kernel.ordered(np.isinf(high))
        found["reach"] = kernel.ordered(np.where(np.isfinite(high), (high - low) / 2, np.nan))
        words = f", 95 % {'posterior' if fit._penalized else 'confidence'} band"
        found["band"] = words * bool(np.isfinite(high).any())
    elif fit.stats.get("unique") is False and report is not None and report._decided:
        found["unknown"] = kernel.ordered(~report.identifiable)
    return replace(kernel, **found)


def patterns_of(fit: Solution) -> Kernel:
    """Return the patterns of a decoder, which also exist outside the windows of lags."""
    kernel, title = kernel_of(fit), f"Patterns{_doubt(fit)}"
    return replace(kernel, values=kernel.ordered(fit.patterns()), title=title, unit="pattern")


def banded(fit: Solution) -> bool:
    """Return whether responses have bands, and these take little time."""
    return fit._few and not fit._no_errors and bool(fit.stats.get("unique"))


def step_of(fit: Solution) -> Kernel:
    """Return the response to a step, to be drawn as a kernel."""
    kernel, bands = kernel_of(fit), banded(fit)
    found = fit._responses(bands=bands).step()
    values, reach = map(kernel.ordered, (found.response, found.band[1] - found.response))
    words: Any = {"title": "Step response", "unit": "response"}
    known: Any = {"reach": reach, "band": ", 95 % band"} if bands else {}
    return replace(kernel, values=values, **words, **known)


def _doubt(fit: Solution) -> str:
    """Return the end of a title if a fit is not exact or not unique."""
    several = ", other kernels fit as well" * (fit.stats.get("unique") is False)
    several += ", doubtful: see print(fit)" * bool(fit.stats["caution"])
    return f", status: {fit.status}" * (not fit.converged) + several


def group_kernel(group: GroupSolution) -> Kernel:
    """Return the kernel of a group of subjects."""
    shape = group.kernel.shape
    groups = len(group.channels) // shape[-2]
    names = Names(group.fs, as_names(group.channels), as_names(group.outputs))
    low, high = (np.reshape(end, shape) for end in group.confidence_band())
    none, axes = np.zeros(shape, bool), (Axis(group.lags, group.fs),)
    words = f"Group of {count(len(group.kernels), 'subject')}", ", 95 % confidence band"
    return Kernel(axes, names, groups, (low + high) / 2, none, (high - low) / 2, *words)


def _ordered(axes: Sequence[Axis], values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return values in ascending lags, shaped as an impulse response, in the order of the axes."""
    found = np.reshape(values, shape)
    return np.flip(found, tuple(range(len(axes)))) if axes[0].noun == "tap" else found


def _modelled(axes: Sequence[Axis], space: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return flags of the taps in the windows of their channels."""
    if space is None:
        return np.ones(shape, bool)
    ascending = np.flip(space.kept, tuple(range(len(axes))))[..., None]
    return _ordered(axes, np.broadcast_to(ascending, shape), shape)


def design_of(problem: Problem) -> tuple[np.ndarray, dict[str, int]]:
    """Return the first rows of the design with bias, drift and confounds, NaN where excluded.

    Columns of records are in one block. The numbers of columns of every block are by its name.

    Raises:
        ValueError: If the design has too many columns.
    """
    spans, left = [], ROWS
    for i, (rows, *_) in enumerate(problem._kept.shapes):
        spans += [(i, 0, min(rows, left))] * (min(rows, left) > 0)
        left -= min(rows, left)
    part, groups = problem.of_rows(spans), problem.spec.groups
    taps, each = problem.spec.kernel_size[0], problem.n_channels // groups
    own = part._space or KernelSpace(taps, [ChannelSpace(np.arange(taps))] * each)
    if own.count * groups > ROWS:
        raise ValueError(f"the design has {own.count * groups} columns, more than {ROWS}")
    channels = own.channels * groups
    kernel = np.zeros((taps, len(channels), own.count * groups))
    ends = np.cumsum([0, *(c.count for c in channels)])
    for c, (space, *span) in enumerate(zip(channels, ends, ends[1:], strict=False)):
        eye = np.eye(len(space.kept))[:, ::-1]
        kernel[space.kept, c, slice(*span)] = eye if space.matrix is None else space.matrix
    spec = replace(part.spec, groups=1)
    found = predicted(part.x, kernel, np.zeros(kernel.shape[-1]), spec)
    blocks = {called(part._names, "channel", c): s.count for c, s in enumerate(channels)}
    others = [_nuisance(part, i) for i in range(len(found))]
    widths = [max(a.shape[1] for a in several) for several in zip(*others, strict=True)]
    for i, several in enumerate(others):
        # A shorter record has fewer cosines.
        pairs = zip(several, widths, strict=True)
        wide = [np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a, width in pairs]
        found[i] = np.hstack([found[i], *wide])
        found[i][~part._kept.flags_of(i)] = np.nan
    named = zip(("bias", "confounds", "drift"), widths, strict=True)
    return np.concatenate(found), blocks | {name: width for name, width in named if width}


def _nuisance(problem: Problem, record: int) -> list[np.ndarray]:
    """Return bias, confounds and drift (rows, columns) of a record."""
    terms, rows = problem._terms, problem._kept.shapes[record][0]
    given = np.zeros((rows, 0)) if terms.columns is None else terms.columns.arrays[record]
    own, cosines = np.split(given, [terms.confounds], axis=1)
    powers = np.polynomial.legendre.legvander(np.linspace(-1, 1, rows), max(terms.degree, 0))
    drift = np.hstack([powers[:, : terms.degree + 1], cosines])
    return [np.ones((rows, int(problem.bias))), own, drift]


class Rows(NamedTuple):
    """Rows of one output, an array of numbers per record; NaN in excluded rows.

    Attributes:
        where: end of a title, with the name of the output if there are several.
        r2: R² of the output on the training data.
        problem: the problem, or its beginning if the data are read in chunks.
        at: the sample of x of every row, along the first axis.
        white: residuals that are white if the noise model holds, without excluded rows.
        filtered: whether these are residuals of filtered rows.
    """

    where: str
    r2: float
    problem: Problem
    at: list[np.ndarray]
    y: list[np.ndarray]
    prediction: list[np.ndarray]
    residual: list[np.ndarray]
    white: list[np.ndarray]
    filtered: bool


def rows_of(fit: Solution, r2: np.ndarray, output: int) -> Rows:
    """Return the rows of an output; for data that are read in chunks, the first rows."""
    problem, *fitted = fit._fitted()
    where = f", {called(fit._names, 'output', output)}" * (fit.kernel.shape[-1] > 1)
    prediction, residual = ([a[..., output].ravel() for a in own] for own in fitted)
    # Confounds are subtracted from y.
    y = [p + e for p, e in zip(prediction, residual, strict=True)]
    first, step = problem._geometry.shift[0], problem.spec.stride[0]
    at = [first + step * np.arange(len(e)) for e in fitted[1]]
    part = next(part for part in fit._parts if output in part.outputs)
    white = [e[:, part.outputs.index(output)] for e in part.white]
    known = part.filter is not None
    return Rows(where, float(r2[output]), problem, at, y, prediction, residual, white, known)


def factor_of(report: Identifiability) -> Factor:
    """Return the factor of the design matrix, with scaled columns, that decides the rank.

    With groups, the factor belongs to the group that is determined worst.

    Raises:
        ValueError: If the rank is undecided.
    """
    return report._worst_factor


def taps_of(report: Identifiability, values: np.ndarray, title: str = "", unit: str = "") -> Kernel:
    """Return values shaped as an impulse response, as a kernel of all channels and one output."""
    problem, axes = report.problem, report.problem._axes
    shape, groups = problem.kernel_shape, problem.spec.groups
    modelled = _modelled(axes, problem._space, shape)
    found = np.where(modelled, _ordered(axes, values, shape), np.nan)
    found = found[..., :: shape[-1] // groups].swapaxes(-1, -2).reshape(*shape[:-2], -1, 1)
    none = np.zeros(found.shape, bool)
    return Kernel(axes, problem._names, 1, found, none, title=title, unit=unit)
