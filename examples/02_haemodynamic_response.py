"""
Haemodynamic responses from an fMRI recording
=============================================

Six responses from an event-related recording, compared with the estimates of nitime.

The recording is part of convsolve. It has 3360 scans, one every 2 s, and the type of the event, if
any, at each scan. The response to each type has 15 taps over 30 s, so there are 90 unknowns.

Run: ``python examples/02_haemodynamic_response.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure

import convsolve as cs
from convsolve.datasets import event_related_fmri, nitime_fir

TR = 2.0  # s

# %%
# The problem
# -----------
# Events are impulses: one channel per type, which is 1 at each event. With a sampling rate, lags
# are given and reported in seconds. No event was presented before the first scan, so
# ``edges="zeros"`` is correct.

events, bold = event_related_fmri()
problem = cs.Problem(
    events,
    bold,
    fs=1 / TR,
    tmin=0,
    tmax=28,
    edges="zeros",
    channels=[f"event {kind}" for kind in range(1, 7)],
    outputs=["BOLD"],
)
report = cs.identify(problem)
print(report)

# %%
# All taps are determined, with similar errors. The noise gain is the standard error for noise of
# standard deviation 1.

known = cs.plot(report)

# %%
# The solution
# ------------
# The condition number is low, because the order of the events is random. The kernel equals the
# result of nitime to rounding.

fit = cs.solve(problem)
print(f"{fit.stats['solver']}: {fit.status}, R² {fit.score().r2[0]:.6f}")
responses = fit.impulse_response
worst = np.abs(responses - nitime_fir()).max()
print(f"largest difference from nitime's fir: {worst:.1e}\n")
print("time and height of the peak, by type of event")
for kind in range(6):
    peak = int(responses[:, kind].argmax())
    print(f"  {kind + 1}: {fit.times[peak]:4.0f} s  {responses[peak, kind]:.3f}")

# %%
# All six responses have a peak within 6 s and are below the baseline after 12 s.

figure = Figure(figsize=(7.2, 4.2), layout="constrained")
axes = figure.subplots()
for kind in range(6):
    axes.plot(fit.times, responses[:, kind], marker=".", label=f"event {kind + 1}")
axes.axhline(0, color="0.6", linewidth=0.8)
axes.set_xlabel("time after the event (s)")
axes.set_ylabel("BOLD response (units of the recording)")
axes.set_title("Haemodynamic responses, 3360 scans, 90 unknowns")
axes.legend(ncols=2, frameon=False)

# %%
# The noise of fMRI is not white, and every run has a drift.
# :ref:`sphx_glr_gallery_10_fmri_drifts.py` computes standard errors for such data.

# sphinx_gallery_thumbnail_number = 2
# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
