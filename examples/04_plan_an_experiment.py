"""Before measuring: how long a recording must be, and which stimuli would do.

The response to two stimulus channels, 40 lags each, is wanted with a standard error of 0.02 a tap
where the recording has noise of deviation 1. Nothing has been measured yet: all is from x alone.

Run: python examples/04_plan_an_experiment.py
"""

import math
import textwrap

import numpy as np
from scipy.signal import butter, lfilter

import convsolve as cs

LAGS, CHANNELS, SAMPLES = 40, 2, 1000
NOISE, WANTED = 1.0, 0.02
ROW = "{:27} {:14} {:>5} {:>9} {:>11} {:>12}"


def stimuli(samples: int) -> dict[str, np.ndarray]:
    """The planned stimuli (samples, 2), all of power one."""
    rng = np.random.default_rng(4)
    t = np.arange(samples)
    noise = rng.standard_normal((samples + 10, CHANNELS))
    white = noise[10:]
    planned = {
        "a click every 25 samples": np.stack([t % 25 == 0, t % 25 == 12], axis=-1),
        "a tone a channel": np.stack([np.cos(0.3 * t), np.cos(0.7 * t)], axis=-1),
        "noise and its delayed copy": np.stack([white[:, 0], noise[:-10, 0]], axis=-1),
        "slow noise": lfilter(*butter(2, 0.2), white, axis=0),
        "clicks at random": rng.random((samples, CHANNELS)) < 1 / 25,
        "white noise": white,
    }
    return {name: x / np.sqrt(np.mean(np.square(x, dtype=float))) for name, x in planned.items()}


def reported(x: np.ndarray) -> cs.Identifiability:
    return cs.identify(cs.Problem.from_lags(x, lags=(0, LAGS - 1)))


def samples_for(report: cs.Identifiability, error: float) -> int:
    """How long a record of this kind must be: the gain falls as one over the root of its rows."""
    gain = report.noise_gain.max()
    return math.ceil(report.n_equations * (gain * NOISE / error) ** 2) + LAGS - 1


def main() -> None:
    fewest = cs.ConvSpec(LAGS).minimum_samples(CHANNELS)
    print(f"{LAGS} lags of {CHANNELS} channels take {fewest} samples at the least, whatever x is.")
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
    for name, report in reports.items():
        if not report.unique:
            print(f"\n{name}:")
            for sentence in (report.confounded[0], report.remedies[0]):
                print(textwrap.fill(sentence, 88, initial_indent="  ", subsequent_indent="  "))

    best = min(lengths, key=lengths.__getitem__)
    x = stimuli(lengths[best])[best]
    rng = np.random.default_rng(0)
    response = np.stack([np.hanning(LAGS), -np.exp(-np.arange(LAGS) / 8)], axis=-1)
    clean = sum(lfilter(response[:, c], [1.0], x[:, c]) for c in range(CHANNELS))
    y = clean + NOISE * rng.standard_normal(len(x))
    fit = cs.solve(cs.Problem.from_lags(x, y, lags=(0, LAGS - 1)))
    error = fit.impulse_response - response
    print(f"\n{best} of {len(x):,} samples, with a response that is known:")
    print(f"  standard error foretold, worst tap: {NOISE * reported(x).noise_gain.max():.4f}")
    print(f"  error measured, over all taps:      {np.sqrt(np.mean(error**2)):.4f}")


if __name__ == "__main__":
    main()
