"""Names and arguments that the package does not have raise an error."""

import importlib.util

import numpy as np
import pytest

import convsolve as cs

# (code, exception)
REMOVED: list[tuple[str, type[Exception]]] = [
    ("cs.solve(p, checkpoint='fit.ckpt')", TypeError),
    ("cs.Limits(timeout=1)", TypeError),
    ("cs.solve(p).stats['devices']", KeyError),
]
# Modules below convsolve.
GONE: list[str] = [
    "by_mask", "inference.approximate_errors",
    "checkpoint", "leastsquares.placement", "operators.by_filter", "operators.by_jax",
    "operators.by_sums", "operators.jax_blocks", "operators.short_kernels", "operators.spread",
    "problem.remote", "problem.whole_chunks",
]  # fmt: skip
# Methods without settings have a name and no class, and base classes are in `convsolve.extend`.
REMOVED += [
    (f"cs.{name}", AttributeError)
    for name in (
        "AutoSolver", "QR", "SVD", "NormalEquations", "FFTDeconvolution", "SquaredLoss",
        "AbsoluteLoss", "WhiteNoise", "ClusterNoise", "Solver", "Loss", "Penalty", "NoiseModel",
        "LagBasis", "results",
    )
]  # fmt: skip
REMOVED += [
    ("cs.Problem(x, lags=(0, 2), taps=[[True], [False], [True]])", TypeError),
    ("cs.solve(p).score().text(['a'])", AttributeError),
    ("p.n_records", AttributeError),
]
GONE += ["results"]


# Statistics.
REMOVED += [
    ("cs.CrossValidation(random=3)", TypeError),
    ("cs.ARNoise().rounds", AttributeError),
    ("cs.ARNoise().losses", AttributeError),
    ("cs.HACNoise().rows_squared", AttributeError),
    ("cs.GradientDescent(via='moments')", TypeError),
    ("cs.fit_kernel(x, x[2:], cs.ConvSpec(3), 'adam')", TypeError),
    ("cs.fit_kernel(x, x[2:], cs.ConvSpec(3), loss='absolute')", TypeError),
    ("cs.GradientDescent(seed=-1)", ValueError),
    ("cs.ConjugateGradient().settings", AttributeError),
    ("cs.BSplines(6, knots=(1, 3))", TypeError),
    ("cs.fit_kernel(x, x[2:], cs.ConvSpec(3), 'fft')", TypeError),
    ("cs.GradientDescent(seed=np.array([0, 3], np.uint32))", TypeError),
    ("cs.solve(p).permutation_test(kind='ar')", ValueError),
]
# A drift is an argument of its own.
REMOVED += [
    ("cs.Problem(x, x, lags=(0, 2), confounds=2)", TypeError),
    ("cs.Problem(x, x, lags=(0, 2), confounds='intercept')", TypeError),
]
_BASIS = "cs.Problem(x, x, lags=(0, 9), basis='bsplines4')"
REMOVED += [(f"cs.solve_group({{'a': {_BASIS}, 'b': {_BASIS}}})", ValueError)]
GONE += ["inference.krylov", "inference.reference_noise"]
GONE += [
    "inference.uncertainty", "inference.dependent_errors", "inference.sandwich",
    "inference.cosines", "inference.autoregression", "inference.filtered_problem",
    "inference.r2_error", "inference.effective_rows",
]  # fmt: skip


# Files, reports and other libraries.
REMOVED += [
    ("cs.io.read('x.npy', max_bytes=9)", TypeError),
    ("from convsolve.interop.events import Spline", ImportError),
    *(
        (f"cs.identify(p).{name}", AttributeError)
        for name in ("group_verdicts", "leverage", "nullity", "resolution", "variance_inflation")
    ),
    ("from convsolve.interop import to_keras", ImportError),
    ("cs.identify(p).descent().error(3)", AttributeError),
    ("cs.identify(p).descent().directions", AttributeError),
    ("cs.identify(p).descent().steps_along()", AttributeError),
    ("from convsolve.interop import from_keras", ImportError),
    ("cs.solve(p, penalty='ridge').regularization.only([0])", AttributeError),
    ("cs.solve(p, penalty='tc').regularization.at_bound", AttributeError),
]
# Results are objects, not tuples, and progress is shown by bars.
REMOVED += [
    ("cs.solve(p, progress=print)", TypeError),
    ("cs.solve(p).score()._asdict()", AttributeError),
    ("lags, problem, *_ = cs.choose_lags(p)", TypeError),
]
GONE += ["cached", "interrupts", "progress_bars"]
GONE += [
    "formats", "identifiability.descent_forecast", "identifiability.diagnosis", "interop.mtrf",
    "npz_writer", "problem.splines",
]  # fmt: skip


@pytest.mark.parametrize(("code", "exception"), REMOVED)
def test_removed_names_raise(code, exception):
    x = np.random.default_rng(0).standard_normal(60)
    p = cs.Problem(x, np.convolve(x, [1.0, 0.5])[:60], lags=(0, 2))
    with pytest.raises(exception):
        exec(code, {"cs": cs, "np": np, "p": p, "x": x})


@pytest.mark.parametrize("module", GONE)
def test_removed_modules_are_gone(module):
    assert importlib.util.find_spec(f"convsolve.{module}") is None
