"""Figure of a report: singular values, the state of every tap, null vectors or noise gains."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..identifiability.null_space import MAX_VECTORS
from ..identifiability.report import Identifiability
from ..identifiability.wording import MEANING, nuisance
from ..linalg.factor import Factor
from ..linalg.lapack import extreme_singular_values
from ..linalg.rank import Band, band_of
from ..text import count
from .drawing import (
    ABSENT,
    ABSENT_COLOUR,
    BAD,
    GOOD,
    GREY,
    HUES,
    MAX_CURVES,
    MAX_IMAGES,
    MAX_LABELS,
    MAX_MARKED,
    Picture,
    Place,
    absent,
    colours,
    decades,
    draw_kernel,
    drawable,
    hatch,
    image,
    image_rows,
    images,
    lag_axis,
    legend,
    lines,
    panels,
    whole,
)
from .kernel_figure import not_unique

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The states of a tap, from bad to good, each with its own colour and hatch.
STATES = (
    ("not identifiable", BAD, "xxx"),
    ("identifiable only because zeros are assumed", HUES[5], "///"),
    ("weakly determined", HUES[4], "..."),
    ("identifiable", GOOD, ""),
)


def draw_report(report: Identifiability) -> Picture:
    """Draw the figure of a report, for the worst group if there are several."""
    if not report._diagnosis.decided:
        return Picture((9, 2.6), partial(_draw_undecided, report))
    gains = _of_worst_group(report, report._diagnosis._noise_gain)
    nullity, known = report.n_unknowns - report.rank, bool(np.isfinite(gains).any())
    few = 0 < nullity <= MAX_VECTORS

    def draw(place: Place) -> None:
        title = not_unique(report)
        if nullity > MAX_VECTORS:
            title += f"\n{nullity} null vectors, too many to show"
        place.title(title, fontsize="large")
        halves = place.parts(2 if few or known else 1, 1)
        left, right = halves[0].parts(1, 2)
        _draw_spectrum(left.panel(), report)
        _draw_mask(right, report)
        if few:
            _draw_null_vectors(halves[1], report)
        elif known:
            _draw_noise_gain(halves[1], report, gains)

    return Picture((11, 8 if few or known else 4.4), draw)


def _draw_undecided(report: Identifiability, place: Place) -> None:
    """Write how the rank can be decided."""
    place.title(f"Undecided rank of {count(report.n_unknowns, 'unknown')}", fontsize="large")
    place.text("\n".join([f"{MEANING[report.verdict]}.", *map(str, report.suggestions)]))


def tap_states(report: Identifiability) -> np.ndarray:
    """Return the index in `STATES` of every tap of the worst group, (*K, Cin/groups).

    It is NaN at lags outside the window of a channel.
    Lags are in ascending order. A tap that is identifiable only because zeros are assumed has this
    state even if it is weakly determined.
    """
    states = np.where(report._diagnosis._identifiable, 3.0, 0.0)
    states[report._diagnosis._weakly_determined] = 2
    if report._diagnosis.padding_decided:
        states[report._diagnosis._padding_dependent] = 1
    states[~report._diagnosis._modelled] = np.nan
    return _of_worst_group(report, states)


def _of_worst_group(report: Identifiability, values: np.ndarray) -> np.ndarray:
    """Return kernel-shaped ``values`` of the worst group as (*K, Cin/groups), in lag order."""
    spec = report.problem.spec
    output = report._diagnosis.worst_group * (values.shape[-1] // spec.groups)
    return values[(slice(None, None, -1),) * spec.ndim][..., output]


def _lags(report: Identifiability) -> list[np.ndarray]:
    return [axis[::-1] for axis in report.problem._lags]


def _channels(report: Identifiability) -> np.ndarray:
    """Return the indices of the channels of the worst group."""
    per_group = report.problem.n_channels // report.problem.spec.groups
    return np.arange(per_group) + report._diagnosis.worst_group * per_group


def _names(report: Identifiability) -> list[str]:
    several = report.problem.n_channels > 1
    called = drawable(report.problem._names)
    return [called.channel(int(c)) if several else "" for c in _channels(report)]


def _spectrum(factor: Factor, most: int) -> tuple[np.ndarray, np.ndarray, Band]:
    """Return the indices and values of the singular values to draw, and the band.

    If there are more than ``most`` and the verdict did not need them, only the largest and the
    smallest are returned.
    """
    columns = factor.r.shape[1]
    if factor.source == "gram" and columns > most:
        ends = np.array(extreme_singular_values(factor.r))
        return np.array([1, columns]), ends, band_of(ends, factor.rows, columns)
    values = np.zeros(columns)
    values[: len(factor.singular_values)] = factor.singular_values
    return np.arange(1, columns + 1), values, factor.band


def _draw_spectrum(axes: Axes, report: Identifiability) -> None:
    """Draw the singular values of the column-scaled A, with the tolerance and its band."""
    factor = report._diagnosis.factor(report._diagnosis.worst_group)
    at, values, band = _spectrum(factor, report._diagnosis.limits.spectrum_columns)
    # A log axis shows zeros and negligible values at its lower end.
    floor = band.low * 1e-3
    for chosen, marker, color, label in (
        (values > band.tolerance, "o", GOOD, "counts towards the rank"),
        (values <= band.tolerance, "v", BAD, "counts as zero"),
    ):
        if chosen.any():
            axes.plot(
                at[chosen], np.maximum(values[chosen], floor), marker, color=color, label=label,
                markersize=6 if len(at) <= 2 * MAX_MARKED else 3,
            )  # fmt: skip
    if band.tolerance > 0:
        axes.axhspan(
            band.low,
            band.high,
            color=GREY,
            alpha=0.35,
            linewidth=0,
            label="ambiguous range",
        )
        axes.axhline(band.tolerance, color=colours()[-1], linewidth=1.2, label="rank tolerance")
        axes.set_yscale("log")
    title = "Singular values (columns scaled)"
    if report.problem._nuisance.total:
        # The rank in other texts includes these columns.
        title += f"\n{nuisance(report._diagnosis)} projected out"
    if len(at) < band.columns:
        title += f"\nlargest and smallest of {band.columns}"
        axes.plot(at, values, ":", color=GREY, label="others", zorder=0)
    if report.verdict == "ambiguous" and band.verdict == "full":
        title += "\nsmallest below the rounding of the data"
    axes.set_title(title)
    axes.set(xlabel="index", ylabel="singular value")
    whole(axes.xaxis)
    legend(axes)


def _draw_mask(place: Place, report: Identifiability) -> None:
    """Draw the state of every tap by lag and channel; one image per channel for several axes."""
    from matplotlib.patches import Patch

    states, lags, names = tap_states(report), _lags(report), _names(report)
    outside = np.isnan(states)
    title = f"Identifiable taps: {np.count_nonzero(states > 0)} of {np.count_nonzero(~outside)}"
    # If the kernel is determined, this property is False without a spectrum.
    if report._diagnosis.mask_ambiguous:
        title += " (ambiguous)"
    if report.problem.bias:
        title += f"\nbias {'' if report.bias_identifiable else 'not '}identifiable"
    if len(lags) == 1:
        axes = place.panel()
        called, channels = drawable(report.problem._names), _channels(report)
        axes.set(title=title, ylabel="channel")
        _draw_states(axes, called.times(lags[0]), channels, states.T)
        lag_axis(axes, called)
        if called.channels is None:
            whole(axes.yaxis)
        else:
            some = channels[:: -(-len(channels) // MAX_LABELS)]
            axes.set_yticks(some, [called.channels[c] for c in some])
    else:
        if len(names) > MAX_IMAGES:
            # Only some channels are shown. Channels with undetermined taps come first.
            order = np.argsort(np.nanmin(states.reshape(-1, len(names)), 0), kind="stable")
            states, names = states[..., order], [names[c] for c in order]
        for axes, shown in panels(place, lags, states, names, title):
            _draw_states(axes, lags[-1], lags[-2], shown)
    keys = [
        Patch(facecolor=color, hatch=pattern, edgecolor="black", linewidth=0, label=label)
        for i, (label, color, pattern) in enumerate(STATES)
        if (states == i).any()
    ]
    if outside.any():
        keys.append(Patch(facecolor=ABSENT_COLOUR, label=ABSENT))
    place.legend(keys, [str(key.get_label()) for key in keys])


def _draw_states(axes: Axes, x: np.ndarray, y: np.ndarray, states: np.ndarray) -> None:
    from matplotlib.colors import ListedColormap

    image(
        axes, x, y, states, cmap=ListedColormap([color for _, color, _ in STATES]),
        vmin=-0.5, vmax=len(STATES) - 0.5, linewidth=0.5,
        edgecolors="white" if max(states.shape) <= MAX_MARKED else "none",
    )  # fmt: skip
    absent(axes, x, y, states)
    for i, (_, _, pattern) in enumerate(STATES):
        if pattern:
            hatch(axes, x, y, states == i, pattern)


def _draw_null_vectors(place: Place, report: Identifiability) -> None:
    """Draw the first null vectors in echelon form, for the channels in which one is nonzero."""
    basis, names = report._diagnosis._null_echelon[report._diagnosis.worst_group], _names(report)
    d = report.problem.spec.ndim
    shown = min(3 if d == 1 else 2, len(basis))
    which = f"s 1 to {shown}" if shown > 1 else ""
    place.title(f"Null vector{which} in reduced echelon form")
    vectors = [vector[(slice(None, None, -1),) * d] for vector in basis[:shown]]
    # The same channels in all panels, so that a channel has one colour.
    touched = np.flatnonzero(np.reshape(vectors, (-1, len(names))).any(0))
    labels = [names[c] for c in touched]
    outside = np.isnan(tap_states(report))
    drawn = [np.where(outside, np.nan, vector) for vector in vectors]
    for i, (part, vector) in enumerate(zip(place.parts(1, shown), drawn, strict=True)):
        title = f"Null vector {i + 1} of {len(basis)}"
        called = report.problem._names
        draw_kernel(part, _lags(report), vector[..., touched], labels, title, called)


def _draw_noise_gain(place: Place, report: Identifiability, gains: np.ndarray) -> None:
    """Draw the noise gain over lags per channel; one image per channel for several axes."""
    from matplotlib.colors import LogNorm, Normalize

    names, lags, unit = _names(report), _lags(report), "noise gain"
    title = "Standard error per unit noise"
    # Taps that are not determined, and gains outside float64, are not drawn.
    gains = np.where(np.isfinite(gains) & (gains > 0), gains, np.nan)
    low, high = float(np.nanmin(gains)), float(np.nanmax(gains))
    several = high > 100 * low
    style = {"cmap": "viridis", "norm": LogNorm(low, high) if several else Normalize(0, high)}
    if len(lags) > 1:
        # Margins at the sides keep a few images close to each other.
        shown = min(MAX_IMAGES, len(names))
        side = (MAX_IMAGES - shown) / 2 + 0.01
        middle = place.parts(1, 3, width_ratios=(side, 2 * shown, side))[1]
        images(middle, lags, gains, names, title, unit, MAX_IMAGES, **style)
        return
    axes = place.panel()
    axes.set_title(title)
    at = report.problem._names.times(lags[0])
    if len(names) > MAX_CURVES:
        image_rows(axes, at, gains.T, names, unit, **style)
    else:
        lines(axes, at, gains, names)
        legend(axes)
        axes.set_ylabel(unit)
        if several:
            decades(axes.yaxis, low, high)
        else:
            axes.set_ylim(0, 1.1 * high)
    lag_axis(axes, report.problem._names)
