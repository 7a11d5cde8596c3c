"""What the data say beyond one estimate: a penalty that they choose, robust fits, and errors.

``strength_path`` solves penalized least squares at every strength from one tridiagonal form of
``sums`` over rows; ``criteria`` judge its fits, ``folds`` hold rows out, and ``scorers`` bring both
to one form, for any penalty, in ``units`` that all columns share. ``selection`` searches strengths
and hyperparameters, ``bands`` those of a banded ridge, ``krylov`` those of many unknowns;
``several_strengths`` solves all outputs at theirs, from the data. ``regularization`` is the record
of it all. ``sparse`` has the steps of a lasso, ``lag_windows`` every window of lags. ``robust`` has
Huber's loss and ``absolute`` least absolute deviations, both on the ``orthonormal_rows`` of A.
``uncertainty`` gives standard errors, bands and tests of an answer, ``sandwich`` what dependent
noise makes of them. ``autoregression`` models the noise, ``prewhitened`` solves with rows filtered
by it, and ``prewhitened_errors`` has the errors of that; ``whiteness`` tells where it is needed.
``resampling`` leaves out records, and shifts y against x.
"""
