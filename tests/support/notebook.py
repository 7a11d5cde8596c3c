"""The notebook's problems and the kernels that made their outputs."""

from __future__ import annotations

import numpy as np

TOY_X = np.array([0, 3, 4, 5]).reshape(1, 4, 1)
TOY_Y = np.array([6, 11, 14]).reshape(1, 3, 1)
TOY_W = np.array([1.0, 2.0]).reshape(2, 1, 1)

PAIR_X = np.array(
    [[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]]
).reshape(1, 8, 2)  # fmt: skip
PAIR_Y = np.array([14, 20, 14, 15, 10, 4]).reshape(1, 6, 1)
PAIR_W = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]).reshape(3, 2, 1)

FILTERS_Y = np.array([[6, 12], [11, 25], [14, 32]]).reshape(1, 3, 2)
FILTERS_W = np.array([[1.0, 3.0], [2.0, 4.0]]).reshape(2, 1, 2)
