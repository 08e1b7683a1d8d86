"""Counts of recent answers: what was said of each job last, and how often it was a 5xx.

Both are bounded, plain data for JSON, and merge: see `evidence.py`.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from .chance import Share

SLOT_SECONDS: Final = 5.0
KEPT_SECONDS: Final = 3600.0
MODES_A_SLOT: Final = 50
"""Modes counted apart in a slot of time; others count with those of no mode."""
MOST_JOBS: Final = 1000
"""The newest answers of so many jobs stand for all in their window."""

Slots = dict[int, dict[tuple[str, str], tuple[int, int]]]
"""By slot of time, replica and mode: how many 5xx, and how many answers."""


class AnswerShares:
    """Answers for jobs that nothing was wrong with, and of control requests, by mode and well time.

    Each replica counts under its own name, and its counts only grow: of two states of them the
    larger is the newer, so that merging is idempotent.
    """

    def __init__(self, replica: str = "") -> None:
        self.replica = replica
        self._slots: Slots = {}

    def add(self, mode: str | None, *, bad: bool, at: float) -> None:
        """Count one answer; a control request has no mode."""
        number, key = int(at // SLOT_SECONDS), (self.replica, mode or "")
        if number not in self._slots:
            self._keep({**self._slots, number: {}})
        slot = self._slots.get(number, {})  # what is older than all that is kept counts no more
        if key not in slot and len(slot) >= MODES_A_SLOT:
            key = (self.replica, "")
        failed, answers = slot.get(key, (0, 0))
        slot[key] = (failed + bad, answers + 1)

    def share(self, since: float, mode: str | None = None) -> Share:
        """Return the answers since a time, of one mode or of all."""
        bad = answers = 0
        first = int(since // SLOT_SECONDS)
        for number in reversed(self._slots):
            if number < first:
                break
            for (_, name), (failed, given) in self._slots[number].items():
                if mode is None or name == mode:
                    bad += failed
                    answers += given
        return Share(bad, answers)

    def merge(self, other: Self) -> None:
        """Take in what another replica counted, or an older state of this one."""
        slots = {number: dict(slot) for number, slot in self._slots.items()}
        for number, slot in other._slots.items():
            mine = slots.setdefault(number, {})
            for key, (bad, answers) in slot.items():
                failed, given = mine.get(key, (0, 0))
                mine[key] = (max(failed, bad), max(given, answers))
        self._keep(slots)

    def _keep(self, slots: Slots) -> None:
        oldest = max(slots, default=0) - KEPT_SECONDS // SLOT_SECONDS
        self._slots = {at: slots[at] for at in sorted(slots) if at >= oldest}

    def as_data(self) -> list[Any]:
        """Return it as plain data for JSON."""
        return [
            [number, *key, *counts]
            for number, slot in self._slots.items()
            for key, counts in sorted(slot.items())
        ]

    def add_data(self, data: Iterable[Iterable[Any]]) -> None:
        """Read what `as_data` gave."""
        slots: Slots = {}
        for number, replica, mode, bad, answers in data:
            slots.setdefault(int(number), {})[replica, mode] = (int(bad), int(answers))
        self._keep(slots)


class RecentAnswers:
    """The latest answer of each job within a window of steady seconds, counted by sort."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._latest)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._latest

    def add(self, job_id: str, sort: str, at: float, window: float) -> None:
        """Put in a job's answer, which replaces its former one; drop what left the window."""
        if job_id in self._latest:
            self._uncount(self._latest.pop(job_id)[1])
        self._latest[job_id] = (at, sort)
        self._counts[sort] += 1
        if len(self._latest) > MOST_JOBS:
            self._drop_oldest()
        self.prune(at - window)

    def prune(self, before: float) -> None:
        """Drop the answers older than `before`."""
        while self._latest and next(iter(self._latest.values()))[0] < before:
            self._drop_oldest()

    def oldest(self) -> float:
        """Return when (steady seconds) the oldest answer came; infinity where there is none."""
        return next(iter(self._latest.values()))[0] if self._latest else math.inf

    def count(self, sort: str) -> int:
        """Of how many jobs this sort is the latest answer."""
        return self._counts[sort]

    def merge(self, other: Self) -> None:
        """Take in what another replica saw: of each job the newest answer counts."""
        latest = dict(self._latest)
        for job_id, answer in other._latest.items():
            latest[job_id] = max(answer, latest.get(job_id, answer))
        self._keep(latest)

    def as_data(self) -> list[Any]:
        """Return it as plain data for JSON."""
        return sorted([at, job_id, sort] for job_id, (at, sort) in self._latest.items())

    def add_data(self, data: Iterable[Iterable[Any]], later: float) -> None:
        """Read what `as_data` gave, its times put `later` by so many seconds."""
        self._keep({job_id: (at + later, str(sort)) for at, job_id, sort in data})

    def _keep(self, latest: Mapping[str, tuple[float, str]]) -> None:
        newest = sorted(latest.items(), key=lambda item: (item[1], item[0]))[-MOST_JOBS:]
        self._latest = OrderedDict(newest)
        self._counts = Counter(sort for _, sort in self._latest.values())

    def _drop_oldest(self) -> None:
        _, (_, sort) = self._latest.popitem(last=False)
        self._uncount(sort)

    def _uncount(self, sort: str) -> None:
        self._counts[sort] -= 1
        if not self._counts[sort]:  # a sort may be a mode, and an upstream may invent many
            del self._counts[sort]
