"""Progress: long stages report how far they are, to a callable, as bars and in the log."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import progress_bars
from convsolve.problem.sizes import Tuning
from convsolve.progress import listening
from support.slow import some

RNG = np.random.default_rng(0)
X, NOISE = RNG.standard_normal((3, 120, 2)), RNG.standard_normal((3, 120, 2))
KERNEL = RNG.standard_normal((6, 2, 2))
Y = np.stack([sum(np.roll(x, k, 0) @ KERNEL[k] for k in range(6)) for x in X]) + 0.1 * NOISE
# Chunks of a hundred numbers and more, of what is stored or not.
SMALL = Tuning(held_numbers=100, chunk_numbers=200, small_numbers=0, row_numbers=0)


def stated() -> cs.Problem:
    return cs.Problem(X, Y, lags=(0, 5), edges="circular")


class Heard:
    """A listener that keeps what it heard."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int, str]] = []

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        self.calls.append((stage, done, total, note))

    @property
    def stages(self) -> set[str]:
        return {name for name, *_ in self.calls}

    def check(self) -> None:
        """Every stage begins with nothing done, goes on, and ends with all."""
        open_stages: dict[str, int] = {}
        for name, done, total, _ in self.calls:
            if name not in open_stages:
                assert done == 0, (name, done)
            assert open_stages.get(name, 0) <= done <= total, (name, done, total)
            open_stages[name] = done
            if done == total:
                del open_stages[name]
        assert open_stages == {}


# Calls of `solve`, by the names of their stages.
SOLVED: dict[str, tuple[dict[str, Any], str]] = {
    "rows": ({"solver": "qr"}, "rows of the design matrix"),
    "chunks": ({"solver": "normal", "limits": SMALL}, "pass over the data"),
    "rows of chunks": ({"solver": "qr", "limits": SMALL}, "pass over the data"),
    "adam": ({"solver": cs.GradientDescent(steps=30)}, "steps of gradient descent"),
    "cg": ({"solver": "cg"}, "steps of conjugate gradients"),
    "huber": ({"loss": "huber"}, "outputs; scale and fit in turn"),
    "absolute": ({"loss": "absolute"}, "outputs; steps of the interior point method"),
    "lasso": ({"penalty": "lasso"}, "strengths; folds of the choice"),
    "group lasso": (
        {"penalty": cs.Lasso(channel_groups="channels")}, "strengths; sweeps over the groups"
    ),
    "penalty": ({"penalty": "dc", "select": "cv"}, "hyperparameters tried"),
    "bands": ({"penalty": cs.Ridge(channel_groups=(0, 1))}, "outputs"),
    "autoregression": ({"noise": "ar2"}, "rounds of noise and kernel"),
}  # fmt: skip
# Functions that take progress=, their stages and an attribute of the result.
FUNCTIONS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "identify": (
        lambda **p: cs.identify(stated(), **p), "rows of the design matrix", "noise_gain"
    ),
    "compare": (
        lambda **p: cs.compare(stated(), ["huber", "qr"], **p).solutions["huber"],
        "methods; outputs", "kernel",
    ),
    "cross_validate": (
        lambda **p: cs.cross_validate(stated(), **p), "folds; rows that are scored", "mse"
    ),
    "choose_lags": (
        lambda **p: cs.choose_lags(stated(), cs.CrossValidation(), **p),
        "sums over folds; windows of lags, by fold; windows of lags", "scores",
    ),
    "jackknife": (
        lambda **p: cs.solve(stated()).jackknife(**p), "records left out", "standard_error"
    ),
    "permutation_test": (
        lambda **p: cs.solve(stated()).permutation_test(**p),
        "resampled y", "null_distribution",
    ),
    **{
        name: (lambda given=given, **p: cs.solve(stated(), **given, **p), stages, "kernel")
        for name, (given, stages) in SOLVED.items()
    },
}  # fmt: skip
EACH = some(FUNCTIONS, *[*FUNCTIONS][:6], *[*FUNCTIONS][6::4])


