"""jax is not imported unless it is needed, and is complete if it is imported late.

This process has already imported jax, so each test starts Python again.
"""

import os
import subprocess
import sys
import textwrap

import pytest

from support.slow import some

START = """
import sys, warnings
import numpy as np
import convsolve as cs
from convsolve.comparison import SOLVERS
from convsolve.method import Method

RNG = np.random.default_rng(0)

def absent():
    heavy = {"jax", "jaxlib", "optax", "ml_dtypes", "scipy.signal", "scipy.stats", "matplotlib"}
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def run(code, *arguments, start=START):
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code), *arguments],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- it stays out


def test_closed_forms_and_reports_do_not_import_jax():
    run("""
    x = RNG.standard_normal((120, 2))
    images = RNG.standard_normal((2, 9, 8, 2))
    problems = {
        "float64": cs.Problem(x, RNG.standard_normal((118, 4)), kernel_size=3),
        "float32": cs.Problem(np.float32(x), np.float32(x[:118]), kernel_size=3),
        "integers": cs.Problem([0, 3, 4, 5, 1], [6, 11, 14, 7], kernel_size=2),
        "groups": cs.Problem(x, RNG.standard_normal((118, 4)), kernel_size=3, groups=2),
        "images": cs.Problem(images, RNG.standard_normal((2, 8, 6, 3)), kernel_size=(2, 3)),
        "bias": cs.Problem(x, x, lags=(-1, 4), edges="zeros", bias=True),
        "records": cs.Problem([x, x[:40]], [x, x[:40]], kernel_size=3, padding="same", stride=1),
        "stride": cs.Problem(x, x[::2], kernel_size=3, stride=2, dilation=2, padding="causal"),
        "circular": cs.Problem(x, x, kernel_size=5, padding="circular"),
        "long": cs.Problem(RNG.standard_normal(20_000), np.ones(20_000 - 1199), kernel_size=1200),
    }
    *closed_forms, descent = SOLVERS
    assert descent == "adam"
    plain = [{"solver": name} for name in ("auto", *closed_forms)]
    methods = [*plain, *(each | {"ridge": 0.1} for each in plain), {"penalty": cs.Smooth(0.1)}]
    tried = set()
    for problem in problems.values():
        assert cs.identify(problem).unique
        for words in methods:
            method = Method.of(**words)
            supported = method.supports(problem._sizes(), problem.spec) is None
            if supported and problem.n_unknowns < 1000:
                cs.solve(problem, **words)
                tried.add(method.name)
    assert len(tried) == 13, tried
    assert cs.solve(problems["long"]).converged
    cs.compare(problems["bias"], closed_forms[:3])
    for words in ({"penalty": "ridge"}, {"penalty": "tc"}, {"penalty": "lasso"}, {"loss": "huber"},
                  {"loss": "absolute"}, {"noise": "ar"}):
        cs.solve(problems["float64"], **words)
    x = np.array([0.0, 1, 0, -1])[np.arange(40) % 4]
    report = cs.identify(cs.Problem(x, kernel_size=3))
    print(report, report.to_dict(), report.null_space, report.noise_gain, report.ridge_for(100))
    fit = cs.solve(problems["float32"])
    print(fit, fit.score(), fit.residuals(), fit.predict(np.float32(RNG.standard_normal((9, 2)))))
    cs.convolve(x, [1, 2], cs.ConvSpec(2))
    absent()
    """)


# --- solvers are pytrees, whichever was imported first

USING = """
def use(solver):
    import jax
    import jax.numpy as jnp
    assert 0.5 in jax.tree.leaves(solver)
    doubled = jax.jit(lambda s: jax.tree.map(lambda leaf: 2 * leaf, s))(solver)
    assert type(doubled) is type(solver) and doubled.tol == 1.0
    several = jax.tree.map(lambda leaf: leaf * jnp.arange(3), solver)
    assert jax.vmap(lambda s: s.tol)(several).tolist() == [0.0, 0.5, 1.0]
    assert jax.grad(lambda s: s.tol ** 3, allow_int=True)(solver).tol == 0.75
