"""Descent that is stopped early, against loops of descent and dense eigenvectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.signal

import convsolve as cs
from convsolve.extend import Penalty
from convsolve.problem.sizes import Tuning
from support import dense

CRITERIA = ("gcv", "evidence", "aicc", "bic")
STEPS = (1, 2, 7, 40, 300)
# The dense covariance of y has too few digits after more steps.
FEW_STEPS = (1, 2, 4)


class Rows:
    """The rows of one output by brute force, without their nuisance columns.

    Attributes:
        a: (n, P), the columns, or those of another basis of the kernels.
        y: (n,), the output.
        rows: number of rows, before nuisance columns are projected out.
        nuisance: number of independent nuisance columns.
        basis: (P, R), orthonormal coordinates of the kernels in taps.
    """

    def __init__(
        self, a: np.ndarray, y: np.ndarray, nuisance: np.ndarray, basis: np.ndarray
    ) -> None:
        # An orthonormal basis of the rows that nuisance columns do not fit.
        complement = scipy.linalg.null_space(nuisance.T) if nuisance.size else np.eye(len(a))
        self.rows, self.basis = len(a), basis
        self.nuisance = self.rows - complement.shape[1]
        self.a, self.y = complement.T @ a @ basis, complement.T @ y

    @property
    def curvature(self) -> float:
        return float(np.linalg.norm(self.a, 2) ** 2)

    def descent(self, steps: int, largest: float) -> np.ndarray:
        """A plain loop, with the gradient of half the sum of squares."""
        w = np.zeros(self.a.shape[1])
        for _ in range(steps):
            w = w + self.a.T @ (self.y - self.a @ w) / largest
        return self.basis @ w

    def spectrum(self, steps: int, largest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Eigenvalues, the share that is not fitted, and eigenvectors."""
        values, vectors = np.linalg.eigh(self.a.T @ self.a)
        d = np.clip(values, 0.0, largest)
        return d, (1 - d / largest) ** steps, vectors

    def kernel(self, steps: int, largest: float) -> np.ndarray:
        d, left, v = self.spectrum(steps, largest)
        gain = _gain(d, left, steps, largest)
        return self.basis @ (v @ (gain * (v.T @ (self.a.T @ self.y))))

    def freedom(self, steps: int, largest: float) -> float:
        return float((1 - self.spectrum(steps, largest)[1]).sum())

    def squares(self, steps: int, largest: float) -> float:
        w = self.basis.T @ self.kernel(steps, largest)
        return float(np.square(self.y - self.a @ w).sum())

    def errors(self, steps: int, largest: float) -> np.ndarray:
        d, left, v = self.spectrum(steps, largest)
        covariance = self.basis @ (v * _gain(d, left, steps, largest)) @ v.T @ self.basis.T
        spare = self.rows - self.nuisance - self.freedom(steps, largest)
        return np.sqrt(np.diagonal(covariance) * self.squares(steps, largest) / spare)

    def score(self, criterion: str, steps: int, largest: float) -> float:
        n, m = self.rows, self.rows - self.nuisance
        squares, freedom = self.squares(steps, largest), self.freedom(steps, largest)
        k = freedom + self.nuisance + 1
        if criterion == "gcv":
            return m * squares / (m - freedom) ** 2
        if criterion == "bic":
            return n * np.log(squares / n) + k * np.log(n)
        if criterion == "aicc":
            if n - k - 1 <= 0:
                return np.inf
            return n * np.log(squares / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
        return self.evidence(steps, largest)

    def evidence(self, steps: int, largest: float) -> float:
        """The density of y in the rows that directions of a flat prior do not fit."""
        d, left, v = self.spectrum(steps, largest)
        flat = d > largest * (1 - 1e-12)
        free = self.a @ v[:, flat]
        q = scipy.linalg.null_space(free.T) if free.size else np.eye(len(self.y))
        d, left, v = d[~flat], left[~flat], v[:, ~flat]
        prior = v * (_gain(d, left, steps, largest) / left) @ v.T
        covariance = np.eye(q.shape[1]) + q.T @ self.a @ prior @ self.a.T @ q
        y, m = q.T @ self.y, q.shape[1]
        s = y @ np.linalg.solve(covariance, y)
        return m * np.log(2 * np.pi * s / m) + m + np.linalg.slogdet(covariance)[1]


def _gain(d: np.ndarray, left: np.ndarray, steps: int, largest: float) -> np.ndarray:
    real = d > 1e-13 * largest
    return np.where(real, (1 - left) / np.where(real, d, 1.0), steps / largest)


Case = tuple[cs.Problem, list[Rows]]
CASES: dict[str, Callable[[], Case]] = {}


def case(made: Callable[[], Case]) -> Callable[[], Case]:
    CASES[made.__name__.replace("_", " ")] = made
    return made


def coloured(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    x = rng.standard_normal(shape)
    for i in range(1, len(x)):
        x[i] += 0.8 * x[i - 1]
    return x


def of_spec(spec: cs.ConvSpec, shapes: list[tuple[int, ...]], channels: int, outputs: int) -> Case:
    """Records with a bias, of any geometry."""
    rng = np.random.default_rng(4)
    x = [coloured(rng, (*shape, channels)) for shape in shapes]
    shape = (*spec.kernel_size, channels // spec.groups, outputs)
    y = cs.convolve(x, rng.standard_normal(shape), spec)
    y = [clean + 2 * rng.standard_normal(clean.shape) for clean in y]
    problem = cs.Problem(x, y, spec=spec, bias=True)
    a = dense.design_matrix(x, spec)
    targets = dense.by_group(y, spec.groups)
    ones, taps = np.ones((a.shape[1], 1)), np.eye(a.shape[2])
    pairs = zip(a, targets, strict=True)
    rows = [Rows(own, column, ones, taps) for own, group in pairs for column in group.T]
    return problem, rows


@case
def one_record() -> Case:
    return of_spec(cs.ConvSpec(9), [(80,)], 2, 2)


@case
def groups() -> Case:
    return of_spec(cs.ConvSpec(4, groups=2), [(50,), (40,)], 4, 4)


@case
def image() -> Case:
    return of_spec(cs.ConvSpec((3, 2)), [(9, 8), (9, 8)], 2, 2)


@case
def stride_and_dilation() -> Case:
    return of_spec(cs.ConvSpec(4, stride=2, dilation=3), [(90,), (70,)], 2, 1)


@case
def wide() -> Case:
    return of_spec(cs.ConvSpec(20), [(44,)], 2, 2)


@case
def adjusted() -> Case:
    """Records of different lengths, a drift, weights of rows, and a mask for every output."""
    rng, taps = np.random.default_rng(5), 6
    lengths = (60, 41)
    x = [coloured(rng, (n, 2)) for n in lengths]
    y = [rng.standard_normal((n, 2)) + a[:, :1] for n, a in zip(lengths, x, strict=True)]
    mask = [rng.random((n, 2)) < 0.9 for n in lengths]
    weights = [0.2 + rng.random(n) for n in lengths]
    problem = cs.Problem(x, y, lags=(0, taps - 1), drift=1, mask=mask, weights=weights)
    spec = cs.ConvSpec(taps)
    a = dense.design_matrix(x, spec)[0]
    sizes = [n - taps + 1 for n in lengths]
    drifts = [np.stack([np.ones(n), np.arange(n)], axis=1) for n in sizes]
    nuisance = scipy.linalg.block_diag(*drifts)
    inside = [slice(taps - 1, None)] * 2
    targets = np.concatenate([b[s] for b, s in zip(y, inside, strict=True)])
    kept = np.concatenate([b[s] for b, s in zip(mask, inside, strict=True)])
    root = np.sqrt(np.concatenate([b[s] for b, s in zip(weights, inside, strict=True)]))[:, None]
    rows = []
    for output in range(2):
        used = kept[:, output]
        own = (root * a)[used], (root[:, 0] * targets[:, output])[used], (root * nuisance)[used]
        rows.append(Rows(*own, np.eye(a.shape[1])))
    return problem, rows


@case
def basis() -> Case:
    """Descent is in orthonormal coordinates of the kernels in the span of the functions."""
    rng, taps = np.random.default_rng(6), 20
    x = coloured(rng, (200, 2))
    y = x[:, :1] + rng.standard_normal((200, 1))
    problem = cs.Problem(x, y, lags=(0, taps - 1), basis=cs.RaisedCosines(6), bias=True)
    functions = cs.RaisedCosines(6).functions(np.arange(taps))[::-1]
    a = dense.design_matrix([x], cs.ConvSpec(taps))[0]
    coordinates = np.kron(np.linalg.qr(functions)[0], np.eye(2))
    return problem, [Rows(a, y[taps - 1 :, 0], np.ones((len(a), 1)), coordinates)]


def largest_of(problem: cs.Problem, rows: list[Rows]) -> list[float]:
    """The largest eigenvalue for every output: of all groups, for the rows that it uses."""
    curvatures = [own.curvature for own in rows]
    return curvatures if len(problem.parts) > 1 else [max(curvatures)] * len(rows)


cases = pytest.mark.parametrize("name", CASES)
quiet = pytest.mark.filterwarnings("error", "ignore:the residuals of output")


@quiet
@cases
def test_the_kernel_is_that_of_a_loop(name: str) -> None:
    problem, rows = CASES[name]()
    for steps in STEPS:
        fit = cs.solve(problem, penalty=cs.EarlyStopping(steps))
        assert fit.status == "solved"
        pairs = zip(rows, largest_of(problem, rows), strict=True)
        wanted = np.stack([own.descent(steps, largest) for own, largest in pairs], axis=1)
        found = fit.kernel.reshape(-1, len(rows))
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11 * np.abs(wanted).max())


@quiet
@cases
def test_scores_degrees_of_freedom_and_errors(name: str) -> None:
    problem, rows = CASES[name]()
    largest = largest_of(problem, rows)
    for criterion in CRITERIA:
        grid = FEW_STEPS if criterion == "evidence" else STEPS
        method = {"penalty": "early_stopping", "grid": grid, "select": criterion}
        chosen = cs.solve(problem, **method).regularization
        for i, steps in enumerate(grid):
            pairs = [*zip(rows, largest, strict=True)]
            freedom = [own.freedom(steps, one) for own, one in pairs]
            np.testing.assert_allclose(chosen.path.effective_dof[i], freedom, rtol=1e-9)
            wanted = [own.score(criterion, steps, one) for own, one in pairs]
            np.testing.assert_allclose(chosen.path.scores[i], wanted, rtol=1e-7, atol=1e-7)
        best = np.argmin(np.nan_to_num(chosen.path.scores, nan=np.inf), axis=0)
        np.testing.assert_array_equal(chosen.strength, np.array(grid)[best])

    for steps in STEPS[:4]:
        fit = cs.solve(problem, penalty=cs.EarlyStopping(steps))
        pairs = zip(rows, largest, strict=True)
        wanted = np.stack([own.errors(steps, one) for own, one in pairs], axis=1)
        # Errors are in ascending lags, which the kernel is not.
        errors = fit.standard_error.reshape(fit.kernel.shape)
        axes = tuple(range(problem.spec.ndim))
        np.testing.assert_allclose(np.flip(errors, axes).reshape(wanted.shape), wanted, rtol=1e-7)
        output = len(rows) - 1
        diagonal = np.sqrt(np.diagonal(fit.covariance(output)))
        np.testing.assert_allclose(np.sort(diagonal), np.sort(wanted[:, output]), rtol=1e-7)


@quiet
@pytest.mark.parametrize("criterion", CRITERIA)
def test_no_other_number_of_steps_is_better(criterion: str) -> None:
    problem, _ = CASES["one record"]()
    found = cs.solve(problem, penalty="early_stopping", select=criterion).regularization
    assert found.criterion == criterion
    grid = np.unique(np.geomspace(1, 1e5, 2000).astype(int))
    every = cs.solve(problem, penalty="early_stopping", select=criterion, grid=grid).regularization
    best = every.path.scores.min(0)
    assert (found.score <= best + 1e-6 * np.abs(best)).all()
    assert (found.strength == np.round(found.strength)).all()


@quiet
@pytest.mark.parametrize("score", ["mse", "r2", "correlation"])
@pytest.mark.parametrize("n_groups", [1, 2])
def test_scores_of_folds_are_those_of_refits(n_groups: int, score: str) -> None:
    """One rate serves all groups, and it is computed from the training rows."""
    rng = np.random.default_rng(8)
    spec = cs.ConvSpec(5, groups=n_groups)
    x = [coloured(rng, (60 + 10 * i, 2)) for i in range(4)]
    y = cs.convolve(x, rng.standard_normal((5, 2 // n_groups, 2)), spec)
    y = [clean + 3 * rng.standard_normal(clean.shape) for clean in y]
    problem = cs.Problem(x, y, spec=spec, bias=True)
    select = cs.CrossValidation(score=score)
    fit = cs.solve(problem, penalty="early_stopping", grid=STEPS, select=select)
    path = fit.regularization.path
    for fold in range(4):
        train = [i for i in range(4) if i != fold]
        one = cs.Problem([x[i] for i in train], [y[i] for i in train], spec=spec, bias=True)
        for i, steps in enumerate(STEPS):
            other = cs.solve(one, penalty=cs.EarlyStopping(steps))
            wanted = getattr(other.score(x[fold], y[fold]), score)
            np.testing.assert_allclose(path.scores_by_fold[fold, i], wanted, rtol=1e-8)


@quiet
def test_a_function_scores_the_whole_procedure() -> None:
    problem, _ = CASES["groups"]()

    def share(y: np.ndarray, prediction: np.ndarray) -> float:
        return float(1 - np.abs(y - prediction).mean() / np.abs(y).mean())

    select = cs.CrossValidation(2, score=share)
    fit = cs.solve(problem, penalty="early_stopping", select=select)
    assert fit.regularization.criterion == "share()"
    assert (fit.regularization.strength >= 1).all()


# --- units, numbers of steps, texts and files


@quiet
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("select", [*CRITERIA, "cv"])
def test_units_do_not_change_the_steps(scale: float, select: str) -> None:
    rng = np.random.default_rng(9)
    x, y = coloured(rng, (300, 2)), rng.standard_normal((300, 2))
    y += 0.3 * x
    method = {"penalty": "early_stopping", "select": select}
    wanted = cs.solve(cs.Problem(x, y, lags=(0, 9)), **method)
    fit = cs.solve(cs.Problem(scale * x, y / scale, lags=(0, 9)), **method)
    np.testing.assert_array_equal(fit.regularization.strength, wanted.regularization.strength)
    np.testing.assert_allclose(fit.kernel * scale**2, wanted.kernel, rtol=1e-9, atol=1e-12)
    errors = fit.standard_error * scale**2
    np.testing.assert_allclose(errors, wanted.standard_error, rtol=1e-9)


@quiet
def test_every_output_has_its_own_number_of_steps() -> None:
    for name in ("one record", "groups", "adjusted"):
        problem, rows = CASES[name]()
        steps = np.arange(3, 3 + len(rows))
        fit = cs.solve(problem, penalty=cs.EarlyStopping(steps))
        pairs = zip(rows, steps, largest_of(problem, rows), strict=True)
        wanted = np.stack([own.descent(t, largest) for own, t, largest in pairs], axis=1)
        np.testing.assert_allclose(fit.kernel.reshape(wanted.shape), wanted, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(fit.regularization.strength, steps)

    problem, _ = CASES["one record"]()
    chosen = cs.solve(problem, penalty="early_stopping").regularization
    assert len(set(chosen.strength.tolist())) == 2
    again = cs.solve(problem, penalty=cs.EarlyStopping(chosen.strength))
    np.testing.assert_allclose(again.regularization.effective_dof, chosen.effective_dof)
    one = cs.solve(problem, penalty="early_stopping", one_strength=True).regularization
    assert len(set(one.strength.tolist())) == 1


@pytest.mark.parametrize("steps", [10, 10**4, 10**7])
def test_the_error_of_a_smooth_input_grows_with_the_steps(steps: int) -> None:
    """The error is about the steps times rounding. The condition number of AᵀA is 2e6."""
    rng, taps = np.random.default_rng(0), 12
    x = scipy.signal.lfilter([1], [1, -1.96, 0.98**2], rng.standard_normal(300))
    y = x / x.std() + rng.standard_normal(300)
    fit = cs.solve(cs.Problem(x, y, lags=(0, taps - 1)), penalty=cs.EarlyStopping(steps))
    with mpmath.workdps(50):
        a = mpmath.matrix(dense.design_matrix([x[:, None]], cs.ConvSpec(taps))[0].tolist())
        d, v = mpmath.eigsy(a.T * a)
        c = v.T * (a.T * mpmath.matrix(y[taps - 1 :].tolist()))
        shares = [(1 - (1 - one / max(d)) ** steps) / one for one in d]
        exact = v * mpmath.matrix([share * value for share, value in zip(shares, c, strict=True)])
        wanted = np.array([float(value) for value in exact])
    error = np.linalg.norm(fit.kernel.ravel() - wanted) / np.linalg.norm(wanted)
    assert error <= 20 * steps * np.finfo(float).eps


def test_descent_ends_in_least_squares() -> None:
    problem, _ = CASES["one record"]()
    fit, wanted = cs.solve(problem, penalty=cs.EarlyStopping(10**7)), cs.solve(problem)
    np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(fit.standard_error, wanted.standard_error, rtol=1e-9)
    np.testing.assert_allclose(fit.noise.dof, wanted.noise.dof, rtol=1e-12)
    zeros = cs.solve(cs.Problem(np.zeros(50), np.ones(50), lags=(0, 2)), penalty="early_stopping")
    assert not np.any(zeros.kernel)


def test_arguments_and_texts() -> None:
    assert cs.EarlyStopping(100) == cs.EarlyStopping(steps=100)
    assert hash(cs.EarlyStopping(100)) == hash(cs.EarlyStopping(steps=100))
    assert cs.EarlyStopping(100) != cs.EarlyStopping(101)
    assert repr(cs.EarlyStopping(100)) == "EarlyStopping(100)"
    assert repr(cs.EarlyStopping([1, 2.0])) == "EarlyStopping((1, 2))"
    assert repr(cs.EarlyStopping()) == "EarlyStopping()"

    problem, _ = CASES["one record"]()
    fit = cs.solve(problem, penalty=cs.EarlyStopping(100))
    assert fit.stats["call"] == "cs.solve(problem, penalty=cs.EarlyStopping(100))"
    assert "early stopping, 100 steps, as given; " in str(fit)
    assert "strength" not in str(fit.regularization)
    assert "(posterior)" in str(fit)
    single = cs.solve(problem, penalty="EarlyStopping(1)").regularization
    assert str(single).startswith("early stopping, 1 step, as given")
    named = cs.solve(problem, penalty="early_stopping")
    assert named.stats["call"] == "cs.solve(problem, penalty='early_stopping')"
    axis = cs.plot(named.regularization).axes[0]
    assert axis.get_xlabel() == "steps"


REFUSED: dict[str, tuple[Callable[[cs.Problem], Any], type[Exception]]] = {
    "steps must be finite and above 0": (lambda p: cs.EarlyStopping(0), ValueError),
    "steps must be whole numbers of steps, got 2.5": (lambda p: cs.EarlyStopping(2.5), ValueError),
    "steps must be a number": (lambda p: cs.EarlyStopping("many"), TypeError),
    "has no argument 'strength'": (lambda p: cs.EarlyStopping(strength=3), TypeError),  # type: ignore[call-arg]
    "EarlyStopping has 3 numbers of steps for 2 outputs": (
        lambda p: cs.solve(p, penalty=cs.EarlyStopping([1, 2, 3])), ValueError),
    "grid must be whole numbers of steps, got 1.5": (
        lambda p: cs.solve(p, penalty="early_stopping", grid=[1.5, 3]), ValueError),
    "early stopping of no given strength cannot be combined with HuberLoss": (
        lambda p: cs.solve(p, penalty="early_stopping", loss="huber"), cs.SolveError),
    "early stopping cannot be combined with AbsoluteLoss": (
        lambda p: cs.solve(p, penalty=cs.EarlyStopping(5), loss="absolute"), cs.SolveError),
    "QR does not support early stopping; leave out solver=": (
        lambda p: cs.solve(p, "qr", penalty="early_stopping"), cs.SolveError),
    "noise='hac' has no standard errors": (
        lambda p: cs.solve(p, penalty="early_stopping", noise="hac"), ValueError),
    "noise='cluster' has no standard errors": (
        lambda p: cs.solve(p, penalty="early_stopping", noise="cluster"), ValueError),
    "a penalized estimate is biased": (
        lambda p: cs.solve(p, penalty="early_stopping").test(lags=(0, 2)), ValueError),
    "jackknife needs plain least squares": (
        lambda p: cs.solve(p, penalty="early_stopping").jackknife(), ValueError),
    "needs exact least squares, or a quadratic penalty": (
        lambda p: cs.cross_validate(p, penalty=cs.EarlyStopping(4)).permutation_test(), ValueError),
    "a quadratic penalty of given strength": (
        lambda p: cs.fit_kernel(p.x, p.y, p.spec, penalty=cs.EarlyStopping(4)), ValueError),
    "the Gram matrix needs": (
        lambda p: cs.solve(p, penalty="early_stopping", limits=Tuning(gram_bytes=1)),
        cs.SolveError),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_refused(words: str) -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 6, 60, 2))
    problem = cs.Problem(x, x + noise, lags=(0, 4))
    act, kind = REFUSED[words]
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        act(problem)


def test_files_tables_bands_and_pages(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x, noise = rng.standard_normal((2, 6, 100, 2))
    problem = cs.Problem(x, x + noise, lags=(0, 4), fs=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = cs.solve(problem, penalty="early_stopping")
        fit.save(tmp_path / "fit.npz")
        loaded = cs.load(tmp_path / "fit.npz")
        assert str(loaded.regularization) == str(fit.regularization)
        np.testing.assert_array_equal(loaded.standard_error, fit.standard_error)
        both = [one.predict(x, edges="zeros") for one in (loaded, fit)]
        np.testing.assert_array_equal(*both)
        fit.to_html(tmp_path / "fit.html")
        assert "early stopping" in (tmp_path / "fit.html").read_text(encoding="utf-8")

        table = cs.compare(problem, ["qr", "early_stopping", {"penalty": cs.EarlyStopping(9)}])
        assert list(table.solutions) == ["qr", "early_stopping", "penalty=EarlyStopping(9)"]
        scores = cs.cross_validate(problem, penalty="early_stopping", select="cv")
        assert scores.r2.mean() > 0.3
        response = fit.frequency_response()
        assert np.isfinite(response.magnitude_band).all()
        assert fit.whiteness().pvalue.shape == (2,)
        low, high = fit.confidence_band(simultaneous=True)
        assert (low < high).all()


@pytest.mark.filterwarnings("ignore:the residuals of output")
def test_autoregressive_noise_is_filtered_first() -> None:
    """The kernel is that of early stopping in the filtered rows."""
    rng = np.random.default_rng(3)
    x, white = coloured(rng, (400, 1)), rng.standard_normal(400)
    noise = scipy.signal.lfilter([1], [1, -0.7], white)
    y = x[:, 0] + noise
    fit = cs.solve(cs.Problem(x, y, lags=(0, 5)), penalty=cs.EarlyStopping(20), noise="ar1")
    rho = fit.noise.coefficients[0, 0]
    filtered = cs.Problem(x[1:] - rho * x[:-1], y[1:] - rho * y[:-1], lags=(0, 5))
    wanted = cs.solve(filtered, penalty=cs.EarlyStopping(20))
    np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-8)
    np.testing.assert_allclose(fit.standard_error, wanted.standard_error, rtol=1e-2)


def test_a_penalty_without_a_covariance_refuses_one() -> None:
    assert issubclass(cs.EarlyStopping, Penalty)
    with pytest.raises(TypeError, match="Ridge has the covariance of a quadratic penalty"):
        cs.Ridge(1.0).unit_covariances(None)
