"""When a living job will end, and how long to wait for that.

A forecast is the law's chances from the job's age on, and the same chances weighed by what the
job's mark says (Bayes): the chance that a job of that life would have entered the mark when this
one did, times the chance that the mark would still last. The two are mixed by the mark's score.
"""

import math
from dataclasses import dataclass, field
from itertools import chain
from operator import mul, sub
from typing import TYPE_CHECKING, Final

from .marks import FINE, ORIGIN, POINTS, SCALE, point, share_shift
from .scale import BUCKETS, EDGES, PER_OCTAVE, YOUNGEST, position

if TYPE_CHECKING:
    from .watch import Watch

AHEAD: Final = 4 * PER_OCTAVE
"""A mark weighs the buckets of this many, four octaves; twice as many for a young job."""
YOUNG_SECONDS: Final = 2.0
LEAST_TRUST: Final = 0.02
"""Both forecasts keep this weight, however well the other did; below it the mark is not used."""
MOST_BEYOND: Final = 0.5
"""A mark's last bucket of ratios is open-ended if it holds most jobs, or this job for certain.

Other marks forecast the end better without that tail: it doubles the delay of honest progress.
"""
NOTHING: Final = 1e-12


@dataclass(slots=True)
class Forecast:
    """Chances to end, bucket by bucket from `age` (seconds) on; none of the lists adds up to 1.

    The first bucket's chance is that of the part still to come. `mass` is the forecast, and `total`
    includes the chance to end later than its last bucket. `told` is the mark's part of it, None
    where it says nothing, and `plain` the law's: their last one is the chance to end later.
    """

    age: float
    bucket: int
    plain: list[float]
    plain_total: float
    mass: list[float]
    total: float
    far: list[float] = field(default_factory=list)
    far_share: float = 0.0
    """The law's chances in the buckets after those of `mass`, and the factor that is theirs."""
    told: list[float] | None = None
    told_total: float = 0.0

    def wait(self, call_cost: float, longest: float) -> float:
        """Return the seconds until the next poll is worth its cost, about `longest` at most.

        That is the first time at which the chance that the job has ended since the last poll
        reaches sqrt(2 * call_cost * density * survival). `call_cost` is in seconds of delay.
        """
        if self.total <= NOTHING or self.age >= EDGES[BUCKETS]:
            return longest
        left, gathered, limit = self.age, 0.0, self.age + longest
        for right, mass in zip(EDGES[self.bucket + 1 :], self.mass, strict=False):
            chance, width = mass / self.total, right - left
            if width > 0:
                # With a constant density in the bucket the condition is a quadratic equation.
                pull = call_cost * chance / width
                enough = math.sqrt(pull * (pull + 2)) - pull
                if enough <= gathered and gathered > 0:
                    break
                if gathered < enough <= gathered + chance:
                    return left + (enough - gathered) / chance * width - self.age
            gathered += chance
            left = right
            if left >= limit:
                break
        return left - self.age

    def remaining(self, share: float) -> float | None:
        """Return the seconds within which this share of such jobs end; None: beyond the table."""
        if self.age >= EDGES[BUCKETS]:
            return None
        left, wanted = self.age, share * self.total
        chances = chain(self.mass, (self.far_share * chance for chance in self.far))
        for right, mass in zip(EDGES[self.bucket + 1 :], chances, strict=False):
            if wanted <= mass and mass > 0:
                return left + wanted / mass * (right - left) - self.age
            wanted -= mass
            left = right
        return None

    def chances(self, age: float) -> tuple[float, float] | None:
        """Return the chance to end until another age, by the law and by the mark.

        None when the mark says nothing.
        """
        if self.told is None:
            return None
        until = position(age)
        whole, part = int(until) - self.bucket, until - int(until)
        if whole == 0:
            start = position(self.age)
            part = (until - start) / (self.bucket + 1 - start)
        elif whole >= (later := len(self.told) - 1):
            whole, part = later, 0.0
        plain = sum(self.plain[:whole]) + part * self.plain[whole]
        told = sum(self.told[:whole]) + part * self.told[whole]
        return plain / self.plain_total, told / self.told_total


def forecast(watch: "Watch", age: float) -> Forecast:
    """Return what is known of a job's end, for one that lives at an age in seconds."""
    age = max(age, EDGES[0])
    law, at = watch.mode.law, position(age)
    bucket = int(at)
    plain = law.chance[bucket:]
    plain[0] *= bucket + 1 - at
    total = law.survival[bucket + 1] + plain[0]
    made = Forecast(age, bucket, plain, total, plain, total)
    if watch.is_marked(age):
        _weigh(made, watch, AHEAD if age > YOUNG_SECONDS else 2 * AHEAD)
    return made


def _weigh(made: Forecast, watch: "Watch", ahead: int) -> None:
    """Weigh the law's chances by the job's mark, and mix the two."""
    mark = watch.mark
    assert mark is not None  # noqa: S101 - `is_marked` says so
    trust = mark.trust
    end = min(made.bucket + ahead, BUCKETS)
    plain = made.plain[: end - made.bucket]
    plain.append(watch.mode.law.survival[end])  # all that is farther off
    middle = YOUNGEST + (made.bucket + 0.5) / PER_OCTAVE
    centre = ORIGIN + (middle + share_shift(watch.percent)) * SCALE
    width = FINE * len(plain)
    lasts = _slice(mark.left.cumulated, centre - math.log2(made.age) * SCALE, width)
    told = map(mul, plain, lasts)
    if watch.since > 0.1:
        early = _slice(mark.entered.cumulated, centre - point(watch.before), width)
        late = _slice(mark.entered.cumulated, centre - point(watch.since), width)
        last = 1.0 - mark.entered.shares[-1]
        if last < MOST_BEYOND or late[0] >= last:
            late = [min(below, last) for below in late]  # the last bucket has no upper end
        told = map(mul, told, map(sub, early, late))
    chances = list(told)
    told_total = sum(chances)
    if told_total <= 1e-9 * made.plain_total:
        return
    made.plain, made.told, made.told_total = plain, chances, told_total
    if trust > LEAST_TRUST:
        trust = min(trust, 1 - LEAST_TRUST)
        ours, theirs = trust / told_total, (1 - trust) / made.plain_total
        made.mass = [
            ours * told + theirs * by_law for told, by_law in zip(chances, plain, strict=True)
        ]
        made.total = 1.0
        later = made.mass.pop()
        made.far, made.far_share = watch.mode.law.chance[end:], later / plain[-1]


def _slice(cumulated: list[float], start: float, width: int) -> list[float]:
    """Return a cumulated table from a point on, one value for each bucket of age."""
    first = min(max(int(start), 0), POINTS - width)
    return cumulated[first : first + width : FINE]
