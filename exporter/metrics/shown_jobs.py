"""Which jobs have series: at most `max_jobs`, the oldest pending and the newest failed first.

Each kind of job is kept in the order of preference, and its first jobs have series. So a scrape
moves three boundaries, which costs as much as jobs have come and gone since the scrape before.
"""

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
    """Jobs of one kind as (rank, job id), the lowest rank first; the first `shown` have series."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, str]] = []
        self.shown = 0

    def add(self, entry: tuple[float, str], *, show: bool) -> bool:
        """Put in a job; return whether it has series. `show` gives it some if the order admits."""
        at = bisect_left(self.entries, entry)
        self.entries.insert(at, entry)
        shown = at < self.shown or (show and at == self.shown)
        self.shown += shown
        return shown

    def remove(self, entry: tuple[float, str]) -> bool:
        """Remove a job; return whether it had series. One that is not here had none."""
        at = bisect_left(self.entries, entry)
        if at == len(self.entries) or self.entries[at] != entry:
            return False
        del self.entries[at]
        shown = at < self.shown
        self.shown -= shown
        return shown


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
        was_shown = before is not None and self._ranking(before).remove(_entry(before))
        is_shown = after is not None and self._ranking(after).add(_entry(after), show=was_shown)
        if after is not None and is_shown and not was_shown:
            self._show(after.job_id)
        elif before is not None and was_shown and not is_shown:
            self._hide(before.job_id)

    def settle(self, rules: PerJobRules, now: float) -> Iterator[None]:
        """Apply the rules at a time, in steps: one job gets or loses its series in each."""
        for ranking, wanted in self._wanted(rules, now):
            while ranking.shown > wanted:
                ranking.shown -= 1
                self._hide(ranking.entries[ranking.shown][1])
                yield
        for ranking, wanted in self._wanted(rules, now):
            while ranking.shown < min(wanted, len(ranking.entries)):
                ranking.shown += 1
                self._show(ranking.entries[ranking.shown - 1][1])
                yield

    def _wanted(self, rules: PerJobRules, now: float) -> list[tuple[_Ranking, int]]:
        """Return how many jobs of each kind have series."""
        most = rules.max_jobs
        pending = len(self._pending.entries)
        if rules.after > 0:
            # After the clock was set back, jobs may have been registered in the future.
            pending = bisect_right(self._pending.entries, now - rules.after, key=_rank)
        failed = bisect_left(self._failed.entries, rules.linger_failed - now, key=_rank)
        others = bisect_left(self._others.entries, rules.linger - now, key=_rank)
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


def _entry(job: Job) -> tuple[float, str]:
    rank = job.registered_at if job.finished_at is None else -job.finished_at
    return rank, job.job_id


def _rank(entry: tuple[float, str]) -> float:
    return entry[0]
