"""The client for programs with an event loop."""

import asyncio
import itertools
import json
import math
import random
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from .errors import RefusedError, UnreachableError
from .http import DEFAULT_URL, authorization, error_body, read_url, say
from .jobs import Job, Registration, Summary
from .stream import Stream

_FIRST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 10.0
_SILENCE_SECONDS: Final = 60.0
"""A stream sends a keep-alive every 15 seconds."""
_SETTLED_SECONDS: Final = 1.0
"""After a stream that lasted this long, patience starts again; a shorter one has failed."""


class AsyncClient:
    """A client of one exporter; an asynchronous context manager.

    `token` is the one in the exporter's `registration.token_file`. `timeout` limits one answer, and
    `patience` the repetition of failed calls, both in seconds.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        patience: float = 60.0,
    ) -> None:
        self._url = read_url(url)
        self._headers = authorization(token, login)
        self._tls: ssl.SSLContext | bool = True if tls is None else tls
        self._timeout = timeout
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Where the exporter is."""
        return str(self._url)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls)
        self._session = aiohttp.ClientSession(headers=self._headers, connector=connector)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def register(
        self,
        job_id: str,
        *,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
        registered_at: datetime | None = None,
    ) -> dict[str, Any]:
        """Register a job and return it; raises `RefusedError`, `UnreachableError`."""
        one = Registration(job_id, labels or {}, key, registered_at)
        return await self._call("PUT", self._job_url(job_id), one.document())

    async def job(self, job_id: str) -> dict[str, Any] | None:
        """Return a job with its polls and events; None if it is unknown."""
        return await self._call_known("GET", self._job_url(job_id))

    async def jobs(self, **filters: str) -> AsyncIterator[dict[str, Any]]:
        """Yield jobs, newest first; filters are `state`, `source`, `mode`, `key`."""
        async for job in self._pages("jobs", filters):
            yield job

    async def events(
        self, *, after: int | None = None, job_id: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of one job or of all, `progress` included, without an end.

        `{"type": "connected"}` comes first, and again after a lost connection; the missed events
        follow it, but not the missed progress. `after` is the id of the last event that was
        handled; without it the stream starts now. Raises `UnreachableError`, and `RefusedError`
        (410 if the events after `after` are no longer stored).
        """
        waits, time = self._waits(), asyncio.get_running_loop().time
        while True:
            query = {"job_id": job_id} if job_id else {}
            query |= {} if after is None else {"after": str(after)}
            connected = math.inf
            try:
                async for last, event in self._stream_events(query):
                    connected = min(connected, time())
                    after = last
                    yield event
                problem = "the stream ended"
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                problem = say(error)
            if time() - connected >= _SETTLED_SECONDS:
                waits = self._waits()
            await self._wait_again(waits, problem)

    async def forget(self, job_id: str) -> bool:
        """Forget a job; return False if it was unknown."""
        return await self._call_known("DELETE", self._job_url(job_id)) is not None

    async def failures(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the open keys of the failure ledger, newest first."""
        async for failure in self._pages("failures", {}):
            yield failure

    async def acknowledge(self, key: str) -> dict[str, Any] | None:
        """Close a key of the failure ledger; return its failure, or None if it was not open."""
        return await self._call_known("POST", self._url / "api/v1/failures/ack", {"key": key})

    async def register_many(
        self,
        jobs: Iterable[Job] | AsyncIterable[Job],
        progress: Callable[[int], None] = lambda position: None,
    ) -> Summary:
        """Register any number of jobs in a stream; the summary lists those that were refused.

        `progress` is called with the position up to which all jobs are stored or refused. After a
        broken connection the stream continues from there. Raises `RefusedError` if the exporter
        accepts no jobs from this client, `UnreachableError` if it cannot be reached.
        """
        stream = Stream(jobs, progress)
        try:
            return await self._stream_all(stream)
        finally:
            stream.close()

    async def _stream_all(self, stream: Stream) -> Summary:
        waits = self._waits()
        while True:
            before = stream.acknowledged
            try:
                wait = await self._stream_once(stream)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                stream.raise_source_error()
                wait, problem = 0.0, say(error)
            else:
                if wait is None:
                    return stream.summary()
                problem = "it has no room, cannot write, or stops"
            if stream.acknowledged > before:
                waits = self._waits()
            await self._wait_again(waits, problem, wait)

    async def _pages(self, what: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        cursor: dict[str, str] = {}
        while True:
            url = self._url / "api/v1" / what
            page = await self._call("GET", url.with_query({"limit": "1000", **query, **cursor}))
            for item in page[what]:
                yield item
            if page["next"] is None:
                return
            cursor = {"after": page["next"]}

    async def _stream_events(
        self, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Read server-sent events (WHATWG HTML, 9.2) until the connection ends.

        Yields each with the id of the last event; the exporter sends an id first.
        """
        async with self._open().get(
            (self._url / "api/v1/events").with_query(query),
            headers={"Accept": "text/event-stream"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._timeout, sock_read=_SILENCE_SECONDS
            ),
        ) as response:
            if response.status != 200:
                if response.status < 500:
                    raise RefusedError(response.status, await error_body(response))
                raise aiohttp.ClientConnectionError(f"it answers {response.status}")
            kind, last, greeted = "", 0, False
            async for line in response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    last = int(value)
                    if not greeted:
                        greeted = True
                        yield last, {"type": "connected"}
                elif name == "data":
                    yield last, {"type": kind, **json.loads(value)}

    async def _wait_again(self, waits: Iterator[float], problem: str, least: float = 0.0) -> None:
        """Wait before the next attempt; raises `UnreachableError` when patience is used up."""
        try:
            await asyncio.sleep(max(least, next(waits)))
        except StopIteration:
            raise UnreachableError(f"{self._url}: {problem}") from None

    async def _stream_once(self, stream: Stream) -> float | None:
        """Send the jobs that are not acknowledged; return the seconds to wait before more, or None.

        Raises aiohttp's errors, and `TimeoutError` if the exporter does not answer.
        """
        stream.begin()
        async with self._open().post(
            self._url / "api/v1/jobs",
            data=stream.chunks(),
            headers={"Content-Type": "application/x-ndjson"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout),
        ) as response:
            if response.status == 503:
                return float(response.headers.get("Retry-After", "1"))
            if response.status != 200:
                raise RefusedError(response.status, await error_body(response))
            while line := await self._next_line(response, stream):
                answer = json.loads(line)
                if "done" in answer:
                    return None
                if "retry_after" in answer:
                    return float(answer["retry_after"])
                stream.take(answer)
        raise aiohttp.ClientConnectionError("the answer ended early")

    async def _next_line(self, response: aiohttp.ClientResponse, stream: Stream) -> bytes:
        """Read a line. The time-out applies only while sent jobs wait for an answer."""
        reading = asyncio.ensure_future(response.content.readline())
        try:
            while not reading.done():
                waiting = stream.sent
                await asyncio.wait({reading}, timeout=self._timeout)
                if not reading.done() and waiting > stream.acknowledged:
                    raise TimeoutError("what was sent is not acknowledged")
            return reading.result()
        finally:
            reading.cancel()

    async def _call(
        self, method: str, url: URL, document: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        waits = self._waits()
        while True:
            retry_after = 0.0
            try:
                async with self._open().request(
                    method,
                    url,
                    json=document or None,
                    timeout=aiohttp.ClientTimeout(total=self._timeout),
                ) as response:
                    if response.status < 400:
                        return await response.json() if response.status != 204 else {}
                    if response.status < 500:
                        raise RefusedError(response.status, await error_body(response))
                    problem = f"it answers {response.status}"
                    retry_after = float(response.headers.get("Retry-After", "0"))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                problem = say(error)
            await self._wait_again(waits, problem, retry_after)

    async def _call_known(
        self, method: str, url: URL, document: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        try:
            return await self._call(method, url, document)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def _job_url(self, job_id: str) -> URL:
        return self._url / "api/v1/jobs" / job_id

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client in a `with` block")
        return self._session

    def _waits(self) -> Iterator[float]:
        """Yield the seconds to wait before each further attempt, until patience is used up."""
        deadline = asyncio.get_running_loop().time() + self._patience
        for tried in itertools.count():
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**tried) * random.uniform(0.5, 1.0)  # noqa: S311
            if asyncio.get_running_loop().time() + wait > deadline:
                return
            yield wait
