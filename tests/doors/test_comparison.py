"""compare: one common loss, gaps, errors and shared work."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.operators import by_rows
from convsolve.problem.sizes import Limits

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 2))
W = RNG.standard_normal((3, 2, 1))
Y = cs.convolve(X, W, cs.ConvSpec(3)) + 0.1 * RNG.standard_normal((48, 1))


def test_every_number_by_its_definition() -> None:
    problem = cs.Problem(X, Y, kernel_size=(3,))
    huber = cs.GradientDescent(loss="huber", steps=300)
    table = cs.compare(problem, [cs.LeastSquares(), huber, cs.FFTDeconvolution()], truth=W[::-1])
    exact, rough, fft = table.rows
    assert [r["method"] for r in table.rows] == list(table.solutions)
    for row, fit in zip(table.rows, table.solutions.values(), strict=True):
        loss = ((Y - cs.convolve(X, fit.kernel, problem.spec)) ** 2).mean()
        assert row["loss"] == pytest.approx(loss, rel=1e-9)
        error = np.linalg.norm(fit.kernel - W) / np.linalg.norm(W)
        assert row["kernel_error"] == pytest.approx(error, rel=1e-9)
        assert row["gap"] == pytest.approx(row["loss"] - exact["loss"], abs=1e-15)
    assert exact["gap"] == 0
    assert fft["status"] == "approximate"
    assert fft["gap"] > 0
    assert rough["backward_error"] is None
    assert rough["steps"] == 300
    assert rough["compile_seconds"] > 0


def test_all_methods_by_default_and_the_reasons_of_those_that_cannot() -> None:
    table = cs.compare(cs.Problem(X, Y[:24], kernel_size=(3,), stride=2))
    assert set(table.solutions) == {
        "LeastSquares(svd)",
        "LeastSquares(qr)",
        "NormalEquations",
        "ConjugateGradient",
        "GradientDescent(adam, mse)",
        "Regularized(ridge, gcv)",
        "Regularized(TC, evidence)",
    }
    assert "stride > 1" in table.skipped["FFTDeconvolution"]
    assert "not run: FFTDeconvolution: stride > 1" in str(table)
    assert all(row["kernel_error"] is None for row in table.rows)


def test_shared_work_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = by_rows.row_blocks

    def counted(*args: object) -> object:
        calls.append(1)
        return original(*args)

    monkeypatch.setattr(by_rows, "row_blocks", counted)
    problem = cs.Problem(X, Y, kernel_size=(3,))
    table = cs.compare(
        problem, [cs.LeastSquares("svd"), cs.LeastSquares("qr"), cs.NormalEquations()]
    )
    assert cs.identify(problem).condition_number < 10
    cs.solve(problem)
    assert len(calls) == 1
    assert {"QR", "moments", "Cholesky"} <= set(table.shared_seconds)
    assert "shared, once (s):" in str(table)


def test_the_null_part_is_what_the_data_say_nothing_about(rng: np.random.Generator) -> None:
    problem = cs.Problem(X[:7], Y[:5], kernel_size=(3,))
    start = rng.standard_normal((3, 2, 1))
    table = cs.compare(problem, {"start": cs.GradientDescent(init=start, steps=0)})
    a = np.stack([X[t : t + 3].reshape(-1) for t in range(5)])
    v = np.linalg.svd(a)[2][5:]
    assert table.rows[0]["null_part"] == pytest.approx(abs((v @ start.ravel())[0]), rel=1e-9)


def test_labels_and_plain_rows() -> None:
    problem = cs.Problem(X, Y, kernel_size=(3,))
    twice = cs.compare(problem, [cs.LeastSquares(), cs.LeastSquares(ridge=1.0)])
    assert list(twice.solutions) == ["LeastSquares(svd)", "LeastSquares(svd) #2"]
    rows = twice.to_dict()
    rows[0]["loss"] = None
    assert twice.rows[0]["loss"] is not None
    assert str(twice).splitlines()[0].startswith("method")
    assert str(twice) == twice.text()
    assert repr(twice) == "<Comparison of 2 methods, 2 solved>"


ROBUST = {
    "absolute": (cs.GradientDescent(loss="mae", steps=200), cs.LeastAbsolute()),
    "huber": (
        cs.GradientDescent(loss="huber", huber_delta=0.5, steps=200),
        cs.Huber(delta=2.0, scale=0.25),
    ),
}
LOSSES = {
    "absolute": np.abs,
    "huber": lambda r: np.where(np.abs(r) <= 0.5, r**2 / 2, 0.5 * (np.abs(r) - 0.25)),
}


@pytest.mark.parametrize("name", ROBUST)
def test_where_all_minimise_one_loss_the_gap_is_that_to_its_exact_answer(name: str) -> None:
    """Whether the exact answer is asked for or not."""
    y = Y + np.random.default_rng(3).standard_t(2, Y.shape)
    problem = cs.Problem(X, y, kernel_size=(3,), bias=True)
    descent, exact = ROBUST[name]
    both, alone = cs.compare(problem, [descent, exact]), cs.compare(problem, [descent])
    for row, fit in zip(both.rows, both.solutions.values(), strict=True):
        loss = LOSSES[name](y - cs.convolve(X, fit.kernel, problem.spec, fit.bias)).mean()
        assert row["loss"] == pytest.approx(loss, rel=1e-12)
    rough, best = both.rows
    assert best["gap"] == 0
    assert best["duality_gap"] <= 1e-13
    assert rough["gap"] == rough["loss"] - best["loss"] > 0
    assert alone.rows[0]["gap"] == pytest.approx(rough["gap"], rel=1e-6)
    assert f"loss: {both.objective.words}" in str(both)
    mixed = cs.compare(problem, [descent, exact, cs.NormalEquations()])
    assert mixed.objective.words == "mean squared residual"
    assert mixed.rows[2]["gap"] == 0 < mixed.rows[1]["gap"]
    assert "loss: " not in str(mixed)


def test_losses_that_have_no_exact_answer_beside_them() -> None:
    """Of a callable the loss is squares; where the exact answer cannot be had, the best counts."""
    problem = cs.Problem(X, Y, kernel_size=(3,))
    own = cs.GradientDescent(loss=lambda p, t: abs(p - t), steps=5)
    assert cs.compare(problem, [own]).objective.loss == "mse"
    few = Limits(gram_bytes=8)
    (row,) = cs.compare(problem, [ROBUST["absolute"][0]], limits=few).rows
    assert row["gap"] == 0
    assert {s.objective for s in (cs.Huber(), cs.LeastAbsolute())} == {None, ("mae", 0.0)}
