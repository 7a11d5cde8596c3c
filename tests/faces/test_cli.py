"""The command line: what it reads, what it answers, and how it says what is wrong."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import convsolve as cs
from convsolve import progress_bars
from convsolve.cli import main as cli
from support.slow import some

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
Y = np.array([14, 20, 14, 15, 10, 4])
KERNEL = [[[1], [0]], [[0], [1]], [[2], [0]]]
# The tests run in other folders, where a source tree that is not installed would not be found.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(cs.__file__).parents[1])}


def strict_json(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=ENVIRONMENT | {"PYTHONIOENCODING": "utf-8"},
    )


def test_help_imports_neither_jax_nor_numpy():
    script = """
import sys
from convsolve.cli.main import main
try:
    main(["solve", "--help"])
except SystemExit as end:
    heavy = {"jax", "numpy", "matplotlib", "h5py", "zarr"}
    print("exit", end.code, sorted(heavy.intersection(sys.modules)))
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert "--kernel-size" in done.stdout
    assert done.stdout.endswith("exit 0 []\n")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("identify full.npz --kernel-size 3", 0),
        ("solve full.npz --kernel-size 3 --solver fft", 1),
        ("solve gone.npz --kernel-size 3", 2),
        ("solve short.npz --kernel-size 3", 3),
    ],
)
def test_exit_status_of_the_program(folder, line, status):
    done = python("-m", "convsolve", *line.split())
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == (status >= 2)


@pytest.mark.parametrize(
    "data",
    [
        "full.npz",
        "x.npy y.npy",
        "x.csv y.csv",
        "x.npy y.csv",
    ],
)
def test_every_kind_of_file_gives_the_kernel(run, data):
    status, out, err = run(f"solve {data} --kernel-size 3 --json")
    found = strict_json(out)
    assert (status, err) == (0, "")
    assert np.shape(found["kernel"]) == (3, 2, 1)
    np.testing.assert_allclose(found["kernel"], KERNEL, atol=1e-12)
    assert found["lags"] == [-2, -1, 0]
    assert (found["verdict"], found["unique"]) == ("exactly determined", True)
    assert (found["status"], found["ok"]) == ("solved", True)


@pytest.mark.parametrize(
    "columns",
    [
        "--x-columns left --y-columns out",
        "--x-columns 0 --y-columns 2",
    ],
)
def test_columns_and_lags_of_a_table(run, columns):
    status, out, _ = run(f"solve table.csv {columns} --lags 0 1 --edges zeros --json")
    found = strict_json(out)
    assert status == 0
    assert found["lags"] == [0, 1]
    np.testing.assert_allclose(np.ravel(found["impulse_response"]), [1, 0.5], atol=1e-12)


def test_the_order_of_columns_is_that_of_the_channels(run):
    _, out, _ = run("solve table.csv --x-columns right,left --y-columns out --lags 0 0 --json")
    found = strict_json(out)
    y = np.convolve(X[:, 0], [1, 0.5])[:8]
    expected = np.linalg.lstsq(X[:, ::-1].astype(float), y, rcond=None)[0]
    np.testing.assert_allclose(np.ravel(found["kernel"]), expected, rtol=1e-12)


def test_geometry_reaches_the_problem(run):
    line = "identify x.npy --kernel-size 2 --padding=3,-1 --stride 2 --dilation 3 --groups 2 --bias"
    _, out, _ = run(line + " --json")
    problem = cs.Problem(
        X, kernel_size=2, padding=((3, -1),), stride=2, dilation=3, groups=2, bias=True
    )
    assert strict_json(out)["data"] == repr(problem)
    _, out, _ = run("identify x.npy --lags -1 2 --edges circular --json")
    wrapped = cs.Problem.from_lags(X, lags=(-1, 2), edges="circular")
    assert strict_json(out)["data"] == repr(wrapped)
    _, out, _ = run("identify x.npy --kernel-size 2 2 --stride 1 2 --padding 1,0,0,0 --json")
    plane = cs.Problem(X, kernel_size=(2, 2), stride=(1, 2), padding=((1, 0), (0, 0)))
    assert strict_json(out)["data"] == repr(plane)


