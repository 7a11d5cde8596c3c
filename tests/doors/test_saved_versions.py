"""Files of earlier versions are read, and a given penalty is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.files import read_arrays

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((80, 2)), RNG.standard_normal((80, 2))


def test_a_file_of_version_2_is_read_and_written_as_version_3(tmp_path: Path) -> None:
    """A ridge of strength 2 and an autoregression of order 2, whose name had brackets."""
    back = cs.load(Path(__file__).parent / "data" / "version_2.npz")
    assert back.stats["noise"] == "ar2"
    assert "call" not in back.stats
    assert back.noise.order.tolist() == [2, 2]
    assert back._penalized
    assert back.regularization is None
    text = " ".join(str(back).split())
    assert "Penalty ridge, strength 2 " in text
    assert " per tap (posterior), for autoregressive noise of order 2; " in text
    back.save(tmp_path / "fit.npz")
    again = cs.load(tmp_path / "fit.npz")
    assert b'"version": 3' in read_arrays(tmp_path / "fit.npz")["about"].tobytes()
    assert str(again) == str(back)
    np.testing.assert_array_equal(again.standard_error, back.standard_error)


GIVEN: dict[str, dict[str, Any]] = {
    "ridge": {"ridge": 2.0},
    "outputs": {"ridge": [2.0, 0.5]},
    "bands": {"penalty": cs.Ridge([[1.0, 2.0], [4.0, 0.0]], channel_groups=(0, 1))},
    "zero": {"ridge": [0.0, 1.0]},
    "autoregression": {"penalty": cs.Smooth(1.0), "noise": "ar2"},
    "lasso": {"penalty": cs.Lasso([2.0, 1.0])},
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_given_penalty_is_saved(name: str, tmp_path: Path) -> None:
    """In every other case the outputs have different rows."""
    y = Y.copy()
    if [*GIVEN].index(name) % 2:
        y[:20, 1] = np.nan
    fit = cs.solve(cs.Problem(X, y, lags=(0, 2), missing="drop"), **GIVEN[name])
    found = fit.regularization
    assert (found.criterion, found.path) == ("given", None)
    method = cs.method.Method.of(**GIVEN[name]).penalty
    strength = np.array(method.strength)
    np.testing.assert_array_equal(
        found.strength, np.broadcast_to(strength, (*strength.shape[:-1], 2))
    )
    assert fit._penalized
    assert not np.isnan(found.effective_dof).any()
    fit.save(tmp_path / "fit.npz")
    back = cs.load(tmp_path / "fit.npz")
    np.testing.assert_equal(back.regularization.to_dict(), found.to_dict())
    assert back._penalized
    assert str(back.regularization) == str(found)
    assert back.stats["penalty"] == fit.stats["penalty"]


def test_a_selection_of_an_earlier_version_has_no_score(tmp_path: Path) -> None:
    select = cs.CrossValidation(4, score=lambda y, p: -np.abs(y - p).max())
    fit = cs.solve(cs.Problem(X, Y, lags=(0, 2)), penalty="ridge", select=select)
    fit.save(tmp_path / "fit.npz")
    found = cs.load(tmp_path / "fit.npz").regularization
    assert found.criterion == "score()"
    np.testing.assert_equal(found.to_dict(), fit.regularization.to_dict())
    earlier = {name: value for name, value in found.to_dict().items() if name != "score"}
    again = type(found).from_dict(earlier)
    assert np.isnan(again.score).all()
    np.testing.assert_array_equal(again.path.scores, found.path.scores)
