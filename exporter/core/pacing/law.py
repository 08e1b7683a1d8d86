"""A law: how long the jobs of a mode last, learned from ends as they are seen.

For each bucket of age the law counts the jobs that ended there and the jobs that passed through.
Both counts fade: each end weighs a little more than the one before. Their ratio is the bucket's
hazard (an occurrence/exposure rate); the chance to survive a bucket is exp(-hazard).
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from operator import sub
from typing import Final

from .scale import BUCKETS, PER_OCTAVE, WIDTHS, position, spread

WINDOW: Final = 200.0
"""Ends after which an older end weighs 1/e as much."""
REBUILD_SHARE: Final = 8
REBUILD_ENDS: Final = 32
"""Tables are rebuilt after an eighth of the ends seen before, or after 32 ends."""
FEW_ENDS: Final = 30
REBUILD_LIVED: Final = 1.5
"""Until 30 ends are seen, tables are also rebuilt when the time lived has grown by this factor."""
SCALE_FREE: Final = 0.7
"""The hazard of a job of unknown scale, a second, is at most this, divided by its age."""
UNKNOWN_LIFE: Final = 30.0
"""And at most one in this many seconds while no end was seen.

Without this limit the first twenty jobs of a minute cost half as many calls again.
"""
BUCKET_HAZARD: Final = SCALE_FREE * math.log(2) / PER_OCTAVE
"""The same for one bucket."""
LEAST_PRIOR: Final = 0.2
EARLY_PRIOR: Final = 165.0
PRIOR_FADES: Final = 30.0
"""The prior weighs 0.2 jobs, and 165 / (30 + ends) more: 5.7 jobs at first."""
PRIOR_ENDS: Final = 5
"""A law over all modes is used as a prior after this number of ends."""
MOST_HAZARD: Final = 3.0
"""So that one job in twenty survives each bucket at least."""
FLOOR: Final = 1e-4
"""Chance added to each bucket when an end is spread, so that no bucket is ruled out."""
HEAVIEST: Final = 1e9
"""The weight at which all counts are divided by it, long before floats lose precision."""


class Law:
    """The chance to end by age. `prior` is the law to start from while this one has no ends."""

    def __init__(self, prior: "Law | None" = None) -> None:
        self.ends = [0.0] * BUCKETS
        self.passed = [0.0] * BUCKETS
        self.weight = 1.0
        """The weight of the next end."""
        self.samples = 0
        """Ends ever learned from."""
        self.lived = 0.0
        self.ended = 0.0
        """Seconds lived and ends seen, both weighted: their ratio is the mean life so far."""
        self._prior = prior
        self._new_ends = 0
        self.rebuild()

    def live(self, start: float, end: float) -> bool:
        """Count a job that was alive at both ages (seconds).

        Returns whether the tables are now due to be rebuilt.
        """
        self.lived += (end - start) * self.weight
        self._pass(position(start), position(end), self.weight)
        return self.lived > self._rebuild_at and self.samples < FEW_ENDS

    def end(self, start: float, end: float) -> bool:
        """Count a job that was alive at the first age and had ended at the second (seconds).

        Returns whether the tables are now due to be rebuilt.
        """
        weight = self.weight
        self.lived += (end - start) / 2 * weight
        self.ended += weight
        low, high = position(start), position(max(end, start * 1.001 + 1e-3))
        first, shares = spread(low, high, self.chance, FLOOR)
        alive, ends, passed = weight, self.ends, self.passed
        entered, last = low, first + len(shares) - 1
        for at, share in enumerate(shares, first):
            ended = share * weight
            alive -= ended
            leaving = high if at == last else at + 1
            ends[at] += ended
            passed[at] += (alive + ended / 2) * (leaving - entered)
            entered = leaving
        self.samples += 1
        self._new_ends += 1
        self.weight *= 1 + 1 / WINDOW
        return self._new_ends * REBUILD_SHARE >= min(self.samples, REBUILD_SHARE * REBUILD_ENDS)

    def rebuild(self) -> None:
        """Compute the hazard of each bucket anew, and the chances that follow from it."""
        self._new_ends = 0
        self._rebuild_at = REBUILD_LIVED * self.lived
        strength = (LEAST_PRIOR + EARLY_PRIOR / (PRIOR_FADES + self.samples)) * self.weight
        self.hazard = [
            min(MOST_HAZARD, (ends + hazard * strength) / (passed + strength))
            for ends, passed, hazard in zip(
                _smooth(self.ends), self.passed, self._prior_hazard(), strict=True
            )
        ]
        self.survival = [math.exp(-total) for total in accumulate(self.hazard, initial=0.0)]
        """The chance to reach each bucket's beginning, and the end of the scale."""
        self.chance = [*map(sub, self.survival, self.survival[1:])]
        """The chance of a new job to end in each bucket."""

    def seen(self, age: float) -> float:
        """Return the weight of the jobs that were seen at an age (seconds) or later.

        The newest job weighs 1. A job may have been seen later only: its first poll came late.
        """
        return max(self.passed[int(position(age)) :]) / self.weight

    def rescale(self) -> float:
        """Divide all counts by the present weight, which becomes 1; return that weight."""
        weight, self.weight = self.weight, 1.0
        self.lived /= weight
        self.ended /= weight
        self.ends = [count / weight for count in self.ends]
        self.passed = [count / weight for count in self.passed]
        return weight

    def _pass(self, start: float, end: float, weight: float) -> None:
        first, last, passed = int(start), int(end), self.passed
        if first == last:
            passed[first] += (end - start) * weight
            return
        passed[first] += (first + 1 - start) * weight
        for at in range(first + 1, last):
            passed[at] += weight
        passed[last] += (end - last) * weight

    def _prior_hazard(self) -> Sequence[float]:
        """Return the hazard that is believed before there are ends in a bucket."""
        rate = 1 / UNKNOWN_LIFE
        if self.ended > 0:
            rate = self.ended / max(self.lived, 1e-9)
        elif self._prior is not None and self._prior.samples >= PRIOR_ENDS:
            return self._prior.hazard
        return [min(BUCKET_HAZARD, width * rate) for width in WIDTHS]


def _smooth(counts: Sequence[float]) -> list[float]:
    """Average each count with its neighbours, weighted 1, 2, 1."""
    before, after = [counts[0], *counts], [*counts[1:], counts[-1]]
    return [
        (left + 2 * own + right) / 4
        for left, own, right in zip(before, counts, after, strict=False)
    ]