def test_identify_prints_the_report_and_needs_no_y(run):
    status, out, err = run("identify x.csv --kernel-size 3")
    assert (status, err) == (0, "")
    assert out.rstrip() == str(cs.identify(cs.Problem(X.astype(float), kernel_size=3)))


def test_json_of_a_deficient_report_has_no_infinity(run):
    status, out, _ = run("identify short.npz --kernel-size 3 --json")
    found = strict_json(out)
    assert status == 3
    assert found["verdict"] == "underdetermined"
    assert (found["rank"], found["n_unknowns"], found["condition"]) == (5, 6, None)


def test_json_turns_the_score_of_a_constant_into_null(run):
    status, out, _ = run("solve flat.npz --kernel-size 3 --json")
    assert status == 3
    assert strict_json(out)["score"]["r2"] == [None]


def test_not_unique_is_told_on_stderr_and_still_written(run):
    status, out, err = run("solve short.npz --kernel-size 3 --out fit.npz")
    assert status == 3
    assert err.startswith("convsolve: warning: underdetermined: rank 5 of 6 unknowns; ")
    assert err.count("\n") == 1
    assert "minimum norm" in err
    assert "LeastSquares" in out
    # The notebook's kernel less its part along the null vector.
    fit = cs.load("fit.npz")
    np.testing.assert_allclose(
        cs.convolve(X[:7], fit.kernel, fit.spec)[:, 0], Y[:5], rtol=0, atol=1e-12
    )
    assert np.linalg.norm(fit.kernel) < np.linalg.norm(KERNEL)


def test_a_ridge_mends_what_is_not_unique(run):
    status, out, err = run("solve short.npz --kernel-size 3 --ridge 0.5 --json")
    assert (status, err) == (0, "")
    report = cs.solve(cs.Problem(X[:7], Y[:5], kernel_size=3), cs.AutoSolver(ridge=0.5))
    np.testing.assert_allclose(strict_json(out)["kernel"], report.kernel, rtol=1e-12)


def test_strict_gives_no_answer(run, folder):
    status, out, err = run("solve short.npz --kernel-size 3 --strict --out fit.npz")
    assert (status, out) == (3, "")
    assert err.startswith("convsolve: underdetermined: rank 5 of 6 unknowns")
    assert err.count("\n") == 1
    assert not (folder / "fit.npz").exists()


def test_solve_gives_errors_for_the_noise_asked_for(folder, run):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 60))
    np.savez(folder / "noisy.npz", x=x, y=y[:57])
    line = "solve noisy.npz --kernel-size 4"
    for noise in ("white", "hac", "ar", "ar(2)"):
        status, out, _ = run(f"{line} --noise {noise} --json")
        found = strict_json(out)
        fit = cs.solve(cs.Problem(x, y[:57], kernel_size=4), noise=noise)
        assert status == 0
        np.testing.assert_array_equal(found["standard_error"], fit.standard_error)
        np.testing.assert_array_equal(found["dof"], fit.dof)
        assert found["noise"]["kind"] == noise.removesuffix("(2)")
        assert found["stats"]["noise"] == noise
        np.testing.assert_array_equal(found["noise"]["variance"], fit.noise.variance)
    assert "standard error" in run(line)[1]
    status, _, err = run(f"{line} --noise cluster")
    assert (status, err.count("\n")) == (2, 1)
    assert "--noise cluster needs two records or more" in err
    assert found["noise"]["order"] == [2]
    np.testing.assert_array_equal(found["noise"]["coefficients"], fit.noise.coefficients)
    for noise, words in (
        (
            "pink",
            "argument --noise: 'pink' is unknown (choose from white, ar, hac, cluster, 'ar(P)')",
        ),
        ("ar(56)", "--noise 'ar(56)' takes 56 rows off every record"),
        ("hac --ridge 1", "--noise hac is for estimates without a penalty"),
    ):
        status, _, err = run(f"{line} --noise {noise}")
        assert (status, err.count("\n")) == (2, 1)
        assert words in err
    assert strict_json(run("solve full.npz --kernel-size 3 --json")[1])["standard_error"] is None


