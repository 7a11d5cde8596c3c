"""
A smooth input: every tap, a ridge, or a basis
==============================================

Raised cosines for a response to band-limited input.

The input is smooth, so neighbouring taps have nearly the same effect, and least squares amplifies
the noise. A ridge shrinks the kernel, with a strength that is selected from the data. A basis has 6
unknowns instead of 80, and needs no penalty. Its errors are conditional on the basis.

Run: ``python examples/13_bases.py [PICTURE.png]``
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

import convsolve as cs

RNG = np.random.default_rng(0)
SAMPLES, TAPS = 4000, 80
K = np.arange(TAPS)
TRUTH = K / 8 * np.exp(1 - K / 8)

x = gaussian_filter1d(RNG.standard_normal(SAMPLES), 3)
y = np.convolve(x, TRUTH)[:SAMPLES] + RNG.standard_normal(SAMPLES)

# %%
# The report
# ----------
# It lists taps that are weakly determined, and proposes a ridge and a basis.

print(cs.identify(cs.Problem(x, lags=(0, TAPS - 1))))

# %%
# Three estimates
# ---------------

every_tap = cs.Problem(x, y, lags=(0, TAPS - 1))
few = cs.Problem(x, y, lags=(0, TAPS - 1), basis=cs.RaisedCosines(6))
fits = {
    "every tap": cs.solve(every_tap),
    "ridge": cs.solve(every_tap, penalty="ridge"),
    "6 raised cosines": cs.solve(few),
}
for name, fit in fits.items():
    off = np.linalg.norm(fit.impulse_response - TRUTH) / np.linalg.norm(TRUTH)
    condition = fit.identifiability.condition_number
    print(f"{name:17} condition number {condition:8.3g}, off by {off:.2g}")

# %%
# The response in the basis, with its bands.

figure = cs.plot(fits["6 raised cosines"])
figure.axes[0].plot(K, TRUTH, "k--", linewidth=1, label="truth")
figure.axes[0].legend()

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
