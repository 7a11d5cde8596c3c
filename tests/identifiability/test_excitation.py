"""The excitation of x, compared with known spectra."""

import numpy as np
import pytest
from scipy.signal import freqz, lfilter

import convsolve as cs
from convsolve.identifiability.report import excitation
from support.pictures import noise


def of(x, **about):
    return excitation(cs.Problem(x, **about))


def test_the_power_of_filtered_noise():
    x = lfilter([1.0], [1.0, -0.8], noise(2**17))
    found = of(x, lags=(0, 39), fs=250)
    np.testing.assert_array_equal(found.frequency[[0, -1]], [0, 125])
    _, response = freqz([1.0], [1.0, -0.8], found.frequency, fs=250)
    # The power of x is Σ 0.8^(2n) = 1/(1 - 0.64).
    expected = np.abs(response) ** 2 * (1 - 0.64)
    np.testing.assert_allclose(found.power[:, 0], expected, rtol=0.25)
    np.testing.assert_allclose(found.power[1:-1].sum() * 2 + found.power[[0, -1]].sum(), 160)


def test_a_dilated_kernel_reads_the_folded_spectrum():
    """Every second sample of noise through a low-pass of half the band is white again."""
    x = np.fft.irfft(np.fft.rfft(noise(2**13))[: 2**11 + 1], 2**13)
    plain = excitation(cs.Problem(x, kernel_size=16))
    dilated = excitation(cs.Problem(x, kernel_size=16, dilation=2))
    assert plain.power.min() < 1e-6
    assert dilated.frequency[-1] == 0.25
    assert dilated.power.min() > 0.5


def test_images_are_refused():
    with pytest.raises(ValueError, match="power spectrum of x is for kernels along one axis"):
        cs.plot(cs.Problem(noise(9, 9), kernel_size=(2, 2)))
