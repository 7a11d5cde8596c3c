"""Errors and warnings, other than TypeError and ValueError for bad input."""

from __future__ import annotations

import sys
import warnings
from typing import Any


class SolveError(ValueError):
    """Error of a solver that cannot solve a problem, with the reason and an alternative.

    Examples:
        >>> import convsolve as cs
        >>> problem = cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2, bias=True)
        >>> try:
        ...     cs.solve(problem, "fft")
        ... except cs.SolveError as error:
        ...     print(str(error).partition(':')[0])
        FFTDeconvolution cannot solve this problem

    See Also:
        `IdentifiabilityError`.
    """


class _Undetermined(Exception):
    """The report on data that do not determine the kernel, as an error or a warning."""

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class IdentifiabilityWarning(_Undetermined, UserWarning):
    """Warning that the data do not determine the kernel, and that the solution is one of many.

    With ``strict=True``, `solve` raises an `IdentifiabilityError` instead. A sufficient ridge
    prevents the warning.

    Args:
        message: the text. For more than 16 groups, it only counts the groups that are not
            determined.
        report: the `Identifiability`, which lists the taps that are determined and has suggestions.
            By default None.

    Examples:
        >>> import warnings
        >>> import convsolve as cs
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     fit = cs.solve(cs.Problem([1, 1, 1, 1], [2, 2, 2], kernel_size=2))
        >>> [warning.category is cs.IdentifiabilityWarning for warning in caught]
        [True]

    See Also:
        `IdentifiabilityError`.
    """


class IdentifiabilityError(_Undetermined, ValueError):
    """Error of ``solve(..., strict=True)`` if the data do not determine the kernel.

    Args:
        message: the text.
        report: the `Identifiability`, see `IdentifiabilityWarning`. By default None.

    Examples:
        >>> import convsolve as cs
        >>> try:
        ...     cs.solve(cs.Problem([1, 1, 1, 1], [2, 2, 2], kernel_size=2), strict=True)
        ... except cs.IdentifiabilityError as error:
        ...     print(error.report.verdict)
        rank-deficient

    See Also:
        `IdentifiabilityWarning`.
    """


def warn(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line that called the library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("convsolve."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
