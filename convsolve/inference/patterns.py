"""Patterns of a decoder: least squares of every lagged channel of x on the outputs.

Source: S. Haufe et al., NeuroImage 87 (2014) 96, equation 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..leastsquares.analysis import analyse
from ..leastsquares.design import Design
from ..linalg.rank import EPS
from ..operators.layout import to_columns, to_kernel
from ..problem.geometry import Geometry
from ..problem.problem import Problem
from ..problem.rows import Span
from ..problem.sizes import Tuning
from ..problem.spec import ConvSpec
from ..text import some
from .folds import Spans
from .moments import Moments
from .moments import moments as moments_of
from .sums import Sums, fold_sums

KINDS = PREDICTED, OUTPUTS = ("predicted", "outputs")
# Rounding error of a sum of products, relative to its terms.
ROUNDING = 100 * EPS
# Relative rounding error of the inverse of a covariance matrix beyond which there are no patterns.
LARGEST = 1e-3
# Share of a unit vector from which on an output is named as a part of it.
NAMED = 0.1


class Decoder:
    """Sums over rows that turn kernels into patterns Σx W Σ⁻¹.

    Confounds and a constant are projected out of x and of the outputs, whether or not the fit has a
    bias. The number of rows cancels, so that sums of products take the place of covariances.
    """

    def __init__(self, problem: Problem, kind: str, limits: Tuning) -> None:
        """Σ is the covariance of the outputs that are "predicted", or of the given "outputs"."""
        self._names, self._kernel_size = problem.outputs, problem.spec.kernel_size
        # The pattern of a tap does not depend on which kernels the problem considers.
        problem = problem if problem._space is None else problem._replace(_space=None)
        if reason := analyse(problem, limits).design.sizes.gram_reason():
            raise ValueError(f"patterns cannot be computed: {reason}")
        self._designs = [_centred(problem, limits)]
        if kind == OUTPUTS:
            self._designs.append(Design(_of_outputs(problem), limits))

    def sums_without(
        self, folds: list[list[Span]], design: Design, known: Sums
    ) -> list[tuple[Moments, ...]]:
        """Return the moments for `patterns` without each fold in turn.

        The sums of the ``design`` are ``known``.
        """
        several = []
        for each in self._designs:
            assert each.targets is not None
            if each is not design:
                known = fold_sums(each, each.targets, Spans(folds, []), "sums for patterns")
            several.append(known.beside)
        return [*zip(*several, strict=True)]

    def patterns(self, kernel: np.ndarray, moments: Sequence[Moments] = ()) -> np.ndarray:
        """Return the patterns of a kernel, kernel-shaped, for all rows or those of some moments."""
        given = moments or [moments_of(each) for each in self._designs]
        m, *of_outputs = (each.with_constant() for each in given)
        own, other = m.units.column_exponents[:, :, None], m.units.out_exponents[:, None]
        with np.errstate(under="ignore"):
            w = np.ldexp(to_columns(kernel, len(m.gram)), own - other)
            joint = m.eliminated().gram @ w
            if of_outputs:
                y = of_outputs[0].rescaled(m.units.out_exponents, of_outputs[0].units.out_exponents)
                products, terms = y.eliminated().gram, np.linalg.diagonal(y.gram)
            else:
                products = w.swapaxes(1, 2) @ joint
                terms = np.einsum("gp,gpq->gq", np.sqrt(np.linalg.diagonal(m.gram)), np.abs(w)) ** 2
            inverse, doubt, direction = _inverse(products, ROUNDING * terms)
            if doubt.max() > LARGEST:
                raise ValueError(self._refusal(int(doubt.argmax()), direction))
            return np.asarray(to_kernel(np.ldexp(joint @ inverse, own - other), self._kernel_size))

    def _refusal(self, group: int, direction: np.ndarray) -> str:
        """Return why a group has no patterns, given the direction (G, Q) of smallest variance."""
        first = group * direction.shape[1]
        places = np.flatnonzero(np.abs(direction[group]) > NAMED)
        names = [str(self._names[first + q]) for q in places]
        word = "outputs" if self._designs[1:] else "predicted outputs"
        return (
            f"there are no patterns of the {word} {some(names)}, which are constant, linearly "
            "dependent, or small differences of large terms; use a ridge, or fewer outputs"
        )


def _inverse(products: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the inverses of matrices (G, Q, Q) whose diagonals have an ``error`` (G, Q).

    Returns:
        The inverses, their relative errors (G,), inf for a singular matrix, and the direction
        (G, Q) of smallest variance.
    """
    squares = np.linalg.diagonal(products)
    size = np.sqrt(np.where(squares > error, squares, np.inf))
    values, vectors = np.linalg.eigh(products / (size[:, :, None] * size[:, None]))
    share = (error / np.square(size)).sum(1)
    regular = values[:, 0] > share
    doubt = np.where(regular, share / np.where(regular, values[:, 0], 1.0), np.inf)
    half = vectors / np.sqrt(np.where(regular[:, None], values, 1.0))[:, None] / size[:, :, None]
    return half @ half.swapaxes(1, 2), doubt, vectors[:, :, 0]


def _centred(problem: Problem, limits: Tuning) -> Design:
    """Return the design with a bias, whose moments are about the means."""
    own, centred = analyse(problem, limits).design, problem._replace(bias=True)
    return own if own.bias or not centred._nuisance.shared else Design(centred, limits)


def _of_outputs(problem: Problem) -> Problem:
    """Return the problem whose x are the outputs, with one tap."""
    axes = problem.spec.ndim
    return problem._replace(
        _geometry=Geometry(ConvSpec((1,) * axes, groups=problem.spec.groups), (0,) * axes),
        _input=problem._output,
        bias=True,
    )
