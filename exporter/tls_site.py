"""Accepts connections over TLS, with limits for those whose handshake has not ended.

asyncio's own server gives a handshake a minute, and does not show the connections that are in one.
Silent clients could occupy every file descriptor with them.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import web
from yarl import URL

HANDSHAKE_SECONDS: Final = 10.0
"""How long a TLS handshake may take."""
SHUTDOWN_SECONDS: Final = 1.0
"""How long a closed connection waits for the client to close TLS as well."""
MOST_HANDSHAKES: Final = 1000
RETRY_SECONDS: Final = 1.0
"""How long no connection is accepted after an error such as too many open files."""


class TlsSite(web.BaseSite):
    """Serves an aiohttp runner over TLS on a socket that listens and does not block.

    At most `most` handshakes are under way: a new one ends the oldest.
    """

    def __init__(
        self,
        runner: web.BaseRunner,
        listening: socket.socket,
        tls: ssl.SSLContext,
        most: int,
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._listening = listening
        self._tls = tls
        self._most = most
        self._handshakes: dict[socket.socket, asyncio.Task[None]] = {}
        """Those under way, the oldest first."""

    @property
    def name(self) -> str:
        """The URL, for messages."""
        host, port, *_ = self._listening.getsockname()
        return str(URL.build(scheme="https", host=host, port=port))

    async def start(self) -> None:
        """Accept connections."""
        await super().start()
        self._listen()

    async def stop(self) -> None:
        """Accept no more connections. Handshakes under way end as they would have."""
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        await super().stop()

    def _listen(self) -> None:
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Accept one connection. The loop calls again, after other tasks, while more wait."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._wait_after(error)
            return
        connection.setblocking(False)
        self._begin(connection)

    def _wait_after(self, error: OSError) -> None:
        """Let some time pass, because the socket stays readable and the error would come again."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        loop.call_later(RETRY_SECONDS, self._listen)
        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            loop.call_exception_handler({"message": "cannot accept", "exception": error})

    def _begin(self, connection: socket.socket) -> None:
        if len(self._handshakes) >= self._most:
            self._handshakes.pop(next(iter(self._handshakes))).cancel()
        task = asyncio.create_task(self._shake_hands(connection))
        self._handshakes[connection] = task
        task.add_done_callback(partial(self._end, connection))

    def _end(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(connection, None)
        if task.cancelled():  # perhaps before it began
            connection.close()

    async def _shake_hands(self, connection: socket.socket) -> None:
        server: Callable[[], asyncio.Protocol] | None = self._runner.server
        if server is None:  # at the stop
            connection.close()
            return
        with contextlib.suppress(OSError):  # the client's trouble; errors of TLS are among them
            await asyncio.get_running_loop().connect_accepted_socket(
                server,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
