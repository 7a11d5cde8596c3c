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
        options: arguments of `Problem`: ``tmin`` and ``tmax`` in seconds, or ``lags``;
            ``edges="drop"`` by default, ``bias``, ``confounds``, …

    Samples of a Raw that annotations call bad are missing, in y and in channels x: rows that read
    one are left out. Epochs are taken as MNE kept them. Channels keep their names, the rate is that
    of the recording, and values are in MNE's units (V, T). A kind has the channels marked as bad
    too, as in ``raw.pick``; drop them first. A mask, weights or confounds of a Raw with joints are
    lists of one for each part of it.

    Raises:
        TypeError: the recording is neither.
        ValueError: no such channels, an array of another length, or an error of `Problem`.
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
            found = _beside(recording, np.asarray(side), name)
        else:
            picked = recording.copy().pick(side)
            found, given[names] = np.moveaxis(picked.get_data(), -2, -1), picked.ch_names
        if bad is not None and not (name == "x" and _is_data(side)):
            found = np.array(found, float)
            found[bad] = np.nan
        sides.append([*found] if cut is None else np.split(found, cut))
    return Problem(*sides, **(given | options))


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
            ``info``, or its rate is not that of the lags; these are of images, or in samples.
    """
    import mne

    names, (inputs, outputs) = fit.names, fit.kernel.shape[-2:]
    if fit.spec.ndim > 1 or fit.spec.groups > 1:
        raise ValueError("a kernel of images, or of groups, is no evoked response")
    first, rate = float(fit.times[0]), names.fs
    assert rate is not None  # or there were no times
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
        of = index(names.channel_number(channel), "channel", inputs)
        sensors, data, comment = names.all_outputs(outputs), by_lag[:, of], names.channel(of)
    else:
        of = index(names.output_number(output), "output", outputs)
        sensors, data, comment = names.all_channels(inputs), by_lag[:, :, of], names.output(of)
    chosen = _sensors([*map(str, sensors)], rate / fit.spec.dilation[0], info)
    return mne.EvokedArray(data.T, chosen, tmin=first, comment=comment)


def _sensors(names: list[str], rate: float, info: Any) -> Any:
    """The info of these sensors."""
    import mne

    if info is None:
        return mne.create_info(names, rate, "misc")
    absent = [name for name in names if name not in info["ch_names"]]
    if absent:
        raise ValueError(f"info has no channel {', '.join(absent)}; give that of the recording")
    if not np.isclose(info["sfreq"], rate, rtol=1e-9):
        raise ValueError(
            f"the lags of the kernel come at {rate:g} Hz, info at {info['sfreq']:g} Hz; give that "
            "of the recording that was fitted, resampled if it was"
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
    # After a resampling a joint may be a sample beside the first one that follows it; where its
    # parts end MNE knows exactly, unless they were written to one file.
    ends = np.cumsum(raw._raw_lengths)
    nearest = ends[np.abs(ends - found[:, None]).argmin(1)]
    found = np.where(np.abs(nearest - found) <= 1, nearest, found)
    return np.unique(found[(found > 0) & (found < len(raw.times))])


def _bad(raw: Any) -> np.ndarray:
    """Which samples (times,) annotations call bad."""
    one = raw.get_data(picks=[0], reject_by_annotation="NaN", verbose="error")
    return np.isnan(one[0])


def _beside(recording: Any, array: np.ndarray, name: str) -> np.ndarray:
    """An array beside a recording."""
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
