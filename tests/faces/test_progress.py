"""Progress: long stages show bars, and are in the log."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import progress
from convsolve.problem.sizes import Tuning
from convsolve.sklearn import ConvRegressor
from support.slow import some

RNG = np.random.default_rng(0)
X, NOISE = RNG.standard_normal((3, 120, 2)), RNG.standard_normal((3, 120, 2))
Y = np.roll(X, 1, axis=1) + 0.1 * NOISE
PROBLEM = cs.Problem(X, Y, lags=(0, 5), edges="circular")
# Chunks of a hundred numbers and more, of what is stored or not.
SMALL = Tuning(held_numbers=100, chunk_numbers=200, small_numbers=0, row_numbers=0)

# Calls that take progress=, by one of their stages.
CALLS: dict[str, Callable[..., Any]] = {
    "rows of the design matrix": lambda **p: cs.identify(cs.Problem(X, Y, lags=(0, 5)), **p),
    "methods": lambda **p: cs.compare(PROBLEM, ["huber", "qr"], **p),
    "folds": lambda **p: cs.cross_validate(PROBLEM, **p),
    "windows of lags": lambda **p: cs.choose_lags(PROBLEM, cs.CrossValidation(), **p),
    "records left out": lambda **p: cs.solve(PROBLEM).jackknife(**p),
    "resampled y": lambda **p: cs.solve(PROBLEM).permutation_test(**p),
    "moments of subjects": lambda **p: cs.solve_group({1: PROBLEM, 2: PROBLEM}, **p),
    "scale and fit in turn": lambda progress: ConvRegressor(
        (0, 5), loss="huber", verbose=progress
    ).fit([*X], [*Y]),
}
SOLVED: dict[str, dict[str, Any]] = {
    "pass over the data": {"solver": "normal", "limits": SMALL},
    "steps of gradient descent": {"solver": cs.GradientDescent(steps=30)},
    "steps of conjugate gradients": {"solver": "cg"},
    "steps of the interior point method": {"loss": "absolute"},
    "strengths": {"penalty": "lasso"},
    "sweeps over the groups": {"penalty": cs.Lasso(channel_groups="channels")},
    "hyperparameters tried": {"penalty": "dc", "select": "cv"},
    "rounds of noise and kernel": {"noise": "ar2"},
}
CALLS |= {
    name: lambda given=given, **p: cs.solve(PROBLEM, **given, **p) for name, given in SOLVED.items()
}


@pytest.mark.parametrize("name", some(CALLS, *[*CALLS][:8], *[*CALLS][8::3]))
def test_true_shows_bars_which_need_tqdm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, seconds = io.StringIO(), iter(range(10**9))
    monkeypatch.setattr("tqdm.std.time", seconds.__next__)  # a second passes at every look
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    with redirect_stderr(screen):
        CALLS[name](progress=False)
        assert screen.getvalue() == ""
        CALLS[name](progress=True)
    assert f"{name}:" in screen.getvalue()
    if name == "methods":
        assert "methods:  50%|" in screen.getvalue()
        assert ", qr]" in screen.getvalue()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"needs tqdm: pip install 'convsolve\[cli\]'"):
        CALLS[name](progress=True)


def test_the_log_has_requests_results_and_long_stages(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    caplog.set_level(logging.DEBUG, "convsolve")
    problem = cs.Problem(X, Y, lags=(0, 5), edges="circular")
    cs.solve(problem, penalty="ridge", grid=[1.0, 2.0], limits=SMALL)
    cs.choose_lags(problem)
    found = [record.getMessage() for record in caplog.records]
    assert {record.name for record in caplog.records} == {"convsolve"}
    assert f"solve by Ridge: {problem!r}" in found
    assert "360 rows in 3 chunks of up to 200" in found
    ended = [line for line in found if line.startswith("eigenvectors of the Gram matrix: solved")]
    assert ", certificate " in ended[0]
    assert any(line.startswith("windows of lags: 0.") for line in found)
