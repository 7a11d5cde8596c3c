"""Predictions, residuals and responses over frequency: one function for each panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..problem.names import Axis
from ..scoring import Score
from ..solvers.base import Trace
from . import draw
from .values import Kernel, Pair, Rows, called

# Rows over which y can be read, at least and at most; points; lags of a correlation.
FEWEST, MOST, POINTS, LAGS = 200, 800, 3000, 40
# 95 % of normal numbers are within so many standard deviations.
DEVIATIONS = 1.96


def _stretch(ax: Any, rows: Rows, title: str, label: str) -> tuple[Any, ...]:
    """Label a panel of a readable stretch of rows, and return their record, slice and times."""
    record = int(np.argmax([np.isfinite(e).any() for e in rows.residual]))
    start = int(np.isfinite(rows.residual[record]).argmax())
    size = int(np.clip(4 * rows.problem.spec.kernel_size[0], FEWEST, MOST))
    part = slice(start, start + size)
    axis = Axis(rows.at[record][part], rows.problem.fs, "time")
    draw.entitle(ax, f"{title}{rows.where}", "", label)
    draw.lag_axis(ax, axis)
    ax.margins(x=0.01)
    return record, part, axis.values


def prediction(ax: Any, rows: Rows) -> None:
    """Draw measured and predicted y over a readable stretch."""
    i, part, at = _stretch(ax, rows, "Measured (grey) and predicted (blue)", "y")
    marker = "o" if len(at) <= draw.MARKED else "-"
    ax.plot(at, rows.y[i][part], marker, color=draw.GREY, linewidth=2.5, label="measured")
    ax.plot(at, rows.prediction[i][part], color=draw.GOOD, linewidth=1.3, label="predicted")
    if np.isfinite(rows.r2):
        ax.set_title(f"{ax.get_title()}, R² {rows.r2:.3f}", fontsize="medium")


def residual(ax: Any, rows: Rows) -> None:
    """Draw the residual over the stretch of `prediction`."""
    i, part, at = _stretch(ax, rows, "Residual", "residual")
    draw.zero(ax)
    ax.plot(at, rows.residual[i][part], color=draw.BAD, linewidth=1, label="residual")


def against(ax: Any, rows: Rows) -> None:
    """Draw prediction against y, with a point for every row or for evenly spaced rows."""
    y, predicted = np.concatenate(rows.y), np.concatenate(rows.prediction)
    finite = np.flatnonzero(np.isfinite(y + predicted))
    some = finite[:: max(1, len(finite) // POINTS)]
    ax.axline((y[some[0]],) * 2, slope=1, color=draw.GREY, linewidth=1)
    ax.plot(y[some], predicted[some], ".", color=draw.GOOD, markersize=3, alpha=0.5)
    draw.entitle(ax, f"Predicted against measured{rows.where}", "measured", "predicted")


def scores(ax: Any, score: Score, names: Sequence[str]) -> None:
    """Draw R² of every output, sorted."""
    order = np.argsort(-np.nan_to_num(score.r2), kind="stable")
    r2, at = score.r2[order], np.arange(len(order))
    error = np.nan_to_num(score.r2_standard_error[order])
    ax.errorbar(at, r2, error, fmt="o", color=draw.GOOD, markersize=4, elinewidth=1)
    step = -(-len(order) // draw.LABELS)
    ax.set_xticks(at[::step], [names[o] for o in order[::step]], rotation=60)
    title = f"R² on the training data, sorted, mean {np.nanmean(r2):.3f}"
    draw.entitle(ax, title, "output", "R²")
    ends = np.nanmin(r2 - error), np.nanmax(r2 + error)
    ax.set_ylim(min(0.0, 1.05 * float(ends[0])), min(1.02, 1.1 * max(float(ends[1]), 1e-3)))


def autocorrelation(ax: Any, rows: Rows) -> None:
    """Draw the autocorrelation of the residuals, with the limits for white noise."""
    number = sum(map(len, rows.white))
    most = max(1, min(LAGS, number // 5))
    axis = Axis(rows.problem.spec.stride[0] * np.arange(1, most + 1), rows.problem.fs)
    found = _correlations(_joined([e - np.mean(e) for e in rows.white if e.size], most), most)
    limit = DEVIATIONS / np.sqrt(number)
    ax.vlines(axis.values, 0, found[1:], color=draw.GOOD, linewidth=1.5)
    ax.axhspan(-limit, limit, color=draw.GREY, alpha=0.3, linewidth=0, label="95 % if white")
    draw.zero(ax)
    of = "filtered residuals" if rows.filtered else "residuals"
    draw.entitle(ax, f"Autocorrelation of {of}", axis.label, "correlation")
    draw.legend(ax)


def cross_correlation(ax: Any, rows: Rows) -> None:
    """Draw the correlation of the residuals with x before and after: what the kernel misses.

    The limits are those of independent series with these autocorrelations (Bartlett's formula).
    Source: M. S. Bartlett, J. R. Statist. Soc. B 8 (1946) 27.
    """
    problem, window = rows.problem, np.asarray(rows.problem.lags)[[0, -1]]
    longest = int(np.abs(window).max())
    size = max(min(2 * longest, longest + 10 * LAGS), LAGS)
    axis, limit = Axis(np.arange(-size, size + 1), problem.fs), 0.0
    e = _joined(_on_time_of_x(rows), size)
    memory, number = _correlations(e, size), sum(map(len, rows.at))
    for c in range(min(problem.n_channels, draw.MANY)):
        own = [np.asarray(a[:, c], float) for a in problem.x]
        # One mean for all records, over which the residuals of a bias add up to zero.
        mean = np.concatenate(own).mean()
        x = _joined([a - mean for a in own], size)
        found = _shifted(e, x, size) / np.sqrt((e @ e) * (x @ x) or 1.0)
        label = called(problem._names, "channel", c) if problem.n_channels > 1 else None
        ax.plot(axis.values, found, color=draw.HUES[c], linewidth=1.1, label=label)
        both = memory * _correlations(x, size)
        limit = max(limit, DEVIATIONS * np.sqrt(max(1.0, 2 * both.sum() - both[0]) / number))
    ax.axhspan(-limit, limit, color=draw.GREY, alpha=0.3, linewidth=0, label="95 % if unrelated")
    ends = window * axis.scale
    ax.axvspan(*ends, color=draw.GOOD, alpha=0.08, linewidth=0, label="window of lags")
    draw.zero(ax)
    draw.entitle(ax, "Correlation of residuals with x", axis.label, "correlation")
    ax.margins(x=0)
    low, high = ax.get_ylim()
    entries = len(ax.get_legend_handles_labels()[1])
    ax.set_ylim(low, high + 0.14 * entries * (high - low))  # room for the legend
    draw.legend(ax, loc="upper right")


def _on_time_of_x(rows: Rows) -> list[np.ndarray]:
    """Return the residuals of every record at the samples of x, and zeros elsewhere."""
    found = [np.zeros(len(a)) for a in rows.problem.x]
    for whole, at, e in zip(found, rows.at, rows.residual, strict=True):
        inside = (at >= 0) & (at < len(whole))
        whole[at[inside]] = np.nan_to_num(e[inside])
    return found


def _joined(records: Sequence[np.ndarray], gap: int) -> np.ndarray:
    """Return records one after the other, with zeros between them."""
    return np.concatenate([np.pad(a, (0, gap)) for a in records])


def _correlations(a: np.ndarray, lags: int) -> np.ndarray:
    """Return the autocorrelation at shifts from zero."""
    sums = _shifted(a, a, lags)[lags:]
    return sums / (sums[0] or 1.0)


def _shifted(a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    """Return the sums of a[t] b[t - k] for shifts k from -size to size."""
    from scipy.signal import correlate

    middle = len(b) - 1  # The arrays end in at least as many zeros.
    return np.asarray(correlate(a, b, "full", "fft")[middle - size : middle + size + 1])


def quantiles(ax: Any, rows: Rows) -> None:
    """Draw quantiles of the residuals against quantiles of a normal distribution."""
    from scipy.special import ndtri

    e = np.sort(np.concatenate(rows.white))
    at = ndtri((np.arange(len(e)) + 0.5) / len(e))
    step = max(1, len(e) // POINTS)
    ax.plot(
        at[[0, -1]], e.mean() + e.std() * at[[0, -1]], color=draw.GREY, linewidth=1, label="normal"
    )
    ax.plot(at[::step], e[::step], ".", color=draw.GOOD, markersize=4)
    name = "filtered residual" if rows.filtered else "residual"
    draw.entitle(ax, f"Quantiles of {name}s", "normal quantile", name)
    draw.legend(ax)


def trace(ax: Any, steps: Trace) -> None:
    """Draw the loss at every step of an iteration."""
    ax.plot(steps.steps, steps.losses, color=draw.GOOD)
    draw.entitle(ax, "Loss per step", "step", "loss")
    ax.set_yscale("log" if (steps.losses > 0).any() else "linear")


def response(
    ax: Any, found: Any, kernel: Kernel, pairs: Sequence[Pair], values: Any, label: str
) -> None:
    """Draw values and the ends of their bands over the logarithm of frequency."""
    at = found.frequencies
    for hue, pair in zip(draw.HUES, pairs, strict=False):
        middle, low, high = (np.reshape(a, (len(at), *kernel.values.shape[1:])) for a in values)
        name = " → ".join(kernel.label(pair))
        ax.semilogx(at, middle[:, *pair], color=hue, linewidth=1.5, label=name)
        ax.fill_between(at, low[:, *pair], high[:, *pair], color=hue, alpha=0.2, linewidth=0)
    draw.entitle(ax, "", f"frequency ({found.unit})", label)
    ax.set_xlim(at[0], at[-1])
    ax.tick_params(axis="x", which="minor", labelsize="x-small")
    draw.legend(ax)
