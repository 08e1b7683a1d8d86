"""The stop of an exporter: its state, its deadline, and its steps from top to bottom.

The server calls `begin` once it accepts no more requests, and `finish` once those it had accepted
are over (aiohttp: `on_shutdown`, and the end of `cleanup_ctx`). Seconds after `begin`:

0.0  `/-/ready` answers 503. Streams and long waits end, and no poll is started any more.
4.5  Requests that are still unanswered are answered 503. Polls without an answer are abandoned.
5.0  The command's server closes the connections that are left, and calls `finish`.
7.5  The store no longer waits for programs that lock its file.
8.5  A store that still hangs, on a disk that does, is left as a kill would leave it.

`docker stop` kills after 10 seconds. Usually nothing hangs, and all of it takes a moment.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from enum import Enum
from typing import Any, Final

import structlog

from .housekeeping import Housekeeping
from .polling.poller import Poller
from .polling.upstream_record import UpstreamRecord
from .registry.registry import Registry
from .storage.store import StoreError
from .upstream.client import Client

REQUEST_SECONDS: Final = 4.5
"""How long requests and polls may go on once the stop has begun."""
SERVER_SECONDS: Final = 5.0
"""How long the command's server waits for requests; longer, so that it sends the last 503."""
STOP_SECONDS: Final = 7.5
"""How long the stop may take in total, and `HANG_SECONDS` more where a disk hangs."""
HANG_SECONDS: Final = 1.0


class State(Enum):
    """How far an exporter has come in its life."""

    LOADING = "loading"
    RUNNING = "running"
    STOPPING = "stopping"


class _RequestLimit:
    """The block of `Stop.limit_request`. A generator would cost three times as much a request."""

    __slots__ = ("_limit", "_requests", "_task")

    def __init__(self, requests: dict[Any, asyncio.Timeout], deadline: float | None) -> None:
        self._requests = requests
        self._task = asyncio.current_task()
        self._limit = asyncio.timeout_at(deadline)

    async def __aenter__(self) -> None:
        self._requests[self._task] = self._limit
        await self._limit.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        del self._requests[self._task]
        await self._limit.__aexit__(*raised)


class Stop:
    """The state of an exporter, and its way to the end."""

    def __init__(
        self,
        poller: Poller,
        housekeeping: Housekeeping,
        registry: Registry,
        client: Client,
        record: UpstreamRecord,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.state = State.LOADING
        self._deadline: float | None = None
        """When (time of the event loop) every request is over; None before the stop."""
        self._requests: dict[asyncio.Task[Any] | None, asyncio.Timeout] = {}
        self._waits: set[asyncio.Timeout] = set()
        self._polls: asyncio.Task[None] | None = None
        self._poller = poller
        self._housekeeping = housekeeping
        self._registry = registry
        self._client = client
        self._record = record
        self._log = log

    @property
    def begun(self) -> bool:
        """Whether the exporter is stopping, or has stopped."""
        return self.state is State.STOPPING

    @property
    def requests(self) -> int:
        """How many requests are being answered."""
        return len(self._requests)

    @property
    def time_is_up(self) -> bool:
        """Whether the deadline has cancelled the current task within `limit_request`.

        Otherwise someone else has: the client may have left.
        """
        limit = self._requests.get(asyncio.current_task())
        return limit is not None and limit.expired()

    def limit_request(self) -> _RequestLimit:
        """Answer a request within this block, which raises `TimeoutError` at the deadline.

        There the current task is cancelled. It may catch that to write its own answer, which
        must not take long.
        """
        return _RequestLimit(self._requests, self._deadline)

    @contextlib.asynccontextmanager
    async def limit_wait(self, seconds: float) -> AsyncIterator[None]:
        """Wait for something within this block.

        It raises `TimeoutError` after `seconds`, and as soon as the stop begins.
        """
        async with asyncio.timeout(0 if self.begun else seconds) as limit:
            self._waits.add(limit)
            try:
                yield
            finally:
                self._waits.discard(limit)

    def begin(self) -> "asyncio.Task[None]":
        """Begin to stop; return the task that ends with the last poll. Later calls do nothing."""
        if self._polls is not None:
            return self._polls
        now = asyncio.get_running_loop().time()
        self.state = State.STOPPING
        self._deadline = now + REQUEST_SECONDS
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(now)
        for request in self._requests.values():
            request.reschedule(self._deadline)
        self._registry.store.set_deadline(REQUEST_SECONDS)
        self._registry.release()
        self._polls = asyncio.create_task(self._poller.close(REQUEST_SECONDS), name="last polls")
        return self._polls

    async def finish(self) -> None:
        """Store everything and close; no request is being answered any more."""
        await self.begin()
        assert self._deadline is not None  # noqa: S101 - it has begun
        # An application that embeds the exporter may have given its own requests longer than we do.
        left = self._deadline - REQUEST_SECONDS + STOP_SECONDS - asyncio.get_running_loop().time()
        left = max(left, STOP_SECONDS - SERVER_SECONDS)
        self._registry.store.set_deadline(left)
        await self._housekeeping.close()
        last = asyncio.get_running_loop().time() + left + HANG_SECONDS
        await self._wait(self._write(), last)
        await self._client.__aexit__(None, None, None)
        await self._wait(self._registry.store.close(), last)

    async def _wait(self, work: Coroutine[Any, Any, None], last: float) -> None:
        """Do the last work on the store. If it hangs, leave it: cancelled, it may go on to hang."""
        task = asyncio.create_task(work, name="last work on the store")
        await asyncio.wait([task], timeout=last - asyncio.get_running_loop().time())
        if task.done():
            task.result()
        else:
            self._log.error("store hangs; it is left as a kill would leave it")

    async def _write(self) -> None:
        try:
            await self._registry.close()
            await self._poller.keep_pace()
            await self._record.keep()
        except StoreError as error:
            self._log.error("store not written at the end", error=str(error))
