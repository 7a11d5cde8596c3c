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
# factor. The factors depend on x alone. They determine the best step, the number of steps, and the
# directions that converge last.

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
(directions,) = forecast.directions


def along(kernel: np.ndarray) -> np.ndarray:
    """The error of a kernel along every direction, the slowest first."""
    return np.tensordot(directions, kernel - exact, 2)[:, 0]


start = along(np.zeros_like(exact))
print("Remaining share of the error of the kernel after a run:\n")
print(f"{'step':16} {'steps':>6} {'predicted':>10} {'measured':>10}")
half = forecast.largest_step / 2
for name, step, steps in (
    ("best", forecast.best_step, forecast.steps // 2),
    ("best", forecast.best_step, forecast.steps),
    ("half the largest", half, forecast.steps),
    ("1.02 × largest", 1.02 * forecast.largest_step, 300),
):
    (left,) = forecast.error(steps, step)
    found = along(run(step, steps).kernel)
    predicted, measured = np.linalg.norm([left * start, found], axis=1) / np.linalg.norm(start)
    print(f"{name:16} {steps:6d} {predicted:10.2e} {measured:10.2e}")

# %%
# Direction by direction
# ----------------------

(needed,) = forecast.steps_along(half)
trace = run(half, int(needed[0])).trace.kernels
at = np.array(sorted(trace))
measured = np.array([along(trace[n]) / start for n in at])
(predicted,) = forecast.error(at, half)
print("Number of steps of half the largest size per direction, the slowest first:\n")
print(" ".join(f"{n:.0f}" for n in needed))
gap = np.abs(measured - predicted).max()
far = np.abs(run(forecast.best_step, 2 * forecast.steps).kernel - exact).max()
print(
    f"\nThe run differs from the prediction by at most {gap:.0e}. The fastest direction takes "
    f"{needed[-1]:.0f} step.\nThe slowest alternates from tap to tap, where x has the least power, "
    f"and takes {needed[0]:.0f}.\nAfter {2 * forecast.steps} best steps, the distance to the "
    f"least-squares kernel is {far:.0e}."
)

# %%
# On the left, the decay of the error: predicted (lines) and measured (dots). On the right, five of
# the twelve directions, the slowest first.

steps = np.arange(needed[0] + 1)
(curves,) = forecast.error(steps, half)
lags = problem.lags[::-1]
figure = Figure(figsize=(9, 4.2), layout="constrained")
decay, shapes = figure.subplots(1, 2)
for rank, i in enumerate((0, 2, 4, 6, 8)):
    colour, base = f"C{rank}", -1.5 * rank
    decay.semilogy(steps, curves[:, i], color=colour)
    decay.semilogy(at, measured[:, i], "o", color=colour, markersize=5)
    shapes.hlines(base, 0, TAPS - 1, color="0.85", linewidth=0.8)
    shapes.plot(lags, base + directions[i, :, 0], ".-", color=colour)
    shapes.text(TAPS - 0.6, base, f"{needed[i]:.0f} steps", color=colour, va="center")
decay.axhline(1e-6, color="0.6", linestyle=":", linewidth=1)
decay.set(xlabel="steps of half the largest size", ylabel="remaining error along a direction")
decay.set(ylim=(1e-8, 2), title="Predicted from x (lines), measured (dots)")
shapes.set(xlabel="lag (samples)", xlim=(-0.5, TAPS + 2.7), xticks=range(0, TAPS, 2), yticks=[])
shapes.set(title="Directions, and steps to 1e-6")
decay.spines[["top", "right"]].set_visible(False)
shapes.spines[["top", "right", "left"]].set_visible(False)

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
