"""Requests out of turn: one per job, for all callers that wait for its answer.

Requests about ids that are not registered come after everything else, so that they cannot take the
rate limit from the jobs.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from ..core.reply import Reply, unasked

MAX_UNKNOWN_ASKS: Final = 10_000
"""At most this many unregistered ids wait at once; further ones are refused. Registered ids need no
limit of their own: there are at most as many as jobs."""


@dataclass(slots=True, eq=False)
class Ask:
    """A request that waits for its turn."""

    job_id: str
    purpose: str
    last: bool
    """Whether everything else goes first."""
    reply: "asyncio.Future[Reply]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    waiting: int = 0
    """How many callers wait for the reply."""

    def answer(self, request: "asyncio.Task[Reply]") -> None:
        """Give the callers the reply of a request that has ended."""
        if not self.reply.done():
            failed = request.cancelled() or request.exception() is not None
            self.reply.set_result(unasked("not_asked") if failed else request.result())


class Asks:
    """The requests that wait, in two queues: before the schedule, and after everything else."""

    def __init__(self) -> None:
        self._first: dict[str, Ask] = {}
        self._last: dict[str, Ask] = {}
        self._closed = False

    @property
    def first(self) -> int:
        """How many requests go before the schedule."""
        return len(self._first)

    @property
    def last(self) -> int:
        """How many requests go after everything else."""
        return len(self._last)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._first or job_id in self._last

    def join(self, job_id: str, purpose: str, *, last: bool) -> Ask | None:
        """Add a caller to the request about a job, and return that request.

        None when too many unregistered ids wait, and after `close`.
        """
        if self._closed:
            return None
        ask = self._first.get(job_id) or self._last.get(job_id)
        if ask is None:
            if last and self.last >= MAX_UNKNOWN_ASKS:
                return None
            ask = Ask(job_id, purpose, last)
            (self._last if last else self._first)[job_id] = ask
        elif ask.last and not last:  # it is registered by now
            self._first[job_id] = self._last.pop(job_id)
            ask.last = False
        ask.waiting += 1
        return ask

    def leave(self, ask: Ask) -> None:
        """Remove a caller. When the last one has left, the request is not made."""
        ask.waiting -= 1
        queue = self._last if ask.last else self._first
        if not ask.waiting and queue.get(ask.job_id) is ask:
            del queue[ask.job_id]

    def next(self, *, last: bool) -> Ask:
        """Return the request that has waited longest; raises `KeyError` when there is none."""
        queue = self._last if last else self._first
        if not queue:
            raise KeyError("no request waits")
        return queue[next(iter(queue))]

    def take(self, job_id: str) -> Ask | None:
        """Remove and return the request about a job, because it is made now; None if none waits."""
        return self._first.pop(job_id, None) or self._last.pop(job_id, None)

    def close(self) -> None:
        """End all requests that wait, and admit no more; their reply is `not_asked`."""
        self._closed = True
        for queue in (self._first, self._last):
            while queue:
                _, ask = queue.popitem()
                if not ask.reply.done():
                    ask.reply.set_result(unasked("not_asked"))
