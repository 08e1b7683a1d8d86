"""Counts the pending jobs that are older than their mode's limit.

A count costs only the jobs that crossed the limit since the count before. The limit changes with
the mode's usual duration, so jobs may also cross it backwards. Pure: times (seconds since 1970)
and limits (seconds) come from the caller.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.tally import Labels


@dataclass(slots=True)
class Place:
    """Under which values a pending job is counted; `group` has its mode and its group labels."""

    group: Labels
    mode: str
    registered: tuple[float, str]
    """When the job was registered, and its id: the entry of the job in each heap."""
    step: str = ""
    suspected: bool = False
    moved: float = field(default=0.0, compare=False)
    """When the job moved on last; the one value here that changes."""


@dataclass(slots=True)
class _Line:
    """The jobs of one mode: the young ones, oldest first, and the overdue ones, youngest first."""

    young: list[tuple[float, str]] = field(default_factory=list)
    old: list[tuple[float, str]] = field(default_factory=list)


class Overdue:
    """The pending jobs by mode, and which of them are overdue."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        """By job id; all counts of pending jobs share it."""
        self._lines: defaultdict[str, _Line] = defaultdict(_Line)
        self._beyond: set[str] = set()
        self._counts: Counter[Labels] = Counter()

    def put(self, place: Place) -> None:
        """Add or update a pending job."""
        job_id = place.registered[1]
        former = self.places.get(job_id)
        if former is None or not _same_heap(former, place):
            if former is not None:
                self.remove(job_id)
            heapq.heappush(self._lines[place.mode].young, place.registered)
        elif job_id in self._beyond:
            self._counts[former.group] -= 1
            self._counts[place.group] += 1
        self.places[job_id] = place

    def remove(self, job_id: str) -> Place | None:
        """Remove a job and return its place; None if it is unknown."""
        place = self.places.pop(job_id, None)
        if place is None:
            return None
        if job_id in self._beyond:
            self._beyond.discard(job_id)
            self._counts[place.group] -= 1
        self._compact(place.mode)
        return place

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
            registered = heapq.heappop(line.young)
            job_id = registered[1]
            if self._is_in(mode, registered) and job_id not in self._beyond:
                heapq.heappush(line.old, (-registered[0], job_id))
                self._cross(job_id, 1)
        while line.old and (cutoff is None or -line.old[0][0] >= cutoff):
            negated, job_id = heapq.heappop(line.old)
            if self._is_in(mode, (-negated, job_id)) and job_id in self._beyond:
                heapq.heappush(line.young, self.places[job_id].registered)
                self._cross(job_id, -1)

    def _cross(self, job_id: str, way: int) -> None:
        (self._beyond.add if way > 0 else self._beyond.discard)(job_id)
        self._counts[self.places[job_id].group] += way

    def _is_in(self, mode: str, registered: tuple[float, str]) -> bool:
        place = self.places.get(registered[1])
        return place is not None and (place.mode, place.registered) == (mode, registered)

    def _compact(self, mode: str) -> None:
        """Remove stale entries from the heaps once they are the majority: this bounds the size."""
        line = self._lines[mode]
        if len(line.young) + len(line.old) <= 2 * len(self.places) + 64:
            return
        inside = [place.registered for place in self.places.values() if place.mode == mode]
        line.young = [entry for entry in inside if entry[1] not in self._beyond]
        line.old = [(-time, job_id) for time, job_id in inside if job_id in self._beyond]
        heapq.heapify(line.young)
        heapq.heapify(line.old)


def _same_heap(one: Place, other: Place) -> bool:
    return one.mode == other.mode and one.registered == other.registered
