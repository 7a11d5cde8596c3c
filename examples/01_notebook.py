"""
A convolution spelled out, and its kernel recovered
===================================================

The notebook that convsolve began as: a convolution by hand, then three kernels found again from
input and output alone, by gradient descent as one would try it first, and exactly.

Run: ``python examples/01_notebook.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure

import convsolve as cs

# %%
# A convolution by hand
# ---------------------
# Every position of the filter gives one number: the sum of products with what lies under it.

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
# Backwards
# ---------
# Now the filter is unknown. :func:`convsolve.identify` counts equations and unknowns before
# anything is solved. `Adam <https://arxiv.org/abs/1412.6980>`_ minimizes the mean absolute error
# step by step. The default solves least squares exactly.


def recover(title: str, x: np.ndarray, y: np.ndarray, taps: int, steps: int) -> cs.Solution:
    """Report on the data, descend, then solve exactly."""
    print(f"\n{title}\n{'-' * len(title)}")
    problem = cs.Problem(x, y, kernel_size=taps)
    report = cs.identify(problem)
    print(f"{report.verdict}: {report.counting}\n")
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
# The kernel that 200 steps of Adam reach, its prediction, and the loss on the way there: near,
# where the exact answer is the filter itself.

drawn = cs.plot(one_filter)

# %%
# Two channels, two filters
# -------------------------
# With two channels of input there are six unknowns, and the record gives six equations: as many as
# needed, and none left to check the fit.

pairs = [[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]]
output = np.array([14, 20, 14, 15, 10, 4]).reshape(1, 6, 1)
two_channels = recover(
    "Two input channels", np.array(pairs).reshape(1, 8, 2), output, taps=3, steps=1000
)

# %%
# Two filters over one channel share their equations: each output is a problem of its own.

filters = np.array([[6, 12], [11, 25], [14, 32]]).reshape(1, 3, 2)
two_filters = recover("Two filters", x, filters, taps=2, steps=1000)

# %%
# The way of every tap to its value, which is a whole number in all three. Mean absolute error pulls
# with the same force however near a tap is, so that the last digits are long in coming.

fits = {"one filter": one_filter, "two channels": two_channels, "two filters": two_filters}
figure = Figure(figsize=(10, 3.6), layout="constrained")
for axes, (name, fit) in zip(figure.subplots(1, 3, sharey=True), fits.items(), strict=True):
    steps = sorted(fit.trace.kernels)
    taps = np.array([np.ravel(fit.trace.kernels[step]) for step in steps])
    axes.plot(steps, taps, ".-")
    axes.hlines(np.round(taps[-1]), 0, steps[-1], color="0.8", linestyle="--", zorder=0)
    axes.set(title=name, xlabel="step of Adam")
label = figure.axes[0].set_ylabel("taps")

# sphinx_gallery_thumbnail_number = 2

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
