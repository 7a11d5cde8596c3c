"""The six verdicts, and which of them the factor of a design matrix calls for."""

from __future__ import annotations

import numpy as np

from .factor import Factor
from .system import System

DETERMINED = ("exactly determined", "overdetermined")

# From best to worst: with groups, the worst speaks.
SEVERITY = (*reversed(DETERMINED), "undecided", "ambiguous", "rank-deficient", "underdetermined")


def verdict(system: System, group: int, factor: Factor | None) -> str:
    """The verdict on the design matrix of one group; None for a factor that memory forbids."""
    problem = system.prepared.problem
    if problem.n_equations < problem.n_unknowns:
        return "underdetermined"
    if factor is None:
        return "undecided"
    found = "full" if factor.source == "gram" else factor.band.verdict
    if found == "full" and problem.data_eps:
        smallest = factor.singular_values[-1]
        found = "ambiguous" if smallest < _rounding(system, group) else found
    exact = problem.n_equations == problem.n_unknowns
    names = {"deficient": "rank-deficient", "full": DETERMINED[0 if exact else 1]}
    return names.get(found, found)


def _rounding(system: System, group: int) -> float:
    """Singular values below this can come from the rounding of the data's own type."""
    prepared = system.prepared
    mean, rest, _, _ = prepared.centre
    whole = np.hypot(prepared.column_norms, np.sqrt(prepared.n) * (mean + rest))
    scaled = np.ldexp(whole[group], -system.turn[group])
    return float(prepared.problem.data_eps * scaled.max())
