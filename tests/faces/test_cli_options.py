"""Every option of the library's main path is one of the command line, and does the same."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve.cli.arguments import SOLVERS, parse, parser
from convsolve.cli.main import COMMANDS
from convsolve.cli.methods import solver
from convsolve.solvers import ALL

# Of each command what it takes from Python; ``x``, ``y`` and the problem are its data.
STATED = [cs.Problem, cs.Problem.from_lags]
PENALTIES = [cs.Ridge, cs.Smooth, cs.StableSpline, cs.Tikhonov, cs.CrossValidation]
METHODS = [type(method) for method in ALL]
METHODS += [cs.AutoSolver, cs.Huber, cs.LeastAbsolute, cs.Lasso, cs.Regularized]
MAIN_PATH = {
    "identify": [*STATED, cs.identify],
    "solve": [*STATED, *PENALTIES, *METHODS, cs.solve, cs.Solution.save, cs.Solution.report],
    "compare": [*STATED, *PENALTIES, *METHODS, cs.compare],
    "cross-validate": [*STATED, *PENALTIES, *METHODS, cs.cross_validate],
    "choose-lags": [*STATED, cs.CrossValidation, cs.choose_lags],
    "predict": [cs.Solution.predict, cs.Solution.score],
}
DATA = {"self", "x", "y", "problem"}
# What has another name there, since one name can be only one option.
RENAMED = {
    ("Ridge", "groups"): "--penalty-groups",
    ("Ridge", "weights"): "--penalty-weights",
    ("Lasso", "groups"): "--penalty-groups",
    ("Solution.save", "path"): "--out",
    ("Solution.report", "path"): "--report",
}
# What is no option, and why.
NONE = {
    ("Solution.report", "title"): "what was fitted",
    ("Solution.report", "call"): "the command itself",
    ("Problem", "spec"): "its parts are options",
    ("solve", "progress"): "bars on a terminal, and --verbose",
    ("LeastSquares", "method"): "--solver svd and --solver qr",
    ("GradientDescent", "optimizer"): "--solver adam with --rate, and --solver lbfgs",
    ("Smooth", "order"): "--penalty differences and --penalty curvature",
    ("StableSpline", "kind"): "--penalty tc, dc and ss",
}
ARGUMENTS = [
    (command, function.__qualname__, name)
    for command, functions in MAIN_PATH.items()
    for function in functions
    for name in inspect.signature(function).parameters
    if name not in DATA
]


def options() -> dict[str, set[str]]:
    """The long options of every command."""
    (commands,) = (action for action in parser()._actions if hasattr(action.choices, "items"))
    return {
        name: {option for action in own._actions for option in action.option_strings}
        for name, own in commands.choices.items()
    }


@pytest.mark.parametrize("command", MAIN_PATH)
def test_every_argument_is_an_option_or_has_a_reason(command: str) -> None:
    known = options()[command]
    for _, function, name in (row for row in ARGUMENTS if row[0] == command):
        option = RENAMED.get((function, name), f"--{name.replace('_', '-')}")
        wanted = (function, name) not in NONE
        assert (option in known) == wanted, f"{function}({name}=)"


def test_reasons_and_names_are_of_arguments_that_there_are() -> None:
    known = {(function, name) for _, function, name in ARGUMENTS}
    assert {*NONE, *RENAMED} <= known


def test_every_command_and_every_solver_is_covered() -> None:
    assert {*COMMANDS} == {*MAIN_PATH, "demo", "doctor"}
    settings = {setting for _, takes in SOLVERS.values() for setting in takes}
    assert {f"--{setting.replace('_', '-')}" for setting in settings} <= options()["solve"]


# --- what they do


RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 90, 2))
KERNEL = RNG.standard_normal((5, 2))
Y = np.stack([sum(np.convolve(a[:, c], KERNEL[:, c])[:90] for c in (0, 1)) for a in X])[..., None]
Y = Y + 0.3 * RNG.standard_normal(Y.shape)
MATRIX = np.eye(5) + np.eye(5, k=1)
LINE = "trials.npz --lags 0 4 --edges zeros"


@pytest.fixture
def trials(folder: Path) -> cs.Problem:
    """Four records, in a file beside others that options name."""
    np.savez("trials.npz", x=X, y=Y)
    np.save("kernel.npy", KERNEL[::-1])
    np.save("matrix.npy", MATRIX)
    return cs.Problem.from_lags(X, Y, lags=(0, 4), edges="zeros")


SETTINGS = {
    "--penalty smooth --length 2.5": cs.Regularized(cs.Smooth(length=2.5)),
    "--penalty tc --alpha 0.7": cs.Regularized(cs.StableSpline("tc", alpha=0.7)),
    "--penalty dc --alpha 0.7 --rho 0.5": cs.Regularized(cs.StableSpline("dc", 0.7, 0.5)),
    "--penalty tikhonov --matrix matrix.npy": cs.Regularized(cs.Tikhonov(MATRIX)),
    "--penalty-groups 0,1": cs.Regularized(cs.Ridge((0, 1))),
    "--penalty-groups 0,1 --penalty-weights 1,4": cs.Regularized(cs.Ridge((0, 1), (1.0, 4.0))),
    "--solver lasso": cs.Lasso(),
    "--solver lasso --penalty-groups channels --ridge 0.5": cs.Lasso("channels", ridge=0.5),
    "--solver lasso --penalty-groups 0,0 --strength 2": cs.Lasso((0, 0), 2.0),
    "--solver lasso --select bic": cs.Lasso(select="bic"),
    "--solver lasso --select cv --folds 2 --score r2": cs.Lasso(select=cs.CrossValidation(2, "r2")),
    "--solver cg --tol 1e-3": cs.ConjugateGradient(tol=1e-3),
    "--limits small_numbers=0": cs.AutoSolver(),
}


@pytest.mark.parametrize("line", SETTINGS)
def test_settings_are_those_of_python(run: Any, trials: cs.Problem, line: str) -> None:
    status, out, err = run(f"solve {LINE} {line} --json")
    more = {"limits": cs.Limits(small_numbers=0)} if "--limits" in line else {}
    wanted, found = cs.solve(trials, SETTINGS[line], **more), json.loads(out)
    assert (status, err) == (0, "")
    np.testing.assert_array_equal(found["kernel"], wanted.kernel)
    assert found["stats"]["solver"] == wanted.stats["solver"]


def test_settings_of_a_descent_are_those_of_python(trials: cs.Problem) -> None:
    line = (
        "--solver adam --rate 0.1 --loss huber --huber-delta 0.5 --steps 30 --batch-size 40 "
        "--init kernel.npy --restarts 2 --tol 1e-4 --key 3"
    )
    found = solver("adam", parse(["solve", *f"{LINE} {line}".split()]), trials)
    assert isinstance(found, cs.GradientDescent)
    settings = {field.name: getattr(found, field.name) for field in fields(found)}
    update, init = settings.pop("optimizer").update, settings.pop("init")
    np.testing.assert_array_equal(init, KERNEL[::-1, :, None])
    assert update is not None
    assert settings == {
        "loss": "huber", "steps": 30, "batch_size": 40, "key": 3, "restarts": 2, "tol": 1e-4,
        "huber_delta": 0.5, "via": "convolution", "ridge": 0.0, "penalty": cs.Ridge(),
    }  # fmt: skip
    line = "--solver lbfgs --via moments --ridge 2"
    found = solver("lbfgs", parse(["solve", *f"{LINE} {line}".split()]), trials)
    assert isinstance(found, cs.GradientDescent)
    assert (found.via, found.ridge) == ("moments", 2.0)


@pytest.mark.slow
def test_a_descent_gives_the_answer_of_python(run: Any, trials: cs.Problem) -> None:
    _, out, _ = run(f"solve {LINE} --solver adam --rate 0.1 --steps 30 --init kernel.npy --json")
    method = cs.GradientDescent(optax.adam(0.1), steps=30, init=KERNEL[::-1, :, None])
    np.testing.assert_array_equal(json.loads(out)["kernel"], cs.solve(trials, method).kernel)


def test_outputs_of_a_planned_experiment(run: Any, trials: cs.Problem) -> None:
    _, out, _ = run("identify x.npy --kernel-size 2 --out-channels 3 --json")
    planned = cs.Problem(np.load("x.npy"), kernel_size=2, out_channels=3)
    assert json.loads(out)["data"] == repr(planned)


def test_compare_knows_the_truth(run: Any, trials: cs.Problem) -> None:
    line = f"compare {LINE} --solvers auto,lasso --ridge 2 --truth kernel.npy --json"
    _, out, _ = run(line)
    table = cs.compare(
        trials, {"auto": cs.AutoSolver(2.0), "lasso": cs.Lasso(ridge=2.0)}, truth=KERNEL[::-1]
    )
    found = [row["kernel_error"] for row in json.loads(out)["rows"]]
    assert found == [row["kernel_error"] for row in table.rows]


# --- rows that the kernel has not seen


@pytest.mark.parametrize(
    ("line", "method", "folds"),
    [
        ("", None, "records"),
        ("--folds 2 --ridge 3", cs.AutoSolver(3.0), 2),
        ("--penalty tc", cs.Regularized(cs.StableSpline()), "records"),
        ("--folds 3 --select cv", cs.Regularized(select=cs.CrossValidation(3)), 3),
    ],
)
def test_cross_validation(run: Any, trials: cs.Problem, line: str, method: Any, folds: Any) -> None:
    status, out, _ = run(f"cross-validate {LINE} {line} --json")
    wanted, found = cs.cross_validate(trials, method, folds=folds), json.loads(out)
    assert status == 0
    for name in ("mse", "r2", "correlation"):
        np.testing.assert_array_equal(found[name], getattr(wanted, name))
    assert [fit["status"] for fit in found["solutions"]] == ["solved"] * len(wanted.mse)
    assert str(wanted) in run(f"cross-validate {LINE} {line}")[1]


def test_what_cannot_be_cross_validated_is_one_line(run: Any, trials: cs.Problem) -> None:
    for line, words in (
        ("full.npz --kernel-size 3", "full.npz: folds='records' needs two records"),
        (f"{LINE} --folds half", "trials.npz: folds='half' is unknown"),
        (f"{LINE} --folds 1", "trials.npz: folds must be at least 2"),
        (f"{LINE} --score r2", "--folds and --score go with --select cv"),
    ):
        status, out, err = run(f"cross-validate {line}")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert words in err


def test_lags_are_chosen_as_in_python(run: Any, trials: cs.Problem, folder: Path) -> None:
    wide = cs.Problem.from_lags(X, Y, lags=(-3, 9), edges="zeros")
    for line, select in (
        ("", "bic"),
        ("--select aicc", "aicc"),
        ("--select cv --folds 2 --score r2", cs.CrossValidation(2, "r2")),
    ):
        wanted = cs.choose_lags(wide, select)
        command = f"choose-lags trials.npz --lags -3 9 --edges zeros {line}"
        status, out, _ = run(f"{command} --json")
        found = json.loads(out)
        assert (status, found["lags"]) == (0, list(wanted.lags))
        scores = np.array(found["scores"], float)
        np.testing.assert_array_equal(scores, wanted.scores)
        assert str(wanted) in run(command)[1]
    assert run("choose-lags trials.npz --lags -3 9 --edges zeros --plot l.png")[0] == 0
    assert (folder / "l.png").stat().st_size > 1000
    status, _, err = run(f"choose-lags {LINE} --folds 2")
    assert (status, err) == (2, "convsolve: trials.npz: --folds and --score go with --select cv\n")


def test_a_saved_solution_predicts(run: Any, trials: cs.Problem, folder: Path) -> None:
    assert run(f"solve {LINE} --out fit.npz")[0] == 0
    fit = cs.solve(trials)
    np.savez("new.npz", x=X[:2] + 1, y=Y[:2])
    status, out, err = run("predict fit.npz new.npz --out y-hat.npy")
    score = fit.score(X[:2] + 1, Y[:2])
    assert (status, err) == (0, "")
    assert out.startswith(f"output 0: R² {score.r2[0]:.4g} ± {score.r2_error[0]:.2g}, correlation")
    np.testing.assert_array_equal(np.load("y-hat.npy"), fit.predict(X[:2] + 1))
    found = json.loads(run("predict fit.npz new.npz --json")[1])
    assert found["score"]["r2"] == score.r2.tolist()
    np.testing.assert_array_equal(found["prediction"], fit.predict(X[:2] + 1))
    found = json.loads(run("predict fit.npz x.npy --json")[1])
    assert found["score"] is None
    np.testing.assert_array_equal(found["prediction"], fit.predict(np.load("x.npy")))


def test_a_prediction_that_cannot_be_is_one_line(
    run: Any, trials: cs.Problem, folder: Path
) -> None:
    run("solve table.csv --x-columns left,right --y-columns out --lags 0 1 --out fit.npz")
    for line, words in (
        ("fit.npz x.npy", "nothing would be kept of the prediction: give --out, --json, or y"),
        ("gone.npz x.npy --json", "gone.npz: No such file or directory"),
        ("full.npz x.npy --json", "full.npz: no saved solution (it has "),
        ("fit.npz y.npy --json", "y.npy: x has 1 channels, the kernel takes 2"),
        ("fit.npz x.npy --out y.npy", "--out y.npy: exists; --force overwrites it"),
        ("fit.npz x.npy --out fit.npz --force", "--out fit.npz: is one of the inputs"),
        (
            "fit.npz table.csv --x-columns right,left --y-columns out",
            "table.csv: x has channels ('right', 'left'), the kernel is that of ('left', 'right')",
        ),
    ):
        before = (folder / "fit.npz").read_bytes()
        status, out, err = run(f"predict {line}")
        assert (status, out, err.count("\n")) == (2, "", 1), (line, err)
        assert words in err
        assert (folder / "fit.npz").read_bytes() == before
    assert run("predict fit.npz table.csv --x-columns left,right --y-columns out")[0] == 0


MISTAKES = [
    ("--penalty tikhonov", "--penalty tikhonov needs --matrix FILE"),
    ("--matrix matrix.npy", "--matrix is for --penalty tikhonov, not ridge"),
    ("--penalty ss --rho 0.1", "--rho is for --penalty dc, not ss"),
    ("--penalty tc --length 3", "--length is for --penalty smooth, not tc"),
    ("--penalty tc --alpha 2", "alpha must lie between 0 and 1, got 2.0"),
    ("--penalty tc --penalty-groups 0,1", "--penalty-groups is for --penalty ridge, not tc"),
    ("--penalty-groups a,b", "--penalty-groups: 'a,b' lists no numbers, such as 0,1,1"),
    ("--penalty-groups 0,1,2", "Ridge(groups=...) has 3 labels, x has 2 channels"),
    ("--penalty-weights 1,2", "Ridge(weights=...) needs groups="),
    ("--solver lasso --penalty-groups 0,1,2", "has 3 labels, x has 2 channels"),
    ("--solver lasso --select gcv", "select='gcv' is unknown; choose 'bic' or 'aicc'"),
    ("--solver qr --tol 1", "--tol is for the solvers cg, adam, lbfgs; name one of them"),
    ("--solver adam --ridge 1", "a ridge is known to moments only; use --via moments"),
    ("--solver adam --init x.npy", "--init x.npy has shape (8, 2), the kernel (5, 2, 1)"),
    ("--solver adam --init ones", "ones: is of no known kind"),
    ("--limits gram=1", "--limits: 'gram' is unknown; choose from factor_bytes,"),
    ("--limits gram_bytes", "argument --limits: 'gram_bytes' is not NAME=N, such as"),
    ("--limits gram_bytes=inf", "argument --limits: 'gram_bytes=inf' is not NAME=N, such as"),
    ("--limits gram_bytes=-1", "--limits: gram_bytes must not be negative, got -1"),
    ("--out-channels 3", "trials.npz: out_channels"),
]


@pytest.mark.parametrize(("line", "words"), MISTAKES)
def test_mistakes_are_one_line(run: Any, trials: cs.Problem, line: str, words: str) -> None:
    status, out, err = run(f"solve {LINE} {line}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_truth_of_another_size_is_named(run: Any, trials: cs.Problem) -> None:
    status, _, err = run(f"compare {LINE} --solvers auto --truth x.npy")
    assert status == 2
    assert err.startswith("convsolve: --truth x.npy: truth has shape (8, 2), the kernel (5, 2, 1)")


def test_a_prediction_takes_the_columns_of_the_fit(run: Any, folder: Path) -> None:
    rows = RNG.standard_normal((60, 3))
    np.savetxt("d.csv", rows, delimiter=",", header="env,Fz,Cz", comments="")
    solved = "solve d.csv --x-columns env --y-columns Fz,Cz --lags 0 2 --out fit.npz"
    assert run(solved)[0] == 0
    assert run("predict fit.npz d.csv --x-columns env --y-columns Fz,Cz")[0] == 0
    status, out, err = run("predict fit.npz d.csv --x-columns env --y-columns Cz,Fz")
    assert (status, out) == (2, "")
    assert "d.csv: y has outputs ('Cz', 'Fz'), the kernel is that of ('Fz', 'Cz')" in err


def test_names_that_cannot_be_printed_are_refused(run: Any, trials: cs.Problem) -> None:
    status, _, err = run(f"solve {LINE} --channels a\x1b[31mred,b")
    assert (status, err.count("\n")) == (2, 1)
    assert r"channels has 'a\x1b[31mred', which cannot be printed in one line" in err


def test_letters_that_no_font_has_are_told_once(run: Any, trials: cs.Problem) -> None:
    status, _, err = run(f"solve {LINE} --channels \U0001f600x,\U0001d505y --report fit.html")
    words = "convsolve: warning: no font here has some letters of the names; boxes are drawn"
    assert (status, err.count("\n")) == (0, 1)
    assert err.startswith(words)


def test_restarts_beyond_reason_are_refused(run: Any, trials: cs.Problem) -> None:
    status, _, err = run(f"solve {LINE} --solver adam --restarts 99999999999999999999")
    assert (status, err.count("\n")) == (2, 1)
    assert "restarts must be at most 1000000" in err
