"""
An impulse response from a short, noisy record
==============================================

The effect of a decaying prior.

There are 200 samples for 70 taps, at a signal-to-noise ratio of 5. Least squares fits the noise. A
ridge shrinks all taps towards zero. "TC" assumes a response that decays. Its rate of decay is
selected from the data, by the evidence.

Run: ``python examples/07_impulse_response.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure

import convsolve as cs

RNG = np.random.default_rng(0)
SAMPLES, TAPS = 200, 70
K = np.arange(TAPS)
TRUTH = 0.9**K * np.sin(K / 3)

x = RNG.standard_normal(SAMPLES)
clean = np.convolve(x, TRUTH)[:SAMPLES]
y = clean + RNG.standard_normal(SAMPLES) * clean.std() / np.sqrt(5)
problem = cs.Problem(x, y, lags=(0, TAPS - 1))

# %%
# Five estimates
# --------------
# Each selects its strength from the data, by generalized cross-validation or by evidence.

penalties = {
    "least squares": None,
    "ridge": "ridge",
    "second differences": cs.Smooth(order=2),
    "TC": "tc",
    "SS": "ss",
}
print("Share of the true response, in per cent, and the selected penalty:\n")
fits = {}
for name, penalty in penalties.items():
    fit = fits[name] = cs.solve(problem, penalty=penalty)
    off = np.linalg.norm(fit.impulse_response - TRUTH) / np.linalg.norm(TRUTH - TRUTH.mean())
    chosen = fit.regularization or ""
    print(f"{name:20} {100 * (1 - off):5.1f}  {chosen}")

# %%
# The estimated responses and the truth, and the evidence of every strength.

figure = Figure(figsize=(7.2, 6), layout="constrained")
responses, path = figure.subplots(2)
for name, colour in (("least squares", "0.75"), ("ridge", "#E69F00"), ("TC", "#0072B2")):
    responses.plot(K, fits[name].impulse_response, color=colour, label=name)
responses.plot(K, TRUTH, "k--", linewidth=1, label="truth")
responses.set(title="Impulse response", xlabel="lag (samples)", ylabel="weight")
responses.legend(frameon=False)
chosen = fits["TC"].regularization
path.plot(chosen.path.strengths[:, 0], chosen.path.scores[:, 0], ".-", color="#0072B2")
path.axvline(chosen.strength[0], color="#D55E00", linestyle="--", linewidth=1)
freedom = path.twinx()
freedom.plot(chosen.path.strengths[:, 0], chosen.path.effective_dof[:, 0], color="0.6")
freedom.set(ylim=(0, TAPS + 2), ylabel="degrees of freedom (grey)")
path.set(title=f"Evidence of {chosen.penalty}", xlabel="strength", xscale="log")
path.set_ylabel("−2 log evidence (blue)")

# %%
# Fewer taps
# ----------
# The alternative is a shorter response. :func:`convsolve.choose_lags` scores every window of lags.

choice = cs.choose_lags(problem)
print(f"Selected: {choice}")
windows = cs.plot(choice)

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=110)
# sphinx_gallery_end_ignore
