"""`GET /api/v1/status`: the upstream's contract from memory, to whoever has the upstream's key.

Bodies are the upstream's, byte for byte, and so are its errors; `Age`, `Cache-Status` and `ETag`
(RFC 9111, 5.1; RFC 9211; RFC 9110, 8.8.3) tell how they were come by. Our own trouble is 503 with
`exporter_unavailable`, which no client can take for a job's failure.
"""

import asyncio
import math
import re
from typing import Final

from aiohttp import web

from ..config.values import parse_duration
from ..polling.status_cache import (
    KeyRejectedError,
    Result,
    Served,
    UnavailableError,
)
from ..registry.store import StoreError
from .auth import require_api_key
from .context import Context
from .errors import ApiError, invalid_key, unavailable

CACHE_NAME: Final = "removit-exporter"
MAX_WAIT_SECONDS: Final = 300.0
_ETAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_FORWARDED: Final = {Result.REFRESHED: "stale", Result.LEARNED: "uri-miss"}
_REFUSED: Final = {401: Result.UNAUTHORIZED, 422: Result.INVALID}


class StatusRoutes:
    """The upstream's status endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/api/v1/status", self.status)]

    async def status(self, request: web.Request) -> web.Response:
        """`?job_id=`, and beside the contract `&wait=30s`: answer at the next change."""
        count = self._context.instruments.served
        try:
            served = await self._serve(request)
        except ApiError as error:
            count(_REFUSED.get(error.status, Result.UNAVAILABLE))
            raise
        except StoreError:
            count(Result.UNAVAILABLE)
            raise
        except Exception as error:  # a 500 of ours would read as the job's failure
            count(Result.UNAVAILABLE)
            self._context.log.error("request failed", error=str(error), exc_info=error)
            raise unavailable("an error of the exporter; its log has more") from None
        count(served.result)
        return _shape(served, request, self._context.config().status.max_age)

    async def _serve(self, request: web.Request) -> Served:
        require_api_key(self._context, request)
        job_id, wait = self._read_query(request)
        cache = self._context.status_cache
        try:
            served = await cache.get(job_id)
            if wait and not served.answer.etag_in(_etags(request, served)):
                return served
            if wait and await self._changed(job_id, served, wait):
                served = await cache.get(job_id)
            return served
        except KeyRejectedError:
            raise invalid_key() from None
        except UnavailableError as error:
            raise unavailable(str(error), error.retry_after) from None

    async def _changed(self, job_id: str, served: Served, wait: float) -> bool:
        """Wait until the job's answer is another one; False when it stays, or cannot change."""
        answers = self._context.poller.answers
        known = answers.get(job_id)
        if served.result is Result.FINAL or known is None or self._context.closing:
            return False
        if known.body != served.answer.body:
            return True
        try:
            async with asyncio.timeout(wait):
                await answers.changes.wait(job_id)
        except TimeoutError:
            return False
        return True

    def _read_query(self, request: web.Request) -> tuple[str, float]:
        """Read `job_id` and `wait`; raises `ApiError` 422, as the upstream does."""
        details: dict[str, list[str]] = {}
        job_id = request.query.get("job_id", "")
        if not job_id:
            details["job_id"] = ["The job_id is required."]
        elif wrong := self._context.config().registration.check(job_id, {}, None):
            details |= wrong
        wait = 0.0
        try:
            wait = parse_duration(request.query["wait"]) if "wait" in request.query else 0.0
        except ValueError as error:
            details["wait"] = [str(error)]
        if wait > MAX_WAIT_SECONDS:
            details["wait"] = [f"at most {MAX_WAIT_SECONDS:.0f}s"]
        if details:
            raise ApiError(422, details=details)
        return job_id, wait


def _etags(request: web.Request, served: Served) -> set[str]:
    """The validators that the client has (RFC 9110, 13.1.2); without any, that of this answer."""
    offered = request.headers.get("If-None-Match")
    if offered is None or offered.strip() == "*":
        return {served.answer.etag}
    return set(_ETAG.findall(offered))


def _shape(served: Served, request: web.Request, max_age: float) -> web.Response:
    answer = served.answer
    headers = {
        "Age": str(math.floor(served.age)),
        "Cache-Control": "private, no-cache",
        "Cache-Status": _cache_status(served, max_age),
    }
    if answer.http_status == 200:
        headers["ETag"] = answer.etag
        if "If-None-Match" in request.headers and answer.etag_in(_etags(request, served)):
            return web.Response(status=304, headers=headers)
    headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.http_status, body=answer.body, headers=headers)


def _cache_status(served: Served, max_age: float) -> str:
    """Write how the answer was come by (RFC 9211)."""
    if served.result in (Result.FRESH, Result.STALE):
        return f"{CACHE_NAME}; hit; ttl={math.floor(max_age - served.age)}"
    if served.result is Result.FINAL or (served.result is Result.UNKNOWN and served.age):
        return f"{CACHE_NAME}; hit"
    forwarded = _FORWARDED.get(served.result, "uri-miss")
    stored = "" if served.result is Result.UNKNOWN else "; stored"
    return f"{CACHE_NAME}; fwd={forwarded}; fwd-status={served.answer.http_status}{stored}"
