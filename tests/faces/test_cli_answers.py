"""Command lines and the equivalent calls in Python give the same results, digit by digit."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support import command_files as data

EEG = ["envelope", "pitch", "Fz", "Cz"]
FULL = cs.Problem(data.X, data.Y, kernel_size=3)
SHORT = cs.Problem(data.X[:7], data.Y[:5], kernel_size=3)
TRIALS = cs.Problem(data.TRIALS_X, data.TRIALS_Y, lags=(0, 4), edges="zeros")
OUTLIERS = cs.Problem(data.OUTLIERS_X, data.OUTLIERS_Y, lags=(0, 3), bias=True)
TONE = cs.Problem(data.TONE, np.arange(40.0), lags=(0, 5))
NOISY = cs.Problem(data.NOISY_X, data.NOISY_Y[:57], kernel_size=4)
WIDE = cs.Problem(data.TRIALS_X, data.TRIALS_Y, lags=(-3, 9), edges="zeros")
OF_TRIALS = "trials.npz --lags 0,4 --edges zeros"
OF_GAPS = "gaps_x.npy gaps_y.npy --lags 0,4 --missing drop"
OF_TABLE = "eeg.csv --x-columns 0,1 --y-columns 2"
BY_RECORDS = cs.CrossValidation(3, score="r2", average="records")
DESCENT = cs.GradientDescent(steps=30, batch_size=40, init=data.KERNEL[::-1, :, None], restarts=2)


def table(y: int = 1, **options: Any) -> cs.Problem:
    """The table of two inputs and two outputs, or one of them."""
    names = {"channels": EEG[:2], "outputs": EEG[2 : 2 + y]}
    return cs.Problem(data.EEG[:, :2], data.EEG[:, 2 : 2 + y], **names | options)


def gaps(**options: Any) -> cs.Problem:
    return cs.Problem(data.GAPS_X, data.GAPS_Y, lags=(0, 4), missing="drop", **options)


def x_alone(**options: Any) -> cs.Problem:
    return cs.Problem(data.X, **options)


# Command, problem, arguments of the function, and exit status unless it is 0.
ROWS: list[tuple[Any, ...]] = [
    ("solve full.npz --kernel-size 3", FULL, {}),
    ("solve x.npy y.csv --kernel-size 3", FULL, {}),
    ("solve full.npz --config svd.toml", FULL, {"solver": "svd", "ridge": 0.5}),
    ("solve outliers.npz --config robust.toml", OUTLIERS, {"loss": cs.HuberLoss(2, scale=0.2)}),
    ("solve outliers.npz --config robust.toml --loss mae", OUTLIERS, {"loss": "absolute"}),
    ("solve trials.npz --config sparse.toml", TRIALS, {
        "penalty": cs.Lasso(channel_groups=(0, 1), ridge=2), "grid": [2, 20], "select": "cv2"}),
    ("solve full.npz --kernel-size 3 --solver ConjugateGradient(steps=1)", FULL,
     {"solver": cs.ConjugateGradient(steps=1)}, 1),
    ("solve full.npz --kernel-size 3 --solver fft", FULL, {"solver": "fft"}, 1),
    ("solve short.npz --kernel-size 3", SHORT, {}, 3),
    *((f"solve noisy.npz --kernel-size 4 --noise {noise}", NOISY, {"noise": noise})
      for noise in ("white", "hac", "hac5", "ar2")),
    (f"solve {OF_TRIALS} --penalty Squared-Exponential(4,length=2.5)", TRIALS,
     {"penalty": cs.SquaredExponential(4, length=2.5)}),
    (f"solve {OF_TRIALS} --penalty Ridge(channel_groups=(1,0)) "
     "--select cv(3,score='r2',average='records')", TRIALS,
     {"penalty": cs.Ridge(channel_groups=(1, 0)), "select": BY_RECORDS}),
    (f"solve {OF_TRIALS} --noise ar --penalty tc(2,decay=0.7)", TRIALS,
     {"noise": "ar", "penalty": cs.StableSpline(2, kind="tc", decay=0.7)}),
    (f"solve {OF_TRIALS} --penalty Tikhonov(2,matrix='matrix.npy')", TRIALS,
     {"penalty": cs.Tikhonov(2, matrix=data.MATRIX)}),
    (f"solve {OF_TRIALS} --loss huber(1,scale=0.5) "
     "--solver adam(steps=30,batch_size=40,init='start.npy',restarts=2)", TRIALS,
     {"solver": DESCENT, "loss": cs.HuberLoss(1, scale=0.5)}, 1),
    (f"solve {OF_TRIALS} --limits Limits(memory=1e6)", TRIALS, {}),
    (f"solve {OF_GAPS} --weights records.npy --bias", gaps(weights=data.OF_RECORDS, bias=True), {}),
    (f"solve {OF_GAPS} --drift 0 --confounds motion.npy", gaps(drift=0, confounds=data.MOTION), {}),
    (f"solve {OF_GAPS} --mask mask.npy --weights weights.npy --confounds motion.npy",
     gaps(mask=data.MASK, weights=data.WEIGHTS, confounds=data.MOTION), {}),
    (f"solve {OF_TABLE} --fs 99 --tmin envelope=0,pitch=-.02 --tmax .1",
     table(fs=99, tmin={"envelope": 0, "pitch": -0.02}, tmax=0.1), {}),
    (f"solve {OF_TABLE} --fs 100 --tmax .1", table(fs=100, lags=(0, 10)), {}),
    (f"solve {OF_TABLE} --lags envelope=0,9,pitch=-2,3 "
     "--basis envelope=RaisedCosines(4,spacing='even',stretch=20)",
     table(lags={"envelope": (0, 9), "pitch": (-2, 3)},
           basis={"envelope": cs.RaisedCosines(4, spacing="even", stretch=20)}), {}),
    ("solve ab.csv uv.csv --lags 0,1 --outputs left,right --fs 10",
     table(2, lags=(0, 1), channels=["a", "b"], fs=10, outputs=["left", "right"]), {}),
    ("solve noise.wav heard.wav --lags -1,2",
     cs.Problem(data.SOUND, data.SOUND, lags=(-1, 2), fs=8000), {}),
    ("identify x.csv --kernel-size 3", x_alone(kernel_size=3), {}),
    ("identify x.npy --kernel-size 2 --n-outputs 3", x_alone(kernel_size=2, n_outputs=3), {}),
    ("identify x.npy --kernel-size 2 --padding [(3,-1)] --stride 2 --dilation 3 --groups 2 --bias",
     x_alone(kernel_size=2, padding=[(3, -1)], stride=2, dilation=3, groups=2, bias=True), {}),
    ("identify x.npy --lags -1,2 --edges circular", x_alone(lags=(-1, 2), edges="circular"), {}),
    ("identify x.npy --kernel-size 3 --basis 0=functions.npy",
     x_alone(kernel_size=3, basis={0: cs.Basis(data.FUNCTIONS)}), {}),
    ("identify x.npy --lags [(0,1),(0,1)]", x_alone(lags=[(0, 1), (0, 1)]), {}),
    ("identify x.npy --kernel-size 2,2 --stride 1,2 --padding [(1,0),(0,0)]",
     x_alone(kernel_size=(2, 2), stride=(1, 2), padding=[(1, 0), (0, 0)]), {}),
    ("identify tone.npz --lags 0,5", TONE, {}, 3),
    ("compare full.npz --kernel-size 3 --methods fft", FULL, {"methods": ["fft"]}, 1),
    ("compare short.npz --kernel-size 3 --methods svd", SHORT, {"methods": ["svd"]}, 3),
    (f"compare {OF_TRIALS} --methods auto,lasso(ridge=2) --truth kernel.npy", TRIALS,
     {"methods": ["auto", "lasso(ridge=2)"], "truth": data.KERNEL[::-1]}),
    (f"compare {OF_TRIALS} --methods qr,normal --penalty Smooth(2,order=2)", TRIALS,
     {"methods": ["qr", "normal"], "penalty": cs.Smooth(2, order=2)}),
    (f"compare {OF_GAPS} --mask masks.npy --methods svd", gaps(mask=data.MASKS),
     {"methods": ["svd"]}),
    ("cross-validate noisy.npz --kernel-size 4", NOISY, {}),
    (f"cross-validate {OF_TRIALS} --folds 3 --penalty ridge --select cv3", TRIALS,
     {"folds": 3, "penalty": "ridge", "select": cs.CrossValidation(3)}),
    ("choose-lags trials.npz --lags -3,9 --edges zeros", WIDE, {}),
    ("choose-lags trials.npz --lags -3,9 --edges zeros --select "
     "CrossValidation([[0,1],[2,3]],score='r2')", WIDE,
     {"select": cs.CrossValidation([[0, 1], [2, 3]], score="r2")}),
]  # fmt: skip


def of_solution(fit: cs.Solution) -> dict[str, Any]:
    names = "status converged backward_error duality_gap kernel bias lags impulse_response channels"
    found = {name: getattr(fit, name) for name in names.split() if name != "channels"}
    chosen, report = fit.regularization, fit.identifiability
    assert report is not None
    stats = {n: fit.stats[n] for n in ("call", "solver", "settings", "loss", "noise")}
    own = {"strength": chosen.strength, "criterion": chosen.criterion} if chosen else None
    scores = {name: getattr(fit.score(), name) for name in ("r2", "correlation")}
    return found | {
        "verdict": report.verdict, "score": scores, "stats": stats, "regularization": own,
        "fs": fit.problem.fs, "standard_error": fit.to_dict()["standard_error"],
    }  # fmt: skip


def entries(result: Any) -> dict[str, Any]:
    """The entries of a JSON document that a result determines."""
    if isinstance(result, cs.Solution):
        return of_solution(result)
    if isinstance(result, cs.Identifiability):
        return {"data": repr(result.problem), **result.to_dict()}
    if isinstance(result, cs.extend.Comparison):
        return {"rows": [{n: v for n, v in r.items() if "seconds" not in n} for r in result.rows]}
    names = ["lags", "scores"] if hasattr(result, "lags") else ["mse", "r2", "correlation"]
    return {name: getattr(result, name) for name in names}


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
        for each in zip(found, wanted, strict=True):
            assert_includes(*each, place)
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
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_document_has_the_result_of_the_call(row: tuple[Any, ...], run: Any) -> None:
    line, problem, options, status = (*row, 0)[:4]
    function = getattr(cs, line.split()[0].replace("-", "_"))
    found, out, err = run(f"{line} --json")
    assert found == status
    warned = status == 3 and line.startswith("solve")
    assert bool(err) == warned
    assert err.startswith("convsolve: warning: ") or not warned
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = function(problem, **options)
    assert_includes(strict_json(out), plain(entries(wanted)))


@pytest.mark.parametrize("place", [0, 25, -5, -3, -2])
def test_the_text_is_that_of_the_result(place: int, run: Any) -> None:
    line, problem, options = ROWS[place][:3]
    result = getattr(cs, line.split()[0].replace("-", "_"))(problem, **options)
    out = run(line)[1]
    found, wanted = (re.sub(r"\d+\.\d{4}\b", "TIME", text).split() for text in (out, str(result)))
    assert found == wanted


def test_a_saved_solution_is_shown_and_predicts(run: Any, folder: Path, tmp_path: Path) -> None:
    place, fit = tmp_path / "fit.npz", cs.solve(TRIALS, penalty="tc")
    assert run(f"solve {OF_TRIALS} --penalty tc --out {place}")[0] == 0
    assert run(f"solve {OF_TRIALS} --penalty tc --out {tmp_path}/kernel.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "kernel.npy"), fit.impulse_response)
    assert run(f"show {place}") == (0, f"{cs.load(place)}\n", "")
    assert strict_json(run(f"show {place} --json")[1])["kernel"] == fit.kernel.tolist()
    new = data.TRIALS_X[:2] + 1
    np.savez(tmp_path / "new.npz", x=new, y=data.TRIALS_Y[:2])
    score = fit.score(new, data.TRIALS_Y[:2])
    line = f"predict {place} {tmp_path}/new.npz --out {tmp_path}/prediction.npy"
    assert run(line) == (0, f"{score}\n", "")
    np.testing.assert_array_equal(np.load(tmp_path / "prediction.npy"), fit.predict(new))
    for source, x, r2 in (("x.npy", data.X, None), (f"{tmp_path}/new.npz", new, score.r2)):
        found = strict_json(run(f"predict {place} {source} --json")[1])
        assert found["prediction"] == plain(fit.predict(x))
        assert (found["score"] and found["score"]["r2"]) == plain(r2)
    found = strict_json(run(f"predict {place} x.npy --past x.npy --edges zeros --json")[1])
    assert found["prediction"] == plain(fit.predict(data.X, past=data.X))


@pytest.mark.parametrize(
    ("words", "tested"),
    [
        ("pitch", "pitch"),
        ("0", 0),
        ("0,1", [0, 1]),
        ("envelope=1,pitch=-2", {"envelope": 1, "pitch": -2}),
    ],
)
def test_a_test_is_that_of_the_solution(words: str, tested: Any, run: Any) -> None:
    wanted = cs.solve(table(2, lags=(0, 1))).test(tested)
    line = f"solve eeg.csv --x-columns 0,1 --y-columns 2,3 --lags 0,1 --test {words}"
    status, out, err = run(line)
    assert (status, err) == (0, "")
    assert out.endswith(f"\n{wanted}\n")
    assert strict_json(run(f"{line} --json")[1])["test"]["pvalue"] == plain(wanted.pvalue)
