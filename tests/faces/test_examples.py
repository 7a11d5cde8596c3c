"""The examples run as a user runs them, print the figures of the documentation, and draw."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
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


def after(text: str, words: str) -> float:
    """The number after some words."""
    found = re.search(rf"{words}\s*([\d.e+-]*\d)", text)
    assert found is not None, words
    return float(found[1])


def row(text: str, label: str) -> list[float]:
    """The numbers of the line of a table that begins with a label."""
    line = next(line for line in text.splitlines() if line.strip().startswith(label))
    return [float(v) for v in re.findall(r"-?\d[\d.]*(?:e[+-]\d+)?", line)]


def notebook(text: str) -> None:
    assert "[4 5] * [1 2] = [ 4 10]\nConv1d output: [6, 11, 14]\n" in text
    assert "exactly determined: 6 equations for 6 unknowns" in text
    assert "[[1. 3.]\n [2. 4.]]" in text


def haemodynamic(text: str) -> None:
    assert "NormalEquations: solved, R² 0.266225" in text
    assert "all 90 identifiable" in text
    assert after(text, "condition number") == 2.59
    assert after(text, "nitime's fir.*?") <= 1e-12


def underdetermined(text: str) -> None:
    assert "5 more rows of y are needed" in text
    assert "channel 1 excites only 2 of its 8 taps" in text
    known, others = map(float, text.splitlines()[-1].split())
    assert known < 1e-13 < 0.5 < others


def plan(text: str) -> None:
    assert text.startswith("40 lags of 2 channels need at least 119 samples")
    assert re.findall(r"\d+/80", text) == ["25/80", "4/80", "50/80", "80/80", "80/80", "80/80"]
    words = " ".join(text.split())
    assert "are collinear in 5 sets: only the sum of each set is determined (first set:" in words
    assert "first set: channel 0 lags 14, 39 and channel 1 lags 2, 27)" in words
    predicted, measured = (float(line.split()[-1]) for line in text.splitlines()[-2:])
    assert abs(measured / predicted - 1) < 0.2  # the standard deviation of 80 taps is 1/√160


def descent(text: str) -> None:
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.endswith("measured"))
    table = [[float(v) for v in line.split()[-3:]] for line in lines[start + 1 : start + 5]]
    assert all(abs(measured / predicted - 1) < 0.01 for _, predicted, measured in table)


def trials(text: str) -> None:
    plain, ridge, smooth = (row(text, label) for label in ("least squares", "ridge,", "smooth,"))
    assert sum(plain[:4]) < sum(ridge[:4])
    assert sum(plain[4:]) > sum(ridge[4:]) > sum(smooth[4:])


def impulse_response(text: str) -> None:
    found = {line[:20].strip(): float(line[20:27]) for line in text.splitlines()[2:7]}
    page = " ".join((EXAMPLES.parent / "docs/penalties.md").read_text(encoding="utf-8").split())
    shown = f"least squares finds {found['least squares']:.0f} % of the true response, a ridge "
    assert f"{shown}{found['ridge']:.0f} %, and a decaying prior {found['TC']:.0f} %" in page
    choice = "TC, decay 0.8456, strength 1.14, by evidence; 17.6 effective degrees"
    assert choice in text
    assert choice in page


def banded(text: str) -> None:
    plain, ridge, bands = (sum(map(float, line[22:].split())) for line in text.splitlines()[1:4])
    assert plain < ridge < bands


def eeg(text: str) -> None:
    lines = text.splitlines()
    assert lines[0].startswith("warning: the residuals of output 0 are correlated in time")
    held = {line[:8].strip(): int(line[8:].split()[-3]) for line in lines[-3:]}
    assert held["white"] < 8 < 13 <= min(held["ar"], held["hac"])


def drifts(text: str) -> None:
    assert "for autoregressive noise of order 35" in " ".join(text.split())
    assert "type 2 against type 1: F(15, 2814) = 0.96, p = 0.49" in text
    assert after(text, "responses change by") < 1e-9


def saturated(text: str) -> None:
    assert row(text, "saturated")[0] < 0.5 < 10 < row(text, "every pixel")[0]
    assert after(text, "within two standard errors of the truth:") >= 90


def beyond_memory(text: str) -> None:
    first, there, killed, resumed = text.splitlines()
    assert first.startswith("HDF5: solved, R² 0.98")
    assert after(there, "two processes: solved, off by") < 1e-12
    assert killed.startswith("killed halfway: a checkpoint of ")
    assert resumed == "resumed: solved, bit for bit the same kernel"


CHECKS: dict[str, Callable[[str], None]] = {
    "01_notebook.py": notebook,
    "02_haemodynamic_response.py": haemodynamic,
    "03_underdetermined.py": underdetermined,
    "04_plan_an_experiment.py": plan,
    "05_gradient_descent.py": descent,
    "06_trials.py": trials,
    "07_impulse_response.py": impulse_response,
    "08_banded_ridge.py": banded,
    "09_eeg_errors.py": eeg,
    "10_fmri_drifts.py": drifts,
    "11_saturated_image.py": saturated,
    "12_beyond_memory.py": beyond_memory,
}


@pytest.mark.parametrize("name", CHECKS)
def test_an_example_prints_its_figures_and_draws(name: str, tmp_path: Path) -> None:
    CHECKS[name](output(name, tmp_path))
