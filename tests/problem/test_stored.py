"""Records that are not in memory: what they are taken for, which slice is what, what is refused."""

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
from convsolve.problem import whole_chunks
from convsolve.problem.stored import Stored, for_one_pass, in_blocks, is_stored
from convsolve.problem.whole_chunks import WholeChunks
from support.slow import few_seeds
from support.stored import DASK, FILES, SMALL, STORES, Failing, Slices, stored

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((300, 2)), RNG.standard_normal((296, 2))
EMPTY = np.zeros((0, 2))


@pytest.fixture(autouse=True)
def _here():
    """What dask computes, in this thread."""
    with dask.config.set(scheduler="synchronous"):
        yield


def spoilt(array: np.ndarray, value: float, *place: int) -> np.ndarray:
    found = array.copy()
    found[place] = value
    return found


class Frame:
    """As a table of pandas: shape, a dtype, columns by name, and an array behind a protocol."""

    iloc = None
    shape, dtype = X.shape, X.dtype

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return X


def test_what_has_shape_dtype_and_slices_is_stored(tmp_path: Path) -> None:
    for kind, store in STORES.items():
        assert is_stored(store(X, tmp_path)) is (kind != "memory map")
    for value in (X, X[0, 0], X.tolist(), 3.0, Frame(), "x", None, memoryview(X)):
        assert not is_stored(value)
    assert cs.Problem(Frame(), Y, kernel_size=5).n_channels == 2


# --- which slice is what


@few_seeds(100, 3000)
def test_slices_of_slices(seeds: range) -> None:
    """As of the array in memory, of any rank, with channels left out and another precision."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        ndim, extra = int(rng.integers(1, 4)), int(rng.integers(0, 3))
        shape = tuple(rng.integers(1, 7, ndim + extra))
        array = rng.standard_normal(shape)
        records = Stored.of(Slices(array), ndim)
        plain = array if extra == 2 else array[None]
        plain = plain if extra else plain[..., None]
        assert len(records) == len(plain)
        for record, wanted in zip(records, plain):
            for _ in range(int(rng.integers(0, 4))):
                record, wanted = changed(rng, record, wanted)
                assert record.shape == wanted.shape
                assert (record.size, record.ndim, len(record)) == (
                    wanted.size, wanted.ndim, len(wanted),
                )  # fmt: skip
            np.testing.assert_array_equal(np.asarray(record), wanted)


def changed(rng: np.random.Generator, record: Stored, wanted: np.ndarray) -> tuple[Any, Any]:
    """One thing that is done to records, done to both."""
    what = int(rng.integers(3))
    if what == 1:
        chosen = [int(c) for c in rng.permutation(wanted.shape[-1])]
        return record[..., chosen], wanted[..., chosen]
    if what == 2:
        return record.astype(np.float32), wanted.astype(np.float32)
    ends = [sorted(int(n) for n in rng.integers(0, size + 1, 2)) for size in wanted.shape[:-1]]
    part = tuple(slice(a, max(b, a + (size > a))) for (a, b), size in zip(ends, wanted.shape))
    return record[part], wanted[part]


def test_blocks_are_all_of_a_record_once() -> None:
    record = Stored.of(Slices(X), 1)[0]
    for numbers in (1, 7, 100, 10**6):
        parts = [*in_blocks(record, numbers)]
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), X)
        starts = np.cumsum([0, *(len(part) for _, part in parts)])[:-1]
        assert [start for start, _ in parts] == [(n,) for n in starts]


# --- sources that say by which chunks they are decoded


class Chunked(Slices):
    """One that says, right or wrong, what its chunks are."""

    def __init__(self, array: np.ndarray, chunks: Any) -> None:
        super().__init__(array)
        self.chunks = chunks


@few_seeds(100, 3000)
def test_one_pass_in_whole_chunks(seeds: range) -> None:
    """What is read in order, here and there with a step back or ahead, is what it is."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        ndim, extra = int(rng.integers(1, 3)), int(rng.integers(0, 3))
        array = rng.standard_normal(rng.integers(1, 30, ndim + extra))
        chunks = tuple(int(n) for n in rng.integers(1, 40, array.ndim))
        plain, whole = Stored.of(Slices(array), ndim), Stored.of(Chunked(array, chunks), ndim)
        for one, other in zip(plain, map(for_one_pass, whole)):
            assert isinstance(other.source, WholeChunks)
            for _ in range(6):
                a, b = sorted(int(n) for n in rng.integers(0, len(one) + 1, 2))
                parts = one[a : b + 1], other[a : b + 1]
                np.testing.assert_array_equal(*map(np.asarray, parts))


