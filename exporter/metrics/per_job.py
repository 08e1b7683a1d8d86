"""The per-job series of the page: which jobs have them, and their lines, kept up to date.

Nothing is kept before the first scrape that asks for them, and nothing after they were switched
off. A config that changes what lines say begins anew.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from typing import Final

from ..core.job import Job
from ..core.published import Published
from .job_series import JobLines
from .kept_lines import KeptLines
from .shown_jobs import PerJobRules, ShownJobs
from .slices import Slice

JOBS_PER_STEP: Final = 200
"""After this many jobs other tasks run."""


class PerJobSeries:
    """The per-job series of `jobs`; `time` gives seconds since 1970."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        rules: Callable[[], PerJobRules],
        allowed_labels: Callable[[], Collection[str]],
        const_labels: Mapping[str, str],
        time: Callable[[], float],
    ) -> None:
        self._jobs = jobs
        self._rules = rules
        self._allowed_labels = allowed_labels
        self._const_labels = const_labels
        self._time = time
        self._kept: _Kept | None = None

    @property
    def enabled(self) -> bool:
        """Whether the page has per-job series at all."""
        return self._rules().enabled

    def published(self, published: Published) -> None:
        """Follow a change; a listener of the registry."""
        if not self.enabled:
            self._kept = None
        elif self._kept is not None:
            self._kept.follow(published.before, published.after)

    def render(self) -> Iterator[None]:
        """Bring the lines up to date in steps, between which other tasks may run."""
        kept = self._up_to_date()
        work = chain(kept.join_all(), kept.shown.settle(self._rules(), self._time()))
        for at, _ in enumerate(work, start=1):
            if at % JOBS_PER_STEP == 0:
                yield
                if self._up_to_date() is not kept:  # the config has changed, or another page saw it
                    yield from self.render()
                    return

    def slices(self) -> tuple[Iterator[Slice], int]:
        """Return the slices of this moment, and how many jobs `max_jobs` excludes.

        They are complete once `render` has ended, until other tasks run.
        """
        kept = self._up_to_date()
        return kept.lines.slices(), kept.shown.left_out

    def _up_to_date(self) -> "_Kept":
        """Return what is kept, if it was written under the present config."""
        config = (frozenset(self._rules().exclude), frozenset(self._allowed_labels()))
        if self._kept is None or self._kept.config != config:
            lines = JobLines(*config, self._const_labels)
            self._kept = _Kept(self._jobs, KeptLines(lines), config)
        return self._kept


class _Kept:
    """The choice of jobs and their lines, under one config (excluded families, allowed labels)."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        lines: KeptLines,
        config: tuple[frozenset[str], frozenset[str]],
    ) -> None:
        self.config = config
        self.lines = lines
        self.shown = ShownJobs(self._show, lines.remove)
        self._jobs = jobs
        self._unjoined = dict.fromkeys(reversed(list(jobs)))
        """The jobs that were there before this was; they join one by one, the oldest first."""

    def follow(self, before: Job | None, after: Job | None) -> None:
        """Follow a change of a job that has joined, or join it."""
        job = after or before
        if job is None:
            return
        if job.job_id in self._unjoined:
            del self._unjoined[job.job_id]
            before = None
        if before is not None and after is not None and job.job_id in self.lines:
            self.lines.change(before, after)
        self.shown.put(before, after)

    def join_all(self) -> Iterator[None]:
        """Take in the jobs that were there at the beginning, one at a step.

        Pages that are made at the same time share the work.
        """
        while self._unjoined:
            job_id, _ = self._unjoined.popitem()
            self.follow(None, self._jobs.get(job_id))
            yield
        self._unjoined = {}  # an emptied dict keeps the room for all its entries

    def _show(self, job_id: str) -> None:
        self.lines.add(self._jobs[job_id])
