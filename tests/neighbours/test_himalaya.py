"""Held-out scores of a banded ridge compared with those of himalaya."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.penalty import Bands
from support import dense

himalaya = pytest.importorskip("himalaya.ridge")

from himalaya.scoring import correlation_score, l2_neg_loss, r2_score  # noqa: E402

pytestmark = pytest.mark.slow

TAPS, LABELS, RECORDS = 5, (0, 1, 1, 2), 4
RNG = np.random.default_rng(0)
X = [RNG.standard_normal((100, 4)) + 1 for _ in range(RECORDS)]
KERNEL = RNG.standard_normal((TAPS, 4, 3)) * np.array([1.0, 0.3, 0.3, 0.1])[:, None]
Y = [cs.convolve(x, KERNEL, cs.ConvSpec(TAPS)) + 2 * RNG.standard_normal((96, 3)) + 5 for x in X]
PROBLEM = cs.Problem(X, Y, kernel_size=TAPS, bias=True)
ALPHAS = np.geomspace(0.1, 1000, 9)


SCORES = {"mse": l2_neg_loss, "r2": r2_score, "correlation": correlation_score}
# Added to a score times log(alpha), so that the larger of two equal strengths is chosen.
TIES = 1e-10


def theirs(several: np.ndarray, score: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, outputs) of shares (n, groups), each at its best alpha, and the kernel."""
    from sklearn.model_selection import PredefinedSplit

    rows, band = dense.design_matrix(X, PROBLEM.spec)[0], np.tile(LABELS, TAPS)
    order = np.argsort(band, kind="stable")
    _, weights, scores, _ = himalaya.solve_group_ridge_random_search(
        [rows[:, band == label] for label in range(3)],
        np.concatenate(Y),
        n_iter=several,
        alphas=ALPHAS,
        fit_intercept=True,
        score_func=SCORES[score],
        cv=PredefinedSplit(np.repeat(np.arange(RECORDS), 96)),
        return_weights=True,
        progress_bar=False,
    )
    return scores, weights[np.argsort(order)].reshape(KERNEL.shape)


@pytest.mark.parametrize("score", SCORES)
def test_scores_and_kernels_at_the_same_ratios(score: str) -> None:
    several, sign = RNG.dirichlet(np.ones(3), 6), -1 if score == "mse" else 1
    wanted, kernel = theirs(several, score)
    method = {"grid": ALPHAS, "select": cs.CrossValidation(score=score)}
    tried, strengths = [], []
    for share, best in zip(several, wanted, strict=True):
        form = Bands(channel_groups=LABELS, weights=tuple((1 / share).tolist()))
        scores = cs.solve(PROBLEM, penalty=form, **method).regularization.path.scores
        found = sign * scores + TIES * np.log(ALPHAS)[:, None]
        np.testing.assert_allclose(found.max(0), best, rtol=1e-11)
        tried.append(found.max(0))
        strengths.append(ALPHAS[found.argmax(0)] / share[:, None])
    chosen = np.stack(strengths)[np.argmax(tried, axis=0), :, np.arange(3)].T
    fit = cs.solve(PROBLEM, penalty=cs.Ridge(chosen, channel_groups=LABELS))
    np.testing.assert_allclose(fit.kernel, kernel, rtol=1e-9, atol=1e-11)
