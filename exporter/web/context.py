"""What all routes share: the parts of the exporter, and how jobs and events are shown."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from aiohttp import web

from ..core.job import Job
from ..core.outlook import outlook
from ..core.pacing.next_poll import PollReason
from ..metrics.collector import JobMetrics
from ..metrics.exposition import Exposition
from ..metrics.instruments import Instruments
from ..polling.poller import Poller
from ..polling.status_cache import StatusCache
from ..registry.registry import Registry
from ..stop import State, Stop
from ..storage.store import StoredEvent
from ..upstream.client import Client
from .logins import Logins

if TYPE_CHECKING:
    from ..config import Config
    from ..config.credentials import Secret


class Task(Protocol):
    """A task that must not end before the exporter stops."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        ...


@dataclass(slots=True)
class Context:
    """The parts of one exporter that routes use."""

    registry: Registry
    poller: Poller
    exposition: Exposition
    instruments: Instruments
    job_metrics: JobMetrics
    config: "Callable[[], Config]"
    client: Client
    status_cache: StatusCache
    token: "Callable[[], Secret | None]"
    api_key: "Callable[[], Secret | None]"
    log: structlog.stdlib.BoundLogger
    reload: "Callable[[], Awaitable[list[str]]]"
    """See `Reloader.reload`."""
    stop: Stop
    tasks: "Mapping[str, Task]"
    """The tasks that run until the exporter stops, by name."""
    logins: Logins
    version: str
    started_at: float
    """Seconds since 1970."""
    prefix: str = ""

    def ended_tasks(self) -> list[str]:
        """Name the tasks that an internal error has ended, which only a restart repairs."""
        if self.stop.state is not State.RUNNING:
            return []
        return [name for name, task in self.tasks.items() if not task.alive]


_encode: Final = json.JSONEncoder(ensure_ascii=False).encode
"""Made once: `json.dumps` makes an encoder for each document."""


def dump_json(document: Any) -> bytes:
    """Write JSON in UTF-8. Surrogates, which a client's input may hold, are replaced."""
    return _encode(document).encode(errors="replace")


def answer(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with JSON and a line feed at its end."""
    body = dump_json(document) + b"\n"
    return web.Response(
        status=status, headers=headers, body=body, content_type="application/json", charset="utf-8"
    )


def rfc3339(time: float | None) -> str | None:
    """Write seconds since 1970 as RFC 3339 in UTC, to the millisecond."""
    if time is None:
        return None
    text = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def show_job(context: Context, job: Job, *, results: bool) -> dict[str, Any]:
    """Return a job as `openapi.yaml` describes it; its result URLs only with `results`."""
    planned = context.poller.next_poll(job.job_id)
    return {
        "job_id": job.job_id,
        "source": job.source.value,
        "sources": [source.value for source in job.sources],
        "key": job.key,
        "labels": dict(job.labels),
        "mode": job.mode,
        "state": job.state.value,
        "step": job.step,
        "progress": job.progress,
        "warnings": {name: list(texts) for name, texts in job.warnings.items()},
        "ignored_variations": list(job.ignored_variations),
        "final_url": job.final_url if results else None,
        "final_urls": dict(job.final_urls) if results else {},
        "registered_at": rfc3339(job.registered_at),
        "last_polled_at": rfc3339(job.last_polled_at),
        "last_progress_at": rfc3339(job.last_progress_at),
        "finished_at": rfc3339(job.finished_at),
        "suspected": job.suspicion is not None,
        "evidence": job.evidence,
        "next_poll_at": rfc3339(planned[0]) if planned else None,
        "next_poll_reason": planned[1].value if planned else None,
        **_expectation(context, job, planned[1] if planned else None),
    }


def show_suspicion(context: Context, job: Job) -> dict[str, Any] | None:
    """Say what a verdict on a suspected job still lacks; None where it is not suspected."""
    known = outlook(job, context.poller.health, context.poller.now(), context.config().judgement)
    if known is None:
        return None
    return {
        "http_status": known.http_status,
        "answers": known.answers,
        "answers_needed": known.answers_needed,
        "seconds": round(known.seconds, 3),
        "seconds_needed": known.seconds_needed,
        "witness": known.witness,
        "missing": list(known.missing),
        "verdict_at": rfc3339(known.verdict_at),
    }


def _expectation(context: Context, job: Job, reason: PollReason | None) -> dict[str, str | None]:
    """Say why the next poll comes when it does, and when the job is expected to end.

    All are None while too few jobs of the mode have ended, and once the job itself has ended or
    is suspected. A time beyond what was learned is None as well.
    """
    shown: dict[str, str | None] = dict.fromkeys(("next_poll_why", "expected_at", "expected_by"))
    if not job.pending or job.suspicion is not None:
        return shown
    pace, now = context.poller.pace, context.poller.now()
    if reason is PollReason.SCHEDULE:
        limit = context.poller.schedule.limit(job.job_id)
        shown["next_poll_why"] = pace.explain(job, now, limit)
    if known := pace.estimate(job, now):
        shown["expected_at"] = _after(now.time, known.median)
        shown["expected_by"] = _after(now.time, known.p90)
    return shown


def _after(time: float, seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(time + seconds)


def show_polls(context: Context, job_id: str) -> list[Mapping[str, Any]]:
    """Return the last polls of a job, oldest first."""
    return [
        {
            "time": rfc3339(poll.time),
            "code": poll.code,
            "reason": poll.reason or None,
            "seconds": round(poll.seconds, 6),
        }
        for poll in context.poller.schedule.polls(job_id)
    ]


def show_event(stored: StoredEvent) -> dict[str, Any]:
    """Return an event as `openapi.yaml` describes it."""
    event = stored.event
    return {
        "id": stored.id,
        "time": rfc3339(event.time),
        "type": event.type.value,
        "job_id": event.job_id,
        "data": dict(event.data),
    }
