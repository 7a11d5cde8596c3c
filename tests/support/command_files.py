"""Files that command lines read, and the arrays in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io import wavfile

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
Y = np.array([14, 20, 14, 15, 10, 4])
OUT = np.convolve(X[:, 0], [1, 0.5])[:8]
TONE = np.array([0.0, 1, 0, -1])[np.arange(40) % 4]

_RNG = np.random.default_rng(0)
NOISY_X, NOISY_Y = _RNG.standard_normal((2, 60))
# Four records of two channels, and the response by five taps.
TRIALS_X, KERNEL = _RNG.standard_normal((4, 90, 2)), _RNG.standard_normal((5, 2))
TRIALS_Y = sum(
    np.stack([np.convolve(a[:, c], KERNEL[:, c])[:90] for a in TRIALS_X]) for c in (0, 1)
)[..., None] + 0.3 * _RNG.standard_normal((4, 90, 1))
# Two functions of three lags.
FUNCTIONS = np.eye(3)[:, :2]
MATRIX = np.eye(5) + np.eye(5, k=1)
# A record with outliers in y.
OUTLIERS_X = _RNG.standard_normal((90, 1))
OUTLIERS_Y = np.convolve(OUTLIERS_X[:, 0], [1.0, -0.5, 0.25, 2.0])[:90, None]
OUTLIERS_Y = OUTLIERS_Y + 0.1 * _RNG.standard_normal((90, 1))
OUTLIERS_Y[::11] += 40
# Two records with a gap in x, and arrays with one entry per row of y.
GAPS_X, GAPS_Y = _RNG.standard_normal((2, 90, 1)), _RNG.standard_normal((2, 90, 2))
GAPS_X[0, 40] = np.nan
MASK, MASKS = _RNG.random((2, 90)) > 0.1, _RNG.random((2, 90, 2)) > 0.1
WEIGHTS, OF_RECORDS = _RNG.uniform(1, 2, (2, 90)), np.array([1.0, 3.0])
MOTION = _RNG.standard_normal((2, 90, 2))
# A table of two inputs and two outputs.
EEG = _RNG.standard_normal((200, 4))
EEG[1:, 2:] += EEG[:-1, :2]
SOUND = _RNG.uniform(-0.3, 0.3, 400)

ARRAYS: dict[str, np.ndarray] = {
    "x": X, "y": Y, "kernel": KERNEL[::-1], "matrix": MATRIX, "gaps_x": GAPS_X, "gaps_y": GAPS_Y,
    "mask": MASK, "masks": MASKS, "weights": WEIGHTS, "records": OF_RECORDS, "motion": MOTION,
    "functions": FUNCTIONS, "start": KERNEL[::-1, :, None],
}  # fmt: skip
ARCHIVES: dict[str, dict[str, Any]] = {
    "full": {"x": X, "y": Y, "note": "left alone"},
    "short": {"x": X[:7], "y": Y[:5]},
    "tone": {"x": TONE, "y": np.arange(40.0)},
    "noisy": {"x": NOISY_X, "y": NOISY_Y[:57]},
    "trials": {"x": TRIALS_X, "y": TRIALS_Y},
    "outliers": {"x": OUTLIERS_X, "y": OUTLIERS_Y},
}
TABLES: dict[str, tuple[np.ndarray, str]] = {
    "x": (X, ""),
    "y": (Y, ""),
    "table": (np.column_stack([X, OUT]), "left,right,out"),
    "eeg": (EEG, "envelope,pitch,Fz,Cz"),
    "ab": (EEG[:, :2], "a,b"),
    "uv": (EEG[:, 2:], "# u,v"),
}
TEXTS = {
    "svd.toml": 'kernel_size = 3\nsolver = "svd"\nridge = 0.5\n[solve]\njson = true\n',
    "robust.toml": (
        '\ufefflags = [0, 3]\nbias = true\nmethods = ["qr"]\n'
        '[solve]\nloss = "huber(2, scale=0.2)"\n[compare]\njson = true\n'
    ),
    "sparse.toml": (
        'lags = [0, 4]\nedges = "zeros"\npenalty = "Lasso(channel_groups=(0, 1), ridge=2)"\n'
        'grid = [2, 20]\nselect = "cv2"\n'
    ),
}


def write_files(folder: Path) -> None:
    """Write all files."""
    for name, array in ARRAYS.items():
        np.save(folder / f"{name}.npy", array)
    for name, arrays in ARCHIVES.items():
        np.savez(folder / f"{name}.npz", **arrays)
    for name, (array, header) in TABLES.items():
        np.savetxt(folder / f"{name}.csv", array, delimiter=",", header=header, comments="")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    scipy.io.savemat(folder / "a.mat", {"x": X, "y": Y})
    for name, rate in (("noise", 8000), ("heard", 8000), ("slow", 4000)):
        wavfile.write(folder / f"{name}.wav", rate, SOUND)
