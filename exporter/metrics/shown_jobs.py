"""Which jobs have series: at most `max_jobs`, the oldest pending and the newest failed first.

Each kind of job is kept in the order of preference, and its first jobs have series. So a scrape
moves three boundaries, which costs as much as jobs have come and gone since the scrape before.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator
from typing import Final, Protocol

from ..core.job import Job, JobState

FAILED_SHARE: Final = 0.25
"""The share of `max_jobs` that failed jobs may have when pending jobs would need all of it."""


class PerJobRules(Protocol):
    """The config's `metrics.per_job`; times in seconds."""

    @property
    def enabled(self) -> bool: ...
    @property
    def exclude(self) -> Collection[str]: ...
    @property
    def after(self) -> float: ...
    @property
    def linger(self) -> float: ...
    @property
    def linger_failed(self) -> float: ...
    @property
    def max_jobs(self) -> int: ...


class _Ranking:
    """Jobs of one kind by rank and job id, the lowest first; the first `shown` have series.

    Ranks and ids are in lists of their own: as pairs they would take 56 bytes more for each job.
    """

    def __init__(self) -> None:
        self.ranks = array("d")
        self.job_ids: list[str] = []
        self.shown = 0

    def add(self, rank: float, job_id: str, *, show: bool) -> bool:
        """Put in a job; return whether it has series. `show` gives it some if the order admits."""
        at = self._place(rank, job_id)
        self.ranks.insert(at, rank)
        self.job_ids.insert(at, job_id)
        shown = at < self.shown or (show and at == self.shown)
        self.shown += shown
        return shown

    def remove(self, rank: float, job_id: str) -> bool:
        """Remove a job; return whether it had series. One that is not here had none."""
        at = self._place(rank, job_id)
        if at == len(self.ranks) or (self.ranks[at], self.job_ids[at]) != (rank, job_id):
            return False
        del self.ranks[at], self.job_ids[at]
        shown = at < self.shown
        self.shown -= shown
        return shown

    def _place(self, rank: float, job_id: str) -> int:
        first = bisect_left(self.ranks, rank)
        return bisect_left(self.job_ids, job_id, first, bisect_right(self.ranks, rank, first))


class ShownJobs:
    """Chooses the jobs with series, and calls `show` and `hide` with the ids of those that differ.

    Times are in seconds since 1970.
    """

    def __init__(self, show: Callable[[str], None], hide: Callable[[str], None]) -> None:
        self.left_out = 0
        """How many jobs `max_jobs` excluded when `settle` was called last."""
        self._show = show
        self._hide = hide
        self._pending = _Ranking()
        self._failed = _Ranking()
        self._others = _Ranking()

    def put(self, before: Job | None, after: Job | None) -> None:
        """Follow a job's change; `before` is ignored if it is not known here."""
        if before is not None and after is not None and _same_place(before, after):
            return
        was_shown = before is not None and self._ranking(before).remove(
            _rank(before), before.job_id
        )
        is_shown = after is not None and self._ranking(after).add(
            _rank(after), after.job_id, show=was_shown
        )
        if after is not None and is_shown and not was_shown:
            self._show(after.job_id)
        elif before is not None and was_shown and not is_shown:
            self._hide(before.job_id)

    def settle(self, rules: PerJobRules, now: float) -> Iterator[None]:
        """Apply the rules at a time, in steps: one job gets or loses its series in each."""
        for ranking, wanted in self._wanted(rules, now):
            while ranking.shown > wanted:
                ranking.shown -= 1
                self._hide(ranking.job_ids[ranking.shown])
                yield
        for ranking, wanted in self._wanted(rules, now):
            while ranking.shown < min(wanted, len(ranking.ranks)):
                ranking.shown += 1
                self._show(ranking.job_ids[ranking.shown - 1])
                yield

    def _wanted(self, rules: PerJobRules, now: float) -> list[tuple[_Ranking, int]]:
        """Return how many jobs of each kind have series."""
        most = rules.max_jobs
        pending = len(self._pending.ranks)
        if rules.after > 0:
            # After the clock was set back, jobs may have been registered in the future.
            pending = bisect_right(self._pending.ranks, now - rules.after)
        failed = bisect_left(self._failed.ranks, rules.linger_failed - now)
        others = bisect_left(self._others.ranks, rules.linger - now)
        self.left_out = max(0, pending + failed + others - most)
        failed = min(failed, max(int(most * FAILED_SHARE), most - pending))
        pending = min(pending, most - failed)
        others = min(others, most - failed - pending)
        return [(self._pending, pending), (self._failed, failed), (self._others, others)]

    def _ranking(self, job: Job) -> _Ranking:
        if job.finished_at is None:
            return self._pending
        return self._failed if job.state is JobState.FAILED else self._others


def _same_place(before: Job, after: Job) -> bool:
    return (
        before.state is after.state
        and before.registered_at == after.registered_at
        and before.finished_at == after.finished_at
    )


def _rank(job: Job) -> float:
    return job.registered_at if job.finished_at is None else -job.finished_at
