"""The per-job series, as lines of the exposition format.

The number of jobs with series is bounded, and the others are counted. The lines are written here
and not by prometheus-client, which is slower and cannot give them in slices.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Protocol

from ..core.job import Job, JobState
from ..core.tally import UNKNOWN
from .catalogue import FAMILIES, Part

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


class Choice:
    """Chooses the jobs with series: the oldest pending and the newest failed.

    `now` is in seconds since 1970. Jobs are fed one at a time, so that the caller can pause in
    between. At most `max_jobs` of each kind are kept.
    """

    def __init__(self, rules: PerJobRules, now: float) -> None:
        self._rules = rules
        self._now = now
        self._fit = 0
        self._pending = Best(rules.max_jobs)
        self._failed = Best(rules.max_jobs)
        self._others = Best(rules.max_jobs)

    def feed(self, job: Job) -> None:
        """Take a job into account."""
        rules = self._rules
        if job.finished_at is None:
            # After the clock was set back, `registered_at` may lie in the future.
            if max(0.0, self._now - job.registered_at) >= rules.after:
                self._fit += 1
                self._pending.offer(-job.registered_at, job)
            return
        failed = job.state is JobState.FAILED
        linger = rules.linger_failed if failed else rules.linger
        if self._now - job.finished_at < linger:
            self._fit += 1
            (self._failed if failed else self._others).offer(job.finished_at, job)

    def jobs(self) -> list[Job]:
        """Return the chosen jobs."""
        most = self._rules.max_jobs
        waiting = self._pending.offered
        failed = self._failed.best(max(int(most * FAILED_SHARE), most - waiting))
        pending = self._pending.best(most - len(failed))
        return [*pending, *failed, *self._others.best(most - len(failed) - len(pending))]

    def left_out(self) -> int:
        """Return how many jobs `max_jobs` excludes."""
        return max(0, self._fit - self._rules.max_jobs)


class Best:
    """Keeps the `most` jobs of the highest rank."""

    def __init__(self, most: int) -> None:
        self.offered = 0
        self._most = most
        self._heap: list[tuple[float, str, Job]] = []

    def offer(self, rank: float, job: Job) -> None:
        """Keep a job if its rank is high enough."""
        self.offered += 1
        heap = self._heap
        if len(heap) < self._most:
            heapq.heappush(heap, (rank, job.job_id, job))
        elif heap and rank > heap[0][0]:
            heapq.heapreplace(heap, (rank, job.job_id, job))

    def best(self, count: int) -> list[Job]:
        """Return up to `count` jobs, the highest rank first."""
        return [job for *_, job in heapq.nlargest(max(0, count), self._heap)]


def lines(
    jobs: Collection[Job],
    exclude: Collection[str],
    allowed_labels: Collection[str],
    const_labels: Mapping[str, str],
) -> Iterator[str]:
    """Yield the lines of the per-job families, with their help and type.

    `removit_job_info` has the registration labels that `allowed_labels` admits at present.
    """
    const = "".join(f',{name}="{_escape(value)}"' for name, value in const_labels.items())
    for family in FAMILIES.values():
        if family.part is not Part.JOBS or family.name in exclude:
            continue
        yield f"# HELP {family.name} {family.help}\n"
        yield f"# TYPE {family.name} gauge\n"
        for job in jobs:
            sample = _sample(family.name, job, allowed_labels)
            if sample is not None:
                labels, value = sample
                identity = f'job_id="{_escape(job.job_id)}"'
                yield f"{family.name}{{{identity}{labels}{const}}} {value!r}\n"


def _sample(name: str, job: Job, allowed_labels: Collection[str]) -> tuple[str, float] | None:
    """Return a job's labels (without `job_id`) and value, or None if it has no such sample."""
    match name.removeprefix("removit_job_"):
        case "info":
            return _pairs(_identity(job, allowed_labels)), 1.0
        case "state":
            return _pairs({"state": job.state.value}), 1.0
        case "step":
            return None if job.step is None else (_pairs({"step": job.step}), 1.0)
    value = _value(name, job)
    return None if value is None else ("", value)


def _value(name: str, job: Job) -> float | None:
    match name.removeprefix("removit_job_"):
        case "progress_ratio":
            return None if job.progress is None else job.progress / 100
        case "warnings_current":
            return float(sum(map(len, job.warnings.values())))
        case "ignored_variations_current":
            return float(len(job.ignored_variations))
        case "registered_timestamp_seconds":
            return job.registered_at
        case "last_progress_timestamp_seconds":
            return job.last_progress_at
    return job.finished_at


def _identity(job: Job, allowed_labels: Collection[str]) -> dict[str, str]:
    identity = {"mode": job.mode or UNKNOWN, "source": job.source.value, "key": job.key or ""}
    return identity | {name: job.labels[name] for name in job.labels if name in allowed_labels}


def _pairs(labels: Mapping[str, str]) -> str:
    return "".join(f',{name}="{_escape(value)}"' for name, value in labels.items() if value)


def _escape(value: str) -> str:
    """Escape backslash, quote and line feed, as the exposition format demands."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
