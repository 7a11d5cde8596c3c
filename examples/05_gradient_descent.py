"""
Gradient descent, predicted from the input alone
================================================

The course of gradient descent, predicted from x alone and compared with runs.

The input is smooth, like many recordings. It has little power at high frequencies, so the fine
detail of the kernel is poorly determined. This detail converges last, and the noise hides it.

Run: ``python examples/05_gradient_descent.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure
from scipy.signal import lfilter

import convsolve as cs

RNG = np.random.default_rng(5)
TAPS = 12
X = lfilter([1.0], [1.0, -0.8], RNG.standard_normal(600))
TRUTH = np.exp(-np.arange(TAPS) / 3) * np.cos(np.arange(TAPS))
Y = lfilter(TRUTH, [1.0], X) + RNG.standard_normal(X.size)

# %%
# The forecast
# ------------
# The loss is quadratic, so each step multiplies the error along an eigenvector of the Hessian by a
# factor, or with momentum by a 2 × 2 matrix. The factors depend on x alone. At the statistical
# error, descent is as far from the exact kernel as the exact kernel is from the truth.

problem = cs.Problem(X, Y, lags=(0, TAPS - 1))
report = cs.identify(problem)
print("From x alone, before any step:")
for optimizer in ("sgd", "momentum", "nesterov"):
    print(f"\n{report.descent(optimizer)}")

# %%
# The textbook's best step
# ------------------------
# The step 2/(L + m) has the best rate in the slowest direction. The noise hides this direction, so
# the step 1/L reaches the statistical error sooner.

plain = report.descent()
print(f"{'step':10} {'to the statistical error':>25} {'to a kernel error of 1e-6':>26}")
for name, step in (("1/L", plain.learning_rate), ("2/(L + m)", plain.best_step)):
    forecast = report.descent(learning_rate=step)
    print(f"{name:10} {forecast.steps_to_floor:25} {forecast.steps:26}")

# %%
# The run
# -------
# With the exact solution, the forecast is for its kernel and its noise. The runs (dots) follow the
# forecasts (lines) step by step.

exact = cs.solve(problem)
figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
print(f"{'optimizer':10} {'steps':>6} {'forecast':>10} {'run':>10}   excess / statistical error")
for optimizer in ("sgd", "momentum", "nesterov"):
    forecast = report.descent(optimizer, solution=exact)
    trace = cs.solve(problem, cs.GradientDescent(optimizer, steps=100, tol=1e-300)).trace
    for step in (10, 32, 100):
        look = list(trace.steps).index(step)
        predicted = forecast.curve(step)
        print(f"{optimizer:10} {step:6d} {predicted:10.3g} {trace.ratios[look]:10.3g}")
    (line,) = axes.loglog(trace.steps[1:], forecast.curve(trace.steps[1:]), label=optimizer)
    axes.loglog(trace.steps[1:], trace.ratios[1:], "o", color=line.get_color())
axes.axhline(1, color="0.6", linestyle=":", label="statistical error")
axes.set(xlabel="steps", ylabel="excess loss / statistical error", ylim=(1e-6, None))
axes.legend()

# %%
# Early stopping
# --------------
# Descent that stops after n steps resembles a ridge. It keeps the share 1 − (1 − 2·step·d/rows)^n
# of each direction, and a ridge keeps d/(d + ridge).

print("Early stopping and the ridge that it resembles:\n")
print(f"{'steps':>6} {'ridge':>8} {'distance':>8}   error of the kernel: descent, ridge")
truth = TRUTH[::-1]
size = np.linalg.norm(truth)
for steps in (2, 5, 20, 100):
    ridge = problem.n_equations / (2 * plain.learning_rate * steps)
    early = cs.solve(problem, cs.GradientDescent("sgd", steps=steps, tol=1e-300)).kernel[:, 0, 0]
    shrunk = cs.solve(problem, ridge=ridge).kernel[:, 0, 0]
    distance = np.linalg.norm(early - shrunk) / size
    error = np.linalg.norm(early - truth) / size
    error_of_ridge = np.linalg.norm(shrunk - truth) / size
    print(f"{steps:6d} {ridge:8.2f} {distance:8.3f}   {error:.3f} {error_of_ridge:.3f}")

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
