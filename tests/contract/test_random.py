"""Random members of the product of all choices, each drawn from a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contract.outcomes import failing, outcomes
from contract.problems import in_a_basis, member
from contract.routes import ROUTES

# A few that `Problem` accepts, in the default suite. The profile "thorough" draws many more.
FEW = (0, 1, 2, 6, 8, 10, 11, 12, 13, 14, 16, 18)
MANY = 2 * settings.default.max_examples
# Members that were solved wrongly once: an offset of 1e9 with padding and a drift; a ramp, a tone
# and a constant channel that nuisance columns span, in chunks; weights with a bias and columns that
# cancel in the coordinates of a penalty; y whose variation is 1e-15 of its offset; weights of rows
# without nuisance columns; channels of which drifts leave only rounding; columns that cancel in the
# coordinates of a penalty; drifts of records that wrap around; roots of stable splines;
# padding that was averaged with the samples.
ONCE_WRONG = (
    91, 386, 581, 850, 1633, 1717, 2054, 2111, 2181, 2197, 2719, 3056, 3108, 3696, 4262, 4429, 4811,
    6073, 6897, 8770, 10501, 12003, 26365, 40509, 45301, 62153, 66429, 83770, 95393, 97070, 98100,
    153378, 156429,
)  # fmt: skip


# A few of which the kernels are restricted, in the default suite.
RESTRICTED = (0, 1, 2, 8, 10, 12)


def check(
    seed: int, folder: Path, routes: int, solved: bool = True, restricted: bool = False
) -> None:
    """No outcome of any route breaks the contract, and with ``solved`` some route has a kernel.

    With ``restricted``, the kernels are in a basis or in windows of lags.
    """
    one = member(seed)
    one = in_a_basis(one) if restricted and len(one.statement.taps) == 1 else one
    found = [*outcomes(one, folder, routes)]
    assert not solved or any(o.route in ROUTES and not o.refused for o in found)
    bad = [outcome for outcome in found if failing(outcome)]
    words = "\n".join(f"{o.route}: {o.reported} {o.faults} {o.trace}" for o in bad)
    assert not bad, f"seed {seed}: {one.text}\n{words}"


@pytest.mark.parametrize("seed", FEW)
def test_fixed_seeds(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, routes=2)


@pytest.mark.parametrize("seed", RESTRICTED)
def test_fixed_seeds_of_restricted_kernels(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, routes=2, restricted=True)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=[pytest.mark.slow] * (i % 5 > 0))
        for i, seed in enumerate(ONCE_WRONG)
    ],
)
def test_members_that_were_solved_wrongly(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, routes=5)


@pytest.mark.slow
@settings(
    max_examples=MANY,
    phases=[Phase.explicit, Phase.generate],  # A smaller seed is not a simpler problem.
    suppress_health_check=[*HealthCheck],
)
@given(seed=st.integers(FEW[-1] + 1, 2**32 - 1), restricted=st.booleans())
def test_random_seeds(
    seed: int, restricted: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("member")
    check(seed, folder, routes=5, solved=False, restricted=restricted)
