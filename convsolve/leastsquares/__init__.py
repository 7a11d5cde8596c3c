"""One regularized least-squares problem: scaled, solved, refined and certified.

``analysis`` stores all results for a problem. ``design`` has the sums over x, ``system`` the
factors of the scaled columns with one penalty, and ``regression`` the solutions for y, their
refinement and units. ``scaling`` has the columns in the coordinates of a penalty and their units.
``certificate`` bounds the backward error of a solution. ``normal_operator`` replaces a factor if
there are many unknowns. ``penalty`` defines penalties, ridges and user-defined matrices, and
``priors`` those of smooth and of decaying kernels.
"""
