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
from convsolve import results
from convsolve.text import as_options
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


def solves(
    line: str, problem: cs.Problem, methods: dict[str, dict[str, Any]], status: int = 0
) -> list[Row]:
    """Rows that solve one problem with different options, and the keywords of `solve`."""
    return [
        Row(f"solve {line} {more}", partial(cs.solve, problem, **method), status)
        for more, method in methods.items()
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
        for row in solves(f"{names} --kernel-size 3", FULL, {"": {}})
    ),
    *solves("full.npz --config svd.toml", FULL, {"": {"solver": "svd", "ridge": 0.5}}),
    *solves("outliers.npz --config robust.toml", OUTLIERS, {
        "": {"loss": cs.HuberLoss(2.0, scale=0.5)},
        "--scale 0.2": {"loss": cs.HuberLoss(2.0, scale=0.2)},
    }),
    *solves("eeg.csv --config strengths.toml", of_table([0, 1], [2, 3], lags=(0, 1)), {
        "": {"penalty": cs.Ridge([3.0, 0.5])},
        "--grid 1 10 100": {"penalty": "ridge", "grid": [1.0, 10.0, 100.0]},
        "--penalty lasso": {"penalty": cs.Lasso([3.0, 0.5])},
        "--ridge 2": {"ridge": 2.0},
    }),
    *solves("trials.npz --config sparse.toml", TRIALS, {
        "": {"penalty": cs.Lasso(channel_groups=(0, 1), ridge=0.5), "grid": [2.0, 20.0],
             "select": cs.CrossValidation(2)},
        "--ridge 2": {"penalty": cs.Lasso(channel_groups=(0, 1), ridge=2.0), "grid": [2.0, 20.0],
                      "select": cs.CrossValidation(2)},
    }),
    *solves("full.npz --kernel-size 3", FULL, {
        "--solver adam --loss absolute --steps 7 --seed 3": {
            "solver": cs.GradientDescent("adam", steps=7, seed=3), "loss": "absolute",
        },
        "--solver cg --steps 1": {"solver": cs.ConjugateGradient(steps=1)},
        "--solver fft": {"solver": "fft"},
    }, status=1),
    *solves("short.npz --kernel-size 3", SHORT, {"": {}}, status=3),
    *solves("short.npz --kernel-size 3", SHORT, {"--ridge 0.5": {"ridge": 0.5}}),
    *solves("tone.npz --lags 0 5", TONE, {"": {}}, status=3),
    *solves("flat.npz --kernel-size 3", cs.Problem(np.arange(9.0), np.ones(7), kernel_size=3),
            {"": {}}, status=3),
    *(
        Row(
            f"solve noisy.npz --kernel-size 4 --noise {noise}",
            partial(
                cs.solve,
                cs.Problem(data.NOISY_X, data.NOISY_Y[:57], kernel_size=4), noise=noise,
            ),
        )
        for noise in ("white", "hac", "hac5", "ar", "ar2")
    ),
    *solves("trials.npz --lags 0 4 --edges zeros", TRIALS, {
        "--penalty Squared_Exponential --length 2.5 --strength 4": {
            "penalty": cs.SquaredExponential(4.0, length=2.5)
        },
        "--penalty tikhonov --matrix matrix.npy": {"penalty": cs.Tikhonov(matrix=data.MATRIX)},
        "--penalty ridge --channel-groups 1,0 --strength 1 4": {
            "penalty": cs.Ridge({0: 1.0, 1: 4.0}, channel_groups=(1, 0))
        },
        "--penalty lasso --channel-groups channels --ridge 0.5": {
            "penalty": cs.Lasso(channel_groups="channels", ridge=0.5)
        },
        "--penalty lasso --grid 2 20 --select aicc": {
            "penalty": "lasso", "grid": [2.0, 20.0], "select": "aicc",
        },
        "--penalty lasso --select cv --folds 2 --score r2": {
            "penalty": "lasso", "select": cs.CrossValidation(2, score="r2"),
        },
        "--solver NORMAL --penalty ridge --select evidence": {
            "solver": "normal", "penalty": "ridge", "select": "evidence",
        },
        "--noise ar --penalty tc --strength 2 --decay 0.7": {
            "noise": "ar", "penalty": cs.StableSpline(2.0, kind="tc", decay=0.7),
        },
        "--noise cluster": {"noise": "cluster"},
    }),
    *solves("trials.npz --lags 0 4 --edges zeros", TRIALS, {
        "--solver adam --learning-rate 0.1 --loss huber --delta 1 --scale 0.5 --steps 30 "
        "--batch-size 40 --init kernel.npy --restarts 2 --tol 1e-4 --seed 3": {
            "solver": cs.GradientDescent(
                optax.adam(0.1), steps=30, batch_size=40, init=START, restarts=2, tol=1e-4, seed=3
            ),
            "loss": cs.HuberLoss(1.0, scale=0.5),
        },
        "--solver adam --learning-rate 0.1 --steps 9 --via moments --ridge 2": {
            "solver": cs.GradientDescent(optax.adam(0.1), steps=9, via="moments"), "ridge": 2.0,
        },
        "--solver lbfgs --steps 2 --init zeros": {
            "solver": cs.GradientDescent("lbfgs", steps=2, init="zeros")
        },
    }, status=1),
    Row("solve trials.npz --lags 0 4 --edges zeros --limits small_numbers=0",
        partial(cs.solve, TRIALS, limits=cs.Limits(small_numbers=0))),
    *solves("decay.npz --lags 0 19 --edges zeros", DECAY, {
        "--penalty ridge --grid 1 10 100": {"penalty": "ridge", "grid": [1.0, 10.0, 100.0]},
        "--penalty tc --select cv --folds 4 --score r2": {
            "penalty": "tc", "select": cs.CrossValidation(4, score="r2"),
        },
    }),
    *solves("eeg.csv --x-columns 0,1 --y-columns 2,3 --lags 0 1",
            of_table([0, 1], [2, 3], lags=(0, 1)), {
        "--penalty smooth --strength 3 0.5 --solver svd": {
            "solver": "svd", "penalty": cs.Smooth([3.0, 0.5]),
        },
        "--penalty ridge --channel-groups 0,1 --strength 3 0.5": {
            "penalty": cs.Ridge([3.0, 0.5], channel_groups=(0, 1))
        },
        "--penalty ridge --channel-groups 0,1 --noise ar2": {
            "penalty": cs.Ridge(channel_groups=(0, 1)), "noise": "ar2",
        },
    }),
    *solves("outliers.npz --lags 0 3 --bias", OUTLIERS, {
        "--loss huber": {"loss": "huber"},
        "--loss huber --scale 0.2 --delta 1": {"loss": cs.HuberLoss(1.0, scale=0.2)},
        "--loss absolute": {"loss": "absolute"},
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
            {"": {}},
        )
    ),
    *solves("one.csv two.csv --lags 0 4 --mask mask.csv", cs.Problem(
        data.GAPS_X[1], data.GAPS_Y[1], lags=(0, 4), mask=data.MASK[1]
    ), {"": {}}),
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
        for row in solves(f"table.csv {line}", problem, {"": {}})
    ),
    *solves("eeg.csv --x-columns envelope,1 --y-columns Fz,Cz --fs 128 --tmin 0 --tmax 0.02",
            of_table([0, 1], [2, 3], fs=128, tmin=0, tmax=0.02), {"": {}}),
    *solves("ab.csv uv.csv --lags 0 1",
            of_table([0, 1], [2, 3], lags=(0, 1), channels=["a", "b"], outputs=["u", "v"]),
            {"": {}}),
    *solves("ab.csv uv.csv --lags 0 1 --outputs left,right --fs 10",
            of_table([0, 1], [2, 3], lags=(0, 1), channels=["a", "b"], fs=10,
                     outputs=["left", "right"]), {"": {}}),
]  # fmt: skip


