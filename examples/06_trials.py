"""
A temporal response function from trials
========================================

A ridge selected by leaving out trials, and a score that can be published.

The penalty is selected for every sensor by how well the other trials predict the trial that was
left out. The score of this selection is too good, because it was maximized. Publish the
cross-validation of the whole procedure, which selects the penalty again without each trial.

Run: ``python examples/06_trials.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure
from scipy.signal import lfilter

import convsolve as cs

RNG = np.random.default_rng(6)
TRIALS, SAMPLES, SENSORS, LAGS = 8, 640, 4, (-5, 30)

# %%
# Eight trials
# ------------
# An envelope per trial, and the noisy responses of four sensors.


def recordings() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Envelopes, recordings and the response (lags, sensors)."""
    k = np.arange(25)
    shape = np.exp(-k / 6) * np.sin(k / 2.5)
    response = np.stack([shape * gain for gain in (1.0, 0.7, -0.4, 0.2)], axis=1)
    x = [np.abs(lfilter([1], [1, -0.8], RNG.standard_normal(SAMPLES))) for _ in range(TRIALS)]
    y = []
    for envelope in x:
        clean = np.stack([np.convolve(envelope, h)[:SAMPLES] for h in response.T], axis=1)
        y.append(clean + 3 * RNG.standard_normal(clean.shape))
    return x, y, response


x, y, response = recordings()
problem = cs.Problem(x, y, lags=LAGS, edges="zeros", bias=True)
truth = np.zeros((LAGS[1] - LAGS[0] + 1, SENSORS))
truth[-LAGS[0] : -LAGS[0] + len(response)] = response
print(problem, "\n")

# %%
# Three estimates
# ---------------
# A list of trials is a list of records. No lag reads across the end of a trial, and
# :class:`convsolve.CrossValidation` leaves out one trial at a time. A penalty hardly changes the
# score, but reduces the error of the kernel, most for the sensor with the weakest response.

select = cs.CrossValidation(score="r2")
methods = {
    "least squares": {},
    "ridge, trials left out": {"penalty": "ridge", "select": select},
    "smooth, trials left out": {"penalty": cs.Smooth(order=2), "select": select},
}
fits = {}
print(f"{'':24} {'held-out R² of each sensor':28} {'kernel error of each':>28}")
for name, method in methods.items():
    fit = fits[name] = cs.solve(problem, **method)
    held_out = cs.cross_validate(problem, **method).r2.mean(0)
    error = np.linalg.norm(fit.impulse_response - truth, axis=0) / np.linalg.norm(truth, axis=0)
    print(
        f"{name:24} "
        + " ".join(f"{v:6.3f}" for v in held_out)
        + "  " + " ".join(f"{v:6.2f}" for v in error)
    )  # fmt: skip

# %%

figure = Figure(figsize=(7.2, 5), layout="constrained")
lags = fit.lags
for sensor, axes in enumerate(figure.subplots(2, 2, sharex=True).flat):
    for name, colour in zip(fits, ("0.75", "#E69F00", "#0072B2"), strict=True):
        axes.plot(lags, fits[name].impulse_response[:, sensor], color=colour, label=name)
    axes.plot(lags, truth[:, sensor], "k--", linewidth=1, label="truth")
    axes.set_title(f"sensor {sensor}, held-out R² {held_out[sensor]:.2f}")
figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
figure.supxlabel("lag (samples)")
figure.supylabel("weight")

# %%
# The selected strength
# ---------------------
# ``fit.regularization`` contains all strengths with their scores in each fold.

chosen = fit.regularization
print(chosen)
print(f"score of the selection {chosen.path.scores.max(0).mean():.4f}, ", end="")
print(f"of the whole procedure {held_out.mean():.4f}")
path = cs.plot(chosen)

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
