"""Command lines and the equivalent calls in Python give the same results, digit by digit."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
import pytest

import convsolve as cs
from support import command_files as data

FULL = cs.Problem(data.X, data.Y, kernel_size=3)
SHORT = cs.Problem(data.X[:7], data.Y[:5], kernel_size=3)
TRIALS = cs.Problem(data.TRIALS_X, data.TRIALS_Y, lags=(0, 4), edges="zeros")
WIDE = cs.Problem(data.TRIALS_X, data.TRIALS_Y, lags=(-3, 9), edges="zeros")
DECAY = cs.Problem(data.DECAY_X, data.DECAY_Y, lags=(0, 19), edges="zeros")
OUTLIERS = cs.Problem(data.OUTLIERS_X, data.OUTLIERS_Y, lags=(0, 3), bias=True)
TONE = cs.Problem(data.TONE, np.arange(40.0), lags=(0, 5))
START = data.KERNEL[::-1, :, None]


class Row(NamedTuple):
    """The arguments of a command, the equivalent call and the exit status."""

    line: str
    call: Callable[[], Any]
    status: int = 0


def solves(line: str, problem: cs.Problem, solvers: dict[str, Any], status: int = 0) -> list[Row]:
    """Rows that solve one problem with different options."""
    return [
        Row(f"solve {line} {more}", partial(cs.solve, problem, solver), status)
        for more, solver in solvers.items()
    ]


def of_table(x: list[int], y: list[int], **options: Any) -> cs.Problem:
    """The table of two inputs and two outputs, or some of its columns."""
    names = ["envelope", "pitch", "Fz", "Cz"]
    given = {"channels": [names[i] for i in x], "outputs": [names[i] for i in y], **options}
    return cs.Problem(data.EEG[:, x], data.EEG[:, y], **given)


def of_left(columns: list[int], **options: Any) -> cs.Problem:
    names = [("left", "right")[i] for i in columns]
    given = {"channels": names, "outputs": ["out"], **options}
    return cs.Problem(data.X[:, columns], data.OUT, **given)


def of_gaps(**options: Any) -> cs.Problem:
    return cs.Problem(data.GAPS_X, data.GAPS_Y, lags=(0, 4), missing="drop", **options)


SOLVED = [
    *(
        row
        for names in ("full.npz", "x.npy y.npy", "x.csv y.csv", "x.npy y.csv")
        for row in solves(f"{names} --kernel-size 3", FULL, {"": None})
    ),
    *solves("full.npz --config svd.toml", FULL, {"": cs.LeastSquares("svd", 0.5)}),
    *solves("full.npz --kernel-size 3", FULL, {
        "--solver adam --loss mae --steps 7 --seed 3": cs.GradientDescent(
            loss="mae", steps=7, seed=3
        ),
        "--solver cg --steps 1": cs.ConjugateGradient(steps=1),
        "--solver fft": cs.FFTDeconvolution(),
    }, status=1),
    *solves("short.npz --kernel-size 3", SHORT, {"": None}, status=3),
    *solves("short.npz --kernel-size 3", SHORT, {"--ridge 0.5": cs.AutoSolver(ridge=0.5)}),
    *solves("tone.npz --lags 0 5", TONE, {"": None}, status=3),
    *solves("flat.npz --kernel-size 3", cs.Problem(np.arange(9.0), np.ones(7), kernel_size=3),
            {"": None}, status=3),
    *(
        Row(
            f"solve noisy.npz --kernel-size 4 --noise {noise}",
            partial(
                cs.solve,
                cs.Problem(data.NOISY_X, data.NOISY_Y[:57], kernel_size=4), noise=noise,
            ),
        )
        for noise in ("white", "hac", "ar", "ar(2)")
    ),
    *solves("trials.npz --lags 0 4 --edges zeros", TRIALS, {
        "--penalty smooth --length 2.5": cs.Regularized(cs.Smooth(length=2.5)),
        "--penalty tc --decay 0.7": cs.Regularized(cs.StableSpline("tc", decay=0.7)),
        "--penalty dc --decay 0.7 --correlation 0.5": cs.Regularized(
            cs.StableSpline("dc", 0.7, 0.5)
        ),
        "--penalty tikhonov --matrix matrix.npy": cs.Regularized(cs.Tikhonov(data.MATRIX)),
        "--channel-groups 0,1": cs.Regularized(cs.Ridge((0, 1))),
        "--channel-groups 0,1 --penalty-weights 1,4": cs.Regularized(
            cs.Ridge((0, 1), (1.0, 4.0))
        ),
        "--solver lasso": cs.Lasso(),
        "--solver lasso --channel-groups channels --ridge 0.5": cs.Lasso("channels", ridge=0.5),
        "--solver lasso --channel-groups 0,0 --strength 2": cs.Lasso((0, 0), 2.0),
        "--solver lasso --select bic": cs.Lasso(select="bic"),
        "--solver lasso --select cv --folds 2 --score r2": cs.Lasso(
            select=cs.CrossValidation(2, "r2")
        ),
        "--solver cg --tol 1e-3": cs.ConjugateGradient(tol=1e-3),
    }),
    *solves("trials.npz --lags 0 4 --edges zeros", TRIALS, {
        "--solver adam --learning-rate 0.1 --loss huber --huber-delta 0.5 --steps 30 "
        "--batch-size 40 --init kernel.npy --restarts 2 --tol 1e-4 --seed 3": cs.GradientDescent(
            optax.adam(0.1), "huber", steps=30, batch_size=40, init=START, restarts=2, tol=1e-4,
            seed=3, huber_delta=0.5,
        ),
        "--solver adam --learning-rate 0.1 --steps 9 --via moments --ridge 2": cs.GradientDescent(
            optax.adam(0.1), steps=9, via="moments", ridge=2.0
        ),
    }, status=1),
    Row("solve trials.npz --lags 0 4 --edges zeros --limits small_numbers=0",
        partial(cs.solve, TRIALS, limits=cs.Limits(small_numbers=0))),
    *solves("decay.npz --lags 0 19 --edges zeros", DECAY, {
        "--penalty ridge": cs.Regularized(cs.Ridge()),
        "--penalty differences": cs.Regularized(cs.Smooth(order=1)),
        "--penalty curvature": cs.Regularized(cs.Smooth(order=2)),
        "--penalty smooth": cs.Regularized(cs.Smooth()),
        "--penalty tc": cs.Regularized(cs.StableSpline("tc")),
        "--penalty dc": cs.Regularized(cs.StableSpline("dc")),
        "--penalty ss": cs.Regularized(cs.StableSpline("ss")),
        "--select bic": cs.Regularized(select="bic"),
        "--strength 1 10 100": cs.Regularized(strength=[[1], [10], [100]]),
        "--strength 7": cs.Regularized(strength=7),
        "--select cv": cs.Regularized(select=cs.CrossValidation()),
        "--penalty tc --select cv --folds 4 --score r2": cs.Regularized(
            cs.StableSpline(), select=cs.CrossValidation(4, "r2")
        ),
        "--solver regularized": cs.Regularized(),
    }),
    *solves("outliers.npz --lags 0 3 --bias", OUTLIERS, {
        "--solver huber": cs.Huber(),
        "--solver huber --delta 2": cs.Huber(delta=2.0),
        "--solver huber --scale 0.2 --delta 1": cs.Huber(1.0, 0.2),
        "--solver absolute": cs.LeastAbsolute(),
    }),
    *(
        row
        for options, given in {
            "": {},
            "--mask mask.npy": {"mask": data.MASK},
            "--weights weights.npy": {"weights": data.WEIGHTS},
            "--weights records.npy --bias": {"weights": data.OF_RECORDS, "bias": True},
            "--confounds intercept": {"confounds": "intercept"},
            "--confounds 2": {"confounds": 2},
            "--confounds motion.npy": {"confounds": data.MOTION},
            "--mask mask.npy --weights weights.npy --confounds 1": {
                "mask": data.MASK, "weights": data.WEIGHTS, "confounds": 1,
            },
        }.items()
        for row in solves(
            f"gaps_x.npy gaps_y.npy --lags 0 4 --missing drop {options}", of_gaps(**given),
            {"": None},
        )
    ),
    *solves("one.csv two.csv --lags 0 4 --mask mask.csv", cs.Problem(
        data.GAPS_X[1], data.GAPS_Y[1], lags=(0, 4), mask=data.MASK[1]
    ), {"": None}),
    *(
        row
        for line, problem in {
            "--x-columns left --y-columns out --lags 0 1 --edges zeros": of_left(
                [0], lags=(0, 1), edges="zeros"
            ),
            "--x-columns 0 --y-columns 2 --lags 0 1 --edges circular": of_left(
                [0], lags=(0, 1), edges="circular"
            ),
            "--x-columns right,left --y-columns out --lags 0 0": of_left([1, 0], lags=(0, 0)),
        }.items()
        for row in solves(f"table.csv {line}", problem, {"": None})
    ),
    *solves("eeg.csv --x-columns envelope,1 --y-columns Fz,Cz --fs 128 --tmin 0 --tmax 0.02",
            of_table([0, 1], [2, 3], fs=128, tmin=0, tmax=0.02), {"": None}),
    *solves("ab.csv uv.csv --lags 0 1",
            of_table([0, 1], [2, 3], lags=(0, 1), channels=["a", "b"], outputs=["u", "v"]),
            {"": None}),
    *solves("ab.csv uv.csv --lags 0 1 --outputs left,right --fs 10",
            of_table([0, 1], [2, 3], lags=(0, 1), channels=["a", "b"], fs=10,
                     outputs=["left", "right"]), {"": None}),
]  # fmt: skip


def identifies(line: str, problem: cs.Problem, status: int = 0) -> Row:
    return Row(f"identify {line}", partial(cs.identify, problem), status)


PAIRS = {"svd": cs.LeastSquares(), "normal": cs.NormalEquations()}
TRUE = {"auto": cs.AutoSolver(2.0), "lasso": cs.Lasso(ridge=2.0)}
ROBUST = {"adam": cs.GradientDescent(loss="mae", steps=200), "absolute": cs.LeastAbsolute()}
OF_PENALTY = {
    "auto": cs.AutoSolver(), "regularized": cs.Regularized(cs.StableSpline("ss")),
}  # fmt: skip
REPORTED = [
    identifies("x.csv --kernel-size 3", cs.Problem(data.X, kernel_size=3)),
    identifies("x.npy --kernel-size 2 --n-outputs 3",
               cs.Problem(data.X, kernel_size=2, n_outputs=3)),
    identifies("x.npy --kernel-size 2 --padding=3,-1 --stride 2 --dilation 3 --groups 2 --bias",
               cs.Problem(data.X, kernel_size=2, padding=((3, -1),), stride=2, dilation=3,
                          groups=2, bias=True)),
    identifies("gaps_x.npy gaps_y.npy --lags 0 4 --missing drop --confounds 1",
               of_gaps(confounds=1)),
    identifies("x.npy --lags -1 2 --edges circular",
               cs.Problem(data.X, lags=(-1, 2), edges="circular")),
    identifies("x.npy --kernel-size 2 2 --stride 1 2 --padding 1,0,0,0",
               cs.Problem(data.X, kernel_size=(2, 2), stride=(1, 2), padding=((1, 0), (0, 0)))),
    identifies("short.npz --kernel-size 3", SHORT, status=3),
    identifies("tone.npz --lags 0 5", TONE, status=3),
    identifies("ab.csv --lags 0 1",
               cs.Problem(data.EEG[:, :2], lags=(0, 1), channels=["a", "b"])),
    Row("compare full.npz --kernel-size 3 --solvers svd,normal", partial(cs.compare, FULL, PAIRS)),
    Row("compare full.npz --kernel-size 3 --solvers fft",
        partial(cs.compare, FULL, {"fft": cs.FFTDeconvolution()}), 1),
    Row("compare short.npz --kernel-size 3 --solvers svd,normal",
        partial(cs.compare, SHORT, PAIRS), 3),
    Row("compare table.csv --x-columns 0,1 --y-columns 2 --lags 0 0 --bias",
        partial(cs.compare, of_left([0, 1], lags=(0, 0), bias=True))),
    Row("compare trials.npz --lags 0 4 --edges zeros --solvers auto,lasso --ridge 2 "
        "--truth kernel.npy", partial(cs.compare, TRIALS, TRUE, truth=data.KERNEL[::-1])),
    Row("compare decay.npz --lags 0 19 --edges zeros --solvers auto,regularized --penalty ss",
        partial(cs.compare, DECAY, OF_PENALTY)),
    Row("compare outliers.npz --lags 0 3 --bias --solvers adam,absolute --loss mae --steps 200",
        partial(cs.compare, OUTLIERS, ROBUST)),
    Row("compare gaps_x.npy gaps_y.npy --lags 0 4 --missing drop --mask masks.npy --solvers svd",
        lambda: cs.compare(of_gaps(mask=data.MASKS), {"svd": cs.LeastSquares()})),
    *(
        Row(f"cross-validate trials.npz --lags 0 4 --edges zeros {more}",
            partial(cs.cross_validate, TRIALS, method, folds=folds))
        for more, (method, folds) in {
            "": (None, "records"),
            "--folds 2 --ridge 3": (cs.AutoSolver(3.0), 2),
            "--penalty tc": (cs.Regularized(cs.StableSpline()), "records"),
            "--folds 3 --select cv": (cs.Regularized(select=cs.CrossValidation(3)), 3),
        }.items()
    ),
    *(
        Row(f"choose-lags trials.npz --lags -3 9 --edges zeros {more}",
            partial(cs.choose_lags, WIDE, select))
        for more, select in {
            "": "bic",
            "--select aicc": "aicc",
            "--select cv --folds 2 --score r2": cs.CrossValidation(2, "r2"),
        }.items()
    ),
]  # fmt: skip


def or_none(query: Callable[[], Any]) -> Any:
    """The value of a query, or None where the documented error says that there is none."""
    try:
        return query()
    except ValueError:
        return None


def of_solution(fit: cs.Solution) -> dict[str, Any]:
    chosen, asked = fit.regularization, ("solver", "steps", "noise", "scale", "certificate_kind")
    return {
        **{name: getattr(fit, name) for name in ("status", "converged", "backward_error",
                                                 "duality_gap", "kernel", "bias", "lags",
                                                 "impulse_response")},
        "data": repr(fit.identifiability.problem),
        "verdict": fit.identifiability.verdict,
        "times": or_none(lambda: fit.times),
        "channels": fit.names.channels,
        "outputs": fit.names.outputs,
        "standard_error": or_none(lambda: fit.standard_error),
        "dof": or_none(lambda: fit.dof),
        "noise": or_none(lambda: {
            name: getattr(fit.noise, name) for name in ("kind", "variance", "coefficients")
        }),
        "score": {name: getattr(fit.score(), name) for name in ("r2", "r2_total", "correlation")},
        "stats": {name: fit.stats[name] for name in asked if name in fit.stats},
        "regularization": chosen and {
            "penalty": chosen.penalty, "strength": chosen.strength,
            "path": {"scores": chosen.path.scores},
        },
    }  # fmt: skip


def entries(result: Any) -> dict[str, Any]:
    """The entries of a JSON document that a result determines."""
    if isinstance(result, cs.Solution):
        return of_solution(result)
    if isinstance(result, cs.Identifiability):
        return {"data": repr(result.problem), **result.to_dict()}
    if isinstance(result, cs.Comparison):
        names = ("method", "status", "loss", "gap", "kernel_error", "null_part", "steps")
        rows = [{name: row[name] for name in names} for row in result.rows]
        objective = {"loss": result.objective.loss, "threshold": result.objective.threshold}
        return {"rows": rows, "skipped": result.skipped, "objective": objective}
    if isinstance(result, cs.LagChoice):
        return {"lags": result.lags, "scores": result.scores, "problem": repr(result.problem)}
    scores = {name: getattr(result, name) for name in ("mse", "r2", "correlation")}
    return scores | {"solutions": [{"status": fit.status} for fit in result.solutions]}


def plain(value: Any) -> Any:
    """A value as JSON has it. Numbers that are not finite are null."""
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def assert_includes(found: Any, wanted: Any, place: str = "") -> None:
    """Dictionaries may have more entries than wanted."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert_includes(found[name], value, f"{place}.{name}")
    elif isinstance(wanted, list) and wanted and isinstance(wanted[0], dict):
        assert len(found) == len(wanted), place
        for i, value in enumerate(wanted):
            assert_includes(found[i], value, f"{place}[{i}]")
    else:
        assert found == wanted, place


