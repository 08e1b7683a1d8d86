"""The listening sockets of the command, whose TLS may change while they are open."""

import contextlib
import socket
import ssl
from typing import Final

from aiohttp import web

from .daemon_threads import call_in_daemon
from .tls_site import MOST_HANDSHAKES, TlsSite

BACKLOG: Final = 128


class Listener:
    """Listens on one address for an aiohttp runner.

    New TLS settings take effect with the next connection. Connections that are open stay as they
    are, and none that is being made is refused: the sockets stay open throughout.
    """

    def __init__(self, runner: web.BaseRunner) -> None:
        self._runner = runner
        self._sockets: list[socket.socket] = []
        self._sites: list[web.BaseSite] = []
        self._most_handshakes = MOST_HANDSHAKES

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens first."""
        host, port, *_ = self._sockets[0].getsockname()
        return host, port

    async def bind(self, host: str, port: int) -> None:
        """Take an address; an empty host is every address. Connections are refused until `open`.

        Raises `OSError`, also where another program listens on it.
        """
        self._sockets = await call_in_daemon(lambda: bind(host, port), "bind")

    async def open(self, tls: ssl.SSLContext | None, most_handshakes: int) -> None:
        """Listen on the address that was taken. Raises `OSError`.

        At most `most_handshakes` of TLS are under way on each socket.
        """
        self._most_handshakes = min(most_handshakes, MOST_HANDSHAKES)
        for bound in self._sockets:
            bound.listen(BACKLOG)
        await self.change_tls(tls)

    async def change_tls(self, tls: ssl.SSLContext | None) -> None:
        """Accept connections with other TLS settings from now on; None is plain HTTP."""
        former, self._sites = self._sites, []
        for bound in self._sockets:
            site = self._site(bound.dup(), tls)
            await site.start()
            self._sites.append(site)
        for site in former:
            await site.stop()

    def _site(self, bound: socket.socket, tls: ssl.SSLContext | None) -> web.BaseSite:
        if tls is None:
            return web.SockSite(self._runner, bound, backlog=BACKLOG)
        return TlsSite(self._runner, bound, tls, self._most_handshakes)

    def close(self) -> None:
        """Accept no more connections."""
        for bound in self._sockets:
            bound.close()


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to each address of a host; raises `OSError`.

    `::` takes IPv4 as well, like every address, where the system has both.
    """
    if host in ("", "::") and socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError) if host == "" else contextlib.nullcontext():
            return [_bind(socket.AF_INET6, ("::", port), dualstack=True)]
    found = socket.getaddrinfo(
        host or "0.0.0.0",  # noqa: S104 - what the config asks for
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    bound: list[socket.socket] = []
    try:
        for family, address in addresses:
            bound.append(_bind(family, address))
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


def _bind(family: int, address: tuple[object, ...], *, dualstack: bool = False) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dualstack))
        made.bind(address)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
