"""The six verdicts, and which of them the factor of a design matrix calls for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..leastsquares.design import iterative, without_gram
from ..leastsquares.normal_operator import PROOF_STEPS, Normal
from ..leastsquares.system import System
from ..linalg.factor import Factor
from ..linalg.threads import one_blas_thread

DETERMINED = ("exactly determined", "overdetermined")

# From best to worst: with groups, the worst speaks.
SEVERITY = (*reversed(DETERMINED), "undecided", "ambiguous", "rank-deficient", "underdetermined")


def verdicts(system: System) -> tuple[tuple[str, ...], str]:
    """Return the verdict on the design matrix of each group, and one of `METHODS` that decided.

    Factors are computed only if neither counting nor conjugate gradients decide.
    """
    design = system.design
    sizes, groups = design.sizes, range(system.matrix.groups)
    if sizes.wide:
        return ("underdetermined",) * sizes.groups, "factor"
    full = DETERMINED[0 if sizes.rows == sizes.unknowns else 1]
    # Where a factor would take longer, conjugate gradients may prove full rank, never deny it.
    if iterative(sizes, design.spec) and design.whole_matrix.by_fft and _proved(system, groups):
        return (full,) * sizes.groups, "conjugate gradients"
    found = _of_each(system)
    method, open_groups = "factor", []
    if None in found:
        open_groups = [g for g, word in enumerate(found) if word is None]
    structured = sizes.toeplitz and without_gram(sizes, design.spec)
    if open_groups and structured and _proved(system, open_groups):
        method = "conjugate gradients"
        found = [word or "full" for word in found]
    names = {None: "undecided", "deficient": "rank-deficient", "full": full}
    names["ambiguous"] = "ambiguous"
    return tuple(map(names.__getitem__, found)), method


def _proved(system: System, groups: Iterable[int]) -> bool:
    """Whether conjugate gradients on a random vector prove full rank of all these groups."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"), one_blas_thread():
        return all(Normal(system, g).full_rank(PROOF_STEPS) for g in groups)


def _of_each(system: System) -> list[str | None]:
    """Return the verdict on the factor of every group. Bounds on all groups decide most of them.

    A factor that exceeds the limits is None.
    """
    found = system.factors.each(lambda f: f.verdict, None).tolist()
    if system.design.data_eps:
        rounding = system.column_rounding
        proved = system.factors.each(lambda f: f.at_least, 0.0) > rounding.max(1)
        for g in () if proved.all() else np.flatnonzero(~proved).tolist():
            if found[g] == "full" and _lost_in_rounding(system.factors[g], rounding[g]):
                found[g] = "ambiguous"
    return found


def _lost_in_rounding(factor: Factor, rounding: np.ndarray) -> bool:
    """Return whether the smallest singular value is below the rounding of the data's own type.

    It is √Σ(rounding·v)² along the right singular vector v, for the rounding (P,) of the columns.
    """
    smallest = factor.singular_values[-1]
    if smallest >= rounding.max():
        return False
    return bool(smallest < np.linalg.norm(rounding * factor.svd[2][-1]))
