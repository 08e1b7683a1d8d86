"""The witnesses without which no job is called failed: what shows that the service works.

A strong witness is another job, still pending and of the same mode, that was answered 2xx. Weak
ones are any job's 2xx, or a random id that is looked up. A weak witness must be served again and
again while the run of 5xx lasts. All times are in healthy time.
"""

import math
from typing import Final, NamedTuple

from ..job import Job

WITNESSES_A_MODE: Final = 2
"""The newest, and the newest of any other job."""
MOST_WITNESSES: Final = 100


class Sign(NamedTuple):
    """What showed that the service works: a 2xx for a job, or a 404 for a random id."""

    job_id: str | None = None
    mode: str | None = None
    finished: bool = False
    """Whether the job had ended, and was asked again."""

    def __str__(self) -> str:
        if self.job_id is None:
            return "a random id was answered 404"
        if self.finished:
            return f"the finished job {self.job_id} was answered 2xx again"
        return f"job {self.job_id} of mode {self.mode or 'unknown'} was answered 2xx"


class Streak:
    """A weak witness that was seen from `since` to `until` without a long gap."""

    def __init__(self) -> None:
        self.since = self.until = -math.inf
        self.sign = Sign()
        """The latest."""

    def grow(self, sign: Sign, at: float, longest_gap: float) -> None:
        """Add a sign; a gap longer than `longest_gap` before it begins a new streak."""
        if at - self.until > longest_gap:
            self.since = at
        self.until, self.sign = max(at, self.until), sign


class Witnesses:
    """Pending jobs that were served, by mode, and the streaks of the weak witnesses."""

    def __init__(self) -> None:
        self._by_mode: dict[str, dict[str, float]] = {}
        self.served = Streak()
        """Jobs were answered 2xx: a finished one that was asked again, or one of any mode."""
        self.looked_up = Streak()
        """Random ids were answered 404."""

    def __len__(self) -> int:
        return sum(map(len, self._by_mode.values()))

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

    def remember(self, job_id: str, mode: str | None, at: float, longest_gap: float) -> None:
        """A pending job was answered 2xx."""
        self._put(mode or "", job_id, at)
        if len(self._by_mode) > MOST_WITNESSES // WITNESSES_A_MODE:
            self._drop_oldest()
        self.served.grow(Sign(job_id, mode), at, longest_gap)

    def remember_control(self, job_id: str | None, at: float, longest_gap: float) -> None:
        """The control request found a finished job served, or (None) a random id looked up."""
        if job_id is None:
            self.looked_up.grow(Sign(), at, longest_gap)
        else:
            self.served.grow(Sign(job_id, finished=True), at, longest_gap)

    def _put(self, mode: str, job_id: str, at: float) -> None:
        jobs = self._by_mode.setdefault(mode, {})
        jobs[job_id] = max(at, jobs.get(job_id, at))
        if len(jobs) > WITNESSES_A_MODE:
            del jobs[min(jobs, key=lambda name: (jobs[name], name))]

    def _drop_oldest(self) -> None:
        everyone = [
            (at, job_id, mode)
            for mode, jobs in self._by_mode.items()
            for job_id, at in jobs.items()
        ]
        for _, job_id, mode in sorted(everyone)[:-MOST_WITNESSES]:
            del self._by_mode[mode][job_id]
            if not self._by_mode[mode]:
                del self._by_mode[mode]