def test_chunks_that_are_too_large_to_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels that are chunks of their own are read, and kept, side by side."""
    monkeypatch.setattr(whole_chunks, "MOST_KEPT_BYTES", 100 * 2 * 8)
    for chunks, kept in (((100, 1), True), ((101, 1), False), ((101, 2), False)):
        source, plain = Chunked(X, chunks), Slices(X)
        assert solved(source).kernel.tobytes() == solved(plain).kernel.tobytes()
        assert bool(source.times.max() < plain.times.max()) is kept


# --- numbers that are not finite


BAD: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "record": (lambda a: spoilt(a, np.nan, 299, 1), r"\(NaN\) at index \(299, 1\)"),
    "channel": (lambda a: spoilt(a, -np.inf, 299, 1)[:, 1], r"\(Inf\) at index \(299,\)"),
    "list": (lambda a: [a, spoilt(a, np.inf, 299, 0)], r"^x\[1\] .*\(Inf\) at index \(299, 0\)"),
    "batch": (
        lambda a: np.stack([a, spoilt(a, np.nan, 298, 1)]), r"\(NaN\) at index \(1, 298, 1\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", BAD)
@pytest.mark.parametrize("kind", [*FILES, "dask, small chunks"])
def test_the_last_value_that_is_not_finite_is_found(kind: str, form: str, tmp_path: Path) -> None:
    """At its place in the array that was given, whatever is read of it."""
    make, words = BAD[form]
    x = stored(make(X), STORES[kind], tmp_path)
    with pytest.raises(
        ValueError, match=rf"has 1 value that is not finite, the first {words}|" + words
    ):
        cs.Problem(x, kernel_size=5)  # fmt: skip
    with pytest.raises(ValueError, match=words):
        cs.Problem(x, lags=(40, 44), edges="circular")


@pytest.mark.parametrize("kind", STORES)
def test_missing_samples_drop_the_rows_that_read_them(kind: str, tmp_path: Path) -> None:
    x, y = spoilt(X, np.nan, 299, 1), spoilt(Y, np.nan, 0, 1)
    given = {"kernel_size": 5, "missing": "drop"}
    problem = cs.Problem(*(STORES[kind](a, tmp_path) for a in (x, y)), **given)
    wanted = cs.Problem(x, y, **given)
    for (outputs, rows), (others, plain) in zip(problem._by_mask, wanted._by_mask):
        assert outputs == others
        np.testing.assert_array_equal(rows.flags_of(0), plain.flags_of(0))
    with pytest.raises(ValueError, match=r"\(Inf\) at index \(299, 1\)"):
        cs.Problem(STORES[kind](spoilt(X, np.inf, 299, 1), tmp_path), **given)


# --- kinds and shapes


def test_kinds_that_are_refused(tmp_path: Path) -> None:
    for kind, store in STORES.items():
        with pytest.raises(TypeError, match=r"^x is complex \(complex128\); pass real and imag"):
            cs.Problem(store(X + 1j, tmp_path), kernel_size=5)
        if kind in ("slices", *DASK):
            with pytest.raises(TypeError, match="x must hold numbers, got dtype object"):
                cs.Problem(store(X.astype(object), tmp_path), kernel_size=5)
        with pytest.raises(ValueError, match=r"x channel 0 has no value above 2\.2e-308"):
            cs.Problem(store(X * 5e-320, tmp_path), kernel_size=5)
        with pytest.warns(UserWarning, match=r"integers beyond 2\*\*53 are rounded"):
            cs.Problem(store((X * 2.0**60).astype(np.int64), tmp_path), kernel_size=5)


def test_what_holds_arrays_is_refused_by_its_kind(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X)
    file = h5py.File(tmp_path / "data.h5", "w")
    others = {
        "File": file,
        "Group": file.create_group("trials"),
        "NpzFile": np.load(tmp_path / "data.npz"),
    }
    with pytest.raises(TypeError, match=r"^x holds arrays by name \(Group\); .* x\['NAME'\]"):
        cs.Problem(zarr.open_group(tmp_path / "data.zarr", mode="w"), kernel_size=5)
    for kind, value in others.items():
        with pytest.raises(TypeError, match=rf"^x holds arrays by name \({kind}\)"):
            cs.Problem(value, kernel_size=5)
    for kind in (scipy.sparse.csr_array, scipy.sparse.coo_matrix):
        with pytest.raises(TypeError, match=r"^y is sparse \(.*y\.toarray\(\)"):
            cs.Problem(X, kind(Y), kernel_size=5)
    nothing = file.create_dataset("nothing", data=h5py.Empty("f8"))
    with pytest.raises(ValueError, match=r"^x is empty"):
        cs.Problem(nothing, kernel_size=5)


def test_dask_of_unknown_size_or_masked_is_refused() -> None:
    x = dask.array.from_array(X, chunks=(50, 2))
    with pytest.raises(ValueError, match=r"chunks of unknown size, .*x\.compute_chunk_sizes\(\)"):
        cs.Problem(x[x[:, 0] > 0], kernel_size=5)
    with pytest.raises(TypeError, match="x is a masked array"):
        cs.Problem(dask.array.ma.masked_greater(x, 1.0), kernel_size=5)


def test_masks_weights_and_confounds_may_be_stored_too(tmp_path: Path) -> None:
    beside = {"mask": Y[:, 0] > -1, "weights": Y[:, 0] ** 2, "confounds": Y[:, :1] ** 2}
    plain = cs.solve(cs.Problem(X, Y, kernel_size=5, **beside))
    for store in (FILES["HDF5"], DASK["dask, small chunks"]):
        given = {name: store(value, tmp_path) for name, value in beside.items()}
        x, y = store(X, tmp_path), store(Y, tmp_path)
        fit = cs.solve(cs.Problem(x, y, kernel_size=5, **given), limits=SMALL)
        np.testing.assert_allclose(fit.kernel, plain.kernel, rtol=1e-10, atol=1e-13)


def test_the_forward_model_of_what_is_stored(tmp_path: Path) -> None:
    w = RNG.standard_normal((4, 2, 3))
    for padding in ("valid", "same", "full", "circular"):
        spec = cs.ConvSpec(4, 2, padding)
        wanted = cs.convolve(X, w, spec)
        for store in STORES.values():
            np.testing.assert_array_equal(cs.convolve(store(X, tmp_path), w, spec), wanted)


# --- sources that fail, or are not what they say


def solved(x: Any) -> cs.Solution:
    return cs.solve(cs.Problem(x, Y, kernel_size=5), limits=SMALL)


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_an_error_of_a_source_comes_through(nth: int) -> None:
    """From whichever reading; the next attempt finds nothing changed."""
    error = OSError(5, "Input/output error")
    source = Failing(X, nth, error)
    with pytest.raises(OSError, match="Input/output error") as caught:
        solved(source)
    assert caught.value is error
    np.testing.assert_array_equal(solved(source).kernel, solved(Slices(X)).kernel)


def test_a_file_that_was_closed_is_named(tmp_path: Path) -> None:
    x = FILES["HDF5"](X, tmp_path)
    problem = cs.Problem(x, Y, kernel_size=5)
    x.file.close()
    with pytest.raises(Exception, match="identifier") as caught:
        cs.solve(problem, limits=SMALL)
    assert caught.value.__notes__ == ["while samples were read of <Closed HDF5 dataset>"]


class Lying(Slices):
    """One whose slices, but for the first ``true`` ones, are something else."""

    def __init__(self, array: np.ndarray, of: Callable[[np.ndarray], Any], true: int) -> None:
        super().__init__(array)
        self._of, self._true = of, true
        self.chunks: Any = None

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return found if self.readings <= self._true else self._of(found)


SHAPE, KIND = "has another shape than it says, or has changed", "of another kind than it says"
LIES: dict[str, tuple[Callable[[np.ndarray], Any], type[Exception], str]] = {
    "shorter": (lambda a: a[:-1], ValueError, SHAPE),
    "longer": (lambda a: np.concatenate([a, a]), ValueError, SHAPE),
    "a channel less": (lambda a: a[:, :1], ValueError, SHAPE),
    "no channels": (lambda a: a[:, 0], ValueError, SHAPE),
    "an axis more": (lambda a: a[None], ValueError, SHAPE),
    "nothing": (lambda a: a[:0], ValueError, SHAPE),
    "None": (lambda a: None, ValueError, SHAPE),
    "objects": (lambda a: a.astype(object), TypeError, KIND),
    "words": (lambda a: a.astype(str), TypeError, KIND),
    "complex": (lambda a: a + 1j, TypeError, KIND),
    "masked": (lambda a: np.ma.masked_greater(a, 0), TypeError, "came as a masked array"),
}


@pytest.mark.parametrize("true", [0, 1, 2], ids=["from the first", "second", "third reading on"])
@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("chunks", [None, (70, 1), (300, 2)], ids=str)
def test_slices_that_are_not_what_they_should_be(name: str, true: int, chunks: Any) -> None:
    of, error, words = LIES[name]
    source = Lying(X, of, true)
    source.chunks = chunks
    with pytest.raises(error, match=words):
        solved(source)


@pytest.mark.parametrize("options", [{}, {"confounds": np.cos(np.arange(len(Y), dtype=float))}])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("chunks", [None, (300, 2)], ids=str)
def test_values_that_are_not_finite_any_more(
    value: float, options: dict[str, Any], chunks: Any
) -> None:
    """Also where all was one chunk, which a pass keeps for itself alone."""
    spoil = Lying(X, lambda a: spoilt(a, value, 0, 0), 1)
    spoil.chunks = chunks
    with pytest.raises(ValueError, match="had none when it was checked: what is stored has chang"):
        cs.solve(cs.Problem(spoil, Y, kernel_size=5, **options), limits=SMALL)


# --- what wraps or extends an array of h5py or zarr


def test_whole_numbers_that_do_not_fit_are_refused() -> None:
    """Not wrapped round."""
    wide = np.rint(X * 1000).astype(np.int64)
    source = Lying(wide.astype(np.int8), lambda a: np.resize(wide, a.shape), 1)
    source.chunks = (50, 2)
    with pytest.raises(TypeError, match="a slice came in int64, where numbers of int8"):
        solved(source)


@pytest.mark.parametrize("kind", ["int64", "uint64", "int16", "bool", "float16"])
@pytest.mark.parametrize("y_kind", ["float32", "float64"])
def test_kinds_that_differ_between_x_and_y(kind: str, y_kind: str) -> None:
    """Read here, and put together where dask computes."""
    x, y = (X > 0 if kind == "bool" else np.abs(np.rint(X * 9))).astype(kind), Y.astype(y_kind)
    wanted = cs.solve(cs.Problem(x, y, kernel_size=5)).kernel
    for source in (Slices(x), dask.array.from_array(x, chunks=(70, 2))):
        fit = cs.solve(cs.Problem(source, y, kernel_size=5), limits=SMALL)
        assert fit.kernel.dtype == wanted.dtype
        np.testing.assert_allclose(fit.kernel, wanted, rtol=1e-5 if y_kind == "float32" else 1e-11)
