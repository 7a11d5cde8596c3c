"""Addresses of files, and of arrays in files: FILE.h5:path, FILE.mat:variable, FILE.zarr/path."""

# No numpy here: the command line reads addresses before it runs a command.
from __future__ import annotations

import re
from pathlib import Path

# An HDF5 file, and the path of a dataset in it.
HDF5 = re.compile(r"(.+?\.(?:h5|hdf5))(?::(.*))?", re.IGNORECASE | re.DOTALL)
# A MAT file, and the name of a variable in it.
MAT = re.compile(r"(.+?\.mat)(?::(.*))?", re.IGNORECASE | re.DOTALL)
TABLES = (".csv", ".txt")
KNOWN = ".npy, .npz, .csv, .txt, .h5, .zarr, .mat or .wav"


def kind_of(name: str) -> str:
    """Return "npy", "npz", "hdf5", "mat", "wav", "zarr" or "table"; "" for an unknown kind."""
    suffix = Path(name).suffix.lower()
    if suffix in (".npy", ".npz"):
        return suffix[1:]
    if HDF5.fullmatch(name):
        return "hdf5"
    if MAT.fullmatch(name):
        return "mat"
    if suffix == ".wav":
        return "wav"
    if suffix in TABLES:
        return "table"
    in_zarr = any(part.lower().endswith(".zarr") for part in Path(name).parts)
    return "zarr" if in_zarr else ""


def file_of(name: str) -> Path:
    """Return the file of an address, without the part that names an array in it."""
    found = HDF5.fullmatch(name) or MAT.fullmatch(name)
    return Path(found[1] if found else name)
