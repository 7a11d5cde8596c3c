"""`convsolve.interop.events`: tables of events as impulses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import convsolve as cs
from convsolve.interop.events import Spline, impulses

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
    (
        [{"onset": 1.0}],
        {},
        TypeError,
        "events[0] must have lists as columns, got onset=1.0; a",
    ),
    ({"onset": [1, 2], "trial_type": "ab"}, {}, TypeError, "columns, got trial_type='ab'"),
    ({"onset": [], "trial_type": []}, {}, ValueError, "events have no rows, and so no kinds; give"),
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


def test_tables_of_several_records_share_kinds_means_and_knots() -> None:
    rng, several = np.random.default_rng(0), []
    for kinds in (["a"] * 20, ["a", "b"] * 10):
        onsets = rng.choice(100, 20, replace=False)
        several.append({"onset": onsets, "trial_type": kinds, "size": rng.gamma(2, size=20)})
    options: dict[str, Any] = {"fs": 1, "modulators": {"a": ["size", Spline("size", 4)]}}
    (first, second), names = impulses(several, samples=[100, 120], **options)
    later = {name: [*several[0][name], *several[1][name]] for name in several[0]}
    later["onset"] = [*several[0]["onset"], *(several[1]["onset"] + 100)]
    joined, found = impulses(later, samples=220, **options)
    assert names == found == ["a", "a × size", *(f"a × size[{i}]" for i in (1, 2, 3)), "b"]
    np.testing.assert_array_equal(np.concatenate([first, second]), joined)
    np.testing.assert_allclose(joined[:, 1:5].sum(0), 0, rtol=0, atol=1e-13)
    assert cs.Problem([first, second], lags=(0, 2), channels=names).channels == names


def cox_de_boor(x: float, i: int, degree: int, knots: np.ndarray) -> float:
    """A B-spline by its recursion; the last one is 1 at the last knot."""
    if degree == 0:
        last = x == knots[-1] and knots[i] < knots[i + 1] == knots[-1]
        return float(knots[i] <= x < knots[i + 1] or last)
    found = 0.0
    if knots[i + degree] > knots[i]:
        share = (x - knots[i]) / (knots[i + degree] - knots[i])
        found += share * cox_de_boor(x, i, degree - 1, knots)
    if knots[i + degree + 1] > knots[i + 1]:
        share = (knots[i + degree + 1] - x) / (knots[i + degree + 1] - knots[i + 1])
        found += share * cox_de_boor(x, i + 1, degree - 1, knots)
    return found


@pytest.mark.parametrize("spacing", ["quantile", "even"])
@pytest.mark.parametrize(("n", "degree"), [(5, 3), (9, 3), (4, 2), (3, 1), (6, 0)])
def test_splines_equal_the_recursion_of_cox_and_de_boor(n: int, degree: int, spacing: str) -> None:
    values = np.random.default_rng(n).gamma(2, size=60)
    inner = np.linspace(0, 1, n - degree + 1)
    ends = values.min(), values.max()
    knots = np.quantile(values, inner) if spacing == "quantile" else ends[0] + np.ptp(ends) * inner
    clamped = np.concatenate([[knots[0]] * degree, knots, [knots[-1]] * degree])
    wanted = [[cox_de_boor(x, i, degree, clamped) for i in range(n)] for x in values]
    spline = Spline("size", n, degree=degree, knots=spacing)
    np.testing.assert_allclose(spline.functions(values), wanted, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(spline.functions(values, at=ends).sum(1), 1, rtol=1e-14)
    given = Spline("size", n, degree=degree, knots=knots)
    np.testing.assert_array_equal(given.functions(values), spline.functions(values))
    table = {"onset": np.arange(60.0), "size": values}
    x, names = impulses(table, fs=1, samples=60, column=None, modulators=spline, centre=False)
    assert names == ["event", *(f"size[{i}]" for i in range(1, n))]
    np.testing.assert_allclose(x[:, 1:], np.array(wanted)[:, 1:], rtol=1e-12, atol=1e-14)


def test_kinds_and_modulators_are_tested_by_name() -> None:
    rng = np.random.default_rng(0)
    onsets, amplitudes = np.sort(rng.choice(2900, 400, replace=False)), rng.uniform(0, 5, 400)
    table = {"onset": onsets, "trial_type": rng.choice(["face", "house"], 400)} | {
        "amplitude": amplitudes
    }
    modulators = {"face": ["amplitude"], "house": [Spline("amplitude", 4)]}
    x, names = impulses(table, fs=1, samples=3000, modulators=modulators)
    kernels = rng.standard_normal((8, len(names)))
    kernels[:, names.index("house × amplitude[2]")] = 0
    clean = sum(np.convolve(a, k)[:3000] for a, k in zip(x.T, kernels.T))
    y = clean + rng.standard_normal(3000)
    problem = cs.Problem(x, clean, lags=(0, 7), edges="zeros", channels=names)
    np.testing.assert_allclose(cs.solve(problem).impulse_response, kernels, rtol=0, atol=1e-12)
    fit = cs.solve(cs.Problem(x, y, lags=(0, 7), edges="zeros", channels=names))
    a = np.stack([np.pad(c, (k, 0))[:3000] for k in range(8) for c in x.T], axis=1)
    squares = np.linalg.lstsq(a, y)[1][0]
    splines = [f"house × amplitude[{i}]" for i in (1, 2, 3)]
    for tested in ("face", "face × amplitude", splines, {"face": 1, "house": -1}):
        if isinstance(tested, dict):  # equal kernels: one column for both kinds
            both = np.where(np.array(names) == "face", 1, np.array(names) == "house")
            kept = np.eye(len(names))[:, np.array(names) != "house"]
            kept[:, 0] = both
        else:
            kept = np.eye(len(names))[:, ~np.isin(names, tested)]
        less = np.linalg.lstsq(a @ np.kron(np.eye(8), kept), y)[1][0]
        q, left = 8 * (len(names) - kept.shape[1]), 3000 - a.shape[1]
        test = fit.test(tested)
        assert test.dof[0] == q
        expected = (less - squares) / q / (squares / left)
        np.testing.assert_allclose(test.statistic, expected, rtol=1e-10)
    assert "face × amplitude" in str(cs.identify(problem)) + str(fit)


TIED: dict[str, list[Any]] = {"onset": [1, 2, 3, 4, 5], "size": [1, 1, 1, 2, 2]}
MODULATED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"modulators": "contrast"}, ValueError, "no column 'contrast'; there are 'onset', "),
    ({"modulators": "trial_type"}, ValueError, "has 'face' for trial_type, not a number"),
    ({"modulators": {"word": "amplitude"}}, ValueError, "'word'; the kinds of events are 'face', "),
    ({"modulators": ["amplitude", "amplitude"]}, ValueError, "'amplitude' twice; give it"),
    ({"modulators": [3]}, TypeError, "modulators must be names of columns, Splines, a list of the"),
    ({"centre": "mean"}, TypeError, "centre must be True or False, got 'mean'"),
    ({"modulators": Spline("amplitude")}, ValueError, "amplitude has 2 different values, which do"),
    (
        {"modulators": Spline("amplitude", 2, degree=1, knots=(0, 3))},
        ValueError,
        "outside the knot",
    ),
]


def test_mistakes_in_modulators_are_named() -> None:
    for options, error, words in MODULATED:
        with pytest.raises(error, match=re.escape(words)):
            impulses(PROPERTIES, **RUN, **options)
    with pytest.raises(
        ValueError, match=r"size has 2 different values, .* 3 functions of degree 1"
    ):
        impulses(TIED, **RUN, column=None, modulators=Spline("size", 3, degree=1))
    few = Spline("size", 5, knots="even")
    with pytest.raises(ValueError, match=r"size has 4 different values, .* 5 functions"):
        few.functions([1.0, 2.0, 3.0, 5.0])
    with pytest.raises(ValueError, match="size has values from 0 to 6, outside the knots from 1"):
        few.functions(np.arange(1.0, 8.0), at=[0.0, 6.0])
    different = [EVENTS | {"size": [1.0] * 5}, EVENTS]
    with pytest.raises(ValueError, match="no column 'size'; there are 'onset', 'duration', 'tri"):
        impulses(different, fs=1, samples=10, modulators="size")
    with pytest.raises(ValueError, match="samples has 1 number for 2 tables of events"):
        impulses([EVENTS, EVENTS], fs=1, samples=[10])
    with pytest.raises(ValueError, match=r"row 4 of events\[1\] has an onset of 7.6 s, .* of 5 at"):
        impulses([EVENTS, EVENTS], fs=1, samples=[10, 5])
    with pytest.raises(ValueError, match="events has no tables"):
        impulses([], fs=1, samples=10)
    for given, words in (
        ({"n": 3}, "n must be at least 4, got 3"),
        ({"knots": "odd"}, "knots='odd' is unknown; choose 'quantile' or 'even', or numbers"),
        ({"knots": [0, 2, 1]}, "knots must be 3 ascending numbers for 5 functions of degree 3"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            Spline("size", **given)
    for values, words in (([], "size has no values"), ([1.0, np.nan], "size must be finite")):
        with pytest.raises(ValueError, match=words):
            Spline("size", 2, degree=1).functions(values)
    for values in (["x"], np.ones((3, 2))):
        with pytest.raises(TypeError, match="size must be a number"):
            Spline("size", 2, degree=1).functions(values)


def test_a_kind_without_events_has_zeros_for_all_modulators() -> None:
    options: dict[str, Any] = {"modulators": {"word": ["amplitude", Spline("amplitude", 4)]}}
    x, names = impulses(PROPERTIES, **RUN, names=["face", "word"], **options)
    assert names[2:] == ["word × amplitude", *(f"word × amplitude[{i}]" for i in (1, 2, 3))]
    assert not x[:, 1:].any()
