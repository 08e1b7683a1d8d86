"""What requests do about the exporter being about to stop: end what they can, and answer."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, Final, TypeVar

from aiohttp import web

from .context import Context

Result = TypeVar("Result")

LINGER_SECONDS: Final = 1.0
"""How long what still comes is read after an answer that ends a request early."""


class StoppingError(Exception):
    """What was waited for is given up: the exporter is about to stop."""


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what `work` gives; raises `StoppingError`, and cancels it, once the event is set."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        working.cancel()
        await asyncio.wait({working})
        if not working.cancelled():
            working.exception()  # seen, should the caller be cancelled as well
    if working.cancelled():
        raise StoppingError
    return working.result()  # it may have ended all the same


@contextlib.contextmanager
def under_way(context: Context) -> Iterator[None]:
    """Have what this task does within count as a request that `Context.give_up` ends."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a handler runs in one
    context.under_way.add(task)
    try:
        yield
    finally:
        context.under_way.discard(task)


def take_back(context: Context) -> bool:
    """After a `CancelledError`: whether it was `Context.give_up`'s; then the task may go on."""
    task = asyncio.current_task()
    if not context.given_up or task is None or task not in context.under_way:
        return False
    context.under_way.discard(task)
    return task.uncancel() == 0


async def answer_early(request: web.Request, response: web.StreamResponse) -> None:
    """Write the end of an answer to a request that is still being sent.

    To close at once would reset the connection, and the client might lose the answer before it
    has read it (RFC 9112, 9.6).
    """
    with contextlib.suppress(ConnectionError, TimeoutError, web.RequestPayloadError):
        await response.prepare(request)
        await response.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            while await request.content.readany():
                pass
