"""The command line.

``main`` runs the commands. ``arguments`` derives their options from signatures and docstrings, and
reads them from words and from files of options.
"""
