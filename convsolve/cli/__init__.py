"""The command line.

``main`` runs a command; ``arguments`` parses its options; ``data`` states the problem, of
files that ``large`` opens where they may exceed memory; ``demo`` is ``convsolve demo``.
"""
