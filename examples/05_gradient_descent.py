"""
Gradient descent, predicted from the input alone
================================================

A run of gradient descent, predicted from x alone and compared with the run itself.

The input is smooth, like many recordings. It has little power at high frequencies, so the fine
detail of the kernel is poorly determined. This detail converges last.

Run: ``python examples/05_gradient_descent.py [PICTURE.png]``
"""

from dataclasses import replace

import numpy as np
import optax
from matplotlib.figure import Figure
from scipy.signal import lfilter

import convsolve as cs

RNG = np.random.default_rng(5)
TAPS = 12
X = lfilter([1.0], [1.0, -0.8], RNG.standard_normal(600))
TRUTH = np.exp(-np.arange(TAPS) / 3) * np.cos(np.arange(TAPS))
Y = lfilter(TRUTH, [1.0], X) + 0.1 * RNG.standard_normal(X.size)

# %%
# The forecast
# ------------
# The loss is quadratic, so each step multiplies the error along an eigenvector of the Hessian by a
# factor. The factors depend on x alone. They determine the best step and the number of steps.

problem = cs.Problem(X, Y, lags=(0, TAPS - 1))
forecast = cs.identify(problem).descent(tol=1e-6)
print(f"From x alone, before any step:\n\n{forecast}")

# %%
# The run
# -------
# The prediction holds for every step size, including steps that are too large.


def run(step: float, steps: int) -> cs.Solution:
    """Plain descent from zero. The tolerance is so small that no run ends early."""
    solver = cs.GradientDescent(optax.sgd(step), init="zeros", steps=steps, tol=1e-300)
    return cs.solve(problem, solver)


exact = cs.solve(problem).kernel


def off(kernel: np.ndarray) -> float:
    """Return the distance to the least-squares kernel, relative to its norm."""
    return float(np.linalg.norm(kernel - exact) / np.linalg.norm(exact))


print("Remaining error of the kernel after a run:\n")
print(f"{'step':16} {'steps':>6} {'error':>10}")
half = forecast.largest_step / 2
for name, step, steps in (
    ("best", forecast.best_step, forecast.steps // 2),
    ("best", forecast.best_step, forecast.steps),
    ("half the largest", half, forecast.steps),
    ("1.02 × largest", 1.02 * forecast.largest_step, 300),
):
    print(f"{name:16} {steps:6d} {off(run(step, steps).kernel):10.2e}")

# %%
# The error of every run (dots) ends with the slope of its slowest direction (lines).

figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
for name, step in (("best step", forecast.best_step), ("half the largest step", half)):
    kernels = run(step, forecast.steps).trace.kernels
    at = np.array(sorted(kernels))
    errors = np.array([off(kernels[n]) for n in at])
    slope = np.log(np.abs(1 - step * np.concatenate(forecast.curvatures)).max())
    (dots,) = axes.semilogy(at, errors, "o", label=name)
    axes.semilogy(at, errors[-1] * np.exp(slope * (at - at[-1])), color=dots.get_color())
axes.set(xlabel="steps", ylabel="relative error of the kernel", ylim=(1e-8, 2))
axes.legend()

# %%
# Early stopping
# --------------
# Descent that stops after n steps resembles a ridge. It keeps the share 1 − (1 − 2·step·d/rows)^n
# of each direction, and a ridge keeps d/(d + ridge). Here, early stopping has the smaller error.

print("Early stopping and the ridge that it resembles:\n")
print(f"{'steps':>6} {'ridge':>8} {'distance':>8}   error of the kernel: descent, ridge")
solver = cs.GradientDescent(optax.sgd(half), init="zeros", tol=1e-300)
truth = TRUTH[::-1]
for steps in (2, 5, 20, 100):
    ridge = problem.n_equations / (2 * half * steps)
    early = cs.solve(problem, replace(solver, steps=steps)).kernel[:, 0, 0]
    drawn = cs.solve(problem, ridge=ridge).kernel[:, 0, 0]
    apart, *errors = (
        np.linalg.norm(a - b) / np.linalg.norm(truth)
        for a, b in ((early, drawn), (early, truth), (drawn, truth))
    )
    print(f"{steps:6d} {ridge:8.2f} {apart:8.3f}   {errors[0]:.3f} {errors[1]:.3f}")

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
