"""Dense linear algebra without convolutions.

``rank`` decides the numerical rank. ``qr`` factors tall matrices in a tree of row blocks, and
``lapack`` calls LAPACK and BLAS. ``factor`` solves least squares with a factor of the design
matrix, with minimum norm if it is deficient. ``factors`` factors all groups and decides their
ranks. Factors accept one matrix or an array of several, as functions of NumPy do.
``conjugate_gradient`` needs products only, and ``threads`` limits the threads of BLAS.
``orthonormal`` computes bases of a few columns, and ``channels`` operates on long arrays with few
channels.
"""
