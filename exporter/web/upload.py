"""`POST /api/v1/upload`: passed through to the upstream as it comes, and the job tracked.

Neither file nor answer is held in memory: the body goes on in the pieces in which it arrives, at
the pace of the slower side. What comes back is given unchanged.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

import aiohttp
from aiohttp import web

from ..core.contract import parse_upload
from ..core.job import Source
from ..core.reply import MAX_BODY_BYTES, UploadReply
from ..polling.client import read_bounded
from ..registry.staging import RegistrationConflictError, RegistryFullError, Telling
from ..registry.store import StoreError
from .auth import require_api_key
from .context import Context
from .errors import ApiError, error_response, unavailable

LABEL_PREFIX: Final = "removit-exporter-label-"
KEY_HEADER: Final = "removit-exporter-key"
_OURS: Final = "removit-exporter-"
_NOT_PASSED_ON: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "host", "authorization", "x-api-key", "expect", "content-length", "cookie"),
        *("proxy-authorization", "accept-encoding", "forwarded"),
    }
)
"""Hop-by-hop fields (RFC 9110, 7.6.1), what our own client sets, and what is not the upstream's."""
_PASSED_BACK: Final = (
    *("Content-Type", "Content-Encoding", "Retry-After", "WWW-Authenticate", "Location"),
)


@dataclass(slots=True)
class _Body:
    """A request's body on its way: how much came, and why it ended early, if it did."""

    limit: int
    size: int = 0
    too_large: bool = False
    gone: bool = False

    async def pieces(self, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """Yield the body as it comes; raises when it must not be passed on as a whole."""
        while True:
            try:
                piece = await content.readany()
            except (web.RequestPayloadError, ConnectionError, aiohttp.ClientError):
                self.gone = True
                raise
            if not piece:
                return
            self.size += len(piece)
            if self.size > self.limit:
                self.too_large = True
                raise ValueError("the body is too large")
            yield piece


class UploadRoutes:
    """The upstream's upload endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.post("/api/v1/upload", self.upload, expect_handler=self._expect)]

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Pass an upload through; `Removit-Exporter-Label-<name>` and `-Key` go with the job."""
        require_api_key(self._context, request)
        labels, key = self._read_headers(request)
        limit = self._context.config().upstream.max_upload_bytes
        if (request.content_length or 0) > limit:
            self._refuse_length(limit)
        body = _Body(limit)
        started = time.perf_counter()
        try:
            async with self._context.client.upload(
                body.pieces(request.content) if request.can_read_body else None,
                _passed_on(request),
                request.content_length,
            ) as response:
                content, _ = await read_bounded(response.content)
                reply = parse_upload(response.status, content)
                self._count(str(reply.http_status), reply.error, started)
                await self._track(reply, labels, key)
                return await _pass_back(request, response, content)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if body.too_large:
                self._refuse_length(limit)
            if body.gone:
                raise ApiError(400, "the upload ended before its end") from None
            code = "timeout" if isinstance(error, TimeoutError) else "connection"
            self._count(code, None, started)
            self._context.log.warning("upload not answered", error=code)
            raise unavailable(
                f"the upstream did not answer the upload ({code}); whether it took it is not known"
            ) from None

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """`Expect: 100-continue`: a file that will be refused need not be sent."""
        if request.headers["Expect"].casefold() != "100-continue":
            raise web.HTTPExpectationFailed
        try:
            require_api_key(self._context, request)
            self._read_headers(request)
        except ApiError as error:
            return error_response(error)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # it is no part of the answer
        return None

    def _read_headers(self, request: web.Request) -> tuple[Mapping[str, str], str | None]:
        """Return labels and key; raises `ApiError` 422 before anything is sent."""
        rules = self._context.config().registration
        named = {name.casefold(): name for name in rules.allowed_labels}
        labels = {}
        for header, value in request.headers.items():
            if header.casefold().startswith(LABEL_PREFIX):
                name = header.casefold().removeprefix(LABEL_PREFIX).replace("-", "_")
                labels[named.get(name, name)] = value
        key = request.headers.get(KEY_HEADER)
        details = rules.check("upload", labels, key)
        details.pop("job_id", None)
        if details:
            self._context.instruments.refused("invalid")
            raise ApiError(422, details=details)
        return labels, key

    async def _track(self, reply: UploadReply, labels: Mapping[str, str], key: str | None) -> None:
        """Register the job; whatever hinders that, the upload's answer is given."""
        context, job_id = self._context, reply.job_id
        if job_id is None:
            return
        log = context.log.bind(job_id=job_id)
        if wrong := context.config().registration.check(job_id, {}, None):
            context.instruments.refused("invalid")
            log.warning("upload not tracked", errors=wrong)
            return
        telling = Telling(job_id, labels, key, mode=reply.mode)
        try:
            await context.registry.register([telling], Source.UPLOAD)
        except RegistrationConflictError:
            context.instruments.refused("conflict")
            log.warning("upload not tracked", error="the job has other labels or another key")
        except RegistryFullError:
            context.instruments.refused("full")
            log.error("upload not tracked", error="registration.max_pending reached")
        except StoreError as error:
            context.instruments.refused("store")
            log.error("upload not tracked", error=str(error))

    def _count(self, code: str, error: str | None, started: float) -> None:
        self._context.instruments.uploaded(code, error, time.perf_counter() - started)

    def _refuse_length(self, limit: int) -> NoReturn:
        message = f"the upload is longer than upstream.max_upload_bytes: {limit} bytes"
        raise ApiError(413, message)


def _passed_on(request: web.Request) -> list[tuple[str, str]]:
    """The request's fields that are the upstream's."""
    hop_by_hop = {
        name.strip().casefold() for name in request.headers.get("Connection", "").split(",")
    }
    return [
        (name, value)
        for name, value in request.headers.items()
        if (low := name.casefold()) not in _NOT_PASSED_ON | hop_by_hop
        and not low.startswith((_OURS, "x-forwarded-"))
    ]


async def _pass_back(
    request: web.Request, response: aiohttp.ClientResponse, content: bytes
) -> web.StreamResponse:
    headers = {name: response.headers[name] for name in _PASSED_BACK if name in response.headers}
    if len(content) <= MAX_BODY_BYTES:
        return web.Response(status=response.status, body=content, headers=headers)
    answer = web.StreamResponse(status=response.status, headers=headers)
    await answer.prepare(request)
    await answer.write(content)
    async for piece in response.content.iter_any():
        await answer.write(piece)
        await asyncio.sleep(0)
    await answer.write_eof()
    return answer
