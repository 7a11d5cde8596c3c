"""The six verdicts, and which of them the factor of a design matrix calls for."""

from __future__ import annotations

import numpy as np

from .factor import Factor, least_certified
from .kernel_space import normal_equations
from .system import System

DETERMINED = ("exactly determined", "overdetermined")

# Steps of conjugate gradients on a random vector in which full rank is to be proved.
PROOF_STEPS = 100

# From best to worst: with groups, the worst speaks.
SEVERITY = (*reversed(DETERMINED), "undecided", "ambiguous", "rank-deficient", "underdetermined")


def verdict(system: System, group: int, factor: Factor | None) -> str:
    """The verdict on the design matrix of one group; None for a factor that memory forbids."""
    problem = system.prepared.problem
    if problem.n_equations < problem.n_unknowns:
        return "underdetermined"
    exact = problem.n_equations == problem.n_unknowns
    if factor is None:
        # Where no factor fits, conjugate gradients may still prove full rank, never deny it.
        long = problem.spec.ndim == 1 and normal_equations(system)[group].full_rank(PROOF_STEPS)
        return DETERMINED[0 if exact else 1] if long else "undecided"
    found = "full" if factor.source == "gram" else factor.band.verdict
    if found == "full" and _lost_in_rounding(system, group, factor):
        found = "ambiguous"
    names = {"deficient": "rank-deficient", "full": DETERMINED[0 if exact else 1]}
    return names.get(found, found)


def _lost_in_rounding(system: System, group: int, factor: Factor) -> bool:
    """Whether the smallest singular value is less than the rounding of the data's own type.

    Along its right vector v that makes eps·√Σ(‖column‖·v)², the columns not centred: an offset
    that a bias takes off has left its rounding behind.
    """
    prepared = system.prepared
    if not prepared.problem.data_eps:
        return False
    mean, rest, _, _ = prepared.centre
    offset = np.sqrt(prepared.n) * (mean[group] + rest[group])
    whole = np.hypot(prepared.column_norms[group], offset)
    rounding = prepared.problem.data_eps * np.ldexp(whole, -system.turn[group])
    # The certificate of a Gram is a bound from below, which mostly spares the spectrum.
    if factor.source == "gram" and rounding.max() < least_certified(len(rounding)):
        return False
    smallest = factor.singular_values[-1]
    if smallest >= rounding.max():
        return False
    return bool(smallest < np.linalg.norm(rounding * factor.svd[2][-1]))
