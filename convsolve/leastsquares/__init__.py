"""One regularized least-squares problem: scaled, solved, refined and certified.

``analysis`` holds what has been computed of a problem, each piece once: ``design`` what x gives,
``system`` the columns under a penalty and their factors, ``regression`` what y adds: answers,
refinement, units. ``placement`` decides whether data on devices stay there. ``scaling`` is that of
the columns, ``certificate`` bounds the backward error of an answer, ``normal_operator`` does
without a factor where unknowns are many. ``penalty`` says what a penalty is, and has ridges and a
matrix of one's own; ``smooth`` and ``stable_spline`` are others.
"""
