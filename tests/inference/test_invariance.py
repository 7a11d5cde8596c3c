"""Units, precision and outputs that are solved together, in one table for all methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support.coverage import red
from support.ordering import errors_of

LENGTHS, TAPS = (90, 60, 60), 4
METHODS: dict[str, dict[str, Any]] = {
    "white": {},
    "ar": {"noise": "ar"},
    "hac": {"noise": "hac"},
    "cluster": {"noise": "cluster"},
    "huber": {"loss": "huber"},
    "absolute": {"loss": "absolute"},
    "lasso": {"penalty": "lasso", "select": "bic"},
    "ridge": {"penalty": "ridge"},
    "early stopping": {"penalty": "early_stopping"},
    "first differences": {"penalty": "smooth", "select": "cv"},
}
every_method = pytest.mark.parametrize("name", METHODS)
pytestmark = [
    pytest.mark.filterwarnings("ignore:the residuals of output"),
    pytest.mark.filterwarnings("ignore:the test of 1 sum of taps under"),
]


def records() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Four channels, and four outputs with correlated noise; two groups."""
    rng = np.random.default_rng(3)
    x = [red(rng, n + TAPS - 1, 4) + 2 for n in LENGTHS]
    w = rng.standard_normal((TAPS, 2, 4))
    y = [cs.convolve(a, w, cs.ConvSpec(TAPS, groups=2)) for a in x]
    return x, [b + red(rng, len(b), 4, 0.8) + 5 for b in y]


def solved(x: list, y: list, name: str, groups: int = 2) -> cs.Solution:
    problem = cs.Problem(x, y, kernel_size=TAPS, groups=groups, bias=True)
    return cs.solve(problem, **METHODS[name])


def results(fit: cs.Solution, name: str) -> dict[str, np.ndarray]:
    """The kernel and the bias, and the standard errors and an F test where there are some."""
    found = {"kernel": fit.kernel, "bias": fit.bias}
    if name not in ("absolute", "lasso"):
        found["errors"] = errors_of(fit)
    if name in ("white", "ar", "hac", "cluster", "huber"):
        test = fit.test(contrast=np.ones((TAPS, 2)))
        found |= {"statistic": test.statistic, "dof": test.dof[1]}
    return found


def assert_close(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for key, value in wanted.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[key], value, rtol=1e-7, atol=1e-9 * scale, err_msg=key)


@pytest.mark.parametrize(("x_unit", "y_unit"), [(1e-60, 1e40), (1e60, 1e-60)])
@every_method
def test_results_have_the_units_of_the_data(name: str, x_unit: float, y_unit: float) -> None:
    x, y = records()
    found = results(solved([a * x_unit for a in x], [b * y_unit for b in y], name), name)
    units = {"kernel": y_unit / x_unit, "errors": y_unit / x_unit, "bias": y_unit}
    scaled = {key: value / units.get(key, 1.0) for key, value in found.items()}
    assert_close(scaled, results(solved(x, y, name), name))


@every_method
def test_float32_data_have_the_float64_solution_rounded(name: str) -> None:
    single = [[a.astype(np.float32) for a in several] for several in records()]
    fit = solved(*single, name)
    exact = solved(*([a.astype(float) for a in several] for several in single), name)
    assert fit.kernel.dtype == np.float32
    np.testing.assert_allclose(fit.kernel, exact.kernel, rtol=2**-23)


# Early stopping has one rate for all groups.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "early stopping"])
def test_outputs_do_not_depend_on_each_other_nor_on_the_order_of_records(name: str) -> None:
    """Only a test of a sum with "hac" depends on the order of the records."""
    x, y = records()
    whole, step = results(solved(x, y, name), name), 1 if name == "hac" else -1
    for output in range(4):
        own = slice(output // 2 * 2, output // 2 * 2 + 2)
        parts = [a[:, own] for a in x[::step]], [b[:, [output]] for b in y[::step]]
        alone = results(solved(*parts, name, groups=1), name)
        assert_close({key: value[..., [output]] for key, value in whole.items()}, alone)
