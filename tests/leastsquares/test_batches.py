"""`fit_kernel` of many problems under the transformations of jax, some of them deficient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import convsolve as cs
from support.slow import some

pytestmark = pytest.mark.usefixtures("double")

TAPS, SAMPLES, COUNT = 4, 20, 96
SPEC = cs.ConvSpec(TAPS)
# More than are computed at once, as far as the middle of the second turn.
DEFICIENT = np.arange(COUNT) % 6 != 0


def problems() -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of noise, of zeros, and of tones, which have rank 2."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((COUNT, SAMPLES))
    tones = np.sin(np.outer(0.3 + np.arange(COUNT) / COUNT, np.arange(SAMPLES)))
    x[DEFICIENT] = tones[DEFICIENT]
    x[5] = 0.0
    return x, rng.standard_normal((COUNT, SAMPLES - TAPS + 1))


def minimum_norm(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the kernels (B, P) of minimum norm by LAPACK."""
    rows = np.lib.stride_tricks.sliding_window_view(x, TAPS, axis=-1)
    return (np.linalg.pinv(rows, rcond=1e-12) @ y[..., None])[..., 0]


def one(x: Any, y: Any, solver: str | None = None) -> Any:
    return cs.fit_kernel(x, y, SPEC, solver)[0][:, 0, 0]


def by_qr(x: Any, y: Any) -> Any:
    return one(x, y, "qr")


def nested(x: Any, y: Any) -> Any:
    x, y = (a.reshape(8, 12, -1) for a in (x, y))
    return jax.vmap(jax.vmap(one))(x, y).reshape(COUNT, TAPS)


def other_axes(x: Any, y: Any) -> Any:
    return jax.vmap(one, in_axes=(1, 1), out_axes=1)(x.T, y.T).T


def in_turns(x: Any, y: Any) -> Any:
    x, y = (a.reshape(8, 12, -1) for a in (x, y))
    return jax.lax.map(lambda pair: jax.vmap(one)(*pair), (x, y)).reshape(COUNT, TAPS)


def batches_of_turns(x: Any, y: Any) -> Any:
    x, y = (a.reshape(8, 12, -1) for a in (x, y))
    found = jax.vmap(lambda x, y: jax.lax.map(lambda pair: one(*pair), (x, y)))(x, y)
    return found.reshape(COUNT, TAPS)


def over_devices(x: Any, y: Any) -> Any:
    """The four parts have different numbers of deficient problems."""
    mesh, split = jax.make_mesh((4,), ("all",), (AxisType.Auto,)), PartitionSpec("all")
    order = np.argsort(DEFICIENT, kind="stable")
    mapped = jax.shard_map(jax.vmap(one), mesh=mesh, in_specs=(split, split), out_specs=split)
    return mapped(x[order], y[order])[np.argsort(order)]


