"""Counts of the present jobs, updated with each change.

A scrape reads sums and the heads of heaps, so its cost depends on the changes since the scrape
before, not on the number of jobs. Pure: times (seconds since 1970) come from the caller.
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from ..core.job import Job
from ..core.tally import Labels, Tally, label_set
from .overdue import Overdue, Place

_counted: Final = attrgetter(
    "state", "mode", "step", "suspicion", "labels", "registered_at", "last_progress_at"
)
"""Reads the fields of a job on which its counts depend."""


@dataclass(slots=True)
class Census:
    """Counts of pending jobs: by group, by step, suspected, stalled, overdue; the oldest."""

    tally: Tally
    stalled_after: float
    pending: Counter[Labels] = field(default_factory=Counter)
    suspected: Counter[Labels] = field(default_factory=Counter)
    stalled: Counter[Labels] = field(default_factory=Counter)
    by_step: Counter[str] = field(default_factory=Counter)
    unresolved: Counter[Labels] = field(default_factory=Counter)
    overdue: Overdue = field(default_factory=Overdue)
    _group_labels: dict[tuple[str, ...], Labels] = field(default_factory=dict)
    _still: list[tuple[float, str]] = field(default_factory=list)
    _stalled: set[str] = field(default_factory=set)
    _oldest: dict[str, list[tuple[float, str]]] = field(default_factory=dict)

    def update(self, before: Job | None, after: Job | None) -> None:
        """Count a job's change; `before` is None for a new job, `after` for a removed one."""
        job = after or before
        if job is None:
            return
        if after is None or not after.pending:
            self._remove(job.job_id)
            return
        former = self.overdue.places.get(job.job_id)
        if before is not None and former is not None and _counted(before) == _counted(after):
            return  # after most polls; it takes a sixth of the time of the rest
        moved = after.last_progress_at or after.registered_at
        if former is None:
            place = self._put(after, None, moved)
            is_new = place.registered[0] == moved
            heapq.heappush(self._still, place.registered if is_new else (moved, job.job_id))
            return
        has_moved = moved > former.moved
        place = self._put(after, former, moved)
        if has_moved and job.job_id in self._stalled:
            self._stalled.discard(job.job_id)
            self.stalled[place.group] -= 1
            heapq.heappush(self._still, (moved, job.job_id))

    def count_unresolved(self, labels: Mapping[str, str], amount: int) -> None:
        """Count keys of the failure ledger that were opened (positive) or closed (negative)."""
        self.unresolved[label_set(self.tally.groups(labels))] += amount

    def set_stalled_after(self, seconds: float) -> None:
        """Set another threshold, also for the jobs that are stalled already."""
        self.stalled_after = seconds
        self.stalled.clear()
        self._stalled.clear()
        self._still = [(place.moved, job_id) for job_id, place in self.overdue.places.items()]
        heapq.heapify(self._still)

    def count_stalled(self, now: float) -> Mapping[Labels, int]:
        """Return the pending jobs without progress for `stalled_after` seconds."""
        while self._still and self._still[0][0] + self.stalled_after <= now:
            entered, job_id = heapq.heappop(self._still)
            place = self.overdue.places.get(job_id)
            if place is None or job_id in self._stalled:
                continue
            if place.moved > entered:  # it progressed since then; check again later
                heapq.heappush(self._still, (place.moved, job_id))
                continue
            self._stalled.add(job_id)
            self.stalled[place.group] += 1
        return self.stalled

    def oldest(self) -> dict[str, float]:
        """Return the time when the oldest pending job was registered, by mode."""
        found = {}
        for mode, heap in self._oldest.items():
            while heap and not self._is_in(heap[0], mode):
                heapq.heappop(heap)
            if heap:
                found[mode] = heap[0][0]
        return found

    def _is_in(self, entry: tuple[float, str], mode: str) -> bool:
        place = self.overdue.places.get(entry[1])
        return place is not None and (place.mode, place.registered) == (mode, entry)

    def _compact(self) -> None:
        """Remove stale entries from the heaps once they are the majority: this bounds the size."""
        places = self.overdue.places
        most = 2 * len(places) + 64
        if len(self._still) > most:
            self._still = [
                (place.moved, name) for name, place in places.items() if name not in self._stalled
            ]
            heapq.heapify(self._still)
        if sum(map(len, self._oldest.values())) > most:
            for mode, heap in self._oldest.items():
                heap[:] = [entry for entry in set(heap) if self._is_in(entry, mode)]
                heapq.heapify(heap)

    def _put(self, job: Job, former: Place | None, moved: float) -> Place:
        """Count a pending job in its place, and return this; `former` is its place so far."""
        mode = self.tally.mode(job)
        registered = (job.registered_at, job.job_id)
        if former is not None and former.registered == registered:
            registered = former.registered  # one tuple for all heaps
        place = Place(
            group=self._group(mode, job),
            mode=mode,
            registered=registered,
            step=self.tally.bounds.admit("step", job.step),
            suspected=job.suspicion is not None,
            moved=moved,
        )
        if place == former:
            former.moved = moved
            return former
        if former is None or former.mode != mode:
            heapq.heappush(self._oldest.setdefault(mode, []), registered)
        if former is not None:
            self._count(former, -1, job.job_id)
        self.overdue.put(place)
        self._count(place, 1, job.job_id)
        return place

    def _group(self, mode: str, job: Job) -> Labels:
        """Return the labels that a job is counted under; jobs with equal ones share the value."""
        groups = self.tally.groups(job.labels)
        known = (mode, *groups.values())
        found = self._group_labels.get(known)
        if found is None:
            found = self._group_labels[known] = label_set({"mode": mode, **groups})
        return found

    def _remove(self, job_id: str) -> None:
        place = self.overdue.remove(job_id)
        if place is None:
            return
        self._count(place, -1, job_id)
        self._stalled.discard(job_id)
        self._compact()

    def _count(self, place: Place, amount: int, job_id: str) -> None:
        self.pending[place.group] += amount
        self.by_step[place.step] += amount
        self.suspected[place.group] += amount * place.suspected
        self.stalled[place.group] += amount * (job_id in self._stalled)
