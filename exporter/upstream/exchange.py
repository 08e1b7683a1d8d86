"""Status requests, written to aiohttp's connections without aiohttp's session.

Two status requests differ only in the job_id, so all the rest is prepared once. The session makes
the request, the answer and their headers anew each time, which took a quarter of a poll's CPU.
Connections, TLS, proxies and the parser of answers are aiohttp's.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from ..core.contract import is_field_value
from ..core.reply import MAX_BODY_BYTES

SWITCHING_PROTOCOLS: Final = 101
"""The one 1xx that is an answer; the others precede one (RFC 9110, 15.2)."""


class Answer(NamedTuple):
    """An answer of the upstream; `complete` is False if the connection ended before the body."""

    status: int
    phrase: str | None
    headers: Mapping[str, str]
    body: bytes
    complete: bool


class Exchange:
    """Requests to one URL with the same headers and proxy, which differ only in the job_id."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        *,
        tls: ssl.SSLContext | bool,
        proxy: str | None,
        connect_timeout: float,
    ) -> None:
        assert session.connector is not None  # noqa: S101 - it is open
        self._connector = session.connector
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout)
        self._request = aiohttp.ClientRequest(
            "GET",
            URL(url),
            headers={**session.headers, **headers},
            loop=asyncio.get_running_loop(),
            session=session,
            ssl=tls,
            proxy=URL(proxy) if proxy else None,
        )
        self._head: tuple[bytes, bytes] | None = None
        """The request's head before and after the query."""

    async def get(self, job_id: str | None) -> Answer:
        """Ask about a job; None: without a query. Raises aiohttp's errors and `OSError`."""
        connection = await self._connector.connect(self._request, [], self._timeout)
        try:
            protocol, transport = connection.protocol, connection.transport
            assert protocol is not None and transport is not None  # noqa: S101, PT018 - connected
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            before, after = self._head or self._write_head()
            query = b"" if job_id is None else f"?job_id={quote(job_id, safe='')}".encode()
            transport.write(before + query + after)
            answer = await _read(protocol)
        except BaseException:
            connection.close()
            raise
        connection.release()  # closes it if the answer was not read to its end
        return answer

    def _write_head(self) -> tuple[bytes, bytes]:
        """Write the head. The connector must have connected: it adds the login at a proxy."""
        request = self._request
        if not all(map(is_field_value, request.headers.values())):
            raise ValueError("a header is not one line of text")
        # A proxy that does not tunnel is asked for the whole URL (RFC 9112, 3.2.2).
        by_proxy = request.proxy is not None and not request.is_ssl()
        target = str(request.url) if by_proxy else request.url.raw_path
        fields = "".join(f"{name}: {field}\r\n" for name, field in request.headers.items())
        self._head = f"GET {target}".encode(), f" HTTP/1.1\r\n{fields}\r\n".encode()
        return self._head


async def _read(protocol: ResponseHandler) -> Answer:
    while True:
        message, payload = await protocol.read()
        if message.code >= 200 or message.code == SWITCHING_PROTOCOLS:
            break
    body, complete = await read_bounded(payload)
    return Answer(message.code, message.reason, message.headers, body, complete)


async def read_bounded(content: aiohttp.StreamReader) -> tuple[bytes, bool]:
    """Read a body until it ends or exceeds `MAX_BODY_BYTES`; False if it was cut short."""
    chunks, size = [], 0
    try:
        while size <= MAX_BODY_BYTES and (chunk := await content.readany()):
            chunks.append(chunk)
            size += len(chunk)
    except aiohttp.ClientPayloadError:
        return b"".join(chunks), False
    return b"".join(chunks), True
