"""Names of channels and outputs, and lags in seconds: in problems, texts, files and tables."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import convsolve as cs
from support.ordering import errors_of

RNG = np.random.default_rng(0)
CHANNELS, OUTPUTS = ["Fz", "Cz", "Pz"], ["left", "right"]
X = RNG.standard_normal((600, 3))
KERNEL = RNG.standard_normal((5, 3, 2))
Y = cs.convolve(X, KERNEL, cs.ConvSpec(5, padding="causal")) + 0.1 * RNG.standard_normal((600, 2))
NAMED: dict[str, Any] = {"fs": 100, "channels": CHANNELS, "outputs": OUTPUTS}
COPY = np.stack([X[:, 0], X[:, 0], X[:, 2]], axis=1)


def stated(x: Any = X, y: Any = Y, **given: Any) -> cs.Problem:
    return cs.Problem(x, y, **{"lags": (0, 4), **NAMED, **given})


# --- lags in seconds


def test_seconds_are_rounded_to_samples_as_in_mne() -> None:
    for tmin, tmax, fs in ((-0.1, 0.4, 64), (0.0, 0.7, 44_100), (-0.25, 0.25, 2), (0.1, 0.1, 7.3)):
        x = RNG.standard_normal(int(2 * fs) + 50)
        problem = cs.Problem(x, fs=fs, tmin=tmin, tmax=tmax, edges="zeros")
        # mne.decoding.receptive_field._times_to_delays
        wanted = np.arange(int(np.round(tmin * fs)), int(np.round(tmax * fs) + 1))
        np.testing.assert_array_equal(problem._lags[0][::-1], wanted)
    fit = cs.solve(stated(lags=(-2, 4), fs=250))
    np.testing.assert_array_equal(fit.times, np.arange(-2, 5) / 250)
    chosen = cs.choose_lags(stated(lags=(0, 9)))
    assert chosen.lags == (0, 4)
    assert (chosen.problem.channels, chosen.problem.outputs) == (CHANNELS, OUTPUTS)


# --- names in texts


def test_texts_have_names() -> None:
    few = {"y": Y[:, 0], "outputs": ["left"]}
    for problem, words in (
        (stated(**few), r"^lag \(ms\) +Fz +Cz +Pz$"),
        (stated(lags=(0, 19)), r"^right .* \d+, (Fz|Cz|Pz)$"),
    ):
        text = str(cs.solve(problem))
        assert re.search(words, text, re.MULTILINE)
        assert not re.search(r"(channel|output) \d", text)
    assert "leave out channel Cz" in " ".join(str(cs.identify(stated(COPY, None))).split())


def test_columns_of_a_mask_in_another_order_than_those_of_y_are_refused() -> None:
    y = pd.DataFrame(Y, columns=list("wxyz")[: Y.shape[1]])
    mask = y > 0
    cs.Problem(X, y, lags=(0, 1), mask=mask)
    with pytest.raises(ValueError, match="give them in the order of y"):
        cs.Problem(X, y, lags=(0, 1), mask=mask[mask.columns[::-1]])


def test_outputs_of_a_mask_keep_their_names_and_numbers() -> None:
    mask = np.ones(Y.shape, bool)
    mask[:100, 1] = False
    for names, word in ((OUTPUTS, "right"), (None, "number 1")):
        with pytest.warns(cs.IdentifiabilityWarning) as warned:
            cs.solve(stated(COPY, mask=mask, outputs=names))
        assert str(warned[1].message).startswith(f"output {word}: rank-deficient")


def test_tests_and_covariances_accept_names() -> None:
    fit = cs.solve(stated())
    np.testing.assert_array_equal(fit.test("Cz").statistic, fit.test(1).statistic)
    np.testing.assert_array_equal(fit.test(["Cz", "Pz"]).pvalue, fit.test([1, 2]).pvalue)
    np.testing.assert_array_equal(fit.covariance("right"), fit.covariance(1))
    assert fit.test("Cz").outputs == tuple(OUTPUTS)
    with pytest.raises(ValueError, match="there is no channel 'Oz': there are Fz, Cz, Pz"):
        fit.test("Oz")
    with pytest.raises(ValueError, match=r"no output 'left': there are only numbers from 0"):
        cs.solve(stated(outputs=None)).covariance("left")


# --- names from tables


def test_names_of_data_frames() -> None:
    x, y = pd.DataFrame(X, columns=CHANNELS), pd.DataFrame(Y, columns=OUTPUTS)
    problem = cs.Problem(x, y, lags=(0, 4))
    assert (problem.channels, problem.outputs) == (CHANNELS, OUTPUTS)
    fit = cs.solve(problem)
    np.testing.assert_array_equal(fit.kernel, cs.solve(stated()).kernel)
    np.testing.assert_array_equal(fit.predict(x, edges="zeros"), fit.predict(X, edges="zeros"))
    with pytest.raises(ValueError, match=r"the kernel is that of \('Fz', 'Cz', 'Pz'\)"):
        fit.predict(x[["Cz", "Fz", "Pz"]])
    for call in (fit.score, fit.residuals):
        with pytest.raises(ValueError, match=r"y has outputs .*'right', 'left'.* the kernel"):
            call(x, y[["right", "left"]])
    own = cs.Problem(x, y, lags=(0, 4), channels=["a", "b", "c"])
    assert own.channels == ["a", "b", "c"]
    assert cs.Problem(pd.DataFrame(X), y, lags=(0, 4)).channels == [0, 1, 2]


def test_names_of_xarrays() -> None:
    x = xr.DataArray(X, dims=("time", "channel"), coords={"channel": CHANNELS})
    y = xr.DataArray(Y, dims=("time", "sensor"), coords={"sensor": [3, 4]})
    problem = cs.Problem(x, y, lags=(0, 4))
    assert (problem.channels, problem.outputs) == (CHANNELS, [0, 1])
    kernel = cs.solve(problem).kernel
    np.testing.assert_array_equal(kernel, cs.solve(stated()).kernel)
    chunked = cs.Problem(x.chunk(time=100), y.chunk(time=100), lags=(0, 4))
    assert (chunked.channels, "dask" in str(type(chunked.x[0].source))) == (CHANNELS, True)
    np.testing.assert_allclose(cs.solve(chunked).kernel, kernel, rtol=1e-12)


# --- names in files and tables


def test_names_are_saved(tmp_path: Any) -> None:
    fit = cs.solve(stated())
    fit.save(tmp_path / "fit.npz")
    again = cs.load(tmp_path / "fit.npz")
    assert (again.channels, again.outputs) == (CHANNELS, OUTPUTS)
    unnamed = cs.solve(stated(fs=None, channels=None, outputs=None))
    assert (unnamed.channels, unnamed.outputs) == ([0, 1, 2], [0, 1])
    np.testing.assert_array_equal(again.times, fit.times)
    assert again.predict(X[:50], edges="zeros").shape == Y[:50].shape


@pytest.mark.parametrize(("groups", "named"), [(1, False), (2, True)])
def test_tables_hold_every_tap(groups: int, named: bool) -> None:
    x, y = RNG.standard_normal((300, 4)), RNG.standard_normal((300, 4))
    names: dict[str, Any] = {"fs": 50, "channels": [*"abcd"], "outputs": [*"wxyz"]} if named else {}
    fit = cs.solve(cs.Problem(x, y, lags=(-1, 2), groups=groups, **names))
    table, dataset = fit.to_dataframe(), fit.to_xarray()
    assert len(table) == fit.kernel.size
    for (lag, channel, output), row in zip(
        table[["lag", "channel", "output"]].to_numpy().tolist(), table.itertuples(), strict=True
    ):
        k = np.flatnonzero(fit._model.lags[0] == lag)[0]
        c, o = ("abcd".index(channel), "wxyz".index(output)) if named else (channel, output)
        within = c % (4 // groups)
        assert c // (4 // groups) == o // (4 // groups) or groups == 1
        assert row.weight == fit.kernel[k, within, o]
        assert row.standard_error == errors_of(fit)[k, within, o]
        inner = channel if groups == 1 else within
        assert dataset.weight.sel(lag=lag, channel=inner, output=output) == row.weight
        assert not named or row.time == lag / 50
    np.testing.assert_array_equal(dataset.bias, fit.bias)
    assert "coefficients" not in dataset
    assert ("time" in dataset.coords) == named
    if groups == 2:
        assert dataset.first_channel.values.tolist() == ([*"aacc"] if named else [0, 0, 2, 2])


def test_tables_of_a_basis_have_coefficients_and_no_rows_outside_windows() -> None:
    x, noise = RNG.standard_normal((300, 2)), RNG.standard_normal((300, 1))
    given = {"lags": {"a": (0, 9), "b": (-2, 3)}, "basis": {"a": cs.BSplines(5)}}
    problem = cs.Problem(x, x[:, :1] + noise, **given, channels=["a", "b"], outputs=["w"])
    fit = cs.solve(problem)
    table, dataset, found = fit.to_dataframe(), fit.to_xarray(), fit.to_dict()
    assert [*zip(table.channel, table.lag, strict=True)] == [
        *(("a", lag) for lag in range(10)), *(("b", lag) for lag in range(-2, 4)),
    ]  # fmt: skip
    assert table.standard_error.notna().all()
    assert dataset.coefficient.values.tolist() == problem.coefficient_names
    assert found["coefficient_names"] == problem.coefficient_names
    for name in ("coefficients", "coefficient_error"):
        np.testing.assert_array_equal(dataset[name], getattr(fit, name))
        np.testing.assert_array_equal(found[name], getattr(fit, name))
