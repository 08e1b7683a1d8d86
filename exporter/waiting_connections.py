"""Limits for open connections without a request: how long they may wait, and how many may.

aiohttp waits without limit for the rest of a request's head, and each connection occupies a file
descriptor that requests to the upstream may need.
"""

import asyncio
import contextlib
import resource
from collections.abc import Callable, Collection
from typing import Any, Final

from aiohttp import web

from .web.errors import Handler

HEAD_SECONDS: Final = 30.0
"""How long the head of the first request may take to arrive (RFC 9110, 15.5.9)."""
READ_SECONDS: Final = 15.0
"""A client that reads nothing of its answer for this long is disconnected."""
MOST_WAITING: Final = 10_000
CHECK_SECONDS: Final = 1.0


class WaitingConnections:
    """Closes connections without a request: new ones after a while, the idlest if too many.

    `middleware` must be the outermost: it notes which connections have a request.
    """

    def __init__(self, head_seconds: float = HEAD_SECONDS, most: int = MOST_WAITING) -> None:
        self._head_seconds = head_seconds
        self._most = most
        self._asking: set[Any] = set()
        self._served: set[Any] = set()
        self._since: dict[Any, float] = {}
        self._unread: dict[Any, tuple[int, float]] = {}
        """Of connections with unread output: how many bytes, and since when exactly that many."""

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request. Its connection does not count as waiting meanwhile."""
        connection = request.protocol
        self._asking.add(connection)
        try:
            return await handler(request)
        finally:
            self._asking.discard(connection)
            self._served.add(connection)
            self._since.pop(connection, None)  # its wait begins now

    async def watch(self, connections: Callable[[], Collection[Any]]) -> None:
        """Check the open connections each second, until cancelled."""
        while True:
            self.check(connections(), asyncio.get_running_loop().time())
            await asyncio.sleep(CHECK_SECONDS)

    def check(self, connections: Collection[Any], now: float) -> None:
        """Close those that have waited too long or do not read, and the idlest of too many."""
        self._close_unread(connections, now)
        self._served.intersection_update(connections)
        self._since = {
            one: self._since.get(one, now)
            for one in connections
            if one not in self._asking and not _writing(one)
        }
        # First those that never sent a request, then those that have waited longest.
        idlest_first = sorted(self._since, key=lambda one: (one in self._served, self._since[one]))
        surplus = max(0, len(idlest_first) - self._most)
        for at, one in enumerate(idlest_first):
            late = one not in self._served and now - self._since[one] >= self._head_seconds
            if late or at < surplus:
                one.force_close()

    def _close_unread(self, connections: Collection[Any], now: float) -> None:
        """Close connections whose client has read nothing of its answer for a while."""
        unread = {}
        for one in connections:
            if size := _unread_bytes(one):
                former = self._unread.get(one)
                since = former[1] if former is not None and former[0] == size else now
                if now - since >= READ_SECONDS:
                    one.transport.abort()
                else:
                    unread[one] = (size, since)
        self._unread = unread


def _writing(connection: Any) -> bool:
    """Whether the client has yet to read a part of an answer."""
    return _unread_bytes(connection) > 0


def _unread_bytes(connection: Any) -> int:
    transport = connection.transport
    return 0 if transport is None else int(transport.get_write_buffer_size())


def raise_descriptors() -> int:
    """Raise the soft limit of open files to the hard limit, as Go's runtime does.

    Return how many connections may wait: at most half of the limit, so that requests and the store
    have the other half.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports "no limit" but refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return MOST_WAITING if soft == resource.RLIM_INFINITY else min(MOST_WAITING, soft // 2)
