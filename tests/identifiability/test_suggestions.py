"""What a report says beyond its verdict: padding, confounded taps, and remedies that work."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.identifiability.suggestions import Suggestion
from convsolve.identifiability.wording import method
from convsolve.problem.rows import whole_rows
from convsolve.problem.sizes import DEFAULT_LIMITS, Limits
from convsolve.text import as_options
from support import dense
from support.geometry import Geometry, over_geometries
from support.ordering import null_kernels, taps_of

N = np.random.default_rng(0).integers(-9, 10, (40, 3)).astype(float)
T = np.arange(40)


def report_of(
    x: np.ndarray, taps: object, limits: Limits = DEFAULT_LIMITS, **options: object
) -> cs.Identifiability:
    return cs.identify(cs.Problem(x, kernel_size=taps, **options), limits=limits)


# --- taps known only through zero padding


@over_geometries(8)
def test_padding_dependent_is_what_whole_windows_leave_open(geometry: Geometry) -> None:
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


@pytest.mark.parametrize(
    "about",
    [{"confounds": "intercept"}, {"confounds": 2}, {"weights": [1.0, 2.0]}, {"mask": "some"}],
    ids=str,
)
def test_rows_that_are_adjusted_rest_on_zeros_no_more_than_others(about: dict[str, object]) -> None:
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((2, 60, 1)), rng.random((2, 60)) > 0.2
    about = {name: mask if value == "some" else value for name, value in about.items()}
    report = cs.identify(cs.Problem(x, lags=(-3, 6), edges="zeros", **about))
    assert report.unique
    assert not report.padding_dependent.any()
    # Of the rows at the edges alone, each of which reads zeros outside the record, all rests on
    # these.
    edges = np.zeros((2, 60), bool)
    edges[:, :6] = edges[:, -3:] = True
    given = about | {"mask": edges}
    report = cs.identify(cs.Problem(x, lags=(-3, 6), edges="zeros", **given))
    assert report.identifiable.any()
    np.testing.assert_array_equal(report.padding_dependent, report.identifiable)


def test_rows_of_whole_windows_are_those_that_read_no_zeros() -> None:
    for spec, shape in (
        (cs.ConvSpec(4, padding="same", stride=2), (11,)),
        (cs.ConvSpec((3, 2), padding="full", dilation=(2, 1)), (7, 5)),
        (cs.ConvSpec(3, padding=((2, -1),)), (8,)),
    ):
        ones = cs.convolve(np.ones(shape), np.ones(spec.kernel_size), spec)
        whole = ones == np.prod(spec.kernel_size)
        np.testing.assert_array_equal(whole_rows(spec, shape), whole)


def test_padding_is_told_in_words() -> None:
    def text(*args: object, **options: object) -> str:
        return " ".join(str(report_of(*args, **options)).split())

    words = "identifiable only because zeros are assumed outside the record"
    assert f"every tap: {words}" in text(np.ones(40), 4, padding="causal")
    assert f"every tap: {words}" in text(N[:3, 0], 5, padding="full")
    assert words not in text(N[:, 0], 4, padding="causal")
    assert words not in text(N[:, 0], 4, padding="circular")
    assert words not in text(np.ones(40), 4)
    mixed = text(np.stack([N[:, 0], np.ones(40)], 1), 3, padding="causal")
    assert f"channel 1 lags 0–2: {words}" in mixed
    lagged = cs.identify(cs.Problem(np.ones(40), lags=(0, 3), edges="zeros"))
    assert f"every tap: {words}" in " ".join(str(lagged).split())


# --- what is confounded

DELAYED = np.stack([N[1:, 0], N[:-1, 0]], 1)
CONFOUNDED = {
    "copy": (N[:, [0, 0]], 1, ["channel 0 lag 0 and channel 1 lag 0", "only their sum is"]),
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
    "alternating": ((-1.0) ** T, 2, ["lags -1, 0 are collinear: only their difference"]),
    "quarter tone": (
        np.array([0.0, 1, 0, -1])[T % 4], 4,
        [
            "lags -3 to 0 are collinear in 2 pairs: only the difference of each pair is determined",
            "(first pair: lags -2, 0)",
        ],
    ),
    "ramp": (
        T.astype(float), 3,
        ["only 2 combinations of these 3 are determined; any multiple of ", "changes nothing"],
    ),
    "many pairs": (
        N[:, [0, 0]], 9,
        [
            "channel 0 lags -8 to 0 and channel 1 lags -8 to 0 are collinear in 9 pairs: ",
            "only the sum of each pair is determined",
            "(first pair: channel 0 lag 0 and channel 1 lag 0)",
        ],
    ),
    "many sets": (
        N[:, [0, 0]] * [1, 2], 9,
        ["only 0.5·(channel 0 lag -4) + (channel 1 lag -4) is", "and 4 more such sets of taps"],
    ),
    "rows of an image": (
        np.outer(T[:8], np.ones(8)), (2, 2),
        [
            "lags (0, 0), (0, -1), (-1, 0), (-1, -1) are collinear in 2 pairs: only the sum of "
            "each pair is determined (first pair: lags (0, 0), (0, -1))"
        ],
    ),
    "white": (N, 4, []),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFOUNDED)
def test_confounded_taps_in_words(name: str) -> None:
    x, taps, words = CONFOUNDED[name]
    report = report_of(x, taps if isinstance(taps, tuple) else (taps,))
    told = " ".join(report.collinear)
    assert all(w in told for w in words)
    assert bool(told) == (report.nullity > 0)
    assert told in " ".join(str(report).split())
    assert report.to_dict()["collinear"] == report.collinear


def test_the_bias_is_named_where_it_stands_in_for_taps() -> None:
    constant = report_of(np.full(40, 2.0), 1, bias=True)
    assert constant.collinear == [
        "lag 0 and the bias are collinear: only (lag 0) + 0.5·(the bias) is determined"
    ]
    hot = report_of(np.eye(3)[T % 3], (1,), bias=True)
    (told,) = hot.collinear
    assert "− (the bias) changes nothing" in told
    for report in (constant, hot):
        assert "without the bias every tap is determined (bias=False)" in map(
            str, report.suggestions
        )
        assert report._diagnosis.under(report.problem.spec, bias=False).unique
    apart = report_of(np.stack([N[:, 0], N[:, 0]], 1), (1,), bias=True)
    assert "the bias" not in " ".join([*apart.collinear, *map(str, apart.suggestions)])


@pytest.mark.parametrize("name", CONFOUNDED)
@pytest.mark.parametrize("power", [0, 40])
def test_the_echelon_basis_spans_the_null_space(name: str, power: int) -> None:
    x, taps, _ = CONFOUNDED[name]
    x = np.ldexp(x, power * (np.arange(x.shape[-1]) % 2) if x.ndim == 2 and taps != (2, 2) else 0)
    report = report_of(x, taps if isinstance(taps, tuple) else (taps,))
    (basis,) = report._diagnosis._null_echelon
    flat = basis.reshape(len(basis), int(np.prod(basis.shape[1:])))
    assert len(flat) == report.nullity
    pivots = [np.flatnonzero((v == 1) & (np.count_nonzero(flat, axis=0) == 1)) for v in flat]
    assert all(len(p) for p in pivots)
    orthonormal = null_kernels(report)[0].reshape(flat.shape)
    if len(flat):
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        np.testing.assert_allclose(unit @ orthonormal.T @ orthonormal, unit, atol=1e-10)
        assert np.linalg.matrix_rank(unit, tol=1e-3) == len(flat)


# --- remedies do what they say

# (input, taps, options, what remedies must name, and what must work)
BROKEN = {
    "short": (N[:12], 4, {}, {"kernel_size", "samples"}),
    "short with a bias": (N[:13, :1], 8, {"bias": True}, {"kernel_size", "samples"}),
    "constant": (np.ones(40), 4, {}, {"kernel_size"}),
    "tone": (np.array([0.0, 1, 0, -1])[T % 4], 6, {}, {"kernel_size"}),
    "copy": (N[:, [0, 1, 0]], 3, {}, {"channels"}),
    "delayed": (DELAYED, 3, {}, {"kernel_size", "channels"}),
    "zero": (N * [1, 0, 1], 3, {}, {"channels"}),
    "stride": (np.repeat(np.eye(8)[0], 5), 4, {"stride": 3}, {"kernel_size", "stride"}),
    "stride with a pattern": (
        np.kron(N[:12, 0], [1.0, 1.0]),
        3,
        {"stride": 2},
        {"kernel_size", "stride"},
    ),
    "image": (np.outer(np.arange(8.0), np.ones(8)), (2, 3), {}, {"kernel_size"}),
    "few images": (N[:4, 0].reshape(2, 2), (2, 2), {}, {"kernel_size"}),
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
    noise = np.random.default_rng(2).standard_normal(problem._row_shapes[0])
    again = cs.Problem(x, noise, spec=problem.spec, bias=problem.bias)
    assert cs.solve(again, ridge=ridge.value, strict=True).converged
    assert tried == expected


def test_a_remedy_names_arguments_of_python_or_options_of_the_shell() -> None:
    for argument, value, python, shell in (
        ("ridge", 0.0123456, "ridge=0.0123", "--ridge 0.0123"),
        ("ridge", 1000.0, "ridge=1e+03", "--ridge 1e+03"),
        ("kernel_size", 3, "kernel_size=3", "--kernel-size 3"),
        ("kernel_size", (2, 1), "kernel_size=(2, 1)", "--kernel-size 2 1"),
        ("lags", (-1, 4), "lags=(-1, 4)", "--lags -1 4"),
        ("lags", ((0, 1), (-2, 2)), "lags=((0, 1), (-2, 2))", "--lags 0 1 -2 2"),
        ("bias", False, "bias=False", "leave out --bias"),
        ("edges", "zeros", "edges='zeros'", "--edges zeros"),
        ("padding", ((2, 0), (1, 1)), "padding=((2, 0), (1, 1))", "--padding=2,0,1,1"),
        ("noise", "ar2", "noise='ar2'", "--noise ar2"),
        ("matrix", "a b.npy", "matrix='a b.npy'", "--matrix 'a b.npy'"),
    ):
        remedy = Suggestion("some", "try {} first", argument, value)
        assert str(remedy) == f"try {python} first"
        with as_options():
            assert str(remedy) == f"try {shell} first"
    assert str(Suggestion("rows", "{} are needed")) == "{} are needed"


def test_fewer_lags_are_asked_for_as_lags() -> None:
    x = np.array([0.0, 1, 0, -1])[T % 4]
    for edges, lags, kept in (
        ("drop", (0, 5), (0, 1)),
        ("drop", (-3, 2), (0, 1)),
        ("drop", (-7, -2), (-3, -2)),
        ("circular", (0, 5), (0, 1)),
    ):
        report = cs.identify(cs.Problem(x, lags=lags, edges=edges))
        (asked,) = [remedy for remedy in report.suggestions if remedy.kind == "taps"]
        assert (asked.argument, asked.value) == ("lags", kept)
        assert cs.identify(cs.Problem(x, lags=kept, edges=edges)).unique


DILATED = {"padding": "causal", "dilation": 2}
TOO_SHORT = {
    "aliased taps": (7, {"kernel_size": 6, "dilation": 2, "padding": "circular"}, 5),
    "a tap that reads one sample": (9, {"kernel_size": 5, "bias": True, **DILATED}, 3),
    "zeros around": (11, {"kernel_size": 5, "padding": ((5, 5),)}, 4),
    "enough rows, not enough samples": (5, {"kernel_size": 3, **DILATED}, 4),
}


@pytest.mark.parametrize("name", TOO_SHORT)
def test_the_record_asked_for_is_long_enough(name: str) -> None:
    """Where rows of padding, or taps a turn apart, make counting alone wrong."""
    length, options, given = TOO_SHORT[name]
    channels = 3 if name == "zeros around" else 1
    noise = np.random.default_rng(0).standard_normal((20, channels))
    advice = cs.identify(cs.Problem(noise[:given], **options)).suggestions
    assert (advice[0].kind, advice[0].value) == ("rows", length)
    assert "excitation" not in {remedy.kind for remedy in advice}
    assert cs.identify(cs.Problem(noise[:length], **options)).unique
    assert not cs.identify(cs.Problem(noise[: length - 1], **options)).unique


def test_what_more_rows_would_not_mend_is_told_beside_them() -> None:
    noise = N[:7, 0]
    zero = [*map(str, report_of(np.stack([noise, np.zeros(7)], 1), (5,)).suggestions)]
    assert any(r.startswith("7 more rows of y are needed") for r in zero)
    assert "even with kernel_size=2, channel 1 is zero in all windows: drop it" in zero
    twice = " ".join(map(str, report_of(np.stack([noise, noise], 1), (5,)).suggestions))
    assert "combinations of channels cannot be distinguished" in twice
    assert "cannot be distinguished" not in " ".join(
        map(str, report_of(N[:7, :2], (5,)).suggestions)
    )


def test_a_burst_at_the_end_asks_for_the_silence_after_it() -> None:
    transient = np.r_[np.zeros(50), 1.0, 2.0, 3.0]
    told = " ".join(map(str, report_of(transient, 6).suggestions))
    assert "record the silence around it too" in told
    assert "more of the same" not in told
    assert report_of(np.r_[transient, np.zeros(5)], 6).unique
    assert "more of the same signal does not help" in " ".join(
        map(str, report_of(np.ones(40), 4).suggestions)
    )


def test_an_undecided_report_names_what_decides() -> None:
    report = report_of(np.ones(40), 3, Limits(factor_bytes=8))
    assert report.verdict == "undecided"
    assert not report._diagnosis.decided
    assert [remedy.kind for remedy in report.suggestions] == ["memory", "ridge"]
    assert "a QR of 3 unknowns would take 0.0 GiB" in str(report.suggestions[0])
    decided_by = method(report._diagnosis)
    assert decided_by.startswith("a QR exceeds the memory limit, and nothing smaller")
    with pytest.raises(ValueError, match=r"3 unknowns needs a QR .* the memory limit"):
        _ = report.condition_number
    wide = report_of(N[:12], 4, Limits(factor_bytes=8))
    assert [remedy.kind for remedy in wide.suggestions] == ["rows", "memory", "ridge"]
    assert wide.suggestions[0].value == 15
    assert cs.plot(wide).axes == []
    assert wide.verdict == "underdetermined"
    assert "identifiable" not in str(wide)


def test_every_deficient_group_is_told_and_none_is_shortened() -> None:
    a, b = N[:, 0], N[:, 1]
    report = report_of(np.stack([a, 0 * a, b, b], -1), (2,), groups=2)
    told = [*map(str, report.suggestions)]
    assert "channel 1 is zero in all windows: use another channel" in told
    (shared,) = [t for t in told if "cannot be distinguished" in t]
    assert shared.startswith("in group 1, 2 combinations of channels")
    assert "drop" not in " ".join(told)
