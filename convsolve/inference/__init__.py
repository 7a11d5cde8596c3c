"""Selection of penalties, robust losses, noise models, standard errors and tests.

Penalties: ``spectrum`` solves penalized least squares at every strength, and least squares by
descent after any number of steps. ``criteria`` are functions of its fits. ``folds`` are the rows of
a cross-validation, ``sums`` the sums over them, and ``held_rows`` scores them. ``select`` searches
strengths and hyperparameters, ``banded`` the strengths of a banded ridge, and ``regularization``
records the selection. ``groups`` has the descent of a group lasso, and ``lag_windows`` the scores
of every window of lags.

Losses: ``plq`` minimizes piecewise linear-quadratic losses and a lasso by an interior point method.
``robust`` applies it to the rows of A and of a penalty, and estimates the scale of Huber's loss.

Errors: ``errors`` computes standard errors, bands and tests of ``contrasts``, also for rows that
depend on each other. ``ar`` tests whether residuals are white, models autoregressive noise and
filters the rows until their noise is white. ``r2`` has the interval of R². ``resampling`` has the
jackknife and the tests with resampled y, and ``patterns`` has the patterns of a decoder.
"""
