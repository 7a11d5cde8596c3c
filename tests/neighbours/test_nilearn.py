"""Impulses of events compared with the finite-impulse-response design of nilearn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from convsolve.interop.events import impulses

pytest.importorskip("nilearn")

pytestmark = pytest.mark.slow

SCANS, DELAYS = 160, range(6)
RNG = np.random.default_rng(0)


def table(repetition: float, durations: Any) -> pd.DataFrame:
    onsets = np.sort(RNG.choice(np.arange(SCANS - 12), 50, replace=False))
    return pd.DataFrame(
        {
            "onset": onsets * repetition,
            "duration": np.broadcast_to(durations, 50) * repetition,
            "trial_type": RNG.choice(["face", "house", "word"], 50),
            "modulation": RNG.uniform(0.5, 2, 50),
        }
    )


def design(events: pd.DataFrame, repetition: float, **settings: Any) -> pd.DataFrame:
    """Theirs; its fine grid of times begins on a sample, or it would interpolate."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    times = np.arange(SCANS) * repetition
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modulation, and of events that do not last
        return make_first_level_design_matrix(
            times, events, hrf_model="fir", fir_delays=[*DELAYS], drift_model=None,
            min_onset=-8 * repetition, **settings,
        )  # fmt: skip


def ours(events: pd.DataFrame, repetition: float, shape: str) -> pd.DataFrame:
    x, names = impulses(events, fs=1 / repetition, samples=SCANS, shape=shape)
    late = [np.pad(x, ((delay, 0), (0, 0)))[:SCANS] for delay in DELAYS]
    columns = {
        f"{name}_delay_{delay}": late[delay][:, i]
        for i, name in enumerate(names)
        for delay in DELAYS
    }
    return pd.DataFrame(columns | {"constant": 1.0})


# Repetition times are exact in binary. Rounding of 0.72 s would move some onsets in nilearn.
@pytest.mark.parametrize(
    ("repetition", "durations", "shape", "settings"),
    [
        (2.5, 1, "impulse", {}),
        (0.75, RNG.integers(1, 6, 50), "boxcar", {}),
        (2.0, 0, "impulse", {"oversampling": 1}),
        (0.75, RNG.integers(0, 6, 50), "boxcar", {"oversampling": 1}),
    ],
    ids=["impulses", "boxcars", "no durations", "some durations"],
)
def test_the_design_is_that_of_nilearn(
    repetition: float, durations: Any, shape: str, settings: dict[str, Any]
) -> None:
    events = table(repetition, durations)
    theirs = design(events, repetition, **settings)
    found = ours(events, repetition, shape)
    assert [*found.columns] == [*theirs.columns]
    np.testing.assert_allclose(found.to_numpy(), theirs.to_numpy(), atol=1e-12)


def test_modulators_are_the_modulation_of_nilearn() -> None:
    events = table(2.0, 1).rename(columns={"modulation": "amplitude"})
    x, names = impulses(events, fs=0.5, samples=SCANS, modulators="amplitude", centre=False)
    theirs = design(events.assign(modulation=events["amplitude"]), 2.0)
    for kind in ("face", "house", "word"):
        own = x[:, names.index(f"{kind} × amplitude")]
        np.testing.assert_allclose(own, theirs[f"{kind}_delay_0"], atol=1e-12)
