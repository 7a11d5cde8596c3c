"""A recording that is not in memory: from a file, from a cluster of two processes, and resumed.

Half a gigabyte of sixteen channels is written to HDF5 and solved from there; then by dask, whose
chunks two processes read; then once more, killed halfway and gone on with.

Run: python examples/12_beyond_memory.py (pip install 'convsolve[hdf5,zarr,dask]')
"""

import tempfile
from pathlib import Path

import dask.array as da
import h5py
import numpy as np
import zarr
from distributed import Client, LocalCluster

import convsolve as cs

SAMPLES, CHANNELS, TAPS, CHUNK = 4_000_000, 16, 40, 2**18


def write(folder: Path) -> np.ndarray:
    """A recording in HDF5 and zarr; the kernel of it, lags ascending."""
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


class Killed(Exception):
    """What ends the third run halfway."""


class Fragile:
    """A file that is read up to some row, once."""

    def __init__(self, source: h5py.Dataset, row: int) -> None:
        self.source, self.row, self.passes = source, row, 0
        self.shape, self.dtype = source.shape, source.dtype

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        self.passes += key[0].start == 0
        # The first pass checks the values, the second sums.
        if self.passes == 2 and key[0].stop > self.row:
            raise Killed
        return self.source[key]


def main() -> None:
    lags = (0, TAPS - 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = write(folder)
        with h5py.File(folder / "data.h5") as file:
            x, y = file["x"], file["y"]
            fit = cs.solve(cs.Problem.from_lags(x, y, lags=lags, edges="zeros"))
            off = np.abs(fit.impulse_response - truth).max()
            print(f"HDF5: {fit.status}, R² {fit.score().r2[0]:.4f}, largest error {off:.4f}")

            root = zarr.open_group(folder / "data.zarr", mode="r")
            with (
                LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
                Client(cluster),
            ):
                chunks = (da.from_zarr(root[k]) for k in "xy")
                there = cs.solve(cs.Problem.from_lags(*chunks, lags=lags, edges="zeros"))
            off = np.abs(there.kernel - fit.kernel).max() / np.abs(fit.kernel).max()
            print(f"two processes: {there.status}, off by {off:.0e} of the kernel")

            problem = cs.Problem.from_lags(Fragile(x, SAMPLES // 2), y, lags=lags, edges="zeros")
            try:
                cs.solve(problem, checkpoint=folder / "fit.ckpt")
            except Killed:
                kept = (folder / "fit.ckpt").stat().st_size
                print(f"killed halfway: a checkpoint of {kept // 1000} kB is left")
            problem = cs.Problem.from_lags(x, y, lags=lags, edges="zeros")
            again = cs.solve(problem, checkpoint=folder / "fit.ckpt")
            same = np.array_equal(again.kernel, fit.kernel)
            print(f"resumed: {again.status}, {'bit for bit' if same else 'not'} the same kernel")


if __name__ == "__main__":
    main()
