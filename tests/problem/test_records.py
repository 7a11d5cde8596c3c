"""Records: kinds of array and precisions. Inputs are never changed."""

import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import convsolve as cs


def test_longdouble_is_rounded_with_a_warning():
    with pytest.warns(UserWarning, match=r"brought down to float64") as caught:
        found = cs.Problem(np.arange(4, dtype=np.longdouble), lags=(0, 1)).x[0]
    assert found.dtype == np.float64
    assert caught[0].filename == __file__  # it points at the caller


def strided(a):
    wide = np.full((2 * a.shape[0], 3 * a.shape[1]), np.nan)
    wide[::2, 1::3] = a
    return wide[::2, 1::3]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def mapped(a):
    with tempfile.TemporaryFile() as stream:
        kept = np.memmap(stream, a.dtype, "w+", shape=a.shape)
    kept[:] = a
    return kept


class Subclass(np.ndarray):
    """Operators and indices that mean something else."""

    def __getitem__(self, index):
        return "not an array"

    __abs__ = __mul__ = __lt__ = __getitem__


class Frame:
    """As a table of pandas: an array behind a protocol, and no array of NumPy."""

    def __init__(self, a):
        self.columns = a.copy()

    def __array__(self, dtype=None, copy=None):
        return self.columns


VIEWS = {
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": read_only,
    "Fortran": np.asfortranarray,
    "strided": strided,
    "unaligned": lambda a: (
        np.frombuffer(b"0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    ),
    "list": lambda a: a.tolist(),
    "buffer": memoryview,
    "memory map": mapped,
    "subclass": lambda a: a.copy().view(Subclass),
    "frame": Frame,
    "longdouble": lambda a: a.astype(np.longdouble),
    "Python numbers": lambda a: a.astype(object).tolist(),
}


@pytest.mark.filterwarnings("ignore:.* brought down to float64")
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_the_solution_of_a_plain_array(view):
    rng, bias = np.random.default_rng(1), True
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(18, 3))
    vx, vy = VIEWS[view](x), VIEWS[view](y)
    bytes_before = np.asarray(vx).tobytes(), np.asarray(vy).tobytes()
    plain = cs.solve(cs.Problem(x, y, kernel_size=3, bias=bias))
    found = cs.solve(cs.Problem(vx, vy, kernel_size=3, bias=bias))
    assert found.kernel.dtype == np.float64
    np.testing.assert_array_equal(found.kernel, plain.kernel)
    np.testing.assert_array_equal(found.bias, plain.bias)
    assert (np.asarray(vx).tobytes(), np.asarray(vy).tobytes()) == bytes_before


@pytest.mark.parametrize("view", ["subclass", "frame"])
def test_lists_of_views_are_lists_of_records(view):
    rng = np.random.default_rng(2)
    x, y = [rng.normal(size=(n, 2)) for n in (9, 7)], [rng.normal(size=(n, 3)) for n in (7, 5)]
    plain = cs.solve(cs.Problem(x, y, kernel_size=3, bias=True))
    found = cs.solve(cs.Problem(*([VIEWS[view](a) for a in r] for r in (x, y)), kernel_size=3,
                                bias=True))  # fmt: skip
    assert [len(part) for part in found.predict()] == [7, 5]
    np.testing.assert_array_equal(found.kernel, plain.kernel)
    np.testing.assert_array_equal(found.bias, plain.bias)


def test_float64_arrays_are_not_copied():
    x, y = np.ones((1000, 2)), np.ones((999, 1))
    problem = cs.Problem(x, y, kernel_size=2)
    assert np.shares_memory(problem.x[0], x)
    assert np.shares_memory(problem.y[0], y)


@pytest.mark.parametrize("x64", [False, True])
def test_jax_in_is_jax_out(x64):
    with jax.enable_x64(x64):
        x, y = jnp.array([0.0, 3, 4, 5]), jnp.array([6.0, 11, 14])
        fits = [cs.solve(cs.Problem(a, y, kernel_size=2)) for a in (x, jnp.array([0, 3, 4, 5]))]
    for fit in fits:
        assert isinstance(fit.kernel, jax.Array)
        assert fit.kernel.dtype == x.dtype == (np.float64 if x64 else np.float32)
