"""Kernels in the layouts of other libraries: a flip, a transpose, never another number.

A kernel of convsolve is ``(*K, Cin/groups, Cout)`` with one to three axes K, applied as a
cross-correlation; lags *descend* along K::

    y[n, t, o] = sum_{k, c} x[n, t*stride + k*dilation - lo, g(o)*Cg + c] * w[k, c, o]

Everything here works on NumPy arrays and returns one that shares no memory with its input, except
where a layout is the same. A kernel of another number of axes is a ValueError.
"""

from __future__ import annotations

import numpy as np

OURS = "(*K, Cin/groups, Cout) with 1 to 3 axes K"


def _checked(array: np.ndarray, layout: str, ranks: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim not in ranks:
        raise ValueError(f"the array must be {layout}, got shape {array.shape}")
    return array


def to_keras(kernel: np.ndarray) -> np.ndarray:
    """``kernel`` itself: the weight of Keras ConvND and Flax Conv has the same layout.

    Keras takes it as ``layer.set_weights([kernel])`` or ``[kernel, bias]``. Source: the
    documentation of ``keras.layers.Conv1D``.
    """
    return _checked(kernel, OURS, (3, 4, 5))


def from_keras(weight: np.ndarray) -> np.ndarray:
    """``weight`` itself: the kernel of Keras ConvND and Flax Conv has the same layout."""
    return _checked(weight, OURS, (3, 4, 5))


def to_torch(kernel: np.ndarray) -> np.ndarray:
    """``kernel`` as ``weight`` of ``torch.nn.ConvNd``, ``(Cout, Cin/groups, *K)``.

    PyTorch cross-correlates too, with channels first: x is ``(N, Cin, *W)`` there. Source: the
    documentation of ``torch.nn.Conv1d``.
    """
    return np.moveaxis(_checked(kernel, OURS, (3, 4, 5)), (-1, -2), (0, 1)).copy()


def from_torch(weight: np.ndarray) -> np.ndarray:
    """The kernel ``(*K, Cin/groups, Cout)`` of a PyTorch ``weight`` ``(Cout, Cin/groups, *K)``."""
    weight = _checked(weight, "(Cout, Cin/groups, *K) with 1 to 3 axes K", (3, 4, 5))
    return np.moveaxis(weight, (0, 1), (-1, -2)).copy()


def _flipped(array: np.ndarray) -> np.ndarray:
    return np.flip(array, tuple(range(array.ndim - 2))).copy()


def to_impulse_response(kernel: np.ndarray) -> np.ndarray:
    """``kernel`` with every axis of taps reversed, so that lags ascend, same shape.

    It is then what signal processing convolves with. At stride and dilation 1 and for one channel::

        y = np.convolve(x, h)                  padding="full"
        y = scipy.signal.lfilter(h, 1, x)      padding="causal"
        y = scipy.signal.convolve(x, h, mode="valid")     padding="valid", 2-D and 3-D as well

    With dilation d the taps are d samples apart: put d - 1 zeros between them first. Their lags are
    ``ConvSpec.lags`` reversed; a `Solution` has both as ``impulse_response`` and ``lags``.
    """
    return _flipped(_checked(kernel, OURS, (3, 4, 5)))


def from_impulse_response(response: np.ndarray) -> np.ndarray:
    """The kernel of an impulse response ``(*K, Cin/groups, Cout)`` in ascending lags."""
    return _flipped(_checked(response, OURS, (3, 4, 5)))


def _dense(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel ``(K, Cin, Cout)`` without groups that does what ``kernel`` does with them."""
    taps, channels, outputs = kernel.shape
    if groups < 1 or outputs % groups:
        raise ValueError(f"groups={groups} does not divide the {outputs} outputs of the kernel")
    # Group g reads its own channels only; zeros keep its outputs from those of all others.
    blocks = np.zeros((taps, groups, channels, groups, outputs // groups), kernel.dtype)
    grouped = kernel.reshape(taps, channels, groups, outputs // groups)
    for g in range(groups):
        blocks[:, g, :, g] = grouped[:, :, g]
    return blocks.reshape(taps, groups * channels, outputs)


def to_mne(kernel: np.ndarray, *, groups: int = 1) -> np.ndarray:
    """``kernel`` ``(K, Cin/groups, Cout)`` as ``coef_`` of MNE's ``ReceptiveField``.

    Returns ``(Cout, Cin, K)`` in ascending delays, as MNE has it for y with an axis of outputs. At
    dilation 1 ``tmin`` and ``tmax`` are the smallest and the largest lag over the sampling rate. It
    knows no groups; a kernel with ``groups`` is filled up with zeros.

    Raises ValueError where the kernel is not 1-D, or ``groups`` does not divide Cout. Source: the
    documentation of ``mne.decoding.ReceptiveField``.
    """
    dense = _dense(_checked(kernel, "(K, Cin/groups, Cout)", (3,)), groups)
    return dense[::-1].transpose(2, 1, 0).copy()


def from_mne(coef: np.ndarray) -> np.ndarray:
    """The kernel ``(K, Cin, Cout)`` of MNE's ``coef_``: ``(Cout, Cin, K)``, or ``(Cin, K)``."""
    coef = _checked(coef, "(outputs, features, delays) or (features, delays)", (2, 3))
    coef = coef[np.newaxis] if coef.ndim == 2 else coef
    return coef.transpose(2, 1, 0)[::-1].copy()


def to_trf(kernel: np.ndarray, *, fs: float = 1.0, groups: int = 1) -> np.ndarray:
    """``kernel`` ``(K, Cin/groups, Cout)`` as ``weights`` of mTRFpy's ``TRF``.

    Returns ``(Cin, K, Cout)`` in ascending lags. mTRFpy takes its weights as a density in time,
    y = (weights * x) / fs: given its sampling rate ``fs`` in Hz they are fs times the kernel, by
    default the taps as they stand. It knows no groups; a kernel with ``groups`` is filled up with
    zeros.

    Raises ValueError where the kernel is not 1-D, ``groups`` does not divide Cout or ``fs`` is not
    positive. Source: ``TRF.train`` and ``TRF.predict`` of mTRFpy 2.1.2.
    """
    dense = _dense(_checked(kernel, "(K, Cin/groups, Cout)", (3,)), groups)
    return (dense[::-1] * _positive(fs)).transpose(1, 0, 2).copy()


def from_trf(weights: np.ndarray, *, fs: float = 1.0) -> np.ndarray:
    """The kernel ``(K, Cin, Cout)`` of mTRFpy's ``weights`` ``(Cin, K, Cout)``, see `to_trf`."""
    weights = _checked(weights, "(features, lags, outputs)", (3,))
    return (weights / _positive(fs)).transpose(1, 0, 2)[::-1].copy()


def _positive(fs: float) -> float:
    if not fs > 0:
        raise ValueError(f"fs must be a positive sampling rate in Hz, got {fs}")
    return float(fs)
