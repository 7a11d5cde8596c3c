"""Selection of the strength of every output, and of the hyperparameters of a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..leastsquares.penalty import Penalty
from ..progress import stage
from .criteria import LIKELIHOODS
from .minimum import grid_minimum, quartic_minimum, quartic_vertex
from .scorers import Scorer, Scoring, smooth
from .units import CommonUnits

# Range of strengths relative to the largest eigenvalue, up to a vanishing kernel: two per decade.
LARGEST, A_DECADE = 1e5, 2
# Number of strengths of the finer grid about the best one.
FINER = 11
# Largest excess of the criterion at the chosen strength, in units of −2 log likelihood. A criterion
# that is a mean over n rows is comparable after multiplication with n, and rounded to about 1e-14.
TOLERANCE, ROUNDED = 1e-9, 1e-14
# Excess at which a polynomial replaces the comparison of values. It is enough where only the values
# of several penalties are compared.
COARSE = 1e-3
# Losses that differ by less than this share are equal: rounding must not choose between them.
LAST_DIGITS = 1e-12
# Tolerance of hyperparameters on the scale of their search, and largest number of points tried.
PLACE_TOLERANCE, MOST_PLACES = 1e-3, 200


@dataclass(frozen=True)
class Chosen:
    """The choice for the outputs of one group, in the units of its `Scorer`.

    ``grid`` (n, Q) are the strengths of the grid, ``scores`` (n, Q) and ``by_fold`` (k, n, Q) their
    scores. ``strengths`` (Q,) are the choice and ``losses`` (Q,) the losses there. ``at_edge`` (Q,)
    is True if the choice is the first or last strength that was allowed.
    """

    grid: np.ndarray
    scores: np.ndarray
    by_fold: np.ndarray | None
    strengths: np.ndarray
    losses: np.ndarray
    at_edge: np.ndarray


def automatic_grid(scorer: Scorer) -> np.ndarray:
    """Return strengths (n, 1), from the resolution of the moments to a vanishing kernel."""
    largest = scorer.path.tridiagonal.largest or 1.0
    least = scorer.path.least
    low, high = np.log10(least), np.log10(max(LARGEST * largest, 1e3 * least))
    return np.logspace(low, high, int(A_DECADE * (high - low)) + 2)[:, None]


def strength_grids(strength: np.ndarray | None, units: CommonUnits) -> list[np.ndarray | None]:
    """Return the strengths of every group to choose from, (n, Q) or (n, 1), in ``units``.

    They are None if the strength is to be searched. A list is a grid for all outputs.
    """
    groups = len(units.outputs)
    if strength is None:
        return [None] * groups
    given = units.from_user(strength)
    given = np.sort(given if given.ndim == 2 else given[:, None], axis=0)
    return list(np.split(given, groups, axis=1)) if given.shape[1] > 1 else [given] * groups


def choose_strengths(
    scorer: Scorer, grid: np.ndarray | None, tolerance: float = TOLERANCE
) -> Chosen:
    """Choose the strength of least loss for every output.

    It is one of ``grid`` (n, Q or 1) if a grid is given. Otherwise the best strength of
    `automatic_grid` is refined until the criterion changes by less than ``tolerance``. It is not
    refined if a function scores.
    """
    strengths = automatic_grid(scorer) if grid is None else grid
    scores, by_fold = scorer.scores(strengths)
    losses, outputs = scorer.losses(scores), np.arange(scorer.path.outputs)
    best, wide = np.argmin(losses, axis=0), np.broadcast_to(strengths, losses.shape)
    best = np.where(scorer.varies, best, len(strengths) - 1)
    chosen, least = wide[best, outputs], losses[best, outputs]
    edge = ((best == 0) | (best == len(strengths) - 1)) & (len(strengths) > 1)
    inner = outputs[~edge]
    if grid is None and len(inner) and smooth(scorer.select):
        around = np.log(strengths[best[inner] + np.array([[-1], [0], [1]]), 0])
        chosen[inner], least[inner] = _refined(scorer.only(inner), around, tolerance)
    return Chosen(wide, scores, by_fold, chosen, least, edge)


def _refined(scorer: Scorer, around: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the strengths (Q,) of least loss and the losses there.

    ``around`` (3, Q) are the logarithms of three strengths of a grid, of which the middle one has
    the least loss. A finer grid is searched first, with shared strengths for all outputs of one
    place of the grid. It guards against several minima.
    """

    def loss(places: np.ndarray, mine: Scorer = scorer) -> np.ndarray:
        return mine.losses(mine.scores(np.exp(places))[0])

    def row(at: np.ndarray) -> np.ndarray:
        return loss(at[None])[0]

    places = around[0] + np.linspace(0, 1, FINER)[:, None] * (around[2] - around[0])
    outputs, losses = np.arange(around.shape[1]), loss(places)
    unit = 1.0 if scorer.select in LIKELIHOODS else 1.0 / scorer.path.rows
    # The quartic through five places of this grid is close to the minimum, unless there is none.
    best = np.clip(np.argmin(losses, axis=0), 2, FINER - 3)
    at = quartic_vertex(losses[best + np.arange(-2, 3)[:, None], outputs])
    found = places[best, outputs] + np.nan_to_num(at) * (places[1] - places[0])
    least = row(found)
    failed = np.flatnonzero(np.isnan(at) | ~(least <= losses.min(0)))
    if failed.size:
        best = np.clip(np.argmin(losses[:, failed], axis=0), 1, FINER - 2)
        low, high = (places[best + i, failed] for i in (-1, 1))
        own = partial(loss, mine=scorer.only(failed))
        found[failed], least[failed] = grid_minimum(own, low, high, COARSE * unit)
    if tolerance < COARSE:
        found, least = quartic_minimum(row, found, least, max(tolerance * unit, ROUNDED))
    return np.exp(found), least


