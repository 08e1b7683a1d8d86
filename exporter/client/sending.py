"""Sends a stream of jobs, and goes on where a broken connection left it."""

import asyncio
import json
from collections.abc import Awaitable
from typing import TypeVar

import aiohttp

from .connection import Connection
from .errors import RefusedError
from .http import error_body, problem_of, say
from .jobs import Summary
from .patience import Patience
from .stream import Stream

Result = TypeVar("Result")


async def send(connection: Connection, stream: Stream) -> Summary:
    """Send all jobs; raises `RefusedError`, `UnreachableError`, and errors of the source."""
    patience = connection.patience()
    while True:
        before = stream.acknowledged
        try:
            wait, problem = await _send_once(connection, stream, patience)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            stream.raise_source_error()
            wait, problem = 0.0, say(error)
        else:
            if wait is None:
                return stream.summary()
        if stream.acknowledged > before:
            patience.renew()
        await patience.wait(problem, wait)


async def _send_once(
    connection: Connection, stream: Stream, patience: Patience
) -> tuple[float | None, str]:
    """Send the jobs that are not acknowledged; return when to send more, and why not now.

    The first is None when all is done, otherwise seconds. Raises aiohttp's errors, and
    `TimeoutError` if the exporter does not answer.
    """
    stream.begin()
    limit = patience.limit(connection.timeout)
    asking = connection.session().post(
        connection.url / "api/v1/jobs",
        data=stream.chunks(),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limit),
    )
    async with await _while_owed(asking, stream, limit) as response:
        if response.status == 503:
            problem = problem_of(await error_body(response), "it answers 503")
            return float(response.headers.get("Retry-After", "1")), problem
        if response.status != 200:
            raise RefusedError(response.status, await error_body(response))
        while line := await _while_owed(response.content.readline(), stream, limit):
            answer = json.loads(line)
            if "done" in answer:
                return None, ""
            if "retry_after" in answer:
                return float(answer["retry_after"]), problem_of(answer, "it has no room")
            stream.take(answer)
    raise aiohttp.ClientConnectionError("the answer ended early")


async def _while_owed(work: Awaitable[Result], stream: Stream, limit: float) -> Result:
    """Await an answer. The limit in seconds counts only while the exporter owes one."""
    answering = asyncio.ensure_future(work)
    try:
        while not answering.done():
            owed = stream.owed
            await asyncio.wait({answering}, timeout=limit)
            if not answering.done() and owed > stream.acknowledged:
                raise TimeoutError("jobs that were sent are not acknowledged")
        return answering.result()
    finally:
        answering.cancel()
