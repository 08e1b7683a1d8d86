"""Looking up the upstream's name, so that a lookup that hangs holds up nothing else."""

import asyncio
import contextlib
import errno
import socket
import threading

from aiohttp.abc import AbstractResolver, ResolveResult


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
