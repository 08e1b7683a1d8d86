"""The HTTP client of the upstream: a question in, a `Reply` out; never an exception.

The key goes into `X-API-Key`, as the vendor's page shows. Redirects are not followed, nothing
compressed is asked for, and bodies are read to `MAX_BODY_BYTES`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ..core.contract import parse_reply
from ..core.reply import MAX_BODY_BYTES, Reply, transport_failure, unasked
from .connections import make_connector, our_own_trouble

STATUS_PATH: Final = "/api/v1/status"
UPLOAD_PATH: Final = "/api/v1/upload"


class ClientConfig(Protocol):
    """The keys of the section `upstream` that the client goes by."""

    @property
    def base_url(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def connect_timeout(self) -> float: ...
    @property
    def upload_timeout(self) -> float: ...
    @property
    def proxy(self) -> str | None: ...
    @property
    def ca_file(self) -> Path | None: ...


class Client:
    """One session with the upstream. `key` is asked for the API key before each request."""

    def __init__(
        self, config: Callable[[], ClientConfig], key: Callable[[], str], user_agent: str
    ) -> None:
        self._config = config
        self._key = key
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        ca_file = self._config().ca_file
        tls = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._session = aiohttp.ClientSession(
            connector=make_connector(tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": self._user_agent,
            },
        )
        # Without this aiohttp sends a GET again by itself when a kept connection breaks: past the
        # rate limit, and uncounted. There is no public switch; tests/upstream/test_hard_answers.py
        # sees that this one works.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def status(self, job_id: str | None) -> Reply:
        """Ask about a job; None is the bare request, to which the contract answers 422."""
        config = self._config()
        url = URL(config.base_url + STATUS_PATH)
        if job_id is not None:
            url = url.with_query(job_id=job_id)
        try:
            async with asyncio.timeout(config.timeout):
                reply = await self._get(url, config)
        except TimeoutError:
            return transport_failure("timeout")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if (why := our_own_trouble(error)) is not None:
                return unasked("internal", why)
            return transport_failure("connection")
        return reply if job_id is None else reply.about(job_id)

    async def upload(
        self,
        body: AsyncIterable[bytes] | None,
        headers: Mapping[str, str],
        *,
        query: str = "",
        length: int | None = None,
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Post an upload as it comes, with our key; return the answer and its body's beginning.

        `query` is passed on as it is. An answer of up to `MAX_BODY_BYTES` has been read whole; of a
        longer one the rest is still to come. The caller must release it.
        Raises what aiohttp raises, for an answer cut short as well, `TimeoutError` when there is
        none within `upstream.upload_timeout`, and what `body` raises as
        `aiohttp.ClientConnectionError`; the upstream then never sees its end.
        """
        config = self._config()
        fields = CIMultiDict(headers)
        fields["X-API-Key"] = self._key()
        if length is not None:
            fields["Content-Length"] = str(length)
        url = URL(config.base_url + UPLOAD_PATH)
        if query:
            url = URL(f"{url}?{query}", encoded=True)
        async with asyncio.timeout(config.upload_timeout):
            response = await self._opened().post(
                url,
                data=body,
                headers=fields,
                allow_redirects=False,
                proxy=config.proxy,
                timeout=aiohttp.ClientTimeout(sock_connect=config.connect_timeout),
            )
            try:
                beginning, complete = await read_bounded(response.content)
                if response.status < 200 or not complete:  # 101: nothing was offered to switch to
                    raise aiohttp.ClientPayloadError("no answer, or one cut short")
            except BaseException:
                response.close()
                raise
        return response, beginning

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open")
        return self._session

    async def _get(self, url: URL, config: ClientConfig) -> Reply:
        async with self._opened().get(
            url,
            headers={"X-API-Key": self._key()},
            allow_redirects=False,
            proxy=config.proxy,
            timeout=aiohttp.ClientTimeout(sock_connect=config.connect_timeout),
        ) as response:
            body, complete = await read_bounded(response.content)
            return parse_reply(response.status, response.headers, body, complete=complete)


async def read_bounded(content: aiohttp.StreamReader) -> tuple[bytes, bool]:
    """Read a body until it ends or is past `MAX_BODY_BYTES`; False when it was cut short."""
    chunks, size = [], 0
    try:
        while size <= MAX_BODY_BYTES and (chunk := await content.readany()):
            chunks.append(chunk)
            size += len(chunk)
    except aiohttp.ClientPayloadError:
        return b"".join(chunks), False
    return b"".join(chunks), True
