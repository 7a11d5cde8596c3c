"""Records that are not in memory: their slices, and sources that are refused or fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array
import h5py
import numpy as np
import pytest
import scipy.sparse
import zarr

import convsolve as cs
from support.stored import DASK, FILES, SMALL, STORES, Failing, Slices, stored

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((300, 2)), RNG.standard_normal((296, 2))


@pytest.fixture(autouse=True)
def _synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def spoilt(array: np.ndarray, value: float, *place: int) -> np.ndarray:
    found = array.copy()
    found[place] = value
    return found


# --- numbers that are not finite


BAD: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "record": (lambda a: spoilt(a, np.nan, 299, 1), r"NaN at index \(299, 1\)"),
    "channel": (lambda a: spoilt(a, -np.inf, 299, 1)[:, 1], r"Inf at index \(299,\)"),
    "list": (lambda a: [a, spoilt(a, np.inf, 299, 0)], r"^x\[1\] has Inf at index \(299, 0\)"),
    "batch": (
        lambda a: np.stack([a, spoilt(a, np.nan, 298, 1)]), r"NaN at index \(1, 298, 1\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "form"), [*zip([*FILES], BAD), *(("dask, small chunks", form) for form in BAD)]
)
def test_the_first_value_that_is_not_finite_is_found(kind: str, form: str, tmp_path: Path) -> None:
    make, words = BAD[form]
    x = stored(make(X), STORES[kind], tmp_path)
    for given in ({"kernel_size": 5}, {"lags": (40, 44), "edges": "circular"}):
        with pytest.raises(ValueError, match=words):
            cs.Problem(x, **given)


# --- kinds and shapes


def test_kinds_that_are_refused(tmp_path: Path) -> None:
    for kind, store in STORES.items():
        with pytest.raises(
            TypeError, match=r"^x must hold plain real numbers, got .* of complex128"
        ):
            cs.Problem(store(X + 1j, tmp_path), kernel_size=5)
        if kind in ("slices", *DASK):
            with pytest.raises(TypeError, match=r"got .* of object"):
                cs.Problem(store(X.astype(object), tmp_path), kernel_size=5)


def test_containers_and_dask_of_unknown_size_or_masked_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X)
    file, group = h5py.File(tmp_path / "data.h5", "w"), zarr.open_group(tmp_path / "data.zarr")
    file["x"] = X
    group.create_array("x", data=X)
    for value in (file, np.load(tmp_path / "data.npz"), group):
        with pytest.raises(TypeError, match=r"^x must hold plain real numbers"):
            cs.Problem(value, kernel_size=5)
    with pytest.raises(TypeError, match=r"^y must hold plain real numbers"):
        cs.Problem(X, scipy.sparse.coo_matrix(Y), kernel_size=5)
    x = dask.array.from_array(X, chunks=(50, 2))
    with pytest.raises(ValueError, match=r"chunks of unknown size, .*"):
        cs.Problem(x[x[:, 0] > 0], kernel_size=5)
    with pytest.raises(TypeError, match="must hold plain real numbers"):
        cs.Problem(dask.array.ma.masked_greater(x, 1.0), kernel_size=5)


def test_masks_weights_and_confounds_may_be_stored_too(tmp_path: Path) -> None:
    beside = {"mask": Y[:, 0] > -1, "weights": Y[:, 0] ** 2, "confounds": Y[:, :1] ** 2}
    plain = cs.solve(cs.Problem(X, Y, kernel_size=5, **beside))
    for store in (FILES["HDF5"], DASK["dask, small chunks"]):
        given = {name: store(value, tmp_path) for name, value in beside.items()}
        x, y = store(X, tmp_path), store(Y, tmp_path)
        fit = cs.solve(cs.Problem(x, y, kernel_size=5, **given), limits=SMALL)
        np.testing.assert_allclose(fit.kernel, plain.kernel, rtol=1e-10, atol=1e-13)


def test_convolve_reads_stored_records(tmp_path: Path) -> None:
    w, spec = RNG.standard_normal((4, 2, 3)), cs.ConvSpec(4, 2, "full")
    for store in STORES.values():
        found = cs.convolve(store(X, tmp_path), w, spec)
        np.testing.assert_array_equal(found, cs.convolve(X, w, spec))


# --- sources that fail or change


def solved(x: Any) -> cs.Solution:
    return cs.solve(cs.Problem(x, Y, kernel_size=5), limits=SMALL)


@pytest.mark.parametrize("nth", [1, 3, 5])
def test_an_error_of_a_source_is_raised(nth: int) -> None:
    """The next attempt succeeds."""
    error = OSError(5, "Input/output error")
    source = Failing(X, nth, error)
    with pytest.raises(OSError, match="Input/output error") as caught:
        solved(source)
    assert caught.value is error
    np.testing.assert_array_equal(solved(source).kernel, solved(Slices(X)).kernel)


class Lying(Slices):
    """A source whose slices are changed after the first ``true`` ones."""

    def __init__(self, array: np.ndarray, of: Callable[[np.ndarray], Any], true: int) -> None:
        super().__init__(array)
        self._of, self._true = of, true

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return found if self.readings <= self._true else self._of(found)


LIES: dict[str, Callable[[np.ndarray], Any]] = {
    "shorter": lambda a: a[:-1],
    "None": lambda a: None,
    "complex": lambda a: a + 1j,
    "masked": lambda a: np.ma.masked_greater(a, 0),
}


@pytest.mark.parametrize("true", [0, 1])
@pytest.mark.parametrize("name", LIES)
def test_slices_of_another_shape_or_kind_are_refused(name: str, true: int) -> None:
    with pytest.raises(ValueError, match="the source has changed, or has masked values"):
        solved(Lying(X, LIES[name], true))


@pytest.mark.parametrize(
    ("value", "options"), [(np.nan, {}), (np.inf, {"confounds": np.cos(np.arange(296.0))})]
)
def test_values_that_became_not_finite_are_refused(value: float, options: dict[str, Any]) -> None:
    spoil = Lying(X, lambda a: spoilt(a, value, 0, 0), 1)
    with pytest.raises(ValueError, match="is not finite: the source changed after its check"):
        cs.solve(cs.Problem(spoil, Y, kernel_size=5, **options), limits=SMALL)
