"""Mistakes on the command line: one line that names the mistake, and exit status 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.command_files import write_files

TABLE = "solve table.csv --kernel-size 2"
FULL = "solve full.npz --kernel-size 3"
TRIALS = "solve trials.npz --lags 0,4 --edges zeros"
GAPS = "solve gaps_x.npy gaps_y.npy --lags 0,4"

COMMANDS = [
    ("", "required: COMMAND"),
    ("mend full.npz", "invalid choice: 'mend' (choose from"),
    ("solve full.npz --solvr qr", "unrecognized arguments: --solvr qr (see convsolve"),
    ("solve full.npz --kernel-size", "expected one argument (see convsolve solve --help)"),
    ("identify full.npz --kernel-size 3 --strict", "--strict"),
    # Geometry
    ("identify full.npz", "give one of lags=(first, last) in samples"),
    ("identify full.npz --lags 0,x", "lags"),
    ("identify x.npy --lags 0=0,1,2,3,0=2", "lags takes CHANNEL=VALUE for each channel once, not"),
    ("identify x.npy --lags 2,0=0,1", "lags takes CHANNEL=VALUE for each channel once, not"),
    ("identify full.npz --kernel-size 2 --padding odd", "padding"),
    ("identify full.npz --lags 0,1 --kernel-size 2", "not lags= and kernel_size="),
    # Files
    ("solve full.npz y.npy --kernel-size 2", "full.npz"),
    ("solve x.npy --kernel-size 2", "x.npy: there is no y"),
    ("solve gone.npy y.npy --kernel-size 2", "gone.npy"),
    ("solve full.npz --kernel-size 2 --x-columns a", "full.npz"),
    (f"{TABLE} --y-columns out", "one TABLE with --x-columns"),
    (f"{TABLE} --x-columns nope --y-columns out", "nope"),
    ("solve x.npy y.npy x.npy --kernel-size 2", "give X and Y, or one TABLE"),
    ("solve noise.wav slow.wav --lags 0,8", "several sampling rates"),
    (f"{GAPS} --mask gone.npy", "gone.npy"),
    # Methods and their settings
    (f"{FULL} --solver svdd", "solver='svdd' is unknown; did you mean 'svd'?"),
    (f"{TRIALS} --solver huber", "'huber' is no solver: use loss='huber'"),
    (f"{TRIALS} --penalty Smooth(order=two)", "'Smooth(order=two)' is no call with plain values"),
    (f"{TRIALS} --penalty Smooth(ordr=2)", "unexpected keyword argument 'ordr'"),
    (f"{TRIALS} --noise pink", "noise='pink' is unknown; choose from white, ar, hac, cluster"),
    (f"{TRIALS} --ridge 1 --penalty tc", "give ridge= or penalty=, not both"),
    ("compare full.npz --kernel-size 3 --methods svd,lasoo", "did you mean 'lasso'?"),
    ("choose-lags trials.npz --lags 0,4 --select bi", "'bi' is unknown; did you mean 'bic'?"),
    (f"{TRIALS} --channels a\x1b[31mred,b", "must be a list of printable names"),
    (GAPS, "or use missing='drop'"),
    # Outputs
    (f"{FULL} --out gone/fit.npz", "--out gone/fit.npz: its directory is not there"),
    (f"{FULL} --plot fit.txt", "--plot fit.txt: must end in .png, .pdf, .svg"),
    ("predict fit.npz x.npy --out y.npz", "--out y.npz: must end in .npy"),
    (f"{FULL} --out x.npy", "--out x.npy: exists; --overwrite overwrites it"),
    # Solutions
    ("show x.npy", "x.npy"),
    ("predict fit.npz x.npy", "the prediction would be discarded: give --out, --json, or y"),
    ("predict fit.npz y.npy --json", "x has 1 channels, the kernel needs 2"),
    ("predict fit.npz table.csv --x-columns right,left --y-columns out",
     "x has channels ('right', 'left'), the kernel is that of ('left', 'right')"),
    # Files of options
    (f"{FULL} --config gone.toml", "gone.toml"),
    *((f"solve full.npz --config {name}.toml", words) for name, words in {
        "unknown": "unknown.toml: 'lag' is unknown; did you mean 'lags'?",
        "table": "table.toml: 'sove' is unknown; did you mean 'solve'?",
        "damaged": "damaged.toml: is no TOML file: ",
    }.items()),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `support.command_files`, a saved solution, and wrong files of options."""
    from convsolve.cli import main as cli

    made = tmp_path_factory.mktemp("refused")
    write_files(made)
    line = f"solve {made}/table.csv --x-columns left,right --y-columns out --lags 0,1"
    assert cli.main([*line.split(), "--out", f"{made}/fit.npz"]) == 0
    (made / "unknown.toml").write_text("lag = [0, 9]")
    (made / "table.toml").write_text("[sove]\nlags = 3")
    (made / "damaged.toml").write_text("lags = [")
    return made


@pytest.mark.parametrize(("line", "words"), COMMANDS, ids=[line[:70] for line, _ in COMMANDS])
def test_a_mistake_is_one_line_and_changes_no_file(
    folder: Path, run: Any, line: str, words: str
) -> None:
    before = {path.name: path.is_file() and path.read_bytes() for path in folder.iterdir()}
    status, out, err = run(line)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("convsolve: ")
    assert words in err
    assert {p.name: p.is_file() and p.read_bytes() for p in folder.iterdir()} == before
