"""Identifiability of the kernel from x alone, in numbers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cached import cached_property
from ..html import facts
from ..lazy_plot import plot
from ..linalg.threads import on_blas_threads
from ..near_misses import suggests_attributes
from ..operators.layout import ascending
from ..problem.problem import Problem
from ..problem.sizes import DEFAULT_TUNING, Tuning
from ..text import line
from . import descent, wording
from .diagnosis import Diagnosis
from .suggestions import Suggestion, advise, more_rows

# Width of the labels of a report.
MARGIN = 12
# With more groups than this, a warning tries no suggestions.
MOST_ADVISED = 16


@suggests_attributes
class Identifiability:
    """Report on whether the input of a problem determines the kernel, and which part of it.

    Each row of [N A] is an equation and each column an unknown. A is the design matrix, which all
    outputs of a group share. The bias and confounds are the columns of N. ``rank`` is the numerical
    rank of [N A], so it equals ``n_unknowns`` if the data determine all unknowns.

    ``condition_number`` and ``singular_values`` refer to A with N projected out. Its rank is
    determined after each column is scaled by a power of two to norm about one, and ``tolerance``
    refers to the scaled matrix.

    Costly values are computed at the first access. ``repr`` shows the values that are available,
    ``print`` shows the complete report. The verdicts, in the order in which they are
    decided:

    - "underdetermined": fewer equations than unknowns;
    - "rank-deficient": enough equations, but not enough independent ones;
    - "ambiguous": too close to call, or below the rounding of the data's own type;
    - "undecided": a QR is too large to decide, in memory or operations;
    - "exactly determined": as many independent equations as unknowns, none left to check the fit;
    - "overdetermined": one solution, and more equations than unknowns.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> stimulus = np.tile([1, 1, 0, 0], 50)
        >>> report = cs.identify(cs.Problem(stimulus, lags=(0, 9)))
        >>> report.unique, report.rank, report.n_unknowns
        (False, 3, 10)
        >>> report.suggestions[0].kind
        'excitation'

    See Also:
        `identify`, which returns the report, and `Suggestion`.
    """

    def __init__(self, problem: Problem, limits: Tuning = DEFAULT_TUNING) -> None:
        """Report on a problem within limits of memory; nothing is computed yet."""
        self._diagnosis = Diagnosis(problem, limits)

    def __reduce__(self) -> Any:
        """Pickle the problem and the limits; values are computed again."""
        return type(self), (self.problem, self._diagnosis.limits)

    @property
    def _blas_columns(self) -> int:
        """The smaller dimension of the design matrix."""
        return self._diagnosis._blas_columns

    @property
    def problem(self) -> Problem:
        """The problem."""
        return self._diagnosis.problem

    @property
    def verdict(self) -> str:
        """One of the six words above."""
        return self._diagnosis.verdict

    @property
    def unique(self) -> bool:
        """Whether the data determine every tap, and the bias."""
        return self._diagnosis.unique

    @property
    def n_equations(self) -> int:
        """Number of rows of the design matrix."""
        return self._diagnosis.n_equations

    @property
    def n_unknowns(self) -> int:
        """Unknowns per output: taps, or independent coefficients of a basis, bias and confounds."""
        return self._diagnosis.n_unknowns

    @property
    def rank(self) -> int:
        """Numerical rank of [N A] in the worst group, equal to ``n_unknowns`` for full rank."""
        return self._diagnosis.rank

    @property
    def singular_values(self) -> tuple[np.ndarray, ...]:
        """Singular values of A itself in descending order, one array per group."""
        return self._diagnosis.singular_values

    @property
    def condition_number(self) -> float:
        """2-norm condition number of A itself in the worst group; inf if A is rank-deficient.

        It is accurate to ten digits, or to the digits that its size allows. With more than 1 500
        unknowns decided by a Gram matrix, it is accurate to eps·κ².
        """
        return self._diagnosis.condition_number

    @property
    def bias_identifiable(self) -> bool:
        """Whether the bias is determined."""
        return self._diagnosis.bias_identifiable

    @cached_property
    @on_blas_threads
    def collinear(self) -> list[str]:
        """Sentences on taps whose effects cannot be separated, and on taps that are determined."""
        return wording.collinear(self._diagnosis)

    @property
    def identifiable(self) -> np.ndarray:
        """Flags of the taps that are determined, shaped as `Solution.impulse_response`.

        A tap is determined if its row of the orthonormal null space has a norm of at most
        clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3). Taps outside the window of their channel are zero, and
        have True.
        """
        return self._ascending(self._diagnosis._identifiable)

    @property
    def padding_dependent(self) -> np.ndarray:
        """Flags of the taps that are determined only because x is assumed zero outside the record.

        They are the taps that the rows with a completely recorded window do not determine. All
        False if the problem of these rows is too large to decide, see the text. The shape is that
        of `Solution.impulse_response`.
        """
        found = self._diagnosis._padding_dependent
        return self._ascending(
            np.zeros_like(self._diagnosis._identifiable) if found is None else found
        )

    @property
    def noise_gain(self) -> np.ndarray:
        """Standard error of every tap for white noise of unit standard deviation in y.

        It is √diag((AᵀA)⁻¹), in units of the kernel per unit of y; inf if a tap is not determined,
        and NaN if it is always zero.
        It is accurate to eps·κ² if a Gram matrix decided. Multiplied by the standard deviation of
        the residuals it is the standard error of a fit. This does not hold for errors that are
        correlated in time. The shape is that of `Solution.impulse_response`.
        """
        return self._ascending(self._diagnosis._noise_gain)

    @property
    def weakly_determined(self) -> np.ndarray:
        """Flags of the identifiable taps with a variance inflation above 1e4.

        The root of the variance inflation is ‖column minus its mean‖·noise gain: the factor by
        which the standard error exceeds its value for a column that resembles no other column. The
        shape is that of `Solution.impulse_response`.
        """
        return self._ascending(self._diagnosis._weakly_determined)

    @property
    def null_space(self) -> tuple[np.ndarray, ...]:
        """Per group ``(vectors, *lags, Cin/groups)``: kernels with zero output, orthonormal.

        Lags are in ascending order.

        Raises:
            ValueError: If it does not fit in memory. `identifiable` needs less memory.
        """
        axes = tuple(range(1, 1 + self.problem.spec.ndim))
        return tuple(np.flip(vectors, axes) for vectors in self._diagnosis._null_kernels)

    def _ascending(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(ascending(values, self.problem.spec.ndim))

    @on_blas_threads
    def descent(self, tol: float = 1e-6) -> descent.DescentForecast:
        """Predict the steps and the rate of plain gradient descent on the mean of squares.

        Args:
            tol: the factor by which the predicted number of steps reduces the error,
                between 0 and 1. Default 1e-6.

        Returns:
            A `DescentForecast`.

        Raises:
            ValueError: If the problem has weights, confounds, a basis or windows, if x is zero, or
                if the steps leave float64.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x = np.random.default_rng(0).standard_normal(300).cumsum()
            >>> report = cs.identify(cs.Problem(x, lags=(0, 4)))
            >>> forecast = report.descent(tol=1e-3)
            >>> forecast.steps > 1000
            True

        See Also:
            `GradientDescent`.
        """
        return descent.descent(self._diagnosis, tol)

    def ridge_for(self, condition_number: float) -> float:
        """Return the smallest ridge for which [A; √ridge·I] has at most this condition number.

        The ridge is (s₁² − C²s_P²)/(C² − 1), where s are the singular values of A itself. It is 0
        if A already meets the bound.

        Args:
            condition_number: bound C of the condition number, above 1.

        Returns:
            The ridge, in the square of the unit of x.

        Raises:
            TypeError, ValueError: If ``condition_number`` is not a number above 1. If x is zero in
                every window, where any ridge suffices. If the ridge leaves float64 (change the unit
                of x).

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x = np.random.default_rng(0).standard_normal(300).cumsum()
            >>> report = cs.identify(cs.Problem(x, lags=(0, 4)))
            >>> ridge = report.ridge_for(10)
            >>> report.condition_number > 10, ridge > 0
            (True, True)
        """
        return self._diagnosis.ridge_for(condition_number)

    @property
    def _brief(self) -> str:
        """The suggestions in the form of a warning.

        If there are many groups, it lists the groups that are not determined instead. Trying
        changes for all of them would take longer than the solution.
        """
        if self._diagnosis.groups <= MOST_ADVISED:
            return "; ".join(map(str, self.suggestions))
        rows = more_rows(self._diagnosis) if self.verdict == "underdetermined" else []
        return "; ".join([*map(str, rows), wording.open_groups(self._diagnosis)])

    @cached_property
    @on_blas_threads
    def suggestions(self) -> list[Suggestion]:
        """Changes that would make the kernel determined; empty if it is determined.

        Each suggestion has a ``kind``, the ``argument`` to change and its ``value``, and prints as
        a sentence.
        """
        return advise(self._diagnosis)

    def _verdict_entries(self) -> dict[str, Any]:
        """Return the part of `to_dict` that the results of other functions have too."""
        return {
            "data": repr(self.problem),
            "verdict": self.verdict,
            "unique": self.unique,
            "suggestions": [*map(str, self.suggestions)],
        }

    @on_blas_threads
    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, ready for JSON; None for infinite values.

        Returns:
            A dict, whose values are the attributes of the report.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x = np.random.default_rng(0).standard_normal(300).cumsum()
            >>> report = cs.identify(cs.Problem(x, lags=(0, 4)))
            >>> report.to_dict()["verdict"]
            'overdetermined'
        """
        out: dict[str, Any] = self._verdict_entries() | {
            "n_equations": self.n_equations,
            "n_unknowns": self.n_unknowns,
            "method": wording.method(self._diagnosis),
            "worst_group": self._diagnosis.worst_group,
            "lags": [axis.tolist() for axis in self.problem._lags],
            **self.problem._names.to_dict(),
            "equations": wording.equations(self._diagnosis),
        }
        space = self.problem._space
        if space is not None and space.has_functions:
            names = space.coefficient_names(self.problem._names, self.problem._lags[0])
            out |= {"coefficient_names": names, "basis_rank": space.rank}
        if not self._diagnosis.decided:
            return out
        if "basis_rank" in out:
            flags = self._diagnosis.determined_coefficients
            out["identifiable_coefficients"] = flags.tolist()
        out |= {
            "rank": self.rank,
            "group_ranks": list(self._diagnosis.group_ranks),
        }
        # More unknowns take a spectrum, which takes much longer than the solution.
        if self.n_unknowns <= self._diagnosis.limits.spectrum_columns:
            finite = np.isfinite(self.condition_number)
            out |= {
                "condition_number": float(self.condition_number) if finite else None,
                "tolerance": float(self._diagnosis.tolerance),
                "rank_band": list(self._diagnosis.rank_band),
                "singular_values": _finite([v.tolist() for v in self.singular_values]),
                "identifiable": self.identifiable.tolist(),
                "bias_identifiable": self.bias_identifiable,
                "padding_dependent": self.padding_dependent.tolist(),
                "noise_gain": _finite(self.noise_gain.tolist()),
                "weakly_determined": self.weakly_determined.tolist(),
                "mask_ambiguous": self._diagnosis.mask_ambiguous,
                "collinear": self.collinear,
                "noise": wording.noise_sentence(self._diagnosis),
            }
        return out

    plot = plot

    @on_blas_threads
    def _entries(self) -> list[tuple[str, str]]:
        """Return the complete report as pairs of a label and a text, and compute its values.

        The label is empty for further texts of the same label.
        """
        suggestions = [*map(str, self.suggestions)]
        if len(suggestions) > 1:
            suggestions = [f"{i}. {text}" for i, text in enumerate(suggestions, 1)]
        entries = [("Verdict", [wording.verdict(self._diagnosis)])]
        if self._diagnosis.decided:
            entries += [
                ("Taps", [wording.taps_sentence(self._diagnosis)]),
                (
                    "Basis" if self._diagnosis.has_basis else "Windows",
                    wording.basis_sentences(self._diagnosis),
                ),
                ("Padding", [wording.padding_sentence(self._diagnosis)]),
                ("Collinear", self.collinear),
            ]
        entries += [
            ("Suggestions", suggestions),
            ("Equations", [wording.equations(self._diagnosis)]),
        ]
        if self._diagnosis.decided:
            entries.append(("Precision", [wording.noise_sentence(self._diagnosis)]))
        entries += [
            ("Data", [wording.precision_sentence(self._diagnosis)]),
            ("Rank", [wording.rank(self._diagnosis)]),
        ]
        return [
            ("" if i else label, text)
            for label, texts in entries
            for i, text in enumerate(filter(None, texts))
        ]

    def __str__(self) -> str:
        return "\n".join(line(label, words, MARGIN) for label, words in self._entries())

    def __repr__(self) -> str:
        """Return the available facts without computing any."""
        return f"<Identifiability {self._known()[1][1]}>"

    def _repr_html_(self) -> str:
        """Return the available facts as shown in a notebook."""
        return facts(self._known())

    def _known(self) -> list[tuple[str, str]]:
        verdict = self._diagnosis.known_verdict or "not computed yet"
        if {"worst_group", "kernel_ranks"} <= vars(self._diagnosis).keys():
            verdict += f", rank {self.rank} of {self.n_unknowns}"
        whole = "print(...) computes and shows the whole"
        return [("data", repr(self.problem)), ("verdict", verdict), ("report", whole)]


def _finite(value: Any) -> Any:
    """Return nested lists of numbers with None for values that are not finite."""
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value if np.isfinite(value) else None
