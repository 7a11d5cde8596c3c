"""Problems from recordings of MNE, and kernels as what MNE draws.

>>> from convsolve.interop.mne import problem, to_evoked  # doctest: +SKIP
>>> trf = cs.solve(problem(raw, x=envelope, y="eeg", tmin=-0.1, tmax=0.4))  # doctest: +SKIP
>>> to_evoked(trf, raw.info).plot_joint()  # doctest: +SKIP

It needs MNE: ``pip install 'convsolve[mne]'``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem.checks import index
from ..problem.problem import Problem
from ..solution import Solution

# What MNE leaves where recordings were joined.
JOINT = "EDGE boundary"


def problem(recording: Any, x: Any, y: Any, **options: Any) -> Problem:
    """The problem of one kind of channels of a recording from another, or from a signal beside it.

    Args:
        recording: a Raw, a record of its own on either side of where recordings were joined; or
            Epochs, a record each, over whose ends no lag reads.
        x, y: channels as MNE picks them (``"eeg"``, ``["Cz", "Pz"]``); or an array beside the
            recording, ``(times,)`` or ``(times, features)`` of a Raw and ``(epochs, times)`` or
            ``(epochs, times, features)`` of Epochs.
        options: as of `Problem.from_lags`: ``tmin`` and ``tmax`` in seconds, or ``lags``;
            ``edges="drop"`` by default, ``bias``, ``confounds``, …

    Samples that annotations call bad are missing: rows that read one are left out. Channels keep
    their names, the rate is that of the recording, and values are in MNE's units (V, T).

    Raises:
        TypeError: the recording is neither.
        ValueError: no such channels, an array of another length, what `Problem.from_lags` says.
    """
    import mne

    if isinstance(recording, mne.io.BaseRaw):
        cut, times = _joints(recording), len(recording.times)
    elif isinstance(recording, mne.BaseEpochs):
        cut, times = None, len(recording.times)
    else:
        kind = type(recording).__name__
        raise TypeError(f"the recording must be a Raw or Epochs of MNE, got {kind}")
    given: dict[str, Any] = {"edges": "drop", "missing": "drop", "fs": recording.info["sfreq"]}
    sides = []
    for side, names, name in ((x, "channels", "x"), (y, "outputs", "y")):
        if isinstance(side, np.ndarray) and side.dtype.kind not in "OSU" and side.ndim:
            found = _beside(recording, side, name, times, cut is None)
        else:
            picked = recording.copy().pick(side)
            found, given[names] = _data(picked), picked.ch_names
        sides.append([*found] if cut is None else np.split(found, cut))
    return Problem.from_lags(*sides, **(given | options))


def to_evoked(fit: Solution, info: Any = None, *, channel: Any = None, output: Any = None) -> Any:
    """A kernel as an `mne.EvokedArray` over its lags, to be drawn as topographies and butterflies.

    Args:
        fit: of one axis, with ``fs``.
        info: of the sensors, whose positions and kinds are taken by name; else they are "misc".
        channel: from which input channel, by name or number, where the outputs are sensors; it may
            be left out where there is one.
        output: of which output, where the input channels are sensors, as of a decoder. Its weights
            are filters, not patterns (Haufe et al., NeuroImage 87 (2014) 96).

    Raises:
        ValueError: neither is given of several channels and outputs, or both; a sensor is not in
            ``info``; the lags are those of images, or in samples.
    """
    import mne

    names, (inputs, outputs) = fit.names, fit.kernel.shape[-2:]
    if fit.spec.ndim > 1 or fit.spec.groups > 1:
        raise ValueError("a kernel of images, or of groups, is no evoked response")
    first = float(fit.times[0])
    if channel is None and output is None:
        if inputs > 1 and outputs > 1:
            raise ValueError(
                f"the kernel goes from {inputs} channels to {outputs} outputs: say from which "
                "channel=, or to which output="
            )
        channel, output = (0, None) if inputs == 1 else (None, 0)
    if channel is not None and output is not None:
        raise ValueError("give channel=, where the outputs are sensors, or output=, not both")
    by_lag = fit.kernel[::-1]
    if output is None:
        sensors, of = (
            names.all_outputs(outputs),
            index(names.channel_number(channel), "channel", inputs),
        )
        data, comment = by_lag[:, of], names.channel(of)
    else:
        sensors, of = (
            names.all_channels(inputs),
            index(names.output_number(output), "output", outputs),
        )
        data, comment = by_lag[:, :, of], names.output(of)
    sensors = [*map(str, sensors)]
    if info is None:
        chosen = mne.create_info(sensors, names.fs, "misc")
    else:
        absent = [name for name in sensors if name not in info["ch_names"]]
        if absent:
            raise ValueError(f"info has no channel {', '.join(absent)}; give that of the recording")
        chosen = mne.pick_info(info, [info["ch_names"].index(name) for name in sensors])
    return mne.EvokedArray(data.T, chosen, tmin=first, comment=comment)


def _joints(raw: Any) -> np.ndarray:
    """Where recordings were joined, in samples."""
    import mne

    if JOINT not in set(raw.annotations.description):
        return np.zeros(0, int)
    events, _ = mne.events_from_annotations(raw, {JOINT: 1}, regexp=None, verbose="error")
    return np.unique(events[:, 0]) - raw.first_samp


def _data(picked: Any) -> np.ndarray:
    """(times, channels) of a Raw, NaN where it is bad, or (epochs, times, channels)."""
    import mne

    if isinstance(picked, mne.BaseEpochs):
        found: np.ndarray = picked.get_data(copy=False)
    else:
        found = picked.get_data(reject_by_annotation="NaN", verbose="error")
    return np.moveaxis(found, -2, -1)


def _beside(recording: Any, array: np.ndarray, name: str, times: int, epochs: bool) -> np.ndarray:
    """An array beside a recording."""
    wanted = (len(recording), times) if epochs else (times,)
    axes = len(wanted)
    if array.ndim not in (axes, axes + 1) or array.shape[:axes] != wanted:
        raise ValueError(
            f"{name} has shape {array.shape}, expected {wanted}, or one more axis of features, "
            "as long as the recording"
        )
    return array
