"""Follows the stream of events, over broken connections."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping
from typing import Final, cast

import aiohttp

from .connection import Connection
from .documents import EventDocument
from .errors import RefusedError
from .http import error_body, say
from .patience import Patience

_LONGEST_SILENCE: Final = 60.0
_SHORTEST_SILENCE: Final = 30.0
"""A stream sends a keep-alive every 15 seconds."""
_SETTLED_SECONDS: Final = 1.0
"""After a stream that lasted this long, patience starts again; a shorter one has failed."""


async def follow(
    connection: Connection, filters: Mapping[str, str], after: int | None
) -> AsyncIterator[EventDocument]:
    """Yield events without an end; see `AsyncClient.events`."""
    patience, time = connection.patience(), asyncio.get_running_loop().time
    while True:
        query = dict(filters) | ({} if after is None else {"after": str(after)})
        connected = math.inf
        try:
            async for last, event in _read(connection, query, patience):
                connected = min(connected, time())
                after = last
                yield event
            problem = "the stream ended"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            problem = say(error)
        if time() - connected >= _SETTLED_SECONDS:
            patience.renew()
        await patience.wait(problem)


async def _read(
    connection: Connection, query: Mapping[str, str], patience: Patience
) -> AsyncIterator[tuple[int, EventDocument]]:
    """Read server-sent events (WHATWG HTML, 9.2) until the connection ends.

    Yields each with the id of the last event; the exporter sends an id first.
    """
    silence = max(_SHORTEST_SILENCE, min(connection.seconds, _LONGEST_SILENCE))
    asking = connection.session().get(
        (connection.url / "api/v1/events").with_query(query),
        headers={"Accept": "text/event-stream"},
        timeout=aiohttp.ClientTimeout(total=None, sock_read=silence),
    )
    async with await asyncio.wait_for(asking, patience.limit(connection.timeout)) as response:
        if response.status != 200:
            if response.status < 500:
                raise RefusedError(response.status, await error_body(response))
            raise aiohttp.ClientConnectionError(f"it answers {response.status}")
        kind, last, greeted = "", 0, False
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                last = int(value)
                if not greeted:
                    greeted = True
                    yield last, {"type": "connected"}
            elif name == "data":
                yield last, cast("EventDocument", {"type": kind, **json.loads(value)})
