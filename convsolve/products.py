"""Products with a design matrix and its transpose, without the matrix, by block FFTs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .records import by_channel
from .series import Series, Turn, side_by_side, summed, turns


class _Operator:
    """A and its adjoint turn by turn, by FFTs along every axis."""

    def __init__(self, x: Series, taps: Sequence[int], outputs: int) -> None:
        from scipy.fft import next_fast_len

        self.x, self.taps = x, tuple(taps)
        self.between = x.data.shape[2:-1]
        self.rows = tuple(n - k + 1 for n, k in zip(x.data.shape[1:-1], taps, strict=True))
        self.sizes = tuple(next_fast_len(n, real=False) for n in self.between)
        self.axes = (*range(3, 3 + len(self.between)), 0)
        width = math.prod(self.sizes) * (x.data.shape[-1] + outputs)
        self.turns = turns(x.data.shape, self.rows[0], taps[0], width)

    def spectra(self, pieces: np.ndarray, turn: Turn) -> np.ndarray:
        """(f, *F', n·blocks, C) of pieces (length, n, blocks, *L', C)."""
        from scipy.fft import rfftn

        found = rfftn(pieces, (*self.sizes, turn.size), self.axes, workers=turn.workers)
        found = found.reshape(found.shape[0], -1, *found.shape[3:])
        return np.moveaxis(found, 1, -2)

    def kernel_spectrum(self, w: np.ndarray) -> np.ndarray:
        """(f, *F', C, Q), conjugate, of w (*K, C, Q)."""
        from scipy.fft import rfftn

        axes = (*range(1, len(self.taps)), 0)
        return rfftn(w, (*self.sizes, self.turns[0].size), axes).conj()

    def product(self, spectrum: np.ndarray, turn: Turn) -> tuple[np.ndarray, np.ndarray]:
        """Spectra of the x of a turn, and A w (n, t, *T', Q) there."""
        seen = self.spectra(turn.pieces(turn.read(self.x, turn.size), turn.size), turn)
        found = self.samples(seen @ spectrum, turn)
        return seen, found[:, : self.rows[0] - turn.start]

    def samples(self, found: np.ndarray, turn: Turn) -> np.ndarray:
        """(n, blocks·step, *T', Q) of spectra (f, *F', n·blocks, Q)."""
        from scipy.fft import irfftn

        n, q = found.shape[-2] // turn.blocks, found.shape[-1]
        found = np.moveaxis(found, -2, 1)
        axes = (*range(2, found.ndim - 1), 0)
        found = irfftn(found, (*self.sizes, turn.size), axes, workers=turn.workers)
        inside = (slice(turn.step), slice(None), *map(slice, self.rows[1:]))
        found = np.moveaxis(found[inside], 0, 1)
        return found.reshape(n, turn.blocks * turn.step, *self.rows[1:], q)

    def taps_of(self, total: np.ndarray) -> np.ndarray:
        """(*K, C, Q) of a cross spectrum (f, *F', C, Q)."""
        from scipy.fft import irfftn

        axes = (*range(1, len(self.taps)), 0)
        found = irfftn(total, (*self.sizes, self.turns[0].size), axes)
        return found[tuple(map(slice, self.taps))]


def products(x: Series, w: np.ndarray) -> Iterator[np.ndarray]:
    """A w for w (*K, C, Q), as (n, t, *T', Q) pieces in the order of the turns."""
    operator = _Operator(x, w.shape[:-2], w.shape[-1])
    spectrum = operator.kernel_spectrum(w)
    yield from side_by_side(lambda turn: operator.product(spectrum, turn)[1], operator.turns)


class Misfit(NamedTuple):
    """Σr² (Q,), Aᵀr (*K, C, Q) and rᵀ1 (Q,) of residuals r."""

    squares: np.ndarray
    gradient: np.ndarray
    sums: np.ndarray


def misfit(x: Series, y: Series | None, w: np.ndarray, offset: np.ndarray | float = 0.0) -> Misfit:
    """Of r = y - offset - A w for w (*K, C, Q), in one pass; without y, of the zero output."""
    operator = _Operator(x, w.shape[:-2], w.shape[-1])
    spectrum = operator.kernel_spectrum(w)

    def of(turn: Turn) -> tuple[np.ndarray, ...]:
        seen, found = operator.product(spectrum, turn)
        r = np.zeros((found.shape[0], turn.blocks * turn.step, *found.shape[2:]))
        inside = r[:, : found.shape[1]]
        if y is not None:
            y.fill(inside, turn.records, turn.start)
        inside -= found
        inside -= offset
        sums = by_channel(np.add, inside, np.square), by_channel(np.add, inside)
        # x times the conjugate of r, where a correlation has it the other way round.
        back = operator.spectra(turn.pieces(r, turn.step), turn).conj()
        return seen.swapaxes(-1, -2) @ back, *sums

    gradient, squares, sums = summed(of, operator.turns)
    return Misfit(squares, operator.taps_of(gradient), sums)
