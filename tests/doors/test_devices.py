"""Arrays on several devices have the solution of arrays on the host, and are not fetched."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import convsolve as cs
from convsolve.lazy_jax import meet
from convsolve.linalg.rank import EPS
from convsolve.problem.remote import Source
from convsolve.problem.sizes import Tuning
from support.geometry import random_geometry
from support.slow import some

MESH = jax.make_mesh((4,), ("all",), (AxisType.Auto,))
FROM_SIGNALS = Tuning(small_numbers=0, row_numbers=0)
TIME, RECORDS, CHANNELS, COPIES = P("all"), P("all"), P(None, "all"), P()


def put(a: Any, where: Any = TIME) -> Any:
    """An array on four devices."""
    if isinstance(a, list):
        return [put(record, where) for record in a]
    with jax.enable_x64(True):
        return jax.device_put(a, NamedSharding(MESH, where))


@pytest.fixture
def stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that is fetched to the host fails the test."""

    def fetched(source: Source) -> None:
        raise AssertionError("fetched to the host")

    monkeypatch.setattr(Source, "host", property(fetched))


def check_equal(host: cs.Problem, there: cs.Problem, limits: Tuning = FROM_SIGNALS) -> cs.Solution:
    """Solve both problems; the solutions differ by rounding only."""
    wanted, found = (cs.solve(problem, limits=limits) for problem in (host, there))
    assert found.backward_error is not None
    assert found.backward_error <= 30 * EPS
    assert found.converged
    assert isinstance(found.kernel, jax.Array)
    off = np.linalg.norm(np.asarray(found.kernel) - wanted.kernel)
    kappa = wanted.identifiability.condition_number
    left = wanted.residuals()
    # Excluded rows are NaN.
    residual = np.sqrt(np.nansum(np.square(np.concatenate([np.ravel(r) for r in left]))))
    bound = kappa + kappa**2 * residual / np.linalg.norm(wanted.kernel)
    assert off <= 100 * EPS * bound * np.linalg.norm(wanted.kernel)
    np.testing.assert_allclose(found.bias, wanted.bias, rtol=0, atol=1e-12)
    assert found.identifiability.verdict == wanted.identifiability.verdict
    return found


