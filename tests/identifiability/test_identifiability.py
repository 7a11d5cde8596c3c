"""identify: the worst group, the words of a report, warnings and errors."""

from __future__ import annotations

import html
import json
import warnings
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support.exact_cases import BY_NAME
from support.slow import some

NOISE = np.random.default_rng(0).integers(-9, 10, (40, 3)).astype(float)


@pytest.mark.parametrize("name", some(BY_NAME, *list(BY_NAME)[1::4]))
def test_the_report_says_what_its_numbers_say(name: str) -> None:
    """As JSON and in words, whatever is deficient; only what is not unique has remedies."""
    report = cs.identify(BY_NAME[name].problem())
    back = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert back["verdict"] == report.verdict
    assert back["rank"] == report.rank
    assert (back["condition_number"] is None) == np.isinf(report.condition_number)
    assert bool(report.suggestions) == (not report.unique)
    text = str(report)
    assert report.verdict in text
    assert max(map(len, text.splitlines())) <= 88


def test_the_worst_group_speaks() -> None:
    x = NOISE[:, [0, 1, 2, 2]]
    report = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2, n_outputs=4))
    assert report.group_verdicts == ("overdetermined", "rank-deficient")
    assert report._diagnosis.group_ranks == (6, 3)
    assert (report.verdict, report.rank, report._diagnosis.worst_group) == ("rank-deficient", 3, 1)
    assert report.identifiable[..., :2].all()
    assert not report.identifiable[..., 2:].any()
    assert [len(n) for n in report.null_space] == [0, 3]
    assert "(group 1, the worst of 2)" in str(report)


def test_circular_rank_counts_distinct_frequencies() -> None:
    """rank A = min(K, distinct f·d mod W over the non-zero bins), for one channel."""
    n = np.arange(24)
    for bins in ([0], [3], [0, 5], [2, 4, 7]):
        x = sum(np.cos(2 * np.pi * f * n / 24) for f in bins)
        filled = {f % 24 for f in bins} | {-f % 24 for f in bins}
        for d in (1, 2, 3):
            rank = min(10, len({f * d % 24 for f in filled}))
            problem = cs.Problem(x, kernel_size=10, padding="circular", dilation=d)
            assert cs.identify(problem).rank == rank


def test_near_the_tolerance_is_ambiguous() -> None:
    """Two channels that differ by a few hundred roundings, 40 rows: inside the band."""
    x = np.stack([NOISE[:, 0], NOISE[:, 0] * (1 + 200 * np.finfo(float).eps * NOISE[:, 1] / 9)], 1)
    report = cs.identify(cs.Problem(x, kernel_size=(1,)))
    assert report.verdict == "ambiguous"
    assert not report.unique
    low, high = report._diagnosis.rank_band
    assert (low, high) == (1, 2)
    assert "depending on the tolerance within its band" in str(report.suggestions[0])


def test_float32_below_its_own_rounding_is_ambiguous() -> None:
    """A copy by another route of float32 arithmetic differs by its rounding: no evidence."""
    rng = np.random.default_rng(1)
    a = rng.standard_normal(2000).astype(np.float32)
    b = (a * np.float32(0.1)) * np.float32(10)
    report = cs.identify(cs.Problem(np.stack([a, b], 1), kernel_size=(2,)))
    assert report.verdict == "ambiguous"
    assert "below the rounding of the data's own type" in str(report.suggestions[0])
    healthy = rng.standard_normal((2000, 2)).astype(np.float32) * np.float32([1, 1e-6])
    assert cs.identify(cs.Problem(healthy, kernel_size=(2,))).unique


def test_remedies_name_what_limits() -> None:
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
    assert few[1] == (
        "fewer taps: kernel_size=3 has 10 equations for 9 unknowns, and determines them"
    )
    longer = cs.Problem(NOISE[:15], kernel_size=(4,))
    assert cs.identify(longer).unique
    assert cs.identify(cs.Problem(NOISE[:12], kernel_size=(3,))).unique


