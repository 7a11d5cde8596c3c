"""What the data say beyond one estimate: a penalty that they choose.

``strength_path`` solves penalized least squares at every strength from one tridiagonal form of the
moments; ``criteria`` judge its fits, ``folds`` hold rows out, and ``scorers`` bring both to one
form, for any penalty. ``selection`` searches strengths and hyperparameters, ``bands`` those of a
banded ridge; ``several_strengths`` solves all outputs at theirs, from the data. ``regularization``
is the record of it all.
"""
