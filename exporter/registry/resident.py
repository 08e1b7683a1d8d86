"""The resident jobs, those in memory: pending, lingering after their end, or to be asked again."""

import heapq
from collections.abc import Callable, Container
from dataclasses import fields
from operator import attrgetter
from typing import Final

from ..core.job import Job, JobState
from .limits import RegistryLimits

CHECK_AGAIN_SECONDS: Final = 30.0
"""How often a job with a late recheck is checked for eviction: thousands may be late at once."""

_stored_part: Final = attrgetter(
    *(field.name for field in fields(Job) if field.compare and field.name != "last_polled_at")
)
"""Reads the fields whose change is worth a write: a copy of a job takes ten times as long."""


class ResidentJobs:
    """The resident jobs by id. `time` gives the seconds since 1970."""

    def __init__(self, limits: Callable[[], RegistryLimits], time: Callable[[], float]) -> None:
        self._limits = limits
        self.jobs: dict[str, Job] = {}
        self.pending = 0
        """How many of them are pending."""
        self.unsaved: set[str] = set()
        """Ids of jobs that have moved since they were stored."""
        self._time = time
        self._leaving: list[tuple[float, str, int]] = []
        """A heap of (time, job id, incarnation): when to check whether a job may leave."""

    def put(self, before: Job | None, after: Job) -> None:
        """Put in a stored job; `before` is its former value in memory."""
        self.jobs[after.job_id] = after
        self.unsaved.discard(after.job_id)
        self.pending += after.pending - (before is not None and before.pending)
        if not after.pending:
            self._check_at(after, leaves_at(after, self._limits(), self._time()))

    def move(self, before: Job, after: Job) -> bool:
        """Replace a job whose change is not an event; the next flush stores it.

        Return whether it changed: `last_polled_at` alone is not worth a write.
        """
        self.jobs[after.job_id] = after
        if _stored_part(after) == _stored_part(before):
            return False
        self.unsaved.add(after.job_id)
        return True

    def remove(self, job: Job) -> None:
        """Remove a job that is forgotten."""
        if self.jobs.pop(job.job_id, None) is not None:
            self.pending -= job.pending

    def evict(self, busy: Container[str]) -> list[Job]:
        """Remove the jobs whose time is up, except `busy` ones, and return them."""
        now, evicted = self._time(), []
        while self._leaving and self._leaving[0][0] <= now:
            _, job_id, incarnation = heapq.heappop(self._leaving)
            job = self.jobs.get(job_id)
            if job is None or job.incarnation != incarnation or job.pending:
                continue
            leaves = leaves_at(job, self._limits(), now)
            if leaves > now or job_id in busy or job_id in self.unsaved:
                self._check_at(job, max(leaves, now + 1))
                continue
            del self.jobs[job_id]
            evicted.append(job)
        return evicted

    def newest(self, job: Job) -> Job:
        """Return a stored job, or the newer value of it that is in memory."""
        resident = self.jobs.get(job.job_id)
        if resident is None or resident.incarnation != job.incarnation:
            return job
        return resident

    def _check_at(self, job: Job, time: float) -> None:
        heapq.heappush(self._leaving, (time, job.job_id, job.incarnation))


def leaves_at(job: Job, limits: RegistryLimits, now: float) -> float:
    """Return when (seconds since 1970) a finished job may leave memory."""
    lingers = limits.linger_failed if job.state is JobState.FAILED else limits.linger
    leaves = (job.finished_at or 0.0) + lingers
    if (recheck := job.recheck_at(limits.recheck_after)) is not None:
        # It stays until it was asked again, however late: rechecks wait for a healthy upstream.
        leaves = max(leaves, recheck, now + CHECK_AGAIN_SECONDS)
    return leaves
