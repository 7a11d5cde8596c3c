"""The design matrix A, and products with it, without forming it as a whole.

Numerical methods: ``windows`` cuts records into rows of A. ``overlap_save`` cuts records into
blocks for FFTs. ``gram`` computes AᵀA and Aᵀy from these blocks, and ``products`` computes A w and
Aᵀr. ``toeplitz`` multiplies by AᵀA without its P² numbers, and has its preconditioner.
``combinations`` replaces many outputs by a few.

Sums: ``moments`` are sums over rows that can be added. Nuisance columns are eliminated from them
there.

Design matrix: ``chunks`` divides the rows, ``chunk`` reads and prepares one chunk, and
``chunk_sums`` has the sums over its rows, by one of the backends ``by_rows``, ``by_fft``, and
``by_events`` for an x that is mostly zero. ``map_reduce`` adds them, in this process or by dask.
``first_pass`` finds the units of columns and outputs, and ``design_matrix`` combines all.
``row_order`` sorts rows by record. ``nuisance`` has the columns of confounds, and ``trends`` the
polynomials that are subtracted exactly. ``tap_basis`` changes the coordinates of kernels, and
``layout`` their shape. ``prediction`` computes A w of new records.

With jax: ``jax_operator`` has A, Aᵀ and AᵀA for functions of arrays, and ``device`` arrays on
devices.
"""
