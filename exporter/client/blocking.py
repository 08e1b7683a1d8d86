"""The client for programs without an event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from .asynchronous import AsyncClient
from .http import DEFAULT_URL
from .jobs import Job, Summary

Result = TypeVar("Result")


class Client:
    """A client of one exporter with the arguments and calls of `AsyncClient`, but blocking.

    It may also be used in a program that runs an event loop.
    """

    def __init__(self, url: str = DEFAULT_URL, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="removit-exporter client", daemon=True
        )
        self._client = AsyncClient(url, **options)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._client.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._client.__aexit__(kind, error, traceback))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def register(
        self,
        job_id: str,
        *,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
        registered_at: datetime | None = None,
    ) -> dict[str, Any]:
        """See `AsyncClient.register`."""
        return self._run(
            self._client.register(job_id, labels=labels, key=key, registered_at=registered_at)
        )

    def register_many(
        self, jobs: Iterable[Job], progress: Callable[[int], None] = lambda position: None
    ) -> Summary:
        """See `AsyncClient.register_many`; `jobs` and `progress` run in a thread of the client."""
        return self._run(self._client.register_many(jobs, progress))

    def job(self, job_id: str) -> dict[str, Any] | None:
        """See `AsyncClient.job`."""
        return self._run(self._client.job(job_id))

    def forget(self, job_id: str) -> bool:
        """See `AsyncClient.forget`."""
        return self._run(self._client.forget(job_id))

    def failures(self) -> list[dict[str, Any]]:
        """See `AsyncClient.failures`."""

        async def gather() -> list[dict[str, Any]]:
            return [failure async for failure in self._client.failures()]

        return self._run(gather())

    def acknowledge(self, key: str) -> dict[str, Any] | None:
        """See `AsyncClient.acknowledge`."""
        return self._run(self._client.acknowledge(key))

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
