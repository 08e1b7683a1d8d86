"""Marks: what a step and a band of progress say about a job's life.

A mark learns the ratio of a job's life to the time at which the mark was entered, and to the time
at which it was left. Both ratios are multiplied by the share that the percentage claims, so that
honest progress gives 1. Jobs differ more in scale than in shape, so these ratios differ little.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Final

from .scale import PER_OCTAVE, spread

LEAST_RATIO: Final = -1.5
"""The binary logarithm of the least ratio; smaller ones count in the first bucket."""
RATIOS: Final = 4 * PER_OCTAVE
FINE: Final = 3
"""Points of the cumulated table in each bucket: positions are rounded to the next point."""
SCALE: Final = PER_OCTAVE * FINE
"""Points of a mark's cumulated table in each octave."""
_PADDING: Final = 20 * PER_OCTAVE * FINE
POINTS: Final = 2 * _PADDING + RATIOS * FINE
"""The cumulated table is padded on both sides, so that every slice of it has its full length."""
ORIGIN: Final = _PADDING + 0.5 - LEAST_RATIO * PER_OCTAVE * FINE
"""The point of the cumulated table at which the ratio is 1, before rounding down."""
_FARTHEST: Final = RATIOS - 1e-6
_FLOOR: Final = 1e-6
_BEFORE: Final = (0.0,) * _PADDING
_AFTER: Final = (1.0,) * _PADDING
MUTE_SHARE: Final = 0.97
"""A mark that lasts to the end in this share of jobs says nothing by lasting."""

BANDS: Final = 8
MOST_TRUST: Final = 4.0
FADING: Final = 0.99
"""The score fades by this factor with each answer, and stays within plus or minus 4."""


class RatioTable:
    """A distribution over ratios, given by their binary logarithms."""

    __slots__ = ("counts", "cumulated", "shares")

    def __init__(self) -> None:
        self.counts = [0.0] * RATIOS
        self.rebuild(1.0)

    def add(self, low: float, high: float, weight: float) -> None:
        """Count one ratio that lies between two logarithms."""
        first, shares = spread(_place(low), _place(high), self.shares, _FLOOR)
        for at, share in enumerate(shares, first):
            self.counts[at] += share * weight

    def add_least(self, weight: float) -> None:
        """Count one ratio in the first bucket."""
        self.counts[0] += weight

    def rebuild(self, weight: float) -> None:
        """Compute the shares anew; a uniform prior has `weight` in all."""
        prior = weight / RATIOS
        total = sum(self.counts) + weight
        self.shares = [(count + prior) / total for count in self.counts]
        parts = [share / FINE for share in self.shares]
        fine = chain.from_iterable(zip(*[parts] * FINE, strict=True))
        self.cumulated = [*_BEFORE, *accumulate(fine, initial=0.0), *_AFTER]


class Mark:
    """What jobs that reached this mark did, and how far its forecasts are believed."""

    __slots__ = ("entered", "is_mute", "left", "new_ends", "score")

    def __init__(self) -> None:
        self.entered = RatioTable()
        self.left = RatioTable()
        self.score = 0.0
        """The log likelihood of answers with the mark against the law alone, fading."""
        self.new_ends = 0
        self.is_mute = True

    @property
    def trust(self) -> float:
        """The weight of the mark's forecast against the law's, between 0 and 1."""
        return 1 / (1 + math.exp(-self.score))

    def learn(self, run: "Run", life: tuple[float, float], weight: float) -> None:
        """Learn from a job's run at this mark; its life lies between two ages (seconds)."""
        low, high = math.log2(max(life[0], 0.1)), math.log2(max(life[1], 0.1))
        shift = share_shift(run.percent)
        self.new_ends += 1
        if run.since > 0.1:
            self.entered.add(
                low - math.log2(run.since) + shift,
                high - math.log2(max(run.before, 0.01)) + shift,
                weight,
            )
        if run.seen <= 0.1:
            return
        if run.left is None:
            self.left.add_least(weight)
        else:
            self.left.add(
                low - math.log2(run.left) + shift, high - math.log2(run.seen) + shift, weight
            )

    def rebuild(self, weight: float) -> None:
        """Compute both tables anew when there were ends since the last time."""
        if self.new_ends:
            self.entered.rebuild(weight)
            self.left.rebuild(weight)
            self.new_ends = 0
            self.is_mute = self.left.shares[0] > MUTE_SHARE

    def rate(self, plain: float, told: float) -> None:
        """Compare two forecasts of what came true: the law's chance of it, and the mark's."""
        gain = math.log(max(told, 0.01) / max(plain, 0.01))
        self.score = min(MOST_TRUST, max(-MOST_TRUST, FADING * self.score + gain))

    def rescale(self, weight: float) -> None:
        """Divide all counts by a weight."""
        for table in self.tables():
            table.counts = [count / weight for count in table.counts]

    def tables(self) -> Iterator[RatioTable]:
        """Yield both tables."""
        yield self.entered
        yield self.left


@dataclass(frozen=True, slots=True)
class Run:
    """A job's time at a mark, in ages (seconds): each change lies between two polls.

    The mark was entered after `before` and by `since`, last seen at `seen`, and gone at `left`;
    `left` is None when it lasted until the job ended.
    """

    mark: Mark
    percent: int
    before: float
    since: float
    seen: float
    left: float | None


def band(percent: int) -> int:
    """Return the eighth of progress that a percentage lies in, -1 while there is none."""
    return min(percent * BANDS // 100, BANDS - 1) if percent > 0 else -1


def share_shift(percent: int) -> float:
    """Return the binary logarithm of the share that a percentage claims; 0 while it is 0."""
    return math.log2(percent / 100) if percent > 0 else 0.0


def point(age: float) -> float:
    """Return an age (seconds) as a point of a mark's cumulated table."""
    return math.log2(max(age, 0.01)) * SCALE


def _place(ratio: float) -> float:
    """Return the position of a ratio's logarithm in a table."""
    place = (ratio - LEAST_RATIO) * PER_OCTAVE
    if place <= 0:
        return 0.0
    return place if place < _FARTHEST else _FARTHEST  # noqa: FURB136 - `min` takes longer
