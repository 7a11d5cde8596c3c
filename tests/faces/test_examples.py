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


def after(text: str, words: str) -> float:
    """The number after some words."""
    found = re.search(rf"{words}\s*([\d.e+-]*\d)", text)
    assert found is not None, words
    return float(found[1])


def row(text: str, label: str) -> list[float]:
    """The numbers of the line of a table that begins with a label."""
    line = next(line for line in text.splitlines() if line.strip().startswith(label))
    return [float(v) for v in re.findall(r"-?\d[\d.]*(?:e[+-]\d+)?", line)]


def trials(text: str) -> bool:
    plain, ridge, smooth = (row(text, label) for label in ("least squares", "ridge,", "smooth,"))
    return sum(plain[:4]) < sum(ridge[:4]) and sum(plain[4:]) > sum(ridge[4:]) > sum(smooth[4:])


def descent(text: str) -> bool:
    *_, table = text.partition("measured\n")
    rows = [[float(v) for v in line.split()[-2:]] for line in table.splitlines()[:4]]
    return all(abs(measured / predicted - 1) < 0.01 for predicted, measured in rows)


def eeg(text: str) -> bool:
    held = {line[:8].strip(): int(line[8:].split()[-3]) for line in text.splitlines()[-3:]}
    return held["white"] < 8 < 13 <= min(held["ar"], held["hac"])


# Words that each example prints, and a check of its numbers.
EXAMPLES: dict[str, tuple[str, Callable[[str], bool] | None]] = {
    "01_notebook": ("exactly determined: 6 equations for 6 unknowns", None),
    "02_haemodynamic_response": (
        "NormalEquations: solved, R² 0.266225", lambda t: after(t, "nitime's fir.*?") <= 1e-12
    ),
    "03_underdetermined": ("channel 1 excites only 2 of its 8 taps", None),
    "04_plan_an_experiment": ("40 lags of 2 channels need at least 119 samples", None),
    "05_gradient_descent": ("", descent),
    "06_trials": ("", trials),
    "07_impulse_response": ("TC, decay 0.8456, strength 1.14, by evidence; 17.6 effective d", None),
    "08_banded_ridge": ("", None),
    "09_eeg_errors": ("warning: the residuals of output 0 are correlated in time", eeg),
    "10_fmri_drifts": (
        "type 2 against type 1: F(15, 2814) = 0.96, p = 0.49",
        lambda t: after(t, "responses change by") < 1e-9,
    ),
    "11_saturated_image": ("", lambda t: row(t, "saturated")[0] < 0.5 < row(t, "every pixel")[0]),
    "12_beyond_memory": (
        "resumed: solved, bit for bit the same kernel",
        lambda t: after(t, "two processes: solved, off by") < 1e-12,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_its_figures_and_draws(name: str, tmp_path: Path) -> None:
    words, check = EXAMPLES[name]
    picture, root = tmp_path / "picture.png", Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(root / f"examples/{name}.py"), str(picture)],
        check=True, capture_output=True, encoding="utf-8", env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == [picture.name]
    assert words in done.stdout
    assert check is None or check(done.stdout)
