"""The client for programs without an event loop."""

import asyncio
import contextlib
import ssl
import threading
import weakref
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from datetime import datetime
from types import AsyncGeneratorType, TracebackType
from typing import Any, Final, Self, TypeVar

from .asynchronous import AsyncClient
from .documents import EventDocument, FailureDocument, FullJobDocument, JobDocument
from .http import DEFAULT_URL
from .jobs import Job, Summary

Result = TypeVar("Result")

CLOSE_SECONDS: Final = 5.0


class Client:
    """A client of one exporter with the arguments and calls of `AsyncClient`, but blocking.

    It works with and without `with`; without it, `close` or the end of the program closes it. It
    may also be used in a program that runs an event loop, and by several threads.
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
        self._client = AsyncClient(
            url,
            token=token,
            api_key=api_key,
            login=login,
            tls=tls,
            timeout=timeout,
            patience=patience,
        )
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    @property
    def url(self) -> str:
        """Where the exporter is."""
        return self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def register(
        self,
        job_id: str,
        *,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
        registered_at: datetime | None = None,
    ) -> JobDocument:
        """See `AsyncClient.register`."""
        return self._run(
            self._client.register(job_id, labels=labels, key=key, registered_at=registered_at)
        )

    def register_many(
        self, jobs: Iterable[Job], progress: Callable[[int], None] = lambda position: None
    ) -> Summary:
        """See `AsyncClient.register_many`; `jobs` and `progress` run in a thread of the client."""
        return self._run(self._client.register_many(jobs, progress))

    def job(self, job_id: str) -> FullJobDocument | None:
        """See `AsyncClient.job`."""
        return self._run(self._client.job(job_id))

    def jobs(
        self,
        *,
        state: str | None = None,
        source: str | None = None,
        mode: str | None = None,
        key: str | None = None,
        variation: str | None = None,
        warning: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[JobDocument]:
        """See `AsyncClient.jobs`."""
        return self._each(
            self._client.jobs(
                state=state,
                source=source,
                mode=mode,
                key=key,
                variation=variation,
                warning=warning,
                labels=labels,
            )
        )

    def wait(self, job_id: str, timeout: float) -> FullJobDocument:
        """See `AsyncClient.wait`."""
        return self._run(self._client.wait(job_id, timeout))

    def events(
        self,
        *,
        after: int | None = None,
        job_id: str | None = None,
        variation: str | None = None,
        warning: str | None = None,
    ) -> Generator[EventDocument, None, None]:
        """See `AsyncClient.events`."""
        return self._each(
            self._client.events(after=after, job_id=job_id, variation=variation, warning=warning)
        )

    def forget(self, job_id: str) -> bool:
        """See `AsyncClient.forget`."""
        return self._run(self._client.forget(job_id))

    def failures(self) -> Iterator[FailureDocument]:
        """See `AsyncClient.failures`."""
        return self._each(self._client.failures())

    def acknowledge(self, key: str) -> FailureDocument | None:
        """See `AsyncClient.acknowledge`."""
        return self._run(self._client.acknowledge(key))

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        with self._lock:
            if self._worker is None:
                self._worker = _Worker(self._client)
            worker = self._worker
        return worker.run(work)

    def _each(self, items: AsyncIterator[Result]) -> Generator[Result, None, None]:
        """Yield what an asynchronous generator yields."""

        async def step() -> Result:
            return await anext(items)

        try:
            while True:
                try:
                    item = self._run(step())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if isinstance(items, AsyncGeneratorType):
                self._run(items.aclose())


class _Worker:
    """A thread with an event loop, in which the asynchronous client runs."""

    def __init__(self, client: AsyncClient) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="removit-exporter client", daemon=True
        )
        self._thread.start()
        # Also when the program ends, or forgets the client, without closing it.
        self._finalizer = weakref.finalize(self, _stop, self._loop, self._thread, client)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self._finalizer()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, client: AsyncClient) -> None:
    if threading.current_thread() is thread:  # the collector of garbage may run there
        loop.create_task(client.close()).add_done_callback(lambda _: loop.stop())
        return
    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(client.close(), loop).result(CLOSE_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(CLOSE_SECONDS)
    if not thread.is_alive():
        loop.close()
