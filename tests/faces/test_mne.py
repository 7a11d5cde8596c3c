"""`convsolve.interop.mne`: recordings of MNE as problems, kernels as what it draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest

import convsolve as cs
from convsolve.interop.mne import problem, to_evoked

RATE = 100.0
SENSORS = ["Fz", "Cz", "Pz"]
RNG = np.random.default_rng(0)
ENVELOPE = RNG.standard_normal(900)
# From the envelope to every sensor, at lags of −20 to 30 ms.
TRUE = RNG.standard_normal((6, 3)) * 1e-6
LAGS = range(-2, 4)
VOLTS = sum(np.roll(ENVELOPE, lag)[:, None] * w for lag, w in zip(LAGS, TRUE, strict=True))
VOLTS = VOLTS + 1e-7 * RNG.standard_normal((900, 3))


def raw_of(rows: slice = slice(None)) -> Any:
    info = mne.create_info(["env", *SENSORS], RATE, ["misc", "eeg", "eeg", "eeg"])
    places = {name: np.array([0.1, 0.05 * i, 0.1]) for i, name in enumerate(SENSORS)}
    info.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"))
    data = np.column_stack([ENVELOPE, VOLTS])[rows].T
    return mne.io.RawArray(data, info, verbose="error")


def epochs_of() -> Any:
    data = np.column_stack([ENVELOPE, VOLTS]).reshape(9, 100, 4).transpose(0, 2, 1)
    return mne.EpochsArray(data, raw_of().info, tmin=-0.3, verbose="error")


def by_hand(*records: slice, **options: Any) -> cs.Solution:
    given: dict[str, Any] = {"lags": (-2, 3), "bias": True} | options
    x, y = ([a[rows] for rows in records] for a in (ENVELOPE, VOLTS))
    return cs.solve(cs.Problem(x, y, **given))


def test_bad_segments_are_excluded_on_either_side() -> None:
    """Rows whose output is bad, and, of a decoder, those that read a bad sample."""
    raw = raw_of().set_annotations(mne.Annotations([2.0, 5.0], [0.5, 1.0], ["BAD_jump", "fine"]))
    good = (np.arange(900) < 200) | (np.arange(900) >= 250)
    fit = cs.solve(problem(raw, x=ENVELOPE, y="eeg", lags=(-2, 3), bias=True))
    wanted = by_hand(slice(None), mask=good)
    np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-11)
    decoder = problem(raw, x="eeg", y=ENVELOPE, lags=(-3, 2))
    assert decoder.n_equations == 900 - 5 - 50 - 5
    raw.load_data()
    raw._data[1:, 200:250] = 1e6
    np.testing.assert_array_equal(
        cs.solve(problem(raw, x="eeg", y=ENVELOPE, lags=(-3, 2))).kernel, cs.solve(decoder).kernel
    )


def test_the_kernel_and_its_prediction_are_those_of_a_receptive_field() -> None:
    """At zero edges, which MNE corrects, and without an intercept, for which it centres x before
    it is shifted.
    """
    x, y = ENVELOPE[:, None], VOLTS * 1e6
    ridge = mne.decoding.TimeDelayingRidge(
        -0.02, 0.03, RATE, alpha=0.0, fit_intercept=False, edge_correction=True
    )
    theirs = mne.decoding.ReceptiveField(-0.02, 0.03, RATE, estimator=ridge).fit(x, y)
    fit = cs.solve(cs.Problem(x, y, tmin=-0.02, tmax=0.03, fs=RATE, edges="zeros"))
    np.testing.assert_allclose(cs.interop.to_mne(fit.kernel), theirs.coef_, atol=1e-12)
    np.testing.assert_allclose(fit.predict(x), theirs.predict(x), atol=1e-12)


def test_a_raw_is_a_record_and_its_kernel_an_evoked_response() -> None:
    """By names, in seconds, and with a signal of one's own instead of a channel."""
    raw = raw_of()
    stated = problem(raw, x="misc", y="eeg", tmin=-0.02, tmax=0.03, bias=True)
    fit = cs.solve(stated)
    np.testing.assert_array_equal(fit.kernel, by_hand(slice(None)).kernel)
    assert (stated.channels, stated.outputs) == (["env"], SENSORS)
    assert fit.times == pytest.approx(np.arange(-2, 4) / RATE)
    one = cs.solve(problem(raw, x=ENVELOPE, y=["Cz"], lags=(-2, 3), bias=True))
    np.testing.assert_allclose(one.kernel, fit.kernel[..., 1:2], rtol=1e-13)
    back = cs.solve(problem(raw, x="eeg", y=ENVELOPE, lags=(-3, 2), edges="zeros"))
    assert back.channels == SENSORS
    assert back.score().r2 > 0.9
    decoded = to_evoked(back, raw.info, patterns=True)
    assert {sensor["unit"] for sensor in decoded.info["chs"]} == {-1}
    np.testing.assert_array_equal(decoded.data, back.patterns().T)
    evoked = to_evoked(fit, raw.info)
    assert (evoked.ch_names, evoked.get_channel_types()) == (SENSORS, ["eeg"] * 3)
    np.testing.assert_array_equal(evoked.data, fit.kernel[::-1, 0].T)
    np.testing.assert_allclose(evoked.times, fit.times, atol=1e-12)
    assert evoked.comment == "channel env"
    assert np.isfinite([c["loc"][:3] for c in evoked.info["chs"]]).all()
    assert to_evoked(fit, channel="env").get_channel_types() == ["misc"] * 3


