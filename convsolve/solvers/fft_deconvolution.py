"""Deconvolution by the convolution theorem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..linalg.rank import EPS
from ..operators.layout import to_kernel
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .base import Objective, Solver, SolverResult


def _period(shapes: Sequence[tuple[int, ...]], spec: ConvSpec) -> tuple[int, ...]:
    """Return the length of the transform along each axis; only circular records wrap around."""
    longest = tuple(max(axis) for axis in zip(*shapes, strict=True))
    if spec.padding == "circular":
        return longest
    # No tap of a row may wrap onto a sample, because x is zero before and after the record.
    of = longest, spec._span, spec._offset(longest), spec.output_shape(longest)
    return tuple(
        max(w + span - 1, t, w + lo, t + span - 1 - lo) for w, span, lo, t in zip(*of, strict=True)
    )


def _spectrum(records: Sequence[np.ndarray], period: tuple[int, ...], groups: int) -> np.ndarray:
    """Return the FFT (groups, bins, records, C) of records (*space, groups·C)."""
    axes = tuple(range(len(period)))
    found = np.stack([np.fft.rfftn(r, period, axes) for r in records], axis=-2)
    return np.moveaxis(found.reshape(-1, len(records), groups, found.shape[-1] // groups), 2, 0)


@dataclass(frozen=True, repr=False)
class FFTDeconvolution(Solver):
    """Divide the spectrum of y by the spectrum of x, and keep the taps of the kernel.

    The transfer function of each bin f is the least-squares solution over all records,
    ``H(f) = argmin Σ_n |Y_n(f) − X_n(f) H|² + ridge·|H|²``. It is computed from the singular values
    of X(f) (records × channels), and is 0 in bins in which X is zero.

    The kernel is exact ("solved", certificate at most 30 eps) for noise-free data of circular or
    full convolutions if X has rank Cin in every bin, which requires at least Cin records. Otherwise
    it is "approximate". With noise, all lags of the period are fitted, and all but K of them are
    dropped. With valid, same or causal padding, rows beyond the edges of a record count as zero.
    Use this classical method for a fast first estimate, and ``"normal"`` for the least-squares
    solution. Strides and a bias are not supported, and circular records must have the same length.
    Runs on the host only.

    Source: J. S. Bendat and A. G. Piersol, Random Data, Wiley 2010, chapter 6.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x = np.random.default_rng(0).standard_normal(500)
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])
        >>> fit = cs.solve(cs.Problem(x, y, kernel_size=3, padding="full"), "fft")
        >>> fit.impulse_response.round(6)
        array([0.5, 1. , 0.3])

    See Also:
        ``"normal"`` for the least-squares solution.
    """

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if there is a stride, a bias or no common period, else None."""
        if objective.strength and objective.penalty != RIDGE:
            return f"{objective.penalty.title} is not a ridge on every bin; use solver='normal'"
        longest = [max(axis) for axis in zip(*sizes.shapes, strict=True)]
        circular = spec.padding == "circular"
        reasons = {
            "it divides spectra of whole kernels, without a basis": sizes.dimension is not None,
            "stride > 1 aliases the spectrum of y": any(s > 1 for s in spec.stride),
            "a spectrum needs all rows, without weights or confounds": not sizes.toeplitz,
            "it has no bias": sizes.nuisance,
            "records of different length have no common spectrum": len(set(sizes.shapes)) > 1
            and (circular or len({spec._offset(s) for s in sizes.shapes}) > 1),
            "the kernel is longer than the period, so that taps share a bin": circular
            and any(n > w for n, w in zip(spec._span, longest, strict=True)),
            f"it {sizes.whole_reason}": sizes.whole_reason,
        }
        words = (f"{reason}; use solver='normal'" for reason, true in reasons.items() if true)
        return next(words, None)

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        design, targets = analysis.design, analysis.targets
        assert targets is not None
        spec, groups, records = design.spec, design.sizes.groups, design.records_in_memory
        period = _period([a.shape[:-1] for a in records], spec)
        x, y = (_spectrum(a, period, groups) for a in (records, targets.in_memory))
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        noise = 10 * EPS * math.log2(math.prod(period) + 1)
        kept = s > noise * s.max(axis=(1, 2), keepdims=True, initial=0.0)
        gain = np.where(kept, s / np.where(kept, s**2 + objective.strength, 1.0), 0.0)
        inner = gain[..., None] * (u.conj().swapaxes(2, 3) @ y)
        transfer = vh.conj().swapaxes(2, 3) @ inner
        half = (groups, *period[:-1], period[-1] // 2 + 1, *transfer.shape[2:])
        response = np.fft.irfftn(transfer.reshape(half), period, range(1, len(period) + 1))
        # The index of each tap in the periodic response.
        of = spec._offset(records[0].shape[:-1]), spec.kernel_size, spec.dilation, period
        lags = [(lo - np.arange(k) * d) % n for lo, k, d, n in zip(*of, strict=True)]
        taps = response[np.ix_(range(groups), *lags)]
        kernel = to_kernel(taps.reshape(groups, -1, taps.shape[-1]), spec.kernel_size)
        answer = "one kernel of many, with empty bins set to zero"
        return SolverResult(kernel, np.zeros(kernel.shape[-1]), answer=answer)
