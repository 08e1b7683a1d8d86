"""Connections to the upstream: limits of what one may receive, and why one could not be made."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from .resolver import DaemonResolver

MAX_HEAD_BYTES: Final = 64 * 1024
"""Maximum size of all heads that answer one request, 1xx answers included."""


class OneAnswerHandler(ResponseHandler):
    """A connection that takes one answer to each request.

    1xx answers may precede it (RFC 9110, 15.2). aiohttp reads any number of them, and no other
    task runs meanwhile, so they are limited here. Data after the answer closes the connection:
    aiohttp would keep it and read it as the answer to the next request.

    A connection is not used again once it is `max_age()` seconds old. So requests follow the
    upstream's name to a new address, although the old one still answers.
    """

    _bytes = 0
    """How many bytes were received since the request, at most `MAX_HEAD_BYTES`."""
    _answered = False
    """Whether the head of the answer was received."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, max_age: Callable[[], float]) -> None:
        super().__init__(loop=loop)
        self._max_age = max_age
        self._made_at = time.monotonic()

    @property
    def should_close(self) -> bool:
        """Whether the connection is closed after the present answer."""
        return super().should_close or self._is_old()

    def is_connected(self) -> bool:
        """Whether the connection can be used for a request."""
        return super().is_connected() and not self._is_old()

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be sent."""
        self._bytes, self._answered = 0, False
        super().set_response_params(**params)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head was received."""
        if self._answered:
            self._hang_up()
            return
        self._answered = data[0].code >= 200 or data[0].code == 101
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Bytes were received; none if a paused parser is to continue."""
        if self._answered:
            super().data_received(data)
            return
        room = MAX_HEAD_BYTES - self._bytes
        head, rest = data[:room], data[room:]
        self._bytes += len(head)
        super().data_received(head)
        if rest and self._answered:
            super().data_received(rest)
        elif rest:
            self._hang_up()
            limit = f"more than {MAX_HEAD_BYTES} bytes before the answer"
            self.set_exception(aiohttp.ClientConnectionError(limit))

    def _is_old(self) -> bool:
        return time.monotonic() - self._made_at >= self._max_age()

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()


def make_connector(max_age: Callable[[], float]) -> aiohttp.TCPConnector:
    """Return a connector with these limits; `max_age` gives a connection's longest life in seconds.

    The number of connections is not limited here, because the poller limits that of requests
    (`upstream.concurrency`).
    """
    connector = aiohttp.TCPConnector(limit=0, resolver=DaemonResolver())
    # aiohttp has no public way to set it; tests/upstream/test_hard_answers.py checks that it works.
    factory: Any = partial(OneAnswerHandler, loop=asyncio.get_running_loop(), max_age=max_age)
    connector._factory = factory
    return connector


_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
)


def our_own_trouble(error: BaseException) -> str | None:
    """Return why this machine could make no connection; None if the cause is elsewhere."""
    number = getattr(error, "errno", None)
    if number in _OURS:
        return os.strerror(number)
    try:
        # Without a free descriptor the look-up of a name fails too, and its error does not say why.
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as shortage:
        return shortage.strerror if shortage.errno in _OURS else None
    return None
