"""The interface for an application that embeds the exporter: `app[exporter.JOBS]`.

job = await app[exporter.JOBS].register(job_id, labels={"shop": "eu"})
job = await app[exporter.JOBS].wait(job_id, timeout=300)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Final

from aiohttp import web

from .config.registration import RegistrationRules
from .core.job import Job, Source
from .core.reply import EMPTY
from .registry.feed import Wanted
from .registry.registry import Registry
from .registry.staging import Registration, RegistrationConflictError, RegistryFullError
from .registry.waiting import ExporterStoppedError
from .storage.store import StoredEvent


class RegistrationError(Exception):
    """A job was not registered. `details` lists the errors by field."""

    def __init__(self, details: Mapping[str, list[str]]) -> None:
        super().__init__("; ".join(f"{name}: {', '.join(why)}" for name, why in details.items()))
        self.details = details


class UnknownJobError(LookupError):
    """No such job is registered."""


class Jobs:
    """The jobs of an exporter, for code in the same process. Usable once the application runs."""

    def __init__(self, registry: Registry, rules: Callable[[], RegistrationRules]) -> None:
        self._registry = registry
        self._rules = rules

    async def register(
        self,
        job_id: str,
        *,
        labels: Mapping[str, str] = EMPTY,
        key: str | None = None,
        registered_at: datetime | None = None,
    ) -> Job:
        """Register a job, and return it once it is safe on disk.

        Registering it again returns the same job. `registered_at` (with a time zone) back-fills a
        job that began earlier. Raises `RegistrationError` (invalid, or other labels or another key
        than before), `RegistryFullError`, `StoreError`.
        """
        details = self._rules().check(job_id, dict(labels), key)
        if registered_at is not None and registered_at.tzinfo is None:
            details["registered_at"] = ["expected a time with a time zone"]
        if details:
            raise RegistrationError(details)
        at = None if registered_at is None else registered_at.timestamp()
        registration = Registration(job_id, dict(labels), key, at)
        try:
            [registered] = await self._registry.register([registration], Source.PLUGIN)
        except RegistrationConflictError as error:
            raise RegistrationError(
                {conflict.field: [str(conflict)] for conflict in error.conflicts[0]}
            ) from None
        return registered.job

    async def get(self, job_id: str) -> Job | None:
        """Return the current state of a job, None when it is unknown; raises `StoreError`."""
        return await self._registry.get(job_id)

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait until a job has reached any final state, and return it.

        An inferred state (`failed`, `not_found`, `expired`) may be overturned later. Raises
        `TimeoutError` after `timeout` seconds, `UnknownJobError` when the job is not registered or
        is forgotten meanwhile, `ExporterStoppedError` when the application stops first,
        `StoreError`.
        """
        async with asyncio.timeout(timeout):
            job = await self._registry.wait_for_end(job_id)
        if job is None:
            raise UnknownJobError(job_id)
        return job

    def events(
        self,
        *,
        after: int | None = None,
        job_id: str | None = None,
        type: str | None = None,  # noqa: A002
    ) -> AsyncIterator[StoredEvent]:
        """Yield the events of one job or of all jobs, until the application stops.

        `after` is the id of the last event that the caller has handled, so that a program resumes
        where it stopped. Without it the stream begins with this call. Reading the stream raises
        `HistoryGapError` when the next event is not kept any more, and `StoreError`.
        """
        start = self._registry.feed.newest_id if after is None else after
        return self._events(start, Wanted(type, job_id), check=after is not None)

    async def _events(
        self, after: int, wanted: Wanted, *, check: bool
    ) -> AsyncIterator[StoredEvent]:
        feed = self._registry.feed
        if check:
            await feed.check(after)
        async for item in feed.follow(after, wanted):
            if isinstance(item, StoredEvent):
                yield item


JOBS: Final = web.AppKey("JOBS", Jobs)

__all__ = [
    "JOBS",
    "ExporterStoppedError",
    "Jobs",
    "RegistrationError",
    "RegistryFullError",
    "UnknownJobError",
]
