"""An answer that ends a request before all of it has come."""

import asyncio
import contextlib
from typing import Final

from aiohttp import web

LINGER_SECONDS: Final = 1.0
"""How long the rest of a request is read after an answer that ends it early."""


async def answer_early(request: web.Request, response: web.StreamResponse) -> None:
    """Write the end of an answer to a request whose body is still being sent.

    Closing at once would reset the connection, and the client might lose the answer before it has
    read it (RFC 9112, 9.6).
    """
    with contextlib.suppress(ConnectionError, TimeoutError, web.RequestPayloadError):
        await response.prepare(request)
        await response.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            await _read_rest(request)


async def _read_rest(request: web.Request) -> None:
    while True:
        try:
            if not await request.content.readany():
                return
        except RuntimeError:  # the task that sends an upload on is about to end, and still reads
            await asyncio.sleep(0)
