"""The command line.

``main`` runs a command. ``options`` is the table of its options, which ``arguments`` parses and
``config`` reads from a file. ``data`` states the problem, of files that ``large`` opens if they may
exceed memory, and ``methods`` the solver. ``demo`` is ``convsolve demo``.
"""
