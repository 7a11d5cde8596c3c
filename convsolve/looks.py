"""Steps of an iteration at which it is examined: few, and dense at the start."""

from __future__ import annotations

# Up to this step every step is a look. Later looks are evenly spaced on a log axis.
EVERY = 8
PER_DECADE = 8


def look_steps(last: int, most_between: int | None = None) -> list[int]:
    """Return the steps 0 to 8, then eight steps per decade, and the last step.

    Args:
        last: number of steps of the iteration, at least 0.
        most_between: largest difference of two neighbours. Further looks are inserted where eight
            per decade are farther apart. None, the default, inserts none.

    Returns:
        Ascending steps from 0 to ``last``.

    >>> look_steps(50)
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 18, 24, 32, 42, 50]
    >>> look_steps(50, most_between=6)
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 18, 24, 30, 32, 38, 42, 48, 50]
    """
    steps = list(range(min(last, EVERY) + 1))
    index = PER_DECADE
    while steps[-1] < last:
        following = min(round(10 ** (index / PER_DECADE)), last)
        if most_between is not None:
            steps.extend(range(steps[-1] + most_between, following, most_between))
        steps.append(following)
        index += 1
    return steps
