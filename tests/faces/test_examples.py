"""The examples run as a user runs them, print what they promise, and draw."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def output(name: str, folder: Path) -> str:
    picture = folder / "picture.png"
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), str(picture)]
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", env=environment, cwd=folder
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(folder) == [picture.name]
    return done.stdout


@pytest.mark.slow
def test_the_notebook_is_spelled_out_and_solved(tmp_path: Path) -> None:
    text = output("01_notebook.py", tmp_path)
    assert text.startswith(
        "Conv1d input: [0 3 4 5]\n"
        "[0 3] * [1 2] = [0 6]\n"
        "[3 4] * [1 2] = [3 8]\n"
        "[4 5] * [1 2] = [ 4 10]\n"
        "Conv1d output: [6, 11, 14]\n"
    )
    assert "exactly determined: 6 equations for 6 unknowns" in text
    assert "[[1. 3.]\n [2. 4.]]" in text


@pytest.mark.slow
def test_an_impulse_response_by_a_prior_that_decays(tmp_path: Path) -> None:
    lines = output("07_impulse_response.py", tmp_path).splitlines()
    shares = {line[:20].strip(): float(line[20:27]) for line in lines[2:7]}
    assert shares["least squares"] < shares["ridge"] < 60 < 80 < shares["TC"] < shares["SS"]
    assert any("TC, alpha 0.8456, strength 1.14, by evidence; 17.6 effective" in x for x in lines)
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    told = f"it finds {shares['least squares']:.0f} % of the\ntrue response; a ridge "
    told += f"{shares['ridge']:.0f} %, a prior that decays {shares['TC']:.0f} %"
    assert told in readme
    assert "TC, alpha 0.8456, strength 1.14, by evidence; 17.6 effective degrees" in readme


@pytest.mark.slow
def test_a_ridge_by_leaving_out_trials(tmp_path: Path) -> None:
    lines = output("06_trials.py", tmp_path).splitlines()
    rows = {line[:24].strip(): [float(v) for v in line[24:].split()] for line in lines[3:6]}
    plain, ridge, smooth = rows.values()
    assert np.mean(plain[:4]) < np.mean(ridge[:4])
    assert np.mean(plain[4:]) > np.mean(ridge[4:]) > np.mean(smooth[4:])
    choice, whole = (float(v) for v in re.findall(r"0\.\d+", lines[-1]))
    assert whole < choice


@pytest.mark.slow
def test_errors_under_the_noise_of_an_eeg(tmp_path: Path) -> None:
    lines = output("09_eeg_errors.py", tmp_path).splitlines()
    assert lines[0].startswith("warning: the residuals of output 0 are correlated in time")
    rows = {line[:8].strip(): line[8:].split() for line in lines[-3:]}
    held = {noise: int(row[-3]) for noise, row in rows.items()}
    assert held["white"] < 8 < 13 <= min(held["ar"], held["hac"])
    error, deviation, of_sum, deviation_of_sum = (float(v) for v in rows["ar"][:4])
    assert 0.8 < error / deviation < 1.2
    assert 0.7 < of_sum / deviation_of_sum < 1.3
    assert deviation < float(rows["white"][1]) < float(rows["white"][0]) / 1.5
    assert deviation_of_sum < float(rows["white"][3])
    assert float(rows["white"][3]) > 4 * float(rows["white"][2])


@pytest.mark.slow
def test_a_ridge_for_each_feature_set(tmp_path: Path) -> None:
    lines = output("08_banded_ridge.py", tmp_path).splitlines()
    plain, ridge, banded = (sum(map(float, line[22:].split())) for line in lines[1:4])
    assert plain < ridge < banded


@pytest.mark.slow
def test_the_haemodynamic_responses_are_those_of_nitime(tmp_path: Path) -> None:
    lines = output("02_haemodynamic_response.py", tmp_path).splitlines()
    assert any("unknowns   90 per output channel" in line for line in lines)
    assert any(line.split() == ["condition", "2.59"] for line in lines)
    assert "NormalEquations: solved, R² 0.266225" in lines
    (difference,) = [line.split()[-1] for line in lines if "nitime's fir" in line]
    assert float(difference) <= 1e-12


@pytest.mark.slow
def test_short_data_leave_taps_open(tmp_path: Path) -> None:
    text = output("03_underdetermined.py", tmp_path)
    assert "5 more rows of y are needed" in text
    assert "channel 1 excites only 2 of its 8 taps" in text
    known, others = (float(v) for v in text.splitlines()[-1].split())
    assert known < 1e-13
    assert others > 0.5


@pytest.mark.slow
def test_an_experiment_is_planned_from_x_alone(tmp_path: Path) -> None:
    lines = output("04_plan_an_experiment.py", tmp_path).splitlines()
    assert lines[0].startswith("40 lags of 2 channels take 119 samples at the least")
    start = next(i for i, line in enumerate(lines) if line.startswith("stimulus"))
    table = [line.split() for line in lines[start + 1 : start + 7]]
    verdicts, ranks = zip(*(row[-5:-3] for row in table), strict=True)
    assert verdicts == ("rank-deficient",) * 3 + ("overdetermined",) * 3
    assert ranks == ("25/80", "4/80", "50/80", "80/80", "80/80", "80/80")
    text = "\n".join(lines)
    assert "lags 14, 39 and channel 1 lags 2, 27 are confounded: only their sum is" in text
    assert lines[-3].startswith("white noise of 2,8")
    predicted, measured = (float(line.split()[-1]) for line in lines[-2:])
    assert 0.018 < predicted <= 0.02
    assert abs(measured / predicted - 1) < 0.2  # of 80 taps, 1/√160 is one deviation


@pytest.mark.slow
def test_a_descent_goes_as_predicted(tmp_path: Path) -> None:
    lines = output("05_gradient_descent.py", tmp_path).splitlines()
    (steps,) = [int(line.split()[1]) for line in lines if line.startswith("steps ")]
    assert any(line.startswith("last       0.50 cycles per tap") for line in lines)
    start = next(i for i, line in enumerate(lines) if line.endswith("measured"))
    table = [[float(v) for v in line.split()[-3:]] for line in lines[start + 1 : start + 5]]
    assert [row[0] for row in table] == [steps // 2, steps, steps, 300]
    assert all(abs(measured / predicted - 1) < 0.01 for _, predicted, measured in table)
    assert table[1][1] < 1e-6 < table[0][1]
    assert table[3][1] > 1e3
    begin = next(i for i, line in enumerate(lines) if line.startswith("Stopped early"))
    early = [[float(v) for v in line.split()] for line in lines[begin + 3 : begin + 7]]
    assert [row[0] for row in early] == [2, 5, 20, 100]
    assert all(apart < 0.2 for _, _, apart, _, _ in early)
    assert all(a[3] > b[3] and a[4] > b[4] for a, b in pairwise(early))


@pytest.mark.slow
def test_responses_beside_drifts(tmp_path: Path) -> None:
    text = output("10_fmri_drifts.py", tmp_path)
    assert "an autoregression of order 35" in " ".join(text.split())
    assert "type 2 against type 1: F(15, 2814) = 0.96, p = 0.49" in text
    off = re.search(r"responses change by (\S+)", text)
    assert off is not None
    assert float(off[1]) < 1e-9
    first, second = re.findall(r"R² (?:of the responses|is) (\S+), with drifts (\S+)", text)
    assert first[0] == second[0]
    assert float(second[1]) > 0.999


@pytest.mark.slow
def test_saturated_pixels_are_left_out(tmp_path: Path) -> None:
    text = output("11_saturated_image.py", tmp_path)
    every, masked = (
        float(line.split()[-2].rstrip("%"))
        for line in text.splitlines()
        if line.startswith(("  every pixel", "  saturated"))
    )
    assert masked < 0.5 < 10 < every
    inside = re.search(r"within two standard errors of the truth: (\d+)%", text)
    assert inside is not None
    assert int(inside[1]) >= 90


@pytest.mark.slow
def test_a_recording_beyond_memory(tmp_path: Path) -> None:
    first, there, killed, resumed = output("12_beyond_memory.py", tmp_path).splitlines()
    assert first.startswith("HDF5: solved, R² 0.98")
    assert there.startswith("two processes: solved, off by ")
    assert float(there.split()[5]) < 1e-12
    assert killed.startswith("killed halfway: a checkpoint of ")
    assert resumed == "resumed: solved, bit for bit the same kernel"
