"""
Errors under the noise of an EEG
================================

How far a temporal response function may be off, where noise is correlated in time.

Ten minutes at 32 Hz, an envelope that is correlated in time and sixteen sensors, whose noise has
most of its power at low frequencies. Errors that take the noise for white are too large for a
single lag and several times too small for the sum over lags, the response to a lasting sound; a
warning says so. With ``noise="ar"`` every sensor has an autoregression of its own: the estimate is
better, and its errors are right.

Run: ``python examples/09_eeg_errors.py [PICTURE.png]``
"""

import warnings

import numpy as np
from matplotlib.figure import Figure
from scipy.signal import lfilter

import convsolve as cs

RNG = np.random.default_rng(9)
RATE, SECONDS, SENSORS, LAGS = 32, 600, 16, (0, 19)


def low_frequencies(samples: int, columns: int) -> np.ndarray:
    """Noise of unit deviation whose power falls as 1/f."""
    spectrum = np.fft.rfft(RNG.standard_normal((4 * samples, columns)), axis=0)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))[:, None]
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, axis=0)[:samples]
    return noise / noise.std(0)


def recording() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An envelope (time,), what the sensors record (time, sensors), and the response (lags,)."""
    samples, k = RATE * SECONDS, np.arange(LAGS[1] + 1)
    envelope = np.abs(lfilter([1], [1, -0.9], RNG.standard_normal(samples)))
    response = 0.1 * np.exp(-k / 6) * np.cos(k / 3)
    clean = np.convolve(envelope, response)[:samples, None]
    return envelope, clean + 2 * low_frequencies(samples, SENSORS), response


# %%
# Three assumptions
# -----------------
# White noise is assumed until something else is asked for; that it does not hold here is said when
# errors are first looked at.

x, y, response = recording()
problem = cs.Problem(x, y, lags=LAGS, bias=True)
fits = {noise: cs.solve(problem, noise=noise) for noise in ("white", "ar", "hac")}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    _ = fits["white"].standard_error
print(f"warning: {caught[0].message}\n")

# %%
# Errors as they are stated, beside the deviation from a response that is known here. Of sixteen
# sensors, some fifteen should hold the true sum within their interval of 95 %.

order = fits["ar"].noise.order
print(f"orders of the sensors' noise: {order.min()} to {order.max()}\n")
print(f"{'noise':8}{'error of a lag':>16}{'deviation':>11}", end="")
print(f"{'error of the sum':>18}{'deviation':>11}{'sum within 95 %':>17}")
total = np.ones((len(response), 1))
for noise, fit in fits.items():
    found = fit.impulse_response
    off, sums = found - response[:, None], found.sum(0) - response.sum()
    test = fit.test(contrast=total, value=response.sum())
    deviation = [np.sqrt(np.square(v).mean()) for v in (off, sums)]
    error = fit.standard_error.mean(), np.mean(np.abs(sums) / np.sqrt(test.statistic))
    held = f"{(test.pvalue > 0.05).sum()} of {SENSORS}"
    print(f"{noise:8}{error[0]:16.4f}{deviation[0]:11.4f}", end="")
    print(f"{error[1]:18.4f}{deviation[1]:11.4f}{held:>17}")

# %%
# The first sensor, with bands that hold all lags at once.

figure = Figure(figsize=(9, 3.6), layout="constrained")
for axes, noise in zip(figure.subplots(1, 2, sharey=True), ("white", "ar"), strict=True):
    fit = fits[noise]
    low, high = fit.confidence_band(simultaneous=True)
    band = low[:, 0], high[:, 0]
    axes.fill_between(fit.lags / RATE, *band, alpha=0.3, label="95 %, all lags at once")
    axes.plot(fit.lags / RATE, fit.impulse_response[:, 0], label="estimate")
    axes.plot(fit.lags / RATE, response, "k--", label="true response")
    axes.set(title=f'noise="{noise}"', xlabel="lag (s)")
    axes.legend(fontsize="small", frameon=False)
figure.axes[0].set_ylabel("weight")

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
