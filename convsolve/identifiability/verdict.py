"""The six verdicts, and which of them the factor of a design matrix calls for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..leastsquares.design import iterative, without_gram
from ..leastsquares.normal_operator import PROOF_STEPS, Normal
from ..leastsquares.system import System
from ..linalg.threads import one_blas_thread

DETERMINED = ("exactly determined", "overdetermined")

# From best to worst: with groups, or outputs that use different rows, the worst is reported.
MEANING = {
    "overdetermined": "the data determine one kernel, with rows to spare",
    "exactly determined": "the data determine one kernel, and no row is left to check it",
    "undecided": "a QR is too large to decide the rank",
    "ambiguous": "the rank depends on rounding",
    "rank-deficient": "too few equations are independent, so many kernels fit equally well",
    "underdetermined": "fewer equations than unknowns, so many kernels fit equally well",
}
SEVERITY = (*MEANING,)


def verdicts(system: System) -> tuple[tuple[str, ...], bool]:
    """Return the verdict on each group, and whether conjugate gradients proved full rank.

    Factors are computed only if neither counting nor conjugate gradients decide.
    """
    design = system.design
    sizes, groups = design.sizes, range(system.matrix.groups)
    if sizes.wide:
        return ("underdetermined",) * len(groups), False
    full = DETERMINED[sizes.rows > sizes.unknowns]
    # Where a factor would take longer, conjugate gradients may prove full rank, never deny it.
    if iterative(sizes, design.spec) and design.whole_matrix.by_fft and _proved(system, groups):
        return (full,) * len(groups), True
    found = system.factors.each(lambda f: f.verdict, None).tolist()
    undecided = [g for g in groups if found[g] is None] if None in found else []
    structured = sizes.toeplitz and without_gram(sizes, design.spec)
    proved = bool(undecided) and structured and _proved(system, undecided)
    if design.data_eps:
        for g in _lost_in_rounding(system, found):
            found[g] = "ambiguous"
    words = {None: full if proved else "undecided", "deficient": "rank-deficient", "full": full}
    return tuple(words.get(word, word) for word in found), proved


def _proved(system: System, groups: Iterable[int]) -> bool:
    """Whether conjugate gradients on a random vector prove full rank of all these groups."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"), one_blas_thread():
        return all(Normal(system, g).full_rank(PROOF_STEPS) for g in groups)


def _lost_in_rounding(system: System, words: list[str | None]) -> Iterator[int]:
    """Yield the groups of full rank up to the rounding error of the data's own type.

    The smallest singular value is below √Σ(rounding·v)² along its right singular vector v, for the
    rounding (P,) of the columns. Bounds on the singular values of all groups decide most of them.
    """
    rounding = system.column_rounding
    known = system.factors.each(lambda f: f.at_least, np.inf)
    for g in np.flatnonzero(known <= rounding.max(1)).tolist():
        if words[g] == "full":
            factor = system.factors[g]
            least = factor.singular_values[-1]
            if least < min(rounding[g].max(), np.linalg.norm(rounding[g] * factor.svd[2][-1])):
                yield g
