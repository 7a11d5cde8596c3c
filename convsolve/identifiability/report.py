"""Identifiability of the kernel from x alone, in numbers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cached import cached_property
from ..html import facts
from ..leastsquares.penalty import RIDGE, Penalty, penalty_of
from ..linalg.threads import on_blas_threads
from ..near_misses import suggests_attributes
from ..operators.layout import ascending
from ..text import line, shown
from . import descent_forecast as forecast
from . import wording
from .diagnosis import Diagnosis
from .suggestions import Suggestion, advise, more_rows

# With more groups than this, a warning tries no suggestions.
MOST_ADVISED = 16


@suggests_attributes
class Identifiability(Diagnosis):
    """The report on whether, and which part of, the kernel is determined by the input of a problem.

    Each row of [N A] is an equation and each column an unknown. A is the design matrix, which all
    outputs of a group share. The bias and confounds are the columns of N. ``rank`` is the numerical
    rank of [N A], so it equals ``n_unknowns`` if the data determine all unknowns.

    ``condition_number`` and ``singular_values`` refer to A with N projected out. Its rank is
    determined after each column is scaled by a power of two to norm about one, and ``tolerance``
    refers to the scaled matrix.

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
    collinear = cached_property(on_blas_threads(wording.collinear))

    @property
    def identifiable(self) -> np.ndarray:
        """Flags of the taps that are determined, shaped as `Solution.impulse_response`.

        A tap is determined if its row of the orthonormal null space has a norm of at most
        clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3).
        """
        return self._ascending(self._identifiable)

    @property
    def padding_dependent(self) -> np.ndarray:
        """Flags of the taps that are determined only because x is assumed zero outside the record.

        They are the taps that the rows with a completely recorded window do not determine. All
        False if the problem of these rows is too large to decide, see `padding_decided`. The shape
        is that of `Solution.impulse_response`.
        """
        found = self._padding_dependent
        return self._ascending(np.zeros_like(self._identifiable) if found is None else found)

    @property
    def noise_gain(self) -> np.ndarray:
        """Standard error of every tap for white noise of unit standard deviation in y.

        It is √diag((AᵀA)⁻¹), in units of the kernel per unit of y; inf if a tap is not determined.
        It is accurate to eps·κ² if a Gram matrix decided. Multiplied by the standard deviation of
        the residuals it is the standard error of a fit. This does not hold for errors that are
        correlated in time. The shape is that of `Solution.impulse_response`.
        """
        return self._ascending(self._noise_gain)

    @property
    def weakly_determined(self) -> np.ndarray:
        """Flags of the identifiable taps with a variance inflation above 1e4.

        The root of the variance inflation is ‖column minus its mean‖·noise gain: the factor by
        which the standard error exceeds its value for a column that resembles no other column. The
        shape is that of `Solution.impulse_response`.
        """
        return self._ascending(self._weakly_determined)

    @property
    def null_space(self) -> tuple[np.ndarray, ...]:
        """Per group ``(nullity, *lags, Cin/groups)``: kernels with zero output, orthonormal.

        Lags are in ascending order.

        Raises:
            ValueError: If it does not fit in memory. `identifiable`, `resolution` and `null_part`
                need less memory.
        """
        axes = tuple(range(1, 1 + self.problem.spec.ndim))
        return tuple(np.flip(vectors, axes) for vectors in self._null_kernels)

    @on_blas_threads
    def resolution(self, ridge: Any = None, *, penalty: Penalty | None = None) -> np.ndarray:
        """Return the diagonal of the resolution matrix (AᵀA + strength·K)⁻¹AᵀA.

        It is the share of a tap that its estimate retains if all other taps of the kernel are zero:
        1 if the tap is estimated completely, 0 if the estimate does not depend on it. Without a
        penalty it refers to the minimum-norm solution. K = I for a ridge.

        Args:
            ridge: short for ``penalty=Ridge(ridge)``. None, the default, is no ridge.
            penalty: a quadratic penalty with one given strength, or None.

        Returns:
            An array with the shape of `Solution.impulse_response`.

        Raises:
            TypeError, ValueError: If ``ridge`` is not a finite number, is negative, or is too
                small. If the penalty has no given strength, or several.
        """
        return self._ascending(self._resolution(*_term(penalty_of(ridge, penalty))))

    def _ascending(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(ascending(values, self.problem.spec.ndim))

    @on_blas_threads
    def descent(self, tol: float = 1e-6) -> forecast.DescentForecast:
        """Predict plain gradient descent on the mean of squares, and its slowest directions.

        Args:
            tol: the factor by which the predicted number of steps reduces the error.
        """
        return forecast.descent(self, tol)

    @property
    def brief(self) -> str:
        """The suggestions in the form of a warning.

        If there are many groups, it lists the groups that are not determined instead. Trying
        changes for all of them would take longer than the solution.
        """
        if self.groups <= MOST_ADVISED:
            return "; ".join(map(str, self.suggestions))
        rows = more_rows(self) if self.verdict == "underdetermined" else []
        return "; ".join([*map(str, rows), wording.open_groups(self)])

    @cached_property
    @on_blas_threads
    def suggestions(self) -> list[Suggestion]:
        """Changes that would make the kernel determined; empty if it is determined.

        Each suggestion has a ``kind``, the ``argument`` to change and its ``value``, and prints as
        a sentence.
        """
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
            "suggestions": [*map(str, self.suggestions)],
        }
        if self.decided:
            finite = np.isfinite(self.condition_number)
            out |= {
                "rank": self.rank,
                "group_ranks": list(self.group_ranks),
                "nullity": self.nullity,
                "condition_number": float(self.condition_number) if finite else None,
                "tolerance": float(self.tolerance),
                "rank_band": list(self.rank_band),
                "singular_values": _finite([v.tolist() for v in self.singular_values]),
                "identifiable": self.identifiable.tolist(),
                "bias_identifiable": self.bias_identifiable,
                "padding_dependent": self.padding_dependent.tolist(),
                "noise_gain": _finite(self.noise_gain.tolist()),
                "weakly_determined": self.weakly_determined.tolist(),
                "mask_ambiguous": self.mask_ambiguous,
                "collinear": self.collinear,
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
            entries += [*wording.ranks(self), ("collinear", self.collinear)]
            entries.append(("noise", [wording.noise_sentence(self)]))
        entries += [
            ("precision", [wording.precision_sentence(self)]),
            ("method", [self.method]),
            ("suggestion", [*map(str, self.suggestions)]),
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


def _term(penalty: Penalty | None) -> tuple[float, Penalty]:
    """Return the strength of a penalty, and the penalty without it."""
    if penalty is None:
        return 0.0, RIDGE
    if not isinstance(penalty, Penalty):
        raise TypeError(f"penalty must be a penalty such as Smooth(1.0), got {shown(penalty)}")
    if not (penalty.quadratic and penalty.given):
        raise ValueError(
            f"a resolution needs a quadratic penalty with a given strength, got {penalty.title}"
        )
    try:
        penalty.check_outputs(1)
    except ValueError:
        raise ValueError(
            f"a resolution needs one strength for all outputs, got {penalty!r}; for several call "
            "it with each"
        ) from None
    form, strength = penalty.terms(1)[0]
    return strength, form
