"""Splines of a property of events compared with those of patsy."""

from __future__ import annotations

import numpy as np
import pytest

from convsolve.interop.events import Spline, impulses

patsy = pytest.importorskip("patsy")

pytestmark = pytest.mark.slow

AMPLITUDE = np.random.default_rng(0).gamma(2, size=80)
TABLE = {"onset": np.arange(80.0), "amplitude": AMPLITUDE}


@pytest.mark.parametrize(("n", "degree"), [(4, 3), (7, 3), (5, 2), (6, 1)])
def test_splines_are_those_of_patsy(n: int, degree: int) -> None:
    data = {"a": AMPLITUDE}
    call = f"bs(a, df={n}, degree={degree}, include_intercept=True)"
    theirs = np.asarray(patsy.dmatrix(f"{call} - 1", data))
    spline = Spline("amplitude", n, degree=degree)
    np.testing.assert_allclose(spline.functions(AMPLITUDE), theirs, atol=1e-14)
    # Without the intercept, patsy excludes the first function, too.
    for centre, formula in ((False, f"bs(a, df={n - 1}, degree={degree})"), (True, "center(a)")):
        modulator = "amplitude" if centre else spline
        given = {"modulators": modulator, "centre": centre}
        x, _ = impulses(TABLE, fs=1, samples=80, column=None, **given)
        np.testing.assert_allclose(x, np.asarray(patsy.dmatrix(formula, data)), atol=1e-14)
