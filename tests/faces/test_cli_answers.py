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
from convsolve import extend
from support import command_files as data


class Row(NamedTuple):
    """The arguments of a command, the equivalent call and the exit status."""

    line: str
    call: Callable[[], Any]
    status: int = 0


def rows(command: str, problem: cs.Problem, methods: dict[str, Any], status: int = 0) -> list[Row]:
    """One problem with several methods: options, and the keywords of the function."""
    function = getattr(cs, command.split()[0].replace("-", "_"))
    return [
        Row(f"{command} {options}", partial(function, problem, **keywords), status)
        for options, keywords in methods.items()
    ]


def of_table(x: list[int], y: list[int], **options: Any) -> cs.Problem:
    """The table of two inputs and two outputs, or some of its columns."""
    names = ["envelope", "pitch", "Fz", "Cz"]
    given = {"channels": [names[i] for i in x], "outputs": [names[i] for i in y], **options}
    return cs.Problem(data.EEG[:, x], data.EEG[:, y], **given)


def of_gaps(**options: Any) -> cs.Problem:
    return cs.Problem(data.GAPS_X, data.GAPS_Y, lags=(0, 4), missing="drop", **options)


FULL = cs.Problem(data.X, data.Y, kernel_size=3)
SHORT = cs.Problem(data.X[:7], data.Y[:5], kernel_size=3)
TRIALS = cs.Problem(data.TRIALS_X, data.TRIALS_Y, lags=(0, 4), edges="zeros")
OUTLIERS = cs.Problem(data.OUTLIERS_X, data.OUTLIERS_Y, lags=(0, 3), bias=True)
TONE = cs.Problem(data.TONE, np.arange(40.0), lags=(0, 5))
NOISY = cs.Problem(data.NOISY_X, data.NOISY_Y[:57], kernel_size=4)
TABLE = of_table([0, 1], [2, 3], lags=(0, 1))
ADAM = cs.GradientDescent(
    optax.adam(0.1), steps=30, batch_size=40, init=data.KERNEL[::-1, :, None],
    restarts=2, tol=1e-4, seed=3,
)  # fmt: skip
OF_TRIALS = "trials.npz --lags 0 4 --edges zeros"
OF_GAPS = "gaps_x.npy gaps_y.npy --lags 0 4 --missing drop"

SOLVED = [
    *rows("solve full.npz --kernel-size 3", FULL, {"": {}}),
    *rows("solve x.npy y.csv --kernel-size 3", FULL, {"": {}}),
    *rows("solve full.npz --config svd.toml", FULL, {"": {"solver": "svd", "ridge": 0.5}}),
    *rows("solve outliers.npz --config robust.toml", OUTLIERS,
          {"--scale 0.2": {"loss": cs.HuberLoss(2.0, scale=0.2)}}),
    *rows("solve trials.npz --config sparse.toml", TRIALS, {
        "--ridge 2": {"penalty": cs.Lasso(channel_groups=(0, 1), ridge=2.0), "grid": [2.0, 20.0],
                      "select": cs.CrossValidation(2)},
    }),
    *rows("solve full.npz --kernel-size 3", FULL, {
        "--solver cg --steps 1": {"solver": cs.ConjugateGradient(steps=1)},
        "--solver fft": {"solver": "fft"},
    }, status=1),
    *rows("solve short.npz --kernel-size 3", SHORT, {"": {}}, status=3),
    *rows("solve noisy.npz --kernel-size 4", NOISY,
          {f"--noise {noise}": {"noise": noise} for noise in ("white", "hac", "hac5", "ar2")}),
    *rows(f"solve {OF_TRIALS}", TRIALS, {
        "--penalty Squared_Exponential --length 2.5 --strength 4": {
            "penalty": cs.SquaredExponential(4.0, length=2.5)
        },
        "--penalty ridge --channel-groups 1,0 --select cv --folds 3 --score r2 --average records": {
            "penalty": cs.Ridge(channel_groups=(1, 0)),
            "select": cs.CrossValidation(3, score="r2", average="records"),
        },
        "--noise ar --penalty tc --strength 2 --decay 0.7": {
            "noise": "ar", "penalty": cs.StableSpline(2.0, kind="tc", decay=0.7),
        },
    }),
    *rows(f"solve {OF_TRIALS}", TRIALS, {
        "--solver adam --learning-rate 0.1 --loss huber --delta 1 --scale 0.5 --steps 30 "
        "--batch-size 40 --init kernel.npy --restarts 2 --tol 1e-4 --seed 3": {
            "solver": ADAM, "loss": cs.HuberLoss(1.0, scale=0.5),
        },
    }, status=1),
    *rows("solve outliers.npz --lags 0 3 --bias --loss absolute", OUTLIERS,
          {"": {"loss": "absolute"}}),
    *(
        row
        for options, given in {
            "--weights records.npy --bias": {"weights": data.OF_RECORDS, "bias": True},
            "--drift 0 --confounds motion.npy": {"drift": 0, "confounds": data.MOTION},
            "--mask mask.npy --weights weights.npy --confounds motion.npy": {
                "mask": data.MASK, "weights": data.WEIGHTS, "confounds": data.MOTION,
            },
        }.items()
        for row in rows(f"solve {OF_GAPS} {options}", of_gaps(**given), {"": {}})
    ),
    *(
        row
        for line, problem in {
            "eeg.csv --x-columns 0,1 --y-columns 2 --fs 99 --tmin envelope=0,pitch=-.02 --tmax .1":
                of_table([0, 1], [2], fs=99, tmin={"envelope": 0, "pitch": -0.02}, tmax=0.1),
            "eeg.csv --x-columns 0,1 --y-columns 2 --lags envelope=0,9 pitch=-2,3 "
            "--basis envelope=raised-cosines4 --stretch 20 --spacing even": of_table(
                [0, 1], [2], lags={"envelope": (0, 9), "pitch": (-2, 3)},
                basis={"envelope": cs.RaisedCosines(4, spacing="even", stretch=20)},
            ),
            "ab.csv uv.csv --lags 0 1 --outputs left,right --fs 10": of_table(
                [0, 1], [2, 3], lags=(0, 1), channels=["a", "b"], fs=10, outputs=["left", "right"]
            ),
        }.items()
        for row in rows(f"solve {line}", problem, {"": {}})
    ),
]  # fmt: skip

