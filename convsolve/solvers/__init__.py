"""The solvers, one method per file. A new one is a file, and a line in `comparison.ALL`."""
