"""The demo solves its problems, and its text and numbers agree."""

import numpy as np
import pytest

from convsolve.cli import demo
from convsolve.datasets import nitime_fir


@pytest.mark.slow
def test_the_demo_solves_two_problems_and_a_recording(tmp_path):
    lines = []
    numbers = demo.run(lines.append, plot=tmp_path / "demo.png")
    text, fmri = "\n".join(lines), numbers["fmri"]
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    for words in ("least squares  [1. 2.]", "underdetermined: ", "R² is 0.266225"):
        assert words in text
    errors = {row["method"]: row["kernel_error"] for row in numbers["filter"]}
    assert errors["least squares"] < 1e-12
    assert 1e-6 < errors["Adam"] < 0.1 < errors["FFT"]
    assert numbers["short"]["verdict"] == "underdetermined"
    np.testing.assert_allclose(fmri["responses"], nitime_fir(), rtol=0, atol=1e-12)
    assert fmri["off_nitime"] < 1e-12
