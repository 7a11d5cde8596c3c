"""
Plan an experiment before anything is measured
==============================================

The necessary length of a recording, and suitable stimuli.

The task is the response to two stimulus channels, with 40 lags each. The standard error per tap
should be 0.02 for noise of standard deviation 1. Nothing has been measured yet: all results are
from x alone.

Run: ``python examples/04_plan_an_experiment.py [PICTURE.png]``
"""

import math
import textwrap

import numpy as np
from matplotlib.figure import Figure
from scipy.signal import butter, lfilter

import convsolve as cs

LAGS, CHANNELS, SAMPLES = 40, 2, 1000
NOISE, WANTED = 1.0, 0.02
ROW = "{:27} {:14} {:>5} {:>9} {:>11} {:>12}"

# %%
# Six stimuli
# -----------
# All have the same power, but not all determine the response.


def stimuli(samples: int) -> dict[str, np.ndarray]:
    """The planned stimuli (samples, 2), all of power one."""
    rng = np.random.default_rng(4)
    t = np.arange(samples)
    noise = rng.standard_normal((samples + 10, CHANNELS))
    white = noise[10:]
    planned = {
        "a click every 25 samples": np.stack([t % 25 == 0, t % 25 == 12], axis=-1),
        "a tone per channel": np.stack([np.cos(0.3 * t), np.cos(0.7 * t)], axis=-1),
        "noise and its delayed copy": np.stack([white[:, 0], noise[:-10, 0]], axis=-1),
        "slow noise": lfilter(*butter(2, 0.2), white, axis=0),
        "clicks at random": rng.random((samples, CHANNELS)) < 1 / 25,
        "white noise": white,
    }
    return {name: x / np.sqrt(np.mean(np.square(x, dtype=float))) for name, x in planned.items()}


def reported(x: np.ndarray) -> cs.Identifiability:
    return cs.identify(cs.Problem(x, lags=(0, LAGS - 1)))


def samples_for(report: cs.Identifiability, error: float) -> int:
    """The necessary length: the gain is proportional to one over the root of the rows."""
    gain = report.noise_gain.max()
    return math.ceil(report.n_equations * (gain * NOISE / error) ** 2) + LAGS - 1


# %%
# What each stimulus determines
# -----------------------------

fewest = cs.ConvSpec(LAGS).minimum_samples(CHANNELS)
print(f"{LAGS} lags of {CHANNELS} channels need at least {fewest} samples, for any x.")
print(f"\nPlanned: {SAMPLES} samples. The last column is the length for a standard error of")
print(f"{WANTED} of the worst tap at noise {NOISE}.\n")
print(ROW.format("stimulus", "verdict", "rank", "weak taps", "noise gain", "length"))
reports = {name: reported(x) for name, x in stimuli(SAMPLES).items()}
lengths = {name: samples_for(r, WANTED) for name, r in reports.items() if r.unique}
for name, report in reports.items():
    rank, gain = f"{report.rank}/{report.n_unknowns}", f"{report.noise_gain.max():.3f}"
    length = f"{lengths[name]:,}" if name in lengths else "–"
    weak = report.weakly_determined.sum()
    print(ROW.format(name, report.verdict, rank, weak, gain, length))

# %%
# For a stimulus that is not sufficient, the report contains the cause and a suggestion.

for name, report in reports.items():
    if not report.unique:
        print(f"\n{name}:")
        for sentence in (report.collinear[0], str(report.suggestions[0])):
            print(textwrap.fill(sentence, 88, initial_indent="  ", subsequent_indent="  "))

# %%
# Clicks at regular intervals have 25 singular values above rounding error, because their period of
# 25 samples is shorter than the 40 lags.

figure = cs.plot(reports["a click every 25 samples"])

# %%
# The standard error of every tap, for stimuli that determine all taps. With slow noise, single taps
# have large errors. Clicks at random and white noise have the same errors.

gains = Figure(figsize=(7.2, 4), layout="constrained")
axes = gains.subplots()
for name, width in zip(lengths, (1.5, 5, 1.5), strict=True):
    axes.semilogy(reports[name].noise_gain[:, 0], linewidth=width, label=name)
axes.axhline(WANTED / NOISE, color="0.5", linestyle="--", label="wanted")
axes.set(title=f"{SAMPLES} samples, first channel", xlabel="lag (samples)")
axes.set_ylabel("standard error of a tap\nfor noise of standard deviation 1")
legend = axes.legend(frameon=False, loc="center")

# %%
# The measurement
# ---------------
# The best stimulus with the necessary length, and a simulated response. The errors are as
# predicted.

best = min(lengths, key=lengths.__getitem__)
x = stimuli(lengths[best])[best]
rng = np.random.default_rng(0)
response = np.stack([np.hanning(LAGS), -np.exp(-np.arange(LAGS) / 8)], axis=-1)
clean = sum(lfilter(response[:, c], [1.0], x[:, c]) for c in range(CHANNELS))
y = clean + NOISE * rng.standard_normal(len(x))
fit = cs.solve(cs.Problem(x, y, lags=(0, LAGS - 1)))
error = fit.impulse_response - response
print(f"{best} of {len(x):,} samples, with a simulated response:")
print(f"  standard error predicted, worst tap: {NOISE * reported(x).noise_gain.max():.4f}")
print(f"  error measured, over all taps:       {np.sqrt(np.mean(error**2)):.4f}")
drawn = cs.plot(fit)

# sphinx_gallery_thumbnail_number = 2
# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
