"""Errors and warnings, other than TypeError and ValueError for bad input."""

from __future__ import annotations

import sys
import warnings
from typing import Any


class SolveError(ValueError):
    """The solver cannot solve this problem. The message has the reason and an alternative."""


class IdentifiabilityWarning(UserWarning):
    """The data do not determine the kernel, and the solution is one of many.

    ``report`` is the `Identifiability`, which lists the taps that are determined and has
    suggestions. For more than 16 groups, the message only counts the groups that are not
    determined.
    With ``strict=True``, an `IdentifiabilityError` is raised instead. A sufficient ridge prevents
    the warning.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class IdentifiabilityError(ValueError):
    """Raised by ``solve(..., strict=True)`` instead of an `IdentifiabilityWarning`."""

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


def warn(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line that called the library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("convsolve."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
