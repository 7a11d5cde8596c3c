"""What x excites, beside spectra that are known."""

import numpy as np
import pytest
from scipy.signal import freqz, lfilter

import convsolve as cs
from convsolve.identifiability.excitation import excitation
from support.pictures import drawn, legend, line, noise


def test_power_is_that_of_the_filter_that_made_x():
    x = lfilter([1.0], [1.0, -0.8], noise(2**17))
    found = excitation(cs.Problem.from_lags(x, lags=(0, 39), fs=250))
    np.testing.assert_array_equal(found.frequency[[0, -1]], [0, 125])
    _, response = freqz([1.0], [1.0, -0.8], found.frequency, fs=250)
    # The power of x is Σ 0.8^(2n) = 1/(1 - 0.64).
    expected = np.abs(response) ** 2 * (1 - 0.64)
    np.testing.assert_allclose(found.power[:, 0], expected, rtol=0.25)
    np.testing.assert_allclose(found.power[1:-1].sum() * 2 + found.power[[0, -1]].sum(), 160)
    np.testing.assert_allclose(found.weakest, found.power[:, 0], rtol=1e-9)


def test_the_weakest_mixture_of_two_that_are_nearly_equal():
    """Of x and x + e/100, each at power one, the difference has power 1e-4 / 2."""
    x = noise(2**15, 2)
    x[:, 1] = x[:, 0] + 0.01 * x[:, 1]
    found = excitation(cs.Problem.from_lags(x, lags=(0, 9)))
    np.testing.assert_allclose(np.median(found.weakest), 0.5e-4, rtol=0.1)
    groups = excitation(cs.Problem.from_lags(x, lags=(0, 9), groups=2))
    assert groups.weakest.min() > 0.5  # each channel by itself


def test_a_dilated_kernel_reads_what_folds_onto_its_taps():
    """Every second sample of noise through a low-pass of half the band is white again."""
    x = noise(2**15)
    x = np.fft.irfft(np.fft.rfft(x)[: 2**13 + 1], 2**15)
    plain = excitation(cs.Problem(x, kernel_size=16))
    dilated = excitation(cs.Problem(x, kernel_size=16, dilation=2))
    assert plain.weakest.min() < 1e-6
    assert dilated.frequency[-1] == 0.25
    assert dilated.weakest.min() > 0.5


def test_a_bias_takes_the_mean_with_it():
    x = 10 + noise(2**13)
    plain, biased = (
        excitation(cs.Problem.from_lags(x, lags=(0, 9), bias=bias)) for bias in (False, True)
    )
    assert plain.power[0, 0] > 10
    assert biased.power[0, 0] < 2


def test_any_unit_of_x_gives_the_same_spectrum():
    x = noise(2000, 2)
    one, other = (
        excitation(cs.Problem.from_lags(x * unit, lags=(0, 9))) for unit in (1.0, 2.0**700)
    )
    np.testing.assert_array_equal(one.power, other.power)
    np.testing.assert_array_equal(one.weakest, other.weakest)


def test_of_few_samples_the_weakest_mixture_is_not_told():
    found = excitation(cs.Problem.from_lags(noise(300, 8), lags=(0, 9)))
    assert found.weakest is None
    assert found.power.shape == (33, 8)
    drawn(cs.Problem.from_lags(noise(300, 8), lags=(0, 9)))


def test_records_of_any_length_are_read():
    x = [noise(n, 1, seed=n) for n in (3, 70, 500)]
    found = excitation(cs.Problem.from_lags(x, lags=(0, 2)))
    assert np.isfinite(found.power).all()


def test_images_are_refused():
    with pytest.raises(ValueError, match="spectrum of x is that of a kernel along one axis"):
        cs.plot(cs.Problem(noise(9, 9), kernel_size=(2, 2)))


def test_the_picture_marks_what_is_hardly_excited():
    x = lfilter(np.hanning(21) / 10, [1.0], noise(2**14, 2), axis=0)
    problem = cs.Problem.from_lags(x, lags=(0, 39), fs=250, channels=["left", "right"])
    figure, found = drawn(problem), excitation(problem)
    axes = figure.axes[0]
    assert legend(axes) == [
        "hardly excited", "white", "channel left", "channel right", "weakest mixture of channels",
    ]  # fmt: skip
    np.testing.assert_allclose(
        line(axes, "channel right").get_ydata(), 10 * np.log10(found.power[:, 1])
    )
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in axes.patches]
    weak = found.frequency[found.weakest < 1e-4]
    assert all(any(a <= f <= b for a, b in spans) for f in weak)
    strong = found.frequency[found.weakest >= 1e-4]
    assert not any(a < f < b for a, b in spans for f in strong)


def test_many_channels_are_an_image():
    figure = drawn(cs.Problem.from_lags(noise(4000, 9), lags=(0, 9)))
    assert len(figure.axes) == 3  # and the bar of its colours
    assert figure.axes[1].get_xlabel() == "frequency (cycles a sample)"
