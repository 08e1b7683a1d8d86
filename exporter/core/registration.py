"""Registering a job for the first time, registering it again, and forgetting it."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from .events import Event, EventType, Now
from .job import Job, Source
from .reply import EMPTY

KEPT_LABELS: Final = 4096
"""Labels that were not used for long have left the cache: new jobs then share another mapping."""


def share_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return labels equal to these, in the same order; one mapping for all jobs that have them."""
    return _labels(tuple(labels.items()))


@functools.lru_cache(KEPT_LABELS)
def _labels(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(items)


@functools.lru_cache(64)
def share_sources(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """Return sources equal to these; one tuple for all jobs that have them."""
    return sources


@functools.lru_cache(1)
def _share_offset(offset: float) -> float:
    """Return this number; one object for all jobs that are registered together."""
    return offset


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that a second registration would change."""

    field: str
    known: str
    given: str

    def __str__(self) -> str:
        return f"registered as {self.known!r}, cannot become {self.given!r}"


def register(
    job_id: str,
    source: Source,
    now: Now,
    *,
    labels: Mapping[str, str] = EMPTY,
    key: str | None = None,
    registered_at: float | None = None,
    mode: str | None = None,
) -> tuple[Job, list[Event]]:
    """Return a new pending job and its event.

    `registered_at` (seconds since 1970) back-fills; a time in the future becomes the present.
    """
    at = now.time if registered_at is None else min(registered_at, now.time)
    job = Job(
        job_id=job_id,
        source=source,
        registered_at=at,
        clock_offset=_share_offset(now.time - now.steady),
        registered_healthy_time=now.healthy_time,
        version=1,
        sources=share_sources((source,)),
        key=key,
        labels=share_labels(labels),
        mode=mode,
    )
    return job, [Event(EventType.REGISTERED, job_id, now.time, {"source": source.value})]


def register_again(
    job: Job, source: Source, *, labels: Mapping[str, str] = EMPTY, key: str | None = None
) -> tuple[Job, list[Conflict]]:
    """Add to a known job the labels and the key that it lacks.

    A value that differs from the known one is a conflict, and the known one stays.
    """
    conflicts = [
        Conflict(f"labels.{name}", job.labels[name], value)
        for name, value in labels.items()
        if job.labels.get(name, value) != value
    ]
    if key is not None and job.key not in (None, key):
        conflicts.append(Conflict("key", str(job.key), key))
    after = replace(
        job,
        sources=share_sources(job.sources if source in job.sources else (*job.sources, source)),
        labels=share_labels({**labels, **job.labels}),
        key=key if job.key is None else job.key,
    )
    return after, conflicts


def forget(job: Job, now: Now, reason: str = "deleted") -> list[Event]:
    """Return the event of forgetting a job; `reason` is one of `tally.FORGOTTEN_REASONS`."""
    data = {"state": job.state.value, "reason": reason}
    return [Event(EventType.FORGOTTEN, job.job_id, now.time, data)]