def test_descent_takes_its_settings(run):
    line = "solve full.npz --kernel-size 3 --solver adam --json"
    status, out, _ = run(line + " --loss mae --steps 7 --key 3")
    found = strict_json(out)
    assert (status, found["status"], found["ok"]) == (1, "max steps", False)
    assert found["stats"]["steps"] == 7
    assert found["certificate"] is None
    fit = cs.solve(cs.Problem(X, Y, kernel_size=3), cs.GradientDescent(loss="mae", steps=7, key=3))
    np.testing.assert_array_equal(found["kernel"], fit.kernel)
    _, out, _ = run(line + " --loss mae --steps 7 --key 3 --rate 0.5")
    assert np.abs(np.subtract(strict_json(out)["kernel"], fit.kernel)).max() > 0.1
    _, out, _ = run(line + " --steps 7 --via moments")
    assert strict_json(out)["stats"]["solver"] == "GradientDescent(adam, mse, moments)"
    _, out, _ = run("compare full.npz --kernel-size 3 --solvers svd,adam --json --steps 0")
    assert [row["steps"] for row in strict_json(out)["rows"]] == [None, 0]


def test_compare_lists_every_method_that_applies(run):
    status, out, _ = run("compare table.csv --x-columns 0,1 --y-columns 2 --lags 0 0 --json --bias")
    found = strict_json(out)
    assert status == 0
    assert [row["method"] for row in found["rows"]][:3] == [
        "LeastSquares(svd)",
        "LeastSquares(qr)",
        "NormalEquations",
    ]
    assert "no bias" in found["skipped"]["FFTDeconvolution"]


def test_compare_runs_the_solvers_that_are_named(run):
    status, out, err = run("compare full.npz --kernel-size 3 --solvers svd,normal")
    assert (status, err) == (0, "")
    assert "exactly determined: 6 equations for 6 unknowns" in out
    assert [line.split()[0] for line in out.splitlines()[5:7]] == ["svd", "normal"]
    status, out, _ = run("compare full.npz --kernel-size 3 --solvers fft --json")
    assert (status, strict_json(out)["rows"][0]["status"]) == (1, "approximate")
    status, _, _ = run("compare short.npz --kernel-size 3 --solvers svd")
    assert status == 3


def test_axes_that_look_exchanged_are_doubted(run, folder):
    """However the kernel is asked for."""
    np.save("wide.npy", np.random.default_rng(0).standard_normal((9, 40)))
    for geometry in ("--lags 0 1", "--kernel-size 2", "--tmin 0 --tmax 1 --fs 1"):
        _, _, err = run(f"identify wide.npy {geometry}")
        assert "convsolve: warning: x was read as 1 record × 9 samples × 40 channels" in err


def test_a_warning_is_one_plain_line(run, folder):
    np.save(folder / "wide.npy", np.random.default_rng(0).normal(size=(4, 6)))
    status, _, err = run("identify wide.npy --kernel-size 1")
    assert status == 3
    assert err.startswith("convsolve: warning: x was read as 1 record × 4 samples × 6 channels")
    assert err.count("\n") == 1


def test_nothing_is_overwritten_unless_forced(run, folder, monkeypatch):
    (folder / "fit.npz").write_text("precious")
    (folder / "link.npz").symlink_to(folder / "elsewhere.npz")
    with monkeypatch.context() as patch:
        # It is refused before anything is computed.
        patch.setattr("convsolve.api.solve", None)
        status, out, err = run("solve full.npz --kernel-size 3 --out fit.npz")
        assert (status, out) == (2, "")
        assert err == "convsolve: --out fit.npz: exists; --force overwrites it\n"
        status, _, err = run("solve full.npz --kernel-size 3 --out link.npz --force")
        assert (status, "symbolic link" in err) == (2, True)
    assert (folder / "fit.npz").read_text() == "precious"
    status, _, _ = run("solve full.npz --kernel-size 3 --out fit.npz --force")
    assert status == 0
    np.testing.assert_allclose(cs.load("fit.npz").kernel, KERNEL, atol=1e-12)


def test_a_place_that_turns_out_unwritable_is_named(run, monkeypatch):
    def full(self, path, *, force):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(cs.Solution, "save", full)
    status, _, err = run("solve full.npz --kernel-size 3 --out fit.npz")
    assert (status, err) == (2, "convsolve: fit.npz: No space left on device\n")


