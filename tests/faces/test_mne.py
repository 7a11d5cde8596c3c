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


def test_a_raw_is_a_record_by_name_and_in_seconds() -> None:
    stated = problem(raw_of(), x="misc", y="eeg", tmin=-0.02, tmax=0.03, bias=True)
    fit = cs.solve(stated)
    np.testing.assert_array_equal(fit.kernel, by_hand(slice(None)).kernel)
    assert (stated._names.channels, stated._names.outputs) == (("env",), tuple(SENSORS))
    assert fit.times == pytest.approx(np.arange(-2, 4) / RATE)
    words = f"1 channel (env) to 3 outputs ({', '.join(SENSORS)}), 6 lags from -20 to 30 ms"
    assert words in str(fit)


def test_a_signal_beside_the_recording() -> None:
    for x in (ENVELOPE, ENVELOPE[:, None]):
        fit = cs.solve(problem(raw_of(), x=x, y=["Cz"], lags=(-2, 3), bias=True))
        wanted = by_hand(slice(None)).kernel[..., 1:2]
        np.testing.assert_allclose(fit.kernel, wanted, rtol=1e-13)
    back = cs.solve(problem(raw_of(), x="eeg", y=ENVELOPE, lags=(-3, 2), edges="zeros"))
    assert back._names.channels == tuple(SENSORS)
    assert back.score().r2 > 0.9


def test_bad_segments_are_left_out_on_either_side() -> None:
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
        cs.solve(problem(raw, x="eeg", y=ENVELOPE, lags=(-3, 2))).kernel,
        cs.solve(decoder).kernel,
    )


@pytest.mark.parametrize("edges", ["drop", "zeros"])
def test_no_lag_reads_over_a_joint(edges: str) -> None:
    first, second = slice(0, 400), slice(400, 900)
    joined = mne.concatenate_raws([raw_of(first), raw_of(second)], verbose="error")
    stated = problem(joined, "misc", "eeg", lags=(-2, 3), bias=True, edges=edges)
    assert len(stated.x) == 2
    wanted = by_hand(first, second, edges=edges)
    np.testing.assert_array_equal(cs.solve(stated).kernel, wanted.kernel)
    later = joined.copy().crop(1.0)  # of which the first sample has a number
    stated = problem(later, "misc", "eeg", lags=(-2, 3), bias=True, edges=edges)
    wanted = by_hand(slice(100, 400), second, edges=edges)
    np.testing.assert_array_equal(cs.solve(stated).kernel, wanted.kernel)


def test_a_joint_in_one_file_stays_where_it_is(tmp_path: Path) -> None:
    parts = [raw_of(slice(0, 400)), raw_of(slice(400, 900))]
    path = tmp_path / "joined_raw.fif"
    mne.concatenate_raws(parts, verbose="error").save(path, fmt="double", verbose="error")
    again = mne.io.read_raw_fif(path, verbose="error")
    stated = problem(again, "misc", "eeg", lags=(-2, 3), bias=True)
    assert [len(a) for a in stated._input.arrays] == [400, 500]
    wanted = by_hand(slice(0, 400), slice(400, 900))
    np.testing.assert_allclose(cs.solve(stated).kernel, wanted.kernel, rtol=1e-12)


def test_recordings_that_are_not_loaded_yet(tmp_path: Path) -> None:
    path = tmp_path / "one-epo.fif"
    epochs = epochs_of()
    epochs.save(path, fmt="double", verbose="error")
    lazy = mne.read_epochs(path, preload=False, verbose="error")
    for x in ("misc", ENVELOPE.reshape(9, 100)):
        fit = cs.solve(problem(lazy, x, "eeg", lags=(-2, 3), bias=True))
        wanted = cs.solve(problem(epochs, x, "eeg", lags=(-2, 3), bias=True))
        np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-12)
    assert not lazy.preload


def test_every_epoch_is_a_record() -> None:
    every = [slice(i, i + 100) for i in range(0, 900, 100)]
    fit = cs.solve(problem(epochs_of(), "misc", "eeg", tmin=-0.02, tmax=0.03, bias=True))
    np.testing.assert_array_equal(fit.kernel, by_hand(*every).kernel)
    beside = problem(epochs_of(), ENVELOPE.reshape(9, 100), "eeg", lags=(-2, 3), bias=True)
    np.testing.assert_array_equal(cs.solve(beside).kernel, fit.kernel)


