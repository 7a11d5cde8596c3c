"""
Too little data, and the kernel that each method returns
========================================================

Which taps are determined, and which of the many kernels that fit each method then returns.

Data can be insufficient in two ways: too few equations, or too poor a signal. The report
distinguishes them, and suggests remedies for each.

Run: ``python examples/03_underdetermined.py [PICTURE.png]``
"""

from typing import Any

import numpy as np
import optax
from matplotlib.figure import Figure

import convsolve as cs

RNG = np.random.default_rng(3)
TAPS = 8
# The tone has period 6: it excites two of the eight taps of its channel, however long it lasts.
NOISE = RNG.standard_normal(60)
TONE = np.cos(np.pi / 3 * np.arange(60))
TRUTH = np.stack([np.exp(-np.arange(TAPS) / 2.0), np.hanning(TAPS)], axis=-1)[:, :, None]


def methods(report: cs.Identifiability) -> dict[str, Any]:
    """Return every method from zero, plain descent with the step 1/λ₁ of its own loss."""
    largest = 2 / report.n_equations * report.singular_values[0][0] ** 2
    plain = optax.sgd(1 / largest)
    momentum = optax.sgd(1 / largest, momentum=0.95, nesterov=True)
    descents = {
        "plain descent": cs.GradientDescent(plain, init="zeros", steps=30_000),
        "momentum": cs.GradientDescent(momentum, init="zeros", steps=5000),
        "L-BFGS": cs.GradientDescent(optax.lbfgs(), init="zeros", steps=300),
        "Adam": cs.GradientDescent(init="zeros", steps=5000),
    }
    return {
        "least squares": "svd",
        **{name: {"solver": solver} for name, solver in descents.items()},
        "ridge 1": {"solver": "svd", "ridge": 1.0},
    }


# %%
# Too few rows
# ------------
# Two channels of noise with 18 samples: 11 equations for 16 unknowns.

x = RNG.standard_normal((18, 2))
spec = cs.ConvSpec(TAPS)
short = cs.Problem(x, cs.convolve(x, TRUTH, spec), kernel_size=(TAPS,))
print("1. Too few rows\n")
print(cs.identify(short))

# %%
# All methods fit these data, but none finds the true kernel. Least squares, and descent from zero,
# converge to the kernel of minimum norm among all kernels that fit. Adam scales every tap
# separately, and converges to another kernel. Its "null part" is the norm of the component that
# changes no output.

first = cs.compare(short, methods(cs.identify(short)), truth=TRUTH)
print(f"{first}\n")

# %%
# Too poor a signal
# -----------------
# Noise and a pure tone with 60 samples: 53 equations, but only 10 of them are independent.
# The taps of the noise are determined. The taps of the tone are not, and a longer record would not
# help.

x = np.stack([NOISE, TONE], axis=-1)
poor = cs.Problem(x, cs.convolve(x, TRUTH, spec), kernel_size=(TAPS,))
report = cs.identify(poor)
print("2. Too poor a signal\n")
print(report)

# %%
# The figure of a report shows the state of every tap, the singular values, and the share of every
# tap that the output does not show.

figure = cs.plot(report)

# %%
# Each method is right for the taps that the report lists as identifiable, and only for them.

second = cs.compare(poor, methods(report), truth=TRUTH)
print(second)
known = report.identifiable
exact = second.solutions["least squares"].impulse_response
print("\nlargest error of the taps that are determined, and of the others:")
error = np.abs(exact - TRUTH[::-1, :, 0])
print(f"  {error[known].max():.1e}   {error[~known].max():.2f}")

# %%
# All kernels in one figure. Lines that coincide are drawn from wide to narrow.

kernels = Figure(figsize=(7.2, 5.8), layout="constrained")
grid = kernels.subplots(2, 2, sharex=True, sharey="row")
titles = ("Too few rows", "Noise and a tone")
for row, (title, table) in enumerate(zip(titles, (first, second), strict=True)):
    for channel, axes in enumerate(grid[row]):
        axes.plot(TRUTH[:, channel, 0], color="black", linestyle=":", label="truth")
        widths = np.linspace(6, 1, len(table.solutions))
        for (label, fit), width in zip(table.solutions.items(), widths, strict=True):
            axes.plot(np.asarray(fit.kernel)[:, channel, 0], linewidth=width, label=label)
        axes.set_title(f"{title}, channel {channel}")
        axes.set_ylabel("kernel")
for axes in grid[1]:
    axes.set_xlabel("tap")
legend = kernels.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)

# sphinx_gallery_thumbnail_number = 2
# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    kernels.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