def test_errors_inside_the_library_are_not_disguised(run, monkeypatch):
    def broken(*args, **settings):
        raise ValueError("inside")

    monkeypatch.setattr("convsolve.api.solve", broken)
    with pytest.raises(ValueError, match="inside"):
        run("solve full.npz --kernel-size 3")


@pytest.mark.parametrize("command", ["identify", "solve", "compare"])
def test_plot_draws_a_picture(run, folder, command):
    more = " --solvers svd" if command == "compare" else ""
    status, _, err = run(f"{command} full.npz --kernel-size 3 --plot p.png" + more)
    assert (status, err) == (0, "")
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = run(f"{command} full.npz --kernel-size 3 --plot p.png" + more)
    assert (status, err) == (2, "convsolve: --plot p.png: exists; --force overwrites it\n")


def test_report_writes_a_page(run, folder):
    command = "solve full.npz --kernel-size 3 --solver qr --report fit.html"
    status, _, err = run(command)
    assert (status, err) == (0, "")
    page = (folder / "fit.html").read_text(encoding="utf-8")
    assert f"<pre>convsolve {command}</pre>" in page
    assert "LeastSquares(qr): solved" in page
    status, _, err = run(command)
    assert (status, err) == (2, "convsolve: --report fit.html: exists; --force overwrites it\n")


@pytest.mark.parametrize("option", ["plot p.png", "report p.html"])
def test_pictures_without_matplotlib_are_refused_at_once(run, monkeypatch, option):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = run(f"solve full.npz --kernel-size 3 --{option}")
    assert (status, err) == (
        2, f"convsolve: --{option.split()[0]} needs matplotlib: pip install 'convsolve[plot]'\n"
    )  # fmt: skip


def test_demo_hands_its_numbers_to_json(run, monkeypatch):
    def short(out, plot, force):
        out("text")
        return {"plot": str(plot), "force": force, "spread": np.array([1.0, np.inf])}

    monkeypatch.setattr("convsolve.cli.demo.run", short)
    status, out, _ = run("demo --json --plot demo.png")
    assert (status, strict_json(out)) == (
        0,
        {"plot": "demo.png", "force": False, "spread": [1.0, None]},
    )
    assert run("demo")[:2] == (0, "text\n")


