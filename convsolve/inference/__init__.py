"""Selection of penalties, robust losses, noise models, standard errors and tests.

Penalties: ``strength_path`` solves penalized least squares at every strength, from ``sums`` over
rows in ``units`` that all columns share. ``criteria`` and ``folds`` score the fits, and ``scorers``
combine them. ``selection`` searches strengths and hyperparameters. ``bands`` is for a banded ridge.
``several_strengths`` solves all outputs at their strengths, and
``regularization`` records the selection. ``sparse`` has the steps of a lasso, and ``lag_windows``
the scores of every window of lags.

Losses: ``robust`` is for Huber's loss and ``absolute`` for least absolute deviations. Both use the
``orthonormal_rows`` of A.

Errors: ``errors`` computes standard errors, bands and tests of ``contrasts``, also for rows that
depend on each other. ``ar`` models autoregressive noise and filters the rows until their noise is
white. ``whiteness`` tests residuals, and ``r2`` has the interval of R². ``resampling`` has the
jackknife, ``patterns`` has the patterns of a decoder, and ``permutation`` has the tests with
resampled y.
"""
