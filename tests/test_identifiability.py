"""identify: verdict, rank, mask and null space against rational arithmetic, and the words."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convsolve as cs


def exact_rank_and_mask(a: np.ndarray) -> tuple[int, np.ndarray]:
    """Rank, and which unknowns are determined, by elimination over the rationals.

    In reduced echelon form an unknown is determined iff its pivot row holds nothing else.
    """
    m = [[Fraction(float(v)) for v in row] for row in a]
    columns, rank, pivots = a.shape[1], 0, {}
    for c in range(columns):
        pivot = next((r for r in range(rank, len(m)) if m[r][c] != 0), None)
        if pivot is None:
            continue
        m[rank], m[pivot] = m[pivot], m[rank]
        scale = m[rank][c]
        m[rank] = [v / scale for v in m[rank]]
        for r in range(len(m)):
            if r != rank and m[r][c] != 0:
                factor = m[r][c]
                m[r] = [v - factor * u for v, u in zip(m[r], m[rank], strict=True)]
        pivots[c] = rank
        rank += 1
    mask = [c in pivots and sum(v != 0 for v in m[pivots[c]]) == 1 for c in range(columns)]
    return rank, np.array(mask)


def rows_of(x: np.ndarray, taps: int) -> np.ndarray:
    """Windows of one record (T, C) at stride 1."""
    return np.stack([x[t : t + taps].reshape(-1) for t in range(len(x) - taps + 1)])


N = np.arange(40)
NOISE = np.random.default_rng(0).integers(-9, 10, (40, 3)).astype(float)
# (input (T, C), taps, verdict)
EXACT = {
    "white": (NOISE, 4, "overdetermined"),
    "as many rows": (NOISE[:15], 4, "exactly determined"),
    "too few rows": (NOISE[:12], 4, "underdetermined"),
    "constant": (np.full((40, 1), 3.0), 4, "rank-deficient"),
    "ramp": (N[:, None].astype(float), 4, "rank-deficient"),
    "period 3": (np.array([1.0, -2.0, 4.0])[N % 3][:, None], 5, "rank-deficient"),
    "quarter tone": (np.array([0.0, 1.0, 0.0, -1.0])[N % 4][:, None], 3, "rank-deficient"),
    "zero channel": (NOISE * [1, 0, 1], 3, "rank-deficient"),
    "duplicate": (NOISE[:, [0, 1, 0]], 3, "rank-deficient"),
    "proportional": (NOISE[:, [0, 1, 1]] * [1, 1, -4], 3, "rank-deficient"),
    "delayed copy": (np.stack([NOISE[1:, 0], NOISE[:-1, 0]], 1), 3, "rank-deficient"),
    "filtered copy": (
        np.stack([NOISE[1:, 0], NOISE[1:, 0] + 2 * NOISE[:-1, 0]], 1), 3, "rank-deficient"
    ),
    "late impulse": (np.eye(40)[:, [30]], 4, "overdetermined"),
    "first impulse": (np.eye(40)[:, [0]], 4, "rank-deficient"),
    "sparse": (np.where(N % 13 == 5, 1.0, 0.0)[:, None], 6, "overdetermined"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_exact_cases(name: str) -> None:
    x, taps, verdict = EXACT[name]
    report = cs.identify(cs.Problem(x, kernel_size=(taps,)))
    rank, mask = exact_rank_and_mask(rows_of(x, taps))
    assert report.verdict == verdict
    assert report.rank == rank
    assert report.nullity == mask.size - rank
    assert np.array_equal(report.identifiable.reshape(-1), mask)
    assert report.unique == (rank == mask.size)
    assert bool(report.remedies) == (not report.unique)


@given(st.integers(0, 10**6), st.integers(3, 9), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_integer_inputs(seed: int, samples: int, taps: int, channels: int) -> None:
    """Tiny ranges of integers, so that deficiency is common."""
    x = np.random.default_rng(seed).integers(-1, 2, (samples, channels)).astype(float)
    report = cs.identify(cs.Problem(x, kernel_size=(taps,)))
    a = rows_of(x, taps)
    rank, mask = exact_rank_and_mask(a)
    assert report.rank == rank
    assert np.array_equal(report.identifiable.reshape(-1), mask)
    null = report.null_space[0].reshape(-1, a.shape[1])
    assert len(null) == a.shape[1] - rank
    np.testing.assert_allclose(null @ null.T, np.eye(len(null)), atol=1e-12)
    np.testing.assert_allclose(a @ null.T, 0, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(4, 9))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_bias_is_one_more_column(seed: int, channels: int, samples: int) -> None:
    x = np.random.default_rng(seed).integers(-1, 2, (samples, channels)).astype(float)
    report = cs.identify(cs.Problem(x, kernel_size=(2,), bias=True))
    a = np.concatenate([rows_of(x, 2), np.ones((samples - 1, 1))], axis=1)
    rank, mask = exact_rank_and_mask(a)
    assert report.rank == rank - 1
    assert report.n_unknowns == a.shape[1]
    assert np.array_equal(report.identifiable.reshape(-1), mask[:-1])
    assert report.bias_identifiable == mask[-1]


def test_the_worst_group_speaks() -> None:
    x = NOISE[:, [0, 1, 2, 2]]
    report = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2, out_channels=4))
    assert report.group_verdicts == ("overdetermined", "rank-deficient")
    assert report.group_ranks == (6, 3)
    assert (report.verdict, report.rank, report.worst_group) == ("rank-deficient", 3, 1)
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


def test_singular_values_and_condition_are_those_of_a_itself() -> None:
    x = NOISE * [1.0, 1e3, 1e-4]
    report = cs.identify(cs.Problem(x, kernel_size=(3,)))
    values = np.linalg.svd(rows_of(x, 3), compute_uv=False)
    np.testing.assert_allclose(report.singular_values[0], values, rtol=1e-9)
    assert report.condition == pytest.approx(values[0] / values[-1], rel=1e-9)
    constant = cs.identify(cs.Problem(np.ones(20), kernel_size=2))
    assert constant.condition == float("inf")


@pytest.mark.parametrize("power", [-600, -30, 30, 600])
@pytest.mark.parametrize("name", ["white", "zero channel", "filtered copy", "ramp"])
def test_scaling_changes_nothing(name: str, power: int) -> None:
    x, taps, _ = EXACT[name]
    one = np.zeros(x.shape[1], int)
    one[-1] = power
    plain = cs.identify(cs.Problem(x, kernel_size=(taps,)))
    for scaled in (np.ldexp(x, power), np.ldexp(x, one)):
        report = cs.identify(cs.Problem(scaled, kernel_size=(taps,)))
        assert (report.verdict, report.rank) == (plain.verdict, plain.rank)
        assert np.array_equal(report.identifiable, plain.identifiable)


def test_order_of_records_and_outputs_change_nothing() -> None:
    records = [NOISE[:9], NOISE[9:25], NOISE[25:]]
    reports = [
        cs.identify(cs.Problem(r, kernel_size=(4,), out_channels=q))
        for r in (records, records[::-1])
        for q in (1, 7)
    ]
    assert len({(r.verdict, r.rank, r.n_equations) for r in reports}) == 1


def test_both_routes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Gram decides only what it can prove; QR decides the rest."""
    from convsolve import system

    monkeypatch.setattr(system, "SMALL_NUMBERS", 0)
    methods = set()
    for name, (x, taps, verdict) in EXACT.items():
        report = cs.identify(cs.Problem(x, kernel_size=(taps,)))
        assert report.verdict == verdict, name
        assert report.rank == exact_rank_and_mask(rows_of(x, taps))[0]
        methods.add(report.method)
    assert len(methods) == 2


