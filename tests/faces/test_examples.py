"""The examples run as a user runs them, print the figures of the documentation, and draw."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
# Patterns of what is printed by the examples whose figures are elsewhere in the documentation. The
# build of the documentation runs all.
SMALL = r"\d[\d.]*e-1[0-6]"
EXAMPLES = {
    "02_haemodynamic_response": f"(?s)NormalEquations: solved, R² 0.266225.*nitime's fir.* {SMALL}",
    "07_impulse_response": "TC, decay 0.8456, strength 1.14, by evidence; 17.6 effective degrees",
    "09_eeg_errors": "warning: the residuals of output 0 are correlated in time",
    "10_fmri_drifts": r"type 2 against type 1: F\(15, 2898\) = 1.12, p = 0.34",
    "11_saturated_image": "within two standard errors of the truth: +9",
    "12_beyond_memory": f"two processes: solved, off by {SMALL}",
    "14_conv1d_layer": "(?s)overdetermined: 199 equations for 4 .*underdetermined: 12 .* for 15 ",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_its_figures_and_draws(name: str, tmp_path: Path) -> None:
    picture, root = tmp_path / "picture.png", Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(root / f"examples/{name}.py"), str(picture)],
        check=True, capture_output=True, encoding="utf-8", env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == [picture.name]
    assert re.search(EXAMPLES[name], done.stdout), done.stdout
