"""Follows jobs until they end, by a running exporter or directly at the upstream.

Both yield an `Update` for each change of a job, until all have ended.
"""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ..client import AsyncClient, FullJobDocument
from ..config import Config
from ..core.health.health import UpstreamState
from ..core.job import Job, Source
from ..core.outlook import outlook
from ..registry.feed import Progress, Wanted
from ..registry.staging import Registration
from ..service import Exporter
from ..storage.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Update:
    """A job's present state. `progress` is in percent, None before the first answer."""

    job_id: str
    state: str
    step: str | None
    progress: float | None
    evidence: str | None = None
    warnings: tuple[tuple[str, str], ...] = ()
    """Pairs of a variation and a message."""
    ignored_variations: tuple[str, ...] = ()
    key: str | None = None
    registered_at: float = 0.0
    """Seconds since 1970."""
    missing: tuple[str, ...] | None = None
    """Lists what the verdict on a suspected job still lacks; None where it is not suspected."""
    expected_at: float | None = None
    """When (seconds since 1970) half of such jobs have ended; None where it is not known."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.state != "pending"


FORGOTTEN: Final = "forgotten"
"""The state of a job that the exporter has forgotten."""


class UnknownJobsError(Exception):
    """The exporter does not know some ids."""


class KeyRejectedError(Exception):
    """The upstream rejects the API key."""


async def from_exporter(client: AsyncClient, job_ids: Sequence[str]) -> AsyncIterator[Update]:
    """Follow jobs of an exporter; without ids, all that are pending now.

    Raises `UnknownJobsError` for ids that are unknown at the start, and the client's errors.
    """
    names = list(job_ids) or [job["job_id"] async for job in client.jobs(state="pending")]
    left = dict.fromkeys(names)
    only = names[0] if len(names) == 1 else None
    unknown: list[str] | None = [] if job_ids else None
    if not left:
        return
    async for event in client.events(job_id=only):
        if event["type"] == "connected":  # at first, and after each loss of the connection
            asked = list(left)
        elif event["job_id"] in left:
            asked = [event["job_id"]]
        else:
            continue
        for job_id in asked:
            update = await _look(client, job_id)
            if unknown is not None and update.state == FORGOTTEN:
                unknown.append(job_id)
                continue
            yield update
            if update.ended:
                del left[job_id]
        if unknown:
            raise UnknownJobsError(", ".join(unknown))
        unknown = None
        if not left:
            return


async def _look(client: AsyncClient, job_id: str) -> Update:
    shown = await client.job(job_id)
    return Update(job_id, FORGOTTEN, None, None) if shown is None else _sight_of_document(shown)


def _sight_of_document(shown: FullJobDocument) -> Update:
    suspicion = shown["suspicion"]
    return Update(
        job_id=shown["job_id"],
        state=shown["state"],
        step=shown["step"],
        progress=shown["progress"],
        evidence=shown["evidence"],
        warnings=tuple((name, text) for name, texts in shown["warnings"].items() for text in texts),
        ignored_variations=tuple(shown["ignored_variations"]),
        key=shown["key"],
        registered_at=_seconds(shown["registered_at"]) or 0.0,
        missing=None if suspicion is None else tuple(suspicion["missing"]),
        expected_at=_seconds(shown["expected_at"]),
    )


def _seconds(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time).timestamp()


async def from_upstream(config: Config, job_ids: Sequence[str]) -> AsyncIterator[Update]:
    """Follow jobs with an exporter inside this process, which stores nothing and has no server.

    Raises `KeyRejectedError`.
    """
    async with _exporting(config) as exporter:
        registry = exporter.registry
        start = registry.feed.newest_id
        await registry.register([Registration(job_id) for job_id in job_ids], Source.API)
        left = dict.fromkeys(job_ids)
        async for item in registry.feed.follow(start, Wanted(progress=True)):
            if exporter.poller.health.state is UpstreamState.KEY_REJECTED:
                raise KeyRejectedError
            if item is None:
                continue
            job_id = item.job_id if isinstance(item, Progress) else item.event.job_id
            job = None if job_id is None else await registry.get(job_id)
            if job is None or job.job_id not in left:
                continue
            yield _sight_of_job(job, exporter)
            if not job.pending:
                del left[job.job_id]
            if not left:
                return


@asynccontextmanager
async def _exporting(config: Config) -> AsyncIterator[Exporter]:
    plain = config.model_copy(update={"jobs": [], "job_files": []})
    exporter = Exporter(plain, store=MemoryStore(), rng=random.Random())  # noqa: S311 - jitter
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.stop()


def _sight_of_job(job: Job, exporter: Exporter) -> Update:
    poller, rules = exporter.poller, exporter.config().judgement
    known = outlook(job, poller.health, poller.now(), rules)
    return Update(
        job_id=job.job_id,
        state=job.state.value,
        step=job.step,
        progress=job.progress,
        evidence=job.evidence,
        warnings=tuple((name, text) for name, texts in job.warnings.items() for text in texts),
        ignored_variations=job.ignored_variations,
        key=job.key,
        registered_at=job.registered_at,
        missing=None if known is None else known.missing,
    )