IDENTIFIED = {
    "x.csv --kernel-size 3": {"kernel_size": 3},
    "x.npy --kernel-size 2 --n-outputs 3": {"kernel_size": 2, "n_outputs": 3},
    "x.npy --kernel-size 2 --padding=3,-1 --stride 2 --dilation 3 --groups 2 --bias": {
        "kernel_size": 2, "padding": ((3, -1),), "stride": 2, "dilation": 3, "groups": 2,
        "bias": True,
    },
    "x.npy --lags -1 2 --edges circular": {"lags": (-1, 2), "edges": "circular"},
    "x.npy --kernel-size 3 --basis 0=functions.npy": {
        "kernel_size": 3, "basis": {0: cs.Basis(data.FUNCTIONS)},
    },
    "x.npy --kernel-size 2 2 --stride 1 2 --padding 1,0,0,0": {
        "kernel_size": (2, 2), "stride": (1, 2), "padding": ((1, 0), (0, 0)),
    },
}  # fmt: skip
REPORTED = [
    *(
        row
        for line, given in IDENTIFIED.items()
        for row in rows(f"identify {line}", cs.Problem(data.X, **given), {"": {}})
    ),
    *rows("identify tone.npz --lags 0 5", TONE, {"": {}}, status=3),
    *rows("compare full.npz --kernel-size 3", FULL,
          {"--methods fft": {"methods": ["fft"]}}, status=1),
    *rows("compare short.npz --kernel-size 3", SHORT,
          {"--methods svd": {"methods": ["svd"]}}, status=3),
    *rows(f"compare {OF_TRIALS}", TRIALS, {
        "--methods auto,lasso --ridge 2 --truth kernel.npy": {
            "methods": {"auto": "auto", "lasso": {"penalty": cs.Lasso(ridge=2.0)}},
            "ridge": 2.0,
            "truth": data.KERNEL[::-1],
        },
        "--methods qr,normal --penalty smooth --strength 2 --order 2": {
            "methods": {"qr": "qr", "normal": "normal"}, "penalty": cs.Smooth(2.0, order=2),
        },
    }),
    *rows(f"compare {OF_GAPS} --mask masks.npy", of_gaps(mask=data.MASKS),
          {"--methods svd": {"methods": ["svd"]}}),
    # Five blocks of a single record.
    *rows("cross-validate noisy.npz --kernel-size 4", NOISY, {"": {"folds": 5}}),
    *rows(f"cross-validate {OF_TRIALS}", TRIALS, {
        "": {},
        "--folds 3 --penalty ridge --select cv": {
            "folds": 3, "penalty": "ridge", "select": cs.CrossValidation(3),
        },
    }),
    *rows("choose-lags trials.npz --lags -3 9 --edges zeros",
          cs.Problem(data.TRIALS_X, data.TRIALS_Y, lags=(-3, 9), edges="zeros"), {
        "": {},
        "--select cv --folds 2 --score r2 --average records": {
            "select": cs.CrossValidation(2, score="r2", average="records"),
        },
    }),
]  # fmt: skip
TEXTS = [SOLVED[0], REPORTED[0], REPORTED[-3], REPORTED[-4]]


def or_none(query: Callable[[], Any]) -> Any:
    """The value of a query, or None where the documented error says that there is none."""
    try:
        return query()
    except ValueError:
        return None


def attributes(one: Any, names: str) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names.split()}


