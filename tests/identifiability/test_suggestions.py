"""Padding, collinear taps and suggestions in a report; every suggestion helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense
from support.geometry import Geometry, over_geometries
from support.ordering import taps_of

N = np.random.default_rng(0).integers(-9, 10, (40, 3)).astype(float)
T = np.arange(40)


def report_of(x: np.ndarray, *, limits: Any = None, **options: object) -> cs.Identifiability:
    return cs.identify(cs.Problem(x, **options), limits=limits)


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


@pytest.mark.parametrize("about", [{"drift": 2}, {"weights": [1.0, 2.0]}, {}])
def test_adjusted_rows_depend_on_padding_as_others_do(about: dict[str, object]) -> None:
    x, edges = np.random.default_rng(0).standard_normal((2, 60, 1)), np.zeros((2, 60), bool)
    edges[:, :6] = edges[:, -3:] = True  # Each of these rows reads zeros outside the record.
    about |= {"lags": (-3, 6), "edges": "zeros"}
    assert not report_of(x, mask=~edges, **about).padding_dependent.any()
    report = report_of(x, mask=edges, **about)
    assert report.identifiable.any()
    np.testing.assert_array_equal(report.padding_dependent, report.identifiable)
    assert "outside the record: all 10 taps" in " ".join(str(report).split())


# --- collinear taps

DELAYED = np.stack([N[1:, 0], N[:-1, 0]], 1)
QUARTER = np.array([0.0, 1, 0, -1])[T % 4]
ONES = np.full(40, 2.0)
# x, first and last lag, a bias, and what is collinear.
COLLINEAR = {
    "negative copy": (
        N[:, [0, 0]] * [1, -1], (0, 0), False,
        ["channel 0 lag 0, channel 1 lag 0 are collinear: only their difference is determined"],
    ),
    "proportional": (
        N[:, [0, 0]] * [1, 2], (0, 0), False,
        ["only 0.5·(channel 0 lag 0) + (channel 1 lag 0) is determined"],
    ),
    "delayed copy": (
        DELAYED, (0, 1), False,
        ["channel 0 lag 1, channel 1 lag 0 are collinear: only their sum is determined"],
    ),
    "zero channel": (N * [1, 0, 1], (-1, 0), False, ["y does not depend on channel 1 lags -1, 0"]),
    "constant": (ONES, (-3, 0), False, ["lags -3 to 0 are collinear: only their sum is"]),
    "quarter tone": (QUARTER, (0, 3), False, ["lags 0, 2 are collinear", "lags 1, 3 are"]),
    "ramp": (
        T * 1.0, (0, 2), False,
        ["only 2 combinations of these 3 are determined; a multiple of "],
    ),
    "constant and a bias": (
        ONES, (0, 0), True,
        ["lag 0 and the bias are collinear: only (lag 0) + 0.5·(the bias) is determined"],
    ),
    "dummy coding and a bias": (np.eye(3)[T % 3], (0, 0), True, ["− (the bias) changes nothing"]),
    "copy and a bias": (
        N[:, [0, 0]], (0, 0), True, ["channel 0 lag 0, channel 1 lag 0 are collinear: only"]
    ),
    "white": (N, (0, 3), False, []),
}  # fmt: skip


@pytest.mark.parametrize("name", COLLINEAR)
def test_collinear_taps(name: str) -> None:
    x, lags, bias, words = COLLINEAR[name]
    report = report_of(x, lags=lags, bias=bias)
    assert len(report.collinear) == len(words)
    for sentence, part in zip(report.collinear, words, strict=True):
        assert part in sentence
        assert sentence in " ".join(str(report).split())
    assert report.to_dict()["collinear"] == report.collinear


def test_taps_of_layers_are_numbered_in_their_order() -> None:
    x = np.outer(np.arange(8.0), np.ones(8))
    first, second = report_of(x, kernel_size=(2, 2)).collinear
    assert {first[:16], second[:16]} == {"taps (0, 0), (0,", "taps (1, 0), (1,"}
    late = np.r_[np.zeros(30), 1.0]
    assert report_of(late, kernel_size=4).collinear == ["y does not depend on taps 0–2"]


# --- suggestions

SMOOTH = np.random.default_rng(0).standard_normal((70, 1))
LAYER = {"kernel_size": 6, "dilation": 2}
# x, options, and the kinds of suggestions.
BROKEN: dict[str, tuple[np.ndarray, dict[str, Any], list[str]]] = {
    "short": (N[:12], {"kernel_size": 4}, ["rows", "taps"]),
    "short with a bias": (N[:13, :1], {"kernel_size": 8, "bias": True}, ["rows", "taps"]),
    "short records": (N[:20, 0].reshape(2, 10, 1), {"lags": (0, 7)}, ["rows", "taps"]),
    "few samples of many lags": (SMOOTH, {"lags": (0, 39)}, ["rows", "taps", "basis"]),
    "aliased taps": (N[:5, :1], {**LAYER, "padding": "circular"}, ["rows", "taps"]),
    "padded rows": (N[:4], {"kernel_size": 5, "padding": ((5, 5),)}, ["rows", "taps"]),
    "tone": (QUARTER, {"kernel_size": 6}, ["excitation", "taps"]),
    "tone, lags": (QUARTER, {"lags": (-3, 2)}, ["excitation", "taps"]),
    "tone, circular": (QUARTER, {"lags": (-7, -2), "edges": "circular"}, ["excitation", "taps"]),
    "image": (
        np.outer(np.arange(8.0), np.ones(8)),
        {"kernel_size": (2, 3)},
        ["excitation", "taps"],
    ),
    "copy": (N[:, [0, 1, 0]], {"lags": (0, 2)}, ["channels"]),
    "two copies": (N[:, [0, 0, 1, 1]], {"lags": (0, 2)}, ["channels"]),
    "average reference": (N - N.mean(1, keepdims=True), {"lags": (0, 2)}, ["channels"]),
    "delayed": (DELAYED, {"lags": (0, 2)}, ["channels", "taps"]),
    "zero channels": (N * [0, 1, 0], {"lags": (0, 2)}, ["channels"]),
    "zero channel and copy": (N[:, [0, 1, 1]] * [0, 1, 1], {"lags": (0, 2)}, ["channels"] * 2),
    "constant": (ONES, {"lags": (0, 0), "bias": True}, ["excitation", "bias"]),
    "dummy coding": (np.eye(3)[T % 3], {"lags": (0, 0), "bias": True}, ["channels", "bias"]),
    "silent group": (N[:, :2] * [1, 0], {"lags": (0, 2), "groups": 2}, ["excitation"]),
    "copy in a group": (N[:, [0, 1, 2, 2]], {"lags": (0, 1), "groups": 2}, ["excitation"]),
    "drift": (N[:30, :2], {"lags": (0, 9), "drift": 3}, ["rows"]),
    "mask": (N[:, :1], {"lags": (0, 9), "mask": T < 15}, ["rows"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_suggestion_helps(name: str) -> None:
    x, options, kinds = BROKEN[name]
    report = report_of(x, **options)
    assert not report.unique
    assert [one.kind for one in report.suggestions] == [*kinds, "ridge"]
    dropped: list[int] = []
    for one in report.suggestions[:-1]:
        if one.argument is not None:
            assert report_of(x, **options | {one.argument: one.value}).unique
            assert str(one).startswith(f"{one.argument}={one.value!r}: ")
        elif one.kind == "channels":
            dropped += one.value
        elif one.kind == "rows" and one.value is not None:
            # The shortest white noise that determines the kernel.
            noise = np.random.default_rng(1).standard_normal(
                (*x.shape[:-2], one.value, x.shape[-1])
            )
            shorter = noise[..., :-1, :]
            assert report_of(noise, **options).unique
            assert not report_of(shorter, **options).unique
    if dropped:
        assert report_of(np.delete(x, dropped, axis=-1), **options).unique
    ridge = report.suggestions[-1]
    if ridge.argument is None:
        return  # x is zero in the windows of a group
    assert ridge.value == pytest.approx(report.ridge_for(1000), rel=5e-3)
    if "lags" in options:
        assert cs.solve(cs.Problem(x, x, **options), ridge=ridge.value, strict=True).converged


# Problems, and a part of the text of a suggestion.
TEXTS = {
    "records": ((N[:20, 0].reshape(2, 10, 1), {"lags": (0, 7)}), "records of 11 samples instead"),
    "confounds": ((N[:30, :2], {"lags": (0, 9), "drift": 3}), "fewer excluded rows or confounds"),
    "names": ((N * [0, 1, 0], {"lags": (0, 1), "channels": [*"abc"]}), "channels a, c: zero in"),
    "times": ((QUARTER, {"lags": (0, 5), "fs": 100}), "lags=(0, 1): 0, 10 ms, 2 unknowns"),
    "drift": ((ONES, {"lags": (0, 2), "drift": 0}), "combinations of the confounds in all windows"),
    "too short": (
        (N[:4, :1], {**LAYER, "kernel_size": 3, "padding": "causal"}), "too short, whatever x is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_suggestions(name: str) -> None:
    (x, options), words = TEXTS[name]
    assert words in " ".join(map(str, report_of(x, **options).suggestions))


def test_channels_have_the_numbers_of_the_problem() -> None:
    """The last of four channels is silent in the second group, whose outputs have a mask."""
    x = np.random.default_rng(0).standard_normal((40, 4)) * [1, 1, 1, 0]
    mask = np.ones((40, 2), bool)
    mask[:9, 1] = False
    report = report_of(x, lags=(0, 1), groups=2, n_outputs=2, mask=mask)
    assert [one.value for one in report.suggestions if one.kind == "channels"] == [(3,)]
    assert "channel 3: zero in all windows" in str(report)


def test_the_document_of_a_report_has_the_coefficients() -> None:
    functions = cs.Fourier(4).functions(range(40))
    dependent = cs.Basis(np.column_stack([functions, functions[:, 1] + functions[:, 2]]))
    smooth = np.convolve(np.random.default_rng(0).standard_normal(3000), np.hanning(30), "same")
    tone = np.sin(2 * np.pi * np.arange(400) / 20)
    for x, known in ((smooth, [0, 3, 4, 5, 6, 7, 8]), (tone, [3, 4])):
        found = report_of(x, lags=(0, 39), basis=dependent).to_dict()
        assert (found["basis_rank"], found["coefficient_names"][3]) == (9, "0[3]")
        assert np.flatnonzero(found["identifiable_coefficients"][0]).tolist() == known


def test_an_undecided_report_names_what_decides() -> None:
    limits = Tuning(factor_bytes=8)
    report = report_of(np.ones(40), kernel_size=3, limits=limits)
    assert report.verdict == report.to_dict()["verdict"] == "undecided"
    assert [one.kind for one in report.suggestions] == ["memory", "ridge"]
    for name in ("rank", "condition_number"):
        with pytest.raises(ValueError, match=r"undecided; a QR of 3 unknowns needs .*; ridge="):
            getattr(report, name)
    wide = report_of(N[:12], kernel_size=4, limits=limits)
    assert [one.kind for one in wide.suggestions] == ["rows", "memory", "ridge"]
    assert wide.verdict == "underdetermined"
    assert "identifiable" not in str(wide)
