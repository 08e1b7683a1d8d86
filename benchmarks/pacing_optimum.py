"""The best policy for somebody who knows how long jobs last, but sees no progress.

Dynamic programming over the moments of a grid. The price of a call is searched for the delay.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pacing_simulation import fixed

Lives = Sequence[float]
"""Sorted seconds of many jobs of one law."""


@dataclass(frozen=True, slots=True)
class Best:
    """The mean delay of a policy, in seconds, and its calls a job."""

    delay: float
    calls: float


def optimum(phases: Sequence[Lives], delay: float) -> float:
    """Return the calls at a mean delay as a share of a fixed interval's.

    The policy knows to which phase a job belongs; the fixed interval is the same for all of them.
    """
    low, high = 0.02, 20.0
    found = Best(delay, 0.0)
    for _ in range(9):
        price = math.sqrt(low * high)
        found = pooled([best(lives, price) for lives in phases])
        low, high = (price, high) if found.delay < delay else (low, price)
    return found.calls / fixed([life for lives in phases for life in lives[::20]], found.delay)


def pooled(policies: Sequence[Best]) -> Best:
    """Return the mean of policies that are followed equally often."""
    count = len(policies)
    return Best(
        sum(one.delay for one in policies) / count, sum(one.calls for one in policies) / count
    )


def best(lives: Lives, price: float) -> Best:
    """Return the policy that costs least where a call costs `price` seconds of delay."""
    grid = _grid(lives)
    ended, lived = _until(lives, grid)
    following = _following(ended, lived, grid, price)
    calls, delay, before, spent, check = 0, 0.0, 0, 0.0, following[-1]
    while True:
        calls += ended[-1] - before
        delay += (ended[check] - before) * grid[check] - (lived[check] - spent)
        before, spent = ended[check], lived[check]
        if check == len(grid) - 1:
            return Best(delay / len(lives), calls / len(lives))
        check = following[check]


def _grid(lives: Lives) -> list[float]:
    points = [lives[at * len(lives) // 200] for at in range(200)]
    return sorted({*points, *(lives[-1] * at / 300 for at in range(1, 301))})


def _until(lives: Lives, grid: Sequence[float]) -> tuple[list[int], list[float]]:
    """Return for each moment the jobs that ended by then, and the seconds that those lasted."""
    ended, lived, at, spent = [], [], 0, 0.0
    for moment in grid:
        while at < len(lives) and lives[at] <= moment:
            spent += lives[at]
            at += 1
        ended.append(at)
        lived.append(spent)
    return ended, lived


def _following(
    ended: Sequence[int], lived: Sequence[float], grid: Sequence[float], price: float
) -> list[int]:
    """Return the check that best follows each one on the grid; the first check comes last."""
    last, total = len(grid) - 1, ended[-1]
    best = [0.0] * (last + 1)
    following = [last] * (last + 2)
    for start in range(last - 1, -2, -1):
        before, spent = (ended[start], lived[start]) if start >= 0 else (0, 0.0)
        lowest = math.inf
        floor = price * (total - before)
        for end in range(start + 1, last + 1):
            late = (ended[end] - before) * grid[end] - (lived[end] - spent)
            if late > lowest:
                break
            if floor + late + best[end] < lowest:
                lowest, following[start] = floor + late + best[end], end
        if start >= 0:
            best[start] = lowest
    return following