@pytest.mark.parametrize("name", EACH)
def test_every_stage_is_reported_to_its_end_and_changes_no_result(name: str) -> None:
    """To the callable that is given, and not to one outside."""
    call, stages, attribute = FUNCTIONS[name]
    alone, inner, outer = getattr(call(), attribute), Heard(), Heard()
    with listening(outer):
        heard = getattr(call(progress=inner), attribute)
    assert {*stages.split("; ")} <= inner.stages
    inner.check()
    assert not {*stages.split("; ")} & outer.stages - {"rows of the design matrix"}
    np.testing.assert_array_equal(alone, heard)


# --- the log


def test_the_log_says_what_was_asked_and_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "convsolve")
    problem = stated()
    cs.solve(problem, penalty="ridge", grid=[1.0, 2.0], limits=SMALL)
    cs.compare(problem, ["fft"])
    cs.choose_lags(problem)
    cs.identify(problem).verdict  # noqa: B018
    said = [record.getMessage() for record in caplog.records]
    assert {record.name for record in caplog.records} == {"convsolve"}
    assert f"solve by Ridge: {problem!r}" in said
    assert "360 rows in 3 chunks of up to 200" in said
    start = "eigenvectors of the Gram matrix: solved"
    (ended,) = [line for line in said if line.startswith(start)]
    assert "ridge, strength 1, by GCV; 12.0, 12.0 effective degrees of freedom" in ended
    assert "choose_lags: lags 0 … 5 of 0 … 5, by BIC" in said
    assert any(line.startswith("identify: overdetermined, ") for line in said)


# --- bars


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal on which bars are drawn at once."""
    seconds = iter(range(10**9))
    monkeypatch.setattr("tqdm.std.time", seconds.__next__)
    monkeypatch.setattr(progress_bars, "SHOWN_SECONDS", 0.0)
    return Screen()


def test_the_regressor_of_scikit_learn_shows_bars_where_it_is_asked_to(screen: Screen) -> None:
    from convsolve.sklearn import ConvRegressor

    with redirect_stderr(screen):
        quiet = ConvRegressor((0, 5), loss="huber").fit([*X], [*Y])
        assert screen.getvalue() == ""
        loud = ConvRegressor((0, 5), loss="huber", verbose=True).fit([*X], [*Y])
    assert "scale and fit in turn:" in screen.getvalue()
    np.testing.assert_array_equal(quiet.coef_, loud.coef_)


@pytest.mark.parametrize("name", [*FUNCTIONS][:7])
def test_true_shows_bars_which_need_tqdm(
    name: str, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, stages, _ = FUNCTIONS[name]
    with redirect_stderr(screen):
        call(progress=False)
        assert screen.getvalue() == ""
        call(progress=True)
    for stage_name in stages.split("; "):
        assert f"{stage_name}:" in screen.getvalue()
    if name == "compare":
        for words in ("methods:  50%|", "1/2 [", "qr", "outputs:   0%|", "\n"):
            assert words in screen.getvalue()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"drawn by tqdm: pip install 'convsolve\[cli\]'"):
        call(progress=True)


# --- an estimate in the log


@pytest.mark.parametrize("call", ["descent", "bar", "quiet", "quick"])
def test_a_long_call_logs_its_route_and_one_estimate(
    call: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless there is a bar, or nobody reads the log."""
    # A clock that advances by a fifth of a second at every look.
    looks = iter(range(10**9))
    if call != "quick":
        clock = "convsolve.progress.time.perf_counter"
        monkeypatch.setattr(clock, lambda: next(looks) / 5)
    caplog.set_level(logging.WARNING if call == "quiet" else logging.INFO, "convsolve")
    more = {"progress": Heard()} if call == "bar" else {}
    cs.solve(stated(), cs.GradientDescent(steps=20 if call == "quick" else 200), **more)
    found = [record.getMessage() for record in caplog.records]
    found = [line for line in found if "has taken" in line]
    assert len(found) == (call == "descent")
    words = r"solve has taken [56] s: Grad.* steps of gradient descent, \d+ of 200; about .* s left"
    assert all(re.match(words, line) for line in found)
