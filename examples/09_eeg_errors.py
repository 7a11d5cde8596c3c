"""
Standard errors for EEG noise
=============================

Standard errors of a temporal response function when the noise is correlated in time.

The data are ten minutes at 32 Hz, an envelope that is correlated in time, and sixteen sensors. Most
of the noise has low frequencies. Errors for white noise are too large for a single lag. They are
several times too small for the sum over lags, which is the response to a long sound, and a warning
is issued. With ``noise="ar"``, every sensor has its own autoregression. The estimate and its errors
are better.

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
    """Noise of standard deviation one, with a power spectrum of 1/f."""
    spectrum = np.fft.rfft(RNG.standard_normal((4 * samples, columns)), axis=0)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))[:, None]
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, axis=0)[:samples]
    return noise / noise.std(0)


def recording() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An envelope (time,), the recording (time, sensors), and the response (lags,)."""
    samples, k = RATE * SECONDS, np.arange(LAGS[1] + 1)
    envelope = np.abs(lfilter([1], [1, -0.9], RNG.standard_normal(samples)))
    response = 0.1 * np.exp(-k / 6) * np.cos(k / 3)
    clean = np.convolve(envelope, response)[:samples, None]
    return envelope, clean + 2 * low_frequencies(samples, SENSORS), response


# %%
# Three assumptions
# -----------------
# White noise is the default. A warning is issued when the errors are requested, because the
# residuals are correlated in time.

x, y, response = recording()
problem = cs.Problem(x, y, lags=LAGS, bias=True)
fits = {noise: cs.solve(problem, noise=noise) for noise in ("white", "ar", "hac")}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    _ = fits["white"].standard_error
print(f"warning: {caught[0].message}\n")

# %%
# Standard errors, compared with the actual error of the estimate. The 95 % interval of the sum
# should contain the true sum for about fifteen of sixteen sensors.

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
    error = fit.standard_error.mean(), test.standard_error.mean()
    held = f"{(test.pvalue > 0.05).sum()} of {SENSORS}"
    print(f"{noise:8}{error[0]:16.4f}{deviation[0]:11.4f}", end="")
    print(f"{error[1]:18.4f}{deviation[1]:11.4f}{held:>17}")

# %%
# The first sensor, with simultaneous bands over all lags.

figure = Figure(figsize=(7.2, 3.4), layout="constrained")
for axes, noise in zip(figure.subplots(1, 2, sharey=True), ("white", "ar"), strict=True):
    fit = fits[noise]
    low, high = fit.confidence_band(simultaneous=True)
    band, milliseconds = (low[:, 0], high[:, 0]), 1000 * fit.lags / RATE
    axes.fill_between(milliseconds, *band, alpha=0.3, label="simultaneous 95 % band")
    axes.plot(milliseconds, fit.impulse_response[:, 0], label="estimate")
    axes.plot(milliseconds, response, "k--", label="true response")
    axes.set(title=f'noise="{noise}"', xlabel="lag (ms)")
    axes.legend(fontsize="small", frameon=False)
figure.axes[0].set_ylabel("weight")

# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
