"""jax is not imported unless it is needed.

This process has already imported jax, so each test starts Python again.
"""

import os
import subprocess
import sys
import textwrap

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
    *closed_forms, nesterov, adam = SOLVERS
    assert (nesterov, adam) == ("nesterov", "adam")
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
    for words in ({"penalty": "ridge"}, {"penalty": "tc"}, {"penalty": "lasso"},
                  {"penalty": "early_stopping"}, {"loss": "huber"},
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
