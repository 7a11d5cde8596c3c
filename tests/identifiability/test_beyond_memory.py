"""Reports of data whose factors would take more memory than allowed."""

from __future__ import annotations

import re

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.penalty import RIDGE
from convsolve.leastsquares.system import System
from convsolve.problem.sizes import Tuning

P = 6


def test_full_rank_is_proved_without_a_factor() -> None:
    """Two groups, padding and a bias; conjugate gradients alone prove the rank."""
    x = np.random.default_rng(0).standard_normal((3000, 2))
    options = {"groups": 2, "padding": "full", "bias": True, "n_outputs": 4}
    limits = Tuning(factor_bytes=100, gram_bytes=100)
    report = cs.identify(cs.Problem(x, kernel_size=P, **options), limits=limits)
    assert report.verdict == "overdetermined"
    assert report.to_dict()["method"] == "proved by conjugate gradients on a random vector"
    assert report.identifiable.all()
    assert report.bias_identifiable
    assert [v.shape for v in report.null_space] == [(0, P, 1)] * 2
    assert report.collinear == []
    assert not report.padding_dependent.any()
    words = r"full rank is proved, but other values need a factor of .*, more than Limits.mem"
    for name in ("condition_number", "singular_values", "noise_gain", "weakly_determined"):
        with pytest.raises(ValueError, match=words):
            getattr(report, name)
    for ask in (lambda: report.ridge_for(100.0), report.descent):
        with pytest.raises(ValueError, match=words):
            ask()


def test_solutions_of_undecided_data() -> None:
    """A solution with a small ridge if a Gram matrix fits, or along one axis."""
    x = np.sin(np.arange(9000.0))
    y = np.random.default_rng(1).standard_normal(8001)
    limits = Tuning(factor_bytes=1000, gram_bytes=1000)
    for given, solver in ((Tuning(factor_bytes=1000), "NormalEquations"), (limits, "Conjugate")):
        problem = cs.Problem(x, y, kernel_size=1000)
        with pytest.warns(cs.IdentifiabilityWarning, match="undecided: 1000 .*, rank not known"):
            fit = cs.solve(problem, limits=given)
        assert fit.stats["solver"].startswith(solver)
        assert fit.status == "approximate"


TONE = np.sin(np.arange(300.0))
DEFICIENT = {
    "bias": (TONE + 5, {"kernel_size": 8, "bias": True}),
    "groups": (np.stack([TONE, TONE**2], 1), {"kernel_size": (5,), "groups": 2}),
    "units": (np.stack([TONE, 2.0**40 * TONE[::-1]], 1), {"kernel_size": (5,)}),
    "few rows": (TONE[:12], {"kernel_size": 8}),
    "image": (np.outer(TONE[:30], TONE[9:39]), {"kernel_size": (3, 4)}),
}


@pytest.mark.parametrize("name", DEFICIENT)
def test_the_suggested_ridge_suffices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is computed without a factor, and a seventeenth of it does not suffice."""
    x, options = DEFICIENT[name]
    limits = Tuning(factor_bytes=100)
    report = cs.identify(cs.Problem(x, **options), limits=limits)
    with monkeypatch.context() as patch:
        patch.setattr(System, "factor", lambda *_: pytest.fail("a factor was made"))
        assert report.suggestions[-1].argument == "ridge"
        ridge = report.suggestions[-1].value
    y = np.random.default_rng(2).standard_normal((*report.problem._kept.shapes[0], 2))
    problem = cs.Problem(x, y, **options)
    assert cs.solve(problem, ridge=ridge, limits=limits).converged  # a warning would be an error
    for share, enough in ((1, True), (1 / 17, False)):
        assert analyse(problem).system(RIDGE, share * ridge).ridge_certifies is enough
    with pytest.raises(ValueError, match=re.escape(f"ridge={ridge:.3g}: a ridge")):
        _ = report.rank
