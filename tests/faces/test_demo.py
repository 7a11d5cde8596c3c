"""The demo: its text and its numbers are right, and it needs no matplotlib without --plot."""

import numpy as np
import pytest

from convsolve.cli import demo
from convsolve.datasets import nitime_fir


@pytest.mark.slow
def test_the_demo_solves_four_problems_and_a_recording(tmp_path):
    lines = []
    numbers = demo.run(lines.append, plot=tmp_path / "demo.png")
    text, fmri = "\n".join(lines), numbers["fmri"]
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    verdicts = [problem["identifiability"]["verdict"] for problem in numbers["problems"]]
    wanted = ["overdetermined", "exactly determined", "overdetermined", "underdetermined"]
    assert verdicts == wanted
    for words in (*(f"▸ {verdict}: " for verdict in wanted), "condition number 51.6",
                  "▸ suggestion: 1 more row of y is needed", "R² is 0.266225",
                  "condition number 2.59, all 90 taps identifiable"):  # fmt: skip
        assert words in text
    for problem in numbers["problems"][:3]:
        rows = {row["method"]: row for row in problem["rows"]}
        for method in ("SVD", "QR", "normal equations"):
            assert rows[method]["kernel_error"] < 1e-12
            assert rows[method]["status"] == "solved"
        assert rows["FFT"]["status"] == "approximate"
        assert 1e-6 < rows["Adam on MAE"]["kernel_error"] < 0.1
    np.testing.assert_allclose(fmri["responses"], nitime_fir(), rtol=0, atol=1e-12)
    assert fmri["off_nitime"] < 1e-12
