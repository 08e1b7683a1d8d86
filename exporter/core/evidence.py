"""The evidence of recent answers: how often healthy jobs are answered 5xx, and who was served.

When every third request fails, a job that works is answered 5xx three times in a row before long.
So the row that condemns a job must be so long that chance alone would hardly make it: with p the
upper bound of the share of 5xx among other answers, p to the power of its length must be below
`judgement.chance`. The evidence is counts in slots of time: small, serialisable, and two replicas'
add up. Times are well time in seconds (see `events.Now`).
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from .job import Job
from .reply import Status

SLOT_SECONDS: Final = 5.0
MODES_REMEMBERED: Final = 50
KEPT_SECONDS: Final = 3600.0
CONFIDENCE: Final = 0.95
_Z: Final = 1.6448536269514722
"""The standard normal's 95 % quantile."""
_EXACT_TO: Final = 50
"""Up to so many failures the bound is exact (Clopper and Pearson), above by the normal."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many 5xx among so many answers."""

    bad: int = 0
    answers: int = 0

    def upper_bound(self) -> float:
        """Return what the true share is below, with 95 % confidence; 1 when nothing is known.

        Clopper and Pearson, "The use of confidence or fiducial limits" (1934), one-sided; for many
        failures Wilson's interval with continuity correction (Newcombe 1998, method 4).
        """
        if self.bad >= self.answers:
            return 1.0
        if self.bad == 0:
            return float(1 - (1 - CONFIDENCE) ** (1 / self.answers))
        return self._exact() if self.bad <= _EXACT_TO else self._wilson()

    def _exact(self) -> float:
        low, high = self.bad / self.answers, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            if self._at_most_bad(middle) > 1 - CONFIDENCE:
                low = middle
            else:
                high = middle
        return high

    def _at_most_bad(self, p: float) -> float:
        """Return the chance of no more than `bad` failures, each of probability `p`."""
        n = self.answers
        total, term = 0.0, n * math.log1p(-p)
        for failures in range(self.bad + 1):
            total += math.exp(term)
            if failures < self.bad:
                term += math.log((n - failures) / (failures + 1)) + math.log(p / (1 - p))
        return total

    def _wilson(self) -> float:
        n, p, z2 = self.answers, self.bad / self.answers, _Z * _Z
        root = math.sqrt(z2 + 2 - 1 / n + 4 * p * (n * (1 - p) - 1))
        return min(1.0, (2 * n * p + z2 + 1 + _Z * root) / (2 * (n + z2)))


def row_length(share: Share, chance: float, least: int) -> int | None:
    """Return how many 5xx in a row chance would make with a probability below `chance`.

    At least `least`; None while so little is known that no row would do.
    """
    bound = share.upper_bound()
    if bound >= 1.0:
        return None
    return max(least, math.ceil(math.log(chance) / math.log(bound)))


class AnswerShares:
    """Answers for jobs that nothing was wrong with, and of control requests, by mode and time."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[str, tuple[int, int]]] = {}

    def add(self, mode: str | None, *, bad: bool, at: float) -> None:
        """Count one answer; a control request has no mode."""
        slot = self._slots.setdefault(int(at // SLOT_SECONDS), {})
        failed, answers = slot.get(mode or "", (0, 0))
        slot[mode or ""] = (failed + bad, answers + 1)
        oldest = int((at - KEPT_SECONDS) // SLOT_SECONDS)
        while (first := next(iter(self._slots))) < oldest:
            del self._slots[first]

    def share(self, since: float, mode: str | None = None) -> Share:
        """Return the answers since a time, of one mode or of all."""
        bad = answers = 0
        first = int(since // SLOT_SECONDS)
        for at in reversed(self._slots):
            if at < first:
                break
            for name, (failed, given) in self._slots[at].items():
                if mode is None or name == mode:
                    bad += failed
                    answers += given
        return Share(bad, answers)

    def merge(self, other: "AnswerShares") -> None:
        """Add what another replica saw; both count in the same well time."""
        for at, slot in other._slots.items():
            mine = self._slots.setdefault(at, {})
            for mode, (bad, answers) in slot.items():
                failed, given = mine.get(mode, (0, 0))
                mine[mode] = (failed + bad, given + answers)
        self._slots = dict(sorted(self._slots.items()))

    def as_dict(self) -> Mapping[str, Any]:
        """Return it as plain data for JSON."""
        return {
            str(at): {mode: list(counts) for mode, counts in slot.items()}
            for at, slot in self._slots.items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read what `as_dict` gave."""
        made = cls()
        for at, slot in sorted(data.items(), key=lambda item: int(item[0])):
            made._slots[int(at)] = {mode: (bad, given) for mode, (bad, given) in slot.items()}
        return made


class RecentAnswers:
    """The latest answer of each job within a window of seconds, counted by sort."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, job_id: str, sort: str, at: float, window: float) -> None:
        """Put in a job's answer, which replaces its former one; drop what left the window."""
        if job_id in self._latest:
            self._counts[self._latest.pop(job_id)[1]] -= 1
        self._latest[job_id] = (at, sort)
        self._counts[sort] += 1
        self.prune(at - window)

    def prune(self, before: float) -> None:
        """Drop the answers older than `before`."""
        while self._latest:
            job_id, (at, sort) = next(iter(self._latest.items()))
            if at >= before:
                break
            del self._latest[job_id]
            self._counts[sort] -= 1

    def count(self, sort: str) -> int:
        """Of how many jobs this sort is the latest answer."""
        return self._counts[sort]


class Witnesses:
    """Who was served: other jobs that gave a 2xx while pending, and weaker signs. Well times."""

    def __init__(self) -> None:
        self._by_mode: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        self._weak: tuple[float, str] | None = None

    def __len__(self) -> int:
        return len(self._by_mode)

    def strong(self, job: Job, since: float) -> str | None:
        """Return another job that gave a 2xx while pending since `since`.

        It is of the same mode, where the job's is known.
        """
        modes = [job.mode] if job.mode is not None else list(self._by_mode)
        found = [
            (at, job_id)
            for mode in modes
            for job_id, at in self._by_mode.get(mode, {}).items()
            if job_id != job.job_id and at >= since
        ]
        return max(found)[1] if found else None

    def weak(self, since: float) -> str | None:
        """Say what shows that the service answers, short of a pending job's 2xx in the mode."""
        if self._weak is not None and self._weak[0] >= since:
            return self._weak[1]
        found = [
            (at, f"job {job_id} of mode {mode or 'unknown'} was answered 2xx")
            for mode, jobs in self._by_mode.items()
            for job_id, at in jobs.items()
            if at >= since
        ]
        return max(found)[1] if found else None

    def remember(self, job: Job, status: Status | None, at: float) -> None:
        """A pending job was answered 2xx."""
        mode = job.mode or (status.mode if status else None) or ""
        jobs = self._by_mode.setdefault(mode, OrderedDict())
        jobs[job.job_id] = at
        jobs.move_to_end(job.job_id)
        while len(jobs) > 2:  # the newest, and the newest of any other job
            jobs.popitem(last=False)
        self._by_mode.move_to_end(mode)
        while len(self._by_mode) > MODES_REMEMBERED:
            self._by_mode.popitem(last=False)

    def remember_weak(self, sign: str, at: float) -> None:
        """A control request was answered as by a service that works."""
        self._weak = (at, sign)
