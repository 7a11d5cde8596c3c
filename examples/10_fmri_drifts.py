"""Haemodynamic responses with error bands, drifts of every run beside them, and a contrast.

The recording of example 2. The mean of every 280 scans vanishes, as if it had been made, and its
baseline taken off, in twelve runs; here each has an intercept and a quadratic drift of its own,
which are fitted beside the responses and not reported. The noise of fMRI is correlated in time, and
the errors allow for it.

Run: python examples/10_fmri_drifts.py [PICTURE.png]
"""

import sys

import numpy as np

import convsolve as cs
from convsolve.datasets import event_related_fmri

TR, RUNS = 2.0, 12  # s; runs of 280 scans


def stated(drift: float) -> cs.Problem:
    """The recording, a quadratic of that height added to every run."""
    events, bold = event_related_fmri()
    t = np.linspace(-1, 1, len(bold) // RUNS)
    runs = [part + drift * ((-1) ** i * t**2 + i) for i, part in enumerate(np.split(bold, RUNS))]
    # Before a run nothing was shown: zeros are what is known there, not an assumption.
    return cs.Problem.from_lags(
        np.split(events, RUNS), runs, lags=(0, 14), edges="zeros", confounds=2
    )


def main(picture: str | None = None) -> None:
    fit = cs.solve(stated(0.0), noise="ar")
    print(fit)
    score = fit.score()
    print(f"\nR² of the responses {score.r2[0]:.4f}, with drifts {score.r2_total[0]:.4f}")
    # The response to events of type 2 less that to type 1, at all lags.
    difference = np.zeros((15, 15, 6))
    difference[np.arange(15), np.arange(15), 0] = -1
    difference[np.arange(15), np.arange(15), 1] = 1
    test = fit.test(contrast=difference)
    print(
        f"type 2 against type 1: F({test.dof[0]}, {test.dof[1][0]:.0f}) = "
        f"{test.statistic[0]:.2f}, p = {test.p[0]:.2g}"
    )
    drifting = cs.solve(stated(1000.0), noise="ar")
    off = np.abs(drifting.kernel - fit.kernel).max() / np.abs(fit.kernel).max()
    print(f"a drift a thousand times the signal added to every run: responses change by {off:.0e}")
    total = drifting.score()
    print(f"there R² is {total.r2[0]:.4f}, with drifts {total.r2_total[0]:.7f}")
    if picture is None:
        return
    draw(fit, picture)


def draw(fit: cs.Solution, picture: str) -> None:
    """All six responses, each with its band at all lags together."""
    from matplotlib.figure import Figure

    low, high = fit.confidence_band(simultaneous=True)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for kind, axes in enumerate(figure.subplots(2, 3, sharex=True, sharey=True).flat):
        lags = TR * fit.lags
        axes.fill_between(lags, low[::-1, kind, 0], high[::-1, kind, 0], alpha=0.3, linewidth=0)
        axes.plot(lags, fit.impulse_response[:, kind], marker=".")
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_title(f"event {kind + 1}")
    figure.supxlabel("time after the event (s)")
    figure.supylabel("BOLD response, 95 % band of all lags")
    figure.savefig(picture, dpi=120)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
