"""The state of a stream of jobs: which are sent, acknowledged, refused or to be sent again."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final

from .errors import say_details
from .jobs import Job, Refusal, Summary, to_line

LINES_PER_CHUNK: Final = 100


class Stream:
    """Jobs that are being sent, and the position up to which all are acknowledged."""

    def __init__(
        self, jobs: Iterable[Job] | AsyncIterable[Job], progress: Callable[[int], None]
    ) -> None:
        self.acknowledged = 0
        self.sent = 0
        self._all_sent = False
        self._may_wait = isinstance(jobs, AsyncIterable)
        self._source = aiter(jobs) if isinstance(jobs, AsyncIterable) else _aiter(jobs)
        self._coming: asyncio.Task[Job] | None = None
        self._progress = progress
        self._open: deque[bytes] = deque()
        self._base = 0
        self._before = (0, 0)
        self._now = (0, 0)
        self._refused: dict[int, Refusal] = {}
        self._source_error: BaseException | None = None
        self._generation = 0

    def begin(self) -> None:
        """Start a request, whose lines are numbered from the first unacknowledged job."""
        self._base = self.acknowledged
        self._before = (self._before[0] + self._now[0], self._before[1] + self._now[1])
        self._now = (0, 0)
        self.sent = self.acknowledged
        self._all_sent = False
        self._generation += 1

    @property
    def owed(self) -> float:
        """Up to which position the exporter owes an answer: after the last job, its last line."""
        return math.inf if self._all_sent else self.sent

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the jobs that are not acknowledged, then the rest of the source."""
        generation = self._generation
        again = list(self._open)
        for start in range(0, len(again), LINES_PER_CHUNK):
            chunk = again[start : start + LINES_PER_CHUNK]
            self.sent += len(chunk)
            yield b"".join(chunk)
        lines: list[bytes] = []
        try:
            while True:
                await self._wait_for_source()
                if generation != self._generation:
                    return  # the connection broke; another request continues
                try:
                    job = await self._take_one()
                except StopAsyncIteration:
                    break
                lines.append(to_line(job))
                self._open.append(lines[-1])
                if len(lines) == LINES_PER_CHUNK:
                    if generation != self._generation:
                        return  # the connection broke; another request sends it
                    self.sent += len(lines)
                    yield b"".join(lines)
                    lines = []
        except Exception as error:
            self._source_error = error
            raise
        self.sent += len(lines)
        self._all_sent = True
        if lines:
            yield b"".join(lines)

    async def _wait_for_source(self) -> None:
        """Wait for the next job of an asynchronous source.

        It is awaited in its own task, because cancelling a request would otherwise end the
        generator, as if there were no more jobs.
        """
        if self._may_wait:
            self._coming = self._coming or asyncio.create_task(_next(self._source))
            await asyncio.wait({self._coming})

    async def _take_one(self) -> Job:
        if self._coming is None:
            return await anext(self._source)
        coming, self._coming = self._coming, None
        return coming.result()

    def close(self) -> None:
        """Stop waiting for jobs."""
        if self._coming is not None:
            self._coming.cancel()

    def take(self, answer: Mapping[str, Any]) -> None:
        """Process one line of the exporter's answer."""
        if "line" in answer:
            position = self._base + answer["line"]
            reason = answer.get("message") or say_details(answer.get("details", {}))
            self._refused[position] = Refusal(position, answer["error"], reason)
        elif "acknowledged_through" in answer:
            through = self._base + answer["acknowledged_through"]
            while self.acknowledged < through:
                self._open.popleft()
                self.acknowledged += 1
            self._now = (answer["registered"], answer["known"])
            self._progress(self.acknowledged)

    def raise_source_error(self) -> None:
        """Raise the error of the caller's source, if there was one."""
        if self._source_error is not None:
            raise self._source_error

    def summary(self) -> Summary:
        """Return the result of the stream."""
        return Summary(
            self._before[0] + self._now[0],
            self._before[1] + self._now[1],
            [self._refused[position] for position in sorted(self._refused)],
        )


async def _aiter(jobs: Iterable[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        yield job


async def _next(source: AsyncIterator[Job]) -> Job:
    return await anext(source)
