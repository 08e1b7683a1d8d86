"""The client for programs with an event loop."""

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Self, cast

from yarl import URL

from .connection import Connection
from .documents import EventDocument, FailureDocument, FullJobDocument, JobDocument
from .errors import RefusedError, UnreachableError
from .following import follow
from .http import DEFAULT_URL
from .jobs import Job, Registration, Summary
from .sending import send
from .stream import Stream
from .waiting import StatusWait


class AsyncClient:
    """A client of one exporter, with or without `async with`; without it, call `close` at the end.

    `token` is the one in the exporter's `registration.token_file`; `api_key` is the upstream's key,
    which only `wait` needs. `timeout` limits one answer, and `patience` the repetition of failed
    calls, both in seconds: a call without success ends at the latest a second after `patience`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        api_key: str | None = None,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        patience: float = 60.0,
    ) -> None:
        self._connection = Connection(
            url, token=token, login=login, tls=tls, timeout=timeout, patience=patience
        )
        self._api_key = api_key

    @property
    def url(self) -> str:
        """Where the exporter is."""
        return str(self._connection.url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._connection.close()

    async def register(
        self,
        job_id: str,
        *,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
        registered_at: datetime | None = None,
    ) -> JobDocument:
        """Register a job and return it; raises `RefusedError`, `UnreachableError`."""
        one = Registration(job_id, labels or {}, key, registered_at)
        return cast(
            "JobDocument", await self._connection.call("PUT", self._job_url(job_id), one.document())
        )

    async def job(self, job_id: str) -> FullJobDocument | None:
        """Return a job with its polls and events; None if it is unknown."""
        return cast(
            "FullJobDocument | None",
            await self._connection.call_known("GET", self._job_url(job_id)),
        )

    async def jobs(
        self,
        *,
        state: str | None = None,
        source: str | None = None,
        mode: str | None = None,
        key: str | None = None,
        variation: str | None = None,
        warning: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncIterator[JobDocument]:
        """Yield the jobs that all given filters admit, newest first.

        `variation` was ignored for the job; `warning` is a variation that was warned about.
        """
        given = {"state": state, "source": source, "mode": mode, "key": key}
        given |= {"variation": variation, "warning": warning}
        given |= {f"label.{name}": value for name, value in (labels or {}).items()}
        query = {name: value for name, value in given.items() if value is not None}
        async for job in self._connection.pages("jobs", query):
            yield cast("JobDocument", job)

    async def wait(self, job_id: str, timeout: float) -> FullJobDocument:
        """Wait until a job has ended, and return it; raises `TimeoutError` after `timeout` seconds.

        The exporter holds each request until the job changes, so nothing is asked in vain. While
        the upstream is down, the wait goes on. Raises `RefusedError` for an unknown job and for a
        wrong `api_key`, `UnreachableError`, and `ValueError` without `api_key`.
        """
        if self._api_key is None:
            raise ValueError("wait needs the upstream's key: pass api_key to the client")
        status = StatusWait(self._connection, self._api_key, job_id)
        time = asyncio.get_running_loop().time
        deadline = time() + timeout
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await status.change(deadline - time())
                    job = await self.job(job_id)
                    if job is None:
                        message = f"no job {job_id!r}"
                        raise RefusedError(404, {"error": "not_found", "message": message})
                    if job["state"] != "pending":
                        return job
        except TimeoutError:
            raise TimeoutError(f"job {job_id!r} has not ended within {timeout:g} s") from None

    async def events(
        self,
        *,
        after: int | None = None,
        job_id: str | None = None,
        variation: str | None = None,
        warning: str | None = None,
    ) -> AsyncIterator[EventDocument]:
        """Yield the events of one job or of all, `progress` included, without an end.

        `{"type": "connected"}` comes first, and again after a lost connection; the missed events
        follow it, but not the missed progress. `after` is the id of the last event that was
        handled; without it the stream starts now. `variation` admits only its being ignored, and
        `warning` only warnings about it. Raises `UnreachableError`, and `RefusedError` (410 if the
        events after `after` are no longer stored).
        """
        given = {"job_id": job_id, "variation": variation, "warning": warning}
        query = {name: value for name, value in given.items() if value is not None}
        async for event in follow(self._connection, query, after):
            yield event

    async def forget(self, job_id: str) -> bool:
        """Forget a job; return False if it was unknown."""
        return await self._connection.call_known("DELETE", self._job_url(job_id)) is not None

    async def failures(self) -> AsyncIterator[FailureDocument]:
        """Yield the open keys of the failure ledger, newest first."""
        async for failure in self._connection.pages("failures", {}):
            yield cast("FailureDocument", failure)

    async def acknowledge(self, key: str) -> FailureDocument | None:
        """Close a key of the failure ledger; return its failure, or None if it was not open."""
        closed = await self._connection.call_known(
            "POST", self._connection.url / "api/v1/failures/ack", {"key": key}
        )
        return cast("FailureDocument | None", closed)

    async def register_many(
        self,
        jobs: Iterable[Job] | AsyncIterable[Job],
        progress: Callable[[int], None] = lambda position: None,
    ) -> Summary:
        """Register any number of jobs in a stream; the summary lists those that were refused.

        `progress` is called with the position up to which all jobs are stored or refused. After a
        broken connection the stream continues from there. Raises `RefusedError` if the exporter
        accepts no jobs from this client, `UnreachableError` if it cannot be reached or takes no
        more: its `summary` says what is stored.
        """
        stream = Stream(jobs, progress)
        try:
            return await send(self._connection, stream)
        except UnreachableError as error:
            error.summary = stream.summary()
            raise
        finally:
            stream.close()

    def _job_url(self, job_id: str) -> URL:
        return self._connection.url / "api/v1/jobs" / job_id
