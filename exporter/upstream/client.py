"""The HTTP client of the upstream. A status request returns a `Reply`, and raises nothing.

Redirects are not followed. Compression is not asked for; an answer that is compressed anyway is
decompressed. At most `MAX_BODY_BYTES` of a body are read.
"""

import asyncio
import functools
import os
import re
from collections.abc import AsyncIterable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from ..core.contract import parse_reply
from ..core.reply import MAX_BODY_BYTES, Reply, transport_failure, unasked
from .connections import make_connector, our_own_trouble
from .encoding import inflate
from .exchange import Answer, Exchange, read_bounded
from .proxies import Proxy, check_scheme, find_proxy
from .reasons import PROXY_REFUSES, find_reason, proxy_refusal
from .trust import Trust

STATUS_PATH: Final = "/api/v1/status"
UPLOAD_PATH: Final = "/api/v1/upload"
LARGE_BYTES: Final = 64 * 1024
"""Answers above this size are read one at a time: one of 1 MiB takes up to 40 ms.

Most of that is the search for the key (`hide`), where the answer repeats nearly all of it.
"""
HIDDEN: Final = b"<secret>"
"""Replaces the API key where an answer of the upstream repeats it."""


class ClientConfig(Protocol):
    """The keys of the section `upstream` that the client reads."""

    @property
    def base_url(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def connect_timeout(self) -> float: ...
    @property
    def upload_timeout(self) -> float: ...
    @property
    def connection_max_age(self) -> float: ...
    @property
    def auth(self) -> str: ...
    @property
    def proxy(self) -> str | None: ...
    @property
    def ca_file(self) -> Path | None: ...


class Client:
    """One session with the upstream. `key` returns the API key; it is called for each request.

    `environ` may name a proxy, see `proxies.py`.
    """

    def __init__(
        self,
        config: Callable[[], ClientConfig],
        key: Callable[[], str],
        user_agent: str,
        log: structlog.stdlib.BoundLogger | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._config = config
        self._key = key
        self._user_agent = user_agent
        self._log = log
        self._environ = environ
        self.trust = Trust(lambda: self._config().ca_file, log)
        self._found_proxy: tuple[tuple[str, str | None], Proxy | None] | None = None
        """The proxy that was found last, after what it was looked for."""
        self._prepared: tuple[tuple[object, ...], Exchange] | None = None
        """The prepared status request, after what it was prepared for."""
        self._session: aiohttp.ClientSession | None = None
        self._reading_large = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.trust.load()
        self._report_proxy()
        self._session = aiohttp.ClientSession(
            connector=make_connector(lambda: self._config().connection_max_age),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": self._user_agent,
            },
        )
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
        try:
            async with asyncio.timeout(config.timeout):
                exchange = self._exchange(config)
                reply = await self._read(await exchange.get(job_id))
        except TimeoutError:
            return transport_failure("timeout")
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            if (why := our_own_trouble(error)) is not None:
                return unasked("internal", why)
            return transport_failure("connection", *find_reason(error))
        return reply if job_id is None else reply.about(job_id)

    async def upload(
        self,
        body: AsyncIterable[bytes] | None,
        headers: Mapping[str, str],
        *,
        query: str = "",
        length: int | None = None,
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Stream an upload with our key; return the answer and the beginning of its body.

        `query` is passed on unchanged. A body of up to `MAX_BODY_BYTES` has been read whole; the
        rest of a longer one can still be read. The caller must release the answer.
        Raises aiohttp's errors, also for an answer that was cut short, and `TimeoutError` without
        an answer within `upstream.upload_timeout`. An error of `body` is raised as
        `aiohttp.ClientConnectionError`; the upstream then does not get the end of the upload.
        """
        config = self._config()
        fields = CIMultiDict(headers)
        fields.update(self._credentials(config))
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
                proxy=self._proxy_url(config),
                ssl=self.trust.tls,
                timeout=aiohttp.ClientTimeout(sock_connect=config.connect_timeout),
            )
            try:
                beginning, complete = await read_bounded(response.content)
                if response.status < 200 or not complete:  # 101: we offered no other protocol
                    raise aiohttp.ClientPayloadError("no answer, or one cut short")
            except BaseException:
                response.close()
                raise
        return response, beginning

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open")
        return self._session

    def _credentials(self, config: ClientConfig) -> dict[str, str]:
        """Return the header with the key, in one of the two forms that the contract admits."""
        if config.auth == "bearer":
            return {"Authorization": f"Bearer {self._key()}"}
        return {"X-API-Key": self._key()}

    def _proxy(self, config: ClientConfig) -> Proxy | None:
        """Return the proxy. It is looked for once: parsing addresses took 11 us of each poll."""
        wanted = config.base_url, config.proxy
        if self._found_proxy is None or self._found_proxy[0] != wanted:
            self._found_proxy = wanted, find_proxy(*wanted, self._environ)
        return self._found_proxy[1]

    def _proxy_url(self, config: ClientConfig) -> str | None:
        proxy = self._proxy(config)
        return proxy.url if proxy else None

    def _report_proxy(self) -> None:
        """Log through which proxy requests go: one from the environment may be a surprise."""
        proxy = self._proxy(self._config())
        if proxy is None or self._log is None:
            return
        if wrong := check_scheme(proxy):
            self._log.error("the proxy cannot be used", error=wrong)
        else:
            self._log.info("requests go through a proxy", proxy=proxy.shown, named_by=proxy.origin)

    def _exchange(self, config: ClientConfig) -> Exchange:
        """Return the prepared status request; a change of what it depends on makes another."""
        proxy, timeout = self._proxy_url(config), config.connect_timeout
        wanted = config.base_url, config.auth, self._key(), proxy, self.trust.tls, timeout
        if self._prepared is None or self._prepared[0] != wanted:
            exchange = Exchange(
                self._opened(),
                config.base_url + STATUS_PATH,
                self._credentials(config),
                tls=self.trust.tls,
                proxy=proxy,
                connect_timeout=timeout,
            )
            self._prepared = wanted, exchange
        return self._prepared[1]

    async def _read(self, answer: Answer) -> Reply:
        if answer.status == PROXY_REFUSES:
            refusal = proxy_refusal(answer.status, answer.phrase)
            return transport_failure("connection", "proxy", refusal)
        body, complete = answer.body, answer.complete
        if complete:
            body, complete = inflate(body, answer.headers, MAX_BODY_BYTES)
        if len(body) > LARGE_BYTES:
            async with self._reading_large:
                await asyncio.sleep(0)  # others have their turn between two of them
                return self._parse(answer, body, complete=complete)
        return self._parse(answer, body, complete=complete)

    def _parse(self, answer: Answer, body: bytes, *, complete: bool) -> Reply:
        key = self._key()  # an answer's type is repeated with its body
        headers = {
            name: value for name, value in answer.headers.items() if not key or key not in value
        }
        return parse_reply(answer.status, headers, hide(body, key), complete=complete)

    def hide(self, text: bytes) -> bytes:
        """Replace the API key in what the upstream says, before anything is read from it."""
        return hide(text, self._key())


def hide(text: bytes, key: str) -> bytes:
    """Replace the API key in a text: some services echo it, and we show parts of answers.

    JSON may spell each of its characters in several ways, and a URL percent-encodes some.
    """
    if not key:
        return text
    if b"\\" in text or b"%" in text:
        return _spellings(key).sub(HIDDEN, text)
    return text.replace(key.encode(), HIDDEN)


def _any_case(digit: str) -> str:
    return f"[{digit}{digit.upper()}]" if digit.isalpha() else digit


@functools.lru_cache(maxsize=4)
def _spellings(key: str) -> re.Pattern[bytes]:
    return re.compile("".join(map(_forms, key)).encode())


def _forms(character: str) -> str:
    """Return a pattern of the ways in which JSON or a URL may spell a character.

    Each begins with a plain character: `re` then skips quickly to where one could begin.
    """
    code = "".join(_any_case(digit) for digit in f"{ord(character):02x}")
    plain = re.escape(character)
    return rf"(?:{plain}|\\{plain}|%{code}|\\u00{code})"