"""


@pytest.mark.slow
def test_solvers_made_before_jax():
    run(
        """
    plain = [Method.of(name).solver for name in ("auto", *SOLVERS[:-1])]
    set_up = [cs.ConjugateGradient(tol=0.5), cs.GradientDescent(tol=0.5)]
    descent = cs.GradientDescent(steps=3, init="zeros", seed=np.array([0, 1], np.uint32))
    absent()
    import importlib.machinery
    import jax
    for solver in plain:
        assert not any(isinstance(leaf, cs.extend.Solver) for leaf in jax.tree.leaves(solver))
        assert jax.jit(lambda s: s)(solver) == solver
    for solver in set_up:
        use(solver)
    assert type(jax.__spec__.loader) is importlib.machinery.SourceFileLoader
    assert jax.__loader__ is jax.__spec__.loader
    assert "_Watch" not in [type(f).__name__ for f in sys.meta_path]
    x = np.arange(9.0)
    w, _ = jax.jit(lambda s: cs.fit_kernel(x, x[2:], cs.ConvSpec(3), s))(descent)
    assert w.shape == (3, 1, 1)
    """,
        start=START + USING,
    )


HALF_WAY = """
import builtins, sys

def half_way(act):
    # Once, at the first import after jax's core, when the import of jax is far from its end.
    real = builtins.__import__

    def importing(*names, **more):
        if "jax._src.core" in sys.modules and builtins.__import__ is importing:
            builtins.__import__ = real
            assert not hasattr(sys.modules["jax"], "numpy")
            act()
        return real(*names, **more)

    builtins.__import__ = importing
"""


@pytest.mark.slow
def test_solvers_made_while_another_thread_imports_jax():
    run(
        """
    import sys, threading
    import convsolve as cs
    from convsolve import lazy_jax
    reached, go_on = threading.Event(), threading.Event()

    def pause():
        reached.set()
        assert go_on.wait(100)

    half_way(pause)
    thread = threading.Thread(target=__import__, args=["jax"])
    thread.start()
    assert reached.wait(100)
    import_module = lazy_jax.import_module

    def resume(name):
        go_on.set()
        return import_module(name)

    lazy_jax.import_module = resume
    use(cs.ConjugateGradient(tol=0.5))
    thread.join()
    """,
        start=HALF_WAY + USING,
    )


@pytest.mark.slow
def test_jax_can_be_imported_after_a_failed_import():
    run(
        """
    solver = cs.ConjugateGradient(tol=0.5)

    class NotNow:
        def find_spec(self, name, path=None, target=None):
            if name == "jax.version":
                sys.meta_path.remove(self)
                raise ImportError("not now")

    sys.meta_path.insert(0, NotNow())
    try:
        import jax
    except ImportError as error:
        assert str(error) == "not now"
    assert "jax" not in sys.modules
    use(solver)
    """,
        start=START + USING,
    )


# --- Ctrl-C while jax is imported waits for the end of that import

PRESSED = (
    START
    + HALF_WAY
    + """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
half_way(lambda: signal.raise_signal(signal.SIGINT))
x = RNG.standard_normal(30)
problem = cs.Problem(x, x[2:], kernel_size=3)

def whole():
    return hasattr(sys.modules["jax"], "numpy")
"""
)


@pytest.mark.slow
def test_ctrl_c_in_python_during_the_import_of_jax():
    run(
        """
    for attempt in range(2):
        try:
            cs.fit_kernel(x, x[2:], problem.spec, cs.GradientDescent(steps=1))
        except KeyboardInterrupt:
            assert whole() and attempt == 0
        else:
            assert attempt == 1, "it was lost"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """,
        start=PRESSED,
    )


LINES = [
    "compare x.csv x.csv --lags 0 3",
    "solve x.csv x.csv --lags 0 3 --solver adam",
    "demo",
]


@pytest.mark.parametrize("line", some(LINES, LINES[0]))
def test_ctrl_c_on_the_command_line_during_the_import_of_jax(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("".join(f"{t * t % 7}\n" for t in range(60)))
    run(
        """
    from convsolve.cli.main import main
    assert main(sys.argv[1:]) == 130
    assert whole()
    """,
        *line.split(),
        start=PRESSED,
    )
