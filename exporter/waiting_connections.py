"""Connections that are open and ask for nothing: how long they may, and how many of them.

aiohttp waits for ever for the rest of a request's head, and each connection takes a descriptor,
which the requests to the upstream then lack.
"""

import asyncio
import contextlib
import resource
from collections.abc import Callable, Collection
from typing import Any, Final

from aiohttp import web

from .web.errors import Handler

HEAD_SECONDS: Final = 30.0
"""So long the first request may be awaited, to the end of its head (RFC 9110, 15.5.9)."""
MOST_WAITING: Final = 10_000
CHECK_SECONDS: Final = 1.0


class WaitingConnections:
    """Closes connections without a request: new ones after a while, the idlest of too many.

    `middleware` must be the outermost, for it tells which connections have a request.
    """

    def __init__(self, head_seconds: float = HEAD_SECONDS, most: int = MOST_WAITING) -> None:
        self._head_seconds = head_seconds
        self._most = most
        self._asking: set[Any] = set()
        self._served: set[Any] = set()
        self._since: dict[Any, float] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, whose connection meanwhile does not wait."""
        connection = request.protocol
        self._asking.add(connection)
        try:
            return await handler(request)
        finally:
            self._asking.discard(connection)
            self._served.add(connection)
            self._since.pop(connection, None)  # it begins to wait only now

    async def watch(self, connections: Callable[[], Collection[Any]]) -> None:
        """Look, until cancelled, at those that are open."""
        while True:
            self.check(connections(), asyncio.get_running_loop().time())
            await asyncio.sleep(CHECK_SECONDS)

    def check(self, connections: Collection[Any], now: float) -> None:
        """Close those that have waited too long, and the idlest of too many."""
        self._served.intersection_update(connections)
        self._since = {
            one: self._since.get(one, now)
            for one in connections
            if one not in self._asking and not _writing(one)
        }
        # Those that never asked for anything go first, then those that have waited longest.
        idlest_first = sorted(self._since, key=lambda one: (one in self._served, self._since[one]))
        surplus = max(0, len(idlest_first) - self._most)
        for at, one in enumerate(idlest_first):
            late = one not in self._served and now - self._since[one] >= self._head_seconds
            if late or at < surplus:
                one.force_close()


def _writing(connection: Any) -> bool:
    """Whether an answer is still being read by the client."""
    transport = connection.transport
    return transport is not None and transport.get_write_buffer_size() > 0


def raise_descriptors() -> int:
    """Admit as many files and sockets as the system lets us have, as Go's runtime does.

    Return how many connections may wait, so that half of them is left for what works.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "no limit" and admits none
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return MOST_WAITING if soft == resource.RLIM_INFINITY else min(MOST_WAITING, soft // 2)
