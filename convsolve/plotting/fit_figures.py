"""Pictures of a fit and its data: prediction and y, and the residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..operators.filtered import autocovariances
from ..parts import at as part_of
from ..solution import Fitted, Solution
from .drawing import (
    BAD,
    GOOD,
    GREY,
    MAX_CURVES,
    MAX_MARKED,
    Drawing,
    drawable,
    drawing,
    legend,
    lines,
    whole,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Letters of the name of an output in a title.
TITLE_LETTERS = 16
# Rows, or points, for which prediction and y are shown.
MAX_ROWS, MAX_POINTS = 300, 5000
# Largest number of rows for which every residual is shown. For more rows, the smallest and the
# largest of several neighbours are shown.
MAX_RESIDUALS = 2000
# Lags of an autocorrelation: at least so many, and no more than a share of the rows.
LEAST_LAGS, LAGS_SHARE = 40, 0.2
# The autocorrelation of white noise is within so many standard deviations at 95 % of the lags.
DEVIATIONS = 1.96


def prediction(fit: Solution, fitted: Fitted, output: int) -> list[Drawing]:
    """Return pictures of prediction and y: over time if there is one axis, and against each other.

    The R² of all outputs is `r2_of_outputs`.
    """
    against = prediction_against_y(fit, fitted, output)
    return (
        [prediction_over_time(fit, fitted, output), against] if fit._spec.ndim == 1 else [against]
    )


def _where(fit: Solution, output: int, record: int | None = None) -> str:
    """Return the end of a title: the output and the record, if there are several."""
    names, words = drawable(fit._names, TITLE_LETTERS), []
    if fit.kernel.shape[-1] > 1:
        words.append("output " * (names.outputs is None) + names.name("output", output))
    if record is not None:
        words.append(f"record {record}")
    return ": " * bool(words) + ", ".join(words)


def _first(fitted: Fitted, output: int) -> int:
    """Return the first record that has rows used in the fit."""
    counts = (np.isfinite(e[..., output]).any() for e in fitted.residual)
    return next((i for i, any_of_them in enumerate(counts) if any_of_them), 0)


def _times(fit: Solution, record: int, rows: slice) -> tuple[np.ndarray, str]:
    """Return the times of some rows of a record, and a label with the unit."""
    assert fit.problem is not None
    # In samples of x.
    places = np.arange(*rows.indices(fit.problem._kept.shapes[record][0]))
    found = fit.problem._geometry.shift[0] + places * fit._spec.stride[0]
    fs = fit._names.fs
    return (found, "time (samples)") if fs is None else (found / fs, "time (s)")


@drawing("Measured and predicted y over time.")
def prediction_over_time(axes: Axes, fit: Solution, fitted: Fitted, output: int) -> None:
    """Draw prediction, y and residual at the start of the first record."""
    i = _first(fitted, output)
    start = int(np.isfinite(fitted.residual[i][:, output]).argmax())
    rows = slice(start, start + MAX_ROWS)
    y, prediction, residual = (a[i][rows, output] for a in fitted[:3])
    at, unit = _times(fit, i, rows)
    marker = "o" if len(y) <= MAX_MARKED else "-"
    axes.plot(at, y, marker, color=GREY, linewidth=3, label="measured")
    axes.plot(at, prediction, color=GOOD, linewidth=1.2, label="predicted")
    axes.plot(at, residual, color=BAD, linewidth=0.9, label="residual")
    title = "Measured and predicted y" + _where(fit, output, i if len(fitted.y) > 1 else None)
    axes.set(title=title, xlabel=unit, ylabel="y")
    if fit._names.fs is None:
        whole(axes.xaxis)
    legend(axes)


@drawing("Predicted against measured y, row by row.")
def prediction_against_y(axes: Axes, fit: Solution, fitted: Fitted, output: int) -> None:
    """Draw prediction against y, with a point for every row, or for evenly spaced rows."""
    y, prediction = (np.concatenate([a[..., output].ravel() for a in v]) for v in fitted[:2])
    finite = np.flatnonzero(np.isfinite(y))
    some = finite[np.unique(np.linspace(0, len(finite) - 1, MAX_POINTS).astype(int))]
    y, prediction = y[some], prediction[some]
    ends = [float(y.min()), float(y.max())]
    axes.plot(ends, ends, color=GREY, linewidth=1, label="equal", zorder=3)
    few = len(y) <= 10 * MAX_ROWS
    axes.plot(y, prediction, ".", color=GOOD, markersize=4 if few else 2, label="one row")
    title = "Predicted against measured" + _where(fit, output)
    axes.set(title=title, xlabel="measured y", ylabel="predicted y")
    legend(axes)


@drawing("R² of every output.")
def r2_of_outputs(axes: Axes, fit: Solution, outputs: Sequence[int]) -> None:
    """Draw R² of every output on the training data."""
    r2 = fit.score().r2[[*outputs]]
    axes.plot(range(len(outputs)), r2, "o", color=GOOD, markersize=5)
    step = -(-len(outputs) // 12)
    names = [drawable(fit._names).name("output", o) for o in outputs]
    axes.set_xticks(range(0, len(outputs), step), names[::step], rotation=60)
    axes.set(title="R² on the training data", xlabel="output", ylabel="R²")
    axes.set_ylim(min(0.0, float(r2.min()) - 0.05), 1.02)


def residuals(fit: Solution, fitted: Fitted, outputs: Sequence[int]) -> list[Drawing]:
    """Return pictures of residuals: over time, their autocorrelation and their quantiles.

    They show the first of ``outputs``. The autocorrelation also shows some others. Autocorrelation
    and quantiles are those of `white_residuals`.
    """
    found = white_residuals(fit, fitted, outputs[:MAX_CURVES])
    quantiles = residual_quantiles(fit, found, outputs[0])
    if fit._spec.ndim > 1:
        return [quantiles]
    correlation = autocorrelation(fit, found, outputs)
    return [residuals_over_time(fit, fitted, outputs[0]), correlation, quantiles]


class WhiteResiduals(NamedTuple):
    """Weighted residuals (n, 1) of every output and record, in the rows used, and their name."""

    name: str
    of: dict[int, list[np.ndarray]]


def white_residuals(fit: Solution, fitted: Fitted, outputs: Sequence[int]) -> WhiteResiduals:
    """Return the residuals that are white if the noise model holds, of some outputs.

    For autoregressive noise they are the residuals of the filtered rows.
    """
    name, found, done = "residuals", {}, {id(fit): fitted}
    for output in outputs:
        one, index, filtered = fit, output, False
        while one._parts:
            filtered |= one._autoregression is not None
            one, index = part_of(one._parts, index)
        if not filtered:
            one, index = fit, output
        elif id(one) not in done:
            done[id(one)] = one._fitted()
        name = "filtered residuals" if filtered else "residuals"
        weighted = (e[..., [index]].reshape(-1, 1) for e in done[id(one)].weighted)
        found[output] = [e[np.isfinite(e[:, 0])] for e in weighted]
    return WhiteResiduals(name, found)


@drawing("Residuals over time.")
def residuals_over_time(axes: Axes, fit: Solution, fitted: Fitted, output: int) -> None:
    """Draw the residuals of the first record, or their range if there are many."""
    i = _first(fitted, output)
    residual = fitted.residual[i][:, output]
    at, unit = _times(fit, i, slice(len(residual)))
    each = -(-len(residual) // MAX_RESIDUALS)
    if each == 1:
        axes.plot(at, residual, color=GOOD, linewidth=0.8)
    else:
        cut = len(residual) // each * each
        several = np.ma.masked_invalid(residual[:cut].reshape(-1, each))
        lowest, highest = several.min(axis=1), several.max(axis=1)
        axes.fill_between(at[:cut:each], lowest, highest, color=GOOD, linewidth=0.8)
    axes.axhline(0, color=GREY, linewidth=0.8)
    title = "Residuals" + _where(fit, output, i if len(fitted.y) > 1 else None)
    axes.set(title=title, xlabel=unit, ylabel="residual")


@drawing("Autocorrelation of the residuals.")
def autocorrelation(
    axes: Axes, fit: Solution, white: WhiteResiduals, outputs: Sequence[int]
) -> None:
    """Draw the autocorrelation of some outputs, and the 95 % range of white noise."""
    some = [*white.of]
    counted = [_scaled(records) for records in white.of.values()]
    rows = min(sum(map(len, records)) for records in counted)
    most = min(max(LEAST_LAGS, fit._spec.kernel_size[0]), max(int(LAGS_SHARE * rows), 1))
    each = [autocovariances(records, most)[:, 0] for records in counted]
    found = np.stack([c[1:] / (c[0] or 1.0) for c in each], axis=1)
    reach = DEVIATIONS / np.sqrt(rows)
    at = fit._names.times(fit._spec.stride[0] * np.arange(1, most + 1))
    axes.axhspan(
        -reach, reach, color=GREY, alpha=0.35, linewidth=0, label="95 % band of white noise"
    )
    axes.axhline(0, color=GREY, linewidth=0.8)
    called = drawable(fit._names)
    labels = [called.output(o) if len(some) > 1 else white.name for o in some]
    lines(axes, at, found, labels, MAX_MARKED // 4)
    legend(axes)
    more = f"\n{len(some)} of {len(outputs)} outputs shown" if len(some) < len(outputs) else ""
    axes.set(title=f"Autocorrelation of the {white.name}{more}", ylabel="correlation")
    axes.set_xlabel(f"lag ({fit._names.unit})")


def _scaled(records: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the residuals in a unit in which their squares do not overflow."""
    largest = max(float(np.abs(e).max(initial=0.0)) for e in records)
    return [e / (largest or 1.0) for e in records]


@drawing("Quantiles of the residuals against quantiles of a normal distribution.")
def residual_quantiles(axes: Axes, fit: Solution, white: WhiteResiduals, output: int) -> None:
    """Draw quantiles of the residuals against quantiles of a normal distribution."""
    from scipy.special import ndtri

    left = np.sort(np.concatenate(white.of[output]).ravel())
    some = np.unique(np.linspace(0, len(left) - 1, MAX_RESIDUALS).astype(int))
    expected = ndtri((some + 0.5) / len(left))
    largest = float(np.abs(left).max(initial=0.0)) or 1.0
    centre, deviation = left.mean(), (left / largest).std() * largest
    ends: Any = np.array([expected[0], expected[-1]])
    axes.plot(ends, centre + deviation * ends, color=GREY, linewidth=1, label="normal")
    axes.plot(expected, left[some], ".", color=GOOD, markersize=4, label=white.name)
    title = "Normal Q–Q plot" + _where(fit, output)
    axes.set(title=title, xlabel="normal quantile", ylabel=white.name.removesuffix("s"))
    legend(axes)
