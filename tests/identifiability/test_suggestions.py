"""Padding, collinear taps and remedies in a report; every remedy works."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import DEFAULT_TUNING, Tuning
from support import dense
from support.geometry import Geometry, over_geometries
from support.ordering import null_kernels, taps_of

N = np.random.default_rng(0).integers(-9, 10, (40, 3)).astype(float)
T = np.arange(40)


def report_of(
    x: np.ndarray, taps: object, limits: Tuning = DEFAULT_TUNING, **options: object
) -> cs.Identifiability:
    return cs.identify(cs.Problem(x, kernel_size=taps, **options), limits=limits)


@over_geometries(8)
def test_padding_dependent_taps_are_open_without_padded_rows(geometry: Geometry) -> None:
    """Against the rows of the brute-force matrix whose every tap is on the record."""
    spec = geometry.spec
    x = np.random.default_rng(geometry.seed).integers(-1, 2, geometry.x_shape).astype(float)
    report = cs.identify(geometry.problem(x))
    whole = np.ones(geometry.counts[0], bool)
    for t, _, at in dense.reads(geometry.shapes[0], spec):
        whole[t] &= at is not None
    kept = np.tile(whole.reshape(-1), len(x))
    padding_only = []
    for a in dense.design_matrix(x, spec):
        masks = []
        for rows in (a, a[kept]):
            projection = np.linalg.pinv(rows, rcond=1e-10) @ rows if len(rows) else 0 * a.T @ a
            masks.append(np.abs(np.diag(projection) - 1) < 1e-8)
        padding_only.append(masks[0] & ~masks[1])
    each = np.repeat(np.stack(padding_only)[..., None], geometry.outputs // spec.groups, axis=-1)
    wanted = dense.as_kernel(each, spec.kernel_size)
    assert np.array_equal(taps_of(report, "padding_dependent"), wanted)


@pytest.mark.parametrize("about", [{"drift": 2}, {"weights": [1.0, 2.0]}, {"mask": "some"}])
def test_adjusted_rows_depend_on_padding_as_others_do(about: dict[str, object]) -> None:
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((2, 60, 1)), rng.random((2, 60)) > 0.2
    about = {name: mask if value == "some" else value for name, value in about.items()}
    report = cs.identify(cs.Problem(x, lags=(-3, 6), edges="zeros", **about))
    assert report.unique
    assert not report.padding_dependent.any()
    # Each row at the edges reads zeros outside the record.
    edges = np.zeros((2, 60), bool)
    edges[:, :6] = edges[:, -3:] = True
    given = about | {"mask": edges}
    report = cs.identify(cs.Problem(x, lags=(-3, 6), edges="zeros", **given))
    assert report.identifiable.any()
    np.testing.assert_array_equal(report.padding_dependent, report.identifiable)
    assert "every tap: identifiable only because zeros" in " ".join(str(report).split())
    mixed = report_of(np.stack([N[:, 0], np.ones(40)], 1), 3, padding="causal")
    assert "channel 1 lags 0–2: identifiable only" in " ".join(str(mixed).split())


# --- collinear taps

DELAYED = np.stack([N[1:, 0], N[:-1, 0]], 1)
QUARTER = np.array([0.0, 1, 0, -1])[T % 4]
COLLINEAR = {
    "negative copy": (N[:, [0, 0]] * [1, -1], 1, ["only their difference is determined"]),
    "proportional": (
        N[:, [0, 0]] * [1, 2], 1, ["only 0.5·(channel 0 lag 0) + (channel 1 lag 0) is determined"]
    ),
    "delayed copy": (
        DELAYED, 3,
        [
            "channel 0 lags -1, 0 and channel 1 lags -2, -1 are collinear in 2 pairs: ",
            "only the sum of each pair is determined",
            "(first pair: channel 0 lag 0 and channel 1 lag -1)",
        ],
    ),
    "zero channel": (N * [1, 0, 1], 2, ["channel 1 lags -1, 0 never reach y"]),
    "constant": (np.ones(40), 4, ["lags -3 to 0 are collinear: only their sum is determined"]),
    "quarter tone": (QUARTER, 4, ["difference of each pair is", "(first pair: lags -2, 0)"]),
    "ramp": (
        T.astype(float), 3,
        ["only 2 combinations of these 3 are determined; any multiple of ", "changes nothing"],
    ),
    "many sets": (
        N[:, [0, 0]] * [1, 2], 9,
        ["only 0.5·(channel 0 lag -4) + (channel 1 lag -4) is", "and 4 more such sets of taps"],
    ),
    "rows of an image": (
        np.outer(T[:8], np.ones(8)), (2, 2),
        ["lags (0, 0), (0, -1), (-1, 0), (-1, -1) are collinear in 2 pairs: only the sum of each "],
    ),
    "white": (N, 4, []),
}  # fmt: skip


@pytest.mark.parametrize("power", [0, 40])
@pytest.mark.parametrize("name", COLLINEAR)
def test_collinear_taps_and_the_echelon_basis(name: str, power: int) -> None:
    """The basis spans the null space; each of its kernels has a tap that no other has."""
    x, taps, words = COLLINEAR[name]
    if power and x.ndim == 2 and x.shape[1] < 4:
        x = np.ldexp(x, power * (np.arange(x.shape[-1]) % 2))
    report = report_of(x, taps if isinstance(taps, tuple) else (taps,))
    if not power:
        told = " ".join(report.collinear)
        assert all(w in told for w in words)
        assert bool(told) == (report.rank < report.n_unknowns)
        assert told in " ".join(str(report).split())
        assert report.to_dict()["collinear"] == report.collinear
    (basis,) = report._diagnosis._null_echelon
    flat = basis.reshape(len(basis), int(np.prod(basis.shape[1:])))
    assert all(((v == 1) & (np.count_nonzero(flat, axis=0) == 1)).any() for v in flat)
    orthonormal = null_kernels(report)[0].reshape(flat.shape)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ orthonormal.T @ orthonormal, unit, atol=1e-10)
    assert not len(flat) or np.linalg.matrix_rank(unit, tol=1e-3) == len(flat)


def test_a_bias_that_is_collinear_with_taps_is_named() -> None:
    constant = report_of(np.full(40, 2.0), 1, bias=True)
    assert constant.collinear == [
        "lag 0 and the bias are collinear: only (lag 0) + 0.5·(the bias) is determined"
    ]
    hot = report_of(np.eye(3)[T % 3], (1,), bias=True)
    assert "− (the bias) changes nothing" in hot.collinear[0]
    for report in (constant, hot):
        remedies = [*map(str, report.suggestions)]
        assert "without the bias every tap is determined (bias=False)" in remedies
        assert report._diagnosis.under(report.problem.spec, bias=False).unique
    copied = report_of(N[:, [0, 0]], (1,), bias=True)
    assert "the bias" not in " ".join([*copied.collinear, *map(str, copied.suggestions)])


# --- remedies

# (input, taps, options, what remedies must name, and what must work)
BROKEN = {
    "short": (N[:12], 4, {}, {"kernel_size", "samples"}),
    "short with a bias": (N[:13, :1], 8, {"bias": True}, {"kernel_size", "samples"}),
    "tone": (QUARTER, 6, {}, {"kernel_size"}),
    "copy": (N[:, [0, 1, 0]], 3, {}, {"channels"}),
    "delayed": (DELAYED, 3, {}, {"kernel_size", "channels"}),
    "stride": (np.repeat(np.eye(8)[0], 5), 4, {"stride": 3}, {"kernel_size", "stride"}),
    "image": (np.outer(np.arange(8.0), np.ones(8)), (2, 3), {}, {"kernel_size"}),
}


def problem_of(name: str, **changes: object) -> cs.Problem:
    x, taps, options, _ = BROKEN[name]
    taps = taps if isinstance(taps, tuple) else (taps,)
    return cs.Problem(x, **{"kernel_size": taps, **options, **changes})


@pytest.mark.parametrize("name", BROKEN)
def test_every_remedy_helps(name: str) -> None:
    problem = problem_of(name)
    report = cs.identify(problem)
    assert not report.unique
    x, taps, options, expected = BROKEN[name]
    tried = set()
    for remedy in report.suggestions:
        if remedy.kind in ("taps", "stride"):
            change = {remedy.argument: remedy.value}
            assert cs.identify(problem_of(name, **change)).unique
            tried.add(remedy.argument)
        for channel in remedy.value if remedy.kind == "channels" else ():
            rest = np.delete(x, channel, axis=1)
            assert cs.identify(cs.Problem(rest, kernel_size=(taps,), **options)).unique
            tried.add("channels")
        if remedy.kind == "rows" and remedy.value is not None:
            rng = np.random.default_rng(1)
            longer = rng.standard_normal((remedy.value, problem.n_channels))
            sizes = {"kernel_size": problem.spec.kernel_size, "bias": problem.bias}
            assert cs.identify(cs.Problem(longer, **sizes)).unique
            assert not cs.identify(cs.Problem(longer[:-1], **sizes)).unique
            tried.add("samples")
    ridge = report.suggestions[-1]
    assert (ridge.kind, ridge.argument) == ("ridge", "ridge")
    assert ridge.value == pytest.approx(report.ridge_for(1000), rel=5e-3)
    noise = np.random.default_rng(2).standard_normal(problem._kept.shapes[0])
    again = cs.Problem(x, noise, spec=problem.spec, bias=problem.bias)
    assert cs.solve(again, ridge=ridge.value, strict=True).converged
    assert tried == expected


def test_fewer_taps_are_suggested_as_lags() -> None:
    for edges, lags, kept in (("drop", (-3, 2), (0, 1)), ("circular", (-7, -2), (-3, -2))):
        report = cs.identify(cs.Problem(QUARTER, lags=lags, edges=edges))
        (remedy,) = [remedy for remedy in report.suggestions if remedy.kind == "taps"]
        assert (remedy.argument, remedy.value) == ("lags", kept)
        assert cs.identify(cs.Problem(QUARTER, lags=kept, edges=edges)).unique


LATE = np.zeros(400)
LATE[382] = 1.0
SMOOTH = np.convolve(np.random.default_rng(0).standard_normal(3000), np.hanning(30), "same")


def test_the_document_of_a_report_has_the_coefficients() -> None:
    functions = cs.Fourier(4).functions(range(40))
    dependent = cs.Basis(np.column_stack([functions, functions[:, 1] + functions[:, 2]]))
    tone = np.sin(2 * np.pi * np.arange(400) / 20)
    for x, basis, rank, known in (
        (SMOOTH, dependent, 9, [0, 3, 4, 5, 6, 7, 8]),
        (tone, cs.Fourier(4), 9, [3, 4]),
        (tone, dependent, 9, [3, 4]),
    ):
        found = cs.identify(cs.Problem(x, lags=(0, 39), basis=basis)).to_dict()
        assert found["basis_rank"] == rank
        assert found["coefficient_names"][3] == "0[3]"
        assert np.flatnonzero(found["identifiable_coefficients"][0]).tolist() == known
    assert "basis_rank" not in cs.identify(cs.Problem(tone, lags=(0, 3))).to_dict()


def test_a_basis_is_suggested_for_many_lags() -> None:
    x = np.random.default_rng(0).standard_normal((70, 1))
    report = cs.identify(cs.Problem(x, lags=(0, 39)))
    (remedy,) = [remedy for remedy in report.suggestions if remedy.kind == "basis"]
    assert str(remedy) == "smooth kernels: basis='bsplines8' has 8 unknowns, and determines them"
    assert cs.identify(cs.Problem(x, lags=(0, 39), basis=remedy.value)).unique


DILATED = {"padding": "causal", "dilation": 2}
TOO_SHORT = {
    "aliased taps": (7, {"kernel_size": 6, "dilation": 2, "padding": "circular"}, 5),
    "a tap that reads one sample": (9, {"kernel_size": 5, "bias": True, **DILATED}, 3),
    "zeros around": (11, {"kernel_size": 5, "padding": ((5, 5),)}, 4),
    "enough rows, not enough samples": (5, {"kernel_size": 3, **DILATED}, 4),
}


@pytest.mark.parametrize("name", TOO_SHORT)
def test_the_suggested_record_is_long_enough(name: str) -> None:
    """Rows of padding, or taps a turn apart, count less than other rows."""
    length, options, given = TOO_SHORT[name]
    channels = 3 if name == "zeros around" else 1
    noise = np.random.default_rng(0).standard_normal((20, channels))
    advice = cs.identify(cs.Problem(noise[:given], **options)).suggestions
    assert (advice[0].kind, advice[0].value) == ("rows", length)
    assert "excitation" not in {remedy.kind for remedy in advice}
    assert cs.identify(cs.Problem(noise[:length], **options)).unique
    assert not cs.identify(cs.Problem(noise[: length - 1], **options)).unique


def test_remedies_that_more_rows_do_not_replace() -> None:
    noise = N[:7, 0]
    zero = [*map(str, report_of(np.stack([noise, np.zeros(7)], 1), (5,)).suggestions)]
    assert any(r.startswith("7 more rows of y are needed") for r in zero)
    assert "even with kernel_size=2, channel 1 is zero in all windows: drop it" in zero
    words = "combinations of channels cannot be distinguished"
    for x, copied in ((np.stack([noise, noise], 1), True), (N[:7, :2], False)):
        assert (words in " ".join(map(str, report_of(x, (5,)).suggestions))) == copied


def test_a_burst_at_the_end_needs_the_silence_after_it() -> None:
    transient = np.r_[np.zeros(50), 1.0, 2.0, 3.0]
    silence, more = "record the silence around it too", "more of the same signal does not help"
    for x, words, other in ((transient, silence, more), (np.ones(40), more, silence)):
        told = " ".join(map(str, report_of(x, 6).suggestions))
        assert words in told
        assert other not in told
    assert report_of(np.r_[transient, np.zeros(5)], 6).unique


def test_an_undecided_report_names_what_decides() -> None:
    report = report_of(np.ones(40), 3, Tuning(factor_bytes=8))
    assert report.verdict == report.to_dict()["verdict"] == "undecided"
    assert [remedy.kind for remedy in report.suggestions] == ["memory", "ridge"]
    for name in ("rank", "condition_number"):
        with pytest.raises(ValueError, match=r"undecided: .*3 unknowns needs a QR .* allows"):
            getattr(report, name)
    wide = report_of(N[:12], 4, Tuning(factor_bytes=8))
    assert [remedy.kind for remedy in wide.suggestions] == ["rows", "memory", "ridge"]
    assert wide.verdict == "underdetermined"
    assert "identifiable" not in str(wide)
    assert cs.plot(wide).axes == []


def test_every_deficient_group_has_remedies_and_keeps_its_channels() -> None:
    a, b = N[:, 0], N[:, 1]
    report = report_of(np.stack([a, 0 * a, b, b], -1), (2,), groups=2)
    told = [*map(str, report.suggestions)]
    assert "channel 1 is zero in all windows: use another channel" in told
    assert any(t.startswith("in group 1, 2 combinations of channels cannot be") for t in told)
    assert "drop" not in " ".join(told)


def test_confounds_need_longer_records() -> None:
    """The length for a kernel alone would be too short."""
    x = np.random.default_rng(0).standard_normal((30, 2))
    (rows,) = (
        s for s in cs.identify(cs.Problem(x, lags=(0, 9), drift=3)).suggestions if s.kind == "rows"
    )
    assert (
        str(rows) == "3 more rows of y are needed: more samples, fewer excluded rows or confounds"
    )