def strict_json(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("commands")
    data.write_files(made)
    return made


def wanted_of(row: Row) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return row.call()


@pytest.mark.filterwarnings("ignore:the residuals of output")
@pytest.mark.parametrize("row", [*SOLVED, *REPORTED], ids=lambda row: " ".join(row.line.split()))
def test_the_document_has_the_result_of_the_call(row: Row, run: Any) -> None:
    status, out, err = run(f"{row.line} --json")
    warned = [line.startswith("convsolve: warning: ") for line in err.splitlines()]
    assert (status, all(warned)) == (row.status, True)
    assert bool(warned) == (row.status == 3 and row.line.startswith("solve "))
    assert_includes(strict_json(out), plain(entries(wanted_of(row))))


TEXTS = [SOLVED[0], REPORTED[0], REPORTED[-3], REPORTED[-4]]


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: " ".join(row.line.split()))
def test_the_text_is_that_of_the_result(row: Row, run: Any) -> None:
    """Without the advice, which names options where Python names arguments."""
    result = wanted_of(row)
    shown = str(result).splitlines()
    shown = shown[:4] if isinstance(result, (cs.Solution, cs.Identifiability)) else shown
    assert "\n".join(shown) in run(row.line)[1]


def test_a_saved_solution_is_loaded_and_predicts(run: Any, folder: Path, tmp_path: Path) -> None:
    line = "solve trials.npz --lags 0 4 --edges zeros --penalty tc"
    assert run(f"{line} --out {tmp_path}/fit.npz")[0] == 0
    fit = cs.solve(TRIALS, cs.Regularized(cs.StableSpline()))
    loaded = cs.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(loaded.kernel, fit.kernel)
    assert loaded.regularization.text() == fit.regularization.text()
    new = data.TRIALS_X[:2] + 1
    np.savez(tmp_path / "new.npz", x=new, y=data.TRIALS_Y[:2])
    line, score = (
        f"predict {tmp_path}/fit.npz {tmp_path}/new.npz",
        fit.score(new, data.TRIALS_Y[:2]),
    )
    status, out, err = run(f"{line} --out {tmp_path}/prediction.npy")
    assert (status, err) == (0, "")
    assert out.startswith(
        f"output 0: R² {score.r2[0]:.4g} ± {score.r2_standard_error[0]:.2g}, correlation"
    )
    np.testing.assert_array_equal(np.load(tmp_path / "prediction.npy"), fit.predict(new))
    wanted = {"prediction": fit.predict(new), "score": {"r2": score.r2}}
    assert_includes(strict_json(run(f"{line} --json")[1]), plain(wanted))
    found = strict_json(run(f"predict {tmp_path}/fit.npz x.npy --json")[1])
    assert found["score"] is None
    assert found["prediction"] == plain(fit.predict(data.X))
