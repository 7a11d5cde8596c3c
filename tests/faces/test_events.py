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
    # Its end is rounded, and not its duration.
    two = {"onset": [3.4, 8], "duration": [1.2, 1e30]}
    x, _ = impulses(two, **RUN, shape="boxcar", column=None)
    np.testing.assert_array_equal(x.T, [ones([3, 4, 8, 9])])


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
    (
        "onset",
        0,
        -1.0,
        "row 0 of the events has an onset of -1 s, outside the record of 10 samples",
    ),
    ("onset", 2, "n/a", "row 2 of the events has 'n/a' for onset, no number"),
    ("duration", 1, -2.0, "row 1 of the events has a negative duration"),
    ("trial_type", 3, None, "row 3 of the events has no trial_type"),
    ("modulation", 2, "high", "row 2 of the events has 'high' for modulation, no number"),
]
KIND = {"onset": [1.0], "condition": ["a"]}
MISTAKES: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ([1.0, 2.0], {}, TypeError, "must be a table with columns onset, duration and"),
    (KIND, {}, ValueError, "no column 'trial_type'; there are 'onset', 'condition'"),
    (KIND, {"shape": "boxcar", "column": "condition"}, ValueError, "no column 'duration'"),
    (EVENTS | {"onset": [1.0]}, {}, ValueError, "columns of different length"),
    ({"onset": [], "trial_type": []}, {}, ValueError, "events have no rows, and so no kinds"),
    (EVENTS, {"names": "face"}, TypeError, "names must be a list of kinds of events"),
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


def test_files_with_errors(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    for content, words in (
        ("", "events have no column 'onset'; there are none"),
        (TSV.replace("\t", ","), "no column 'onset'; there are 'onset,duration,tri"),
        (TSV.replace("2.1\t", ""), "events.tsv: has lines with more or fewer columns than names"),
        (TSV.replace("2.1", "2,1"), "row 1 of the events has '2,1' for onset, no number"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=words):
            impulses(path, **RUN)


# --- modulators

PROPERTIES: dict[str, Any] = EVENTS | {"amplitude": [4.0, 1.0, 2.0, 2.0, 6.0]}


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


def test_modulation_multiplies_every_channel_unless_it_is_a_modulator() -> None:
    heights = PROPERTIES | {"modulation": [1.0, 2.0, 3.0, 4.0, 5.0]}
    x, _ = impulses(heights, **RUN, modulators="amplitude", centre=False)
    np.testing.assert_array_equal(x[[0, 4, 8], 2:], [[1, 4], [3, 6], [5, 30]])
    x, names = impulses(heights, **RUN, column=None, modulators="modulation")
    assert names == ["event", "modulation"]
    np.testing.assert_array_equal(x[:, 0], ones([0, 2, 8]) + 2.0 * (np.arange(10) == 4))
    np.testing.assert_array_equal(x[[0, 2, 4, 8], 1], [-2, -1, 1, 2])


def test_overlapping_boxcars_add() -> None:
    events = {"onset": [1, 2], "duration": [4, 2], "trial_type": ["a", "a"], "size": [1, 3]}
    x, _ = impulses(events, **RUN, shape="boxcar", modulators="size", centre=False)
    np.testing.assert_array_equal(x[:6].T, [[0, 1, 2, 2, 1, 0], [0, 1, 4, 4, 1, 0]])


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


def test_kinds_and_modulators_are_tested_by_name() -> None:
    rng = np.random.default_rng(0)
    onsets, amplitudes = np.sort(rng.choice(2900, 400, replace=False)), rng.uniform(0, 5, 400)
    table = {"onset": onsets, "trial_type": rng.choice(["face", "house"], 400)} | {
        "amplitude": amplitudes,
        "squared": amplitudes**2,
    }
    modulators = {"face": ["amplitude"], "house": ["amplitude", "squared"]}
    x, names = impulses(table, fs=1, samples=3000, modulators=modulators)
    kernels = rng.standard_normal((8, len(names)))
    kernels[:, names.index("house × squared")] = 0
    clean = sum(np.convolve(a, k)[:3000] for a, k in zip(x.T, kernels.T))
    y = clean + rng.standard_normal(3000)
    problem = cs.Problem(x, clean, lags=(0, 7), edges="zeros", channels=names)
    np.testing.assert_allclose(cs.solve(problem).impulse_response, kernels, rtol=0, atol=1e-12)
    fit = cs.solve(cs.Problem(x, y, lags=(0, 7), edges="zeros", channels=names))
    for named, numbers in (("face", 0), (["house × amplitude", "house × squared"], [3, 4])):
        np.testing.assert_array_equal(fit.test(named).statistic, fit.test(numbers).statistic)
    assert fit.test("house × squared").pvalue[0] > 1e-3 > fit.test("house × amplitude").pvalue[0]
    assert "face × amplitude" in str(cs.identify(problem)) + str(fit)


MODULATED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"modulators": "contrast"}, ValueError, "no column 'contrast'; there are 'onset', "),
    ({"modulators": {"word": "amplitude"}}, ValueError, "'word'; the kinds of events are 'face', "),
    ({"modulators": ["amplitude", "amplitude"]}, ValueError, "modulators has a column twice"),
]


def test_mistakes_in_modulators_are_named() -> None:
    for options, error, words in MODULATED:
        with pytest.raises(error, match=re.escape(words)):
            impulses(PROPERTIES, **RUN, **options)
    different = [EVENTS | {"size": [1.0] * 5}, EVENTS]
    with pytest.raises(ValueError, match="no column 'size'; there are 'onset', 'duration', 'tri"):
        impulses(different, fs=1, samples=10, modulators="size")
    with pytest.raises(ValueError, match="samples has 1 number for 2 tables of events"):
        impulses([EVENTS, EVENTS], fs=1, samples=[10])
    with pytest.raises(ValueError, match="events has no tables"):
        impulses([], fs=1, samples=10)


def test_a_kind_without_events_has_zeros_for_all_modulators() -> None:
    options: dict[str, Any] = {"modulators": {"word": ["amplitude"]}}
    x, names = impulses(PROPERTIES, **RUN, names=["face", "word"], **options)
    assert names[2:] == ["word × amplitude"]
    assert not x[:, 1:].any()
