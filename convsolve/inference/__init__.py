"""Selection of penalties, robust losses, noise models, standard errors and tests.

Penalties: ``spectrum`` solves penalized least squares at every strength. ``criteria`` are functions
of its fits. ``folds`` are the rows of a cross-validation, ``sums`` the sums over them, and
``held_rows`` scores them. ``select`` searches strengths and hyperparameters, ``banded`` the
strengths of a banded ridge, and ``regularization`` records the selection. ``groups`` has the
descent of a group lasso, and ``lag_windows`` the scores of every window of lags.

Losses: ``plq`` minimizes piecewise linear-quadratic losses and a lasso by an interior point method,
given the ``rows`` of A and of a penalty.

Errors: ``errors`` computes standard errors, bands and tests of ``contrasts``, also for rows that
depend on each other. ``ar`` models autoregressive noise and filters the rows until their noise is
white. ``whiteness`` tests residuals, and ``r2`` has the interval of R². ``resampling`` has the
jackknife, ``patterns`` has the patterns of a decoder, and ``permutation`` has the tests with
resampled y.
"""
