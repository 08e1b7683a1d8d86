"""The requests under way: at most one about each job, and at most one control request."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from ..core.reply import Reply, transport_failure

Landed = Callable[[str | None, float | None, Reply | None], None]
"""Called with a job's id, the time at which it was due, and the reply; None: it was cancelled."""


class Flights:
    """Runs each request as a task, by job id; the control request has the id None."""

    def __init__(self, landed: Landed, log: structlog.stdlib.BoundLogger) -> None:
        self._landed = landed
        self._log = log
        self._tasks: dict[str | None, asyncio.Task[Reply]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._tasks

    def get(self, job_id: str | None) -> asyncio.Task[Reply] | None:
        """Return the request about a job, if there is one."""
        return self._tasks.get(job_id)

    def launch(
        self,
        request: Coroutine[Any, Any, Reply],
        name: str,
        job_id: str | None = None,
        due: float | None = None,
    ) -> asyncio.Task[Reply]:
        """Start a request about a job that has none; `due` is handed back when it lands."""
        task = self._tasks[job_id] = asyncio.create_task(request, name=name)
        task.add_done_callback(lambda task: self._land(task, job_id, due))
        return task

    async def close(self, grace: float) -> None:
        """Let the requests finish within `grace` seconds, then cancel those that are left."""
        if self._tasks:
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _land(self, task: asyncio.Task[Reply], job_id: str | None, due: float | None) -> None:
        del self._tasks[job_id]
        if task.cancelled():
            reply = None
        elif error := task.exception():
            self._log.error("poll failed inside the exporter", job_id=job_id, exc_info=error)
            reply = transport_failure("internal")
        else:
            reply = task.result()
        self._landed(job_id, due, reply)