def choose_penalty(
    scoring: Scoring, penalty: Penalty, grids: Sequence[np.ndarray | None]
) -> Penalty:
    """Return the penalty with its open hyperparameters selected, in common for all outputs.

    The loss is summed over outputs, each at its own best strength. The best of a set of safe starts
    is improved by Brent's method, or by the method of Nelder and Mead.
    """
    search = penalty.search(scoring.design.tap_lags) if penalty.open else None
    if search is None:
        return penalty
    from scipy.optimize import minimize, minimize_scalar

    known: dict[tuple[float, ...], float] = {}

    def loss(place: np.ndarray) -> float:
        key = tuple(place.tolist())
        if key not in known:
            pairs = zip(scoring.scorers(search.at(place)), grids, strict=True)
            parts = [choose_strengths(s, grid, COARSE).losses.sum() for s, grid in pairs]
            known[key] = float(np.sum(parts))
            report(len(known))
        return known[key]

    with stage("hyperparameters tried", len(search.starts) + MOST_PLACES) as report:
        start = search.starts[_first_best([loss(place) for place in search.starts])]
        if len(search.low) == 1:
            ordered = np.unique(search.starts[:, 0])
            i = int(np.argmin(np.abs(ordered - start[0])))
            low = ordered[i - 1] if i else search.low[0]
            high = ordered[i + 1] if i + 1 < len(ordered) else search.high[0]
            minimize_scalar(
                lambda at: loss(np.array([at])),
                bounds=(low, high),
                method="bounded",
                options={"xatol": PLACE_TOLERANCE},
            )
        else:
            minimize(
                loss,
                start,
                method="Nelder-Mead",
                bounds=list(zip(search.low, search.high, strict=True)),
                options={"xatol": PLACE_TOLERANCE, "fatol": 1e-4, "maxfev": MOST_PLACES},
            )
    return search.at(np.array([*known][_first_best([*known.values()])]))


def _first_best(losses: Sequence[float]) -> int:
    """Return the index of the first loss that is the smallest one to rounding."""
    values = np.array(losses)
    least = values.min()
    return int(np.argmax(values <= least + LAST_DIGITS * abs(least)))
