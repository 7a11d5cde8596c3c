"""The command line.

``main`` runs a command; ``arguments`` parses its options, of which ``config`` reads some from a
file; ``data`` states the problem, of files that ``large`` opens where they may exceed memory, and
``methods`` the solver; ``demo`` is ``convsolve demo``.
"""