def test_progress_is_for_a_person_who_watches(run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    line = "solve full.npz --kernel-size 3 --solver adam --loss mae --steps 40 --json"
    monkeypatch.setattr(progress_bars, "SHOWN_SECONDS", 0.0)
    monkeypatch.setattr("tqdm.std.time", count().__next__)  # a second passes at every look
    assert run(line)[2] == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(line)
    assert "steps of gradient descent:" in terminal.getvalue()
    assert "/40 [" in terminal.getvalue()
    assert "loss " in terminal.getvalue()
    assert terminal.getvalue().endswith(("\r", " \x1b[A"))  # nothing is left
    drawn = len(terminal.getvalue())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    run(line)
    assert len(terminal.getvalue()) == drawn


def test_verbose_says_what_is_done(run):
    line = "solve full.npz --kernel-size 3"
    quiet, said = run(line), run(line + " --verbose")
    assert quiet[2] == ""
    assert said[:2] == quiet[:2]
    first, *_, last = said[2].splitlines()
    assert first.startswith("convsolve: solve by AutoSolver: x: 1 record × 8 samples × 2 channels;")
    assert last.startswith("convsolve: LeastSquares(qr): solved, certificate ")
    assert last.endswith(" s; 6 rows × 6 unknowns × 1 output, 1 group: LeastSquares(qr)")
    assert run(line) == quiet  # and of the next command nothing


def test_ctrl_c_outside_a_descent(run, monkeypatch):
    def interrupted(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("convsolve.api.identify", interrupted)
    assert run("identify full.npz --kernel-size 3") == (130, "", "convsolve: interrupted\n")


def test_ctrl_c_that_was_ignored_ends_the_command(run, monkeypatch, ctrl_c):
    """Python ignores an exception in a finalizer; the command does not answer as if none came."""
    report = cs.identify

    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def ignored(problem, **more):
        Dying()
        return report(problem, **more)

    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    monkeypatch.setattr("convsolve.api.identify", ignored)
    status, _, err = run("identify full.npz --kernel-size 3")
    assert (status, err) == (130, "convsolve: interrupted\n")
    assert seen == []


IMPORTED = ["convsolve.cli", "argparse", "numpy", "jax", "optax", "convsolve.api", "threadpoolctl"]


@pytest.mark.parametrize("module", some(IMPORTED, "numpy"))
def test_ctrl_c_during_an_import(folder, module):
    script = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, *more):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

module = sys.argv.pop(1)
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("convsolve", run_name="__main__")
"""
    line = "solve full.npz --kernel-size 3 --solver adam"
    done = python("-c", script, module, *line.split())
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "convsolve: interrupted\n")


@pytest.mark.slow
def test_ctrl_c_in_a_descent_gives_what_there_is(folder):
    """Pressed when the first steps have been made."""
    script = """
import os, signal, sys
from convsolve.cli import main as cli
from convsolve.progress import listening

def press(stage, done, total, note):
    if stage == "steps of gradient descent" and 0 < done < total:
        os.kill(os.getpid(), signal.SIGINT)

cli._followed = lambda verbose: listening(press)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.main(sys.argv[1:]))
"""
    line = "solve full.npz --kernel-size 3 --solver adam --loss mae --steps 1000000000"
    done = python("-c", script, *line.split(), "--json", "--out", "fit.npz")
    assert done.returncode == 130, done.stderr
    found = strict_json(done.stdout)
    assert found["status"] == "interrupted"
    assert 0 < found["stats"]["steps"] < 1000
    np.testing.assert_array_equal(cs.load("fit.npz").kernel, found["kernel"])


WRITTEN = ("solve short.npz --kernel-size 3 --out fit.npz", 3)
LEFT_EARLY = [
    ("identify full.npz --kernel-size 3", 0),
    ("identify full.npz --kernel-size 3 --json", 0),
    ("solve full.npz --kernel-size 3 --solver fft", 1),
    WRITTEN,
    ("compare full.npz --kernel-size 3 --solvers svd --plot p.png", 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "status"), some(LEFT_EARLY, WRITTEN))
@pytest.mark.parametrize("both", [False, True])
def test_a_reader_that_leaves_early_changes_nothing(folder, line, status, both):
    """Of stdout, or of stderr too: the files are written, and the status is that of the answer."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "convsolve", *line.split()],
        stdout=writing,
        stderr=writing if both else subprocess.PIPE,
        env=ENVIRONMENT,
    )
    os.close(writing)
    assert done.returncode == status
    assert both or (b"Error" not in done.stderr and done.stderr.count(b"\n") == (status == 3))
    assert [Path(word).exists() for word in line.split()[5:] if "." in word] in ([], [True])


@pytest.mark.slow
def test_without_a_place_to_write_the_status_speaks(folder):
    """Not even the complaint goes where the answer would go."""
    solve = [sys.executable, "-m", "convsolve", "solve", "short.npz", "--kernel-size", "3"]
    for closed, lines in ((1, 1), (2, 0)):
        command = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *solve, "--strict"]
        done = subprocess.run(command, capture_output=True, env=ENVIRONMENT)
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.count(b"\n") == lines


def test_a_report_speaks_the_language_of_the_shell(run):
    np.savez("tone.npz", x=np.array([0.0, 1, 0, -1])[np.arange(40) % 4])
    status, out, _ = run("identify tone.npz --lags 0 5")
    text = " ".join(out.split())
    assert status == 3
    assert "fewer taps: --lags 0 1 has 39 equations" in text
    assert re.search(r"towards zero: --ridge [\d.e-]+ brings the condition to 1000", text)
    np.savez("image.npz", x=np.outer(np.arange(8.0), np.ones(8)))
    text = " ".join(run("identify image.npz --kernel-size 2 3")[1].split())
    assert "fewer taps: --kernel-size 2 1 has 56 equations" in text
    np.savez("hot.npz", x=np.eye(3)[np.arange(30) % 3])
    text = " ".join(run("identify hot.npz --kernel-size 1 --bias")[1].split())
    assert "(leave out --bias)" in text
    for words in (" lags=", "kernel_size=", "ridge=", "stride=", "bias=False"):
        assert words not in text


