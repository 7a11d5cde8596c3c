"""Confounded taps: a readable basis of a null space, and its description."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

# Largest number of sentences, and of terms in one of them.
MAX_SENTENCES, MAX_TERMS = 6, 4
# Statements that name no taps, so that they can describe several sets.
MERGED = ("only their sum is determined", "only their difference is determined")
# A basis of more vectors than this is available as numbers, but not described.
MAX_VECTORS = 200


def echelon(null: np.ndarray, exponents: np.ndarray, rounding: float) -> np.ndarray:
    """Return a reduced echelon basis (k, P) of a null space ``null`` (P, k) in the user's units.

    Each vector is 1 at its own pivot tap, and 0 at the pivots of the others. A QR with column
    pivoting selects the pivots, so that no other entry is large. ``null`` refers to columns
    multiplied by ``2**-exponents``. Its entries below ``rounding`` are zeros.
    """
    from scipy.linalg import qr

    k = null.shape[1]
    if not k:
        return np.zeros((0, null.shape[0]))
    pivots = np.sort(qr(null.T, mode="r", pivoting=True)[1][:k])
    basis = np.linalg.solve(null[pivots].T, null.T)
    basis[np.abs(basis) <= rounding] = 0.0
    basis[:, pivots] = np.eye(k)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(basis, exponents[pivots][:, None] - exponents)


def _components(basis: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (vectors, taps) of the parts of a basis that share no tap, by their first taps."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    support = csr_array(basis != 0, dtype=float)
    parts, label = connected_components(support @ support.T, directed=False)
    vectors = [np.flatnonzero(label == part) for part in range(parts)]
    found = [(rows, np.flatnonzero(basis[rows].any(axis=0))) for rows in vectors]
    return sorted(found, key=lambda part: int(part[1][0]))


def sentences(basis: np.ndarray, names: Callable[[Sequence[int]], str]) -> list[str]:
    """Describe which taps a reduced echelon ``basis`` (k, P) leaves undetermined, part by part.

    ``names`` returns the labels of taps given by their numbers.
    """
    # The squares of larger entries would leave float64.
    basis = np.clip(basis, -1e150, 1e150)
    parts = _components(basis)
    unseen = [int(taps[0]) for _, taps in parts if len(taps) == 1]
    found = []
    if unseen:
        found.append(f"{names(unseen)} never reach{'es' if len(unseen) == 1 else ''} y")
    alike: dict[tuple[str, int, tuple[int, ...]], list[int]] = {}
    for vectors, taps in parts:
        if len(taps) > 1:
            words = _determined(basis[np.ix_(vectors, taps)], taps.tolist(), names)
            # Sets that differ in their taps only are described together.
            own = () if words in MERGED else tuple(taps.tolist())
            alike.setdefault((words, len(taps), own), []).extend(taps.tolist())
    for (words, size, _), members in alike.items():
        several = len(members) // size
        if several > 1:
            noun = "pairs" if size == 2 else "sets"
            words = words.replace("their", "the").replace(" is ", f" of each {noun[:-1]} is ")
            found.append(
                f"{names(members)} are collinear in {several} {noun}: {words} (first "
                f"{noun[:-1]}: {names(members[:size])})"
            )
        else:
            found.append(f"{names(members)} are collinear: {words}")
    if len(found) > MAX_SENTENCES:
        more = len(found) - MAX_SENTENCES + 1
        found[MAX_SENTENCES - 1 :] = [f"and {more} more such sets of taps"]
    return found


def _determined(
    part: np.ndarray, taps: Sequence[int], names: Callable[[Sequence[int]], str]
) -> str:
    """Return what the data determine of some collinear taps."""
    free, size = part.shape
    if size - free > 1:
        text = f"only {size - free} combinations of these {size} are determined"
        short = [v for v in part if np.count_nonzero(v) <= MAX_TERMS]
        if short:
            at = np.flatnonzero(short[0])
            change = _combination(short[0][at], [taps[i] for i in at.tolist()], names)
            text += f"; any multiple of {change} changes nothing"
        return text
    # The one combination that the data determine is orthogonal to every null vector.
    seen = np.linalg.svd(part / np.linalg.norm(part, axis=1, keepdims=True))[2][-1]
    # Not half of the largest, which for a doubled channel would leave the choice to rounding.
    seen = seen / seen[np.argmax(np.abs(seen) > 0.51 * np.abs(seen).max())]
    if np.allclose(seen, 1.0, rtol=1e-6):
        return MERGED[0]
    if size == 2 and np.isclose(seen[1], -1.0, rtol=1e-6):
        return MERGED[1]
    faint = np.abs(seen).min() < 1e-3 * np.abs(seen).max()
    what = (
        "one combination of them" if faint or size > MAX_TERMS else _combination(seen, taps, names)
    )
    return f"only {what} is determined"


def _combination(
    weights: np.ndarray, taps: Sequence[int], names: Callable[[Sequence[int]], str]
) -> str:
    """Return a linear combination as a text, for example ``2·(lag 0) − (lag 1)``."""
    text = ""
    for weight, tap in zip(weights, taps, strict=True):
        size = "" if np.isclose(abs(weight), 1.0, rtol=1e-6) else f"{abs(weight):.3g}·"
        sign = "−" if weight < 0 else "+"
        joint = f" {sign} " if text else sign.strip("+")
        text += f"{joint}{size}({names([tap])})"
    return text
