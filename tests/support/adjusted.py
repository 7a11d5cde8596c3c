"""Records with masks, weights and confounds, and the dense rows [A N y] of their fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dask.array
import numpy as np

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense

TAPS, CHANNELS, OUTPUTS = 4, 2, 2
LENGTHS = (260, 220, 3)
W = np.random.default_rng(3).standard_normal((TAPS, CHANNELS, OUTPUTS))
CHUNKS = Tuning(held_numbers=0, chunk_numbers=500)
ROUTES: dict[str, tuple[Callable[[np.ndarray], Any], Tuning]] = {
    "memory": (lambda a: a, Tuning()),
    "chunks": (lambda a: a, CHUNKS),
    "dask": (lambda a: dask.array.from_array(a, chunks=(70, 1)), CHUNKS),
}


def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    walks = [rng.standard_normal((n, CHANNELS)).cumsum(0) / 9 for n in LENGTHS]
    return [walk + offset for walk, offset in zip(walks, (0, 50, 0), strict=True)]


class Adjusted:
    """A problem of three records, with the adjustments that a case describes.

    Its keys are those of `convsolve.Problem`. ``mask`` is the share of rows that are masked, or
    "each" for a mask of every output. ``confounds`` is True for columns given as arrays.
    """

    def __init__(
        self, case: dict[str, Any], noise: Callable[[np.random.Generator, Any], np.ndarray]
    ) -> None:
        self.spec = cs.ConvSpec(TAPS, case.get("stride", 1), case.get("padding", "valid"))
        self.x, self.y, rng = inputs(), [], np.random.default_rng(4)
        for x in self.x:
            clean = cs.convolve(x, W, self.spec)
            self.y.append(clean + noise(rng, clean.shape) + 100)
        self.bias, self.weights = case.get("bias", False), case.get("weights")
        self.case, self.motion = case, None
        if case.get("confounds"):
            columns = np.random.default_rng(6)
            self.motion = [columns.standard_normal((len(b), 1)) + 1 for b in self.y]
        self.used, self.own = self._used(), self._own()

    def _used(self) -> list[np.ndarray]:
        """Return flags (T, OUTPUTS) of the rows that are used."""
        rng, share = np.random.default_rng(5), self.case.get("mask", 0.0)
        if share == "each":
            return [rng.random(b.shape) > 0.05 for b in self.y]
        return [np.repeat(rng.random((len(b), 1)) > share, OUTPUTS, 1) for b in self.y]

    def _own(self) -> list[np.ndarray]:
        """Return the nuisance columns of every record, without a bias."""
        powers = np.arange(self.case.get("drift", -1) + 1)
        found = [np.linspace(-1, 1, len(b))[:, None] ** powers for b in self.y]
        if self.motion is not None:
            found = [np.column_stack(pair) for pair in zip(found, self.motion, strict=True)]
        return found

    def problem(self, store: Callable[[np.ndarray], Any]) -> cs.Problem:
        given: dict[str, Any] = {"bias": self.bias, "weights": self.weights}
        if "mask" in self.case:
            each = self.case["mask"] == "each"
            given["mask"] = [f if each else f[:, 0] for f in self.used]
        given |= {"drift": self.case.get("drift"), "confounds": self.motion}
        return cs.Problem([*map(store, self.x)], [*map(store, self.y)], spec=self.spec, **given)

    def rows(self, o: int) -> Iterator[tuple[float, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield the rows of every record, before they are weighted.

        Yields:
            The root of the weight, flags (n,) of the rows used, [A N] (n, k) and y (n,).
        """
        size, width = TAPS * CHANNELS, self.own[0].shape[1]
        for r, (x, y, own, used) in enumerate(
            zip(self.x, self.y, self.own, self.used, strict=True)
        ):
            both = np.zeros((len(y), size + len(self.x) * width + self.bias))
            both[:, :size] = dense.design_matrix([x], self.spec)[0]
            both[:, size + r * width : size + (r + 1) * width] = own
            both[:, both.shape[1] - self.bias :] = 1.0
            root = 1.0 if self.weights is None else float(np.sqrt(self.weights[r]))
            yield root, used[:, o], both, y[:, o]
