"""Pictures of choices: what is drawn is what was scored, and the choice is marked."""

import numpy as np
import pytest

import convsolve as cs
from support.pictures import drawn, image, legend, line, panel, titles


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((80, 1)) for _ in range(3)]
    w = 0.7 ** np.arange(6)[::-1, None, None] * np.array([1.0, -2.0])
    y = [cs.convolve(np.pad(a, ((5, 0), (0, 0))), w, cs.ConvSpec(6)) for a in x]
    noisy = [b + 0.5 * rng.standard_normal(b.shape) for b in y]
    return cs.Problem(x, noisy, lags=(-2, 9), edges="zeros")


@pytest.mark.parametrize("select", ["GCV", "Evidence", "AICc", "BIC"])
def test_scores_over_strengths_and_the_choice(problem, select):
    found = cs.solve(problem, penalty="ridge", select=select.lower()).regularization
    figure, name = drawn(found), select
    assert figure.get_suptitle() == ""
    assert titles(figure) == [f"{name} by strength", "Effective degrees of freedom"]
    axes = panel(figure, f"{name} by strength")
    curve = line(axes, "output 1")
    np.testing.assert_allclose(curve.get_xdata(), found.path.strengths[:, 1])
    np.testing.assert_allclose(curve.get_ydata(), found.path.scores[:, 1])
    assert f"chosen: {found.strength[0]:.3g}" in legend(axes)
    freedom = panel(figure, "Effective degrees of freedom").get_lines()
    np.testing.assert_allclose(freedom[0].get_ydata(), found.path.effective_dof[:, 0])
    np.testing.assert_allclose(freedom[1].get_ydata(), found.effective_dof[0])
    # The number above the curve is inside the axes.
    assert freedom[0].axes.get_ylim()[1] > 1.1 * found.path.effective_dof.max()


def test_every_fold_is_drawn(problem):
    select = cs.CrossValidation(score="r2")
    found = cs.solve(problem, penalty="ridge", select=select).regularization
    axes = panel(drawn(found), "Held-out R² by strength")
    curves = [curve.get_ydata() for curve in axes.get_lines()]
    for fold in found.path.scores_by_fold[:, :, 0]:
        assert any(len(c) == len(fold) and np.allclose(c, fold) for c in curves)
    assert axes.get_ylabel() == "held-out R²"


def same_sign(y, prediction):
    return np.mean(np.sign(y) == np.sign(prediction))


def test_a_function_and_groups_of_channels(problem):
    x = [np.concatenate([a, a[::-1]], axis=1) for a in problem.x]
    both = cs.Problem(x, list(problem.y), lags=(-2, 9), edges="zeros")
    select = cs.CrossValidation(score=same_sign)
    found = cs.solve(both, penalty="ridge", select=select).regularization
    assert "by held-out same_sign(); " in str(found)
    axes = panel(drawn(found), "Held-out same_sign() by strength")
    assert axes.get_ylabel() == "held-out same_sign()"
    found = cs.solve(both, penalty=cs.Ridge(channel_groups=(0, 1)), select="cv").regularization
    axes = panel(drawn(found), "Held-out error by strength")
    assert axes.get_xlabel() == "geometric mean of the strengths"
    curve = line(axes, "output 1")
    np.testing.assert_allclose(curve.get_ydata(), found.path.scores[:, 1])


def test_a_choice_at_the_edge_is_named_and_an_output_of_zeros_has_no_score(problem):
    found = cs.solve(problem, penalty="ridge", grid=[1e5, 1e6, 1e7]).regularization
    axes = panel(drawn(found), "GCV by strength")
    assert any(text.startswith("chosen, at the edge: 1e+05") for text in legend(axes))
    x, y = np.random.default_rng(0).standard_normal((2, 300))
    both = cs.Problem(x, np.column_stack([y, 0 * y]), lags=(0, 9))
    assert len(titles(drawn(cs.solve(both, penalty="tc").regularization))) == 2


def test_every_window_of_lags_and_the_choice(problem):
    found = cs.choose_lags(problem)
    figure = drawn(found)
    assert figure.get_suptitle() == ""
    axes = panel(figure, "BIC of every lag window")
    np.testing.assert_array_equal(np.ma.filled(image(axes), np.nan), found.scores)
    marked = line(axes, f"chosen: {found.lags[0]} to {found.lags[1]} samples")
    assert (marked.get_xdata()[0], marked.get_ydata()[0]) == (found.lags[1], found.lags[0])
    curve = panel(figure, f"Windows that start at lag {found.lags[0]}").get_lines()[0]
    first = found.lags[0] - found.candidates[0]
    np.testing.assert_array_equal(curve.get_ydata(), found.scores[first])
