"""The command line.

``main`` runs a command; ``arguments`` parses its options; ``demo`` is ``convsolve demo``.
"""