def test_near_the_tolerance_is_ambiguous() -> None:
    """Two channels that differ by a few hundred roundings, 40 rows: inside the band."""
    x = np.stack([NOISE[:, 0], NOISE[:, 0] * (1 + 200 * np.finfo(float).eps * NOISE[:, 1] / 9)], 1)
    report = cs.identify(cs.Problem(x, kernel_size=(1,)))
    assert report.verdict == "ambiguous"
    assert not report.unique
    low, high = report.rank_band
    assert (low, high) == (1, 2)
    assert "depending on where in the band" in report.remedies[0]


def test_float32_below_its_own_rounding_is_ambiguous() -> None:
    """A copy by another route of float32 arithmetic differs by its rounding: no evidence."""
    rng = np.random.default_rng(1)
    a = rng.standard_normal(2000).astype(np.float32)
    b = (a * np.float32(0.1)) * np.float32(10)
    report = cs.identify(cs.Problem(np.stack([a, b], 1), kernel_size=(2,)))
    assert report.verdict == "ambiguous"
    assert "below the rounding of the data's own type" in report.remedies[0]
    healthy = rng.standard_normal((2000, 2)).astype(np.float32) * np.float32([1, 1e-6])
    assert cs.identify(cs.Problem(healthy, kernel_size=(2,))).unique


