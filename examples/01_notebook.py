"""
A convolution by hand, and its kernel estimated
===============================================

Three kernels are estimated from input and output alone, by gradient descent and by exact least
squares.

Run: ``python examples/01_notebook.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure

import convsolve as cs

# %%
# A convolution by hand
# ---------------------
# Each output is the sum of the products of the filter with the samples at one position.

conv1d_filter = np.array([1, 2])
x = np.array([0, 3, 4, 5])
print("Conv1d input:", x)
result = []
for i in range(3):
    print(x[i : i + 2], "*", conv1d_filter, "=", x[i : i + 2] * conv1d_filter)
    result.append(int(np.sum(x[i : i + 2] * conv1d_filter)))
print("Conv1d output:", result)
assert cs.convolve(x, conv1d_filter, cs.ConvSpec(2)).tolist() == result

# %%
# The inverse problem
# -------------------
# Now the filter is unknown. :func:`convsolve.identify` counts equations and unknowns before
# anything is solved. `Adam <https://arxiv.org/abs/1412.6980>`_ minimizes the mean absolute error
# step by step. The default solves least squares exactly.


def recover(title: str, x: np.ndarray, y: np.ndarray, taps: int, steps: int) -> cs.Solution:
    """Report on the data, descend, then solve exactly."""
    print(f"\n{title}\n{'-' * len(title)}")
    problem = cs.Problem(x, y, kernel_size=taps)
    report = cs.identify(problem)
    print(f"{report.verdict}: {report.n_equations} equations for {report.n_unknowns} unknowns\n")
    adam = cs.solve(problem, cs.GradientDescent(steps=steps), loss="absolute")
    print(adam.trace)
    exact = cs.solve(problem)
    print(f"\nexact, by {exact.stats['solver']}, condition {report.condition_number:.3g}:")
    print(np.array2string(np.squeeze(exact.kernel), precision=12, suppress_small=True))
    return adam


x = np.array([0, 3, 4, 5]).reshape(1, 4, 1)
y = np.array([6, 11, 14]).reshape(1, 3, 1)
one_filter = recover("One filter", x, y, taps=2, steps=200)

# %%
# The kernel after 200 steps of Adam, its prediction, and the loss per step. The kernel is close to
# the filter. Exact least squares returns the filter itself.

drawn = cs.plot(one_filter)

# %%
# Two channels, two filters
# -------------------------
# Two input channels have six unknowns, and the record has six equations. No equations are left to
# check the fit.

pairs = [[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]]
output = np.array([14, 20, 14, 15, 10, 4]).reshape(1, 6, 1)
two_channels = recover(
    "Two input channels", np.array(pairs).reshape(1, 8, 2), output, taps=3, steps=1000
)

# %%
# Two filters over one channel are two separate problems with the same design matrix.

filters = np.array([[6, 12], [11, 25], [14, 32]]).reshape(1, 3, 2)
two_filters = recover("Two filters", x, filters, taps=2, steps=1000)

# %%
# All taps converge to whole numbers. The gradient of the mean absolute error does not become
# smaller near the solution, so the last digits converge slowly.

fits = {"one filter": one_filter, "two channels": two_channels, "two filters": two_filters}
figure = Figure(figsize=(7.2, 3), layout="constrained")
for axes, (name, fit) in zip(figure.subplots(1, 3, sharey=True), fits.items(), strict=True):
    steps = sorted(fit.trace.kernels)
    taps = np.array([np.ravel(fit.trace.kernels[step]) for step in steps])
    axes.plot(steps, taps, ".-")
    axes.hlines(np.round(taps[-1]), 0, steps[-1], color="0.8", linestyle="--", zorder=0)
    axes.set(title=name.capitalize(), xlabel="step of Adam")
label = figure.axes[0].set_ylabel("weight")

# sphinx_gallery_thumbnail_number = 2

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
