"""F tests of lags, channels, weighted sums and coefficients, compared with dense matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

import convsolve as cs

NAMES, LAGS, FS = ["tone", "word", "scene"], np.arange(-2, 6), 50.0
SPLINES, ONE = cs.BSplines(4).functions(LAGS), np.array([[0.0, 1, 3, 2, -1, 0.5, 0, 1]]).T
# The functions (lags, n) of every channel.
FUNCTIONS = {
    "taps": [np.eye(8)] * 3,
    "basis": [SPLINES, np.eye(8), np.eye(8)],
    "one function": [ONE] * 3,
}
BASES = {"taps": None, "basis": {"tone": cs.BSplines(4)}, "one function": cs.Basis(ONE)}

RNG = np.random.default_rng(4)
X = [RNG.standard_normal((70, 3)) for _ in range(6)]
KERNEL = RNG.standard_normal((8, 3, 2)) * 0.3
# Rows x[t − lag] (n, lags, channels) whose window lies in the record.
ROWS = [np.stack([x[5 - lag : 68 - lag] for lag in LAGS], 1) for x in X]
INNER = [np.einsum("tlc,lcq->tq", a, KERNEL) + RNG.standard_normal((63, 2)) for a in ROWS]
Y = [np.pad(y, ((5, 2), (0, 0))) for y in INNER]
GIVEN: dict[str, Any] = {"tmin": -0.04, "tmax": 0.1, "fs": FS, "channels": NAMES}
FITS = {m: cs.solve(cs.Problem(X, Y, **GIVEN, bias=True, basis=b)) for m, b in BASES.items()}


def taps_of(model: str) -> np.ndarray:
    """Taps (lags · channels, coefficients) from coefficients."""
    found, place = np.zeros((8, 3, sum(f.shape[1] for f in FUNCTIONS[model]))), 0
    for c, functions in enumerate(FUNCTIONS[model]):
        found[:, c, place : place + functions.shape[1]] = functions
        place += functions.shape[1]
    return found.reshape(24, -1)


def taps(lags: Any, channels: Any) -> np.ndarray:
    """The hypothesis (q, taps): channels one by one, or their sum with weights."""
    kept = np.isin(LAGS, lags)
    if isinstance(channels, dict):
        return np.kron(np.eye(8)[kept], [channels.get(c, 0.0) for c in range(3)])
    return np.eye(24)[(kept[:, None] & np.isin(range(3), channels)).reshape(-1)]


EARLY = {"lags": (0, 2)}
# Arguments of `test`, and the lags and channels that they mean.
ASKED: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "channel": ({"channels": "tone"}, LAGS, [0]),
    "window of a channel": ({"channels": "word", **EARLY}, [0, 1, 2], [1]),
    "window of channels": ({"channels": ["scene", 0], **EARLY}, [0, 1, 2], [0, 2]),
    "seconds": ({"channels": 1, "tmin": 0.02, "tmax": 0.061}, [1, 2, 3], [1]),
    "from a time": ({"channels": 0, "tmin": -0.02}, LAGS[1:], [0]),
    "beyond the kernel": ({"lags": (4, 90)}, [4, 5], [0, 1, 2]),
    "one lag": ({"channels": {"tone": 1}, "lags": (3, 3)}, [3], {0: 1}),
    "difference in a window": (
        {"channels": {"word": -1, "tone": 1}, "tmin": 0, "tmax": 0.04}, [0, 1, 2], {0: 1, 1: -1}
    ),
    "difference": ({"channels": {"tone": 1, "word": -1}}, LAGS, {0: 1, 1: -1}),
    "weights by number": (
        {"channels": {0: 0.5, np.int64(1): 0.5, "scene": -1}, "lags": (0, 3)},
        [0, 1, 2, 3], {0: 0.5, 1: 0.5, 2: -1},
    ),
}  # fmt: skip


def weights(*rows: dict[int, float]) -> np.ndarray:
    """Rows (q, 20) with weights of some coefficients."""
    return np.array([[row.get(i, 0.0) for i in range(20)] for row in rows])


SHAPE, ALL, PAIR = SPLINES @ np.arange(1, 5.0), taps(LAGS, [0]), taps([0, 2], [0])
TOTAL, T, SIZES = ALL.sum(0)[None], taps_of("basis"), 2.0 ** np.arange(8)[:, None]
# Model, arguments of `test`, rows over coefficients, and the value.
TESTS: dict[str, tuple[str, dict[str, Any], np.ndarray, Any]] = {
    "a shape": ("basis", {"channels": "tone", "value": SHAPE}, ALL @ T, SHAPE),
    "sizes of a shape": (
        "basis", {"contrast": (ALL * SIZES).reshape(8, 8, 3), "value": SHAPE * SIZES[:, 0]},
        ALL * SIZES @ T, SHAPE * SIZES[:, 0],
    ),
    "a sum": ("basis", {"contrast": TOTAL.reshape(8, 3), "value": 1.5}, TOTAL @ T, 1.5),
    "sizes": ("basis", {"contrast": (PAIR * [[1e-9], [1.0]]).reshape(2, 8, 3)}, PAIR @ T, 0),
    "a tap": ("basis", {"channels": "word lag 3"}, weights({9: 1}), 0),
    "two": ("basis", {"channels": {"tone[1]": 1, "tone[3]": -1}}, weights({1: 1, 3: -1}), 0),
    "over channels": (
        "basis", {"channels": {"word lag 0": 0.5, "tone[0]": 2}, "value": 1.0},
        weights({6: 0.5, 0: 2}), 1.0,
    ),
    "several": (
        "basis", {"channels": ["word lag 5", "tone[3]"], "value": [0.1, 0.4]},
        weights({11: 1}, {3: 1}), [0.1, 0.4],
    ),
    "all": ("basis", {"channels": [f"tone[{i}]" for i in range(4)]}, np.eye(20)[:4], 0),
    # A channel with one function is tested by its coefficient, in any window.
    "one function": ("one function", {"channels": "word"}, np.array([[0, 1.0, 0]]), 0),
    "two functions": (
        "one function", {"channels": {"word": 1, "tone": 0.5}, **EARLY}, np.array([[0.5, 1, 0]]), 0
    ),
}  # fmt: skip
for _name, (_given, *_meant) in ASKED.items():
    _rows = taps(*_meant)
    _ramp = np.linspace(-0.2, 0.2, len(_rows))
    TESTS[_name] = "taps", _given, _rows @ taps_of("taps"), 0
    TESTS[f"{_name}, value"] = "taps", _given | {"value": _ramp}, _rows @ taps_of("taps"), _ramp
    TESTS[f"{_name}, basis"] = "basis", _given, _rows @ T, 0


@pytest.mark.parametrize("name", TESTS)
def test_tests_are_dense_f_tests(name: str) -> None:
    """In a basis, sums of taps have the rank of their sums of coefficients."""
    model, arguments, rows, value = TESTS[name]
    a = np.concatenate(ROWS).reshape(-1, 24) @ taps_of(model)
    a, y, p = np.column_stack([a, np.ones(len(a))]), np.concatenate(INNER), rows.shape[1]
    z, inverse, dof = np.linalg.lstsq(a, y)[0], np.linalg.inv(a.T @ a)[:p, :p], len(a) - p - 1
    variance, covariance = np.square(y - a @ z).sum(0) / dof, rows @ inverse @ rows.T
    sums, rank = rows @ z[:p], np.linalg.matrix_rank(rows)
    off = sums - np.broadcast_to(value, len(rows))[:, None]
    wald = np.einsum("iq,iq->q", off, np.linalg.pinv(covariance, 1e-10) @ off) / variance
    found = FITS[model].test(**arguments)
    np.testing.assert_allclose(found.statistic, wald / rank, rtol=1e-13)
    assert found.dof[0] == rank
    np.testing.assert_allclose(found.dof[1], dof)
    np.testing.assert_allclose(
        found.pvalue, scipy.stats.f.sf(wald / rank, rank, dof), rtol=1e-10, atol=1e-290
    )
    np.testing.assert_allclose(found.partial_r2, wald / (wald + dof), rtol=1e-12)
    estimate, error = sums[0], np.sqrt(covariance[0, 0] * variance)
    single = 1.0 if len(rows) == 1 else np.nan
    np.testing.assert_allclose(found.estimate, single * estimate, rtol=1e-13)
    np.testing.assert_allclose(found.standard_error, single * error, rtol=1e-13)


@pytest.mark.filterwarnings("ignore:the test of . sums")
@pytest.mark.parametrize(
    ("method", "asked"),
    [({"noise": "ar"}, "window of channels"), ({"loss": "huber"}, "difference in a window")],
)
def test_windows_and_channels_are_contrasts(method: dict[str, Any], asked: str) -> None:
    """For other noise and losses, and with rows that differ between outputs."""
    arguments, *meant = ASKED[asked]
    flags = [np.ones((70, 2), bool) for _ in X]
    flags[1][:20, 0] = False
    fit = cs.solve(cs.Problem(X, Y, **GIVEN, mask=flags), **method)
    rows = taps(*meant).reshape(-1, 8, 3)
    found, wanted = fit.test(**arguments, value=0.1), fit.test(contrast=rows, value=0.1)
    for name in ("statistic", "pvalue", "partial_r2"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_array_equal(found.dof[1], wanted.dof[1])


def test_channels_of_a_group_are_tested_in_its_outputs() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((90, 4)), rng.standard_normal((90, 6))
    for basis, tested in ((None, {"c": 1, 3: -2.5}), (cs.BSplines(4), "c[2]")):
        given: dict[str, Any] = {"lags": (0, 5), "basis": basis}
        fit = cs.solve(cs.Problem(x, y, **given, groups=2, channels=[*"abcd"]))
        alone = cs.solve(cs.Problem(x[:, 2:], y[:, 3:], **given, channels=[*"cd"]))
        wanted = alone.test({"c": 1, "d": -2.5} if basis is None else tested).statistic
        found = fit.test(tested).statistic
        np.testing.assert_allclose(found, np.r_[np.full(3, np.nan), wanted], rtol=1e-10)
        with pytest.raises(ValueError, match="channels of one group"):
            fit.test({"b": 1, "c": -1} if basis is None else {"b[1]": 1, "c[1]": -1})


def test_windows_with_a_dilation_and_sums_of_channels_in_images() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((2, 80))
    fit = cs.solve(cs.Problem(x, y[:68], kernel_size=4, dilation=4))
    found, rows = fit.test(lags=(-9, -1)), np.eye(4)[1:3]
    np.testing.assert_array_equal(found.statistic, fit.test(contrast=rows).statistic)
    with pytest.raises(ValueError, match="no lag of the kernel"):
        fit.test(lags=(-3, -1))
    with pytest.raises(TypeError, match=r"lags in seconds need tmax= and fs="):
        fit.test(tmin=0, tmax=0.1)
    # Sums of channels are tested at every tap of an image.
    image = rng.standard_normal((12, 12, 2))
    fit = cs.solve(cs.Problem(image, rng.standard_normal((11, 10, 1)), kernel_size=(2, 3)))
    found = fit.test({0: 1, 1: -1})
    rows = np.kron(np.eye(6), [1, -1]).reshape(6, 2, 3, 2)
    np.testing.assert_array_equal(found.statistic, fit.test(contrast=rows).statistic)
    with pytest.raises(TypeError, match="a window needs one axis"):
        fit.test(0, lags=(0, 1))


def test_coefficients_that_a_dependent_basis_does_not_determine_are_refused() -> None:
    basis = cs.Basis(np.eye(4)[:, [0, 1, 0]])
    fit = cs.solve(cs.Problem(X[0], Y[0], lags=(0, 3), basis=basis))
    for name in ("0[0]", "1[2]"):
        with pytest.raises(ValueError, match="are not coefficients that the basis determines"):
            fit.test(name)
    t = fit.coefficients[1] / fit.coefficient_error[1]
    np.testing.assert_allclose(fit.test("0[1]").statistic, t**2, rtol=1e-10)


NONE, OFF = "sums of taps with weights", np.arange(8) % 2
REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"channels": "tree"}, ValueError, "there is no channel 'tree'"),
    ({"channels": {"tone": 1, 0: -1}}, ValueError, NONE),
    ({"channels": []}, ValueError, NONE),
    ({"lags": (6, 9)}, ValueError, "no lag of the kernel"),
    ({"tmin": "0", "tmax": 0.1}, TypeError, "tmin must be a number, got '0'"),
    ({"tmin": 0, **EARLY}, TypeError, "lags= in samples or tmin= and tmax="),
    ({"lags": (3, 1)}, ValueError, "the first lag must not exceed the last"),
    ({"contrast": np.ones((8, 3)), **EARLY}, TypeError, "or contrast= alone"),
    ({}, TypeError, "test needs channels= or a window"),
    ({"channels": {1: 1}, **EARLY, "value": [1, 2]}, ValueError, r"value has shape \(2,\)"),
    ({"channels": "tone", "value": SHAPE + 1e-8 * OFF}, ValueError, "no kernel of the basis"),
    ({"channels": ["tone[0]", "word"]}, ValueError, "are not coefficients"),
    ({"channels": "tone[4]"}, ValueError, r"there is no channel 'tone\[4\]'"),
    ({"channels": {"tone[0]": 0}}, ValueError, NONE),
    ({"channels": "tone[0]", **EARLY}, ValueError, "there is no channel"),
    ({"channels": "tone - "}, ValueError, "no channel or coefficient: .*with spaces"),
    ({"channels": "tone", "alternative": "less"}, ValueError, "needs a test of one number"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), REFUSED, ids=lambda v: str(v)[:50])
def test_refused_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        FITS["basis"].test(**arguments)


def test_sums_in_words_and_one_sided_tests() -> None:
    """Student's t of one number, with SciPy's probabilities; several numbers have one F."""
    fit, weights = FITS["one function"], {"scene": -1, "tone": 2, "word": -1}
    found = fit.test("- scene + 2 tone - 0.5*word - 0.5 word")
    np.testing.assert_array_equal(found.statistic, fit.test(weights).statistic)
    np.testing.assert_allclose(found.t * found.standard_error, found.estimate)
    law = scipy.stats.t(found.dof[1])
    for alternative, p in (("greater", law.sf(found.t)), ("less", law.cdf(found.t))):
        one_sided = fit.test(weights, alternative=alternative)
        np.testing.assert_allclose(one_sided.pvalue, p, rtol=1e-10)
    assert FITS["taps"].test("tone - word").dof[0] == 8
