"""
A Conv1D layer, by Adam and in closed form
==========================================

The weights of two layers, estimated from their inputs and outputs.

The layers are those of Keras and PyTorch, with a stride or a dilation. Their outputs have noise.
Adam trains the weights step by step. The closed form computes them at once.

Run: ``python examples/14_conv1d_layer.py [PICTURE.png]``
"""

import numpy as np

import convsolve as cs

RNG = np.random.default_rng(14)


def compare(title: str, samples: int, weights: np.ndarray, **layer: int) -> cs.extend.Comparison:
    """Simulate a layer, report on its weights, and estimate them by both methods."""
    taps, channels = weights.shape[:2]
    x = RNG.standard_normal((samples, channels))
    y = cs.convolve(x, weights, cs.ConvSpec(taps, **layer))
    y += 0.1 * RNG.standard_normal(y.shape)
    problem = cs.Problem(x, y, kernel_size=taps, **layer)

    print(f"\n{title}\n{'-' * len(title)}")
    report = cs.identify(problem)
    unknowns = f"{report.n_unknowns} unknowns per filter"
    print(f"{report.verdict}: {report.n_equations} equations for {unknowns}")
    table = cs.compare(problem, ["auto", "adam"], truth=weights)
    for row in table.rows:
        method, error = row["method"], row["kernel_error"]
        print(f"\n{method}: {row['status']}, relative error of the weights {error:.3f}")
        print(np.array2string(table.solutions[method].kernel.T, precision=2, suppress_small=True))
    return table


# %%
# One channel and one filter
# --------------------------
# The layer is ``Conv1D(1, 4, strides=2)``. :func:`convsolve.identify` counts equations and unknowns
# before the first step. The weights are printed per filter and channel.

weights = np.array([1.0, 2.0, -1.0, 0.5])[:, None, None]
one = compare("One channel, one filter", 400, weights, stride=2)

# %%
# The ratio is the excess loss over the statistical error. At 1, Adam is as far from the exact
# weights as the exact weights are from the truth. Below 0.01, the data do not show the difference.
# The dashed line is the time of the closed form.

figure = one.plot()

# %%
# Three channels and two filters
# ------------------------------
# The layer is ``Conv1D(2, 5, dilation_rate=2)``. Each filter has 15 weights, and its own equations.

weights = RNG.standard_normal((5, 3, 2))
three = compare("Three channels, two filters", 400, weights, dilation=2)
print()
for row in three.rows:
    print(f"{row['method']}: excess loss / statistical error {row['ratio']:.1e}")
print(f"Adam reaches the statistical error in {three.rows[1]['steps_to_error']} steps")

# %%
# The same layer, from a short record
# -----------------------------------
# A record of 20 samples has 12 equations for 15 weights. Many weights fit exactly. The closed form
# returns the shortest of them, and Adam returns others. Neither is the truth.

short = compare("Three channels, two filters, 20 samples", 20, weights, dilation=2)
print()
for method, fit in short.solutions.items():
    print(f"{method}: norm of the weights {np.linalg.norm(fit.kernel):.3f}")

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
