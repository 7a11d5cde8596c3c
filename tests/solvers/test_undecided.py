"""Band-limited x if a QR of all rows would take too many operations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

import convsolve as cs
from convsolve.cli import main as cli
from convsolve.problem.sizes import Tuning
from support.cases import EPS

# y is noise.
pytestmark = pytest.mark.filterwarnings("ignore:standard errors explain")
LIMITS = Tuning(most_work=1e6)
UNDECIDED = r"undecided: .*rank not known.* {:.3g} \(penalty='ridge'.* operations, more than 1e\+06"


def band_limited(taps: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(taps)
    x = sosfilt(butter(12, 0.3, output="sos"), rng.standard_normal(samples))
    y = np.convolve(x, 0.9 ** np.arange(taps))[:samples] + 0.1 * rng.standard_normal(samples)
    return x, y


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize(
    ("taps", "samples", "solver"), [(100, 4000, "NormalEquations"), (900, 20000, "Conjugate")]
)
def test_the_kernel_is_that_of_the_smallest_ridge_that_proves_full_rank(taps, samples, solver):
    problem = cs.Problem(*band_limited(taps, samples), lags=(0, taps - 1))
    fit = cs.solve(problem, limits=LIMITS)
    strength = fit.stats["strength"]
    with pytest.warns(cs.IdentifiabilityWarning, match=UNDECIDED.format(strength)):
        cs.solve(problem, limits=LIMITS)
    assert (fit.status, fit.identifiability.verdict) == ("approximate", "undecided")
    assert fit.stats["solver"].startswith(solver)
    ridged = cs.solve(problem, ridge=strength, limits=LIMITS)
    assert ridged.status == "solved"
    assert fit.backward_error == ridged.backward_error <= 30 * EPS
    np.testing.assert_array_equal(fit.kernel, ridged.kernel)
    # A quarter of this ridge proves nothing.
    with pytest.warns(cs.IdentifiabilityWarning, match=f"full rank, {strength:.3g} "):
        less = cs.solve(problem, ridge=strength / 4, limits=LIMITS)
    assert (less.status, less.regularization.strength.tolist()) == ("approximate", [strength])
    np.testing.assert_array_equal(less.kernel, ridged.kernel)
    with pytest.raises(cs.IdentifiabilityError, match=r"undecided: .*strict=True"):
        cs.solve(problem, strict=True, limits=LIMITS)
    words = "whether the data determine the kernel was not decided; the kernel of the smallest"
    assert words in " ".join(str(fit).split())


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
def test_the_limit_of_operations_is_for_identify_and_the_default_solver() -> None:
    problem = cs.Problem(*band_limited(60, 2000), lags=(0, 59))
    report = cs.identify(problem, limits=LIMITS)
    assert report.verdict == "undecided"
    assert "a QR is too large to decide the rank" in str(report)
    assert "a QR of 60 unknowns needs 1e+07 operations" in str(report.suggestions[0])
    for solver in ("qr", "svd", "normal"):
        fit, free = (cs.solve(problem, solver, limits=given) for given in (LIMITS, None))
        np.testing.assert_array_equal(fit.kernel, free.kernel)
        assert fit.identifiability.verdict == free.identifiability.verdict == "ambiguous"
    white = np.random.default_rng(0).standard_normal((2, 2000))
    assert cs.solve(cs.Problem(*white, lags=(0, 59)), limits=LIMITS).status == "solved"


def test_the_exit_status_of_an_undecided_problem(tmp_path, capsys) -> None:
    x, y = band_limited(100, 4000)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    call = ["solve", str(tmp_path / "data.npz"), "--lags", "0,99", "--limits", "Limits(memory=3e5)"]
    assert cli.main(call) == 3
    assert "undecided: 100 unknowns" in capsys.readouterr().err
    assert cli.main([*call, "--strict"]) == 3
