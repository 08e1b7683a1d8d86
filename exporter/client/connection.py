"""Requests to one exporter, repeated until they succeed or patience is used up."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from yarl import URL

from .errors import RefusedError
from .http import authorization, error_body, problem_of, read_url, say
from .patience import Patience


class Connection:
    """The way to one exporter; see `AsyncClient`. `timeout` and `patience` are in seconds."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        login: tuple[str, str] | None,
        tls: ssl.SSLContext | None,
        timeout: float,
        patience: float,
    ) -> None:
        self.url = read_url(url)
        self.timeout = min(timeout, patience)
        self.seconds = patience
        self._headers = authorization(token, login)
        self._tls: ssl.SSLContext | bool = True if tls is None else tls
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def session(self) -> aiohttp.ClientSession:
        """Return the session of the running loop; a program may run several, one after another."""
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is not loop:
            self._session.detach()  # its loop has ended, and so have its connections
            self._session = None
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls)
            self._session = aiohttp.ClientSession(headers=self._headers, connector=connector)
            self._loop = loop
        return self._session

    async def close(self) -> None:
        """Close the session; a later request opens another."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def patience(self) -> Patience:
        """Return the patience of a call that begins now."""
        return Patience(str(self.url), self.seconds)

    async def call(
        self, method: str, url: URL, document: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the JSON of an answer; raises `RefusedError`, `UnreachableError`."""
        patience = self.patience()
        while True:
            retry_after = 0.0
            try:
                async with self.session().request(
                    method,
                    url,
                    json=document or None,
                    timeout=aiohttp.ClientTimeout(total=patience.limit(self.timeout)),
                ) as response:
                    if response.status < 400:
                        return await response.json() if response.status != 204 else {}
                    body = await error_body(response)
                    if response.status < 500:
                        raise RefusedError(response.status, body)
                    problem = problem_of(body, f"it answers {response.status}")
                    retry_after = float(response.headers.get("Retry-After", "0"))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                problem = say(error)
            await patience.wait(problem, retry_after)

    async def call_known(
        self, method: str, url: URL, document: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Return the JSON of an answer; None for a 404."""
        try:
            return await self.call(method, url, document)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def pages(self, what: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a list, page by page."""
        cursor: dict[str, str] = {}
        while True:
            url = self.url / "api/v1" / what
            page = await self.call("GET", url.with_query({"limit": "1000", **query, **cursor}))
            for item in page[what]:
                yield item
            if page["next"] is None:
                return
            cursor = {"after": page["next"]}
