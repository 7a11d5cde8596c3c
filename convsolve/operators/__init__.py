"""The design matrix A, and products with it, without forming it as a whole.

Numerical methods: ``windows`` cuts records into rows of A. ``overlap_save`` cuts records into
blocks for FFTs. ``gram`` computes AᵀA and Aᵀy from these blocks, and ``products`` computes A w and
Aᵀr. Both use ``short_kernels`` for few taps. ``toeplitz`` multiplies by AᵀA without its P² numbers,
and ``whitening`` is a preconditioner for it.

Sums: ``moments`` are sums over rows that can be added. Nuisance columns are eliminated from them
there.

Operators: ``rows`` and ``fourier`` are the design matrix of records in memory. ``chunked`` is the
design matrix of records that are read in chunks, with the tasks for one chunk in ``chunks``, the
polynomials that are subtracted first in ``drifts``, and their sums, in this process or by dask, in
``totals``. ``projection`` removes confounds from rows. ``transformed`` is the design matrix in the
coordinates of a penalty. ``prediction`` computes A w of new records.

With jax: ``jax_convolution`` is A w for gradient descent, ``jax_matrix`` is A as a matrix, and
``jax_fourier`` are A, Aᵀ and AᵀA by FFTs. ``devices`` is the design matrix of records that stay on
devices, ``spread`` describes their layout, and ``jax_blocks`` sums over blocks of one shape.
"""