def test_a_kernel_goes_to_an_evoked_response_and_back() -> None:
    raw = raw_of()
    fit = cs.solve(problem(raw, "misc", "eeg", tmin=-0.02, tmax=0.03, bias=True))
    evoked = to_evoked(fit, raw.info)
    assert evoked.ch_names == SENSORS
    assert evoked.get_channel_types() == ["eeg"] * 3
    np.testing.assert_array_equal(evoked.data, fit.kernel[::-1, 0].T)
    np.testing.assert_allclose(evoked.times, fit.times, atol=1e-12)
    assert evoked.comment == "channel env"
    assert np.isfinite([c["loc"][:3] for c in evoked.info["chs"]]).all()
    plain = to_evoked(fit, channel="env")
    assert plain.get_channel_types() == ["misc"] * 3
    both = cs.solve(problem(raw, x=np.column_stack([ENVELOPE, ENVELOPE**2]), y="eeg", lags=(0, 3)))
    np.testing.assert_array_equal(to_evoked(both, raw.info, channel=1).data, both.kernel[::-1, 1].T)


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


MISTAKES: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "no recording": (ENVELOPE, ("misc", "eeg"), {"lags": (0, 3)}, TypeError, "a Raw or Epochs"),
    "short": (
        raw_of(), (ENVELOPE[:-1], "eeg"), {"lags": (0, 3)}, ValueError,
        r"x has shape \(899,\), expected \(900,\)",
    ),
    "flat": (
        epochs_of(), ("eeg", ENVELOPE), {"lags": (0, 3)}, ValueError,
        r"y has shape \(900,\), expected \(9, 100\)",
    ),
    "no channel": (raw_of(), ("misc", ["Oz"]), {"lags": (0, 3)}, ValueError, "Oz"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str) -> None:
    recording, sides, options, error, words = MISTAKES[name]
    with pytest.raises(error, match=words):
        problem(recording, *sides, **options)


@pytest.mark.parametrize("recording", [raw_of(), epochs_of()], ids=["raw", "epochs"])
def test_a_problem_of_a_recording_says_how_to_go_on(recording: Any) -> None:
    for x, y, name in ((recording, ENVELOPE, "x"), (ENVELOPE, recording, "y")):
        words = rf"{name} is a \w+ of MNE, .* use convsolve\.interop\.mne\.problem"
        with pytest.raises(TypeError, match=words):
            cs.Problem(x, y, lags=(0, 3))


def test_an_evoked_response_has_the_rate_of_the_lags() -> None:
    raw = raw_of()
    slow = raw.copy().resample(50, verbose="error")
    fit = cs.solve(problem(slow, "misc", "eeg", tmin=0, tmax=0.06))
    with pytest.raises(ValueError, match="lags of the kernel come at 50 Hz, info at 100 Hz"):
        to_evoked(fit, raw.info)
    np.testing.assert_allclose(to_evoked(fit, slow.info).times, fit.times, atol=1e-12)
    dilated = cs.solve(cs.Problem(ENVELOPE, VOLTS[12:], kernel_size=4, dilation=4, fs=RATE))
    with pytest.raises(ValueError, match="come at 25 Hz"):
        to_evoked(dilated, mne.create_info(["0", "1", "2"], RATE, "eeg"))
    np.testing.assert_allclose(to_evoked(dilated).times, dilated.times, atol=1e-12)


def test_kernels_that_are_no_evoked_response() -> None:
    raw = raw_of()
    both = cs.solve(problem(raw, "eeg", np.column_stack([ENVELOPE, ENVELOPE]), lags=(0, 1)))
    with pytest.raises(ValueError, match="from 3 channels to 2 outputs: give channel= or output="):
        to_evoked(both, raw.info)
    with pytest.raises(ValueError, match="not both"):
        to_evoked(both, raw.info, channel=0, output=0)
    with pytest.raises(ValueError, match="info has no channel 0, 1"):
        to_evoked(both, raw.info, channel="Cz")
    with pytest.raises(ValueError, match="there is no channel 'Oz'"):
        to_evoked(both, raw.info, channel="Oz")
    with pytest.raises(ValueError, match="output must be less than 2"):
        to_evoked(both, raw.info, output=2)
    image = cs.solve(
        cs.Problem(RNG.standard_normal((9, 9)), RNG.standard_normal((8, 8)), kernel_size=(2, 2))
    )
    with pytest.raises(ValueError, match="of images"):
        to_evoked(image)
    counted = cs.solve(cs.Problem(ENVELOPE, VOLTS, lags=(0, 3)))
    with pytest.raises(ValueError, match="fs="):
        to_evoked(counted)
