"""Six haemodynamic responses from an event-related fMRI recording, with the reference of nitime.

The recording travels with convsolve (convsolve/datasets/ORIGIN.md): 3360 scans, one every 2 s, and
the kind of event, if any, shown at each. The response to each kind over 30 s is 15 taps.

Run: python examples/02_haemodynamic_response.py [PICTURE.png]
"""

import sys

import numpy as np

import convsolve as cs
from convsolve.datasets import event_related_fmri, nitime_fir

TR = 2.0  # s


def main(picture: str | None = None) -> None:
    events, bold = event_related_fmri()
    # Before the first scan nothing was shown: zeros are what is known there, not an assumption.
    problem = cs.Problem.from_lags(events, bold, lags=(0, 14), edges="zeros")
    print(cs.identify(problem))
    fit = cs.solve(problem)
    print(f"\n{fit.stats['solver']}: {fit.status}, R² {fit.score().r2[0]:.6f}")
    responses = fit.impulse_response
    worst = np.abs(responses - nitime_fir()).max()
    print(f"largest difference from nitime's fir: {worst:.1e}\n")
    print("time of the peak and its height, by kind of event")
    for kind in range(6):
        peak = int(responses[:, kind].argmax())
        print(f"  {kind + 1}: {TR * fit.lags[peak]:4.0f} s  {responses[peak, kind]:.3f}")
    if picture is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for kind in range(6):
        axes.plot(TR * fit.lags, responses[:, kind], marker=".", label=f"event {kind + 1}")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xlabel("time after the event (s)")
    axes.set_ylabel("BOLD response (units of the recording)")
    axes.set_title("Haemodynamic responses, 3360 scans, 90 unknowns")
    axes.legend(ncols=2, frameon=False)
    figure.savefig(picture, dpi=120)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
