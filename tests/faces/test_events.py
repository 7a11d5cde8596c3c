"""`convsolve.interop.events`: tables of events as impulses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import convsolve as cs
from convsolve.interop.events import impulses

EVENTS: dict[str, list[Any]] = {
    "onset": [0.0, 2.1, 4.0, 4.0, 8.0],
    "duration": [0.0, 1.0, 2.4, 0.5, 9.0],
    "trial_type": ["house", "face", "house", "face", "house"],
}
RUN: dict[str, Any] = {"fs": 1.0, "samples": 10}
FACE, HOUSE = [2, 4], [0, 4, 8]


def ones(places: list[int]) -> list[float]:
    return [float(i in places) for i in range(10)]


def test_impulses_and_boxcars() -> None:
    """A boxcar lasts at least a sample, ends with the recording, and adds to others."""
    x, names = impulses(EVENTS, **RUN)
    assert names == ["face", "house"]
    np.testing.assert_array_equal(x.T, [ones(FACE), ones(HOUSE)])
    x, _ = impulses(EVENTS, **RUN, shape="boxcar")
    np.testing.assert_array_equal(x.T, [ones([2, 4]), ones([0, 4, 5, 8, 9])])
    # Its end is rounded, and not its duration.
    two = {"onset": [3.1, 8], "duration": [1.45, 1e30]}
    x, _ = impulses(two, **RUN, shape="boxcar", column=None)
    np.testing.assert_array_equal(x.T, [ones([3, 4, 8, 9])])
    events = {"onset": [1, 2], "duration": [4, 2], "trial_type": ["a", "a"], "size": [1, 3]}
    x, _ = impulses(events, **RUN, shape="boxcar", modulators="size", centre=False)
    np.testing.assert_array_equal(x[:6].T, [[0, 1, 2, 2, 1, 0], [0, 1, 4, 4, 1, 0]])


def test_kinds_that_are_asked_for_in_this_order() -> None:
    late = {name: [*values, last] for (name, values), last in zip(EVENTS.items(), (99, 0, "end"))}
    x, names = impulses(late, **RUN, names=["house", "word"])
    assert names == ["house", "word"]
    np.testing.assert_array_equal(x.T, [ones(HOUSE), ones([])])
    x, names = impulses({"onset": [1, 2], "word": [1, 0]}, **RUN, column="word")
    assert (names, x.argmax(axis=0).tolist()) == (["0", "1"], [2, 1])


def test_files_tables_and_data_frames_give_the_same_impulses(tmp_path: Path) -> None:
    path = tmp_path / "sub-01_events.tsv"
    wanted, names = impulses(EVENTS, **RUN, shape="boxcar")
    table = pd.DataFrame(EVENTS | {"response_time": [None, 0.7, None, None, None]})
    for how in ({}, {"encoding": "utf-8-sig", "lineterminator": "\r\n", "na_rep": "n/a"}):
        table.to_csv(path, sep="\t", index=False, **how)
        for events in (path, str(path), table, pd.read_csv(path, sep="\t")):
            x, found = impulses(events, **RUN, shape="boxcar")
            np.testing.assert_array_equal(x, wanted)
            assert found == names


AMPLITUDE = [4.0, 1.0, 2.0, 2.0, 6.0]
PROPERTIES: dict[str, Any] = EVENTS | {"amplitude": AMPLITUDE}


def changed(column: str, row: int, value: Any) -> dict[str, Any]:
    return EVENTS | {column: [*EVENTS[column][:row], value, *EVENTS[column][row + 1 :]]}


MISTAKES: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (changed("onset", 0, -1.0), {}, ValueError, "row 0 of the events has -1.0 for onset, before"),
    (changed("onset", 2, "n/a"), {}, ValueError, "row 2 of the events has n/a for onset, no num"),
    (changed("duration", 1, -2.0), {}, ValueError, "row 1 of the events has -2.0 for duration"),
    (changed("trial_type", 3, None), {}, ValueError, "row 3 of the events has nan for trial_type"),
    ([1.0, 2.0], {"samples": [9, 9]}, TypeError, "must be a table with columns onset, duration"),
    (EVENTS, {"names": "face"}, TypeError, "names must be a list of kinds of events"),
    (EVENTS, {"modulators": "contrast"}, ValueError, "no column 'contrast'; there are 'onset', "),
    (EVENTS, {"modulators": {"word": "x"}}, ValueError, "kind 'word'; the kinds are ['face', "),
    ([EVENTS, PROPERTIES], {"modulators": "amplitude"}, ValueError, "no column 'amplitude'"),
    ([EVENTS, EVENTS], {"samples": [10]}, ValueError, "samples has 1 numbers for 2 tables"),
]


@pytest.mark.parametrize(("events", "options", "error", "words"), MISTAKES)
def test_mistakes_are_named(events: Any, options: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        impulses(events, **(RUN | {"shape": "boxcar"} | options))


# --- modulators


def test_modulators_are_centred_over_the_events_of_a_kind() -> None:
    assert impulses(PROPERTIES, **RUN, modulators=None)[1] == ["face", "house"]
    x, names = impulses(PROPERTIES, **RUN, modulators="amplitude")
    assert names == ["face", "face × amplitude", "house", "house × amplitude"]
    np.testing.assert_array_equal(x[[2, 4], 1], [-0.5, 0.5])
    np.testing.assert_array_equal(x[[0, 4, 8], 3], [0, -2, 2])
    plain, _ = impulses(EVENTS, **RUN)
    np.testing.assert_array_equal(x[:, ::2], plain)
    x, names = impulses(PROPERTIES, **RUN, modulators={"house": ["amplitude"]}, centre=False)
    assert names == ["face", "house", "house × amplitude"]
    np.testing.assert_array_equal(x[[0, 4, 8], 2], [4, 2, 6])
    x, names = impulses(EVENTS | {"size": AMPLITUDE}, **RUN, names=["word"], modulators="size")
    assert (names, x.any()) == (["word", "word × size"], False)


def test_modulation_multiplies_every_channel_unless_it_is_a_modulator() -> None:
    heights = PROPERTIES | {"modulation": [1.0, 2.0, 3.0, 4.0, 5.0]}
    x, _ = impulses(heights, **RUN, modulators="amplitude", centre=False)
    np.testing.assert_array_equal(x[[0, 4, 8], 2:], [[1, 4], [3, 6], [5, 30]])
    x, names = impulses(heights, **RUN, column=None, modulators="modulation")
    assert names == ["event", "modulation"]
    np.testing.assert_array_equal(x[:, 0], ones([0, 2, 8]) + 2.0 * (np.arange(10) == 4))
    np.testing.assert_array_equal(x[[0, 2, 4, 8], 1], [-2, -1, 1, 2])


def test_tables_of_several_records_share_kinds_and_means() -> None:
    rng, several = np.random.default_rng(0), []
    for kinds in (["a"] * 20, ["a", "b"] * 10):
        onsets = rng.choice(100, 20, replace=False)
        several.append({"onset": onsets, "trial_type": kinds, "size": rng.gamma(2, size=20)})
    options: dict[str, Any] = {"fs": 1, "modulators": {"a": ["size"]}}
    (first, second), names = impulses(several, samples=[100, 120], **options)
    later = {name: [*several[0][name], *several[1][name]] for name in several[0]}
    later["onset"] = [*several[0]["onset"], *(several[1]["onset"] + 100)]
    joined, found = impulses(later, samples=220, **options)
    assert names == found == ["a", "a × size", "b"]
    np.testing.assert_array_equal(np.concatenate([first, second]), joined)
    np.testing.assert_allclose(joined[:, 1].sum(), 0, rtol=0, atol=1e-13)
    assert cs.Problem([first, second], lags=(0, 2), channels=names).channels == names


def test_rounded_onsets_and_events_after_the_last_sample_warn() -> None:
    events = {"onset": [1.0, 4.9, 9.0], "trial_type": ["a"] * 3}
    with pytest.warns(UserWarning, match="rounded by up to 1 s; use a higher fs= and fs_y="):
        impulses(events, fs=0.5, samples=6)
    with pytest.warns(UserWarning, match="1 event after the last sample dropped"):
        assert impulses(events, fs=5.0, samples=40)[0].sum() == 2
