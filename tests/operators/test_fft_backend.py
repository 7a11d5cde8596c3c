"""The FFTs are those that `scipy.fft.set_global_backend` says, in all threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft

import convsolve as cs

CALLS: Counter[str] = Counter()


class OfNumPy:
    """numpy.fft in the place of SciPy's, and how often it is called."""

    __ua_domain__ = "numpy.scipy.fft"

    @staticmethod
    def __ua_function__(method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        CALLS[method.__name__] += 1
        given = {k: v for k, v in kwargs.items() if k in ("n", "s", "axis", "axes", "norm")}
        return getattr(np.fft, method.__name__)(*args, **given)


def test_another_backend_gives_the_same_kernel() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60_000, 3))
    w = rng.standard_normal((50, 3, 2))
    y = cs.convolve(x, w, cs.ConvSpec(50)) + rng.standard_normal((59_951, 2))
    expected = cs.solve(cs.Problem(x, y, kernel_size=50))
    scipy.fft.set_global_backend(OfNumPy)
    try:
        fit = cs.solve(cs.Problem(x, y, kernel_size=50))
    finally:
        scipy.fft.set_global_backend("scipy")
    assert CALLS["rfft"] > 2
    assert CALLS["irfft"] > 1
    np.testing.assert_allclose(fit.kernel, expected.kernel, atol=1e-13)
    assert fit.converged
