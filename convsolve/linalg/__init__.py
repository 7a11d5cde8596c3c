"""Dense linear algebra that knows no convolution.

``rank`` decides which singular values count; ``qr`` factors tall matrices in a tree of row blocks,
and ``lapack`` wraps the routines for one triangle; ``factor`` solves least squares with a factor of
the design matrix, ``minimum_norm`` within its row space, and ``ridge_dual`` does so for a ridge;
``factors`` holds those of all groups, of many small ones in one array, ``row_spaces`` what is
deficient among these, and ``inverses`` inverts their triangles; ``conjugate_gradient`` needs
products only. ``threads`` limits the threads of BLAS.
"""