def noise(
    shape: tuple[int, ...], spec: cs.ConvSpec, outputs: int, seed: int = 0
) -> tuple[Any, Any]:
    """White x (*N, W, C) with an offset, and independent white y."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) + 3
    y = rng.standard_normal((*shape[:-2], *spec.output_shape(shape[-2:-1]), outputs))
    return x, y


# --- the same solutions


SPREAD = {
    "ahead": cs.ConvSpec(6, padding=((-7, 12),)),
    "groups, stride, dilation": cs.ConvSpec(7, 2, "same", 3, 2),
    "components of a stride and a dilation": cs.ConvSpec(9, 4, "full", 6),
    "circular": cs.ConvSpec(8, padding="circular"),
    "long": cs.ConvSpec(100, dilation=9, padding="full"),
}
CASES = [(name, "time", i % 2 == 0) for i, name in enumerate(SPREAD)]
CASES += [(name, "records", True) for name in ("groups, stride, dilation", "long")]


@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize(
    ("name", "along", "bias"), some(CASES, ("groups, stride, dilation", "records", True))
)
def test_signals_spread_along_time_or_records(name: str, along: str, bias: bool) -> None:
    """If y is not as long as x, its copies are on all devices."""
    spec, long = SPREAD[name], name == "long"
    shape = (24_000 if long else 6000, 2) if along == "time" else (8, 6000 if long else 900, 2)
    x, y = noise(shape, spec, 2)
    host = cs.Problem(x, y, spec=spec, bias=bias)
    there = put(y, COPIES if len(y) % 4 else TIME)
    fit = check_equal(host, cs.Problem(put(x), there, spec=spec, bias=bias))
    assert fit.stats["devices"] == "4 × cpu"


@pytest.mark.usefixtures("stays")
def test_x_without_y_is_identified_on_its_devices() -> None:
    spec = cs.ConvSpec(9)
    x, _ = noise((6000, 2), spec, 1)
    host, there = (
        cs.identify(cs.Problem(a, spec=spec, bias=True), limits=FROM_SIGNALS) for a in (x, put(x))
    )
    assert there.verdict == host.verdict == "overdetermined"
    np.testing.assert_allclose(there.condition_number, host.condition_number, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize("context", ["no mesh", "a mesh of its own"])
def test_explicit_axes_of_a_mesh(context: str) -> None:
    """Axes of `jax.make_mesh` are explicit by default. Programs must not join axes or meshes."""
    mesh, spec = jax.make_mesh((4,), ("all",), (AxisType.Explicit,)), cs.ConvSpec(9)
    x, y = noise((3, 400, 2), spec, 1)
    there = NamedSharding(mesh, P(None, "all"))
    with jax.enable_x64(True):
        arrays = jax.device_put(x, there), jax.device_put(y, there)
    with jax.set_mesh(mesh) if context != "no mesh" else nullcontext():
        fit = check_equal(cs.Problem(x, y, spec=spec), cs.Problem(*arrays, spec=spec))
    assert fit.stats["devices"] == "4 × cpu"


PADDINGS = ("valid", "same", "full", "causal", "circular", "explicit")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_geometries_spread_along_time(seed: int) -> None:
    """Some records are so short that a kernel reaches beyond the next device."""
    rng = np.random.default_rng([5, seed])
    made = random_geometry(rng, 1, PADDINGS[seed % 6], sizes={1: (600, 60, 3)}, min_rows=150)
    (samples,) = made.shapes[0]
    x, y = noise((samples // 4 * 4, made.channels), made.spec, made.outputs, seed)
    host = made.problem(x, y, made.bias)
    there = made.problem(put(x), put(y, COPIES if len(y) % 4 else TIME), made.bias)
    if cs.identify(host).unique:
        check_equal(host, there)
    else:
        assert cs.identify(there).verdict == cs.identify(host).verdict


X, Y = noise((3000, 4), cs.ConvSpec(8), 1)


# --- data that are fetched to the host


@pytest.mark.slow
def test_an_ill_conditioned_matrix_is_factored_on_the_host() -> None:
    rng, spec = np.random.default_rng(0), cs.ConvSpec(24)
    x = np.cumsum(np.cumsum(rng.standard_normal((20_000, 1)), 0), 0)
    y = cs.convolve(x, rng.standard_normal((24, 1, 1)), spec)
    fit = cs.solve(cs.Problem(put(x), put(y, COPIES), spec=spec))
    assert fit.converged
    assert fit.stats["route"] != "Cholesky of the Gram matrix"
    assert fit.stats["devices"] == "4 × cpu, then fetched to the host"
    host = cs.solve(cs.Problem(x, y, spec=spec))
    np.testing.assert_allclose(fit.kernel, host.kernel, rtol=1e-6)


BURST = np.where(np.arange(3000)[:, None] < 3, 1e6, X)
LONG, IMAGE, FIRST = np.tile(X, (10, 1)), X.reshape(100, 30, 4), X[:, :1]
GAPS = np.where(np.arange(3000)[:, None] == 1000, np.nan, X)
RAMP = 1e4 * X[:, 3:] + np.arange(3000)[:, None]
THERE, Y_THERE = put(X), put(Y, COPIES)
CAUSAL = {"padding": "causal"}
FETCHED: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "samples may be missing": (put(GAPS), Y_THERE, 8, {"missing": "drop"}),
    "confounds explain nearly all of x or y": (
        put(np.c_[X[:, :3], RAMP]), Y_THERE, 8, {"confounds": RAMP[7:]}),
    "the kernel has several axes": (put(IMAGE), put(IMAGE[1:, 2:, :1], COPIES), (2, 3), {}),
    "the matrix is small": (put(X[:400]), put(Y[:396], COPIES), 5, {}),
    "unknowns outnumber rows": (put(X[:900]), put(Y[:501], COPIES), 400, {}),
    "the kernel is short beside its stride": (put(LONG), put(LONG[:, :1]), 1, {}),
    "AᵀA is larger than x": (THERE, put(FIRST), 100, CAUSAL),
    "spread along channels": (put(X, CHANNELS), Y_THERE, 8, {}),
    "only one of x and y is on devices": (THERE, Y, 8, {}),
    "some of the records are on the host, or on one device": ([X, THERE], [Y, Y_THERE], 8, {}),
    "less on a device than a kernel reaches": (THERE, put(FIRST), 8, {"dilation": 120} | CAUSAL),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("reason", FETCHED)
def test_data_that_blocks_do_not_support_are_fetched(reason: str) -> None:
    x, y, taps, how = FETCHED[reason]
    fit = cs.solve(cs.Problem(x, y, kernel_size=taps, **how))
    assert fit.stats["devices"] == f"4 × cpu, fetched to the host: {reason}"
    host = cs.solve(cs.Problem(np.asarray(x), np.asarray(y), kernel_size=taps, **how))
    np.testing.assert_array_equal(fit.kernel, host.kernel)


# --- rows, weights and confounds

PLACES: dict[str, tuple[tuple[int, ...], Any]] = {
    "one device": ((1800,), COPIES),
    "along time": ((1800,), TIME),
    "along records": ((4, 600), RECORDS),
}
GEOMETRIES = {
    "valid": cs.ConvSpec(9),
    "zeros": cs.ConvSpec(9, padding="causal"),
    "circular": cs.ConvSpec(9, padding="circular"),
    "stride": cs.ConvSpec(9, 2, "same", 3),
}


def adjustments(rng: np.random.Generator, y: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return arguments of `Problem` for y (*N, T, Q)."""
    rows = y.shape[:-1]
    some = rng.random(rows) > 0.1
    batch = y.ndim == 3
    by_record = rng.uniform(0.5, 2, rows[0]) if batch else 2.0
    time = np.linspace(0, 7, rows[-1])
    columns = np.broadcast_to(np.stack([np.sin(time), np.cos(time)], -1), (*rows, 2))
    columns = columns + 0.1 * rng.standard_normal(columns.shape)
    return {
        "mask": {"mask": some, "bias": True},
        "mask of few rows": {"mask": rng.random(rows) > 0.7},
        "mask per output": {"mask": rng.random(y.shape) > 0.1, "bias": True},
        "weights per record": {"weights": by_record, "bias": True},
        "weights per row": {"weights": rng.uniform(0.1, 3, rows), "bias": True},
        "intercept": {"confounds": "intercept"},
        "drift": {"confounds": 2, "mask": some},
        "arrays": {"confounds": columns, "bias": True},
        "arrays and weights": {"confounds": columns, "weights": rng.uniform(0.1, 3, rows)},
    }


