"""Those who ask out of turn: one question a job, however many wait for its answer.

Questions about ids that nobody tracks stand behind everything else, so that no stranger's ids can
take the rate limit from the jobs.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from ..core.reply import Reply, unasked

MAX_STRANGERS: Final = 10_000
"""Ids that nobody tracks and that may wait at once; of further ones nobody is asked. Of tracked
ones there are never more than there are jobs."""


@dataclass(slots=True, eq=False)
class Ask:
    """A question that waits for its turn."""

    job_id: str
    purpose: str
    last: bool
    """Whether everything else goes before it."""
    reply: "asyncio.Future[Reply]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    waiting: int = 0


class Asks:
    """The questions that wait, in the order in which they came."""

    def __init__(self) -> None:
        self._first: dict[str, Ask] = {}
        self._last: dict[str, Ask] = {}

    @property
    def first(self) -> int:
        """How many wait beside the schedule."""
        return len(self._first)

    @property
    def last(self) -> int:
        """How many wait behind it."""
        return len(self._last)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._first or job_id in self._last

    def join(self, job_id: str, purpose: str, *, last: bool) -> Ask | None:
        """Wait for the answer about a job; None when too many wait that nobody tracks."""
        ask = self._first.get(job_id) or self._last.get(job_id)
        if ask is None:
            if last and self.last >= MAX_STRANGERS:
                return None
            ask = Ask(job_id, purpose, last)
            (self._last if last else self._first)[job_id] = ask
        elif ask.last and not last:  # it is tracked by now
            self._first[job_id] = self._last.pop(job_id)
            ask.last = False
        ask.waiting += 1
        return ask

    def leave(self, ask: Ask) -> None:
        """Wait no longer; a question for whose answer nobody waits is not asked."""
        ask.waiting -= 1
        queue = self._last if ask.last else self._first
        if not ask.waiting and queue.get(ask.job_id) is ask:
            del queue[ask.job_id]

    def next(self, *, last: bool) -> Ask:
        """Return the question that has waited longest; raises KeyError when there is none."""
        queue = self._last if last else self._first
        if not queue:
            raise KeyError("nobody asks")
        return queue[next(iter(queue))]

    def take(self, job_id: str) -> Ask | None:
        """Take out the question about a job, if there is one: it is asked now."""
        return self._first.pop(job_id, None) or self._last.pop(job_id, None)

    def close(self) -> None:
        """Tell all who wait that nothing more is asked."""
        for queue in (self._first, self._last):
            while queue:
                _, ask = queue.popitem()
                if not ask.reply.done():
                    ask.reply.set_result(unasked("not_asked"))
