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
    assert (stated._names.channels, stated._names.outputs) == (("env",), tuple(SENSORS))
    assert fit.times == pytest.approx(np.arange(-2, 4) / RATE)
    for x in (ENVELOPE, ENVELOPE[:, None]):
        one = cs.solve(problem(raw, x=x, y=["Cz"], lags=(-2, 3), bias=True))
        np.testing.assert_allclose(one.kernel, fit.kernel[..., 1:2], rtol=1e-13)
    back = cs.solve(problem(raw, x="eeg", y=ENVELOPE, lags=(-3, 2), edges="zeros"))
    assert back._names.channels == tuple(SENSORS)
    assert back.score().r2 > 0.9
    evoked = to_evoked(fit, raw.info)
    assert (evoked.ch_names, evoked.get_channel_types()) == (SENSORS, ["eeg"] * 3)
    np.testing.assert_array_equal(evoked.data, fit.kernel[::-1, 0].T)
    np.testing.assert_allclose(evoked.times, fit.times, atol=1e-12)
    assert evoked.comment == "channel env"
    assert np.isfinite([c["loc"][:3] for c in evoked.info["chs"]]).all()
    assert to_evoked(fit, channel="env").get_channel_types() == ["misc"] * 3
    both = cs.solve(problem(raw, x=np.column_stack([ENVELOPE, ENVELOPE**2]), y="eeg", lags=(0, 3)))
    np.testing.assert_array_equal(to_evoked(both, raw.info, channel=1).data, both.kernel[::-1, 1].T)


def test_patterns_of_a_decoder_are_an_evoked_response() -> None:
    raw = raw_of()
    fit = cs.solve(problem(raw, x="eeg", y=ENVELOPE, lags=(-3, 2), bias=True))
    evoked = to_evoked(fit, raw.info, patterns=True)
    assert evoked.ch_names == SENSORS
    np.testing.assert_array_equal(evoked.data, fit.patterns().T)


def test_no_lag_reads_over_a_joint(tmp_path: Path) -> None:
    """Also of a part of a recording, whose first sample has a number, and of a file."""
    first, second = slice(0, 400), slice(400, 900)
    joined = mne.concatenate_raws([raw_of(first), raw_of(second)], verbose="error")
    joined.save(tmp_path / "joined_raw.fif", fmt="double", verbose="error")
    again = mne.io.read_raw_fif(tmp_path / "joined_raw.fif", verbose="error")
    for recording, edges, records in (
        (joined, "drop", [first, second]),
        (joined, "zeros", [first, second]),
        (joined.copy().crop(1.0), "drop", [slice(100, 400), second]),
        (again, "drop", [first, second]),
    ):
        stated = problem(recording, "misc", "eeg", lags=(-2, 3), bias=True, edges=edges)
        assert [len(a) for a in stated._input.arrays] == [s.stop - s.start for s in records]
        wanted = by_hand(*records, edges=edges).kernel
        np.testing.assert_allclose(cs.solve(stated).kernel, wanted, rtol=1e-12)


def test_every_epoch_is_a_record(tmp_path: Path) -> None:
    """Also if the epochs are not loaded."""
    epochs_of().save(tmp_path / "one-epo.fif", fmt="double", verbose="error")
    lazy = mne.read_epochs(tmp_path / "one-epo.fif", preload=False, verbose="error")
    wanted = by_hand(*[slice(i, i + 100) for i in range(0, 900, 100)]).kernel
    for recording in (epochs_of(), lazy):
        for x in ("misc", ENVELOPE.reshape(9, 100)):
            fit = cs.solve(problem(recording, x, "eeg", tmin=-0.02, tmax=0.03, bias=True))
            np.testing.assert_allclose(fit.kernel, wanted, rtol=1e-12)
    assert not lazy.preload


def test_an_evoked_response_has_the_rate_of_the_lags() -> None:
    slow = raw_of().resample(50, verbose="error")
    fit = cs.solve(problem(slow, "misc", "eeg", tmin=0, tmax=0.06))
    np.testing.assert_allclose(to_evoked(fit, slow.info).times, fit.times, atol=1e-12)
    dilated = cs.solve(cs.Problem(ENVELOPE, VOLTS[12:], kernel_size=4, dilation=4, fs=RATE))
    np.testing.assert_allclose(to_evoked(dilated).times, dilated.times, atol=1e-12)
    for kernel, info, words in (
        (fit, raw_of().info, "lags of the kernel come at 50 Hz, info at 100 Hz"),
        (dilated, mne.create_info(["0", "1", "2"], RATE, "eeg"), "come at 25 Hz"),
    ):
        with pytest.raises(ValueError, match=words):
            to_evoked(kernel, info)


def test_mistakes_are_named() -> None:
    raw, epochs = raw_of(), epochs_of()
    for recording, x, y, error, words in (
        (ENVELOPE, "misc", "eeg", TypeError, "a Raw or Epochs"),
        (raw, ENVELOPE[:-1], "eeg", ValueError, r"x has shape \(899,\), expected \(900,\)"),
        (epochs, "eeg", ENVELOPE, ValueError, r"y has shape \(900,\), expected \(9, 100\)"),
    ):
        with pytest.raises(error, match=words):
            problem(recording, x, y, lags=(0, 3))
    for x, y, name in ((raw, ENVELOPE, "x"), (ENVELOPE, epochs, "y")):
        words = f"{name} must hold plain real numbers, got "
        with pytest.raises(TypeError, match=words):
            cs.Problem(x, y, lags=(0, 3))
    both = cs.solve(problem(raw, "eeg", np.column_stack([ENVELOPE, ENVELOPE]), lags=(0, 1)))
    rng = np.random.default_rng(0)
    image = cs.Problem(rng.standard_normal((9, 9)), rng.standard_normal((8, 8)), kernel_size=(2, 2))
    for fit, given, words in (
        (both, {}, "from 3 channels to 2 outputs: give channel= or output="),
        (both, {"channel": 0, "output": 0}, "not both"),
        (both, {"channel": "Cz"}, "info has no channel 0, 1"),
        (cs.solve(image), {}, "of images"),
        (cs.solve(cs.Problem(ENVELOPE, VOLTS, lags=(0, 3))), {}, "fs="),
    ):
        with pytest.raises(ValueError, match=words):
            to_evoked(fit, raw.info, **given)