ADJUSTMENTS = (*adjustments(np.random.default_rng(0), np.zeros((30, 1))),)


@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize(
    ("name", "place", "geometry"),
    some(
        itertools.product(ADJUSTMENTS, PLACES, GEOMETRIES),
        ("drift", "along time", "stride"),
        ("arrays and weights", "along records", "zeros"),
        every=11,
    ),
)
def test_adjusted_rows(name: str, place: str, geometry: str) -> None:
    """Masked samples are artefacts, and x and y have offsets."""
    (shape, where), spec = PLACES[place], GEOMETRIES[geometry]
    x, y = noise((*shape, 2), spec, 2)
    y += x[..., : y.shape[-2], :]
    x[..., 1] += 20.0
    given = adjustments(np.random.default_rng(1), y)[name]
    if "mask" in given:
        flags = np.broadcast_to(given["mask"].reshape(*y.shape[:-1], -1), y.shape)
        y = np.where(flags, y, 1e5)
    there = put(x, where), put(y, COPIES if len(y) % 4 else where)
    host = cs.Problem(x, y, spec=spec, **given)
    fit = check_equal(host, cs.Problem(*there, spec=spec, **given))
    assert "fetched" not in fit.stats["devices"]


@pytest.mark.usefixtures("stays")
def test_samples_read_by_masked_rows_only_do_not_matter() -> None:
    x, y = noise((1800, 2), cs.ConvSpec(9), 1)
    mask = np.ones(len(y), bool)
    mask[400:800] = False
    how: dict[str, Any] = {"kernel_size": 9, "mask": mask, "bias": True}
    wanted = cs.solve(cs.Problem(x, y, **how))
    x[410:790], y[~mask] = 1e300, -1e300
    there = cs.Problem(put(x), put(y, COPIES), **how)
    found = cs.solve(there, limits=FROM_SIGNALS)
    np.testing.assert_allclose(found.kernel, wanted.kernel, rtol=0, atol=1e-14)


FAR = X + np.array([1e9, 0, 0, -1e5])


@pytest.mark.slow
@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize(
    ("x", "y"), [(BURST, Y), (1e150 * FAR, Y / 1e150), (FAR / 1e150, 1e150 * Y)]
)
def test_transients_offsets_and_extreme_units_cost_no_digits(x: np.ndarray, y: np.ndarray) -> None:
    """FFTs would lose digits of the columns that do not contain a transient."""
    host, there = (
        cs.solve(cs.Problem(a, b, kernel_size=8, bias=True))
        for a, b in ((x, y), (put(x), put(y, COPIES)))
    )
    atol = 1e-11 * np.abs(host.kernel).max()
    np.testing.assert_allclose(there.kernel, host.kernel, rtol=0, atol=atol)
    assert there.backward_error <= 30 * EPS
    assert there.stats["devices"] == "4 × cpu"


# --- values and shapes are checked on the devices


