"""Mistakes on the command line: one line that names the mistake, and exit status 2."""

from __future__ import annotations

import os
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
    ("mend full.npz", "'mend' is no command (choose from demo, doctor, identify"),
    ("fit full.npz", "'fit' is no command; use solve;"),
    ("slove full.npz", "'slove' is no command; use solve;"),
    ("solve full.npz --stepz 9", "--stepz 9; use --steps; see convsolve solve --help"),
    ("solve full.npz --force", "--force; use --overwrite;"),
    ("solve full.npz --report p.html", "--report p.html; use --html;"),
    ("solve full.npz --sfreq=9", "--sfreq=9; use --fs;"),
    ("solve full.npz --colour red", "--colour red; see convsolve solve --help"),
    ("identify full.npz --kernel-size 3 --strict", "--strict; see convsolve identify --help"),
    # Geometry
    ("identify full.npz", "either --kernel-size or --lags"),
    ("identify full.npz --kernel-size 2 --lags 0 1", "either --kernel-size or --lags"),
    ("identify full.npz --kernel-size 2 --tmin 0 --tmax 1", "either --kernel-size or --lags"),
    ("identify full.npz --lags 0 1 --tmin 0", "either --lags in samples, or --tmin and --tmax"),
    ("identify full.npz --tmin 0 --tmax 1", "--tmin and --tmax go together"),
    ("identify full.npz --tmin 0 --fs 10", "--tmin and --tmax go together"),
    ("identify x.npy --tmin 2 --tmax 1 --fs 1", "x.npy: --tmin 2 must not exceed --tmax 1"),
    ("identify x.npy --tmin 0 --tmax 1 --fs 1 --stride 2", "--stride does not go with --tmin"),
    ("identify x.npy --lags 0 1 --fs 0", "x.npy: fs must be positive and finite"),
    ("identify x.npy --lags 0 1 --channels a,b,c", "x.npy: channels has 3 names, there are"),
    ("identify full.npz --kernel-size two", "--kernel-size: invalid int value: 'two'"),
    ("identify full.npz --kernel-size 0", "kernel_size must be at least 1, got 0"),
    ("identify full.npz --kernel-size 2 --padding odd", "--padding: 'odd' is not one of valid"),
    ("identify full.npz --kernel-size 2 --padding 1,2,3", "--padding: '1,2,3' is not one of"),
    ("identify full.npz --kernel-size 2 --padding 1,x", "--padding: '1,x' is not one of"),
    ("identify full.npz --kernel-size 2 --edges zeros", "--edges goes with --lags"),
    ("identify full.npz --lags 0 1 --stride 2", "--stride does not go with --lags"),
    ("identify full.npz --lags 1", "--lags takes FIRST LAST"),
    ("identify full.npz --lags 3 1", "--lags takes FIRST LAST"),
    ("identify full.npz --kernel-size 9", "longer records or --padding full"),
    ("identify full.npz --kernel-size 2 --groups 3", "full.npz: --groups 3 does not"),
    ("solve full.npz --lags 0 1", "With --lags, y must have the same length as x"),
    ("solve x.npy y.npy --kernel-size 4", "use --lags instead of --kernel-size"),
    ("solve x.npy x.npy --lags 0 9", "x.npy and x.npy: no window fits: lags [(0, 9)]"),
    ("identify x.npy --lags 0 9", "longer records or --edges zeros"),
    ("identify x.npy --lags 0 99999999999999999999", "overflows"),
    # Files
    ("solve gone.npz --kernel-size 2", "gone.npz: No such file or directory"),
    ("solve . --kernel-size 2", ".: is of no known kind"),
    ("solve cut.npz --kernel-size 2", "cut.npz: is damaged"),
    ("solve other.npz --kernel-size 2", "other.npz: has no member 'x'"),
    ("solve full.npz y.npy --kernel-size 2", "y.npy: one file is enough"),
    ("solve x.npy y.npy x.npy --kernel-size 2", "two files at most, not 3"),
    ("solve x.npy --kernel-size 2", "x.npy: there is no y"),
    ("solve full.npz --kernel-size 2 --x-columns a", "full.npz: columns are for tables"),
    ("solve x.npy --kernel-size 2 --x-columns 0", "x.npy: columns are for tables, such as .csv"),
    (f"{TABLE} --y-columns out", "--y-columns needs --x-columns"),
    (f"{TABLE} --x-columns up --y-columns out", "no column 'up'; the header names"),
    (f"{TABLE} --x-columns 0 --y-columns 3", "table.csv: has no column 3"),
    ("solve nan.csv --lags 0 0 --x-columns a --y-columns b", "nan.csv: x has 1 value that is not"),
    ("solve word.csv --lags 0 0 --x-columns a --y-columns b", "'soft' for a number in line 3"),
    (f"{FULL} --max-bytes 10", "full.npz: holds"),
    (f"{FULL} --max-bytes 0", "--max-bytes must be at least 1, got 0"),
    (f"{FULL} --config gone.toml", "gone.toml: No such file or directory"),
    (f"{FULL} --config .", ".: is not a regular file; give a file of options"),
    (f"{FULL} --config pipe", "pipe: is not a regular file; give a file of options"),
    ("identify a.mat:z --lags 0 2", "a.mat: has no variable 'z'; it has 'x', 'y'"),
    ("solve a.mat a.mat:y --lags 0 2", "several arrays; give one file alone, or name one: a.mat:x"),
    ("solve a.mat --lags 0 2 --mask a.mat", "several arrays; give one file alone, or name one"),
    ("identify a.mat --lags 0 2 --x-columns 0", "a.mat: columns are for tables"),
    ("identify gone.mat:x --lags 0 2", "gone.mat: No such file or directory"),
    ("solve noise.wav slow.wav --lags 0 8", "(noise.wav 8000 Hz, slow.wav 4000 Hz); "),
    ("solve noise.wav --lags 0 8 --x-columns 0", "noise.wav: columns are for tables"),
    ("solve gone.wav heard.wav --lags 0 8", "gone.wav: No such file or directory"),
    ("solve noise.wav heard.wav --lags 0 8 --max-bytes 99", "99 allowed; raise max_bytes"),
    # Solvers and their settings
    (f"{FULL} --ridge -1", "ridge must be finite and not negative"),
    (f"{FULL} --steps 9", "--steps is for the solvers cg, adam, lbfgs"),
    (f"{FULL} --solver cg --steps 0", "steps must be at least 1"),
    (f"{FULL} --solver huber --ridge 1", "--ridge is for the solvers auto"),
    (f"{FULL} --solver adam --learning-rate 0", "--learning-rate must be positive"),
    (f"{FULL} --solver adam --steps -1", "steps must be at least 0"),
    (f"{FULL} --solver lucky", "invalid choice: 'lucky'"),
    (f"{FULL} --bias --solver fft", "solver fft: it has no bias"),
    (f"{FULL} --via moments", "--via is for the solvers adam, lbfgs"),
    ("compare full.npz --kernel-size 3 --solvers svd,lucky", "solver 'lucky' is unknown"),
    ("compare full.npz --kernel-size 3 --bias --solvers fft", "solver fft: it has no bias"),
    ("compare full.npz --kernel-size 3 --seed 1", "--seed is for the solvers adam, lbfgs"),
    ("compare full.npz --kernel-size 3 --solvers adam --loss mae --via moments", "squares only"),
    (f"{TRIALS} --solver qr --tol 1", "--tol is for the solvers cg, adam, lbfgs; name one"),
    (f"{TRIALS} --solver adam --ridge 1", "a ridge is known to moments only; use --via moments"),
    (f"{TRIALS} --solver adam --init x.npy", "x.npy has shape (8, 2), the kernel (5, 2, 1)"),
    (f"{TRIALS} --solver adam --init ones", "ones: is of no known kind"),
    (f"{TRIALS} --solver adam --restarts 99999999999999999999", "must be at most 1000000"),
    (f"{TRIALS} --limits gram=1", "--limits: 'gram' is unknown; choose from factor_bytes,"),
    (f"{TRIALS} --limits gram_bytes", "--limits: 'gram_bytes' is not NAME=N, such as"),
    (f"{TRIALS} --limits gram_bytes=inf", "--limits: 'gram_bytes=inf' is not NAME=N"),
    (f"{TRIALS} --limits gram_bytes=-1", "--limits: gram_bytes must not be negative, got -1"),
    (f"{TRIALS} --n-outputs 3", "trials.npz: --n-outputs 3"),
    (f"{TRIALS} --channels a\x1b[31mred,b", r"'a\x1b[31mred', which cannot be printed in one line"),
    # Penalties
    (f"{TRIALS} --penalty spline", "invalid choice: 'spline'"),
    (f"{TRIALS} --penalty tikhonov", "--penalty tikhonov needs --matrix FILE"),
    (f"{TRIALS} --matrix matrix.npy", "--matrix is for --penalty tikhonov, not ridge"),
    (f"{TRIALS} --penalty ss --correlation 0.1", "--correlation is for --penalty dc, not ss"),
    (f"{TRIALS} --penalty tc --length 3", "--length is for --penalty smooth, not tc"),
    (f"{TRIALS} --penalty tc --decay 2", "decay must lie between 0 and 1, got 2.0"),
    (f"{TRIALS} --penalty tc --channel-groups 0,1", "is for --penalty ridge, not tc"),
    (f"{TRIALS} --channel-groups a,b", "'a,b' lists no numbers, such as 0,1,1"),
    (f"{TRIALS} --channel-groups 0,1,2", "Ridge(channel_groups=...) has 3 labels"),
    (f"{TRIALS} --penalty-weights 1,2", "Ridge(weights=...) needs channel_groups="),
    (f"{TRIALS} --solver lasso --channel-groups 0,1,2", "has 3 labels, x has 2 channels"),
    (f"{TRIALS} --solver lasso --select gcv", "select='gcv' is unknown; choose 'bic' or 'aicc'"),
    (f"{TRIALS} --solver svd --penalty tc", "--penalty is for the solvers regularized"),
    (f"{TRIALS} --ridge 3 --penalty tc", "--ridge is for the solvers auto"),
    (f"{TRIALS} --strength -1", "strength must be positive and finite"),
    (f"{TRIALS} --folds 3", "--folds goes with --select cv"),
    (f"{TRIALS} --select gcv --score r2", "--score goes with --select cv"),
    (f"{TRIALS} --select cv --folds 1", "folds must be at least 2"),
    (f"{TRIALS} --select cv --folds two", "folds='two' is unknown"),
    (f"{TRIALS} --select cv --folds 9999", "9999 folds of 360 rows: a fold would be empty"),
    # Losses and noise
    (f"{TRIALS} --delta 2", "--delta is for the solvers huber; name one of them"),
    (f"{TRIALS} --solver absolute --scale 2", "--scale is for the solvers huber; name one"),
    (f"{TRIALS} --solver huber --delta -1", "delta must be positive and finite, got -1.0"),
    (f"{TRIALS} --solver huber --scale 0", "scale must be positive and finite, got 0.0"),
    (f"{TRIALS} --solver huber --noise hac", "--noise hac is for least squares"),
    (f"{NOISY} pink", "--noise: 'pink' is unknown (choose from white, ar, hac, cluster, 'ar(P)')"),
    (f"{NOISY} ar(56)", "--noise 'ar(56)' takes 56 rows off every record"),
    (f"{NOISY} hac --ridge 1", "--noise hac is for estimates without a penalty"),
    (f"{NOISY} cluster", "--noise cluster needs two records or more"),
    # Masks, weights and confounds
    (GAPS, "or leave out the rows that read it by --missing drop"),
    (f"{GAPS} --missing drop --mask motion.npy", "motion.npy: a mask holds 1 where a row counts"),
    (f"{GAPS} --missing drop --mask nothing.npy", "nothing.npy: No such file"),
    (f"{GAPS} --missing drop --confounds linear", "takes intercept, the degree of a drift or a"),
    (f"{GAPS} --missing drop --confounds -1", "takes intercept, the degree of a drift or a FILE"),
    (f"{GAPS} --missing drop --confounds intercept --bias", "--bias cannot be combined"),
    (f"{GAPS} --missing drop --confounds 30", "a degree of 20 at most"),
    # Outputs
    (f"{FULL} --out gone/fit.npz", "--out gone/fit.npz: its directory is not there"),
    (f"{FULL} --out full.npz/fit.npz", "--out full.npz/fit.npz: its directory is not there"),
    (f"{FULL} --plot full.npz/a.png", "--plot full.npz/a.png: its directory is not there"),
    (f"{FULL} --out .", "--out .: is a directory"),
    (f"{FULL} --out {'x' * 300}", "File name too long"),
    (f"{FULL} --out full.npz --overwrite", "--out full.npz: is one of the inputs"),
    ("solve a.mat:x a.mat:y --kernel-size 3 --out a.mat --overwrite", "is one of the inputs"),
    (f"{FULL} --plot fit.txt", "--plot fit.txt: must end in .png, .pdf or .svg"),
    (f"{FULL} --out fit.png --plot fit.png", "fit.png: is the place of --out; give another"),
    (f"{FULL} --html fit.pdf", "--html fit.pdf: must end in .html"),
    # Other commands
    ("cross-validate full.npz --kernel-size 3", "--folds records needs two records"),
    ("cross-validate trials.npz --lags 0 4 --folds half", "folds='half' is unknown"),
    ("cross-validate trials.npz --lags 0 4 --folds 1", "trials.npz: folds must be at least 2"),
    ("cross-validate trials.npz --lags 0 4 --score r2", "--score goes with --select cv"),
    ("choose-lags trials.npz --lags 0 4 --folds 2", "--folds goes with --select cv"),
    ("compare trials.npz --lags 0 4 --truth x.npy", "--truth x.npy: truth has shape (8, 2)"),
    ("predict fit.npz x.npy", "of the prediction: give --out, --json, or y"),
    ("predict gone.npz x.npy --json", "gone.npz: No such file or directory"),
    ("predict full.npz x.npy --json", "full.npz: no saved solution (it has "),
    ("predict fit.npz y.npy --json", "y.npy: x has 1 channels, the kernel takes 2"),
    ("predict fit.npz x.npy --out y.npy", "--out y.npy: exists; --overwrite overwrites it"),
    ("predict fit.npz x.npy --out fit.npz --overwrite", "--out fit.npz: is one of the inputs"),
    ("predict fit.npz table.csv --x-columns right,left --y-columns out",
     "x has channels ('right', 'left'), the kernel is that of ('left', 'right')"),
    ("predict fit.npz table.csv --x-columns left,right --y-columns right",
     "y has outputs ('right',), the kernel is that of ('out',)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `support.command_files`, a saved solution and a pipe."""
    from convsolve.cli import main as cli

    made = tmp_path_factory.mktemp("refused")
    write_files(made)
    os.mkfifo(made / "pipe")
    line = f"solve {made}/table.csv --x-columns left,right --y-columns out --lags 0 1"
    assert cli.main([*line.split(), "--out", f"{made}/fit.npz"]) == 0
    return made


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
