"""Identifiability of the kernel from x alone, in numbers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cached import cached_property
from ..html import facts
from ..linalg.threads import on_blas_threads
from ..text import line
from . import descent_forecast as forecast
from . import wording
from .diagnosis import Diagnosis
from .remedies import Remedy, advise, more_rows

# With more groups than this, a warning does not try remedies.
MOST_ADVISED = 16


class Identifiability(Diagnosis):
    """The report on whether, and which part of, the kernel is determined by the input of a problem.

    Each row of [N A] is an equation and each column an unknown. A is the design matrix, which all
    outputs of a group share. The bias and confounds are the columns of N. ``rank`` is the numerical
    rank of [N A], so it equals ``n_unknowns`` if the data determine all unknowns.

    ``condition`` and ``singular_values`` refer to A with N projected out. Its rank is determined
    after each column is scaled by a power of two to norm about one, and ``tolerance`` refers to the
    scaled matrix.

    Costly values are computed at the first access. ``repr`` shows the values that are available,
    ``print`` and `text` show the complete report. The verdicts, in the order in which they are
    decided:

    - "underdetermined": fewer equations than unknowns;
    - "rank-deficient": enough equations, but not enough independent ones;
    - "ambiguous": too close to call, or below the rounding of the data's own type;
    - "undecided": too large to decide within the memory limit;
    - "exactly determined": as many independent equations as unknowns, none left to check the fit;
    - "overdetermined": one solution, and more equations than unknowns.
    """

    method = property(wording.method)
    counting = property(wording.counting)
    confounded = cached_property(on_blas_threads(wording.confounded))

    @on_blas_threads
    def descent(self, tol: float = 1e-6) -> forecast.Descent:
        """Predict plain gradient descent on the mean of squares, and its slowest directions.

        Args:
            tol: the factor by which the predicted number of steps reduces the error.
        """
        return forecast.descent(self, tol)

    @property
    @on_blas_threads
    def remedies(self) -> list[str]:
        """Sentences on changes that would make the kernel determined; empty if it is determined."""
        return [remedy.sentence() for remedy in self.advice]

    @property
    def brief(self) -> str:
        """The remedies in the form of a warning.

        If there are many groups, it lists the groups that are not determined instead. Trying
        remedies for all of them would take longer than the solution.
        """
        if self.groups <= MOST_ADVISED:
            return "; ".join(self.remedies)
        rows = more_rows(self) if self.verdict == "underdetermined" else []
        return "; ".join([*(remedy.sentence() for remedy in rows), wording.open_groups(self)])

    @cached_property
    @on_blas_threads
    def advice(self) -> list[Remedy]:
        """The remedies as data: what to change, the argument and its value."""
        return advise(self)

    @on_blas_threads
    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, ready for JSON; None for infinite values."""
        out: dict[str, Any] = {
            "data": repr(self.problem),
            "verdict": self.verdict,
            "unique": self.unique,
            "n_equations": self.n_equations,
            "n_unknowns": self.n_unknowns,
            "method": self.method,
            "group_verdicts": list(self.group_verdicts),
            "worst_group": self.worst_group,
            "lags": [axis.tolist() for axis in self.problem.lags],
            **self.problem.names.to_dict(),
            "counting": self.counting,
            "remedies": self.remedies,
        }
        if self.decided:
            finite = np.isfinite(self.condition)
            out |= {
                "rank": self.rank,
                "group_ranks": list(self.group_ranks),
                "nullity": self.nullity,
                "condition": float(self.condition) if finite else None,
                "tolerance": float(self.tolerance),
                "rank_band": list(self.rank_band),
                "singular_values": _finite([v.tolist() for v in self.singular_values]),
                "identifiable": self.identifiable.tolist(),
                "bias_identifiable": self.bias_identifiable,
                "padding_only": self.padding_only.tolist(),
                "noise_gain": _finite(self.noise_gain.tolist()),
                "weakly_determined": self.weakly_determined.tolist(),
                "mask_ambiguous": self.mask_ambiguous,
                "confounded": self.confounded,
                "noise": wording.noise_sentence(self),
            }
        return out

    @on_blas_threads
    def entries(self) -> list[tuple[str, str]]:
        """Return the complete report as pairs of a label and a text, and compute its values.

        The label is empty for further texts of the same label.
        """
        entries = [*wording.sizes(self), ("counting", [self.counting])]
        if self.decided:
            entries += [*wording.ranks(self), ("confounded", self.confounded)]
            entries.append(("noise", [wording.noise_sentence(self)]))
        entries += [
            ("precision", [wording.precision_sentence(self)]),
            ("method", [self.method]),
            ("remedies", [remedy.sentence() for remedy in self.advice]),
        ]
        return [
            ("" if i else label, text)
            for label, texts in entries
            for i, text in enumerate(filter(None, texts))
        ]

    def text(self) -> str:
        """Return the complete report as shown in a terminal."""
        return "\n".join(line(label, words) for label, words in self.entries())

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        """Return the available facts without computing any."""
        return "\n".join(line(label, words) for label, words in self._known())

    def _repr_html_(self) -> str:
        """Return the available facts as shown in a notebook."""
        return facts(self._known())

    def _known(self) -> list[tuple[str, str]]:
        verdict = self.known_verdict or "not computed yet"
        if {"worst_group", "kernel_ranks"} <= vars(self).keys():
            verdict += f", rank {self.rank} of {self.n_unknowns}"
        whole = "print(...) or .text() computes and shows the whole"
        return [("data", repr(self.problem)), ("verdict", verdict), ("report", whole)]


def _finite(value: Any) -> Any:
    """Return nested lists of numbers with None for values that are not finite."""
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value if np.isfinite(value) else None
