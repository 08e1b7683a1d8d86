"""The jobs that turned bad since a pending job was last served: together, or one by one?

A service whose workers are dead still serves the jobs that are finished. What gives it away is
that jobs of different ages turn bad at the same moment. Images that are bad turn at their own age.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

from ..events import Now
from ..job import Job
from ..rules import JudgementRules, PollingRules

MOST_TURNS: Final = 1000
"""The first to turn are kept, at most this many."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A job's first 5xx, in steady seconds; `last_good` is None where no 2xx came right before."""

    registered: float
    last_good: float | None
    first_bad: float


class Turned:
    """The jobs that turned bad since a pending job was last served, and are not decided yet."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def since(self) -> float:
        """When (steady seconds) the first of them turned; minus infinity where none did."""
        return min((turn.first_bad for turn in self._turns.values()), default=float("-inf"))

    def add(self, job: Job, now: Now) -> None:
        """Take in the first 5xx of a job; `job` is its value before that answer."""
        if job.job_id in self._turns or len(self._turns) >= MOST_TURNS:
            return
        good = job.answered and not job.setbacks and job.last_polled_at is not None
        last_good = steady_of(job, job.last_polled_at or 0.0, now) if good else None
        registered = steady_of(job, job.registered_at, now)
        self._turns[job.job_id] = Turn(registered, last_good, now.steady)

    def served(self, at: float) -> None:
        """A pending job was served at a time (steady seconds): drop the jobs that turned before."""
        if self._turns:
            self._turns = {name: turn for name, turn in self._turns.items() if turn.first_bad > at}

    def decided(self, job_id: str) -> None:
        """A job has ended, or is not tracked any more."""
        self._turns.pop(job_id, None)

    def together(self, after: float, rules: JudgementRules, polling: PollingRules) -> bool:
        """Whether they turned as jobs do whose service broke: at one moment, at different ages.

        At least `judgement.outage_jobs` turned, more than half as many of them had been served,
        and these were registered further apart than their answers leave the moment open, which is
        the median time from their last good answer to their first bad one. Only turns later than
        `after` (steady seconds) count.
        """
        if len(self._turns) < rules.outage_jobs:
            return False
        turns = self._turns.values()
        known = [
            (turn.registered, turn.first_bad - turn.last_good)
            for turn in turns
            if turn.last_good is not None and turn.first_bad > after
        ]
        if 2 * len(known) <= rules.outage_jobs:
            return False
        open_for = max(median(gap for _, gap in known), SHORTEST_GAP * polling.min_interval)
        return _spread(registered for registered, _ in known) > open_for


SHORTEST_GAP: Final = 2
"""In multiples of `polling.min_interval`: jobs registered closer together count as one upload."""


def steady_of(job: Job, stamp: float, now: Now) -> float:
    """Return a job's stamp (seconds since 1970) as steady seconds, whatever the wall clock did."""
    offset = now.time - now.steady if job.clock_offset is None else job.clock_offset
    return stamp - offset


def _spread(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[-1] - ordered[0]
