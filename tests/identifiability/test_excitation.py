"""The excitation of x, compared with known spectra."""

import numpy as np
import pytest
from scipy.signal import freqz, lfilter

import convsolve as cs
from convsolve.identifiability.excitation import excitation
from support.pictures import drawn, legend, line, noise


def of(x, **about):
    return excitation(cs.identify(cs.Problem(x, **about)))


def by_inverse(a, taps, channels, at):
    """The effective power at frequencies in cycles a tap, from the inverse of AᵀA (m, K, C)."""
    m = len(a)
    inverse = np.linalg.inv(a.reshape(m, -1).T @ a.reshape(m, -1))
    inverse = inverse.reshape(taps, channels, taps, channels)
    root = np.sqrt((a**2).mean((0, 1)))
    waves = np.exp(-2j * np.pi * at[:, None] * np.arange(taps))
    covariance = np.einsum("fk,kcld,fl->fcd", waves.conj(), inverse, waves)
    covariance = covariance * np.outer(root, root) * m / taps
    return 1 / np.linalg.eigvalsh(covariance)[:, -1]


def windows(x, taps):
    """Rows (m, K, C) of whole windows, in kernel order."""
    return np.lib.stride_tricks.sliding_window_view(x, taps, axis=0).transpose(0, 2, 1)


@pytest.mark.parametrize(("channels", "taps"), [(1, 2), (3, 1), (3, 12)])
def test_effective_power_is_that_of_the_inverse(taps, channels):
    x = lfilter([1.0], [1.0, -0.8], noise(400, channels), axis=0) @ noise(channels, channels)
    found = of(x, lags=(0, taps - 1))
    expected = by_inverse(windows(x, taps), taps, channels, found.frequency)
    np.testing.assert_allclose(found.effective, expected, rtol=1e-9)


def test_confounds_and_masked_rows_do_not_count():
    x = noise(400, 2) + np.linspace(0, 1e3, 400)[:, None]
    mask = noise(400, seed=1) > -0.5
    x[~mask] *= 100
    found = of(x, lags=(0, 4), confounds=1, mask=mask)
    a, drift = windows(x, 5)[mask[4:]], np.vander(np.arange(396.0), 2)[mask[4:]]
    flat = a.reshape(len(a), -1)
    flat = flat - drift @ np.linalg.lstsq(drift, flat)[0]
    expected = by_inverse(flat.reshape(a.shape), 5, 2, found.frequency)
    np.testing.assert_allclose(found.effective, expected, rtol=1e-6)


def test_the_power_of_filtered_noise():
    x = lfilter([1.0], [1.0, -0.8], noise(2**17))
    found = of(x, lags=(0, 39), fs=250)
    np.testing.assert_array_equal(found.frequency[[0, -1]], [0, 125])
    _, response = freqz([1.0], [1.0, -0.8], found.frequency, fs=250)
    # The power of x is Σ 0.8^(2n) = 1/(1 - 0.64).
    expected = np.abs(response) ** 2 * (1 - 0.64)
    np.testing.assert_allclose(found.power[:, 0], expected, rtol=0.25)
    np.testing.assert_allclose(found.power[1:-1].sum() * 2 + found.power[[0, -1]].sum(), 160)
    # Of a kernel as long as this both are nearly the same.
    np.testing.assert_allclose(found.effective[2:], expected[2:], rtol=0.25)


def test_a_dilated_kernel_reads_the_folded_spectrum():
    """Every second sample of noise through a low-pass of half the band is white again."""
    x = np.fft.irfft(np.fft.rfft(noise(2**13))[: 2**11 + 1], 2**13)
    plain = excitation(cs.identify(cs.Problem(x, kernel_size=16)))
    dilated = excitation(cs.identify(cs.Problem(x, kernel_size=16, dilation=2)))
    assert plain.power.min() < 1e-6
    assert plain.effective.min() < 1e-6
    assert dilated.frequency[-1] == 0.25
    assert min(dilated.power.min(), dilated.effective.min()) > 0.5


def test_deficient_data_have_no_effective_power():
    signals = np.sin(0.3 * np.arange(600)), noise(600, 1)[:, [0, 0]], noise(600, 2) * [1, 0]
    for x in signals:
        np.testing.assert_array_equal(of(x, lags=(0, 9)).effective, 0)


def test_images_are_refused():
    with pytest.raises(ValueError, match="spectrum of x is that of a kernel along one axis"):
        cs.plot(cs.Problem(noise(9, 9), kernel_size=(2, 2)))


def test_the_picture_marks_poorly_determined_frequencies():
    x = lfilter(np.hanning(21) / 10, [1.0], noise(2**14, 2), axis=0)
    problem = cs.Problem(x, lags=(0, 39), fs=250, channels=["left", "right"])
    figure, found = drawn(problem), excitation(cs.identify(problem))
    axes = figure.axes[0]
    assert legend(axes) == [
        "poorly determined", "white noise", "channel left", "channel right",
        "effective power, weakest mixture of channels",
    ]  # fmt: skip
    np.testing.assert_allclose(
        line(axes, "channel right").get_ydata(), 10 * np.log10(found.power[:, 1])
    )
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in axes.patches]
    for f, power in zip(found.frequency, found.effective):
        assert any(a <= f <= b for a, b in spans) >= (power < 1e-4)
        assert not (power >= 1e-4 and any(a < f < b for a, b in spans))
