"""Too little data: what is determined and what is not, and which answer each method then gives.

Run: python examples/03_underdetermined.py [PICTURE.png]
"""

import sys

import numpy as np
import optax

import convsolve as cs

RNG = np.random.default_rng(3)
TAPS = 8
# The tone has period 6: it excites two of the eight taps of its channel, however long it lasts.
NOISE = RNG.standard_normal(60)
TONE = np.cos(np.pi / 3 * np.arange(60))
TRUTH = np.stack([np.exp(-np.arange(TAPS) / 2.0), np.hanning(TAPS)], axis=-1)[:, :, None]


def methods(report: cs.Identifiability, outputs: int) -> dict[str, cs.Solver]:
    """Every method from zero; plain descent at the step 1/λ₁ of its own loss."""
    largest = 2 / (report.n_equations * outputs) * report.singular_values[0][0] ** 2
    plain = optax.sgd(1 / largest)
    momentum = optax.sgd(1 / largest, momentum=0.95, nesterov=True)
    return {
        "least squares": cs.LeastSquares(),
        "plain descent": cs.GradientDescent(plain, init="zeros", steps=30_000),
        "momentum": cs.GradientDescent(momentum, init="zeros", steps=5000),
        "L-BFGS": cs.GradientDescent(optax.lbfgs(), init="zeros", steps=300),
        "Adam": cs.GradientDescent(init="zeros", steps=5000),
        "ridge 1": cs.LeastSquares(ridge=1.0),
    }


def main(picture: str | None = None) -> None:
    print("1. Too few rows: two channels of noise, 18 samples, 11 equations for 16 unknowns\n")
    x = RNG.standard_normal((18, 2))
    spec = cs.ConvSpec(TAPS)
    short = cs.Problem(x, cs.convolve(x, TRUTH, spec), kernel_size=(TAPS,))
    print(cs.identify(short))
    first = cs.compare(short, methods(cs.identify(short), 1), truth=TRUTH)
    print(f"\n{first}\n")

    print("2. Too poor a signal: noise beside a pure tone, 60 samples, 53 equations\n")
    x = np.stack([NOISE, TONE], axis=-1)
    poor = cs.Problem(x, cs.convolve(x, TRUTH, spec), kernel_size=(TAPS,))
    report = cs.identify(poor)
    print(report)
    second = cs.compare(poor, methods(report, 1), truth=TRUTH)
    print(f"\n{second}")
    known = report.identifiable[..., 0]
    exact = second.solutions["least squares"].kernel
    print("\nlargest error of the taps that are determined, and of the others:")
    error = np.abs(exact - TRUTH)[..., 0]
    print(f"  {error[known].max():.1e}   {error[~known].max():.2f}")
    if picture is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    titles = ("too few rows", "noise beside a tone")
    for row, (title, table) in enumerate(zip(titles, (first, second), strict=True)):
        for channel, axes in enumerate(grid[row]):
            axes.plot(TRUTH[:, channel, 0], color="black", linestyle=":", label="truth")
            # Lines that coincide stay visible under each other: from wide to narrow.
            widths = np.linspace(6, 1, len(table.solutions))
            for (label, fit), width in zip(table.solutions.items(), widths, strict=True):
                axes.plot(np.asarray(fit.kernel)[:, channel, 0], linewidth=width, label=label)
            axes.set_title(f"{title}, channel {channel}")
            axes.set_ylabel("kernel")
    for axes in grid[1]:
        axes.set_xlabel("tap")
    grid[0, 1].legend(fontsize="small")
    figure.savefig(picture, dpi=120)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
