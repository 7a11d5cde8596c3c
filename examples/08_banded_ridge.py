"""
Two feature sets, a ridge for each
==================================

An envelope with a strong response, and sixteen bands of a spectrogram with weak responses.

A single strength is too large for the envelope or too small for the bands. A banded ridge has one
strength per set, selected by evidence.

Run: ``python examples/08_banded_ridge.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure

import convsolve as cs

RNG = np.random.default_rng(8)
RECORDS, SAMPLES, BANDS, TAPS = 6, 400, 16, 15
NAMES = ["envelope", *(f"band {band}" for band in range(1, BANDS + 1))]


def recordings() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """x: an envelope and its bands; y: two sensors; and the kernel."""
    k = np.arange(TAPS)[::-1, None, None]
    size = np.r_[1.0, np.full(BANDS, 0.1)][:, None]
    kernel = RNG.standard_normal((TAPS, 1 + BANDS, 2)) * size * 0.85**k
    x = [RNG.standard_normal((SAMPLES, 1 + BANDS)) for _ in range(RECORDS)]
    spec = cs.ConvSpec(TAPS, padding="causal")
    y = [cs.convolve(record, kernel, spec) for record in x]
    return x, [record + 2.5 * RNG.standard_normal(record.shape) for record in y], kernel


# %%
# Four records for the fit, two held out
# --------------------------------------

x, y, kernel = recordings()
problem = cs.Problem(x[:4], y[:4], lags=(0, TAPS - 1), edges="zeros", bias=True, channels=NAMES)
sets = (0,) + (1,) * BANDS
penalties = {
    "least squares": None,
    "one ridge": "ridge",
    "a ridge for each set": cs.Ridge(channel_groups=sets),
}
fits = {}
print(f"{'':22} R² of two held-out records")
for name, penalty in penalties.items():
    fit = fits[name] = cs.solve(problem, penalty=penalty)
    print(f"{name:22} " + "  ".join(f"{v:.3f}" for v in fit.score(x[4:], y[4:]).r2))
envelope, bands = fit.regularization.strength
print("\nstrengths of the envelope", envelope.round(1), "and of the bands", bands.round(1))

# %%
# The kernels of the first sensor, on one colour scale. The weights of the bands by least squares
# are twice as large as the true ones. One ridge shrinks the envelope too. With a ridge per set, the
# envelope is not shrunk.

figure = Figure(figsize=(7.2, 4.2), layout="constrained")
pictures = {"truth": kernel[::-1, :, 0]}
pictures |= {name: fit.impulse_response[:, :, 0] for name, fit in fits.items()}
limit = np.abs(kernel[:, 0, 0]).max()
grid = figure.subplots(1, 4, sharey=True)
for axes, (name, shown) in zip(grid, pictures.items(), strict=True):
    places = range(TAPS), range(BANDS + 1)
    image = axes.pcolormesh(*places, shown.T, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_title(name.capitalize(), fontsize="medium")
    axes.set_xlabel("lag (samples)")
grid[0].set_yticks(range(0, BANDS + 1, 2), NAMES[::2])
grid[0].invert_yaxis()
bar = figure.colorbar(image, ax=grid, label="weight")

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
