"""The jobs that memory holds: who is pending, lingers after the end, or will be asked again."""

import heapq
from collections.abc import Callable, Container
from dataclasses import replace
from typing import Final

from ..core.job import Job, JobState
from .limits import RegistryLimits

LOOK_AGAIN_SECONDS: Final = 30.0
"""How often a finished job whose recheck is late is looked at: thousands may be, all at once."""


class ResidentJobs:
    """Jobs by id. `time` gives the seconds since 1970."""

    def __init__(self, limits: Callable[[], RegistryLimits], time: Callable[[], float]) -> None:
        self._limits = limits
        self.jobs: dict[str, Job] = {}
        self.pending = 0
        self.unsaved: set[str] = set()
        """Ids of jobs that moved since they were stored."""
        self._time = time
        self._leaving: list[tuple[float, str, int]] = []
        """A heap of when, which job, in which incarnation."""

    def hold(self, before: Job | None, after: Job) -> None:
        """Take a job as it was stored; `before` is what was held of it."""
        self.jobs[after.job_id] = after
        self.unsaved.discard(after.job_id)
        self.pending += after.pending - (before is not None and before.pending)
        if not after.pending:
            self._let_leave(after, leaves_at(after, self._limits(), self._time()))

    def move(self, before: Job, after: Job) -> None:
        """Take a job with what is no event, to be stored with the next flush if it is worth it."""
        self.jobs[after.job_id] = after
        if replace(after, last_polled_at=before.last_polled_at) != before:
            self.unsaved.add(after.job_id)

    def let_go(self, job: Job) -> None:
        """Hold a job no longer."""
        if self.jobs.pop(job.job_id, None) is not None:
            self.pending -= job.pending

    def evict(self, busy: Container[str]) -> list[Job]:
        """Let go of the jobs that have lingered, and return them; those that are `busy` stay."""
        now, gone = self._time(), []
        while self._leaving and self._leaving[0][0] <= now:
            _, job_id, incarnation = heapq.heappop(self._leaving)
            job = self.jobs.get(job_id)
            if job is None or job.incarnation != incarnation or job.pending:
                continue
            leaves = leaves_at(job, self._limits(), now)
            if leaves > now or job_id in busy or job_id in self.unsaved:
                self._let_leave(job, max(leaves, now + 1))
                continue
            del self.jobs[job_id]
            gone.append(job)
        return gone

    def newest(self, job: Job) -> Job:
        """Return a stored job as it is now, if it is held."""
        held = self.jobs.get(job.job_id)
        return held if held is not None and held.incarnation == job.incarnation else job

    def _let_leave(self, job: Job, time: float) -> None:
        heapq.heappush(self._leaving, (time, job.job_id, job.incarnation))


def leaves_at(job: Job, limits: RegistryLimits, now: float) -> float:
    """Return when (seconds since 1970) a finished job may leave memory."""
    lingers = limits.linger_failed if job.state is JobState.FAILED else limits.linger
    leaves = (job.finished_at or 0.0) + lingers
    if (recheck := job.recheck_at(limits.recheck_after)) is not None:
        # Asked again, however late: a recheck waits while the upstream is not well.
        leaves = max(leaves, recheck, now + LOOK_AGAIN_SECONDS)
    return leaves
