"""Counts of recent answers: the last of each job, and how often answers are 5xx.

Both are bounded.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Collection
from typing import Final

from .chance import Share

SLOT_SECONDS: Final = 5.0
KEPT_SECONDS: Final = 3600.0
MODES_A_SLOT: Final = 50
"""Modes counted separately in a slot of time; others count with those of no mode."""
MOST_JOBS: Final = 1000
"""The newest answers are kept, of at most this many jobs."""


class AnswerShares:
    """Answers for jobs that were well before, and of control requests, by mode and healthy time."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[str, tuple[int, int]]] = {}
        """By slot of time and mode: how many 5xx, and how many answers."""

    def add(self, mode: str | None, *, bad: bool, at: float) -> None:
        """Count one answer; a control request has no mode. Answers older than all kept are not."""
        number, key = int(at // SLOT_SECONDS), mode or ""
        if number not in self._slots:
            newest = max(self._slots, default=number)
            oldest = max(newest, number) - KEPT_SECONDS // SLOT_SECONDS
            if number < oldest:
                return
            kept = {**self._slots, number: {}}
            self._slots = {slot: kept[slot] for slot in sorted(kept) if slot >= oldest}
        counts = self._slots[number]
        if key not in counts and len(counts) >= MODES_A_SLOT:
            key = ""
        failed, answers = counts.get(key, (0, 0))
        counts[key] = (failed + bad, answers + 1)

    def share(self, since: float, mode: str | None = None) -> Share:
        """Return the answers since a time, of one mode or of all."""
        bad = answers = 0
        first = int(since // SLOT_SECONDS)
        for number in reversed(self._slots):
            if number < first:
                break
            for name, (failed, given) in self._slots[number].items():
                if mode is None or name == mode:
                    bad += failed
                    answers += given
        return Share(bad, answers)


class RecentAnswers:
    """The latest answer of each job within a window of steady seconds, counted by sort."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, job_id: str, sort: str, at: float, window: float) -> None:
        """Put in a job's answer, which replaces its former one; drop what left the window."""
        self.discard(job_id)
        self._latest[job_id] = (at, sort)
        self._counts[sort] += 1
        if len(self._latest) > MOST_JOBS:
            self._drop_oldest()
        self.prune(at - window)

    def discard(self, job_id: str) -> None:
        """Forget a job's answer."""
        if job_id in self._latest:
            _, sort = self._latest.pop(job_id)
            self._counts[sort] -= 1

    def prune(self, before: float) -> None:
        """Drop the answers older than `before`."""
        while self._latest and next(iter(self._latest.values()))[0] < before:
            self._drop_oldest()

    def oldest(self) -> float:
        """Return when (steady seconds) the oldest answer came; infinity where there is none."""
        return next(iter(self._latest.values()))[0] if self._latest else math.inf

    def newest(self, sorts: Collection[str]) -> float:
        """Return when the newest answer of one of these sorts came; minus infinity without one."""
        newest = (at for at, sort in reversed(self._latest.values()) if sort in sorts)
        return next(newest, -math.inf)

    def count(self, sort: str) -> int:
        """Return for how many jobs this sort is the latest answer."""
        return self._counts[sort]

    def _drop_oldest(self) -> None:
        self.discard(next(iter(self._latest)))