def spoilt(value: float, at: tuple[int, ...]) -> np.ndarray:
    x = X.copy()
    x[at] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (spoilt(np.nan, (1234, 2)), None, r"x has 1 value that is not finite, .* \(1234, 2\)"),
        (spoilt(np.inf, (7, 0)), None, r"x has 1 value .* the first \(Inf\) at index \(7, 0\)"),
        (X * [1, 1, 1e-310, 1], None, "x channel 2 has no value above"),
        (X, Y[:-1], "y has 2992 samples, expected 2993"),
    ],
)
def test_bad_values_and_shapes_are_refused_as_on_the_host(x: Any, y: Any, words: str) -> None:
    for a, b in ((x, y), (put(x), y if y is None else put(y, COPIES))):
        with pytest.raises(ValueError, match=words):
            cs.Problem(a, b, kernel_size=8)


# --- what is compiled


@pytest.mark.slow
@pytest.mark.usefixtures("stays")
def test_another_length_compiles_three_programs_at_most(compiled: list[str]) -> None:
    """The cut into blocks, and the search for the largest magnitude of x and of y."""
    spec = cs.ConvSpec(11, padding="causal")
    for samples in (2000, 2400, 8000, 40_000):
        x, y = noise((samples, 2), spec, 2)
        there = put(x), put(y)
        compiled.clear()
        fit = cs.solve(cs.Problem(*there, spec=spec, bias=True), limits=FROM_SIGNALS)
        assert fit.stats["devices"] == "4 × cpu"
        if samples > 2000:
            assert len(compiled) <= 3
    compiled.clear()
    cs.solve(cs.Problem(*there, spec=spec, bias=True), limits=FROM_SIGNALS)
    assert not compiled


# --- several processes

PROCESS = """
import os, sys
import jax
port, me = int(sys.argv[1]), int(sys.argv[2])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(f"localhost:{port}", 2, me)
import numpy as np
import convsolve as cs
from convsolve.problem.sizes import Tuning
from jax.sharding import NamedSharding, PartitionSpec

mesh = jax.make_mesh((4,), ("all",))
rng = np.random.default_rng(0)
x, y = rng.standard_normal((8000, 3)), rng.standard_normal((8000, 2))

def put(a):
    half = a[me * len(a) // 2 : (me + 1) * len(a) // 2]
    with jax.enable_x64(True):
        sharding = NamedSharding(mesh, PartitionSpec("all"))
        return jax.make_array_from_process_local_data(sharding, half, a.shape)

def stated(x, y):
    return cs.Problem(x, y, lags=(-3, 20), edges="zeros", bias=True)

host, there = stated(x, y), stated(put(x), put(y))
wanted, fit = cs.solve(host), cs.solve(there)
off = np.linalg.norm(np.asarray(fit.kernel) - wanted.kernel) / np.linalg.norm(wanted.kernel)
print(fit.stats["devices"], off < 1e-13, fit.backward_error < 30 * 2**-52)
print(bool(np.allclose(fit.residuals(), wanted.residuals(), atol=1e-12)), flush=True)
if me:
    sys.stdin.read()  # hangs until the other has given up
else:
    try:
        cs.solve(stated(put(x), put(y)), limits=Tuning(peer_seconds=1))
    except TimeoutError as error:
        print(error, flush=True)
os._exit(0)  # without waiting for the other process
"""


def test_masks_of_outputs_that_are_spread_over_devices(rng: np.random.Generator) -> None:
    """The outputs of one mask do not divide evenly among the devices."""
    x, y = rng.standard_normal((640, 1)), rng.standard_normal((640, 4))
    given: Any = {"kernel_size": 4, "padding": "causal", "mask": rng.random(y.shape) < 0.9}
    host = cs.solve(cs.Problem(x, y, **given))
    there = cs.Problem(put(x), put(y, CHANNELS), **given)
    found = cs.solve(there, limits=FROM_SIGNALS)
    np.testing.assert_allclose(found.kernel, host.kernel, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("status", "kind"), [("DEADLINE_EXCEEDED", TimeoutError), ("UNAVAILABLE", RuntimeError)]
)
def test_only_a_timeout_is_reported_as_such(
    monkeypatch: pytest.MonkeyPatch, status: str, kind: type[Exception]
) -> None:
    class Client:
        def wait_at_barrier(self, name: str, milliseconds: int) -> None:
            raise jax.errors.JaxRuntimeError(f"{status}: Barrier failed")

    monkeypatch.setattr("jax._src.distributed.global_state.client", Client())
    with pytest.raises(kind) as caught:
        meet("a test")
    assert (status in str(caught.value)) == (kind is RuntimeError)


@pytest.mark.slow
def test_two_processes_and_one_that_hangs() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    several = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(port), str(me)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in (0, 1)
    ]
    try:
        first = several[0].communicate(timeout=300)[0]
    finally:
        several[1].kill()
        second = several[1].communicate()[0]
        several[0].kill()
    equal = "4 × cpu True True\nTrue\n"
    assert equal in first
    assert equal in second
    assert "not all of the 2 processes of jax.distributed came within 1 s" in first
