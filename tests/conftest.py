"""Fixtures that several test files share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from convsolve.cli import main as cli

# `--hypothesis-profile thorough` tries many examples; both try the same ones each time.
_SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
for _name, _examples in {"default": 40, "thorough": 800}.items():
    settings.register_profile(
        _name,
        max_examples=_examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=_SLOW,
    )
settings.load_profile("default")

# Four devices of one CPU, for what spreads over several; all else is on the first.
jax.config.update("jax_num_cpu_devices", 4)

_COMPILED: list[str] = []


def _note(event: str, duration: float, **_: object) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(_note)


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Fills with one entry per compilation by XLA; clear it before what must not compile."""
    _COMPILED.clear()
    yield _COMPILED
    _COMPILED.clear()


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers for a test whichever ran before it, and others than those of its file."""
    return np.random.default_rng(99)


@pytest.fixture
def double() -> Iterator[None]:
    """JAX in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own answer to Ctrl-C, which a shell may have taken from background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
Y = np.array([14, 20, 14, 15, 10, 4])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of files that commands read, and stand in."""
    monkeypatch.chdir(tmp_path)
    np.savez("full.npz", x=X, y=Y, note="left alone")
    np.savez("short.npz", x=X[:7], y=Y[:5])
    np.savez("flat.npz", x=np.arange(9.0), y=np.ones(7))
    np.savez("other.npz", a=X)
    np.save("x.npy", X)
    np.save("y.npy", Y)
    np.savetxt("x.csv", X, delimiter=",")
    np.savetxt("y.csv", Y)
    table = np.column_stack([X, np.convolve(X[:, 0], [1, 0.5])[:8]])
    np.savetxt("table.csv", table, delimiter=",", header="left,right,out", comments="")
    (tmp_path / "nan.csv").write_text("a,b\n1,2\nnan,3\n4,5\n6,7\n")
    (tmp_path / "word.csv").write_text("a,b\n1,2\nsoft,3\n")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "full.npz").read_bytes()[:300])
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    """Run one command line in that folder: exit code, standard output and error."""

    def call(line):
        status = cli.main(line.split())
        out, err = capsys.readouterr()
        return status, out, err

    return call
