"""Kernels in the layouts of other libraries; needs none of them, and no jax.

Imported by themselves: `convsolve.interop.mne`, recordings of MNE, and `convsolve.interop.events`,
tables of events as BIDS and nilearn have them. Kernels of Keras and Flax have the layout of the
package: ``(*K, Cin/groups, Cout)`` with one to three axes K, applied as a cross-correlation. Lags
*descend* along K::

    y[n, t, o] = sum_{k, c} x[n, t*stride + k*dilation - lo, g(o)*Cg + c] * w[k, c, o]

The functions flip and transpose arrays of NumPy. The arrays that they return share no memory with
their input.
"""

from __future__ import annotations

import numpy as np

from ..problem.checks import number

__all__ = [
    "from_impulse_response", "from_mne", "from_torch", "from_trf", "to_impulse_response",
    "to_mne", "to_torch", "to_trf",
]  # fmt: skip

OURS = "(*K, Cin/groups, Cout) with 1 to 3 axes K"


def _checked(array: np.ndarray, layout: str, ranks: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim not in ranks:
        raise ValueError(f"the array must be {layout}, got shape {array.shape}")
    return array


def to_torch(kernel: np.ndarray) -> np.ndarray:
    """Return ``weight`` of ``torch.nn.ConvNd`` for a kernel.

    PyTorch computes a cross-correlation too, with channels first: its x is ``(N, Cin, *W)``.
    Source: the documentation of ``torch.nn.Conv1d``.

    Args:
        kernel: ``(*K, Cin/groups, Cout)``, in any unit.

    Returns:
        An array ``(Cout, Cin/groups, *K)``.

    Raises:
        ValueError: If the array has another number of axes.

    Examples:
        >>> import numpy as np
        >>> from convsolve.interop import to_torch
        >>> to_torch(np.ones((5, 2, 3))).shape
        (3, 2, 5)

    See Also:
        `from_torch`.
    """
    return np.moveaxis(_checked(kernel, OURS, (3, 4, 5)), (-1, -2), (0, 1)).copy()


def from_torch(weight: np.ndarray) -> np.ndarray:
    """Return the kernel of a ``weight`` of ``torch.nn.ConvNd``.

    Args:
        weight: ``(Cout, Cin/groups, *K)``, in any unit.

    Returns:
        An array ``(*K, Cin/groups, Cout)``.

    Raises:
        ValueError: If the array has another number of axes.

    Examples:
        >>> import numpy as np
        >>> from convsolve.interop import from_torch
        >>> from_torch(np.ones((3, 2, 5))).shape
        (5, 2, 3)

    See Also:
        `to_torch`.
    """
    weight = _checked(weight, "(Cout, Cin/groups, *K) with 1 to 3 axes K", (3, 4, 5))
    return np.moveaxis(weight, (0, 1), (-1, -2)).copy()


def to_impulse_response(kernel: np.ndarray) -> np.ndarray:
    """Return a kernel with every axis of taps reversed, so that lags ascend.

    Signal processing convolves with this array. With stride and dilation 1 and one channel::

        y = np.convolve(x, h)                  padding="full"
        y = scipy.signal.lfilter(h, 1, x)      padding="causal"
        y = scipy.signal.convolve(x, h, mode="valid")     padding="valid", also in 2-D and 3-D

    With dilation d the taps are d samples apart: insert d - 1 zeros between them first. Their lags
    are ``ConvSpec.lags`` reversed. A `Solution` has both as ``impulse_response`` and ``lags``.

    Args:
        kernel: ``(*K, Cin/groups, Cout)``, in any unit.

    Returns:
        An array of the same shape.

    Raises:
        ValueError: If the array has another number of axes.

    Examples:
        >>> import numpy as np
        >>> from convsolve.interop import to_impulse_response
        >>> kernel = np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
        >>> to_impulse_response(kernel)[:, 0, 0]
        array([3., 2., 1.])

    See Also:
        `from_impulse_response`.
    """
    kernel = _checked(kernel, OURS, (3, 4, 5))
    return np.flip(kernel, tuple(range(kernel.ndim - 2))).copy()


def from_impulse_response(response: np.ndarray) -> np.ndarray:
    """Return the kernel of an impulse response.

    Args:
        response: ``(*K, Cin/groups, Cout)`` in ascending lags, in any unit.

    Returns:
        The kernel, of the same shape, in descending lags.

    Raises:
        ValueError: If the array has another number of axes.

    Examples:
        >>> import numpy as np
        >>> from convsolve.interop import from_impulse_response
        >>> response = np.array([3.0, 2.0, 1.0]).reshape(3, 1, 1)
        >>> from_impulse_response(response)[:, 0, 0]
        array([1., 2., 3.])

    See Also:
        `to_impulse_response`.
    """
    return to_impulse_response(response)


def _dense(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Return the kernel ``(K, Cin, Cout)`` without groups for a kernel with groups."""
    kernel = _checked(kernel, "(K, Cin/groups, Cout)", (3,))
    taps, channels, outputs = kernel.shape
    if groups < 1 or outputs % groups:
        raise ValueError(f"groups={groups} does not divide the {outputs} outputs of the kernel")
    # Group g reads its own channels only; zeros separate its outputs from all other channels.
    dense = np.zeros((taps, groups * channels, outputs), kernel.dtype)
    for g, of in enumerate(np.split(np.arange(outputs), groups)):
        dense[:, g * channels : (g + 1) * channels, of] = kernel[:, :, of]
    return dense


def to_mne(kernel: np.ndarray, *, groups: int = 1) -> np.ndarray:
    """Return ``coef_`` of MNE's ``ReceptiveField`` for a kernel.

    With dilation 1, ``tmin`` and ``tmax`` of MNE are the smallest and the largest lag divided by
    the sampling rate. MNE has no groups, so a kernel with groups is filled with zeros. Source: the
    documentation of ``mne.decoding.ReceptiveField``.

    Args:
        kernel: ``(K, Cin/groups, Cout)``, in any unit.
        groups: number of groups of the kernel. Default 1.

    Returns:
        An array ``(Cout, Cin, K)`` in ascending lags, as MNE has it for y with an axis of outputs.

    Raises:
        ValueError: If the kernel has several axes, or ``groups`` does not divide Cout.

    Examples:
        >>> import numpy as np
        >>> from convsolve.interop import to_mne
        >>> to_mne(np.ones((5, 2, 3))).shape
        (3, 2, 5)

    See Also:
        `from_mne`, and `convsolve.interop.mne`, which converts recordings.
    """
    return _dense(kernel, groups)[::-1].transpose(2, 1, 0).copy()


def from_mne(coef: np.ndarray) -> np.ndarray:
    """Return the kernel of ``coef_`` of MNE's ``ReceptiveField``.

    Args:
        coef: ``(Cout, Cin, K)``, or ``(Cin, K)`` for one output, in any unit.

    Returns:
        An array ``(K, Cin, Cout)``.

    Raises:
        ValueError: If the array has another number of axes.

    Examples:
        >>> import numpy as np
        >>> from convsolve.interop import from_mne
        >>> from_mne(np.ones((3, 2, 5))).shape
        (5, 2, 3)

    See Also:
        `to_mne`.
    """
    coef = _checked(coef, "(outputs, features, delays) or (features, delays)", (2, 3))
    coef = coef[np.newaxis] if coef.ndim == 2 else coef
    return coef.transpose(2, 1, 0)[::-1].copy()


def to_trf(kernel: np.ndarray, *, fs: float = 1.0, groups: int = 1) -> np.ndarray:
    """Return ``weights`` of mTRFpy's ``TRF`` for a kernel.

    The weights of mTRFpy are a density in time, y = (weights * x) / fs, so they are fs times the
    kernel. mTRFpy has no groups, so a kernel with groups is filled with zeros. Source:
    ``TRF.train`` and ``TRF.predict`` of mTRFpy 2.1.2.

    Args:
        kernel: ``(K, Cin/groups, Cout)``, in any unit.
        fs: sampling rate in Hz. Default 1.0, for which the taps do not change.
        groups: number of groups of the kernel. Default 1.

    Returns:
        An array ``(Cin, K, Cout)`` in ascending lags.

    Raises:
        ValueError: If the kernel has several axes, ``groups`` does not divide Cout, or ``fs`` is
            not positive.

    Examples:
        >>> import numpy as np
        >>> from convsolve.interop import to_trf
        >>> weights = to_trf(np.ones((5, 2, 3)), fs=100.0)
        >>> weights.shape, float(weights.max())
        ((2, 5, 3), 100.0)

    See Also:
        `from_trf`.
    """
    return (_dense(kernel, groups)[::-1] * number(fs, "fs")).transpose(1, 0, 2).copy()


def from_trf(weights: np.ndarray, *, fs: float = 1.0) -> np.ndarray:
    """Return the kernel of ``weights`` of mTRFpy's ``TRF``.

    Args:
        weights: ``(Cin, K, Cout)`` in ascending lags, in units of the kernel times Hz.
        fs: sampling rate in Hz, see `to_trf`. Default 1.0.

    Returns:
        An array ``(K, Cin, Cout)``.

    Raises:
        ValueError: If the weights do not have three axes, or ``fs`` is not positive.

    Examples:
        >>> import numpy as np
        >>> from convsolve.interop import from_trf
        >>> from_trf(np.ones((2, 5, 3)), fs=100.0).shape
        (5, 2, 3)

    See Also:
        `to_trf`.
    """
    weights = _checked(weights, "(features, lags, outputs)", (3,))
    return (weights / number(fs, "fs")).transpose(1, 0, 2)[::-1].copy()
