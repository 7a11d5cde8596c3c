"""identify: the worst group, the words of a report, warnings and errors."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import convsolve as cs

NOISE = np.random.default_rng(0).integers(-9, 10, (40, 3)).astype(float)


@pytest.mark.parametrize("x", [NOISE, NOISE[:12], NOISE[:, [0, 0]], NOISE * [1, 0, 2.0**-300]])
def test_texts_and_json_agree_with_the_report(x: np.ndarray) -> None:
    report = cs.identify(cs.Problem(x, kernel_size=(4,), bias=True))
    back = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (back["verdict"], back["rank"]) == (report.verdict, report.rank)
    assert (back["condition_number"] is None) == np.isinf(report.condition_number)
    assert bool(report.suggestions) == (not report.unique)
    text = str(report)
    assert report.verdict in text
    assert max(map(len, text.splitlines())) <= 88


def test_the_worst_group_is_reported() -> None:
    x = NOISE[:, [0, 1, 2, 2]]
    report = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2, n_outputs=4))
    assert report._diagnosis.group_verdicts == ("overdetermined", "rank-deficient")
    assert report._diagnosis.group_ranks == (6, 3)
    assert (report.verdict, report.rank, report._diagnosis.worst_group) == ("rank-deficient", 3, 1)
    assert report.identifiable[..., :2].all()
    assert not report.identifiable[..., 2:].any()
    assert [len(n) for n in report.null_space] == [0, 3]
    assert "(group 1, the worst of 2)" in str(report)


def test_repr_shows_what_is_known() -> None:
    for x, verdict in ((NOISE[:12], "underdetermined"), (NOISE[:, [0, 1, 0]], "not computed yet")):
        report = cs.identify(cs.Problem(x, kernel_size=(4,), bias=True))
        assert repr(report) == f"<Identifiability {verdict}>"
        assert f"<dt>verdict</dt><dd>{verdict}</dd>" in report._repr_html_()
        known = f"{report.verdict}, rank {report.rank} of 13"
        assert repr(report) == f"<Identifiability {known}>"


def test_the_warning_has_remedies_and_the_report() -> None:
    problem = cs.Problem(NOISE[:12], NOISE[:9, 0], kernel_size=(4,))
    with pytest.warns(cs.IdentifiabilityWarning, match="rank 9 of 12 unknowns") as caught:
        fit = cs.solve(problem)
    message = str(caught[0].message)
    assert "this is the kernel of minimum norm" in message
    assert "3 more rows of y are needed" in message
    assert caught[0].message.report is fit.identifiability
    assert caught[0].filename == __file__
    with pytest.warns(cs.IdentifiabilityWarning, match="fixed by the start and the optimizer"):
        cs.solve(problem, cs.GradientDescent(steps=5))


def test_strict_raises_unless_a_ridge_suffices() -> None:
    problem = cs.Problem(NOISE[:12], NOISE[:9, 0], kernel_size=(4,))
    with pytest.raises(cs.IdentifiabilityError, match="underdetermined: rank 9 of 12") as caught:
        cs.solve(problem, strict=True)
    assert len(caught.value.report.null_space[0]) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cs.solve(problem, "svd", ridge=1e-3, strict=True).converged
        assert cs.solve(problem, "normal", ridge=1e-3).converged
    # A ridge of 1e-40 leaves [A; √ridge I] as deficient as it was.
    with pytest.warns(cs.IdentifiabilityWarning):
        cs.solve(problem, "svd", ridge=1e-40)
