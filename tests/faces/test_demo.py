"""The demo: what it shows is true, fits a terminal, and needs no matplotlib."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from convsolve.cli import demo
from convsolve.datasets import nitime_fir
from convsolve.problem.problem import Problem
from convsolve.solvers.gradient_descent import GradientDescent

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
    assert "condition 51.6" in text
    assert "▸ way out: 1 more row of y is needed" in text


@pytest.mark.parametrize("index", [0, 1, 2])
def test_closed_forms_are_exact_and_descent_comes_near(shown, index):
    rows = {row["method"]: row for row in shown[1]["problems"][index]["rows"]}
    for method in ("SVD", "QR", "normal equations"):
        assert rows[method]["kernel_error"] < 1e-12
        assert rows[method]["status"] == "solved"
    assert rows["FFT"]["status"] == "approximate"
    assert 1e-6 < rows["Adam on MAE"]["kernel_error"] < 0.1


def test_descent_from_zero_ends_at_the_shortest_kernel_and_adam_does_not(shown):
    text, numbers, _ = shown
    rows = {row["method"]: row for row in numbers["problems"][3]["rows"]}
    assert max(row["loss"] for row in rows.values()) < 1e-12
    for method in ("SVD, minimum norm", "plain descent", "with momentum", "L-BFGS"):
        assert rows[method]["null_part"] < 1e-12
    assert rows["Adam"]["null_part"] > 0.1
    assert 20_000 < rows["plain descent"]["steps"] < 50_000
    # How far each kernel is from the shortest one, the last column but one.
    table = text[text.index("off shortest") :].splitlines()[2:7]
    off = [float(line.split()[-2]) for line in table]
    assert max(off[:4]) < 1e-5
    assert 0.05 < off[4] < 0.2


def test_the_responses_are_those_of_nitime(shown):
    text, numbers, _ = shown
    assert "R² is 0.266225" in text
    fmri = numbers["fmri"]
    np.testing.assert_allclose(fmri["responses"], nitime_fir(), rtol=0, atol=1e-12)
    assert fmri["off_nitime"] < 1e-12
    assert round(fmri["identifiability"]["condition"], 1) == 2.6
    assert "condition 2.59, all 90 taps identifiable" in text
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


def test_the_text_fits_a_terminal(shown):
    text, _, path = shown
    *lines, last = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert last.endswith(f"drawn in {path}.")


def test_the_numbers_are_json(shown):
    json.dumps(shown[1], allow_nan=False)


def test_the_picture(shown):
    assert shown[2].read_bytes().startswith(b"\x89PNG")


def test_the_picture_shows_responses_over_seconds_and_kernels_by_method():
    short = Problem(demo.TWO[:7], demo.TWO_Y[:5], kernel_size=3)
    table = demo._compared(short, {"a": GradientDescent(steps=3), "b": GradientDescent(steps=9)})
    fit, _ = demo._responses(lambda line: None)
    figure = demo.picture(fit, table)
    responses, *panels = figure.axes
    curves = responses.get_lines()[1:]
    assert [curve.get_label() for curve in curves] == [f"event {i}" for i in range(1, 7)]
    for curve, values in zip(curves, nitime_fir().T):
        np.testing.assert_array_equal(curve.get_xdata(), np.arange(0, 30, 2))
        np.testing.assert_allclose(curve.get_ydata(), values, rtol=0, atol=1e-12)
    assert responses.get_xlabel() == "time after the event (s)"
    for c, axes in enumerate(panels):
        assert [line.get_label() for line in axes.get_lines()[:2]] == ["a", "b"]
        np.testing.assert_array_equal(
            axes.get_lines()[1].get_ydata(), table.solutions["b"].impulse_response[:, c]
        )
        heights = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
        assert heights == [[v, v] for v in demo.TWO_KERNEL[:, c]]


def test_ctrl_c_ends_the_demo(monkeypatch):
    fit = SimpleNamespace(status="interrupted")
    table = SimpleNamespace(solutions={"Adam": fit})
    monkeypatch.setattr(demo, "compare", lambda *args, **settings: table)
    with pytest.raises(KeyboardInterrupt):
        demo._compared(None, {})


@pytest.mark.slow
def test_without_matplotlib_it_says_how_to_get_the_picture():
    script = """
import sys
sys.modules["matplotlib"] = None
from convsolve.cli.main import main
sys.exit(main(["demo"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "R² is 0.266225" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "For a picture: install matplotlib (pip install 'convsolve[plot]'), "
        "then convsolve demo --plot demo.png"
    )
