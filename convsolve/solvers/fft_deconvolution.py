"""Deconvolution by the convolution theorem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..leastsquares.scaling import in_units
from ..linalg.channels import extremes
from ..linalg.rank import EPS
from ..operators.layout import to_columns, to_kernel
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .base import Objective, Solver, SolverResult, traceable, whole_reason


def _period(shapes: list[tuple[int, ...]], spec: ConvSpec) -> tuple[int, ...]:
    """Return the length of the transform along each axis; only circular records wrap around."""
    longest = [max(axis) for axis in zip(*shapes, strict=True)]
    if spec.padding == "circular":
        return tuple(longest)
    axes = []
    for w, span, lo, t in zip(
        longest, spec._span, spec._offset(longest), spec.output_shape(longest), strict=True
    ):
        # No tap of a row may wrap onto a sample, because x is zero before and after the record.
        axes.append(max(w + span - 1, t, w + lo, t + span - 1 - lo))
    return tuple(axes)


def _spectrum(records: Any, period: tuple[int, ...], xp: Any) -> Any:
    """Return the FFT (bins, records, C) of records (*space, C), padded with zeros to ``period``."""
    axes = tuple(range(len(period)))
    parts = [xp.fft.rfftn(r, period, axes=axes).reshape(-1, 1, r.shape[-1]) for r in records]
    return xp.concatenate(parts, axis=1)


def _positions(spec: ConvSpec, shape: tuple[int, ...], period: tuple[int, ...]) -> Any:
    """Return the index of each tap in the periodic response, (lo - k·d) mod period, as a mesh."""
    lags = [
        (lo - np.arange(k) * d) % n
        for lo, k, d, n in zip(
            spec._offset(shape), spec.kernel_size, spec.dilation, period, strict=True
        )
    ]
    return np.ix_(*lags)


def _taps(transfer: Any, spec: ConvSpec, shape: Any, period: tuple[int, ...], xp: Any) -> Any:
    """Return the taps ``(*K, Cg, Q)`` of a transfer function ``(bins, Cg, Q)``."""
    half = (*period[:-1], period[-1] // 2 + 1)
    response = xp.fft.irfftn(
        transfer.reshape(*half, *transfer.shape[1:]), period, axes=tuple(range(len(period)))
    )
    return response[_positions(spec, shape, period)]


@traceable()
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
    In `fit_kernel` X(f) must have full rank in every bin unless there is a ridge.

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

    answer = "one kernel of many, with empty bins set to zero"
    reads_rows = False

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if there is a stride, a bias or no common period, else None."""
        if objective.strength and objective.penalty != RIDGE:
            return f"{objective.penalty.title} is not a ridge on every bin; use solver='normal'"
        if sizes.dimension is not None:
            return "it divides spectra of whole kernels, without a basis; use solver='normal'"
        if any(s > 1 for s in spec.stride):
            return "stride > 1 aliases the spectrum of y; use solver='normal'"
        if not sizes.toeplitz:
            return "a spectrum needs all rows, without weights or confounds; use solver='normal'"
        if sizes.nuisance:
            return "it has no bias; subtract the means, or use solver='normal'"
        shapes = set(sizes.shapes)
        if len(shapes) > 1 and spec.padding == "circular":
            return (
                "circular records of different length have no common spectrum; use solver='normal'"
            )
        if spec.padding == "circular" and any(
            n > w for s in shapes for n, w in zip(spec._span, s, strict=True)
        ):
            return "the kernel is longer than the period, so that taps share a bin; use solver='qr'"
        if len({spec._offset(s) for s in shapes}) > 1:
            return "records of different length place the kernel differently; use solver='normal'"
        return whole_reason(sizes)

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        design, targets = analysis.design, analysis.targets
        assert targets is not None
        spec, groups, outputs = design.spec, design.sizes.groups, targets.outputs
        xs_given, ys_given = design.records_in_memory, targets.in_memory
        ridge = objective.strength
        shape = xs_given[0].shape[:-1]
        period = _period([a.shape[:-1] for a in xs_given], spec)
        x_scale, y_scale = _exponents(xs_given), _exponents(ys_given)
        if ridge:
            x_scale = np.full_like(x_scale, x_scale.max())  # the ridge has one strength
        # In units of x the ridge may leave float64, so its power of two is stored separately.
        root, power = np.frexp(ridge)
        high = max(int(power) - 2 * int(x_scale[0]), 0) if ridge else 0
        xs = _spectrum([np.ldexp(a.astype(float), -x_scale) for a in xs_given], period, np)
        ys = _spectrum([np.ldexp(a.astype(float), -y_scale) for a in ys_given], period, np)
        taps, per = [], x_scale.size // groups
        for g in range(groups):
            x = xs[..., g * per : (g + 1) * per]
            y = ys[..., g * outputs : (g + 1) * outputs]
            u, s, vh = np.linalg.svd(x, full_matrices=False)
            cut = 10 * EPS * math.log2(math.prod(period) + 1) * s.max(initial=0.0)
            damp = np.ldexp(root, power - 2 * int(x_scale[0]) - high)
            kept = s > cut
            gain = np.where(kept, s / np.where(kept, np.ldexp(s**2, -high) + damp, 1.0), 0.0)

            def divide(right: Any, u: Any = u, gain: Any = gain, vh: Any = vh) -> Any:
                inner = gain[..., None] * (u.conj().swapaxes(1, 2) @ right)
                return _taps(vh.conj().swapaxes(1, 2) @ inner, spec, shape, period, np)

            w = divide(y)
            if not ridge:
                # A second division, of the residual, removes the rounding error of weak bins.
                placed = np.zeros((*period, *w.shape[-2:]))
                np.add.at(placed, _positions(spec, shape, period), w)
                response = np.fft.rfftn(placed, axes=tuple(range(spec.ndim)))
                w = w + divide(y - x @ response.reshape(-1, *w.shape[-2:]))
            taps.append(w)
        columns = to_columns(np.concatenate(taps, axis=-1), groups)
        per_group = np.tile(x_scale.reshape(groups, -1), (1, columns.shape[1] // per))
        exponents = y_scale.reshape(groups, 1, -1) - per_group[:, :, None] - high
        kernel = to_kernel(in_units(columns, exponents), spec.kernel_size)
        return SolverResult(kernel, np.zeros(kernel.shape[-1]), strength=ridge)

    def traced(
        self, x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        import jax.numpy as jnp

        from ..operators.jax_operator import matmul

        if objective.penalty != RIDGE:
            raise ValueError("FFTDeconvolution supports a ridge only")
        if bias or weights is not None or any(s > 1 for s in spec.stride):
            raise ValueError("FFTDeconvolution supports no bias, no weights and no stride")
        shape = x.shape[1:-1]
        period = _period([shape], spec)
        xs, ys = _spectrum(list(x), period, jnp), _spectrum(list(y), period, jnp)
        taps = []
        for xg, yg in zip(
            jnp.split(xs, spec.groups, axis=-1), jnp.split(ys, spec.groups, axis=-1), strict=True
        ):
            xh = xg.conj().swapaxes(1, 2)
            gram = matmul(xh, xg)
            gram = gram + objective.strength * jnp.eye(gram.shape[-1], dtype=gram.dtype)
            transfer = jnp.linalg.solve(gram, matmul(xh, yg))
            taps.append(_taps(transfer, spec, shape, period, jnp))
        kernel = jnp.concatenate(taps, axis=-1)
        return kernel, jnp.zeros(kernel.shape[-1], kernel.dtype)


def _exponents(records: Sequence[np.ndarray]) -> np.ndarray:
    """Return exponents (C,) of channels: their largest magnitude is about one in these units."""
    size = np.max([extremes(a)[0] for a in records], axis=0)
    return np.maximum(np.frexp(np.where(size > 0, size, 1.0))[1], -1020)