def placed(x: Any, y: Any) -> Any:
    mesh = jax.make_mesh((4,), ("all",), (AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("all"))
    return jax.jit(jax.vmap(one))(*jax.device_put((x, y), split))


def with_tangent(x: Any, y: Any) -> Any:
    """The fit is linear in y, and its derivative along y is the fit itself."""
    found = jax.vmap(lambda x, y: jax.jvp(lambda y: one(x, y), (0 * y,), (y,)))(x, y)
    np.testing.assert_array_equal(found[0], 0)
    return found[1]


MAPS = (
    jax.vmap(one), jax.jit(jax.vmap(one)), jax.vmap(jax.jit(one)), jax.jit(jax.vmap(by_qr)), nested,
    other_axes, in_turns, batches_of_turns, over_devices, placed, with_tangent,
)  # fmt: skip


@pytest.mark.parametrize("mapped", some(MAPS, MAPS[1]))
def test_all_problems_have_their_solution(mapped: Callable[[Any, Any], Any]) -> None:
    x, y = problems()
    np.testing.assert_allclose(mapped(x, y), minimum_norm(x, y), rtol=0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("shared", ["x", "y"])
def test_one_signal_can_be_that_of_all_problems(shared: str) -> None:
    x, y = problems()
    if shared == "x":
        found = jax.vmap(one, in_axes=(None, 0))(x[1], y)
        wanted = minimum_norm(x[1], y)
    else:
        found = jax.vmap(one, in_axes=(0, None))(x, y[0])
        wanted = minimum_norm(x, np.broadcast_to(y[0], y.shape))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)


def normal_equations(x: Any, y: Any) -> Any:
    """Return the kernel of a regular problem, differentiable by jax."""
    a = x[np.arange(len(y))[:, None] + np.arange(TAPS)]
    return jnp.linalg.solve(a.T @ a, a.T @ y)


def loss_of(fit: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, y: jnp.sum(jnp.sin(fit(x, y)))


def summed(of: Callable[..., Any]) -> Callable[..., Any]:
    """Return the derivatives of a sum over problems, which are those of each."""

    def total(loss: Callable[..., Any]) -> Callable[..., Any]:
        return of(lambda x, y: jax.vmap(loss)(x, y).sum())

    return total


DERIVATIVES: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "vmap(grad)": lambda loss: jax.vmap(jax.grad(loss, (0, 1))),
    "grad(vmap)": summed(lambda total: jax.grad(total, (0, 1))),
    "grad(checkpoint)": summed(lambda total: jax.grad(jax.checkpoint(total), (0, 1))),
    "jacfwd": lambda loss: jax.vmap(jax.jacfwd(loss, (0, 1))),
    "jacrev": lambda loss: jax.vmap(jax.jacrev(loss, (0, 1))),
    "vmap(hessian)": lambda loss: jax.vmap(jax.hessian(loss)),
    "hessian(vmap)": summed(jax.hessian),
}


@pytest.mark.parametrize("name", some(DERIVATIVES))
def test_derivatives_of_a_batch_are_those_of_the_normal_equations(name: str) -> None:
    """The derivatives of deficient problems are finite."""
    x, y = problems()
    x, y = x[:8], y[:8]
    found, wanted = (jax.jit(DERIVATIVES[name](loss_of(f)))(x, y) for f in (one, normal_equations))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        good = np.ix_(*[~DEFICIENT[:8] if n == 8 else np.ones(n, bool) for n in ours.shape])
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours[good], theirs[good], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("taps", some((1, 2, 5, 8), 5))
def test_any_condition_and_transients_are_solved_to_rounding(taps: int) -> None:
    """Noise in ever narrower bands, and samples of 1e8 at either end. y is of a known kernel.

    Errors are relative to the largest term of y.
    """
    rng = np.random.default_rng(taps)
    x, w = rng.standard_normal((16, 60)), rng.standard_normal((16, taps))
    for one, width in zip(x, np.geomspace(1, 0.02, 14)[1:], strict=False):
        one[:] = scipy.signal.sosfilt(scipy.signal.butter(4, width, output="sos"), one)
    x[-2, 0] = x[-1, -1] = 1e8
    rows = np.lib.stride_tricks.sliding_window_view(x, taps, 1)
    y, norms = (rows @ w[..., None])[..., 0], np.linalg.norm(rows, axis=1)
    found = jax.vmap(lambda x, y: cs.fit_kernel(x, y, cs.ConvSpec(taps))[0][:, 0, 0])(x, y)
    condition = np.linalg.cond(rows / norms[:, None])
    assert condition.max() > 10.0 ** (taps - 2)
    off = np.abs(norms * (found - w)).max(1) / np.abs(norms * w).max(1)
    assert (off <= 1e-14 * condition).all()


@pytest.mark.slow
def test_a_batch_is_not_compiled_again_for_other_deficient_problems(compiled: list[str]) -> None:
    x, y = problems()
    fit = jax.jit(jax.vmap(one))
    fit(x[:8], y[:8])
    compiled.clear()
    fit(x[8:16], y[8:16])
    assert compiled == []
