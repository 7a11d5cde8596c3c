"""
A recording that is not in memory
=================================

Solved from a file and from a cluster of two processes.

Sixteen channels are written to HDF5 and solved from the file, block by block. Then dask reads the
chunks in two processes.

Run: ``python examples/12_beyond_memory.py [PICTURE.png]``

It needs the extras plot, hdf5, zarr and dask.
"""

import tempfile
from pathlib import Path

import dask.array as da
import h5py
import numpy as np
import zarr
from distributed import Client, SubprocessCluster

import convsolve as cs

SAMPLES, CHANNELS, TAPS, CHUNK = 2_200_000, 16, 40, 2**18
LAGS = (0, TAPS - 1)

# %%
# The recording
# -------------
# The recording is in HDF5 and in zarr. x has over 2²⁵ numbers, so it is read in blocks.


def write(folder: Path) -> np.ndarray:
    """A recording in HDF5 and zarr, and its kernel in ascending lags."""
    rng = np.random.default_rng(0)
    kernel = np.exp(-np.arange(TAPS) / 8)[:, None] * rng.standard_normal(CHANNELS)
    x = rng.standard_normal((SAMPLES, CHANNELS), dtype=np.float32)
    y = cs.convolve(x, kernel[::-1, :, None], cs.ConvSpec(TAPS, padding="causal"))
    y += rng.standard_normal(y.shape, dtype=np.float32)
    root = zarr.open_group(folder / "data.zarr", mode="w")
    with h5py.File(folder / "data.h5", "w") as file:
        for name, array in (("x", x), ("y", y)):
            file[name] = array
            root.create_array(name, data=array, chunks=(CHUNK, array.shape[1]))
    return kernel


temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
truth = write(folder)

# %%
# From a file
# -----------
# The dataset itself is passed. No values are read before the solve.

file = h5py.File(folder / "data.h5")
x, y = file["x"], file["y"]
fit = cs.solve(cs.Problem(x, y, lags=LAGS, edges="zeros"))
off = np.abs(fit.impulse_response - truth).max()
print(f"HDF5: {fit.status}, R² {fit.score().r2[0]:.4f}, largest error {off:.4f}")

# %%

figure = cs.plot(fit)

# %%
# From a cluster
# --------------
# Every process sums its own chunks, and only the sums are transferred.

root = zarr.open_group(folder / "data.zarr", mode="r")
with SubprocessCluster(n_workers=2, worker_kwargs={"nthreads": 1}) as cluster, Client(cluster):
    chunks = (da.from_zarr(root[k]) for k in "xy")
    there = cs.solve(cs.Problem(*chunks, lags=LAGS, edges="zeros"))
off = np.abs(there.kernel - fit.kernel).max() / np.abs(fit.kernel).max()
print(f"two processes: {there.status}, off by {off:.0e} of the kernel")
file.close()
temporary.cleanup()

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
