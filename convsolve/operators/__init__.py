"""The design matrix A in its forms, and products with it; it need never exist.

``windows`` cuts records into rows of A; ``overlap_save`` cuts them into blocks for FFTs, of which
``gram`` makes AᵀA and Aᵀy, and ``products`` A w and Aᵀr, both by ``short_kernels`` where taps are
few; ``fourier`` puts these together for the records of a problem. ``moments`` holds sums over rows,
which add: ``chunks`` takes A as a sum over chunks of records that are not in memory,
``partialled_chunks`` with confounds projected out, and ``totals`` adds them up, here or by dask.
``prediction`` is A w of new records, some rows at a time. ``toeplitz`` applies AᵀA to a kernel
without its P² numbers, and ``whitening`` preconditions that.

Under jax ``jax_convolution`` is A w as gradient descent takes it, ``jax_matrix`` is A formed, and
``jax_fourier`` A, Aᵀ and AᵀA by FFTs. ``devices`` is A of records that stay where jax has them:
``spread`` says where that is, and ``jax_blocks`` sums over them by FFTs of one shape.
"""
