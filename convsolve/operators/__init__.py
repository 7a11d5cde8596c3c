"""The design matrix A, and products with it, without forming it as a whole.

``windows`` pads records and cuts them into rows of A. ``data`` reads chunks of rows in one unit,
from memory, files or dask, with the nuisance columns N, the weights and the polynomials that are
subtracted. ``sums`` adds AᵀA, AᵀY and products with N, projects N out, and replaces many outputs by
a few combinations. The sums, residuals and products of a chunk come from ``fourier``, from
``rows``, or from ``events`` for an x that is mostly zero. ``design_matrix`` combines them.

``toeplitz`` multiplies by AᵀA without its P² numbers, and has its preconditioner. ``layout``
changes the shape and the coordinates of kernels. ``prediction`` computes A w of new
records, and ``filtered`` records that are filtered in time. With jax, ``jax_operator`` has A, Aᵀ
and AᵀA for functions of arrays, and ``device`` sums arrays on the devices that hold them.
"""