def test_warnings_and_errors_speak_the_language_of_the_shell(run):
    np.savez("tone.npz", x=np.array([0.0, 1, 0, -1])[np.arange(40) % 4], y=np.arange(40.0))
    for strict in ("", " --strict"):
        status, _, err = run(f"solve tone.npz --lags 0 5{strict}")
        assert status == 3
        assert "fewer taps: --lags 0 1 has 39 equations" in err
        assert re.search(r"towards zero: --ridge [\d.e-]+ brings the condition to 1000", err)
        for words in ("lags=", "ridge="):
            assert words not in err


def test_json_of_a_report_has_all_that_its_text_says(run):
    np.savez("tone.npz", x=np.array([0.0, 1, 0, -1])[np.arange(40) % 4])
    document = strict_json(run("identify tone.npz --lags 0 5 --json")[1])
    assert document["lags"] == [[5, 4, 3, 2, 1, 0]]
    assert document["group_verdicts"] == ["rank-deficient"]
    assert document["worst_group"] == 0
    assert document["mask_ambiguous"] is False
    assert {"noise", "confounded", "padding_only", "weakly_determined", "rank_band"} <= set(
        document
    )


def test_a_solution_says_that_its_taps_are_weak(run):
    rng = np.random.default_rng(0)
    x = np.convolve(np.convolve(rng.standard_normal(400), np.hanning(12)), np.hanning(12))
    np.savez("smooth.npz", x=x, y=x)
    out = run("solve smooth.npz --lags 0 19")[1]
    text = " ".join(out.split())
    assert "equations to spare all taps are weakly determined" in text
    assert re.search(r"a ridge of [\d.e-]+ brings the condition to 1000", text)


def recording(folder):
    """A table of two inputs and two outputs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 2))
    y = np.stack([x[:, 0] - x[:, 1], x[:, 1]], axis=1)
    y[1:] += x[:-1]
    table = np.concatenate([x, y + 0.1 * rng.standard_normal(y.shape)], axis=1)
    path = folder / "eeg.csv"
    np.savetxt(path, table, delimiter=",", header="envelope,pitch,Fz,Cz", comments="")
    return path, table


def test_columns_and_seconds_are_spoken_of_as_they_were_named(tmp_path, capsys):
    path, _ = recording(tmp_path)
    columns = ["--x-columns", "envelope,1", "--y-columns", "Fz,Cz"]
    line = ["solve", str(path), *columns, "--fs", "128", "--tmin", "0", "--tmax", "0.02"]
    assert cli.main(line) == 0
    text = capsys.readouterr().out
    assert "lags 0 to 3 (0 to 23.44 ms at 128 Hz), edges drop" in text
    assert re.search(r"^ +output Cz:\n +ms  channel envelope  channel pitch\n", text, re.M)
    assert cli.main([*line, "--json"]) == 0
    told = strict_json(capsys.readouterr().out)
    assert (told["channels"], told["outputs"]) == (["envelope", "pitch"], ["Fz", "Cz"])
    assert told["times"] == [0, 1 / 128, 2 / 128, 3 / 128]


def test_names_come_with_tables_or_are_given(tmp_path, capsys):
    _, table = recording(tmp_path)
    for name, part, header in (("x", table[:, :2], "a,b"), ("y", table[:, 2:], "# u,v")):
        np.savetxt(tmp_path / f"{name}.csv", part, delimiter=",", header=header, comments="")
    names = []
    files = str(tmp_path / "x.csv"), str(tmp_path / "y.csv")
    for more in ([], ["--outputs", "left,right"]):
        assert cli.main(["solve", *files, "--lags", "0", "1", "--json", *more]) == 0
        told = strict_json(capsys.readouterr().out)
        names.append((told["channels"], told["outputs"], told["fs"], told["times"]))
    assert names[0] == (["a", "b"], ["u", "v"], None, None)
    assert names[1] == (["a", "b"], ["left", "right"], None, None)
    assert cli.main(["identify", files[0], "--lags", "0", "1", "--json"]) == 0
    assert strict_json(capsys.readouterr().out)["channels"] == ["a", "b"]
