"""Connections to the upstream: what may come over one, who looks up names, whose trouble it is."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import threading
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

MAX_HEAD_BYTES: Final = 64 * 1024
"""So much may come from the request to the end of the answer's head, 1xx answers included."""


class OneAnswerHandler(ResponseHandler):
    """A connection that takes one answer to each request.

    Before it may come 1xx answers (RFC 9110, 15.2); aiohttp reads as many as are sent, and gives
    nothing else a turn meanwhile. After it may come nothing: aiohttp would keep that, and take it
    for the answer to the next request.
    """

    _bytes = 0
    """What has come since the request, to `MAX_HEAD_BYTES`."""
    _answered = False
    """Whether the head of the answer has come."""

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be sent."""
        self._bytes, self._answered = 0, False
        super().set_response_params(**params)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head has come."""
        if self._answered:
            self._hang_up()
            return
        self._answered = data[0].code >= 200 or data[0].code == 101
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; none when a parser that paused is to go on."""
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

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()


class DaemonResolver(AbstractResolver):
    """Looks names up in threads of their own.

    The loop's threads are waited for when the process ends, and a lookup may take half a minute.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host; raises OSError."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def tell(outcome: list[ResolveResult] | OSError) -> None:
            if found.done():
                return
            if isinstance(outcome, OSError):
                found.set_exception(outcome)
            else:
                found.set_result(outcome)

        def look_up() -> None:
            try:
                outcome: list[ResolveResult] | OSError = _addresses(host, port, family)
            except OSError as error:
                outcome = error
            except ValueError as error:  # a name that cannot be one: an empty or too long label
                outcome = socket.gaierror(socket.EAI_NONAME, str(error))
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
                loop.call_soon_threadsafe(tell, outcome)

        try:
            threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        except RuntimeError as error:  # no thread can be started
            raise OSError(errno.ENOMEM, str(error)) from error
        return await found

    async def close(self) -> None:
        """Nothing is kept."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    found: list[ResolveResult] = []
    for family_, _, proto, _, address in socket.getaddrinfo(
        host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    ):
        shown, shown_port = socket.getnameinfo(
            address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        )  # with the scope of a link-local address
        found.append(
            ResolveResult(
                hostname=host,
                host=shown,
                port=int(shown_port),
                family=family_,
                proto=proto,
                flags=numeric,
            )
        )
    return found


def make_connector(tls: ssl.SSLContext | bool) -> aiohttp.TCPConnector:
    """Return a connector with the limits of this page.

    The poller holds the number of requests to `upstream.concurrency`; a second limit would hide.
    """
    connector = aiohttp.TCPConnector(limit=0, ssl=tls, resolver=DaemonResolver())
    # There is no public way to it; tests/polling/test_hard_answers.py sees that it works.
    factory: Any = partial(OneAnswerHandler, loop=asyncio.get_running_loop())
    connector._factory = factory
    return connector


_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
)


def our_own_trouble(error: BaseException) -> str | None:
    """Say why no connection could be made where that is this machine's trouble; else None."""
    number = getattr(error, "errno", None)
    if number in _OURS:
        return os.strerror(number)
    try:
        # Without a descriptor to spare a name cannot be looked up either, and that says only that.
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as shortage:
        return shortage.strerror if shortage.errno in _OURS else None
    return None
