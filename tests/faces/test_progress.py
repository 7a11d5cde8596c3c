"""Progress: what lasts says how far it is, to whoever listens, and to nobody else."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import progress, progress_bars
from convsolve.progress import listening, stage, tracked
from support.slow import some

RNG = np.random.default_rng(0)
X, NOISE = RNG.standard_normal((3, 120, 2)), RNG.standard_normal((3, 120, 2))
KERNEL = RNG.standard_normal((6, 2, 2))
Y = np.stack([sum(np.roll(x, k, 0) @ KERNEL[k] for k in range(6)) for x in X]) + 0.1 * NOISE
PROBLEM = {"lags": (0, 5), "edges": "circular"}
# Chunks of a hundred numbers and more, of what is stored or not.
SMALL = cs.Limits(held_numbers=100, chunk_numbers=200, small_numbers=0, row_numbers=0)


def stated() -> cs.Problem:
    return cs.Problem(X, Y, **PROBLEM)


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


def numbers_of(answer: Any) -> list[np.ndarray]:
    """The arrays of whatever a call gives."""
    if isinstance(answer, cs.Solution):
        return [np.asarray(answer.kernel)]
    if isinstance(answer, cs.results.Comparison):
        return [np.asarray(fit.kernel) for fit in answer.solutions.values()]
    if isinstance(answer, cs.results.CrossValidationScores):
        return [answer.mse, answer.r2]
    if isinstance(answer, cs.results.LagChoice):
        return [np.asarray(answer.scores)]
    return [*answer]


def solved(**more: Any) -> Callable[[], Any]:
    return lambda: cs.solve(stated(), **more)


CALLS: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "rows": (solved(solver="qr"), {"rows of the design matrix"}),
    "FFTs": (
        solved(solver="normal", limits=cs.Limits(row_numbers=0)),
        {"batches on all cores"},
    ),
    "chunks": (solved(solver="normal", limits=SMALL), {"pass over the data"}),
    "rows of chunks": (solved(solver="qr", limits=SMALL), {"pass over the data"}),
    "adam": (solved(solver=cs.GradientDescent(steps=30)), {"steps of gradient descent"}),
    "cg": (solved(solver="cg"), {"steps of conjugate gradients"}),
    "huber": (solved(loss="huber"), {"outputs", "Newton's steps", "scale and fit in turn"}),
    "absolute": (
        solved(loss="absolute"),
        {"outputs", "steps of the interior point method", "pivots"},
    ),
    "lasso": (solved(penalty="lasso"), {"outputs", "strengths", "folds of the choice"}),
    "group lasso": (
        solved(penalty=cs.Lasso(channel_groups="channels")),
        {"outputs", "sweeps over the groups"},
    ),
    "penalty": (
        solved(penalty="dc", select="cv"),
        {"sums over folds", "decompositions, by fold", "hyperparameters tried"},
    ),
    "bands": (solved(penalty=cs.Ridge(channel_groups=(0, 1))), {"outputs"}),
    "Krylov": (
        solved(
            penalty="ridge",
            select=cs.CrossValidation(),
            limits=cs.Limits(spectrum_columns=2),
        ),
        {"held-out rows, by fold", "outputs"},
    ),
    "autoregression": (solved(noise="ar2"), {"rounds of noise and kernel"}),
    "compare": (lambda: cs.compare(stated(), ["huber", cs.AutoSolver()]), {"methods"}),
    "cross_validate": (lambda: cs.cross_validate(stated()), {"folds", "rows that are scored"}),
    "choose_lags": (lambda: cs.choose_lags(stated()), {"windows of lags"}),
    "choose_lags by folds": (
        lambda: cs.choose_lags(stated(), cs.CrossValidation()),
        {"sums over folds", "windows of lags, by fold", "windows of lags"},
    ),
    "predict": (lambda: cs.solve(stated()).predict(X), {"rows that are predicted"}),
    "score": (lambda: cs.solve(stated()).score(X, Y), {"rows that are scored"}),
    "jackknife": (
        lambda: [cs.solve(stated()).jackknife().standard_error],
        {"sums over records", "records left out"},
    ),
    "permutations": (
        lambda: [cs.solve(stated()).permutation_test().null_distribution],
        {"columns, multiplied by resampled y"},
    ),
    "band for all taps": (
        lambda: cs.solve(stated()).confidence_band(simultaneous=True),
        {"draws of the largest deviation"},
    ),
}


@pytest.mark.parametrize("name", some(CALLS, *[*CALLS][::4]))
def test_what_lasts_is_heard_to_its_end_and_answers_as_if_nobody_listened(name: str) -> None:
    call, stages = CALLS[name]
    alone, heard = numbers_of(call()), Heard()
    with listening(heard):
        beside = numbers_of(call())
    assert stages <= heard.stages
    heard.check()
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_goes_on_where_it_was(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, stop = tmp_path / "fit.ckpt", [3]

    class Crash(Exception):
        pass

    def crash(name: str, done: int, total: int, note: str) -> None:
        if name == "pass over the data" and done:
            stop[0] -= 1
            if not stop[0]:
                raise Crash

    monkeypatch.setattr("convsolve.checkpoint.MOST_SHARE", 1e9)
    with listening(crash), pytest.raises(Crash):
        cs.solve(stated(), checkpoint=path, limits=SMALL)
    heard = Heard()
    with listening(heard):
        cs.solve(stated(), checkpoint=path, limits=SMALL)
    heard.check()
    notes = [note for name, _, _, note in heard.calls if name == "pass over the data"]
    assert notes[:4] == ["", "checked", "checked", "checked"]
    assert notes.count("checked") == 3


def test_a_method_is_named_before_it_begins() -> None:
    heard = Heard()
    with listening(heard):
        cs.compare(stated(), ["huber", cs.AutoSolver()])
    said = [call for call in heard.calls if call[0] == "methods"]
    assert said == [
        ("methods", 0, 2, ""),
        ("methods", 0, 2, "huber"),
        ("methods", 1, 2, "AutoSolver"),
        ("methods", 2, 2, ""),
    ]


def fails(listener: progress.Listener) -> None:
    with listening(listener), stage("quotients", 5) as report:
        report(1, "one")
        _ = 1 / 0


def test_stages_that_end_early_say_so() -> None:
    heard = Heard()
    with listening(heard):
        for number in tracked(range(9), "numbers", 9):
            if number == 2:
                break
        with pytest.raises(ZeroDivisionError):
            fails(heard)
    heard.check()
    assert heard.calls[-3:] == [
        ("quotients", 0, 5, ""),
        ("quotients", 1, 5, "one"),
        ("quotients", 5, 5, ""),
    ]


def test_threads_do_not_hear_each_other() -> None:
    def work(number: int) -> list[tuple[str, int, int, str]]:
        heard = Heard()
        with listening(heard):
            for _ in tracked(range(50), f"work {number}", 50):
                pass
        return heard.calls

    outside = Heard()
    with listening(outside), ThreadPoolExecutor(4) as pool:
        found = [*pool.map(work, range(8))]
    assert outside.calls == []
    for number, calls in enumerate(found):
        assert {name for name, *_ in calls} == {f"work {number}"}


# --- the log


def test_nothing_is_said_by_default() -> None:
    script = (
        "import numpy as np, convsolve as cs\n"
        "x, y = np.random.default_rng(0).standard_normal((2, 500))\n"
        "p = cs.Problem(x, y, lags=(0, 9))\n"
        "cs.solve(p), cs.choose_lags(p), cs.cross_validate(p, folds=3), cs.identify(p).verdict\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


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
    assert "360 rows are taken in 6 chunks of up to 100" in said
    start = "tridiagonal form of the Gram matrix: solved"
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


def test_bars_are_drawn_within_each_other(screen: Screen) -> None:
    with redirect_stderr(screen), progress_bars.bars():
        cs.compare(stated(), [cs.HuberLoss(), cs.AbsoluteLoss()])
    drawn = screen.getvalue()
    for words in ("methods:  50%|", "1/2 [", "AbsoluteLoss", "outputs:   0%|", "\n"):
        assert words in drawn


def test_the_regressor_of_scikit_learn_shows_bars_where_it_is_asked_to(screen: Screen) -> None:
    from convsolve.sklearn import ConvRegressor

    with redirect_stderr(screen):
        quiet = ConvRegressor((0, 5), loss="huber").fit([*X], [*Y])
        assert screen.getvalue() == ""
        loud = ConvRegressor((0, 5), loss="huber", verbose=True).fit([*X], [*Y])
    assert "scale and fit in turn:" in screen.getvalue()
    np.testing.assert_array_equal(quiet.coef_, loud.coef_)


def test_bars_need_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"drawn by tqdm: pip install 'convsolve\[cli\]'"):
        progress_bars.bars().__enter__()
    with pytest.raises(ImportError, match=r"drawn by tqdm: pip install 'convsolve\[cli\]'"):
        cs.solve(stated(), progress=True)


# --- the argument


FOLLOWED: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "identify": (lambda **p: cs.identify(stated(), **p), {"rows of the design matrix"}),
    "solve": (
        lambda **p: cs.solve(stated(), loss="huber", **p),
        {"outputs", "Newton's steps", "scale and fit in turn"},
    ),
    "cross_validate": (
        lambda **p: cs.cross_validate(stated(), **p),
        {"folds", "rows that are scored"},
    ),
    "compare": (lambda **p: cs.compare(stated(), ["huber", "qr"], **p), {"methods", "outputs"}),
    "choose_lags": (lambda **p: cs.choose_lags(stated(), **p), {"windows of lags"}),
    "jackknife": (
        lambda **p: cs.solve(stated()).jackknife(**p),
        {"sums over records", "records left out"},
    ),
    "permutation_test": (
        lambda **p: cs.solve(stated()).permutation_test(**p),
        {"columns, multiplied by resampled y"},
    ),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_callable_is_called_for_every_stage(name: str) -> None:
    call, stages = FOLLOWED[name]
    inner, outer = Heard(), Heard()
    with listening(outer):
        call(progress=inner)
    assert stages <= inner.stages
    inner.check()
    assert not stages & outer.stages - {"rows of the design matrix"}


@pytest.mark.parametrize("name", FOLLOWED)
def test_true_shows_a_bar_for_the_stages(name: str, screen: Screen) -> None:
    call, stages = FOLLOWED[name]
    with redirect_stderr(screen):
        call()
        assert screen.getvalue() == ""
        call(progress=True)
    for stage_name in stages:
        assert f"{stage_name}:" in screen.getvalue()


def wrong(step: int, total: int, loss: float) -> None:
    """A callable of three arguments, as earlier versions called it."""


@pytest.mark.parametrize(
    ("given", "words"), [(3, "got 3"), (None, "got None"), ("yes", "got 'yes'"), (wrong, "step:")]
)
@pytest.mark.parametrize("name", FOLLOWED)
def test_other_values_are_refused(name: str, given: Any, words: str) -> None:
    with pytest.raises(
        TypeError, match=r"True, False or a callable\(stage, done, total, note\)"
    ) as e:
        FOLLOWED[name][0](progress=given)
    assert words in str(e.value)


# --- an estimate in the log


def estimates(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records]
    return [line for line in said if "has taken" in line]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by a fifth of a second at every look."""
    looks = iter(range(10**9))
    monkeypatch.setattr("convsolve.progress.time.perf_counter", lambda: next(looks) / 5)


