"""Solves a problem under a checkpoint, and kills its own process at the n-th reading of x.

    python interrupted.py DATA.npz CHECKPOINT ANSWER.npy NTH

With NTH 0 it runs to its end and writes the kernel and the bias, one after the other.
"""

from __future__ import annotations

import os
import signal
import sys

import numpy as np

import convsolve as cs
from convsolve import checkpoint
from convsolve.problem.sizes import Limits


class Deadly:
    """An array of which slices are read, and the n-th reading is the last."""

    def __init__(self, array: np.ndarray, nth: int) -> None:
        self._array, self._left = array, nth
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: object) -> np.ndarray:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._array[key]


def main(data: str, path: str, answer: str, nth: str) -> None:
    # After every chunk, however fast the disk.
    checkpoint.MOST_SHARE = float("inf")
    with np.load(data) as arrays:
        x, y = Deadly(arrays["x"], int(nth)), arrays["y"]
        problem = cs.Problem(x, y, kernel_size=5, bias=True)
        fit = cs.solve(problem, checkpoint=path, limits=Limits(held_numbers=100, chunk_numbers=400))
    np.save(answer, np.append(fit.kernel, fit.bias))


if __name__ == "__main__":
    main(*sys.argv[1:])
