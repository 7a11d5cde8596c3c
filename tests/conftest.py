"""Fixtures that several test files share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from convsolve.cli import main as cli
from support.command_files import write_files

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


@pytest.fixture
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Call a function of stage, done and note whenever a progress bar moves."""

    def follow(call: Callable[[str, int, str], None]) -> None:
        def update(bar: Any, n: int = 1) -> None:
            bar.n += n
            call(bar.desc, bar.n, bar.postfix)

        monkeypatch.setattr("tqdm.std.tqdm.update", update)

    return follow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with files that commands read."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str, str]]:
    """Run one command line in that folder: exit status, standard output and error."""
    monkeypatch.chdir(folder)

    def call(line: str) -> tuple[int, str, str]:
        return cli.main(line.split()), *capsys.readouterr()

    return call
