"""`GET /api/v1/status`: the upstream's contract from memory, for clients with the upstream's key.

Bodies and errors are the upstream's, byte for byte. `Age`, `Cache-Status` and `ETag` (RFC 9111,
5.1; RFC 9211; RFC 9110, 8.8.3) say where an answer comes from. Errors of the exporter are 503 with
`exporter_unavailable`: no client can mistake that for a failed job.
"""

import asyncio
import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from aiohttp import web

from ..config.durations import parse_duration
from ..polling.served import (
    KeyRejectedError,
    Result,
    Served,
    UnavailableError,
)
from ..storage.store import StoreError
from .auth import require_api_key
from .context import Context
from .errors import ApiError, invalid_key, unavailable

CACHE_NAME: Final = "removit-exporter"
MAX_WAIT_SECONDS: Final = 300.0
MAX_WAITING: Final = 1000
CHECK_SECONDS: Final = 2.0
"""How often a waiting request checks whether its client has left; nothing else reports that."""
_ETAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_SECONDS: Final = re.compile(r'"?([0-9]{1,10})"?', re.ASCII)
_REFUSED: Final = {401: Result.UNAUTHORIZED, 422: Result.INVALID}


class StatusRoutes:
    """The upstream's status endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/api/v1/status", self.status)]

    async def status(self, request: web.Request) -> web.Response:
        """`?job_id=`, and in addition to the contract `&wait=30s`: answer at the next change."""
        count = self._context.instruments.served
        try:
            served = await self._serve(request)
        except ApiError as error:
            count(_REFUSED.get(error.status, Result.UNAVAILABLE))
            raise
        except StoreError:
            count(Result.UNAVAILABLE)
            raise
        except Exception as error:  # a client would take our 500 for the job's failure
            count(Result.UNAVAILABLE)
            self._context.log.error("request failed", error=str(error), exc_info=error)
            raise unavailable("internal error; see the exporter's log") from None
        count(served.result)
        return _shape(served, request)

    async def _serve(self, request: web.Request) -> Served:
        require_api_key(self._context, request)
        job_id, wait = self._read_query(request)
        cache = self._context.status_cache
        try:
            served = await cache.get(job_id, _accepted_age(request))
            may_change = wait and served.result is not Result.FINAL
            if may_change and served.answer.etag_in(_etags(request, served)):
                with self._one_more_waits():
                    return await self._after_waiting(request, job_id, served, wait)
            return served
        except KeyRejectedError:
            raise invalid_key() from None
        except UnavailableError as error:
            raise unavailable(str(error), error.retry_after) from None

    @contextlib.contextmanager
    def _one_more_waits(self) -> Iterator[None]:
        if self._waiting >= MAX_WAITING:
            raise unavailable(f"{MAX_WAITING} requests are waiting already")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _after_waiting(
        self, request: web.Request, job_id: str, served: Served, seconds: float
    ) -> Served:
        """Return the answer once it differs from `served`, or after `seconds`."""
        answers, stop = self._context.poller.answers, self._context.stop
        time = asyncio.get_running_loop().time
        ends_at = time() + seconds
        while time() < ends_at:
            if stop.begun or _gone(request):
                return served
            known = answers.get(job_id)
            if known is None or not known.says_the_same(served.answer):
                break
            with contextlib.suppress(TimeoutError):
                async with stop.limit_wait(min(ends_at - time(), CHECK_SECONDS)):
                    await answers.changes.wait(job_id)
        now = await self._context.status_cache.get(job_id, _accepted_age(request))
        return replace(now, forwarded=now.forwarded or served.forwarded)

    def _read_query(self, request: web.Request) -> tuple[str, float]:
        """Read `job_id` and `wait`; raises `ApiError` 422, as the upstream does."""
        details: dict[str, list[str]] = {}
        query = request.query
        job_id = query.get("job_id", "")
        if not job_id:
            details["job_id"] = ["The job_id is required."]
        elif wrong := self._context.config().registration.check_id(job_id):
            details["job_id"] = [wrong]
        wait = 0.0
        try:
            wait = parse_duration(query["wait"]) if "wait" in query else 0.0
        except ValueError as error:
            details["wait"] = [str(error)]
        if wait > MAX_WAIT_SECONDS:
            details["wait"] = [f"at most {MAX_WAIT_SECONDS:.0f}s"]
        if details:
            raise ApiError(422, details=details)
        return job_id, wait


def _gone(request: web.Request) -> bool:
    """Whether the client has closed the connection; the server may not cancel the handler."""
    return request.transport is None or request.transport.is_closing()


def _accepted_age(request: web.Request) -> float:
    """Return the greatest age in seconds that the client accepts (RFC 9111, 5.2.1).

    A directive that is not readable is passed over.
    """
    accepted = math.inf
    lines = request.headers.getall("Cache-Control", ())
    for directive in ",".join(lines).split(",") if lines else ():
        name, _, seconds = directive.strip().lower().partition("=")
        if name == "no-cache":
            return 0.0
        if name == "max-age" and (number := _SECONDS.fullmatch(seconds)):
            accepted = min(accepted, float(number[1]))
    return accepted


def _etags(request: web.Request, served: Served) -> set[str]:
    """Return the client's validators (RFC 9110, 13.1.2); without any, that of this answer."""
    offered = request.headers.getall("If-None-Match", ["*"])
    if [line.strip() for line in offered] == ["*"]:
        return {served.answer.etag}
    return set(_ETAG.findall(", ".join(offered)))


def _shape(served: Served, request: web.Request) -> web.Response:
    answer = served.answer
    headers = {
        "Age": str(math.floor(served.age)),
        "Cache-Control": "private, no-cache",
        "Cache-Status": _cache_status(served),
    }
    if answer.http_status == 200:
        headers["ETag"] = answer.etag
        if "If-None-Match" in request.headers and answer.etag_in(_etags(request, served)):
            return web.Response(status=304, headers=headers)
    headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.http_status, body=answer.body, headers=headers)


def _cache_status(served: Served) -> str:
    """Write where the answer comes from (RFC 9211); a `hit` was not forwarded."""
    if served.forwarded is None:
        left = served.fresh_for
        return f"{CACHE_NAME}; hit" + ("" if left is None else f"; ttl={math.floor(left)}")
    reply = served.forwarded.reply
    status = f"{CACHE_NAME}; fwd={served.forwarded.reason}"
    if (code := reply.http_status) is not None:
        status += f"; fwd-status={code}"
    return status + ("; stored" if reply.kind is served.answer.kind else "")
