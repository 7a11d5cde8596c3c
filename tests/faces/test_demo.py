"""The demo: what it shows is true, fits a terminal, and needs no matplotlib."""

import numpy as np
import pytest

from convsolve.cli import demo
from convsolve.datasets import nitime_fir

pytestmark = pytest.mark.slow  # most of it is one run of all the demo


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The text of one run, the numbers it returned, and the picture it drew."""
    lines = []
    path = tmp_path_factory.mktemp("demo") / "demo.png"
    numbers = demo.run(lines.append, plot=path)
    return "\n".join(lines), numbers, path


def test_the_problems_are_diagnosed(shown):
    text, numbers, _ = shown
    verdicts = [problem["identifiability"]["verdict"] for problem in numbers["problems"]]
    expected = ["overdetermined", "exactly determined", "overdetermined", "underdetermined"]
    assert verdicts == expected
    assert numbers["fmri"]["identifiability"]["verdict"] == "overdetermined"
    for verdict in expected:
        assert f"▸ {verdict}: " in text
    assert "condition number 51.6" in text
    assert "▸ suggestion: 1 more row of y is needed" in text


@pytest.mark.parametrize("index", [0, 1, 2])
def test_closed_forms_are_exact_and_descent_comes_near(shown, index):
    rows = {row["method"]: row for row in shown[1]["problems"][index]["rows"]}
    for method in ("SVD", "QR", "normal equations"):
        assert rows[method]["kernel_error"] < 1e-12
        assert rows[method]["status"] == "solved"
    assert rows["FFT"]["status"] == "approximate"
    assert 1e-6 < rows["Adam on MAE"]["kernel_error"] < 0.1


def test_the_responses_are_those_of_nitime(shown):
    text, numbers, _ = shown
    assert "R² is 0.266225" in text
    fmri = numbers["fmri"]
    np.testing.assert_allclose(fmri["responses"], nitime_fir(), rtol=0, atol=1e-12)
    assert fmri["off_nitime"] < 1e-12
    assert round(fmri["identifiability"]["condition_number"], 1) == 2.6
    assert "condition number 2.59, all 90 taps identifiable" in text
    # The highest response of all, and the one sample that reaches the lowest of all.
    lines = text[text.index("event type") :].splitlines()[2:8]
    bars = [line.split()[1] for line in lines]
    responses = np.array(fmri["responses"])
    for bar, response in zip(bars, responses.T):
        assert len(bar) == 15
        order = [demo.BLOCKS.index(block) for block in bar]
        assert (np.diff(order)[np.diff(response) > 0] >= 0).all()
    assert "█" in bars[responses.max(0).argmax()]
    assert "▁" in bars[responses.min(0).argmin()]