def test_no_lag_reads_over_a_joint(tmp_path: Path) -> None:
    """Also of a part of a recording, whose first sample has a number, and of a file."""
    first, second = slice(0, 400), slice(400, 900)
    joined = mne.concatenate_raws([raw_of(first), raw_of(second)], verbose="error")
    joined.save(tmp_path / "joined_raw.fif", fmt="double", verbose="error")
    again = mne.io.read_raw_fif(tmp_path / "joined_raw.fif", verbose="error")
    for recording, records in (
        (joined, [first, second]),
        (joined.copy().crop(1.0), [slice(100, 400), second]),
        (again, [first, second]),
    ):
        stated = problem(recording, "misc", "eeg", lags=(-2, 3), bias=True)
        assert [len(a) for a in stated.x] == [s.stop - s.start for s in records]
        wanted = by_hand(*records).kernel
        np.testing.assert_allclose(cs.solve(stated).kernel, wanted, rtol=1e-12)


def test_every_epoch_is_a_record(tmp_path: Path) -> None:
    """Also if the epochs are not loaded."""
    epochs_of().save(tmp_path / "one-epo.fif", fmt="double", verbose="error")
    lazy = mne.read_epochs(tmp_path / "one-epo.fif", preload=False, verbose="error")
    wanted = by_hand(*[slice(i, i + 100) for i in range(0, 900, 100)]).kernel
    for recording, x in (epochs_of(), "misc"), (lazy, ENVELOPE.reshape(9, 100)):
        fit = cs.solve(problem(recording, x, "eeg", tmin=-0.02, tmax=0.03, bias=True))
        np.testing.assert_allclose(fit.kernel, wanted, rtol=1e-12)
    assert not lazy.preload


def test_a_list_of_recordings_has_their_records() -> None:
    records = [slice(0, 400), slice(400, 600), slice(600, 900)]
    raws = [raw_of(records[0]), mne.concatenate_raws([*map(raw_of, records[1:])], verbose="error")]
    wanted = by_hand(*records).kernel
    for x in ("misc", ["env"], [ENVELOPE[:400], ENVELOPE[400:]]):
        stated = problem(raws, x, "eeg", tmin=-0.02, tmax=0.03, bias=True)
        assert [len(a) for a in stated.x] == [400, 200, 300]
        np.testing.assert_allclose(cs.solve(stated).kernel, wanted, rtol=1e-12)
        assert stated.outputs == SENSORS
    slow = raw_of().resample(50, verbose="error")
    for other, words in ((slow, "100.0, another 50.0"), (raw_of().drop_channels("Cz"), "'Cz'")):
        with pytest.raises(ValueError, match=f"the recordings differ: one has .*{words}"):
            problem([raws[0], other], "misc", "eeg", lags=(0, 3))


def test_mistakes_are_named() -> None:
    raw, epochs = raw_of(), epochs_of()
    for recording, x, y, error, words in (
        (ENVELOPE, "misc", "eeg", TypeError, "a Raw or Epochs"),
        (raw, ENVELOPE[:-1], "eeg", ValueError, r"x has shape \(899,\), expected \(900,\)"),
        (epochs, "eeg", ENVELOPE, ValueError, r"y has shape \(900,\), expected \(9, 100\)"),
    ):
        with pytest.raises(error, match=words):
            problem(recording, x, y, lags=(0, 3))
    with pytest.raises(ValueError, match="the rate of the recording is 100 Hz; leave out fs="):
        problem(raw, "misc", "eeg", tmin=0, tmax=0.06, fs=50)
    both = cs.solve(problem(raw, "eeg", np.column_stack([ENVELOPE, ENVELOPE]), lags=(0, 1)))
    slow = cs.solve(problem(raw.copy().resample(50), "misc", "eeg", tmin=0, tmax=0.06))
    np.testing.assert_allclose(to_evoked(slow).times, slow.times, atol=1e-12)
    for fit, given, words in (
        (slow, {}, "lags at 50 Hz, info has 100 Hz"),
        (both, {}, "from 3 channels to 2 outputs: give one of channel= and output="),
        (both, {"channel": "Cz"}, "info has no channel 0, 1"),
        (cs.solve(cs.Problem(ENVELOPE, VOLTS, lags=(0, 3))), {}, "fs="),
    ):
        with pytest.raises(ValueError, match=words):
            to_evoked(fit, raw.info, **given)
