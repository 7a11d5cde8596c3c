"""Products with a design matrix of few taps of one channel: windows side by side, by BLAS.

B windows that follow each other read S = B + K - 1 samples. With such pieces of x as rows X (n, S),
A w is X times a band of S × B that holds w in every column, one lower in each; and of AᵀA and Aᵀy
an entry is the sum along a diagonal of YᵀX (B, S), for y in pieces Y (n, B). This takes B + K
products for every K that are needed, but BLAS is so fast that an FFT takes longer for few taps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..linalg.channels import by_channel
from .overlap_save import Batch, Series, batches, summed

# Beyond so many taps FFTs are faster, with one output and with several.
FEW_TAPS = 48
# Windows of a piece: measured from 8 to 128, for 8 to 48 taps.
STEP = 32


def short(x: Series, taps: Sequence[int]) -> bool:
    """Whether this is the faster way."""
    return len(taps) == 1 and x.data.shape[-1] == 1 and taps[0] <= FEW_TAPS


class ShortOperator:
    """A and its adjoint batch by batch."""

    def __init__(self, x: Series, taps: Sequence[int], outputs: int) -> None:
        self.x, self.taps = x, tuple(taps)
        self.rows = (x.data.shape[1] - taps[0] + 1,)
        self.batches = batches(x.data.shape, self.rows[0], taps[0], 1 + outputs, STEP)

    def of_kernel(self, w: np.ndarray) -> np.ndarray:
        """Return the band (S, B·Q) of w (K, 1, Q)."""
        step, size, outputs = self.batches[0].step, self.batches[0].size, w.shape[-1]
        found = np.zeros((size, step, outputs))
        _diagonals(found, len(w))[...] = w
        return found.reshape(size, -1)

    def seen(self, batch: Batch) -> np.ndarray:
        """X (n, S) of a batch."""
        return batch.pieces(self.x, batch.size)[..., 0]

    def product(self, band: np.ndarray, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """X of a batch, and A w in pieces (n, B, Q) there."""
        seen = self.seen(batch)
        found = seen @ band
        return seen, found.reshape(len(seen), batch.step, band.shape[1] // batch.step)

    def outputs(self, y: Series, batch: Batch) -> np.ndarray:
        """Pieces (n, B, Q) of outputs."""
        return batch._replace(size=batch.step).pieces(y, batch.step)

    def crossed(self, seen: np.ndarray, y: np.ndarray, batch: Batch) -> np.ndarray:
        """YᵀX (B·Q, S) of a batch, for pieces y."""
        return y.reshape(len(y), batch.step * y.shape[-1]).T @ seen

    def taps_of(self, total: np.ndarray) -> np.ndarray:
        """Aᵀy (K, 1, Q) of such a sum over all batches."""
        step, size = self.batches[0].step, self.batches[0].size
        by_output = total.reshape(step, len(total) // step, size).transpose(2, 0, 1)
        return _diagonals(by_output, self.taps[0]).sum(1, keepdims=True)


def _diagonals(a: np.ndarray, taps: int) -> np.ndarray:
    """Return the view [k, b, q] (K, B, Q) of the entries [b + k, b, q] of a (S, B, Q)."""
    down, along, output = a.strides
    shape = taps, a.shape[1], a.shape[2]
    return np.lib.stride_tricks.as_strided(a, shape, (down, down + along, output))


def short_correlations(x: Series, y: Series | None, taps: int) -> tuple[np.ndarray, ...]:
    """Return Σ x[u]x[u+m] (1, K, 1), Aᵀy (K, 1, Q), and sums of y and of its squares.

    u are the rows, and u + m starts at K - 1.
    """
    outputs = 0 if y is None else y.data.shape[-1]
    operator = ShortOperator(x, (taps,), outputs)

    def of(batch: Batch) -> tuple[np.ndarray, ...]:
        seen, found = operator.seen(batch), []
        if y is not None:
            out = operator.outputs(y, batch)
            sums = by_channel(np.add, out), by_channel(np.add, out, np.square)
            found = [operator.crossed(seen, out, batch), *sums]
        # The same samples on the left, but for those in which no window begins.
        left = seen[:, : batch.step, None].copy()
        batch.cut(left, operator.rows[0])
        batch.skip(seen, taps - 1)
        return operator.crossed(seen, left, batch), *found

    core, *rest = summed(of, operator.batches)
    rhs, *sums = rest or (core[:0], np.zeros(0), np.zeros(0))
    return operator.taps_of(core).transpose(1, 0, 2), operator.taps_of(rhs), *sums