def of_solution(fit: cs.Solution) -> dict[str, Any]:
    chosen = fit.regularization
    asked = ("call", "solver", "settings", "loss", "steps", "noise", "scale", "certificate_kind")
    plain = "status converged backward_error duality_gap kernel bias lags impulse_response"
    return {
        **attributes(fit, plain),
        "data": repr(fit.identifiability.problem),
        "verdict": fit.identifiability.verdict,
        "times": or_none(lambda: fit.times),
        "channels": fit._names.channels,
        "outputs": fit._names.outputs,
        "standard_error": or_none(lambda: fit.standard_error),
        "noise": or_none(lambda: attributes(fit.noise, "kind variance dof coefficients")),
        "score": attributes(fit.score(), "r2 r2_total correlation"),
        "stats": {name: fit.stats[name] for name in asked if name in fit.stats},
        "regularization": chosen and {
            **attributes(chosen, "penalty strength criterion"),
            "path": chosen.path and attributes(chosen.path, "strengths scores"),
        },
    }  # fmt: skip


def entries(result: Any) -> dict[str, Any]:
    """The entries of a JSON document that a result determines."""
    if isinstance(result, cs.Solution):
        return of_solution(result)
    if isinstance(result, cs.Identifiability):
        return {"data": repr(result.problem), **result.to_dict()}
    if isinstance(result, extend.Comparison):
        names = ("method", "status", "loss", "excess_loss", "kernel_error", "null_component",
                 "steps")  # fmt: skip
        found = [{name: row[name] for name in names} for row in result.rows]
        return {"rows": found, "skipped": result.skipped}
    if isinstance(result, extend.LagChoice):
        return attributes(result, "lags scores") | {"problem": repr(result.problem)}
    solutions = [{"status": fit.status} for fit in result.solutions]
    return attributes(result, "mse r2 correlation") | {"solutions": solutions}


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


@pytest.mark.filterwarnings("ignore:the residuals of output")
@pytest.mark.parametrize("row", [*SOLVED, *REPORTED], ids=lambda row: " ".join(row.line.split()))
def test_the_document_has_the_result_of_the_call(row: Row, run: Any) -> None:
    status, out, err = run(f"{row.line} --json")
    warned = [line.startswith("convsolve: warning: ") for line in err.splitlines()]
    assert (status, all(warned)) == (row.status, True)
    assert bool(warned) == (row.status == 3 and row.line.startswith("solve "))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = row.call()
    assert_includes(strict_json(out), plain(entries(wanted)))


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: " ".join(row.line.split()))
def test_the_text_is_that_of_the_result(row: Row, run: Any) -> None:
    result = row.call()
    shown = str(result).splitlines()
    shown = shown[:4] if isinstance(result, cs.Solution) else shown
    assert "\n".join(shown) in run(row.line)[1]


def test_a_saved_solution_is_loaded_and_predicts(run: Any, folder: Path, tmp_path: Path) -> None:
    place, fit = tmp_path / "fit.npz", cs.solve(TRIALS, penalty="tc")
    assert run(f"solve {OF_TRIALS} --penalty tc --out {place}")[0] == 0
    np.testing.assert_array_equal(cs.load(place).kernel, fit.kernel)
    assert str(cs.load(place).regularization) == str(fit.regularization)
    new = data.TRIALS_X[:2] + 1
    np.savez(tmp_path / "new.npz", x=new, y=data.TRIALS_Y[:2])
    score = fit.score(new, data.TRIALS_Y[:2])
    status, out, err = run(f"predict {place} {tmp_path}/new.npz --out {tmp_path}/prediction.npy")
    assert (status, err) == (0, "")
    r2 = f"R² {score.r2[0]:.4g} ± {score.r2_standard_error[0]:.2g}"
    assert out.startswith(f"output 0: {r2}, correlation")
    np.testing.assert_array_equal(np.load(tmp_path / "prediction.npy"), fit.predict(new))
    for source, x, r2 in (("x.npy", data.X, None), (f"{tmp_path}/new.npz", new, score.r2)):
        found = strict_json(run(f"predict {place} {source} --json")[1])
        assert found["prediction"] == plain(fit.predict(x))
        assert (found["score"] and found["score"]["r2"]) == plain(r2)


@pytest.mark.parametrize(
    ("line", "tested", "head"),
    [
        ("eeg.csv --x-columns 0,1 --y-columns 2,3 --test pitch", ["pitch"], "Test of pitch"),
        (
            "eeg.csv --x-columns 0,1 --y-columns 2,3 --test envelope=1,pitch=-2",
            {"envelope": 1, "pitch": -2},
            "Test of envelope=1, pitch=-2",
        ),
        ("unnamed.npz --outputs Fz,Cz --test 0,1", [0, 1], "Test of 0, 1"),
    ],
)
def test_a_test_is_that_of_the_solution(
    line: str, tested: Any, head: str, run: Any, folder: Path
) -> None:
    np.savez("unnamed.npz", x=data.EEG[:, :2], y=data.EEG[:, 2:])
    unnamed = cs.Problem(data.EEG[:, :2], data.EEG[:, 2:], lags=(0, 1), outputs=["Fz", "Cz"])
    wanted = cs.solve(TABLE if "eeg" in line else unnamed).test(tested)
    status, out, err = run(f"solve {line} --lags 0 1")
    assert (status, err) == (0, "")
    assert out.endswith(f"\n{head}\n{wanted}\n")
    document = strict_json(run(f"solve {line} --lags 0 1 --json")[1])
    assert document["test"] == plain(wanted._asdict())
