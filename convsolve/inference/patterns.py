"""Patterns of a decoder: least squares of every lagged channel of x on the outputs.

Source: S. Haufe et al., NeuroImage 87 (2014) 96, equation 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..leastsquares.analysis import analyse
from ..leastsquares.design import Design
from ..linalg.rank import EPS
from ..operators.first_pass import cancels
from ..operators.layout import to_columns, to_kernel
from ..operators.moments import Moments
from ..problem.problem import Problem
from ..problem.rows import Span
from ..problem.sizes import Tuning
from ..problem.spec import ConvSpec
from ..text import some
from .folds import Spans
from .sums import Sums, fold_sums

KINDS = PREDICTED, OUTPUTS = ("predicted", "outputs")
# Rounding error of a sum of products, relative to its terms.
ROUNDING = 100 * EPS
# Relative rounding error of the inverse of a covariance matrix: beyond the first bound the matrix
# is computed from the data instead of the moments, and beyond the second one there are no patterns.
ACCURATE, LARGEST = 1e-8, 1e-3
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
        """Return the patterns of a kernel, kernel-shaped, for all rows or those of some moments.

        For all rows, the data are read if the moments lack digits.
        """
        given = moments or [each.summable for each in self._designs]
        m, *of_outputs = (each.with_constant() for each in given)
        own, other = m.units.column_exponents[:, :, None], m.units.out_exponents[:, None]
        with np.errstate(under="ignore"):
            w = np.ldexp(to_columns(kernel, len(m.gram)), own - other)
            joint = m.projection.cross(m.gram @ w, m.projection.products @ w)
            if of_outputs:
                y = of_outputs[0].rescaled(m.units.out_exponents, of_outputs[0].units.out_exponents)
                products = y.inner(slice(None), slice(None))
                found = _inverse(products, ROUNDING * np.linalg.diagonal(y.gram))
            else:
                found = self._of_products(m, w, w.swapaxes(1, 2) @ joint, not moments)
            inverse, doubt, direction = found
            if doubt.max() > LARGEST:
                if moments and not of_outputs:  # the patterns of all rows exist
                    raise ValueError(
                        "jackknife of patterns cannot be computed: sums over records have too few "
                        "digits of the predicted outputs; use a ridge"
                    )
                raise ValueError(self._refusal(int(doubt.argmax()), direction))
            return np.asarray(to_kernel(np.ldexp(joint @ inverse, own - other), self._kernel_size))

    def _of_products(
        self, m: Moments, w: np.ndarray, products: np.ndarray, by_data: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return `_inverse` for the sums of products (G, Q, Q) of predicted outputs A w.

        With ``by_data``, they are computed from the data if their terms cancel many digits.
        """
        terms = np.einsum("gp,gpq->gq", np.sqrt(np.linalg.diagonal(m.gram)), np.abs(w))
        error, design = ROUNDING * terms**2, self._designs[0]
        found = _inverse(products, error)
        doubtful = np.flatnonzero(found[1] > ACCURATE).tolist() if by_data else []
        for group in doubtful:
            products[group] = design.matrix.product_gram(group, w[group])
            if not design.nuisance.total:
                mean = m.means[group] @ w[group]
                products[group] -= m.n * np.outer(mean, mean)
            error[group] = ROUNDING * terms[group] * np.sqrt(np.diagonal(products[group]))
        return _inverse(products, error) if doubtful else found

    def _refusal(self, group: int, direction: np.ndarray) -> str:
        """Return why a group has no patterns, given the direction (G, Q) of smallest variance."""
        first = group * direction.shape[1]
        places = np.flatnonzero(np.abs(direction[group]) > NAMED)
        names = [str(self._names[first + q]) for q in places]
        word = "output" if self._designs[1:] else "predicted output"
        if len(names) == 1:
            return f"{word} {names[0]} is constant to rounding, so it has no pattern; leave it out"
        return (
            f"{word}s {some(names)} are linearly dependent, so their joint patterns are not "
            "determined; solve for fewer outputs"
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
    """Return a design whose moments give covariances of x without a loss of digits.

    It is the design of the problem, unless this has no bias and a constant matters. Another pass
    then subtracts the means.
    """
    own, centred = analyse(problem, limits).design, problem._replace(bias=True)
    if own.bias or not centred._nuisance.shared:
        return own
    if not own.nuisance.total:
        m = own.summable.with_constant()
        if not cancels(m.squares, np.linalg.diagonal(m.gram)):
            return own
    return Design(centred, limits)


def _of_outputs(problem: Problem) -> Problem:
    """Return the problem whose x are the outputs, with one tap."""
    axes = problem.spec.ndim
    return problem._replace(
        spec=ConvSpec((1,) * axes, groups=problem.spec.groups),
        _window=None,
        _lag_shift=(0,) * axes,
        _input=problem._output,
        bias=True,
    )
