"""What the data say beyond one estimate: a penalty that they choose, errors, bands, tests.

Nothing yet; it will see `leastsquares`, and be seen by the solvers and the doors.
"""
