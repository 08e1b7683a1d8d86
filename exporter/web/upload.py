"""`POST /api/v1/upload`: streams an upload to the upstream, and registers the job.

Neither file nor answer is held in memory: each piece is passed on when it arrives, at the pace of
the slower side. The answer is passed back unchanged.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web

from ..core.contract import parse_upload
from ..core.job import Source
from ..core.reply import MAX_BODY_BYTES
from ..registry.staging import Registration, RegistrationConflictError, RegistryFullError
from ..storage.store import StoreError
from ..upstream.encoding import inflate
from ..upstream.reasons import find_reason
from .auth import require_api_key
from .context import Context
from .early_answer import answer_early
from .errors import ApiError, error_response, unavailable
from .forwarding import is_decoded, passed_back, passed_on

LABEL_PREFIX: Final = "removit-exporter-label-"
KEY_HEADER: Final = "removit-exporter-key"


@dataclass(slots=True)
class _Body:
    """The body of a request on its way: how much of it came, and why it ended early."""

    limit: int
    size: int = 0
    too_large: bool = False
    gone: bool = False
    awaited: bool = False
    """Whether we wait for the client, and not for the upstream."""
    whole: bool = False
    """Whether all of it has come."""

    async def pieces(self, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """Yield the pieces of the body; raises when the upload must not end as if complete."""
        while True:
            self.awaited = True
            try:
                piece = await content.readany()
            except Exception:  # a lost connection, or an invalid body
                self.gone = True
                raise
            self.awaited = False
            if not piece:
                self.whole = True
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
        """Pass an upload through; `Removit-Exporter-Label-<name>` and `-Key` describe its job."""
        labels, key = self._admit(request)
        limit = self._context.config().upstream.max_upload_bytes
        body = _Body(limit, whole=not request.can_read_body)
        started = time.perf_counter()
        try:
            response, beginning = await self._context.client.upload(
                None if body.whole else body.pieces(request.content),
                passed_on(request),
                query=request.rel_url.raw_query_string,
                length=None if is_decoded(request) else request.content_length,
            )
        except asyncio.CancelledError:  # the exporter stops, or the client has left
            if body.whole or self._context.stop.time_is_up:
                self._log_given_up(body, labels, key, started)
            if not self._context.stop.time_is_up:
                raise
            answer = error_response(_stopping(body))
            await answer_early(request, answer)
            return answer
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._unanswered(body, error, started) from None
        async with response:
            readable, _ = inflate(beginning, response.headers, MAX_BODY_BYTES)
            reply = parse_upload(response.status, self._context.client.hide(readable))
            self._count(str(reply.http_status), reply.error, started)
            if reply.job_id is not None:
                job = Registration(reply.job_id, labels, key, mode=reply.mode)
                await self._track_in_time(job)
            elif 200 <= reply.http_status <= 299:
                self._log_without_id(len(readable))
            return await self._pass_back(request, response, beginning)

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer `Expect: 100-continue`, so that a file that will be refused is not sent."""
        if request.version < aiohttp.HttpVersion11:
            return None  # HTTP/1.0 ignores it (RFC 9110, 10.1.1)
        if request.headers["Expect"].casefold() != "100-continue":
            raise web.HTTPExpectationFailed
        try:
            self._admit(request)
        except ApiError as error:
            refusal = error_response(error)
            refusal.force_close()  # otherwise the next request could be taken for the file
            return refusal
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
        return None

    def _admit(self, request: web.Request) -> tuple[Mapping[str, str], str | None]:
        """Return labels and key; raises `ApiError` for an upload that its head shows to be bad."""
        require_api_key(self._context, request)
        labels, key = self._read_headers(request)
        if (request.content_length or 0) > self._context.config().upstream.max_upload_bytes:
            raise self._too_large()
        return labels, key

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

    async def _track_in_time(self, job: Registration) -> None:
        """Register the job; at the deadline of a stop the answer no longer waits for that."""
        tracking = asyncio.create_task(self._track(job), name="track upload")
        try:
            # The host may cancel the handler when its client leaves, but the job exists upstream.
            await asyncio.shield(tracking)
        except asyncio.CancelledError:
            if not self._context.stop.time_is_up:
                raise
            tracking.cancel()
            log = self._context.log.bind(job_id=job.job_id, key=job.key)
            log.error("upload not tracked", error="the exporter is shutting down")

    async def _track(self, job: Registration) -> None:
        """Register the job. A failure is logged, and the upload is answered all the same."""
        context = self._context
        log = context.log.bind(job_id=job.job_id, key=job.key)
        if wrong := context.config().registration.check(job.job_id, {}, None):
            context.instruments.refused("invalid")
            log.warning("upload not tracked", errors=wrong)
            return
        try:
            await context.registry.register([job], Source.UPLOAD)
        except RegistrationConflictError:
            context.instruments.refused("conflict")
            log.warning("upload not tracked", error="the job has other labels or another key")
        except RegistryFullError:
            context.instruments.refused("full")
            log.error("upload not tracked", error="registration.max_pending reached")
        except StoreError as error:
            context.instruments.refused("store")
            log.error("upload not tracked", error=str(error))

    def _log_without_id(self, size: int) -> None:
        """Log an accepted upload whose answer, of at least `size` bytes, gave no id."""
        why = "the answer has no job_id"
        if size > MAX_BODY_BYTES:
            why = f"the answer is larger than {MAX_BODY_BYTES} bytes, so its job_id was not read"
        self._context.log.warning("upload not tracked", error=why)

    def _count(self, code: str, error: str | None, started: float) -> None:
        self._context.instruments.uploaded(code, error, time.perf_counter() - started)

    def _unanswered(self, body: _Body, error: Exception, started: float) -> ApiError:
        """Say why an upload got no answer; faults of the client do not count as the upstream's."""
        upstream = self._context.config().upstream
        if body.too_large:
            return self._too_large()
        if body.gone:
            return ApiError(400, "the upload was cut short")
        if isinstance(error, TimeoutError) and body.awaited:
            return ApiError(
                408,
                "the upload was not complete within upstream.upload_timeout:"
                f" {upstream.upload_timeout:g} s",
            )
        code = "timeout" if isinstance(error, TimeoutError) else "connection"
        reason = find_reason(error) if code == "connection" else None
        self._count(code, reason.word if reason else None, started)
        why = f"{reason.word}: {reason.detail}" if reason else code
        self._context.log.warning("upload not answered", error=why)
        return unavailable(
            f"the upstream did not answer the upload ({why}); it may or may not have accepted it"
        )

    def _log_given_up(
        self, body: _Body, labels: Mapping[str, str], key: str | None, started: float
    ) -> None:
        """Log an upload whose answer nobody will see: the upstream may have accepted it."""
        self._context.log.warning(
            "upload given up",
            sent_whole=body.whole,
            bytes=body.size,
            seconds=round(time.perf_counter() - started, 3),
            key=key,
            labels=dict(labels),
        )

    def _too_large(self) -> ApiError:
        limit = self._context.config().upstream.max_upload_bytes
        message = f"the upload is larger than upstream.max_upload_bytes: {limit} bytes"
        return ApiError(413, message)

    async def _pass_back(
        self, request: web.Request, response: aiohttp.ClientResponse, beginning: bytes
    ) -> web.StreamResponse:
        status, headers = response.status, passed_back(response)
        if len(beginning) <= MAX_BODY_BYTES:
            return web.Response(status=status, body=beginning, headers=headers)
        answer = web.StreamResponse(status=status, headers=headers)
        await answer.prepare(request)
        try:
            async with asyncio.timeout(self._context.config().upstream.upload_timeout):
                await answer.write(beginning)
                async for piece in response.content.iter_any():
                    await answer.write(piece)
                    await asyncio.sleep(0)
                await answer.write_eof()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._context.log.warning("answer to an upload cut short", error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()  # its head is sent: only a cut shows that it is not whole
        return answer


def _stopping(body: _Body) -> ApiError:
    if not body.whole:
        return unavailable("the exporter is shutting down, and the upload was not complete")
    return unavailable(
        "the exporter is shutting down before the upstream answered the upload; the upstream may or"
        " may not have accepted it"
    )
