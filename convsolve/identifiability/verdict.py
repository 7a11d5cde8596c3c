"""The six verdicts, and which of them the factor of a design matrix calls for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..leastsquares.normal_operator import normal_equations
from ..leastsquares.system import System
from ..linalg.factor import Factor
from ..linalg.rank import least_certified

DETERMINED = ("exactly determined", "overdetermined")

# Steps of conjugate gradients on a random vector within which full rank is to be proved.
MAX_PROOF_STEPS = 100

# From best to worst: with groups, the worst speaks.
SEVERITY = (*reversed(DETERMINED), "undecided", "ambiguous", "rank-deficient", "underdetermined")


def verdicts(system: System, factors: Callable[[], Sequence[Factor | None]]) -> tuple[str, ...]:
    """The verdict on the design matrix of each group; None for a factor beyond the memory limit.

    Factors are asked for only where counting does not decide, nor a solver has proved full rank.
    """
    prepared = system.prepared
    problem = prepared.problem
    if problem.n_equations < problem.n_unknowns:
        return ("underdetermined",) * prepared.groups
    full = DETERMINED[0 if problem.n_equations == problem.n_unknowns else 1]
    if prepared.proved:
        return (full,) * prepared.groups
    found = [_by_factor(system, g, f) for g, f in enumerate(factors())]
    if None in found and problem.spec.ndim == 1:
        # Where no factor fits, conjugate gradients may prove full rank, but never the contrary.
        for g, normal in enumerate(normal_equations(system)):
            if found[g] is None and normal.full_rank(MAX_PROOF_STEPS):
                found[g] = "full"
    names = {None: "undecided", "deficient": "rank-deficient", "full": full}
    return tuple(names.get(word, str(word)) for word in found)


def _by_factor(system: System, group: int, factor: Factor | None) -> str | None:
    """What the factor of a group says: "full", "deficient" or "ambiguous"; None without one."""
    if factor is None:
        return None
    found = "full" if factor.source == "gram" else factor.band.verdict
    return "ambiguous" if found == "full" and _lost_in_rounding(system, group, factor) else found


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
