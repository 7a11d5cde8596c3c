"""
Haemodynamic responses with drifts and bands
============================================

Bands for haemodynamic responses, a drift per run, and a contrast.

The recording is the one of :ref:`sphx_glr_gallery_02_haemodynamic_response.py`. The mean of every
280 scans is zero, as in twelve runs with a subtracted baseline. Here, each run has an intercept and
a quadratic drift, which are fitted and not reported. The noise of fMRI is correlated in time, and
the errors account for it.

Run: ``python examples/10_fmri_drifts.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure

import convsolve as cs
from convsolve.datasets import event_related_fmri

TR, RUNS = 2.0, 12  # s; runs of 280 scans
KINDS = [f"event {kind}" for kind in range(1, 7)]


def stated(drift: float) -> cs.Problem:
    """The recording, with a quadratic of this height added to every run."""
    events, bold = event_related_fmri()
    t = np.linspace(-1, 1, len(bold) // RUNS)
    runs = [part + drift * ((-1) ** i * t**2 + i) for i, part in enumerate(np.split(bold, RUNS))]
    # No event was presented before a run, so zeros are correct there.
    return cs.Problem(
        np.split(events, RUNS),
        runs,
        fs=1 / TR,
        tmin=0,
        tmax=28,
        edges="zeros",
        drift=2,
        channels=KINDS,
    )


# %%
# The responses
# -------------
# ``drift=2`` fits an intercept and a drift of degree 2 to every run. The noise is described by
# an autoregression, whose order is selected. It changes the estimate and the errors.

fit = cs.solve(stated(0.0), noise="ar")
print(fit)
score = fit.score()
print(f"\nR² of the responses {score.r2[0]:.4f}, with drifts {score.r2_total[0]:.4f}")

# %%
# All six responses, with simultaneous bands over all lags.

low, high = fit.confidence_band(simultaneous=True)
figure = Figure(figsize=(7.2, 4.4), layout="constrained")
for kind, axes in enumerate(figure.subplots(2, 3, sharex=True, sharey=True).flat):
    axes.fill_between(fit.times, low[:, kind], high[:, kind], alpha=0.3, linewidth=0)
    axes.plot(fit.times, fit.impulse_response[:, kind], marker=".")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_title(KINDS[kind])
figure.supxlabel("time after the event (s)")
figure.supylabel("BOLD response, simultaneous 95 % band")

# %%
# A contrast
# ----------
# This test compares the responses to types 2 and 1 at all lags. Every row of a contrast is one
# hypothesis, a weighted sum of taps.

difference = np.zeros((15, 15, 6))
difference[np.arange(15), np.arange(15), 0] = -1
difference[np.arange(15), np.arange(15), 1] = 1
test = fit.test(contrast=difference)
print(
    f"type 2 against type 1: F({test.dof[0]}, {test.dof[1][0]:.0f}) = "
    f"{test.statistic[0]:.2f}, p = {test.pvalue[0]:.2g}"
)

# %%
# Large drifts
# ------------
# Drifts are projected out, so even large drifts do not change the responses.

drifting = cs.solve(stated(1000.0), noise="ar")
off = np.abs(drifting.kernel - fit.kernel).max() / np.abs(fit.kernel).max()
print(f"with a drift of 1000 times the signal in every run, responses change by {off:.0e}")
total = drifting.score()
print(f"there R² is {total.r2[0]:.4f}, with drifts {total.r2_total[0]:.7f}")

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
