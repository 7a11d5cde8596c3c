"""identify: the worst group, the words of a report, warnings and errors."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import convsolve as cs

NOISE = np.random.default_rng(0).integers(-9, 10, (40, 3)).astype(float)
FEW = cs.Problem(NOISE[:12], NOISE[:9, 0], kernel_size=(4,))


@pytest.mark.parametrize("x", [NOISE, NOISE[:12], NOISE[:, [0, 0]], NOISE * [1, 0, 2.0**-300]])
def test_texts_and_json_agree_with_the_report(x: np.ndarray) -> None:
    report = cs.identify(cs.Problem(x, kernel_size=(4,), bias=True))
    few = report.n_equations < report.n_unknowns
    for text in (repr(report), report._repr_html_()):
        assert ("underdetermined" if few else "not computed yet") in text
    back = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (back["verdict"], back["rank"]) == (report.verdict, report.rank)
    assert (back["condition_number"] is None) == np.isinf(report.condition_number)
    assert bool(report.suggestions) == (not report.unique)
    for text in (str(report), repr(report), report._repr_html_()):
        assert report.verdict in text
    assert max(map(len, str(report).splitlines())) <= 88


def test_the_worst_group_is_reported() -> None:
    x = NOISE[:, [0, 1, 2, 2]]
    report = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2, n_outputs=4))
    found = report.to_dict()
    assert (report.verdict, report.rank, found["worst_group"]) == ("rank-deficient", 3, 1)
    assert found["group_ranks"] == [6, 3]
    assert report.identifiable[..., :2].all()
    assert not report.identifiable[..., 2:].any()
    assert [len(n) for n in report.null_space] == [0, 3]
    assert "(group 1, the worst of 2; 1 not determined)" in str(report)


def test_the_warning_has_suggestions_and_the_report() -> None:
    with pytest.warns(cs.IdentifiabilityWarning, match="rank 9 of 12 unknowns") as caught:
        fit = cs.solve(FEW)
    message = str(caught[0].message)
    assert "this is the kernel of minimum norm" in message
    assert "3 more rows of y are needed" in message
    assert caught[0].message.report is fit.identifiability
    assert caught[0].filename == __file__
    with pytest.warns(cs.IdentifiabilityWarning, match="fixed by the start and the optimizer"):
        cs.solve(FEW, cs.GradientDescent(steps=5))


def test_strict_raises_unless_a_ridge_suffices() -> None:
    with pytest.raises(cs.IdentifiabilityError, match="underdetermined: rank 9 of 12") as caught:
        cs.solve(FEW, strict=True)
    assert len(caught.value.report.null_space[0]) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cs.solve(FEW, "svd", ridge=1e-3, strict=True).converged
        assert cs.solve(FEW, "normal", ridge=1e-3).converged
    # A ridge of 1e-40 leaves [A; √ridge I] as deficient as it was.
    with pytest.warns(cs.IdentifiabilityWarning):
        cs.solve(FEW, "svd", ridge=1e-40)
