"""Problems from recordings of MNE, and kernels as evoked responses of MNE.

The module needs MNE: ``pip install 'convsolve[mne]'``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem.checks import integer
from ..problem.problem import Problem
from ..solution import Solution

# Annotation of MNE at the places where recordings were joined.
JOINT = "EDGE boundary"


def problem(recording: Any, x: Any, y: Any, **options: Any) -> Problem:
    """Return the problem that predicts channels of a recording from other channels or a signal.

    Args:
        recording: a Raw or Epochs. A Raw is split into records at the places where recordings were
            joined. Each epoch is a record.
        x: channels as MNE picks them (``"eeg"``, ``["Cz", "Pz"]``), or an array that is synchronous
            with the recording. For a Raw it has the shape ``(times,)`` or ``(times, features)``,
            for Epochs ``(epochs, times)`` or ``(epochs, times, features)``.
        y: as x.
        options: arguments of `Problem`, such as ``tmin`` and ``tmax`` in seconds, ``lags``,
            ``basis``, ``bias`` and ``drift``. The default of ``edges`` is "drop".

    Returns:
        A `Problem`.

    Samples of a Raw with a bad annotation are missing in y and in channels of x. Rows that read a
    missing sample are excluded. Channels keep their names. ``fs`` is the sampling rate of the
    recording, and values are in MNE's units (V, T). As in ``raw.pick``, channels that are marked as
    bad are included; drop them first. For a Raw with joints, give a mask, weights or confounds as a
    list with one entry per part.

    Raises:
        TypeError: If the recording is neither a Raw nor Epochs.
        ValueError: If channels do not exist, an array has another length, or `Problem` raises it.

    Examples:
        >>> import mne
        >>> import numpy as np
        >>> from convsolve.interop.mne import problem
        >>> envelope, *noise = np.random.default_rng(0).standard_normal((3, 1000))
        >>> info = mne.create_info(["Fz", "Cz"], sfreq=100.0, ch_types="eeg")
        >>> raw = mne.io.RawArray(1e-6 * (envelope + noise), info, verbose="error")
        >>> problem(raw, x=envelope, y="eeg", tmin=0.0, tmax=0.2).outputs
        ['Fz', 'Cz']

    See Also:
        `to_evoked`.
    """
    import mne

    if not isinstance(recording, (mne.io.BaseRaw, mne.BaseEpochs)):
        kind = type(recording).__name__
        raise TypeError(f"the recording must be a Raw or Epochs of MNE, got {kind}")
    raw = isinstance(recording, mne.io.BaseRaw)
    if not recording.preload and (recording.proj or not raw):
        with mne.use_log_level("error"):
            recording = recording.copy().load_data()  # else its channels cannot be picked
    given: dict[str, Any] = {"edges": "drop", "missing": "drop", "fs": recording.info["sfreq"]}
    cut, bad = (_joints(recording), _bad(recording)) if raw else (None, None)
    sides = []
    for side, names, name in ((x, "channels", "x"), (y, "outputs", "y")):
        if _is_data(side):
            found = _as_long(recording, np.asarray(side), name)
        else:
            picked = recording.copy().pick(side)
            found, given[names] = np.moveaxis(picked.get_data(), -2, -1), picked.ch_names
        if bad is not None and not (name == "x" and _is_data(side)):
            found = np.array(found, float)
            found[bad] = np.nan
        sides.append([*found] if cut is None else np.split(found, cut))
    return Problem(*sides, **(given | options))


def to_evoked(
    fit: Solution,
    info: Any = None,
    *,
    channel: Any = None,
    output: Any = None,
    patterns: bool = False,
) -> Any:
    """Return a kernel as an `mne.EvokedArray` over its lags, for topographies and butterfly plots.

    Args:
        fit: a `Solution` along one axis, with ``fs``.
        info: ``Info`` of the sensors, from which positions and kinds are taken by name. None, the
            default, gives all channels the kind "misc".
        channel: the input channel, by name or number, if the outputs are sensors. It is optional if
            there is one channel. Default None.
        output: the output, by name or number, if the input channels are sensors, as in a decoder.
            Default None.
        patterns: whether to return `Solution.patterns` of a decoder, which show where the brain
            responds. Its weights are filters. Default False.

    Returns:
        An `mne.EvokedArray` (sensors, lags), in units of the kernel or of the patterns.

    Raises:
        ValueError: If there are several channels and outputs, and neither or both of ``channel``
            and ``output`` are given. If a sensor is not in ``info``, or its sampling rate differs
            from the problem. If the kernel has several axes or groups, or the problem has no
            ``fs``.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> from convsolve.interop.mne import to_evoked
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500, 1))
        >>> y = x + noise * np.ones(2)
        >>> fit = cs.solve(cs.Problem(x, y, tmin=0, tmax=0.1, fs=100, outputs=["Fz", "Cz"]))
        >>> to_evoked(fit).data.shape
        (2, 11)

    See Also:
        `problem`.
    """
    import mne

    names, (inputs, outputs) = fit._names, fit.kernel.shape[-2:]
    if fit._spec.ndim > 1 or fit._spec.groups > 1:
        raise ValueError("a kernel of images, or of groups, is no evoked response")
    first, rate = float(fit.times[0]), names.fs
    assert rate is not None  # or there were no times
    if channel is None and output is None:
        if inputs > 1 and outputs > 1:
            raise ValueError(
                f"the kernel goes from {inputs} channels to {outputs} outputs: give channel= or "
                "output="
            )
        channel, output = (0, None) if inputs == 1 else (None, 0)
    if channel is not None and output is not None:
        raise ValueError("give channel=, where the outputs are sensors, or output=, not both")
    by_lag = (fit._patterns() if patterns else fit.kernel)[::-1]
    if output is None:
        of = integer(names.number("channel", channel), "channel", 0, inputs - 1)
        sensors, data, comment = names.all("output", outputs), by_lag[:, of], names.channel(of)
    else:
        of = integer(names.number("output", output), "output", 0, outputs - 1)
        sensors, data, comment = names.all("channel", inputs), by_lag[:, :, of], names.output(of)
    chosen = _sensors([*map(str, sensors)], rate / fit._spec.dilation[0], info)
    return mne.EvokedArray(data.T, chosen, tmin=first, comment=comment)


def _sensors(names: list[str], rate: float, info: Any) -> Any:
    """Return the info of these sensors."""
    import mne

    if info is None:
        return mne.create_info(names, rate, "misc")
    absent = [name for name in names if name not in info["ch_names"]]
    if absent:
        raise ValueError(f"info has no channel {', '.join(absent)}")
    if not np.isclose(info["sfreq"], rate, rtol=1e-9):
        raise ValueError(
            f"the lags of the kernel come at {rate:g} Hz, info at {info['sfreq']:g} Hz"
        )
    return mne.pick_info(info, [info["ch_names"].index(name) for name in names])


def _is_data(side: Any) -> bool:
    """Whether x or y are numbers, and no names, kinds or places of channels."""
    if isinstance(side, (list, tuple)):
        return any(isinstance(value, (float, np.floating)) for value in side)
    return (
        hasattr(side, "__array__")
        and np.asarray(side).dtype.kind not in "OSU"
        and np.ndim(side) > 0
    )


def _joints(raw: Any) -> np.ndarray:
    """Where recordings were joined, in samples."""
    import mne

    if JOINT not in set(raw.annotations.description):
        return np.zeros(0, int)
    events, _ = mne.events_from_annotations(raw, {JOINT: 1}, regexp=None, verbose="error")
    found = np.unique(events[:, 0]) - raw.first_samp
    # After a resampling a joint may be one sample away from the end of its part. `_raw_lengths` is
    # exact, unless the parts were written to one file.
    ends = np.cumsum(raw._raw_lengths)
    nearest = ends[np.abs(ends - found[:, None]).argmin(1)]
    found = np.where(np.abs(nearest - found) <= 1, nearest, found)
    return np.unique(found[(found > 0) & (found < len(raw.times))])


def _bad(raw: Any) -> np.ndarray:
    """Return which samples (times,) have a bad annotation."""
    one = raw.get_data(picks=[0], reject_by_annotation="NaN", verbose="error")
    return np.isnan(one[0])


def _as_long(recording: Any, array: np.ndarray, name: str) -> np.ndarray:
    """Return the array if it is as long as the recording; raise ValueError if not."""
    import mne

    epochs = isinstance(recording, mne.BaseEpochs)
    wanted = (*[len(recording)] * epochs, len(recording.times))
    axes = len(wanted)
    if array.ndim not in (axes, axes + 1) or array.shape[:axes] != wanted:
        raise ValueError(
            f"{name} has shape {array.shape}, expected {wanted}, or one more axis of features, "
            "as long as the recording"
        )
    return array
