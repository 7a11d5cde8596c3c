"""What convsolve raises and warns, beside TypeError and ValueError for bad input."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """What a warning carries of `Identifiability`, which stands above this file."""

    @property
    def verdict(self) -> str:
        """The verdict in a word or two."""

    @property
    def unique(self) -> bool:
        """Whether the data determine the kernel."""

    @property
    def remedies(self) -> list[str]:
        """What would make it determined."""


class SolveError(ValueError):
    """This solver has no answer for this problem; the message says why, and what to use instead."""


class IdentifiabilityWarning(UserWarning):
    """The data do not determine the kernel; the answer given is one of many.

    ``report`` is the `Identifiability` that says which taps are determined and what would mend it;
    of more than 16 groups the text counts those that are not determined, and leaves remedies to it.
    ``strict=True`` turns this warning into `IdentifiabilityError`; a sufficient ridge silences it.
    """

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report


class IdentifiabilityError(ValueError):
    """Raised by ``solve(..., strict=True)`` in place of `IdentifiabilityWarning`."""

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report


class LostDigits(Exception):
    """Sums that all outputs share lose too many digits, so that each is solved on its own."""
