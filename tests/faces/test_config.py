"""Options from a TOML file: what they stand for, what wins, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convsolve.cli.arguments import parse


@pytest.fixture
def config(folder: Path) -> Any:
    """Write a file of options; gives the end of a command line."""

    def write(text: str | bytes) -> str:
        content = text if isinstance(text, bytes) else text.encode()
        (folder / "options.toml").write_bytes(content)
        return "--config options.toml"

    return write


VALUES: list[tuple[str, dict[str, Any]]] = [
    ("padding = [2, 0]", {"padding": ((2, 0),)}),
    ("padding = [[2, 0], [1, 1]]", {"padding": ((2, 0), (1, 1))}),
    ('memory = "4GB"', {"memory": 4 * 10**9}),
    ('data-memory = "1.5 MiB"', {"data_memory": 3 * 2**19}),
    ("\ufefflags = [0, 39]", {"lags": [0, 39]}),
    ("lags = {a = [0, 9], b = [-2, 3]}", {"lags": ["a=0", 9, "b=-2", 3]}),
    ('basis = {a = "Raised-Cosines8"}', {"basis": ["a=raised_cosines8"]}),
    ('[solve]\npenalty = "tc"', {"penalty": "tc"}),
    ('methods = ["auto", "qr"]\n[compare]\njson = true', {"json": False}),
]


@pytest.mark.parametrize(("text", "values"), VALUES)
def test_values(config: Any, text: str, values: dict[str, Any]) -> None:
    found = parse(["solve", "x.npy", *config(text).split()])
    assert {name: getattr(found, name) for name in values} == values


def test_the_command_line_wins(config: Any) -> None:
    text = 'lags = [0, 9]\nbias = true\nout = "a.npz"\n[solve]\nsolver = "qr"\n'
    end = config(text).split()
    found = parse(["solve", "--lags", "0", "2", "--no-bias", "--solver", "svd", "x.npy", *end])
    assert (found.lags, found.bias, found.solver) == ([0, 2], False, "svd")
    assert found.out == Path("a.npz")
    assert parse(["solve", "x.npy"]).lags is None  # and of the next command nothing


EXCLUDED = [
    ("kernel_size = 5\nstride = 2", "--lags 0 4", {"kernel_size": None, "stride": None}),
    ("strength = 1", "--ridge 3", {"strength": None, "ridge": 3.0}),
    # A lasso may have a ridge in addition.
    ('ridge = 1\npenalty = "lasso"', "--strength 3", {"ridge": 1.0, "penalty": "lasso"}),
    ('penalty = "lasso"', "--ridge 3", {"ridge": 3.0, "penalty": "lasso"}),
    ('ridge = 1\npenalty = "lasso"', "--penalty tc", {"ridge": None, "penalty": "tc"}),
]
SMOOTH = 'penalty = "smooth"\norder = 2\n'
DESCENT = 'solver = "adam"\nsteps = 100\ntol = 1e-3\nlearning_rate = 0.1\n'

REPLACED = [
        (SMOOTH, "solve --penalty tc", {"penalty": "tc", "order": None}),
        # Conjugate gradients have steps and a tolerance too.
        (DESCENT, "solve --solver cg", {"steps": 100, "tol": 1e-3, "learning_rate": None}),
        ('basis = "raised_cosines8"\nstretch = 9', "solve --basis bsplines6",
         {"basis": ["bsplines6"], "stretch": None}),
        ('loss = "huber"\ndelta = 2', "solve --loss absolute", {"loss": "absolute", "delta": None}),
        ('penalty = "lasso"\nchannel_groups = [0, 1]', "solve --penalty ridge",
         {"channel_groups": "0,1"}),
        ('methods = ["adam", "smooth"]\norder = 2\nsteps = 9', "compare --methods qr,smooth",
         {"steps": None, "order": 2}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "values"),
    [*((text, f"solve {line}", values) for text, line, values in EXCLUDED), *REPLACED],
)
def test_the_command_line_replaces_options_that_it_excludes(
    config: Any, text: str, line: str, values: dict[str, Any]
) -> None:
    command, *options = line.split()
    found = parse([command, "x.npy", *options, *config(text).split()])
    assert {name: getattr(found, name) for name in values} == values


def test_options_of_components_that_are_not_used_are_refused(run: Any, config: Any) -> None:
    """If the file itself does not use them, or if they are on the command line."""
    end = config("order = 2")
    _, _, err = run(f"solve full.npz --kernel-size 3 {end}")
    assert err == "convsolve: --order needs one of smooth\n"
    end = config(SMOOTH)
    assert run(f"solve full.npz --kernel-size 3 --penalty tc --order 1 {end}")[2] == err
    status, out, err = run(f"solve full.npz --kernel-size 3 --penalty tc {end}")
    assert (status, err) == (0, "")
    assert "Penalty     TC, decay " in out


WRONG: list[tuple[str | bytes, str]] = [
    ("lag = [0, 9]", "options.toml: 'lag' is unknown; did you mean 'lags'?"),
    ("[sove]\nlags = 3", "options.toml: 'sove' is unknown; did you mean 'solve'?"),
    ('config = "other.toml"', "options.toml: 'config' is unknown"),
    ('lags = "far"', "options.toml: 'lags': 'far' is no lag in samples; give FIRST LAST"),
    ("bias = 1", "options.toml: 'bias' must be true or false, got 1"),
    ("out = 1979-05-27", "options.toml: 'out' must be text, got datetime.date("),
    ('channels = ["Fz,Cz", "Pz"]', "options.toml: 'channels' must be words without commas, got"),
    ("lags = [", "options.toml: is no TOML file: "),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[str(text)[:20] for text, _ in WRONG])
def test_what_is_wrong_is_one_line(run: Any, config: Any, text: str | bytes, words: str) -> None:
    status, out, err = run(f"solve full.npz {config(text)}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"convsolve: {words}")
