"""`convsolve.interop.events`: tables of events as impulses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from convsolve.interop.events import impulses

EVENTS: dict[str, list[Any]] = {
    "onset": [0.0, 2.1, 4.0, 4.0, 7.6],
    "duration": [0.0, 1.0, 2.4, 0.5, 9.0],
    "trial_type": ["house", "face", "house", "face", "house"],
}
RUN: dict[str, Any] = {"fs": 1.0, "samples": 10}
TSV = """onset\tduration\ttrial_type\tresponse_time
0.0\t0.0\thouse\tn/a
2.1\t1.0\tface\t0.7
4.0\t2.4\thouse\tn/a
4.0\t0.5\tface\tn/a
7.6\t9\thouse\tn/a
"""
FACE, HOUSE = [2, 4], [0, 4, 8]


def ones(places: list[int]) -> list[float]:
    return [float(i in places) for i in range(10)]


def test_an_impulse_at_the_sample_next_to_every_onset() -> None:
    x, names = impulses(EVENTS, **RUN)
    assert names == ["face", "house"]
    np.testing.assert_array_equal(x.T, [ones(FACE), ones(HOUSE)])


def test_a_boxcar_lasts_at_least_a_sample_and_ends_with_the_recording() -> None:
    x, _ = impulses(EVENTS, **RUN, shape="boxcar")
    np.testing.assert_array_equal(x.T, [ones([2, 4]), ones([0, 4, 5, 8, 9])])


def test_kinds_that_are_asked_for_in_this_order() -> None:
    late = {name: [*values, last] for (name, values), last in zip(EVENTS.items(), (99, 0, "end"))}
    x, names = impulses(late, **RUN, names=["house", "word"])
    assert names == ["house", "word"]
    np.testing.assert_array_equal(x.T, [ones(HOUSE), ones([])])
    x, names = impulses({"onset": [1, 2], "word": ["no", "yes"]}, **RUN, column="word")
    assert (names, x.argmax(axis=0).tolist()) == (["no", "yes"], [1, 2])


def test_files_tables_and_data_frames_give_the_same_impulses(tmp_path: Path) -> None:
    path = tmp_path / "sub-01_events.tsv"
    wanted, names = impulses(EVENTS, **RUN, shape="boxcar")
    for content in (TSV, "\ufeff" + TSV.replace("\n", "\r\n") + "\n"):
        path.write_bytes(content.encode())
        for events in (path, str(path), pd.DataFrame(EVENTS), pd.read_csv(path, sep="\t")):
            x, found = impulses(events, **RUN, shape="boxcar")
            np.testing.assert_array_equal(x, wanted)
            assert found == names


# Values of one row, by column.
VALUES = [
    ("onset", 0, -1.0, "row 0 of events has an onset of -1 s, which is nearest to no sample: the"),
    ("onset", 0, -1.0, "last of 10 at 1 Hz is at 9 s; leave it out, or correct fs and samples"),
    ("onset", 4, 9.6, "row 4 of events has an onset of 9.6 s, which is nearest to no sample"),
    ("onset", 2, "n/a", "has 'n/a' for onset"),
    ("onset", 3, pd.NA, "has <NA> for onset"),
    ("onset", 3, "1_0", "has '1_0' for onset"),
    ("duration", 1, -2.0, "row 1 of events has a duration of -2 s; give 0 or more"),
    ("trial_type", 3, None, "row 3 of events has no trial_type"),
    ("trial_type", 3, "n/a", "add it, or leave the event out"),
    ("modulation", 2, "high", "row 2 of events has 'high' for modulation, not a number"),
]
KIND = {"onset": [1.0], "condition": ["a"]}
MISTAKES: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ([1.0, 2.0], {}, TypeError, "must be a table with columns onset, duration and"),
    (KIND, {}, ValueError, "no column 'trial_type'; there are 'onset', 'condition'; name the colu"),
    (KIND, {"shape": "boxcar", "column": "condition"}, ValueError, "no column 'duration'"),
    (EVENTS | {"onset": [1.0]}, {}, ValueError, "columns of [1, 5] rows"),
    (EVENTS, {"names": 3}, TypeError, "names must be a list of kinds of events, got 3"),
    (EVENTS, {"names": "face"}, TypeError, "names must be a list of kinds of events"),
    (EVENTS, {"names": ["a", "a"]}, ValueError, "names must be one or more, each once"),
    (EVENTS, {"fs": 0}, ValueError, "fs must be positive and finite, got 0"),
    (EVENTS, {"samples": 9.5}, TypeError, "samples must be an integer, got 9.5"),
    (EVENTS, {"shape": "hrf"}, ValueError, "shape='hrf' is unknown; choose 'impulse' or"),
]


def test_mistakes_are_named() -> None:
    for column, row, value, words in VALUES:
        given = EVENTS.get(column, [1.0] * 5)
        events = EVENTS | {column: [*given[:row], value, *given[row + 1 :]]}
        with pytest.raises(ValueError, match=re.escape(words)):
            impulses(events, **RUN, shape="boxcar")
    for events, options, error, words in MISTAKES:
        with pytest.raises(error, match=re.escape(words)):
            impulses(events, **(RUN | options))


FILES = [
    (b"", "events have no column 'trial_type'; there are none"),
    (TSV.replace("\t", ",").encode(), "no column 'trial_type'; there are 'onset,duration,tri"),
    (TSV.replace("2.1\t", "").encode(), "events.tsv: has 3 columns in line 3, 4 names above"),
    (TSV.replace("2.1", "2,1").encode(), "line 3 has '2,1' for onset, not a number"),
    (b"\xff\xfe", "events.tsv: is damaged or cut short"),
    (b"onset\n" + b"9" * 200_000, "events.tsv: is no table .field larger than field limit"),
]


def test_files_with_errors(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    for content, words in FILES:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            impulses(path, **RUN)
