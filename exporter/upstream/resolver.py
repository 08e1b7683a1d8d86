"""Looks up the upstream's name without blocking anything else, even if the look-up hangs."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from ..daemon_threads import call_in_daemon


class DaemonResolver(AbstractResolver):
    """Looks up names in daemon threads: a look-up may take half a minute, and a stop must not."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host; raises OSError."""
        return await call_in_daemon(lambda: _look_up(host, port, family), f"look up {host}")

    async def close(self) -> None:
        """Do nothing: no resources are held."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    found: list[ResolveResult] = []
    try:
        answers = socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    except ValueError as error:  # not a valid name: it has an empty or too long label
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    for family_, _, proto, _, address in answers:
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
