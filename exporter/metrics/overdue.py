"""Counts the pending jobs that are older than their mode's limit.

A count costs only the jobs that crossed the limit since the count before. The limit changes with
the mode's usual duration, so jobs may also cross it backwards. Pure: times (seconds since 1970)
and limits (seconds) come from the caller.
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.tally import Labels


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: str
    group: Labels
    registered_at: float


@dataclass(slots=True)
class _Line:
    """The jobs of one mode: the young ones, oldest first, and the overdue ones, youngest first."""

    young: list[tuple[float, str]] = field(default_factory=list)
    old: list[tuple[float, str]] = field(default_factory=list)


class Overdue:
    """The pending jobs by mode, and which of them are overdue."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._lines: dict[str, _Line] = {}
        self._beyond: set[str] = set()
        self._counts: Counter[Labels] = Counter()

    def put(self, job_id: str, mode: str, group: Labels, registered_at: float) -> None:
        """Add or update a pending job; `group` are the labels that it is counted under."""
        entry = _Entry(mode, group, registered_at)
        former = self._entries.get(job_id)
        if entry == former:
            return
        moved = former is None or (former.mode, former.registered_at) != (mode, registered_at)
        if moved:
            self.remove(job_id)
            line = self._lines.setdefault(mode, _Line())
            heapq.heappush(line.young, (registered_at, job_id))
        elif job_id in self._beyond and former is not None:
            self._counts[former.group] -= 1
            self._counts[group] += 1
        self._entries[job_id] = entry

    def remove(self, job_id: str) -> None:
        """Remove a job; an unknown one is ignored."""
        entry = self._entries.pop(job_id, None)
        if entry is None:
            return
        if job_id in self._beyond:
            self._beyond.discard(job_id)
            self._counts[entry.group] -= 1
        self._compact(entry.mode)

    def count(self, now: float, limits: Mapping[str, float]) -> Mapping[Labels, int]:
        """Return how many jobs are older than their mode's limit, by group.

        A mode without a limit has no overdue jobs.
        """
        for mode, line in self._lines.items():
            limit = limits.get(mode)
            self._settle(mode, line, None if limit is None else now - limit)
        return self._counts

    def _settle(self, mode: str, line: _Line, cutoff: float | None) -> None:
        while cutoff is not None and line.young and line.young[0][0] < cutoff:
            registered_at, job_id = heapq.heappop(line.young)
            if self._is_in(mode, registered_at, job_id) and job_id not in self._beyond:
                heapq.heappush(line.old, (-registered_at, job_id))
                self._cross(job_id, 1)
        while line.old and (cutoff is None or -line.old[0][0] >= cutoff):
            negated, job_id = heapq.heappop(line.old)
            if self._is_in(mode, -negated, job_id) and job_id in self._beyond:
                heapq.heappush(line.young, (-negated, job_id))
                self._cross(job_id, -1)

    def _cross(self, job_id: str, way: int) -> None:
        (self._beyond.add if way > 0 else self._beyond.discard)(job_id)
        self._counts[self._entries[job_id].group] += way

    def _is_in(self, mode: str, registered_at: float, job_id: str) -> bool:
        entry = self._entries.get(job_id)
        return entry is not None and (entry.mode, entry.registered_at) == (mode, registered_at)

    def _compact(self, mode: str) -> None:
        """Remove stale entries from the heaps once they are the majority: this bounds the size."""
        line = self._lines[mode]
        if len(line.young) + len(line.old) <= 2 * len(self._entries) + 64:
            return
        inside = [
            (entry.registered_at, job_id)
            for job_id, entry in self._entries.items()
            if entry.mode == mode
        ]
        line.young = [entry for entry in inside if entry[1] not in self._beyond]
        line.old = [(-time, job_id) for time, job_id in inside if job_id in self._beyond]
        heapq.heapify(line.young)
        heapq.heapify(line.old)
