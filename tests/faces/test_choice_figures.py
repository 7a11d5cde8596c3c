"""Figures of choices, comparisons and groups: what is drawn is what was scored."""

import numpy as np
import pytest

import convsolve as cs
from support.pictures import drawn, image, legend, line, noise, panel, titles

X = noise(3, 80, 1)
Y = np.concatenate([X + np.roll(X, 1, axis=1), -2 * X], -1) + 0.5 * noise(3, 80, 2, seed=1)
ABOUT = {"lags": (-2, 9), "edges": "zeros"}
PROBLEM = cs.Problem(X, Y, **ABOUT)


@pytest.mark.parametrize("select", ["gcv", "evidence"])
def test_scores_over_strengths_and_the_choice(select):
    """Mean squares of several outputs are relative to the best one."""
    found = cs.solve(PROBLEM, penalty="ridge", select=select).regularization
    scores, freedom = drawn(found).axes
    curve, scale = scores.get_lines()[2], found.path.scores[:, 1]
    best = scale.min() if select == "gcv" else 1.0
    np.testing.assert_allclose(curve.get_xdata(), found.path.strengths[:, 1])
    np.testing.assert_allclose(curve.get_ydata(), found.path.scores[:, 1] / best)
    assert legend(scores) == [f"output {q}: {found.strength[q]:.3g}" for q in (0, 1)]
    dof = freedom.get_lines()
    np.testing.assert_allclose(dof[0].get_ydata(), found.path.effective_dof[:, 0])
    np.testing.assert_allclose(dof[1].get_ydata(), found.effective_dof[0])


def test_every_fold_is_drawn():
    one, select = cs.Problem(X, Y[..., :1], **ABOUT), cs.CrossValidation(score="r2")
    found = cs.solve(one, penalty="ridge", select=select).regularization
    axes = drawn(found).axes[0]
    curves = [curve.get_ydata() for curve in axes.get_lines()]
    for fold in found.path.scores_by_fold[:, :, 0]:
        assert any(len(c) == len(fold) and np.allclose(c, fold) for c in curves)
    assert axes.get_ylabel() == "held-out R²"


def test_a_choice_at_the_edge_is_named_and_an_output_of_zeros_has_no_mark():
    found = cs.solve(PROBLEM, penalty="ridge", grid=[1e5, 1e6, 1e7]).regularization
    assert legend(drawn(found).axes[0])[0] == "output 0: 1e+05, at the edge"
    x, y = np.random.default_rng(0).standard_normal((2, 300))
    both = cs.Problem(x, np.column_stack([y, 0 * y]), lags=(0, 9))
    assert len(legend(drawn(cs.solve(both, penalty="tc").regularization).axes[0])) == 1


def test_every_window_of_lags_and_the_choice():
    found = cs.choose_lags(PROBLEM)
    axes = panel(drawn(found), "Choice of the lags")
    np.testing.assert_array_equal(np.ma.filled(image(axes), np.nan), found.scores)
    marked = line(axes, "chosen: lags 0, 1")
    assert (marked.get_xdata()[0], marked.get_ydata()[0]) == (found.lags[1], found.lags[0])


def test_a_comparison_has_a_bar_for_every_number():
    problem = cs.Problem(noise(60, 2), noise(58, seed=1), kernel_size=3)
    methods = {"exact": "svd", "penalized": "ridge"}
    table = cs.compare(problem, methods, truth=noise(3, 2, seed=2))
    figure = drawn(table)
    for key in "excess_loss", "kernel_error", "run_seconds":
        axes = panel(figure, key.replace("_", " ").capitalize())
        assert [tick.get_text() for tick in axes.get_yticklabels()] == [*methods]
        numbers = [row[key] for row in table.rows]
        ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
        np.testing.assert_allclose(ends, np.maximum(numbers, axes.get_xlim()[0]), rtol=1e-9)
        words = [text.get_text() for text in axes.texts]
        assert words == [f"{number:.1e}" if number else "0" for number in numbers]
    for c in range(2):
        axes = panel(figure, f"Impulse responses: channel {c}")
        for name, fit in table.solutions.items():
            np.testing.assert_array_equal(line(axes, name).get_ydata(), fit.kernel[:, c, 0])


def test_a_group_has_its_band_and_the_kernels_of_its_subjects():
    x = noise(5, 99, 2)
    problems = {i: cs.Problem(x[i], noise(99, seed=i), lags=(0, 4), fs=100) for i in range(5)}
    group = cs.solve_group(problems)
    figure = drawn(group)
    assert titles(figure)[1] == "Group of 5 subjects, 95 % confidence band\nchannel 1"
    for c, axes in enumerate(figure.axes):
        heights = axes.collections[0].get_paths()[0].vertices[:, 1]
        low, high = (end[:, c] for end in group.confidence_band())
        np.testing.assert_allclose((heights.min(), heights.max()), (low.min(), high.max()))
        curves = [curve for curve in axes.get_lines() if len(curve.get_xdata()) == 5]
        np.testing.assert_allclose(curves[0].get_xdata(), 10 * np.arange(5))
        np.testing.assert_array_equal(curves[0].get_ydata(), group.impulse_responses["0"][:, c])
        np.testing.assert_allclose(curves[5].get_ydata(), group.impulse_response[:, c])
