"""Readers of HDF5, zarr, MAT and WAV files, and the addresses of arrays in them."""
