"""Problems from recordings of MNE, and kernels as evoked responses of MNE.

The module needs MNE: ``pip install 'convsolve[mne]'``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem.checks import integer
from ..problem.problem import Problem
from ..problem.records import lists_arrays
from ..solution import Solution

# Annotation of MNE at the places where recordings were joined.
JOINT = "EDGE boundary"
# MNE's constant for a channel without a unit.
NO_UNIT = -1


def problem(recording: Any, x: Any, y: Any, **options: Any) -> Problem:
    """Return the problem that predicts channels of a recording from other channels or a signal.

    Args:
        recording: a Raw or Epochs, or a list of them. A Raw is split into records at the places
            where recordings were joined. Each epoch is a record.
        x: channels as MNE picks them (``"eeg"``, ``["Cz", "Pz"]``), or an array that is synchronous
            with the recording. For a Raw it has the shape ``(times,)`` or ``(times, features)``,
            for Epochs ``(epochs, times)`` or ``(epochs, times, features)``. For a list of
            recordings, it is a list of such arrays.
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
        ValueError: If channels do not exist, an array has another length, recordings differ in
            their rate or channels, or `Problem` raises it.

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
    several = isinstance(recording, (list, tuple))
    recordings, sides = [*recording] if several else [recording], []
    if not all(hasattr(one, "ch_names") for one in recordings):
        raise TypeError("recording must be a Raw or Epochs of MNE, or a list of them")
    given = {"edges": "drop", "missing": "drop", "fs": _same([r.info["sfreq"] for r in recordings])}
    if options.get("fs", given["fs"]) != given["fs"]:
        raise ValueError(f"the rate of the recording is {given['fs']:g} Hz; leave out fs=")
    for side, name in ((x, "channels"), (y, "outputs")):
        each = side if several and lists_arrays(side) else [side] * len(recordings)
        pairs = [*zip(recordings, each, strict=True)]
        if not _is_data(each[0]):
            given[name] = _same([_names(*pair) for pair in pairs])
        sides.append([a for pair in pairs for a in _records(*pair, name == "outputs")])
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
            responds, in the unit of x per unit of y. Its weights are filters. Default False.

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
    if channel is None and output is None and 1 in (inputs, outputs):
        channel, output = (0, None) if inputs == 1 else (None, 0)
    if (channel is None) == (output is None):
        words = f"the kernel goes from {inputs} channels to {outputs} outputs"
        raise ValueError(f"{words}: give one of channel= and output=")
    # Lags (lags, channels, outputs) in ascending order.
    values = fit.patterns() if patterns else np.asarray(fit.impulse_response)
    values = values.reshape(-1, inputs, outputs)
    if output is None:
        of = integer(names.number("channel", channel), "channel", 0, inputs - 1)
        sensors, data, comment = names.all("output", outputs), values[:, of], names.channel(of)
    else:
        of = integer(names.number("output", output), "output", 0, outputs - 1)
        sensors, data, comment = names.all("channel", inputs), values[..., of], names.output(of)
    first = float(fit.times[0])
    assert names.fs is not None  # or there were no times
    found = _sensors([*map(str, sensors)], names.fs / fit._spec.dilation[0], info)
    for sensor in found["chs"] if patterns else ():
        sensor["unit"] = NO_UNIT
    return mne.EvokedArray(data.T, found, tmin=first, comment=comment)


def _sensors(names: list[str], rate: float, info: Any) -> Any:
    """Return the info of these sensors."""
    import mne

    if info is None:
        return mne.create_info(names, rate, "misc")
    if absent := [name for name in names if name not in info["ch_names"]]:
        raise ValueError(f"info has no channel {', '.join(absent)}")
    if not np.isclose(info["sfreq"], rate, rtol=1e-9):
        raise ValueError(f"the kernel has lags at {rate:g} Hz, info has {info['sfreq']:g} Hz")
    return mne.pick_info(info, [info["ch_names"].index(name) for name in names])


def _is_data(side: Any) -> bool:
    """Return whether x or y are numbers, and no names, kinds or places of channels."""
    return hasattr(side, "__array__") and np.asarray(side).dtype.kind not in "OSU"


def _same(values: list[Any]) -> Any:
    """Return the rate, or the names of channels, that all recordings have in common."""
    if other := [value for value in values if value != values[0]]:
        raise ValueError(f"the recordings differ: one has {values[0]}, another {other[0]}")
    return values[0]


def _names(recording: Any, picks: Any) -> list[str]:
    """Return the names of the channels that MNE picks."""
    import mne

    channels = np.zeros((len(recording.ch_names), 1))  # whose info can be picked before it is read
    return mne.io.RawArray(channels, recording.info, verbose="error").pick(picks).ch_names


def _records(recording: Any, side: Any, of_y: bool) -> list[np.ndarray]:
    """Return the records (times, channels) of channels, or of an array as long as a recording."""
    raw = hasattr(recording, "first_samp")
    gaps = {"reject_by_annotation": "NaN", "verbose": "error"} if raw else {}
    if not _is_data(side):
        picks = _names(recording, side)
        found = np.moveaxis(recording.get_data(picks=picks, **gaps), -2, -1)
    else:
        wanted = (*[len(recording)] * (not raw), len(recording.times))
        found = np.asarray(side)
        if found.shape[: len(wanted)] != wanted:
            name = "y" if of_y else "x"
            raise ValueError(f"{name} has shape {found.shape}, expected {wanted} of the recording")
        if raw and of_y:
            bad = np.isnan(recording.get_data(picks=[0], **gaps)[0])
            found = np.where(bad.reshape(-1, *[1] * (found.ndim - 1)), np.nan, found)
    return np.split(found, _joints(recording)) if raw else [*found]


def _joints(raw: Any) -> np.ndarray:
    """Return where recordings were joined, in samples."""
    import mne

    if JOINT not in set(raw.annotations.description):
        return np.zeros(0, int)
    events, _ = mne.events_from_annotations(raw, {JOINT: 1}, regexp=None, verbose="error")
    found = np.unique(events[:, 0]) - raw.first_samp
    # After a resampling, a joint may be one sample away from the end of its part.
    ends = np.cumsum(raw._raw_lengths)
    nearest = ends[np.abs(ends - found[:, None]).argmin(1)]
    found = np.where(np.abs(nearest - found) <= 1, nearest, found)
    return np.unique(found[(found > 0) & (found < len(raw.times))])
