"""The series of single jobs, as lines of the exposition format.

Which jobs have any is bounded, and how many were left out is counted. The lines are made here and
not by prometheus-client, so that they can be kept per job and the page streamed in slices.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ..core.job import Job, JobState
from ..core.tally import UNKNOWN
from .catalogue import FAMILIES, Part

FAILED_SHARE: Final = 0.25
"""Of `max_jobs`, what failed jobs may take from pending ones when there is not room for all."""


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


@dataclass(frozen=True, slots=True)
class Shown:
    """The jobs that have series, and how many more would."""

    jobs: list[Job]
    left_out: int


def choose(jobs: Iterable[Job], rules: PerJobRules, now: float) -> Shown:
    """Return the jobs to show at `now` (since 1970): the oldest pending and the newest failed."""
    if not rules.enabled:
        return Shown([], 0)
    fit = [job for job in jobs if _is_shown(job, rules, now)]
    if len(fit) <= rules.max_jobs:
        return Shown(fit, 0)
    failed = [job for job in fit if job.state is JobState.FAILED]
    pending = [job for job in fit if job.pending]
    others = [job for job in fit if not job.pending and job.state is not JobState.FAILED]
    kept_failed = _newest(
        max(int(rules.max_jobs * FAILED_SHARE), rules.max_jobs - len(pending)), failed
    )
    room = rules.max_jobs - len(kept_failed)
    kept = kept_failed + heapq.nsmallest(room, pending, key=lambda job: job.registered_at)
    kept += _newest(rules.max_jobs - len(kept), others)
    return Shown(kept, len(fit) - len(kept))


def _newest(count: int, jobs: list[Job]) -> list[Job]:
    return heapq.nlargest(count, jobs, key=lambda job: job.finished_at or 0.0)


def _is_shown(job: Job, rules: PerJobRules, now: float) -> bool:
    if job.finished_at is None:
        return now - job.registered_at >= rules.after
    linger = rules.linger_failed if job.state is JobState.FAILED else rules.linger
    return now - job.finished_at < linger


def lines(
    jobs: Collection[Job],
    exclude: Collection[str],
    allowed_labels: Collection[str],
    const_labels: Mapping[str, str],
) -> Iterator[str]:
    """Return the families of single jobs, each with its help and type, a line at a time.

    Of the registration labels `removit_job_info` has those that are allowed now.
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
    """Return a family's labels (beside `job_id`) and value for a job, None where it has none."""
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
    """As the exposition format has it: backslash, quote and line feed."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
