"""Mistakes on the command line: one line that names the mistake, and exit status 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.command_files import write_files

TABLE = "solve table.csv --kernel-size 2"
FULL = "solve full.npz --kernel-size 3"
TRIALS = "solve trials.npz --lags 0 4 --edges zeros"
GAPS = "solve gaps_x.npy gaps_y.npy --lags 0 4"
NOISY = "solve noisy.npz --kernel-size 4 --noise"

COMMANDS = [
    ("", "required: COMMAND"),
    ("mend full.npz", "invalid choice: 'mend' (choose from"),
    ("identify full.npz --lags 0,x", "argument --lags: 'x' is no lag in samples; give FIRST"),
    ("solve full.npz --stepz 9", "--stepz 9; did you mean --steps? (see convsolve solve --help"),
    ("solve full.npz --colour red", "--colour red (see convsolve solve --help"),
    ("identify full.npz --kernel-size 3 --strict", "--strict (see convsolve identify --help"),
    # Geometry
    ("identify full.npz", "give one of lags=(first, last) in samples"),
    ("identify x.npy --lags 0=0,1 2,3", "--lags takes CHANNEL=FIRST,LAST for every channel"),
    ("identify x.npy --lags 0 2 --stretch 5", "--stretch needs one of raised-cosines"),
    ("identify x.npy --tmin 0=0,0=1 --tmax 1 --fs 1", "'0=0,0=1' is not CHANNEL=NUMBER,CHANNEL=N"),
    ("solve full.npz --kernel-size 3 --test 0=1,b", "'0=1,b' is not CHANNEL=NUMBER,CHANNEL=NUMBER"),
    ("identify x.npy --tmin 0s --tmax 1 --fs 1", "'0s' is no time in seconds; give T, or CHAN"),
    ("identify full.npz --kernel-size 2 --padding odd", "--padding: 'odd' is not one of valid"),
    ("identify full.npz --lags 1", "--lags takes FIRST LAST"),
    # Files
    ("solve full.npz y.npy --kernel-size 2", "or one file with columns or members"),
    ("solve x.npy --kernel-size 2", "x.npy: there is no y"),
    ("solve full.npz --kernel-size 2 --x-columns a", "full.npz: columns are for tables"),
    (f"{TABLE} --y-columns out", "--y-columns needs --x-columns"),
    (f"{TABLE} --x-columns nope --y-columns out", "convsolve: table.csv: has no column 'nope'"),
    (f"{FULL} --config gone.toml", "gone.toml: No such file or directory"),
    ("solve a.mat --lags 0 2 --mask a.mat", "a.mat: has the arrays x, y; name one: a.mat:x"),
    ("solve noise.wav slow.wav --lags 0 8", "two sampling rates (8000 and 4000 Hz)"),
    # Methods and their settings
    (f"{FULL} --solver svdd", "--solver: solver='svdd' is unknown; did you mean 'svd'? (see"),
    ("compare full.npz --kernel-size 3 --methods svd,lasoo", "'lasoo' is unknown; did you mean '"),
    (f"{TRIALS} --solver adam --init x.npy", "x.npy has shape (8, 2), the kernel (5, 2, 1)"),
    (f"{TRIALS} --solver adam --init ones", "--init takes glorot_uniform, zeros or a FILE of a ke"),
    (f"{TRIALS} --memory 4X", "--memory: '4X' is no number of bytes, such as 4e9 or 4GB"),
    ("show x.npy", "x.npy: cannot be read (File is not a zip file)"),
    (f"{TRIALS} --channels a\x1b[31mred,b", "must be a list of printable names"),
    # Penalties
    (f"{TRIALS} --penalty tc --channel-groups 0,1", "--channel-groups needs one of ridge, la"),
    # Losses and noise
    (f"{NOISY} pink", "noise='pink' is unknown; choose from white, ar, hac, cluster (see"),
    (f"{TRIALS} --solver huber", "'huber' is a loss, not a solver: use loss='huber'"),
    (f"{TRIALS} --penalty ridge --select cv --folds records", "without this option, each record"),
    # Masks, weights and confounds
    (GAPS, "or use missing='drop'"),
    (f"{GAPS} --missing drop --mask motion.npy", "motion.npy: the numbers of a mask are 1 where a"),
    (f"{GAPS} --missing drop --drift linear", "--drift: invalid int value: 'linear'"),
    # Outputs
    (f"{FULL} --out gone/fit.npz", "--out gone/fit.npz: its directory is not there"),
    (f"{FULL} --plot full.npz/a.png", "--plot full.npz/a.png: its directory is not there"),
    ("solve a.mat:x a.mat:y --kernel-size 3 --out a.mat --overwrite", "is one of the inputs"),
    (f"{FULL} --plot fit.txt", "--plot fit.txt: must end in .png, .pdf or .svg"),
    (f"{FULL} --out k.wav", "--out k.wav: must end in .npz"),
    # Other commands
    ("cross-validate trials.npz --lags 0 4 --folds records", "--folds: 'records' is not a number"),
    ("choose-lags trials.npz --lags 0 4 --select bi", "invalid choice: 'bi'"),
    ("solve x.npy y.npy x.npy --kernel-size 2", "give X and Y, or one file"),
    ("choose-lags trials.npz --lags 0 4 --folds 2", "--folds goes with --select cv"),
    (f"{TRIALS} --penalty ridge --average records", "--average goes with --select cv"),
    ("compare full.npz --kernel-size 3 --methods ar3", "'ar3' is no solver, penalty or loss; use"),
    (f"{TRIALS} --data-memory -1", "--data-memory: '-1' is no number of bytes"),
    ("compare trials.npz --lags 0 4 --truth x.npy", "--truth x.npy: truth has shape (8, 2)"),
    ("predict fit.npz x.npy", "the prediction would be discarded: give --out, --json, or y"),
    ("predict fit.npz y.npy --json", "y.npy: x has 1 channels, the kernel needs 2"),
    ("predict fit.npz x.npy --out fit.npz --overwrite", "--out fit.npz: is one of the inputs"),
    ("predict fit.npz table.csv --x-columns right,left --y-columns out",
     "x has channels ('right', 'left'), the kernel is that of ('left', 'right')"),
    ("predict fit.npz table.csv --x-columns left,right --y-columns right",
     "y has outputs ('right',), the kernel is that of ('out',)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `support.command_files` and a saved solution."""
    from convsolve.cli import main as cli

    made = tmp_path_factory.mktemp("refused")
    write_files(made)
    line = f"solve {made}/table.csv --x-columns left,right --y-columns out --lags 0 1"
    assert cli.main([*line.split(), "--out", f"{made}/fit.npz"]) == 0
    return made


