"""One least-squares problem with a ridge, scaled, solved, refined and certified.

``analysis`` holds what has been computed of a problem, each piece once; ``system`` scales columns,
chooses a factor and refines; ``certificate`` bounds the backward error of an answer;
``normal_operator`` does without a factor where unknowns are many.
"""
