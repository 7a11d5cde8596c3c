"""identify: the worst group, the words of a report, warnings and errors."""

from __future__ import annotations

import html
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


def test_remedies_name_the_reason() -> None:
    def text(x: np.ndarray, taps: int) -> str:
        return " ".join(map(str, cs.identify(cs.Problem(x, kernel_size=(taps,))).suggestions))

    constant = "channel 0 excites only 1 of its 4 taps (its order of excitation); more of "
    assert constant in text(np.full((40, 1), 3.0), 4)
    assert "channel 1 is zero in all windows: drop it" in text(NOISE * [1, 0, 1], 3)
    duplicate = text(NOISE[:, [0, 1, 0]], 3)
    assert "3 combinations of channels cannot be distinguished" in duplicate
    assert "3 more rows of y are needed" not in duplicate
    few = [*map(str, cs.identify(cs.Problem(NOISE[:12], kernel_size=(4,))).suggestions)]
    assert few[0].startswith("3 more rows of y are needed: a record of 15 samples instead of 12")
    assert few[1].startswith("fewer taps: kernel_size=3 has 10 equations for 9 unknowns, and det")


@pytest.mark.parametrize("x", [NOISE[:12], NOISE[:, [0, 1, 0]]], ids=["short", "copied"])
def test_repr_computes_nothing(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:

    def shown(report: cs.Identifiability) -> tuple[str, str]:
        with monkeypatch.context() as patch:
            for name in ("diagnosis.analyse", "diagnosis.verdicts", "diagnosis.System",
                         "report.advise", "report.wording", "report.descent"):  # fmt: skip
                patch.setattr(f"convsolve.identifiability.{name}", None)
            return repr(report), html.unescape(report._repr_html_())

    problem = cs.Problem(x, kernel_size=(4,), bias=True)
    report = cs.identify(problem)
    fresh, page = shown(report)
    counted = report.n_equations < report.n_unknowns
    verdict = "underdetermined" if counted else "not computed yet"
    assert fresh == f"<Identifiability {verdict}>"
    assert f"<dt>data</dt><dd>{problem!r}</dd><dt>verdict</dt><dd>{verdict}</dd>" in page
    assert f"<Identifiability {report.verdict}>" == shown(report)[0]
    known = f"{report.verdict}, rank {report.rank} of 13"
    later, page = shown(report)
    assert later == f"<Identifiability {known}>"
    assert f"<dt>data</dt><dd>{problem!r}</dd><dt>verdict</dt><dd>{known}</dd>" in page
    assert len(later) <= 88


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