def identifies(line: str, problem: cs.Problem, status: int = 0) -> Row:
    return Row(f"identify {line}", partial(cs.identify, problem), status)


def compares(
    line: str, problem: cs.Problem, calls: dict[str, dict[str, Any]], status: int = 0
) -> list[Row]:
    """Rows that compare methods on one problem, and the keywords of `compare`."""
    return [
        Row(f"compare {line} {more}", partial(cs.compare, problem, **keywords), status)
        for more, keywords in calls.items()
    ]


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
    *compares("full.npz --kernel-size 3", FULL, {
        "--methods svd,normal": {"methods": ["svd", "normal"]},
    }),
    *compares("full.npz --kernel-size 3", FULL, {"--methods fft": {"methods": ["fft"]}}, status=1),
    *compares("short.npz --kernel-size 3", SHORT, {
        "--methods svd,normal": {"methods": ["svd", "normal"]},
    }, status=3),
    *compares("table.csv --x-columns 0,1 --y-columns 2 --lags 0 0 --bias",
              of_left([0, 1], lags=(0, 0), bias=True), {"": {}, "--ridge 2": {"ridge": 2.0}}),
    *compares("trials.npz --lags 0 4 --edges zeros", TRIALS, {
        "--methods auto,lasso --ridge 2 --truth kernel.npy": {
            "methods": {"auto": "auto", "lasso": cs.Lasso(ridge=2.0)}, "ridge": 2.0,
            "truth": data.KERNEL[::-1],
        },
        "--methods ridge,lasso --channel-groups 0,1": {
            "methods": {
                "ridge": cs.Ridge(channel_groups=(0, 1)), "lasso": cs.Lasso(channel_groups=(0, 1)),
            },
        },
        "--methods qr,cg --penalty smooth --strength 2 --order 2 --tol 1e-10": {
            "methods": {"qr": "qr", "cg": cs.ConjugateGradient(tol=1e-10)},
            "penalty": cs.Smooth(2.0, order=2),
        },
        "--methods qr,ridge --noise ar3": {"methods": ["qr", "ridge"], "noise": "ar3"},
    }),
    *compares("decay.npz --lags 0 19 --edges zeros", DECAY, {
        "--methods auto,squared-exponential": {
            "methods": {"auto": "auto", "squared-exponential": "squared_exponential"}
        },
        "--methods ridge,tc --grid 1 10": {"methods": ["ridge", "tc"], "grid": [1.0, 10.0]},
    }),
    *compares("outliers.npz --lags 0 3 --bias", OUTLIERS, {
        "--methods huber,absolute --delta 2 --scale 3": {
            "methods": {"huber": cs.HuberLoss(2.0, scale=3.0), "absolute": "absolute"},
        },
        "--methods auto,adam --loss huber --scale 0.2 --steps 200": {
            "methods": {"auto": "auto", "adam": cs.GradientDescent("adam", steps=200)},
            "loss": cs.HuberLoss(scale=0.2),
        },
    }),
    *compares("gaps_x.npy gaps_y.npy --lags 0 4 --missing drop --mask masks.npy",
              of_gaps(mask=data.MASKS), {"--methods svd": {"methods": ["svd"]}}),
    # Five blocks of a single record.
    Row("cross-validate noisy.npz --kernel-size 4", partial(
        cs.cross_validate, cs.Problem(data.NOISY_X, data.NOISY_Y[:57], kernel_size=4), folds=5
    )),
    *(
        Row(f"cross-validate trials.npz --lags 0 4 --edges zeros {more}",
            partial(cs.cross_validate, TRIALS, **method))
        for more, method in {
            "": {},
            "--folds 2 --ridge 3": {"folds": 2, "ridge": 3.0},
            "--penalty tc": {"penalty": "tc"},
            "--loss huber --noise white": {"loss": "huber"},
            "--folds 3 --penalty ridge --select cv": {
                "folds": 3, "penalty": "ridge", "select": cs.CrossValidation(3),
            },
        }.items()
    ),
    *(
        Row(f"choose-lags trials.npz --lags -3 9 --edges zeros {more}",
            partial(cs.choose_lags, WIDE, select))
        for more, select in {
            "": "bic",
            "--select aicc": "aicc",
            "--select cv --folds 2 --score r2": cs.CrossValidation(2, score="r2"),
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
    chosen = fit.regularization
    asked = ("call", "solver", "settings", "loss", "steps", "noise", "scale", "certificate_kind")
    return {
        **{name: getattr(fit, name) for name in ("status", "converged", "backward_error",
                                                 "duality_gap", "kernel", "bias", "lags",
                                                 "impulse_response")},
        "data": repr(fit.identifiability.problem),
        "verdict": fit.identifiability.verdict,
        "times": or_none(lambda: fit.times),
        "channels": fit._names.channels,
        "outputs": fit._names.outputs,
        "standard_error": or_none(lambda: fit.standard_error),
        "noise": or_none(lambda: {
            name: getattr(fit.noise, name) for name in ("kind", "variance", "dof", "coefficients")
        }),
        "score": {name: getattr(fit.score(), name) for name in ("r2", "r2_total", "correlation")},
        "stats": {name: fit.stats[name] for name in asked if name in fit.stats},
        "regularization": chosen and {
            "penalty": chosen.penalty, "strength": chosen.strength, "criterion": chosen.criterion,
            "path": chosen.path and {
                "strengths": chosen.path.strengths, "scores": chosen.path.scores,
            },
        },
    }  # fmt: skip


def entries(result: Any) -> dict[str, Any]:
    """The entries of a JSON document that a result determines."""
    if isinstance(result, cs.Solution):
        return of_solution(result)
    if isinstance(result, cs.Identifiability):
        return {"data": repr(result.problem), **result.to_dict()}
    if isinstance(result, results.Comparison):
        names = ("method", "status", "loss", "excess_loss", "kernel_error", "null_component",
                 "steps")  # fmt: skip
        rows = [{name: row[name] for name in names} for row in result.rows]
        return {"rows": rows, "skipped": result.skipped}
    if isinstance(result, results.LagChoice):
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
    with as_options():  # reasons name options
        wanted = wanted_of(row)
    assert_includes(strict_json(out), plain(entries(wanted)))


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
    fit = cs.solve(TRIALS, penalty="tc")
    loaded = cs.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(loaded.kernel, fit.kernel)
    assert str(loaded.regularization) == str(fit.regularization)
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
