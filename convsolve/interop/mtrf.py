"""Kernels and strengths to and from mTRFpy.

mTRFpy minimizes, with y and x of all ``trials`` and zeros beyond their ends,

    ‖y − Aw − b‖² + fs · trials · regularization · penalty(w),

because it averages covariances over trials and divides by the sampling interval. Its ``weights``
are fs·w and its ``bias`` is fs·b, which is not penalized. The penalty depends on ``method``:

- "ridge": ‖w‖².
- "banded": ‖w‖² with a factor for each feature.
- "tikhonov": half the sum of squared differences between neighbouring columns of A. With one
  feature these columns are neighbouring lags. With several they are neighbouring features, and
  convsolve has no such penalty.

`to_mtrf` needs mTRFpy: ``pip install mtrf``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import __version__
from ..leastsquares.penalty import RIDGE, Penalty, Ridge
from ..leastsquares.smooth import Smooth
from ..problem.checks import choice, integer
from ..problem.problem import Problem
from ..solution import Solution
from .layouts import from_trf, to_trf

DIRECTIONS = (1, -1)


def from_mtrf(trf: Any) -> Solution:
    """Return a trained ``mtrf.TRF`` as a `Solution`, to predict, score, plot and save.

    x is the stimulus. For a decoder (``direction=-1``) x is the response, and the lags are negative
    where the response follows the stimulus. The status is "approximate": a TRF does not keep its
    training data, so there is no certificate. To get a certificate, standard errors, and patterns
    of a decoder, solve again with `penalty_of`.

    Args:
        trf: a trained ``mtrf.TRF``.

    Returns:
        A `Solution` with kernel, bias and lags.

    Raises:
        TypeError: If ``trf`` is not a TRF.
        ValueError: If ``trf`` is not trained.

    Examples:
        >>> import numpy as np
        >>> from mtrf import TRF
        >>> from convsolve.interop.mtrf import from_mtrf
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 1000, 1))
        >>> trf = TRF()
        >>> trf.train(x, x + noise, 100, 0.0, 0.1, regularization=1.0)
        >>> len(from_mtrf(trf).lags)
        11

    See Also:
        `to_mtrf` and `penalty_of`.
    """
    weights, fs, given = _trained(trf), float(trf.fs), _of_features(trf)
    kernel = from_trf(weights, fs=fs)
    taps, inputs, outputs = kernel.shape
    first = round(float(trf.times[0]) * fs)
    stated = Problem(
        np.zeros((taps, inputs)),
        lags=[(first, first + taps - 1)],
        edges="zeros" if trf.zeropad else "drop",
        bias=True,
        n_outputs=outputs,
        fs=fs,
    )
    return Solution(
        kernel,
        np.asarray(trf.bias).reshape(-1) / fs,
        recipe=stated._recipe,
        spec=stated.spec,
        tap_lags=stated._lags,
        y_channel_axis=True,
        status="approximate",
        stats={
            "solver": "mTRFpy",
            "settings": {"method": trf.method},
            "penalty": None if given is None else {"kind": "mTRFpy's own", "strength": given},
            "version": __version__,
            "noise": "white",
            "no_certificate": "no certificate, since the kernel was computed by another library",
        },
        certificate=None,
    )


def penalty_of(trf: Any, trials: int) -> Penalty:
    """Return the penalty that gives the same kernel as ``trf.train`` for the same x and y.

    Args:
        trf: a trained TRF, for its ``method`` and its ``regularization``.
        trials: number of trials that it was trained on, which a TRF does not keep.

    Returns:
        A `Ridge` or a `Smooth`, with the strength for these trials.

    The problem is ``Problem(x, y, lags=…, edges="zeros", bias=True)``, with the lags of
    ``from_mtrf(trf)``. mTRFpy rounds the start of a window in seconds down and its end up; ``tmin``
    and ``tmax`` of `Problem` go to the nearest sample. The strength is fs · trials ·
    regularization, and half of that for "tikhonov", which uses `Smooth`. "banded" uses a `Ridge`
    with ``channel_groups``. A regularization per output gives a strength per output.

    Raises:
        TypeError: If ``trf`` is not a TRF.
        ValueError: If ``trf`` is not trained, or its method is "tikhonov" with several features.

    Examples:
        >>> import numpy as np
        >>> from mtrf import TRF
        >>> from convsolve.interop.mtrf import penalty_of
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 1000, 1))
        >>> trf = TRF()
        >>> trf.train(x, x + noise, 100, 0.0, 0.1, regularization=1.0)
        >>> penalty_of(trf, trials=1)
        Ridge(100.0)

    See Also:
        `from_mtrf`.
    """
    inputs, given = _trained(trf).shape[0], _of_features(trf)
    unit = float(trf.fs) * integer(trials, "trials")
    if given is None:
        raise ValueError("this TRF has no regularization; set it, 0.0 for none")
    if trf.method == "tikhonov":
        if inputs > 1:
            raise ValueError(
                f"method='tikhonov' of {inputs} features penalizes differences between features, "
                "not between lags; Smooth() penalizes differences between lags"
            )
        return Smooth(0.5 * unit * np.array(given))
    if trf.method == "banded":
        labels = sorted(set(given))
        groups = tuple(map(labels.index, given))
        return Ridge([unit * one for one in labels], channel_groups=groups)
    return Ridge(unit * np.array(given))


def to_mtrf(fit: Solution, *, direction: int = 1) -> Any:
    """Return a kernel as a trained ``mtrf.TRF``, which can predict, plot and save.

    Args:
        fit: a solution along one axis, of stride 1, with ``fs``. The lags that a dilation skips get
            zeros.
        direction: 1, the default, if x is the stimulus, −1 if x is the response.

    Returns:
        An ``mtrf.TRF``.

    The TRF predicts a row for every sample of x, with zeros beyond the ends. It agrees with
    ``fit.predict`` where it is not NaN. ``regularization`` is the strength that mTRFpy would
    need, with ``method="tikhonov"`` for `Smooth` of order 1 and one channel. It is None for other
    penalties and after `load`. mTRFpy has no names of channels, so they are not kept.

    Raises:
        TypeError: If ``direction`` is not an integer.
        ValueError: If ``direction`` is neither 1 nor −1. If the kernel has several axes, a stride
            or circular edges. If the problem has no ``fs``.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> from convsolve.interop.mtrf import to_mtrf
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> fit = cs.solve(cs.Problem(x, x + noise, tmin=0, tmax=0.1, fs=100))
        >>> to_mtrf(fit).weights.shape
        (1, 11, 1)

    See Also:
        `from_mtrf`.
    """
    from mtrf import TRF

    if integer(direction, "direction", -1) not in DIRECTIONS:
        raise ValueError(f"direction must be 1 or -1, got {direction}")
    spec, fs = fit._spec, fit._names.fs
    if spec.ndim > 1 or spec.stride[0] > 1 or spec.padding == "circular":
        raise ValueError(
            "mTRFpy has kernels along one axis, of stride 1, and zeros beyond the ends: this one "
            f"has {spec.ndim} axes, stride {spec.stride[0]}, padding {spec.padding!r}"
        )
    if fs is None:
        raise ValueError("mTRFpy needs a sampling rate: state the problem with fs=")
    dense = to_trf(np.asarray(fit.kernel), fs=fs, groups=spec.groups)
    first, last = int(fit.lags[0]), int(fit.lags[-1])
    weights = np.zeros((len(dense), last - first + 1, dense.shape[-1]), dense.dtype)
    weights[:, :: spec.dilation[0]] = dense
    method, regularization = _regularization(fit)
    trf = TRF(direction, method=method)
    trf.weights, trf.bias = weights, np.asarray(fit.bias)[np.newaxis] * fs
    trf.times, trf.fs, trf.regularization = _times(first, last, fs), fs, regularization
    return trf


def _trained(trf: Any) -> np.ndarray:
    """Return the weights of a trained TRF."""
    if not all(hasattr(trf, name) for name in ("weights", "bias", "times", "fs", "zeropad")):
        raise TypeError(f"expected a TRF of mTRFpy, got a {type(trf).__name__}")
    if trf.weights is None:
        raise ValueError("this TRF is not trained: it has no weights; call its train first")
    choice(trf.method, "method", ("ridge", "tikhonov", "banded"))
    return np.asarray(trf.weights)


def _of_features(trf: Any) -> Any:
    """Its regularization: a number, or a list, one per feature ("banded") or one per output."""
    if trf.regularization is None:
        return None
    given = np.asarray(trf.regularization, float)
    if given.ndim == 2:  # the diagonal of the bias, and of every feature at every lag
        given = np.diagonal(given)[1 : 1 + len(trf.weights)]
    return given.tolist()


def _times(first: int, last: int, fs: float) -> np.ndarray:
    """Lags in seconds, from which ``TRF.predict`` computes the same first and last sample.

    It multiplies them by fs and rounds the first down and the last up: 29 / 100 · 100 is below 29.
    """
    times = np.arange(first, last + 1) / fs
    while times[0] * fs < first:
        times[0] = np.nextafter(times[0], np.inf)
    while times[-1] * fs > last:
        times[-1] = np.nextafter(times[-1], -np.inf)
    return times


def _regularization(fit: Solution) -> tuple[str, Any]:
    """Return the method and the regularization of mTRFpy for the penalty of a fit.

    The regularization is None if outputs have different penalties or mTRFpy has no such penalty.
    """
    kinds = {penalty for penalty, _ in fit._penalties}
    known: dict[Penalty, tuple[str, float]] = {RIDGE: ("ridge", 1.0)}
    if fit.kernel.shape[-2] * fit._spec.groups == 1:
        known[Smooth()] = ("tikhonov", 2.0)
    found = known.get(kinds.pop()) if len(kinds) == 1 else None
    report, fs = fit.identifiability, fit._names.fs
    if found is None or fs is None or report is None:
        return "ridge", None
    method, times = found
    unit = times / (fs * len(report.problem._row_shapes))
    strengths = np.array([strength for _, strength in fit._penalties]) * unit
    same = (strengths == strengths[0]).all()
    return method, float(strengths[0]) if same else strengths