@pytest.mark.usefixtures("slow")
def test_what_takes_long_logs_its_route_and_an_estimate_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "convsolve")
    problem = stated()
    cs.solve(problem, cs.GradientDescent(steps=200))
    (line,) = estimates(caplog)
    assert line.startswith(("solve has taken 5 s: Grad", "solve has taken 6 s: Grad"))
    assert "steps of gradient descent, " in line
    assert " of 200; about " in line
    assert line.endswith("s left for this stage; progress=True shows a bar")
    caplog.clear()
    cs.cross_validate(problem, penalty="ridge")
    (line,) = estimates(caplog)
    assert line.startswith("cross_validate has taken ")
    assert "; folds, " in line


@pytest.mark.usefixtures("slow")
def test_there_is_no_estimate_beside_a_bar_nor_below_info(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "convsolve")
    cs.solve(stated(), cs.GradientDescent(steps=200), progress=Heard())
    with listening(Heard()):
        cs.solve(stated(), cs.GradientDescent(steps=200))
    caplog.set_level(logging.WARNING, "convsolve")
    cs.solve(stated(), cs.GradientDescent(steps=200))
    assert estimates(caplog) == []


def test_what_is_quick_logs_no_estimate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "convsolve")
    cs.solve(stated())
    assert estimates(caplog) == []


def test_the_estimate_counts_stages_within_stages(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("convsolve.progress.time.perf_counter", lambda: clock[0])
    caplog.set_level(logging.INFO, "convsolve")
    with progress.estimated("fit"), stage("outer", 4) as outer:
        progress.announce("a route")
        clock[0] = 4.0
        outer(1)
        with stage("inner", 2) as inner:
            clock[0] = 6.0
            inner(1)
            inner(2)
    (line,) = estimates(caplog)
    # One and a half of four parts took six seconds, and two and a half are left.
    assert line == (
        "fit has taken 6 s: a route; outer, 1 of 4; about 10 s left for this stage; "
        "progress=True shows a bar"
    )