@pytest.mark.parametrize("x", [NOISE[:12], NOISE[:, [0, 1, 0]], NOISE], ids=lambda x: x.shape)
def test_repr_computes_nothing(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a factor, nor a search for remedies, nor a prediction: what it had is not there."""

    def shown(report: cs.Identifiability) -> tuple[str, str]:
        with monkeypatch.context() as patch:
            for name in ("diagnosis.analyse", "diagnosis.verdicts", "diagnosis.System",
                         "report.advise", "report.wording", "report.forecast"):  # fmt: skip
                patch.setattr(f"convsolve.identifiability.{name}", None)
            return repr(report), html.unescape(report._repr_html_())

    problem = cs.Problem(x, kernel_size=(4,), bias=True)
    report = cs.identify(problem)
    fresh, page = shown(report)
    counted = report.n_equations < report.n_unknowns
    verdict = "underdetermined" if counted else "not computed yet"
    assert fresh == f"<Identifiability {verdict}>"
    assert f"<dt>data</dt><dd>{problem!r}</dd><dt>verdict</dt><dd>{verdict}</dd>" in page
    assert "<dt>report</dt><dd>print(...) computes and shows the whole" in page
    assert f"<Identifiability {report.verdict}>" == shown(report)[0]
    known = f"{report.verdict}, rank {report.rank} of 13"
    later, page = shown(report)
    assert later == f"<Identifiability {known}>"
    assert f"<dt>data</dt><dd>{problem!r}</dd><dt>verdict</dt><dd>{known}</dd>" in page
    assert len(later) <= 88


def test_warning_names_the_way_out_and_carries_the_report() -> None:
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


def test_strict_raises_and_a_ridge_silences() -> None:
    problem = cs.Problem(NOISE[:12], NOISE[:9, 0], kernel_size=(4,))
    with pytest.raises(cs.IdentifiabilityError, match="underdetermined: rank 9 of 12") as caught:
        cs.solve(problem, strict=True)
    assert caught.value.report.nullity == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cs.solve(problem, "svd", ridge=1e-3, strict=True).converged
        assert cs.solve(problem, "normal", ridge=1e-3).converged
    # A ridge of 1e-40 leaves [A; √ridge I] as deficient as it was.
    with pytest.warns(cs.IdentifiabilityWarning):
        cs.solve(problem, "svd", ridge=1e-40)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "nuisance",
    [
        {"bias": True},
        {"confounds": "intercept"},
        {"confounds": 2},
        {"bias": True, "confounds": np.cos(np.arange(60.0))[:, None]},
        {"confounds": np.outer(np.cos(np.arange(60.0)), [1, 2])},
    ],
)
def test_the_rank_counts_bias_and_confounds(nuisance: dict[str, Any], groups: int) -> None:
    """As ``n_unknowns`` does, without columns that depend on others."""
    x = np.random.default_rng(0).standard_normal((60, 2))
    given = {"lags": (0, 4), "edges": "zeros", "groups": groups, **nuisance}
    full = cs.identify(cs.Problem(x, x, **given))
    assert full.rank == full.n_unknowns == 10 // groups + full.problem._nuisance.total
    assert full._diagnosis.group_ranks == (full.rank,) * groups
    assert (full.nullity, full._diagnosis.rank_band) == (0, (full.rank, full.rank))
    assert f"\nRank        {full.rank} of {full.rank} (" in str(full)
    flat = np.stack([x[:, 0], np.zeros(60)], axis=1)
    with pytest.warns(cs.IdentifiabilityWarning) as caught:
        lost = cs.solve(cs.Problem(flat, x, **given)).identifiability
    assert (lost.rank, lost.nullity) == (full.rank - 5, 5)
    assert f"rank {lost.rank} of {full.rank} unknowns" in str(caught[0].message)