# Mistakes that are found before the data are read: the file is not there.
EARLY = [
    ("solve --steps 9", "--steps needs one of cg, adam, lbfgs"),
    ("solve --solver adam --learning-rate -1", "--learning-rate must be positive"),
    ("solve --ridge 1 --penalty tc", "give --ridge or --penalty tc, not both"),
    ("solve --strength 1", "--strength needs --penalty"),
    ("solve --penalty tikhonov", "--penalty tikhonov needs --matrix FILE"),
    ("solve --penalty ridge --channel-groups a", "'a' lists no numbers"),
    ("compare --methods qr --steps 9", "--steps needs one of cg, adam, lbfgs"),
]


def contents(folder: Path) -> dict[str, Any]:
    return {path.name: path.is_file() and path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("line", "words"), COMMANDS, ids=[line[:70] for line, _ in COMMANDS])
def test_a_mistake_is_one_line_and_changes_no_file(
    folder: Path, run: Any, line: str, words: str
) -> None:
    before = contents(folder)
    status, out, err = run(line)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("convsolve: ")
    assert words in err
    assert contents(folder) == before


def test_options_that_are_wrong_are_refused_before_data_are_read(run: Any) -> None:
    for line, words in EARLY:
        command, *options = line.split()
        status, _, err = run(" ".join([command, "gone.npz", "--lags", "0", "4", *options]))
        assert (status, err.count("\n")) == (2, 1)
        assert words in err
        assert "gone.npz" not in err