def test_remedies_name_what_limits() -> None:
    def text(*key: str) -> str:
        x, taps, _ = EXACT[key[0]]
        return " ".join(cs.identify(cs.Problem(x, kernel_size=(taps,))).remedies)

    assert "channel 0 excites only 1 of its 4 taps (its order of excitation); more of " in text(
        "constant"
    )
    assert "channel 1 is zero in every window: drop it" in text("zero channel")
    assert "3 combinations of channels cannot be told apart" in text("duplicate")
    assert "3 more rows of y are needed" not in text("duplicate")
    few = cs.identify(cs.Problem(NOISE[:12], kernel_size=(4,))).remedies
    assert few[0].startswith("3 more rows of y are needed: a record of 15 samples instead of 12")
    assert few[1] == (
        "fewer taps: kernel_size=3 has 10 equations for 9 unknowns, and determines them"
    )
    longer = cs.Problem(NOISE[:15], kernel_size=(4,))
    assert cs.identify(longer).unique
    assert cs.identify(cs.Problem(NOISE[:12], kernel_size=(3,))).unique


def test_counting_misleads_where_rows_repeat() -> None:
    report = cs.identify(cs.Problem(np.ones(10), kernel_size=2))
    assert report.counting.startswith("9 equations for 2 unknowns per output channel: more than")
    assert "only 1 of these equations is independent" in report.counting


def test_the_text_is_the_report() -> None:
    report = cs.identify(cs.Problem(NOISE[:12], kernel_size=(4,), bias=True))
    text = str(report)
    assert repr(report) == text
    assert "1 record × 12 samples × 3 channels" in text.splitlines()[0]
    for words in ("underdetermined", "9 per output channel", "13 per output channel", "infinite"):
        assert words in text
    assert "bias not identifiable" in text
    assert max(map(len, text.splitlines())) <= 88


def test_to_dict_is_json() -> None:
    for x, taps, verdict in EXACT.values():
        report = cs.identify(cs.Problem(x, kernel_size=(taps,)))
        back = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert back["verdict"] == verdict
        assert back["rank"] == report.rank
        assert (back["condition"] is None) == np.isinf(report.condition)


def test_warning_names_the_way_out_and_carries_the_report() -> None:
    problem = cs.Problem(NOISE[:12], NOISE[:9, 0], kernel_size=(4,))
    with pytest.warns(cs.IdentifiabilityWarning, match="rank 9 of 12 unknowns") as caught:
        fit = cs.solve(problem)
    message = str(caught[0].message)
    assert "this is the answer of minimum norm" in message
    assert "3 more rows of y are needed" in message
    assert caught[0].message.report is fit.identifiability
    assert caught[0].filename == __file__
    with pytest.warns(cs.IdentifiabilityWarning, match="fixed by the start and the optimizer"):
        cs.solve(problem, cs.GradientDescent(steps=5))


def test_strict_raises_before_any_solving_and_a_ridge_silences() -> None:
    problem = cs.Problem(NOISE[:12], NOISE[:9, 0], kernel_size=(4,))
    with pytest.raises(cs.IdentifiabilityError, match="underdetermined: rank 9 of 12") as caught:
        cs.solve(problem, strict=True)
    assert caught.value.report.nullity == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cs.solve(problem, cs.LeastSquares(ridge=1e-3), strict=True).ok
        assert cs.solve(problem, cs.NormalEquations(ridge=1e-3)).ok
    # A ridge of 1e-40 leaves [A; √ridge I] as deficient as it was.
    with pytest.warns(cs.IdentifiabilityWarning):
        cs.solve(problem, cs.LeastSquares(ridge=1e-40))


def test_identify_wants_a_problem() -> None:
    with pytest.raises(TypeError, match="expected a Problem, got ndarray; state one first"):
        cs.identify(NOISE)
