"""
Haemodynamic responses from an fMRI recording
=============================================

Six responses from an event-related recording, beside those that nitime finds in it.

The recording travels with convsolve: 3360 scans, one every 2 s, and the kind of event, if any,
shown at each. The response to each kind over 30 s is 15 taps, so that 90 numbers are looked for.

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
# Events are impulses: one channel for each kind, 1 where it was shown. With the sampling rate
# given, lags are asked for in seconds, and everything that follows speaks of seconds. Before the
# first scan nothing was shown: zeros are what is known there, not an assumption.

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
# Every tap of every kind is determined, and with much the same error: the gain below is the
# standard error for noise of deviation 1.

known = cs.plot(report)

# %%
# The answer
# ----------
# The condition is low: kinds of events follow each other at random, and no response can stand in
# for another. The kernel is that of nitime's own analysis, to rounding.

fit = cs.solve(problem)
print(f"{fit.stats['solver']}: {fit.status}, R² {fit.score().r2[0]:.6f}")
responses = fit.impulse_response
worst = np.abs(responses - nitime_fir()).max()
print(f"largest difference from nitime's fir: {worst:.1e}\n")
print("time of the peak and its height, by kind of event")
for kind in range(6):
    peak = int(responses[:, kind].argmax())
    print(f"  {kind + 1}: {fit.times[peak]:4.0f} s  {responses[peak, kind]:.3f}")

# %%
# All six rise within 6 s and fall below the baseline after 12.

figure = Figure(figsize=(8, 4.2), layout="constrained")
axes = figure.subplots()
for kind in range(6):
    axes.plot(fit.times, responses[:, kind], marker=".", label=f"event {kind + 1}")
axes.axhline(0, color="0.6", linewidth=0.8)
axes.set_xlabel("time after the event (s)")
axes.set_ylabel("BOLD response (units of the recording)")
axes.set_title("Haemodynamic responses, 3360 scans, 90 unknowns")
axes.legend(ncols=2, frameon=False)

# %%
# How far they may be off, where the noise of fMRI is not white and every run drifts, is the matter
# of :ref:`sphx_glr_gallery_10_fmri_drifts.py`.

# sphinx_gallery_thumbnail_number = 2
# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
